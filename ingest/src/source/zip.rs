//! A zip archive that holds one file.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bekk_stream::shown;
use bzip2::bufread::BzDecoder;
use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use crate::source::decoder::Sequential;

/// How far before its end an archive's directory may be announced, in bytes: behind it there is a comment at most.
const END_BYTES: u64 = 22 + 65_535;
/// What an archive's end begins with.
const END_MAGIC: &[u8] = b"PK\x05\x06";
/// How many of several entries are named.
const NAMED_MAX: usize = 5;

/// The one file that an archive holds. It is searched at the first read.
pub(super) struct ZipEntry {
    file: Arc<File>,
    open: Option<Open>,
}

struct Open {
    reader: Method,
    crc: Crc,
    expected_crc: u32,
    expected_len: u64,
    len: u64,
}

enum Method {
    Stored(BufReader<Sequential>),
    Deflated(DeflateDecoder<BufReader<Sequential>>),
    Bzip2(BzDecoder<BufReader<Sequential>>),
}

impl ZipEntry {
    pub(super) fn new(file: &Arc<File>) -> Self {
        Self {
            file: Arc::clone(file),
            open: None,
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.open.is_none() {
            self.open = Some(find(&self.file)?);
        }
        let open = self.open.as_mut().expect("it was opened above");
        let read = match &mut open.reader {
            Method::Stored(reader) => reader.read(buffer),
            Method::Deflated(reader) => reader.read(buffer),
            Method::Bzip2(reader) => reader.read(buffer),
        };
        let read = read.map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None => damaged(error.to_string()),
        })?;
        open.crc.update(&buffer[..read]);
        open.len += read as u64;
        let is_whole = open.len == open.expected_len && open.crc.sum() == open.expected_crc;
        if read == 0 && !is_whole {
            return Err(damaged("its checksum is not that of its content"));
        }
        Ok(read)
    }
}

/// Finds an archive's one file.
fn find(file: &Arc<File>) -> io::Result<Open> {
    let len = file.metadata()?.len();
    if !has_end(file, len)? {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it is cut off",
        ));
    }
    let mut archive = ZipArchive::new(BufReader::new(At::new(file, len))).map_err(unreadable)?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(unreadable)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        // macOS adds these beside each file; they hold no data of the user.
        if !entry.is_dir() && !name.starts_with("__MACOSX/") {
            names.push((index, name));
        }
    }
    if names.iter().any(|(_, name)| name == "[Content_Types].xml") {
        return Err(unsupported(
            "it is an Excel workbook (.xlsx), not CSV; save it as CSV",
        ));
    }
    let [(index, _)] = names[..] else {
        return Err(unsupported(several(&names)));
    };
    let entry = archive.by_index_raw(index).map_err(unreadable)?;
    if entry.encrypted() {
        return Err(unsupported("it is encrypted; put it there unpacked"));
    }
    let start = entry
        .data_start()
        .ok_or_else(|| damaged("it has no data"))?;
    let end = start.saturating_add(entry.compressed_size());
    let input = BufReader::new(Sequential::part(file, start, end));
    let reader = match entry.compression() {
        CompressionMethod::Stored => Method::Stored(input),
        CompressionMethod::Deflated => Method::Deflated(DeflateDecoder::new(input)),
        CompressionMethod::Bzip2 => Method::Bzip2(BzDecoder::new(input)),
        other => {
            return Err(unsupported(format!(
                "its entry is compressed by {other}, which is not read; pack it with deflate"
            )));
        }
    };
    Ok(Open {
        reader,
        crc: Crc::new(),
        expected_crc: entry.crc32(),
        expected_len: entry.size(),
        len: 0,
    })
}

/// Whether an archive has come to its end, where its directory is.
fn has_end(file: &File, len: u64) -> io::Result<bool> {
    let start = len.saturating_sub(END_BYTES);
    let mut end = vec![0; usize::try_from(len - start).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut end, start)?;
    let found = memchr::memmem::rfind(&end, END_MAGIC).map(|at| &end[at..]);
    Ok(found.is_some_and(|end| {
        let comment = end
            .get(20..22)
            .map(|len| u16::from_le_bytes([len[0], len[1]]));
        comment.is_some_and(|len| end.len() >= 22 + usize::from(len))
    }))
}

fn several(names: &[(usize, String)]) -> String {
    if names.is_empty() {
        return "the zip archive is empty; pack one file in it".to_owned();
    }
    let shown: Vec<String> = names
        .iter()
        .take(NAMED_MAX)
        .map(|(_, name)| format!("`{}`", shown(name)))
        .collect();
    let more = match names.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "the zip archive holds {} files: {}{more}; unpack it, or pack each of them alone",
        names.len(),
        shown.join(", ")
    )
}

fn unreadable(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(error) if error.raw_os_error().is_some() => error,
        zip::result::ZipError::UnsupportedArchive(why) => unsupported(why.to_string()),
        error => damaged(error.to_string()),
    }
}

fn damaged(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn unsupported(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.into())
}

/// A file with a place of its own, whatever else reads it.
struct At {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl At {
    fn new(file: &Arc<File>, len: u64) -> Self {
        let file = Arc::clone(file);
        Self { file, at: 0, len }
    }
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.len, by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = base
            .checked_add_signed(by)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
