//! Parts that the tests of several crates share: waiting, settings with seeds, and streams.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::{Duration, Instant};

use bekk_stream::{Accept, Column, CsvDialect, Finished, OnConflict, Retention, Stream, TableName};

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

/// A stream with columns as SQL declares them, such as `id int8, name text null`, keyed by the first one.
///
/// # Panics
/// If a column has no type, or an unknown one.
#[must_use]
pub fn stream_of(name: &str, columns: &str) -> Stream {
    let column = |declared: &str| {
        let (name, of_type) = declared.split_once(' ').expect("a name and a type");
        let (of_type, is_nullable) = match of_type.strip_suffix(" null") {
            Some(of_type) => (of_type, true),
            None => (of_type, false),
        };
        let column = Column::new(name, of_type.parse().expect("a column type"));
        if is_nullable {
            column.nullable()
        } else {
            column
        }
    };
    stream(name, columns.split(", ").map(column).collect())
}

/// The stream `things` in four partitions: `id` (int8, the key), `name` (text) and `price` (decimal), both nullable.
#[must_use]
pub fn things() -> Stream {
    Stream {
        partitions: 4,
        ..stream_of(
            "things",
            "id int8, name text null, price decimal(12,2) null",
        )
    }
}

/// A dialect that differs from the default.
#[must_use]
pub fn dialect_with(change: impl FnOnce(&mut CsvDialect)) -> CsvDialect {
    let mut dialect = CsvDialect::default();
    change(&mut dialect);
    dialect
}

/// Asserts that a text has each of these parts, and shows it if it lacks one.
///
/// # Panics
/// If the text lacks one.
#[track_caller]
pub fn assert_says(text: impl Display, parts: &[&str]) {
    let text = text.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Asserts that a value matches a pattern, and shows it if it does not.
#[macro_export]
macro_rules! assert_matches {
    ($value:expr, $pattern:pat $(if $guard:expr)? $(, $context:literal)? $(,)?) => {
        match $value {
            $pattern $(if $guard)? => {}
            ref other => panic!("{}{other:?}", String::new() $(+ &format!($context) + ": ")?),
        }
    };
}
