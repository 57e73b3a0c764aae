package trial

import (
	"hearth/config"
	"hearth/devices"
	"hearth/rules"
)

// What a virtual house asks of the rules' engine, in one place.

// engine compiles the house for one life of the hub.
func (h House) engine(seed uint64, registry *devices.Registry) *rules.Engine {
	house := h.Rules
	if seed != 0 {
		house.Seed = seed
	}
	return rules.New(h.Logic, house, registry, config.Place{})
}

// happen lets one thing happen to the rules, by the door that the hub's own have.
func (p *play) happen(ev rules.Event) []rules.Decision {
	ev.At = p.now()
	if p.watcher != nil {
		p.watcher.Happened(ev)
	}
	return p.engine.Take(ev)
}

// reports is what was reported at one time, as an event.
func reports(all ...devices.Reading) rules.Event {
	return rules.Event{Kind: rules.Report, Readings: all}
}

// happens says that what a source says is an event, as far as the rules take it for nothing
// else.
func happens(e *rules.Engine, source string) bool { return e.Happens(source) }

// restored marks a reading of an earlier life.
func restored(r devices.Reading) devices.Reading {
	r.Initial, r.Restored = true, true
	return r
}

// whyNot is where a rule stands, for one that nothing has touched.
func whyNot(e *rules.Engine, rule string, now devices.Now) []string { return e.WhyNot(rule, now) }
