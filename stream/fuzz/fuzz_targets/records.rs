//! The values of records in the log: payloads, and the records of `bekk.meta`. A client that may write to a log can put
//! any bytes there.

#![no_main]

use bekk_stream::{Body, CsvDialect, Meta, Payload};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(payload) = Payload::decode(bytes) {
        match payload.body {
            Body::Row(values) => {
                // A row says how many values it has; each takes a byte at least.
                let count = values.take(bytes.len() + 1).count();
                assert!(count <= bytes.len());
            }
            Body::Reject(reject) => assert!(reject.raw.len() <= bytes.len()),
        }
    }
    if let Ok(meta) = Meta::decode(bytes) {
        let _ = meta.key();
        let again = Meta::decode(&meta.encode()).expect("what is encoded can be decoded");
        assert_eq!(again, meta);
    }
    if let Some(dialect) = std::str::from_utf8(bytes).ok().and_then(CsvDialect::from_text) {
        let text = dialect.to_text();
        assert_eq!(CsvDialect::from_text(&text), Some(dialect), "{text}");
    }
});
