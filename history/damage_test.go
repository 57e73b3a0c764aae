package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// A recording is of a house: its file, what is in it, and on which page.
type recording struct {
	file, journal []byte
	log           []byte
	blocks        int                      // of the log that are in use
	want          map[string]map[int64]any // by series and moment
	rowsOn        map[uint32][]int64       // by page
	inner, free   []uint32                 // pages that lead to others, that list free ones
	heads         []*head
	times         timeline
	names         map[uint32]string
}

const (
	houseSeries = 12
	logPages    = 1 << 20 // the number of the log's first, among those of the file
)

func eventAt(at time.Time, n int) rules.Event {
	now := devices.Now{Mono: at.Sub(houseBegan), Wall: at, Known: true}
	name := fmt.Sprintf("room%d.sensor", n%houseSeries)
	r := devices.Reading{Source: name, Topic: name, At: now}
	switch n % 3 {
	case 0:
		v := float64(n*7919%1000) / 10
		r.Value, r.Text = v, devices.Text(v)
	case 1:
		r.Value = n%2 == 0
		r.Text = devices.Text(r.Value)
	case 2:
		r.Text = fmt.Sprintf("state %d of something", n*31%977)
		r.Value = r.Text
	}
	return rules.Event{At: now, Kind: rules.Report, Readings: []devices.Reading{r}}
}

var houseBegan = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func openAt(t testing.TB, dir string, log *slog.Logger) *History {
	t.Helper()
	at := houseBegan.Add(30 * time.Hour)
	h, err := Open(dir, Config{}, Options{Log: log, Zone: time.UTC, Boot: "one", rest: -1, Now: func() devices.Now {
		return devices.Now{Mono: at.Sub(houseBegan), Wall: at, Known: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// recordedHouse records days of a house, of which the first have gone again.
func recordedHouse(t testing.TB, segments int) *recording {
	t.Helper()
	dir := t.TempDir()
	h := openAt(t, dir, nil)
	n := 0
	for s := range segments {
		for range 600 {
			h.Event(eventAt(houseBegan.Add(time.Duration(n)*time.Second), n))
			n++
		}
		if s%10 == 0 {
			h.Note(Note{At: devices.Now{Mono: time.Duration(n) * time.Second, Wall: houseBegan.Add(time.Duration(n) * time.Second), Known: true}, Kind: "client", Name: "lamp", Text: fmt.Sprint("came ", n)})
		}
		if err := h.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s == segments*4/5 {
			h.mu.Lock()
			gone := h.segments[segments/2].id
			h.segments = slices.Clone(h.segments[segments/2:])
			h.mu.Unlock()
			if err := h.settle(); err != nil {
				t.Fatal(err)
			}
			if err := h.disk.remove(tableChunk, gone); err != nil {
				t.Fatal(err)
			}
		}
	}
	x := &recording{rowsOn: map[uint32][]int64{}, names: map[uint32]string{}}
	x.want = everything(t, h)
	h.mu.Lock()
	x.heads, x.times = h.segments, h.times
	for number, s := range h.numbered {
		x.names[number] = s.name
	}
	h.mu.Unlock()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if x.file, err = os.ReadFile(filepath.Join(dir, File)); err != nil {
		t.Fatal(err)
	}
	oldest := rowID(x.heads[0].id, 0, 0)
	for r, err := range rowsIn(bytes.NewReader(x.file), int64(len(x.file))) {
		if err != nil {
			t.Fatal(err)
		}
		if r.table == tableChunk && r.id >= oldest {
			page := uint32(r.at/pageSize) + 1
			x.rowsOn[page] = append(x.rowsOn[page], r.id)
		}
	}
	if x.log, err = os.ReadFile(filepath.Join(dir, LogFile)); err != nil {
		t.Fatal(err)
	}
	// What the log still has of what the database has too would be of help.
	last := uint64(0)
	for _, ids := range x.rowsOn {
		for _, id := range ids {
			segment, _, _ := splitID(id)
			last = max(last, segment)
		}
	}
	for at := 0; at < logSize; at += pageSize {
		if binary.BigEndian.Uint64(x.log[at+4:]) <= last {
			clear(x.log[at : at+pageSize])
		}
	}
	var log recent
	for at := int64(0); at < logSize; at += pageSize {
		if log.note(x.log[at:at+pageSize], at, 0) {
			x.blocks = int(at/pageSize) + 1
		}
	}
	for _, r := range log.rows {
		page := logPages + uint32(r.from/pageSize)
		x.rowsOn[page] = append(x.rowsOn[page], r.id)
	}
	x.inner, _ = led(x.file, 2)
	for n := binary.BigEndian.Uint32(x.file[headFree:]); n != 0; n = binary.BigEndian.Uint32(x.file[(n-1)*pageSize:]) {
		x.free = append(x.free, n)
	}
	x.journal = hotJournal(t, x.file)
	return x
}

// hotJournal is the journal of a commit that a power cut broke off, before anything of it
// came into the file but what is beyond its end.
func hotJournal(t testing.TB, file []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	_, last, err := d.ends(tableChunk)
	if err != nil {
		t.Fatal(err)
	}
	// So many that the cache spills: then the journal has been synced.
	tx, err := d.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("DELETE FROM chunk WHERE id > ?", rowID(last-30, 0, 0)); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		id := rowID(last+5, uint32(i), 0)
		if _, err := tx.Exec("INSERT INTO chunk VALUES (?, ?)", id, sealed(tableChunk, id, make([]byte, 1000))); err != nil {
			t.Fatal(err)
		}
	}
	journal, err := os.ReadFile(path + journalSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return journal
}

// everything is all readings.
func everything(t testing.TB, h *History) map[string]map[int64]any {
	t.Helper()
	all := map[string]map[int64]any{}
	for _, s := range h.Series() {
		all[s.Name] = map[int64]any{}
		for p, err := range h.Readings(s.Name, time.Time{}, time.Time{}) {
			if err != nil {
				t.Fatal(s.Name, err)
			}
			all[s.Name][p.At.UnixMicro()] = p.Value
		}
	}
	return all
}

// settled waits until the file has been looked through, and what was found is put right.
func settled(t testing.TB, h *History) Health {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		done := !h.health.Checked.IsZero() && len(h.broken)+len(h.missed)+h.gone == 0 && !h.starting && h.disk.brokenBy() == nil
		h.mu.Unlock()
		if done {
			return h.Health()
		}
		if time.Now().After(end) {
			t.Fatalf("this does not end: %+v", h.Health())
		}
	}
}

// A harm is what happens to a file, and which of its pages it touches.
type harm struct {
	name     string
	do       func(file, journal []byte) ([]byte, []byte)
	log      func(log []byte)
	from, to uint32 // pages that are no longer what they were
}

// harms are so many of all sorts.
func (x *recording) harms(random *rand.Rand, n int) (all []harm) {
	pages := uint32(len(x.file) / pageSize)
	flip := func(name string, page uint32, limit int) harm {
		at, bit := int(page-1)*pageSize+random.IntN(limit), byte(1)<<random.IntN(8)
		return harm{fmt.Sprintf("%s: bit %#x of byte %d of page %d", name, bit, at%pageSize, page), func(file, _ []byte) ([]byte, []byte) {
			file[at] ^= bit
			return file, nil
		}, nil, page, page}
	}
	for i := range n {
		switch i % 10 {
		case 0:
			all = append(all, flip("header", 1, fileHeader))
		case 1:
			all = append(all, flip("schema", 1, pageSize))
		case 2:
			all = append(all, flip("inner page", x.inner[random.IntN(len(x.inner))], pageSize))
		case 3:
			all = append(all, flip("list of free pages", x.free[random.IntN(len(x.free))], 600))
		case 4:
			all = append(all, flip("head of a page", 1+random.Uint32N(pages), 40))
		case 5:
			at := random.IntN(len(x.journal)) * (1 + i/10%2) / 2 // in half of the cases in its first half
			bit := byte(1) << random.IntN(8)
			from, to := x.rolledBack(at, bit)
			all = append(all, harm{fmt.Sprintf("journal: bit %#x of byte %d", bit, at), func(file, journal []byte) ([]byte, []byte) {
				journal[at] ^= bit
				return file, journal
			}, nil, from, to})
		case 6:
			length := random.IntN(len(x.file))
			if random.IntN(2) == 0 {
				length -= length % pageSize
			}
			all = append(all, harm{fmt.Sprint("cut to ", length, " of ", len(x.file), " bytes"), func(file, _ []byte) ([]byte, []byte) { return file[:length], nil }, nil, uint32(length/pageSize) + 1, pages})
		case 7:
			at, bit := random.IntN(x.blocks*pageSize), byte(1)<<random.IntN(8)
			page := logPages + uint32(at/pageSize)
			all = append(all, harm{fmt.Sprintf("log: bit %#x of byte %d of block %d", bit, at%pageSize, at/pageSize),
				func(file, _ []byte) ([]byte, []byte) { return file, nil }, func(log []byte) { log[at] ^= bit }, page, page})
		default:
			all = append(all, flip("anywhere", 1+random.Uint32N(pages), pageSize))
		}
	}
	return all
}

// rolledBack is which pages of the file a flipped bit of the journal may damage, when SQLite takes
// from it the pages as they were: one of them can be wrong, or come into a wrong place, or the file be cut.
func (x *recording) rolledBack(at int, bit byte) (from, to uint32) {
	j := bytes.Clone(x.journal)
	sector := int(binary.BigEndian.Uint32(j[20:]))
	before := binary.BigEndian.Uint32(j[16:]) // pages of the file
	j[at] ^= bit
	if at < sector {
		if now := binary.BigEndian.Uint32(j[16:]); now != before {
			return now + 1, before
		}
		return 1, 0
	}
	r := at - (at-sector)%(pageSize+8)
	if r+4 > len(j) {
		return 1, 0
	}
	n := binary.BigEndian.Uint32(j[r:])
	return n, n
}

// A damaged file starts; what is read is right or not there; and what is not there was on a page that
// was damaged, and is reported.
func TestADamagedFileCostsWhatWasOnThePage(t *testing.T) {
	starts := 30
	if n, err := strconv.Atoi(os.Getenv("HEARTH_STARTS")); err == nil { // 500 take some minutes
		starts = n
	}
	x := recordedHouse(t, 150)
	total := 0
	for _, points := range x.want {
		total += len(points)
	}
	random := rand.New(rand.NewPCG(7, 11))
	var salvaged, dropped, harmless, lostRows, lostPoints int
	var longest, all time.Duration
	for i, harm := range x.harms(random, starts) {
		dir := t.TempDir()
		file, journal := harm.do(bytes.Clone(x.file), bytes.Clone(x.journal))
		if err := os.WriteFile(filepath.Join(dir, File), file, 0o600); err != nil {
			t.Fatal(err)
		}
		log := bytes.Clone(x.log)
		if harm.log != nil {
			harm.log(log)
		}
		if err := os.WriteFile(filepath.Join(dir, LogFile), log, 0o600); err != nil {
			t.Fatal(err)
		}
		if journal != nil {
			if err := os.WriteFile(filepath.Join(dir, File+journalSuffix), journal, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		h := openAt(t, dir, nil)
		later := houseBegan.Add(29 * time.Hour)
		h.Event(eventAt(later, 12))
		health := settled(t, h)
		took := time.Since(began)
		longest, all = max(longest, took), all+took
		got := everything(t, h)
		if got["room0.sensor"][later.UnixMicro()] != float64(eventAt(later, 12).Readings[0].Value.(float64)) {
			t.Errorf("%d, %s: what happened after the start is not there", i, harm.name)
		}
		delete(got["room0.sensor"], later.UnixMicro())

		allowed := map[int64]bool{} // segment and series
		for page := harm.from; page <= harm.to; page++ {
			for _, id := range x.rowsOn[page] {
				allowed[id>>partBits] = true
				lostRows++
			}
		}
		x.withoutHead(allowed)
		lost := x.compare(t, fmt.Sprint(i, ", ", harm.name), got, allowed, health.Losses)
		lostPoints += lost
		switch {
		case health.Damaged > 0:
			dropped++
		case len(health.Found) > 0:
			salvaged++
		default:
			harmless++
		}
		if lost > 0 && len(health.Losses) == 0 {
			t.Errorf("%d, %s: %d values are lost, and nothing is reported", i, harm.name, lost)
		}
		if err := h.Close(); err != nil {
			t.Errorf("%d, %s: %v", i, harm.name, err)
		}
		if i%10 == 9 || len(health.Found) > 0 {
			h := openAt(t, dir, nil)
			if health := settled(t, h); len(health.Found) > 0 {
				t.Errorf("%d, %s: the next start finds damage: %v", i, harm.name, health.Found)
			}
			again := everything(t, h)
			delete(again["room0.sensor"], later.UnixMicro())
			for name := range x.want {
				if !maps.Equal(again[name], got[name]) {
					t.Errorf("%d, %s: after the next start %s has %d values, before %d", i, harm.name, name, len(again[name]), len(got[name]))
				}
			}
			h.Close()
		}
		if t.Failed() && i > 20 {
			t.FailNow()
		}
	}
	t.Logf("%d starts with a damaged file of %d KiB and %d values: %d salvaged, %d with rows dropped, %d lost nothing that mattered",
		starts, len(x.file)>>10, total, salvaged, dropped, harmless)
	t.Logf("lost %d values, of the %d rows on damaged pages and behind cuts; start and repair took %v on average, %v at most", lostPoints, lostRows, all/time.Duration(starts), longest)
}

// A page goes bad while the hub runs. Who asks for what was there lets history notice; what comes meanwhile is
// recorded, and everything else is there again, with a note of what was lost.
func TestAFileThatGoesBadWhileTheHubRuns(t *testing.T) {
	x := recordedHouse(t, 150)
	dir := t.TempDir()
	path := filepath.Join(dir, File)
	for name, content := range map[string][]byte{path: x.file, filepath.Join(dir, LogFile): x.log} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := openAt(t, dir, nil)
	defer func() { h.Close() }()
	if health := settled(t, h); len(health.Found) > 0 {
		t.Fatal(health.Found)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	allowed := map[int64]bool{}
	hit := 0
	for page := uint32(3); page < uint32(len(x.file)/pageSize); page += 20 {
		if len(x.rowsOn[page]) == 0 || slices.Contains(x.inner, page) {
			continue
		}
		for _, id := range x.rowsOn[page] {
			allowed[id>>partBits] = true
		}
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, pageSize), int64(page-1)*pageSize); err != nil {
			t.Fatal(err)
		}
		hit++
	}
	for end := time.Now().Add(time.Minute); len(h.Health().Found) == 0; {
		for _, s := range h.Series() {
			for _, err := range h.Readings(s.Name, time.Time{}, time.Time{}) {
				if err != nil && !isDamage(err) && !strings.Contains(err.Error(), errSalvage.Error()) {
					t.Fatal(err)
				}
			}
		}
		if time.Now().After(end) {
			t.Fatal("nobody notices")
		}
	}
	later := houseBegan.Add(29 * time.Hour)
	h.Event(eventAt(later, 12))
	if err := h.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	health := settled(t, h)
	got := everything(t, h)
	if _, ok := got["room0.sensor"][later.UnixMicro()]; !ok {
		t.Error("what happened then is not there")
	}
	delete(got["room0.sensor"], later.UnixMicro())
	x.withoutHead(allowed)
	lost := x.compare(t, "while it runs", got, allowed, health.Losses)
	t.Logf("%d pages went bad, %d values are lost: %.200s", hit, lost, health.Found[0])
	if lost == 0 {
		t.Error("nothing is lost?")
	}
	told := false
	for n, err := range h.Notes(time.Time{}, time.Time{}) {
		told = told || err == nil && n.Kind == "damage" && n.Text == health.Found[0]
	}
	if !told {
		t.Error("there is no note of it")
	}
	if _, err := os.Stat(path + damagedSuffix); err != nil {
		t.Error("the damaged file is not beside it:", err)
	}
}

// A power cut can come at any step of the exchange of the files: the next start ends it, or begins the salvage anew.
func TestASalvageThatIsCutOffIsEndedByTheNextStart(t *testing.T) {
	for left := range 4 {
		dir := t.TempDir()
		path := filepath.Join(dir, File)
		content := map[string]string{path: "old", path + journalSuffix: "journal of the old one", path + salvagedSuffix: "good"}
		for name, text := range content {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		switch left { // how far it had come
		case 1, 2:
			err = os.Rename(path, path+damagedSuffix)
			if left == 2 {
				err = os.Remove(path + journalSuffix)
			}
		case 3: // not complete
			if err = os.Rename(path+salvagedSuffix, path+newSuffix); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		done, err := replace(path)
		if err != nil || done != (left < 3) {
			t.Fatal(left, done, err)
		}
		now, _ := os.ReadFile(path)
		journal, _ := os.ReadFile(path + journalSuffix)
		if left < 3 && (string(now) != "good" || journal != nil) || left == 3 && (string(now) != "old" || journal == nil) {
			t.Errorf("%d: %s, journal %q", left, now, journal)
		}
		if _, err := os.Stat(path + newSuffix); err == nil {
			t.Errorf("%d: half a salvage is still there", left)
		}
	}
}

// withoutHead adds to what may be lost all of the segments that have lost both copies of their
// head, and all if no list of the names is left.
func (x *recording) withoutHead(allowed map[int64]bool) {
	names := false
	for _, s := range x.heads {
		gone := func(series uint32) bool { return allowed[rowID(s.id, series, 0)>>partBits] }
		names = names || s.allNames && !gone(namesSeries)
		if gone(headSeries) && gone(endSeries) {
			for number := range x.names {
				allowed[rowID(s.id, number, 0)>>partBits] = true
			}
		}
	}
	if !names {
		for _, s := range x.heads {
			for number := range x.names {
				allowed[rowID(s.id, number, 0)>>partBits] = true
			}
		}
	}
}

// most is those losses that say the most.
func most(losses []Loss) (list []string) {
	for _, l := range losses {
		if l.Series == "" || len(losses) < 5 {
			list = append(list, l.String())
		}
	}
	return list
}

// compare wants each value that is there to be right, each that is not to have been in one of the rows that were allowed to
// go, and to be reported. It gives how many are not there.
func (x *recording) compare(t *testing.T, what string, got map[string]map[int64]any, allowed map[int64]bool, losses []Loss) (lost int) {
	t.Helper()
	complaints := 0
	for number, name := range x.names {
		for at, v := range got[name] {
			if want, ok := x.want[name][at]; !ok || want != v {
				t.Fatalf("%s: WRONG VALUE of %s: %v, want %v", what, name, v, want)
			}
		}
		for at := range x.want[name] {
			if _, ok := got[name][at]; ok {
				continue
			}
			lost++
			i := len(x.heads) - 1
			for ; i > 0; i-- {
				if from, _ := x.times.span(x.heads[i]); from <= at {
					break
				}
			}
			mine := allowed[rowID(x.heads[i].id, number, 0)>>partBits]
			told := slices.ContainsFunc(losses, func(l Loss) bool {
				return (l.Series == "" || l.Series == name || strings.HasPrefix(l.Series, "a series of which even the name")) && (l.From.IsZero() || l.From.UnixMicro() <= at) && (l.To.IsZero() || at <= l.To.UnixMicro())
			})
			if (!mine || !told) && complaints < 3 {
				complaints++
				t.Errorf("%s: %s of segment %d at %v is lost; it was on a damaged page: %v, reported: %v (%v)", what, name, x.heads[i].id, time.UnixMicro(at).UTC(), mine, told, most(losses))
			}
		}
	}
	return lost
}

// The list of a day's segments is damaged: that costs none of them.
func TestADamagedListOfSegmentsCostsNone(t *testing.T) {
	h := newHome(t, fastDir(t), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	for range 60 {
		h.report("x", 1.0)
		h.pass(time.Hour)
		h.flush()
	}
	count := func() (n int) {
		for _, err := range h.Readings("x", time.Time{}, h.now.Wall) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	if n := count(); n != 60 {
		t.Fatal(n)
	}
	done, err := h.disk.db.Exec("UPDATE day SET data = x'00' WHERE id BETWEEN ? AND ?",
		rowID(uint64(floorDay(micros(h.now.Wall))-2), headSeries, 1), rowID(uint64(floorDay(micros(h.now.Wall))-2), headSeries, maxPart))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := done.RowsAffected(); n == 0 {
		t.Fatal("there is no such list")
	}
	h.stop()
	h.start()
	if n := count(); n != 60 {
		t.Errorf("%d readings are found, want 60", n)
	}
}

// A message, or what is kept beside its reading, is given to none but its own: where it was
// damaged the next one goes without, and has not that of the one before.
func TestADamagedMessageIsNotThatOfAnother(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	list := func(word string) devices.Reading { return reading("list", []any{word}, h.now) } // too unusual for a row of readings
	for _, word := range []string{"first", "second"} {
		m := &devices.Message{Topic: "plug", Payload: []byte(word)}
		of := func(name string) devices.Reading {
			r := reading(name, word, h.now)
			r.Topic, r.Message = "plug", m
			return r
		}
		h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{of("plug:a"), of("plug:b")}})
		h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{list(word)}})
		h.pass(time.Minute)
		h.flush()
	}
	if err := h.disk.settle(h.cfg.maxSize()); err != nil {
		t.Fatal(err)
	}
	said := func() (all []string) {
		for e, err := range h.Entries(time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range e.Event.Readings {
				text := r.Source + " " + r.Text
				if r.Message != nil {
					text += " of " + string(r.Message.Payload)
				}
				all = append(all, text)
			}
		}
		return all
	}
	expect(t, said(), "plug:a first of first", "plug:b first of first", `list ["first"]`, "plug:a second of second", "plug:b second of second", `list ["second"]`)

	drop := func(segment *head, series uint32) {
		t.Helper()
		done, err := h.disk.db.Exec("DELETE FROM chunk WHERE id BETWEEN ? AND ?", rowID(segment.id, series, 0), rowID(segment.id, series, maxPart))
		if n, _ := done.RowsAffected(); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	drop(h.segments[1], largeSeries)
	expect(t, said(), "plug:a first of first", "plug:b first of first", `list ["first"]`, "plug:a second", "plug:b second")
	drop(h.segments[0], h.numberOf("list"))
	expect(t, said(), "plug:a first of first", "plug:b first of first", "plug:a second", "plug:b second")
}

// A scrub finds what rollups are broken or gone, too, says it once, and makes no new file for that.
func TestDamagedRollupsAreTold(t *testing.T) {
	dir := fastDir(t)
	h := newHome(t, dir, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Config{})
	for range 5 * 24 {
		h.report("x", float64(h.now.Wall.Hour()))
		h.report("y", float64(h.now.Wall.Hour()))
		h.pass(time.Hour)
	}
	h.flush()
	day := uint64(floorDay(micros(h.now.Wall))) - 4
	for _, change := range []string{"UPDATE day SET data = x'0011223344' WHERE id = ?", "DELETE FROM day WHERE id = ?"} {
		done, err := h.disk.db.Exec(change, rowID(day, h.numberOf("x"), 0))
		if n, _ := done.RowsAffected(); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		day++
	}
	h.stop()
	for i, want := range [][]string{{"averages of x from 2026-03-02 00:00:00 to 2026-03-03 00:00:00", "averages of x from 2026-03-03 00:00:00 to 2026-03-04 00:00:00"}, nil} {
		look := openAt(t, dir, nil)
		health := settled(t, look)
		var got []string
		for _, l := range health.Losses {
			got = append(got, l.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("start %d tells of %q, want %q", i, got, want)
		}
		if err := look.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, File+damagedSuffix)); err == nil {
		t.Error("all was saved anew, for some averages")
	}
}

// Names that a damaged file has lost are written again by a hub that still knows them.
func TestNamesThatAFileHasLostComeBack(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	for _, name := range []string{"x", "y"} {
		h.report(name, 1.0)
	}
	h.flush()
	h.scrubbed.Wait() // else that might find it before the rest is gone, too
	if err := h.disk.settle(h.cfg.maxSize()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.disk.db.Exec("DELETE FROM chunk WHERE id = ?", rowID(h.segments[0].id, namesSeries, 0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{LogFile, File + journalSuffix} { // which have them still
		if err := os.Truncate(filepath.Join(h.dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	h.disk.noticed(errPages)
	h.flush()
	if found := h.Health().Found; len(found) != 1 || !strings.Contains(found[0], "lost is names") {
		t.Fatal(found)
	}
	h.pass(time.Minute)
	h.report("x", 2.0)
	h.flush()
	h.stop()
	h.start()
	expect(t, h.points("y"), "2026-06-01 12:00:00 1")
}
