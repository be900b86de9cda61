//! Runs that end by themselves.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bekk_ingest::Comparison;
use bekk_stream::{Decimal, Finished, Reason, Value};
use bekk_testing::assert_matches;

use crate::world::{self, World, ids, rows};

#[test]
fn a_file_is_read_once() {
    let world = World::new();
    let content = format!("id,name,price\n{}", rows(0, 2500));
    world.put("a.csv", &content);
    let summary = world.once();
    assert_eq!(
        (
            summary.files,
            summary.records,
            summary.rejects,
            summary.already
        ),
        (1, 2500, 0, 0)
    );
    assert_eq!(summary.bytes, content.len() as u64);
    let records = world.logged_of_one();
    assert_eq!(ids(&records), (0..2500).collect::<Vec<_>>());
    for (record, line) in records.iter().zip(2..) {
        assert_eq!(record.line, line);
        assert_eq!(record.text(&content), rows(line - 2, line - 1));
        assert_eq!(
            record.key.as_deref(),
            Some((line - 2).to_string().as_bytes())
        );
        assert_eq!(
            record.partition,
            bekk_stream::partition_for(record.key.as_deref().unwrap(), 4)
        );
    }
    let price = Value::Decimal(Decimal::new(350, 2));
    assert_eq!(
        records[3].body,
        Ok(vec![Value::Int(3), Value::Text("name 3".into()), price])
    );

    let receipts = world.receipts();
    assert_eq!(receipts.len(), 1);
    assert_eq!(
        (receipts[0].records, receipts[0].bytes),
        (2500, content.len() as u64)
    );
    assert_eq!(
        receipts[0].hash,
        xxhash_rust::xxh3::xxh3_128(content.as_bytes())
    );

    let again = world.once();
    assert_eq!(
        (again.files, again.records, again.already, again.bytes),
        (1, 0, 2500, 0)
    );
    fs::remove_file(world.path("state/checkpoint")).unwrap();
    let again = world.once();
    assert_eq!((again.files, again.records, again.already), (1, 0, 2500));
    fs::remove_dir_all(world.path("state")).unwrap();
    assert_eq!(world.once().records, 0);
    assert_eq!(world.logged_of_one(), records);
    assert_eq!(world.receipts().len(), 1);
}

#[test]
fn headers_are_mapped_by_name() {
    let world = World::new();
    world.put("a.csv", "id,name,price\n1,one,1\n");
    world.put("b.csv", "\u{feff}price,extra,id\r\n2,x,2\r\n");
    world.once();
    let logged = world.logged();
    let mut bodies: Vec<_> = logged
        .values()
        .map(|records| records[0].body.clone().unwrap())
        .collect();
    bodies.sort_by_key(|values| format!("{:?}", values[0]));
    let price = |unscaled| Value::Decimal(Decimal::new(unscaled, 2));
    assert_eq!(
        bodies[0],
        [Value::Int(1), Value::Text("one".into()), price(100)]
    );
    assert_eq!(bodies[1], [Value::Int(2), Value::Null, price(200)]);
}

#[test]
fn every_line_is_accounted_for() {
    let world = World::new();
    type Fault = Option<(Reason, Option<&'static str>)>;
    let lines: [(&[u8], Fault); 12] = [
        (b"1,one,1\n", None),
        (b"2,two\n", Some((Reason::FieldCount, None))),
        (b"3,three,x\r\n", Some((Reason::BadValue, Some("price")))),
        (b"4,\xff,1\n", Some((Reason::BadEncoding, Some("name")))),
        (b"\"5\",\"fi\"\"\nve\",5\n", None),
        (b"6,s\"ix,6\n", Some((Reason::BadQuote, Some("name")))),
        (b"7,\"se\"ven,7\n", Some((Reason::BadQuote, Some("name")))),
        (b",eight,8\n", Some((Reason::MissingValue, Some("id")))),
        (
            b"9,nine,9.001\n",
            Some((Reason::TooManyDecimals, Some("price"))),
        ),
        (b"10,t\0n,10\n", Some((Reason::Nul, Some("name")))),
        (
            b"11,\"eleven,11\n",
            Some((Reason::UnclosedQuote, Some("name"))),
        ),
        (b"12,twelve,12\n", None),
    ];
    let mut content = b"id,name,price\n".to_vec();
    let mut expected = Vec::new();
    for (line, fault) in &lines {
        expected.push((content.len() as u64, line.to_vec(), *fault));
        content.extend_from_slice(line);
        if *fault == Some((Reason::FieldCount, None)) {
            content.extend_from_slice(b"\n\r\n");
        }
    }
    world.put("a.csv", &content);
    let summary = world.once();
    assert_eq!((summary.records, summary.rejects), (12, 9));
    let records = world.logged_of_one();
    for (record, (start, line, fault)) in records.iter().zip(expected) {
        assert_eq!(
            (record.start, record.end),
            (start, start + line.len() as u64)
        );
        match (&record.body, fault) {
            (Ok(_), None) => {}
            (Err((reason, column, raw)), Some((expected, expected_column))) => {
                assert_eq!((*reason, column.as_deref()), (expected, expected_column));
                assert_eq!(raw, line.trim_ascii_end());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_cannot_be_right_is_set_aside() {
    let world = World::new();
    let bad: String = (0..200)
        .map(|line| if line % 3 == 0 { "1,a,1\n" } else { "x,a,1\n" })
        .collect();
    let path = world.put("bad.csv", format!("id,name,price\n{bad}"));
    world.put("head.csv", "name,price\na,1\n");
    world.put("good.csv", "id\n1\n");
    let summary = world.once();
    assert_eq!(
        (summary.files, summary.records, summary.blocked.len()),
        (3, 1, 2)
    );
    let why: Vec<&str> = summary
        .blocked
        .iter()
        .map(|(_, why)| why.as_str())
        .collect();
    assert!(
        why.iter().any(|why| why.contains("its header lacks `id`")),
        "{why:?}"
    );
    assert!(
        why.iter().any(|why| why
            .contains("133 of its first 200 records are rejects, the first one for bad_value")),
        "{why:?}"
    );
    assert_eq!(world.logged_of_one().len(), 1);

    // After a correction by any editor, it is read.
    fs::write(&path, format!("id,name,price\n{}", bad.replace('x', "2"))).unwrap();
    crate::world::rest(&path);
    assert_eq!(world.once().records, 200);
    assert_eq!(world.once().records, 0);
}

#[test]
fn finished_files_are_put_away() {
    let world = World::new();
    let mut stream = world.stream();
    stream.finished = Finished::Move(world.path("done"));
    let path = world.put("a.csv", "id\n1\n");
    assert_eq!(world.once_with(&stream).unwrap().records, 1);
    assert!(!path.exists());
    assert_eq!(fs::read(world.path("done/a.csv")).unwrap(), b"id\n1\n");
    world.put("a.csv", "id\n2\n");
    assert_eq!(world.once_with(&stream).unwrap().records, 1);
    assert_eq!(fs::read(world.path("done/a.csv.1")).unwrap(), b"id\n2\n");
    stream.finished = Finished::Delete;
    let path = world.put("b.csv", "id\n3\n");
    assert_eq!(world.once_with(&stream).unwrap().records, 1);
    assert!(!path.exists());
    assert_eq!(world.receipts().len(), 3);
}

/// A file was emptied while its writer kept its position: zeros are before what the writer wrote next, with a header or
/// without one.
#[test]
fn zeros_before_records_are_passed_over() {
    let world = World::new();
    let path = world.put("a.csv", "id\n1\n2\n");
    assert_eq!(world.once().records, 2);
    world.put("b.csv", format!("{}id\n3\n", "\0".repeat(100)));
    assert_eq!(world.once().records, 1);
    fs::rename(&path, world.inbox("a.csv.1")).unwrap();
    world.put("a.csv", format!("{}4\n5\n", "\0".repeat(3 << 20)));
    let summary = world.once();
    assert_eq!((summary.records, summary.left.len()), (2, 0));
    let logged: Vec<_> = world.logged().into_values().flatten().collect();
    let mut logged = ids(&logged);
    logged.sort_unstable();
    assert_eq!(logged, [1, 2, 3, 4, 5]);
}

/// Where finished files are moved to, the patterns match them as well: they stay there under their names.
#[test]
fn a_file_is_moved_once() {
    let world = World::new();
    let mut stream = world.stream();
    stream.finished = Finished::Move(world.inbox(""));
    let path = world.put("a.csv", "id\n1\n");
    for _ in 0..2 {
        assert_eq!(world.once_with(&stream).unwrap().blocked.len(), 0);
        assert!(path.exists());
    }
}

/// A file is being written while a run that ends by itself reads it: the record that is not whole is left,
/// and named; the next run takes it.
#[test]
fn a_record_being_written_is_left() {
    let world = World::new();
    let path = world.inbox("a.csv");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"id\n1\nx").unwrap();
    let stop = AtomicBool::new(false);
    let summary = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                file.write_all(b"3").unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let summary = world.once();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        summary
    });
    assert_eq!(summary.records, 1);
    assert_eq!(summary.left[0].0, path);
    assert!(
        summary.left[0].1.contains("byte 5 (line 3)"),
        "{}",
        summary.left[0].1
    );
    // Its writer has it open still, and might go on.
    let open = world.once();
    assert_eq!((open.records, open.left.len()), (0, 1));
    assert!(
        open.left[0].1.contains("open for writing"),
        "{}",
        open.left[0].1
    );
    drop(file);
    // Less than a second old: the run waits until it has stood still.
    assert_eq!(world.once().records, 1);
    let records = world.logged_of_one();
    assert_eq!(
        records.last().unwrap().end,
        fs::metadata(&path).unwrap().len()
    );
    assert_eq!(records.len(), 2);
}

/// A writer does not repeat the header after a rotation: the new file is read under the one of the file that had its
/// name, also when ingest was not running meanwhile, and also after another rotation. A file that fits no header waits.
#[test]
fn a_file_without_a_header_continues_after_a_rotation() {
    let world = World::new();
    let path = world.put("a.csv", "name,id\nx,1\n");
    assert_eq!(world.once().records, 1);
    fs::rename(&path, world.inbox("a.csv.1")).unwrap();
    world.put("a.csv", "y,2\n");
    assert_eq!(world.once().records, 1);
    fs::rename(&path, world.inbox("a.csv.2")).unwrap();
    world.put("a.csv", "z,3\nz,4\n");
    assert_eq!(world.once().records, 2);
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"z,5\n").unwrap();
    drop(file);
    assert_eq!(world.once().records, 1);
    fs::rename(&path, world.inbox("a.csv.3")).unwrap();
    world.put("a.csv", "not,a,row\n");
    assert_eq!(world.once().blocked.len(), 1);
    let logged: Vec<_> = world.logged().into_values().flatten().collect();
    let mut logged = ids(&logged);
    logged.sort_unstable();
    assert_eq!(logged, [1, 2, 3, 4, 5]);
}

/// The log that is compared with has no topic of the stream.
#[test]
fn files_of_a_topic_that_the_log_lacks_are_not_compared() {
    let world = World::new();
    world.put("a.csv", format!("id,name,price\n{}", rows(0, 10)));
    world.once();
    let log = world::open_log(&world.path("other"));
    let contents = bekk_ingest::contents(&world.path("state"), &log, &world.stream()).unwrap();
    let comparison = &contents.files[0].comparison;
    assert_matches!(comparison, Comparison::NotCompared(_), "{contents:?}");
    log.close().unwrap();
}
