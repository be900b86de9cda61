//! From a file to a configuration that takes it.

use bekk_stream::{ColumnType, Config, Encoding, HeaderRow, OnConflict, Separator, Stream};

use super::*;

fn config_text(path: &Path, name: &str, pattern: &str, typed: &Typed) -> Result<String> {
    let wanted = Wanted {
        name,
        pattern,
        table: None,
    };
    super::config_text(path, &wanted, typed)
}

fn stream_of(csv: &str) -> (Stream, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders-2026.csv");
    std::fs::write(&path, csv).unwrap();
    let text = config_text(
        &path,
        &stream_name(&path),
        "orders-2026.csv",
        &Typed::default(),
    )
    .unwrap();
    let config = Config::parse(&text, Path::new("bekk.toml"), dir.path(), &|_| None);
    let stream = config
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .streams
        .remove(0);
    (stream, text)
}

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
    check_type(&["NO", "NO"], "text", false);
    check_type(&["F", "F"], "text", false);
    check_type(&["N", "Y"], "bool", false);
    check_type(&["true", "TRUE"], "bool", false);
    check_type(&["1.2.3", "1.4.1"], "text", false);
    check_type(&["1/2/3", "4/5/6"], "text", false);
    check_type(&["31.12.25", "01.02.25"], "date", false);
    check_type(&["03/31/15", "12/01/14"], "date", false);
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
}

/// In a small file everything is unique; a key that is wrong overwrites rows.
#[test]
fn a_key_is_what_name_and_values_say() {
    let key = |csv: &str| stream_of(csv).0.key;
    assert_eq!(key("name,order_id\nA,1\nB,2\n"), ["order_id"]);
    assert_eq!(key("id,amount\n1,1.5\n2,2.5\n"), ["id"]);
    assert_eq!(key("product_id,name\n7,a\n8,b\n"), ["product_id"]);
    assert!(key("id,v\n1,1\n1,2\n").is_empty());
    for (csv, candidate) in [
        (
            "date,store,amount\n2025-01-01,Oslo,10\n2025-01-02,Bergen,20\n",
            "# key = [\"store\"]",
        ),
        ("sensor,reading\nA,1\nA,2\n", "# key = [\"reading\"]"),
        (
            "customer_id,date,amount\n1,2025-01-01,5.5\n2,2025-01-02,6.5\n",
            "# key = [\"customer_id\"]",
        ),
        ("name,age\nAda,36\nBen,41\n", "# key = ["),
        ("order,line,text\n1,1,x\n1,2,x\n2,1,x\n", "on_conflict"),
        ("a,b\n1,1\n1,1\n", "on_conflict"),
    ] {
        let (stream, text) = stream_of(csv);
        assert_eq!(
            (stream.key.len(), stream.on_conflict),
            (0, OnConflict::Append),
            "{text}"
        );
        assert!(text.contains(candidate), "{text}");
    }
}

/// What ingest reads, it can be inferred from.
#[test]
fn forms_are_found_out() {
    let csv = |csv: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        std::fs::write(&path, csv).unwrap();
        let text = config_text(&path, "x", "x.csv", &Typed::default()).unwrap();
        let config = Config::parse(&text, Path::new("bekk.toml"), dir.path(), &|_| None);
        let stream = config
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
            .streams
            .remove(0);
        let preview = bekk_ingest::preview(&path, &stream).unwrap();
        assert_eq!(
            (preview.blocked, preview.records, preview.rejects),
            (None, 2, 0),
            "{text}"
        );
        stream
    };
    let body = "id,name,amount\n1,Åse,2.50\n2,Bob,3.75\n";
    let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        csv(&[b"\xff\xfe", &utf16[..]].concat()).csv.encoding,
        Encoding::Utf16
    );
    assert_eq!(csv(&utf16).csv.encoding, Encoding::Utf16Le);
    let latin: Vec<u8> = body
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    assert_eq!(csv(&latin).csv.encoding.name(), "windows-1252");
    assert_eq!(
        csv(body.replace('\n', "\r").as_bytes()).csv.line_end,
        bekk_stream::LineEnd::Cr
    );
    let sep = format!("sep=;\r\n{}", body.replace(',', ";"));
    assert_eq!(csv(sep.as_bytes()).csv.delimiter, b';');
    assert_eq!(
        csv(format!("Sales report\n\n{body}").as_bytes())
            .csv
            .skip_lines,
        2
    );
    assert_eq!(
        csv(format!("# exported\n# today\n{body}").as_bytes())
            .csv
            .comment,
        Some(b'#')
    );
    assert_eq!(
        csv(b"1,Ann,2.50\n2,Bob,3.75\n").csv.header,
        bekk_stream::HeaderRow::Absent
    );
    assert!(csv(b"name,medal\na,   \"GOLD\"\nb, \"SILVER\"\n").csv.trim);
    assert_eq!(
        csv(b"id,name\n1,\"5\\\" pipe\"\n2,\"b\"\n").csv.escape,
        Some(b'\\')
    );
    assert!(csv(b"id,name\n1,a,\n2,b,\n").csv.trailing_delimiter);
    assert_eq!(csv(b",name,v\n0,a,1\n1,b,2\n").columns[0].header, "#1");
    assert_eq!(csv(b"id,name,id\n1,a,3\n2,b,4\n").columns[2].header, "#3");
    assert_eq!(csv(b"id,name,\n1,a,\n2,b,\n").columns.len(), 2);
    assert_eq!(
        csv(b"a,b\n1,\"\"\n2,3\n").columns[1].column_type,
        ColumnType::Int8
    );
    // Years side by side are names.
    assert_eq!(
        csv(b"country,2019,2020\nNO,1,2\nSE,3,4\n").columns[1].header,
        "2019"
    );
}

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

#[test]
fn files_that_say_nothing_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.csv");
    std::fs::write(&path, "").unwrap();
    assert!(
        config_text(&path, "x", "x.csv", &Typed::default())
            .unwrap_err()
            .to_string()
            .contains("is empty")
    );
    assert!(
        config_text(&dir.path().join("nope.csv"), "x", "x", &Typed::default())
            .unwrap_err()
            .to_string()
            .contains("nope.csv")
    );
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

/// Seconds of arc and inches; a field that begins with a quote is in quotes.
#[test]
fn quotes_inside_fields_may_be_no_quotes() {
    let (stream, text) = stream_of("id,place,city\n1,37°36'37.8\"N 121°2'17.9\"W,Modesto\n");
    assert_eq!(stream.csv.quote, None, "{text}");
    let (stream, _) = stream_of("id,place,city\n1,37\"N,\"Mo,desto\"\n");
    assert_eq!(stream.csv.quote, Some(b'"'));
}

#[test]
fn two_columns_are_a_candidate_where_none_alone_is() {
    let (stream, text) = stream_of("order_id,line,sku\n1,1,a\n1,2,a\n2,1,b\n2,2,a\n");
    assert_eq!(stream.on_conflict, OnConflict::Append);
    assert!(text.contains("# key = [\"order_id\", \"line\"]"), "{text}");
}

#[test]
fn more_columns_than_a_table_has_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wide.csv");
    std::fs::write(&path, "1,".repeat(20_000)).unwrap();
    let error = config_text(&path, "wide", "wide.csv", &Typed::default()).unwrap_err();
    assert!(error.to_string().contains("20001 fields"), "{error}");
}

/// A row of PostgreSQL has 8 kB, whatever the number of its columns.
#[test]
fn columns_that_no_row_holds_are_warned_of() {
    let wide = |columns: usize| {
        let names: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
        let values = vec!["12345678901"; columns].join(",");
        stream_of(&format!("{}\n{values}\n{values}\n", names.join(","))).1
    };
    assert!(!wide(1017).contains("of a fixed width"));
    assert!(wide(1018).contains("take 8144 bytes, and a row of PostgreSQL has 8136"));
}

#[test]
fn comments_behind_semicolons_are_found() {
    let comment = |csv: &str| stream_of(csv).0.csv.comment;
    let text = "; made by a device\n;\nid,n\n1,2\n; paused\n2,3\n";
    assert_eq!(comment(text), Some(b';'));
    // Here they separate fields, of which the first may be empty.
    assert_eq!(comment(";a;b\n1;2;3\n2;3;4\n"), None);
    assert_eq!(comment("id,n\n1,2\n; paused\n2,3\n"), None);
}

#[test]
fn single_quotes_are_quotes_where_all_are_in_order() {
    let (stream, text) = stream_of("id,city\n1,'Oslo, Norway'\n2,'It''s'\n3,'Bergen'\n");
    assert_eq!(stream.csv.quote, Some(b'\''), "{text}");
    assert_eq!(stream.csv.delimiter, b',', "{text}");
    assert!(text.contains("single quotes"), "{text}");
    for csv in [
        "id,city\n1,'s-Hertogenbosch\n2,Oslo\n",
        "id,name\n1,O'Brien\n2,Lee\n",
        "id,name\n1,\"a\"\n2,'b'\n3,'c'\n",
        "id,name\n1,a\n2,b\n3,c\n4,'d'\n",
    ] {
        let (stream, text) = stream_of(csv);
        assert_eq!(stream.csv.quote, Some(b'"'), "{text}");
    }
}

#[test]
fn files_of_other_forms_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("._a.csv");
    std::fs::write(&path, b"\x00\x05\x16\x07\x00\x02").unwrap();
    let error = config_text(&path, "a", "a.csv", &Typed::default()).unwrap_err();
    assert!(error.to_string().contains("AppleDouble"), "{error}");
}

#[test]
fn texts_that_are_no_csv_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    for (text, what) in [
        ("<!DOCTYPE html>\n<html>", "a web page"),
        ("<?xml version=\"1.0\"?>\n<a/>", "XML"),
        ("[\n {\"a\": 1}]\n", "JSON"),
        (" id | name\n----+-----\n  1 | a\n(1 row)\n", "screen"),
        ("+----+\n| id |\n+----+\n|  1 |\n", "screen"),
        ("| id | v |\n|----|---|\n| 1 | a |\n", "screen"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = config_text(&path, "a", "a.csv", &Typed::default()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// What a column's type, `strip` and `decimal` are, as text.
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
        (&["$5", "€6"], "text   "),
        (&["555 123 456", "555 123 457"], "text   "),
        (&["192.168.100.200", "192.168.100.201"], "text   "),
        (&["$007", "$008"], "text   "),
    ] {
        assert_eq!(marked(values), expected, "{values:?}");
    }
}

#[test]
fn times_of_day_are_found() {
    check_type(&["08:30", "23:59:59"], "time", false);
    let (stream, _) = stream_of("id;v\n1;8:30 AM\n2;11:59 PM\n");
    assert_eq!(stream.columns[1].format.as_deref(), Some("%I:%M %p"));
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
fn a_header_that_comes_again_is_no_value() {
    let (stream, _) = stream_of("id,v\n1,2\nid,v\n3,4\n");
    assert_eq!(stream.columns[0].column_type, ColumnType::Int8);
    // A later one with more names is not the first header.
    let (stream, _) = stream_of("id,name\n1,a\nid,name,city\n2,b,Rome\n3,c,Oslo\n");
    assert_eq!((stream.csv.skip_lines, stream.columns.len()), (0, 2));
}

#[test]
fn encodings_of_two_bytes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let encoding = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let text = config_text(&path, "a", "a.csv", &Typed::default()).unwrap();
        let config = Config::parse(&text, Path::new("bekk.toml"), dir.path(), &|_| None);
        config.unwrap().streams[0].csv.encoding.name()
    };
    let japanese = b"id,\x96\xbc\x91O\n1,\x93\x8c\x8b\x9e\x93s\n2,\x91\xe5\x8d\xe3\x95{\n";
    assert_eq!(encoding(japanese), "shift_jis");
    let chinese = b"id,\xc3\xfb\xb3\xc6\n1,\xb1\xb1\xbe\xa9\xca\xd0\n2,\xc9\xcf\xba\xa3\xca\xd0\n";
    assert_eq!(encoding(chinese), "gbk");
    assert_eq!(
        encoding(b"id,name\n1,M\xfcller\n2,Ren\xe9e\n3,\xc5se\n4,Bj\xf8rn\n"),
        "windows-1252"
    );
}

#[test]
fn separators_of_several_characters_are_found() {
    for (rows, delimiter, end) in [
        ("id||name\n1||a\n2||b\n", "||", "\n"),
        ("id~|~name\n1~|~a\n2~|~b\n", "~|~", "\n"),
        ("id\u{1}name\n1\u{1}a\n2\u{1}b\n", "\u{1}", "\n"),
        (
            "id\u{1f}name\u{1e}1\u{1f}a\u{1e}2\u{1f}b\u{1e}",
            "\u{1f}",
            "\u{1e}",
        ),
        ("id|name\n1|a\n2|b\n", "|", "\n"),
        ("id||name||v\n1||a|b||2\n2||\"x||y\"||3\n", "||", "\n"),
        ("id,name\u{1e}1,a\nb\u{1e}2,c\u{1e}", ",", "\u{1e}"),
        ("id|x|name\n1||a\n2||b\n", "|", "\n"),
    ] {
        let (stream, text) = stream_of(rows);
        let found = (stream.csv.delimiter.text(), stream.csv.end().text());
        assert_eq!(found, (delimiter.to_owned(), end.to_owned()), "{text}");
        assert_eq!(stream.columns[0].name, "id", "{text}");
    }
}

#[test]
fn a_header_of_more_fields_than_most_records_is_the_header() {
    let (stream, text) =
        stream_of("day,cpi,low,high\n1,2.5,1.5,3.5\n2,2.5,1.5\n3,2.5,1.5\n4,2.5,1.5\n");
    assert_eq!(stream.csv.skip_lines, 0, "{text}");
    assert_eq!(stream.columns.len(), 4, "{text}");
}

fn text_of(bytes: &[u8], typed: &Typed) -> Result<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, bytes).unwrap();
    config_text(&path, "a", "a.csv", typed)
}

/// Two encodings of the same letters, told apart by what they make of a Polish and a Czech text; the guess shows words.
#[test]
fn encodings_are_guessed_by_their_letters() {
    let polish = b"id,city\n1,\xa3\xf3d\xbc\n2,Gda\xf1sk\n3,\xa6wi\xeacice\n";
    let text = text_of(polish, &Typed::default()).unwrap();
    assert!(text.contains("encoding = \"iso-8859-2\""), "{text}");
    assert!(
        text.contains("`Łódź` in line 2, `Gdańsk` in line 3"),
        "{text}"
    );
    let german = b"id,stadt\n1,M\xfcnchen\n2,K\xf6ln\n";
    let text = text_of(german, &Typed::default()).unwrap();
    assert!(text.contains("encoding = \"windows-1252\""), "{text}");
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
    // A region or a firm of that name is a row.
    check("region,n\nTotal,1\nNorth,2\nSouth,2\n", &[], &[]);
    check("firm,n\nA,1\nB,2\nTotal Wine,2\n", &[], &[]);
    check("id,n\nTotal,1\n", &[], &["id"]);
}

/// A first line that may be a header or a record is named as a guess, and is a record if its fields come again.
#[test]
fn a_header_without_evidence_is_a_guess() {
    let (stream, text) = stream_of("name,city\nAnn,Rome\nBob,Oslo\n");
    assert_eq!(stream.csv.header, HeaderRow::InFile);
    assert!(
        text.contains("nothing tells it from the others: `name`, `city`"),
        "{text}"
    );
    let (stream, _) = stream_of("Ann,Rome\nBob,Oslo\nCid,Rome\n");
    assert_eq!(stream.csv.header, HeaderRow::Absent);
    let (_, text) = stream_of("id,city\n1,Rome\n2,Oslo\n");
    assert!(!text.contains("nothing tells"), "{text}");
}

#[test]
fn logs_and_columns_of_fixed_width_are_refused_by_name() {
    let log = b"10.0.0.1 - - [10/Oct/2025:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2326\n";
    let refused = |bytes: &[u8]| text_of(bytes, &Typed::default()).unwrap_err().to_string();
    assert!(refused(log).contains("access log"), "{}", refused(log));
    let typed = Typed {
        delimiter: Some(Separator::from(b' ')),
        header: Some(false),
        ..Typed::default()
    };
    let text = text_of(log, &typed).unwrap();
    assert!(text.contains("header = false"), "{text}");
    let fixed = b"ID    NAME      AMOUNT\n1     Ann       1.00\n22    Bob B.    12.00\n";
    assert!(
        refused(fixed).contains("fixed widths"),
        "{}",
        refused(fixed)
    );
    text_of(b"line\nAnn  Smith\nBob  Jones\nX Y\n", &Typed::default()).unwrap();
}

#[test]
fn what_was_typed_of_the_form_is_taken() {
    let typed = Typed {
        trim: Some(true),
        trailing_delimiter: Some(true),
        line_end: Some(bekk_stream::LineEnd::Cr),
        ..Typed::default()
    };
    let text = text_of(b"id,name,\r1, a,\r2, b,\r", &typed).unwrap();
    for setting in [
        "line_end = \"cr\"",
        "trim = true",
        "trailing_delimiter = true",
    ] {
        assert!(text.contains(setting), "{setting}: {text}");
    }
    let packed = Typed {
        packing: Some(Some(bekk_ingest::Packing::Gzip)),
        ..Typed::default()
    };
    let error = text_of(b"id\n1\n", &packed).unwrap_err().to_string();
    assert!(error.contains("not compressed"), "{error}");
}
