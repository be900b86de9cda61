//! `bekk check`: what is wrong with the configuration, the database and its tables.

use anyhow::Result;

use super::{Outcome, print_result};
use crate::args::{Check, Global};
use crate::context::Context;
use crate::screen::Screen;

pub(crate) fn run(global: &Global, args: &Check, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    let origin = context.file.as_ref().map_or_else(
        || "built-in sample".to_owned(),
        |path| path.display().to_string(),
    );
    print_result(&format!(
        "config     {origin}: ok, {}",
        context.shown_topics()
    ))?;
    for stream in &context.config.streams {
        print_result(&format!(
            "stream     {}: {} columns into table {}",
            stream.name,
            stream.columns.len(),
            stream.table
        ))?;
    }
    if args.offline {
        return Ok(Outcome::Done);
    }
    let database = context.database(&args.postgres)?;
    screen.say(&format!("postgres   {}", database.description));
    let report = bekk_sink::check(&database.options, &context.config.streams)?;
    print_result(&format!("server     PostgreSQL {}", report.server_version))?;
    for table in &report.tables {
        let state = match (table.exists, table.problems.is_empty()) {
            (false, _) => "does not exist; the sink makes it",
            (true, true) => "fits",
            (true, false) => "does not fit",
        };
        print_result(&format!(
            "table      {}: {state} (stream {})",
            table.table, table.stream
        ))?;
        for problem in &table.problems {
            print_result(&format!("  problem  {problem}"))?;
        }
        for warning in &table.warnings {
            print_result(&format!("  warning  {warning}"))?;
        }
    }
    Ok(if report.is_good() {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}
