package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The first house of the README: a sensor on MQTT, a relay on a pin, three lines
// between them; and outputs with every kind of safe state.
const porch = `
[output.porch_light]
pin = "GPIO17"
active_low = true

[output.fan]
pin = "GPIO22"
initial = "off"
safe = "on"

[output.pump]
pin = "GPIO23"
safe = "hold"

[link.hall_light]
from = "zigbee2mqtt/hall_motion:occupancy"
to = "porch_light"
`

// A dialect is a way to speak MQTT, as options of the clients.
type dialect struct {
	name      string
	mosquitto []string
	python    []string
}

var dialects = []dialect{
	{"MQTT 3.1.1", []string{"-V", "311"}, nil},
	{"MQTT 5", []string{"-V", "5"}, []string{"--v5"}},
}

// Debian's clients switch the lamp, and see it switched.
func TestRealClientsSwitchALamp(t *testing.T) {
	needMosquitto(t)
	needPython(t)
	hub := newHouse(t, t.TempDir(), porch).start(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			// mosquitto_sub watches; that it has subscribed shows in the state that it finds.
			watch := follow(t, mosquitto(hub, "mosquitto_sub", d, "-v", "-t", "hearth/porch_light/state"))
			watch.expect(t, "hearth/porch_light/state OFF")

			// A sensor that is a Python program, and a three-line link.
			must(t, python(d, hub.tcp, "pub", "zigbee2mqtt/hall_motion", `{"occupancy":true,"battery":97}`))
			watch.expect(t, "hearth/porch_light/state ON")
			must(t, python(d, hub.tcp, "pub", "zigbee2mqtt/hall_motion", `{"occupancy":false,"battery":97}`))
			watch.expect(t, "hearth/porch_light/state OFF")

			// The same by hand.
			must(t, mosquitto(hub, "mosquitto_pub", d, "-q", "1", "-t", "hearth/porch_light/set", "-m", "ON"))
			watch.expect(t, "hearth/porch_light/state ON")

			// Who comes late is told what is so.
			late, err := mosquitto(hub, "mosquitto_sub", d, "-v", "-C", "1", "-W", "20", "-t", "hearth/porch_light/state").Output()
			if got := strings.TrimSpace(string(late)); got != "hearth/porch_light/state ON" {
				t.Errorf("a late mosquitto_sub got %q, %v", got, err)
			}
			lateToo := follow(t, python(d, hub.tcp, "sub", "hearth/porch_light/state"))
			lateToo.expect(t, "hearth/porch_light/state ON retained")

			must(t, mosquitto(hub, "mosquitto_pub", d, "-q", "2", "-t", "hearth/porch_light/set", "-m", "off"))
			watch.expect(t, "hearth/porch_light/state OFF")
			lateToo.expect(t, "hearth/porch_light/state OFF")
		})
	}
	if c := hub.complaints(true); len(c) > 0 {
		t.Errorf("the hub complains:\n%s", strings.Join(c, "\n"))
	}
}

// A page in a browser speaks MQTT over WebSocket; Python does it here.
func TestWebSocketClientsSwitchALamp(t *testing.T) {
	needPython(t)
	hub := newHouse(t, t.TempDir(), porch).start(t)
	at := strings.TrimPrefix(hub.ws, "ws://")
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			d.python = append([]string{"--ws"}, d.python...)
			watch := follow(t, python(d, at, "sub", "hearth/porch_light/state"))
			watch.expect(t, "hearth/porch_light/state OFF retained")
			must(t, python(d, at, "pub", "zigbee2mqtt/hall_motion", `{"occupancy":true}`))
			watch.expect(t, "hearth/porch_light/state ON")
			must(t, python(d, at, "pub", "hearth/porch_light/set", "OFF"))
			watch.expect(t, "hearth/porch_light/state OFF")
		})
	}
}

// What one client retains, the others find, also after a restart, whatever
// protocol each speaks.
func TestRetainedValuesAreForAllClients(t *testing.T) {
	needMosquitto(t)
	needPython(t)
	house := newHouse(t, t.TempDir(), porch)
	hub := house.start(t)
	must(t, python(dialects[1], hub.tcp, "pub", "garage/door", "open", "--retain"))
	must(t, mosquitto(hub, "mosquitto_pub", dialects[0], "-q", "1", "-r", "-t", "attic/window", "-m", "closed"))
	for _, life := range []string{"in the same life", "after a restart"} {
		for _, d := range dialects {
			out, err := mosquitto(hub, "mosquitto_sub", d, "-v", "-C", "2", "-W", "20", "-t", "garage/+", "-t", "attic/+").Output()
			for _, want := range []string{"garage/door open", "attic/window closed"} {
				if !strings.Contains(string(out), want+"\n") {
					t.Errorf("%s, %s: mosquitto_sub got %q, %v; want %q in it", life, d.name, out, err, want)
				}
			}
		}
		hub.stop(t)
		hub = house.start(t)
	}
}

// A subscriber that comes late gets all that is retained, however much that is
// and however slowly it acknowledges.
func TestLateSubscriberGetsThousandsOfRetainedValues(t *testing.T) {
	needMosquitto(t)
	hub := newHouse(t, t.TempDir(), porch).start(t)
	const many = 3000
	c := hub.client(t, "publisher")
	var all sync.WaitGroup
	for i := range 10 { // side by side, for each waits for the disk
		all.Go(func() {
			for n := i; n < many; n += 10 {
				c.publish(t.Context(), fmt.Sprint("many/", n), strings.Repeat("x", 200), 1, true)
			}
		})
	}
	all.Wait()
	for _, d := range dialects {
		for _, qos := range []string{"0", "1", "2"} {
			late := follow(t, mosquitto(hub, "mosquitto_sub", d, "-q", qos, "-F", "%t", "-t", "many/#"))
			if !within(patience/4, func() bool { return late.len() >= many }) {
				t.Errorf("%s, QoS %s: a late subscriber got %d retained values of %d", d.name, qos, late.len(), many)
			}
		}
	}
}

// SIGTERM, as systemd sends it: every output goes to its safe state, everybody
// who listens is told so, and the hub is gone within a second.
func TestSIGTERMLeavesOutputsSafe(t *testing.T) {
	house := newHouse(t, t.TempDir(), porch)
	hub := house.start(t)
	hand := hub.client(t, "hand")
	watch := hub.client(t, "watch", "hearth/#")
	hand.send(t, "hearth/porch_light/set", "ON", false)
	watch.expect(t, "hearth/porch_light/state", "ON")
	hand.send(t, "hearth/pump/set", "ON", false)
	watch.expect(t, "hearth/pump/state", "ON")
	for _, o := range hub.view(t).Outputs {
		if want := o.Name != "fan"; !o.Known || o.On != want {
			t.Errorf("before SIGTERM the page shows %+v", o)
		}
	}

	hub.stop(t)
	// The states are what the pins were read back as when they had been made safe.
	want := map[string]string{
		"hearth/porch_light/state":        "OFF",
		"hearth/fan/state":                "ON",
		"hearth/pump/state":               "ON",
		"hearth/porch_light/availability": "offline",
		"hearth/fan/availability":         "offline",
		"hearth/pump/availability":        "offline",
		"hearth/status":                   "offline",
	}
	if !within(patience, func() bool { return contains(watch.last(), want) }) {
		t.Errorf("the last that the hub said is %v, want %v", watch.last(), want)
	}

	// What was to be held is so again; the others begin as configured.
	watch = house.start(t).client(t, "watch", "hearth/#")
	want = map[string]string{"hearth/porch_light/state": "OFF", "hearth/fan/state": "OFF", "hearth/pump/state": "ON", "hearth/status": "online"}
	if !within(patience, func() bool { return contains(watch.last(), want) }) {
		t.Errorf("the next life says %v, want %v", watch.last(), want)
	}
}

// SIGTERM keeps its second also when a client that reads nothing has a queue,
// others send without end and one has not said who it is.
func TestSIGTERMWhileClientsAreBusy(t *testing.T) {
	hub := newHouse(t, t.TempDir(), porch).start(t)
	watch := hub.client(t, "watch", "hearth/#")
	deaf := connectDeaf(t, hub.tcp)
	defer deaf.Close()
	silent, err := net.Dial("tcp", hub.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := flood(ctx, t, hub)
	watch.send(t, "hearth/porch_light/set", "ON", false)
	watch.expect(t, "hearth/porch_light/state", "ON")
	eventually(t, "a flood of 20 MB", func() bool { return sent.Load() > 20<<20 })

	hub.stop(t)
	watch.expect(t, "hearth/porch_light/state", "OFF")
}

func contains(all, want map[string]string) bool {
	for k, v := range want {
		if all[k] != v {
			return false
		}
	}
	return true
}

func needMosquitto(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "%s (Debian: mosquitto-clients)", tool)
		}
	}
}

// python3 is the system's own, for which Debian packages paho.
const python3 = "/usr/bin/python3"

func needPython(t *testing.T) {
	t.Helper()
	if err := exec.Command(python3, "-c", "import paho.mqtt.client").Run(); err != nil {
		missing(t, "%s with paho (Debian: python3-paho-mqtt)", python3)
	}
}

func mosquitto(hub *life, tool string, d dialect, args ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(hub.tcp)
	return exec.Command(tool, append(append([]string{"-h", host, "-p", port}, d.mosquitto...), args...)...)
}

func python(d dialect, addr, what string, args ...string) *exec.Cmd {
	return exec.Command(python3, append(append([]string{"client.py", what, addr}, args...), d.python...)...)
}

// must runs a client that is to end by itself.
func must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out.Bytes())
	}
}

// A follower is a client that runs on, and what it prints.
type follower struct {
	transcript
	seen int
}

func follow(t *testing.T, cmd *exec.Cmd) *follower {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	f := new(follower)
	read := make(chan struct{})
	go func() {
		defer close(read)
		f.read(r)
		r.Close()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		<-read
	})
	return f
}

// expect waits for a line after the last one that was expected.
func (f *follower) expect(t *testing.T, line string) {
	t.Helper()
	eventually(t, "the line "+line, func() bool {
		for n := f.len(); f.seen < n; {
			f.mu.Lock()
			text := strings.TrimSpace(f.said[f.seen].text)
			f.mu.Unlock()
			f.seen++
			if text == line {
				return true
			}
		}
		return false
	})
}
