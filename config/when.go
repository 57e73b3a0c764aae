package config

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// whenForms is how a moment of the past is written.
const whenForms = `"2h" ago, "07:30", "yesterday 22:15", "monday", "2026-11-29 22:15"`

// When reads a moment as a person says it of something that has happened, in the time
// zone of now, which is the house's:
//
//	2h, 90m, 7d, 1d12h        so long ago
//	now
//	today, yesterday, monday  the beginning of that day, or with a time of day, as in
//	                          "yesterday 22:15", that time
//	07:30, 07:30:15           today, or if that is still to come yesterday
//	2026-11-29                the beginning of that day
//	2026-11-29 22:15          with seconds if they matter, and a T in place of the space
//	2026-11-29T22:15:00+01:00 in whatever zone (RFC 3339)
//
// The day of a weekday is the last one that is over or has begun. A time that is there
// twice, as when summer time ends, is the first of the two; one that is skipped is an hour
// later. The error says what would be right.
func When(text string, now time.Time) (time.Time, error) {
	wrong := fmt.Errorf("%q is no time: want %s", text, whenForms)
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.In(now.Location()), nil
	}
	word := strings.ToLower(text)
	if word == "now" {
		return now, nil
	}
	if ago, err := ParseDuration(strings.TrimSpace(strings.TrimSuffix(word, "ago"))); err == nil {
		return now.Add(-time.Duration(ago)), nil
	}
	date, clock, both := strings.Cut(strings.Replace(word, "t", " ", min(1, strings.Count(word, "-"))), " ")
	day, err := dayOf(date, now)
	if err != nil && !both && strings.Contains(date, ":") {
		t, err := timeOfDay(now, date)
		if err != nil {
			return time.Time{}, wrong
		}
		if t.After(now) {
			t, err = timeOfDay(now.AddDate(0, 0, -1), date)
		}
		return t, err
	}
	if err != nil {
		return time.Time{}, wrong
	}
	t, err := timeOfDay(day, cmp.Or(strings.TrimSpace(clock), "00:00"))
	if err != nil {
		return time.Time{}, wrong
	}
	return t, nil
}

// dayOf is a moment of the day that a word or a date means.
func dayOf(word string, now time.Time) (time.Time, error) {
	switch word {
	case "today":
		return now, nil
	case "yesterday":
		return midday(now).AddDate(0, 0, -1), nil
	}
	for back := range 7 {
		day := midday(now).AddDate(0, 0, -back)
		if name := strings.ToLower(day.Weekday().String()); word == name || word == name[:3] {
			return day, nil
		}
	}
	t, err := time.ParseInLocation(time.DateOnly, word, now.Location())
	return midday(t), err
}

// midday is the middle of t's day: counted from there, no change of the clock leads to
// another day.
func midday(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, t.Location())
}

// timeOfDay is that time on a day.
func timeOfDay(day time.Time, clock string) (time.Time, error) {
	for _, form := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(form, clock); err == nil {
			return onDay(day, t.Hour(), t.Minute(), t.Second()), nil
		}
	}
	return time.Time{}, errors.New("want a time of day such as 07:30")
}

// onDay is a time of a day; the first, where the clock shows it twice.
func onDay(day time.Time, hour, minute, second int) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), hour, minute, second, 0, day.Location())
	for _, shift := range []time.Duration{2 * time.Hour, time.Hour, 30 * time.Minute} {
		if earlier := t.Add(-shift); earlier.Format(time.DateTime) == t.Format(time.DateTime) {
			return earlier
		}
	}
	return t
}
