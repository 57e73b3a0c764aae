package history

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// errSalvage is what who asks gets while what is good in a damaged file is being saved.
var errSalvage = errors.New("history.db is damaged, and what is good in it is being saved: until that is done, in a minute most often, only what is in memory can be read")

// A gate makes the one connection to the database, unless it is shut.
type gate struct {
	name string

	mu   sync.Mutex
	shut bool
}

func (g *gate) Driver() driver.Driver { return &sqlite.Driver{} }

func (g *gate) Connect(context.Context) (driver.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil, errSalvage
	}
	return g.Driver().Open(g.name)
}

// shut returns when nothing has the file open any more. Until admit, who wants to read gets errSalvage.
func (d *disk) shut(ctx context.Context) error {
	last, err := d.db.Conn(ctx)
	switch {
	case err == nil:
		defer last.Close()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	d.gate.mu.Lock()
	d.gate.shut = true
	d.gate.mu.Unlock()
	d.db.SetMaxIdleConns(-1)
	return nil
}

func (d *disk) admit() error {
	d.gate.mu.Lock()
	d.gate.shut = false
	d.gate.mu.Unlock()
	d.db.SetMaxIdleConns(1)
	d.mu.Lock()
	d.broken = nil
	d.mu.Unlock()
	return d.begin()
}

// noticed looks whether an error means that the file is damaged, and gives others their name.
func (d *disk) noticed(err error) error {
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if !isDamage(err) {
		return explained(err)
	}
	d.mu.Lock()
	first := d.broken == nil
	if first {
		d.broken = err
	}
	d.mu.Unlock()
	if first {
		d.damaged()
	}
	return err
}

// brokenBy is what shows that the file is damaged; nil if nothing does.
func (d *disk) brokenBy() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

// isDamage tells a file that is not as it should be from a disk that refuses.
func isDamage(err error) bool {
	if errors.Is(err, errPages) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS:
		return true
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}
