package trial_test

import (
	"cmp"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/history"
	"hearth/hub"
	"hearth/rules"
	"hearth/trial"
	"hearth/why"
)

// memory is a past that is all in memory.
type memory struct {
	readings  map[string][]history.Point
	decisions []rules.Decision
	notes     []history.Note
}

func (m *memory) Happened(ev rules.Event) {
	if ev.Kind == rules.Open {
		m.notes = append(m.notes, history.Note{At: ev.At, Kind: why.NoteStart})
	}
	for _, r := range ev.Readings {
		if m.readings == nil {
			m.readings = make(map[string][]history.Point)
		}
		list := m.readings[r.Source]
		if n := len(list); n > 0 && devices.Text(list[n-1].Value) == devices.Text(r.Value) && list[n-1].Bad == r.Bad && !r.Event {
			continue
		}
		m.readings[r.Source] = append(list, history.Point{At: r.At.Wall, Sure: r.At.Known, Value: r.Value, Bad: r.Bad, Gone: r.Gone, Event: r.Event, Decision: r.Origin.Decision, By: r.Origin.By})
	}
}

func (m *memory) Decided(d rules.Decision) { m.decisions = append(m.decisions, d) }

func (m *memory) Changed(source string, at time.Time) (history.Point, bool, error) {
	for _, p := range slices.Backward(m.readings[source]) {
		if !p.At.After(at) {
			return p, true, nil
		}
	}
	return history.Point{}, false, nil
}

func (m *memory) Decision(id uint64) (rules.Decision, bool, error) {
	for _, d := range m.decisions {
		if d.ID == id {
			return d, true, nil
		}
	}
	return rules.Decision{}, false, nil
}

func (m *memory) Before(at time.Time, words []string) iter.Seq2[rules.Decision, error] {
	return func(yield func(rules.Decision, error) bool) {
		for _, d := range slices.Backward(m.decisions) {
			if !d.At.Wall.After(at) && !yield(d, nil) {
				return
			}
		}
	}
}

func (m *memory) Decisions(from, to time.Time) iter.Seq2[rules.Decision, error] {
	return func(yield func(rules.Decision, error) bool) {
		for _, d := range m.decisions {
			if !d.At.Wall.Before(from) && d.At.Wall.Before(to) && !yield(d, nil) {
				return
			}
		}
	}
}

func (m *memory) Notes(from, to time.Time) iter.Seq2[history.Note, error] {
	return func(yield func(history.Note, error) bool) {
		for _, n := range m.notes {
			if !n.At.Wall.Before(from) && n.At.Wall.Before(to) && !yield(n, nil) {
				return
			}
		}
	}
}

// name is what one asks about to learn why something expected came.
func name(e trial.Expect, cfg *hub.Config) string {
	if e.Notify != "" {
		n := cfg.Logic.Notify[0].Value
		return cmp.Or(n.Topic, n.URL)
	}
	for _, o := range cfg.Output { // its messages follow from what switches it
		if e.Topic != "" && o.Value.Topic == e.Topic {
			return o.Name
		}
	}
	return cmp.Or(e.Output, e.Topic, e.Device, e.HTTP)
}

// Of all that the cookbook's houses are expected to do why finds the whole chain, down to
// what was sent to the house or the time that came; and of all that they must not do it
// names each rule that could have, with what stopped it.
func TestWhyOfTheCookbook(t *testing.T) {
	files, err := filepath.Glob("../cookbook/*.test.toml")
	if err != nil || len(files) != 33 {
		t.Fatal("33 recipes, not", len(files), err)
	}
	var told strings.Builder
	expected, forbidden := 0, 0
	for _, file := range files {
		cfg, doc := hub.Load(file)
		if doc.Err() != nil {
			t.Fatal(doc.Err())
		}
		for _, test := range cfg.Test {
			past := new(memory)
			v := trial.Run(cfg.Trial(), test)
			trial.Watch(cfg.Trial(), test, past)
			for i, e := range test.Expect {
				event := v.Was(i)
				if event == nil {
					t.Fatal(file, e, "did not come")
				}
				expected++
				a := ask(t, v, past, name(e, cfg), event.At)
				if trouble := incomplete(v, test, a, event); trouble != "" {
					t.Errorf("%s: why %s at %v: %s\n%s", filepath.Base(file), a.Name, event.At, trouble, strings.Join(a.Text, "\n"))
				}
				if i == 0 || i == len(test.Expect)-1 {
					fmt.Fprintf(&told, "-- %s: %s at %v --\n%s\n\n", filepath.Base(file), a.Name, trial.Offset(event.At), strings.Join(a.Text, "\n"))
				}
			}
			for _, f := range test.Forbid {
				forbidden++
				_, to := f.Window()
				to = min(to, v.Length())
				a := ask(t, v, past, name(f, cfg), to)
				for _, rule := range v.Senders(f) {
					if trouble := unexplained(a, rule); trouble != "" {
						t.Errorf("%s: why not %v: %s\n%s", filepath.Base(file), f, trouble, strings.Join(a.Text, "\n"))
					}
				}
			}
		}
	}
	t.Logf("%d chains, and %d times why not", expected, forbidden)
	golden := "testdata/why.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(told.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != told.String() {
		t.Errorf("what why says is not as in %s (go test ./trial -run WhyOfTheCookbook -update, then read the diff): %v", golden, err)
	}
}

func ask(t *testing.T, v *trial.Verdict, past why.Past, name string, at time.Duration) why.Answer {
	t.Helper()
	e, now, up := v.Stood(at)
	thing, ok := e.Thing(name)
	if !ok {
		t.Fatalf("%s is nothing that one may ask about", name)
	}
	q := why.Ask(e, thing)
	if q.Live = up; up {
		q.Stands = why.Stand(e, q.Acts, now)
	}
	q.At, q.Zone = v.Moment(at), v.House.Zone
	a, err := why.Why(past, q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// incomplete says what is missing in the chain of an event; "" if nothing is.
func incomplete(v *trial.Verdict, test trial.Test, a why.Answer, event *trial.Event) string {
	if !a.Known {
		return "nothing is known"
	}
	if !slices.Contains([]string{a.Is}, textOf(event)) && !strings.Contains(a.Is, event.Payload) {
		return fmt.Sprintf("it says that it became %s, and it became %s", a.Is, textOf(event))
	}
	if d := event.Decision(); d != nil && len(a.Because.Rules()) == 0 {
		return "no rule is in the chain, and it was " + d.Rule
	} else if d != nil && a.Because.Rules()[0] != d.Rule {
		return "the first rule of the chain is not " + d.Rule
	}
	for _, end := range a.Because.Ends() {
		if end.What == why.NotKnown || end.What == why.Changed || end.What == why.Decided {
			return "it ends at " + end.What + " " + end.By
		}
	}
	return began(v, test, a.Because.End())
}

func textOf(e *trial.Event) string {
	if e.Output != "" && e.Changed {
		return devices.Text(e.On)
	}
	if e.Device != "" {
		return devices.Text(e.Value)
	}
	return e.Payload
}

// began says what is wrong with the end of a chain: of what was sent it has to have the
// moment and the place, of what time brought there must be a rule that looks at time.
func began(v *trial.Verdict, test trial.Test, end *why.Link) string {
	switch end.What {
	case why.Time:
		for _, word := range []string{"time ", "sun ", "cron ", "silent"} {
			if strings.Contains(end.By, word) {
				return ""
			}
		}
		return "it begins with time, and its rule looks at none: " + end.By
	case why.Start:
		return ""
	}
	for _, s := range test.Send {
		at := v.Moment(time.Duration(s.At))
		late := end.At.Sub(at)
		debounced := s.Input != "" && late >= 0 && late <= 2*time.Second
		switch {
		case late != 0 && !debounced && s.At >= 0:
		case s.Topic != "" && (end.Name == s.Topic || strings.HasPrefix(end.Name, s.Topic+":")) && end.What == why.Message,
			s.Input != "" && (end.Name == s.Input || strings.HasPrefix(end.Name, s.Input+".")) && end.What == why.Wire,
			s.Webhook != "" && end.Name == s.Webhook && end.What == why.Webhook,
			s.Sensor != "" && strings.HasPrefix(end.Name, s.Sensor),
			s.Device != "" && strings.HasPrefix(end.Name, strings.Split(s.Device, ".")[0]):
			return ""
		}
	}
	return fmt.Sprintf("it begins at %s %s %s at %s, and nothing of that kind was sent", end.What, end.Name, end.By, end.At)
}

// unexplained says what is missing of a rule that could have done what is forbidden.
func unexplained(a why.Answer, rule string) string {
	if kind, _, _ := strings.Cut(rule, "."); kind == "device" || kind == "notify" || kind == "test" || kind == "each" {
		return ""
	}
	found := false
	for _, c := range a.Could {
		base, _, _ := strings.Cut(c.Rule, "[")
		if base != rule {
			continue
		}
		found = true
		if len(c.Now) == 0 && c.Stopped == nil {
			return c.Rule + " is there without what stops it"
		}
	}
	if !found {
		return rule + " is not named"
	}
	return ""
}

// What one decision led to in two ways is told of both: what began an episode and what ended it
// may be of the same rule of this house, and neither came from outside.
func TestWhyOfTwoThatComeOfOne(t *testing.T) {
	cfg, doc := hub.Parse("house.toml", []byte(`
[variable.airing]
initial = false
[variable.enough]
initial = false
[rule.ask]
trigger = { state = "room/button", is = "down" }
action = [{ set = "airing", to = true }, { set = "enough", to = true }]
[rule.fan]
trigger = { state = "airing", is = true, until = { state = "enough", is = true, for = "1m" } }
action = { publish = "fan/set", on = "ON", off = "OFF" }
[[test]]
name = "it runs for a minute"
send = [{ at = "0s", topic = "room/button", payload = "down" }]
expect = [{ at = "1m", topic = "fan/set", payload = "OFF" }]
`))
	if doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	past := new(memory)
	v := trial.Run(cfg.Trial(), cfg.Test[0])
	trial.Watch(cfg.Trial(), cfg.Test[0], past)
	event := v.Was(0)
	if event == nil {
		t.Fatal("it did not come")
	}
	a := ask(t, v, past, "fan/set", event.At)
	text := strings.Join(a.Text, "\n")
	t.Log(text)
	for _, end := range a.Because.Ends() {
		if end.Name != "room/button" || end.What != why.Message {
			t.Errorf("a chain begins at %s %s", end.What, end.Name)
		}
	}
	if strings.Contains(text, "wired") {
		t.Error("nothing is wired in this house")
	}
}
