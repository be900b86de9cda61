#!/bin/sh
# What to run before each commit: everything that needs no server.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

cargo fmt --all --check
cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings
cargo test --quiet --workspace --exclude bekk-postgres --locked --lib --bins
cargo test --quiet --locked -p bekk-ingest --test it layers::
