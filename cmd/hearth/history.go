package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"hearth/config"
	"hearth/control"
	"hearth/devices"
)

type historyCommand struct {
	Names []string `arg:"" optional:"" help:"What to show: heater, hall.temperature, hall for all of it, or a pattern such as \"*.temperature\". None: all that is recorded, with its newest value."`
	stretchFlags
	Every string `placeholder:"5m" help:"In stretches of that length, each with the least, the mean and the greatest value."`
	All   bool   `short:"a" help:"Every reading in the table, however many there are."`

	Chart bool   `help:"As a chart."`
	ASCII bool   `name:"ascii" help:"The chart in plain characters, as in a terminal that has no others (TERM=dumb)."`
	Stats bool   `help:"In numbers: least, mean and greatest value and when, time on, switches, energy."`
	Per   string `placeholder:"day" help:"With --stats: of each hour, day, week or month."`
	CSV   bool   `name:"csv" help:"As CSV."`
	JSON  bool   `name:"json" help:"As JSON, one object a line."`
	hubFlags
}

func (c *historyCommand) Run(ctx context.Context, std streams) error {
	var every time.Duration
	if c.Every != "" {
		d, err := config.ParseDuration(c.Every)
		if err == nil && time.Duration(d) < time.Second {
			err = errors.New("want at least 1s")
		}
		if err != nil {
			return usageError{fmt.Errorf("--every %s: %w", c.Every, err)}
		}
		every = time.Duration(d)
	}
	switch {
	case c.CSV && c.JSON:
		return usageError{errors.New("want either --csv or --json")}
	case c.Chart && (c.CSV || c.JSON || c.Stats || every > 0):
		return usageError{errors.New("--chart goes with --since, --until and --ascii alone: it is as fine as the terminal is wide")}
	case c.Per != "" && periods[c.Per] == nil:
		return usageError{fmt.Errorf("--per %s: want hour, day, week or month", c.Per)}
	case c.Per != "" && !c.Stats:
		return usageError{errors.New("--per goes with --stats")}
	case c.Stats && every > 0:
		return usageError{errors.New("want either --stats, with --per, or --every")}
	}
	past, when, found, err := c.asked(ctx, std, c.stretchFlags, 24*time.Hour, c.Names)
	if err != nil {
		return err
	}
	defer past.close()
	now := time.Now().In(past.zone)
	show := &showing{past: past, out: std.out, stretch: when, every: every, now: now, all: c.All, one: len(found) == 1, fits: terminalWidth(std.out)}
	switch {
	case len(c.Names) == 0 && !c.Stats && !c.Chart && every == 0 && c.Since == "" && c.Until == "":
		return show.list(found, c.CSV, c.JSON)
	case c.Stats:
		return show.stats(ctx, found, c.Per, c.CSV, c.JSON)
	case c.CSV:
		return show.csv(ctx, found)
	case c.JSON:
		return show.json(ctx, found)
	case c.Chart:
		show.width, show.ascii = chartWidth(std.out), c.ASCII || os.Getenv("TERM") == "dumb"
		return show.each(found, func(s control.Series) error { return show.chart(ctx, s) })
	}
	return show.each(found, func(s control.Series) error { return show.table(ctx, s) })
}

// terminalWidth is how many columns a terminal has; 0 of what is none.
func terminalWidth(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return max(0, width)
		}
	}
	return 0
}

// chartWidth is how many columns a chart may have.
func chartWidth(out io.Writer) int {
	if width := terminalWidth(out); width > 0 {
		return width
	}
	if width, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && width > 0 {
		return width
	}
	return screen
}

// A showing is a stretch of a past on its way to a person or a program.
type showing struct {
	past *archive
	out  io.Writer
	stretch
	every time.Duration // 0: each reading
	now   time.Time
	all   bool // however many
	one   bool // series
	fits  int  // how wide a table may be; 0: any width, for where no terminal is a name that is cut can't be looked for
	width int  // of a chart
	ascii bool
}

// each shows series one after the other.
func (s *showing) each(found []control.Series, show func(control.Series) error) error {
	for i, series := range found {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		if err := show(series); err != nil {
			return err
		}
	}
	return nil
}

// list is all that is recorded.
func (s *showing) list(found []control.Series, asCSV, asJSON bool) error {
	switch {
	case asJSON:
		return s.lines(func(put func(any) error) error {
			for _, one := range found {
				if err := put(one); err != nil {
					return err
				}
			}
			return nil
		})
	case asCSV:
		return s.rows([]string{"name", "unit", "kind", "value", "last", "first"}, func(put func(...string) error) error {
			for _, one := range found {
				if err := put(one.Name, one.Unit, one.Kind, plain(one.Value), iso(one.Last), iso(one.First)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	t := &table{columns: []column{{head: "NAME", least: 20}, {head: "VALUE", least: 8}, {head: "UNIT"}, {head: "WHEN", right: true}, {head: "SINCE", spare: true}}}
	for _, one := range found {
		value := "-"
		if one.Value != nil {
			value = inWords(one.Value)
		}
		t.add(one.Name, value, one.Unit, about(s.now.Sub(one.Last)), one.First.In(s.now.Location()).Format("2006-01-02 15:04"))
	}
	if len(found) > 0 {
		if err := t.print(s.out, s.fits); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.out, "%d series recorded\n", len(found))
	return err
}

// inWords is a value as people are shown it.
func inWords(v any) string {
	if _, ok := v.(bool); ok {
		return strings.ToLower(devices.Text(v))
	}
	return devices.Text(v)
}

// plain is a value as programs are told it.
func plain(v any) string {
	if v == nil {
		return ""
	}
	return devices.Text(v)
}

// iso is a moment with its zone.
func iso(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02T15:04:05.999999Z07:00")
}

// lines writes JSON, an object a line.
func (s *showing) lines(each func(put func(any) error) error) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	return each(e.Encode)
}

// rows writes CSV as RFC 4180 has it.
func (s *showing) rows(head []string, each func(put func(...string) error) error) error {
	w := csv.NewWriter(s.out)
	w.UseCRLF = true
	if err := w.Write(head); err != nil {
		return err
	}
	if err := each(func(cells ...string) error { return w.Write(cells) }); err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

// A dated reading says of which series it is.
type dated struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	control.Point
}

type datedBucket struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	control.Bucket
}

func (s *showing) json(ctx context.Context, found []control.Series) error {
	return s.lines(func(put func(any) error) error {
		for _, one := range found {
			if s.every > 0 {
				buckets, err := s.buckets(ctx, one, s.every)
				if err != nil {
					return err
				}
				for _, b := range buckets {
					if err := put(datedBucket{one.Name, one.Unit, b}); err != nil {
						return err
					}
				}
				continue
			}
			for p, err := range s.past.Points(ctx, one.Name, s.from, s.to) {
				if err == nil {
					err = put(dated{one.Name, one.Unit, p})
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (s *showing) csv(ctx context.Context, found []control.Series) error {
	if s.every > 0 {
		return s.rows([]string{"time", "name", "unit", "min", "mean", "max", "last", "on_seconds", "switches", "readings"}, func(put func(...string) error) error {
			for _, one := range found {
				buckets, err := s.buckets(ctx, one, s.every)
				if err != nil {
					return err
				}
				for _, b := range buckets {
					if err := put(iso(b.From), one.Name, one.Unit, exact(b.Min), exact(b.Mean), exact(b.Max), exact(b.Last), seconds(b.On), strconv.Itoa(b.Switches), strconv.Itoa(b.N)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return s.rows(pointColumns, func(put func(...string) error) error {
		for _, one := range found {
			for p, err := range s.past.Points(ctx, one.Name, s.from, s.to) {
				if err == nil {
					err = put(pointCells(one, p)...)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// pointColumns are those of a reading as CSV, pointCells what stands in them.
var pointColumns = []string{"time", "name", "value", "unit", "note"}

func pointCells(s control.Series, p control.Point) []string {
	value := plain(p.Value)
	if p.Gone || p.Bad != "" {
		value = ""
	}
	return []string{iso(p.At), s.Name, value, s.Unit, pointNote(p)}
}

// pointNote is what else there is to say of a reading.
func pointNote(p control.Point) string {
	var notes []string
	switch {
	case p.Gone && p.Bad != "":
		notes = append(notes, "unavailable: "+p.Bad)
	case p.Gone:
		notes = append(notes, "unavailable")
	case p.Bad != "":
		notes = append(notes, "not valid: "+p.Bad)
	}
	if p.Found {
		notes = append(notes, "found at start")
	}
	if p.Unsure {
		notes = append(notes, "clock not known")
	}
	if p.By != "" {
		notes = append(notes, "by "+p.By)
	}
	return strings.Join(notes, ", ")
}

func exact(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func seconds(s control.Seconds) string { return exact(time.Duration(s).Seconds()) }

// rounded is a number as people read it: four digits, and no more than there are.
func rounded(v float64) string {
	if math.Abs(v) >= 1000 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	text := strconv.FormatFloat(v, 'g', 4, 64)
	if strings.Contains(text, "e") {
		if math.Abs(v) < 1e-6 {
			return "0"
		}
		text = strconv.FormatFloat(v, 'f', 6, 64)
	}
	return text
}

// buckets are those that something is known of.
func (s *showing) buckets(ctx context.Context, one control.Series, every time.Duration) (known []control.Bucket, err error) {
	when, n := s.aligned(every)
	all, err := s.past.Past.Chart(ctx, one.Name, when.from, when.to, n)
	for _, b := range all {
		if !b.Empty() {
			b.From, b.To = b.From.In(s.now.Location()), b.To.In(s.now.Location())
			known = append(known, b)
		}
	}
	return known, err
}

const (
	someRows  = 60 // a table of readings may have so many lines; more are made fewer
	aboutRows = 40 // and then it has at most so many
)

// table is a series for a person.
func (s *showing) table(ctx context.Context, one control.Series) error {
	if !s.one {
		fmt.Fprintln(s.out, harmless([]byte(title(one))))
	}
	every := s.every
	if every == 0 && one.Kind == "number" && !s.all {
		n := 0
		for _, err := range s.past.Points(ctx, one.Name, s.from, s.to) {
			if err != nil {
				return err
			}
			if n++; n > someRows {
				every = roundFor(s.to.Sub(s.from), aboutRows)
				break
			}
		}
	}
	if every > 0 {
		return s.bucketTable(ctx, one, every)
	}
	t := &table{columns: []column{{head: "TIME"}, {head: "VALUE", right: one.Kind == "number", least: 10}, {head: "FOR", right: true}, {head: "NOTE", least: 20}}}
	var last *control.Point
	put := func(until time.Time) {
		value, lasted := "-", ""
		if !last.Gone && last.Bad == "" {
			value = strings.TrimSpace(inWords(last.Value) + " " + one.Unit)
		}
		if one.Kind == "switch" || one.Kind == "text" {
			lasted = span(until.Sub(last.At))
		}
		t.add(last.At.In(s.now.Location()).Format(dateTime), value, lasted, pointNote(*last))
	}
	for p, err := range s.past.Points(ctx, one.Name, s.from, s.to) {
		if err != nil {
			return err
		}
		if last == nil && one.Kind == "switch" {
			if before, err := s.was(ctx, one, p.At); err != nil {
				return err
			} else if before != nil {
				last = before
			}
		}
		if last != nil {
			if !s.all && !p.Event && (one.Kind == "switch" || one.Kind == "text") && last.Gone == p.Gone && last.Bad == p.Bad && plain(last.Value) == plain(p.Value) {
				continue // it said so again
			}
			put(p.At)
		}
		last = &p
	}
	if last == nil {
		return s.nothing(ctx, one)
	}
	until := s.to
	if until.After(s.now) {
		until = s.now
	}
	put(until)
	return t.print(s.out, s.fits)
}

func title(one control.Series) string {
	if one.Unit != "" {
		return one.Name + ", " + one.Unit
	}
	return one.Name
}

// was is the value that a switch had from the beginning of the stretch until its first
// reading there; nil if nobody knows.
func (s *showing) was(ctx context.Context, one control.Series, until time.Time) (*control.Point, error) {
	if !s.from.Before(until) {
		return nil, nil
	}
	all, err := s.past.Past.Chart(ctx, one.Name, s.from, until, 1)
	if err != nil || len(all) == 0 || all[0].Held == 0 || all[0].N > 0 {
		return nil, err
	}
	return &control.Point{At: s.from, Value: all[0].Last > 0}, nil
}

// nothing says that there is no reading, and what the value was if it is known from before.
func (s *showing) nothing(ctx context.Context, one control.Series) error {
	text := fmt.Sprintf("nothing was recorded of %s from %s to %s", harmless([]byte(one.Name)), s.from.Format(dateTime), s.to.Format(dateTime))
	all, err := s.past.Past.Chart(ctx, one.Name, s.from, s.to, 1)
	if err != nil {
		return err
	}
	if len(all) > 0 && all[0].Held > 0 && (one.Kind == "number" || one.Kind == "switch") {
		value := rounded(all[0].Last) + " " + one.Unit
		if one.Kind == "switch" {
			value = inWords(all[0].Last > 0)
		}
		text += ": it was " + harmless([]byte(strings.TrimSpace(value))) + " all the time"
	}
	_, err = fmt.Fprintln(s.out, text)
	return err
}

func (s *showing) bucketTable(ctx context.Context, one control.Series, every time.Duration) error {
	buckets, err := s.buckets(ctx, one, every)
	if err != nil {
		return err
	}
	if len(buckets) == 0 {
		return s.nothing(ctx, one)
	}
	numbers := one.Kind == "number"
	t := &table{columns: []column{{head: "TIME"}, {head: "MIN", right: true}, {head: "MEAN", right: true}, {head: "MAX", right: true}, {head: "LAST", right: true},
		{head: "ON", right: true}, {head: "SWITCHES", right: true}, {head: "READINGS", right: true}}}
	for _, b := range buckets {
		row := []string{b.From.Format("2006-01-02 15:04:05"), "", "", "", "", "", "", strconv.Itoa(b.N)}
		switch {
		case numbers:
			row[1], row[2], row[3], row[4] = rounded(b.Min), rounded(b.Mean), rounded(b.Max), rounded(b.Last)
		case one.Kind == "switch":
			row[5], row[6] = span(time.Duration(b.On)), strconv.Itoa(b.Switches)
		}
		if every >= time.Minute {
			row[0] = row[0][:len("2006-01-02 15:04")]
		}
		t.add(row...)
	}
	if err := t.print(s.out, s.fits); err != nil {
		return err
	}
	if s.every == 0 {
		_, err = fmt.Fprintf(s.out, "in stretches of %v; --all shows every reading, --chart a chart\n", config.Duration(every))
	}
	return err
}

// A datedSummary says of which series and which time it is.
type datedSummary struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	control.Summary
}

// stats is series in numbers.
func (s *showing) stats(ctx context.Context, found []control.Series, per string, asCSV, asJSON bool) error {
	type row struct {
		series control.Series
		of     stretch
		control.Summary
	}
	var rows []row
	for _, one := range found {
		for _, part := range s.parts(per) {
			sum, err := s.past.Summary(ctx, one.Name, part.from, part.to)
			if err != nil {
				return err
			}
			if !sum.Empty() || s.one && per == "" {
				sum.From, sum.To = part.from, part.to
				sum.MinAt, sum.MaxAt = in(sum.MinAt, s.now), in(sum.MaxAt, s.now)
				rows = append(rows, row{one, part, sum})
			}
		}
	}
	switch {
	case asJSON:
		return s.lines(func(put func(any) error) error {
			for _, r := range rows {
				if err := put(datedSummary{r.series.Name, r.series.Unit, r.Summary}); err != nil {
					return err
				}
			}
			return nil
		})
	case asCSV:
		return s.rows([]string{"from", "to", "name", "unit", "min", "min_at", "mean", "max", "max_at", "on_seconds", "switches", "energy_kwh", "readings"}, func(put func(...string) error) error {
			for _, r := range rows {
				if err := put(iso(r.From), iso(r.To), r.series.Name, r.series.Unit, exact(r.Min), iso(r.MinAt), exact(r.Mean), exact(r.Max), iso(r.MaxAt),
					seconds(r.On), strconv.Itoa(r.Switches), exact(r.Energy), strconv.Itoa(r.N)); err != nil {
					return err
				}
			}
			return nil
		})
	case len(rows) == 0:
		_, err := fmt.Fprintf(s.out, "nothing was recorded from %s to %s\n", s.from.Format(dateTime), s.to.Format(dateTime))
		return err
	}
	heads := map[string]string{"": "", "hour": "HOUR", "day": "DAY", "week": "WEEK FROM", "month": "MONTH"}
	forms := map[string]string{"hour": "Mon 2006-01-02 15:04", "day": "Mon 2006-01-02", "week": "2006-01-02", "month": "2006-01"}
	at := func(when time.Time) string {
		if when.Format(time.DateOnly) == s.now.Format(time.DateOnly) || per == "day" || per == "hour" {
			return when.Format("15:04")
		}
		return when.Format("01-02 15:04")
	}
	numbers := &table{columns: []column{{head: "NAME", least: 12}, {head: heads[per]}, {head: "MIN", right: true}, {head: "AT"}, {head: "MEAN", right: true}, {head: "MAX", right: true}, {head: "AT"},
		{head: "UNIT"}, {head: "KWH", right: true}, {head: "READINGS", right: true, spare: true}}}
	switches := &table{columns: []column{{head: "NAME", least: 12}, {head: heads[per]}, {head: "ON", right: true}, {head: "SHARE", right: true}, {head: "SWITCHES", right: true}, {head: "READINGS", right: true}}}
	others := &table{columns: []column{{head: "NAME", least: 12}, {head: heads[per]}, {head: "READINGS", right: true}}}
	for _, r := range rows {
		when, n := "", strconv.Itoa(r.N)
		if per != "" {
			when = r.of.from.Format(forms[per])
		}
		switch {
		case r.Empty():
			others.add(r.series.Name, when, n)
		case r.series.Kind == "number":
			energy := ""
			if r.Energy != 0 {
				energy = strconv.FormatFloat(r.Energy, 'f', 3, 64)
			}
			numbers.add(r.series.Name, when, rounded(r.Min), at(r.MinAt), rounded(r.Mean), rounded(r.Max), at(r.MaxAt), r.series.Unit, energy, n)
		case r.series.Kind == "switch":
			share := ""
			if r.Held > 0 {
				share = fmt.Sprintf("%.0f %%", 100*float64(r.On)/float64(r.Held))
			}
			switches.add(r.series.Name, when, span(time.Duration(r.On)), share, strconv.Itoa(r.Switches), n)
		default:
			others.add(r.series.Name, when, n)
		}
	}
	between := ""
	for _, t := range []*table{numbers, switches, others} {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprint(s.out, between)
		if err := t.print(s.out, s.fits); err != nil {
			return err
		}
		between = "\n"
	}
	return nil
}

// in is a moment in the zone of another.
func in(t, of time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.In(of.Location())
}
