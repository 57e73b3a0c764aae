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
//   - web.go: House and View, and the server; config.go is what it is told to be, listen.go where
//     it listens (crowd.go, tls.go).
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
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

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
	exports  *exports
	whole    queue // at all that there is of something
	sparks   sparks

	set atomic.Pointer[settings]

	mu     sync.Mutex
	now    *listener // nil while the page is off
	closed bool
	ending sync.WaitGroup // listeners that are being closed
}

// New makes the server of house. It does not listen yet.
func New(house House, opt Options) *Server {
	metrics.ExposeMetadata(true) // of the process: its types
	s := &Server{house: house, people: opt.People, log: opt.Log, beat: 15 * time.Second, limit: 5 * time.Second,
		looking: make(queue, mostLooking), exports: newExports(), whole: make(queue, 1), whys: make(queue, whysAtOnce)}
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
