//! Why a partition is not applied until a person has decided, and what that person can type.
//!
//! **Invariant:** advice is safe to follow: it loses, duplicates and overwrites nothing. Where no single command is,
//! the advice is to rebuild beside the table and to compare.

use bekk_log::{AtMark, Difference, Offset, RecordMark};
use bekk_stream::{OnConflict, Stream};

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

/// What can be typed where the log is another one than the table was filled from.
///
/// Into a table with a key the log can be applied again: the last version of each key is there in the end. Without a
/// key every row would come once more.
pub(crate) fn advice_for_another_log(group: &str, stream: &Stream) -> String {
    let (name, table) = (&stream.name, &stream.table);
    let beside = format!(
        "bekk replay --stream {name} --from earliest --into {} --execute",
        beside_name(stream)
    );
    if stream.on_conflict == OnConflict::Append || stream.key.is_empty() {
        return format!(
            "table `{table}` has no key, so that applying the log again would double its rows; to build one from \
             this log beside it: {beside}"
        );
    }
    format!(
        "to see first what would differ: {beside}, then bekk diff {table} {}; to apply this log from its beginning: \
         bekk replay --group {group} --stream {name} --from earliest --execute",
        beside_name(stream)
    )
}

/// What can be typed where a group's log is gone for good and another one is in use.
#[must_use]
pub fn advice_for_lost_log(group: &str, stream: &Stream, remembered: &str) -> String {
    let name = &stream.name;
    if stream.on_conflict == OnConflict::Append || stream.key.is_empty() {
        return format!(
            "if that log is gone for good: {}",
            advice_for_another_log(group, stream)
        );
    }
    format!(
        "if that log is gone for good, apply this one from its beginning: bekk offsets reset --group {group} --stream \
         {name} --to earliest --instead-of {remembered} --execute"
    )
}

/// The name of a table beside a stream's own.
fn beside_name(stream: &Stream) -> String {
    format!("{}_rebuilt", stream.table)
}
