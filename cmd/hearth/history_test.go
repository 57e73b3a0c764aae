package main

import (
	"bytes"
	"context"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"hearth/config"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"hearth/control"
	"hearth/devices"
	"hearth/history"
)

// remember is what a house had measured before a script: two days, the 28th and the 29th of
// November 2024 in Berlin, in the folder data.
//
//	hall.temperature    every five minutes, from 17 at four in the morning to 23
//	porch_light         on from 17:00 to 23:00, on the 29th somebody on the page
//	plug.power, .energy 100 W, from 8:00 to 9:00 2100 W
//	heater.mode         eco, boost from 6:00 to 8:00
//	bell.press          at 9:15 and at 18:30
//	door.contact        lost for the afternoon of the 29th
func remember(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: remember")
	}
	dir := ts.MkAbs("data")
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(recordTwoDays(dir))
}

func recordTwoDays(dir string) error {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return err
	}
	began := time.Date(2024, 11, 28, 0, 0, 0, 0, zone)
	now := devices.Now{Wall: began, Known: true}
	var present atomic.Pointer[devices.Now] // which history looks at when it likes
	present.Store(&devices.Now{Wall: began, Known: true})
	h, err := history.Open(dir, history.Config{}, history.Options{Now: func() devices.Now { return *present.Load() }, Zone: zone, Boot: "test"})
	if err != nil {
		return err
	}
	say := func(source, unit string, value any, change func(*devices.Reading)) {
		r := devices.Reading{Source: source, Value: value, Text: devices.Text(value), At: now}
		if change != nil {
			change(&r)
		}
		h.Seen(r, unit)
	}
	energy := 1000.0
	for minute := 0; minute < 2*24*60; minute += 5 {
		now.Mono = time.Duration(minute) * time.Minute
		now.Wall = began.Add(now.Mono)
		present.Store(new(now))
		of := minute % (24 * 60)
		say("hall.temperature", "°C", math.Round(200-30*math.Cos(2*math.Pi*float64(of-4*60)/(24*60)))/10, nil)
		power := 100.0
		if of >= 8*60 && of < 9*60 {
			power = 2100
		}
		say("plug.power", "W", power, nil)
		say("plug.energy", "kWh", math.Round(energy*1000)/1000, nil)
		energy += power / 1000 * 5 / 60
		switch of {
		case 0:
			say("porch_light", "", false, nil)
			say("heater.mode", "", "eco", nil)
			say("door.contact", "", true, nil)
		case 6 * 60:
			say("heater.mode", "", "boost", nil)
		case 8 * 60:
			say("heater.mode", "", "eco", nil)
		case 9*60 + 15, 18*60 + 30:
			say("bell.press", "", "single", func(r *devices.Reading) { r.Event = true })
		case 17 * 60:
			say("porch_light", "", true, func(r *devices.Reading) {
				if minute > 24*60 {
					r.Origin.By = "page"
				}
			})
		case 23 * 60:
			say("porch_light", "", false, nil)
		}
		switch minute {
		case 24*60 + 12*60:
			say("door.contact", "", nil, func(r *devices.Reading) { r.Gone, r.Bad, r.Text = true, "it is away", "" })
		case 24*60 + 18*60:
			say("door.contact", "", true, nil)
		}
	}
	return h.Close()
}

// A sketched archive has what a test gives it.
type sketched struct {
	control.Past
	points  []control.Point
	buckets func(from, to time.Time, n int) []control.Bucket
}

func (s sketched) Points(context.Context, string, time.Time, time.Time) iter.Seq2[control.Point, error] {
	return func(yield func(control.Point, error) bool) {
		for _, p := range s.points {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (s sketched) Chart(_ context.Context, _ string, from, to time.Time, n int) ([]control.Bucket, error) {
	return s.buckets(from, to, n), nil
}

// each makes n buckets of a function of how far it is, from 0 to 1; it gives false for an
// empty one.
func each(from, to time.Time, n int, f func(x float64) (control.Bucket, bool)) (all []control.Bucket) {
	step := to.Sub(from) / time.Duration(n)
	for i := range n {
		b, ok := f(float64(i) / float64(n))
		if b.From, b.To = from.Add(time.Duration(i)*step), from.Add(time.Duration(i+1)*step); ok {
			b.N, b.Held = 1, control.Seconds(step)
		}
		all = append(all, b)
	}
	return all
}

func draw(t *testing.T, kind, unit string, width int, ascii bool, since, until string, f func(x float64) (control.Bucket, bool)) string {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	moment := func(text string) time.Time {
		at, err := config.When(text, time.Date(2026, 12, 1, 0, 0, 0, 0, zone))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	past := &archive{Past: sketched{buckets: func(from, to time.Time, n int) []control.Bucket { return each(from, to, n, f) }}, zone: zone}
	var b bytes.Buffer
	s := &showing{past: past, out: &b, stretch: stretch{moment(since), moment(until)}, width: width, ascii: ascii}
	if err := s.chart(t.Context(), control.Series{Name: "x", Kind: kind, Unit: unit}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("%d columns of %d: %s", n, width, line)
		}
		if ascii && strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
			t.Errorf("not plain: %s", line)
		}
	}
	return b.String()
}

func value(v float64) (control.Bucket, bool) {
	return control.Bucket{Min: v, Mean: v, Max: v, Last: v}, true
}

// Charts as they look: testdata/charts.golden has them, to be looked at.
func TestCharts(t *testing.T) {
	wave := func(x float64) (control.Bucket, bool) {
		b, _ := value(20 + 3*math.Sin(2*math.Pi*x))
		b.Min, b.Max = b.Min-0.8, b.Max+0.8
		return b, x < 0.6 || x > 0.7
	}
	var out strings.Builder
	for _, c := range []struct{ title, text string }{
		{"a day", draw(t, "number", "°C", 72, false, "2026-11-29", "2026-11-30", wave)},
		{"a day in plain characters", draw(t, "number", "", 72, true, "2026-11-29", "2026-11-30", wave)},
		{"ten minutes, narrow, a step", draw(t, "number", "W", 40, false, "2026-11-29 12:00", "2026-11-29 12:10", func(x float64) (control.Bucket, bool) {
			return value(map[bool]float64{true: 12.5, false: 2400}[x < 0.5])
		})},
		{"a week, a straight line", draw(t, "number", "", 80, false, "2026-11-02", "2026-11-09", func(float64) (control.Bucket, bool) { return value(7) })},
		{"a year, large numbers", draw(t, "number", "Wh", 80, true, "2025-12-01", "2026-12-01", func(x float64) (control.Bucket, bool) { return value(12_000_000 + 3_000_000*x) })},
		{"the day on which summer time ends", draw(t, "switch", "", 72, false, "2026-10-25", "2026-10-26", func(x float64) (control.Bucket, bool) {
			return control.Bucket{On: control.Seconds(x * 25 * float64(time.Hour) / 63)}, x > 0.1
		})},
		{"a switch in plain characters", draw(t, "switch", "", 72, true, "2026-11-27", "2026-11-30", func(x float64) (control.Bucket, bool) {
			b, _ := value(0)
			if x > 0.3 && x < 0.6 {
				b.On, b.Switches = control.Seconds(72*time.Hour/63), 1
			}
			return b, x < 0.9
		})},
		{"events", draw(t, "event", "", 60, false, "2026-11-29 00:00", "2026-11-29 01:00", func(x float64) (control.Bucket, bool) {
			return control.Bucket{}, math.Mod(x*51, 17) < 1
		})},
		{"nothing", draw(t, "number", "", 80, false, "2026-11-29", "2026-11-30", func(float64) (control.Bucket, bool) { return control.Bucket{}, false })},
	} {
		out.WriteString("=== " + c.title + "\n" + c.text + "\n")
	}
	golden := filepath.Join("testdata", "charts.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the charts are others:\n%s", out.String())
	}
}

// Whatever the numbers, the labels are round, fit, rise, and what is drawn lies between.
func TestScales(t *testing.T) {
	for _, low := range []float64{-1e12, -273.15, -5, -0.001, 0, 1e-9, 0.3, 7, 999.9, 123456.7, 4e15} {
		for _, span := range []float64{0, 1e-12, 0.0004, 0.05, 1, 13.7, 1000, 8.5e9} {
			s := newScale(low, low+span, chartRows)
			var labels []string
			for row := range chartRows {
				if text, ok := s.label(row); ok {
					labels = append(labels, text)
					if utf8.RuneCountInString(text) > labelWidth {
						t.Errorf("%v+%v: %q is too wide", low, span, text)
					}
				}
			}
			if slack := 1e-6 * (s.high - s.low); s.low > low+slack || s.high < low+span-slack || !(s.high > s.low) {
				t.Errorf("%v+%v lies beyond %v to %v", low, span, s.low, s.high)
			}
			if len(labels) < 2 || len(labels) > 8 {
				t.Errorf("%v+%v: labels %q", low, span, labels)
			}
		}
	}
}

// A day has 23, 24 or 25 hours, and all of a stretch is in its parts.
func TestParts(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s := stretch{time.Date(2026, 10, 23, 13, 30, 0, 0, zone), time.Date(2026, 11, 2, 6, 0, 0, 0, zone)}
	for per, want := range map[string][]float64{
		"":      {233.5},
		"day":   {10.5, 24, 25, 24, 24, 24, 24, 24, 24, 24, 6},
		"week":  {10.5 + 24 + 25, 7 * 24, 6},
		"month": {10.5 + 24 + 25 + 6*24, 24 + 6},
	} {
		var got []float64
		at := s.from
		for _, p := range s.parts(per) {
			if !p.from.Equal(at) {
				t.Errorf("%s: a part begins at %v, the one before ended at %v", per, p.from, at)
			}
			got, at = append(got, p.to.Sub(p.from).Hours()), p.to
		}
		if !slices.Equal(got, want) || !at.Equal(s.to) {
			t.Errorf("%s: %v", per, got)
		}
	}
	if got := s.parts("hour"); len(got) != 234 || got[0].to.Sub(got[0].from) != 30*time.Minute {
		t.Errorf("%d hours", len(got))
	}
}
