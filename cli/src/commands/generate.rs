//! `bekk generate`: synthetic events, and the generator of `bekk up --demo`.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bekk_generator::{Append, Events, Plan, Written};
use clap::Parser;

use super::{Outcome, print_result};
use crate::args::Generate;
use crate::screen::{Screen, grouped, plural};
use crate::signals;

pub(crate) fn run(args: &Generate, screen: &Screen) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let named = args.append.as_ref().unwrap_or(&args.out);
    bekk_ingest::check_directory_links(named)
        .with_context(|| format!("write to `{}`", named.display()))?;
    let started = Instant::now();
    let written = if let Some(rows) = args.rows {
        let plan = Plan {
            events: events(args),
            out: args.out.clone(),
            rows,
            files: args.files,
        };
        let mut line = screen.live_line();
        let mut so_far = Written::default();
        bekk_generator::generate_files(&plan, &stop, |_, written| {
            so_far += written;
            line.set(format!(
                "{} of {} files, {} events",
                so_far.files,
                plan.files,
                grouped(so_far.rows)
            ));
        })?
    } else if let Some(file) = &args.append {
        screen.say(&format!(
            "appending {} lines a second to {}; Ctrl-C stops",
            args.rate,
            file.display()
        ));
        let append = Append {
            events: events(args),
            file: file.clone(),
            rate: args.rate,
            rows: None,
        };
        bekk_generator::append_lines(&append, &stop)?
    } else {
        let live = Live {
            settings: args.clone(),
        };
        screen.say(&format!(
            "writing to {}: {}; Ctrl-C stops",
            args.out.display(),
            live.description()
        ));
        live.write_to(&args.out, &stop, |path, written| {
            screen.say(&format!(
                "{}: {} events",
                path.display(),
                grouped(written.rows)
            ));
        })?
    };
    print_result(&format!(
        "wrote {} {} in {} {}, {} bytes, {:.1} s",
        grouped(written.rows),
        plural(written.rows, "event"),
        grouped(written.files),
        plural(written.files, "file"),
        grouped(written.bytes),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(Outcome::Done)
}

fn events(args: &Generate) -> Events {
    Events {
        event_types: args.event_types.clone(),
        seed: args.seed.unwrap_or_else(bekk_generator::random_seed),
        duplicates: args.duplicates,
    }
}

/// A new file at every interval.
pub(crate) struct Live {
    settings: Generate,
}

/// The arguments of `generate` where none are typed.
#[derive(Parser)]
struct Untyped {
    #[command(flatten)]
    generate: Generate,
}

impl Live {
    /// As the environment says.
    ///
    /// # Errors
    /// If one of its variables is wrong.
    pub(crate) fn from_environment() -> Result<Self> {
        let untyped = Untyped::try_parse_from(["bekk"]).context("read the generator's settings")?;
        Ok(Self {
            settings: untyped.generate,
        })
    }

    /// What it does, for a person.
    pub(crate) fn description(&self) -> String {
        let seconds = self.settings.interval.as_secs_f64();
        format!("a new file every {seconds} s (SLEEP_INTERVAL)")
    }

    /// Writes to the directory below `base` until `stop` is set.
    pub(crate) fn run(&self, base: &Path, stop: &AtomicBool) -> Result<()> {
        self.write_to(&base.join(&self.settings.out), stop, |_, _| {})?;
        Ok(())
    }

    fn write_to(
        &self,
        out: &Path,
        stop: &AtomicBool,
        on_file: impl FnMut(&Path, Written),
    ) -> Result<Written> {
        let live = bekk_generator::Live {
            events: events(&self.settings),
            out: out.to_owned(),
            rows_min: self.settings.min_events,
            rows_max: self.settings.max_events,
            interval: self.settings.interval.max(Duration::from_millis(1)),
        };
        Ok(bekk_generator::generate_live(&live, stop, on_file)?)
    }
}
