package trial

import (
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
)

// counter is one that counts, and what it told last in this life of the hub. It
// counts on over restarts, as what the store keeps of it makes it do.
type counter struct {
	*gpio.Count
	tally *gpio.Tally
}

func counters(pins gpio.Config) map[string]*counter {
	all := make(map[string]*counter)
	for _, n := range pins.Counter {
		all[n.Name] = &counter{Count: gpio.NewCount(n.Value)}
	}
	return all
}

// beginCounters starts what counts. A knob stands where it starts until it is turned.
func (p *play) beginCounters() {
	mono := p.now().Mono
	for _, n := range p.house.Pins.Counter {
		p.filters[n.Name] = &gpio.Debounce{Stable: time.Duration(n.Value.Debounce), On: p.contacts[n.Name]}
		p.counters[n.Name].Begin(mono)
		p.counters[n.Name].tally = nil
	}
	p.count(mono)
	p.knobs = make(map[string]*gpio.Turns)
	for _, e := range p.house.Pins.Encoder {
		p.knobs[e.Name] = gpio.NewTurns(e.Value)
		at := p.knobs[e.Name].Position
		p.number(devices.Reading{Source: e.Name, Value: at, Text: devices.Text(at), At: p.now(), Initial: true})
	}
}

// turnKnob turns a knob by detents.
func (p *play) turnKnob(name string, by int) {
	k := p.knobs[name]
	k.Turn(by)
	turn := devices.Reading{Source: name + ".turn", Value: float64(by), Text: devices.Text(float64(by)), At: p.now(), Event: true}
	p.later(func() {
		p.event(Event{Topic: topic(name, "turn"), Payload: turn.Text})
		p.publish(devices.Message{Topic: topic(name, "turn"), Payload: []byte(turn.Text)})
		p.obey(p.happen(reports(turn)))
	})
	p.number(devices.Reading{Source: name, Value: k.Position, Text: devices.Text(k.Position), At: p.now()})
}

// setTotal obeys hearth/<counter>/set, as the hub does.
func (p *play) setTotal(name string, c *counter, m devices.Message) {
	word := strings.TrimSpace(string(m.Payload))
	d := rules.Decision{ID: p.nextOwn(), At: p.now(), Rule: m.Topic, Outcome: rules.Fired, Cause: &devices.Reading{Topic: m.Topic, Text: word, At: p.now(), Origin: m.Origin}, Why: "the total was set"}
	switch total, err := gpio.ParseTotal(word); {
	case m.Retain || m.Initial:
		d.Outcome, d.Why = rules.Blocked, "the total is retained, so nobody knows how old it is"
	case err != nil:
		d.Outcome, d.Why = rules.Blocked, err.Error()
	default:
		c.SetTotal(total)
	}
	p.obey([]rules.Decision{d})
	p.count(p.now().Mono)
}

func (p *play) endCounters() {
	for _, c := range p.counters {
		c.End(p.now().Mono)
	}
}

// contact is a contact that has settled, of an input or a counter.
func (p *play) contact(name string, on bool, at time.Duration) {
	c := p.counters[name]
	if c == nil {
		p.level(name, on, at)
		return
	}
	if on {
		c.Pulse(1, at)
	}
	p.count(p.now().Mono)
}

// count tells what there is to tell of counters.
func (p *play) count(mono time.Duration) {
	for _, name := range slices.Sorted(maps.Keys(p.counters)) {
		c := p.counters[name]
		if f := p.filters[name]; f != nil {
			if settled, at := f.Advance(mono); settled && f.On {
				c.Pulse(1, at)
			}
		}
		if t, due := c.Report(mono); due {
			for _, r := range t.Readings(name, c.tally, p.now()) {
				p.number(r)
			}
			c.tally = &t
		}
	}
}

// number is one that something wired reports, or that it is not known.
func (p *play) number(r devices.Reading) {
	p.later(func() {
		name, what, _ := strings.Cut(r.Source, ".")
		if what == "" {
			what = "state"
		}
		ds := p.happen(reports(r))
		if r.Gone {
			p.say(topic(name, what), "", r.Origin, r.Initial)
			p.say(topic(name, "availability"), "offline", r.Origin, r.Initial)
		} else {
			p.say(topic(name, "availability"), "online", r.Origin, r.Initial)
			p.say(topic(name, what), r.Text, r.Origin, r.Initial)
		}
		p.obey(ds)
	})
}
