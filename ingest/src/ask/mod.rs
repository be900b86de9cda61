//! Answers about files for other processes and commands; nothing here reads into the log.

pub(crate) mod contents;
pub(crate) mod files;
pub(crate) mod preview;
pub(crate) mod reparse;
mod reread;
pub(crate) mod sample;
