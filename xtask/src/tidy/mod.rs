//! `cargo xtask tidy`: the laws of the house that no compiler holds. Each check is a function from
//! the tree to its findings; `CHECKS` is the list. It runs in `cargo test` as well.

mod bans;
mod decisions;
mod heads;
mod map;
mod names;
mod private;
mod roots;
mod served;
mod sizes;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod walls;

use std::fmt;
use std::path::Path;

use tree::Tree;
use walls::Workspace;

/// One breach of a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root.
    file: String,
    /// From 1; 0 where the finding is about the file as a whole.
    line: usize,
    /// What stands there.
    found: String,
    /// What to do instead.
    instead: String,
}

impl Finding {
    fn new(file: &str, line: usize, found: impl Into<String>, instead: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            found: found.into(),
            instead: instead.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            found,
            instead,
        } = self;
        match line {
            0 => write!(formatter, "{file}: {found}; {instead}"),
            _ => write!(formatter, "{file}:{line}: {found}; {instead}"),
        }
    }
}

/// What a check says.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    /// What could not be judged, and why.
    notes: Vec<String>,
}

impl From<Vec<Finding>> for Report {
    fn from(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            notes: Vec::new(),
        }
    }
}

/// A named law.
struct Check {
    name: &'static str,
    run: fn(&Tree, &Workspace) -> Report,
}

/// All laws. The drift of `docs/reference/` from the code belongs here as a row of its own as soon
/// as `klamm reference` writes those pages: generate into a temporary folder and compare.
const CHECKS: &[Check] = &[
    Check {
        name: "root list",
        run: roots::root_list,
    },
    Check {
        name: "default members",
        run: roots::default_members,
    },
    Check {
        name: "walls: the list itself",
        run: walls::list,
    },
    Check {
        name: "walls: dependencies",
        run: walls::dependencies,
    },
    Check {
        name: "walls: modules",
        run: walls::modules,
    },
    Check {
        name: "bans",
        run: bans::bans,
    },
    Check {
        name: "open ends",
        run: bans::open_ends,
    },
    Check {
        name: "names",
        run: names::names,
    },
    Check {
        name: "sizes",
        run: sizes::functions,
    },
    Check {
        name: "first lines",
        run: heads::first_lines,
    },
    Check {
        name: "unsafe is forbidden",
        run: heads::unsafe_is_forbidden,
    },
    Check {
        name: "map",
        run: map::map,
    },
    Check {
        name: "decisions",
        run: decisions::numbers,
    },
    Check {
        name: "served keys",
        run: served::served,
    },
    Check {
        name: "private words",
        run: private::private_words,
    },
];

/// Runs all checks on the tree at `root` and prints what they say; true when nothing was found.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let mut findings = 0;
    for (check, report) in reports(root)? {
        for note in &report.notes {
            println!("note: {check}: {note}");
        }
        for finding in &report.findings {
            println!("{finding} [{check}]");
        }
        findings += report.findings.len();
    }
    println!("tidy: {} checks, {findings} findings", CHECKS.len());
    Ok(findings == 0)
}

fn reports(root: &Path) -> Result<Vec<(&'static str, Report)>, String> {
    let tree = Tree::open(root)?;
    let workspace = Workspace::open(root)?;
    Ok(CHECKS
        .iter()
        .map(|check| (check.name, (check.run)(&tree, &workspace)))
        .collect())
}
