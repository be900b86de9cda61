//! Standard error, shared by messages and a line of progress that stays at the bottom.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bekk_stream::{shown, shown_indented};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FormatFields};
use tracing_subscriber::{EnvFilter, reload};

use crate::args::{Global, LogFormat};
use crate::environment::FILTER;
use crate::json_line::json_line;

/// Interval between progress lines where there is no terminal
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The progress line; clones share it.
#[derive(Clone)]
pub(crate) struct Screen {
    bar: ProgressBar,
    is_terminal: bool,
    format: LogFormat,
    messages: Arc<Messages>,
}

/// Function that changes the filter of messages
type ChangeFilter = dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync;

/// The filter of messages, and the function that changes it
struct Messages {
    verbose: u8,
    filter: Mutex<String>,
    change: OnceLock<Box<ChangeFilter>>,
}

impl Screen {
    /// Sets messages up as the arguments say.
    pub(crate) fn start(global: &Global) -> Self {
        let is_terminal = io::stderr().is_terminal() && global.log_format == LogFormat::Text;
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let asked = std::env::var(FILTER).ok();
        let is_wrong = |text: &&String| EnvFilter::try_new(text).is_err();
        let wrong = asked.as_ref().filter(is_wrong).cloned();
        let filter = asked.filter(|_| wrong.is_none());
        let filter = filter.unwrap_or_else(|| filter_of(global.verbose));
        let screen = Self {
            bar,
            is_terminal,
            format: global.log_format,
            messages: Arc::new(Messages {
                verbose: global.verbose,
                filter: Mutex::new(filter.clone()),
                change: OnceLock::new(),
            }),
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(screen.clone())
            .with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none());
        match global.log_format {
            LogFormat::Text => {
                let subscriber = subscriber.with_target(false).fmt_fields(fields());
                let subscriber = subscriber.with_filter_reloading();
                let handle = subscriber.reload_handle();
                subscriber.init();
                screen.messages.change(move |filter| handle.reload(filter));
            }
            LogFormat::Json => {
                let subscriber = subscriber.json().with_filter_reloading();
                let handle = subscriber.reload_handle();
                subscriber.init();
                screen.messages.change(move |filter| handle.reload(filter));
                // The format may be that of `.env`, which was not read when the process started.
                panic_in_json();
            }
        }
        if let Some(wrong) = wrong {
            tracing::warn!(
                "{FILTER} is `{wrong}`, which is not a filter of messages; it is ignored"
            );
        }
        screen
    }

    /// Prints messages as a filter says from now on, by default as the arguments said; returns it if it differs from the
    /// one before.
    ///
    /// # Errors
    /// If the text is not a valid filter.
    pub(crate) fn filter_messages(&self, wanted: Option<String>) -> Result<Option<String>> {
        let messages = &self.messages;
        let wanted = wanted.unwrap_or_else(|| filter_of(messages.verbose));
        let mut filter = messages.filter.lock();
        if *filter == wanted {
            return Ok(None);
        }
        let parsed = EnvFilter::try_new(&wanted).with_context(|| {
            format!("{FILTER} is `{wanted}`, which is not a filter of messages")
        })?;
        if let Some(change) = messages.change.get() {
            change(parsed)?;
        }
        filter.clone_from(&wanted);
        Ok(Some(wanted))
    }

    /// Prints a line above the progress line.
    pub(crate) fn say(&self, line: &str) {
        self.write("INFO", line);
    }

    /// Prints a line about something that a person must look at.
    pub(crate) fn warn(&self, line: &str) {
        self.write("WARN", line);
    }

    /// Prints a line about a part: its name and its description. A long line becomes several lines of a terminal.
    pub(crate) fn say_part(&self, line: &str) {
        match self.format {
            LogFormat::Text => folded(line).iter().for_each(|line| self.say(line)),
            LogFormat::Json => self.say(line),
        }
    }

    /// Prints the error that a command failed with.
    pub(crate) fn fail(&self, error: &str) {
        match self.format {
            LogFormat::Text => self.write("ERROR", &format!("bekk: {error}")),
            LogFormat::Json => self.write("ERROR", error),
        }
    }

    fn write(&self, level: &str, line: &str) {
        let text = match self.format {
            LogFormat::Text => format!("{}\n", shown_indented(line)),
            LogFormat::Json => format!("{}\n", json_line(level, line)),
        };
        // If standard error is closed, there is nowhere to report it.
        let _ = self.bar.suspend(|| io::stderr().write_all(text.as_bytes()));
    }

    /// Shows a line of text that changes, while the returned value lives.
    pub(crate) fn live_line(&self) -> LiveLine {
        let style = ProgressStyle::with_template("{msg}").expect("the template is right");
        self.show(style);
        LiveLine {
            screen: self.clone(),
            told: (Instant::now(), String::new()),
            is_news: true,
        }
    }

    /// The line of a command that runs until it is stopped: without a terminal it is a message of level `info`, so
    /// that a healthy service writes nothing at the default log level.
    pub(crate) fn service_line(&self) -> LiveLine {
        let mut line = self.live_line();
        line.is_news = false;
        line
    }

    /// Shows a bar of `length` bytes with a text behind it, while the returned value lives.
    pub(crate) fn bar(&self, length: u64) -> LiveLine {
        let template = "{bar:30} {percent:>3} %  {bytes}/{total_bytes}  {elapsed}  {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is right");
        self.bar.set_length(length);
        self.show(style);
        LiveLine {
            screen: self.clone(),
            told: (Instant::now(), String::new()),
            is_news: true,
        }
    }

    fn show(&self, style: ProgressStyle) {
        self.bar.set_style(style);
        self.bar.reset();
        if self.is_terminal {
            self.bar
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
    }
}

/// Makes a panic a line of JSON, with its place.
pub(crate) fn panic_in_json() {
    std::panic::set_hook(Box::new(|panic| {
        let line = json_line("ERROR", &panic.to_string());
        let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
    }));
}

impl Messages {
    fn change(
        &self,
        change: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static,
    ) {
        let _ = self.change.set(Box::new(change));
    }
}

/// The filter of messages if the environment names none.
fn filter_of(verbose: u8) -> String {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // Messages of other crates help only at the most verbose level.
    match verbose {
        0..=2 => format!(
            "off,bekk={level},bekk_ingest={level},bekk_log={level},bekk_sink={level},bekk_postgres={level}"
        ),
        _ => level.to_owned(),
    }
}

/// Columns of a terminal that every line fits, if its words do
const COLUMNS: usize = 80;
/// Column at which the text of a part begins
const INDENT: usize = 11;

/// Breaks a line that is longer than a terminal: after commas, and at several spaces.
fn folded(line: &str) -> Vec<String> {
    let (label, text) = match line.char_indices().nth(INDENT) {
        Some((at, _)) if line.chars().count() > COLUMNS => line.split_at(at),
        _ => return vec![line.to_owned()],
    };
    let mut lines = vec![label.to_owned()];
    // A sentence may break anywhere, a list only after an item.
    let is_sentence = label.trim_end() == "guess";
    for part in text.split("   ").filter(|part| !part.is_empty()) {
        let mut space = "   ";
        let pieces = part.split_inclusive(", ");
        let is_split = |piece: &str| is_sentence || piece.chars().count() > COLUMNS - INDENT;
        for piece in pieces.flat_map(|piece| match is_split(piece) {
            true => piece.split_inclusive(' ').collect(),
            false => vec![piece],
        }) {
            let last = lines.last_mut().expect("there is a line");
            let is_new = last.chars().count() == INDENT;
            let space = std::mem::take(&mut space);
            let space = if is_new { "" } else { space };
            let len = last.chars().count() + space.len() + piece.trim_end().chars().count();
            if is_new || len <= COLUMNS {
                last.push_str(space);
                last.push_str(piece);
            } else {
                lines.push(format!("{}{piece}", " ".repeat(INDENT)));
            }
        }
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// A message's fields, each on one line: files are named by whoever may write into the inbox. (As JSON they are escaped
/// anyway.)
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    format::debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", shown(&value)),
            name => write!(writer, "{name}={}", shown(&value)),
        }
    })
    .delimited(" ")
}

/// The line at the bottom; when it is dropped, it is cleared.
pub(crate) struct LiveLine {
    screen: Screen,
    /// When something was last said where there is no terminal, and what.
    told: (Instant, String),
    /// Whether the text is printed at every log level, or only from `info` on.
    is_news: bool,
}

impl LiveLine {
    /// Shows another text. Without a terminal it is said when it has changed, at most every 10 s.
    pub(crate) fn set(&mut self, text: String) {
        if self.screen.is_terminal {
            self.screen.bar.set_message(shown(&text).into_owned());
            return;
        }
        if self.told.0.elapsed() >= TOLD_EVERY && self.told.1 != text {
            match self.is_news {
                true => self.screen.say(&text),
                false => tracing::info!("{text}"),
            }
            self.told = (Instant::now(), text);
        }
    }

    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Moves the bar.
    pub(crate) fn set_position(&self, position: u64, length: u64) {
        self.screen.bar.set_length(length);
        self.screen.bar.set_position(position);
    }

    /// Leaves a text standing as the last one, and ends.
    pub(crate) fn finish(self, text: &str) {
        if self.screen.is_terminal {
            self.screen.bar.abandon_with_message(text.to_owned());
            // The cursor is left at the line's end, which is that of the terminal, or of what it writes to.
            let _ = io::stderr().write_all(b"\n");
        } else {
            self.screen.say(text);
        }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if !self.screen.bar.is_finished() {
            self.screen.bar.finish_and_clear();
        }
        self.screen
            .bar
            .set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// Writes messages above the progress line.
pub(crate) struct Above(ProgressBar);

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Above;

    fn make_writer(&'a self) -> Self::Writer {
        Above(self.bar.clone())
    }
}

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A number with commas between its thousands: 1,204.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun: 1 file, 1,204 files.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {}", grouped(count), plural(count, noun))
}

/// A noun for so many: 1 file, 2 files.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::{folded, grouped};

    #[test]
    fn a_long_part_is_folded_where_it_is_listed() {
        let short = "inbox      data/*.csv   a new file every 15 s";
        assert_eq!(folded(short), [short]);
        let topics = "sensors: 4 partitions, trades: 4 partitions, sales: 4 partitions";
        assert_eq!(
            folded(&format!(
                "log        .bekk/log   {topics}, fsync on every append"
            )),
            [
                "log        .bekk/log   sensors: 4 partitions, trades: 4 partitions,",
                "           sales: 4 partitions, fsync on every append"
            ]
        );
        let words = "word ".repeat(30);
        let lines = folded(&format!("config     {words}"));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
        let guess = "guess      price: numbers with marks, such as 1,234.50; type = \"text\" keeps them as they are";
        assert_eq!(
            folded(guess),
            [
                "guess      price: numbers with marks, such as 1,234.50; type = \"text\" keeps them",
                "           as they are"
            ]
        );
        let path = "/long".repeat(40);
        assert_eq!(
            folded(&format!("postgres   {path}")).concat(),
            format!("postgres   {path}")
        );
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1204, "1,204"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
