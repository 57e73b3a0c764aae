package trial

import (
	"time"

	"hearth/devices"
	"hearth/rules"
)

// Was is the event that an expectation was; nil if it did not come.
func (v *Verdict) Was(expect int) *Event {
	if v.of[expect] < 0 {
		return nil
	}
	return v.Story.Events[v.of[expect]]
}

// Senders are the rules, links and machines that the configuration lets do what is expected.
func (v *Verdict) Senders(e Expect) []string { return senders(v.House, e) }

// Window is when something expected or forbidden may come.
func (e Expect) Window() (from, to time.Duration) { return e.window() }

// Length is how long the test takes.
func (v *Verdict) Length() time.Duration { return v.Test.end() }

// Stood is the engine as it was at a moment of the test; false while the hub is down.
func (v *Verdict) Stood(at time.Duration) (e *rules.Engine, now devices.Now, up bool) {
	p := begun(v.House, v.Test)
	p.run(at)
	p.at = at
	return p.engine, p.now(), p.up
}

// Decision is what led to an event; nil if no rule did.
func (e *Event) Decision() *rules.Decision { return e.decision }

// Moment is an offset as the wall clock shows it then.
func (v *Verdict) Moment(at time.Duration) time.Time {
	return v.Test.Start.in(v.House.zone()).Add(at)
}
