package sensor

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"hearth/devices"
	"hearth/gpio/bus"
)

const (
	// Limit is how long one measurement may take.
	Limit = 10 * time.Second

	closeLimit = time.Second // for measurements under way at Close
)

// Options for [Open]. Buses, Now and Feed are needed.
type Options struct {
	Root  string     // where sys is, "/" by default
	Buses *bus.Buses // with the configuration that the sensors were checked against
	Now   func() devices.Now

	// Feed takes each reading, a number for "<name>.<property>": the first with
	// Initial, all of one measurement one after the other. When the sensor is
	// unavailable each property has one that is Bad and Gone. It may be called by
	// several goroutines, under a lock that Reload and Close need, and so must not
	// block.
	Feed func(devices.Reading)

	Log *slog.Logger // nil: silent
}

// Sensors are the sensors of a configuration, at work. The methods may be called
// from any goroutine.
type Sensors struct {
	opt   Options
	began time.Time
	turns turns

	mu      sync.Mutex
	byName  map[string]*runner
	leaving map[*runner]bool // those that are told to stop and are not done
	closed  bool
}

// Open begins to measure. It never fails: a sensor that can't be had is
// unavailable until it can.
func Open(cfg Config, opt Options) *Sensors {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Root == "" {
		opt.Root = "/"
	}
	s := &Sensors{opt: opt, began: time.Now(), byName: map[string]*runner{}, leaving: map[*runner]bool{}}
	s.Reload(cfg)
	return s
}

// Reload takes a new configuration; the buses have theirs already. Sensors that are the same go on; one that
// is changed begins anew once the one before has let its chip go. Nothing is told
// any more of a sensor that is not in it; of one that lost a property it is told
// that this is gone.
func (s *Sensors) Reload(cfg Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	before := s.byName
	s.byName = make(map[string]*runner, len(cfg.Sensor))
	var fresh []*runner
	for _, c := range cfg.Sensor {
		c.Value.Shown = devices.Shown{} // no chip is another by what people call it
		path := ""
		if c.Value.Type != "" {
			path = s.opt.Buses.Path(c.Value.Bus)
		}
		old := before[c.Name]
		if old != nil && old.path == path && reflect.DeepEqual(old.track.s, c.Value) {
			s.byName[c.Name] = old
			delete(before, c.Name)
			continue
		}
		r := &runner{
			of: s, path: path, track: newTrack(c.Name, c.Value, s.now()), read: s.reader(c.Value, path),
			quit: make(chan struct{}), done: make(chan struct{}),
		}
		s.byName[c.Name] = r
		fresh = append(fresh, r)
		if old != nil {
			for _, p := range old.track.s.Measures() {
				if !slices.Contains(r.track.s.Measures(), p) {
					s.feed(lost(c.Name, p, "it is no longer measured"))
				}
			}
		}
	}
	for _, old := range before {
		close(old.quit)
		old.removed = true
		s.leaving[old] = true
	}
	var after []<-chan struct{} // any of those may have what a new one needs
	for old := range s.leaving {
		after = append(after, old.done)
	}
	for _, r := range fresh {
		go r.run(after)
	}
}

// Close ends all measurements. It waits for those under way, but not long for one
// that hangs. Feed is not called any more.
func (s *Sensors) Close() {
	s.mu.Lock()
	s.closed = true
	for _, r := range s.byName {
		close(r.quit)
		r.removed = true
		s.leaving[r] = true
	}
	s.byName = nil
	var ending []*runner
	for r := range s.leaving {
		ending = append(ending, r)
	}
	s.mu.Unlock()
	timeout := time.NewTimer(closeLimit)
	defer timeout.Stop()
	for _, r := range ending {
		select {
		case <-r.done:
		case <-timeout.C:
			s.opt.Log.Warn("a sensor that hangs is left behind", "sensor", r.track.name)
			return
		}
	}
}

// now is the time that tracks go by.
func (s *Sensors) now() time.Duration { return time.Since(s.began) }

func (s *Sensors) feed(r devices.Reading) {
	r.At = s.opt.Now()
	s.opt.Feed(r)
}

// A runner is one sensor at work.
type runner struct {
	of   *Sensors
	path string // of its bus
	read reader
	quit chan struct{}
	done chan struct{} // closed when it has let go of all

	// Guarded by of.mu, but for what of track never changes:
	track   *track
	removed bool
}

// A result is what came of one measurement.
type result struct {
	values map[string]float64
	err    error
}

// run measures each interval, and looks when the sensor expires, until quit.
func (r *runner) run(after []<-chan struct{}) {
	var busy chan result // of the measurement under way
	defer func() {
		if busy != nil {
			<-busy
		}
		r.read.close()
		close(r.done)
		r.of.mu.Lock()
		delete(r.of.leaving, r)
		r.of.mu.Unlock()
	}()
	tick := time.NewTicker(r.track.s.interval())
	defer tick.Stop()
	limit := time.NewTimer(Limit)
	limit.Stop()
	defer limit.Stop()
	expire := time.NewTimer(0)
	defer expire.Stop()

	late := false // the measurement under way has been given up
	begin := func() {
		busy, late = make(chan result, 1), false
		go func(out chan<- result, until time.Time) {
			values, err := r.read.measure(until)
			out <- result{values, err}
		}(busy, time.Now().Add(Limit))
		limit.Reset(Limit)
	}
	step := func(f func(now time.Duration) []devices.Reading) {
		if at, ok := r.tell(f); ok {
			expire.Reset(max(0, at-r.of.now()))
		} else {
			expire.Stop()
		}
	}
	if len(after) == 0 {
		begin()
	}
	for {
		var wait <-chan struct{}
		if len(after) > 0 {
			wait = after[0]
		}
		select {
		case <-r.quit:
			return
		case <-wait:
			if after = after[1:]; len(after) == 0 {
				begin()
			}
		case <-tick.C:
			if busy == nil && len(after) == 0 {
				begin()
			}
		case <-limit.C:
			late = true
			step(func(now time.Duration) []devices.Reading {
				return r.track.failed(fmt.Sprintf("it has not answered for %v", Limit), now)
			})
		case res := <-busy:
			busy = nil
			limit.Stop()
			switch {
			case late: // what it says is old
			case res.err != nil:
				step(func(now time.Duration) []devices.Reading { return r.track.failed(res.err.Error(), now) })
			default:
				step(func(now time.Duration) []devices.Reading { return r.track.measured(res.values, now) })
			}
		case <-expire.C:
			step(r.track.expired)
		}
	}
}

// tell lets the track decide and feeds what it says, unless the sensor is out of
// the house. It gives back when to look again.
func (r *runner) tell(f func(now time.Duration) []devices.Reading) (at time.Duration, ok bool) {
	s := r.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.removed {
		return 0, false
	}
	t := r.track
	gone := t.gone
	for _, reading := range f(s.now()) {
		s.feed(reading)
	}
	switch {
	case t.gone && !gone:
		s.opt.Log.Warn("a sensor is unavailable", "sensor", t.name, "what", t.s.String(), "err", t.why())
	case gone && !t.gone:
		s.opt.Log.Info("a sensor is available again", "sensor", t.name)
	}
	return t.expires()
}

// Fault says why a sensor is unavailable; "" if it is not, or not known to be.
func (s *Sensors) Fault(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byName[name]; r != nil && r.track.gone {
		return r.track.why()
	}
	return ""
}
