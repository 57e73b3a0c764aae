package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"modernc.org/sqlite" // the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// errFull says that the disk, or the largest size that the owner allows, is full.
var errFull = errors.New("there is no room")

// A table is one of the two.
type table string

const (
	tableChunk table = "chunk"
	tableDay   table = "day"
)

var tables = []table{tableChunk, tableDay} // by name

// schema is how a table is made.
func (t table) schema() string {
	return "CREATE TABLE " + string(t) + "(id INTEGER PRIMARY KEY, data BLOB)"
}

// A disk is the database and the log before it. The goroutine of History alone
// writes; anyone may read.
type disk struct {
	path   string
	db     *sql.DB
	gate   *gate
	packer packer
	limit  int64 // pages that it may have

	mu      sync.Mutex
	broken  error  // that shows that the file is damaged
	damaged func() // called then
	find    map[table]*sql.Stmt

	logs   sync.RWMutex // of recent
	recent *recent
}

func openDisk(path string) (*disk, error) {
	d := newDisk(path)
	return d, d.begin()
}

func newDisk(path string) *disk {
	// The journal is kept beside the database, and with it the room that undoing
	// needs: what makes room on a full disk needs it too.
	q := url.Values{"_pragma": {
		"page_size(4096)", "journal_mode(PERSIST)", "synchronous(FULL)", "cache_size(-512)",
		"temp_store(MEMORY)", "busy_timeout(5000)",
	}}
	g := &gate{name: (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()}
	d := &disk{path: path, gate: g, db: sql.OpenDB(g), damaged: func() {}, find: make(map[table]*sql.Stmt)}
	d.recent = &recent{path: filepath.Join(filepath.Dir(path), LogFile)}
	d.db.SetMaxOpenConns(1)
	return d
}

// make makes the tables of a new file.
func (d *disk) make() error {
	_, err := d.db.Exec(tableChunk.schema() + ";" + tableDay.schema())
	return d.noticed(err)
}

// begin makes a new file what it is to be, and looks whether one that is there is that:
// nothing is written to one that is not.
func (d *disk) begin() error {
	d.limit = 0
	// SQLite would let everybody read a file that it makes, and the journal is as the file.
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	var has int
	if err := d.db.QueryRow("SELECT count(*) + (SELECT page_count FROM pragma_page_count) FROM sqlite_schema").Scan(&has); err != nil {
		return d.noticed(err)
	}
	if has == 0 {
		if err := d.make(); err != nil {
			return err
		}
	} else if err := d.check(); err != nil {
		return d.noticed(err)
	}
	_, last, err := d.ends(tableChunk)
	if err != nil {
		return err
	}
	if err := growFile(d.path+"-journal", journalSize); err != nil {
		return err
	}
	d.logs.Lock()
	defer d.logs.Unlock()
	if d.recent.file != nil {
		return nil
	}
	return d.recent.open(last)
}

// journalSize is what the journal has from the start: so much of history can go in one
// step on a disk that is full. The journal of a transaction that has ended begins with
// zeros (https://www.sqlite.org/fileformat.html, section 3), and what is behind them
// means nothing.
const journalSize = 512 << 10

// growFile fills a file with zeros up to a size.
func growFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() >= size {
		return err
	}
	if _, err := f.WriteAt(make([]byte, size-info.Size()), info.Size()); err != nil {
		return err
	}
	return f.Sync()
}

func (d *disk) close() error {
	d.logs.Lock()
	d.recent.close()
	d.logs.Unlock()
	return d.db.Close()
}

// lastInLog is the last segment in the log; 0 if there is none.
func (d *disk) lastInLog() uint64 {
	d.logs.RLock()
	defer d.logs.RUnlock()
	return d.recent.last()
}

// add keeps a segment: in the log, which is emptied into the database when it is
// full. A segment of more than the log can take goes there at once.
func (d *disk) add(segment uint64, rows []row, max int64) error {
	_, last, err := d.ends(tableChunk)
	if err != nil {
		return err
	}
	log := func() error {
		d.logs.Lock()
		defer d.logs.Unlock()
		return d.recent.add(segment, rows, last)
	}
	err = log()
	if errors.Is(err, errLogFull) {
		if err = d.settle(max); err == nil {
			err = log()
		}
	}
	if errors.Is(err, errLogFull) {
		err = d.write(tableChunk, rows, max)
	}
	return err
}

// settle moves what is in the log to the database.
func (d *disk) settle(max int64) error {
	d.logs.RLock()
	rows, err := d.recent.some(0, math.MaxInt64)
	d.logs.RUnlock()
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := d.write(tableChunk, rows, max); err != nil {
		return err
	}
	d.logs.Lock()
	d.recent.empty()
	d.logs.Unlock()
	return nil
}

func (d *disk) bytes() int64 {
	info, err := os.Stat(d.path)
	if err != nil {
		return 0
	}
	return info.Size() + logSize
}

// explained gives what SQLite says of a lack of room a name.
func explained(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("%w: %v", errFull, err)
		}
	}
	return err
}

// write adds rows to a table, all or none.
func (d *disk) write(t table, rows []row, max int64) error {
	if pages := (max - logSize) / pageSize; pages != d.limit {
		if _, err := d.db.Exec(fmt.Sprintf("PRAGMA max_page_count=%d", pages)); err != nil {
			return d.noticed(err)
		}
		d.limit = pages
	}
	tx, err := d.db.Begin()
	if err != nil {
		return d.noticed(err)
	}
	defer tx.Rollback()
	insert, err := tx.Prepare("INSERT OR REPLACE INTO " + string(t) + "(id, data) VALUES(?, ?)")
	if err != nil {
		return d.noticed(err)
	}
	defer insert.Close()
	for _, r := range rows {
		if _, err := insert.Exec(r.id, r.data); err != nil {
			return d.noticed(err)
		}
	}
	return d.noticed(tx.Commit())
}

// remove deletes the rows of segments, or days, before one.
func (d *disk) remove(t table, before uint64) error {
	_, err := d.db.Exec("DELETE FROM "+string(t)+" WHERE id < ?", rowID(before, 0, 0))
	return d.noticed(err)
}

// rows are the payloads of one series in one segment, or of one day. Damaged ones
// are left out and counted.
func (d *disk) rows(t table, segment uint64, series uint32, damaged *int) ([][]byte, error) {
	list, err := d.some(t, rowID(segment, series, 0), rowID(segment, series, maxPart), damaged)
	bodies := make([][]byte, len(list))
	for i, r := range list {
		bodies[i] = r.data
	}
	return bodies, err
}

// A span is the rows of a table from one id to another, both included.
type span struct{ from, to int64 }

// some are the rows of a span, without their checksums.
func (d *disk) some(t table, from, to int64, damaged *int) (list []row, err error) {
	all, err := d.several(t, []span{{from, to}}, damaged)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// several are the rows of spans, without their checksums. To ask for many at once is
// quicker: each time SQLite looks whether somebody else has left the file unfinished.
func (d *disk) several(t table, spans []span, damaged *int) ([][]row, error) {
	recent := make([][]row, len(spans)) // first, for what is there now may be in the database then
	if t == tableChunk {
		var err error
		d.logs.RLock()
		for i, s := range spans {
			if recent[i], err = d.recent.some(s.from, s.to); err != nil {
				break
			}
		}
		d.logs.RUnlock()
		if err != nil {
			return nil, err
		}
	}
	find, err := d.finding(t)
	if err != nil {
		return nil, d.noticed(err)
	}
	tx, err := d.db.Begin()
	if err != nil {
		return nil, d.noticed(err)
	}
	defer tx.Rollback()
	find = tx.Stmt(find)
	all := make([][]row, len(spans))
	for i, s := range spans {
		if all[i], err = found(find, t, s, damaged); err != nil {
			return nil, d.noticed(err)
		}
		for _, r := range recent[i] {
			if n := len(all[i]); n > 0 && r.id <= all[i][n-1].id {
				continue
			}
			if r.data, err = unsealed(t, r.id, r.data); err != nil {
				*damaged++
				continue
			}
			all[i] = append(all[i], r)
		}
	}
	return all, nil
}

func found(find *sql.Stmt, t table, s span, damaged *int) (list []row, err error) {
	rows, err := find.Query(s.from, s.to)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.id, &r.data); err != nil {
			return nil, err
		}
		if r.data, err = unsealed(t, r.id, r.data); err != nil {
			*damaged++
			continue
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// finding is the statement that finds rows of a table: to prepare it takes longer than to
// find some.
func (d *disk) finding(t table) (*sql.Stmt, error) {
	d.mu.Lock()
	find := d.find[t]
	d.mu.Unlock()
	if find != nil {
		return find, nil
	}
	find, err := d.db.Prepare("SELECT id, data FROM " + string(t) + " WHERE id BETWEEN ? AND ?")
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	first := d.find[t]
	if first == nil {
		d.find[t] = find
	}
	d.mu.Unlock()
	if first != nil { // somebody was faster
		find.Close() // which may wait for the disk
		return first, nil
	}
	return find, nil
}

// heads are those of all segments from one on, in their order, as far as one of their two
// copies is good.
func (d *disk) heads(from uint64) (heads []*head, err error) {
	for id := rowID(from, 0, 0); ; {
		next, err := d.next(id)
		if err != nil || next == 0 {
			return heads, err
		}
		segment, _, _ := splitID(next)
		for _, series := range []uint32{headSeries, endSeries} {
			var n int
			bodies, err := d.rows(tableChunk, segment, series, &n)
			if err != nil {
				return heads, err
			}
			if len(bodies) == 0 {
				continue
			}
			if s := (&reader{b: bodies[0]}).head(); s != nil && s.id == segment {
				heads = append(heads, s)
				break
			}
		}
		id = rowID(segment+1, 0, 0)
	}
}

// next is the first id of a chunk that is not below one; 0 if there is none.
func (d *disk) next(id int64) (next int64, err error) {
	switch err := d.db.QueryRow("SELECT id FROM chunk WHERE id >= ? ORDER BY id LIMIT 1", id).Scan(&next); {
	case err == nil:
		return next, nil
	case !errors.Is(err, sql.ErrNoRows):
		return 0, d.noticed(err)
	}
	d.logs.RLock()
	defer d.logs.RUnlock()
	if rows := d.recent.find(id, math.MaxInt64); len(rows) > 0 {
		return rows[0].id, nil
	}
	return 0, nil
}

// ends are the first and the last segment, or day, of which the database has something;
// 0 if there is none.
func (d *disk) ends(t table) (first, last uint64, err error) {
	var a, b sql.NullInt64
	if err := d.db.QueryRow("SELECT (SELECT min(id) FROM "+string(t)+"), (SELECT max(id) FROM "+string(t)+")").Scan(&a, &b); err != nil {
		return 0, 0, d.noticed(err)
	}
	first, _, _ = splitID(a.Int64)
	last, _, _ = splitID(b.Int64)
	return first, last, nil
}

// dayBefore is the last day before another of which there is something.
func (d *disk) dayBefore(day uint64) (before uint64, ok bool, err error) {
	var id int64
	switch err := d.db.QueryRow("SELECT id FROM day WHERE id < ? ORDER BY id DESC LIMIT 1", rowID(day, 0, 0)).Scan(&id); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, d.noticed(err)
	}
	before, _, _ = splitID(id)
	return before, true, nil
}

// used is how many bytes of the file are in use.
func (d *disk) used() (bytes int64, err error) {
	var pages, free int64
	if err := d.db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		return 0, d.noticed(err)
	}
	if err := d.db.QueryRow("PRAGMA freelist_count").Scan(&free); err != nil {
		return 0, d.noticed(err)
	}
	return (pages - free) * pageSize, nil
}

// giveBack returns the room of free pages to the disk. It has the one connection meanwhile: SQLite
// must not have locked the file when we close it.
func (d *disk) giveBack() error {
	conn, err := d.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	page := func(n uint32) (p []byte, err error) {
		return p, d.noticed(conn.QueryRowContext(context.Background(), "SELECT data FROM sqlite_dbpage WHERE pgno = ?", n).Scan(&p))
	}
	first, err := page(1)
	if err != nil {
		return err
	}
	_, err = giveBack(f, first, page)
	return err
}

// vacuum gives the disk back what the file does not need.
func (d *disk) vacuum() error {
	_, err := d.db.Exec("VACUUM")
	return d.noticed(err)
}

// all calls each with the payloads of all real series of a segment, in their order.
func (d *disk) all(segment uint64, damaged *int, each func(series uint32, body []byte)) error {
	rows, err := d.some(tableChunk, rowID(segment, firstSeries, 0), rowID(segment, endSeries-1, maxPart), damaged)
	for _, r := range rows {
		_, series, _ := splitID(r.id)
		each(series, r.data)
	}
	return err
}
