//! `klamm produce` and `klamm consume` as scripts use them.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Broker, unique, wait_for};

const KLAMM: &str = env!("CARGO_BIN_EXE_klamm");

/// Runs the binary with this on its standard input.
fn klamm(broker: &Broker, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(KLAMM)
        .args(arguments)
        .env("KLAMM_BOOTSTRAP", broker.address().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let mut stdin = child.stdin.take().expect("piped");
    // One that refuses its arguments reads nothing.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("our child")
}

/// Standard output of a command that must succeed.
fn told(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Standard error of a command that must fail.
fn refused(output: &Output, code: i32) -> String {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{err}");
    err
}

fn topic(broker: &Broker, partitions: &str) -> String {
    let name = unique("cli");
    let create = ["topic", "create", &name, "--partitions", partitions];
    told(&klamm(broker, &create, b""));
    name
}

fn produce(broker: &Broker, topic: &str, arguments: &[&str], input: &[u8]) -> Value {
    let all = [&["produce", topic, "--format", "json"], arguments].concat();
    let out = told(&klamm(broker, &all, input));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn consume(broker: &Broker, topic: &str, arguments: &[&str]) -> String {
    let all = [&["consume", topic, "--quiet"], arguments].concat();
    told(&klamm(broker, &all, b""))
}

#[test]
fn lines_become_records_and_records_lines_in_every_form() {
    let broker = Broker::start();
    let name = topic(&broker, "1");
    let arguments = ["-k", ":", "-H", "a=1", "-H", "b=2", "--null-as", "-"];
    let told = produce(&broker, &name, &arguments, b"k:v\r\n-:w\nlast:-");
    assert_eq!(
        (&told["delivered"], &told["failed"]),
        (&json!(3), &json!(0))
    );
    let shown = |format: &str| consume(&broker, &name, &["--format", format, "--null-as", "~"]);
    assert_eq!(shown("text"), "v\nw\n~\n");
    assert_eq!(shown("raw"), "vw~");
    assert_eq!(shown("key-value"), "k\tv\n~\tw\nlast\t~\n");
    assert_eq!(shown("hex"), "6b\t76\n~\t77\n6c617374\t~\n");
    assert_eq!(
        shown("%p/%o %K:%k %S:%s %h\\n").lines().next(),
        Some("0/0 1:k 1:v a=1,b=2")
    );
    let json: Vec<Value> = shown("json")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document"))
        .collect();
    assert_eq!(
        (&json[0]["key"], &json[1]["key"]),
        (&json!("k"), &Value::Null)
    );
    assert_eq!(
        json[0]["headers"],
        json!([{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    );
}

#[test]
fn what_consume_writes_as_json_produce_reads_whatever_the_bytes() {
    let broker = Broker::start();
    let (from, to) = (topic(&broker, "2"), topic(&broker, "2"));
    let lines = [
        json!({"key": "k", "value_hex": "00ff80", "partition": 1, "timestamp": 1234}),
        json!({"value": null, "partition": 0, "timestamp": 5, "headers": {"a": "b"}}),
        json!({"key_hex": "fe", "value": "ä\n", "partition": 1, "timestamp": 1235}),
    ];
    let input: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let codec = [
        "--json",
        "--compression",
        "zstd",
        "--compression-level",
        "3",
    ];
    produce(&broker, &from, &codec, input.join("\n").as_bytes());
    let first = consume(&broker, &from, &["--format", "json"]);
    assert_eq!(first.lines().count(), 3);
    assert!(first.contains("00ff80"), "{first}");
    produce(&broker, &to, &["--json"], first.as_bytes());
    let second = consume(&broker, &to, &["--format", "json"]);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.replace(&from, &to)).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&first), sorted(&second));
}

#[test]
fn reading_begins_and_stops_by_offset_by_time_and_by_count() {
    let broker = Broker::start();
    let name = topic(&broker, "1");
    let lines: Vec<String> = (0..10)
        .map(|number| json!({"value": number.to_string(), "timestamp": number * 100}).to_string())
        .collect();
    produce(&broker, &name, &["--json"], lines.join("\n").as_bytes());
    for (arguments, expected) in [
        (&["--from", "3", "--to", "6"][..], "345"),
        (&["--to", "2"], "01"),
        (&["--from", "-2"], "89"),
        (&["--to", "-8"], "01"),
        (&["--from", "@350", "--to", "@601"], "456"),
        (&["--from", "@100", "-n", "2"], "12"),
        (&["--from", "@5000"], ""),
        (&["--from", "end"], ""),
        (&["--from", "6", "--to", "6"], ""),
        (&["--to", "500"], "0123456789"),
        (&["-n", "0"], ""),
    ] {
        let all = [arguments, &["--format", "raw"]].concat();
        assert_eq!(consume(&broker, &name, &all), expected, "{arguments:?}");
    }
}

#[test]
fn one_partition_is_written_and_read_where_it_is_named() {
    let broker = Broker::start();
    let name = topic(&broker, "3");
    produce(&broker, &name, &["--partition", "2"], b"a\nb\n");
    produce(
        &broker,
        &name,
        &["--partitioner", "round-robin"],
        b"c\nd\ne\n",
    );
    let each = |partition: &str| {
        let arguments = ["--partition", partition, "--format", "raw"];
        consume(&broker, &name, &arguments)
    };
    assert_eq!((each("0").as_str(), each("1").as_str()), ("c", "d"));
    assert_eq!(each("2"), "abe");
    let three = each("0").len() + each("1").len() + each("2").len();
    assert_eq!(consume(&broker, &name, &["--format", "raw"]).len(), three);
    // Keys go where Java's clients put them: murmur2 of "kafka" is -798503068.
    produce(&broker, &name, &["-k", "="], b"kafka=x\n");
    let of_key = (-798_503_068_i64 & 0x7fff_ffff) % 3;
    assert!(each(&of_key.to_string()).ends_with('x'));
}

#[test]
fn the_summary_counts_batches_as_linger_and_batch_size_make_them() {
    let broker = Broker::start();
    let name = topic(&broker, "1");
    let input = "x\n".repeat(200);
    let batches = |arguments: &[&str]| {
        let told = produce(&broker, &name, arguments, input.as_bytes());
        assert_eq!(told["delivered"], 200);
        told["batches"].as_u64().expect("a number")
    };
    assert_eq!(batches(&["--batch-size", "1"]), 200);
    assert_eq!(
        batches(&["--linger-ms", "10000", "--batch-size", "1000000"]),
        1
    );
    let idempotence = ["--idempotence", "false", "--acks", "1"];
    assert!(batches(&idempotence) <= 200);
}

#[test]
fn a_line_leaves_after_its_linger_while_the_input_stays_open() {
    let broker = Broker::start();
    let name = topic(&broker, "1");
    let mut child = Command::new(KLAMM)
        .args(["produce", &name])
        .env("KLAMM_BOOTSTRAP", broker.address().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let mut stdin = child.stdin.take().expect("piped");
    for line in ["first", "second"] {
        writeln!(stdin, "{line}").expect("it reads");
        wait_for("a line to arrive", || {
            consume(&broker, &name, &[])
                .ends_with(&format!("{line}\n"))
                .then_some(())
        });
    }
    drop(stdin);
    let output = child.wait_with_output().expect("our child");
    told(&output);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("2 records delivered"), "{err}");
}

#[test]
fn what_cannot_be_done_says_what_would_mend_it() {
    let broker = Broker::start();
    let name = topic(&broker, "1");
    let fails = |arguments: &[&str], input: &[u8], code, words: &[&str]| {
        let err = refused(&klamm(&broker, arguments, input), code);
        for word in words {
            assert!(err.contains(word), "{word} is missing in: {err}");
        }
    };
    let missing = unique("missing");
    fails(&["produce", &missing], b"x\n", 1, &["klamm topic create"]);
    fails(&["consume", &missing], b"", 1, &["klamm topic list"]);
    fails(
        &["consume", &name, "--partition", "7"],
        b"",
        1,
        &["from 0 to 0"],
    );
    fails(
        &["consume", &name, "--from", "99", "--follow"],
        b"",
        1,
        &["--from beginning"],
    );
    fails(
        &["consume", &name, "--to", "5", "--follow"],
        b"",
        2,
        &["--follow"],
    );
    fails(
        &["produce", &name, "--json"],
        b"{\"vaule\":1}\n",
        1,
        &["line 1", "vaule"],
    );
    fails(&["produce", &name, "-k", ":"], b"a:b\nc\n", 1, &["line 2"]);
    let idempotence = ["produce", &name, "--acks", "1", "--idempotence", "true"];
    fails(&idempotence, b"x\n", 1, &["acks=all"]);
    fails(
        &["produce", &name, "--file", "/no/such/file"],
        b"",
        1,
        &["/no/such/file"],
    );
    let nowhere = ["produce", &name, "--bootstrap", "127.0.0.1:1"];
    fails(&nowhere, b"x\n", 1, &["--bootstrap"]);
    // What stood before the bad line was delivered.
    assert_eq!(
        consume(&broker, &name, &["--format", "key-value"]),
        "a\tb\n"
    );
    let small = unique("small");
    let create = [
        "topic",
        "create",
        &small,
        "--config",
        "max.message.bytes=100",
    ];
    told(&klamm(&broker, &create, b""));
    let large = format!("{}\n", "x".repeat(1000));
    fails(
        &["produce", &small],
        large.as_bytes(),
        1,
        &["max.message.bytes"],
    );
}
