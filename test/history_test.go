package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/devices"
	"hearth/history"
	"hearth/rules"
	"hearth/store"
)

// recorders is the sign by which a process of this binary knows that it is to record
// a history into the folder that it names, and keep values in a store beside it.
const recorders = "HEARTH_TEST_RECORD"

const (
	recordedSeries = 20
	recordedFlush  = 100 * time.Millisecond // in place of ten minutes
)

// A power cut costs of the history what came since the last flush, and nothing of
// the store, which lies in the same folder. Half of the cuts come while old history
// makes room for new.
func TestPowerCutsWhileHistoryIsRecorded(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, c := range []struct {
		name, size string
		limited    bool
	}{
		{"a file that grows", "512MiB", false},
		{"a file at its limit", "14MiB", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := newDisk(t, 64<<20)
			disk.mount(t)
			dir := filepath.Join(disk.dir, "data")
			var told tally
			var env []string
			if c.limited {
				env = []string{"HEARTH_TEST_BULK=1"}
				fill(t, dir, c.size)
			}
			for n := range max(*cuts/2, 1) {
				r := record(t, dir, c.size, env...)
				told.check(t, r)
				<-time.After(200*time.Millisecond + rand.N(time.Second))
				if n%2 == 0 {
					r.nextFlush(t)
				}
				disk.cut(t, func() { told.expect(r) })
				r.kill()
				disk.unmount(t)
				disk.mount(t)
			}
			r := record(t, dir, c.size)
			told.check(t, r)
			r.kill()
			t.Logf("%d cuts, %d readings recorded, %d flushed before a cut, %d of them lost; %d had not been flushed, %d of them were there all the same",
				told.cuts, told.recorded, told.flushed, told.lost, told.recorded-told.flushed, told.kept)
			if c.limited {
				t.Logf("to make room, what came before reading %d had gone", r.said.foundFrom)
				if r.said.foundFrom <= 1 {
					t.Error("nothing had to make room")
				}
			}
			t.Logf("%d values of the store were acknowledged before a cut, %d of them lost", told.acked, told.storeLost)
		})
	}
}

// fill records until old history has to make room.
func fill(t *testing.T, dir, size string) {
	t.Helper()
	for range 20 {
		r := record(t, dir, size, "HEARTH_TEST_BULK=1")
		from := r.begun(t).foundFrom
		if from <= 1 {
			<-time.After(4 * time.Second)
			r.nextFlush(t)
		}
		r.kill()
		if from > 1 {
			return
		}
	}
	t.Fatal("history has not reached its limit")
}

// When others fill the disk, the oldest history goes and gives its room back; what the store has to keep
// never waits for that.
func TestFullDiskTakesTheOldestHistory(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := newDisk(t, 96<<20)
	disk.mount(t)
	dir := filepath.Join(disk.dir, "data")
	r := record(t, dir, "512MiB", "HEARTH_TEST_BULK=1")
	r.begun(t)
	taken := func() int64 {
		var s syscall.Stat_t
		if err := syscall.Stat(filepath.Join(dir, history.File), &s); err != nil {
			return 0
		}
		return s.Blocks * 512
	}
	free := func() int64 {
		var s syscall.Statfs_t
		if err := syscall.Statfs(disk.dir, &s); err != nil {
			t.Fatal(err)
		}
		return int64(s.Bavail) * int64(s.Bsize)
	}
	said := func() promise {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.said
	}
	if !within(6*patience, func() bool { return taken() > 24<<20 }) {
		t.Fatalf("history has taken %d KiB, want 24 MiB", taken()>>10)
	}
	before, kept := taken(), said()
	ballast, err := os.Create(filepath.Join(disk.dir, "others"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for free() > 1<<20 {
		if _, err := ballast.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	left := free()
	eventually(t, "history gives room back", func() bool { return taken() < before/2 && free() > 4<<20 })
	after, given := taken(), free()
	eventually(t, "history is still flushed, and the store keeps what it is told", func() bool {
		now := said()
		return now.flushed > kept.flushed+10_000 && now.acked > kept.acked+10_000
	})
	t.Logf("history took %d KiB when others left %d KiB of the disk; then it took %d KiB, and %d KiB were free", before>>10, left>>10, after>>10, given>>10)
	r.kill()

	r = record(t, dir, "512MiB")
	now := r.begun(t)
	t.Logf("of %d readings those from %d on are there; the store has all %d values", now.found, now.foundFrom, now.foundStore)
	if now.foundFrom < 2 || now.found < kept.flushed || now.foundStore < kept.acked {
		t.Errorf("found %+v, want the newest of %+v", now, kept)
	}
}

// A tally is what all the lives together promised and kept.
type tally struct {
	cuts                                            int
	last                                            promise
	recorded, flushed, lost, kept, acked, storeLost int64
}

// A promise is what a recorder has said: up to which number readings had been
// recorded, had been flushed, and values were acknowledged by the store; and
// what it found when it began.
type promise struct{ recorded, flushed, acked, foundFrom, found, foundStore int64 }

// expect takes down what was promised before a cut.
func (c *tally) expect(r *recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.last = r.said
	r.dark = true
	c.cuts++
	c.recorded += c.last.recorded - c.last.found
	c.flushed += max(0, c.last.flushed-c.last.found)
	c.acked += max(0, c.last.acked-c.last.foundStore)
}

// check compares that with what the next life has found.
func (c *tally) check(t *testing.T, r *recorder) {
	t.Helper()
	now := r.begun(t)
	if c.cuts == 0 {
		return
	}
	if now.found < c.last.flushed {
		c.lost += c.last.flushed - now.found
		t.Errorf("cut %d: reading %d had been flushed, found are those up to %d", c.cuts, c.last.flushed, now.found)
	}
	c.kept += max(0, now.found-c.last.flushed)
	if now.foundStore < c.last.acked {
		c.storeLost += c.last.acked - now.foundStore
		t.Errorf("cut %d: the store had acknowledged %d, found is %d", c.cuts, c.last.acked, now.foundStore)
	}
}

// A recorder is such a process.
type recorder struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex
	said  promise
	ready bool
	dark  bool
	wrong []string
}

func record(t *testing.T, dir, size string, env ...string) *recorder {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{cmd: exec.Command(self), ended: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), recorders+"="+dir, "HEARTH_TEST_SIZE="+size)
	r.cmd.Env = append(r.cmd.Env, env...)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stdout, r.cmd.Stderr = in, in
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	go func() {
		defer close(r.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.hear(lines.Text())
		}
		out.Close()
		r.cmd.Wait()
	}()
	t.Cleanup(r.kill)
	return r
}

// hear takes what the process says. After the cut it does not count.
func (r *recorder) hear(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dark {
		return
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "found":
		fmt.Sscan(rest, &r.said.foundFrom, &r.said.found, &r.said.foundStore)
		r.said.recorded, r.said.flushed, r.said.acked = r.said.found, r.said.found, r.said.foundStore
		r.ready = true
	case "recorded":
		r.said.recorded, _ = strconv.ParseInt(rest, 10, 64)
	case "flushed":
		r.said.flushed, _ = strconv.ParseInt(rest, 10, 64)
	case "acked":
		r.said.acked, _ = strconv.ParseInt(rest, 10, 64)
	default:
		r.wrong = append(r.wrong, line)
	}
}

// begun waits until it has told what it found.
func (r *recorder) begun(t *testing.T) promise {
	t.Helper()
	ok := within(patience, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.ready || len(r.wrong) > 0
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok || len(r.wrong) > 0 {
		t.Fatalf("the recorder does not start well:\n%s", strings.Join(r.wrong, "\n"))
	}
	return r.said
}

// nextFlush waits for one: who says so before the disk has it is caught then.
func (r *recorder) nextFlush(t *testing.T) {
	t.Helper()
	flushed := func() int64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.said.flushed
	}
	before := flushed()
	if !within(patience, func() bool { return flushed() > before }) {
		r.cmd.Process.Signal(syscall.SIGQUIT) // it tells what it is at
		<-r.ended
		t.Fatalf("nothing is flushed any more, but %+v:\n%s", r.said, strings.Join(r.wrong, "\n"))
	}
}

func (r *recorder) kill() {
	r.cmd.Process.Kill()
	<-r.ended
}

// recordFor is the life of such a process. Reading n belongs to one of the series, and
// says n.
func recordFor(dir, size string) error {
	disk, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	foundStore := int64(0)
	for _, value := range disk.Each(store.Retained) {
		if foundStore, err = strconv.ParseInt(string(value), 10, 64); err != nil {
			return err
		}
	}
	began := time.Now()
	wall := began.Round(0).Truncate(time.Microsecond)
	now := func() devices.Now {
		mono := time.Since(began).Truncate(time.Microsecond)
		return devices.Now{Mono: mono, Wall: wall.Add(mono), Known: true}
	}
	var cfg history.Config
	if err := cfg.MaxSize.UnmarshalText([]byte(size)); err != nil {
		return err
	}
	h, err := history.Open(dir, cfg, history.Options{Now: now, Boot: began.String()})
	if err != nil {
		return err
	}
	from, to, err := countFound(h)
	if err != nil {
		return err
	}
	if health := h.Health(); health.Err != "" || len(health.Found) > 0 || health.Damaged > 0 {
		return fmt.Errorf("a power cut is no damage: %+v", health)
	}
	say := func(word string, n ...int64) {
		os.Stdout.WriteString(word + " " + strings.Trim(fmt.Sprint(n), "[]") + "\n")
	}
	say("found", from, to, foundStore)

	h.Event(rules.Event{At: now(), Kind: rules.Open, State: &rules.Checkpoint{Boot: fmt.Sprint("boot ", began.UnixNano()), Life: uint64(began.UnixNano())}})
	bulk := os.Getenv("HEARTH_TEST_BULK") != ""
	n := to
	flushes := time.Now()
	flushed := make(chan int64, 1)
	flushed <- 0
	for {
		for range 40 {
			n++
			source, text := fmt.Sprint("sensor/", n%recordedSeries), fmt.Sprint(n)
			if bulk { // what nobody can make smaller
				text += fmt.Sprintf(" %x", rand.Perm(40))
			}
			h.Event(rules.Event{At: now(), Kind: rules.Report, Readings: []devices.Reading{{Source: source, Topic: source, Value: float64(n), Text: text, At: now()}}})
		}
		say("recorded", n)
		kept := foundStore + n - to
		disk.Put(store.Record{Kind: store.Retained, Key: "n", Value: []byte(fmt.Sprint(kept))}, 0, func(err error) {
			if err == nil {
				say("acked", kept)
			}
		})
		if time.Since(flushes) > recordedFlush {
			select {
			case <-flushed:
				flushes = time.Now()
				go func(n int64) {
					if err := h.Flush(context.Background()); err != nil {
						fmt.Fprintln(os.Stderr, "flush:", err)
					} else {
						say("flushed", n)
					}
					flushed <- n
				}(n)
			default:
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// countFound reads all that is there, which must be an unbroken row of numbers.
func countFound(h *history.History) (from, to int64, err error) {
	seen := map[int64]bool{}
	for _, s := range h.Series() {
		last := int64(-1)
		for p, err := range h.Readings(s.Name, time.Time{}, time.Now().Add(time.Hour)) {
			if err != nil {
				return 0, 0, err
			}
			v, _ := p.Value.(float64)
			n := int64(v)
			if n <= last || fmt.Sprint("sensor/", n%recordedSeries) != s.Name {
				return 0, 0, fmt.Errorf("%s is %v after %d", s.Name, p.Value, last)
			}
			last, seen[n] = n, true
			to = max(to, n)
		}
	}
	for from = to; seen[from-1]; from-- {
	}
	if int64(len(seen)) != to-from+1 && to > 0 {
		return 0, 0, errors.New(fmt.Sprint(len(seen), " readings, but from ", from, " to ", to))
	}
	return from, to, nil
}
