//! A directory with files that `bekk ingest` follows, without a database, and what becomes of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bekk_log::{Client, Config};
use bekk_stream::{Body, Payload, Value};

use crate::exact::check_audit_of;
use crate::health::{get, sample};
use crate::support::{Arguments, Process, Ran, Sandbox};

pub(crate) const HEADER: &str = "id,name\n";
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Inbox {
    sandbox: Sandbox,
    /// The greatest counts of records that were told of files, by id.
    counts: RefCell<HashMap<String, u64>>,
}

/// A file as `bekk ingest files --json` tells of it.
pub(crate) type Told = serde_json::Value;

impl Inbox {
    /// A stream `things` of `in/*.csv`, whose files are finished after two seconds.
    pub(crate) fn new() -> Self {
        Self::with("in/*.csv", "")
    }

    /// With other patterns and more in `[ingest]`.
    pub(crate) fn with(pattern: &str, ingest: &str) -> Self {
        let inbox = Self {
            sandbox: Sandbox::bare(),
            counts: RefCell::default(),
        };
        fs::create_dir(inbox.path("in")).unwrap();
        inbox.configure(&format!(
            "[ingest]\nclose_after = \"2s\"\n{ingest}\n[streams.things]\nfiles = [\"{pattern}\"]\nkey = [\"id\"]\n\
             partitions = 2\ncolumns = [{{ name = \"id\", type = \"int8\" }}, {{ name = \"name\", type = \"text\", \
             nullable = true }}]\n"
        ));
        inbox
    }

    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("bekk.toml"), text).unwrap();
    }

    pub(crate) fn configuration(&self) -> String {
        fs::read_to_string(self.path("bekk.toml")).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// A file of the inbox.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path("in").join(name)
    }

    pub(crate) fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = File::options().append(true).open(self.at(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    /// Makes a file look as if it had not been written to for a while.
    pub(crate) fn rest(&self, path: &Path) {
        let then = std::time::SystemTime::now() - Duration::from_secs(10);
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(then).unwrap();
    }

    pub(crate) fn give_to(&self, user: u32) {
        self.sandbox.give_to(user);
    }

    pub(crate) fn bekk(&self, arguments: &(impl Arguments + ?Sized)) -> Command {
        self.sandbox.bekk(arguments)
    }

    pub(crate) fn run(&self, arguments: &(impl Arguments + ?Sized)) -> Ran {
        self.sandbox.run(arguments)
    }

    /// Applies the log to a database, and audits file, log and table in depth.
    pub(crate) fn check_audit(&self) {
        let database = Sandbox::new();
        let run = |arguments: &[&str]| {
            let mut command = self.bekk(arguments);
            Ran::new(command.env("DATABASE_URL", &database.url).output().unwrap())
        };
        run(&["sink", "--once"]).ok();
        check_audit_of(run(&["audit", "--deep", "--json"]));
    }

    /// Starts `bekk ingest`.
    pub(crate) fn start(&self) -> Process {
        self.sandbox.start("ingest")
    }

    pub(crate) fn said(&self) -> String {
        self.sandbox.said()
    }

    /// A sample of the metrics of the one ingest that was started.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let said = self.said();
        let line = said.lines().find_map(|line| line.split_once("http://"))?.1;
        sample(&get(line.split_whitespace().next()?, "/metrics").1, name)
    }

    /// The current explanation of the files.
    pub(crate) fn told(&self) -> Vec<Told> {
        let ran = self.run("ingest files --json").ok();
        let mut report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let files = report["files"].as_array_mut().unwrap();
        for file in files.iter() {
            if let Some(id) = file["id"].as_str() {
                let mut counts = self.counts.borrow_mut();
                let count = counts.entry(id.to_owned()).or_default();
                *count = (*count).max(file["records"].as_u64().unwrap());
            }
        }
        std::mem::take(files)
    }

    /// Waits until so many records of all files have been told of, and not more.
    #[track_caller]
    pub(crate) fn await_records(&self, expected: u64) {
        let count = || {
            self.told();
            self.counts.borrow().values().sum::<u64>()
        };
        self.wait_until(&format!("{expected} records are in the log"), || {
            count() >= expected
        });
        assert_eq!(count(), expected, "{}", self.said());
    }

    /// Waits until the explanation of the files is as expected.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + LIMIT;
        while !condition() {
            let told = self.run("ingest files --explain").stdout;
            assert!(
                Instant::now() < until,
                "in vain for {what}\n{told}\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was decided about the file that has a name now: words, the latest last.
    pub(crate) fn decisions(&self, name: &str) -> Vec<String> {
        let path = self.at(name).to_string_lossy().into_owned();
        let told = self.told();
        let file = told.iter().find(|file| file["path"] == path.as_str());
        let decisions = file.map(|file| file["decisions"].as_array().unwrap().clone());
        decisions
            .unwrap_or_default()
            .iter()
            .map(|decision| decision["what"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The first column of all rows in the log, in order; there are no rejects, and no byte of a file is in
    /// two records.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let (ids, rejects) = self.content();
        assert_eq!(rejects, 0, "{}", self.said());
        ids
    }

    /// The same, and how many rejects there are.
    pub(crate) fn content(&self) -> (Vec<i64>, u64) {
        let client = Client::open(Config::new(self.path(".bekk/log"))).unwrap();
        let (mut ids, mut rejects) = (Vec::new(), 0);
        let mut seen = std::collections::HashSet::new();
        for ends in client.partition_ends("things").unwrap() {
            let mut next = ends.start;
            while next < ends.end {
                let records = client
                    .read("things", ends.partition, next, 1 << 20)
                    .unwrap();
                for record in records.iter() {
                    let payload = Payload::decode(record.value).unwrap();
                    let origin = payload.origin;
                    assert!(seen.insert((origin.file, origin.start)), "{origin:?} twice");
                    match payload.body {
                        Body::Row(mut row) => match row.next().unwrap().unwrap() {
                            Value::Int(id) => ids.push(id),
                            other => panic!("{other:?} as an id"),
                        },
                        Body::Reject(_) => rejects += 1,
                    }
                }
                next = records.next_offset();
            }
        }
        client.close().unwrap();
        ids.sort_unstable();
        (ids, rejects)
    }
}

/// Lines with these ids.
pub(crate) fn lines(ids: impl IntoIterator<Item = i64>) -> String {
    ids.into_iter()
        .map(|id| format!("{id},name {id}\n"))
        .collect()
}

/// Lines with these ids behind a header.
pub(crate) fn csv(ids: impl IntoIterator<Item = i64>) -> String {
    format!("{HEADER}{}", lines(ids))
}
