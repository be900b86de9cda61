//! `bytea`, in PostgreSQL's hex form.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use super::{ColumnType, Declaration, PLAIN, Rejection, Shown, ValueKind};
use crate::{Column, CsvDialect, Reason};

pub(super) static BYTEA: Declaration = Declaration {
    plain: Some(|| ColumnType::Bytea),
    name: "bytea",
    sql: "bytea",
    ..PLAIN
};

/// Reads bytes.
#[derive(Debug, Clone)]
pub(crate) struct ByteaKind;

impl ValueKind for ByteaKind {
    type Content<'a> = Cow<'a, [u8]>;

    fn new(_: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Rejection> {
        bytea(bytes).map(Cow::Owned)
    }

    fn write_key(out: &mut Vec<u8>, bytes: &Cow<'_, [u8]>) {
        out.extend_from_slice(b"\\x");
        for byte in bytes.iter() {
            write!(out, "{byte:02x}").expect("a Vec takes every byte");
        }
    }

    fn write_csv(out: &mut String, bytes: &Cow<'_, [u8]>) {
        out.push_str("\\x");
        for byte in bytes.iter() {
            write!(out, "{byte:02x}").expect("a String takes every text");
        }
    }

    fn compare(left: &Cow<'_, [u8]>, right: &Cow<'_, [u8]>) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

fn bytea(bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
    let wrong = || {
        Rejection::new(
            Reason::BadValue,
            format!("{} is not bytea in hex form, such as \\x00ff", Shown(bytes)),
        )
    };
    let digits = bytes.strip_prefix(b"\\x").ok_or_else(wrong)?;
    if digits.len() % 2 != 0 {
        return Err(wrong());
    }
    let nibble = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect::<Option<_>>()
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;
    use crate::{Reason, Value};

    #[test]
    fn bytes_in_hex() {
        check("bytea", "\\x00fF", Ok(Value::Bytea(vec![0, 255].into())));
        check("bytea", "00ff", Err(Reason::BadValue));
        check("bytea", "\\x0", Err(Reason::BadValue));
    }
}
