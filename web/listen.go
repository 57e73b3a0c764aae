package web

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Addr is the address the page can be reached at, "" while it is off.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return ""
	}
	return s.now.Addr().String()
}

// Scheme is how a browser asks for the page.
func (s *Server) Scheme() string {
	if s.set.Load().keeper != nil {
		return "https"
	}
	return "http"
}

// A Move to another address can still be undone. Until it is
// committed everything is as it was, but the new address is already bound.
type Move struct {
	server *Server
	set    *settings
	same   bool
	next   *listener // nil turns the page off
	parked *listener // gave up its port for next, and goes on with those who are connected
}

// Prepare binds the address of cfg. Where that is the one already served,
// nothing will be touched.
func (s *Server) Prepare(cfg Config) (*Move, error) {
	listen := cfg.listen()
	want, err := parseListen(listen)
	if err != nil {
		return nil, fmt.Errorf("web.listen = %q: %w", listen, err)
	}
	c := &Move{server: s}
	if c.set, err = cfg.settings(s.log); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errors.New("the page is closed")
	case !want.on:
		c.same = s.now == nil
		return c, nil
	case s.now != nil && s.now.asked == want && s.now.tls == (c.set.keeper != nil):
		c.same = true
		return c, nil
	}
	l, err := net.Listen("tcp", want.String())
	// From 127.0.0.1:8080 to 0.0.0.0:8080, or to TLS: the port is our own.
	if old := s.now; errors.Is(err, syscall.EADDRINUSE) && old != nil && old.port() == want.port && (old.asked.everywhere() || want.everywhere() || old.asked.ip == want.ip) {
		old.park()
		c.parked = old
		if l, err = net.Listen("tcp", want.String()); err != nil {
			s.unpark(old)
		}
	}
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: another program has it, maybe a second hearth; stop that, or change web.listen", err)
		}
		if errors.Is(err, syscall.EACCES) {
			err = fmt.Errorf("%w: a port below 1024 is not for everybody; take one above, or give the hub's unit CapabilityBoundingSet= and AmbientCapabilities=CAP_NET_BIND_SERVICE", err)
		}
		return nil, fmt.Errorf("the page on %s: %w", listen, err)
	}
	c.next = &listener{Listener: l, asked: want, tls: c.set.keeper != nil}
	return c, nil
}

// Undo gives the new address back.
func (c *Move) Undo() {
	if c.next != nil {
		c.next.Listener.Close()
		c.next = nil
	}
	if c.parked != nil {
		c.server.mu.Lock()
		c.server.unpark(c.parked)
		c.server.mu.Unlock()
		c.parked = nil
	}
	c.same = true
	c.set = nil
}

// unpark listens again where a listener did that gave up its port. Whoever is connected
// to the old one comes again. s.mu is held.
func (s *Server) unpark(old *listener) {
	s.ending.Go(old.close)
	s.now = nil
	l, err := net.Listen("tcp", old.Addr().String())
	if err != nil {
		s.log.Error("the page is gone", "addr", old.asked.String(), "err", err)
		return
	}
	s.now = &listener{Listener: l, asked: old.asked, tls: old.tls}
	s.now.serve(s)
}

// Commit serves the new address and leaves the old one; it does not wait for
// the requests that are still answered there.
func (c *Move) Commit() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.set != nil {
		s.set.Store(c.set)
		if c.set.keeper != nil {
			for _, doubt := range c.set.keeper.Doubts(time.Now()) {
				s.log.Warn("the page's certificate: " + doubt)
			}
		}
	}
	if c.same || s.closed {
		if c.next != nil {
			c.next.Listener.Close()
		}
		return
	}
	old := s.now
	s.now, c.next, c.same, c.parked = c.next, nil, true, nil
	if s.now != nil {
		s.now.serve(s)
	}
	if old != nil {
		s.ending.Go(old.close)
	}
}

// Close ends all streams and requests. When it returns, every goroutine the
// server started has ended.
func (s *Server) Close() error {
	s.mu.Lock()
	old := s.now
	s.now, s.closed = nil, true
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	s.ending.Wait()
	s.feed.gathering.Wait()
	s.viewing.making.Wait()
	return nil
}

// A listener is one bound address and, once serve was called, what serves it.
type listener struct {
	net.Listener
	asked  address // as it was asked for; the port may have been 0
	tls    bool
	parked atomic.Bool

	http  *http.Server
	end   context.CancelFunc // ends the context of every request
	loop  sync.WaitGroup     // the accept loop
	conns sync.WaitGroup     // the connections it accepted
}

func (l *listener) serve(s *Server) {
	log := s.log
	ctx, end := context.WithCancel(context.Background())
	l.end = end
	l.http = &http.Server{
		Handler:           s.handler,
		ErrorLog:          stdlog.New(handshakes{log}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second, // a stream sets its own for each event
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew: // told by the accept loop itself, so close can wait for loop, then conns
				l.conns.Add(1)
			case http.StateClosed:
				l.conns.Done()
			}
		},
	}
	from := net.Listener(&crowd{Listener: l.Listener, of: make(map[netip.Prefix]int)})
	if l.tls {
		from = s.overTLS(from)
	}
	l.loop.Go(func() {
		if err := l.http.Serve(from); !errors.Is(err, http.ErrServerClosed) && !l.parked.Load() {
			log.Error("the page is gone", "addr", l.Addr().String(), "err", err)
		}
	})
}

// port is the one it has, whatever was asked for.
func (l *listener) port() uint16 {
	at, _ := netip.ParseAddrPort(l.Addr().String())
	return at.Port()
}

// park gives up the port and nothing else.
func (l *listener) park() {
	l.parked.Store(true)
	l.Listener.Close()
	l.loop.Wait()
}

// close lets a request that is nearly answered finish and cuts the others.
func (l *listener) close() {
	l.end()
	grace, done := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer done()
	if l.http.Shutdown(grace) != nil {
		l.http.Close()
	}
	l.loop.Wait()
	l.conns.Wait()
}
