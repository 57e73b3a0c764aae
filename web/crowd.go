package web

import (
	"net"
	"net/netip"
	"sync"
)

// So many connections there may be at once, and of one address. A browser has six; a
// proxy on this machine has those of everybody.
const (
	mostConns      = 512
	mostConnsOfOne = 64
	keptForHere    = 64 // which this machine alone has: its owner, and a proxy
)

// A crowd is a listener that lets in no more than that. Without it a stranger, who need
// not log in for that, could open so many connections that nobody else gets one and the
// house runs out of files.
type crowd struct {
	net.Listener

	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int // by address; those of this machine are not counted there
}

func (c *crowd) Accept() (net.Conn, error) {
	for {
		nc, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		at := netip.Prefix{}
		if addr, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil && !addr.Addr().Unmap().IsLoopback() {
			at = tryer(addr.Addr())
		}
		if c.enter(at) {
			return &member{Conn: nc, leave: sync.OnceFunc(func() { c.leave(at) })}, nil
		}
		nc.Close()
	}
}

func (c *crowd) enter(at netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= mostConns || at.IsValid() && (c.all >= mostConns-keptForHere || c.of[at] >= mostConnsOfOne) {
		return false
	}
	c.all++
	if at.IsValid() {
		c.of[at]++
	}
	return true
}

func (c *crowd) leave(at netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.of[at]--; c.of[at] <= 0 {
		delete(c.of, at)
	}
}

// A member is a connection that is counted until it is closed.
type member struct {
	net.Conn
	leave func()
}

func (m *member) Close() error {
	m.leave()
	return m.Conn.Close()
}
