#!/bin/sh
# Runs ingest and sinks on Apache Kafka itself: brokers of this machine, killed and started again. Takes some minutes.
# What is missing is installed: Java and Maven through apt, as root or by `sudo -n`; Kafka from Maven Central, into
# target/. Arguments are the names of scenarios (see cli/tests/kafka/kafka.py); without any, all. PROFILE names cargo's
# profile, dev by default; `PROFILE=release scripts/test-kafka.sh speed` measures.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

sh scripts/setup.sh package

missing=
command -v java >/dev/null 2>&1 || missing="$missing default-jre-headless"
command -v mvn >/dev/null 2>&1 || missing="$missing maven"
if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root='sudo -n'
    echo "test-kafka: installing$missing" >&2
    $as_root apt-get update -q >/dev/null
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
fi

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
jars=$target/kafka-jars
if [ ! -e "$jars/complete" ]; then
    mvn --quiet --batch-mode --file cli/tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$jars"
    touch "$jars/complete"
fi

profile=${PROFILE:-dev}
# The features of `make install` and `make deb`
cargo build --package bekk --features bekk/kafka-tls --locked --profile "$profile"
case $profile in dev) built=debug ;; *) built=$profile ;; esac
python3 -u cli/tests/kafka/kafka.py "$target/$built/bekk" "$jars" "$@"
