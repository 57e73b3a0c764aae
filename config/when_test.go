package config

import (
	"strings"
	"testing"
	"time"
)

func TestWhen(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	sunday := time.Date(2026, 11, 29, 8, 15, 30, 0, zone)
	winter := time.Date(2026, 10, 25, 12, 0, 0, 0, zone) // at 3:00 of that day it became 2:00
	summer := time.Date(2026, 3, 29, 12, 0, 0, 0, zone)  // and of this one 2:00 became 3:00
	for _, c := range []struct {
		now        time.Time
		text, want string
	}{
		{sunday, "now", "2026-11-29T08:15:30+01:00"},
		{sunday, "2h", "2026-11-29T06:15:30+01:00"},
		{sunday, "2h ago", "2026-11-29T06:15:30+01:00"},
		{sunday, "1d12h", "2026-11-27T20:15:30+01:00"},
		{sunday, "07:30", "2026-11-29T07:30:00+01:00"},
		{sunday, "7:30:05", "2026-11-29T07:30:05+01:00"},
		{sunday, "22:15", "2026-11-28T22:15:00+01:00"}, // it was yesterday
		{sunday, "today", "2026-11-29T00:00:00+01:00"},
		{sunday, "today 22:15", "2026-11-29T22:15:00+01:00"}, // said so
		{sunday, "yesterday", "2026-11-28T00:00:00+01:00"},
		{sunday, " Yesterday  22:15 ", "2026-11-28T22:15:00+01:00"},
		{sunday, "sunday", "2026-11-29T00:00:00+01:00"},
		{sunday, "mon 07:00", "2026-11-23T07:00:00+01:00"},
		{sunday, "Saturday 07:00", "2026-11-28T07:00:00+01:00"},
		{sunday, "2026-11-02", "2026-11-02T00:00:00+01:00"},
		{sunday, "2026-11-02 22:15", "2026-11-02T22:15:00+01:00"},
		{sunday, "2026-11-02T22:15:07", "2026-11-02T22:15:07+01:00"},
		{sunday, "2026-11-02T22:15:07Z", "2026-11-02T23:15:07+01:00"},
		{sunday, "2026-07-01 22:15", "2026-07-01T22:15:00+02:00"},
		{winter, "02:30", "2026-10-25T02:30:00+02:00"},
		{winter, "yesterday 02:30", "2026-10-24T02:30:00+02:00"},
		{winter, "3:30", "2026-10-25T03:30:00+01:00"},
		{summer, "02:30", "2026-03-29T03:30:00+02:00"},
		{summer, "yesterday", "2026-03-28T00:00:00+01:00"},
	} {
		got, err := When(c.text, c.now)
		if err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("%q at %v is %v, %v; want %s", c.text, c.now, got.Format(time.RFC3339), err, c.want)
		}
	}
	for _, text := range []string{"", "soon", "25:00", "-2h", "yesterday noon", "2026-02-30", "yesterday 2h", "2026-11-29 7", "07:30 today"} {
		if got, err := When(text, sunday); err == nil || !strings.Contains(err.Error(), `"yesterday 22:15"`) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}
