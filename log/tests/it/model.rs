//! Random calls against a model that keeps everything in vectors, with rolled and sealed segments, retention
//! and reopening in between. `BEKK_SEED` repeats a run.

use std::path::Path;
use std::time::Duration;

use bekk_log::{Client, Error, Offset, RecordBuffer, verify};
use bekk_testing::{assert_matches, seed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};

use crate::support::{await_sealing, by_age, noise, open_small, topic_with};

const PARTITIONS: u32 = 3;

/// What is done to the log. Places are thousandths of what a partition holds.
#[derive(Debug, Clone)]
enum Act {
    /// Records of these sizes to each of some partitions.
    Append(Vec<(u32, Vec<u16>)>),
    /// A read of a partition from a place in it, of so many bytes.
    Read(u32, u64, u16),
    Commit(u32, u64),
    Hold(u32, u64),
    Retain,
    FindTime(u32, u64),
    Reopen,
    Seal,
}

fn act() -> impl Strategy<Value = Act> {
    let partition = || 0..PARTITIONS;
    let place = || 0..=1000u64;
    let sizes = vec(prop_oneof![0..40u16, 0..3000u16], 0..12);
    prop_oneof![
        8 => vec((partition(), sizes), 1..4).prop_map(Act::Append),
        6 => (partition(), place(), any::<u16>()).prop_map(|(p, at, max)| Act::Read(p, at, max)),
        1 => (partition(), place()).prop_map(|(p, at)| Act::Commit(p, at)),
        1 => (partition(), place()).prop_map(|(p, at)| Act::Hold(p, at)),
        1 => Just(Act::Retain),
        2 => (partition(), place()).prop_map(|(p, at)| Act::FindTime(p, at)),
        1 => Just(Act::Reopen),
        1 => Just(Act::Seal),
    ]
}

#[derive(Default, Clone)]
struct Partition {
    start: u64,
    /// Timestamp and value of every record there ever was.
    records: Vec<(i64, Vec<u8>)>,
    committed: Option<u64>,
    held: Option<u64>,
}

impl Partition {
    fn place(&self, at: u64) -> u64 {
        let len = self.records.len() as u64 - self.start;
        self.start + len * at / 1000
    }
}

struct World<'a> {
    dir: &'a Path,
    client: Option<Client>,
    partitions: Vec<Partition>,
    written: u64,
}

impl World<'_> {
    fn open(&mut self) {
        let client = open_small(self.dir, 12_000);
        topic_with(&client, "t", PARTITIONS, by_age(Duration::ZERO));
        self.client = Some(client);
        self.check_ends();
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    fn check_ends(&self) {
        let ends = self.client().partition_ends("t").unwrap();
        for (ends, model) in ends.iter().zip(&self.partitions) {
            assert_eq!(ends.start.get(), model.start);
            assert_eq!(ends.end.get(), model.records.len() as u64);
        }
        assert_eq!(self.client().gaps("t").unwrap(), []);
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Append(parts) => self.append(parts),
            Act::Read(partition, at, max) => self.read(*partition, *at, usize::from(*max)),
            Act::Commit(partition, at) => {
                let model = &mut self.partitions[*partition as usize];
                let next = model.place(*at);
                model.committed = Some(next);
                let client = self.client();
                client
                    .commit_offset("g", "t", *partition, Offset::new(next))
                    .unwrap();
            }
            Act::Hold(partition, at) => {
                let model = &mut self.partitions[*partition as usize];
                let next = model.place(*at);
                model.held = Some(next);
                self.client()
                    .hold("h", "t", &[(*partition, Offset::new(next))])
                    .unwrap();
            }
            Act::Retain => self.retain(),
            Act::FindTime(partition, at) => self.find_time(*partition, *at),
            Act::Reopen => {
                self.client.take().unwrap().close().unwrap();
                self.open();
            }
            Act::Seal => await_sealing(self.client(), "t"),
        }
    }

    fn append(&mut self, parts: &[(u32, Vec<u16>)]) {
        let mut buffers = Vec::new();
        let mut expected = Vec::new();
        for (partition, sizes) in parts {
            let model = &mut self.partitions[*partition as usize];
            expected.push(Offset::new(model.records.len() as u64));
            let mut buffer = RecordBuffer::new();
            for size in sizes {
                self.written += 1;
                let value = noise(self.written, usize::from(*size));
                // Times go up and down, by several segments' worth of records.
                let time = (self.written * 7919 % 1000 + self.written).cast_signed();
                buffer.push(time, Some(b"key"), &value);
                model.records.push((time, value));
            }
            buffers.push((*partition, buffer));
        }
        let batches: Vec<_> = buffers.iter().map(|(p, buffer)| (*p, buffer)).collect();
        assert_eq!(self.client().append(None, "t", &batches).unwrap(), expected);
        self.check_ends();
    }

    fn read(&self, partition: u32, at: u64, max: usize) {
        let model = &self.partitions[partition as usize];
        let from = model.place(at);
        let records = self
            .client()
            .read("t", partition, Offset::new(from), max)
            .unwrap();
        let mut next = from;
        for record in records.iter() {
            assert_eq!(record.offset.get(), next);
            let (time, value) = &model.records[usize::try_from(next).unwrap()];
            assert_eq!((record.timestamp_ms, record.value), (*time, &value[..]));
            next += 1;
        }
        assert_eq!(records.next_offset().get(), next);
        assert_eq!(
            next == from,
            from == model.records.len() as u64,
            "at least one, if there is one"
        );
        if model.start > 0 {
            let before = Offset::new(model.start - 1);
            let error = self.client().read("t", partition, before, max).unwrap_err();
            assert_matches!(error, Error::OffsetOutOfRange { .. });
        }
    }

    fn find_time(&self, partition: u32, at: u64) {
        let model = &self.partitions[partition as usize];
        let time = (self.written * at / 800).cast_signed();
        let found = self.client().offset_for_time("t", partition, time).unwrap();
        let left = (0..)
            .zip(&model.records)
            .skip(usize::try_from(model.start).unwrap());
        let expected = left.clone().find(|(_, (t, _))| *t >= time).map(|(i, _)| i);
        assert_eq!(found.map(Offset::get), expected);
    }

    fn retain(&mut self) {
        // Not their count: the log may begin a segment meanwhile, as the last one is full.
        let first = || self.client().segments("t").unwrap()[0].number;
        let before = first();
        let gone = self.client().apply_retention().unwrap();
        assert_eq!(gone > 0, first() > before);
        let has_group = self
            .partitions
            .iter()
            .any(|model| model.committed.is_some());
        let ends = self.client().partition_ends("t").unwrap();
        for (ends, model) in ends.iter().zip(&mut self.partitions) {
            let start = ends.start.get();
            assert!(start >= model.start && start <= model.records.len() as u64);
            if start > model.start {
                assert!(
                    has_group && Some(start) <= model.committed,
                    "{start} {:?}",
                    model.committed
                );
                assert!(model.held.is_none_or(|held| start <= held));
            }
            model.start = start;
        }
        self.check_ends();
    }
}

#[test]
fn the_log_does_what_its_model_does() {
    let seed = seed();
    let config = RunnerConfig {
        cases: 5,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..RunnerConfig::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &noise(seed, 32));
    let mut runner = TestRunner::new_with_rng(config, rng);
    let done = runner.run(&vec(act(), 1..80), |acts| {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World {
            dir: dir.path(),
            client: None,
            partitions: vec![Partition::default(); PARTITIONS as usize],
            written: 0,
        };
        world.open();
        for act in &acts {
            world.apply(act);
        }
        for partition in 0..PARTITIONS {
            world.read(partition, 0, usize::MAX);
        }
        world.client.take().unwrap().close().unwrap();
        let report = verify(dir.path(), &mut |_| ()).unwrap();
        assert_eq!(report.problems, []);
        Ok(())
    });
    done.unwrap();
}
