//! Standard input in place of files (`bekk up --once -`): stored first, then read as a file.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bekk_ingest::{FileStatus, PipedInput, PipedInputs, Stats, Summary};
use bekk_log::Client;
use bekk_stream::{Stream, shown_path};

use crate::args::InputArgs;
use crate::context::Context;
use crate::database::shown_from;
use crate::outcome::{Outcome, WrongUsage, check_name};
use crate::screen::Screen;
use crate::signals;

/// Name of an input that was given none.
const DEFAULT_NAME: &str = "stdin";
/// Poll interval for the end of the input
const TICK: Duration = Duration::from_millis(20);
/// Wait for a signal after the end of the input: Ctrl-C ends the writer, too
const SIGNAL_GRACE: Duration = Duration::from_millis(100);

/// Standard input that has been stored.
#[derive(Clone)]
pub(crate) struct StandardInput {
    inputs: Arc<PipedInputs>,
    input: Arc<PipedInput>,
}

/// Outcome of reading standard input
pub(crate) enum Taken {
    /// It is stored.
    Stored(StandardInput),
    /// A signal or the time limit came before its end.
    Stopped,
}

/// Stores standard input, if the arguments ask for it.
///
/// # Errors
/// If it is a terminal, its stream is not clear, or it cannot be read or stored.
pub(crate) fn take(
    args: &InputArgs,
    context: &Context,
    stop: &Arc<AtomicBool>,
    screen: &Screen,
) -> Result<Option<Taken>> {
    if !args.has_dash() {
        return Ok(None);
    }
    let stream = stream(args, context)?.clone();
    if io::stdin().is_terminal() {
        let text = format!(
            "standard input is a terminal; pipe a file into it, such as: zcat FILE | bekk up --once - --stream {}",
            stream.name
        );
        return Err(WrongUsage(text).into());
    }
    let inputs = PipedInputs::open(&dir(context)).context("take standard input")?;
    let inputs = Arc::new(inputs);
    let name = args.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
    screen.say(&format!(
        "input      standard input as `{name}` of stream `{}`; nothing of it is loaded before its end",
        stream.name
    ));
    let (storing, stopping) = (Arc::clone(&inputs), Arc::clone(stop));
    // On a thread of its own, because it waits for the writer and a signal must not.
    let storing = thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || storing.store(&stream, &name, &mut io::stdin().lock(), &stopping))
        .context("start the input thread")?;
    while !storing.is_finished() {
        if signals::is_set(stop) {
            return stopped(&inputs, screen);
        }
        thread::sleep(TICK);
    }
    let stored = storing
        .join()
        .map_err(|_| anyhow!("a thread ended by a panic, which is a fault in bekk"))??;
    thread::sleep(SIGNAL_GRACE);
    let Some(input) = stored.filter(|_| !signals::is_set(stop)) else {
        return stopped(&inputs, screen);
    };
    if input.is_completed {
        screen.say("input      its last line had no line end, and is taken as a whole line");
    }
    let input = Arc::new(input);
    Ok(Some(Taken::Stored(StandardInput { inputs, input })))
}

fn stopped(inputs: &PipedInputs, screen: &Screen) -> Result<Option<Taken>> {
    inputs.discard()?;
    screen.say("stopped before the end of standard input: nothing of it is loaded; pipe it again");
    Ok(Some(Taken::Stopped))
}

fn stream<'a>(args: &InputArgs, context: &'a Context) -> Result<&'a Stream> {
    let streams = &context.config.streams;
    let names = || streams.iter().map(|stream| &*stream.name);
    let found = match (&args.stream, &streams[..]) {
        (Some(name), _) => {
            check_name("--stream", name, names())?;
            streams.iter().find(|stream| stream.name == *name)
        }
        (None, [stream]) => Some(stream),
        (None, _) => None,
    };
    found.ok_or_else(|| {
        let names = names().collect::<Vec<_>>().join(", ");
        let text = format!("standard input belongs to one stream; name it with --stream: {names}");
        WrongUsage(text).into()
    })
}

/// Returns the inputs that are stored, as far as they are known.
///
/// # Errors
/// If their state cannot be read.
pub(crate) fn stored(context: &Context) -> Result<Vec<FileStatus>> {
    bekk_ingest::stored_inputs(&dir(context), &context.streams())
        .context("read the state of stored standard input")
}

pub(crate) fn is_stored(context: &Context, path: &Path) -> bool {
    path.starts_with(dir(context))
}

fn dir(context: &Context) -> PathBuf {
    context.base.join(".bekk/stdin")
}

impl StandardInput {
    /// Reads it into the log, after an earlier one of its name that had not been read to its end.
    ///
    /// # Errors
    /// Those of ingest.
    pub(crate) fn read(
        &self,
        mut config: bekk_ingest::Config,
        streams: &[Stream],
        log: &Client,
        stats: &Stats,
        stop: &AtomicBool,
    ) -> Result<Summary> {
        config.state_dir = self.inputs.state_dir();
        let of_inputs = self.inputs.streams(streams);
        let run = || bekk_ingest::run(&config, &of_inputs, log, stats, stop);
        if self.inputs.has_unread_namesake(&self.input, streams)? {
            tracing::info!(
                "an earlier input of this name was not read to its end: it is read first"
            );
            let summary = run()?;
            if signals::is_set(stop) {
                return Ok(summary);
            }
            if self.inputs.has_unread_namesake(&self.input, streams)? {
                tracing::warn!(
                    "the input replaces an earlier one of its name that could not be read"
                );
            }
        }
        if self.input.bytes > 0 {
            self.inputs.publish(&self.input)?;
        }
        Ok(run()?)
    }

    /// Deletes inputs that are completely in the log, names those that stay, and returns how the run ended: an empty input
    /// is no success, unless `--allow-empty` was given.
    ///
    /// # Errors
    /// If the state of the inputs cannot be read.
    pub(crate) fn end(
        &self,
        context: &Context,
        outcome: Outcome,
        may_be_empty: bool,
        screen: &Screen,
    ) -> Result<Outcome> {
        for kept in self.inputs.clear(&context.config.streams)? {
            let path = shown_from(&context.base, &kept.path);
            screen.say(&format!("kept: {}: {}", shown_path(path), kept.why));
        }
        if self.input.bytes > 0 || may_be_empty {
            return Ok(outcome);
        }
        screen.say("standard input was empty; if that is right: --allow-empty");
        Ok(Outcome::Incomplete)
    }
}
