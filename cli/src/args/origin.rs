//! Where the value of an argument came from.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::Cli;
use crate::json_line::json_line;

static ORIGINS: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Parses the arguments, and notes where their values came from; ends the process if they are wrong.
pub(crate) fn parse() -> Cli {
    let matches = Cli::command().try_get_matches();
    let mut matches = matches.unwrap_or_else(|error| refuse(&error));
    let mut origins = HashMap::new();
    note(&matches, &mut origins);
    let _ = ORIGINS.set(origins);
    Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| refuse(&error))
}

/// Ends the process with help, or with what is wrong: as JSON if that was asked for, though the arguments are wrong.
fn refuse(error: &clap::Error) -> ! {
    let advice = advice(error);
    if error.use_stderr() && wants_json() {
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        let line = json_line(
            "ERROR",
            &format!("{}{advice}", error.to_string().trim_end()),
        );
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
        std::process::exit(error.exit_code());
    }
    let Some(advice) = advice else { error.exit() };
    let text = error.to_string();
    // Replaces the guesses of clap, which knows no files.
    let what = text.lines().next().unwrap_or_default();
    let _ = writeln!(
        std::io::stderr(),
        "{what}\n\n  tip: {advice}\n\nFor more information, try '--help'."
    );
    std::process::exit(error.exit_code());
}

/// Commands of other programs that do what `bekk up` does.
const VERBS: [&str; 10] = [
    "copy", "follow", "import", "load", "read", "run", "start", "tail", "upload", "watch",
];

/// Returns advice for a mistake that users of other programs make.
fn advice(error: &clap::Error) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = context(ContextKind::InvalidSubcommand)?;
            if VERBS.contains(&typed) {
                return Some("to load CSV files and follow them: bekk up FILE".to_owned());
            }
            (typed.ends_with(".csv") || Path::new(typed).is_file())
                .then(|| format!("to load this file and follow it: bekk up {typed}"))
        }
        ErrorKind::UnknownArgument => {
            let typed = context(ContextKind::InvalidArg)?;
            let is_up =
                std::env::args_os().any(|argument| argument == "up" || argument == "ingest");
            (is_up && matches!(typed, "--from" | "--file" | "--files" | "--input" | "-f"))
                .then(|| "name the files without an option: bekk up FILE".to_owned())
        }
        _ => None,
    }
}

/// Whether messages are to be JSON, as far as arguments show that are not parsed yet and may be wrong.
pub(crate) fn wants_json() -> bool {
    // A text that is not UTF-8 is no option that is looked for.
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let mut format = std::env::var("BEKK_LOG_FORMAT").ok();
    while let Some(argument) = arguments.next() {
        match argument.split_once('=') {
            Some(("--log-format", value)) => format = Some(value.to_owned()),
            None if argument == "--log-format" => format = arguments.next(),
            None if argument == "--" => break,
            _ => {}
        }
    }
    format.is_some_and(|format| format == "json")
}

/// The flag or the variable that set an argument; `None` if neither did.
pub(crate) fn origin_of(argument: &str) -> Option<String> {
    ORIGINS.get()?.get(argument).cloned()
}

fn note(matches: &ArgMatches, origins: &mut HashMap<String, String>) {
    for id in matches.ids() {
        let name = id.as_str();
        let origin = match matches.value_source(name) {
            Some(ValueSource::CommandLine) => format!("--{}", name.replace('_', "-")),
            Some(ValueSource::EnvVariable) => format!("BEKK_{}", name.to_uppercase()),
            _ => continue,
        };
        origins.insert(name.to_owned(), origin);
    }
    if let Some((_, below)) = matches.subcommand() {
        note(below, origins);
    }
}
