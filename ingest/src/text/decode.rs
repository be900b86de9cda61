//! Fields that do not stand in their record as they are: doubled quotes, escapes, other encodings than UTF-8.

use std::ops::Range;

use bekk_stream::CsvDialect;
use encoding_rs::Encoding;

use crate::text::convert::RawRecord;
use crate::text::split::Span;

/// How fields become text.
#[derive(Debug, Clone, Copy)]
struct Form {
    encoding: Option<&'static Encoding>,
    quote: Option<u8>,
    escape: Option<u8>,
}

/// The texts of a record's fields that do not stand in the file as they are.
#[derive(Debug)]
pub(crate) struct Decoded {
    form: Form,
    bytes: Vec<u8>,
    /// For each such field its number and where its text lies in `bytes`; `None` if it has none.
    fields: Vec<(usize, Option<Range<usize>>)>,
}

impl Decoded {
    pub(crate) fn new(dialect: &CsvDialect) -> Self {
        Self {
            form: Form::of(dialect),
            bytes: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Takes the texts of a record's fields.
    #[inline]
    pub(crate) fn take(&mut self, record: &RawRecord<'_>) {
        self.fields.clear();
        if record.has_quotes || self.form.encoding.is_some() {
            self.take_fields(record);
        }
    }

    fn take_fields(&mut self, record: &RawRecord<'_>) {
        self.bytes.clear();
        for (field, span) in record.spans.iter().enumerate() {
            let raw = span.of(record.bytes);
            if !span.escaped && (self.form.encoding.is_none() || raw.is_ascii()) {
                continue;
            }
            let start = self.bytes.len();
            let is_text = self.form.decode(raw, span, &mut self.bytes);
            let range = start..self.bytes.len();
            self.fields.push((field, is_text.then_some(range)));
        }
    }

    /// A field's text; `None` if its bytes are not of the encoding.
    #[inline]
    pub(crate) fn text<'a>(
        &'a self,
        record: &RawRecord<'a>,
        field: usize,
        span: &Span,
    ) -> Option<&'a [u8]> {
        if self.fields.is_empty() {
            return Some(span.of(record.bytes));
        }
        match self.fields.iter().find(|(decoded, _)| *decoded == field) {
            Some((_, range)) => Some(&self.bytes[range.clone()?]),
            None => Some(span.of(record.bytes)),
        }
    }

    /// What is said of a field that is no text.
    pub(crate) fn complaint(&self) -> &'static str {
        match self.form.encoding {
            Some(encoding) if encoding == encoding_rs::WINDOWS_1252 => {
                "it has bytes that Windows-1252 has no characters for (81, 8D, 8F, 90, 9D); is `encoding` in `csv` right?"
            }
            _ => {
                "its bytes are not of the stream's `encoding`, or control characters of it (80 to 9F)"
            }
        }
    }
}

impl Form {
    fn of(dialect: &CsvDialect) -> Self {
        Self {
            encoding: dialect.encoding.decoder(),
            quote: dialect.quote,
            escape: dialect.escape,
        }
    }

    /// Appends a field's text; `false` if its bytes are not of the encoding.
    fn decode(self, raw: &[u8], span: &Span, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if span.escaped {
            self.unescape(raw, out);
        } else {
            out.extend_from_slice(raw);
        }
        let Some(encoding) = self.encoding else {
            return true;
        };
        let decoded = encoding.decode_without_bom_handling_and_without_replacement(&out[start..]);
        let is_control = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
        let text = match decoded {
            Some(text) if !text.contains(is_control) => text.into_owned(),
            _ => return false,
        };
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
        true
    }

    /// Appends a field without what protects parts of it: doubled quotes made single, escapes resolved as MySQL and
    /// PostgreSQL do. `\N`, which is their null, stays.
    fn unescape(self, raw: &[u8], out: &mut Vec<u8>) {
        if let (Some(escape), [first, b'N']) = (self.escape, raw)
            && *first == escape
        {
            return out.extend_from_slice(raw);
        }
        let mut bytes = raw.iter().copied();
        while let Some(byte) = bytes.next() {
            if Some(byte) == self.escape {
                match bytes.next() {
                    Some(b'n') => out.push(b'\n'),
                    Some(b't') => out.push(b'\t'),
                    Some(b'r') => out.push(b'\r'),
                    Some(b'b') => out.push(8),
                    Some(b'f') => out.push(12),
                    Some(b'v') => out.push(11),
                    Some(b'0') => out.push(0),
                    Some(b'Z') => out.push(26),
                    Some(other) => out.push(other),
                    None => out.push(byte),
                }
                continue;
            }
            out.push(byte);
            if Some(byte) == self.quote {
                // The second of two.
                let _ = bytes.next();
            }
        }
    }
}

pub(crate) fn header_names(record: &[u8], spans: &[Span], dialect: &CsvDialect) -> Vec<String> {
    let form = Form::of(dialect);
    let name = |span: &Span| {
        let mut text = Vec::new();
        match form.decode(span.of(record), span, &mut text) {
            true => String::from_utf8_lossy(&text).into_owned(),
            false => String::from_utf8_lossy(span.of(record)).into_owned(),
        }
    };
    spans.iter().map(name).collect()
}
