package gpio

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestGuardOfTimesAndRates(t *testing.T) {
	const lamp = "[output.lamp]\npin = \"GPIO1\"\n"
	for _, tt := range []struct{ name, toml, story, want string }{
		{"a timed set is replaced by what comes after it", lamp, `
			0s lamp {"on_ms": 5000}
			1s lamp off
			2s lamp on`,
			"0s lamp ON\n1s lamp OFF\n2s lamp ON\n"},
		{"a timed set ends, and a later one counts from its own start", lamp, `
			0s lamp {"on_ms": 5000}
			4s lamp {"state": "ON", "for": "3s"}`,
			"0s lamp ON\n4s lamp ON\n7s lamp OFF: its time is over\n"},
		{"max_on is not prolonged by timed sets", lamp + "max_on = \"6s\"", `
			0s lamp {"on_ms": 5000}
			4s lamp {"on_ms": 5000}`,
			"0s lamp ON\n4s lamp ON\n6s lamp OFF: max_on = \"6s\"\n"},
		{"the end of a timed set waits for min_on", lamp + "min_on = \"10s\"", `0s lamp {"on_ms": 5000}`,
			"0s lamp ON\n10s lamp OFF: it waited: its time is over, after min_on = \"10s\"\n"},
		{"one that has to wait is on for its whole time", lamp + "min_off = \"10s\"", `
			0s started lamp off
			1s lamp {"on_ms": 5000}`,
			"10s lamp ON: it waited: min_off = \"10s\"\n15s lamp OFF: its time is over\n"},
		{"a garage door is pressed, not held", lamp + "momentary = \"500ms\"", `
			0s lamp on
			200ms lamp on
			10s lamp on
			10.1s lamp off
			20s lamp {"on_ms": 5000}`,
			"0s lamp ON\n200ms lamp ON\n700ms lamp OFF: momentary = \"500ms\"\n10s lamp ON\n10.1s lamp OFF\n20s refused: lamp is on for 500ms each time, as momentary says\n"},
		{"a command has a lifetime: whoever sends it has to be there still", lamp + "lifetime = \"1m\"", `
			0s lamp on
			50s lamp on
			1m40s lamp on
			10m lamp on
			10m30s lamp off`,
			"0s lamp ON\n50s lamp ON\n1m40s lamp ON\n2m40s lamp OFF: lifetime = \"1m\": nobody has said again that it is to be on\n10m0s lamp ON\n10m30s lamp OFF\n"},
		{"a command that waits longer than it lives comes to nothing", lamp + "lifetime = \"1m\"\nmin_off = \"5m\"", `
			0s started lamp off
			1s lamp on`,
			"1m1s =lamp OFF: lifetime = \"1m\": it waited too long\n"},
		{"it goes on so often within an hour and no more", lamp + "starts = \"2/1h\"", `
			0s lamp on
			1m lamp off
			2m lamp on
			3m lamp off
			4m lamp on`,
			"0s lamp ON\n1m0s lamp OFF\n2m0s lamp ON\n3m0s lamp OFF\n1h0m0s lamp ON: it waited: starts = \"2/1h\"\n"},
		{"what can't be meant is refused", lamp, `
			0s lamp {"state": "OFF", "for": "5s"}
			1s lamp acknowledge`,
			"0s refused: lamp: only a command to be on can be for a time\n1s refused: lamp has no fault to acknowledge\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := played(t, tt.toml, tt.story); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestGuardOfGroups(t *testing.T) {
	const heaters = `
		[output.a]
		pin = "GPIO1"
		[output.b]
		pin = "GPIO2"
		[output.c]
		pin = "GPIO3"
		[group.heaters]
		outputs = ["a", "b", "c"]
	`
	for _, tt := range []struct{ name, toml, story, want string }{
		{"two may be on; the third waits, and the oldest of those that wait goes first", heaters + "most = 1\n", `
			0s a on
			1s c on
			2s b on
			10s a off
			20s c off`,
			"0s a ON\n10s a OFF\n10s c ON: it waited: group.heaters, of which 1 may be on\n20s c OFF\n20s b ON: it waited: group.heaters, of which 1 may be on\n"},
		{"one that waits and is told to be off waits no more", heaters + "most = 1\n", `
			0s a on
			1s b on
			2s b off
			10s a off`,
			"0s a ON\n2s =b OFF: a newer command took its place\n2s b OFF\n10s a OFF\n"},
		{"their inrush currents do not meet", heaters + "stagger = \"2s\"\n", `
			0s a on
			0s b on
			0s c on
			10s a off
			10s b off`,
			"0s a ON\n2s b ON: it waited: group.heaters with stagger = \"2s\"\n4s c ON: it waited: group.heaters with stagger = \"2s\"\n10s a OFF\n10s b OFF\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := played(t, tt.toml, tt.story); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestGuardOfFeedback(t *testing.T) {
	const valve = `
		[output.valve]
		pin = "GPIO1"
		feedback = "valve_open"
		feedback_within = "5s"
		[input.valve_open]
		pin = "GPIO2"
	`
	for _, tt := range []struct{ name, toml, story, want string }{
		{"it follows in time", valve, `
			0s input valve_open off
			10s valve on
			13s input valve_open on
			20s valve off
			24s input valve_open off`,
			"10s valve ON\n20s valve OFF\n"},
		{"it does not: the fault stays until it is acknowledged", valve, `
			0s input valve_open off
			10s valve on
			20s valve on
			21s input valve_open on
			22s input valve_open off
			23s valve off
			30s valve acknowledge
			31s valve on
			33s input valve_open on`,
			`10s valve ON
15s valve OFF: its feedback valve_open says OFF 5s after it was switched ON
20s refused: valve has a fault and stays as it is until somebody acknowledges that: its feedback valve_open says OFF 5s after it was switched ON
23s valve OFF
30s valve OFF
31s valve ON
`},
		{"a contact that is welded", valve, `
			0s input valve_open off
			10s valve on
			11s input valve_open on
			20s valve off
			30s valve on`,
			`10s valve ON
20s valve OFF
25s valve OFF: its feedback valve_open says ON 5s after it was switched OFF
30s refused: valve has a fault and stays as it is until somebody acknowledges that: its feedback valve_open says ON 5s after it was switched OFF
`},
		{"nobody knows what it says", valve, `
			0s input valve_open off
			10s valve on
			11s input valve_open on
			20s input valve_open unknown`,
			"10s valve ON\n25s valve OFF: its feedback valve_open is unknown 5s after it was switched ON\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := played(t, tt.toml, tt.story); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

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

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		payload string
		levels  bool
		want    string // "value for ramp", or a part of the error
	}{
		{"ON", false, "true 0s 0s"},
		{" off ", false, "false 0s 0s"},
		{"1", false, "true 0s 0s"},
		{"1", true, "1 0s 0s"},
		{"40%", true, "40 0s 0s"},
		{"STOP", false, "stop 0s 0s"},
		{"Acknowledge", false, "acknowledge 0s 0s"},
		{`{"on_ms": 5000}`, false, "true 5s 0s"},
		{`{"state": "ON", "for": "5s"}`, false, "true 5s 0s"},
		{`{"state": true, "for": 2.5}`, false, "true 2.5s 0s"},
		{`{"level": 40, "ramp": "2s"}`, true, "40 0s 2s"},
		{`{"state": "ON", "level": 40}`, true, "40 0s 0s"},
		{`{"state": "OFF", "level": 40}`, true, "false 0s 0s"},
		{`{"position": 30}`, true, "30 0s 0s"},

		{"40", false, "want ON, OFF or TOGGLE"},
		{"101", true, "want a number from 0 to 100"},
		{"NaN", true, "want a number from 0 to 100"},
		{"inf", true, "want a number from 0 to 100"},
		{`{"on_ms": NaN}`, false, "this JSON is not understood"},
		{`{"on_ms": -5}`, false, "on_ms: want more than 0"},
		{`{"on_ms": 0}`, false, "on_ms: want more than 0"},
		{`{"on_ms": 1e300}`, false, "on_ms: want at most 366 days"},
		{`{"on_ms": 1e999}`, false, "this JSON is not understood"},
		{`{"state": "ON", "for": "-5s"}`, false, "for: want a duration"},
		{`{"state": "ON", "for": "0s"}`, false, "for: want more than 0"},
		{`{"state": "ON", "for": "400d"}`, false, "for: want at most 366 days"},
		{`{"state": "ON", "for": true}`, false, `for: want a time such as "5s"`},
		{`{"state": "OFF", "on_ms": 5}`, false, "on_ms is for how long it is on"},
		{`{"on_ms": 5000, "for": "5s"}`, false, "want one of"},
		{`{"level": 40}`, false, "this is on or off and has no levels"},
		{`{"sate": "ON"}`, false, `unknown field "sate"`},
		{`{"state": "ON"}{}`, false, "there is more than one value"},
		{`{}`, false, "want ON, OFF or TOGGLE"},
		{"", false, "want ON, OFF or TOGGLE"},
	} {
		c, err := ParseSet([]byte(tt.payload), tt.levels)
		got := fmt.Sprint(c.Value, " ", c.For, " ", c.Ramp)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: %s, want %s", tt.payload, got, tt.want)
		}
	}
}

func FuzzParseSet(f *testing.F) {
	for _, seed := range []string{"ON", "40%", `{"on_ms": 5000}`, `{"state": "ON", "for": "5s", "ramp": 1}`, "NaN", `{"level": 1e308}`} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, levels bool) {
		c, err := ParseSet(payload, levels)
		if err != nil {
			return
		}
		if c.For < 0 || c.For > maxFor || c.Ramp < 0 || c.Ramp > maxFor {
			t.Errorf("%q: for %v, ramp %v", payload, c.For, c.Ramp)
		}
		if n, ok := c.Value.(float64); ok && (!levels || !(n >= 0 && n <= 100)) {
			t.Errorf("%q: level %v", payload, n)
		}
	})
}
