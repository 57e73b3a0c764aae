package hub

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
	"hearth/web"
)

const wiredHouse = `
[input.pir]
pin = "GPIO27"
pull = "down"
# The lamp by the door.
[output.lamp]
pin = "GPIO17"
active_low = true
feedback = "lamp_runs"
feedback_within = "1s"
[input.lamp_runs]
pin = "GPIO5"
[output.attic]
pin = "relays:3"
[expander.relays]
type = "mcp23017"
address = "0x20"
interrupt = "GPIO25"
[sensor.hall]
type = "bme280"
bus = "I2C1"
[link.lamp]
from = "pir"
to = "lamp"
`

// What the page draws is what the configuration says: of a pin its use with the lines that
// make it one, of a bus the pins that it has.
func TestTheBoard(t *testing.T) {
	h, stop := start(t, load(t, t.TempDir(), wiredHouse), Options{Simulated: true, Bank: gpio.NewSim()})
	defer stop()
	b, err := page{h}.Board(t.Context())
	if err != nil || !b.Simulated || len(b.Pins) != 40 {
		t.Fatal(b, err)
	}
	pin := func(n int) web.BoardPin { return b.Pins[n-1] }
	lamp := pin(11)
	if u := lamp.Uses[0]; lamp.Kind() != "ours" || u.Name != "lamp" || u.Table != "output" || !u.ActiveLow || len(u.Cautions) != 1 ||
		u.Config != "[output.lamp]\npin = \"GPIO17\"\nactive_low = true\nfeedback = \"lamp_runs\"\nfeedback_within = \"1s\"" {
		t.Errorf("%+v", u)
	}
	if u := pin(13).Uses[0]; u.Name != "pir" || u.Pull != "down" || u.Table != "input" {
		t.Errorf("%+v", u)
	}
	for _, n := range []int{3, 5} {
		if p := pin(n); p.Held != "I2C1" || !slices.Equal(p.For, []string{"relays", "hall"}) || p.Kind() != "held" {
			t.Errorf("%+v", p)
		}
	}
	if p := pin(22); p.Kind() != "ours" || p.Uses[0].Table != "expander" || p.Uses[0].Name != "relays" {
		t.Errorf("%+v", p)
	}
	if len(b.Others) != 1 || b.Others[0].Line != "relays:3" || b.Others[0].Uses[0].Wrong != "" || b.Others[0].Uses[0].Config == "" {
		t.Errorf("%+v", b.Others)
	}
	if p := pin(37); p.Kind() != "free" {
		t.Errorf("%+v", p)
	}
}

// An input is flipped on the page, and the lamp that follows it turns on all others. Its
// feedback does not, so it is in fault until somebody acknowledges that on the page.
func TestAFaultIsAcknowledgedOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), strings.Replace(wiredHouse, "[output.attic]\npin = \"relays:3\"", "", 1)), Options{Simulated: true, Bank: gpio.NewSim()})
		defer stop()
		p := page{h}
		events, leave := p.Watch()
		defer leave()
		lamp := func() web.Pin {
			v, err := p.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return v.Outputs[0]
		}
		if err := p.Acknowledge(t.Context(), "lamp"); err == nil || err.Error() != "lamp has no fault to acknowledge" {
			t.Error(err)
		}
		if err := p.Acknowledge(t.Context(), "lmp"); err == nil || !strings.Contains(err.Error(), `did you mean "lamp"`) {
			t.Error(err)
		}
		time.Sleep(time.Second) // of the virtual clock: how the inputs are at the start is known
		if err := p.Drive(t.Context(), "pir", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // of the virtual clock, for the contact's bounce
		synctest.Wait()
		turned := false
		for range len(events) {
			if e := <-events; e.Output != nil && e.Output.Name == "lamp" && e.Output.On {
				turned = true
			}
		}
		if !turned {
			v, _ := p.View(t.Context())
			t.Errorf("no page heard that the lamp turned: %+v %+v", v.Inputs, v.Decisions)
		}
		time.Sleep(2 * time.Second)
		if is := lamp(); is.On || !is.Latched || is.Acknowledged || is.Fault == "" || is.Note != "" || is.Hint != "went on once" {
			t.Errorf("without its feedback: %+v", is)
		}
		if err := p.Acknowledge(t.Context(), "lamp"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if is := lamp(); is.Latched || is.Fault != "" {
			t.Errorf("afterwards: %+v", is)
		}
		v, _ := p.View(t.Context())
		if d := v.Decisions[0]; d.Rule != "page" || !strings.Contains(d.Text, "somebody acknowledged the fault of lamp on the page") {
			t.Errorf("it is told as %+v", d)
		}
	})
}

// A fault that is no output's own is quiet once it was acknowledged, until it is over or
// another one.
func TestAFaultIsQuietUntilItIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), "[output.lamp]\npin = \"GPIO17\"\n"), Options{Bank: sim})
		defer stop()
		p := page{h}
		lamp := func() web.Pin {
			time.Sleep(2 * time.Second)
			v, _ := p.View(t.Context())
			return v.Outputs[0]
		}
		sim.Fail("GPIO17", errBroken("no answer for 3s"))
		p.Switch(t.Context(), "lamp", true)
		if is := lamp(); is.Fault == "" || is.Acknowledged {
			t.Fatalf("%+v", is)
		}
		if err := p.Acknowledge(t.Context(), "lamp"); err != nil {
			t.Fatal(err)
		}
		if is := lamp(); is.Fault == "" || !is.Acknowledged {
			t.Errorf("it is not quiet: %+v", is)
		}
		sim.Fail("GPIO17", errBroken("the line is held"))
		p.Switch(t.Context(), "lamp", true)
		if is := lamp(); is.Acknowledged {
			t.Errorf("another one is quiet: %+v", is)
		}
	})
}

type errBroken string

func (e errBroken) Error() string { return string(e) }
