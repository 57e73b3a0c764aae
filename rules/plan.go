package rules

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"hearth/devices"
	"hearth/rules/calendar"
)

const (
	// grace is by how much a time of day may be late and still count as kept: a
	// hub that is restarted at seven must not miss what is to happen at seven.
	grace = 10 * time.Second
	// lookBack is how far catch_up looks for the newest moment.
	lookBack = 400 * 24 * time.Hour
	// aDay is how far a clock may be wrong before what was done is no longer
	// believed.
	aDay = 25 * time.Hour
)

// draw is the random part of a moment: the same one for the same seed, rule and
// moment, so that it need not be kept.
func (e *Engine) draw(r *rule, t *trigger, at time.Time) time.Duration {
	return draw(t.random, e.house.Seed, r.name, int64(t.index), at.Unix())
}

// draw is a time from 0 to most, the same one for the same arguments.
func draw(most time.Duration, seed uint64, name string, numbers ...int64) time.Duration {
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	b := binary.LittleEndian.AppendUint64(nil, seed)
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	h.Write(b)
	h.Write([]byte(name))
	x := h.Sum64()
	x ^= x >> 31 // the last bytes of a name alone hardly reach the upper bits
	x *= 0x9e3779b97f4a7c15
	x ^= x >> 29
	return (time.Duration(float64(x>>11) / (1 << 53) * float64(most))).Round(time.Millisecond)
}

// planStart deals with the times of day that passed while the hub was down, and
// plans the next ones. The clock is known.
func (e *Engine) planStart(now devices.Now) {
	e.started = true
	e.shift = shift(now)
	for _, r := range e.rules {
		if r.enabled && !r.off {
			e.planRule(r, now)
		}
	}
}

// planRule is planStart for one rule.
func (e *Engine) planRule(r *rule, now devices.Now) {
	wall := now.Wall.In(e.house.zone())
	catchUp := r.catchUp
	if e.reloaded && r.only.kept && catchUp != "" {
		catchUp = "missed" // it was there all the time: no start to make up for
	}
	type missed struct {
		t  *trigger
		at time.Time
	}
	var late []missed // by so little that it counts
	var newest *missed
	for _, t := range r.triggers {
		if t.schedule == nil {
			continue
		}
		l := &r.only.latches[t.index]
		if l.handled.After(wall.Add(aDay)) { // by a clock that was far ahead
			l.handled = wall
		}
		first := l.handled.IsZero()
		from := l.handled
		if first || catchUp == "restart" || catchUp == "start" {
			from = wall.Add(-lookBack)
		}
		done := l.handled
		if first {
			done = wall
		}
		if at, ok := t.schedule.Latest(from.In(e.house.zone()), wall); ok {
			fire := at.Add(e.draw(r, t, at))
			switch news := at.After(done); {
			case fire.After(wall) && news:
				e.plan(r, t, at, now)
				continue
			case fire.After(wall):
			case news && wall.Sub(fire) <= grace && catchUp == "":
				late = append(late, missed{t, at})
			case catchUp == "start", catchUp == "restart" && !first, catchUp == "missed" && news:
				if newest == nil || fire.After(newest.at) {
					newest = &missed{t, fire}
				}
			}
		}
		l.handled = wall
		e.moved(r.only)
		e.planNext(r, t, now)
	}
	if newest != nil {
		late = append(late, *newest)
	}
	for _, m := range late {
		e.begin(r.only, m.t, now, nil)
	}
}

// said is the schedule of a time of day that a source says, such as a variable that
// somebody sets from a phone. While it says none there is none.
type said struct {
	registry *devices.Registry
	source   string
	days     calendar.Days
}

func (s *said) daily() (calendar.Schedule, bool) {
	last, _ := s.registry.Last(s.source)
	at, err := calendar.ParseTimeOfDay(last.Text)
	if err != nil || at >= 24*time.Hour {
		return nil, false
	}
	return calendar.Daily(calendar.Times{at}, s.days), true
}

// Next is as of [calendar.Schedule].
func (s *said) Next(after time.Time) (time.Time, bool) {
	if d, ok := s.daily(); ok {
		return d.Next(after)
	}
	return time.Time{}, false
}

// Latest is as of [calendar.Schedule].
func (s *said) Latest(after, upTo time.Time) (time.Time, bool) {
	if d, ok := s.daily(); ok {
		return d.Latest(after, upTo)
	}
	return time.Time{}, false
}

func (s *said) String() string { return "of " + s.source }

// planAnew plans a trigger whose source has said another time of day. One that is
// past today is tomorrow's.
func (e *Engine) planAnew(inst *instance, t *trigger, in *devices.Reading) {
	if !e.started || in.Old != nil && valueText(in.Old) == in.Text {
		return
	}
	l := &inst.latches[t.index]
	e.timers.clear(&l.plan)
	l.handled = in.At.Wall
	e.moved(inst)
	if _, ok := t.schedule.(*said).daily(); !ok {
		d := e.decision(inst, in.At, t.text, in, Ignored)
		d.Why = "that is no time of day such as 07:00, so it comes no more"
		e.decide(d)
	}
	e.planNext(inst.rule, t, in.At)
}

// planNext plans the first moment after those that are dealt with.
func (e *Engine) planNext(r *rule, t *trigger, now devices.Now) {
	l := &r.only.latches[t.index]
	if at, ok := t.schedule.Next(l.handled.In(e.house.zone())); ok {
		e.plan(r, t, at, now)
	}
}

func (e *Engine) plan(r *rule, t *trigger, at time.Time, now devices.Now) {
	l := &r.only.latches[t.index]
	l.planned = at
	fire := at.Add(e.draw(r, t, at))
	e.timers.set(&l.plan, timer{inst: r.only, trigger: t, kind: planDue, at: fire}, now.Mono+fire.Sub(now.Wall))
}

// planDue is a time of day that has come.
func (e *Engine) planDue(inst *instance, t *trigger, now devices.Now) {
	l := &inst.latches[t.index]
	l.plan = nil
	l.handled = l.planned
	e.planNext(inst.rule, t, now)
	e.begin(inst, t, now, nil)
}

// shift is by how much the wall clock is ahead of the monotonic one.
func shift(now devices.Now) time.Duration { return time.Duration(now.Wall.UnixNano()) - now.Mono }

// clockSet reports whether the wall clock was set since it was looked at last, by more
// than a time service moves it while it steers it.
func (e *Engine) clockSet(now devices.Now) bool {
	d := shift(now) - e.shift
	return d <= -100*time.Millisecond || d >= 100*time.Millisecond
}

// followClock plans anew what waits for a moment of the wall clock, if that was
// set. What it jumped over was missed.
func (e *Engine) followClock(now devices.Now) {
	if !e.clockSet(now) {
		return
	}
	e.shift = shift(now)
	var waiting []*timer
	for _, t := range e.timers.heap {
		if !t.at.IsZero() {
			waiting = append(waiting, t)
		}
	}
	sortTimers(waiting)
	for _, t := range waiting {
		// By the clock that was, it was due at t.due; what is due by now anyway
		// happens as it would have.
		if t.due <= now.Mono {
			continue
		}
		if t.kind != planDue {
			e.timers.move(t, now.Mono+t.at.Sub(now.Wall))
			continue
		}
		r := t.inst.rule
		l := &r.only.latches[t.trigger.index]
		late := now.Wall.Sub(t.at)
		switch {
		case late > grace && r.catchUp == "":
			d := e.decision(r.only, now, t.trigger.text, nil, Ignored)
			d.Why = "the clock was set from before it to " + span(late.Round(time.Second)) + " after it, and catch_up is not given"
			e.decide(d)
			l.handled = now.Wall
			e.planNext(r, t.trigger, now)
		case l.handled.After(now.Wall.Add(aDay)):
			l.handled = now.Wall
			e.planNext(r, t.trigger, now)
		default:
			e.timers.move(t, now.Mono+t.at.Sub(now.Wall))
		}
	}
}
