//! A row as a line of CSV: what a dead letter keeps of a row that the table refused.

use std::fmt::Write as _;

use bekk_stream::{PayloadError, RowReader, Value};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The row's values as a CSV line, in the order of its schema: null is empty, text is quoted where it
/// must be, times are ISO 8601.
pub(crate) fn csv_line(row: RowReader<'_>) -> Result<String, PayloadError> {
    let mut line = String::new();
    for (i, value) in row.enumerate() {
        if i > 0 {
            line.push(',');
        }
        push_value(&mut line, &value?);
    }
    Ok(line)
}

/// A time in milliseconds since 1970-01-01 UTC, for a person.
pub(crate) fn time_text(timestamp_ms: i64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = push_time(&mut text, timestamp_ms.saturating_mul(1_000));
    text + "Z"
}

fn push_value(line: &mut String, value: &Value<'_>) {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Bool(value) => write!(line, "{value}"),
        Value::Int(value) => write!(line, "{value}"),
        Value::Float4(value) => write!(line, "{value}"),
        Value::Float8(value) => write!(line, "{value}"),
        Value::Decimal(value) => write!(line, "{value}"),
        Value::Uuid(value) => write!(line, "{}", uuid::Uuid::from_bytes(*value)),
        Value::Date(days) => push_date(line, i64::from(*days)),
        Value::Timestamp(micros) => push_time(line, *micros),
        Value::Timestamptz(micros) => push_time(line, *micros).and_then(|()| line.write_char('Z')),
        Value::Numeric(text) => line.write_str(text),
        Value::Time(micros) => push_clock(line, *micros),
        Value::Text(text) | Value::Json(text) => {
            push_text(line, text);
            Ok(())
        }
        Value::Bytea(bytes) => {
            line.push_str("\\x");
            for byte in bytes.iter() {
                line.push(char::from(HEX[usize::from(byte >> 4)]));
                line.push(char::from(HEX[usize::from(byte & 15)]));
            }
            Ok(())
        }
    };
}

fn push_text(line: &mut String, text: &str) {
    // An empty text in quotes is no null.
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        line.push_str(text);
        return;
    }
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

fn push_time(line: &mut String, micros: i64) -> std::fmt::Result {
    const DAY: i64 = 86_400_000_000;
    push_date(line, micros.div_euclid(DAY))?;
    line.push('T');
    push_clock(line, micros.rem_euclid(DAY))
}

fn push_clock(line: &mut String, of_day: i64) -> std::fmt::Result {
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    write!(
        line,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )?;
    if fraction > 0 {
        write!(line, ".{fraction:06}")?;
    }
    Ok(())
}

/// A day as year, month and day of the proleptic Gregorian calendar, counted in eras of 400 years that
/// begin on a first of March, so that a leap day is the last of its year.
fn push_date(line: &mut String, days: i64) -> std::fmt::Result {
    const DAYS_TO_1970: i64 = 719_468;
    const ERA_DAYS: i64 = 146_097;
    let since = days + DAYS_TO_1970;
    let era = since.div_euclid(ERA_DAYS);
    let of_era = since.rem_euclid(ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(line, "{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_text() {
        let check = |value: Value<'_>, expected: &str| {
            let mut line = String::new();
            push_value(&mut line, &value);
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
