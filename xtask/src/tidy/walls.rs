//! Who may name whom: `layers.toml` against `cargo metadata`, against itself, and against the
//! modules that have a narrower right than their package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::tree::Tree;
use super::{Finding, Report};

const LAYERS: &str = "layers.toml";

/// The rings of the house, from the outside in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ring {
    Front,
    Live,
    World,
    Pure,
    Tools,
}

impl Ring {
    /// True where code of this ring may name code of the other.
    fn may_name(self, other: Self) -> bool {
        match self {
            // A tool may be one of the front's commands; the module rules say from which file.
            Self::Front => other != Self::Front,
            Self::Live => matches!(other, Self::World | Self::Pure),
            Self::World => false,
            Self::Pure => other == Self::Pure,
            Self::Tools => true,
        }
    }
}

/// A package's card in `layers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Room {
    pub(crate) path: String,
    pub(crate) ring: Ring,
    code: Option<Ring>,
    klamm: BTreeSet<String>,
    external: BTreeSet<String>,
    tests: BTreeSet<String>,
}

impl Room {
    /// The ring whose bans hold for the code.
    pub(crate) fn code(&self) -> Ring {
        self.code.unwrap_or(self.ring)
    }

    /// The folder of the shipped code, with a slash at the end.
    pub(crate) fn source_folder(&self) -> String {
        if self.path == "." {
            "src/".to_owned()
        } else {
            format!("{}/src/", self.path)
        }
    }
}

/// A crate that only some modules of a package may name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleRule {
    package: String,
    names: String,
    only: Vec<String>,
    instead: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    package: BTreeMap<String, Room>,
    #[serde(default)]
    instead: BTreeMap<String, String>,
    #[serde(default)]
    module: Vec<ModuleRule>,
}

/// What cargo says of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    id: String,
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: String,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_default_members: Vec<String>,
}

/// The packages as cargo sees them and as `layers.toml` wants them.
pub(crate) struct Workspace {
    metadata: Metadata,
    layers: Layers,
}

impl Workspace {
    pub(crate) fn open(root: &Path) -> Result<Self, String> {
        let layers = fs::read_to_string(root.join(LAYERS))
            .map_err(|error| format!("cannot read {LAYERS}: {error}"))?;
        let layers = toml::from_str(&layers).map_err(|error| format!("{LAYERS}: {error}"))?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .current_dir(root)
            .output()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let metadata = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata: {error}"))?;
        Ok(Self { metadata, layers })
    }

    /// The rooms by package name.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = (&str, &Room)> {
        self.layers
            .package
            .iter()
            .map(|(name, room)| (name.as_str(), room))
    }

    /// Packages that a bare `cargo build` or `cargo test` would leave out.
    pub(crate) fn not_by_default(&self) -> impl Iterator<Item = &str> {
        let default = &self.metadata.workspace_default_members;
        self.metadata
            .packages
            .iter()
            .filter(|package| !default.contains(&package.id))
            .map(|package| package.name.as_str())
    }

    /// The first file of each library and program, as path from the root, with its package.
    pub(crate) fn crate_roots<'a>(&'a self, tree: &Tree) -> Vec<(&'a str, String)> {
        let mut found = Vec::new();
        for package in &self.metadata.packages {
            for target in &package.targets {
                let ships = target
                    .kind
                    .iter()
                    .any(|kind| matches!(kind.as_str(), "lib" | "bin"));
                if let (true, Some(path)) = (ships, relative(tree, &target.src_path)) {
                    found.push((package.name.as_str(), path));
                }
            }
        }
        found
    }
}

/// A path of cargo's, from the root.
fn relative(tree: &Tree, path: &str) -> Option<String> {
    let root = tree.root.canonicalize().ok()?;
    let path = Path::new(path).canonicalize().ok()?;
    Some(path.strip_prefix(root).ok()?.to_string_lossy().into_owned())
}

/// The list names the packages that exist, where they are, and no arrow in it points outwards.
pub(crate) fn list(tree: &Tree, workspace: &Workspace) -> Report {
    let layers = &workspace.layers;
    let mut findings = Vec::new();
    let mut exist = BTreeSet::new();
    for package in &workspace.metadata.packages {
        exist.insert(package.name.as_str());
        let manifest = relative(tree, &package.manifest_path).unwrap_or_default();
        let Some(room) = layers.package.get(&package.name) else {
            let found = format!("package {} has no card in {LAYERS}", package.name);
            findings.push(Finding::new(
                &manifest,
                0,
                found,
                "add one, with an ADR for its arrows",
            ));
            continue;
        };
        let expected = if room.path == "." {
            String::new()
        } else {
            format!("{}/", room.path)
        };
        if manifest != format!("{expected}Cargo.toml") {
            let found = format!(
                "package {} lies elsewhere than `{}`",
                package.name, room.path
            );
            findings.push(Finding::new(
                &manifest,
                0,
                found,
                format!("correct {LAYERS}"),
            ));
        }
    }
    for (name, room) in &layers.package {
        let line = line_of(tree, LAYERS, &format!("[package.{name}]"));
        if !exist.contains(name.as_str()) {
            let found = format!("package {name} does not exist");
            findings.push(Finding::new(LAYERS, line, found, "remove its card"));
        }
        for other in &room.klamm {
            let allowed = layers
                .package
                .get(other)
                .is_some_and(|o| room.ring.may_name(o.ring));
            if !allowed {
                let found = format!("{name} ({:?}) would name {other}", room.ring);
                let instead = "arrows point inwards: let the outer room call, and pass values";
                findings.push(Finding::new(LAYERS, line, found, instead));
            }
        }
    }
    findings.into()
}

/// Every declared dependency is allowed by the card of its package.
pub(crate) fn dependencies(tree: &Tree, workspace: &Workspace) -> Report {
    let layers = &workspace.layers;
    let mut findings = Vec::new();
    for package in &workspace.metadata.packages {
        let Some(room) = layers.package.get(&package.name) else {
            continue; // `list` reports it
        };
        let manifest = relative(tree, &package.manifest_path).unwrap_or_default();
        for dependency in &package.dependencies {
            let name = &dependency.name;
            let for_tests = dependency.kind.as_deref() == Some("dev");
            let allowed = room.klamm.contains(name)
                || room.external.contains(name)
                || (for_tests && room.tests.contains(name));
            if allowed {
                continue;
            }
            let use_of = if for_tests { "for its tests" } else { "" };
            let found = format!("{} may not depend on {name} {use_of}", package.name);
            let instead = layers.instead.get(name).map_or_else(
                || format!("let the room that may do the work, or change {LAYERS} with an ADR"),
                Clone::clone,
            );
            let line = line_of(tree, &manifest, name);
            findings.push(Finding::new(&manifest, line, found.trim_end(), instead));
        }
    }
    findings.into()
}

/// The first line that begins with the text, or 0.
fn line_of(tree: &Tree, file: &str, begins: &str) -> usize {
    let text = tree.text(file).unwrap_or_default();
    text.lines()
        .position(|line| line.starts_with(begins))
        .map_or(0, |index| index + 1)
}

/// Crates that a package may name in some modules only are named nowhere else in its `src/`.
pub(crate) fn modules(tree: &Tree, workspace: &Workspace) -> Report {
    let mut findings = Vec::new();
    for rule in &workspace.layers.module {
        let Some(room) = workspace.layers.package.get(&rule.package) else {
            let found = format!("a module rule for {}, which does not exist", rule.package);
            findings.push(Finding::new(LAYERS, 0, found, "remove it"));
            continue;
        };
        let folder = room.source_folder();
        for (path, source) in &tree.sources {
            let allowed = rule.only.iter().any(|place| {
                path == place || (place.ends_with('/') && path.starts_with(place.as_str()))
            });
            if allowed || !path.starts_with(&folder) {
                continue;
            }
            let mention =
                source.tokens.iter().enumerate().find(|(at, token)| {
                    token.text == rule.names && is_path_head(&source.tokens, *at)
                });
            if let Some((_, token)) = mention {
                let found = format!("`{}` outside {}", rule.names, rule.only.join(" and "));
                findings.push(Finding::new(path, token.line, found, rule.instead.clone()));
            }
        }
    }
    findings.into()
}

/// True where the word begins a path: a `use` of it, or `word::`.
fn is_path_head(tokens: &[super::source::Token], at: usize) -> bool {
    let next = tokens.get(at + 1).map(|token| token.text.as_str());
    let before = at.checked_sub(1).map(|before| tokens[before].text.as_str());
    next == Some("::") || matches!(before, Some("use" | "crate"))
}
