package history

import (
	"sync"
	"testing"
	"time"
)

// Who asks while others do, and the clock has been set since the last flush, has clocks of
// his own.
func TestManyAskAtOnceWhileTheClockIsSet(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	step := func() {
		h.report("x", 1.0)
		h.pass(time.Second)
		h.now.Wall = h.now.Wall.Add(time.Second)
		h.tell()
	}
	for range 3 {
		step()
	}
	h.flush()
	step()
	h.now.Known = false // the hub has started again, and nobody has told it yet
	step()
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for range 50 {
				n := 0
				for _, err := range h.Readings("x", time.Time{}, time.Time{}) {
					if err != nil {
						t.Error(err)
					}
					n++
				}
				if n != 5 {
					t.Errorf("%d readings, want 5", n)
				}
			}
		})
	}
	askers.Wait()
}

// An hour that the clock has twice is an hour all the same: nothing holds for longer than
// there was time.
func TestAnHourThatTheClockHasTwice(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	for i := range 120 { // from 12:00 to 14:00
		h.report("x", float64(i%7))
		h.pass(time.Minute)
	}
	h.now.Wall = h.now.Wall.Add(-time.Hour)
	for i := range 120 { // and from 13:00 to 15:00
		h.report("x", float64(i%7))
		h.pass(time.Minute)
	}
	h.report("x", 1.0)
	from, to := june, june.Add(3*time.Hour)
	check := func(what string) {
		t.Helper()
		list, err := h.Chart("x", from, to, 3)
		if err != nil || len(list) != 3 {
			t.Fatal(list, err)
		}
		for _, b := range list {
			if b.Held != time.Hour {
				t.Errorf("%s: from %s a value held for %v of an hour", what, b.From.Format("15:04"), b.Held)
			}
		}
	}
	check("of readings")
	h.flush()
	for range 3 {
		h.pass(24 * time.Hour)
		h.report("x", 1.0)
		h.flush()
	}
	check("of rollups")
	list, err := h.Days("x", june, june.Add(time.Hour))
	if err != nil || len(list) != 1 || list[0].Held > 24*time.Hour {
		t.Errorf("%+v %v", list, err)
	}
}

// What a salvage finds on the disk is learned before what waits in memory, and that once more
// when it is written: a moment is placed by the clock that was known next after it all the same.
func TestAClockThatIsLearnedTwice(t *testing.T) {
	segment := func(order uint64, offset int64) *head {
		return &head{boot: 1, clocks: []clock{{order: order, offset: offset, known: true}}}
	}
	times := make(timeline)
	for range 2 {
		for i := range int64(4) {
			times.learn(segment(uint64(10*(i+1)), i))
		}
	}
	for i := range int64(4) {
		if got, sure := times.offset(&head{boot: 1}, clock{order: uint64(10*i + 5), offset: -1}); got != i || !sure {
			t.Errorf("at %d it is the clock %d, want %d", 10*i+5, got, i)
		}
	}
}
