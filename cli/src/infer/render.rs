//! The inferred configuration as text.

use std::fmt::Write;
use std::path::Path;

use bekk_stream::{ColumnType, CsvDialect, HeaderRow};
use toml::Value;

use super::Inferred;
use super::Wanted;
use super::column::Profile;
use super::key::Key;
use crate::screen::plural;

/// Adds a line to a text.
macro_rules! line {
    ($text:expr, $($content:tt)*) => {
        writeln!($text, $($content)*).expect("a String takes everything")
    };
}

pub(super) fn config(inferred: &Inferred, wanted: &Wanted<'_>, path: &Path) -> String {
    let mut text = stream(inferred, wanted, path);
    let section = text.find("[streams.").expect("there is a stream");
    text.insert_str(section, "[log]\ndir = \".bekk/log\"\n\n");
    text
}

/// The section of one stream, with what was unsure about it.
pub(super) fn stream(inferred: &Inferred, wanted: &Wanted<'_>, path: &Path) -> String {
    let mut text = String::new();
    let extent = if inferred.whole_file {
        "all"
    } else {
        "the first"
    };
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .replace(char::is_control, "?");
    line!(
        text,
        "# Inferred from {extent} {} {} of {file}.",
        inferred.records,
        plural(inferred.records, "record")
    );
    line!(
        text,
        "# Check the lines marked `guess`; `bekk check --files` tries them on your files."
    );
    for remark in &inferred.remarks {
        line!(text, "# guess: {remark}");
    }
    if inferred.uneven > 0 {
        let uneven = match inferred.uneven {
            1 => "1 record has another number of fields than the header, or wrong quotes: a dead letter".to_owned(),
            more => format!(
                "{more} records have another number of fields than the header, or wrong quotes: dead letters"
            ),
        };
        line!(text, "# {uneven}.");
    }
    line!(text, "\n[streams.{}]", toml_key(wanted.name));
    match wanted.is_piped {
        true => line!(
            text,
            "files = [{}]   # not read by `bekk up --once -`, which loads standard input",
            quoted(&wanted.patterns[0])
        ),
        false => push_files(&mut text, wanted.patterns),
    }
    line!(text, "table = {}", quoted(wanted.table_name()));
    push_key(&mut text, inferred);
    line!(text, "partitions = {}", partitions(inferred));
    push_dialect(&mut text, inferred);
    line!(text, "columns = [");
    for column in &inferred.columns {
        push_column(&mut text, column);
    }
    line!(text, "]");
    text
}

fn push_files(text: &mut String, patterns: &[String]) {
    let files: Vec<_> = patterns.iter().map(|pattern| quoted(pattern)).collect();
    let files = files.join(", ");
    match patterns {
        [pattern] if pattern.ends_with(".csv") && !pattern.contains('*') => line!(
            text,
            "files = [{files}]   # a pattern such as \"inbox/*.csv\" takes more than one"
        ),
        _ => line!(text, "files = [{files}]"),
    }
}

/// The number of partitions: one if only PostgreSQL can compare keys, because texts that differ may then be one key.
fn partitions(inferred: &Inferred) -> u32 {
    let is_foreign = |at: &usize| {
        let column_type = &inferred.columns[*at].settled().column_type;
        matches!(column_type, ColumnType::Postgres(_))
    };
    match &inferred.key {
        Some(Key::OfTable(places)) if places.iter().any(is_foreign) => 1,
        _ => 4,
    }
}

fn push_key(text: &mut String, inferred: &Inferred) {
    let name = |index: usize| quoted(&inferred.columns[index].name);
    let key = match &inferred.key {
        Some(Key::Sure(index)) => Some((
            name(*index),
            "guess: its name, and a different value in each record",
        )),
        Some(Key::OfTable(places)) => {
            let names: Vec<_> = places.iter().map(|index| name(*index)).collect();
            Some((names.join(", "), "the table's primary key"))
        }
        _ => None,
    };
    match (key, &inferred.key) {
        (Some((names, why)), _) => {
            line!(text, "key = [{names}]   # {why}");
            line!(
                text,
                "on_conflict = \"update\"   # a later record replaces the row; or \"ignore\""
            );
        }
        (None, unsure) => {
            line!(
                text,
                "# Every record is kept. If some columns identify a row, so that a later record should replace an"
            );
            line!(
                text,
                "# earlier one, name them as the key and remove on_conflict."
            );
            if let Some(Key::Unsure(index)) = *unsure {
                line!(
                    text,
                    "# key = [{}]   # it has a different value in each record so far",
                    name(index)
                );
            }
            if let Some(Key::Pair(first, second)) = *unsure {
                let (first, second) = (name(first), name(second));
                line!(
                    text,
                    "# key = [{first}, {second}]   # the two together are different in each record so far"
                );
            }
            line!(text, "on_conflict = \"append\"");
        }
    }
}

fn push_dialect(text: &mut String, inferred: &Inferred) {
    let (dialect, plain) = (&inferred.dialect, CsvDialect::default());
    let mut settings = Vec::new();
    let character = |byte: u8| quoted(&char::from(byte).to_string());
    if dialect.delimiter != plain.delimiter {
        settings.push(format!("delimiter = {}", quoted(&dialect.delimiter.text())));
    }
    if dialect.quote != plain.quote {
        let quote = dialect.quote.map_or_else(|| quoted(""), character);
        settings.push(format!("quote = {quote}"));
    }
    if let Some(escape) = dialect.escape {
        settings.push(format!("escape = {}", character(escape)));
    }
    if let Some(comment) = dialect.comment {
        settings.push(format!("comment = {}", character(comment)));
    }
    if dialect.encoding != plain.encoding {
        settings.push(format!("encoding = {}", quoted(&dialect.encoding.name())));
    }
    if dialect.skip_lines > 0 {
        settings.push(format!("skip_lines = {}", dialect.skip_lines));
    }
    match &dialect.header {
        HeaderRow::InFile => {}
        HeaderRow::Absent => settings.push("header = false".to_owned()),
        HeaderRow::Named(names) => {
            let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
            settings.push(format!("header = [{}]", names.join(", ")));
        }
    }
    if let Some(end) = dialect.record_end {
        settings.push(format!("record_end = {}", quoted(&end.text())));
    }
    if dialect.line_end != plain.line_end {
        settings.push("line_end = \"cr\"".to_owned());
    }
    if dialect.trim {
        settings.push("trim = true".to_owned());
    }
    if dialect.trailing_delimiter {
        settings.push("trailing_delimiter = true".to_owned());
    }
    if !dialect.footer.is_empty() {
        let texts: Vec<_> = dialect.footer.iter().map(|text| quoted(text)).collect();
        settings.push(format!("footer = [{}]", texts.join(", ")));
    }
    if dialect.decimal != plain.decimal {
        settings.push(format!("decimal = {}", character(dialect.decimal)));
    }
    if !settings.is_empty() {
        line!(text, "csv = {{ {} }}", settings.join(", "));
    }
}

fn push_column(text: &mut String, column: &Profile) {
    let settled = column.settled();
    let mut remarks: Vec<String> = Vec::new();
    let mut line = format!(
        "  {{ name = {}, type = {}",
        quoted(&column.name),
        quoted(&settled.column_type.to_string())
    );
    if column.header != column.name {
        write!(line, ", header = {}", quoted(&column.header)).expect("a String takes everything");
    }
    if let Some(format) = &settled.format {
        write!(line, ", format = {}", quoted(format)).expect("a String takes everything");
    }
    if let Some(decimal) = settled.decimal {
        write!(line, ", decimal = \"{decimal}\"").expect("a String takes everything");
    }
    if !settled.strip.is_empty() {
        let items: Vec<_> = settled.strip.iter().map(|item| quoted(item)).collect();
        write!(line, ", strip = [{}]", items.join(", ")).expect("a String takes everything");
    }
    if column.has_nulls() {
        line.push_str(", nullable = true");
    }
    if let Some(nulls) = column.own_nulls() {
        let texts: Vec<_> = nulls.iter().map(|null| quoted(null)).collect();
        write!(line, ", null = [{}]", texts.join(", ")).expect("a String takes everything");
        let guessed: Vec<_> = nulls
            .iter()
            .filter(|null| !null.is_empty() && **null != "\\N")
            .map(|null| quoted(null))
            .collect();
        if !guessed.is_empty() {
            remarks.push(format!("{} means null", guessed.join(", ")));
        }
    }
    line.push_str(" },");
    remarks.extend(settled.remark.clone());
    let remark = match remarks.is_empty() {
        true => String::new(),
        false => format!("   # guess: {}", remarks.join("; ")),
    };
    let example = column.example().replace(|c: char| c.is_control(), " ");
    let example = if example.is_empty() || !remark.is_empty() {
        String::new()
    } else {
        format!("   # {example}")
    };
    line!(text, "{line}{remark}{example}");
}

/// A text in quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return Value::String(text.to_owned()).to_string();
    }
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() => push_code(&mut escaped, c),
            c => escaped.push(c),
        }
    }
    format!("\"{escaped}\"")
}

fn push_code(text: &mut String, c: char) {
    write!(text, "\\u{:04x}", u32::from(c)).expect("a String takes everything");
}

fn toml_key(name: &str) -> String {
    let bare = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}
