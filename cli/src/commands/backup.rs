//! `bekk log backup`: a copy of the log as it is at one moment and of ingest's state, whether Bekk runs or not.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use bekk_log::Backup;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::LogBackup;
use crate::context::Context;
use crate::database::shown_from;
use crate::remedy::quoted;
use crate::screen::{counted, grouped};
use crate::status;

/// The files of ingest's state, each of which is replaced as a whole: its id, and caches
const INGEST_FILES: [&str; 4] = ["id", "checkpoint", "healed", "marks"];

#[derive(Serialize)]
struct Report {
    directory: String,
    log: String,
    topics: u64,
    segments: u64,
    records: u64,
    bytes: u64,
    ingest: bool,
}

pub(crate) fn run(context: &Context, args: &LogBackup) -> Result<Outcome> {
    let place = context.log_place(&args.log)?;
    let dir = context.log_dir(&args.log)?;
    place.check_exists()?;
    let to = &args.directory;
    ensure!(
        is_free(to)?,
        "`{}` is not empty; name a directory that does not exist",
        to.display()
    );
    if let Some(disk) = status::disk(&place) {
        ensure!(
            disk.free_bytes >= disk.reserve_bytes,
            "the log's disk has {} bytes free, less than the reserve of {}: free space first, because a backup begins \
             new segments",
            grouped(disk.free_bytes),
            grouped(disk.reserve_bytes)
        );
    }
    bekk_log::create_dir(to)?;
    // Ingest's state is copied first, because a checkpoint that is older than the log is normal after a crash.
    let state = context.ingest_config(false).state_dir;
    let made = copy_ingest(&state, &to.join("ingest")).and_then(|has_ingest| {
        let log = place.open()?;
        let (id, backup) = (log.log_id().to_string(), log.backup(&dir, &to.join("log"))?);
        log.close()?;
        Ok((has_ingest, id, backup))
    });
    let (has_ingest, id, backup) = made.inspect_err(|_| {
        // A backup without `log` is worth nothing. The first error is reported, not that of the removal.
        let _ = fs::remove_dir_all(to);
    })?;
    if args.output.json {
        print_json(&Report {
            directory: to.display().to_string(),
            log: id,
            topics: backup.topics,
            segments: backup.segments,
            records: backup.records,
            bytes: backup.bytes,
            ingest: has_ingest,
        })?;
        return Ok(Outcome::Done);
    }
    print(to, &backup)?;
    let mut parts = vec![(to.join("log"), dir)];
    if has_ingest {
        parts.push((to.join("ingest"), state));
    }
    print_result("to restore it, while no Bekk runs here:")?;
    // The shell's directory, which need not be the configuration's.
    let here = env::current_dir().context("find the working directory")?;
    for (from, to) in parts {
        let (from, to) = (quoted(&from), quoted(shown_from(&here, &to)));
        print_result(&format!("  rm -rf {to} && cp -a {from} {to}"))?;
    }
    Ok(Outcome::Done)
}

fn print(to: &Path, backup: &Backup) -> Result<()> {
    print_result(&format!(
        "backed up to `{}`: {} of {}, {}, {} bytes",
        to.display(),
        counted(backup.records, "record"),
        counted(backup.topics, "topic"),
        counted(backup.segments, "segment"),
        grouped(backup.bytes)
    ))
}

fn is_free(to: &Path) -> Result<bool> {
    match fs::read_dir(to) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("list `{}`", to.display())),
    }
}

/// Copies ingest's state; returns whether it has any.
fn copy_ingest(state: &Path, to: &Path) -> Result<bool> {
    let mut has_any = false;
    for name in INGEST_FILES {
        let path = state.join(name);
        if !path.is_file() {
            continue;
        }
        if !has_any {
            bekk_log::create_dir(to)?;
            has_any = true;
        }
        let into = to.join(name);
        let copied = fs::copy(&path, &into).and_then(|_| fs::File::open(&into)?.sync_all());
        copied.with_context(|| format!("copy `{}`", path.display()))?;
    }
    Ok(has_any)
}
