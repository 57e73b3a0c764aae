package gpio

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// Cover is a shutter, a blind or a curtain: a motor with an output for each
// direction, of which it is known how long the whole way takes.
type Cover struct {
	Up   string `toml:"up,required" eg:"\"bedroom_up\""`
	Down string `toml:"down,required" eg:"\"bedroom_down\""`

	// OpenTime is how long the way up takes from closed to open, CloseTime the
	// way down.
	OpenTime  config.Duration `toml:"open_time,required" min:"100ms" max:"30m" eg:"\"24s\""`
	CloseTime config.Duration `toml:"close_time,required" min:"100ms" max:"30m" eg:"\"22s\""`

	// Gap is how long both outputs are off before the motor turns round; default
	// "500ms". The two are interlocked with it.
	Gap config.Duration `toml:"gap" min:"1ms" max:"1m" eg:"\"500ms\""`

	// Overrun is how much longer it runs at an end, so that it is there for sure:
	// a share of the whole way, or a time. Default "10%".
	Overrun Overrun `toml:"overrun" eg:"\"10%\""`

	// Delay is how long the motor has power before it moves.
	Delay config.Duration `toml:"delay" max:"10s" eg:"\"300ms\""`

	devices.Shown
}

// Overrun is a share of a way or a time: "10%", "2s". The zero value is 10%.
type Overrun struct {
	given bool
	share float64
	time  config.Duration
}

// UnmarshalText reads an overrun as the owner writes it.
func (o *Overrun) UnmarshalText(text []byte) error {
	*o = Overrun{given: true}
	if percent, ok := strings.CutSuffix(string(text), "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
		if err != nil || !(p >= 0 && p <= 100) {
			return errors.New(`want a share from "0%" to "100%"`)
		}
		o.share = p / 100
		return nil
	}
	d, err := config.ParseDuration(string(text))
	if err != nil || d > config.Duration(10*time.Minute) {
		return errors.New(`want a share such as "10%", or a time of at most "10m" such as "2s"`)
	}
	o.time = d
	return nil
}

func (o Overrun) of(way time.Duration) time.Duration {
	if !o.given {
		o.share = 0.1
	}
	return time.Duration(o.share*float64(way)) + time.Duration(o.time)
}

func (c Cover) gap() time.Duration {
	if c.Gap == 0 {
		return 500 * time.Millisecond
	}
	return time.Duration(c.Gap)
}

// The two directions of a motor; 0 is none.
const (
	up   = +1
	down = -1
)

// output is the one that drives in a direction.
func (c Cover) output(dir int) string {
	if dir == up {
		return c.Up
	}
	return c.Down
}

// way is how long the whole of it takes, and whole with all that may come on top.
func (c Cover) way(dir int) time.Duration {
	if dir == up {
		return time.Duration(c.OpenTime)
	}
	return time.Duration(c.CloseTime)
}

func (c Cover) whole(dir int) time.Duration {
	return time.Duration(c.Delay) + c.way(dir) + c.Overrun.of(c.way(dir))
}

// Locks are all interlocks: those that are declared, and the outputs of each
// cover.
func (c *Config) Locks() config.Table[Interlock] {
	locks := append(config.Table[Interlock]{}, c.Interlock...)
	for _, v := range c.Cover {
		locks = append(locks, config.Named[Interlock]{Name: v.Name, Value: Interlock{
			Outputs: []string{v.Value.Up, v.Value.Down}, Gap: config.Duration(v.Value.gap())}})
	}
	return locks
}

// checkCovers reports covers that could not be driven, or not to where they are
// to be.
func (c *Config) checkCovers(at config.Place) {
	drives := map[string]string{} // by output: its cover
	for _, v := range c.Cover {
		here, cover := at.Key("cover").Key(v.Name), v.Value
		for _, wired := range []struct {
			kind  string
			names []string
		}{{"output", c.Output.Names()}, {"input", c.Input.Names()}} {
			for _, name := range wired.names {
				if name == v.Name {
					here.Mistake("an %s has this name, at %v: want another", wired.kind, at.Key(wired.kind).Key(name).Position())
				}
			}
		}
		for _, dir := range []int{up, down} {
			key := "up"
			if dir == down {
				key = "down"
			}
			if cover.output(dir) != "" || here.Key(key).Given() { // else it is reported as missing
				c.checkDrive(here.Key(key), at.Key("output"), v, dir, drives)
			}
		}
	}
}

func (c *Config) checkDrive(here, outputs config.Place, v config.Named[Cover], dir int, drives map[string]string) {
	cover, name := v.Value, v.Value.output(dir)
	there := outputs.Key(name)
	o, ok := c.Output.Get(name)
	near, isNear := config.Nearest(name, c.Output.Names())
	switch other, taken := drives[name]; {
	case name == "":
		here.Mistake("want the name of an output")
		return
	case !ok && isNear:
		here.Mistake("no such output, did you mean %q?", near)
		return
	case !ok:
		here.Mistake("%s", noOutput(name))
		return
	case taken && other == v.Name:
		here.Mistake("up and down are the same output: want two")
		return
	case taken:
		here.Mistake("cover.%s has this output already: want another", other)
		return
	}
	drives[name] = v.Name
	if o.Safe == "on" || o.Safe == "hold" {
		there.Key("safe").Mistake(`want "off": it drives cover.%s, which must not move when nobody looks after it`, v.Name)
	}
	if o.Initial == "on" {
		there.Key("initial").Mistake(`want "off": it drives cover.%s, which stands still at start`, v.Name)
	}
	if o.MinOn > 0 {
		there.Key("min_on").Mistake("want none: it drives cover.%s, which could not stop in time", v.Name)
	}
	for key, given := range map[string]bool{"momentary": o.Momentary > 0, "lifetime": o.Lifetime > 0, "period": o.Period > 0, "frequency": o.Frequency > 0} {
		if given {
			there.Key(key).Mistake("want none: it drives cover.%s, which says how long it is on", v.Name)
		}
	}
	if least := cover.whole(dir) + time.Second; o.MaxOn > 0 && time.Duration(o.MaxOn) < least {
		there.Key("max_on").Mistake("want at least %q: so long cover.%s runs to its end, with the overrun and a second to spare", config.Duration(least), v.Name)
	}
}

// Covers knows where the covers of a configuration are and drives them to where
// they are to be. It starts nothing and reads no clock. What it wants of outputs
// it gives as [Turn]s, to be passed to [Guard.Command] at once and in order; the
// guard's interlock makes sure that no motor ever has both directions.
//
// The position is computed from when each output was on, which whoever has it
// tells with [Covers.Level], whatever made it so. Where a cover may be is a range
// that moves with the motor and is cut at the ends. It is known where that is one
// point: so a cover of which nothing is known is found by a run to one end.
//
// A cover that somebody drives by one of its outputs runs on to that end.
type Covers struct {
	covers []*cover // in the order of the configuration
}

type cover struct {
	name string
	Cover
	wires [2]string // pins or topics of its outputs: the same motor has the same

	// Where it may be, from 0 closed to 1 open, when the run began.
	low, high float64
	run       int           // the direction in which its outputs are seen to drive it
	began     time.Duration // when that began
	on        [2]bool       // how its outputs are: up, down
	unread    [2]bool       // it is not known how they are

	asked int           // the direction in which its outputs were told to drive it
	told  bool          // the output has been told, and not only asked for
	since time.Duration // when
	last  int           // the direction in which it moved last
	goal  *goal

	said   Position
	saidAt time.Duration
	spoke  bool
}

// A goal is where a cover is to be.
type goal struct {
	to   float64
	home int // the end to be found before, for nobody knows where it is; 0: none
}

// A Turn is what an output of a cover is to be told.
type Turn struct {
	Cover  string
	Output string
	On     bool
}

// A Position is where a cover is.
type Position struct {
	Cover   string
	Percent float64 // 0 closed to 100 open, whole; only at an end it is that of the end
	Known   bool
	Moving  string // "opening", "closing" or "stopped"
	First   bool   // nothing was told of it before
}

// Readings are a position as the house hears it: of the cover itself, where it is,
// and of "<name>.moving".
func (p Position) Readings() []devices.Reading {
	where := devices.Reading{Source: p.Cover, Gone: true}
	if p.Known {
		where = devices.Reading{Source: p.Cover, Value: p.Percent, Text: devices.Text(p.Percent)}
	}
	return []devices.Reading{where, {Source: p.Cover + ".moving", Value: p.Moving, Text: p.Moving}}
}

// String is a position in words: "40 % open, closing".
func (p Position) String() string {
	switch {
	case !p.Known:
		return "somewhere, " + p.Moving
	case p.Percent == 0:
		return "closed, " + p.Moving
	case p.Percent == 100:
		return "open, " + p.Moving
	}
	return fmt.Sprintf("%v %% open, %s", p.Percent, p.Moving)
}

const (
	// tellEvery is how often a position is told while it changes.
	tellEvery = time.Second
	// patience is how long an output that was told to be on may take.
	patience = 5 * time.Second
	// closeEnough is how far from its goal a cover is left alone.
	closeEnough = 0.005
)

// NewCovers are covers that stand still, nobody knows where. The configuration
// must be one that Check found sound.
func NewCovers(cfg Config) *Covers {
	cs := &Covers{}
	for _, v := range cfg.Cover {
		c := &cover{name: v.Name, Cover: v.Value, high: 1}
		for i, dir := range []int{up, down} {
			if o, ok := cfg.Output.Get(v.Value.output(dir)); ok {
				c.wires[i] = o.where()
			}
		}
		cs.covers = append(cs.covers, c)
	}
	return cs
}

// Has reports whether there is a cover of that name.
func (cs *Covers) Has(name string) bool { return cs.find(name) != nil }

func (cs *Covers) find(name string) *cover {
	for _, c := range cs.covers {
		if c.name == name {
			return c
		}
	}
	return nil
}

// by is the cover that an output drives, and in which direction; nil if none.
func (cs *Covers) by(output string) (c *cover, dir int) {
	for _, c := range cs.covers {
		switch output {
		case c.Up:
			return c, up
		case c.Down:
			return c, down
		}
	}
	return nil, 0
}

func index(dir int) int {
	if dir == up {
		return 0
	}
	return 1
}

// Command says where a cover is to be: true for open, false for closed, a number from 0 (closed) to 100 (open), "stop" for where it is, or
// [devices.Toggle], which stops it or sends it the other way than it last went.
// The error says what is wrong with that, or that there is no such cover.
func (cs *Covers) Command(name string, value any, at time.Duration) ([]Turn, error) {
	c := cs.find(name)
	if c == nil {
		return nil, fmt.Errorf("no cover %q", name)
	}
	to, stop := 0.0, false
	switch v := value.(type) {
	case bool:
		to = end(v)
	case float64:
		if !(v >= 0 && v <= 100) {
			return nil, fmt.Errorf("%s: want a position from 0 (closed) to 100 (open), not %v", name, v)
		}
		to = v / 100
	case devices.Toggle:
		stop = c.asked != 0
		if to = end(c.last != up); c.low == to && c.high == to {
			to = 1 - to
		}
	case string:
		if stop = v == "stop"; !stop {
			return nil, fmt.Errorf("%s: want open, close, stop or a position from 0 to 100, not %q", name, v)
		}
	default:
		return nil, fmt.Errorf("%s: want a position from 0 to 100, not %v", name, value)
	}
	if stop {
		return c.halt(), nil
	}
	c.low, c.high, c.began = c.move(at) // what lies behind it now was passed before
	c.goal = &goal{to: to}
	turns := c.pursue(at)
	if c.goal == nil { // it is there
		return c.halt(), nil
	}
	return turns, nil
}

// halt is stop where somebody wants it to stand still: one of the outputs may wait
// to go on because of somebody else.
func (c *cover) halt() []Turn {
	c.stop()
	return []Turn{{c.name, c.Up, false}, {c.name, c.Down, false}}
}

func end(open bool) float64 {
	if open {
		return 1
	}
	return 0
}

// Told notes that an output was told to be on or off, by whomever. Where it was
// not by its cover, that gives up where it wanted to be, and adopted is the cover
// that now goes to the end to which the output drives it; else "".
func (cs *Covers) Told(output string, on bool, at time.Duration) (adopted string) {
	c, dir := cs.by(output)
	switch {
	case c == nil:
	case on && c.asked == dir:
		c.told, c.since = true, at
	case on:
		c.ask(dir)
		c.goal = &goal{to: end(dir == up)}
		c.told, c.since = true, at
		return c.name
	case c.asked == dir:
		c.ask(0)
		c.goal = nil
	}
	return ""
}

// Drove is Told for what a guard has decided. A command that came to nothing
// because the same was asked again is still to come.
func (cs *Covers) Drove(g *Guard, d Drive, at time.Duration) (adopted string) {
	if w, waits := g.Waiting(d.Output); d.Same && waits && w.On {
		return ""
	}
	return cs.Told(d.Output, d.On, at)
}

// Level says how an output is seen to be, each time that this is looked at.
func (cs *Covers) Level(output string, on bool, at time.Duration) []Turn {
	c, dir := cs.by(output)
	if c == nil {
		return nil
	}
	i := index(dir)
	if c.on[i] == on && !c.unread[i] {
		return nil
	}
	c.low, c.high, _ = c.move(at)
	c.on[i], c.unread[i], c.began = on, false, at
	switch c.run = 0; {
	case c.on[0] && c.on[1]: // which must not be; nobody knows what the motor does
		c.low, c.high = 0, 1
	case c.on[0]:
		c.run, c.last = up, up
	case c.on[1]:
		c.run, c.last = down, down
	}
	return c.pursue(at)
}

// Lost says that it can't be seen how an output is. Where the cover is nobody
// knows from then on, and it is to stop.
func (cs *Covers) Lost(output string, at time.Duration) []Turn {
	c, dir := cs.by(output)
	if c == nil || c.unread[index(dir)] {
		return nil
	}
	c.unread[index(dir)] = true
	c.low, c.high = 0, 1
	return c.stop()
}

// stop gives up where it wanted to be and switches off what is on.
func (c *cover) stop() (turns []Turn) {
	for i, dir := range []int{up, down} {
		if c.asked == dir || c.on[i] {
			turns = append(turns, Turn{c.name, c.output(dir), false})
		}
	}
	c.goal = nil
	c.ask(0)
	return turns
}

func (c *cover) ask(dir int) { c.asked, c.told = dir, false }

// drive asks for a direction. The guard sees to it that the other output is off.
func (c *cover) drive(dir int) []Turn {
	if dir == c.asked {
		return nil
	}
	c.ask(dir)
	if c.unread[index(-dir)] { // to see whether it can be read now
		return []Turn{{c.name, c.output(-dir), false}, {c.name, c.output(dir), true}}
	}
	return []Turn{{c.name, c.output(dir), true}}
}

// move is where it may be at a moment, and from when a run that goes on is to be
// reckoned if that is noted.
func (c *cover) move(at time.Duration) (low, high float64, began time.Duration) {
	low, high, began = c.low, c.high, c.began
	if c.unread[0] || c.unread[1] {
		return 0, 1, at
	}
	moved := at - c.began - time.Duration(c.Delay)
	if c.run == 0 || moved <= 0 {
		return low, high, began
	}
	step := float64(c.run) * float64(moved) / float64(c.way(c.run))
	cut := func(p float64) float64 { return max(0, min(1, p+step)) }
	return cut(low), cut(high), at - time.Duration(c.Delay)
}

// ends is when the run has brought it to its end for sure, with the overrun.
func (c *cover) ends() time.Duration {
	left := c.high
	if c.run == up {
		left = 1 - c.low
	}
	return c.arrives(left) + c.Overrun.of(c.way(c.run))
}

// arrives is when the run has gone a share of the whole way.
func (c *cover) arrives(share float64) time.Duration {
	return c.began + time.Duration(c.Delay) + time.Duration(math.Ceil(share*float64(c.way(c.run))))
}

// due is when a run that goes to where it is to go is over.
func (c *cover) due() (time.Duration, bool) {
	switch {
	case c.goal == nil || c.run == 0 || c.run != c.asked:
		return 0, false
	case c.goal.home != 0 || c.goal.to == 0 || c.goal.to == 1:
		return c.ends(), true
	}
	return c.arrives((c.goal.to - c.low) * float64(c.run)), true
}

// ahead reports whether the run leads to where it is to go.
func (c *cover) ahead() bool {
	switch c.goal.to {
	case 0:
		return c.run == down
	case 1:
		return c.run == up
	}
	return (c.goal.to-c.low)*float64(c.run) >= 0
}

// pursue is what is to be done at a moment to come to where it is to be.
func (c *cover) pursue(at time.Duration) []Turn {
	g := c.goal
	if g == nil {
		return nil
	}
	low, high, _ := c.move(at)
	known := low == high
	if !known && g.home == 0 && g.to != 0 && g.to != 1 {
		g.home = down
		if g.to > 0.5 {
			g.home = up
		}
	}
	if g.home != 0 {
		if due, runs := c.due(); !runs || c.run != g.home || at < due {
			return c.drive(g.home)
		}
		if !known { // an output can't be read
			return c.stop()
		}
		g.home = 0
		c.low, c.high, c.began = c.move(at) // from this end on
	}
	if due, runs := c.due(); runs && c.ahead() {
		if at < due {
			return nil
		}
		return c.stop()
	}
	toward, near := up, closeEnough
	switch {
	case g.to == 0 || g.to == 1:
		near = 0
		if g.to == 0 {
			toward = down
		}
	case low > g.to:
		toward = down
	}
	if known && c.asked != toward && math.Abs(low-g.to) <= near {
		return c.stop() // it is there
	}
	return c.drive(toward)
}

// Advance is what outputs are to be told because it is now at.
func (cs *Covers) Advance(at time.Duration) (turns []Turn) {
	for _, c := range cs.covers {
		if due, waits := c.givesUp(); waits && due <= at {
			turns = append(turns, c.stop()...)
		}
		if due, ok := c.due(); ok && due <= at {
			turns = append(turns, c.pursue(at)...)
		}
	}
	return turns
}

// givesUp is when it no longer waits for an output that was told to be on.
func (c *cover) givesUp() (time.Duration, bool) {
	return c.since + patience, c.asked != 0 && c.told && c.run != c.asked
}

// Next is when Advance or News has something to do.
func (cs *Covers) Next() (at time.Duration, ok bool) {
	at = math.MaxInt64
	look := func(due time.Duration, is bool) {
		if is && due < at {
			at, ok = due, true
		}
	}
	for _, c := range cs.covers {
		look(c.givesUp())
		look(c.due())
		look(c.saidAt+tellEvery, c.run != 0)
	}
	return at, ok
}

// News are the covers of which something is to be told, now that it is at: what
// has changed, and about every second where one is that moves. The first time all
// are told.
func (cs *Covers) News(at time.Duration) (news []Position) {
	for _, c := range cs.covers {
		now := c.position(at)
		turn := now.Moving != c.said.Moving || now.Known != c.said.Known || !c.spoke
		due := c.run == 0 || at >= c.saidAt+tellEvery
		if turn || due {
			c.saidAt = at
			if now != c.said || !c.spoke {
				c.said = now
				now.First, c.spoke = !c.spoke, true
				news = append(news, now)
			}
		}
	}
	return news
}

// Position is where a cover is at a moment.
func (cs *Covers) Position(name string, at time.Duration) (Position, bool) {
	if c := cs.find(name); c != nil {
		return c.position(at), true
	}
	return Position{}, false
}

func (c *cover) position(at time.Duration) Position {
	p := Position{Cover: c.name, Moving: "stopped"}
	switch c.run {
	case up:
		p.Moving = "opening"
	case down:
		p.Moving = "closing"
	}
	low, high, _ := c.move(at)
	if p.Known = low == high; p.Known {
		if p.Percent = math.Round(100 * low); low > 0 && low < 1 {
			p.Percent = max(1, min(99, p.Percent))
		}
	}
	return p
}

// A Place is where a cover may be, from 0 closed to 1 open: what is to be kept of
// it over a restart.
type Place struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Place is where a cover stands. It may be anywhere while it moves or is about to:
// so after a crash nobody claims to know it.
func (cs *Covers) Place(name string) Place {
	c := cs.find(name)
	if c == nil || c.run != 0 || c.asked != 0 || c.unread[0] || c.unread[1] {
		return Place{0, 1}
	}
	return Place{c.low, c.high}
}

// Started says where a cover was left. What can't be is taken for not known.
func (cs *Covers) Started(name string, p Place) {
	if c := cs.find(name); c != nil && p.Low >= 0 && p.Low <= p.High && p.High <= 1 {
		c.low, c.high = p.Low, p.High
	}
}

// same reports whether two covers are the same motor.
func (c *cover) same(as *cover) bool {
	return c.name == as.name && c.wires == as.wires && c.Up == as.Up && c.Down == as.Down
}

// adopt takes over from an earlier configuration where each cover is and where it
// is to be. One on other wires is another.
func (cs *Covers) adopt(from *Covers, at time.Duration) {
	for _, c := range cs.covers {
		was := from.find(c.name)
		if was == nil || !c.same(was) {
			continue
		}
		now := *was
		now.low, now.high, now.began = was.move(at)
		if now.began != was.began { // the motor moves, whatever it is said to wait
			now.began = at - time.Duration(c.Delay)
		}
		now.Cover = c.Cover
		*c = now
	}
}
