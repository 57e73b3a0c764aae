#!/bin/bash
# Boots a machine of its own, QEMU without KVM, with Debian's kernel and simulated
# lines, and runs in it what was built from this source: the tests of package gpio
# that need a kernel, and those of package test, which run the hearth binary as
# systemd would and talk to its broker. No root, no network. What the tests print
# comes out here, at the end what each has shown, and the exit code is theirs.
#
#	vm/run.sh                                # all of them
#	vm/run.sh starts=100 bursts=10000        # more of something
#	vm/run.sh -test.run=/busy                # some
set -euo pipefail
cd "$(dirname "$0")"
numbers="vm=1" flags=
for a; do case $a in -*) flags="$flags '$a'" ;; *) numbers="$numbers $a" ;; esac; done
./build.sh
run=$(mktemp -d build/run.XXXXXX)
trap 'rm -rf "$run"' EXIT

root=$run/root
mkdir -p "$root/test" "$root/usr/bin" "$root/systemd"
export CGO_ENABLED=0 GOOS=linux GOARCH=amd64
(cd .. && go build -trimpath -ldflags='-s -w' -o "vm/$root/usr/bin/hearth" ./cmd/hearth)
(cd .. && go test -c -ldflags='-s -w' -o "vm/$root/test/gpio.test" ./gpio)
(cd .. && go test -c -ldflags='-s -w' -o "vm/$root/test/house.test" ./test)
cp init "$root/"
cp ../systemd/hearth.service "$root/systemd/"
cat > "$root/test/run" <<RUN
export HEARTH_VM="$numbers" HEARTH_TEST_BINARY=/usr/bin/hearth
./gpio.test -test.v -test.run='^TestKernel$' $flags && ./house.test -test.v -test.run='^TestMachine$' $flags
RUN
# The kernel unpacks one archive after the other, the second over the first.
(cd "$root" && find . | cpio -o -H newc --quiet) | cat build/base.cpio - > "$run/initrd"

# A machine that hangs is ended.
began=$SECONDS
timeout "${LIMIT:-300}" qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 768 -smp 1 -nodefaults -no-user-config -no-reboot -display none \
	-kernel build/vmlinux -initrd "$run/initrd" -serial stdio \
	-append "console=ttyS0 loglevel=2 panic=-1 mitigations=off" < /dev/null | tr -d '\r' | tee "$run/log" || true
echo
sed -n 's/.*_test.go:[0-9]*: shown: //p' "$run/log"
echo "The machine ran for $((SECONDS - began)) s."
code=$(sed -n 's/^hearth-vm: exit \([0-9]*\)$/\1/p' "$run/log")
if [ -z "$code" ]; then
	echo "the machine ended without a result" >&2
	exit 1
fi
exit "$code"
