//! Finds CSV files, follows them as they grow, and appends each of their records to the log exactly once.
//!
//! **Invariant:** this crate knows files and the log, and no PostgreSQL. What it has read is in the log or
//! not there at all: the checkpoint beside it is a cache.
//!
//! The life of a record: [`inbox`] finds its file, [`register`] gives it an id (durable in `bekk.meta`
//! before anything of it is read), or [`meet`] knows it again by [`identity`]; [`reader`] takes it out of a block, [`split`]
//! into fields, [`convert`] makes it a row or a reject; a [`batch`] takes it to the [`append`] thread, and
//! when that has the log's answer, [`account`] moves the file's position, which the [`checkpoint`] notes.
//! After a crash, or an append without an answer, [`recover`] asks the log which byte ranges it has, and
//! the reader passes over exactly those.
//!
//! What becomes of files: [`meet`] sees by inode which are known, [`rotate`] where a content has gone that is
//! not where it was, [`copies`] which file is its copy, [`gone`] follows what has left the inbox, [`packed`] makes
//! sure of what is compressed. What they decide, and on what evidence, is kept with the checkpoint, for [`files()`]
//! to tell.
#![expect(
    rustdoc::private_intra_doc_links,
    reason = "the map of the crate is for its readers"
)]

mod account;
mod append;
mod batch;
mod checkpoint;
mod codec;
mod config;
mod convert;
mod copies;
mod cursor;
mod decision;
mod dialect;
mod engine;
mod entry;
mod error;
mod files;
mod finish;
mod gone;
mod header;
mod identity;
mod inbox;
mod lock;
mod meet;
mod metas;
mod overlong;
mod packed;
mod preamble;
mod preview;
mod ranges;
mod reader;
mod recent;
mod recover;
mod register;
mod reparse;
mod reread;
mod rotate;
mod run;
mod scan;
mod siblings;
mod source;
mod split;
mod stats;
mod tracked;
mod trial;
mod turns;
mod unpack;
mod utf16;
mod watch;

#[cfg(test)]
mod property;
#[cfg(test)]
mod testing;

pub use config::{Config, Mode};
pub use decision::{Decision, FileState, Packing, What};
pub use error::Error;
pub use files::{FileStatus, Files, Running, files};
pub use lock::{Holder, holder};
pub use preview::{Preview, preview};
pub use reparse::{InFile, Reparsed, Reparser, TextForm};
pub use run::run;
pub use stats::{Stats, Summary};
