#!/bin/sh
# Builds bekk and installs it with its man pages, completions and systemd units.
#
# usage: scripts/install.sh     (PREFIX: where to, /usr/local by default; DESTDIR: put before it, for packages)
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

prefix=${DESTDIR:-}${PREFIX:-/usr/local}
sh scripts/setup.sh
echo 'building bekk (the first build takes about 5 minutes on two cores) ...' >&2
cargo build --release --quiet --locked --package bekk
bekk=${CARGO_TARGET_DIR:-target}/release/bekk

install -D -m 755 "$bekk" "$prefix/bin/bekk"
"$bekk" man --out "$prefix/share/man/man1"
for shell in bash:bash-completion/completions/bekk zsh:zsh/site-functions/_bekk fish:fish/vendor_completions.d/bekk.fish; do
    file=$prefix/share/${shell#*:}
    mkdir -p "${file%/*}"
    "$bekk" completions "${shell%%:*}" >"$file"
done
for unit in packaging/systemd/*.service; do
    target=$prefix/lib/systemd/system/${unit##*/}
    mkdir -p "${target%/*}"
    sed "s#/usr/bin/bekk#${PREFIX:-/usr/local}/bin/bekk#" "$unit" >"$target"
done
echo "installed $prefix/bin/bekk, its man pages, completions and systemd units" >&2
