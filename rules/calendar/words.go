package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"hearth/config"
)

// Times is one or several times of day, since midnight and below 24h, in the
// order written.
type Times []time.Duration

// DecodeTOML takes "07:00" or a list such as ["07:00", "19:30"].
func (t *Times) DecodeTOML(raw any, at config.Place) {
	each(raw, at, `want at least one time of day such as "07:00"`, func(raw any, at config.Place) {
		text, _ := raw.(string)
		d, err := ParseTimeOfDay(text)
		switch {
		case err != nil:
			at.Mistake("%v", err)
		case d == 24*time.Hour:
			at.Mistake(`want a time of day before 24:00; the midnight that ends a day is "00:00" of the next`)
		default:
			*t = append(*t, d)
		}
	})
}

func (t Times) String() string {
	var list []string
	for _, c := range t {
		list = append(list, clock(c))
	}
	return strings.Join(list, ",")
}

// each calls f for raw, or for each element where it is a list.
func each(raw any, at config.Place, empty string, f func(raw any, at config.Place)) {
	list, ok := raw.([]any)
	if !ok {
		f(raw, at)
		return
	}
	if len(list) == 0 {
		at.Mistake("%s", empty)
	}
	for i, e := range list {
		f(e, at.Index(i))
	}
}

var errTimeOfDay = errors.New(`want a time of day such as "07:00"`)

// ParseTimeOfDay reads "7:30", "07:30" or "07:30:15", up to 24:00, and returns
// the time since midnight.
func ParseTimeOfDay(text string) (time.Duration, error) {
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, errTimeOfDay
	}
	limits := []int{24, 59, 59}
	units := []time.Duration{time.Hour, time.Minute, time.Second}
	var d time.Duration
	for i, p := range parts {
		n, ok := digits(p)
		if !ok || len(p) > 2 || i > 0 && len(p) != 2 || n > limits[i] {
			return 0, errTimeOfDay
		}
		d += time.Duration(n) * units[i]
	}
	if d > 24*time.Hour {
		return 0, errTimeOfDay
	}
	return d, nil
}

// digits reads a whole number of one to four digits.
func digits(text string) (int, bool) {
	n := 0
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(text) > 0 && len(text) <= 4
}

// clock is ParseTimeOfDay backwards.
func clock(d time.Duration) string {
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	if s != 0 {
		return fmt.Sprintf("%02d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%02d:%02d", h, m)
}

// A Window is a span of local time of day, half open. The zero Window is unset.
type Window struct {
	From, To time.Duration // since midnight; To before From crosses it
}

// DecodeTOML takes "16:00-23:00".
func (w *Window) DecodeTOML(raw any, at config.Place) {
	text, _ := raw.(string)
	var err error
	if *w, err = ParseWindow(text); err != nil {
		at.Mistake("%v", err)
	}
}

// ParseWindow reads "16:00-23:00", or "22:00-06:00" over midnight.
func ParseWindow(text string) (Window, error) {
	from, to, ok := strings.Cut(text, "-")
	f, err1 := ParseTimeOfDay(from)
	t, err2 := ParseTimeOfDay(to)
	if f == 24*time.Hour {
		f = 0
	}
	switch {
	case !ok || err1 != nil || err2 != nil:
		return Window{}, errors.New(`want a span of time of day such as "16:00-23:00"`)
	case f == t:
		return Window{}, errors.New("the span is empty: it begins when it ends")
	}
	return Window{f, t}, nil
}

// Set says whether a span is given.
func (w Window) Set() bool { return w != Window{} }

// Holds says whether the wall time, in its own location, lies in the span.
func (w Window) Holds(wall time.Time) bool {
	h, m, s := wall.Clock()
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
	if w.From < w.To {
		return d >= w.From && d < w.To
	}
	return d >= w.From || d < w.To
}

func (w Window) String() string { return clock(w.From) + "-" + clock(w.To) }

// Days is a set of weekdays, bit 0 for Sunday; none set means every day.
type Days byte

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// DecodeTOML takes "mon-fri" or "sat,sun".
func (d *Days) DecodeTOML(raw any, at config.Place) {
	text, ok := raw.(string)
	day := func(name string) int {
		name = strings.ToLower(strings.TrimSpace(name))
		for i, n := range dayNames {
			if n == name {
				return i
			}
		}
		ok = false
		return 0
	}
	for _, part := range strings.Split(text, ",") {
		from, to, span := strings.Cut(part, "-")
		i := day(from)
		j := i
		if span {
			j = day(to)
		}
		for *d |= 1 << i; i != j; {
			i = (i + 1) % 7
			*d |= 1 << i
		}
	}
	if !ok {
		at.Mistake(`want weekdays such as "mon-fri" or "sat,sun"`)
	}
}

// Holds says whether the weekday is one of them.
func (d Days) Holds(w time.Weekday) bool { return d == 0 || d&(1<<w) != 0 }

func (d Days) String() string {
	var names []string
	for i := 1; i <= 7; i++ {
		if d&(1<<(i%7)) != 0 {
			names = append(names, dayNames[i%7])
		}
	}
	return strings.Join(names, ",")
}

// Dates is days of the year, or of one year; none means every day.
type Dates []DateSpan

// A DateSpan is the days from one date to another, both included. Year 0 in both
// means every year; To may then be before From, over new year.
type DateSpan struct{ From, To Date }

// A Date is a day of a year, or with Year 0 of every year.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DecodeTOML takes "12-24", "12-01..01-06", "2026-12-24",
// "2026-12-24..2027-01-06" or a list of these.
func (d *Dates) DecodeTOML(raw any, at config.Place) {
	each(raw, at, `want at least one date such as "12-24"`, func(raw any, at config.Place) {
		text, _ := raw.(string)
		span, err := ParseDateSpan(text)
		if err != nil {
			at.Mistake("%v", err)
			return
		}
		*d = append(*d, span)
	})
}

var errDate = errors.New(`want a date such as "12-24" or "2026-12-24", or a span such as "12-01..01-06"`)

// ParseDateSpan reads one date or a span: "12-24", "12-01..01-06",
// "2026-12-24", "2026-12-24..2027-01-06".
func ParseDateSpan(text string) (DateSpan, error) {
	from, to, span := strings.Cut(text, "..")
	var s DateSpan
	var err error
	if s.From, err = parseDate(from); err != nil {
		return DateSpan{}, err
	}
	s.To = s.From
	if span {
		if s.To, err = parseDate(to); err != nil {
			return DateSpan{}, err
		}
	}
	switch {
	case (s.From.Year == 0) != (s.To.Year == 0):
		return DateSpan{}, errors.New(`want a year in both dates or in neither, such as "2026-12-24..2027-01-06" or "12-24..01-06"`)
	case s.From.Year != 0 && s.To.before(s.From):
		return DateSpan{}, errors.New("the span ends before it begins")
	}
	return s, nil
}

func parseDate(text string) (Date, error) {
	text = strings.TrimSpace(text)
	parts := strings.Split(text, "-")
	var d Date
	ok := true
	if len(parts) == 3 {
		d.Year, ok = digits(parts[0])
		ok = ok && len(parts[0]) == 4 && d.Year > 0
		parts = parts[1:]
	}
	if !ok || len(parts) != 2 || len(parts[0]) > 2 || len(parts[1]) > 2 {
		return Date{}, errDate
	}
	month, ok1 := digits(parts[0])
	day, ok2 := digits(parts[1])
	if !ok1 || !ok2 || month < 1 || day < 1 {
		return Date{}, errDate
	}
	d.Month, d.Day = time.Month(month), day
	year := d.Year
	if year == 0 {
		year = 2000 // a leap year: 02-29 is a date, though not of every year
	}
	if last := time.Date(year, d.Month+1, 0, 0, 0, 0, 0, time.UTC).Day(); month > 12 || day > last {
		return Date{}, fmt.Errorf("there is no %s; the month comes before the day, as in \"12-24\"", text)
	}
	return d, nil
}

func (d Date) number() int { return (d.Year*100+int(d.Month))*100 + d.Day }

func (d Date) before(e Date) bool { return d.number() < e.number() }

func (d Date) String() string {
	if d.Year == 0 {
		return fmt.Sprintf("%02d-%02d", d.Month, d.Day)
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Holds says whether the day of the wall time, in its own location, is in the
// span.
func (s DateSpan) Holds(wall time.Time) bool {
	var d Date
	d.Year, d.Month, d.Day = wall.Date()
	if s.From.Year == 0 {
		d.Year = 0
	}
	if s.To.before(s.From) {
		return !d.before(s.From) || !s.To.before(d)
	}
	return !d.before(s.From) && !s.To.before(d)
}

func (s DateSpan) String() string {
	if s.From == s.To {
		return s.From.String()
	}
	return s.From.String() + ".." + s.To.String()
}

// Set says whether any date is given.
func (d Dates) Set() bool { return len(d) > 0 }

// Holds says whether the day of the wall time, in its own location, is one of
// them.
func (d Dates) Holds(wall time.Time) bool {
	for _, s := range d {
		if s.Holds(wall) {
			return true
		}
	}
	return len(d) == 0
}

func (d Dates) String() string {
	var list []string
	for _, s := range d {
		list = append(list, s.String())
	}
	return strings.Join(list, ",")
}
