package history

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// While the file can't be opened what happens waits in memory, the newest of it, and not more
// than of a disk that hangs: the house needs the rest.
func TestAFileThatCanNotBeOpenedFillsNoMemory(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, File)) // a folder is no file
	now := devices.Now{Mono: time.Hour, Wall: june, Known: true}
	h, err := Open(dir, Config{}, Options{Now: func() devices.Now { return now }, Zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const large, all = 1 << 20, 50
	for i := range all {
		r := devices.Reading{Source: "x", Topic: "x", Text: fmt.Sprint(i, strings.Repeat("x", large)), At: now}
		h.Event(rules.Event{Kind: rules.Report, At: now, Readings: []devices.Reading{r}})
		h.Decided(rules.Decision{ID: uint64(i), At: now, Cause: &r}, nil)
	}
	got := h.Health()
	if got.Pending > maxPending || got.Pending < maxPending-2*large || got.Lost < 2*all-5 {
		t.Errorf("%d bytes wait, and %d are lost", got.Pending, got.Lost)
	}
}

// A file that takes long to open, on a card with a bad place in it or held by another program,
// does not keep the house from starting, and nothing is lost of what happens meanwhile.
func TestAFileThatTakesLongToOpenKeepsNoHouseFromStarting(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	h.report("x", 1.0)
	h.stop()
	db, err := sql.Open("sqlite", filepath.Join(h.dir, File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	h.History, err = Open(h.dir, h.cfg, Options{Now: func() devices.Now { return *h.told.Load() }, Zone: time.UTC, Boot: h.boot, patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if h.Health().Err == "" {
		t.Error("nothing is said of it")
	}
	h.pass(time.Minute)
	h.report("x", 2.0)
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	h.flush()
	expect(t, h.points("x"), "2026-06-01 12:00:00 1", "2026-06-01 12:01:00 2")
	if err := h.Health().Err; err != "" {
		t.Error(err)
	}
	h.stop()
	h.start()
	expect(t, h.points("x"), "2026-06-01 12:00:00 1", "2026-06-01 12:01:00 2")
	h.stop()
}

// The house's loop asks how history fares, so that asks no disk, which may hang.
func TestHowHistoryFaresIsKnownWithoutTheDisk(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	h.report("x", 1.0)
	h.flush()
	was := h.Health().Bytes
	if was <= logSize {
		t.Fatalf("it has %d bytes", was)
	}
	file := filepath.Join(h.dir, File)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if is := h.Health().Bytes; is != was {
		t.Errorf("it had %d bytes, and has %d", was, is)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
}

// A disk that hangs gives no error. What is lost for it is told all the same, until it goes on.
func TestADiskThatHangsIsTold(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	var said bytes.Buffer
	h.opt.Log = slog.New(slog.NewTextHandler(&said, nil))
	conn, err := h.disk.db.Conn(t.Context()) // the only one: who writes waits
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		h.report("x", fmt.Sprint(i, strings.Repeat("x", maxOpen)))
	}
	if got := h.Health(); got.Err == "" || got.Lost == 0 || got.Pending > maxPending+4*maxOpen {
		t.Errorf("%q, %d lost, %d bytes wait", got.Err, got.Lost, got.Pending)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	h.flush()
	if got := h.Health(); got.Err != "" {
		t.Error(got.Err)
	}
	h.Close()
	if !strings.Contains(said.String(), `err="it takes less than happens`) {
		t.Errorf("the log: %s", &said)
	}
}
