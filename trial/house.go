package trial

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
)

const (
	// The machine had been up for so long when the hub started.
	uptime = time.Hour
	boot   = "trial"

	// A house that does more than this without time passing never comes to rest.
	restless = 50_000
)

// An Event is something that the house did: a message sent, an output switched
// (or both, of an output on a topic), a request made.
type Event struct {
	At time.Duration // since the start

	Topic   string
	Payload string
	Retain  bool

	Output  string
	On      bool
	Changed bool // its level is another than before

	Device string // one that announces itself, or a property of it: "lamp.brightness"
	Value  any    // what it is told
	Main   bool   // the name of the device alone stands for this property

	HTTP   *devices.Request
	Notify string // what it tells a person

	// Free is outside strictness: the hub's own topics, and what an output on a
	// topic is told again at a start or stop of the hub.
	Free bool

	decision *rules.Decision // that led to it; nil where only time or a start or stop did
	why      string          // and what the owner declared
	secret   bool            // it holds one, and is not shown
}

// A step is a line of the story: one of these.
type step struct {
	at       time.Duration
	sent     string // what happened to the house
	decision *rules.Decision
	event    *Event
}

// A Story is what happened in a house.
type Story struct {
	Events  []*Event
	Trouble string // why it could not be told to its end; "" if it could
	steps   []step
}

// play is a house in which a test is going on.
type play struct {
	house House
	test  *Test
	start time.Time
	story Story

	at    time.Duration // the clock, since the start
	known bool          // a time service has set the wall clock
	stood int           // what was done since time moved

	registry *devices.Registry
	engine   *rules.Engine
	index    *devices.Index
	guard    *gpio.Guard
	covers   *gpio.Covers
	presses  *gpio.Presses
	counters map[string]*counter
	knobs    map[string]*gpio.Turns
	contacts map[string]bool            // how the contact of each input is
	measured map[string]float64         // what each property of a sensor that is available measures
	filters  map[string]*gpio.Debounce  // and what of it counts
	levels   map[string]bool            // how each output is
	told     map[string]told            // where its newest command came from
	said     map[string]string          // what the hub told of itself last, by topic
	retained map[string]devices.Message // what the broker keeps
	reported []Send                     // what devices had reported before the hub started
	mocks    []Send                     // answers that wait for a request
	queue    []func()                   // what is to be done in this moment

	watcher Watcher // nil: nobody

	up    bool
	lives uint64        // of the hub
	own   uint64        // decisions of the life that goes on which the hub itself made
	back  time.Duration // when a hub that is down starts again
	disk  memory        // and what it takes up then
}

// told is a command on its way to an output.
type told struct {
	origin   devices.Origin
	decision *rules.Decision
}

// Play runs a test in a house, from its start to its end.
func Play(house House, test Test) Story {
	p := begun(house, test)
	p.run(test.end())
	return p.story
}

// begun is the house before its hub starts.
func begun(house House, test Test) *play {
	p := &play{
		house:    house,
		test:     &test,
		start:    test.Start.in(house.zone()),
		known:    true,
		contacts: make(map[string]bool),
		counters: counters(house.Pins),
		measured: make(map[string]float64),
		levels:   make(map[string]bool),
		retained: make(map[string]devices.Message),
	}
	if test.physical {
		for _, i := range house.Pins.Input {
			p.contacts[i.Name] = (i.Value.Pull == "up") != i.Value.ActiveLow
		}
		for _, o := range house.Pins.Output {
			p.levels[o.Name] = o.Value.ActiveLow
		}
	}
	return p
}

// run plays until the house's clock is at end.
func (p *play) run(end time.Duration) {
	sends := slices.Clone(p.test.Send)
	slices.SortStableFunc(sends, func(a, b Send) int { return cmp.Compare(a.At, b.At) })
	for len(sends) > 0 && sends[0].At < 0 {
		p.at = time.Duration(sends[0].At)
		p.found(sends[0])
		sends = sends[1:]
	}
	p.at = 0
	p.begin(memory{}, nil)
	for p.story.Trouble == "" {
		next := p.next()
		if len(sends) > 0 {
			next = min(next, time.Duration(sends[0].At))
		}
		if next > end {
			return
		}
		if next > p.at {
			p.at, p.stood = next, 0
		}
		if !p.up && p.back <= p.at {
			p.note(step{sent: "the hub starts again"})
			p.begin(p.disk, p.guard)
		}
		for len(sends) > 0 && time.Duration(sends[0].At) <= p.at {
			n := together(sends)
			p.send(sends[:n]...)
			p.settle()
			sends = sends[n:]
		}
		p.advance()
	}
}

// now is the clock as the hub reads it.
func (p *play) now() devices.Now {
	n := devices.Now{Mono: uptime + p.at, Wall: p.start.Add(p.at), Known: p.known}
	if !p.known {
		n.Wall = time.Unix(0, 0).In(p.house.zone()).Add(n.Mono)
	}
	return n
}

// next is when something happens by itself.
func (p *play) next() time.Duration {
	if !p.up {
		return p.back
	}
	next := time.Duration(math.MaxInt64)
	look := func(due time.Duration, ok bool) {
		if ok {
			next = min(next, max(p.at, due-uptime))
		}
	}
	look(p.engine.Next())
	look(p.guard.Next())
	look(p.covers.Next())
	look(p.presses.Next())
	for _, f := range p.filters {
		look(f.Next())
	}
	for _, c := range p.counters {
		look(c.Next())
	}
	return next
}

// advance does what is due by now: first what pins see and what limits end, then
// what rules wait for.
func (p *play) advance() {
	if !p.up {
		return
	}
	mono := p.now().Mono
	for _, i := range p.house.Pins.Input {
		if f := p.filters[i.Name]; f != nil {
			if settled, at := f.Advance(mono); settled {
				p.level(i.Name, f.On, at)
			}
		}
	}
	p.gestures(p.presses.Advance(mono))
	p.count(mono)
	p.settle()
	p.driveAll(p.guard.Advance(mono), nil)
	p.turn(p.covers.Advance(mono))
	p.tellCovers()
	p.settle()
	p.obey(p.happen(rules.Event{Kind: rules.Pass}))
	p.settle()
	if p.stood++; p.stood > restless {
		p.trouble()
	}
}

// later does something in this moment, after all that is to be done before.
func (p *play) later(do func()) { p.queue = append(p.queue, do) }

// settle lets the house come to rest in this moment.
func (p *play) settle() {
	for len(p.queue) > 0 && p.story.Trouble == "" {
		do := p.queue[0]
		p.queue = p.queue[1:]
		do()
		if p.stood++; p.stood > restless {
			p.trouble()
		}
	}
}

func (p *play) trouble() {
	p.story.Trouble = fmt.Sprintf("at %v the house does not come to rest: more than %d things happened without time passing", Offset(p.at), restless)
}

// note puts a line into the story.
func (p *play) note(s step) {
	s.at = p.at
	p.story.steps = append(p.story.steps, s)
}

func (p *play) event(e Event) {
	e.At = p.at
	e.Free = e.Free || strings.HasPrefix(e.Topic, "hearth/")
	p.story.Events = append(p.story.Events, &e)
	p.note(step{event: &e})
}

// The life of the hub.

// begin starts the hub with what is on disk. Of the last life old knows how the
// outputs were; the first time it is nil.
func (p *play) begin(disk memory, old *gpio.Guard) {
	p.registry = new(devices.Registry)
	p.engine = p.house.engine(p.test.Seed, p.registry)
	p.index = devices.NewIndex(p.engine.Sources())
	p.said, p.told = make(map[string]string), make(map[string]told)
	p.filters = make(map[string]*gpio.Debounce)
	p.presses = gpio.NewPresses(p.house.Pins)
	p.up = true
	p.say("hearth/status", "online", devices.Origin{}, false)
	p.beginCovers(disk.Covers)
	wishes := p.beginOutputs(old)
	p.tellCovers()
	for _, i := range p.house.Pins.Input {
		on := p.contacts[i.Name]
		p.filters[i.Name] = &gpio.Debounce{Stable: time.Duration(i.Value.Debounce), On: on}
		p.guard.Input(i.Name, on, true, p.now().Mono)
		p.presses.Found(i.Name, on)
		p.report(i.Name, on, devices.Origin{}, true)
	}
	p.beginCounters()
	for _, source := range slices.Sorted(maps.Keys(p.measured)) {
		p.measure(source, p.measured[source], true)
	}
	for _, s := range p.reported {
		p.later(func() { p.deviceReports(true, s) })
	}
	p.reported = nil // from then on the hub keeps it
	p.lives, p.own = p.lives+1, 0
	left := &rules.Checkpoint{Boot: boot, Life: p.lives, Decided: p.lives << 32, States: disk.States}
	for _, k := range disk.Values {
		left.Readings = append(left.Readings, restored(devices.Reading{Source: k.Source, Topic: k.Topic, Text: k.Text, Value: k.Value,
			At: devices.Now{Wall: k.At, Known: k.Known}, Captured: k.Captured}))
	}
	p.obey(p.happen(rules.Event{Kind: rules.Open, State: left}))
	for _, topic := range slices.Sorted(maps.Keys(p.retained)) {
		m := p.retained[topic]
		m.Initial, m.Origin = true, devices.Origin{}
		p.later(func() { p.receive(m) })
	}
	p.settle()
	p.obey(p.happen(rules.Event{Kind: rules.Begin}))
	p.settle()
	p.obey(p.happen(rules.Event{Kind: rules.Resume}))
	for _, name := range wishes {
		p.command(devices.Command{Output: name, Value: true, Origin: devices.Origin{By: "output." + name}}, nil)
	}
	p.settle()
}

// beginOutputs gives each output its first level, as package gpio does: what is
// interlocked or has a min_off goes on only as a wish. Before the first start all
// have been off for ever; in a recipe those that are on stay so over a restart.
func (p *play) beginOutputs(old *gpio.Guard) (wishes []string) {
	p.guard = gpio.NewGuard(p.house.Pins)
	before := maps.Clone(p.levels)
	for _, o := range p.house.Pins.Output {
		was, careful := before[o.Name], o.Value.MinOff > 0
		alone := true
		for _, l := range p.house.Pins.Locks() {
			if slices.Contains(l.Value.Outputs, o.Name) {
				careful = true
				for _, other := range l.Value.Outputs {
					alone = alone && (other == o.Name || !before[other])
				}
			}
		}
		on := o.Value.StartsOn()
		switch {
		case old != nil && o.Value.Initial == "last" && !p.test.physical:
			on = old.Last(o.Name)
		case old != nil && (p.test.physical || o.Value.Safe == "hold"):
			on = was
		case on && careful && o.Value.Safe != "on":
			if on = old != nil && was && alone; !on {
				wishes = append(wishes, o.Name)
			}
		}
		since := uptime + p.at
		if old != nil {
			_, since = old.State(o.Name)
			if on != was {
				since = uptime + p.at
			}
		}
		if on || old != nil {
			p.guard.Started(o.Name, on, since)
		}
		if old == nil && !p.test.physical {
			p.levels[o.Name] = on // nobody has seen it before
		}
		sends := o.Value.Topic != "" && (o.Value.Safe != "hold" || old == nil && o.Value.Initial != "") && (old == nil || !p.test.physical)
		p.put(o.Name, on, sends, "the hub starts", nil)
		p.seen(o.Name, on)
		p.report(o.Name, on, devices.Origin{}, true)
	}
	return wishes
}

// stop stops the hub for a while. What it keeps goes through JSON, as on disk.
func (p *play) stop(down time.Duration) {
	p.up, p.back, p.disk = false, p.at+down, p.remember()
	p.endCounters()
	defer func() { p.disk.Covers = p.places() }()
	if p.test.physical {
		return
	}
	for _, o := range p.house.Pins.Output {
		if o.Value.Safe == "hold" {
			continue
		}
		on := o.Value.Safe == "on"
		if p.levels[o.Name] != on {
			p.guard.Started(o.Name, on, uptime+p.at)
		}
		p.put(o.Name, on, o.Value.Topic != "", "the hub stops, and this is its safe level", nil)
		p.seen(o.Name, on)
		p.say(topic(o.Name, "state"), devices.Text(on), devices.Origin{}, false)
	}
	p.sayCovers()
	for _, name := range slices.Concat(p.house.Pins.Output.Names(), p.house.Pins.Input.Names(), p.house.Pins.Counter.Names(), p.house.Pins.Encoder.Names(), p.house.Pins.Cover.Names()) {
		p.say(topic(name, "availability"), "offline", devices.Origin{}, false)
	}
	for _, part := range p.house.Rules.Parts {
		if part.Table == "sensor" {
			p.say(topic(part.Name, "availability"), "offline", devices.Origin{}, false)
		}
	}
	p.say("hearth/status", "offline", devices.Origin{}, false)
}

// A kept reading is the last value of a source, for conditions after a restart.
type kept struct {
	Source, Topic, Text string
	Value               any
	At                  time.Time
	Known               bool
	Captured            *devices.Capture
}

// memory is what is on disk of an earlier life.
type memory struct {
	States map[string]rules.State
	Values []kept
	Covers map[string]gpio.Place
}

// remember gathers what the hub keeps over a restart.
func (p *play) remember() memory {
	m := memory{States: p.engine.Snapshot(p.now(), boot)}
	for _, r := range p.registry.All() {
		if r.Topic != "" { // pins are read at every start
			m.Values = append(m.Values, kept{r.Source, r.Topic, r.Text, r.Value, r.At.Wall, r.At.Known, r.Captured})
		}
	}
	return recall(m)
}

// recall is v as it comes back from a disk.
func recall[T any](v T) (back T) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil {
		panic("trial: " + err.Error()) // plain values always encode
	}
	return back
}

// What happens to the house.

// found is what was there before the hub started.
func (p *play) found(s Send) {
	p.note(step{sent: s.String()})
	p.outside(s)
}

// outside is what changes the world whether or not the hub is there to see it.
func (p *play) outside(s Send) {
	switch {
	case s.Topic != "":
		// Before the start all that is found has been kept, or it would not be found.
		if s.Retain || s.At < 0 && !p.test.physical {
			p.keep(devices.Message{Topic: s.Topic, Payload: s.payload(), Retain: true})
		}
	case s.Input != "":
		p.contacts[s.Input] = s.To != nil && bool(*s.To)
	case s.Device != "" && s.At < 0:
		p.reported = append(p.reported, s)
	case s.Device != "":
	case s.Sensor != "" && s.Value != nil:
		p.measured[s.Sensor], _ = s.Value.any.(float64)
	case s.Sensor != "":
		maps.DeleteFunc(p.measured, func(source string, _ float64) bool { return strings.HasPrefix(source, s.Sensor+".") })
	case s.HTTP != "":
		p.mocks = append(p.mocks, s)
	case s.Clock != "":
		p.known = s.Clock == "known"
	}
}

// together is how many of the next sends are one message: what a device reports of several
// properties at the same time, one after the other.
func together(sends []Send) int {
	name, _, _ := strings.Cut(sends[0].Device, ".")
	for n, s := range sends {
		other, _, _ := strings.Cut(s.Device, ".")
		again := slices.ContainsFunc(sends[:n], func(before Send) bool { return before.Device == s.Device })
		if n > 0 && (name == "" || other != name || again || s.At != sends[0].At) {
			return n
		}
	}
	return len(sends)
}

func (p *play) send(all ...Send) {
	for _, s := range all {
		p.note(step{sent: s.String()})
		p.outside(s)
	}
	s := all[0]
	switch now := p.now(); {
	case !p.up:
	case s.Topic != "":
		p.receive(devices.Message{Topic: s.Topic, Payload: s.payload(), Retain: s.Retain})
	case s.Input != "":
		if f := p.filters[s.Input]; f != nil {
			if settled, at := f.Level(p.contacts[s.Input], now.Mono); settled {
				p.contact(s.Input, f.On, at)
			}
		}
	case s.Turn != "":
		p.turnKnob(s.Turn, s.By)
	case s.Sensor != "" && s.Value != nil:
		p.measure(s.Sensor, p.measured[s.Sensor], false)
	case s.Device != "":
		p.deviceReports(false, all...)
	case s.Sensor != "":
		p.lose(s.Sensor)
	case s.Webhook != "":
		p.obey(p.happen(rules.Event{Kind: rules.Post, Name: s.Webhook, Body: []byte(s.Body)}))
	case s.Restart > 0:
		p.stop(time.Duration(s.Restart))
	}
}

func (s Send) payload() []byte {
	if s.Payload == nil {
		return nil
	}
	return []byte(*s.Payload)
}

// level is an input whose level has settled: the gestures that were over before,
// the level, and those that it makes.
func (p *play) level(input string, on bool, at time.Duration) {
	made := p.presses.Level(input, on, at)
	n := 0
	for n < len(made) && made[n].At < at {
		n++
	}
	p.gestures(made[:n])
	p.guard.Input(input, on, true, at)
	p.report(input, on, devices.Origin{}, false)
	p.gestures(made[n:])
}

func (p *play) gestures(made []gpio.Press) {
	for _, m := range made {
		r := devices.Reading{Source: m.Input + ".press", Value: m.Kind, Text: m.Kind, At: p.now(), Event: true}
		p.later(func() {
			p.event(Event{Topic: topic(m.Input, "press"), Payload: m.Kind})
			p.publish(devices.Message{Topic: topic(m.Input, "press"), Payload: []byte(m.Kind)})
			p.read(r)
		})
	}
}

// report is what a pin is seen to be.
func (p *play) report(name string, on bool, from devices.Origin, initial bool) {
	p.tell(name, "", on, from, initial)
	if o, ok := p.house.Pins.Output.Get(name); ok {
		level, fault := p.guard.Level(name), cmp.Or(p.guard.Fault(name), "none")
		if o.Levels() && (initial || p.news(name+".level", level)) {
			p.tell(name, "level", level, from, initial)
		}
		if o.Feedback != "" && (initial || p.news(name+".fault", fault)) {
			p.tell(name, "fault", fault, from, initial)
		}
	}
}

// news reports whether a source says something else than it did last.
func (p *play) news(source string, value any) bool {
	last, known := p.registry.Last(source)
	return !known || last.Value != value
}

// tell reports what something wired is, or a property of it.
func (p *play) tell(name, property string, value any, from devices.Origin, initial bool) {
	r := devices.Reading{Source: name, Value: value, Text: devices.Text(value), At: p.now(), Initial: initial, Origin: from}
	if property != "" {
		r.Source += "." + property
	}
	p.later(func() {
		ds := p.happen(reports(r))
		p.say(topic(name, "availability"), "online", from, initial)
		p.say(topic(name, cmp.Or(property, "state")), r.Text, from, initial)
		p.obey(ds)
	})
}

// measure is a property of a sensor, "cellar.temperature".
func (p *play) measure(source string, v float64, initial bool) {
	name, property, _ := strings.Cut(source, ".")
	p.tell(name, property, v, devices.Origin{}, initial)
}

// lose is a sensor that is unavailable.
func (p *play) lose(name string) {
	for _, part := range p.house.Rules.Parts {
		if part.Name != name {
			continue
		}
		for _, property := range slices.Sorted(maps.Keys(part.Properties)) {
			r := devices.Reading{Source: name + "." + property, Bad: "unavailable", Gone: true, At: p.now()}
			p.later(func() {
				ds := p.happen(reports(r))
				p.say(topic(name, property), "", devices.Origin{}, false)
				p.say(topic(name, "availability"), "offline", devices.Origin{}, false)
				p.obey(ds)
			})
		}
	}
}

// deviceReports is what a device that announces itself reports of one of its properties.
func (p *play) deviceReports(initial bool, all ...Send) {
	var values, events []devices.Reading
	for _, s := range all {
		name, property, _ := strings.Cut(s.Device, ".")
		d, _ := p.house.Logic.Device.Get(name)
		r := devices.Reading{Source: name, Topic: d.ID, Value: s.Value.any, Text: devices.Text(s.Value.any), At: p.now(), Initial: initial}
		if property = cmp.Or(property, d.Main, only(p.engine.Sources(), name)); property != "" {
			r.Source += "." + property
		}
		if r.Event = happens(p.engine, r.Source); r.Event {
			events = append(events, r)
		} else {
			values = append(values, r)
		}
	}
	p.read(values...)
	for _, r := range events {
		if !initial {
			p.read(r)
		}
	}
}

// only is the property that rules look at, where they look at one alone of a device: then its
// name stands for that one in a test; "" otherwise.
func only(sources []devices.Source, name string) (property string) {
	for _, s := range sources {
		switch {
		case s.Name != name || s.Property == "availability":
		case s.Property == "" || property != "" && s.Property != property:
			return ""
		default:
			property = s.Property
		}
	}
	return property
}

// read is what was reported at one time.
func (p *play) read(all ...devices.Reading) {
	if len(all) > 0 {
		p.obey(p.happen(reports(all...)))
	}
}

// keep is the broker's part in a retained message.
func (p *play) keep(m devices.Message) {
	if len(m.Payload) == 0 {
		delete(p.retained, m.Topic)
		return
	}
	p.retained[m.Topic] = m
}

// publish sends a message that the house hears itself.
func (p *play) publish(m devices.Message) {
	if m.Retain {
		p.keep(m)
	}
	if p.up {
		p.later(func() { p.receive(m) })
	}
}

// receive is a message that the hub hears.
func (p *play) receive(m devices.Message) {
	p.set(m)
	p.read(p.index.Normalize(m, p.now())...)
}

// topic is one of the hub's own: hearth/porch_light/state.
func topic(name, what string) string { return "hearth/" + name + "/" + what }

// isSet reports whether topic commands an output.
func isSet(topic string) bool {
	return strings.HasPrefix(topic, "hearth/") && strings.HasSuffix(topic, "/set") && strings.Count(topic, "/") == 2
}

// set obeys hearth/<output>/set, as the hub does.
func (p *play) set(m devices.Message) {
	if !isSet(m.Topic) || m.Initial && len(m.Payload) == 0 {
		return
	}
	name := strings.Split(m.Topic, "/")[1]
	if c := p.counters[name]; c != nil {
		p.setTotal(name, c, m)
		return
	}
	part, ok := p.part(name)
	d := rules.Decision{ID: p.nextOwn(), At: p.now(), Rule: m.Topic, Outcome: rules.Fired, Cause: &devices.Reading{Topic: m.Topic, Text: string(m.Payload), At: p.now(), Origin: m.Origin}}
	c, err := gpio.ParseSet(m.Payload, part.Takes)
	output, _ := p.house.Pins.Output.Get(name)
	switch {
	case !ok:
		d.Outcome, d.Why = rules.Blocked, "there is no such output"
	case (m.Retain || m.Initial) && (output == nil || !output.RetainedSet):
		d.Outcome, d.Why = rules.Blocked, "the command is retained, so nobody knows how old it is; retained_set = true would allow it"
	case err != nil:
		d.Outcome, d.Why = rules.Blocked, err.Error()
	case c.Value == devices.Toggle{} && part.Takes != "cover": // which knows itself
		now, _ := p.registry.Level(name)
		c.Value = !now
	}
	if d.Outcome == rules.Fired {
		origin := m.Origin
		if origin.By == "" {
			origin.By = m.Topic
		}
		origin.Decision = d.ID
		c.Output, c.Origin = name, origin
		p.happen(rules.Event{Kind: rules.Tell, Name: name, Value: c.Value})
		d.Commands = []devices.Command{c}
	}
	p.obey([]rules.Decision{d})
}

// nextOwn is the ID of a decision that the hub itself makes, which has the highest bit set.
func (p *play) nextOwn() uint64 {
	p.own++
	return 1<<63 | p.lives<<32 | p.own
}

// part is the wired thing of that name that can be told something.
func (p *play) part(name string) (rules.Part, bool) {
	for _, part := range p.house.Rules.Parts {
		if part.Name == name && part.Takes != "" {
			return part, true
		}
	}
	return rules.Part{}, false
}

// say publishes what the hub tells of itself, if it is news.
func (p *play) say(topic, payload string, from devices.Origin, initial bool) {
	if p.said[topic] == payload {
		return
	}
	p.said[topic] = payload
	p.event(Event{Topic: topic, Payload: payload, Retain: true})
	p.publish(devices.Message{Topic: topic, Payload: []byte(payload), Retain: true, Initial: initial, Origin: from})
}

// What the house does.

func (p *play) obey(ds []rules.Decision) {
	for i := range ds {
		p.note(step{decision: &ds[i]})
		if p.watcher != nil {
			p.watcher.Decided(ds[i])
		}
		for _, c := range ds[i].Commands {
			p.command(c, &ds[i])
		}
	}
}

func (p *play) command(c devices.Command, d *rules.Decision) {
	switch {
	case p.covers.Has(c.Output):
		p.commandCover(c, d)
	case c.Output != "":
		before := p.told[c.Output]
		p.told[c.Output] = told{c.Origin, d}
		order, err := gpio.OrderOf(c)
		var drives []gpio.Drive
		if err == nil {
			drives, err = p.guard.Do(order, p.now().Mono)
		}
		if err != nil {
			p.note(step{sent: "not carried out: " + err.Error()})
			p.happen(rules.Event{Kind: rules.Refuse, Name: c.Output})
			return
		}
		p.driveAll(drives, &before)
	case c.Device != "":
		e := Event{Device: c.Device, Value: c.Value, Payload: devices.Text(c.Value), decision: d, secret: c.Secret}
		if c.Property != "" {
			named, _ := p.house.Logic.Device.Get(c.Device)
			e.Device, e.Main = e.Device+"."+c.Property, c.Property == named.Main
		}
		p.event(e)
	case c.HTTP != nil:
		e := Event{HTTP: c.HTTP, decision: d, secret: c.Secret}
		if c.Notify {
			e.Notify = c.HTTP.Body
		}
		p.event(e)
		status := p.mocked(c.HTTP.URL)
		problem := ""
		if status == 0 {
			problem = "no connection"
		}
		p.later(func() {
			p.obey(p.happen(rules.Event{Kind: rules.Answer, Name: c.HTTP.ID, Status: status, Text: problem}))
		})
	default:
		e := Event{Topic: c.Topic, Payload: c.Payload, Retain: c.Retain, decision: d, secret: c.Secret}
		if c.Notify {
			e.Notify = c.Payload
		}
		p.event(e)
		p.publish(devices.Message{Topic: c.Topic, Payload: []byte(c.Payload), Retain: c.Retain, Origin: c.Origin})
	}
}

// mocked is the answer to a request: the oldest that waits for it.
func (p *play) mocked(url string) (status int) {
	for i, m := range p.mocks {
		if m.HTTP == "*" || m.HTTP == url {
			p.mocks = slices.Delete(p.mocks, i, i+1)
			return m.Status
		}
	}
	return 200
}

// driveAll makes switches that the guard has decided. before is where the last
// command but one came from, of the output that this one is for.
func (p *play) driveAll(drives []gpio.Drive, before *told) {
	for _, d := range drives {
		if o, _ := p.house.Pins.Output.Get(d.Output); d.Step && o.Frequency > 0 {
			continue // a step of a ramp
		}
		from := told{origin: devices.Origin{By: "output." + d.Output + ": " + d.Why}}
		switch {
		case before != nil && d.Same && d.Output == d.Cause:
			from = *before // it answers the command that came to nothing
		case d.Cause != "":
			from = p.told[d.Cause]
		}
		if !d.Same {
			why := d.Why
			if why != "" {
				why = "output." + d.Output + ": " + why
			}
			p.put(d.Output, d.On, true, why, &from)
		}
		p.drove(d, from)
		p.report(d.Output, d.On, from.origin, false)
	}
}

// put makes an output be on or off, and send its word if it is on a topic.
// Without from the hub itself does that, at its start or stop.
func (p *play) put(name string, on, sends bool, why string, from *told) {
	o, _ := p.house.Pins.Output.Get(name)
	e := Event{Output: name, On: on, Changed: p.levels[name] != on, why: why}
	p.levels[name] = on
	m := devices.Message{}
	if from != nil {
		e.decision, m.Origin = from.decision, from.origin
	}
	if sends && o.Topic != "" {
		m.Topic, m.Payload = o.Topic, []byte(word(*o, on))
		e.Topic, e.Payload = m.Topic, string(m.Payload)
		e.Free = from == nil && !e.Changed && !p.test.physical
	}
	if e.Changed || e.Topic != "" {
		p.event(e)
	}
	if e.Topic != "" {
		p.publish(m)
	}
}

// word is what an output on a topic is told.
func word(o gpio.Output, on bool) string {
	if on {
		return cmp.Or(o.OnWord, "ON")
	}
	return cmp.Or(o.OffWord, "OFF")
}
