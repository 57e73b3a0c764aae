#!/bin/bash
# Builds what the test machine needs, into build/: Debian's kernel, and gpio-sim,
# the kernel's own simulated GPIO chip, which Debian leaves out. For Debian 12 on
# x86-64, as root after "apt-get update". About 210 MB are downloaded, once;
# "rm -r build" begins anew.
set -euo pipefail
cd "$(dirname "$0")"
if [ build/base.cpio -nt build.sh ] && [ -e build/vmlinux ]; then exit 0; fi
mkdir -p build/debs build/module
cd build

# The newest kernel of Debian 12, with its headers to build against. The kernel
# itself and its source are only unpacked, not installed.
image=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }')
version=${image#linux-image-}
missing=
for p in qemu-system-x86 "linux-headers-$version" busybox-static cpio make xz-utils; do
	dpkg -s "$p" >/dev/null 2>&1 || missing="$missing $p"
done
if [ -n "$missing" ]; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi
(cd debs && for p in "$image" linux-source-6.1; do ls "$p"_*.deb >/dev/null 2>&1 || apt-get -q -o APT::Sandbox::User=root download "$p"; done)
dpkg -x debs/"$image"_*.deb image

# gpio-sim raises its interrupts through irq_sim, which Debian leaves out too; so
# both go into one module. irq_sim there uses a function that modules can't.
source=linux-source-6.1
dpkg --fsys-tarfile debs/${source}_*.deb | tar -xO ./usr/src/$source.tar.xz | tar -xJ -C module --strip-components=3 \
	$source/drivers/gpio/gpio-sim.c $source/drivers/gpio/gpiolib.h $source/kernel/irq/irq_sim.c 2>/dev/null ||
	{ echo "gpio-sim.c is not in $source" >&2; exit 1; }
cd module
mv gpio-sim.c sim.c
sed -i 's/handle_simple_irq(irq_to_desc(irqnum))/generic_handle_irq(irqnum)/' irq_sim.c
# A line that is let go takes its pull again, as with mainline's drivers. With keep=1
# it stays a driven output, as Raspberry Pi kernels leave it without strict_gpiod.
sed -i -e '/^static void gpio_sim_free/i static bool keep;\nmodule_param(keep, bool, 0644);\n' \
	-e '/^static void gpio_sim_free/,/^}/s/\tmutex_lock/\tif (keep)\n\t\treturn;\n&/' sim.c
[ "$(grep -c keep sim.c)" = 3 ]
printf 'obj-m := gpio-sim.o\ngpio-sim-y := sim.o irq_sim.o\n' > Makefile
make -s -C "/usr/src/linux-headers-$version" M="$PWD" modules
strip -g gpio-sim.ko
cd ..

# QEMU starts an unpacked kernel at once; unpacking it in the machine takes longer
# than the tests.
packed=image/boot/vmlinuz-$version
at=$(LC_ALL=C grep -abom1 -P '\xfd7zXZ\x00' "$packed" | head -1 | cut -d: -f1)
tail -c +$((at + 1)) "$packed" | xz -dc --single-stream > vmlinux.new 2>/dev/null || [ -s vmlinux.new ]

# The part of the root file system that stays the same: a shell and the modules,
# as init loads them one after the other.
rm -rf base
mkdir -p base/bin base/modules base/dev base/proc base/sys base/tmp
cp /bin/busybox base/bin/
cp module/gpio-sim.ko base/modules/
for m in configfs i2c-dev i2c-stub lm75 industrialio bmp280 bmp280-i2c; do
	cp "$(find image/lib/modules -name $m.ko)" base/modules/
done
(cd base && find . | cpio -o -H newc --quiet) > base.cpio
rm -rf image base module
mv vmlinux.new vmlinux
