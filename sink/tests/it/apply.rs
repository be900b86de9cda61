//! Rows arrive, dead letters too, and what is replayed changes nothing.

use bekk_sink::{Config, Control, State, Stats};
use bekk_stream::{ColumnType, Decimal, Reason, Reject, TableName, Value};
use rand::Rng;

use crate::harness::{
    Db, Log, StopOnDrop, column, drain, opened, rng, run, run_while, stream, stream_of, text, until,
};

#[test]
fn every_type_arrives_as_it_was() {
    let (db, log, stream) = opened(stream_of(
        "types",
        "id int8, flag bool, small int2, middle int4, real float4, double float8, price decimal(38,10), uuid uuid, \
         day date, local timestamp, moment timestamptz, words text, document json, bytes bytea null",
    ));
    let row = vec![
        Value::Int(i64::MIN),
        Value::Bool(true),
        Value::Int(-32_768),
        Value::Int(2_147_483_647),
        Value::Float4(0.5),
        Value::Float8(-1e300),
        Value::Decimal(Decimal::new(-12_345_678_901_234_567_890, 10)),
        Value::Uuid(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
        Value::Date(19_782),
        Value::Timestamp(1_709_164_800_000_001),
        Value::Timestamptz(-1),
        text("æ \"quoted\"\n, line"),
        Value::Json("{\"a\": [1, null]}".into()),
        Value::Null,
    ];
    log.append(&stream, 0, &[row]);
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.records), (1, 1));
    assert_eq!(
        db.one("SET TIME ZONE 'UTC'; SELECT id, flag, small, middle, \"real\", \"double\", price, uuid, day, \
                local, moment, words, document, bytes FROM types"),
        "-9223372036854775808|t|-32768|2147483647|0.5|-1e+300|-1234567890.1234567890|\
         00112233-4455-6677-8899-aabbccddeeff|2024-02-29|2024-02-29 00:00:00.000001|\
         1969-12-31 23:59:59.999999+00|æ \"quoted\"\n, line|{\"a\": [1, null]}|-"
    );
    assert_eq!(db.one("SELECT count(ingested_at) FROM types"), "1");
}

#[test]
fn counts_and_offsets_add_up_and_a_second_run_changes_nothing() {
    let (db, log) = (Db::new(), Log::new());
    let mut stream = stream_of("items", "id int8, name text");
    stream.partitions = 3;
    stream.indexes = vec![vec!["name".to_owned()]];
    log.open_stream(&stream);
    for partition in 0..3i64 {
        let rows: Vec<_> = (0..10_000)
            .map(|i| vec![Value::Int(partition * 1_000_000 + i % 9_000), text("x")])
            .collect();
        log.append(&stream, u32::try_from(partition).unwrap(), &rows);
    }
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!(
        (summary.rows, summary.superseded, summary.dead),
        (27_000, 3_000, 0)
    );
    assert_eq!(db.one("SELECT count(*) FROM items"), "27000");
    let offsets =
        "SELECT partition, next, rows + superseded + dead, owner FROM bekk.offsets ORDER BY 1";
    assert_eq!(
        db.rows(offsets),
        ["0|10000|10000|-", "1|10000|10000|-", "2|10000|10000|-"]
    );
    assert_eq!(
        log.client.committed_offsets("bekk", "items").unwrap().len(),
        3
    );

    let again = drain(&db, &log, &stream).unwrap();
    assert_eq!(again.records, 0);
}

#[test]
fn rejects_and_foreign_records_become_dead_letters() {
    let (db, log, stream) = opened(stream_of("orders", "id int8"));
    let schema = stream.schema();
    let reject = Reject::new(b"abc,1", Reason::BadValue, Some("id"), "`abc` is no int8");
    log.append_raw(
        "orders",
        0,
        &[
            log.reject(&schema, 7, &reject),
            b"hello from kcat".to_vec(),
            log.row(&schema, 8, &[Value::Int(1)]),
            log.row(
                &bekk_stream::Schema {
                    columns: Vec::new(),
                    key: Vec::new(),
                },
                9,
                &[],
            ),
        ],
    );
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.dead, summary.records), (1, 3, 4));
    assert_eq!(summary.dead_by_reason["no_payload"], 1);
    let log_id = log.client.log_id().to_string();
    assert_eq!(
        db.rows(
            "SELECT group_name, stream, topic, partition, log_offset, log_id, file, line, byte_offset, reason, \
             column_name, sqlstate, convert_from(raw, 'UTF8'), resolved_at FROM bekk.dead_letters ORDER BY log_offset"
        ),
        [
            format!("bekk|orders|orders|0|0|{log_id}|/data/events.csv|7|700|bad_value|id|-|abc,1|-"),
            format!("bekk|orders|orders|0|1|{log_id}|-|-|-|no_payload|-|-|hello from kcat|-"),
            format!("bekk|orders|orders|0|3|{log_id}|/data/events.csv|9|900|unknown_schema|-|-||-"),
        ]
    );
}

#[test]
fn names_that_need_quotes_and_a_schema_of_its_own() {
    let (db, log) = (Db::new(), Log::new());
    let mut stream = stream(
        "odd",
        vec![
            column("Order \"no\"", ColumnType::Int4),
            column("select", ColumnType::Text),
        ],
    );
    stream.table = TableName {
        schema: Some("Sales dept".to_owned()),
        name: "Orders; drop".to_owned(),
    };
    stream.indexes = vec![vec!["select".to_owned()]];
    log.open_stream(&stream);
    let rows = [
        vec![Value::Int(1), text("a")],
        vec![Value::Int(2), text("b")],
    ];
    log.append(&stream, 0, &rows);
    drain(&db, &log, &stream).unwrap();
    // Once more, over the other path.
    log.append(&stream, 0, &[vec![Value::Int(1), text("c")]]);
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.superseded), (0, 1));
    assert_eq!(
        db.rows("SELECT \"Order \"\"no\"\"\", \"select\" FROM \"Sales dept\".\"Orders; drop\" ORDER BY 1"),
        ["1|c", "2|b"]
    );
}

#[test]
fn a_new_record_is_visible_within_moments() {
    let (db, log, stream) = opened(stream_of("live", "id int8"));
    let (stats, control) = (Stats::default(), Control::new());
    let config = Config::new(db.options.clone());
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&control);
        let sink = scope.spawn(|| run(&config, &log, &stream, &stats, &control));
        until("it runs", || {
            stats.state() == State::Running
                && stats.positions().iter().all(|p| p.held)
                && !stats.positions().is_empty()
        });
        let mut latencies = Vec::new();
        for id in 0..50 {
            let begun = std::time::Instant::now();
            log.append_raw(
                "live",
                0,
                &[log.row(&stream.schema(), 2, &[Value::Int(id)])],
            );
            let count = (id + 1).to_string();
            db.await_one("SELECT count(*) FROM live", &count);
            latencies.push(begun.elapsed());
        }
        latencies.sort();
        println!(
            "append to visible: median {:?}, worst {:?}",
            latencies[25], latencies[49]
        );
        assert!(latencies[25].as_millis() < 50, "{latencies:?}");
        assert!(
            stats
                .last_visible_latency_us
                .load(std::sync::atomic::Ordering::Relaxed)
                < 1_000_000
        );
        control.stop();
        let summary = sink.join().unwrap().unwrap();
        assert_eq!(summary.rows, 50);
    });
    assert_eq!(stats.state(), State::Stopped);
}

#[test]
fn a_server_that_is_away_is_waited_for_and_a_stop_is_heard() {
    let (db, log) = (Db::new(), Log::new());
    let stream = stream_of("away", "id int8");
    let mut config = Config::new(db.options.clone());
    // A port that nobody listens on: it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.postgres.port = free.local_addr().unwrap().port();
    drop(free);
    let ((), summary) = run_while(&config, &log, &stream, Control::stop, |stats| {
        until(
            "it says what it waits for",
            || matches!(stats.state(), State::Waiting(reason) if reason.contains("refused")),
        );
    });
    assert_eq!(summary.records, 0);
}

#[test]
fn random_numbers_and_times_are_what_postgres_prints() {
    let (db, log) = (Db::new(), Log::new());
    let decimal = ColumnType::Decimal {
        precision: 38,
        scale: 12,
    };
    let stream = stream(
        "random",
        vec![
            column("id", ColumnType::Int8),
            column("number", decimal),
            column("moment", ColumnType::Timestamptz),
            column("double", ColumnType::Float8),
        ],
    );
    log.open_stream(&stream);
    let mut rng = rng();
    let mut rows = Vec::new();
    let mut expected = Vec::new();
    for id in 0..1_000i64 {
        let digits = rng.random_range(0..38);
        let unscaled = rng.random_range(0..10i128.pow(digits)) * if id % 2 == 0 { 1 } else { -1 };
        let number = Decimal::new(unscaled, 12);
        let seconds = rng.random_range(-60_000_000_000i64..200_000_000_000);
        let double = f64::from_bits(rng.random::<u64>() >> 2);
        expected.push(format!("{id}|{number}|{seconds}|{}", double.to_bits()));
        rows.push(vec![
            Value::Int(id),
            Value::Decimal(number),
            Value::Timestamptz(seconds * 1_000_000),
            Value::Float8(double),
        ]);
    }
    log.append(&stream, 0, &rows);
    assert_eq!(drain(&db, &log, &stream).unwrap().rows, 1_000);
    let found = db.rows(
        "SELECT id, number, extract(epoch FROM moment)::bigint,
                ('x' || encode(float8send(\"double\"), 'hex'))::bit(64)::bigint FROM random ORDER BY id",
    );
    assert_eq!(found, expected);
}
