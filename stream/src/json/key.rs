//! A record's own key, as another producer wrote it. A deletion has no value, only this key.

use serde_json::value::RawValue;

use super::{JsonColumn, JsonFault, JsonKey, JsonReader, JsonRow, text_of};
use crate::{Rejection, Value, key_shown, key_text};

impl JsonReader {
    /// The key of the row that a record without a value deletes.
    pub(super) fn deletion(&self, key: Option<&[u8]>) -> Result<JsonKey, JsonFault> {
        let Some(key) = key else {
            return Err(JsonFault::new(
                "not_json",
                "the record has neither a value nor a key, so it names no row to delete",
            ));
        };
        self.key(key)
    }

    /// Refuses a row whose record has the key of another row: a deletion with that key would delete the other one.
    pub(super) fn refuse_other_key(
        &self,
        key: Option<&[u8]>,
        row: &JsonRow,
    ) -> Result<(), JsonFault> {
        let (Some(key), Some(own)) = (key, &row.key) else {
            return Ok(());
        };
        let differs = |detail: String| JsonFault::new("key_differs", detail);
        let found = self.key(key).map_err(|fault| differs(fault.detail))?;
        if found.text == *own {
            return Ok(());
        }
        Err(differs(format!(
            "the record's key is `{}` and that of its row `{}`; with deletes = true they must be the same",
            key_shown(&found.text).escape_debug(),
            key_shown(own).escape_debug()
        )))
    }

    fn key(&self, key: &[u8]) -> Result<JsonKey, JsonFault> {
        let values = self.key_values(key).map_err(|fault| JsonFault {
            detail: format!("the record's key: {}", fault.detail),
            ..fault
        })?;
        let indexes: Vec<usize> = (0..values.len()).collect();
        let mut text = Vec::new();
        key_text(&mut text, &values, &indexes);
        Ok(JsonKey { text, values })
    }

    /// The values of the key's columns: the fields of an object, or the whole key if only one column needs a value.
    fn key_values(&self, key: &[u8]) -> Result<Vec<Value<'static>>, JsonFault> {
        let text = text_of(key)?;
        if text.trim_start().starts_with('{') {
            let found = self.find(text, "key.converter")?;
            return self.each_of_key(|at, column| column.value(found[at]));
        }
        let columns = self.key_indexes.iter().map(|at| &self.columns[*at]);
        if columns.filter(|column| column.given.is_none()).count() != 1 {
            return Err(JsonFault::new(
                "not_json",
                "it is not a JSON object, which the key of several columns must be",
            ));
        }
        self.each_of_key(|_, column| match &column.given {
            Some(given) => Ok(given.clone()),
            None => column.whole(text),
        })
    }

    fn each_of_key<'t>(
        &self,
        value: impl Fn(usize, &JsonColumn) -> Result<Value<'t>, Rejection>,
    ) -> Result<Vec<Value<'static>>, JsonFault> {
        let values = self.key_indexes.iter().map(|&at| {
            let column = &self.columns[at];
            match value(at, column) {
                Ok(value) => Ok(value.into_owned()),
                Err(fault) => Err(JsonFault::of_column(column, fault)),
            }
        });
        values.collect()
    }
}

impl JsonColumn {
    /// Reads a key that is one value: JSON, or the text itself. For a column of texts only a JSON string is JSON, since
    /// other programs write texts as they are.
    fn whole<'t>(&self, text: &'t str) -> Result<Value<'t>, Rejection> {
        let may_be_json = text.starts_with('"') || !self.column_type.is_text();
        match serde_json::from_str::<&RawValue>(text) {
            Ok(json) if may_be_json => self.value(Some(json)),
            _ => self.parse(text, true),
        }
    }
}
