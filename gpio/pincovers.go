package gpio

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth/devices"
	"hearth/store"
)

// markLimit is how long a motor waits for the disk to know that it will move.
const markLimit = 250 * time.Millisecond

// keptCover is what the store holds of a cover. While it moves that is no place at
// all: it is written before the motor starts, so after a crash on the way nobody
// claims to know where it is.
type keptCover struct {
	Place
	Wires [2]string `json:"wires"` // of its outputs: another motor is another cover
}

// commandCover is Command for a cover; p.mu is held.
func (p *Pins) commandCover(c devices.Command) error {
	if c.For > 0 || c.Ramp > 0 {
		return fmt.Errorf("%s: a cover takes as long as its way is, and stays there", c.Output)
	}
	for _, o := range p.outputs {
		if by, _ := p.covers.by(o.name); by != nil && by.name == c.Output && len(o.jobs)+len(o.unsent) >= queueLimit {
			return fmt.Errorf("%s: %d commands wait already", o.what(), queueLimit)
		}
	}
	before, was := p.told[c.Output]
	p.told[c.Output] = c.Origin
	turns, err := p.covers.Command(c.Output, c.Value, p.now())
	if err != nil {
		if p.told[c.Output] = before; !was {
			delete(p.told, c.Output)
		}
		return err
	}
	err = p.turn(turns)
	p.tellCovers(nil)
	return err
}

// turn tells outputs what their cover wants; p.mu is held. The error says that one
// can't be told that now; then its cover gives up.
func (p *Pins) turn(turns []Turn) error {
	var wrong []error
	p.keepCovers() // that one is about to move, before it does
	for _, t := range turns {
		p.told[t.Output] = p.told[t.Cover]
		drives, err := p.guard.Command(t.Output, t.On, p.now())
		if err != nil {
			wrong = append(wrong, err)
			p.covers.Told(t.Output, false, p.now())
			continue
		}
		p.driveAll(drives)
	}
	p.keepCovers()
	p.nudge()
	return errors.Join(wrong...)
}

// move is turn for what follows from time or from what was seen.
func (p *Pins) move(turns []Turn) {
	if err := p.turn(turns); err != nil {
		p.opt.Log.Warn("a cover can't be moved", "err", err)
	}
}

// toldCover is a drive that goes to an output of a cover; p.mu is held.
func (p *Pins) toldCover(d Drive, from devices.Origin) {
	if adopted := p.covers.Drove(p.guard, d, p.now()); adopted != "" {
		p.told[adopted] = from
		p.keepCovers()
	}
}

// sawCover is an output of a cover that was read back, also when it was made safe
// at the end.
func (p *Pins) sawCover(l *line, j job, on, unread bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, _ := p.covers.by(j.name); c == nil || find(p.outputs, j.name) != l {
		return
	}
	var turns []Turn
	if p.closed && !on {
		p.covers.Told(j.name, false, p.now()) // by the end of the hub
	}
	if unread {
		turns = p.covers.Lost(j.name, p.now())
	} else {
		turns = p.covers.Level(j.name, on, p.now())
	}
	if p.closed {
		p.keepCovers()
	} else {
		p.move(turns)
	}
	p.tellCovers(l)
}

// advanceCovers does what is due of covers; p.mu is held.
func (p *Pins) advanceCovers() {
	if turns := p.covers.Advance(p.now()); len(turns) > 0 {
		p.move(turns)
	}
	p.tellCovers(nil)
}

// startCovers takes over those of a new configuration; p.mu is held, and the
// guard and the outputs are the new ones.
func (p *Pins) startCovers(cfg Config, now time.Duration) {
	if p.keptCovers == nil {
		p.keptCovers = keptCovers(p.opt.Store)
	}
	covers := NewCovers(cfg)
	for _, c := range covers.covers {
		if k, ok := p.keptCovers[c.name]; ok && k.Wires == c.wires {
			covers.Started(c.name, k.Place)
		}
	}
	covers.adopt(p.covers, now)
	var left []Turn // by covers that are no more, of outputs that are
	for _, was := range p.covers.covers {
		if c := covers.find(was.name); c == nil || !c.same(was) {
			for _, t := range was.stop() {
				if p.guard.byName[t.Output] != nil {
					left = append(left, t)
				}
			}
		}
	}
	p.covers = covers
	p.move(left)
	for name := range p.keptCovers {
		if !covers.Has(name) {
			delete(p.keptCovers, name)
			if p.opt.Store != nil {
				p.opt.Store.Put(store.Record{Kind: store.Cover, Key: name}, keptWithin, nil)
			}
		}
	}
	for _, l := range p.outputs { // one may be on, of a cover that is new
		if on, _ := p.guard.State(l.name); on {
			p.covers.Told(l.name, true, now)
			if l.known && l.out.state(l.level) {
				p.move(p.covers.Level(l.name, true, now))
			}
		}
	}
	p.keepCovers()
	p.tellCovers(nil)
}

// keptCovers is what the store holds, by name. A record that makes no sense is
// that of a cover nobody knows anything of.
func keptCovers(st *store.Store) map[string]keptCover {
	all := map[string]keptCover{}
	if st == nil {
		return all
	}
	for name, value := range st.Each(store.Cover) {
		var k keptCover
		if json.Unmarshal(value, &k) != nil {
			k = keptCover{Place: Place{0, 1}}
		}
		all[name] = k
	}
	return all
}

// keepCovers notes where covers are, if that has changed; p.mu is held.
func (p *Pins) keepCovers() {
	for _, c := range p.covers.covers {
		k := keptCover{p.covers.Place(c.name), c.wires}
		if last, ok := p.keptCovers[c.name]; ok && last == k {
			continue
		}
		p.keptCovers[c.name] = k
		value, err := json.Marshal(k)
		if err != nil {
			panic(err) // numbers from 0 to 1 always encode
		}
		if p.opt.Store != nil {
			written := make(chan struct{})
			p.marks[c.name] = written
			p.opt.Store.Put(store.Record{Kind: store.Cover, Key: c.name, Value: value}, 0, func(error) { close(written) })
		}
	}
}

// marked waits until it is on disk that a cover moves whose output is about to go
// on; not for long, for a disk may hang. It is false where the line is to be let go.
func (l *line) marked(j job) bool {
	l.p.mu.Lock()
	var written chan struct{}
	if c, _ := l.p.covers.by(j.name); c != nil && j.on && !j.look {
		written = l.p.marks[c.name]
	}
	l.p.mu.Unlock()
	if written == nil {
		return true
	}
	patience := time.NewTimer(markLimit)
	defer patience.Stop()
	select {
	case <-written:
	case <-patience.C:
	case <-l.quit:
		return false
	}
	return true
}

// tellCovers tells where covers are. It goes out with what l has to tell, or
// without one with what the cover's own outputs have. Lines tell each in its own
// order, so what another has overtaken is left out then; p.mu is held.
func (p *Pins) tellCovers(l *line) {
	now := p.now()
	for _, n := range p.covers.News(now) {
		via := l
		if via == nil {
			via = find(p.outputs, p.covers.find(n.Cover).Up)
		}
		for _, r := range n.Readings() {
			r.At, r.Initial, r.Origin = p.moment(now), n.First, p.told[n.Cover]
			p.coverNews++
			via.unsent = append(via.unsent, report{via, via.name, r, p.coverNews})
		}
		select {
		case via.wake <- struct{}{}:
		default:
		}
	}
}

// Covers are all covers in the order of the configuration. One that is not closed
// is on.
func (p *Pins) Covers() []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	var infos []Info
	for _, c := range p.covers.covers {
		at := c.position(p.now())
		i := Info{Name: c.name, Pin: c.wires[0] + ", " + c.wires[1], On: !at.Known || at.Percent > 0, Known: true, Waits: at.String()}
		for _, l := range p.outputs {
			if slices.Contains([]string{c.Up, c.Down}, l.name) && i.Fault == "" {
				i.Fault = l.info().Fault
			}
		}
		infos = append(infos, i)
	}
	return infos
}
