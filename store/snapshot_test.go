package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hearth/store"
	"hearth/store/storetest"
)

// all is what a store has, of every kind.
func all(s *store.Store) map[string]string {
	m := make(map[string]string)
	for kind := range store.Kind(255) {
		for k, v := range s.Each(kind) {
			m[fmt.Sprint(byte(kind), " ", k)] = string(v)
		}
	}
	return m
}

// written is a folder with a snapshot as its log.
func written(t testing.TB, snap *store.Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	if n, err := snap.WriteTo(&b); err != nil || n != snap.Size() || n != int64(b.Len()) {
		t.Fatalf("%d bytes, %d told, %d promised: %v", b.Len(), n, snap.Size(), err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(logFile(dir), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A snapshot of a store that goes on is a store of its own, with what was there at that
// moment, committed or not, and takes more.
func TestASnapshotIsAStoreOfItsOwn(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	defer closed(t, s)
	for i := range 3000 {
		s.Put(store.Record{Kind: store.Kind(i%20 + 1), Key: fmt.Sprint("key ", i), Value: bytes.Repeat([]byte{byte(i)}, i%300)}, time.Hour, nil)
	}
	s.Put(retained("empty", ""), time.Hour, nil)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.Put(store.Record{Kind: 3, Key: "key 2"}, time.Hour, nil)
	s.Put(retained("not on disk yet", "x"), time.Hour, nil)
	want := all(s)
	snap := s.Snapshot()
	s.Put(retained("too late", "x"), 0, nil)

	dir := written(t, snap)
	copied := open(t, dir, nil)
	if len(copied.Damage()) > 0 {
		t.Error(copied.Damage())
	}
	same(t, "copy", all(copied), want)
	put(t, copied, "more", "y")
	closed(t, copied)
	copied = open(t, dir, nil)
	want["1 more"] = "y"
	same(t, "copy that went on", all(copied), want)
	closed(t, copied)

	closed(t, open(t, written(t, new(store.Store).Snapshot()), nil)) // of nothing at all
}

// What is put together is in a snapshot together, however much is put meanwhile.
func TestASnapshotHasAllOrNothingOfWhatBelongsTogether(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	defer closed(t, s)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			value := []byte(fmt.Sprint(i))
			s.PutAll([]store.Record{{Kind: 1, Key: "a", Value: value}, {Kind: 11, Key: "b", Value: value}, {Kind: 12, Key: fmt.Sprint("c", i%500), Value: value}}, 0, nil)
		}
	}()
	for range 50 {
		copied := open(t, written(t, s.Snapshot()), nil)
		if m := all(copied); m["1 a"] != m["11 b"] {
			t.Errorf("%q and %q", m["1 a"], m["11 b"])
		}
		closed(t, copied)
	}
	close(stop)
	<-ended
}

// A folder of a hub that was killed is read without a change to it, by who need not be able
// to write there.
func TestAFolderIsReadAsItLies(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "hall", "ON")
	put(t, s, "hall", "OFF")
	put(t, s, "gone", "x")
	s.Put(store.Record{Kind: store.Retained, Key: "gone"}, 0, nil)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	killed := t.TempDir()
	before, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logFile(killed), before, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Hold(dir); err == nil {
		t.Error("a folder in use was held")
	}
	closed(t, s)

	held, err := store.Hold(killed)
	if err != nil {
		t.Fatal(err)
	}
	snap, damage, err := store.Read(killed)
	if err != nil || len(damage) > 0 {
		t.Fatal(damage, err)
	}
	if _, err := store.Open(killed, store.Options{}); err == nil {
		t.Error("a store was opened in a folder that is held")
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	copied := open(t, written(t, snap), nil)
	same(t, "copy", all(copied), map[string]string{"1 hall": "OFF"})
	closed(t, copied)
	if after, err := os.ReadFile(logFile(killed)); err != nil || !bytes.Equal(after, before) {
		t.Error("the log was changed", err)
	}
	if names, _ := filepath.Glob(filepath.Join(killed, "*")); len(names) != 1 {
		t.Error(names)
	}

	// What is no log, or damaged, is said.
	if err := os.WriteFile(logFile(dir), append([]byte(nil), before[:100]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Read(dir); err != nil {
		t.Error(err) // its header is whole
	}
	if err := os.WriteFile(logFile(dir), []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Read(dir); err == nil {
		t.Error("notes were taken for a log")
	}
	if _, err := store.Hold(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Commits do not wait for a snapshot that is being written to something slow.
func TestCommitsGoOnWhileASnapshotIsWritten(t *testing.T) {
	s := open(t, "/var/hearth", storetest.NewCard())
	defer closed(t, s)
	put(t, s, "hall", "ON")
	slow := &slowWriter{begun: make(chan struct{}), goOn: make(chan struct{})}
	written := make(chan error, 1)
	snap := s.Snapshot()
	go func() {
		_, err := snap.WriteTo(slow)
		written <- err
	}()
	<-slow.begun
	put(t, s, "hall", "OFF") // returns when it is on disk
	close(slow.goOn)
	if err := <-written; err != nil {
		t.Error(err)
	}
}

type slowWriter struct{ begun, goOn chan struct{} }

func (w *slowWriter) Write(b []byte) (int, error) {
	select {
	case <-w.begun:
	default:
		close(w.begun)
	}
	<-w.goOn
	return len(b), nil
}

func BenchmarkSnapshot(b *testing.B) {
	s := open(b, "/var/hearth", storetest.NewCard())
	defer closed(b, s)
	for i := range 100_000 {
		s.Put(retained(fmt.Sprint("zigbee2mqtt/device/", i), "some payload of the usual length, of a hundred bytes or so, as devices have it in a house"), time.Hour, nil)
	}
	if err := s.Sync(context.Background()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s.Snapshot()
	}
	b.ReportMetric(float64(len(maps.Collect(s.Each(store.Retained)))), "records")
}
