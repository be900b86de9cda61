//! Finds the record batches in the files of a segment, whatever else is damaged there.
//!
//! Each batch has its CRC. Its offset stands before that, so that it is believed only where a checksum of
//! fjall's covers it too (*sealed*), or where it continues, or is continued by, what is believed already.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Known;
use super::blocks::{find, read_at, whole_blocks};
use super::made_for::{self, NoteBytes};
use crate::batch::{BatchView, HEADER_BYTES, LENGTH_FROM, MAGIC};
use crate::files::{self, io_error};
use crate::journal;
use crate::notes::{Note, Notes, Origin};
use crate::segment::{self, Header, db_dir};
use crate::{Error, Offset};

/// How much of a file is searched at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Largest size of a stored batch that is believed, in bytes
const BATCH_BYTES_MAX: usize = 64 << 20;
/// Size of what stands before a batch in a journal: its item's head and key.
const ITEM_BYTES: usize = 29;
/// fjall numbers its keyspaces in the order in which they are made: its own, `meta`, and the partitions.
const PARTITION_KEYSPACES_FROM: u64 = 2;

/// A batch that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundBatch {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    /// Index of the file in [`Scan::files`].
    pub(crate) file: usize,
    pub(crate) at: u64,
    pub(crate) len: usize,
    crc: u32,
    is_sealed: bool,
}

impl FoundBatch {
    fn note(&self) -> NoteBytes {
        let records = self.end.get() - self.base.get();
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let (base, crc) = (self.base, self.crc);
        Note { base, crc, records }.encode()
    }

    fn origin(&self, notes: &Notes) -> Origin {
        notes.origin(self.base, self.end, self.crc)
    }
}

/// What the files of a segment's database hold.
pub(crate) struct Scan {
    pub(crate) files: Vec<PathBuf>,
    /// The batches of each partition, in the order of their offsets, none of which overlap.
    pub(crate) partitions: Vec<Vec<FoundBatch>>,
    /// Whether each journal is whole to its end.
    pub(crate) is_whole_at_end: bool,
}

impl Scan {
    /// Searches the segment in `dir`. Its files may be another segment's, so that only what is known to belong there
    /// is taken.
    pub(crate) fn of(dir: &Path, known: &Known) -> Result<Self, Error> {
        let (starts, ends) = (&known.starts, known.ends.as_deref());
        let mut search = Search {
            scan: Self {
                files: Vec::new(),
                partitions: starts.iter().map(|_| Vec::new()).collect(),
                is_whole_at_end: true,
            },
            bytes: Vec::new(),
        };
        for (partition, keyspace) in (0..starts.len()).zip(PARTITION_KEYSPACES_FROM..) {
            for path in segment::places(dir, keyspace)
                .iter()
                .flat_map(|tables| files_in(tables))
            {
                search
                    .table(&path, partition)
                    .map_err(|source| io_error("read", &path, source))?;
            }
        }
        for path in files_in(&db_dir(dir)) {
            if !is_journal(&path) {
                continue;
            }
            search
                .journal(&path)
                .map_err(|source| io_error("read", &path, source))?;
        }
        let mut scan = search.scan;
        scan.drop_foreign(dir, &known.header)
            .map_err(|source| io_error("read", dir, source))?;
        let is_table: Vec<bool> = scan.files.iter().map(|path| !is_journal(path)).collect();
        sort_out(&mut scan.partitions, &known.notes, &is_table);
        for (partition, (found, start)) in scan.partitions.iter_mut().zip(starts).enumerate() {
            let end = ends.map(|ends| ends[partition]);
            found.retain(|one| one.base >= *start && end.is_none_or(|end| one.end <= end));
            *found = believed(std::mem::take(found), *start);
        }
        Ok(scan)
    }

    /// Drops the batches that another segment's database has noted, all others of a table with such a batch, and those of
    /// the other segment's journals.
    fn drop_foreign(&mut self, dir: &Path, own: &Header) -> io::Result<()> {
        let found = self.partitions.iter().flatten();
        let wanted = found.map(FoundBatch::note).collect();
        let Some(foreign) = made_for::foreign(dir, own, &wanted)? else {
            return Ok(());
        };
        let is_foreign = |one: &&FoundBatch| foreign.noted.contains(&one.note());
        let found = self.partitions.iter().flatten();
        let mut files: HashSet<usize> = found.filter(is_foreign).map(|one| one.file).collect();
        files.retain(|file| !is_journal(&self.files[*file]));
        let numbered = self.files.iter().enumerate();
        let journals = numbered.filter(|(_, path)| foreign.journals.contains(path));
        files.extend(journals.map(|(file, _)| file));
        for found in &mut self.partitions {
            found.retain(|one| !files.contains(&one.file) && !is_foreign(&one));
        }
        // Its own journal may have had more.
        self.is_whole_at_end = false;
        Ok(())
    }

    /// How many records the batches have.
    pub(crate) fn records(&self) -> u64 {
        let found = self.partitions.iter().flatten();
        found.map(|one| one.end.get() - one.base.get()).sum()
    }

    /// The bytes of a batch.
    pub(crate) fn read(&self, found: &FoundBatch) -> Result<Vec<u8>, Error> {
        let path = &self.files[found.file];
        let mut bytes = vec![0; found.len];
        File::open(path)
            .and_then(|file| read_at(&file, &mut bytes, found.at))
            .map_err(|source| io_error("read", path, source))?;
        Ok(bytes)
    }
}

/// The files in a directory; none if it cannot be listed.
pub(super) fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut paths = files::entries(dir).unwrap_or_default();
    paths.retain(|path| path.is_file());
    paths
}

struct Search {
    scan: Scan,
    bytes: Vec<u8>,
}

impl Search {
    fn table(&mut self, path: &Path, partition: usize) -> io::Result<()> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let number = self.add_file(path);
        let mut at = 0;
        for block in whole_blocks(&file, len)? {
            let place = |_: &File, _: u64, _: Offset, _: usize| Ok(Some(partition));
            self.search(&file, number, at..block.start, false, place)?;
            at = block.end;
            self.search(&file, number, block, true, place)?;
        }
        self.search(&file, number, at..len, false, |_, _, _, _| {
            Ok(Some(partition))
        })
    }

    fn journal(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let number = self.add_file(path);
        let mut at = 0;
        let mut is_whole = true;
        while at < len {
            let whole = journal::whole_from(path, at)?;
            if whole > at {
                self.search(&file, number, at..whole, true, partition_of_item)?;
                is_whole = true;
            }
            // What follows is damaged, up to the end of some later write.
            let trailer = find(&file, whole, len, &journal::TRAILER)?;
            at = trailer.map_or(len, |at| at + journal::TRAILER.len() as u64);
            is_whole &= trailer.is_none();
            self.search(&file, number, whole..at, false, partition_of_item)?;
        }
        self.scan.is_whole_at_end &= is_whole;
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> usize {
        self.scan.files.push(path.to_owned());
        self.scan.files.len() - 1
    }

    /// Looks for batches that lie in `range`. `place` tells the partition of one from where it is, its base
    /// offset and its length.
    fn search(
        &mut self,
        file: &File,
        number: usize,
        range: Range<u64>,
        is_sealed: bool,
        place: impl Fn(&File, u64, Offset, usize) -> io::Result<Option<usize>>,
    ) -> io::Result<()> {
        let mut at = range.start;
        let mut chunk = vec![0; CHUNK_BYTES];
        while at + HEADER_BYTES as u64 <= range.end {
            let left = range.end - at;
            let size = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            read_at(file, &mut chunk[..size], at)?;
            let last = size - HEADER_BYTES;
            let mut i = 0;
            let mut passed = None;
            while i <= last {
                if let Some(len) = len_of_header(&chunk[i..i + HEADER_BYTES])
                    && at + (i + len) as u64 <= range.end
                    && let Some((base, end, crc)) = self.parse(file, at + i as u64, len)?
                    && let Some(partition) = place(file, at + i as u64, base, len)?
                    && let Some(of_partition) = self.scan.partitions.get_mut(partition)
                {
                    of_partition.push(FoundBatch {
                        base,
                        end,
                        file: number,
                        at: at + i as u64,
                        len,
                        crc,
                        is_sealed,
                    });
                    if i + len > last {
                        passed = Some(at + (i + len) as u64);
                        break;
                    }
                    i += len;
                } else {
                    i += 1;
                }
            }
            at = passed.unwrap_or(at + last as u64 + 1);
        }
        Ok(())
    }

    /// The offsets of the batch at `at` and its CRC, if it is whole.
    fn parse(
        &mut self,
        file: &File,
        at: u64,
        len: usize,
    ) -> io::Result<Option<(Offset, Offset, u32)>> {
        self.bytes.resize(len, 0);
        read_at(file, &mut self.bytes, at)?;
        let batch = BatchView::parse(&self.bytes).ok();
        Ok(batch.map(|batch| (batch.base_offset(), batch.end_offset(), batch.crc())))
    }
}

/// The length of the batch that may begin with these bytes.
fn len_of_header(header: &[u8]) -> Option<usize> {
    if header[16] != MAGIC {
        return None;
    }
    let number = |at: usize| {
        let bytes = header[at..].first_chunk().copied();
        u32::from_be_bytes(bytes.expect("the header is longer"))
    };
    let (last_delta, records) = (number(23), number(57));
    let len = number(8) as usize + LENGTH_FROM;
    let is_possible = (HEADER_BYTES..=BATCH_BYTES_MAX).contains(&len)
        && last_delta.checked_add(1) == Some(records);
    is_possible.then_some(len)
}

/// The partition that a journal's item before a batch names, if it is the batch's own.
fn partition_of_item(file: &File, at: u64, base: Offset, len: usize) -> io::Result<Option<usize>> {
    let Some(from) = at.checked_sub(ITEM_BYTES as u64) else {
        return Ok(None);
    };
    let mut item = [0; ITEM_BYTES];
    read_at(file, &mut item, from)?;
    let keyspace = u64::from_le_bytes(*item[3..].first_chunk().expect("the item is longer"));
    let stored = u32::from_le_bytes(*item[17..].first_chunk().expect("the item is longer"));
    let is_own = item[0] == 2 && item[21..] == base.get().to_be_bytes() && stored as usize == len;
    let partition = keyspace.checked_sub(PARTITION_KEYSPACES_FROM);
    let partition = partition.and_then(|partition| usize::try_from(partition).ok());
    Ok(partition.filter(|_| is_own))
}

/// Moves each batch to the partition to which it belongs by its note: two tables may have changed places. Drops batches that
/// belong to no partition. From a table with a batch of another partition only batches with a note are kept.
fn sort_out(partitions: &mut [Vec<FoundBatch>], notes: &[Notes], is_table: &[bool]) {
    let mut all = Vec::new();
    let mut mixed_up = HashSet::new();
    for (partition, (found, notes)) in partitions.iter_mut().zip(notes).enumerate() {
        for one in found.drain(..) {
            let origin = one.origin(notes);
            if origin == Origin::Other && is_table[one.file] {
                mixed_up.insert(one.file);
            }
            all.push((partition, one, origin));
        }
    }
    for (partition, one, origin) in all {
        let home = match origin {
            Origin::Own => Some(partition),
            Origin::Unknown => Some(partition).filter(|_| !mixed_up.contains(&one.file)),
            Origin::Other => notes
                .iter()
                .position(|notes| one.origin(notes) == Origin::Own),
        };
        if let Some(home) = home {
            partitions[home].push(one);
        }
    }
}

pub(super) fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

/// Those that are believed, in the order of their offsets, none twice.
fn believed(mut found: Vec<FoundBatch>, start: Offset) -> Vec<FoundBatch> {
    found.sort_by_key(|found| (found.base, !found.is_sealed, found.end));
    let mut kept: Vec<FoundBatch> = Vec::new();
    let mut doubtful = Vec::new();
    for one in found {
        match one.is_sealed {
            true if kept.last().is_none_or(|last| last.end <= one.base) => kept.push(one),
            true => {}
            false => doubtful.push(one),
        }
    }
    // Forwards from what is believed, then backwards.
    for one in &doubtful {
        let at = kept.partition_point(|kept| kept.base < one.base);
        let before = at.checked_sub(1).map_or(start, |before| kept[before].end);
        let after = kept.get(at).map(|after| after.base);
        if before == one.base && after.is_none_or(|after| one.end <= after) {
            kept.insert(at, one.clone());
        }
    }
    for one in doubtful.iter().rev() {
        let at = kept.partition_point(|kept| kept.base < one.base);
        let before = at.checked_sub(1).map_or(start, |before| kept[before].end);
        let after = kept.get(at).map(|after| after.base);
        if before <= one.base && after == Some(one.end) {
            kept.insert(at, one.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(base: u64, end: u64, is_sealed: bool) -> FoundBatch {
        FoundBatch {
            base: Offset::new(base),
            end: Offset::new(end),
            file: 0,
            at: 0,
            len: 0,
            crc: 0,
            is_sealed,
        }
    }

    fn check(start: u64, batches: &[(u64, u64, bool)], expected: &[(u64, u64)]) {
        let batches = batches
            .iter()
            .map(|(base, end, sealed)| found(*base, *end, *sealed));
        let believed = believed(batches.collect(), Offset::new(start));
        let ranges: Vec<_> = believed
            .iter()
            .map(|one| (one.base.get(), one.end.get()))
            .collect();
        assert_eq!(ranges, expected);
    }

    #[test]
    fn an_offset_without_a_checksum_is_believed_where_it_fits() {
        check(
            0,
            &[(5, 9, true), (0, 5, true), (0, 5, true)],
            &[(0, 5), (5, 9)],
        );
        check(0, &[(0, 5, false), (5, 9, false)], &[(0, 5), (5, 9)]);
        check(1, &[(0, 5, false), (7, 9, true)], &[(7, 9)]);
        check(
            0,
            &[(2, 5, false), (5, 9, true), (12, 13, false)],
            &[(2, 5), (5, 9)],
        );
        check(
            0,
            &[(0, 3, true), (4, 6, false), (6, 8, true)],
            &[(0, 3), (4, 6), (6, 8)],
        );
        check(
            0,
            &[(0, 3, true), (2, 4, false), (3, 7, false), (6, 8, true)],
            &[(0, 3), (6, 8)],
        );
        check(0, &[(0, 3, true), (1, 9, true)], &[(0, 3)]);
    }
}
