//! The line of a configuration's text at which a key is.

use toml::de::{DeTable, DeValue};

/// Returns the line of a place such as `streams.items.files`, or ``streams.items, column `price` ``; that of the deepest
/// table on the way if the text does not have the key.
pub(super) fn line_of(text: &str, place: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (path, column) = match place.split_once(", column `") {
        Some((path, column)) => (path, column.strip_suffix('`')),
        None => (place, None),
    };
    let mut found = None;
    let (mut table, mut rest) = (document.get_ref(), path);
    while let Some((key, value, behind)) = step(table, rest) {
        found = Some(key);
        let DeValue::Table(inner) = value else {
            break;
        };
        (table, rest) = (inner, behind);
    }
    let column = column.and_then(|name| column_at(table, name));
    let at = column.or(found)?;
    Some(text.get(..at)?.matches('\n').count() + 1)
}

/// Returns the line of a stream's section; `None` if the text has no such stream.
#[must_use]
pub fn line_of_stream(text: &str, name: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let DeValue::Table(streams) = document.get_ref().get("streams")?.get_ref() else {
        return None;
    };
    let (key, _) = streams.iter().find(|(key, _)| key.get_ref() == name)?;
    Some(text.get(..key.span().start)?.matches('\n').count() + 1)
}

/// The entry with which a path begins: where its key is, its value, and the path after it. A key may have dots.
fn step<'t, 'd, 'p>(
    table: &'t DeTable<'d>,
    path: &'p str,
) -> Option<(usize, &'t DeValue<'d>, &'p str)> {
    let entries = table.iter().filter_map(|(key, value)| {
        let behind = path.strip_prefix(key.get_ref().as_ref())?;
        let behind = behind
            .strip_prefix('.')
            .or(behind.is_empty().then_some(""))?;
        Some((key.span().start, value.get_ref(), behind))
    });
    entries.min_by_key(|(_, _, behind)| behind.len())
}

/// Where the last column of a name is: of two, it is the one that is wrong.
fn column_at(stream: &DeTable<'_>, name: &str) -> Option<usize> {
    let DeValue::Array(columns) = stream.get("columns")?.get_ref() else {
        return None;
    };
    let is_named = |column: &DeValue<'_>| {
        let DeValue::Table(column) = column else {
            return false;
        };
        let found = column.get("name").map(|value| value.get_ref());
        matches!(found, Some(DeValue::String(own)) if own == name)
    };
    let columns = columns.iter().rev();
    let mut of_name = columns.filter(|column| is_named(column.get_ref()));
    of_name.next().map(|column| column.span().start)
}
