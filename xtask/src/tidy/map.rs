//! The map: ARCHITECTURE.md names every directory of two levels, and names none that is not there.
//! A directory is named by its path from the root with a slash at the end: `crates/os/`.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

const MAP: &str = "ARCHITECTURE.md";
const LEVELS: usize = 2;

/// Map and tree agree.
pub(crate) fn map(tree: &Tree, _: &Workspace) -> Report {
    let Some(text) = tree.text(MAP) else {
        let instead = "write the map: every directory of two levels with what it owns";
        return vec![Finding::new(MAP, 0, "does not exist", instead)].into();
    };
    let named = named(text);
    let mut findings = Vec::new();
    for directory in tree.directories(LEVELS) {
        // Where cargo keeps the code of a package that the map names.
        if !directory.ends_with("/src") && !named.contains_key(&directory) {
            let found = format!("`{directory}/` is not on the map");
            findings.push(Finding::new(MAP, 0, found, "add it with what it owns"));
        }
    }
    let exist: BTreeSet<String> = tree.directories(usize::MAX - 1);
    for (directory, line) in named {
        if !exist.contains(&directory) {
            let found = format!("`{directory}/` does not exist");
            findings.push(Finding::new(MAP, line, found, "take it off the map"));
        }
    }
    findings.into()
}

/// Directories that the text names, with the line of the first mention.
fn named(text: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let in_path = |letter: char| letter.is_ascii_alphanumeric() || "._-/:".contains(letter);
        for word in line.split(|letter| !in_path(letter)) {
            let Some(directory) = word.trim_end_matches(['.', ':']).strip_suffix('/') else {
                continue;
            };
            // `/metrics/` is a resource of the admin face, `https://…/` an address.
            if !directory.is_empty() && !directory.starts_with('/') && !directory.contains(':') {
                found.entry(directory.to_owned()).or_insert(index + 1);
            }
        }
    }
    found
}
