//! `json`, for `json` and `jsonb` columns.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::de::IgnoredAny;

use super::text::{self, TextKind};
use super::{ColumnType, Declaration, Family, PLAIN, Rejection, Shown, ValueKind};
use crate::{Column, CsvDialect, NulPolicy, Reason};

pub(super) static JSON: Declaration = Declaration {
    plain: Some(|| ColumnType::Json),
    name: "json",
    synonyms: &["jsonb"],
    sql: "jsonb",
    family: Family::Json,
    ..PLAIN
};

#[derive(Debug, Clone)]
pub(crate) struct JsonKind(NulPolicy);

impl ValueKind for JsonKind {
    type Content<'a> = Cow<'a, str>;

    fn new(_: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        Ok(Self(dialect.nul))
    }

    #[inline]
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, Rejection> {
        json(bytes, self.0)
    }

    fn write_key(out: &mut Vec<u8>, text: &Cow<'_, str>) {
        TextKind::write_key(out, text);
    }

    fn write_csv(out: &mut String, text: &Cow<'_, str>) {
        TextKind::write_csv(out, text);
    }

    fn compare(left: &Cow<'_, str>, right: &Cow<'_, str>) -> Option<Ordering> {
        TextKind::compare(left, right)
    }
}

fn json(bytes: &[u8], nul: NulPolicy) -> Result<Cow<'_, str>, Rejection> {
    let text = text::checked(bytes, nul)?;
    serde_json::from_str::<IgnoredAny>(&text).map_err(|error| {
        Rejection::new(
            Reason::BadValue,
            format!("{} is not JSON: {error}", Shown(bytes)),
        )
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;
    use crate::{Reason, Value};

    #[test]
    fn json_is_checked_and_kept() {
        check(
            "json",
            "{\"a\": [1, null]}",
            Ok(Value::Json("{\"a\": [1, null]}".into())),
        );
        check("json", "{a: 1}", Err(Reason::BadValue));
    }
}
