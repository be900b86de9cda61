//! Whether rows of the proposed columns fit into PostgreSQL's pages.

use super::column::Profile;

/// Room for a row in bytes: 8 kB without the headers of page and row. Only values of variable length can be stored
/// elsewhere.
const ROW_BYTES_MAX: usize = 8160 - 24;

/// A warning if a row cannot hold values of all columns that have a fixed width.
pub(super) fn warning(columns: &[Profile]) -> Option<String> {
    let bytes = columns.iter().fold(0, |at, column| {
        let (len, align) = column.settled().column_type.layout();
        usize::next_multiple_of(at, align) + len
    });
    (bytes > ROW_BYTES_MAX).then(|| {
        format!(
            "the columns' values of a fixed width take {bytes} bytes, and a row of PostgreSQL has {ROW_BYTES_MAX}: it \
             refuses rows with values in all of them; leave out columns that are not needed"
        )
    })
}
