//! A database that was set back under a running sink: a standby without the latest transactions became the primary, or
//! the server was restored from a backup.
//!
//! Rows and offset are one transaction, so such a database is whole: the sink continues from its offset, and applies only
//! the lost part again. If somebody has set the offset, the rows stayed. The two differ in the transaction that wrote the
//! row: it began before the sink's last one only on a server that has lost the latter. A person's transaction may have
//! begun earlier too, if it wrote something else first, and the sink then takes that for a server that was set back.

use bekk_log::Offset;

use super::{Keeper, is_row_of};
use crate::Error;
use crate::board::{LastWritten, Slot};
use crate::offsets::{self, OffsetRow};
use crate::session::Session;

/// How a partition's row is related to this sink's last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It is that, or has moved on since.
    Onward,
    /// The server has lost it.
    ServerSetBack,
    /// Somebody else wrote an earlier state.
    OffsetSet,
}

fn course(last: &LastWritten, row: &OffsetRow) -> Course {
    let next = row.next.cast_unsigned();
    let is_earlier =
        row.epoch < last.epoch && next != last.next || row.epoch == last.epoch && next < last.next;
    match is_earlier {
        false => Course::Onward,
        true if last.transaction.is_after(row.written_by) => Course::ServerSetBack,
        true => Course::OffsetSet,
    }
}

impl Keeper<'_> {
    /// Compares the rows with what was known of the slots before they were read. Slots whose rows were set back with
    /// the whole server are taken anew.
    pub(super) fn notice_set_back(&self, known: &[Slot], rows: &[OffsetRow]) {
        let context = self.context;
        for (i, slot) in known.iter().enumerate() {
            let topic = slot.topic.as_str();
            let row = rows
                .iter()
                .find(|row| is_row_of(row, topic, slot.partition));
            let Some((row, last)) = row.zip(slot.last_written()).filter(|_| !slot.is_halted())
            else {
                continue;
            };
            let next = row.next.cast_unsigned();
            match course(last, row) {
                Course::Onward => {}
                Course::ServerSetBack => {
                    tracing::warn!(
                        group = context.group,
                        topic,
                        partition = slot.partition,
                        was = last.next,
                        next,
                        "PostgreSQL has lost the latest transactions (a standby without them became the primary, or the \
                         server was restored from a backup): rows and offset went back together, and the records from \
                         the offset on are applied again"
                    );
                    context.board.set_back(i, next);
                    self.set_log_back(slot, next);
                }
                Course::OffsetSet => context.fail(Error::OffsetMoved {
                    group: context.group.clone(),
                    topic: topic.to_owned(),
                    partition: slot.partition,
                    from: last.next,
                    next,
                }),
            }
        }
    }

    /// Whether the server has been set back to a time before the partition's row was made.
    pub(super) async fn group_is_lost(
        &self,
        session: &Session,
        slot: &Slot,
    ) -> Result<bool, tokio_postgres::Error> {
        let (client, group) = (&session.client, &self.context.group);
        let Some(last) = slot.last_written() else {
            return Ok(false);
        };
        // A start makes both rows in one transaction.
        let is_known = offsets::is_known(client, group, &slot.topic).await?;
        Ok(!is_known || !last.transaction.is_committed(client).await?)
    }

    /// Makes the log keep the records that are applied again.
    fn set_log_back(&self, slot: &Slot, next: u64) {
        let (context, topic) = (self.context, slot.topic.as_str());
        let next = Offset::new(next);
        let committed = context
            .log
            .commit_offset(&context.group, topic, slot.partition, next);
        if let Err(error) = committed {
            // The next batch commits its offset, too.
            tracing::debug!(%error, topic, "the group's offset in the log was not set back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::TransactionId;

    #[test]
    fn a_row_is_set_back_with_its_server_if_it_is_older_than_what_was_written() {
        let check = |(epoch, next, written_by), expected| {
            let last = LastWritten {
                epoch: 5,
                next: 100,
                transaction: TransactionId::of("4294967306").unwrap(),
            };
            let row = OffsetRow {
                topic: "t".to_owned(),
                partition: 0,
                next,
                epoch,
                owner: None,
                owner_gone: false,
                expired: false,
                refusal: None,
                unaccounted: 0,
                definition: None,
                written_by,
            };
            assert_eq!(course(&last, &row), expected, "{epoch} {next} {written_by}");
        };
        // The transaction's number is 10 in its second round of 32 bits.
        check((5, 100, 10), Course::Onward);
        check((5, 120, 11), Course::Onward);
        check((7, 50, 3), Course::Onward);
        check((5, 90, 9), Course::ServerSetBack);
        check((5, 90, u32::MAX - 3), Course::ServerSetBack);
        check((4, 90, 9), Course::ServerSetBack);
        check((4, 100, 9), Course::Onward);
        check((5, 90, 10), Course::OffsetSet);
        check((5, 90, 11), Course::OffsetSet);
        check((0, 120, 12), Course::OffsetSet);
    }
}
