//! The records of a topic that have a key, or come from a line of a file.

use std::sync::Arc;

use bekk_log::{Client as Log, Offset, Record};
use bekk_stream::{
    Body, JsonReader, Origin, Payload, Schema, SchemaId, Stream, Value, split_prefix,
};

use super::{Fate, Version, What};
use crate::Error;
use crate::meta_cache::{Lookup, MetaCache};
use crate::render;
use crate::taken::{TakenBody, take};

/// How much is read from the log at a time, in compressed bytes.
const READ_BYTES_MAX: usize = 512 * 1024;
/// How many versions are shown, the newest ones.
const VERSIONS_MAX: usize = 10_000;
/// Separator of the columns of a record's key.
pub(super) const SEPARATOR: char = bekk_stream::KEY_SEPARATOR as char;

pub(super) struct FoundRecord {
    pub(super) version: Version,
    pub(super) key: Option<Vec<u8>>,
    /// Whether it is a row, or deletes one.
    pub(super) is_row: bool,
    pub(super) is_deletion: bool,
    /// The value of the column that `newer_by` names.
    pub(super) newer_by: Option<Value<'static>>,
}

pub(super) struct RecordSearch<'a> {
    pub(super) log: &'a Log,
    pub(super) stream: &'a Stream,
    pub(super) json: Option<JsonReader>,
    pub(super) meta: MetaCache,
}

impl RecordSearch<'_> {
    pub(super) fn find(&mut self, what: &What) -> Result<Vec<FoundRecord>, Error> {
        match what {
            // The whole topic is read for the key afterwards.
            What::Key(text) => match key_typed(text, self.stream.key.len()) {
                Some(key) => self.of_key(&key),
                None => Ok(Vec::new()),
            },
            What::Line(path, line) => {
                let path = path.clone();
                self.scan(move |meta, record, log| {
                    let Ok(payload) = Payload::decode(record.value) else {
                        return false;
                    };
                    payload.origin.line == *line
                        && meta
                            .file(log, payload.origin.file)
                            .ok()
                            .flatten()
                            .is_some_and(|found| is_path(&found, &path))
                })
            }
            What::Offset(partition, offset) => {
                let (partition, offset) = (*partition, *offset);
                let records = self.read(partition, offset)?;
                let record = records.iter().next();
                let record = record.filter(|record| record.offset.get() == offset);
                record
                    .map(|record| self.found(partition, &record))
                    .into_iter()
                    .collect()
            }
        }
    }

    pub(super) fn of_key(&mut self, key: &[u8]) -> Result<Vec<FoundRecord>, Error> {
        let json = self.json.clone();
        self.scan(|_, record, _| {
            take(json.as_ref(), record).is_ok_and(|taken| taken.key.as_deref() == Some(key))
        })
    }

    /// The records of the topic for which something holds, the last ones if there are very many.
    fn scan(
        &mut self,
        mut holds: impl FnMut(&mut MetaCache, &Record<'_>, &Log) -> bool,
    ) -> Result<Vec<FoundRecord>, Error> {
        let topic = &self.stream.name;
        let failed = |error| Error::log(format!("read topic `{topic}`"), error);
        let mut all = Vec::new();
        for ends in self.log.partition_ends(topic).map_err(failed)? {
            let mut at = ends.start.get();
            while at < ends.end.get() {
                let records = self.read(ends.partition, at)?;
                for record in records.iter() {
                    if holds(&mut self.meta, &record, self.log) {
                        all.push(self.found(ends.partition, &record)?);
                    }
                }
                if records.next_offset().get() <= at {
                    break;
                }
                at = records.next_offset().get();
            }
            let surplus = all.len().saturating_sub(VERSIONS_MAX);
            all.drain(..surplus);
        }
        Ok(all)
    }

    fn read(&self, partition: u32, from: u64) -> Result<bekk_log::Records, Error> {
        let topic = &self.stream.name;
        self.log
            .read(topic, partition, Offset::new(from), READ_BYTES_MAX)
            .map_err(|error| Error::log(format!("read {topic}/{partition} from {from} on"), error))
    }

    fn found(&mut self, partition: u32, record: &Record<'_>) -> Result<FoundRecord, Error> {
        let mut found = FoundRecord {
            version: Version {
                partition,
                offset: record.offset.get(),
                appended_at: render::time_text(record.timestamp_ms),
                file: None,
                line: 0,
                text: String::new(),
                fate: Fate::Unknown,
            },
            key: record.key.map(<[u8]>::to_vec),
            is_row: false,
            is_deletion: false,
            newer_by: None,
        };
        found.version.text = text_of(record);
        let Ok(taken) = take(self.json.as_ref(), record) else {
            return Ok(found);
        };
        let payload = match &taken.body {
            TakenBody::Payload(payload) => payload,
            TakenBody::Deletion(_) => {
                found.key = taken.key.as_deref().map(<[u8]>::to_vec);
                (found.is_row, found.is_deletion) = (true, true);
                "a record without a value".clone_into(&mut found.version.text);
                return Ok(found);
            }
        };
        let Ok(payload) = Payload::decode(payload) else {
            return Ok(found);
        };
        found.key = taken.key.as_deref().map(<[u8]>::to_vec);
        let is_elsewhere = payload.origin == Origin::ELSEWHERE;
        if !is_elsewhere {
            found.version.file = self.meta.file(self.log, payload.origin.file)?;
        }
        found.version.line = payload.origin.line;
        match &payload.body {
            Body::Row(row) => {
                found.is_row = true;
                found.version.text = match is_elsewhere {
                    true => text_of(record),
                    false => render::csv_line(row.clone()).unwrap_or_default(),
                };
                if let Some(name) = &self.stream.newer_by
                    && let Some(schema) = self.schema(payload.schema)?
                {
                    let at = schema
                        .columns
                        .iter()
                        .position(|column| column.name == *name);
                    let value = at.and_then(|at| row.clone().nth(at)).and_then(Result::ok);
                    let column = self
                        .stream
                        .columns
                        .iter()
                        .find(|column| column.name == *name);
                    let value = value
                        .zip(column)
                        .map(|(value, column)| value.widened(&column.column_type));
                    found.newer_by = Some(value.map_or(Value::Null, Value::into_owned));
                }
            }
            Body::Reject(reject) => {
                found.version.text = self.stream.csv.encoding.shown(&reject.raw);
            }
        }
        Ok(found)
    }

    /// A schema of the log, or the stream's own, which other producers' records are of.
    fn schema(&mut self, id: SchemaId) -> Result<Option<Arc<Schema>>, Error> {
        if let Lookup::Found(schema) = self.meta.schema(self.log, id)? {
            return Ok(Some(schema));
        }
        let own = self.stream.schema();
        Ok((own.id() == id).then(|| Arc::new(own)))
    }
}

/// The text of another producer's record, without the prefix of Confluent's serializers.
fn text_of(record: &Record<'_>) -> String {
    String::from_utf8_lossy(split_prefix(record.value).1).into_owned()
}

/// A record's key from what was typed: for one column all of it, for several a CSV line of their texts; `None` if those
/// are not as many.
pub(super) fn key_typed(text: &str, columns: usize) -> Option<Vec<u8>> {
    if columns <= 1 {
        return Some(text.as_bytes().to_vec());
    }
    let (mut key, mut parts, mut is_quoted) = (String::new(), 1, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                key.push('"');
            }
            '"' if is_quoted || key.is_empty() || key.ends_with(SEPARATOR) => {
                is_quoted = !is_quoted
            }
            ',' if !is_quoted => {
                key.push(SEPARATOR);
                parts += 1;
            }
            other => key.push(other),
        }
    }
    (parts == columns && !is_quoted).then(|| key.into_bytes())
}

/// Whether a path is the one that was typed, or ends with it.
fn is_path(found: &str, typed: &str) -> bool {
    found == typed
        || found
            .strip_suffix(typed.trim_start_matches("./"))
            .is_some_and(|front| front.is_empty() || front.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use bekk_stream::key_shown;

    use super::{is_path, key_typed};

    #[test]
    fn a_key_of_several_columns_is_typed_as_a_line() {
        let check = |typed: &str, columns, expected: Option<&str>| {
            let key = key_typed(typed, columns);
            let expected = expected.map(|key| key.replace('|', "\u{1f}").into_bytes());
            assert_eq!(key, expected, "{typed}");
            if let Some(key) = key {
                assert_eq!(key_shown(&key), typed);
            }
        };
        check("a,b", 1, Some("a,b"));
        check("\"a\"", 1, Some("\"a\""));
        check("a,b", 2, Some("a|b"));
        check("\"a,b\",2", 2, Some("a,b|2"));
        check("\"5\"\" disk\",", 2, Some("5\" disk|"));
        check("a,b", 3, None);
        check("\"a,b", 2, None);
    }

    #[test]
    fn a_file_is_named_by_the_end_of_its_path() {
        assert!(is_path("/srv/data/a.csv", "/srv/data/a.csv"));
        assert!(is_path("/srv/data/a.csv", "data/a.csv"));
        assert!(is_path("/srv/data/a.csv", "./a.csv"));
        assert!(!is_path("/srv/data/aa.csv", "a.csv"));
    }
}
