//! `bool`.

use std::cmp::Ordering;

use super::{ColumnType, Declaration, PLAIN, Rejection, Setting, Shown, ValueKind};
use crate::{Column, CsvDialect, Reason};

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
                (
                    is(&["t", "true", "y", "yes", "on", "1"]),
                    is(&["f", "false", "n", "no", "off", "0"]),
                )
            }
            Self::Own { yes, no } => {
                let is = |words: &[String]| words.iter().any(|word| word.as_bytes() == bytes);
                (is(yes), is(no))
            }
        };
        if yes || no {
            return Ok(yes);
        }
        let hint = match self {
            Self::Postgres => "; for other spellings set true = [\"…\"], false = [\"…\"]",
            Self::Own { .. } => "; the column's `true` and `false` list what is",
        };
        Err(Rejection::new(
            Reason::BadValue,
            format!("{} is not a bool{hint}", Shown(bytes)),
        ))
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
    use crate::testing::{check, parse, parser_of};
    use crate::{Column, ColumnType, CsvDialect, Reason, Value, ValueParser};

    #[test]
    fn the_texts_of_true_and_false() {
        check("bool", "TRUE", Ok(Value::Bool(true)));
        check("bool", "0", Ok(Value::Bool(false)));
        check("bool", "2", Err(Reason::BadValue));
        let mut column = Column::new("c", ColumnType::Bool);
        column.true_values = Some(vec!["J".into()]);
        column.false_values = Some(vec!["N".into()]);
        let own = parser_of(&column, &CsvDialect::default());
        assert_eq!(parse(&own, "J"), Ok(Value::Bool(true)));
        assert_eq!(parse(&own, "true"), Err(Reason::BadValue));
        column.false_values = None;
        assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
    }
}
