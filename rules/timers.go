package rules

import (
	"container/heap"
	"time"
)

// A timerKind says what a deadline is for.
type timerKind byte

const (
	holdOver  timerKind = iota // a trigger's for
	untilOver                  // an until's for
	minOnOver                  // a trigger's min_on
	waitOver                   // a run's wait
)

// A timer is one deadline. Its slot, the field that holds it, is nil while
// nothing is waited for.
type timer struct {
	due     time.Duration // monotonic
	order   uint64        // of those due at once, the one set first comes first
	index   int           // in the heap
	kind    timerKind
	rule    *rule
	trigger *trigger
	until   *until
	run     *run

	// After a reboot whose clock is not known yet, wall is the deadline by the
	// clock of the last life; what is due is corrected once the clock is known.
	wall time.Time
}

// timers orders all deadlines. The zero value is empty.
type timers struct {
	heap  timerHeap
	count uint64
}

// set starts the timer of a slot, or starts it afresh.
func (ts *timers) set(slot **timer, t timer, due time.Duration) {
	ts.clear(slot)
	ts.count++
	t.due, t.order = due, ts.count
	*slot = &t
	heap.Push(&ts.heap, &t)
}

// clear stops the timer of a slot, if there is one.
func (ts *timers) clear(slot **timer) {
	if *slot != nil {
		heap.Remove(&ts.heap, (*slot).index)
		*slot = nil
	}
}

// due takes the first timer that is due by mono off the heap; its slot is the
// caller's to empty.
func (ts *timers) due(mono time.Duration) *timer {
	if len(ts.heap) == 0 || ts.heap[0].due > mono {
		return nil
	}
	return heap.Pop(&ts.heap).(*timer)
}

func (ts *timers) next() (time.Duration, bool) {
	if len(ts.heap) == 0 {
		return 0, false
	}
	return ts.heap[0].due, true
}

// move changes when a timer is due.
func (ts *timers) move(t *timer, due time.Duration) {
	t.due = due
	heap.Fix(&ts.heap, t.index)
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].order < h[j].order
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
