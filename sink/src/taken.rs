//! A record as the sink takes it: ingest's payload, or what another producer's JSON object comes to.

use std::borrow::Cow;

use bekk_log::Record;
use bekk_stream::{JsonFault, JsonReader, PAYLOAD_VERSION};

/// A record's payload and the key that ingest gives such rows.
pub(crate) struct Taken<'r> {
    pub(crate) payload: Cow<'r, [u8]>,
    pub(crate) key: Option<Cow<'r, [u8]>>,
}

/// Takes a record. No JSON text begins as a payload does, so that a topic may hold both.
pub(crate) fn take<'r>(
    json: Option<&JsonReader>,
    record: &Record<'r>,
) -> Result<Taken<'r>, JsonFault> {
    match json {
        Some(json) if record.value.first() != Some(&PAYLOAD_VERSION) => {
            let row = json.read((!record.is_null).then_some(record.value))?;
            Ok(Taken {
                payload: Cow::Owned(row.payload),
                key: row.key.map(Cow::Owned),
            })
        }
        _ => Ok(Taken {
            payload: Cow::Borrowed(record.value),
            key: record.key.map(Cow::Borrowed),
        }),
    }
}
