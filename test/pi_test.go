package test

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPi is the arm64 binary in an emulated Raspberry Pi 3B (vm/pi3.sh): its
// lines are those of pinctrl-bcm2835, as on the board, and its watchdog is the
// board's. What the lines do is read from the kernel.
func TestPi(t *testing.T) {
	if os.Getenv("HEARTH_PI") == "" {
		t.Skip("NOT TESTED: this is no emulated Raspberry Pi. Run make gpio-pi3.")
	}
	model, err := os.ReadFile("/proc/device-tree/model")
	if err != nil {
		t.Fatal(err)
	}
	const config = `
		[output.relay]
		pin = "GPIO17"
		active_low = true
		[output.valve]
		pin = "GPIO22"
		max_on = "2s"
		[input.button]
		pin = "GPIO27"
		pull = "up"
		debounce = "20ms"
	`
	h := install(t, config)
	l := h.serve(t).mustBeReady(t)
	began := l.ready
	c := l.client(t, "x", "hearth/+/state")
	// is waits until the kernel says of a line that it is so.
	is := func(pin, want string) {
		t.Helper()
		line := regexp.MustCompile(`gpio-\d+ +\(` + pin + ` +\|hearth +\) (out hi|out lo|in)`)
		eventually(t, pin+" "+want, func() bool {
			f := line.FindStringSubmatch(debugfs(t))
			return f != nil && f[1] == want
		})
	}
	is("GPIO17", "out hi")
	is("GPIO22", "out lo")
	is("GPIO27", "in")
	const switches = 10
	first := time.Now()
	for range switches {
		c.send(t, "hearth/relay/set", "ON", false)
		is("GPIO17", "out lo")
		c.send(t, "hearth/relay/set", "OFF", false)
		is("GPIO17", "out hi")
	}
	each := time.Since(first) / (2 * switches)
	c.send(t, "hearth/valve/set", "ON", false)
	is("GPIO22", "out hi")
	on := time.Now()
	is("GPIO22", "out lo")
	took := time.Since(on)
	if took < 1900*time.Millisecond || took > 2500*time.Millisecond {
		t.Errorf("on for %v, max_on is 2s", took)
	}
	chip := regexp.MustCompile(`pinctrl-\w+`).FindString(debugfs(t))
	shown(t, "10. %s, %s: ready after %v; %d switches over MQTT, %v each; max_on = 2s: off after %v",
		strings.TrimRight(string(model), "\x00"), chip, began.Round(time.Millisecond), 2*switches, each.Round(time.Millisecond), took.Round(time.Millisecond))
	h.end(t, l, syscall.SIGTERM)
	if h.log.len() == 0 {
		t.Error("the hub said nothing")
	}
}
