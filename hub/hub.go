// Package hub is the one loop that owns the state of the house, and the wiring
// round it.
//
// The edges (the broker, the pins, the page) put what happens into an inbox.
// [Hub.Run] is the only goroutine that touches the registry of readings and the
// rules engine, so neither has a lock. What it decides leaves through outboxes,
// one for each thing that may be slow; the loop itself never waits for the
// broker, a pin, the disk or a network.
//
//	broker ─┐                      ┌─ pins (one queue a line, in gpio) ─> words ─> broker
//	pins   ─┼─> inbox ─> Run ──────┼─ outbox ─> broker
//	page   ─┘     registry, engine ├─ store (queues by itself)
//	timers ─────────────┘          └─ watchers of the page
//
// An output on a topic is a pin to all of this: what its device is told comes
// from gpio and goes past the loop, so its limits hold while the loop is stalled.
//
// When the inbox is full, senders of QoS 1 and 2 wait for their
// acknowledgement, QoS 0 is dropped and counted, and of numeric readings that
// no trigger counts only the newest stays.
package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hearth/backup"
	"hearth/bridge"
	"hearth/broker"
	"hearth/broker/access"
	filters "hearth/broker/topic"
	"hearth/config"
	"hearth/control"
	"hearth/devices"
	"hearth/devices/announce"
	"hearth/devices/catalog"
	"hearth/gpio"
	"hearth/gpio/bus"
	"hearth/gpio/sensor"
	"hearth/history"
	"hearth/push"
	"hearth/rules"
	"hearth/store"
	"hearth/web"
)

const (
	// A rule's timer is on disk within a second: half of it to gather what
	// changes together, the rest for the disk.
	keepRulesAfter = 500 * time.Millisecond
	// Last values are kept lazily, for the card's sake.
	keepReadingsAfter = 5 * time.Minute
	// A command that must not be forgotten waits this long for the disk, then
	// goes out all the same: a full disk must not keep a bell from ringing.
	journalPatience = time.Second
	// How often the loop shows that it lives, and looks at the clock.
	heartbeat = time.Second
	// How many decisions the page can show.
	decisionsKept = 200
)

// Options is what a hub needs besides its configuration.
type Options struct {
	Bank      gpio.Bank
	Simulated bool       // the bank is not real; the page says so, and no bus is opened
	Root      string     // where sensors find the kernel's sys; "" is "/"
	OpenBus   bus.Opener // of I²C buses; nil is the kernel's
	Clock     Clock
	Log       *slog.Logger
	Version   string
	Alive     func()   // called by the loop about every second while it turns
	FS        store.FS // nil: the real one
	Seed      uint64   // of what is random in rules; 0: drawn at the first start, and kept
	Offline   bool     // bind no listener and no control socket: all connections come through Attach

	// Reload reads the configuration and calls Hub.Reload, when an administrator asks
	// for that over the control socket. Nil: it can't be asked for.
	Reload func(context.Context) (control.Reloaded, error)

	// FirstUser tells a person of the user that New or Reload made, since nobody could
	// log in: the password is kept nowhere. Nil: none is made.
	FirstUser func(name, password string)

	// Invite tells a person the address, with a token in it, where the first user of the
	// page can be made, if the page needs logins and nobody could log in. Nil: nobody is told.
	Invite func(url string)

	publish   func(broker.Message) error       // of tests: in place of the broker's
	dial      dialer                           // of tests: in place of the network, for bridges
	transport http.RoundTripper                // of tests: the same for databases
	patience  func(*os.File, int) (int, error) // of tests: in place of the watchdog's
}

// A Hub is a house that runs.
type Hub struct {
	cfg   *Config
	opt   Options
	log   *slog.Logger
	clock Clock

	store       *store.Store
	broker      *broker.Broker
	door        *access.Door // of the broker and of the page
	bridges     *bridge.Bridges
	pins        *gpio.Pins
	buses       *bus.Buses
	sensors     *sensor.Sensors
	web         *web.Server
	pushers     *push.Pushers // to databases
	control     *control.Server
	dog         *watchdog
	inbox       *inbox
	ended       chan struct{} // closed when the loop has stopped turning
	reload      sync.Mutex
	saving      chan struct{} // has one in it while a backup is written
	saver       *saver        // of backups by the clock
	editing     *editing      // of the configuration, on the page
	mqtt        *outbox[broker.Message]
	http        *caller                       // requests of rules
	words       *words                        // what outputs on topics tell their devices
	better      *outbox[betterHash]           // for the users file
	lines       *outbox[func()]               // of the log
	past        *history.History              // nil: what happens is forgotten
	pastTrouble string                        // why
	whys        *outbox[whyQuestion]          // of clients
	comings     comings                       // of clients
	whysTold    comings                       // what the log was told of questions
	known       atomic.Pointer[names]         // what the edges need to know
	index       atomic.Pointer[catalog.Index] // of what devices report

	announcements filters.Subscribers[struct{}, struct{}] // the topics on which they say what they are; never changes once New has ended

	ownID string // by which the house announces itself; never changes once New has ended

	clockKnown atomic.Bool
	ahead      atomic.Int64 // of the wall clock before the monotonic one, in microseconds
	ears       ears         // of who listens on the page
	link       atomic.Int32 // to the house's broker: itsOwn, unlinked or linked
	whysWait   atomic.Int32 // questions of clients that have no answer yet
	lastRuns   lastRuns     // of rules, before the hub started
	written    writtenRules // of the configuration, which may not be in force
	unlearned  atomic.Int32 // announcements in the inbox, and one while what came of them does not count yet

	// The rest belongs to the loop.

	registry *devices.Registry
	engine   *rules.Engine
	devices  found
	resumed  bool // episodes of the last life were told to go on

	held       map[string][]held          // by target: commands that wait for the disk, or behind one
	awaited    map[string]devices.Command // by place: ends that wait for somebody to hear them
	published  map[string]string          // by topic: what the hub said of itself last
	said       announce.Said              // what Home Assistant was told of the house
	complained time.Duration              // when it was said last what is wrong, monotonic
	greeted    bool                       // it has said that it is there, and was not answered yet
	refused    int64                      // commands that no sink took

	seed    uint64             // of what is random in rules, the same for the life of the house
	life    uint64             // how often the hub has started on this store
	crashed bool               // the life before had no end
	own     uint64             // decisions of this life that no rule made
	traces  map[string][]trace // by rule: its last decisions

	keepRules *time.Timer             // when to keep what changed in the rules
	keeping   bool                    // it runs
	lastKept  time.Duration           // monotonic
	wallZero  time.Time               // what the wall clock says of the beginning of the other one
	due       map[string]*due         // by record: how often it may still be written
	later     map[string]store.Record // what is not to be written at once
	turned    map[string]bool         // sources whose newest value must be, for a rule would take the one before for another

	watchers      map[chan web.Event]bool
	quiet         map[string]string // by output or input: the fault that somebody acknowledged
	waited        map[string]bool   // by output: the pages were told that a command waits
	news          map[string]bool   // by rule: it stands otherwise than the pages were told
	decisions     []web.Decision    // the newest last
	decided       map[ruled]int64   // how often each was, since the hub started
	backup        saved             // the newest one, and what is wrong
	reloadTrouble string            // why the configuration on disk is not in force
	began         time.Duration     // when it started, monotonic
	logMinute     time.Duration     // the minute that logged counts
	logged        int               // decisions in it
}

// New starts a house: it opens the store, drives the outputs to their initial
// level, takes up what was kept, and binds the listeners. Messages are taken in
// from now on and wait for Run. On an error nothing is left running.
func New(cfg *Config, opt Options) (_ *Hub, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	lines := newOutbox(func(write func()) { write() })
	opt.Log = slog.New(asynchronous{opt.Log.Handler(), lines})
	h := &Hub{
		cfg:       cfg,
		opt:       opt,
		log:       opt.Log,
		lines:     lines,
		clock:     opt.Clock,
		inbox:     newInbox(inboxSize),
		ended:     make(chan struct{}),
		saving:    make(chan struct{}, 1),
		registry:  new(devices.Registry),
		held:      make(map[string][]held),
		awaited:   make(map[string]devices.Command),
		published: make(map[string]string),
		watchers:  make(map[chan web.Event]bool),
		traces:    make(map[string][]trace),
		due:       make(map[string]*due),
		later:     make(map[string]store.Record),
		turned:    make(map[string]bool),
		decided:   make(map[ruled]int64),
		waited:    make(map[string]bool),
		news:      make(map[string]bool),
		quiet:     make(map[string]string),
		began:     opt.Clock.Mono(),
	}
	h.editing = newEditing(cfg, opt)
	h.keepRules = time.NewTimer(0)
	h.keepRules.Stop()
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if err = backup.Interrupted(cfg.DataDir()); err != nil {
		return nil, err
	}
	if h.store, err = store.Open(cfg.DataDir(), store.Options{FS: opt.FS, Log: opt.Log}); err != nil {
		return nil, err
	}
	for _, d := range h.store.Damage() {
		h.log.Warn("a record was found damaged; the older value counts, if there is one", "record", d)
	}
	if err = h.firstUser(cfg); err != nil {
		return nil, err
	}
	h.seed = h.lifeSeed()
	h.editing.key = fmt.Appendf(nil, "names of texts %d", h.seed)
	h.life = h.nextLife()
	h.ownID = h.announcedID()
	h.ears.own = h.ownID
	h.engine = rules.New(cfg.Logic, h.house(cfg), h.registry, config.Place{})
	h.known.Store(newNames(cfg, h.engine))
	h.lookAtClock()
	h.openHistory()
	h.openDevices()
	h.tellUnits()
	h.noteSecrets()
	h.pushers = h.openPush()
	h.http = newCaller(h.answered)
	h.http.permit(cfg.HTTP)
	// The broker before the pins, for an output on a topic speaks at once. Nobody
	// can reach it yet.
	door, err := access.New(cfg.ownBroker().Config)
	if err != nil {
		return nil, err
	}
	h.door = door
	h.better = newOutbox(func(b betterHash) { b.write(h) })
	door.OnReplace(func(user, was, hash string) { h.better.put(betterHash{user, was, hash}) })
	if h.broker, err = broker.Open(broker.Options{Store: h.store, Door: door, Receive: h.receive, MayPublish: h.mayPublish, Client: h.noteClient, Found: bridge.Found, Log: opt.Log}); err != nil {
		return nil, err
	}
	publish := h.broker.Publish
	if opt.publish != nil {
		publish = opt.publish
	}
	if cfg.Broker.Connect != nil {
		h.link.Store(unlinked)
	}
	h.words = newWords(publish, h.heard)
	h.mqtt = newOutbox(func(m broker.Message) {
		if err := publish(m); err != nil {
			h.log.Error("a message of the hub's own was not published", "topic", m.Topic, "err", err)
		}
	})
	h.whys = newOutbox(h.answerWhy)
	h.bridges = h.openBridges()
	h.buses = openBuses(cfg, opt)
	owed := h.takeUp()
	if h.pins, err = gpio.Open(cfg.Pins, gpio.Options{
		Held: h.engine.Held(), Bank: opt.Bank, Store: h.store, Now: h.now, Feed: h.feed, Publish: h.words.say, OpenBus: h.buses.Open, Log: opt.Log,
	}); err != nil {
		return nil, err
	}
	h.sensors = sensor.Open(cfg.Sensors, sensor.Options{Root: opt.Root, Buses: h.buses, Now: h.now, Feed: h.feed, Log: opt.Log})
	h.obey(owed)
	h.openSaid()
	h.find()
	h.appear()
	h.web = h.openPage()
	h.pushers.Use(cfg.Pushes)
	h.dog = &watchdog{log: opt.Log, patience: devicePatience}
	if opt.patience != nil {
		h.dog.patience = opt.patience
	}
	outside, err := h.acquire(cfg)
	if err != nil {
		return nil, err
	}
	outside.Commit()
	h.control = control.New(cfg.DataDir(), desk{h}, opt.Log)
	h.openControl()
	h.saver = h.openSaver(cfg)
	h.editing.inForce(cfg, "start")
	h.invite()
	return h, nil
}

// openBuses opens no bus yet, and where the pins are simulated none at all: what
// is on it may be in other hands.
func openBuses(cfg *Config, opt Options) *bus.Buses {
	open := opt.OpenBus
	if open == nil && opt.Simulated {
		open = func(string) (bus.Bus, error) { return nil, errors.New("the pins are simulated, so no bus is opened") }
	}
	return bus.New(cfg.Buses, open)
}

// Safe gives the outputs that the last hub on cfg's data folder drove their safe
// level. It is for a machine without a hub: after a crash, or when the
// configuration is broken, of which then only the folder counts. While a hub
// runs there the store is in use, and that is the error. Devices on topics can't
// be reached without a hub: the log names those that may not be safe.
func Safe(cfg *Config, bank gpio.Bank, log *slog.Logger) (err error) {
	st, err := store.Open(cfg.DataDir(), store.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for _, output := range gpio.Unreached(st) {
		log.Warn("an output on a topic is out of reach until a hub runs again: it may not be safe", "output", output)
	}
	buses := bus.New(cfg.Buses, nil)
	defer buses.Close()
	return gpio.Safe(gpio.WithBuses(bank, buses.Open), st)
}

// Addrs is where the broker listens.
func (h *Hub) Addrs() []string { return h.broker.Addrs() }

// PageAddr is where the page is served; "" if it is off.
func (h *Hub) PageAddr() string { return h.web.Addr() }

// Attach serves one MQTT connection until it ends.
func (h *Hub) Attach(conn net.Conn) { h.broker.Attach(conn) }

// Run turns the loop until ctx ends. Then the outputs get their safe state,
// what must be kept is kept, and when Run returns all that New and Run started
// has ended.
func (h *Hub) Run(ctx context.Context) error {
	defer func() {
		if bug := recover(); bug != nil { // the process dies of it, but not with the boiler on
			h.log.Error("the hub has a bug and ends", "bug", bug, "stack", string(debug.Stack()), "outputs", errText(h.pins.Close()))
			panic(bug)
		}
	}()
	wake := time.NewTimer(0)
	defer wake.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	lazily := time.NewTicker(keepReadingsAfter)
	defer lazily.Stop()
	seldom := time.NewTicker(keepDevicesAfter)
	defer seldom.Stop()
	hourly := time.NewTicker(checkpointAfter)
	defer hourly.Stop()
	for {
		if next, ok := h.engine.Next(); ok {
			wake.Reset(next - h.clock.Mono())
		} else {
			wake.Stop()
		}
		select {
		case <-ctx.Done():
			return h.stop()
		case <-h.inbox.ready:
			h.handle(h.inbox.take())
		case <-wake.C:
			h.advance()
		case <-h.keepRules.C:
			h.keepEngine(nil)
		case <-h.devices.settle.C:
			h.settleNext()
		case <-seldom.C:
			h.devices.registry.Prune(h.now())
			h.keepDevices(time.Minute, true)
			h.warnOfUnmet()
		case <-lazily.C:
			h.keepLater()
		case <-hourly.C:
			h.checkpoint()
		case <-beat.C:
			h.lookAtClock()
			h.advance()
			if !h.resumed { // a beat after the start all that is found there is known
				h.resumed = true
				h.obey(h.happen(rules.Event{Kind: rules.Resume}))
			}
			h.tellRules(h.devices.registry.Expire(h.now()), devices.Message{})
			h.lookAfterDevices()
			h.sendAwaited()
			h.words.again()
			h.tellWaiting()
			h.tellNews()
			h.forgetQuiet()
			h.sayHealth()
			h.answerGreeting()
			h.dog.feed()
			if h.opt.Alive != nil {
				h.opt.Alive()
			}
		}
	}
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return "safe"
}

// advance lets time pass for the engine. What arrived before a deadline counts
// before it, even if the loop comes to both late.
func (h *Hub) advance() {
	now := h.now()
	h.drain()
	if h.engine.Due(now) {
		h.obey(h.happen(rules.Event{At: now, Kind: rules.Pass}))
	}
}

// drain handles what is in the inbox now, but not what comes meanwhile.
func (h *Hub) drain() {
	for n := h.inbox.len(); n > 0; n-- {
		h.handle(h.inbox.take())
	}
}

// handle takes up one item of the inbox.
func (h *Hub) handle(it *item) {
	switch {
	case it == nil:
		return
	case it.control != nil:
		it.control()
		return
	case it.message != nil:
		h.set(*it.message)
		h.askRule(*it.message)
		h.askMachine(*it.message)
		h.askWhy(it)
		h.greet(*it.message)
		if now := h.devices.registry.Index(); len(it.values) == 0 && it.index != now {
			it.values = now.Read(*it.message) // its device was not known yet
		}
		h.report(it.values, *it.message)
		if it.announces {
			h.learn(*it.message)
		}
		if len(it.values) == 0 {
			h.holdEarly(*it.message)
		}
	}
	h.read(it.readings...)
}

// read is what was reported at one time: the rules have it, then everybody is told, and then
// what follows is done.
func (h *Hub) read(all ...devices.Reading) {
	all = h.looked(all)
	if len(all) == 0 {
		return
	}
	for i := range all {
		r := &all[i]
		if r.Message != nil && !h.engine.ReadsMessage(*r) {
			r.Message = nil // which history would have to keep
		}
		if _, limit := h.limited(*r); limit {
			r.Origin.Decision = h.nextOwn() // noteLimit makes it
		}
	}
	ds := h.happen(rules.Event{At: all[0].At, Kind: rules.Report, Readings: all})
	for _, r := range all {
		h.took(r)
	}
	h.obey(ds)
}

// took lets the house know of a reading that the rules have.
func (h *Hub) took(r devices.Reading) {
	h.push(r)
	if r.Event { // there is no last value of it to be found later
		if r.Topic == "" {
			h.sayEvent(r)
		}
		return
	}
	if r.Gone {
		h.keepNoMore(r.Source)
	}
	if r.Topic != "" {
		if last, ok := h.registry.Last(r.Source); ok && r.Bad == "" && h.engine.Turns(last) {
			h.turned[r.Source] = true
		}
		h.keepSoon()
	}
	switch {
	case r.Topic == "":
		h.sayPin(r)
		h.noteLimit(r)
		h.tellPin(r.Source)
		if name, _, _ := strings.Cut(r.Source, "."); slices.Contains(h.cfg.Sensor.Names(), name) {
			t := h.thingOfSensor(name)
			h.tell(web.Event{Reading: h.webReading(r), Thing: &t})
		}
	case len(h.watchers) > 0 && !h.ofDevice(r.Source): // whose properties are told of as they are shown
		h.tell(web.Event{Reading: h.webReading(r)})
	}
}

// noteLimit is the trace of what no rule decided: an output was switched by
// what is declared of it. Pins say so in the origin of what they then report.
func (h *Hub) noteLimit(r devices.Reading) {
	name := "output." + r.Source
	why, ok := h.limited(r)
	if !ok {
		return
	}
	o, _ := h.cfg.Output.Get(r.Source)
	switch on, known := r.Value.(bool); {
	case on && o != nil && o.Ramp > 0:
		why += ", so it fades"
	case on || !known:
		why += ", but it may still be on"
	}
	d := rules.Decision{ID: r.Origin.Decision, At: r.At, Rule: name, Outcome: rules.Fired, Why: why,
		Commands: []devices.Command{{Output: r.Source, Value: false, Origin: r.Origin}}} // limits only switch off
	h.recordDecision(d, nil)
	h.note(d)
}

// limited says that a reading is an output that was switched by what is declared of it, and
// why.
func (h *Hub) limited(r devices.Reading) (why string, ok bool) {
	why, ok = strings.CutPrefix(r.Origin.By, "output."+r.Source+": ")
	return why, ok && len(r.Origin.Rules) == 0 && r.Topic == "" && !r.Event // a rule that followed from it has its own trace
}

// obey carries out what the engine decided and keeps what it must not forget.
func (h *Hub) obey(ds []rules.Decision) {
	if h.engine.Moved() { // maybe in silence: a truth that fell
		h.keepSoon()
	}
	var journal *gate
	for _, d := range ds {
		for _, s := range d.Switched {
			h.sayEnabled(s.Rule, s.On)
		}
		for _, m := range d.Entered {
			h.sayStanding(m)
		}
		var refused []string
		for _, c := range d.Commands {
			var err error
			if c.Journal && journal == nil {
				journal = new(gate)
			}
			if c.Journal {
				err = h.command(c, journal)
			} else {
				err = h.command(c, nil)
			}
			if err != nil {
				refused = append(refused, err.Error())
			}
		}
		h.recordDecision(d, refused)
		if len(refused) > 0 {
			d.Why = strings.TrimPrefix(d.Why+"; "+strings.Join(refused, "; "), "; ")
			if len(refused) == len(d.Commands) {
				d.Outcome, d.Commands = rules.Blocked, nil
			}
		}
		h.note(d) // after the commands, which somebody waits for
	}
	if journal == nil {
		return
	}
	open := func() { h.inbox.always(&item{control: func() { h.open(journal) }}) }
	h.keepEngine(func(error) { open() })
	time.AfterFunc(journalPatience, open)
}

// note puts a decision where people see it.
func (h *Hub) note(d rules.Decision) {
	if len(h.decisions) >= 2*decisionsKept { // cut seldom, for it moves all the others
		h.decisions = append(h.decisions[:0], h.decisions[len(h.decisions)-decisionsKept:]...)
	}
	h.count(d)
	h.keepTrace(d)
	h.isNews(d.Rule)
	told := webDecision(d) // of a message that may be large it keeps a line
	h.decisions = append(h.decisions, told)
	h.logDecision(d, told.Text)
	h.tell(web.Event{Decision: &told})
}

// A gate holds commands back until the run that they belong to is on disk.
type gate struct {
	opened  bool
	targets []string
}

// held is a command that waits for its gate, or behind one that does.
type held struct {
	command devices.Command
	gate    *gate // nil: it only waits its turn
}

// command sends c to its sink. One with a gate waits for that; those after it
// to the same target wait behind it, so that the order is kept.
//
// The error says that an output or a device does not take it.
func (h *Hub) command(c devices.Command, g *gate) error {
	target := c.Output + c.Topic // a topic has a slash, an output has none
	if c.Device != "" {
		target = "device " + c.Device // whole: its main property has two names
	}
	if c.HTTP != nil {
		target = c.HTTP.ID
	}
	if g == nil && len(h.held[target]) == 0 {
		return h.send(c)
	}
	h.held[target] = append(h.held[target], held{c, g})
	if g != nil {
		g.targets = append(g.targets, target)
	}
	return nil
}

// open lets the commands behind a gate go, and those that waited behind them.
func (h *Hub) open(g *gate) {
	if g.opened {
		return
	}
	g.opened = true
	for _, target := range g.targets {
		queue := h.held[target]
		for len(queue) > 0 && (queue[0].gate == nil || queue[0].gate.opened) {
			h.sendLate(queue[0].command)
			queue = queue[1:]
		}
		if len(queue) == 0 {
			delete(h.held, target)
		} else {
			h.held[target] = queue
		}
	}
}

// openAll lets everything go that still waits, at the end.
func (h *Hub) openAll() {
	for _, queue := range h.held {
		for _, c := range queue {
			h.sendLate(c.command)
		}
	}
	clear(h.held)
}

// sendLate is send of a command whose decision has been told already.
func (h *Hub) sendLate(c devices.Command) {
	if err := h.send(c); err != nil {
		rule := "output." + c.Output
		if c.Device != "" {
			rule = "device." + c.Device
		}
		d := h.ofOwn(rules.Decision{Follows: c.Origin.Decision, At: h.now(), Rule: rule, Outcome: rules.Blocked, Why: err.Error()})
		h.recordDecision(d, nil)
		h.note(d)
	}
}

// send hands a command to its outbox. The error says that an output or a device does
// not take it; what else goes wrong is logged.
func (h *Hub) send(c devices.Command) error {
	var err error
	h.ears.hide(c)
	switch {
	case c.Output != "":
		if err = h.pins.Command(c); err != nil {
			h.happen(rules.Event{Kind: rules.Refuse, Name: c.Output})
			h.refused++
		}
		h.tellWait(c.Output)
		h.noteWait(c.Output)
		return err
	case c.HTTP != nil:
		if full := h.http.put(*c.HTTP); full != nil {
			h.answered(c.HTTP.ID, 0, full.Error())
		}
	case c.Owed && h.alone(c):
		// Its run is over and will not remember it.
		h.awaited[place(c)] = c
		h.store.Put(store.Record{Kind: store.Owed, Key: place(c), Value: encode(c)}, 0, nil)
	default:
		if len(h.awaited) > 0 {
			h.forgetAwaited(c) // this is it, or something newer
		}
		if c.Device != "" {
			if err = h.commandDevice(c); err != nil {
				h.refused++
			}
			return err
		}
		err = h.mqtt.put(broker.Message{Topic: c.Topic, Payload: []byte(c.Payload), Retain: c.Retain, QoS: c.QoS, Origin: c.Origin})
	}
	if err != nil {
		h.refused++
		h.log.Error("a command was not carried out", "command", c.String(), "by", cmp.Or(strings.Join(c.Origin.Rules, " -> "), c.Origin.By), "err", err)
	}
	return nil
}

// homecoming is how long devices may take to be back after the hub: after a
// power cut everything boots at once, and a router takes minutes.
const homecoming = 5 * time.Minute

// place is where a command to a topic or a device goes.
func place(c devices.Command) string {
	if c.Device == "" {
		return c.Topic
	}
	return "device " + c.Device + "." + c.Property
}

// forgetAwaited forgets the end that waits to go where c goes. A device's main property
// is told by its name, and by the device's alone.
func (h *Hub) forgetAwaited(c devices.Command) {
	places := []string{place(c)}
	if s, ok := h.devices.registry.Find(c.Device); ok && c.Device != "" && len(s.Properties) > 0 {
		switch c.Property {
		case "":
			c.Property = s.Properties[0].Name
		case s.Properties[0].Name:
			c.Property = ""
		}
		places = append(places, place(c))
	}
	for _, at := range places {
		if _, ok := h.awaited[at]; ok {
			delete(h.awaited, at)
			h.store.Put(store.Record{Kind: store.Owed, Key: at}, 0, nil)
		}
	}
}

// alone reports whether an owed end that is sent now would reach nobody, although
// somebody may be on the way: the siren that the last life switched on has to hear
// that it is over.
func (h *Hub) alone(c devices.Command) bool {
	if h.now().Mono-h.began >= homecoming {
		return false
	}
	topic := c.Topic
	if c.Device != "" {
		s, ok := h.devices.registry.Find(c.Device)
		if !ok || s.Silent {
			return true
		}
		p, err := s.Property(c.Property)
		if err != nil || p.Set == nil {
			return false // it never will
		}
		topic = p.Set.Topic
	}
	return !h.heard(topic)
}

// sendAwaited sends what was owed to those who are back.
func (h *Hub) sendAwaited() {
	for _, c := range h.awaited {
		if !h.alone(c) {
			h.sendLate(c)
		}
	}
}

// answered is called when a request of a rule has its answer, from any goroutine.
func (h *Hub) answered(id string, status int, problem string) {
	h.inbox.always(&item{control: func() { h.obey(h.happen(rules.Event{Kind: rules.Answer, Name: id, Status: status, Text: problem})) }})
}
