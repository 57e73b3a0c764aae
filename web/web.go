// Package web is the page of the house: what it is and was, why, and what its rules wait for,
// live, with what can be told it; the editor of its configuration; and the same for programs as
// JSON. Pages, modules, style and words are embedded; nothing is built and nothing is loaded
// from elsewhere. Without JavaScript a page is how things stood when it was loaded.
//
// What it shows it asks of a [House], which the hub fills: a method or more for each page, in
// an interface that stands where the page is made. Who asked is told its errors as they are;
// one that [Refusal] and its like make says with which status.
//
// # Where what is
//
// The shape:
//
//   - web.go: Config, House and View, the server and where it listens (crowd.go, tls.go).
//   - answer.go: the table of all that can be asked for, and what stands before each; refuse.go
//     says why not; people.go, login.go and session.go are the door.
//   - pages.go makes pages of pages/*.html; words.go has the words of both languages and how
//     numbers, sizes, times and spans are written; js/words.js does that in a browser. said.go
//     says the house's own sentences in the language of who looks.
//   - feed.go tells what happens to all streams (stream.go) at once.
//   - js/live.js keeps a page live, js/lists.js its lists, js/send.js asks for something.
//
// The pages, each with its template pages/NAME.html and its module js/NAME.js:
//
//   - home: things.go, with the lines behind numbers in sparks.go; log: log.go
//   - thing: thing.go, with its chart in chart.go and js/chart.js; past.go tells the same to programs
//   - why: why.go; rules, rule: rules.go
//   - edit, versions: edit.go, with what would have been in js/trial.js
//   - pins: pins.go; devices, device: devices.go; topics: topics.go; clients: clients.go
//   - health: health.go, and metrics.go for Prometheus
//   - users, account: users.go; login: login.go
//   - offline, and the app on a phone: install.go and js/sw.js
//
// What is shown of devices is cleaned on its way out, by a method clean of each type, cut to
// what a visitor may see by seenBy, and said in their language by in.
//
// # The door
//
// Who may come and what each may do are [People], which the hub fills, too.
//
//   - On a loopback address the page needs no login, unless its owner asks for one
//     ([Config].Anonymous) or a proxy says that somebody else is asking. On any other
//     address everybody needs one.
//   - People log in on a page and get a cookie (session.go), programs show a token.
//   - What a visitor may not see is not in the page, the JSON, or the stream, and is
//     judged by the rights of that moment.
//   - The Host header must name this machine. Otherwise a page from the internet
//     whose name is made to point here (DNS rebinding) could read the house.
//   - Requests that a browser sends on behalf of another site are refused, and
//     what is posted to the API must be application/json.
//   - What devices say is hostile. It reaches the page only as text, through
//     html/template or textContent, mended and cut before ([View] is cleaned on
//     its way out); a strict Content-Security-Policy stands behind that.
//
// # What programs may ask
//
// openapi.json says it, and is made of the table of routes and the types here by
// TestOpenAPI, which also holds real answers against it. docs/api.md is for people.
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"hearth/certs"
	"hearth/config"
)

// Config is what the owner writes about the page.
type Config struct {
	// Listen is the address and port of the page, 127.0.0.1:8080 where it is
	// not given; "" turns the page off.
	Listen *string `toml:"listen"`

	// Anonymous says whether programs and people on this machine need no login. Default
	// true, and it counts on a loopback address alone.
	Anonymous *bool `toml:"anonymous"`

	// Names are what the page is called beside its addresses and the machine's own name:
	// in DNS, or by a proxy before it.
	Names []string `toml:"names" eg:"[\"hearth.home.arpa\"]"`

	// Favourites are the things that the page shows first.
	Favourites []string `toml:"favourites" eg:"[\"heater\", \"hall.temperature\"]"`

	// Language is that of the page, "en" or "de"; without it each browser's own.
	Language string `toml:"language" eg:"\"de\""`

	TLS *TLS `toml:"tls"`

	// Metrics tells Prometheus on /metrics what the house measures and how the hub is
	// doing. Default true.
	Metrics *bool `toml:"metrics"`
}

// TLS is [web.tls]: with it the page is https. Files are relative to the one that names
// them; `hearth tls init` makes them for a house that has none.
type TLS struct {
	Certificate string `toml:"certificate" eg:"\"page.crt\""` // PEM, with those between it and its CA behind it
	Key         string `toml:"key" eg:"\"page.key\""`         // PEM, without a passphrase

	dir string // of the file it is written in
}

// Check says what is missing, and what is wrong with files that can be read.
func (t *TLS) Check(at config.Place) {
	t.dir = filepath.Dir(at.Position().File)
	t.files().Check(at)
}

func (t *TLS) files() certs.Files {
	return certs.Files{Table: "web.tls", Of: "page", Dir: t.dir, Certificate: t.Certificate, Key: t.Key}
}

// Files are the paths of all that are read, the certificate first.
func (t *TLS) Files() []string { return t.files().Paths() }

// Until is when the certificate expires.
func (t *TLS) Until() (time.Time, error) { return t.files().Until() }

const defaultListen = "127.0.0.1:8080"

func (c Config) listen() string {
	if c.Listen == nil {
		return defaultListen
	}
	return *c.Listen
}

// Reach is where the page listens, "" for nowhere, and whether others than this machine can
// come there.
func (c Config) Reach() (at string, open bool) {
	a, err := parseListen(c.listen())
	if err != nil || !a.on {
		return "", false
	}
	return c.listen(), !a.loopback()
}

// Check reports what the page can't be served by.
func (c Config) Check(at config.Place) {
	a, err := parseListen(c.listen())
	switch {
	case err != nil:
		at.Key("listen").Mistake("%s", err)
	case c.Anonymous != nil && *c.Anonymous && a != (address{}) && !a.loopback():
		at.Key("anonymous").Mistake("the page can be reached from other machines, by web.listen, and there everybody needs a login: leave it out")
	}
	if c.Language != "" && !slices.Contains(languages, c.Language) {
		at.Key("language").Mistake("want one of the languages of the page: \"en\" or \"de\"")
	}
	for i, name := range c.Names {
		if !isName(name) {
			at.Key("names").Index(i).Mistake("want a name as it stands in a browser's address, such as \"hearth.home.arpa\", without http:// and port")
		}
	}
}

// isName says whether a text may be the name of a host.
func isName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	})
}

// An address is where to listen. The zero one is nowhere.
type address struct {
	ip   netip.Addr // the zero Addr: all addresses of the machine, as in ":8080"
	port uint16
	on   bool
}

func (a address) loopback() bool { return a.ip.IsLoopback() }

// everywhere says whether it is on all addresses of the machine.
func (a address) everywhere() bool { return !a.ip.IsValid() || a.ip.IsUnspecified() }

func (a address) String() string {
	if !a.ip.IsValid() {
		return fmt.Sprintf(":%d", a.port)
	}
	return netip.AddrPortFrom(a.ip, a.port).String()
}

// parseListen reads where to listen, the zero address for "". The error says what would
// be right.
func parseListen(listen string) (address, error) {
	if listen == "" {
		return address{}, nil
	}
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return address{}, fmt.Errorf("want an address and a port such as %q, or \"0.0.0.0:8080\" for all who reach this machine", defaultListen)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("want a port from 0 to 65535 behind the colon, such as %q", defaultListen)
	}
	switch {
	case host == "":
		return address{port: uint16(port), on: true}, nil
	case strings.EqualFold(host, "localhost"):
		host = "127.0.0.1" // whatever /etc/hosts says of it
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return address{}, fmt.Errorf("want an address of this machine in digits, such as %q, or \"0.0.0.0:8080\" for all of them", defaultListen)
	}
	return address{ip.Unmap(), uint16(port), true}, nil
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

	// Tell tells a thing, or behind a point one of its properties, a value: a bool, a
	// number or a word. Whether somebody may, web has judged.
	Tell(ctx context.Context, thing string, value any) error

	// Hook is a POST to a path below /hook/; false if no rule names it.
	Hook(ctx context.Context, path string, body []byte) (known bool, err error)

	// Metrics is all there is to measure, in an order that does not change.
	Metrics(ctx context.Context) ([]Metric, error)

	Past
	Causes
	Rulebook
	Editor
	Wiring
	Catalog
	Messages
	Broker
	Doctor
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

	// Who is told this, set by web: the user or token, "" where no login is needed; what
	// they may do at most, "see", "use" or "change"; and whether there is more in the
	// house than they may see.
	User    string `json:"user,omitempty"`
	May     string `json:"may"`
	Partial bool   `json:"partial,omitempty"`

	// Things are in the order of the page: favourites, then room by room.
	Things []Thing `json:"things,omitempty"`

	Outputs     []Pin      `json:"outputs,omitzero"`
	Inputs      []Pin      `json:"inputs,omitzero"`
	Readings    []Reading  `json:"readings,omitzero"`
	AllReadings int        `json:"all_readings,omitempty"` // how many there are, where these are the newest only
	Decisions   []Decision `json:"decisions,omitzero"`     // newest first, at most 200

	Waiting []string         `json:"waiting"` // what the rules are waiting for, a sentence each
	Rules   int              `json:"rules"`   // how many links and rules there are
	Broker  map[string]int64 `json:"broker"`  // its counters, by name
}

// A Pin is an output or an input.
type Pin struct {
	Name      string `json:"name"`
	Label     string `json:"label,omitempty"` // what people call it, where that is another
	Pin       string `json:"pin"`             // "GPIO17"
	On        bool   `json:"on"`
	Known     bool   `json:"known"`           // On has been read from the line or accepted by it
	Fault     string `json:"fault"`           // "" is none
	Note      string `json:"note,omitempty"`  // what it waits for, or why it is as it is
	Hint      string `json:"hint,omitempty"`  // what there is to say about its line: "went on 12 times"
	Shows     string `json:"shows,omitempty"` // what it counts, in words, in place of On
	Simulated bool   `json:"simulated"`

	Latched      bool `json:"latched,omitempty"`      // the output stays off until somebody acknowledges the fault
	Acknowledged bool `json:"acknowledged,omitempty"` // somebody knows of the fault

	ReadOnly bool `json:"read_only,omitempty"` // whoever is told this may not set it; set by web
}

// Title is what people call it.
func (p Pin) Title() string { return cmp.Or(p.Label, p.Name) }

// A Reading is the newest of one source.
type Reading struct {
	Source string    `json:"source"`
	Of     string    `json:"of,omitempty"` // what people call the device, and its room
	Text   string    `json:"text"`         // as it was sent
	Bad    string    `json:"bad"`          // what is wrong with it, in words; "" if nothing is
	At     time.Time `json:"at"`           // zero if there was none yet

	// Topics are those one has to be allowed to see, to see this; with none it is for
	// those alone who may see everything.
	Topics []string `json:"-"`
}

// A Decision is what a rule did and why, as a sentence that begins with the rule.
type Decision struct {
	At      time.Time `json:"at"`
	Rule    string    `json:"rule"`
	Outcome string    `json:"outcome"`
	Text    string    `json:"text"`
}

// An Event is one thing that happened. Beside what it is in the lists, it is Thing, as the
// page of the house shows it.
type Event struct {
	Output   *Pin      `json:"output,omitempty"`
	Input    *Pin      `json:"input,omitempty"`
	Reading  *Reading  `json:"reading,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	Thing    *Thing    `json:"thing,omitempty"`
	Rule     *Rule     `json:"rule,omitempty"` // which stands otherwise now; at most one a second of each
}

// Options is what a server needs besides its house.
type Options struct {
	People People                             // nil: nobody can log in
	Shelf  Shelf                              // nil: sessions end with the server
	Clock  func() (now time.Time, known bool) // nil: the machine's, and it is right
	Log    *slog.Logger                       // nil: silent
}

// A Server serves the page of one house at the address that was last
// committed. Prepare, Commit and Undo belong to one goroutine; the others
// may be called from any.
type Server struct {
	house    House
	people   People
	log      *slog.Logger
	handler  http.Handler
	table    []route
	viewing  viewing
	watching watching
	feed     feed
	beat     time.Duration // between two signs of life on a stream
	limit    time.Duration // how long a stream may take to take something; nobody else waits for it
	sessions *sessions
	tries    tries
	setup    setup
	healthz  healthz
	machine  []string // what the machine calls itself
	looking  queue    // at the past
	whys     queue    // for why something is so
	exports  *desk
	whole    queue // at all that there is of something
	sparks   sparks

	set atomic.Pointer[settings]

	mu     sync.Mutex
	now    *listener // nil while the page is off
	closed bool
	ending sync.WaitGroup // listeners that are being closed
}

// settings are what requests are judged by.
type settings struct {
	quiet     bool // there are no metrics
	loopback  bool // only this machine reaches the page
	anonymous bool // and needs no login
	names     []string
	language  string        // "": the browser's
	keeper    *certs.Keeper // nil: no TLS
}

func (c Config) settings(log *slog.Logger) (*settings, error) {
	a, err := parseListen(c.listen())
	if err != nil {
		return nil, err
	}
	set := &settings{
		quiet:     c.Metrics != nil && !*c.Metrics,
		loopback:  a.loopback(),
		anonymous: a.loopback() && (c.Anonymous == nil || *c.Anonymous),
		names:     c.Names,
		language:  c.Language,
	}
	if c.TLS != nil && a.on {
		if set.keeper, err = c.TLS.files().Open(log); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// New makes the server of house. It does not listen yet.
func New(house House, opt Options) *Server {
	metrics.ExposeMetadata(true) // of the process: its types
	s := &Server{house: house, people: opt.People, log: opt.Log, beat: 15 * time.Second, limit: 5 * time.Second,
		looking: make(queue, mostLooking), exports: newDesk(), whole: make(queue, 1), whys: make(queue, whysAtOnce)}
	s.viewing.house = house
	s.feed = feed{house: &s.viewing, watch: house.Watch, beat: func() time.Duration { return s.beat }}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.people == nil {
		s.people = strangers{}
	}
	clock := opt.Clock
	if clock == nil {
		clock = func() (time.Time, bool) { return time.Now(), true }
	}
	s.sessions = newSessions(s.people, opt.Shelf, clock, s.log)
	if name, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(name, ".")
		s.machine = []string{name, short, short + ".local"}
	}
	s.set.Store(&settings{loopback: true, anonymous: true}) // as of the default address
	s.handler = s.routes()
	return s
}

// Judge is for when users or their rights are others. Who is none any more is logged out;
// the rest is judged with each request, and with what each stream is sent.
func (s *Server) Judge() { s.sessions.judge() }

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
