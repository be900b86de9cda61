//! Removes texts from a number before it is read: marks between thousands, currency signs, percent signs, a minus after
//! the number, parentheses that mean minus. If the rest can be read in two ways, the field is rejected.

use crate::types::Shown;
use crate::{Column, CsvDialect, Reason, Rejection};

/// The item that makes `(1)` mean -1.
const PARENTHESES: &str = "()";
/// The item that makes `1-` mean -1.
const MINUS_AFTER: &str = "-";
/// The item that says that zeros before a number mean nothing. Each number is read without them.
pub(super) const ZEROS: &str = "0";
/// What may stand between thousands, and the mark that it is written as in the configuration. `" "` takes the blanks
/// that do not break a line as well.
const SEPARATORS: [(&str, &str); 9] = [
    (",", ","),
    (".", "."),
    ("'", "'"),
    ("\u{2019}", "\u{2019}"),
    ("_", "_"),
    (" ", " "),
    ("\u{a0}", " "),
    ("\u{2009}", " "),
    ("\u{202f}", " "),
];

/// What a column takes away from its numbers.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    mark: u8,
    /// What may stand between groups of three digits.
    separators: Vec<&'static [u8]>,
    /// Texts before or after the number: `$`, `EUR`, `%`.
    texts: Vec<Vec<u8>>,
    has_parentheses: bool,
    has_minus_after: bool,
}

impl Strip {
    /// What a column takes away; `None` if nothing.
    ///
    /// # Errors
    /// If that would leave a doubt about what a number means.
    pub(super) fn new(column: &Column, dialect: &CsvDialect) -> Result<Option<Self>, Rejection> {
        if column.strip.is_empty() {
            return Ok(None);
        }
        let mut items = column.strip.iter().filter(|item| *item != ZEROS).peekable();
        let wrong = |detail: String| Err(Rejection::new(Reason::BadValue, detail));
        if !column.column_type.is_number() {
            return wrong(format!(
                "`strip` has no meaning for type {}: it is for numbers",
                column.column_type
            ));
        }
        let mark = column.decimal_mark(dialect);
        let mut strip = Self {
            mark,
            separators: Vec::new(),
            texts: Vec::new(),
            has_parentheses: false,
            has_minus_after: false,
        };
        if items.peek().is_none() {
            return Ok(None);
        }
        for item in items {
            if item.as_bytes() == [mark] {
                return wrong(format!(
                    "`strip` has `{item}`, which is the decimal mark as well; set the column's `decimal` to the other one"
                ));
            }
            let separators = SEPARATORS.iter().filter(|(_, mark)| mark == item);
            let count = strip.separators.len();
            strip
                .separators
                .extend(separators.map(|(text, _)| text.as_bytes()));
            if strip.separators.len() > count {
                continue;
            }
            if item == PARENTHESES {
                strip.has_parentheses = true;
                continue;
            }
            if item == MINUS_AFTER {
                strip.has_minus_after = true;
                continue;
            }
            let is_doubtful = item.trim().is_empty()
                || item
                    .contains(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '(' | ')'));
            if is_doubtful {
                return wrong(format!(
                    "`strip` has `{}`; an item is a mark between thousands (, . ' _ or a blank), \"()\", \"-\" for a minus \
                     after the number, \"0\" for zeros before it, or a text without digits, signs and parentheses",
                    item.escape_debug()
                ));
            }
            strip.texts.push(item.trim().as_bytes().to_vec());
        }
        // Of two texts that begin alike the longer one is meant: `US$` before `US`.
        strip
            .texts
            .sort_by_key(|text| std::cmp::Reverse(text.len()));
        Ok(Some(strip))
    }

    /// The plain number that a field holds, with the column's decimal mark.
    pub(super) fn apply(&self, bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
        let wrong =
            |what: &str| Rejection::new(Reason::BadValue, format!("{} {what}", Shown(bytes)));
        let mut rest = bytes;
        let mut sign: Option<u8> = None;
        let mut is_negative = false;
        let mut taken = vec![false; self.texts.len()];
        loop {
            if let Some(after) = self.without_text(rest, &mut taken) {
                rest = after;
            } else if let ([b'(', inner @ .., b')'], true, false) =
                (rest, self.has_parentheses, is_negative)
            {
                (rest, is_negative) = (inner, true);
            } else if let ([inner @ .., b'-'], true, false) =
                (rest, self.has_minus_after, is_negative)
            {
                (rest, is_negative) = (inner, true);
            } else if let (Some((first @ (b'+' | b'-'), after)), None) = (rest.split_first(), sign)
            {
                (rest, sign) = (after, Some(*first));
            } else {
                break;
            }
        }
        if sign.is_some() && is_negative {
            return Err(wrong("has two signs"));
        }
        let end = rest.iter().position(|byte| *byte == self.mark);
        let (whole, fraction) = rest.split_at(end.unwrap_or(rest.len()));
        let mut number = Vec::with_capacity(bytes.len() + 1);
        match sign {
            _ if is_negative => number.push(b'-'),
            Some(sign) => number.push(sign),
            None => {}
        }
        self.ungroup(whole, &mut number)
            .ok_or_else(|| wrong("has marks that do not part it in groups of three digits"))?;
        number.extend_from_slice(fraction);
        match rest.is_empty() {
            true => Err(wrong("has no digits")),
            false => Ok(number),
        }
    }

    /// The field without a text at its beginning or end that was not taken yet, and without the blanks beside it.
    fn without_text<'a>(&self, bytes: &'a [u8], taken: &mut [bool]) -> Option<&'a [u8]> {
        for (text, taken) in self.texts.iter().zip(taken).filter(|(_, taken)| !**taken) {
            let rest = match bytes.strip_prefix(text.as_slice()) {
                Some(rest) => Some(without_blank(rest, <[u8]>::strip_prefix)),
                None => bytes
                    .strip_suffix(text.as_slice())
                    .map(|rest| without_blank(rest, <[u8]>::strip_suffix)),
            };
            if rest.is_some() {
                *taken = true;
                return rest;
            }
        }
        None
    }

    /// Appends the digits of the whole part without the marks between thousands; `None` if they stand elsewhere.
    fn ungroup(&self, whole: &[u8], number: &mut Vec<u8>) -> Option<()> {
        let has = |separator: &&&[u8]| find(whole, separator).is_some();
        let mut separators = self.separators.iter().filter(has);
        let Some(separator) = separators.next() else {
            number.extend_from_slice(whole);
            return Some(());
        };
        let mut rest = whole;
        let mut is_first = true;
        loop {
            let at = find(rest, separator);
            let group = &rest[..at.unwrap_or(rest.len())];
            let is_right = group.iter().all(u8::is_ascii_digit)
                && match is_first {
                    true => (1..=3).contains(&group.len()),
                    false => group.len() == 3,
                };
            is_right.then(|| number.extend_from_slice(group))?;
            is_first = false;
            match at {
                Some(at) => rest = &rest[at + separator.len()..],
                None => return Some(()),
            }
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Takes one blank away at one end.
fn without_blank<'a>(
    bytes: &'a [u8],
    cut: impl Fn(&'a [u8], &[u8]) -> Option<&'a [u8]>,
) -> &'a [u8] {
    let blanks = SEPARATORS.iter().filter(|(_, mark)| *mark == " ");
    let mut found = blanks.filter_map(|(blank, _)| cut(bytes, blank.as_bytes()));
    found.next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decimal, parse, parser_of};
    use crate::{ColumnType, Field, ValueParser};

    fn strip(items: &[&str], decimal: u8) -> Result<Option<Strip>, Rejection> {
        let mut column = Column::new("price", ColumnType::Numeric);
        column.strip = items.iter().map(|item| (*item).to_owned()).collect();
        column.decimal = Some(decimal);
        Strip::new(&column, &CsvDialect::default())
    }

    #[track_caller]
    fn check(items: &[&str], decimal: u8, field: &str, expected: Option<&str>) {
        let strip = strip(items, decimal).unwrap().unwrap();
        let found = strip.apply(field.as_bytes()).ok();
        let found = found.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(found.as_deref(), expected, "{field}");
    }

    #[test]
    fn zeros_may_be_said_to_mean_nothing() {
        assert!(strip(&["0"], b'.').unwrap().is_none());
        check(&["0", "$"], b'.', "$007", Some("007"));
        let mut column = Column::new("code", ColumnType::Int8);
        for is_said in [false, true] {
            let parser = parser_of(&column, &CsvDialect::default());
            assert_eq!(parse(&parser, "007"), Ok(crate::Value::Int(7)));
            assert_eq!(parser.loses_digits(b"007"), !is_said);
            let kept = ["0", "0.5", "10", "-1", "", "0x1"];
            assert!(
                kept.iter()
                    .all(|text| !parser.loses_digits(text.as_bytes()))
            );
            column.strip.push("0".to_owned());
        }
        let text = parser_of(
            &Column::new("code", ColumnType::Text),
            &CsvDialect::default(),
        );
        assert!(!text.loses_digits(b"007"));
    }

    #[test]
    fn whole_numbers_that_a_float_does_not_hold_lose_digits() {
        let check = |column_type: ColumnType, text: &str, is_lost: bool| {
            let parser = parser_of(&Column::new("n", column_type), &CsvDialect::default());
            assert_eq!(parser.loses_digits(text.as_bytes()), is_lost, "{text}");
        };
        for (text, is_lost) in [
            ("9007199254740992", false),
            ("-9007199254740993", true),
            ("12345678901234567890", true),
            ("100000000000000000000", false),
            ("0.30000000000000000001", false),
            ("1.5e300000000000000000", false),
            ("-Infinity        ", false),
        ] {
            check(ColumnType::Float8, text, is_lost);
            check(ColumnType::Numeric, text, false);
        }
        check(ColumnType::Float4, "16777216", false);
        check(ColumnType::Float4, "16777217", true);
        check(ColumnType::Float8, "16777217", false);
    }

    #[test]
    fn thousands_are_groups_of_three() {
        for (field, expected) in [
            ("1,234.50", Some("1234.50")),
            ("-1,234,567", Some("-1234567")),
            ("1234.5", Some("1234.5")),
            ("12,34,567", None),
            ("1234,567", None),
            ("1,23", None),
            (",123", None),
            ("1,234,", None),
            ("1,,234", None),
            ("1,2345", None),
            // What is left is refused as a number.
            ("1.234,5", Some("1.234,5")),
            (".5", Some(".5")),
        ] {
            check(&[","], b'.', field, expected);
        }
        check(&["."], b',', "1.234.567,89", Some("1234567,89"));
        check(&["."], b',', "1.23", None);
        for blank in [" ", "\u{a0}", "\u{2009}", "\u{202f}"] {
            let field = format!("1{blank}234{blank}567,5");
            check(&[" "], b',', &field, Some("1234567,5"));
        }
        check(&[" "], b',', "1 234\u{a0}567", None);
        check(&["'", "\u{2019}"], b'.', "1'234\u{2019}567", None);
        check(&["'", "\u{2019}"], b'.', "1\u{2019}234.5", Some("1234.5"));
    }

    #[test]
    fn signs_of_money_and_parentheses() {
        let items = ["$", "US$", "%", "kr", ",", "()"];
        for (field, expected) in [
            ("$5", Some("5")),
            ("-$5.00", Some("-5.00")),
            ("$-5", Some("-5")),
            ("US$ 1,000", Some("1000")),
            ("5\u{a0}kr", Some("5")),
            ("12.5%", Some("12.5")),
            ("(1,234)", Some("-1234")),
            ("($5)", Some("-5")),
            ("$(5)", Some("-5")),
            ("$5 kr", Some("5")),
            ("(-5)", None),
            ("-(5)", None),
            ("((5))", Some("-(5)")),
            ("(5", Some("(5")),
            ("$$5", Some("$5")),
            ("--5", Some("--5")),
            ("$", None),
            ("()", None),
            ("- 5", Some("- 5")),
            ("$  5", Some(" 5")),
        ] {
            check(&items, b'.', field, expected);
        }
        check(&["$"], b'.', "(5)", Some("(5)"));
        for (field, expected) in [
            ("12.50-", Some("-12.50")),
            ("1,234-", Some("-1234")),
            ("5 EUR-", Some("-5")),
            ("5- EUR", Some("-5")),
            ("12", Some("12")),
            ("-5", Some("-5")),
            ("-5-", None),
            ("(5-)", Some("-5-")),
            ("5--", Some("-5-")),
            ("-", None),
        ] {
            check(&["-", "()", ",", "EUR"], b'.', field, expected);
        }
    }

    #[test]
    fn what_would_leave_a_doubt_is_refused() {
        for items in [&["."][..], &[""], &["  "], &["+"], &["1"], &["(", ")"]] {
            assert!(strip(items, b'.').is_err(), "{items:?}");
        }
        assert!(strip(&[], b'.').unwrap().is_none());
        let mut text = Column::new("name", ColumnType::Text);
        text.strip = vec!["$".to_owned()];
        assert!(Strip::new(&text, &CsvDialect::default()).is_err());
    }

    #[test]
    fn numbers_without_what_is_stripped() {
        let mut column = Column::new("c", "decimal(9,2)".parse().unwrap());
        column.strip = [",", "$", "%", "()"].map(str::to_owned).to_vec();
        (column.min, column.allowed) = (Some("-1500".into()), None);
        let parser = parser_of(&column, &CsvDialect::default());
        for (text, expected) in [
            ("$1,234.50", decimal(123_450, 2)),
            ("(1,234.5)", decimal(-123_450, 2)),
            ("12%", decimal(1200, 2)),
            ("(1,500.01)", Err(Reason::OutOfRange)),
            ("1.234,50", Err(Reason::BadValue)),
            ("1,2345", Err(Reason::BadValue)),
            ("1,234.505", Err(Reason::TooManyDecimals)),
        ] {
            assert_eq!(parse(&parser, text), expected, "{text}");
        }
        let fault = parser.parse(Field {
            bytes: b"$1x",
            quoted: false,
        });
        assert!(
            fault
                .unwrap_err()
                .detail
                .starts_with("`$1x`: `1x` is not a number")
        );
        let unchanged = parser.parse(Field {
            bytes: b"twelve",
            quoted: false,
        });
        assert_eq!(unchanged.unwrap_err().detail, "`twelve` is not a number");
        column.strip = vec![".".to_owned()];
        assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
        column.decimal = Some(b',');
        let parser = parser_of(&column, &CsvDialect::default());
        assert_eq!(parse(&parser, "1.234,5"), decimal(123_450, 2));
    }
}
