//! The text of `bekk.toml`, and that no message about it holds the value of a variable.

#![no_main]

use std::path::Path;

use bekk_stream::Config;

const SECRET: &str = "s3cr3t-value";

libfuzzer_sys::fuzz_target!(|text: &str| {
    let variable = |name: &str| (name.len() < 8).then(|| SECRET.to_owned());
    match Config::parse(text, Path::new("bekk.toml"), Path::new("/inbox"), &variable) {
        Ok(config) => {
            for stream in &config.streams {
                let _ = stream.schema().id();
                for key in &stream.key {
                    assert!(stream.columns.iter().any(|column| column.name == *key));
                }
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.contains(SECRET) || text.contains(SECRET), "{said}");
        }
    }
});
