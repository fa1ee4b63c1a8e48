//! `klamm man`: pages of the manual, one for each command, made from their definition.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{definition, fail};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  klamm man /usr/local/share/man/man1")]
pub(super) struct ManArguments {
    /// Folder of the pages; made where it does not exist.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &ManArguments) -> ExitCode {
    let folder = &arguments.folder;
    let made = std::fs::create_dir_all(folder);
    match made.and_then(|()| clap_mangen::generate_to(definition(), folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!(
            "the pages cannot be written to {}: {error}",
            folder.display()
        )),
    }
}
