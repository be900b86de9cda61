//! Answers about files for other processes and commands; nothing here reads into the log.

pub(crate) mod contents;
pub(crate) mod files;
mod place;
pub(crate) mod preview;
pub(crate) mod reparse;
mod reread;
pub(crate) mod sample;

#[cfg(test)]
mod testing;
