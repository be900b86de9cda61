//! Appends to a topic.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::TopicLog;
use crate::clock::now_ms;
use crate::config::META_TOPIC;
use crate::database::MEMTABLES_BYTES;
use crate::group_commit::{Outcome, Request, Ticket};
use crate::writer::{Group, Writer};
use crate::{Durability, Error};

/// What segments that wait to be sealed may hold in memory before appends wait for them
const UNSEALED_BYTES_MAX: u64 = 16 << 20;
/// Interval between two looks of an append that waits for sealing
const SEALING_LOOK_EVERY: Duration = Duration::from_millis(50);

impl TopicLog {
    pub(crate) fn append(&self, request: Request) -> Outcome {
        let ticket = self.begin_append(request)?;
        self.finish_append(ticket)
    }

    /// Takes an append in; appends are written in this order. Whoever gets a ticket has to finish it.
    pub(crate) fn begin_append(&self, request: Request) -> Result<Ticket, Error> {
        let partitions = self.config.lock().partitions;
        if let Some(part) = request
            .parts
            .iter()
            .find(|part| part.partition >= partitions)
        {
            return Err(self.unknown_partition(part.partition));
        }
        Ok(self.queue.enter(request))
    }

    /// Waits for the outcome of an append.
    pub(crate) fn finish_append(&self, ticket: Ticket) -> Outcome {
        let entered = ticket.entered();
        let outcome = self.queue.wait(ticket, |group| self.write_group(group))?;
        self.shared.counts.append_time.observe(entered.elapsed());
        Ok(outcome)
    }

    /// Waits to begin another segment while too much of the topic waits to be sealed, because that is in memory until then.
    /// Does not wait while sealing fails, or the disk is too full for it: that may last.
    fn await_sealing(&self) {
        let is_over = || self.writer.lock().is_over(&self.shared.config, now_ms());
        let is_held = || {
            !self.shared.closing.load(Ordering::Acquire)
                && !self.is_deleted.load(Ordering::Acquire)
                && !self.shared.poison.is_set()
        };
        let mut fails = self.sealing_fails.lock();
        while !*fails && is_held() && self.has_much_unsealed() && is_over() {
            self.sealed.wait_for(&mut fails, SEALING_LOOK_EVERY);
        }
    }

    /// Whether the segments before the one that is written to have as much in memory as they may.
    fn has_much_unsealed(&self) -> bool {
        let each = self.shared.config.segment_bytes.min(MEMTABLES_BYTES);
        let chain = self.chain();
        let before = chain.iter().rev().skip(1);
        let unsealed = before.take_while(|segment| segment.summary().is_none());
        unsealed.count() as u64 * each >= UNSEALED_BYTES_MAX
    }

    /// Writes a group of appends, makes it as durable as it has to be and lets readers see it.
    fn write_group(&self, requests: Vec<Request>) -> Vec<Outcome> {
        self.await_sealing();
        // Held until the records can be seen, so that who begins a session afterwards sees them.
        let sessions = self.shared.sessions.read();
        let mut writer = self.writer.lock();
        if self.is_deleted.load(Ordering::Acquire) {
            let deleted = || Err(Error::UnknownTopic(self.name.clone()));
            return requests.iter().map(|_| deleted()).collect();
        }
        if writer.is_over(&self.shared.config, now_ms())
            && let Err(error) = self.roll(&mut writer)
        {
            tracing::warn!(topic = self.name, %error, "cannot begin a new segment; the current one stays in use");
        }
        let mut group = writer.group();
        let outcomes = requests.into_iter().map(|request| {
            sessions.check(request.session.as_ref())?;
            Ok(group.add(request, &writer.producers))
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        if group.is_empty() {
            // What is stored already may not be durable if its own write was the one that failed.
            return match self.shared.check_appends() {
                Ok(()) => outcomes,
                Err(_) => self.all_failed(outcomes),
            };
        }
        let written = self.write_durably(&mut writer, group);
        if !writer.asked_for_next && writer.is_half_full(&self.shared.config) {
            writer.asked_for_next = true;
            self.shared.segment_work.notify();
        }
        match written {
            Ok(()) => outcomes,
            Err(error) => {
                self.shared.poison.set(&error);
                self.all_failed(outcomes)
            }
        }
    }

    fn all_failed(&self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let failed = |outcome: Outcome| match self.shared.check_appends() {
            Ok(()) => outcome,
            Err(error) => outcome.and(Err(error)),
        };
        outcomes.into_iter().map(failed).collect()
    }

    fn write_durably(&self, writer: &mut Writer, group: Group) -> Result<(), Error> {
        self.shared.check_appends()?;
        writer.write(group, &self.shared)?;
        match self.shared.config.durability {
            // What the other topics' records refer to is durable before them.
            Durability::Interval(_) | Durability::Os if self.name == META_TOPIC => {
                self.sync_now(writer)?;
            }
            Durability::Sync => self.sync_now(writer)?,
            Durability::Interval(_) => {}
            Durability::Os => self.raise(&writer.ends),
        }
        Ok(())
    }

    fn sync_now(&self, writer: &Writer) -> Result<(), Error> {
        let began = Instant::now();
        writer.db.sync()?;
        self.shared.counts.fsynced(began);
        self.raise(&writer.ends);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::UNSEALED_BYTES_MAX;
    use crate::{Client, Config, Durability, RecordBuffer, TopicConfig};

    /// The accident: sealing is late, here because a reader keeps a segment open, and the log is written to as fast as
    /// it can be.
    #[test]
    fn appends_wait_for_late_sealing() {
        const SEGMENT_BYTES: u64 = UNSEALED_BYTES_MAX / 2 + 1;
        let dir = tempfile::tempdir().unwrap();
        let client = Client::open(Config {
            segment_bytes: SEGMENT_BYTES,
            durability: Durability::Os,
            ..Config::new(dir.path().to_owned())
        })
        .unwrap();
        client.create_topic("t", TopicConfig::new(1)).unwrap();
        let store = client.store().unwrap();
        let topic = store.core().topic("t").unwrap();
        let read = topic.chain()[0].db().unwrap();
        let unsealed = || {
            topic
                .segment_infos()
                .iter()
                .filter(|one| one.sealed_at_ms.is_none())
                .count()
        };
        std::thread::scope(|scope| {
            let appends = scope.spawn(|| {
                // Nothing that could be compressed.
                let mut noise = 1_u64;
                let next = || {
                    noise = noise
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    noise.to_le_bytes()[7]
                };
                let value: Vec<u8> = std::iter::repeat_with(next).take(500_000).collect();
                let mut records = RecordBuffer::new();
                records.push(0, None, &value);
                while topic.chain().len() < 5 {
                    client.append(None, "t", &[(0, &records)]).unwrap();
                }
            });
            bekk_testing::wait_until("two wait to be sealed", bekk_testing::MINUTE, || {
                unsealed() == 3
            });
            // As long as it takes to write another segment, and more.
            std::thread::sleep(std::time::Duration::from_secs(2));
            assert!(!appends.is_finished());
            assert_eq!(unsealed(), 3);
            drop(read);
            appends.join().unwrap();
        });
        drop(topic);
        drop(store);
        client.close().unwrap();
    }
}
