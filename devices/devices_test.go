package devices

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	for _, c := range []struct{ text, filter, name, canonical string }{
		{"a/b", "a/b", "", "a/b"},
		{"a/b:x.y[1]", "a/b", "", "a/b:x.y[1]"},
		{`a/b:x."switch:0".output`, "a/b", "", `a/b:x."switch:0".output`},
		{`p/status/"switch:0":output`, "p/status/switch:0", "", `p/status/"switch:0":output`},
		{"a/b:[0].v", "a/b", "", "a/b:[0].v"},
		{`a/b:"x".y`, "a/b", "", "a/b:x.y"},
		{"single:temperature", "single", "", "single:temperature"},
		{`"single"`, "single", "", `"single"`},
		{"pir", "", "pir", "pir"},
		{"a/+/c", "a/+/c", "", "a/+/c"},
		{"a/#:x", "a/#", "", "a/#:x"},
		{"häus/tür:größe", "häus/tür", "", "häus/tür:größe"},
	} {
		s, err := ParseSource(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if s.Filter != c.filter || s.Name != c.name || s.String() != c.canonical {
			t.Errorf("%s: filter %q, name %q, canonical %q", c.text, s.Filter, s.Name, s)
		}
	}
}

func TestSourcesThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "want a topic such as",
		"Pir":                     "want a topic with a / in it",
		"a/b:":                    "the path after the colon is empty",
		"a/b:x.":                  "the path ends with a dot",
		"a/b:x[":                  "never closed",
		"a/b:x[y]":                "want an index such as [0]",
		"a/b:x[-1]":               "want an index such as [0]",
		"a/b:x[0]y":               "want a . or [ after an index",
		"a/b:x y":                 "want a . or [ in the path",
		"a/b:x..y":                "want a key between them",
		`a/b:"x`:                  "never closed",
		`a/"b`:                    "never closed",
		"p/switch:0":              "can't begin with a digit",
		"a/b+":                    "+ stands for one whole level",
		"a/#/b":                   "# stands for all deeper levels",
		"a/{name":                 "a brace stands alone",
		"a/{Name}":                "want a capture's name made of a-z",
		"a/{x}{y}":                "a level of a topic can hold one capture",
		"a/{x}/{x}":               "the capture {x} is there twice",
		"{name}":                  "want a topic with a / in it, or a name",
		"lamp.":                   "want a topic with a / in it, or a name",
		"a/\xff":                  "not valid UTF-8",
		strings.Repeat("a/", 600): "at most 1024",
	} {
		if _, err := ParseSource(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCaptures(t *testing.T) {
	for _, c := range []struct{ source, topic, values, concrete string }{
		{"tele/{name}/LWT", "tele/plug/LWT", "plug", "tele/plug/LWT"},
		{"tele/{name}/LWT", "tele/a/b/LWT", "-", ""},
		{"tele/{name}/LWT", "tele//LWT", "-", ""},
		{"z/leak_{room}:wet", "z/leak_bath", "bath", "z/leak_bath:wet"},
		{"z/leak_{room}:wet", "z/leak_", "-", ""},
		{"z/{room}_t", "z/hall_t", "hall", "z/hall_t"},
		{"{a}/+/{b}/#", "x/y/z/w/v", "x z", "x/+/z/#"},
		{"{a}/x/#", "q/x", "q", "q/x/#"},
		{"{a}/x", "$SYS/x", "-", ""},
	} {
		s, err := ParseSource(c.source)
		if err != nil {
			t.Fatal(err)
		}
		x := NewIndex([]Source{s})
		rs := x.Normalize(Message{Topic: c.topic, Payload: []byte(`{"wet":true}`)}, Now{})
		got := "-"
		if len(rs) == 1 {
			got = strings.Join(rs[0].Captured.Values, " ")
			if rs[0].Source != c.concrete || rs[0].Captured.Source != c.source {
				t.Errorf("%s on %s: %s of %s", c.source, c.topic, rs[0].Source, rs[0].Captured.Source)
			}
		}
		if got != c.values || x.Takes(c.topic) != (got != "-") {
			t.Errorf("%s on %s: %q, want %q", c.source, c.topic, got, c.values)
		}
	}
}

// A device that invents topics fills no memory: neither with values nor with
// counts of what was no value.
func TestCapturesAreBounded(t *testing.T) {
	s, _ := ParseSource("tele/{name}/LWT")
	x := NewIndex([]Source{s})
	var g Registry
	for i := range 2 * MaxCaptured {
		for _, payload := range []string{"Online", "null"} {
			for _, r := range x.Normalize(Message{Topic: fmt.Sprintf("tele/%d/LWT", i), Payload: []byte(payload)}, Now{}) {
				g.Apply(r)
			}
		}
	}
	if len(g.last) != MaxCaptured || len(g.bad) != MaxCaptured {
		t.Errorf("%d values and %d counts are kept, want %d", len(g.last), len(g.bad), MaxCaptured)
	}
	g.Forget("tele/0/LWT")
	r := x.Normalize(Message{Topic: "tele/new/LWT", Payload: []byte("Online")}, Now{})[0]
	g.Apply(r)
	if _, ok := g.Last("tele/new/LWT"); !ok {
		t.Error("there was room again, but the new one is not known")
	}
}

func TestTopicsMatchAsInTheProtocol(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		match         bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/b/c", false}, {"a/b/c", "a/b", false},
		{"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/", true}, {"+", "a", true}, {"+/+", "/a", true},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"#", "a/b", true},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
		{"a/+/#", "a", false}, {"a/+/#", "a/b", true},
	} {
		if got := MatchTopic(c.filter, c.topic); got != c.match {
			t.Errorf("%s takes %s: %v", c.filter, c.topic, got)
		}
	}
}

// What devices really send, and what becomes of it.
func TestPayloadsBecomeReadings(t *testing.T) {
	for _, c := range []struct {
		source, payload string
		value           any
		text, bad       string
		none            bool
	}{
		{source: "t/x", payload: "21.5", value: 21.5, text: "21.5"},
		{source: "t/x", payload: " 20.60\n", value: 20.6, text: " 20.60\n"},
		{source: "t/x", payload: "ON", value: "ON", text: "ON"},
		{source: "t/x", payload: "true", value: true, text: "true"},
		{source: "t/x", payload: "offline", value: "offline", text: "offline"},
		{source: "t/x", payload: `"quoted"`, value: `"quoted"`, text: `"quoted"`},
		{source: "t/x", payload: `{"a":1}`, value: map[string]any{"a": 1.0}, text: `{"a":1}`},
		{source: "t/x", payload: `{"a":`, value: `{"a":`, text: `{"a":`},
		{source: "t/x", payload: "05", value: "05", text: "05"},
		{source: "t/x", payload: "", bad: "empty"},
		{source: "t/x", payload: "  ", text: "  ", bad: "empty"},
		{source: "t/x", payload: "null", text: "null", bad: "null"},
		{source: "t/x", payload: "nan", text: "nan", bad: "nan"},
		{source: "t/x", payload: "-Inf", text: "-Inf", bad: "-inf"},
		{source: "t/x", payload: "unavailable", text: "unavailable", bad: "unavailable"},
		{source: "t/x", payload: "1e999", text: "1e999", bad: "not a finite number"},
		{source: "t/x:DS18B20.Temperature", payload: `{"Time":"x","DS18B20":{"Temperature":20.60}}`, value: 20.6, text: "20.60"},
		{source: "t/x:ENERGY.Power[1]", payload: `{"ENERGY":{"Power":[1,2.5]}}`, value: 2.5, text: "2.5"},
		{source: `t/x:params."switch:0".output`, payload: `{"params":{"switch:0":{"output":true}}}`, value: true, text: "true"},
		{source: "t/x:state", payload: `{"state":"ON"}`, value: "ON", text: "ON"},
		{source: "t/x:state", payload: `{"other":1}`, none: true},
		{source: "t/x:a.b", payload: `{"a":5}`, none: true},
		{source: "t/x:state", payload: `{"state":null}`, text: "null", bad: "null"},
		{source: "t/x:state", payload: `{"state":"unknown"}`, text: "unknown", bad: "unknown"},
		{source: "t/x:state", payload: `not json`, bad: "broken JSON"},
		{source: "t/x:state", payload: `{"state":1}{}`, bad: "broken JSON"},
		{source: "t/x:state", payload: ``, bad: "empty"},
		{source: "t/x:o", payload: `{"o":{"n":1,"l":[1,2]}}`, value: map[string]any{"n": 1.0, "l": []any{1.0, 2.0}}, text: `{"l":[1,2],"n":1}`},
	} {
		s, err := ParseSource(c.source)
		if err != nil {
			t.Fatal(err)
		}
		got := NewIndex([]Source{s}).Normalize(Message{Topic: "t/x", Payload: []byte(c.payload)}, Now{})
		if c.none {
			if len(got) != 0 {
				t.Errorf("%s %q: %+v, want no reading", c.source, c.payload, got)
			}
			continue
		}
		if len(got) != 1 || !reflect.DeepEqual(got[0].Value, c.value) || got[0].Text != c.text || got[0].Bad != c.bad {
			t.Errorf("%s %q: %+v", c.source, c.payload, got)
		}
	}
}

func TestOneMessageFeedsAllItsSources(t *testing.T) {
	var sources []Source
	for _, text := range []string{"z/hall", "z/hall:a", "z/+:b", "z/#", "other/x", "pir", "z/hall:a"} {
		s, err := ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, s)
	}
	x := NewIndex(sources)
	var got []string
	for _, r := range x.Normalize(Message{Topic: "z/hall", Payload: []byte(`{"a":1,"b":{"c":2}}`)}, Now{}) {
		got = append(got, fmt.Sprint(r.Source, "=", r.Text))
	}
	want := `[z/hall={"a":1,"b":{"c":2}} z/hall:a=1 z/+:b={"c":2} z/#={"a":1,"b":{"c":2}}]`
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if !x.Takes("z/hall") || !x.Takes("z/deep/er") || x.Takes("nobody/asked") {
		t.Error("the index takes the wrong topics")
	}
}

// Of an output with levels whether it is on and how much come one by one, in either
// order, and what it was told last is the newest until both have come.
func TestTheRegistryKnowsLevels(t *testing.T) {
	on := func(source string, on bool) Reading { return Reading{Source: source, Value: on, Text: Text(on)} }
	level := func(f float64) Reading { return Reading{Source: "lamp.level", Value: f, Text: Text(f)} }
	for _, story := range []struct {
		name string
		live func(g *Registry)
		want string
	}{
		{"nothing is known", func(g *Registry) {}, "false false, 0 false"},
		{"told", func(g *Registry) { g.Command("lamp", 40.0) }, "true true, 40 true"},
		{"told 0", func(g *Registry) { g.Command("lamp", 0.0) }, "false true, 0 true"},
		{"told on", func(g *Registry) { g.Command("lamp", true) }, "true true, 100 true"},
		{"on comes first", func(g *Registry) {
			g.Apply(level(70))
			g.Command("lamp", 40.0)
			g.Apply(on("lamp", true))
		}, "true true, 40 true"},
		{"then the level, which is what counts", func(g *Registry) {
			g.Command("lamp", 40.0)
			g.Apply(on("lamp", true))
			g.Apply(level(39))
		}, "true true, 39 true"},
		{"the level comes first", func(g *Registry) {
			g.Command("lamp", 40.0)
			g.Apply(level(40))
			g.Apply(on("lamp", true))
			g.Apply(level(12))
		}, "true true, 12 true"},
		{"two quick steps", func(g *Registry) {
			g.Command("lamp", 50.0)
			g.Command("lamp", 60.0)
			g.Apply(on("lamp", true))
			g.Apply(level(50))
		}, "true true, 60 true"},
		{"it did not obey", func(g *Registry) {
			g.Command("lamp", 40.0)
			g.Apply(on("lamp", false))
		}, "false true, 0 true"},
		{"a limit ends it", func(g *Registry) {
			g.Command("lamp", 40.0)
			g.Apply(on("lamp", true))
			g.Apply(level(40))
			g.Apply(on("lamp", false))
		}, "false true, 0 true"},
		{"on again at a level that is not told", func(g *Registry) {
			g.Apply(on("lamp", true))
		}, "true true, 0 false"},
		{"a cover on its way", func(g *Registry) {
			g.Apply(Reading{Source: "lamp", Value: 100.0, Text: "100"})
			g.Command("lamp", 30.0)
		}, "true true, 30 true"},
		{"and stopped", func(g *Registry) {
			g.Apply(Reading{Source: "lamp", Value: 70.0, Text: "70"})
			g.Command("lamp", 30.0)
			g.Command("lamp", "stop")
		}, "true true, 70 true"},
		{"a fault is acknowledged", func(g *Registry) {
			g.Command("lamp", true)
			g.Command("lamp", "acknowledge")
		}, "true true, 100 true"},
		{"what was told before a start is past", func(g *Registry) {
			g.Command("lamp", 40.0)
			g.Apply(Reading{Source: "lamp", Value: false, Text: "OFF", Initial: true})
		}, "false true, 0 true"},
	} {
		var g Registry
		story.live(&g)
		isOn, known := g.Level("lamp")
		percent, known2 := g.Percent("lamp")
		if got := fmt.Sprint(isOn, " ", known, ", ", percent, " ", known2); got != story.want {
			t.Errorf("%s: %s, want %s", story.name, got, story.want)
		}
	}
}

func TestTheRegistryKnowsTheNewest(t *testing.T) {
	var g Registry
	if on, known := g.Level("lamp"); on || known {
		t.Error("a lamp nobody has heard of is on or known")
	}
	g.Command("lamp", true)
	if on, _ := g.Level("lamp"); !on {
		t.Error("told on, but off")
	}
	g.Apply(Reading{Source: "lamp", Value: false, Text: "OFF"})
	if on, known := g.Level("lamp"); on || !known {
		t.Error("reported off after it was told on, but on")
	}
	g.Command("lamp", true)
	g.Command("lamp", false)
	g.Apply(Reading{Source: "lamp", Value: true, Text: "ON"})
	if on, _ := g.Level("lamp"); on {
		t.Error("the report on an older command hides a newer one")
	}
	g.Apply(Reading{Source: "lamp", Value: true, Text: "ON", Initial: true})
	if on, _ := g.Level("lamp"); !on {
		t.Error("taken anew, but still as it was told before")
	}
	g.Apply(Reading{Source: "lamp", Value: false, Text: "OFF"})
	g.Apply(Reading{Source: "lamp", Bad: "null"})
	if r, _ := g.Last("lamp"); r.Text != "OFF" {
		t.Errorf("after a bad reading: %+v", r)
	}
	if n, why := g.Bad("lamp"); n != 1 || why != "null" {
		t.Errorf("%d bad, the last %q", n, why)
	}
	if got := g.Changes(); len(got) != 1 || len(g.Changes()) != 0 {
		t.Errorf("changes: %v, then %v", got, g.Changes())
	}
	g.Forget("lamp")
	if len(g.All()) != 0 {
		t.Error("forgotten, but there")
	}
}

// A source that parses prints as one that parses to the same.
func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"a/b", `a/b:x."y:z"[3].w`, "pir", "a/+/#", `"x"`, `p/"switch:0":a`, "a:b", `a/b:""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text)
		if err != nil {
			return
		}
		again, err := ParseSource(s.String())
		if err != nil {
			t.Fatalf("%q prints as %q, which is wrong: %v", text, s, err)
		}
		if again.String() != s.String() || again.Filter != s.Filter || again.Name != s.Name || !reflect.DeepEqual(again.Path, s.Path) {
			t.Fatalf("%q is %#v, but %q is %#v", text, s, s.String(), again)
		}
	})
}

// Any payload gives readings that are a value or say why not.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"21.5", `{"a":{"b":[1,2]}}`, "null", `{"a":1e999}`, "ON", `[`, `{"a":{"b":"NaN"}}`, "\xff"} {
		f.Add([]byte(s))
	}
	var sources []Source
	for _, text := range []string{"t/x", "t/x:a", "t/x:a.b[0]", "t/#"} {
		s, _ := ParseSource(text)
		sources = append(sources, s)
	}
	x := NewIndex(sources)
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, r := range x.Normalize(Message{Topic: "t/x", Payload: payload}, Now{}) {
			if (r.Bad == "") == (r.Value == nil) {
				t.Fatalf("%+v is neither a value nor bad, or both", r)
			}
			if f, ok := r.Value.(float64); ok && (f != f || f-f != 0) {
				t.Fatalf("%+v is no finite number", r)
			}
		}
	})
}
