//! A dead letter tried again: what it is now becomes a row, unless a newer record of its key exists.
//!
//! **Invariant:** the row and the letter's resolution are one transaction. It holds the offsets row of the
//! partition that the key belongs to, so that no sink applies a record of that key meanwhile: those before
//! are in the log and are looked for, those after come later and win.

mod candidate;
mod landing;
mod later;

use std::sync::Arc;

use bekk_log::Client;
use bekk_stream::{Origin, Stream};
use parking_lot::Mutex;

pub(crate) use self::candidate::Candidate;
use self::later::LaterRecords;
use crate::command::with_session;
use crate::identity::{self, TableVerdict};
use crate::letters::bring_up_to_date;
use crate::meta_cache::MetaCache;
use crate::prepare::Source;
use crate::session::Session;
use crate::target::{Plan, StreamTarget, Transaction, prepare_table};
use crate::{ConnectOptions, Error, Letter};

/// What a dead letter's text is to be read as.
#[derive(Debug, Clone, Copy)]
pub struct LetterText<'a> {
    /// The letter.
    pub letter: &'a Letter,
    /// Whether it is a row that the table refused, written as a CSV line in the stream's order; else it is
    /// as it stood in its file.
    pub is_plain: bool,
    /// The record's bytes as they were read from its file, as far as that is known.
    pub original: &'a [u8],
    /// Where the record came from; without a file where the log does not have it any more.
    pub origin: Origin,
    /// The topic's partition count.
    pub partitions: u32,
}

/// A dead letter that is a row now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrected {
    /// The partition that its key belongs to.
    pub partition: u32,
    /// Its key, if rows of the stream have one.
    pub key: Option<Vec<u8>>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What became of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// It is in the table and resolved.
    Landed,
    /// The table has what a newer record made of its key; it is resolved.
    Superseded,
    /// It stays open, for this reason.
    Open(String),
}

/// Tries dead letters again that are all of one group and stream, in their order. `parse` reads a letter's
/// text as the stream is configured now, and says why where it is no row; `on_each` is told what became of
/// each.
///
/// # Errors
/// If the server cannot be reached or refuses more than a row, or the log cannot be read.
pub fn retry_letters(
    postgres: &ConnectOptions,
    log: &Client,
    stream: &Stream,
    letters: &[Letter],
    parse: &mut dyn FnMut(LetterText<'_>) -> Result<Corrected, String>,
    on_each: &mut dyn FnMut(&Letter, &Retried),
) -> Result<(), Error> {
    let Some(first) = letters.first() else {
        return Ok(());
    };
    with_session(postgres, "bekk-retry", async |session| {
        bring_up_to_date(session).await?;
        let Some(target) = target_of(session, stream, &first.group).await? else {
            let why = format!(
                "group `{}` has been forgotten, and with it which table it filled",
                first.group
            );
            for letter in letters {
                on_each(letter, &Retried::Open(why.clone()));
            }
            return Ok(());
        };
        let retry = Retry {
            log,
            group: &first.group,
            target: &target,
            meta: Mutex::default(),
        };
        let mut found: Vec<Result<Candidate, String>> = Vec::new();
        for letter in letters {
            found.push(retry.candidate(letter, parse)?);
        }
        let mut later =
            LaterRecords::new(log, stream, target.json.as_ref(), found.iter().flatten());
        later.look()?;
        for (letter, candidate) in letters.iter().zip(&found) {
            let retried = match candidate {
                Ok(candidate) => retry.land(session, letter, candidate, &mut later).await?,
                Err(why) => Retried::Open(why.clone()),
            };
            on_each(letter, &retried);
        }
        Ok(())
    })
}

/// The table that the group fills, which may be another than the stream's; `None` if the group is forgotten. A table that
/// was made again, or is in another database, is refused, as a sink refuses it.
async fn target_of(
    session: &Session,
    stream: &Stream,
    group: &str,
) -> Result<Option<StreamTarget>, Error> {
    const ACT: &str = "find the group's table";
    let found = identity::filled_table(session, group, &stream.name).await;
    let Some(table) = found.map_err(|error| Error::postgres(ACT, &error))? else {
        return Ok(None);
    };
    let stream = Stream {
        table,
        ..stream.clone()
    };
    let judged = identity::look(session, group, &stream).await;
    let judged = identity::judge(&judged.map_err(|error| error.into_error(ACT))?);
    if let TableVerdict::Problem(problem) = judged
        && !problem.is_a_warning()
    {
        return Err(problem.into_error(group, &stream));
    }
    let target = prepare_table(session, &stream, Transaction::None)
        .await
        .map_err(|error| error.into_error(ACT))?;
    // What is parsed now has the schema of now, which the log may not have seen yet.
    let schema = stream.schema();
    let plan = Arc::new(Plan::new(&target, &schema));
    let mut plans = target.plans.lock();
    plans.insert(schema.id(), plan);
    drop(plans);
    Ok(Some(target))
}

struct Retry<'a> {
    log: &'a Client,
    group: &'a str,
    target: &'a StreamTarget,
    meta: Mutex<MetaCache>,
}

impl Retry<'_> {
    fn source(&self, partition: u32) -> Source<'_> {
        Source {
            group: self.group,
            log: self.log,
            meta: &self.meta,
            target: self.target,
            partition,
        }
    }
}
