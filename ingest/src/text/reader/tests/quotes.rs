//! Quotes, right and wrong.

use super::*;
use bekk_testing::dialect_with;

const BAD: Option<Reason> = Some(Reason::BadQuote);
const UNCLOSED: Option<Reason> = Some(Reason::UnclosedQuote);

#[test]
fn quotes() {
    check(
        "\"id\",\"name\"\n\"1\",\"a\nb\"\n",
        &[("\"1\",\"a\nb\"\n", None)],
    );
    check(
        "id,name\n1,\"\"\n2,\"\"\"\"\n",
        &[("1,\"\"\n", None), ("2,\"\"\"\"\n", None)],
    );
    check(
        "id,name\n1,\"a,\r\n\"\r\n2,b\n",
        &[("1,\"a,\r\n\"\r\n", None), ("2,b\n", None)],
    );
    check("id,name\n1,\"a\"", &[("1,\"a\"", None)]);
    check(
        "id,name\n1,\"a\"b\n2,c\n",
        &[("1,\"a\"b\n", BAD), ("2,c\n", None)],
    );
    check(
        "id,name\n1,a\"b\n2,c\n",
        &[("1,a\"b\n", BAD), ("2,c\n", None)],
    );
    check("id,name\n1,\"a\" \n", &[("1,\"a\" \n", BAD)]);
    check(
        "id,name\n1,\"a\n2,b\n",
        &[("1,\"a\n", UNCLOSED), ("2,b\n", None)],
    );
}

/// A record whose quotes are wrong and that spans lines costs its first line only.
#[test]
fn a_stray_quote_costs_its_line() {
    // Closed by what opens a field further down.
    check(
        "id,name\n1,\"5 inch\n2,b\n3,\"c\"\n4,d\n",
        &[
            ("1,\"5 inch\n", UNCLOSED),
            ("2,b\n", None),
            ("3,\"c\"\n", None),
            ("4,d\n", None),
        ],
    );
    // The next line is split alone, and has its own fault.
    check(
        "id,name\n1,\"a\"b\",\"\n\"\n2,c\n",
        &[
            ("1,\"a\"b\",\"\n", BAD),
            ("\"\n", UNCLOSED),
            ("2,c\n", None),
        ],
    );
    // Longer than a record may be, closed nowhere or by a stray one: the same.
    let dialect = dialect_with(|it| it.record_max = 10);
    check_in(
        &dialect,
        "id,name\n1,\"a\n2,bbbbbb\n3,c\n",
        &[("1,\"a\n", UNCLOSED), ("2,bbbbbb\n", None), ("3,c\n", None)],
    );
    check_in(
        &dialect,
        "id,name\n1,\"a\n2,bbbbbb\n3,\"c\"\n",
        &[
            ("1,\"a\n", UNCLOSED),
            ("2,bbbbbb\n", None),
            ("3,\"c\"\n", None),
        ],
    );
}

/// If quoted newlines are off, a newline ends a record whatever its quotes.
#[test]
fn quotes_without_newlines() {
    let dialect = dialect_with(|it| it.quoted_newlines = false);
    check_in(
        &dialect,
        "id,name\n1,\"a\n2,\"b,c\"\r\n3,d\"",
        &[
            ("1,\"a\n", UNCLOSED),
            ("2,\"b,c\"\r\n", None),
            ("3,d\"", BAD),
        ],
    );
}
