package gpio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

// counted is what a counter with these keys tells of pulses at these times, up to
// the end. Deadlines are served when they are due.
func counted(t *testing.T, keys string, end time.Duration, pulses ...time.Duration) string {
	t.Helper()
	c := NewCount(configured(t, "[counter.power]\npin = \"GPIO5\"\n"+keys).Counter[0].Value)
	c.Begin(0)
	var told []string
	look := func(at time.Duration) {
		if r, due := c.Report(at); due {
			rate := "?"
			if r.Known {
				rate = devices.Text(r.Rate)
			}
			told = append(told, fmt.Sprintf("%v: %v at %s", at.Seconds(), r.Total, rate))
		}
	}
	until := func(end time.Duration) {
		for at, ok := c.Next(); ok && at <= end; at, ok = c.Next() {
			look(at)
		}
	}
	look(0)
	for i, at := range pulses {
		until(at - 1)
		c.Edge(uint32(i+1), at)
		look(at)
	}
	until(end)
	return strings.Join(told, ", ")
}

// every is n pulses, one every so often.
func every(d time.Duration, from time.Duration, n int) (at []time.Duration) {
	for i := range n {
		at = append(at, from+time.Duration(i)*d)
	}
	return at
}

func TestRates(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name, keys string
		end        time.Duration
		pulses     []time.Duration
		want       string
	}{
		{"a slow meter, a pulse a minute: 60 W", "pulses = 1000\nunit = \"kWh\"", 185 * s, every(60*s, 5*s, 4),
			"0: 0 at ?, 10: 0.001 at ?, 65: 0.002 at 0.06, 125: 0.003 at 0.06, 185: 0.004 at 0.06"},
		{"and then the load goes off: the rate falls, and is 0 after the timeout", "pulses = 1000\ninterval = \"30s\"\ntimeout = \"3m\"", 600 * s, []time.Duration{60 * s, 120 * s},
			"0: 0 at ?, 60: 0.001 at ?, 120: 0.002 at 0.06, 180: 0.002 at 0.06, 210: 0.002 at 0.04, 240: 0.002 at 0.03, 270: 0.002 at 0.024, 300: 0.002 at 0"},
		{"a fast meter is told each interval, as fast as its edges say", "pulses = 1000\nrate = \"1s\"", 20 * s, every(100*ms, 50*ms, 190),
			"0: 0 at ?, 10: 0.1 at 0.01, 20: 0.19 at 0.00095238"},
		{"the first pulse after a silence is told at once", "rate = \"1s\"\ntimeout = \"20s\"", 61 * s, []time.Duration{40 * s, 40*s + 500*ms},
			"0: 0 at ?, 20: 0 at 0, 40: 1 at 0, 50: 2 at 0.10526, 60: 2 at 0.051282, 60.5: 2 at 0"},
		{"nothing comes at all", "timeout = \"1m\"", time.Hour, nil, "0: 0 at ?, 60: 0 at 0"},
	} {
		if got := counted(t, tt.keys, tt.end, tt.pulses...); got != tt.want {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", tt.name, got, tt.want)
		}
	}
}

func TestRateUnits(t *testing.T) {
	for _, tt := range []struct {
		unit string
		rate time.Duration
		want string
	}{
		{"kWh", 0, "kW"}, {"Wh", time.Hour, "W"}, {"m³", 0, "m³/h"}, {"l", time.Minute, "l/min"}, {"", time.Second, "/s"}, {"mm", 24 * time.Hour, "mm/d"}, {"l", 15 * time.Minute, "l/15m"},
	} {
		c := Counter{Unit: tt.unit}
		c.Rate = config.Duration(tt.rate)
		if got := c.RateUnit(); got != tt.want {
			t.Errorf("%s per %v: %q, want %q", tt.unit, tt.rate, got, tt.want)
		}
	}
}

func TestTheTotalIsWhatWasSetAndWhatCameThen(t *testing.T) {
	c := NewCount(Counter{Pulses: 1000})
	c.Begin(0)
	c.Edge(3, time.Second)
	c.SetTotal(12345.6)
	c.Edge(4, 2*time.Second)
	if r, due := c.Report(10 * time.Second); !due || r.Total != 12345.601 || r.Pulses != 4 {
		t.Errorf("%+v, due %v", r, due)
	}
	c.Counter.Pulses = 500 // it was written wrongly
	if got := c.Total(); got != 12345.602 {
		t.Errorf("by the right number of pulses it is %v", got)
	}
}

func TestGaps(t *testing.T) {
	wall := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	c := NewCount(Counter{})
	c.Begin(0)
	c.Clock(wall, 0)
	c.Edge(5, time.Second)
	c.End(10 * time.Second) // the line fails
	c.Begin(13 * time.Second)
	c.Edge(2, 14*time.Second)
	c.Clock(wall.Add(20*time.Second), 20*time.Second)
	c.End(20 * time.Second)
	kept := c.note(20 * time.Second)
	if kept.N != 7 || kept.Gaps != 1 || kept.Missed != 3*time.Second {
		t.Errorf("after a failure: %+v", kept)
	}
	// The next start knows what time it is only after a while.
	c = NewCount(Counter{})
	c.resume(kept)
	c.Begin(0)
	c.Edge(1, time.Second)
	c.End(2 * time.Second)
	c.Begin(4 * time.Second)
	c.Clock(wall.Add(20*time.Second+time.Hour), 50*time.Second)
	if r, _ := c.Report(50 * time.Second); r.Pulses != 8 || r.Gaps != 3 || r.Missed != time.Hour-50*time.Second+5*time.Second {
		t.Errorf("after a restart: %+v", r)
	}
	// And one that never does.
	kept = c.note(time.Minute)
	kept.At = 0
	c = NewCount(Counter{})
	c.resume(kept)
	c.Begin(0)
	c.Clock(wall.Add(48*time.Hour), time.Minute)
	if r, _ := c.Report(time.Minute); r.Gaps != 4 || r.Missed != kept.Missed {
		t.Errorf("after a start without a clock: %+v", r)
	}
}

// Whatever happens to a counter, each pulse is counted once or falls into a gap
// that is counted: edges that the kernel drops, a line that fails, starts and
// stops, and crashes, which cost what came since it was kept.
func TestNoPulseIsLostOrCountedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewCount(Counter{Pulses: 1000})
		c.Begin(0)
		at := time.Duration(0)
		var seq uint32   // the kernel's
		var queue []Edge // that wait in it
		var want, gaps uint64
		var disk total // what the store has by now
		var onDisk uint64
		var unsafe time.Duration = -1 // the first pulse that is not handed to the store
		took := func() {
			for _, e := range queue {
				c.Edge(e.Seq, at)
			}
			queue = nil
		}
		store := func(due bool, t total) {
			if due {
				disk, onDisk, unsafe = t, c.N, -1
			}
		}
		rapid.SliceOfN(rapid.Custom(func(r *rapid.T) int {
			switch rapid.SampledFrom([]string{"pulse", "pulse", "pulse", "burst", "take", "wait", "fail", "stop", "crash"}).Draw(r, "what") {
			case "pulse":
				seq++
				want++
				queue = append(queue, Edge{Seq: seq})
			case "burst": // more than the kernel keeps: the oldest are gone
				n := rapid.IntRange(1, 1000).Draw(r, "n")
				seq += uint32(n)
				want += uint64(n)
				queue = []Edge{{Seq: seq}}
			case "take":
				took()
			case "wait":
				took()
				if c.unkept && unsafe < 0 {
					unsafe = at
				}
				end := at + time.Duration(rapid.IntRange(1, 100_000).Draw(r, "ms"))*ms
				for next := c.keeps(); next <= end; next = c.keeps() {
					at = max(at, next)
					kept, within, due := c.keep(at)
					if due && unsafe >= 0 && at+within > unsafe+totalKept {
						t.Fatalf("pulses of %v are on disk at %v", unsafe, at+within)
					}
					store(due, kept)
					c.Report(at)
				}
				at = end
			case "fail":
				took()
				c.End(at)
				disk, onDisk, unsafe = c.note(at), c.N, -1
				at += time.Second
				seq, queue = 0, nil
				c.Begin(at)
				gaps++
			case "stop":
				took()
				c.End(at)
				disk, onDisk = c.note(at), c.N
				c = NewCount(Counter{Pulses: 1000})
				c.resume(disk)
				at, seq, queue, unsafe = 0, 0, nil, -1
				c.Begin(at)
				gaps++
			case "crash":
				c = NewCount(Counter{Pulses: 1000})
				if disk != (total{}) {
					c.resume(disk)
				}
				want, gaps = onDisk, c.Gaps
				at, seq, queue, unsafe = 0, 0, nil, -1
				c.Begin(at)
			}
			if n := uint64(len(queue)); n == 0 && (c.N != want || c.Gaps != gaps) {
				t.Fatalf("counted %d with %d gaps, there were %d with %d", c.N, c.Gaps, want, gaps)
			}
			return 0
		}), 1, 60).Draw(t, "steps")
		took()
		if c.N != want || c.Gaps != gaps {
			t.Fatalf("counted %d with %d gaps, there were %d with %d", c.N, c.Gaps, want, gaps)
		}
	})
}
