//! Parts that the tests of several crates share: waiting, settings with seeds, and streams.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::{Duration, Instant};

use bekk_stream::{
    Accept, Column, ColumnType, CsvDialect, Finished, OnConflict, Retention, Stream, TableName,
};

/// Limit of a wait for what takes a moment, also on a machine under load.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
///
/// # Panics
/// If it does not within the limit.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    loop {
        let looked = Instant::now();
        if condition() {
            return;
        }
        assert!(
            begun.elapsed() < limit,
            "waited {limit:?} in vain until {what}"
        );
        // A look may sign in to PostgreSQL or start a process: it must not take the processor from what it waits for.
        let pause = looked.elapsed() * 3;
        std::thread::sleep(pause.clamp(Duration::from_millis(2), Duration::from_millis(100)));
    }
}

/// A setting of a test from the environment, or else this; printed, so that a test that fails can be repeated.
///
/// # Panics
/// If the text is no such value.
#[allow(clippy::print_stderr)]
pub fn setting<T: FromStr + Display>(name: &str, otherwise: T) -> T {
    let value = match std::env::var(name) {
        Ok(text) => match text.parse() {
            Ok(value) => value,
            Err(_) => panic!("{name}={text} is no number"),
        },
        Err(_) => otherwise,
    };
    eprintln!("{name}={value}");
    value
}

/// The seed of a random test: `BEKK_SEED`, or another one each time.
#[must_use]
pub fn seed() -> u64 {
    setting("BEKK_SEED", RandomState::new().hash_one(0))
}

/// A stream with these columns, keyed by the first one, into a table of its own name.
#[must_use]
pub fn stream(name: &str, columns: Vec<Column>) -> Stream {
    Stream {
        name: name.to_owned(),
        accept: Accept::default(),
        files: Vec::new(),
        exclude: Vec::new(),
        finished: Finished::Keep,
        table: TableName {
            schema: None,
            name: name.to_owned(),
        },
        key: vec![columns[0].name.clone()],
        on_conflict: OnConflict::Update,
        newer_by: None,
        partitions: 1,
        retention: Retention {
            age: None,
            size: None,
        },
        indexes: Vec::new(),
        csv: CsvDialect::default(),
        columns,
    }
}

/// The stream `things` in four partitions: `id` (int8, the key), `name` (text) and `price` (decimal), both nullable.
#[must_use]
pub fn things() -> Stream {
    let price = ColumnType::Decimal {
        precision: 12,
        scale: 2,
    };
    let columns = vec![
        Column::new("id", ColumnType::Int8),
        Column::new("name", ColumnType::Text).nullable(),
        Column::new("price", price).nullable(),
    ];
    Stream {
        partitions: 4,
        ..stream("things", columns)
    }
}
