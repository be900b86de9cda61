//! Compressed files: their text, and whether they are whole.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::source::Packing;
use crate::source::decoder::Decoder;

/// How much is decompressed at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many bytes before the ones asked for last are kept decompressed.
const BEHIND_BYTES: u64 = 1024;

/// A compressed file. Its text is read forwards; going back decompresses it again from the beginning.
pub(crate) struct Packed {
    pub(crate) file: Arc<File>,
    pub(crate) packing: Packing,
    decoder: Decoder,
    /// Some of the text, up to where the decoder is.
    window: Vec<u8>,
    window_start: u64,
    check: Check,
}

/// A look through all of the file: whether it is whole, before anything of it is taken.
struct Check {
    decoder: Option<Decoder>,
    len: u64,
    crc: u32,
    /// Lengths whose CRCs are asked for, in falling order, and those found.
    wanted: Vec<u64>,
    found: Vec<(u64, u32)>,
}

impl Packed {
    pub(crate) fn new(file: File, packing: Packing) -> Self {
        let file = Arc::new(file);
        Self {
            decoder: Decoder::new(&file, packing),
            check: Check {
                decoder: Some(Decoder::new(&file, packing)),
                len: 0,
                crc: 0,
                wanted: Vec::new(),
                found: Vec::new(),
            },
            file,
            packing,
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// The length of its text, once it is known to be whole.
    pub(crate) fn text_len(&self) -> Option<u64> {
        self.check.decoder.is_none().then_some(self.check.len)
    }

    /// Asks for the CRC of the text's first `len` bytes; before the check has begun.
    pub(crate) fn want_crc(&mut self, len: u64) {
        if self.check.len == 0 {
            self.check.wanted.push(len);
            self.check.wanted.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// The CRC of the text's first `len` bytes, if it was asked for and the text is that long, or is all of it.
    pub(crate) fn crc_of(&self, len: u64) -> Option<u32> {
        if self.text_len() == Some(len) {
            return Some(self.check.crc);
        }
        let found = self.check.found.iter();
        found
            .rev()
            .find(|(of, _)| *of == len)
            .map(|(_, crc)| *crc)
            .or((len == 0).then_some(0))
    }

    /// Whether the check has not begun.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.check.len == 0 && self.check.decoder.is_some()
    }

    /// Continues with the check over about `budget` bytes of text; says whether there is more.
    ///
    /// # Errors
    /// As [`Source::read_full_at`].
    pub(crate) fn check(&mut self, budget: usize) -> io::Result<bool> {
        let check = &mut self.check;
        let Some(decoder) = &mut check.decoder else {
            return Ok(false);
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut checked = 0;
        while checked < budget {
            let read = decoder.read(&mut chunk)?;
            if read == 0 {
                check.decoder = None;
                return Ok(false);
            }
            let mut rest = &chunk[..read];
            while let Some(&wanted) = check.wanted.last()
                && wanted <= check.len + rest.len() as u64
            {
                let (before, behind) = rest.split_at(to_usize(wanted - check.len));
                check.crc = crc32c::crc32c_append(check.crc, before);
                check.len = wanted;
                check.found.push((wanted, check.crc));
                check.wanted.pop();
                rest = behind;
            }
            check.crc = crc32c::crc32c_append(check.crc, rest);
            check.len += rest.len() as u64;
            checked += read;
        }
        Ok(true)
    }

    pub(crate) fn read_full_at(&mut self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        if start < self.window_start {
            self.decoder = Decoder::new(&self.file, self.packing);
            self.window.clear();
            self.window_start = 0;
        }
        // A little of what lies before is kept: what is read is also compared with what was read.
        self.forget_before(start.saturating_sub(BEHIND_BYTES));
        let end = start + buffer.len() as u64;
        while self.window_start + (self.window.len() as u64) < end {
            let filled = self.window.len();
            self.window.resize(filled + CHUNK_BYTES, 0);
            let read = self.decoder.read(&mut self.window[filled..]);
            self.window
                .truncate(filled + read.as_ref().copied().unwrap_or(0));
            if read? == 0 {
                break;
            }
            self.forget_before(start.saturating_sub(BEHIND_BYTES));
        }
        let skip = to_usize(start - self.window_start).min(self.window.len());
        let found = &self.window[skip..];
        let len = found.len().min(buffer.len());
        buffer[..len].copy_from_slice(&found[..len]);
        Ok(len)
    }

    fn forget_before(&mut self, position: u64) {
        let len = position.saturating_sub(self.window_start);
        let len = to_usize(len).min(self.window.len());
        self.window.drain(..len);
        self.window_start += len as u64;
    }
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
