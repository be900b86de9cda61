//! A row as a line of CSV, as a dead letter keeps a row that the table refused.

use bekk_stream::{PayloadError, RowReader, Value};

/// The row's values as a CSV line, in the order of its schema: null is empty, text is quoted where it
/// must be, times are ISO 8601.
pub(crate) fn csv_line(row: RowReader<'_>) -> Result<String, PayloadError> {
    let mut line = String::new();
    for (i, value) in row.enumerate() {
        if i > 0 {
            line.push(',');
        }
        value?.write_csv(&mut line);
    }
    Ok(line)
}

/// A time in milliseconds since 1970-01-01 UTC, for a person.
pub(crate) fn time_text(timestamp_ms: i64) -> String {
    let mut text = String::new();
    Value::Timestamptz(timestamp_ms.saturating_mul(1_000)).write_csv(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_text() {
        let check = |value: Value<'_>, expected: &str| {
            let mut line = String::new();
            value.write_csv(&mut line);
            assert_eq!(line, expected);
        };
        check(Value::Null, "");
        check(Value::Text("".into()), "\"\"");
        check(Value::Text("a \"b\", c".into()), "\"a \"\"b\"\", c\"");
        check(Value::Date(0), "1970-01-01");
        check(Value::Date(19_782), "2024-02-29");
        check(Value::Date(-1), "1969-12-31");
        check(
            Value::Timestamptz(1_709_164_800_000_001),
            "2024-02-29T00:00:00.000001Z",
        );
        check(Value::Timestamp(-1), "1969-12-31T23:59:59.999999");
        check(Value::Bytea([0, 255].as_slice().into()), "\\x00ff");
    }
}
