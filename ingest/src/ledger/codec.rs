//! The parts of which the checkpoint and the marks are written: integers little endian, a text or list as its length (u32)
//! and its content.

/// Returns a file's bytes: its kind, its version, the length of its content, the content, and the CRC-32C of them all.
pub(crate) fn frame(magic: &[u8; 8], version: u32, body: &FieldWriter) -> Vec<u8> {
    let mut out = FieldWriter(magic.to_vec());
    out.u32(version);
    out.u64(body.0.len() as u64);
    out.0.extend_from_slice(&body.0);
    let crc = crc32c::crc32c(&out.0);
    out.u32(crc);
    out.0
}

/// Returns the version and the content of a file of this kind; `None` if it is damaged.
pub(crate) fn unframe<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<(u32, FieldReader<'a>)> {
    let (framed, crc) = bytes.split_last_chunk::<4>()?;
    let mut body = FieldReader(framed.strip_prefix(magic)?);
    let (version, len) = (body.u32()?, body.u64()?);
    let is_whole = crc32c::crc32c(framed) == u32::from_le_bytes(*crc) && len == body.0.len() as u64;
    is_whole.then_some((version, body))
}

pub(crate) struct FieldWriter(pub(crate) Vec<u8>);

impl FieldWriter {
    pub(crate) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("lists and texts here are shorter than 4 Gi"));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.len(items.len());
        for item in items {
            write(self, item);
        }
    }
}

pub(crate) struct FieldReader<'a>(pub(crate) &'a [u8]);

impl<'a> FieldReader<'a> {
    pub(crate) fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[byte]| *byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.chunk().map(|chunk| u32::from_le_bytes(*chunk))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.chunk().map(|chunk| u64::from_le_bytes(*chunk))
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.chunk().map(|chunk| i64::from_le_bytes(*chunk))
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.chunk().map(|chunk| u128::from_le_bytes(*chunk))
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let len = self.u32()?;
        // Not sized ahead: a damaged length must not ask for memory.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(read(self)?);
        }
        Some(items)
    }
}
