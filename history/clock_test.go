package history

import (
	"testing"
	"time"
)

// A clock that is a year ahead for a moment, by a wrong server or by a hand, costs no history: what is too
// old goes only by a clock that has gone on for a while without being set.
func TestAClockThatIsAheadForAMomentCostsNothing(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	for range 20 {
		h.report("x", 1.0)
		h.pass(24 * time.Hour)
		h.flush()
	}
	all := len(h.points("x"))
	h.now.Wall = h.now.Wall.AddDate(1, 0, 0)
	h.report("x", 2.0)
	h.flush()
	h.pass(10 * time.Minute)
	h.report("x", 3.0)
	h.flush()
	h.now.Wall = h.now.Wall.AddDate(-1, 0, 0)
	h.report("x", 4.0)
	h.flush()
	if got := len(h.points("x")); got < all {
		t.Errorf("of %d readings %d are left", all, got)
	}
}

// Also if it is ahead at the start, when nobody can see that it has been set.
func TestAClockThatIsAheadAtTheStartCostsNothing(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	for range 20 {
		h.report("x", 1.0)
		h.pass(24 * time.Hour)
		h.flush()
	}
	all := len(h.points("x"))
	h.stop()
	h.boot = "boot 2"
	h.now.Wall, h.now.Mono = h.now.Wall.AddDate(1, 0, 0), time.Minute
	h.start()
	h.report("x", 2.0)
	h.flush()
	h.pass(10 * time.Minute)
	h.report("x", 3.0)
	h.flush()
	if got := len(h.points("x")); got < all {
		t.Errorf("of %d readings %d are left", all, got)
	}
	// Nobody has set it for hours: it has to be taken for right.
	for range 30 {
		h.pass(10 * time.Minute)
		h.report("x", 4.0)
		h.flush()
	}
	if got := len(h.points("x")); got > 40 {
		t.Errorf("%d readings are kept for ever", got)
	}
}
