#!/bin/sh
# Builds Bekk, and drives the page of a real pipeline in headless Chromium: numbers move, a bad file, PostgreSQL
# stopped, 100,000 dead letters, 10,000 files, three widths, two themes, axe.
#
# usage: scripts/test-page.sh [SCREENSHOTS]      (a directory for pictures of every view)
#
# As root on Debian or Ubuntu it installs what is missing: Chromium, Node, and from npm puppeteer-core and axe-core.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

sh scripts/setup.sh test
missing=
command -v chromium >/dev/null || missing="$missing chromium"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update
        # shellcheck disable=SC2086  # Several packages.
        apt-get install --yes --no-install-recommends fonts-dejavu-core $missing
    elif [ "${CI:-}" = true ]; then
        echo "test-page: not installed:$missing" >&2
        exit 1
    else
        echo "test-page: SKIPPED, nothing was tested; not installed:$missing" >&2
        exit 0
    fi
fi
if command -v promtool >/dev/null; then
    promtool check rules monitoring/alerts.yml
    promtool test rules monitoring/alerts_test.yml
else
    echo 'test-page: promtool is not installed; the alert rules are not checked' >&2
fi
cargo build --locked
[ $# = 0 ] || mkdir -p "$1"
pictures=${1:+$(realpath "$1")}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
npm install --silent --no-audit --no-fund --prefix "$tools" puppeteer-core@24 axe-core@4
bekk=$(realpath "${CARGO_TARGET_DIR:-target}/debug/bekk")
test=$(realpath cli/tests/browser/page.mjs)
cd "$tools"
node "$test" "$bekk" ${pictures:+"$pictures"}
