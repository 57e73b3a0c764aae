package history

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Read opens the history in dir to be asked, and writes nothing: for a machine on which no
// hub runs. What is asked may come before done is called. The error is that of the file;
// one that says fs.ErrNotExist means that no history was ever kept there.
func Read(dir string, opt Options) (h *History, done func() error, err error) {
	path := filepath.Join(dir, File)
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	file.Close()
	if opt.Zone == nil {
		opt.Zone = time.Local
	}
	// A journal that a crash has left can't be undone without writing. Then the file is
	// read as it is: what was half written is damaged by its checksums.
	for _, how := range []url.Values{{"mode": {"ro"}}, {"immutable": {"1"}}} {
		how.Add("_pragma", "cache_size(-256)")
		var db *sql.DB
		db, err = sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: how.Encode()}).String())
		if err != nil {
			break
		}
		db.SetMaxOpenConns(1)
		h = &History{
			opt: opt, closed: true, disk: &disk{path: path, db: db, damaged: func() {}, find: make(map[table]*sql.Stmt)}, number: firstSeries,
			times: make(timeline), rolledDays: make(map[int64]dayRow), named: make(map[string]*series), numbered: make(map[uint32]*series),
		}
		if h.disk.recent, err = readRecent(filepath.Join(dir, LogFile), h.disk); err == nil {
			var t taken
			if t, err = h.disk.takeUp(); err == nil {
				h.begin(t)
				h.session = 0 // none goes on
				return h, h.disk.close, nil
			}
		}
		h.disk.close()
	}
	return nil, nil, fmt.Errorf("%s: %w", path, err)
}

// readRecent is the log before a database, to be read only.
func readRecent(path string, of *disk) (*recent, error) {
	l := &recent{path: path}
	_, last, err := of.ends(tableChunk)
	if err != nil {
		return l, err
	}
	l.file, err = os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err == nil:
		err = l.look(last)
	}
	return l, err
}
