//! `cargo +nightly fuzz run split`, in `ingest`: what it finds goes, made small with `cargo fuzz tmin`, into
//! `fuzz/regressions`, from where each test run takes it.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/text/ends.rs"]
mod ends;
#[path = "../../src/text/property.rs"]
mod property;
#[path = "../../src/text/split.rs"]
mod split;

libfuzzer_sys::fuzz_target!(|content: &[u8]| {
    property::check(content);
});
