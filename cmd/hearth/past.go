package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/control"
)

// An archive is the history that is asked: through the hub that runs, or the file itself.
type archive struct {
	control.Past
	all   []control.Series
	zone  *time.Location
	close func() error
}

// archive finds the history of a hub.
func (h *hubHere) archive(ctx context.Context, std streams) (*archive, error) {
	a := &archive{Past: h.Remote, zone: h.cfg.Trial().Zone, close: func() error { return nil }}
	var err error
	a.all, err = a.Series(ctx)
	if errors.Is(err, control.ErrNobody) && h.cfg.Free() == nil {
		past, err := h.cfg.OpenPast()
		if errors.Is(err, fs.ErrPermission) {
			return nil, noPermission(err, h.data)
		} else if err != nil {
			return nil, err
		}
		fmt.Fprintf(std.err, "no hub runs on %s: this is what it had written before it ended\n", h.data)
		a.Past, a.close = past, past.Close
		if a.all, err = a.Series(ctx); err != nil {
			past.Close()
			return nil, err
		}
		return a, nil
	}
	if err != nil {
		return nil, h.because(err)
	}
	return a, nil
}

// asked is what a command of history is about: whose, when, and of which names. The archive
// is to be closed.
func (f hubFlags) asked(ctx context.Context, std streams, when stretchFlags, since time.Duration, names []string) (past *archive, s stretch, found []control.Series, err error) {
	h, err := f.find()
	if err != nil {
		return nil, s, nil, err
	}
	if past, err = h.archive(ctx, std); err != nil {
		return nil, s, nil, err
	}
	if err = h.keeps(); err != nil && len(past.all) == 0 {
		past.close()
		return nil, s, nil, err
	}
	if s, err = when.stretch(time.Now().In(past.zone), since); err == nil {
		found, err = past.find(names)
	}
	if err != nil {
		past.close()
		return nil, s, nil, err
	}
	return past, s, found, nil
}

// keeps is an error where no history is kept, which is why there may be none.
func (h *hubHere) keeps() error {
	if h.cfg.History.On() {
		return nil
	}
	return errors.New("no history is kept: [history] has enabled = false")
}

// find gives the series of names: each a name, a pattern of such, or what stands before
// the point of several. None is all.
func (a *archive) find(names []string) ([]control.Series, error) {
	if len(names) == 0 {
		return a.all, nil
	}
	var found []control.Series
	for _, name := range names {
		n := len(found)
		is := func(s control.Series) bool { return s.Name == name }
		if !slices.ContainsFunc(a.all, is) {
			is = func(s control.Series) bool {
				return strings.HasPrefix(s.Name, name+".") || strings.HasPrefix(s.Name, name+":")
			}
		}
		if strings.ContainsAny(name, "*?[") {
			is = func(s control.Series) bool { ok, _ := path.Match(name, s.Name); return ok }
		}
		for _, s := range a.all {
			if is(s) {
				found = append(found, s)
			}
		}
		if len(found) > n {
			continue
		}
		known := make([]string, 0, len(a.all))
		for _, s := range a.all {
			known = append(known, s.Name)
		}
		switch near, ok := config.Nearest(name, known); {
		case ok:
			return nil, fmt.Errorf("nothing is recorded of %q, did you mean %q?", name, near)
		case len(known) == 0:
			return nil, errors.New("nothing is recorded yet")
		}
		return nil, fmt.Errorf("nothing is recorded of %q: hearth history lists all that is", name)
	}
	return found, nil
}

// A stretch is from one moment, included, to another, excluded.
type stretch struct{ from, to time.Time }

// stretchFlags say which part of the past is meant.
type stretchFlags struct {
	Since string `placeholder:"TIME" help:"From then on: 2h (ago), 07:30, \"yesterday 22:15\", monday, \"2026-11-29 22:15\"; default a day ago, of hearth export the beginning."`
	Until string `placeholder:"TIME" help:"And up to then; default now."`
}

func (f stretchFlags) stretch(now time.Time, since time.Duration) (stretch, error) {
	s := stretch{to: now}
	var err error
	if f.Until != "" {
		if s.to, err = config.When(f.Until, now); err != nil {
			return s, usageError{fmt.Errorf("--until %w", err)}
		}
	}
	s.from = s.to.Add(-since)
	if f.Since != "" {
		if s.from, err = config.When(f.Since, now); err != nil {
			return s, usageError{fmt.Errorf("--since %w", err)}
		}
	}
	if !s.from.Before(s.to) {
		return s, usageError{fmt.Errorf("there is no time from %s to %s", s.from.Format(dateTime), s.to.Format(dateTime))}
	}
	return s, nil
}

const dateTime = "2006-01-02 15:04:05"

// The periods of which --per makes numbers.
var periods = map[string]func(t time.Time) (begin, next time.Time){
	"hour": func(t time.Time) (time.Time, time.Time) {
		begin := t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond()))
		return begin, begin.Add(time.Hour)
	},
	"day": func(t time.Time) (time.Time, time.Time) {
		return day(t, 0), day(t, 1)
	},
	"week": func(t time.Time) (time.Time, time.Time) {
		back := (int(t.Weekday()) + 6) % 7 // to Monday
		return day(t, -back), day(t, 7-back)
	},
	"month": func(t time.Time) (time.Time, time.Time) {
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, t.Location()), time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, t.Location())
	},
}

// day is the beginning of a day, so many after that of t.
func day(t time.Time, later int) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day()+later, 0, 0, 0, 0, t.Location())
}

// parts divides a stretch into periods; its ends may be in the middle of one.
func (s stretch) parts(per string) (all []stretch) {
	if per == "" {
		return []stretch{s}
	}
	for from := s.from; from.Before(s.to); {
		_, next := periods[per](from)
		if next.After(s.to) {
			next = s.to
		}
		all = append(all, stretch{from, next})
		from = next
	}
	return all
}

// stretches of this length are what tables and axes are made of.
var roundStretches = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour, 91 * 24 * time.Hour, 365 * 24 * time.Hour,
}

// roundFor is the shortest of them of which there are at most so many in d.
func roundFor(d time.Duration, most int) time.Duration {
	for _, r := range roundStretches {
		if d <= r*time.Duration(most) {
			return r
		}
	}
	return d
}

// aligned makes a stretch begin and end at multiples of every, counted from local
// midnight, and says how many there are in it.
func (s stretch) aligned(every time.Duration) (stretch, int) {
	begin := day(s.from, 0)
	s.from = begin.Add(s.from.Sub(begin) / every * every)
	n := int((s.to.Sub(s.from) + every - 1) / every)
	s.to = s.from.Add(time.Duration(n) * every)
	return s, n
}
