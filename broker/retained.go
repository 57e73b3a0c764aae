package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/store"
)

// retained are the retained values, here and in the store. The library's own
// table of them is not used: it is read without the lock it is written with, and
// at subscribing it drops what is beyond the queue of one client.
type retained struct {
	store *store.Store                     // nil: memory only
	every func(topic string) time.Duration // how often a topic is written at most, and so how old its value may be after a power cut
	begun time.Time                        // committed counts from here, by the monotonic clock

	mu     sync.RWMutex // held while a value changes and goes to its subscribers
	topics map[string]*value
}

// A value of one topic. Its last three fields are also set by the store's
// goroutine, which must not wait for mu: Put is called with it held.
type value struct {
	record []byte // as in the store, which shares it; nil: deleted, and waits for the disk
	expiry int64  // Unix seconds; 0: never
	put    uint64 // counts the changes

	onDisk    atomic.Uint64 // the newest change known to be there
	committed atomic.Int64  // when that was, ns since begun; 0: before
	lazy      atomic.Bool   // the store has a lazy change and will say when it is there
}

// openRetained reads what the store has.
func openRetained(st *store.Store, every func(topic string) time.Duration, log *slog.Logger) *retained {
	r := &retained{store: st, every: every, begun: time.Now().Add(-1), topics: map[string]*value{}}
	if st == nil {
		return r
	}
	for topic, record := range st.Each(store.Retained) {
		pk, err := decodeRetained(record)
		if err == nil && pk.TopicName != topic {
			err = fmt.Errorf("it is of topic %q", pk.TopicName)
		}
		if err != nil {
			log.Error("broker: a retained value in the store makes no sense, leaving it out", "topic", topic, "err", err)
			continue
		}
		r.topics[topic] = &value{record: record, expiry: pk.Expiry}
	}
	return r
}

// A change is what a retained message makes of its topic's value.
type change struct {
	topic  string
	record []byte // nil: deletes it
	expiry int64
}

func changeBy(pk packets.Packet) change {
	c := change{topic: strings.Clone(pk.TopicName)} // which is a part of the packet
	if len(pk.Payload) > 0 {
		c.record, c.expiry = encodeRetained(pk)
	}
	return c
}

// same says that c changes nothing, in memory or on disk. mu is held.
func (r *retained) same(c change) bool {
	v := r.topics[c.topic]
	if v == nil {
		return c.record == nil
	}
	return c.record != nil && bytes.Equal(v.record, c.record) && v.onDisk.Load() == v.put
}

// ahead gives the store a change that nobody has heard of yet. The store commits
// all it has, so what comes of the message is not on disk without its value: else
// a rule could end by "Online" and after a crash begin anew by the "Offline" of
// before. keep or takeBack follows.
func (r *retained) ahead(c change) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.store != nil && !r.same(c) {
		r.store.Put(store.Record{Kind: store.Retained, Key: c.topic, Value: c.record}, r.every(c.topic), nil)
	}
}

// takeBack gives the store again what the topic's value is, after a message that
// was not taken.
func (r *retained) takeBack(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store == nil {
		return
	}
	var record []byte
	if v := r.topics[topic]; v != nil {
		record = v.record
	}
	r.store.Put(store.Record{Kind: store.Retained, Key: topic, Value: record}, 0, nil)
}

// keep makes c the topic's value, or deletes it, and calls deliver; nothing else
// changes in between, so that memory, disk and subscribers see two publishers of
// a topic in the same order. The channel says when the value is on disk; it is nil
// if nobody needs to wait for that.
func (r *retained) keep(c change, deliver func()) <-chan error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer deliver()
	if r.same(c) {
		return nil
	}
	v := r.topics[c.topic]
	if v == nil {
		v = &value{}
		r.topics[c.topic] = v
	}
	v.expiry = c.expiry
	return r.put(c.topic, v, c.record)
}

// put gives the store a change, nil for deletion: at once if the topic was quiet.
func (r *retained) put(topic string, v *value, record []byte) <-chan error {
	v.record = record
	v.put++
	put := v.put
	if r.store == nil {
		v.onDisk.Store(put)
		if record == nil {
			delete(r.topics, topic)
		}
		return nil
	}
	rec := store.Record{Kind: store.Retained, Key: topic, Value: record}
	written := func() {
		v.onDisk.Store(put)
		v.committed.Store(int64(time.Since(r.begun)))
	}
	if last := v.committed.Load(); last != 0 && record != nil {
		if within := r.every(topic) - (time.Since(r.begun) - time.Duration(last)); within > 0 {
			var done func(error)
			if v.lazy.CompareAndSwap(false, true) {
				done = func(err error) {
					v.lazy.Store(false)
					if err == nil {
						written()
					}
				}
			}
			r.store.Put(rec, within, done)
			return nil
		}
	}
	committed := make(chan error, 1)
	r.store.Put(rec, 0, func(err error) {
		if err == nil {
			written()
		} else {
			err = fmt.Errorf("keep retained %q: %w", rec.Key, err)
		}
		committed <- err
	})
	return committed
}

// sweep deletes what has expired, and forgets what is deleted on disk too.
func (r *retained) sweep(now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, v := range r.topics {
		switch {
		case v.record == nil && v.onDisk.Load() == v.put:
			delete(r.topics, topic)
		case v.record != nil && v.expiry != 0 && v.expiry <= now:
			r.put(topic, v, nil)
		}
	}
}

// get gives the value of a topic, ready to be sent.
func (r *retained) get(topic string) (pk packets.Packet, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.getLocked(topic)
}

func (r *retained) getLocked(topic string) (pk packets.Packet, ok bool) {
	v := r.topics[topic]
	if v == nil || v.record == nil || v.expiry != 0 && v.expiry <= time.Now().Unix() {
		return pk, false
	}
	pk, err := decodeRetained(v.record)
	return pk, err == nil
}

// match lists the topics that have a value and match a filter, sorted.
func (r *retained) match(filter string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !strings.ContainsAny(filter, "+#") {
		if v := r.topics[filter]; v != nil && v.record != nil {
			return []string{filter}
		}
		return nil
	}
	return slices.Sorted(func(yield func(string) bool) {
		for topic := range maps.Keys(r.topics) {
			if r.topics[topic].record != nil && matches(filter, topic) && !yield(topic) {
				return
			}
		}
	})
}

func (r *retained) len() (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, v := range r.topics {
		if v.record != nil {
			n++
		}
	}
	return n
}

// matches says whether a topic matches a filter, as MQTT has it: "a/#" matches
// "a" too, and a wildcard at the front no topic that begins with $.
func matches(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		f, moreF, isF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, moreT, isT := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !isT:
			return !isF || moreF == "#"
		case !isF:
			return false
		}
		filter, topic = moreF, moreT
	}
}

// A retained value in the store is the MQTT 5 PUBLISH that would bring it to a
// client, after two fields of our own:
//
//	1 byte    format, 1
//	8 bytes   when it expires, Unix seconds, big endian; 0: never
//	rest      the PUBLISH packet with RETAIN set, packet id 1 if it needs one, and
//	          no expiry interval
const retainedFormat = 1

func encodeRetained(pk packets.Packet) (record []byte, expiry int64) {
	if n := pk.Properties.MessageExpiryInterval; n > 0 {
		expiry = time.Now().Unix() + int64(n)
	}
	var b bytes.Buffer
	b.WriteByte(retainedFormat)
	b.Write(binary.BigEndian.AppendUint64(nil, uint64(expiry)))
	out := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: pk.FixedHeader.Qos, Retain: true},
		ProtocolVersion: 5,
		TopicName:       pk.TopicName,
		Payload:         pk.Payload,
		PacketID:        1,
		Properties:      pk.Properties,
		Mods:            packets.Mods{AllowResponseInfo: true},
	}
	out.Properties.MessageExpiryInterval = 0
	out.Properties.SubscriptionIdentifier = nil
	out.PublishEncode(&b) // it fails for packet id 0 only
	return b.Bytes(), expiry
}

var errRetained = errors.New("not a retained value of this format")

// decodeRetained gives the message a record holds. It shares the record's bytes.
func decodeRetained(record []byte) (pk packets.Packet, err error) {
	if len(record) < 11 || record[0] != retainedFormat {
		return pk, errRetained
	}
	expiry := binary.BigEndian.Uint64(record[1:])
	if expiry > math.MaxInt64 {
		return pk, errRetained
	}
	pk.ProtocolVersion = 5
	if err := pk.FixedHeader.Decode(record[9]); err != nil {
		return pk, fmt.Errorf("%w: %w", errRetained, err)
	}
	body := bytes.NewReader(record[10:])
	n, _, err := packets.DecodeLength(body)
	if err != nil || n != body.Len() || pk.FixedHeader.Type != packets.Publish || !pk.FixedHeader.Retain {
		return pk, errRetained
	}
	pk.FixedHeader.Remaining = n
	if err := pk.PublishDecode(record[len(record)-n:]); err != nil {
		return pk, fmt.Errorf("%w: %w", errRetained, err)
	}
	if topicFault(pk.TopicName, false) != "" || len(pk.Payload) == 0 {
		return pk, errRetained
	}
	pk.PacketID = 0
	pk.Expiry = int64(expiry)
	return pk, nil
}
