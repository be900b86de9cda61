//! The end of a command, and mistakes in its arguments or its configuration.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;

use crate::screen::Screen;
use crate::signals::TimeLimit;

/// How a command ended, if it did not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// All is done but what was left or set aside, which a message names.
    Incomplete,
    /// All is done, there were dead letters, and `--strict` was given.
    DeadLetters,
    /// Another program's exit code.
    Code(u8),
}

impl Outcome {
    /// [`Outcome::Done`] if all is as it should be, else [`Outcome::Incomplete`].
    pub(crate) const fn of(is_all: bool) -> Self {
        match is_all {
            true => Self::Done,
            false => Self::Incomplete,
        }
    }

    /// This outcome, unless the time ran out first.
    pub(crate) fn within(self, limit: &TimeLimit, screen: &Screen) -> Self {
        if !limit.has_expired() {
            return self;
        }
        screen.say("the time limit (--timeout) ran out first; run it again, and it continues");
        Self::Incomplete
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Incomplete => Self::from(1),
            Outcome::DeadLetters => Self::from(3),
            Outcome::Code(code) => Self::from(code),
        }
    }
}

/// An argument that the command line's own check cannot refuse, such as a stream that is not configured.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// Turns an error into [`WrongUsage`]: the mistake is in the arguments or the configuration.
pub(crate) fn as_usage<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| WrongUsage(format!("{error:#}")).into())
}

/// Checks that `name`, an argument of `option`, is one of the `known` ones.
///
/// # Errors
/// [`WrongUsage`], which lists them.
pub(crate) fn check_name<'a>(
    option: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let known: BTreeSet<&str> = known.into_iter().collect();
    if known.contains(name) {
        return Ok(());
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let list = if known.is_empty() { "none" } else { &known };
    let text = format!("{option}: there is no `{name}`; known: {list}");
    Err(WrongUsage(text).into())
}
