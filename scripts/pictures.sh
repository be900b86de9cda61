#!/bin/sh
# Makes the pictures of README and guide, docs/images/*.webp, from a pipeline that it runs for a quarter of an hour.
#
# usage: scripts/pictures.sh [MINUTES]     (BEKK: the binary, else it is built; needs chromium, node and npm)
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

if [ -z "${BEKK:-}" ]; then
    cargo build --release --locked --package bekk
    BEKK=${CARGO_TARGET_DIR:-target}/release/bekk
fi
bekk=$(realpath "$BEKK")
script=$(realpath cli/tests/browser/pictures.mjs)
pictures=$(realpath docs/images)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
npm install --silent --no-audit --no-fund --prefix "$tools" puppeteer-core@24
cd "$tools"
node "$script" "$bekk" "$pictures" "${1:-16}"
ls -l "$pictures"
