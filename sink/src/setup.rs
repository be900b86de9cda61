//! What must be there before the first batch: schema `bekk`, the tables, a row of offsets per partition.

use std::time::{Duration, Instant};

use bekk_log::{Client, Offset, PartitionEnds};
use bekk_stream::Stream;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;

use crate::backoff::Backoff;
use crate::config::Start;
use crate::migrations::{MigrateError, SETUP_LOCK, migrate};
use crate::offsets::INSERT_OFFSET;
use crate::session::{ConnectError, Session};
use crate::sqlstate::{Verdict, verdict};
use crate::stats::Stats;
use crate::target::{StreamTarget, drifted, prepare_table};
use crate::{Config, Control, Error, PostgresError};

/// How often the control is looked at while the server is away.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Schema, tables, offsets: what must be there before the first batch.
pub(crate) struct Setup<'a> {
    pub(crate) config: &'a Config,
    pub(crate) streams: &'a [Stream],
    pub(crate) log: &'a Client,
    pub(crate) ends: &'a [Vec<PartitionEnds>],
    pub(crate) owner: &'a str,
}

impl Setup<'_> {
    /// Tries until the server is there and all is set up; `None` if it is told to stop before.
    pub(crate) fn run(
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
            stats.waits(cause.to_string());
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
        client
            .batch_execute(SETUP_LOCK)
            .await
            .map_err(who_sets_up)?;
        migrate(client, &self.config.postgres.to_string()).await?;
        let mut targets = Vec::new();
        for (stream, ends) in self.streams.iter().zip(self.ends) {
            // The log's partitions count, not those that the configuration would give a new topic.
            let partitions = u32::try_from(ends.len()).unwrap_or(stream.partitions);
            let stream = &Stream {
                partitions,
                ..stream.clone()
            };
            let target = prepare_table(&session, stream).await?;
            for warning in drifted(client, stream, &target.table).await? {
                tracing::warn!(
                    stream = stream.name,
                    table = target.table.full_name,
                    "{warning}"
                );
            }
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

/// Says whom the set-up waits for.
fn who_sets_up(error: tokio_postgres::Error) -> SetupError {
    if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return error.into();
    }
    let mut cause = PostgresError::from(&error);
    cause.message = "another sink sets up schema `bekk` and the tables; if its host is gone, the server ends its \
                     session within half a minute"
        .to_owned();
    SetupError::Away(Box::new(cause))
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

fn sleep_unless_stopping(duration: Duration, control: &Control) {
    let begun = Instant::now();
    while begun.elapsed() < duration && !control.is_stopping() {
        std::thread::sleep(LOOK_EVERY);
    }
}
