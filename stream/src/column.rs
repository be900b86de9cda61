//! A column of a stream and its type.

use std::fmt;
use std::str::FromStr;

use crate::{ColumnSource, PostgresType};

/// The type of a column, by PostgreSQL's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// `decimal(precision,scale)`: exact, 1 to 38 digits, of which `scale` after the point.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, 0 to `precision`.
        scale: u8,
    },
    /// `numeric`: exact, with as many digits as PostgreSQL holds.
    Numeric,
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `time`: a time of day without a zone, microseconds.
    Time,
    /// `timestamp`: a local time, microseconds.
    Timestamp,
    /// `timestamptz`: a moment, microseconds.
    Timestamptz,
    /// `json`, for `json` and `jsonb` columns: checked to be well formed, kept as text.
    Json,
    /// `bytea`: PostgreSQL's hex form, `\x00ff`.
    Bytea,
    /// `pg:NAME`: a type of the database, whose own input function reads the text.
    Postgres(PostgresType),
}

/// Each type without parameters: its name, its synonyms, and the type that a created table has.
const NAMES: [(ColumnType, &str, &[&str], &str); 15] = [
    (ColumnType::Text, "text", &["varchar", "string"], "text"),
    (ColumnType::Bool, "bool", &["boolean"], "boolean"),
    (ColumnType::Int2, "int2", &["smallint"], "smallint"),
    (ColumnType::Int4, "int4", &["int", "integer"], "integer"),
    (ColumnType::Int8, "int8", &["bigint"], "bigint"),
    (ColumnType::Float4, "float4", &["real"], "real"),
    (
        ColumnType::Float8,
        "float8",
        &["double precision", "double"],
        "double precision",
    ),
    (ColumnType::Numeric, "numeric", &["decimal"], "numeric"),
    (ColumnType::Uuid, "uuid", &[], "uuid"),
    (ColumnType::Date, "date", &[], "date"),
    (ColumnType::Time, "time", &[], "time"),
    (ColumnType::Timestamp, "timestamp", &[], "timestamp"),
    (ColumnType::Timestamptz, "timestamptz", &[], "timestamptz"),
    (ColumnType::Json, "json", &["jsonb"], "jsonb"),
    (ColumnType::Bytea, "bytea", &[], "bytea"),
];

/// The text is no column type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseColumnTypeError(String);

impl ColumnType {
    /// The type in SQL, as a created table has it.
    #[must_use]
    pub fn sql(&self) -> String {
        match self {
            Self::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
            Self::Postgres(postgres) => postgres.sql(),
            plain => plain.named().3.to_owned(),
        }
    }

    /// Whether an empty text may be a value of the type; if not, it can only mean null.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        match self {
            Self::Text => true,
            Self::Postgres(postgres) => postgres.may_be_empty(),
            _ => false,
        }
    }

    fn named(&self) -> &'static (Self, &'static str, &'static [&'static str], &'static str) {
        NAMES
            .iter()
            .find(|(own, ..)| own == self)
            .expect("every type without parameters is in the table")
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Postgres(postgres) => write!(f, "{postgres}"),
            plain => f.write_str(plain.named().1),
        }
    }
}

impl FromStr for ColumnType {
    type Err = ParseColumnTypeError;

    /// Parses a type's name; common synonyms (`integer`, `bigint`, `numeric(p,s)`, …) are understood.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some(postgres) = PostgresType::parse(text) {
            return postgres.map(Self::Postgres).map_err(ParseColumnTypeError);
        }
        let lower = text.to_ascii_lowercase();
        let known = NAMES
            .iter()
            .find(|(_, name, synonyms, _)| *name == lower || synonyms.contains(&lower.as_str()));
        if let Some((column_type, ..)) = known {
            return Ok(column_type.clone());
        }
        parse_decimal_type(&lower).ok_or_else(|| ParseColumnTypeError(unknown(text)))
    }
}

/// What is said of a text that is no type's name.
fn unknown(text: &str) -> String {
    let names: Vec<_> = NAMES.iter().map(|(_, name, ..)| *name).collect();
    let other = PostgresType::parse(&format!("pg:{text}"));
    let hint = match other {
        Some(Ok(postgres)) => {
            format!("; if it is a type of the database, write `{postgres}`")
        }
        _ => String::new(),
    };
    format!(
        "`{}` is no column type; known: {}, decimal(p,s), pg:NAME{hint}",
        text.escape_debug(),
        names.join(", ")
    )
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
    /// The decimal mark of its numbers, `b'.'` or `b','`; the dialect's if absent.
    pub decimal: Option<u8>,
    /// What is taken away from its numbers before they are read; nothing if empty.
    pub strip: Vec<String>,
    /// Where its values come from, if not from a field of the record.
    pub source: Option<ColumnSource>,
    /// Texts that mean true, for `bool`; PostgreSQL's spellings if absent.
    pub true_values: Option<Vec<String>>,
    /// Texts that mean false, for `bool`; PostgreSQL's spellings if absent.
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
            decimal: None,
            strip: Vec::new(),
            source: None,
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
