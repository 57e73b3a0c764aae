package history

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// A sensor is one of a house that reports every ten seconds, with the digits that such
// things have.
type sensor struct {
	name     string
	digits   int
	at, step float64 // a walk
	low, top float64
	due      time.Duration
}

// sensors are n: climate sensors, plugs and switches.
func sensors(n int) []*sensor {
	kinds := []sensor{
		{"temperature", 2, 21, 0.03, 15, 28, 0}, {"humidity", 2, 45, 0.1, 30, 70, 0}, {"power", 1, 40, 4, 0, 2300, 0},
		{"voltage", 0, 230, 0.6, 222, 238, 0}, {"current", 2, 0.2, 0.02, 0, 10, 0}, {"state", -1, 0, 0.02, 0, 1, 0},
		{"illuminance", 0, 200, 6, 0, 1500, 0}, {"pressure", 1, 1013, 0.05, 980, 1040, 0}, {"co2", 0, 600, 4, 400, 2000, 0}, {"battery", 0, 80, 0.001, 0, 100, 0},
	}
	list := make([]*sensor, n)
	for i := range list {
		s := kinds[i%len(kinds)]
		s.name = fmt.Sprintf("zigbee2mqtt/device_%d:%s", i/len(kinds), s.name)
		s.due = time.Duration(i) * 10 * time.Second / time.Duration(n)
		list[i] = &s
	}
	return list
}

func (s *sensor) read(random *rand.Rand, at devices.Now) devices.Reading {
	s.at += random.NormFloat64() * s.step
	s.at = min(max(s.at, s.low), s.top)
	r := devices.Reading{Source: s.name, At: at}
	r.Topic, _, _ = strings.Cut(s.name, ":")
	if s.digits < 0 {
		if r.Value, r.Text = s.at > 0.5, "false"; s.at > 0.5 {
			r.Text = "true"
		}
		return r
	}
	r.Text = strconv.FormatFloat(math.Round(s.at*powers[s.digits])/powers[s.digits], 'f', -1, 64)
	r.Value, _ = strconv.ParseFloat(r.Text, 64)
	return r
}

// live lets a house with these sensors live for a time, its history flushed every ten
// minutes. It returns how many readings there were.
func (h *home) live(list []*sensor, random *rand.Rand, d time.Duration) (readings int) {
	began := h.now
	base := began.Mono
	for due := base; due < base+d; due += 10 * time.Minute {
		for _, at := range order(list, random, due-base, due-base+10*time.Minute) {
			h.now = began.Add(at.due)
			h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{at.s.read(random, h.now)}})
			readings++
		}
		h.now = began.Add(due - base + 10*time.Minute)
		h.flush()
	}
	return readings
}

type turn struct {
	s   *sensor
	due time.Duration
}

// order is who reports when, from one moment to another: every ten seconds, and up to
// 80 ms late.
func order(list []*sensor, random *rand.Rand, from, to time.Duration) (turns []turn) {
	for tick := from; tick < to; tick += 10 * time.Second {
		for _, s := range list {
			turns = append(turns, turn{s, tick + s.due + time.Duration(random.IntN(80_000))*time.Microsecond})
		}
	}
	for i := 1; i < len(turns); i++ { // nearly in order already
		for k := i; k > 0 && turns[k].due < turns[k-1].due; k-- {
			turns[k], turns[k-1] = turns[k-1], turns[k]
		}
	}
	return turns
}

// written is what this process gave the kernel to write so far, in bytes.
func written(t testing.TB) int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			bytes, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return bytes
		}
	}
	t.Fatal("no write_bytes")
	return 0
}

// card makes an ext4 file system on a loop device and mounts it: the kernel counts what
// reaches that. It is "" where this may not be done.
func card(t testing.TB, size int64) (dir string, sectors func() int64) {
	image := filepath.Join(t.TempDir(), "card")
	dir = t.TempDir()
	if os.Geteuid() != 0 || os.WriteFile(image, nil, 0o600) != nil || os.Truncate(image, size) != nil {
		return "", nil
	}
	for _, c := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop,noatime", image, dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Logf("%v: %v %s", c, err, out)
			return "", nil
		}
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	var info syscall.Stat_t
	if err := syscall.Stat(dir, &info); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("/sys/dev/block/%d:%d/stat", info.Dev>>8&0xfff, info.Dev&0xff)
	return dir, func() int64 {
		exec.Command("sync", "-f", dir).Run()
		text, err := os.ReadFile(stat)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.ParseInt(strings.Fields(string(text))[6], 10, 64)
		return 512 * n
	}
}

// A day of 50 series that report every ten seconds costs a card at most 10 MB, rollups
// included, and as much on every later day, when what is old goes. A month of days tells
// how large the file of a year is. HEARTH_DAYS says how many days there are: 2 if it
// does not.
func TestWhatADayWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const mostADay = 10_000_000
	days, _ := strconv.Atoi(os.Getenv("HEARTH_DAYS"))
	days = max(days, 2)
	dir, sectors := card(t, 1<<30)
	where := "sectors of a loop device with ext4"
	if dir == "" {
		dir, sectors, where = t.TempDir(), func() int64 { return written(t) }, "write_bytes alone"
	}
	h := newHome(t, dir, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	list, random := sensors(50), rand.New(rand.NewPCG(1, 2))
	var size int64
	for day := range days {
		began := time.Now()
		before, io, bytes := sectors(), written(t), h.disk.bytes()
		n := h.live(list, random, 24*time.Hour)
		device, process := sectors()-before, written(t)-io
		size = h.disk.bytes()
		t.Logf("day %2d: %d readings, %5.2f MB by /proc/self/io, %5.2f MB by %s; the file grew by %5.2f MB to %.1f; %v",
			day+1, n, float64(process)/1e6, float64(device)/1e6, where, float64(size-bytes)/1e6, float64(size)/1e6, time.Since(began).Round(time.Millisecond))
		if device > mostADay || process > mostADay {
			t.Errorf("a day wrote %d bytes to the device and %d by /proc/self/io, want at most %d", device, process, mostADay)
		}
	}
	var raw, rolled int64
	h.disk.db.QueryRow("SELECT sum(length(data)) FROM chunk").Scan(&raw)
	h.disk.db.QueryRow("SELECT sum(length(data)) FROM day").Scan(&rolled)
	t.Logf("%d days: readings %.2f MB, rollups %.3f MB a day", days, float64(raw)/1e6/float64(min(days, 30)), float64(rolled)/1e6/float64(days-1))
}

// On a disk that others have filled the oldest readings make room for the newest, and
// nothing else is touched.
func TestTheDiskIsFull(t *testing.T) {
	dir, sectors := card(t, 64<<20)
	if sectors == nil {
		t.Skip("a disk can only be mounted by root")
	}
	h := newHome(t, dir, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	list, random := sensors(50), rand.New(rand.NewPCG(1, 2))
	h.live(list, random, 48*time.Hour)
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for piece := make([]byte, 64<<10); ; {
		if _, err := ballast.Write(piece); err != nil {
			break
		}
	}
	if err := ballast.Sync(); err != nil {
		t.Log(err)
	}
	h.live(list, random, 60*time.Hour)
	health := h.Health()
	if health.Err != "" || health.Lost > 0 || health.Damaged > 0 || health.Dropped == 0 {
		t.Errorf("%+v", health)
	}
	n := 0
	for _, err := range h.Readings(list[0].name, h.now.Wall.Add(-12*time.Hour), h.now.Wall) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n < 12*360-1 {
		t.Errorf("%d readings of the last 12 hours, want 4320", n)
	}
	days, err := h.Days(list[0].name, h.now.Wall.Add(-36*time.Hour), h.now.Wall)
	if err != nil || len(days) != 2 || days[0].N < 8500 || days[1].N != 4320 {
		t.Errorf("%v %v", days, err)
	}
}
