package history

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/devices"
	"hearth/rules"
)

// What is drawn is what may come over MQTT, from pins and from the rules.
type house struct {
	t     *rapid.T
	now   devices.Now
	names []string
}

func (g *house) pass() devices.Now {
	step := rapid.SampledFrom([]time.Duration{0, time.Microsecond, 137 * time.Microsecond, 10 * time.Second, 10*time.Second + 40*time.Millisecond, time.Hour}).Draw(g.t, "pass")
	g.now = g.now.Add(step)
	if rapid.IntRange(0, 30).Draw(g.t, "clock") == 0 {
		g.now.Wall = g.now.Wall.Add(rapid.SampledFrom([]time.Duration{-time.Hour, time.Second, 20000 * time.Hour}).Draw(g.t, "step"))
	}
	if rapid.IntRange(0, 20).Draw(g.t, "known") == 0 {
		g.now.Known = true
	}
	return g.now
}

func (g *house) value() (any, string) {
	float := func(f float64) (any, string) { return f, devices.Text(f) }
	switch rapid.IntRange(0, 12).Draw(g.t, "kind") {
	case 0, 1, 2:
		text := fmt.Sprintf("%.*f", rapid.IntRange(0, 4).Draw(g.t, "decimals"), rapid.Float64Range(-100, 3000).Draw(g.t, "number"))
		f, _ := strconv.ParseFloat(text, 64)
		return f, text
	case 3:
		text := rapid.SampledFrom([]string{"5.0", "5", "5.00", "-0", "0", "0.1", "1e3", " 7 ", "0.30000000000000004", "007", "999999999999999", "9999999999999999", "123456789012.345", "0.000000000000001", "-0.5", "1.", ".5", "-5.0", "1e-310", "1.7976931348623157e308"}).Draw(g.t, "text")
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return text, text
		}
		return f, text
	case 4:
		return float(rapid.SampledFrom([]float64{math.Copysign(0, -1), 0.1 + 0.2, math.SmallestNonzeroFloat64, math.MaxFloat64, 1e15, 1e16, -1e22, 1.0 / 3}).Draw(g.t, "odd"))
	case 5:
		f := rapid.Float64().Draw(g.t, "any")
		return float(f)
	case 6, 7:
		v := rapid.Bool().Draw(g.t, "bool")
		return v, rapid.SampledFrom([]string{devices.Text(v), strconv.FormatBool(v), "1"}).Draw(g.t, "as")
	case 8, 9:
		s := rapid.SampledFrom([]string{"ON", "OFF", "heizen", "ü☃", "\xff\x00", "5.0", "offline", string(make([]byte, 5000))}).Draw(g.t, "word")
		return s, s
	case 10:
		s := rapid.String().Draw(g.t, "string")
		return s, s
	case 11:
		v := map[string]any{"a": 1.5, "b": []any{true, nil, "x", math.Copysign(0, -1)}, "ü": map[string]any{}}
		return v, devices.Text(v)
	}
	return []any{1.0, "two", []any{}}, `[1.0,"two",[]]`
}

func (g *house) origin() devices.Origin {
	return rapid.SampledFrom([]devices.Origin{{}, {}, {}, {Decision: 7<<32 | 12, Rules: []string{"rule.a", "link.b"}}, {By: "page"}, {Rules: []string{}}, {Decision: 1<<63 | 5, By: "hearth/lamp/set"}}).Draw(g.t, "origin")
}

func (g *house) reading(at devices.Now) devices.Reading {
	name := rapid.SampledFrom(g.names).Draw(g.t, "name")
	r := devices.Reading{Source: name, At: at, Origin: g.origin()}
	r.Value, r.Text = g.value()
	if rapid.Bool().Draw(g.t, "topic") {
		r.Topic = "zigbee2mqtt/" + name
	}
	switch rapid.IntRange(0, 20).Draw(g.t, "what") {
	case 0:
		r.Value, r.Text, r.Bad = nil, "unavailable", "unavailable"
	case 1:
		r.Value, r.Text, r.Gone = nil, "", true
	case 2:
		r.Value, r.Text, r.Bad, r.Gone = nil, "NaN", "nan", true
	case 3:
		r.Event = true
	case 4:
		r.Initial = true
	case 5:
		r.Initial, r.Restored = true, true
		r.At = devices.Now{Wall: at.Wall.Add(-5 * time.Hour), Known: true}
	case 6:
		r.At = at.Add(-time.Duration(rapid.IntRange(0, 5000).Draw(g.t, "earlier")) * time.Microsecond)
	case 7:
		r.At.Wall = r.At.Wall.Add(time.Second)
	case 8:
		r.Captured = &devices.Capture{Source: "tele/{name}/LWT", Values: []string{name}}
	case 9:
		r.Value = nil
	}
	return r
}

func (g *house) message() *devices.Message {
	return &devices.Message{Topic: "zigbee2mqtt/x", Payload: []byte(fmt.Sprintf(`{"temperature":%v,"linkquality":%d}`, rapid.Float64Range(0, 30).Draw(g.t, "t"), rapid.IntRange(0, 255).Draw(g.t, "q"))), Retain: rapid.Bool().Draw(g.t, "retain"), Origin: g.origin()}
}

func (g *house) report() rules.Event {
	at := g.pass()
	ev := rules.Event{At: at, Kind: rules.Report}
	m := g.message()
	for range rapid.IntRange(1, 5).Draw(g.t, "n") {
		r := g.reading(at)
		switch rapid.IntRange(0, 9).Draw(g.t, "message") {
		case 0, 1:
			r.Message = m
		case 2:
			r.Message = g.message()
		}
		ev.Readings = append(ev.Readings, r)
	}
	return ev
}

func (g *house) event() rules.Event {
	at := g.pass()
	v, text := g.value()
	switch rapid.IntRange(0, 5).Draw(g.t, "event") {
	case 0:
		return rules.Event{At: at, Kind: rules.Pass}
	case 1:
		return rules.Event{At: at, Kind: rules.Tell, Name: "lamp", Value: rapid.SampledFrom([]any{v, devices.Toggle{}, int64(5)}).Draw(g.t, "told"), Text: text}
	case 2:
		return rules.Event{At: at, Kind: rules.Post, Name: "/hook", Body: []byte("body\xff")}
	case 3:
		due := rules.Deadline{Left: time.Minute, Wall: at.Wall.Add(time.Minute), Order: 9}
		last := "x"
		return rules.Event{At: at, Kind: rules.Current, State: &rules.Checkpoint{
			Boot: "b", Life: 3, Decided: 9<<32 | 1, Seed: 1 << 63, Config: "abc",
			States: map[string]rules.State{"rule.a": {Hash: "h", Boot: "b", At: at, Value: v, Triggers: []rules.TriggerState{{
				Truth: true, Last: &last, Pending: &due, Befores: map[int]any{3: v}, Owed: []devices.Command{{Output: "lamp", Value: false, Owed: true}},
			}}}},
			Readings: []devices.Reading{g.reading(at)},
		}}
	case 4:
		return rules.Event{At: at, Kind: rules.Report}
	}
	return rules.Event{At: at, Kind: rules.Answer, Text: text, Status: 500, Body: []byte{}}
}

func (g *house) decision(id uint64) rules.Decision {
	at := g.pass()
	d := rules.Decision{ID: id, Follows: id - 1, At: at, Rule: "rule.a", Trigger: "pir is true", Outcome: rules.Fired, Why: "ü"}
	if rapid.Bool().Draw(g.t, "caused") {
		r := g.reading(at)
		r.Message = g.message()
		r.Old = 5.5
		d.Cause = &r
	}
	v, _ := g.value()
	for range rapid.IntRange(0, 3).Draw(g.t, "commands") {
		d.Commands = append(d.Commands, devices.Command{Output: "lamp", Value: rapid.SampledFrom([]any{v, devices.Toggle{}, true, 50.0, "stop", nil, int64(3)}).Draw(g.t, "value"), For: time.Minute, Origin: devices.Origin{Decision: id}})
	}
	if rapid.Bool().Draw(g.t, "http") {
		d.Commands = append(d.Commands, devices.Command{HTTP: &devices.Request{ID: "1", Method: "POST", Header: map[string]string{"A": "b\xff"}}})
	}
	d.Checks = []rules.Check{{Text: "level > 5", Saw: "4", OK: false}}
	return d
}

// What is recorded comes back equal and in its order, wherever it lies: in memory, on
// the disk, or written by an earlier life of the hub.
func TestEverythingComesBackEqual(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	dir := fastDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir := fmt.Sprint(dir, "/", time.Now().UnixNano())
		mkdir(t, dir)
		opt := Options{Zone: zone, Boot: "boot"}
		opt.Now = func() devices.Now { return devices.Now{} }
		h, err := Open(dir, Config{}, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { h.Close() }()
		g := &house{t: t, names: []string{"hall.temperature", "plug", "plug.power", "zigbee2mqtt/küche:a.b"}}
		g.now = devices.Now{Mono: 3 * time.Second, Wall: time.Date(1970, 1, 1, 0, 0, 7, 0, zone)}
		var want []Entry
		id := uint64(3 << 32)
		for range rapid.IntRange(1, 60).Draw(t, "entries") {
			switch rapid.IntRange(0, 12).Draw(t, "entry") {
			case 0:
				ev := g.event()
				h.Event(ev)
				want = append(want, Entry{Event: &ev})
			case 1, 2:
				id++
				d := g.decision(id)
				if rapid.IntRange(0, 5).Draw(t, "hub's") == 0 {
					d.ID |= 1 << 63
				}
				refused := rapid.SampledFrom([][]string{nil, {"lamp ON: interlock"}}).Draw(t, "refused")
				h.Decided(d, refused)
				want = append(want, Entry{Decision: &d, Refused: refused})
			case 3:
				n := Note{At: g.pass(), Kind: "client", Name: "ü", Text: "came"}
				h.Note(n)
				want = append(want, Entry{Note: &n})
			case 4:
				r := g.reading(g.pass())
				if r.Restored {
					continue // its moment is the present one
				}
				h.Seen(r, "°C")
				want = append(want, Entry{Seen: &r})
			case 5:
				if err := h.Flush(context.Background()); err != nil {
					t.Fatal(err)
				}
			case 6:
				if rapid.Bool().Draw(t, "reopen") {
					if err := h.Close(); err != nil {
						t.Fatal(err)
					}
					if h, err = Open(dir, Config{}, opt); err != nil {
						t.Fatal(err)
					}
				}
			default:
				ev := g.report()
				h.Event(ev)
				want = append(want, Entry{Event: &ev})
			}
		}
		if at := h.Health(); at.Damaged+at.Lost > 0 {
			t.Fatalf("%+v", at)
		}
		var got []Entry
		for e, err := range h.Entries(time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		compare(t, got, want)
		for _, e := range want {
			if e.Decision == nil {
				continue
			}
			d, ok, err := h.Decision(e.Decision.ID)
			if err != nil || !ok || d.ID != e.Decision.ID {
				t.Fatalf("decision %x: %v %v", e.Decision.ID, ok, err)
			}
		}
	})
}

func compare(t *rapid.T, got, want []Entry) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		g, w := plain(got[i]), plain(want[i])
		if !reflect.DeepEqual(g, w) {
			t.Fatalf("entry %d:\ngot  %s\nwant %s", i, show(g), show(w))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
}
