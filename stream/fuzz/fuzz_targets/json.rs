//! The JSON objects of other producers, read by the rules of a stream.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use bekk_stream::{Config, JsonReader};

const TOML: &str = r#"
[streams.t]
files = ["*.csv"]
accept = "json"
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

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    let _ = READER.read(Some(value));
});
