//! Where the value of an argument came from.

use std::collections::HashMap;
use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::Cli;

static ORIGINS: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Parses the arguments, and notes where their values came from; ends the process if they are wrong.
pub(crate) fn parse() -> Cli {
    let mut matches = Cli::command().get_matches();
    let mut origins = HashMap::new();
    note(&matches, &mut origins);
    let _ = ORIGINS.set(origins);
    Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
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
