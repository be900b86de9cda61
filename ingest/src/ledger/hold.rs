//! What the checkpoint needs of the log: retention must not go past that.

/// The name under which an ingest holds records in the log.
pub(crate) fn holder(ingest: &str) -> String {
    format!("bekk-ingest/{ingest}")
}
