//! A file's character encoding, by the labels of the WHATWG's list.

use std::borrow::Cow;

use toml::Value;

use super::setting::{Setting, string};

/// A file's character encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    Utf8,
    /// ISO 8859-1, read as its superset Windows-1252, as browsers do.
    Latin1,
    /// UTF-16 with a byte order mark.
    Utf16,
    /// UTF-16, little endian where no byte order mark says otherwise.
    Utf16Le,
    /// UTF-16, big endian where no byte order mark says otherwise.
    Utf16Be,
    /// Another one, in which delimiters and quotes are single bytes.
    Other(&'static encoding_rs::Encoding),
}

/// The encodings that have names of their own here.
const OWN: [(&str, Encoding); 9] = [
    ("utf8", Encoding::Utf8),
    ("utf-8", Encoding::Utf8),
    ("latin1", Encoding::Latin1),
    ("iso-8859-1", Encoding::Latin1),
    ("utf16", Encoding::Utf16),
    ("utf-16", Encoding::Utf16),
    ("utf16le", Encoding::Utf16Le),
    ("utf-16le", Encoding::Utf16Le),
    ("utf16be", Encoding::Utf16Be),
];

impl Encoding {
    /// The encoding of a label: one of Bekk's own, or of the WHATWG's list, or an alias that Python has for one of
    /// those. `None` if there are no such delimiters, or if its delimiters are no single bytes.
    #[must_use]
    pub fn label(label: &str) -> Option<Self> {
        let lower = label.trim().to_ascii_lowercase();
        let own = OWN.iter().find(|(name, _)| *name == lower);
        if let Some((_, encoding)) = own {
            return Some(*encoding);
        }
        let alias = match lower.as_str() {
            "sjis" | "cp932" => "shift_jis",
            "cp936" => "gbk",
            "utf-16be" => return Some(Self::Utf16Be),
            other => other,
        };
        let code_page = alias
            .strip_prefix("cp")
            .map(|page| format!("windows-{page}"));
        let found = encoding_rs::Encoding::for_label(alias.as_bytes())
            .or_else(|| encoding_rs::Encoding::for_label(code_page?.as_bytes()))?;
        let is_bytewise = found != encoding_rs::ISO_2022_JP && found != encoding_rs::REPLACEMENT;
        match found {
            found if found == encoding_rs::UTF_8 => Some(Self::Utf8),
            found if found == encoding_rs::UTF_16LE => Some(Self::Utf16Le),
            found if found == encoding_rs::UTF_16BE => Some(Self::Utf16Be),
            found => is_bytewise.then_some(Self::Other(found)),
        }
    }

    /// What turns a field's bytes into text, where they are not UTF-8 already.
    #[must_use]
    pub fn decoder(self) -> Option<&'static encoding_rs::Encoding> {
        match self {
            Self::Latin1 => Some(encoding_rs::WINDOWS_1252),
            Self::Other(encoding) => Some(encoding),
            Self::Utf8 | Self::Utf16 | Self::Utf16Le | Self::Utf16Be => None,
        }
    }

    /// The text that bytes are, without a byte order mark; `None` if they are not of this encoding. The text of a file in
    /// UTF-16 is UTF-8 once it is read.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        match self.decoder() {
            Some(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(Cow::into_owned),
            None => String::from_utf8(bytes.to_vec()).ok(),
        }
    }

    /// The text that a person sees of bytes, without a byte order mark; what is not of this encoding becomes U+FFFD.
    #[must_use]
    pub fn shown(self, bytes: &[u8]) -> String {
        match self.decoder() {
            Some(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
            None => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// The bytes of a text, as [`Self::decode`] takes them.
    ///
    /// # Errors
    /// The first character that this encoding lacks.
    pub fn encode(self, text: &str) -> Result<Vec<u8>, char> {
        let Some(encoding) = self.decoder() else {
            return Ok(text.as_bytes().to_vec());
        };
        let (bytes, _, has_replaced) = encoding.encode(text);
        let lacks = |c: &char| encoding.encode(c.encode_utf8(&mut [0; 4])).2;
        match text.chars().find(lacks).filter(|_| has_replaced) {
            Some(lacking) => Err(lacking),
            None => Ok(bytes.into_owned()),
        }
    }

    /// Whether bytes below 0x80 can be the second of a character: then those cannot be delimiters or quotes.
    #[must_use]
    pub fn has_ascii_trails(self) -> bool {
        matches!(self, Self::Other(encoding) if !encoding.is_single_byte()
            && encoding != encoding_rs::EUC_JP)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        self.to_text()
    }
}

impl Setting for Encoding {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let label = string(value)?;
        Self::label(label).ok_or_else(|| {
            format!(
                "`{label}` is not a known encoding; known: utf8, latin1, utf16, utf16le, utf16be, windows-1252, \
                 iso-8859-2 to -16, windows-1250 to -1258, shift_jis, euc-jp, gbk, gb18030, big5, euc-kr, koi8-r and the \
                 other labels of https://encoding.spec.whatwg.org"
            )
        })
    }

    fn to_text(&self) -> String {
        match self {
            Self::Utf8 => "utf8".to_owned(),
            Self::Latin1 => "latin1".to_owned(),
            Self::Utf16 => "utf16".to_owned(),
            Self::Utf16Le => "utf16le".to_owned(),
            Self::Utf16Be => "utf16be".to_owned(),
            Self::Other(encoding) => encoding.name().to_ascii_lowercase(),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::label(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_that_people_write() {
        let other = |name: &str| {
            Some(Encoding::Other(encoding_rs::Encoding::for_label(
                name.as_bytes(),
            )?))
        };
        for (label, expected) in [
            ("windows-1252", other("windows-1252")),
            ("cp1252", other("windows-1252")),
            ("CP1250", other("windows-1250")),
            ("sjis", other("shift_jis")),
            ("shift_jis", other("shift_jis")),
            ("gb18030", other("gb18030")),
            ("iso-8859-15", other("iso-8859-15")),
            ("UTF-8", Some(Encoding::Utf8)),
            ("latin1", Some(Encoding::Latin1)),
            ("utf-16be", Some(Encoding::Utf16Be)),
            ("iso-2022-jp", None),
            ("klingon", None),
        ] {
            assert_eq!(Encoding::label(label), expected, "{label}");
        }
    }
}
