package replay

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"hearth/devices"
	"hearth/gpio"
)

// pins are the outputs and covers of a replay. Those that stand as they were recorded
// do what was recorded. One that was told something else has strayed, and with it all
// that it shares an interlock, a group or a cover with: from then on they are ideal
// pins under what is declared of them, until they stand as recorded again.
type pins struct {
	cfg    gpio.Config
	bunch  map[string]*bunch // by the name of an output or a cover
	report func(devices.Reading)
	now    func() devices.Now
}

// A bunch is outputs and covers of which one has a say in what another does.
type bunch struct {
	outputs []string
	covers  []string
	is      map[string]*pin // of each output and cover

	strayed bool
	guard   *gpio.Guard
	place   *gpio.Covers
	from    map[string]devices.Origin // of what each was told last
}

// A pin is one output or cover: as it was recorded, and as it is here.
type pin struct {
	was, is devices.Reading // newest of the thing itself
	level   float64         // recorded, in percent; 0 is none
	since   time.Duration   // it is as it was recorded
	pending []devices.Command
}

func newPins(cfg gpio.Config) *pins {
	p := &pins{cfg: cfg, bunch: make(map[string]*bunch)}
	join := func(names ...string) {
		into := &bunch{is: make(map[string]*pin), from: make(map[string]devices.Origin)}
		for _, name := range names {
			b := p.bunch[name]
			if b == nil {
				continue
			}
			for other := range b.is {
				into.is[other] = b.is[other]
				p.bunch[other] = into
			}
		}
	}
	for _, o := range cfg.Output {
		p.bunch[o.Name] = &bunch{is: map[string]*pin{o.Name: {since: math.MinInt64 / 4}}}
		join(o.Name)
	}
	for _, v := range cfg.Cover {
		p.bunch[v.Name] = &bunch{is: map[string]*pin{v.Name: {}}}
		join(v.Name, v.Value.Up, v.Value.Down)
	}
	for _, l := range cfg.Interlock {
		join(l.Value.Outputs...)
	}
	for _, g := range cfg.Group {
		join(g.Value.Outputs...)
	}
	for _, name := range cfg.Output.Names() {
		b := p.bunch[name]
		b.outputs = append(b.outputs, name)
	}
	for _, name := range cfg.Cover.Names() {
		b := p.bunch[name]
		b.covers = append(b.covers, name)
	}
	return p
}

// of is the bunch that a source belongs to: "heater", or "heater.level".
func (p *pins) of(source string) (b *bunch, name string) {
	name, _, _ = strings.Cut(source, ".")
	return p.bunch[name], name
}

// recorded takes note of a reading that was recorded, and reports whether it counts
// here, too.
func (p *pins) recorded(r devices.Reading) bool {
	b, name := p.of(r.Source)
	if b == nil || r.Topic != "" {
		return true
	}
	o := b.is[name]
	switch {
	case r.Source == name+".level":
		o.level, _ = r.Value.(float64)
	case r.Source == name && r.Bad == "":
		if on, _ := devices.Bool(o.was.Value); o.was.Source == "" || on != r.Value {
			o.since = r.At.Mono
		}
		o.was = r
		if !b.strayed {
			o.is = r
		}
		if len(o.pending) > 0 {
			o.pending = o.pending[1:]
		}
	}
	if !b.strayed {
		return true
	}
	b.settle(p)
	return false
}

// stray lets a bunch go its own way.
func (p *pins) stray(b *bunch) {
	if b.strayed {
		return
	}
	now := p.now().Mono
	b.strayed = true
	b.guard, b.place = gpio.NewGuard(p.cfg), gpio.NewCovers(p.cfg)
	for _, name := range b.covers {
		place := gpio.Place{Low: 0, High: 1}
		if at, ok := b.is[name].is.Value.(float64); ok {
			place = gpio.Place{Low: at / 100, High: at / 100}
		}
		b.place.Started(name, place)
	}
	for _, name := range b.outputs {
		o := b.is[name]
		on, known := devices.Bool(o.is.Value)
		if known {
			b.guard.Started(name, on, o.since)
		}
		if on && o.level > 0 && o.level < 100 {
			b.guard.Do(gpio.Order{Output: name, On: true, Level: o.level}, o.since)
		}
		b.place.Told(name, on, now)
		b.place.Level(name, on, now)
	}
	b.place.News(now)
	for _, name := range slices.Concat(b.outputs, b.covers) {
		for _, c := range b.is[name].pending {
			b.do(p, c)
		}
		b.is[name].pending = nil
	}
}

// reset lets all stand as recorded: the hub starts, and gives each its first state.
func (p *pins) reset() {
	for _, b := range p.bunch {
		b.strayed, b.guard, b.place = false, nil, nil
		for _, o := range b.is {
			o.pending = nil
		}
	}
}

// command is a command for something wired. A recorded one has its effects recorded, as
// long as nothing has strayed. The error says that it is refused.
func (p *pins) command(c devices.Command, recorded bool) error {
	b := p.bunch[c.Output]
	if b == nil {
		return nil
	}
	if recorded && !b.strayed {
		o := b.is[c.Output]
		o.pending = append(o.pending, c)
		return nil
	}
	p.stray(b)
	err := b.do(p, c)
	b.settle(p)
	return err
}

func (b *bunch) do(p *pins, c devices.Command) error {
	now := p.now().Mono
	if b.place.Has(c.Output) {
		turns, err := b.place.Command(c.Output, c.Value, now)
		if err == nil {
			b.from[c.Output] = c.Origin
			b.turn(p, turns)
			b.tellCovers(p)
		}
		return err
	}
	before := b.from[c.Output]
	b.from[c.Output] = c.Origin
	order, err := gpio.OrderOf(c)
	if err != nil {
		return err
	}
	drives, err := b.guard.Do(order, now)
	if err == nil {
		b.drive(p, drives, &before)
	}
	return err
}

// drive makes switches that the guard has decided. before is where the last command but
// one came from, of the output that this one is for.
func (b *bunch) drive(p *pins, drives []gpio.Drive, before *devices.Origin) {
	for _, d := range drives {
		o, _ := p.cfg.Output.Get(d.Output)
		if o == nil || d.Step && o.Frequency > 0 {
			continue
		}
		from := devices.Origin{By: "output." + d.Output + ": " + d.Why}
		switch {
		case before != nil && d.Same && d.Output == d.Cause:
			from = *before
		case d.Cause != "":
			from = b.from[d.Cause]
		}
		if cover := b.place.Drove(b.guard, d, p.now().Mono); cover != "" {
			b.from[cover] = from
		}
		was := b.is[d.Output].is
		now := devices.Reading{Source: d.Output, Value: d.On, Text: devices.Text(d.On), At: p.now(), Origin: from}
		if b.is[d.Output].is = now; o.Period == 0 || was.Value != now.Value || !d.Step {
			p.report(now)
		}
		if o.Levels() {
			level := b.guard.Level(d.Output)
			p.report(devices.Reading{Source: d.Output + ".level", Value: level, Text: devices.Text(level), At: p.now(), Origin: from})
		}
		if o.Feedback != "" {
			p.report(devices.Reading{Source: o.Feedback, Value: d.On, Text: devices.Text(d.On), At: p.now()})
		}
		b.turn(p, b.place.Level(d.Output, d.On, p.now().Mono))
	}
	b.tellCovers(p)
}

// turn tells outputs what their cover wants.
func (b *bunch) turn(p *pins, turns []gpio.Turn) {
	for _, t := range turns {
		b.from[t.Output] = b.from[t.Cover]
		if drives, err := b.guard.Command(t.Output, t.On, p.now().Mono); err == nil {
			b.drive(p, drives, nil)
		}
	}
}

func (b *bunch) tellCovers(p *pins) {
	for _, n := range b.place.News(p.now().Mono) {
		for _, r := range n.Readings() {
			r.At, r.Origin = p.now(), b.from[n.Cover]
			if o := b.is[r.Source]; o != nil {
				o.is = r
			}
			p.report(r)
		}
	}
}

// settle lets a bunch follow the record again, once all of it stands as was recorded
// and nothing is under way that was not.
func (b *bunch) settle(p *pins) {
	now := p.now().Mono
	if _, due := b.guard.Next(); due {
		return
	}
	if _, due := b.place.Next(); due {
		return
	}
	for name, o := range b.is {
		if o.was.Value != o.is.Value {
			return
		}
		out, ok := p.cfg.Output.Get(name)
		if !ok {
			continue
		}
		on, since := b.guard.State(name)
		apart := since - o.since
		switch {
		case on != (o.was.Value == true):
			return
		case on && out.Levels() && cmp.Or(o.level, 100) != cmp.Or(b.guard.Level(name), 100):
			return
		case apart.Abs() <= time.Second:
		case on && (out.MinOn > 0 || out.MaxOn > 0 || out.Lifetime > 0 || out.Momentary > 0),
			!on && now-max(since, o.since) < time.Duration(out.MinOff),
			out.Starts != gpio.Rate{}:
			return
		}
		for _, l := range p.cfg.Locks() {
			if slices.Contains(l.Value.Outputs, name) && !on && now-max(since, o.since) < time.Duration(l.Value.Gap) {
				return
			}
		}
	}
	b.strayed, b.guard, b.place = false, nil, nil
}

// next is when pins that have strayed do something by themselves.
func (p *pins) next() (at time.Duration, ok bool) {
	at = math.MaxInt64
	for _, b := range p.all() {
		if b.strayed {
			if due, is := b.guard.Next(); is {
				at, ok = min(at, due), true
			}
			if due, is := b.place.Next(); is {
				at, ok = min(at, due), true
			}
		}
	}
	return at, ok
}

// advance does what is due by now.
func (p *pins) advance() {
	for _, b := range p.all() {
		if !b.strayed {
			continue
		}
		b.drive(p, b.guard.Advance(p.now().Mono), nil)
		b.turn(p, b.place.Advance(p.now().Mono))
		b.tellCovers(p)
		b.settle(p)
	}
}

// all is each bunch once, in the order of the configuration.
func (p *pins) all() (all []*bunch) {
	for _, o := range p.cfg.Output {
		if b := p.bunch[o.Name]; b.outputs[0] == o.Name {
			all = append(all, b)
		}
	}
	return all
}
