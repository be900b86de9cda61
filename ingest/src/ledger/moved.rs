//! What is known of a log, for its copy, where every record has the offset that it had.

use std::path::Path;

use crate::Error;
use crate::inbox::lock::lock_state;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::marks::Marks;

/// Lets the checkpoint of a state directory tell of another log, which is the copy of the one that it tells of; says
/// whether it did.
///
/// # Errors
/// If an ingest uses the directory, or it cannot be written.
pub fn move_to_log(state_dir: &Path, from: &str, to: &str) -> Result<bool, Error> {
    let path = state_dir.join("checkpoint");
    if !path.exists() {
        return Ok(false);
    }
    let _lock = lock_state(state_dir)?;
    let found = Checkpoint::load(&path)?.filter(|checkpoint| checkpoint.log_id == from);
    let Some(mut checkpoint) = found else {
        return Ok(false);
    };
    let marks_path = path.with_file_name("marks");
    let mut marks = Marks::load(&marks_path, from);
    to.clone_into(&mut marks.log_id);
    // Marks of a log that the checkpoint does not tell of yet are not looked at.
    marks.store(&marks_path)?;
    to.clone_into(&mut checkpoint.log_id);
    checkpoint.store(&path)?;
    Ok(true)
}
