//! What SIGHUP does to a command that runs until it is stopped: the configuration is read again, and what differs from
//! the one in use is said. A part whose terminal has gone stops as at SIGTERM.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use bekk_stream::{Config, Stream};

use crate::args::Global;
use crate::context::Context;
use crate::screen::Screen;
use crate::signals;

/// Looks at the configuration at each SIGHUP from now on.
///
/// # Errors
/// If the system refuses.
pub(crate) fn watch(
    global: &Global,
    context: &Arc<Context>,
    stop: &Arc<AtomicBool>,
    screen: &Screen,
) -> Result<()> {
    let global = Global {
        config: global.config.clone(),
        log_format: global.log_format,
        verbose: global.verbose,
    };
    let (context, stop, screen) = (Arc::clone(context), Arc::clone(stop), screen.clone());
    let has_terminal = io::stderr().is_terminal();
    signals::on_hangup(move || {
        if has_terminal && File::open("/dev/tty").is_err() {
            stop.store(true, Ordering::Relaxed);
            return;
        }
        screen.say(&match Context::load(&global) {
            Ok(new) => told(&context.config, &new.config),
            Err(error) => format!(
                "SIGHUP: the configuration is wrong, and bekk continues with the one it started with: {error:#}"
            ),
        });
    })
    .context("listen for SIGHUP")
}

/// What has changed, and that it takes a restart.
fn told(old: &Config, new: &Config) -> String {
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
    match changes.is_empty() {
        true => "SIGHUP: the configuration has not changed".to_owned(),
        false => format!(
            "SIGHUP: the configuration is right and has changed: {}. Restart bekk to apply it; it continues where it was",
            changes.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(told(&old, &load(sample)).contains("has not changed"));
        let kept = load(&sample.replace("age = \"7d\"", "age = \"8d\""));
        assert!(told(&old, &kept).contains("stream `events` differs"));
        let renamed = told(
            &old,
            &load(&sample.replace("[streams.events]", "[streams.clicks]")),
        );
        assert!(
            renamed.contains("stream `clicks` is new, stream `events` is gone"),
            "{renamed}"
        );
        let log = told(&old, &load(&sample.replace("\"sync\"", "\"os\"")));
        assert!(
            log.contains("[log], [ingest] or [postgres] differs"),
            "{log}"
        );
    }
}
