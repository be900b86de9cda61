//! `bekk diff`: in which rows two tables differ.

use anyhow::{Context as _, Result, ensure};
use bekk_sink::Differing;
use serde::Serialize;

use super::{Outcome, check_name, print_json, print_result};
use crate::args::{Diff, Global};
use crate::context::{Context, table_name};
use crate::screen::grouped;

#[derive(Serialize)]
struct Kind<'a> {
    kind: &'static str,
    rows: u64,
    keys: &'a [String],
}

pub(crate) fn run(global: &Global, args: &Diff) -> Result<Outcome> {
    let context = Context::load(global)?;
    let (first, second) = (table_name(&args.first)?, table_name(&args.second)?);
    let streams = &context.config.streams;
    if let Some(name) = &args.stream {
        check_name("--stream", name, streams.iter().map(|stream| &*stream.name))?;
    }
    let stream = match &args.stream {
        Some(name) => streams.iter().find(|stream| stream.name == *name),
        None => streams
            .iter()
            .find(|stream| [&first, &second].contains(&&stream.table)),
    };
    let stream = stream.with_context(|| {
        format!("find the stream of `{first}` or `{second}`; --stream names it")
    })?;
    ensure!(
        !stream.key.is_empty(),
        "stream `{}` has no key to match rows by",
        stream.name
    );
    let database = context.database(&args.postgres)?;
    let difference = bekk_sink::diff_tables(&database.options, stream, &first, &second)?;
    let kind = |kind, found: &'_ Differing| (kind, found.clone());
    let kinds = [
        kind("added", &difference.added),
        kind("missing", &difference.missing),
        kind("changed", &difference.changed),
    ];
    if args.output.json {
        let kinds = kinds.each_ref().map(|(kind, found)| Kind {
            kind,
            rows: found.rows,
            keys: &found.keys,
        });
        print_json(&kinds)?;
    } else {
        for (kind, found) in &kinds {
            let keys = if found.keys.is_empty() {
                String::new()
            } else {
                format!("   {}", found.keys.join("  "))
            };
            print_result(&format!("{kind:<8} {:>12}{keys}", grouped(found.rows)))?;
        }
    }
    Ok(Outcome::of(difference.is_none()))
}
