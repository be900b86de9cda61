//! Starting a sink, watching over its threads, and summing up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bekk_log::{Client, Offset, PartitionEnds, TopicConfig};
use bekk_stream::Stream;
use tokio::runtime::{Handle, Runtime};

use crate::backoff::Backoff;
use crate::board::{Board, Slot};
use crate::config::Start;
use crate::context::{Context, Phase};
use crate::keeper::{self, keep};
use crate::migrations::{MigrateError, SETUP_LOCK, migrate};
use crate::offsets::INSERT_OFFSET;
use crate::session::{ConnectError, Session};
use crate::sqlstate::{Verdict, verdict};
use crate::stats::{State, Stats};
use crate::target::{StreamTarget, prepare_table};
use crate::watch::watch;
use crate::worker::{Tally, work};
use crate::{Config, Control, Error, PostgresError};

/// How often the threads and the control are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a sink has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows inserted.
    pub rows: u64,
    /// Records accepted that added no row.
    pub superseded: u64,
    /// Records that became dead letters.
    pub dead: u64,
    /// Records applied: the sum of the other three.
    pub records: u64,
    /// How many dead letters there were of each reason.
    pub dead_by_reason: BTreeMap<String, u64>,
}

/// Applies the streams' records to PostgreSQL until it is told to stop, or has drained what it was told to.
///
/// Waits without end for a server that is away, busy or full; [`Stats::state`] says so. Makes a tokio
/// runtime of its own and blocks: not to be called from an async task.
///
/// # Errors
/// What only a person can help with: a refused login, a table that does not fit, another log or target
/// than the group's, a table that refuses everything, a log that fails.
pub fn run(
    config: &Config,
    streams: &[Stream],
    log: &Client,
    stats: &Stats,
    control: &Control,
) -> Result<Summary, Error> {
    let result = run_until_told(config, streams, log, stats, control);
    stats.set_state(State::Stopped);
    result
}

fn run_until_told(
    config: &Config,
    streams: &[Stream],
    log: &Client,
    stats: &Stats,
    control: &Control,
) -> Result<Summary, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("bekk-sink-io")
        .enable_all()
        .build()
        .map_err(|source| Error::Io {
            act: "start a runtime",
            source,
        })?;
    stats.set_state(State::Connecting);
    let ends = open_topics(streams, log)?;
    let unique = uuid::Uuid::new_v4().simple();
    let owner = format!("{}{unique}", keeper::name_prefix(&config.group));
    let setup = Setup {
        config,
        streams,
        log,
        ends: &ends,
        owner: &owner,
    };
    let Some(targets) = setup.run(&runtime, stats, control)? else {
        return Ok(Summary::default());
    };
    let slots = streams.iter().enumerate().flat_map(|(stream, found)| {
        ends[stream]
            .iter()
            .map(move |ends| Slot::new(stream, &found.name, ends.partition))
    });
    let context = Arc::new(Context::new(
        config.postgres.clone(),
        config.group.clone(),
        owner,
        log.clone(),
        targets,
        Board::new(slots.collect()),
    ));
    stats.set_state(State::Running);
    let summary = run_threads(&context, config, runtime.handle(), stats, control);
    match context.take_failure() {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

/// Makes the streams' topics where they do not exist, and says where their partitions begin and end.
fn open_topics(streams: &[Stream], log: &Client) -> Result<Vec<Vec<PartitionEnds>>, Error> {
    let open = |stream: &Stream| {
        let config = TopicConfig {
            partitions: stream.partitions,
            retention: bekk_log::Retention {
                age: stream.retention.age,
                size: stream.retention.size,
            },
        };
        log.create_topic(&stream.name, config)?;
        log.partition_ends(&stream.name)
    };
    streams
        .iter()
        .map(|stream| {
            open(stream).map_err(|error| Error::log(format!("open topic `{}`", stream.name), error))
        })
        .collect()
}

fn run_threads(
    context: &Arc<Context>,
    config: &Config,
    runtime: &Handle,
    stats: &Stats,
    control: &Control,
) -> Summary {
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            if let Err(error) = keep(context, stats, runtime) {
                context.fail(error);
            }
        });
        for stream in 0..context.targets.len() {
            scope.spawn(move || {
                if let Err(error) = watch(context, stream) {
                    context.fail(error);
                }
            });
        }
        let workers: Vec<_> = (0..config.connections.max(1))
            .map(|_| spawn_worker(scope, context, config, runtime, stats))
            .collect();
        supervise(context, stats, control, || {
            keeper.is_finished() || workers.iter().any(ScopedJoinHandle::is_finished)
        });
        context.enter(Phase::Stopping);
        let mut summary = Summary::default();
        for worker in workers {
            match worker.join() {
                Ok(tally) => summary.add(tally),
                Err(panicked) => {
                    context.enter(Phase::Releasing);
                    std::panic::resume_unwind(panicked);
                }
            }
        }
        stats.set_positions(context.board.positions());
        context.enter(Phase::Releasing);
        summary
    })
}

fn spawn_worker<'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &'scope Arc<Context>,
    config: &'scope Config,
    runtime: &Handle,
    stats: &'scope Stats,
) -> ScopedJoinHandle<'scope, Tally> {
    let runtime = runtime.clone();
    scope.spawn(move || {
        work(context, config, stats, runtime).unwrap_or_else(|error| {
            context.fail(error);
            Tally::default()
        })
    })
}

/// Waits until the sink is to stop, and keeps the positions in `stats` up to date.
fn supervise(context: &Context, stats: &Stats, control: &Control, has_ended: impl Fn() -> bool) {
    let mut drain_to: Option<Vec<(String, u32, u64)>> = None;
    while !control.is_stopping() && !context.is_stopping() && !has_ended() {
        let positions = context.board.positions();
        if control.is_draining() && drain_to.is_none() {
            match ends_now(context) {
                Ok(ends) => drain_to = Some(ends),
                Err(error) => context.fail(error),
            }
        }
        if let Some(ends) = &drain_to {
            let reached = ends.iter().all(|(topic, partition, end)| {
                positions.iter().any(|position| {
                    position.topic == *topic
                        && position.partition == *partition
                        && position.next >= *end
                })
            });
            if reached {
                return;
            }
        }
        stats.set_positions(positions);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn ends_now(context: &Context) -> Result<Vec<(String, u32, u64)>, Error> {
    let mut all = Vec::new();
    for target in &context.targets {
        let topic = &target.stream.name;
        let ends = context
            .log
            .partition_ends(topic)
            .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error))?;
        all.extend(
            ends.iter()
                .map(|ends| (topic.clone(), ends.partition, ends.end.get())),
        );
    }
    Ok(all)
}

impl Summary {
    fn add(&mut self, tally: Tally) {
        self.rows += tally.rows;
        self.superseded += tally.superseded;
        self.dead += tally.dead;
        self.records = self.rows + self.superseded + self.dead;
        for (reason, count) in tally.dead_by_reason {
            *self.dead_by_reason.entry(reason).or_default() += count;
        }
    }
}

fn sleep_unless_stopping(duration: Duration, control: &Control) {
    let begun = Instant::now();
    while begun.elapsed() < duration && !control.is_stopping() {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Schema, tables, offsets: what must be there before the first batch.
struct Setup<'a> {
    config: &'a Config,
    streams: &'a [Stream],
    log: &'a Client,
    ends: &'a [Vec<PartitionEnds>],
    owner: &'a str,
}

impl Setup<'_> {
    /// Tries until the server is there and all is set up; `None` if it is told to stop before.
    fn run(
        &self,
        runtime: &Runtime,
        stats: &Stats,
        control: &Control,
    ) -> Result<Option<Vec<StreamTarget>>, Error> {
        let mut backoff = Backoff::default();
        while !control.is_stopping() {
            let cause = match runtime.block_on(self.try_once()) {
                Ok(targets) => {
                    self.note_in_log(&targets)?;
                    return Ok(Some(targets));
                }
                Err(SetupError::Stop(error)) => return Err(error),
                Err(SetupError::Away(cause)) => cause,
            };
            if !backoff.is_waiting() {
                tracing::warn!(server = %self.config.postgres, %cause, "waiting for PostgreSQL");
            }
            stats.set_state(State::Waiting(cause.to_string()));
            sleep_unless_stopping(backoff.next(), control);
        }
        Ok(None)
    }

    async fn try_once(&self) -> Result<Vec<StreamTarget>, SetupError> {
        let session = Session::open(&self.config.postgres, self.owner)
            .await
            .map_err(|error| match error {
                ConnectError::Away(cause) => SetupError::Away(cause),
                ConnectError::Fatal(error) => SetupError::Stop(error),
            })?;
        let client = &session.client;
        client.batch_execute("BEGIN").await?;
        client.batch_execute(SETUP_LOCK).await?;
        migrate(client, &self.config.postgres.to_string()).await?;
        let mut targets = Vec::new();
        for (stream, ends) in self.streams.iter().zip(self.ends) {
            let target = prepare_table(client, stream).await?;
            self.check_group(client, &target).await?;
            self.make_offsets(client, stream, ends).await?;
            targets.push(target);
        }
        client.batch_execute("COMMIT").await?;
        Ok(targets)
    }

    /// Refuses another target than the group has filled so far.
    async fn check_group(
        &self,
        client: &tokio_postgres::Client,
        target: &StreamTarget,
    ) -> Result<(), SetupError> {
        let (group, topic) = (&self.config.group, &target.stream.name);
        let row = client
            .query_one(
                "SELECT system_identifier::text, current_database()::text FROM pg_control_system()",
                &[],
            )
            .await?;
        let (system, database): (String, String) = (row.get(0), row.get(1));
        let table = &target.table.full_name;
        client
            .execute(
                "INSERT INTO bekk.groups (group_name, topic, system_identifier, database_name, table_name)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                &[group, topic, &system, &database, table],
            )
            .await?;
        let row = client
            .query_one(
                "SELECT system_identifier, database_name, table_name FROM bekk.groups
                  WHERE group_name = $1 AND topic = $2",
                &[group, topic],
            )
            .await?;
        let describe = |system: &str, database: &str, table: &str| {
            format!("table `{table}` of database `{database}` on server {system}")
        };
        let remembered = describe(row.get(0), row.get(1), row.get(2));
        let found = describe(&system, &database, table);
        if remembered != found {
            return Err(SetupError::Stop(Error::OtherTarget {
                group: group.clone(),
                topic: topic.clone(),
                remembered,
                found,
            }));
        }
        Ok(())
    }

    /// Makes the rows of a new group's offsets, and checks that an old group's count in this log.
    async fn make_offsets(
        &self,
        client: &tokio_postgres::Client,
        stream: &Stream,
        ends: &[PartitionEnds],
    ) -> Result<(), SetupError> {
        let (group, topic) = (&self.config.group, &stream.name);
        let log_id = self.log.log_id().to_string();
        let known = client
            .query(
                "SELECT partition, log_id::text FROM bekk.offsets WHERE group_name = $1 AND topic = $2",
                &[group, topic],
            )
            .await?;
        let other = known
            .iter()
            .map(|row| row.get::<_, String>(1))
            .find(|id| *id != log_id);
        if let Some(remembered) = other {
            return Err(SetupError::Stop(Error::OtherLog {
                group: group.clone(),
                topic: topic.clone(),
                remembered,
                found: log_id,
            }));
        }
        if known.is_empty() {
            self.refuse_if_applied_elsewhere(stream)
                .map_err(SetupError::Stop)?;
        }
        for ends in ends {
            let partition = i32::try_from(ends.partition).unwrap_or(i32::MAX);
            // ON CONFLICT alone would wait for a row that a stopped sink holds.
            if known.iter().any(|row| row.get::<_, i32>(0) == partition) {
                continue;
            }
            let next = self.start_of(stream, ends).map_err(SetupError::Stop)?;
            let next = next.get().cast_signed();
            client
                .execute(INSERT_OFFSET, &[group, topic, &partition, &next, &log_id])
                .await?;
        }
        Ok(())
    }

    /// The log remembers how far a group has come: if this database does not, it was another one.
    fn refuse_if_applied_elsewhere(&self, stream: &Stream) -> Result<(), Error> {
        let (group, topic) = (&self.config.group, &stream.name);
        let committed = self
            .log
            .committed_offsets(group, topic)
            .map_err(|error| Error::log(format!("read the offsets of group `{group}`"), error))?;
        if committed.iter().all(|(_, next)| *next == Offset::ZERO) {
            return Ok(());
        }
        Err(Error::OtherTarget {
            group: group.clone(),
            topic: topic.clone(),
            remembered: "a table of another database".to_owned(),
            found: format!("table `{}` of {}", stream.table, self.config.postgres),
        })
    }

    fn start_of(&self, stream: &Stream, ends: &PartitionEnds) -> Result<Offset, Error> {
        Ok(match self.config.from {
            Start::Earliest => ends.start,
            Start::Latest => ends.end,
            Start::Offset(offset) => Offset::new(offset).clamp(ends.start, ends.end),
            Start::Time(timestamp_ms) => self
                .log
                .offset_for_time(&stream.name, ends.partition, timestamp_ms)
                .map_err(|error| {
                    Error::log(format!("find a time in topic `{}`", stream.name), error)
                })?
                .unwrap_or(ends.end),
        })
    }

    /// Tells the log of the group, so that retention keeps what it needs from the beginning.
    fn note_in_log(&self, targets: &[StreamTarget]) -> Result<(), Error> {
        let group = &self.config.group;
        for (target, ends) in targets.iter().zip(self.ends) {
            let topic = &target.stream.name;
            let failed = |error| Error::log(format!("note group `{group}`"), error);
            let known = self.log.committed_offsets(group, topic).map_err(failed)?;
            for ends in ends {
                if known
                    .iter()
                    .all(|(partition, _)| *partition != ends.partition)
                {
                    let start = self.start_of(&target.stream, ends)?;
                    self.log
                        .commit_offset(group, topic, ends.partition, start)
                        .map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}

enum SetupError {
    Away(Box<PostgresError>),
    Stop(Error),
}

impl From<tokio_postgres::Error> for SetupError {
    fn from(error: tokio_postgres::Error) -> Self {
        match verdict(&error) {
            Verdict::Wait | Verdict::Halve => Self::Away(Box::new(PostgresError::from(&error))),
            Verdict::Stop | Verdict::Isolate => Self::Stop(Error::postgres(
                "set up schema `bekk` and the tables",
                &error,
            )),
        }
    }
}

impl From<MigrateError> for SetupError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Postgres(error) => error.into(),
            MigrateError::Stop(error) => Self::Stop(error),
        }
    }
}
