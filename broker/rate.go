package broker

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A bucket lets so many through a second, and saves up for a burst while there is
// quiet. The zero bucket is full.
type bucket struct {
	left float64
	at   time.Time // when left was so
}

// fill lets time pass.
func (b *bucket) fill(now time.Time, rate, burst float64) {
	most := max(1, rate*burst)
	if b.at.IsZero() {
		b.left = most
	} else if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.left += passed * rate
	}
	b.left = min(b.left, most)
	b.at = now
}

// take takes one, which may not be there yet, and tells how long to wait for it.
func (b *bucket) take(now time.Time, rate, burst float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	b.fill(now, rate, burst)
	if b.left--; b.left >= 0 {
		return 0
	}
	return time.Duration(-b.left / rate * float64(time.Second))
}

// try takes one if it is there.
func (b *bucket) try(now time.Time, rate, burst float64) bool {
	b.fill(now, rate, burst)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// full says whether a fresh bucket would be the same.
func (b *bucket) full(now time.Time, rate, burst float64) bool {
	b.fill(now, rate, burst)
	return b.left >= max(1, rate*burst)
}

// A pacer slows one connection down to the rates of its client and its address.
// It belongs to the goroutine that reads. A nil pacer slows nobody.
type pacer struct {
	limits    *atomic.Pointer[limits]
	own       bucket
	neighbour *neighbour // nil: of this machine, whose programs share no rate
}

// wait takes account of one packet and tells how long the reader must pause before
// it takes the next. It is to be called once a packet: who did not pause for the
// last one only owes more.
func (p *pacer) wait(now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	lim := p.limits.Load()
	pause := p.own.take(now, lim.messages, lim.burst)
	if p.neighbour != nil {
		p.neighbour.mu.Lock()
		pause = max(pause, p.neighbour.messages.take(now, lim.addressMessages, lim.burst))
		p.neighbour.mu.Unlock()
	}
	return pause
}

// isAck says whether packets of that kind acknowledge. They cost nothing, as long as
// they answer something of ours.
func isAck(kind byte) bool {
	switch kind {
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return true
	}
	return false
}

// pause is wait, and the pause.
func (p *pacer) pause(ctx context.Context) {
	d := p.wait(time.Now())
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connectBurst is how many seconds' worth of connections an address may make at
// once: a house whose power comes back does.
const connectBurst = 5

// A neighbour is an address beyond this machine: of IPv6 the /64, for a machine
// takes as many addresses of it as it likes.
type neighbour struct {
	connections int    // of neighbours.mu, as the next
	connects    bucket // new ones

	mu       sync.Mutex
	messages bucket
}

// neighbours are those who are connected, or were a moment ago.
type neighbours struct {
	mu    sync.Mutex
	all   map[netip.Addr]*neighbour
	sweep int // when there are so many, those who are gone are forgotten
}

// home is what counts as one address.
func home(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// come counts a new connection of an address, or says why it may not come.
func (ns *neighbours) come(a netip.Addr, now time.Time, lim *limits) (*neighbour, string) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n := ns.all[home(a)]
	if n == nil {
		if len(ns.all) >= ns.sweep {
			for key, n := range ns.all {
				if n.gone(now, lim) {
					delete(ns.all, key)
				}
			}
			ns.sweep = 64 + 2*len(ns.all)
		}
		n = &neighbour{}
		if ns.all == nil {
			ns.all = map[netip.Addr]*neighbour{}
		}
		ns.all[home(a)] = n
	}
	switch {
	case !n.connects.try(now, lim.addressConnects, connectBurst):
		return nil, "refused a connection: new ones of this address come faster than broker.limits.address_connects"
	case n.connections >= lim.addressConnections:
		return nil, "refused a connection: this address has as many as broker.limits.address_connections"
	}
	n.connections++
	return n, ""
}

// leave is the end of a connection that came. Its neighbour is forgotten when
// nothing is owed any more: else who reconnects would owe nothing at once.
func (ns *neighbours) leave(n *neighbour, a netip.Addr, now time.Time, lim *limits) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n.connections--
	if n.gone(now, lim) {
		delete(ns.all, home(a))
	}
}

// gone says whether nothing needs to be known of n. neighbours.mu is held.
func (n *neighbour) gone(now time.Time, lim *limits) bool {
	if n.connections > 0 || !n.connects.full(now, lim.addressConnects, connectBurst) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return lim.addressMessages <= 0 || n.messages.full(now, lim.addressMessages, lim.burst)
}

// complaints are what is logged of clients, and not once for each of a flood.
type complaints struct {
	mu  sync.Mutex
	all map[string]*complaint
}

type complaint struct {
	lines bucket // of the log
	count int    // how often it came since it was logged last
}

// count counts a complaint and gives how often it came since it was last logged;
// due says to log it now: once a second at most, after a burst of so many.
func (cs *complaints) count(what string, now time.Time, burst float64) (n int, due bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[what]
	if c == nil {
		if cs.all == nil {
			cs.all = map[string]*complaint{}
		}
		c = &complaint{}
		cs.all[what] = c
	}
	c.count++
	if !c.lines.try(now, 1, burst) {
		return c.count, false
	}
	n, c.count = c.count, 0
	return n, true
}

// complain logs what a client did, at most once a second and then with how often.
// what is one of few.
func (b *Broker) complain(level slog.Level, what string, args ...any) {
	n, due := b.complaints.count(what, time.Now(), 1)
	if !due {
		return
	}
	if n > 1 {
		args = append(args, "times", n)
	}
	b.tellLog(level, what, args...)
}

// mention is complain for what is worth a line for each client that it happens to, as
// long as those are few: twenty may come at once, then it says how many it left out.
// kind is one of few.
func (b *Broker) mention(level slog.Level, what, kind string, args ...any) {
	n, due := b.complaints.count(what+kind, time.Now(), 20)
	if !due {
		return
	}
	if n > 1 {
		args = append(args, "others", n-1)
	}
	b.tellLog(level, what, args...)
}

// tellLog logs what a client did. Names that it made up may be long.
func (b *Broker) tellLog(level slog.Level, what string, args ...any) {
	const most = 200
	for i, a := range args {
		if s, ok := a.(string); ok && len(s) > most {
			args[i] = s[:most] + "..."
		}
	}
	b.log.Log(context.Background(), level, "broker: "+what, args...)
}
