//! A database that was set back under a running sink: a standby without the latest transactions became the primary, or
//! the server was restored from a backup.
//!
//! Rows and offset are one transaction, so such a database is whole: the sink continues from what it says, and only the
//! lost part is applied again. An offset that somebody set is something else, since its rows stayed. The two differ in
//! the transaction that wrote the row: whatever happens to a row, its version is never older than the last transaction
//! that is known to have written it, except on a server that has lost that transaction.

use bekk_log::Offset;

use super::{Keeper, is_row_of};
use crate::Error;
use crate::board::{LastWritten, Slot};
use crate::offsets::{self, OffsetRow};
use crate::session::Session;

/// How a partition's row is related to what this sink wrote last.
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
                    self.tell_log(slot, next);
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
        // Both were made in one transaction.
        let is_known = offsets::is_known(client, group, &slot.topic).await?;
        Ok(!is_known || !last.transaction.is_committed(client).await?)
    }

    /// Has the log keep the records that are applied again.
    fn tell_log(&self, slot: &Slot, next: u64) {
        let (context, topic) = (self.context, slot.topic.as_str());
        let next = Offset::new(next);
        let told = context
            .log
            .commit_offset(&context.group, topic, slot.partition, next);
        if let Err(error) = told {
            // The next batch tells it.
            tracing::debug!(%error, topic, "the log was not told that the group went back");
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
