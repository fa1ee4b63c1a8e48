//! The klamm broker: parse, hand over, exit code; nothing else.
#![forbid(unsafe_code)]

/// The C allocator; each core counts its calls, which the metrics show.
#[global_allocator]
static ALLOCATOR: klamm_os::alloc::Counting = klamm_os::alloc::Counting;

fn main() -> std::process::ExitCode {
    klamm::cli::main(klamm::boot::run)
}
