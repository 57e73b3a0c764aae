package gpio

import "time"

// Debounce is the filter of one input: a level counts once it has been stable
// for so long, both ways. It only knows the times that it is given, so the same
// edges give the same levels on a loaded machine and an idle one. It is for pins
// that can't debounce on their own.
type Debounce struct {
	Stable time.Duration
	On     bool // the level that counts

	pending bool          // the raw level has been the other one
	since   time.Duration // since then
}

// Level takes a raw level. settled says that the level that counts has changed,
// at the time when, which may be before at: a filter that is not asked often
// enough catches up.
func (d *Debounce) Level(raw bool, at time.Duration) (settled bool, when time.Duration) {
	settled, when = d.Advance(at)
	d.pending = raw != d.On
	d.since = at
	if !settled {
		settled, when = d.Advance(at) // without a filter it counts at once
	}
	return settled, when
}

// Advance says that it is at, and what has settled up to then.
func (d *Debounce) Advance(at time.Duration) (settled bool, when time.Duration) {
	due, ok := d.Next()
	if !ok || at < due {
		return false, 0
	}
	d.On, d.pending = !d.On, false
	return true, due
}

// Next is when a level settles if no edge comes before.
func (d *Debounce) Next() (at time.Duration, ok bool) { return d.since + d.Stable, d.pending }
