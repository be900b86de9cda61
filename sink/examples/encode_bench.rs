//! How fast records become COPY data: read from a log, decoded, encoded, deduplicated and sorted by key,
//! on one thread, nothing sent.
//!
//!     cargo run --release -p bekk-sink --example encode_bench -- [ROWS] [ROUNDS]

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use bekk_log::{Client, RecordBuffer, TopicConfig};
use bekk_postgres::Server;
use bekk_sink::Config;
use bekk_stream::{
    Column, ColumnType, Decimal, FileId, META_TOPIC, Meta, Origin, Stream, Value, encode_row,
    partition_for,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PARTITIONS: u32 = 4;
const RECORDS_PER_APPEND: usize = 8_000;

#[expect(clippy::cast_precision_loss, reason = "rates for a person to read")]
fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<usize>().unwrap());
    let rows = arguments.next().unwrap_or(1_000_000);
    let rounds = arguments.next().unwrap_or(3);
    // The encoders follow the table's column types, so there has to be a table.
    let server = Server::temporary().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let stream = events();
    let log = Client::open(bekk_log::Config::new(directory.path().join("log"))).unwrap();
    write(&log, &stream, rows);
    let config = Config::new(server.url().parse().unwrap());
    for round in 1..=rounds {
        let begun = Instant::now();
        let encoded = bekk_sink::encode_only(&config, &stream, &log).unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "round {round}: {} records, {:.0} records/s, {:.1} MB/s of COPY data, {} batches",
            encoded.records,
            encoded.records as f64 / seconds,
            encoded.bytes as f64 / seconds / 1e6,
            encoded.batches,
        );
    }
}

/// The sample stream, in four partitions.
fn events() -> Stream {
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

/// Writes events to the log, alike from run to run.
fn write(log: &Client, stream: &Stream, rows: usize) {
    let topic = |partitions| TopicConfig::new(partitions);
    log.create_topic(META_TOPIC, topic(1)).unwrap();
    log.create_topic(&stream.name, topic(PARTITIONS)).unwrap();
    let schema = stream.schema();
    let meta = Meta::Schema(schema.id(), schema.clone());
    let mut buffer = RecordBuffer::new();
    buffer.push(0, Some(meta.key().as_bytes()), &meta.encode());
    log.append(None, META_TOPIC, &[(0, &buffer)]).unwrap();

    let mut rng = StdRng::seed_from_u64(7);
    let mut payload = Vec::new();
    let mut buffers: Vec<RecordBuffer> = (0..PARTITIONS).map(|_| RecordBuffer::new()).collect();
    let file = FileId::random();
    for i in 0..rows {
        let event = event(&mut rng, i);
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
