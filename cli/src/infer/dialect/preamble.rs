//! The lines before a file's records: comments, lines to skip, the header.

use std::borrow::Cow;

use bekk_stream::HeaderRow;

use super::tried::SKIPPED_MAX;
use super::{Guess, Typed};

/// Lines before the header, which are skipped
pub(in crate::infer) struct Preamble {
    /// How many fields the first record after them has.
    fields: usize,
    /// Whether some of them have several fields, so that they are records if the file has no header.
    has_records: bool,
    /// Whether some of them are as wide as the records, because a spreadsheet added empty fields to a title.
    has_titles: bool,
}

impl Guess {
    /// Settles what the skipped lines before the header are, when it is known whether there is a header.
    pub(in crate::infer) fn settle_preamble(&mut self, has_header: bool) {
        let Some(preamble) = self.preamble.take() else {
            return;
        };
        let skipped = self.dialect.skip_lines;
        match (has_header, preamble.has_records) {
            (true, _) if preamble.has_titles => self.remarks.push(format!(
                "line {} is taken as the header: the lines before it have at most one field that is not empty",
                skipped + 1
            )),
            (true, _) => self.remarks.push(format!(
                "line {} is taken as the header: the first one with {} fields",
                skipped + 1,
                preamble.fields
            )),
            (false, false) => self.remarks.push(format!(
                "the records begin in line {}: the first one with {} fields",
                skipped + 1,
                preamble.fields
            )),
            // A record that is not like the others is rejected, and not passed over.
            (false, true) => self.dialect.skip_lines = 0,
        }
    }

    /// Takes the mark that lines of comment before the header begin with.
    pub(super) fn comment(&mut self, lines: &[&[u8]], typed: &Typed) {
        let is_comment = |line: &&&[u8]| line.starts_with(b"#");
        let leading = lines.iter().take_while(is_comment).count();
        let all = lines.iter().filter(is_comment).count();
        // A single one may be the header of a file whose first column is called `#`.
        let is_header = leading == 1
            && all == 1
            && lines.get(1).is_some_and(|next| {
                let count =
                    |line: &[u8]| line.iter().filter(|byte| b",;\t|".contains(byte)).count();
                count(lines[0]) == count(next) && count(next) > 0
            });
        self.dialect.comment = typed
            .comment
            .or((leading > 0 && !is_header).then_some(b'#'))
            .or(begins_with_semicolons(lines).then_some(b';'));
    }

    /// Finds the header: the first line that is as wide as the others.
    pub(super) fn preamble(
        &mut self,
        lines: &[&[u8]],
        width: usize,
        has_separator: bool,
        typed: &Typed,
    ) {
        if let Some(skipped) = typed.skip_lines {
            self.dialect.skip_lines = skipped;
            return;
        }
        let is_passed =
            |line: &[u8]| line.is_empty() || line.first().copied() == self.dialect.comment;
        let width_of = |line: &[u8]| self.width_of(line).0;
        let is_header = |at: usize| {
            let (record, _) = self.record_at(lines, at);
            width_of(&record) == width || self.names_more(&record, width)
        };
        let first = self
            .begins(lines)
            .find(|at| !is_passed(lines[*at]) && is_header(*at));
        let titles = first.and_then(|first| self.after_titles(lines, first, width));
        let first = titles.or(first);
        let begin = usize::from(has_separator);
        let before = |end: usize| {
            lines[begin.min(end)..end]
                .iter()
                .any(|line| !is_passed(line))
        };
        match first {
            // A header with fewer names, and records of its own: the other one comes later.
            Some(first) if self.continues(&lines[begin.min(first)..first], lines[first]) => {}
            Some(first) if first <= SKIPPED_MAX && before(first) && width > 1 => {
                let is_narrow = lines[begin..first]
                    .iter()
                    .rposition(|line| !is_passed(line));
                let narrow = is_narrow.map(|at| lines[begin + at]);
                // A header without the field that a delimiter at the end of each record makes.
                if narrow.is_some_and(|line| width_of(line) + 1 == width)
                    && lines[first].ends_with(self.dialect.delimiter.as_bytes())
                    && typed.trailing_delimiter != Some(false)
                {
                    self.dialect.trailing_delimiter = true;
                    return;
                }
                let above = is_narrow.filter(|at| begin + at + 1 == first);
                let mut skipped = lines[begin..first].iter();
                let has_records = skipped.any(|line| !is_passed(line) && width_of(line) > 1);
                self.dialect.skip_lines = u32::try_from(first).unwrap_or(0);
                if let Some(names) =
                    above.and_then(|at| self.names_beside(lines[begin + at], width))
                    && typed.header.is_none()
                {
                    self.dialect.header = HeaderRow::Named(names);
                    self.remarks.push(
                        "the header has one name fewer than the records have fields, as R and pandas write it: the \
                         first field is called `row`"
                            .to_owned(),
                    );
                    return;
                }
                self.preamble = Some(Preamble {
                    fields: width,
                    has_records,
                    has_titles: titles.is_some(),
                });
            }
            _ => {}
        }
    }

    /// The names in the last comment before the records, if it has as many as they have fields: `# x y z`.
    pub(super) fn commented_names(&self, lines: &[&[u8]], width: usize) -> Option<Vec<String>> {
        let comment = self.dialect.comment?;
        let is_comment = |line: &&&[u8]| line.first() == Some(&comment);
        let last = lines.iter().take_while(is_comment).last()?;
        let text = std::str::from_utf8(last).ok()?;
        let text = text.trim_start_matches(char::from(comment)).trim_start();
        let delimiter = self.dialect.delimiter.text();
        let names: Vec<String> = text
            .split(delimiter.as_str())
            .map(|name| name.trim().trim_matches('"').to_owned())
            .collect();
        let is_name =
            |name: &String| !name.is_empty() && !name.contains('"') && name.parse::<f64>().is_err();
        let mut different = names.clone();
        different.sort_unstable();
        different.dedup();
        let are_names = names.iter().all(is_name) && different.len() == names.len();
        (are_names && width > 1 && names.len() == width).then_some(names)
    }

    /// The header after the rows of a title, which a spreadsheet makes as wide as the records: `Report 2025,,`.
    fn after_titles(&self, lines: &[&[u8]], first: usize, width: usize) -> Option<usize> {
        if width < 3 {
            return None;
        }
        let mut records = self
            .begins(lines)
            .filter(|at| *at >= first && !lines[*at].is_empty())
            .take(SKIPPED_MAX)
            .map(|at| (at, self.fields_of(&self.record_at(lines, at).0)))
            .skip_while(|(_, fields)| fields.iter().filter(|field| !field.is_empty()).count() < 2);
        let (header, mut names) = records.next().filter(|(at, _)| *at > first)?;
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        let are_names = names
            .iter()
            .all(|name| !name.is_empty() && name.parse::<f64>().is_err());
        // Otherwise the first line has the names, and the records are sparse.
        let has_records = records.next().is_some();
        (are_names && has_records && names.len() == count && count == width).then_some(header)
    }

    /// Whether the lines before a header are a header that it extends, and records of that.
    fn continues(&self, before: &[&[u8]], header: &[u8]) -> bool {
        let [first, records @ ..] = before else {
            return false;
        };
        let width = self.width_of(first).0;
        let is_extended = header
            .strip_prefix(*first)
            .is_some_and(|rest| rest.starts_with(self.dialect.delimiter.as_bytes()));
        width > 1
            && is_extended
            && !records.is_empty()
            && records.iter().all(|line| self.width_of(line).0 == width)
    }

    /// Whether a line is a header with more fields than most records have: it has only names.
    fn names_more(&self, line: &[u8], width: usize) -> bool {
        let (text, delimiter) = (String::from_utf8_lossy(line), self.dialect.delimiter.text());
        let mut names = text.split(delimiter.as_str()).map(str::trim);
        self.width_of(line).0 > width
            && names.all(|name| !name.is_empty() && name.parse::<f64>().is_err())
    }

    /// The names of a header that names all fields but the first.
    fn names_beside(&self, line: &[u8], width: usize) -> Option<Vec<String>> {
        if self.width_of(line).0 + 1 != width {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let names: Vec<String> = text
            .split(self.dialect.delimiter.text().as_str())
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        let is_name = |name: &String| {
            !name.is_empty() && !name.contains('"') && name.parse::<f64>().is_err() && name != "row"
        };
        let mut different = names.clone();
        different.sort_unstable();
        different.dedup();
        let are_names = names.iter().all(is_name) && different.len() == names.len();
        (are_names && names.len() + 1 == width).then(|| [vec!["row".to_owned()], names].concat())
    }

    /// The indices of the lines at which records begin.
    fn begins(&self, lines: &[&[u8]]) -> impl Iterator<Item = usize> {
        let following = |at: usize| at + self.record_at(lines, at).1;
        std::iter::successors(Some(0), move |at| {
            Some(following(*at)).filter(|next| *next < lines.len())
        })
        .filter(|at| *at < lines.len())
    }

    /// The record that begins at a line, and how many lines it has: more than one if a quote spans them. A quote that stays
    /// open spans none.
    fn record_at<'l>(&self, lines: &[&'l [u8]], at: usize) -> (Cow<'l, [u8]>, usize) {
        let first = lines[at];
        let (_, mut is_open) = self.width_of(first);
        let mut record = Cow::Borrowed(first);
        let mut count = 1;
        while is_open && count <= SKIPPED_MAX {
            let Some(next) = lines.get(at + count) else {
                break;
            };
            let record = record.to_mut();
            record.push(b'\n');
            record.extend_from_slice(next);
            is_open = self.width_of(record).1;
            count += 1;
        }
        match is_open {
            true => (Cow::Borrowed(first), 1),
            false => (record, count),
        }
    }

    /// A record's fields without blanks and quotes around them.
    fn fields_of(&self, record: &[u8]) -> Vec<String> {
        let quote = self.dialect.quote.map_or('"', char::from);
        let delimiter = self.dialect.delimiter.text();
        let text = String::from_utf8_lossy(record);
        let mut fields = vec![String::new()];
        for part in text.split(delimiter.as_str()) {
            let field = fields.last_mut().expect("there is one");
            field.push_str(part);
            // A delimiter inside quotes separates nothing.
            match self.width_of(field.as_bytes()).1 {
                true => field.push_str(&delimiter),
                false => fields.push(String::new()),
            }
        }
        fields.pop();
        let trimmed = fields.iter().map(|field| field.trim().trim_matches(quote));
        trimmed.map(str::to_owned).collect()
    }

    /// The number of a line's fields, and whether a quote is open at its end.
    fn width_of(&self, line: &[u8]) -> (usize, bool) {
        let delimiter = self.dialect.delimiter.as_bytes();
        let (mut quoted, mut width, mut at) = (false, 1, 0);
        while at < line.len() {
            if Some(line[at]) == self.dialect.escape {
                at += 2;
                continue;
            }
            quoted ^= Some(line[at]) == self.dialect.quote;
            let is_delimiter = !quoted && line[at..].starts_with(delimiter);
            width += usize::from(is_delimiter);
            at += if is_delimiter { delimiter.len() } else { 1 };
        }
        (width, quoted)
    }
}

/// Whether a text begins with comments after semicolons, and has no other semicolons: if they separate fields, one at a
/// line's beginning may follow an empty field.
fn begins_with_semicolons(lines: &[&[u8]]) -> bool {
    let is_comment = |line: &&[u8]| line.starts_with(b";");
    let others = || lines.iter().filter(|line| !is_comment(line));
    lines.first().is_some_and(is_comment)
        && others().any(|line| !line.is_empty())
        && !others().any(|line| line.contains(&b';'))
}
