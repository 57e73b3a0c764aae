// Package replay lets what was recorded happen again: to the same rules, which then
// decide the same bit for bit, or to others, to see what would have been different.
// Nothing is sent; the engine decides, and its commands go nowhere.
//
// A recording is a list of entries in the order in which they happened: events, which
// are all that moves the engine, each followed by the decisions that were made of it.
//
//   - [Again] gives the events to an engine of the configuration that was in force, and
//     compares what it decides with what was decided. A difference means that this is
//     another version of Hearth, or that the recording is not whole.
//   - [Try] gives them to rules that were not in force. What they would have done has
//     effects that nobody recorded, and what was recorded has effects of what they would
//     not have done; diverge.go tells how these are told apart.
//   - [At] is the engine as it stood at a moment.
//   - [Write] and [Open] are recordings as files, to be replayed on another machine.
//
// The package starts nothing and reads no clock.
package replay

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/history"
	"hearth/rules"
)

// An Entry is one thing that was recorded.
type Entry = history.Entry

// Entries is a recording, in the order in which it happened. The first event of use is
// one with a checkpoint.
type Entries = iter.Seq2[Entry, error]

// A House is the parts of a configuration that decide.
type House struct {
	Config string // as checkpoints name it; "" is that of none
	Pins   gpio.Config
	Logic  rules.Config
	Rules  rules.House // the names that Logic may use
}

// engine compiles a house.
func (h House) engine(seed uint64, registry *devices.Registry) *rules.Engine {
	house := h.Rules
	if seed != 0 {
		house.Seed = seed
	}
	return rules.New(h.Logic, house, registry, config.Place{})
}

// ErrNoCheckpoint says that there is nothing from which a replay could begin.
var ErrNoCheckpoint = errors.New("the recording has no checkpoint in that time, from which a replay could begin")

// ErrOtherConfig says that all of the recording is of other configurations.
var ErrOtherConfig = errors.New("another configuration was in force")

// clockOf is what the clocks said when it happened.
func clockOf(e Entry) devices.Now {
	switch {
	case e.Event != nil:
		return e.Event.At
	case e.Decision != nil:
		return e.Decision.At
	case e.Seen != nil:
		return e.Seen.At
	case e.Note != nil:
		return e.Note.At
	}
	return devices.Now{}
}

// when is when it happened, which may be known better by now than the clock knew then.
func when(e Entry) time.Time {
	if e.At.IsZero() {
		return clockOf(e).Wall
	}
	return e.At
}

// byHub marks the IDs of decisions that the hub itself made, not its rules.
const byHub = 1 << 63

// byRule says whether rules made a decision. What people did on the page once had no ID.
func byRule(d *rules.Decision) bool { return d.ID != 0 && d.ID&byHub == 0 }

// A Repeat is what came of letting the same happen again.
type Repeat struct {
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Events    int       `json:"events"`
	Decisions int       `json:"decisions"`         // that were compared
	Differ    int       `json:"differ"`            // of these
	First     []Unequal `json:"first,omitempty"`   // the first of those that differ
	Veiled    int       `json:"veiled,omitempty"`  // events that are not whole, for what they said was compared with a secret; what was decided because of them is not compared
	Skipped   []Span    `json:"skipped,omitempty"` // when other configurations were in force
}

// An Unequal is a decision that is another one now.
type Unequal struct {
	At   devices.Now     `json:"at"`
	What string          `json:"what,omitempty"` // differs: "its commands"; "" where one of them is missing
	Was  *rules.Decision `json:"was,omitempty"`  // nil: there was none
	Is   *rules.Decision `json:"is,omitempty"`   // nil: there is none
}

// A Span is a part of a recording.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// firstKept is how many differences are kept of an exact replay: after the first most
// follow from it.
const firstKept = 20

// again is an engine to which the same happens again, as long as its configuration is
// in force.
type again struct {
	house    House
	engine   *rules.Engine // nil: nothing is known of where it stands
	registry *devices.Registry
	seen     bool      // there was a checkpoint
	other    time.Time // since when another configuration is in force; zero if none is
	skipped  []Span
}

// take is what the engine decides of an event; false if it has no part in it.
func (a *again) take(e Entry) ([]rules.Decision, bool) {
	ev := *e.Event
	if ev.State != nil {
		switch mine := a.house.Config == "" || ev.State.Config == a.house.Config; {
		case ev.Kind == rules.Current && a.engine != nil: // nothing happens
		case !mine:
			a.seen, a.engine, a.registry = true, nil, nil
			if a.other.IsZero() {
				a.other = when(e)
			}
		case !ev.Begins() && a.registry == nil: // nobody here knows what had been heard; the next checkpoint does
		default:
			if a.seen = true; ev.Begins() {
				a.registry = new(devices.Registry)
			}
			a.engine = a.house.engine(ev.State.Seed, a.registry)
			a.over(when(e))
		}
	}
	if a.engine == nil {
		return nil, false
	}
	return a.engine.Take(ev), true
}

// over notes until when another configuration was in force.
func (a *again) over(at time.Time) {
	if !a.other.IsZero() {
		a.skipped = append(a.skipped, Span{a.other, at})
		a.other = time.Time{}
	}
}

// Again replays what happened while house's configuration was in force, up to a moment
// (zero: all of it). Where another was in force, that is left out and said.
func Again(entries Entries, house House, until time.Time) (Repeat, error) {
	var p Repeat
	var is, was []rules.Decision
	veil := false
	compare := func() {
		if veil {
			is, was = nil, nil
		}
		for i := range max(len(is), len(was)) {
			u := Unequal{}
			switch {
			case i >= len(is):
				u = Unequal{At: was[i].At, Was: &was[i]}
			case i >= len(was):
				u = Unequal{At: is[i].At, Is: &is[i]}
			default:
				if u.What = unequal(&was[i], &is[i]); u.What != "" {
					u.At, u.Was, u.Is = was[i].At, &was[i], &is[i]
				}
			}
			p.Decisions++
			if u.Was == nil && u.Is == nil {
				continue
			}
			if p.Differ++; len(p.First) < firstKept {
				p.First = append(p.First, u)
			}
		}
		is, was = nil, nil
	}
	a := again{house: house}
	var last time.Time
	for entry, err := range entries {
		if err != nil {
			return p, err
		}
		if d := entry.Decision; d != nil && a.engine != nil && byRule(d) {
			was = append(was, *d)
		}
		if entry.Event == nil {
			continue
		}
		compare()
		at := when(entry)
		if !until.IsZero() && at.After(until) {
			break
		}
		last = at
		var ok bool
		if is, ok = a.take(entry); !ok {
			continue
		}
		if veil = veiled(a.engine, entry.Event); veil {
			p.Veiled++
		}
		if p.Events++; p.Events == 1 {
			p.From = at
		}
		p.To = at
	}
	compare()
	a.over(last)
	p.Skipped = a.skipped
	switch {
	case !a.seen:
		return p, ErrNoCheckpoint
	case p.Events == 0:
		return p, ErrOtherConfig
	}
	return p, nil
}

// veiled reports whether an event lacks what rules compare with a secret.
func veiled(e *rules.Engine, ev *rules.Event) bool {
	if ev.Kind == rules.Post {
		return string(ev.Body) == Hidden
	}
	return slices.ContainsFunc(ev.Readings, func(r devices.Reading) bool { return r.Text == Hidden && e.Hidden(r) })
}

// At is the engine as it stood at a moment, after all that had happened by then. The
// moment that comes back is that of the last event.
func At(entries Entries, house House, at time.Time) (*rules.Engine, devices.Now, error) {
	a := again{house: house}
	var now devices.Now
	for entry, err := range entries {
		if err != nil {
			return nil, now, err
		}
		if entry.Event == nil {
			continue
		}
		if when(entry).After(at) {
			break
		}
		a.take(entry)
		now = entry.Event.At
	}
	switch {
	case !a.seen:
		return nil, now, ErrNoCheckpoint
	case a.engine == nil:
		return nil, now, fmt.Errorf("at that time %w", ErrOtherConfig)
	}
	return a.engine, now, nil
}

// unequal says what differs between two decisions; "" if nothing does. The message that
// a cause was a part of is not looked at: it went in, and nothing that is decided.
func unequal(a, b *rules.Decision) string {
	switch {
	case a.Rule != b.Rule || a.Instance != b.Instance:
		return "whose it is"
	case a.Outcome != b.Outcome:
		return "its outcome"
	case a.Trigger != b.Trigger:
		return "its trigger"
	case a.Why != b.Why:
		return "why"
	case !sameNow(a.At, b.At):
		return "when"
	case !slices.Equal(a.Checks, b.Checks):
		return "its conditions"
	case !slices.Equal(a.Sets, b.Sets) || !slices.Equal(a.Switched, b.Switched):
		return "what it sets"
	case !slices.EqualFunc(a.Entered, b.Entered, func(a, b rules.Standing) bool {
		return a.Machine == b.Machine && a.State == b.State && slices.Equal(a.States, b.States)
	}):
		return "the states it enters"
	case !slices.EqualFunc(a.Commands, b.Commands, sameCommand):
		return "its commands"
	case a.ID != b.ID || a.Follows != b.Follows:
		return "its number"
	case (a.Cause == nil) != (b.Cause == nil) || a.Cause != nil && !sameCause(a.Cause, b.Cause):
		return "its cause"
	}
	return ""
}

func sameNow(a, b devices.Now) bool {
	return a.Mono == b.Mono && a.Known == b.Known && a.Wall.Equal(b.Wall)
}

func sameOrigin(a, b devices.Origin) bool {
	return a.By == b.By && a.Decision == b.Decision && slices.Equal(a.Rules, b.Rules)
}

func sameCommand(a, b devices.Command) bool {
	if !sameOrigin(a.Origin, b.Origin) {
		return false
	}
	a.Origin, b.Origin = devices.Origin{}, devices.Origin{}
	return reflect.DeepEqual(shown(a), shown(b))
}

// shown is what is recorded of a command: not what holds a secret.
func shown(c devices.Command) devices.Command {
	if !c.Secret {
		return c
	}
	if c.Payload, c.Value = "", nil; c.Shown != "" {
		c.Topic = c.Shown
	}
	if c.HTTP != nil {
		c.HTTP = &devices.Request{ID: c.HTTP.ID, Method: c.HTTP.Method}
	}
	return c
}

func sameCause(a, b *devices.Reading) bool {
	return a.Source == b.Source && a.Topic == b.Topic && a.Text == b.Text && a.Bad == b.Bad && sameNow(a.At, b.At) &&
		a.Initial == b.Initial && a.Event == b.Event && a.Gone == b.Gone && a.Restored == b.Restored &&
		sameOrigin(a.Origin, b.Origin) && reflect.DeepEqual(a.Value, b.Value)
}
