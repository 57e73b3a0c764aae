package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hearth/store"
	"hearth/store/storetest"
)

func open(t testing.TB, dir string, fs store.FS) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// put commits a value and returns when it is on disk.
func put(t testing.TB, s *store.Store, key, value string) {
	t.Helper()
	s.Put(retained(key, value), time.Hour, nil)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func retained(key, value string) store.Record {
	return store.Record{Kind: store.Retained, Key: key, Value: []byte(value)}
}

func values(s *store.Store, kind store.Kind) map[string]string {
	m := map[string]string{}
	for k, v := range s.Each(kind) {
		m[k] = string(v)
	}
	return m
}

func same(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("%s: found %v, want %v", what, got, want)
	}
}

func logFile(dir string) string { return filepath.Join(dir, "hearth.log") }

func TestWhatWasPutIsThereAfterAReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "hearth")
	s := open(t, dir, nil)
	s.Put(retained("hall/lamp", "ON"), time.Hour, nil)
	s.Put(retained("hall/lamp", "OFF"), time.Hour, nil)
	s.Put(retained("empty", ""), time.Hour, nil)
	s.Put(retained("gone", "soon"), time.Hour, nil)
	s.Put(store.Record{Kind: store.Output, Key: "hall/lamp", Value: []byte("another kind")}, 0, nil)
	s.Put(store.Record{Kind: store.Retained, Key: "gone"}, time.Hour, nil)
	s.Put(store.Record{Kind: store.Retained, Key: "never was"}, time.Hour, nil)
	want := map[string]string{"hall/lamp": "OFF", "empty": ""}
	same(t, "before any commit", values(s, store.Retained), want)
	closed(t, s)

	s = open(t, dir, nil)
	same(t, "retained", values(s, store.Retained), want)
	same(t, "output", values(s, store.Output), map[string]string{"hall/lamp": "another kind"})
	s.Put(store.Record{Kind: store.Retained, Key: "hall/lamp"}, time.Hour, nil)
	closed(t, s)

	s = open(t, dir, nil)
	same(t, "after a delete", values(s, store.Retained), map[string]string{"empty": ""})
	if d := s.Damage(); d != nil {
		t.Errorf("damage: %v", d)
	}
	closed(t, s)

	for name, mode := range map[string]os.FileMode{dir: 0o700, logFile(dir): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode().Perm(), err, mode)
		}
	}
}

func TestThePutValueIsACopy(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	defer s.Close()
	payload := []byte("21.5")
	s.Put(store.Record{Kind: store.Retained, Key: "t", Value: payload}, time.Hour, nil)
	copy(payload, "XXXX")
	same(t, "after the buffer was reused", values(s, store.Retained), map[string]string{"t": "21.5"})
}

func TestALoopOverTheValuesMayPut(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	defer s.Close()
	for _, k := range []string{"b", "c", "a"} {
		s.Put(retained(k, k), 0, nil)
	}
	var order string
	for k := range s.Each(store.Retained) {
		order += k
		s.Put(retained(k+k, "new"), 0, nil)
	}
	if order != "abc" {
		t.Errorf("the loop went over %q, want the keys of its beginning, sorted", order)
	}
}

func TestAChattyValueIsWrittenOnceAndAnUrgentOneTakesItAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{}
		s := open(t, t.TempDir(), disk)
		before := disk.Counts()
		var mu sync.Mutex
		var list []string
		done := func(what string) func(error) {
			return func(err error) {
				mu.Lock()
				defer mu.Unlock()
				list = append(list, fmt.Sprint(what, " ", err))
			}
		}
		acked := func() string {
			mu.Lock()
			defer mu.Unlock()
			return strings.Join(list, "; ")
		}

		for i := range 300 { // a meter that speaks every second
			s.Put(retained("meter", fmt.Sprint(i)), 5*time.Minute, nil)
			if i < 299 {
				time.Sleep(time.Second)
			}
		}
		synctest.Wait()
		if n := disk.Counts().Syncs - before.Syncs; n != 0 {
			t.Fatalf("%d syncs before the five minutes were over", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := disk.Counts().Syncs - before.Syncs; n != 1 {
			t.Fatalf("%d syncs at five minutes, want 1", n)
		}

		before = disk.Counts()
		s.Put(retained("meter", "a"), time.Minute, done("meter, within a minute"))
		s.Put(retained("meter", "b"), time.Hour, done("meter, within an hour"))
		s.Put(retained("door", "open"), 2*time.Minute, done("door"))
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if got := acked(); got != "" {
			t.Fatalf("acknowledged early: %s", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got, want := acked(), "meter, within a minute <nil>; meter, within an hour <nil>; door <nil>"; got != want {
			t.Fatalf("after a minute: %q, want %q", got, want)
		}
		if after := disk.Counts(); after.Syncs-before.Syncs != 1 || after.Writes-before.Writes != 1 {
			t.Fatalf("from %+v to %+v, want one write and one sync", before, after)
		}

		// What came and went between two commits costs nothing.
		before = disk.Counts()
		s.Put(retained("queued", "message"), time.Minute, done("queued"))
		s.Put(store.Record{Kind: store.Retained, Key: "queued"}, time.Minute, done("sent"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if after := disk.Counts(); after != before || !strings.HasSuffix(acked(), "queued <nil>; sent <nil>") {
			t.Errorf("from %+v to %+v, acknowledged %s", before, after, acked())
		}
		closed(t, s)
	})
}

// A message for a session that is there is queued, sent, acknowledged and gone again
// before the window of its commit has passed.
func TestWhatComesAndGoesWithinItsWindowIsNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{FS: storetest.NewCard()}
		s := open(t, "/data", disk)
		const window = 3 * time.Millisecond
		before, start := disk.Counts(), time.Now()
		var took []time.Duration
		done := func(put time.Time) func(error) {
			return func(err error) {
				if err != nil {
					t.Error(err)
				}
				took = append(took, time.Since(put))
			}
		}
		for n := range uint64(100) {
			queued, body := store.Record{Kind: store.Queued, Key: queuedKey(7, n)}, store.Record{Kind: store.Body, Key: queuedKey(0, n)[4:]}
			queued.Value, body.Value = []byte("topic"), []byte("payload")
			s.PutAll([]store.Record{queued, body}, window, done(time.Now()))
			time.Sleep(2 * time.Millisecond)
			queued.Value, body.Value = nil, nil
			s.PutAll([]store.Record{body, queued}, window, nil)
			time.Sleep(5 * time.Millisecond)
		}
		synctest.Wait()
		if after := disk.Counts(); after != before {
			t.Errorf("from %+v to %+v, want nothing written", before, after)
		}
		if len(took) != 100 || slices.Max(took) != window {
			t.Errorf("%d of 100 done, the last after %v, want %v", len(took), slices.Max(took), window)
		}
		if s.Held() != 0 {
			t.Errorf("%d keys in memory", s.Held())
		}

		// One that is not taken off in time is written, and its end too.
		r := store.Record{Kind: store.Queued, Key: queuedKey(7, 100), Value: []byte("topic")}
		s.Put(r, window, done(time.Now()))
		time.Sleep(window + 1)
		r.Value = nil
		s.Put(r, window, done(time.Now()))
		time.Sleep(window + 1)
		synctest.Wait()
		if n := disk.Counts().Syncs - before.Syncs; n != 2 || len(took) != 102 {
			t.Errorf("%d syncs and %d done, want 2 and 102; it took %v", n, len(took), time.Since(start))
		}
		closed(t, s)
		s = open(t, "/data", disk)
		same(t, "after it was taken off", values(s, store.Queued), map[string]string{})
		closed(t, s)
	})
}

func TestWhatComesDuringASyncSharesTheNextOneInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{}
		s := open(t, t.TempDir(), disk)
		release := disk.Block()
		var order []int
		for i := range 100 {
			s.Put(retained(fmt.Sprint("k", i%7), fmt.Sprint(i)), 0, func(err error) {
				if err != nil {
					t.Error(err)
				}
				order = append(order, i)
			})
			synctest.Wait()
		}
		if order != nil {
			t.Fatalf("%v acknowledged while the disk hung", order)
		}
		before := disk.Counts()
		release()
		synctest.Wait()
		for i, o := range order {
			if i != o {
				t.Fatalf("done out of order: %v", order)
			}
		}
		if n := disk.Counts().Syncs - before.Syncs; len(order) != 100 || n != 2 {
			t.Fatalf("%d acknowledged with %d syncs, want 100 with 2", len(order), n)
		}
		closed(t, s)
	})
}

func TestAFullDiskAcknowledgesNothingUntilThereIsSpace(t *testing.T) {
	for _, sick := range []struct {
		name string
		set  func(*store.Faulty, error)
	}{
		{"full", (*store.Faulty).FailWrites},
		{"syncs fail", (*store.Faulty).FailSyncs},
	} {
		t.Run(sick.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, disk := t.TempDir(), &store.Faulty{}
				var said bytes.Buffer
				s, err := store.Open(dir, store.Options{FS: disk, Log: slog.New(slog.NewTextHandler(&said, nil))})
				if err != nil {
					t.Fatal(err)
				}
				put(t, s, "old", "1")
				old, err := os.ReadFile(logFile(dir))
				if err != nil {
					t.Fatal(err)
				}

				sick.set(disk, syscall.ENOSPC)
				acked := map[string]int{}
				for _, k := range []string{"a", "b", "a"} {
					s.Put(retained(k, "2"), 0, func(err error) {
						if err != nil {
							t.Error(err)
						}
						acked[k]++
					})
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := s.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("sync on a sick disk: %v", err)
				}
				if len(acked) != 0 {
					t.Fatalf("acknowledged on a sick disk: %v", acked)
				}
				if err := s.Trouble(); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("trouble: %v", err)
				}
				if now, err := os.ReadFile(logFile(dir)); err != nil || !bytes.HasPrefix(now, bytes.TrimRight(old, "\x00")) {
					t.Errorf("what was committed in the old file has changed: %v", err)
				}
				if _, err := os.Stat(filepath.Join(dir, "hearth.log.new")); !os.IsNotExist(err) {
					t.Errorf("an attempt that failed lies around: %v", err)
				}

				sick.set(disk, nil)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if acked["a"] != 2 || acked["b"] != 1 {
					t.Errorf("acknowledged after the disk was well for 10 s: %v", acked)
				}
				if err := s.Trouble(); err != nil {
					t.Errorf("trouble that is over: %v", err)
				}
				closed(t, s)
				if a, b := strings.Count(said.String(), "refuses"), strings.Count(said.String(), "takes everything again"); a != 1 || b != 1 {
					t.Errorf("want one line when it starts and one when it ends:\n%s", &said)
				}
				s = open(t, dir, nil)
				same(t, "after all", values(s, store.Retained), map[string]string{"old": "1", "a": "2", "b": "2"})
				closed(t, s)
			})
		})
	}
}

func TestAFullDiskIsMetAtAStepOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk := "/data", &store.Faulty{FS: storetest.NewCard()}
		s := open(t, dir, disk)
		disk.Full(true)
		value, n := strings.Repeat("v", 1000), 0
		for ; s.Trouble() == nil; n++ {
			s.Put(retained(fmt.Sprint("k", n), value), 0, nil)
			synctest.Wait()
		}
		if n < 900 {
			t.Errorf("only %d records of a good kilobyte fitted into the first mebibyte", n)
		}
		disk.Full(false)
		put(t, s, "last", "1")
		closed(t, s)
		s = open(t, dir, disk)
		if got := len(values(s, store.Retained)); got != n+1 {
			t.Errorf("%d values, want %d", got, n+1)
		}
		closed(t, s)
	})
}

func TestCloseOnASickDiskGivesUpAfterOneAttempt(t *testing.T) {
	dir, disk := t.TempDir(), &store.Faulty{}
	s := open(t, dir, disk)
	put(t, s, "old", "1")
	disk.FailSyncs(syscall.EIO)
	var told error
	s.Put(retained("new", "2"), time.Hour, func(err error) { told = err })
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	if !errors.Is(told, syscall.EIO) {
		t.Errorf("done: %v", told)
	}
	late := errors.New("not called")
	s.Put(retained("late", "3"), 0, func(err error) { late = err })
	if !errors.Is(late, store.ErrClosed) || !errors.Is(s.Sync(context.Background()), store.ErrClosed) {
		t.Errorf("after close: %v", late)
	}
	s = open(t, dir, nil)
	if got := values(s, store.Retained); got["old"] != "1" {
		t.Errorf("what had been acknowledged: %v", got)
	}
	closed(t, s)
}

func TestAnUncleanLogOnASickDiskStillOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, nil)
		put(t, s, "a", "1")
		torn := cut(t, dir)
		closed(t, s)

		disk := &store.Faulty{}
		disk.FailWrites(syscall.EROFS)
		s = open(t, torn, disk)
		if err := s.Trouble(); !errors.Is(err, syscall.EROFS) {
			t.Errorf("trouble: %v", err)
		}
		same(t, "read from it", values(s, store.Retained), map[string]string{"a": "1"})
		disk.FailWrites(nil)
		if err := s.Sync(t.Context()); err != nil || s.Trouble() != nil {
			t.Errorf("well again: %v, %v", err, s.Trouble())
		}
		closed(t, s)
	})
}

// cut copies a log as it is now to another folder, as if the power had failed.
func cut(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	return logOf(t, b)
}

// logOf makes a folder with a log of these bytes.
func logOf(t testing.TB, b []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(logFile(dir), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompactionKeepsEverythingAndTheFileSmall(t *testing.T) {
	power := storetest.NewCard()
	disk := &store.Faulty{FS: power}
	s := open(t, "/data", disk)
	want := map[string]string{}
	value := strings.Repeat("v", 2000)
	for i := range 6000 { // 12 MB through 300 keys, 200 of which go
		k := fmt.Sprint("k", i%300)
		want[k] = fmt.Sprint(i, value)
		s.Put(retained(k, want[k]), time.Hour, nil)
		if i%10 == 9 {
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 200 {
		k := fmt.Sprint("k", i)
		delete(want, k)
		s.Put(store.Record{Kind: store.Retained, Key: k}, time.Hour, nil)
	}
	for i := range 1000 {
		put(t, s, "k299", fmt.Sprint(i, value))
		want["k299"] = fmt.Sprint(i, value)
	}
	if got := len(power.Content(logName)); got != 1<<20 {
		t.Errorf("%d bytes for %d of live values, want 1 MiB", got, 100*2000)
	}
	c := disk.Counts()
	t.Logf("16 MB of values: %.1f MB in %d writes, %d syncs", float64(c.Bytes)/1e6, c.Writes, c.Syncs)
	if c.Bytes > 3*16e6 {
		t.Errorf("%d bytes written for 16 MB of values", c.Bytes)
	}
	same(t, "before", values(s, store.Retained), want)
	closed(t, s)
	s = open(t, "/data", power)
	same(t, "after", values(s, store.Retained), want)
	closed(t, s)
}

func TestPutGoesOnWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{FS: storetest.NewCard()}
		s := open(t, "/data", disk)
		release := disk.Block()
		value := strings.Repeat("v", 10_000)
		for i := range 1000 { // ten megabytes: needs growth, too
			s.Put(retained(fmt.Sprint("k", i), value), 0, nil)
		}
		synctest.Wait()
		if n := len(values(s, store.Retained)); n != 1000 {
			t.Errorf("%d values", n)
		}
		release()
		if err := s.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		closed(t, s)
	})
}

func TestCloseLeavesADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk := t.TempDir(), &store.Faulty{}
		s := open(t, dir, disk)
		put(t, s, "old", "1")
		release := disk.Block()
		var told []string
		for _, k := range []string{"a", "b"} {
			s.Put(retained(k, "2"), 0, func(err error) { told = append(told, fmt.Sprint(k, ": ", err)) })
			synctest.Wait()
		}
		start := time.Now()
		err := s.Close()
		if err == nil || !strings.Contains(err.Error(), "the disk, which has hung for 2s") || time.Since(start) != 2*time.Second {
			t.Errorf("close after %v: %v", time.Since(start), err)
		}
		if again := s.Close(); again != err {
			t.Errorf("close again: %v", again)
		}
		want := fmt.Sprintf("[a: %v b: %v]", err, err)
		if fmt.Sprint(told) != want {
			t.Errorf("done: %v, want %s", told, want)
		}
		if _, err := store.Open(dir, store.Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a folder with a write under way was opened: %v", err)
		}
		release()
		synctest.Wait()
		if fmt.Sprint(told) != want {
			t.Errorf("done was called again: %v", told)
		}
		s = open(t, dir, nil)
		if got := values(s, store.Retained); got["old"] != "1" {
			t.Errorf("what had been acknowledged: %v", got)
		}
		closed(t, s)
	})
}

func TestCloseInADoneFunctionGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "/data", storetest.NewCard())
		var err error
		other := 0
		s.Put(retained("a", "1"), time.Second, func(error) { err = s.Close() })
		s.Put(retained("b", "1"), time.Second, func(err error) {
			if err == nil {
				other++
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if err == nil || !strings.Contains(err.Error(), "a done function has not returned") || other != 1 {
			t.Errorf("close: %v; the other done was called %d times", err, other)
		}
	})
}

func TestADoneFunctionMayPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storetest.NewCard()
		s := small(t, disk)
		n := 0
		var again func(error)
		again = func(err error) {
			if n++; err == nil && n < 1000 {
				s.Put(retained("n", fmt.Sprint(n)), 0, again)
			}
		}
		s.Put(retained("n", "0"), 0, again)
		synctest.Wait()
		closed(t, s)
		s = small(t, disk)
		same(t, "after a chain of puts", values(s, store.Retained), map[string]string{"n": "999"})
		closed(t, s)
	})
}

func TestEveryPutIsAnsweredOnceAndInOrder(t *testing.T) {
	// Many put while the file is compacted all the time, and it is closed under them.
	disk := storetest.NewCard()
	s := small(t, disk)
	const writers = 8
	var wg sync.WaitGroup
	acked := make([]int, writers)
	unanswered := make([]atomic.Int64, writers)
	half := make(chan struct{}, writers)
	for w := range writers {
		wg.Go(func() {
			var mu sync.Mutex
			last, ended := 0, false
			for n := 1; ; n++ {
				unanswered[w].Add(1)
				s.Put(retained(fmt.Sprint("k", w), fmt.Sprint(n, strings.Repeat("v", 100))), time.Duration(n%3)*time.Millisecond, func(err error) {
					mu.Lock()
					defer mu.Unlock()
					unanswered[w].Add(-1)
					if errors.Is(err, store.ErrClosed) { // said at once, maybe before the last of the others
						ended = true
						return
					}
					if n != last+1 {
						t.Errorf("writer %d: %d answered after %d", w, n, last)
					}
					last = n
					if err == nil {
						acked[w] = n
					}
				})
				if n%10 == 0 {
					s.Sync(t.Context())
				}
				if n == 300 {
					half <- struct{}{}
				}
				mu.Lock()
				if ended {
					mu.Unlock()
					break
				}
				mu.Unlock()
			}
		})
	}
	for range writers {
		<-half
	}
	closed(t, s)
	wg.Wait()
	for w := range writers {
		if n := unanswered[w].Load(); n != 0 {
			t.Errorf("writer %d: %d puts were never answered, or more than once", w, n)
		}
	}
	s = small(t, disk)
	got := values(s, store.Retained)
	for w, n := range acked {
		if v := got[fmt.Sprint("k", w)]; strings.TrimRight(v, "v") != fmt.Sprint(n) {
			t.Errorf("writer %d: %.10q on disk, %d was acknowledged last", w, v, n)
		}
	}
	closed(t, s)
}

func TestWhatComesAndGoesWhileTheDiskHangsIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{FS: storetest.NewCard()}
		s := small(t, disk)
		put(t, s, "old", "1")
		release := disk.Block()
		put := func(k string, v []byte) { s.Put(store.Record{Kind: store.Retained, Key: k, Value: v}, 0, nil) }
		put("kept", []byte("1"))
		synctest.Wait()
		for i := range 50_000 {
			put(fmt.Sprint("message", i), []byte("1"))
			put(fmt.Sprint("message", i), nil)
		}
		put("old", nil)
		if n := s.Held(); n > 10_000 {
			t.Errorf("%d keys in memory for 1 value", n)
		}
		release()
		closed(t, s)
		s = small(t, disk)
		same(t, "after all", values(s, store.Retained), map[string]string{"kept": "1"})
		closed(t, s)
	})
}

func TestASecondOpenerIsToldWhoHasIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	_, err := store.Open(dir, store.Options{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("in use by process ", os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	if err := store.Free(dir); err == nil || !strings.Contains(err.Error(), fmt.Sprint("in use by process ", os.Getpid())) {
		t.Errorf("it is free: %v", err)
	}
	closed(t, s)
	for _, dir := range []string{dir, filepath.Join(dir, "nowhere")} {
		if err := store.Free(dir); err != nil {
			t.Error(err)
		}
	}
	closed(t, open(t, dir, nil))
}

func TestAFileThatIsNotOursIsLeftAlone(t *testing.T) {
	good := open(t, t.TempDir(), nil)
	closed(t, good)
	for name, b := range map[string][]byte{
		"empty":    {},
		"text":     []byte("a shopping list"),
		"zeros":    make([]byte, 1<<20),
		"bit flip": bytes.Repeat([]byte("hearthlg"), 1000),
	} {
		dir := logOf(t, b)
		_, err := store.Open(dir, store.Options{})
		if err == nil || !strings.Contains(err.Error(), "not a log of Hearth") {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(logFile(dir)); err != nil || !bytes.Equal(now, b) {
			t.Errorf("%s: was changed (%v)", name, err)
		}
	}
}

func TestTroubleIsToldWhenItBeginsAndWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{FS: storetest.NewCard()}
		s := open(t, "/data", disk)
		var told []string
		tell := func(who string) func(error) {
			return func(err error) { told = append(told, fmt.Sprintf("%s: %v", who, err)) }
		}
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if fmt.Sprint(told) != fmt.Sprint(want) {
				t.Errorf("%s: told %q, want %q", when, told, want)
			}
			told = nil
		}
		s.OnTrouble(tell("first"))
		s.Put(retained("a", "1"), 0, nil)
		expect("in peace")

		disk.FailWrites(syscall.ENOSPC)
		for range 3 {
			s.Put(retained("a", "2"), 0, tell("done"))
			time.Sleep(time.Minute)
		}
		expect("on a full disk", "first: write hearth.log.new: write /data/hearth.log.new: no space left on device")
		s.OnTrouble(tell("second"))
		expect("who asks later", "second: write hearth.log.new: write /data/hearth.log.new: no space left on device")

		disk.FailWrites(nil)
		time.Sleep(10 * time.Second)
		expect("there is room again", "first: <nil>", "second: <nil>", "done: <nil>", "done: <nil>", "done: <nil>")

		disk.FailSyncs(syscall.EIO)
		s.Put(retained("a", "3"), 0, nil)
		expect("again", "first: write hearth.log.new: sync /data/hearth.log.new: input/output error", "second: write hearth.log.new: sync /data/hearth.log.new: input/output error")
		disk.FailSyncs(nil)
		time.Sleep(10 * time.Second)
		expect("well again", "first: <nil>", "second: <nil>")
		closed(t, s)
		expect("closed")
	})
}

// Somebody cleans up under a running hub. What is written to a file without a name is
// not kept, so it must not be acknowledged.
func TestALogThatSomebodyTakesAwayIsBuiltAnew(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"the log is deleted": func(dir string) error { return os.Remove(logFile(dir)) },
		"the log is renamed": func(dir string) error { return os.Rename(logFile(dir), logFile(dir)+".old") },
		"the log is replaced": func(dir string) error {
			old, err := os.ReadFile(logFile(dir))
			return errors.Join(err, os.WriteFile(logFile(dir)+".old", old, 0o600), os.Rename(logFile(dir)+".old", logFile(dir)))
		},
		"the folder is emptied": func(dir string) error {
			return errors.Join(os.Remove(logFile(dir)), os.Remove(filepath.Join(dir, "hearth.lock")))
		},
		"the folder is deleted": os.RemoveAll,
		"the folder is renamed": func(dir string) error {
			return errors.Join(os.RemoveAll(dir+".old"), os.Rename(dir, dir+".old"))
		},
		"its parent is deleted": func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "var", "hearth")
				var said bytes.Buffer
				s, err := store.Open(dir, store.Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]string{"a": "1", "b": "1"}
				put(t, s, "a", "1")
				put(t, s, "b", "1")

				// The next commit notices.
				if err := harm(dir); err != nil {
					t.Fatal(err)
				}
				put(t, s, "a", "2")
				want["a"] = "2"
				r := open(t, cut(t, dir), nil)
				same(t, "acknowledged after that", values(r, store.Retained), want)
				closed(t, r)
				if err := s.Trouble(); err != nil {
					t.Errorf("trouble that is over: %v", err)
				}
				if _, err := store.Open(dir, store.Options{}); err == nil || !strings.Contains(err.Error(), "in use by process") {
					t.Errorf("somebody else may open the folder: %v", err)
				}

				// So does a store that has nothing to do, in time.
				if err := harm(dir); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				r = open(t, cut(t, dir), nil)
				same(t, "ten seconds later", values(r, store.Retained), want)
				closed(t, r)

				// And one that is closed before that.
				if err := harm(dir); err != nil {
					t.Fatal(err)
				}
				closed(t, s)
				for _, line := range []string{"hearth.log was deleted, renamed or replaced", "takes everything again"} {
					if n := strings.Count(said.String(), line); n != 3 {
						t.Errorf("it said %d times %q, want 3:\n%s", n, line, &said)
					}
				}
				s = open(t, dir, nil)
				same(t, "closed", values(s, store.Retained), want)
				if d := s.Damage(); d != nil {
					t.Errorf("damage: %v", d)
				}
				closed(t, s)
			})
		})
	}
}

// The disk refuses to take the file that somebody deleted again.
func TestALogThatIsTakenAwayOnASickDiskIsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := storetest.NewCard()
		disk := &store.Faulty{FS: card}
		s := open(t, "/data", disk)
		put(t, s, "a", "1")
		card.RemoveAll("/data")
		disk.FailAfter(0, syscall.EROFS)
		acked := 0
		s.Put(retained("b", "1"), 0, func(error) { acked++ })
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := s.Trouble(); !errors.Is(err, syscall.EROFS) || acked != 0 {
			t.Errorf("trouble %v, %d acknowledged", err, acked)
		}
		disk.FailAfter(0, nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.Trouble() != nil || acked != 1 {
			t.Errorf("trouble %v, %d acknowledged", s.Trouble(), acked)
		}
		r := open(t, "/data", card.Cut(nil))
		same(t, "well again", values(r, store.Retained), map[string]string{"a": "1", "b": "1"})
		closed(t, r)
		closed(t, s)
	})
}

// Another hub began in the folder that was made anew: its log is not replaced.
func TestALogThatIsAnotherHubsNowIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "hearth")
		s := open(t, dir, nil)
		put(t, s, "mine", "1")
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		other := open(t, dir, nil)
		put(t, other, "theirs", "1")
		acked := 0
		s.Put(retained("mine", "2"), 0, func(error) { acked++ })
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := s.Trouble(); err == nil || !strings.Contains(err.Error(), "in use by process") || acked != 0 {
			t.Errorf("trouble: %v; %d acknowledged", err, acked)
		}
		put(t, other, "theirs", "2")
		closed(t, other)
		if err := s.Close(); err == nil {
			t.Log("the other one has left, so the folder is this one's again")
		}
	})
}

// Keys of sessions are numbers.
func TestBinaryKeysAreKeptInOrderAndReadable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	sequences := []uint64{0, 1, 255, 256, 1 << 32, 1<<64 - 1}
	for _, session := range []uint32{1<<32 - 1, 256, 255, 1, 0} {
		for _, n := range slices.Backward(sequences) {
			s.Put(store.Record{Kind: store.Queued, Key: queuedKey(session, n), Value: []byte{}}, time.Hour, nil)
		}
	}
	closed(t, s)
	s = open(t, dir, nil)
	var keys []string
	for k := range s.Each(store.Queued) {
		keys = append(keys, k)
	}
	var want []string
	for _, session := range []uint32{0, 1, 255, 256, 1<<32 - 1} {
		for _, n := range sequences {
			want = append(want, queuedKey(session, n))
		}
	}
	if !slices.Equal(keys, want) {
		t.Errorf("the keys are %x, want %x", keys, want)
	}
	closed(t, s)

	for want, d := range map[string]store.Damage{
		`queued message 258 of session 7, 60 bytes at 8`:     {Kind: store.Queued, Key: queuedKey(7, 258)},
		`body of message 258, 60 bytes at 8`:                 {Kind: store.Body, Key: queuedKey(7, 258)[4:]},
		`subscription of session 7 to "a/+", 60 bytes at 8`:  {Kind: store.Subscription, Key: "\x00\x00\x00\x07a/+"},
		`unreleased packet 258 of session 7, 60 bytes at 8`:  {Kind: store.Unreleased, Key: "\x00\x00\x00\x07\x01\x02"},
		`session "thermostat", 60 bytes at 8`:                {Kind: store.Session, Key: "thermostat"},
		`queued "\x00\xff?", 60 bytes at 8`:                  {Kind: store.Queued, Key: "\x00\xff?"}, // not ours, and yet
		`retained "zigbee2mqtt/stube \u200b", 60 bytes at 8`: {Kind: store.Retained, Key: "zigbee2mqtt/stube \u200b"},
	} {
		d.Offset, d.Length = 8, 60
		if d.String() != want {
			t.Errorf("%s, want %s", d, want)
		}
	}
}

func TestKindsSayWhoseTheyAre(t *testing.T) {
	got := fmt.Sprint(store.Retained, store.Engine, store.Output, store.Reading, store.Owed,
		store.Session, store.Subscription, store.Queued, store.Body, store.Unreleased, store.Kind(200))
	if want := "retained engine output reading owed session subscription queued body unreleased kind 200"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// BenchmarkCommit commits groups of records on the real disk, each with its own
// done, as QoS 1 publishes of so many clients would.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("group=%d", n), func(b *testing.B) {
			disk := &store.Faulty{}
			s := open(b, b.TempDir(), disk)
			defer s.Close()
			value := bytes.Repeat([]byte("v"), 60)
			keys := make([]string, 1000)
			for i := range keys {
				keys[i] = fmt.Sprintf("zigbee2mqtt/device_%04d", i)
			}
			before := disk.Counts()
			for i := 0; b.Loop(); i++ {
				done := make(chan error, n)
				for j := range n {
					s.Put(store.Record{Kind: store.Retained, Key: keys[(i*n+j)%1000], Value: value}, time.Hour, func(err error) { done <- err })
				}
				if err := s.Sync(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			after := disk.Counts()
			b.ReportMetric(float64(after.Bytes-before.Bytes)/float64(b.N), "B-written/commit")
			b.ReportMetric(float64(after.Syncs-before.Syncs)/float64(b.N), "syncs/commit")
		})
	}
}

// BenchmarkPut is the time a Put takes from its caller, with so many values alive; and
// that of a queued message that comes and goes.
func BenchmarkPut(b *testing.B) {
	value := bytes.Repeat([]byte("v"), 60)
	for _, n := range []int{1000, 50_000} {
		b.Run(fmt.Sprintf("live=%d", n), func(b *testing.B) {
			s := open(b, b.TempDir(), nil)
			defer s.Close()
			keys := make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("zigbee2mqtt/device_%04d", i)
				s.Put(store.Record{Kind: store.Retained, Key: keys[i], Value: value}, 5*time.Minute, nil)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Put(store.Record{Kind: store.Retained, Key: keys[i%n], Value: value}, 5*time.Minute, nil)
			}
		})
		b.Run(fmt.Sprintf("live=%d/come-and-go", n), func(b *testing.B) {
			s := open(b, b.TempDir(), nil)
			defer s.Close()
			for i := range n {
				s.Put(store.Record{Kind: store.Retained, Key: fmt.Sprintf("zigbee2mqtt/device_%04d", i), Value: value}, 5*time.Minute, nil)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				key := queuedKey(1, uint64(i))
				s.Put(store.Record{Kind: store.Queued, Key: key, Value: value}, 3*time.Millisecond, nil)
				s.Put(store.Record{Kind: store.Queued, Key: key}, 3*time.Millisecond, nil)
			}
		})
	}
}

func queuedKey(session uint32, sequence uint64) string {
	return string(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, session), sequence))
}

// BenchmarkCompaction measures how long a commit and how long a Put takes while 20 MB
// in so many records are compacted again and again.
func BenchmarkCompaction(b *testing.B) {
	for _, n := range []int{2000, 50_000} {
		b.Run(fmt.Sprintf("live=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			s := open(b, dir, nil)
			defer s.Close()
			value := bytes.Repeat([]byte("v"), 20_000_000/n)
			put := func(i int, done func(error)) {
				s.Put(store.Record{Kind: store.Body, Key: queuedKey(0, uint64(i%n)), Value: value}, time.Hour, done)
			}
			for i := range n {
				put(i, nil)
			}
			if err := s.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
			var commits, puts []time.Duration
			inode := func() (n uint64) {
				info, err := os.Stat(logFile(dir))
				if err != nil {
					b.Fatal(err)
				}
				return info.Sys().(*syscall.Stat_t).Ino
			}
			compactions, last := 0, inode()
			batch := max(1, 8000/len(value))
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				for j := range batch {
					began := time.Now()
					put(i*batch+j, nil)
					puts = append(puts, time.Since(began))
				}
				if err := s.Sync(b.Context()); err != nil {
					b.Fatal(err)
				}
				commits = append(commits, time.Since(start))
				if i%16 == 0 && inode() != last {
					compactions, last = compactions+1, inode()
				}
			}
			report := func(times []time.Duration, name string) {
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms/"+name)
				b.ReportMetric(float64(times[len(times)-1].Microseconds())/1000, "max-ms/"+name)
			}
			report(commits, "commit")
			report(puts, "put")
			b.ReportMetric(float64(compactions), "compactions")
		})
	}
}

// BenchmarkOpen opens a store of 10,000 records that was closed properly, and one
// that was not and is copied.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, nil)
	for i := range 10_000 {
		s.Put(retained(fmt.Sprintf("zigbee2mqtt/device_%05d", i), strings.Repeat("v", 60)), time.Hour, nil)
	}
	put(b, s, "last", "1")
	unclean, err := os.ReadFile(logFile(dir))
	if err != nil {
		b.Fatal(err)
	}
	closed(b, s)
	b.Run("clean", func(b *testing.B) {
		for b.Loop() {
			s := open(b, dir, nil)
			b.StopTimer()
			closed(b, s)
			b.StartTimer()
		}
	})
	b.Run("unclean", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			dir := logOf(b, unclean)
			b.StartTimer()
			s := open(b, dir, nil)
			b.StopTimer()
			closed(b, s)
			b.StartTimer()
		}
	})
}
