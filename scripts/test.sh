#!/bin/sh
# Sets up and checks everything that CI checks; the tests come last, and with them their result.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

sh scripts/setup.sh test
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- --deny warnings

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A process in the background ignores Ctrl-C, so all of them get SIGTERM.
trap 'rm -rf "$work"; trap - TERM; kill 0' INT TERM

# One line for each test binary: the directory of its crate, a tab, the binary.
cargo test --workspace --locked --no-run --message-format json-render-diagnostics >"$work/messages"
python3 -c '
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
        print(os.path.dirname(message["manifest_path"]), message["executable"], sep="\t")
' <"$work/messages" >"$work/binaries"
sort "$work/binaries" >"$work/all"
[ -s "$work/all" ] || { echo 'make test: cargo names no test binary' >&2; exit 1; }

# Runs test binaries, one after the other, each in its crate's directory.
tab=$(printf '\t')
: >"$work/passed"
run() {
    while IFS=$tab read -r crate binary; do
        echo "     Running ${crate##*/}: $binary"
        if (cd "$crate" && "$binary") </dev/null; then
            printf '%s\t%s\n' "$crate" "$binary" >>"$work/passed"
        fi
    done
}
# The tests of the command line mostly wait for its processes, so those of the other crates run beside them.
cli="/cli$tab.*/it-[0-9a-f]*\$"
grep "$cli" "$work/all" | run >"$work/output" 2>&1 &
beside=$!
grep -v "$cli" "$work/all" | run
wait "$beside" || true
cat "$work/output"

# Whatever has not passed has failed, also if it did not run.
sort "$work/passed" | comm -23 "$work/all" - >"$work/failed"
cargo test --quiet --workspace --locked --doc || echo 'examples in the documentation of the code' >>"$work/failed"
if [ -s "$work/failed" ]; then
    echo 'make test: tests failed in' >&2
    cat "$work/failed" >&2
    exit 1
fi
