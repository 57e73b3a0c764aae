package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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

	"pgregory.net/rapid"

	"hearth/store"
	"hearth/store/storetest"
)

// history is what a store was told, key by key, and how much of it was
// acknowledged: after a power cut each key must have its last acknowledged value
// or a later one.
type history struct {
	mu  sync.Mutex
	was map[string][]string // "" is a deletion; begins with one
	ack map[string]int      // index of the last acknowledged
}

func newHistory() *history {
	return &history{was: map[string][]string{}, ack: map[string]int{}}
}

func (h *history) put(s *store.Store, key, value string, within time.Duration) {
	h.mu.Lock()
	if h.was[key] == nil {
		h.was[key] = []string{""}
	}
	h.was[key] = append(h.was[key], value)
	n := len(h.was[key]) - 1
	h.mu.Unlock()
	r := store.Record{Kind: store.Retained, Key: key}
	if value != "" {
		r.Value = []byte(value)
	}
	s.Put(r, within, func(err error) {
		if err == nil {
			h.mu.Lock()
			h.ack[key] = max(h.ack[key], n)
			h.mu.Unlock()
		}
	})
}

// check compares with what a reopened store has, and takes that as acknowledged.
func (h *history) check(got map[string]string) error {
	for key, was := range h.was {
		at := slices.Index(was[h.ack[key]:], got[key])
		if at < 0 {
			return fmt.Errorf("%s = %q, want %q or a later one of %q", key, got[key], was[h.ack[key]], was)
		}
		h.was[key], h.ack[key] = []string{"", got[key]}, 1
	}
	for key := range got {
		if h.was[key] == nil {
			return fmt.Errorf("%s = %q, which was never put", key, got[key])
		}
	}
	return nil
}

// small opens a store on a disk in memory whose log begins with 16 KiB, so that
// a few puts fill it.
func small(t testing.TB, disk store.FS) *store.Store {
	t.Helper()
	return stepping(t, disk, 0)
}

// stepping is small and compacts in steps of this size.
func stepping(t testing.TB, disk store.FS, step int64) *store.Store {
	t.Helper()
	s, err := store.Open("/data", store.Options{FS: disk}.WithFirst(16<<10).WithStep(step))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const logName = "/data/hearth.log"

func TestAnyMixOfPutsFaultsAndPowerCutsKeepsWhatWasAcknowledged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		power := storetest.NewCard()
		disk := &store.Faulty{FS: power}
		h := newHistory()
		step := rapid.SampledFrom([]int64{0, 100, 5000}).Draw(rt, "step")
		s := stepping(t, disk, step)
		defer func() { s.Close() }()
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n++
				h.put(s, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key"),
					fmt.Sprint(n, strings.Repeat("v", rapid.SampledFrom([]int{0, 10, 700, 5000, 20_000}).Draw(rt, "length"))),
					rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(rt, "within"))
			},
			"delete": func(rt *rapid.T) {
				h.put(s, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key"), "", 0)
			},
			"sync": func(rt *rapid.T) {
				if s.Trouble() != nil {
					return
				}
				disk.FailAfter(0, nil)
				if err := s.Sync(t.Context()); err != nil {
					rt.Fatal(err)
				}
			},
			"disk breaks": func(rt *rapid.T) {
				disk.FailAfter(rapid.IntRange(0, 12).Draw(rt, "steps"), errors.New("broken"))
			},
			"somebody deletes the log": func(rt *rapid.T) {
				power.RemoveAll("/data")
				// Until it is noticed a power cut would find nothing.
				disk.FailAfter(0, nil)
				if err := s.Sync(t.Context()); err != nil {
					rt.Fatal(err)
				}
				if power.Cut(nil).Content(logName) == nil {
					rt.Fatal("acknowledged without a file")
				}
			},
			"reopen": func(rt *rapid.T) {
				disk.FailAfter(0, nil)
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				s = stepping(t, disk, step)
				if d := s.Damage(); d != nil {
					rt.Fatalf("damage on a sound disk: %v", d)
				}
				if err := h.check(values(s, store.Retained)); err != nil {
					rt.Fatal(err)
				}
			},
			"power cut": func(rt *rapid.T) {
				seed := rapid.Uint64().Draw(rt, "what reached the disk")
				random := rand.New(rand.NewPCG(seed, 0))
				share := random.Float64()
				h.mu.Lock() // no acknowledgement after the cut counts
				ack := maps.Clone(h.ack)
				next := power.Cut(func() bool { return random.Float64() < share })
				h.mu.Unlock()
				s.Close() // into the void
				power, h.ack = next, ack
				disk = &store.Faulty{FS: power}
				s = stepping(t, disk, step)
				if d := s.Damage(); d != nil {
					rt.Fatalf("a power cut is no damage: %v", d)
				}
				if err := h.check(values(s, store.Retained)); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				want := map[string]string{}
				for k, was := range h.was {
					if v := was[len(was)-1]; v != "" {
						want[k] = v
					}
				}
				if !maps.Equal(values(s, store.Retained), want) {
					rt.Fatal("Each does not show the newest values")
				}
			},
		})
	})
}

func TestACompactionThatStopsAnywhereLeavesAGoodFile(t *testing.T) {
	for _, step := range []int64{0, 100, 1500} { // 0: in one go
		stopAnywhere(t, step, func(int) string { return "k" })
	}
}

func TestAGrowthThatStopsAnywhereLeavesAGoodFile(t *testing.T) {
	stopAnywhere(t, 0, func(i int) string { return fmt.Sprint("k", i) })
}

// stopAnywhere fills a file nearly, lets the next commits stop at each step they
// take, and looks at what is there: once with the process alone gone, once with
// the power.
func stopAnywhere(t *testing.T, step int64, key func(int) string) {
	for steps := 0; ; steps++ {
		power := storetest.NewCard()
		disk := &store.Faulty{FS: power}
		h := newHistory()
		synctest.Test(t, func(t *testing.T) {
			s := stepping(t, disk, step)
			value := strings.Repeat("v", 1000)
			for i := range 10 { // nearly fills the file with garbage
				h.put(s, key(i), fmt.Sprint(i, value), 0)
				h.put(s, fmt.Sprint("quiet", i), "1", time.Hour)
				synctest.Wait()
			}
			disk.FailAfter(steps, errors.New("stopped"))
			for i := range 4 {
				h.put(s, key(10+i), fmt.Sprint("last", i, value), 0)
				h.put(s, "quiet1", "", 0)
				synctest.Wait()
			}
			for _, share := range []float64{0, 0.5, 1} {
				random := rand.New(rand.NewPCG(uint64(steps), 1))
				after := power.Cut(func() bool { return random.Float64() < share })
				again := &history{was: maps.Clone(h.was), ack: maps.Clone(h.ack)}
				r := small(t, after)
				if err := again.check(values(r, store.Retained)); err != nil {
					t.Fatalf("stopped after %d steps, %v of the rest written: %v", steps, share, err)
				}
				if d := r.Damage(); d != nil {
					t.Fatalf("stopped after %d steps: %v", steps, d)
				}
				closed(t, r)
			}
			if s.Trouble() == nil {
				steps = -1 // the compaction came through: seen all
			}
			disk.FailAfter(0, nil)
			closed(t, s)
			r := small(t, power)
			if err := h.check(values(r, store.Retained)); err != nil {
				t.Fatal(err)
			}
			closed(t, r)
		})
		if steps < 0 {
			return
		}
	}
}

// More than a step lives in the store. While it is compacted no commit waits for much
// more than a step, and what is put, replaced and deleted meanwhile is in the new file.
func TestCommitsGoOnDuringACompaction(t *testing.T) {
	synctest.Test(t, commitsDuringCompactions)
}

func commitsDuringCompactions(t *testing.T) {
	const step, keys = 16 << 10, 2000
	power := storetest.NewCard()
	power.SyncTakes = time.Millisecond
	disk := &store.Faulty{FS: power}
	s := stepping(t, disk, step)
	want, random := map[string]string{}, rand.New(rand.NewPCG(5, 6))
	change := func(i int, within time.Duration) {
		key, r := fmt.Sprint("k", random.IntN(keys)), store.Record{Kind: store.Retained}
		if r.Key = key; random.IntN(4) > 0 {
			want[key] = fmt.Sprint(i, strings.Repeat("v", random.IntN(2000)))
			r.Value = []byte(want[key])
		} else {
			delete(want, key)
		}
		s.Put(r, within, nil)
	}
	for i := range 2 * keys {
		change(i, time.Hour)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, compactions := power.Content(logName)[16:24], 0 // the mark is another in each file
	most, longest := int64(0), time.Duration(0)
	for i := range 6000 {
		before, start := disk.Counts().Bytes, time.Now()
		for range 1 + random.IntN(3) {
			change(i, time.Duration(random.IntN(2))*time.Hour)
		}
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		// What Sync waited for: the rest of a step, its own commit, and what a file may
		// grow by.
		most, longest = max(most, disk.Counts().Bytes-before), max(longest, time.Since(start))
		if mark := power.Content(logName)[16:24]; !bytes.Equal(mark, first) {
			first, compactions = bytes.Clone(mark), compactions+1
			after := small(t, power.Cut(nil))
			same(t, "after a power cut", values(after, store.Retained), want)
			closed(t, after)
		}
	}
	t.Logf("%d compactions of %d values; at most %d kB were written between a put and its acknowledgement, with %v of syncs", compactions, len(want), most>>10, longest)
	if compactions < 3 {
		t.Errorf("only %d compactions", compactions)
	}
	if longest > 4*power.SyncTakes { // of a step, of the commit; of the last step and its rename
		t.Errorf("it took %v, want 4 syncs at most", longest)
	}
	if limit := int64(1<<20 + 6*step); most > limit {
		t.Errorf("%d bytes were written between a put and its acknowledgement, want less than %d", most, limit)
	}
	closed(t, s)
	s = small(t, power)
	same(t, "in the end", values(s, store.Retained), want)
	closed(t, s)
}

// A disk has room for one file, not for two: the old one goes on as long as it can.
func TestACompactionThatTheDiskHasNoRoomForIsDoneLater(t *testing.T) {
	power := storetest.NewCard()
	disk := &noNewFS{Card: power}
	s := stepping(t, disk, 16<<10)
	value, n := strings.Repeat("v", 1000), 0
	for ; disk.refused.Load() < 3; n++ {
		put(t, s, fmt.Sprint("k", n%100), fmt.Sprint(n, value))
	}
	if err := s.Trouble(); err != nil {
		t.Errorf("trouble: %v", err)
	}
	disk.room.Store(true)
	long := len(power.Content(logName))
	for end := n + 3000; n < end; n++ {
		put(t, s, fmt.Sprint("k", n%100), fmt.Sprint(n, value))
	}
	if now := len(power.Content(logName)); now >= long {
		t.Errorf("there is room again, but the file of %d bytes has %d now", long, now)
	}
	closed(t, s)
	s = small(t, power)
	if got := values(s, store.Retained); len(got) != 100 || got[fmt.Sprint("k", (n-1)%100)] != fmt.Sprint(n-1, value) {
		t.Errorf("%d values", len(got))
	}
	closed(t, s)
}

// noNewFS has no room for a second file.
type noNewFS struct {
	*storetest.Card
	room    atomic.Bool
	refused atomic.Int32
}

func (d *noNewFS) Open(name string, flag int) (store.File, error) {
	if strings.HasSuffix(name, ".new") && d.Content(logName) != nil && !d.room.Load() {
		d.refused.Add(1)
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
	}
	return d.Card.Open(name, flag)
}

func TestATornTailCostsOnlyTheCommitThatWasNotFinished(t *testing.T) {
	disk := storetest.NewCard()
	s := small(t, disk)
	first := map[string]string{"a": "1", "b": strings.Repeat("long ", 20)}
	put(t, s, "a", first["a"])
	put(t, s, "b", first["b"])
	before := bytes.Clone(disk.Content(logName))
	last := map[string]string{"a": "2", "c": strings.Repeat("another ", 10), "d": ""}
	for k, v := range last {
		s.Put(retained(k, v), time.Hour, nil)
	}
	put(t, s, "e", "5")
	after := bytes.Clone(disk.Content(logName))
	closed(t, s)
	used := func(log []byte) int { return (len(bytes.TrimRight(log, "\x00")) + 7) &^ 7 } // records end at a multiple of 8
	begin, end := used(before), used(after)

	random := rand.New(rand.NewPCG(1, 2))
	for at := begin; at <= end; at++ {
		for name, rest := range map[string]func(b []byte) []byte{
			"cut off": func(b []byte) []byte { return b[:at] },
			"zeros":   func(b []byte) []byte { clear(b[at:]); return b },
			"garbage": func(b []byte) []byte {
				for i := at; i < end; i++ {
					b[i] = byte(random.Uint32())
				}
				return b
			},
		} {
			power := storetest.With(logName, rest(bytes.Clone(after)))
			torn := power.Content(logName)
			s := small(t, power)
			got := values(s, store.Retained)
			for k, v := range first {
				if newer, ok := last[k]; got[k] != v && !(ok && got[k] == newer) {
					t.Fatalf("%s from %d: %s = %q", name, at, k, got[k])
				}
			}
			if d := s.Damage(); d != nil {
				t.Fatalf("%s from %d: a torn tail is no damage: %v", name, at, d)
			}
			if bytes.Equal(torn, power.Content(logName)) {
				t.Fatalf("%s from %d: the log was not rewritten", name, at)
			}
			closed(t, s)
		}
	}
}

func TestABitFlipCostsItsRecordAtMostAndIsReported(t *testing.T) {
	disk := storetest.NewCard()
	s := small(t, disk)
	older, newest := map[string]string{}, map[string]string{}
	for i := range 60 {
		k := fmt.Sprint("key", i%40)
		older[k] = newest[k]
		newest[k] = fmt.Sprint(i, strings.Repeat("v", i*7))
		put(t, s, k, newest[k])
	}
	for i := 30; i < 34; i++ { // deletions are records too
		k := fmt.Sprint("key", i)
		older[k] = newest[k]
		delete(newest, k)
		s.Put(store.Record{Kind: store.Retained, Key: k}, 0, nil)
	}
	closed(t, s)
	good := disk.Content(logName)
	used := len(bytes.TrimRight(good, "\x00"))

	random := rand.New(rand.NewPCG(3, 4))
	readable := 0
	for i := range 400 {
		bit := random.IntN(used * 8)
		if i < 24*8 {
			bit = i // every bit of the header
		}
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		power := storetest.With(logName, b)
		s := small(t, power)
		got, damage := values(s, store.Retained), s.Damage()
		var lost []string
		for k := range maps.Clone(older) {
			if got[k] != newest[k] {
				if got[k] != older[k] {
					t.Fatalf("bit %d: wrong value %s = %q", bit, k, got[k])
				}
				lost = append(lost, k)
			}
		}
		if len(lost) > 1 || len(lost) > len(damage) {
			t.Fatalf("bit %d: lost %q, reported %v", bit, lost, damage)
		}
		if len(lost) == 1 && damage[0].Key != "" {
			readable++
			if damage[0].Key != lost[0] || damage[0].Kind != store.Retained {
				t.Fatalf("bit %d: lost %q, reported %v", bit, lost, damage)
			}
		}
		if len(damage) > 0 && int64(bit/8) < damage[0].Offset || len(damage) > 1 {
			t.Fatalf("bit %d: reported %v", bit, damage)
		}
		closed(t, s)

		s = small(t, power)
		same(t, "after the repair", values(s, store.Retained), got)
		if d := s.Damage(); d != nil {
			t.Fatalf("bit %d: damage after the repair: %v", bit, d)
		}
		closed(t, s)
	}
	t.Logf("the key of %d lost records was readable", readable)
}

func TestAValueThatLooksLikeARecordIsNotTakenForOne(t *testing.T) {
	// Someone publishes a copy of a log, and the record that holds it rots.
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "alarm", "armed")
	copied, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)

	dir = t.TempDir()
	s = open(t, dir, nil)
	put(t, s, "evil", string(copied[4096:5096]))
	put(t, s, "next", "1")
	closed(t, s)
	b, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	// Behind the header and the seal of an empty file.
	b[4096+40+20] ^= 1 // the length of its key: the head is unreadable too
	s = open(t, logOf(t, b), nil)
	same(t, "after the damage", values(s, store.Retained), map[string]string{"next": "1"})
	if len(s.Damage()) != 1 {
		t.Errorf("damage: %v", s.Damage())
	}
	closed(t, s)
}

func TestANewerFormatIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	closed(t, open(t, dir, nil))
	b, err := os.ReadFile(logFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < 4096; at += 2048 {
		binary.LittleEndian.PutUint32(b[at+8:], 7)
		binary.LittleEndian.PutUint32(b[at+12:], store.HeaderSum(b[at:]))
	}
	dir = logOf(t, b)
	_, err = store.Open(dir, store.Options{})
	if err == nil || !strings.Contains(err.Error(), "newer Hearth (format 7") {
		t.Errorf("error: %v", err)
	}
	if now, err := os.ReadFile(logFile(dir)); err != nil || !bytes.Equal(now, b) {
		t.Errorf("was changed (%v)", err)
	}
}

// badSector is a file of which one page cannot be read.
type badSector struct {
	store.File
	at int64
}

type badSectorFS struct {
	store.Disk
	at int64
}

func (d badSectorFS) Open(name string, flag int) (store.File, error) {
	f, err := d.Disk.Open(name, flag)
	if err != nil || filepath.Base(name) != "hearth.log" {
		return f, err
	}
	return badSector{f, d.at}, nil
}

func (f badSector) ReadAt(b []byte, at int64) (int, error) {
	if at <= f.at && f.at < at+int64(len(b)) {
		return 0, errors.New("input/output error")
	}
	return f.File.ReadAt(b, at)
}

func TestABadSectorCostsWhatLiesInIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	for i := range 20 {
		put(t, s, fmt.Sprint("k", i), strings.Repeat("v", 1000))
	}
	closed(t, s)
	s = open(t, dir, badSectorFS{at: 4096 + 8200})
	if n := len(values(s, store.Retained)); n < 14 || n > 16 {
		t.Errorf("%d of 20 values with one bad page of 4 kB", n)
	}
	if len(s.Damage()) == 0 {
		t.Error("nothing reported")
	}
	closed(t, s)
}

func TestAFirstStartThatStopsAnywhereStillOpensTheStore(t *testing.T) {
	for steps := 0; ; steps++ {
		seen := false
		synctest.Test(t, func(t *testing.T) {
			power := storetest.NewCard()
			disk := &store.Faulty{FS: power}
			disk.FailAfter(steps, syscall.ENOSPC)
			s := small(t, disk)
			seen = s.Trouble() == nil
			if !seen && !errors.Is(s.Trouble(), syscall.ENOSPC) {
				t.Errorf("trouble: %v", s.Trouble())
			}
			acked := false
			s.Put(retained("a", "1"), 0, func(error) { acked = true })
			time.Sleep(time.Hour)
			synctest.Wait()
			if acked {
				t.Errorf("acknowledged by a disk that broke after %d steps", steps)
			}
			disk.FailAfter(0, nil)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if !acked || s.Trouble() != nil {
				t.Errorf("well again: acknowledged %v, trouble %v", acked, s.Trouble())
			}
			s.Close()
			s = small(t, power.Cut(nil))
			same(t, "after a power cut", values(s, store.Retained), map[string]string{"a": "1"})
			closed(t, s)
		})
		if seen {
			return
		}
	}
}

// readOnlyFS is a disk that the kernel has made read-only.
type readOnlyFS struct{ *storetest.Card }

func (d readOnlyFS) Open(name string, flag int) (store.File, error) {
	if flag&os.O_RDWR != 0 {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EROFS}
	}
	return d.Card.Open(name, flag)
}

func TestAReadOnlyDiskIsReadAndSaysSo(t *testing.T) {
	power := storetest.NewCard()
	s := small(t, power)
	put(t, s, "a", "1")
	closed(t, s)
	before := bytes.Clone(power.Content(logName))
	s = small(t, readOnlyFS{power})
	same(t, "read from it", values(s, store.Retained), map[string]string{"a": "1"})
	if err := s.Trouble(); !errors.Is(err, syscall.EROFS) {
		t.Errorf("trouble: %v", err)
	}
	if err := s.Close(); !errors.Is(err, syscall.EROFS) {
		t.Errorf("close: %v", err)
	}
	if !bytes.Equal(power.Content(logName), before) {
		t.Error("the log was changed")
	}
}

func TestNoFileTakesLongToRead(t *testing.T) {
	// Were the cost not bounded for each byte, this would take minutes.
	const n = 4 << 20
	for _, size := range []uint32{0, 1, 1000, n / 2, n, 1<<32 - 1} {
		b := store.CraftedLog(n, size)
		start := time.Now()
		_, damage, err := store.Parse(b)
		if took := time.Since(start); err != nil || took > 5*time.Second {
			t.Errorf("heads that claim %d bytes: %v for 4 MiB, %d damaged stretches, %v", size, took, damage, err)
		}
	}
}

// BenchmarkParse reads an empty log of 1 MiB, and one made of nothing but marks.
func BenchmarkParse(b *testing.B) {
	power := storetest.NewCard()
	closed(b, open(b, "/data", power))
	for name, log := range map[string][]byte{"empty": power.Content(logName), "marks": store.CraftedLog(1<<20, 0), "heads": store.CraftedLog(1<<20, 1<<19)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(log)))
			for b.Loop() {
				if _, _, err := store.Parse(log); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzOpen takes any bytes for a log. In reseal mode the sums of the record heads it
// finds are made right first, so that the fuzzer gets past them.
func FuzzOpen(f *testing.F) {
	disk := storetest.NewCard()
	s := small(f, disk)
	for i := range 10 {
		put(f, s, fmt.Sprint("k", i%4), strings.Repeat("v", i*20))
	}
	s.Put(store.Record{Kind: store.Retained, Key: "k1"}, 0, nil)
	closed(f, s)
	b := disk.Content(logName)
	b = b[:len(bytes.TrimRight(b, "\x00"))+100]
	f.Add(b, 0, []byte(nil), false)
	f.Add(b, 4136+20, []byte{255, 255, 255, 255}, true)
	f.Add(b, 4136+28, []byte{1, 0, 0, 0, 0, 0, 9, 3}, true)
	f.Add([]byte("hearthlg"), 0, []byte(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, at int, patch []byte, reseal bool) {
		b = bytes.Clone(b)
		if at >= 0 && at < len(b) {
			copy(b[at:], patch)
		}
		if reseal {
			store.Reseal(b)
		}
		power := storetest.With(logName, bytes.Clone(b))
		s, err := store.Open("/data", store.Options{FS: power}.WithFirst(8<<10))
		if err != nil {
			if !bytes.Equal(power.Content(logName), b) {
				t.Fatal("a file that was refused was changed")
			}
			return
		}
		got, damage := values(s, store.Retained), s.Damage()
		for _, d := range damage {
			if d.Offset < 0 || d.Length <= 0 || d.String() == "" {
				t.Fatalf("damage %+v", d)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = small(t, power)
		same(t, "opened again", values(s, store.Retained), got)
		if d := s.Damage(); d != nil {
			t.Fatalf("damage after a rewrite: %v", d)
		}
		closed(t, s)
	})
}

// Whenever the power goes, records that were put together are of the same age.
func TestWhatIsPutTogetherIsThereTogether(t *testing.T) {
	power := storetest.NewCard()
	s := small(t, power)
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			var all []store.Record
			for _, key := range []string{"calc", "machine", "rule", "variable"} {
				all = append(all, retained(key, fmt.Sprint(n)))
			}
			s.PutAll(all, 0, nil)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 300 {
		after := small(t, power.Cut(nil))
		got := values(after, store.Retained)
		for key, v := range got {
			if v != got["calc"] || len(got) != 4 {
				t.Fatalf("%s of %v is not as old as the others", key, got)
			}
		}
		closed(t, after)
	}
	close(stop)
	<-stopped
	closed(t, s)
}
