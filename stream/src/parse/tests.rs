//! Null texts, conditions and messages; the values themselves are tested with their types.

use proptest::prelude::*;

use super::*;
use crate::ColumnType;
use crate::testing::{decimal, parse, parse_field, parser, parser_of};

/// The empty text in quotes is null where it cannot be a value.
#[test]
fn empty_texts_of_types_of_the_database() {
    for (column_type, expected) in [
        ("pg:inet", Ok(Value::Null)),
        ("pg:int4[]", Ok(Value::Null)),
        ("numeric", Ok(Value::Null)),
        ("time", Ok(Value::Null)),
        ("pg:ltree", Ok(Value::Text("".into()))),
        ("pg:shop.mood", Ok(Value::Text("".into()))),
    ] {
        let column = Column::new("c", column_type.parse().unwrap()).nullable();
        let parser = parser_of(&column, &CsvDialect::default());
        assert_eq!(parse(&parser, ""), expected, "{column_type}");
    }
}

#[test]
fn a_column_can_have_null_texts_of_its_own() {
    let field = |text: &'static str, quoted| Field {
        bytes: text.as_bytes(),
        quoted,
    };
    let mut column = Column::new("c", ColumnType::Int4).nullable();
    column.null = Some(vec![String::new(), "NA".into()]);
    let parser = parser_of(&column, &CsvDialect::default());
    assert_eq!(parser.parse(field("NA", false)).unwrap(), Value::Null);
    assert_eq!(parser.parse(field("", false)).unwrap(), Value::Null);
    // A whole number has no empty value, so quotes around nothing mean nothing either.
    assert_eq!(parser.parse(field("", true)).unwrap(), Value::Null);
    assert!(parser.parse(field("NA", true)).is_err());
    let text = parser_of(
        &Column::new("c", ColumnType::Text).nullable(),
        &CsvDialect::default(),
    );
    assert_eq!(
        text.parse(field("NA", false)).unwrap(),
        Value::Text("NA".into())
    );
    assert_eq!(text.parse(field("", true)).unwrap(), Value::Text("".into()));
    let required = parser_of(&Column::new("c", ColumnType::Int4), &CsvDialect::default());
    assert!(required.parse(field("", true)).is_err());
}

#[test]
fn null_is_an_unquoted_null_text_only() {
    let dialect = CsvDialect {
        null: vec![String::new(), "NULL".into()],
        ..CsvDialect::default()
    };
    let nullable = parser_of(&Column::new("c", ColumnType::Text).nullable(), &dialect);
    let required = parser_of(&Column::new("c", ColumnType::Text), &dialect);
    let field = |text: &'static str, quoted| Field {
        bytes: text.as_bytes(),
        quoted,
    };
    assert_eq!(nullable.parse(field("", false)), Ok(Value::Null));
    assert_eq!(nullable.parse(field("NULL", false)), Ok(Value::Null));
    assert_eq!(nullable.parse(field("", true)), Ok(Value::Text("".into())));
    assert_eq!(
        nullable.parse(field("null", false)),
        Ok(Value::Text("null".into()))
    );
    assert_eq!(
        required.parse(field("", false)).unwrap_err().reason,
        Reason::MissingValue
    );
    assert_eq!(required.parse(field("", true)), Ok(Value::Text("".into())));
}

#[test]
fn conditions_of_a_column() {
    let mut column = Column::new(
        "c",
        ColumnType::Decimal {
            precision: 12,
            scale: 2,
        },
    );
    column.min = Some("0".into());
    column.max = Some("99.5".into());
    let bounded = parser_of(&column, &CsvDialect::default());
    assert_eq!(parse(&bounded, "99.5"), decimal(9950, 2));
    assert_eq!(parse(&bounded, "-0.01"), Err(Reason::OutOfRange));
    assert_eq!(parse(&bounded, "99.51"), Err(Reason::OutOfRange));
    column.min = Some("much".into());
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());

    let mut column = Column::new("c", ColumnType::Text);
    column.allowed = Some(vec!["view".into(), "purchase".into()]);
    let listed = parser_of(&column, &CsvDialect::default());
    assert_eq!(parse(&listed, "view"), Ok(Value::Text("view".into())));
    assert_eq!(parse(&listed, "View"), Err(Reason::NotAllowed));

    let mut column = Column::new("c", ColumnType::Uuid);
    column.max = Some("00112233-4455-6677-8899-AABBCCDDEEFF".into());
    assert!(
        ValueParser::new(&column, &CsvDialect::default()).is_err(),
        "uuids have no order to bound"
    );
}

#[test]
fn messages_show_the_value_escaped_and_cut() {
    let fault = parser("int4")
        .parse(Field {
            bytes: "1\n".repeat(100).as_bytes(),
            quoted: true,
        })
        .unwrap_err();
    assert!(fault.detail.starts_with("`1\\n1\\n"), "{}", fault.detail);
    assert!(
        fault.detail.contains('…') && fault.detail.len() < 250,
        "{}",
        fault.detail
    );
}

proptest! {
    #[test]
    fn no_text_panics(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[-+]?[0-9]{0,20}[.,]?[0-9]{0,4}".prop_map(String::into_bytes),
            "[1a]{0,12}\\PC{0,12}".prop_map(String::into_bytes),
            "20[0-2][0-9]-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9]([.,][0-9]{0,7})?)?(Z|[-+][01][0-9]:?[0-9]{0,2})?"
                .prop_map(String::into_bytes),
        ],
        quoted: bool,
    ) {
        for column_type in ["text", "bool", "int2", "float4", "float8", "decimal(9,3)", "numeric", "uuid", "date", "time", "timestamp", "timestamptz", "json", "bytea"] {
            let mut column = Column::new("c", column_type.parse().unwrap()).nullable();
            let field = Field { bytes: &bytes, quoted };
            let _ = parse_field(&parser_of(&column, &CsvDialect::default()), field);
            if column.column_type.is_number() {
                column.min = Some("1".into());
                let _ = parse_field(&parser_of(&column, &CsvDialect::default()), field);
                column.strip = vec![",".into()];
                let _ = parse_field(&parser_of(&column, &CsvDialect::default()), field);
            }
        }
    }
}
