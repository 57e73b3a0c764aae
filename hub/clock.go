package hub

import (
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth/devices"
)

// A Clock tells the time in the two ways that a house needs it.
type Clock struct {
	Mono  func() time.Duration // since boot; never steps
	Wall  func() time.Time
	Known func() bool // whether Wall has been set by something to be trusted
	Boot  string      // names this life of the machine, to which Mono belongs
}

// SystemClock is the machine's own.
func SystemClock() Clock {
	started := time.Now()
	var since unix.Timespec
	base := time.Duration(0)
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) == nil {
		base = time.Duration(since.Nano())
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte(started.String()) // not Linux: each start counts as a boot
	}
	return Clock{
		Mono:  func() time.Duration { return base + time.Since(started) },
		Wall:  time.Now,
		Known: clockSynchronized,
		Boot:  strings.TrimSpace(string(boot)),
	}
}

// clockSynchronized asks the kernel whether a time service steers its clock
// (adjtimex(2), STA_UNSYNC clear), and systemd-timesyncd whether it ever did.
func clockSynchronized() bool {
	var t syscall.Timex
	const staUnsync, timeError = 0x40, 5
	if state, err := syscall.Adjtimex(&t); err == nil && state != timeError && t.Status&staUnsync == 0 {
		return true
	}
	_, err := os.Stat("/run/systemd/timesync/synchronized")
	return err == nil
}

// now is the present moment in the house's time zone, in whole microseconds. Any goroutine
// may ask. The wall clock in it runs with the other one and is set at a beat, if it has to
// be: so of nearly all moments one number tells both.
func (h *Hub) now() devices.Now {
	mono := h.clock.Mono().Truncate(time.Microsecond)
	return devices.Now{Mono: mono, Wall: time.UnixMicro(h.ahead.Load()).Add(mono).In(h.known.Load().zone), Known: h.clockKnown.Load()}
}

// drift is by how much the wall clock may move against the monotonic one before now
// follows it.
const drift = 10 * time.Millisecond

// stepOfClock is how much the wall clock may be set at once before what is kept by it is.
const stepOfClock = time.Minute

// lookAtClock asks whether the wall clock is to be trusted, until it is: NTP may
// come long after the start. When it was set, what devices said is dated anew.
func (h *Hub) lookAtClock() {
	zero := h.clock.Wall().Add(-h.clock.Mono())
	if off := zero.Sub(time.UnixMicro(h.ahead.Load())); off.Abs() > drift {
		h.ahead.Store(zero.UnixMicro())
	}
	if step := zero.Sub(h.wallZero).Abs(); step > stepOfClock {
		if h.wallZero = zero; h.devices.registry != nil {
			h.devices.registry.ClockSet(h.now())
		}
	}
	if h.clockKnown.Load() || h.cfg.Hub.Clock != "trust" && !h.clock.Known() {
		return
	}
	h.clockKnown.Store(true)
	h.noteHub("clock", "", "it is known to be right")
	h.log.Info("the clock is known to be right", "now", h.now().Wall.Format(time.DateTime))
}
