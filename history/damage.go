package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Loss is what damage to the file has cost.
type Loss struct {
	Series   string    // "" is all that there was, or some of it; "decisions", "events", "notes", "messages" and "names" are no series
	From, To time.Time // it is of this time, as far as what is next to it tells; zero: open
}

func (l Loss) String() string {
	what := l.Series
	if what == "" {
		what = "everything"
	}
	const form = "2006-01-02 15:04:05"
	switch {
	case l.From.IsZero() && l.To.IsZero():
		return what
	case l.From.IsZero():
		return what + " until " + l.To.Format(form)
	case l.To.IsZero():
		return what + " from " + l.From.Format(form) + " on"
	}
	return what + " from " + l.From.Format(form) + " to " + l.To.Format(form)
}

// mend puts right what keeps the file from being read and written: it saves what is good in a damaged one,
// and takes up the file where that could not be done at the start.
func (h *History) mend(ctx context.Context) error {
	h.mu.Lock()
	starting, most := h.starting, h.cfg.maxSize()
	h.mu.Unlock()
	why := h.disk.brokenBy()
	if why == nil && !starting {
		return nil
	}
	var s *salvage
	err := h.disk.shut(ctx)
	if err == nil && why != nil {
		h.opt.Log.Error("history is damaged: what is good is saved, and the house goes on meanwhile", "file", h.disk.path, "err", why)
		s, err = salvageFile(ctx, h.disk.path, most)
	}
	if err == nil {
		err = h.disk.admit()
	}
	var t taken
	if err == nil {
		t, err = h.disk.takeUp()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			h.opt.Log.Error("history can't be put right; it is tried again", "file", h.disk.path, "err", err)
		}
		h.health.Err = err.Error()
		return err
	}
	h.health.Err = ""
	if starting {
		h.started(t)
	} else {
		h.adopt(t)
		h.allNames = true // the file may have lost some that are known here
		for _, w := range h.waiting {
			h.times.learn(&w.head)
		}
	}
	if s != nil {
		text := fmt.Sprintf("%v: saved %d rows of it", why, s.saved)
		if s.unread > 0 {
			text += fmt.Sprintf("; the disk did not give %d bytes", s.unread)
		}
		if s.tooMany > 0 {
			text += fmt.Sprintf("; there was no room for the oldest %d rows", s.tooMany)
		}
		losses := h.worded(s.newly)
		losses = append(losses, h.nameless(s.places)...)
		if s.tail && len(t.heads) > 0 {
			_, to := h.times.span(t.heads[len(t.heads)-1])
			losses = append(losses, Loss{From: h.moment(to)})
		} else if s.tail {
			losses = append(losses, Loss{})
		}
		h.tell(text, losses)
		h.health.Checked = h.opt.Now().Wall
	}
	return nil
}

// tell reports damage. h.mu is held.
func (h *History) tell(text string, losses []Loss) {
	all := text
	if len(losses) > 0 {
		var list []string
		for i, l := range losses {
			if i == 10 {
				list = append(list, fmt.Sprintf("and %d more", len(losses)-i))
				break
			}
			list = append(list, l.String())
		}
		all += "; lost is " + strings.Join(list, ", ")
	} else {
		all += "; nothing is lost"
	}
	h.opt.Log.Error("history was damaged", "file", h.disk.path, "what", all)
	h.health.Found = append(h.health.Found, all)
	h.health.Losses = append(h.health.Losses, losses...)
	if !h.off() {
		now := h.opt.Now()
		h.frame(noteSeries, now, 0, func(b []byte) []byte {
			return appendRecord(b, &Note{At: now, Kind: "damage", Name: File, Text: all})
		})
	}
}

// nameless are those readings of which nothing tells any more whose they are. h.mu is held.
func (h *History) nameless(places []place) (list []Loss) {
	spans := make(map[uint32]Loss)
	for segment := range chunkBySegment(places) {
		id, _, _ := splitID(segment[0].id)
		i, found := h.find(id)
		if segment[0].table != tableChunk || !found {
			continue
		}
		from, to := h.times.span(h.segments[i])
		for _, p := range segment {
			_, number, _ := splitID(p.id)
			if number < firstSeries || number == endSeries || h.numbered[number] != nil {
				continue
			}
			l, seen := spans[number]
			if !seen {
				l = Loss{Series: h.called(number), From: h.moment(from)}
			}
			l.To = h.moment(to)
			spans[number] = l
		}
	}
	return slices.SortedFunc(maps.Values(spans), func(a, b Loss) int { return strings.Compare(a.Series, b.Series) })
}

// find looks for a segment on the disk; where it would be, if there is none of that id. h.mu is held.
func (h *History) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(h.segments, id, func(s *head, id uint64) int { return cmp.Compare(s.id, id) })
}

func (h *History) moment(us int64) time.Time { return time.UnixMicro(us).In(h.opt.Zone) }

// worded puts losses into words. h.mu is held.
func (h *History) worded(losses []loss) (list []Loss) {
	slices.SortFunc(losses, func(a, b loss) int { return cmp.Compare(a.segment, b.segment) })
	type before struct{ segment, entry int }
	last := make(map[string]before) // by series: where it was, to join what is next to each other
	for _, l := range losses {
		if !l.all && (l.series == headSeries || l.series == endSeries) {
			continue // the other copy tells the same
		}
		var x Loss
		i, found := h.find(l.segment)
		switch {
		case l.day:
			x.From = h.moment(int64(l.segment) * dayMicros)
			x.To = h.moment(int64(l.segment+1) * dayMicros)
		case found:
			from, to := h.times.span(h.segments[i])
			x.From, x.To = h.moment(from), h.moment(to)
		default: // between its neighbours
			if i > 0 {
				_, from := h.times.span(h.segments[i-1])
				x.From = h.moment(from)
			}
			if i < len(h.segments) {
				to, _ := h.times.span(h.segments[i])
				x.To = h.moment(to)
			}
		}
		if !l.all {
			x.Series = h.called(l.series)
		}
		if l.day {
			x.Series = "averages of " + x.Series
		}
		if b, ok := last[x.Series]; ok && !l.day && found && b.segment >= i-1 {
			list[b.entry].To = x.To
			last[x.Series] = before{i, b.entry}
			continue
		}
		last[x.Series] = before{i, len(list)}
		list = append(list, x)
	}
	return list
}

// called is what people call the series of a number.
func (h *History) called(number uint32) string {
	switch number {
	case namesSeries:
		return "names"
	case decisionSeries:
		return "decisions"
	case eventSeries:
		return "events"
	case noteSeries:
		return "notes"
	case largeSeries:
		return "messages"
	case lossSeries:
		return "what was lost before"
	}
	if s := h.numbered[number]; s != nil {
		return s.name
	}
	return fmt.Sprintf("a series of which even the name is lost (%d)", number)
}

// salvageFile saves what is good in a damaged file, which must not be open: then a file of that is in its place.
// The damaged one stays beside it as long as both have room in so many bytes.
func salvageFile(ctx context.Context, path string, most int64) (*salvage, error) {
	s, err := openSalvage(ctx, path)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.sift()
	s.note()
	room, err := roomFor(filepath.Dir(path), 0, most)
	if err != nil {
		return nil, err
	}
	s.fit(room)
	if err := s.write(ctx, path+newSuffix, most); err != nil {
		return nil, err
	}
	s.saved = len(s.places) - len(s.made)
	if err := os.Rename(path+newSuffix, path+salvagedSuffix); err != nil {
		return nil, err
	}
	if _, err := replace(path); err != nil {
		return nil, err
	}
	dropDamaged(path, most)
	return s, nil
}

// dropDamaged takes away a damaged file that was put aside, once it and the good one have no room together.
func dropDamaged(path string, most int64) {
	aside, err := os.Stat(path + damagedSuffix)
	if err != nil {
		return
	}
	if room, err := roomFor(filepath.Dir(path), takenBy(path)+aside.Size(), most); err == nil && takenBy(path)+aside.Size() > room {
		os.Remove(path + damagedSuffix)
	}
}

// scrub looks once through all that is on the disk when the hub starts, so that damage is noticed while the rest
// is there, and not when somebody asks. It takes its time: the card and the disk's one connection have other
// things to do.
func (h *History) scrub(ctx context.Context) {
	for h.settling() {
		if !pause(ctx, cmp.Or(h.opt.rest, time.Second)) {
			return
		}
	}
	h.mu.Lock()
	segments := slices.Clone(h.segments)
	h.mu.Unlock()
	for i, s := range slices.Backward(segments) {
		began := time.Now()
		bad, err := h.disk.inspect(tableChunk, s.id)
		if i > 0 && s.before != segments[i-1].id && s.before >= segments[0].id && err == nil {
			var known []loss
			var first uint64
			if known, err = h.disk.knownLosses(tableChunk, s.before); err == nil {
				first, _, err = h.disk.ends(tableChunk)
			}
			// What retention has taken meanwhile is not lost.
			bad.unseen = bad.unseen || s.before >= first && !slices.Contains(known, loss{segment: s.before, all: true})
		}
		switch {
		case errors.Is(err, errSalvage), h.disk.brokenBy() != nil:
			return // all is looked through then
		case err != nil:
			h.opt.Log.Warn("history can't be looked through", "err", err)
			return
		case bad.unseen:
			h.disk.noticed(fmt.Errorf("%w: rows that it should have are not found", errPages))
			return
		}
		h.found(bad)
		if !pause(ctx, h.rest(began)) {
			return
		}
	}
	// Of what rollups are broken nothing but their day tells.
	for day := uint64(1 << 36); ; {
		began := time.Now()
		before, ok, err := h.disk.dayBefore(day)
		var bad inspected
		if err == nil && ok {
			day = before
			bad, err = h.disk.inspect(tableDay, day)
		}
		switch {
		case errors.Is(err, errSalvage), h.disk.brokenBy() != nil:
			return
		case err != nil:
			h.opt.Log.Warn("history can't be looked through", "err", err)
			return
		}
		h.found(bad)
		if !ok {
			break
		}
		if !pause(ctx, h.rest(began)) {
			return
		}
	}
	h.mu.Lock()
	h.health.Checked = h.opt.Now().Wall
	h.mu.Unlock()
}

// rest is how long a scrub lets others at the disk after what it began then.
func (h *History) rest(began time.Time) time.Duration {
	return cmp.Or(h.opt.rest, max(10*time.Millisecond, 4*time.Since(began)))
}

// found has what is wrong put right.
func (h *History) found(bad inspected) {
	if len(bad.broken)+len(bad.lost) == 0 {
		return
	}
	h.mu.Lock()
	h.broken = append(h.broken, bad.broken...)
	h.missed = append(h.missed, bad.lost...)
	h.mu.Unlock()
	h.nudge()
}

// settling reports whether the file is not yet what it will be.
func (h *History) settling() bool {
	broken := h.disk.brokenBy() != nil // not under h.mu, for which the house's loop waits
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starting || broken
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// An inspected is what is wrong with a segment, or a day.
type inspected struct {
	broken []loss // rows
	lost   []loss // that were in the log, or are of a day
	unseen bool   // there should be others, which SQLite does not find
}

// inspect looks whether each row of a segment, or of a day, is good, and all are there that should be.
func (d *disk) inspect(t table, segment uint64) (bad inspected, err error) {
	from, to := rowID(segment, 0, 0), rowID(segment, maxSeries, maxPart)
	var recent []row // first, for what is there now may be in the database then
	if t == tableChunk {
		d.logs.RLock()
		recent, err = d.recent.some(from, to)
		d.logs.RUnlock()
		if err != nil {
			return bad, err
		}
	}
	// All of it at one moment: retention may take rows away at any other.
	now, err := d.db.Begin()
	if err != nil {
		return bad, d.noticed(err)
	}
	defer now.Rollback()
	rows, err := now.Query("SELECT id, data FROM "+string(t)+" WHERE id BETWEEN ? AND ?", from, to)
	if err != nil {
		return bad, d.noticed(err)
	}
	defer rows.Close()
	there := make(map[int64]bool)
	var contents [][]byte
	var known []loss
	look := func(id int64, data []byte) bool {
		there[id] = true
		body, err := unsealed(t, id, data)
		if err != nil {
			return false
		}
		switch _, series, part := splitID(id); {
		case part > 0 && (series == headSeries || series == endSeries):
			contents = append(contents, slices.Clone(body))
		case series == lossSeries:
			known = append(known, (&reader{b: body}).losses(t, segment)...)
		}
		return true
	}
	for rows.Next() {
		var id int64
		var data []byte
		if err := rows.Scan(&id, &data); err != nil {
			return bad, d.noticed(err)
		}
		if !look(id, data) {
			_, series, part := splitID(id)
			bad.broken = append(bad.broken, loss{segment: segment, series: series, part: part, day: t == tableDay})
		}
	}
	if err := rows.Err(); err != nil {
		return bad, d.noticed(err)
	}
	// Who looks for one row finds it by the pages that lead there, which going from row to row does not use.
	find, err := now.Prepare("SELECT count(*) FROM " + string(t) + " WHERE id = ?")
	if err != nil {
		return bad, d.noticed(err)
	}
	defer find.Close()
	for id := range there {
		var n int
		if err := find.QueryRow(id).Scan(&n); err != nil {
			return bad, d.noticed(err)
		}
		bad.unseen = bad.unseen || n == 0
	}
	if len(there) == 0 && len(recent) > 0 {
		for _, r := range recent {
			if !look(r.id, r.data) {
				delete(there, r.id)
			}
		}
		bad.lost = missing(segment, contents, func(id int64) bool { return there[id] })
		return bad, nil
	}
	for _, l := range missing(segment, contents, func(id int64) bool { return there[id] }) {
		switch l.day = t == tableDay; {
		case slices.Contains(known, l):
		case l.day: // a salvage does not ask for these
			bad.lost = append(bad.lost, l)
		default:
			bad.unseen = true
		}
	}
	return bad, nil
}

// knownLosses are those of which a segment knows.
func (d *disk) knownLosses(t table, segment uint64) (known []loss, err error) {
	n := 0
	bodies, err := d.rows(t, segment, lossSeries, &n)
	for _, body := range bodies {
		known = append(known, (&reader{b: body}).losses(t, segment)...)
	}
	return known, err
}

// dropBroken takes away the rows that scrub found broken, and notes what is lost.
func (h *History) dropBroken() error {
	h.mu.Lock()
	broken, missed, gone := h.broken, h.missed, h.gone
	h.mu.Unlock()
	if len(broken) == 0 && len(missed) == 0 && gone == 0 {
		return nil
	}
	ofLog := slices.ContainsFunc(missed, func(l loss) bool { return !l.day })
	if ofLog {
		// So that this is noted where it was, and no start tells it again.
		if err := h.settle(); err != nil {
			return err
		}
	}
	losses := slices.Concat(missed, broken)
	rows := lossRows(losses, func(t table, id int64) bool {
		var n int
		h.disk.db.QueryRow("SELECT count(*) FROM "+string(t)+" WHERE id = ?", id).Scan(&n)
		return n > 0
	})
	if err := h.disk.drop(broken, rows); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken, h.missed, h.gone = h.broken[len(broken):], h.missed[len(missed):], 0
	h.health.Damaged += len(losses)
	h.allNames = h.allNames || slices.ContainsFunc(losses, func(l loss) bool { return l.series == namesSeries })
	text := fmt.Sprintf("%d rows are broken", len(losses))
	told := h.worded(losses)
	if gone > 0 {
		text += fmt.Sprintf(", and %d blocks of %s, unless the power failed while they were written", gone, LogFile)
		if !ofLog && len(h.segments) > 0 {
			_, to := h.times.span(h.segments[len(h.segments)-1])
			told = append(told, Loss{From: h.moment(to), To: h.opt.Now().Wall})
		}
	}
	h.tell(text, told)
	return nil
}

// drop takes broken rows away and adds others.
func (d *disk) drop(broken []loss, rows []tableRow) error {
	tx, err := d.db.Begin()
	if err != nil {
		return d.noticed(err)
	}
	defer tx.Rollback()
	for _, l := range broken {
		if _, err := tx.Exec("DELETE FROM "+string(l.table())+" WHERE id = ?", rowID(l.segment, l.series, l.part)); err != nil {
			return d.noticed(err)
		}
	}
	for _, r := range rows {
		if _, err := tx.Exec("INSERT INTO "+string(r.table)+"(id, data) VALUES(?, ?)", r.id, r.data); err != nil {
			return d.noticed(err)
		}
	}
	return d.noticed(tx.Commit())
}
