#!/bin/sh
# Replaces the containers of a running fleet by containers of the current images and configuration, without an interruption:
#   MUSTER_VERSION=1.2.0 deploy/docker/rolling-upgrade.sh [SERVICE…]
# The default is the three services. `docker compose up` alone recreates all replicas of a service at the same time.
#
# New replicas start beside the old replicas; when they are ready, the old replicas are drained and removed one by one. All new
# gateways start first, so that a client reconnects to a new gateway and only once. Other services are replaced one replica at a
# time, because each replica counts against the connections of Postgres.
#
# COMPOSE       the command of this fleet, such as "docker compose --env-file deploy/docker/sentinel.env"
# READY_WITHIN  seconds within which a new replica has to be ready (120)
# SETTLE        seconds until the load balancer gives a new replica its full share (12)
set -eu
cd "$(dirname "$0")/../.."

COMPOSE=${COMPOSE:-docker compose}
READY_WITHIN=${READY_WITHIN:-120}
SETTLE=${SETTLE:-12}

print() { echo "rolling-upgrade: $*"; }
fail() { print "$*" >&2; exit 1; }
running() { $COMPOSE ps --quiet "$1"; }
count() { set -- $1; echo $#; }

# Runs inside the container: the network of the fleet is internal.
is_ready() {
  docker exec "$1" /usr/local/bin/node /app/deploy/docker/healthcheck.mjs /readyz >/dev/null 2>&1
}

# The containers of $1 that are not in the list $2.
new_of() {
  for container in $(running "$1"); do
    case " $2 " in *" $container "*) ;; *) echo "$container" ;; esac
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

# Scales the service $1 to $2 replicas, and waits until the containers that are not in the list $3 are ready.
grow() {
  $COMPOSE up --detach --no-deps --no-build --no-recreate --scale "$1=$2" "$1"
  added=$(new_of "$1" "$3")
  for new in $added; do
    until_ready "$new" && continue
    print "the new $1 is not ready after $READY_WITHIN s; its last lines:" >&2
    docker logs --tail 20 "$new" >&2 || true
    # The old replicas still serve.
    docker rm --force $added >/dev/null
    fail "$1 was not upgraded"
  done
  sleep "$SETTLE"
}

# SIGTERM drains; the deadline is stop_grace_period.
retire() {
  docker stop "$1" >/dev/null
  docker rm "$1" >/dev/null
}

upgrade() {
  old=$(running "$1" | tr '\n' ' ')
  replicas=$(count "$old")
  [ "$replicas" -gt 0 ] || fail "no $1 is running: start the fleet with docker compose up"
  started=""
  print "$1: $replicas to replace"
  if [ "$1" = ws-gateway ]; then grow "$1" $((2 * replicas)) "$old"; fi
  for leaving in $old; do
    if [ "$1" != ws-gateway ]; then grow "$1" $((replicas + 1)) "$old $started"; fi
    started=$(new_of "$1" "$old" | tr '\n' ' ')
    retire "$leaving"
    print "$1: $(echo "$leaving" | cut -c1-12) is replaced"
  done
}

[ $# -gt 0 ] || set -- session-service ws-gateway health-aggregator
for service in "$@"; do
  case "$service" in
    session-service | ws-gateway | health-aggregator) ;;
    *) fail "unknown service $service, expected session-service, ws-gateway or health-aggregator" ;;
  esac
done
for service in "$@"; do
  if [ "$service" = session-service ]; then $COMPOSE run --rm --no-deps -T migrate; fi
  upgrade "$service"
done
print "done"
