package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/certs"
)

// doors are what the listeners share, and what a reload changes of them.
type doors struct {
	limits    atomic.Pointer[limits]
	intervals atomic.Pointer[intervals]    // of retained values
	keeper    atomic.Pointer[certs.Keeper] // nil: no TLS
	pages     atomic.Pointer[pages]

	accepted   atomic.Int64 // connections, MQTT or not yet
	neighbours neighbours
	complaints complaints
}

// open has the defaults, until the first Commit.
func (d *doors) open() { d.use(Config{}, nil) }

func (d *doors) use(cfg Config, k *certs.Keeper) {
	lim := cfg.limits()
	d.limits.Store(&lim)
	d.intervals.Store(cfg.intervals())
	d.pages.Store(&pages{origins: cfg.Origins, byName: !cfg.anonymous()})
	d.keeper.Store(k)
}

// An entrance is how a connection came in.
type entrance struct {
	listener    *listener  // nil: by hand
	addr        netip.Addr // of the client; zero: a socket of this machine, or a pipe
	local       bool       // loopback, a socket of this machine, or a pipe
	certificate string     // common name of the client's verified certificate; "" if it has none
	pace        *pacer     // nil: no rate limit
	due         time.Time  // CONNECT must have come by then; zero: within the limit from now
}

// A Change is a reload that is prepared: its new listeners are bound and do not
// accept yet. Either Commit or Undo ends it.
type Change struct {
	b      *Broker
	wanted []*listener // in the config's order; some run already
	fresh  []*listener // bound by Prepare
	parked []*listener // that let go of their port by Prepare
	cfg    Config
	keeper *certs.Keeper
	table  *access.Table // nil: there is no door
	ended  bool
}

// Prepare binds the listeners of cfg that do not run yet, and reads its
// certificates. Nothing else changes before Commit: an error, or Undo, leaves the
// broker as it was. Where a port changes hands between two listeners, as from
// 127.0.0.1 to 0.0.0.0, the old one lets go of it here and has it back by Undo.
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
	ch := &Change{b: b, cfg: cfg, wanted: make([]*listener, len(addresses))}
	if cfg.TLS != nil {
		if ch.keeper, err = cfg.TLS.files().Open(b.log); err != nil {
			return nil, err
		}
	}
	if b.door != nil {
		if ch.table, err = b.door.Prepare(cfg.Config); err != nil {
			return nil, err
		}
	}
	kept := map[*listener]bool{}
	for i, a := range addresses {
		if l := b.running(a, kept); l != nil {
			kept[l] = true
			ch.wanted[i] = l
		}
	}
	for i, a := range addresses {
		if ch.wanted[i] != nil {
			continue
		}
		l, err := b.bind(a)
		if errors.Is(err, syscall.EADDRINUSE) && ch.clear(a, kept) {
			l, err = b.bind(a)
		}
		if err != nil {
			ch.undo()
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%w: another program has it, such as mosquitto or a second hearth; stop that, or change broker.listen", err)
			}
			return nil, fmt.Errorf("listen on %q: %w", a, err)
		}
		ch.fresh = append(ch.fresh, l)
		ch.wanted[i] = l
	}
	return ch, nil
}

// clear lets listeners that are about to go let go of a port already, and says
// whether there were any.
func (ch *Change) clear(a address, kept map[*listener]bool) (any bool) {
	for _, l := range ch.b.listeners {
		if !kept[l] && !l.isParked() && l.real().overlaps(a) {
			l.park()
			ch.parked = append(ch.parked, l)
			any = true
		}
	}
	return any
}

// running finds the listener of an address that runs and is not taken.
func (b *Broker) running(a address, taken map[*listener]bool) *listener {
	for _, l := range b.listeners {
		if l.address == a && !taken[l] && !l.isParked() {
			return l
		}
	}
	return nil
}

// Commit accepts on the new listeners and closes those no longer named, with
// their clients. A listener that stays is not touched, nor are its clients: other
// limits count for them from their next packet, another certificate not at all.
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
	b.use(ch.cfg, ch.keeper)
	if ch.table != nil {
		b.door.Use(ch.table)
		b.rightsChanged()
	}
	if ch.keeper != nil {
		for _, doubt := range ch.keeper.Doubts(time.Now()) {
			b.log.Warn("broker: the certificate is doubtful", "certificate", ch.cfg.TLS.Certificate, "why", doubt)
		}
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
	ch.b.reload.Lock()
	defer ch.b.reload.Unlock()
	ch.undo()
}

func (ch *Change) undo() {
	if ch.ended {
		return
	}
	ch.ended = true
	for _, l := range ch.fresh {
		l.net.Close()
	}
	if ch.b.ctx.Err() != nil {
		return
	}
	for _, l := range ch.parked {
		if err := l.unpark(); err != nil {
			ch.b.log.Error("broker: a listener that let go of its port can't have it back; reload once it is free", "on", l.address.String(), "err", err)
		}
	}
}

// Addrs tells where the broker listens, in the config's order and form, with the
// real port where port 0 was asked for.
func (b *Broker) Addrs() []string {
	b.reload.Lock()
	defer b.reload.Unlock()
	var all []string
	for _, l := range b.listeners {
		all = append(all, l.real().String())
	}
	return all
}

// A listener accepts connections on one address and serves each until it ends.
type listener struct {
	b       *Broker
	address address
	net     net.Listener   // changed by unpark alone
	http    *http.Server   // of a WebSocket listener
	waiting chan net.Conn  // accepted for http
	closed  chan struct{}  // closed before net is
	wg      sync.WaitGroup // its goroutines and connections

	mu     sync.Mutex
	conns  map[*accepted]bool // not closed
	parked chan struct{}      // not nil: net is closed for now; closed when it is another
}

func (b *Broker) bind(a address) (*listener, error) {
	l := &listener{b: b, address: a, closed: make(chan struct{}), conns: map[*accepted]bool{}}
	var err error
	if a.scheme == "unix" {
		l.net, err = bindUnix(a.at)
	} else {
		l.net, err = bindTCP(a.at)
	}
	return l, err
}

// bindTCP takes 0.0.0.0 at its word: Go would listen on IPv6 too, where a home may
// be open to the world.
func bindTCP(at string) (net.Listener, error) {
	network := "tcp"
	if ap, err := netip.ParseAddrPort(at); err == nil && ap.Addr().Is4() {
		network = "tcp4"
	}
	return net.Listen(network, at)
}

// real is the listener's address with the port that it has got. Broker.reload is
// held.
func (l *listener) real() address {
	a := l.address
	if a.scheme != "unix" {
		a.at = l.net.Addr().String()
	}
	return a
}

// park lets go of the port, and keeps the connections.
func (l *listener) park() {
	l.mu.Lock()
	l.parked = make(chan struct{})
	l.mu.Unlock()
	l.net.Close()
}

func (l *listener) unpark() error {
	again, err := bindTCP(l.net.Addr().String())
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.net = again
	close(l.parked)
	l.parked = nil
	return nil
}

func (l *listener) isParked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parked != nil
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
	if l.address.web() {
		l.waiting = make(chan net.Conn)
		l.http = &http.Server{ // without timeouts: see accepted.lapse
			Handler: l,
			ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
				return context.WithValue(ctx, below{}, bottom(nc))
			},
			MaxHeaderBytes: 16 << 10,
			ErrorLog:       slog.NewLogLogger(l.b.log.Handler(), slog.LevelDebug),
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
		l.mu.Lock()
		socket, parked := l.net, l.parked
		l.mu.Unlock()
		if parked != nil {
			select {
			case <-parked:
				continue
			case <-l.closed:
				return
			}
		}
		nc, err := socket.Accept()
		if err != nil {
			select {
			case <-l.closed:
				return
			default:
			}
			if l.isParked() {
				continue
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.b.complain(slog.LevelWarn, "cannot accept connections", "on", l.address.String(), "err", err, "again in", pause)
			select {
			case <-l.closed:
				return
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		c, why := l.admit(nc, time.Now())
		if c == nil {
			l.b.complain(slog.LevelWarn, why, "from", nc.RemoteAddr().String(), "on", l.address.String())
			nc.Close()
			continue
		}
		c.spawn(c.enter)
	}
}

// admit makes a connection one that counts, or says why it may not.
func (l *listener) admit(nc net.Conn, now time.Time) (c *accepted, why string) {
	b := l.b
	lim := b.limits.Load()
	if b.accepted.Add(1) > int64(lim.connections) {
		b.accepted.Add(-1)
		return nil, "refused a connection: there are as many as broker.limits.connections"
	}
	c = &accepted{Conn: nc, l: l}
	c.way = entrance{listener: l, due: now.Add(lim.connectWithin), pace: &c.pacer}
	c.way.addr, c.way.local = whence(nc)
	if !c.way.local {
		if c.pacer.neighbour, why = b.neighbours.come(c.way.addr, now, lim); why != "" {
			b.accepted.Add(-1)
			return nil, why
		}
	}
	c.pacer.limits = &b.limits
	l.wg.Add(1) // until it is closed
	l.mu.Lock()
	l.conns[c] = true
	l.mu.Unlock()
	return c, ""
}

// whence gives where a connection comes from. It is of this machine if both its
// ends are: a packet from elsewhere may claim to come from 127.0.0.1.
func whence(nc net.Conn) (from netip.Addr, local bool) {
	remote, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, true
	}
	from = remote.AddrPort().Addr().Unmap()
	here, ok := nc.LocalAddr().(*net.TCPAddr)
	return from, ok && from.IsLoopback() && here.AddrPort().Addr().Unmap().IsLoopback()
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
	rest := slices.Collect(maps.Keys(l.conns)) // those that have not come as far as MQTT
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

// An accepted connection counts until it is closed.
type accepted struct {
	net.Conn
	l     *listener
	way   entrance
	pacer pacer
	once  sync.Once

	first [1]byte // read ahead by enter
	ahead bool
	lapse *time.Timer // closes what has not become a WebSocket by then
}

// spawn runs f in a goroutine that the listener waits for, unless c was closed
// meanwhile.
func (c *accepted) spawn(f func()) bool {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.l.conns[c] {
		return false
	}
	c.l.wg.Go(f)
	return true
}

// enter leads a connection to where MQTT begins. What says nothing gets nothing,
// neither a buffer nor a TLS connection: thousands may hang around like that.
func (c *accepted) enter() {
	c.Conn.SetReadDeadline(c.way.due)
	if _, err := c.Conn.Read(c.first[:]); err != nil {
		c.Close()
		return
	}
	c.ahead = true

	var nc net.Conn = c
	l := c.l
	if l.address.secure() {
		if nc = c.secure(); nc == nil {
			c.Close()
			return
		}
	}
	c.Conn.SetWriteDeadline(time.Time{})
	if l.waiting == nil {
		l.b.serve(nc, &c.way)
		return
	}
	c.Conn.SetReadDeadline(time.Time{})
	c.lapse = time.AfterFunc(time.Until(c.way.due), func() { c.Close() })
	select {
	case l.waiting <- nc:
	case <-l.closed:
		c.Close()
	}
}

// secure gives what is spoken over TLS, nil if it does not come about.
func (c *accepted) secure() net.Conn {
	l := c.l
	k := l.b.keeper.Load()
	if k == nil { // the listener is about to be closed
		return nil
	}
	over := tls.Server(c, k.Config(time.Now()))
	c.Conn.SetDeadline(c.way.due)
	if err := over.Handshake(); err != nil {
		l.b.complain(slog.LevelInfo, "a TLS connection did not come about", "from", c.RemoteAddr().String(), "on", l.address.String(), "why", handshakeTrouble(err))
		return nil
	}
	c.way.certificate = shown(over)
	return secured{over, c}
}

func (c *accepted) Read(p []byte) (int, error) {
	if c.ahead && len(p) > 0 {
		c.ahead = false
		p[0] = c.first[0]
		return 1, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite says that nothing more comes.
func (c *accepted) CloseWrite() error {
	if nc, ok := c.Conn.(halfCloser); ok {
		return nc.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *accepted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		b := c.l.b
		b.accepted.Add(-1)
		if n := c.pacer.neighbour; n != nil {
			b.neighbours.leave(n, c.way.addr, time.Now(), b.limits.Load())
		}
		c.l.mu.Lock()
		delete(c.l.conns, c)
		c.l.mu.Unlock()
		c.l.wg.Done()
	})
	return err
}

// below is the key of the accepted connection in the context of a request.
type below struct{}

func bottom(nc net.Conn) *accepted {
	if s, ok := nc.(secured); ok {
		return s.below
	}
	return nc.(*accepted)
}

// ServeHTTP makes an MQTT connection of a WebSocket.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && r.URL.Path != "/mqtt" {
		http.NotFound(w, r)
		return
	}
	if why := l.b.pages.Load().refuse(r); why != "" {
		l.b.complain(slog.LevelWarn, "refused a page's WebSocket", "from", r.RemoteAddr, "origin", r.Header.Get("Origin"), "why", why)
		http.Error(w, why, http.StatusForbidden)
		return
	}
	c := r.Context().Value(below{}).(*accepted)
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{"mqtt"}, InsecureSkipVerify: true, // refuse has looked
		OnPingReceived: func(ctx context.Context, _ []byte) bool { c.pacer.pause(ctx); return true },
		OnPongReceived: func(ctx context.Context, _ []byte) { c.pacer.pause(ctx) },
	})
	if err != nil {
		l.b.log.Debug("broker: WebSocket refused", "from", r.RemoteAddr, "err", err)
		return
	}
	if ws.Subprotocol() != "mqtt" {
		ws.Close(websocket.StatusPolicyViolation, `want the subprotocol "mqtt"`)
		ws.CloseNow()
		return
	}
	way := c.way
	if way.local {
		way.addr, way.local = forwarded(r, way.addr)
	}
	c.lapse.Stop()
	// In a goroutine of its own: that of the request would keep the request.
	if !c.spawn(func() {
		defer ws.CloseNow()
		l.b.serve(&socket{websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws}, &way)
	}) {
		ws.CloseNow()
	}
}

// forwarded gives where a request comes from that reached this machine's own
// address: a proxy here, such as nginx, speaks for others, and puts who it was at
// the end of X-Forwarded-For. What is before that anyone may have written.
func forwarded(r *http.Request, from netip.Addr) (_ netip.Addr, local bool) {
	chain := r.Header.Values("X-Forwarded-For")
	if len(chain) == 0 {
		return from, r.Header.Get("Forwarded") == "" && r.Header.Get("X-Real-Ip") == ""
	}
	last := chain[len(chain)-1]
	if client, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndex(last, ",")+1:])); err == nil {
		from = client.Unmap()
	}
	return from, false
}

// pages are those whose WebSockets are taken.
type pages struct {
	origins []string
	byName  bool // also those of this machine that were reached by a name
}

// refuse says why a request is not taken, "" if it is. A browser lets any page in
// the world connect to this machine in the name of whoever looks at it. So a page
// has to come from the broker's own address, or be named in the config. As long as
// clients need no login the address has to be a number too: a name could be any
// page's, pointed at this machine. What is no browser sends no Origin.
func (p *pages) refuse(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.ContainsFunc(p.origins, func(o string) bool { return strings.EqualFold(o, origin) }) {
		return ""
	}
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host):
		return "this page may not connect: name its origin in broker.origins"
	case !p.byName && !isLiteral(r.Host):
		return "a page may connect only from this machine's own address, unless broker.origins names it"
	}
	return ""
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
