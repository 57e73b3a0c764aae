package gpio

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/store"

	"periph.io/x/conn/v3/gpio"
)

// Counters and encoders are lines as well, taken, kept over a change of the
// configuration and let go like those of inputs. But what counts of them is each
// edge and its time, so they have a worker of their own: one goroutine reads
// edges, another takes them in, and a hub that takes no readings keeps neither
// from doing so. Of what waits to be told only the newest is.

// A follower makes something of the edges of a line. Its methods are called with
// p.mu held, but for take.
type follower interface {
	kind() string // "counter"
	where() string
	take(l *line) error                                            // the pin, as what it is to be
	begin(l *line, at time.Duration) ([]devices.Reading, error)    // it is held from now on
	edge(l *line, e Edge) ([]devices.Reading, error)               // what happened to it
	advance(l *line, at time.Duration) []devices.Reading           // it is at
	next() (at time.Duration, ok bool)                             // when advance has something to do
	end(l *line, at time.Duration, stopped bool) []devices.Reading // it is not held any more
	info(i *Info)
}

// lastEdges is how long those may take that wait when a line is to be let go.
const lastEdges = 20 * time.Millisecond

// follow is the worker of a counter or an encoder, until it is stopped. The line
// has been taken, unless it has to wait for another. Where it fails it is tried
// again until it works.
func (l *line) follow() {
	if l.free != nil {
		l.followFirst()
		return
	}
	defer close(l.done)
	name, taken := l.name, l.taken
	if !taken && !l.ours() {
		l.p.left(l, name, nil)
		return
	}
	if l.from != nil { // it goes on from where that one ended
		<-l.from.done
	}
	var told told
	fault := ""
	for {
		err := l.faulty
		if l.faulty = nil; err == nil {
			err = l.followEdges(name, taken, &told)
		}
		if err == nil {
			break
		}
		l.answered(gpio.Low, false, err)
		if fault != err.Error() { // else it has been said
			fault = err.Error()
			told.add(devices.Reading{Source: name, Bad: fault, At: l.p.moment(l.p.now())})
		}
		if taken = false; !told.pause(l, retryEvery) {
			break
		}
	}
	l.p.left(l, name, l.err)
}

// ours waits until the pins can be taken. It is false if the line is to be stopped
// by then, and so has nothing to do.
func (l *line) ours() bool {
	if l.after != nil && !l.await() {
		return false
	}
	if l.other == nil {
		return true
	}
	select {
	case <-l.other.free:
		return true
	case <-l.quit:
		return false
	}
}

// pause waits, and tells what is to be told meanwhile. It says whether the line is still
// wanted after that.
func (t *told) pause(l *line, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		r, readings := t.oldest(l)
		select {
		case <-timer.C:
			return true
		case readings <- r:
			t.sent()
		case <-l.quit:
			return false
		}
	}
}

// seen is an edge, or why no more come.
type seen struct {
	Edge
	err error
}

// followEdges takes the line, if it is not, and follows it until it is stopped or
// fails; then it is let go, and may be followed again.
func (l *line) followEdges(name string, taken bool, told *told) (err error) {
	if !taken {
		if err := l.follows.take(l); err != nil {
			return err
		}
	}
	edges, stop, ended := make(chan seen), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			e, err := l.pin.(edger).NextEdge(-1) // take has made sure that it can
			select {
			case edges <- seen{e, err}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	held := false
	do := func(f func(at time.Duration) ([]devices.Reading, error)) error {
		l.p.mu.Lock()
		rs, err := f(l.p.now())
		l.p.mu.Unlock()
		told.add(rs...)
		return err
	}
	defer func() {
		close(stop)
		halted := l.pin.Halt() // wakes NextEdge
		<-ended
		if held {
			_ = do(func(at time.Duration) ([]devices.Reading, error) { return l.follows.end(l, at, err == nil), nil })
		}
		if err == nil {
			l.err = halted
			told.flush(l)
		}
	}()
	if err := do(func(at time.Duration) ([]devices.Reading, error) { return l.follows.begin(l, at) }); err != nil {
		return err
	}
	held = true
	l.answered(gpio.Low, true, nil)
	take := func(s seen) error {
		if s.err != nil {
			return s.err
		}
		return do(func(time.Duration) ([]devices.Reading, error) { return l.follows.edge(l, s.Edge) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	check := time.NewTicker(checkEvery) // not every kernel says that a chip is gone
	defer check.Stop()
	for {
		_ = do(func(at time.Duration) ([]devices.Reading, error) {
			rs := l.follows.advance(l, at)
			if next, ok := l.follows.next(); ok {
				timer.Reset(max(0, next-at))
			} else {
				timer.Stop()
			}
			return rs, nil
		})
		r, readings := told.oldest(l)
		select {
		case s := <-edges:
			if err := take(s); err != nil {
				return err
			}
		case readings <- r:
			told.sent()
		case <-timer.C:
		case <-check.C:
			if _, err := readLevel(l.pin); err != nil {
				return err
			}
		case <-l.wake: // somebody has changed something
		case <-l.quit:
			grace := time.NewTimer(lastEdges)
			defer grace.Stop()
			for {
				select {
				case s := <-edges:
					if take(s) != nil { // it would have ended anyway
						return nil
					}
				case <-grace.C:
					return nil
				}
			}
		}
	}
}

// told is what waits to be told. A newer value takes the place of an older one
// of the same source; turns add up.
type told []report

func (t *told) add(rs ...devices.Reading) {
	for _, r := range rs {
		i := slices.IndexFunc(*t, func(w report) bool { return w.reading.Source == r.Source })
		if i < 0 {
			*t = append(*t, report{reading: r})
			continue
		}
		was := (*t)[i].reading
		if more, ok := was.Value.(float64); ok && r.Event && r.Bad == "" {
			sum := more + r.Value.(float64)
			r.Value, r.Text = sum, devices.Text(sum)
		}
		r.Initial = r.Initial || was.Initial && r.Bad == "" && was.Bad == ""
		*t = slices.Delete(*t, i, i+1)
		if r.Event && r.Value == 0.0 {
			continue // there and back
		}
		*t = append(*t, report{reading: r})
	}
}

// oldest is what is to be told next, and where; nil if there is nothing.
func (t told) oldest(l *line) (report, chan<- report) {
	if len(t) == 0 {
		return report{}, nil
	}
	r := t[0]
	r.line, r.name = l, l.name
	return r, l.p.readings
}

func (t *told) sent() { *t = (*t)[1:] }

// flush tells what can be passed on at once: at the end nobody waits for it.
func (t *told) flush(l *line) {
	for {
		r, readings := t.oldest(l)
		select {
		case readings <- r:
			t.sent()
		default:
			return
		}
	}
}

// A counterLine is what a counter makes of its line.
type counterLine struct {
	Counter
	count  *Count
	filter *Debounce // where the pin can't; nil: each edge is a pulse
	seq    uint32    // of the newest edge, with a filter
	lost   uint64
	tally  *Tally // as it was told
}

func (c *counterLine) kind() string  { return "counter" }
func (c *counterLine) where() string { return c.Pin }

// filters says whether it is for us to debounce the pin.
func (c *counterLine) filters(pin gpio.PinIO) bool {
	_, ok := pin.(debouncer)
	return c.Debounce > 0 && !ok
}

func (c *counterLine) take(l *line) error {
	_, ok := l.pin.(edger)
	l.p.mu.Lock()
	in, edges := c.input(), c.pulse()
	if c.filters(l.pin) {
		edges = gpio.BothEdges
	}
	l.p.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: it can't tell when it changes, so it can't be a counter", errUnable)
	}
	if d, ok := l.pin.(debouncer); ok {
		return d.InDebounced(in.pull(), edges, time.Duration(in.Debounce))
	}
	return l.pin.In(in.pull(), edges)
}

func (c *counterLine) begin(l *line, at time.Duration) ([]devices.Reading, error) {
	if c.count == nil {
		c.count = NewCount(c.Counter)
		if from := l.from; from != nil && from.follows.(*counterLine).count != nil {
			c.count.inherit(from.follows.(*counterLine).count, at)
		} else {
			t, ok, err := keptTotal(l.p.opt.Store, l.name)
			if err != nil {
				l.p.opt.Log.Warn("a counter begins anew", "line", l.what(), "err", err)
			}
			if ok {
				c.count.resume(t)
				l.p.opt.Log.Info("a counter goes on", "line", l.what(), "total", c.count.Total(), "gaps", c.count.Gaps, "stopped", t.Stopped)
			}
		}
	}
	if c.filters(l.pin) {
		level, err := readLevel(l.pin)
		if err != nil {
			return nil, err
		}
		c.filter, c.seq = &Debounce{Stable: time.Duration(c.Debounce), On: c.input().state(level)}, 0
	}
	l.from = nil
	c.count.Begin(at)
	return nil, nil // advance tells
}

func (c *counterLine) edge(l *line, e Edge) (rs []devices.Reading, err error) {
	at := e.At.Sub(l.p.began)
	if c.filter == nil {
		c.lost += c.count.Edge(e.Seq, at)
		return nil, nil
	}
	if missing := e.Seq - c.seq - 1; missing > 0 { // nobody knows what they would have come to
		c.lost += uint64(missing)
		c.count.lost()
		if e.Level, err = readLevel(l.pin); err != nil {
			return nil, err
		}
		at = l.p.now()
	}
	c.seq = e.Seq
	if settled, when := c.filter.Level(c.input().state(e.Level), at); settled && c.filter.On {
		c.count.Pulse(1, when)
	}
	return nil, nil
}

func (c *counterLine) advance(l *line, at time.Duration) (rs []devices.Reading) {
	if c.filter != nil {
		if settled, when := c.filter.Advance(at); settled && c.filter.On {
			c.count.Pulse(1, when)
		}
	}
	c.look(l, at)
	if t, due := c.count.Report(at); due {
		rs = t.Readings(l.name, c.tally, l.p.moment(at))
		c.tally = &t
	}
	if t, within, due := c.count.keep(at); due {
		keepTotal(l.p.opt.Store, l.name, t, within)
	}
	return rs
}

// look tells the count what the clock shows.
func (c *counterLine) look(l *line, at time.Duration) {
	if now := l.p.moment(at); now.Known {
		c.count.Clock(now.Wall, at)
	}
}

func (c *counterLine) next() (at time.Duration, ok bool) {
	at = c.count.keeps()
	if reports, due := c.count.Next(); due {
		at = min(at, reports)
	}
	if c.filter != nil {
		if settles, waits := c.filter.Next(); waits {
			at = min(at, settles)
		}
	}
	return at, true
}

func (c *counterLine) end(l *line, at time.Duration, stopped bool) (rs []devices.Reading) {
	c.look(l, at)
	if stopped {
		if t := c.count.tally(at); c.tally == nil || t != *c.tally {
			rs = t.Readings(l.name, c.tally, l.p.moment(at))
			c.tally = &t
		}
	} else { // the total is what it was, but nobody knows the rate
		c.tally = nil
		rs = append(rs, devices.Reading{Source: l.name + ".rate", Bad: "the line has failed", Gone: true, At: l.p.moment(at)})
	}
	c.count.End(at)
	t := c.count.note(at)
	t.Stopped = stopped
	keepTotal(l.p.opt.Store, l.name, t, 0)
	return rs
}

func (c *counterLine) info(i *Info) {
	i.Lost = c.lost
	if c.tally == nil {
		return
	}
	i.Shows = devices.Text(c.tally.Total)
	if c.Unit != "" {
		i.Shows += " " + c.Unit
	}
	if c.tally.Known {
		i.Shows += fmt.Sprintf(", %s %s", devices.Text(c.tally.Rate), c.RateUnit())
	}
	switch gaps := c.tally.Gaps; {
	case gaps == 1:
		i.Shows += ", 1 gap"
	case gaps > 1:
		i.Shows += fmt.Sprintf(", %d gaps", gaps)
	}
}

// configure takes other settings over, of all that the line need not be taken
// anew for.
func (c *counterLine) configure(to Counter) {
	c.Counter = to
	if c.count != nil {
		c.count.Counter, c.count.fresh = to, true
	}
}

// SetTotal makes the total of a counter what its meter shows, in its unit. It is
// told and kept at once. The error says that there is no such counter, or that no
// meter shows such a number.
func (p *Pins) SetTotal(name string, total float64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.inputs, func(l *line) bool {
		c, ok := l.follows.(*counterLine)
		return ok && l.name == name && c.count != nil
	})
	switch {
	case p.closed:
		return fmt.Errorf("%s: the pins are closed", name)
	case i < 0:
		return p.noCounter(name)
	case math.IsNaN(total), total < 0, total > maxTotal:
		return fmt.Errorf("%s: want what the meter shows, a number from 0 to %.0f, not %v", name, maxTotal, total)
	}
	l := p.inputs[i]
	c, at := l.follows.(*counterLine), p.now()
	c.count.SetTotal(total)
	c.look(l, at)
	keepTotal(p.opt.Store, name, c.count.note(at), 0)
	l.poke()
	return nil
}

// noCounter is the error for a name that none has; p.mu is held.
func (p *Pins) noCounter(name string) error {
	var names []string
	for _, l := range p.inputs {
		if _, ok := l.follows.(*counterLine); ok {
			names = append(names, l.name)
		}
	}
	if slices.Contains(names, name) {
		return fmt.Errorf("counter %s is not at work yet", name)
	}
	if near, ok := config.Nearest(name, names); ok {
		return fmt.Errorf("no counter %q, did you mean %q?", name, near)
	}
	return fmt.Errorf("no counter %q", name)
}

// keptTotal is what the store holds of a counter. The error says that it makes no
// sense.
func keptTotal(st *store.Store, name string) (t total, ok bool, err error) {
	if st == nil {
		return t, false, nil
	}
	for key, value := range st.Each(store.Total) {
		if key == name {
			if err := json.Unmarshal(value, &t); err != nil {
				return total{}, false, fmt.Errorf("kept total: %w", err)
			}
			return t, true, nil
		}
	}
	return t, false, nil
}

func keepTotal(st *store.Store, name string, t total, within time.Duration) {
	if st == nil {
		return
	}
	value, err := json.Marshal(t)
	if err != nil {
		panic(err) // finite numbers always encode
	}
	st.Put(store.Record{Kind: store.Total, Key: name, Value: value}, within, nil)
}

// An encoderLine is what an encoder makes of its lines: it has the worker of the
// first. The second line is held with it, and has one that only waits.
type encoderLine struct {
	Encoder
	turns *Turns
	seq   uint32
}

func (e *encoderLine) kind() string  { return "encoder" }
func (e *encoderLine) where() string { return e.A + " and " + e.B }

func (e *encoderLine) take(l *line) error {
	pin, ok := l.pin.(pairer)
	if !ok {
		return fmt.Errorf("%w: it can't tell which of two lines changes first, so it can't be one of an encoder", errUnable)
	}
	return pin.InPair(l.other.pin, e.input().pull())
}

func (e *encoderLine) begin(l *line, at time.Duration) (rs []devices.Reading, err error) {
	a, b, err := l.pin.(pairer).Levels()
	if err != nil {
		return nil, err
	}
	if e.turns == nil {
		e.turns = NewTurns(e.Encoder)
		if l.from != nil {
			if was := l.from.follows.(*encoderLine).turns; was != nil {
				e.turns.Position, e.turns.Lost = e.within(was.Position), was.Lost
			}
		}
		l.from = nil
	}
	e.turns.Found(a, b, at)
	e.seq = 0
	r := e.position(l, at)
	r.Initial = true
	return []devices.Reading{r}, nil
}

func (e *encoderLine) position(l *line, at time.Duration) devices.Reading {
	return devices.Reading{Source: l.name, Value: e.turns.Position, Text: devices.Text(e.turns.Position), At: l.p.moment(at)}
}

func (e *encoderLine) edge(l *line, edge Edge) (rs []devices.Reading, err error) {
	at := edge.At.Sub(l.p.began)
	missing := edge.Seq - e.seq - 1
	e.seq = edge.Seq
	if missing > 0 {
		a, b, err := l.pin.(pairer).Levels()
		if err == nil {
			e.turns.Missed(uint64(missing), a, b, l.p.now())
		}
		return nil, err
	}
	before := e.turns.Position
	turned := float64(e.turns.Edge(edge.Second, edge.Level, at))
	if turned == 0 {
		return nil, nil
	}
	rs = append(rs, devices.Reading{Source: l.name + ".turn", Value: turned, Text: devices.Text(turned), At: l.p.moment(at), Event: true})
	if e.turns.Position != before {
		rs = append(rs, e.position(l, at))
	}
	return rs, nil
}

func (e *encoderLine) advance(_ *line, at time.Duration) []devices.Reading {
	e.turns.Advance(at)
	return nil
}

func (e *encoderLine) next() (time.Duration, bool) { return e.turns.Next() }

func (e *encoderLine) end(*line, time.Duration, bool) []devices.Reading { return nil }

func (e *encoderLine) info(i *Info) {
	if e.turns != nil {
		i.Lost = e.turns.Lost
		i.Shows = "at " + devices.Text(e.turns.Position)
	}
}

// The second line of an encoder is held in one request with the first, so it has
// no more to do than to wait: for its pin before, and then for the first, which
// lets both go.
func (l *line) followFirst() {
	defer close(l.done)
	if !l.taken {
		l.waitFree()
	}
	<-l.other.done
	l.p.left(l, l.name, nil)
}

// waitFree lets the first line go on once the pin of the second is free.
func (l *line) waitFree() {
	if l.after != nil {
		<-l.after.done
		l.after = nil
	}
	close(l.free)
}

// takeFollower is take for a line that no other of ours holds any more.
func (l *line) takeFollower() error {
	switch {
	case l.free != nil:
		l.waitFree()
		return nil
	case l.other != nil:
		<-l.other.free
	}
	return l.follows.take(l)
}

// giveBackSecond waits until the first line has been let go, if it was taken.
func (l *line) giveBackSecond() {
	l.p.mu.Lock()
	first := l.other.taken || l.other.taking
	l.p.mu.Unlock()
	if first {
		<-l.other.done
	}
	l.p.left(l, l.name, nil)
}

// contact is the one that Drive moves; ok is false if it is not one.
func (l *line) contact() (in Input, ok bool) {
	if l.in != nil {
		return *l.in, true
	}
	c, ok := l.follows.(*counterLine)
	if !ok {
		return in, false
	}
	return c.input(), true
}

// followers plans the counters and encoders; p.mu is held.
func (c *Change) followers(resolve func(name, pin string) gpio.PinIO) {
	c.counters = map[*line]Counter{}
	for _, n := range c.cfg.Counter {
		if pin := resolve(n.Name, n.Value.Pin); pin != nil {
			c.inputs = append(c.inputs, c.counter(c.p.lines[pin.String()], pin, n.Name, n.Value))
		}
	}
	for _, n := range c.cfg.Encoder {
		a, b := resolve(n.Name, n.Value.A), resolve(n.Name, n.Value.B)
		if a != nil && b != nil {
			c.inputs = append(c.inputs, c.encoder(a, b, n.Name, n.Value))
		}
	}
}

// counter finds or makes the line of a counter. held is the one that has its pin
// now, or nil.
func (c *Change) counter(held *line, pin gpio.PinIO, name string, n Counter) *line {
	if held != nil && held.name == name {
		if is, ok := held.follows.(*counterLine); ok && is.input() == n.input() {
			if is.Counter != n {
				c.counters[held] = n
			}
			return held
		}
	}
	l := c.add(held, pin, name, nil, nil)
	l.follows, l.wake = &counterLine{Counter: n}, make(chan struct{}, 1)
	if from := find(c.p.inputs, name); from != nil {
		if _, ok := from.follows.(*counterLine); ok {
			l.from = from
		}
	}
	return l
}

// encoder finds or makes the lines of an encoder, and gives the first.
func (c *Change) encoder(a, b gpio.PinIO, name string, e Encoder) *line {
	heldA, heldB := c.p.lines[a.String()], c.p.lines[b.String()]
	if heldA != nil && heldB != nil && heldA.other == heldB && heldA.free == nil && heldA.name == name && heldA.follows.(*encoderLine).same(e) {
		return heldA
	}
	first, second := c.add(heldA, a, name, nil, nil), c.add(heldB, b, name, nil, nil)
	follows := &encoderLine{Encoder: e}
	for _, l := range []*line{first, second} {
		l.follows, l.wake = follows, make(chan struct{}, 1)
		if i := slices.Index(c.fresh, l); i >= 0 && (heldA != nil || heldB != nil) { // they are taken together
			l.taking = false
			c.fresh = slices.Delete(c.fresh, i, i+1)
			c.renewed = append(c.renewed, l)
		}
	}
	first.other, second.other, second.free = second, first, make(chan struct{})
	if from := find(c.p.inputs, name); from != nil && from.other != nil {
		first.from = from
	}
	return first
}

func (e *encoderLine) same(o Encoder) bool { return reflect.DeepEqual(e.Encoder, o) }

// checkFollowers reports what is wrong with counters and encoders; pin checks one
// of their pins.
func (c *Config) checkFollowers(at config.Place, pin func(pin string, at config.Place)) {
	names := map[string]config.Place{}
	for _, o := range c.Output {
		names[o.Name] = at.Key("output").Key(o.Name)
	}
	for _, i := range c.Input {
		names[i.Name] = at.Key("input").Key(i.Name)
	}
	for _, v := range c.Cover {
		names[v.Name] = at.Key("cover").Key(v.Name)
	}
	check := func(name string, at config.Place, pins map[string]string) {
		if other, taken := names[name]; taken {
			at.Mistake("%s has this name too, at %v: want another", other, other.Position())
		}
		names[name] = at
		for _, key := range slices.Sorted(maps.Keys(pins)) {
			if pins[key] != "" || at.Key(key).Given() { // else it is reported as missing
				pin(pins[key], at.Key(key))
			}
		}
	}
	for _, n := range c.Counter {
		check(n.Name, at.Key("counter").Key(n.Name), map[string]string{"pin": n.Value.Pin})
		c.checkInput(Input{Pin: n.Value.Pin, Pull: n.Value.Pull}, at.Key("counter").Key(n.Name))
	}
	for _, n := range c.Encoder {
		check(n.Name, at.Key("encoder").Key(n.Name), map[string]string{"a": n.Value.A, "b": n.Value.B})
		for _, pin := range []string{n.Value.A, n.Value.B} {
			if expander, _, ok := onExpander(pin); ok && at.Key("encoder").Key(n.Name).Sound() {
				if _, ok := c.Expander.Get(expander); ok {
					at.Key("encoder").Key(n.Name).Mistake("want two pins of the Raspberry Pi: those of an expander are looked at too seldom to follow a hand")
					break
				}
			}
		}
	}
}
