package config

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	show := func(all []Change) string {
		var b strings.Builder
		for _, c := range all {
			fmt.Fprintf(&b, "%c%s ", c.Kind, c.Line)
		}
		return strings.TrimSpace(b.String())
	}
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a\nb\n", "a\nb\n", "a  b"},
		{"a\nb\nc\n", "a\nc\n", "a -b  c"},
		{"a\nc\n", "a\nb\nc", "a +b  c"},
		{"a\n", "b\n", "-a +b"},
		{"", "a\n", "+a"},
		{"a\r\nb\r\n", "a\nb\n", "a  b"},
		{"a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n", "-a -b  c +b  a  b -b  a +c"},
	} {
		if got := show(Diff(c.a, c.b)); got != c.want {
			t.Errorf("%q %q: %s, want %s", c.a, c.b, got, c.want)
		}
	}
}

// Whatever two texts are, one is made of the other by what the difference says.
func TestDiffOfRandomTexts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		var b strings.Builder
		for range r.IntN(n) {
			fmt.Fprintf(&b, "%d\n", r.IntN(8))
		}
		return b.String()
	}
	for i := range 500 {
		n := 40
		if i%100 == 0 {
			n = 5000
		}
		a, b := text(n), text(n)
		var back, forth strings.Builder
		for _, c := range Diff(a, b) {
			if c.Kind != '+' {
				back.WriteString(c.Line + "\n")
			}
			if c.Kind != '-' {
				forth.WriteString(c.Line + "\n")
			}
		}
		if back.String() != a || forth.String() != b {
			t.Fatalf("%q and %q", a, b)
		}
	}
}

// A file of Windows that was edited in a page, which knows no \r, stays one of Windows.
func TestLikeBefore(t *testing.T) {
	for _, c := range []struct{ before, edited, want string }{
		{"a\r\nb\r\n", "a\nx\nb\n", "a\r\nx\r\nb\r\n"},
		{"\ufeffa\nb\n", "a\nc\n", "\ufeffa\nc\n"},
		{"\ufeffa\r\nb", "a\nb", "\ufeffa\r\nb"},
		{"a\r\nb\nc\r\n", "a\nb\nc\nd\n", "a\r\nb\nc\r\nd\r\n"},
		{"a\r\n", "a\r\nb\n", "a\r\nb\n"}, // a program knew what it did
		{"a\n", "a\n", "a\n"},
		{"a\r\nb", "a\nb\nc\n", "a\r\nb\r\nc\r\n"},
		{"", "a\n", "a\n"},
	} {
		if got := LikeBefore(c.edited, c.before); got != c.want {
			t.Errorf("%q edited to %q: %q, want %q", c.before, c.edited, got, c.want)
		}
	}
}
