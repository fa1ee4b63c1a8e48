//! The root of the repository: what may lie there, and that a bare `cargo test` means everything.

use std::collections::BTreeSet;

use super::tree::Tree;
use super::walls::Workspace;
use super::{Finding, Report};

/// Everything that may lie at the root.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "layers.toml",
    "perf",
    "raftlog",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "shard",
    "src",
    "tests",
    "tuning.md",
    "xtask",
];

/// Nothing lies at the root but what the list names.
pub(crate) fn root_list(tree: &Tree, _: &Workspace) -> Report {
    let names: BTreeSet<&str> = tree
        .files
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    let strangers = names.into_iter().filter(|name| !ROOT.contains(name));
    let instead =
        "put it into the room that it belongs to; ROOT in xtask/src/tidy/roots.rs is the list";
    strangers
        .map(|name| Finding::new(name, 0, "not in the list of the root", instead))
        .collect::<Vec<_>>()
        .into()
}

/// Every package is a default member, so that no bare command leaves one out.
pub(crate) fn default_members(_: &Tree, workspace: &Workspace) -> Report {
    workspace
        .not_by_default()
        .map(|name| {
            let found = format!("package {name} is no default member");
            Finding::new(
                "Cargo.toml",
                0,
                found,
                "add its folder to `default-members`",
            )
        })
        .collect::<Vec<_>>()
        .into()
}
