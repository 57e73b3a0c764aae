package replay

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
)

// How a replay with other rules goes its own way, and no further than it must:
//
// What happens to the house is of two kinds. Most of it comes from outside: a motion, a
// temperature, a person at a switch. That is delivered as it was recorded. The rest is
// the effect of something that rules did, and says so: its origin names the decision. It
// is delivered only if the rules of the replay did the same, else it is left out; and for
// what they did that nobody did then, an effect is made up.
//
// "The same" is: the same rule, in the same instance, gave the same command because of
// the same event. Not just at about the same time, for between two commands a moment
// apart something may have read the value between them; and not just the same command by
// any rule, for the chain of rules that led to it decides what may follow. For this to
// hold for rules that did not change, deadlines are done with the very event with which
// they were done when it was recorded, though that came some milliseconds late: so a rule
// that nothing has touched decides the same at the same moment, and the commands of two
// runs of it can't be confused. Where it differs the effect is made up at once, which
// differs from the recorded one by what a device took to answer.
//
// Made up are: the outputs, as in pins.go; a message on a topic that some rule looks at,
// which comes back as it does from the broker; a property of a device, which reports what
// it was told; and the answer to a request, which is that all is well.

// Patience is how late a recorded event may be for a deadline to be done with it; with
// one that says that time passed, more: it was for this that the hub woke up.
const (
	patience    = 250 * time.Millisecond
	longerStill = 2 * time.Second
)

// answersWithin is how soon a device reports what it was told.
const answersWithin = 10 * time.Second

// restless is how much may follow from one event; a house that does more never comes to rest.
const restless = 50_000

// trying is a replay with rules that were not in force.
type trying struct {
	house    House
	outlook  *outlook
	engine   *rules.Engine
	registry *devices.Registry
	index    *devices.Index
	named    map[string]bool // sources that the rules look at
	pins     *pins

	now     devices.Now
	life    rules.Checkpoint             // of the hub: its boot, and how often it had started
	begun   bool                         // all that is there at a start or a reload has been found; what is due waits for that
	apart   bool                         // something has been different
	fresh   map[string]bool              // by key: states that the recording has not, or of another definition
	gone    map[uint64][]devices.Command // by recorded decision: what it did and the rules of the replay did not
	strays  map[string]bool              // sources whose newest value is not the recorded one
	told    map[string]told              // by source: what devices were told by record, and not here
	answers map[string]string            // by the ID of a recorded request: that of the same one here; "" if there is none
	refuses map[string]uint64            // by output: the recorded decision of the newest command
	queue   []func()                     // effects that are to come at once
	heard   map[string]bool              // sources of which something was recorded
	kept    map[string]bool              // sources of messages that are retained here
	partial map[string]bool              // those of which rules want the whole message, and the rest of it was not recorded
}

// told is what a property of a device was told by record alone.
type told struct {
	value any
	until time.Duration // an answer comes by then
	is    bool          // it has: by record the property is so, and here it is not
}

// A moment is an event and all that was decided because of it.
type moment struct {
	at        time.Time   // as far as is known by now
	event     rules.Event // without a kind where the recording ends
	decisions []Entry
	seen      []devices.Reading // before the event
	alive     devices.Now       // the last that was recorded before it
}

// moments gathers the entries of a recording.
func moments(entries Entries) iter.Seq2[*moment, error] {
	return func(yield func(*moment, error) bool) {
		var m *moment
		var seen []devices.Reading
		var alive devices.Now
		for e, err := range entries {
			switch {
			case err != nil:
				yield(nil, err)
				return
			case e.Event != nil:
				if m != nil && !yield(m, nil) {
					return
				}
				m = &moment{at: when(e), event: *e.Event, seen: seen, alive: alive}
				seen, alive = nil, e.Event.At
			case e.Decision != nil && m != nil:
				m.decisions = append(m.decisions, e)
			case e.Seen != nil:
				seen = append(seen, *e.Seen)
				alive = e.Seen.At
			case e.Note != nil && e.Note.Kind != "start": // which is of the life to come
				alive = e.Note.At
			}
		}
		if m != nil && yield(m, nil) && alive.Mono > m.event.At.Mono {
			yield(&moment{at: alive.Wall, event: rules.Event{At: alive}, seen: seen}, nil)
		}
	}
}

// Try replays what happened, up to a moment (zero: all of it), to a house whose
// configuration was not in force, and tells what would have been different.
func Try(entries Entries, house House, until time.Time) (*Outlook, error) {
	t := &trying{
		house:   house,
		outlook: newOutlook(house.Pins),
		gone:    make(map[uint64][]devices.Command),
		strays:  make(map[string]bool),
		told:    make(map[string]told),
		answers: make(map[string]string),
		refuses: make(map[string]uint64),
		heard:   make(map[string]bool),
		partial: make(map[string]bool),
		kept:    make(map[string]bool),
		fresh:   make(map[string]bool),
		pins:    newPins(house.Pins),
	}
	t.pins.now = func() devices.Now { return t.now }
	t.pins.report = func(r devices.Reading) { t.later(func() { t.invent(r) }) }
	for m, err := range moments(entries) {
		if err != nil {
			return nil, err
		}
		if !until.IsZero() && m.at.After(until) {
			break
		}
		if t.engine == nil && !m.event.Begins() {
			continue // nobody knows yet where things stand
		}
		if err := t.moment(m); err != nil {
			return nil, err
		}
	}
	if t.engine == nil {
		return nil, ErrNoCheckpoint
	}
	t.unheard()
	t.outlook.close(t.now)
	return &t.outlook.Outlook, nil
}

// moment lets one event happen.
func (t *trying) moment(m *moment) error {
	ev := &m.event
	o := t.outlook
	if t.engine != nil {
		switch ev.Kind {
		case rules.Open: // when the hub ended nobody knows, but it lived when something was recorded last
			t.passUntil(m.alive.Mono, 0)
			t.now = m.alive
		case "":
			t.passUntil(ev.At.Mono, 0)
		case rules.Pass:
			t.passUntil(ev.At.Mono, longerStill)
		default:
			t.passUntil(ev.At.Mono, patience)
		}
	}
	for _, r := range m.seen {
		t.seen(r)
	}
	t.now = ev.At
	o.shift = m.at.Sub(ev.At.Wall)
	o.at(ev.At)
	own := t.take(m)
	if veiled(t.engine, ev) {
		o.Veiled++ // nobody knows what the rules here would have made of it; take it that the same
	} else {
		t.compare(m, own)
	}
	return t.settle()
}

// passUntil does what is due before the next event: deadlines of the rules that are not
// left to it, and those of pins that do what they did not do then.
func (t *trying) passUntil(end, patience time.Duration) {
	for {
		due := time.Duration(math.MaxInt64)
		next, ok := t.engine.Next()
		if ok && t.begun && next < end-patience {
			due = next
		}
		pin, moves := t.pins.next()
		moves = moves && pin <= min(due, end)
		if moves {
			due = pin
		}
		if due == math.MaxInt64 {
			return
		}
		if due > t.now.Mono {
			t.now = t.now.Add(due - t.now.Mono)
		}
		t.outlook.at(t.now)
		if moves {
			t.pins.advance()
		} else {
			t.do(rules.Event{At: t.now, Kind: rules.Pass})
		}
		if t.settle() != nil {
			return
		}
	}
}

// do is an event that was not recorded. Nothing that is decided because of it has a
// recorded counterpart.
func (t *trying) do(ev rules.Event) {
	t.outlook.Events++
	t.compare(nil, t.engine.Take(ev))
}

func (t *trying) later(do func()) { t.queue = append(t.queue, do) }

// settle lets made up effects come, and what follows from them.
func (t *trying) settle() error {
	for n := 0; len(t.queue) > 0; n++ {
		if n > restless {
			return fmt.Errorf("at %s the house does not come to rest: more than %d things happened without time passing", t.now.Wall.Format(time.DateTime), restless)
		}
		do := t.queue[0]
		t.queue = t.queue[1:]
		do()
	}
	return nil
}

// take gives a recorded event to the engine, as far as it happens here, too.
func (t *trying) take(m *moment) []rules.Decision {
	ev := m.event
	t.outlook.Events++
	switch ev.Kind {
	case rules.Current, rules.Open, rules.Reload:
		return t.begin(m)
	case rules.Report:
		var left []devices.Reading
		for _, r := range ev.Readings {
			if r, ok := t.recorded(r); ok {
				left = append(left, t.whole(r))
			}
		}
		left = append(left, t.further(ev.Readings)...)
		if len(left) == 0 {
			return t.pass(ev.At)
		}
		ev.Readings = left
	case rules.Tell:
		if t.leftOut(m) {
			return t.pass(ev.At)
		}
		c := devices.Command{Output: ev.Name, Value: ev.Value}
		for _, e := range m.decisions {
			for _, sent := range e.Decision.Commands {
				if sent.Output == ev.Name && !byRule(e.Decision) {
					c = sent
				}
			}
		}
		ds := t.engine.Take(ev)
		t.wired(c, true)
		return ds
	case "": // the end
		return nil
	case rules.Begin:
		t.foundMore(ev.At)
		t.begun = true
	case rules.Enable, rules.Ask:
		if t.leftOut(m) {
			return t.pass(ev.At)
		}
	case rules.Refuse:
		if _, gone := t.gone[t.refuses[ev.Name]]; gone {
			return nil
		}
		if b := t.pins.bunch[ev.Name]; b != nil && b.strayed {
			return nil
		}
	case rules.Answer:
		if id, ok := t.answers[ev.Name]; ok {
			if delete(t.answers, ev.Name); id == "" {
				return t.pass(ev.At)
			}
			ev.Name = id
		}
	}
	return t.engine.Take(ev)
}

// pass lets time pass where a recorded event is left out: with it deadlines were done.
func (t *trying) pass(now devices.Now) []rules.Decision {
	if due, ok := t.engine.Next(); ok && t.begun && due <= now.Mono {
		return t.engine.Take(rules.Event{At: now, Kind: rules.Pass})
	}
	return nil
}

// leftOut says that what somebody asked for by a message was asked for by rules, and not
// by those here.
func (t *trying) leftOut(m *moment) bool {
	for _, e := range m.decisions {
		if d := e.Decision; d.Cause != nil && d.Cause.Origin.Decision != 0 {
			if _, gone := t.gone[d.Cause.Origin.Decision]; gone {
				return true
			}
		}
	}
	return false
}

// begin is an engine where the recording has one: at its beginning, at a start of the
// hub, at a reload. The first takes up what was recorded. Later ones take over from the
// one before, as far as that is not where the recording stands.
func (t *trying) begin(m *moment) []rules.Decision {
	ev := m.event
	state := *ev.State
	first := t.engine == nil
	if ev.Kind == rules.Current {
		if !first {
			return nil
		}
		if t.house.Config != "" && state.Config != t.house.Config {
			ev.Kind = rules.Reload // rules that are new find what there is
		}
	}
	if !first {
		state.States = t.states(state.States)
		state.Readings = t.readings(state.Readings)
	}
	for _, r := range state.Readings {
		t.hear(r)
	}
	ev.State = &state
	if ev.Kind != rules.Reload || first {
		t.registry = new(devices.Registry)
	}
	if ev.Kind == rules.Open {
		t.pins.reset()
		t.outlook.down(m.alive)
	}
	t.engine = t.house.engine(state.Seed, t.registry)
	sources := t.engine.Sources()
	t.index = devices.NewIndex(sources)
	t.named = make(map[string]bool, len(sources))
	for _, s := range sources {
		t.named[s.String()] = true
	}
	t.life, t.begun = *ev.State, ev.Kind == rules.Current && state.Exact.Booted
	ds := t.engine.Take(ev)
	if t.note(m.event.State); first {
		t.outlook.begin(ev.At)
	}
	for _, r := range state.Readings {
		if r.Topic == "" {
			t.pins.recorded(r)
			t.outlook.was(r)
			t.outlook.is(r)
		}
	}
	return ds
}

// note looks up which rules are not those of the recording, as far as a checkpoint says
// that: one that the engine made has all of them, another only those that were not at rest.
func (t *trying) note(cp *rules.Checkpoint) {
	for key, s := range t.engine.Snapshot(t.now, t.life.Boot) {
		if was, ok := cp.States[key]; ok && was.Hash != s.Hash || !ok && cp.Exact != nil && !strings.Contains(key, "{") {
			t.fresh[key] = true
			t.outlook.changed(key)
		}
	}
	for key := range cp.States {
		if name, _, _ := strings.Cut(key, "{"); !t.engine.Has(name) {
			t.outlook.changed(name)
		}
	}
}

// states is what the hub had kept when it started again or read its configuration anew.
// As long as nothing was different it is what was recorded, but for rules that were not
// there; then what the engine had come to.
func (t *trying) states(recorded map[string]rules.State) map[string]rules.State {
	own := t.engine.Snapshot(t.now, t.life.Boot)
	if t.apart {
		return own
	}
	states := maps.Clone(recorded)
	for key, s := range own {
		was, ok := states[key]
		if t.fresh[key] || ok && was.Hash != s.Hash {
			states[key] = s
		}
	}
	return states
}

// readings is the newest values that were kept, where they are others than recorded.
func (t *trying) readings(recorded []devices.Reading) []devices.Reading {
	var all []devices.Reading
	done := make(map[string]bool)
	keep := func(own devices.Reading, initial, restored bool) {
		own.Initial, own.Restored, own.Message, own.Origin = initial, restored, nil, devices.Origin{}
		all = append(all, own)
	}
	for _, r := range recorded {
		if done[r.Source] = true; !t.strays[r.Source] {
			all = append(all, r)
		} else if own, ok := t.registry.Last(r.Source); ok {
			keep(own, r.Initial, r.Restored)
		}
	}
	for _, source := range slices.Sorted(maps.Keys(t.strays)) {
		if own, ok := t.registry.Last(source); ok && !done[source] && own.Topic != "" {
			keep(own, true, true)
		}
	}
	return all
}

// retained is a message that is found at a start: here it may say something else.
func (t *trying) retained(r devices.Reading) (devices.Reading, bool) {
	own, ok := t.registry.Last(r.Source)
	own.At, own.Initial, own.Restored, own.Origin = r.At, true, false, devices.Origin{}
	return own, ok
}

// foundMore is what is retained here, and was not when it was recorded.
func (t *trying) foundMore(now devices.Now) {
	for _, source := range slices.Sorted(maps.Keys(t.kept)) {
		if last, ok := t.registry.Last(source); ok && t.kept[source] && t.strays[source] && last.Restored {
			r, _ := t.retained(devices.Reading{Source: source, At: now})
			t.do(rules.Event{At: now, Kind: rules.Report, Readings: []devices.Reading{r}})
		}
	}
}

// recorded is what comes of a recorded reading; false if it does not come here.
func (t *trying) recorded(r devices.Reading) (devices.Reading, bool) {
	t.hear(r)
	if r.Topic == "" {
		t.outlook.was(r)
	}
	b, name := t.pins.of(r.Source)
	if r.Topic != "" {
		b = nil
	}
	if b != nil && r.Initial {
		t.pins.recorded(r)
		return t.found(r, name), true
	}
	if t.effect(r) {
		if b != nil {
			t.pins.stray(b)
			t.pins.recorded(r)
		} else {
			t.strays[r.Source] = true
		}
		return r, false
	}
	if b != nil && !t.pins.recorded(r) || t.feeds(r) {
		return r, false
	}
	if t.answered(r) {
		t.strays[r.Source] = true
		return r, false
	}
	if r.Initial && r.Topic != "" && t.strays[r.Source] {
		return t.retained(r)
	}
	delete(t.strays, r.Source)
	if r.Topic == "" {
		t.outlook.is(r)
	}
	return r, true
}

// found is how an output is at a start of the hub. Those that went on only because of
// rules that were in the middle of something are on if it is so here.
func (t *trying) found(r devices.Reading, name string) devices.Reading {
	o, ok := t.house.Pins.Output.Get(name)
	on, is := r.Value.(bool)
	if ok && is && r.Source == name {
		switch held := slices.Contains(t.engine.Held(), name); {
		case held && !on:
			r.Value = true
		case on && !held && o.Safe != "hold" && o.Initial == "" && !o.StartsOn():
			r.Value = false
		}
		if r.Value != on {
			r.Text = devices.Text(r.Value)
			b := t.pins.bunch[name]
			t.pins.stray(b)
			b.is[name].is = r
			b.guard.Started(name, r.Value == true, r.At.Mono)
		}
	}
	t.outlook.is(r)
	return r
}

// feeds reports whether an input watches an output that has strayed: what it said is of
// what that was then.
func (t *trying) feeds(r devices.Reading) bool {
	if _, ok := t.house.Pins.Input.Get(r.Source); !ok {
		return false
	}
	for _, o := range t.house.Pins.Output {
		if o.Value.Feedback == r.Source && t.pins.bunch[o.Name].strayed {
			return true
		}
	}
	return false
}

// effect reports whether a reading is the effect of something that the rules here did
// not do.
func (t *trying) effect(r devices.Reading) bool {
	for _, c := range t.gone[r.Origin.Decision] {
		name, _, _ := strings.Cut(r.Source, ".")
		switch {
		case c.Output != "" && r.Topic == "" && (name == c.Output || t.pins.bunch[c.Output] != nil && t.pins.bunch[name] == t.pins.bunch[c.Output]),
			c.Output == "" && (r.Topic == c.Topic || r.Source == c.Source):
			return true
		}
	}
	return false
}

// answered reports whether a reading is a device's answer to what it was told by record
// alone, or says once more what it has been since.
func (t *trying) answered(r devices.Reading) bool {
	was, ok := t.told[r.Source]
	switch {
	case !ok || r.Bad != "" || r.Gone:
	case alike(was.value, r.Value) && (was.is || r.At.Mono <= was.until):
		was.is = true
		t.told[r.Source] = was
		return true
	case was.is || r.At.Mono > was.until: // somebody else told it something, or it did so by itself
		delete(t.told, r.Source)
	}
	return false
}

// alike compares what a device was told with what it reports.
func alike(a, b any) bool {
	if x, ok := devices.Bool(a); ok {
		y, ok := devices.Bool(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}

// hear takes note that something is recorded of a source.
func (t *trying) hear(r devices.Reading) {
	if !t.heard[r.Source] {
		t.heard[r.Source] = true
	}
	if r.Captured != nil && !t.heard[r.Captured.Source] {
		t.heard[r.Captured.Source] = true
	}
}

// further is what the same messages say to rules that look at more of them than those
// did that were in force.
func (t *trying) further(all []devices.Reading) (more []devices.Reading) {
	var done []string
	for _, r := range all {
		if r.Topic == "" || slices.Contains(done, r.Topic) || !t.index.Takes(r.Topic) {
			continue
		}
		m := devices.Message{Topic: r.Topic, Initial: r.Initial, Origin: r.Origin}
		switch {
		case r.Message != nil:
			m.Payload, m.Retain = r.Message.Payload, r.Message.Retain
		case r.Source == r.Topic || r.Captured != nil && !strings.Contains(r.Captured.Source, ":"):
			m.Payload = []byte(r.Text)
		default:
			continue // a part of one
		}
		done = append(done, r.Topic)
		if t.effect(r) {
			continue
		}
		for _, n := range t.index.Normalize(m, r.At) {
			if !slices.ContainsFunc(all, func(old devices.Reading) bool { return old.Source == n.Source }) && n.Source != "" {
				t.hear(n)
				more = append(more, n)
			}
		}
	}
	return more
}

// whole gives a reading the message that it was a part of, if rules look at that which did
// not then. Of one that is all of it that is known.
func (t *trying) whole(r devices.Reading) devices.Reading {
	if r.Message != nil || r.Topic == "" || !t.engine.ReadsMessage(r) {
		return r
	}
	if r.Source == r.Topic {
		r.Message = &devices.Message{Topic: r.Topic, Payload: []byte(r.Text), Initial: r.Initial, Origin: r.Origin}
	} else {
		t.partial[r.Source] = true
	}
	return r
}

// seen is a reading that no rule looked at. Maybe one does here.
func (t *trying) seen(r devices.Reading) {
	t.hear(r)
	if !t.named[r.Source] || t.engine == nil {
		return
	}
	t.now = r.At
	t.do(rules.Event{At: r.At, Kind: rules.Report, Readings: []devices.Reading{r}})
	t.settle()
}

// invent is a reading that was not recorded.
func (t *trying) invent(r devices.Reading) {
	if r.Topic == "" {
		t.outlook.is(r)
	}
	t.strays[r.Source] = true
	t.do(rules.Event{At: t.now, Kind: rules.Report, Readings: []devices.Reading{r}})
}

// compare takes what was decided because of an event, then and here, finds what differs,
// and lets follow from that what does.
func (t *trying) compare(m *moment, own []rules.Decision) {
	var then []Entry
	if m != nil {
		for _, e := range m.decisions {
			if byRule(e.Decision) {
				then = append(then, e)
			}
		}
	}
	t.outlook.Decisions += len(own)
	open := make(map[string][]devices.Command) // recorded commands by what they are
	owner := make(map[string][]uint64)
	for _, e := range then {
		for _, c := range e.Decision.Commands {
			key := act(e.Decision, c)
			open[key] = append(open[key], c)
			owner[key] = append(owner[key], e.Decision.ID)
			if c.Output != "" {
				t.refuses[c.Output] = e.Decision.ID
			}
		}
	}
	type one struct {
		c        devices.Command
		recorded bool
	}
	var all []one
	for i := range own {
		for _, c := range own[i].Commands {
			key := act(&own[i], c)
			list := open[key]
			if len(list) == 0 {
				all = append(all, one{c, false})
				continue
			}
			if c.HTTP != nil {
				t.answers[list[0].HTTP.ID] = c.HTTP.ID
			}
			open[key], owner[key] = list[1:], owner[key][1:]
			all = append(all, one{c, true})
		}
	}
	for key, list := range open {
		for i, c := range list {
			id := owner[key][i]
			t.apart = true
			t.gone[id] = append(t.gone[id], c)
			switch {
			case c.HTTP != nil:
				t.answers[c.HTTP.ID] = ""
			case c.Source != "":
				t.told[c.Source] = told{value: c.Value, until: t.now.Mono + answersWithin}
			}
		}
	}
	if t.outlook.compare(t, then, own) {
		t.apart = true
	}
	for _, one := range all {
		t.carryOut(one.c, one.recorded)
	}
}

// carryOut lets come of a command what comes of it. Of a recorded one that is recorded.
func (t *trying) carryOut(c devices.Command, recorded bool) {
	if !recorded {
		t.apart = true
	}
	switch {
	case c.Output != "":
		t.wired(c, recorded)
		return
	case recorded:
		delete(t.told, c.Source)
		return
	case c.HTTP != nil:
		t.later(func() {
			t.do(rules.Event{At: t.now, Kind: rules.Answer, Name: c.HTTP.ID, Status: 200})
		})
		return
	}
	if c.Topic != "" {
		t.publish(devices.Message{Topic: c.Topic, Payload: []byte(c.Payload), Retain: c.Retain, Origin: c.Origin})
	}
	if t.named[c.Source] {
		r := devices.Reading{Source: c.Source, Value: c.Value, Text: devices.Text(c.Value), At: t.now}
		if topic, _, ok := strings.Cut(c.Source, ":"); ok || c.Device == "" {
			if r.Topic = topic; r.Value == true || r.Value == false {
				r.Value = r.Text // as such devices say it
			}
		} else {
			r.Topic = c.Device
		}
		if last, ok := t.registry.Last(c.Source); ok {
			r.Topic = cmp.Or(last.Topic, r.Topic)
			if !t.strays[c.Source] {
				t.told[c.Source] = told{value: last.Value, is: true}
			}
		}
		t.later(func() { r.At = t.now; t.invent(r) })
	}
}

// wired is a command for an output or a cover.
func (t *trying) wired(c devices.Command, recorded bool) {
	if err := t.pins.command(c, recorded); err != nil {
		t.later(func() { t.do(rules.Event{At: t.now, Kind: rules.Refuse, Name: c.Output}) })
	}
}

// publish is a message that the house hears itself.
func (t *trying) publish(m devices.Message) {
	if name, ok := strings.CutPrefix(m.Topic, "hearth/"); ok && strings.HasSuffix(name, "/set") {
		t.later(func() { t.set(strings.TrimSuffix(name, "/set"), m) })
	}
	if t.index.Takes(m.Topic) {
		t.later(func() {
			all := t.index.Normalize(m, t.now)
			for _, r := range all {
				t.strays[r.Source] = true
				t.kept[r.Source] = m.Retain
			}
			if len(all) > 0 {
				t.do(rules.Event{At: t.now, Kind: rules.Report, Readings: all})
			}
		})
	}
}

// set obeys hearth/<output>/set, as the hub does.
func (t *trying) set(name string, m devices.Message) {
	for _, part := range t.house.Rules.Parts {
		if part.Name != name || part.Takes == "" || m.Retain {
			continue
		}
		c, err := gpio.ParseSet(m.Payload, part.Takes)
		if err != nil {
			return
		}
		if c.Value == (devices.Toggle{}) && part.Takes != "cover" {
			on, _ := t.registry.Level(name)
			c.Value = !on
		}
		c.Output, c.Origin = name, m.Origin
		t.do(rules.Event{At: t.now, Kind: rules.Tell, Name: name, Value: c.Value})
		t.wired(c, false)
	}
}

// unheard names what the rules look at and nobody recorded: what they would have done
// because of it is not known.
func (t *trying) unheard() {
	for _, source := range slices.Sorted(maps.Keys(t.partial)) {
		t.outlook.Unheard = append(t.outlook.Unheard, "the whole message of "+source)
	}
	for _, s := range t.engine.Sources() {
		text := s.String()
		if t.heard[text] || s.Property == "availability" {
			continue
		}
		if _, ok := t.registry.Last(text); ok { // of a variable, a calc or a machine
			continue
		}
		t.outlook.Unheard = append(t.outlook.Unheard, text)
	}
}

// act is what tells a command of a decision from others.
func act(d *rules.Decision, c devices.Command) string {
	return d.Rule + d.Instance + " " + c.String()
}
