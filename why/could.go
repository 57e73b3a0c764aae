package why

import (
	"slices"
	"strings"
	"time"

	"hearth/rules"
)

// A Could is a rule that can act on the thing, and what stops it.
type Could struct {
	Rule  string   `json:"rule"`
	Tells []string `json:"tells,omitempty"` // what it can tell the thing
	Maybe bool     `json:"maybe,omitempty"` // whom it tells is computed, and may be another

	// Now is what its triggers and conditions need, and what of it is under way. It is
	// absent where nobody knows.
	Now []string `json:"now,omitempty"`

	// Last is the newest time before the moment asked about that it would have fired and
	// was kept from it, and Stopped the decision that says by what.
	Last    time.Time `json:"last_stopped,omitzero"`
	Stopped *Decision `json:"stopped,omitempty"`

	// Acted is when it last told the thing something, and Did that decision.
	Acted time.Time `json:"last_acted,omitzero"`
	Did   *Decision `json:"acted,omitempty"`
}

// stops are the outcomes that keep a rule from acting.
var stops = []rules.Outcome{rules.Blocked, rules.Ignored, rules.Cancelled, rules.Stopped, rules.Pending, rules.Queued}

// could lists the rules that can act on the thing, with what stopped each last.
func (w *walk) could() ([]Could, error) {
	var list []Could
	for _, a := range w.q.Acts {
		if slices.ContainsFunc(list, func(c Could) bool { return c.Rule == a.Rule }) {
			continue
		}
		c := Could{Rule: a.Rule, Tells: a.Tells, Maybe: a.Maybe, Now: w.q.Stands[a.Rule]}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, nil
	}
	words := make([]string, len(list))
	for i, c := range list {
		words[i] = c.Rule
	}
	open := len(list)
	for d, err := range w.before(w.q.At, words) {
		if err != nil {
			return list, err
		}
		for i := range list {
			c := &list[i]
			if c.Stopped != nil && c.Did != nil || !of(c.Rule, d.Rule) {
				continue
			}
			switch acted := len(w.q.Thing.Became(d)) > 0 || w.q.Thing.Is(d) && w.q.Thing.Value == "" && d.Outcome == rules.Fired; {
			case acted && c.Did == nil:
				c.Acted, c.Did = d.At.Wall, tell(d)
			case c.Did != nil && (d.Outcome == rules.Pending || d.Outcome == rules.Queued): // that has come to something
			case !acted && c.Stopped == nil && slices.Contains(stops, d.Outcome):
				c.Last, c.Stopped = d.At.Wall, tell(d)
			}
			if c.Stopped != nil && c.Did != nil {
				open--
			}
		}
		if open == 0 {
			break
		}
	}
	return list, nil
}

// of says whether a decision's rule is the one, or one that each made of it.
func of(name, rule string) bool {
	base, _, _ := strings.Cut(rule, "[")
	return rule == name || base == name
}
