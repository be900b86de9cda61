//! What stands beside and between the digits of a column's numbers: units, parentheses, marks between thousands.

use bekk_stream::ColumnType;

use super::column::Settled;
use super::kinds::{GROUPINGS, UNITS};

/// What was seen in all values of a column.
#[derive(Default)]
pub(super) struct Marks {
    values: u64,
    /// How many values have each of [`UNITS`].
    units: [u64; UNITS.len()],
    parentheses: u64,
    /// Values with a decimal mark and a minus after the last digit. A value without the mark may be an open range: `1994-`.
    minus_after: u64,
    /// How many values have each of the marks of [`GROUPINGS`].
    groups: [u64; GROUPINGS.len()],
    /// How many values have each of the decimal marks of [`GROUPINGS`].
    decimals: [u64; GROUPINGS.len()],
    /// Values whose digits begin with a zero before another digit.
    leading_zeros: u64,
    /// Values with a comma that has not three digits behind it, or only a zero before it.
    decimal_commas: u64,
    /// Values with a point that has not three digits behind it, or only a zero before it.
    decimal_points: u64,
}

impl Marks {
    pub(super) fn see(&mut self, field: &[u8]) {
        self.values += 1;
        let plain = field.iter().all(u8::is_ascii_digit);
        if plain && field.first() != Some(&b'0') {
            return;
        }
        let Ok(text) = std::str::from_utf8(field) else {
            return;
        };
        // Longer texts are no numbers.
        if text.len() > 80 {
            return;
        }
        for (unit, count) in UNITS.iter().zip(&mut self.units) {
            *count += u64::from(text.contains(unit));
        }
        self.parentheses += u64::from(text.starts_with('(') || text.contains("(("));
        let digits = text.trim_matches(|c: char| !c.is_ascii_digit());
        let is_minus_after = text.ends_with('-') && digits.contains(['.', ',']);
        self.minus_after += u64::from(is_minus_after);
        self.parentheses += u64::from(!text.starts_with('(') && text.contains('('));
        let spaced = digits.replace(['\u{a0}', '\u{202f}', '\u{2009}'], " ");
        for (at, (mark, decimal)) in GROUPINGS.iter().enumerate() {
            self.groups[at] += u64::from(spaced.contains(mark));
            self.decimals[at] += u64::from(spaced.contains(*decimal));
        }
        let bytes = digits.as_bytes();
        self.leading_zeros += u64::from(
            bytes.first() == Some(&b'0') && bytes.get(1).is_some_and(|next| !b".,".contains(next)),
        );
        let is_decimal = |mark: char| {
            let (before, behind) = digits.split_once(mark).unwrap_or(("1", "000"));
            let part = behind.split([',', '.']).next();
            u64::from(part.is_none_or(|part| part.len() != 3) || before.starts_with('0'))
        };
        self.decimal_commas += is_decimal(',');
        self.decimal_points += is_decimal('.');
    }

    /// Whether some value has a point, and every point has three digits behind it, as one between thousands has.
    pub(super) fn are_points_groups(&self) -> bool {
        self.groups[1] > 0 && self.decimal_points == 0
    }

    /// Whether some value has a point that cannot be one between thousands.
    pub(super) fn has_decimal_point(&self) -> bool {
        self.decimal_points > 0
    }

    /// Whether every comma has three digits behind it, as one between thousands has.
    pub(super) fn are_commas_groups(&self) -> bool {
        self.decimal_commas == 0
    }

    /// Whether some value has a comma or a point.
    pub(super) fn are_grouped(&self) -> bool {
        self.groups[0] + self.groups[1] > 0
    }

    /// The type of a column whose values are all numbers under a grouping, if that is beyond doubt.
    pub(super) fn settle(&self, grouping: usize, example: &str) -> Option<Settled> {
        let (mark, decimal) = GROUPINGS[grouping];
        let units: Vec<_> = (UNITS.iter().zip(&self.units))
            .filter(|(_, count)| **count > 0)
            .collect();
        let is_grouped = self.groups[grouping] > 0;
        // Two units are no one number; and a share beside plain numbers may be either.
        let has_doubt = units.len() > 1
            || units
                .iter()
                .any(|(unit, count)| **unit == "%" && **count < self.values)
            || self.leading_zeros > 0;
        // 192.168.100.200 and 555 123 456 look like numbers with groups as well.
        let is_sure = mark == "," || self.decimals[grouping] > 0 || !units.is_empty();
        let is_signed = self.parentheses + self.minus_after > 0;
        let is_marked = is_grouped || !units.is_empty() || is_signed;
        if has_doubt || !is_marked || (is_grouped && !is_sure) {
            return None;
        }
        let mut strip: Vec<String> = Vec::new();
        strip.extend(is_grouped.then(|| mark.to_owned()));
        strip.extend(units.iter().map(|(unit, _)| (**unit).to_owned()));
        strip.extend((self.parentheses > 0).then(|| "()".to_owned()));
        strip.extend((self.minus_after > 0).then(|| "-".to_owned()));
        let example = example.replace(char::is_control, " ");
        Some(Settled {
            column_type: ColumnType::Numeric,
            format: None,
            strip,
            decimal: Some(decimal),
            remark: Some(format!(
                "numbers with marks, such as {example}; type = \"text\" keeps them as they are"
            )),
        })
    }
}
