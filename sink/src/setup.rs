//! What must be there before the first batch: schema `bekk`, the tables, a row of offsets per partition.

mod behind;
mod removed;

use std::time::{Duration, Instant};

use bekk_log::{Client, Offset, PartitionEnds};
use bekk_stream::Stream;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;

use crate::backoff::Backoff;
use crate::config::Start;
use crate::identity::twice::{self, Others};
use crate::identity::{self, TableProblem, TableVerdict};
use crate::lock_holder;
use crate::migrations::{MigrateError, SETUP_LOCK, migrate};
use crate::offsets::INSERT_OFFSET;
use crate::own_schema;
use crate::parents;
use crate::refusal::{advice_for_lost_log, advice_without_a_key, is_keyless};
use crate::server_id::ServerId;
use crate::session::{ConnectError, Session};
use crate::sqlstate::{NO_CONNECTION, NO_LOCK, Verdict, verdict};
use crate::stats::{Stats, Waiter};
use crate::target::{StreamTarget, Transaction, also_filled_by, drifted, prepare_table};
use crate::wait::Announcer;
use crate::{Config, Control, Error, PostgresError};

/// How often the control is looked at while the server is away.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the set-up has come to.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) targets: Vec<StreamTarget>,
    /// For each target, those whose rows its rows refer to.
    pub(crate) parents: Vec<Vec<usize>>,
    /// The streams that cannot be applied until a person has acted, and why.
    pub(crate) halts: Vec<(String, Error)>,
    pub(crate) server: ServerId,
}

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
    ) -> Result<Option<Prepared>, Error> {
        let mut backoff = Backoff::default();
        let mut announcer = Announcer::default();
        let open = async || Session::open(&self.config.postgres, self.owner).await;
        while !control.is_stopping() {
            let cause = match runtime.block_on(self.try_once()) {
                Ok(prepared) => {
                    stats.waits_no_more(Waiter::Setup);
                    self.note_in_log(&prepared.targets)?;
                    return Ok(Some(prepared));
                }
                Err(SetupError::Stop(error) | SetupError::TableGone(error)) => return Err(error),
                Err(SetupError::Away(cause)) => cause,
            };
            if !backoff.is_waiting() {
                tracing::warn!(server = %self.config.postgres, %cause, "waiting for PostgreSQL");
                if let Err(error) = self.claim_in_log() {
                    tracing::warn!(%error, "retention may remove records before the group has applied them");
                }
            }
            stats.waits(Waiter::Setup, cause.to_string());
            match cause.sqlstate.as_deref() {
                // The next attempt needs the connection itself.
                None | Some(NO_CONNECTION) => announcer.close(),
                Some(_) => runtime.block_on(announcer.announce(stats.announced(), open)),
            }
            sleep_unless_stopping(backoff.next(), control);
        }
        Ok(None)
    }

    async fn try_once(&self) -> Result<Prepared, SetupError> {
        let session = Session::open(&self.config.postgres, self.owner)
            .await
            .map_err(|error| match error {
                ConnectError::Away(cause) => SetupError::Away(cause),
                ConnectError::Fatal(error) => SetupError::Stop(error),
            })?;
        match self.set_up(&session).await {
            Err(SetupError::Away(cause)) => {
                Err(SetupError::Away(with_holder(&session, cause).await))
            }
            done => done,
        }
    }

    async fn set_up(&self, session: &Session) -> Result<Prepared, SetupError> {
        let client = &session.client;
        client.batch_execute("BEGIN").await?;
        client
            .batch_execute(SETUP_LOCK)
            .await
            .map_err(who_sets_up)?;
        if let Some(fault) = own_schema::fault(session).await? {
            return Err(SetupError::Stop(fault.into_error()));
        }
        migrate(session).await?;
        let mut prepared = Prepared {
            server: ServerId::ask(client).await?,
            ..Prepared::default()
        };
        for (stream, ends) in self.streams.iter().zip(self.ends) {
            // The log's partitions count, not those that the configuration would give a new topic.
            let partitions = u32::try_from(ends.len()).unwrap_or(stream.partitions);
            let stream = &Stream {
                partitions,
                ..stream.clone()
            };
            client.batch_execute("SAVEPOINT bekk").await?;
            let target = self.prepare_stream(session, stream, ends).await;
            match target.and_then(|target| alone(&prepared.targets, target)) {
                Ok(target) => prepared.targets.push(target),
                // The other streams are none the worse for it.
                Err(SetupError::Stop(error)) if error.is_of_one_stream() => {
                    client.batch_execute("ROLLBACK TO SAVEPOINT bekk").await?;
                    prepared.halts.push((stream.name.clone(), error));
                }
                Err(SetupError::TableGone(error)) => {
                    prepared.halts.push((stream.name.clone(), error));
                }
                Err(error) => return Err(error),
            }
        }
        if prepared.targets.is_empty() && !prepared.halts.is_empty() {
            client.batch_execute("COMMIT").await?;
            return Err(SetupError::Stop(prepared.halts.swap_remove(0).1));
        }
        removed::warn(client, self.log, self.config).await?;
        prepared.parents = parents::find(client, &prepared.targets).await?;
        client.batch_execute("COMMIT").await?;
        Ok(prepared)
    }

    async fn prepare_stream(
        &self,
        session: &Session,
        stream: &Stream,
        ends: &[PartitionEnds],
    ) -> Result<StreamTarget, SetupError> {
        let (client, group) = (&session.client, &self.config.group);
        match identity::judge(&identity::look(session, group, stream).await?) {
            TableVerdict::Same { note: None } => {}
            TableVerdict::Same { note: Some(note) } => tracing::info!(group, "{note}"),
            TableVerdict::Problem(problem) if problem.is_a_warning() => tracing::warn!(
                group,
                "{}; {}",
                problem.text(stream),
                problem.advice(group, stream)
            ),
            TableVerdict::Problem(problem @ TableProblem::Missing { .. }) => {
                // Other programs may expect the table. Nothing goes into it until someone has decided.
                prepare_table(session, stream, Transaction::Begun).await?;
                return Err(SetupError::TableGone(problem.into_error(group, stream)));
            }
            TableVerdict::Problem(problem) => {
                return Err(SetupError::Stop(problem.into_error(group, stream)));
            }
        }
        let target = prepare_table(session, stream, Transaction::Begun).await?;
        for warning in drifted(client, stream, &target.table).await? {
            tracing::warn!(
                stream = stream.name,
                table = target.table.full_name,
                "{warning}"
            );
        }
        identity::remember(session, group, stream).await?;
        self.make_offsets(client, &target, ends).await?;
        Ok(target)
    }

    /// Makes the rows of a new group's offsets, and checks that an old group's count in this log.
    async fn make_offsets(
        &self,
        client: &tokio_postgres::Client,
        target: &StreamTarget,
        ends: &[PartitionEnds],
    ) -> Result<(), SetupError> {
        let stream = &target.stream;
        let (group, topic) = (&self.config.group, &stream.name);
        let log_id = self.log.log_id().to_string();
        // Read before the database: other sinks of the group move their offset there first.
        let committed = self.log.committed_offsets(group, topic);
        let committed = committed.map_err(|error| {
            SetupError::Stop(Error::log(
                format!("read the offsets of group `{group}`"),
                error,
            ))
        })?;
        let known = client
            .query(
                "SELECT partition, log_id::text, next, counted_from FROM bekk.offsets
                  WHERE group_name = $1 AND topic = $2 ORDER BY partition",
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
                advice: advice_for_lost_log(group, stream, &remembered).into(),
                remembered,
                found: log_id,
            }));
        }
        if known.is_empty() {
            self.refuse_if_applied_elsewhere(stream, &committed)
                .map_err(SetupError::Stop)?;
            if is_keyless(stream) && self.config.from != Start::Latest {
                let own = self.streams.iter().map(|stream| &*stream.name);
                let others = self.config.configured.iter().map(String::as_str);
                let configured: Vec<&str> = own.chain(others).collect();
                let (of, filled) = ((group.as_str(), Some(&*log_id)), (stream, &target.table));
                match twice::find(client, of, filled, &configured).await? {
                    Some(Others::OfLog(refusal)) => return Err(SetupError::Stop(refusal)),
                    Some(Others::OfOtherLog(what)) => {
                        tracing::warn!(group, stream = topic, "{what}");
                    }
                    None => {}
                }
            }
        }
        if self.is_set_back(topic, &committed, &known) && is_keyless(stream) {
            behind::refuse_rows_of_later(client, group, target).await?;
        }
        for ends in ends {
            let partition = i32::try_from(ends.partition).unwrap_or(i32::MAX);
            // ON CONFLICT alone would wait for a row that a stopped sink holds.
            if known.iter().any(|row| row.get::<_, i32>(0) == partition) {
                continue;
            }
            let next = match known.is_empty() {
                true => self.start_of(stream, ends),
                false => self.resume(stream, ends, &committed),
            };
            let next = next.map_err(SetupError::Stop)?.get().cast_signed();
            client
                .execute(INSERT_OFFSET, &[group, topic, &partition, &next, &log_id])
                .await?;
        }
        Ok(())
    }

    /// The log remembers how far a group has come: if this database does not, it was another one.
    fn refuse_if_applied_elsewhere(
        &self,
        stream: &Stream,
        committed: &[(u32, Offset)],
    ) -> Result<(), Error> {
        let (group, topic) = (&self.config.group, &stream.name);
        if committed.iter().all(|(_, next)| *next == Offset::ZERO) {
            return Ok(());
        }
        Err(Error::OtherTarget {
            group: group.clone(),
            topic: topic.clone(),
            what: format!(
                "the log remembers that the group has applied records, and {} does not: it was another database, the \
                 rows of bekk.offsets were deleted, or another program reads the topic as this group",
                self.config.postgres
            ),
            advice: format!(
                "check the database's address; if another program reads as this group, give one of the two another \
                 --group; if table `{}` is empty or has a key, fill it from the beginning: bekk offsets delete --group \
                 {group} --stream {topic} --execute",
                stream.table
            ),
        })
    }

    /// Reports partitions in which the group's offset in the log is after the database's: a batch moves the log's last. If
    /// a person has set the offset since, counting began at it. Returns whether there are any.
    fn is_set_back(
        &self,
        topic: &str,
        committed: &[(u32, Offset)],
        known: &[tokio_postgres::Row],
    ) -> bool {
        let group = &self.config.group;
        let mut is_set_back = false;
        for row in known {
            let (partition, next) = (row.get::<_, i32>(0), row.get::<_, i64>(2));
            let of_log = committed
                .iter()
                .find(|(of, _)| of.cast_signed() == partition);
            let Some((_, was)) = of_log.filter(|(_, was)| was.get().cast_signed() > next) else {
                continue;
            };
            if row.get::<_, Option<i64>>(3) != Some(next) {
                is_set_back = true;
                tracing::warn!(
                    group,
                    topic,
                    partition,
                    %was,
                    next,
                    "the group had applied more of this log than its offset says: PostgreSQL has lost the latest \
                     transactions (a standby without them became the primary, or a backup was restored), or the offset was set by \
                     hand; the records from the offset on are applied again"
                );
            }
        }
        is_set_back
    }

    /// Where a known group continues in a partition that has no row: at its beginning if the partition is new, else,
    /// its row having been deleted, where the log remembers the group. That may be a batch too early.
    fn resume(
        &self,
        stream: &Stream,
        ends: &PartitionEnds,
        committed: &[(u32, Offset)],
    ) -> Result<Offset, Error> {
        let (group, topic) = (&self.config.group, &stream.name);
        let known = committed
            .iter()
            .find(|(partition, next)| *partition == ends.partition && *next > ends.start);
        let Some((partition, next)) = known else {
            return Ok(ends.start);
        };
        if is_keyless(stream) {
            let forget = format!("bekk offsets delete --group {group} --stream {topic} --execute");
            return Err(Error::OffsetGone {
                group: group.clone(),
                topic: topic.clone(),
                partition: *partition,
                advice: advice_without_a_key(stream, &forget),
            });
        }
        tracing::warn!(
            group,
            topic,
            partition,
            %next,
            "the partition's row of bekk.offsets was deleted; the group continues where the log remembers it"
        );
        Ok((*next).clamp(ends.start, ends.end))
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
        for target in targets {
            let topic = &target.stream.name;
            let at = self.streams.iter().position(|stream| stream.name == *topic);
            let ends = at.map_or(&[][..], |at| self.ends[at].as_slice());
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

    /// Keeps all records for a group that has no offset in the log yet, as PostgreSQL may be away for longer than their
    /// retention. Offset 0 says that the group has applied nothing.
    fn claim_in_log(&self) -> Result<(), Error> {
        let group = &self.config.group;
        let failed = |error| Error::log(format!("keep the records of group `{group}`"), error);
        for (stream, ends) in self.streams.iter().zip(self.ends) {
            let topic = &stream.name;
            let known = self.log.committed_offsets(group, topic).map_err(failed)?;
            let is_known = |ends: &&PartitionEnds| {
                known
                    .iter()
                    .any(|(partition, _)| *partition == ends.partition)
            };
            for ends in ends.iter().filter(|ends| !is_known(ends)) {
                self.log
                    .commit_offset(group, topic, ends.partition, Offset::ZERO)
                    .map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Refuses a stream whose table another stream fills under another name, such as with and without its schema: their rows
/// would have no common order.
fn alone(others: &[StreamTarget], target: StreamTarget) -> Result<StreamTarget, SetupError> {
    let is_same = |other: &&StreamTarget| other.table.version.oid == target.table.version.oid;
    match others.iter().find(is_same) {
        None => Ok(target),
        Some(other) => Err(SetupError::Stop(Error::TableMismatch {
            table: target.table.full_name.clone(),
            stream: target.stream.name.clone(),
            problems: vec![also_filled_by(&other.stream.name)],
        })),
    }
}

enum SetupError {
    Away(Box<PostgresError>),
    /// The group's table does not exist any more; an empty one has been made.
    TableGone(Error),
    Stop(Error),
}

/// If the set-up waited for a lock in vain, adds which session holds it.
async fn with_holder(session: &Session, mut cause: Box<PostgresError>) -> Box<PostgresError> {
    if cause.sqlstate.as_deref() == Some(NO_LOCK)
        && session.client.batch_execute("ROLLBACK").await.is_ok()
        && let Ok(Some(holder)) = lock_holder::find(&session.client, None).await
    {
        cause.detail = Some(holder);
    }
    cause
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
