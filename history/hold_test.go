package history

import (
	"fmt"
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
