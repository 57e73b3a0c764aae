package test

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seed writes the example of the BMP280's datasheet into a simulated chip of
// i2c-stub: calibration, and a measurement of 25.08 °C and 100 653 Pa.
func seed(t *testing.T) {
	t.Helper()
	bus, err := os.OpenFile("/dev/i2c-0", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	const setAddress, transfer, bmp280 = 0x0706, 0x0720, 0x76 // I2C_SLAVE_FORCE, I2C_SMBUS
	if err := unix.IoctlSetInt(int(bus.Fd()), setAddress, bmp280); err != nil {
		t.Fatal(err)
	}
	put := func(register, value uint8) {
		data := [34]byte{value}
		call := struct { // the kernel's i2c_smbus_ioctl_data
			read, register uint8
			size           uint32
			data           *[34]byte
		}{0, register, 2, &data} // I2C_SMBUS_BYTE_DATA
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, bus.Fd(), transfer, uintptr(unsafe.Pointer(&call))); errno != 0 {
			t.Fatal(errno)
		}
	}
	put(0xd0, 0x58) // what it is
	for i, c := range []int{27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000} {
		put(0x88+uint8(2*i), uint8(c))
		put(0x89+uint8(2*i), uint8(c>>8))
	}
	for i, b := range []uint8{0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00} {
		put(0xf7+uint8(i), b)
	}
}
