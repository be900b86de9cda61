//! Which columns identify a record.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};
use bekk_stream::ColumnType;
use csv::ByteRecord;

use super::column::Profile;
use super::dialect::Dialect;
use super::open;

/// Among how many of the likeliest columns pairs are looked for.
const PAIR_COLUMNS_MAX: usize = 6;

/// The likeliest column, or else pair of columns, whose values are all different and never null; none if
/// there is none. A chance collision of two 64-bit hashes would only hide a key.
pub(super) fn find(
    path: &Path,
    dialect: &Dialect,
    columns: &[Profile],
    records_max: u64,
) -> Result<Vec<usize>> {
    let mut likely: Vec<usize> = (0..columns.len())
        .filter(|index| can_identify(&columns[*index]))
        .collect();
    likely.sort_by_key(|index| (unlikeliness(&columns[*index]), *index));
    let singles: Vec<Vec<usize>> = likely.iter().map(|index| vec![*index]).collect();
    let pairs = likely
        .iter()
        .take(PAIR_COLUMNS_MAX)
        .enumerate()
        .flat_map(|(at, first)| {
            likely[at + 1..]
                .iter()
                .take(PAIR_COLUMNS_MAX)
                .map(|second| vec![*first.min(second), *first.max(second)])
        });
    for candidates in [singles, pairs.collect()] {
        if let Some(key) = first_unique(path, dialect, columns.len(), candidates, records_max)? {
            return Ok(key);
        }
    }
    Ok(Vec::new())
}

fn first_unique(
    path: &Path,
    dialect: &Dialect,
    width: usize,
    candidates: Vec<Vec<usize>>,
    records_max: u64,
) -> Result<Option<Vec<usize>>> {
    let mut open_candidates: Vec<_> = candidates
        .into_iter()
        .map(|key| (key, HashSet::new()))
        .collect();
    let mut reader = open(path, dialect)?;
    let mut record = ByteRecord::new();
    for _ in 0..records_max {
        if open_candidates.is_empty()
            || !reader
                .read_byte_record(&mut record)
                .with_context(|| format!("read `{}`", path.display()))?
        {
            break;
        }
        if record.len() != width {
            continue;
        }
        open_candidates.retain_mut(|(key, seen)| {
            let mut hasher = DefaultHasher::new();
            for index in key.iter() {
                record[*index].hash(&mut hasher);
            }
            seen.insert(hasher.finish())
        });
    }
    Ok(open_candidates.into_iter().next().map(|(key, _)| key))
}

fn can_identify(column: &Profile) -> bool {
    let is_right_type = !matches!(
        column.settled().column_type,
        ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Json
            | ColumnType::Bool
            | ColumnType::Decimal { .. }
    );
    column.nulls == 0 && column.values() > 0 && is_right_type
}

/// The less, the likelier a key's name and type.
fn unlikeliness(column: &Profile) -> u8 {
    let name = column.name.as_str();
    let is_id = ["id", "uuid", "guid", "key", "no", "nr", "number", "code"]
        .iter()
        .any(|word| name == *word || name.ends_with(&format!("_{word}")));
    let is_time = matches!(
        column.settled().column_type,
        ColumnType::Date | ColumnType::Timestamp | ColumnType::Timestamptz
    );
    match (is_id, column.settled().column_type) {
        (true, ColumnType::Uuid | ColumnType::Int8) => 0,
        (true, _) => 1,
        (false, ColumnType::Uuid) => 2,
        (false, ColumnType::Int8) => 3,
        (false, _) if is_time => 5,
        (false, _) => 4,
    }
}
