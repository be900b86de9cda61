#!/bin/sh
# Sets up and checks everything that CI checks; the tests come last, and with them their result.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

sh scripts/setup.sh test
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- --deny warnings
cargo test --workspace --locked --no-run

# The tests of the command line mostly wait for its processes, so those of the other crates run beside them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What runs in the background ignores Ctrl-C.
trap 'trap - TERM; kill 0' INT TERM
cargo test --workspace --locked --no-run --message-format json 2>/dev/null |
    sed -n 's|.*"manifest_path":"\([^"]*\)/Cargo.toml".*"overflow_checks":[a-z]*,"test":true},.*"executable":"\([^"]*\)".*|\1 \2|p' >"$work/all"
[ -s "$work/all" ] || { echo "make test: cargo names no test binary" >&2; exit 1; }

# Runs test binaries, one after the other, each in its crate's directory.
run() {
    while read -r crate binary; do
        echo "     Running ${crate##*/}: $binary"
        (cd "$crate" && "$binary") </dev/null || echo "${crate##*/}: $binary" >>"$work/failed"
    done
}
grep '/cli .*/it-[0-9a-f]*$' "$work/all" | run >"$work/cli" 2>&1 &
cli=$!
grep -v '/cli .*/it-[0-9a-f]*$' "$work/all" | run
wait "$cli"
cat "$work/cli"
cargo test --quiet --workspace --locked --doc
if [ -s "$work/failed" ]; then
    echo "make test: tests failed in" >&2
    cat "$work/failed" >&2
    exit 1
fi
