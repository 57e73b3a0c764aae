package gpio

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3/gpio"
)

// A Change is a new configuration that has all it needs and waits for its
// Commit or Undo. One of them has to be called; a second call does nothing.
//
// What happens to each line, seen from the pin:
//
//   - Not named before: Prepare takes it; an output is in its initial state from
//     then on. Undo makes it safe again and lets it go.
//   - Named as before: nothing. Settings that only matter later, such as safe,
//     are noted at Commit.
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
type Change struct {
	p       *Pins
	cfg     Config
	outputs []*line // as they will be, in order
	inputs  []*line
	fresh   []*line        // taken by Prepare
	renewed []*line        // on a pin that another line holds until Commit
	moved   map[*line]move // outputs that stay on their pin, but not as they were
	pins    map[string]string
	ended   bool // guarded by p.mu
}

// A move is what a held output line becomes.
type move struct {
	name string
	out  Output
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

// plan is what has to be done for a configuration; p.mu is held.
func (p *Pins) plan(cfg Config) (*Change, error) {
	switch {
	case p.closed:
		return nil, errors.New("the pins are closed")
	case p.changing:
		return nil, errors.New("another change of the pins is under way")
	}
	c := &Change{p: p, cfg: cfg, moved: map[*line]move{}, pins: map[string]string{}}
	var wrong []error
	resolve := func(name, pinName string) gpio.PinIO {
		pin, err := p.opt.Bank.ByName(pinName)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", what(name, pinName), err))
			return nil
		}
		if other, ok := c.pins[pin.String()]; ok {
			wrong = append(wrong, fmt.Errorf("%s: that is the same line as %s", what(name, pinName), other))
			return nil
		}
		c.pins[pin.String()] = what(name, pinName)
		return pin
	}
	for _, o := range cfg.Output {
		if pin := resolve(o.Name, o.Value.Pin); pin != nil {
			l, err := c.output(p.lines[pin.String()], pin, o.Name, o.Value)
			c.outputs = append(c.outputs, l)
			wrong = append(wrong, err)
		}
	}
	for _, i := range cfg.Input {
		if pin := resolve(i.Name, i.Value.Pin); pin != nil {
			c.inputs = append(c.inputs, c.input(p.lines[pin.String()], pin, i.Name, i.Value))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	p.changing = true
	return c, nil
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
		c.moved[held] = move{name, o}
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
		l.jobs = make(chan job, queueLimit+queueReserve)
		l.start = first(*out, nil)
		if last, ok := c.p.kept[name]; ok {
			l.start = first(*out, &last)
		}
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
	if l.out != nil {
		err = l.pin.Out(l.out.level(l.start))
	} else {
		err = takeInput(l.pin, *l.in)
	}
	l.p.mu.Lock()
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
	if l.out != nil {
		if on, hold := safe(*l.out); !hold {
			l.err = l.pin.Out(l.out.level(on))
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

	// The outputs as they will be, before the core forgets those that were.
	outputs := map[string]*outputState{}
	for _, l := range c.outputs {
		name, o := l.name, *l.out
		var on bool
		switch m, moved := c.moved[l]; {
		case moved:
			on = p.core.changed(name, m.name, m.out)
			name, o = m.name, m.out
		case p.lines[l.key] == l:
			on = p.core.outputs[name].on
		default:
			on = l.start
		}
		outputs[name] = &outputState{o, on}
	}
	p.core.outputs = outputs

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
	for l, m := range c.moved {
		again := l.name != m.name || l.out.ActiveLow != m.out.ActiveLow
		was := l.name
		l.name, l.out = m.name, &m.out
		if again {
			p.again(l, job{name: m.name, out: m.out, on: outputs[m.name].on, initial: true})
		}
		if _, still := outputs[was]; !still {
			p.forget(was)
		}
	}
	for _, l := range c.renewed {
		leave(l.after)
	}
	for _, l := range append(c.fresh, c.renewed...) {
		p.lines[l.key] = l
		if l.out != nil {
			go l.runOutput(job{name: l.name, out: *l.out, on: outputs[l.name].on, initial: true})
		} else {
			go l.runInput()
		}
	}
	p.outputs, p.inputs = c.outputs, c.inputs
	for name, s := range outputs {
		p.keep(name, s.Output, s.on)
	}
}

// again queues what a reload wants of a held output, in the room that commands
// leave free; p.mu is held.
func (p *Pins) again(l *line, j job) {
	select {
	case l.jobs <- j:
	default:
		l.fault = "too many commands wait, the new settings were not applied"
		p.opt.Log.Warn("a line has a fault", "line", l.what(), "err", l.fault)
	}
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
