//! What a log holds, read through the library, record by record.

use std::collections::HashSet;
use std::path::Path;

use bekk_log::{Client, Config, Offset};
use bekk_stream::{Body, Payload, Value};

use crate::events::uuid_text;

/// The records of a topic.
#[derive(Default)]
pub(crate) struct LogContent {
    /// The rows in log order, partition after partition, in the form of `events`.
    pub(crate) rows: Vec<String>,
    /// The raw bytes of the rejects.
    pub(crate) rejects: Vec<String>,
}

impl LogContent {
    /// Reads a topic whole, asserting that its offsets are dense and that no byte of a file is in two
    /// records.
    pub(crate) fn read(dir: &Path, topic: &str) -> Self {
        let client = Client::open(Config::new(dir.to_owned())).unwrap();
        let mut content = Self::default();
        let mut ranges = HashSet::new();
        for ends in client.partition_ends(topic).unwrap() {
            let mut next = ends.start;
            while next < ends.end {
                let records = client.read(topic, ends.partition, next, 1 << 20).unwrap();
                for record in records.iter() {
                    assert_eq!(
                        record.offset, next,
                        "offsets of partition {} are dense",
                        ends.partition
                    );
                    next = next.next();
                    let payload = Payload::decode(record.value).unwrap();
                    let origin = payload.origin;
                    assert!(
                        ranges.insert((origin.file, origin.start)),
                        "{origin:?} is there twice"
                    );
                    match payload.body {
                        Body::Row(row) => content.rows.push(row_text(row.map(Result::unwrap))),
                        Body::Reject(reject) => content
                            .rejects
                            .push(String::from_utf8_lossy(&reject.raw).into_owned()),
                    }
                }
            }
            assert_eq!(next, ends.end);
            assert_eq!(ends.start, Offset::ZERO, "nothing was trimmed");
        }
        client.close().unwrap();
        content
    }
}

fn row_text<'a>(values: impl Iterator<Item = Value<'a>>) -> String {
    let text = |value: Value<'_>| match value {
        Value::Null => "∅".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Decimal(number) => number.to_string(),
        Value::Uuid(bytes) => uuid_text(bytes),
        Value::Text(text) => text.into_owned(),
        Value::Timestamptz(micros) => {
            let moment = jiff::Timestamp::from_microsecond(micros).unwrap();
            format!("{moment:.6}")
        }
        other => panic!("the sample stream has no {other:?}"),
    };
    values.map(text).collect::<Vec<_>>().join("|")
}
