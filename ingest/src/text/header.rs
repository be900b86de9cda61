//! A file's header: which field of its records is which column.

use bekk_stream::{Stream, UnknownPolicy};

/// A header, mapped to a stream's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where in the file it stands.
    pub(crate) at: u64,
    /// Its bytes without line end and byte order mark, to know it again where files were concatenated.
    pub(crate) raw: Vec<u8>,
    /// The names of a record's fields.
    pub(crate) names: Vec<String>,
    /// For each column of the stream, the field that holds it; `None`: every record's is null.
    pub(crate) columns: Vec<Option<usize>>,
}

impl Header {
    /// The header of a file that has the stream's columns in their order.
    pub(crate) fn in_column_order(stream: &Stream) -> Self {
        let columns = &stream.columns;
        Self {
            at: 0,
            raw: Vec::new(),
            names: columns.iter().map(|column| column.header.clone()).collect(),
            columns: (0..columns.len()).map(Some).collect(),
        }
    }

    /// Maps the names of a header to the columns of a stream.
    ///
    /// # Errors
    /// Why files with this header cannot be read, and what would help.
    pub(crate) fn map(
        stream: &Stream,
        unknown: UnknownPolicy,
        names: &[String],
        at: u64,
        raw: &[u8],
    ) -> Result<Self, String> {
        let mut columns = Vec::with_capacity(stream.columns.len());
        let mut missing = Vec::new();
        for column in &stream.columns {
            let mut fields = (0..names.len()).filter(|&field| names[field] == column.header);
            let field = fields.next();
            if fields.next().is_some() {
                return Err(format!(
                    "its header names `{}` twice; rename one of them",
                    column.header
                ));
            }
            if field.is_none() && !column.nullable {
                missing.push(format!("`{}`", column.header));
            }
            columns.push(field);
        }
        if !missing.is_empty() || columns.iter().all(Option::is_none) {
            return Err(format!(
                "its header lacks {}, it has: {}; correct the file, or set the column's `header` (or `nullable = \
                 true`) or the stream's `csv` in the configuration",
                if missing.is_empty() {
                    "every column".to_owned()
                } else {
                    missing.join(", ")
                },
                abridged(names),
            ));
        }
        if unknown == UnknownPolicy::Reject
            && let Some(name) = names
                .iter()
                .find(|&name| stream.columns.iter().all(|column| column.header != *name))
        {
            return Err(format!(
                "its header names `{name}`, which is no column; add it, or set `unknown = \"ignore\"` in `csv`"
            ));
        }
        Ok(Self {
            at,
            raw: raw.to_vec(),
            names: names.to_vec(),
            columns,
        })
    }
}

/// The names as a list that fits a log line.
fn abridged(names: &[String]) -> String {
    let mut text = names.join(", ");
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stream;

    fn check(names: &str, expected: Result<&[Option<usize>], &str>) {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        let stream = stream();
        for unknown in [UnknownPolicy::Ignore, UnknownPolicy::Reject] {
            match (Header::map(&stream, unknown, &names, 0, b""), expected) {
                (Ok(header), Ok(columns)) => assert_eq!(header.columns, columns, "{names:?}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (Err(why), Ok(_)) if unknown == UnknownPolicy::Reject => {
                    assert!(why.contains("is no column"), "{why}")
                }
                (found, _) => panic!("{names:?} gave {found:?}"),
            }
        }
    }

    /// The stream of the tests has columns `id` (int8), `name` (text, nullable) and `price` (decimal,
    /// nullable, called `Price` in files).
    #[test]
    fn columns_are_found_by_name() {
        check("id,name,Price", Ok(&[Some(0), Some(1), Some(2)]));
        check("Price,name,id", Ok(&[Some(2), Some(1), Some(0)]));
        check("x,id", Ok(&[Some(1), None, None]));
        check("name,price", Err("lacks `id`, it has: name, price;"));
        check("id,id", Err("names `id` twice"));
        check("", Err("lacks `id`"));
    }
}
