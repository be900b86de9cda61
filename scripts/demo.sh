#!/bin/sh
# Sets up, builds, and runs `bekk up --demo`; arguments are added.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

sh scripts/setup.sh demo
target=${CARGO_TARGET_DIR:-target}
[ -x "$target/release/bekk" ] || echo 'building bekk (the first build takes 5 to 9 minutes on two cores) ...' >&2
features=$(sh scripts/setup.sh features)
# shellcheck disable=SC2086
cargo build --release --locked --package bekk $features
exec "$target/release/bekk" up --demo "$@"
