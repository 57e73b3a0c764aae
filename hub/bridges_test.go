package hub

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
)

// cable is the way from a hub to another, or to a broker, which may be pulled out.
type cable struct {
	mu    sync.Mutex
	to    interface{ Attach(net.Conn) } // nil: nobody is there
	conns []net.Conn
}

func (c *cable) dial(context.Context, string, string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.to == nil {
		return nil, errStopped
	}
	here, there := net.Pipe()
	c.conns = append(c.conns, here)
	go c.to.Attach(there)
	return here, nil
}

func (c *cable) plug(to interface{ Attach(net.Conn) }) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = to
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// A button on one Pi switches a relay on another, and the first sees what the relay
// is. The cable may be out meanwhile.
func TestAButtonSwitchesARelayOnAnotherPi(t *testing.T) {
	dir := t.TempDir()
	garageDir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		garageSim, hallSim := gpio.NewSim(), gpio.NewSim()
		garage, stopGarage := start(t, load(t, garageDir, "[output.gate]\npin = \"GPIO17\"\n"), Options{Bank: garageSim})
		way := new(cable)
		way.plug(garage)
		const hallConfig = `
[input.button]
pin = "GPIO27"
[rule.gate]
trigger = { state = "button", is = true }
action = { publish = "garage/hearth/gate/set", payload = "TOGGLE", qos = 1 }
[bridge.garage]
address = "garage.local:1883"
topics = [
  { filter = "hearth/gate/set", direction = "out", local_prefix = "garage/" },
  { filter = "hearth/gate/state", direction = "in", local_prefix = "garage/" },
]
`
		var log bytes.Buffer
		hall, stopHall := start(t, load(t, dir, hallConfig), Options{Bank: hallSim, dial: way.dial, Log: slog.New(slog.NewTextHandler(&log, nil))})
		value := func(h *Hub, topic string) (value string) {
			for m := range h.broker.Retained() {
				if m.Topic == topic {
					value = string(m.Payload)
				}
			}
			return value
		}
		is := func(want string, h *Hub, topic string) {
			t.Helper()
			if got := value(h, topic); got != want {
				t.Errorf("%s is %q, want %q", topic, got, want)
			}
		}
		press := func() {
			hallSim.Drive("GPIO27", true)
			time.Sleep(time.Second)
			hallSim.Drive("GPIO27", false)
			time.Sleep(time.Second)
		}
		time.Sleep(3 * time.Second)
		is("online", hall, "hearth/bridge/garage/availability")
		is("OFF", hall, "garage/hearth/gate/state")
		press()
		is("ON", garage, "hearth/gate/state")
		is("ON", hall, "garage/hearth/gate/state")
		if s := hall.BridgeStatus(); len(s) != 1 || !s[0].Connected || s[0].Out != 1 {
			t.Errorf("status %+v", s)
		}

		way.plug(nil)
		time.Sleep(time.Second)
		is("offline", hall, "hearth/bridge/garage/availability")
		press()
		is("ON", garage, "hearth/gate/state")
		time.Sleep(24 * time.Hour)
		way.plug(garage)
		time.Sleep(2 * time.Minute)
		is("OFF", garage, "hearth/gate/state")
		is("OFF", hall, "garage/hearth/gate/state")
		is("online", hall, "hearth/bridge/garage/availability")

		// The bridge is taken out of the configuration: nothing of it stays.
		if err := hall.Reload(load(t, dir, "[input.button]\npin = \"GPIO27\"\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		is("", hall, "hearth/bridge/garage/availability")
		if s := hall.broker.Stats(); s.Sessions != 0 {
			t.Errorf("%d sessions are kept", s.Sessions)
		}
		if s := garage.broker.Stats(); s.Sessions != 0 {
			t.Errorf("%d sessions are kept in the garage", s.Sessions)
		}
		stopHall()
		stopGarage()
		if n := strings.Count(log.String(), "bridge=garage"); n != 4 {
			t.Errorf("%d lines of log about the bridge, want 4: linked, lost, not there, linked:\n%s", n, &log)
		}
	})
}

// A house that has the name of another is another all the same, and the same after
// a restart; and what a bridge was that was taken out while the hub was off is
// cleared away.
func TestHousesHaveNamesOfTheirOwn(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const text = "[bridge.b]\naddress = \"b:1883\"\ntopics = [{ filter = \"x\", direction = \"out\" }]\n"
		way := new(cable)
		open := func(dir, text string) (name string, kept []string, stop func()) {
			h, stop := start(t, load(t, dir, text), Options{Bank: gpio.NewSim(), dial: way.dial})
			time.Sleep(time.Second)
			for m := range h.broker.Retained() {
				if strings.Contains(m.Topic, "bridge") {
					kept = append(kept, m.Topic)
				}
			}
			return h.houseName(), kept, stop
		}
		first, kept, stop := open(dir, text)
		stop()
		if want := []string{"hearth/bridge/b/availability"}; !slices.Equal(kept, want) {
			t.Errorf("retained is %q, want %q", kept, want)
		}
		again, kept, stop := open(dir, "")
		stop()
		another, _, stop := open(other, "")
		stop()
		if first != again || first == another || !strings.HasPrefix(first, "home-") {
			t.Errorf("the names are %q, %q after a restart, %q of another", first, again, another)
		}
		if len(kept) != 0 {
			t.Errorf("retained is %q", kept)
		}
	})
}

// A bridge never takes the place of what only the hub may say.
func TestABridgeCannotSayWhatTheHubSays(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		remote, stopRemote := start(t, load(t, other, "[output.lamp]\npin = \"GPIO17\"\n"), Options{Bank: gpio.NewSim()})
		way := new(cable)
		way.plug(remote)
		var said atomic.Int32
		sim := gpio.NewSim()
		h, stop := start(t, load(t, dir, "[output.lamp]\npin = \"GPIO17\"\ninitial = \"on\"\n[bridge.b]\naddress = \"b:1883\"\ntopics = [{ filter = \"hearth/#\", direction = \"in\" }]\n"),
			Options{Bank: sim, dial: way.dial})
		time.Sleep(5 * time.Second)
		for m := range h.broker.Retained() {
			if m.Topic == "hearth/lamp/state" {
				said.Add(1)
				if string(m.Payload) != "ON" {
					t.Errorf("the lamp is said to be %s", m.Payload)
				}
			}
		}
		if s := h.BridgeStatus()[0]; said.Load() != 1 || s.Refused == 0 || s.In != 0 {
			t.Errorf("status %+v", s)
		}
		stop()
		stopRemote()
	})
}
