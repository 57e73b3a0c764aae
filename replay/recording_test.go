package replay_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
	"hearth/replay"
	"hearth/rules"
)

// small is a house and two hours in it.
func small(t testing.TB) *lived {
	day := aDay(2)
	n, _ := slices.BinarySearchFunc(day, 2*time.Hour, func(d deed, at time.Duration) int { return cmp.Compare(d.at, at) })
	return live(t, bigHouse("19.0"), day[:n], 2*time.Hour)
}

func written(t testing.TB, about replay.About, entries replay.Entries) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := replay.Write(&b, about, entries); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestARecordingReplaysElsewhere(t *testing.T) {
	l := small(t)
	file := written(t, replay.About{Config: l.house.Config, Text: bigHouse("19.0")}, l.all())
	r, err := replay.Open(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	house := houseOf(t, r.Text)
	for range 2 {
		same, err := replay.Again(r.Entries(), house, time.Time{})
		if err != nil || same.Differ > 0 || same.Decisions < 100 {
			t.Errorf("%+v %v", same, err)
		}
	}
	t.Logf("%d entries in %d bytes", r.Lines, len(file))
	stream, err := replay.Receive(bytes.NewReader(file))
	if err != nil || stream.Config != l.house.Config {
		t.Fatal(stream, err)
	}
	if same, err := replay.Again(stream.Entries(), house, time.Time{}); err != nil || same.Differ > 0 || same.Decisions < 100 {
		t.Errorf("%+v %v", same, err)
	}
}

// What JSON can't carry comes through all the same.
func TestOddValues(t *testing.T) {
	odd := "\xff\x00é"
	now := devices.Now{Mono: 5 * time.Microsecond, Wall: monday, Known: true}
	r := devices.Reading{Source: "a/b", Topic: "a/b", Value: odd, Text: odd, At: now, Message: &devices.Message{Topic: "a/b", Payload: []byte(odd)},
		Origin: devices.Origin{Decision: 1<<63 | 12345678901234567}}
	entries := []replay.Entry{
		{Event: &rules.Event{At: now, Kind: rules.Report, Readings: []devices.Reading{{Source: "x", Value: 0.1, Text: "0.1", At: now}, r}}},
		{Event: &rules.Event{At: now, Kind: rules.Tell, Name: "cover", Value: devices.Toggle{}}},
		{Decision: &rules.Decision{ID: 1<<32 | 1, At: now, Cause: &r, Commands: []devices.Command{{Output: "cover", Value: devices.Toggle{}}}}, Refused: []string{"no"}},
		{Seen: &r, Unit: "W", At: monday.Add(time.Hour), Sure: true},
	}
	all := func(yield func(replay.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
	file, err := replay.Open(bytes.NewReader(written(t, replay.About{}, all)))
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for got, err := range file.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%+v", deep(got)), fmt.Sprintf("%+v", deep(entries[i])); got != want {
			t.Errorf("want %s\n got %s", want, got)
		}
		i++
	}
}

func deep(e replay.Entry) []any {
	var all []any
	if e.Event != nil {
		ev := *e.Event
		for _, r := range ev.Readings {
			all = append(all, flat(&r)...)
		}
		ev.Readings = nil
		all = append(all, ev)
	}
	if e.Decision != nil {
		d := *e.Decision
		all = append(all, flat(d.Cause)...)
		d.Cause = nil
		all = append(all, d)
	}
	if e.Seen != nil {
		all = append(all, flat(e.Seen)...)
	}
	return append(all, e.Refused, e.Unit, e.At, e.Sure)
}

func flat(r *devices.Reading) []any {
	own := *r
	var m any
	if own.Message != nil {
		m = string(own.Message.Payload)
		own.Message = nil
	}
	return []any{fmt.Sprintf("%q %T", own.Text, own.Value), own, m}
}

// A file that is cut anywhere, or in which something was changed, is refused with a reason.
func TestADamagedRecordingIsRefused(t *testing.T) {
	l := small(t)
	l.entries = l.entries[:100]
	file := written(t, replay.About{Text: "x"}, l.all())
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := r.IntN(len(file))
		if _, err := replay.Open(bytes.NewReader(file[:n])); err == nil {
			t.Errorf("cut after %d of %d bytes it is taken", n, len(file))
		}
		bad := slices.Clone(file)
		bad[10+r.IntN(len(bad)-10)] ^= 1 << r.IntN(8) // the first are gzip's, of no matter
		if _, err := replay.Open(bytes.NewReader(bad)); err == nil {
			t.Error("changed it is taken")
		}
	}
}

func packed(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.Bytes()
}

func TestWhatIsNoRecording(t *testing.T) {
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	io.WriteString(z, `{"hearth recording":1}`+"\n")
	note := strings.Repeat(`{"note":{}}`+"\n", 10_000)
	for range 1000 {
		io.WriteString(z, note)
	}
	z.Close()
	var long bytes.Buffer
	z = gzip.NewWriter(&long)
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = 'a' + byte(r.IntN(16))
	}
	for range 17 {
		z.Write(noise)
	}
	z.Close()
	for _, c := range []struct {
		file []byte
		want string
	}{
		{nil, "it is empty or cut off"},
		{[]byte("hello, this is text"), "this is no recording"},
		{packed("hello"), "this is no recording of Hearth"},
		{packed(`{"hearth recording":2}` + "\n"), "a later version"},
		{packed(`{"hearth recording":1}` + "\n"), "cut off"},
		{packed(`{"hearth recording":1}` + "\n{}\n"), "line 2: want one of event"},
		{packed(`{"hearth recording":1}` + "\n{\"event\":{\"Kind\":\"open\"}}\n"), "has no state"},
		{packed(`{"hearth recording":1}` + "\n{\"event\":{\"Kind\":\"boom\"}}\n"), `there is no event "boom"`},
		{packed(`{"hearth recording":1}` + "\n" + `{"lines":7,"sha256":""}` + "\n"), "it has 1 lines of 7"},
		{packed(`{"hearth recording":1}` + "\n" + `{"lines":1,"sha256":"00"}` + "\n"), "its checksum is wrong"},
		{bomb.Bytes(), "it unpacks to more than"},
		{long.Bytes(), "a line has more than"},
	} {
		_, err := replay.Open(bytes.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// Clocks that no machine has would keep a rule for each second busy for ever.
func TestClocksThatNoMachineHasAreRefused(t *testing.T) {
	now := devices.Now{Mono: time.Minute, Wall: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Known: true}
	at := func(change func(*devices.Now)) devices.Now {
		n := now
		change(&n)
		return n
	}
	for what, second := range map[string]devices.Now{
		"none":            {},
		"before 1970":     at(func(n *devices.Now) { n.Wall = time.Time{}.Add(time.Hour) }),
		"far ahead":       at(func(n *devices.Now) { n.Wall = n.Wall.AddDate(7000, 0, 0) }),
		"below zero":      at(func(n *devices.Now) { n.Mono = -1 }),
		"after an age":    at(func(n *devices.Now) { n.Mono = 1<<63 - 1 }),
		"after two years": at(func(n *devices.Now) { n.Mono += 2 * 366 * 24 * time.Hour }),
	} {
		var entries []replay.Entry
		for _, n := range []devices.Now{now, second} {
			entries = append(entries, replay.Entry{Event: &rules.Event{At: n, Kind: rules.Pass}})
		}
		file := written(t, replay.About{}, func(yield func(replay.Entry, error) bool) {
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		})
		if _, err := replay.Open(bytes.NewReader(file)); err == nil || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	now := devices.Now{Mono: time.Second, Wall: monday, Known: true}
	entries := []replay.Entry{
		{Event: &rules.Event{At: now, Kind: rules.Open, State: &rules.Checkpoint{Boot: "b"}}},
		{Event: &rules.Event{At: now, Kind: rules.Report, Readings: []devices.Reading{{Source: "x", Value: 0.1, Text: "0.1", At: now}}}},
		{Decision: &rules.Decision{ID: 1<<32 | 1, At: now}},
	}
	file := written(f, replay.About{Text: "x"}, func(yield func(replay.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	})
	z, _ := gzip.NewReader(bytes.NewReader(file))
	text, _ := io.ReadAll(z)
	f.Add(string(text))
	f.Add("{\"hearth recording\":1}\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := replay.Receive(bytes.NewReader(packed(text)))
		if err != nil {
			return
		}
		for e, err := range r.Entries() {
			if err == nil && e.Event != nil && e.Event.Kind == rules.Open && e.Event.State == nil {
				t.Error("an engine can't take this")
			}
		}
	})
}

// Who switched something on the page is nobody's business elsewhere.
func TestARecordingNamesNobody(t *testing.T) {
	by := func(yield func(replay.Entry, error) bool) {
		yield(replay.Entry{Decision: &rules.Decision{Rule: "page", Why: "anna switched it on the page"}}, nil)
	}
	for e := range replay.Masked(by, nil) {
		if got := e.Decision.Why; got != "somebody switched it on the page" {
			t.Errorf("%q", got)
		}
	}
}
