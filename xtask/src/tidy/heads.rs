//! How files begin: every one says what it is, and every crate outside os forbids `unsafe`.

use super::tree::Tree;
use super::walls::{Ring, Workspace};
use super::{Finding, Report};

/// Every Rust file opens with `//!`.
pub(crate) fn first_lines(tree: &Tree, _: &Workspace) -> Report {
    let mut findings = Vec::new();
    for path in tree.sources.keys() {
        let opens = tree.text(path).unwrap_or_default().starts_with("//! ");
        if !opens {
            let instead = "open with `//!`: purpose, owner of the state, place in the walk";
            findings.push(Finding::new(
                path,
                1,
                "no word on what this file is",
                instead,
            ));
        }
    }
    findings.into()
}

/// Every library and program, except those of the ring that touches the kernel, forbids `unsafe`.
pub(crate) fn unsafe_is_forbidden(tree: &Tree, workspace: &Workspace) -> Report {
    const FORBID: [&str; 8] = ["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"];
    let mut findings = Vec::new();
    for (package, path) in workspace.crate_roots(tree) {
        let exempt = workspace
            .rooms()
            .any(|(name, room)| name == package && room.ring == Ring::World);
        let Some(source) = tree.sources.get(&path) else {
            continue;
        };
        let forbids = source.tokens.windows(FORBID.len()).any(|window| {
            window
                .iter()
                .zip(FORBID)
                .all(|(token, word)| token.text == word)
        });
        if !exempt && !forbids {
            let found = format!("{package} does not forbid unsafe code");
            let instead = "put `#![forbid(unsafe_code)]` below the first lines; unsafe lives in os";
            findings.push(Finding::new(&path, 1, found, instead));
        }
    }
    findings.into()
}
