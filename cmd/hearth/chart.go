package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/control"
	"hearth/history"
)

const (
	chartRows  = 12 // of text
	labelWidth = 7  // of what stands left of the axis
	leastPlot  = 20 // columns
)

// chart draws a series as wide as the terminal is.
func (s *showing) chart(ctx context.Context, one control.Series) error {
	columns := max(leastPlot, s.width-labelWidth-2)
	n := columns
	if one.Kind == "number" && !s.ascii {
		n *= 2 // a character of braille has two dots beside each other
	}
	if one.Kind == "text" {
		return s.table(ctx, one)
	}
	buckets, err := s.past.Past.Chart(ctx, one.Name, s.from, s.to, n)
	if err != nil {
		return err
	}
	d := drawing{stretch: s.stretch, columns: columns, ascii: s.ascii}
	var lines []string
	switch one.Kind {
	case "number":
		lines = d.numbers(one, buckets)
	case "event":
		lines = d.events(one, buckets)
	default:
		lines = d.switches(one, buckets)
	}
	if lines == nil {
		return s.nothing(ctx, one)
	}
	if name, numbers, ok := strings.Cut(lines[0], "   "); ok && utf8.RuneCountInString(lines[0]) > columns+labelWidth+2 {
		lines = slices.Insert(lines[1:], 0, name, numbers)
	}
	for _, line := range append(lines, d.axis()...) {
		if _, err := fmt.Fprintln(s.out, strings.TrimRight(shorten(line, columns+labelWidth+2), " ")); err != nil {
			return err
		}
	}
	return nil
}

// A drawing is a chart that fits so many columns beside its labels.
type drawing struct {
	stretch
	columns int
	ascii   bool
}

// numbers draws, of each stretch, the band from the least to the greatest value.
func (d drawing) numbers(one control.Series, buckets []control.Bucket) []string {
	low, high, held, sum, last, some := math.Inf(1), math.Inf(-1), 0.0, 0.0, 0.0, false
	for _, b := range buckets {
		if b.Empty() {
			continue
		}
		some = true
		low, high, last = min(low, b.Min), max(high, b.Max), b.Last
		weight := max(time.Duration(b.Held).Seconds(), 1e-9)
		held, sum = held+weight, sum+weight*b.Mean
	}
	if !some {
		return nil
	}
	scale := newScale(low, high, chartRows)
	var rows []string
	if d.ascii {
		rows = d.plain(buckets, scale)
	} else {
		rows = d.braille(buckets, scale)
	}
	lines := []string{fmt.Sprintf("%s   min %s, mean %s, max %s, last %s", harmless([]byte(title(one))), rounded(low), rounded(sum/held), rounded(high), rounded(last))}
	edge := map[bool]string{false: "│", true: "|"}[d.ascii]
	tick := map[bool]string{false: "┤", true: "+"}[d.ascii]
	for i, row := range rows {
		label, mark := "", edge
		if text, ok := scale.label(i); ok {
			label, mark = text, tick
		}
		lines = append(lines, fmt.Sprintf("%*s %s%s", labelWidth, label, mark, row))
	}
	return lines
}

// A scale is a vertical axis: rows of text between two round numbers.
type scale struct {
	low, high, step float64
	rows            int
}

// newScale takes low and high in, with a label on about every third row.
func newScale(low, high float64, rows int) scale {
	s := scale{rows: rows}
	s.low, s.high, s.step = history.Axis(low, high, float64(rows/3))
	return s
}

// place is where a value lies among so many places, the first of which is the top.
func (s scale) place(v float64, places int) int {
	at := int(math.Round((s.high - v) / (s.high - s.low) * float64(places-1)))
	return min(max(at, 0), places-1)
}

// label is the round number that lies in a row.
func (s scale) label(row int) (string, bool) {
	for k := 0; ; k++ {
		v := s.low + float64(k)*s.step
		if v > s.high+s.step/2 {
			return "", false
		}
		if s.place(v, s.rows) == row {
			return s.number(v), true
		}
	}
}

// number has as many decimals as the step, and fits left of the axis.
func (s scale) number(v float64) string {
	decimals := max(0, int(-math.Floor(math.Log10(s.step)+1e-9)))
	if math.Abs(v) < s.step/2 {
		v = 0 // and not -0, or what a sum leaves of it
	}
	for d := decimals; d >= 0; d-- {
		if text := strconv.FormatFloat(v, 'f', d, 64); len(text) <= labelWidth {
			return text
		}
	}
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if short := strconv.FormatFloat(v/unit.of, 'g', 4, 64) + unit.name; math.Abs(v) >= unit.of && len(short) <= labelWidth {
			return short
		}
	}
	return strconv.FormatFloat(v, 'e', 0, 64)
}

// dots are the bits of a character of braille, by row and column.
var dots = [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

// braille draws with two by four dots a character. What follows each other is joined, so
// that a step is a line.
func (d drawing) braille(buckets []control.Bucket, s scale) []string {
	cells := make([][]rune, s.rows)
	for i := range cells {
		cells[i] = make([]rune, d.columns)
	}
	top, bottom := -1, -1 // of the stretch before
	for x, b := range buckets {
		if x >= 2*d.columns {
			break
		}
		if b.Empty() {
			top, bottom = -1, -1
			continue
		}
		from, to := s.place(b.Max, 4*s.rows), s.place(b.Min, 4*s.rows)
		first, last := from, to
		switch {
		case top < 0:
		case to < top-1: // it lies higher
			last = top - 1
		case from > bottom+1:
			first = bottom + 1
		}
		for y := first; y <= last; y++ {
			cells[y/4][x/2] |= dots[y%4][x%2]
		}
		top, bottom = from, to
	}
	rows := make([]string, s.rows)
	for i, row := range cells {
		var line strings.Builder
		for _, bits := range row {
			if bits == 0 {
				line.WriteByte(' ')
			} else {
				line.WriteRune(0x2800 + bits)
			}
		}
		rows[i] = line.String()
	}
	return rows
}

// plain draws the band with : and the mean with *.
func (d drawing) plain(buckets []control.Bucket, s scale) []string {
	cells := make([][]byte, s.rows)
	for i := range cells {
		cells[i] = []byte(strings.Repeat(" ", d.columns))
	}
	for x, b := range buckets {
		if x >= d.columns || b.Empty() {
			continue
		}
		for y := s.place(b.Max, s.rows); y <= s.place(b.Min, s.rows); y++ {
			cells[y][x] = ':'
		}
		cells[s.place(b.Mean, s.rows)][x] = '*'
	}
	rows := make([]string, s.rows)
	for i := range cells {
		rows[i] = string(cells[i])
	}
	return rows
}

// switches draws a bar: how much of each stretch it was on.
func (d drawing) switches(one control.Series, buckets []control.Bucket) []string {
	var bar strings.Builder
	var on, held time.Duration
	count, some := 0, false
	for _, b := range buckets {
		on, held, count = on+time.Duration(b.On), held+time.Duration(b.Held), count+b.Switches
		share := 0.0
		if b.Held > 0 {
			share = float64(b.On) / float64(b.Held)
		}
		some = some || !b.Empty()
		switch {
		case b.Empty():
			bar.WriteByte(' ')
		case d.ascii:
			bar.WriteByte(".-+#"[min(3, int(math.Ceil(share*3)))])
		default:
			bar.WriteRune([]rune("·▁▂▃▄▅▆▇█")[min(8, int(math.Ceil(share*8)))])
		}
	}
	if !some {
		return nil
	}
	share := 0.0
	if held > 0 {
		share = 100 * float64(on) / float64(held)
	}
	return []string{
		fmt.Sprintf("%s   on for %s (%.0f %%), %s", harmless([]byte(title(one))), span(on), share, times(count, "switch")),
		fmt.Sprintf("%*s %s%s", labelWidth, "on", map[bool]string{false: "│", true: "|"}[d.ascii], bar.String()),
	}
}

// times is count of a word that ends in a hiss.
func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ses", n, what)
}

// events draws a line for each stretch in which something happened.
func (d drawing) events(one control.Series, buckets []control.Bucket) []string {
	var bar strings.Builder
	n := 0
	for _, b := range buckets {
		switch {
		case b.N == 0:
			bar.WriteByte(' ')
		case d.ascii:
			bar.WriteByte('|')
		default:
			bar.WriteRune('╵')
		}
		n += b.N
	}
	if n == 0 {
		return nil
	}
	return []string{
		fmt.Sprintf("%s   %s", harmless([]byte(title(one))), count(n, "event")),
		fmt.Sprintf("%*s %s%s", labelWidth, "", map[bool]string{false: "│", true: "|"}[d.ascii], bar.String()),
	}
}

// A mark is a moment on the axis of time.
type mark struct {
	at   time.Time
	text string
}

// axis is the axis of time: a line with marks at round local times, and what they are.
func (d drawing) axis() []string {
	line := []rune(strings.Repeat(map[bool]string{false: "─", true: "-"}[d.ascii], d.columns))
	below := []rune(strings.Repeat(" ", labelWidth+2+d.columns))
	free := 0
	for _, m := range d.marks() {
		x := int(float64(m.at.Sub(d.from)) / float64(d.to.Sub(d.from)) * float64(d.columns))
		if x < 0 || x >= d.columns {
			continue
		}
		line[x] = map[bool]rune{false: '┬', true: '+'}[d.ascii]
		width := utf8.RuneCountInString(m.text)
		at := min(max(labelWidth+2+x-width/2, 0), len(below)-width)
		if at < free {
			continue
		}
		copy(below[at:], []rune(m.text))
		free = at + width + 1
	}
	corner := map[bool]string{false: "└", true: "+"}[d.ascii]
	return []string{strings.Repeat(" ", labelWidth+1) + corner + string(line), string(below)}
}

// marks are at round local times, about ten columns from each other or more.
func (d drawing) marks() (all []mark) {
	step := roundFor(d.to.Sub(d.from), max(1, d.columns/10))
	switch {
	case step >= 365*24*time.Hour:
		for y := d.from.Year(); ; y++ {
			t := time.Date(y, 1, 1, 0, 0, 0, 0, d.from.Location())
			if !t.Before(d.to) {
				return all
			}
			all = append(all, mark{t, t.Format("2006")})
		}
	case step >= 28*24*time.Hour:
		months := time.Month(1)
		if step > 28*24*time.Hour {
			months = 3
		}
		for m := 1 + (d.from.Month()-1)/months*months; ; m += months {
			t := time.Date(d.from.Year(), m, 1, 0, 0, 0, 0, d.from.Location())
			if !t.Before(d.to) {
				return all
			}
			text := t.Format("Jan")
			if t.Month() == time.January {
				text = t.Format("2006")
			}
			all = append(all, mark{t, text})
		}
	case step >= 24*time.Hour:
		days := int(step / (24 * time.Hour))
		begin, _ := periods["week"](d.from)
		for k := 0; ; k += days {
			t := day(begin, k)
			if !t.Before(d.to) {
				return all
			}
			all = append(all, mark{t, t.Format("2 Jan")})
		}
	}
	for of := day(d.from, 0); of.Before(d.to); of = day(of, 1) { // what the clock shows, also on a day on which it is changed
		for since := time.Duration(0); since < 24*time.Hour; since += step {
			t := time.Date(of.Year(), of.Month(), of.Day(), 0, 0, int(since/time.Second), 0, of.Location())
			if t.Before(d.from) || !t.Before(d.to) {
				continue
			}
			text := t.Format("15:04")
			switch {
			case since == 0:
				text = t.Format("2 Jan")
			case step < time.Minute:
				text = t.Format("15:04:05")
			}
			all = append(all, mark{t, text})
		}
	}
	return all
}
