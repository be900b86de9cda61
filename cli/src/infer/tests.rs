//! From a file to a configuration that takes it.

mod dialects;
mod headers;
mod keys;
mod refusals;
mod types;

use bekk_stream::{Config, Stream};

use super::*;

fn config_text(path: &Path, name: &str, pattern: &str, typed: &Typed) -> Result<String> {
    let wanted = Wanted {
        name,
        patterns: &[pattern.to_owned()],
        others: &[],
        is_piped: false,
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

fn text_of(bytes: &[u8], typed: &Typed) -> Result<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, bytes).unwrap();
    config_text(&path, "a", "a.csv", typed)
}
