#!/bin/sh
# Runs every fuzz target, one after the other: each begins with the inputs of earlier runs, and stops at the first fault.
#
# usage: scripts/fuzz.sh [SECONDS [TARGET ...]]      (60 seconds each; a target is FOLDER/NAME, such as log/requests)
#
# It needs cargo-fuzz (cargo install --locked cargo-fuzz) and a C++ compiler. It uses a nightly compiler if there is one,
# but does not need it. Minimise an input that fails (cargo fuzz tmin) and move it to FOLDER/fuzz/regressions: make test
# replays it from there.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ "$#" = 0 ] || shift
if [ "$#" = 0 ]; then
    set -- stream/config stream/json stream/records ingest/split ingest/dialects log/owner log/batches log/requests \
        cli/http
fi
cargo fuzz --version >/dev/null 2>&1 || {
    echo 'fuzz: cargo-fuzz is missing; to install it: cargo install --locked cargo-fuzz' >&2
    exit 1
}
toolchain=
if cargo +nightly --version >/dev/null 2>&1; then
    toolchain=+nightly
fi

for target in "$@"; do
    folder=${target%/*}/fuzz
    name=${target##*/}
    printf 'fuzz: %s for %s seconds\n' "$target" "$seconds"
    mkdir -p "$folder/corpus/$name" "$folder/regressions"
    # No sanitizer: they find faults of unsafe code, and Bekk has no unsafe code.
    # shellcheck disable=SC2086  # Nothing, or one word.
    cargo $toolchain fuzz run --sanitizer none --fuzz-dir "$folder" "$name" \
        "$PWD/$folder/corpus/$name" "$PWD/$folder/regressions" -- \
        -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 -print_final_stats=1
done
