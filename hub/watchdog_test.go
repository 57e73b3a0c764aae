package hub

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
)

// patient is a device that waits as long as it is asked to, however plain a file
// it is.
func patient(_ *os.File, seconds int) (int, error) { return seconds, nil }

// fed is what a watchdog heard: a dot for each feeding, V when it was let go.
func fed(t *testing.T, path string) string {
	t.Helper()
	return strings.ReplaceAll(string(read(t, path)), "\x00", ".")
}

func device(t *testing.T, dir, name string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// It is fed while the loop turns, not a moment longer, and let go when the hub
// stops in order.
func TestTheWatchdogIsFedWhileTheLoopTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := device(t, dir, "watchdog")
		h, stop := start(t, load(t, dir, fmt.Sprintf("[hub]\nwatchdog = %q\n", path)), Options{Bank: gpio.NewSim(), patience: patient})
		time.Sleep(10500 * time.Millisecond)
		if got := fed(t, path); got != strings.Repeat(".", 10) {
			t.Errorf("in ten seconds it heard %q", got)
		}
		stalled := make(chan struct{})
		h.inbox.always(&item{control: func() { <-stalled }})
		time.Sleep(time.Minute)
		if got := fed(t, path); got != strings.Repeat(".", 10) {
			t.Errorf("while the loop was stalled it heard %q", got)
		}
		close(stalled)
		time.Sleep(time.Second)
		stop()
		if got := fed(t, path); !strings.HasSuffix(got, ".V") || strings.Count(got, "V") != 1 {
			t.Errorf("at the end it heard %q, want one V as its last word", got)
		}
	})
}

// A reload begins to feed one, changes to another, goes on as it was, and ends it.
func TestTheWatchdogFollowsAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		one, two := device(t, dir, "one"), device(t, dir, "two")
		with := func(path string) *Config { return load(t, dir, fmt.Sprintf("[hub]\nwatchdog = %q\n", path)) }
		h, stop := start(t, load(t, dir, ""), Options{Bank: gpio.NewSim(), patience: patient})
		time.Sleep(500 * time.Millisecond) // between two beats
		for _, path := range []string{one, one, two, ""} {
			if err := h.Reload(with(path)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
		}
		if got := fed(t, one) + " " + fed(t, two); got != "......V ...V" {
			t.Errorf("they heard %q", got)
		}
		// What can't be had changes nothing.
		device(t, dir, "one")
		if err := h.Reload(with(one)); err != nil {
			t.Fatal(err)
		}
		if err := h.Reload(with(filepath.Join(dir, "three"))); err == nil {
			t.Error("there is no such device, and nobody says so")
		}
		time.Sleep(2 * time.Second)
		if got := fed(t, one); got != ".." {
			t.Errorf("the first one heard %q", got)
		}
		stop()
	})
}

// What can't be a watchdog, or is one that would reset the machine too soon,
// ends the start with a reason.
func TestWatchdogsThatCantBeHad(t *testing.T) {
	dir := t.TempDir()
	path := device(t, dir, "watchdog")
	for _, tt := range []struct {
		path     string
		patience func(*os.File, int) (int, error)
		want     string
	}{
		{"/dev/null", nil, "/dev/null is no watchdog, want a device such as /dev/watchdog"},
		{path, nil, "is no watchdog"},
		{path, func(*os.File, int) (int, error) { return 3, nil }, "resets the machine after 3 s, want at least 5 s"},
		{filepath.Join(dir, "none"), nil, "no such file"},
	} {
		_, err := New(load(t, t.TempDir(), fmt.Sprintf("[hub]\nwatchdog = %q\n", tt.path)), Options{Bank: gpio.NewSim(), Clock: testClock(), Offline: true, patience: tt.patience})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "hub.watchdog: ") {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		}
	}
	if got := fed(t, path); got != "V" {
		t.Errorf("the one that was asked heard %q, want that it was let go", got)
	}
}

// One that takes nothing is told of once.
func TestAWatchdogThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		_, stop := start(t, load(t, t.TempDir(), "[hub]\nwatchdog = \"/dev/full\"\n"),
			Options{Bank: gpio.NewSim(), patience: patient, Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(10 * time.Second)
		stop()
		if n := strings.Count(log.String(), "takes nothing"); n != 1 {
			t.Errorf("it is told %d times:\n%s", n, &log)
		}
	})
}
