//! Which columns identify a record: only what names and values both say.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use bekk_stream::ColumnType;

use super::column::Profile;

/// Things that happen once each: their ids are those of the records.
const EVENTS: &[&str] = &[
    "order",
    "event",
    "transaction",
    "tx",
    "invoice",
    "payment",
    "booking",
    "ticket",
    "message",
    "record",
    "row",
    "entry",
    "trip",
    "ride",
    "shipment",
    "request",
    "claim",
    "case",
    "issue",
    "document",
    "log",
    "visit",
];

/// Parts of such things: a record of each part has the id of the whole.
const PARTS: &[&str] = &[
    "line", "position", "pos", "item", "sku", "product", "article", "seq", "leg", "step",
];
/// What somebody did, or what happened: the id may be that of whom it happened to.
const DEEDS: &[&str] = &["action", "event", "activity", "operation", "click", "login"];

/// How sure a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// The columns are the primary key of the stream's table.
    OfTable(Vec<usize>),
    /// The column identifies a record.
    Sure(usize),
    /// Its values are all different so far, and its name does not say enough.
    Unsure(usize),
    /// The values of the two together are all different so far, which is never sure.
    Pair(usize, usize),
}

/// How many columns are tried in pairs.
const PAIRED_MAX: usize = 4;

/// Columns whose values have all been different.
pub(super) struct Uniqueness {
    open: Vec<(usize, HashSet<u64>)>,
    pairs: Vec<((usize, usize), HashSet<u64>)>,
}

impl Uniqueness {
    pub(super) fn of(columns: &[Profile]) -> Self {
        let named: Vec<usize> = (0..columns.len())
            .filter(|index| is_part(&columns[*index].name))
            .take(PAIRED_MAX)
            .collect();
        let pairs = named.iter().enumerate().flat_map(|(at, first)| {
            let others = &named[at + 1..];
            others
                .iter()
                .map(|second| ((*first, *second), HashSet::new()))
        });
        Self {
            open: (0..columns.len())
                .map(|index| (index, HashSet::new()))
                .collect(),
            pairs: pairs.collect(),
        }
    }

    /// Takes note of a record's fields. A chance collision of two 64-bit hashes would only hide a key.
    pub(super) fn see<'a>(&mut self, field: impl Fn(usize) -> &'a [u8]) {
        self.open.retain_mut(|(index, seen)| {
            let bytes = field(*index);
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            !bytes.is_empty() && seen.insert(hasher.finish())
        });
        self.pairs.retain_mut(|((first, second), seen)| {
            let both = (field(*first), field(*second));
            let mut hasher = DefaultHasher::new();
            both.hash(&mut hasher);
            !both.0.is_empty() && !both.1.is_empty() && seen.insert(hasher.finish())
        });
    }

    fn columns(&self) -> impl Iterator<Item = usize> {
        self.open.iter().map(|(index, _)| *index)
    }
}

/// The likeliest key among the columns whose values are all different and never null.
pub(super) fn find(columns: &[Profile], unique: &Uniqueness, stream: &str) -> Option<Key> {
    let mut likely: Vec<usize> = unique
        .columns()
        .filter(|index| columns.get(*index).is_some_and(can_identify))
        .collect();
    likely.sort_by_key(|index| (rank(&columns[*index]), *index));
    let pair = || {
        let pair = unique.pairs.first()?.0;
        Some(Key::Pair(pair.0, pair.1))
    };
    let Some(first) = likely.first().copied() else {
        return pair();
    };
    let column = &columns[first];
    Some(match is_sure(column, first, columns, stream) {
        true => Key::Sure(first),
        false => Key::Unsure(first),
    })
}

fn can_identify(column: &Profile) -> bool {
    let is_right_type = matches!(
        column.settled().column_type,
        ColumnType::Text | ColumnType::Uuid | ColumnType::Int8
    );
    !column.has_nulls() && column.values() > 0 && is_right_type
}

fn is_id(name: &str) -> bool {
    matches!(name, "id" | "uuid" | "guid" | "pk")
        || ["_id", "_uuid", "_guid"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Whether a column's name says that it may be a part of a key: an id, a place in an order, or a time.
fn is_part(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or(name);
    let words = [
        "date",
        "day",
        "month",
        "year",
        "time",
        "timestamp",
        "line",
        "position",
        "seq",
        "sku",
        "code",
    ];
    is_id(name) || words.contains(&last)
}

/// The less, the likelier a key's name and type.
fn rank(column: &Profile) -> u8 {
    let name = column.name.as_str();
    let is_code = ["key", "no", "nr", "number", "code"]
        .iter()
        .any(|word| name == *word || name.ends_with(&format!("_{word}")));
    match (name, &column.settled().column_type) {
        ("id" | "uuid" | "guid" | "pk", _) => 0,
        (name, _) if is_id(name) => 1,
        (_, ColumnType::Uuid) => 2,
        _ if is_code => 3,
        _ => 4,
    }
}

/// Whether a stream is called after the things that a word names: `customers` after `customer`, and not `customer_orders`.
fn is_named(stream: &str, thing: &str) -> bool {
    let is_plural = |end: &str, ending: &str| {
        let stem = thing.strip_suffix(end);
        stem.is_some_and(|stem| stream == format!("{stem}{ending}"))
    };
    stream == thing || is_plural("", "s") || is_plural("", "es") || is_plural("y", "ies")
}

/// Whether a column's name says that it identifies a record, and not what the record is about: the customer of a sale
/// is another one in each record of a small file, and comes again in the next.
fn is_sure(column: &Profile, index: usize, columns: &[Profile], stream: &str) -> bool {
    let name = column.name.as_str();
    if !is_id(name) {
        return false;
    }
    let Some((stem, _)) = name.rsplit_once('_') else {
        return true;
    };
    let last = stem.rsplit('_').next().unwrap_or(stem);
    let is_measured = columns.iter().any(|column| {
        matches!(
            column.settled().column_type,
            ColumnType::Date
                | ColumnType::Timestamp
                | ColumnType::Timestamptz
                | ColumnType::Decimal { .. }
                | ColumnType::Float8
        )
    });
    // Two ids are of a thing and of what it belongs to, or of the two things that a record links.
    let is_alone = columns.iter().filter(|column| is_id(&column.name)).count() == 1;
    let has = |words: &[&str]| {
        let last = |name: &str| name.rsplit('_').next().unwrap_or(name).to_owned();
        columns
            .iter()
            .any(|column| words.contains(&last(&column.name).as_str()))
    };
    is_named(stream, last)
        || is_alone && EVENTS.contains(&last) && !has(PARTS)
        || is_alone && index == 0 && !is_measured && !has(DEEDS)
}
