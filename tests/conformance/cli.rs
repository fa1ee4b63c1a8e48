//! The command line, and the commands that README.md promises.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Broker, Log, Options, skipped, unique};

const KLAMM: &str = env!("CARGO_BIN_EXE_klamm");

pub(crate) fn klamm(broker: &Broker, arguments: &[&str]) -> Output {
    Command::new(KLAMM)
        .args(arguments)
        .env("KLAMM_BOOTSTRAP", broker.address().to_string())
        .stdin(Stdio::null())
        .output()
        .expect("the binary under test starts")
}

/// What a command that must succeed wrote to its two streams.
pub(crate) fn told(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

#[test]
fn topics_are_made_listed_and_deleted_for_eyes_and_for_programs() {
    let broker = Broker::start();
    let name = unique("cli");
    let json = |arguments: &[&str]| {
        let (out, _) = told(&klamm(
            &broker,
            &[arguments, &["--format", "json"]].concat(),
        ));
        serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    };
    let made = json(&["topic", "create", &name, "--partitions", "2"]);
    assert_eq!(made[0]["name"], name.as_str());
    assert_eq!(
        (&made[0]["partitions"], &made[0]["created"]),
        (&2.into(), &true.into())
    );
    let (out, _) = told(&klamm(&broker, &["topic", "list"]));
    let row = out.lines().find(|line| line.starts_with(&name));
    let cells: Vec<_> = row.expect("listed").split_whitespace().collect();
    assert_eq!((cells[1], cells[2]), ("2", "1"), "{out}");
    assert_eq!(
        json(&["topic", "describe", &name])[0]["name"],
        name.as_str()
    );
    let listed = json(&["topic", "list"]);
    let rows = listed.as_array().expect("rows");
    assert!(rows.iter().any(|row| row["name"] == name.as_str()));
    assert_eq!(json(&["topic", "delete", &name])[0]["deleted"], true);
    let again = klamm(&broker, &["topic", "delete", &name]);
    let text = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{text}");
    assert!(text.contains("klamm topic list"), "no cure in: {text}");
}

#[test]
fn values_that_do_nothing_are_told_to_whoever_sets_them() {
    let broker = Broker::start();
    let (name, config) = (unique("told"), ["--config", "segment.jitter.ms=1000"]);
    let arguments = [&["topic", "create", name.as_str()], &config[..]].concat();
    let (out, err) = told(&klamm(&broker, &arguments));
    assert_eq!(out, format!("created {name} with 1 partition\n"));
    let note = "note: segment.jitter.ms=1000: No effect yet";
    assert!(err.contains(note), "{err}");
    let name = unique("silent");
    let config = ["--config", "max.message.bytes=1000"];
    let arguments = [&["topic", "create", name.as_str()], &config[..]].concat();
    assert_eq!(told(&klamm(&broker, &arguments)).1, "");
}

/// `klamm doctor` for a data folder.
fn doctor(data: &Path, arguments: &[&str]) -> Output {
    let data = format!("log.dirs={}", data.display());
    Command::new(KLAMM)
        .args(["doctor", "--set", &data])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary under test starts")
}

/// What it told programs, and its exit code.
fn diagnosis(data: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = doctor(data, &[arguments, &["--format", "json"]].concat());
    let told = serde_json::from_slice(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    let told = told.unwrap_or_else(|error| panic!("{error}: {err}"));
    (told, output.status.code())
}

#[test]
fn doctor_says_of_every_knob_what_it_found_to_people_and_to_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = ["--set", "klamm.durability=written"];
    let (told, code) = diagnosis(folder.path(), &written);
    let checks = told["checks"].as_array().expect("checks");
    let text = doctor(folder.path(), &written);
    assert_eq!((code, text.status.code()), (Some(0), Some(0)), "{told:#}");
    let text = String::from_utf8(text.stdout).expect("text");
    let mut counts = BTreeMap::new();
    for check in checks {
        let field = |name: &str| check[name].as_str();
        let (knob, state) = (field("knob").expect("text"), field("state").expect("text"));
        *counts.entry(state).or_insert(0) += 1;
        assert!(
            field("found").is_some() && field("expected").is_some(),
            "{check}"
        );
        assert_eq!(field("why").is_none(), state == "good", "{check}");
        assert_eq!(field("fix").is_some(), state == "advice", "{check}");
        assert!(
            text.contains(&format!("{state:<8} {knob} ")),
            "{knob} is missing in {text}"
        );
    }
    for (state, count) in counts {
        assert_eq!(told["counts"][state], count);
    }
    let state = |knob: &str| {
        let mut found = checks.iter().filter(|check| check["knob"] == knob);
        found.next().map(|check| check["state"].clone())
    };
    // What every broker of these tests needs.
    for knob in ["io_uring", "memlock", "free space"] {
        assert_eq!(state(knob), Some("good".into()), "{knob}");
    }
    assert!(text.ends_with("0 problem\n"), "{text}");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0
    );
}

#[test]
fn doctor_fails_where_the_broker_would_break_its_promise_or_not_start() {
    let illegal = ["--set", "klamm.shards=0"];
    let folder = tempfile::tempdir().expect("a folder");
    let refused = doctor(folder.path(), &illegal);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("klamm.shards"), "{text}");
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        let test = "doctor_fails_where_the_broker_would_break_its_promise_or_not_start";
        return skipped(test, "there is no /dev/shm");
    };
    let (told, code) = diagnosis(&memory.path().join("data"), &[]);
    let checks = told["checks"].as_array().expect("checks");
    let problems: Vec<_> = checks
        .iter()
        .filter(|check| check["state"] == "problem")
        .collect();
    assert_eq!(code, Some(1), "{told:#}");
    assert!(
        problems.iter().any(|check| check["knob"] == "file system"),
        "{problems:?}"
    );
}

/// The blocks of shell in README.md, in order.
fn readme_commands() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).expect("README.md");
    let blocks = text.split("```sh\n").skip(1);
    let block = |block: &str| {
        block
            .split("```")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    blocks.map(block).collect()
}

/// `cargo run --release --` in README.md is this binary, without building it a second time: cargo
/// runs the default binary of the package at the root, and that is what the tests are built for.
#[test]
fn first_commands_of_the_readme_mean_the_broker_and_its_tests() {
    let commands = readme_commands();
    assert_eq!(commands[0], "cargo run --release -- serve");
    assert_eq!(commands[1], "cargo test --workspace");
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let metadata: Value = serde_json::from_str(&told(&metadata).0).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let defaults = packages
        .iter()
        .filter(|package| !package["default_run"].is_null());
    let [package] = defaults.collect::<Vec<_>>()[..] else {
        panic!("one package must say what `cargo run` means");
    };
    assert_eq!(
        (&package["name"], &package["default_run"]),
        (&"klamm".into(), &"klamm".into())
    );
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(package["manifest_path"], manifest);
    let members = metadata["workspace_default_members"]
        .as_array()
        .expect("members");
    assert!(members.contains(&package["id"]), "{members:?}");
    let targets = package["targets"].as_array().expect("targets");
    let binary = targets
        .iter()
        .find(|target| target["kind"][0] == "bin" && target["name"] == "klamm");
    assert!(binary.is_some(), "{targets:?}");
}

/// The first command with nothing changed but the ports.
#[test]
fn readmes_serve_keeps_its_data_where_the_readme_says() {
    let command = readme_commands().swap_remove(0);
    let (_, words) = command.split_once(" -- ").expect("words for klamm");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut child = Command::new(KLAMM)
        .args(words.split_whitespace())
        .args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"])
        .args(["--set", "klamm.admin.listener=127.0.0.1:0"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let log = Log::default();
    log.follow(child.stderr.take().expect("piped"));
    let limit = Duration::from_secs(60);
    let ready = log.find(0, limit, |line| line.contains("ready after").then_some(()));
    let made = folder.path().join("klamm-data/meta.properties").exists();
    child.kill().expect("our child");
    child.wait().expect("our child");
    assert!(ready.is_some() && made, "{}", log.text());
}

/// How each block of README.md is run: by the test named here, or not at all, and why. A block that is
/// new has no line yet.
const README_BLOCKS: [(&str, &str); 6] = [
    (
        "-- serve",
        "readmes_serve_keeps_its_data_where_the_readme_says",
    ),
    (
        "cargo test",
        "not run: it is what runs this; first_commands_of_the_readme_mean_the_broker_and_its_tests",
    ),
    (
        "-- topic create",
        "readmes_commands_for_another_terminal_work_as_they_stand",
    ),
    (
        "--group readers",
        "readmes_commands_for_another_terminal_work_as_they_stand",
    ),
    ("-- bench", "readmes_load_is_made_and_measured_as_it_stands"),
    ("-- doctor", "readmes_doctor_says_what_this_machine_lacks"),
];

#[test]
fn every_block_of_the_readme_is_run_by_a_test_or_said_not_to_be() {
    let blocks = readme_commands();
    assert_eq!(blocks.len(), README_BLOCKS.len(), "{blocks:#?}");
    for (block, (part, _)) in blocks.iter().zip(README_BLOCKS) {
        assert!(block.contains(part), "{part}: {block}");
    }
}

/// Runs a block of README.md in a shell to which `cargo run --release --` is this binary, on this
/// broker instead of the one with the usual address.
fn run_block(block: &str, broker: Option<&Broker>) -> Output {
    let address = broker.map(|broker| broker.address().to_string());
    let bench = match &address {
        Some(address) => {
            format!("[ \"$1 $2\" != 'bench produce' ] || set -- \"$@\" --bootstrap {address}")
        }
        None => ":".to_owned(),
    };
    let script = format!(
        "set -eu\ncargo() {{ [ \"$1 $2 $3\" = 'run --release --' ]; shift 3; {bench}; '{KLAMM}' \"$@\"; }}\n{block}"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null());
    shell.envs(address.map(|address| ("KLAMM_BOOTSTRAP", address)));
    shell.output().expect("a shell")
}

#[test]
fn readmes_doctor_says_what_this_machine_lacks() {
    let output = run_block(&readme_commands()[5], None);
    let text = String::from_utf8_lossy(&output.stdout);
    // This machine may have problems.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{text}");
    assert!(text.contains(" knobs: "), "{text}");
}

/// Of every command that README.md names in passing, up to its first option or value, there is help.
#[test]
fn commands_that_the_readme_names_in_passing_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).expect("README.md");
    let spans = text.split('`').skip(1).step_by(2);
    let mut named = BTreeSet::new();
    for span in spans {
        let Some(words) = span.strip_prefix("klamm ") else {
            continue;
        };
        let is_plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let words: Vec<_> = words.split_whitespace().take_while(is_plain).collect();
        named.insert(words);
    }
    assert!(named.len() > 8, "{named:?}");
    for words in named {
        // What a word may be is said by the help as well: a shell behind `completions`.
        let output = Command::new(KLAMM).args(&words).arg("--help").output();
        let output = output.expect("the binary under test starts");
        assert!(output.status.success(), "klamm {words:?}");
    }
}

/// The other commands, as they stand.
#[test]
fn readmes_commands_for_another_terminal_work_as_they_stand() {
    let broker = Broker::start();
    let all = readme_commands();
    let commands = &all[2];
    assert!(commands.contains("topic create greetings"), "{commands}");
    if broker.process().is_none() {
        return skipped("readme", "the broker that runs may have the topic");
    }
    let output = run_block(commands, Some(&broker));
    let (out, err) = told(&output);
    assert_eq!(out, "created greetings with 3 partitions\nhello\n", "{err}");
    assert!(err.contains("1 record delivered"), "{err}");
    assert!(err.lines().any(|line| line == "1 record"), "{err}");
    let (out, err) = told(&run_block(&all[3], Some(&broker)));
    assert!(
        out.starts_with("hello\ngroup readers  Empty  classic"),
        "{out}{err}"
    );
    assert!(err.contains("assigned greetings:0-2\n"), "{err}");
}

#[test]
fn readmes_load_is_made_and_measured_as_it_stands() {
    let test = "readmes_load_is_made_and_measured_as_it_stands";
    let Some(broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let output = run_block(&readme_commands()[4], Some(&broker));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    // A busy machine cannot keep the rate, and says so.
    assert!(
        output.status.success() || text.contains("DROPPED"),
        "{text}{err}"
    );
    assert!(text.contains("p99"), "{text}{err}");
}
