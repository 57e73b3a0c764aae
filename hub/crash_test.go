package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"
	pin "periph.io/x/conn/v3/gpio"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/store/storetest"
	"hearth/trial"
)

// Every house of the cookbook that has to remember something is played by the
// real hub on virtual time, with a disk in memory on which a sync takes its
// time. It is crashed at random moments, of which there are crashes a house: what
// was synced by then is what the next life finds two seconds later, and nothing
// of the old life ran after that moment. Then the house must have done what it
// does undisturbed:
//
//   - Everything comes, late by the downtime and a second at most.
//   - A message may come again, but never a notification or the begin of a pulse,
//     and no output is switched once more than it ought to be.
//   - Of those one may be lost, if it was due in the last second before the crash:
//     it was on disk as done, and had not gone out.
//   - What the house was told in the last second before the crash may be forgotten,
//     beginning with the last: then it does what it does without that.
//
// Every other crash is one of the hub only, so that the pins keep their level; the
// others take the power, and the machine boots anew.
//
// Messages that come while nobody is there are nobody's business here, so no crash
// is chosen that something sent would fall behind.
const (
	crashes   = 20
	downtime  = 2 * time.Second
	lateAtAll = downtime + time.Second
	forgets   = time.Second // what is older is on disk
	syncTakes = 20 * time.Millisecond
	gesture   = 600 * time.Millisecond // from a press until it is known which it was
)

// Houses that have nothing to remember: what they do follows from one message.
var forgetful = []string{"P01", "P18", "P23", "P24"}

// held is where outputs are switched by what has no end. No rule holds them on, so
// at a start they go to their safe state, as declared, and stay there. So that
// there is something to compare they say that this is the one they had.
var heldOutputs = []string{"P04", "P05", "P07"}

// What docs/rules.md says of a start makes these two houses do something else than
// undisturbed, so they are compared with one whose hub stops in order meanwhile. P03
// knows silence, which counts from the start of the hub. P17 repeats more often than
// a downtime is long, and what is missed of a series runs once.
var restarted = []string{"P03", "P17"}

// The hub's loop turns every second, so that days take long. While nothing is due for
// this long, the clock leaps to a minute before something is, as that of a machine
// which was asleep.
const idle = 10 * time.Minute

const repeatOfP17 = 200 * time.Millisecond

func TestCrashedCookbook(t *testing.T) {
	files, err := filepath.Glob("../cookbook/P*.test.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cookbook", err)
	}
	var all tally
	for n, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".test.toml")
		if slices.Contains(forgetful, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			load := func() *Config {
				cfg, doc := LoadWith(file, func(cfg *Config) {
					for i := range cfg.Output {
						if slices.Contains(heldOutputs, name) {
							cfg.Output[i].Value.Safe = "hold"
						}
					}
				})
				if doc.Err() != nil {
					t.Fatal(doc.Err())
				}
				cfg.Hub.Data = "/data"
				return cfg
			}
			for i, test := range load().Test {
				h := crashHouse{name: name, load: load, test: test, rand: rand.New(rand.NewPCG(uint64(n), uint64(i)))}
				h.crash(t, &all)
			}
		})
	}
	t.Log(all.String())
}

// A tally is what came of many crashes.
type tally struct {
	houses, crashes, repeats, lost, forgot int
	late, lateOn                           time.Duration
	lateIn                                 string
}

func (a *tally) String() string {
	return fmt.Sprintf("%d houses, %d crashes: late by at most %v (%s), by %v of what was due when the hub was back; %d repeats, %d lost in flight; %d times the last second was forgotten",
		a.houses, a.crashes, a.late.Round(time.Millisecond), a.lateIn, a.lateOn.Round(time.Millisecond), a.repeats, a.lost, a.forgot)
}

// A crashHouse is one that is crashed again and again.
type crashHouse struct {
	name string
	load func() *Config
	test trial.Test
	rand *rand.Rand
}

func (h *crashHouse) crash(t *testing.T, all *tally) {
	h.test.Seed = cmp.Or(h.test.Seed, 7)
	cfg := h.load()
	end := h.end()
	want := h.model(cfg, h.test)
	moments := h.moments(want, end)
	if len(moments) < crashes {
		t.Errorf("only %d moments for a crash", len(moments))
	}
	var first *town
	var wrecks []wreck
	synctest.Test(t, func(t *testing.T) {
		first = &town{t: t, house: h, disk: newCard(), boot: "first", contacts: map[string]bool{}, lit: map[string]bool{}}
		wrecks = first.play(h.sends(0), moments, end)
	})
	once, pulsed := h.once(cfg)
	if j := (judge{want: want, got: first.did, crash: -time.Hour, end: end, once: once}); !j.fits() {
		t.Fatalf("without a crash %s\nall of it:\n%s", j.wrong, tell(first.did))
	}
	all.houses++
	for i, wreck := range wrecks {
		cut := i%2 == 1
		var again *town
		synctest.Test(t, func(t *testing.T) {
			again = wreck.rise(t, h, cut)
			again.play(h.sends(wreck.at), nil, end)
		})
		got := slices.Concat(first.did[:wreck.did], again.did)
		last := 0 // how many were sent in the last second
		for _, s := range h.test.Send {
			if at := time.Duration(s.At); at >= 0 && at <= wreck.at && at > wreck.at-forgets-gesture {
				last++
			}
		}
		var j judge
		var wrong []string
		for n := range 2 * (last + 2) {
			lost := n / 2
			j = judge{want: h.without(want, first.did[:wreck.did], wreck.at, lost, last, n%2 == 1), got: got, crash: wreck.at, end: end, once: once, pulsed: pulsed, cut: cut}
			if j.fits() {
				if lost > 0 {
					all.forgot++
				}
				break
			}
			wrong = append(wrong, j.wrong)
		}
		if j.wrong != "" {
			t.Errorf("crashed at %v (the power too: %v) %s\nall of it:\n%s", wreck.at, cut, strings.Join(wrong, "\nor, with less remembered, "), tell(got))
			continue
		}
		all.crashes++
		all.repeats += j.repeats
		all.lost += j.lost
		if j.late > all.late {
			all.late, all.lateIn = j.late, h.name
		}
		all.lateOn = max(all.lateOn, j.lateOn)
	}
}

// end is when the story is over.
func (h *crashHouse) end() time.Duration {
	if h.test.End != nil {
		return time.Duration(*h.test.End)
	}
	var last time.Duration
	for _, s := range h.test.Send {
		last = max(last, time.Duration(s.At)+time.Duration(s.Restart))
	}
	for _, e := range h.test.Expect {
		if e.At != nil {
			last = max(last, time.Duration(*e.At))
		} else if len(e.Between) == 2 {
			last = max(last, time.Duration(e.Between[1]))
		}
	}
	return last + time.Second
}

const afterwards = lateAtAll + time.Second // what is late at the end has this long

// model is what the house does undisturbed, as package trial plays it.
func (h *crashHouse) model(cfg *Config, test trial.Test) (did []deed) {
	end := trial.Offset(h.end() + afterwards)
	test.End = &end
	for _, e := range trial.Play(cfg.Trial(), test).Events {
		switch {
		case e.Output != "" && e.Changed:
			did = append(did, deed{e.At, "output " + e.Output, devices.Text(e.On)})
		case e.Topic != "" && !e.Free:
			did = append(did, deed{e.At, e.Topic, flaggedText(e.Payload, e.Retain)})
		}
	}
	return did
}

func flaggedText(payload string, retain bool) string {
	if retain {
		payload += " (retained)"
	}
	return payload
}

// without is what the house does if it has forgotten the last things that it was
// told before a crash; what came of that has gone out, or it has not.
func (h *crashHouse) without(want, went []deed, crash time.Duration, lost, last int, found bool) []deed {
	test := h.test
	test.Send = nil
	stop := crash
	if lost > last { // or a time of silence that had passed in that second
		stop, lost = crash-forgets, 0
	}
	var before []trial.Send
	for _, s := range h.sends(-time.Hour) {
		if time.Duration(s.At) <= crash {
			before = append(before, s)
		} else {
			test.Send = append(test.Send, s)
		}
	}
	switch {
	case slices.Contains(restarted, h.name):
		test.Send = append(test.Send, trial.Send{At: trial.Offset(stop), Restart: config.Duration(crash + downtime - stop)})
	case lost == 0:
		return want
	}
	kept := len(before) - lost
	test.Send = append(test.Send, before[:kept]...)
	for _, s := range before[kept:] {
		// A contact is as it is, but nobody has seen it change. So it may be with a
		// retained message: the broker has kept it, and the rules have not.
		if s.Input == "" && !(s.Retain && found) {
			continue
		}
		if s.At < 1e6 {
			s.At = -1
		} else {
			test.Send = append(test.Send, trial.Send{At: s.At - 1e6, Restart: 2e6})
		}
		test.Send = append(test.Send, s)
	}
	cfg := h.load()
	for i := range cfg.Output {
		cfg.Output[i].Value.Safe = "hold" // a crash makes nothing safe
	}
	other := h.model(cfg, test)
	did := filter(want, func(d deed) bool {
		out := func(w deed) bool {
			return w.target == d.target && trial.Equal(d.what, w.what) && w.at >= d.at && w.at < d.at+trial.Tolerance
		}
		return d.at <= crash && (slices.Contains(other, d) || slices.ContainsFunc(went, out))
	})
	for _, o := range cfg.Output { // it wakes up as the forgetful hub believes it to be
		name := "output " + o.Name
		if was := levelAt(other, name, crash); was != levelAt(did, name, crash) {
			did = append(did, deed{crash + downtime, name, was})
		}
	}
	return append(did, filter(other, func(d deed) bool { return d.at > crash })...)
}

// levelAt is how an output was at some moment.
func levelAt(did []deed, target string, at time.Duration) string {
	level := "OFF"
	for _, d := range did {
		if d.target == target && d.at <= at {
			level = d.what
		}
	}
	return level
}

// sends is what the house is told after a moment, in order; before all else what
// it is told before its start.
func (h *crashHouse) sends(after time.Duration) (list []trial.Send) {
	for _, s := range h.test.Send {
		if time.Duration(s.At) > after || after == 0 {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b trial.Send) int { return cmp.Compare(a.At, b.At) })
	return list
}

// moments is when to crash: a third of them anywhere, the others soon after
// something happened, or before it is to happen.
func (h *crashHouse) moments(want []deed, end time.Duration) (list []time.Duration) {
	var busy []time.Duration
	for _, s := range h.test.Send {
		busy = append(busy, max(0, time.Duration(s.At)))
	}
	for _, d := range want {
		busy = append(busy, d.at)
	}
	if len(busy) == 0 {
		busy = []time.Duration{0}
	}
	for range 10_000 {
		if len(list) == crashes {
			break
		}
		at := time.Duration(h.rand.Int64N(int64(end)))
		within := func(d time.Duration) time.Duration { return time.Duration(h.rand.Int64N(int64(d))) }
		switch near := busy[h.rand.IntN(len(busy))]; h.rand.IntN(6) {
		case 0, 1:
			at = near + within(2*syncTakes) // while it is being written
		case 2:
			at = near + within(2*forgets)
		case 3:
			at = near - within(time.Hour)
		}
		if h.name == "P17" { // so that it is clear which of the series are missed
			at = at.Truncate(repeatOfP17) + repeatOfP17/2
		}
		at = at.Truncate(time.Microsecond) // as the hub tells the time
		if at > 100*time.Millisecond && at < end && h.calm(at) {
			list = append(list, at)
		}
	}
	slices.Sort(list)
	return list
}

// calm says that nobody sends anything to a hub that is down from at on, and that
// no stop in order is near. In two houses it would take a model of its own to say
// what may be forgotten of the last second: which of two interlocked outputs is on,
// or waits to be; and what two series of repeats make of one lamp.
func (h *crashHouse) calm(at time.Duration) bool {
	for _, s := range h.test.Send {
		from := time.Duration(s.At)
		if from > at && from < at+downtime+500*time.Millisecond {
			return false
		}
		if s.Restart > 0 && at >= from-downtime && at < from+time.Duration(s.Restart)+100*time.Millisecond {
			return false
		}
		if (h.name == "P07" || h.name == "P17") && at >= from && at < from+2*forgets {
			return false
		}
	}
	return h.name != "P07" || at < 55*time.Second || at > 55*time.Second+forgets+5*syncTakes // max_on
}

// once says what must never come twice, a notification and the begin of a pulse,
// and what is pulsed. It looks at the rules as plain values, so it need not know
// every key of theirs.
func (h *crashHouse) once(cfg *Config) (once func(deed) bool, pulsed func(target string) bool) {
	notes, pulses := map[string]bool{}, map[string]bool{}
	for _, n := range cfg.Notify {
		notes[n.Value.Topic] = true
	}
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if topic, _ := v["Pulse"].(string); topic != "" {
				pulses[topic], pulses["output "+topic] = true, true
			}
			for _, e := range v {
				look(e)
			}
		case []any:
			for _, e := range v {
				look(e)
			}
		}
	}
	b, err := json.Marshal(cfg.Logic)
	var plain any
	if err != nil || json.Unmarshal(b, &plain) != nil {
		panic("a configuration is plain values")
	}
	look(plain)
	pulsed = func(target string) bool { return pulses[target] }
	return func(d deed) bool { return notes[d.target] || pulsed(d.target) && d.what != "OFF" }, pulsed
}

// A deed is something that the house did: a message, or an output that changed.
type deed struct {
	at           time.Duration
	target, what string
}

func tell(did []deed) string {
	var b strings.Builder
	for _, d := range did {
		fmt.Fprintf(&b, "  %-14v %s %s\n", d.at, d.target, d.what)
	}
	return b.String()
}

// A judge compares what a house did, in two lives, with what it ought to do.
type judge struct {
	want, got  []deed
	crash, end time.Duration
	once       func(deed) bool
	pulsed     func(target string) bool
	cut        bool // the power went too, and with it the levels of the pins

	wrong         string
	repeats, lost int
	late, lateOn  time.Duration // lateOn: of what was due when the hub was back for long
}

func (j *judge) fits() bool {
	targets := map[string]bool{}
	for _, d := range slices.Concat(j.want, j.got) {
		targets[d.target] = true
	}
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		of := func(d deed) bool { return d.target == target }
		want, got := filter(j.want, of), filter(j.got, of)
		// How an output is is on disk within a second. Until then the next life may
		// begin with how it was before, and put that right at once.
		fresh := slices.ContainsFunc(want, func(d deed) bool { return d.at <= j.crash && d.at > j.crash-forgets })
		if strings.HasPrefix(target, "output ") && (j.cut || fresh) {
			j.levels(target, want, got)
		} else {
			j.sequence(want, got)
		}
	}
	return j.wrong == ""
}

func filter(all []deed, keep func(deed) bool) (some []deed) {
	for _, d := range all {
		if keep(d) {
			some = append(some, d)
		}
	}
	return some
}

func (j *judge) fault(format string, args ...any) {
	if j.wrong == "" {
		j.wrong = fmt.Sprintf(format, args...)
	}
}

// sequence compares what came of one target, in order.
func (j *judge) sequence(want, got []deed) {
	var last deed
	for i, g := range got {
		// What is lost is left out, if what came instead fits behind it.
		for len(want) > 0 && !j.is(want[0], g) && j.mayBeLost(want[0]) && (len(want) > 1 && j.is(want[1], g) || !j.mayRepeat(last, g)) {
			j.lost++
			want = want[1:]
		}
		switch {
		case len(want) > 0 && j.is(want[0], g):
			j.late = max(j.late, g.at-want[0].at)
			if want[0].at > j.crash+lateAtAll {
				j.lateOn = max(j.lateOn, g.at-want[0].at)
			}
			last, want = g, want[1:]
		case i > 0 && j.mayRepeat(last, g):
			j.repeats++
		case g.at > j.end:
			return // it is over
		default:
			next := "nothing more"
			if len(want) > 0 {
				next = fmt.Sprintf("%s at %v", want[0].what, want[0].at)
			}
			j.fault("%s %s came at %v, want %s", g.target, g.what, g.at, next)
			return
		}
	}
	for _, w := range want {
		switch {
		case w.at > j.end:
		case j.mayBeLost(w):
			j.lost++
		default:
			j.fault("%s %s of %v is missing", w.target, w.what, w.at)
			return
		}
	}
	if j.lost > 1 {
		j.fault("%d were lost in flight", j.lost)
	}
}

// is says that g is what was expected as w, and late by no more than it may be:
// also what is due long after the crash, for a step that was late makes those
// behind it late.
func (j *judge) is(w, g deed) bool {
	late := g.at - w.at
	limit := lateAtAll
	if w.at < j.crash-forgets {
		limit = trial.Tolerance
	}
	return trial.Equal(w.what, g.what) && late >= 0 && late <= limit
}

func (j *judge) mayRepeat(last, g deed) bool {
	return g.what == last.what && g.at > j.crash && !j.once(g) && !strings.HasPrefix(g.target, "output ")
}

func (j *judge) mayBeLost(w deed) bool {
	return j.once(w) && w.at <= j.crash && w.at > j.crash-forgets
}

// levels compares an output on a pin that had no power for a while. From the crash
// until the hub has put everything right its level is not looked at.
func (j *judge) levels(target string, want, got []deed) {
	light := j.crash + lateAtAll + trial.Tolerance
	if j.pulsed(target) && levelAt(want, target, j.crash) == "ON" {
		// What a pulse had switched on stays off, for it is not begun again.
		for _, d := range slices.Backward(want) {
			if d.at > j.crash {
				light = max(light, d.at+trial.Tolerance)
			}
		}
	}
	dark := func(at time.Duration) bool { return at >= j.crash && at < light }
	// Looking just before each change, and well after it, is looking everywhere.
	for _, d := range slices.Concat(want, got, []deed{{at: j.crash + lateAtAll + 2*trial.Tolerance}, {at: j.end}}) {
		for _, when := range []time.Duration{d.at - 1, d.at + trial.Tolerance} {
			near := func(w deed) bool {
				late := trial.Tolerance
				if w.at > j.crash {
					late += lateAtAll // behind a step that was late itself
				}
				return w.at <= when && when < w.at+late
			}
			if when < 0 || when > j.end || dark(when) || slices.ContainsFunc(want, near) {
				continue
			}
			if w, g := levelAt(want, target, when), levelAt(got, target, when); w != g {
				j.fault("%s is %s at %v, want %s", target, g, when, w)
				return
			}
		}
	}
	n := func(did []deed) (n int) {
		for _, d := range did {
			if !dark(d.at) && d.at <= j.end {
				n++
			}
		}
		return n
	}
	if w, g := n(want), n(got); g > w {
		j.fault("%s was switched %d times, want %d", target, g, w)
	}
}

// A town is a house and all that is round it, in one bubble of time. Offsets are
// those of the story, whichever bubble it goes on in.
type town struct {
	t        *testing.T
	house    *crashHouse
	zero     time.Time     // of the story, on the bubble's clock
	leapt    atomic.Int64  // by how much the clock has leapt since
	boot     string        // and
	booted   time.Duration // since when the machine runs
	disk     *storetest.Card
	sim      *gpio.Sim
	contacts map[string]bool
	lit      map[string]bool // by output
	seen     map[string]int
	hub      *Hub
	client   *paho.Client
	stop     func()

	mu  sync.Mutex
	did []deed
}

// A wreck is all that is left of a town at a crash.
type wreck struct {
	at            time.Duration
	disk          *storetest.Card
	contacts, lit map[string]bool
	did           int
}

// rise is the town when the hub is there again.
func (w wreck) rise(t *testing.T, h *crashHouse, cut bool) *town {
	again := &town{t: t, house: h, disk: w.disk, boot: "first", booted: -time.Hour,
		contacts: maps.Clone(w.contacts), lit: maps.Clone(w.lit)}
	if cut {
		again.boot, again.booted = "second", w.at+downtime-5*time.Second
		for _, o := range slices.Sorted(maps.Keys(again.lit)) {
			if again.lit[o] {
				again.lit[o] = false
				again.did = append(again.did, deed{w.at, "output " + o, "OFF"})
			}
		}
	}
	again.zero = time.Now().Add(-w.at - downtime)
	return again
}

func (w *town) now() time.Duration { return time.Since(w.zero) + time.Duration(w.leapt.Load()) }

// until waits for a moment of the story.
func (w *town) until(at time.Duration) {
	for at-w.now() > idle {
		time.Sleep(time.Minute + 5*time.Second) // what was due after the last leap is done by then
		synctest.Wait()
		w.watch()
		next := at
		w.hub.do(w.t.Context(), func() {
			if due, ok := w.hub.engine.Next(); ok {
				next = min(next, due+w.booted)
			}
		})
		if leap := next - time.Minute - w.now(); leap > 0 {
			w.leapt.Add(int64(leap))
		}
	}
	time.Sleep(at - w.now())
}

// play tells the house what the story has for it, and says what there was on the
// disk at some moments.
func (w *town) play(sends []trial.Send, moments []time.Duration, end time.Duration) (wrecks []wreck) {
	if w.zero.IsZero() {
		w.booted = -time.Hour
		w.zero = time.Now().Add(time.Minute)
		for len(sends) > 0 && sends[0].At < 0 {
			n := slices.IndexFunc(sends, func(s trial.Send) bool { return s.At >= 0 })
			if n < 0 {
				n = len(sends)
			}
			w.found(sends[:n])
			sends = sends[n:]
		}
		time.Sleep(time.Until(w.zero))
	}
	w.power()
	w.live()
	for len(sends)+len(moments) > 0 {
		if len(sends) == 0 || len(moments) > 0 && moments[0] < time.Duration(sends[0].At) {
			w.until(moments[0])
			synctest.Wait()
			w.watch()
			w.mu.Lock()
			wrecks = append(wrecks, wreck{moments[0], w.disk.Cut(nil), maps.Clone(w.contacts), maps.Clone(w.lit), len(w.did)})
			w.mu.Unlock()
			moments = moments[1:]
			continue
		}
		w.until(time.Duration(sends[0].At))
		w.send(sends[0])
		synctest.Wait()
		sends = sends[1:]
	}
	w.until(end + afterwards)
	synctest.Wait()
	w.watch()
	n := len(w.did)
	w.stop()
	w.did = w.did[:n] // without the end of the test
	slices.SortStableFunc(w.did, func(a, b deed) int { return cmp.Compare(a.at, b.at) })
	return wrecks
}

// found puts what was there before the first start where the hub finds it.
func (w *town) found(sends []trial.Send) {
	cfg, doc := Parse("config.toml", nil)
	if doc.Err() != nil {
		w.t.Fatal(doc.Err())
	}
	cfg.Hub.Data = "/data"
	h, stop := start(w.t, cfg, Options{Bank: gpio.NewSim(), FS: w.disk})
	client, end := connect(w.t, h, "before", func(*paho.Publish) {})
	for _, s := range sends {
		if s.Input != "" {
			w.contacts[s.Input] = bool(*s.To)
		} else if _, err := client.Publish(w.t.Context(), &paho.Publish{Topic: s.Topic, Payload: []byte(*s.Payload), QoS: 1, Retain: true}); err != nil {
			w.t.Fatal(err)
		}
	}
	end()
	stop()
}

// power gives the board its pins, with the levels that are there.
func (w *town) power() {
	w.sim, w.seen = gpio.NewSim(), map[string]int{}
	cfg := w.house.load()
	for _, i := range cfg.Input {
		if on, ok := w.contacts[i.Name]; ok {
			w.sim.Drive(i.Value.Pin, pin.Level(on != i.Value.ActiveLow))
		}
	}
	for _, o := range cfg.Output {
		if o.Value.Pin != "" && w.lit[o.Name] != o.Value.ActiveLow {
			line, err := w.sim.ByName(o.Value.Pin)
			if err != nil {
				w.t.Fatal(err)
			}
			line.Out(pin.High)
			line.Halt()
			w.seen[o.Name] = len(w.sim.History(o.Value.Pin))
		}
	}
}

// live starts the hub. Everybody is connected when its loop begins to turn.
func (w *town) live() {
	cfg := w.house.load()
	zero := w.house.test.Start.Time
	if zero.IsZero() {
		zero = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	}
	zero = time.Date(zero.Year(), zero.Month(), zero.Day(), zero.Hour(), zero.Minute(), zero.Second(), 0, cfg.zone())
	var err error
	w.hub, err = New(cfg, Options{Bank: w.sim, Offline: true, FS: w.disk, Seed: w.house.test.Seed, Clock: Clock{
		Mono:  func() time.Duration { return w.now() - w.booted },
		Wall:  func() time.Time { return zero.Add(w.now()) },
		Known: func() bool { return true },
		Boot:  w.boot,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	client, disconnect := connect(w.t, w.hub, "everybody", func(p *paho.Publish) {
		// What the hub asks of a device that it did not know is no deed of a rule.
		asks := strings.HasPrefix(p.Topic, "cmnd/") && (strings.HasSuffix(p.Topic, "/STATE") || strings.HasSuffix(p.Topic, "/STATUS"))
		if !asks && !strings.HasPrefix(p.Topic, "hearth/") {
			w.note(deed{w.now(), p.Topic, flaggedText(string(p.Payload), p.Retain)})
		}
	})
	w.client = client
	if _, err := client.Subscribe(w.t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
		{Topic: "#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.hub.Run(ctx) }()
	synctest.Wait()
	w.stop = func() {
		w.watch()
		cancel()
		<-ended
		synctest.Wait()
		disconnect()
	}
}

func (w *town) note(d deed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, d)
}

// watch notes how the outputs on pins have changed since it last looked.
func (w *town) watch() {
	for _, o := range w.hub.cfg.Output {
		history := w.sim.History(o.Value.Pin)
		for _, h := range history[w.seen[o.Name]:] {
			if on := bool(h.Level) != o.Value.ActiveLow; on != w.lit[o.Name] {
				w.lit[o.Name] = on
				w.note(deed{h.At.Sub(w.zero) + time.Duration(w.leapt.Load()), "output " + o.Name, devices.Text(on)})
			}
		}
		w.seen[o.Name] = len(history)
	}
}

func (w *town) send(s trial.Send) {
	switch {
	case s.Topic != "":
		payload := ""
		if s.Payload != nil {
			payload = string(*s.Payload)
		}
		if _, err := w.client.Publish(w.t.Context(), &paho.Publish{Topic: s.Topic, Payload: []byte(payload), QoS: 1, Retain: s.Retain}); err != nil {
			w.t.Error(err)
		}
	case s.Input != "":
		w.contacts[s.Input] = bool(*s.To)
		if err := w.hub.pins.Drive(s.Input, bool(*s.To)); err != nil {
			w.t.Error(err)
		}
	case s.Webhook != "":
		(page{w.hub}).Hook(w.t.Context(), s.Webhook, []byte(s.Body))
	case s.Restart > 0:
		again := w.now() + time.Duration(s.Restart)
		w.stop()
		w.watch()
		time.Sleep(again - w.now())
		w.live()
	default:
		w.t.Fatalf("%v: no town knows this", s)
	}
}

// newCard is a disk in memory on which a sync takes its time.
func newCard() *storetest.Card {
	c := storetest.NewCard()
	c.SyncTakes = syncTakes
	return c
}
