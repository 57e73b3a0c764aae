package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// maxConnections bounds what the listeners accept together, MQTT or not yet.
const maxConnections = 512

// A Change is a reload that is prepared: its new listeners are bound and do not
// accept yet. Either Commit or Undo ends it.
type Change struct {
	b      *Broker
	wanted []*listener // in the config's order; some run already
	fresh  []*listener // bound by Prepare
	ended  bool
}

// Prepare binds the listeners of cfg that do not run yet. Nothing else changes
// before Commit: an error, or Undo, leaves the broker as it was. A port that
// changes hands between two kinds of listener is still taken and so an error.
func (b *Broker) Prepare(cfg Config) (*Change, error) {
	addresses, err := cfg.addresses()
	if err != nil {
		return nil, err
	}
	b.reload.Lock()
	defer b.reload.Unlock()
	if b.ctx.Err() != nil {
		return nil, ErrClosed
	}
	ch := &Change{b: b}
	kept := map[*listener]bool{}
	for _, a := range addresses {
		l := b.running(a, kept)
		if l == nil {
			if l, err = b.bind(a); err != nil {
				ch.Undo()
				if errors.Is(err, syscall.EADDRINUSE) {
					err = fmt.Errorf("%w: another program has it, such as mosquitto or a second hearth; stop that, or change broker.listen", err)
				}
				return nil, fmt.Errorf("listen on %q: %w", a, err)
			}
			ch.fresh = append(ch.fresh, l)
		}
		kept[l] = true
		ch.wanted = append(ch.wanted, l)
	}
	return ch, nil
}

// running finds the listener of an address that runs and is not taken.
func (b *Broker) running(a address, taken map[*listener]bool) *listener {
	for _, l := range b.listeners {
		if l.address == a && !taken[l] {
			return l
		}
	}
	return nil
}

// Commit accepts on the new listeners and closes those no longer named, with
// their clients. A listener that stays is not touched, nor are its clients.
func (ch *Change) Commit() {
	b := ch.b
	b.reload.Lock()
	defer b.reload.Unlock()
	if ch.ended {
		return
	}
	ch.ended = true
	if b.ctx.Err() != nil {
		for _, l := range ch.fresh {
			l.net.Close()
		}
		return
	}
	for _, l := range ch.fresh {
		l.start()
	}
	old := b.listeners
	b.listeners = ch.wanted
	stays := map[*listener]bool{}
	for _, l := range ch.wanted {
		stays[l] = true
	}
	for _, l := range old {
		if !stays[l] {
			l.close(packets.ErrAdministrativeAction)
		}
	}
}

// Undo lets go of what Prepare bound.
func (ch *Change) Undo() {
	if ch.ended {
		return
	}
	ch.ended = true
	for _, l := range ch.fresh {
		l.net.Close()
	}
}

// Addrs tells where the broker listens, in the config's order and form, with the
// real port where port 0 was asked for.
func (b *Broker) Addrs() []string {
	b.reload.Lock()
	defer b.reload.Unlock()
	var all []string
	for _, l := range b.listeners {
		real := l.address
		if real.scheme != "unix" {
			real.at = l.net.Addr().String()
		}
		all = append(all, real.String())
	}
	return all
}

// A listener accepts connections on one address and serves each until it ends.
type listener struct {
	b       *Broker
	address address
	net     net.Listener
	http    *http.Server   // of a WebSocket listener
	waiting chan net.Conn  // accepted for http
	closed  chan struct{}  // closed before net is
	wg      sync.WaitGroup // its goroutines and connections

	mu    sync.Mutex
	conns map[net.Conn]bool // accepted and not closed
}

func (b *Broker) bind(a address) (*listener, error) {
	l := &listener{b: b, address: a, closed: make(chan struct{}), conns: map[net.Conn]bool{}}
	var err error
	if a.scheme == "unix" {
		l.net, err = bindUnix(a.at)
	} else if l.net, err = net.Listen("tcp", a.at); err == nil {
		// "localhost" is what the hosts file says it is.
		if ap, _ := netip.ParseAddrPort(l.net.Addr().String()); !ap.Addr().Unmap().IsLoopback() {
			l.net.Close()
			err = fmt.Errorf("it is %v here: %w", l.net.Addr(), errNotLoopback)
		}
	}
	return l, err
}

// bindUnix replaces a socket that a killed process left behind, and never one
// that somebody still answers on.
func bindUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, errors.New("there is a file of that name, and it is no socket")
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, errors.New("another process listens there")
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket an earlier run left: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *listener) start() {
	if l.address.scheme == "ws" {
		l.waiting = make(chan net.Conn)
		l.http = &http.Server{
			Handler:           l,
			ReadHeaderTimeout: connectTimeout,
			IdleTimeout:       connectTimeout,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(l.b.log.Handler(), slog.LevelDebug),
		}
		l.wg.Go(func() { l.http.Serve(handed{l}) })
	}
	l.wg.Go(l.accept)
}

// accept takes connections until the listener is closed. When the process is out
// of file descriptors it pauses instead of giving up: others will be freed.
func (l *listener) accept() {
	var pause time.Duration
	for {
		nc, err := l.net.Accept()
		if err != nil {
			select {
			case <-l.closed:
				return
			default:
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.b.log.Warn("broker: accept", "on", l.address.String(), "err", err, "again in", pause)
			select {
			case <-l.closed:
				return
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		if !l.b.accepted.take() {
			l.b.log.Warn("broker: too many connections", "limit", maxConnections, "from", nc.RemoteAddr().String())
			nc.Close()
			continue
		}
		c := &accepted{Conn: nc, l: l}
		l.wg.Add(1) // until it is closed
		l.mu.Lock()
		l.conns[c] = true
		l.mu.Unlock()
		if l.waiting == nil {
			l.wg.Go(func() { l.b.serve(c, l) })
			continue
		}
		select {
		case l.waiting <- c:
		case <-l.closed:
			c.Close()
			return
		}
	}
}

// close ends the listener and all it accepted, and returns when they have ended.
func (l *listener) close(why packets.Code) {
	close(l.closed)
	l.net.Close()
	if l.http != nil {
		l.http.Close()
	}
	l.b.endAll(l, why)
	l.mu.Lock()
	rest := slices.Collect(maps.Keys(l.conns)) // not come as far as MQTT
	l.mu.Unlock()
	for _, c := range rest {
		c.Close()
	}
	l.wg.Wait()
}

func (l *listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// ServeHTTP makes an MQTT connection of a WebSocket. Pages of other origins are
// refused, and so are pages whose own host is a name: that could be any page
// whose name was pointed at this machine.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && r.URL.Path != "/mqtt" {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("Origin") != "" && !isLiteral(r.Host) {
		http.Error(w, "a page may connect only from this machine's own address", http.StatusForbidden)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		l.b.log.Debug("broker: WebSocket refused", "from", r.RemoteAddr, "err", err)
		return
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != "mqtt" {
		ws.Close(websocket.StatusPolicyViolation, `want the subprotocol "mqtt"`)
		return
	}
	l.b.serve(&socket{websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws}, l)
}

func isLiteral(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// A socket is a WebSocket whose Close does not wait for the other side.
type socket struct {
	net.Conn
	ws *websocket.Conn
}

func (s *socket) Close() error { return s.ws.CloseNow() }

// handed is a WebSocket listener as its http.Server sees it.
type handed struct{ l *listener }

func (h handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.l.waiting:
		return c, nil
	case <-h.l.closed:
		return nil, net.ErrClosed
	}
}

func (h handed) Close() error   { return nil }
func (h handed) Addr() net.Addr { return h.l.net.Addr() }

// accepted is a connection that counts until it is closed.
type accepted struct {
	net.Conn
	l    *listener
	once sync.Once
}

func (c *accepted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.l.mu.Lock()
		delete(c.l.conns, c)
		c.l.mu.Unlock()
		c.l.b.accepted.give()
		c.l.wg.Done()
	})
	return err
}

// slots counts the accepted connections.
type slots struct{ n atomic.Int64 }

func (s *slots) take() bool {
	if s.n.Add(1) > maxConnections {
		s.n.Add(-1)
		return false
	}
	return true
}

func (s *slots) give() { s.n.Add(-1) }
