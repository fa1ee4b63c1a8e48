//! The klamm broker: parse, hand over, exit code; nothing else.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    klamm::cli::main(klamm::boot::run)
}
