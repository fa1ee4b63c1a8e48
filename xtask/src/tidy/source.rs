//! A Rust file as tokens: enough of the language to tell code from comments and strings, test code
//! from shipped code, and one imported path from another. Not a parser, and needs none.

/// One word or sign of code with the line (from 1) where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Part of an item under `#[test]` or `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

/// A path that a `use` brings in, spelt out: `std::fs::File`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) in_test: bool,
}

/// One file, read for its checks.
pub(crate) struct Source {
    pub(crate) tokens: Vec<Token>,
    pub(crate) imports: Vec<Import>,
    /// Modules declared as `#[cfg(test)] mod name;`: their files are test code.
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let mut tokens = tokenise(text);
        let test_modules = mark_tests(&mut tokens);
        let imports = imports(&tokens);
        Self {
            tokens,
            imports,
            test_modules,
        }
    }
}

/// Splits a pattern or a text into its words and signs; strings become `""`, comments vanish.
pub(crate) fn tokenise(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut cursor = Cursor {
        chars: &chars,
        at: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(here) = cursor.peek(0) {
        let line = cursor.line;
        let text = if here.is_whitespace() {
            cursor.step();
            continue;
        } else if here == '/' && matches!(cursor.peek(1), Some('/' | '*')) {
            cursor.skip_comment();
            continue;
        } else if let Some(hashes) = cursor.raw_string_ahead() {
            cursor.skip_raw_string(hashes);
            "\"\"".to_owned()
        } else if here == '"' || (matches!(here, 'b' | 'c') && cursor.peek(1) == Some('"')) {
            cursor.skip_string();
            "\"\"".to_owned()
        } else if here == '\'' || (here == 'b' && cursor.peek(1) == Some('\'')) {
            if !cursor.skip_char_or_lifetime() {
                continue;
            }
            "''".to_owned()
        } else if is_word(here) {
            cursor.take_word()
        } else if here == ':' && cursor.peek(1) == Some(':') {
            cursor.step();
            cursor.step();
            "::".to_owned()
        } else {
            cursor.step();
            here.to_string()
        };
        tokens.push(Token {
            text,
            line,
            in_test: false,
        });
    }
    tokens
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

struct Cursor<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
}

impl Cursor<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn take_word(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.peek(0).filter(|&letter| is_word(letter)) {
            word.push(letter);
            self.step();
        }
        word
    }

    fn skip_comment(&mut self) {
        if self.peek(1) == Some('/') {
            while self.peek(0).is_some_and(|letter| letter != '\n') {
                self.step();
            }
            return;
        }
        let mut depth = 0_usize;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                _ => {
                    self.step();
                    continue;
                }
            }
            self.step();
            self.step();
            if depth == 0 {
                return;
            }
        }
    }

    /// The number of `#` of a raw string that begins here.
    fn raw_string_ahead(&self) -> Option<usize> {
        let prefix = match (self.peek(0)?, self.peek(1)) {
            ('r', _) => 1,
            ('b' | 'c', Some('r')) => 2,
            _ => return None,
        };
        let hashes = (0..)
            .take_while(|&n| self.peek(prefix + n) == Some('#'))
            .count();
        (self.peek(prefix + hashes) == Some('"')).then_some(hashes)
    }

    fn skip_raw_string(&mut self, hashes: usize) {
        while self.peek(0).is_some_and(|letter| letter != '"') {
            self.step();
        }
        self.step();
        while let Some(letter) = self.peek(0) {
            self.step();
            if letter == '"' && (0..hashes).all(|n| self.peek(n) == Some('#')) {
                (0..hashes).for_each(|_| self.step());
                return;
            }
        }
    }

    fn skip_string(&mut self) {
        while self.peek(0).is_some_and(|letter| letter != '"') {
            self.step();
        }
        self.step();
        while let Some(letter) = self.peek(0) {
            self.step();
            match letter {
                '\\' => self.step(),
                '"' => return,
                _ => {}
            }
        }
    }

    /// Passes a character literal (true) or the quote and name of a lifetime (false).
    fn skip_char_or_lifetime(&mut self) -> bool {
        if self.peek(0) == Some('b') {
            self.step();
        }
        self.step();
        if self.peek(0) == Some('\\') {
            self.step();
            self.step();
            while self.peek(0).is_some_and(|letter| letter != '\'') {
                self.step();
            }
            self.step();
            return true;
        }
        if self.peek(1) == Some('\'') {
            self.step();
            self.step();
            return true;
        }
        self.take_word();
        false
    }
}

/// Marks the items under `#[test]` and `#[cfg(test)]`; returns the names of test modules that lie
/// in files of their own.
fn mark_tests(tokens: &mut [Token]) -> Vec<String> {
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some((inner, end)) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        if !is_test_attribute(&tokens[at..end]) {
            at = end;
            continue;
        }
        let until = if inner {
            tokens.len()
        } else {
            item_end(tokens, end)
        };
        if let Some(name) = module_file(&tokens[end..until]) {
            modules.push(name);
        }
        for token in &mut tokens[at..until] {
            token.in_test = true;
        }
        at = until;
    }
    modules
}

/// If an attribute begins at `at`: whether it is an inner one (`#!`), and where it ends.
fn attribute(tokens: &[Token], at: usize) -> Option<(bool, usize)> {
    let text = |index: usize| tokens.get(index).map(|token| token.text.as_str());
    if text(at)? != "#" {
        return None;
    }
    let inner = text(at + 1) == Some("!");
    let open = at + 1 + usize::from(inner);
    (text(open) == Some("[")).then(|| (inner, closing(tokens, open)))
}

/// The position after the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn is_test_attribute(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|token| token.text.as_str()).collect();
    let inside = words
        .iter()
        .position(|word| *word == "[")
        .map_or(&words[..0], |at| &words[at + 1..]);
    match inside.first() {
        Some(&"test") => true,
        Some(&"cfg") => inside.contains(&"test") && !inside.contains(&"not"),
        _ => false,
    }
}

/// Where the item that begins at `from` (perhaps with more attributes) ends.
fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut at = from;
    while let Some((_, end)) = attribute(tokens, at) {
        at = end;
    }
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            "{" => return closing(tokens, at),
            "(" | "[" => at = closing(tokens, at),
            _ => at += 1,
        }
    }
    tokens.len()
}

/// The name in `mod name;`, whatever stands before it.
fn module_file(item: &[Token]) -> Option<String> {
    let at = item.iter().position(|token| token.text == "mod")?;
    let closes = item.get(at + 2).is_some_and(|token| token.text == ";");
    closes.then(|| item[at + 1].text.clone())
}

/// All paths that the `use` items bring in, groups spelt out.
fn imports(tokens: &[Token]) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let opens = at == 0
            || matches!(
                tokens[at - 1].text.as_str(),
                ";" | "{" | "}" | ")" | "]" | "pub"
            );
        if token.text == "use" && opens {
            use_tree(tokens, at + 1, &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one use tree from `at`; returns the position of the sign that ends it.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Import>,
) -> usize {
    let depth = prefix.len();
    let mut last = None;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "as" => at += 2,
            ";" | "," | "}" => break,
            "{" => {
                at += 1;
                while let Some(inside) = tokens.get(at) {
                    match inside.text.as_str() {
                        "}" => break,
                        ";" => return at,
                        "," => at += 1,
                        _ => at = use_tree(tokens, at, prefix, found),
                    }
                }
                at += 1;
                last = None;
                break;
            }
            word => {
                prefix.push(word.to_owned());
                last = Some(token);
                at += 1;
            }
        }
    }
    if let Some(token) = last {
        found.push(Import {
            path: prefix.clone(),
            line: token.line,
            in_test: token.in_test,
        });
    }
    prefix.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokenise(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "a // .unwrap()\n/* x /* y */ z */ b \"c\\\" d\" r#\"e \" f\"# b'\\'' 'g' 'h: i";
        assert_eq!(
            words(text),
            ["a", "b", "\"\"", "\"\"", "''", "''", ":", "i"]
        );
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let tokens = tokenise("/* 1\n2 */ a \"3\n\" b");
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [2, 2, 3]);
    }

    #[test]
    fn test_items_are_told_from_shipped_code() {
        let source = Source::read(
            "fn a() {} #[cfg(test)] #[path = \"x\"] mod t { fn b() {} } #[test] fn c() {} \
             #[cfg(not(test))] fn d() {} #[cfg(test)] mod elsewhere; fn e() {}",
        );
        let shipped: Vec<&str> = source
            .tokens
            .iter()
            .filter(|token| !token.in_test && token.text.len() == 1)
            .filter(|token| token.text.chars().all(char::is_alphabetic))
            .map(|token| token.text.as_str())
            .collect();
        assert_eq!(shipped, ["a", "d", "e"]);
        assert_eq!(source.test_modules, ["elsewhere"]);
    }

    #[test]
    fn grouped_imports_are_spelt_out() {
        let source = Source::read("pub use std::{fs::{self, File as F}, net}; use a::b; fn c() {}");
        let paths: Vec<String> = source
            .imports
            .iter()
            .map(|import| import.path.join("::"))
            .collect();
        assert_eq!(
            paths,
            ["std::fs::self", "std::fs::File", "std::net", "a::b"]
        );
    }
}
