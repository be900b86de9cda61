//! What no single value can be wrong about: names that must exist, be unique or fit together.

use std::collections::HashSet;

use super::{Config, Fault};
use crate::{
    Accept, ColumnSource, CsvDialect, Family, LineEnd, OnConflict, Stream, Value, ValueParser,
};

const PARTITIONS_MAX: u32 = 1024;
/// PostgreSQL's own limit.
const COLUMNS_MAX: usize = 1600;
/// PostgreSQL's own limit, in bytes.
const NAME_MAX: usize = 63;
/// Columns that each table of PostgreSQL has of its own
pub const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// Bekk's own columns of the tables that it makes.
const RESERVED: &[&str] = &["ingested_at"];

pub(super) fn config(config: &Config) -> Result<(), Fault> {
    if config.streams.is_empty() {
        return Err(Fault::new(
            "streams",
            "there is no stream; `bekk init --from FILE.csv --out -` prints one for your file",
        ));
    }
    let mut tables = HashSet::new();
    for stream in &config.streams {
        check_stream(stream)?;
        if !tables.insert(&stream.table) {
            return Err(Fault::new(
                format!("streams.{}.table", stream.name),
                format!(
                    "`{}` is another stream's table too; name the files of both in one stream",
                    stream.table
                ),
            ));
        }
    }
    Ok(())
}

fn check_stream(stream: &Stream) -> Result<(), Fault> {
    let place = format!("streams.{}", stream.name);
    let fault = |detail: String| Err(Fault::new(place.clone(), detail));
    let topic_chars = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=200).contains(&stream.name.len()) || !stream.name.chars().all(topic_chars) {
        return fault(
            "a stream's name is 1 to 200 of a-z, A-Z, 0-9, `.`, `_` and `-`: it is its topic's too"
                .into(),
        );
    }
    if stream.name.starts_with("bekk.") {
        return fault("names that begin with `bekk.` are Bekk's own".into());
    }
    if stream.files.is_empty() && stream.accept == Accept::Bekk {
        return fault(
            "`files` names no pattern; only a stream with accept = \"json\" can do without".into(),
        );
    }
    if !(1..=PARTITIONS_MAX).contains(&stream.partitions) {
        return Err(Fault::new(
            format!("{place}.partitions"),
            format!("{} is outside 1 to {PARTITIONS_MAX}", stream.partitions),
        ));
    }
    check_columns(stream, &place)?;
    check_key(stream, &place)?;
    check_deletes(stream, &place)?;
    check_dialect(stream, &place)
}

fn check_columns(stream: &Stream, place: &str) -> Result<(), Fault> {
    if stream.columns.is_empty() || stream.columns.len() > COLUMNS_MAX {
        return Err(Fault::new(
            place,
            format!(
                "a stream has 1 to {COLUMNS_MAX} columns, not {}",
                stream.columns.len()
            ),
        ));
    }
    let (mut names, mut headers) = (HashSet::new(), HashSet::new());
    for column in &stream.columns {
        let fault = |detail: String| {
            Err(Fault::new(
                format!("{place}, column `{}`", column.name),
                detail,
            ))
        };
        if let Some(detail) = wrong_name(&column.name) {
            return fault(detail);
        }
        if !names.insert(&column.name) {
            return fault("two columns have this name".into());
        }
        if column.source.is_none() && !headers.insert(&column.header) {
            return fault(format!("two columns have the header `{}`", column.header));
        }
        let parser = match ValueParser::new(column, &stream.csv) {
            Ok(parser) => parser,
            Err(wrong) => return fault(wrong.detail),
        };
        if let Some(source) = &column.source {
            if let Some(misfit) = source.misfit(&column.column_type) {
                return fault(misfit.into());
            }
            let is_constant = matches!(source, ColumnSource::Constant(_));
            if stream.accept != Accept::Bekk && !is_constant && !column.nullable {
                return fault(format!(
                    "with accept = \"json\", records without a file have no `{source}`: make the column nullable"
                ));
            }
            if is_constant {
                source
                    .of_file(column, &parser, None)
                    .or_else(|why| fault(why).map(|()| Value::Null))?;
            }
        }
    }
    if stream.fields().next().is_none() {
        return Err(Fault::new(
            place,
            "every column has a `source` or a `value`: name those that the files have",
        ));
    }
    for name in stream.indexes.iter().flatten() {
        if !names.contains(name) {
            return Err(Fault::new(
                format!("{place}.indexes"),
                format!("there is no column `{name}`"),
            ));
        }
    }
    Ok(())
}

/// Why a table of PostgreSQL that Bekk fills cannot have a column of that name; `None` if it can.
fn wrong_name(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
        return Some(format!("a column's name has 1 to {NAME_MAX} bytes"));
    }
    let whose = match name {
        name if RESERVED.contains(&name) => "that name is Bekk's own",
        name if SYSTEM_COLUMNS.contains(&name) => {
            "every table of PostgreSQL has a column of that name"
        }
        _ => return None,
    };
    Some(format!(
        "{whose}; keep `header` as it is and choose another `name`"
    ))
}

fn check_key(stream: &Stream, stream_place: &str) -> Result<(), Fault> {
    let place = format!("{stream_place}.key");
    if stream.key.is_empty() && stream.on_conflict != OnConflict::Append {
        return Err(Fault::new(
            place,
            "name the columns that identify a row, or set on_conflict = \"append\" to keep every record",
        ));
    }
    let find = |name: &str| stream.columns.iter().find(|column| column.name == name);
    let mut seen = HashSet::new();
    for name in &stream.key {
        let Some(column) = find(name) else {
            return Err(Fault::new(place, format!("there is no column `{name}`")));
        };
        if column.nullable {
            return Err(Fault::new(
                place,
                format!("`{name}` is nullable, and a key's columns cannot be null"),
            ));
        }
        if matches!(column.column_type.family(), Family::Json | Family::Float) {
            return Err(Fault::new(
                place,
                format!(
                    "`{name}` is {}, which has no exact equality to find a row by",
                    column.column_type
                ),
            ));
        }
        if !seen.insert(name) {
            return Err(Fault::new(place, format!("`{name}` is named twice")));
        }
    }
    if let Some(name) = &stream.newer_by {
        if find(name).is_none() {
            return Err(Fault::new(
                format!("{stream_place}.newer_by"),
                format!("there is no column `{name}`"),
            ));
        }
        if stream.on_conflict != OnConflict::Update {
            return Err(Fault::new(
                format!("{stream_place}.newer_by"),
                "it decides which row wins, so it needs on_conflict = \"update\"",
            ));
        }
    }
    Ok(())
}

/// Checks that a deletion has a row to delete, and that the order of a key's records alone decides.
fn check_deletes(stream: &Stream, place: &str) -> Result<(), Fault> {
    let why = match (stream.on_conflict, &stream.newer_by) {
        _ if !stream.accept.deletes() => return Ok(()),
        (OnConflict::Append, _) => {
            "a deletion needs a row to delete, and with on_conflict = \"append\" rows have no key"
        }
        (OnConflict::Ignore, _) => {
            "with on_conflict = \"ignore\" the first record of a key stays, so a deletion would mean nothing"
        }
        (OnConflict::Update, Some(_)) => {
            "a deletion has no version for `newer_by`, so an older record after it would bring the row back; remove one \
             of the two"
        }
        (OnConflict::Update, None) => return Ok(()),
    };
    Err(Fault::new(format!("{place}.deletes"), why))
}

/// Checks that the special bytes of a dialect cannot be parts of characters in its encoding.
fn check_encoding(csv: &CsvDialect, special: &[u8], place: &str) -> Result<(), Fault> {
    let is_unicode = csv.encoding.decoder().is_none();
    if !is_unicode && !special.is_ascii() {
        return Err(Fault::new(
            format!("{place}.csv.delimiter"),
            format!(
                "a delimiter or record end that is not ASCII can be found in UTF-8 and UTF-16 only, not in {}",
                csv.encoding.name()
            ),
        ));
    }
    // In encodings such as Shift_JIS and GBK, bytes from 0x30 on can be the second of a character.
    const TRAILS_FROM: u8 = 0x30;
    let clash = special.iter().find(|byte| **byte >= TRAILS_FROM);
    if let Some(byte) = clash.filter(|_| csv.encoding.has_ascii_trails()) {
        return Err(Fault::new(
            format!("{place}.csv.encoding"),
            format!(
                "in {} the byte `{}` can be the second of a character, so it cannot be told from a delimiter, quote, \
                 comment or escape; convert the files to UTF-8",
                csv.encoding.name(),
                char::from(*byte)
            ),
        ));
    }
    Ok(())
}

fn check_dialect(stream: &Stream, place: &str) -> Result<(), Fault> {
    let csv = &stream.csv;
    if !matches!(csv.decimal, b'.' | b',') {
        return Err(Fault::new(
            format!("{place}.csv.decimal"),
            format!("`{}` is not one of: \".\", \",\"", char::from(csv.decimal)),
        ));
    }
    let special = [csv.quote, csv.comment, csv.escape];
    let separators = [Some(csv.delimiter), csv.record_end].into_iter().flatten();
    let bytes = separators.flat_map(|separator| separator.as_bytes().to_vec());
    let all: Vec<u8> = special.into_iter().flatten().chain(bytes).collect();
    check_encoding(csv, &all, place)?;
    let mut seen = HashSet::new();
    let separator = csv.delimiter.as_bytes();
    let differ = special.into_iter().flatten().all(|byte| seen.insert(byte))
        && special.iter().flatten().all(|byte| separator[0] != *byte)
        && csv.quote.is_none_or(|quote| !separator.contains(&quote));
    if !differ {
        return Err(Fault::new(
            format!("{place}.csv"),
            "`delimiter`, `quote`, `comment` and `escape` must differ",
        ));
    }
    if csv.record_end.is_some() && csv.line_end != LineEnd::Lf {
        return Err(Fault::new(
            format!("{place}.csv.record_end"),
            "`record_end` and `line_end` exclude each other: keep one",
        ));
    }
    let end = csv.end();
    let is_within =
        |inner: &[u8], outer: &[u8]| outer.windows(inner.len()).any(|part| part == inner);
    let is_quote = |byte: &u8| csv.quote == Some(*byte) || csv.escape == Some(*byte);
    if is_within(end.as_bytes(), separator)
        || separator == end.as_bytes()
        || end.as_bytes().iter().any(is_quote)
    {
        return Err(Fault::new(
            format!("{place}.csv.record_end"),
            "it overlaps with `delimiter`, `quote` or `escape`",
        ));
    }
    if csv.delimiter == csv.decimal && csv.quote.is_none() {
        return Err(Fault::new(
            format!("{place}.csv"),
            "`decimal` and `delimiter` are one and there are no quotes",
        ));
    }
    Ok(())
}
