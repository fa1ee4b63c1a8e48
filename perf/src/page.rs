//! All evidence as one HTML file for people: ratios with their intervals, what each window cost,
//! latency curves. Drawn from perf/runs alone, with nothing from outside.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::{Problem, statistics::median};

/// Draws the runs of a folder.
///
/// # Errors
/// The folder cannot be read, a run in it is not understood, or the file cannot be written.
pub fn write(runs: &Path, into: &Path) -> Result<(), Problem> {
    let entries = fs::read_dir(runs).map_err(|error| Problem::at(runs.display(), error))?;
    let mut names: Vec<_> = entries
        .map_while(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.join("raw.json").is_file())
        .collect();
    names.sort();
    let mut read = Vec::new();
    for path in names.into_iter().rev() {
        let raw = path.join("raw.json");
        let text = fs::read_to_string(&raw).map_err(|error| Problem::at(raw.display(), error))?;
        let run = serde_json::from_str(&text).map_err(|error| Problem::at(raw.display(), error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        read.push((name.into_owned(), run));
    }
    fs::write(into, page(&read)).map_err(|error| Problem::at(into.display(), error))
}

const STYLE: &str = "\
:root{--ink:#16202c;--soft:#5d6b7a;--line:#e3e8ee;--paper:#f6f8fa;--card:#fff;--klamm:#0b7a75;\
--kafka:#c4622d;--no:#9aa6b2}\
@media(prefers-color-scheme:dark){:root{--ink:#e8edf2;--soft:#93a1b0;--line:#2a3440;\
--paper:#11171e;--card:#19212a;--klamm:#37c2b8;--kafka:#ee9661;--no:#66727f}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}main{max-width:1000px;margin:0 auto;padding:40px 20px}\
h1{font-size:30px;margin:0 0 4px;letter-spacing:-.02em}h2{font-size:20px;margin:0}\
p{margin:6px 0;max-width:75ch}.soft{color:var(--soft)}\
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 24px;\
margin:22px 0;overflow-x:auto}.big{display:flex;gap:36px;flex-wrap:wrap;margin:14px 0 4px}\
.big b{display:block;font-size:34px;line-height:1.1;letter-spacing:-.02em}\
svg{display:block;width:100%;min-width:680px;height:auto;margin-top:14px}svg text{fill:var(--ink);\
font:12px system-ui,sans-serif}svg .s{fill:var(--soft)}svg .g{stroke:var(--line)}\
.k{color:var(--klamm)}.a{color:var(--kafka)}svg .kf{fill:var(--klamm)}svg .af{fill:var(--kafka)}\
svg .kl{stroke:var(--klamm);fill:none;stroke-width:2}svg .al{stroke:var(--kafka);fill:none;\
stroke-width:2}svg .n{fill:none;stroke:var(--no);stroke-width:1.5}svg .nl{stroke:var(--no)}\
table{border-collapse:collapse;width:100%;margin-top:14px;font-variant-numeric:tabular-nums}\
th{font-weight:500;color:var(--soft);font-size:13px}th,td{padding:5px 10px 5px 0;text-align:right;\
border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}\
details{margin-top:12px}summary{cursor:pointer;color:var(--soft)}code{font-size:12px;\
overflow-wrap:anywhere}";

/// The page of runs, the newest first.
#[must_use]
pub fn page(runs: &[(String, Value)]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>klamm beside Apache Kafka</title><style>{STYLE}</style></head><body><main>\n\
         <h1><span class=\"k\">klamm</span> beside <span class=\"a\">Apache Kafka</span></h1>\n\
         <p class=\"soft\">Both brokers on the same core of the same machine, loaded by turns, A B \
         B A. A ratio is Kafka's cost over klamm's within a pair, or klamm's rate over Kafka's; its median stands with a 90 % \
         bootstrap interval, or is refused. Above 1, klamm is cheaper. Drawn from the raw data in \
         perf/runs.</p>\n"
    );
    scorecard(&mut html, runs);
    for (name, run) in runs {
        section(&mut html, name, run);
    }
    html.push_str("</main></body></html>\n");
    html
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, path: &str) -> Option<f64> {
    value.pointer(path).and_then(Value::as_f64)
}

fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    let found = value.pointer(path).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn section(html: &mut String, name: &str, run: &Value) {
    let rows = list(run, "/rows");
    let say = |path| escaped(text(run, path));
    let dirty = run.pointer("/dirty").and_then(Value::as_bool) == Some(true);
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<section id=\"{}\"><h2>{}</h2><p class=\"soft\">{}, {} · {} processors {} · commit {}{} · \
         class {}</p>",
        escaped(name),
        say("/date"),
        say("/machine/name"),
        say("/machine/kernel"),
        number(run, "/machine/processors").unwrap_or(0.0),
        say("/machine/processor"),
        say("/commit"),
        if dirty {
            " with uncommitted changes"
        } else {
            ""
        },
        say("/durability"),
    );
    if !text(run, "/note").is_empty() {
        let _ = write!(html, "<p>{}</p>", say("/note"));
    }
    headline(html, rows);
    ratios(html, rows);
    for row in rows {
        curves(html, row);
    }
    costs(html, rows);
    let command: Vec<&str> = list(run, "/command")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let _ = write!(
        html,
        "<details><summary>Command and settings</summary><p><code>{}</code></p>",
        escaped(&command.join(" "))
    );
    for setting in list(run, "/settings") {
        let lines: Vec<&str> = list(setting, "/1")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let who = escaped(text(setting, "/0"));
        let _ = write!(
            html,
            "<p><code>{who}: {}</code></p>",
            escaped(&lines.join("; "))
        );
    }
    html.push_str("</details></section>\n");
}

/// The newest verdict on each quantity that has a goal, over all runs, the newest of which is first.
fn scorecard(html: &mut String, runs: &[(String, Value)]) {
    let mut seen = BTreeMap::new();
    for (name, run) in runs {
        for row in list(run, "/rows") {
            for verdict in list(row, "/verdicts") {
                let goal = ["/goal/ratio", "/goal/most"];
                if goal.iter().all(|path| number(verdict, path).is_none()) {
                    continue;
                }
                let key = |value: &Value, path: &str| text(value, path).to_owned();
                let key = (
                    key(row, "/file"),
                    key(row, "/class"),
                    key(verdict, "/goal/quantity"),
                );
                seen.entry(key).or_insert((name, verdict));
            }
        }
    }
    if seen.is_empty() {
        return;
    }
    html.push_str(
        "<section><h2>Scorecard</h2><p class=\"soft\">Goal and got, from the newest run of each row.\
         </p><table><tr><th>Scenario</th><th>Class</th><th>Quantity</th><th class=\"k\">klamm</th>\
         <th>At most</th><th>Ratio</th><th>At least</th><th>Reached</th></tr>",
    );
    for ((file, class, quantity), (name, verdict)) in seen {
        let refused = verdict.get("refused").is_some_and(|why| !why.is_null());
        let ratio = number(verdict, "/ratio/median").filter(|_| !refused);
        let (least, most) = (
            number(verdict, "/goal/ratio"),
            number(verdict, "/goal/most"),
        );
        let figures = list(verdict, "/figures").iter();
        let klamm = figures.filter(|figure| text(figure, "/0") == "klamm");
        let klamm = klamm.filter_map(|figure| number(figure, "/1")).next();
        let least_reached = least.map(|least| ratio.map(|ratio| ratio >= least));
        let most_reached = most.map(|most| klamm.map(|klamm| klamm <= most));
        let reached = [least_reached, most_reached].into_iter().flatten();
        let reached = reached.reduce(|one, other| Some(one? && other?)).flatten();
        let words = |value: Option<f64>, mark: &str| {
            value.map_or_else(
                || "–".to_owned(),
                |value| format!("{}{mark}", three_digits(value)),
            )
        };
        let got = if refused {
            format!("refused: {}", escaped(text(verdict, "/refused")))
        } else {
            words(ratio, "×")
        };
        let _ = write!(
            html,
            "<tr><td><a href=\"#{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{got}</td><td>{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(&file),
            escaped(&class),
            escaped(&quantity),
            words(klamm, ""),
            words(most, ""),
            words(least, "×"),
            match reached {
                Some(true) => "<b class=\"k\">yes</b>",
                Some(false) => "no",
                None => "–",
            }
        );
    }
    html.push_str("</table></section>");
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A row's median ratio, unless it is refused.
fn accepted(row: &Value) -> Option<f64> {
    let refused = row.get("refused").is_some_and(|why| !why.is_null());
    number(row, "/ratio/median").filter(|_| !refused)
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn headline(html: &mut String, rows: &[Value]) {
    let ratios: Vec<f64> = rows.iter().filter_map(accepted).collect();
    if ratios.is_empty() {
        return;
    }
    let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    let mean = (logs / ratios.len() as f64).exp();
    let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let _ = write!(
        html,
        "<div class=\"big\"><div><b class=\"k\">{mean:.1}×</b>geometric mean</div>\
         <div><b>{worst:.1}×</b>worst row</div><div><b>{} of {}</b>rows decided</div></div>",
        ratios.len(),
        rows.len()
    );
}

/// Where ratios lie on a logarithmic axis.
struct Axis {
    left: f64,
    right: f64,
    low: f64,
    high: f64,
}

impl Axis {
    fn x(&self, value: f64) -> f64 {
        let share = (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln());
        self.left + (self.right - self.left) * share.clamp(0.0, 1.0)
    }
}

fn ratios(html: &mut String, rows: &[Value]) {
    const STEP: f64 = 30.0;
    let rows: Vec<&Value> = rows
        .iter()
        .filter(|row| number(row, "/ratio/median").is_some())
        .collect();
    if rows.is_empty() {
        return;
    }
    let ends = rows
        .iter()
        .flat_map(|row| [number(row, "/ratio/low"), number(row, "/ratio/high")]);
    let ends: Vec<f64> = ends.flatten().collect();
    let low = ends.iter().copied().fold(0.8, f64::min);
    let high = ends.iter().copied().fold(2.0, f64::max) * 1.15;
    let axis = Axis {
        left: 230.0,
        right: 760.0,
        low,
        high,
    };
    let height = rows.iter().fold(44.0, |height, _| height + STEP);
    let _ = write!(html, "<svg viewBox=\"0 0 960 {height}\" role=\"img\">");
    for mark in [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        if (low..=high).contains(&mark) {
            let x = axis.x(mark);
            let width = if mark == 1.0 { 2 } else { 1 };
            let _ = write!(
                html,
                "<line class=\"g\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"10\" y2=\"{:.1}\" \
                 stroke-width=\"{width}\"/><text class=\"s\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{mark}×</text>",
                height - 26.0,
                height - 8.0
            );
        }
    }
    let mut y = 26.0;
    for row in rows {
        ratio(html, &axis, y, row);
        y += STEP;
    }
    html.push_str("</svg>");
}

fn ratio(html: &mut String, axis: &Axis, y: f64, row: &Value) {
    let at = |path: &str| axis.x(number(row, path).unwrap_or(1.0));
    let (low, middle, high) = (at("/ratio/low"), at("/ratio/median"), at("/ratio/high"));
    let base = y + 4.0;
    let _ = write!(
        html,
        "<text x=\"220\" y=\"{base}\" text-anchor=\"end\">{}<title>{}</title></text>",
        escaped(text(row, "/file")),
        escaped(text(row, "/scenario/about"))
    );
    for pair in list(row, "/ratios").iter().filter_map(Value::as_f64) {
        let x = axis.x(pair);
        let _ = write!(
            html,
            "<circle class=\"kf\" cx=\"{x:.1}\" cy=\"{y}\" r=\"2.5\" opacity=\".35\"/>"
        );
    }
    let (line, dot, words) = match accepted(row) {
        Some(median) => ("kl", "kf", format!("{median:.1}×")),
        None => ("nl", "n", format!("refused: {}", text(row, "/refused"))),
    };
    let _ = write!(
        html,
        "<line class=\"{line}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y}\" y2=\"{y}\"/>\
         <circle class=\"{dot}\" cx=\"{middle:.1}\" cy=\"{y}\" r=\"5.5\"/>\
         <text x=\"772\" y=\"{base}\">{}</text>",
        escaped(&words)
    );
}

/// Latency curves of a row, if it has them and latency is what it is about.
fn curves(html: &mut String, row: &Value) {
    let about_latency = text(row, "/scenario/judge/kind") == "latency";
    let curves = list(row, "/curves");
    if curves.is_empty() || !about_latency {
        return;
    }
    let points = |curve: &Value| -> Vec<(f64, f64)> {
        let pairs = list(curve, "/1").iter();
        pairs
            .filter_map(|pair| Some((number(pair, "/0")?, number(pair, "/1")?)))
            .collect()
    };
    let all: Vec<f64> = curves.iter().flat_map(&points).map(|(_, us)| us).collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min).max(1.0);
    let high = all.iter().copied().fold(10.0, f64::max);
    let axis = Axis {
        left: 250.0,
        right: 20.0,
        low: 10_f64.powf(low.log10().floor()),
        high: 10_f64.powf(high.log10().ceil()),
    };
    let _ = write!(
        html,
        "<svg viewBox=\"0 0 960 300\" role=\"img\"><text x=\"70\" y=\"14\">{}</text>",
        escaped(text(row, "/file"))
    );
    let mut decade = axis.low;
    while decade <= axis.high * 1.01 {
        let y = axis.x(decade);
        let _ = write!(
            html,
            "<line class=\"g\" x1=\"70\" x2=\"940\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"s\" x=\"62\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            microseconds(decade)
        );
        decade *= 10.0;
    }
    let x = |share: f64| 70.0 + 870.0 * (-(1.0 - share).log10() / 5.0).clamp(0.0, 1.0);
    for (words, share) in [
        ("p0", 0.0),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99.9", 0.999),
        ("p99.99", 0.9999),
    ] {
        let _ = write!(
            html,
            "<text class=\"s\" x=\"{:.1}\" y=\"272\" text-anchor=\"middle\">{words}</text>",
            x(share)
        );
    }
    for curve in curves {
        let class = if text(curve, "/0") == "klamm" {
            "kl"
        } else {
            "al"
        };
        let mut path = String::new();
        for (share, us) in points(curve) {
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{:.1} {:.1}", x(share), axis.x(us));
        }
        let _ = write!(html, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    html.push_str("</svg>");
}

fn microseconds(value: f64) -> String {
    match value {
        ..1e3 => format!("{value:.0} us"),
        ..1e6 => format!("{:.0} ms", value / 1e3),
        _ => format!("{:.0} s", value / 1e6),
    }
}

fn costs(html: &mut String, rows: &[Value]) {
    html.push_str(
        "<table><tr><th>Scenario</th><th>Quantity</th><th class=\"a\">Other</th>\
         <th class=\"k\">klamm</th><th>Ratio</th><th>Interval</th><th>Pairs</th></tr>",
    );
    for row in rows {
        let cost = |kind: &str| {
            let windows = list(row, "/windows").iter();
            let of =
                windows.filter(|window| (text(window, "/broker") == "klamm") == (kind == "klamm"));
            let costs: Vec<f64> = of.filter_map(|window| number(window, "/cost")).collect();
            if costs.is_empty() {
                "–".to_owned()
            } else {
                format!("{:.3}", median(&costs))
            }
        };
        let words = match (accepted(row), number(row, "/ratio/median")) {
            (Some(median), _) => format!("<b>{median:.1}×</b>"),
            (None, Some(_)) => format!("refused: {}", escaped(text(row, "/refused"))),
            (None, None) => "–".to_owned(),
        };
        let interval = match (
            accepted(row),
            number(row, "/ratio/low"),
            number(row, "/ratio/high"),
        ) {
            (Some(_), Some(low), Some(high)) => format!("{low:.1} – {high:.1}"),
            _ => String::new(),
        };
        let _ = write!(
            html,
            "<tr><td title=\"{}\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{words}</td>\
             <td>{interval}</td><td>{}</td></tr>",
            escaped(text(row, "/scenario/about")),
            escaped(text(row, "/file")),
            escaped(text(row, "/unit")),
            cost("other"),
            cost("klamm"),
            list(row, "/ratios").len()
        );
    }
    html.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Value {
        serde_json::json!({
            "date": "2026-01-31", "note": "a <note>", "machine": {"name": "m"},
            "rows": [
                {
                    "file": "w6", "scenario": {"judge": {"kind": "latency"}}, "unit": "cpu-us/request",
                    "ratios": [4.0, 5.0, 6.0], "ratio": {"median": 5.0, "low": 4.0, "high": 6.0},
                    "refused": null,
                    "windows": [{"broker": "kafka", "cost": 10.0}, {"broker": "klamm", "cost": 2.0}],
                    "curves": [["klamm", [[0.0, 50.0], [0.9, 80.0]]], ["kafka", [[0.0, 500.0]]]],
                },
                {
                    "file": "w1", "class": "written", "verdicts": [{
                        "goal": {"quantity": "cpu-s/GiB", "ratio": 6.0, "most": 0.4},
                        "figures": [["kafka", 3.0], ["klamm", 0.5]],
                        "ratio": {"median": 6.0}, "refused": null,
                    }],
                    "ratios": [1.0], "ratio": {"median": 1.0, "low": 0.9, "high": 1.1},
                    "refused": "the interval crosses one",
                },
            ],
        })
    }

    #[test]
    fn page_shows_decided_rows_and_says_why_others_are_not() {
        let html = page(&[("one".to_owned(), run())]);
        assert!(
            html.contains("<b class=\"k\">5.0×</b>"),
            "the mean of what is decided"
        );
        assert!(html.contains("1 of 2") && html.contains("refused: the interval crosses one"));
        assert!(html.contains("a &lt;note&gt;"));
        assert_eq!(html.matches("<path").count(), 2);
    }

    #[test]
    fn scorecard_shows_goal_and_got_of_the_newest_run() {
        let mut older = run();
        older["rows"][1]["verdicts"][0]["figures"][1][1] = 0.3.into();
        let html = page(&[("new".to_owned(), run()), ("old".to_owned(), older)]);
        assert_eq!(
            html.matches("cpu-s/GiB</td>").count(),
            1,
            "one line for both runs"
        );
        let line = "<td>0.50</td><td>0.40</td><td>6.00×</td><td>6.00×</td><td>no</td>";
        assert!(html.contains(line), "{html}");
    }

    #[test]
    fn page_needs_nothing_from_outside() {
        let html = page(&[("one".to_owned(), run())]);
        for word in ["http:", "https:", "<script", "@import", "url("] {
            assert!(!html.contains(word), "{word}");
        }
    }

    #[test]
    fn evidence_in_the_repository_can_be_drawn() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/runs");
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(Path::new(folder), file.path()).expect("drawn");
        let html = fs::read_to_string(file.path()).expect("written");
        assert!(html.contains("<section") && html.contains("w3-unbatched-64"));
    }
}
