package gpio

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/store"

	"pgregory.net/rapid"
)

// Any outputs, any commands, reloads that change any limit, lines that hang and
// that fail, stops and crashes: what was declared at the time holds, looked at from
// the pins alone.
func TestWhatIsDeclaredHoldsOnThePins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(r *rapid.T) { playHouse(t, r) })
	})
}

var modelPins = map[string]string{"a": "GPIO1", "b": "GPIO2", "c": "GPIO3", "d": "GPIO4"}

// A model is what is known of a house without looking into it.
type model struct {
	h       *house
	configs []inForce
	spans   map[string][]span    // by output: when its pin was on
	on      map[string]bool      // how it was when that was last looked at
	broken  map[string][]span    // when nothing could be done with its pin
	orders  map[string][]ordered // what was accepted
	log     bytes.Buffer
	opened  time.Time // the hub last
}

type inForce struct {
	from time.Time
	Config
}

type span struct{ from, to time.Time } // to is zero while it lasts

type ordered struct {
	at time.Time
	on bool
	d  time.Duration // for how long
	by string        // its origin
}

func drawHouse(t *rapid.T) Config {
	var cfg Config
	seconds := func(label string, most int) config.Duration {
		if rapid.Bool().Draw(t, label+"?") {
			return 0
		}
		return config.Duration(rapid.IntRange(1, most).Draw(t, label)) * config.Duration(time.Second)
	}
	names := []string{"a", "b", "c", "d"}
	locked := map[string]bool{}
	some := func(label string) []string {
		return rapid.Permutation(names).Draw(t, label)[:rapid.IntRange(2, 3).Draw(t, "how many")]
	}
	if rapid.Bool().Draw(t, "lock?") {
		l := Interlock{Outputs: some("lock"), Gap: seconds("gap", 4)}
		cfg.Interlock = append(cfg.Interlock, config.Named[Interlock]{Name: "x", Value: l})
		for _, name := range l.Outputs {
			locked[name] = true
		}
	}
	if rapid.Bool().Draw(t, "group?") {
		g := Group{Outputs: some("group"), Most: rapid.IntRange(0, 2).Draw(t, "most"), Stagger: seconds("stagger", 2)}
		cfg.Group = append(cfg.Group, config.Named[Group]{Name: "g", Value: g})
	}
	for _, name := range names {
		o := Output{
			Pin: modelPins[name], MinOn: seconds("min_on", 3), MinOff: seconds("min_off", 5),
			Safe:    rapid.SampledFrom([]string{"", "off", "hold"}).Draw(t, "safe"),
			Initial: rapid.SampledFrom([]string{"", "off", "last"}).Draw(t, "initial"),
		}
		longest := func(label string) config.Duration { return max(seconds(label, 12), o.MinOn) }
		if rapid.Bool().Draw(t, "max_on?") {
			o.MaxOn = longest("max_on")
		}
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			o.Momentary, o.Safe, o.Initial = max(longest("momentary"), config.Duration(time.Second)), "", ""
		case 1:
			o.Lifetime = longest("lifetime")
		case 2:
			o.Starts = Rate{rapid.IntRange(1, 3).Draw(t, "starts"), 20 * time.Second}
		case 3:
			o.Period = max(o.MinOn+o.MinOff, 4*config.Duration(time.Second))
		}
		cfg.Output = append(cfg.Output, config.Named[Output]{Name: name, Value: o})
	}
	return cfg
}

func playHouse(t *testing.T, r *rapid.T) {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		r.Fatal(err)
	}
	m := &model{
		h:     &house{t: t, dir: dir, sim: NewSim(), began: time.Now()},
		spans: map[string][]span{}, on: map[string]bool{}, broken: map[string][]span{}, orders: map[string][]ordered{},
	}
	h := m.h
	open := func(cfg Config) {
		if h.st, err = store.Open(h.dir, store.Options{}); err != nil {
			r.Fatal(err)
		}
		m.configs = append(m.configs, inForce{time.Now(), cfg})
		m.opened, h.heard = time.Now(), nil
		options := h.options()
		options.Log = slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if h.pins, err = Open(cfg, options); err != nil {
			r.Fatal(err)
		}
	}
	mend := func(name string) {
		h.sim.Hang(modelPins[name], false)
		h.sim.Fail(modelPins[name], nil)
		if b := m.broken[name]; len(b) > 0 && b[len(b)-1].to.IsZero() {
			b[len(b)-1].to = time.Now()
		}
	}
	ruin := func(name string) {
		if b := m.broken[name]; len(b) == 0 || !b[len(b)-1].to.IsZero() {
			m.broken[name] = append(b, span{from: time.Now()})
		}
	}
	cfg := drawHouse(r)
	open(cfg)
	defer func() { // also where rapid ends a run early
		for n := range modelPins {
			mend(n)
		}
		h.pins.Close()
		h.st.Close()
	}()
	for range rapid.IntRange(1, 30).Draw(r, "steps") {
		name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "output")
		switch rapid.IntRange(0, 15).Draw(r, "step") {
		case 0:
			h.sim.Hang(modelPins[name], true)
			ruin(name)
		case 1:
			h.sim.Fail(modelPins[name], errors.New("bus error"))
			ruin(name)
		case 2, 3:
			mend(name)
		case 4, 5:
			next := drawHouse(r)
			time.Sleep(time.Millisecond) // what was done before was done under what held before
			if c, err := h.pins.Prepare(next); err == nil {
				c.Commit()
				cfg = next
				m.configs = append(m.configs, inForce{time.Now(), cfg})
			}
		case 6, 7: // a crash, or a stop
			for n := range modelPins {
				mend(n)
			}
			time.Sleep(4 * time.Second)
			synctest.Wait()
			crash := rapid.Bool().Draw(r, "crash")
			if !crash {
				if err := h.pins.Close(); err != nil {
					r.Fatal(err)
				}
			}
			m.look()
			h.st.Close()
			old := h.sim
			h.sim = NewSim()
			for i, p := range old.pins {
				h.sim.pins[i].level = p.level
			}
			if crash {
				h.pins.Close() // on pins of its own from here on
			}
			for n := range modelPins {
				ruin(n)
			}
			time.Sleep(time.Duration(rapid.IntRange(0, 20).Draw(r, "away")) * time.Second)
			for n := range modelPins {
				mend(n)
			}
			open(cfg)
		case 8, 9, 10:
			time.Sleep(time.Duration(rapid.IntRange(1, 40).Draw(r, "time")) * (time.Second / 4))
		default:
			o, _ := cfg.Output.Get(name)
			c := devices.Command{Output: name, Value: rapid.IntRange(0, 2).Draw(r, "on") > 0}
			if c.Value == true && o.Momentary == 0 && rapid.IntRange(0, 3).Draw(r, "timed") == 0 {
				c.For = time.Duration(rapid.IntRange(1, 8).Draw(r, "for")) * time.Second
			}
			on := c.Value == true
			if on && o.Period > 0 {
				c.Value = float64(rapid.IntRange(1, 100).Draw(r, "level"))
			}
			c.Origin.By = fmt.Sprint("command ", len(m.orders[name]), " of ", name)
			if h.pins.Command(c) == nil {
				m.orders[name] = append(m.orders[name], ordered{time.Now(), on, c.For, c.Origin.By})
			}
		}
		if rapid.Bool().Draw(r, "settles") {
			synctest.Wait()
		}
	}
	for n := range modelPins {
		mend(n)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	m.look()
	end := time.Now()
	m.checkAnswers(r)
	for _, o := range h.pins.Outputs() {
		if o.Fault != "" {
			r.Errorf("%s has still a fault: %s", o.Name, o.Fault)
		}
	}
	if err := h.pins.Close(); err != nil {
		r.Error(err)
	}
	h.st.Close()
	m.check(r, end)
}

// look takes down what happened on the pins since they were new.
func (m *model) look() {
	for name, pin := range modelPins {
		for _, s := range m.h.sim.History(pin) {
			switch on := bool(s.Level); {
			case on && !m.on[name]:
				m.spans[name] = append(m.spans[name], span{from: s.At})
			case !on && m.on[name]:
				m.spans[name][len(m.spans[name])-1].to = s.At
			}
			m.on[name] = bool(s.Level)
		}
	}
}

// checkAnswers expects one reading for each command since the last start: its own,
// or that of what took its place.
func (m *model) checkAnswers(r *rapid.T) {
	answers := map[string]int{}
	for _, reading := range m.h.heard {
		answers[reading.Source+" "+reading.Origin.By]++
	}
	for name, orders := range m.orders {
		for _, o := range orders {
			if _, waits := m.h.pins.guard.Waiting(name); waits || o.at.Before(m.opened) || o.at == m.opened {
				continue
			}
			later := slices.ContainsFunc(m.h.heard, func(reading devices.Reading) bool {
				return reading.Source == name && !reading.Initial && reading.At.Mono >= o.at.Sub(m.h.began)
			})
			if n := answers[name+" "+o.by]; n > 1 || n == 0 && !later {
				r.Errorf("%s at %v has %d readings", o.by, o.at.Sub(m.h.began), n)
			}
		}
	}
}

// since is from when the configuration of a time was in force.
func (m *model) since(t time.Time) (from time.Time) {
	for _, c := range m.configs {
		if !c.from.After(t) {
			from = c.from
		}
	}
	return from
}

func (m *model) at(t time.Time) Config {
	cfg := m.configs[0].Config
	for _, c := range m.configs {
		if !c.from.After(t) {
			cfg = c.Config
		}
	}
	return cfg
}

// by is until when a line can have been switched that was to be switched at t.
func (m *model) by(name string, t time.Time) time.Time {
	for _, b := range m.broken[name] {
		if !b.from.After(t) && (b.to.IsZero() || b.to.Add(4*time.Second).After(t)) || b.from.After(t) && b.from.Sub(t) <= 0 {
			t = b.to.Add(4 * time.Second)
		}
	}
	return t
}

// late reports whether a switch may have been decided under another configuration:
// its line hung meanwhile.
func (m *model) late(name string, t time.Time) bool {
	return slices.ContainsFunc(m.broken[name], func(b span) bool {
		return b.to.Equal(t) && slices.ContainsFunc(m.configs, func(c inForce) bool { return c.from.After(b.from) && !c.from.After(t) })
	})
}

func (m *model) check(r *rapid.T, end time.Time) {
	since := func(t time.Time) time.Duration {
		if t.IsZero() {
			return -1
		}
		return t.Sub(m.h.began)
	}
	for name, spans := range m.spans {
		var before span
		for i, s := range spans {
			if s.to.IsZero() {
				s.to = end
			}
			cfg := m.at(s.from)
			if m.late(name, s.from) {
				cfg = Config{Output: config.Table[Output]{{Name: name}}}
			}
			o, _ := cfg.Output.Get(name)
			if s.from == s.to { // two that waited in a line that hung
				continue
			}
			if off := s.from.Sub(before.to); i > 0 && before.to != s.from && off < time.Duration(o.MinOff) {
				r.Errorf("%s goes on at %v, off for %v only", name, since(s.from), off)
			}
			if n := o.Starts.Most; n > 0 && i >= n && m.at(spans[i-n].from).has(name, o.Starts) && m.same(name, spans[i-n].from, s.from, func(o Output) any { return o.Starts }) && s.from.Sub(spans[i-n].from) < o.Starts.Per {
				r.Errorf("%s goes on at %v, more often than %v", name, since(s.from), o.Starts)
			}
			for _, l := range cfg.Interlock {
				if !slices.Contains(l.Value.Outputs, name) {
					continue
				}
				for _, other := range l.Value.Outputs {
					for _, p := range m.spans[other] {
						if other != name && p.from.Before(s.from) && p.from != p.to && (p.to.IsZero() || s.from.Sub(p.to) < time.Duration(l.Value.Gap)) {
							r.Errorf("%s goes on at %v, %s was on from %v to %v", name, since(s.from), other, since(p.from), since(p.to))
						}
					}
				}
			}
			for _, g := range cfg.Group {
				on := 0
				for _, other := range g.Value.Outputs {
					for _, p := range m.spans[other] {
						if other != name && p.from.Before(s.from) && (p.to.IsZero() || p.to.After(s.from)) {
							on++
						}
						if other != name && p.from != p.to && slices.Contains(g.Value.Outputs, name) && p.from.Before(s.from) && s.from.Sub(p.from) < time.Duration(g.Value.Stagger) && p.from.After(m.since(s.from)) {
							r.Errorf("%s goes on at %v, %s did at %v", name, since(s.from), other, since(p.from))
						}
					}
				}
				if slices.Contains(g.Value.Outputs, name) && g.Value.Most > 0 && on >= g.Value.Most {
					r.Errorf("%s goes on at %v, %d of its group are", name, since(s.from), on)
				}
			}
			// By when it has to be off, for each configuration meanwhile.
			for k, c := range m.configs {
				o, _ := c.Output.Get(name)
				until := end
				if k+1 < len(m.configs) {
					until = m.configs[k+1].from
				}
				told, timed := s.from, time.Duration(0)
				for _, order := range m.orders[name] {
					if order.on && order.at.Before(min2(until, s.to)) {
						if order.at.After(told) {
							told = order.at
						}
						timed = order.d
					}
				}
				limit := func(what string, from time.Time, d time.Duration) {
					due := from.Add(d)
					if due.Before(c.from) {
						due = c.from
					}
					if due = m.by(name, due); d > 0 && s.to.After(due) && until.After(due) {
						r.Errorf("%s is on from %v to %v, against %s = %v since %v", name, since(s.from), since(s.to), what, d, since(c.from))
					}
				}
				limit("max_on", s.from, time.Duration(o.MaxOn))
				limit("momentary", told, time.Duration(o.Momentary))
				limit("lifetime", told, time.Duration(o.Lifetime))
				if timed > 0 {
					limit("its time", told, max(timed, time.Duration(o.MinOn)))
				}
			}
			before = s
		}
	}
	if r.Failed() {
		r.Log(m.log.String())
		for _, c := range m.configs {
			r.Log(fmt.Sprintf("%v: %+v", since(c.from), c.Config))
		}
		for name := range modelPins {
			text := name + " told:"
			for _, o := range m.orders[name] {
				text += fmt.Sprintf(" %v %v %v,", since(o.at), o.on, o.d)
			}
			for _, b := range m.broken[name] {
				text += fmt.Sprintf(" broken %v to %v,", since(b.from), since(b.to))
			}
			for _, b := range m.spans[name] {
				text += fmt.Sprintf(" on %v to %v,", since(b.from), since(b.to))
			}
			r.Log(text)
		}
	}
}

func min2(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (c Config) has(name string, starts Rate) bool {
	o, _ := c.Output.Get(name)
	return o.Starts == starts
}

// same reports whether something of an output was the same from one time to another.
func (m *model) same(name string, from, to time.Time, of func(Output) any) bool {
	o, _ := m.at(to).Output.Get(name)
	for _, c := range m.configs {
		if before, _ := c.Output.Get(name); c.from.Before(to) && c.from.After(from) && of(*before) != of(*o) {
			return false
		}
	}
	return true
}
