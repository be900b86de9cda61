//! Finds CSV files, follows them as they grow, and appends each of their records to the log exactly once.
//!
//! **Invariant:** this crate knows files and the log, and no PostgreSQL. What it has read is in the log or
//! not there at all: the checkpoint beside it is a cache.
//!
//! Each folder uses only those below it:
//!
//! | folder | holds |
//! |---|---|
//! | [`follow`] | the session of a run: meets files, reads them in turns, follows them through rotation, finishes them |
//! | [`ask`] | answers for other commands: the state of files, a preview, one record or whole files read again |
//! | [`ledger`] | what the log and the checkpoint hold of files |
//! | [`inbox`] | the patterns, the listing, notifications, and the locks of the directories |
//! | [`file`](mod@file) | what is known of one file, and the evidence by which it is known again |
//! | [`text`] | from bytes to batches: encoding, header, records, fields, values |
//! | [`source`] | a file's bytes, plain or decompressed, and what they and the system tell of it |
//!
//! The life of a record: [`inbox`] finds its file, [`follow::register`] gives it an id (durable in `bekk.meta`
//! before anything of it is read), or [`follow::meet`] knows it again by [`file::evidence`]; [`text::reader`] takes it
//! out of a block, [`text::split`] into fields, [`text::convert`] makes it a row or a reject; a
//! [`text::parsed_batch`] takes it to the [`ledger::appender`] thread, and when that has the log's answer,
//! [`follow::account`] moves the file's position, which the [`ledger::checkpoint`] notes. After a crash, or an append without an answer,
//! [`ledger::recover`] asks the log which byte ranges it has, and the reader passes over exactly those.
//!
//! The life of a file: [`follow::meet`] sees by inode which are known, [`follow::rotate`] where a content has gone that
//! is not where it was, [`follow::copies`] which file is its copy, [`follow::gone`] follows what has left the inbox,
//! [`follow::packed`] makes sure of what is compressed. What they decide, and on what evidence, is kept with the
//! checkpoint, and [`files()`] reports it.
#![expect(
    rustdoc::private_intra_doc_links,
    reason = "the map of the crate is for its readers"
)]

mod follow;

mod ask;
mod ledger;

mod file;
mod inbox;

mod text;

mod source;

mod clock;
mod config;
mod error;
mod piped;
mod run;
mod stats;

#[cfg(test)]
mod testing;

pub use ask::contents::{Comparison, ContentFinding, ContentKind, Contents, FileContent, contents};
pub use ask::files::{
    FileStatus, Files, Running, fault_and_advice, files, matched, matched_files, streams_of,
};
pub use ask::preview::{Preview, preview, preview_first};
pub use ask::reparse::{InFile, Reparsed, Reparser, TextForm};
pub use ask::sample::{Head, Sampled, head, sample};
pub use config::{Config, Mode};
pub use error::Error;
pub use file::decision::{Decision, FileState, What};
pub use inbox::lock::{Holder, holder};
pub use ledger::moved::move_to_log;
pub use ledger::requests::request_reread;
pub use piped::{KeptInput, PipedInput, PipedInputs, check_input_name, stored_inputs};
pub use run::run;
pub use source::Packing;
pub use source::create::{check_directory_links, create_file};
pub use stats::{Stats, Summary};
pub use text::notice::{Notice, NoticeKind};
pub use text::preamble::separator_of;
