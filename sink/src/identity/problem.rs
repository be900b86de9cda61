//! What is wrong with a table that a group has filled, in words, and what to type next.

use bekk_stream::{Stream, TableName};

use crate::Error;
use crate::refusal::{fill_anew, is_keyless, replay_command};

/// Why a table is not the one that a group has filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableProblem {
    /// The table does not exist.
    Missing { placed: u64 },
    /// The table has another name than the configuration says.
    Renamed { now: String },
    /// The table was dropped and made again.
    Recreated { placed: u64, is_empty: bool },
    /// The table was truncated.
    Truncated { placed: u64 },
    /// All rows were deleted. That may be meant, so that it is only reported.
    Deleted { placed: u64 },
    /// The database is on another server, or another database.
    Moved { from: String, has_rows: bool },
    /// The configuration names another table, or its name without a schema means another one.
    OtherTable {
        from: String,
        now: String,
        has_rows: bool,
        placed: u64,
    },
}

impl TableProblem {
    /// Whether it is only reported, and records are applied all the same.
    pub(crate) fn is_a_warning(&self) -> bool {
        matches!(self, Self::Deleted { .. })
    }

    /// What differs, for a person.
    pub(crate) fn text(&self, stream: &Stream) -> String {
        let table = &stream.table;
        let records = |n: &u64| format!("{n} {}", if *n == 1 { "record" } else { "records" });
        match self {
            Self::Missing { placed } => format!(
                "table `{table}` does not exist, and the group has applied {} to it",
                records(placed)
            ),
            Self::Renamed { now } => {
                format!("table `{table}` does not exist: the group's table is called `{now}` now")
            }
            Self::Recreated { placed, is_empty } => format!(
                "table `{table}` was dropped and made again{}, and the group has applied {} to the one before",
                if *is_empty { " and is empty" } else { "" },
                records(placed)
            ),
            Self::Truncated { placed } => format!(
                "table `{table}` was truncated, and the group has applied {} to it",
                records(placed)
            ),
            Self::Deleted { placed } => format!(
                "table `{table}` is empty: its rows were deleted, and the group has applied {} to it",
                records(placed)
            ),
            Self::Moved { from, has_rows } => format!(
                "the group fills {from}, and this is another server or database, where table `{table}` {}",
                if *has_rows {
                    "has rows"
                } else {
                    "has no rows, or does not exist"
                }
            ),
            Self::OtherTable {
                from, now, placed, ..
            } => format!(
                "the group fills table `{from}` and has applied {} to it; the configuration names `{table}`{}",
                records(placed),
                match stream.table.schema {
                    Some(_) => String::new(),
                    None => format!(", and the role's search path finds `{now}`"),
                }
            ),
        }
    }

    /// What can be typed about it.
    pub(crate) fn advice(&self, group: &str, stream: &Stream) -> String {
        let advice = self.advice_of_kind(group, stream);
        match self {
            Self::OtherTable { from, .. } => {
                let from = TableName::of_stored(from);
                format!(
                    "to continue with the group's table, write {} in the configuration, or name it with --table {from} if \
                     this is not the only group; {advice}",
                    from.as_setting()
                )
            }
            _ => advice,
        }
    }

    fn advice_of_kind(&self, group: &str, stream: &Stream) -> String {
        let (name, table) = (&stream.name, &stream.table);
        let has_key = !is_keyless(stream);
        let adopt = format!("bekk offsets adopt --group {group} --stream {name}");
        let replay = replay_command(group, stream);
        match self {
            Self::Missing { .. } => format!("to fill it again from the log: {replay}"),
            Self::Renamed { now } => {
                let setting = TableName::of_stored(now).as_setting();
                format!("write {setting} in the configuration, or rename the table back")
            }
            Self::Recreated { is_empty: true, .. }
            | Self::Truncated { .. }
            | Self::Deleted { .. } => format!(
                "if it is meant to be empty: {adopt}; to fill it again from the log: {replay}"
            ),
            Self::Moved { has_rows: true, .. } => format!(
                "another group (--group) starts from the beginning; if the rows came along with schema `bekk`, by dump \
                 and restore or the like, continue where the offsets are: {adopt}"
            ),
            Self::Moved { .. } => format!("to fill it from the log: {replay}"),
            Self::OtherTable {
                has_rows: false, ..
            } => format!(
                "to keep both tables, use another group (--group NAME); to fill `{table}` from the log with this one: \
                 {replay}"
            ),
            Self::Recreated { .. } | Self::OtherTable { .. } if has_key => format!(
                "if all its rows are in `{table}`: {adopt}; if not, or to be sure, apply the log again: {replay}"
            ),
            Self::Recreated { .. } | Self::OtherTable { .. } => format!(
                "if all its rows are in `{table}`, continue where the offsets are: {adopt}; if not, {}",
                fill_anew(stream, &replay)
            ),
        }
    }

    pub(crate) fn into_error(self, group: &str, stream: &Stream) -> Error {
        Error::OtherTarget {
            group: group.to_owned(),
            topic: stream.name.clone(),
            what: self.text(stream),
            advice: self.advice(group, stream),
        }
    }
}
