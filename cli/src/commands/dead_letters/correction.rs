//! The corrected text of a dead letter, from an editor or a spreadsheet: whether it can be retried.

use bekk_sink::Letter;
use bekk_stream::REJECT_RAW_MAX;

/// Checks that a program has not damaged a text that a person corrected.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_text(letter: &Letter, text: &[u8]) -> Result<(), String> {
    let id = letter.id;
    if text.trim_ascii().is_empty() {
        return Err(format!(
            "the text of dead letter {id} is empty; to close the letter: bekk dead-letters discard {id}"
        ));
    }
    if text.len() >= REJECT_RAW_MAX {
        return Err(format!(
            "the text of dead letter {id} has {} bytes, and a dead letter holds less than {REJECT_RAW_MAX}",
            text.len()
        ));
    }
    let is_replaced = |text: &[u8]| text.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes());
    if is_replaced(text) && !is_replaced(&letter.raw) {
        return Err(format!(
            "the text of dead letter {id} has U+FFFD where its bytes are no UTF-8: the program that saved it replaced \
             them; write the characters that belong there"
        ));
    }
    if std::str::from_utf8(&letter.raw).is_ok() && std::str::from_utf8(text).is_err() {
        return Err(format!(
            "the text of dead letter {id} is not UTF-8 any more; save it as UTF-8"
        ));
    }
    Ok(())
}

/// A corrected text with the line ends of the letter's own, which spreadsheets and editors replace.
pub(super) fn with_own_line_ends(letter: &Letter, text: Vec<u8>) -> Vec<u8> {
    let pairs = |text: &[u8]| text.windows(2).filter(|pair| pair == b"\r\n").count();
    let ends = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count();
    let has_pairs_only = pairs(&letter.raw) > 0 && pairs(&letter.raw) == ends(&letter.raw);
    if !has_pairs_only || pairs(&text) > 0 {
        return text;
    }
    let mut out = Vec::with_capacity(text.len() + ends(&text));
    for byte in text {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}
