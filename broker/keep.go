package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"hearth/broker/topic"
	"hearth/store"
)

// What a kept session has in the store:
//
//	Session       by client id: what it is, and the will of its connection
//	Subscription  session number, filter
//	Queued        session number, message number: a delivery it owes or is owed
//	Body          message number: what several deliveries share
//	Unreleased    session number, packet id: a QoS 2 message that it has not released
//
// Numbers are big endian, so that the store gives them in order. A message is deleted
// after its last delivery; one without any, as a damaged file may have, at the start.

// forgetWithin is how soon the store learns that a delivery is done. Should a crash
// come first it is made again, marked as a duplicate.
const forgetWithin = time.Second

func seqKey(seq uint64) string { return string(binary.BigEndian.AppendUint64(nil, seq)) }

func numKey(num uint32) []byte { return binary.BigEndian.AppendUint32(make([]byte, 0, 12), num) }

func queuedKey(num uint32, seq uint64) string {
	return string(binary.BigEndian.AppendUint64(numKey(num), seq))
}

func subscriptionKey(num uint32, name string) string { return string(numKey(num)) + name }

func unreleasedKey(num uint32, id uint16) string {
	return string(binary.BigEndian.AppendUint16(numKey(num), id))
}

// keep writes the session as its connection made it, unless the store has it so: at
// the latest within the given time. What the channel brings says that it is on disk; nil: it is. b.mu is held.
func (b *Broker) keep(s *session, will *message, delay, within time.Duration) <-chan error {
	if b.store == nil {
		return nil
	}
	records := b.adopt(s)
	record := s.encode(will, delay, time.Now())
	if !slices.Equal(record, s.record) || within == 0 && s.unsure.Load() > 0 {
		s.record = record
		records = append(records, store.Record{Kind: store.Session, Key: s.id, Value: record})
	}
	if len(records) == 0 {
		return nil
	}
	return b.commit(s, records, within)
}

// commit gives the store what s is and subscribes to, and says when it is on disk.
func (b *Broker) commit(s *session, records []store.Record, within time.Duration) <-chan error {
	committed := make(chan error, 1)
	s.unsure.Add(1)
	b.store.PutAll(records, within, func(err error) {
		if err == nil {
			s.unsure.Add(-1)
		}
		committed <- err
	})
	return committed
}

// adopt makes a session a kept one, with what it has already.
func (b *Broker) adopt(s *session) (records []store.Record) {
	if s.kept {
		return nil
	}
	s.kept = true
	for name, sub := range s.subs {
		records = append(records, store.Record{Kind: store.Subscription, Key: subscriptionKey(s.num, name), Value: sub.encode(false)})
	}
	return records
}

// unkeep takes all of a session out of the store. b.mu is held.
func (b *Broker) unkeep(s *session) {
	if !s.kept {
		return
	}
	s.kept, s.record = false, nil
	records := []store.Record{{Kind: store.Session, Key: s.id}}
	for name := range s.subs {
		records = append(records, store.Record{Kind: store.Subscription, Key: subscriptionKey(s.num, name)})
	}
	s.mu.Lock()
	s.owes = nil
	for id := range s.received {
		records = append(records, store.Record{Kind: store.Unreleased, Key: unreleasedKey(s.num, id)})
	}
	for _, d := range s.byID {
		if d.recorded {
			d.committed = true
			b.forget(s, d)
			d.recorded = false
		}
	}
	s.mu.Unlock()
	b.store.PutAll(records, forgetWithin, nil)
}

// forget takes a delivery out of the store, and its message after the last. It needs
// no lock but that of the session.
func (b *Broker) forget(s *session, d *delivery) {
	b.store.Put(store.Record{Kind: store.Queued, Key: queuedKey(s.num, d.m.seq)}, forgetWithin, nil)
	b.paid(d.m, true)
}

// unreleased is the record of a QoS 2 message's id, nil if the session is not kept.
func (b *Broker) unreleased(s *session, id uint16) *store.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !s.kept || b.store == nil {
		return nil
	}
	return &store.Record{Kind: store.Unreleased, Key: unreleasedKey(s.num, id), Value: []byte{}}
}

// Formats. Each begins with its number, 1.

// encode gives the record of a session:
//
//	u8   format
//	u32  its number
//	u8   MQTT version
//	u32  seconds it is kept
//	u32  seconds it had been away when this was written
//	u64  the last message of which it may have been sent what waits in its queue
//	u16  length of the user's name, and the name
//	u32  delay of the will in seconds, u32 its lifetime, and the message as in
//	     message.go; or nothing
func (s *session) encode(will *message, delay time.Duration, now time.Time) []byte {
	b := []byte{1}
	b = binary.BigEndian.AppendUint32(b, s.num)
	b = append(b, s.version)
	b = binary.BigEndian.AppendUint32(b, seconds(s.expiry))
	b = binary.BigEndian.AppendUint32(b, seconds(s.away))
	b = binary.BigEndian.AppendUint64(b, s.sentTo)
	b = appendText(b, s.user)
	if will != nil {
		b = binary.BigEndian.AppendUint32(b, seconds(delay))
		b = binary.BigEndian.AppendUint32(b, seconds(will.lifetime))
		b = append(b, encodeMessage(will, now)...)
	}
	return b
}

func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, math.MaxUint32)) }

var errRecord = errors.New("not a record of this format")

// decodeSession reads a record into a session, and gives the will that its client left
// at the broker and how long that waits for the client.
func (s *session) decode(record []byte, now time.Time) (delay time.Duration, err error) {
	r := reader{b: record}
	if r.u8() != 1 {
		return 0, errRecord
	}
	s.num = r.u32()
	s.version = r.u8()
	s.expiry = time.Duration(r.u32()) * time.Second
	s.away = time.Duration(r.u32()) * time.Second
	s.sentTo = r.u64()
	s.user = string(r.bytes(int(r.u16())))
	if r.bad || s.num == 0 || s.version < 3 || s.version > 5 {
		return 0, errRecord
	}
	if len(r.b) == 0 {
		return 0, nil
	}
	delay = time.Duration(r.u32()) * time.Second
	lifetime := time.Duration(r.u32()) * time.Second
	if r.bad {
		return 0, errRecord
	}
	if s.will, err = decodeMessage(r.b, now); err != nil {
		return 0, err
	}
	s.will.from, s.will.lifetime, s.will.expires = s.id, lifetime, time.Time{}
	return delay, nil
}

// encode gives the record of a subscription: u8 format, u8 options as in SUBSCRIBE,
// u32 identifier. The options' highest bit, which SUBSCRIBE does not have, says that
// the client is owed retained values.
func (sub *subscription) encode(owes bool) []byte {
	o := sub.qos | sub.handling<<4
	if sub.noLocal {
		o |= 4
	}
	if sub.asIs {
		o |= 8
	}
	if owes {
		o |= 128
	}
	return binary.BigEndian.AppendUint32([]byte{1, o}, uint32(sub.id))
}

func decodeSubscription(record []byte) (sub *subscription, owes bool, err error) {
	r := reader{b: record}
	if r.u8() != 1 {
		return nil, false, errRecord
	}
	o := r.u8()
	sub = &subscription{qos: o & 3, noLocal: o&4 != 0, asIs: o&8 != 0, handling: o >> 4 & 3, id: int(r.u32())}
	if r.bad || len(r.b) > 0 || sub.qos > 2 || sub.handling > 2 || sub.id > 268_435_455 {
		return nil, false, errRecord
	}
	return sub, o&128 != 0, nil
}

// encode gives the record of a delivery: u8 format, u8 QoS and flags, u16 packet id,
// u32 for each subscription identifier. sent says that it may have been sent by the
// time this is on disk.
func (d *delivery) encode(sent bool) []byte {
	o := d.qos
	if d.retain {
		o |= 4
	}
	if d.released {
		o |= 8
	}
	if sent {
		o |= 16
	}
	b := binary.BigEndian.AppendUint16([]byte{1, o}, d.id)
	for _, id := range d.subs {
		b = binary.BigEndian.AppendUint32(b, uint32(id))
	}
	return b
}

func decodeDelivery(record []byte) (*delivery, error) {
	r := reader{b: record}
	if r.u8() != 1 {
		return nil, errRecord
	}
	o := r.u8()
	d := &delivery{qos: o & 3, retain: o&4 != 0, released: o&8 != 0, sent: o&16 != 0, marked: o&16 != 0, id: r.u16(), recorded: true, committed: true}
	for len(r.b) > 0 {
		d.subs = append(d.subs, int(r.u32()))
	}
	if r.bad || d.id == 0 || d.qos == 0 || d.qos > 2 || d.released && d.qos != 2 {
		return nil, errRecord
	}
	return d, nil
}

// A reader takes a record apart; bad says that it was too short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() byte    { return r.bytes(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.bytes(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.bytes(8)) }

// maxDepth is how many levels a filter from the store may have: the limit may have been
// another when it was made, but not without bounds.
const maxDepth = 1024

// homecoming is how long after a start a will waits at least: the devices are not
// back before that.
const homecoming = time.Minute

// restore reads what the store has of sessions. All are away now; how long they are
// kept goes on from where it was, for nobody can say how long the machine was off.
// What makes no sense, as after damage, is reported and deleted.
func (b *Broker) restore(now time.Time) {
	if b.store == nil {
		return
	}
	byNum := map[uint32]*session{}
	var gone []store.Record
	odd := func(kind store.Kind, key string, err error) {
		b.log.Error("broker: a record in the store makes no sense, leaving it out", "what", kind, "key", fmt.Sprintf("%q", key), "err", err)
		gone = append(gone, store.Record{Kind: kind, Key: key})
	}
	for id, record := range b.store.Each(store.Session) {
		s := &session{b: b, id: id, subs: map[string]*subscription{}, kept: true, record: record, since: now}
		delay, err := s.decode(record, now)
		if err == nil && (byNum[s.num] != nil || id == "" || !utf8.ValidString(id)) {
			err = errRecord
		}
		if err != nil {
			odd(store.Session, id, err)
			continue
		}
		s.rights = b.rightsOf(s.user, s.id)
		byNum[s.num], b.sessions[id] = s, s
		b.lastNum = max(b.lastNum, s.num)
		b.seq = max(b.seq, s.sentTo) // else what comes next would count as sent
		if will := s.will; will != nil {
			s.willDelay = delay
			s.willTimer = b.later(max(homecoming, min(delay, s.expiry)), func() { b.willDue(s, will) })
		}
		s.expires = b.later(s.expiry-s.away, func() { b.expire(s) })
	}
	// of gives the session whose number a key begins with, and the rest of the key.
	of := func(kind store.Kind, key string, rest int) (*session, string) {
		if len(key) < 4 || rest > 0 && len(key) != 4+rest {
			odd(kind, key, errRecord)
			return nil, ""
		}
		s := byNum[binary.BigEndian.Uint32([]byte(key))]
		if s == nil {
			gone = append(gone, store.Record{Kind: kind, Key: key}) // its session is damaged
		}
		return s, key[4:]
	}
	for key, record := range b.store.Each(store.Subscription) {
		s, name := of(store.Subscription, key, 0)
		if s == nil {
			continue
		}
		sub, owes, err := restoredSubscription(name, record)
		if err != nil {
			odd(store.Subscription, key, err)
			continue
		}
		b.subscribe(s, name, sub)
		if owes {
			s.catchUp = append(s.catchUp, catchUp{sub: sub, owes: true})
			s.owe(sub)
		}
	}
	bodies := map[uint64]*message{}
	for key, record := range b.store.Each(store.Body) {
		m, err := decodeMessage(record, now)
		if len(key) != 8 || err != nil {
			odd(store.Body, key, errors.Join(errRecord, err))
			continue
		}
		m.seq = binary.BigEndian.Uint64([]byte(key))
		m.at = now
		bodies[m.seq] = m
		b.seq = max(b.seq, m.seq)
	}
	for key, record := range b.store.Each(store.Queued) {
		s, seq := of(store.Queued, key, 8)
		if s == nil {
			continue
		}
		d, err := decodeDelivery(record)
		if err == nil {
			at := binary.BigEndian.Uint64([]byte(seq))
			b.seq = max(b.seq, at)
			if d.m = bodies[at]; d.m == nil {
				err = errors.New("its message is missing")
			} else if s.byID[d.id] != nil {
				err = errors.New("its packet id is taken")
			}
		}
		if err != nil {
			odd(store.Queued, key, err)
			continue
		}
		s.restore(d)
	}
	for _, m := range bodies {
		if m.owed.Load() == 0 {
			gone = append(gone, store.Record{Kind: store.Body, Key: seqKey(m.seq)})
		}
	}
	for key := range b.store.Each(store.Unreleased) {
		s, id := of(store.Unreleased, key, 2)
		if s == nil {
			continue
		}
		if s.received == nil {
			s.received = map[uint16]uint32{}
		}
		s.received[binary.BigEndian.Uint16([]byte(id))] = 0
	}
	for _, s := range byNum {
		for i := range s.catchUp {
			s.catchUp[i].before = b.seq + 1
		}
	}
	if len(gone) > 0 {
		b.store.PutAll(gone, forgetWithin, nil)
	}
}

// restore queues a delivery that was found. They come in the order of their messages;
// those that were sent before stand first in the order in which they were.
func (s *session) restore(d *delivery) {
	if s.byID == nil {
		s.byID = map[uint16]*delivery{}
	}
	if d.m.seq <= s.sentTo {
		d.sent = true
	}
	s.byID[d.id] = d
	s.lastID = d.id
	d.m.owed.Add(1)
	s.count(d, 1)
	if d.released {
		s.flight = append(s.flight, d)
	} else {
		s.waiting = append(s.waiting, d)
		s.expects(d)
	}
}

func restoredSubscription(name string, record []byte) (sub *subscription, owes bool, err error) {
	sub, owes, err = decodeSubscription(record)
	if err != nil {
		return nil, false, err
	}
	var ok bool
	if sub.share, sub.filter, ok = topic.Share(name); !ok || topic.Fault(sub.filter, true, math.MaxUint16, maxDepth) != "" {
		return nil, false, errRecord
	}
	return sub, owes, nil
}

// ages writes how long sessions have been away, each some eight times in its life: a
// session must end some day, also in a house that is restarted each night.
func (b *Broker) ages(now time.Time) {
	var records []store.Record
	for _, s := range b.sessions {
		if !s.kept || s.owner != nil {
			continue
		}
		away := now.Sub(s.since)
		if away < max(s.expiry/8, 10*time.Minute) {
			continue
		}
		s.away += away
		s.since = now
		s.record = s.encode(s.will, s.willDelay, now)
		records = append(records, store.Record{Kind: store.Session, Key: s.id, Value: s.record})
	}
	if len(records) > 0 {
		b.store.PutAll(records, time.Minute, nil)
	}
}
