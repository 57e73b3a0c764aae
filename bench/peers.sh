#!/usr/bin/env bash
# Measures the hub beside what a household would use instead: mosquitto with
# Node-RED or a Python script, and a bare broker. The load generator knows
# nothing of the hub and is not part of this repository.
#   bench/peers.sh                                    # about half an hour
#   SKIP_WEAR=1 bench/peers.sh -sizes 10 -reps 1 -peers hub,mochi-inline
# Everything is written to $BENCH_WORK, by default a new folder under /tmp. All
# traffic is on loopback.
set -euo pipefail
bench=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$bench")
generator=$root/../shared/bench
if [ ! -x "$generator/run-all.sh" ]; then
	echo "peers.sh: there is no load generator in ../shared/bench beside this repository, so nothing is measured" >&2
	exit 0
fi
export BENCH_WORK=${BENCH_WORK:-$(mktemp -d)}
mkdir -p "$BENCH_WORK"
BENCH_WORK=$(cd "$BENCH_WORK" && pwd)
case $BENCH_WORK in *[[:space:]]*)
	echo "peers.sh: BENCH_WORK=$BENCH_WORK: want a folder without spaces in its name" >&2 # the hub's command line is split at them
	exit 2
	;;
esac
echo "peers.sh: works in $BENCH_WORK" >&2
(cd "$root" && CGO_ENABLED=0 go build -o "$BENCH_WORK/hearth" ./cmd/hearth)
exec "$generator/run-all.sh" \
	-hub-name hub -hub-cmd "$BENCH_WORK/hearth serve --sim --config {dir}/rules.toml" \
	-hub-head "$bench/hub-head.toml" -hub-template "$bench/hub-template.toml" \
	-sizes 10,1000 -reps 3 "$@"
