//! `bekk dead-letters retry`: what was refused, tried again.

use anyhow::Result;

use super::chosen::chosen;
use crate::args::DeadLettersRetry;
use crate::commands::{Outcome, print_json, print_result};
use crate::context::Context;
use crate::retrier::{retry, tell};
use crate::screen::Screen;

pub(super) fn run(context: &Context, args: &DeadLettersRetry, screen: &Screen) -> Result<Outcome> {
    let log = context.open_log(&args.with.log)?;
    let database = context.database(&args.with.postgres)?;
    let filter = chosen(context, &database.options, &args.which, &args.filter)?;
    let tally = retry(
        context,
        &database.options,
        &log,
        (&filter, args.with.header.as_deref()),
        &mut |letter, retried| tell(letter, retried, screen),
    )?;
    log.close()?;
    if args.with.output.json {
        print_json(&tally)?;
    } else {
        let none = match !args.which.all && tally.is_empty() {
            true => "; no open dead letter was found, see: bekk dead-letters list --resolved",
            false => "",
        };
        print_result(&format!("{tally}{none}"))?;
    }
    Ok(tally.outcome())
}
