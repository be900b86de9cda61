//! A batch on its way into the table, and what may become of it.

use std::sync::Arc;

use crate::batch::Batch;
use crate::offsets::TransactionId;
use crate::sqlstate::{Verdict, verdict};
use crate::target::StreamTarget;
use crate::{Error, PostgresError};

/// A batch and all that its transaction needs to know.
pub(crate) struct Job {
    /// The stream and its table, as it was when the batch was made.
    pub(crate) target: Arc<StreamTarget>,
    pub(crate) partition: u32,
    /// The epoch of the lease under which the batch was taken.
    pub(crate) epoch: i64,
    /// Below this offset lie all open dead letters that the group has met before.
    pub(crate) letters_end: u64,
    /// Whether its rows refer to rows of another stream.
    pub(crate) is_child: bool,
    pub(crate) batch: Batch,
    pub(crate) path: Path,
    /// Whether the batch may become dead letters as a whole.
    pub(crate) may_be_refused: bool,
    /// Below this offset, records that are refused because of another row become dead letters.
    pub(crate) final_until: u64,
}

/// Which way into the table is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// COPY straight into the table: the fastest, if no key exists.
    Copy,
    /// COPY into a temporary table, and from there with ON CONFLICT.
    Merge,
}

/// What became of a batch that was committed.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) transaction: TransactionId,
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    /// Rows that were deleted because a record says so; those records are among the superseded.
    pub(crate) deleted: u64,
    /// Dead letters by reason.
    pub(crate) dead: Vec<String>,
    /// Whether a key existed.
    pub(crate) conflict: bool,
    /// Whether the table took a record.
    pub(crate) passed: bool,
    /// How many records at the end of the batch have been refused without one that passed.
    pub(crate) refused_run: u64,
}

/// Why a batch was not committed, or may not have been.
pub(crate) enum ApplyError {
    /// The offset has been moved or the lease has been taken: read both again.
    Moved,
    /// The table is not the one that the batch was made for any more: look at it again.
    TableAltered,
    /// The server's answer. With `applied`, the COMMIT was under way: the offset tells whether it was done.
    Postgres {
        error: tokio_postgres::Error,
        applied: Option<Applied>,
    },
    /// The record at this offset was refused because of another row, which may yet change.
    Early(u64),
    /// The session was lost while this error was being dealt with.
    SessionLost(PostgresError),
    /// The table refused every record, one by one, which says nothing about a record. With the error that this is if
    /// the table is at fault.
    AllRefused { refused: u64, error: Box<Error> },
    /// Only a person can help.
    Stop(Error),
}

impl From<tokio_postgres::Error> for ApplyError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres {
            error,
            applied: None,
        }
    }
}

/// Decides about a temporary table that cannot be made: an event trigger may refuse it, for example.
pub(crate) fn no_staging(error: tokio_postgres::Error) -> ApplyError {
    match verdict(&error) {
        Verdict::Isolate => {
            let act = "make a temporary table, through which rows are merged or deleted";
            ApplyError::Stop(Error::postgres(act, &error))
        }
        _ => error.into(),
    }
}

impl Job {
    pub(crate) fn partition_number(&self) -> i32 {
        // A topic has at most 1,024 partitions.
        i32::try_from(self.partition).unwrap_or(i32::MAX)
    }
}
