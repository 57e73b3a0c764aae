package rules

import (
	"fmt"
	"math"
	"strings"

	"hearth/devices"
	"hearth/rules/formula"
)

// order is v in the form in which the part is told it: on or off, a number, or a
// word. False if it can be told no such thing. A number may be outside of 0 to 100.
func (p Part) order(v any) (any, bool) {
	if v == "acknowledge" && p.Properties["fault"] != "" {
		return v, true
	}
	if p.Takes == "switch" {
		on, ok := devices.Bool(v)
		return on, ok
	}
	switch v := v.(type) {
	case bool:
		return v, true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case string:
		word := strings.ToLower(strings.TrimSpace(v))
		if p.Takes == "cover" {
			switch word {
			case "stop":
				return word, true
			case "open":
				return true, true
			case "close", "closed":
				return false, true
			}
		}
		if word == "1" || word == "0" {
			return nil, false // it could be the number
		}
		on, ok := devices.OnOff(word)
		return on, ok
	}
	return nil, false
}

// orders is what order takes, in words.
func (p Part) orders() []string {
	switch p.Takes {
	case "level":
		return []string{"a level from 0 to 100", "true", "false"}
	case "cover":
		return []string{"a position from 0 to 100", "true (open)", "false (closed)", `"stop"`}
	}
	return []string{"true", "false"}
}

// wants is what an expression has to give that the part is told.
func (p Part) wants() formula.Type {
	if p.Takes == "switch" {
		return formula.Boolean
	}
	return formula.Any
}

// takesType reports whether a part with levels may be told what is of a type.
func (p Part) takesType(t formula.Type) bool {
	return t == formula.Any || t == formula.Number || t == formula.Boolean || t == formula.Text && p.Takes == "cover"
}

// or lists words: "true, false or "toggle"".
func or(words ...string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// levels reports whether the part takes numbers.
func (p Part) levels() bool { return p.Takes == "level" || p.Takes == "cover" }

// percent is the number from 0 to 100 that is nearest.
func percent(f float64) float64 { return min(100, max(0, f)) }

// bounded is a level that an output can have. Where that is another one the trace
// says so: a lamp that was to get more than it has gets all it has.
func (d *Decision) bounded(output string, level float64) float64 {
	to := percent(level)
	if to != level {
		d.because(fmt.Sprintf("%s gets %s in place of %s", output, valueText(to), valueText(level)))
	}
	return to
}

// stands reports whether an output is known to be as v says.
func (e *Engine) stands(output string, v any) bool {
	if on, ok := v.(bool); ok && e.parts[output].Takes == "cover" {
		v = 0.0
		if on {
			v = 100.0
		}
	}
	switch v := v.(type) {
	case bool:
		on, known := e.registry.Level(output)
		return known && on == v
	case float64:
		level, known := e.registry.Percent(output)
		return known && nano(level) == nano(v)
	}
	return false
}

// before is what an output goes back to. One that was never heard of was off; but
// nobody knows where such a cover stood.
func (e *Engine) before(output string) (any, bool) {
	p := e.parts[output]
	if p.levels() {
		if level, known := e.registry.Percent(output); known {
			return level, true
		}
	}
	on, _ := e.registry.Level(output)
	return on, p.Takes != "cover"
}

// switchesOn reports whether an output that is told v is on then.
func switchesOn(v any) bool {
	level, _ := v.(float64)
	return v == true || level > 0
}
