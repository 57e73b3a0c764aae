package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hearth/rules/calendar"
)

// Ten years in five zones: what is to happen once a day happens exactly once on
// each local day, across both changes of the clock, and although the hub is
// restarted a thousand times, some of them at the very moment.
func TestEachDailyRuleOncePerLocalDayForTenYears(t *testing.T) {
	const text = `
		[rule.midnight]
		trigger = { time = "00:00" }
		action = { publish = "x/midnight", payload = "x" }
		catch_up = "missed"
		[rule.gap]
		trigger = { time = "02:30" }
		action = { publish = "x/gap", payload = "x" }
		catch_up = "missed"
		[rule.cron]
		trigger = { cron = "30 1 * * *" }
		action = { publish = "x/cron", payload = "x" }
		catch_up = "missed"
		[rule.sunset]
		trigger = { sun = "sunset-15m" }
		action = { publish = "x/sunset", payload = "x" }
		catch_up = "missed"
		[rule.random]
		trigger = { time = "12:00", random = "1h" }
		action = { publish = "x/random", payload = "x" }
		catch_up = "missed"`
	for _, z := range []struct {
		zone  string
		place calendar.Place
	}{
		{"Europe/Berlin", calendar.Place{Latitude: 52.5, Longitude: 13.4, Known: true}},
		{"America/New_York", calendar.Place{Latitude: 40.7, Longitude: -74, Known: true}},
		{"Australia/Lord_Howe", calendar.Place{Latitude: -31.6, Longitude: 159.1, Known: true}},
		{"America/Havana", calendar.Place{Latitude: 23.1, Longitude: -82.4, Known: true}},
		{"Asia/Kolkata", calendar.Place{Latitude: 22.6, Longitude: 88.4, Known: true}},
	} {
		t.Run(strings.ReplaceAll(z.zone, "/", " "), func(t *testing.T) {
			zone, err := time.LoadLocation(z.zone)
			if err != nil {
				t.Fatal(err)
			}
			where := names
			where.Zone, where.Place, where.Seed = zone, z.place, 1
			start := time.Date(2016, 1, 1, 0, 0, 1, 0, zone).Add(-time.Minute)
			end := time.Date(2026, 1, 1, 0, 0, 0, 0, zone).Add(-time.Second)
			h := buildIn(t, text, where, start)
			h.note(h.engine.Restore(nil, h.now, h.boot))
			h.note(h.engine.Start(h.now))
			random := rand.New(rand.NewPCG(1, 2))
			for h.now.Wall.Before(end) {
				for range random.IntN(60) + 1 { // some deadlines, one after the other
					if due, ok := h.engine.Next(); ok && h.now.Wall.Add(due-h.now.Mono).Before(end) {
						h.pass(due - h.now.Mono)
					} else {
						h.pass(end.Sub(h.now.Wall))
						break
					}
				}
				if before := time.Duration(random.IntN(3)) * time.Minute; before > 0 { // and down over the next
					if due, ok := h.engine.Next(); ok && h.now.Wall.Add(due-h.now.Mono).Before(end.Add(-time.Hour)) {
						h.pass(max(0, due-h.now.Mono-before))
					}
				}
				h.restart(text, fmt.Sprint("boot ", random.IntN(1000)), time.Duration(random.IntN(300))*time.Second)
				h.note(h.engine.Start(h.now))
			}
			days := make(map[string]map[string]int) // by topic, by local day
			for _, s := range h.all {
				topic := s.command.Topic
				if days[topic] == nil {
					days[topic] = make(map[string]int)
				}
				days[topic][s.at.In(zone).Format(time.DateOnly)]++
			}
			for _, topic := range []string{"x/midnight", "x/gap", "x/cron", "x/sunset", "x/random"} {
				n := 0
				for day := time.Date(2016, 1, 1, 12, 0, 0, 0, zone); day.Year() < 2026; day = day.AddDate(0, 0, 1) {
					if got := days[topic][day.Format(time.DateOnly)]; got != 1 {
						t.Errorf("%s: %d times on %s", topic, got, day.Format(time.DateOnly))
					}
					n++
				}
				if n != 3653 {
					t.Fatalf("%d days", n)
				}
			}
		})
	}
}
