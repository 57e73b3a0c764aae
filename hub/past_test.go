package hub

import (
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/devices"
	"hearth/history"
)

// What a meter went on by is its energy, also where it was set anew; the least and the
// greatest value are found where they were; and a name that is not there is told from one
// that is nearly so.
func TestTheHistoryInNumbers(t *testing.T) {
	began := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	now := devices.Now{Wall: began, Known: true}
	var present atomic.Pointer[devices.Now] // which history looks at when it likes
	present.Store(new(now))
	h, err := history.Open(t.TempDir(), history.Config{}, history.Options{Now: func() devices.Now { return *present.Load() }, Zone: time.UTC, Boot: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	past := Past{h: h}
	at := func(hours float64) time.Time { return began.Add(time.Duration(hours * float64(time.Hour))) }
	say := func(hours float64, source, unit string, value any) {
		now.Mono = at(hours).Sub(began)
		now.Wall = at(hours)
		present.Store(new(now))
		r := devices.Reading{Source: source, Value: value, Text: devices.Text(value), At: now}
		if value == nil {
			r.Gone, r.Text = true, ""
		}
		h.Seen(r, unit)
	}
	for i, total := range []float64{100, 101.5, 103, 0.5, 2, 2} { // a new meter at three o'clock
		say(float64(i), "meter", "kWh", total)
		say(float64(i), "small", "Wh", total)
		say(float64(i), "hall.temperature", "°C", 20+float64(i%3))
	}
	say(5, "lamp", "", true)
	say(5.5, "lamp", "", nil)
	say(6, "lamp", "", true)
	say(7, "lamp", "", false)
	say(8, "hall.temperature", "°C", 21.0)
	for _, c := range []struct {
		name     string
		from, to float64
		want     float64
	}{
		{"meter", 0, 9, 5}, // 3, and 2 of the new one
		{"small", 0, 9, 0.005},
		{"meter", 1, 2, 1.5},
		{"meter", 1.5, 2.5, 1.5}, // 101.5 was known before
		{"meter", 4.5, 9, 0},
		{"hall.temperature", 0, 9, 0},
	} {
		s, err := past.Summary(t.Context(), c.name, at(c.from), at(c.to))
		if err != nil || math.Abs(s.Energy-c.want) > 1e-9 {
			t.Errorf("%s from %v to %v: %v kWh, want %v (%v)", c.name, c.from, c.to, s.Energy, c.want, err)
		}
	}
	s, err := past.Summary(t.Context(), "hall.temperature", at(0.5), at(9))
	if err != nil || s.Min != 20 || s.Max != 22 || !s.MinAt.Equal(at(0.5)) && !s.MinAt.Equal(at(3)) || !s.MaxAt.Equal(at(2)) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := past.Summary(t.Context(), "lamp", at(0), at(9)); err != nil || time.Duration(s.On) != 90*time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := past.Summary(t.Context(), "lamp", at(0), at(4)); err != nil || !s.Empty() || !s.MinAt.IsZero() {
		t.Errorf("before there was a lamp: %+v, %v", s, err)
	}
	all, err := past.Series(t.Context())
	if err != nil || len(all) != 4 || all[0].Name != "hall.temperature" || all[0].Value != 21.0 || all[0].Kind != "number" || all[1].Value != false {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := past.Chart(t.Context(), "metre", at(0), at(1), 1); err == nil || !strings.Contains(err.Error(), `did you mean "meter"?`) {
		t.Errorf("%v", err)
	}
	for _, err := range (Past{}).Points(t.Context(), "meter", at(0), at(1)) {
		if err == nil || !strings.Contains(err.Error(), "enabled = false") {
			t.Errorf("without a history: %v", err)
		}
	}
}
