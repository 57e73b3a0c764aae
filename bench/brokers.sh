#!/usr/bin/env bash
# Measures the hub's broker beside Debian's mosquitto, which has to be installed:
# acknowledgements, rates, memory, floods. README.md says what came out.
#   bench/brokers.sh                          # about ten minutes
#   bench/brokers.sh -rounds 1 -only "idle|fan-out"
# Everything is on loopback and below /tmp, and both brokers are ended by their ids.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$PATH:/usr/sbin
if ! command -v mosquitto >/dev/null; then
	echo "brokers.sh: there is no mosquitto to compare with, so nothing is measured: apt install mosquitto" >&2
	exit 0
fi
ulimit -n "$(ulimit -Hn)" # 10,000 connections have two ends
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
CGO_ENABLED=0 go build -trimpath -o "$work/hearth" ./cmd/hearth
CGO_ENABLED=0 go build -o "$work/brokers" ./bench/brokers
"$work/brokers" -hearth "$work/hearth" "$@"
