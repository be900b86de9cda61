//! A record as the sink takes it: ingest's payload, or what another producer's JSON object comes to.

use std::borrow::Cow;

use bekk_log::Record;
use bekk_stream::{JsonFault, JsonReader, JsonRecord, PAYLOAD_VERSION, Value};

/// What a record says, and the key that ingest gives such rows.
pub(crate) struct Taken<'r> {
    pub(crate) key: Option<Cow<'r, [u8]>>,
    pub(crate) body: TakenBody<'r>,
}

/// What a record says.
pub(crate) enum TakenBody<'r> {
    Payload(Cow<'r, [u8]>),
    /// The row with these values of the key's columns is to be deleted.
    Deletion(Vec<Value<'static>>),
}

/// Takes a record. No JSON text begins as a payload does, so that a topic may hold both.
pub(crate) fn take<'r>(
    json: Option<&JsonReader>,
    record: &Record<'r>,
) -> Result<Taken<'r>, JsonFault> {
    match json {
        Some(json) if record.value.first() != Some(&PAYLOAD_VERSION) => {
            let value = (!record.is_null).then_some(record.value);
            Ok(match json.read(record.key, value)? {
                JsonRecord::Row(row) => Taken {
                    key: row.key.map(Cow::Owned),
                    body: TakenBody::Payload(Cow::Owned(row.payload)),
                },
                JsonRecord::Deletion(key) => Taken {
                    key: Some(Cow::Owned(key.text)),
                    body: TakenBody::Deletion(key.values),
                },
            })
        }
        _ => Ok(Taken {
            key: record.key.map(Cow::Borrowed),
            body: TakenBody::Payload(Cow::Borrowed(record.value)),
        }),
    }
}

impl Taken<'_> {
    /// The payload of a record that is no deletion.
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        match &self.body {
            TakenBody::Payload(payload) => Some(payload),
            TakenBody::Deletion(_) => None,
        }
    }
}
