package history

import (
	"cmp"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"hearth/devices"
)

// A dayRow is what the table day says of a day beside its rollups: of which segments
// these were made.
type dayRow struct {
	first, last uint64
}

const formatDay = 1

// tidy does what is due when all has been written: rollups of days that are over, and
// what is too old goes.
func (h *History) tidy() error {
	now := h.opt.Now()
	if !now.Known {
		return nil // no day is over for certain
	}
	today := floorDay(micros(now.Wall))
	h.mu.Lock()
	cfg := h.cfg
	h.mu.Unlock()
	if err := h.rollDays(today); err != nil {
		return err
	}
	if !h.isSteady(now) {
		return h.shrink(cfg.maxSize(), h.room())
	}
	// A day goes when all of it is too old.
	if err := h.forgetRaw(floorDay(micros(now.Wall.Add(-cfg.raw())))); err != nil {
		return err
	}
	if err := h.forgetDays(floorDay(micros(now.Wall.Add(-cfg.keep())))); err != nil {
		return err
	}
	return h.shrink(cfg.maxSize(), h.room())
}

// steadyFor is how long the clock has to go on without being set before anything is too old by it.
// A server may be wrong, or a hand, or the battery of a clock be empty: what that would
// cost comes back with no right time.
const steadyFor = 3 * time.Hour

// isSteady reports whether the clock has gone on for so long since the start, or since it
// was set.
func (h *History) isSteady(now devices.Now) bool {
	ahead := now.Wall.Sub(time.UnixMicro(0)) - now.Mono
	if h.steady == nil || (ahead-h.steady.ahead).Abs() > time.Minute {
		h.steady = &steady{since: now.Mono}
	}
	h.steady.ahead = ahead
	return now.Mono-h.steady.since >= steadyFor
}

// A steady is how the clock has gone on.
type steady struct {
	ahead time.Duration // of the monotonic one
	since time.Duration // monotonic
}

// maxQuiet is how many days without anything are given rollups. A clock may also have
// been wrong.
const maxQuiet = 60

// rollDays makes the rollups of all days before today that have news.
func (h *History) rollDays(today int64) error {
	h.mu.Lock()
	spans := make(map[int64]dayRow)
	latest, before := int64(-1), uint64(0)
	for _, s := range h.segments {
		if h.times.sure(s) {
			_, to := h.times.span(s)
			latest = max(latest, floorDay(to))
		}
	}
	// What held in the last hours is only known once something has happened since:
	// the power may have been cut.
	today, latest = min(today, latest), -1
	for _, s := range h.segments {
		if !h.times.sure(s) {
			continue
		}
		from, to := h.times.span(s)
		first := floorDay(from)
		if latest >= 0 && first > latest+1 && first-latest <= maxQuiet {
			for day := latest + 1; day < min(first, today); day++ { // nothing happened, but what held then held on
				spans[day] = dayRow{before, before}
			}
		}
		for day := first; day <= min(floorDay(to), today-1); day++ {
			if d, ok := spans[day]; ok {
				spans[day] = dayRow{d.first, s.id}
			} else {
				spans[day] = dayRow{s.id, s.id}
			}
		}
		latest, before = max(latest, floorDay(to)), s.id
	}
	var due []int64
	for day, d := range spans {
		if had, ok := h.rolledDays[day]; !ok || had.last < d.last && had.first >= d.first {
			due = append(due, day)
		}
	}
	h.mu.Unlock()
	slices.Sort(due)
	if len(due) > 0 {
		if err := h.settle(); err != nil {
			return err
		}
	}
	for _, day := range due {
		if err := h.rollDay(day, spans[day]); err != nil {
			return err
		}
	}
	return nil
}

// settle moves what is in the log to the database.
func (h *History) settle() error {
	max := h.room()
	return h.makeRoom(func() error { return h.disk.settle(max) })
}

// maxRows is how many bytes of rollups are written at once.
const maxRows = 512 << 10

func (h *History) rollDay(day int64, of dayRow) error {
	h.mu.Lock()
	v := view{h: h, times: h.times.clone()}
	for _, s := range h.segments {
		v.parts = append(v.parts, part{head: s})
	}
	numbers := make([]uint32, 0, len(h.numbered))
	for n := range h.numbered {
		numbers = append(numbers, n)
	}
	seen := h.listed
	max := h.cfg.maxSize()
	h.mu.Unlock()
	slices.Sort(numbers)

	var rows []row
	var list []listed
	size := 0
	put := func(series uint32, bodies [][]byte) error {
		for part, body := range bodies {
			id := rowID(uint64(day), series, part)
			rows = append(rows, row{id, sealed(tableDay, id, body)})
			size += len(body)
		}
		if size < maxRows && series != headSeries {
			return nil
		}
		err := h.makeRoom(func() error { return h.disk.write(tableDay, rows, max) })
		rows, size = nil, 0
		return err
	}
	for _, n := range numbers {
		before, err := h.rolled(day-1, day, n, false)
		if err != nil {
			return err
		}
		r, err := v.rollup(n, day, before[day-1].carry)
		if err != nil {
			return err
		}
		empty := !r.holds && !slices.ContainsFunc(r.hours, func(t tally) bool { return !t.empty() })
		if empty {
			continue
		}
		bodies := r.bodies()
		list = append(list, listed{n, bodies})
		if err := put(n, bodies); err != nil {
			return err
		}
	}
	// The heads of the segments that no earlier day has, so that a start need not
	// look at each.
	r := []byte{formatDay}
	for _, id := range []uint64{of.first, of.last} {
		r = binary.AppendUvarint(r, id)
	}
	bodies := [][]byte{r}
	var b []byte
	for _, p := range v.parts {
		if p.id <= seen || p.id > of.last {
			continue
		}
		before := len(b)
		b = p.head.appendTo(b)
		if len(b) > maxBody && before > 0 {
			bodies = append(bodies, b[:before:before])
			b = slices.Clone(b[before:])
		}
		seen = p.id
	}
	if len(b) > 0 {
		bodies = append(bodies, b)
	}
	bodies = append(bodies, contentsOf(list)...)
	if err := put(headSeries, bodies); err != nil {
		return err
	}
	h.mu.Lock()
	h.rolledDays[day] = of
	h.listed = seen
	h.mu.Unlock()
	return nil
}

// makeRoom does what needs room until there is some, or nothing is left to drop.
func (h *History) makeRoom(do func() error) error {
	err := do()
	for errors.Is(err, errFull) && h.dropOldest() {
		err = do()
	}
	return err
}

// days are the first and the last day of which there are rollups.
func (h *History) days() (oldest, latest int64, err error) {
	first, last, err := h.disk.ends(tableDay)
	if err != nil || last == 0 {
		return 1 << 40, -1, err
	}
	return int64(first), int64(last), nil
}

// isRolled reports whether there are rollups of a day. Of old days nothing is
// remembered but that their readings are gone.
func (h *History) isRolled(day int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.rolledDays[day]; ok {
		return true
	}
	if len(h.segments) == 0 {
		return true
	}
	from, _ := h.times.span(h.segments[0])
	return day < floorDay(from)
}

// rolled is a series' rollups of the days from one, included, to another, excluded; their
// cells only if they are wanted.
func (h *History) rolled(from, to int64, number uint32, cells bool) (map[int64]rolled, error) {
	parts := 0
	if cells {
		parts = maxPart
	}
	spans := make([]span, 0, to-from)
	for day := from; day < to; day++ {
		spans = append(spans, span{rowID(uint64(day), number, 0), rowID(uint64(day), number, parts)})
	}
	n := 0
	all, err := h.disk.several(tableDay, spans, &n)
	h.damaged(n)
	days := make(map[int64]rolled, len(all))
	for i, rows := range all {
		if len(rows) == 0 {
			continue
		}
		var r rolled
		for _, x := range rows {
			rd := reader{b: x.data}
			if _, _, part := splitID(x.id); part == 0 {
				hours := rd.rolledHours()
				r.carry, r.hours = hours.carry, hours.hours
			} else {
				if r.cells == nil {
					r.cells = make([]tally, cellsADay)
				}
				rd.rolledCells(r.cells)
			}
			if rd.bad {
				h.damaged(1)
			}
		}
		if r.hours == nil {
			r.hours = make([]tally, hoursADay)
		}
		days[from+int64(i)] = r
	}
	return days, err
}

// forgetRaw deletes the segments of the days before one.
func (h *History) forgetRaw(day int64) error {
	h.mu.Lock()
	n := 0
	for i, s := range h.segments {
		if !h.times.sure(s) {
			continue // it is as old as what came next
		}
		if _, to := h.times.span(s); to >= day*dayMicros {
			break
		}
		n = i + 1
	}
	h.mu.Unlock()
	return h.removeSegments(n)
}

// removeSegments deletes the n oldest. Where there is no room for the notes that undoing
// would need, it deletes fewer.
func (h *History) removeSegments(n int) error {
	if n == 0 {
		return nil
	}
	err := h.removeNow(n)
	for errors.Is(err, errFull) && n > 1 {
		n /= 2
		err = h.removeNow(n)
	}
	return err
}

func (h *History) removeNow(n int) error {
	h.mu.Lock()
	before := h.segments[n-1].id + 1
	h.mu.Unlock()
	if err := h.disk.remove(tableChunk, before); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.segments = slices.Clone(h.segments[n:])
	if !slices.ContainsFunc(h.segments, func(s *head) bool { return s.allNames }) {
		h.allNames = true // the list of them has gone
	}
	h.times = make(timeline)
	for _, s := range h.segments {
		h.times.learn(s)
	}
	return nil
}

// forgetDays deletes the rollups of the days before one.
func (h *History) forgetDays(day int64) error {
	oldest, _, err := h.days()
	if err != nil || oldest >= day {
		return err
	}
	h.mu.Lock()
	for d := range h.rolledDays {
		if d < day {
			delete(h.rolledDays, d)
		}
	}
	h.mu.Unlock()
	return h.disk.remove(tableDay, uint64(day))
}

// dropOldest makes room: the readings of the oldest day go, but not those of the
// last; then the oldest month of rollups; then the older half of what is left. It
// reports whether there was anything to drop.
func (h *History) dropOldest() bool {
	_, last, err := h.disk.ends(tableChunk)
	if err != nil {
		return false
	}
	h.mu.Lock()
	n, all := 0, 0 // of those in the database: others take no room there
	for _, s := range h.segments {
		if s.id > last {
			break
		}
		all++
		from, _ := h.times.span(h.segments[0])
		if _, to := h.times.span(s); n == all-1 && floorDay(to) <= floorDay(from) {
			n++
		}
	}
	h.mu.Unlock()
	oldest, latest, err := h.days()
	switch {
	case err != nil:
	case n > 0 && n < all:
		err = h.removeSegments(n)
	case latest-oldest >= 30:
		err = h.forgetDays(oldest + 30)
	case all > 1:
		err = h.removeSegments(all / 2)
	case all == 1:
		err = h.removeSegments(1)
	case latest >= 0:
		err = h.forgetDays(min(oldest+30, latest+1))
	default:
		return false
	}
	if err != nil {
		h.opt.Log.Error("history can't make room", "err", err)
		return false
	}
	h.mu.Lock()
	if h.health.Dropped == 0 {
		h.opt.Log.Warn("there is no room for all of history; the oldest goes before its time")
	}
	h.health.Dropped++
	h.mu.Unlock()
	return true
}

// shrink makes a file smaller that is larger than the owner wants it now, or than the disk can
// do with: then that has no room to make a new one either, and gets back what is free in this one.
func (h *History) shrink(max, room int64) error {
	if h.disk.bytes() <= max && room >= max {
		return nil
	}
	given := false
	for {
		used, err := h.disk.used()
		if err != nil {
			return err
		}
		if used <= (min(max, room)-logSize)*9/10 || !h.dropOldest() {
			break
		}
		given = true
	}
	switch {
	case room >= max:
		return h.disk.vacuum()
	case given:
		return h.disk.giveBack()
	}
	return nil
}

// room is how many bytes history may have now: what the owner allows, or less if others need the disk.
func (h *History) room() int64 {
	h.mu.Lock()
	max := h.cfg.maxSize()
	h.mu.Unlock()
	room, err := roomFor(filepath.Dir(h.disk.path), takenBy(h.disk.path)+logSize, max)
	if err != nil {
		return max
	}
	return room
}

// days reads what the table day says of the latest days: which there are, and
// the heads of their segments, until those that are gone.
func (t *taken) days(d *disk) error {
	t.rolledDays = make(map[int64]dayRow)
	first, last, err := d.ends(tableChunk)
	if err != nil {
		return err
	}
	last = max(last, d.lastInLog())
	known := make(map[uint64]*head)
	for day, ok, err := d.dayBefore(1 << 36); ok || err != nil; day, ok, err = d.dayBefore(day) {
		if err != nil {
			return err
		}
		n := 0
		bodies, err := d.rows(tableDay, day, headSeries, &n)
		if err != nil {
			return err
		}
		if len(bodies) == 0 {
			continue // it was cut short: it is made again
		}
		r := reader{b: bodies[0]}
		if r.byte() != formatDay {
			continue
		}
		row := dayRow{r.uint(), r.uint()}
		if r.bad {
			continue
		}
		t.rolledDays[int64(day)] = row
		for _, body := range bodies[1:] {
			r := reader{b: body}
			for len(r.b) > 0 {
				if s := r.head(); s != nil {
					known[s.id] = s
				}
			}
		}
		if row.last < first {
			break
		}
	}
	for id, s := range known {
		t.listed = max(t.listed, id)
		if id >= first && id <= last {
			t.heads = append(t.heads, s)
		}
	}
	slices.SortFunc(t.heads, func(a, b *head) int { return cmp.Compare(a.id, b.id) })
	more, err := d.heads(t.listed + 1)
	t.heads = append(t.heads, more...)
	if err == nil && !unbroken(t.heads, first) { // a list was damaged: those of the segments themselves are looked at
		t.heads, err = d.heads(first)
	}
	return err
}

// unbroken reports whether heads are those of all segments from one on.
func unbroken(heads []*head, first uint64) bool {
	for i, s := range heads {
		if i == 0 && first > 0 && s.id != first || i > 0 && s.before != heads[i-1].id {
			return false
		}
	}
	return true
}
