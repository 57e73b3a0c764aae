package history

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"time"
)

// A Bucket is what a series was in a stretch of time. Min, Max, Mean and Last are of
// numbers; of a switch on counts as 1 and off as 0. A value holds until the next one,
// until nothing is known of it any more, or until the hub stopped.
type Bucket struct {
	From, To time.Time
	N        int           // readings in it
	Held     time.Duration // how long of it a value was known; if N is 0 too the bucket is empty
	Min, Max float64
	Mean     float64 // weighted by time
	Last     float64
	On       time.Duration // how long the value was on, or above 0
	Switches int           // from off to on and from on to off, as far as both were known
}

// Empty reports whether nothing is known of the series in the bucket.
func (b *Bucket) Empty() bool { return b.N == 0 && b.Held == 0 }

// Stats is a series in numbers.
type Stats struct {
	Bucket
	Energy float64 // in kWh, where the unit is W or kW; else 0
}

const (
	cellMicros = int64(5 * time.Minute / time.Microsecond)
	hourMicros = int64(time.Hour / time.Microsecond)
	cellsADay  = int(dayMicros / cellMicros)
	hoursADay  = 24
)

// A tally is what a series was in a stretch of time, in microseconds.
type tally struct {
	n, switches    int
	some           bool // there was a number, read or held
	held, on       int64
	sum            float64 // of the value, over the time that it held
	min, max, last float64
}

func (t *tally) number(v float64) {
	if !t.some {
		t.some, t.min, t.max = true, v, v
	}
	t.min, t.max, t.last = min(t.min, v), max(t.max, v), v
}

func (t *tally) mean() float64 {
	switch {
	case t.held > 0:
		return t.sum / float64(t.held)
	default:
		return t.last
	}
}

// add takes up what came after.
func (t *tally) add(u *tally) {
	t.n += u.n
	t.switches += u.switches
	t.held += u.held
	t.on += u.on
	t.sum += u.sum
	if u.some {
		t.number(u.min)
		t.number(u.max)
		t.last = u.last
	}
}

func (t *tally) empty() bool { return t.n == 0 && t.held == 0 }

func (t *tally) bucket(from, to int64, zone *time.Location) Bucket {
	return Bucket{
		From: time.UnixMicro(from).In(zone), To: time.UnixMicro(to).In(zone),
		N: t.n, Held: time.Duration(t.held) * time.Microsecond, Min: t.min, Max: t.max, Mean: t.mean(), Last: t.last,
		On: time.Duration(t.on) * time.Microsecond, Switches: t.switches,
	}
}

// A grid is stretches of time, one after the other, and what was in them.
type grid struct {
	bounds []int64 // one more than cells
	cells  []tally
	at     int // where the last one was found
}

func newGrid(bounds []int64) *grid { return &grid{bounds: bounds, cells: make([]tally, len(bounds)-1)} }

// evenly is the bounds of n stretches of the same length.
func evenly(from, to int64, n int) []int64 {
	bounds := make([]int64, n+1)
	for i := range bounds {
		bounds[i] = from + int64(math.Round(float64(to-from)*float64(i)/float64(n)))
	}
	return bounds
}

// find is the cell of a moment; -1 if it is outside.
func (g *grid) find(at int64) int {
	if at >= g.bounds[g.at] && at < g.bounds[g.at+1] {
		return g.at
	}
	i := sort.Search(len(g.bounds), func(i int) bool { return g.bounds[i] > at }) - 1
	if i < 0 || i >= len(g.cells) {
		return -1
	}
	g.at = i
	return i
}

// hold says that a value was there for a time.
func (g *grid) hold(from, to int64, v float64) {
	from, to = max(from, g.bounds[0]), min(to, g.bounds[len(g.cells)])
	for from < to {
		i := g.find(from)
		end := min(to, g.bounds[i+1])
		c := &g.cells[i]
		c.number(v)
		c.held += end - from
		c.sum += v * float64(end-from)
		if v > 0 {
			c.on += end - from
		}
		from = end
	}
}

// A meter follows a series through time and fills a grid.
type meter struct {
	*grid
	carry
	since int64 // when the value was last accounted for
}

// A carry is what a series is at one moment.
type carry struct {
	value   float64
	holds   bool   // else nothing is known
	session uint64 // since the hub started so
}

// until accounts for the value up to a moment. An hour that the clock has twice is accounted
// for once.
func (m *meter) until(at int64) {
	if at <= m.since {
		return
	}
	if m.holds {
		m.grid.hold(m.since, at, m.value)
	}
	m.since = at
}

// take takes a reading.
func (m *meter) take(at int64, p *Point) {
	if p.Bad != "" && !p.Gone {
		return
	}
	m.until(at)
	if p.Gone {
		m.holds = false
		return
	}
	i := m.find(at)
	v, ok := number(p.Value)
	if i >= 0 {
		m.cells[i].n++
	}
	if p.Event {
		return
	}
	held := m.holds
	if m.holds = ok; !ok {
		return
	}
	if i >= 0 {
		m.cells[i].number(v)
		if held && (m.value > 0) != (v > 0) {
			m.cells[i].switches++
		}
	}
	m.value = v
}

// run lets a meter go through what is kept in full from one moment to another. What
// the series was before is in the meter, or is found if known is not set.
func (v *view) run(m *meter, number uint32, from, to int64, known bool) error {
	if !known {
		if err := v.before(m, number, from); err != nil {
			return err
		}
	}
	m.since = from
	var sc scanner
	for p, err := range v.during(number, from, to) {
		if err != nil {
			return err
		}
		if m.session != p.session {
			m.until(min(to, max(m.since, v.end(m.session))))
			m.holds = false
			m.session = p.session
		}
		_, err = v.entries(p, number, &sc, func(e placedEntry) bool {
			pt := Point{Value: e.r.Value, Bad: e.r.Bad, Gone: e.r.Gone, Event: e.r.Event}
			switch {
			case e.at >= to:
			case e.at < from:
				m.look(&pt)
			default:
				m.take(e.at, &pt)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	end := v.end(m.session)
	m.until(min(to, max(m.since, end)))
	if end < to {
		m.holds = false
	}
	return nil
}

// look takes up a reading of before what is measured. It reports false if that leaves the
// value as it was.
func (m *meter) look(p *Point) bool {
	if p.Event || p.Bad != "" && !p.Gone {
		return false
	}
	var ok bool
	m.value, ok = number(p.Value)
	m.holds = ok && !p.Gone
	return true
}

// before finds what a series was at a moment: what it was last, if the hub has not
// stopped since.
func (v *view) before(m *meter, number uint32, at int64) error {
	m.carry = carry{}
	var sc scanner
	some := false
	for _, p := range slices.Backward(v.parts) {
		if from, _ := v.times.span(p.head); from >= at {
			continue
		}
		if m.session == 0 {
			m.session = p.session
		}
		if p.session != m.session || some {
			break
		}
		if _, err := v.entries(p, number, &sc, func(e placedEntry) bool {
			if e.at < at && m.look(&Point{Value: e.r.Value, Bad: e.r.Bad, Gone: e.r.Gone, Event: e.r.Event}) {
				some = true
			}
			return true
		}); err != nil {
			return err
		}
	}
	return nil
}

// end is when a session ended: when the last thing happened of which it knew; or the
// present, if it goes on.
func (v *view) end(session uint64) int64 {
	if v.ends == nil {
		v.ends = make(map[uint64]int64)
		for _, p := range v.parts {
			_, to := v.times.span(p.head)
			v.ends[p.session] = max(v.ends[p.session], to)
		}
		if v.h.session > 0 {
			now := v.h.opt.Now()
			v.ends[v.h.session] = max(v.ends[v.h.session], micros(now.Wall))
		}
	}
	return v.ends[session]
}

// last is when the last thing happened that any session knows of.
func (v *view) last() (at int64) {
	at = v.end(v.h.session)
	for _, to := range v.ends {
		at = max(at, to)
	}
	return at
}

// A rolled is a series' rollup of one day.
type rolled struct {
	carry // at the end of the day
	hours []tally
	cells []tally // of five minutes
}

const formatRollup = 1

// bodies are the payloads of its rows: the hours in the first, the cells in those
// after it, each readable alone.
func (r *rolled) bodies() [][]byte {
	first := []byte{formatRollup, 0}
	if r.holds {
		first[1] = 1
		first = binary.BigEndian.AppendUint64(first, math.Float64bits(r.value))
	}
	first = binary.AppendUvarint(first, r.session)
	first = appendTallies(first, r.hours, hourMicros)
	bodies := [][]byte{first}
	for begin := 0; begin < len(r.cells); {
		n := len(r.cells) - begin
		for {
			b := binary.AppendUvarint([]byte{formatRollup}, uint64(begin))
			b = appendTallies(b, r.cells[begin:begin+n], cellMicros)
			if len(b) <= maxBody {
				bodies = append(bodies, b)
				begin += n
				break
			}
			n = n * maxBody * 9 / 10 / len(b)
		}
	}
	return bodies
}

// rolled reads the first row, and the others if cells are wanted.
func (r *reader) rolledHours() (x rolled) {
	if r.byte() != formatRollup {
		r.fail()
	}
	if x.holds = r.byte() == 1; x.holds {
		x.value = r.float()
	}
	x.session = r.uint()
	x.hours = make([]tally, hoursADay)
	r.tallies(x.hours, hourMicros)
	return x
}

func (r *reader) rolledCells(cells []tally) {
	if r.byte() != formatRollup {
		r.fail()
	}
	begin := r.uint()
	if begin > uint64(len(cells)) {
		r.fail()
		return
	}
	r.tallies(cells[begin:], cellMicros)
}

// How a tally is kept: nothing at all; the last one's value held all the time; or
// what follows.
const (
	tallyEmpty   = 0 // and how many more of these follow
	tallyHeld    = 1 // the same
	tallySome    = 2
	tallyNumbers = 4  // least, greatest, last and mean follow
	tallyWhole   = 8  // a value held all the time
	tallyOn      = 16 // it was on all the time that it held
	tallyExact   = 32 // its numbers are float64s
	tallyOff     = 64 // it was off all the time that it held
)

// appendTallies appends tallies of stretches of one length. Their numbers are kept as
// decimals of a scale, the means with three digits more.
func appendTallies(b []byte, list []tally, length int64) []byte {
	scale := scaleOf(list)
	b = append(b, scale)
	b = binary.AppendUvarint(b, uint64(len(list)))
	last := int64(0)
	lastValue, some := 0.0, false
	for i := 0; i < len(list); i++ {
		t := &list[i]
		run := func(is func(*tally) bool) int {
			n := 0
			for i+1+n < len(list) && is(&list[i+1+n]) {
				n++
			}
			return n
		}
		isHeld := func(t *tally) bool {
			on := int64(0)
			if lastValue > 0 {
				on = length
			}
			return some && t.n == 0 && t.held == length && t.switches == 0 && t.on == on && t.min == lastValue && t.max == lastValue && t.last == lastValue
		}
		if t.empty() {
			n := run((*tally).empty)
			b = binary.AppendUvarint(append(b, tallyEmpty), uint64(n))
			i += n
			continue
		}
		if isHeld(t) {
			n := run(isHeld)
			b = binary.AppendUvarint(append(b, tallyHeld), uint64(n))
			i += n
			continue
		}
		flags := byte(tallySome)
		if t.some {
			flags |= tallyNumbers
		}
		if t.held == length {
			flags |= tallyWhole
		}
		if t.on == t.held {
			flags |= tallyOn
		} else if t.on == 0 {
			flags |= tallyOff
		}
		if scale > maxScale {
			flags |= tallyExact
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(t.n)<<1|uint64(min(1, t.switches)))
		if t.switches > 0 {
			b = binary.AppendUvarint(b, uint64(t.switches))
		}
		if flags&tallyWhole == 0 {
			b = binary.AppendUvarint(b, uint64(t.held))
		}
		if flags&(tallyOn|tallyOff) == 0 {
			b = binary.AppendUvarint(b, uint64(t.on))
		}
		if !t.some {
			continue
		}
		lastValue, some = t.last, true
		if scale > maxScale {
			for _, f := range []float64{t.min, t.max, t.last, t.mean()} {
				b = binary.BigEndian.AppendUint64(b, math.Float64bits(f))
			}
			continue
		}
		now, lo, hi := scaled(t.last, scale), scaled(t.min, scale), scaled(t.max, scale)
		b = binary.AppendVarint(b, now-last)
		b = binary.AppendUvarint(b, uint64(now-lo))
		b = binary.AppendUvarint(b, uint64(hi-now))
		if lo != hi && !onOff(scale, lo, hi) {
			b = binary.AppendUvarint(b, uint64(max(0, math.Round((t.mean()-t.min)*powers[scale+3]))))
		}
		last = now
	}
	return b
}

// onOff says that all values were 0 or 1, so that the time on tells their mean.
func onOff(scale byte, lo, hi int64) bool { return scale == 0 && lo == 0 && hi == 1 }

// maxScale is how many digits behind the point the numbers of tallies may have.
const maxScale = 6

func scaled(f float64, scale byte) int64 { return int64(math.Round(f * powers[scale])) }

// scaleOf is the least scale in which all numbers are exact; more than maxScale if
// there is none.
func scaleOf(list []tally) (scale byte) {
	for i := range list {
		t := &list[i]
		for _, f := range [3]float64{t.min, t.max, t.last} {
			for ; scale <= maxScale; scale++ {
				if math.Abs(f) < 1e9 && math.Float64bits(float64(scaled(f, scale))/powers[scale]) == math.Float64bits(f) {
					break
				}
			}
		}
	}
	return scale
}

func (r *reader) tallies(list []tally, length int64) {
	scale := r.byte()
	n := r.uint()
	if n > uint64(len(list)) || scale > maxScale+1 {
		r.fail()
		return
	}
	var last int64
	var value float64
	for i := uint64(0); i < n && !r.bad; i++ {
		t := &list[i]
		switch flags := r.byte(); {
		case flags == tallyEmpty:
			i += r.uint()
		case flags == tallyHeld:
			more := r.uint()
			if more >= n-i {
				r.fail()
				return
			}
			held := tally{some: true, held: length, sum: value * float64(length), min: value, max: value, last: value}
			if value > 0 {
				held.on = length
			}
			for k := range more + 1 {
				list[i+k] = held
			}
			i += more
		default:
			x := r.uint()
			if t.n = int(x >> 1); x&1 != 0 {
				t.switches = int(r.uint())
			}
			if t.held = length; flags&tallyWhole == 0 {
				t.held = int64(r.uint())
			}
			switch {
			case flags&tallyOn != 0:
				t.on = t.held
			case flags&tallyOff == 0:
				t.on = int64(r.uint())
			}
			if flags&tallyNumbers == 0 {
				continue
			}
			t.some = true
			var mean float64
			if flags&tallyExact != 0 {
				t.min, t.max, t.last, mean = r.float(), r.float(), r.float(), r.float()
			} else {
				last += r.int()
				lo, hi := last-int64(r.uint()), last+int64(r.uint())
				t.last, t.min, t.max = float64(last)/powers[scale], float64(lo)/powers[scale], float64(hi)/powers[scale]
				switch mean = t.min; {
				case onOff(scale, lo, hi) && t.held > 0:
					mean = float64(t.on) / float64(t.held)
				case lo != hi && !onOff(scale, lo, hi):
					mean += float64(r.uint()) / powers[scale+3]
				}
			}
			t.sum = mean * float64(t.held)
			value = t.last
		}
	}
}

// rollup makes that of a series for one day, from what is kept in full. carried is
// what it was at the end of the day before.
func (v *view) rollup(number uint32, day int64, carried carry) (rolled, error) {
	from := day * dayMicros
	m := &meter{grid: newGrid(evenly(from, from+dayMicros, cellsADay)), carry: carried, since: from}
	err := v.run(m, number, from, from+dayMicros, true)
	r := rolled{carry: m.carry, cells: m.cells, hours: make([]tally, hoursADay)}
	for i := range r.cells {
		r.hours[i*hoursADay/cellsADay].add(&r.cells[i])
	}
	return r, err
}

// fill fills a grid with a series. fine says how coarse what it is made of may be:
// 0 is readings, else cells of five minutes or hours, in microseconds. Days of which
// only a part is wanted are made of readings, where there are any.
func (v *view) fill(g *grid, number uint32, fine int64) error {
	from, to := g.bounds[0], g.bounds[len(g.cells)]
	oldest, latest, err := v.h.days()
	if err != nil {
		return err
	}
	begin, end := max(from, min(oldest*dayMicros, v.begin())), min(to, v.last()+1)
	m := &meter{grid: g}
	known := false // what the series was is in m
	var days map[int64]rolled
	ready := int64(0) // those before this are in days
	raw := begin      // from there on readings are to be taken
	readings := func(to int64) (err error) {
		if raw < to {
			err = v.run(m, number, raw, to, known)
			known = true
		}
		return err
	}
	for day := floorDay(begin); day*dayMicros < end && day <= latest; day++ {
		a, b := max(from, day*dayMicros), min(to, (day+1)*dayMicros)
		whole := b-a == dayMicros
		if day < oldest || !v.h.isRolled(day) || !(fine > 0 && whole) && v.begin() <= a {
			continue
		}
		if err := readings(a); err != nil {
			return err
		}
		raw = b
		if days == nil || day >= ready {
			if ready = day + atOnce; fine < hourMicros {
				ready = day + 8
			}
			if days, err = v.h.rolled(day, min(ready, latest+1), number, fine < hourMicros || !whole); err != nil {
				return err
			}
		}
		r, ok := days[day]
		m.carry, known = r.carry, true
		if !ok {
			continue
		}
		list, length := r.hours, hourMicros
		if r.cells != nil {
			list, length = r.cells, cellMicros
		}
		for i := range list {
			at := day*dayMicros + int64(i)*length
			if at < a || at >= b {
				continue
			}
			if k := g.find(at); k >= 0 {
				g.cells[k].add(&list[i])
			}
		}
	}
	return readings(end)
}

func floorDay(at int64) int64 {
	day := at / dayMicros
	if at < 0 && at%dayMicros != 0 {
		day--
	}
	return day
}

// begin is when the first of what is kept in full happened.
func (v *view) begin() int64 {
	if v.first == 0 {
		v.first = math.MaxInt64
		for _, p := range v.parts {
			from, _ := v.times.span(p.head)
			if v.times.sure(p.head) {
				v.first = from
				break
			}
			v.first = min(v.first, from)
		}
	}
	return v.first
}

// Chart makes at most n stretches of equal length of a series. Where n is small for
// the time that it shows, or readings are no longer kept, the numbers come from
// rollups: a stretch may then begin up to five minutes late, or an hour if it is
// longer than four.
func (h *History) Chart(name string, from, to time.Time, n int) ([]Bucket, error) {
	number := h.numberOf(name)
	a, b := micros(from), micros(to)
	if number == 0 || n <= 0 || b <= a {
		return nil, nil
	}
	n = int(min(int64(n), b-a))
	fine := int64(0)
	switch width := (b - a) / int64(n); {
	case width >= 4*hourMicros:
		fine = hourMicros
	case width >= cellMicros:
		fine = cellMicros
	}
	return h.buckets(number, evenly(a, b, n), fine)
}

// Days makes a bucket of each day of the house's zone that from or to lies in, and of
// those between. On the days on which clocks are changed they have 23 or 25 hours.
func (h *History) Days(name string, from, to time.Time) ([]Bucket, error) {
	number := h.numberOf(name)
	if number == 0 || !to.After(from) {
		return nil, nil
	}
	y, m, d := from.In(h.opt.Zone).Date()
	var bounds []int64
	fine := hourMicros
	for i := 0; ; i++ {
		at := time.Date(y, m, d+i, 0, 0, 0, 0, h.opt.Zone)
		bounds = append(bounds, micros(at))
		if micros(at)%hourMicros != 0 {
			fine = cellMicros
		}
		if !at.Before(to) {
			break
		}
	}
	return h.buckets(number, bounds, fine)
}

func (h *History) buckets(number uint32, bounds []int64, fine int64) ([]Bucket, error) {
	v := h.view(number, false)
	g := newGrid(bounds)
	if err := v.fill(g, number, fine); err != nil {
		return nil, err
	}
	list := make([]Bucket, len(g.cells))
	for i := range list {
		list[i] = g.cells[i].bucket(bounds[i], bounds[i+1], h.opt.Zone)
	}
	return list, nil
}

// Stats is a series in numbers, from one moment to another.
func (h *History) Stats(name string, from, to time.Time) (Stats, error) {
	number := h.numberOf(name)
	if number == 0 || !to.After(from) {
		return Stats{}, nil
	}
	a, b := micros(from), micros(to)
	v := h.view(number, false)
	g := newGrid([]int64{a, b})
	if err := v.fill(g, number, cellMicros); err != nil {
		return Stats{}, err
	}
	t := &g.cells[0]
	s := Stats{Bucket: t.bucket(a, b, h.opt.Zone)}
	h.mu.Lock()
	unit := h.numbered[number].unit
	h.mu.Unlock()
	switch unit {
	case "W":
		s.Energy = t.sum / float64(hourMicros) / 1000
	case "kW":
		s.Energy = t.sum / float64(hourMicros)
	}
	return s, nil
}
