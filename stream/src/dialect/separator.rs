//! Separators of fields and records, of one or several characters.

use toml::Value;

use super::setting::{Setting, escaped, string, unescaped};

/// The most bytes of a separator.
const LEN_MAX: usize = 8;

/// A separator of fields or records: one to eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Separator {
    bytes: [u8; LEN_MAX],
    len: u8,
}

impl Separator {
    /// A separator of these bytes; `None` if there are no bytes, or more than eight.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; LEN_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let len = u8::try_from(text.len()).ok().filter(|len| *len > 0)?;
        Some(Self { bytes, len })
    }

    /// Its bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Its only byte, if it has one.
    #[must_use]
    #[inline]
    pub fn byte(&self) -> Option<u8> {
        (self.len == 1).then_some(self.bytes[0])
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }

    /// Its last byte.
    #[must_use]
    #[inline]
    pub fn last(&self) -> u8 {
        self.bytes[usize::from(self.len) - 1]
    }
}

impl From<u8> for Separator {
    #[inline]
    fn from(byte: u8) -> Self {
        let mut bytes = [0; LEN_MAX];
        bytes[0] = byte;
        Self { bytes, len: 1 }
    }
}

impl PartialEq<u8> for Separator {
    #[inline]
    fn eq(&self, byte: &u8) -> bool {
        self.byte() == Some(*byte)
    }
}

impl Setting for Separator {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = string(value)?;
        let is_right = !text.contains(['\0', '\n', '\r']);
        let separator = Self::new(text.as_bytes()).filter(|_| is_right);
        separator.ok_or_else(|| {
            format!("`{text}` is not one to {LEN_MAX} bytes of text without line ends")
        })
    }

    fn to_text(&self) -> String {
        escaped(self.as_bytes())
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::new(&unescaped(text)?)
    }
}

/// What ends a record; the empty text means the line end.
impl Setting for Option<Separator> {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = string(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_right = !text.contains('\0');
        let separator = Separator::new(text.as_bytes()).filter(|_| is_right);
        separator
            .map(Some)
            .ok_or_else(|| format!("`{text}` is not one to {LEN_MAX} bytes of text"))
    }

    fn to_text(&self) -> String {
        self.map_or_else(String::new, |separator| separator.to_text())
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "" => Some(None),
            _ => Separator::from_text(text).map(Some),
        }
    }
}
