//! Instructions for one request, counted by valgrind's callgrind over recorded requests, and held
//! to the rows of perf/budgets.toml. The count of a run is taken from that of a longer one, so that
//! preparing costs nothing. Skipped loudly where valgrind is missing, and on processors to which
//! the rows do not apply.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use klamm_counted::paths::{PATHS, Path as CountedPath};

/// What the rows of this test are called before the name of the path.
const PREFIX: &str = "request: ";

/// Lets the C library copy and fill with wide moves: of `rep movsb` valgrind counts each byte.
/// How it does that, and how checksums are made, follows from what valgrind shows of the processor:
/// the same Haswell for every host that has AVX2, however much more that has.
const NO_STRING_INSTRUCTIONS: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824:\
                                      glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// The row that is the difference of two others.
const EACH_MORE_RECORD: &str = "each more record of a batch, librdkafka";

/// Records of 100 bytes that the recorded batch of 16 KiB has.
const RECORDS_OF_16_KIB: f64 = 150.0;

/// Share of the ceiling below which a count is good news that the budget must learn.
const LOW: f64 = 0.75;

/// The program, optimized as the profile `counted` says; built once.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("inside the target folder");
        let built = Command::new(cargo)
            .args(["build", "--locked", "--quiet", "--profile", "counted"])
            .args(["--package", "klamm-counted", "--bin", "klamm-counted"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo");
        let words = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{words}");
        target.join("counted/klamm-counted")
    })
}

/// Why nothing can be counted here that the rows speak of.
fn missing() -> Option<&'static str> {
    #[cfg(not(target_arch = "x86_64"))]
    return Some("the rows are of x86-64");
    #[cfg(target_arch = "x86_64")]
    if !std::is_x86_feature_detected!("avx2") {
        return Some("the rows are of processors with AVX2");
    }
    let asked = Command::new("valgrind").arg("--version").output();
    let is_here = asked.is_ok_and(|output| output.status.success());
    (!is_here).then_some("valgrind is not here: apt-get install valgrind")
}

/// Instructions of a whole run. The profile stays in the target folder, for `callgrind_annotate`.
fn instructions(path: &str, requests: usize) -> u64 {
    let file = format!("{}.callgrind", path.replace([' ', ','], "-"));
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=99"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program())
        .args([path, &requests.to_string()])
        .env("GLIBC_TUNABLES", NO_STRING_INSTRUCTIONS)
        .output()
        .expect("valgrind");
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{path}: {words}");
    collected(&words).unwrap_or_else(|| panic!("{path}: no count in {words}"))
}

/// The number in `==12== Collected : 345`.
fn collected(words: &str) -> Option<u64> {
    let line = words.lines().find(|line| line.contains("Collected : "))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The rows of instructions: path and ceiling.
fn rows() -> Vec<(String, f64)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../budgets.toml");
    let text = std::fs::read_to_string(file).expect("the budgets");
    let table: toml::Table = text.parse().expect("rows");
    let rows = table["budget"].as_array().expect("an array of rows").iter();
    let rows = rows.filter(|row| row["counts"].as_str() == Some("instructions"));
    let pair = |row: &toml::Value| {
        let path = row["path"].as_str().expect("a path").to_owned();
        (path, row["most"].as_float().expect("a number"))
    };
    rows.map(pair).collect()
}

/// What is wrong with a count.
fn complaint(row: &str, found: f64, most: f64) -> Option<String> {
    if found > most {
        return Some(format!("{row}: {found:.0}, the budget is {most}"));
    }
    (found < most * LOW).then(|| format!("{row}: {found:.0}, lower the budget of {most}"))
}

#[test]
fn instructions_of_every_request_stay_in_their_budget() {
    let test = "instructions_of_every_request_stay_in_their_budget";
    if let Some(reason) = missing() {
        // Nothing is left to be told if standard error is gone.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
        return;
    }
    let mut found: Vec<(String, f64)> = PATHS.iter().map(counted).collect();
    found.push(each_more_record(&found));
    let rows = rows();
    let broken: Vec<String> = found
        .iter()
        .filter_map(|(path, found)| {
            let row = rows.iter().find(|(row, _)| row == path);
            let (_, most) = row.unwrap_or_else(|| panic!("no budget of instructions for {path}"));
            println!("{path}: {found:.0} instructions of {most}");
            complaint(path, *found, *most)
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_row_of_instructions_is_counted() {
    let more_record = format!("{PREFIX}{EACH_MORE_RECORD}");
    let counted = |row: &str| {
        let name = row.strip_prefix(PREFIX);
        row == more_record || PATHS.iter().any(|path| Some(path.name) == name)
    };
    for (row, _) in rows() {
        assert!(counted(&row), "nothing counts {row}");
    }
}

#[test]
fn counts_above_the_budget_and_far_below_it_are_complained_of() {
    assert_eq!(complaint("a path", 1000.0, 1000.0), None);
    assert_eq!(complaint("a path", 750.0, 1000.0), None);
    assert!(complaint("a path", 1001.0, 1000.0).is_some());
    assert!(complaint("a path", 749.0, 1000.0).is_some());
}

/// A path's row and what one of its requests takes.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a short run fit a double"
)]
fn counted(path: &CountedPath) -> (String, f64) {
    let [few, many] = [1, 2].map(|times| instructions(path.name, times * path.requests));
    let each = (many - few) as f64 / path.requests as f64;
    (format!("{PREFIX}{}", path.name), each)
}

/// What a record takes that comes in a batch with others.
fn each_more_record(found: &[(String, f64)]) -> (String, f64) {
    let of = |name: &str| {
        let row = found.iter().find(|(row, _)| row.ends_with(name));
        row.expect("a path").1
    };
    let full = of("produce of 16 KiB, librdkafka") - of("produce of one record, librdkafka");
    let row = format!("{PREFIX}{EACH_MORE_RECORD}");
    (row, full / (RECORDS_OF_16_KIB - 1.0))
}

#[test]
fn words_of_callgrind_are_understood() {
    let words = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
    assert_eq!(collected(words), Some(123_456));
    assert_eq!(collected("==7== valgrind: failed"), None);
}
