package why

import (
	"strings"
	"testing"
	"time"
)

// What a person types is a moment of the house's zone that has been.
func TestWhen(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 30, 9, 15, 30, 0, zone) // a Monday
	for text, want := range map[string]string{
		"now":                       "2026-11-30 09:15:30",
		"07:30":                     "2026-11-30 07:30:00",
		"7:30":                      "2026-11-30 07:30:00",
		"7:30:15":                   "2026-11-30 07:30:15",
		"22:15":                     "2026-11-29 22:15:00",
		"today 07:30":               "2026-11-30 07:30:00",
		"today":                     "2026-11-30 00:00:00",
		"Yesterday  22:15":          "2026-11-29 22:15:00",
		"yesterday":                 "2026-11-29 00:00:00",
		"sunday 8:00":               "2026-11-29 08:00:00",
		"monday 8:00":               "2026-11-23 08:00:00",
		"fri 23:59":                 "2026-11-27 23:59:00",
		"2026-11-29 22:15":          "2026-11-29 22:15:00",
		"2026-11-29T22:15:30":       "2026-11-29 22:15:30",
		"2026-11-29":                "2026-11-29 00:00:00",
		"2026-11-29T22:15:30Z":      "2026-11-29 23:15:30",
		"2026-11-29t22:15:30+01:00": "2026-11-29 22:15:30",
		"2h":                        "2026-11-30 07:15:30",
		"90m ago":                   "2026-11-30 07:45:30",
		"-1h30m":                    "2026-11-30 07:45:30",
		"3d":                        "2026-11-27 09:15:30",
		"2026-10-25 02:30":          "2026-10-25 02:30:00",
	} {
		got, err := When(text, now)
		if err != nil || got.In(zone).Format("2006-01-02 15:04:05") != want {
			t.Errorf("%q is %v (%v), want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                 "is no time: want one such as",
		"noon":             "is no time",
		"25:00":            "is no time",
		"yesterday noon":   "is no time",
		"today 10:00":      "is still to come: want a time before 2026-11-30 09:15:30",
		"2026-12-01 00:00": "is still to come",
		"2026-13-01":       "is no time",
	} {
		if got, err := When(text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v (%v), want an error with %q", text, got, err, want)
		}
	}
}
