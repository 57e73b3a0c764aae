package history

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
	"time"
)

// A clock is how far the wall clock was ahead of the monotonic one from some entry
// of the house on.
type clock struct {
	order  uint64 // of the first entry to which it belongs
	offset int64  // microseconds
	known  bool
	from   int64 // the first and the last moment of its entries, monotonic, microseconds
	to     int64
}

// A head says what a segment is.
type head struct {
	id          uint64
	first, last uint64 // order of its entries; last is not one of them
	before      uint64 // the segment written before it; 0: none
	oldest      uint64 // the oldest that was kept then
	session     uint64 // the first segment since the hub started
	boot        uint64 // names the life of the machine
	life        uint64 // of the hub
	clocks      []clock
	ids         idRange // decisions
	checkpoint  bool    // it has a place from which replay can begin
	allNames    bool    // it has the names of all series
	named       int     // rows of names that it has
	number      uint32  // that the next new series was to have
	words       filter  // what it is about
}

const formatHead = 1

func (s *head) appendTo(b []byte) []byte {
	flags := byte(0)
	if s.checkpoint {
		flags |= 1
	}
	if s.allNames {
		flags |= 2
	}
	b = append(b, formatHead, flags)
	b = binary.AppendUvarint(b, s.id)
	b = binary.AppendUvarint(b, s.first)
	b = binary.AppendUvarint(b, s.last-s.first)
	b = binary.AppendUvarint(b, s.id-s.before)
	b = binary.AppendUvarint(b, s.id-s.oldest)
	b = binary.AppendUvarint(b, uint64(s.named))
	b = binary.AppendUvarint(b, uint64(s.number))
	b = binary.AppendUvarint(b, s.id-s.session)
	b = binary.AppendUvarint(b, s.boot)
	b = binary.AppendUvarint(b, s.life)
	b = s.ids.appendTo(b)
	b = binary.AppendUvarint(b, uint64(len(s.clocks)))
	for _, c := range s.clocks {
		known := byte(0)
		if c.known {
			known = 1
		}
		b = binary.AppendUvarint(b, c.order-s.first)
		b = binary.AppendVarint(b, c.offset)
		b = append(b, known)
		b = binary.AppendVarint(b, c.from)
		b = binary.AppendVarint(b, c.to-c.from)
	}
	b = binary.AppendUvarint(b, uint64(len(s.words)))
	return append(b, s.words...)
}

func (r *reader) head() *head {
	s := new(head)
	if r.byte() != formatHead {
		r.fail()
		return nil
	}
	flags := r.byte()
	s.checkpoint, s.allNames = flags&1 != 0, flags&2 != 0
	s.id = r.uint()
	s.first = r.uint()
	s.last = s.first + r.uint()
	s.before = s.id - r.uint()
	s.oldest = s.id - r.uint()
	s.named = int(r.uint())
	s.number = uint32(r.uint())
	s.session = s.id - r.uint()
	s.boot = r.uint()
	s.life = r.uint()
	s.ids = r.idRange()
	s.clocks = make([]clock, r.count())
	for i := range s.clocks {
		c := &s.clocks[i]
		c.order = s.first + r.uint()
		c.offset = r.int()
		c.known = r.byte() == 1
		c.from = r.int()
		c.to = c.from + r.int()
	}
	if s.words = filter(bytes.Clone(r.bytes())); len(s.words)&(len(s.words)-1) != 0 {
		r.fail()
	}
	if r.bad {
		return nil
	}
	return s
}

// maxClocks is how often the wall clock may be set within a segment: then the next
// one begins. So a head is never larger than a row.
const maxClocks = 100

// moment finds the clock of a moment at which something of the house happened, or
// begins one. It reports false if there is no room for another.
func (s *head) moment(order uint64, mono, offset int64, known bool) bool {
	if n := len(s.clocks); n > 0 {
		if c := &s.clocks[n-1]; c.offset == offset && c.known == known {
			c.from, c.to = min(c.from, mono), max(c.to, mono)
			return true
		}
		if n >= maxClocks {
			return false
		}
	}
	s.clocks = append(s.clocks, clock{order, offset, known, mono, mono})
	return true
}

// at is the clock of an entry.
func (s *head) at(order uint64) (clock, int) {
	for i := len(s.clocks) - 1; i > 0; i-- {
		if s.clocks[i].order <= order {
			return s.clocks[i], i
		}
	}
	if len(s.clocks) == 0 {
		return clock{}, 0
	}
	return s.clocks[0], 0
}

// A known is what the wall clock was known to be, in one life of the machine, from
// some entry on.
type known struct {
	order  uint64
	offset int64
}

// A timeline knows of each life of the machine when its wall clock was known.
type timeline map[uint64][]known

// learn takes up the clocks of a segment, once, however often it comes.
func (t timeline) learn(s *head) {
	for _, c := range s.clocks {
		list, k := t[s.boot], known{c.order, c.offset}
		if !c.known {
			continue
		}
		i, _ := slices.BinarySearchFunc(list, c.order, known.before)
		if i < len(list) && list[i] == k {
			continue
		}
		t[s.boot] = slices.Insert(list, i, k)
	}
}

// before compares for a search: what has the order itself is not before it.
func (k known) before(order uint64) int {
	if k.order < order {
		return -1
	}
	return 1
}

// clone is one that may learn more while others read the first.
func (t timeline) clone() timeline {
	own := make(timeline, len(t))
	for boot, list := range t {
		own[boot] = slices.Clip(list)
	}
	return own
}

// offset is by how much the wall clock should have been ahead during a clock of a
// segment: what it was, if it was known, else what it was known to be next in that
// life of the machine, or last. sure is false while nothing of that is known.
func (t timeline) offset(s *head, c clock) (offset int64, sure bool) {
	if c.known {
		return c.offset, true
	}
	list := t[s.boot]
	if len(list) == 0 {
		return c.offset, false
	}
	i, _ := slices.BinarySearchFunc(list, c.order, known.before)
	return list[min(i, len(list)-1)].offset, true
}

// span is from when to when a segment's entries happened, in microseconds since
// 1970.
func (t timeline) span(s *head) (from, to int64) {
	for i, c := range s.clocks {
		offset, _ := t.offset(s, c)
		if i == 0 {
			from, to = c.from+offset, c.to+offset
		}
		from, to = min(from, c.from+offset), max(to, c.to+offset)
	}
	return from, to
}

// sure reports whether it is known when all of a segment happened.
func (t timeline) sure(s *head) bool {
	return len(t[s.boot]) > 0 || !slices.ContainsFunc(s.clocks, func(c clock) bool { return !c.known })
}

// A segment is one in memory: the one to which entries are added, or one that waits
// for the disk. The latter do not change.
type segment struct {
	head
	rows    map[uint32]*builder
	streams [firstSeries]stream
	size    int                 // of all that, in bytes
	entries int                 // readings and all else
	names   []nameRow           // to be written with it
	about   map[uint64]struct{} // words of its decisions
}

// A nameRow is what is kept of a series beside its readings.
type nameRow struct {
	number      uint32
	kind        Kind
	name, unit  string
	first, last int64 // microseconds since 1970
}

const formatNames = 1

// namesRows are the payloads of the rows of names, each readable alone.
func namesRows(names []nameRow) (rows [][]byte) {
	var b []byte
	for _, n := range names {
		before := len(b)
		if before == 0 {
			b = append(b, formatNames)
		}
		b = binary.AppendUvarint(b, uint64(n.number))
		b = append(b, kindCode(n.kind))
		b = appendText(b, n.name)
		b = appendText(b, n.unit)
		b = binary.AppendVarint(b, n.first)
		b = binary.AppendVarint(b, n.last-n.first)
		if len(b) > maxBody && before > 0 {
			rows = append(rows, b[:before:before])
			b = append([]byte{formatNames}, b[before:]...)
		}
	}
	if len(b) > 0 {
		rows = append(rows, b)
	}
	return rows
}

func (r *reader) names() (names []nameRow, err error) {
	if r.byte() != formatNames {
		return nil, errDamaged
	}
	for len(r.b) > 0 {
		n := nameRow{number: uint32(r.uint()), kind: codeKind(r.byte()), name: r.str(), unit: r.str(), first: r.int()}
		n.last = n.first + r.int()
		if r.bad {
			return names, errDamaged
		}
		names = append(names, n)
	}
	return names, nil
}

// A Kind is what the values of a series are.
type Kind string

// The kinds of series.
const (
	Number Kind = "number"
	Switch Kind = "switch" // true or false, or a word for one of these
	Text   Kind = "text"   // all else
	Press  Kind = "event"  // it happens, and leaves no value
)

var kinds = []Kind{"", Number, Switch, Text, Press}

func kindCode(k Kind) byte { return byte(max(0, slices.Index(kinds, k))) }

func codeKind(c byte) Kind {
	if int(c) < len(kinds) {
		return kinds[c]
	}
	return ""
}

// add adds a reading. It reports false if the segment has no room for it.
func (s *segment) add(number uint32, e entry) bool {
	w := s.rows[number]
	if w == nil {
		w = new(builder)
		s.rows[number] = w
		s.size += 400 // what it costs beside its bytes
	}
	before, full := len(w.b), len(w.full)
	if !w.add(e) {
		return false
	}
	if len(w.full) > full {
		s.size += len(w.b)
	} else {
		s.size += len(w.b) - before
	}
	s.entries++
	return true
}

// frame adds to a stream what put appends.
func (s *segment) frame(series int, order uint64, mono int64, id uint64, put func([]byte) []byte) {
	t := &s.streams[series]
	before := t.bytes()
	t.data = put(t.data)
	t.end(order, mono, id)
	s.size += t.bytes() - before
	s.entries++
}

// numbers are those of the series of which it has something.
func (s *segment) numbers() []uint32 {
	list := make([]uint32, 0, len(s.rows))
	for n := range s.rows {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// A row is one of the database.
type row struct {
	id   int64
	data []byte
}

// pack makes the segment's rows, in the order of their ids. lost is the number of
// frames for which there was no room. It always makes the same of the same: what a
// write that failed left behind is then as good as what the next one writes.
func (s *segment) pack(p *packer) (rows []row, lost int) {
	names := namesRows(s.names)
	names = names[:min(len(names), maxPart+1)]
	s.named = len(names)
	all := []listed{{namesSeries, names}}
	p.begin()
	for series := range s.streams {
		bodies, n := p.pack(&s.streams[series])
		lost += n
		all = append(all, listed{uint32(series), bodies})
	}
	for _, n := range s.numbers() {
		all = append(all, listed{n, s.rows[n].parts(false)})
	}
	heads := append([][]byte{s.head.appendTo(nil)}, contentsOf(all)...)
	put := func(series uint32, bodies [][]byte) {
		for part, body := range bodies {
			id := rowID(s.id, series, part)
			rows = append(rows, row{id, sealed(tableChunk, id, body)})
		}
	}
	put(namesSeries, names)
	put(headSeries, heads)
	for _, l := range all[1:] {
		put(l.series, l.bodies)
	}
	put(endSeries, heads)
	return rows, lost
}

// listed is the rows of a series.
type listed struct {
	series uint32
	bodies [][]byte
}

// contentsOf is the tables of contents, each readable alone.
func contentsOf(all []listed) (rows [][]byte) {
	var b []byte
	last := uint32(0)
	for _, l := range all {
		if len(l.bodies) == 0 {
			continue
		}
		if len(b) > maxBody-10 {
			rows, b, last = append(rows, b), nil, 0
		}
		if b == nil {
			b = []byte{formatContents}
		}
		b = binary.AppendUvarint(b, uint64(l.series-last))
		b = append(b, byte(len(l.bodies)-1))
		last = l.series
	}
	if b != nil {
		rows = append(rows, b)
	}
	return rows
}

// A table of contents is which series a segment has, and how many rows of each.
const formatContents = 2 // another than that of a head

func (r *reader) contents() iter.Seq2[uint32, int] {
	return func(yield func(uint32, int) bool) {
		if r.byte() != formatContents {
			return
		}
		for series := uint32(0); len(r.b) > 0; {
			series += uint32(r.uint())
			if n := int(r.byte()) + 1; r.bad || !yield(series, n) {
				return
			}
		}
	}
}

// micros is a moment in microseconds since 1970.
func micros(t time.Time) int64 { return t.UnixMicro() }
