package test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPi is the arm64 binary in an emulated Raspberry Pi 3B (vm/pi3.sh): its
// lines are those of pinctrl-bcm2835, as on the board. What they do is read from
// the kernel. The watchdog that counts here is softdog, for the emulator's has no
// clock: vm/pi3.sh shows that it can be set off.
func TestPi(t *testing.T) {
	if os.Getenv("HEARTH_PI") == "" {
		t.Skip("NOT TESTED: this is no emulated Raspberry Pi. Run make gpio-pi3.")
	}
	model, err := os.ReadFile("/proc/device-tree/model")
	if err != nil {
		t.Fatal(err)
	}
	patience = 2 * time.Minute // its clock is that of the machine it runs on, which may be busy
	m := newMachine(t)
	h := install(t, `
		[hub]
		watchdog = "/dev/watchdog0"
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
	`)
	l := h.serve(t).mustBeReady(t)
	ready := time.Now()
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
	before := m.mark(t)
	c.send(t, "hearth/valve/set", "ON", false)
	is("GPIO22", "out hi")
	is("GPIO22", "out lo")
	did := m.did(t, before, 22)
	if len(did) != 2 {
		t.Fatalf("the valve did %v", did)
	}
	took := did[1].at - did[0].at
	// The time runs from when the pin is told, which is a little before it obeys.
	if took < 2*time.Second-each || took > 2500*time.Millisecond+each {
		t.Errorf("on for %v, max_on is 2s, and a switch took %v", took, each)
	}
	chip := regexp.MustCompile(`pinctrl-\w+`).FindString(debugfs(t))
	shown(t, "10. %s, %s: ready after %v; %d switches over MQTT, %v each; max_on = 2s: off after %v",
		strings.TrimRight(string(model), "\x00"), chip, l.ready.Round(time.Millisecond), 2*switches, each.Round(time.Millisecond), took.Round(time.Millisecond))
	// softdog, which is told here only to say that it would have reset the machine.
	triggered := func() int {
		out, err := exec.Command("dmesg").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(out), "softdog: Triggered")
	}
	time.Sleep(time.Until(ready.Add(17 * time.Second)))
	if n := triggered(); n != 0 {
		t.Errorf("fed, it would have reset the machine %d times", n)
	}
	fed := time.Since(ready)
	if err := l.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	eventually(t, "reset by the watchdog", func() bool { return triggered() > 0 })
	starved := time.Since(stopped)
	if starved < 13*time.Second {
		t.Errorf("it would have reset the machine %v after the last feeding", starved)
	}
	if err := l.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.end(t, l, syscall.SIGTERM)
	state, err := os.ReadFile("/sys/class/watchdog/watchdog0/state")
	if err != nil {
		t.Fatal(err)
	}
	if string(state) != "inactive\n" {
		t.Errorf("after the end the watchdog is %s", state)
	}
	shown(t, "10. watchdog of 15 s: no reset in %v while it is fed, one %v after the hub was stopped by SIGSTOP; after an orderly end it is %s",
		fed.Round(time.Second), starved.Round(time.Second/10), strings.TrimSpace(string(state)))
}
