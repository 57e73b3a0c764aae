package history

import (
	"cmp"
	"container/heap"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// A Series is what has been recorded under one name.
type Series struct {
	Name        string    // of the source: "kitchen.temperature", "zigbee2mqtt/hall:occupancy", "pir"
	Unit        string    // "" if none is known
	Kind        Kind      // of its newest values
	First, Last time.Time // Last is that of the segment that was flushed then, after a restart
}

// A Point is one reading of a series.
type Point struct {
	At       time.Time
	Sure     bool   // the clock was known then, or became known later in that life of the machine; else At is what the clock said
	Value    any    // bool, float64, string, map[string]any or []any; nil if Bad
	Text     string // as it was sent
	Bad      string // why it is no valid reading; "" if it is one
	Initial  bool   // found when the hub started
	Gone     bool   // nothing is known any more
	Event    bool   // it happened, and left no value
	Decision uint64 // the decision that led to it; 0 if none
	By       string // who asked, where no rule did
}

// number is a value as one, for charts: on is 1 and off is 0.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		if on, ok := devices.OnOff(v); ok {
			return number(on)
		}
	}
	return 0, false
}

// A view is what there is at one moment, on the disk and in memory.
type view struct {
	h     *History
	parts []part
	times timeline
	ends  map[uint64]int64 // of sessions; see end
	first int64            // see begin
	ahead map[uint64][]row // of segments; see during
}

// A part is a segment of a view. What is in memory does not change any more.
type part struct {
	*head
	memory *segment // nil: it is on the disk
}

// of is what there is of one series, or of all if all is set.
func (h *History) view(number uint32, all bool) view {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := view{h: h, parts: make([]part, 0, len(h.segments)+len(h.waiting)+1), times: h.times.clone()}
	for _, s := range h.segments {
		v.parts = append(v.parts, part{head: s})
	}
	for _, s := range h.waiting {
		v.times.learn(&s.head)
		v.parts = append(v.parts, part{&s.head, s})
	}
	if s := h.open; s != nil && s.entries > 0 {
		c := &segment{head: s.head, rows: make(map[uint32]*builder)}
		c.clocks = slices.Clone(s.clocks)
		for n, w := range s.rows {
			if all || n == number {
				c.rows[n] = &builder{full: w.parts(true)}
			}
		}
		for i := range s.streams {
			if all || uint32(i) == number || i == largeSeries && number >= firstSeries {
				c.streams[i] = stream{slices.Clone(s.streams[i].frames), slices.Clone(s.streams[i].data)}
			}
		}
		v.times.learn(&c.head)
		v.parts = append(v.parts, part{&c.head, c})
	}
	return v
}

// bodies are the payloads of a series' rows in a part of the view.
func (v *view) bodies(p part, number uint32) ([][]byte, error) {
	if p.memory != nil {
		if w := p.memory.rows[number]; w != nil {
			return w.parts(false), nil
		}
		return nil, nil
	}
	if rows, ok := v.ahead[p.id]; ok {
		bodies := make([][]byte, len(rows))
		for i, r := range rows {
			bodies[i] = r.data
		}
		return bodies, nil
	}
	if !p.words.may(seriesWord(number)) {
		return nil, nil
	}
	return v.h.read(tableChunk, p.id, number)
}

// atOnce is of how many segments, or days, the rows are read at once.
const atOnce = 64

// during gives the parts that have something between two moments, in microseconds
// since 1970, and has a series' rows of them ready.
func (v *view) during(number uint32, from, to int64) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		var parts []part
		for _, p := range v.parts {
			if v.overlaps(p, from, to) {
				parts = append(parts, p)
			}
		}
		defer func() { v.ahead = nil }()
		for list := range slices.Chunk(parts, atOnce) {
			var spans []span
			var ids []uint64
			for _, p := range list {
				if p.memory == nil && p.words.may(seriesWord(number)) {
					spans = append(spans, span{rowID(p.id, number, 0), rowID(p.id, number, maxPart)})
					ids = append(ids, p.id)
				}
			}
			n := 0
			all, err := v.h.disk.several(tableChunk, spans, &n)
			v.h.damaged(n)
			if err != nil {
				yield(part{}, err)
				return
			}
			v.ahead = make(map[uint64][]row, len(ids))
			for i, id := range ids {
				v.ahead[id] = all[i]
			}
			for _, p := range list {
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// frames are those of a stream in a part of the view.
func (v *view) frames(p part, number uint32) (frames []frame, err error) {
	if p.memory != nil {
		s := &p.memory.streams[number]
		for i := range s.frames {
			frames = append(frames, s.frame(i))
		}
		return frames, nil
	}
	bodies, err := v.h.read(tableChunk, p.id, number)
	if err != nil {
		return nil, err
	}
	var u unpacker
	for _, b := range bodies {
		var bad error
		if frames, bad = u.unpack(b, frames); bad != nil {
			v.h.damaged(1)
		}
	}
	return frames, nil
}

// read is the rows of a series on the disk.
func (h *History) read(t table, segment uint64, number uint32) ([][]byte, error) {
	n := 0
	bodies, err := h.disk.rows(t, segment, number, &n)
	h.damaged(n)
	return bodies, err
}

func (h *History) damaged(n int) {
	if n > 0 {
		h.mu.Lock()
		h.health.Damaged += n
		h.mu.Unlock()
	}
}

// overlaps reports whether a part has something between two moments, in
// microseconds since 1970.
func (v *view) overlaps(p part, from, to int64) bool {
	a, b := v.times.span(p.head)
	return a < to && b >= from
}

// between is two moments as microseconds; the zero time is the begin, or the end, of
// all.
func between(from, to time.Time) (a, b int64) {
	a, b = math.MinInt64, math.MaxInt64
	if !from.IsZero() {
		a = micros(from)
	}
	if !to.IsZero() {
		b = micros(to)
	}
	return a, b
}

// Series are all of which something is known, by name.
func (h *History) Series() []Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Series, 0, len(h.named))
	for _, s := range h.named {
		if s.first == 0 && s.last == 0 {
			continue // nothing was recorded
		}
		list = append(list, h.shown(s))
	}
	slices.SortFunc(list, func(a, b Series) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Find is the series of that name; false if nothing was recorded under it.
func (h *History) Find(name string) (Series, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.named[name]
	if s == nil || s.first == 0 && s.last == 0 {
		return Series{}, false
	}
	return h.shown(s), true
}

// shown is a series as others see it. h.mu is held.
func (h *History) shown(s *series) Series {
	return Series{s.name, s.unit, s.kind, time.UnixMicro(s.first).In(h.opt.Zone), time.UnixMicro(s.last).In(h.opt.Zone)}
}

// Names are those under which something has been recorded, in no order.
func (h *History) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]string, 0, len(h.named))
	for name, s := range h.named {
		if s.first != 0 || s.last != 0 {
			list = append(list, name)
		}
	}
	return list
}

// Has reports whether something has been recorded under a name.
func (h *History) Has(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.named[name]
	return s != nil && (s.first != 0 || s.last != 0)
}

// numberOf is that of a series; 0 if there is none of that name.
func (h *History) numberOf(name string) uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.named[name]; s != nil {
		return s.number
	}
	return 0
}

// A placedEntry is an entry and when it happened, in microseconds since 1970.
type placedEntry struct {
	*scanner
	at   int64
	sure bool
}

// entries calls each with a series' entries in a part of the view, until it returns
// false.
func (v *view) entries(p part, number uint32, sc *scanner, each func(placedEntry) bool) (bool, error) {
	bodies, err := v.bodies(p, number)
	if err != nil {
		return false, err
	}
	var large map[uint64]*devices.Reading
	i, offset, sure := -1, int64(0), false
	for _, body := range bodies {
		sc.scan(body, v.h.opt.Zone)
		for sc.next() {
			for i < 0 || i+1 < len(p.clocks) && p.clocks[i+1].order <= sc.order {
				i++
				offset, sure = v.times.offset(p.head, p.clocks[i])
			}
			if sc.e.large {
				if large == nil {
					if large, err = v.large(p); err != nil {
						return false, err
					}
				}
				r := large[sc.order]
				if r == nil {
					continue // it was damaged
				}
				sc.r = *r
				sc.r.At.Mono = sc.e.eventAt // a Restored one's own time is of another life
			}
			if !each(placedEntry{sc, sc.r.At.Mono.Microseconds() + offset, sure}) {
				return false, nil
			}
		}
		if sc.bad {
			v.h.damaged(1)
		}
	}
	return true, nil
}

// large are the readings of a part that are not among those of their series.
func (v *view) large(p part) (map[uint64]*devices.Reading, error) {
	frames, err := v.frames(p, largeSeries)
	if err != nil {
		return nil, err
	}
	all := make(map[uint64]*devices.Reading)
	for _, f := range frames {
		if len(f.data) > 0 && f.data[0] == largeReading {
			r := new(devices.Reading)
			if (&reader{b: f.data[1:], zone: v.h.opt.Zone}).record(r) == nil {
				all[f.order] = r
			}
		}
	}
	return all, nil
}

func (v *view) point(e placedEntry) Point {
	r := &e.r
	return Point{
		At: time.UnixMicro(e.at).In(v.h.opt.Zone), Sure: e.sure,
		Value: r.Value, Text: r.Text, Bad: r.Bad, Initial: r.Initial, Gone: r.Gone, Event: r.Event,
		Decision: r.Origin.Decision, By: r.Origin.By,
	}
}

// Readings are those of a series from one moment, included, to another, excluded, in
// the order in which they came. The zero time leaves an end open.
func (h *History) Readings(name string, from, to time.Time) iter.Seq2[Point, error] {
	return func(yield func(Point, error) bool) {
		number := h.numberOf(name)
		if number == 0 {
			return
		}
		v := h.view(number, false)
		a, b := between(from, to)
		var sc scanner
		for p, err := range v.during(number, a, b) {
			more := false
			if err == nil {
				more, err = v.entries(p, number, &sc, func(e placedEntry) bool {
					return e.at < a || e.at >= b || yield(v.point(e), nil)
				})
			}
			if err != nil {
				yield(Point{}, err)
			}
			if !more {
				return
			}
		}
	}
}

// Changed is the last change of a series' value at or before a moment: the first
// reading that said what then remained. What is no valid reading changes nothing;
// an event is always one. It is false if there is none among what is kept in full.
func (h *History) Changed(name string, at time.Time) (Point, bool, error) {
	number := h.numberOf(name)
	if number == 0 {
		return Point{}, false, nil
	}
	v := h.view(number, false)
	_, b := between(time.Time{}, at.Add(time.Microsecond))
	var sc scanner
	var found Point // the first of those that said the same
	some := false
	for _, p := range slices.Backward(v.parts) {
		if !v.overlaps(p, math.MinInt64, b) {
			continue
		}
		var list []Point // the changes within this part, the first reading among them
		_, err := v.entries(p, number, &sc, func(e placedEntry) bool {
			if e.at >= b || e.r.Bad != "" && !e.r.Gone {
				return true
			}
			if n := len(list); n > 0 && !e.r.Event && !list[n-1].Event && list[n-1].Gone == e.r.Gone && sameValue(list[n-1].Value, e.r.Value) {
				return true
			}
			list = append(list[max(0, len(list)-1):], v.point(e))
			return true
		})
		if err != nil {
			return Point{}, false, err
		}
		if len(list) == 0 {
			continue
		}
		last := list[len(list)-1]
		if some && (last.Event || last.Gone != found.Gone || !sameValue(last.Value, found.Value)) {
			return found, true, nil
		}
		found, some = last, true
		if len(list) > 1 || found.Event {
			return found, true, nil
		}
	}
	return found, some, nil
}

// A Span is a stretch of time.
type Span struct{ From, To time.Time }

// Pauses are the stretches, between two moments, in which no hub ran: what things were then
// nobody knows. They are those of what is kept in full.
func (h *History) Pauses(from, to time.Time) (all []Span) {
	v := h.view(decisionSeries, false)
	began := make(map[uint64]int64)
	for _, p := range v.parts {
		at, _ := v.times.span(p.head)
		if first, ok := began[p.session]; !ok || at < first {
			began[p.session] = at
		}
	}
	sessions := slices.SortedFunc(maps.Keys(began), func(a, b uint64) int { return cmp.Compare(began[a], began[b]) })
	a, b := between(from, to)
	var ended int64 // the last of those before; where a clock was set back there are two at once
	for i, session := range sessions {
		if next := began[session]; i > 0 && next > ended && next > a && ended < b {
			all = append(all, Span{time.UnixMicro(ended).In(h.opt.Zone), time.UnixMicro(next).In(h.opt.Zone)})
		}
		if end := v.end(session); i == 0 || end > ended {
			ended = end
		}
	}
	return all
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && a == b
	case nil, bool, string:
		return a == b
	}
	return devices.Text(a) == devices.Text(b)
}

// Decision finds a decision by its ID. As in all that is asked, but not in Entries, what was
// refused of it stands in its Why; where all was refused it is blocked, and has no commands.
func (h *History) Decision(id uint64) (rules.Decision, bool, error) {
	v := h.view(decisionSeries, false)
	for _, p := range slices.Backward(v.parts) {
		if !p.ids.has(id) {
			continue
		}
		var frames []frame
		var err error
		if p.memory != nil {
			frames, err = v.frames(p, decisionSeries)
		} else {
			var bodies [][]byte
			bodies, err = h.read(tableChunk, p.id, decisionSeries)
			var u unpacker
			for _, b := range bodies {
				if ids, bad := idsIn(b); bad == nil && !ids.has(id) {
					continue
				}
				var bad error
				if frames, bad = u.unpack(b, frames); bad != nil {
					h.damaged(1)
				}
			}
		}
		if err != nil {
			return rules.Decision{}, false, err
		}
		for _, f := range frames {
			if f.id == id {
				d, err := h.decided(f)
				return d.told(), err == nil, err
			}
		}
	}
	return rules.Decision{}, false, nil
}

func (h *History) decided(f frame) (d decided, err error) {
	err = (&reader{b: f.data, zone: h.opt.Zone}).record(&d)
	return d, err
}

// stream gives the frames of a stream from one moment to another.
func (h *History) stream(number uint32, from, to time.Time) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		v := h.view(number, false)
		a, b := between(from, to)
		for _, p := range v.parts {
			if !v.overlaps(p, a, b) {
				continue
			}
			frames, err := v.frames(p, number)
			if err != nil {
				yield(frame{}, err)
				return
			}
			for _, f := range frames {
				c, _ := p.at(f.order)
				offset, _ := v.times.offset(p.head, c)
				if at := f.mono + offset; at >= a && at < b && !yield(f, nil) {
					return
				}
			}
		}
	}
}

// Decisions are those from one moment, included, to another, excluded, in their
// order. The zero time leaves an end open.
func (h *History) Decisions(from, to time.Time) iter.Seq2[rules.Decision, error] {
	return func(yield func(rules.Decision, error) bool) {
		for f, err := range h.stream(decisionSeries, from, to) {
			var d decided
			if err == nil {
				d, err = h.decided(f)
			}
			if !yield(d.told(), err) {
				return
			}
		}
	}
}

// Notes are those from one moment, included, to another, excluded.
func (h *History) Notes(from, to time.Time) iter.Seq2[Note, error] {
	return func(yield func(Note, error) bool) {
		for f, err := range h.stream(noteSeries, from, to) {
			var n Note
			if err == nil {
				err = (&reader{b: f.data, zone: h.opt.Zone}).record(&n)
			}
			if !yield(n, err) {
				return
			}
		}
	}
}

// An Entry is one thing that happened. Exactly one of Event, Decision, Seen and Note
// is set.
type Entry struct {
	Event    *rules.Event
	Decision *rules.Decision
	Refused  []string // of Decision: which commands were, and why
	Seen     *devices.Reading
	Unit     string // of Seen
	Note     *Note

	At   time.Time // when it happened, as far as is known now; the clocks within are as they were
	Sure bool      // see Point
}

// Entries are all that happened, in its order, beginning at the last checkpoint at or
// before from; or with the oldest that there is.
func (h *History) Entries(from time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		v := h.view(0, true)
		first, order, err := v.checkpoint(micros(from))
		if err != nil {
			yield(Entry{}, err)
			return
		}
		m := merger{view: &v, from: order, yield: yield}
		for _, p := range v.parts[first:] {
			if more, err := m.merge(p); err != nil {
				yield(Entry{}, err)
				return
			} else if !more {
				return
			}
		}
		m.finish()
	}
}

// checkpoint finds the part with the last checkpoint at or before a moment, and the
// order of that.
func (v *view) checkpoint(at int64) (first int, order uint64, err error) {
	for i, p := range slices.Backward(v.parts) {
		if !p.head.checkpoint || !v.overlaps(p, math.MinInt64, at+1) {
			continue
		}
		frames, err := v.frames(p, eventSeries)
		if err != nil {
			return 0, 0, err
		}
		for _, f := range slices.Backward(frames) {
			c, _ := p.at(f.order)
			if offset, _ := v.times.offset(p.head, c); f.mono+offset > at {
				continue
			}
			var ev rules.Event
			if (&reader{b: f.data, zone: v.h.opt.Zone}).record(&ev) == nil && ev.Begins() {
				return i, f.order, nil
			}
		}
	}
	return 0, 0, nil
}

// A cursor is how far one of a part's series or streams has been merged.
type cursor struct {
	number uint32
	name   string
	unit   string
	bodies [][]byte
	sc     *scanner
	frames []frame
	order  uint64
}

// next goes to its next entry. It is false at the end.
func (c *cursor) next(h *History) bool {
	if c.number < firstSeries {
		if len(c.frames) == 0 {
			return false
		}
		c.order = c.frames[0].order
		return true
	}
	for {
		if c.sc.next() {
			c.order = c.sc.order
			return true
		}
		if c.sc.bad {
			h.damaged(1)
		}
		if len(c.bodies) == 0 {
			return false
		}
		c.sc.scan(c.bodies[0], h.opt.Zone)
		c.bodies = c.bodies[1:]
	}
}

// cursors are a heap: the one whose entry comes next is the first. Of one order the
// streams come before the readings, whose messages they have.
type cursors []*cursor

func (c cursors) Len() int { return len(c) }
func (c cursors) Less(i, j int) bool {
	return c[i].order < c[j].order || c[i].order == c[j].order && c[i].number < c[j].number
}
func (c cursors) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *cursors) Push(x any)   { *c = append(*c, x.(*cursor)) }
func (c *cursors) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}

// A merger puts entries together that lie in several places.
type merger struct {
	*view
	from  uint64 // the order of the first entry that is wanted
	yield func(Entry, error) bool

	event   Entry  // of readings, which further ones may join
	begun   uint64 // its order, and that of its last reading
	last    uint64
	message *devices.Message // the newest, and the order of the reading with which it came
	spoken  uint64
	large   *devices.Reading // the same
	written uint64
}

// merge gives the entries of a part. It reports whether more are wanted.
func (m *merger) merge(p part) (more bool, err error) {
	if p.last <= m.from {
		return true, nil
	}
	list, err := m.cursors(p)
	if err != nil {
		return false, err
	}
	for len(list) > 0 {
		c := list[0]
		if c.number >= firstSeries {
			more = m.reading(p, c)
		} else {
			more = m.frame(p, c)
			c.frames = c.frames[1:]
		}
		if !more {
			return false, nil
		}
		if c.next(m.h) {
			heap.Fix(&list, 0)
		} else {
			heap.Pop(&list)
		}
	}
	return true, nil
}

// finish gives the event that no further reading joins.
func (m *merger) finish() bool {
	e := m.event
	m.event = Entry{}
	return e.Event == nil || m.begun < m.from || m.yield(e, nil)
}

// at sets when an entry happened.
func (m *merger) at(e Entry, p part, order uint64, mono int64) Entry {
	c, _ := p.at(order)
	offset, sure := m.times.offset(p.head, c)
	e.At, e.Sure = time.UnixMicro(mono+offset).In(m.h.opt.Zone), sure
	return e
}

func (m *merger) reading(p part, c *cursor) bool {
	e := &c.sc.e
	r := c.sc.r
	if e.large {
		if m.large == nil || m.written != c.order {
			return true // it was damaged
		}
		r, m.large = *m.large, nil
	} else {
		r.At = m.now(p, c.order, r.At.Mono)
	}
	r.Source = c.name
	joins := e.joins && !e.seen && m.event.Event != nil && m.last+1 == c.order
	if e.with && (m.spoken == c.order || joins && m.spoken >= m.begun) { // else its own was damaged
		r.Message = m.message
	}
	mono := e.eventAt.Microseconds()
	if e.seen {
		return m.finish() && (c.order < m.from || m.yield(m.at(Entry{Seen: &r, Unit: c.unit}, p, c.order, mono), nil))
	}
	if !joins {
		if !m.finish() {
			return false
		}
		m.begun = c.order
		m.event = m.at(Entry{Event: &rules.Event{At: m.now(p, c.order, e.eventAt), Kind: rules.Report}}, p, c.order, mono)
	}
	m.event.Event.Readings = append(m.event.Event.Readings, r)
	m.last = c.order
	return true
}

func (m *merger) frame(p part, c *cursor) bool {
	f := c.frames[0]
	r := reader{b: f.data, zone: m.h.opt.Zone}
	var e Entry
	var err error
	switch c.number {
	case largeSeries:
		switch r.byte() {
		case largeMessage:
			m.message, m.spoken = new(devices.Message), f.order
			if err = r.record(m.message); err != nil {
				m.message = nil
			}
		case largeReading:
			m.large, m.written = new(devices.Reading), f.order
			if err = r.record(m.large); err != nil {
				m.large = nil
			}
		}
	case eventSeries:
		e.Event = new(rules.Event)
		err = r.record(e.Event)
	case decisionSeries:
		var d decided
		err = r.record(&d)
		e.Decision, e.Refused = &d.Decision, d.Refused
	case noteSeries:
		e.Note = new(Note)
		err = r.record(e.Note)
	}
	if err != nil {
		m.h.damaged(1)
		return true
	}
	if c.number == largeSeries {
		return true
	}
	return m.finish() && (c.order < m.from || m.yield(m.at(e, p, c.order, f.mono), nil))
}

// now is a moment as the hub knew it then.
func (v *view) now(p part, order uint64, mono time.Duration) devices.Now {
	c, _ := p.at(order)
	r := reader{zone: v.h.opt.Zone}
	return devices.Now{Mono: mono, Wall: r.wall(mono.Microseconds() + c.offset), Known: c.known}
}

// cursors are those of all that a part has.
func (v *view) cursors(p part) (list cursors, err error) {
	for _, n := range []uint32{decisionSeries, eventSeries, noteSeries, largeSeries} {
		frames, err := v.frames(p, n)
		if err != nil {
			return nil, err
		}
		list = append(list, &cursor{number: n, frames: frames})
	}
	add := func(number uint32, bodies [][]byte) {
		v.h.mu.Lock()
		defer v.h.mu.Unlock()
		c := &cursor{number: number, bodies: bodies, sc: new(scanner)}
		if s := v.h.numbered[number]; s != nil {
			c.name, c.unit = s.name, s.unit
		}
		list = append(list, c)
	}
	if p.memory != nil {
		for _, n := range p.memory.numbers() {
			add(n, p.memory.rows[n].parts(false))
		}
	} else {
		last, bodies := uint32(0), [][]byte(nil)
		n := 0
		err := v.h.disk.all(p.id, &n, func(number uint32, body []byte) {
			if number != last && len(bodies) > 0 {
				add(last, bodies)
				bodies = nil
			}
			last = number
			bodies = append(bodies, body)
		})
		if err != nil {
			return nil, err
		}
		if len(bodies) > 0 {
			add(last, bodies)
		}
		v.h.damaged(n)
	}
	list = slices.DeleteFunc(list, func(c *cursor) bool { return !c.next(v.h) })
	heap.Init(&list)
	return list, nil
}
