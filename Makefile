# The two commands of the README need nothing but Go:
#     go run ./cmd/hearth serve        go test ./...
# All else is here. `make check` before a commit; .ci/run calls `make ci`.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X main.version=$(VERSION)
TOOL     = go tool -modfile=tools/go.mod
TESTLOG  = dist/test.log
FAILED   = '^ *--- FAIL|^FAIL|^panic|DATA RACE'

.PHONY: build check lint test race axe small crashes fuzz gpio-test gpio-pi3 gpio-long footprint wear history dist deb bench ci install clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o hearth ./cmd/hearth

check: lint race
	git diff --exit-code

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	for arch in arm64 arm; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go vet ./...; done

# The README's own command.
test:
	go test ./...

# All tests again with the race detector, those that wait most first; the last line says
# how many there were.
# Those that need a kernel with pins are skipped here and run by gpio-test. What axe says of
# each page is the same with and without the detector, and takes minutes: the README's test asks it.
race:
	@mkdir -p dist/shots
	HEARTH_SCREENSHOTS=$(CURDIR)/dist/shots go test -race -p 3 -timeout 20m -skip '^TestEveryPageForEverybody$$' -v ./test ./... >$(TESTLOG) 2>&1 || \
	{ grep -av '^=== ' $(TESTLOG) | grep -aE -B40 -A20 $(FAILED) | tail -n 400; echo "What failed:"; grep -aE $(FAILED) $(TESTLOG); exit 1; }
	@grep -aE '^(ok|\?)' $(TESTLOG)
	@grep -ahE '^ *--- SKIP' -B1 $(TESTLOG) || true
	@echo "$$(grep -acE '^ *--- PASS' $(TESTLOG)) passed, 0 failed, $$(grep -acE '^ *--- SKIP' $(TESTLOG)) skipped"

# axe-core, by which the tests of the page judge whether everybody can use it, from npm. It is
# MPL, and neither committed nor shipped.
AXE     = 4.14.1
AXE_SUM = e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
axe: dist/axe/axe.min.js
dist/axe/axe.min.js:
	@mkdir -p dist/axe
	cd dist/axe && if command -v npm >/dev/null; then npm pack --silent axe-core@$(AXE); \
	else curl -sSfO https://registry.npmjs.org/axe-core/-/axe-core-$(AXE).tgz; fi
	cd dist/axe && echo '$(AXE_SUM)  axe-core-$(AXE).tgz' | sha256sum -c && tar -xzmf axe-core-$(AXE).tgz --strip-components=1 package/axe.min.js

# The packages that compute, with the int of a 32-bit Pi. Browsers see the same pages.
small:
	HEARTH_BROWSER=no CGO_ENABLED=0 GOARCH=386 go test ./backup ./broker/... ./config ./devices/... ./doctor ./gpio/... ./history ./replay ./rules/... ./store ./trial ./web

# The crashes and power cuts of ci again, more of them: some ten minutes, as root.
CUTS ?= 50
crashes:
	HEARTH_CI=1 go test -timeout 1h -v ./test -run 'Kill|Cuts|Sessions' -cuts $(CUTS)

# Every fuzz target for FUZZTIME, 28 at a time: much of it is building them.
FUZZTIME ?= 60s
fuzz:
	@grep -rnoE '^func Fuzz\w+' --include=*_test.go . | sed -E 's|^\./(.*)/[^/]*:[0-9]+:func |\1 |' | sort | \
	xargs -L 1 -P 28 tools/fuzz.sh $(FUZZTIME)

# A real kernel with simulated lines, in an emulated machine: the pins, and the hub
# that ships. Then an emulated Raspberry Pi 3B; and the first with large numbers.
gpio-test:
	vm/run.sh
gpio-pi3:
	vm/pi3.sh
gpio-long:
	go test ./gpio -run TestNoLimitIsEverBroken -rapid.checks=1000000 -timeout 1h
	go test ./gpio -run TestWhatIsDeclaredHoldsOnThePins -rapid.checks=10000 -timeout 1h
	LIMIT=7200 vm/run.sh starts=100 reads=1000 commands=100000 bursts=10000 cycles=1000

footprint:
	test/footprint.sh

# What a house with 100 sensors writes to its card in WEAR minutes. As root.
WEAR ?= 30
wear:
	HEARTH_WEAR=$(WEAR) go test ./test -run '^TestWear$$' -v -timeout 0

# What the history of 50 series writes, as root, in that many simulated days, how it fares
# with a year (1.1 GB in a temporary folder, and minutes), and how long why, a replay and a try of a week take.
DAYS ?= 34
history:
	HEARTH_DAYS=$(DAYS) go test ./history -run 'WhatADayWrites' -v -timeout 0
	HEARTH_DAYS=365 go test ./history ./why ./replay -p 1 -run '^$$' -bench . -timeout 0
	HEARTH_DAYS=7 go test ./hub -run 'TryingAWeek' -v -timeout 0
	HEARTH_STARTS=500 go test ./history -run 'ADamagedFile' -v -timeout 0

# Binaries and Debian packages for every Raspberry Pi. Debian's armhf is ARMv7,
# but Raspberry Pi OS calls its ARMv6 armhf too, so one package serves both.
dist:
	@mkdir -p dist
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '$(LDFLAGS)' -o dist/hearth-arm64 ./cmd/hearth
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=7 go build -trimpath -ldflags '$(LDFLAGS)' -o dist/hearth-armv7 ./cmd/hearth
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 go build -trimpath -ldflags '$(LDFLAGS)' -o dist/hearth-armv6 ./cmd/hearth
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '$(LDFLAGS)' -o dist/hearth-amd64 ./cmd/hearth

deb: dist
	git show HEAD:config.toml >dist/config.toml # not what somebody made of it here
	for pair in arm64:arm64 armhf:armv6 amd64:amd64; do \
		DEB_ARCH=$${pair%%:*} BINARY=dist/hearth-$${pair##*:} CONFIG=dist/config.toml DEB_VERSION=$(DEB_VERSION) \
		$(TOOL) nfpm package -f systemd/nfpm.yaml -p deb -t dist/ || exit 1; \
	done

# A version that Debian understands: 0.0.0+gfe116d6 without a tag.
DEB_VERSION = $(shell echo '$(VERSION)' | sed -E 's/^v//; /^[0-9]+\./!s/^/0.0.0+g/; s/-/+/g')

bench:
	go test -run '^$$' -bench . ./bench ./rules ./store ./devices/catalog
	go test -run '^$$' -bench UnknownTopic ./hub
	go test -run '^$$' -bench 'TheFirstPage|500Devices' -benchtime 7x ./web
	bench/brokers.sh
	bench/peers.sh

ci: axe lint race small fuzz gpio-test gpio-pi3 footprint deb
	go test -run '^$$' -bench PublishToPin ./bench

# From a checkout onto this machine, as root.
install: build
	install -D -m 755 hearth /usr/bin/hearth
	install -D -m 644 systemd/hearth.service /usr/lib/systemd/system/hearth.service
	install -D -m 644 systemd/hearth.sysusers.conf /usr/lib/sysusers.d/hearth.conf
	install -D -m 644 systemd/hearth.rules /usr/lib/udev/rules.d/60-hearth.rules
	test -e /etc/hearth || install -d -m 2770 /etc/hearth
	test -e /etc/hearth/config.toml || install -m 640 config.toml /etc/hearth/config.toml
	systemd/postinstall.sh

clean:
	rm -rf hearth dist
