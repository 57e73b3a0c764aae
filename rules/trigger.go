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

	source   string
	schedule calendar.Schedule // of time, every, cron and sun
	random   time.Duration
	start    bool

	level
	from     Values
	carries  string // of a link: only readings of this type
	pathed   bool   // of a link: a value out of JSON, where 1 is no boolean
	changed  bool
	distinct devices.Path
	hold     time.Duration
	minOn    time.Duration
	retained bool
	untils   []*until
	implicit bool // untils holds only the test turned round
	move     int  // of a machine: which move it is of
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
	test       Test
	negate     bool
	hold       time.Duration // of a condition's for, or an until's
}

// An until is a level that ends an episode.
type until = level

// check looks at a reading of the source; not valid if it says nothing. A test
// of silence is false at a reading: its time begins.
func (l *level) check(in *devices.Reading) (holds, valid bool) {
	switch {
	case l.event && in.Initial:
		return false, false
	case l.event && l.test.empty():
		return in.Bad == "" || l.anyMessage, true
	}
	pass, valid := l.test.check(*in)
	pass = pass && l.test.Silent == 0
	return valid && pass != l.negate, valid
}

func (l *level) holds(in *devices.Reading) bool {
	holds, valid := l.check(in)
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
		pass = ok && pass && l.test.holds(last)
	}
	return pass != l.negate && (ok || !l.negate)
}

// ends reports whether a reading of the trigger's own source already ends what
// it would begin.
func (t *trigger) ends(in *devices.Reading) bool {
	return slices.ContainsFunc(t.untils, func(u *until) bool {
		return u.source == t.source && !u.event && u.hold == 0 && u.holds(in)
	})
}

// over reports whether a reading that would fire a trigger without a truth is
// one of its ends.
func (t *trigger) over(in *devices.Reading) bool {
	return slices.ContainsFunc(t.untils, func(u *until) bool {
		return u.source == t.source && u.hold == 0 && !u.test.empty() && u.holds(in)
	})
}
