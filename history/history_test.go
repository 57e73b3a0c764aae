package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/rules"
)

var june = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// points are a series' readings as text: the time, ? where that is not sure, the value.
func (h *home) points(name string) (list []string) {
	h.t.Helper()
	for p, err := range h.Readings(name, time.Time{}, time.Time{}) {
		if err != nil {
			h.t.Fatal(err)
		}
		sure := "?"
		if p.Sure {
			sure = ""
		}
		list = append(list, p.At.Format("2006-01-02 15:04:05")+sure+" "+devices.Text(p.Value))
	}
	return list
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// What was heard before the clock was known is placed as soon as it is: whether or not it
// was on the disk already, and whether or not the hub was started again meanwhile.
func TestReadingsFromBeforeTheClockWasKnown(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	h.now = devices.Now{Mono: 10 * time.Second, Wall: time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC)}
	defer func() { h.Close() }()
	h.report("x", 1.0)
	expect(t, h.points("x"), "1970-01-01 00:00:10? 1")
	h.flush()
	h.stop()
	h.start()
	h.pass(20 * time.Second)
	h.report("x", 2.0)
	expect(t, h.points("x"), "1970-01-01 00:00:10? 1", "1970-01-01 00:00:30? 2")
	h.flush()
	h.now = devices.Now{Mono: 40 * time.Second, Wall: june, Known: true}
	h.report("x", 3.0)
	want := []string{"2026-06-01 11:59:30 1", "2026-06-01 11:59:50 2", "2026-06-01 12:00:00 3"}
	expect(t, h.points("x"), want...)
	h.stop()
	h.start()
	expect(t, h.points("x"), want...)
	p, ok, err := h.Changed("x", june.Add(-5*time.Second))
	if err != nil || !ok || p.Value != 2.0 || !p.Sure {
		t.Errorf("%+v %v %v", p, ok, err)
	}

	// Another life of the machine that never learned the time says what it believed.
	h.stop()
	h.boot = "boot 2"
	h.start()
	h.now = devices.Now{Mono: 5 * time.Second, Wall: time.Date(1970, 1, 1, 0, 0, 5, 0, time.UTC)}
	h.report("x", 4.0)
	expect(t, h.points("x"), append(want, "1970-01-01 00:00:05? 4")...)
}

// A clock that is set back loses nothing and changes no order.
func TestTheClockIsSetBack(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	h.report("x", 1.0)
	h.pass(time.Minute)
	h.report("x", 2.0)
	h.flush()
	h.now.Wall = h.now.Wall.Add(-time.Hour)
	h.pass(time.Minute)
	h.report("x", 3.0)
	h.now.Wall = h.now.Wall.Add(2 * time.Hour)
	h.pass(time.Minute)
	h.report("x", 4.0)
	expect(t, h.points("x"), "2026-06-01 12:00:00 1", "2026-06-01 12:01:00 2", "2026-06-01 11:02:00 3", "2026-06-01 13:03:00 4")
	var got []string
	for p, err := range h.Readings("x", june.Add(-time.Hour), june.Add(30*time.Second)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, devices.Text(p.Value))
	}
	expect(t, got, "1", "3")
}

// A number is recorded again when it differs by its deadband from the last that was; what
// the owner excludes is not recorded at all.
func TestDeadbandAndExclude(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{Exclude: []string{"*.linkquality", "zigbee2mqtt/*:last_seen"}, Deadband: map[string]float64{"*.power": 5, "oven.*": 2}})
	defer func() { h.Close() }()
	for i, v := range []float64{100, 104, 96, 105, 101, 110} {
		h.pass(time.Second)
		h.report("plug.power", v)
		h.report("oven.power", v)
		h.report("plug.linkquality", v)
		h.report("zigbee2mqtt/hall:last_seen", v)
		h.report("zigbee2mqtt/a/b:last_seen", v) // * is one level
		if i == 2 {
			h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{{Source: "plug.power", At: h.now, Bad: "null"}}})
		}
	}
	expect(t, h.points("plug.power"), "2026-06-01 12:00:01 100", "2026-06-01 12:00:03 ", "2026-06-01 12:00:04 105", "2026-06-01 12:00:06 110")
	expect(t, h.points("oven.power"), "2026-06-01 12:00:01 100", "2026-06-01 12:00:02 104", "2026-06-01 12:00:03 96", "2026-06-01 12:00:04 105", "2026-06-01 12:00:05 101", "2026-06-01 12:00:06 110")
	var names []string
	for _, s := range h.Series() {
		names = append(names, s.Name)
	}
	expect(t, names, "oven.power", "plug.power", "zigbee2mqtt/a/b:last_seen")
	h.Use(Config{})
	h.report("plug.linkquality", 7.0)
	expect(t, h.points("plug.linkquality"), "2026-06-01 12:00:06 7")
}

// Series have a kind, a unit, and the times of their first and last readings, also after
// a restart.
func TestSeries(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	h.report("pir", true)
	h.report("lamp", "ON")
	h.report("mode", "OFF")
	h.Seen(reading("plug.power", 5.5, h.now), "W")
	h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{{Source: "button.press", Value: "single", Text: "single", Event: true, At: h.now}}})
	h.pass(time.Minute)
	h.report("mode", "heat")
	h.report("mode", "OFF")
	look := func() (list []string) {
		for _, s := range h.Series() {
			list = append(list, fmt.Sprint(s.Name, " ", s.Kind, " ", s.Unit, " ", s.First.Format(time.TimeOnly), " ", s.Last.Format(time.TimeOnly)))
		}
		return list
	}
	want := []string{"button.press event  12:00:00 12:00:00", "lamp switch  12:00:00 12:00:00", "mode text  12:00:00 12:01:00", "pir switch  12:00:00 12:00:00", "plug.power number W 12:00:00 12:00:00"}
	expect(t, look(), want...)
	h.stop()
	h.start()
	for i := range want { // the last reading is no better known than its segment
		want[i] = strings.TrimSuffix(want[i], " 12:00:00")
		if strings.HasSuffix(want[i], " 12:00:00") {
			want[i] += " 12:01:00"
		}
	}
	expect(t, look(), want...)
}

// The last change is the first reading that said what was so from then on.
func TestChanged(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	for i, v := range []any{false, true, true, nil, true, false, false} {
		h.pass(time.Minute)
		if v == nil {
			h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{{Source: "lamp", At: h.now, Bad: "null"}}})
		} else {
			r := reading("lamp", v, h.now)
			r.Origin.Decision = uint64(i)
			h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{r}})
		}
		if i%2 == 1 {
			h.flush()
		}
	}
	for _, c := range []struct {
		at   time.Duration
		want uint64
		ok   bool
	}{{30 * time.Second, 0, false}, {time.Minute, 0, true}, {2 * time.Minute, 1, true}, {5*time.Minute + 59*time.Second, 1, true}, {6 * time.Minute, 5, true}, {time.Hour, 5, true}} {
		p, ok, err := h.Changed("lamp", june.Add(c.at))
		if err != nil || ok != c.ok || p.Decision != c.want {
			t.Errorf("at %v: %+v %v %v", c.at, p, ok, err)
		}
	}
	if _, ok, err := h.Changed("nothing", june); ok || err != nil {
		t.Error(ok, err)
	}
}

// Power over time is energy, and a switch is counted and timed.
func TestStats(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	h.Seen(reading("plug.power", 1000.0, h.now), "W")
	h.report("plug", true)
	h.pass(90 * time.Minute)
	h.Seen(reading("plug.power", 200.0, h.now), "W")
	h.report("plug", false)
	h.pass(30 * time.Minute)
	h.Note(Note{At: h.now})
	s, err := h.Stats("plug.power", june, h.now.Wall)
	if err != nil || s.Energy < 1.5999 || s.Energy > 1.6001 || s.Mean != 800 || s.Min != 200 || s.N != 2 {
		t.Errorf("%+v %v", s, err)
	}
	s, err = h.Stats("plug", june, h.now.Wall)
	if err != nil || s.On != 90*time.Minute || s.Switches != 1 || s.Energy != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

// A chart has no more points than it was asked for, and what is not known is not zero.
func TestChart(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	h.pass(10 * time.Minute)
	h.report("x", 5.0)
	h.pass(10 * time.Minute)
	h.report("x", 7.0)
	h.Event(rules.Event{At: h.now.Add(5 * time.Minute), Kind: rules.Report, Readings: []devices.Reading{{Source: "x", Gone: true, At: h.now.Add(5 * time.Minute)}}})
	h.pass(40 * time.Minute)
	list, err := h.Chart("x", june, june.Add(time.Hour), 6)
	var got []string
	for _, b := range list {
		if b.Empty() {
			got = append(got, "empty")
		} else {
			got = append(got, fmt.Sprint(b.N, " ", b.Min, " ", b.Max, " ", b.Mean, " ", b.Last, " ", b.Held))
		}
	}
	expect(t, got, "empty", "1 5 5 5 5 10m0s", "1 7 7 7 7 5m0s", "empty", "empty", "empty")
	if err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, -1} {
		if list, err := h.Chart("x", june, june.Add(time.Hour), n); len(list) > 0 || err != nil {
			t.Error(list, err)
		}
	}
}

// In a pause no hub ran. The one that goes on has none after it.
func TestPauses(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	for _, away := range []time.Duration{time.Hour, 2 * time.Second} {
		h.report("mode", "eco")
		h.pass(10 * time.Minute)
		h.Note(Note{At: h.now})
		h.stop()
		h.pass(away)
		h.start()
	}
	h.report("mode", "away")
	h.pass(time.Hour)
	var got []string
	for _, p := range h.Pauses(time.Time{}, time.Time{}) {
		got = append(got, fmt.Sprint(p.From.Sub(june), " ", p.To.Sub(june)))
	}
	expect(t, got, "10m0s 1h10m0s", "1h20m0s 1h20m2s")
	if some := h.Pauses(june.Add(20*time.Minute), june.Add(75*time.Minute)); len(some) != 1 || some[0].From != june.Add(10*time.Minute) {
		t.Errorf("in a part of it there are %v", some)
	}
	if none := h.Pauses(june, june.Add(5*time.Minute)); len(none) > 0 {
		t.Errorf("before the first there are %v", none)
	}
}

// Entries begin at the last checkpoint that is not later than the moment asked for.
func TestEntriesBeginAtACheckpoint(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	for i := range 4 {
		h.Event(rules.Event{At: h.now, Kind: rules.Current, State: &rules.Checkpoint{Life: uint64(i)}})
		h.pass(time.Minute)
		h.report("x", float64(i))
		h.pass(time.Minute)
		if i == 1 {
			h.flush()
		}
	}
	for _, c := range []struct {
		at   time.Duration
		life uint64
		n    int
	}{{-time.Hour, 0, 8}, {0, 0, 8}, {119 * time.Second, 0, 8}, {2 * time.Minute, 1, 6}, {5 * time.Minute, 2, 4}, {time.Hour, 3, 2}} {
		n := 0
		for e, err := range h.Entries(june.Add(c.at)) {
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 && (e.Event.State == nil || e.Event.State.Life != c.life) {
				t.Errorf("from %v: begins with %+v", c.at, e.Event)
			}
			n++
		}
		if n != c.n {
			t.Errorf("from %v: %d entries, want %d", c.at, n, c.n)
		}
	}
}

// Decisions are found by ID and by time, and so are notes.
func TestDecisionsAndNotes(t *testing.T) {
	h := newHome(t, t.TempDir(), june, Config{})
	defer func() { h.Close() }()
	for i := range 2000 {
		h.pass(time.Second)
		d := rules.Decision{ID: 5<<32 | uint64(i+1), At: h.now, Rule: "rule.x", Outcome: rules.Fired, Why: fmt.Sprint("because ", i*7919%1000)}
		if i%10 == 0 {
			d.ID = 1<<63 | uint64(i)
		}
		h.Decided(d, nil)
		if i%500 == 0 {
			h.Note(Note{At: h.now, Kind: "client", Text: fmt.Sprint(i)})
			h.flush()
		}
	}
	h.flush()
	for _, id := range []uint64{5<<32 | 2, 5<<32 | 2000, 1<<63 | 1000} {
		if d, ok, err := h.Decision(id); d.ID != id || !ok || err != nil {
			t.Errorf("%x: %v %v %v", id, d, ok, err)
		}
	}
	for _, id := range []uint64{0, 1, 5 << 32, 5<<32 | 2001, 1<<63 | 1} {
		if _, ok, err := h.Decision(id); ok || err != nil {
			t.Errorf("%x is there", id)
		}
	}
	n := 0
	for d, err := range h.Decisions(june.Add(100*time.Second), june.Add(200*time.Second)) {
		if n++; err != nil || d.At.Wall.Before(june.Add(100*time.Second)) {
			t.Fatal(d, err)
		}
	}
	if n != 100 {
		t.Errorf("%d decisions, want 100", n)
	}
	var got []string
	for x, err := range h.Notes(june.Add(2*time.Second), time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x.Text)
	}
	expect(t, got, "500", "1000", "1500")
}

// Readings go when they are old, rollups later, and neither before its time.
func TestWhatIsOldGoes(t *testing.T) {
	cfg := Config{}
	cfg.Raw, cfg.Keep = 3*24*3600*1e9, 10*24*3600*1e9
	h := newHome(t, fastDir(t), june, cfg)
	defer func() { h.Close() }()
	for range 20 * 24 {
		h.report("x", float64(h.now.Wall.Hour()))
		h.pass(time.Hour)
		h.flush()
	}
	first := h.points("x")[0]
	if want := "2026-06-18 00:00:00 0"; first != want { // three days ago it was noon
		t.Errorf("the first reading is %s, want %s", first, want)
	}
	days, err := h.Days("x", june, h.now.Wall)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range days {
		if !d.Empty() {
			got = append(got, fmt.Sprint(d.From.Format("02"), " ", d.N, " ", d.Max))
		}
	}
	expect(t, got, "11 24 23", "12 24 23", "13 24 23", "14 24 23", "15 24 23", "16 24 23", "17 24 23", "18 24 23", "19 24 23", "20 24 23", "21 12 11")
	if oldest := h.Health().Oldest; !oldest.Equal(time.Date(2026, 6, 18, 0, 0, 0, 0, time.UTC)) {
		t.Error(oldest)
	}
	names := h.Series()
	h.stop()
	h.start()
	if now := h.Series(); !slices.Equal(now, names) {
		t.Errorf("%+v, want %+v", now, names)
	}
}

// The files are never larger than the owner allows: the oldest readings go.
func TestMaxSize(t *testing.T) {
	cfg := Config{MaxSize: 16 << 20}
	h := newHome(t, fastDir(t), june, cfg)
	defer func() { h.Close() }()
	big := func(i int) devices.Reading {
		random := make([]byte, 0, 300)
		for x := uint64(i)*2654435761 + 1; len(random) < 300; x = x*6364136223846793005 + 1 {
			random = append(random, byte('a'+x>>40%26))
		}
		return reading("x", string(random), h.now)
	}
	n := 0
	for day := range 12 {
		for i := range 8000 {
			h.pass(10 * time.Second)
			h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: []devices.Reading{big(day*8000 + i)}})
			n++
		}
		h.flush()
		if bytes := size(t, h.dir); bytes > 16<<20 {
			t.Fatalf("day %d: %d bytes", day, bytes)
		}
	}
	left := len(h.points("x"))
	health := h.Health()
	t.Logf("%d of %d readings are left in %d bytes; %+v", left, n, size(t, h.dir), health)
	if left < n/6 || left == n || health.Dropped == 0 || health.Lost > 0 || health.Err != "" {
		t.Errorf("%d of %d readings are left; %+v", left, n, health)
	}
	// A smaller house has room for less.
	h.Use(Config{MaxSize: 40 << 20})
	h.flush()
	h.Use(Config{MaxSize: 8 << 20})
	h.flush()
	if bytes := size(t, h.dir); bytes > 8<<20 {
		t.Errorf("%d bytes, want at most 8 MiB", bytes)
	}
}

func size(t *testing.T, dir string) (n int64) {
	for _, name := range []string{File, LogFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// A disk that takes nothing costs what happened, the oldest first, and no more memory
// than is allowed; when it takes something again all goes on.
func TestTheDiskTakesNothing(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	defer func() { h.Close() }()
	h.report("before", 1.0)
	h.flush()
	h.disk.mu.Lock() // it hangs
	for i := range 3_000_000 {
		h.now.Mono += 37 * time.Millisecond
		h.now.Wall = h.now.Wall.Add(37 * time.Millisecond)
		h.report("x", float64(i))
		h.report("y", i%2 == 0)
	}
	health := h.health.Lost
	h.mu.Lock()
	pending := 0
	for _, s := range h.waiting {
		pending += s.size
	}
	h.mu.Unlock()
	h.disk.mu.Unlock()
	if pending > maxPending+maxOpen || health == 0 {
		t.Errorf("%d bytes wait, %d entries are lost", pending, health)
	}
	h.flush()
	n, last := 0, 0.0
	for p, err := range h.Readings("x", time.Time{}, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		v := p.Value.(float64)
		if n > 1 && v != last+1 && n > 300_000 {
			t.Fatalf("%v follows %v", v, last)
		}
		last = v
		n++
	}
	if last != 2_999_999 {
		t.Errorf("the last is %v", last)
	}
	t.Logf("%d of 3,000,000 are left; %+v", n, h.Health())
	if len(h.Series()) != 3 {
		t.Error(h.Series())
	}
	h.stop()
	h.start()
	if got := len(h.Series()); got != 3 {
		t.Errorf("%d series after a restart", got)
	}
}

// Flush ends with its context, and after Close nothing is taken.
func TestFlushAndClose(t *testing.T) {
	h := newHome(t, fastDir(t), june, Config{})
	h.report("x", 1.0)
	h.disk.mu.Lock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Flush(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	h.disk.mu.Unlock()
	h.stop()
	h.report("x", 2.0)
	if err := h.Flush(context.Background()); err == nil {
		t.Error("a closed history is flushed")
	}
	h.stop()
	h.start()
	defer h.Close()
	expect(t, h.points("x"), "2026-06-01 12:00:00 1")
}

// What is said in a house is nobody's business who may enter its data folder.
func TestOnlyItsOwnerReadsHistory(t *testing.T) {
	h := newHome(t, fastDir(t), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	h.report("x", true)
	h.flush()
	files, err := os.ReadDir(h.dir)
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
}
