//! What the broker claims to serve: every key of the table in `src/served.rs` has a handler and a
//! row in the reference, and every handler serves a key.

use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

const TABLE: &str = "src/served.rs";
const HANDLERS: &str = "src/handlers/";
const REFERENCE: &str = "docs/reference/apis.md";

/// Table, handlers and reference agree.
pub(crate) fn served(tree: &Tree, _: &Workspace) -> Report {
    let Some(source) = tree.sources.get(TABLE) else {
        let note = format!("skipped: there is no {TABLE} yet");
        return Report {
            findings: Vec::new(),
            notes: vec![note],
        };
    };
    let mut findings = Vec::new();
    let mut keys = Vec::new();
    for window in source.tokens.windows(5) {
        let words: Vec<&str> = window.iter().map(|token| token.text.as_str()).collect();
        if let ["row", "(", "ApiKey", "::", key] = words[..]
            && !window[0].in_test
        {
            keys.push((key.to_owned(), window[0].line));
        }
    }
    if keys.is_empty() {
        let instead = "write one `row(ApiKey::Name, lowest, highest)` per served key";
        findings.push(Finding::new(TABLE, 0, "no rows", instead));
    }
    let handlers: Vec<(&str, &str)> = tree
        .files
        .keys()
        .filter_map(|path| Some((path.as_str(), handled(path)?)))
        .collect();
    for (key, line) in &keys {
        let name = snake_case(key);
        if !handlers.iter().any(|(_, handled)| *handled == name) {
            let found = format!("{key} is served without a handler");
            let instead = format!("write {HANDLERS}hNN_{name}.rs, NN its number, or drop the row");
            findings.push(Finding::new(TABLE, *line, found, instead));
        }
        let documented = tree.text(REFERENCE).is_some_and(|text| has_row(text, key));
        if !documented {
            let found = format!("{key} has no row in {REFERENCE}");
            let instead = "generate the reference: `cargo run -p klamm -- reference`";
            findings.push(Finding::new(TABLE, *line, found, instead));
        }
    }
    for (path, name) in handlers {
        if !keys.iter().any(|(key, _)| snake_case(key) == name) {
            let instead = format!("add its row to {TABLE}, or remove the handler");
            findings.push(Finding::new(
                path,
                0,
                "handler of a key that is not served",
                instead,
            ));
        }
    }
    findings.into()
}

/// `produce` of `src/handlers/h00_produce.rs`.
fn handled(path: &str) -> Option<&str> {
    let file = path
        .strip_prefix(HANDLERS)?
        .strip_prefix('h')?
        .strip_suffix(".rs")?;
    let (number, name) = file.split_once('_')?;
    (!number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())).then_some(name)
}

/// True where a table of the text has a cell that is exactly this key.
fn has_row(text: &str, key: &str) -> bool {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .any(|line| {
            line.split('|')
                .any(|cell| cell.trim().trim_matches('`') == key)
        })
}

/// `InitProducerId` as `init_producer_id`.
fn snake_case(key: &str) -> String {
    let mut name = String::new();
    for letter in key.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
