package calendar

import (
	"errors"
	"slices"
	"time"

	"hearth/config"
)

// A plan is wall times: of some dates some times of day. Next and Latest find
// the moment of the first showing of each.
type plan struct {
	dates dates
	times clocks
	text  string
}

// dates is a set of days. from is its first day not before d, back its last one
// not after d; false where the search ends without one.
type dates interface {
	from(d date) (date, bool)
	back(d date) (date, bool)
}

// clocks is a set of times since midnight, at least 0 and below 24h. from is the
// first not before c, back the last one not after c.
type clocks interface {
	from(c time.Duration) (time.Duration, bool)
	back(c time.Duration) (time.Duration, bool)
}

// Daily is these times of day, since local midnight and below 24h, on these
// weekdays. A time that the clock skips comes at the first moment after the
// gap, one that it shows twice the first time; the weekday is that of the
// planned time.
func Daily(times []time.Duration, days Days) Schedule {
	list := slices.Clone(times)
	slices.Sort(list)
	list = slices.Compact(list)
	return plan{days, clockList(list), Times(list).String() + days.on()}
}

// Every is the whole multiples of d since local midnight, on these weekdays: d
// is at least 1s and at most 24h. Where d does not divide the day the last
// stretch before midnight is shorter: every = "7h" is 00:00, 07:00, 14:00 and
// 21:00.
//
// Multiples are read off the clock, on a day of 23 hours too, so every = "6h"
// is always 00:00, 06:00, 12:00 and 18:00, and what the clock skips comes at the
// first moment after. What it shows twice comes once, unless d divides the
// hour: then it comes both times, being a rhythm of which none may be missing.
func Every(d time.Duration, days Days) (Schedule, error) {
	if d < time.Second || d > 24*time.Hour {
		return nil, errors.New(`want at least "1s" and at most "24h", such as "15m"`)
	}
	p := plan{days, multiples(d), "every " + config.Duration(d).String() + days.on()}
	if time.Hour%d == 0 {
		return rhythm{p, true}, nil
	}
	return p, nil
}

func (p plan) String() string { return p.text }

// after is the first planned wall time later than another.
func (p plan) after(wall time.Time) (time.Time, bool) {
	wall = wall.Add(1)
	day := dateOf(wall)
	clock := wall.Sub(day.at(0))
	for {
		d, ok := p.dates.from(day)
		if !ok {
			return time.Time{}, false
		}
		if d > day {
			clock = 0
		}
		if c, ok := p.times.from(clock); ok {
			return d.at(c), true
		}
		if clock == 0 { // no times at all
			return time.Time{}, false
		}
		day, clock = d+1, 0
	}
}

// upTo is the last planned wall time not later than another.
func (p plan) upTo(wall time.Time) (time.Time, bool) {
	const end = 24*time.Hour - 1
	day := dateOf(wall)
	clock := wall.Sub(day.at(0))
	for {
		d, ok := p.dates.back(day)
		if !ok {
			return time.Time{}, false
		}
		if d < day {
			clock = end
		}
		if c, ok := p.times.back(clock); ok {
			return d.at(c), true
		}
		if clock == end {
			return time.Time{}, false
		}
		day, clock = d-1, end
	}
}

func (p plan) Next(after time.Time) (time.Time, bool) {
	wall, ok := p.after(reached(after))
	for ok {
		t, gap := instant(wall, after.Location())
		if !gap || dateOf(wall).exists(after.Location()) {
			return t, true
		}
		wall, ok = p.after((dateOf(wall) + 1).at(-1)) // that day was left out
	}
	return time.Time{}, false
}

func (p plan) Latest(after, upTo time.Time) (time.Time, bool) {
	if !upTo.After(after) {
		return time.Time{}, false
	}
	upTo = upTo.In(after.Location())
	done := reached(after)
	wall, ok := p.upTo(reached(upTo))
	for ok && wall.After(done) {
		t, gap := instant(wall, after.Location())
		if !gap || dateOf(wall).exists(after.Location()) {
			return t, true
		}
		wall, ok = p.upTo(dateOf(wall).at(-1))
	}
	return time.Time{}, false
}

// A rhythm is a plan that comes whenever the clock shows it, in a doubled hour
// twice. With late it also comes at the first moment after a gap that held one
// of its times.
type rhythm struct {
	plan
	late bool
}

func (r rhythm) Next(after time.Time) (time.Time, bool) {
	t := after
	wall, ok := r.after(shown(t))
	for ok {
		_, end, offset := stretch(t)
		at := wall.Add(-offset)
		if end.IsZero() || at.Before(end) {
			return at.In(after.Location()), true
		}
		// The clock is changed before it would show this.
		was, is := end.Add(offset).UTC(), shown(end)
		if wall.Before(is) && r.late && dateOf(wall).exists(after.Location()) {
			return end, true
		}
		if wall.Before(is) || is.Before(was) {
			wall, ok = r.after(is.Add(-1))
		}
		t = end
	}
	return time.Time{}, false
}

func (r rhythm) Latest(after, upTo time.Time) (time.Time, bool) {
	if !upTo.After(after) {
		return time.Time{}, false
	}
	t := upTo.In(after.Location())
	wall, ok := r.upTo(shown(t))
	for ok {
		start, _, offset := stretch(t)
		if at := wall.Add(-offset).In(after.Location()); start.IsZero() || !at.Before(start) {
			return at, at.After(after)
		}
		if !start.After(after) {
			break
		}
		// It was not shown since the clock was changed.
		t = start.Add(-1)
		was, is := shown(t), shown(start)
		if wall.After(was) && r.late && dateOf(wall).exists(after.Location()) {
			return start, true
		}
		if wall.After(was) || is.Before(was) {
			wall, ok = r.upTo(was)
		}
	}
	return time.Time{}, false
}

// clockList is a sorted list of times of day.
type clockList []time.Duration

func (l clockList) from(c time.Duration) (time.Duration, bool) {
	for _, e := range l {
		if e >= c {
			return e, true
		}
	}
	return 0, false
}

func (l clockList) back(c time.Duration) (time.Duration, bool) {
	for _, e := range slices.Backward(l) {
		if e <= c {
			return e, true
		}
	}
	return 0, false
}

// multiples is the whole multiples of a duration.
type multiples time.Duration

func (m multiples) from(c time.Duration) (time.Duration, bool) {
	d := time.Duration(m)
	c = (c + d - 1) / d * d
	return c, c < 24*time.Hour
}

func (m multiples) back(c time.Duration) (time.Duration, bool) {
	d := time.Duration(m)
	return c / d * d, true
}

// Days are dates too.
func (d Days) from(day date) (date, bool) {
	for end := day + 7; day < end; day++ {
		if d.Holds(day.weekday()) {
			return day, true
		}
	}
	return 0, false
}

func (d Days) back(day date) (date, bool) {
	for end := day - 7; day > end; day-- {
		if d.Holds(day.weekday()) {
			return day, true
		}
	}
	return 0, false
}

func (d Days) on() string {
	if d == 0 {
		return ""
	}
	return " on " + d.String()
}
