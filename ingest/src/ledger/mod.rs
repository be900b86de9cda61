//! What the log and the checkpoint hold of the files: appends to the log, and what is read back from it.

pub(crate) mod append;
pub(crate) mod checkpoint;
pub(crate) mod codec;
pub(crate) mod metas;
pub(crate) mod recover;
pub(crate) mod scan;
