//! `bool`.

use std::cmp::Ordering;

use super::{ColumnType, Declaration, PLAIN, Rejection, Setting, Shown, ValueKind};
use crate::{Column, CsvDialect, Reason};

/// PostgreSQL's spellings of true.
const TRUE: [&str; 6] = ["t", "true", "y", "yes", "on", "1"];
/// PostgreSQL's spellings of false.
const FALSE: [&str; 6] = ["f", "false", "n", "no", "off", "0"];

pub(super) static BOOL: Declaration = Declaration {
    plain: Some(|| ColumnType::Bool),
    name: "bool",
    synonyms: &["boolean"],
    sql: "boolean",
    settings: &[Setting::TrueAndFalse],
    layout: (1, 1),
    ..PLAIN
};

/// Reads truth values by the texts that mean true and false.
#[derive(Debug, Clone)]
pub(crate) enum BoolKind {
    /// PostgreSQL's spellings, in any case.
    Postgres,
    /// The column's own spellings, exactly.
    Own { yes: Vec<String>, no: Vec<String> },
}

impl ValueKind for BoolKind {
    type Content<'a> = bool;

    fn new(column: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        match (&column.true_values, &column.false_values) {
            (None, None) => Ok(Self::Postgres),
            (Some(yes), Some(no)) if yes.iter().all(|word| !no.contains(word)) => Ok(Self::Own {
                yes: yes.clone(),
                no: no.clone(),
            }),
            (Some(_), Some(_)) => Err(Rejection::new(
                Reason::BadValue,
                "`true` and `false` have a text in common",
            )),
            _ => Err(Rejection::new(
                Reason::BadValue,
                "`true` and `false` go together: name both or neither",
            )),
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<bool, Rejection> {
        let (yes, no) = match self {
            Self::Postgres => {
                let is = |words: &[&str]| {
                    words
                        .iter()
                        .any(|word| word.as_bytes().eq_ignore_ascii_case(bytes))
                };
                (is(&TRUE), is(&FALSE))
            }
            Self::Own { yes, no } => {
                let is = |words: &[String]| words.iter().any(|word| word.as_bytes() == bytes);
                (is(yes), is(no))
            }
        };
        if yes || no {
            return Ok(yes);
        }
        let detail = match self {
            Self::Postgres => format!(
                "{} is not a bool ({}; {}); for other spellings set true = [\"…\"], false = [\"…\"]",
                Shown(bytes),
                TRUE.join(", "),
                FALSE.join(", ")
            ),
            Self::Own { yes, no } => format!(
                "{} is not a bool: the column has true = {yes:?}, false = {no:?}",
                Shown(bytes)
            ),
        };
        Err(Rejection::new(Reason::BadValue, detail))
    }

    fn write_key(out: &mut Vec<u8>, value: &bool) {
        out.extend_from_slice(if *value { b"true" } else { b"false" });
    }

    fn write_csv(out: &mut String, value: &bool) {
        out.push_str(if *value { "true" } else { "false" });
    }

    fn compare(left: &bool, right: &bool) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, parse, parse_field, parser_of};
    use crate::{Column, ColumnType, CsvDialect, Field, Reason, Value, ValueParser};

    #[test]
    fn the_texts_of_true_and_false() {
        check("bool", "TRUE", Ok(Value::Bool(true)));
        check("bool", "0", Ok(Value::Bool(false)));
        check("bool", "2", Err(Reason::BadValue));
        let detail = |parser: &ValueParser| {
            let field = Field {
                bytes: b"ja",
                quoted: false,
            };
            parse_field(parser, field).unwrap_err().detail
        };
        let mut column = Column::new("c", ColumnType::Bool);
        assert_eq!(
            detail(&parser_of(&column, &CsvDialect::default())),
            "`ja` is not a bool (t, true, y, yes, on, 1; f, false, n, no, off, 0); for other spellings set true = [\"…\"], \
             false = [\"…\"]"
        );
        column.true_values = Some(vec!["J".into()]);
        column.false_values = Some(vec!["N".into()]);
        let own = parser_of(&column, &CsvDialect::default());
        assert_eq!(parse(&own, "J"), Ok(Value::Bool(true)));
        assert_eq!(parse(&own, "true"), Err(Reason::BadValue));
        assert_eq!(
            detail(&own),
            "`ja` is not a bool: the column has true = [\"J\"], false = [\"N\"]"
        );
        column.false_values = None;
        assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
    }
}
