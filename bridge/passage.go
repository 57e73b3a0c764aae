package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"
)

const (
	maxHops    = 8         // houses that a message may have been in
	maxWaiting = 1000      // messages from the own broker, of which more QoS 0 are dropped
	maxBytes   = 4 << 20   // the same in bytes; and what comes from the remote is not read any further
	maxUnsent  = 256 << 10 // bytes that wait for a socket
	quotaTries = 20        // times that a limit of the other side is waited for
	carefully  = 64        // messages that go one by one after the remote ended the connection over one

	// via is the user property that names a house a message was in. There is one of
	// it for each.
	via = "hearth-via"
	// HouseTopic is where a house says its name, retained, for bridges that come
	// from others: they do not bring back what was there.
	HouseTopic = "hearth/house"

	// Found is the user property, without a value, of what was found retained at the
	// house's broker, as opposed to what was published since. It is for the own broker.
	Found = "hearth-found"
	// settled is how long nothing more is found before it counts as all: a broker that
	// lost its memory has its devices back by then, which say again what they are.
	settled = time.Minute

	// How long, after the subscriptions, a retained message is taken for found where the
	// remote has not shown yet that it tells by the identifier: so long at first, so long
	// after each, and no longer in all.
	doubtful      = 5 * time.Second
	doubtfulAfter = 2 * time.Second
	doubtfulMost  = 30 * time.Second

	// sayAgain is how long it takes until all is said again after somebody at the house's
	// broker said that the house is gone, and seldom how rarely.
	sayAgain = 10 * time.Second
	seldom   = time.Minute

	// The identifiers of the two subscriptions of an exact passage.
	numberFound byte = 1
	numberLive  byte = 2

	// Packet ids of what is not a message. Those of messages are below.
	idFilters uint16 = 65535
	idHouse   uint16 = 65534
	idOld     uint16 = 65533
	idFound   uint16 = 65532
	// lastID is of messages. They are few, so that those which an earlier run left half
	// done can be ended all: see release.
	lastID uint16 = 8 * window
)

// A passage is one link while it stands. All of it belongs to one loop.
type passage struct {
	b             *Bridge
	local, remote *link
	out, in       *flow
	now           kept
	house         string           // the remote's, if it is a house
	asked         []subscription   // of the remote, in the SUBSCRIBE that is not answered yet
	refused       []subscription   // of those it had to answer last
	again         <-chan time.Time // when these are asked for once more
	pinged        bool             // the remote has answered, and before that sent what it had retained
	last          []*transfer      // of that
	open          bool             // all of that has passed: things may go out
	exact         bool             // there are identifiers, to know by what is found and what is published
	marks         bool             // and the remote has shown that what is found has the one it was asked for with
	doubt         time.Time        // until then what is retained may be found, if it has not
	doubtEnds     time.Time        // doubt is no later
	repeat        <-chan time.Time // when all that this house says is said again
	said          time.Time        // when that was done last
	seen          map[string]bool  // topics with a retained value there, and whether it was found; nil: that has been looked at
	copies        map[string]bool  // topics with a value here that came from there
	complete      <-chan time.Time // when all is seen
	leaving       int              // how often the own broker was asked for the last time
	left          bool             // and has answered twice: its first answer may overtake messages
	parted        bool             // and the remote has all of it
	why           error            // it is over
}

// A flow is one direction of a passage.
type flow struct {
	p        *passage
	out      bool
	src, dst *link
	memory   *memory
	waiting  []*transfer          // to be sent, in order
	bytes    int                  // of them
	unacked  []*transfer          // not acknowledged to the source yet, in order
	sent     map[uint16]*transfer // not acknowledged by the destination yet, by its id there
	next     uint16
}

// A transfer is one message on its way.
type transfer struct {
	message
	from string // its topic at the source
	id   uint16 // there
	dup  bool   // it may have come before
	asks byte   // the QoS it came with
	done bool   // it may be acknowledged

	found bool // retained at the house's broker, and not published just now
	large bool // too large to be read
}

func (p *passage) run(ctx context.Context) error {
	b := p.b
	handling := byte(1)
	if b.resync {
		handling = 0
	}
	for _, f := range []*flow{p.out, p.in} {
		for id := range f.memory.releasing {
			f.dst.send(func(b []byte) []byte { return appendAck(b, kindPubrel, id) })
		}
	}
	if !b.released && p.remote.present {
		release(p.remote)
	}
	p.subscribe(handling)
	var timeout <-chan time.Time // of leaving
	stopped := ctx.Done()
	// Until the remote has answered this is not a link.
	answer := time.NewTimer(answerWithin)
	defer answer.Stop()
	for p.why == nil {
		fromRemote := p.remote.in
		if len(p.in.waiting) >= maxWaiting || p.in.bytes >= maxBytes || len(p.in.unacked) >= maxWaiting {
			fromRemote = nil
		}
		select {
		case pk := <-p.local.in:
			p.fromLocal(pk)
		case pk := <-fromRemote:
			p.fromRemote(pk)
			if !p.pinged { // it may have much that is retained
				answer.Reset(answerWithin)
			}
		case <-p.local.sent:
		case <-p.remote.sent:
		case <-p.local.ctx.Done():
			return fmt.Errorf("at the own broker: %w", context.Cause(p.local.ctx))
		case <-p.remote.ctx.Done():
			return context.Cause(p.remote.ctx)
		case <-b.steady.C:
			b.lasted()
		case <-answer.C:
			switch {
			case p.pinged:
			case fromRemote == nil: // nobody looked
				answer.Reset(answerWithin)
			default:
				return fmt.Errorf("it does not answer within %v", answerWithin)
			}
		case <-p.repeat:
			p.repeat, p.said = nil, time.Now()
			p.local.send(func(b []byte) []byte { return appendSubscribe(b, 5, idFilters, 0, p.b.localSubscriptions(0)) })
		case <-p.again:
			p.asked, p.again = p.refused, nil
			for i := range p.asked {
				p.asked[i].handling = 0
			}
			p.ask()
		case <-p.complete:
			p.forgetGone()
		case <-stopped:
			// What was published last still goes out, if that is soon.
			stopped, p.leaving = nil, 1
			p.local.send(appendPing)
			timeout = time.After(lastWords)
		case <-timeout:
			return context.Cause(ctx)
		}
		if p.pinged && !p.open && !slices.ContainsFunc(p.last, func(t *transfer) bool { return !t.done }) {
			p.begin(handling)
		}
		p.out.pump()
		p.in.pump()
		waiting := len(p.out.unacked) + len(p.in.unacked)
		b.count(func(s *Status) { s.Waiting = waiting })
		if p.left && p.out.idle() && p.remote.buffered() == 0 {
			p.parted = p.open
			return context.Cause(ctx)
		}
	}
	return p.why
}

// fail ends the passage.
func (p *passage) fail(format string, args ...any) {
	if p.why == nil {
		p.why = fmt.Errorf(format, args...)
	}
}

// subscribe asks the remote for what is to come in, and who it is. Its answer to
// the ping comes after the retained values and after its name.
func (p *passage) subscribe(handling byte) {
	r := p.remote
	if r.version == 5 {
		r.send(func(b []byte) []byte {
			return appendSubscribe(b, 5, idHouse, 0, []subscription{{filter: HouseTopic, echo: true}})
		})
	}
	subs := p.b.remoteSubscriptions(handling)
	p.unsubscribe(r, without(p.b.kept.Remote, filters(subs)))
	if len(subs) > 0 && (r.version == 5 || handling == 0 || slices.ContainsFunc(subs, func(s subscription) bool { return s.handling == 0 })) {
		p.asked = subs
		p.ask()
	}
	r.send(appendPing)
}

// ask subscribes at the remote to p.asked.
//
// What is found at the house's broker has to be told from what is published there
// just now, and the retain flag of MQTT 5 does not: live messages keep it. So each
// filter is subscribed to twice, with two identifiers. The first subscription brings
// the retained values, with QoS 0, which no window slows down; the second
// takes its place at once and brings none. What is published between the two comes
// behind the retained value of its topic, as the second with the first identifier. (That
// the first subscription does not ask for the flag would tell it, too; but Mosquitto
// keeps that option for the second one.) A remote without identifiers clears the
// flag of live messages, as 3.1.1 always does.
//
// A broker may look up the identifier only when it sends, by which time it is the second
// one (EMQX does). What is retained is taken for found there for the first seconds.
func (p *passage) ask() {
	version, number := p.remote.version, byte(0)
	live := slices.Clone(p.asked)
	switch {
	case p.exact:
		first := slices.Clone(p.asked)
		for i := range first {
			first[i].qos, first[i].handling, live[i].handling = 0, 0, 2
		}
		p.remote.send(func(b []byte) []byte { return appendSubscribe(b, version, idFound, numberFound, first) })
		number = numberLive
	case p.b.cfg.whole:
		for i := range live {
			live[i].plain = true
		}
	}
	p.remote.send(func(b []byte) []byte { return appendSubscribe(b, version, idFilters, number, live) })
}

// found says whether a message from the remote is a value that had been there.
func (p *passage) found(pk packet) bool {
	switch {
	case !p.b.cfg.whole || !pk.retain:
		return false
	case !p.exact:
		return true
	case pk.numbers == 1<<numberFound:
		return !p.seen[pk.topic]
	}
	return !p.marks && time.Now().Before(p.doubt)
}

// look notes what a message from the house's broker tells of what is there, and says
// whether it is found.
func (p *passage) look(pk packet) (found bool) {
	found = p.found(pk)
	if found && pk.numbers == 1<<numberFound {
		p.marks = true
	} else if found && p.exact {
		if more := time.Now().Add(doubtfulAfter); more.After(p.doubt) && more.Before(p.doubtEnds) {
			p.doubt = more
		}
	}
	if p.seen != nil && pk.retain {
		p.seen[pk.topic] = p.seen[pk.topic] || found
		if found {
			p.complete = time.After(settled)
		}
	}
	// The house is there, whatever others say or clear just now.
	if will := p.b.will(); will != "" && pk.topic == will && string(pk.payload) != "online" && !found && p.open && p.repeat == nil {
		p.repeat = time.After(max(sayAgain, seldom-time.Since(p.said)))
	}
	return found
}

// forgetGone takes back, at the own broker, the values that came from the remote and
// are there no more: they were deleted while there was no link.
func (p *passage) forgetGone() {
	for topic := range p.copies {
		if _, there := p.seen[topic]; !there {
			p.in.published(packet{kind: kindPublish, message: message{topic: topic, retain: true}}, true)
		}
	}
	p.seen, p.copies, p.complete = nil, nil, nil
}

// release ends what a run before this one may have left half done with QoS 2: the
// broker would take a new message with such an id for the old one, and drop it. The
// old ones it has; they are sent again, and so come twice.
func release(k *link) {
	k.send(func(b []byte) []byte {
		for id := uint16(1); id <= lastID; id++ {
			b = appendAck(b, kindPubrel, id)
		}
		return b
	})
}

func (p *passage) unsubscribe(k *link, old []string) {
	if len(old) > 0 {
		k.send(func(b []byte) []byte { return appendUnsubscribe(b, k.version, idOld, old) })
	}
}

// begin lets things go out. Retained values do only now that those of the remote
// are here: where both have one, the remote's counts, instead of each getting the
// other's.
func (p *passage) begin(handling byte) {
	p.open = true
	subs := p.b.localSubscriptions(handling)
	p.unsubscribe(p.local, without(p.b.kept.Local, filters(subs)))
	if len(subs) > 0 {
		p.local.send(func(b []byte) []byte { return appendSubscribe(b, 5, idFilters, 0, subs) })
	} else {
		p.agreed()
	}
	p.b.linked()
}

// agreed is when both sides have taken the subscriptions.
func (p *passage) agreed() {
	p.b.resync, p.b.kept = false, p.now
	if value, err := json.Marshal(p.now); err == nil {
		p.b.opt.Keep(p.b.name, value)
	}
}

func (p *passage) fromLocal(pk packet) {
	switch pk.kind {
	case kindPublish:
		p.out.published(pk, false)
	case kindPubrel:
		p.out.released(pk)
	case kindPuback, kindPubrec, kindPubcomp:
		p.in.answered(pk)
	case kindSuback:
		p.refusals(pk, p.b.localSubscriptions(0), "the own broker")
		p.agreed()
	case kindPingresp:
		switch p.leaving {
		case 1:
			p.leaving = 2
			p.local.send(appendPing)
		case 2:
			p.left = true
		}
	case kindDisconnect:
		p.fail("at the own broker: it ended the connection: %w", errors.New(because(pk, 5)))
	}
}

func (p *passage) fromRemote(pk packet) {
	switch pk.kind {
	case kindPublish:
		if pk.topic == HouseTopic {
			if p.house = string(pk.payload); p.house == p.b.opt.House {
				p.fail("the address is that of this house itself")
			}
		}
		p.in.published(pk, p.look(pk))
	case kindPubrel:
		p.in.released(pk)
	case kindPuback, kindPubrec, kindPubcomp:
		p.out.answered(pk)
	case kindSuback:
		if pk.id == idFilters {
			p.doubt, p.doubtEnds = time.Now().Add(doubtful), time.Now().Add(doubtfulMost)
			if p.refused = p.refusals(pk, p.asked, "the other broker"); len(p.refused) > 0 {
				p.again = time.After(askAgain)
			}
		}
	case kindPingresp:
		for _, list := range [][]*transfer{p.in.unacked, p.in.waiting} {
			if n := len(list); !p.pinged && n > 0 {
				p.last = append(p.last, list[n-1])
			}
		}
		if p.seen != nil && p.complete == nil {
			p.complete = time.After(settled)
		}
		p.pinged, p.b.released = true, true
	case kindDisconnect:
		p.blame(pk.code)
		p.fail("it ended the connection: %w", errors.New(because(pk, p.remote.version)))
	}
}

func because(pk packet, version byte) string {
	text := words(pk.code, version)
	if pk.reason != "" {
		text += fmt.Sprintf(" (%q)", pk.reason)
	}
	return text
}

// refusals logs the filters that are not served, and gives them.
func (p *passage) refusals(pk packet, subs []subscription, who string) (refused []subscription) {
	for i, code := range pk.codes {
		if code < 0x80 || i >= len(subs) {
			continue
		}
		why := who + " does not accept the subscription"
		if code != 0x80 || pk.reason != "" {
			why += ": " + because(packet{code: code, reason: pk.reason}, 5)
		}
		p.b.tellOnce(subs[i].filter, why)
		refused = append(refused, subs[i])
	}
	return refused
}

// askAgain is how long a subscription that was refused waits: the bridge's user may get
// the right to it, which the other broker tells nobody.
const askAgain = time.Minute

// blame is called when the remote ended the connection with a reason that may be
// about a message. If only one was on the way it was that one, and it is not sent
// again; if there were more they go one at a time from now on, until it is known.
func (p *passage) blame(code byte) {
	if !slices.Contains([]byte{0x81, 0x82, 0x83, 0x87, 0x90, 0x95, 0x99, 0x9a, 0x9b}, code) || len(p.out.sent) == 0 {
		return
	}
	if len(p.out.sent) > 1 {
		p.b.careful = carefully
		return
	}
	for _, t := range p.out.sent {
		p.out.drop(t, code)
		p.out.acknowledge() // the own broker is still there
	}
}

// published is a message from the source, which was found there or is new.
func (f *flow) published(pk packet, found bool) {
	b := f.p.b
	if pk.topic == "" {
		f.p.fail("it sent a message without a topic")
		return
	}
	if pk.qos == 2 && f.memory.taken[pk.id] {
		f.src.send(func(b []byte) []byte { return appendAck(b, kindPubrec, pk.id) })
		return
	}
	t := &transfer{message: pk.message, from: pk.topic, id: pk.id, dup: pk.dup, asks: pk.qos, large: pk.large, found: found}
	if t.asks > 0 {
		f.unacked = append(f.unacked, t)
	}
	if why := f.prepare(t); why != nil {
		why(t)
		t.done = true
	} else if t.asks == 0 && f.out && (len(f.waiting) >= maxWaiting || f.bytes >= maxBytes) {
		b.count(func(s *Status) { s.Dropped++ })
	} else {
		f.waiting = append(f.waiting, t)
		f.bytes += t.size()
	}
	f.acknowledge()
}

// prepare makes of a message what the other side is to get, or says what to do as
// it is not to get it.
func (f *flow) prepare(t *transfer) (instead func(*transfer)) {
	b, p := f.p.b, f.p
	topic, ok := f.rename(t)
	if !ok { // maybe by a subscription of an earlier configuration
		return func(*transfer) {}
	}
	if t.large {
		return func(t *transfer) { f.drop(t, 0x95) }
	}
	if !f.out { // nobody else says that
		t.user = slices.DeleteFunc(t.user, func(u pair) bool { return u.key == Found })
	}
	// Where it has been, and that it does not go back there.
	here, there := b.opt.House, cmp.Or(p.house, b.opt.House+"/"+b.name)
	hops := 0
	for _, u := range t.user {
		if u.key != via {
			continue
		}
		hops++
		// What came in from there must not go out again, nor come in what was here.
		if u.value == here || f.out && u.value == there || hops >= maxHops {
			if f.out && u.value == there && t.retain && p.copies != nil {
				p.copies[t.from] = true
			}
			return f.circled
		}
	}
	if t.retain && f.other().crosses(t.from) {
		return f.circled
	}
	if !f.out && p.remote.version < 5 && b.echoes.take(t.from, t.payload) {
		return f.circled
	}
	if f.out {
		t.user = append(slices.Clip(t.user), pair{via, here})
	} else {
		t.user = append(slices.Clip(t.user), pair{via, there})
		if t.found {
			t.user = append(t.user, pair{Found, ""})
		}
	}
	t.topic = topic
	t.qos = min(t.qos, f.dst.maxQoS())
	t.retain = t.retain && !f.dst.server.noRetain
	if !f.dst.takes(&t.message) {
		return func(t *transfer) { f.drop(t, 0x95) }
	}
	return nil
}

func (f *flow) other() *flow {
	if f.out {
		return f.p.in
	}
	return f.p.out
}

// crosses says whether a retained value of that topic is on its way to where another
// comes from, which is older there, for it came before the acknowledgement. If both
// passed, each side would end with the other's.
func (f *flow) crosses(topic string) bool {
	return slices.ContainsFunc(f.unacked, func(t *transfer) bool { return !t.done && t.retain && t.topic == topic })
}

func (f *flow) circled(*transfer) { f.p.b.count(func(s *Status) { s.Circled++ }) }

// rename gives the topic of a message on the other side, and renames its response
// topic if the answers come by this bridge.
func (f *flow) rename(t *transfer) (topic string, ok bool) {
	for _, line := range f.p.b.cfg.Topics {
		switch {
		case ok:
		case f.out && line.out():
			topic, ok = line.toRemote(t.from)
		case !f.out && line.in():
			topic, ok = line.toLocal(t.from)
		}
		if ok {
			t.retain = t.retain && line.keep()
			break
		}
	}
	if ok && t.response != "" {
		for _, line := range f.p.b.cfg.Topics {
			answers, renamed := "", false
			switch {
			case f.out && line.in():
				answers, renamed = line.toRemote(t.response)
			case !f.out && line.out():
				answers, renamed = line.toLocal(t.response)
			}
			if renamed {
				t.response = answers
				break
			}
		}
	}
	if b := f.p.b; ok && b.cfg.whole && b.opt.Passes != nil && !b.opt.Passes(topic, f.out) {
		return "", false
	}
	return topic, ok && topic != "" && topic != HouseTopic // which each house says of itself alone
}

// pump sends what may be sent now.
func (f *flow) pump() {
	b := f.p.b
	if f.out && !f.p.open {
		return
	}
	for len(f.waiting) > 0 && f.dst.buffered() < maxUnsent {
		t := f.waiting[0]
		most := f.dst.receive()
		if f.out && b.careful > 0 {
			most = 1
		}
		if t.qos > 0 && len(f.sent)+len(f.memory.releasing) >= most {
			return
		}
		f.waiting[0] = nil
		f.waiting = f.waiting[1:]
		f.bytes -= t.size()
		f.send(t)
	}
	f.acknowledge()
}

func (f *flow) send(t *transfer) {
	if f.out && f.dst.version < 5 && slices.ContainsFunc(f.p.b.cfg.Topics, func(line Topic) bool {
		_, comes := line.toLocal(t.topic)
		return comes && line.in()
	}) {
		f.p.b.echoes.expect(t.topic, t.payload)
	}
	if t.qos == 0 {
		f.dst.send(func(b []byte) []byte { return appendPublish(b, f.dst.version, &t.message, 0, false) })
		f.passed(t)
		return
	}
	id, again := uint16(0), false
	if t.qos == 2 && t.dup {
		id, again = f.memory.half[t.id]
	}
	if id == 0 {
		id = f.newID()
	}
	if t.qos == 2 {
		f.memory.half[t.id] = id
	}
	f.sent[id] = t
	f.dst.send(func(b []byte) []byte { return appendPublish(b, f.dst.version, &t.message, id, again) })
}

// newID is a packet id that nothing on the way has. There is always one, for the
// window is smaller than the ids are.
func (f *flow) newID() uint16 {
	for {
		if f.next++; f.next > lastID {
			f.next = 1
		}
		_, busy := f.sent[f.next]
		busy = busy || f.memory.releasing[f.next]
		for _, id := range f.memory.half {
			busy = busy || id == f.next
		}
		if !busy {
			return f.next
		}
	}
}

// passed is when the destination has a message.
func (f *flow) passed(t *transfer) {
	t.done = true
	f.p.b.count(func(s *Status) {
		if f.out {
			s.Out++
		} else {
			s.In++
		}
	})
}

// drop gives a message up that the destination does not take.
func (f *flow) drop(t *transfer, code byte) {
	t.done = true
	f.p.b.count(func(s *Status) { s.Refused++ })
	who := "the own broker"
	if f.out {
		who = "the other broker"
	}
	f.p.b.tellOnce(t.from, who+" refuses it: "+words(code, 5))
}

// answered is an acknowledgement of the destination.
func (f *flow) answered(pk packet) {
	t := f.sent[pk.id]
	if pk.kind == kindPubcomp {
		delete(f.memory.releasing, pk.id)
		return
	}
	release := func() {
		f.memory.releasing[pk.id] = true
		f.dst.send(func(b []byte) []byte { return appendAck(b, kindPubrel, pk.id) })
	}
	if t == nil {
		if pk.kind == kindPubrec && pk.code < 0x80 { // of an earlier connection
			release()
		}
		return
	}
	if want := map[byte]byte{1: kindPuback, 2: kindPubrec}[t.qos]; pk.kind != want {
		f.p.fail("it acknowledged a message of QoS %d with a packet of kind %d", t.qos, pk.kind)
		return
	}
	if pk.code == 0x97 && t.retain && !f.out && f.p.b.cfg.whole {
		// The hub has heard it. That there is no room to retain it here is no reason to
		// send it again: there it is retained.
		pk.code = 0
	}
	if pk.code == 0x97 && f.p.b.quota < quotaTries { // a full disk, maybe: it is tried again later
		f.p.b.quota++
		f.p.fail("it takes nothing now: %w", errors.New(because(pk, 5)))
		return
	}
	f.p.b.quota = 0
	delete(f.sent, pk.id)
	delete(f.memory.half, t.id)
	if f.out && f.p.b.careful > 0 {
		f.p.b.careful--
	}
	if pk.code >= 0x80 {
		f.drop(t, pk.code)
	} else {
		f.passed(t)
		if t.qos == 2 {
			release()
		}
	}
	f.acknowledge()
}

// acknowledge tells the source what the destination has, in the order in which it
// came.
func (f *flow) acknowledge() {
	for len(f.unacked) > 0 && f.unacked[0].done {
		t := f.unacked[0]
		f.unacked[0] = nil
		f.unacked = f.unacked[1:]
		kind := kindPuback
		if t.asks == 2 {
			kind = kindPubrec
			f.memory.taken[t.id] = true
		}
		f.src.send(func(b []byte) []byte { return appendAck(b, kind, t.id) })
	}
}

// released is the source's PUBREL.
func (f *flow) released(pk packet) {
	delete(f.memory.taken, pk.id)
	f.src.send(func(b []byte) []byte { return appendAck(b, kindPubcomp, pk.id) })
}

func (f *flow) idle() bool { return len(f.waiting) == 0 && len(f.unacked) == 0 && len(f.sent) == 0 }

// echoes are messages that a remote without MQTT 5 will send back, for it can't be
// told not to, and that are the same if they come soon.
type echoes map[uint64][]time.Time

const (
	echoWithin = 10 * time.Second
	maxEchoes  = 4096
)

var echoSeed = maphash.MakeSeed()

func echoOf(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(echoSeed)
	h.WriteString(topic)
	h.WriteByte(0)
	h.Write(payload)
	return h.Sum64()
}

func (e echoes) expect(topic string, payload []byte) {
	now := time.Now()
	if len(e) >= maxEchoes {
		for k, at := range e {
			if now.Sub(at[len(at)-1]) > echoWithin {
				delete(e, k)
			}
		}
	}
	k := echoOf(topic, payload)
	if len(e) < maxEchoes && len(e[k]) < maxEchoes {
		e[k] = append(e[k], now)
	}
}

// take says whether a message is an echo.
func (e echoes) take(topic string, payload []byte) bool {
	k := echoOf(topic, payload)
	at := e[k]
	for len(at) > 0 && time.Since(at[0]) > echoWithin {
		at = at[1:]
	}
	found := len(at) > 0
	if found {
		at = at[1:]
	}
	if len(at) == 0 {
		delete(e, k)
	} else {
		e[k] = at
	}
	return found
}
