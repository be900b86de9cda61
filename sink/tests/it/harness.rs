//! What the tests share: one server for all that do not break it, a database and a log for each.

mod log;

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bekk_log::Client;
use bekk_postgres::Server;
use bekk_sink::{
    Config, ConnectOptions, Control, DeepAudit, Error, Letter, LetterFilter, Reset, Retried, Stats,
    Summary, audit_content, audit_counts,
};
use bekk_stream::{Column, ColumnType, OnConflict, Stream, Value};
use bekk_testing::seed;
pub(crate) use bekk_testing::{assert_says, stream, stream_of};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, SimpleQueryMessage};

pub(crate) use self::log::Log;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The server of all tests that neither stop nor change it.
pub(crate) fn shared_server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::temporary_with(&[("fsync", "off"), ("max_connections", "200")]).unwrap()
    })
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl FnMut() -> bool) {
    bekk_testing::wait_until(what, PATIENCE, holds);
}

/// Stops the sink also if the test fails, for the scope waits for it.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a Control);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A database of its own.
pub(crate) struct Db {
    pub(crate) runtime: Runtime,
    pub(crate) options: ConnectOptions,
    client: Option<tokio_postgres::Client>,
}

impl Db {
    pub(crate) fn new() -> Self {
        Self::on(shared_server())
    }

    pub(crate) fn on(server: &Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("db_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options: ConnectOptions = server.url().parse().unwrap();
        let mut admin = Self::connect(options.clone());
        admin.execute(&format!("CREATE DATABASE {name}"));
        options.dbname = Some(name);
        Self::connect(options)
    }

    pub(crate) fn connect(options: ConnectOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut db = Self {
            runtime,
            options,
            client: None,
        };
        db.reconnect();
        db
    }

    pub(crate) fn reconnect(&mut self) {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.options.host)
            .port(self.options.port)
            .user(self.options.user.as_ref().unwrap())
            .password(self.options.password.as_ref().unwrap())
            .dbname(self.options.dbname.as_ref().unwrap());
        self.client = Some(self.runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(async move {
                let _ = connection.await;
            });
            client
        }));
    }

    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        self.client.as_ref().unwrap()
    }

    /// Runs statements.
    pub(crate) fn execute(&mut self, sql: &str) {
        self.runtime
            .block_on(self.client().batch_execute(sql))
            .unwrap();
    }

    /// Rows as text, columns with `|` between them, null as `-`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self
            .runtime
            .block_on(self.client().simple_query(sql))
            .unwrap();
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let fields: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("-")).collect();
                Some(fields.join("|"))
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// The only field of the only row.
    pub(crate) fn one(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}");
        rows[0].clone()
    }

    /// Waits until the only field of the only row is this.
    #[track_caller]
    pub(crate) fn await_one(&self, sql: &str, expected: &str) {
        until(&format!("{sql} is {expected}"), || {
            self.one(sql) == expected
        });
    }
}

/// Random numbers whose seed is printed, and can be set.
pub(crate) fn rng() -> StdRng {
    StdRng::seed_from_u64(seed())
}

/// A database and a log of their own, which has the stream's topic.
pub(crate) fn opened(stream: Stream) -> (Db, Log, Stream) {
    let log = Log::new();
    log.open_stream(&stream);
    (Db::new(), log, stream)
}

/// A stream without a key, whose rows are appended.
pub(crate) fn keyless(stream: Stream) -> Stream {
    Stream {
        on_conflict: OnConflict::Append,
        key: Vec::new(),
        ..stream
    }
}

/// Rows of [`two_columns`] and of streams like it.
pub(crate) fn rows(ids: Range<i64>, name: &'static str) -> Vec<Vec<Value<'static>>> {
    ids.map(|id| vec![Value::Int(id), text(name)]).collect()
}

/// Items with an id and a name.
pub(crate) fn two_columns() -> Stream {
    stream_of("items", "id int8, name text")
}

pub(crate) fn column(name: &str, column_type: ColumnType) -> Column {
    Column::new(name, column_type)
}

pub(crate) fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

/// Compares the content of a group's table with the log.
pub(crate) fn deep_audit(db: &Db, log: &Client, group: &str, stream: &Stream) -> DeepAudit {
    let dir = TempDir::new().unwrap();
    let audit = audit_content(&db.options, log, group, stream, dir.path()).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing stays"
    );
    audit
}

/// The numbers of rows that are missing, changed and extra.
pub(crate) fn differences(audit: &DeepAudit) -> (u64, u64, u64) {
    (audit.missing, audit.changed, audit.extra)
}

/// Asserts that a group has applied the whole log and that its table, which only it has filled, its offsets, its
/// counts and its dead letters are what the log says. Every test in which something is killed, cut or refused ends so.
#[track_caller]
pub(crate) fn assert_exact(db: &Db, log: &Client, group: &str, stream: &Stream) -> DeepAudit {
    let deep = deep_audit(db, log, group, stream);
    assert!(
        deep.is_right() && deep.unexplained == 0,
        "{group}: {deep:?}"
    );
    let counts = audit_counts(&db.options, log, group, stream).unwrap();
    let is_done = counts
        .iter()
        .all(|counts| counts.is_right() && counts.waiting() == 0);
    assert!(is_done, "{group}: {counts:?}");
    let offsets: Vec<_> = counts
        .iter()
        .filter_map(|counts| counts.offset.as_ref())
        .collect();
    let counted = (
        offsets.iter().map(|offset| offset.next).sum::<u64>(),
        offsets.iter().map(|offset| offset.rows).sum::<u64>(),
        offsets.iter().map(|offset| offset.dead).sum::<u64>(),
    );
    assert_eq!(counted, (deep.records, deep.rows, deep.dead), "{group}");
    deep
}

/// Asserts that the content of a group's table is what the log says, where counts tell of more than one pass, because a
/// person has set offsets or letters, or where several records have one place in a file.
#[track_caller]
pub(crate) fn assert_content(db: &Db, log: &Client, group: &str, stream: &Stream) {
    let deep = deep_audit(db, log, group, stream);
    let found = [deep.missing, deep.changed, deep.extra, deep.without_letter];
    assert_eq!(found, [0; 4], "{group}: {deep:?}");
    assert!(deep.log_differs.is_empty(), "{group}: {deep:?}");
}

/// Retries all open letters, whose records are rows in the log or JSON; what became of each.
pub(crate) fn retry(db: &Db, log: &Log, stream: &Stream) -> Vec<Retried> {
    retry_and(db, log, stream, &mut |_| {})
}

/// Returns the error of a retry of all open letters, which is refused.
pub(crate) fn refused_retry(db: &Db, log: &Log, stream: &Stream) -> Error {
    try_retry(db, log, stream, &mut |_, retried| panic!("{retried:?}")).unwrap_err()
}

/// Retries all open letters, and does something after each, by its place.
pub(crate) fn retry_and(
    db: &Db,
    log: &Log,
    stream: &Stream,
    after_each: &mut dyn FnMut(i64),
) -> Vec<Retried> {
    let mut all = Vec::new();
    try_retry(db, log, stream, &mut |_, retried| {
        after_each(all.len().try_into().unwrap());
        all.push(retried.clone());
    })
    .unwrap();
    all
}

fn try_retry(
    db: &Db,
    log: &Log,
    stream: &Stream,
    each: &mut dyn FnMut(&Letter, &Retried),
) -> Result<(), Error> {
    let filter = LetterFilter::default();
    let letters = bekk_sink::read_letters(&db.options, &filter, 0, 10_000).unwrap();
    bekk_sink::retry_letters(
        &db.options,
        &log.client,
        stream,
        &letters,
        &mut |text| panic!("{text:?} is read as a line of a file"),
        each,
    )
}

/// Sets the next offset of group `bekk` in a partition.
pub(crate) fn try_reset(
    db: &Db,
    log: &Log,
    topic: &str,
    (partition, next): (u32, u64),
) -> Result<(), Error> {
    let to = Reset {
        topic: topic.to_owned(),
        partition,
        next,
        mark: None,
    };
    let log_id = log.client.log_id().to_string();
    bekk_sink::reset_offsets(&db.options, "bekk", &log_id, None, &[to])
}

pub(crate) fn reset(db: &Db, log: &Log, topic: &str, at: (u32, u64)) {
    try_reset(db, log, topic, at).unwrap();
}

/// Runs a sink of one stream until it is stopped.
pub(crate) fn run(
    config: &Config,
    log: &Log,
    stream: &Stream,
    stats: &Stats,
    control: &Control,
) -> Result<Summary, Error> {
    let streams = std::slice::from_ref(stream);
    bekk_sink::run(config, streams, &log.client, stats, control)
}

/// Runs a sink while `act` does, and ends it; returns what both returned.
pub(crate) fn run_while<T>(
    config: &Config,
    log: &Log,
    stream: &Stream,
    end: fn(&Control),
    act: impl FnOnce(&Stats) -> T,
) -> (T, Summary) {
    let (done, ended) = run_all_while(config, log, std::slice::from_ref(stream), end, act);
    (done, ended.unwrap())
}

/// The same with several streams, and where the sink may fail.
pub(crate) fn run_all_while<T>(
    config: &Config,
    log: &Log,
    streams: &[Stream],
    end: fn(&Control),
    act: impl FnOnce(&Stats) -> T,
) -> (T, Result<Summary, Error>) {
    let (stats, control) = (Stats::default(), Control::new());
    std::thread::scope(|scope| {
        let sink = scope.spawn(|| bekk_sink::run(config, streams, &log.client, &stats, &control));
        let stop = StopOnDrop(&control);
        let done = act(&stats);
        end(&control);
        let ended = sink.join().unwrap();
        drop(stop);
        (done, ended)
    })
}

/// The number of partitions that a sink holds.
pub(crate) fn held(stats: &Stats) -> usize {
    stats.positions().iter().filter(|at| at.held).count()
}

/// Applies all that is in the log now.
pub(crate) fn drain(db: &Db, log: &Log, stream: &Stream) -> Result<Summary, Error> {
    drain_with(&Config::new(db.options.clone()), log, stream)
}

pub(crate) fn drain_with(config: &Config, log: &Log, stream: &Stream) -> Result<Summary, Error> {
    drain_all(config, log, std::slice::from_ref(stream))
}

pub(crate) fn drain_all(config: &Config, log: &Log, streams: &[Stream]) -> Result<Summary, Error> {
    let control = Control::new();
    control.drain();
    bekk_sink::run(config, streams, &log.client, &Stats::default(), &control)
}
