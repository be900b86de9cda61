//! Keys of a dialect that take one of some values.

use toml::Value;

use super::setting::{Setting, string, strings};

/// Implements a key's values for an enum of plain variants: the first text of each is its own, further ones are
/// understood in the configuration.
macro_rules! choice {
    ($type:ident { $($variant:ident = $text:literal $(| $other:literal)*),* $(,)? }) => {
        impl Setting for $type {
            fn from_toml(value: &Value) -> Result<Self, String> {
                match string(value)? {
                    $($text $(| $other)* => Ok(Self::$variant),)*
                    other => Err(format!(
                        "`{other}` is not one of: {}",
                        [$($text),*].join(", ")
                    )),
                }
            }

            fn to_text(&self) -> String {
                match self { $(Self::$variant => $text,)* }.to_owned()
            }

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// A line feed, or a carriage return and a line feed.
    Lf,
    /// A carriage return.
    Cr,
}

impl LineEnd {
    /// Its last byte.
    #[must_use]
    #[inline]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Lf => b'\n',
            Self::Cr => b'\r',
        }
    }
}

choice!(LineEnd {
    Lf = "lf" | "crlf",
    Cr = "cr",
});

/// What is done with U+0000 in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NulPolicy {
    /// The record is a reject.
    Reject,
    /// The character is left out.
    Strip,
    /// It becomes U+FFFD.
    Replace,
}

choice!(NulPolicy {
    Reject = "reject",
    Strip = "strip",
    Replace = "replace",
});

/// What is done with a header name that no column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// The field is skipped, and reported once per file.
    Report,
    /// The field is skipped.
    Ignore,
    /// The file is set aside.
    Reject,
}

choice!(UnknownPolicy {
    Report = "report",
    Ignore = "ignore",
    Reject = "reject",
});

/// What is done with a header name that is a column's but for case and white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMatch {
    /// It is the column's, and reported once per file.
    Near,
    /// The file is set aside.
    Exact,
}

choice!(HeaderMatch {
    Near = "near",
    Exact = "exact",
});

/// Whether files begin with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRow {
    /// They do, and it names their fields.
    InFile,
    /// They do not: their fields are the stream's columns, in that order.
    Absent,
    /// They do not: their fields have these names, in this order.
    Named(Vec<String>),
}

impl Setting for HeaderRow {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::Boolean(true) => Ok(Self::InFile),
            Value::Boolean(false) => Ok(Self::Absent),
            Value::Array(names) if !names.is_empty() => strings(names).map(Self::Named),
            _ => Err(format!(
                "{value} is not one of: true, false, a list of the fields' names"
            )),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::InFile => "true".to_owned(),
            Self::Absent => "false".to_owned(),
            Self::Named(names) => names.to_text(),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "true" => Some(Self::InFile),
            "false" => Some(Self::Absent),
            _ => Vec::from_text(text).map(Self::Named),
        }
    }
}
