package gpio

import "testing"

// What the guard keeps beyond limits and interlocks.

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
