//! Words that say nothing, and one that says two things: none of them names a file, a folder or a
//! type.

use std::collections::BTreeSet;

use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

/// Words that a file, folder or type may not carry.
const EMPTY_WORDS: &[&str] = &[
    "manager", "managers", "helper", "helpers", "util", "utils", "impl", "impls", "common", "misc",
];

/// Has meant both the start of a log and its last stable offset, so no identifier carries it.
const TWO_MEANINGS: &str = "lso";

const SAY_WHAT: &str = "name what it is or does (docs/glossary.md)";

/// Forbidden words are absent from paths, types and, for the ambiguous one, all identifiers.
pub(crate) fn names(tree: &Tree, _: &Workspace) -> Report {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for path in tree.files.keys() {
        let mut place = String::new();
        for part in path.split('/') {
            place.push_str(part);
            if seen.insert(place.clone())
                && let Some(word) = empty_word(part)
            {
                findings.push(Finding::new(
                    &place,
                    0,
                    format!("`{word}` in a name"),
                    SAY_WHAT,
                ));
            }
            place.push('/');
        }
    }
    for (path, source) in &tree.sources {
        for (at, token) in source.tokens.iter().enumerate() {
            let declares = at > 0
                && matches!(
                    source.tokens[at - 1].text.as_str(),
                    "struct" | "enum" | "trait" | "type" | "union" | "mod"
                );
            if let (true, Some(word)) = (declares, empty_word(&token.text)) {
                let found = format!("`{word}` in `{}`", token.text);
                findings.push(Finding::new(path, token.line, found, SAY_WHAT));
            }
            if words(&token.text).iter().any(|word| word == TWO_MEANINGS) {
                let instead = "say `last_stable` or `log_start`";
                findings.push(Finding::new(
                    path,
                    token.line,
                    format!("`{}`", token.text),
                    instead,
                ));
            }
        }
    }
    findings.into()
}

fn empty_word(name: &str) -> Option<String> {
    words(name)
        .into_iter()
        .find(|word| EMPTY_WORDS.contains(&word.as_str()))
}

/// `GroupManager`, `group_manager` and `group-manager.rs` as words in small letters.
fn words(name: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let letters: Vec<char> = name.chars().collect();
    for (at, &letter) in letters.iter().enumerate() {
        let after_small = at > 0 && letters[at - 1].is_lowercase();
        let before_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let after_capital = at > 0 && letters[at - 1].is_uppercase();
        let opens = letter.is_uppercase() && (after_small || (after_capital && before_small));
        if opens || !letter.is_alphanumeric() {
            found.push(String::new());
        }
        if letter.is_alphanumeric() {
            found
                .last_mut()
                .expect("never empty")
                .extend(letter.to_lowercase());
        }
    }
    found.retain(|word| !word.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_into_words() {
        assert_eq!(words("GroupManager"), ["group", "manager"]);
        assert_eq!(
            words("partition_helpers.rs"),
            ["partition", "helpers", "rs"]
        );
        assert_eq!(words("LSOCursor"), ["lso", "cursor"]);
        assert_eq!(words("also"), ["also"]);
    }
}
