//! The log forgets what ingest's checkpoint is made of.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use bekk_ingest::Mode;
use bekk_log::{Client, Offset};
use bekk_stream::Retention;
use bekk_testing::{MINUTE, wait_until};

use crate::world::{TOPIC, World, await_count, rows};

/// Ends a run, also when the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A file grows over several runs and is never finished, another one is. Retention drops what the sink has
/// applied; then the checkpoint is lost, with it or without it the whole state directory: the records are still
/// known to have been taken.
#[test]
fn trimmed_logs_and_lost_checkpoints_double_nothing() {
    for lost in ["state/checkpoint", "state"] {
        let world = World::new();
        let mut stream = world.stream();
        stream.retention = Retention {
            age: None,
            size: Some(1),
        };
        let open = || {
            let mut config = bekk_log::Config::new(world.path("log"));
            config.retention_delay = std::time::Duration::ZERO;
            config.reserve_bytes = 0;
            config.segment_bytes = 10_000;
            Client::open(config).unwrap()
        };
        let follow = |log: &Client, records| {
            let config = world.config(Mode::Follow);
            let (stop, stats) = (AtomicBool::new(false), bekk_ingest::Stats::default());
            std::thread::scope(|scope| {
                let streams = [stream.clone()];
                let (config, stop, stats) = (&config, &stop, &stats);
                let run = scope.spawn(move || bekk_ingest::run(config, &streams, log, stats, stop));
                let ending = Ending(stop);
                await_count(log, records);
                drop(ending);
                run.join().unwrap().unwrap()
            })
        };
        let append = |from, to| {
            let path = world.inbox("grows.csv");
            let mut file = File::options().append(true).open(path).unwrap();
            file.write_all(rows(from, to).as_bytes()).unwrap();
        };
        world.put(
            "done.csv",
            format!("id,name,price\n{}", rows(10_000, 10_500)),
        );
        fs::write(world.inbox("grows.csv"), "id,name,price\n").unwrap();
        let log = open();
        for run in 0..4 {
            append(run * 500, run * 500 + 500);
            follow(&log, 500 + (run + 1) * 500);
        }
        // A sink has applied all, and retention keeps as little as it may.
        for ends in log.partition_ends(TOPIC).unwrap() {
            log.commit_offset("sink", TOPIC, ends.partition, ends.end)
                .unwrap();
        }
        wait_until("sealing", MINUTE, || {
            let segments = log.segments(TOPIC).unwrap();
            segments
                .iter()
                .filter(|one| one.sealed_at_ms.is_none())
                .count()
                == 1
        });
        assert!(log.apply_retention().unwrap() > 0);
        let starts = log.partition_ends(TOPIC).unwrap();
        assert!(starts.iter().any(|ends| ends.start > Offset::ZERO));
        let left = crate::world::count(&log);
        assert!(left < 2000, "{left}");

        let lost = world.path(lost);
        match lost.is_dir() {
            true => fs::remove_dir_all(&lost).unwrap(),
            false => fs::remove_file(&lost).unwrap(),
        }
        append(2000, 2010);
        let summary = follow(&log, left + 10);
        assert_eq!((summary.files, summary.records), (2, 10));
        assert_eq!(summary.already, 2500);
        log.close().unwrap();
        // Also once more, and for good.
        let path = world.inbox("grows.csv");
        crate::world::rest(&path);
        assert_eq!(world.once_with(&stream).unwrap().records, 0);
        let receipts = world.receipts();
        let receipt = receipts.iter().max_by_key(|receipt| receipt.records);
        let receipt = receipt.unwrap();
        assert_eq!((receipt.records, receipt.rejects), (2010, 0));
        let content = fs::read(&path).unwrap();
        assert_eq!(receipt.hash, xxhash_rust::xxh3::xxh3_128(&content));
    }
}
