// Package history remembers what happened: readings, what the rules decided, who
// came and went. One recording serves charts, the question why, and replay.
//
//	Event, Decided, Seen, Note      what happens, in its order; none waits for the disk
//	Flush, Close                    what is in memory goes to the disk
//	Series, Readings, Changed       values as they were
//	Chart, Days, Stats              values made fewer: averages, times on, counts
//	Decision, Decisions, Notes      what was decided, and what else there was
//	Entries                         all of it, bit for bit, to let it happen again
//
// It is kind to a card: what comes in is packed in memory, a few bytes a reading,
// and written every ten minutes. A power cut costs what was not written yet.
// Memory is bounded: what a disk does not take is dropped, the oldest first.
//
// A Raspberry Pi may not know the time when it starts. What it hears until then
// is kept by the monotonic clock, and placed as soon as both are known; see
// [Point]. The order of things is the order in which they came, whatever clocks say.
//
// # Where things are
//
//	format.go      rows and their checksums
//	readings.go    the readings of one series
//	stream.go      what is compressed: decisions, other events, messages
//	record.go      structs as bytes
//	segment.go     what is flushed together, and which clock it had
//	history.go     what comes in; the goroutine that writes
//	log.go         the newest segments
//	disk.go        the database, and the log before it
//	room.go        how much of the disk it may have
//	days.go        what is done when a day is over, and what goes then
//	query.go       what is asked
//	before.go      decisions about something, the newest first
//	words.go       which segments need not be looked at for that
//	rollup.go      values made fewer
//	alone.go       read where no hub runs
//	copy.go        for a backup, and back
//	config.go      [history]
//
// Of a file that is damaged:
//
//	check.go       does SQLite account for each page?
//	pages.go       rows, by the pages alone
//	damage.go      what is found, what is done about it, and what people are told
//	salvage.go     what is good goes into a new file
//	gate.go        nobody reads meanwhile
package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// File is the name of the database in the folder that Open gets.
const File = "history.db"

const (
	maxOpen    = 1 << 20 // bytes of a segment in memory; then it goes to the disk
	maxPending = 4 << 20 // bytes that may wait for the disk
	maxName    = 2000    // bytes of a series' name
	maxNames   = 50_000  // series: a device that invents topics must not fill the memory
	retryAfter = time.Minute
)

// Options are what the house lends its history. The zero value will do.
type Options struct {
	Log  *slog.Logger
	Now  func() devices.Now // the present moment; default the machine's clock, not known to be right
	Zone *time.Location     // in which moments are given and days begin; default the machine's
	Boot string             // names this life of the machine, to which monotonic times belong; an Event of the kind Open tells it too

	rest     time.Duration // of a scrub between two segments, at least
	patience time.Duration // for the file to open; then the house starts without it
}

// A Note is something that happened to the hub, for people to read.
type Note struct {
	At   devices.Now
	Kind string // "start", "stop", "reload", "client", "device", "clock"
	Name string // of whom it is about
	Text string
}

// A Health is how history fares.
type Health struct {
	Bytes    int64     // of the file, when it was written last
	Segments int       // on the disk
	Series   int       // that are known
	Pending  int       // bytes that wait for the disk
	Oldest   time.Time // the begin of the oldest readings that are there in full; zero: there are none
	Damaged  int       // rows that were found damaged since the start
	Lost     int       // entries that were dropped since the start: the disk did not take them, or there was no room
	Dropped  int       // days of readings that went before their time, for want of room
	Err      string    // why the disk takes nothing at present; "" if it does
	Checked  time.Time // when the whole file was last looked through; zero: not since the start
	Losses   []Loss    // what damage to the file has cost since the start
	Found    []string  // how the file was found damaged since the start, and what became of it
}

// A series is one as the loop meets it.
type series struct {
	nameRow
	number   uint32
	excluded bool
	band     float64 // of its numbers
	recorded float64 // the last number that was, for band
	has      bool    // there is one
	dirty    bool    // its name row is to be written
}

// A History is open until Close. Its methods may be called from any goroutine.
type History struct {
	opt  Options
	disk *disk

	mu         sync.Mutex // no one holds it while waiting for anything
	cfg        Config
	closed     bool
	order      uint64 // of the next entry
	segments   []*head
	times      timeline         // of segments
	listed     uint64           // the last segment of which the table day has the head
	rolledDays map[int64]dayRow // of which there are rollups, since 1970; not all that are older than segments
	waiting    []*segment
	writing    bool     // the first of waiting is on its way
	open       *segment // nil: nothing has happened since the last
	next       uint64   // segment
	session    uint64
	boot       uint64
	life       uint64
	named      map[string]*series
	numbered   map[uint32]*series
	number     uint32 // of the next series
	allNames   bool   // the next segment has the names of all
	namesDay   int64  // the day in which that was so last
	health     Health
	tooMany    bool // the log has been told that there are too many series

	starting bool     // nobody knows yet where the file ends
	queue    []queued // what happens meanwhile
	queuing  int      // bytes of it, about
	broken   []loss   // rows that scrub found broken
	missed   []loss   // rows of the log, or of days, that scrub did not find
	gone     int      // blocks of the log that were found damaged

	steady *steady // of the goroutine that writes; nil: it has not looked yet

	cancel   context.CancelFunc // of what takes long
	scrubbed sync.WaitGroup

	wake    chan struct{}
	flushes chan flushing
	stop    chan struct{}
	done    chan struct{}
}

type flushing struct {
	done chan error
}

// Open opens the history in dir and makes the file if there is none, for which there has
// to be room. A damaged one is no error: what can be is saved, and Health tells the rest.
func Open(dir string, cfg Config, opt Options) (*History, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Zone == nil {
		opt.Zone = time.Local
	}
	if opt.Now == nil {
		began := time.Now()
		opt.Now = func() devices.Now {
			now := time.Now()
			return devices.Now{Mono: now.Sub(began), Wall: now}
		}
	}
	h := &History{
		opt: opt, cfg: cfg,
		times:      make(timeline),
		rolledDays: make(map[int64]dayRow),
		named:      make(map[string]*series),
		numbered:   make(map[uint32]*series),
		number:     firstSeries,
		next:       1,
		order:      1,
		allNames:   true,
		wake:       make(chan struct{}, 1),
		flushes:    make(chan flushing),
		stop:       make(chan struct{}),
		done:       make(chan struct{}),
	}
	h.boot = bootNumber(opt.Boot)
	if opt.Boot == "" {
		h.boot = bootNumber(fmt.Sprint(time.Now().UnixNano()))
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("history: want a folder that is there: %s: %w", dir, cmp.Or(err, error(syscall.ENOTDIR)))
	}
	path := filepath.Join(dir, File)
	if err := mayBegin(path); err != nil && cfg.On() {
		return nil, fmt.Errorf("history: %w", err)
	}
	if _, err := replace(path); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	// A disk that refuses and a file that is damaged keep no house from starting, nor does
	// one that takes long: what happens waits in memory until run has put that right, or can.
	h.disk = newDisk(path)
	h.disk.damaged = h.nudge
	h.starting = true
	opening := make(chan opened, 1)
	go func() {
		err := h.disk.begin()
		var t taken
		if err == nil {
			t, err = h.disk.takeUp()
		}
		opening <- opened{t, err}
	}()
	select {
	case o := <-opening:
		opening = nil
		h.takeOver(o)
		h.measure()
	case <-time.After(cmp.Or(opt.patience, 2*time.Second)):
		h.health.Err = "it takes long to open " + File
		h.opt.Log.Warn("it takes long to open history; the house starts, and what happens waits", "file", path)
	}
	ctx, stop := context.WithCancel(context.Background())
	h.cancel = stop
	h.scrubbed.Go(func() { h.scrub(ctx) })
	go h.run(ctx, opening)
	return h, nil
}

// An opened is what came of opening the file.
type opened struct {
	taken
	err error
}

// takeOver goes on from what the file says, or has run put it right.
func (h *History) takeOver(o opened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.health.Err = ""; o.err == nil {
		h.started(o.taken)
	} else {
		h.health.Err = o.err.Error()
	}
	if o.err != nil || h.gone > 0 {
		h.nudge()
	}
}

// started records what has happened since the start. h.mu is held.
func (h *History) started(t taken) {
	h.begin(t)
	h.starting = false
	for _, q := range h.queue {
		q.record()
	}
	h.queue, h.queuing = nil, 0
}

func bootNumber(boot string) uint64 {
	f := fnv.New64a()
	f.Write([]byte(boot))
	return f.Sum64()
}

// A taken is what the file says of itself.
type taken struct {
	heads      []*head
	names      []nameRow
	listed     uint64
	rolledDays map[int64]dayRow
	last       uint64           // segment of which there is something
	in         map[uint32]*head // the last segment of each series since the names of all were written
	gone       int              // blocks of the log that were found damaged
}

// takeUp reads it.
func (d *disk) takeUp() (t taken, err error) {
	t.in = make(map[uint32]*head)
	if err := t.days(d); err != nil {
		return t, err
	}
	if _, t.last, err = d.ends(tableChunk); err != nil {
		return t, err
	}
	d.logs.Lock()
	t.last, t.gone = max(t.last, d.recent.last()), d.recent.damaged
	d.recent.damaged = 0
	d.logs.Unlock()
	// Names are in the newest segment that has all of them and in those after it. If of
	// these something is damaged, the list before that has most of them.
	for i, whole := len(t.heads)-1, false; i >= 0 && !whole; {
		var lists [][]nameRow
		newest := i == len(t.heads)-1
		for whole = true; i >= 0; i-- {
			s := t.heads[i]
			n := 0
			bodies, err := d.rows(tableChunk, s.id, namesSeries, &n)
			if err != nil {
				return t, err
			}
			whole = whole && len(bodies) == s.named
			for _, body := range bodies {
				names, _ := (&reader{b: body}).names()
				lists = append(lists, names)
			}
			if newest {
				if bodies, err = d.rows(tableChunk, s.id, headSeries, &n); err != nil {
					return t, err
				}
				for _, body := range bodies {
					for number := range (&reader{b: body}).contents() {
						if t.in[number] == nil {
							t.in[number] = s
						}
					}
				}
			}
			if s.allNames {
				i--
				break
			}
		}
		slices.Reverse(lists)
		t.names = append(slices.Concat(lists...), t.names...)
	}
	return t, nil
}

// begin goes on after what is in the file. A flush that a power cut broke off may have left rows in
// pages that are free: so that nobody takes them for those of another segment, no later one gets
// its number, nor what is in it the same place in the order of the house.
func (h *History) begin(t taken) {
	h.adopt(t)
	for _, s := range t.heads {
		h.order = max(h.order, s.last)
		h.number = max(h.number, s.number) // a series whose name is lost keeps its number
	}
	h.next = t.last + 1 + uint64(rand.N(1000))
	h.order += 1 << 24
	for _, n := range t.names {
		h.name(n)
	}
	for number, in := range t.in {
		if s := h.numbered[number]; s != nil {
			_, to := h.times.span(in)
			s.last = max(s.last, to)
		}
	}
	h.session = h.next
}

// adopt takes what is on the disk for what is there.
func (h *History) adopt(t taken) {
	h.segments, h.times = t.heads, make(timeline)
	h.listed, h.rolledDays = t.listed, t.rolledDays
	h.gone += t.gone
	for _, s := range t.heads {
		h.times.learn(s)
	}
}

// name takes up a series of which the file tells.
func (h *History) name(n nameRow) {
	s := h.numbered[n.number]
	if s == nil {
		s = &series{number: n.number}
		h.numbered[n.number] = s
		h.number = max(h.number, n.number+1)
	}
	s.nameRow = n
	h.named[n.name] = s
	h.configure(s)
}

func (h *History) configure(s *series) {
	s.excluded, s.band = h.cfg.excluded(s.name), h.cfg.deadband(s.name)
}

// Use puts another configuration in force.
func (h *History) Use(cfg Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg = cfg
	for _, s := range h.named {
		h.configure(s)
	}
	h.nudge()
}

// nudge lets the goroutine look what there is to do.
func (h *History) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Event records what moves the rules, in the order in which they take it. What ev
// points to must not change afterwards. A reading's Old is not kept, for it follows
// from those before it, nor is its message's May.
func (h *History) Event(ev rules.Event) {
	size := len(ev.Body) + sizeOf(ev.Readings)
	if ev.State != nil {
		size += len(ev.State.States)*leastQueued + sizeOf(ev.State.Readings)
	}
	h.do(size, func() { h.event(ev) })
}

func (h *History) event(ev rules.Event) {
	if ev.Kind == rules.Report && len(ev.Readings) > 0 && ev.Name == "" && !ev.On && ev.Value == nil && ev.Text == "" && ev.Status == 0 && ev.Body == nil && ev.State == nil {
		h.report(&ev)
		return
	}
	if ev.State != nil && ev.State.Boot != "" {
		if boot := bootNumber(ev.State.Boot); boot != h.boot {
			h.seal()
			h.boot = boot
		}
		if h.life != ev.State.Life {
			h.seal()
			h.life = ev.State.Life
		}
	}
	keep := ev // so that those of readings need not be on the heap
	h.frame(eventSeries, ev.At, 0, func(b []byte) []byte { return appendRecord(b, &keep) })
	if ev.Begins() {
		h.open.checkpoint = true
	}
}

// A decided is a decision as it is kept.
type decided struct {
	Decision rules.Decision
	Refused  []string
}

// Decided records a decision, and which of its commands were refused and why.
func (h *History) Decided(d rules.Decision, refused []string) {
	size := 0
	if d.Cause != nil {
		size = sizeOf([]devices.Reading{*d.Cause})
	}
	for _, c := range d.Commands {
		size += len(c.Payload)
	}
	h.do(size, func() {
		h.frame(decisionSeries, d.At, d.ID, func(b []byte) []byte { return appendRecord(b, &decided{d, refused}) })
		h.open.ids.add(d.ID)
		concerns(&d, func(w string) { h.open.about[word(w)] = struct{}{} })
	})
}

// Note records what happened to the hub.
func (h *History) Note(n Note) {
	h.do(0, func() {
		h.frame(noteSeries, n.At, 0, func(b []byte) []byte { return appendRecord(b, &n) })
	})
}

// Seen records a reading at which no rule looks; unit is that of its value, "" if it
// has none.
func (h *History) Seen(r devices.Reading, unit string) {
	h.do(sizeOf([]devices.Reading{r}), func() { h.seen(r, unit) })
}

func (h *History) seen(r devices.Reading, unit string) {
	s := h.series(r.Source, unit)
	if s == nil || h.quiet(s, &r) {
		return
	}
	at := r.At
	if r.Restored {
		at = h.opt.Now()
	}
	h.reading(s, &r, at, false, true, nil)
}

// Unit says in which unit a series' values are, where its readings do not tell.
func (h *History) Unit(name, unit string) {
	h.do(0, func() { h.series(name, unit) })
}

// A queued waits for the file to be put right.
type queued struct {
	record func()
	size   int
}

// leastQueued is about what one takes that has no text in it.
const leastQueued = 400

// sizeOf is how many bytes readings have, about.
func sizeOf(readings []devices.Reading) int {
	size := len(readings) * leastQueued
	for _, r := range readings {
		if size += len(r.Text); r.Message != nil {
			size += len(r.Message.Payload)
		}
	}
	return size
}

// do records, now or when the file has been put right. size is about that of what is in it.
func (h *History) do(size int, record func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.off():
	case !h.starting:
		record()
	default:
		size += leastQueued
		h.queue = append(h.queue, queued{record, size})
		for h.queuing += size; h.queuing > maxPending && len(h.queue) > 1; {
			h.queuing -= h.queue[0].size
			h.queue[0] = queued{} // else what it holds is held until the list grows
			h.queue = h.queue[1:]
			h.lose(1)
		}
	}
}

func (h *History) off() bool { return h.closed || !h.cfg.On() }

// series is that of a name; nil if nothing of it is to be recorded.
func (h *History) series(name, unit string) *series {
	s := h.named[name]
	if s == nil {
		if len(name) > maxName || len(h.named) >= maxNames || h.number >= endSeries {
			h.health.Lost++
			if !h.tooMany {
				h.tooMany = true
				h.opt.Log.Warn("there are more names than history can tell apart; nothing is recorded of further ones", "name", name, "limit", maxNames)
			}
			return nil
		}
		s = &series{number: h.number, dirty: true}
		s.nameRow = nameRow{number: h.number, name: name, unit: unit}
		h.number++
		h.named[name], h.numbered[s.number] = s, s
		h.configure(s)
	}
	if unit != "" && unit != s.unit {
		s.unit, s.dirty = unit, true
	}
	if s.excluded {
		return nil
	}
	return s
}

// quiet reports whether a number differs too little from the last recorded one.
func (h *History) quiet(s *series, r *devices.Reading) bool {
	v, number := r.Value.(float64)
	plain := number && !r.Initial && !r.Event && !r.Gone && r.Bad == ""
	if plain && s.has && s.band > 0 && math.Abs(v-s.recorded) < s.band {
		return true
	}
	s.recorded, s.has = v, plain
	return false
}

// report records the readings of one event.
func (h *History) report(ev *rules.Event) {
	joins := false
	var with *devices.Message
	for i := range ev.Readings {
		r := &ev.Readings[i]
		s := h.series(r.Source, "")
		if s == nil || h.quiet(s, r) {
			continue
		}
		with = h.reading(s, r, ev.At, joins, false, with)
		joins = true
	}
}

// reading adds one to the open segment. with is the message that the event has
// already been given; that which it has now is returned.
func (h *History) reading(s *series, r *devices.Reading, at devices.Now, joins, seen bool, with *devices.Message) *devices.Message {
	for {
		order, offset, mono := h.order, at.Wall.UnixMicro()-at.Mono.Microseconds(), at.Mono.Microseconds()
		seg := h.segment(at)
		if !seg.moment(order, mono, offset, at.Known) {
			h.seal()
			continue
		}
		e := entry{Reading: r, order: order, joins: joins, seen: seen, eventAt: at.Mono}
		e.large = !usual(r, at)
		if r.Message != nil && !e.large {
			switch {
			case with == nil || with == r.Message:
				e.with = true
			default: // one event of two messages
				e.large = true
			}
		}
		if e.large {
			e.Reading = &devices.Reading{At: at}
		} else if m := r.At.Mono.Microseconds(); m != mono {
			seg.moment(order, m, offset, at.Known)
		}
		if !seg.add(s.number, e) {
			h.seal()
			continue
		}
		switch {
		case e.large:
			seg.frame(largeSeries, order, mono, 0, func(b []byte) []byte {
				keep := *r
				keep.Old = nil
				return appendRecord(append(b, largeReading), &keep)
			})
		case e.with && with == nil:
			with = r.Message
			seg.frame(largeSeries, order, mono, 0, func(b []byte) []byte { return appendRecord(append(b, largeMessage), r.Message) })
		}
		h.order++
		seg.last = h.order
		h.meet(s, r, mono+offset)
		return with
	}
}

// What a frame of largeSeries is.
const (
	largeMessage = 1
	largeReading = 2
)

// meet notes what a series turned out to be.
func (h *History) meet(s *series, r *devices.Reading, at int64) {
	if s.first == 0 {
		s.first, s.dirty = at, true
	}
	s.last = at
	kind := kindOf(r)
	if kind == Switch && s.kind == Text {
		kind = Text // some of its words are no switch's
	}
	if kind != "" && kind != s.kind {
		s.kind, s.dirty = kind, true
	}
	if s.dirty {
		s.dirty = false
		h.open.names = append(h.open.names, s.nameRow)
	}
}

func kindOf(r *devices.Reading) Kind {
	if r.Event {
		return Press
	}
	switch v := r.Value.(type) {
	case nil:
		return ""
	case bool:
		return Switch
	case float64:
		return Number
	case string:
		if _, ok := devices.OnOff(v); ok {
			return Switch
		}
	}
	return Text
}

// frame adds one to a stream of the open segment.
func (h *History) frame(series int, at devices.Now, id uint64, put func([]byte) []byte) {
	for {
		seg := h.segment(at)
		mono := at.Mono.Microseconds()
		if !seg.moment(h.order, mono, at.Wall.UnixMicro()-mono, at.Known) {
			h.seal()
			continue
		}
		seg.frame(series, h.order, mono, id, put)
		h.order++
		seg.last = h.order
		return
	}
}

const dayMicros = int64(24 * time.Hour / time.Microsecond)

// segment is the open one. One ends when it is full, and with the UTC day, if that is
// known.
func (h *History) segment(at devices.Now) *segment {
	if h.open != nil && h.open.size > maxOpen {
		h.seal()
	}
	if h.open != nil && len(h.open.clocks) > 0 {
		if c := h.open.clocks[len(h.open.clocks)-1]; at.Known && c.known && (c.to+c.offset)/dayMicros != at.Wall.UnixMicro()/dayMicros {
			h.seal()
		}
	}
	if h.open == nil {
		h.open = &segment{rows: make(map[uint32]*builder), about: make(map[uint64]struct{})}
		h.open.id, h.open.session, h.open.boot, h.open.life = h.next, h.session, h.boot, h.life
		h.open.first, h.open.last = h.order, h.order
		h.next++
	}
	return h.open
}

// seal ends the open segment, which then waits for the disk.
func (h *History) seal() {
	s := h.open
	if s == nil {
		return
	}
	h.open = nil
	if s.entries == 0 {
		return
	}
	if c := s.clocks[len(s.clocks)-1]; h.allNames || (c.to+c.offset)/dayMicros != h.namesDay {
		h.namesDay, h.allNames = (c.to+c.offset)/dayMicros, false
		s.allNames = true
		s.names = make([]nameRow, 0, len(h.named))
		for _, x := range h.named {
			s.names = append(s.names, x.nameRow)
		}
		slices.SortFunc(s.names, func(a, b nameRow) int { return int(a.number) - int(b.number) })
	}
	s.number = h.number
	for number := range s.rows {
		s.about[seriesWord(number)] = struct{}{}
	}
	s.words, s.about = newFilter(s.about), nil
	h.waiting = append(h.waiting, s)
	total := 0
	for _, w := range h.waiting {
		total += w.size
	}
	for first := 0; total > maxPending && len(h.waiting) > 1; {
		if h.writing {
			first = 1
		}
		if first >= len(h.waiting)-1 {
			break
		}
		total -= h.waiting[first].size
		if h.health.Err == "" { // it hangs, or is too slow, and has not said so
			h.health.Err = "it takes less than happens, and the oldest of what waits is lost"
		}
		h.lose(h.waiting[first].entries)
		h.waiting = slices.Delete(h.waiting, first, first+1)
		h.allNames = true // those it had must come with another
	}
	h.nudge()
}

// lose counts what nobody will ever see.
func (h *History) lose(entries int) {
	if h.health.Lost == 0 {
		h.opt.Log.Error("history drops what the disk does not take, the oldest first", "err", h.health.Err)
	}
	h.health.Lost += entries
}

// run writes what waits, until Close.
func (h *History) run(ctx context.Context, opening <-chan opened) {
	defer close(h.done)
	if opening != nil {
		h.takeOver(<-opening)
		h.measure()
		h.nudge() // whatever came of it: what waited is to be written
	}
	h.mu.Lock()
	every := h.cfg.flush()
	h.mu.Unlock()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var retry <-chan time.Time
	for {
		var ask *flushing
		select {
		case <-h.wake:
		case <-retry:
		case <-tick.C:
			h.sealNow()
		case f := <-h.flushes:
			ask = &f
			h.sealNow()
		case <-h.stop:
			h.sealNow()
			if h.disk.brokenBy() == nil {
				h.write()
			}
			return
		}
		h.mu.Lock()
		if d := h.cfg.flush(); d != every {
			every = d
			tick.Reset(every)
		}
		h.mu.Unlock()
		err := h.mend(ctx)
		if err == nil {
			err = h.dropBroken()
		}
		if err == nil {
			err = h.write()
		}
		if err == nil {
			err = h.tidy()
		}
		h.measure()
		retry = nil
		if err != nil {
			retry = time.After(retryAfter)
		}
		if ask != nil {
			ask.done <- err
		}
	}
}

// measure looks how large the file is. Health does not: the house's loop asks for that, and
// must not wait for a disk.
func (h *History) measure() {
	n := h.disk.bytes()
	h.mu.Lock()
	h.health.Bytes = n
	h.mu.Unlock()
}

func (h *History) sealNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seal()
}

// write gives the disk all that waits for it.
func (h *History) write() error {
	for {
		h.mu.Lock()
		if len(h.waiting) == 0 {
			h.health.Err = ""
			h.mu.Unlock()
			return nil
		}
		s := h.waiting[0]
		h.writing = true
		max := h.cfg.maxSize()
		if s.oldest, s.before = s.id, 0; len(h.segments) > 0 {
			s.oldest, s.before = h.segments[0].id, h.segments[len(h.segments)-1].id
		}
		h.mu.Unlock()

		rows, lost := s.pack(&h.disk.packer)
		err := h.makeRoom(func() error { return h.disk.add(s.id, rows, max) })

		h.mu.Lock()
		h.writing = false
		if err != nil {
			if h.health.Err == "" {
				h.opt.Log.Error("history can't be written; it is tried again", "err", err)
			}
			h.health.Err = err.Error()
			h.mu.Unlock()
			return err
		}
		if h.health.Err != "" {
			h.opt.Log.Info("history is written again")
			h.health.Err = ""
		}
		if lost > 0 {
			h.lose(lost)
		}
		kept := s.head
		h.segments = append(h.segments, &kept)
		h.times.learn(&kept)
		h.waiting = slices.Delete(h.waiting, 0, 1)
		h.mu.Unlock()
	}
}

// Flush writes what is in memory. It returns when that is on the disk, or with
// the error of ctx.
func (h *History) Flush(ctx context.Context) error {
	f := flushing{done: make(chan error, 1)}
	select {
	case h.flushes <- f:
	case <-h.done:
		return errors.New("history: is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close writes what is in memory and waits until that is done.
func (h *History) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.seal()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	close(h.stop)
	<-h.done
	h.scrubbed.Wait()
	err := h.disk.close()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.waiting) + len(h.queue); n > 0 {
		return fmt.Errorf("history: what happened last could not be written: %s", h.health.Err)
	}
	return err
}

// Health is how history fares.
func (h *History) Health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.health
	now.Segments, now.Series = len(h.segments), len(h.named)
	for _, s := range h.waiting {
		now.Pending += s.size
	}
	now.Pending += h.queuing
	if h.open != nil {
		now.Pending += h.open.size
	}
	now.Losses, now.Found = slices.Clone(now.Losses), slices.Clone(now.Found)
	if len(h.segments) > 0 {
		from, _ := h.times.span(h.segments[0])
		now.Oldest = time.UnixMicro(from).In(h.opt.Zone)
	}
	return now
}
