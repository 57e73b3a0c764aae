package gpio

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
)

// What is declared of outputs beyond their limits, at work on pins.

const valve = `
	[output.valve]
	pin = "GPIO1"
	feedback = "valve_open"
	feedback_within = "5s"
	[input.valve_open]
	pin = "GPIO2"
`

func TestAStuckValve(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(valve)
		h.hears("0 valve OFF initial", "0 valve.fault none initial", "0 valve_open OFF initial")
		h.set("valve", true)
		time.Sleep(time.Second)
		h.drive("GPIO2", gpio.High)
		time.Sleep(9 * time.Second)
		h.hears("0 valve ON", "1 valve_open ON")

		h.set("valve", false) // and it stays open
		time.Sleep(10 * time.Second)
		const fault = "its feedback valve_open says ON 5s after it was switched OFF"
		h.hears("10 valve OFF", "15 valve OFF", "15 valve.fault "+fault)
		wantError(t, h.pins.Set("valve", true), "valve has a fault and stays as it is until somebody acknowledges that: "+fault)
		if i := h.pins.Outputs()[0]; i.Fault != fault+"; it waits to be acknowledged" {
			t.Errorf("the page shows %+v", i)
		}

		h.crash() // and the fault is still there
		h.open(valve)
		h.heard = nil
		wantError(t, h.pins.Set("valve", true), "valve has a fault")
		h.drive("GPIO2", gpio.Low)
		if err := h.pins.Command(devices.Command{Output: "valve", Value: "acknowledge"}); err != nil {
			t.Fatal(err)
		}
		h.set("valve", true)
		time.Sleep(time.Second)
		h.drive("GPIO2", gpio.High)
		time.Sleep(time.Minute)
		h.hears("22 valve OFF", "22 valve ON", "22 valve.fault none", "23 valve_open ON")
	})
}

// A restart gives an output what it had, if it is declared so; but never what was
// for a moment only.
func TestTheLastState(t *testing.T) {
	const lamp = "[output.lamp]\npin = \"GPIO1\"\ninitial = \"last\"\n"
	for _, tt := range []struct {
		name, toml string
		command    devices.Command
		away       time.Duration
		crash, on  bool
	}{
		{"on over a stop", lamp, devices.Command{Value: true}, time.Minute, false, true},
		{"on over a crash", lamp, devices.Command{Value: true}, time.Minute, true, true},
		{"off", lamp, devices.Command{Value: false}, time.Minute, false, false},
		{"on for a time", lamp, devices.Command{Value: true, For: time.Hour}, time.Minute, true, false},
		{"max_on has passed meanwhile", lamp + "max_on = \"5m\"", devices.Command{Value: true}, 6 * time.Minute, true, false},
		{"max_on has not passed", lamp + "max_on = \"5m\"", devices.Command{Value: true}, 3 * time.Minute, true, true},
		{"the same of one that is held", "[output.lamp]\npin = \"GPIO1\"\nsafe = \"hold\"\nmax_on = \"5m\"", devices.Command{Value: true}, 6 * time.Minute, true, false},
		{"not declared so", "[output.lamp]\npin = \"GPIO1\"", devices.Command{Value: true}, time.Minute, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.open(tt.toml)
				tt.command.Output = "lamp"
				if err := h.pins.Command(tt.command); err != nil {
					t.Fatal(err)
				}
				if tt.crash {
					h.crash()
				} else {
					time.Sleep(2 * time.Second)
					if err := h.pins.Close(); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tt.away)
				h.open(tt.toml)
				if on := h.pins.Outputs()[0].On; on != tt.on {
					t.Errorf("it starts %v", on)
				}
				left := 2 * time.Minute
				if time.Sleep(left); tt.on && tt.away == 3*time.Minute && h.pins.Outputs()[0].On {
					t.Error("max_on begins anew with each start")
				}
			})
		})
	}
}

// An hour's six starts are not twelve because the hub was restarted.
func TestStartsAreCountedOverARestart(t *testing.T) {
	inHouse(t, func(h *house) {
		const pump = "[output.pump]\npin = \"GPIO1\"\nstarts = \"2/1h\""
		h.open(pump)
		for range 2 {
			h.set("pump", true)
			time.Sleep(time.Minute)
			h.set("pump", false)
		}
		h.crash()
		h.open(pump)
		h.set("pump", true)
		time.Sleep(2 * time.Hour)
		h.wantSwitched("GPIO1", "3600 H")
		if n := h.pins.Outputs()[0].Cycles; n != 3 {
			t.Errorf("it went on %d times, want 3", n)
		}
	})
}

// After a power cut all that is declared on goes on, one after the other.
func TestInrushAtTheStart(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(`
			[output.a]
			pin = "GPIO1"
			initial = "on"
			[output.b]
			pin = "GPIO2"
			initial = "on"
			[output.c]
			pin = "GPIO3"
			initial = "on"
			[group.all]
			outputs = ["a", "b", "c"]
			stagger = "2s"
		`)
		time.Sleep(time.Minute)
		h.wantSwitched("GPIO1", "0 H")
		h.wantSwitched("GPIO2", "2 H")
		h.wantSwitched("GPIO3", "4 H")
	})
}

// A line that fails, whenever that is, is back within some seconds of its cure: an
// input as it is now, an output in its safe state.
func TestLinesComeBack(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"\n[output.night]\npin = \"GPIO2\"\nsafe = \"hold\"\n[input.pir]\npin = \"GPIO3\"")
		h.set("lamp", true)
		h.set("night", true)
		time.Sleep(10 * time.Second)
		h.hears("0 lamp OFF initial", "0 lamp ON", "0 night OFF initial", "0 night ON", "0 pir OFF initial")
		gone := errors.New("no such device")
		for _, pin := range []string{"GPIO1", "GPIO2", "GPIO3"} {
			h.sim.Fail(pin, gone)
		}
		time.Sleep(2500 * time.Millisecond) // nobody does anything, and all the same it is found out
		h.hears("10 pir bad: no such device", "12 lamp bad: no such device", "12 night bad: no such device")
		wantError(t, h.pins.Set("lamp", true), "lamp: its line does not answer, so nothing can be switched until it is back")
		if i := h.pins.Inputs()[0]; i.Known || i.Fault == "" {
			t.Errorf("the page shows %+v", i)
		}
		for _, pin := range []string{"GPIO1", "GPIO2", "GPIO3"} {
			h.sim.Fail(pin, nil)
		}
		h.drive("GPIO3", gpio.High)
		time.Sleep(5 * time.Second)
		h.hears("13 lamp OFF", "13 night ON", "13 pir ON")
		h.set("lamp", true)
		h.drive("GPIO3", gpio.Low)
		h.hears("17.5 lamp ON", "17.5 pir OFF")
	})
}

func TestASlowHeaterOnPins(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.heater]\npin = \"GPIO1\"\nperiod = \"10s\"")
		if err := h.pins.Command(devices.Command{Output: "heater", Value: 30.0}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		h.hears("0 heater OFF initial", "0 heater.level 0 initial", "0 heater ON", "0 heater.level 30", "3 heater OFF", "10 heater ON", "13 heater OFF")
		h.wantSwitched("GPIO1", "0 H, 3 L, 10 H, 13 L")
		wantError(t, h.pins.Command(devices.Command{Output: "heater", Value: 130.0}), "heater: want a level from 0 to 100, not 130")
	})
}

// flaky is a bank whose pins fail once: at the second level that they are given, when
// the gate is opened.
type flaky struct {
	*Sim
	gate chan struct{}
}

func (b flaky) ByName(pin string) (gpio.PinIO, error) {
	p, err := b.find(pin)
	return &flakyPin{simPin: p, gate: b.gate}, err
}

type flakyPin struct {
	*simPin
	outs int
	gate chan struct{}
}

func (p *flakyPin) Out(l gpio.Level) error {
	if p.outs++; p.outs == 2 {
		<-p.gate
		return errors.New("bus error")
	}
	return p.simPin.Out(l)
}

// What waited behind a switch that failed is not carried out, although the line
// answers again: it may not be wanted any more.
func TestNothingIsCarriedOutBehindAFailure(t *testing.T) {
	inHouse(t, func(h *house) {
		options := h.options()
		gate := make(chan struct{})
		options.Bank = flaky{h.sim, gate}
		var err error
		if h.pins, err = Open(configured(t, "[output.door]\npin = \"GPIO1\""), options); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.set("door", false)
		h.set("door", true)
		close(gate)
		time.Sleep(time.Minute)
		h.wantSwitched("GPIO1", "")
		h.set("door", true)
		h.wantSwitched("GPIO1", "60 H")
	})
}
