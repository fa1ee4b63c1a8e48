//! `klamm top`: what a broker does now, from its metrics: rates, latencies, shards, and the busiest
//! partitions of each. A live view of the terminal, or one look for people and programs.

mod fetch;
mod numbers;
mod screen;
mod view;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

pub(super) use self::fetch::Endpoint;
use self::numbers::Numbers;
use self::view::View;
use super::connect::Failure;
use super::fail;
use super::output::{Format, print, print_json};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm top\n  \
    klamm top --admin 10.0.0.7:9644 --interval-ms 1000\n  \
    klamm top --once --format json\n\n\
    In the live view: q or Ctrl-C ends it, space looks at once.")]
pub(super) struct TopArguments {
    /// Address of the broker's klamm.admin.listener.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "KLAMM_ADMIN",
        default_value = "127.0.0.1:9644"
    )]
    admin: Endpoint,
    /// Time between two looks; rates are of that time.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    interval_ms: u64,
    /// Busiest partitions to show of each shard.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    partitions: usize,
    /// Look twice, print what happened between, and end.
    #[arg(long)]
    once: bool,
    /// Form of the result; json needs --once.
    #[arg(long, value_enum, default_value_t, requires_if("json", "once"))]
    format: Format,
}

/// A look at the broker, and when.
struct Look {
    at: Instant,
    numbers: Numbers,
}

impl Look {
    fn take(endpoint: &Endpoint) -> Result<Self, Failure> {
        let mut numbers = Numbers::default();
        numbers.read(&endpoint.get("/metrics")?);
        // A broker with very many partitions refuses to show them all.
        if let Ok(page) = endpoint.get("/metrics/partitions") {
            numbers.read(&page);
        }
        Ok(Self {
            at: Instant::now(),
            numbers,
        })
    }

    fn since(&self, before: &Self, partitions: usize) -> View {
        let between = self.at.saturating_duration_since(before.at);
        View::between(&before.numbers, &self.numbers, between, partitions)
    }
}

pub(super) fn run(arguments: &TopArguments) -> ExitCode {
    let outcome = match arguments.once {
        true => once(arguments),
        false => watch(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => fail(&reason),
    }
}

fn once(arguments: &TopArguments) -> Result<(), Failure> {
    let before = Look::take(&arguments.admin)?;
    std::thread::sleep(Duration::from_millis(arguments.interval_ms));
    let view = Look::take(&arguments.admin)?.since(&before, arguments.partitions);
    match arguments.format {
        Format::Json => print_json(&view.document())?,
        Format::Table => print(&view.text())?,
    }
    Ok(())
}

fn watch(arguments: &TopArguments) -> Result<(), Failure> {
    let interval = Duration::from_millis(arguments.interval_ms);
    let mut before = Look::take(&arguments.admin)?;
    let screen = screen::Screen::open()?;
    screen.show("looking…\n")?;
    while screen.wait(interval)? {
        match Look::take(&arguments.admin) {
            Ok(now) => {
                screen.show(&now.since(&before, arguments.partitions).text())?;
                before = now;
            }
            // It may come back.
            Err(Failure(reason)) => screen.show(&format!("{reason}\n"))?,
        }
    }
    Ok(())
}
