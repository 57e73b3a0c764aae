package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"time"

	"hearth/config"
	"hearth/control"
	"hearth/history"
)

// A Past answers what people ask of a history, of the hub that runs or of one that does
// not. Its methods may be called from any goroutine, and none of them needs the loop.
type Past struct {
	h     *history.History
	close func() error // of one that does not run
}

// OpenPast opens the history of a hub that does not run.
func (c *Config) OpenPast() (Past, error) {
	h, done, err := c.readHistory()
	return Past{h, done}, err
}

// Close ends what OpenPast began.
func (p Past) Close() error { return p.close() }

// readHistory is the history of a hub that does not run, to be read and not to be written:
// one may start meanwhile. It is there until done is called.
func (c *Config) readHistory() (past *history.History, done func() error, err error) {
	past, done, err = history.Read(c.DataDir(), history.Options{Zone: c.zone()})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no history in %s yet: hearth serve records it", c.DataDir())
	}
	return past, done, err
}

var errNoHistory = errors.New("no history is kept: [history] has enabled = false")

// Series lists what was recorded.
func (p Past) Series(ctx context.Context) (all []control.Series, err error) {
	if p.h == nil {
		return nil, control.Mistaken(errNoHistory)
	}
	for _, s := range p.h.Series() {
		one := control.Series{Name: s.Name, Unit: s.Unit, Kind: string(s.Kind), First: s.First, Last: s.Last}
		if one.Value, err = p.newest(s); err != nil {
			return nil, err
		}
		all = append(all, one)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return all, nil
}

// newest is the newest value of a series; nil if nothing is known any more. When it last
// said something is known of what was there before the hub started only about, so it is
// looked for a little before, and then further back.
func (p Past) newest(s history.Series) (value any, err error) {
	for _, back := range []time.Duration{time.Second, time.Hour, 24 * time.Hour} {
		some := false
		for r, err := range p.h.Readings(s.Name, s.Last.Add(-back), time.Time{}) {
			if err != nil {
				return nil, err
			}
			switch {
			case r.Gone:
				value, some = nil, true
			case r.Bad == "":
				value, some = sane(r.Value), true
			}
		}
		if some {
			return value, nil
		}
	}
	last, ok, err := p.h.Changed(s.Name, s.Last.Add(time.Second))
	if err != nil || !ok || last.Gone {
		return nil, err
	}
	return sane(last.Value), nil
}

// sane is a value that JSON has a form for.
func sane(v any) any {
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil
	}
	return v
}

func saneNumber(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// known says why nothing can be told of a name.
func (p Past) known(name string) error {
	if p.h == nil {
		return control.Mistaken(errNoHistory)
	}
	if p.h.Has(name) {
		return nil
	}
	if near, ok := config.Nearest(name, p.h.Names()); ok {
		return control.Mistaken(fmt.Errorf("nothing is recorded of %q, did you mean %q?", name, near))
	}
	return control.Mistaken(fmt.Errorf("nothing is recorded of %q", name))
}

// Points are the readings of a series.
func (p Past) Points(ctx context.Context, name string, from, to time.Time) iter.Seq2[control.Point, error] {
	return func(yield func(control.Point, error) bool) {
		if err := p.known(name); err != nil {
			yield(control.Point{}, err)
			return
		}
		for r, err := range p.h.Readings(name, from, to) {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			point := control.Point{At: r.At, Value: sane(r.Value), Bad: r.Bad, Gone: r.Gone, Event: r.Event, Found: r.Initial, Unsure: !r.Sure, By: r.By}
			if !yield(point, err) || err != nil {
				return
			}
		}
	}
}

// Chart makes n stretches of a series.
func (p Past) Chart(ctx context.Context, name string, from, to time.Time, n int) ([]control.Bucket, error) {
	if err := p.known(name); err != nil {
		return nil, err
	}
	buckets, err := p.h.Chart(name, from, to, n)
	all := make([]control.Bucket, 0, len(buckets))
	for _, b := range buckets {
		all = append(all, told(b))
	}
	return all, err
}

func told(b history.Bucket) control.Bucket {
	return control.Bucket{From: b.From, To: b.To, N: b.N, Held: control.Seconds(b.Held), On: control.Seconds(b.On), Switches: b.Switches,
		Min: saneNumber(b.Min), Mean: saneNumber(b.Mean), Max: saneNumber(b.Max), Last: saneNumber(b.Last)}
}

// extremesIn is in how many stretches the least and the greatest value are looked for.
const extremesIn = 500

// Summary is a series in numbers. When it had its least and its greatest value is known as
// exactly as what is kept of that time.
func (p Past) Summary(ctx context.Context, name string, from, to time.Time) (control.Summary, error) {
	if err := p.known(name); err != nil {
		return control.Summary{}, err
	}
	stats, err := p.h.Stats(name, from, to)
	s := control.Summary{Bucket: told(stats.Bucket), Energy: saneNumber(stats.Energy)}
	if err != nil || s.Empty() {
		return s, err
	}
	buckets, err := p.h.Chart(name, from, to, extremesIn)
	if err != nil {
		return s, err
	}
	if s.MinAt, err = p.when(buckets, name, func(b history.Bucket) float64 { return b.Min }, s.Min); err != nil {
		return s, err
	}
	if s.MaxAt, err = p.when(buckets, name, func(b history.Bucket) float64 { return b.Max }, s.Max); err != nil {
		return s, err
	}
	for _, series := range p.h.Series() {
		if scale := energyScale(series.Unit); series.Name == name && scale > 0 {
			s.Energy, err = p.went(name, from, to, buckets)
			s.Energy = math.Round(s.Energy*scale*1e9) / 1e9 // without what adding up makes of decimals
		}
	}
	return s, err
}

// when finds the first time of a value, which is that of some of the buckets.
func (p Past) when(buckets []history.Bucket, name string, of func(history.Bucket) float64, value float64) (at time.Time, err error) {
	for _, b := range buckets {
		if b.Empty() || of(b) != value {
			continue
		}
		for r, err := range p.h.Readings(name, b.From, b.To) {
			if err != nil {
				return at, err
			}
			if v, ok := asNumber(r.Value); ok && r.Bad == "" && !r.Gone && v == value {
				return r.At, nil
			}
		}
		return b.From, nil // it held from before, or the readings are gone
	}
	return at, nil
}

// energyScale is how many kWh a unit of energy is; 0: it is none.
func energyScale(unit string) float64 {
	switch unit {
	case "kWh":
		return 1
	case "Wh":
		return 0.001
	case "MWh":
		return 1000
	}
	return 0
}

// went is by how much a meter went on. One that falls was set anew, or began at zero.
func (p Past) went(name string, from, to time.Time, buckets []history.Bucket) (float64, error) {
	before, ok, err := p.h.Changed(name, from.Add(-time.Microsecond))
	if err != nil {
		return 0, err
	}
	was, number := asNumber(before.Value)
	ok = ok && number && !before.Gone
	exact, coarse := reckoning{last: was, some: ok}, reckoning{last: was, some: ok}
	read, of := 0, 0
	for r, err := range p.h.Readings(name, from, to) {
		if err != nil {
			return 0, err
		}
		read++
		if v, ok := r.Value.(float64); ok && r.Bad == "" && !r.Gone {
			exact.shows(v)
		}
	}
	for _, b := range buckets {
		if of += b.N; b.N > 0 {
			if !coarse.some {
				coarse.shows(b.Min)
			}
			coarse.shows(b.Last)
		}
	}
	if read < of { // not all of the readings are kept any more
		return coarse.sum, nil
	}
	return exact.sum, nil
}

// A reckoning is what a meter has shown.
type reckoning struct {
	sum, last float64
	some      bool // there was a last
}

func (m *reckoning) shows(v float64) {
	switch {
	case m.some && v >= m.last:
		m.sum += v - m.last
	case m.some:
		m.sum += max(0, v)
	}
	m.last, m.some = v, true
}

// Series, Points, Chart and Summary are asked of the history itself, off the loop.
func (d desk) Series(ctx context.Context) ([]control.Series, error) {
	return Past{h: d.past}.Series(ctx)
}

// Points are the readings of a series.
func (d desk) Points(ctx context.Context, name string, from, to time.Time) iter.Seq2[control.Point, error] {
	return Past{h: d.past}.Points(ctx, name, from, to)
}

// Chart makes n stretches of a series.
func (d desk) Chart(ctx context.Context, name string, from, to time.Time, n int) ([]control.Bucket, error) {
	return Past{h: d.past}.Chart(ctx, name, from, to, n)
}

// Summary is a series in numbers.
func (d desk) Summary(ctx context.Context, name string, from, to time.Time) (control.Summary, error) {
	return Past{h: d.past}.Summary(ctx, name, from, to)
}
