//! Each check can fail: a clean planted tree passes all of them, and one planted breach is found by
//! the check that watches for it, at its file and line. The real tree passes as a whole.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A small tree that obeys every law: a pure room, os, and the front.
const CLEAN: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/model\", \"crates/os\"]\n\
         default-members = [\".\", \"crates/model\", \"crates/os\"]\n\
         [package]\nname = \"klamm\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nklamm-os = { path = \"crates/os\" }\n",
    ),
    (
        "src/main.rs",
        "//! The front.\n#![forbid(unsafe_code)]\nfn main() {}\n",
    ),
    ("src/cli/mod.rs", "//! Commands.\nuse clap::Parser;\n"),
    (
        "src/served.rs",
        "//! Served.\nconst SERVED: &[Served] = &[row(ApiKey::Produce, 0, 13)];\n",
    ),
    ("src/handlers/h00_produce.rs", "//! Produce.\n"),
    (
        "docs/reference/apis.md",
        "| Key | Name |\n|---|---|\n| 0 | Produce |\n",
    ),
    (
        "crates/model/Cargo.toml",
        "[package]\nname = \"klamm-model\"\nedition = \"2024\"\n",
    ),
    (
        "crates/model/src/lib.rs",
        "//! Words.\n#![forbid(unsafe_code)]\n// std::fs in a comment\nconst A: &str = \"async\";\n\
         #[cfg(test)]\nmod tests {\n    fn f() { std::fs::read(\"x\").unwrap(); }\n}\n",
    ),
    (
        "crates/os/Cargo.toml",
        "[package]\nname = \"klamm-os\"\nedition = \"2024\"\n",
    ),
    (
        "crates/os/src/lib.rs",
        "//! Kernel.\nuse std::{fs, thread};\nasync fn f() { glommio::x() }\n",
    ),
    (
        "ARCHITECTURE.md",
        "`src/`, `src/cli/`, `src/handlers/`, `crates/model/`, `crates/os/` in crates/; \
         docs/, docs/reference/. See https://example.org/a/ and `/metrics/`.\n",
    ),
    (
        "layers.toml",
        "[package.klamm]\npath = \".\"\nring = \"front\"\nklamm = [\"klamm-os\"]\n\
         external = []\ntests = []\n\
         [package.klamm-model]\npath = \"crates/model\"\nring = \"pure\"\nklamm = []\n\
         external = []\ntests = []\n\
         [package.klamm-os]\npath = \"crates/os\"\nring = \"world\"\nklamm = []\n\
         external = [\"libc\"]\ntests = []\n\
         [instead]\nlibc = \"go through klamm-os\"\n\
         [[module]]\npackage = \"klamm\"\nnames = \"clap\"\nonly = [\"src/cli/\"]\ninstead = \"x\"\n",
    ),
];

/// Writes the clean tree, lets `spoil` change it, and returns what all checks find.
fn findings_after(spoil: impl FnOnce(&Path)) -> Vec<(&'static str, Finding)> {
    let folder = TempDir::new().expect("a temporary folder");
    for (path, text) in CLEAN {
        put(folder.path(), path, text);
    }
    spoil(folder.path());
    reports(folder.path())
        .expect("the planted tree can be read")
        .into_iter()
        .flat_map(|(check, report)| report.findings.into_iter().map(move |found| (check, found)))
        .collect()
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders");
    fs::write(path, text).expect("a planted file");
}

/// A file, its new text, and the check, file, line and words that must then be found.
#[track_caller]
fn check(path: &str, text: &str, expected: (&str, &str, usize, &str)) {
    let findings = findings_after(|root| put(root, path, text));
    let (check, file, line, words) = expected;
    let hit = findings.iter().any(|(name, finding)| {
        *name == check
            && finding.file == file
            && finding.line == line
            && finding.found.contains(words)
            && !finding.instead.is_empty()
    });
    assert!(hit, "expected {expected:?}, found {findings:#?}");
}

/// Adds code to the planted pure room, at line 3.
#[track_caller]
fn check_pure(code: &str, words: &str) {
    let text = format!("//! Words.\n#![forbid(unsafe_code)]\n{code}\n");
    let path = "crates/model/src/lib.rs";
    check(path, &text, ("bans", path, 3, words));
}

#[test]
fn the_real_tree_obeys() {
    let root = crate::repository_root();
    let mut found = String::new();
    for (check, report) in reports(&root).expect("the tree can be read") {
        for finding in report.findings {
            found.push_str(&format!("{finding} [{check}]\n"));
        }
    }
    assert!(found.is_empty(), "`cargo xtask tidy` finds:\n{found}");
}

#[test]
fn a_clean_tree_passes_every_check() {
    assert_eq!(findings_after(|_| {}), []);
}

#[test]
fn a_stranger_at_the_root_is_found() {
    check(
        "notes.txt",
        "x",
        ("root list", "notes.txt", 0, "not in the list"),
    );
}

#[test]
fn a_package_outside_the_default_members_is_found() {
    let text = CLEAN[0]
        .1
        .replace(", \"crates/os\"]\n[package]", "]\n[package]");
    assert_ne!(text, CLEAN[0].1);
    check(
        "Cargo.toml",
        &text,
        ("default members", "Cargo.toml", 0, "klamm-os"),
    );
}

#[test]
fn a_forbidden_dependency_is_found_and_its_home_named() {
    let text = format!("{}[dependencies]\nlibc = \"0.2\"\n", CLEAN[6].1);
    let findings = findings_after(|root| put(root, "crates/model/Cargo.toml", &text));
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].0, "walls: dependencies");
    assert_eq!(
        findings[0].1.to_string(),
        "crates/model/Cargo.toml:5: klamm-model may not depend on libc; go through klamm-os"
    );
}

#[test]
fn a_dependency_for_tests_needs_a_place_on_the_card() {
    let text = format!("{}[dev-dependencies]\nlibc = \"0.2\"\n", CLEAN[6].1);
    let path = "crates/model/Cargo.toml";
    check(
        path,
        &text,
        ("walls: dependencies", path, 5, "for its tests"),
    );
}

#[test]
fn an_arrow_outwards_is_found_in_the_list_itself() {
    let (path, text) = CLEAN[11];
    let outwards = text.replace(
        "ring = \"pure\"\nklamm = []",
        "ring = \"pure\"\nklamm = [\"klamm-os\"]",
    );
    assert_ne!(outwards, text);
    check(
        path,
        &outwards,
        ("walls: the list itself", path, 7, "would name klamm-os"),
    );
}

#[test]
fn a_card_without_a_package_and_a_package_without_a_card_are_found() {
    let (path, text) = CLEAN[11];
    let renamed = text.replace("[package.klamm-model]", "[package.klamm-words]");
    check(
        path,
        &renamed,
        ("walls: the list itself", path, 7, "does not exist"),
    );
    let manifest = "crates/model/Cargo.toml";
    check(
        path,
        &renamed,
        ("walls: the list itself", manifest, 0, "has no card"),
    );
}

#[test]
fn a_card_with_a_wrong_path_is_found() {
    let (path, text) = CLEAN[11];
    let moved = text.replace("path = \"crates/model\"", "path = \"model\"");
    let manifest = "crates/model/Cargo.toml";
    check(
        path,
        &moved,
        ("walls: the list itself", manifest, 0, "lies elsewhere"),
    );
}

#[test]
fn a_crate_named_outside_its_modules_is_found() {
    let text = "//! The front.\n#![forbid(unsafe_code)]\nuse clap::Parser;\nfn main() {}\n";
    check(
        "src/main.rs",
        text,
        ("walls: modules", "src/main.rs", 3, "`clap`"),
    );
    let inline = "//! Boot.\nfn f() -> clap::Command { g() }\n";
    check(
        "src/boot.rs",
        inline,
        ("walls: modules", "src/boot.rs", 2, "`clap`"),
    );
}

#[test]
fn each_pure_ban_is_found_as_path_and_as_import() {
    check_pure("async fn f() {}", "async");
    check_pure("fn f() { let a = async { 1 }; }", "async");
    check_pure("fn f() { let a = async move { 1 }; }", "async");
    check_pure("fn f() { g().await }", ".await");
    check_pure("fn f() { std::time::Instant::now(); }", "Instant::now");
    check_pure("use std::time::SystemTime;", "SystemTime");
    check_pure("use std::{thread, fmt};", "std::thread");
    check_pure("fn f() { std::fs::read(\"x\"); }", "std::fs");
    check_pure("use std::{io, net::{self, TcpStream}};", "std::net");
    check_pure("use std::collections::{BTreeMap, HashMap};", "HashMap");
    check_pure("type A = std::collections::HashSet<u8>;", "HashSet");
    check_pure("use std::hash::RandomState;", "RandomState");
    check_pure("fn f() -> u8 { rand::random() }", "rand::");
    check_pure("use rand::Rng;", "rand::");
}

#[test]
fn the_runtime_is_named_in_os_only_even_by_tests() {
    let text = "//! Wait.\n#[test]\nfn f() { glommio::yield_now(); }\n";
    check("src/wait.rs", text, ("bans", "src/wait.rs", 3, "glommio"));
}

#[test]
fn shipped_code_has_no_loose_ends() {
    for code in ["x.unwrap();", "todo!();", "unimplemented!();", "dbg!(x);"] {
        let text = format!("//! Boot.\nfn f() {{\n    {code}\n}}\n");
        let word = code
            .trim_start_matches('x')
            .split('(')
            .next()
            .expect("a word");
        check("src/boot.rs", &text, ("bans", "src/boot.rs", 3, word));
    }
}

#[test]
fn a_silenced_test_is_found() {
    let text = format!(
        "//! Boot.\n#[test]\n#[{}]\nfn f() {{}}\n",
        "ignore = \"slow\""
    );
    check(
        "tests/boot.rs",
        &text,
        ("bans", "tests/boot.rs", 3, "ignore"),
    );
}

#[test]
fn files_of_declared_test_modules_are_test_code() {
    let findings = findings_after(|root| {
        let text = "//! Words.\n#![forbid(unsafe_code)]\n#[cfg(test)]\nmod claims;\n";
        put(root, "crates/model/src/lib.rs", text);
        put(
            root,
            "crates/model/src/claims.rs",
            "//! Claims.\nfn f() { g().unwrap() }\n",
        );
    });
    assert_eq!(findings, []);
}

#[test]
fn an_open_end_in_a_comment_is_found() {
    let text = format!("//! Boot.\n// {} later\n", concat!("FIX", "ME"));
    check("src/boot.rs", &text, ("open ends", "src/boot.rs", 2, "FIX"));
}

#[test]
fn long_function_is_found_unless_it_is_a_test() {
    let long = |lines: usize| format!("fn long(a: [u8; 3]) {{\n{}}}\n", "a();\n".repeat(lines - 2));
    let text = format!("//! Boot.\ntrait T {{ fn short(); }}\n{}", long(81));
    check(
        "src/boot.rs",
        &text,
        ("sizes", "src/boot.rs", 3, "long has 81 lines"),
    );
    let text = format!("//! Boot.\n{}#[test]\n{}", long(80), long(200));
    let findings = findings_after(|root| put(root, "src/boot.rs", &text));
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn empty_words_are_found_in_files_folders_and_types() {
    check(
        "src/helpers.rs",
        "//! X.\n",
        ("names", "src/helpers.rs", 0, "helpers"),
    );
    check("docs/misc/a.md", "x", ("names", "docs/misc", 0, "misc"));
    let text = "//! X.\nstruct GroupManager;\n";
    check(
        "src/group.rs",
        text,
        ("names", "src/group.rs", 2, "GroupManager"),
    );
}

#[test]
fn the_word_with_two_meanings_is_found_in_any_identifier() {
    let text = format!("//! X.\nfn f() {{ let {}_end = 1; }}\n", concat!("l", "so"));
    check("src/end.rs", &text, ("names", "src/end.rs", 2, "_end"));
}

#[test]
fn a_file_without_first_line_is_found() {
    check(
        "src/boot.rs",
        "fn f() {}\n",
        ("first lines", "src/boot.rs", 1, "no word"),
    );
}

#[test]
fn a_crate_that_permits_unsafe_is_found_unless_it_is_os() {
    let path = "crates/model/src/lib.rs";
    check(
        path,
        "//! Words.\n",
        ("unsafe is forbidden", path, 1, "klamm-model"),
    );
}

#[test]
fn a_missing_map_is_found() {
    let findings =
        findings_after(|root| fs::remove_file(root.join("ARCHITECTURE.md")).expect("the map"));
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].1.to_string().split(';').next(),
        Some("ARCHITECTURE.md: does not exist")
    );
}

#[test]
fn map_and_tree_must_agree_both_ways() {
    let map = "ARCHITECTURE.md";
    check(
        "docs/adr/0001-a.md",
        "x",
        ("map", map, 0, "`docs/adr/` is not on the map"),
    );
    let text = format!("{}\n`src/net/` waits.\n", CLEAN[10].1);
    check(map, &text, ("map", map, 3, "`src/net/` does not exist"));
}

#[test]
fn a_decision_has_a_number_of_its_own() {
    let findings = findings_after(|root| {
        let folder = root.join("docs/adr");
        fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in [
            ("0001-a.md", "# 0001 A\n"),
            ("0001-b.md", "# 0001 B\n"),
            ("0002-c.md", "# 0003 C\n"),
            ("notes.md", "# Notes\n"),
        ] {
            fs::write(folder.join(name), text).expect("a decision");
        }
    });
    let said: Vec<String> = findings
        .iter()
        .filter(|(check, _)| *check == "decisions")
        .map(|(_, finding)| finding.to_string())
        .collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("0001-b.md: has the number of `docs/adr/0001-a.md`"));
    assert!(said[1].contains("0002-c.md:1: the title lacks the number"));
    assert!(said[2].contains("notes.md: has no number"));
}

#[test]
fn a_served_key_needs_handler_and_reference() {
    let path = "src/served.rs";
    let text = "//! Served.\nconst A: B = [\n    row(ApiKey::Produce, 0, 13),\n    \
                row(ApiKey::InitProducerId, 0, 5),\n];\n";
    check(path, text, ("served keys", path, 4, "without a handler"));
    check(
        path,
        text,
        ("served keys", path, 4, "no row in docs/reference/apis.md"),
    );
    check(path, "//! Served.\n", ("served keys", path, 0, "no rows"));
}

#[test]
fn a_handler_needs_a_served_key() {
    let path = "src/handlers/h01_fetch.rs";
    check(path, "//! Fetch.\n", ("served keys", path, 0, "not served"));
}

#[test]
fn without_a_table_the_served_keys_are_skipped_aloud() {
    let folder = TempDir::new().expect("a temporary folder");
    for (path, text) in CLEAN.iter().filter(|(path, _)| *path != "src/served.rs") {
        put(folder.path(), path, text);
    }
    let reports = reports(folder.path()).expect("the planted tree can be read");
    let (_, report) = reports
        .iter()
        .find(|(name, _)| *name == "served keys")
        .expect("the check");
    assert_eq!(report.findings, []);
    assert_eq!(report.notes, ["skipped: there is no src/served.rs yet"]);
}

#[test]
fn private_words_are_found_in_any_file() {
    for word in [
        concat!("/wo", "rk/x"),
        concat!("../sha", "red"),
        concat!("farm-", "bench"),
    ] {
        let text = format!("a\nsee {word}\n");
        check(
            "docs/notes.md",
            &text,
            ("private words", "docs/notes.md", 2, ""),
        );
    }
}
