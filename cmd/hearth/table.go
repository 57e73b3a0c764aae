package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A table is lines of cells for a person. What comes from devices is made
// harmless here, so that none can be forgotten.
type table struct {
	columns []column
	rows    [][]string
}

type column struct {
	head  string
	right bool // numbers
	least int  // how far it may be cut; 0: not at all
	spare bool // left out where even that is not enough
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// screen is how wide a table is that has to fit a terminal.
const screen = 80

// print writes the table without the columns in which nothing stands. Width 0 is
// any width; else the widest columns that may be cut are.
func (t *table) print(w io.Writer, width int) error {
	for _, row := range t.rows {
		for i := range row {
			row[i] = harmless([]byte(row[i]))
		}
	}
	var shown []int
	for i := range t.columns {
		if t.natural(i) > 0 {
			shown = append(shown, i)
		}
	}
	widths, fits := t.widths(shown, width)
	for !fits {
		k := slices.IndexFunc(shown, func(i int) bool { return t.columns[i].spare })
		if k < 0 {
			break
		}
		shown = slices.Delete(shown, k, k+1)
		widths, fits = t.widths(shown, width)
	}
	var heads []string
	for _, c := range t.columns {
		heads = append(heads, c.head)
	}
	for _, row := range slices.Insert(slices.Clone(t.rows), 0, heads) {
		var line strings.Builder
		for k, i := range shown {
			cell := shorten(row[i], widths[k])
			pad := strings.Repeat(" ", widths[k]-utf8.RuneCountInString(cell))
			if t.columns[i].right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString(strings.Repeat(" ", gap))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// natural is how wide what stands in a column is.
func (t *table) natural(i int) (n int) {
	for _, row := range t.rows {
		n = max(n, utf8.RuneCountInString(row[i]))
	}
	return n
}

// widths shares out the width; fits is false where it is not enough.
func (t *table) widths(shown []int, width int) (widths []int, fits bool) {
	total := -gap
	for _, i := range shown {
		n := max(t.natural(i), len(t.columns[i].head))
		widths = append(widths, n)
		total += n + gap
	}
	for width > 0 && total > width {
		widest := -1
		for k, i := range shown {
			if least := t.columns[i].least; least > 0 && widths[k] > least && (widest < 0 || widths[k] > widths[widest]) {
				widest = k
			}
		}
		if widest < 0 {
			return widths, false
		}
		widths[widest]--
		total--
	}
	return widths, true
}

const gap = 2 // between columns

// shorten cuts text that is longer than n characters, and shows that it did.
func shorten(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// span is a duration as people say it: "3h 12m".
func span(d time.Duration) string {
	s := int64(max(0, d) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 60*60:
		return fmt.Sprintf("%dm", s/60)
	case s < 48*60*60:
		return fmt.Sprintf("%dh %dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd %dh", s/86400, s/3600%24)
}

// about is the first half of span, where there is little room.
func about(d time.Duration) string {
	first, _, _ := strings.Cut(span(d), " ")
	return first
}

// size is a number of bytes as people say it.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 999_950:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
