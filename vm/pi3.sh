#!/bin/bash
# Boots an emulated Raspberry Pi 3B with Debian's arm64 kernel and the Pi's own
# device tree, and runs TestPi of package test in it, with the arm64 binary. What
# is needed is downloaded once into build/pi3, about 60 MB. No root, but to install
# qemu-system-arm where that is missing.
set -euo pipefail
cd "$(dirname "$0")"
began=$SECONDS
if ! command -v qemu-system-aarch64 >/dev/null || ! command -v cpio >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends qemu-system-arm cpio
fi
here=$PWD/build/pi3
if ! [ -e "$here/base.cpio" ]; then
	# An apt of its own for the other architecture; that of this machine stays as it is.
	mkdir -p "$here/lists/partial" "$here/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" > "$here/sources.list"
	: > "$here/status"
	arm() {
		"$@" -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root \
			-o Dir::Etc::sourcelist="$here/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Cache="$here/cache" \
			-o Dir::State::lists="$here/lists" -o Dir::State::status="$here/status"
	}
	arm apt-get -qq update
	image=$(arm apt-cache depends linux-image-arm64 | awk '/Depends:/ { print $2; exit }')
	(cd "$here" && arm apt-get -q download "$image" busybox-static)
	dpkg -x "$here/$image"_*.deb "$here/image"
	dpkg -x "$here"/busybox-static_*.deb "$here/busybox"
	cp "$here/image/boot/vmlinuz-${image#linux-image-}" "$here/vmlinuz"
	cp "$here/image/usr/lib/$image/broadcom/bcm2837-rpi-3-b.dtb" "$here/pi.dtb"
	mkdir -p "$here"/base/{bin,modules,dev,proc,sys,tmp}
	cp "$here/busybox/bin/busybox" "$here/base/bin/"
	for m in softdog bcm2835_wdt; do cp "$(find "$here/image/lib/modules" -name $m.ko)" "$here/base/modules/"; done
	(cd "$here/base" && find . | cpio -o -H newc --quiet) > "$here/base.cpio.new"
	rm -rf "$here"/{image,busybox,base,lists,cache}
	mv "$here/base.cpio.new" "$here/base.cpio"
fi
run=$(mktemp -d build/run.XXXXXX)
trap 'rm -rf "$run"' EXIT

export CGO_ENABLED=0 GOOS=linux GOARCH=arm64
root=$run/root
mkdir -p "$root/test" "$root/usr/bin" "$root/systemd"
(cd .. && go build -trimpath -ldflags='-s -w' -o "vm/$root/usr/bin/hearth" ./cmd/hearth)
(cd .. && go test -c -ldflags='-s -w' -o "vm/$root/test/tests" ./test)
cp init "$root/"
cp ../systemd/hearth.service "$root/systemd/"
echo "HEARTH_PI=1 HEARTH_TEST_BINARY=/usr/bin/hearth ./tests -test.v -test.run='^TestPi\$'" > "$root/test/run"
# The board's own watchdog comes last. QEMU's has no clock: it resets the machine
# in the moment when somebody sets it off, so that it was is all that can be seen.
cat > "$root/test/after" <<'AFTER'
rm -rf /var/lib/hearth
cat /sys/class/watchdog/watchdog1/identity
printf '[hub]\ndata = "/var/lib/hearth"\nwatchdog = "/dev/watchdog1"\n' > /etc/hearth/config.toml
hearth serve --config /etc/hearth/config.toml &
sleep 20
echo "hearth-vm: still here"
AFTER
(cd "$root" && find . | cpio -o -H newc --quiet) | cat build/pi3/base.cpio - | gzip -1 > "$run/initrd"
booted=$SECONDS
timeout "${LIMIT:-300}" qemu-system-aarch64 -M raspi3b -accel tcg,thread=multi -m 1G -no-reboot -nographic -monitor none \
	-kernel build/pi3/vmlinuz -dtb build/pi3/pi.dtb -initrd "$run/initrd" -serial null -serial stdio \
	-append "console=ttyS1,115200 maxcpus=1 loglevel=2 panic=-1" < /dev/null | tr -d '\r' > build/pi3.log || true
cat build/pi3.log
echo
if grep -q '^hearth-vm: exit' build/pi3.log && ! grep -q '^hearth-vm: still here' build/pi3.log; then
	echo "10. $(grep -a '^Broadcom' build/pi3.log): set off by the hub, and the emulated board was reset at once"
	reset=yes
fi
sed -n 's/.*_test.go:[0-9]*: shown: //p' build/pi3.log
echo "The Pi ran for $((SECONDS - booted)) s, all of it took $((SECONDS - began)) s."
if [ -z "${reset-}" ] || ! grep -q '^hearth-vm: exit 0$' build/pi3.log; then
	echo "the tests failed, or the Pi ended without a result" >&2
	exit 1
fi
