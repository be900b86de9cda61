//! Unknown keys: an error that names the line and suggests the key that was meant.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::CsvDialect;

const LOG: &[&str] = &["dir", "url", "durability", "kafka"];
const INGEST: &[&str] = &["notify", "close_after", "partial_after", "open_files_max"];
const POSTGRES: &[&str] = &["url"];
const STREAM: &[&str] = &[
    "files",
    "exclude",
    "finished",
    "table",
    "key",
    "on_conflict",
    "newer_by",
    "partitions",
    "retention",
    "indexes",
    "csv",
    "columns",
];
const RETENTION: &[&str] = &["age", "size"];
const COLUMN: &[&str] = &[
    "name", "type", "nullable", "header", "allowed", "min", "max", "format", "zone", "null",
    "true", "false",
];

/// Checks the keys of a configuration; text that is no TOML passes, for the parser to report.
pub(super) fn check(text: &str, path: &Path) -> Result<(), ConfigError> {
    let Ok(document) = DeTable::parse(text) else {
        return Ok(());
    };
    let checker = Checker { text, path };
    checker.table(
        document.get_ref(),
        &["log", "ingest", "postgres", "streams"],
        |key, value| match key {
            "log" => checker.value(value, LOG),
            "ingest" => checker.value(value, INGEST),
            "postgres" => checker.value(value, POSTGRES),
            _ => checker.each(value, |stream| checker.stream(stream)),
        },
    )
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
        self.table(table, STREAM, |key, value| match (key, value) {
            ("retention", value) => self.value(value, RETENTION),
            ("csv", value) => self.value(value, CsvDialect::KEYS),
            ("columns", DeValue::Array(columns)) => columns
                .iter()
                .try_for_each(|column| self.value(column.get_ref(), COLUMN)),
            _ => Ok(()),
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
