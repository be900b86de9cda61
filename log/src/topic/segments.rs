//! The chain of a topic's segments: it grows at the end, is let go of at the beginning, and loses what is
//! damaged.

use std::path::Path;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{TopicLog, View};
use crate::clock::now_ms;
use crate::files::{self, DAMAGED};
use crate::gap::are_covered;
use crate::remains::{Known, rebuild};
use crate::segment::{self, DELETED, Header, Segment};
use crate::writer::{Prepared, Writer};
use crate::{Durability, Error, Gap, Offset, recovery};

/// With fewer bytes free on the disk no segment is begun or sealed
const SEAL_BYTES_MIN: u64 = 32 << 20;

impl TopicLog {
    /// Seals the segment that is written to and begins the next one.
    pub(super) fn roll(&self, writer: &mut Writer) -> Result<(), Error> {
        // This segment may hold more than its writer knows of, so that the next one has no start.
        self.shared.check_appends()?;
        let mut next = self.next.lock();
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

    /// Makes the next segment, unless it is ready.
    pub(crate) fn prepare_next(&self) -> Result<(), Error> {
        let mut next = self.next.lock();
        if next.is_none() {
            *next = Some(self.prepare()?);
        }
        Ok(())
    }

    /// Stops appends until the returned guard is dropped.
    pub(crate) fn pause(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock()
    }

    /// Begins a new segment unless the one that is written to is empty; returns its number and the partitions' ends.
    pub(crate) fn cut(&self, writer: &mut Writer) -> Result<(u64, Vec<Offset>), Error> {
        if writer.begun_at_ms.is_some() {
            self.roll(writer)?;
        }
        Ok((writer.segment.number(), writer.ends.clone()))
    }

    /// Gives the sealed segments before `until` second names in another directory.
    pub(crate) fn link_segments(&self, until: u64, to: &Path) -> Result<(), Error> {
        files::create_dir(to)?;
        let _repairing = self.repairing.lock();
        for segment in self.chain().iter().filter(|one| one.number() < until) {
            let to = to.join(segment::dir_name(segment.number()));
            segment.while_closed(|dir| files::copy_tree(dir, &to, true))?;
        }
        Ok(())
    }

    fn prepare(&self) -> Result<Prepared, Error> {
        let last = self.chain().last().map_or(0, |last| last.number());
        Prepared::create(&self.dir, &self.header(last + 1))
    }

    /// Rolls a segment that is old, makes the next one ready where it will be needed, and seals what is no
    /// longer written to.
    pub(crate) fn care_for_segments(&self) -> Result<(), Error> {
        let cared = self.roll_and_seal();
        *self.sealing_fails.lock() = !matches!(cared, Ok(true));
        self.sealed.notify_all();
        cared.map(|_is_done| ())
    }

    /// Says whether nothing is left to be sealed for now.
    fn roll_and_seal(&self) -> Result<bool, Error> {
        let config = &self.shared.config;
        if self.shared.space.free_bytes()? < SEAL_BYTES_MIN {
            return Ok(false); // a write that fails would be the segment's last one
        }
        let mut is_done = true;
        let needs_next = {
            let mut writer = self.writer.lock();
            if writer.is_over(config, now_ms()) {
                self.roll(&mut writer)?;
            }
            writer.is_half_full(config)
        };
        if needs_next {
            self.prepare_next()?;
        }
        let chain = self.chain();
        let Some((_active, others)) = chain.split_last() else {
            return Ok(true);
        };
        for segment in others.iter().filter(|segment| segment.summary().is_none()) {
            match segment.seal(now_ms()) {
                Ok(true) => {
                    self.shared.mark_work.notify();
                    self.sealed.notify_all();
                }
                Ok(false) => {
                    is_done = false;
                    tracing::warn!(
                        segment = %segment.dir().display(),
                        "a segment is slow to be written out; tried again later"
                    );
                }
                Err(error @ Error::Corrupt { .. }) => self.repair(segment, &error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(is_done)
    }

    /// Makes a damaged segment anew from its whole batches, and notes the gaps that remain. If that fails, renames it, so
    /// that it is kept and never read.
    ///
    /// # Errors
    /// [`Error::NoSpace`] while there is no room for the new one.
    pub(super) fn repair(&self, segment: &Arc<Segment>, error: &Error) -> Result<(), Error> {
        {
            let mut writer = self.writer.lock();
            if Arc::ptr_eq(&writer.segment, segment) {
                self.roll(&mut writer)?;
            }
        }
        let _repairing = self.repairing.lock();
        let chain = self.chain();
        let Some(at) = chain.iter().position(|other| Arc::ptr_eq(other, segment)) else {
            return Ok(()); // another reader was faster
        };
        self.shared.open_segments.forget(segment);
        let now = now_ms();
        let known = Known {
            header: self.header(segment.number()),
            starts: segment.starts().to_vec(),
            ends: Some(chain[at + 1].starts().to_vec()),
            sealed_at_ms: Some(
                segment
                    .summary()
                    .map_or(now, |summary| summary.sealed_at_ms),
            ),
            notes: segment.notes(),
        };
        let replaced = segment.give_up(|dir| {
            let rebuilt = rebuild(dir, &known, now)?;
            let lost = self.unknown(rebuilt.gaps(now, error));
            self.note_gaps(lost.clone())?;
            let kept = rebuilt.replace(dir, !lost.is_empty(), now)?;
            rebuilt.report(&self.name, error, kept.as_deref());
            Ok(rebuilt.summary)
        });
        let new = match replaced {
            Ok(summary) => summary.map(|summary| {
                Segment::sealed(segment.header().clone(), segment.dir().to_owned(), summary)
            }),
            Err(cause) if cause.is_no_space() => {
                return Err(Error::NoSpace {
                    path: segment.dir().to_owned(),
                    free_bytes: self.shared.space.free_bytes()?,
                    reserve_bytes: segment.summary().map_or(0, |summary| summary.bytes),
                });
            }
            Err(cause) => {
                tracing::error!(topic = self.name, %cause, "a damaged segment cannot be rebuilt");
                self.set_aside(segment, &known, error)?;
                None
            }
        };
        self.change_chain(|chain| {
            if let Some(at) = chain.iter().position(|other| Arc::ptr_eq(other, segment)) {
                chain.splice(at..=at, new.map(Arc::new));
            }
        });
        Ok(())
    }

    fn set_aside(&self, segment: &Segment, known: &Known, error: &Error) -> Result<(), Error> {
        let now = now_ms();
        let ends = known.ends.as_deref().unwrap_or_default();
        let gaps = recovery::gaps_between(&known.starts, ends, now, &error.to_string());
        self.note_gaps(self.unknown(gaps))?;
        let kept = segment.give_up(|dir| segment::rename_away(dir, &format!("{DAMAGED}{now}")))?;
        tracing::error!(
            topic = self.name, %error, kept = %kept.display(),
            "a segment is damaged and set aside; its records are no longer served"
        );
        Ok(())
    }

    /// Those gaps that are not noted yet.
    fn unknown(&self, mut gaps: Vec<Gap>) -> Vec<Gap> {
        let known = self.gaps();
        gaps.retain(|gap| !are_covered(&known, gap.partition, gap.start, gap.end));
        gaps
    }

    pub(crate) fn header(&self, number: u64) -> Header {
        Header {
            log_id: self.shared.log_id,
            topic: self.name.clone(),
            number,
            partitions: self.config.lock().partitions,
        }
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
            self.view.lock().starts.clone_from(&raised);
        }
        Ok(raised)
    }

    /// Deletes the segments before `first`, and returns the freed bytes.
    pub(crate) fn drop_segments_before(&self, first: &Arc<Segment>) -> Result<u64, Error> {
        let _repairing = self.repairing.lock();
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
                "deleted a segment past its retention"
            );
        }
        Ok(bytes)
    }

    pub(super) fn change_chain<T>(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>) -> T) -> T {
        let mut chain = self.chain.write();
        change(Arc::make_mut(&mut chain))
    }
}
