//! `mesh completions` and `mesh man`: for shells and manual readers.

use super::{ExitKind, Outcome, out};

/// Which shell.
#[derive(clap::Args, Debug)]
pub(super) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    shell: clap_complete::Shell,
}

pub(super) fn completions(args: &CompletionsArgs, command: &mut clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mesh", &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitKind::Ok)
}

pub(super) fn man(command: clap::Command) -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    out::line(String::from_utf8_lossy(&page).trim_end());
    Ok(ExitKind::Ok)
}
