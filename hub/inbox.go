package hub

import (
	"errors"
	"sync"

	"hearth/devices"
	"hearth/devices/catalog"
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

	replyTo     string                  // where who published wants to be answered, as MQTT 5 says it
	correlation []byte                  // and what it wants to find in the answer
	hears       func(topic string) bool // what it may receive; nil: anything

	values    []catalog.Value // what devices that announced themselves report in it
	index     *catalog.Index  // by which
	announces bool            // it may say what a device is

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
	waiting []waiter // those who wait for room, first come first served
	merged  int64
	dropped int64
	closed  bool
}

type waiter struct {
	room chan struct{} // closed when there is some
	own  bool          // the hub itself
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

// put puts a message that is never refused. If there was no room for it, room is
// closed when there is some: until then its sender's acknowledgement is withheld, so
// it is one message a sender that is too many. After close it is not taken, and room
// stays open, unless the hub itself is the sender: it wants no acknowledgement.
func (in *inbox) put(it *item, own bool) (room <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed && own:
		return nil
	case in.closed:
		return make(chan struct{})
	case in.admit(it):
		return nil
	}
	in.accept(it)
	w := waiter{make(chan struct{}), own}
	in.waiting = append(in.waiting, w)
	return w.room
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

// wake lets the first that waits go on, which may be gone already; all, when the loop
// has caught up.
func (in *inbox) wake() {
	for len(in.waiting) > 0 && in.bounded < in.size {
		close(in.waiting[0].room)
		if in.waiting = in.waiting[1:]; in.bounded > in.size/2 {
			return
		}
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

// close refuses messages from now on, and lets the hub's own senders go. Readings of
// pins and controls still get in.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, w := range in.waiting {
		if w.own {
			close(w.room)
		} // to let the others go on would have them acknowledged
	}
	in.waiting = nil
}
