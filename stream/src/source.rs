//! The values of columns that are not a field of the record.

use std::path::Path;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::Xxh3;

use crate::{Column, ColumnSource, ColumnType, Field, Value, ValueParser};

/// What a directory such as `dt=…` is called in Hive's layout where there is no value.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What a file was when it was met; rows keep it whatever becomes of the file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FirstSeen {
    /// Its path's bytes.
    pub path: Vec<u8>,
    /// When it had been modified: microseconds since 1970-01-01 UTC.
    pub modified_us: i64,
}

impl ColumnSource {
    /// The value that all records of a file have.
    ///
    /// # Errors
    /// Why there is no value, in words for a person.
    pub fn of_file(
        &self,
        column: &Column,
        parser: &ValueParser,
        seen: Option<&FirstSeen>,
    ) -> Result<Value<'static>, String> {
        let name = &column.name;
        let text = match self {
            Self::Constant(text) => Some(text.clone()),
            Self::Line | Self::RowHash => None,
            _ => {
                let seen = seen.ok_or_else(|| {
                    format!(
                        "column `{name}` takes its value from the file, and the file is not known"
                    )
                })?;
                if *self == Self::FileModifiedAt {
                    return Ok(Value::Timestamptz(seen.modified_us));
                }
                let path = std::str::from_utf8(&seen.path).map_err(|_| {
                    format!(
                        "its path is not UTF-8, and column `{name}` takes its value from the path"
                    )
                })?;
                let text = self.of_path(path);
                text.map_err(|why| format!("{why}, and column `{name}` takes its value from it"))?
            }
        };
        let Some(text) = text else {
            return match column.nullable {
                true => Ok(Value::Null),
                false => Err(format!(
                    "it has no value for column `{name}`, which is not nullable"
                )),
            };
        };
        let field = Field {
            bytes: text.as_bytes(),
            quoted: true,
        };
        match parser.parse(field) {
            Ok(value) => Ok(value.into_owned()),
            Err(fault) => Err(format!("column `{name}`: {}", fault.detail)),
        }
    }

    /// What a path says; `None` if that it has no value.
    fn of_path(&self, path: &str) -> Result<Option<String>, String> {
        let name = Path::new(path).file_name().and_then(|name| name.to_str());
        Ok(match self {
            Self::FileName => name.map(str::to_owned),
            Self::FilePath => Some(path.to_owned()),
            Self::Directory(wanted) => {
                let directories = path.split('/').rev().skip(1);
                let mut values = directories
                    .filter_map(|part| part.split_once('='))
                    .filter(|(name, _)| name == wanted)
                    .map(|(_, value)| value);
                match values.next() {
                    Some(HIVE_NULL) | None => None,
                    Some(value) => Some(unescaped(value).ok_or_else(|| {
                        format!(
                            "its directory `{wanted}={}` has invalid escapes",
                            value.escape_debug()
                        )
                    })?),
                }
            }
            _ => None,
        })
    }
}

/// A directory's value without Hive's escapes, which are those of URLs.
fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after
            .get(..2)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// The hash of a record's fields, version 1: see `docs/format.md`.
#[derive(Default)]
pub struct RowHash(Xxh3);

impl RowHash {
    /// Takes the next field.
    pub fn field(&mut self, field: Field<'_>) {
        // Where a field is empty, quotes can decide whether it is null.
        let length = match field.bytes {
            [] if field.quoted => u64::MAX,
            bytes => bytes.len() as u64,
        };
        self.0.update(&length.to_le_bytes());
        self.0.update(field.bytes);
    }

    /// The hash of all fields as a value of the column's type.
    #[must_use]
    pub fn value(&self, column_type: &ColumnType) -> Value<'static> {
        let hash = self.0.digest128();
        match column_type {
            ColumnType::Uuid => Value::Uuid(
                uuid::Builder::from_custom_bytes(hash.to_be_bytes())
                    .into_uuid()
                    .into_bytes(),
            ),
            _ => Value::Text(format!("1:{hash:032x}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_128;

    use crate::CsvDialect;

    fn of_file(source: &str, column_type: &str, path: &str) -> Result<Value<'static>, String> {
        let source = ColumnSource::parse(source).unwrap();
        let column = Column::new("c", column_type.parse().unwrap());
        let parser = ValueParser::new(&column, &CsvDialect::default()).unwrap();
        let seen = FirstSeen {
            path: path.as_bytes().to_vec(),
            modified_us: -1,
        };
        source.of_file(&column, &parser, Some(&seen))
    }

    #[test]
    fn a_source_is_shown_as_it_is_written() {
        let sources = "file_name file_path file_modified_at line row_hash directory:dt";
        for text in sources.split(' ') {
            assert_eq!(ColumnSource::parse(text).unwrap().to_string(), text);
        }
        for text in ["file", "directory:", "directory:a=b", "directory:a/b"] {
            assert!(ColumnSource::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_says_what_its_parts_are() {
        let text = |text: &str| Ok(Value::Text(text.to_owned().into()));
        let path = "/in/dt=2026-01-31/city=S%C3%A3o%2FX/a=b.csv";
        let two = "/d=1/d=2/x.csv";
        for (source, column_type, path, expected) in [
            ("file_name", "text", path, text("a=b.csv")),
            ("file_path", "text", path, text(path)),
            ("directory:dt", "date", path, Ok(Value::Date(20_484))),
            ("directory:city", "text", path, text("São/X")),
            (
                "file_modified_at",
                "timestamptz",
                path,
                Ok(Value::Timestamptz(-1)),
            ),
            // The nearest of two counts.
            ("directory:d", "int4", two, Ok(Value::Int(2))),
        ] {
            assert_eq!(of_file(source, column_type, path), expected, "{source}");
        }
        let null = "/dt=__HIVE_DEFAULT_PARTITION__/a";
        for (source, column_type, path, part) in [
            ("directory:a", "text", path, "no value for column `c`"),
            ("directory:dt", "text", null, "no value"),
            ("directory:dt", "date", "/dt=soon/a", "is not a date"),
            ("directory:dt", "text", "/dt=%zz/a", "escapes"),
        ] {
            let why = of_file(source, column_type, path).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    /// Tables hold it as their key for ever.
    #[test]
    fn a_hash_is_of_the_fields() {
        let hash = |fields: &[(&str, bool)], column_type: &ColumnType| {
            let mut hash = RowHash::default();
            for (text, quoted) in fields {
                hash.field(Field {
                    bytes: text.as_bytes(),
                    quoted: *quoted,
                });
            }
            hash.value(column_type)
        };
        let text = |fields: &[(&str, bool)]| hash(fields, &ColumnType::Text);
        let known = text(&[("1", false), ("ä", false)]);
        let mut bytes = Vec::new();
        for part in ["1", "ä"] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        assert_eq!(
            known,
            Value::Text(format!("1:{:032x}", xxh3_128(&bytes)).into())
        );
        assert_eq!(known, text(&[("1", true), ("ä", true)]));
        assert_ne!(known, text(&[("1ä", false)]));
        assert_ne!(text(&[("", false)]), text(&[("", true)]));
        assert_ne!(
            text(&[("a", false), ("", false)]),
            text(&[("", false), ("a", false)])
        );
        let Value::Uuid(uuid) = hash(&[("1", false)], &ColumnType::Uuid) else {
            panic!("a uuid was asked for")
        };
        assert_eq!(uuid::Uuid::from_bytes(uuid).get_version_num(), 8);
    }
}
