package history

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// Where no hub runs history is read, and not a byte of it is written. The newest decisions
// come first, and only those that are about what was asked for.
func TestHistoryIsReadWithoutAHub(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Read(dir, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("nothing is there:", err)
	}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) devices.Now {
		return devices.Now{Mono: d, Wall: start.Add(d), Known: true}
	}
	h, err := Open(dir, Config{}, Options{Zone: time.UTC, Boot: "b", Now: func() devices.Now { return at(0) }})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 300 {
		d := rules.Decision{ID: uint64(n) + 1, At: at(time.Duration(n) * time.Minute), Rule: "rule.other", Outcome: rules.Fired,
			Commands: []devices.Command{{Topic: "a/b", Payload: "x"}}}
		switch n {
		case 7:
			d.Rule = "rule.lamp[kitchen]"
		case 100:
			d.Commands[0] = devices.Command{Output: "heater", Value: true}
		case 250:
			d.Sets = []string{"wanted = ON for 5m"}
		}
		h.Decided(d, nil)
		if n%10 == 0 {
			if err := h.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	before := map[string][]byte{}
	for _, name := range []string{File, LogFile} {
		if before[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(dir, name), 0o400)
	}
	h, done, err := Read(dir, Options{Zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		word string
		at   time.Duration
		want []uint64
	}{
		{"rule.lamp", time.Hour * 10, []uint64{8}},
		{"rule.lamp[kitchen]", time.Hour * 10, []uint64{8}},
		{"heater", time.Hour * 10, []uint64{101}},
		{"heater", 100 * time.Minute, []uint64{101}},
		{"heater", 100*time.Minute - time.Second, nil},
		{"wanted", time.Hour * 10, []uint64{251}},
		{"siren", time.Hour * 10, nil},
		{"a/b", 2 * time.Minute, []uint64{3, 2, 1}},
	} {
		var got []uint64
		for d, err := range h.Before(start.Add(c.at), []string{c.word}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, d.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s before %v: decisions %v, want %v", c.word, c.at, got, c.want)
		}
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	for name, was := range before {
		if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !slices.Equal(now, was) {
			t.Errorf("%s was written to (%v)", name, err)
		}
	}
}

// A filter never says no where it is not so, and seldom yes.
func TestFilters(t *testing.T) {
	for _, n := range []int{0, 1, 20, 400} {
		words := make(map[uint64]struct{})
		for i := range n {
			words[seriesWord(uint32(i))] = struct{}{}
		}
		f := newFilter(words)
		wrong := 0
		for i := range 10_000 {
			switch may := f.may(seriesWord(uint32(i))); {
			case i < n && !may:
				t.Fatalf("%d of %d is said not to be there", i, n)
			case i >= n && may:
				wrong++
			}
		}
		if wrong > 300 {
			t.Errorf("with %d words %d of 10000 others seem to be there", n, wrong)
		}
	}
}
