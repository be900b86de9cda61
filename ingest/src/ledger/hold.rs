//! What ingest needs of the log beside appends: that retention does not pass its checkpoint, and that what it relies on
//! is durable.

use bekk_log::Client;

use crate::Error;

/// The name under which an ingest holds records in the log.
pub(crate) fn holder(ingest: &str) -> String {
    format!("bekk-ingest/{ingest}")
}

/// Makes durable what the log has acknowledged, before something is remembered or destroyed that rests on it.
///
/// # Errors
/// If the log fails.
pub(crate) fn persist(log: &Client) -> Result<(), Error> {
    log.persist().map_err(Error::log("make records durable"))
}
