#!/bin/sh
# Creates a cluster of the given nodes: three primaries and their replicas. Then announces the addresses of all nodes to each
# other every 30 s, because addresses of containers change. Usage: create-cluster.sh HOST…      (port 6379)
set -eu

address_of() { getent hosts "$1" | awk '{ print $1; exit }'; }

addresses=
for host in "$@"; do
  until redis-cli -h "$host" ping >/dev/null 2>&1; do sleep 0.2; done
  addresses="$addresses $(address_of "$host"):6379"
done

if [ "$(redis-cli -h "$1" cluster info | tr -d '\r' | sed -n 's/^cluster_slots_assigned://p')" = 0 ]; then
  # shellcheck disable=SC2086 # one word for each address
  redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes
fi

while true; do
  for host in "$@"; do
    address=$(address_of "$host") || continue
    for other in "$@"; do redis-cli -h "$other" cluster meet "$address" 6379 >/dev/null 2>&1 || true; done
  done
  sleep 30
done
