//! A column of a stream and its type.

use std::fmt;
use std::str::FromStr;

/// The type of a column, by PostgreSQL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `text`: UTF-8 without NUL.
    Text,
    /// `bool`.
    Bool,
    /// `int2`: 16 bits, signed.
    Int2,
    /// `int4`: 32 bits, signed.
    Int4,
    /// `int8`: 64 bits, signed.
    Int8,
    /// `float4`: IEEE 754 single precision.
    Float4,
    /// `float8`: IEEE 754 double precision.
    Float8,
    /// `decimal(precision,scale)`: exact, 1 to 38 digits, of which `scale` behind the point.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point, 0 to `precision`.
        scale: u8,
    },
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `timestamp`: a local time, microseconds.
    Timestamp,
    /// `timestamptz`: a moment, microseconds.
    Timestamptz,
    /// `json`, for `json` and `jsonb` columns: checked to be well formed, kept as text.
    Json,
    /// `bytea`: PostgreSQL's hex form, `\x00ff`.
    Bytea,
}

/// The text is no column type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no column type; known: text, bool, int2, int4, int8, float4, float8, decimal(p,s), uuid, date, \
     timestamp, timestamptz, json, bytea"
)]
pub struct ParseColumnTypeError(String);

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Json => "json",
            Self::Bytea => "bytea",
        })
    }
}

impl FromStr for ColumnType {
    type Err = ParseColumnTypeError;

    /// Parses a type's name; common synonyms (`integer`, `bigint`, `numeric(p,s)`, …) are understood.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        Ok(match lower.as_str() {
            "text" | "varchar" | "string" => Self::Text,
            "bool" | "boolean" => Self::Bool,
            "int2" | "smallint" => Self::Int2,
            "int4" | "int" | "integer" => Self::Int4,
            "int8" | "bigint" => Self::Int8,
            "float4" | "real" => Self::Float4,
            "float8" | "double precision" | "double" => Self::Float8,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytea,
            other => {
                return parse_decimal_type(other)
                    .ok_or_else(|| ParseColumnTypeError(text.to_owned()));
            }
        })
    }
}

fn parse_decimal_type(lower: &str) -> Option<ColumnType> {
    let arguments = lower
        .strip_prefix("decimal")
        .or_else(|| lower.strip_prefix("numeric"))?
        .trim()
        .strip_prefix('(')?
        .strip_suffix(')')?;
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: u8 = scale.trim().parse().ok()?;
    ((1..=38).contains(&precision) && scale <= precision)
        .then_some(ColumnType::Decimal { precision, scale })
}

/// A column of a stream: what it is called in the file and in the table, and which values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name in the table.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it may be null; if not, a missing value is a reject.
    pub nullable: bool,
    /// Its name in the file's header; `name` unless the configuration says otherwise.
    pub header: String,
    /// The only texts accepted, if any are named.
    pub allowed: Option<Vec<String>>,
    /// The least value accepted, as text of the column's type.
    pub min: Option<String>,
    /// The greatest value accepted, as text of the column's type.
    pub max: Option<String>,
    /// How a date or time is written, in strftime's terms; ISO 8601 if absent.
    pub format: Option<String>,
    /// The IANA zone of times written without one, for `timestamptz`.
    pub zone: Option<String>,
    /// The unquoted texts that mean null in it; the dialect's if absent.
    pub null: Option<Vec<String>>,
    /// What stands for true, for `bool`; PostgreSQL's spellings if absent.
    pub true_values: Option<Vec<String>>,
    /// What stands for false, for `bool`; PostgreSQL's spellings if absent.
    pub false_values: Option<Vec<String>>,
}

impl Column {
    /// Returns a column of that name and type, not null, without further conditions.
    #[must_use]
    pub fn new(name: &str, column_type: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            column_type,
            nullable: false,
            header: name.to_owned(),
            allowed: None,
            min: None,
            max: None,
            format: None,
            zone: None,
            null: None,
            true_values: None,
            false_values: None,
        }
    }

    /// The same column, nullable.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }
}
