package calendar

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"hearth/config"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func moment(t testing.TB, loc *time.Location, text string) time.Time {
	t.Helper()
	m, err := time.ParseInLocation("2006-01-02 15:04:05", text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func clockOf(t testing.TB, text string) time.Duration {
	t.Helper()
	d, err := ParseTimeOfDay(text)
	if err != nil {
		t.Fatal(text, err)
	}
	return d
}

func must(t testing.TB, s Schedule, err error) Schedule {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func cronOf(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := Cron(text, 0)
	return must(t, s, err)
}

func everyOf(t testing.TB, d time.Duration) Schedule {
	t.Helper()
	s, err := Every(d, 0)
	return must(t, s, err)
}

func weekdays(t testing.TB, text string) Days {
	t.Helper()
	var d struct {
		D Days `toml:"d"`
	}
	if err := config.Parse("x", []byte(`d = "`+text+`"`), &d).Err(); err != nil {
		t.Fatal(err)
	}
	return d.D
}

// The zones of the long runs and ten years of each that have something odd.
var decades = []struct {
	zone  string
	first int
}{
	{"Europe/Berlin", 2020},
	{"America/New_York", 2020},
	{"Australia/Lord_Howe", 2020}, // half an hour
	{"America/Sao_Paulo", 2009},   // 00:00 is skipped in spring, 23:00 comes twice in autumn
	{"Europe/Berlin", 2038},       // beyond the table: only the rule of the zone is known
	{"Asia/Kolkata", 2020},        // nothing ever happens
	{"America/Havana", 2016},      // 00:00 is skipped, and comes twice
	{"Asia/Beirut", 2016},         // the same
	{"America/St_Johns", 2002},    // 00:01: a minute of tomorrow, then an hour of today
	{"Africa/Casablanca", 2015},   // four changes a year
	{"Pacific/Apia", 2006},        // 2011 had no 30 December
}

var oddTimes = []string{"00:00", "01:59", "02:00", "02:30", "03:00", "00:30", "23:30", "12:34:56"}

// firstShown is instant by brute force: the first second at which the clock shows
// the wall time or has gone past it.
func firstShown(wall time.Time, loc *time.Location) time.Time {
	early, late := wall.Add(-15*time.Hour).Truncate(time.Minute).In(loc), wall.Add(15*time.Hour).In(loc)
	_, a := early.Zone()
	if _, b := late.Zone(); a == b {
		if start, end := early.ZoneBounds(); start == end || end.IsZero() || end.After(late) {
			return wall.Add(-time.Duration(a) * time.Second).In(loc)
		}
	}
	for t := early; ; t = t.Add(time.Minute) { // no clock is changed but at a full minute
		y, m, d := t.Date()
		if shows := time.Date(y, m, d, t.Hour(), t.Minute(), 59, 0, time.UTC); !shows.Before(wall) {
			at := t.Add(time.Duration(wall.Second()) * time.Second)
			if shows.Sub(wall) >= time.Minute { // skipped
				at = t
			}
			return at
		}
	}
}

// Each daily time comes exactly once a local day, for ten years, in spring and
// autumn too: when the clock first shows it or first is past it. A cron entry
// for a fixed time is the same.
func TestDailyOncePerLocalDay(t *testing.T) {
	for _, c := range decades {
		t.Run(c.zone, func(t *testing.T) {
			loc := zone(t, c.zone)
			for _, text := range oddTimes {
				at := clockOf(t, text)
				daily := Daily([]time.Duration{at}, 0)
				entry := cronOf(t, fmt.Sprintf("%d %d %d * * *", int(at.Seconds())%60, int(at.Minutes())%60, int(at.Hours())))
				now := moment(t, loc, fmt.Sprintf("%d-06-01 23:59:00", c.first-1))
				inCron := now
				seen := make(map[string]int)
				for day := dateOf(shown(now)) + 1; ; day++ {
					if y, m, _ := day.civil(); y >= c.first+10 && m > 1 {
						break
					}
					if c.zone == "Pacific/Apia" && day.at(0).Format(time.DateOnly) == "2011-12-30" {
						continue
					}
					next, ok := daily.Next(now)
					if want := firstShown(day.at(at), loc); !ok || !next.Equal(want) {
						t.Fatalf("%s after %v: %v, want %v", text, now, next, want)
					}
					if next.Location() != loc {
						t.Fatalf("%s: in %v", text, next.Location())
					}
					seen[next.Format(time.DateOnly)]++
					if inCron, ok = entry.Next(inCron); !ok || !inCron.Equal(next) {
						t.Fatalf("%s: cron says %v, not %v", entry, inCron, next)
					}
					now = next
				}
				for day, n := range seen {
					if n != 1 {
						t.Errorf("%s: %d times on %s", text, n, day)
					}
				}
				if len(seen) < 3650 {
					t.Errorf("%s: on %d days only", text, len(seen))
				}
			}
		})
	}
}

// A rhythm comes whenever the clock shows a multiple, and where the clock skips
// one at the first moment after: each is compared with a walk over every minute
// about the changes of ten years. What does not divide the hour comes once a day
// for each multiple.
func TestEveryLosesNothing(t *testing.T) {
	for _, c := range decades {
		t.Run(c.zone, func(t *testing.T) {
			loc := zone(t, c.zone)
			walk := func(about time.Time) {
				for _, every := range []time.Duration{time.Hour, 15 * time.Minute, 20 * time.Minute, 7 * time.Hour, 2 * time.Hour, 24 * time.Hour, 7 * time.Minute} {
					walkChange(t, everyOf(t, every), every, about, time.Hour%every == 0)
				}
			}
			for year := c.first; year < c.first+10; year++ {
				u := time.Date(year, 1, 1, 12, 0, 0, 0, loc)
				for u.Year() == year {
					_, was := u.Zone()
					u = u.Add(time.Hour)
					if _, is := u.Zone(); is != was {
						change, _ := u.ZoneBounds()
						walk(change)
					}
				}
				// Nothing happens at new year, but the zone's bounds are cut there.
				walk(time.Date(year+1, 1, 1, 0, 0, 0, 0, time.UTC).In(loc))
			}
		})
	}
}

func walkChange(t *testing.T, s Schedule, every time.Duration, change time.Time, rhythm bool) {
	t.Helper()
	from, to := change.Add(-30*time.Hour), change.Add(30*time.Hour)
	var want []time.Time
	front := shown(from) // the latest wall time shown
	for m := from; m.Before(to); {
		was := shown(m)
		m = m.Add(time.Minute)
		is := shown(m)
		planned := func(w time.Time) bool {
			return w.Sub(dateOf(w).at(0))%every == 0
		}
		come := false
		if rhythm {
			come = planned(is)
			for w := was.Add(time.Minute); w.Before(is) && dateOf(w).exists(m.Location()); w = w.Add(time.Minute) {
				come = come || planned(w)
			}
		} else {
			for w := front.Add(time.Minute); !w.After(is); w = w.Add(time.Minute) {
				come = come || planned(w) && dateOf(w).exists(m.Location())
			}
		}
		if is.After(front) {
			front = is
		}
		if come {
			want = append(want, m)
		}
	}
	var got []time.Time
	for m, _ := s.Next(from); !m.After(to); m, _ = s.Next(m) {
		got = append(got, m)
	}
	if !slices.EqualFunc(got, want, time.Time.Equal) {
		t.Fatalf("%s about %v:\n%v\nwant\n%v", s, change, got, want)
	}
	// Wherever one begins to ask, in the second showing of an hour too, the
	// answer is the same.
	const step = 150 * time.Second
	for m := change.Add(-60 * step); m.Before(change.Add(60 * step)); m = m.Add(step) {
		i := slices.IndexFunc(want, func(w time.Time) bool { return w.After(m) })
		if next, ok := s.Next(m); i >= 0 && !(ok && next.Equal(want[i])) {
			t.Fatalf("%s after %v: %v, want %v", s, m, next, want[i])
		}
		if last, ok := s.Latest(from, m); i > 0 && !(ok && last.Equal(want[i-1])) || i == 0 && ok {
			t.Fatalf("%s in (%v, %v]: %v, want the one before %v", s, from, m, last, want[i])
		}
		if last, ok := s.Latest(m, m.Add(step)); i >= 0 && ok == want[i].After(m.Add(step)) {
			t.Fatalf("%s in (%v, %v]: %v %v, want %v", s, m, m.Add(step), last, ok, want[i])
		}
	}
}

// What one would write on the kitchen calendar for the two odd nights in Berlin.
func TestOddNights(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	for _, c := range []struct {
		s     Schedule
		after string
		until string
		want  string // hours of UTC offset tell the two passes apart
	}{
		{Daily([]time.Duration{2*time.Hour + 30*time.Minute}, 0), "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 03:00+2, 30 02:30+2"},
		{Daily([]time.Duration{2*time.Hour + 30*time.Minute, 2 * time.Hour, 3 * time.Hour}, 0), "2026-03-29 00:00:00", "2026-03-29 12:00:00", "29 03:00+2"},
		{Daily([]time.Duration{2*time.Hour + 30*time.Minute}, 0), "2026-10-24 12:00:00", "2026-10-26 12:00:00", "25 02:30+2, 26 02:30+1"},
		{Daily([]time.Duration{2*time.Hour + 30*time.Minute}, weekdays(t, "sun")), "2026-10-20 12:00:00", "2026-11-01 12:00:00", "25 02:30+2, 01 02:30+1"},
		{everyOf(t, time.Hour), "2026-03-29 00:30:00", "2026-03-29 04:30:00", "29 01:00+1, 29 03:00+2, 29 04:00+2"},
		{everyOf(t, time.Hour), "2026-10-25 00:30:00", "2026-10-25 04:30:00", "25 01:00+2, 25 02:00+2, 25 02:00+1, 25 03:00+1, 25 04:00+1"},
		{everyOf(t, 2*time.Hour), "2026-10-25 00:30:00", "2026-10-25 04:30:00", "25 02:00+2, 25 04:00+1"},
		{everyOf(t, 2*time.Hour), "2026-03-29 00:30:00", "2026-03-29 04:30:00", "29 03:00+2, 29 04:00+2"},
		{everyOf(t, 7*time.Hour), "2026-10-25 00:00:00", "2026-10-26 00:00:00", "25 07:00+1, 25 14:00+1, 25 21:00+1, 26 00:00+1"},
		{cronOf(t, "30 2 * * *"), "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 03:00+2, 30 02:30+2"},
		{cronOf(t, "30 2 * * *"), "2026-10-24 12:00:00", "2026-10-26 12:00:00", "25 02:30+2, 26 02:30+1"},
		{cronOf(t, "*/30 * * * *"), "2026-03-29 01:00:00", "2026-03-29 04:00:00", "29 01:30+1, 29 03:00+2, 29 03:30+2, 29 04:00+2"},
		{cronOf(t, "*/30 * * * *"), "2026-10-25 01:30:00", "2026-10-25 03:00:00", "25 02:00+2, 25 02:30+2, 25 02:00+1, 25 02:30+1, 25 03:00+1"},
		{cronOf(t, "15 * * * *"), "2026-03-29 01:00:00", "2026-03-29 04:00:00", "29 01:15+1, 29 03:15+2"},
		{cronOf(t, "@hourly"), "2026-10-25 01:30:00", "2026-10-25 03:00:00", "25 02:00+2, 25 02:00+1, 25 03:00+1"},
		{cronOf(t, "*/30 2 * * *"), "2026-10-25 01:30:00", "2026-10-25 12:00:00", "25 02:00+2, 25 02:30+2"},
		{cronOf(t, "*/30 2 * * *"), "2026-03-29 01:30:00", "2026-03-29 12:00:00", "29 03:00+2"},
		{cronOf(t, "0 */2 * * *"), "2026-10-25 01:30:00", "2026-10-25 05:00:00", "25 02:00+2, 25 04:00+1"},
	} {
		var got []string
		until := moment(t, berlin, c.until)
		for m, _ := c.s.Next(moment(t, berlin, c.after)); !m.After(until); m, _ = c.s.Next(m) {
			got = append(got, strings.Replace(m.Format("02 15:04-07"), "+0", "+", 1))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: %s, want %s", c.s, got, c.want)
		}
	}
}

func TestMidnight(t *testing.T) {
	for _, c := range []struct{ zone, t, want string }{
		{"Europe/Berlin", "2026-03-10 00:00:00", "2026-03-11 00:00:00"},
		{"Europe/Berlin", "2026-03-28 23:59:59", "2026-03-29 00:00:00"},
		{"America/Sao_Paulo", "2017-10-14 12:00:00", "2017-10-15 01:00:00"}, // no 00:00
		{"America/Sao_Paulo", "2018-02-17 22:00:00", "2018-02-18 00:00:00"}, // 23:00 twice
		{"Asia/Beirut", "2021-03-27 12:00:00", "2021-03-28 01:00:00"},
		{"America/Havana", "2020-11-01 00:00:00", "2020-11-02 00:00:00"}, // 00:00 twice: the first
		{"Pacific/Apia", "2011-12-29 12:00:00", "2011-12-31 00:00:00"},
	} {
		loc := zone(t, c.zone)
		if got := Midnight(moment(t, loc, c.t)); !got.Equal(moment(t, loc, c.want)) || got.Format("2006-01-02 15:04:05") != c.want {
			t.Errorf("%s %s: %v, want %s", c.zone, c.t, got, c.want)
		}
	}
}

// An ordinary year of crontabs.
func TestCron(t *testing.T) {
	loc := zone(t, "Europe/Berlin")
	for _, c := range []struct{ text, after, want string }{
		{"30 7 * * *", "2026-03-10 07:29:59", "2026-03-10 07:30:00"},
		{"30 7 * * *", "2026-03-10 07:30:00", "2026-03-11 07:30:00"},
		{"30 7 * * mon-fri", "2026-03-13 08:00:00", "2026-03-16 07:30:00"},
		{"0 9 1 * *", "2026-03-10 00:00:00", "2026-04-01 09:00:00"},
		{"0 9 1 * mon", "2026-03-10 00:00:00", "2026-03-16 09:00:00"}, // either
		{"0 9 */2 * mon", "2026-03-10 00:00:00", "2026-03-23 09:00:00"},
		{"0 9 29 2 *", "2096-03-01 00:00:00", "2104-02-29 09:00:00"},
		{"0 9 ? 2-3 7", "2026-03-31 00:00:00", "2027-02-07 09:00:00"},
		{"0 9 * * fri-sun", "2026-03-09 00:00:00", "2026-03-13 09:00:00"},
		{"0 9 * * 6-7", "2026-03-14 10:00:00", "2026-03-15 09:00:00"},
		{"*/15 8-18 * * *", "2026-03-10 18:45:00", "2026-03-11 08:00:00"},
		{"*/10 * * * * *", "2026-03-10 18:45:01", "2026-03-10 18:45:10"},
		{"59 59 23 31 DEC *", "2026-03-10 18:45:01", "2026-12-31 23:59:59"},
		{"@monthly", "2026-03-10 18:45:01", "2026-04-01 00:00:00"},
		{"@Yearly", "2026-03-10 18:45:01", "2027-01-01 00:00:00"},
		{"@weekly", "2026-03-10 18:45:01", "2026-03-15 00:00:00"},
	} {
		s := cronOf(t, c.text)
		after, want := moment(t, loc, c.after), moment(t, loc, c.want)
		if got, ok := s.Next(after); !ok || !got.Equal(want) {
			t.Errorf("%s after %s: %v, want %s", c.text, c.after, got, c.want)
		}
		if got, ok := s.Latest(after, want); !ok || !got.Equal(want) {
			t.Errorf("%s up to %s: %v", c.text, c.want, got)
		}
		if got, ok := s.Latest(after, want.Add(-1)); ok {
			t.Errorf("%s up to just before %s: %v", c.text, c.want, got)
		}
	}
	// 29 February is a Monday every 28 years, but for the centuries.
	s, err := Cron("0 9 29 2 *", weekdays(t, "mon"))
	got, ok := must(t, s, err).Next(moment(t, loc, "2072-03-01 00:00:00"))
	if !ok || got.Format(time.DateOnly) != "2112-02-29" {
		t.Error("the Monday of 29 February after 2072:", got)
	}
}

func TestWrong(t *testing.T) {
	parse := map[string]func(string) error{
		"cron": func(s string) error { _, err := Cron(s, 0); return err },
		"sun":  func(s string) error { _, err := ParseSun(s); return err },
		"date": func(s string) error { _, err := ParseDateSpan(s); return err },
		"time": func(s string) error { _, err := ParseTimeOfDay(s); return err },
		"span": func(s string) error { _, err := ParseWindow(s); return err },
	}
	for _, c := range []struct{ what, text, want string }{
		{"cron", "", `want five fields, minute hour day month weekday, such as "30 7 * * mon-fri"`},
		{"cron", "* * * *", "want five fields"},
		{"cron", "* * * * * * *", "want five fields"},
		{"cron", "61 * * * *", `the minute is "61": want 0 to 59`},
		{"cron", "0 24 * * *", `the hour is "24": want 0 to 23`},
		{"cron", "0 0 0 * *", `the day of month is "0": want 1 to 31`},
		{"cron", "0 0 * 13 *", `the month is "13": want 1 to 12`},
		{"cron", "0 0 * * 8", `the weekday is "8": want 0 to 6`},
		{"cron", "0 0 * * monday", `the weekday is "monday": want 0 to 6 or sun to sat`},
		{"cron", "60 0 0 * * *", `the second is "60": want 0 to 59`},
		{"cron", "5-1 * * * *", `the minute is "5-1"`},
		{"cron", "*/90 * * * *", `the minute is "*/90": want a step of 1 to 59`},
		{"cron", "*/0 * * * *", "want a step of 1 to 59"},
		{"cron", "*-5 * * * *", `the minute is "*-5"`},
		{"cron", ", * * * *", `the minute is ","`},
		{"cron", "+5 * * * *", `the minute is "+5"`},
		{"cron", "0 0 L * *", `the day of month is "l"`},
		{"cron", "0 0 31 2 *", "this never comes"},
		{"cron", "0 0 30 2,2 *", "this never comes"},
		{"cron", "@every 5m", `every = "15m"`},
		{"cron", "@reboot", "start = true"},
		{"cron", "@fortnightly", "want @hourly, @daily"},
		{"cron", "CRON_TZ=Mars/X * * * * *", "leave out TZ="},
		{"cron", "TZ=", "leave out TZ="},
		{"sun", "", "want sunrise, sunset, dawn, dusk or noon"},
		{"sun", "sundown", `such as "sunset-15m"`},
		{"sun", "Sunset", `such as "sunset-15m"`},
		{"sun", "sunset-", `the offset: want a duration such as "15m"`},
		{"sun", "sunset-15", `the offset: want a duration`},
		{"sun", "sunset--15m", `the offset: want a duration`},
		{"sun", "sunset+13h", `want an offset of at most 12h, such as "sunset-15m"`},
		{"date", "", `want a date such as "12-24"`},
		{"date", "24.12.", `want a date such as "12-24"`},
		{"date", "24-12", "there is no 24-12; the month comes before the day"},
		{"date", "02-30", "there is no 02-30"},
		{"date", "2026-02-29", "there is no 2026-02-29"},
		{"date", "26-12-24", `want a date such as "12-24"`},
		{"date", "0000-12-24", `want a date such as "12-24"`},
		{"date", "12-24..2027-01-06", "want a year in both dates or in neither"},
		{"date", "2027-01-06..2026-12-24", "the span ends before it begins"},
		{"date", "12-24..", `want a date such as "12-24"`},
		{"date", "-12-24", `want a date`},
		{"time", "7", `want a time of day such as "07:00"`},
		{"time", "7:5", `want a time of day such as "07:00"`},
		{"time", "24:01", `want a time of day such as "07:00"`},
		{"time", "07:00:60", `want a time of day such as "07:00"`},
		{"time", "-7:00", `want a time of day such as "07:00"`},
		{"span", "16:00", `want a span of time of day such as "16:00-23:00"`},
		{"span", "16-23", `want a span of time of day such as "16:00-23:00"`},
		{"span", "16:00-16:00", "the span is empty: it begins when it ends"},
		{"span", "24:00-00:00", "the span is empty: it begins when it ends"},
	} {
		if err := parse[c.what](c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, want %q", c.what, c.text, err, c.want)
		}
	}
	for _, d := range []time.Duration{0, time.Second - 1, 24*time.Hour + 1, -time.Hour} {
		if _, err := Every(d, 0); err == nil || !strings.Contains(err.Error(), "want at least") {
			t.Errorf("every %v: %v", d, err)
		}
	}
}

type words struct {
	Time  Times    `toml:"time"`
	Dates Dates    `toml:"dates"`
	Days  Days     `toml:"days"`
	Span  Window   `toml:"span"`
	Sun   SunEvent `toml:"sun"`
}

func TestDecode(t *testing.T) {
	var w words
	doc := config.Parse("x.toml", []byte(`
time = ["07:00", "19:30:15"]
dates = ["12-01..01-06", "2026-03-10"]
days = "sat-mon"
span = "22:00-6:00"
sun = "sunset - 15m"
`), &w)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(w.Time, w.Dates, w.Days, w.Span, w.Sun), "07:00,19:30:15 12-01..01-06,2026-03-10 mon,sat,sun 22:00-06:00 sunset-15m"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	w = words{}
	doc = config.Parse("x.toml", []byte(`
time = "07:00"
dates = "12-24"
`), &w)
	if doc.Err() != nil || len(w.Time) != 1 || len(w.Dates) != 1 || w.Span.Set() || w.Days != 0 {
		t.Error(doc.Err(), w)
	}
	doc = config.Parse("x.toml", []byte(`
time = ["7", "24:00", 7, 07:00:00]
dates = []
days = "mon-funday"
span = 5
sun = true
`), &w)
	var got []string
	for _, m := range doc.Mistakes() {
		got = append(got, m.String())
	}
	const want = `x.toml:2:9: time[1] = "7": want a time of day such as "07:00"
x.toml:2:14: time[2] = "24:00": want a time of day before 24:00; the midnight that ends a day is "00:00" of the next
x.toml:2:23: time[3] = 7: want a time of day such as "07:00"
x.toml:2:26: time[4] = 07:00: want a time of day such as "07:00"
x.toml:3:9: dates = []: want at least one date such as "12-24"
x.toml:4:8: days = "mon-funday": want weekdays such as "mon-fri" or "sat,sun"
x.toml:5:8: span = 5: want a span of time of day such as "16:00-23:00"
x.toml:6:7: sun = true: want sunrise, sunset, dawn, dusk or noon, with an offset such as "sunset-15m"`
	if got := strings.Join(got, "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestHolds(t *testing.T) {
	at := func(text string) time.Time { return moment(t, time.UTC, text) }
	for _, c := range []struct {
		span, at string
		want     bool
	}{
		{"16:00-23:00", "2026-03-10 16:00:00", true},
		{"16:00-23:00", "2026-03-10 15:59:59", false},
		{"16:00-23:00", "2026-03-10 23:00:00", false},
		{"22:00-06:00", "2026-03-10 05:59:59", true},
		{"22:00-06:00", "2026-03-10 06:00:00", false},
		{"22:00-24:00", "2026-03-10 23:59:59", true},
		{"24:00-06:00", "2026-03-10 00:00:00", true},
		{"00:00-24:00", "2026-03-10 00:00:00", true},
	} {
		w, err := ParseWindow(c.span)
		if err != nil || !w.Set() || w.Holds(at(c.at)) != c.want {
			t.Error(c, err)
		}
	}
	for _, c := range []struct {
		dates, day string
		want       bool
	}{
		{"12-24", "2026-12-24", true},
		{"12-24", "2026-12-25", false},
		{"12-01..01-06", "2026-12-01", true},
		{"12-01..01-06", "2027-01-06", true},
		{"12-01..01-06", "2027-01-07", false},
		{"12-01..01-06", "2026-11-30", false},
		{"3-1 .. 3-31", "2026-03-31", true},
		{"02-29", "2028-02-29", true},
		{"02-20..02-29", "2027-02-28", true},
		{"02-20..02-29", "2027-03-01", false},
		{"2026-12-24", "2026-12-24", true},
		{"2026-12-24", "2027-12-24", false},
		{"2026-12-24..2027-01-06", "2026-12-31", true},
		{"2026-12-24..2027-01-06", "2027-12-31", false},
	} {
		s, err := ParseDateSpan(c.dates)
		if d := (Dates{s}); err != nil || d.Holds(at(c.day+" 12:00:00")) != c.want {
			t.Error(c, err)
		}
	}
	if (Dates{}).Set() || !(Dates{}).Holds(at("2026-01-01 00:00:00")) {
		t.Error("no dates are every day")
	}
}

// Sunrise and sunset are within ten seconds of NOAA's; a minute is asked for.
// testdata/noaa.txt says where its values come from.
func TestSunAgainstNOAA(t *testing.T) {
	src, err := os.ReadFile("testdata/noaa.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows, worst := 0, time.Duration(0)
	for line := range strings.Lines(string(src)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if line[0] == '#' || len(f) != 7 {
			continue
		}
		rows++
		loc := zone(t, f[3])
		p := Place{Known: true}
		p.Latitude, _ = strconv.ParseFloat(f[1], 64)
		p.Longitude, _ = strconv.ParseFloat(f[2], 64)
		midnight := moment(t, loc, f[4]+" 00:00:00")
		for i, name := range []string{"sunrise", "sunset"} {
			got, ok := Sun(SunEvent{Name: name}, nil, p, 0).Next(midnight)
			want := moment(t, loc, f[4]+" "+f[5+i])
			off := got.Sub(want).Abs()
			if !ok || off > 10*time.Second {
				t.Errorf("%s of %s in %s: %v, want %v", name, f[4], f[0], got, want)
			}
			worst = max(worst, off)
		}
	}
	if rows < 50 {
		t.Errorf("only %d rows", rows)
	}
	t.Logf("%d dates and places, at most %v off", rows, worst)
}

var (
	berlin       = Place{52.52, 13.405, true}
	tromso       = Place{69.6492, 18.9553, true}
	longyearbyen = Place{78.2232, 15.6267, true}
	mcmurdo      = Place{-77.8419, 166.6863, true}
)

// The porch of P19: Berlin, 10 March 2026, sunset about 18:00.
func TestSunOfOneDay(t *testing.T) {
	loc := zone(t, "Europe/Berlin")
	morning := moment(t, loc, "2026-03-10 00:00:00")
	six, high := -6.0, 20.0
	for _, c := range []struct {
		text      string
		elevation *float64
		days      Days
		want      string
	}{
		{"sunrise", nil, 0, "03-10 06:32"},
		{"sunset", nil, 0, "03-10 18:01"},
		{"sunset - 1h", nil, 0, "03-10 17:01"},
		{"sunset+6h30m", nil, 0, "03-10 00:29"}, // of the day before
		{"sunset", &six, 0, "03-10 18:35"},
		{"dusk", nil, 0, "03-10 18:35"},
		{"dawn", nil, 0, "03-10 05:58"},
		{"sunrise", &high, 0, "03-10 09:00"},
		{"noon", nil, 0, "03-10 12:16"},
		{"sunset", nil, weekdays(t, "sun"), "03-15 18:10"},
	} {
		e, err := ParseSun(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := Sun(e, c.elevation, berlin, c.days).Next(morning)
		if !ok || got.Format("01-02 15:04") != c.want {
			t.Errorf("%s: %v, want %s", Sun(e, c.elevation, berlin, c.days), got, c.want)
		}
	}
	high = 80
	for _, s := range []Schedule{Sun(SunEvent{Name: "sunset"}, &high, berlin, 0), Sun(SunEvent{Name: "sunset"}, nil, Place{}, 0)} {
		if got, ok := s.Next(morning); ok {
			t.Errorf("%s came: %v", s, got)
		}
		if got, ok := s.Latest(time.Unix(0, 0), morning); ok {
			t.Errorf("%s came: %v", s, got)
		}
	}
	if Down(morning, Place{}, nil) {
		t.Error("down at no place")
	}
}

// Over ten years each event comes at most once a local day; in Berlin exactly
// once, near the poles not in the polar day and night. At sunset the sun is down,
// a second before it is not.
func TestSunOverYears(t *testing.T) {
	for _, c := range []struct {
		name   string
		place  Place
		zone   string
		lo, hi int // events in ten years
	}{
		{"Berlin", berlin, "Europe/Berlin", 3652, 3653},
		{"Lord Howe", Place{-31.5553, 159.0821, true}, "Australia/Lord_Howe", 3652, 3653},
		{"Sao Paulo", Place{-23.5505, -46.6333, true}, "America/Sao_Paulo", 3652, 3653},
		{"Kiritimati", Place{1.8721, -157.4278, true}, "Pacific/Kiritimati", 3652, 3653},
		{"Tromsø", tromso, "Europe/Oslo", 2400, 2500},
		{"Longyearbyen", longyearbyen, "Arctic/Longyearbyen", 1200, 1400},
		{"McMurdo", mcmurdo, "Antarctica/McMurdo", 1200, 1400},
		{"the Pole", Place{-90, 0, true}, "Antarctica/McMurdo", 1, 10}, // most years the one sunset is in no evening
	} {
		loc := zone(t, c.zone)
		start, end := moment(t, loc, "2009-01-01 00:00:00"), moment(t, loc, "2019-01-01 00:00:00")
		for _, name := range []string{"sunrise", "sunset"} {
			s := Sun(SunEvent{Name: name}, nil, c.place, 0)
			n, before := 0, start
			for {
				m, ok := s.Next(before)
				if !ok || !m.Before(end) {
					break
				}
				n++
				if !m.After(before) || m.Format(time.DateOnly) == before.Format(time.DateOnly) && n > 1 {
					t.Errorf("%s, %s: %v after %v", c.name, name, m, before)
				}
				if Down(m, c.place, nil) != (name == "sunset") || Down(m.Add(-time.Second), c.place, nil) == (name == "sunset") {
					t.Errorf("%s: the sun does not turn at %s, %v", c.name, name, m)
				}
				before = m
			}
			if n < c.lo || n > c.hi {
				t.Errorf("%s: %d times %s, want %d to %d", c.name, n, name, c.lo, c.hi)
			}
		}
	}
}

func TestPolarDayAndNight(t *testing.T) {
	for _, c := range []struct {
		place             Place
		zone, after, want string // the next sunset
	}{
		{tromso, "Europe/Oslo", "2026-05-25 12:00:00", "07-2"},               // no night until the end of July
		{tromso, "Europe/Oslo", "2026-12-01 12:00:00", "01-1"},               // no day until the middle of January
		{longyearbyen, "Arctic/Longyearbyen", "2026-06-21 00:00:00", "08-2"}, // four months of day
		{longyearbyen, "Arctic/Longyearbyen", "2026-12-21 00:00:00", "02-1"}, // and of night
		{mcmurdo, "Antarctica/McMurdo", "2026-12-21 00:00:00", "02-2"},       // the other way round
		{mcmurdo, "Antarctica/McMurdo", "2026-06-21 00:00:00", "08-"},        //
	} {
		loc := zone(t, c.zone)
		got, ok := Sun(SunEvent{Name: "sunset"}, nil, c.place, 0).Next(moment(t, loc, c.after))
		if !ok || !strings.HasPrefix(got.Format("01-02"), c.want) {
			t.Errorf("after %s in %s: %v, want %s", c.after, c.zone, got, c.want)
		}
	}
}

// Corners of the earth and of the calendar: every search ends, and what it finds
// is later. Only the sun may have nothing to find.
func TestCorners(t *testing.T) {
	places := []Place{
		{90, 0, true}, {-90, 180, true}, {90, -180, true}, {0, 180, true}, {0, -180, true}, {89.9999, 13, true}, {66.56, 25, true},
		{math.NaN(), math.Inf(1), true},
	}
	never, always := 90.0, -90.0
	for _, name := range []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "America/Sao_Paulo", "Africa/Casablanca"} {
		loc := zone(t, name)
		schedules := []Schedule{
			Daily([]time.Duration{0, 24*time.Hour - time.Second}, 0), everyOf(t, time.Second), everyOf(t, 24*time.Hour), everyOf(t, 7*time.Hour),
			cronOf(t, "0 0 29 2 *"), cronOf(t, "*/30 * 29 2 *"), cronOf(t, "* * * * * *"),
		}
		for _, p := range places {
			for _, event := range []string{"sunrise", "sunset", "noon"} {
				schedules = append(schedules, Sun(SunEvent{event, 12 * time.Hour}, nil, p, 0))
			}
			schedules = append(schedules, Sun(SunEvent{Name: "sunset"}, &never, p, 1), Sun(SunEvent{Name: "sunrise"}, &always, p, 64))
		}
		for _, from := range []time.Time{
			{}, time.Unix(0, 0), time.Unix(1, 1), time.Date(1969, 12, 31, 23, 59, 59, 1, loc), time.Date(2040, 12, 31, 12, 0, 0, 0, loc),
			time.Date(9999, 12, 31, 23, 59, 59, 999, loc), time.Date(10004, 12, 31, 1, 0, 0, 0, loc),
		} {
			from = from.In(loc)
			for _, s := range schedules {
				next, ok := s.Next(from)
				if _, sun := s.(sun); !ok && !sun || ok && !next.After(from) {
					t.Errorf("%s after %v: %v, %v", s, from, next, ok)
				}
				if last, found := s.Latest(from, next); ok && (!found || !last.Equal(next)) {
					t.Errorf("%s in (%v, %v]: %v", s, from, next, last)
				}
			}
			if !Midnight(from).After(from) {
				t.Errorf("midnight after %v: %v", from, Midnight(from))
			}
		}
	}
}

// anySchedule draws a schedule of any kind, a zone and a moment, as often as not
// near a change of the clock.
func anySchedule(t *rapid.T) (Schedule, time.Time) {
	c := rapid.SampledFrom(decades).Draw(t, "zone")
	loc, err := time.LoadLocation(c.zone)
	if err != nil {
		t.Fatal(err)
	}
	m := time.Date(c.first, 1, 1, 0, 0, 0, 0, loc).Add(time.Duration(rapid.Int64Range(0, 10*365*86400).Draw(t, "second")) * time.Second)
	if _, change := m.ZoneBounds(); !change.IsZero() && rapid.Bool().Draw(t, "near a change") {
		m = change.Add(time.Duration(rapid.Int64Range(-30*3600, 30*3600).Draw(t, "from it")) * time.Second)
	}
	days := Days(rapid.Byte().Draw(t, "days") & 127)
	var s Schedule
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		var list []time.Duration
		for range rapid.IntRange(1, 4).Draw(t, "times") {
			list = append(list, time.Duration(rapid.IntRange(0, 24*12-1).Draw(t, "time"))*5*time.Minute)
		}
		s = Daily(list, days)
	case 1:
		d := rapid.SampledFrom([]time.Duration{time.Hour, 15 * time.Minute, 20 * time.Minute, 40 * time.Minute, 7 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour + time.Second}).Draw(t, "every")
		s, err = Every(d, days)
	case 2:
		spec := rapid.SampledFrom([]string{"30 2 * * *", "*/20 * * * *", "0 * * * *", "5 0 1 * mon", "15 */2 * * *", "*/30 0-3 * * *", "17 0 9 29 2 *", "15,45 * * * 6,7", "0 1-23 * * *"}).Draw(t, "cron")
		if s, err = Cron(spec, days); err != nil { // never on such days
			s, err = Cron(spec, 0)
		}
	case 3:
		p := Place{rapid.Float64Range(-90, 90).Draw(t, "latitude"), rapid.Float64Range(-180, 180).Draw(t, "longitude"), true}
		e := SunEvent{rapid.SampledFrom([]string{"sunrise", "sunset", "dawn", "dusk", "noon"}).Draw(t, "event"), time.Duration(rapid.IntRange(-720, 720).Draw(t, "offset")) * time.Minute}
		s = Sun(e, nil, p, days)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, m
}

// Next and Latest tell of the same moments, in order, wherever one begins to ask:
// cutting a span in two changes nothing.
func TestNextAndLatestAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, start := anySchedule(t)
		var moments []time.Time
		for m := start; len(moments) < 12; {
			next, ok := s.Next(m)
			if !ok {
				break
			}
			if !next.After(m) {
				t.Fatalf("%s: %v after %v", s, next, m)
			}
			if last, ok := s.Latest(m, next); !ok || !last.Equal(next) || last.Location() != m.Location() {
				t.Fatalf("%s: latest in (%v, %v] is %v", s, m, next, last)
			}
			if last, ok := s.Latest(m, next.Add(-1)); ok {
				t.Fatalf("%s: latest in (%v, %v) is %v", s, m, next, last)
			}
			between := m.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(m)-1)).Draw(t, "between")))
			if again, ok := s.Next(between); !ok || !again.Equal(next) {
				t.Fatalf("%s: %v after %v, but %v after %v", s, next, m, again, between)
			}
			moments = append(moments, next)
			m = next
		}
		if n := len(moments); n > 0 {
			to := moments[n-1].Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "more")))
			want := moments[n-1]
			if next, ok := s.Next(want); ok && !next.After(to) {
				want = next
			}
			if got, ok := s.Latest(start, to); !ok || !got.Equal(want) {
				t.Fatalf("%s: latest in (%v, %v] is %v, want %v", s, start, to, got, want)
			}
		}
	})
}

// A hub that was off since 1970 is told the newest moment all the same.
func TestLatestOfALongAbsence(t *testing.T) {
	loc := zone(t, "Europe/Berlin")
	now := moment(t, loc, "2026-03-10 12:00:00")
	for s, want := range map[Schedule]string{
		everyOf(t, time.Second):                       "2026-03-10 12:00:00",
		everyOf(t, 7*time.Hour):                       "2026-03-10 07:00:00",
		cronOf(t, "* * * * * *"):                      "2026-03-10 12:00:00",
		cronOf(t, "0 0 29 2 *"):                       "2024-02-29 00:00:00",
		Sun(SunEvent{Name: "sunset"}, nil, berlin, 0): "2026-03-09 17:59:51",
	} {
		got, ok := s.Latest(time.Unix(0, 0).In(loc), now)
		if off := got.Sub(moment(t, loc, want)).Abs(); !ok || off > 10*time.Second || off != 0 && !strings.HasPrefix(s.String(), "sun") {
			t.Errorf("%s: %v, want %s", s, got, want)
		}
		if got, ok := s.Latest(now, now); ok {
			t.Errorf("%s: %v in an empty span", s, got)
		}
	}
}

func TestStrings(t *testing.T) {
	ten := 10.0
	for want, s := range map[string]Schedule{
		"07:00,19:30 on mon,fri":   Daily([]time.Duration{clockOf(t, "19:30"), clockOf(t, "07:00"), clockOf(t, "07:00")}, weekdays(t, "fri,mon")),
		"every 1h30m":              everyOf(t, 90*time.Minute),
		"30 7 * * mon":             cronOf(t, " 30  7 * * mon"),
		"sunset-15m at 10 degrees": Sun(SunEvent{"sunset", -15 * time.Minute}, &ten, berlin, 0),
		"dawn+1h on sat":           Sun(SunEvent{"dawn", time.Hour}, nil, berlin, weekdays(t, "sat")),
	} {
		if s.String() != want {
			t.Errorf("%s, want %s", s, want)
		}
	}
	if m, ok := Daily(nil, 0).Next(time.Unix(0, 0)); ok {
		t.Error("no times came at", m)
	}
}

// Whatever is accepted comes, strictly later, and Latest finds it again.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"*/15 8-18 * * mon-fri", "0 0 29 2 *", "@hourly", "30 2 * * 7", "TZ=", "*/10 0 0 1,15 jan-mar fri-sun", "0 0 31 2 *"} {
		f.Add(s, int64(1793000000))
	}
	loc := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string, sec int64) {
		s, err := Cron(text, 0)
		if err != nil {
			if strings.HasPrefix(err.Error(), "the ") || strings.HasPrefix(err.Error(), "want ") || strings.HasPrefix(err.Error(), "this ") {
				return
			}
			t.Fatalf("%q: %v", text, err)
		}
		after := time.Unix(sec%(1<<32), 0).In(loc)
		next, ok := s.Next(after)
		if !ok || !next.After(after) {
			t.Fatalf("%q after %v: %v", text, after, next)
		}
		if last, ok := s.Latest(after, next); !ok || !last.Equal(next) {
			t.Fatalf("%q: %v, not %v", text, last, next)
		}
	})
}

func FuzzSun(f *testing.F) {
	for _, s := range []string{"sunset-15m", "sunrise + 1h30m", "noon", "dusk-0s", "dawn+12h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseSun(text)
		if err != nil {
			return
		}
		if again, err := ParseSun(e.String()); err != nil || again != e {
			t.Fatalf("%q is %v, then %v, %v", text, e, again, err)
		}
	})
}

func FuzzDates(f *testing.F) {
	for _, s := range []string{"12-24", "12-01..01-06", "2026-12-24", "2026-12-24..2027-01-06", "02-29"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseDateSpan(text)
		if err != nil {
			return
		}
		if again, err := ParseDateSpan(s.String()); err != nil || again != s {
			t.Fatalf("%q is %v, then %v, %v", text, s, again, err)
		}
		year := s.From.Year
		if year == 0 {
			year = 2028
		}
		if !s.Holds(time.Date(year, s.From.Month, s.From.Day, 0, 0, 0, 0, time.UTC)) {
			t.Fatalf("%v does not hold on its first day", s)
		}
	})
}

func FuzzWindow(f *testing.F) {
	for _, s := range []string{"16:00-23:00", "22:00-6:00", "00:00-24:00", "7:30:15 - 8:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWindow(text)
		if err != nil {
			return
		}
		if again, err := ParseWindow(w.String()); err != nil || again != w || !w.Set() {
			t.Fatalf("%q is %v, then %v, %v", text, w, again, err)
		}
	})
}

func FuzzDays(f *testing.F) {
	for _, s := range []string{"mon-fri", "sat,sun", "fri-mon", "Mon , wed-thu", "monday"} {
		f.Add(s)
	}
	read := func(text string) (Days, error) {
		var d struct {
			D Days `toml:"d"`
		}
		err := config.Parse("x", []byte("d = "+strconv.Quote(text)), &d).Err()
		return d.D, err
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := read(text)
		if err != nil {
			return
		}
		if again, err := read(d.String()); err != nil || again != d || d == 0 {
			t.Fatalf("%q is %v, then %v, %v", text, d, again, err)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	for _, s := range []Schedule{
		Daily([]time.Duration{7 * time.Hour}, 0), everyOf(b, 15*time.Minute), everyOf(b, 7*time.Hour), cronOf(b, "30 2 * * mon"), cronOf(b, "*/5 * * * *"),
		cronOf(b, "0 0 29 2 *"), Sun(SunEvent{Name: "sunset"}, nil, berlin, 0), Sun(SunEvent{Name: "sunset"}, nil, longyearbyen, 0),
	} {
		b.Run(strings.ReplaceAll(s.String(), "/", "÷"), func(b *testing.B) {
			b.ReportAllocs()
			m := time.Date(2026, 3, 10, 12, 0, 0, 0, loc)
			for b.Loop() {
				s.Next(m)
			}
		})
	}
	never := 80.0
	b.Run("never", func(b *testing.B) {
		s := Sun(SunEvent{Name: "sunset"}, &never, berlin, 0)
		for b.Loop() {
			s.Next(time.Date(2026, 3, 10, 12, 0, 0, 0, loc))
		}
	})
}

func BenchmarkLatestOfYears(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	from, to := time.Unix(0, 0).In(loc), time.Date(2026, 3, 10, 12, 0, 0, 0, loc)
	for _, s := range []Schedule{everyOf(b, time.Second), Sun(SunEvent{Name: "sunset"}, nil, berlin, 0)} {
		b.Run(s.String(), func(b *testing.B) {
			for b.Loop() {
				s.Latest(from, to)
			}
		})
	}
}
