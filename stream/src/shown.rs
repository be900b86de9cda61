//! Text of others as it is shown: a name in the inbox must not write lines of its own, nor steer a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// A text on one line, with control characters escaped as Rust writes them: `\n`, `\u{1b}`.
///
/// Control characters are those of [`is_deceptive`].
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    escape(text, is_deceptive)
}

/// The same with its line breaks, for a text of several lines.
#[must_use]
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_deceptive(c) && c != '\n')
}

/// A text of several lines of which only those that are indented are the writer's own: the other line breaks are
/// escaped, as they may come from a name.
#[must_use]
pub fn shown_indented(text: &str) -> String {
    let mut parts = text.split("\n  ").map(shown);
    let first = parts.next().unwrap_or_default().into_owned();
    parts.fold(first, |out, part| out + "\n  " + &part)
}

/// A path on one line, with control characters escaped.
#[must_use]
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_escaped(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a character misleads a reader: it is one of Unicode's control characters, changes the direction of text, ends a
/// line, or takes no room, so that two names look the same.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Direction, and ends of lines.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // No room: soft hyphen, joiners, fillers, marks of notes, tags.
            | '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        let check = |text, expected| assert_eq!(shown(text), expected);
        check("data/ä b.csv", "data/ä b.csv");
        check("a\nb\r\tc", "a\\nb\\r\\tc");
        check("\u{1b}[31m\u{7f}\u{9b}", "\\u{1b}[31m\\u{7f}\\u{9b}");
        check("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}");
        check("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}");
        check("a\u{e0041}\u{ad}", "a\\u{e0041}\\u{ad}");
        check("e\u{301} \u{a0}\u{1f600}", "e\u{301} \u{a0}\u{1f600}");
        assert_eq!(shown_lines("a\n\u{7}"), "a\n\\u{7}");
        assert_eq!(shown_indented("a:\n  b\nc"), "a:\n  b\\nc");
    }
}
