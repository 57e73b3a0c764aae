package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/history"
)

// A chart is what is drawn of some series in one stretch of time. It is SVG that fits any
// width without a script: what is text stands at shares of the width, and lines lie in
// drawings within it that are stretched.
type chart struct {
	from, to time.Time // in the zone of the house
	now      time.Time // nothing is known of what comes after it
	words    *words
	series   []plotted
}

// A plotted is one series of a chart.
type plotted struct {
	Name  string // of the page that it is on
	Title string
	Unit  string
	Kind  history.Kind
	Steps bool      // it is set, not measured: it stays until it is another
	since time.Time // when recording began; zero where nothing is recorded
	cells []history.Bucket
	runs  []run // of a state, where all its changes are known
	cut   bool  // there are too many to be drawn
}

// A run is a state from one moment to another.
type run struct {
	from, to time.Time
	is       string
	on       bool // of a switch
	off      bool
}

const (
	plotWidth  = 1000 // of the drawings within, in their own measure
	plotHeight = 200
	plotAbove  = 18 // room for the uppermost level
	plotBelow  = 14
	barAbove   = 24 // for the name of a state
	barHeight  = 26
	axisHeight = 26
	mostSeries = 4
	cellsDrawn = 288
	rowsInText = 24
)

// These are what the template takes. Places are in pixels from the top, and in percent of
// the width.
type (
	drawing struct {
		Height  int
		Bottom  int // of all plots
		Label   string
		Panels  []panel
		Bars    []bar
		Ticks   []tick
		Now     string  // where the present is; "" outside
		Before  barPart // in which nothing was recorded yet, with the middle of it
		Since   string  // which says so; "" where that is not to be seen
		Span    string
		Summary []string // a sentence of each series
		Legend  []legend
		Columns []string
		Rows    []textRow
		Cut     bool
		Empty   bool
		Data    template.JS
	}
	panel struct {
		Top, Height, Width int
		Left, Right        []notch // of two units, if there are two
		Lines              []line
	}
	notch struct {
		Y    int
		Text string
	}
	line struct {
		N          int // which of the series: its colour
		Path, Band string
	}
	bar struct {
		N, Top, Text, Height int
		Title                string
		Parts                []barPart
	}
	barPart struct {
		X, Width    string
		Y, Height   int
		Class, Is   string
		Text        string // "" where there is no room for it
		Minor       bool   // nor is there on a phone
		From, Until string
	}
	tick struct {
		X, Text string
		Align   string
		Minor   bool // not where there is little room
	}
	legend struct {
		N     int
		Title string
		Name  string
		Line  bool // it is drawn as one
	}
	textRow struct {
		Time  string
		Cells []string
	}
)

// share is where a moment is, of the width.
func (c chart) share(t time.Time) float64 {
	return float64(t.Sub(c.from)) / float64(c.to.Sub(c.from))
}

func percent(share float64) string {
	return strconv.FormatFloat(math.Round(min(max(share, 0), 1)*100_000)/1000, 'f', -1, 64) + "%"
}

// draw lays everything out.
func (c chart) draw() drawing {
	d := drawing{}
	top := 0
	// Numbers of two units share a plot, one at each side.
	var units []string
	for _, s := range c.series {
		if s.Kind == history.Number && !slices.Contains(units, s.Unit) {
			units = append(units, s.Unit)
		}
	}
	type axis struct {
		top int
		scale
	}
	axes := make(map[string]axis)
	for pair := range slices.Chunk(units, 2) {
		p := panel{Top: top + plotAbove, Height: plotHeight, Width: plotWidth}
		for side, unit := range pair {
			sc := c.scaleOf(unit)
			axes[unit] = axis{p.Top, sc}
			levels := sc.levels(p.Top, unit, c.words)
			if side == 0 {
				p.Left = levels
			} else {
				p.Right = levels
			}
			for i, s := range c.series {
				if s.Kind == history.Number && s.Unit == unit {
					path, band := c.paths(s, sc)
					p.Lines = append(p.Lines, line{i, path, band})
				}
			}
		}
		d.Panels = append(d.Panels, p)
		top = p.Top + plotHeight + plotBelow
	}
	for i, s := range c.series {
		if s.Kind != history.Number {
			b := c.bar(i, s, top)
			d.Bars = append(d.Bars, b)
			top = b.Top + barHeight + 8
		}
		d.Legend = append(d.Legend, legend{i, s.Title, s.Name, s.Kind == history.Number})
		d.Summary = append(d.Summary, c.told(s))
		d.Cut = d.Cut || s.cut
	}
	d.Bottom, d.Height = top, top+axisHeight
	d.Ticks = c.ticks()
	if at := c.share(c.now); at > 0 && at < 1 {
		d.Now = percent(at)
	}
	if since := c.since(); !since.IsZero() && c.share(since) > leastBefore {
		share := min(c.share(since), 1)
		d.Since = c.words.text("chart.since", "time", c.moment(since))
		d.Before = barPart{Width: percent(share), X: percent(share / 2), Height: top, Y: top / 2}
		d.Before.Text, d.Before.Minor = inRoom(d.Since, share)
	}
	d.Span = c.words.text("chart.span", "from", c.moment(c.from), "to", c.moment(c.to))
	d.Label = d.Span + ". " + strings.Join(d.Summary, " ")
	d.Empty = !slices.ContainsFunc(c.series, func(s plotted) bool { return s.some() })
	if d.Empty { // a scale would be made up
		for i := range d.Panels {
			d.Panels[i].Left, d.Panels[i].Right = nil, nil
		}
	}
	d.Columns, d.Rows = c.table()
	d.Data = c.data(func(unit string) (top int, low, high float64) {
		a := axes[unit]
		return a.top, a.low, a.high
	})
	return d
}

// So much of the width lies before a house began to record, where that is said.
const leastBefore = 0.02

// since is when the first of its series began to be recorded; zero where none is.
func (c chart) since() (first time.Time) {
	for _, s := range c.series {
		if !s.since.IsZero() && (first.IsZero() || s.since.Before(first)) {
			first = s.since
		}
	}
	return first
}

// some says whether anything is known of it.
func (s plotted) some() bool {
	return len(s.runs) > 0 || slices.ContainsFunc(s.cells, func(b history.Bucket) bool { return !b.Empty() })
}

// sound is a bucket whose numbers can be drawn.
func sound(b history.Bucket) bool {
	return !b.Empty() && finite(b.Min) && finite(b.Mean) && finite(b.Max) && finite(b.Last)
}

// finite also leaves room for sums and differences.
func finite(v float64) bool { return !math.IsNaN(v) && math.Abs(v) <= 1e300 }

// --- Numbers ---

// A scale is a vertical axis between two round numbers.
type scale struct{ low, high, step float64 }

func (c chart) scaleOf(unit string) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range c.series {
		for _, b := range s.cells {
			if s.Kind == history.Number && s.Unit == unit && sound(b) {
				low, high = min(low, b.Min), max(high, b.Max)
			}
		}
	}
	return newScale(low, high)
}

// newScale takes low and high in, with four or five levels.
func newScale(low, high float64) scale {
	if low > high { // nothing is known
		low, high = 0, 1
	}
	var s scale
	s.low, s.high, s.step = history.Axis(low, high, 4)
	return s
}

// place is how far below the top a value is.
func (s scale) place(v float64) float64 {
	return (s.high - v) / (s.high - s.low) * plotHeight
}

// levels are the round numbers, the uppermost with the unit.
func (s scale) levels(top int, unit string, w *words) (all []notch) {
	for k := 0; k < 12; k++ {
		v := s.low + float64(k)*s.step
		if v > s.high+s.step/2 {
			break
		}
		all = append(all, notch{top + int(math.Round(s.place(v))), s.number(v, w)})
	}
	if n := len(all) - 1; n >= 0 {
		all[n].Text = strings.TrimSpace(all[n].Text + " " + unit)
	}
	return all
}

// number has as many decimals as the step.
func (s scale) number(v float64, w *words) string {
	if math.Abs(v) < s.step/2 {
		v = 0 // and not -0, or what a sum leaves of it
	}
	text := ""
	switch size := max(math.Abs(s.low), math.Abs(s.high)); {
	case size >= 1e15 || s.step < 1e-6:
		text = strconv.FormatFloat(v, 'g', 4, 64)
	case size >= 1e10:
		text = strconv.FormatFloat(v/1e9, 'f', -1, 64) + " G"
	case size >= 1e7:
		text = strconv.FormatFloat(v/1e6, 'f', -1, 64) + " M"
	default:
		text = strconv.FormatFloat(v, 'f', max(0, int(-math.Floor(math.Log10(s.step)+1e-9))), 64)
	}
	return strings.Replace(text, ".", w.text("point"), 1)
}

func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// paths are the line of the means, and the band from the least to the greatest value. Where
// nothing is known both have a gap.
func (c chart) paths(s plotted, sc scale) (line, band string) {
	var l, b strings.Builder
	x := func(t time.Time) float64 { return c.share(t) * plotWidth }
	for begin := 0; begin < len(s.cells); {
		if !sound(s.cells[begin]) {
			begin++
			continue
		}
		end := begin
		for end < len(s.cells) && sound(s.cells[end]) {
			end++
		}
		stretch := s.cells[begin:end]
		for i, cell := range stretch {
			from, to, y := x(cell.From), x(cell.To), coordinate(sc.place(cell.Mean))
			if i == len(stretch)-1 && cell.To.After(c.now) { // it goes on, and nobody knows how
				to = max(x(c.now), from)
			}
			switch {
			case s.Steps && i == 0:
				fmt.Fprintf(&l, "M%s %sH%s", coordinate(from), y, coordinate(to))
			case s.Steps:
				fmt.Fprintf(&l, "V%sH%s", y, coordinate(to))
			case len(stretch) == 1:
				fmt.Fprintf(&l, "M%s %sH%s", coordinate(from), y, coordinate(to))
			case i == 0:
				fmt.Fprintf(&l, "M%s %s", coordinate((from+to)/2), y)
			default:
				fmt.Fprintf(&l, "L%s %s", coordinate((from+to)/2), y)
			}
		}
		// The band: there along the greatest, back along the least.
		if slices.ContainsFunc(stretch, func(b history.Bucket) bool { return b.Max > b.Min }) && len(stretch) > 1 {
			middle := func(cell history.Bucket) string { return coordinate((x(cell.From) + x(cell.To)) / 2) }
			for i, cell := range stretch {
				fmt.Fprintf(&b, "%s%s %s", map[bool]string{true: "M", false: "L"}[i == 0], middle(cell), coordinate(sc.place(cell.Max)))
			}
			for _, cell := range slices.Backward(stretch) {
				fmt.Fprintf(&b, "L%s %s", middle(cell), coordinate(sc.place(cell.Min)))
			}
			b.WriteByte('Z')
		}
		begin = end
	}
	return l.String(), b.String()
}

// --- States ---

// How wide a chart is on the smallest phone and on a tablet, and a letter, in pixels. A word is
// written into its part of a bar where that has room for it.
const (
	widthOfPhone  = 260
	widthOfTablet = 540
	widthOfLetter = 7.5
)

// inRoom is a text if there is room for it in so much of the width, and whether there is none on a phone.
func inRoom(text string, share float64) (shown string, minor bool) {
	room := float64(utf8.RuneCountInString(text))*widthOfLetter + 8
	if share*widthOfTablet < room {
		return "", false
	}
	return text, share*widthOfPhone < room
}

func (c chart) bar(n int, s plotted, top int) bar {
	b := bar{N: n, Text: top + barAbove - 8, Top: top + barAbove, Height: barHeight, Title: s.Title}
	put := func(from, to time.Time, p barPart) {
		a, z := min(max(c.share(from), 0), 1), min(max(c.share(to), 0), 1)
		if z <= a {
			return
		}
		p.Text, p.Minor = inRoom(p.Text, z-a)
		p.X, p.Width = percent(a), percent(max(z-a, 0.001))
		p.From, p.Until = c.moment(from), c.moment(to)
		b.Parts = append(b.Parts, p)
	}
	if s.runs != nil || s.Kind == history.Text {
		var seen []string
		for _, r := range s.runs {
			i := slices.Index(seen, r.is)
			if i < 0 {
				i = len(seen)
				seen = append(seen, r.is)
			}
			class := fmt.Sprintf("state-%d", i%6)
			switch {
			case r.on:
				class = "is-on"
			case r.off:
				class = "is-off"
			}
			put(r.from, r.to, barPart{Y: b.Top, Height: barHeight, Class: class, Is: r.is, Text: r.is})
		}
		return b
	}
	// How much of each stretch it was on; or whether it happened.
	var ground, on barPart
	var groundFrom, onFrom, last time.Time
	end := func(p *barPart, from time.Time) {
		if p.Height > 0 {
			put(from, last, *p)
		}
		*p = barPart{}
	}
	for _, cell := range append(s.cells[:len(s.cells):len(s.cells)], history.Bucket{}) {
		known, high, is := cell.Held > 0, 0, ""
		switch {
		case s.Kind == history.Press && cell.N > 0:
			known, high, is = false, barHeight, strconv.Itoa(cell.N)+"×"
		case s.Kind == history.Press:
			known = false
		case known:
			share := min(max(float64(cell.On)/float64(cell.Held), 0), 1)
			high, is = int(math.Ceil(share*barHeight)), strconv.Itoa(int(math.Round(share*100)))+" %"
		}
		if on.Height != high || on.Is != is || s.Kind == history.Press {
			end(&on, onFrom)
			on, onFrom = barPart{Y: b.Top + barHeight - high, Height: high, Class: "is-on", Is: is}, cell.From
		}
		if known != (ground.Height > 0) {
			end(&ground, groundFrom)
			if groundFrom = cell.From; known {
				ground = barPart{Y: b.Top, Height: barHeight, Class: "is-off"}
			}
		}
		last = cell.To
	}
	slices.SortStableFunc(b.Parts, func(x, y barPart) int { return cmp.Compare(x.Class, y.Class) }) // is-off lies under is-on
	return b
}

// --- Time ---

var clockSteps = []time.Duration{5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour}

const mostTicks = 8

// ticks are at round local times: what the clock shows, also on a day on which it is changed.
func (c chart) ticks() []tick {
	all := c.roundTimes()
	for i := range all {
		all[i].Minor = i%2 == 1 && len(all) > 5
	}
	return all
}

func (c chart) roundTimes() (all []tick) {
	length, zone := c.to.Sub(c.from), c.from.Location()
	add := func(t time.Time, text string) {
		at := c.share(t)
		if at < 0 || at > 1 {
			return
		}
		k := tick{X: percent(at), Text: text, Align: "middle"}
		switch {
		case at < 0.06: // half a date on a phone
			k.Align = "start"
		case at > 0.94:
			k.Align = "end"
		}
		all = append(all, k)
	}
	const day = 24 * time.Hour
	y, m, d := c.from.Date()
	switch {
	case length <= mostTicks*12*time.Hour:
		i := slices.IndexFunc(clockSteps, func(s time.Duration) bool { return length <= mostTicks*s })
		step := clockSteps[i]
		grid, last := min(step, 30*time.Minute), time.Time{} // by which any clock is changed, or a multiple of it
		midnight := time.Date(y, m, d, 0, 0, 0, 0, zone)
		for t := midnight.Add(c.from.Sub(midnight).Truncate(grid)); !t.After(c.to); t = t.Add(grid) {
			shown := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
			if t.Before(c.from) || shown%step != 0 || t.Sub(last) < step*2/3 {
				continue
			}
			last = t
			switch {
			case shown == 0:
				add(t, c.words.day(t))
			case step < time.Minute:
				add(t, t.Format("15:04:05"))
			default:
				add(t, t.Format("15:04"))
			}
		}
	case length <= mostTicks*7*day:
		step := []int{1, 2, 7}[slices.IndexFunc([]time.Duration{day, 2 * day, 7 * day}, func(s time.Duration) bool { return length <= mostTicks*s })]
		if step == 7 { // on Mondays
			d -= int(c.from.Weekday()+6) % 7
		}
		for t := time.Date(y, m, d, 0, 0, 0, 0, zone); !t.After(c.to); d += step {
			t = time.Date(y, m, d, 0, 0, 0, 0, zone)
			add(t, c.words.day(t))
		}
	case length <= mostTicks*3*31*day:
		step := time.Month(1 + int(length/(mostTicks*31*day)))
		for m = 1 + (m-1)/step*step; ; m += step {
			t := time.Date(y, m, 1, 0, 0, 0, 0, zone)
			if t.After(c.to) {
				return all
			}
			if text := c.words.month(t); t.Month() == time.January {
				add(t, strconv.Itoa(t.Year()))
			} else {
				add(t, text)
			}
		}
	default:
		step := 1 + int(length/(mostTicks*366*day))
		for ; ; y += step {
			t := time.Date(y, 1, 1, 0, 0, 0, 0, zone)
			if t.After(c.to) {
				return all
			}
			add(t, strconv.Itoa(y))
		}
	}
	return all
}

// moment is a time as exact as the stretch needs it.
func (c chart) moment(t time.Time) string {
	t = t.In(c.from.Location())
	switch length := c.to.Sub(c.from); {
	case length <= 10*time.Minute:
		return c.words.day(t) + t.Format(" 15:04:05")
	case length <= 40*24*time.Hour:
		return c.words.day(t) + t.Format(" 15:04")
	}
	return c.words.day(t) + t.Format(" 2006")
}

// day is a date without its year.
func (w *words) day(t time.Time) string {
	return w.text("chart.day", "day", t.Day(), "month", w.month(t))
}

func (w *words) month(t time.Time) string {
	return strings.Fields(w.text("chart.months"))[t.Month()-1]
}

// --- In words ---

// sum is all cells as one.
func sum(cells []history.Bucket) (all history.Bucket) {
	var weight float64
	some := false
	for _, b := range cells {
		if b.Empty() {
			continue
		}
		all.N += b.N
		all.Held += b.Held
		all.On += b.On
		all.Switches += b.Switches
		if !sound(b) {
			continue
		}
		if !some {
			all.Min, all.Max = b.Min, b.Max
		}
		some = true
		all.Min, all.Max, all.Last = min(all.Min, b.Min), max(all.Max, b.Max), b.Last
		by := max(b.Held.Seconds(), 1e-6)
		all.Mean += by / (weight + by) * (b.Mean - all.Mean) // a sum of huge ones would be none
		weight += by
	}
	return all
}

// told is a series in a sentence.
func (c chart) told(s plotted) string {
	w := c.words
	all := sum(s.cells)
	switch {
	case !s.some():
		return w.text("chart.told_nothing", "title", s.Title)
	case s.Kind == history.Number:
		return w.text("chart.told_number", "title", s.Title, "min", w.number(all.Min, s.Unit), "mean", w.number(all.Mean, s.Unit), "max", w.number(all.Max, s.Unit), "last", w.number(all.Last, s.Unit))
	case s.Kind == history.Switch:
		return w.text("chart.told_switch", "title", s.Title, "on", w.span(all.On), "n", all.Switches)
	}
	return w.text("chart.told_count", "title", s.Title, "n", all.N)
}

// table is the chart as a text alternative: so many rows of all series.
func (c chart) table() (columns []string, rows []textRow) {
	for _, s := range c.series {
		columns = append(columns, s.Title)
	}
	n := 0
	for _, s := range c.series {
		n = max(n, len(s.cells))
	}
	each := max(1, (n+rowsInText-1)/rowsInText)
	for begin := 0; begin < n; begin += each {
		row, some := textRow{}, false
		for _, s := range c.series {
			cells := s.cells[min(begin, len(s.cells)):min(begin+each, len(s.cells))]
			text := ""
			if len(cells) > 0 {
				row.Time = c.moment(cells[0].From)
				text = c.inCell(s, cells)
			}
			some = some || text != ""
			row.Cells = append(row.Cells, text)
		}
		if some {
			rows = append(rows, row)
		}
	}
	return columns, rows
}

func (c chart) inCell(s plotted, cells []history.Bucket) string {
	all := sum(cells)
	switch {
	case all.Empty() && s.Kind != history.Text:
		return ""
	case s.Kind == history.Number && all.Min == all.Max:
		return c.words.number(all.Mean, s.Unit)
	case s.Kind == history.Number:
		return fmt.Sprintf("%s (%s – %s)", c.words.number(all.Mean, s.Unit), c.words.number(all.Min, ""), c.words.number(all.Max, ""))
	case s.Kind == history.Switch:
		return c.words.text("chart.on_for", "on", c.words.span(all.On))
	case s.Kind == history.Text:
		from, to := cells[0].From, cells[len(cells)-1].To
		var said []string
		for _, r := range s.runs {
			if r.from.Before(to) && r.to.After(from) && len(said) < 5 {
				said = append(said, r.is)
			}
		}
		return strings.Join(slices.Compact(said), ", ")
	}
	return strconv.Itoa(all.N)
}

// --- For the module ---

// data is what the module reads values from, as JSON.
func (c chart) data(axis func(unit string) (top int, low, high float64)) template.JS {
	type span struct {
		From int64  `json:"from"`
		To   int64  `json:"to"`
		Is   string `json:"is"`
	}
	type one struct {
		Name   string `json:"name"`
		Title  string `json:"title"`
		Unit   string `json:"unit"`
		Kind   string `json:"kind"`
		Top    int    `json:"top"` // of its plot
		Low    digits `json:"low"`
		High   digits `json:"high"`
		Cells  []any  `json:"cells,omitempty"` // mean, least and greatest, or how much of it it was on; 0: nothing is known
		Runs   []span `json:"runs,omitempty"`
		Height int    `json:"height"`
	}
	all := struct {
		From   int64      `json:"from"` // in milliseconds
		To     int64      `json:"to"`
		Now    int64      `json:"now"`
		Zone   [][2]int64 `json:"zone"` // from when on the clock is how many seconds ahead
		Series []one      `json:"series"`
	}{c.from.UnixMilli(), c.to.UnixMilli(), c.now.UnixMilli(), c.offsets(), []one{}}
	for _, s := range c.series {
		o := one{Name: s.Name, Title: s.Title, Unit: s.Unit, Kind: string(s.Kind), Height: plotHeight}
		top, low, high := axis(s.Unit)
		o.Top, o.Low, o.High = top, digits(low), digits(high)
		for _, r := range s.runs {
			o.Runs = append(o.Runs, span{r.from.UnixMilli(), r.to.UnixMilli(), r.is})
		}
		for _, b := range s.cells {
			switch {
			case len(s.runs) > 0:
			case s.Kind == history.Number && sound(b):
				o.Cells = append(o.Cells, [3]digits{digits(b.Mean), digits(b.Min), digits(b.Max)})
			case s.Kind == history.Switch && b.Held > 0:
				o.Cells = append(o.Cells, [1]digits{digits(float64(b.On) / float64(b.Held))})
			case s.Kind == history.Press && b.N > 0:
				o.Cells = append(o.Cells, [1]digits{digits(b.N)})
			default:
				o.Cells = append(o.Cells, 0)
			}
		}
		all.Series = append(all.Series, o)
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // types of ours that can't be JSON
	}
	return template.JS(b) // Marshal writes <, > and & so that no script ends
}

// A digits is a number that has nine digits as JSON: no picture shows more.
type digits float64

func (n digits) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("0"), nil
	}
	return []byte(strconv.FormatFloat(float64(n), 'g', 9, 64)), nil
}

// offsets are those of the house's clock from one moment on each.
func (c chart) offsets() (all [][2]int64) {
	for t := c.from; t.Before(c.to); {
		_, offset := t.Zone()
		all = append(all, [2]int64{t.UnixMilli(), int64(offset)})
		_, end := t.ZoneBounds()
		if end.IsZero() || len(all) > 200 {
			break
		}
		t = end
	}
	return all
}

// runsOf makes states of readings, which begin with what it was before, if that is known. In
// pauses nobody knew it, and after one not before it was read again.
func runsOf(points []history.Point, pauses []history.Span, from, to time.Time, w *words) (runs []run) {
	for _, pause := range pauses {
		points = append(points, history.Point{At: pause.From, Gone: true})
	}
	slices.SortStableFunc(points, func(a, b history.Point) int { return a.At.Compare(b.At) })
	end := func(at time.Time) {
		if n := len(runs); n > 0 && runs[n-1].to.IsZero() {
			if runs[n-1].to = at; !at.After(runs[n-1].from) {
				runs = runs[:n-1]
			}
		}
	}
	for _, p := range points {
		if p.Event || p.Bad != "" && !p.Gone {
			continue
		}
		at := p.At
		if at.Before(from) {
			at = from
		}
		r := run{from: at}
		switch v := p.Value.(type) {
		case bool:
			r.is, r.on, r.off = map[bool]string{true: w.text("is.on"), false: w.text("is.off")}[v], v, !v
		default:
			r.is = mended(cmp.Or(p.Text, fmt.Sprint(v)), 60)
			if s, ok := v.(string); ok {
				r.is = mended(s, 60)
			}
			r.on, r.off = strings.EqualFold(r.is, "on"), strings.EqualFold(r.is, "off")
			r.is = w.is(r.is)
		}
		if n := len(runs); !p.Gone && n > 0 && runs[n-1].to.IsZero() && runs[n-1].is == r.is {
			continue
		}
		end(at)
		if !p.Gone {
			runs = append(runs, r)
		}
	}
	end(to)
	return joined(runs, to.Sub(from)/cellsDrawn)
}

// joined makes one of a state that was the same again after a pause too short to be seen.
func joined(runs []run, least time.Duration) (all []run) {
	for _, r := range runs {
		if n := len(all) - 1; n >= 0 && all[n].is == r.is && r.from.Sub(all[n].to) < least {
			all[n].to = r.to
			continue
		}
		all = append(all, r)
	}
	return all
}
