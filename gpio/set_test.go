package gpio

import (
	"fmt"
	"strings"
	"testing"
)

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
		{`{"on_ms": "5"}`, false, "on_ms can't be a string"},
		{`{"state": "ON", "level": 40}`, true, "40 0s 0s"},
		{`{"state": "OFF", "level": 40}`, true, "false 0s 0s"},
		{`{"position": 30}`, true, "30 0s 0s"},

		{"+10", true, "want a number from 0 to 100"},
		{`{"level": "x"}`, true, "level can't be a string"},
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
		takes := "switch"
		if tt.levels {
			takes = "level"
		}
		c, err := ParseSet([]byte(tt.payload), takes)
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
		takes := "switch"
		if levels {
			takes = "level"
		}
		c, err := ParseSet(payload, takes)
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
