#!/bin/bash
# Runs the kernel tests of package gpio in a machine of their own: QEMU without
# KVM, Debian's kernel, simulated lines. No root, no network. What the tests
# print comes out here, and the exit code is theirs. Arguments go to the tests:
#
#	vm/run.sh                              # all of them, about 10 s
#	vm/run.sh -test.run=TestKernel/busy    # some
set -euo pipefail
cd "$(dirname "$0")"
if ! [ -e build/vmlinux ]; then ./build.sh; fi
run=$(mktemp -d build/run.XXXXXX)
trap 'rm -rf "$run"' EXIT

mkdir "$run/root"
(cd .. && CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go test -c -ldflags='-s -w' -o "vm/$run/root/test" ./gpio)
cp init "$run/root/init"
if [ $# = 0 ]; then set -- -test.run=TestKernel; fi
echo "-test.v $*" > "$run/root/arguments"
# The kernel unpacks one archive after the other, the second over the first.
(cd "$run/root" && find . | cpio -o -H newc --quiet) | cat build/base.cpio - > "$run/initrd"

# A machine that hangs is ended after five minutes.
timeout 300 qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 512 -smp 1 -nodefaults -no-user-config -no-reboot -display none \
	-kernel build/vmlinux -initrd "$run/initrd" -serial stdio \
	-append "console=ttyS0 loglevel=2 panic=-1 mitigations=off" < /dev/null | tr -d '\r' | tee "$run/log"
code=$(sed -n 's/^hearth-vm: exit \([0-9]*\)$/\1/p' "$run/log")
if [ -z "$code" ]; then
	echo "the machine ended without a result" >&2
	exit 1
fi
exit "$code"
