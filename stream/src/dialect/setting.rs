//! The values that keys of a dialect take: as the configuration has them, and as text.
//!
//! In a text, bytes outside `[A-Za-z0-9_.-]` are written `%2C`, and the items of a list each end with `|`.

use std::fmt::Write;

use toml::Value;

use crate::units::parse_size;

/// A value of a key.
pub(super) trait Setting: Sized {
    /// Takes it from the configuration; the fault says what would be right.
    fn from_toml(value: &Value) -> Result<Self, String>;
    /// Its text.
    fn to_text(&self) -> String;
    /// Takes it from its text.
    fn from_text(text: &str) -> Option<Self>;
}

/// The text that a value of the configuration is.
pub(super) fn string(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("{value} is not a string in quotes"))
}

/// The texts that a list of the configuration has.
pub(super) fn strings(items: &[Value]) -> Result<Vec<String>, String> {
    items
        .iter()
        .map(|item| string(item).map(str::to_owned))
        .collect()
}

impl Setting for u8 {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = string(value)?;
        match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
            _ => Err(format!("`{text}` is not one ASCII character")),
        }
    }

    fn to_text(&self) -> String {
        escaped(&[*self])
    }

    fn from_text(text: &str) -> Option<Self> {
        unescaped(text)?.first().copied()
    }
}

/// The empty text is none.
impl Setting for Option<u8> {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match string(value)? {
            "" => Ok(None),
            _ => u8::from_toml(value).map(Some),
        }
    }

    fn to_text(&self) -> String {
        self.map_or_else(String::new, |byte| byte.to_text())
    }

    fn from_text(text: &str) -> Option<Self> {
        unescaped(text).map(|bytes| bytes.first().copied())
    }
}

impl Setting for bool {
    fn from_toml(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("{value} is neither true nor false"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for u32 {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        number.ok_or_else(|| format!("{value} is not a whole number of 0 or more"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A size in bytes, up to 8 MB.
impl Setting for usize {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = string(value)?;
        let size = parse_size(text)?;
        Self::try_from(size)
            .ok()
            .filter(|size| (1..=8_000_000).contains(size))
            .ok_or_else(|| format!("`{text}` is outside 1B to 8MB"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for Vec<String> {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(vec![text.clone()]),
            Value::Array(items) => strings(items),
            _ => Err(format!("{value} is neither a string nor a list of strings")),
        }
    }

    fn to_text(&self) -> String {
        self.iter()
            .map(|text| escaped(text.as_bytes()) + "|")
            .collect()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.split_terminator('|')
            .map(|text| String::from_utf8(unescaped(text)?).ok())
            .collect()
    }
}

pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every text");
        }
    }
    out
}

pub(super) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        out.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}
