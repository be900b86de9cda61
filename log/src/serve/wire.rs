//! Kafka's primitive types. Everything that is read is measured against the bytes that are there, so that no
//! number on the wire makes us take memory.

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed request")]
pub(super) struct Malformed;

/// A request may have so many elements in all its arrays: the partitions of a great cluster.
const ELEMENTS_MAX: usize = 50_000;

/// Takes fields off the front of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// How many elements arrays may still have; an element takes more memory than its bytes.
    elements_left: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            elements_left: ELEMENTS_MAX,
        }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        self.chunk().map(i8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.i8()? != 0)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.chunk().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.chunk().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.chunk().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.chunk::<1>()?[0]);
            if shift == 28 && byte > 0x0f {
                return Err(Malformed);
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.i16()? {
            -1 => Ok(None),
            len => self.text(usize::try_from(len)).map(Some),
        }
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_string()?.ok_or(Malformed)
    }

    pub(super) fn nullable_compact_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.uvarint()? {
            0 => Ok(None),
            len => self.text(usize::try_from(len - 1)).map(Some),
        }
    }

    fn text<E>(&mut self, len: Result<usize, E>) -> Result<&'a str, Malformed> {
        let bytes = self.take(len.map_err(|_| Malformed)?)?;
        std::str::from_utf8(bytes).map_err(|_| Malformed)
    }

    pub(super) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            len => self
                .take(usize::try_from(len).map_err(|_| Malformed)?)
                .map(Some),
        }
    }

    /// Reads an array, element by element; `None` if it is null. The elements are collected as they come, so
    /// that a great count ends with the bytes.
    pub(super) fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<Vec<T>>, Malformed> {
        let count = match self.i32()? {
            -1 => return Ok(None),
            count => usize::try_from(count).map_err(|_| Malformed)?,
        };
        self.elements_left = self.elements_left.checked_sub(count).ok_or(Malformed)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    pub(super) fn array<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.nullable_array(element)?.ok_or(Malformed)
    }

    /// Reads a field of some versions.
    pub(super) fn when<T>(
        &mut self,
        is_there: bool,
        field: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        is_there.then(|| field(self)).transpose()
    }

    /// Passes over the tagged fields of a flexible version; none of them is known here.
    pub(super) fn tagged_fields(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = self.uvarint()?;
            self.take(usize::try_from(len).map_err(|_| Malformed)?)?;
        }
        Ok(())
    }

    /// Checks that the request ends here.
    pub(super) const fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// A response being written, behind its length.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![0; 4])
    }

    /// The response with its length in front.
    pub(super) fn into_frame(mut self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() - 4).expect("a response is smaller than 2 GiB");
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes a text; one that is too long for it is cut.
    pub(super) fn string(&mut self, text: &str) {
        let mut end = text.len().min(i16::MAX as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.i16(i16::try_from(end).unwrap_or(i16::MAX));
        self.0.extend_from_slice(&text.as_bytes()[..end]);
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    /// Writes bytes without their length.
    pub(super) fn bare(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Begins an array.
    pub(super) fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).expect("a response is smaller than 2 GiB"));
    }

    /// Begins the array of a flexible version.
    pub(super) fn compact_count(&mut self, count: usize) {
        let mut rest = count + 1;
        while rest >= 0x80 {
            self.0.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.0.push(rest.to_le_bytes()[0]);
    }

    pub(super) fn array<T>(&mut self, elements: &[T], mut element: impl FnMut(&mut Self, &T)) {
        self.count(elements.len());
        for one in elements {
            element(self, one);
        }
    }

    /// Writes a field of some versions.
    pub(super) fn when(&mut self, is_there: bool, field: impl FnOnce(&mut Self)) {
        if is_there {
            field(self);
        }
    }

    /// Writes that there are no tagged fields.
    pub(super) fn no_tagged_fields(&mut self) {
        self.0.push(0);
    }
}
