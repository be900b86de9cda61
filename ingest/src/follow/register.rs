//! New files get their ids, and files their place among those that are followed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bekk_stream::{CsvDialect, FileId, FileRecord, HeaderRow, Meta};

use crate::clock::now_ms;
use crate::config::Mode;
use crate::file::entry::FileEntry;
use crate::file::evidence::{ContentCheck, verify};
use crate::follow::engine::{Engine, Stopped};
use crate::follow::look::{Disk, Look};
use crate::follow::step::Fresh;
use crate::follow::tracked::{State, Tracked};
use crate::inbox::Listed;
use crate::ledger::metas::append_metas;
use crate::source::Packing;
use crate::source::fingerprint::{Fingerprint, HEAD_MAX};
use crate::source::stat::{Stat, first_seen};
use crate::source::{Kind, Source, kind_of, open};
use crate::stats::Stats;
use crate::text::inherit::{Continues, continues, header_at};
use crate::text::notice::NoticeKind;

impl Engine<'_> {
    /// Gives new files their ids, durably, before anything of them is read.
    pub(crate) fn register(&mut self, fresh: Vec<Fresh>) -> Result<(), Stopped> {
        let mut metas = Vec::new();
        let mut met = Vec::new();
        for fresh in fresh {
            match self.identify(&fresh.file) {
                Ok(Some((record, packing))) => {
                    metas.push(Meta::File(record.clone()));
                    let mut entry = FileEntry::new(record);
                    entry.packing = packing;
                    met.push((fresh, entry));
                }
                Ok(None) => {}
                Err(error) => self.report_unreadable(&fresh.file.path, &error),
            }
        }
        let around = &self.around;
        if !append_metas(around.log, &self.session, &metas, around.stats, around.stop)? {
            return Ok(());
        }
        for (Fresh { file, what, why }, mut entry) in met {
            entry.decide(what, format!("{why}; it has {} bytes", file.stat.size));
            let (id, inherits) = (
                entry.id,
                entry.dialect != self.formats.dialect_of(file.stream),
            );
            self.track(file, entry)?;
            if inherits && let Some(tracked) = self.catalog.get_mut(id) {
                let text = "it begins without a header, and its first record fits that of the file which had its name \
                            before: read under that one";
                let notices = &mut tracked.cursor.notices;
                notices.set(NoticeKind::HeaderInherited, text.to_owned());
                self.report_notices(id);
            }
        }
        Ok(())
    }

    /// What a new file is known by from now on; `None` if there is too little of it.
    fn identify(&mut self, file: &Listed) -> io::Result<Option<(FileRecord, Option<Packing>)>> {
        let open = open::file(&file.path)?;
        let stat = Stat::of(&open.metadata()?);
        if kind_of(&open)? == Kind::Unknown {
            return Ok(None);
        }
        let mut source = Source::new(open)?;
        let packing = source.packing();
        let head_max = match packing {
            None => stat.size.min(HEAD_MAX),
            Some(_) => HEAD_MAX,
        };
        let head = match packing {
            None => Fingerprint::of_lines(&mut source, head_max)?,
            Some(_) => Fingerprint::of_head(&mut source, head_max)?,
        };
        let Some(dialect) = self.dialect_for(file, &mut source)? else {
            return Ok(None);
        };
        let record = FileRecord {
            id: FileId::random(),
            stream: self.around.streams[file.stream].name.clone(),
            path: file.path.as_os_str().as_bytes().to_vec(),
            device: stat.device,
            inode: stat.inode,
            head_len: head.len,
            head_hash: head.hash,
            found_at_ms: now_ms(),
            dialect,
            ingest: self.around.identity.ingest.clone(),
            host: self.around.identity.host.clone(),
            first: self.around.streams[file.stream]
                .asks_for_file()
                .then(|| first_seen(&file.path, &stat)),
        };
        Ok(Some((record, packing)))
    }

    /// The dialect that a new file is begun with: the stream's, or that and the header of the file which had its name
    /// before, if it continues without one. `None` if it has too few bytes to tell.
    fn dialect_for(&mut self, file: &Listed, source: &mut Source) -> io::Result<Option<String>> {
        let stream = file.stream;
        let configured = self.formats.dialect_of(stream);
        let inherited = self.around.streams[stream].csv.clone();
        if inherited.header != HeaderRow::InFile {
            return Ok(Some(configured));
        }
        let names = match self.catalog.header_of_last(stream, &file.path) {
            Some(names) => Some(names.to_vec()),
            None => self.header_of_earlier(file)?,
        };
        let Some(names) = names else {
            return Ok(Some(configured));
        };
        let inherited = CsvDialect {
            header: HeaderRow::Named(names),
            ..inherited
        };
        let stream = &self.around.streams[stream];
        Ok(match continues(source, stream, &inherited)? {
            Continues::No => Some(configured),
            Continues::Yes => Some(inherited.to_text()),
            Continues::Unknown if self.around.config.mode == Mode::Once => Some(configured),
            Continues::Unknown => None,
        })
    }

    /// The header names of the file that an earlier run knew by the name of this one, if that file is beside it now.
    fn header_of_earlier(&self, file: &Listed) -> io::Result<Option<Vec<String>>> {
        let known = &self.catalog.known;
        let Some(entry) = known.named(file.stream, &file.path, file.stat.inode) else {
            return Ok(None);
        };
        let Some(dialect) = CsvDialect::from_text(&entry.dialect) else {
            return Ok(None);
        };
        if let HeaderRow::Named(names) = dialect.header {
            return Ok(Some(names));
        }
        let mut disk = Disk::new(self.around.inbox);
        let Some((path, stat)) = disk.beside(&file.path, entry.device, entry.inode) else {
            return Ok(None);
        };
        let mut source = Source::new(open::file(&path)?)?;
        match entry.position > 0 && verify(&mut source, &stat, entry)? == ContentCheck::Same {
            true => header_at(&mut source, &dialect, entry.header_at),
            false => Ok(None),
        }
    }

    /// Puts a file into the backlog.
    pub(crate) fn track(&mut self, file: Listed, mut entry: FileEntry) -> Result<(), Stopped> {
        let format = self.formats.index_of(file.stream, &entry.dialect)?;
        // One that was met before its columns asked for it is what it was when it was last seen.
        if entry.first.is_none() && self.around.streams[file.stream].asks_for_file() {
            let known = Path::new(OsStr::from_bytes(&entry.path));
            entry.first = Some(first_seen(known, &file.stat));
        }
        (entry.device, entry.inode) = (file.stat.device, file.stat.inode);
        entry.path = file.path.as_os_str().as_bytes().to_vec();
        let id = entry.id;
        let mut tracked = Tracked::new((file.stream, format), file.path, entry, file.stat);
        let stats = self.around.stats;
        Stats::add(&stats.files_found, 1);
        Stats::add(&stats.bytes_known, tracked.size());
        Stats::add(&stats.bytes_read, tracked.entry.position);
        self.summary.files += 1;
        tracked.scan = self.scan;
        if self.around.config.mode == Mode::Once {
            tracked.until = file.stat.size;
        }
        if tracked.is_finished_packed() {
            tracked.state = State::Finished;
        } else {
            self.queue.enqueue(id);
        }
        self.catalog.insert(tracked);
        self.account.touch();
        Ok(())
    }
}
