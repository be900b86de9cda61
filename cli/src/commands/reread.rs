//! `bekk ingest reread`: files read again from their beginning, under the configuration as it is now.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bekk_ingest::{preview, request_reread, streams_of};
use bekk_stream::Stream;

use super::{Outcome, print_result};
use crate::args::{Global, IngestReread};
use crate::context::Context;
use crate::database::shown_from;
use crate::screen::{counted, grouped};

pub(crate) fn run(global: &Global, args: &IngestReread) -> Result<Outcome> {
    let context = Context::load(global)?;
    let streams = &context.config.streams;
    let mut paths = Vec::new();
    for file in &args.files {
        let path =
            std::path::absolute(file).with_context(|| format!("find `{}`", file.display()))?;
        let fed = streams_of(streams, &path).context("look for the file's streams")?;
        if fed.is_empty() {
            bail!(
                "`{}` matches the patterns of no stream; `bekk ingest files` lists those that do",
                file.display()
            );
        }
        for stream in fed {
            print_result(&shown(shown_from(&context.base, &path), &path, stream)?)?;
        }
        paths.push(path);
    }
    if !args.execute {
        print_result("nothing was changed; add --execute to do it")?;
        return Ok(Outcome::Done);
    }
    let state_dir = context.ingest_config(true).state_dir;
    for path in &paths {
        request_reread(&state_dir, path).context("leave the request for ingest")?;
    }
    print_result(
        "requested; the running ingest reads the files again, or else the next `bekk up` or `bekk ingest`",
    )?;
    Ok(Outcome::Done)
}

/// What reading a file again would bring.
fn shown(name: &Path, path: &Path, stream: &Stream) -> Result<String> {
    let found = preview(path, stream).with_context(|| format!("read `{}`", path.display()))?;
    if let Some(why) = found.blocked {
        return Ok(format!(
            "{} (stream {}): it would be set aside: {why}",
            name.display(),
            stream.name
        ));
    }
    let rows = found.records - found.rejects;
    let outcome = match stream.key.is_empty() {
        true => format!(
            "the stream has no key, so rows that the table already has would be inserted a second time: up to {}",
            counted(rows, "row")
        ),
        false => "rows that are already in the table are updated as `on_conflict` says".to_owned(),
    };
    Ok(format!(
        "{} (stream {}): {}, {} of them rejects; {outcome}",
        name.display(),
        stream.name,
        counted(found.records, "record"),
        grouped(found.rejects)
    ))
}
