//! The names of types, in the configuration and in SQL.

use std::fmt;
use std::str::FromStr;

use super::{ColumnType, DECLARATIONS, Declaration, Family};
use crate::PostgresType;

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
            plain => plain.declaration().sql.to_owned(),
        }
    }

    /// Whether an empty text may be a value of the type; if not, it can only mean null.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        match self {
            Self::Postgres(postgres) => postgres.may_be_empty(),
            other => other.family() == Family::Text,
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Postgres(postgres) => write!(f, "{postgres}"),
            plain => f.write_str(plain.declaration().name),
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
        let is_named = |declared: &&&Declaration| {
            declared.name == lower || declared.synonyms.contains(&lower.as_str())
        };
        let plain = DECLARATIONS.iter().find(is_named);
        if let Some(make) = plain.and_then(|declared| declared.plain) {
            return Ok(make());
        }
        parse_decimal_type(&lower).ok_or_else(|| ParseColumnTypeError(unknown(text)))
    }
}

/// The message about a text that is not a type's name.
fn unknown(text: &str) -> String {
    let plain = DECLARATIONS
        .iter()
        .filter(|declared| declared.plain.is_some());
    let names: Vec<_> = plain.map(|declared| declared.name).collect();
    let other = PostgresType::parse(&format!("pg:{text}"));
    let hint = match other {
        Some(Ok(postgres)) => {
            format!("; if it is a type of the database, write `{postgres}`")
        }
        _ => String::new(),
    };
    format!(
        "`{}` is not a column type; known: {}, decimal(p,s), pg:NAME{hint}",
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
