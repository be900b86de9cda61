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
/// What points to the end of a zip64 archive.
const END_64_POINTER_MAGIC: &[u8] = b"PK\x06\x07";
/// Longest directory of an archive, in bytes: of one file, and what programs put beside it.
const DIRECTORY_BYTES_MAX: u64 = 1 << 20;
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
    let Some(directory_len) = directory_len(file, len)? else {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it is cut off",
        ));
    };
    // All of it is held at once.
    if directory_len > DIRECTORY_BYTES_MAX {
        return Err(unsupported(format!(
            "the zip archive's directory has {directory_len} bytes, as one of thousands of files; unpack it, or pack each \
             of them alone"
        )));
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
        return Err(unsupported(
            "it is encrypted; extract its file and put that into the inbox",
        ));
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

/// The length of an archive's directory, as the archive's end says; `None` if it has not come to its end.
fn directory_len(file: &File, len: u64) -> io::Result<Option<u64>> {
    let start = len.saturating_sub(END_BYTES);
    let mut end = vec![0; usize::try_from(len - start).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut end, start)?;
    let Some(at) = memchr::memmem::rfind(&end, END_MAGIC) else {
        return Ok(None);
    };
    let (record, before) = (&end[at..], &end[..at]);
    let Some(fields) = record.first_chunk::<22>() else {
        return Ok(None);
    };
    if record.len() < 22 + usize::from(u16::from_le_bytes([fields[20], fields[21]])) {
        return Ok(None);
    }
    let directory_len = u32::from_le_bytes([fields[12], fields[13], fields[14], fields[15]]);
    if directory_len < u32::MAX {
        return Ok(Some(directory_len.into()));
    }
    // It is in the end of a zip64 archive, which the 20 bytes before this record point to.
    let pointer = before.last_chunk::<20>();
    let pointer = pointer.filter(|pointer| pointer.starts_with(END_64_POINTER_MAGIC));
    let pointer =
        pointer.ok_or_else(|| damaged("its last bytes do not give the size of its directory"))?;
    let place = pointer[8..]
        .first_chunk()
        .map_or(0, |place| u64::from_le_bytes(*place));
    let mut end_64 = [0; 56];
    file.read_exact_at(&mut end_64, place)
        .map_err(|_| damaged("its end points to no directory"))?;
    let directory_len = end_64[40..].first_chunk();
    Ok(directory_len.map(|len| u64::from_le_bytes(*len)))
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
