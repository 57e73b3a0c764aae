package web

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"hearth/devices"
	"hearth/history"
)

// What a smallHouse remembers: a real history, which a test fills.
type memory struct {
	past   *history.History
	err    error
	now    devices.Now
	topics map[string][]string
	secret []string
}

func (h *smallHouse) History(context.Context) (*history.History, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory.past == nil && h.memory.err == nil {
		return nil, errors.New("no history is kept")
	}
	return h.memory.past, h.memory.err
}

func (h *smallHouse) Recorded(_ context.Context, names ...string) (some []Series, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory.past == nil {
		return nil, cmp.Or(h.memory.err, errors.New("no history is kept"))
	}
	for _, s := range h.memory.past.Series() {
		if (len(names) == 0 || slices.Contains(names, s.Name)) && !slices.Contains(h.memory.secret, s.Name) {
			some = append(some, Series{s.Name, s.Unit, s.Kind, s.First, s.Last, h.memory.topics[s.Name]})
		}
	}
	return some, nil
}

// remember gives a house a history that begins at a moment.
func (h *smallHouse) remember(t testing.TB, began time.Time) {
	t.Helper()
	h.memory = memory{now: devices.Now{Wall: began, Known: true}, topics: map[string][]string{}}
	past, err := history.Open(t.TempDir(), history.Config{}, history.Options{Zone: began.Location(), Boot: "x", Now: func() devices.Now {
		h.past.Lock()
		defer h.past.Unlock()
		return h.memory.now
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.memory.past = past
	t.Cleanup(func() { past.Close() })
}

// at lets time pass, to a moment.
func (h *smallHouse) at(at time.Time) devices.Now {
	h.past.Lock()
	defer h.past.Unlock()
	h.memory.now.Mono += at.Sub(h.memory.now.Wall)
	h.memory.now.Wall = at
	return h.memory.now
}

// said records a reading at a moment; nil: nothing is known any more.
func (h *smallHouse) said(at time.Time, source, unit string, value any) {
	r := devices.Reading{Source: source, Value: value, At: h.at(at)}
	if value == nil {
		r.Gone = true
	} else {
		r.Text = devices.Text(value)
	}
	h.memory.past.Seen(r, unit)
}
