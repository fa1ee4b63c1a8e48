//! A run from its arguments to its report.

use std::time::{Duration, SystemTime};

use klamm_model::Timestamp;
use klamm_wire::ApiKey;

use crate::{
    arguments::{Arguments, Load as LoadArguments},
    control::{Control, LogEnd, Topic, address_of},
    drive::{Driven, Shape, Steering, Told, drive},
    fetch::{Consumers, Window},
    payload::Pool,
    problem::Problem,
    produce::Producers,
    report::{Report, print_json, tell_as_json, write_percentiles},
    schedule::Schedule,
    verify::{self, Verified},
    workload::{Arrivals, Mode, Workload},
};

/// Seed of random arrivals: the same plan in every run.
const ARRIVALS_SEED: u64 = 1;

/// Does what the command line asks for, and prints the result.
///
/// # Errors
/// See [`Problem`]: the run is void.
pub fn run(arguments: &Arguments) -> Result<(), Problem> {
    let (load, workload) = arguments.command.workload()?;
    let mut steering = Steering::Clock {
        warm_up: Duration::from_secs_f64(workload.warm_up_seconds),
        measure: Duration::from_secs_f64(workload.seconds),
    };
    if load.steered {
        steering = Steering::by_lines();
    }
    let mut tell = |told: Told| {
        if load.json {
            tell_as_json(told);
        }
    };
    let report = perform(load, &workload, &steering, &mut tell)?;
    if load.json {
        print_json(&report);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// Runs a workload; `tell` hears what happens meanwhile.
///
/// # Errors
/// See [`Problem`]: the run is void.
pub(crate) fn perform(
    load: &LoadArguments,
    workload: &Workload,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Report, Problem> {
    let address = address_of(&load.bootstrap)?;
    let mut control = Control::connect(address)?;
    let topic = control.ensure_topic(&workload.topic, workload.partitions)?;
    let shape = Shape {
        address,
        connections: workload.connections,
        depth: workload.depth,
        schedule: Schedule::of(workload.arrivals, workload.rate, ARRIVALS_SEED),
        interval: Duration::from_millis(load.interval_ms),
    };
    let (driven, verified, version) = if workload.mode == Mode::Fetch {
        let version = control.version(ApiKey::Fetch)?;
        let driven = fetch(&mut control, &topic, workload, &shape, steering, tell)?;
        (driven, None, version)
    } else {
        let version = control.version(ApiKey::Produce)?;
        let (driven, verified) = produce(&mut control, &topic, workload, &shape, steering, tell)?;
        (driven, Some(verified), version)
    };
    if workload.delete_topic {
        control.delete_topic(&topic)?;
    }
    if let Some(path) = &load.histogram {
        write_percentiles(driven.progress.latencies(), path)?;
    }
    Ok(Report::new(workload, version, &driven, verified))
}

fn produce(
    control: &mut Control,
    topic: &Topic,
    workload: &Workload,
    shape: &Shape,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<(Driven, Verified), Problem> {
    let version = control.version(ApiKey::Produce)?;
    let before = control.offsets(topic, LogEnd::HighWatermark)?;
    let pool = Pool::new(workload, topic, version, now())?;
    let mut producers = Producers::new(pool, version, shape.connections, before.len());
    let driven = drive(shape, &mut producers, steering, tell)?;
    let records = verify::growth(control, topic, &before, producers.acknowledged())?;
    let mut read_back = 0;
    if workload.read_back {
        read_back = verify::read_back(control, topic, &before)?;
        if read_back != records {
            let text = format!("{records} records acknowledged, {read_back} read back");
            return Err(Problem::Verification(text));
        }
    }
    Ok((driven, Verified { records, read_back }))
}

fn fetch(
    control: &mut Control,
    topic: &Topic,
    workload: &Workload,
    shape: &Shape,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Driven, Problem> {
    let mut end = control.offsets(topic, LogEnd::HighWatermark)?;
    if workload.fill_bytes > 0 && end.iter().all(|&end| end == 0) {
        fill(control, topic, workload, shape)?;
        end = control.offsets(topic, LogEnd::HighWatermark)?;
    }
    let start = control.offsets(topic, LogEnd::Start)?;
    if !workload.follow && end.iter().zip(&start).any(|(end, start)| end == start) {
        let text = "a partition is empty: set fill-bytes, or follow its end";
        return Err(Problem::Workload(text.to_owned()));
    }
    let window = if workload.follow {
        Window {
            start: end,
            end: None,
        }
    } else {
        Window {
            start,
            end: Some(end),
        }
    };
    let version = control.version(ApiKey::Fetch)?;
    let mut consumers = Consumers::new(workload, topic, version, window)?;
    drive(shape, &mut consumers, steering, tell)
}

/// Produces what will be fetched.
fn fill(
    control: &mut Control,
    topic: &Topic,
    workload: &Workload,
    shape: &Shape,
) -> Result<(), Problem> {
    let filling = Workload {
        mode: Mode::Produce,
        connections: 1,
        depth: 4,
        partitions_per_request: 1,
        arrivals: Arrivals::Closed,
        read_back: false,
        ..workload.clone()
    };
    let shape = Shape {
        connections: 1,
        depth: 4,
        schedule: None,
        ..shape.clone()
    };
    let steering = Steering::Bytes(workload.fill_bytes);
    produce(control, topic, &filling, &shape, &steering, &mut |_| {}).map(drop)
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
