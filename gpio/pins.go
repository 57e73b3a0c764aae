package gpio

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/store"

	"periph.io/x/conn/v3/gpio"
)

const (
	queueLimit   = 1024                    // commands that wait for one output
	queueReserve = 64                      // and the room above it for what a reload says
	acquireLimit = 1500 * time.Millisecond // for taking lines, and for Safe
	closeLimit   = 400 * time.Millisecond  // for the lines to become safe at Close
	feedLimit    = 100 * time.Millisecond  // and then for the last readings to be taken
	hangsAfter   = time.Second             // without an answer a line is said to hang
	checkEvery   = 2 * time.Second         // an idle output is looked at, for its chip may be gone
	retryEvery   = time.Second             // a line that does not answer is tried again
	listenEvery  = 100 * time.Millisecond  // a feedback is read so often while nobody takes readings
)

// Options for [Open]. Bank, Now and Feed are needed.
type Options struct {
	Bank  Bank
	Store *store.Store // where the accepted outputs are kept; nil: nowhere
	Now   func() devices.Now

	// Strict says that a line which can't be had just now is an error; else it is
	// tried again.
	Strict bool

	// Held names outputs that are to go on as they were: after a crash of the
	// hub, not of the machine, an output that a rule holds on need not go off and
	// on again. It counts for those that were on when they were last switched.
	Held []string

	// Feed takes each reading: the level of an output read back after each
	// switch, the level of an input at each change, and both when they are taken
	// (Initial). It is called by one goroutine, without a lock, and may block:
	// then readings wait. What is declared of an output is kept all the same. Close
	// waits for it only so long.
	//
	// After the level of an input comes the gesture that it made, if it has any: a
	// reading of "<name>.press" with the kind (see [Press]). Origin is that of the
	// command that a reading follows from, or names the limit that made it.
	Feed func(devices.Reading)

	// OpenBus opens the buses of expanders. Where it is nil there can't be any,
	// but for simulated ones on simulated pins.
	OpenBus OpenBus

	// Publish sends a message for an output on a topic. It is called by that
	// output's own goroutine, maybe already before Open returns, and must work
	// until Close has returned; so it can't wait for whoever calls those. It
	// returns when the message has gone out, for only then does the output count
	// as switched; an error says that it has not. Where Publish is nil no output
	// can be on a topic.
	Publish func(devices.Message) error

	Log *slog.Logger // nil: silent
}

// Pins are the outputs and inputs of a configuration, at work. The methods may
// be called from any goroutine.
type Pins struct {
	opt Options

	began    time.Time     // the guard's and the presses' times count from here
	nudged   chan struct{} // the guard may have another deadline
	stopping chan struct{} // closed when Close begins
	timed    chan struct{} // closed when no deadline is kept any more

	mu         sync.Mutex
	guard      *Guard
	covers     *Covers
	keptCovers map[string]keptCover      // what the store was told of covers last
	marks      map[string]chan struct{}  // by cover: closed when that is on disk
	coverNews  uint64                    // readings of covers so far
	coverTold  map[string]uint64         // by source, the newest of them that was told
	told       map[string]devices.Origin // by output: where its newest command came from
	kept       map[string]kept           // what the store was told last
	lines      map[string]*line          // each line that is held, by the pin's own text
	leaving    map[string]*line          // those on their way out, by the same
	outputs    []*line                   // in the order of the configuration
	inputs     []*line
	changing   bool // a Change is prepared
	starting   bool // a line that can't be had yet is tried again later, as any that fails
	closed     bool

	bank      Bank                 // opt.Bank, and the expanders of the configuration
	expanders map[string]*expander // by id: those, and any that is still in use

	readings chan report
	ending   chan struct{} // closed when no line reports any more
	over     chan struct{} // closed when Close waits no longer
	fed      chan struct{} // closed when Feed is not called any more
}

// Open takes all lines of the configuration and starts to work. Each output is
// first in its initial state, or with safe = "hold" in the one that was
// kept. Outputs that are kept but no longer configured are made safe. A line that
// another program holds, or whose chip does not answer, has a fault and is tried
// again every second: the rest of the house does not wait for it. If any line
// can't ever be had, the error names all those and why, and none is held.
func Open(cfg Config, opt Options) (*Pins, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	last, err := keptOutputs(opt.Store)
	if err != nil {
		opt.Log.Warn("some outputs may not get the state they had", "err", err)
	}
	p := &Pins{
		opt:       opt,
		began:     time.Now(),
		nudged:    make(chan struct{}, 1),
		stopping:  make(chan struct{}),
		timed:     make(chan struct{}),
		guard:     NewGuard(Config{}),
		covers:    NewCovers(Config{}),
		marks:     map[string]chan struct{}{},
		coverTold: map[string]uint64{},
		told:      map[string]devices.Origin{},
		kept:      last,
		lines:     map[string]*line{},
		leaving:   map[string]*line{},
		readings:  make(chan report, 256),
		ending:    make(chan struct{}),
		over:      make(chan struct{}),
		fed:       make(chan struct{}),

		bank:      opt.Bank,
		expanders: map[string]*expander{},
	}
	go p.feed()
	go p.keepTime()
	p.starting = !opt.Strict
	change, err := p.Prepare(cfg)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.dropUnconfigured(change)
	change.Commit()
	p.mu.Lock()
	p.starting, p.opt.Held = false, nil // they were about this start
	p.mu.Unlock()
	return p, nil
}

// dropUnconfigured makes safe what the store knows of pins that the new
// configuration does not use: the owner may have changed it while the hub was
// off, and a pin may still be as a crash left it. It does not wait for them.
func (p *Pins) dropUnconfigured(c *Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.kept {
		out := k.output()
		pin, err := p.pin(name, out)
		if k.Chip != "" {
			pin, err = keptPin(p.opt.Bank, p.opt.OpenBus, k, p.expanders)
		}
		if err != nil {
			p.opt.Log.Warn("an output that is no longer configured may not be safe", "line", what(name, out.where()), "err", err)
			continue
		}
		key := pin.String()
		switch {
		case c.uses(key):
			if _, ok := c.cfg.Output.Get(name); !ok {
				p.forget(name)
			}
		case p.leaving[key] == nil:
			l := &line{
				p: p, key: key, pin: pin, name: name, out: &out, removed: true,
				quit: make(chan struct{}), done: make(chan struct{}),
			}
			p.leaving[key] = l
			go func() {
				defer close(l.done)
				l.makeSafe()
			}()
		}
	}
}

// Set is [Pins.Command] of a level that came from nowhere in particular.
func (p *Pins) Set(output string, on bool) error {
	return p.Command(devices.Command{Output: output, Value: on})
}

// Command asks for an output to be on or off, as Output, Value, For and Ramp of c
// say: a bool, a level in percent, or "acknowledge" where it has a fault. It never
// blocks. What the configuration declares comes first: a command that is
// too early waits, and what is interlocked with it goes off before. The switch is
// made by the line's worker, in order, and what the pin then really is comes back
// through Feed, once for each command. A level that the output already has is
// written all the same: the pin may have been changed by something else. The
// error says that there is no such output, that it can't take the command now, or
// that too many commands wait for it.
func (p *Pins) Command(c devices.Command) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	order, err := OrderOf(c)
	switch l := find(p.outputs, c.Output); {
	case p.closed:
		return fmt.Errorf("%s: the pins are closed", c.Output)
	case p.covers.Has(c.Output):
		return p.commandCover(c)
	case err != nil:
		return err
	case l != nil && len(l.jobs)+len(l.unsent) >= queueLimit:
		return fmt.Errorf("%s: %d commands wait already", l.what(), queueLimit)
	}
	drives, err := p.guard.Do(order, p.now())
	if err != nil {
		return err
	}
	before := p.told[c.Output]
	p.told[c.Output] = c.Origin
	for _, d := range drives {
		from := p.from(d)
		if d.Same && d.Output == c.Output {
			from = before // it answers the command that came to nothing
		}
		p.drive(d, from)
	}
	if w, ok := p.guard.Waiting(c.Output); ok {
		p.opt.Log.Debug("a command waits", "output", c.Output, "on", w.On, "for", w.Why)
	}
	if order.Acknowledge {
		p.tellFault(c.Output, false)
	}
	p.keep(p.guard.byName[c.Output]) // what waits counts as well: it was accepted
	for _, partner := range p.guard.byName[c.Output].partners {
		p.keep(partner.guarded)
	}
	p.nudge()
	return nil
}

// OrderOf is what a command asks of a guard. The error says that an output can't
// be told that.
func OrderOf(c devices.Command) (Order, error) {
	o := Order{Output: c.Output, For: c.For, Ramp: c.Ramp}
	switch v := c.Value.(type) {
	case bool:
		o.On = v
	case float64:
		o.On, o.Level = v != 0, v // NaN too, which the guard refuses
	case string:
		if o.Acknowledge = v == Acknowledge; !o.Acknowledge {
			return o, fmt.Errorf("%s: can't be told %q", c.Output, v)
		}
	default:
		return o, fmt.Errorf("%s: want true or false, not %v", c.Output, c.Value)
	}
	return o, nil
}

// Acknowledge is the word that takes the fault of an output back.
const Acknowledge = "acknowledge"

// from is where a drive comes from; p.mu is held.
func (p *Pins) from(d Drive) devices.Origin {
	if d.Step {
		return devices.Origin{}
	}
	if d.Cause == "" {
		return devices.Origin{By: "output." + d.Output + ": " + d.Why}
	}
	return p.told[d.Cause]
}

// drive hands a decided switch to its line; p.mu is held.
func (p *Pins) drive(d Drive, from devices.Origin) {
	p.toldCover(d, from)
	l := find(p.outputs, d.Output)
	quiet := d.Step && l.out.Frequency > 0
	if n := len(l.jobs); quiet && n > 0 && l.jobs[n-1].quiet {
		l.jobs = l.jobs[:n-1] // a step that nobody waits for
	}
	l.push(job{name: d.Output, out: *l.out, on: d.On, level: d.Level, quiet: quiet, look: d.Same, change: d.change, from: from, owner: l.owner})
	if d.Step {
		return
	}
	l.why = ""
	if !d.On && d.Why != l.out.letGo() {
		l.why = d.Why
	}
	if !d.Same {
		p.keep(p.guard.byName[d.Output])
	}
	p.tellFault(d.Output, false)
	switch {
	case d.Why == "":
	case d.Cause == "":
		p.opt.Log.Info("an output was switched by what is declared of it", "output", d.Output, "on", d.On, "why", d.Why)
	default:
		p.opt.Log.Debug("an output was switched", "output", d.Output, "on", d.On, "why", d.Why)
	}
}

// driveAll is drive for what follows from time or from an earlier switch.
func (p *Pins) driveAll(drives []Drive) {
	for _, d := range drives {
		p.drive(d, p.from(d))
	}
	p.nudge()
}

// confirm tells the guard what became of a change that it decided.
func (p *Pins) confirm(l *line, j job, failed bool) {
	if !j.change {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && j.owner == l.owner && find(p.outputs, j.name) == l {
		p.driveAll(p.guard.done(j.name, j.on, p.now(), failed))
		p.keep(p.guard.byName[j.name]) // a line that hung did it later than was kept
	}
}

// vanished tells the guard that a line does not answer, and that its output, of
// that name, may be anything.
func (p *Pins) vanished(l *line, name string, owner int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.lost = true; !p.closed && owner == l.owner && find(p.outputs, name) == l {
		p.driveAll(p.guard.vanish(name, p.now()))
	}
}

// appeared tells it that the line answers again.
func (p *Pins) appeared(l *line, j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := l.lost
	if l.lost = false; was && !p.closed && j.owner == l.owner && find(p.outputs, j.name) == l {
		p.driveAll(p.guard.appear(j.name, j.on, p.now()))
		p.keep(p.guard.byName[j.name])
	}
}

// heard tells the guard how an input is, which may be the feedback of an output.
func (p *Pins) heard(input string, on, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guard.Input(input, on, known, p.now())
	p.nudge()
}

// tellFault reports whether an output with a feedback has a fault, if that is
// news; p.mu is held.
func (p *Pins) tellFault(name string, initial bool) {
	l, o := find(p.outputs, name), p.guard.byName[name]
	if l == nil || o == nil || o.Feedback == "" || !initial && l.latched == o.fault {
		return
	}
	if l.latched = o.fault; o.fault != "" {
		p.opt.Log.Error("an output has a fault and waits to be acknowledged", "output", name, "fault", o.fault)
	}
	text := cmp.Or(o.fault, "none")
	l.unsent = append(l.unsent, report{line: l, name: name, reading: devices.Reading{Source: name + ".fault", Value: text, Text: text, At: p.opt.Now(), Initial: initial}})
	l.poke()
	p.keep(o)
}

// now is the time that the guard and the presses go by. It never steps.
func (p *Pins) now() time.Duration { return time.Since(p.began) }

// nudge makes keepTime look at the guard's next deadline.
func (p *Pins) nudge() {
	select {
	case p.nudged <- struct{}{}:
	default:
	}
}

// keepTime serves the guard's deadlines, whatever becomes of the hub's loop.
func (p *Pins) keepTime() {
	defer close(p.timed)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.stopping:
			return
		case <-p.nudged:
		case <-timer.C:
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return
		}
		for _, d := range p.guard.Advance(p.now()) {
			p.drive(d, p.from(d))
		}
		p.advanceCovers()
		next, ok := p.guard.Next()
		if at, moves := p.covers.Next(); moves && (!ok || at < next) {
			next, ok = at, true
		}
		p.mu.Unlock()
		timer.Stop()
		if ok {
			timer.Reset(max(0, next-p.now()))
		}
	}
}

// keep notes the accepted state of an output; p.mu is held.
func (p *Pins) keep(o *guarded) { p.keepLast(o, false) }

// keepLast is keep at the end: was is how the output was before it.
func (p *Pins) keepLast(o *guarded, was bool) {
	k := kept{
		Pin: o.Pin, ActiveLow: o.ActiveLow, Topic: o.Topic, OnWord: o.OnWord, OffWord: o.OffWord,
		Safe: o.Safe, On: o.demands(), Timed: o.until != never || !o.falls(), Was: was, Fault: o.fault, Cycles: o.cycles,
	}
	before := p.kept[o.name]
	switch {
	case !o.Levels():
	case was:
		k.Level = before.Level
	case o.aim() < 100:
		k.Level = o.aim()
	}
	if l := find(p.outputs, o.name); l != nil {
		k.Chip = chipText(l.pin)
	}
	now := p.opt.Now()
	since := o.since
	if o.Period > 0 && k.On { // its turns do not count
		since = o.began
	}
	if same := before.of(o.Output) && before.On == k.On && before.Since != 0; now.Known && since > longAgo {
		k.Since = now.Wall.Add(since - p.now()).UnixNano()
		if d := time.Duration(k.Since - before.Since); same && d > -time.Second && d < time.Second {
			k.Since = before.Since // no clock says the same twice
		}
	} else if same {
		k.Since = before.Since
	}
	if o.lost && before.of(o.Output) { // how it was is what it may come back to
		k.On, k.Level, k.Timed, k.Was, k.Since = before.On, before.Level, before.Timed, before.Was, before.Since
	}
	for _, at := range o.starts[max(0, len(o.starts)-o.Starts.Most):] {
		start := int64(0) // nobody knows when
		if now.Known {
			start = now.Wall.Add(at - p.now()).UnixNano()
		}
		for _, last := range before.Starts { // no clock says the same twice
			if d := time.Duration(start - last); d > -time.Second && d < time.Second {
				start = last
				break
			}
		}
		k.Starts = append(k.Starts, start)
	}
	if before.same(k) {
		return // spares the card a write
	}
	within := keptWithin
	if k.On && (o.MinOff > 0 || len(o.partners) > 0) {
		within = 0 // after a crash it would pass for one that was off all the time
	}
	p.kept[o.name] = k
	keep(p.opt.Store, o.name, k, within)
}

// forget takes an output out of what is kept; p.mu is held.
func (p *Pins) forget(name string) {
	delete(p.kept, name)
	forget(p.opt.Store, name)
}

// Drive puts a simulated input, or that of a counter, into a state, as its contact
// would.
func (p *Pins) Drive(input string, on bool) error {
	sim, ok := p.opt.Bank.(interface {
		Drive(pin string, l gpio.Level) error
	})
	if !ok {
		return fmt.Errorf("input %s: only simulated pins can be driven, these are %v", input, p.opt.Bank)
	}
	p.mu.Lock()
	l := find(p.inputs, input)
	if l == nil {
		p.mu.Unlock()
		return fmt.Errorf("no input %q", input)
	}
	in, ok := l.contact()
	p.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s is no single contact that could be driven", input)
	}
	return sim.Drive(in.Pin, in.level(on))
}

// Info is an output or input as a page shows it.
type Info struct {
	Name    string
	Pin     string  // or topic, as the owner wrote it
	On      bool    // the state last read
	High    bool    // the same as a physical level
	Known   bool    // it has been read
	Fault   string  // what is wrong with the line now, "" if nothing is
	Latched bool    // the fault of an output stays until somebody acknowledges it
	Lost    uint64  // edges of an input that came too fast to be told apart
	Level   float64 // of an output with levels, in percent
	Levels  bool    // it has them
	Cycles  uint64  // how often an output went on since it was first kept
	Shows   string  // of a counter or encoder: its value in words
	Waits   string  // the command that waits and for what, "" if none does
	Why     string  // what of its declaration keeps it off, "" if it is on or a plain command did that
}

// Outputs are all outputs in the order of the configuration.
func (p *Pins) Outputs() []Info { return p.infos(&p.outputs) }

// Inputs are all inputs in the order of the configuration, then the counters and
// the encoders.
func (p *Pins) Inputs() []Info { return p.infos(&p.inputs) }

func (p *Pins) infos(lines *[]*line) []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	infos := make([]Info, 0, len(*lines))
	for _, l := range *lines {
		i := l.info()
		if o := p.guard.byName[l.name]; o != nil && l.out != nil {
			i.Level, i.Levels, i.Cycles = o.aim(), o.Levels(), o.cycles
			i.Latched = o.fault != ""
			if o.fault != "" && i.Fault == "" {
				i.Fault = o.fault + "; it waits to be acknowledged"
			}
		}
		if w, ok := p.guard.Waiting(l.name); ok && l.out != nil {
			left := max(0, w.Until-p.now()).Round(time.Second / 10)
			i.Waits = fmt.Sprintf("%s in %v, for %s", word(w.On), left, w.Why)
			if w.Open {
				i.Waits = fmt.Sprintf("%s waits for %s", word(w.On), w.Why)
			}
		}
		infos = append(infos, i)
	}
	return infos
}

// Close gives every output its safe level, all at once, then lets all lines go.
// Commands that wait are dropped. It takes half a second at most; the error
// names each output that did not answer until then. Should such a line come back
// later, while the process still lives, it is made safe then. Unless the error
// says that readings were not taken, Feed is not called after Close.
func (p *Pins) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.stopping)
	var tasks []task
	for _, lines := range []map[string]*line{p.lines, p.leaving} {
		for _, l := range lines {
			l.stop()
			tasks = append(tasks, task{l.what(), func() error { <-l.done; return l.err }})
		}
	}
	p.mu.Unlock()

	<-p.timed
	err := together(closeLimit, tasks)
	close(p.ending)
	timeout := time.NewTimer(feedLimit)
	defer timeout.Stop()
	select {
	case <-p.fed:
	case <-timeout.C:
		err = errors.Join(err, errors.New("the last readings were not taken"))
	}
	close(p.over)
	return err
}

// A report is a reading on its way to Feed.
type report struct {
	line    *line
	name    string // of the line when it was read
	reading devices.Reading
	nth     uint64 // of covers: the news of one may come by two lines
}

// feed passes readings on. It stands between the lines and Feed, so that a hub
// that takes nothing can't keep a line from being made safe.
func (p *Pins) feed() {
	defer close(p.fed)
	for {
		select {
		case r := <-p.readings:
			p.deliver(r)
		case <-p.ending:
			for {
				select {
				case r := <-p.readings:
					p.deliver(r)
				default:
					return
				}
			}
		}
	}
}

func (p *Pins) deliver(r report) {
	select {
	case <-p.over:
		return
	default:
	}
	p.mu.Lock()
	current := !r.line.removed && r.line.name == r.name
	if r.nth > 0 {
		if current = current && r.nth > p.coverTold[r.reading.Source]; current {
			p.coverTold[r.reading.Source] = r.nth
		}
	}
	p.mu.Unlock()
	if current { // else its name may mean another pin by now
		p.opt.Feed(r.reading)
	}
}

// A line is one pin that is held, with the worker that alone touches it.
type line struct {
	p          *Pins
	key        string // the pin's own text: one per physical line, whatever names it has
	pin        gpio.PinIO
	after      *line         // the one that has to let the same pin go first; nil if none
	start      bool          // the state in which an output starts
	startLevel float64       // and its level then, if that is on
	sends      bool          // an output on a topic: that state is sent
	faulty     error         // why it could not be taken at the start; it is tried again
	wake       chan struct{} // outputs only: there are jobs
	quit       chan struct{} // drop the queue, be safe, let go
	done       chan struct{} // all that is done
	err        error         // and what went wrong in it; read after done

	// Of an input's worker alone:
	worked bool   // it has been read
	told   string // why it can't be, as was last said

	off bool // of an output's worker alone: it was when it was last read

	follows follower      // of a counter or encoder: what it makes of edges (follow.go)
	other   *line         // of an encoder: its other line
	free    chan struct{} // of its second line alone: closed when the pin can be taken
	from    *line         // the counter or encoder of that name that has to end first; nil if none

	// Guarded by p.mu:
	name      string
	out       *Output // one of these is set, or follows
	in        *Input
	jobs      []job
	unsent    []report // outputs only: what is still to be told
	owner     int      // counts the outputs that had this line
	heir      *line    // the same output on another pin, after this one was removed
	taking    bool     // Prepare is about to have it
	taken     bool     // Prepare has it
	abandoned bool     // Prepare wants it no more
	stopped   bool     // quit is closed
	removed   bool     // a reload took it out of the house
	level     gpio.Level
	known     bool
	fault     string
	why       string    // of its newest drive, if that was to be off
	busy      time.Time // when the pin was asked for something that it has not answered
	missed    uint64    // edges
	lost      bool      // it does not answer, and is tried again
	percent   float64   // the level that was told last
	latched   string    // the fault that was told last
}

// A job is a switch that waits for its turn. It brings its own name and
// settings, so a reload that gives the line to another output is in order too.
type job struct {
	name    string
	out     Output
	on      bool
	level   float64 // percent
	quiet   bool    // what comes of it is not told
	look    bool    // only look how it is
	initial bool
	change  bool // the guard waits to hear that it was made
	from    devices.Origin
	owner   int
}

// push queues a job; p.mu is held.
func (l *line) push(j job) {
	l.jobs = append(l.jobs, j)
	l.poke()
}

// poke has the worker of an output look what there is to do.
func (l *line) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest job, if there is one.
func (l *line) next() (j job, ok bool) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if len(l.jobs) == 0 {
		l.jobs = nil
		return j, false
	}
	j, l.jobs = l.jobs[0], l.jobs[1:]
	return j, true
}

func find(lines []*line, name string) *line {
	for _, l := range lines {
		if l.name == name {
			return l
		}
	}
	return nil
}

// what names the line; p.mu is held where the line is at work.
func (l *line) what() string {
	if l.out != nil {
		return "output " + what(l.name, l.out.where())
	}
	if l.follows != nil {
		return l.follows.kind() + " " + what(l.name, l.follows.where())
	}
	return "input " + what(l.name, l.in.Pin)
}

func (l *line) info() Info {
	i := Info{Name: l.name, High: bool(l.level), Known: l.known, Fault: l.fault, Lost: l.missed, Why: l.why}
	if l.out != nil {
		i.Pin, i.On = l.out.where(), l.known && l.out.state(l.level)
	} else if l.follows != nil {
		i.Pin = l.follows.where()
		l.follows.info(&i)
	} else {
		i.Pin, i.On = l.in.Pin, l.known && l.in.state(l.level)
	}
	if d := l.hangs(); d > 0 {
		i.Fault = fmt.Sprintf("no answer for %v", d.Truncate(time.Second))
	}
	return i
}

// hangs is for how long the line has not answered, if that is too long.
func (l *line) hangs() time.Duration {
	if l.busy.IsZero() || time.Since(l.busy) < hangsAfter {
		return 0
	}
	return time.Since(l.busy)
}

// stop makes the worker end; p.mu is held.
func (l *line) stop() {
	if !l.stopped {
		l.stopped = true
		close(l.quit)
	}
}

func (l *line) asked() {
	l.p.mu.Lock()
	l.busy = time.Now()
	l.p.mu.Unlock()
}

// answered notes how the line is. What is wrong is logged once, not each time.
func (l *line) answered(level gpio.Level, known bool, err error) {
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	l.p.mu.Lock()
	before, name := l.fault, l.what()
	l.busy = time.Time{}
	l.level, l.known, l.fault = level, known, fault
	l.p.mu.Unlock()
	switch {
	case fault == before:
	case fault != "":
		l.p.opt.Log.Warn("a line has a fault", "line", name, "err", fault)
	default:
		l.p.opt.Log.Info("a line works again", "line", name)
	}
}

// report hands a reading of an input on. Feed may be slow, but it can't keep the
// worker from ending when the line is to be stopped.
func (l *line) report(name string, r devices.Reading) {
	listen := time.NewTicker(listenEvery)
	defer listen.Stop()
	for {
		select {
		case l.p.readings <- report{line: l, name: name, reading: r}:
			return
		case <-l.quit:
			return
		case <-listen.C: // it may be a feedback, which the guard has to hear all the same
			if l.in != nil {
				level, err := readLevel(l.pin)
				l.p.heard(name, l.in.state(level), err == nil)
			}
		}
	}
}

// moment is one of the times that now gives, as the hub tells it.
func (p *Pins) moment(at time.Duration) devices.Now {
	now := p.opt.Now()
	if ago := p.now() - at; ago > 0 {
		now = now.Add(-ago)
	}
	return now
}

// reading is what name turned out to be at a moment, or why that is not known.
func (p *Pins) reading(name string, on bool, err error, at time.Duration, initial bool) devices.Reading {
	r := devices.Reading{Source: name, At: p.moment(at), Initial: initial}
	if err != nil {
		r.Bad = err.Error()
	} else {
		r.Value, r.Text = on, word(on)
	}
	return r
}

func word(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// await waits until the line that had the pin before has let it go. ours is
// false if this one is to be stopped too by then, and so has nothing to do.
func (l *line) await() (ours bool) {
	<-l.after.done // it was stopped before we began
	l.after = nil
	select {
	case <-l.quit:
		return false
	default:
		return true
	}
}

// runOutput is the worker of an output. The line has been taken, in the state
// that start says, unless it has to wait for another to let it go or does not
// answer.
func (l *line) runOutput(start job) {
	defer close(l.done)
	switch {
	case l.faulty != nil:
		l.fail(start, l.faulty)
	case l.after == nil && !l.sends:
		l.tellLater(start.name, l.look(start, nil)...)
	case l.after == nil || l.await():
		l.tellLater(start.name, l.do(start)...)
	default:
		l.p.left(l, start.name, nil)
		return
	}
	again := time.NewTimer(checkEvery)
	defer again.Stop()
	for {
		select {
		case <-l.quit: // comes first, however many jobs wait
			l.makeSafe()
			return
		default:
		}
		if j, ok := l.next(); ok {
			l.tellLater(j.name, l.do(j)...)
			continue
		}
		r, readings := l.oldest()
		select {
		case <-l.quit:
		case <-l.wake:
		case readings <- r:
			l.sent()
		case <-again.C:
			again.Reset(l.check())
		}
	}
}

// check looks whether an output still answers and is as it was driven, and has one
// that does not answer back if it can be had. It says when to look again.
func (l *line) check() time.Duration {
	l.p.mu.Lock()
	o := l.p.guard.byName[l.name]
	if l.stopped || o == nil || len(l.jobs) > 0 || o.moving > 0 || l.onTopic() && !o.unsure {
		l.p.mu.Unlock()
		return checkEvery
	}
	if o.unsure && !o.lost { // it could not be switched off, which was told then
		o.moving++
		j := job{name: l.name, out: *l.out, change: true, owner: l.owner}
		l.p.mu.Unlock()
		readings := l.do(j)
		l.p.mu.Lock()
		works := l.fault == ""
		l.p.mu.Unlock()
		if works {
			l.tellLater(j.name, readings...)
		}
		return checkEvery
	}
	j := job{name: l.name, out: *l.out, on: o.on, level: o.shown(l.p.now()), owner: l.owner}
	lost, was := l.lost, l.level
	last := l.p.kept[l.name]
	// One that never went on does not come back on, nor one that may not be alone.
	held := (!l.off || j.out.Period > 0 && j.out.MinOff == 0) && o.alone(l.p.now()) && first(j.out, &last, false, l.p.ago(last))
	l.p.mu.Unlock()
	l.asked()
	if !lost {
		level, err := l.read(j.out)
		if err == nil && level == was {
			l.p.mu.Lock()
			l.busy = time.Time{}
			l.p.mu.Unlock()
			return checkEvery
		}
		if err != nil {
			l.fail(j, err)
			return retryEvery
		}
		l.tellLater(j.name, l.do(j)...) // something else has changed it
		return checkEvery
	}
	// It comes back in the state of one that nobody is sure of: what it was told
	// long ago may not be wanted any more.
	on, hold := safe(j.out)
	j.level = 100
	if hold { // as after a restart
		on = held
		if last.Level > 0 && j.out.Frequency > 0 {
			j.level = last.Level
		}
	}
	j.on = on
	_ = l.pin.Halt() // of what is left of it
	if err := l.set(j.out, on, j.level); err != nil {
		l.answered(gpio.Low, false, err)
		return retryEvery
	}
	l.tellLater(j.name, l.look(j, nil)...)
	return checkEvery
}

// fail notes that a line does not answer, and tells.
func (l *line) fail(j job, err error) {
	l.answered(gpio.Low, false, err)
	l.p.vanished(l, j.name, j.owner)
	l.p.sawCover(l, j, false, true)
	l.tellLater(j.name, l.p.reading(j.name, false, err, l.p.now(), j.initial))
}

// tellLater has a reading wait to be taken. A hub that takes none must not keep
// an output from being switched off in time.
func (l *line) tellLater(name string, readings ...devices.Reading) {
	l.p.mu.Lock()
	for _, r := range readings {
		l.unsent = append(l.unsent, report{line: l, name: name, reading: r})
	}
	l.p.mu.Unlock()
	for { // what can be passed on at once
		r, readings := l.oldest() // which is no channel if there is nothing
		select {
		case readings <- r:
			l.sent()
		default:
			return
		}
	}
}

// oldest is what is to be told next, and where; nil if there is nothing.
func (l *line) oldest() (report, chan<- report) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if len(l.unsent) == 0 {
		return report{}, nil
	}
	return l.unsent[0], l.p.readings
}

func (l *line) sent() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.unsent = l.unsent[1:]; len(l.unsent) == 0 {
		l.unsent = nil
	}
}

// do makes a switch, and gives what came of it.
func (l *line) do(j job) []devices.Reading {
	if err := l.refuses(j); err != nil {
		return []devices.Reading{l.p.reading(j.name, false, err, l.p.now(), false)}
	}
	l.asked()
	if j.look || !j.initial && l.echoed(j) {
		return l.look(j, nil)
	}
	if !l.marked(j) { // it stays as it is, which is no fault
		j.look = true
		return l.look(j, nil)
	}
	return l.look(j, l.put(j.out, j.on, j.level, j.from))
}

// refuses says why a line does nothing for a command: it did not answer since that
// was given, so nobody knows any more whether it is still right.
func (l *line) refuses(j job) error {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if !l.lost || j.initial {
		return nil
	}
	return errors.New(l.fault)
}

// look reads back what a switch did.
func (l *line) look(j job, err error) []devices.Reading {
	level, unread := l.read(j.out)
	on := j.out.state(level) || j.on && j.out.faint(j.level)
	lost := (err != nil || unread != nil) && !l.onTopic()
	if err == nil && unread == nil && on != j.on && !j.look {
		err = fmt.Errorf("driven %v, but it is %v", j.out.level(j.on), level)
	}
	l.answered(level, unread == nil, errors.Join(err, unread))
	if unread == nil {
		l.off = !on
	}
	if lost {
		l.p.vanished(l, j.name, j.owner)
	} else {
		l.p.appeared(l, j)
		l.p.confirm(l, j, err != nil)
	}
	l.p.sawCover(l, j, on, unread != nil)
	if j.quiet && err == nil && unread == nil {
		return nil
	}
	r := l.p.reading(j.name, on, unread, l.p.now(), j.initial)
	r.Origin = j.from
	return append([]devices.Reading{r}, l.levelReading(j, r)...)
}

// levelReading tells the level of an output that has some, if it is news beside r.
func (l *line) levelReading(j job, r devices.Reading) []devices.Reading {
	if !j.out.Levels() || r.Bad != "" {
		return nil
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	o := l.p.guard.byName[j.name]
	if o == nil || !j.initial && l.percent == o.aim() {
		return nil
	}
	l.percent = o.aim()
	r.Source += ".level"
	r.Value, r.Text = l.percent, devices.Text(l.percent)
	return []devices.Reading{r}
}

// makeSafe is the end of an output: its safe level, then its release.
func (l *line) makeSafe() {
	l.p.mu.Lock()
	name, out := l.name, *l.out
	l.p.mu.Unlock()
	l.p.mu.Lock()
	was := l.p.kept[name].last()
	l.p.mu.Unlock()
	if on, hold := safe(out); !hold {
		l.asked()
		l.err = l.put(out, on, 100, devices.Origin{})
		// Where nobody takes readings it is said through the error of Close.
		l.tellLater(name, l.look(job{name: name, out: out, on: on, level: 100}, l.err)...)
		l.p.mu.Lock()
		if o := l.p.guard.byName[name]; o != nil && l.err == nil && !l.removed {
			l.p.guard.drive(o, on, l.p.now(), "", "", nil)
			l.p.keepLast(o, was) // it is so from now on, for min_on and min_off
		}
		l.p.mu.Unlock()
	}
	l.err = errors.Join(l.err, l.pin.Halt())
	l.p.left(l, name, l.err)
}

// runInput is the worker of an input: what it is, and then each change that has
// settled. The line has been taken, unless it has to wait for another.
func (l *line) runInput() {
	defer close(l.done)
	in, name := *l.in, l.name // an input never changes its settings: it is replaced
	taken := l.after == nil
	if !taken && !l.await() {
		l.p.left(l, name, nil)
		return
	}
	halted := make(chan error, 1)
	go func() {
		<-l.quit
		halted <- l.pin.Halt() // wakes NextEdge
	}()
	for first := true; ; first = false {
		err := l.faulty
		if l.faulty = nil; err == nil {
			err = l.watch(in, name, taken, first)
		}
		if err == nil {
			break
		}
		l.answered(gpio.Low, false, err)
		l.p.heard(name, false, false)
		if err.Error() != l.told {
			l.told = err.Error()
			l.report(name, l.p.reading(name, false, err, l.p.now(), !l.worked))
		}
		if !l.pause(retryEvery) {
			break
		}
		_ = l.pin.Halt() // of what is left of it
		taken = false
	}
	l.err = <-halted
	l.p.left(l, name, l.err)
}

// pause waits, and says whether the line is still wanted then.
func (l *line) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.quit:
		return false
	case <-timer.C:
		return true
	}
}

// watch follows an input until the line is stopped, or until it fails. What it is
// at the beginning is news after a failure, for nobody saw it become so.
func (l *line) watch(in Input, name string, taken, initial bool) error {
	if !taken {
		l.asked()
		if err := takeInput(l.pin, in); err != nil {
			return err
		}
		select {
		case <-l.quit: // its Halt may have come before
			return l.pin.Halt()
		default:
		}
	}
	level, err := readLevel(l.pin)
	if err != nil {
		return err
	}
	filter := Debounce{On: in.state(level)}
	if _, ok := l.pin.(debouncer); !ok {
		filter.Stable = time.Duration(in.Debounce)
	}
	presses := NewPresses(Config{Input: config.Table[Input]{{Name: name, Value: in}}})
	presses.Found(name, filter.On)
	l.answered(level, true, nil)
	l.p.heard(name, filter.On, true)
	l.worked, l.told = true, ""
	l.report(name, l.p.reading(name, filter.On, nil, l.p.now(), initial))

	pin := l.pin.(edger) // takeInput has made sure
	var seq uint32
	checked := l.p.now()
	for {
		var settled, lost bool
		var at time.Duration
		var made []Press
		switch e, err := pin.NextEdge(l.patience(&filter, presses, checked+checkEvery)); {
		case errors.Is(err, errTimeout):
			// Only now: an edge that waits to be taken may be older than a deadline.
			now := l.p.now()
			if settled, at = filter.Advance(now); !settled {
				made = presses.Advance(now)
			}
			if now-checked < checkEvery {
				break
			}
			// Not every kernel wakes us when a chip is gone; and the last edge of a
			// burst may be lost, which no later one tells.
			checked = now
			level, err := readLevel(l.pin)
			if err != nil {
				return err
			}
			if _, moves := filter.Next(); !moves && !settled && in.state(level) != filter.On {
				lost = true
				settled, at = filter.Level(in.state(level), now)
			}
		case errors.Is(err, errHalted):
			return nil
		case err != nil:
			return err
		case e.Seq != seq+1:
			// Edges were lost, so this one may not tell how the line is now.
			l.p.mu.Lock()
			l.missed += uint64(e.Seq - seq - 1)
			l.p.mu.Unlock()
			if e.Level, err = readLevel(l.pin); err != nil {
				return err
			}
			seq, lost = e.Seq, true
			settled, at = filter.Level(in.state(e.Level), l.p.now())
		default:
			seq = e.Seq
			settled, at = filter.Level(in.state(e.Level), e.At.Sub(l.p.began))
		}
		if lost {
			presses.Found(name, filter.On) // nobody knows which gesture it was
		} else if settled {
			made = presses.Level(name, filter.On, at)
		}
		for len(made) > 0 && (!settled || made[0].At < at) {
			l.tell(made[0])
			made = made[1:]
		}
		if settled {
			l.answered(in.level(filter.On), true, nil)
			l.p.heard(name, filter.On, true)
			l.report(name, l.p.reading(name, filter.On, nil, at, false))
		}
		for _, m := range made {
			l.tell(m)
		}
	}
}

// patience is how long to wait for an edge, until something is due or at check.
func (l *line) patience(filter *Debounce, presses *Presses, check time.Duration) time.Duration {
	until := check
	for _, next := range []func() (time.Duration, bool){filter.Next, presses.Next} {
		if at, ok := next(); ok {
			until = min(until, at)
		}
	}
	return max(0, until-l.p.now())
}

// tell reports a gesture.
func (l *line) tell(m Press) {
	l.report(m.Input, devices.Reading{Source: m.Input + ".press", Value: m.Kind, Text: m.Kind, At: l.p.moment(m.At), Event: true})
}

// takeInput makes a pin an input that tells its edges.
func takeInput(pin gpio.PinIO, in Input) error {
	if _, ok := pin.(edger); !ok {
		return fmt.Errorf("%w: it can't tell when it changes, so it can't be an input", errUnable)
	}
	if d, ok := pin.(debouncer); ok {
		return d.InDebounced(in.pull(), gpio.BothEdges, time.Duration(in.Debounce))
	}
	return pin.In(in.pull(), gpio.BothEdges)
}

// left is called by the worker of a line that was let go.
func (p *Pins) left(l *line, name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving[l.key] == l {
		delete(p.leaving, l.key)
	}
	if l.heir != nil && find(p.outputs, name) == l.heir && !p.closed {
		p.driveAll(p.guard.done(name, false, p.now(), err != nil))
	}
	if !l.removed || l.out == nil {
		return
	}
	if err != nil {
		p.opt.Log.Warn("an output that was removed may not be safe", "line", l.what(), "err", err)
		return
	}
	if p.guard.byName[name] == nil {
		p.forget(name)
	}
}
