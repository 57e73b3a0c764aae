package why

import (
	"fmt"
	"strings"
	"time"

	"hearth/config"
)

// forms are how a person types a moment: a day with or without a time, or a time of a day
// that is near.
var forms = []struct {
	layout string
	dated  bool
}{
	{"2006-01-02 15:04:05", true}, {"2006-01-02 15:04", true}, {"2006-01-02T15:04:05", true}, {"2006-01-02T15:04", true}, {"2006-01-02", true},
	{time.RFC3339, true},
	{"15:04:05", false}, {"15:04", false},
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// When reads a moment as a person types it, in the zone of now, which it does not lie after:
//
//	07:30            the last time that the clock showed it: today, or yesterday
//	yesterday 22:15  also today, and monday for the last Monday before today
//	2026-11-29 22:15 with or without seconds; the day alone is its beginning
//	2h, 2h ago       so long before now
//	now
//
// The error says what would be right.
func When(text string, now time.Time) (time.Time, error) {
	wrong := fmt.Errorf(`%q is no time: want one such as "07:30", "yesterday 22:15", "monday 6:00", "2026-11-29 22:15" or "2h", which is two hours ago`, text)
	plain := strings.ToLower(strings.Join(strings.Fields(text), " "))
	if plain == "now" {
		return now, nil
	}
	if d, err := config.ParseDuration(strings.TrimPrefix(strings.TrimSuffix(plain, " ago"), "-")); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	day, clock, days := now, plain, -1
	switch word, rest, _ := strings.Cut(plain, " "); word {
	case "today":
		days, clock = 0, rest
	case "yesterday":
		days, clock = 1, rest
	default:
		for i, name := range weekdays {
			if word == name || word == name[:3] {
				days, clock = (int(now.Weekday())-i+6)%7+1, rest
			}
		}
	}
	if days > 0 {
		day = now.AddDate(0, 0, -days)
	}
	var at time.Time
	if days >= 0 && clock == "" {
		at = time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, now.Location())
	}
	for _, f := range forms {
		if f.dated && days >= 0 {
			continue
		}
		t, err := time.ParseInLocation(f.layout, strings.ToUpper(clock), now.Location())
		switch {
		case err != nil:
			continue
		case f.dated:
			at = t.In(now.Location())
		default:
			at = time.Date(day.Year(), day.Month(), day.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if days < 0 && at.After(now) {
				at = time.Date(day.Year(), day.Month(), day.Day()-1, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			}
		}
		break
	}
	switch {
	case at.IsZero():
		return at, wrong
	case at.After(now):
		return at, fmt.Errorf("%q is still to come: want a time before %s", text, now.Format("2006-01-02 15:04:05"))
	}
	return at, nil
}
