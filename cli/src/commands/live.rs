//! Files of synthetic events, written one after the other: for `bekk generate` and `bekk up --demo`.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bekk_generator::{Events, Written};
use clap::Parser;

use crate::args::Generate;

pub(super) fn events(args: &Generate) -> Events {
    Events {
        event_types: args.event_types.clone(),
        seed: args.seed.unwrap_or_else(bekk_generator::random_seed),
        duplicates: args.duplicates,
    }
}

/// A new file at every interval.
pub(super) struct Live {
    settings: Generate,
}

/// The arguments of `generate` where none are typed.
#[derive(Parser)]
struct Untyped {
    #[command(flatten)]
    generate: Generate,
}

impl Live {
    pub(super) fn new(settings: &Generate) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    /// As the environment says.
    ///
    /// # Errors
    /// If one of its variables is wrong.
    pub(super) fn from_environment() -> Result<Self> {
        let untyped = Untyped::try_parse_from(["bekk"]).context("read the generator's settings")?;
        Ok(Self {
            settings: untyped.generate,
        })
    }

    /// What it does, for a person.
    pub(super) fn description(&self) -> String {
        let seconds = self.settings.interval.as_secs_f64();
        format!("a new file every {seconds} s (SLEEP_INTERVAL)")
    }

    /// Writes to the directory below `base` until `stop` is set.
    pub(super) fn run(&self, base: &Path, stop: &AtomicBool) -> Result<()> {
        self.write_to(&base.join(&self.settings.out), stop, |_, _| {})?;
        Ok(())
    }

    pub(super) fn write_to(
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
