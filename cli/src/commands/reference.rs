//! `bekk completions` and `bekk man`: what shells and `man` know about the command line.

use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory};

use super::{Outcome, write_result};
use crate::args::{Cli, Completions, Man};

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &Completions) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bekk", &mut script);
    write_result(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Done)
}

/// Writes a man page for each command.
pub(crate) fn man(args: &Man) -> Result<Outcome> {
    let out = &args.out;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    bekk_ingest::check_directory_links(out)
        .and_then(|()| std::fs::create_dir_all(out))
        .and_then(|()| write_pages(&command, out))
        .with_context(|| format!("write man pages to `{}`", out.display()))?;
    Ok(Outcome::Done)
}

/// Writes the page of a command, and those of its own commands.
fn write_pages(command: &Command, out: &Path) -> io::Result<()> {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        write_pages(below, out)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let mut file = bekk_ingest::create_file(&out.join(page.get_filename()))?;
    page.render(&mut file)
}
