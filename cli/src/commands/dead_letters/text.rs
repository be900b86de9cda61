//! The text of a dead letter for a person: UTF-8, whatever the encoding of its file.

use bekk_sink::Letter;
use bekk_stream::Encoding;

/// Returns the letter with its text in UTF-8; bytes that are not of the encoding stay as they are.
pub(super) fn for_person(encoding: Encoding, mut letter: Letter) -> Letter {
    if let Some(text) = encoding.decode(&letter.raw) {
        letter.raw = text.into_bytes();
    }
    letter
}

/// Returns the letter with its text in the encoding of its file; bytes that are not UTF-8 stay as they are.
///
/// # Errors
/// Which character the encoding lacks.
pub(super) fn from_person(encoding: Encoding, mut letter: Letter) -> Result<Letter, String> {
    if let Ok(text) = std::str::from_utf8(&letter.raw) {
        letter.raw = encoding.encode(text).map_err(|lacking| {
            format!(
                "the text of dead letter {} has `{lacking}`, which {}, the encoding of its file, lacks; write it in \
                 another way",
                letter.id,
                encoding.name()
            )
        })?;
    }
    Ok(letter)
}
