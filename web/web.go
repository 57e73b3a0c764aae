// Package web is the page of the house: what its outputs and inputs are, what
// its devices last said and what its rules decided, live, with a switch for each
// output. It is one HTML page, one script and one style sheet, all embedded;
// nothing is built and nothing is loaded from elsewhere. Without JavaScript the
// page is a list of how things stood when it was loaded.
//
// What it shows it asks of a [House], which the hub fills.
//
// # No open door
//
// There are no logins yet, so the page is for programs and people on this
// machine alone:
//
//   - It listens on loopback addresses only; see [Config].
//   - The Host header must name this machine. Otherwise a page from the internet
//     whose name is made to point to 127.0.0.1 (DNS rebinding) could read the house.
//   - Requests that a browser sends on behalf of another site are refused, and
//     what is posted must be application/json.
//   - What devices say is hostile. It reaches the page only as text, through
//     html/template or textContent, mended and cut before ([View] is cleaned on
//     its way out); a strict Content-Security-Policy stands behind that.
//
// # What programs may ask
//
// The names of the fields are stable; fields may be added. Times are RFC 3339,
// in the zone of the house.
//
//	GET  /api/house           a View as JSON
//	GET  /api/events          server-sent events, see below
//	POST /api/output/{name}   {"on":true} -> 204
//	POST /api/input/{name}    {"on":true} -> 204; simulated inputs only
//	POST /hook/{name}         anything, for the rules with that webhook -> 204
//	GET  /healthz             200 if the house answers within a second, else 503
//	GET  /metrics             each [Metric] for Prometheus, in its text format
//
// Anything refused has a fitting status and {"error":"..."}. The stream begins
// with an event named house, which carries a whole View; what happens
// afterwards follows as events without a name, each an [Event]. Every 15 seconds
// an event named status repeats the View without its lists, so who hears nothing
// for longer has lost the hub. A watcher that reads too slowly is cut off; it
// comes back and begins with a whole View again. An event may tell what the
// View before it knew already.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"hearth/config"
)

// Config is what the owner writes about the page.
type Config struct {
	// Listen is the address and port of the page, 127.0.0.1:8080 where it is
	// not given; "" turns the page off.
	Listen *string `toml:"listen"`

	// Metrics tells Prometheus on /metrics what the house measures and how the hub is
	// doing. Default true.
	Metrics *bool `toml:"metrics"`
}

const defaultListen = "127.0.0.1:8080"

func (c Config) listen() string {
	if c.Listen == nil {
		return defaultListen
	}
	return *c.Listen
}

// Check reports a Listen that would let others in.
func (c Config) Check(at config.Place) {
	if _, err := loopback(c.listen()); err != nil {
		at.Key("listen").Mistake("%s", err)
	}
}

// loopback reads where to listen, the zero AddrPort for "". The error says what
// would be right and why.
func loopback(listen string) (netip.AddrPort, error) {
	if listen == "" {
		return netip.AddrPort{}, nil
	}
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("want an address and a port such as %q", defaultListen)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("want a port from 0 to 65535 behind the colon, such as %q", defaultListen)
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1" // whatever /etc/hosts says of it
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.Unmap().IsLoopback() {
		return netip.AddrPort{}, fmt.Errorf("want an address of this machine alone, such as %q: the page has no logins yet, so whoever reached it could switch the house", defaultListen)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}

// A House is what the page shows and switches. Every method may be called from
// any goroutine. Errors are shown to whoever asked, as they are.
type House interface {
	// View is everything the page shows, at once.
	View(ctx context.Context) (View, error)

	// Watch tells what happens from now on. The channel is bounded: the house
	// closes it rather than wait for a watcher that fell behind, and also when so
	// much has changed, as after a reload, that everything is to be fetched
	// again. stop ends it; it may be called after that too.
	Watch() (events <-chan Event, stop func())

	// Switch tells an output its level, Drive a simulated input.
	Switch(ctx context.Context, output string, on bool) error
	Drive(ctx context.Context, input string, on bool) error

	// Hook is a POST to a path below /hook/; false if no rule names it.
	Hook(ctx context.Context, path string, body []byte) (known bool, err error)

	// Metrics is all there is to measure, in an order that does not change.
	Metrics(ctx context.Context) ([]Metric, error)
}

// A View is the whole house at one moment.
type View struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Simulated  bool      `json:"simulated"` // the pins are: nothing real is switched
	Now        time.Time `json:"now"`       // by the clock of the house; set by web where the house leaves it zero
	Started    time.Time `json:"started"`
	ClockKnown bool      `json:"clock_known"`
	Trouble    []string  `json:"trouble"` // sentences: the disk, the clock

	Outputs   []Pin      `json:"outputs,omitzero"`
	Inputs    []Pin      `json:"inputs,omitzero"`
	Readings  []Reading  `json:"readings,omitzero"`
	Decisions []Decision `json:"decisions,omitzero"` // newest first, at most 200

	Waiting []string         `json:"waiting"` // what the rules are waiting for, a sentence each
	Rules   int              `json:"rules"`   // how many links and rules there are
	Broker  map[string]int64 `json:"broker"`  // its counters, by name
}

// A Pin is an output or an input.
type Pin struct {
	Name      string `json:"name"`
	Pin       string `json:"pin"` // "GPIO17"
	On        bool   `json:"on"`
	Known     bool   `json:"known"`           // On has been read from the line or accepted by it
	Fault     string `json:"fault"`           // "" is none
	Note      string `json:"note,omitempty"`  // what it waits for, or why it is as it is
	Hint      string `json:"hint,omitempty"`  // what there is to say about its line: "went on 12 times"
	Shows     string `json:"shows,omitempty"` // what it counts, in words, in place of On
	Simulated bool   `json:"simulated"`
}

// A Reading is the newest of one source.
type Reading struct {
	Source string    `json:"source"`
	Of     string    `json:"of,omitempty"` // what people call the device, and its room
	Text   string    `json:"text"`         // as it was sent
	Bad    string    `json:"bad"`          // what is wrong with it, in words; "" if nothing is
	At     time.Time `json:"at"`           // zero if there was none yet
}

// A Decision is what a rule did and why, as a sentence that begins with the rule.
type Decision struct {
	At      time.Time `json:"at"`
	Rule    string    `json:"rule"`
	Outcome string    `json:"outcome"`
	Text    string    `json:"text"`
}

// An Event is one thing that happened; one of the fields is set.
type Event struct {
	Output   *Pin      `json:"output,omitempty"`
	Input    *Pin      `json:"input,omitempty"`
	Reading  *Reading  `json:"reading,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
}

// A Server serves the page of one house at the address that was last
// committed. Prepare, Commit and Undo belong to one goroutine; Addr and Close
// may be called from any.
type Server struct {
	house    House
	log      *slog.Logger
	handler  http.Handler
	watchers chan struct{} // a token for each stream
	beat     time.Duration // between two signs of life on a stream
	quiet    atomic.Bool   // there are no metrics

	mu     sync.Mutex
	now    *listener // nil while the page is off
	closed bool
	ending sync.WaitGroup // listeners that are being closed
}

// New makes the server of house. It does not listen yet.
func New(house House, log *slog.Logger) *Server {
	metrics.ExposeMetadata(true) // of the process: its types
	s := &Server{house: house, log: log, watchers: make(chan struct{}, mostWatchers), beat: 15 * time.Second}
	s.handler = s.routes()
	return s
}

// Handler answers requests as the server does, with all its checks.
func (s *Server) Handler() http.Handler { return s.handler }

// Addr is the address the page can be reached at, "" while it is off.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return ""
	}
	return s.now.Addr().String()
}

// A Change is a move to another address that can still be undone. Until it is
// committed everything is as it was, but the new address is already bound.
type Change struct {
	server *Server
	quiet  bool
	same   bool
	next   *listener // nil turns the page off
}

// Prepare binds the address of cfg. Where that is the one already served,
// nothing will be touched.
func (s *Server) Prepare(cfg Config) (*Change, error) {
	listen := cfg.listen()
	want, err := loopback(listen)
	if err != nil {
		return nil, fmt.Errorf("web.listen = %q: %w", listen, err)
	}
	c := &Change{server: s, quiet: cfg.Metrics != nil && !*cfg.Metrics}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errors.New("the page is closed")
	case !want.IsValid():
		c.same = s.now == nil
		return c, nil
	case s.now != nil && s.now.asked == want:
		c.same = true
		return c, nil
	}
	l, err := net.Listen("tcp", want.String())
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: another program has it, maybe a second hearth; stop that, or change web.listen", err)
		}
		return nil, fmt.Errorf("the page on %s: %w", listen, err)
	}
	c.next = &listener{Listener: l, asked: want}
	return c, nil
}

// Undo gives the new address back.
func (c *Change) Undo() {
	if c.next != nil {
		c.next.Listener.Close()
		c.next = nil
	}
	c.same = true
}

// Commit serves the new address and leaves the old one; it does not wait for
// the requests that are still answered there.
func (c *Change) Commit() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet.Store(c.quiet)
	if c.same || s.closed {
		if c.next != nil {
			c.next.Listener.Close()
		}
		return
	}
	old := s.now
	s.now, c.next, c.same = c.next, nil, true
	if s.now != nil {
		s.now.serve(s.handler, s.log)
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
	return nil
}

// A listener is one bound address and, once serve was called, what serves it.
type listener struct {
	net.Listener
	asked netip.AddrPort // as it was asked for; the port may have been 0

	http  *http.Server
	end   context.CancelFunc // ends the context of every request
	loop  sync.WaitGroup     // the accept loop
	conns sync.WaitGroup     // the connections it accepted
}

func (l *listener) serve(handler http.Handler, log *slog.Logger) {
	ctx, end := context.WithCancel(context.Background())
	l.end = end
	l.http = &http.Server{
		Handler:           handler,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
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
	l.loop.Go(func() {
		if err := l.http.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the page is gone", "addr", l.Addr().String(), "err", err)
		}
	})
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
