//! The inferred configuration as text.

use std::fmt::Write;
use std::path::Path;

use toml::Value;

use super::Inferred;
use super::column::Profile;

pub(super) fn config(inferred: &Inferred, name: &str, pattern: &str, path: &Path) -> String {
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
    push(
        &mut text,
        format_args!(
            "# Inferred from {extent} {} records of {file}.",
            inferred.records
        ),
    );
    push(
        &mut text,
        format_args!("# What is marked `guess` deserves a look; `bekk check` checks the rest."),
    );
    if inferred.uneven > 0 {
        let uneven = inferred.uneven;
        push(
            &mut text,
            format_args!(
                "# {uneven} records have another number of fields than the header: dead letters."
            ),
        );
    }
    push(
        &mut text,
        format_args!(
            "\n[log]\ndir = \".bekk/log\"\n\n[streams.{}]",
            toml_key(name)
        ),
    );
    push(
        &mut text,
        format_args!(
            "files = [{}]   # a pattern such as \"inbox/*.csv\" takes more than one",
            quoted(pattern)
        ),
    );
    push(&mut text, format_args!("table = {}", quoted(name)));
    push_key(&mut text, inferred);
    push(&mut text, format_args!("partitions = 4"));
    push_dialect(&mut text, inferred);
    push(&mut text, format_args!("columns = ["));
    for column in &inferred.columns {
        push_column(&mut text, column);
    }
    push(&mut text, format_args!("]"));
    text
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn push_key(text: &mut String, inferred: &Inferred) {
    if inferred.key.is_empty() {
        push(
            text,
            format_args!(
                "# guess: no column, and no pair of the likely ones, has a different value in each record,"
            ),
        );
        push(
            text,
            format_args!(
                "# so every record is kept. Name a key = [\"…\"] and remove this line to update rows instead."
            ),
        );
        push(text, format_args!("on_conflict = \"append\""));
        return;
    }
    let names: Vec<_> = inferred
        .key
        .iter()
        .map(|index| quoted(&inferred.columns[*index].name))
        .collect();
    push(
        text,
        format_args!(
            "key = [{}]   # guess: a different value in each record",
            names.join(", ")
        ),
    );
    push(
        text,
        format_args!("on_conflict = \"update\"   # a later record replaces the row; or \"ignore\""),
    );
}

fn push_dialect(text: &mut String, inferred: &Inferred) {
    let mut settings = Vec::new();
    if inferred.dialect.delimiter != b',' {
        settings.push(format!(
            "delimiter = {}",
            quoted(&char::from(inferred.dialect.delimiter).to_string())
        ));
    }
    if inferred.dialect.decimal_comma {
        settings.push("decimal = \",\"".to_owned());
    }
    let mut nulls = vec![""];
    for column in inferred
        .columns
        .iter()
        .filter(|column| is_null_text_meant(column))
    {
        for null in &column.null_texts {
            if !nulls.contains(null) {
                nulls.push(null);
            }
        }
    }
    if nulls.len() > 1 {
        let nulls: Vec<_> = nulls.iter().map(|null| quoted(null)).collect();
        settings.push(format!("null = [{}]", nulls.join(", ")));
    }
    if !settings.is_empty() {
        push(text, format_args!("csv = {{ {} }}", settings.join(", ")));
    }
}

/// In a column of texts, `-` or `NA` is as likely a text; elsewhere it can only mean null.
fn is_null_text_meant(column: &Profile) -> bool {
    column.settled().column_type != bekk_stream::ColumnType::Text
        || column
            .null_texts
            .iter()
            .all(|text| *text == "NULL" || *text == "\\N")
}

fn push_column(text: &mut String, column: &Profile) {
    let settled = column.settled();
    let mut line = format!(
        "  {{ name = {}, type = \"{}\"",
        quoted(&column.name),
        settled.column_type
    );
    if column.header != column.name {
        write!(line, ", header = {}", quoted(&column.header)).expect("a String takes everything");
    }
    if let Some(format) = &settled.format {
        write!(line, ", format = {}", quoted(format)).expect("a String takes everything");
    }
    if column.nulls > 0 || column.values() == 0 {
        line.push_str(", nullable = true");
    }
    line.push_str(" },");
    let remark = settled
        .remark
        .as_ref()
        .map(|remark| format!("   # guess: {remark}"))
        .unwrap_or_default();
    let example = column.example().replace(|c: char| c.is_control(), " ");
    let example = if example.is_empty() || !remark.is_empty() {
        String::new()
    } else {
        format!("   # {example}")
    };
    push(text, format_args!("{line}{remark}{example}"));
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn toml_key(name: &str) -> String {
    let bare = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}
