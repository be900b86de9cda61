//! SIGHUP in a command that runs until it is stopped: it applies the log level, the retention of topics, new streams and
//! other patterns of files, and reports any other difference from the configuration in use. A command whose terminal has
//! gone stops as at SIGTERM.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use bekk_log::Client;
use bekk_stream::{Config, Stream};

use crate::args::Global;
use crate::context::Context;
use crate::environment;
use crate::log_place::LogPlace;
use crate::screen::Screen;
use crate::service::Service;
use crate::signals;

/// Changes of streams that a command takes at SIGHUP
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// New streams, and other patterns of those in use
    Streams,
    /// Other patterns: a log elsewhere checks its topics when it is opened
    Patterns,
    /// Nothing: the command applies no streams, or no more than one
    Fixed,
}

impl Scope {
    /// The changes that a command with the streams of a log takes.
    pub(crate) fn of(place: &LogPlace) -> Self {
        match place.dir() {
            Some(_) => Self::Streams,
            None => Self::Patterns,
        }
    }
}

/// Looks at the log level and the configuration at each SIGHUP from now on.
///
/// # Errors
/// If the system refuses.
pub(crate) fn watch(
    global: &Global,
    context: &Arc<Context>,
    service: &Arc<Service>,
    scope: Scope,
    stop: &Arc<AtomicBool>,
    screen: &Screen,
) -> Result<()> {
    let global = Global {
        config: global.config.clone(),
        log_format: global.log_format,
        verbose: global.verbose,
    };
    let (context, service) = (Arc::clone(context), Arc::clone(service));
    let (stop, screen) = (Arc::clone(stop), screen.clone());
    let has_terminal = io::stderr().is_terminal();
    signals::on_hangup(move || {
        if has_terminal && File::open("/dev/tty").is_err() {
            stop.store(true, Ordering::Relaxed);
            return;
        }
        match environment::filter_now().and_then(|filter| screen.filter_messages(filter)) {
            Ok(None) => {}
            Ok(Some(filter)) => screen.say(&format!("SIGHUP: applied the log level `{filter}`")),
            Err(error) => screen.say(&format!("SIGHUP: the log level stays as it was: {error:#}")),
        }
        match Context::load(&global) {
            Ok(new) => {
                let log = service.parts().log;
                for line in applied(&context, scope, &new.config, log.as_ref()) {
                    screen.say(&line);
                }
            }
            Err(error) => screen.say(&format!(
                "SIGHUP: the configuration is wrong, and bekk continues with the one it started with: {:#}",
                anyhow::Error::new(error)
            )),
        }
    })
    .context("listen for SIGHUP")
}

/// Applies the changes that need no restart, and returns lines that name them and the others.
fn applied(context: &Context, scope: Scope, new: &Config, log: Option<&Client>) -> Vec<String> {
    let mut lines = retained(context, new, log);
    let old = context.streams();
    let takes = |streams: &Vec<Stream>| match scope {
        Scope::Streams => true,
        Scope::Patterns => streams.len() == old.len(),
        Scope::Fixed => false,
    };
    if let Some(streams) = taken(&old, &new.streams).filter(takes) {
        lines.extend(named(&old, &streams));
        if streams != old {
            context.set_streams(streams);
        }
    }
    let old = Config {
        streams: context.streams(),
        ..context.config.clone()
    };
    match (told(&old, new), lines.is_empty()) {
        (None, false) => {}
        (None, true) => lines.push("SIGHUP: the configuration has not changed".to_owned()),
        (Some(told), _) => lines.push(told),
    }
    lines
}

/// The streams that can be taken into use while the command runs: those of before with other patterns of files, and new
/// ones. `None` if any other key of a stream differs, or a stream is gone: its records may be on their way, and a new
/// stream may depend on it.
fn taken(old: &[Stream], new: &[Stream]) -> Option<Vec<Stream>> {
    let mut streams = Vec::new();
    for before in old {
        let after = new.iter().find(|stream| stream.name == before.name)?;
        let changed = Stream {
            files: after.files.clone(),
            exclude: after.exclude.clone(),
            ..before.clone()
        };
        let is_all = Stream {
            retention: after.retention,
            ..changed.clone()
        } == *after;
        streams.push(is_all.then_some(changed)?);
    }
    let is_new = |stream: &&Stream| old.iter().all(|before| before.name != stream.name);
    streams.extend(new.iter().filter(is_new).cloned());
    Some(streams)
}

/// Returns a line for each change that was taken into use.
fn named(old: &[Stream], new: &[Stream]) -> Vec<String> {
    let changes = new.iter().filter_map(|stream| {
        let name = &stream.name;
        match old.iter().find(|before| before.name == *name) {
            None => Some(format!("SIGHUP: stream `{name}` is new and in use")),
            Some(before) if before.files != stream.files || before.exclude != stream.exclude => {
                Some(format!("SIGHUP: applied the patterns of stream `{name}`"))
            }
            Some(_) => None,
        }
    });
    changes.collect()
}

/// Applies the retention of the streams' topics.
fn retained(context: &Context, new: &Config, log: Option<&Client>) -> Vec<String> {
    let mut lines = Vec::new();
    for before in context.streams() {
        let Some(stream) = new.streams.iter().find(|new| new.name == before.name) else {
            continue;
        };
        if stream.retention == before.retention {
            continue;
        }
        let name = &stream.name;
        let retention = bekk_log::Retention {
            age: stream.retention.age,
            size: stream.retention.size,
        };
        lines.push(match log.map(|log| log.set_retention(name, retention)) {
            Some(Ok(())) => {
                context.set_retention(name, stream.retention);
                format!("SIGHUP: applied the retention of stream `{name}`")
            }
            Some(Err(error)) => {
                format!("SIGHUP: the retention of stream `{name}` is not applied: {error}")
            }
            None => format!(
                "SIGHUP: the retention of stream `{name}` is not applied: the log is not open yet"
            ),
        });
    }
    lines
}

/// Names the changes that need a restart, if there are any.
fn told(old: &Config, new: &Config) -> Option<String> {
    let mut changes = Vec::new();
    let named = |streams: &[Stream], name: &str| {
        let mut streams = streams.iter();
        streams.find(|stream| stream.name == name).cloned()
    };
    for stream in &new.streams {
        match named(&old.streams, &stream.name) {
            None => changes.push(format!("stream `{}` is new", stream.name)),
            Some(before) if before != *stream => {
                changes.push(format!("stream `{}` differs", stream.name));
            }
            Some(_) => {}
        }
    }
    for stream in &old.streams {
        if named(&new.streams, &stream.name).is_none() {
            changes.push(format!("stream `{}` is gone", stream.name));
        }
    }
    let same = Config {
        streams: old.streams.clone(),
        ..new.clone()
    };
    if same != *old {
        changes.push("[log], [ingest] or [postgres] differs".to_owned());
    }
    (!changes.is_empty()).then(|| {
        format!(
            "SIGHUP: the configuration is right and has changed: {}. Restart bekk to apply it; it continues where it was",
            changes.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_says;

    use super::*;
    use crate::args::LogFormat;

    #[test]
    fn new_streams_and_patterns_are_taken_and_nothing_beside_another_change() {
        let sample = bekk_stream::SAMPLE_CONFIG;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bekk.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Config::load(&path, &|_| None).unwrap().streams
        };
        let old = load(sample);
        let more = "[streams.more]\nfiles = [\"more/*.csv\"]\nkey = [\"id\"]\ncolumns = [{ name = \"id\", type = \"int8\" }]\n";
        let wider = sample.replace("data/*.csv", "inbox/*.csv");
        let streams = taken(&old, &load(&format!("{wider}\n{more}"))).unwrap();
        let said = named(&old, &streams).join("; ");
        assert_eq!(
            said,
            "SIGHUP: applied the patterns of stream `events`; SIGHUP: stream `more` is new and in use"
        );
        assert!(streams[0].files[0].ends_with("inbox/*.csv"), "{streams:?}");
        assert_eq!(taken(&old, &old), Some(old.clone()));
        let kept = taken(&old, &load(&sample.replace("age = \"7d\"", "age = \"8d\""))).unwrap();
        assert_eq!(kept, old, "the retention is applied apart");
        for changed in [
            sample.replace("partitions = 4", "partitions = 8"),
            sample.replace("[streams.events]", "[streams.clicks]"),
        ] {
            assert_eq!(taken(&old, &load(&format!("{changed}\n{more}"))), None);
        }
    }

    #[test]
    fn a_command_takes_no_more_than_its_scope() {
        let sample = bekk_stream::SAMPLE_CONFIG;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bekk.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let global = Global {
                config: Some(path.clone()),
                log_format: LogFormat::Text,
                verbose: 0,
            };
            Context::load(&global).unwrap()
        };
        let wider = load(&sample.replace("data/*.csv", "inbox/*.csv"));
        let more = load(&format!(
            "{sample}\n[streams.more]\nfiles = [\"more/*.csv\"]\nkey = [\"id\"]\n\
             columns = [{{ name = \"id\", type = \"int8\" }}]\n"
        ));
        let check = |scope, new: &Context, is_taken: bool| {
            let context = load(sample);
            let lines = applied(&context, scope, &new.config, None).join("; ");
            assert_eq!(context.streams() == new.streams(), is_taken, "{lines}");
            assert_eq!(lines.contains("Restart bekk"), !is_taken, "{lines}");
        };
        check(Scope::Streams, &wider, true);
        check(Scope::Streams, &more, true);
        check(Scope::Patterns, &wider, true);
        check(Scope::Patterns, &more, false);
        check(Scope::Fixed, &wider, false);
        check(Scope::Fixed, &more, false);
    }

    #[test]
    fn every_change_is_named() {
        let sample = bekk_stream::SAMPLE_CONFIG;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bekk.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Config::load(&path, &|_| None).unwrap()
        };
        let old = load(sample);
        assert_eq!(told(&old, &load(sample)), None);
        let told = |old: &Config, new: &Config| told(old, new).unwrap();
        let kept = load(&sample.replace("age = \"7d\"", "age = \"8d\""));
        assert!(told(&old, &kept).contains("stream `events` differs"));
        let renamed = told(
            &old,
            &load(&sample.replace("[streams.events]", "[streams.clicks]")),
        );
        assert_says(
            &renamed,
            &["stream `clicks` is new, stream `events` is gone"],
        );
        let log = told(&old, &load(&sample.replace("\"sync\"", "\"os\"")));
        assert_says(&log, &["[log], [ingest] or [postgres] differs"]);
    }
}
