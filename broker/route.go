package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	"hearth/broker/access"
	"hearth/store"
)

// gather is how long records of a message wait for company when all that need them
// are likely to acknowledge sooner: then none is written.
const gather = 3 * time.Millisecond

// send is the way of every message: in one step it gets its place in the order, into
// the store if it is retained or kept sessions want it, to the hub, and into the
// queues of its subscribers. It waits for none of them. Its acknowledgement, if one
// is due, goes when it is safe. note is a record that has to be on disk with it.
//
// Until hold is closed, if it is not nil, the hub has no room, and whoever published
// should publish nothing more.
func (b *Broker) send(m *message, note *store.Record) (hold <-chan struct{}) {
	b.received.Add(1)
	var enter func() <-chan struct{}
	if b.receive != nil {
		replyTo, correlation := asksFor(m.props)
		enter = b.receive(Message{
			ReplyTo: replyTo, Correlation: correlation,

			Topic:   strings.Clone(m.topic), // it is a part of the packet, and may be kept long
			Payload: m.payload,
			QoS:     m.qos,
			Retain:  m.retain,
			Origin:  m.origin,
			Rights:  m.rights,
			Found:   m.found,
		})
	}
	m.rights = nil // it may be kept long
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	m.seq = b.seq
	m.owed.Store(1) // until all have it: the first must not end what the others wait for
	lim := b.limits.Load()
	records := b.records[:0]
	if note != nil {
		records = append(records, *note)
		m.needs = true
	}
	if m.retain {
		records = b.retain(m, lim, records)
	}
	if enter != nil {
		hold = enter()
	}

	// Who gets it, at which QoS.
	b.match(m)
	soon := true
	var plain, plainAsIs *delivery // at QoS 0, shared by all who have no subscription identifier
	owing := b.owing[:0]
	for _, s := range b.hits {
		h := &s.hit
		if !s.rights.Receive(m.topic) {
			continue
		}
		d := &delivery{m: m, qos: min(m.qos, h.qos), retain: m.retain && h.asIs, subs: h.subs}
		if d.qos == 0 && d.subs == nil {
			shared := &plain
			if d.retain {
				shared = &plainAsIs
			}
			if *shared == nil {
				*shared = d
			}
			d = *shared
		}
		if !s.admit(d, lim) {
			continue
		}
		if d.qos == 0 || !s.kept || b.store == nil {
			s.push(d)
			continue
		}
		if m.owed.Add(1) == 2 {
			records = append(records, store.Record{Kind: store.Body, Key: seqKey(m.seq), Value: encodeMessage(m, m.at)})
		}
		sent, now := s.outlook()
		soon = soon && now
		d.recorded, d.marked = true, sent
		records = append(records, store.Record{Kind: store.Queued, Key: queuedKey(s.num, m.seq), Value: d.encode(sent)})
		owing = append(owing, owed{s, d})
	}
	b.records, b.owing, b.hits = records, owing, b.hits[:0]

	if len(records) > 0 {
		within := time.Duration(0)
		if soon && !m.needs {
			within = gather
		}
		var exact []owed
		for _, o := range owing {
			if o.d.qos == 2 {
				exact = append(exact, o)
			}
		}
		b.store.PutAll(records, within, func(err error) {
			if err != nil {
				if a := m.ack.Load(); a != nil {
					a.refuse() // it was more than the store holds, or that has closed
				}
				return
			}
			for _, o := range exact {
				o.s.commit(o.d)
			}
			m.settle()
		})
		for _, o := range owing {
			o.s.push(o.d)
		}
		if a := m.ack.Load(); a != nil && b.store.Trouble() != nil {
			a.refuse()
		}
	}
	b.paid(m, len(owing) > 0)
	if len(records) == 0 && !m.needs {
		m.settle()
	}
	clear(owing)
	clear(records)
	return hold
}

// owed is a delivery with a record in the store.
type owed struct {
	s *session
	d *delivery
}

// paid notes that one who needed m has it; stored says that m has a record. After the
// last nobody needs the disk for it.
func (b *Broker) paid(m *message, stored bool) {
	if m.owed.Add(-1) > 0 || !stored {
		return
	}
	b.store.Put(store.Record{Kind: store.Body, Key: seqKey(m.seq)}, forgetWithin, nil)
	if !m.needs {
		m.settle()
	}
}

// match collects the sessions that are to get m into b.hits, each once. b.mu is held.
func (b *Broker) match(m *message) {
	b.subs.Match(m.topic, func(_ string, s *session, sub *subscription) bool {
		if !sub.noLocal || s.id != m.from {
			b.meet(m, s, sub)
		}
		return true
	})
	if b.groups.Len() > 0 {
		b.groups.Match(m.topic, func(_ string, g *group, _ struct{}) bool {
			if s, sub := g.choose(m.topic, b.limits.Load()); s != nil {
				b.meet(m, s, sub)
			}
			return true
		})
	}
}

// meet notes that a subscription of s matches m.
func (b *Broker) meet(m *message, s *session, sub *subscription) {
	h := &s.hit
	if h.seq != m.seq {
		*h = hit{seq: m.seq}
		b.hits = append(b.hits, s)
	}
	h.qos = max(h.qos, sub.qos)
	h.asIs = h.asIs || sub.asIs
	if sub.id > 0 && s.version == 5 {
		h.subs = append(h.subs, sub.id)
	}
}

// A group shares the messages of one filter: each goes to one of its members.
type group struct {
	name    string // $share/NAME/FILTER
	members []*session
	next    int
}

// choose gives the member whose turn it is to get a message of a topic, among those
// who may: one that is connected and has nothing to wait for, or else one that is
// connected, or else one that is kept; at last one whose queue is full.
func (g *group) choose(topic string, lim *limits) (best *session, sub *subscription) {
	rank := -1
	first := g.next
	for i := range g.members {
		at := (first + i) % len(g.members)
		s := g.members[at]
		if !s.rights.Receive(topic) {
			continue
		}
		if r := s.ready(lim); r > rank {
			best, rank = s, r
			g.next = at + 1
			if r == 3 {
				break
			}
		}
	}
	if best == nil {
		return nil, nil
	}
	return best, best.subs[g.name]
}

func (s *session) ready(lim *limits) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.plain.full(lim) || s.sure.full(lim):
		return 0
	case s.conn != nil && len(s.waiting) == 0 && len(s.flight) < s.conn.window:
		return 3
	case s.conn != nil:
		return 2
	}
	return 1
}

// subscribe makes a subscription of s, and reports whether it changes anything, and
// whether the client is to be told of retained values. b.mu is held.
func (b *Broker) subscribe(s *session, name string, sub *subscription) (changed, tell bool) {
	old := s.subs[name]
	changed = old == nil || *old != *sub
	s.subs[name] = sub
	if old == nil {
		b.nSubs++
	}
	s.owesNoMore(name)
	if sub.share != "" {
		if old == nil {
			b.joinGroup(s, name, sub)
		}
		return changed, false // a shared subscription is sent none [MQTT-3.3.1-9 and 4.8.2]
	}
	if old == nil && isSys(sub.filter) {
		b.sys++
	}
	b.subs.Set(sub.filter, s, sub)
	return changed, sub.handling == 0 || sub.handling == 1 && old == nil
}

// unsubscribe ends a subscription of s. b.mu is held.
func (b *Broker) unsubscribe(s *session, name string) (existed bool) {
	sub := s.subs[name]
	if sub == nil {
		return false
	}
	delete(s.subs, name)
	b.nSubs--
	if sub.share == "" {
		b.subs.Delete(sub.filter, s)
		s.owesNoMore(name)
		s.unfollow(sub.filter)
		if isSys(sub.filter) {
			b.sys--
		}
		return true
	}
	g := b.shares[name]
	g.members = slices.DeleteFunc(g.members, func(m *session) bool { return m == s })
	if len(g.members) == 0 {
		b.groups.Delete(sub.filter, g)
		delete(b.shares, name)
	}
	return true
}

func (b *Broker) joinGroup(s *session, name string, sub *subscription) {
	g := b.shares[name]
	if g == nil {
		g = &group{name: name}
		b.shares[name] = g
		b.groups.Set(sub.filter, g, struct{}{})
	}
	g.members = append(g.members, s)
}

// remove ends a session with all that belongs to it. b.mu is held.
func (b *Broker) remove(s *session) {
	b.unkeep(s) // as long as it knows what it has
	s.clear()
	for name := range s.subs {
		b.unsubscribe(s, name)
	}
	if b.sessions[s.id] == s {
		delete(b.sessions, s.id)
	}
}

// mayPublish says whether a client with those rights may publish to topic.
func (b *Broker) mayPublish(r *access.Rights, topic string) bool {
	return topic[0] != '$' && r.Publish(topic) && (b.allowed == nil || b.allowed(topic))
}

// wait returns when hold is closed, or with why ctx has ended.
func wait(ctx context.Context, hold <-chan struct{}) error {
	if hold == nil {
		return nil
	}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
