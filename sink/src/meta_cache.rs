//! What records refer to, read from topic `bekk.meta`: schemas and files.

use std::collections::HashMap;
use std::sync::Arc;

use bekk_log::{Client, Offset};
use bekk_stream::{FileId, META_TOPIC, Meta, Schema, SchemaId};

use crate::Error;

/// How much of the topic is read at a time, in bytes.
const READ_BYTES_MAX: usize = 1 << 20;

/// What a look for a schema gives.
pub(crate) enum Lookup {
    Found(Arc<Schema>),
    /// The log does not have it.
    Missing,
    /// It may be among what a cluster's open transaction keeps back.
    KeptBack,
}

/// Schemas and files by their ids. Read on when an id is met that is not known: each is durable before
/// the first record that needs it.
#[derive(Debug, Default)]
pub(crate) struct MetaCache {
    next: u64,
    schemas: HashMap<SchemaId, Arc<Schema>>,
    files: HashMap<FileId, Box<[u8]>>,
}

impl MetaCache {
    /// The schema with that id.
    pub(crate) fn schema(&mut self, log: &Client, id: SchemaId) -> Result<Lookup, Error> {
        let is_known = self.schemas.contains_key(&id);
        let is_all_read = is_known || self.read_on(log)?;
        Ok(match self.schemas.get(&id) {
            Some(schema) => Lookup::Found(Arc::clone(schema)),
            None if is_all_read => Lookup::Missing,
            None => Lookup::KeptBack,
        })
    }

    /// The path of the file with that id, if the log has it.
    pub(crate) fn file(&mut self, log: &Client, id: FileId) -> Result<Option<String>, Error> {
        if !self.files.contains_key(&id) {
            self.read_on(log)?;
        }
        Ok(self
            .files
            .get(&id)
            .map(|path| String::from_utf8_lossy(path).into_owned()))
    }

    /// Reads on as far as the log lets; says whether that is all that it has.
    fn read_on(&mut self, log: &Client) -> Result<bool, Error> {
        let end = match log.high_watermarks(META_TOPIC) {
            Ok(ends) => ends.first().map_or(0, |ends| ends.end.get()),
            // A log that only other Kafka clients have written to.
            Err(bekk_log::Error::UnknownTopic(_)) => return Ok(true),
            Err(error) => return Err(failed(error)),
        };
        while self.next < end {
            let records = log
                .read(META_TOPIC, 0, Offset::new(self.next), READ_BYTES_MAX)
                .map_err(failed)?;
            for record in records.iter() {
                match Meta::decode(record.value) {
                    Ok(Meta::Schema(id, schema)) => {
                        self.schemas.insert(id, Arc::new(schema));
                    }
                    Ok(Meta::File(file)) => {
                        self.files.insert(file.id, file.path.into_boxed_slice());
                    }
                    Ok(Meta::Receipt(_) | Meta::Progress(_) | Meta::Begun(_)) => {}
                    Err(error) => {
                        tracing::warn!(offset = %record.offset, %error, "meta record passed over");
                    }
                }
            }
            let next = records.next_offset().get();
            if next <= self.next {
                break;
            }
            self.next = next;
        }
        Ok(self.next >= end)
    }
}

fn failed(source: bekk_log::Error) -> Error {
    Error::log(format!("read topic `{META_TOPIC}`"), source)
}
