//! Unknown keys: an error that names the line and suggests the key that was meant.

use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor, value};
use serde::forward_to_deserialize_any;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, raw};
use crate::CsvDialect;

/// Checks the keys of a configuration; text that is no TOML passes, for the parser to report.
pub(super) fn check(text: &str, path: &Path) -> Result<(), ConfigError> {
    let Ok(document) = DeTable::parse(text) else {
        return Ok(());
    };
    let checker = Checker { text, path };
    let keys = keys_of::<raw::Config>();
    checker.table(document.get_ref(), keys, |key, value| match key {
        "log" => checker.value(value, keys_of::<raw::Log>()),
        "ingest" => checker.value(value, keys_of::<raw::Ingest>()),
        "postgres" => checker.value(value, keys_of::<raw::Postgres>()),
        _ => checker.each(value, |stream| checker.stream(stream)),
    })
}

struct Checker<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Checker<'_> {
    fn stream(&self, stream: &DeValue<'_>) -> Result<(), ConfigError> {
        let DeValue::Table(table) = stream else {
            return Ok(());
        };
        self.table(table, keys_of::<raw::Stream>(), |key, value| {
            match (key, value) {
                ("retention", value) => self.value(value, keys_of::<raw::Retention>()),
                ("csv", value) => self.value(value, CsvDialect::KEYS),
                ("columns", DeValue::Array(columns)) => columns
                    .iter()
                    .try_for_each(|column| self.value(column.get_ref(), keys_of::<raw::Column>())),
                _ => Ok(()),
            }
        })
    }

    /// Checks each value of a table whose keys are free.
    fn each(
        &self,
        value: &DeValue<'_>,
        check: impl Fn(&DeValue<'_>) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let DeValue::Table(table) = value else {
            return Ok(());
        };
        table
            .iter()
            .try_for_each(|(_, value)| check(value.get_ref()))
    }

    fn value(&self, value: &DeValue<'_>, known: &[&str]) -> Result<(), ConfigError> {
        let DeValue::Table(table) = value else {
            return Ok(());
        };
        self.table(table, known, |_, _| Ok(()))
    }

    fn table(
        &self,
        table: &DeTable<'_>,
        known: &[&str],
        inside: impl Fn(&str, &DeValue<'_>) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                return Err(self.unknown(name, key.span().start, known));
            }
            inside(name, value.get_ref())?;
        }
        Ok(())
    }

    fn unknown(&self, key: &str, at: usize, known: &[&str]) -> ConfigError {
        let line = self.text[..at].matches('\n').count() + 1;
        let near = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
            .min()
            .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3);
        let detail = match near {
            Some((_, near)) => format!("unknown key `{key}`; did you mean `{near}`?"),
            None => format!("unknown key `{key}`; known here: {}", known.join(", ")),
        };
        ConfigError::Invalid {
            path: self.path.to_owned(),
            place: format!("line {line}"),
            detail,
        }
    }
}

/// The keys of a table: the fields that its struct asks a deserializer for.
fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // It has the names, and gives no value.
    let _ = T::deserialize(Asked(&mut keys));
    keys
}

struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        Err(value::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("only a struct has keys"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
