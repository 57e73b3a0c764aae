package history

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/rules"
)

// What the loop pays for each reading, of which 100,000 may come in a second.
func BenchmarkEvent(b *testing.B) {
	h := newHome(b, fastDir(b), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer h.Close()
	list, random := sensors(50), rand.New(rand.NewPCG(1, 2))
	readings := make([][]devices.Reading, 5000)
	for i := range readings {
		readings[i] = []devices.Reading{list[i%len(list)].read(random, h.now)}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.now.Mono += 200 * time.Millisecond
		h.now.Wall = h.now.Wall.Add(200 * time.Millisecond)
		r := readings[i%len(readings)]
		r[0].At = h.now
		h.Event(rules.Event{At: h.now, Kind: rules.Report, Readings: r})
	}
	if each := b.Elapsed() / time.Duration(b.N); b.N > 100_000 && each > 3*time.Microsecond {
		b.Errorf("a reading costs %v, want at most 3µs", each)
	}
}

// The same with what a rule made of it.
func BenchmarkDecided(b *testing.B) {
	h := newHome(b, fastDir(b), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer h.Close()
	r := reading("zigbee2mqtt/hall:occupancy", true, h.now)
	d := rules.Decision{At: h.now, Rule: "link.hall_light", Trigger: "zigbee2mqtt/hall:occupancy changed", Cause: &r, Outcome: rules.Fired,
		Commands: []devices.Command{{Output: "porch_light", Value: true, Origin: devices.Origin{Rules: []string{"link.hall_light"}}}}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.ID = uint64(i + 1)
		h.Decided(d, nil)
	}
}

// years makes the history of a year of 50 series that report every ten seconds, all of
// whose readings are kept, by writing that of a day again and again, each time with
// other clocks.
func year(b testing.TB, dir string, days int) (h *home) {
	cfg := Config{}
	cfg.Raw, cfg.MaxSize = 366*24*3600*1e9, 4<<30
	h = newHome(b, dir, time.Date(2025, 11, 1, 0, 0, 0, 0, time.UTC), cfg)
	list, random := sensors(50), rand.New(rand.NewPCG(1, 2))
	h.live(list, random, 24*time.Hour)
	h.Note(Note{At: h.now})
	h.flush() // the day is over and in the database
	rows, err := h.disk.some(tableChunk, 0, 1<<62, &h.health.Damaged)
	if err != nil {
		b.Fatal(err)
	}
	rolls, err := h.disk.some(tableDay, 0, 1<<62, &h.health.Damaged)
	if err != nil {
		b.Fatal(err)
	}
	heads := h.segments
	first, count := heads[0].id, heads[len(heads)-1].id-heads[0].id+1
	day := floorDay(micros(h.now.Wall)) - 1
	shift := int64(0)
	for n := 1; n < days; n++ {
		shift = int64(n) * dayMicros
		var more, rolled []row
		entries := uint64(n) * (heads[len(heads)-1].last - heads[0].first)
		shifted := func(s *head) *head {
			c := *s
			c.id += uint64(n) * count
			c.before += uint64(n) * count
			if n > 0 && s == heads[0] {
				c.before = c.id - 1
			}
			c.first, c.last = c.first+entries, c.last+entries
			c.clocks = append([]clock(nil), s.clocks...)
			for i := range c.clocks {
				c.clocks[i].order += entries
				c.clocks[i].offset += shift
			}
			return &c
		}
		for _, r := range rows {
			segment, series, part := splitID(r.id)
			body := r.data
			switch {
			case (series == headSeries || series == endSeries) && part == 0:
				body = shifted(heads[segment-first]).appendTo(nil)
			case series >= firstSeries && series < endSeries: // the order of its entries counts on
				rd := reader{b: body[1:]}
				at := rd.uint() + entries
				body = append(appendUint(body[:1:1], at), rd.b...)
			}
			id := rowID(segment+uint64(n)*count, series, part)
			more = append(more, row{id, sealed(tableChunk, id, body)})
		}
		for _, r := range rolls {
			_, series, part := splitID(r.id)
			id, body := rowID(uint64(day+int64(n)), series, part), r.data
			if series == headSeries {
				if part > 0 {
					if body[0] == formatContents {
						id := rowID(uint64(day+int64(n)), series, part+40)
						rolled = append(rolled, row{id, sealed(tableDay, id, body)})
					}
					continue
				}
				body = appendUint(appendUint([]byte{formatDay}, first+uint64(n)*count), first+uint64(n+1)*count-1)
				var all []byte
				for _, s := range heads {
					before := len(all)
					if all = shifted(s).appendTo(all); len(all) > maxBody {
						part++
						id := rowID(uint64(day+int64(n)), headSeries, part)
						rolled = append(rolled, row{id, sealed(tableDay, id, all[:before])})
						all = append([]byte(nil), all[before:]...)
					}
				}
				part++
				id := rowID(uint64(day+int64(n)), headSeries, part)
				rolled = append(rolled, row{id, sealed(tableDay, id, all)})
			}
			rolled = append(rolled, row{id, sealed(tableDay, id, body)})
		}
		if err := h.disk.write(tableChunk, more, 4<<30); err != nil {
			b.Fatal(err)
		}
		if err := h.disk.write(tableDay, rolled, 4<<30); err != nil {
			b.Fatal(err)
		}
	}
	h.disk.recent.empty()
	h.disk.recent.file.Truncate(0)
	h.stop()
	h.now.Wall = h.now.Wall.Add(time.Duration(days-1) * 24 * time.Hour)
	h.now.Mono += time.Duration(days-1) * 24 * time.Hour
	h.start()
	h.flush() // a house does not wait for so large a one to be open
	return h
}

func appendUint(b []byte, u uint64) []byte {
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

// A year of one of 50 series as a chart of 1,000 points takes at most 50 ms, and its last
// day in full 10 ms.
func BenchmarkYear(b *testing.B) {
	days := 365
	if n, err := strconv.Atoi(os.Getenv("HEARTH_DAYS")); err == nil {
		days = n // in haste
	}
	h := year(b, b.TempDir(), days)
	defer h.Close()
	end := h.now.Wall
	const name = "zigbee2mqtt/device_2:temperature"
	// What counts is the fastest, for other programs may be in the way of the others.
	limited := func(b *testing.B, most time.Duration, do func()) {
		fastest := time.Hour
		for b.Loop() {
			began := time.Now()
			do()
			fastest = min(fastest, time.Since(began))
		}
		b.ReportMetric(float64(fastest.Microseconds())/1000, "ms-fastest")
		if fastest > most {
			b.Errorf("it took %v, want at most %v", fastest, most)
		}
	}
	b.Run("chart", func(b *testing.B) {
		limited(b, 50*time.Millisecond, func() {
			list, err := h.Chart(name, end.AddDate(-1, 0, 0), end, 1000)
			if err != nil || len(list) != 1000 || list[990].N == 0 {
				b.Fatal(len(list), err)
			}
		})
	})
	b.Run("day", func(b *testing.B) {
		limited(b, 10*time.Millisecond, func() {
			n := 0
			for _, err := range h.Readings(name, end.AddDate(0, 0, -1), end) {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			if n < 8600 {
				b.Fatal(n, "readings")
			}
		})
	})
	b.Run("changed", func(b *testing.B) {
		limited(b, 20*time.Millisecond, func() {
			if _, ok, err := h.Changed("zigbee2mqtt/device_2:state", end); !ok || err != nil {
				b.Fatal(ok, err)
			}
		})
	})
}

// With a year of history open, and after questions about all of it, a program takes at
// most 32 MiB.
func BenchmarkMemory(b *testing.B) {
	const sign = "HEARTH_HISTORY_MEMORY"
	if dir := os.Getenv(sign); dir != "" {
		remember(b, dir)
		return
	}
	days := 31
	if n, err := strconv.Atoi(os.Getenv("HEARTH_DAYS")); err == nil {
		days = n
	}
	dir := b.TempDir()
	h := year(b, dir, days)
	h.Use(Config{}) // as it comes: after 30 days the readings go
	h.flush()
	h.pass(steadyFor) // by a clock that nobody sets
	h.flush()
	h.stop()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^$", "-test.bench=^BenchmarkMemory$", "-test.benchtime=1x", "-test.v")
	cmd.Env = append(os.Environ(), sign+"="+dir)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "MiB") {
			b.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		b.Errorf("%v\n%s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, File))
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d days: %d MiB on the disk", days, info.Size()>>20)
}

func remember(t testing.TB, dir string) {
	began := time.Now()
	h := &home{t: t, dir: dir, zone: time.UTC, boot: "boot 1"}
	h.now = devices.Now{Mono: 400 * 24 * time.Hour, Wall: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Known: true}
	h.start()
	defer h.Close()
	opened := time.Since(began)
	all := h.Series()
	h.now.Wall = all[0].Last
	for _, s := range all {
		if _, err := h.Chart(s.Name, s.First, s.Last, 1000); err != nil {
			t.Fatal(err)
		}
		for _, err := range h.Readings(s.Name, s.Last.AddDate(0, 0, -1), s.Last) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	list, random := sensors(50), rand.New(rand.NewPCG(1, 2))
	h.now.Wall = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	h.live(list, random, 2*time.Hour)
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	resident := 0
	for line := range strings.Lines(string(text)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			resident = kb
		}
	}
	t.Logf("%.1f MiB resident, %.1f MiB of Go's heap; opened in %v", float64(resident)/1024, float64(m.HeapAlloc)/(1<<20), opened.Round(time.Millisecond))
	if resident > 32<<10 {
		t.Errorf("%d KiB are resident, want at most 32 MiB", resident)
	}
}
