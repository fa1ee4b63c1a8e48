//! The command line: one file per command, one enum of them. Exit codes: 0 done, 1 failed, 2 the
//! command line itself is wrong.

mod adopt;
mod bench;
mod cluster;
mod completions;
mod config;
mod configured;
mod connect;
mod consume;
mod consume_group;
mod doctor;
mod group;
mod group_lag;
mod group_reset;
mod instant;
mod line_reader;
mod log;
mod man;
mod output;
mod page;
mod produce;
mod produce_line;
mod progress;
mod quota;
mod reference;
mod serve;
mod top;
mod topic;
mod topic_alter;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use serve::Boot;

/// A Kafka-compatible event-streaming broker: one binary, one thread per core.
#[derive(Debug, Parser)]
#[command(
    name = "klamm",
    version,
    arg_required_else_help = true,
    after_help = "Start a broker on 127.0.0.1:9092 with data in ./klamm-data:\n  klamm serve\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker until SIGTERM or SIGINT.
    Serve(serve::ServeArguments),
    /// Create, list, describe, alter and delete topics.
    Topic(topic::TopicArguments),
    /// Show and change the configuration of topics and brokers.
    Config(config::ConfigArguments),
    /// Show and change what clients may use: quotas of users, client ids and addresses.
    Quota(quota::QuotaArguments),
    /// List, describe, reset and delete consumer groups.
    Group(group::GroupArguments),
    /// Show brokers, controller, quorum, features and log folders of a cluster.
    Cluster(cluster::ClusterArguments),
    /// Write lines into a topic.
    Produce(produce::ProduceArguments),
    /// Print the records of topics, alone or as a member of a group.
    Consume(consume::ConsumeArguments),
    /// Take over the data folder of an Apache Kafka node.
    Adopt(adopt::AdoptArguments),
    /// Make load for any Kafka broker, and measure it.
    Bench(bench::BenchArguments),
    /// Look into the files of a data folder without a broker: print or verify them.
    Log(log::LogArguments),
    /// Show what a broker does now: rates, latencies, shards, busiest partitions.
    Top(top::TopArguments),
    /// Check this machine for every knob of tuning.md, and print what mends it.
    Doctor(doctor::DoctorArguments),
    /// Write the completions of a shell.
    Completions(completions::CompletionsArguments),
    /// Write pages of the manual.
    Man(man::ManArguments),
    /// Write the reference documentation of this version.
    Reference(reference::ReferenceArguments),
}

/// Runs the command that the process was started with. `boot` runs a broker with a checked
/// configuration until it is told to stop.
#[must_use]
pub fn main(boot: Boot) -> ExitCode {
    // Wrong usage, --help and --version end the process inside, with their exit codes.
    match CommandLine::parse().command {
        Command::Serve(arguments) => serve::run(&arguments, boot),
        Command::Topic(arguments) => topic::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Quota(arguments) => quota::run(&arguments),
        Command::Group(arguments) => group::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Adopt(arguments) => adopt::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Reference(arguments) => reference::run(&arguments),
    }
}

/// What the command line is made of.
fn definition() -> clap::Command {
    CommandLine::command()
}

/// Says on standard error why a command failed.
fn fail(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn serve_takes_a_file_and_repeated_values() {
        let parsed = CommandLine::try_parse_from([
            "klamm",
            "serve",
            "--config",
            "server.properties",
            "--set",
            "node.id=2",
            "--set",
            "num.partitions=3",
            "--log-format",
            "json",
        ]);
        let Ok(CommandLine {
            command: Command::Serve(arguments),
        }) = parsed
        else {
            panic!("{parsed:?}");
        };
        assert_eq!(arguments.configured.set, ["node.id=2", "num.partitions=3"]);
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        let wrong: [&[&str]; 5] = [
            &["klamm"],
            &["klamm", "fly"],
            &["klamm", "serve", "--set", "no-value"],
            &["klamm", "serve", "--log-format", "xml"],
            &["klamm", "doctor", "--format", "table"],
        ];
        for arguments in wrong {
            let error = CommandLine::try_parse_from(arguments).expect_err("wrong");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
