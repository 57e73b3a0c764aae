package hub

import (
	"errors"
	"sync"
	"time"
)

// outboxSize bounds what waits for a sink that does not take anything.
const outboxSize = 16384

var errOutboxFull = errors.New("too much waits already, for nothing is taken")

// An outbox carries what the loop wants done to a sink that may be slow: one
// goroutine works it off in order, the loop never waits.
type outbox[T any] struct {
	do    func(T)
	ready chan struct{}
	done  chan struct{}

	mu     sync.Mutex
	queue  []T
	closed bool
}

func newOutbox[T any](do func(T)) *outbox[T] {
	o := &outbox[T]{do: do, ready: make(chan struct{}, 1), done: make(chan struct{})}
	go o.work()
	return o
}

// put appends v, or says that nothing more fits.
func (o *outbox[T]) put(v T) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return errStopped
	case len(o.queue) >= outboxSize:
		return errOutboxFull
	}
	o.queue = append(o.queue, v)
	o.poke()
	return nil
}

func (o *outbox[T]) poke() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox[T]) work() {
	defer close(o.done)
	for range o.ready {
		for {
			o.mu.Lock()
			if len(o.queue) == 0 {
				closed := o.closed
				o.mu.Unlock()
				if closed {
					return
				}
				break
			}
			v := o.queue[0]
			o.queue = o.queue[1:]
			o.mu.Unlock()
			o.do(v)
		}
	}
}

// finish lets the sink do what waits, but not for long: one that takes nothing
// must not keep the house from stopping.
func (o *outbox[T]) finish() {
	o.mu.Lock()
	o.closed = true
	o.poke()
	o.mu.Unlock()
	select {
	case <-o.done:
	case <-time.After(200 * time.Millisecond):
	}
}
