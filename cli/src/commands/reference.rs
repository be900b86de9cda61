//! `bekk completions` and `bekk man`: what shells and `man` know about the command line.

use anyhow::{Context as _, Result};
use clap::CommandFactory;

use super::Outcome;
use crate::args::{Cli, Completions, Man};

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &Completions) -> Outcome {
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "bekk", &mut std::io::stdout());
    Outcome::Done
}

/// Writes a man page for each command.
pub(crate) fn man(args: &Man) -> Result<Outcome> {
    let out = &args.out;
    std::fs::create_dir_all(out)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), out))
        .with_context(|| format!("write man pages to `{}`", out.display()))?;
    Ok(Outcome::Done)
}
