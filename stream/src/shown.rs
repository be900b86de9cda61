//! Text of others as it is shown: a name in the inbox must not write lines of its own, nor steer a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// A text on one line, with control characters escaped as Rust writes them: `\n`, `\u{1b}`.
///
/// Control characters are Unicode's, and what changes the direction of text or ends a line.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    escape(text, is_control)
}

/// The same with its line breaks, for a text of several lines.
#[must_use]
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_control(c) && c != '\n')
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

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}'
        )
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
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
        assert_eq!(shown_lines("a\n\u{7}"), "a\n\\u{7}");
        assert_eq!(shown_indented("a:\n  b\nc"), "a:\n  b\\nc");
    }
}
