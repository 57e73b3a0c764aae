package why

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"hearth/devices"
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
	Came     string    `json:"came"`                // "before" or "after" the change
	Tells    string    `json:"tells"`               // what it told the thing
	Same     bool      `json:"same"`                // which is what the thing became
	Held     []string  `json:"held_back,omitempty"` // what it waited for, if that has not come to be
	Gave     string    `json:"gave_way,omitempty"`  // and to whom it gave way then
	Decision *Decision `json:"decision"`
}

// others is what else was told the thing near a change.
func (w *walk) others(change *Link) (list []Other, err error) {
	if change == nil || w.q.Thing.Rule != "" && w.q.Thing.Value == "" {
		return nil, nil
	}
	chain := change.Rules()
	for d, err := range w.near(change.At) {
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
			if err := w.lost(&o, d); err != nil {
				return list, err
			}
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

// near is the decisions of five minutes before and after a change, and of the last five
// before the moment asked about: what was told just then may not have come to be.
func (w *walk) near(change time.Time) iter.Seq2[rules.Decision, error] {
	const next = time.Microsecond
	to := change.Add(around)
	if to.After(w.q.At.Add(-around)) {
		return w.past.Decisions(change.Add(-around), w.q.At.Add(next))
	}
	return func(yield func(rules.Decision, error) bool) {
		for _, all := range []iter.Seq2[rules.Decision, error]{
			w.past.Decisions(change.Add(-around), to.Add(next)),
			w.past.Decisions(w.q.At.Add(-around), w.q.At.Add(next)),
		} {
			for d, err := range all {
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
	}
}

// lost says why an order has not come to be: what it waited for, and who was told to be on
// meanwhile that is not on together with the thing.
func (w *walk) lost(o *Other, d rules.Decision) error {
	if o.Same {
		return nil
	}
	base, _, _ := strings.Cut(w.q.Thing.Name, ".")
	for n, err := range w.past.Notes(d.At.Wall, d.At.Wall.Add(prompt)) {
		if err != nil {
			return err
		}
		if n.Kind == NoteWaits && n.Name == base && n.Text != "" && o.Held == nil {
			o.Held = []string{n.Text}
		}
	}
	for later, err := range w.past.Decisions(d.At.Wall, w.q.At.Add(time.Microsecond)) {
		if err != nil {
			return err
		}
		if rival := w.rival(later); later.At.Wall.After(d.At.Wall) && rival != nil {
			o.Gave = fmt.Sprintf("%s (%s), which %s told ON", rival.Name, rival.Lock, later.Rule+later.Instance)
			return nil
		}
	}
	return nil
}

// rival is who is not on together with the thing and was told to be on; nil if nobody was.
func (w *walk) rival(d rules.Decision) *Rival {
	for _, c := range d.Commands {
		on, _ := devices.OnOff(devices.Text(c.Value))
		if i := slices.IndexFunc(w.q.Rivals, func(r Rival) bool { return r.Name == c.Output }); on && i >= 0 {
			return &w.q.Rivals[i]
		}
	}
	return nil
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
