//! What a reader outside could not follow: names of one workplace's folders and tools.

use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

/// The words, in two parts each so that this file does not carry them.
const PRIVATE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("../sha", "red"),
    concat!("../.lib", "rary"),
    concat!("farm-", "studio"),
    concat!("farm-", "bench"),
];

/// No file names what only one workplace has.
pub(crate) fn private_words(tree: &Tree, _: &Workspace) -> Report {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        for (index, line) in text.as_deref().unwrap_or_default().lines().enumerate() {
            for word in PRIVATE.iter().filter(|word| line.contains(**word)) {
                let instead = "say it so that a reader of a fresh clone can follow";
                findings.push(Finding::new(path, index + 1, format!("`{word}`"), instead));
            }
        }
    }
    findings.into()
}
