//! The comparison of the log with the marks of partitions: a log that was replaced is refused.

use std::time::{Duration, Instant};

use bekk_log::{Difference, MarkCheck, Offset, RecordMark, judge_mark};

use super::Keeper;
use crate::Error;
use crate::board::Slot;
use crate::offsets::{self, OffsetRow, Taken};
use crate::refusal::Refusal;
use crate::session::Session;

/// How long a log that ends before a group's offset is asked again before it is believed: of a cluster that elects a
/// leader, one answer may be too early.
const BELIEVED_AFTER: Duration = Duration::from_secs(3);

/// What a comparison of the log with a partition's mark gave.
pub(super) enum Compared {
    /// The log is the one that was applied.
    Same,
    /// It cannot be told yet.
    Later,
    Refused(Refusal),
}

impl Keeper<'_> {
    /// Compares the log with the marks of partitions that we hold, where it may have been replaced since.
    pub(super) async fn verify(
        &mut self,
        session: &Session,
        slots: &[Slot],
    ) -> Result<(), tokio_postgres::Error> {
        let context = self.context;
        let doubts = context.log.doubts();
        context.board.set_doubts(doubts);
        for (i, slot) in slots.iter().enumerate() {
            let Some(epoch) = slot
                .epoch
                .filter(|_| slot.is_in_doubt(doubts) && !slot.is_halted())
            else {
                continue;
            };
            match self.compare(i, slot, (slot.next, slot.mark)) {
                Ok(Compared::Same) => context.board.verified(i, doubts),
                Ok(Compared::Later) => {}
                Ok(Compared::Refused(refusal)) => {
                    self.refuse(session, slot, (epoch, refusal)).await?;
                }
                Err(error) => context.fail(error),
            }
        }
        Ok(())
    }

    /// Compares the log with a partition's mark; later, if the log cannot be reached.
    pub(super) fn compare(
        &mut self,
        i: usize,
        slot: &Slot,
        at: (u64, Option<RecordMark>),
    ) -> Result<Compared, Error> {
        match self.compare_now(i, slot, at) {
            Err(Error::Log {
                source: bekk_log::Error::Away { .. },
                ..
            }) if self.context.log.check().is_ok() => Ok(Compared::Later),
            compared => compared,
        }
    }

    fn compare_now(
        &mut self,
        i: usize,
        slot: &Slot,
        (next, mark): (u64, Option<RecordMark>),
    ) -> Result<Compared, Error> {
        let (topic, partition) = (slot.topic.as_str(), slot.partition);
        let log = &self.context.log;
        let failed = |error| {
            Error::log(
                format!("compare {topic}/{partition} with what was applied"),
                error,
            )
        };
        if log.doubts() > 0 {
            log.recheck(topic).map_err(failed)?;
        }
        let next = Offset::new(next);
        let at = log
            .at_mark(topic, partition, mark.as_ref())
            .map_err(failed)?;
        let difference = match judge_mark(next, mark.as_ref(), &at) {
            MarkCheck::Same => {
                self.ends_before_since.remove(&i);
                return Ok(Compared::Same);
            }
            MarkCheck::KeptBack => return Ok(Compared::Later),
            MarkCheck::Differs(difference) => difference,
        };
        if difference == Difference::EndsBefore && !log.is_owner() {
            let since = self.ends_before_since.entry(i).or_insert_with(Instant::now);
            if since.elapsed() < BELIEVED_AFTER {
                return Ok(Compared::Later);
            }
        }
        let refusal =
            Refusal::of_difference((topic, partition), next, mark.as_ref(), &at, difference);
        Ok(Compared::Refused(refusal))
    }

    /// Writes a refusal down, and stops the stream.
    pub(super) async fn refuse(
        &self,
        session: &Session,
        slot: &Slot,
        (epoch, refusal): (i64, Refusal),
    ) -> Result<(), tokio_postgres::Error> {
        let (group, topic) = (&self.context.group, slot.topic.as_str());
        let partition = slot.partition.cast_signed();
        offsets::refuse(&session.client, group, topic, partition, (epoch, &refusal)).await?;
        self.halt(slot, refusal);
        Ok(())
    }

    pub(super) fn halt(&self, slot: &Slot, refusal: Refusal) {
        let (context, group) = (self.context, &self.context.group);
        let target = context.target(slot.stream);
        let stream = &target.stream;
        let error = Error::Refused {
            group: group.clone(),
            topic: slot.topic.clone(),
            partition: slot.partition,
            advice: refusal.advice(group, stream, slot.partition),
            refusal,
        };
        context.halt(slot.stream, error);
    }

    /// Gives the row of an earlier version its mark, as long as the log still has the record.
    pub(super) async fn mark_old_row(
        &self,
        session: &Session,
        row: &OffsetRow,
        taken: &mut Taken,
    ) -> Result<Result<(), Error>, tokio_postgres::Error> {
        if taken.mark.is_some() || taken.next == 0 {
            return Ok(Ok(()));
        }
        let (group, topic) = (&self.context.group, row.topic.as_str());
        let partition = u32::try_from(row.partition).unwrap_or_default();
        let log = &self.context.log;
        match log.mark_before(topic, partition, Offset::new(taken.next)) {
            Ok(Some(mark)) => {
                let of = (&*taken, &mark);
                offsets::set_mark(&session.client, group, topic, row.partition, of).await?;
                taken.mark = Some(mark);
            }
            Ok(None) => {}
            Err(error) => {
                return Ok(Err(Error::log(format!("read {topic}/{partition}"), error)));
            }
        }
        Ok(Ok(()))
    }
}
