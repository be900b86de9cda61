//! Appends to a topic.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::TopicLog;
use crate::clock::now_ms;
use crate::config::META_TOPIC;
use crate::group_commit::{Outcome, Request, Ticket};
use crate::writer::{Group, Writer};
use crate::{Durability, Error};

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

    /// Writes a group of appends, makes it as durable as it has to be and lets readers see it.
    fn write_group(&self, requests: Vec<Request>) -> Vec<Outcome> {
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
