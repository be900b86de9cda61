//! Configurations, right and wrong.

use super::*;
use crate::{ColumnType, Encoding, Finished, OnConflict, parse_duration, parse_size};

const MINIMAL: &str = r#"
[streams.orders]
files = ["orders-*.csv"]
key = ["id"]
columns = [{ name = "id", type = "int8" }, { name = "amount", type = "decimal(18,4)", nullable = true }]
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let environment = |name: &str| (name == "HERE").then(|| "erp".to_owned());
    Config::parse(
        text,
        Path::new("bekk.toml"),
        Path::new("/home/me"),
        &environment,
    )
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    let error = parse(text)
        .expect_err("the configuration is wrong")
        .to_string();
    assert!(error.contains(expected), "`{expected}` is not in `{error}`");
}

fn with(line: &str) -> String {
    MINIMAL.replacen("key = ", &format!("{line}\nkey = "), 1)
}

/// Checks that the stream is wrong with each of these lines in it; after `=>` is what the error says.
#[track_caller]
fn wrong(cases: &str) {
    for case in cases.trim().lines() {
        let (line, expected) = case.trim().split_once(" => ").unwrap();
        fails(&with(line), expected.trim());
    }
}

/// Checks that the stream is wrong with one text in place of another.
#[track_caller]
fn wrong_with(from: &str, to: &str, expected: &str) {
    fails(&MINIMAL.replace(from, to), expected);
}

#[test]
fn other_producers_need_no_files() {
    let without = MINIMAL.replace("files = [\"orders-*.csv\"]", "accept = \"json\"");
    assert_eq!(
        parse(&without).unwrap().streams[0].accept,
        crate::Accept::Json { deletes: false }
    );
    fails(&without.replace("json", "avro"), "not one of: bekk, json");
    fails(
        &without.replace("accept = \"json\"", ""),
        "accept = \"json\" can do without",
    );
    let line = "{ name = \"line\", type = \"int8\", source = \"line\" }, { name = \"id\"";
    fails(
        &without.replace("{ name = \"id\"", line),
        "make the column nullable",
    );
}

/// What is wrong with a value's type, without words of Rust.
#[test]
fn wrong_types_are_named_as_toml_names_them() {
    wrong(
        r#"
        partitions = -1    => expected a whole number of 0 or more
        retention = "7d"   => expected a table, such as { age = "7d" }
        indexes = ["x"]    => expected a list
        newer_by = ["x"]   => invalid type: list, expected a string
        "#,
    );
}

/// What is special in patterns means itself in the name of the directory.
#[test]
fn the_directorys_name_is_no_pattern() {
    let base = Path::new("/my [work]/{a,b}*/c\\d");
    let config = Config::parse(MINIMAL, Path::new("bekk.toml"), base, &|_| None).unwrap();
    assert_eq!(
        config.streams[0].files,
        ["/my [[]work[]]/[{]a,b[}][*]/c[\\]d/orders-*.csv"]
    );
}

#[test]
fn a_badly_written_pattern_is_an_error() {
    for (pattern, why) in [
        ("[a.csv", "unclosed character class"),
        ("a-{b,c.csv", "unclosed alternate group"),
        ("a}.csv", "unopened alternate group"),
        ("[z-a].csv", "invalid range"),
    ] {
        let text = MINIMAL.replace("orders-*.csv", pattern);
        let place = format!("line 3, streams.orders.files: pattern `{pattern}`: {why}");
        fails(&text, &place);
        fails(&text, "write it in brackets: [[] or [{]");
        let exclude = format!("exclude = [\"{pattern}\"]");
        fails(&with(&exclude), "line 4, streams.orders.exclude");
    }
    parse(&MINIMAL.replace("orders-*", "[[]{a,[}]}-[0-9]")).unwrap();
}

/// Also of what is wrong only beside something else.
#[test]
fn each_error_names_its_line() {
    wrong(
        r#"
        finished = "burn"        => line 4, streams.orders.finished
        csv = { quote = "ab" }   => line 4, streams.orders.csv.quote
        partitions = 0           => line 4, streams.orders.partitions
        newer_by = "x"           => line 4, streams.orders.newer_by
        "#,
    );
    wrong_with(
        "decimal(18,4)",
        "decimal(9,99)",
        "line 5, streams.orders, column `amount`",
    );
    fails(
        &format!("{MINIMAL}\n[log.kafka]\n\"sasl.password\" = \"${{NONE}}\"\n"),
        "line 8, log.kafka.sasl.password",
    );
    let dotted = MINIMAL.replace("streams.orders", "streams.\"a.b\"");
    fails(
        &format!("{dotted}\n[streams.a]\ncolumns = []\nfiles = []"),
        "line 7, streams.a",
    );
    fails(
        &dotted.replace("[\"id\"]", "[\"no\"]"),
        "line 4, streams.a.b.key",
    );
    fails("", "`bekk.toml`, streams: there is no stream");
}

#[test]
fn deletions_need_a_row_and_an_order() {
    let json = MINIMAL.replace(
        "files = [\"orders-*.csv\"]",
        "accept = \"json\"\ndeletes = true",
    );
    assert!(parse(&json).unwrap().streams[0].accept.deletes());
    let with = |line: &str| json.replacen("key = ", &format!("{line}\nkey = "), 1);
    fails(
        &json.replace("\"json\"", "\"bekk\""),
        "streams.orders.deletes",
    );
    fails(
        &with("on_conflict = \"ignore\""),
        "the first record of a key stays",
    );
    fails(&with("on_conflict = \"append\""), "rows have no key");
    fails(&json.replace("key = [\"id\"]", ""), "rows have no key");
    fails(&with("newer_by = \"amount\""), "would bring the row back");
}

#[test]
fn the_sample_is_right() {
    let config = Config::sample(Path::new("/srv"), &|_| None).unwrap();
    assert_eq!(config.log, LogLocation::Directory("/srv/.bekk/log".into()));
    let events = &config.streams[0];
    assert_eq!(
        (
            events.name.as_str(),
            events.partitions,
            events.columns.len()
        ),
        ("events", 4, 9)
    );
    assert_eq!(events.files, ["/srv/data/*.csv"]);
    assert_eq!(events.retention.size, Some(10_000_000_000));
    assert_eq!(events.key_indexes(), [0]);
}

#[test]
fn defaults_are_sensible() {
    let config = parse(MINIMAL).unwrap();
    let orders = &config.streams[0];
    assert_eq!(config.durability, Durability::Sync);
    assert_eq!(
        (orders.table.to_string().as_str(), orders.on_conflict),
        ("orders", OnConflict::Update)
    );
    assert_eq!(
        (orders.finished.clone(), orders.csv.record_max),
        (Finished::Keep, 900_000)
    );
    assert_eq!(orders.retention.age, Some(Duration::from_secs(604_800)));
}

#[test]
fn every_option_of_another_stream_is_read() {
    let text = r#"
        [streams.orders]
        files = ["${HERE}/orders-*.csv.gz", "/abs/*.csv"]
        finished = "move:done"
        table = "sales.orders"
        key = ["order_no", "line_no"]
        newer_by = "changed_at"
        csv = { delimiter = ";", quote = '"', encoding = "latin1", skip_lines = 2, decimal = ",", null = ["", "NULL", "-"], nul = "reject", unknown = "ignore", record_max = "900kB" }
        columns = [
          { name = "order_no", type = "int8", header = "Ordre-nr" },
          { name = "line_no", type = "int4" },
          { name = "paid", type = "bool", header = "Betalt", true = ["J"], false = ["N"] },
          { name = "changed_at", type = "timestamptz", header = "Endret", format = "%d.%m.%Y %H:%M:%S", zone = "Europe/Oslo" },
        ]
    "#;
    let orders = parse(text).unwrap().streams.remove(0);
    assert_eq!(orders.files, ["/home/me/erp/orders-*.csv.gz", "/abs/*.csv"]);
    assert_eq!(orders.finished, Finished::Move("/home/me/done".into()));
    assert_eq!(orders.table.schema.as_deref(), Some("sales"));
    assert_eq!(
        (
            orders.csv.delimiter.byte(),
            orders.csv.decimal,
            orders.csv.skip_lines
        ),
        (Some(b';'), b',', 2)
    );
    assert_eq!(orders.columns[0].header, "Ordre-nr");
    assert_eq!(orders.columns[3].column_type, ColumnType::Timestamptz);
}

#[test]
fn streams_keep_the_files_order() {
    let text = MINIMAL.to_owned() + &MINIMAL.replace("orders", "archive");
    let names: Vec<_> = parse(&text)
        .unwrap()
        .streams
        .into_iter()
        .map(|stream| stream.name)
        .collect();
    assert_eq!(names, ["orders", "archive"]);
}

#[test]
fn unknown_keys_are_named_with_line_and_suggestion() {
    wrong(
        r#"
        partitons = 2               => line 4: unknown key `partitons`; did you mean `partitions`?
        csv = { delimeter = ";" }   => did you mean `delimiter`?
        zebra = 1                   => known here: accept, deletes, files
        "#,
    );
    wrong_with("nullable", "nulable", "did you mean `nullable`?");
    fails(
        &format!("[stream.x]\n{MINIMAL}"),
        "line 1: unknown key `stream`; did you mean `streams`?",
    );
}

#[test]
fn values_that_make_no_sense_are_errors() {
    fails(
        "",
        "there is no stream; `bekk init --from FILE.csv --out -`",
    );
    wrong(
        r#"
        partitions = "4"                                    => line 4
        partitions = 0                                      => outside 1 to 1024
        on_conflict = "replace"                             => update, ignore, append
        newer_by = "changed"                                => there is no column `changed`
        indexes = [["nope"]]                                => there is no column `nope`
        retention = { age = "7 weeks" }                     => not a duration
        csv = { delimiter = "too long a one" }              => not one to 8 bytes
        csv = { delimiter = "¦¦", encoding = "latin1" }     => in UTF-8 and UTF-16 only
        csv = { delimiter = "|\"|" }                        => must differ
        csv = { delimiter = "|", record_end = "|" }         => overlaps with
        csv = { line_end = "cr", record_end = "|" }         => exclude each other
        csv = { delimiter = '"' }                           => must differ
        "#,
    );
    wrong_with("orders-*", "${NOWHERE}/x", "${NOWHERE} is not set");
    wrong_with("[\"id\"]", "[\"idd\"]", "there is no column `idd`");
    wrong_with("[\"id\"]", "[\"amount\"]", "is nullable");
    wrong_with("int8", "int9", "`int9` is not a column type");
    wrong_with("int8", "float8", "no exact equality");
    wrong_with("decimal(18,4)", "decimal(4,18)", "not a column type");
    wrong_with("\"amount\"", "\"id\"", "two columns have this name");
    wrong_with(
        "\"amount\"",
        "\"xmin\"",
        "every table of PostgreSQL has a column of that name",
    );
    fails(
        &(MINIMAL.to_owned() + "[log]\ndir = \"a\"\nurl = \"kafka://b\"\n"),
        "exclude each other",
    );
    fails(
        &(MINIMAL.to_owned() + "[log]\ndurability = \"never\"\n"),
        "sync, os, an interval",
    );
}

#[test]
fn a_kafka_url_has_hosts_and_ports() {
    for hosts in [
        "b",
        "b:9092",
        "b1:1,b2:65535",
        "[::1]:9092",
        "[::1]",
        "127.0.0.1:9092",
    ] {
        assert_eq!(kafka_hosts(&format!("kafka://{hosts}")), Some(Ok(hosts)));
    }
    for url in [
        "kafka://",
        "kafka://:9092",
        "kafka://b:0",
        "kafka://b:99999",
        "kafka://b:",
        "kafka://b:9092,",
        "kafka:/b:9092",
        "kafka:b",
    ] {
        assert!(matches!(kafka_hosts(url), Some(Err(_))), "{url}");
    }
    assert_eq!(kafka_hosts("data/kafka"), None);
}

#[test]
fn without_a_key_every_record_is_kept() {
    let config = parse(&MINIMAL.replace("key = [\"id\"]", "")).unwrap();
    assert_eq!(config.streams[0].on_conflict, OnConflict::Append);
    fails(
        &with("on_conflict = \"update\"").replace("key = [\"id\"]", ""),
        "name the columns that identify a row",
    );
}

#[test]
fn units() {
    assert_eq!(parse_duration("15"), Ok(Duration::from_secs(15)));
    assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
    assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
    assert!(
        parse_duration("soon").is_err()
            && parse_duration("").is_err()
            && parse_duration("5 parsecs").is_err()
    );
    assert_eq!(parse_size("10GB"), Ok(10_000_000_000));
    assert_eq!(parse_size("64 KiB"), Ok(65_536));
    assert!(parse_size("-1").is_err() && parse_size("1XB").is_err());
}

#[test]
fn how_files_are_followed_can_be_said() {
    let config = parse(&format!(
        "[ingest]\nnotify = false\nclose_after = \"5m\"\npartial_after = \"2h\"\nopen_files_max = 10\n{MINIMAL}"
    ))
    .unwrap();
    let expected = IngestOptions {
        notify: Some(false),
        close_after: Some(Duration::from_secs(300)),
        partial_after: Some(Duration::from_secs(7200)),
        open_files_max: Some(10),
    };
    assert_eq!(config.ingest, expected);
    assert_eq!(parse(MINIMAL).unwrap().ingest, IngestOptions::default());
    fails(
        &format!("[ingest]\nopen_files_max = 0\n{MINIMAL}"),
        "at least 1",
    );
    fails(
        &format!("[ingest]\nclose_after = \"soon\"\n{MINIMAL}"),
        "ingest.close_after",
    );
    fails(
        &format!("[ingest]\nnotfy = true\n{MINIMAL}"),
        "did you mean `notify`",
    );
}

#[test]
fn one_text_is_a_list_of_one() {
    let with = |files: &str, key: &str, null: &str| {
        parse(&format!(
            "[streams.t]\nfiles = {files}\nkey = {key}\ncolumns = [{{ name = \"id\", type = \"int8\" }}, \
             {{ name = \"v\", type = \"int8\", nullable = true, null = {null} }}]"
        ))
    };
    let lists = with("[\"in/*.csv\"]", "[\"id\"]", "[\"NA\"]").unwrap();
    let texts = with("\"in/*.csv\"", "\"id\"", "\"NA\"").unwrap();
    assert!(lists == texts);
    let error = with("7", "\"id\"", "\"NA\"").err().unwrap().to_string();
    assert!(
        error.contains("line 2") && error.contains("a string or a list of strings"),
        "{error}"
    );
}

#[test]
fn one_text_is_a_list_of_one_in_a_dialect() {
    let csv = |null: &str, footer: &str| {
        let line = format!("csv = {{ null = {null}, footer = {footer} }}");
        parse(&with(&line)).map(|config| config.streams[0].csv.clone())
    };
    assert_eq!(
        csv("\"NA\"", "\"Total\"").unwrap(),
        csv("[\"NA\"]", "[\"Total\"]").unwrap()
    );
    wrong("csv = { null = 7 } => is neither a string nor a list of strings");
}

#[test]
fn encodings_have_names() {
    let encoding = |name: &str| {
        let line = format!("csv = {{ encoding = \"{name}\" }}");
        parse(&with(&line)).map(|config| config.streams[0].csv.encoding)
    };
    for (name, expected) in [
        ("utf8", Encoding::Utf8),
        ("latin1", Encoding::Latin1),
        ("utf16", Encoding::Utf16),
        ("utf16le", Encoding::Utf16Le),
        ("utf-16be", Encoding::Utf16Be),
    ] {
        assert_eq!(encoding(name).unwrap(), expected);
    }
    assert!(encoding("ebcdic").is_err());
}
