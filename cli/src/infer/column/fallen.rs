//! The few values that keep a column from the type of all others: one `unknown` among dates.

use bekk_stream::ColumnType;

use super::Profile;
use crate::infer::kinds::{Candidate, Kind};
use crate::screen::grouped;

/// A column with more exceptions than this is given up if they are most of its values
const OTHERS_MAX: u64 = 100;

/// The types that all values of a column fitted, until one fitted none of them
pub(super) struct Fallen {
    candidates: Vec<Candidate>,
    /// How many values fit none of the types, and the first of these values
    others: u64,
    first: String,
}

impl Profile {
    /// Keeps the candidates that take a field.
    pub(super) fn narrow(&mut self, field: &[u8], is_whole: bool) {
        if let Some(fallen) = &mut self.fallen {
            let mut candidates = fallen.candidates.iter();
            let is_taken = candidates.any(|candidate| candidate.takes(field, is_whole));
            fallen.others += u64::from(!is_taken);
            if fallen.others > OTHERS_MAX && fallen.others * 2 > self.values {
                self.fallen = None;
            }
            return;
        }
        let takes = |candidate: &Candidate| candidate.takes(field, is_whole);
        // Most values are of the same types as those before them.
        if self.candidates.iter().all(takes) {
            return;
        }
        if self.candidates.iter().any(takes) {
            self.candidates.retain(takes);
        } else {
            let candidates = std::mem::take(&mut self.candidates);
            let first = String::from_utf8_lossy(field);
            self.fallen = (self.values > 1).then(|| Fallen {
                candidates,
                others: 1,
                first: first
                    .chars()
                    .take(40)
                    .flat_map(char::escape_debug)
                    .collect(),
            });
        }
    }

    /// Adds a remark to a text column about the type that most of its values have. Dates may have two forms.
    pub(super) fn remark_fallen(&mut self, decimal_comma: bool) {
        let is_plain = self.is_text() && self.settled().remark.is_none();
        let Some(fallen) = self.fallen.take().filter(|_| is_plain) else {
            return;
        };
        let is_time = |kind| matches!(kind, Kind::Date(_) | Kind::Timestamp(_) | Kind::Timestamptz);
        let are_times = fallen.candidates.iter().any(|one| is_time(one.kind));
        let share = if are_times { 2 } else { 10 };
        if fallen.others * share > self.values {
            return;
        }
        self.candidates = fallen.candidates;
        let other = self.decided(decimal_comma);
        self.candidates.clear();
        if other.column_type == ColumnType::Text {
            return;
        }
        let mut settings = format!("type = \"{}\"", other.column_type);
        if let Some(format) = other.format {
            settings += &format!(", format = {format:?}");
        }
        if let Some(mark) = other.decimal {
            settings += &format!(", decimal = \"{mark}\"");
        }
        if !other.strip.is_empty() {
            settings += &format!(", strip = {:?}", other.strip);
        }
        let (others, values) = (grouped(fallen.others), grouped(self.values));
        let remark = format!(
            "text for {others} of {values} values, the first `{}`; for the type of the others, which rejects these: \
             {settings}",
            fallen.first
        );
        if let Some(settled) = &mut self.settled {
            settled.remark = Some(remark);
        }
    }
}
