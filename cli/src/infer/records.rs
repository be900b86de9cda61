//! The records of a file, and what its columns have in common.

use std::path::Path;

use anyhow::{Result, bail};
use bekk_ingest::{Sampled, sample};
use bekk_stream::{CsvDialect, HeaderRow};

use super::column::Profile;
use super::footer::{self, Footer};
use super::key::Uniqueness;
use super::second_header::SecondHeader;

/// The most columns that a table of PostgreSQL has.
const COLUMNS_MAX: usize = 1600;
/// How many records are looked at; more would take long and seldom say more.
pub(super) const RECORDS_MAX: u64 = 1_000_000;
/// How many records of each other file of the stream are looked at
const ALSO_MAX: u64 = 1_000;

/// What the records of a file have in common
pub(super) struct Records {
    /// The first record's fields: a header, or values.
    pub(super) first: Vec<String>,
    pub(super) columns: Vec<Profile>,
    pub(super) unique: Uniqueness,
    pub(super) records: u64,
    pub(super) uneven: u64,
    /// Records with several fields, all of them empty.
    pub(super) empty: u64,
    pub(super) not_utf8: u64,
    pub(super) whole_file: bool,
    pub(super) footer: Footer,
    /// The beginning of a line of dashes below the header.
    pub(super) rule: Option<String>,
    /// How many records have the first one's field, by column.
    pub(super) recurring: Vec<u64>,
    /// The first record after the header, which may be a second one.
    pub(super) second: Option<SecondHeader>,
}

impl Records {
    fn none() -> Self {
        Self {
            first: Vec::new(),
            columns: Vec::new(),
            unique: Uniqueness::of(&[]),
            records: 0,
            uneven: 0,
            empty: 0,
            not_utf8: 0,
            whole_file: true,
            footer: Footer::default(),
            rule: None,
            recurring: Vec::new(),
            second: None,
        }
    }

    /// Takes the names of the columns.
    fn begin(&mut self, names: Vec<String>) {
        self.columns = named(&names);
        self.recurring = vec![0; names.len()];
        self.unique = Uniqueness::of(&self.columns);
        self.first = names;
    }

    /// Takes note of a record.
    fn see(&mut self, record: &Sampled<'_>, dialect: &CsvDialect) {
        self.records += 1;
        let (width, columns) = (record.width(), self.columns.len());
        let is_alone = width == 1 && columns > 1;
        self.footer.see(record, is_alone, dialect);
        for (at, recurring) in self.recurring.iter_mut().enumerate().take(width) {
            let is_first = |(text, _): (&[u8], bool)| text == self.first[at].as_bytes();
            *recurring += u64::from(record.field(at).is_some_and(is_first));
        }
        let is_surplus = dialect.trailing_delimiter && width == columns + 1;
        if record.is_bad() || (width != columns && !is_surplus) {
            self.uneven += 1;
        } else if is_empty(record) {
            self.empty += 1;
        } else {
            self.not_utf8 += see(&mut self.columns, &mut self.unique, record);
            match &mut self.second {
                Some(second) => second.see(record, &self.columns),
                None if self.records == 1 => {
                    self.second = Some(SecondHeader::new(record, &self.first, dialect));
                }
                None => {}
            }
        }
    }
}

/// Reads the records, the first one as the header.
pub(super) fn read(path: &Path, dialect: &CsvDialect) -> Result<Records> {
    let mut found = Records::none();
    if let HeaderRow::Named(names) = &dialect.header {
        found.begin(names.clone());
    }
    let text = |field: Option<(&[u8], bool)>| {
        String::from_utf8_lossy(field.map_or(&[][..], |(text, _)| text)).into_owned()
    };
    let mut width_max = 0;
    sample(path, dialect, |record| {
        if found.columns.is_empty() {
            width_max = record.width();
            if width_max > COLUMNS_MAX {
                return false;
            }
            let names = (0..width_max).map(|at| text(record.field(at)));
            found.begin(names.collect());
            return true;
        }
        if is_first_again(record, &found.first) {
            // Ingest passes over a header that comes again, as `cat` leaves it.
            return true;
        }
        if found.records == 0 && found.rule.is_none() {
            found.rule = footer::rule(record, dialect);
            if found.rule.is_some() {
                return true;
            }
        }
        found.see(record, dialect);
        found.whole_file = found.records < RECORDS_MAX;
        found.whole_file
    })?;
    if width_max > COLUMNS_MAX {
        bail!(
            "the first line of `{}` has {width_max} fields, and a table has at most {COLUMNS_MAX} columns; if they are not columns, name the columns' separator: --delimiter",
            path.display()
        );
    }
    Ok(found)
}

/// Takes note of the first records of another file of the stream, if it has the same header.
pub(super) fn see_also(
    path: &Path,
    dialect: &CsvDialect,
    first: &[String],
    columns: &mut [Profile],
) -> Result<()> {
    let mut records = 0;
    Ok(sample(path, dialect, |record| {
        records += 1;
        if records == 1 && !is_first_again(record, first) {
            return false;
        }
        if !record.is_bad() && record.width() == columns.len() {
            for (at, column) in columns.iter_mut().enumerate().filter(|_| records > 1) {
                column.see_also(record.field(at).map_or(&[][..], |(text, _)| text));
            }
        }
        records <= ALSO_MAX
    })?)
}

/// Whether a record is the header again; numbers that come again are values.
fn is_first_again(record: &Sampled<'_>, first: &[String]) -> bool {
    let mark = b"\xef\xbb\xbf";
    let is_same = |at: usize| {
        let (text, _) = record.field(at).unwrap_or((b"", false));
        let name = first[at].as_bytes();
        text.strip_prefix(mark).unwrap_or(text) == name.strip_prefix(mark).unwrap_or(name)
    };
    record.width() == first.len()
        && (0..record.width()).all(is_same)
        && !first.iter().any(|name| name.parse::<f64>().is_ok())
}

/// Whether a record has several fields, all of them empty.
pub(super) fn is_empty(record: &Sampled<'_>) -> bool {
    record.width() > 1
        && (0..record.width()).all(|at| record.field(at).is_some_and(|(text, _)| text.is_empty()))
}

/// Takes note of a record's fields; how many of them are not UTF-8.
pub(super) fn see(columns: &mut [Profile], unique: &mut Uniqueness, record: &Sampled<'_>) -> u64 {
    let mut not_utf8 = 0;
    for (at, column) in columns.iter_mut().enumerate() {
        let (text, quoted) = record.field(at).unwrap_or((b"?", false));
        not_utf8 += u64::from(std::str::from_utf8(text).is_err());
        column.see(text, quoted);
    }
    unique.see(|at| record.field(at).map_or(&[][..], |(text, _)| text));
    not_utf8
}

/// The columns that a header names; one without a name of its own is known by its place.
pub(super) fn named(header: &[String]) -> Vec<Profile> {
    let mut columns = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let name = name.strip_prefix('\u{feff}').unwrap_or(name);
        let is_own = !name.is_empty() && header.iter().filter(|other| *other == name).count() == 1;
        columns.push(Profile::new(name, (!is_own).then_some(at + 1), &columns));
    }
    columns
}
