#!/bin/sh
# Builds a Debian package: the binary, its man pages, completions and systemd units.
#
# usage: scripts/deb.sh     (PROFILE: cargo's profile, release by default; needs cargo-deb: cargo install cargo-deb)
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

command -v cargo-deb >/dev/null || {
    echo 'deb: cargo-deb is missing; install it: cargo install cargo-deb' >&2
    exit 1
}
sh scripts/setup.sh package
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-target}
cargo build --locked --package bekk --features bekk/kafka-tls --profile "$profile"
bekk=$target/$profile/bekk

# What the package's list of files (cli/Cargo.toml) takes from here.
files=packaging/debian/files
rm -rf "$files"
mkdir -p "$files"
"$bekk" man --out "$files/man"
for shell in bash zsh fish; do
    "$bekk" completions "$shell" >"$files/bekk.$shell"
done
cargo deb --no-build --strip --locked --package bekk --profile "$profile"
rm -rf "$files"
