//! The table after any batching equals that of a model that takes one record at a time.

use std::collections::BTreeMap;

use bekk_sink::Config;
use bekk_stream::{OnConflict, Value};
use rand::Rng;
use rand::rngs::StdRng;

use crate::harness::{Db, Log, drain_with, rng, stream_of};

/// A record as the model sees it: key, version, value.
type Record = (i64, Option<i64>, i64);

#[derive(Clone, Copy, Debug)]
struct Mode {
    on_conflict: OnConflict,
    newer_by: bool,
    /// A second unique column, which makes records go in log order.
    second_unique: bool,
}

/// What a table holds after the records, one by one, and how many were inserted and refused.
fn model(mode: Mode, records: &[Record]) -> (Vec<Record>, u64, u64) {
    let (mut inserted, mut refused) = (0, 0);
    let mut all = Vec::new();
    let mut table: BTreeMap<i64, Record> = BTreeMap::new();
    for record in records {
        if record.2 < 0 {
            refused += 1;
            continue;
        }
        if mode.on_conflict == OnConflict::Append {
            all.push(*record);
            inserted += 1;
            continue;
        }
        let existing = table.get(&record.0).copied();
        if existing.is_some() && mode.on_conflict == OnConflict::Ignore {
            continue;
        }
        if let Some(existing) = existing
            && mode.newer_by
            && record.1 < existing.1
        {
            continue;
        }
        let taken = |other: &&Record| other.0 != record.0 && other.2 == record.2;
        if mode.second_unique && table.values().find(taken).is_some() {
            refused += 1;
            continue;
        }
        inserted += u64::from(existing.is_none());
        table.insert(record.0, *record);
    }
    all.extend(table.into_values());
    all.sort();
    (all, inserted, refused)
}

fn check(mode: Mode, rng: &mut StdRng) {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = stream_of("model", "id int8, version int4 null, value int8");
    stream.on_conflict = mode.on_conflict;
    stream.newer_by = mode.newer_by.then(|| "version".to_owned());
    if mode.on_conflict == OnConflict::Append {
        stream.key.clear();
    }
    db.execute(&bekk_sink::create_table_sql(&stream));
    db.execute("ALTER TABLE model ADD CHECK (value >= 0)");
    if mode.second_unique {
        db.execute("ALTER TABLE model ADD UNIQUE (value)");
    }
    log.open_stream(&stream);

    let count = rng.random_range(1..400);
    let keys = rng.random_range(1..300);
    let records: Vec<Record> = (0..count)
        .map(|_| {
            let version = rng.random_bool(0.9).then(|| rng.random_range(0..5));
            // A few are refused by the CHECK.
            let value = if rng.random_bool(0.03) {
                -1
            } else {
                rng.random_range(0..500)
            };
            (rng.random_range(0..keys), version, value)
        })
        .collect();
    let mut config = Config::new(db.options.clone());
    config.batch_records_max = rng.random_range(1..200);
    let mut totals = (0, 0, 0);
    for some in records.chunks(rng.random_range(1..=records.len())) {
        let rows: Vec<Vec<Value<'_>>> = some
            .iter()
            .map(|(id, version, value)| {
                vec![
                    Value::Int(*id),
                    version.map_or(Value::Null, Value::Int),
                    Value::Int(*value),
                ]
            })
            .collect();
        log.append(&stream, 0, &rows);
        let summary = drain_with(&config, &log, &stream).unwrap();
        totals.0 += summary.rows;
        totals.1 += summary.superseded;
        totals.2 += summary.dead;
    }
    let (expected, inserted, refused) = model(mode, &records);
    let expected: Vec<String> = expected
        .iter()
        .map(|(id, version, value)| {
            let version = version.map_or("-".to_owned(), |version| version.to_string());
            format!("{id}|{version}|{value}")
        })
        .collect();
    let found =
        db.rows("SELECT id, version, value FROM model ORDER BY id, version NULLS FIRST, value");
    assert_eq!(found, expected, "{mode:?}");
    assert_eq!(totals.0, inserted, "{mode:?}");
    assert_eq!(
        totals.0 + totals.1 + totals.2,
        records.len() as u64,
        "{mode:?}"
    );
    // A bad record that a later one of its key supersedes in the batch need not have been looked at.
    assert!(totals.2 <= refused, "{mode:?}");
    let dead = db.one("SELECT count(*) FROM bekk.dead_letters");
    assert_eq!(dead, totals.2.to_string(), "{mode:?}");
}

fn check_often(on_conflict: OnConflict, newer_by: bool, second_unique: bool) {
    let mut rng = rng();
    for _ in 0..6 {
        check(
            Mode {
                on_conflict,
                newer_by,
                second_unique,
            },
            &mut rng,
        );
    }
}

#[test]
fn update_equals_the_model() {
    check_often(OnConflict::Update, false, false);
}

#[test]
fn ignore_equals_the_model() {
    check_often(OnConflict::Ignore, false, false);
}

#[test]
fn append_equals_the_model() {
    check_often(OnConflict::Append, false, false);
}

#[test]
fn newer_by_equals_the_model() {
    check_often(OnConflict::Update, true, false);
}

#[test]
fn a_second_unique_column_equals_the_model() {
    check_often(OnConflict::Update, false, true);
}
