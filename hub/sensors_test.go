package hub

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/gpio"
)

const cellar = `
[sensor.cellar]
iio = "bmp280"
unit = "kPa"
[output.fan]
pin = "GPIO5"
[rule.fan]
trigger = { state = "cellar.temperature", above = 25, until = 22 }
action = { set = "fan", on = true, off = false }
`

// fakeRoot is a machine with a BMP280; set changes what it measures, in
// thousandths of a degree, "" takes it away.
func fakeRoot(t *testing.T) (root string, set func(temperature string)) {
	root = t.TempDir()
	dir := filepath.Join(root, "sys/bus/iio/devices/iio:device0")
	return root, func(temperature string) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if temperature == "" {
			return
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"name": "bmp280", "in_temp_input": temperature, "in_pressure_input": "100.653269531"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// heard is the topics of the house as a client sees them, newest payload each.
type heard struct {
	mu sync.Mutex
	by map[string]string
}

func (h *heard) got(p *paho.Publish) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[string]string{}
	}
	h.by[p.Topic] = string(p.Payload)
}

func (h *heard) want(t *testing.T, topics map[string]string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for topic, payload := range topics {
		if got := h.by[topic]; got != payload {
			t.Errorf("%s is %q, want %q", topic, got, payload)
		}
	}
}

// A rule acts on a sensor. The sensor dies: it is offline and nothing of it is
// remembered, nor acted upon. It returns, and so does what follows from it.
func TestASensorThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, set := fakeRoot(t)
		set("25080")
		h, stop := start(t, load(t, t.TempDir(), cellar), Options{Bank: gpio.NewSim(), Root: root})
		var heard heard
		client, end := connect(t, h, "phone", heard.got)
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hearth/#"}}}); err != nil {
			t.Fatal(err)
		}
		heard.want(t, map[string]string{
			"hearth/cellar/temperature":  "25.08",
			"hearth/cellar/pressure":     "100.653",
			"hearth/cellar/availability": "online",
			"hearth/fan/state":           "OFF", // what is found at the start begins nothing
		})
		set("25100")
		time.Sleep(31 * time.Second)
		heard.want(t, map[string]string{"hearth/cellar/temperature": "25.1", "hearth/fan/state": "ON"})
		if v, err := (page{h}).View(t.Context()); err != nil || len(v.Readings) != 2 || v.Readings[1].Text != "25.1" {
			t.Error("on the page:", v.Readings, err)
		}

		set("")
		time.Sleep(59 * time.Second) // two intervals since the last measurement
		heard.want(t, map[string]string{
			"hearth/cellar/temperature":  "",
			"hearth/cellar/pressure":     "",
			"hearth/cellar/availability": "offline",
		})
		if _, ok := h.registry.Last("cellar.temperature"); ok {
			t.Error("the last value is still remembered")
		}
		if v, err := (page{h}).View(t.Context()); err != nil || len(v.Readings) != 2 || v.Readings[1].Bad != "unavailable: there is no device called bmp280, nor any other" {
			t.Error("on the page:", v.Readings, err)
		}
		set("21000")
		time.Sleep(30 * time.Second)
		heard.want(t, map[string]string{
			"hearth/cellar/temperature":  "21",
			"hearth/cellar/availability": "online",
			"hearth/fan/state":           "OFF",
		})
		end()
		stop()
	})
}

// Without its hardware a house starts all the same, and the log says what is missing.
func TestASensorThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), `
			[sensor.attic]
			type = "bme280"
			bus = "far:2"
			[i2c.far]
			type = "pca9548"
			bus = "I2C1"`)
		var log bytes.Buffer
		h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), Simulated: true, Root: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		var heard heard
		client, end := connect(t, h, "phone", heard.got)
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hearth/#"}}}); err != nil {
			t.Fatal(err)
		}
		heard.want(t, map[string]string{"hearth/attic/availability": "offline"})
		time.Sleep(time.Hour)
		heard.want(t, map[string]string{"hearth/attic/availability": "offline"})
		end()
		stop()
		if n := strings.Count(log.String(), "the pins are simulated, so no bus is opened"); n != 1 {
			t.Errorf("%d lines of the log say why, want 1:\n%s", n, log.String())
		}
	})
}

// A reload adds a sensor, takes another away with all that was said of it, and
// leaves the third alone.
func TestAReloadOfSensors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, set := fakeRoot(t)
		set("25080")
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, `sensor.before = { iio = "bmp280" }`), Options{Bank: gpio.NewSim(), Root: root})
		var heard heard
		client, end := connect(t, h, "phone", heard.got)
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hearth/#"}}}); err != nil {
			t.Fatal(err)
		}
		heard.want(t, map[string]string{"hearth/before/temperature": "25.08"})
		if err := h.Reload(load(t, dir, `sensor.after = { iio = "bmp280", unit = ["F", "Pa"] }`)); err != nil {
			t.Fatal(err)
		}
		heard.want(t, map[string]string{
			"hearth/before/temperature": "", "hearth/before/pressure": "", "hearth/before/availability": "",
			"hearth/after/temperature": "77.14", "hearth/after/pressure": "100653", "hearth/after/availability": "online",
		})
		if !slices.Equal(h.cfg.wired(), []string{"after"}) {
			t.Error(h.cfg.wired())
		}
		end()
		stop()
	})
}
