//! Helpers that the tests of several types need.

use crate::{Column, CsvDialect, Decimal, Field, Reason, Rejection, Value, ValueParser};

pub(crate) fn parser(column_type: &str) -> ValueParser {
    parser_of(
        &Column::new("c", column_type.parse().unwrap()),
        &CsvDialect::default(),
    )
}

pub(crate) fn parser_of(column: &Column, dialect: &CsvDialect) -> ValueParser {
    ValueParser::new(column, dialect).unwrap()
}

/// Parses a text as a quoted field, which is null only if it is empty.
pub(crate) fn parse<'a>(parser: &ValueParser, text: &'a str) -> Result<Value<'a>, Reason> {
    let field = Field {
        bytes: text.as_bytes(),
        quoted: true,
    };
    parse_field(parser, field).map_err(|fault| fault.reason)
}

/// Parses a field, and checks that it is encoded as the value that it holds.
pub(crate) fn parse_field<'a>(
    parser: &ValueParser,
    field: Field<'a>,
) -> Result<Value<'a>, Rejection> {
    let parsed = parser.parse(field);
    let (mut row, mut key) = (Vec::new(), Vec::new());
    let encoded = parser.encode(field, &mut row, Some(&mut key));
    assert_eq!(encoded, parsed.clone().map(drop));
    let (mut expected_row, mut expected_key) = (Vec::new(), Vec::new());
    if let Ok(value) = &parsed {
        value.encode(&mut expected_row, Some(&mut expected_key));
    }
    assert_eq!((row, key), (expected_row, expected_key));
    parsed
}

#[track_caller]
pub(crate) fn check(column_type: &str, text: &str, expected: Result<Value<'_>, Reason>) {
    assert_eq!(
        parse(&parser(column_type), text),
        expected,
        "{column_type} of `{text}`"
    );
}

pub(crate) fn decimal(unscaled: i128, scale: u8) -> Result<Value<'static>, Reason> {
    Ok(Value::Decimal(Decimal::new(unscaled, scale)))
}
