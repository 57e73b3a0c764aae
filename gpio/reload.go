package gpio

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hearth/config"
	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
)

// A Change is a new configuration that has all it needs and waits for its
// Commit or Undo. One of them has to be called; a second call does nothing.
//
// What happens to each line, seen from the pin:
//
//   - Not named before: Prepare takes it; an output is in its initial state from
//     then on. Undo makes it safe again and lets it go.
//   - Named as before: nothing. Settings that only matter later, such as safe or
//     max_on, are noted at Commit; times that run go on, by the new limits. What people
//     call it, and its room, is no setting of a line.
//   - The same output with another active_low: it keeps its state, so the pin
//     changes once, at Commit. It is not released.
//   - The pin of one output now belongs to another: it goes from the level that it has
//     straight to the initial level of the new one, at Commit, after the
//     commands that still wait for the old one. It is not released. Two outputs
//     may change pins this way.
//   - An input with other settings, or a pin that was an output and becomes an
//     input or the other way round: at Commit it is let go, an output first made
//     safe, and then taken anew.
//   - Not named any more: at Commit it is made safe and let go, without anybody
//     waiting for it.
//   - Interlocks that are new hold from Commit on: of several outputs that are on
//     none stays on.
//
// An output that is interlocked, in a group or has a min_off or a limit of starts starts off, and is then told to be
// on if it was declared so, when that is allowed. But one that was on already,
// before a restart, and with it no other, starts on.
type Change struct {
	p       *Pins
	cfg     Config
	outputs []*line // as they will be, in order
	inputs  []*line
	fresh   []*line         // taken by Prepare
	renewed []*line         // on a pin that another line holds until Commit
	moved   map[*line]move  // outputs that stay on their pin, but not as they were
	starts  map[string]bool // the state in which each output begins, if it does
	wishes  []Order         // of outputs that begin off and then are told to be on
	pins    map[string]string
	bank    *joined
	ended   bool // guarded by p.mu

	counters map[*line]Counter // that stay on their line with other settings
}

// A move is what a held output line becomes.
type move struct {
	name string
	out  Output
	new  bool // it is another output
}

// uses says whether the line of that key is in the new configuration.
func (c *Change) uses(key string) bool { return c.pins[key] != "" }

// Prepare takes what a new configuration needs beyond what is held, and changes
// nothing else. It takes about a second at most. The error names all that
// is wrong; then nothing more is held than before. Only one Change can be
// prepared at a time.
func (p *Pins) Prepare(cfg Config) (*Change, error) {
	p.mu.Lock()
	c, err := p.plan(cfg)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var tasks []task
	for _, l := range c.fresh {
		tasks = append(tasks, task{l.what(), func() error { return l.take() }})
	}
	if err := together(acquireLimit, tasks); err != nil {
		c.Undo()
		return nil, err
	}
	return c, nil
}

// unnamed is the configuration without what people call things and where they are, by which
// no pin is another.
func (c Config) unnamed() Config {
	c.Output, c.Input, c.Cover = unnamed(c.Output), unnamed(c.Input), unnamed(c.Cover)
	c.Counter, c.Encoder = unnamed(c.Counter), unnamed(c.Encoder)
	return c
}

func unnamed[T any, P interface {
	*T
	AsShown() *devices.Shown
}](table config.Table[T]) config.Table[T] {
	table = slices.Clone(table)
	for i := range table {
		*P(&table[i].Value).AsShown() = devices.Shown{}
	}
	return table
}

// plan is what has to be done for a configuration; p.mu is held.
func (p *Pins) plan(cfg Config) (*Change, error) {
	switch {
	case p.closed:
		return nil, errors.New("the pins are closed")
	case p.changing:
		return nil, errors.New("another change of the pins is under way")
	}
	cfg = cfg.unnamed()
	c := &Change{p: p, cfg: cfg, moved: map[*line]move{}, pins: map[string]string{}}
	c.begin()
	var wrong []error
	bank, err := join(p.opt.Bank, cfg, p.opt.OpenBus, p.expanders)
	wrong = append(wrong, err)
	c.bank, p.bank = bank, bank
	interrupts := p.interrupts(bank, cfg)
	resolve := func(name string, o Output) gpio.PinIO {
		pin, err := p.pin(name, o)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", what(name, o.where()), err))
			return nil
		}
		if other, ok := c.pins[pin.String()]; ok {
			wrong = append(wrong, fmt.Errorf("%s: that is the same line as %s", what(name, o.where()), other))
			return nil
		}
		if other, ok := interrupts[pin.String()]; ok {
			wrong = append(wrong, fmt.Errorf("%s: that line is %s; one that changes its use has to be left out once", what(name, o.where()), other))
			return nil
		}
		c.pins[pin.String()] = what(name, o.where())
		return pin
	}
	for _, o := range cfg.Output {
		if pin := resolve(o.Name, o.Value); pin != nil {
			l, err := c.output(p.lines[pin.String()], pin, o.Name, o.Value)
			c.outputs = append(c.outputs, l)
			wrong = append(wrong, err)
		}
	}
	for _, i := range cfg.Input {
		if pin := resolve(i.Name, Output{Pin: i.Value.Pin}); pin != nil {
			c.inputs = append(c.inputs, c.input(p.lines[pin.String()], pin, i.Name, i.Value))
		}
	}
	c.followers(func(name, pin string) gpio.PinIO { return resolve(name, Output{Pin: pin}) })
	for pin, expander := range interrupts {
		if l := p.lines[pin]; l != nil && c.pins[pin] == "" {
			wrong = append(wrong, fmt.Errorf("%s: that line is to be %s; one that changes its use has to be left out once", l.what(), expander))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	p.changing = true
	return c, nil
}

// begin finds how each output is to begin if it is not held already; p.mu is
// held.
func (c *Change) begin() {
	c.starts = map[string]bool{}
	others := NewGuard(c.cfg)
	for _, o := range c.cfg.Output {
		last, known := c.p.kept[o.Name]
		on := o.Value.StartsOn()
		if known {
			on = first(o.Value, &last, slices.Contains(c.p.opt.Held, o.Name), c.p.ago(last))
		}
		again := known && last.of(o.Value) && last.Was && on // it was on before a stop made it safe
		partners, groups := others.byName[o.Name].partners, others.byName[o.Name].groups
		if on && o.Value.Safe != "on" && (o.Value.MinOff > 0 || o.Value.Starts.Most > 0 || len(partners) > 0 || len(groups) > 0) {
			on = known && last.of(o.Value) && last.On
			for _, p := range partners {
				on = on && !c.p.kept[p.name].On
				again = again && !c.p.kept[p.name].On && !c.p.kept[p.name].Was
			}
			if o.Value.Period > 0 { // nobody knows whether it had its turn or rested
				on, again = false, on || again
			}
			if !on && (o.Value.StartsOn() || again) {
				wish := Order{Output: o.Name, On: true}
				if again && o.Value.Levels() {
					wish.Level = last.Level
				}
				c.wishes = append(c.wishes, wish)
			}
		}
		c.starts[o.Name] = on
	}
}

// output finds or makes the line of an output. held is the one that has its pin
// now, or nil.
func (c *Change) output(held *line, pin gpio.PinIO, name string, o Output) (*line, error) {
	if held == nil || held.out == nil {
		return c.add(held, pin, name, &o, nil), nil
	}
	if held.name != name || *held.out != o {
		if d := held.hangs(); d > 0 {
			return nil, fmt.Errorf("%s: its settings can't be changed, it has not answered for %v", held.what(), d)
		}
		c.moved[held] = move{name, o, held.name != name}
	}
	return held, nil
}

func (c *Change) input(held *line, pin gpio.PinIO, name string, i Input) *line {
	if held != nil && held.in != nil && held.name == name && *held.in == i {
		return held
	}
	return c.add(held, pin, name, nil, &i)
}

func (c *Change) add(held *line, pin gpio.PinIO, name string, out *Output, in *Input) *line {
	l := &line{
		p: c.p, key: pin.String(), pin: pin, after: held, name: name, out: out, in: in,
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	if out != nil {
		l.wake = make(chan struct{}, 1)
		l.start, l.startLevel = c.starts[name], 100
		if last := c.p.kept[name]; last.of(*out) && last.Level > 0 && out.Levels() && out.Period == 0 {
			l.startLevel = last.Level
		}
		_, known := c.p.kept[name]
		l.sends = out.Topic != "" && (out.Safe != "hold" || !known && out.Initial != "")
	}
	if held != nil {
		c.renewed = append(c.renewed, l)
		return l
	}
	l.after = c.p.leaving[l.key]
	l.taking = true
	c.fresh = append(c.fresh, l)
	return l
}

// take gets a pin that no other line of ours holds. One that is on its way out
// is waited for. Should nobody want it any more when it is there at last, it is
// given back.
func (l *line) take() error {
	if l.after != nil {
		<-l.after.done
		l.after = nil
	}
	var err error
	switch topic, ok := l.pin.(*topicPin); {
	case ok:
		topic.told(gpio.Level(l.start))
	case l.out != nil:
		err = l.set(*l.out, l.start, l.startLevel)
	case l.follows != nil:
		err = l.takeFollower()
	default:
		err = takeInput(l.pin, *l.in)
	}
	l.p.mu.Lock()
	if err != nil && l.p.starting && !errors.Is(err, errUnable) {
		l.faulty, err = err, nil
	}
	l.taking = false
	l.taken = err == nil && !l.abandoned
	abandoned := l.abandoned
	l.p.mu.Unlock()
	switch {
	case abandoned && err == nil:
		return l.giveBack()
	case abandoned:
		l.p.left(l, l.name, nil)
		close(l.done)
	}
	return err
}

// giveBack lets a pin go that has been taken and never was at work.
func (l *line) giveBack() error {
	defer close(l.done)
	if l.free != nil {
		l.giveBackSecond()
		return nil
	}
	if l.out != nil && l.out.Topic == "" { // a topic has not been sent anything yet
		if on, hold := safe(*l.out); !hold {
			l.err = l.set(*l.out, on, 100)
		}
	}
	l.err = errors.Join(l.err, l.pin.Halt())
	l.p.left(l, l.name, l.err)
	return l.err
}

// Commit makes the new configuration the one at work. It waits for no pin: what
// becomes of each comes as a reading, or is a fault in [Pins.Outputs].
func (c *Change) Commit() {
	p := c.p
	p.mu.Lock()
	if p.closed && !c.ended { // closed in between, so what Prepare took has to go as well
		p.mu.Unlock()
		c.Undo()
		return
	}
	defer p.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	p.changing = false
	p.adoptExpanders(c)

	// The outputs as they will be, before the guard forgets those that were.
	guard := NewGuard(c.cfg)
	guard.slow = true
	now := p.now()
	for _, l := range c.outputs {
		m, moved := c.moved[l]
		switch {
		case moved && m.name != l.name:
			guard.begin(m.name, c.starts[m.name], now, now, now)
			guard.byName[m.name].moving = 1
		case p.lines[l.key] == l:
			guard.adopt(p.guard, l.name)
		default:
			since, gone := p.lasted(l.name, *l.out, l.start)
			guard.begin(l.name, l.start, since, since, gone)
			p.resume(guard.byName[l.name], l.startLevel)
			if l.after != nil && p.lines[l.key] == l.after {
				guard.byName[l.name].moving = 1
			}
			// It moves here from another pin, which is yet to be made safe.
			if from := find(p.outputs, l.name); from != nil && c.moved[from].name == "" && p.lines[from.key] == from {
				from.heir = l
				guard.byName[l.name].moving++
			}
		}
	}
	for _, i := range c.inputs { // those that are followed already; others report soon
		if i.in != nil {
			guard.Input(i.name, i.known && i.in.state(i.level), i.known, now)
		}
	}
	drives := guard.settle(now)
	p.guard = guard

	leave := func(l *line) {
		l.removed = true
		l.stop()
		p.leaving[l.key] = l
		delete(p.lines, l.key)
	}
	for key, l := range p.lines {
		if !c.uses(key) {
			leave(l)
		}
	}
	begins := map[string]bool{} // of which it is told whether they have a fault
	for _, l := range append(c.fresh, c.renewed...) {
		begins[l.name] = true
	}
	for l, m := range c.moved {
		other, was := l.name != m.name, l.name
		begins[m.name] = other || l.out.Feedback == ""
		again := other || l.out.level(true) != m.out.level(true) || l.out.Frequency != m.out.Frequency || l.out.Range != m.out.Range || l.out.word(true) != m.out.word(true) || l.out.word(false) != m.out.word(false)
		l.name, l.out = m.name, &m.out
		if other {
			l.owner++
		}
		if again {
			o := guard.byName[m.name]
			p.again(l, job{name: m.name, out: m.out, on: o.on, level: o.shown(now), initial: true, change: other, owner: l.owner})
		}
		if guard.byName[was] == nil {
			p.forget(was)
		}
	}
	for _, l := range c.renewed {
		if l.after != nil && p.lines[l.key] == l.after {
			leave(l.after)
		}
	}
	for _, l := range append(c.fresh, c.renewed...) {
		p.lines[l.key] = l
		if l.out != nil {
			go l.runOutput(job{name: l.name, out: *l.out, on: l.start, level: l.startLevel, initial: true, change: slices.Contains(c.renewed, l)})
		} else if l.follows != nil {
			go l.follow()
		} else {
			go l.runInput()
		}
	}
	for l, settings := range c.counters {
		l.follows.(*counterLine).configure(settings)
		l.poke()
	}
	p.outputs, p.inputs = c.outputs, c.inputs
	for _, o := range guard.outputs {
		p.keep(o)
		p.tellFault(o.name, begins[o.name])
	}
	p.startCovers(c.cfg, now)
	maps.DeleteFunc(p.told, func(name string, _ devices.Origin) bool { return guard.byName[name] == nil && !p.covers.Has(name) })
	p.driveAll(append(drives, c.wish(now)...))
}

// wish tells outputs to be on that are declared so and had to start off, where
// nothing that is on has to go off for it; p.mu is held.
func (c *Change) wish(now time.Duration) (drives []Drive) {
	g := c.p.guard
	for _, wish := range c.wishes {
		name := wish.Output
		o, l := g.byName[name], find(c.p.outputs, name)
		begins := slices.Contains(c.fresh, l) || slices.Contains(c.renewed, l) || c.moved[l].new
		taken := slices.ContainsFunc(o.partners, func(p partner) bool { return p.on || p.waiting != nil && p.waiting.On })
		if !begins || o.on || taken {
			continue
		}
		more, _ := g.Do(wish, now) // the name is known
		drives = append(drives, more...)
	}
	return drives
}

// lasted is how long an output that starts has been as it is: since when for its
// own limits, and since when for the gaps of others. p.mu is held.
func (p *Pins) lasted(name string, o Output, on bool) (since, gone time.Duration) {
	now := p.now()
	last, known := p.kept[name]
	if !known || !last.of(o) {
		return now, longAgo // nobody knows that it was ever on
	}
	if ago := p.ago(last); last.On == on && ago >= 0 {
		return now - ago, now - ago
	}
	return now, now
}

// ago is for how long an output has been as it is kept; below 0 if nobody knows.
func (p *Pins) ago(last kept) time.Duration {
	wall := p.opt.Now()
	if last.Since == 0 || !wall.Known {
		return -1
	}
	return wall.Wall.Sub(time.Unix(0, last.Since))
}

// resume gives an output that starts what is kept of it besides its state. p.mu is
// held.
func (p *Pins) resume(o *guarded, level float64) {
	if o.on {
		o.percent = level
	}
	last, known := p.kept[o.name]
	if !known || !last.of(o.Output) {
		return
	}
	if o.on && o.Period > 0 && last.Level > 0 {
		o.percent = last.Level
	}
	o.cycles = last.Cycles
	if o.Feedback != "" {
		o.fault = last.Fault
	}
	wall, now := p.opt.Now(), p.now()
	for _, start := range last.Starts[max(0, len(last.Starts)-o.Starts.Most):] {
		ago := wall.Wall.Sub(time.Unix(0, start))
		if !wall.Known || start == 0 || ago < 0 {
			ago = 0 // it may have gone on just before
		}
		o.starts = append(o.starts, now-ago)
	}
}

// again queues what a reload wants of a held output, in the room that commands
// leave free; p.mu is held.
func (p *Pins) again(l *line, j job) {
	if j.change || len(l.jobs) < queueLimit+queueReserve { // the guard waits for a change
		l.push(j)
		return
	}
	l.fault = "too many commands wait, the new settings were not applied"
	p.opt.Log.Warn("a line has a fault", "line", l.what(), "err", l.fault)
}

// Undo lets go what Prepare took, and nothing else. New outputs get their safe
// level before that.
func (c *Change) Undo() {
	p := c.p
	p.mu.Lock()
	ended := c.ended
	if !ended {
		c.ended = true
		p.changing = false
	}
	p.mu.Unlock()
	if !ended {
		c.giveBack()
	}
}

func (c *Change) giveBack() {
	p := c.p
	var tasks []task
	p.mu.Lock()
	for _, l := range c.fresh {
		l.abandoned = true
		if l.taken || l.taking { // else it could not be had
			p.leaving[l.key] = l // whoever wants the pin next has to wait for it
		}
		if l.taken {
			tasks = append(tasks, task{l.what(), l.giveBack})
		}
	}
	p.mu.Unlock()
	if err := together(closeLimit, tasks); err != nil {
		p.opt.Log.Warn("a line that a change of the configuration took was not given back", "err", err)
	}
}
