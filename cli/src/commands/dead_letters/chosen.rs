//! The letters that a command is about.

use anyhow::{Context as _, Result};
use bekk_sink::{ConnectOptions, Letter, LetterFilter};
use bekk_stream::Reason;

use crate::args::{DEFAULT_GROUP, DeadLettersChoice, DeadLettersFilter};
use crate::context::Context;
use crate::outcome::check_name;

/// Reads a letter, open or resolved.
///
/// # Errors
/// If no dead letter has this number.
pub(super) fn read_one(postgres: &ConnectOptions, id: i64) -> Result<Letter> {
    let filter = LetterFilter {
        ids: Some(vec![id]),
        resolved: true,
        ..LetterFilter::default()
    };
    let letters = bekk_sink::read_letters(postgres, &filter, 0, 1)?;
    let letter = letters.into_iter().next();
    letter.with_context(|| format!("there is no dead letter {id}; see: bekk dead-letters list"))
}

/// The letters that a command changes: named by number, or all that the other options leave.
pub(super) fn chosen(
    context: &Context,
    postgres: &ConnectOptions,
    which: &DeadLettersChoice,
    args: &DeadLettersFilter,
) -> Result<LetterFilter> {
    let mut filter = filter(context, postgres, args)?;
    filter.ids = (!which.all).then(|| which.ids.clone());
    Ok(filter)
}

/// The letters that the options leave.
///
/// # Errors
/// If an option names a group, a stream or a reason that does not exist: a mistyped name must not look like
/// a table without dead letters.
pub(super) fn filter(
    context: &Context,
    postgres: &ConnectOptions,
    args: &DeadLettersFilter,
) -> Result<LetterFilter> {
    let (group, reason, stream) = (&args.group, &args.reason, &args.stream.name);
    if group.is_some() || reason.is_some() || stream.is_some() {
        let names = bekk_sink::letter_names(postgres)?;
        if let Some(group) = group {
            let own = names.groups.iter().map(String::as_str);
            check_name("--group", group, own.chain([DEFAULT_GROUP]))?;
        }
        if let Some(reason) = reason {
            let met = names.reasons.iter().map(String::as_str);
            let known = Reason::ALL.iter().map(|reason| reason.as_str());
            check_name("--reason", reason, met.chain(known).chain(["refused"]))?;
        }
        if let Some(stream) = stream {
            let met = names.streams.iter().map(String::as_str);
            let configured = context.config.streams.iter().map(|stream| &*stream.name);
            check_name("--stream", stream, met.chain(configured))?;
        }
    }
    Ok(LetterFilter {
        ids: None,
        group: group.clone(),
        reason: reason.clone(),
        stream: stream.clone(),
        since_ms: args.since.map(|since| since.0),
        resolved: false,
    })
}
