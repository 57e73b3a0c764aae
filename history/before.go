package history

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"hearth/rules"
)

// ErrFar says that a search has ended before it had looked at everything.
var ErrFar = errors.New("what is older was not looked at")

// farthest is how many decisions Before looks at among those of segments that have some of
// its kind. It unpacks them all, so this bounds how long it takes.
const farthest = 5000

// Before is the decisions at or before a moment, the newest first, that are about one of
// some words: of a rule of that name, or of one that was made of it, "rule.lamp" of
// "rule.lamp[kitchen]"; or that tell, set or switch an output, a device, a topic, an address,
// a variable, a machine or a rule of that name. Others may be among them. After some
// thousand that it had to look at it ends with the oldest of these and [ErrFar].
func (h *History) Before(at time.Time, words []string) iter.Seq2[rules.Decision, error] {
	var wanted [][]byte
	var hashed []uint64
	for _, w := range words {
		if w != "" {
			wanted, hashed = append(wanted, []byte(w)), append(hashed, word(w))
		}
	}
	has := func(data []byte) bool {
		return slices.ContainsFunc(wanted, func(w []byte) bool { return bytes.Contains(data, w) })
	}
	return func(yield func(rules.Decision, error) bool) {
		v := h.view(decisionSeries, false)
		_, b := between(time.Time{}, at.Add(time.Microsecond))
		looked := 0
		for _, p := range slices.Backward(v.parts) {
			if from, _ := v.times.span(p.head); from >= b || p.ids == (idRange{}) || !slices.ContainsFunc(hashed, p.words.may) {
				continue
			}
			frames, err := v.frames(p, decisionSeries)
			if err != nil {
				yield(rules.Decision{}, err)
				return
			}
			for _, f := range slices.Backward(frames) {
				c, _ := p.at(f.order)
				if offset, _ := v.times.offset(p.head, c); f.mono+offset >= b {
					continue
				}
				looked++
				if looked <= farthest && !has(f.data) {
					continue
				}
				d, err := h.decided(f)
				if err == nil && looked > farthest {
					err = ErrFar
				}
				if !yield(d.told(), err) || err != nil {
					return
				}
			}
		}
	}
}

// told is a decision with what became of its commands.
func (d decided) told() rules.Decision {
	t := d.Decision
	if len(d.Refused) > 0 {
		t.Why = strings.TrimPrefix(t.Why+"; "+strings.Join(d.Refused, "; "), "; ")
		if len(d.Refused) == len(t.Commands) {
			t.Outcome, t.Commands = rules.Blocked, nil
		}
	}
	return t
}
