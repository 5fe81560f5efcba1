#!/bin/sh
# Replaces the containers of a running fleet by those of the present images and configuration, without an interruption:
#   MUSTER_VERSION=1.2.0 deploy/docker/rolling-upgrade.sh [SERVICE…]
# The default is every service of ours. `docker compose up` alone recreates all replicas of a service together.
#
# New replicas are started beside the old ones; when they serve, the old ones are drained and removed one after the other.
# As many new gateways as there are old ones start first, so that a client that is moved meets a new one and moves once; of
# the other services one at a time, because each of them counts against the connections of Postgres.
#
# COMPOSE       the command of this fleet, such as "docker compose --env-file deploy/docker/sentinel.env"
# READY_WITHIN  seconds that a new replica may take until it is ready (120)
# SETTLE        seconds until the load balancer gives a new replica its full share (12)
set -eu
cd "$(dirname "$0")/../.."

COMPOSE=${COMPOSE:-docker compose}
READY_WITHIN=${READY_WITHIN:-120}
SETTLE=${SETTLE:-12}

say() { echo "rolling-upgrade: $*"; }
fail() { say "$*" >&2; exit 1; }
running() { $COMPOSE ps --quiet "$1"; }
count() { set -- $1; echo $#; }

# Asked inside the container: the network of the fleet is internal.
is_ready() {
  docker exec "$1" /usr/local/bin/node /app/deploy/docker/healthcheck.mjs /readyz >/dev/null 2>&1
}

# The containers of $1 that are not in the list $2.
new_of() {
  for one in $(running "$1"); do
    case " $2 " in *" $one "*) ;; *) echo "$one" ;; esac
  done
}

until_ready() {
  waited=0
  until is_ready "$1"; do
    [ "$waited" -lt "$READY_WITHIN" ] || return 1
    sleep 1
    waited=$((waited + 1))
  done
}

# Starts replicas until there are $2 of the service $1, and waits until all that are not in the list $3 serve.
grow() {
  $COMPOSE up --detach --no-deps --no-build --no-recreate --scale "$1=$2" "$1"
  added=$(new_of "$1" "$3")
  for new in $added; do
    until_ready "$new" && continue
    say "the new $1 is not ready after $READY_WITHIN s; its last lines:" >&2
    docker logs --tail 20 "$new" >&2 || true
    # The old replicas still serve.
    docker rm --force $added >/dev/null
    fail "$1 was not upgraded"
  done
  sleep "$SETTLE"
}

# SIGTERM drains; the time is that of stop_grace_period, which the engine knows.
retire() {
  docker stop "$1" >/dev/null
  docker rm "$1" >/dev/null
}

upgrade() {
  old=$(running "$1" | tr '\n' ' ')
  replicas=$(count "$old")
  [ "$replicas" -gt 0 ] || fail "no $1 is running: start the fleet with docker compose up"
  started=""
  say "$1: $replicas to replace"
  if [ "$1" = ws-gateway ]; then grow "$1" $((2 * replicas)) "$old"; fi
  for leaving in $old; do
    if [ "$1" != ws-gateway ]; then grow "$1" $((replicas + 1)) "$old $started"; fi
    started=$(new_of "$1" "$old" | tr '\n' ' ')
    retire "$leaving"
    say "$1: $(echo "$leaving" | cut -c1-12) is replaced"
  done
}

[ $# -gt 0 ] || set -- session-service ws-gateway health-aggregator
for service in "$@"; do
  case "$service" in
    session-service | ws-gateway | health-aggregator) ;;
    *) fail "$service is not one of session-service, ws-gateway, health-aggregator" ;;
  esac
done
for service in "$@"; do
  if [ "$service" = session-service ]; then $COMPOSE run --rm --no-deps -T migrate; fi
  upgrade "$service"
done
say "done"
