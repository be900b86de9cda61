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
# PostgreSQL's servers and clients sync thousands of times. Their files are in memory where there is room for them. What
# reads and follows files, and the log, stays on the disk: its inodes are used again, and its syncs take time.
disk=${TMPDIR:-/tmp}
memory=
available_kb=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null || true)
shm_kb=$(df -Pk /dev/shm 2>/dev/null | awk 'END { print $4 }')
if [ -z "${TMPDIR:-}" ] && [ "${available_kb:-0}" -gt 6000000 ] && [ "${shm_kb:-0}" -gt 6000000 ]; then
    memory=$(TMPDIR=/dev/shm mktemp -d)
    # Servers and programs run as other users, too, and some tests run programs that they write.
    chmod 1777 "$memory"
    printf '#!/bin/sh\n' >"$memory/program"
    chmod +x "$memory/program"
    "$memory/program" 2>/dev/null || { rm -rf "$memory"; memory=; }
fi
[ -n "$memory" ] || echo 'make test: all tests use the disk: /dev/shm has no room, or TMPDIR is set' >&2
trap 'rm -rf "$work" ${memory:+"$memory"}' EXIT
# A process in the background ignores Ctrl-C, so all of them get SIGTERM.
trap 'rm -rf "$work" ${memory:+"$memory"}; trap - TERM; kill 0' INT TERM
# Tests that mostly wait for processes and servers run two for each core at once, the others one.
cores=$(getconf _NPROCESSORS_ONLN)

# One line for each run: the directory of the crate, a tab, the binary, a tab, what is run of it.
cargo test --workspace --locked --no-run --message-format json-render-diagnostics >"$work/messages"
python3 -c '
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
        crate, name = os.path.dirname(message["manifest_path"]), message["target"]["name"]
        parts = [""]
        if (os.path.basename(crate), name) == ("cli", "it"):
            # The tests of files, and all others.
            parts = ["files inbox", "--skip files --skip inbox"]
        for part in parts:
            print(crate, message["executable"], part, sep="\t")
' <"$work/messages" | sort >"$work/all"
[ -s "$work/all" ] || { echo 'make test: cargo names no test binary' >&2; exit 1; }

# Runs test binaries, one after the other, each in its crate's directory.
tab=$(printf '\t')
: >"$work/passed"
run() {
    while IFS= read -r line; do
        crate=${line%%"$tab"*}
        part=${line##*"$tab"}
        binary=${line#*"$tab"}
        binary=${binary%"$tab"*}
        case ${crate##*/}:$part in
            cli:--skip* | sink:* | postgres:*) files=${memory:-$disk} threads=$((cores * 2)) ;;
            *) files=$disk threads=$cores ;;
        esac
        echo "     Running ${crate##*/}: $binary $part"
        # The words of `part` are arguments.
        # shellcheck disable=SC2086
        if (cd "$crate" && TMPDIR=$files RUST_TEST_THREADS=${RUST_TEST_THREADS:-$threads} "$binary" $part) </dev/null; then
            printf '%s\n' "$line" >>"$work/passed"
        fi
    done
}
# What has its files in memory, and beside it what uses the disk: each takes about as long.
in_memory="/(postgres|sink)$tab|${tab}--skip files --skip inbox\$"
grep -E "$in_memory" "$work/all" | run >"$work/output" 2>&1 &
running=$!
grep -vE "$in_memory" "$work/all" | run
wait "$running" || true
cat "$work/output"

# Whatever has not passed has failed, also if it did not run.
sort "$work/passed" | comm -23 "$work/all" - >"$work/failed"
# Without an example, cargo would still compile the documentation of every crate.
if grep -rqE '^[[:space:]]*//[/!] ```' --include '*.rs' ./*/src; then
    cargo test --quiet --workspace --locked --doc || echo 'examples in the documentation of the code' >>"$work/failed"
fi
if [ -s "$work/failed" ]; then
    echo 'make test: tests failed in' >&2
    cat "$work/failed" >&2
    exit 1
fi
