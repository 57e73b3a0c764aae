// Package why says why something in the house is as it is, and why it is not otherwise.
//
// Nothing is guessed that was written down. Each command knows the decision that sent it,
// each reading that came of one as well, and each decision the one that it goes on from: so
// the chain from a lamp that is on back to the button that was pressed is a walk along
// links, also over delays, other rules and restarts of the hub. Only of a device that reports
// by itself nobody knows why it did; then the order that it was given just before is named,
// as likely.
//
//	chain.go  from a change back to what started it
//	others.go what else was told at that time, and what held it back
//	could.go  the rules that could have done otherwise, and what stopped each
//	words.go  the same for a person
//
// The package reads a [Past]; it opens no file and reads no clock.
package why

import (
	"iter"
	"time"

	"hearth/devices"
	"hearth/history"
	"hearth/rules"
)

// A Past is what was written down of a house, as [history.History] has it.
type Past interface {
	Changed(source string, at time.Time) (history.Point, bool, error)
	Decision(id uint64) (rules.Decision, bool, error)
	Decisions(from, to time.Time) iter.Seq2[rules.Decision, error]
	Before(at time.Time, words []string) iter.Seq2[rules.Decision, error]
	Notes(from, to time.Time) iter.Seq2[history.Note, error]
}

// A Question is what is asked, with what is known of the thing beside its past.
type Question struct {
	Thing  rules.Thing
	At     time.Time // the moment asked about
	Live   bool      // At is now
	Zone   *time.Location
	Acts   []rules.Act
	Stands map[string][]string // of each rule of Acts: what it needed to fire at At, and what of it was under way; nil if nobody knows
	Limits []string            // what the thing itself is declared to keep to, and what it waits for now
	Rivals []Rival             // of an output: those that go on when it goes off
	Cover  string              // whose motor the output switches
}

// A Rival is an output that is not on together with the thing.
type Rival struct {
	Name string
	Lock string // what says so: "interlock.heat"
}

// Ask gathers on the goroutine that owns an engine what it knows of a thing, but for where
// the rules stand; see [Stand].
func Ask(e *rules.Engine, t rules.Thing) Question {
	q := Question{Thing: t, Acts: e.Acts(t)}
	if t.Rule != "" && t.Value == "" {
		// Of a rule one asks why it fired, and why it did not.
		q.Acts = append([]rules.Act{{Rule: t.Rule}}, q.Acts...)
	}
	return q
}

// Stand is where the rules of acts stand in an engine at a moment, for a [Question].
func Stand(e *rules.Engine, acts []rules.Act, now devices.Now) map[string][]string {
	stands := make(map[string][]string)
	for _, a := range acts {
		if _, done := stands[a.Rule]; !done {
			stands[a.Rule] = append(e.Underway(a.Rule, now), e.WhyNot(a.Rule, now)...)
		}
	}
	return stands
}

// An Answer says why. The names of its fields in JSON are stable; fields may be added.
type Answer struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	At       time.Time `json:"at"`
	Known    bool      `json:"known"`              // a change is known, and Because says why
	Is       string    `json:"is,omitempty"`       // what it was at that moment
	Since    time.Time `json:"since,omitzero"`     // since when
	Because  *Link     `json:"because,omitempty"`  // the change, and what it follows from
	Others   []Other   `json:"others,omitempty"`   // what else was said about it near that time
	Could    []Could   `json:"could,omitempty"`    // rules that can act on it, and what stops each
	Present  bool      `json:"present"`            // Could says where the rules stand, or stood at that moment
	Waits    []string  `json:"waits,omitempty"`    // of the thing itself: a command that waits, a limit
	Cover    string    `json:"cover,omitempty"`    // whose motor the output switches
	LookedTo time.Time `json:"looked_to,omitzero"` // not everything before this moment was looked at
	Text     []string  `json:"text"`               // the whole for a person
}

// Why answers a question from a past.
func Why(past Past, q Question) (Answer, error) {
	if q.Zone == nil {
		q.Zone = time.UTC
	}
	w := &walk{past: past, q: q, seen: make(map[uint64]bool)}
	a := Answer{Name: q.Thing.Name, Kind: q.Thing.Kind, At: q.At, Present: q.Stands != nil, Waits: q.Limits, Cover: q.Cover}
	change, err := w.change()
	if err != nil {
		return a, err
	}
	if change != nil {
		a.Known, a.Is, a.Since, a.Because = true, change.Value, change.At, change
	}
	if a.Others, err = w.others(change); err != nil {
		return a, err
	}
	if a.Could, err = w.could(); err != nil {
		return a, err
	}
	a.LookedTo = w.lookedTo
	a.Text = words{q.Zone, q.At, q.Live}.answer(a)
	return a, nil
}
