package gpio

import (
	"testing"
	"testing/synctest"
	"time"

	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// What is on puts out something, and what puts out nothing is off: else it would
// be a fault that a ramp begins at 0, or a level too low for the pin.
func TestTheLowestLevelIsNoFault(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		level      float64
	}{
		{"the beginning of a ramp", `ramp = "2s"`, 100},
		{"of a board that is on when low", "ramp = \"2s\"\nactive_low = true", 100},
		{"less than a pin can", "", 1e-9},
		{"less than a pin can, on when low", "active_low = true", 1e-9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.open("[output.strip]\npin = \"pwmchip0:0\"\nfrequency = \"1kHz\"\n" + tt.keys)
				must(t, h.pins.Command(devices.Command{Output: "strip", Value: tt.level}))
				synctest.Wait()
				if o := h.pins.Outputs()[0]; !o.On || o.Fault != "" {
					t.Errorf("%+v", o)
				}
				time.Sleep(3 * time.Second)
				if o := h.pins.Outputs()[0]; !o.On || o.Fault != "" {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

func TestTheLowestDuty(t *testing.T) {
	for _, f := range []physic.Frequency{50 * physic.Hertz, physic.KiloHertz, 30 * physic.KiloHertz, physic.MegaHertz} {
		for _, level := range []float64{0, 1e-300, 1e-9, 0.0001} {
			o := Output{Frequency: Frequency(f)}
			if d := dutyTime(o.duty(level), int64(f.Period())); d < 1 {
				t.Errorf("%v %% at %v: %d ns", level, f, d)
			}
			o.ActiveLow = true
			if d := int64(f.Period()) - dutyTime(o.duty(level), int64(f.Period())); d < 1 {
				t.Errorf("%v %% at %v, on when low: %d ns", level, f, d)
			}
		}
		if d := (Output{Frequency: Frequency(f)}).duty(100); d != gpio.DutyMax {
			t.Errorf("full at %v is %v", f, d)
		}
	}
}
