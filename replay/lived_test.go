package replay_test

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/history"
	"hearth/hub"
	"hearth/replay"
	"hearth/rules"
)

// Houses that live a day, and are recorded. All that is in them moves by a clock that is a
// value; what the recorded house does not know is in nobody's way, so the same day can be
// lived with other rules, to know what would really have happened.

// A deed is something that happens to a house from outside.
type deed struct {
	at      time.Duration
	topic   string // a client publishes
	payload string
	retain  bool
	input   string // a contact changes
	on      bool
	tell    string // somebody at the page switches an output
	enable  string // or a rule
	restart time.Duration
}

var monday = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// uptime is how long the machine had been up.
const uptime = 90 * time.Minute

// A lived house is one that lives.
type lived struct {
	t        testing.TB
	house    replay.House
	engine   *rules.Engine
	registry *devices.Registry
	index    *devices.Index
	guard    *gpio.Guard
	levels   map[string]bool
	told     map[string]devices.Origin
	contacts map[string]bool
	retained map[string]devices.Message

	now     devices.Now
	life    uint64
	hub     uint64 // decisions that the hub itself made
	soon    []soon
	entries []replay.Entry
	on      map[string]time.Duration // by output: how long it was on
	since   map[string]time.Duration // and since when it is
}

type soon struct {
	at time.Duration
	do func()
}

// houseOf compiles the text of a configuration.
func houseOf(t testing.TB, text string) replay.House {
	t.Helper()
	cfg, doc := hub.Parse("config.toml", []byte(text))
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	h := cfg.Trial()
	name := fnv.New64a()
	name.Write([]byte(text))
	return replay.House{Config: fmt.Sprintf("%x", name.Sum64()), Pins: h.Pins, Logic: h.Logic, Rules: h.Rules}
}

// live lets a house live until the end of what happens to it.
func live(t testing.TB, text string, deeds []deed, end time.Duration) *lived {
	t.Helper()
	l := &lived{t: t, house: houseOf(t, text), contacts: make(map[string]bool), retained: make(map[string]devices.Message), levels: make(map[string]bool), on: make(map[string]time.Duration), since: make(map[string]time.Duration)}
	l.now = devices.Now{Mono: uptime, Wall: monday, Known: true}
	l.start()
	for {
		next := uptime + end
		if len(deeds) > 0 {
			next = min(next, uptime+deeds[0].at)
		}
		if len(l.soon) > 0 {
			next = min(next, l.soon[0].at)
		}
		due, ok := l.engine.Next()
		if ok {
			next = min(next, max(l.now.Mono, due+lag(due)))
		}
		if at, ok := l.guard.Next(); ok {
			next = min(next, max(l.now.Mono, at))
		}
		if next >= uptime+end {
			l.now = l.now.Add(uptime + end - l.now.Mono)
			for name := range l.levels {
				l.off(name)
			}
			l.entries = append(l.entries, replay.Entry{Note: &history.Note{At: l.now, Kind: "stop"}})
			return l
		}
		l.now = l.now.Add(max(0, next-l.now.Mono))
		switch {
		case len(deeds) > 0 && uptime+deeds[0].at <= next:
			l.deed(deeds[0])
			deeds = deeds[1:]
		case len(l.soon) > 0 && l.soon[0].at <= next:
			do := l.soon[0].do
			l.soon = l.soon[1:]
			do()
		default:
			if at, ok := l.guard.Next(); ok && at <= next {
				l.drive(l.guard.Advance(l.now.Mono), nil)
			}
			if due, ok := l.engine.Next(); ok && due+lag(due) <= next {
				l.happen(rules.Event{Kind: rules.Pass})
			}
		}
	}
}

// lag is how late the loop wakes up for a deadline.
func lag(due time.Duration) time.Duration {
	return (due * 7919 % (11 * time.Millisecond)).Truncate(time.Microsecond)
}

func (l *lived) later(d time.Duration, do func()) {
	at := l.now.Mono + d
	i := len(l.soon)
	for i > 0 && l.soon[i-1].at > at {
		i--
	}
	life := l.life
	l.soon = slices.Insert(l.soon, i, soon{at, func() {
		if life == l.life {
			do()
		}
	}})
}

// happen is what the hub does with everything.
func (l *lived) happen(ev rules.Event, by ...rules.Decision) {
	ev.At = l.now
	for i := range ev.Readings {
		ev.Readings[i].At = l.now
		if ev.Kind == rules.Report && !l.engine.ReadsMessage(ev.Readings[i]) {
			ev.Readings[i].Message = nil
		}
	}
	l.entries = append(l.entries, replay.Entry{Event: &ev})
	for i := range by {
		l.hub++
		by[i].ID, by[i].At = 1<<63|l.hub, l.now
		l.entries = append(l.entries, replay.Entry{Decision: &by[i]})
		l.obey(by[i])
	}
	ds := l.engine.Take(ev)
	for i := range ds {
		l.entries = append(l.entries, replay.Entry{Decision: &ds[i]})
	}
	for _, d := range ds {
		l.obey(d)
	}
}

func (l *lived) obey(d rules.Decision) {
	for _, c := range d.Commands {
		switch {
		case c.Output != "":
			before := l.told[c.Output]
			l.told[c.Output] = c.Origin
			order, err := gpio.OrderOf(c)
			var drives []gpio.Drive
			if err == nil {
				drives, err = l.guard.Do(order, l.now.Mono)
			}
			if err != nil {
				l.happen(rules.Event{Kind: rules.Refuse, Name: c.Output})
				continue
			}
			l.drive(drives, &before)
		case c.HTTP != nil:
			l.later(200*time.Millisecond, func() { l.happen(rules.Event{Kind: rules.Answer, Name: c.HTTP.ID, Status: 200}) })
		default:
			m := devices.Message{Topic: c.Topic, Payload: []byte(c.Payload), Retain: c.Retain, Origin: c.Origin}
			l.later(2*time.Millisecond, func() { l.hear(m) })
			if name, ok := strings.CutSuffix(c.Topic, "/set"); ok && strings.HasPrefix(name, "zigbee2mqtt/") {
				l.later(120*time.Millisecond, func() {
					l.hear(devices.Message{Topic: name, Payload: []byte(c.Payload)})
				})
			}
		}
	}
}

func (l *lived) drive(drives []gpio.Drive, before *devices.Origin) {
	for _, d := range drives {
		from := devices.Origin{By: "output." + d.Output + ": " + d.Why}
		switch {
		case before != nil && d.Same && d.Output == d.Cause:
			from = *before
		case d.Cause != "":
			from = l.told[d.Cause]
		}
		l.levels[d.Output] = d.On
		l.later(time.Millisecond, func() { l.pin(d.Output, d.On, from, false) })
	}
}

func (l *lived) pin(name string, on bool, from devices.Origin, initial bool) {
	if _, was := l.since[name]; on && !was {
		l.since[name] = l.now.Mono
	} else if !on {
		l.off(name)
	}
	l.happen(rules.Event{Kind: rules.Report, Readings: []devices.Reading{{Source: name, Value: on, Text: devices.Text(on), Initial: initial, Origin: from}}})
}

// off counts how long an output was on.
func (l *lived) off(name string) {
	if since, was := l.since[name]; was {
		l.on[name] += l.now.Mono - since
		delete(l.since, name)
	}
}

func (l *lived) hear(m devices.Message) {
	if m.Retain {
		l.retained[m.Topic] = m
	}
	if rs := l.index.Normalize(m, l.now); len(rs) > 0 {
		l.happen(rules.Event{Kind: rules.Report, Readings: rs})
	}
}

// start is a life of the hub, with what the last one left.
func (l *lived) start() {
	cp := &rules.Checkpoint{Boot: "boot", Life: l.life + 1, Decided: (l.life + 1) << 32, Seed: 42, Config: l.house.Config}
	if l.engine != nil {
		cp.States = l.engine.Snapshot(l.now, "boot")
		for _, r := range l.registry.All() {
			if r.Topic != "" {
				cp.Readings = append(cp.Readings, devices.Reading{Source: r.Source, Topic: r.Topic, Value: r.Value, Text: r.Text, Captured: r.Captured,
					At: devices.Now{Wall: r.At.Wall, Known: r.At.Known}, Initial: true, Restored: true})
			}
		}
	}
	l.life++
	l.soon, l.told = nil, make(map[string]devices.Origin)
	l.registry = new(devices.Registry)
	house := l.house.Rules
	house.Seed = cp.Seed
	l.engine = rules.New(l.house.Logic, house, l.registry, config.Place{})
	l.index = devices.NewIndex(l.engine.Sources())
	old := l.guard
	l.guard = gpio.NewGuard(l.house.Pins)
	l.happen(rules.Event{Kind: rules.Open, State: cp})
	for _, o := range l.house.Pins.Output {
		on := slices.Contains(l.engine.Held(), o.Name)
		if old != nil || on {
			since := l.now.Mono
			if old != nil {
				if was, at := old.State(o.Name); was == on {
					since = at
				}
			}
			l.guard.Started(o.Name, on, since)
		}
		l.levels[o.Name] = on
		l.pin(o.Name, on, devices.Origin{}, true)
	}
	for _, i := range l.house.Pins.Input {
		l.pin(i.Name, l.contacts[i.Name], devices.Origin{}, true)
	}
	topics := make([]string, 0, len(l.retained))
	for topic := range l.retained {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	for _, topic := range topics {
		m := l.retained[topic]
		m.Initial, m.Origin = true, devices.Origin{}
		l.hear(m)
	}
	l.happen(rules.Event{Kind: rules.Begin})
	l.later(time.Second, func() { l.happen(rules.Event{Kind: rules.Resume}) })
}

func (l *lived) deed(d deed) {
	switch {
	case d.topic != "":
		l.hear(devices.Message{Topic: d.topic, Payload: []byte(d.payload), Retain: d.retain})
	case d.input != "":
		l.contacts[d.input] = d.on
		l.guard.Input(d.input, d.on, true, l.now.Mono)
		l.pin(d.input, d.on, devices.Origin{}, false)
	case d.tell != "":
		origin := devices.Origin{By: "page", Decision: 1<<63 | (l.hub + 1)}
		l.happen(rules.Event{Kind: rules.Tell, Name: d.tell, Value: d.on}, rules.Decision{Rule: "hearth/" + d.tell + "/set", Outcome: rules.Fired,
			Commands: []devices.Command{{Output: d.tell, Value: d.on, Origin: origin}}})
	case d.enable != "":
		l.happen(rules.Event{Kind: rules.Enable, Name: d.enable, On: d.on})
	case d.restart > 0:
		l.entries = append(l.entries, replay.Entry{Note: &history.Note{At: l.now, Kind: "stop"}})
		for name, on := range l.levels {
			if on {
				l.guard.Started(name, false, l.now.Mono)
			}
		}
		for name := range l.levels {
			l.off(name)
		}
		l.now = l.now.Add(d.restart)
		l.start()
	}
}

// all is the recording.
func (l *lived) all() replay.Entries {
	return func(yield func(replay.Entry, error) bool) {
		for _, e := range l.entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// A did is one thing that a rule did.
type did struct {
	at   time.Duration
	what string
}

// done is all that rules did.
func (l *lived) done() (all []did) {
	for _, e := range l.entries {
		if d := e.Decision; d != nil && d.ID>>63 == 0 {
			for _, c := range d.Commands {
				all = append(all, did{d.At.Mono, d.Rule + d.Instance + " " + c.String()})
			}
			for _, s := range d.Sets {
				all = append(all, did{d.At.Mono, d.Rule + d.Instance + " " + s})
			}
		}
	}
	return all
}

// apart is what the one did and the other did not, within a moment.
func apart(a, b []did) (more, less []did) {
	used := make([]bool, len(b))
	byWhat := make(map[string][]int)
	for i, d := range b {
		byWhat[d.what] = append(byWhat[d.what], i)
	}
next:
	for _, d := range a {
		for _, i := range byWhat[d.what] {
			if !used[i] && (b[i].at-d.at).Abs() <= 2*time.Second {
				used[i] = true
				continue next
			}
		}
		less = append(less, d)
	}
	for i, d := range b {
		if !used[i] {
			more = append(more, d)
		}
	}
	return more, less
}
