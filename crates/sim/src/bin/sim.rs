//! `klamm-sim --seed N [--seeds M] [--trace] [--plant FAULT] [--damage segment|base-offset|wal|wal-head|checkpoint|index | --disk-fails | --disk-full] [--trims] [--retention] [--compaction] [--groups]`: runs worlds, and prints one
//! line for each that broke an invariant, with the command that runs it again.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use klamm_sim::faults::Plant;
use klamm_sim::simulation::{Damage, RunOptions, RunStats, run};

const USAGE: &str = "usage: klamm-sim [--seed N] [--seeds M] [--trace] [--plant FAULT] [--damage segment|base-offset|wal|wal-head|checkpoint|index | --disk-fails | --disk-full] [--trims] [--retention] [--compaction] [--groups]";

struct Arguments {
    seed: u64,
    seeds: u64,
    trace: bool,
    plant: Option<Plant>,
    damage: Option<Damage>,
    disk_fails: bool,
    disk_full: bool,
    trims: bool,
    retention: bool,
    compaction: bool,
    groups: bool,
}

fn parse() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seed: 0,
        seeds: 1,
        trace: false,
        plant: None,
        damage: None,
        disk_fails: false,
        disk_full: false,
        trims: false,
        retention: false,
        compaction: false,
        groups: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--seed" => arguments.seed = number(&value()?)?,
            "--seeds" => arguments.seeds = number(&value()?)?,
            "--trace" => arguments.trace = true,
            "--plant" => {
                let name = value()?;
                let known = Plant::named(&name);
                arguments.plant = Some(known.ok_or_else(|| format!("no fault {name}"))?);
            }
            "--damage" => {
                let name = value()?;
                let known = Damage::named(&name);
                arguments.damage = Some(known.ok_or_else(|| format!("no damage {name}"))?);
            }
            "--trims" => arguments.trims = true,
            "--retention" => arguments.retention = true,
            "--compaction" => arguments.compaction = true,
            "--groups" => arguments.groups = true,
            "--disk-fails" => arguments.disk_fails = true,
            "--disk-full" => arguments.disk_full = true,
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    let worlds = [
        arguments.damage.is_some(),
        arguments.disk_fails,
        arguments.disk_full,
    ];
    if worlds.iter().filter(|&&is_asked_for| is_asked_for).count() > 1 {
        return Err("--damage, --disk-fails and --disk-full are worlds of their own".to_owned());
    }
    let shortens =
        arguments.trims || arguments.retention || arguments.compaction || arguments.groups;
    if shortens && arguments.damage.is_some() {
        return Err(
            "--trims, --retention, --compaction and --groups go with worlds without damage"
                .to_owned(),
        );
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("expected a number, found {text}"))
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(fault) => {
            eprintln!("{fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let options = RunOptions {
        keep_lines: arguments.trace,
        plant: arguments.plant,
        damage: arguments.damage,
        disk_fails: arguments.disk_fails,
        disk_full: arguments.disk_full,
        trims: arguments.trims,
        retention: arguments.retention,
        compaction: arguments.compaction,
        groups: arguments.groups,
    };
    let mut total = RunStats::default();
    let mut broken = 0_u64;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let outcome = run(seed, options);
        total.add(&outcome.stats);
        for line in outcome.trace.lines() {
            println!("{line}");
        }
        if let Some(violation) = outcome.violation {
            broken += 1;
            let plant = arguments
                .plant
                .map_or_else(String::new, |plant| format!(" --plant {}", plant.name()));
            let damage = arguments
                .damage
                .map_or_else(String::new, |damage| format!(" --damage {}", damage.name()));
            let disk = match (arguments.disk_fails, arguments.disk_full) {
                (true, _) => " --disk-fails",
                (_, true) => " --disk-full",
                _ => "",
            };
            let trims = if arguments.trims { " --trims" } else { "" };
            let retention = if arguments.retention {
                " --retention"
            } else {
                ""
            };
            let compaction = if arguments.compaction {
                " --compaction"
            } else {
                ""
            };
            let groups = if arguments.groups { " --groups" } else { "" };
            println!(
                "klamm-sim --seed {seed}{plant}{damage}{disk}{trims}{retention}{compaction}{groups} --trace  # {violation}"
            );
        }
    }
    println!("{} seeds, {broken} broken: {total:?}", arguments.seeds);
    ExitCode::from(u8::from(broken > 0))
}
