package hub

import (
	"context"
	"errors"
	"slices"
	"sync"

	"hearth/devices"
)

// inboxSize bounds the messages that wait for the loop. Readings of pins and
// controls always get in: the machine makes few of them.
const inboxSize = 4096

// An item is one thing for the loop to take up: a message with the readings it
// gave, readings of pins, or a control.
type item struct {
	message  *devices.Message
	readings []devices.Reading
	control  func()

	// merge is set where of several such items only the newest matters: a
	// numeric reading that no change, count or rate trigger uses.
	merge string
	dead  bool // a newer one has taken its place
}

// An inbox holds what the edges bring until the loop takes it. Many put, one
// takes; the order is kept.
type inbox struct {
	ready chan struct{} // holds a token while there is something to take

	mu      sync.Mutex
	size    int
	queue   []*item
	bounded int // living messages among them
	newest  map[string]*item
	waiting []chan struct{} // those who wait for room, first come first served
	merged  int64
	dropped int64
	closed  bool
}

var errStopped = errors.New("the hub has stopped")

func newInbox(size int) *inbox {
	return &inbox{ready: make(chan struct{}, 1), size: size, newest: make(map[string]*item)}
}

// always puts what is never refused.
func (in *inbox) always(it *item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if it.message != nil {
		in.bounded++ // take will count it out
	}
	in.push(it)
}

// try puts a message if there is room, and counts it as dropped if not.
func (in *inbox) try(it *item) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || !in.admit(it) {
		in.dropped++
		return false
	}
	return true
}

// wait puts a message and waits for room as long as it must. While it waits the
// sender's acknowledgement is withheld. An error means it was not put.
func (in *inbox) wait(ctx context.Context, it *item) error {
	for {
		in.mu.Lock()
		if in.closed {
			in.mu.Unlock()
			return errStopped
		}
		if in.admit(it) {
			in.mu.Unlock()
			return nil
		}
		room := make(chan struct{})
		in.waiting = append(in.waiting, room)
		in.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			in.mu.Lock()
			in.waiting = slices.DeleteFunc(in.waiting, func(w chan struct{}) bool { return w == room })
			in.wake() // the room may have been given to one who left
			in.mu.Unlock()
			return context.Cause(ctx)
		}
	}
}

// admit pushes it if there is room, or in place of an older one of its kind:
// nothing is merged while the loop keeps up.
func (in *inbox) admit(it *item) bool {
	if it.merge != "" && in.bounded >= in.size/2 {
		if old := in.newest[it.merge]; old != nil {
			old.dead = true
			in.bounded--
			in.merged++
			in.accept(it)
			return true
		}
	}
	if in.bounded >= in.size {
		return false
	}
	in.accept(it)
	return true
}

func (in *inbox) accept(it *item) {
	in.bounded++
	if it.merge != "" {
		in.newest[it.merge] = it
	}
	in.push(it)
}

func (in *inbox) push(it *item) {
	in.queue = append(in.queue, it)
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// take is the oldest item, or nil.
func (in *inbox) take() *item {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.queue) > 0 {
		it := in.queue[0]
		in.queue[0] = nil
		in.queue = in.queue[1:]
		if it.dead {
			continue
		}
		if it.merge != "" && in.newest[it.merge] == it {
			delete(in.newest, it.merge)
		}
		if it.message != nil {
			in.bounded--
			in.wake()
		}
		if len(in.queue) > 0 {
			select {
			case in.ready <- struct{}{}:
			default:
			}
		}
		return it
	}
	return nil
}

// wake lets the first that waits try again.
func (in *inbox) wake() {
	if len(in.waiting) > 0 && in.bounded < in.size {
		close(in.waiting[0])
		in.waiting = in.waiting[1:]
	}
}

func (in *inbox) len() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.queue)
}

func (in *inbox) counts() (waiting int, merged, dropped int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bounded, in.merged, in.dropped
}

// close refuses messages from now on and lets go of those who wait. Readings of
// pins and controls still get in.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, room := range in.waiting {
		close(room)
	}
	in.waiting = nil
}
