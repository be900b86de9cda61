//! Columns that may have been renamed in the configuration: the values in older records have the former name.

use bekk_stream::{Schema, Stream};

/// Says that records of a schema have a column which the stream lacks, and lack one that could take its values; `None` if
/// they do not.
pub(super) fn suspected(stream: &Stream, schema: &Schema) -> Option<String> {
    let lacked = |name: &str| schema.columns.iter().all(|column| column.name != name);
    let is_dropped = |name: &str| stream.columns.iter().all(|column| column.name != name);
    let mut pairs = schema
        .columns
        .iter()
        .filter(|old| is_dropped(&old.name))
        .filter_map(|old| {
            let mut added = stream.columns.iter();
            let new = added.find(|new| {
                new.source.is_none()
                    && lacked(&new.name)
                    && old.column_type.widens(&new.column_type)
            })?;
            Some((&old.name, &new.name))
        });
    let (old, new) = pairs.next()?;
    Some(format!(
        "records from before the columns were changed have a value for `{old}`, which is not written, and none for `{new}`, \
         which gets its default: if it is the same column under a new name, call it `{old}` again, and replay; or read \
         the files again with the new name: bekk ingest reread FILE"
    ))
}
