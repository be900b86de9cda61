//! The header: in the middle of a file, absent, or beside byte order marks and lines for spreadsheets.

use super::*;
use bekk_testing::dialect_with;

#[test]
fn headers_in_concatenated_files() {
    check(
        "id,name\n1,a\nid,name\n2,b\n",
        &[("1,a\n", None), ("2,b\n", None)],
    );
    check(
        "id,name\r\n1,a\r\n\u{feff}id,name\n2,b\n",
        &[("1,a\r\n", None), ("2,b\n", None)],
    );
    // Another order, recognised where the line is no row.
    check(
        "id,name\n1,a\nname,id\nb,2\n",
        &[("1,a\n", None), ("b,2\n", None)],
    );
    check("id,name\nid,x\n", &[("id,x\n", Some(Reason::BadValue))]);
}

/// A writer that kept its position when its file was emptied leaves zeros before whatever it writes next.
#[test]
fn zeros_before_the_header_are_passed_over() {
    let content = |zeros: usize| format!("{}id,name\n1,a\n2,b\n", "\0".repeat(zeros));
    for zeros in [ZEROS_MIN, 100] {
        check_in(
            &CsvDialect::default(),
            &content(zeros),
            &[("1,a\n", None), ("2,b\n", None)],
        );
    }
}

/// A byte order mark inside a file belongs to the field after it, and is reported; before a header it is ignored.
#[test]
fn marks_in_concatenated_files() {
    let dialect = dialect_with(|it| it.header = HeaderRow::Named(vec!["name".into(), "id".into()]));
    let marked = "a,1\n\u{feff}b,2\n\u{feff}\u{feff}name,id\nc,3\n\u{feff}\"d\",4\ne,5\n";
    check_in(
        &dialect,
        marked,
        &[
            ("a,1\n", None),
            ("\u{feff}b,2\n", None),
            ("c,3\n", None),
            ("\u{feff}\"d\",4\n", Some(Reason::BadQuote)),
            ("e,5\n", None),
        ],
    );
    let noticed = |content: &[u8], dialect: &CsvDialect| {
        let all = notices(content, dialect);
        all.into_iter()
            .map(|notice| (notice.kind, notice.text))
            .collect::<Vec<_>>()
    };
    let found = noticed(marked.as_bytes(), &dialect);
    let [
        (NoticeKind::ColumnMissing, _),
        (NoticeKind::MarkInside, inside),
        (NoticeKind::HeaderRepeated, header),
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert!(
        inside.starts_with("2 records begin with a byte order mark"),
        "{inside}"
    );
    assert!(inside.contains("at line 5:"), "{inside}");
    assert!(header.starts_with("1 line repeats the header"), "{header}");
    // A header, the file's own or another one, is no record.
    let headers = "\u{feff}id,name\n1,a\n\u{feff}name,id\nb,2\n\u{feff}name,id\nc,3\n";
    check(
        headers,
        &[("1,a\n", None), ("b,2\n", None), ("c,3\n", None)],
    );
    let found = noticed(headers.as_bytes(), &CsvDialect::default());
    assert!(
        found
            .iter()
            .all(|(kind, _)| *kind != NoticeKind::MarkInside),
        "{found:?}"
    );
    let utf16 = dialect_with(|it| it.encoding = Encoding::Utf16);
    let wide: Vec<u8> = "\u{feff}id,name\n1,a\n\u{feff}2,b\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let found = noticed(&wide, &utf16);
    let is_inside = |(kind, text): &(NoticeKind, String)| {
        *kind == NoticeKind::MarkInside && text.starts_with("1 record begins")
    };
    assert!(found.iter().any(is_inside), "{found:?}");
}

/// A code such as 01067 in a column of numbers: the row has 1067, and the file's notice says so once for each column.
#[test]
fn digits_that_are_lost_are_noticed() {
    let lost = |content: &str, dialect: &CsvDialect| {
        let mut all = notices(content.as_bytes(), dialect).into_iter();
        let lost = all.find(|notice| notice.kind == NoticeKind::DigitsLost);
        lost.map(|notice| notice.text)
    };
    let plain = CsvDialect::default();
    assert_eq!(
        lost("id,name\n0,01\n10,a\n-01,b\n0.5,c\n007x,d\n", &plain),
        None
    );
    let text = lost("id,name\n1,a\n\"007\",b\n08,c\n", &plain).unwrap();
    assert!(
        text.starts_with("numbers lose digits: `007` in column `id` (int8) at line 3; type"),
        "{text}"
    );
}

#[test]
fn files_without_a_header() {
    let absent = dialect_with(|it| it.header = HeaderRow::Absent);
    check_in(
        &absent,
        "1,a,2.5\n2,b,\n",
        &[("1,a,2.5\n", None), ("2,b,\n", None)],
    );
    check_in(&absent, "\u{feff}1,a,2.5\n", &[("1,a,2.5\n", None)]);
    check_in(&absent, "1,a\n", &[("1,a\n", Some(Reason::FieldCount))]);
    // A header that is there all the same is no record.
    check_in(&absent, "id,name,Price\n1,a,2\n", &[("1,a,2\n", None)]);
    let named = CsvDialect {
        header: HeaderRow::Named(vec!["name".into(), "x".into(), "id".into()]),
        skip_lines: 1,
        ..CsvDialect::default()
    };
    check_in(&named, "made by x\na,b,1\n", &[("a,b,1\n", None)]);
}

#[test]
fn a_line_that_names_the_delimiter_is_no_record() {
    check("sep=,\r\nid,name\n1,a\n", &[("1,a\n", None)]);
    check("\"sep=,\"\nid,name\n1,a\n", &[("1,a\n", None)]);
    let why = read_both(b"sep=;\nid;name\n", &CsvDialect::default()).unwrap_err();
    assert!(why.contains("set `delimiter`"), "{why}");
}
