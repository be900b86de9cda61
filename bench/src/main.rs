//! What bekk is measured by: the built binary, beside what it must stand comparison with, on the same
//! machine in the same run. Ratios and medians count; a single absolute figure says little.

mod copy;
mod lab;
mod latency;
mod memory;
mod served;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Measures bekk.
#[derive(Parser)]
#[command(name = "bekk-bench")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// The binary that is measured
    #[arg(long, global = true, default_value = "target/release/bekk")]
    bekk: PathBuf,
    /// Where files, log and server live while they are measured; a temporary directory if not named
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// `bekk up --once` beside one `psql \copy` of the same rows into the same table, in turn
    Copy(copy::Settings),
    /// From a line's flush to the row's visibility, beside a bare INSERT and COMMIT
    Latency(latency::Settings),
    /// Peak resident memory of `bekk up --once` on a large backlog
    Memory(memory::Settings),
    /// Ingest, log and sink as services, beside `bekk up --once`, in turn
    Served(served::Settings),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let lab = lab::Lab::new(&cli.common.bekk, cli.common.dir.as_deref())?;
    match &cli.command {
        Command::Copy(settings) => copy::run(&lab, settings),
        Command::Latency(settings) => latency::run(&lab, settings),
        Command::Memory(settings) => memory::run(&lab, settings),
        Command::Served(settings) => served::run(&lab, settings),
    }
}
