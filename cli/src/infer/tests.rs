//! From a file to a configuration that takes it.

use bekk_stream::{ColumnType, Config, OnConflict, Stream};

use super::*;

fn stream_of(csv: &str) -> (Stream, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders-2026.csv");
    std::fs::write(&path, csv).unwrap();
    let text = config_text(&path, &stream_name(&path), "orders-2026.csv").unwrap();
    let config = Config::parse(&text, Path::new("bekk.toml"), dir.path(), &|_| None);
    let stream = config
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .streams
        .remove(0);
    (stream, text)
}

#[track_caller]
fn check_type(values: &[&str], expected: &str, nullable: bool) {
    let rows: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(n, value)| format!("{n};{value}\n"))
        .collect();
    let (stream, text) = stream_of(&format!("id;v\n{}", rows.concat()));
    let column = &stream.columns[1];
    assert_eq!(
        (column.column_type.to_string().as_str(), column.nullable),
        (expected, nullable),
        "{text}"
    );
}

#[test]
fn types_are_what_every_value_is() {
    check_type(&["1", "-5", "12345678901"], "int8", false);
    check_type(&["1", "", "3"], "int8", true);
    check_type(&["1.25", "300", "-0.5"], "decimal(14,2)", false);
    check_type(&["1,25", "300"], "decimal(14,2)", false);
    check_type(&["1e-5", "2.5"], "float8", false);
    check_type(&["007", "123"], "text", false);
    check_type(&["0.5", "0.25"], "decimal(14,2)", false);
    check_type(&["true", "FALSE"], "bool", false);
    check_type(&["2026-01-31", "2026-02-01"], "date", false);
    check_type(&["31.01.2026", "01.02.2026"], "date", false);
    check_type(
        &["31.01.2026 10:30", "01.02.2026 00:00"],
        "timestamp",
        false,
    );
    check_type(
        &["2026-01-31 10:00:00", "2026-02-01 11:30:00"],
        "timestamp",
        false,
    );
    check_type(
        &["2026-01-31T10:00:00Z", "2026-02-01T11:30:00+01:00"],
        "timestamptz",
        false,
    );
    check_type(&["67e55044-10b1-426f-9247-bb680e5fe0c8"], "uuid", false);
    check_type(&["{\"a\": 1}", "[]"], "json", false);
    check_type(&["", ""], "text", true);
    check_type(&["1", "NA", "3"], "int8", true);
    check_type(&["a", "1"], "text", false);
}

#[test]
fn the_key_is_the_likeliest_unique_column() {
    let (stream, _) = stream_of("name,order_id\nA,1\nB,2\n");
    assert_eq!(stream.key, ["order_id"]);
    let (stream, _) = stream_of("order,line,text\n1,1,x\n1,2,x\n2,1,x\n");
    assert_eq!(stream.key, ["order", "line"]);
    let (stream, text) = stream_of("a,b\n1,1\n1,1\n");
    assert_eq!(
        (stream.key.len(), stream.on_conflict),
        (0, OnConflict::Append),
        "{text}"
    );
}

#[test]
fn headers_become_names_and_stay_headers() {
    let (stream, _) =
        stream_of("\u{feff}Ordre-nr,Beløp (NOK),orderDate,Beløp NOK,2nd\n1,2,2026-01-01,3,4\n");
    let names: Vec<_> = stream
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.header.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("ordre_nr", "Ordre-nr"),
            ("beløp_nok", "Beløp (NOK)"),
            ("order_date", "orderDate"),
            ("beløp_nok_2", "Beløp NOK"),
            ("c_2nd", "2nd")
        ]
    );
    assert_eq!(stream.name, "orders");
    assert_eq!(stream.columns[2].column_type, ColumnType::Date);
}

#[test]
fn files_that_say_nothing_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.csv");
    std::fs::write(&path, "").unwrap();
    assert!(
        config_text(&path, "x", "x.csv")
            .unwrap_err()
            .to_string()
            .contains("is empty")
    );
    std::fs::write(&path, "a,a\n1,2\n").unwrap();
    assert!(
        config_text(&path, "x", "x.csv")
            .unwrap_err()
            .to_string()
            .contains("repeated name `a`")
    );
    assert!(
        config_text(&dir.path().join("nope.csv"), "x", "x")
            .unwrap_err()
            .to_string()
            .contains("nope.csv")
    );
}
