package gpio

import (
	"testing"
	"time"
)

func TestGuardOfLevels(t *testing.T) {
	const strip = "[output.strip]\npin = \"pwmchip0:0\"\nfrequency = \"1kHz\"\n"
	const heater = "[output.heater]\npin = \"GPIO1\"\nperiod = \"10s\"\n"
	for _, tt := range []struct{ name, toml, story, want string }{
		{"a level", strip, "0s strip 40\n1s strip on\n2s strip 0", "0s strip ON 40\n1s strip ON 100\n2s strip OFF\n"},
		{"a ramp, which a newer command takes over where it is", strip, `
			0s strip {"level": 100, "ramp": "100ms"}
			50ms strip {"level": 0, "ramp": "40ms"}`,
			"0s strip ON 0\n20ms strip ON 20\n40ms strip ON 40\n50ms strip ON 50\n70ms strip ON 25\n90ms strip OFF\n"},
		{"max_on does not fade", strip + "ramp = \"1s\"\nmax_on = \"30ms\"", "0s strip 10", "0s strip ON 0\n20ms strip ON 2\n30ms strip OFF: max_on = \"30ms\"\n"},
		{"a slow load takes turns", heater, `
			0s heater 30
			25s heater 60
			55s heater off`,
			`0s heater ON
3s heater OFF
10s heater ON
13s heater OFF
20s heater ON
23s heater OFF
25s heater OFF
30s heater ON
36s heater OFF
40s heater ON
46s heater OFF
50s heater ON
55s heater OFF
`},
		{"full is full", heater + "max_on = \"1m\"", "0s heater 100", "0s heater ON\n1m0s heater OFF: max_on = \"1m\"\n"},
		{"what min_on does not allow in one period it gives in a later one", heater + "min_on = \"4s\"", `
			0s heater 20
			39s heater off`,
			"0s heater OFF\n10s heater ON\n14s heater OFF\n30s heater ON\n34s heater OFF\n39s heater OFF\n"},
		{"a slow load that is resting keeps its partner off until it is told", heater + `
			[output.cooler]
			pin = "GPIO2"
			[interlock.air]
			outputs = ["heater", "cooler"]
			gap = "1s"`, `
			0s heater 50
			7s cooler on
			20s cooler off`,
			"0s heater ON\n5s heater OFF\n7s heater OFF: interlock.air: cooler is to be on\n7s cooler ON\n20s cooler OFF\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := played(t, tt.toml, tt.story); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// In the long run a slow load is on for what its level says, whatever its shortest
// times are.
func TestALevelHoldsInTheLongRun(t *testing.T) {
	for _, level := range []int{1, 7, 33, 50, 92, 99} {
		g := NewGuard(configured(t, "[output.heater]\npin = \"GPIO1\"\nperiod = \"1m\"\nmin_on = \"10s\"\nmin_off = \"15s\""))
		var on, since time.Duration
		note := func(at time.Duration, drives []Drive) {
			for _, d := range drives {
				if was := since >= 0; d.On && !was {
					since = at
				} else if !d.On && was {
					on, since = on+at-since, -1
				}
			}
		}
		since = -1
		drives, err := g.Do(Order{Output: "heater", On: true, Level: float64(level)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		note(0, drives)
		const day = 24 * time.Hour
		for at, ok := g.Next(); ok && at <= day; at, ok = g.Next() {
			note(at, g.Advance(at))
		}
		if since >= 0 {
			on += day - since
		}
		if got, want := on.Seconds()/day.Seconds()*100, float64(level); got < want-0.1 || got > want+0.1 {
			t.Errorf("at level %d it is on for %.2f %% of the day", level, got)
		}
	}
}
