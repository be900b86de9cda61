//! What is generated, read back from the files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bekk_generator::{
    Append, Error, Events, HEADER, Live, Plan, append_lines, generate_files, generate_live,
};
use jiff::Timestamp;

static GO_ON: AtomicBool = AtomicBool::new(false);

fn plan(out: &Path, seed: u64, rows: u64, files: u32) -> Plan {
    Plan {
        events: Events::new(seed),
        out: out.to_owned(),
        rows,
        files,
    }
}

/// The files of a directory, sorted by name, hidden ones too.
fn list(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    assert_eq!(reader.headers().unwrap(), &HEADER.to_vec());
    reader.records().map(Result::unwrap).collect()
}

fn read_all(directory: &Path) -> Vec<csv::StringRecord> {
    list(directory).iter().flat_map(|path| read(path)).collect()
}

/// The events of a plan of one file.
fn generated(rows: u64, change: impl FnOnce(&mut Plan)) -> Vec<csv::StringRecord> {
    let directory = tempfile::tempdir().unwrap();
    let mut plan = plan(directory.path(), 7, rows, 1);
    change(&mut plan);
    generate_files(&plan, &GO_ON, |_, _| ()).unwrap();
    read_all(directory.path())
}

fn time(record: &csv::StringRecord) -> Timestamp {
    record[8].parse().unwrap()
}

fn assert_in_order(events: &[csv::StringRecord]) {
    assert!(events.is_sorted_by(|before, after| time(before) < time(after)));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let directories = [1, 2, 3].map(|_| tempfile::tempdir().unwrap());
    for (directory, seed) in directories.iter().zip([7, 7, 8]) {
        generate_files(&plan(directory.path(), seed, 3_000, 3), &GO_ON, |_, _| ()).unwrap();
    }
    let bytes = |index: usize| -> Vec<Vec<u8>> {
        list(directories[index].path())
            .iter()
            .map(|path| fs::read(path).unwrap())
            .collect()
    };
    assert_eq!(bytes(0), bytes(1));
    assert_ne!(bytes(0), bytes(2));
}

#[test]
fn rows_are_spread_evenly_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut heard = Vec::new();
    let plan = plan(directory.path(), 7, 10_003, 4);
    let hear = |path: &Path, written| heard.push((path.to_owned(), written));
    let total = generate_files(&plan, &GO_ON, hear).unwrap();
    let (paths, parts): (Vec<_>, Vec<_>) = heard.into_iter().unzip();
    assert_eq!(paths, list(directory.path()));
    let rows: Vec<_> = parts.iter().map(|written| written.rows).collect();
    assert_eq!(rows, [2_501, 2_501, 2_501, 2_500]);
    assert_eq!((total.files, total.rows), (4, 10_003));
    let sizes = paths.iter().map(|path| path.metadata().unwrap().len());
    assert_eq!(total.bytes, sizes.sum::<u64>());
    assert_eq!(read_all(directory.path()).len(), 10_003);
}

#[test]
fn shoppers_behave() {
    let directory = tempfile::tempdir().unwrap();
    generate_files(&plan(directory.path(), 7, 50_000, 2), &GO_ON, |_, _| ()).unwrap();
    let events = read_all(directory.path());

    let ids: HashSet<&str> = events.iter().map(|event| &event[0]).collect();
    assert_eq!(ids.len(), events.len(), "ids are unique");
    assert_in_order(&events);

    let mut sessions: HashMap<&str, Vec<&csv::StringRecord>> = HashMap::new();
    for event in &events {
        if !event[7].is_empty() {
            sessions.entry(&event[7]).or_default().push(event);
        }
    }
    let (mut carts, mut purchases) = (0, 0);
    for events in sessions.values() {
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event[2], events[0][2], "one user");
            let before = |kind: &str| {
                events[..index]
                    .iter()
                    .find(|earlier| &earlier[1] == kind && earlier[3] == event[3])
            };
            let needed: &[&str] = match &event[1] {
                "view" => &[],
                "add_to_cart" => &["view"],
                "purchase" => &["view", "add_to_cart"],
                other => panic!("{other}"),
            };
            for kind in needed {
                let earlier = before(kind).unwrap_or_else(|| panic!("no {kind} before {event:?}"));
                assert_eq!(earlier[4], event[4], "category");
                assert_eq!(earlier[5], event[5], "price");
            }
            if &event[1] == "purchase" {
                assert_eq!(before("add_to_cart").unwrap()[6], event[6], "quantity");
                purchases += 1;
            }
            carts += usize::from(&event[1] == "add_to_cart");
        }
    }
    assert!(
        purchases > 1_000 && purchases * 2 < carts,
        "{purchases} of {carts}: carts are abandoned"
    );
}

#[test]
fn fields_are_of_their_types_and_need_quotes_now_and_then() {
    let events = generated(20_000, |_| ());
    let mut empty = [0; HEADER.len()];
    for event in &events {
        for (column, field) in event.iter().enumerate() {
            empty[column] += usize::from(field.is_empty());
        }
        event[0].parse::<uuid::Uuid>().unwrap();
        assert!(event[2].is_empty() || event[2].parse::<i64>().unwrap() > 0);
        assert!(event[3].parse::<i64>().unwrap() > 0);
        let (whole, cents) = event[5].split_once('.').unwrap();
        assert!(
            whole.parse::<u32>().is_ok() && cents.len() == 2,
            "{event:?}"
        );
        assert_eq!(event[6].is_empty(), &event[1] == "view");
        assert!(event[7].is_empty() || event[7].parse::<uuid::Uuid>().is_ok());
    }
    for column in ["user_id", "category", "quantity", "session_id"] {
        let index = HEADER.iter().position(|name| *name == column).unwrap();
        assert!(empty[index] > 20 && empty[index] < events.len(), "{column}");
    }
    for needle in [',', '"', 'å', '日'] {
        let with = events
            .iter()
            .filter(|event| event[4].contains(needle))
            .count();
        assert!(with > 50, "{with} categories with {needle}");
    }

    let mut sold: HashMap<&str, usize> = HashMap::new();
    for event in &events {
        *sold.entry(&event[3]).or_default() += 1;
    }
    let most = sold.values().max().unwrap();
    assert!(
        most * sold.len() > events.len() * 10,
        "few products make most of the events"
    );
}

#[test]
fn only_the_types_named_are_written() {
    let named = ["purchase", "search"];
    let events = generated(5_000, |plan| {
        plan.events.event_types = named.map(str::to_owned).to_vec();
    });
    let kinds: HashSet<&str> = events.iter().map(|event| &event[1]).collect();
    assert_eq!(kinds, HashSet::from(named));
}

#[test]
fn repeats_are_whole_and_as_many_as_asked() {
    let events = generated(20_000, |plan| plan.events.duplicates = 0.05);
    let mut first: HashMap<&str, &csv::StringRecord> = HashMap::new();
    let mut repeated = 0;
    for event in &events {
        if let Some(earlier) = first.insert(&event[0], event) {
            assert_eq!(earlier, event);
            repeated += 1;
        }
    }
    assert!((800..1_200).contains(&repeated), "{repeated}");
}

#[test]
fn what_cannot_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let attempt = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan(directory.path(), 7, 10, 2);
        change(&mut plan);
        generate_files(&plan, &GO_ON, |_, _| ()).unwrap_err()
    };
    let too_many = attempt(&|plan| plan.files = 0);
    assert!(matches!(too_many, Error::TooManyFiles { .. }));
    let too_many = attempt(&|plan| plan.files = 11);
    assert!(matches!(too_many, Error::TooManyFiles { .. }));
    let all_repeat = attempt(&|plan| plan.events.duplicates = 1.0);
    assert!(matches!(all_repeat, Error::BadShare(_)));
    let no_type = attempt(&|plan| plan.events.event_types.clear());
    assert!(matches!(no_type, Error::NoEventTypes));
    assert_eq!(list(directory.path()).len(), 0);
}

/// A million rows are asked for and Ctrl-C comes: the file begun is no file of the inbox.
#[test]
fn a_stop_leaves_whole_files_only() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let total = generate_files(&plan(directory.path(), 7, 1_000_000, 100), &stop, |_, _| {
        stop.store(true, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!((total.files, total.rows), (1, 10_000));
    assert_eq!(list(directory.path()).len(), 1);
    assert_eq!(read_all(directory.path()).len(), 10_000);
}

#[test]
fn live_files_come_at_every_interval_with_times_of_now() {
    let directory = tempfile::tempdir().unwrap();
    let live = Live {
        events: Events::new(7),
        out: directory.path().join("data"),
        rows_min: 5,
        rows_max: 9,
        interval: Duration::from_millis(200),
    };
    let stop = AtomicBool::new(false);
    let (begin, begin_time) = (Instant::now(), Timestamp::now());
    let mut heard = 0;
    let total = generate_live(&live, &stop, |path, written| {
        heard += 1;
        let rows = read(path);
        assert_eq!(rows.len() as u64, written.rows);
        assert!((5..=9).contains(&rows.len()));
        stop.store(heard == 4, Ordering::Relaxed);
    })
    .unwrap();
    let elapsed = begin.elapsed();
    assert!(elapsed >= Duration::from_millis(600), "{elapsed:?}");
    assert_eq!(total.files, 4);
    let paths = list(&live.out);
    assert_eq!(paths.len(), 4);
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("events-20") && name.ends_with("-00000007.csv"),
            "{name}"
        );
    }
    let events = read_all(&live.out);
    assert_eq!(events.len() as u64, total.rows);
    assert_in_order(&events);
    let first = begin_time - jiff::SignedDuration::from_millis(201);
    let is_of_now = |event| time(event) > first && time(event) <= Timestamp::now();
    assert!(events.iter().all(is_of_now));

    let reversed = Live {
        rows_min: 10,
        ..live
    };
    let error = generate_live(&reversed, &stop, |_, _| ()).unwrap_err();
    assert!(matches!(error, Error::BadBounds { min: 10, max: 9 }));
}

/// A reader never finds half a file under a name that it looks for.
#[test]
fn a_live_file_is_complete_when_it_appears() {
    let directory = tempfile::tempdir().unwrap();
    let live = Live {
        events: Events::new(7),
        out: directory.path().to_owned(),
        rows_min: 20_000,
        rows_max: 20_000,
        interval: Duration::from_millis(1),
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| generate_live(&live, &stop, |_, _| ()).unwrap());
        let begin = Instant::now();
        let mut seen = HashSet::new();
        while seen.len() < 3 {
            assert!(begin.elapsed() < Duration::from_secs(60));
            for path in list(directory.path()) {
                let visible = path.extension().is_some_and(|extension| extension == "csv");
                if visible && seen.insert(path.clone()) {
                    assert_eq!(read(&path).len(), 20_000);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn lines_are_added_at_a_rate() {
    let directory = tempfile::tempdir().unwrap();
    let mut append = Append {
        events: Events::new(7),
        file: directory.path().join("live.csv"),
        rate: 100.0,
        rows: Some(21),
    };
    let begin = Instant::now();
    assert_eq!(append_lines(&append, &GO_ON).unwrap().rows, 21);
    let elapsed = begin.elapsed();
    assert!(elapsed >= Duration::from_millis(200), "{elapsed:?}");
    assert_eq!(read(&append.file).len(), 21);

    // A writer that was killed left half a line, which takes nothing else with it.
    let mut bytes = fs::read(&append.file).unwrap();
    bytes.extend_from_slice(b"0-0-0,view");
    fs::write(&append.file, &bytes).unwrap();
    append.events.seed = 8;
    append_lines(&append, &GO_ON).unwrap();
    let text = fs::read_to_string(&append.file).unwrap();
    assert_eq!(text.lines().count(), 1 + 21 + 1 + 21);
    assert_eq!(text.matches("event_id").count(), 1);
    assert_eq!(text.lines().nth(22), Some("0-0-0,view"));

    append.rate = 0.0;
    let stands_still = append_lines(&append, &GO_ON);
    assert!(matches!(stands_still, Err(Error::BadRate(_))));
    append.rate = 1e-300;
    append.rows = None;
    let stop = AtomicBool::new(true);
    assert_eq!(append_lines(&append, &stop).unwrap().rows, 0);
}
