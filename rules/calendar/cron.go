package calendar

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Cron is a crontab entry on these weekdays: five fields, minute hour
// day-of-month month day-of-week, or six with the second before them. A field is
// *, a number, a range, a list, with /n every nth: "*/15 8-18 * * mon-fri".
// Sunday is 0, 7 or sun. @hourly, @daily, @midnight, @weekly, @monthly, @yearly
// and @annually are short for one.
//
// As in Vixie's cron a day matches when day-of-month and day-of-week both do,
// but where neither begins with * one of them will do: "0 7 1 * mon" is every
// first of the month and every Monday.
//
// When the clock is changed an entry for particular hours is a plan like
// [Daily], each of its times once: "30 2 * * *" is 03:00 where the clock skips
// 02:30, and "*/15 2 * * *" comes four times in autumn. An entry for every hour
// of the day is a rhythm: "*/30 * * * *" comes whenever the clock shows it, the
// doubled hour twice, the skipped one not. Vixie's cron draws the same line, but
// at whether the hour or minute begins with *; so it runs "0 */2 * * *" twice at
// 02:00 in autumn and this does not.
//
// An entry that no date ever matches, such as 30 February, is an error.
func Cron(text string, days Days) (Schedule, error) {
	spec, err := parseCron(text)
	if err != nil {
		return nil, err
	}
	p := plan{
		cronDates{uint32(spec.Dom), uint16(spec.Month), uint8(spec.Dow), spec.either, days},
		cronClocks{spec.Second, spec.Minute, spec.Hour},
		strings.Join(strings.Fields(text), " ") + days.on(),
	}
	if _, ok := p.dates.from(dateOf(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))); !ok {
		return nil, errors.New("this never comes: there is no such day of the month, or not on these weekdays")
	}
	if spec.Hour == 1<<24-1 {
		return rhythm{p, false}, nil
	}
	return p, nil
}

type cronSpec struct {
	cron.SpecSchedule
	either bool // of day of month and day of week one will do
}

// cronParser reads the fields. What comes of them is decided here, for its Next
// would run a daily entry twice in autumn and leave out a day in spring.
var cronParser = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

var cronShort = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

var cronFields = []struct {
	name string
	size int // a step of so many or more would never be taken
	want string
}{
	{"second", 60, `0 to 59, such as "0" or "*/10"`},
	{"minute", 60, `0 to 59, such as "0" or "*/15"`},
	{"hour", 24, `0 to 23, such as "7" or "8-18"`},
	{"day of month", 31, `1 to 31, such as "1,15"`},
	{"month", 12, `1 to 12 or jan to dec, such as "nov,dec,jan-mar"`},
	{"weekday", 7, `0 to 6 or sun to sat, such as "mon-fri"`},
}

var cronItem = regexp.MustCompile(`^(?:\*|\?|([0-9]+|[a-z]+)(?:-([0-9]+|[a-z]+))?)(?:/([0-9]+))?$`)

func parseCron(text string) (cronSpec, error) {
	lower := strings.ToLower(strings.TrimSpace(text))
	switch {
	case strings.HasPrefix(lower, "tz=") || strings.HasPrefix(lower, "cron_tz="):
		return cronSpec{}, errors.New("the zone is that of the house: leave out TZ=")
	case strings.HasPrefix(lower, "@every"):
		return cronSpec{}, errors.New(`want @hourly, @daily or the like; for a span of time there is every = "15m"`)
	case strings.HasPrefix(lower, "@reboot"):
		return cronSpec{}, errors.New(`want @hourly, @daily or the like; for the hub's start there is start = true`)
	case strings.HasPrefix(lower, "@"):
		long, ok := cronShort[lower]
		if !ok {
			return cronSpec{}, errors.New("want @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually")
		}
		lower = long
	}
	fields := strings.Fields(lower)
	if len(fields) == 5 {
		fields = append([]string{"0"}, fields...)
	}
	if len(fields) != 6 {
		return cronSpec{}, errors.New(`want five fields, minute hour day month weekday, such as "30 7 * * mon-fri", or six with the second first`)
	}
	wild := func(i int) bool { return fields[i][0] == '*' || fields[i][0] == '?' }
	spec := cronSpec{either: !wild(3) && !wild(5)}
	for i := range fields {
		if err := readCronField(fields, i, &spec.SpecSchedule); err != nil {
			return cronSpec{}, err
		}
	}
	return spec, nil
}

// readCronField puts field i into spec. Each is read by itself, so that an error
// names it; what the parser takes without a word and nobody means, such as
// "*-5", "," or a step of 90 minutes, is an error too.
func readCronField(fields []string, i int, spec *cron.SpecSchedule) error {
	field, known := fields[i], cronFields[i]
	wrong := fmt.Errorf("the %s is %q: want %s", known.name, field, known.want)
	items := strings.Split(field, ",")
	for j, item := range items {
		m := cronItem.FindStringSubmatch(item)
		if m == nil {
			return wrong
		}
		if m[3] != "" {
			if n, err := strconv.Atoi(m[3]); err != nil || n < 1 || n >= known.size {
				return fmt.Errorf("the %s is %q: want a step of 1 to %d", known.name, field, known.size-1)
			}
		}
		if i == 5 {
			items[j] = sundayLast(item, m)
		}
	}
	alone := []string{"*", "*", "*", "*", "*", "*"}
	alone[i] = strings.Join(items, ",")
	read, err := cronParser.Parse(strings.Join(alone, " "))
	if err != nil {
		return wrong
	}
	const star = 1 << 63 // robfig's mark of a field with *
	one := read.(*cron.SpecSchedule)
	switch i {
	case 0:
		spec.Second = one.Second &^ star
	case 1:
		spec.Minute = one.Minute &^ star
	case 2:
		spec.Hour = one.Hour &^ star
	case 3:
		spec.Dom = one.Dom &^ star
	case 4:
		spec.Month = one.Month &^ star
	case 5:
		spec.Dow = one.Dow &^ star
	}
	return nil
}

// sundayLast lets 7 be Sunday, and a range end with it, as cron does: the parser
// knows 0 alone.
func sundayLast(item string, m []string) string {
	switch from, to, step := m[1], m[2], m[3]; {
	case from == "7" && to == "" && step == "":
		return "0"
	case (to == "7" || to == "sun") && from != "7" && from != "sun" && step == "":
		return from + "-6,0"
	}
	return item
}

// cronDates is the days of an entry.
type cronDates struct {
	dom    uint32
	month  uint16
	dow    uint8
	either bool
	days   Days
}

func (c cronDates) holds(d date, day int) bool {
	dom, dow := c.dom&(1<<day) != 0, c.dow&(1<<d.weekday()) != 0
	return c.days.Holds(d.weekday()) && (dom && dow || c.either && (dom || dow))
}

const longest = 41*365 + 11 // days of 41 years

func (c cronDates) from(d date) (date, bool) {
	for end := d + longest; d < end; {
		year, month, day := d.civil()
		switch {
		case c.month&(1<<month) == 0:
			d = dateOf(time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC))
		case c.holds(d, day):
			return d, true
		default:
			d++
		}
	}
	return 0, false
}

func (c cronDates) back(d date) (date, bool) {
	for end := d - longest; d > end; {
		_, month, day := d.civil()
		switch {
		case c.month&(1<<month) == 0:
			d -= date(day) // the last of the month before
		case c.holds(d, day):
			return d, true
		default:
			d--
		}
	}
	return 0, false
}

// cronClocks is the times of an entry, a bit for each second, minute and hour.
type cronClocks struct{ second, minute, hour uint64 }

func (c cronClocks) from(t time.Duration) (time.Duration, bool) {
	n := int((t + time.Second - 1) / time.Second)
	h, m, s := n/3600, n/60%60, n%60
	if has(c.hour, h) {
		if has(c.minute, m) {
			if s, ok := up(c.second, s); ok {
				return hms(h, m, s), true
			}
		}
		if m, ok := up(c.minute, m+1); ok {
			return hms(h, m, first(c.second)), true
		}
	}
	if h, ok := up(c.hour, h+1); ok {
		return hms(h, first(c.minute), first(c.second)), true
	}
	return 0, false
}

func (c cronClocks) back(t time.Duration) (time.Duration, bool) {
	n := int(t / time.Second)
	h, m, s := n/3600, n/60%60, n%60
	if has(c.hour, h) {
		if has(c.minute, m) {
			if s, ok := down(c.second, s); ok {
				return hms(h, m, s), true
			}
		}
		if m, ok := down(c.minute, m-1); ok {
			return hms(h, m, last(c.second)), true
		}
	}
	if h, ok := down(c.hour, h-1); ok {
		return hms(h, last(c.minute), last(c.second)), true
	}
	return 0, false
}

func hms(h, m, s int) time.Duration {
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
}

func has(set uint64, n int) bool { return set&(1<<n) != 0 }
func first(set uint64) int       { return bits.TrailingZeros64(set) }
func last(set uint64) int        { return bits.Len64(set) - 1 }

// up is the least of the set not below n, down the greatest not above n.
func up(set uint64, n int) (int, bool) {
	set &= ^uint64(0) << n
	return first(set), set != 0
}

func down(set uint64, n int) (int, bool) {
	set &= 1<<(n+1) - 1
	return last(set), set != 0
}
