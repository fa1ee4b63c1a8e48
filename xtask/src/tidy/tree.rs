//! The files of the repository as tidy sees them: what git tracks or would track. A folder without
//! `.git` (an unpacked archive, a planted tree of a test) is walked instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::source::Source;

/// Every file by its path from the root, with `/` between the parts.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// Text of each file, or `None` where it is not UTF-8.
    pub(crate) files: BTreeMap<String, Option<String>>,
    /// Tokens of each Rust file.
    pub(crate) sources: BTreeMap<String, Source>,
}

impl Tree {
    pub(crate) fn open(root: &Path) -> Result<Self, String> {
        let paths = if root.join(".git").exists() {
            tracked(root)?
        } else {
            walked(root)?
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let full = root.join(&path);
            // Gone from the disk but not yet from the index, or a link: nothing to read.
            if full
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_file())
            {
                let bytes = fs::read(&full)
                    .map_err(|error| format!("cannot read {}: {error}", full.display()))?;
                files.insert(path, String::from_utf8(bytes).ok());
            }
        }
        let mut sources: BTreeMap<String, Source> = BTreeMap::new();
        for (path, text) in &files {
            if let (true, Some(text)) = (path.ends_with(".rs"), text) {
                sources.insert(path.clone(), Source::read(text));
            }
        }
        mark_test_files(&mut sources);
        Ok(Self {
            root: root.to_path_buf(),
            files,
            sources,
        })
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(Option::as_deref)
    }

    /// Directories that hold files, at most `depth` levels down, without a slash at the end.
    pub(crate) fn directories(&self, depth: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for path in self.files.keys() {
            let parts: Vec<&str> = path.split('/').collect();
            for level in 1..parts.len().min(depth + 1) {
                found.insert(parts[..level].join("/"));
            }
        }
        found
    }
}

/// Files that are test code as a whole.
fn mark_test_files(sources: &mut BTreeMap<String, Source>) {
    let mut declared = Vec::new();
    for (path, source) in &*sources {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let children = match file {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            other => format!("{folder}/{}", other.trim_end_matches(".rs")),
        };
        declared.extend(
            source
                .test_modules
                .iter()
                .map(|name| format!("{children}/{name}")),
        );
    }
    for (path, source) in sources {
        let by_place = path.starts_with("tests/") || path.contains("/tests/");
        let by_declaration = declared.iter().any(|module| {
            path.strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
        if by_place || by_declaration {
            source
                .tokens
                .iter_mut()
                .for_each(|token| token.in_test = true);
            source
                .imports
                .iter_mut()
                .for_each(|import| import.in_test = true);
        }
    }
}

fn tracked(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot start git: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    Ok(list
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect())
}

fn walked(root: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry
                .map_err(|error| format!("{}: {error}", folder.display()))?
                .path();
            let relative = path.strip_prefix(root).expect("entries lie below the root");
            let name = relative.to_string_lossy().into_owned();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(name);
            }
        }
    }
    Ok(found)
}
