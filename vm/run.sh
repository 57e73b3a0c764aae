#!/bin/bash
# Runs what was built from this source on a real kernel: in emulated machines (QEMU
# without KVM), with Debian's kernel and simulated lines. Two machines at once:
#
#	gpio     the tests of package gpio that need a kernel
#	house    those of package test: the hearth binary, run as systemd would run it,
#	         and MQTT clients that talk to its broker
#
# Their clock counts instructions, four nanoseconds each, and skips what a machine
# sleeps through. So a time that is measured in them is that of a computer slower
# than any Raspberry Pi, whatever else this one does meanwhile.
#
# No root, no network. What the tests print comes out here, then what they have
# shown; the exit code is theirs.
#
#	vm/run.sh                                # all of it, about a minute
#	vm/run.sh starts=100 bursts=10000        # more of something
#	vm/run.sh gpio -test.run=/busy           # some
set -euo pipefail
cd "$(dirname "$0")"
numbers="vm=1" flags= machines=
for a; do
	case $a in
	-*) flags="$flags '$a'" ;;
	*=*) numbers="$numbers $a" ;;
	*) machines="$machines $a" ;;
	esac
done
machines=${machines:-gpio house}
./build.sh
began=$SECONDS
run=$(mktemp -d build/run.XXXXXX)
trap 'rm -rf "$run"' EXIT

export CGO_ENABLED=0 GOOS=linux GOARCH=amd64
root=$run/root
mkdir -p "$root/test" "$root/usr/bin" "$root/systemd"
(cd .. && go build -trimpath -ldflags='-s -w' -o "vm/$root/usr/bin/hearth" ./cmd/hearth)
cp init "$root/"
cp ../systemd/hearth.service "$root/systemd/"

# boot MACHINE PACKAGE TEST leaves what it said in build/MACHINE.log
boot() {
	rm -f "$root"/test/*
	(cd .. && go test -c -ldflags='-s -w' -o "vm/$root/test/tests" "$2")
	cat > "$root/test/run" <<-RUN
		export HEARTH_VM="$numbers" HEARTH_TEST_BINARY=/usr/bin/hearth
		./tests -test.v -test.timeout=2h -test.run='^$3\$' $flags
	RUN
	# The kernel unpacks one archive after the other, the second over the first.
	(cd "$root" && find . | cpio -o -H newc --quiet) | cat build/base.cpio - > "$run/$1.initrd"
	# A machine that hangs is ended.
	timeout "${LIMIT:-300}" qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 512 -smp 1 -icount shift=2,sleep=off -rtc clock=vm \
		-nodefaults -no-user-config -no-reboot -display none \
		-kernel build/vmlinux -initrd "$run/$1.initrd" -serial stdio \
		-append "console=ttyS0 loglevel=2 panic=-1 mitigations=off" < /dev/null | tr -d '\r' > "build/$1.log" &
}
logs=
for m in $machines; do
	case $m in
	gpio) boot gpio ./gpio TestKernel ;;
	house) boot house ./test TestMachine ;;
	*) echo "there is no machine $m: want gpio or house" >&2; exit 2 ;;
	esac
	logs="$logs build/$m.log"
done
wait
cat $logs
echo
sed -n 's/.*_test.go:[0-9]*: shown: //p' $logs | sort -n
echo "All of it took $((SECONDS - began)) s."
for log in $logs; do
	if ! grep -q '^hearth-vm: exit 0$' "$log"; then
		echo "see vm/$log: the tests failed, or the machine ended without a result" >&2
		exit 1
	fi
done
