package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A watchdog is a clock of the machine that resets it unless it is fed in time.
// The loop feeds it on every beat, after it has looked at the pins. So where the
// loop hangs, or the pins, or the whole kernel, the machine starts anew. After a
// crash it counts on too: a hub that does not come back in time is a reset.
//
// A single line that hangs is no reason: it delays no other and has its fault.
type watchdog struct {
	log      *slog.Logger
	patience func(dev *os.File, seconds int) (int, error) // asks the device; a test has none

	mu     sync.Mutex
	path   string   // as configured; "": none
	dev    *os.File // nil: none
	hungry bool     // it was said that it takes nothing
}

const (
	// What a Raspberry Pi's can count is 15 seconds.
	watchdogPatience = 15
	// One that counts less than this could not be fed by a slow card's hub.
	watchdogLeast = 5
)

// devicePatience asks a watchdog to wait so many seconds from one feeding to the
// next, and returns what it will wait. Not every device can be asked.
func devicePatience(dev *os.File, seconds int) (int, error) {
	fd := int(dev.Fd())
	err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
		return 0, err
	}
	return unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
}

// open gets a watchdog, which counts from then on.
func (w *watchdog) open(path string) (*os.File, error) {
	dev, err := os.OpenFile(path, os.O_WRONLY, 0)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("hub.watchdog: %s is in use, and only one program can feed it; systemd has it if RuntimeWatchdogSec= is set in /etc/systemd/system.conf", path)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("hub.watchdog: %w: want a udev rule that gives it to this user, and DeviceAllow= in the unit", err)
	case err != nil:
		return nil, fmt.Errorf("hub.watchdog: %w", err)
	}
	seconds, err := w.patience(dev, watchdogPatience)
	switch {
	case errors.Is(err, syscall.ENOTTY):
		err = fmt.Errorf("hub.watchdog: %s is no watchdog, want a device such as /dev/watchdog", path)
	case err != nil:
		err = fmt.Errorf("hub.watchdog: %s does not say how long it waits: %w", path, err)
	case seconds < watchdogLeast:
		err = fmt.Errorf("hub.watchdog: %s resets the machine after %d s, want at least %d s", path, seconds, watchdogLeast)
	default:
		w.log.Info("the machine is reset if the hub hangs", "watchdog", path, "seconds", seconds)
		return dev, nil
	}
	return nil, errors.Join(err, release(dev))
}

// release lets a watchdog go without a reset: V is the word for that. (Kernels
// with nowayout do not know it, and the machine is reset all the same.)
func release(dev *os.File) error {
	_, err := dev.WriteString("V")
	return errors.Join(err, dev.Close())
}

// prepare opens the watchdog of a new configuration, or does nothing if it is
// the one that is fed already.
func (w *watchdog) prepare(path string) (change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if path == w.path {
		return changes{}, nil
	}
	next := &watchdogChange{w: w, path: path}
	if path == "" {
		return next, nil
	}
	var err error
	if next.dev, err = w.open(path); err != nil {
		return nil, err
	}
	return next, nil
}

type watchdogChange struct {
	w    *watchdog
	path string
	dev  *os.File
}

func (c *watchdogChange) Commit() { c.w.set(c.path, c.dev) }

func (c *watchdogChange) Undo() {
	if c.dev != nil {
		if err := release(c.dev); err != nil {
			c.w.log.Warn("the watchdog was not let go and may reset the machine", "err", err)
		}
	}
}

// set is the watchdog to be fed from now on, or none. The one before is let go.
func (w *watchdog) set(path string, dev *os.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := watchdogChange{w: w, dev: w.dev}
	w.path, w.dev, w.hungry = path, dev, false
	last.Undo()
}

// feed is called by the loop alone. That it may wait for the device is meant:
// one that takes nothing any more is about to reset the machine.
func (w *watchdog) feed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dev == nil {
		return
	}
	// Any byte but V.
	_, err := w.dev.Write([]byte{0})
	if err != nil && !w.hungry {
		w.log.Error("the watchdog takes nothing, the machine may be reset", "watchdog", w.path, "err", err)
	}
	w.hungry = err != nil
}
