//! Lines that are not records: sums after the records, and a line of dashes below the header.

use bekk_ingest::Sampled;
use bekk_stream::CsvDialect;

/// Words that such a line begins with, in lower case.
const WORDS: [&str; 18] = [
    "grand total",
    "sub-total",
    "subtotal",
    "subtotals",
    "totals",
    "total",
    "totale",
    "sous-total",
    "sum",
    "summe",
    "gesamt",
    "gesamtsumme",
    "gesamtbetrag",
    "endsumme",
    "zwischensumme",
    "insgesamt",
    "somme",
    "suma",
];
/// Most lines that sum up.
const LINES_MAX: usize = 3;
/// The fewest records above a sum that is known by its empty fields alone
const RECORDS_MIN: u64 = 2;

/// The beginnings of the last records
#[derive(Default)]
pub(super) struct Footer {
    /// The beginnings of the lines that sum up, since the last record that does not.
    run: Vec<String>,
    /// Whether a record after such a line does not sum up.
    is_inside: bool,
    others: u64,
    /// Records whose first field is empty while another one is not.
    headless: u64,
    /// The empty fields that the last record begins with, if most of it is empty and it ends with a number.
    empties: Option<String>,
}

impl Footer {
    /// Sees a record, whose only field may be alone where the header has several.
    pub(super) fn see(&mut self, record: &Sampled<'_>, is_alone: bool, dialect: &CsvDialect) {
        match beginning(record, is_alone, dialect) {
            Some(beginning) => self.run.push(beginning),
            None => {
                self.is_inside |= !self.run.is_empty();
                self.run.clear();
                self.others += 1;
            }
        }
        let begun = empties(record, dialect);
        self.headless += u64::from(begun.is_some());
        self.empties = begun.filter(|_| is_sparse_sum(record));
    }

    /// The texts for `footer`, if the file ends with lines that sum up, and has none elsewhere.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let is_footer = !self.is_inside
            && (1..=LINES_MAX).contains(&self.run.len())
            && self.others >= self.run.len() as u64;
        let mut texts = self.run.clone();
        texts.sort();
        texts.dedup();
        is_footer.then_some(texts)
    }

    /// Returns a remark on a last line without a known word that may be a sum: it alone begins with empty fields.
    pub(super) fn remark(&self) -> Option<String> {
        let begun = self.empties.as_deref()?;
        let is_alone = self.headless == 1 && self.others > RECORDS_MIN;
        is_alone.then(|| {
            format!(
                "the last line begins with empty fields, as no other line does, and may be a sum; if it is no record, add to \
                 csv: footer = [\"{}\"], and remove `nullable` where only that line has no value",
                begun.escape_default()
            )
        })
    }
}

/// Returns the empty fields that a record begins with, as in the file; `None` if it has none, or all are empty.
fn empties(record: &Sampled<'_>, dialect: &CsvDialect) -> Option<String> {
    let is_plain = |at| {
        record
            .field(at)
            .is_some_and(|(text, quoted)| text.is_empty() && !quoted)
    };
    let count = (0..record.width()).take_while(|at| is_plain(*at)).count();
    (0 < count && count < record.width()).then(|| dialect.delimiter.text().repeat(count))
}

/// Whether at least half of a record's fields are empty, and the last one that is not is a number.
fn is_sparse_sum(record: &Sampled<'_>) -> bool {
    let texts = (0..record.width()).filter_map(|at| record.field(at));
    let filled: Vec<_> = texts.filter(|(text, _)| !text.is_empty()).collect();
    let is_number = |text: &[u8]| {
        text.iter().any(u8::is_ascii_digit) && !text.iter().any(u8::is_ascii_alphabetic)
    };
    filled.len() * 2 <= record.width() && filled.last().is_some_and(|(text, _)| is_number(text))
}

/// The end of the records in PostgreSQL's COPY
const END_OF_COPY: &str = "\\.";

/// DOS's mark of the end of a file
const END_OF_FILE: &str = "\u{1a}";

/// Returns the beginning of a record that is a line of dashes, as database clients write it below a header.
pub(super) fn rule(record: &Sampled<'_>, dialect: &CsvDialect) -> Option<String> {
    const DASHES: &[u8] = b"---";
    let field = |at| record.field(at).map_or(&[][..], |(text, _)| text);
    let is_dashes = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| *byte == b'-');
    let fields = || (0..record.width()).map(field);
    if !fields().all(is_dashes) || !fields().any(|text| text.starts_with(DASHES)) {
        return None;
    }
    let beginning = match field(0).starts_with(DASHES) {
        true => DASHES.to_vec(),
        false => fields()
            .collect::<Vec<_>>()
            .join(dialect.delimiter.as_bytes()),
    };
    String::from_utf8(beginning).ok()
}

/// Returns the beginning of a line that sums up, exactly as in the file, up to its first field with a text.
fn beginning(record: &Sampled<'_>, is_alone: bool, dialect: &CsvDialect) -> Option<String> {
    // If the backslash is an escape, only the point remains.
    let ends_copy = |text: &[u8]| {
        text == END_OF_COPY.as_bytes() || (dialect.escape == Some(b'\\') && text == b".")
    };
    if record.width() == 1 && record.field(0).is_some_and(|(text, _)| ends_copy(text)) {
        return Some(END_OF_COPY.to_owned());
    }
    if record.width() == 1
        && record
            .field(0)
            .is_some_and(|(text, _)| text == END_OF_FILE.as_bytes())
    {
        return Some(END_OF_FILE.to_owned());
    }
    let is_empty = |at: &usize| record.field(*at).is_some_and(|(text, _)| text.is_empty());
    let at = (0..record.width()).find(|at| !is_empty(at))?;
    let (text, quoted) = record.field(at)?;
    let text = std::str::from_utf8(text).ok()?;
    let lower = text.to_lowercase();
    let word = WORDS.iter().find(|word| {
        let rest = lower.strip_prefix(**word);
        // `Total Wine` is a firm, `Total: 3` sums up, and so does `Total: 3 orders` where it is the whole line.
        let sums_up = |rest: &str| {
            !rest.chars().any(char::is_alphabetic) || (is_alone && rest.starts_with(':'))
        };
        rest.is_some_and(sums_up)
    })?;
    let delimiter = dialect.delimiter.text();
    let quote = match (quoted, dialect.quote) {
        (true, Some(quote)) => char::from(quote).to_string(),
        _ => String::new(),
    };
    let is_whole = text.len() == word.len();
    let end = match (is_whole, at + 1 < record.width()) {
        (true, true) => format!("{quote}{delimiter}"),
        (true, false) => quote.clone(),
        (false, _) => text[word.len()..].chars().take(1).collect(),
    };
    let before = delimiter.repeat(at);
    Some(format!("{before}{quote}{}{end}", &text[..word.len()]))
}
