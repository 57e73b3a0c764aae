package hub

import (
	"sync/atomic"
	"time"

	"hearth/broker"
	"hearth/devices"
)

// words is how outputs on topics speak to their devices. It stands beside the
// outbox of the loop, so that neither a stalled loop nor what the loop sends
// delays the off of a limit; and one goroutine says everything, so that what is
// said again can't overtake what is newer.
//
// After a start the devices come back later than the hub, and one whose Wi-Fi
// was away missed what it was told. So the newest word on each topic that nobody
// heard is said again when somebody subscribes; but not when it has become old,
// for an on that comes late opens a garage door.
type words struct {
	outbox *outbox[func()]
	tell   func(broker.Message) error
	heard  func(topic string) bool
	asked  atomic.Bool       // again is on its way
	missed map[string]missed // by topic; of the outbox's goroutine alone
}

// missed is a word that nobody heard.
type missed struct {
	devices.Message
	at time.Time
}

// word is the origin of what an output on a topic says: that of the command it
// follows from.
type word struct{ devices.Origin }

func newWords(tell func(broker.Message) error, heard func(topic string) bool) *words {
	return &words{
		outbox: newOutbox(func(f func()) { f() }),
		tell:   tell,
		heard:  heard,
		missed: make(map[string]missed),
	}
}

// say is called by the goroutine of an output and returns when the word has gone
// out: only then may another output go on that must not be on with it.
func (w *words) say(m devices.Message) error {
	said := make(chan error, 1)
	err := w.outbox.put(func() {
		heard := w.heard(m.Topic)
		err := w.speak(m)
		delete(w.missed, m.Topic)
		if err == nil && !heard {
			w.missed[m.Topic] = missed{m, time.Now()}
		}
		said <- err
	})
	if err != nil {
		return err
	}
	return <-said
}

// again says what was missed to those who are there by now. It does not wait.
func (w *words) again() {
	if w.asked.Swap(true) {
		return // nothing is taken just now, so one is enough
	}
	w.outbox.put(func() {
		w.asked.Store(false)
		for topic, m := range w.missed {
			switch {
			case time.Since(m.at) > homecoming:
				delete(w.missed, topic)
			case w.heard(topic) && w.speak(m.Message) == nil:
				delete(w.missed, topic)
			}
		}
	})
}

func (w *words) speak(m devices.Message) error {
	return w.tell(broker.Message{Topic: m.Topic, Payload: m.Payload, Origin: word{m.Origin}})
}

func (w *words) finish() { w.outbox.finish() }
