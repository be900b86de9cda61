//! A record's headers, as Kafka's record format v2 has them: a count, and for each a name and a value, which may be null.

use crate::varint;

/// The headers of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

/// None.
impl Default for Headers<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> Headers<'a> {
    pub(crate) const NONE: Self = Self(&[0]);

    /// What follows a record's value.
    pub(crate) const fn of_encoded(bytes: &'a [u8]) -> Self {
        match bytes.is_empty() {
            true => Self::NONE,
            false => Self(bytes),
        }
    }

    pub(crate) const fn encoded(self) -> &'a [u8] {
        self.0
    }

    /// Whether the record has no header.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == Self::NONE.0
    }

    /// Names and values, in order; ends where the bytes are no headers.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let bytes = self.0;
        let mut at = 0;
        let count = varint::get(bytes, &mut at).unwrap_or(0);
        (0..count).map_while(move |_| {
            let name = read_bytes(bytes, &mut at)??;
            Some((name, read_bytes(bytes, &mut at)?))
        })
    }
}

/// Encodes headers.
pub(crate) fn encode<'h>(
    count: usize,
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::put(&mut bytes, i64::try_from(count).unwrap_or(i64::MAX));
    for (name, value) in headers {
        put_bytes(&mut bytes, Some(name));
        put_bytes(&mut bytes, value);
    }
    bytes
}

/// Appends bytes behind their length; a length of -1 means null.
#[inline]
pub(crate) fn put_bytes(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    let len = value.map_or(-1, |value| i64::try_from(value.len()).unwrap_or(i64::MAX));
    varint::put(bytes, len);
    bytes.extend_from_slice(value.unwrap_or_default());
}

/// Reads bytes that follow their length. The length -1 means null.
#[inline]
#[expect(
    clippy::option_option,
    reason = "the outer one: the bytes end early; the inner one: null"
)]
pub(crate) fn read_bytes<'a>(body: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let len = varint::get(body, at)?;
    if len == -1 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let bytes = body.get(*at..end)?;
    *at = end;
    Some(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        let all: [(&[u8], Option<&[u8]>); 3] = [
            (b"trace", Some(b"1")),
            (b"", None),
            (b"trace", Some(&[0; 300])),
        ];
        let bytes = encode(all.len(), all.into_iter());
        let headers = Headers::of_encoded(&bytes);
        assert_eq!(headers.iter().collect::<Vec<_>>(), all);
        assert!(!headers.is_empty());
        for end in 0..bytes.len() {
            assert!(
                Headers::of_encoded(&bytes[..end]).iter().count() < all.len(),
                "cut at {end}"
            );
        }
        assert!(Headers::of_encoded(&[]).is_empty());
    }
}
