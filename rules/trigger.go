package rules

import (
	"slices"
	"time"

	"hearth/devices"
	"hearth/rules/calendar"
)

// A trigger is one of a rule, made ready.
type trigger struct {
	text  string // "zigbee2mqtt/hall:occupancy is true"
	id    string
	index int // in its rule

	level
	hold     time.Duration
	retained bool
	listens  bool // for silence, of its own source or that of an until
	implicit bool // untils holds only the test turned round
	untils   []*until
	*moreOfTrigger
}

// moreOfTrigger is what few triggers have; the others share one that is empty.
type moreOfTrigger struct {
	schedule calendar.Schedule // of time, every, cron and sun
	random   time.Duration
	start    bool

	from     Values
	carries  string // of a link: only readings of this type
	pathed   bool   // of a link: a value out of JSON, where 1 is no boolean
	changed  bool
	distinct devices.Path
	minOn    time.Duration
	move     int // of a machine: which move it is of
}

// truthless reports whether the trigger fires without a truth that rises.
func (t *trigger) truthless() bool {
	return t.event || t.test.empty()
}

// A level is a test on a source, true or false at any moment.
type level struct {
	source     string
	event      bool
	anyMessage bool // an event without test or path: invalid payloads count too
	negate     bool
	test       Test
	hold       time.Duration // of a condition's for, or an until's
}

// An until is a level that ends an episode.
type until = level

// check looks at a reading of the source; not valid if it says nothing. A test
// of silence is false at a reading: its time begins.
func (l *level) check(inst *instance, in *devices.Reading) (holds, valid bool) {
	switch {
	case l.event && in.Initial:
		return false, false
	case l.event && l.test.empty():
		return in.Bad == "" || l.anyMessage, true
	case in.Restored && l.test.Silent > 0:
		return false, false // found again as it was: nobody has said anything
	}
	pass, valid := l.test.of(inst).check(*in)
	pass = pass && l.test.Silent == 0
	return valid && pass != l.negate, valid
}

func (l *level) holds(inst *instance, in *devices.Reading) bool {
	holds, valid := l.check(inst, in)
	return holds && valid
}

// holdsNow looks at the newest value instead. silent is the timer of the level's
// silence, nil once that is over.
func (l *level) holdsNow(e *Engine, inst *instance, silent *timer) bool {
	if l.event {
		return false
	}
	last, ok := e.registry.Last(inst.source(e, l.source))
	pass := l.test.Silent == 0 || silent == nil
	if !l.test.valueless() {
		pass = ok && pass && l.test.of(inst).holds(last)
	}
	return pass != l.negate && (ok || !l.negate)
}

// lasts reports whether it has to be known since when an until holds, also while
// nothing is on: it is on another source, and has a for.
func (t *trigger) lasts(u *until) bool {
	return u.hold > 0 && u.source != t.source && !u.event && u.test.Silent == 0 && !t.truthless()
}

// ends reports whether a reading of the trigger's own source already ends what
// it would begin.
func (t *trigger) ends(inst *instance, in *devices.Reading) bool {
	return slices.ContainsFunc(t.untils, func(u *until) bool {
		return u.source == t.source && !u.event && u.hold == 0 && u.holds(inst, in)
	})
}

// over reports whether a reading that would fire a trigger without a truth is
// one of its ends.
func (t *trigger) over(inst *instance, in *devices.Reading) bool {
	return slices.ContainsFunc(t.untils, func(u *until) bool {
		return u.source == t.source && u.hold == 0 && !u.test.empty() && u.holds(inst, in)
	})
}

// ended says what has ended what t began: by its until, or that its own test is over.
func (t *trigger) ended(by *until) string {
	if t.implicit {
		return t.text
	}
	text := by.source
	if !by.test.empty() {
		text += " " + by.test.String()
	}
	if by.hold > 0 {
		text += " for " + span(by.hold)
	}
	return text
}

// Turns reports whether some test of a trigger or of its end answers otherwise for
// a reading than for the value before it. Such a one has to be kept at once,
// however often its source speaks: what begins or ends by a deadline looks at the
// newest value then, and after a crash that must not be from the other side.
func (e *Engine) Turns(in devices.Reading) bool {
	ws := e.watch[watched(&in)]
	if ws == nil {
		return false
	}
	before := devices.Reading{Source: in.Source, Value: in.Old, Text: valueText(in.Old)}
	turns := func(l *level) bool {
		return !l.event && !l.test.valueless() && (in.Old == nil || l.test.holds(before) != l.test.holds(in))
	}
	for _, list := range [][]watcher{ws.rules, ws.machines} {
		for _, w := range list {
			t := w.trigger
			if t == nil {
				continue
			}
			if t.source == watched(&in) && turns(&t.level) {
				return true
			}
			for _, u := range t.untils {
				if u.source == watched(&in) && turns(u) {
					return true
				}
			}
		}
	}
	return false
}
