//! The events that the benches write: alike from run to run.

use std::fmt::Write as _;

use bekk_log::{Client, RecordBuffer, TopicConfig};
use bekk_stream::{
    Column, ColumnType, Decimal, FileId, META_TOPIC, Meta, Origin, Stream, Value, encode_row,
    partition_for,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PARTITIONS: u32 = 4;
const RECORDS_PER_APPEND: usize = 8_000;

/// The sample stream, in four partitions.
pub(crate) fn events() -> Stream {
    let column = Column::new;
    let columns = vec![
        column("event_id", ColumnType::Uuid),
        column("event_type", ColumnType::Text),
        column("user_id", ColumnType::Int8).nullable(),
        column("product_id", ColumnType::Int8).nullable(),
        column("category", ColumnType::Text).nullable(),
        column(
            "price",
            ColumnType::Decimal {
                precision: 12,
                scale: 2,
            },
        )
        .nullable(),
        column("quantity", ColumnType::Int4).nullable(),
        column("session_id", ColumnType::Uuid).nullable(),
        column("event_time", ColumnType::Timestamptz),
    ];
    Stream {
        partitions: PARTITIONS,
        indexes: vec![vec!["event_time".to_owned()], vec!["event_type".to_owned()]],
        ..bekk_testing::stream("events", columns)
    }
}

/// Writes the rows to the log and, the same ones, to a CSV file.
pub(crate) fn write(log: &Client, stream: &Stream, csv: &std::path::Path, rows: usize) {
    let topic = |partitions| TopicConfig::new(partitions);
    log.create_topic(META_TOPIC, topic(1)).unwrap();
    log.create_topic(&stream.name, topic(PARTITIONS)).unwrap();
    let schema = stream.schema();
    let meta = Meta::Schema(schema.id(), schema.clone());
    let mut buffer = RecordBuffer::new();
    buffer.push(0, Some(meta.key().as_bytes()), &meta.encode());
    log.append(None, META_TOPIC, &[(0, &buffer)]).unwrap();

    let mut rng = StdRng::seed_from_u64(7);
    let mut text = String::new();
    let mut payload = Vec::new();
    let mut buffers: Vec<RecordBuffer> = (0..PARTITIONS).map(|_| RecordBuffer::new()).collect();
    let file = FileId::random();
    for i in 0..rows {
        let event = event(&mut rng, i);
        write_line(&mut text, &event);
        let origin = Origin {
            file,
            start: i as u64 * 120,
            end: i as u64 * 120 + 120,
            line: i as u64 + 2,
        };
        payload.clear();
        encode_row(&mut payload, schema.id(), &origin, &event);
        let Value::Uuid(id) = &event[0] else {
            unreachable!("the first column is the event's id")
        };
        let key = uuid::Uuid::from_bytes(*id).to_string();
        let partition = partition_for(key.as_bytes(), PARTITIONS);
        buffers[partition as usize].push(0, Some(key.as_bytes()), &payload);
        if (i + 1) % RECORDS_PER_APPEND == 0 || i + 1 == rows {
            let batches: Vec<_> = (0..PARTITIONS).zip(buffers.iter()).collect();
            log.append(None, &stream.name, &batches).unwrap();
            buffers.iter_mut().for_each(RecordBuffer::clear);
        }
    }
    std::fs::write(csv, text).unwrap();
}

fn event(rng: &mut StdRng, i: usize) -> Vec<Value<'static>> {
    let kinds = ["view", "view", "view", "add_to_cart", "purchase"];
    let categories = ["Electronics", "Home & Garden", "Books", "Toys", "Sports"];
    let id = rng.random_range(0..200_000);
    vec![
        Value::Uuid(rng.random()),
        Value::Text(kinds[rng.random_range(0..kinds.len())].into()),
        Value::Int(id),
        Value::Int(rng.random_range(0..10_000)),
        Value::Text(categories[rng.random_range(0..categories.len())].into()),
        Value::Decimal(Decimal::new(rng.random_range(100..100_000), 2)),
        Value::Int(rng.random_range(1..5)),
        Value::Uuid(rng.random()),
        Value::Timestamptz(1_700_000_000_000_000 + i64::try_from(i).unwrap() * 1_234),
    ]
}

fn write_line(text: &mut String, event: &[Value<'_>]) {
    for (i, value) in event.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        let _ = match value {
            Value::Uuid(id) => write!(text, "{}", uuid::Uuid::from_bytes(*id)),
            Value::Text(word) => write!(text, "{word}"),
            Value::Int(number) => write!(text, "{number}"),
            Value::Decimal(number) => write!(text, "{number}"),
            Value::Timestamptz(micros) => {
                let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
                let day_seconds = seconds % 86_400;
                let day = 14 + (seconds - 1_699_920_000) / 86_400;
                write!(
                    text,
                    "2023-11-{day:02} {:02}:{:02}:{:02}.{fraction:06}+00",
                    day_seconds / 3600,
                    day_seconds / 60 % 60,
                    day_seconds % 60
                )
            }
            other => unreachable!("events have no {other:?}"),
        };
    }
    text.push('\n');
}
