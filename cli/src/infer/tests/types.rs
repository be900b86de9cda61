//! Types of columns.

use std::path::Path;

use bekk_stream::HeaderRow;

use super::stream_of;
use crate::infer::stream_name;

#[track_caller]
fn check_type(values: &[&str], expected: &str, nullable: bool) {
    let rows: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(n, value)| format!("{n};{value}\n"))
        .collect();
    let (stream, text) = stream_of(&format!("id;v\n{}", rows.concat()));
    let column = &stream.columns[1];
    assert_eq!(
        (column.column_type.to_string().as_str(), column.nullable),
        (expected, nullable),
        "{text}"
    );
}

#[test]
fn types_are_what_every_value_is() {
    check_type(&["1", "-5", "12345678901"], "int8", false);
    check_type(&["1", "", "3"], "int8", true);
    check_type(&["1.25", "300", "-0.5"], "decimal(14,2)", false);
    check_type(&["1,25", "300"], "decimal(14,2)", false);
    check_type(&["1e-5", "2.5"], "float8", false);
    check_type(&["007", "123"], "text", false);
    check_type(&["0.5", "0.25"], "decimal(14,2)", false);
    check_type(&["true", "FALSE"], "bool", false);
    check_type(&["2026-01-31", "2026-02-01"], "date", false);
    check_type(&["31.01.2026", "01.02.2026"], "date", false);
    check_type(
        &["31.01.2026 10:30", "01.02.2026 00:00"],
        "timestamp",
        false,
    );
    check_type(
        &["2026-01-31 10:00:00", "2026-02-01 11:30:00"],
        "timestamp",
        false,
    );
    check_type(
        &["2026-01-31T10:00:00Z", "2026-02-01T11:30:00+01:00"],
        "timestamptz",
        false,
    );
    check_type(&["67e55044-10b1-426f-9247-bb680e5fe0c8"], "uuid", false);
    check_type(&["{\"a\": 1}", "[]"], "json", false);
    check_type(&["", ""], "text", true);
    check_type(&["1", "NA", "3"], "int8", true);
    check_type(&["a", "1"], "text", false);
}

#[test]
fn no_digit_is_lost_and_no_text_is_guessed_away() {
    check_type(&["9400111899223100012345", "1"], "decimal(38,0)", false);
    check_type(
        &["0.1234567890123456789012", "2.5"],
        "decimal(34,22)",
        false,
    );
    check_type(&[&"9".repeat(39), "1"], "numeric", false);
    check_type(&["1.2345678901234567e5", "2e5"], "float8", false);
    check_type(&["1.23456789012345678e5", "2e5"], "text", false);
    check_type(&["+4915112345678", "+4711"], "text", false);
    check_type(&["1E5", "12e4", "3456"], "text", false);
    check_type(&["1E+5", "12e4"], "float8", false);
    check_type(&["+1", "-1"], "int8", false);
    let zip = |name: &str| {
        let (stream, text) = stream_of(&format!("id;{name}\n1;89073\n2;10115\n"));
        let remarked = text.contains("a code of digits, by its name");
        (stream.columns[1].column_type.to_string(), remarked)
    };
    for name in ["zip", "PLZ", "Zip Code", "phone_2", "telefonNr"] {
        assert_eq!(zip(name), ("text".to_owned(), true), "{name}");
    }
    for name in ["amount", "zip_count", "code", "zipper"] {
        assert_eq!(zip(name), ("int8".to_owned(), false), "{name}");
    }
    check_type(&["NO", "NO"], "text", false);
    check_type(&["F", "F"], "text", false);
    check_type(&["N", "Y"], "bool", false);
    check_type(&["true", "TRUE"], "bool", false);
    check_type(&["1.2.3", "1.4.1"], "text", false);
    check_type(&["1/2/3", "4/5/6"], "text", false);
    check_type(&["31.12.25", "01.02.25"], "date", false);
    check_type(&["03/31/15", "12/01/14"], "date", false);
    check_type(&["1-Jan-25", "17-DEC-80"], "date", false);
    check_type(&["31.12.25 10:30", "01.02.25 11:00"], "timestamp", false);
    check_type(
        &["12/31/2025 01:05 PM", "01/31/2025 11:00 AM"],
        "timestamp",
        false,
    );
}

/// A text that means null among numbers may be a text among texts.
#[test]
fn null_texts_are_of_their_columns() {
    let (stream, text) = stream_of("id,country,score\n1,NO,1\n2,NA,NA\n3,SE,3\n");
    let country = &stream.columns[1];
    assert_eq!((country.nullable, &country.null), (false, &None), "{text}");
    let score = &stream.columns[2];
    let nulls = Some(vec![String::new(), "NA".to_owned()]);
    assert_eq!((score.nullable, &score.null), (true, &nulls), "{text}");
    assert!(text.contains("guess: \"NA\" means null"), "{text}");
    // What a database dumps is null in texts as well, beside empty texts.
    let (stream, text) = stream_of("id,name,n\n1,\\N,\\N\n2,,2\n3,-,3\n4,x,4\n");
    let nulls = |column: usize| stream.columns[column].null.clone().unwrap_or_default();
    assert_eq!(
        (nulls(1), nulls(2)),
        (
            vec!["\\N".to_owned()],
            vec![String::new(), "\\N".to_owned()]
        ),
        "{text}"
    );
    assert!(text.contains("\"-\" kept as text"), "{text}");
}

/// No text that a column holds as it is looks like a type by accident, and what it would lose is said.
#[test]
fn times_that_would_lose_digits_are_texts() {
    let (stream, text) =
        stream_of("id;v\n1;2025-01-01 10:00:00.123456789\n2;2025-01-01T11:00:00Z\n");
    assert_eq!(stream.columns[1].column_type.to_string(), "text", "{text}");
    assert!(text.contains("times with more than six digits"), "{text}");
}

/// Numbers with all digits of a float, as pandas and R write them, are floats if those keep them. A file of numbers
/// alone has no header, whatever becomes of the numbers.
#[test]
fn floats_with_all_their_digits_are_floats() {
    check_type(&["1.510000000000000000e+02", "7.5e1"], "float8", false);
    check_type(
        &["1.2345678901234568e-05", "0.12345678901234566"],
        "float8",
        false,
    );
    check_type(&["4.861850000000000199e-02", "1"], "text", false);
    check_type(&[".5", "-.25", "3"], "decimal(14,2)", false);
    check_type(&["0.5", "inf", "-inf", "NaN"], "float8", true);
    check_type(&["inf", "Infinity"], "text", false);
    check_type(&["5.", "7."], "text", false);
    check_type(&["5.", "7.5"], "decimal(13,1)", false);
    for rows in [
        "1.510000000000000000e+02\n7.500000000000000000e+01\n1.510000000000000000e+02\n",
        ".064289,.0594\n1.5,2.5\n.064289,.0594\n",
        "1.2345678901234567891e-05,1\n1.2345678901234567892e-05,2\n",
    ] {
        let (stream, text) = stream_of(rows);
        assert_eq!(stream.csv.header, HeaderRow::Absent, "{text}");
    }
}

/// Returns a column's type, `strip` and `decimal` as text.
fn marked(values: &[&str]) -> String {
    let rows = values.iter().map(|value| format!("x;{value}\n"));
    let (stream, _) = stream_of(&format!("id;v\n{}", rows.collect::<String>()));
    let column = &stream.columns[1];
    let decimal = column.decimal.map_or(' ', char::from);
    format!("{} {} {decimal}", column.column_type, column.strip.join(""))
}

#[test]
fn marks_between_and_beside_digits_are_taken_away_where_that_is_sure() {
    for (values, expected) in [
        (&["12.5%", "-3%"][..], "numeric % ."),
        (&["$1,200.00", "$3.50", "($4.00)"], "numeric ,$() ."),
        (&["1.200,00 €", "3,50 €"], "numeric .€ ,"),
        (&["1'234.50", "5'678.00"], "numeric ' ."),
        (&["1,234.50", "99.00"], "numeric , ."),
        (&["1,234,567", "12"], "numeric , ."),
        // 1,234 is one number or another, and so is 1.234 €.
        (&["1,234", "5,678"], "text   "),
        (&["1.234 €", "5.678 €"], "text   "),
        (&["12%", "13"], "text   "),
        (&["12.50-", "1,100.00"], "numeric ,- ."),
        (&["12,50-", "100,00"], "numeric - ,"),
        // Years that are not over.
        (&["1995-", "2001"], "text   "),
        (&["$5", "€6"], "text   "),
        (&["555 123 456", "555 123 457"], "text   "),
        (&["192.168.100.200", "192.168.100.201"], "text   "),
        (&["$007", "$008"], "text   "),
    ] {
        assert_eq!(marked(values), expected, "{values:?}");
    }
}

/// 1.500 is 1500 where commas are decimal, as they are in files with semicolons.
#[test]
fn points_that_may_separate_thousands_are_doubted() {
    for (csv, column_type, remark) in [
        (
            "id;n;v\n1;1.500;2,50\n2;12;1.200,00\n",
            "text",
            "other columns have decimal commas; if so: type",
        ),
        (
            "id;n\n1;1.500\n2;12\n",
            "decimal(15,3)",
            "if they separate thousands: type",
        ),
        ("id;n\n1;1.500\n2;0.125\n", "decimal(15,3)", ""),
        ("id;n\n1;1.500\n2;2.5\n", "decimal(15,3)", ""),
        ("id;n;v\n1;1.500;2.5\n2;2.500;3\n", "decimal(15,3)", ""),
        ("id,n\n1,1.500\n2,12\n", "decimal(15,3)", ""),
    ] {
        let (stream, text) = stream_of(csv);
        assert_eq!(
            stream.columns[1].column_type.to_string(),
            column_type,
            "{text}"
        );
        assert_eq!(
            text.contains("separate thousands"),
            !remark.is_empty(),
            "{text}"
        );
        assert!(text.contains(remark), "{text}");
    }
}

#[test]
fn times_of_day_are_found() {
    check_type(&["08:30", "23:59:59"], "time", false);
    let (stream, _) = stream_of("id;v\n1;8:30 AM\n2;11:59 PM\n");
    assert_eq!(stream.columns[1].format.as_deref(), Some("%I:%M %p"));
}

/// What may be another type stays a text, and the remark says what to write for it.
#[test]
fn texts_that_may_be_another_type_say_what_to_write() {
    let check = |values: [&str; 3], expected: Option<&str>| {
        let [first, second, third] = values;
        let (stream, text) = stream_of(&format!("id\tv\n1\t{first}\n2\t{second}\n3\t{third}\n"));
        assert_eq!(stream.columns[1].column_type.to_string(), "text", "{text}");
        match expected {
            Some(expected) => assert!(text.contains(expected), "{text}"),
            None => assert!(!text.contains("kept as text"), "{text}"),
        }
    };
    check(
        ["ja", "nein", "ja"],
        Some(
            "guess: kept as text; for true and false: type = \"bool\", true = [\"ja\"], false = [\"nein\"]",
        ),
    );
    check(
        ["Non", "Oui", "Non"],
        Some("true = [\"Oui\"], false = [\"Non\"]"),
    );
    check(
        ["NÃO", "SIM", "SIM"],
        Some("true = [\"SIM\"], false = [\"NÃO\"]"),
    );
    check(
        ["Ja", "NEIN", "ja"],
        Some("true = [\"Ja\", \"ja\"], false = [\"NEIN\"]"),
    );
    check(["ja", "nein", "unklar"], None);
    check(["ja", "ja", "ja"], None);
    check(
        ["{1,2}", "{}", "{3}"],
        Some("for an array: type = \"pg:text[]\", \"pg:int8[]\""),
    );
    check(["{1,2}", "x", "{3}"], None);
    check(
        ["1/1/85", "2/29/00", "12/31/24"],
        Some(
            "kept as text; for dates with years of two digits: type = \"date\", format = \"%m/%d/%y\"",
        ),
    );
    check(
        ["1/1/85", "2/3/99", "03/04/05"],
        Some("format = \"%d/%m/%y\", or type = \"date\", format = \"%m/%d/%y\""),
    );
    check(
        ["1.2.25 9:05", "28.2.25 13:00", "1.3.25 00:00"],
        Some("type = \"timestamp\", format = \"%d.%m.%y %H:%M\""),
    );
    check(["1.2.25", "1.13.3", "1.2.0"], None);
}

/// One value that is no date makes a column of dates one of texts; the remark says which, and what would reject it.
#[test]
fn a_few_values_of_another_type_are_named() {
    let check = |values: Vec<&str>, expected: Option<&str>| {
        let rows = values.iter().map(|value| format!("x;{value}\n"));
        let (stream, text) = stream_of(&format!("id;v\n{}", rows.collect::<String>()));
        assert_eq!(stream.columns[1].column_type.to_string(), "text", "{text}");
        assert_eq!(
            text.contains("guess: text for"),
            expected.is_some(),
            "{text}"
        );
        assert!(text.contains(expected.unwrap_or_default()), "{text}");
    };
    check(
        [&["7"; 12][..], &["a\tb"]].concat(),
        Some(
            r#"text for 1 of 13 values, the first `a\tb`; for the type of the others, which rejects these: type = "int8""#,
        ),
    );
    check(
        [&["31.12.2025"; 20][..], &["00.00.0000", "unknown"]].concat(),
        Some(
            r#"2 of 22 values, the first `00.00.0000`; for the type of the others, which rejects these: type = "date", format = "%d.%m.%Y""#,
        ),
    );
    check(
        [&["$5"; 12][..], &["free"]].concat(),
        Some(r#"type = "numeric", decimal = ".", strip = ["$"]"#),
    );
    // Dates in two forms.
    check(
        vec!["12/31/2025", "31.12.2025", "01/02/2026"],
        Some("text for 1 of 3 values"),
    );
    // Some of the house numbers have letters, and most names are no numbers.
    check(vec!["7", "8", "9a"], None);
    check([&["7", "8"][..], &["Ann"; 300]].concat(), None);
}

#[test]
fn a_streams_name_is_the_files_in_plain_letters() {
    let check = |path: &str, expected: &str| assert_eq!(stream_name(Path::new(path)), expected);
    check("Umsätze 2025.csv", "umsaetze");
    check("Größe_Élan.csv", "groesse_elan");
    check("sales/2026-01-31.csv", "sales");
    check("données/2026.csv", "donnees");
    check("東京.csv", "rows");
}
