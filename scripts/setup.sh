#!/bin/sh
# Makes this machine ready to build and run bekk: compilers of C and C++, make, PostgreSQL's programs, cargo.
#
# usage: scripts/setup.sh [demo|package|test|features]
#   demo      the default; also OpenSSL's headers and libraries, for TLS to Kafka clusters, if they can be installed
#   package   the same, and OpenSSL is required
#   test      also python3, openssl, ps, rustfmt and clippy; OpenSSL's headers and libraries are not needed
#   features  installs nothing; prints the options of `cargo build` for TLS if OpenSSL is installed
#
# What is missing is installed through apt, as root or by `sudo -n`; the commands are printed first.
# Otherwise they are only printed, and it exits 1. It never asks. Where all is there, it says nothing.
set -eu

purpose=${1:-demo}
rust_minimum=90 # of Rust 1.x
postgres_minimum=13

# The places of root's programs and of rustup's, which a shell may not look at.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin${HOME:+:$HOME/.cargo/bin}
export PATH

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "setup: $*"
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Whether a directory holds a server's programs of a version that bekk takes.
is_postgres() {
    [ -x "$1/postgres" ] && [ -x "$1/initdb" ] && [ -x "$1/psql" ] || return 1
    major=$("$1/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [ "${major:-0}" -ge "$postgres_minimum" ]
}

# The same places as bekk itself looks at.
has_postgres() {
    if has postgres; then
        found=$(readlink -f "$(command -v postgres)" 2>/dev/null || command -v postgres)
        is_postgres "${found%/*}" && return 0
    fi
    if has pg_config && is_postgres "$(pg_config --bindir)"; then
        return 0
    fi
    for directory in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin \
        /usr/libexec/postgresql /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        /opt/homebrew/bin /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin \
        /Applications/Postgres.app/Contents/Versions/latest/bin; do
        is_postgres "$directory" && return 0
    done
    return 1
}

# Whether anyone runs or has configured a cluster through Debian's tools.
has_system_cluster() {
    for cluster in /etc/postgresql/*/*/postgresql.conf; do
        [ -e "$cluster" ] && return 0
    done
    grep -qE '^[[:space:]]*create_main_cluster' /etc/postgresql-common/createcluster.conf 2>/dev/null
}

# Prints commands, one a line; those of apt that install what is missing.
commands() {
    install='env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120'
    echo 'apt-get update -q'
    case " $missing " in *' compilers '*) echo "$install g++ make" ;; esac
    case " $missing " in *' libssl '*) echo "$install libssl-dev pkg-config" ;; esac
    for tool in python3 openssl procps; do
        case " $missing " in *" $tool "*) echo "$install $tool" ;; esac
    done
    case " $missing " in
    *' postgres '*)
        # The server's package makes and starts a cluster on port 5432 unless it is told not to; bekk
        # runs a server of its own. postgresql-common comes first, as it brings the file to tell it in.
        if ! has_system_cluster; then
            echo "$install postgresql-common"
            echo "sh -c 'echo create_main_cluster = false >>/etc/postgresql-common/createcluster.conf'"
        fi
        echo "$install postgresql"
        ;;
    esac
}

# The names under which other systems have what is missing.
say_what_to_install() {
    say "setup: missing:$missing; install it, then try again:"
    case " $missing " in
    *' postgres '*)
        say '  Debian, Ubuntu   apt-get install postgresql'
        say '  Fedora, RHEL     dnf install postgresql-server'
        say '  Arch             pacman -S postgresql'
        say '  Alpine           apk add postgresql'
        say '  macOS            brew install postgresql@17'
        ;;
    esac
    case " $missing " in
    *' libssl '*)
        say '  libssl, the headers and libraries of OpenSSL, and pkg-config:'
        say '  Debian, Ubuntu   apt-get install libssl-dev pkg-config'
        say '  Fedora, RHEL     dnf install openssl-devel pkgconf-pkg-config'
        say '  Arch             pacman -S openssl pkgconf'
        say '  Alpine           apk add openssl-dev pkgconf'
        say '  macOS            brew install openssl@3 pkgconf'
        ;;
    esac
    for tool in python3 openssl procps; do
        case " $missing " in *" $tool "*) say "  $tool, the package of that name" ;; esac
    done
    case " $missing " in
    *' compilers '*)
        say '  compilers of C and C++, and make, which librdkafka is built with:'
        say '  Debian, Ubuntu   apt-get install g++ make'
        say '  Fedora, RHEL     dnf install gcc-c++ make'
        say '  Arch             pacman -S gcc make'
        say '  Alpine           apk add g++ make bash'
        say '  macOS            xcode-select --install'
        ;;
    esac
}

can_be_root() {
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}

install_with_apt() {
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif has sudo && sudo -n true 2>/dev/null; then
        as_root='sudo -n '
    else
        say "setup: missing:$missing, and no right to install it; run as root, then try again:"
        commands | sed 's/^/  /' >&2
        exit 1
    fi
    say "setup: missing:$missing; installing it takes a minute:"
    commands | sed "s/^/  $as_root/" >&2
    log=$(mktemp)
    # One command a line, each by itself, so that what fails is named.
    commands | while IFS= read -r command; do
        eval "$as_root$command" </dev/null >"$log" 2>&1 || {
            tail -n 20 "$log" >&2
            fail "failed: $as_root$command"
        }
    done
    rm -f "$log"
}

install_missing() {
    missing=
    compiles || missing="$missing compilers"
    has_postgres || missing="$missing postgres"
    if ! has_libssl; then
        case $purpose in
        package) missing="$missing libssl" ;;
        demo) has apt-get && can_be_root && missing="$missing libssl" ;;
        esac
    fi
    if [ "$purpose" = test ]; then
        # The reader that docs/format.md shows, certificates for TLS, a look at other processes.
        has python3 || missing="$missing python3"
        has openssl || missing="$missing openssl"
        has ps || missing="$missing procps"
    fi
    [ -n "$missing" ] || return 0
    if has apt-get; then
        install_with_apt
    else
        say_what_to_install
        exit 1
    fi
    has_postgres || fail 'PostgreSQL is installed, but not found where bekk looks'
    compiles || fail 'compilers are installed, but cc or c++ does not make a program'
}

# Whether programs can be built: a compiler alone, without the C library's files, does not. Of C++ there is
# none in bekk; librdkafka's configure script does not go on without a compiler of it.
compiles() {
    has make || return 1
    directory=$(mktemp -d)
    status=0
    for language in c cc; do
        echo 'int main(void) { return 0; }' >"$directory/main.$language"
        compiler=cc
        [ "$language" = c ] || compiler=c++
        "$compiler" -o "$directory/main" "$directory/main.$language" 2>/dev/null || status=1
    done
    rm -rf "$directory"
    return "$status"
}

# Whether OpenSSL's build script will find headers and libraries: through OPENSSL_DIR, Homebrew or pkg-config.
has_libssl() {
    [ -n "${OPENSSL_DIR:-}" ] && return 0
    [ -d /opt/homebrew/opt/openssl@3 ] || [ -d /usr/local/opt/openssl@3 ] && return 0
    has pkg-config && pkg-config --exists openssl
}

check_rust() {
    if ! has cargo || ! has rustc; then
        say 'setup: Rust is missing. Get it from https://rustup.rs:'
        say "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
        exit 1
    fi
    version=$(rustc --version) || fail 'rustc --version failed'
    minor=$(printf '%s' "$version" | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    if [ "${minor:-0}" -lt "$rust_minimum" ]; then
        say "setup: bekk needs Rust 1.$rust_minimum or newer; this is $version"
        if has rustup; then
            say '  rustup update stable'
        else
            say '  a newer one is at https://rustup.rs'
        fi
        exit 1
    fi
}

check_rust_tools() {
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 && continue
        component=$(printf '%s' "$tool" | sed 's/^fmt$/rustfmt/')
        has rustup || fail "\`cargo $tool\` is missing; install your system's package of $component"
        say "setup: rustup component add $component"
        rustup component add "$component" >&2
    done
}

if [ "$purpose" = features ]; then
    if has_libssl; then
        echo '--features bekk/kafka-tls'
    fi
    exit
fi
# First what cannot be installed from here, so that nothing is installed in vain.
check_rust
install_missing
if [ "$purpose" = test ]; then
    check_rust_tools
fi
