//! The leases of single partitions: taking, holding and giving them up.

use super::Keeper;
use super::marks::Compared;
use crate::board::{Held, Slot};
use crate::dead_letter::{self, Place};
use crate::offsets::{self, OffsetRow, Taken, Taker, TransactionId};
use crate::session::Session;

impl Keeper<'_> {
    pub(super) async fn take(
        &mut self,
        session: &Session,
        slot: usize,
        row: &OffsetRow,
    ) -> Result<bool, tokio_postgres::Error> {
        let client = &session.client;
        let context = self.context;
        if let Some(owner) = row.owner.as_ref().filter(|owner| **owner != context.owner) {
            offsets::terminate_backends(client, owner).await?;
            tracing::info!(
                topic = row.topic,
                partition = row.partition,
                owner,
                "lease taken over"
            );
        }
        let slots = context.board.snapshot();
        let definition = offsets::definition(&context.target(slots[slot].stream).stream);
        let taker = Taker {
            offsets_table: context.server.offsets_table(),
            group: &context.group,
            owner: &context.owner,
            definition: &definition,
        };
        let Some(taken) = taker.take(client, row).await? else {
            if let Some(error) = context.why_left_out(client).await? {
                context.fail(error);
            }
            return Ok(false);
        };
        self.hold(session, (slot, &slots[slot]), row, taken).await
    }

    /// Holds a partition whose lease was taken, if the log is the one that the group has applied.
    async fn hold(
        &mut self,
        session: &Session,
        (at, slot): (usize, &Slot),
        row: &OffsetRow,
        (mut taken, transaction): (Taken, TransactionId),
    ) -> Result<bool, tokio_postgres::Error> {
        let context = self.context;
        let (epoch, next) = (taken.epoch, taken.next);
        let doubts = context.log.doubts();
        match self.compare(at, slot, (next, taken.mark)) {
            Ok(Compared::Same) => {}
            Ok(Compared::Later) => return Ok(false),
            Ok(Compared::Refused(refusal)) => {
                self.refuse(session, slot, (epoch, refusal)).await?;
                return Ok(false);
            }
            Err(error) => {
                context.fail(error);
                return Ok(false);
            }
        }
        if let Err(error) = self.mark_old_row(session, row, &mut taken).await? {
            context.fail(error);
            return Ok(false);
        }
        let place = Place {
            group: &context.group,
            stream: &row.topic,
            topic: &row.topic,
            partition: row.partition,
            log_id: &context.log_id,
        };
        let next_letter = next.cast_signed();
        let letters_end = dead_letter::open_end(&session.client, place, next_letter).await?;
        let held = Held {
            row: taken,
            transaction,
            letters_end,
            doubts,
        };
        context.board.set_doubts(doubts);
        context.board.hold(at, held);
        tracing::debug!(
            topic = row.topic,
            partition = row.partition,
            epoch,
            next,
            "lease taken"
        );
        Ok(true)
    }

    /// Gives up leases above our share, at a batch's end each.
    pub(super) async fn leave(
        &self,
        session: &Session,
        surplus: usize,
    ) -> Result<(), tokio_postgres::Error> {
        let slots = self.context.board.snapshot();
        let held = slots
            .iter()
            .enumerate()
            .filter(|(i, slot)| slot.epoch.is_some() && !self.extra.held.contains(i));
        for (i, slot) in held.take(surplus) {
            if self.context.board.leave(i) {
                self.release(session, i, slot.topic.as_str(), slot.partition, slot.epoch)
                    .await?;
            }
        }
        Ok(())
    }

    pub(super) async fn release_all(&self, session: &Session) -> Result<(), tokio_postgres::Error> {
        if self
            .context
            .server
            .has_other_offsets(&session.client)
            .await?
        {
            return Ok(());
        }
        for (i, slot) in self.context.board.snapshot().iter().enumerate() {
            self.release(session, i, slot.topic.as_str(), slot.partition, slot.epoch)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn release(
        &self,
        session: &Session,
        slot: usize,
        topic: &str,
        partition: u32,
        epoch: Option<i64>,
    ) -> Result<(), tokio_postgres::Error> {
        let (Some(epoch), Ok(partition)) = (epoch, i32::try_from(partition)) else {
            return Ok(());
        };
        offsets::release_lease(
            &session.client,
            self.context.server.offsets_table(),
            &self.context.group,
            topic,
            partition,
            epoch,
        )
        .await?;
        self.context.board.left(slot);
        Ok(())
    }
}
