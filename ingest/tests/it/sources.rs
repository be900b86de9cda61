//! Columns that are no fields of the files: a file's name, directories and time, lines, hashes, constants.

use std::fs::{self, File};
use std::io::Write;

use bekk_stream::{Column, ColumnSource, ColumnType, Stream, Value};

use crate::world::{World, ids, rest};

fn sourced(name: &str, column_type: ColumnType, source: ColumnSource) -> Column {
    let mut column = Column::new(name, column_type);
    column.source = Some(source);
    column
}

/// The stream of the tests with the file's name, the line and a constant, and a directory's value if there is one.
fn stream(world: &World) -> Stream {
    let mut stream = world.stream();
    stream.files = vec![format!("{}/**/*.csv", world.path("inbox").display())];
    stream.columns.extend([
        sourced("file", ColumnType::Text, ColumnSource::FileName),
        sourced("line", ColumnType::Int8, ColumnSource::Line),
        sourced(
            "region",
            ColumnType::Text,
            ColumnSource::Constant("EU".to_owned()),
        ),
        sourced(
            "day",
            ColumnType::Date,
            ColumnSource::Directory("day".to_owned()),
        )
        .nullable(),
    ]);
    stream
}

/// The values of the columns that are no fields, with the id before them.
fn given(world: &World) -> Vec<String> {
    let mut rows: Vec<String> = world
        .logged()
        .into_values()
        .flatten()
        .map(|record| {
            let values = record.body.unwrap();
            let shown: Vec<String> = [&values[..1], &values[3..]]
                .concat()
                .iter()
                .map(|value| match value {
                    Value::Int(number) => number.to_string(),
                    Value::Text(text) => text.to_string(),
                    Value::Date(days) => days.to_string(),
                    _ => "-".to_owned(),
                })
                .collect();
            shown.join(" ")
        })
        .collect();
    rows.sort();
    rows
}

/// A file is renamed after some of it was read, and its checkpoint is lost: its rows have the name that it was met by.
#[test]
fn rows_have_the_name_that_their_file_was_met_by() {
    let world = World::new();
    let stream = stream(&world);
    let path = world.put("a.csv", "id,name,price\n1,x,1\n");
    world.once_with(&stream).unwrap();
    let append = |path, line: &str| {
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
        rest(path);
    };
    let renamed = world.inbox("b.csv");
    fs::rename(&path, &renamed).unwrap();
    append(&renamed, "2,x,1\n");
    world.once_with(&stream).unwrap();
    fs::rename(&renamed, world.inbox("c.csv")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    append(&world.inbox("c.csv"), "3,x,1\n");
    world.once_with(&stream).unwrap();
    assert_eq!(
        given(&world),
        ["1 a.csv 2 EU -", "2 a.csv 3 EU -", "3 a.csv 4 EU -"]
    );
}

#[test]
fn directories_have_values() {
    let world = World::new();
    let mut stream = stream(&world);
    for (day, id) in [("2026-01-31", 1), ("__HIVE_DEFAULT_PARTITION__", 2)] {
        let directory = world.inbox(&format!("day={day}"));
        fs::create_dir(&directory).unwrap();
        world.put(
            &format!("day={day}/x.csv"),
            format!("id,name,price\n{id},x,1\n"),
        );
    }
    assert_eq!(world.once_with(&stream).unwrap().records, 2);
    assert_eq!(given(&world), ["1 x.csv 2 EU 20484", "2 x.csv 2 EU -"]);
    // What is no value of its column sets the file aside, and so does a path without one where one must be.
    fs::create_dir(world.inbox("day=soon")).unwrap();
    let path = world.put("day=soon/y.csv", "id,name,price\n3,x,1\n");
    let why = |stream: &Stream| {
        bekk_ingest::preview(&path, stream)
            .unwrap()
            .blocked
            .unwrap()
    };
    assert!(why(&stream).contains("column `day`: `soon` is not a date"));
    stream.columns[6].source = Some(ColumnSource::Directory("hour".to_owned()));
    stream.columns[6].nullable = false;
    assert!(why(&stream).contains("no value for column `day`"));
    assert_eq!(world.once_with(&stream).unwrap().records, 0);
}

/// The same record in another file, form and order of arrival is the same row.
#[test]
fn a_hash_of_the_record_is_a_key() {
    let world = World::new();
    let mut stream = world.stream();
    stream
        .columns
        .push(sourced("hash", ColumnType::Uuid, ColumnSource::RowHash));
    stream.key = vec!["hash".to_owned()];
    world.put("a.csv", "id,name,price\n1,x,1\n2,y,2\n");
    world.put("b.csv", "id,name,price\n2,\"y\",2\r\n2,y,3\n");
    world.once_with(&stream).unwrap();
    let mut keys: Vec<_> = world
        .logged()
        .into_values()
        .flatten()
        .map(|record| record.key.unwrap())
        .collect();
    let ids = ids(&world.logged().into_values().flatten().collect::<Vec<_>>());
    assert_eq!(ids.len(), 4);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}
