//! Decisions: each file of `docs/adr/` has a number of its own, and its title bears it.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

const FOLDER: &str = "docs/adr/";

/// Numbers are unique and agree with the titles.
pub(crate) fn numbers(tree: &Tree, _: &Workspace) -> Report {
    let mut findings = Vec::new();
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for path in tree.files.keys().filter(|path| path.starts_with(FOLDER)) {
        let Some((number, _)) = path[FOLDER.len()..].split_once('-') else {
            let instead = "call it by its number and a few words: `0001-the-rings.md`";
            findings.push(Finding::new(path, 0, "has no number", instead));
            continue;
        };
        let titled = tree
            .text(path)
            .is_some_and(|text| text.starts_with(&format!("# {number} ")));
        if !titled {
            let instead = format!("begin it with `# {number} ` and what was decided");
            findings.push(Finding::new(path, 1, "the title lacks the number", instead));
        }
        if let Some(other) = taken.insert(number, path) {
            let found = format!("has the number of `{other}`");
            findings.push(Finding::new(path, 0, found, "take the next free number"));
        }
    }
    findings.into()
}
