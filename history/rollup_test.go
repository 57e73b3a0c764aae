package history

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/devices"
	"hearth/rules"
)

// A home is a hub with a clock that is set by hand, and its history.
type home struct {
	t interface {
		Fatal(...any)
		Helper()
	}
	*History
	dir  string
	cfg  Config
	zone *time.Location
	boot string
	now  devices.Now
	told atomic.Pointer[devices.Now] // what history is told that it is
}

// tell lets history know what time it is.
func (h *home) tell() {
	now := h.now
	h.told.Store(&now)
}

func newHome(t interface {
	Fatal(...any)
	Helper()
}, dir string, wall time.Time, cfg Config) *home {
	mkdir(t, dir)
	h := &home{t: t, dir: dir, cfg: cfg, zone: wall.Location(), boot: "boot 1", now: devices.Now{Mono: time.Hour, Wall: wall, Known: true}}
	h.start()
	return h
}

func (h *home) start() {
	h.t.Helper()
	h.tell()
	var err error
	h.History, err = Open(h.dir, h.cfg, Options{Zone: h.zone, Boot: h.boot, Now: func() devices.Now { return *h.told.Load() }})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) stop() {
	h.t.Helper()
	h.tell()
	if err := h.Close(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) flush() {
	h.t.Helper()
	h.tell()
	if err := h.Flush(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) pass(d time.Duration) {
	h.now = h.now.Add(d)
	h.tell()
}

func reading(name string, v any, at devices.Now) devices.Reading {
	return devices.Reading{Source: name, Value: v, Text: devices.Text(v), At: at}
}

func (h *home) report(name string, v any) {
	h.tell()
	h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{reading(name, v, h.now)}})
}

// A happening is one of what an oracle knows of a series.
type happening struct {
	at    time.Time
	v     float64
	holds bool
	read  bool // it is a reading
}

// oracle is the slow way to fill a bucket.
func oracle(list []happening, from, to time.Time) (b Bucket) {
	b.From, b.To = from, to
	some, was, sum := false, false, 0.0 // was: it held before
	before := 0.0
	number := func(v float64) {
		if !some {
			b.Min, b.Max, some = v, v, true
		}
		b.Min, b.Max, b.Last = min(b.Min, v), max(b.Max, v), v
	}
	for i, x := range list {
		end := to
		if i+1 < len(list) && list[i+1].at.Before(to) {
			end = list[i+1].at
		}
		if x.read {
			in := !x.at.Before(from) && x.at.Before(to)
			if in {
				b.N++
			}
			if x.holds {
				if in && was && (before > 0) != (x.v > 0) {
					b.Switches++
				}
				before = x.v
				if in {
					number(x.v)
				}
			}
		}
		was = x.holds
		begin := x.at
		if begin.Before(from) {
			begin = from
		}
		if x.holds && end.After(begin) {
			d := end.Sub(begin)
			number(x.v)
			b.Held += d
			sum += x.v * float64(d)
			if x.v > 0 {
				b.On += d
			}
		}
	}
	if b.Held > 0 {
		b.Mean = sum / float64(b.Held)
	} else {
		b.Mean = b.Last
	}
	return b
}

func alike(a, b Bucket) bool {
	near := func(x, y float64) bool { return math.Abs(x-y) <= 0.002+1e-6*math.Abs(x) }
	return a.From.Equal(b.From) && a.To.Equal(b.To) && a.N == b.N && a.Held == b.Held && a.Min == b.Min && a.Max == b.Max &&
		a.Last == b.Last && a.On == b.On && a.Switches == b.Switches && near(a.Mean, b.Mean)
}

func said(b Bucket) string {
	return fmt.Sprintf("%v..%v n=%d held=%v min=%v max=%v mean=%v last=%v on=%v switches=%d",
		b.From.Format("2006-01-02 15:04:05.000000 MST"), b.To.Format("2006-01-02 15:04:05.000000 MST"), b.N, b.Held, b.Min, b.Max, b.Mean, b.Last, b.On, b.Switches)
}

// Over weeks with gaps, restarts and power cuts, in which clocks are changed, charts and
// days made of rollups are what counting by hand gives: also of days whose readings
// are gone.
func TestRollupsAreRight(t *testing.T) {
	zones := []string{"Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "UTC"}
	top := fastDir(t)
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(top, fmt.Sprint(time.Now().UnixNano()))
		defer os.RemoveAll(dir)
		h := newHome(t, dir, time.Date(2026, 3, 26, 9, 30, 0, 0, zone), Config{})
		defer func() { h.Close() }()
		var list []happening
		begin := h.now.Wall
		last := begin // when something was recorded
		kind := rapid.IntRange(0, 2).Draw(t, "kind")
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			h.pass(rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, 4 * time.Minute, 5 * time.Minute, time.Hour, 7 * time.Hour, 50 * time.Hour}).Draw(t, "pass"))
			h.pass(time.Duration(rapid.IntRange(0, 1_000_000).Draw(t, "jitter")) * time.Microsecond)
			what := rapid.IntRange(0, 20).Draw(t, "what")
			if what == 1 || what == 2 || what > 5 {
				last = h.now.Wall
			}
			switch {
			case what == 0: // stopped for a while
				if rapid.Bool().Draw(t, "orderly") {
					h.Note(Note{At: h.now, Kind: "stop"})
					last = h.now.Wall
				}
				h.stop()
				list = append(list, happening{at: last}) // of more nothing is known
				h.pass(rapid.SampledFrom([]time.Duration{time.Minute, 30 * time.Hour}).Draw(t, "off"))
				h.start()
			case what == 1:
				h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{{Source: "x", At: h.now, Gone: true}}})
				list = append(list, happening{at: h.now.Wall})
			case what == 2:
				h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{{Source: "x", At: h.now, Bad: "null", Text: "null"}}})
			case what <= 5:
				h.flush()
			default:
				var v any
				x := happening{at: h.now.Wall, holds: true, read: true}
				switch kind {
				case 0:
					v = rapid.Bool().Draw(t, "on")
					x.v, _ = number(v)
				case 1:
					x.v, _ = strconv.ParseFloat(fmt.Sprintf("%.*f", rapid.IntRange(0, 2).Draw(t, "decimals"), rapid.Float64Range(-20, 3000).Draw(t, "v")), 64)
					v = x.v
				default:
					v = rapid.SampledFrom([]string{"ON", "off", "heating"}).Draw(t, "word")
					x.v, x.holds = number(v)
				}
				h.report("x", v)
				list = append(list, x)
			}
		}
		h.pass(30 * time.Hour)
		h.Note(Note{At: h.now})
		h.flush()
		if rapid.Bool().Draw(t, "again") {
			h.stop()
			list = append(list, happening{at: h.now.Wall})
			h.start()
		} else {
			list = append(list, happening{at: h.now.Wall})
		}
		if h.Health().Damaged > 0 {
			t.Fatal("damaged")
		}
		gone := rapid.Bool().Draw(t, "readings gone")
		cut := time.Time{} // what is before is made of whole cells
		if gone {
			cut = h.now.Wall.UTC().Truncate(24 * time.Hour)
			if err := h.forgetRaw(floorDay(micros(h.now.Wall))); err != nil {
				t.Fatal(err)
			}
		}
		days, err := h.Days("x", begin, h.now.Wall)
		if err != nil {
			t.Fatal(err)
		}
		if len(days) == 0 && len(h.Series()) > 0 {
			t.Fatal("no days")
		}
		for _, b := range days {
			if want := oracle(list, b.From, b.To); !alike(b, want) {
				t.Fatalf("a day is\n%s, want\n%s", said(b), said(want))
			}
		}
		from := begin.Truncate(time.Hour)
		for _, width := range []time.Duration{5 * time.Minute, time.Hour, 4 * time.Hour} {
			n := int(h.now.Wall.Sub(from)/width) + 1
			if width < time.Hour && n > 500 {
				from = from.Add(time.Duration(n-500) / 12 * time.Hour)
				n = 500
			}
			got, err := h.Chart("x", from, from.Add(time.Duration(n)*width), n)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range got {
				if want := oracle(list, b.From, b.To); !alike(b, want) {
					t.Fatalf("a bucket of %v is\n%s, want\n%s", width, said(b), said(want))
				}
			}
		}
		if !gone || from.After(cut) {
			from, to := begin.Add(90*time.Minute+time.Microsecond), h.now.Wall.Add(-time.Hour)
			if to.After(from) && to.Sub(from) < 24*time.Hour {
				got, err := h.Stats("x", from, to)
				if want := oracle(list, from, to); err != nil || len(h.Series()) > 0 && !alike(got.Bucket, want) {
					t.Fatalf("stats are\n%s, want\n%s", said(got.Bucket), said(want))
				}
			}
		}
	})
}

// What a sensor said last holds, though all that was written since then was no value.
func TestAValueHoldsOverWhatIsNone(t *testing.T) {
	h := newHome(t, fastDir(t), time.Date(2026, 3, 26, 9, 30, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	h.report("x", 21.5)
	h.flush()
	h.pass(time.Hour)
	h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{{Source: "x", At: h.now, Bad: "null", Text: "null"}}})
	h.flush()
	h.pass(2 * time.Hour)
	got, err := h.Stats("x", h.now.Wall.Add(-time.Hour), h.now.Wall)
	if err != nil || got.Held != time.Hour || got.Mean != 21.5 {
		t.Errorf("%s (%v), want 21.5 held for the hour", said(got.Bucket), err)
	}
}
