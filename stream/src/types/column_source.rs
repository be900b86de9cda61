//! Where a column's values come from that are not a field of the record.

use std::fmt;

use super::ColumnType;

/// Where a column's values come from, if not from a field of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// The file's name, without its directory, as it was when the file was met.
    FileName,
    /// The file's path, as it was when the file was met.
    FilePath,
    /// When the file had been modified, as it was when the file was met.
    FileModifiedAt,
    /// The value of a directory `NAME=value` above the file, as it was when the file was met.
    Directory(String),
    /// The number of the record's first line, from 1.
    Line,
    /// A hash of the record's fields.
    RowHash,
    /// A text of the configuration.
    Constant(String),
}

/// As the configuration writes it.
impl fmt::Display for ColumnSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileName => f.write_str("file_name"),
            Self::FilePath => f.write_str("file_path"),
            Self::FileModifiedAt => f.write_str("file_modified_at"),
            Self::Directory(name) => write!(f, "directory:{name}"),
            Self::Line => f.write_str("line"),
            Self::RowHash => f.write_str("row_hash"),
            Self::Constant(text) => write!(f, "{text:?}"),
        }
    }
}

impl ColumnSource {
    /// Parses what the configuration says.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "file_name" => Self::FileName,
            "file_path" => Self::FilePath,
            "file_modified_at" => Self::FileModifiedAt,
            "line" => Self::Line,
            "row_hash" => Self::RowHash,
            _ => match text.strip_prefix("directory:") {
                Some(name) if !name.is_empty() && !name.contains(['/', '=']) => {
                    Self::Directory(name.to_owned())
                }
                _ => {
                    return Err(format!(
                        "`source` is `{}`, which is not one of: file_name, file_path, file_modified_at, directory:NAME, line, \
                         row_hash",
                        text.escape_debug()
                    ));
                }
            },
        })
    }

    /// Whether all records of a file have the same value.
    #[must_use]
    pub fn is_of_file(&self) -> bool {
        !matches!(self, Self::Line | Self::RowHash)
    }

    /// Why a type does not take such values; `None` if it does, or its values must be looked at.
    pub(crate) fn misfit(&self, column_type: &ColumnType) -> Option<&'static str> {
        match (self, column_type) {
            (Self::Line, ColumnType::Int8)
            | (Self::FileModifiedAt, ColumnType::Timestamptz)
            | (Self::RowHash, ColumnType::Uuid | ColumnType::Text) => None,
            (Self::Line, _) => Some("`line` fills a column of type int8"),
            (Self::FileModifiedAt, _) => {
                Some("`file_modified_at` fills a column of type timestamptz")
            }
            (Self::RowHash, _) => Some("`row_hash` fills a column of type uuid or text"),
            _ => None,
        }
    }
}
