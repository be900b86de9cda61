//! A second line of a header: names below groups of names, units, types or descriptions.

use bekk_ingest::Sampled;
use bekk_stream::{ColumnType, CsvDialect};

use super::column::Profile;
use super::records::named;
use super::render::quoted;
use super::shown;

/// Fewer records after the line say nothing about it.
const RECORDS_MIN: u64 = 2;
/// Most columns that the remark names.
const SHOWN_MAX: usize = 4;

/// The first record after the header, beside the records after it
pub(super) struct SecondHeader {
    fields: Vec<String>,
    /// Whether it has the names of the header once more, in other letters.
    repeats: bool,
    /// The line, if no field is in quotes.
    line: Option<String>,
    /// The columns without it.
    others: Vec<Profile>,
    records: u64,
}

impl SecondHeader {
    /// Takes the first record after a header.
    pub(super) fn new(record: &Sampled<'_>, header: &[String], dialect: &CsvDialect) -> Self {
        let fields = (0..record.width()).map(|at| record.field(at).unwrap_or((b"?", true)));
        let is_plain = fields.clone().all(|(_, is_quoted)| !is_quoted);
        let fields: Vec<String> = fields
            .map(|(text, _)| String::from_utf8_lossy(text).into_owned())
            .collect();
        let is_same = |(field, name): (&String, &String)| {
            field.trim().to_lowercase() == name.trim().to_lowercase()
        };
        Self {
            repeats: fields.iter().zip(header).all(is_same),
            line: is_plain.then(|| fields.join(&dialect.delimiter.text())),
            others: named(header),
            fields,
            records: 0,
        }
    }

    /// Sees a later record, in the columns of which the first one is not a number or the like.
    pub(super) fn see(&mut self, record: &Sampled<'_>, columns: &[Profile]) {
        self.records += 1;
        for (at, other) in self.others.iter_mut().enumerate().take(record.width()) {
            if columns[at].is_any_text() {
                let (text, is_quoted) = record.field(at).unwrap_or((b"?", false));
                other.see(text, is_quoted);
            }
        }
    }

    /// A remark, if the record is a text in each column whose other values are no texts. `head` is the file's beginning.
    pub(super) fn remark(&self, columns: &[Profile], head: &[u8]) -> Option<String> {
        let is_text = |column: &ColumnType| *column == ColumnType::Text;
        let decimal_comma = self.others.iter().any(Profile::needs_decimal_comma);
        let mut narrower = Vec::new();
        for ((column, other), field) in columns.iter().zip(&self.others).zip(&self.fields) {
            if !is_text(&column.settled().column_type) {
                match field.is_empty() {
                    true => continue,
                    false => return None,
                }
            }
            let without = other.decided(decimal_comma).column_type;
            if !is_text(&without) {
                narrower.push(format!("`{}` {without}", column.name));
            }
        }
        if self.records < RECORDS_MIN || narrower.is_empty() && !self.repeats {
            return None;
        }
        let more = if narrower.len() > SHOWN_MAX {
            ", …"
        } else {
            ""
        };
        narrower.truncate(SHOWN_MAX);
        let (types, set) = match narrower.is_empty() {
            true => (String::new(), ""),
            false => {
                let types = narrower.join(", ");
                let types = format!(": without it the columns are {types}{more}");
                (types, "set these types, and ")
            }
        };
        let skip = match &self.line {
            Some(line) => format!("csv = {{ footer = [{}] }} skips it", quoted(line)),
            None => "remove it from the files".to_owned(),
        };
        Some(format!(
            "the line below the header looks like a second header ({}){types}; if the names are in it: {}; otherwise \
             {set}{skip}",
            shown(&self.fields),
            self.skipping(head)
        ))
    }

    /// The option that makes the line the header.
    fn skipping(&self, head: &[u8]) -> String {
        let line = self.line.as_ref().map(String::as_bytes);
        let lines = head.split(|byte| *byte == b'\n');
        let mut lines = lines.map(|own| own.strip_suffix(b"\r").unwrap_or(own));
        match lines.position(|own| Some(own) == line) {
            Some(before) => format!("--skip-lines {before}"),
            None => "--skip-lines with the number of the lines before it".to_owned(),
        }
    }
}
