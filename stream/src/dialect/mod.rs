//! How a stream's files are written: the `csv` table of a stream's configuration.
//!
//! A key is declared once, in the table below: its type, its default and its documentation. From that follow
//! the configuration's key, the check of unknown keys, and the text by which `bekk.meta` remembers the dialect
//! that a file was begun with.

mod choice;
mod encoding;
mod separator;
mod setting;

use std::collections::BTreeMap;

pub use choice::{HeaderMatch, HeaderRow, LineEnd, NulPolicy, UnknownPolicy};
pub use encoding::Encoding;
pub use separator::Separator;
use setting::Setting;

/// Declares the dialect: a field, a default and a key of the configuration for each line. A key of `since 1` is
/// in every dialect's text; a later one only where it is not the default, so that texts written before it exist
/// stay what they are.
macro_rules! dialect {
    ($($(#[$doc:meta])* since $since:literal $name:ident: $type:ty = $default:expr;)*) => {
        /// How a stream's files are written.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct CsvDialect {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for CsvDialect {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl CsvDialect {
            /// The keys of a stream's `csv` table.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($name)),*];

            /// The dialect that a `csv` table describes; a fault names the key.
            pub(crate) fn from_table(
                table: &BTreeMap<String, toml::Value>,
            ) -> Result<Self, (String, String)> {
                let mut dialect = Self::default();
                for (key, value) in table {
                    match key.as_str() {
                        $(stringify!($name) => {
                            dialect.$name = Setting::from_toml(value)
                                .map_err(|detail| (key.clone(), detail))?;
                        })*
                        _ => return Err((key.clone(), "unknown key".to_owned())),
                    }
                }
                Ok(dialect)
            }

            /// The dialect's canonical text: `name=value` pairs in a fixed order.
            #[must_use]
            pub fn to_text(&self) -> String {
                let default = Self::default();
                let mut pairs = Vec::new();
                $(if $since == 1 || self.$name != default.$name {
                    pairs.push(format!("{}={}", stringify!($name), self.$name.to_text()));
                })*
                pairs.join(" ")
            }

            /// The dialect that a text describes; `None` if this version does not know it.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                let mut dialect = Self::default();
                for pair in text.split(' ') {
                    let (name, value) = pair.split_once('=')?;
                    match name {
                        $(stringify!($name) => dialect.$name = Setting::from_text(value)?,)*
                        _ => return None,
                    }
                }
                Some(dialect)
            }
        }
    };
}

dialect! {
    /// Between fields; one character or a few.
    since 1 delimiter: Separator = Separator::from(b',');
    /// Around fields that hold delimiters, quotes or newlines; one ASCII byte, `None` for none.
    since 1 quote: Option<u8> = Some(b'"');
    /// The file's character encoding.
    since 1 encoding: Encoding = Encoding::Utf8;
    /// Lines to pass over before the header.
    since 1 skip_lines: u32 = 0;
    /// Lines that begin with this byte are skipped.
    since 1 comment: Option<u8> = None;
    /// The decimal mark of numbers: `b'.'` or `b','`.
    since 1 decimal: u8 = b'.';
    /// The unquoted texts that mean null, in columns that name none of their own.
    since 1 null: Vec<String> = vec![String::new()];
    /// What is done with U+0000, which PostgreSQL's text cannot hold.
    since 1 nul: NulPolicy = NulPolicy::Reject;
    /// What is done with a header name that no column has.
    since 1 unknown: UnknownPolicy = UnknownPolicy::Report;
    /// The longest record accepted, in bytes; a longer one is a reject.
    since 1 record_max: usize = 900_000;
    /// Whether a quoted field may hold newlines; if not, a newline always ends the record.
    since 2 quoted_newlines: bool = true;
    /// Takes away the meaning of what follows it, as in MySQL's and PostgreSQL's text formats; one ASCII byte.
    since 2 escape: Option<u8> = None;
    /// Whether blanks and tabs around fields, and around their quotes, are skipped.
    since 2 trim: bool = false;
    /// What ends a line.
    since 2 line_end: LineEnd = LineEnd::Lf;
    /// What ends a record in place of a line end; one character or a few.
    since 2 record_end: Option<Separator> = None;
    /// Whether an empty field that a delimiter at the end of a record makes is skipped.
    since 2 trailing_delimiter: bool = false;
    /// Lines that begin with one of these texts are skipped wherever they stand, and reported: totals, footers.
    since 2 footer: Vec<String> = Vec::new();
    /// Whether files begin with a header, and what the fields are called if they do not.
    since 2 header: HeaderRow = HeaderRow::InFile;
    /// What is done with a header name that is a column's but for case and white space.
    since 2 header_match: HeaderMatch = HeaderMatch::Near;
}

impl CsvDialect {
    /// What ends a record. Before a line feed there may be a carriage return.
    #[must_use]
    #[inline]
    pub fn end(&self) -> Separator {
        self.record_end
            .unwrap_or_else(|| Separator::from(self.line_end.byte()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_survives() {
        let mut dialect = CsvDialect::default();
        assert_eq!(
            dialect.to_text(),
            "delimiter=%2C quote=%22 encoding=utf8 skip_lines=0 comment= decimal=. null=| nul=reject unknown=report \
             record_max=900000"
        );
        let survives = |dialect: &CsvDialect| {
            assert_eq!(
                CsvDialect::from_text(&dialect.to_text()).as_ref(),
                Some(dialect)
            );
        };
        survives(&dialect);
        dialect.delimiter = Separator::from(b'\t');
        dialect.quote = None;
        dialect.encoding = Encoding::Latin1;
        dialect.skip_lines = 2;
        dialect.comment = Some(b'#');
        dialect.decimal = b',';
        dialect.null = vec!["NULL".into(), "-|=% å".into(), String::new()];
        dialect.nul = NulPolicy::Replace;
        dialect.unknown = UnknownPolicy::Reject;
        dialect.record_max = 1;
        dialect.quoted_newlines = false;
        dialect.escape = Some(b'\\');
        dialect.trim = true;
        dialect.line_end = LineEnd::Cr;
        dialect.footer = vec!["Total".into()];
        dialect.header = HeaderRow::Named(vec!["a".into(), "b c|=".into()]);
        dialect.header_match = HeaderMatch::Exact;
        survives(&dialect);
        dialect.encoding = Encoding::label("shift_jis").unwrap();
        dialect.null = Vec::new();
        dialect.header = HeaderRow::Absent;
        dialect.delimiter = Separator::new(b"~|~").unwrap();
        dialect.record_end = Separator::new("|\n¦".as_bytes());
        survives(&dialect);
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "delimiter",
            "delimiter=%",
            "delimiter=%z",
            "colour=red",
            "nul=maybe",
        ] {
            assert_eq!(CsvDialect::from_text(text), None, "{text}");
        }
    }
}
