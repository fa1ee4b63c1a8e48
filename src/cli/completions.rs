//! `klamm completions`: what a shell needs to complete klamm's commands and options, made from their
//! definition.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::output::print;
use super::{definition, fail};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    klamm completions bash > /etc/bash_completion.d/klamm\n  \
    klamm completions zsh > \"${fpath[1]}/_klamm\"\n  \
    klamm completions fish > ~/.config/fish/completions/klamm.fish")]
pub(super) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArguments) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut definition(), "klamm", &mut script);
    match print(&String::from_utf8_lossy(&script)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("the script cannot be written: {error}")),
    }
}
