#!/bin/sh
# Builds bekk and installs it with its man pages, completions and systemd units.
#
# usage: scripts/install.sh     (PREFIX: where to; by default /usr/local if it is writable, else ~/.local.
#                               DESTDIR: put before PREFIX, for packages; the default is then always /usr/local)
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

# A user who may not write to /usr/local gets its own directory; an unusable PREFIX is reported before the build.
default=/usr/local
[ -n "${DESTDIR:-}" ] || [ -w "$default" ] || default=${HOME:-}/.local
place=${PREFIX:-$default}
prefix=${DESTDIR:-}$place
mkdir -p "$prefix/bin" 2>/dev/null && [ -w "$prefix/bin" ] || {
    echo "install: $prefix is not writable; PREFIX names another directory, such as: PREFIX=\$HOME/.local make install" >&2
    exit 1
}
sh scripts/setup.sh
features=$(sh scripts/setup.sh features)
[ -n "$features" ] ||
    echo 'OpenSSL is missing (libssl-dev and pkg-config): bekk will have neither TLS nor SASL/SCRAM to Kafka clusters' >&2
echo 'building bekk (the first build takes 5 to 9 minutes on two cores) ...' >&2
# shellcheck disable=SC2086
cargo build --release --locked --package bekk $features
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
    sed "s#/usr/bin/bekk#$place/bin/bekk#" "$unit" >"$target"
done
echo "installed $prefix/bin/bekk, its man pages, completions and systemd units" >&2
[ -z "${DESTDIR:-}" ] || exit 0
case ":$PATH:" in
*":$place/bin:"*) ;;
*) echo "$place/bin is not in your PATH; type: export PATH=\"$place/bin:\$PATH\"" >&2 ;;
esac
