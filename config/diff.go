package config

import (
	"slices"
	"strings"
)

// A Change is one line of two texts: of both, of the first alone or of the second alone.
type Change struct {
	Kind byte // ' ', '-' or '+'
	Line string
	A, B int // its number in the first and in the second text, from 1; 0: it is not in it
}

// farApart is how many lines two texts may differ in and still be compared line by line:
// what it takes grows with the square of it.
const farApart = 400

// Diff compares two texts by lines, whose ends it does not look at. It finds the least there
// is to change, or beyond some hundred lines that all between the first and the last is
// another.
func Diff(a, b string) []Change {
	x, y := Lines(a), Lines(b)
	same := 0
	for same < min(len(x), len(y)) && x[same] == y[same] {
		same++
	}
	tail := 0
	for tail < min(len(x), len(y))-same && x[len(x)-1-tail] == y[len(y)-1-tail] {
		tail++
	}
	var all []Change
	i, j := 0, 0
	both := func(n int) {
		for range n {
			all = append(all, Change{' ', x[i], i + 1, j + 1})
			i, j = i+1, j+1
		}
	}
	less := func() { all = append(all, Change{'-', x[i], i + 1, 0}); i++ }
	more := func() { all = append(all, Change{'+', y[j], 0, j + 1}); j++ }
	both(same)
	for _, step := range shortest(x[same:len(x)-tail], y[same:len(y)-tail]) {
		switch step {
		case ' ':
			both(1)
		case '-':
			less()
		case '+':
			more()
		}
	}
	both(tail)
	return all
}

// Lines are those of a text without their ends; the last one is not empty.
func Lines(s string) []string {
	var all []string
	for line := range strings.Lines(s) {
		all = append(all, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	}
	return all
}

// shortest is the way from x to y that Myers found ("An O(ND) Difference Algorithm").
func shortest(x, y []string) (steps []byte) {
	v := map[int]int{1: 0}
	var trail []map[int]int
	found := false
	for d := 0; d <= min(len(x)+len(y), farApart) && !found; d++ {
		was := make(map[int]int, len(v))
		for k, i := range v {
			was[k] = i
		}
		trail = append(trail, was)
		for k := -d; k <= d; k += 2 {
			i := v[k-1] + 1
			if k == -d || k != d && v[k-1] < v[k+1] {
				i = v[k+1]
			}
			for i < len(x) && i-k < len(y) && x[i] == y[i-k] {
				i++
			}
			v[k] = i
			if i >= len(x) && i-k >= len(y) {
				found = true
				break
			}
		}
	}
	if !found {
		return append([]byte(strings.Repeat("-", len(x))), strings.Repeat("+", len(y))...)
	}
	i, j := len(x), len(y)
	for d := len(trail) - 1; d >= 0; d-- {
		was, k := trail[d], i-j
		before := k - 1
		if k == -d || k != d && was[k-1] < was[k+1] {
			before = k + 1
		}
		bi := was[before]
		bj := bi - before
		for i > bi && j > bj && i > 0 && j > 0 {
			steps = append(steps, ' ')
			i, j = i-1, j-1
		}
		if d == 0 {
			break
		}
		if i == bi {
			steps = append(steps, '+')
			j--
		} else {
			steps = append(steps, '-')
			i--
		}
	}
	slices.Reverse(steps)
	return steps
}

// LikeBefore is an edited text with the mark at its beginning and the line ends that the text
// before had, for what people type into has none of these: lines that are the same end as
// they did, others as most do.
func LikeBefore(edited, before string) string {
	const mark = "\ufeff"
	head, was := "", before
	if strings.HasPrefix(before, mark) {
		head, was = mark, before[len(mark):]
		edited = strings.TrimPrefix(edited, mark)
	}
	windows, all := strings.Count(was, "\r\n"), strings.Count(was, "\n")
	if windows == 0 || strings.Contains(edited, "\r") {
		return head + edited
	}
	old, lines := slices.Collect(strings.Lines(was)), slices.Collect(strings.Lines(edited))
	var b strings.Builder
	b.WriteString(head)
	for _, c := range Diff(was, edited) {
		if c.Kind == '-' {
			continue
		}
		line := lines[c.B-1]
		bare, ended := strings.CutSuffix(line, "\n")
		b.WriteString(bare)
		crlf := 2*windows > all
		if c.Kind == ' ' && strings.HasSuffix(old[c.A-1], "\n") {
			crlf = strings.HasSuffix(old[c.A-1], "\r\n")
		}
		switch {
		case ended && crlf:
			b.WriteString("\r\n")
		case ended:
			b.WriteByte('\n')
		}
	}
	return b.String()
}
