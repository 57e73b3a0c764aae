package gpio

import (
	"time"

	"periph.io/x/conn/v3/gpio"
)

// debounce is the filter for pins that can't debounce on their own: a level
// counts once it has been stable for so long. It only knows the times that it is
// given, so the same edges give the same levels on a loaded machine and an idle
// one.
type debounce struct {
	stable  time.Duration
	level   gpio.Level // the one that counts
	pending bool       // the raw level has been the other one
	since   time.Time  // since then
}

// edge takes a raw edge. settled says that the level that counts has changed, at
// the time at, which may be before the edge: a filter that is not asked often
// enough catches up.
func (d *debounce) edge(raw gpio.Level, t time.Time) (settled bool, at time.Time) {
	settled, at = d.pass(t)
	d.pending = raw != d.level
	d.since = t
	if !settled {
		settled, at = d.pass(t) // without a filter it counts at once
	}
	return settled, at
}

// pass says that it is t, and what has settled up to then.
func (d *debounce) pass(t time.Time) (settled bool, at time.Time) {
	due := d.since.Add(d.stable)
	if !d.pending || t.Before(due) {
		return false, time.Time{}
	}
	d.level, d.pending = !d.level, false
	return true, due
}

// wait is how long to wait for an edge before asking pass again; negative where
// only an edge can change anything.
func (d *debounce) wait(t time.Time) time.Duration {
	if !d.pending {
		return -1
	}
	return max(0, d.since.Add(d.stable).Sub(t))
}
