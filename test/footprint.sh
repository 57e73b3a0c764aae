#!/bin/sh
# What Hearth weighs: the stripped binary for each Raspberry Pi (at most 27 MiB, of which SQLite has 5
# and the page 3), the time from exec to the line Ready, and the memory it uses when idle.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill -9 "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT

build() { # name, then the environment
	name=$1; shift
	env CGO_ENABLED=0 "$@" go build -trimpath -ldflags '-s -w' -o "$dir/$name" ./cmd/hearth
}

for target in 'arm64 GOARCH=arm64' 'armv7 GOARCH=arm GOARM=7' 'armv6 GOARCH=arm GOARM=6'; do
	set -- $target
	build "$1" GOOS=linux "$2" ${3:-GOARM=}
	bytes=$(wc -c <"$dir/$1")
	awk -v name="linux/$1" -v b="$bytes" 'BEGIN { printf "%-12s %5.1f MiB\n", name, b / 1048576 }'
	test "$bytes" -le 28311552 || { echo "$1: more than 27 MiB" >&2; exit 1; }
done

# The sample house on free ports, five times on the same data folder.
build hearth GOOS=linux
sed -e 's/127\.0\.0\.1:[0-9]*/127.0.0.1:0/' config.toml >"$dir/config.toml"
for n in 1 2 3 4 5; do
	: >"$dir/log"
	began=$(date +%s%N)
	"$dir/hearth" serve --sim --config "$dir/config.toml" >"$dir/log" 2>&1 &
	pid=$!
	until grep -q '^Ready' "$dir/log"; do
		kill -0 "$pid" || { cat "$dir/log" >&2; exit 1; }
		sleep 0.002
	done
	echo $((($(date +%s%N) - began) / 1000000)) >>"$dir/starts"
	if [ "$n" = 5 ]; then
		sleep 3
		awk '/^VmRSS/ { printf "idle memory  %5.1f MiB (aim: 32)\n", $2 / 1024 }' "/proc/$pid/status"
	fi
	kill "$pid"
	wait "$pid"
	pid=
done
echo "start        $(sort -n "$dir/starts" | sed -n 3p) ms to ready (median of 5: $(sort -n "$dir/starts" | tr '\n' ' '))"
