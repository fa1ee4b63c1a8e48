//! How long shipped functions may be. A long one hides a room, or steps that have no name yet.

use super::source::Token;
use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

/// Lines of one function, from `fn` to its last brace. Readers are asked about seventy; what is
/// longer than this is found by the machine.
const FUNCTION_LINES_MAX: usize = 80;

/// Functions outside test code that are too long.
pub(crate) fn functions(tree: &Tree, _: &Workspace) -> Report {
    let mut findings = Vec::new();
    for (path, source) in &tree.sources {
        for (at, token) in source.tokens.iter().enumerate() {
            let Some((name, lines)) = function(&source.tokens, at) else {
                continue;
            };
            if lines > FUNCTION_LINES_MAX && !token.in_test {
                let found = format!("{name} has {lines} lines, more than {FUNCTION_LINES_MAX}");
                let instead = "give its steps names of their own";
                findings.push(Finding::new(path, token.line, found, instead));
            }
        }
    }
    findings.into()
}

/// Name and lines of the function whose `fn` stands at `at`; `None` where there is none with a
/// body.
fn function(tokens: &[Token], at: usize) -> Option<(&str, usize)> {
    let name = tokens.get(at + 1)?;
    if tokens[at].text != "fn" || name.text == "(" {
        return None;
    }
    let mut open = 0_usize;
    let body = tokens[at..].iter().position(|token| {
        match token.text.as_str() {
            "(" | "[" => open += 1,
            ")" | "]" => open -= 1,
            "{" | ";" => return open == 0,
            _ => {}
        }
        false
    })?;
    if tokens[at + body].text == ";" {
        return None;
    }
    let mut depth = 0_usize;
    let last = tokens[at + body..].iter().find(|token| {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    Some((&name.text, last.line - tokens[at].line + 1))
}
