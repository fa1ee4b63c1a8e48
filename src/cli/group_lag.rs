//! `klamm group lag` and `klamm group history`: what the broker itself knows of groups, from its
//! admin listener. Other brokers than klamm have none.

use clap::Args;
use serde_json::{Value, json};

use super::cluster::size_words;
use super::connect::Failure;
use super::instant::shown;
use super::output::{Format, Side, Table, print, print_json};
use super::top::Endpoint;
use crate::words::counted;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group lag\n  \
    klamm group lag orders --admin 10.0.0.7:9644\n  \
    klamm group lag orders billing --format json\n\n\
    AGE is that of the oldest record that was not read. A ~ stands before what was judged and not counted.")]
pub(super) struct LagArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Names of the groups; all of them, without their partitions, if none is named.
    names: Vec<String>,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm group history orders\n  \
    klamm group history orders --format json\n\n\
    The broker remembers it in memory alone: a restart forgets it.")]
pub(super) struct HistoryArguments {
    #[command(flatten)]
    admin: AdminArguments,
    /// Name of the group.
    name: String,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct AdminArguments {
    /// Address of the broker's klamm.admin.listener.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "KLAMM_ADMIN",
        default_value = "127.0.0.1:9644"
    )]
    admin: Endpoint,
}

impl AdminArguments {
    fn get(&self, path: &str) -> Result<Value, Failure> {
        let text = self.admin.get(path)?;
        let document = serde_json::from_str(&text);
        document.map_err(|error| Failure(format!("the answer to {path} is no JSON: {error}")))
    }

    /// All groups, page by page.
    fn groups(&self) -> Result<Vec<Value>, Failure> {
        let mut groups = Vec::new();
        let mut path = "/groups".to_owned();
        loop {
            let mut page = self.get(&path)?;
            if let Some(more) = page["groups"].as_array_mut() {
                groups.append(more);
            }
            match page["next"].as_str() {
                Some(next) => path = format!("/groups?after={}", escaped(next)),
                None => return Ok(groups),
            }
        }
    }
}

pub(super) fn lag(arguments: &LagArguments) -> Result<(), Failure> {
    let names = arguments.names.iter();
    let found = match arguments.names.is_empty() {
        true => arguments.admin.groups()?,
        false => names
            .map(|name| arguments.admin.get(&format!("/groups/{}", escaped(name))))
            .collect::<Result<Vec<_>, _>>()?,
    };
    match arguments.format {
        Format::Json => print_json(&json!(found))?,
        Format::Table if arguments.names.is_empty() => print(&all_text(&found))?,
        Format::Table => {
            let texts: Vec<String> = found.iter().map(group_text).collect();
            print(&texts.join("\n"))?;
        }
    }
    Ok(())
}

pub(super) fn history(arguments: &HistoryArguments) -> Result<(), Failure> {
    let path = format!("/groups/{}/history", escaped(&arguments.name));
    let page = arguments.admin.get(&path)?;
    match arguments.format {
        Format::Json => print_json(&page)?,
        Format::Table => print(&history_text(&page))?,
    }
    Ok(())
}

/// A name as it stands in a path.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// What clients said, without what a terminal would obey.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    let sign = |sign: char| if sign.is_control() { '\u{fffd}' } else { sign };
    text.chars().map(sign).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// `~` before what was judged.
fn judged(text: String, is_exact: &Value) -> String {
    match is_exact.as_bool() {
        Some(false) => format!("~{text}"),
        _ => text,
    }
}

fn size(of: &Value) -> String {
    judged(size_words(number(&of["bytes"])), &of["bytes_exact"])
}

fn age(of: &Value) -> String {
    match of["seconds"].as_f64() {
        None => "-".to_owned(),
        Some(seconds) => judged(span(seconds), &of["seconds_exact"]),
    }
}

/// A length of time in the unit that suits it.
fn span(seconds: f64) -> String {
    match seconds {
        _ if seconds < 60.0 => format!("{seconds:.1} s"),
        _ if seconds < 3_600.0 => format!("{:.1} min", seconds / 60.0),
        _ if seconds < 86_400.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

fn all_text(groups: &[Value]) -> String {
    if groups.is_empty() {
        return "there are no groups\n".to_owned();
    }
    let mut table = Table::new(&[
        ("GROUP", Side::Left),
        ("STATE", Side::Left),
        ("MEMBERS", Side::Right),
        ("VERDICT", Side::Left),
        ("RECORDS", Side::Right),
        ("SIZE", Side::Right),
        ("AGE", Side::Right),
        ("MISSED", Side::Right),
    ]);
    for group in groups {
        let lag = &group["lag"];
        let cell = |text: String| if lag.is_null() { "-".to_owned() } else { text };
        table.row(vec![
            plain(&group["group"]),
            plain(&group["state"]),
            number(&group["members"]).to_string(),
            plain(&group["verdict"]),
            cell(number(&lag["records"]).to_string()),
            cell(size(lag)),
            cell(age(lag)),
            cell(number(&lag["missed_records"]).to_string()),
        ]);
    }
    table.render()
}

fn group_text(group: &Value) -> String {
    let mut text = format!(
        "group {}  {}  {}  {}",
        plain(&group["group"]),
        plain(&group["state"]),
        counted(number(&group["members"]), "member"),
        plain(&group["verdict"]),
    );
    if let Some(seconds) = group["verdict_seconds"].as_f64() {
        text.push_str(&format!(" for {}", span(seconds)));
    }
    let rate = |name: &str| group["rates"][name].as_f64();
    if let Some((consumed, produced)) = rate("consumed_per_second").zip(rate("produced_per_second"))
    {
        text.push_str(&format!("  reads {consumed:.1}/s of {produced:.1}/s"));
    }
    text.push('\n');
    if group["reason"].is_string() {
        text.push_str(&format!("{}\n", plain(&group["reason"])));
    }
    let list = |name: &str| group[name].as_array().map_or(&[][..], Vec::as_slice);
    let (partitions, uncommitted) = (list("partitions"), list("uncommitted"));
    if partitions.is_empty() && uncommitted.is_empty() {
        text.push_str("no offsets are committed\n");
        return text;
    }
    let mut table = Table::new(&[
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("COMMITTED", Side::Right),
        ("END", Side::Right),
        ("RECORDS", Side::Right),
        ("SIZE", Side::Right),
        ("AGE", Side::Right),
        ("MISSED", Side::Right),
        ("STILL FOR", Side::Right),
        ("MEMBER", Side::Left),
    ]);
    for one in partitions {
        let still = one["still_seconds"].as_f64().filter(|&still| still > 0.0);
        let still = still.map_or_else(|| "-".to_owned(), span);
        let stuck = if one["stuck"] == true { " stuck" } else { "" };
        table.row(vec![
            plain(&one["topic"]),
            one["partition"].to_string(),
            one["committed"].to_string(),
            one["high_watermark"].to_string(),
            number(&one["records"]).to_string(),
            size(one),
            age(one),
            number(&one["missed_records"]).to_string(),
            format!("{still}{stuck}"),
            plain(&one["member"]),
        ]);
    }
    for one in uncommitted {
        let mut cells = vec![plain(&one["topic"]), one["partition"].to_string()];
        cells.resize(9, "-".to_owned());
        cells.push(plain(&one["member"]));
        table.row(cells);
    }
    text.push_str(&table.render());
    let omitted = number(&group["partitions_omitted"]);
    if omitted > 0 {
        text.push_str(&format!("not shown: {}\n", counted(omitted, "partition")));
    }
    text
}

fn history_text(page: &Value) -> String {
    let since = page["since_ms"].as_i64().unwrap_or(0);
    let mut text = format!(
        "group {}, since the start of the broker at {}\n",
        plain(&page["group"]),
        shown(since)
    );
    let forgotten = number(&page["forgotten"]);
    if forgotten > 0 {
        text.push_str(&format!(
            "forgotten before: {}\n",
            counted(forgotten, "event")
        ));
    }
    let events = page["events"].as_array().map_or(&[][..], Vec::as_slice);
    if events.is_empty() {
        text.push_str("nothing happened to it\n");
    }
    for event in events {
        let at = event["at_ms"].as_i64().unwrap_or(0);
        text.push_str(&format!("{}  {}", shown(at), plain(&event["text"])));
        if let Some(took) = event["took_seconds"].as_f64() {
            text.push_str(&format!(", after {}", span(took)));
        }
        if event["client_host"].is_string() {
            let (client, host) = (plain(&event["client_id"]), plain(&event["client_host"]));
            text.push_str(&format!(
                ", client {client} at {}",
                host.trim_start_matches('/')
            ));
        }
        text.push('\n');
        for moved in event["moved"]["members"].as_array().into_iter().flatten() {
            let member = plain(&moved["member"]);
            for (word, sign) in [("gained", '+'), ("lost", '-')] {
                for topic in moved[word].as_array().into_iter().flatten() {
                    let partitions = topic["partitions"].as_array().into_iter().flatten();
                    let partitions: Vec<String> = partitions.map(Value::to_string).collect();
                    let topic = plain(&topic["topic"]);
                    text.push_str(&format!(
                        "    {sign} {topic} {}  {member}\n",
                        partitions.join(",")
                    ));
                }
            }
        }
        let unnamed = number(&event["moved"]["unnamed"]);
        if unnamed > 0 {
            text.push_str(&format!(
                "    not named: {}\n",
                counted(unnamed, "partition")
            ));
        }
    }
    let refused = number(&page["refused_commits"]["total"]);
    if refused > 0 {
        text.push_str(&format!("{} refused\n", counted(refused, "commit")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_lines_that_no_client_can_break() {
        let page = json!({
            "group": "a\u{1b}[2Jb", "since_ms": 0, "forgotten": 1,
            "events": [
                {"at_ms": 1_000, "event": "joined", "text": "member m joined, saying \"x\"", "member": "m",
                 "client_id": "c\n", "client_host": "/10.0.0.1"},
                {"at_ms": 2_000, "event": "rebalance-ended", "text": "generation 1 is stable, members 1",
                 "took_seconds": 1.5, "moved": {"gained": 3, "lost": 0, "unnamed": 1,
                 "members": [{"member": "m", "gained": [{"topic": "t", "partitions": [0, 2]}], "lost": []}]}}
            ],
            "refused_commits": {"total": 2}
        });
        let text = history_text(&page);
        let expected = "group a\u{fffd}[2Jb, since the start of the broker at 1970-01-01T00:00:00.000Z\n\
            forgotten before: 1 event\n\
            1970-01-01T00:00:01.000Z  member m joined, saying \"x\", client c\u{fffd} at 10.0.0.1\n\
            1970-01-01T00:00:02.000Z  generation 1 is stable, members 1, after 1.5 s\n    \
            + t 0,2  m\n    \
            not named: 1 partition\n\
            2 commits refused\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn lag_that_was_judged_is_marked() {
        let group = json!({
            "group": "g", "state": "Stable", "members": 2, "verdict": "stuck", "verdict_seconds": 90.0,
            "rates": {"consumed_per_second": 0.0, "produced_per_second": 10.0},
            "partitions": [{"topic": "t", "partition": 0, "committed": 5, "high_watermark": 9, "records": 4,
                "bytes": 2048, "bytes_exact": false, "seconds": 7_200.0, "seconds_exact": true,
                "missed_records": 0, "still_seconds": 75.0, "stuck": true}]
        });
        let text = group_text(&group);
        assert!(
            text.contains("2 members  stuck for 1.5 min  reads 0.0/s of 10.0/s"),
            "{text}"
        );
        assert!(text.contains("~2.0 KiB  2.0 h"), "{text}");
        assert!(
            text.contains("1.2 min stuck") || text.contains("1.3 min stuck"),
            "{text}"
        );
    }

    #[test]
    fn a_group_before_its_first_look_has_no_lag() {
        let group =
            json!({"group": "g", "state": "Empty", "members": 0, "verdict": null, "lag": null});
        let text = all_text(&[group]);
        assert!(
            text.lines()
                .any(|line| line.starts_with("g      Empty") && line.ends_with('-')),
            "{text}"
        );
        assert_eq!(all_text(&[]), "there are no groups\n");
    }
}
