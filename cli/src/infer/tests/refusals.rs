//! Files that are refused, and warnings.

use bekk_stream::Separator;

use super::{config_text, stream_of, text_of};
use crate::infer::Typed;

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

/// The path is named once.
#[test]
fn a_file_that_is_cut_off_is_named_once() {
    let error = text_of(b"PK\x03\x04\0\0\0\0", &Typed::default()).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("it is cut off"), "{text}");
    assert_eq!(text.matches("a.csv").count(), 1, "{text}");
}

/// All lines are empty, or no line is as wide as the records.
#[test]
fn files_without_a_line_for_a_header_are_no_panic() {
    for blank in ["\n\n\n", "\r\n \t\r\n", "\r\r"] {
        let error = text_of(blank.as_bytes(), &Typed::default()).unwrap_err();
        assert!(error.to_string().contains("only empty lines"), "{error}");
    }
    for odd in ["1\"x\ny\",3\n", ",a,#\"x\ny\",3\n#,b\"x\ny\",3\n", "\x1e"] {
        let _ = text_of(odd.as_bytes(), &Typed::default());
    }
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
fn files_of_other_forms_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("._a.csv");
    std::fs::write(&path, b"\x00\x05\x16\x07\x00\x02").unwrap();
    let error = config_text(&path, "a", "a.csv", &Typed::default()).unwrap_err();
    assert!(error.to_string().contains("AppleDouble"), "{error}");
    let mut tar = vec![0; 512];
    tar[..5].copy_from_slice(b"a.csv");
    tar[257..262].copy_from_slice(b"ustar");
    let pickle: Vec<u8> = (0..=255).collect();
    for (bytes, what) in [
        (&tar[..], "a tar archive"),
        (&pickle, "a binary file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "a binary file"),
    ] {
        let error = text_of(bytes, &Typed::default()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    // Reserved space, and single control characters, are in texts.
    for bytes in [
        &[b"id,name\n1,a\n".to_vec(), vec![0; 2000]].concat()[..],
        b"id,note\n1,a\0b\n2,this is a longer line of text, so that it is one of many\n",
    ] {
        text_of(bytes, &Typed::default()).unwrap();
    }
}

/// Encodings whose texts would pass for others.
#[test]
fn texts_in_encodings_that_are_not_read_are_named() {
    // id,name and 1,Ann and 2,Bob, with the line ends of a mainframe.
    let ebcdic = b"\x89\x84k\x95\x81\x94\x85\x25\xf1k\xc1\x95\x95\x25\xf2k\xc2\x96\x82\x25";
    for (bytes, what) in [
        (
            &ebcdic[..],
            "a text in EBCDIC, which is not read; convert it: iconv -f IBM1047",
        ),
        (b"id,name\n1,\x1b$BEl5~\x1b(B\n", "a text in ISO-2022-JP"),
    ] {
        let error = text_of(bytes, &Typed::default()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn texts_that_are_no_csv_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    for (text, what) in [
        ("<!DOCTYPE html>\n<html>", "a web page"),
        ("<?xml version=\"1.0\"?>\n<a/>", "XML"),
        ("<table><tr><td>1</td></tr></table>\n", "a web page"),
        ("-- MySQL dump 10.13\nCREATE TABLE a (id int);\n", "SQL"),
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
    let drawn = b"id          name\n----------- ----\n          1 a\n          2 b\n";
    assert!(refused(drawn).contains("fixed widths"));
    text_of(b"line\nAnn  Smith\nBob  Jones\nX Y\n", &Typed::default()).unwrap();
}
