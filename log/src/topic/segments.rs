//! The chain of a topic's segments: it grows at the end, is let go of at the beginning, and loses what is
//! damaged.

use std::sync::{Arc, PoisonError};

use super::{TopicLog, View, lock};
use crate::segment::{self, DAMAGED, DELETED, Header, Segment};
use crate::shared::now_ms;
use crate::writer::{Prepared, Writer};
use crate::{Durability, Error, Offset, recovery};

impl TopicLog {
    /// Seals the segment that is written to and begins the next one.
    pub(super) fn roll(&self, writer: &mut Writer) -> Result<(), Error> {
        if self.shared.poison.get().is_some() {
            // This segment may hold more than its writer knows of, so that the next one has no start.
            return Err(self.shared.poisoned());
        }
        let mut next = lock(&self.next);
        let prepared = match next.take() {
            Some(prepared) => prepared,
            None => self.prepare()?,
        };
        if matches!(self.shared.config.durability, Durability::Interval(_)) {
            writer
                .db
                .sync()
                .inspect_err(|error| self.shared.poison.set(error))?;
            self.raise(&writer.ends);
        }
        let producers = std::mem::take(&mut writer.producers);
        *writer = Writer::begin(prepared, writer.ends.clone(), producers);
        self.change_chain(|chain| chain.push(Arc::clone(&writer.segment)));
        self.shared.segment_work.notify();
        Ok(())
    }

    fn prepare(&self) -> Result<Prepared, Error> {
        let last = self.chain().last().map_or(0, |last| last.number());
        let header = Header {
            log_id: self.shared.log_id,
            topic: self.name.clone(),
            number: last + 1,
            partitions: lock(&self.config).partitions,
        };
        Prepared::create(&self.dir, &header)
    }

    /// Rolls a segment that is old, makes the next one ready where it will be needed, and seals what is no
    /// longer written to.
    pub(crate) fn care_for_segments(&self) -> Result<(), Error> {
        let config = &self.shared.config;
        let needs_next = {
            let mut writer = lock(&self.writer);
            if writer.is_over(config, now_ms()) {
                self.roll(&mut writer)?;
            }
            writer.is_half_full(config)
        };
        if needs_next {
            let mut next = lock(&self.next);
            if next.is_none() {
                *next = Some(self.prepare()?);
            }
        }
        let chain = self.chain();
        let Some((_active, others)) = chain.split_last() else {
            return Ok(());
        };
        for segment in others.iter().filter(|segment| segment.summary().is_none()) {
            match segment.seal(now_ms()) {
                Ok(true) => self.shared.mark_work.notify(),
                Ok(false) => tracing::warn!(
                    segment = %segment.dir().display(),
                    "a segment is slow to be written out; tried again later"
                ),
                Err(error @ Error::Corrupt { .. }) => self.set_aside(segment, &error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Renames a damaged segment, so that it is kept and never read, and notes the gap that it leaves.
    pub(super) fn set_aside(&self, segment: &Arc<Segment>, error: &Error) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        if Arc::ptr_eq(&writer.segment, segment) {
            self.roll(&mut writer)?;
        }
        let chain = self.chain();
        let Some(at) = chain.iter().position(|other| Arc::ptr_eq(other, segment)) else {
            return Ok(()); // another reader was faster
        };
        let now = now_ms();
        let (starts, ends) = (segment.starts(), chain[at + 1].starts());
        let gaps = recovery::gaps_between(starts, ends, now, &error.to_string());
        self.note_gaps(gaps)?;
        self.change_chain(|chain| chain.retain(|other| !Arc::ptr_eq(other, segment)));
        self.shared.open_segments.forget(segment);
        let kept = segment.rename_away(&format!("{DAMAGED}{now}"))?;
        tracing::error!(
            topic = self.name, %error, kept = %kept.display(),
            "a segment is damaged and set aside; its records are no longer served"
        );
        Ok(())
    }

    /// Moves a partition's log start to `to`, `None`: to its end; returns where it is, which may be further.
    pub(crate) fn raise_start(&self, partition: u32, to: Option<Offset>) -> Result<Offset, Error> {
        let View { starts, highs } = self.view();
        let high = highs.get(partition as usize).copied();
        let high = high.ok_or_else(|| self.unknown_partition(partition))?;
        let to = to.unwrap_or(high);
        if to > high {
            return Err(Error::OffsetOutOfRange {
                topic: self.name.clone(),
                partition,
                offset: to,
                start: starts[partition as usize],
                end: high,
            });
        }
        let mut raised = starts.clone();
        raised[partition as usize] = to;
        Ok(self.raise_starts(&raised)?[partition as usize])
    }

    /// Moves the log starts to where they are not yet; returns where they are. Persisted first: what goes then is
    /// below the log start, whatever happens.
    fn raise_starts(&self, to: &[Offset]) -> Result<Vec<Offset>, Error> {
        let starts = self.view().starts;
        let pairs = starts.iter().zip(to);
        let raised: Vec<_> = pairs.map(|(start, to)| *start.max(to)).collect();
        if raised != starts {
            self.shared.state.put_log_starts(&self.name, &raised)?;
            lock(&self.view).starts.clone_from(&raised);
        }
        Ok(raised)
    }

    /// Lets go of the first segments, up to `first`, and returns how many bytes that gave back.
    pub(crate) fn drop_segments_before(&self, first: &Arc<Segment>) -> Result<u64, Error> {
        self.raise_starts(first.starts())?;
        let dropped = self.change_chain(|chain| {
            let at = chain.iter().position(|segment| Arc::ptr_eq(segment, first));
            chain.drain(..at.unwrap_or(0)).collect::<Vec<_>>()
        });
        let mut bytes = 0;
        for segment in dropped {
            self.shared.open_segments.forget(&segment);
            let renamed = segment.rename_away(DELETED)?;
            segment::remove(&renamed)?;
            bytes += segment.summary().map_or(0, |summary| summary.bytes);
            tracing::info!(
                topic = self.name,
                segment = segment.number(),
                "a segment is let go of"
            );
        }
        Ok(bytes)
    }

    fn change_chain<T>(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>) -> T) -> T {
        let mut chain = self.chain.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut chain))
    }
}
