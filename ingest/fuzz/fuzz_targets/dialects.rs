//! A file under any dialect: the first line is the dialect's text, as `bekk.meta` stores it, and the rest is the file.
//! It is read as `bekk check --files` reads it, which is ingest's own way to read.

#![no_main]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bekk_ingest::preview;
use bekk_stream::{Config, CsvDialect, Stream};

const TOML: &str = r#"
[streams.t]
files = ["*.csv"]
key = ["id"]
columns = [
    { name = "id", type = "int8" }, { name = "price", type = "numeric(10,2)", nullable = true },
    { name = "at", type = "timestamptz", nullable = true }, { name = "day", type = "date", nullable = true },
    { name = "ok", type = "bool", nullable = true }, { name = "rate", type = "float8", nullable = true },
    { name = "note", type = "text", nullable = true },
]
"#;

static STREAM: LazyLock<Stream> = LazyLock::new(|| {
    let config = Config::parse(TOML, Path::new("t.toml"), Path::new("/"), &|_| None).expect("a configuration");
    config.streams[0].clone()
});
static PLACE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/bekk-fuzz-{}.csv", std::process::id())));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (first, content) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b""[..], bytes),
    };
    let dialect = std::str::from_utf8(first).ok().and_then(CsvDialect::from_text);
    let mut stream = STREAM.clone();
    stream.csv = dialect.unwrap_or_default();
    // A file may not choose its own limits: those of the configuration are checked when it is read.
    stream.csv.record_max = stream.csv.record_max.min(900_000);
    let mut file = File::create(&*PLACE).expect("a file");
    file.write_all(content).expect("a file");
    drop(file);
    let Ok(preview) = preview(&PLACE, &stream) else {
        return;
    };
    assert!(preview.rejects <= preview.records);
    assert!(preview.records <= content.len() as u64 + 1, "{preview:?}");
});
