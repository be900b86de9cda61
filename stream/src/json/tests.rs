//! Objects that are rows, and each way in which they are none.

use super::*;
use crate::{Body, Config, Payload};

fn stream(more: &str, columns: &str) -> Stream {
    let text = format!(
        "[streams.items]\naccept = \"json\"\nkey = [\"id\"]\n{more}\ncolumns = [{{ name = \"id\", type = \"int8\" }}, {columns}]"
    );
    let path = std::path::Path::new("/bekk.toml");
    let config = Config::parse(&text, path, std::path::Path::new("/"), &|_| None).unwrap();
    config.streams.into_iter().next().unwrap()
}

/// A reader of `id` and a column `v` of a type, which settings may follow.
fn one(column: &str) -> JsonReader {
    let (of, settings) = column.split_once(", ").unwrap_or((column, ""));
    let column = format!("{{ name = \"v\", type = \"{of}\", {settings} }}");
    JsonReader::new(&stream("", &column)).unwrap()
}

fn values(row: &JsonRow) -> Vec<Value<'static>> {
    let payload = Payload::decode(&row.payload).unwrap();
    assert_eq!(payload.origin, Origin::ELSEWHERE);
    let Body::Row(values) = payload.body else {
        panic!("a row was encoded")
    };
    values.map(|value| value.unwrap().into_owned()).collect()
}

#[track_caller]
fn row(reader: &JsonReader, value: &[u8]) -> JsonRow {
    match reader.read(None, Some(value)).unwrap() {
        JsonRecord::Row(row) => row,
        other => panic!("{other:?} is no row"),
    }
}

#[track_caller]
fn check(column: &str, json: &str, expected: Value<'_>) {
    let reader = one(column);
    let text = format!(" {{ \"v\" : {json}, \"id\":7,\"more\":[1]}}\n");
    let row = row(&reader, text.as_bytes());
    assert_eq!(row.key.as_deref(), Some(b"7".as_slice()));
    assert_eq!(values(&row), [Value::Int(7), expected], "{column} {json}");
}

/// Checks that column `v` refuses a value.
#[track_caller]
fn refuses(column: &str, json: &str, reason: &str, part: &str) {
    let value = format!("{{\"id\":1,\"v\":{json}}}");
    fails(column, value.as_bytes(), reason, part);
}

#[track_caller]
fn fails(column: &str, value: &[u8], reason: &str, part: &str) {
    let fault = one(column).read(None, Some(value)).unwrap_err();
    assert_eq!(fault.reason, reason, "{fault:?}");
    assert!(fault.detail.contains(part), "{fault:?}");
}

fn numeric(text: &str) -> Value<'_> {
    Value::Numeric(text.into())
}

#[test]
fn numbers_keep_their_digits() {
    let number = "numeric";
    check(
        number,
        "12345678901234567890.12345678901234567890",
        numeric("12345678901234567890.12345678901234567890"),
    );
    check(number, "1.5e-7", numeric("0.00000015"));
    check(number, "-12.50E+1", numeric("-125"));
    check(number, "0e5", numeric("0"));
    check("int8", "9223372036854775807", Value::Int(i64::MAX));
    check("int8", "1.0E3", Value::Int(1000));
    check("float8", "1e300", Value::Float8(1e300));
    check("text", "1e5", Value::Text("1e5".into()));
    let decimal = Value::Decimal(crate::Decimal {
        unscaled: 150,
        scale: 2,
    });
    check("decimal(9,2), decimal = \",\"", "1.5", decimal.clone());
    check("decimal(9,2), decimal = \",\"", "\"1,5\"", decimal);
    refuses(
        "int8",
        "9223372036854775808",
        "out_of_range",
        "9223372036854775808",
    );
    refuses("int4", "1e999999999", "bad_value", "1e999999999");
    refuses("int4", "1.5", "too_many_decimals", "1.5");
}

#[test]
fn strings_are_what_they_say() {
    check("text, nullable = true", r#""""#, Value::Text("".into()));
    check(
        "text",
        r#""bl\u00e5 \"\n\u0001""#,
        Value::Text("blå \"\n\u{1}".into()),
    );
    check("int4, nullable = true", r#""""#, Value::Null);
    check(
        "text, nullable = true, null = [\"N/A\"]",
        r#""N/A""#,
        Value::Null,
    );
    check("bool", "false", Value::Bool(false));
    check("text", "true", Value::Text("true".into()));
    check("date", r#""1970-01-02""#, Value::Date(1));
    check(
        "json",
        r#"{"a": [1, 2.50], "a": null}"#,
        Value::Json(r#"{"a": [1, 2.50], "a": null}"#.into()),
    );
    check("json, nullable = true", "null", Value::Null);
    check("text, value = \"eu\"", "1", Value::Text("eu".into()));
    refuses("text", r#""\u0000""#, "nul", "U+0000");
    refuses("text", r#""\ud800""#, "bad_encoding", "cannot be decoded");
    refuses(
        "text, allowed = [\"a\"]",
        r#""b""#,
        "not_allowed",
        "one of: a",
    );
    refuses("int4, min = \"3\"", "2", "out_of_range", "min");
    refuses("int4", "true", "bad_value", "true or false is no value");
    refuses("text", r#"{"a":1}"#, "bad_value", "an object or an array");
}

#[test]
fn what_is_no_object_says_why() {
    let text = "text";
    fails(text, b"", "not_json", "empty");
    fails(text, b"[1]", "not_json", "not a JSON object");
    fails(text, b"null", "not_json", "not a JSON object");
    fails(text, br#"{"id":1,"v":"a"} x"#, "not_json", "trailing");
    fails(text, br#"{"id":1,"#, "not_json", "EOF");
    fails(
        text,
        b"{\"id\":1,\"v\":\"\x01\"}",
        "not_json",
        "control character",
    );
    fails(
        text,
        b"{\"id\":1,\"v\":\"\xff\"}",
        "bad_encoding",
        "byte 13",
    );
    fails(text, br#"{"id":1}"#, "missing_value", "`v` is missing");
    refuses(text, "null", "missing_value", "`v` is null");
    refuses(text, r#""a","id":2"#, "bad_value", "`id` is there twice");
    fails(
        text,
        br#"{"schema":{},"payload":{"id":1}}"#,
        "not_json",
        "schemas.enable=false",
    );
    let missing = one(text).read(Some(b"1"), None).unwrap_err();
    assert!(missing.detail.contains("deletes = true"), "{missing:?}");
    let strict = stream(
        "csv = { unknown = \"reject\" }",
        "{ name = \"v\", type = \"text\" }",
    );
    let strict = JsonReader::new(&strict).unwrap();
    let value = br#"{"id":1,"v":"a","w":1}"#;
    let fault = strict.read(None, Some(value)).unwrap_err();
    assert!(fault.detail.contains("`w`"), "{fault:?}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_an_object() {
    let found = row(&one("text"), b"\xef\xbb\xbf {\"id\":1,\"v\":\"a\"}");
    assert_eq!(values(&found), [Value::Int(1), Value::Text("a".into())]);
    fails("text", b"\xef\xbb\xbf[1]", "not_json", "not a JSON object");
}

#[test]
fn confluents_prefix_is_recognised() {
    let reader = one("text");
    let row = row(&reader, b"\0\0\0\x01\x02{\"id\":1,\"v\":\"a\"}");
    assert_eq!(values(&row), [Value::Int(1), Value::Text("a".into())]);
    fails(
        "text",
        b"\0\0\0\x01\x02\x0e\x02a",
        "not_json",
        "(schema 258)",
    );
}

/// Reads a deletion of a stream with this key, whose columns are `columns`.
fn deleted(key: &str, columns: &str, bytes: &[u8]) -> Result<JsonKey, JsonFault> {
    let text = format!(
        "[streams.items]\naccept = \"json\"\ndeletes = true\nkey = [{key}]\ncolumns = [{columns}, \
         {{ name = \"v\", type = \"text\" }}]"
    );
    let path = std::path::Path::new("/bekk.toml");
    let config = Config::parse(&text, path, std::path::Path::new("/"), &|_| None).unwrap();
    let reader = JsonReader::new(&config.streams[0]).unwrap();
    match reader.read(Some(bytes), None)? {
        JsonRecord::Deletion(key) => Ok(key),
        other => panic!("{other:?} is no deletion"),
    }
}

#[test]
fn a_deletions_key_is_an_object_or_one_value() {
    let check = |column_type: &str, bytes: &[u8], expected: Value<'static>| {
        let column = format!("{{ name = \"id\", type = \"{column_type}\", header = \"Id\" }}");
        let key = deleted("\"id\"", &column, bytes).unwrap();
        assert_eq!(key.values, [expected], "{}", bytes.escape_ascii());
    };
    let text = |text: &'static str| Value::Text(text.into());
    check("int8", b"17", Value::Int(17));
    check("int8", b"\"17\"", Value::Int(17));
    check("int8", br#"{"Id": 17, "more": 1}"#, Value::Int(17));
    check("int8", b"\0\0\0\0\x07{\"Id\":17}", Value::Int(17));
    check("int8", b"1.7e1", Value::Int(17));
    check("uuid", b"00000000-0000-0000-0000-000000000001", {
        let mut bytes = [0; 16];
        bytes[15] = 1;
        Value::Uuid(bytes)
    });
    check("date", b"1970-01-02", Value::Date(1));
    check("bool", b"true", Value::Bool(true));
    // Texts are taken unchanged, unless they are JSON strings.
    check("text", b"a b ", text("a b "));
    check("text", b"\"a\\n\"", text("a\n"));
    check("text", b"007", text("007"));
    check("text", b"null", text("null"));
    check("text", b"\"", text("\""));
    let two = "{ name = \"b\", type = \"text\" }, { name = \"a\", type = \"int4\" }";
    let key = deleted("\"a\", \"b\"", two, br#"{"b":"x","a":1}"#).unwrap();
    assert_eq!(key.text, b"1\x1fx");
    assert_eq!(key.values, [Value::Int(1), text("x")]);
    let given = "{ name = \"region\", type = \"text\", value = \"eu\" }, { name = \"id\", type = \"int4\" }";
    let key = deleted("\"region\", \"id\"", given, b"5").unwrap();
    assert_eq!(key.text, b"eu\x1f5");
}

#[test]
fn a_key_that_names_no_row_says_why() {
    let check = |key: &str, columns: &str, bytes: &[u8], reason: &str, part: &str| {
        let fault = deleted(key, columns, bytes).unwrap_err();
        assert_eq!(fault.reason, reason, "{fault:?}");
        assert!(fault.detail.contains("the record's key: "), "{fault:?}");
        assert!(fault.detail.contains(part), "{fault:?}");
    };
    let id = "{ name = \"id\", type = \"int8\" }";
    let fails = |bytes, reason, part| check("\"id\"", id, bytes, reason, part);
    fails(b"x", "bad_value", "x");
    fails(b"", "not_json", "empty");
    fails(b"null", "missing_value", "`id` is null");
    fails(b"{}", "missing_value", "`id` is missing");
    fails(br#"{"id":1,"id":2}"#, "bad_value", "twice");
    fails(b"{\"id\":1", "not_json", "not a JSON object");
    fails(b"[1]", "bad_value", "an array");
    // A number in Avro, and one of eight bytes.
    fails(b"\0\0\0\x01\x02\x31", "not_json", "(schema 258)");
    fails(b"\0\0\0\0\0\0\0\x05", "not_json", "binary numbers");
    fails(
        br#"{"schema":{},"payload":{"id":1}}"#,
        "not_json",
        "key.converter.schemas.enable=false",
    );
    let two = "{ name = \"a\", type = \"int4\" }, { name = \"b\", type = \"int4\" }";
    check("\"a\", \"b\"", two, b"1", "not_json", "several columns");
}

/// Where rows are deleted by the record's key, a row under another key would outlive its deletion.
#[test]
fn a_row_under_another_key_is_refused_where_rows_are_deleted() {
    let read = |more: &str, key: Option<&[u8]>| {
        let stream = stream(more, "{ name = \"v\", type = \"text\" }");
        JsonReader::new(&stream)
            .unwrap()
            .read(key, Some(br#"{"id":1,"v":"a"}"#))
    };
    for key in [None, Some(b"1".as_slice()), Some(b"{\"id\":1}")] {
        assert!(matches!(
            read("deletes = true", key),
            Ok(JsonRecord::Row(_))
        ));
    }
    let fault = read("deletes = true", Some(b"2")).unwrap_err();
    assert_eq!(fault.reason, "key_differs");
    assert!(
        fault.detail.contains("`2`") && fault.detail.contains("`1`"),
        "{fault:?}"
    );
    let fault = read("deletes = true", Some(b"x")).unwrap_err();
    assert_eq!(fault.reason, "key_differs");
    assert!(matches!(read("", Some(b"2")), Ok(JsonRecord::Row(_))));
}
