//! What was set aside of a topic, looked through once more: it may be readable by now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::TopicLog;
use crate::clock::now_ms;
use crate::files::{self, DAMAGED};
use crate::remains::{Known, Rebuilt, Scan, rebuild_from};
use crate::segment::db::Hole;
use crate::segment::{self, Segment};
use crate::{Error, Gap, Offset, Salvaged};

impl TopicLog {
    /// Restores what can be read of the segments that were set aside and is missing in the log. `elsewhere` names
    /// directories of other segments that were set aside with the database of a segment of this topic, with its number.
    pub(crate) fn salvage(&self, elsewhere: Vec<(u64, PathBuf)>) -> Result<Vec<Salvaged>, Error> {
        let mut aside: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for (number, path) in self.dirs_set_aside()?.into_iter().chain(elsewhere) {
            aside.entry(number).or_default().push(path);
        }
        let salvaged = aside.into_iter();
        let mut all = salvaged
            .map(|(number, paths)| self.salvage_segment(number, paths))
            .collect::<Result<Vec<_>, _>>()?;
        all.extend(self.missing_elsewhere(&all));
        Ok(all)
    }

    /// The directories of segments that were set aside, each with the segment's number.
    pub(crate) fn dirs_set_aside(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        let mut aside = Vec::new();
        for path in files::entries(&self.dir)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.split_once(DAMAGED)?.0.parse().ok());
            aside.extend(number.map(|number| (number, path)));
        }
        Ok(aside)
    }

    /// The gaps that none of the segments that were set aside could fill.
    fn missing_elsewhere(&self, salvaged: &[Salvaged]) -> Option<Salvaged> {
        let mut missing = self.gaps_above_start();
        missing.retain(|gap| !salvaged.iter().any(|one| one.missing.contains(gap)));
        (!missing.is_empty()).then(|| Salvaged {
            topic: self.name.clone(),
            paths: Vec::new(),
            records: 0,
            missing,
        })
    }

    fn salvage_segment(&self, number: u64, paths: Vec<PathBuf>) -> Result<Salvaged, Error> {
        {
            let mut writer = self.writer.lock();
            if writer.segment.number() <= number {
                self.roll(&mut writer)?;
            }
        }
        let _repairing = self.repairing.lock();
        let chain = self.chain();
        let at = chain.partition_point(|segment| segment.number() < number);
        let present = chain.get(at).filter(|segment| segment.number() == number);
        let known = self.known(number, at)?;
        let scans = paths
            .iter()
            .map(|path| Scan::of(path, &known))
            .collect::<Result<Vec<_>, _>>()?;
        let dir = self.dir.join(segment::dir_name(number));
        let restored = match present {
            Some(segment) => segment.give_up_if(|dir| {
                let now = Scan::of(dir, &known)?;
                let has = now.records();
                let all: Vec<_> = std::iter::once(now).chain(scans).collect();
                let rebuilt = rebuild_from(&all, dir, &known, now_ms())?;
                if rebuilt.records <= has {
                    rebuilt.discard()?;
                    return Ok(None);
                }
                rebuilt.replace(dir, false, now_ms())?;
                let records = rebuilt.records - has;
                Ok(Some((rebuilt, records)))
            })?,
            None => {
                let rebuilt = rebuild_from(&scans, &dir, &known, now_ms())?;
                let records = rebuilt.records;
                match records {
                    0 => rebuilt.discard().map(|()| None)?,
                    _ => rebuilt.put_at(&dir).map(|()| Some((rebuilt, records)))?,
                }
            }
        };
        let mut salvaged = Salvaged {
            topic: self.name.clone(),
            paths,
            records: 0,
            missing: Vec::new(),
        };
        if let Some((rebuilt, records)) = restored {
            salvaged.records = records;
            self.take_in(number, dir, &rebuilt, &known)?;
        }
        salvaged.missing = self.gaps_above_start();
        salvaged.missing.retain(|gap| known.overlaps(gap));
        Ok(salvaged)
    }

    /// What is known of the segment that has this number and belongs at that place of the chain.
    fn known(&self, number: u64, at: usize) -> Result<Known, Error> {
        let chain = self.chain();
        let ends_before = match at.checked_sub(1).map(|before| &chain[before]) {
            Some(before) => match before.summary() {
                Some(summary) => summary.ranges.iter().map(|range| range.end).collect(),
                None => segment::ranges(&*before.db()?, before.starts())?
                    .iter()
                    .map(|range| range.end)
                    .collect(),
            },
            None => self.view().starts,
        };
        let present = chain.get(at).filter(|segment| segment.number() == number);
        let next = chain.get(at + usize::from(present.is_some()));
        let sealed_at_ms = present.and_then(|segment| Some(segment.summary()?.sealed_at_ms));
        // A segment that lost everything begins anew after the durable mark, and so after the gap.
        let mut starts = ends_before;
        for (start, of_present) in starts
            .iter_mut()
            .zip(present.iter().flat_map(|s| s.starts()))
        {
            *start = (*start).min(*of_present);
        }
        Ok(Known {
            header: self.header(number),
            starts,
            ends: next.map(|next| next.starts().to_vec()),
            sealed_at_ms: Some(sealed_at_ms.unwrap_or_else(now_ms)),
            notes: present.map(|segment| segment.notes()).unwrap_or_default(),
        })
    }

    /// Puts the rebuilt segment into the chain, and corrects the gaps.
    fn take_in(
        &self,
        number: u64,
        dir: PathBuf,
        rebuilt: &Rebuilt,
        known: &Known,
    ) -> Result<(), Error> {
        if let Some(summary) = rebuilt.summary.clone() {
            let segment = Arc::new(Segment::sealed(self.header(number), dir, summary));
            self.change_chain(|chain| {
                chain.retain(|other| other.number() != number);
                let at = chain.partition_point(|other| other.number() < number);
                chain.insert(at, segment);
            });
        }
        let mut healed = self.gaps();
        healed.retain(|gap| known.overlaps(gap));
        let left: Vec<Gap> = healed
            .iter()
            .flat_map(|gap| {
                let starts = known.starts[gap.partition as usize];
                let end = known.ends.as_ref().map(|ends| ends[gap.partition as usize]);
                remaining(gap, starts, end, &rebuilt.holes)
            })
            .collect();
        self.shared.state.replace_gaps(&self.name, &healed, &left)?;
        let mut gaps = self.gaps.lock();
        gaps.retain(|gap| !healed.contains(gap));
        gaps.extend(left);
        Ok(())
    }
}

impl Known {
    /// Whether a gap lies, at least in part, in the segment.
    fn overlaps(&self, gap: &Gap) -> bool {
        let partition = gap.partition as usize;
        let start = self.starts.get(partition);
        let end = self.ends.as_ref().and_then(|ends| ends.get(partition));
        start.is_some_and(|start| gap.end > *start) && end.is_none_or(|end| gap.start < *end)
    }
}

/// What is left of a gap where only `holes` are missing from `start` up to `end`.
fn remaining(gap: &Gap, start: Offset, end: Option<Offset>, holes: &[(u32, Hole)]) -> Vec<Gap> {
    let part = |from: Offset, to: Offset| Gap {
        start: from.max(gap.start),
        end: to.min(gap.end),
        ..gap.clone()
    };
    let of_partition = holes
        .iter()
        .filter(|(partition, _)| *partition == gap.partition);
    let inside = of_partition.map(|(_, (from, to))| part(*from, *to));
    let before = part(Offset::ZERO, start);
    let after = end.map(|end| part(end, Offset::new(u64::MAX)));
    let mut left: Vec<Gap> = std::iter::once(before).chain(inside).chain(after).collect();
    left.retain(|gap| gap.start < gap.end);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Applied;

    #[test]
    fn what_is_found_again_is_no_gap_any_more() {
        let gap = |start, end| Gap {
            partition: 1,
            start: Offset::new(start),
            end: Offset::new(end),
            found_at_ms: 5,
            applied: Applied::Unknown,
            reason: "lost".to_owned(),
        };
        let hole = |start, end| (1, (Offset::new(start), Offset::new(end)));
        let left = |gap: &Gap, holes: &[(u32, Hole)]| {
            remaining(gap, Offset::new(10), Some(Offset::new(20)), holes)
        };
        assert_eq!(left(&gap(12, 15), &[]), []);
        assert_eq!(
            left(&gap(5, 15), &[hole(12, 13)]),
            [gap(5, 10), gap(12, 13)]
        );
        assert_eq!(
            left(&gap(12, 25), &[hole(10, 14)]),
            [gap(12, 14), gap(20, 25)]
        );
        assert_eq!(left(&gap(12, 15), &[(0, hole(12, 15).1)]), []);
    }
}
