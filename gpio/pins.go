package gpio

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hearth/devices"
	"hearth/store"

	"periph.io/x/conn/v3/gpio"
)

const (
	queueLimit   = 1024                   // commands that wait for one output
	queueReserve = 64                     // and the room above it for what a reload says
	acquireLimit = time.Second            // for taking lines, and for Safe
	closeLimit   = 400 * time.Millisecond // for the lines to become safe at Close
	feedLimit    = 100 * time.Millisecond // and then for the last readings to be taken
	hangsAfter   = time.Second            // without an answer a line is said to hang
)

// Options for [Open]. Bank, Now and Feed are needed.
type Options struct {
	Bank  Bank
	Store *store.Store // where the accepted outputs are kept; nil: nowhere
	Now   func() devices.Now

	// Feed takes each reading: the level of an output read back after each
	// switch, the level of an input at each change, and both when they are taken
	// (Initial). It is called by one goroutine, without a lock, and may block:
	// then commands wait in their queues. Close waits for it only so long.
	Feed func(devices.Reading)

	Log *slog.Logger // nil: silent
}

// Pins are the outputs and inputs of a configuration, at work. The methods may
// be called from any goroutine.
type Pins struct {
	opt Options

	mu       sync.Mutex
	core     core
	kept     map[string]kept  // what the store was told last
	lines    map[string]*line // each line that is held, by the pin's own text
	leaving  map[string]*line // those on their way out, by the same
	outputs  []*line          // in the order of the configuration
	inputs   []*line
	changing bool // a Change is prepared
	closed   bool

	readings chan report
	ending   chan struct{} // closed when no line reports any more
	over     chan struct{} // closed when Close waits no longer
	fed      chan struct{} // closed when Feed is not called any more
}

// Open takes all lines of the configuration and starts to work. Each output is
// first in its initial state, or with safe = "hold" in the one that was
// kept. Outputs that are kept but no longer configured are made safe. If any
// line can't be had, the error names all that can't and why, and none is held.
// One that another program holds can be tried again.
func Open(cfg Config, opt Options) (*Pins, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	last, err := keptOutputs(opt.Store)
	if err != nil {
		opt.Log.Warn("some outputs may not get the state they had", "err", err)
	}
	p := &Pins{
		opt:      opt,
		core:     core{map[string]*outputState{}},
		kept:     last,
		lines:    map[string]*line{},
		leaving:  map[string]*line{},
		readings: make(chan report, 256),
		ending:   make(chan struct{}),
		over:     make(chan struct{}),
		fed:      make(chan struct{}),
	}
	go p.feed()
	change, err := p.Prepare(cfg)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.dropUnconfigured(change)
	change.Commit()
	return p, nil
}

// dropUnconfigured makes safe what the store knows of pins that the new
// configuration does not use: the owner may have changed it while the hub was
// off, and a pin may still be as a crash left it. It does not wait for them.
func (p *Pins) dropUnconfigured(c *Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.kept {
		pin, err := p.opt.Bank.ByName(k.Pin)
		if err != nil {
			p.opt.Log.Warn("an output that is no longer configured may not be safe", "line", what(name, k.Pin), "err", err)
			continue
		}
		key := pin.String()
		switch {
		case c.uses(key):
			if _, ok := c.cfg.Output.Get(name); !ok {
				p.forget(name)
			}
		case p.leaving[key] == nil:
			out := k.output()
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

// Set asks for an output to be on or off. It never blocks: the switch is made
// by the line's worker, in the order of the calls, and what the pin then really
// is comes back through Feed. A level that the output already has is written
// all the same: the pin may have been changed by something else. The error says
// that there is no such output, or that too many commands wait for it.
func (p *Pins) Set(output string, on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("%s: the pins are closed", output)
	}
	drives, err := p.core.decide(output, on)
	if err != nil {
		return err
	}
	for _, d := range drives {
		l := find(p.outputs, d.output)
		if len(l.jobs) >= queueLimit {
			return fmt.Errorf("%s: %d commands wait already", l.what(), len(l.jobs))
		}
		l.jobs <- job{name: d.output, out: *l.out, on: d.on}
		p.core.accept(d)
		p.keep(d.output, *l.out, d.on)
	}
	return nil
}

// keep notes the accepted state of an output; p.mu is held.
func (p *Pins) keep(name string, o Output, on bool) {
	k := kept{Pin: o.Pin, ActiveLow: o.ActiveLow, Safe: o.Safe, On: on}
	if p.kept[name] == k {
		return // spares the card a write
	}
	p.kept[name] = k
	keep(p.opt.Store, name, k)
}

// forget takes an output out of what is kept; p.mu is held.
func (p *Pins) forget(name string) {
	delete(p.kept, name)
	forget(p.opt.Store, name)
}

// Drive puts a simulated input into a state, as its contact would.
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
	in := *l.in
	p.mu.Unlock()
	return sim.Drive(in.Pin, in.level(on))
}

// Info is an output or input as a page shows it.
type Info struct {
	Name  string
	Pin   string // as the owner wrote it
	On    bool   // the state last read
	High  bool   // the same as a physical level
	Known bool   // it has been read
	Fault string // what is wrong with the line now, "" if nothing is
	Lost  uint64 // edges of an input that came too fast to be told apart
}

// Outputs are all outputs in the order of the configuration.
func (p *Pins) Outputs() []Info { return p.infos(&p.outputs) }

// Inputs are all inputs in the order of the configuration.
func (p *Pins) Inputs() []Info { return p.infos(&p.inputs) }

func (p *Pins) infos(lines *[]*line) []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	infos := make([]Info, 0, len(*lines))
	for _, l := range *lines {
		infos = append(infos, l.info())
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
	var tasks []task
	for _, lines := range []map[string]*line{p.lines, p.leaving} {
		for _, l := range lines {
			l.stop()
			tasks = append(tasks, task{l.what(), func() error { <-l.done; return l.err }})
		}
	}
	p.mu.Unlock()

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
	reading devices.Reading
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
	current := !r.line.removed && r.line.name == r.reading.Source
	p.mu.Unlock()
	if current { // else its name may mean another pin by now
		p.opt.Feed(r.reading)
	}
}

// A line is one pin that is held, with the worker that alone touches it.
type line struct {
	p     *Pins
	key   string // the pin's own text: one per physical line, whatever names it has
	pin   gpio.PinIO
	after *line         // the one that has to let the same pin go first; nil if none
	start bool          // the state in which an output starts
	jobs  chan job      // outputs only
	quit  chan struct{} // drop the queue, be safe, let go
	done  chan struct{} // all that is done
	err   error         // and what went wrong in it; read after done

	// Guarded by p.mu:
	name      string
	out       *Output // one of these is set
	in        *Input
	taking    bool // Prepare is about to have it
	taken     bool // Prepare has it
	abandoned bool // Prepare wants it no more
	stopped   bool // quit is closed
	removed   bool // a reload took it out of the house
	level     gpio.Level
	known     bool
	fault     string
	busy      time.Time // when the pin was asked for something that it has not answered
	lost      uint64
}

// A job is a switch that waits for its turn. It brings its own name and
// settings, so a reload that gives the line to another output is in order too.
type job struct {
	name    string
	out     Output
	on      bool
	initial bool
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
		return "output " + what(l.name, l.out.Pin)
	}
	return "input " + what(l.name, l.in.Pin)
}

func (l *line) info() Info {
	i := Info{Name: l.name, High: bool(l.level), Known: l.known, Fault: l.fault, Lost: l.lost}
	if l.out != nil {
		i.Pin, i.On = l.out.Pin, l.known && l.out.state(l.level)
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

// report hands a reading on. Feed may be slow, but it can't keep the worker from
// what has to be done when the line is to be stopped.
func (l *line) report(r devices.Reading) {
	select {
	case l.p.readings <- report{l, r}:
	case <-l.quit:
	}
}

// reading is what name turned out to be at a moment, or why that is not known.
func (p *Pins) reading(name string, on bool, err error, at time.Time, initial bool) devices.Reading {
	r := devices.Reading{Source: name, At: p.opt.Now(), Initial: initial}
	if ago := time.Since(at); ago > 0 {
		r.At = r.At.Add(-ago)
	}
	switch {
	case err != nil:
		r.Bad = err.Error()
	case on:
		r.Value, r.Text = true, "ON"
	default:
		r.Value, r.Text = false, "OFF"
	}
	return r
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
// that start says, unless it has to wait for another to let it go.
func (l *line) runOutput(start job) {
	defer close(l.done)
	if l.after == nil {
		l.report(l.look(start, nil))
	} else if l.await() {
		l.report(l.do(start))
	} else {
		l.p.left(l, start.name, nil)
		return
	}
	for {
		select {
		case <-l.quit: // comes first, however many jobs wait
			l.makeSafe()
			return
		default:
		}
		select {
		case <-l.quit:
		case j := <-l.jobs:
			l.report(l.do(j))
		}
	}
}

// do makes a switch, and gives what came of it.
func (l *line) do(j job) devices.Reading {
	l.asked()
	return l.look(j, l.pin.Out(j.out.level(j.on)))
}

// look reads back what a switch did.
func (l *line) look(j job, err error) devices.Reading {
	level, unread := readLevel(l.pin)
	on := j.out.state(level)
	if err == nil && unread == nil && on != j.on {
		err = fmt.Errorf("driven %v, but it is %v", j.out.level(j.on), level)
	}
	l.answered(level, unread == nil, errors.Join(err, unread))
	return l.p.reading(j.name, on, unread, time.Now(), j.initial)
}

// makeSafe is the end of an output: its safe level, then its release.
func (l *line) makeSafe() {
	l.p.mu.Lock()
	name, out := l.name, *l.out
	l.p.mu.Unlock()
	if on, hold := safe(out); !hold {
		l.asked()
		l.err = l.pin.Out(out.level(on))
		r := l.look(job{name: name, out: out, on: on}, l.err)
		select {
		case l.p.readings <- report{l, r}:
		default: // nobody takes them; it is said through the error of Close
		}
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
	if err := l.watch(in, name, taken); err != nil {
		l.answered(gpio.Low, false, err)
		l.report(l.p.reading(name, false, err, time.Now(), false))
	}
	l.err = <-halted
	l.p.left(l, name, l.err)
}

// watch follows an input until the line is stopped, or until it fails.
func (l *line) watch(in Input, name string, taken bool) error {
	if !taken {
		if err := takeInput(l.pin, in); err != nil {
			return err
		}
	}
	level, err := readLevel(l.pin)
	if err != nil {
		return err
	}
	filter := debounce{level: level}
	if _, ok := l.pin.(debouncer); !ok {
		filter.stable = time.Duration(in.Debounce)
	}
	l.answered(level, true, nil)
	l.report(l.p.reading(name, in.state(level), nil, time.Now(), true))

	pin := l.pin.(edger) // takeInput has made sure
	var seq uint32
	for {
		var settled bool
		var at time.Time
		switch e, err := pin.NextEdge(filter.wait(time.Now())); {
		case errors.Is(err, errTimeout):
			settled, at = filter.pass(time.Now())
		case errors.Is(err, errHalted):
			return nil
		case err != nil:
			return err
		case e.Seq != seq+1:
			// Edges were lost, so this one may not tell how the line is now.
			l.p.mu.Lock()
			l.lost += uint64(e.Seq - seq - 1)
			l.p.mu.Unlock()
			if e.Level, err = readLevel(l.pin); err != nil {
				return err
			}
			seq = e.Seq
			settled, at = filter.edge(e.Level, time.Now())
		default:
			seq = e.Seq
			settled, at = filter.edge(e.Level, e.At)
		}
		if settled {
			l.answered(filter.level, true, nil)
			l.report(l.p.reading(name, in.state(filter.level), nil, at, false))
		}
	}
}

// takeInput makes a pin an input that tells its edges.
func takeInput(pin gpio.PinIO, in Input) error {
	if _, ok := pin.(edger); !ok {
		return errors.New("this pin can't tell when it changes, so it can't be an input")
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
	if !l.removed || l.out == nil {
		return
	}
	if err != nil {
		p.opt.Log.Warn("an output that was removed may not be safe", "line", l.what(), "err", err)
		return
	}
	if _, still := p.core.outputs[name]; !still {
		p.forget(name)
	}
}
