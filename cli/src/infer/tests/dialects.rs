//! How files are written.

use std::path::Path;

use bekk_stream::{ColumnType, Config, Encoding, HeaderRow, LineEnd, Stream};
use bekk_testing::assert_says;

use super::{config_text, stream_of, text_of};
use crate::infer::Typed;

/// The stream that is inferred from a file, all of whose records, two, are rows under it.
fn csv(csv: &[u8]) -> Stream {
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
}

/// Each form that ingest reads can be inferred.
#[test]
fn forms_are_found_out() {
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
        LineEnd::Cr
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
        HeaderRow::Absent
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

/// What databases, mainframes and programs of science export.
#[test]
fn exports_are_found_out() {
    // What MySQL and PostgreSQL dump.
    let dumped = csv(b"1\tAnn \"x\"\t\\N\n2\ta\\\tb\\\nc\t\\\\\n\\.\n");
    assert_eq!((dumped.csv.escape, dumped.csv.quote), (Some(b'\\'), None));
    assert_eq!(dumped.columns[2].null, Some(vec!["\\N".to_owned()]));
    assert_eq!(dumped.csv.footer, ["\\."]);
    // A backslash that means itself.
    assert_eq!(csv(b"id\tpath\n1\t\\N\n2\tC:\\Users\n").csv.escape, None);
    // Blanks around fields, and a line of dashes.
    for padded in [
        "id, name, day\n1, Ann, 2025-01-01\n2, Bob, 2025-01-02\n",
        "NO|AMT\n 1|     12.50-\n 2|  1,100.00\n",
        "        id,name      \n----------,----------\n         1,Ann       \n         2,Bob       \n",
        "id,name\n--,---\n 1,Ann\n 2,Bob\n",
    ] {
        let stream = csv(padded.as_bytes());
        assert!(stream.csv.trim, "{padded}");
        assert_eq!(stream.columns[0].column_type, ColumnType::Int8, "{padded}");
    }
    assert!(!csv(b"id,name\n1,Ann  \n2, Bob\n").csv.trim);
    assert!(!csv(b"id,n\n1,\"12  \"\n2,13  \n").csv.trim);
    assert_eq!(csv(b"t status Rx\n35 a 1.5\n34 b 2\n").csv.delimiter, b' ');
    assert_eq!(csv(b"1\x01a\n2\x01b\n").csv.delimiter, 1);
    let commented = csv(b"##made by x\n#CHROM\tPOS\tid\n1\t100\trs1\n1\t200\trs2\n");
    let names = ["CHROM", "POS", "id"].map(str::to_owned).to_vec();
    assert_eq!(commented.csv.header, HeaderRow::Named(names));
}

/// Redshift's UNLOAD writes a backslash before a delimiter inside a field.
#[test]
fn escapes_before_delimiters_are_found() {
    let (stream, text) =
        stream_of("1|foo\\|bar|2024-01-31\n2|b\\\\az|2024-02-01\n3|c|2024-02-02\n");
    assert_eq!(stream.csv.escape, Some(b'\\'), "{text}");
    assert_eq!(
        (stream.csv.skip_lines, stream.columns.len()),
        (0, 3),
        "{text}"
    );
    // Here they mean themselves.
    let (stream, _) = stream_of("id,path\n1,C:\\dir\\\n2,D:\\\n");
    assert_eq!(stream.csv.escape, None);
}

/// Seconds of arc and inches; a field that begins with a quote is in quotes.
#[test]
fn quotes_inside_fields_may_be_no_quotes() {
    let (stream, text) = stream_of("id,place,city\n1,37°36'37.8\"N 121°2'17.9\"W,Modesto\n");
    assert_eq!(stream.csv.quote, None, "{text}");
    let (stream, _) = stream_of("id,place,city\n1,37\"N,\"Mo,desto\"\n");
    assert_eq!(stream.csv.quote, Some(b'"'));
}

/// One line of another encoding in a text of UTF-8, as where logs are joined, makes no other text of the rest.
#[test]
fn a_few_odd_bytes_make_no_other_encoding() {
    let odd = b"id,name\n1,\xc3\x85se\n2,M\xfcller\n3,J\xc3\xbcrgen\n";
    let (encoding, text) = encoding_of(odd);
    assert_eq!(encoding, Encoding::Utf8, "{text}");
    assert!(text.contains("a few bytes are not UTF-8"), "{text}");
    let latin = b"id,name\n1,\xc5se\n2,M\xfcller\n";
    assert_eq!(encoding_of(latin).0.name(), "windows-1252");
    // The odd byte comes after the part from which the encoding is guessed.
    let mut late = "id,name\n1,Åse\n".to_owned();
    for id in 2..200_000 {
        late += &format!("{id},x\n");
    }
    let late = [late.as_bytes(), b"0,M\xfcller\n"].concat();
    assert_eq!(encoding_of(&late).0, Encoding::Utf8);
}

fn encoding_of(csv: &[u8]) -> (Encoding, String) {
    let text = text_of(csv, &Typed::default()).unwrap();
    let config = Config::parse(&text, Path::new("bekk.toml"), Path::new("/"), &|_| None);
    (config.unwrap().streams[0].csv.encoding, text)
}

/// A program that writes `\r\n` into a file of text on Windows, and DOS's mark at the end of a file.
#[test]
fn ends_of_lines_and_files_that_are_made_twice_are_found() {
    let twice = csv(b"id,name\r\r\n1,Ann\r\r\n2,Bob\r\r\n");
    assert_eq!(twice.columns[1].header, "name");
    assert_eq!(twice.csv.record_end.unwrap().text(), "\r\r\n");
    let once = csv(b"id,name\r\n1,Ann\r\r\n2,Bob\r\n");
    assert_eq!(once.csv.record_end, None);
    let dos = csv(b"id,name\r\n1,Ann\r\n2,Bob\r\n\x1a");
    assert_eq!(dos.csv.footer, ["\u{1a}"]);
}

/// A short text with zeros after it, in a file of reserved size or after a power loss, is not UTF-16.
#[test]
fn zeros_after_a_text_make_no_other_encoding() {
    let reserved = [&b"id,name\n1,Ann\n2,Bob\n"[..], &[0; 4096]].concat();
    assert_eq!(encoding_of(&reserved).0, Encoding::Utf8);
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

/// Two encodings of the same letters, of which each fits only one of a Polish and a Czech text; the guess shows words.
#[test]
fn encodings_are_guessed_by_their_letters() {
    let polish = b"id,city\n1,\xa3\xf3d\xbc\n2,Gda\xf1sk\n3,\xa6wi\xeacice\n";
    let text = text_of(polish, &Typed::default()).unwrap();
    assert_says(
        &text,
        &[
            "encoding = \"iso-8859-2\"",
            "`Łódź` in line 2, `Gdańsk` in line 3",
        ],
    );
    let german = b"id,stadt\n1,M\xfcnchen\n2,K\xf6ln\n";
    let text = text_of(german, &Typed::default()).unwrap();
    assert!(text.contains("encoding = \"windows-1252\""), "{text}");
}

#[test]
fn what_was_typed_of_the_form_is_taken() {
    let typed = Typed {
        trim: Some(true),
        trailing_delimiter: Some(true),
        line_end: Some(LineEnd::Cr),
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
