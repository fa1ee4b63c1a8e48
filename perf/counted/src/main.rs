//! `klamm-counted PATH REQUESTS`: prepares one path of perf/budgets.toml and sends it that many
//! requests. Without arguments, lists the paths.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use klamm_counted::paths::{PATHS, run};

/// The broker's allocator: its counting is a part of what a request costs.
#[global_allocator]
static ALLOCATOR: klamm_os::alloc::Counting = klamm_os::alloc::Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, requests] = arguments.as_slice() else {
        for path in PATHS {
            println!("{}", path.name);
        }
        return ExitCode::SUCCESS;
    };
    let path = PATHS.iter().find(|known| known.name == path);
    match (path, requests.parse()) {
        (Some(path), Ok(requests)) => {
            println!("{} bytes of answers", run(path, requests));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("klamm-counted: give a path and a number of requests");
            ExitCode::FAILURE
        }
    }
}
