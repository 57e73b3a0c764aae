package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"hearth/devices"
)

// entriesOf is all that a history has, in order.
func entriesOf(t *testing.T, h *History) (all []any) {
	t.Helper()
	for e, err := range h.Entries(time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, plain(e))
	}
	return all
}

// A history is copied while it is written, and made anew from that: all is there that was
// recorded before, however much came meanwhile, and it goes on.
func TestACopyIsTheSameHistory(t *testing.T) {
	h := newHome(t, fastDir(t), time.Date(2026, 11, 28, 22, 0, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	record := func(n int) {
		for i := range n {
			h.pass(time.Minute)
			for _, name := range []string{"a", "b", "c"} {
				v := float64(i % 97)
				h.Seen(devices.Reading{Source: name, Topic: "x/" + name, Value: v, Text: devices.Text(v), At: h.now}, "W")
			}
			if i%500 == 0 {
				h.Note(Note{At: h.now, Kind: "start", Name: "hub", Text: fmt.Sprint(i)})
				if err := h.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	record(3000) // more than two days
	want := entriesOf(t, h.History)
	var b bytes.Buffer
	if err := h.Copy(t.Context(), &interrupted{&b, func() { record(3000) }}); err != nil {
		t.Fatal(err)
	}
	size := b.Len()
	dir := fastDir(t)
	rows, err := Restore(dir, bytes.NewReader(b.Bytes()))
	if err != nil || rows == 0 {
		t.Fatal(rows, err)
	}
	copied, err := Open(dir, Config{}, Options{Zone: time.UTC, Boot: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if got := entriesOf(t, copied); len(got) < len(want) || !reflect.DeepEqual(got[:len(want)], want) {
		t.Errorf("%d entries, want at least %d, and the same", len(got), len(want))
	}
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries: %d rows, %d bytes", len(want), rows, size)

	// Cut anywhere it says so; what is no copy is none; and what leads nowhere is refused.
	for _, n := range []int{len(copyMagic), len(copyMagic) + 5, size / 2, size - 1} {
		if _, err := Restore(fastDir(t), bytes.NewReader(b.Bytes()[:n])); !errors.Is(err, ErrCopyCut) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	for _, text := range []string{"", "hearth history 2\n", copyMagic + "\x07", copyMagic + "\x01\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff"} {
		dir := fastDir(t)
		if _, err := Restore(dir, bytes.NewReader([]byte(text))); err == nil {
			t.Errorf("%q was taken for a history", text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, File)); err != nil {
		t.Error(err)
	}
}

// interrupted does something in the middle of what is written to it.
type interrupted struct {
	io.Writer
	once func()
}

func (w *interrupted) Write(b []byte) (int, error) {
	if w.once != nil {
		w.once()
		w.once = nil
	}
	return w.Writer.Write(b)
}
