//! Where the reading of a file stands.

use std::io;

use bekk_stream::{Encoding, FileId, FirstSeen};
use xxhash_rust::xxh3::Xxh3;

use crate::source::Source;
use crate::source::fingerprint::{Fingerprint, TAIL_MAX};
use crate::text::coding::Coding;
use crate::text::header::Header;
use crate::text::later::{Order, ReadAgain};
use crate::text::notice::{NoticeKind, Notices};
use crate::text::overlong::Overlong;
use crate::text::ranges::Ranges;
use crate::text::recent::Recent;
use crate::text::trial::Trial;

/// Where the reading of a file stands.
pub(crate) struct Cursor {
    pub(crate) file: FileId,
    /// What the file was when it was met, if its columns ask for it.
    pub(crate) seen: Option<FirstSeen>,
    /// The first byte that has not been taken: where a record begins.
    pub(crate) position: u64,
    /// The number of the line that begins there.
    pub(crate) line: u64,
    pub(crate) header: Option<Header>,
    /// The fingerprint of the bytes just before the position.
    pub(crate) tail: Fingerprint,
    /// The CRC-32C of all bytes before the position, if it is known.
    pub(crate) crc: Option<u32>,
    /// The same of all bytes that have been looked at.
    scanned_crc: Option<u32>,
    /// How the file's bytes are text; found out when it is first read.
    coding: Option<Coding>,
    /// What is in the log already, to be passed over.
    pub(crate) known: Ranges,
    /// Set where the log has lost records of it.
    pub(crate) again: Option<ReadAgain>,
    /// How many of those are not appended again: older than others of their keys, and perhaps so.
    not_again: (u64, u64),
    /// The first records of a file that may yet be set aside.
    pub(crate) trial: Option<Box<Trial>>,
    /// The hash of all bytes so far, if the file was read from its beginning without a break.
    pub(crate) hash: Option<Box<Xxh3>>,
    pub(crate) overlong: Option<Box<Overlong>>,
    /// What is to be reported of the file.
    pub(crate) notices: Notices,
    /// How many lines repeat the header.
    repeated_headers: u64,
    /// How many records begin with a byte order mark.
    marked: u64,
    /// Columns of which it was noted that they lose digits, as bits, and what was noted.
    digits_lost: (u64, Vec<String>),
    /// How many lines of a footer were passed over.
    passed: u64,
    /// How many zeros were passed over.
    zeros: u64,
    /// Whether a quote is open where the file ends, and lines stand behind it.
    pub(crate) is_quote_open: bool,
    /// Where a record begins that has zeros within it, behind which the file continues.
    pub(crate) hole_at: Option<u64>,
    /// Where a record begins whose quotes are wrong, as was found far behind it: its first line is to be taken.
    pub(crate) broken_at: Option<u64>,
    /// The bytes just before the position, of a file that is open.
    pub(crate) recent: Recent,
}

/// A place up to which a file has been read before.
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) line: u64,
    pub(crate) tail: Fingerprint,
    pub(crate) crc: Option<u32>,
    /// What else of it is in the log.
    pub(crate) known: Ranges,
    pub(crate) again: Option<ReadAgain>,
}

impl Cursor {
    pub(crate) fn new(file: FileId) -> Self {
        Self {
            file,
            seen: None,
            position: 0,
            line: 1,
            header: None,
            tail: Fingerprint::of(&[]),
            crc: Some(0),
            scanned_crc: Some(0),
            coding: None,
            known: Ranges::default(),
            again: None,
            not_again: (0, 0),
            trial: None,
            hash: Some(Box::default()),
            overlong: None,
            notices: Notices::default(),
            repeated_headers: 0,
            marked: 0,
            digits_lost: (0, Vec::new()),
            passed: 0,
            zeros: 0,
            is_quote_open: false,
            hole_at: None,
            broken_at: None,
            recent: Recent::default(),
        }
    }

    /// The cursor of a file that has been read up to a place.
    pub(crate) fn resumed(file: FileId, from: Place) -> Self {
        Self {
            position: from.position,
            line: from.line,
            tail: from.tail,
            crc: from.crc,
            scanned_crc: from.crc,
            known: from.known,
            again: from.again,
            hash: (from.position == 0).then(Box::default),
            ..Self::new(file)
        }
    }

    /// The first byte that has not been looked at.
    pub(crate) fn scanned(&self) -> u64 {
        self.position
            + self
                .overlong
                .as_ref()
                .map_or(0, |record| record.file_length)
    }

    /// Takes the header that holds from here on.
    pub(crate) fn set_header(&mut self, header: Header) {
        for notice in &header.notices {
            self.notices.set(notice.kind, notice.text.clone());
        }
        self.header = Some(header);
    }

    /// Whether a record that begins at the cursor's position must not be appended: the log has lost it, and later
    /// ones of its key are there.
    pub(crate) fn is_superseded(&mut self, partition: u32, key: Option<&[u8]>) -> bool {
        let (Some(again), Some(key)) = (&self.again, key) else {
            return false;
        };
        if self.position >= again.until {
            self.again = None;
            return false;
        }
        match again.later.order(partition, key) {
            Order::Newest => return false,
            Order::Older => self.not_again.0 += 1,
            Order::Unknown => self.not_again.1 += 1,
        }
        let (older, unknown) = self.not_again;
        let records = |n: u64| format!("{n} {}", if n == 1 { "record" } else { "records" });
        let unknown = match unknown {
            0 => String::new(),
            _ => format!(
                ", and {} of which that is not certain: compare the table with the file (bekk audit --deep)",
                records(unknown)
            ),
        };
        let text = format!(
            "the log had lost records of it: not appended again are {} that later ones of their keys supersede{unknown}",
            records(older)
        );
        self.notices.set(NoticeKind::Superseded, text);
        true
    }

    /// Takes note of zeros that were passed over.
    pub(crate) fn note_zeros(&mut self, len: u64) {
        self.zeros += len;
        let text = format!(
            "skipped {} zero bytes where records should begin, the last ones before byte {}",
            self.zeros,
            self.position + len
        );
        self.notices.set(NoticeKind::Zeros, text);
    }

    /// Takes note of a line that was passed over as the stream says.
    pub(crate) fn note_passed(&mut self) {
        self.passed += 1;
        let lines = match self.passed {
            1 => "1 line was".to_owned(),
            more => format!("{more} lines were"),
        };
        let text = format!(
            "{lines} skipped because of `footer` in `csv`, the last at line {}",
            self.line
        );
        self.notices.set(NoticeKind::Passed, text);
    }

    /// Takes note of a line that was passed over because it is the header again.
    pub(crate) fn note_repeated_header(&mut self) {
        self.repeated_headers += 1;
        let lines = match self.repeated_headers {
            1 => "1 line repeats the header and was".to_owned(),
            more => format!("{more} lines repeat the header and were"),
        };
        let text = format!("{lines} passed over, the last one at line {}", self.line);
        self.notices.set(NoticeKind::HeaderRepeated, text);
    }

    /// Takes note of a record that begins with a byte order mark, which is part of its first field.
    pub(crate) fn note_mark(&mut self) {
        self.marked += 1;
        let records = match self.marked {
            1 => "1 record begins".to_owned(),
            more => format!("{more} records begin"),
        };
        let text = format!(
            "{records} with a byte order mark (bytes EF BB BF), the last one at line {}: the mark is part of the first \
             field's value; where files are concatenated, leave out the marks of all but the first",
            self.line
        );
        self.notices.set(NoticeKind::MarkInside, text);
    }

    /// The columns, as bits, of which it was not noted yet that they lose digits.
    pub(crate) fn new_digits_lost(&self, columns: u64) -> u64 {
        columns & !self.digits_lost.0
    }

    /// Takes note that a number has digits which its column does not keep.
    pub(crate) fn note_digits_lost(&mut self, column: u32, what: &str) {
        let (columns, noted) = &mut self.digits_lost;
        *columns |= 1 << column;
        noted.push(format!("{what} at line {}", self.line));
        let text = format!(
            "numbers lose digits: {}; type = \"text\" keeps all of them, and \"numeric\" all but zeros before them; if those \
             mean nothing: strip = [\"0\"]",
            noted.join(", ")
        );
        self.notices.set(NoticeKind::DigitsLost, text);
    }

    /// Goes back to the position from an over-long record that has begun there and whose quotes are wrong.
    pub(crate) fn rewind(&mut self, hash: Option<Box<Xxh3>>) {
        self.overlong = None;
        self.hash = hash;
        self.scanned_crc = self.crc;
        self.broken_at = Some(self.position);
    }

    /// Whether the file still has the bytes before the position. Asked after each reading: a file that still has them was
    /// not emptied or rewritten before that. Compressed files are compared as a whole.
    pub(crate) fn is_as_read(&self, source: &mut Source) -> io::Result<bool> {
        let start = self.position.saturating_sub(self.tail.len);
        Ok(source.packing().is_some() || self.tail.matches(source, start)?)
    }

    /// Takes note of bytes of the file that have been looked at, which began at `start`.
    pub(crate) fn scan(&mut self, start: u64, bytes: &[u8]) {
        // After the position may be the beginning of an over-long record.
        let taken = usize::try_from(self.position.saturating_sub(start)).unwrap_or(usize::MAX);
        let (taken, ahead) = bytes.split_at(taken.min(bytes.len()));
        if let Some(hash) = &mut self.hash {
            hash.update(taken);
            if let Some(overlong) = &mut self.overlong
                && overlong.hash_before.is_none()
            {
                overlong.hash_before = Some(hash.clone());
            }
            hash.update(ahead);
        }
        if !taken.is_empty() {
            self.crc = self.recent.append(self.scanned_crc, taken);
            self.scanned_crc = self.crc;
            self.tail = Fingerprint::of(&taken[taken.len().saturating_sub(TAIL_MAX)..]);
        }
        if !ahead.is_empty() {
            self.scanned_crc = self
                .scanned_crc
                .map(|crc| crc32c::crc32c_append(crc, ahead));
            self.recent.clear();
        }
    }
}

/// Bytes of a file that are compared to recognise UTF-16 without a byte order mark
const UNMARKED_BYTES: usize = 16;

/// The encoding of a file that begins with ASCII characters in UTF-16, without a byte order mark.
fn unmarked_utf16(begin: &[u8]) -> Option<&'static str> {
    let (characters, _) = begin.as_chunks();
    if begin.len() < UNMARKED_BYTES {
        None
    } else if characters.iter().all(|[low, high]| *low != 0 && *high == 0) {
        Some("utf16le")
    } else if characters.iter().all(|[high, low]| *low != 0 && *high == 0) {
        Some("utf16be")
    } else {
        None
    }
}

/// Finds out how a file's bytes are text; inside, why they cannot be.
pub(crate) fn find_coding(
    source: &mut Source,
    cursor: &mut Cursor,
    encoding: Encoding,
) -> io::Result<Result<Coding, String>> {
    if let Some(coding) = cursor.coding {
        return Ok(Ok(coding));
    }
    let mut begin = [0; UNMARKED_BYTES];
    let read = source.read_full_at(&mut begin, 0)?;
    let begin = &begin[..read];
    let is_told = matches!(encoding, Encoding::Utf16Le | Encoding::Utf16Be);
    if let Some(name) = unmarked_utf16(begin).filter(|_| !is_told) {
        return Ok(Err(format!(
            "it is UTF-16 without a byte order mark; set `encoding = \"{name}\"` in `csv`"
        )));
    }
    let coding = match (encoding, &begin[..read.min(2)]) {
        _ if begin.starts_with(b"\xff\xfe\0\0") || begin.starts_with(b"\0\0\xfe\xff") => Err(
            "it begins with the byte order mark of UTF-32, which is not read; convert it: iconv -f UTF-32 -t UTF-8"
                .to_owned(),
        ),
        (Encoding::Utf8, b"\xff\xfe" | b"\xfe\xff") => Err(
            "it begins with the byte order mark of UTF-16; set `encoding = \"utf16\"` in `csv`, or convert it"
                .to_owned(),
        ),
        (Encoding::Utf8 | Encoding::Latin1 | Encoding::Other(_), _) => Ok(Coding::Bytes),
        (_, b"\xff\xfe") => Ok(Coding::LittleEndian),
        (_, b"\xfe\xff") => Ok(Coding::BigEndian),
        (Encoding::Utf16Le, _) => Ok(Coding::LittleEndian),
        (Encoding::Utf16Be, _) => Ok(Coding::BigEndian),
        (Encoding::Utf16, _) => Err(
            "it has no byte order mark; set `encoding` in `csv` to utf16le or utf16be, whichever it is".to_owned(),
        ),
    };
    // Less than a mark's length may become one.
    if read >= 2 {
        cursor.coding = coding.as_ref().ok().copied();
    }
    Ok(coding)
}
