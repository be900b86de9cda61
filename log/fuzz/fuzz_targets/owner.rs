//! The file by which a log's owner is found. Only its user can write it, but a damaged one must do no harm.

#![no_main]
#![allow(dead_code, unreachable_pub)]

use bekk_log::LogId;

#[path = "../../src/owner.rs"]
mod owner;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(owner) = owner::Owner::parse(bytes) {
        assert!(owner::Owner::parse(owner.to_text().as_bytes()) == Some(owner));
    }
});
