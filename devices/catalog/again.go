package catalog

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"hearth/devices"
)

// A command gets lost: a device sleeps to save its battery, its bulb had no current, a radio
// was busy. What was told and is not confirmed is told again, as far as that is safe. One
// that listens is first asked how it is; one that does not hears it again when it next
// shows that it lives. What is told twice has to be as if it was told once, and what is told
// late must not surprise: nobody wants a lamp to go out at breakfast because of last night.

const (
	// How long a device may take to confirm what it was told.
	confirmWithin = 5 * time.Second
	// How often one is told in all, that listens, and that sleeps.
	toldAwake  = 3
	toldAsleep = 5
	// How old a command may be that is told again: of a device that sleeps, which may be
	// for hours; of one that should have heard it, and of what moves.
	asleepFor = 24 * time.Hour
	awayFor   = 10 * time.Minute
	// How long a device that is new here may take to say by itself how it is.
	reportsWithin = 10 * time.Second
)

// Asked is what a property was told last and has not confirmed.
type Asked struct {
	Value  any
	At     time.Time
	Origin devices.Origin
	GaveUp bool // it was told as often as makes sense

	again  bool          // it may be told again
	kept   bool          // it was told in an earlier life of the hub
	times  int           // it was told
	looked bool          // it was asked how it is
	since  time.Duration // by the clock that does not step: when it was told first,
	last   time.Duration // and when it was told or asked last
	alive  bool          // it has shown that it lives since then
}

// repeatable says whether a property may be told v a second time.
func (p *Property) repeatable(v any) bool {
	if p.Set.Retain || v == any(devices.Toggle{}) { // what is retained it finds itself
		return false
	}
	switch p.Kind {
	case Cover: // nobody is there when a garage opens late, and many openers take any word for "go on"
		// What stops late stops what somebody else has moved meanwhile.
		return v != "stop" && !slices.Contains([]string{"garage", "gate", "door"}, p.Class)
	case Switch, Light, Fan, Valve, Climate, Number, Select:
		return true
	}
	return false // a button would be pressed twice, and nobody is there when a lock opens late
}

// patience is how old a command for a property may be that is told again.
func (s *State) patience(p *Property) time.Duration {
	if s.Sleepy && p.Kind != Cover && p.Kind != Valve {
		return asleepFor
	}
	return awayFor
}

// deaf says whether the device most likely does not hear what it is told now.
func (s *State) deaf() bool { return s.Sleepy || s.Silent || s.Online != nil && !*s.Online }

// Again says whether a property that has not confirmed what it was told will be told so when
// the device next shows that it lives.
func (s *State) Again(property string) bool {
	a, ok := s.Asked[property]
	return ok && a.again && !a.GaveUp && s.deaf()
}

// ask notes that a property was told v. What was told of the whole before, of a part now, or the other
// way round, is not told again: to set its brightness switches a lamp on.
func (r *Registry) ask(s *State, p *Property, v any, origin devices.Origin, now devices.Now) {
	for name, a := range s.Asked {
		if q, err := s.Property(name); err == nil && (q.Of == p.Name || p.Of == q.Name) {
			a.again = false
			s.Asked[name] = a
		}
	}
	delete(s.Asked, p.Name)
	r.moved[s.ID] = true
	if is := s.Values[p.Name]; len(p.Reports) > 0 && (is.Bad != "" || !p.obeyed(v, is.Value)) {
		s.Asked[p.Name] = Asked{Value: v, At: now.Wall, Origin: origin, again: p.repeatable(v), times: 1, since: now.Mono, last: now.Mono}
		r.asking[s.ID] = true
	}
}

// obeyed says whether a property that reports is does what it was told. Covers and locks are told
// what to do and report how they stand; and what "stop" stops may stand anywhere.
func (p *Property) obeyed(told, is any) bool {
	switch word, _ := is.(string); {
	case p.Kind == Cover && told == "open":
		return word == "open"
	case p.Kind == Cover && told == "close":
		return word == "closed"
	case p.Kind == Cover && told == "stop":
		return word == "open" || word == "closed" || word == "stopped"
	case p.Kind == Lock && told == "lock":
		return word == "locked"
	case p.Kind == Lock && told == "unlock":
		return word == "unlocked"
	}
	return p.near(is, told)
}

// answers says whether to report is answers what the property was told; same says that it reported
// that before. That is no answer unless it is what was told: it is on its way still, or does
// not obey. Nor is the opposite of what was told, where there is one.
func (p *Property) answers(told, is any, same bool) bool {
	_, named := told.(string)
	switch {
	case p.obeyed(told, is), p.Kind == Number && named: // "warmest", and only the device knows which number that is
		return true
	case same:
		return false
	case told == any(devices.Toggle{}):
		return true
	}
	switch p.Kind {
	case Switch, Light, Fan, Valve, Select:
		return false
	case Lock: // which may be on its way, or jammed
		return is != any("locked") && is != any("unlocked") || told == any("open") && is == any("unlocked")
	}
	return true
}

// near says whether two values are one as far as the device can tell: 40 % is 102 of 254,
// which is 40.16 %.
func (p *Property) near(a, b any) bool {
	x, ok := a.(float64)
	y, also := b.(float64)
	if !ok || !also || p.Range == nil {
		return sameValue(a, b)
	}
	return math.Abs(x-y) <= max((p.Range.Max-p.Range.Min)/200, p.Range.Step/2)
}

// lives notes that a device has shown that it lives.
func (r *Registry) lives(s *State) {
	for name, a := range s.Asked {
		a.alive = true
		s.Asked[name] = a
		r.woken = r.woken || s.deaf() && !a.GaveUp
	}
}

// Woken reports whether since Remind a device has shown that it lives that was told
// something and may have been deaf. It may be so soon again.
func (r *Registry) Woken() bool { return r.woken }

// A Reminder is about what a property was told and has not confirmed.
type Reminder struct {
	Called, Property string
	Value            any
	Times            int // it was told, with this time
	Origin           devices.Origin
	Message          Message // what to publish
}

// Remind gives what is to be published, to tell devices again or to ask them how they are,
// and those of which nothing more is to be expected.
func (r *Registry) Remind(now devices.Now) (again, gaveUp []Reminder) {
	r.woken = false
	for _, id := range slices.Sorted(maps.Keys(r.asking)) {
		s, waits := r.states[id], false
		if s == nil {
			delete(r.asking, id)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(s.Asked)) {
			a := s.Asked[name]
			p, err := s.Property(name)
			if err != nil {
				delete(s.Asked, name)
				continue
			}
			if a.GaveUp {
				continue
			}
			m, over := a.next(s, p, now)
			one := Reminder{Called: s.Called, Property: name, Value: a.Value, Times: a.times, Origin: a.Origin, Message: m}
			switch {
			case over:
				a.GaveUp = true
				gaveUp = append(gaveUp, one)
			case m.Topic != "":
				again = append(again, one)
			}
			waits = waits || !over
			s.Asked[name] = a
			r.moved[id] = r.moved[id] || over || m.Topic != ""
		}
		if !waits {
			delete(r.asking, id)
		}
	}
	return again, gaveUp
}

// next is what is to be published now of what a property was told, and whether that is over.
func (a *Asked) next(s *State, p *Property, now devices.Now) (m Message, over bool) {
	if a.kept && a.since == 0 {
		a.since = now.Mono // when the hub was back; it is older
	}
	age := now.Mono - a.since
	if a.kept {
		if !now.Known { // it may be of today or of last week
			return m, age >= s.patience(p)
		}
		switch told := now.Wall.Sub(a.At); {
		case told < 0: // by a clock that was wrong then
			return m, true
		case told > age:
			age = told
		}
	}
	deaf := s.deaf()
	most := toldAwake
	if s.Sleepy {
		most = toldAsleep
	}
	switch {
	case now.Mono-a.last < confirmWithin:
		return m, false
	case (deaf || a.kept) && age >= s.patience(p):
		return m, true
	case (deaf || a.kept) && !a.alive:
		return m, false
	case !deaf && !a.looked && p.Get != nil:
		a.looked, a.last = true, now.Mono
		return *p.Get, false
	case !a.again || a.times >= most:
		return m, true
	}
	m, err := p.command(a.Value)
	if err != nil {
		return m, true
	}
	a.times++
	a.last, a.alive = now.Mono, false
	return m, false
}

// Unseen gives what asks one device for what it has not said since it is here, if there is
// such a one; each is asked once. To be called again and again: so they are asked one by one.
func (r *Registry) Unseen(now devices.Now) (m Message, ok bool) {
	for _, id := range slices.Sorted(maps.Keys(r.unseen)) {
		s := r.states[id]
		if s == nil || s.Sleepy {
			delete(r.unseen, id)
			continue
		}
		if s.expected == 0 {
			s.expected = now.Mono + reportsWithin
		}
		if s.deaf() || now.Mono < s.expected {
			continue
		}
		for i := range s.Properties {
			p := &s.Properties[i]
			if p.Get == nil || s.Values[p.Name].Value != nil || s.got[*p.Get] {
				continue
			}
			if s.got == nil {
				s.got = make(map[Message]bool)
			}
			s.got[*p.Get] = true
			return *p.Get, true
		}
		delete(r.unseen, id)
	}
	return m, false
}

// keptAsked is what a property of a device that sleeps was told, as it is kept: only what
// may be told again. Others have their last minutes behind them when the hub is back.
type keptAsked struct {
	Value any      `json:"value"`
	At    int64    `json:"at"` // Unix time in ms
	Times int      `json:"times"`
	By    string   `json:"by,omitempty"`
	Rules []string `json:"rules,omitempty"`
}

func (s *State) keptAsked() map[string]keptAsked {
	var all map[string]keptAsked
	for name, a := range s.Asked {
		if !s.Sleepy || !a.again || a.GaveUp || len(devices.Text(a.Value)) > maxText {
			continue
		}
		if all == nil {
			all = make(map[string]keptAsked)
		}
		all[name] = keptAsked{a.Value, a.At.UnixMilli(), a.times, a.Origin.By, a.Origin.Rules}
	}
	return all
}

func (r *Registry) restoreAsked(s *State, all map[string]keptAsked) {
	for name, k := range all {
		switch k.Value.(type) {
		case bool, float64, string:
			s.Asked[name] = Asked{Value: k.Value, At: time.UnixMilli(k.At), Origin: devices.Origin{By: cmp.Or(k.By, "hearth"), Rules: k.Rules},
				again: true, kept: true, times: k.Times}
			r.asking[s.ID] = true
		}
	}
}

// String is what was told, in words: "hall_lamp.state on".
func (m Reminder) String() string {
	return strings.TrimSpace(m.Called + "." + m.Property + " " + devices.Text(m.Value))
}
