//! What `bekk.meta` has of each file, in few bytes: enough to say which files are finished, before anything else of
//! them is kept. There may be a million files, also such as were met together and finished much later.

use std::collections::BTreeMap;

use bekk_stream::{FileId, FileRecord, Meta, Progress, Receipt};

use crate::ledger::archive::Archived;
use crate::ledger::metas::Needed;

/// What the records of `bekk.meta` up to some offset say of a file that is not finished.
#[derive(Debug, Clone, Copy)]
struct Brief {
    /// What is kept of the file once it is finished, if it is one of ours and of a configured stream; with the receipt
    /// that was met last, or none yet.
    file: Option<Archived>,
    /// Offset of the first record about the file
    first_at: u64,
    /// The greatest position of the file that was told, or 0
    position: u64,
}

/// The files of `bekk.meta`, in brief.
#[derive(Default)]
pub(crate) struct Briefs {
    open: BTreeMap<FileId, Brief>,
    /// Those that have a receipt, and are not further than that.
    finished: BTreeMap<FileId, Archived>,
}

impl Briefs {
    /// Takes in a record.
    pub(crate) fn add(&mut self, meta: &Meta, at: u64, needed: &Needed<'_>) {
        match meta {
            Meta::Schema(..) => {}
            Meta::File(file) => self.add_file(file, at, needed),
            Meta::Receipt(receipt) => self.add_receipt(receipt, at, needed),
            Meta::Progress(progress) | Meta::Begun(progress) => self.add_progress(progress, at),
        }
    }

    /// Those that are finished, of which nothing more is needed; and the first offset that tells of another one.
    pub(crate) fn finished(self) -> (BTreeMap<FileId, Archived>, Option<u64>) {
        let first = self.open.into_values().map(|brief| brief.first_at).min();
        (self.finished, first)
    }

    fn add_file(&mut self, file: &FileRecord, at: u64, needed: &Needed<'_>) {
        if let Some(finished) = self.finished.get_mut(&file.id) {
            finished.tell_again(file, at);
            return;
        }
        let brief = self.brief(file.id, at);
        if let Some(known) = &mut brief.file {
            known.tell_again(file, at);
            return;
        }
        let mut streams = needed.streams.iter();
        let stream = streams.position(|stream| stream.name == file.stream);
        brief.file = stream
            .filter(|_| file.ingest == needed.ingest)
            .and_then(|stream| Archived::new(file, stream, (at, 0), 0));
    }

    fn add_receipt(&mut self, receipt: &Receipt, at: u64, needed: &Needed<'_>) {
        self.reopen_if(receipt.file, |finished| receipt.bytes < finished.bytes);
        if let Some(finished) = self.finished.get_mut(&receipt.file) {
            *finished = finished.with_receipt(at, receipt.bytes);
            return;
        }
        let brief = self.brief(receipt.file, at);
        let Some(file) = &mut brief.file else {
            return;
        };
        *file = file.with_receipt(at, receipt.bytes);
        if brief.position <= receipt.bytes && !needed.files.contains(&receipt.file) {
            let file = file.with_first(brief.first_at);
            self.open.remove(&receipt.file);
            self.finished.insert(receipt.file, file);
        }
    }

    fn add_progress(&mut self, progress: &Progress, at: u64) {
        self.reopen_if(progress.file, |finished| progress.position > finished.bytes);
        if !self.finished.contains_key(&progress.file) {
            let brief = self.brief(progress.file, at);
            brief.position = brief.position.max(progress.position);
        }
    }

    /// Takes a file for unfinished again if it is further, or may be, than its receipt says.
    fn reopen_if(&mut self, id: FileId, is_further: impl Fn(&Archived) -> bool) {
        let finished = self.finished.get(&id).copied();
        if let Some(file) = finished.filter(is_further) {
            self.finished.remove(&id);
            let brief = Brief {
                file: Some(file),
                first_at: file.first_at(),
                position: file.bytes,
            };
            self.open.insert(id, brief);
        }
    }

    fn brief(&mut self, id: FileId, at: u64) -> &mut Brief {
        self.open.entry(id).or_insert(Brief {
            file: None,
            first_at: at,
            position: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::testing::stream;

    const OURS: &str = "ingest";

    fn id(number: u8) -> FileId {
        FileId::from_bytes([number; 16])
    }

    fn file(number: u8, ingest: &str, stream: &str) -> Meta {
        Meta::File(FileRecord {
            id: id(number),
            stream: stream.to_owned(),
            ingest: ingest.to_owned(),
            path: b"/in/a.csv".to_vec(),
            device: 1,
            inode: 2,
            head_len: 3,
            head_hash: 4,
            found_at_ms: 5,
            dialect: String::new(),
            host: String::new(),
            first: None,
        })
    }

    fn receipt(number: u8, bytes: u64) -> Meta {
        Meta::Receipt(Receipt {
            file: id(number),
            bytes,
            stream: "things".to_owned(),
            records: 1,
            rejects: 0,
            hash: 0,
            offsets: Vec::new(),
            finished_at_ms: 5,
        })
    }

    fn progress(number: u8, position: u64) -> Meta {
        Meta::Progress(Progress {
            file: id(number),
            position,
            line: 1,
            header_at: 0,
            records: 1,
            rejects: 0,
            crc: None,
            head: (0, 0),
            tail: (0, 0),
            offsets: Vec::new(),
            known: Vec::new(),
        })
    }

    /// The files that are finished, and the first offset of the others.
    fn check(metas: &[Meta], in_checkpoint: &[u8], expected: &[u8], first: Option<u64>) {
        let files: HashSet<FileId> = in_checkpoint.iter().map(|number| id(*number)).collect();
        let needed = Needed {
            files: &files,
            ingest: OURS,
            streams: &[stream()],
        };
        let mut briefs = Briefs::default();
        for (at, meta) in (0..).zip(metas) {
            briefs.add(meta, at, &needed);
        }
        let (finished, others) = briefs.finished();
        let expected: Vec<_> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(finished.into_keys().collect::<Vec<_>>(), expected);
        assert_eq!(others, first);
    }

    #[test]
    fn only_files_with_a_receipt_that_covers_them_are_finished() {
        let ours = |number| file(number, OURS, "things");
        let end = || receipt(1, 9);
        check(&[ours(1), ours(2), end()], &[], &[1], Some(1));
        let both = [ours(1), ours(2), receipt(2, 9), end()];
        check(&both, &[], &[1, 2], None);
        check(&[ours(1), end()], &[1], &[], Some(0));
        check(&[file(1, "other", "things"), end()], &[], &[], Some(0));
        check(&[file(1, OURS, "gone"), end()], &[], &[], Some(0));
        check(&[end()], &[], &[], Some(0));
        // It grew, and was finished again.
        let grown = [ours(1), end(), progress(1, 12), receipt(1, 20)];
        check(&grown[..3], &[], &[], Some(0));
        check(&grown, &[], &[1], None);
    }
}
