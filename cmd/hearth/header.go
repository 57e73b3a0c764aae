package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"hearth/gpio"
)

// A tag is what stands beside a pin of the header.
type tag struct {
	text string
	mark byte // how the pin itself is drawn; see headerLegend
	on   bool
}

const (
	headerLegend = "# in the configuration   x held by another   o free   + power   - ground"
	tagWidth     = 27 // so that a row takes 79 columns
)

// drawHeader draws the 40 pins as they lie on the board, with pin 1 at the top
// left, and beside each line what tags say of it or else its second use. It is
// plain text of 79 columns, coloured for a terminal.
func drawHeader(w io.Writer, tags map[string]tag, p paint) {
	side := func(pin gpio.HeaderPin) (text, mark, name string) {
		t, tagged := tags[pin.Name]
		name = pin.Name
		switch {
		case pin.Name == "GND":
			return "", p.dim("-"), name
		case strings.HasSuffix(pin.Name, "V") || pin.Name == "3V3":
			return "", p.red("+"), name
		case !tagged:
			return pin.Role, "o", name
		}
		if t.on {
			return t.text, p.green(string(t.mark)), name
		}
		return t.text, string(t.mark), name
	}
	style := func(pin gpio.HeaderPin, padded string) string {
		switch t, tagged := tags[pin.Name]; {
		case !tagged:
			return p.dim(padded)
		case t.on:
			return p.green(padded)
		}
		return padded
	}
	pins := gpio.Header()
	for i := 0; i < len(pins); i += 2 {
		left, right := pins[i], pins[i+1]
		lt, lm, ln := side(left)
		rt, rm, rn := side(right)
		row := fmt.Sprintf("%s %6s %2d %s %s %-2d %-6s %s", style(left, pad(cut(lt, tagWidth), -tagWidth)), ln, left.Number, lm, rm, right.Number, rn, style(right, cut(rt, tagWidth)))
		fmt.Fprintln(w, strings.TrimRight(row, " "))
	}
}

// cut shortens text to so many characters.
func cut(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}

// pad fills text with spaces: to the left of it if width is negative.
func pad(text string, width int) string {
	fill := strings.Repeat(" ", max(0, max(width, -width)-len([]rune(text))))
	if width < 0 {
		return fill + text
	}
	return text + fill
}

// paint colours text, or leaves it as it is where that is false.
type paint bool

// paintFor is whether to colour what goes to w: see https://no-color.org.
func paintFor(w io.Writer) paint {
	return paint(isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (p paint) in(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) red(text string) string   { return p.in("31", text) }
func (p paint) green(text string) string { return p.in("1;32", text) }
func (p paint) dim(text string) string   { return p.in("2", text) }
