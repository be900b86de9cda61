//! A file's header: which field of its records is which column.

use bekk_stream::{Column, CsvDialect, HeaderMatch, Stream, UnknownPolicy, Value};

use crate::text::notice::{Notice, NoticeKind};

/// A header, mapped to a stream's columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    /// Where in the file it stands.
    pub(crate) at: u64,
    /// Its bytes without line end and byte order mark, to know it again where files were concatenated.
    pub(crate) raw: Vec<u8>,
    /// The names of a record's fields.
    pub(crate) names: Vec<String>,
    /// For each column of the stream, the field that holds it; `None`: every record's is null.
    pub(crate) columns: Vec<Option<usize>>,
    /// The values of columns that are no fields and the same in all records of the file, by the columns' places; empty
    /// if there are none.
    pub(crate) given: Vec<Value<'static>>,
    /// What is to be reported of it.
    pub(crate) notices: Vec<Notice>,
}

impl Header {
    /// The header of a file that has the stream's columns in their order.
    pub(crate) fn in_column_order(stream: &Stream) -> Self {
        let mut fields = 0..;
        let mut place = |column: &Column| match column.source {
            None => fields.next(),
            Some(_) => None,
        };
        Self {
            at: 0,
            raw: Vec::new(),
            names: stream
                .fields()
                .map(|column| column.header.clone())
                .collect(),
            columns: stream.columns.iter().map(&mut place).collect(),
            given: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Maps the names of a header to the columns of a stream.
    ///
    /// # Errors
    /// Why files with this header cannot be read, and what would help.
    pub(crate) fn map(
        stream: &Stream,
        dialect: &CsvDialect,
        names: &[String],
        at: u64,
        raw: &[u8],
    ) -> Result<Self, String> {
        let mut header = Self {
            at,
            raw: raw.to_vec(),
            names: names.to_vec(),
            columns: Vec::with_capacity(stream.columns.len()),
            given: Vec::new(),
            notices: Vec::new(),
        };
        for column in &stream.columns {
            header.columns.push(match column.source {
                None => place(names, &column.header)?,
                Some(_) => None,
            });
        }
        header.match_near(stream, dialect.header_match)?;
        header.check_missing(stream)?;
        header.check_unknown(stream, dialect)?;
        Ok(header)
    }

    /// Finds columns by names that are theirs but for case and white space, where those are nobody else's.
    fn match_near(&mut self, stream: &Stream, policy: HeaderMatch) -> Result<(), String> {
        let is_free = |header: &Self, field: usize| !header.columns.contains(&Some(field));
        let mut near = Vec::new();
        for (index, column) in stream.columns.iter().enumerate() {
            if self.columns[index].is_some() || column.source.is_some() {
                continue;
            }
            let plain = plain(&column.header);
            let is_shared = stream.columns.iter().enumerate().any(|(other, column)| {
                other != index
                    && self.columns[other].is_none()
                    && column.source.is_none()
                    && self::plain(&column.header) == plain
            });
            let mut fields = (0..self.names.len())
                .filter(|&field| is_free(self, field) && self::plain(&self.names[field]) == plain);
            let (Some(field), None) = (fields.next(), fields.next()) else {
                continue;
            };
            if is_shared {
                continue;
            }
            let pair = format!(
                "`{}` for `{}`",
                self.names[field].escape_debug(),
                column.header
            );
            if policy == HeaderMatch::Exact {
                return Err(format!(
                    "its header has {pair}; correct the file, set the column's `header`, or let names that differ in \
                     case and white space match with `header_match = \"near\"` in `csv`"
                ));
            }
            self.columns[index] = Some(field);
            near.push(pair);
        }
        if !near.is_empty() {
            let text = format!(
                "its header has {}; Bekk takes each as the same name",
                near.join(", ")
            );
            self.notices.push(Notice {
                kind: NoticeKind::HeaderNear,
                text,
            });
        }
        Ok(())
    }

    /// Checks that the columns that must have a value have a field, and notes which others have none.
    fn check_missing(&mut self, stream: &Stream) -> Result<(), String> {
        let missing = |nullable| {
            let columns = stream.columns.iter().zip(&self.columns);
            let missing = columns.filter(|(column, field)| {
                field.is_none() && column.source.is_none() && column.nullable == nullable
            });
            missing
                .map(|(column, _)| column.header.clone())
                .collect::<Vec<_>>()
        };
        let (required, others) = (missing(false), missing(true));
        if !required.is_empty() || self.columns.iter().all(Option::is_none) {
            return Err(format!(
                "its header lacks {}, it has: {}; correct the file, or set the column's `header` (or `nullable = \
                 true`) or the stream's `csv` in the configuration",
                match required.is_empty() {
                    true => "every column".to_owned(),
                    false => listed(&required),
                },
                abridged(&self.names),
            ));
        }
        if !others.is_empty() {
            let text = format!(
                "its header lacks {}: null in all its records",
                listed(&others)
            );
            self.notices.push(Notice {
                kind: NoticeKind::ColumnMissing,
                text,
            });
        }
        Ok(())
    }

    /// Does what the stream says with fields that no column takes.
    fn check_unknown(&mut self, stream: &Stream, dialect: &CsvDialect) -> Result<(), String> {
        // A delimiter at the end of the header makes an empty name.
        let has_surplus =
            dialect.trailing_delimiter && self.names.last().is_some_and(String::is_empty);
        let unknown: Vec<String> = (0..self.names.len() - usize::from(has_surplus))
            .filter(|&field| !self.columns.contains(&Some(field)))
            .map(|field| match self.names[field].as_str() {
                "" => format!("#{}", field + 1),
                name => name.to_owned(),
            })
            .collect();
        match (unknown.first(), dialect.unknown) {
            (None, _) | (_, UnknownPolicy::Ignore) => {}
            (Some(name), UnknownPolicy::Reject) => {
                return Err(format!(
                    "its header names `{name}`, which is not a column; add it, or set `unknown = \"report\"` in `csv`"
                ));
            }
            (Some(_), UnknownPolicy::Report) => {
                let text = format!(
                    "its header has {}, which no column of stream `{}` takes: not read; add a column, and read what was read \
                     before that again (bekk ingest reread), or set `unknown = \"ignore\"` in `csv`",
                    listed(&unknown),
                    stream.name
                );
                self.notices.push(Notice {
                    kind: NoticeKind::HeaderUnknown,
                    text,
                });
            }
        }
        Ok(())
    }
}

/// The field that a column's header names: by its name, or by its place as `#2`.
fn place(names: &[String], header: &str) -> Result<Option<usize>, String> {
    let mut fields = (0..names.len()).filter(|&field| names[field] == header);
    if let Some(field) = fields.next() {
        return match fields.next() {
            None => Ok(Some(field)),
            Some(other) => Err(format!(
                "its header names `{header}` twice; rename one of them, or name the field by its place, with `header = \"#{}\"` or `\"#{}\"`",
                field + 1,
                other + 1
            )),
        };
    }
    let number = header
        .strip_prefix('#')
        .and_then(|number| number.parse::<usize>().ok());
    Ok(number
        .and_then(|number| number.checked_sub(1))
        .filter(|&field| field < names.len()))
}

/// A name without what is easily got wrong: case, white space around it, how much there is within it.
fn plain(name: &str) -> String {
    let name = name.replace(['\u{feff}', '\u{200b}'], "");
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

fn listed(names: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    if names.len() > SHOWN_MAX {
        shown.push(format!("{} more", names.len() - SHOWN_MAX));
    }
    shown.join(", ")
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
    use bekk_testing::dialect_with;

    fn map(names: &str, dialect: &CsvDialect) -> Result<Header, String> {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        Header::map(&stream(), dialect, &names, 0, b"")
    }

    #[track_caller]
    fn check(names: &str, expected: Result<(&[Option<usize>], &[NoticeKind]), &str>) {
        match (map(names, &CsvDialect::default()), expected) {
            (Ok(header), Ok((columns, kinds))) => {
                assert_eq!(header.columns, columns, "{names:?}");
                let found: Vec<_> = header.notices.iter().map(|notice| notice.kind).collect();
                assert_eq!(found, kinds, "{names:?}");
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, _) => panic!("{names:?} gave {found:?}"),
        }
    }

    /// The stream of the tests has columns `id` (int8), `name` (text, nullable) and `price` (decimal,
    /// nullable, called `Price` in files).
    #[test]
    fn columns_are_found_by_name() {
        use NoticeKind::{ColumnMissing, HeaderNear, HeaderUnknown};
        let all: &[Option<usize>] = &[Some(0), Some(1), Some(2)];
        check("id,name,Price", Ok((all, &[])));
        check("Price,name,id", Ok((&[Some(2), Some(1), Some(0)], &[])));
        check(
            "x,id",
            Ok((&[Some(1), None, None], &[ColumnMissing, HeaderUnknown])),
        );
        check("name,price", Err("lacks `id`, it has: name, price;"));
        check("id,id", Err("names `id` twice"));
        check("", Err("lacks `id`"));
        check("id,name,price", Ok((all, &[HeaderNear])));
        check("ID,  Name\u{a0},PRICE ", Ok((all, &[HeaderNear])));
        check("id,name,Price,,", Ok((all, &[HeaderUnknown])));
        // Which of two is meant cannot be told.
        check(
            "id,NAME,Name,Price",
            Ok((&[Some(0), None, Some(3)], &[ColumnMissing, HeaderUnknown])),
        );
        // A name that is a column's to the letter is that column's alone.
        check(
            "id,name,NAME,Price",
            Ok((&[Some(0), Some(1), Some(3)], &[HeaderUnknown])),
        );
    }

    #[test]
    fn policies_refuse_what_is_not_exact() {
        let exact = dialect_with(|it| it.header_match = HeaderMatch::Exact);
        let why = map("id,name,price", &exact).unwrap_err();
        assert!(why.contains("`price` for `Price`"), "{why}");
        let strict = dialect_with(|it| it.unknown = UnknownPolicy::Reject);
        assert!(
            map("id,x", &strict)
                .unwrap_err()
                .contains("`x`, which is not a column")
        );
        let silent = dialect_with(|it| it.unknown = UnknownPolicy::Ignore);
        assert!(map("id,name,Price,x", &silent).unwrap().notices.is_empty());
        let told = &map("id,name,Price,x", &dialect_with(|_| {}))
            .unwrap()
            .notices[0]
            .text;
        assert!(
            told.contains("`x`, which no column") && told.contains("bekk ingest reread"),
            "{told}"
        );
        let trailing = dialect_with(|it| it.trailing_delimiter = true);
        assert!(map("id,name,Price,", &trailing).unwrap().notices.is_empty());
        assert!(
            !map("id,name,Price,,", &trailing)
                .unwrap()
                .notices
                .is_empty()
        );
    }

    #[test]
    fn fields_can_be_named_by_their_place() {
        let mut stream = stream();
        stream.columns[1].header = "#1".to_owned();
        let names = ["".to_owned(), "id".to_owned(), "id".to_owned()];
        let why = Header::map(&stream, &CsvDialect::default(), &names, 0, b"").unwrap_err();
        assert!(why.contains("`\"#3\"`"), "{why}");
        stream.columns[0].header = "#3".to_owned();
        let header = Header::map(&stream, &CsvDialect::default(), &names, 0, b"").unwrap();
        assert_eq!(header.columns, [Some(2), Some(0), None]);
    }
}
