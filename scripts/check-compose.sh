#!/bin/sh
# Checks docker-compose.yml as Compose does before it starts anything: its schema, references and variables. It runs
# Compose if that is installed, else the library on which Compose is built, with Go. It needs no engine.
#
# usage: scripts/check-compose.sh
set -eu
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then
    docker compose --profile '*' config --quiet
elif command -v docker-compose >/dev/null 2>&1; then
    docker-compose config --quiet
elif command -v go >/dev/null 2>&1; then
    go run github.com/compose-spec/compose-go/v2/cmd@v2.9.0 docker-compose.yml >/dev/null
else
    echo 'check-compose: neither Compose nor Go is installed' >&2
    exit 1
fi
echo 'check-compose: docker-compose.yml is valid'
