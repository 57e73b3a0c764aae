package why

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hearth/devices"
	"hearth/history"
	"hearth/rules"
)

const (
	decisionsStored = 1_000_000
	daysStored      = 30
	whyWithin       = 20 * time.Millisecond
)

// A year of a busy house is a million decisions. To say why takes no longer than it takes
// to blink, whether something has changed just now, weeks ago, or is asked about as it was
// then.
func BenchmarkWhyAmongAMillionDecisions(b *testing.B) {
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	now := devices.Now{Wall: start, Known: true}
	h, err := history.Open(b.TempDir(), history.Config{}, history.Options{Zone: time.UTC, Boot: "bench", Now: func() devices.Now { return now }})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	at := func(d time.Duration) devices.Now {
		return devices.Now{Mono: d, Wall: start.Add(d), Known: true}
	}
	const all = daysStored * 24 * time.Hour
	id := uint64(1) << 32
	report := func(when devices.Now, source, text string, value any, from uint64) devices.Reading {
		r := devices.Reading{Source: source, Topic: "", Value: value, Text: text, At: when, Origin: devices.Origin{Decision: from}}
		h.Event(rules.Event{At: when, Kind: rules.Report, Readings: []devices.Reading{r}})
		return r
	}
	decide := func(d rules.Decision) uint64 {
		id++
		d.ID = id
		h.Decided(d, nil)
		return id
	}
	// switched is a chain through two rules and a wait: a press, a variable, an output.
	switched := func(d time.Duration, output string, on bool) {
		press := report(at(d), "button", "ON", true, 0)
		pending := decide(rules.Decision{At: at(d), Rule: "rule.ask", Trigger: "button is true", Cause: &press, Outcome: rules.Pending, Why: "for 5m"})
		fired := decide(rules.Decision{At: at(d + 5*time.Minute), Rule: "rule.ask", Trigger: "button is true", Follows: pending, Outcome: rules.Fired, Sets: []string{"wanted = ON"}})
		wanted := devices.Reading{Source: "wanted", Value: on, Text: devices.Text(on), At: at(d + 5*time.Minute), Origin: devices.Origin{Rules: []string{"rule.ask"}, Decision: fired}}
		last := decide(rules.Decision{At: at(d + 5*time.Minute), Rule: "rule.obey", Trigger: "wanted", Cause: &wanted, Outcome: rules.Fired,
			Commands: []devices.Command{{Output: output, Value: on}}})
		report(at(d+5*time.Minute), output, devices.Text(on), on, last)
	}
	flushed := time.Duration(0)
	for n := range decisionsStored {
		d := time.Duration(n) * (all / decisionsStored)
		switch n {
		case decisionsStored / 10:
			switched(d, "lamp", true)
		case decisionsStored / 2:
			switched(d, "heater", true)
		case decisionsStored - 1000:
			switched(d, "heater", false)
		}
		room := n % 200
		r := report(at(d), fmt.Sprintf("zigbee2mqtt/room%d:occupancy", room), devices.Text(n%2 == 0), n%2 == 0, 0)
		outcome := rules.Fired
		if n%7 == 0 {
			outcome = rules.Blocked
		}
		decide(rules.Decision{At: at(d), Rule: fmt.Sprintf("rule.room%d", room), Trigger: r.Source + " is true", Cause: &r, Outcome: outcome,
			Checks:   []rules.Check{{Text: "sun is down", Saw: "up", OK: n%7 != 0}},
			Commands: []devices.Command{{Topic: fmt.Sprintf("zigbee2mqtt/lamp%d/set", room), Payload: `{"state":"ON"}`}}})
		if d-flushed >= 30*time.Minute {
			flushed, now = d, at(d)
			if err := h.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := h.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	now = at(all)
	b.Logf("%d MiB, %d segments", h.Health().Bytes>>20, h.Health().Segments)
	for _, c := range []struct {
		name  string
		thing rules.Thing
		at    time.Duration
		acts  []rules.Act
		rules int
	}{
		{"just now", rules.Thing{Name: "heater", Kind: "output", Sources: []string{"heater"}}, all, []rules.Act{{Rule: "rule.obey"}}, 3},
		{"weeks ago", rules.Thing{Name: "lamp", Kind: "output", Sources: []string{"lamp"}}, all, []rules.Act{{Rule: "rule.obey"}}, 3},
		{"as it was", rules.Thing{Name: "heater", Kind: "output", Sources: []string{"heater"}}, all / 4 * 3, []rules.Act{{Rule: "rule.obey"}}, 3},
		{"a topic", rules.Thing{Name: "zigbee2mqtt/lamp7/set", Kind: "topic", Sources: []string{"zigbee2mqtt/lamp7/set"}, Topics: []string{"zigbee2mqtt/lamp7/set"}}, all, []rules.Act{{Rule: "rule.room7"}}, 1},
		{"a rule", rules.Thing{Name: "rule.room9", Kind: "rule", Rule: "rule.room9"}, all, []rules.Act{{Rule: "rule.room9"}}, 1},
		{"nothing is known", rules.Thing{Name: "siren", Kind: "output", Sources: []string{"siren"}}, all, []rules.Act{{Rule: "rule.alarm"}}, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			var a Answer
			for b.Loop() {
				if a, err = Why(h, Question{Thing: c.thing, At: start.Add(c.at), Zone: time.UTC, Acts: c.acts}); err != nil {
					b.Fatal(err)
				}
			}
			if got := len(a.Because.Rules()); got != c.rules {
				b.Errorf("%d rules in the chain, want %d:\n%v", got, c.rules, a.Text)
			}
			if each := b.Elapsed() / time.Duration(b.N); each > whyWithin {
				b.Errorf("it took %v, want at most %v", each, whyWithin)
			}
		})
	}
}
