//! Keys of a dialect that take one of some values.

use toml::Value;

use super::setting::{Setting, string, strings};

/// Declares the values of a key: the first text of each is its own, further ones are understood in the configuration.
macro_rules! choice {
    (
        $(#[$of_type:meta])*
        $type:ident { $($(#[$of_variant:meta])* $variant:ident = $text:literal $(| $other:literal)*),* $(,)? }
    ) => {
        $(#[$of_type])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$of_variant])* $variant,)*
        }

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

choice! {
    /// What ends a line.
    LineEnd {
        /// A line feed, or a carriage return and a line feed.
        Lf = "lf" | "crlf",
        /// A carriage return.
        Cr = "cr",
    }
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

choice! {
    /// What is done with U+0000 in a text.
    NulPolicy {
        /// The record is a reject.
        Reject = "reject",
        /// The character is left out.
        Strip = "strip",
        /// It becomes U+FFFD.
        Replace = "replace",
    }
}

choice! {
    /// What is done with a header name that no column has.
    UnknownPolicy {
        /// The field is skipped, and reported once per file.
        Report = "report",
        /// The field is skipped.
        Ignore = "ignore",
        /// The file is set aside.
        Reject = "reject",
    }
}

choice! {
    /// What is done with a header name that is a column's but for case and white space.
    HeaderMatch {
        /// It is the column's, and reported once per file.
        Near = "near",
        /// The file is set aside.
        Exact = "exact",
    }
}

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
