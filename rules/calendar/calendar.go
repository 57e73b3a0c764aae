// Package calendar says when: times of day, whole multiples, cron, the sun,
// weekdays, dates and spans of the day, all on the local clock with its two
// odd days a year.
//
// Everything is a value and a function of its arguments: nothing here reads a
// clock, and where a moment comes out it is in the location of the moment that
// went in. A [Schedule] is asked for the moment after another one, so a day of
// house life replays in a test as it ran.
//
// # When the clock is changed
//
// A clock put forward skips some wall times (a gap), one put back shows some
// twice. Two rules cover every schedule:
//
// What is planned for a time of day ([Daily], most of [Cron] and [Every])
// comes exactly once a local day: a time in a gap comes at the first moment
// after it, a doubled one the first time. "02:30" in Berlin is 03:00 on the
// last Sunday of March. Several times in one gap come together, as one moment.
//
// What is a rhythm goes on with the clock: every = "15m" has no hour of rest in
// autumn, for 02:15 is shown twice and both times it is a quarter of an hour
// since the last one. A rhythm is an [Every] that divides the hour, and a
// [Cron] with every hour in its hour field.
//
// A local day that a zone left out altogether, as Samoa did with 30 December
// 2011, has no moments. Of a local day that a zone had twice the first counts.
//
// # How
//
// A wall time, what the clock on the wall shows, is held as a time.Time in UTC,
// so that it can be compared and added to without regard to any zone. Going from
// wall time to moment, time.Date does not say which it chooses in a gap or a
// doubled hour; [instant] walks the zone's own bounds instead.
package calendar

import (
	"time"
)

// A Place is where the house stands, in degrees, north and east positive. Known
// false means that nobody said; the sun then has no moments and is not down.
type Place struct {
	Latitude, Longitude float64
	Known               bool
}

// A Schedule is a plan of moments, each of which comes once.
type Schedule interface {
	// Next is the first planned moment strictly after another, in its
	// location. It is false when there is none: the search ends after 41 years
	// (29 February on a Monday may be 40 away), that of the sun after three.
	Next(after time.Time) (time.Time, bool)

	// Latest is the newest planned moment in (after, upTo], in the location of
	// after; false when there is none. It searches back from upTo, so a hub
	// that comes up after years asks no more than one that was away a minute.
	Latest(after, upTo time.Time) (time.Time, bool)

	// String is the plan as one would say it: "07:00 on mon,tue", "sunset-15m".
	String() string
}

// Midnight is the next beginning of a local day strictly after t. Where the
// clock skips midnight the day begins at the first moment after; where it shows
// midnight twice, the first time.
func Midnight(t time.Time) time.Time {
	next, _ := Daily([]time.Duration{0}, 0).Next(t)
	return next
}

// shown is the wall time at t.
func shown(t time.Time) time.Time {
	_, offset := t.Zone()
	return time.Unix(t.Unix()+int64(offset), int64(t.Nanosecond())).UTC()
}

// instant is the first moment at which the clock of loc shows the wall time, and
// false. Where it never does, because the clock is put forward past it, that
// change is the moment, and true.
//
// Zones are at most 16 hours from UTC, so a day earlier the wall time is yet to
// come; from there on each stretch of constant offset is asked in turn.
func instant(wall time.Time, loc *time.Location) (t time.Time, gap bool) {
	for t = wall.Add(-24 * time.Hour).In(loc); ; {
		start, end, offset := stretch(t)
		at := wall.Add(-offset)
		switch {
		case !end.IsZero() && !at.Before(end):
			t = end
		case !start.IsZero() && at.Before(start):
			return start, true
		default:
			return at.In(loc), false
		}
	}
}

// stretch is the span of constant offset around t, half open, and that offset
// from UTC. A zero start or end is none.
//
// Where a zone has only a rule for the years to come, as slim tzdata does from
// about now on and any from 2038, Go cuts at each 1 January too, and takes that
// for 365 days after the last: in a leap year an end that 31 December is already
// past (go1.26, time.tzset). A walk along the bounds would stay there for ever,
// so such an end is put a day later, where it belongs.
func stretch(t time.Time) (start, end time.Time, offset time.Duration) {
	start, end = t.ZoneBounds()
	_, seconds := t.Zone()
	if !end.IsZero() && !end.After(t) {
		end = end.Add(24 * time.Hour)
	}
	return start, end, time.Duration(seconds) * time.Second
}

// reached is the latest wall time that the clock has shown by t. It is ahead of
// what t shows while a clock that was put back catches up. With it "has this
// been yet" is a comparison of wall times: a first showing lies after t exactly
// when its wall time is later than reached(t).
func reached(t time.Time) time.Time {
	latest := shown(t)
	for u := t; ; {
		start, _ := u.ZoneBounds()
		if start.IsZero() || t.Sub(start) > 25*time.Hour { // no clock was ever put back by more than a day
			return latest
		}
		u = start.Add(-1)
		if w := shown(u); w.After(latest) {
			latest = w
		}
	}
}

// A date is a calendar day, counted from 1 January 1970.
type date int

func dateOf(wall time.Time) date {
	s := wall.Unix()
	if s < 0 {
		s -= 24*60*60 - 1
	}
	return date(s / (24 * 60 * 60))
}

// at is the wall time that long after the date's midnight.
func (d date) at(clock time.Duration) time.Time {
	return time.Unix(int64(d)*24*60*60, 0).UTC().Add(clock)
}

func (d date) weekday() time.Weekday { return time.Weekday(((int(d)+4)%7 + 7) % 7) }

func (d date) civil() (year int, month time.Month, day int) { return d.at(0).Date() }

// bounds is the span of the local day, half open; empty for a day that the zone
// left out.
func (d date) bounds(loc *time.Location) (from, to time.Time) {
	from, _ = instant(d.at(0), loc)
	to, _ = instant((d + 1).at(0), loc)
	return from, to
}

func (d date) exists(loc *time.Location) bool {
	from, to := d.bounds(loc)
	return from.Before(to)
}
