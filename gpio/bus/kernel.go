package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// The kernel's buses, /dev/i2c-1. periph has the same, but hands the kernel the
// addresses of buffers on the stack as numbers: on a small stack, which each
// transaction here has, the runtime may move them on the way.

const rdwr = 0x0707 // I2C_RDWR

// The two structs are the kernel's i2c_msg and i2c_rdwr_ioctl_data.
type (
	message struct {
		addr, flags, length uint16
		buf                 *byte
	}
	messages struct {
		list *message
		n    uint32
	}
)

const reads = 0x0001 // I2C_M_RD

type kernelBus struct {
	name string
	file *os.File
}

// Kernel opens a bus of this machine by name: "I2C1" is /dev/i2c-1.
func Kernel(name string) (i2c.BusCloser, error) {
	path := "/dev/i2c-" + strings.TrimPrefix(name, "I2C")
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s (is dtparam=i2c_arm=on in config.txt, and i2c-dev loaded?)", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (is this user in the group i2c?)", err)
	case err != nil:
		return nil, err
	}
	return &kernelBus{name, file}, nil
}

func (b *kernelBus) String() string { return b.name }
func (b *kernelBus) Close() error   { return b.file.Close() }

func (b *kernelBus) SetSpeed(physic.Frequency) error {
	return errors.New("the kernel sets the speed of its buses at boot: dtparam=i2c_arm_baudrate in config.txt")
}

func (b *kernelBus) Tx(addr uint16, w, r []byte) error {
	list := make([]message, 0, 2)
	for _, part := range []struct {
		flags uint16
		data  []byte
	}{{0, w}, {reads, r}} {
		switch n := len(part.data); {
		case n > 8192: // the kernel's own limit
			return fmt.Errorf("%d bytes are too many for one message", n)
		case n > 0:
			list = append(list, message{addr, part.flags, uint16(n), &part.data[0]})
		}
	}
	if len(list) == 0 {
		return nil
	}
	all := &messages{&list[0], uint32(len(list))}
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(all)
	pins.Pin(all.list)
	for _, m := range list {
		pins.Pin(m.buf)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, b.file.Fd(), rdwr, uintptr(unsafe.Pointer(all)))
	switch errno {
	case 0:
		return nil
	case unix.EREMOTEIO, unix.ENXIO:
		return fmt.Errorf("no chip answers: %w", errno)
	}
	if errno == unix.EOPNOTSUPP {
		return fmt.Errorf("this adapter only knows SMBus: %w", errno)
	}
	return errno
}
