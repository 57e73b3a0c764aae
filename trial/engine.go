package trial

import (
	"hearth/config"
	"hearth/devices"
	"hearth/rules"
)

// What a virtual house asks of the rules' engine beyond Step, Advance and
// snapshots, in one place.

// engine compiles the house for one life of the hub.
func (h House) engine(seed uint64, registry *devices.Registry) *rules.Engine {
	house := h.Rules
	if seed != 0 {
		house.Seed = seed
	}
	return rules.New(h.Logic, house, registry, config.Place{})
}

// begin is the start of the hub, when all that is found there has been stepped.
func begin(e *rules.Engine, now devices.Now) []rules.Decision { return e.Start(now) }

// webhook is a POST to a path.
func webhook(e *rules.Engine, path, body string, now devices.Now) []rules.Decision {
	return e.Webhook(path, []byte(body), now)
}

// answer is what became of an HTTP command; status 0 and a problem if nothing.
func answer(e *rules.Engine, id string, status int, problem string, now devices.Now) []rules.Decision {
	return e.Answer(id, status, problem, now)
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
