//! `bekk generate`: synthetic events.

use std::time::Instant;

use anyhow::{Context as _, Result};
use bekk_generator::{Append, Plan, Written};

use super::live::{Live, events};
use super::{Outcome, print_result};
use crate::args::Generate;
use crate::screen::{Screen, counted, grouped};
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
        let live = Live::new(args);
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
        "wrote {} in {}, {} bytes, {:.1} s",
        counted(written.rows, "event"),
        counted(written.files, "file"),
        grouped(written.bytes),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(Outcome::Done)
}
