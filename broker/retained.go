package broker

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"hearth/store"
)

// A value is the retained message of one topic. All of it is guarded by Broker.mu but
// for what is atomic: the store's goroutine sets that, and sessions that catch up
// read message.
type value struct {
	message atomic.Pointer[message] // nil: deleted, and waits for the disk
	put     uint64                  // counts the changes

	onDisk    atomic.Uint64 // the newest change known to be there
	committed atomic.Int64  // when that was, ns since Broker.begun; 0: before
	lazy      atomic.Bool   // the store has a lazy change and will say when it is there
}

// retain makes m the value of its topic, or deletes that if its payload is empty. The
// store gets the change before anybody hears of it: it commits all it has, so what
// comes of the message is not on disk without its value. Else a rule could end by
// "Online" and after a crash begin anew by the "Offline" of before.
//
// A topic that had been quiet is written with the records that are returned, which
// the acknowledgement waits for; one that changes often, when its interval is over.
// b.mu is held.
func (b *Broker) retain(m *message, lim *limits, records []store.Record) []store.Record {
	v, _ := b.values.Get(m.topic)
	var old *message
	if v != nil {
		old = v.message.Load()
	}
	gone := len(m.payload) == 0
	switch {
	case v == nil && gone:
		return records
	case v != nil && v.onDisk.Load() == v.put && sameValue(old, m):
		return records // it costs the disk nothing
	}
	if !gone && m.from != "" && !b.retainable(old, m, lim) {
		if a := m.ack.Load(); a != nil && a.c.version == 5 {
			a.quota()
		}
		return records
	}
	if v == nil {
		v = &value{}
		b.values.Set(m.topic, v)
	}
	b.become(v, old, m)
	if b.store == nil {
		v.onDisk.Store(v.put)
		if gone {
			b.values.Delete(m.topic)
		}
		return records
	}
	return b.write(v, m, records)
}

// sameValue says that two messages are one value.
func sameValue(old, m *message) bool {
	if old == nil {
		return len(m.payload) == 0
	}
	return old.qos == m.qos && old.expires.IsZero() && m.expires.IsZero() &&
		bytes.Equal(old.payload, m.payload) && bytes.Equal(old.props, m.props)
}

// retainable says whether the limits allow m to be kept in the place of old, and logs
// when they begin not to.
func (b *Broker) retainable(old, m *message, lim *limits) bool {
	n, bytes := b.nRetained+1, b.retainedBytes+int64(m.size())
	if old != nil {
		n, bytes = n-1, bytes-int64(old.size())
	}
	if (old != nil || n <= lim.retained) && bytes <= lim.retainedBytes {
		return true
	}
	b.refused.Add(1)
	if b.overRetained++; b.overRetained&(b.overRetained-1) == 0 {
		b.log.Warn("broker: too many retained values, not keeping another", "client", m.from, "topic", m.topic,
			"values", b.nRetained, "bytes", b.retainedBytes, "times", b.overRetained)
	}
	return false
}

// become sets the message of a value and counts it.
func (b *Broker) become(v *value, old, m *message) {
	if old != nil {
		b.nRetained--
		b.retainedBytes -= int64(old.size())
	}
	v.put++
	if len(m.payload) == 0 {
		v.message.Store(nil)
		return
	}
	v.message.Store(m)
	b.nRetained++
	b.retainedBytes += int64(m.size())
	if !m.expires.IsZero() {
		b.expiring = true
	}
}

// write gives the store the newest change of a value.
func (b *Broker) write(v *value, m *message, records []store.Record) []store.Record {
	put := v.put
	// The store keeps the key as long as there are values of the topic, and m.topic is a
	// part of this one's packet.
	rec := store.Record{Kind: store.Retained, Key: strings.Clone(m.topic)}
	if len(m.payload) > 0 {
		rec.Value = encodeValue(m, m.at)
	}
	written := func() {
		v.onDisk.Store(put)
		v.committed.Store(int64(time.Since(b.begun)))
	}
	if last := v.committed.Load(); last != 0 && rec.Value != nil {
		if within := b.intervals.Load().of(m.topic) - (time.Since(b.begun) - time.Duration(last)); within > 0 {
			var done func(error)
			if v.lazy.CompareAndSwap(false, true) {
				done = func(err error) {
					v.lazy.Store(false)
					if err == nil {
						written()
					}
				}
			}
			b.store.Put(rec, within, done)
			return records
		}
	}
	m.needs = true
	b.store.Put(rec, 0, func(err error) {
		if err == nil {
			written()
		}
	})
	if len(records) == 0 {
		records = append(records, rec) // so that there is something to wait for
	}
	return records
}

// sweep deletes what has expired, and forgets what is deleted on disk too. b.mu is
// held.
func (b *Broker) sweep(now time.Time) {
	var gone []string
	var late []*message
	expiring := false
	for topic, v := range b.values.All() {
		switch m := v.message.Load(); {
		case m == nil && v.onDisk.Load() == v.put:
			gone = append(gone, topic)
		case m != nil && m.expired(now):
			late = append(late, m)
		case m != nil && !m.expires.IsZero():
			expiring = true
		}
	}
	b.expiring = expiring
	for _, topic := range gone {
		b.values.Delete(topic)
	}
	for _, m := range late {
		v, _ := b.values.Get(m.topic)
		b.become(v, m, &message{topic: m.topic})
		if b.store != nil {
			b.write(v, &message{topic: m.topic}, nil)
		} else {
			b.values.Delete(m.topic)
		}
	}
}

// restoreRetained reads the retained values the store has.
func (b *Broker) restoreRetained(now time.Time) {
	if b.store == nil {
		return
	}
	for topic, record := range b.store.Each(store.Retained) {
		m, err := decodeValue(record, now)
		if err == nil && m.topic != topic {
			err = fmt.Errorf("it is of topic %q", m.topic)
		}
		if err == nil && len(m.payload) == 0 {
			err = errMessage
		}
		if err != nil {
			b.log.Error("broker: a retained value in the store makes no sense, leaving it out", "topic", topic, "err", err)
			continue
		}
		v := &value{}
		m.retain = true
		b.become(v, nil, m)
		v.onDisk.Store(v.put)
		b.values.Set(topic, v)
	}
}
