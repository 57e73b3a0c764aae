package sensor

import (
	"fmt"
	"math"
	"slices"
	"time"

	"hearth/devices"
)

// fresh is how many intervals a value may go untold because it changed too little.
const fresh = 10

// A track is what is known of one sensor: it decides what of a measurement is
// told, and when the sensor is no longer available. It knows only the times that
// it is given, which never step.
type track struct {
	name string
	s    Sensor

	began  time.Duration
	good   time.Duration // when it was last measured
	alive  bool          // it is available
	ever   bool          // it was, once
	gone   bool          // that it is unavailable has been told
	trying string        // what went wrong since it was last good

	recent map[string][]float64 // for the filter, the newest last
	told   map[string]float64   // the newest that was told of each property
	at     map[string]time.Duration
}

func newTrack(name string, s Sensor, now time.Duration) *track {
	return &track{name: name, s: s, began: now, recent: map[string][]float64{}, told: map[string]float64{}, at: map[string]time.Duration{}}
}

// measured takes a measurement in the usual units. It counts only if each
// property is there and can be true.
func (t *track) measured(values map[string]float64, now time.Duration) []devices.Reading {
	for _, p := range t.s.Measures() {
		v, ok := values[p]
		if !ok {
			return t.failed(p+" was not measured", now)
		}
		k, _, _ := kindOf(p)
		if math.IsNaN(v) || v < k.low || v > k.high {
			return t.failed(fmt.Sprintf("%s: %v %s can't be", p, v, k.units[0].name), now)
		}
	}
	var rs []devices.Reading
	for _, p := range t.s.Measures() {
		k, _, _ := kindOf(p)
		u := t.s.unitOf(k)
		v := (values[p]*u.mul+u.add)*t.s.Scale.of(p, 1) + t.s.Offset.of(p, 0)
		v = round(t.filter(p, v), int(t.s.Round.of(p, float64(u.decimals))))
		last, known := t.told[p]
		if delta := t.s.Delta.of(p, 0); known && delta > 0 && math.Abs(v-last) < delta*(1-1e-9) && now-t.at[p] < fresh*t.s.interval() {
			continue
		}
		t.told[p], t.at[p] = v, now
		rs = append(rs, devices.Reading{Source: t.name + "." + p, Value: v, Text: devices.Text(v), Initial: !t.ever})
	}
	t.good, t.alive, t.ever, t.gone, t.trying = now, true, true, false, ""
	return rs
}

// failed takes a measurement that went wrong. A sensor that was available stays
// so until it expires.
func (t *track) failed(why string, now time.Duration) []devices.Reading {
	t.trying = why
	if t.alive {
		return t.expired(now)
	}
	return t.tellGone()
}

// expired looks whether the last measurement is too long ago.
func (t *track) expired(now time.Duration) []devices.Reading {
	if at, ok := t.expires(); !ok || now < at {
		return nil
	}
	return t.tellGone()
}

// expires is when the sensor becomes unavailable if nothing comes.
func (t *track) expires() (at time.Duration, ok bool) {
	if t.alive {
		return t.good + t.s.expire(), true
	}
	return t.began + t.s.expire(), !t.gone
}

// why is what is wrong with a sensor that is unavailable.
func (t *track) why() string {
	if t.trying == "" {
		return "it does not answer"
	}
	return t.trying
}

func (t *track) tellGone() []devices.Reading {
	if t.gone {
		return nil
	}
	t.gone, t.alive = true, false
	clear(t.recent)
	clear(t.told)
	var rs []devices.Reading
	for _, p := range t.s.Measures() {
		rs = append(rs, lost(t.name, p, t.why()))
	}
	return rs
}

// lost is the reading that a property is unavailable.
func lost(name, property, why string) devices.Reading {
	return devices.Reading{Source: name + "." + property, Bad: why, Gone: true}
}

func (t *track) filter(p string, v float64) float64 {
	f := t.s.Filter
	if f.Kind == "" {
		return v
	}
	recent := append(t.recent[p], v)
	recent = recent[max(0, len(recent)-f.N):]
	t.recent[p] = recent
	if f.Kind == "mean" {
		sum := 0.0
		for _, v := range recent {
			sum += v
		}
		return sum / float64(len(recent))
	}
	sorted := slices.Sorted(slices.Values(recent))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func round(v float64, decimals int) float64 {
	ten := math.Pow10(decimals)
	if r := math.Round(v*ten) / ten; !math.IsInf(r, 0) {
		return r + 0 // no negative zero
	}
	return v
}
