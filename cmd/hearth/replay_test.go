package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/replay"
	engine "hearth/rules"
)

// A recording may come from a stranger, and devices say what they like: nothing of that does
// anything to the terminal.
func TestAReplayDoesNothingToTheTerminal(t *testing.T) {
	d := &engine.Decision{Rule: "rule.x", Instance: "s=\x1b[2J", Outcome: engine.Fired, Why: "a/\x1b]0;pwn\x07 is \u202eon",
		Commands: []devices.Command{{Topic: "log/\x1b[31m", Payload: "x\r"}}}
	var out bytes.Buffer
	if err := new(replayCommand).tellSame(&out, replay.Repeat{First: []replay.Unequal{{Was: d, Is: d, What: "why"}}, Differ: 1}, time.Second); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07\r\u202e") || strings.Count(out.String(), "\n") != 4 || !strings.Contains(out.String(), `\x1b[2J`) {
		t.Errorf("%q", out.String())
	}
}
