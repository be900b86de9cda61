//! The records of other producers, read by the rules of a stream that deletes rows: JSON objects and the keys beside them.
//! The first line is the record's key, and the rest its value, which is absent if there is no line end.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use bekk_stream::{Config, JsonReader};

const TOML: &str = r#"
[streams.t]
files = ["*.csv"]
accept = "json"
deletes = true
key = ["id"]
columns = [
    { name = "id", type = "int8" }, { name = "price", type = "numeric(10,2)", nullable = true },
    { name = "at", type = "timestamptz", nullable = true }, { name = "day", type = "date", nullable = true },
    { name = "ok", type = "bool", nullable = true }, { name = "rate", type = "float8", nullable = true },
    { name = "note", type = "text", nullable = true }, { name = "doc", type = "jsonb", nullable = true },
    { name = "raw", type = "bytea", nullable = true }, { name = "tag", type = "uuid", nullable = true },
]
"#;

static READER: LazyLock<JsonReader> = LazyLock::new(|| {
    let config = Config::parse(TOML, Path::new("t.toml"), Path::new("/"), &|_| None).expect("a configuration");
    JsonReader::new(&config.streams[0]).expect("a reader")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (key, value) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let _ = READER.read(Some(key), value);
    let _ = READER.read(None, value);
});
