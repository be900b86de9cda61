//! Dead letters: their places, and the commands that resolve them.

use std::path::Path;

use anyhow::Result;
use bekk_sink::{ConnectOptions, Letter, LetterFilter};
use bekk_stream::{Encoding, REJECT_RAW_MAX, Reason, Stream};

use crate::remedy::quoted;

/// Most letters in memory at once
pub(crate) const PAGE: u32 = 1000;

/// The file's name and line, else the record's place in the log.
pub(crate) fn shown_place(letter: &Letter) -> String {
    match (&letter.file, letter.line) {
        (Some(file), Some(line)) => {
            let name = Path::new(file).file_name();
            let name = name.map_or(file.into(), |name| name.to_string_lossy());
            format!("{name}:{line}")
        }
        _ => format!("{}/{}@{}", letter.topic, letter.partition, letter.offset),
    }
}

/// Returns the encoding of a letter's bytes: that of the stream's files for a record that ingest rejected, and UTF-8 for a
/// row that PostgreSQL refused.
pub(crate) fn encoding_of(streams: &[Stream], letter: &Letter) -> Encoding {
    let is_reject = Reason::ALL
        .iter()
        .any(|reason| reason.as_str() == letter.reason);
    let stream = streams.iter().find(|stream| stream.name == letter.stream);
    stream
        .filter(|_| is_reject)
        .map_or(Encoding::Utf8, |stream| stream.csv.encoding)
}

/// Returns the command that makes a row of an open letter: `edit` if the record itself is not a row, `reread` if its column
/// had another type, and `retry` if the cause is elsewhere, in the table or in a limit of the configuration.
pub(crate) fn resolving_command(letter: &Letter) -> String {
    if let ("schema_mismatch", Some(file)) = (letter.reason.as_str(), &letter.file) {
        return format!("bekk ingest reread {}", quoted(Path::new(file)));
    }
    let mut reasons = Reason::ALL.into_iter();
    let reason = reasons.find(|reason| reason.as_str() == letter.reason);
    let is_editable = reason.is_some_and(|reason| reason != Reason::TooLong);
    let act = match is_editable && check_letter(letter).is_ok() {
        true => "edit",
        false => "retry",
    };
    format!("bekk dead-letters {act} {}", letter.id)
}

/// Checks that a letter's text can be corrected.
///
/// # Errors
/// Why it cannot, with what to type instead.
pub(crate) fn check_letter(letter: &Letter) -> Result<(), String> {
    if letter.resolved_at.is_some() {
        let resolution = letter.resolution.as_deref().unwrap_or("resolved");
        return Err(format!("dead letter {} is {resolution} already", letter.id));
    }
    if letter.raw.len() >= REJECT_RAW_MAX {
        return Err(format!(
            "dead letter {} has only the beginning of its record; correct the record in a file",
            letter.id
        ));
    }
    Ok(())
}

/// Reads the open letters that a filter chooses, a page at a time.
pub(crate) fn for_each_page(
    postgres: &ConnectOptions,
    filter: &LetterFilter,
    mut work: impl FnMut(&[Letter]) -> Result<()>,
) -> Result<()> {
    let mut after = 0;
    loop {
        let letters = bekk_sink::read_letters(postgres, filter, after, PAGE)?;
        let Some(last) = letters.last() else {
            return Ok(());
        };
        after = last.id;
        work(&letters)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(reason: &str, raw: &[u8]) -> Letter {
        Letter {
            id: 7,
            group: "bekk".to_owned(),
            stream: "orders".to_owned(),
            topic: "orders".to_owned(),
            partition: 0,
            offset: 0,
            log_id: String::new(),
            file: None,
            line: None,
            byte_offset: None,
            reason: reason.to_owned(),
            column: None,
            sqlstate: None,
            detail: None,
            raw: raw.to_vec(),
            created_at: String::new(),
            resolved_at: None,
            resolution: None,
        }
    }

    #[test]
    fn a_wrong_record_is_edited_and_any_other_is_retried() {
        let check = |reason: &str, raw: &[u8], act: &str| {
            let command = format!("bekk dead-letters {act} 7");
            assert_eq!(resolving_command(&letter(reason, raw)), command, "{reason}");
        };
        check("bad_value", b"1,12.50 EUR", "edit");
        check("field_count", b"1", "edit");
        check("unclosed_quote", b"1,\"a", "edit");
        check("too_long", b"1,a", "retry");
        check("refused", b"1,a", "retry");
        check("not_stored", b"1,a", "retry");
        check("schema_mismatch", b"1,a", "retry");
        let of_file = Letter {
            file: Some("in box/a.csv".to_owned()),
            ..letter("schema_mismatch", b"1,a")
        };
        let command = resolving_command(&of_file);
        assert_eq!(command, "bekk ingest reread 'in box/a.csv'");
        // `edit` refuses a record of which only the beginning is kept.
        check("bad_value", &vec![b'a'; REJECT_RAW_MAX], "retry");
    }
}
