//! `klamm doctor`: checks the host for every knob of tuning.md, and prints what mends it. Changes
//! nothing, and asks no running broker.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use klamm_os::survey::{Survey, Tree};
use serde_json::{Map, Value, json};

use super::configured::{Configured, host_facts};
use super::fail;
use super::output::{print, print_json};
use crate::config::Config;
use crate::data_folders::main_first;
use crate::disk_room;
use crate::doctor::{Finding, State, Subject, examine, examine_folder};
use crate::startup_report::StartProblem;

/// Form of the findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Text,
    /// One JSON document for programs.
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm doctor\n  \
    klamm doctor --config server.properties --format json\n\n\
    Exit codes: 0 no problem, 1 the broker would not start or could not keep its promises. Advice is \
    no problem.\ntuning.md says of each knob what it does, and how to measure it.")]
pub(super) struct DoctorArguments {
    #[command(flatten)]
    configured: Configured,

    /// Form of the findings: text for people, json for programs.
    #[arg(
        long,
        value_enum,
        value_name = "text|json",
        default_value_t,
        hide_possible_values = true
    )]
    format: Form,
}

pub(super) fn run(arguments: &DoctorArguments) -> ExitCode {
    let raw = match arguments.configured.read() {
        Ok(raw) => raw,
        Err(error) => return fail(&error.to_string()),
    };
    let config = match Config::from_raw(&raw, &host_facts()) {
        Ok((mut config, warnings)) => {
            for warning in warnings {
                eprintln!("note: {warning}");
            }
            config.data_dirs = main_first(config.data_dirs);
            config
        }
        Err(problems) => {
            let problems = problems.into_iter().map(StartProblem::from);
            let lines: Vec<_> = problems.map(|problem| problem.to_string()).collect();
            return fail(&format!("klamm would not start:\n  {}", lines.join("\n  ")));
        }
    };
    let mut findings = Vec::new();
    for (number, folder) in config.data_dirs.iter().enumerate() {
        let subject = Subject {
            survey: &Survey::of(&Tree::default(), folder),
            config: &config,
            folder,
            wal_bytes_present: disk_room::wal_bytes(folder),
        };
        findings.extend(match number {
            0 => examine(subject),
            _ => examine_folder(subject),
        });
    }
    let printed = match arguments.format {
        Form::Text => print(&text(&findings)),
        Form::Json => print_json(&document(&findings)),
    };
    match printed {
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
        Ok(()) if findings.iter().any(is_problem) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn is_problem(finding: &Finding) -> bool {
    finding.state == State::Problem
}

fn count(findings: &[Finding], state: State) -> usize {
    findings
        .iter()
        .filter(|finding| finding.state == state)
        .count()
}

/// A line for each knob, and below what is not good the reason and the cure.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.knob.name.len()).max();
    let width = width.unwrap_or(0);
    for finding in findings {
        let (state, name) = (finding.state.word(), finding.knob.name);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{state:<8} {name:<width$}  {}", finding.found);
        if finding.state == State::Good {
            continue;
        }
        let mut below = |heading: &str, line: &str| {
            let _ = writeln!(text, "         {heading:<10} {line}");
        };
        below("expected:", &finding.expected);
        if let Some(why) = &finding.why {
            below("why:", why);
        }
        if let Some(fix) = &finding.fix {
            below("fix:", fix);
        }
        below("more:", &format!("tuning.md#{}", finding.knob.section));
    }
    let counts = State::ALL.map(|state| format!("{} {}", count(findings, state), state.word()));
    let _ = writeln!(text, "{} knobs: {}", findings.len(), counts.join(", "));
    text
}

fn document(findings: &[Finding]) -> Value {
    let checks = findings.iter().map(|finding| {
        json!({
            "knob": finding.knob.name,
            "state": finding.state.word(),
            "found": finding.found,
            "expected": finding.expected,
            "why": finding.why,
            "fix": finding.fix,
            "section": finding.knob.section,
        })
    });
    let counts = State::ALL.map(|state| (state.word().to_owned(), count(findings, state).into()));
    json!({
        "counts": Map::from_iter(counts),
        "checks": checks.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Knob;

    fn finding(state: State) -> Finding {
        let told = (state != State::Good).then(|| "because".to_owned());
        Finding {
            knob: Knob {
                name: "swap",
                section: "swap",
            },
            state,
            found: "some".to_owned(),
            expected: "none".to_owned(),
            fix: told.clone().map(|_| "swapoff -a".to_owned()),
            why: told,
        }
    }

    #[test]
    fn what_is_good_takes_a_line_and_what_is_not_says_why_and_what_to_do() {
        let shown = text(&[finding(State::Good), finding(State::Advice)]);
        assert_eq!(
            shown,
            "good     swap  some\n\
             advice   swap  some\n         \
             expected:  none\n         \
             why:       because\n         \
             fix:       swapoff -a\n         \
             more:      tuning.md#swap\n\
             2 knobs: 1 good, 0 unknown, 1 advice, 0 problem\n"
        );
    }

    #[test]
    fn programs_get_every_field_and_the_counts() {
        let shown = document(&[finding(State::Good), finding(State::Problem)]);
        assert_eq!(shown["counts"]["problem"], 1);
        assert_eq!(shown["counts"]["advice"], 0);
        assert_eq!(shown["checks"][0]["fix"], Value::Null);
        assert_eq!(shown["checks"][1]["state"], "problem");
        assert_eq!(shown["checks"][1]["section"], "swap");
    }
}
