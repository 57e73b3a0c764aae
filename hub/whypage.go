package hub

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"hearth/control"
	"hearth/devices"
	"hearth/history"
	"hearth/rules"
	"hearth/web"
	"hearth/why"
)

// Why says why something is as it is, for the page.
func (p page) Why(ctx context.Context, name, at string) (web.Why, error) {
	type asked struct {
		thing rules.Thing
		err   error
		wrong error // with the moment
		past  *history.History
		now   time.Time
		when  time.Time
		is    string // by what the house knows
		since time.Time
	}
	got, err := ask(ctx, p.Hub, func() (a asked) {
		a.now = p.now().Wall.In(p.cfg.zone())
		if a.when = a.now; at != "" {
			a.when, a.wrong = before(at, a.now)
		}
		a.past, _ = p.pastNow()
		if a.thing, a.err = p.Hub.thing(name); a.err == nil {
			a.is, a.since = p.isNow(a.thing)
		}
		return a
	})
	switch {
	case err != nil:
		return web.Why{}, err
	case got.err != nil:
		return web.Why{}, web.NotFound(got.err.Error())
	case got.wrong != nil:
		return web.Why{}, web.Mistaken(got.wrong.Error())
	}
	live := at == "" || got.when.Equal(got.now)
	y := web.Why{Name: got.thing.Name, Kind: got.thing.Kind, At: got.when, Now: live}
	a, _, err := p.Hub.why(ctx, name, at)
	var mistake control.Mistake
	switch {
	case errors.As(err, &mistake): // no history is kept
		y.Missing = mistake.Error()
		if live {
			y.Known, y.Is, y.Since = got.is != "", got.is, got.since
		}
		return y, nil
	case err != nil:
		return web.Why{}, err
	}
	y.At, y.Known, y.Is, y.Since, y.Present, y.Waits, y.Cover, y.LookedTo = a.At, a.Known, a.Is, a.Since, a.Present, a.Waits, a.Cover, a.LookedTo
	if y.Path = causes(a.Because); a.Known {
		y.Before = a.Since.Add(-time.Microsecond)
	} else if live && got.is != "" { // it has not changed since history is kept
		y.Is, y.Since = got.is, got.since
	}
	for _, o := range a.Others {
		d := o.Decision
		y.Others = append(y.Others, web.OtherOrder{At: o.At, Later: o.Came == "after", Rule: d.Rule + d.Instance, Outcome: d.Outcome, Trigger: d.Trigger, Tells: o.Tells, Same: o.Same, Held: o.Held, Gave: o.Gave})
	}
	for _, c := range a.Could {
		c.Now = slices.DeleteFunc(c.Now, func(line string) bool { return line == c.Rule+": disabled" }) // which the next line says, too
		y.Could = append(y.Could, web.CouldAct{Rule: c.Rule, Tells: c.Tells, Maybe: c.Maybe, Now: c.Now, Stopped: hindrance(c.Last, c.Stopped), Acted: hindrance(c.Acted, c.Did)})
	}
	if !live {
		y.After = changedNext(ctx, got.past, got.thing, a.At, got.now)
	}
	if first, ok := oldest(got.past, got.thing); !a.Known && !live && ok && got.when.Before(first) {
		y.Missing, y.After = "the history of it begins "+first.In(got.now.Location()).Format(time.DateTime), first
	} else if full := got.past.Health().Oldest; !a.Known && !live && got.when.Before(full) {
		y.Missing = "what was before " + full.In(got.now.Location()).Format(time.DateTime) + " is not kept in full"
	}
	return y, nil
}

// isNow is what a thing is by what the house knows now, without its history.
func (h *Hub) isNow(t rules.Thing) (is string, since time.Time) {
	if t.Kind == "variable" { // some have the value of a secret
		return "", since
	}
	for _, source := range t.Sources {
		if r, ok := h.registry.Last(source); ok && (since.IsZero() || r.At.Wall.After(since)) {
			if is, since = r.Text, r.At.Wall; h.engine.Hidden(r) {
				is = "***"
			}
			if r.Text == "" {
				is = devices.Text(r.Value)
			}
		}
	}
	if s, property, ok := h.propertyCalled(t.Name); ok && is == "" {
		if p, err := s.Property(property); err == nil && s.Values[p.Name].Value != nil {
			if is, since = devices.Text(s.Values[p.Name].Value), s.Values[p.Name].At; h.secretly(s, p) {
				is = "***"
			}
		}
	}
	return printable(is), since
}

// causes is a chain as the path from the first cause to a link. What began what the link goes
// on with stands beside it, where something else set it off.
func causes(l *why.Link) (path []web.Cause) {
	if l == nil {
		return nil
	}
	c := web.Cause{At: l.At, Unsure: l.Unsure, What: l.What, Name: l.Name, Value: l.Value, By: l.By, Likely: l.Likely, Above: l.Above, After: l.After, Lasted: l.Lasted, Restarts: l.Restarts, Held: l.Held}
	if d := l.Decision; d != nil {
		c.Rule, c.Instance, c.Outcome, c.Trigger, c.Reason = d.Rule, d.Instance, d.Outcome, d.Trigger, d.Why
		c.Checks, c.Does = checks(d.Checks), slices.Concat(d.Sets, d.Commands)
	}
	for i, b := range l.Because {
		if i == 0 {
			path = causes(b)
		} else {
			c.Began = append(c.Began, causes(b)...)
		}
	}
	if before := causes(l.GoesOn); len(l.Because) == 0 {
		path = before
	} else {
		c.Began = append(c.Began, before...)
	}
	return append(path, c)
}

func checks(list []why.Check) (all []web.Check) {
	for _, c := range list {
		all = append(all, web.Check{Text: c.Text, Saw: c.Saw, OK: c.OK})
	}
	return all
}

func hindrance(at time.Time, d *why.Decision) *web.Hindrance {
	if d == nil {
		return nil
	}
	return &web.Hindrance{At: at, Outcome: d.Outcome, Trigger: d.Trigger, Reason: d.Why, Checks: checks(d.Checks)}
}

// farAhead is how many readings and decisions are looked at for the next change.
const farAhead = 50_000

// changedNext is when a thing changed next after a moment; zero if it has not, or if that is
// too far to look.
func changedNext(ctx context.Context, past *history.History, t rules.Thing, at, now time.Time) (next time.Time) {
	if past == nil {
		return next
	}
	until := time.Now().Add(time.Second)
	far := func(n int) bool { return n > farAhead || n%256 == 0 && (ctx.Err() != nil || time.Now().After(until)) }
	earlier := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, source := range t.Sources {
		was, known, err := past.Changed(source, at)
		if err != nil {
			return time.Time{}
		}
		n := 1
		for p, err := range past.Readings(source, at.Add(time.Microsecond), now) {
			if n++; err != nil || far(n) {
				break
			}
			if p.Bad != "" && !p.Gone {
				continue
			}
			if !known || p.Event || p.Gone != was.Gone || devices.Text(p.Value) != devices.Text(was.Value) {
				earlier(p.At)
				break
			}
		}
	}
	if len(t.Sources) > 0 && t.Kind != "topic" {
		return next
	}
	n := 1
	for d, err := range past.Decisions(at.Add(time.Microsecond), now) {
		if n++; err != nil || far(n) {
			break
		}
		if t.Is(d) && t.Value == "" || len(t.Became(d)) > 0 {
			earlier(d.At.Wall)
			break
		}
	}
	return next
}

// oldest is when the history of a thing begins; false if it has none.
func oldest(past *history.History, t rules.Thing) (first time.Time, ok bool) {
	if past == nil {
		return first, false
	}
	for _, s := range past.Series() {
		if slices.Contains(t.Sources, s.Name) && (!ok || s.First.Before(first)) {
			first, ok = s.First, true
		}
	}
	return first, ok
}

// within is a history that answers nothing any more once a context has ended, so that no
// question takes longer than who asks is willing to wait.
type within struct {
	*history.History
	ctx context.Context
}

func (w within) Changed(source string, at time.Time) (history.Point, bool, error) {
	if err := context.Cause(w.ctx); err != nil {
		return history.Point{}, false, err
	}
	return w.History.Changed(source, at)
}

func (w within) Decision(id uint64) (rules.Decision, bool, error) {
	if err := context.Cause(w.ctx); err != nil {
		return rules.Decision{}, false, err
	}
	return w.History.Decision(id)
}

func (w within) Decisions(from, to time.Time) iter.Seq2[rules.Decision, error] {
	return bounded(w.ctx, w.History.Decisions(from, to))
}

func (w within) Before(at time.Time, words []string) iter.Seq2[rules.Decision, error] {
	return bounded(w.ctx, w.History.Before(at, words))
}

func (w within) Notes(from, to time.Time) iter.Seq2[history.Note, error] {
	return bounded(w.ctx, w.History.Notes(from, to))
}

// bounded ends with an error once a context has ended.
func bounded[T any](ctx context.Context, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for one, err := range all {
			if ctx.Err() != nil {
				yield(none, context.Cause(ctx))
				return
			}
			if !yield(one, err) {
				return
			}
		}
	}
}
