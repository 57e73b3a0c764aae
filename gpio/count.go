package gpio

import (
	"math"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
)

// Counter is a pin that counts pulses: the S0 output of an electricity meter, a
// water meter, a rain gauge, an anemometer.
type Counter struct {
	// Pin, Pull, ActiveLow and Debounce are written as those of an Input. A pulse
	// is counted when the pin becomes on.
	Pin       string          `toml:"pin,required" eg:"\"GPIO5\""`
	Pull      string          `toml:"pull" enum:"none,up,down"`
	ActiveLow bool            `toml:"active_low"`
	Debounce  config.Duration `toml:"debounce" max:"10s" eg:"\"5ms\""`

	// Pulses is how many of them make one Unit; default 1. Unit is only shown.
	Pulses float64 `toml:"pulses" min:"0.000001" max:"1000000000"`
	Unit   string  `toml:"unit" eg:"\"kWh\""`

	// Rate is the time that the rate is about: with "1h" (the default) it is in
	// units an hour, which for kWh are kW; with "1m" in units a minute.
	Rate config.Duration `toml:"rate" min:"1s" max:"1d" eg:"\"1h\""`

	// Interval is how often it reports at most; default 10s. A pulse after a longer
	// silence is told at once.
	Interval config.Duration `toml:"interval" min:"100ms" max:"1h" eg:"\"10s\""`

	// Timeout is after how long without a pulse the rate is 0; default 10m.
	Timeout config.Duration `toml:"timeout" min:"1s" max:"7d" eg:"\"10m\""`

	devices.Shown
}

func (c Counter) pulses() float64 { return or(c.Pulses, 1) }
func (c Counter) rate() time.Duration {
	return or(time.Duration(c.Rate), time.Hour)
}
func (c Counter) interval() time.Duration { return or(time.Duration(c.Interval), 10*time.Second) }
func (c Counter) timeout() time.Duration  { return or(time.Duration(c.Timeout), 10*time.Minute) }

func or[T comparable](v, instead T) T {
	var zero T
	if v == zero {
		return instead
	}
	return v
}

// input is the counter's pin as an input of its own.
func (c Counter) input() Input {
	return Input{Pin: c.Pin, Pull: c.Pull, ActiveLow: c.ActiveLow, Debounce: c.Debounce}
}

// pulse is the edge that is counted.
func (c Counter) pulse() gpio.Edge {
	if c.ActiveLow {
		return gpio.FallingEdge
	}
	return gpio.RisingEdge
}

// RateUnit is the unit of the rate: "kW", "l/min".
func (c Counter) RateUnit() string {
	per := ""
	switch c.rate() {
	case time.Second:
		per = "s"
	case time.Minute:
		per = "min"
	case time.Hour:
		if power, ok := strings.CutSuffix(c.Unit, "Wh"); ok {
			return power + "W"
		}
		per = "h"
	case 24 * time.Hour:
		per = "d"
	default:
		per = config.Duration(c.rate()).String()
	}
	return c.Unit + "/" + per
}

// Count counts the pulses of one counter. It starts nothing and reads no clock;
// like the guard it knows only the times that it is given, which never step.
//
// The rate is not the number of pulses in a window, which for a slow meter is
// mostly none: it is how many pulses came between two of them, by the times of
// their edges. While the next one is awaited the rate can't be more than one pulse
// in the time since the last, so it falls; after the timeout it is 0.
//
// A gap is a time for which nobody knows what came: the hub was not there, or its
// line had failed. What the kernel dropped because nobody took it is no gap, for
// the sequence numbers of the edges tell how many they were.
type Count struct {
	Counter // may be changed at any time

	total
	seq  uint32 // of the newest edge
	held bool
	life bool // the line has been held before in this life

	born         time.Duration // when this life began
	began, ended time.Duration // when the line was last taken and lost
	away         int64         // when the last life was heard of last, until its length is known

	first, last  moment  // the pulse from which the rate is measured, and the newest
	speed        float64 // pulses a second; see known
	known        bool
	told         time.Duration // when it was reported last
	fresh        bool          // there is something to report at once
	owes         bool          // pulses came since that
	unkept       bool          // pulses came since it was kept
	kept, unsafe time.Duration // when it was; the first of those pulses
}

// moment is a pulse: how many there were with it, and when it was.
type moment struct {
	n  uint64
	at time.Duration
	ok bool
}

// total is what the store holds of a counter.
type total struct {
	N      uint64        `json:"pulses"`         // all that were ever counted
	Base   float64       `json:"base,omitempty"` // the total when it was set last
	From   uint64        `json:"from,omitempty"` // and what N was then
	Gaps   uint64        `json:"gaps,omitempty"`
	Missed time.Duration `json:"missed,omitempty"` // how long the gaps were together, as far as is known

	// At is when this was noted, in nanoseconds of Unix time; 0 if the clock was
	// not to be trusted. Stopped says that counting ended then, in order.
	At      int64 `json:"at,omitempty"`
	Stopped bool  `json:"stopped,omitempty"`
}

// A Tally is what a counter has to tell.
type Tally struct {
	Total  float64 // in units
	Rate   float64 // in units per Counter.Rate, if Known
	Known  bool
	Pulses uint64 // all that were ever counted
	Gaps   uint64
	Missed time.Duration // how long the gaps were, as far as is known
}

// What is counted is on disk within a minute: it is handed to the store ten
// seconds after the first pulse that is not, and the store may take the rest.
// Where nothing is counted the time is noted now and then, with what is written
// anyway: so it is roughly known how long a crash lasted.
const (
	totalKept   = 60 * time.Second
	totalGather = 10 * time.Second
	totalAlive  = 10 * time.Minute
	aliveKept   = 50 * time.Minute // so an hour at most
)

// maxTotal is more than any meter shows; above it a pulse would soon be less than
// the number can tell.
const maxTotal = 1e12

// NewCount is a counter that has counted nothing yet and whose line is not held.
func NewCount(c Counter) *Count { return &Count{Counter: c, fresh: true} }

// resume goes on from what an earlier life counted. Between the two is a gap.
func (c *Count) resume(t total) {
	c.total = t
	c.Gaps++
	c.away = t.At
	c.At, c.Stopped = 0, false
}

// inherit goes on from a counter of this life that has ended, on another line
// or with other settings of it.
func (c *Count) inherit(from *Count, at time.Duration) {
	settings := c.Counter
	*c = *from
	c.Counter = settings
	c.End(at)
}

// Begin says that the line is held from now on: the next edge has the sequence
// number 1. Where it was held before in this life that makes a gap.
func (c *Count) Begin(at time.Duration) {
	if c.life {
		c.Gaps++
		c.Missed += max(0, at-c.ended)
		c.first, c.last = moment{}, moment{}
		c.known = false
	}
	if !c.life {
		c.kept, c.born = at, at
	}
	c.held, c.life, c.seq, c.began = true, true, 0, at
	c.fresh = true
	c.changes(at)
}

// End says that the line is not held any more.
func (c *Count) End(at time.Duration) {
	if c.held {
		c.held, c.ended = false, at
	}
}

// Clock says what the wall clock, which is to be trusted, shows at a time. By it
// the length of a gap between two lives is known.
func (c *Count) Clock(wall time.Time, at time.Duration) {
	c.At = wall.UnixNano()
	if c.away == 0 || !c.life {
		return
	}
	if gap := wall.Sub(time.Unix(0, c.away)) - (at - c.born); gap > 0 {
		c.Missed += gap
		c.fresh = true
	}
	c.away = 0
}

// Edge is a pulse with its sequence number. Those that are missing before it
// were pulses too. It gives how many they were.
func (c *Count) Edge(seq uint32, at time.Duration) (missing uint64) {
	n := seq - c.seq
	if n == 0 || n > math.MaxUint32/2 {
		return 0 // it has been counted
	}
	c.seq = seq
	c.Pulse(uint64(n), at)
	return uint64(n) - 1
}

// Pulse counts n pulses, of which the last was at.
func (c *Count) Pulse(n uint64, at time.Duration) {
	c.N += n
	c.owes = true
	c.changes(at)
	pulse := moment{c.N, at, true}
	if !c.last.ok || at-c.last.at >= c.timeout() { // how long it took says nothing
		c.first, c.speed = pulse, 0
		c.known = c.known || c.last.ok
	}
	c.last = pulse
}

// changes notes that there is something for the store.
func (c *Count) changes(at time.Duration) {
	if !c.unkept {
		c.unkept, c.unsafe = true, at
	}
}

// lost counts a gap of which only is known that it was: edges that may have been
// pulses.
func (c *Count) lost() {
	c.Gaps++
	c.fresh = true
}

// SetTotal makes the total what a person has read off the meter. The pulses count on.
func (c *Count) SetTotal(total float64) {
	c.Base, c.From = total, c.N
	c.fresh = true
}

// Total is in units.
func (c *Count) Total() float64 {
	digits := 2 + max(0, math.Ceil(math.Log10(c.pulses()))) // finer than a pulse
	return round(c.Base+float64(c.N-c.From)/c.pulses(), digits)
}

// Report is what there is to tell at a time, if it is due.
func (c *Count) Report(at time.Duration) (t Tally, due bool) {
	next, ok := c.Next()
	if !ok || at < next {
		return t, false
	}
	return c.tally(at), true
}

// tally is what there is to tell at a time, due or not.
func (c *Count) tally(at time.Duration) Tally {
	if c.last.n > c.first.n && c.last.at > c.first.at {
		c.speed = float64(c.last.n-c.first.n) / (c.last.at - c.first.at).Seconds()
		c.first, c.known = c.last, true
	}
	speed := c.speed
	if since := at - c.newest(); since >= c.timeout() {
		speed, c.speed, c.known = 0, 0, true
	} else if c.last.ok && since > 0 {
		speed = min(speed, 1/since.Seconds())
	}
	c.told, c.fresh, c.owes = at, false, false
	return Tally{
		Total: c.Total(), Rate: significant(speed * c.rate().Seconds() / c.pulses()), Known: c.known,
		Pulses: c.N, Gaps: c.Gaps, Missed: c.Missed,
	}
}

// newest is when there was a pulse last, or since when none has come.
func (c *Count) newest() time.Duration {
	if c.last.ok {
		return c.last.at
	}
	return c.began
}

// Next is when Report has something to tell, if no pulse comes.
func (c *Count) Next() (at time.Duration, ok bool) {
	silent := c.newest() + c.timeout()
	switch later := c.told + c.interval(); {
	case c.fresh:
		return 0, true
	case c.owes:
		return later, true
	case !c.held:
		return 0, false
	case !c.known:
		return silent, true
	case c.speed > 0: // until the next pulse it can't be as fast
		falls := c.last.at + time.Duration(float64(time.Second)/c.speed)
		return min(max(later, falls), max(silent, c.told)), true
	}
	return 0, false
}

// keep is what the store is to hold and within which time, if that is due.
func (c *Count) keep(at time.Duration) (t total, within time.Duration, due bool) {
	switch {
	case c.unkept && at >= c.unsafe+totalGather:
		within = totalKept - totalGather
	case at >= c.kept+totalAlive:
		within = aliveKept
	default:
		return t, 0, false
	}
	return c.note(at), within, true
}

// note is what the store is to hold.
func (c *Count) note(at time.Duration) total {
	c.unkept, c.kept = false, at
	return c.total
}

// keeps is when there is something for the store, if no pulse comes.
func (c *Count) keeps() (at time.Duration) {
	at = c.kept + totalAlive
	if c.unkept {
		at = min(at, c.unsafe+totalGather)
	}
	return at
}

// Readings is what there is to say of the tally of a counter, after what was said
// before. Where that is nil it is all, and was found, not news.
func (t Tally) Readings(name string, before *Tally, at devices.Now) (rs []devices.Reading) {
	say := func(source string, value float64, news bool) {
		if news || before == nil {
			rs = append(rs, devices.Reading{Source: source, Value: value, Text: devices.Text(value), At: at, Initial: before == nil})
		}
	}
	was := Tally{}
	if before != nil {
		was = *before
	}
	if before == nil && !t.Known { // first, for the total says that the counter is there
		rs = append(rs, devices.Reading{Source: name + ".rate", Bad: "not known before two pulses", Gone: true, At: at, Initial: true})
	}
	say(name, t.Total, t.Total != was.Total || t.Pulses != was.Pulses)
	if t.Known {
		say(name+".rate", t.Rate, t.Rate != was.Rate || !was.Known)
	}
	say(name+".pulses", float64(t.Pulses), t.Pulses != was.Pulses)
	say(name+".gaps", float64(t.Gaps), t.Gaps != was.Gaps)
	say(name+".missed", t.Missed.Round(time.Second).Seconds(), t.Missed.Round(time.Second) != was.Missed.Round(time.Second))
	return rs
}

// round is x with so many digits behind the point.
func round(x, digits float64) float64 {
	f := math.Pow(10, digits)
	if r := math.Round(x*f) / f; !math.IsInf(r, 0) && !math.IsNaN(r) {
		return r
	}
	return x
}

// significant is x with five digits that say something.
func significant(x float64) float64 {
	if x <= 0 {
		return 0
	}
	return round(x, 4-math.Floor(math.Log10(x)))
}
