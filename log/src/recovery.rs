//! Opening a topic: what its directory holds, what is missing, and where its partitions end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::now_ms;
use crate::files::{self, DAMAGED, TEMPORARY, io_error};
use crate::gap::are_covered;
use crate::handle::Handle;
use crate::notes::Notes;
use crate::producers::Producers;
use crate::remains::{Known, REBUILT, finish_replacing, rebuild};
use crate::segment::db::SegmentDb;
use crate::segment::{self, DELETED, Header, Segment, Summary, db_dir};
use crate::shared::Shared;
use crate::writer::{Prepared, Writer};
use crate::{Applied, Error, Gap, Offset, Topic, journal};

/// By how much an end is raised beyond the durable mark where acknowledged records may be lost that the mark
/// does not know of: more than a second's appends to one partition.
const UNCERTAIN_RECORDS: u64 = 1 << 24;

/// A topic as its directory has it.
pub(crate) struct Recovered {
    pub(crate) chain: Vec<Arc<Segment>>,
    pub(crate) writer: Writer,
    pub(crate) next: Option<Prepared>,
    pub(crate) starts: Vec<Offset>,
    pub(crate) gaps: Vec<Gap>,
}

/// The segments of a topic as they are found.
#[derive(Default)]
struct FoundSegments {
    chain: Vec<Arc<Segment>>,
    /// Segments that nothing was written to.
    prepared: Vec<Prepared>,
    damaged: Vec<(PathBuf, Error)>,
    /// Offsets that are lost inside segments that were made anew.
    holes: Vec<Gap>,
    /// Whether acknowledged records may be lost that the durable mark does not know of.
    uncertain: bool,
    /// The notes of the segment that was opened last, if one of its batches was another one.
    notes: Vec<Notes>,
}

/// Opens the segments of a topic and sees to it that its partitions end where no offset is given twice.
pub(crate) fn recover(
    shared: &Shared,
    topic: &Topic,
    dir: &Path,
    mark: Option<&[Offset]>,
    clean: bool,
) -> Result<Recovered, Error> {
    files::create_dir(dir)?;
    let partitions = topic.config.partitions as usize;
    let mut starts = vec![Offset::ZERO; partitions];
    for (partition, start) in shared.state.log_starts(&topic.name)? {
        // There are more where a deleted topic of the name had more partitions.
        if let Some(slot) = starts.get_mut(partition as usize) {
            *slot = start;
        }
    }
    let mut found = FoundSegments::default();
    for number in list(dir)? {
        found.load(shared, topic, dir, (number, clean), &starts)?;
    }
    // Where each partition ended is known of a log that was closed in order.
    found.uncertain &= !(clean && mark.is_some());
    let mut gaps = shared.state.gaps(&topic.name)?;
    let now = now_ms();
    let (ends, mut lost) = found.ends(&starts, mark, &gaps, now)?;
    lost.append(&mut found.holes);
    let is_new = |gap: &Gap| !are_covered(&gaps, gap.partition, gap.start, gap.end);
    let lost: Vec<_> = lost.into_iter().filter(is_new).collect();
    let lost = shared.state.with_applied(&topic.name, lost)?;
    report_gaps(&topic.name, &lost);
    shared.state.put_gaps(&topic.name, &lost)?;
    gaps.extend(lost);
    for (dir, error) in &found.damaged {
        let kept = segment::rename_away(dir, &format!("{DAMAGED}{now}"))?;
        tracing::error!(
            topic = topic.name, %error, kept = %kept.display(),
            "a segment is damaged and set aside; its records are no longer served"
        );
    }
    let (writer, next) = found.writer(shared, topic, dir, ends)?;
    Ok(Recovered {
        chain: found.chain,
        writer,
        next,
        starts,
        gaps,
    })
}

/// The numbers of the segments in a directory, in order; leftovers of what a crash interrupted are removed.
fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    let mut rebuilt = Vec::new();
    let entries = fs::read_dir(dir).map_err(|source| io_error("list", dir, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| io_error("list", dir, source))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if name.ends_with(TEMPORARY) || name.ends_with(DELETED) {
            segment::remove(&entry.path())?;
        } else if name.ends_with(REBUILT) {
            rebuilt.push(entry.path());
        } else if let Ok(number) = name.parse::<u64>() {
            numbers.push(number);
        }
    }
    for path in rebuilt {
        numbers.extend(number_of(&finish_replacing(&path)?));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

impl FoundSegments {
    /// Takes in a segment; a damaged one is rebuilt from its intact batches, or else noted.
    fn load(
        &mut self,
        shared: &Shared,
        topic: &Topic,
        topic_dir: &Path,
        (number, clean): (u64, bool),
        log_starts: &[Offset],
    ) -> Result<(), Error> {
        let dir = topic_dir.join(segment::dir_name(number));
        let header = Header {
            log_id: shared.log_id,
            topic: topic.name.clone(),
            number,
            partitions: topic.config.partitions,
        };
        match Header::read(&dir) {
            Ok(found) if found == header => {}
            Ok(found) if is_of(&dir, &header) => {
                tracing::warn!(
                    ?found,
                    ?header,
                    "a segment has another one's header; it is written again, nothing is lost"
                );
                header.write(&dir)?;
            }
            Ok(found) => {
                let error = Error::Corrupt {
                    path: dir.clone(),
                    detail: format!("it is {found:?} and not {header:?}"),
                };
                return self.damaged(dir, error);
            }
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(%error, "a segment's header is damaged; it is written again, nothing is lost");
                header.write(&dir)?;
            }
            Err(error) => return Err(error),
        }
        if let Some(summary) = Summary::read(&dir, header.partitions)?
            && self.is_own_summary(&summary, &dir, &header, log_starts)?
        {
            let segment = Segment::sealed(header, dir, summary);
            self.chain.push(Arc::new(segment));
            return Ok(());
        }
        match self.open_unsealed(&header, &dir) {
            Err(error @ Error::Corrupt { .. }) => {
                let starts = self.ends_so_far(log_starts)?;
                self.open_rebuilt(header, &dir, starts, error, clean)
            }
            done => done,
        }
    }

    /// Whether a summary is that of the segment after the last: it continues that one, or its database does not
    /// contradict it. Another segment's summary is made again.
    fn is_own_summary(
        &self,
        summary: &Summary,
        dir: &Path,
        header: &Header,
        log_starts: &[Offset],
    ) -> Result<bool, Error> {
        let before = match self.chain.last() {
            Some(last) => (0..header.partitions)
                .map(|partition| segment_end(last, partition))
                .collect::<Result<_, _>>()?,
            None => log_starts.to_vec(),
        };
        if summary.ranges.iter().map(|range| range.start).eq(before) {
            return Ok(true);
        }
        // A database that cannot be read says nothing of the summary. The next reader finds what is wrong with it.
        let contradicted = segment::open_db(dir, header.partitions)
            .and_then(|db| contradicts(&db, header, summary))
            .unwrap_or(false);
        if contradicted {
            tracing::warn!(segment = %dir.display(), "a segment has another one's summary, which is made again; nothing is lost");
        }
        Ok(!contradicted)
    }

    fn open_unsealed(&mut self, header: &Header, dir: &Path) -> Result<(), Error> {
        if db_dir(dir).is_dir() {
            for cut in journal::cut(&db_dir(dir), dir, now_ms())? {
                cut.report();
            }
        }
        let db = Handle::new(segment::open_db(dir, header.partitions)?);
        db.check_identity(header)?;
        if db.begun_at_ms()?.is_none() {
            self.prepared.push(Prepared {
                header: header.clone(),
                dir: dir.to_owned(),
                db,
            });
            return Ok(());
        }
        db.check_ends().inspect_err(|_| self.notes = db.notes())?;
        let starts = (0..header.partitions).map(|partition| {
            db.start(partition)?.ok_or_else(|| Error::Corrupt {
                path: dir.to_owned(),
                detail: format!("partition {partition} has no start"),
            })
        });
        let starts = starts.collect::<Result<_, _>>()?;
        let segment = Segment::unsealed(header.clone(), dir.to_owned(), starts, db);
        self.chain.push(Arc::new(segment));
        Ok(())
    }

    /// Makes a damaged segment anew and takes that in.
    fn open_rebuilt(
        &mut self,
        header: Header,
        dir: &Path,
        starts: Vec<Offset>,
        error: Error,
        clean: bool,
    ) -> Result<(), Error> {
        let known = Known {
            header,
            starts,
            ends: None,
            sealed_at_ms: None,
            notes: std::mem::take(&mut self.notes),
        };
        let now = now_ms();
        let rebuilt = match rebuild(dir, &known, now) {
            Ok(rebuilt) => rebuilt,
            Err(cause) if cause.is_no_space() => return Err(cause),
            Err(cause) => {
                tracing::error!(%cause, "a damaged segment cannot be rebuilt");
                return self.damaged(dir.to_owned(), error);
            }
        };
        let kept = rebuilt.replace(dir, true, now)?;
        rebuilt.report(&known.header.topic, &error, kept.as_deref());
        self.holes.extend(rebuilt.gaps(now, &error));
        self.uncertain |= !clean && !rebuilt.is_whole_at_end;
        self.open_unsealed(&known.header, dir)
    }

    /// Where the segments that were taken in end.
    fn ends_so_far(&self, log_starts: &[Offset]) -> Result<Vec<Offset>, Error> {
        let mut ends = log_starts.to_vec();
        for segment in &self.chain {
            for (partition, end) in (0..).zip(&mut ends) {
                *end = (*end).max(segment_end(segment, partition)?);
            }
        }
        Ok(ends)
    }

    /// Notes a damaged segment; what else is wrong is passed on. Only a sealed one is known to the mark.
    fn damaged(&mut self, dir: PathBuf, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Corrupt { .. }) {
            return Err(error);
        }
        self.uncertain |= !dir.join("sealed").exists();
        self.damaged.push((dir, error));
        Ok(())
    }

    /// Where each partition continues, and which offsets before that no record has.
    fn ends(
        &self,
        starts: &[Offset],
        mark: Option<&[Offset]>,
        known: &[Gap],
        now_ms: i64,
    ) -> Result<(Vec<Offset>, Vec<Gap>), Error> {
        let mut ends = starts.to_vec();
        let mut gaps = Vec::new();
        for segment in &self.chain {
            let missing = format!("nothing is stored before segment {}", segment.number());
            gaps.extend(gaps_between(&ends, segment.starts(), now_ms, &missing));
            for (partition, end) in (0..).zip(&mut ends) {
                *end = (*end).max(segment_end(segment, partition)?);
            }
        }
        let mut raised = ends.clone();
        for (partition, end) in (0u32..).zip(&mut raised) {
            let marked = mark.and_then(|mark| mark.get(partition as usize).copied());
            let of_partition = known.iter().filter(|gap| gap.partition == partition);
            let passed = of_partition.map(|gap| gap.end).max();
            let floor = marked.max(passed).unwrap_or(Offset::ZERO);
            *end = (*end).max(floor);
            if self.uncertain {
                *end = end.plus(UNCERTAIN_RECORDS);
            }
        }
        let lost = "records that were acknowledged are lost";
        gaps.extend(gaps_between(&ends, &raised, now_ms, lost));
        Ok((raised, gaps))
    }

    /// The segment to write to, and the one after it if there is one already.
    fn writer(
        &mut self,
        shared: &Shared,
        topic: &Topic,
        dir: &Path,
        ends: Vec<Offset>,
    ) -> Result<(Writer, Option<Prepared>), Error> {
        let last = self.chain.last();
        let producers = last.map_or_else(|| Ok(Producers::default()), |last| producers_of(last))?;
        let after = last.map_or(0, |last| last.number());
        // One of an earlier number was made while others were there that are lost or damaged now.
        for unfit in self
            .prepared
            .extract_if(.., |prepared| prepared.header.number <= after)
        {
            discard(unfit)?;
        }
        let mut prepared = std::mem::take(&mut self.prepared).into_iter();
        if let Some(last) = last.filter(|last| last.summary().is_none()) {
            let db = last.db()?;
            let writer = Writer {
                ends,
                segment: Arc::clone(last),
                begun_at_ms: db.begun_at_ms()?,
                bytes: db.disk_bytes()?,
                asked_for_next: false,
                producers,
                db,
            };
            let next = prepared.next();
            prepared.try_for_each(discard)?;
            return Ok((writer, next));
        }
        let first = match prepared.next() {
            Some(first) => first,
            None => {
                let damaged = self.damaged.iter().filter_map(|(dir, _)| number_of(dir));
                let header = Header {
                    log_id: shared.log_id,
                    topic: topic.name.clone(),
                    number: after.max(damaged.max().unwrap_or(0)) + 1,
                    partitions: topic.config.partitions,
                };
                Prepared::create(dir, &header)?
            }
        };
        let next = prepared.next();
        prepared.try_for_each(discard)?;
        Ok((Writer::begin(first, ends, producers), next))
    }
}

/// What the producers have sent up to the end of a segment. A damaged segment, which the next read sets aside, gives
/// nothing: the producers get UNKNOWN_PRODUCER_ID and begin again.
fn producers_of(segment: &Segment) -> Result<Producers, Error> {
    let read = segment.db().and_then(|db| db.producers());
    if segment.summary().is_some() {
        segment.close();
    }
    match read {
        Ok(producers) => Ok(Producers::new(producers)),
        Err(error @ Error::Corrupt { .. }) => {
            tracing::warn!(%error, "what producers have sent is not known");
            Ok(Producers::default())
        }
        Err(error) => Err(error),
    }
}

/// Whether the database of a segment says that it was made for this one, whatever the file beside it says.
fn is_of(dir: &Path, header: &Header) -> bool {
    let identity = || {
        for cut in journal::cut(&db_dir(dir), dir, now_ms())? {
            cut.report();
        }
        segment::open_db(dir, header.partitions)?.identity()
    };
    identity().is_ok_and(|found| found.as_ref() == Some(header))
}

/// Whether a segment's database has other records than its summary.
fn contradicts(db: &SegmentDb, header: &Header, summary: &Summary) -> Result<bool, Error> {
    if db.identity()?.is_some_and(|found| found != *header) {
        return Ok(false); // the database itself is another segment's
    }
    for (partition, range) in (0..).zip(&summary.ranges) {
        let Some(start) = db.start(partition)? else {
            continue; // nothing was written to it
        };
        let end = db.end(partition)?.unwrap_or(start);
        if (start, end) != (range.start, range.end) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn segment_end(segment: &Segment, partition: u32) -> Result<Offset, Error> {
    if let Some(summary) = segment.summary() {
        return Ok(summary.ranges[partition as usize].end);
    }
    let end = segment.db()?.end(partition)?;
    Ok(end.unwrap_or(segment.start(partition)))
}

fn number_of(dir: &Path) -> Option<u64> {
    dir.file_name()?.to_str()?.parse().ok()
}

fn discard(prepared: Prepared) -> Result<(), Error> {
    drop(prepared.db);
    let renamed = segment::rename_away(&prepared.dir, DELETED)?;
    segment::remove(&renamed)
}

/// What lies between the ends of one segment and the starts of the next.
pub(crate) fn gaps_between(
    ends: &[Offset],
    starts: &[Offset],
    found_at_ms: i64,
    reason: &str,
) -> Vec<Gap> {
    let pairs = (0..).zip(ends.iter().zip(starts));
    pairs
        .filter(|(_, (end, start))| end < start)
        .map(|(partition, (end, start))| Gap {
            partition,
            start: *end,
            end: *start,
            found_at_ms,
            applied: Applied::Unknown,
            reason: reason.to_owned(),
        })
        .collect()
}

/// Says that records are lost.
pub(crate) fn report_gaps(topic: &str, gaps: &[Gap]) {
    for gap in gaps {
        tracing::error!(
            topic, partition = gap.partition, start = %gap.start, end = %gap.end, reason = gap.reason,
            "the log has a gap: its offsets are skipped and never assigned again"
        );
    }
}
