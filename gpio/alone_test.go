package gpio

import (
	"slices"
	"testing"
)

// What is tried alone brings what must not be on with it, and nothing else; it
// keeps its longest time, starts safe, and waits for nothing.
func TestAlone(t *testing.T) {
	cfg := configured(t, `
		[output.up]
		pin = "GPIO5"
		max_on = "1m"
		min_off = "5m"
		min_on = "1s"
		initial = "on"
		[output.down]
		pin = "GPIO6"
		[output.lamp]
		pin = "GPIO7"
		[output.plug]
		topic = "cmnd/plug/POWER"
		[interlock.shutter]
		outputs = ["up", "down", "plug"]
		[input.door]
		pin = "GPIO4"
	`)
	alone, err := cfg.Alone("up")
	if err != nil {
		t.Fatal(err)
	}
	up, _ := alone.Output.Get("up")
	if got := alone.Output.Names(); !slices.Equal(got, []string{"up", "down"}) || len(alone.Interlock) != 1 || len(alone.Input) != 0 {
		t.Errorf("with up come %v, %v and %v", got, alone.Interlock, alone.Input)
	}
	if up.MaxOn != cfg.Output[0].Value.MaxOn || up.MinOn != 0 || up.MinOff != 0 || up.StartsOn() {
		t.Errorf("up is tried as %+v", up)
	}
	if was := cfg.Output[0].Value; was.MinOff == 0 || !was.StartsOn() {
		t.Errorf("the configuration was changed: %+v", was)
	}
	for name, want := range map[string][2][]string{"lamp": {{"lamp"}, nil}, "door": {nil, {"door"}}} {
		alone, err := cfg.Alone(name)
		if err != nil || !slices.Equal(alone.Output.Names(), want[0]) || !slices.Equal(alone.Input.Names(), want[1]) {
			t.Errorf("with %s come %v and %v, %v", name, alone.Output.Names(), alone.Input.Names(), err)
		}
	}
	_, err = cfg.Alone("plug")
	wantError(t, err, "is on a topic", "hearth pub cmnd/plug/POWER ON")
	_, err = cfg.Alone("lam")
	wantError(t, err, `did you mean "lamp"?`)
}
