//! Headers, and lines after the records.

use bekk_stream::{ColumnType, HeaderRow};
use bekk_testing::assert_says;

use super::stream_of;

#[test]
fn headers_become_names_and_stay_headers() {
    let (stream, _) =
        stream_of("\u{feff}Ordre-nr,Beløp (NOK),orderDate,Beløp NOK,2nd\n1,2,2026-01-01,3,4\n");
    let names: Vec<_> = stream
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.header.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("ordre_nr", "Ordre-nr"),
            ("beløp_nok", "Beløp (NOK)"),
            ("order_date", "orderDate"),
            ("beløp_nok_2", "Beløp NOK"),
            ("c_2nd", "2nd")
        ]
    );
    assert_eq!(stream.name, "orders");
    assert_eq!(stream.columns[2].column_type, ColumnType::Date);
}

/// R names each row, and its header has no name for those; it separates by blanks unless told otherwise.
#[test]
fn tables_of_r_have_a_name_more_than_their_header() {
    let names =
        |names: &[&str]| HeaderRow::Named(names.iter().map(|name| (*name).to_owned()).collect());
    let (stream, text) = stream_of("\"mpg\" \"cyl\"\n\"Mazda RX4\" 21 6\n\"Datsun 710\" 22.8 4\n");
    assert_eq!(stream.csv.delimiter, b' ', "{text}");
    assert_eq!(stream.csv.header, names(&["row", "mpg", "cyl"]), "{text}");
    assert_eq!(stream.csv.skip_lines, 1);
    let (stream, text) = stream_of("mpg,cyl\nMazda,21,6\nDatsun,22.8,4\n");
    assert_eq!(stream.csv.header, names(&["row", "mpg", "cyl"]), "{text}");
    let (stream, text) = stream_of("\"a\" \"b\"\n1 2\n3 4\n");
    assert_eq!(
        (stream.csv.delimiter, stream.columns.len()),
        (b' '.into(), 2),
        "{text}"
    );
    for rows in [
        "city\nNew York\nLos Angeles\nSan Jose\n",
        "at\n2026-01-01 10:00:00\n2026-01-02 10:00:00\n2026-01-03 11:00:00\n",
        "people\n1 000\n2 000\n3 000\n",
    ] {
        let (stream, text) = stream_of(rows);
        assert_eq!(stream.columns.len(), 1, "{text}");
    }
}

#[test]
fn a_first_record_with_nulls_is_no_header() {
    let (stream, _) = stream_of("1,\"O\\\"Brien\",\\N\n2,\"b\",3.5\n");
    assert_eq!(
        (stream.csv.header, stream.csv.skip_lines, stream.csv.escape),
        (HeaderRow::Absent, 0, Some(b'\\'))
    );
    let (stream, _) = stream_of("1,\"a\",\\N\n2,\"b\",3.5\n3,\"c\",\n");
    assert_eq!(stream.csv.header, HeaderRow::Absent);
}

#[test]
fn a_second_header_is_named_with_what_to_do() {
    let check = |csv: &str, expected: &[&str]| {
        let (_, text) = stream_of(csv);
        for expected in expected {
            assert!(text.contains(expected), "`{expected}` is not in: {text}");
        }
        assert!(!text.contains("--header false"), "{text}");
    };
    check(
        "id,temp,at\n,degC,s\n1,20.5,3\n2,21.5,4\n",
        &[
            "looks like a second header (``, `degC`, `s`)",
            "`temp` decimal(13,1), `at` int8;",
            "csv = { footer = [\",degC,s\"] } skips it",
        ],
    );
    check(
        "# by hand\n\nKunde,,Betrag\nName,Ort,Netto\nAnn,Ulm,\"1,5\"\nBob,Bonn,\"2,5\"\n",
        &[
            "`betrag` decimal(13,1);",
            "if the names are in it: --skip-lines 3",
        ],
    );
    check(
        "id;name\nID;\"Name\"\na;Ann\nb;Bob\n",
        &[
            "(`ID`, `Name`); if the names are in it: --skip-lines with",
            "otherwise remove it from the files",
        ],
    );
    for csv in [
        "id,temp\n1,unknown\n2,21.5\n3,22.5\n",
        "id,temp\nx,unknown\ny,unknown\n3,22.5\n",
        "id,temp\nx,unknown\n3,22.5\n",
        "name,city\nAnn,Ulm\nBob,Bonn\nCid,Ulm\n",
    ] {
        let (_, text) = stream_of(csv);
        assert!(!text.contains("second header"), "{text}");
    }
}

/// A spreadsheet makes each row as wide as the widest one.
#[test]
fn titles_with_empty_fields_after_them_are_no_header() {
    let records = "id,\"name, first\",amount\n1,Ann,2.5\n2,Bob,3\n";
    for titles in [
        "Report 2025,,\n",
        "\"Report, 2025\",,\n,,\n",
        "all of it\n\nReport,,\n,,Q1\n",
    ] {
        let (stream, text) = stream_of(&format!("{titles}{records}"));
        let skipped = titles.lines().count();
        assert_eq!(
            usize::try_from(stream.csv.skip_lines).unwrap(),
            skipped,
            "{text}"
        );
        assert_eq!(stream.columns[1].header, "name, first", "{text}");
        assert_eq!(stream.columns[0].column_type, ColumnType::Int8, "{text}");
        assert!(text.contains("at most one field"), "{text}");
    }
    // Here the names are in the first line, or nowhere.
    for csv in [
        "name,,\nAnn,b,c\n",
        "name,,\nAnn,2,c\nBob,3,d\n",
        "a,b\nx,\nc,d\n",
    ] {
        let (stream, text) = stream_of(csv);
        assert_eq!(stream.csv.skip_lines, 0, "{text}");
    }
}

/// A bank writes more lines about a month than the month has records.
#[test]
fn a_table_may_be_shorter_than_the_lines_before_it() {
    let about = "Account;DE12\n\nFrom;01.10.2025\nTo;31.10.2025\nBalance;1.234,56;EUR\n\nIn order of days\n";
    for (before, header, records) in [
        (
            about,
            "Day;Text;Place;Amount",
            "01.10.2025;Rent;Ulm;-1,50\n",
        ),
        (
            about,
            "Day;Text;Place;Amount;",
            "01.10.2025;Rent;;-1,50;\n02.10.2025;Pay;Ulm;2,50;\nSum;1,00\n",
        ),
        (
            "For\nADA\nAccount\nX-1\n\n",
            "Day,Text,Amount",
            "10/31/2025,\"A, B\",1.5\n10/30/2025,C,7.0\n",
        ),
    ] {
        let (stream, text) = stream_of(&format!("{before}{header}\n{records}"));
        let skipped = usize::try_from(stream.csv.skip_lines).unwrap();
        assert_eq!(skipped, before.lines().count(), "{text}");
        assert_eq!(stream.columns[0].column_type, ColumnType::Date, "{text}");
        assert!(
            text.contains(&format!("line {} is taken as", skipped + 1)),
            "{text}"
        );
    }
    // A table that another one follows, a header that was extended, and texts with separators in some.
    for csv in [
        "a;b\nx;1\ny;2\nz;3\nDay;Text;Amount\n01.10.2025;Rent;1\n",
        "a;b\nx;1\ny;2\nz;3\na;b;c\nx;1;2\n",
        "note\nx\ny\nz\nthis, that\nmore, and more\n",
    ] {
        let (stream, text) = stream_of(csv);
        assert_eq!(stream.csv.skip_lines, 0, "{text}");
    }
}

#[test]
fn a_header_that_comes_again_is_no_value() {
    let (stream, _) = stream_of("id,v\n1,2\nid,v\n3,4\n");
    assert_eq!(stream.columns[0].column_type, ColumnType::Int8);
    // A later one with more names is not the first header.
    let (stream, _) = stream_of("id,name\n1,a\nid,name,city\n2,b,Rome\n3,c,Oslo\n");
    assert_eq!((stream.csv.skip_lines, stream.columns.len()), (0, 2));
}

#[test]
fn a_header_of_more_fields_than_most_records_is_the_header() {
    let (stream, text) =
        stream_of("day,cpi,low,high\n1,2.5,1.5,3.5\n2,2.5,1.5\n3,2.5,1.5\n4,2.5,1.5\n");
    assert_eq!(stream.csv.skip_lines, 0, "{text}");
    assert_eq!(stream.columns.len(), 4, "{text}");
}

/// A first line that may be a header or a record is named as a guess, and is a record if its fields come again.
#[test]
fn a_header_without_evidence_is_a_guess() {
    let (stream, text) = stream_of("name,city\nAnn,Rome\nBob,Oslo\n");
    assert_eq!(stream.csv.header, HeaderRow::InFile);
    assert_says(
        &text,
        &[
            "looks like the other lines: `name`, `city`; if it is a record: --header false",
            "if a later line has the names: --skip-lines",
        ],
    );
    let (stream, text) = stream_of("Ann,Rome\nBob,Oslo\nCid,Rome\n");
    assert_eq!(stream.csv.header, HeaderRow::Absent);
    assert!(text.contains("all 3 records of"), "{text}");
    let (_, text) = stream_of("id,city\n1,Rome\n2,Oslo\n");
    assert!(!text.contains("looks like the other lines"), "{text}");
}

#[test]
fn lines_that_sum_up_are_no_rows() {
    let check = |csv: &str, footer: &[&str], key: &[&str]| {
        let (stream, text) = stream_of(csv);
        assert_eq!(stream.csv.footer, footer, "{text}");
        assert_eq!(stream.key, key, "{text}");
    };
    check("id,amount\n1,2.5\n2,3.5\nTotal,6.0\n", &["Total,"], &["id"]);
    check("id;name;n\n1;a;1\n2;b;2\n;Summe;3\n", &[";Summe;"], &["id"]);
    check(
        "id,n\n1,1\n2,2\n\"Grand total\",3\nTotal: 3\n",
        &["\"Grand total\",", "Total:"],
        &["id"],
    );
    check("id,n\n1,1\n2,2\nTotal: 2 orders\n", &["Total:"], &["id"]);
    // A region or a firm of that name is a row.
    check("region,n\nTotal,1\nNorth,2\nSouth,2\n", &[], &[]);
    check("firm,n\nA,1\nB,2\nTotal Wine,2\n", &[], &[]);
    check("firm,n\nA,1\nB,2\nTotal: Wine,2\n", &[], &[]);
    check("id,n\nTotal,1\n", &[], &["id"]);
    check(
        "id;name;n\n1;a;1\n2;b;2\n;Gesamtsumme:;3\n",
        &[";Gesamtsumme:"],
        &["id"],
    );
}

/// A line that sums up without a known word is read as a record, and a comment says how to skip it.
#[test]
fn a_last_line_that_may_sum_up_is_shown() {
    let check = |csv: &str, begins: Option<&str>| {
        let (stream, text) = stream_of(csv);
        assert!(stream.csv.footer.is_empty(), "{text}");
        let shown = begins.map(|begins| format!("footer = [\"{begins}\"]"));
        let has_remark = text.contains("may be a sum");
        assert_eq!(has_remark, shown.is_some(), "{text}");
        assert!(shown.is_none_or(|shown| text.contains(&shown)), "{text}");
    };
    check("id;name;city;n\n1;a;x;1\n2;b;y;2\n;;;3\n", Some(";;;"));
    check(
        "id\tname\tcity\tn\n1\ta\tx\t1\n2\tb\ty\t2\n\t\tSumme EUR\t3,00\n",
        Some("\\t\\t"),
    );
    // Other records lack the first field as well, or the last line has most fields, or no number.
    check("id;name;city;n\n1;a;x;1\n;b;y;2\n;;;3\n", None);
    check("id;name;city;n\n1;a;x;1\n2;b;y;2\n;c;z;3\n", None);
    check("id;name;city;n\n1;a;x;1\n2;b;y;2\n;;;x\n", None);
    check("id;name;city;n\n1;a;x;1\n;;;3\n", None);
}

/// Spreadsheets put line ends into the names of columns, and reports into their titles.
#[test]
fn names_may_span_lines() {
    let (stream, text) = stream_of("\"id\",\"Amount\n(EUR)\",name\n1,2.5,a\n2,3.5,b\n");
    assert_eq!(
        (stream.csv.skip_lines, &stream.csv.header),
        (0, &HeaderRow::InFile),
        "{text}"
    );
    assert_eq!(stream.columns[1].header, "Amount\n(EUR)", "{text}");
    assert!(text.contains(r#"header = "Amount\n(EUR)""#), "{text}");
    let (stream, text) = stream_of("\"Sales\nof May\"\n\nid,name,n\n1,a,1\n2,b,2\n");
    assert_eq!(
        (stream.csv.skip_lines, stream.columns.len()),
        (3, 3),
        "{text}"
    );
}

/// A file without a header whose first record is not like the others: the record is rejected, and not passed over. Lines
/// of one field are no records.
#[test]
fn a_first_record_of_another_width_is_no_preamble() {
    let (stream, text) = stream_of("1|a|b|2024-01-31\n2|b|2024-02-01\n3|c|2024-02-02\n");
    assert_eq!(
        (
            stream.csv.skip_lines,
            stream.csv.header,
            stream.columns.len()
        ),
        (0, HeaderRow::Absent, 3),
        "{text}"
    );
    let (stream, text) = stream_of("Report\n1|b|2024-02-01\n2|c|2024-02-02\n");
    assert_eq!(
        (stream.csv.skip_lines, stream.csv.header),
        (1, HeaderRow::Absent),
        "{text}"
    );
}

/// Below its table a spreadsheet writes records of empty fields.
#[test]
fn empty_records_decide_nothing() {
    let (stream, text) = stream_of("id,name\n1,a\n2,b\n,\n,\n");
    assert_eq!(stream.key, ["id"], "{text}");
    assert!(!stream.columns[1].nullable, "{text}");
    assert_says(&text, &["2 records have fields that are all empty"]);
}

/// Names that PostgreSQL refuses: those of system columns, and those that are too long.
#[test]
fn each_name_is_one_that_a_table_can_have() {
    let (stream, _) = stream_of("id,xmin,XMax,ctid\n1,1.5,2.5,x\n");
    let names: Vec<_> = stream
        .columns
        .iter()
        .map(|column| &column.name[..])
        .collect();
    assert_eq!(names, ["id", "c_xmin", "c_xmax", "c_ctid"]);
    let long: Vec<String> = (0..120)
        .map(|at| format!("{}{at}", "q".repeat(80)))
        .collect();
    let (stream, _) = stream_of(&format!(
        "{}\n{}\n",
        long.join(","),
        vec!["a"; 120].join(",")
    ));
    assert!(stream.columns[119].name.ends_with("_120"));
}
