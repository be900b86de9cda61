//! `bekk`: CSV files into PostgreSQL through a durable, replayable log.
//!
//! Arguments, wiring, the private PostgreSQL and what a person sees. The work is in the libraries. Each folder and file
//! uses only those below it (`ingest/tests/it/layers.rs`); the commands are at the top.

mod args;
mod commands;
mod context;
mod database;
mod decoded;
mod environment;
mod found_file;
mod http;
mod infer;
mod json_line;
mod lag;
mod letters;
mod log_place;
mod observe;
mod open_files;
mod outcome;
mod pipeline;
mod positions;
mod private_server;
mod reload;
mod remedy;
mod retrier;
mod screen;
mod secrets;
mod service;
mod signals;
mod stage;
mod standard_input;
mod status;
mod table;
mod topics;
mod units;

use std::process::ExitCode;

use bekk_stream::ConfigError;
use rustix::fs::Mode;

use args::{Cli, Command, IngestCommand};
use outcome::{Outcome, WrongUsage};
use screen::Screen;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    if args::wants_json() {
        screen::panic_in_json();
    }
    secrets::hide_typed_password();
    // Before the arguments, whose defaults may come from it.
    let dotenv = environment::load_dotenv();
    open_files::raise_limit();
    let cli = args::parse();
    let screen = Screen::start(&cli.global);
    if let Err(error) = dotenv {
        screen.fail(&format!("failed to {error:#}"));
        return ExitCode::from(WRONG_USAGE);
    }
    environment::warn_of_dotenv();
    keep_private(&cli.command);
    match run(&cli, &screen) {
        Ok(outcome) => outcome.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let advice =
                remedy::remedy(&error).map_or_else(String::new, |text| format!("; {text}"));
            screen.fail(&format!("{error:#}{advice}"));
            let wrong_usage = error.downcast_ref::<ConfigError>().is_some()
                || error.downcast_ref::<WrongUsage>().is_some();
            ExitCode::from(if wrong_usage { WRONG_USAGE } else { FAILED })
        }
    }
}

/// Makes files that a command writes its user's alone: the log holds the text of files that others may not read. Not
/// those that a person asks for, and not what `psql` writes.
fn keep_private(command: &Command) {
    if !matches!(
        command,
        Command::Generate(_) | Command::Init(_) | Command::Psql(_)
    ) {
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
}

fn run(cli: &Cli, screen: &Screen) -> anyhow::Result<Outcome> {
    match &cli.command {
        Command::Up(args) => commands::up::run(&cli.global, args, screen),
        Command::Generate(args) => commands::generate::run(args, screen),
        Command::Ingest(args) => match &args.command {
            Some(IngestCommand::Files(files)) => commands::files::run(&cli.global, files),
            Some(IngestCommand::Reread(reread)) => commands::reread::run(&cli.global, reread),
            None => commands::ingest::run(&cli.global, args, screen),
        },
        Command::Sink(args) => commands::sink::run(&cli.global, args, screen),
        Command::Log(args) => commands::log::run(&cli.global, args, screen),
        Command::Status(args) => commands::status::run(&cli.global, args),
        Command::Top(args) => commands::top::run(&cli.global, args),
        Command::Health(args) => commands::status::health(&cli.global, args),
        Command::Replay(args) => commands::replay::run(&cli.global, args, screen),
        Command::Diff(args) => commands::diff::run(&cli.global, args),
        Command::Audit(args) => commands::audit::run(&cli.global, args, screen),
        Command::Trace(args) => commands::trace::run(&cli.global, args, screen),
        Command::Adopt(args) => commands::adopt::run(&cli.global, args, screen),
        Command::Offsets(args) => commands::offsets::run(&cli.global, args, screen),
        Command::DeadLetters(args) => commands::dead_letters::run(&cli.global, args, screen),
        Command::Check(args) => commands::check::run(&cli.global, args, screen),
        Command::Init(args) => commands::init::run(&cli.global, args, screen),
        Command::Psql(args) => commands::psql::run(&cli.global, args),
        Command::Completions(args) => commands::reference::completions(args),
        Command::Man(args) => commands::reference::man(args),
    }
}

/// Whether the reader of our output has gone, as `bekk … | head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
