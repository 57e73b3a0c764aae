package history

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Names beside history.db. The journal is SQLite's, the others are of a salvage.
const (
	journalSuffix  = "-journal"
	newSuffix      = ".new"      // not complete yet
	salvagedSuffix = ".salvaged" // complete, and to take the damaged file's place
	damagedSuffix  = ".damaged"  // what was damaged, for who wants to look at it
)

// A salvage is what is good in a damaged file.
type salvage struct {
	file    *os.File
	log     []byte // history.log
	journal []byte
	places  []place // by table and id
	unread  int64   // bytes that the disk does not give

	made    [][]byte
	newly   []loss  // of this damage
	bad     []int64 // ids of rows that are broken
	unknown int     // broken rows of which even the id can't be read
	tail    bool    // there may have been something after all that is good
	saved   int     // rows
	tooMany int     // rows for which there was no room
}

// A place is where a good row was found.
type place struct {
	id    int64
	at    int64 // of the data in the file or journal, or among what is made
	size  int32
	table table
	where where
}

// A where is what a row is in.
type where byte

const (
	inFile where = iota
	inJournal
	inLog
	made // it is none that was found
)

func byID(a, b place) int { return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.id, b.id)) }

// A loss is what a segment had and has no more.
type loss struct {
	segment uint64
	all     bool   // of the whole segment
	series  uint32 // else of this one
	part    int
	day     bool // segment is a day
}

// openSalvage looks for what is good in a damaged file and in the journal beside it. The
// journal is there if SQLite could not make sense of it: then it has the pages as
// they were before a commit that a power cut broke off, and the file some of those
// that were to replace them. A row never changes; so what either has is good.
func openSalvage(ctx context.Context, path string) (_ *salvage, err error) {
	s := &salvage{}
	if s.file, err = os.Open(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.file.Close()
		}
	}()
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	found := func(r foundRow, in where) {
		s.places = append(s.places, place{r.id, r.at, int32(len(r.data)), r.table, in})
	}
	for r, err := range rowsIn(s.file, info.Size()) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.unread += pageSize
			continue
		}
		switch {
		case r.table != "":
			found(r, inFile)
		case r.id > 0:
			s.bad = append(s.bad, r.id)
		default:
			s.unknown++
		}
	}
	// The header says how many pages there were.
	var header [pageSize]byte
	s.file.ReadAt(header[:], 0)
	s.tail = info.Size()%pageSize != 0 || int64(binary.BigEndian.Uint32(header[headPages:])) > info.Size()/pageSize
	s.journal, _ = readUpTo(path+journalSuffix, 64<<20) // without it there is less, most often nothing
	for r := range rowsInJournal(s.journal) {
		if r.table != "" {
			found(r, inJournal)
		}
	}
	s.log, _ = readUpTo(filepath.Join(filepath.Dir(path), LogFile), logSize)
	var log recent
	for at := 0; at+pageSize <= len(s.log); at += pageSize {
		log.note(s.log[at:at+pageSize], int64(at), 0)
	}
	for _, r := range log.rows {
		if _, err := unsealed(tableChunk, r.id, s.log[r.from:][:r.n]); err == nil {
			found(foundRow{row{r.id, s.log[r.from:][:r.n]}, tableChunk, r.from}, inLog)
		}
	}
	slices.SortFunc(s.places, byID)
	s.places = slices.CompactFunc(s.places, func(a, b place) bool { return byID(a, b) == 0 })
	return s, nil
}

func readUpTo(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func (s *salvage) close() { s.file.Close() }

// row is what is in a place.
func (s *salvage) row(p place) (row, error) {
	switch p.where {
	case made:
		return row{p.id, s.made[p.at]}, nil
	case inLog:
		return row{p.id, s.log[p.at:][:p.size]}, nil
	case inJournal:
		return row{p.id, s.journal[p.at:][:p.size]}, nil
	}
	b := make([]byte, p.size)
	_, err := s.file.ReadAt(b, p.at)
	return row{p.id, b}, err
}

func (s *salvage) body(p place) []byte {
	r, err := s.row(p)
	if err != nil {
		return nil
	}
	body, _ := unsealed(p.table, r.id, r.data)
	return body
}

// sift leaves of the places those that belong to the history, and finds what is missing. What
// remains in free pages of segments that are long gone does not belong to it: each head says which
// was the oldest when it was written.
func (s *salvage) sift() {
	chunks, _ := slices.BinarySearchFunc(s.places, place{table: tableDay}, byID)
	groups := make(map[uint64][]place)
	for g := range chunkBySegment(s.places[:chunks]) {
		id, _, _ := splitID(g[0].id)
		groups[id] = g
	}
	// The table day has the heads of older segments once more.
	heads := s.headsInDays()
	for id, g := range groups {
		if h := s.head(g); h != nil {
			heads[id] = h
		}
	}
	oldest := uint64(0)
	ids := slices.Collect(maps.Keys(groups))
	for id, h := range heads {
		oldest = max(oldest, h.oldest)
		if groups[id] == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var kept []place
	last := uint64(0) // segment of which something is known
	for _, id := range ids {
		g, h := groups[id], heads[id]
		known := s.known(g)
		if id < oldest || h == nil && len(known) == 0 {
			continue // that it is missed tells the next one
		}
		if h != nil {
			if h.before != last && h.before >= oldest && h.before != 0 {
				s.newly = append(s.newly, loss{segment: h.before, all: true})
			}
			if !hasContents(g) && !slices.ContainsFunc(known, func(l loss) bool { return l.all }) {
				s.newly = append(s.newly, loss{segment: id, all: true})
			}
			for _, l := range s.missing(h, g) {
				if !slices.Contains(known, l) {
					s.newly = append(s.newly, l)
				}
			}
		}
		kept = append(kept, g...)
		last = id
	}
	s.places = append(kept, s.places[chunks:]...)
	s.tail = s.tail || s.unread > 0 || s.unknown > 0 && len(s.newly) == 0 ||
		slices.ContainsFunc(s.bad, func(id int64) bool { return id >= rowID(last+1, 0, 0) })
}

// hasContents reports whether a segment still tells what it has.
func hasContents(group []place) bool {
	return slices.ContainsFunc(group, func(p place) bool {
		_, series, part := splitID(p.id)
		return part > 0 && (series == headSeries || series == endSeries)
	})
}

// headsInDays are the heads of segments that the table day has.
func (s *salvage) headsInDays() map[uint64]*head {
	heads := make(map[uint64]*head)
	for _, p := range s.places {
		if _, series, part := splitID(p.id); p.table != tableDay || series != headSeries || part == 0 {
			continue
		}
		for r := (&reader{b: s.body(p)}); len(r.b) > 0; {
			h := r.head()
			if h == nil {
				break
			}
			heads[h.id] = h
		}
	}
	return heads
}

// chunkBySegment gives the rows of each segment.
func chunkBySegment(places []place) func(func([]place) bool) {
	return func(yield func([]place) bool) {
		for len(places) > 0 {
			id, _, _ := splitID(places[0].id)
			n, _ := slices.BinarySearchFunc(places, rowID(id+1, 0, 0), func(p place, id int64) int { return cmp.Compare(p.id, id) })
			if !yield(places[:n]) {
				return
			}
			places = places[n:]
		}
	}
}

// head is what one of the two copies of it says of a segment; nil if none is left.
func (s *salvage) head(group []place) *head {
	for _, p := range group {
		if _, series, part := splitID(p.id); part == 0 && (series == headSeries || series == endSeries) {
			if h := (&reader{b: s.body(p)}).head(); h != nil {
				return h
			}
		}
	}
	return nil
}

// known are the losses of which a segment knows already.
func (s *salvage) known(group []place) (known []loss) {
	for _, p := range group {
		if segment, series, _ := splitID(p.id); series == lossSeries {
			known = append(known, (&reader{b: s.body(p)}).losses(p.table, segment)...)
		}
	}
	return known
}

// missing is which of the rows that a segment should have are not there.
func (s *salvage) missing(h *head, group []place) []loss {
	var contents [][]byte
	there := make(map[int64]bool, len(group))
	for _, p := range group {
		there[p.id] = true
		if _, series, part := splitID(p.id); part > 0 && (series == headSeries || series == endSeries) {
			contents = append(contents, s.body(p))
		}
	}
	return missing(h.id, contents, func(id int64) bool { return there[id] })
}

// missing is which rows of a segment are not there, by its tables of contents.
func missing(segment uint64, contents [][]byte, there func(id int64) bool) (lost []loss) {
	for _, body := range contents {
		for series, parts := range (&reader{b: body}).contents() {
			for part := range parts {
				l := loss{segment: segment, series: series, part: part}
				if !there(rowID(segment, series, part)) && !slices.Contains(lost, l) {
					lost = append(lost, l)
				}
			}
		}
	}
	return lost
}

// note adds rows that tell of what is newly lost.
func (s *salvage) note() {
	taken := make(map[place]bool)
	for _, p := range s.places {
		if _, series, _ := splitID(p.id); series == lossSeries {
			taken[place{id: p.id, table: p.table}] = true
		}
	}
	for _, r := range lossRows(s.newly, func(t table, id int64) bool { return taken[place{id: id, table: t}] }) {
		s.places = append(s.places, place{id: r.id, table: r.table, at: int64(len(s.made)), where: made})
		s.made = append(s.made, r.data)
	}
	slices.SortFunc(s.places, byID)
}

// fit leaves out the oldest, so that the rest has room in so many bytes.
func (s *salvage) fit(most int64) {
	size := int64(0)
	for i := len(s.places) - 1; i >= 0; i-- {
		if size += int64(s.places[i].size) + 14; size > most*9/10 { // pages are not full to the last byte
			s.tooMany = i + 1
			s.places = s.places[i+1:]
			return
		}
	}
}

// write makes a new file of what belongs to the history, in its order. When it returns that is on the disk.
func (s *salvage) write(ctx context.Context, path string, most int64) (err error) {
	for _, suffix := range []string{"", journalSuffix} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	d := newDisk(path)
	defer func() {
		if err2 := d.close(); err == nil {
			err = err2
		}
		os.Remove(path + journalSuffix)
		if err == nil {
			err = syncFile(path)
		}
	}()
	// Nobody has any use for half of it: it needs no journal, and one sync at the end.
	if _, err := d.db.Exec("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF"); err != nil {
		return err
	}
	if err := d.make(); err != nil {
		return err
	}
	for left := s.places; len(left) > 0; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t, size := left[0].table, 0
		var batch []row
		for len(left) > 0 && left[0].table == t && size < 1<<20 {
			r, err := s.row(left[0])
			left = left[1:]
			if err != nil {
				s.unread += pageSize // it could be read a moment ago
				continue
			}
			batch, size = append(batch, r), size+len(r.data)
		}
		if err := d.write(t, batch, most); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// replace puts a complete salvage into the damaged file's place, wherever a power cut left that. The
// damaged file's journal must never meet the new one: SQLite would undo there what it never did.
// It reports whether there was anything to do.
func replace(path string) (bool, error) {
	if _, err := os.Stat(path + salvagedSuffix); err != nil {
		os.Remove(path + newSuffix)
		return false, nil
	}
	dir := filepath.Dir(path)
	for _, step := range []func() error{
		func() error { return os.Rename(path, path+damagedSuffix) },
		func() error { return os.Remove(path + journalSuffix) },
		func() error { return syncFile(dir) },
		func() error { return os.Rename(path+salvagedSuffix, path) },
		func() error { return syncFile(dir) },
	} {
		if err := step(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("put the salvaged history in its place: %w", err)
		}
	}
	return true, nil
}

// Losses are rows of their own, in the segment that they are about: a format, then for each the number
// of the series and of the part, or nothing of either if the whole segment is lost.
const formatLosses = 1

// A tableRow is a row and where it belongs.
type tableRow struct {
	row
	table table
}

// lossRows are the rows that tell of losses. taken says which of them there are already: rows never change, so
// what comes later has a row of its own.
func lossRows(losses []loss, taken func(t table, id int64) bool) (rows []tableRow) {
	by := func(a, b loss) int {
		return cmp.Or(cmp.Compare(a.table(), b.table()), cmp.Compare(a.segment, b.segment), cmp.Compare(a.series, b.series), cmp.Compare(a.part, b.part))
	}
	losses = slices.SortedFunc(slices.Values(losses), by)
	for len(losses) > 0 {
		first := losses[0]
		body := []byte{formatLosses}
		for len(losses) > 0 && losses[0].table() == first.table() && losses[0].segment == first.segment && len(body) < maxBody-20 {
			if !losses[0].all {
				body = binary.AppendUvarint(body, uint64(losses[0].series))
				body = binary.AppendUvarint(body, uint64(losses[0].part))
			}
			losses = losses[1:]
		}
		for part := range maxPart + 1 {
			if id := rowID(first.segment, lossSeries, part); !taken(first.table(), id) && !slices.ContainsFunc(rows, func(r tableRow) bool { return r.id == id && r.table == first.table() }) {
				rows = append(rows, tableRow{row{id, sealed(first.table(), id, body)}, first.table()})
				break
			}
		}
	}
	return rows
}

func (l loss) table() table {
	if l.day {
		return tableDay
	}
	return tableChunk
}

// losses reads a row of them.
func (r *reader) losses(t table, segment uint64) (losses []loss) {
	if r.byte() != formatLosses {
		return nil
	}
	l := loss{segment: segment, day: t == tableDay, all: len(r.b) == 0}
	if l.all {
		return []loss{l}
	}
	for len(r.b) > 0 {
		l.series, l.part = uint32(r.uint()), int(r.uint())
		if r.bad {
			break
		}
		losses = append(losses, l)
	}
	return losses
}
