package why

import (
	"slices"
	"strings"
	"time"

	"hearth/rules"
)

// around is how long before and after a change what others said about the same thing is
// of interest.
const around = 5 * time.Minute

// most is how many of those are told.
const most = 20

// prompt is how soon a pin obeys that nothing holds back.
const prompt = 200 * time.Millisecond

// An Other is a decision beside the chain that told the thing something.
type Other struct {
	At       time.Time `json:"at"`
	Came     string    `json:"came"`  // "before" or "after" the change
	Tells    string    `json:"tells"` // what it told the thing
	Same     bool      `json:"same"`  // which is what the thing became
	Decision *Decision `json:"decision"`
}

// others is what else was told the thing near a change.
func (w *walk) others(change *Link) (list []Other, err error) {
	if change == nil || w.q.Thing.Rule != "" && w.q.Thing.Value == "" {
		return nil, nil
	}
	chain := change.Rules()
	to := change.At.Add(around)
	if to.After(w.q.At) {
		to = w.q.At
	}
	for d, err := range w.past.Decisions(change.At.Add(-around), to.Add(time.Microsecond)) {
		if err != nil {
			return list, err
		}
		became := w.q.Thing.Became(d)
		if w.seen[d.ID] || len(became) == 0 {
			continue
		}
		o := Other{At: d.At.Wall, Came: "before", Tells: became[len(became)-1], Decision: tell(d)}
		o.Same = alike(o.Tells, change.Value)
		if led := change.led(); led != nil && after(d, led) {
			o.Came = "after"
		} else if slices.Contains(chain, d.Rule) {
			continue // what it did the last time
		}
		list = append(list, o)
	}
	if len(list) > most {
		list = list[len(list)-most:]
	}
	return list, nil
}

// led is the newest decision of a chain, or where that begins if there is none; nil of a nil one.
func (l *Link) led() *Link {
	for ; l != nil; l = l.Because[0] {
		if l.Decision != nil || len(l.Because) == 0 {
			break
		}
	}
	return l
}

// after says that a decision came after a link, which in one moment their IDs tell.
func after(d rules.Decision, l *Link) bool {
	if !d.At.Wall.Equal(l.At) || l.id == 0 {
		return d.At.Wall.After(l.At)
	}
	return d.ID > l.id
}

// between adds to a link how long it came after what it goes on from, whether the hub was
// restarted meanwhile, and what kept an output from obeying at once.
func (w *walk) between(l, from *Link) error {
	gap := l.At.Sub(from.At)
	if gap <= 0 {
		return nil
	}
	l.After = milliseconds(gap)
	base, _, _ := strings.Cut(l.Name, ".")
	for n, err := range w.past.Notes(from.At, l.At) {
		switch {
		case err != nil:
			return err
		case n.Kind == NoteStart && n.At.Wall.After(from.At):
			l.Restarts = append(l.Restarts, n.At.Wall)
		case n.Kind == NoteWaits && l.What == Changed && n.Name == base && n.Text != "" && !slices.Contains(l.Held, n.Text):
			l.Held = append(l.Held, n.Text)
		}
	}
	if l.What != Changed || l.Held != nil || gap < prompt || from.What != Decided {
		return nil
	}
	for d, err := range w.past.Decisions(from.At, l.At) {
		if err != nil {
			return err
		}
		if d.Rule == "output."+base && d.Outcome == rules.Blocked {
			l.Held = append(l.Held, d.Why)
		}
	}
	return nil
}

// Kinds of notes that count here.
const (
	NoteStart = "start" // the hub has started
	NoteWaits = "waits" // a command for the output Name waits, Text says for what
)
