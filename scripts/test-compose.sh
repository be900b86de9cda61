#!/bin/sh
# Builds the image and runs docker-compose.yml in a running Docker engine: rows arrive, every container is
# killed while they flow, sinks are scaled, everything is taken down and up again; then the table holds each
# event of the files once.
#
# usage: scripts/test-compose.sh      (with Compose v2 where it is there, else v1; COMPOSE names another)
#
# It works in a directory, a project and volumes of its own, and removes them. As root it kills processes, as
# an accident does, and tries ./data with two owners; else it kills containers and starts them again.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${COMPOSE:-}" ]; then
    COMPOSE='docker compose'
    docker compose version >/dev/null 2>&1 || COMPOSE=docker-compose
fi
command -v docker >/dev/null && docker version >/dev/null || {
    echo 'test-compose: no Docker engine answers' >&2
    exit 1
}
docker build --tag bekk .

project=bekk-test-$$
place=$(mktemp -d)
cp docker-compose.yml bekk.toml "$place"
mkdir "$place/data"
cd "$place"
export POSTGRES_PORT=0 BEKK_HTTP_PORT=0 SLEEP_INTERVAL=500ms MIN_EVENTS=200 MAX_EVENTS=400

compose() {
    # shellcheck disable=SC2086  # Two words, or one.
    $COMPOSE --project-name "$project" --project-directory "$place" --profile demo "$@"
}

clean_up() {
    status=$?
    trap - EXIT
    if [ "$status" != 0 ]; then
        compose ps || true
        compose logs --tail 30 || true
    fi
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$place"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() {
    printf 'test-compose: %s\n' "$*"
}

fail() {
    say "FAILED: $*"
    exit 1
}

sql() {
    compose exec -T postgres psql --username bekk --dbname ecommerce_db --no-align \
        --tuples-only --command "$1" </dev/null 2>/dev/null || echo 0
}

rows() {
    sql 'SELECT count(*) FROM events'
}

# Events in the files, each counted once.
events() {
    cat data/*.csv | grep -v '^event_id' | cut -d, -f1 | sort -u | wc -l
}

# Waits until a command succeeds.
await() {
    what=$1
    shift
    tries=240
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "waited two minutes in vain: $what"
        sleep 0.5
    done
}

has_more_rows_than() {
    [ "$(rows)" -gt "$1" ]
}

rows_flow() {
    await "rows arrive $1" has_more_rows_than "$(rows)"
}

all_is_applied() {
    [ "$(rows)" = "$(events)" ]
}

# The generator ends, and what it wrote is in the table, each event once and no record refused.
check_exact() {
    compose stop generator >/dev/null 2>&1
    await "all events are rows $1" all_is_applied
    [ "$(sql 'SELECT count(*) FROM bekk.dead_letters')" = 0 ] || fail "dead letters $1"
    applied=$(sql 'SELECT sum(rows + superseded) FROM bekk.offsets')
    [ "$applied" = "$(rows)" ] || fail "$applied records were applied $1, of $(rows) events"
    say "exact $1: $(rows) rows"
}

is_running() {
    [ "$(docker inspect --format '{{.State.Running}} {{.State.Pid}}' "$1" | grep -c "^true")" = 1 ] &&
        [ "$(docker inspect --format '{{.State.Pid}}' "$1")" != "$2" ]
}

# Kills the first container of a service; as root its process, so that the engine must start it again.
kill_one() {
    container=$(compose ps -q "$1" | head -n 1)
    pid=$(docker inspect --format '{{.State.Pid}}' "$container")
    if [ "$(id -u)" = 0 ] && kill -0 "$pid" 2>/dev/null; then
        kill -9 "$pid"
    else
        docker kill "$container" >/dev/null
        docker start "$container" >/dev/null
    fi
    await "$1 is started again" is_running "$container" "$pid"
}

is_healthy() {
    for id in $(compose ps -q postgres log ingest sink); do
        [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ] || return 1
    done
}

sinks_share() {
    [ "$(sql "SELECT count(DISTINCT owner) FROM bekk.offsets WHERE lease_until > now()")" = "$1" ]
}

[ "$(id -u)" != 0 ] || chown 1000:1000 data
compose up --detach
rows_flow 'at first'
await 'all services are healthy' is_healthy
say "healthy; the image has $(docker inspect --format '{{.Size}}' bekk) bytes"
for service in sink ingest log postgres generator; do
    kill_one "$service"
    rows_flow "after $service was killed"
done
for service in postgres log ingest sink; do
    kill_one "$service"
done
rows_flow 'after all were killed'
check_exact 'after the kills'

compose up --detach --scale sink=3 >/dev/null 2>&1
await 'three sinks share the partitions' sinks_share 3
rows_flow 'with three sinks'
kill_one sink
rows_flow 'after one of three sinks was killed'
compose up --detach --scale sink=1 >/dev/null 2>&1
await 'one sink has all partitions' sinks_share 1
check_exact 'after scaling'

compose down --timeout 30
[ "$(id -u)" != 0 ] || chown 0:0 data
chmod 755 data
before=$(events)
compose up --detach
rows_flow 'after down and up'
check_exact 'after down and up'
[ "$(rows)" -gt "$before" ] || fail 'no new events after down and up'
say 'passed'
