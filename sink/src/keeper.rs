//! The keeper: takes the leases of partitions, renews them, and gives them up.
//!
//! A lease lies in its partition's row of `bekk.offsets`. It is free if it has no owner, if no backend of
//! its owner is left, or if it has run out and its owner has been silent; then the owner's backends
//! are ended first. Taking it raises the epoch, and with the old epoch no offset can be moved.

mod lease;
mod marks;
mod set_back;
mod share;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::share::{Extra, share};
use crate::backoff::Backoff;
use crate::board::Slot;
use crate::context::Context;
use crate::member::{Member, name_prefix};
use crate::migrations::MigrateError;
use crate::offsets::{self, OffsetRow};
use crate::own_schema;
use crate::session::{ConnectError, Session};
use crate::sqlstate::{Verdict, verdict, wants_new_session};
use crate::stats::{Stats, Waiter};
use crate::wait::Announcer;
use crate::{Error, PostgresError};

const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the rows are looked at while all is settled.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// And while we hold less than our share, at first: the backends of a sink that was killed are gone within
/// moments, and a sink that has more than its share gives up the rest at its next look.
const LOOK_FIRST_EVERY: Duration = Duration::from_millis(20);
const LOOK_FIRST_FOR: Duration = Duration::from_secs(15);
/// Failures in succession that are not reported, which take about a second.
const SILENT_FAILURES: u32 = 5;
/// Nobody who holds a row may keep the keeper from the others, and no synchronous standby that is away: batches wait for it,
/// and with a keeper that waits as well the leases would expire.
const SETTINGS: &str = "SET lock_timeout = '2s'; SET synchronous_commit = local";

/// Keeps leases until all workers have ended, then gives them up.
pub(crate) fn keep(context: &Context, stats: &Stats, runtime: &Handle) -> Result<(), Error> {
    let mut keeper = Keeper {
        context,
        stats,
        prefix: name_prefix(&context.group),
        short_since: None,
        renewed: Instant::now(),
        ends_before_since: HashMap::new(),
        extra: Extra::default(),
    };
    let mut session: Option<Session> = None;
    let mut backoff = Backoff::default();
    let mut announcer = Announcer::default();
    let open_session = async || context.open_session().await;
    while !context.is_releasing() {
        let open = match session.take_if(|session| !session.client.is_closed()) {
            Some(open) => Ok(open),
            None => runtime.block_on(keeper.open()),
        };
        let cause = match open {
            Err(ConnectError::Fatal(error)) => return Err(error),
            Err(ConnectError::Away(cause)) => {
                announcer.close();
                cause
            }
            Ok(open) => match runtime.block_on(keeper.tick(&open)) {
                Ok(()) => {
                    session = Some(open);
                    if backoff.is_waiting() {
                        backoff.reset();
                        stats.waits_no_more(Waiter::Keeper);
                    }
                    runtime.block_on(announcer.announce(stats.announced(), open_session));
                    keeper.pause();
                    continue;
                }
                Err(error) if verdict(&error) == Verdict::Stop => {
                    return Err(Error::postgres("keep the leases in bekk.offsets", &error));
                }
                Err(error) => {
                    session = (!wants_new_session(&error)).then_some(open);
                    if error.as_db_error().is_some() {
                        // The server answers, so it can show the wait.
                        runtime.block_on(announcer.announce(stats.announced(), open_session));
                    }
                    Box::new(PostgresError::from(&error))
                }
            },
        };
        stats.waits(Waiter::Keeper, cause.to_string());
        // Workers report their waits at once, but only if they have records to apply.
        if backoff.failures() == SILENT_FAILURES {
            tracing::warn!(%cause, "waiting for PostgreSQL, to keep the leases");
        }
        if context.is_stopping() {
            break;
        }
        context.sleep(backoff.next());
    }
    if let Some(session) = session
        && let Err(error) = runtime.block_on(keeper.release_all(&session))
    {
        // They run out by themselves, and are free as soon as our backends are gone.
        tracing::debug!(error = %PostgresError::from(&error), "leases not given up");
    }
    Ok(())
}

struct Keeper<'a> {
    context: &'a Context,
    stats: &'a Stats,
    prefix: String,
    /// Since when we hold less than our share.
    short_since: Option<Instant>,
    renewed: Instant,
    /// Since when the log has been seen to end before a slot's offset.
    ends_before_since: HashMap<usize, Instant>,
    /// Partitions held beyond our share, because no other member takes them.
    extra: Extra,
}

impl Keeper<'_> {
    async fn open(&self) -> Result<Session, ConnectError> {
        let session = self.context.open_session().await?;
        match session.client.batch_execute(SETTINGS).await {
            Ok(()) => Ok(session),
            Err(error) => Err(ConnectError::Away(Box::new(PostgresError::from(&error)))),
        }
    }

    /// Looks at all rows once and acts on them.
    async fn tick(&mut self, session: &Session) -> Result<(), tokio_postgres::Error> {
        let client = &session.client;
        if self.context.server.has_other_offsets(client).await? {
            self.context.fail(Error::SchemaReplaced);
            return Ok(());
        }
        let members = offsets::members(client, &self.prefix).await?;
        let known = self.context.board.snapshot();
        let rows = offsets::read(client, &self.context.group).await?;
        // Before a renewal writes to the rows, and hides by which transactions they were written.
        self.notice_set_back(&known, &rows);
        if self.renewed.elapsed() >= RENEW_EVERY {
            let table = self.context.server.offsets_table();
            offsets::renew_leases(client, table, &self.context.group, &self.context.owner).await?;
            self.renewed = Instant::now();
        }
        self.agree(&rows);
        let slots = self.context.board.snapshot();
        self.count(&rows);
        self.verify(session, &slots).await?;
        let mut held = 0;
        let mut free = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            let Some(row) = rows
                .iter()
                .find(|row| is_row_of(row, slot.topic.as_str(), slot.partition))
            else {
                self.row_is_gone(session, i, slot).await?;
                continue;
            };
            let next = row.next.cast_unsigned();
            self.context.board.observe(i, row.epoch, next);
            if slot.is_halted() {
                if row.owner.as_ref() == Some(&self.context.owner) && self.context.board.leave(i) {
                    let topic = slot.topic.as_str();
                    self.release(session, i, topic, slot.partition, slot.epoch)
                        .await?;
                }
                continue;
            }
            if let Some(refusal) = &row.refusal {
                self.halt(slot, refusal.clone());
                continue;
            }
            let ours = row.owner.as_ref() == Some(&self.context.owner);
            if !ours && slot.epoch == Some(row.epoch) {
                // On a server that was set back, another sink may have taken it with the same epoch.
                self.context.board.lost(i);
            }
            if ours && slot.epoch == Some(row.epoch) {
                held += usize::from(!self.extra.held.contains(&i));
                continue;
            }
            self.extra.held.remove(&i);
            if ours || row.owner.is_none() || row.owner_gone || row.expired {
                free.push((i, row));
            }
        }
        // The other members take our part of the streams that are stopped here.
        let wanted = slots.iter().filter(|slot| !slot.is_halted()).count();
        let share = share(&members, &self.context.owner, wanted);
        self.extra
            .note(&members, free.iter().map(|(slot, _)| *slot));
        if self.context.is_stopping() {
            return Ok(());
        }
        let held = self.share_out(session, (share, held), free).await?;
        self.short_since = (held < share).then(|| self.short_since.unwrap_or_else(Instant::now));
        Ok(())
    }

    /// Takes free partitions up to the share, and those that nobody wants; gives up those above it. Returns how many are
    /// held within the share.
    async fn share_out(
        &mut self,
        session: &Session,
        (share, mut held): (usize, usize),
        free: Vec<(usize, &OffsetRow)>,
    ) -> Result<usize, tokio_postgres::Error> {
        for (slot, row) in free {
            let is_extra = held >= share;
            if is_extra && !self.extra.is_unwanted(slot) {
                continue;
            }
            if self.take(session, slot, row).await? {
                match is_extra {
                    true => _ = self.extra.held.insert(slot),
                    false => held += 1,
                }
            }
        }
        if held > share {
            self.leave(session, held - share).await?;
        } else {
            self.context.board.stay();
        }
        Ok(held)
    }

    /// Stops the streams that another sink of the group fills by another definition. If both have taken partitions, as
    /// earlier versions may at the same moment, the one with the first partition continues.
    fn agree(&self, rows: &[OffsetRow]) {
        let context = self.context;
        let slots = context.board.snapshot();
        for stream in 0..context.streams() {
            let target = context.target(stream);
            let name = &target.stream.name;
            let definition = offsets::definition(&target.stream);
            // In order of the partitions.
            let other = rows
                .iter()
                .filter(|row| row.topic == *name)
                .filter(|row| {
                    row.definition
                        .as_ref()
                        .is_some_and(|other| *other != definition)
                })
                .find_map(|row| Some((row.partition, row.other_holder(&context.owner)?)));
            let Some((partition, owner)) = other else {
                continue;
            };
            let own: Vec<&Slot> = slots
                .iter()
                .filter(|slot| slot.stream == stream && !slot.is_halted())
                .collect();
            let holds_earlier = own
                .iter()
                .any(|slot| slot.epoch.is_some() && slot.partition.cast_signed() < partition);
            if own.is_empty() || holds_earlier {
                continue;
            }
            let error = Error::OtherDefinition {
                group: context.group.clone(),
                stream: name.clone(),
                sink: Member::of_owner(owner).to_string(),
            };
            context.halt(stream, error);
        }
    }

    /// Notes what of each stream's offsets the counts do not explain.
    fn count(&self, rows: &[OffsetRow]) {
        let streams = 0..self.context.streams();
        let counts = streams.map(|stream| {
            let name = &self.context.target(stream).stream.name;
            let of_stream = rows.iter().filter(|row| row.topic == *name);
            (
                name.clone(),
                of_stream.map(|row| row.unaccounted.abs()).sum(),
            )
        });
        self.stats.set_unaccounted(counts.collect());
    }

    /// A partition's row has been deleted. The sink that holds it knows where the group was.
    async fn row_is_gone(
        &self,
        session: &Session,
        i: usize,
        slot: &Slot,
    ) -> Result<(), tokio_postgres::Error> {
        let (context, topic) = (self.context, slot.topic.as_str());
        if !slot.is_halted() && self.has_faulty_schema(session).await? {
            return Ok(());
        }
        let Some(row) = slot.row().filter(|_| !slot.is_halted()) else {
            context.board.left(i);
            return Ok(());
        };
        if self.group_is_lost(session, slot).await? {
            context.fail(Error::GroupLost {
                group: context.group.clone(),
                topic: topic.to_owned(),
            });
            return Ok(());
        }
        tracing::warn!(
            group = context.group,
            topic,
            partition = slot.partition,
            next = row.next,
            "the partition's row of bekk.offsets was deleted; it was restored, and nothing is lost"
        );
        let place = (context.group.as_str(), topic, slot.partition.cast_signed());
        let by = (context.log_id.as_str(), context.owner.as_str());
        offsets::restore(&session.client, place, by, &row).await?;
        // The next look takes the lease again.
        context.board.left(i);
        Ok(())
    }

    /// Stops the sink if schema `bekk` is not whole, or hides rows.
    async fn has_faulty_schema(&self, session: &Session) -> Result<bool, tokio_postgres::Error> {
        let error = match own_schema::fault(session).await {
            Ok(None) => return Ok(false),
            Ok(Some(fault)) => fault.into_error(),
            Err(MigrateError::Stop(error)) => error,
            Err(MigrateError::Postgres(error)) => return Err(error),
        };
        self.context.fail(error);
        Ok(true)
    }

    fn pause(&self) {
        let pause = match self.short_since {
            _ if self.context.board.has_doubts() => LOOK_FIRST_EVERY,
            Some(since) if since.elapsed() < LOOK_FIRST_FOR => LOOK_FIRST_EVERY,
            _ => LOOK_EVERY,
        };
        let begun = Instant::now();
        while begun.elapsed() < pause && !self.context.is_releasing() {
            std::thread::sleep(LOOK_FIRST_EVERY);
            if self.context.board.has_doubts() {
                return;
            }
        }
    }
}

fn is_row_of(row: &OffsetRow, topic: &str, partition: u32) -> bool {
    row.topic == topic && u32::try_from(row.partition) == Ok(partition)
}
