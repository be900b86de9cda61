//! Why a partition is not applied until a person has decided, and what that person can type.
//!
//! **Invariant:** advice is safe to follow: it loses, duplicates and overwrites nothing. Where no single command is,
//! the advice is to rebuild beside the table and to compare.

use bekk_log::{AtMark, Difference, Offset, RecordMark};
use bekk_stream::{OnConflict, Stream};

use crate::ddl::quote_table;
use crate::render::time_text;

/// Why a partition is not applied until a person has decided: a row of `bekk.offsets` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of difference it is.
    pub kind: RefusalKind,
    /// What differs, for a person.
    pub detail: String,
}

/// What kind of difference a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The log ends before the group's next record.
    LogEndsBefore,
    /// The log begins after the group's next record.
    LogBeginsAfter,
    /// Another record lies where the last applied one lay.
    OtherRecord,
}

impl RefusalKind {
    /// As it stands in `bekk.offsets`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::LogEndsBefore => "log_ends_before",
            Self::LogBeginsAfter => "log_begins_after",
            Self::OtherRecord => "other_record",
        }
    }
}

impl Refusal {
    /// What a partition's row says.
    pub(crate) fn of_columns(kind: Option<String>, detail: Option<String>) -> Option<Self> {
        let kind = match kind?.as_str() {
            "log_ends_before" => RefusalKind::LogEndsBefore,
            "log_begins_after" => RefusalKind::LogBeginsAfter,
            _ => RefusalKind::OtherRecord,
        };
        Some(Self {
            kind,
            detail: detail.unwrap_or_default(),
        })
    }

    /// The refusal of a partition whose log differs from what a group has applied.
    #[must_use]
    pub fn of_difference(
        (topic, partition): (&str, u32),
        next: Offset,
        mark: Option<&RecordMark>,
        at: &AtMark,
        difference: Difference,
    ) -> Self {
        let (start, end) = (at.ends.start, at.ends.end);
        let (kind, detail) = match difference {
            Difference::EndsBefore => (
                RefusalKind::LogEndsBefore,
                format!(
                    "the log ends at offset {end} of {topic}/{partition}, and the group is at {next}: the log has lost \
                     records, is an older copy, or was replaced"
                ),
            ),
            Difference::BeginsAfter => (
                RefusalKind::LogBeginsAfter,
                format!(
                    "the log begins at offset {start} of {topic}/{partition}, and the group is at {next}: the records \
                     between were removed before the group applied them"
                ),
            ),
            Difference::OtherRecord { found } => {
                let applied = mark.map_or(found, |mark| *mark);
                (
                    RefusalKind::OtherRecord,
                    format!(
                        "offset {} of {topic}/{partition} holds another record than the one applied: this one was \
                         written at {}, the applied one at {} (CRC {:08x} and {:08x}); the log was replaced, or put \
                         back from an older copy and continued",
                        applied.offset,
                        time_text(found.timestamp_ms),
                        time_text(applied.timestamp_ms),
                        found.crc,
                        applied.crc
                    ),
                )
            }
        };
        Self { kind, detail }
    }

    /// What a person can type about it.
    #[must_use]
    pub fn advice(&self, group: &str, stream: &Stream, partition: u32) -> String {
        let name = &stream.name;
        match self.kind {
            RefusalKind::LogBeginsAfter => format!(
                "to continue at the oldest record that is left: bekk offsets reset --group {group} --stream {name} \
                 --partition {partition} --to earliest --execute"
            ),
            RefusalKind::LogEndsBefore | RefusalKind::OtherRecord => {
                advice_for_another_log(group, stream)
            }
        }
    }
}

/// What can be typed if the log was replaced since the table was filled.
///
/// Into a table with a key the log can be applied again: the last version of each key is there in the end. Without a
/// key every row would come once more.
pub(crate) fn advice_for_another_log(group: &str, stream: &Stream) -> String {
    let (name, table) = (&stream.name, &stream.table);
    let replay = replay_command(group, stream);
    if is_keyless(stream) {
        return advice_without_a_key(stream, &replay);
    }
    format!(
        "to see first what would differ: bekk replay --stream {name} --from earliest --into {table}_rebuilt --execute, \
         then bekk diff {table} {table}_rebuilt; to apply this log from its beginning: {replay}"
    )
}

/// The command that applies a log from its beginning.
#[must_use]
pub fn replay_command(group: &str, stream: &Stream) -> String {
    format!(
        "bekk replay --group {group} --stream {} --from earliest --execute",
        stream.name
    )
}

/// Whether a record that is applied again is one more row.
pub(crate) fn is_keyless(stream: &Stream) -> bool {
    stream.on_conflict == OnConflict::Append || stream.key.is_empty()
}

/// What can be typed where the records of a stream without a key must be applied again by `command`.
pub(crate) fn advice_without_a_key(stream: &Stream, command: &str) -> String {
    format!(
        "table `{}` has no key, so that applying the log again would double its rows; {}",
        stream.table,
        fill_anew(stream, command)
    )
}

/// How a table without a key is filled anew by `command`. No row is lost: those that it has are kept in another table, and
/// until then nobody inserts more. psql sends the statements at once, which makes them one transaction.
#[must_use]
pub fn fill_anew(stream: &Stream, command: &str) -> String {
    let mut kept = stream.table.clone();
    kept.name.push_str("_before");
    let sql = format!(
        "LOCK TABLE {table}; CREATE TABLE {} AS TABLE {table}; TRUNCATE {table}",
        quote_table(&kept),
        table = quote_table(&stream.table)
    );
    // In the shell's quotes.
    let sql = sql.replace('\'', r"'\''");
    format!(
        "to fill it anew from the log, and to keep the rows that it has as `{kept}`: bekk psql -c '{sql}', then: {command}"
    )
}

/// What can be typed where a group's log is gone for good and another one is in use.
#[must_use]
pub fn advice_for_lost_log(group: &str, stream: &Stream, remembered: &str) -> String {
    let name = &stream.name;
    if is_keyless(stream) {
        let replay = format!(
            "bekk replay --group {group} --stream {name} --from earliest --instead-of {remembered} --execute"
        );
        return format!(
            "if that log is gone for good: {}",
            advice_without_a_key(stream, &replay)
        );
    }
    format!(
        "if that log is gone for good, apply this one from its beginning: bekk offsets reset --group {group} --stream \
         {name} --to earliest --instead-of {remembered} --execute"
    )
}
