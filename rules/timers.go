package rules

import (
	"container/heap"
	"time"
)

// A timerKind says what a deadline is for.
type timerKind byte

const (
	holdOver    timerKind = iota // a trigger's for
	silenceOver                  // of a trigger, or of its until
	untilOver                    // an until's for
	minOnOver                    // a trigger's min_on
	repeatDue                    // an episode's next run
	planDue                      // a time of day
	waitOver                     // a thread's delay or pulse
	waitHeld                     // what a thread waits for has held, or is due
	waitSilent                   // its source has been silent
	timeoutOver                  // a thread has waited long enough
	retryDue                     // a request is made once more
	levelSilent                  // the source of a condition has been silent
	afterDue                     // a machine has been in its state for so long
	batchDue                     // a calc's batch
	backDue                      // a variable is its initial again
)

// A timer is one deadline. Its slot, the field that holds it, is nil while
// nothing is waited for.
type timer struct {
	due   time.Duration // monotonic
	order uint64        // of those due at once, the one set first comes first
	index int           // in the heap
	kind  timerKind
	until int // of a trigger: which; -1 for its own; also a level or a move

	inst     *instance
	trigger  *trigger
	thread   *thread
	request  *request
	calc     *calc
	variable *variable

	// A deadline that is a moment of the wall clock, and follows it where it is
	// set anew.
	at time.Time

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
	ts.put(slot, t, due, ts.count)
}

// put is set with the order that the timer had in another life.
func (ts *timers) put(slot **timer, t timer, due time.Duration, order uint64) {
	ts.count = max(ts.count, order)
	t.due, t.order = due, order
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
