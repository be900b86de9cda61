#!/bin/sh
# Sets up, builds with the profile that users get, and measures.
#
# usage: scripts/bench.sh [all|e2e|parts|served|audit|memory|kills]
#   e2e     bekk up --once beside psql \copy, and latency beside INSERT (about 3 minutes)
#   parts   parse, follow, append, read and encode, each beside its yardstick (about 2 minutes)
#   served  ingest, log and sink as services beside bekk up --once (about 3 minutes)
#   audit   bekk audit --deep after bekk up --once, on 10 million records; needs 8 GB of disk (about 8 minutes); BEKK_ROWS
#           is settable
#   memory  peak resident memory on 5 GB of CSV; needs 20 GB of disk (about 10 minutes)
#   kills   300 kills with -9 (about 6 minutes); BEKK_KILLS and BEKK_SEED are settable
#   all     e2e and parts, the default
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

what=${1:-all}
case $what in all | e2e | parts | served | audit | memory | kills) ;; *)
    sed -n '3,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

sh scripts/setup.sh
echo 'building with --release (the first time takes some minutes) ...' >&2
cargo build --release --quiet --locked --package bekk --package bekk-bench
bench=${CARGO_TARGET_DIR:-target}/release/bekk-bench
bekk=${CARGO_TARGET_DIR:-target}/release/bekk

date -u +'date: %Y-%m-%d'
uname -srm
if [ "$what" = all ] || [ "$what" = e2e ]; then
    "$bench" --bekk "$bekk" copy
    "$bench" --bekk "$bekk" latency
fi
if [ "$what" = all ] || [ "$what" = parts ]; then
    for example in ingest:parse_bench ingest:follow_bench log:log_bench sink:encode_bench; do
        echo "== ${example#*:}"
        cargo run --release --quiet --locked --package "bekk-${example%%:*}" --example "${example#*:}"
    done
fi
if [ "$what" = served ]; then
    "$bench" --bekk "$bekk" served
fi
if [ "$what" = memory ]; then
    "$bench" --bekk "$bekk" memory
fi
if [ "$what" = kills ]; then
    BEKK_KILLS=${BEKK_KILLS:-300} cargo test --release --quiet --locked --package bekk --test it \
        kills:: -- --nocapture
fi
if [ "$what" = audit ]; then
    python3 scripts/bench_audit.py "$bekk" "${BEKK_ROWS:-10000000}"
fi
