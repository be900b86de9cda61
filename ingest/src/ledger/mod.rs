//! What the log and the checkpoint hold of the files: appends to the log, and what is read back from it.

pub(crate) mod appender;
pub(crate) mod archive;
mod brief;
pub(crate) mod checkpoint;
pub(crate) mod codec;
mod entries;
pub(crate) mod heal;
pub(crate) mod hold;
pub(crate) mod marks;
pub(crate) mod metas;
pub(crate) mod moved;
pub(crate) mod recover;
pub(crate) mod requests;
pub(crate) mod scan;
mod seen;
pub(crate) mod space;
