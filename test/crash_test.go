package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A crash comes at a random moment, also while the hub starts; and it comes under
// load. After each one the hub must start by itself, without a word of damage,
// and then:
//
//   - A retained value that was acknowledged is there, if its topic had been quiet.
//     One that was deleted stays deleted.
//   - A chatty topic has some value that it once had, and none older than what
//     was found at the last start.
//   - A timer of a rule that began, or was cancelled, a second or more before a
//     crash goes on, or stays cancelled. It fires once, though its action may be
//     repeated if a crash follows within a second.
//   - A pulse is never doubled; one that began is ended.
//   - An output is in its initial state. One with safe = "hold" is as it was
//     last told, if that was a second ago.
//
// Only acknowledgements seen before the crash count.
const (
	doorWait  = 4 * time.Second // a door's timer lives through several crashes
	chimeWait = 1 * time.Second
	promised  = 1 * time.Second // what is older than this is on disk
)

// kill -9 takes the process and what it had in memory.
func TestKilledHub(t *testing.T) {
	w := newWorld(t, t.TempDir(), *cuts)
	for range *cuts {
		w.live(t, func(hub *life) {
			w.crash()
			hub.kill()
		})
	}
	w.settle(t)
	w.report(t)
}

// A power cut takes what was not synced too. (EXT4_IOC_SHUTDOWN leaves the file
// system as a cut would, to be recovered from its journal at the next mount.)
func TestPowerCuts(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := newDisk(t, 64<<20)
	disk.mount(t)
	w := newWorld(t, filepath.Join(disk.dir, "data"), *cuts)
	for range *cuts {
		w.live(t, func(hub *life) {
			disk.cut(t, w.crash)
			hub.kill()
			disk.unmount(t)
			disk.mount(t)
		})
	}
	w.settle(t)
	w.report(t)
}

// The power goes while a version of several files is brought back: afterwards all of them are
// as before or all as in the version, and the latter if it was said to be in force.
func TestPowerCutsWhileAVersionIsBroughtBack(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := newDisk(t, 64<<20)
	disk.mount(t)
	h := newHouse(t, filepath.Join(disk.dir, "data"), "")
	dir := filepath.Join(disk.dir, "house")
	text, err := os.ReadFile(h.config)
	if err != nil || os.Mkdir(dir, 0o755) != nil {
		t.Fatal(err)
	}
	h.config = filepath.Join(dir, "config.toml")
	names := []string{"a.toml", "b.toml", "c.toml"}
	generation := func() (all []string) {
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
		return slices.Compact(all)
	}
	write := func(text string) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(h.config, append([]byte("include = [\"[abc].toml\"]\n"), text...), 0o644); err != nil {
		t.Fatal(err)
	}
	write("# one\n")
	hub := h.start(t)
	write("# two\n")
	if err := hub.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	var all struct{ Versions []struct{ ID int } }
	eventually(t, "there are two versions", func() bool {
		return hub.config("GET", "/versions", nil, &all) == nil && len(all.Versions) == 2
	})
	run(t, "sync", "-f", dir) // what an editor of files would have done
	versions := map[string]int{"# one\n": all.Versions[1].ID, "# two\n": all.Versions[0].ID}
	bring := func(to string) func() error {
		path := fmt.Sprint("/version/", versions[to])
		var now struct{ Sum string }
		if err := hub.config("GET", path, nil, &now); err != nil {
			t.Fatal(err)
		}
		return func() error { return hub.config("POST", path, now, nil) }
	}
	// Without a cut it works at all, and takes some time, in which the cuts come.
	do, began := bring("# one\n"), time.Now()
	err = do()
	took := time.Since(began)
	if err != nil || !slices.Equal(generation(), []string{"# one\n"}) {
		t.Fatalf("%v, and in the files is %q", err, generation())
	}
	run(t, "sync", "-f", dir)
	came, undone := 0, 0
	is := "# one\n"
	for i := range 3 * *cuts {
		other := "# one\n"
		if is == other {
			other = "# two\n"
		}
		done := begin(bring(other))
		if i%15 < 14 {
			time.Sleep(took * time.Duration(i%15) / 10)
		} else {
			<-done.ended
		}
		acked := false
		disk.cut(t, func() { acked = done.well() })
		hub.kill()
		<-done.ended
		disk.unmount(t)
		disk.mount(t)
		hub = h.start(t)
		got := generation()
		if len(got) != 1 || got[0] != is && got[0] != other || acked && got[0] != other {
			t.Fatalf("cut %d: was %q, was to be %q, acknowledged: %v, is %q", i, is, other, acked, got)
		}
		if got[0] == other {
			came++
		}
		undone += len(hub.log.match(hub.from, func(s said) bool { return strings.Contains(s.text, "stands in the files again") }))
		is = got[0]
	}
	hub.kill()
	if came == 0 {
		t.Error("no version was ever there after a cut")
	}
	t.Logf("%d cuts: %d times the version was there afterwards, %d times a change was undone at the start", 3**cuts, came, undone)
}

// A doing ends some time, well or not.
type doing struct {
	ended chan struct{}
	err   error
}

func begin(do func() error) *doing {
	d := &doing{ended: make(chan struct{})}
	go func() {
		d.err = do()
		close(d.ended)
	}()
	return d
}

// well says that it has ended well by now.
func (d *doing) well() bool {
	select {
	case <-d.ended:
		return d.err == nil
	default:
		return false
	}
}

// A world is what the devices round a hub know: what they sent and when, what was
// acknowledged, and so what must be found when it comes back.
type world struct {
	house   *house
	crashes []time.Time

	mu     sync.Mutex
	dark   bool   // the crash has come: what arrives now does not count
	onAck  func() // called when a quiet value has been acknowledged
	quiet  map[string]*kept
	chatty []chatter
	doors  []door
	rings  []ring
	pump   kept      // an output that is to be held
	pumped time.Time // when the newest command for it was acknowledged

	witnesses []witness
	starts    []time.Duration
	acked     int
	found     int
}

// A witness has seen what the rules of one life did: a client heard it, and what
// came before that client the page knows.
type witness struct {
	ear  *client
	page map[string][]time.Time
}

// kept is what one value must be: settled, or one of those that came later and
// were not acknowledged. "" is: not there.
type kept struct {
	settled string
	maybe   []string
}

func (k *kept) allows(v string) bool { return v == k.settled || slices.Contains(k.maybe, v) }

// A chatter is a topic that changes all the time: it counts.
type chatter struct{ found, sent int }

// A door starts a timer when it opens and cancels it when it closes.
type door struct{ open, close deed }

// A ring is a pulse.
type ring struct{ deed }

// A deed is a message and when it was sent and acknowledged.
type deed struct{ sent, acked time.Time }

const chatters = 4

func newWorld(t *testing.T, data string, lives int) *world {
	var b strings.Builder
	b.WriteString(porch)
	b.WriteString("\n[broker.limits]\nretained = 1_000_000 # a value for each message, so as to know them apart\n")
	for i := range 2*lives + 1 {
		fmt.Fprintf(&b, `
[rule.door_%d]
trigger = { state = "door/%[1]d", is = "open", for = "%v" }
action = { publish = "phone/%[1]d", payload = "the door is open", retain = true }
`, i, doorWait)
	}
	for i := range lives {
		fmt.Fprintf(&b, `
[rule.chime_%d]
trigger = { event = "button/%[1]d" }
action = { pulse = "chime/%[1]d", for = "%v", on = "RING %[1]d", off = "QUIET %[1]d" }
`, i, chimeWait)
	}
	// What goes out comes in again, so that the page tells of each ring.
	b.WriteString(`
[rule.ear]
trigger = { event = "chime/+" }
action = { publish = "heard", payload = "a chime" }
`)
	return &world{
		house:  newHouse(t, data, b.String()),
		onAck:  func() {},
		quiet:  map[string]*kept{},
		chatty: make([]chatter, chatters),
		pump:   kept{settled: "OFF"},
	}
}

// live is one life of the hub: it starts, is looked at, is kept busy, and crashes
// at a random moment. Now and then that is while it starts.
func (w *world) live(t *testing.T, crash func(*life)) {
	w.dark = false
	if n := len(w.crashes); n%8 == 3 {
		hub := w.house.launch(t)
		<-time.After(rand.N(60 * time.Millisecond))
		crash(hub)
		return
	}
	hub := w.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var busy sync.WaitGroup
	for i := range 3 {
		busy.Go(func() { w.tell(t, w.sendQuiet(ctx, hub, i)) })
	}
	busy.Go(func() { w.tell(t, w.sendChatter(ctx, hub)) })
	busy.Go(func() { w.tell(t, w.switchLamp(ctx, hub)) })
	busy.Go(func() { w.tell(t, w.useDoors(ctx, hub)) })
	<-time.After(200*time.Millisecond + rand.N(1800*time.Millisecond))
	crash(hub)
	cancel()
	busy.Wait()
}

// crash says that it comes now. Every other one waits for the next quiet value
// to be acknowledged: who acknowledged before the disk has it is caught then.
func (w *world) crash() {
	if len(w.crashes)%2 == 0 {
		acked := make(chan struct{})
		w.mu.Lock()
		w.onAck = sync.OnceFunc(func() { close(acked) })
		w.mu.Unlock()
		select {
		case <-acked:
		case <-time.After(time.Second):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dark = true
	w.crashes = append(w.crashes, time.Now())
	if !w.pumped.IsZero() && time.Since(w.pumped) > promised {
		w.pump = kept{settled: w.pump.maybe[len(w.pump.maybe)-1]}
	}
	w.pumped = time.Time{}
}

// tell says what a device met with, unless it was the crash.
func (w *world) tell(t *testing.T, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.dark {
		t.Error("under load:", err)
	}
}

// start begins a life and compares what is there with what must be.
func (w *world) start(t *testing.T) *life {
	t.Helper()
	hub := w.house.start(t)
	w.starts = append(w.starts, hub.ready)
	if c := hub.complaints(false); len(c) > 0 {
		t.Errorf("after crash %d the hub complains:\n%s", len(w.crashes), strings.Join(c, "\n"))
	}
	ear := hub.client(t, "ear", "phone/+", "chime/+")
	w.witness(ear, hub.view(t))

	// The marker is subscribed to last, so what was kept has come before it, or
	// will soon.
	c := hub.client(t, "auditor")
	marker := fmt.Sprint("marker/", len(w.crashes))
	c.send(t, marker, "here", true)
	if err := c.subscribe(t.Context(), 0, "quiet/#", "chatty/#", "hearth/#", marker); err != nil {
		t.Fatal(err)
	}
	c.expect(t, marker, "here")
	var wrong []string
	if !within(patience/4, func() bool { wrong = w.compare(c.last()); return len(wrong) == 0 }) {
		t.Errorf("after crash %d: %d values are wrong, such as\n%s", len(w.crashes), len(wrong), strings.Join(wrong[:min(10, len(wrong))], "\n"))
	}
	w.accept(c.last())
	return hub
}

// compare lists what is not as it must be.
func (w *world) compare(found map[string]string) (wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, k := range w.quiet {
		if v := found[topic]; !k.allows(v) {
			wrong = append(wrong, fmt.Sprintf("%s is %.40q, want %.40q or one of %.60q", topic, v, k.settled, k.maybe))
		}
	}
	for topic, v := range found {
		switch first, _, _ := strings.Cut(topic, "/"); {
		case first == "quiet" && w.quiet[topic] == nil:
			wrong = append(wrong, fmt.Sprintf("%s is %.40q, and nobody ever sent that", topic, v))
		case first == "chatty":
			i, n, ok := readChatter(topic, v)
			if !ok || n < w.chatty[i].found || n > w.chatty[i].sent {
				wrong = append(wrong, fmt.Sprintf("%s is %q, want a number from %d to %d", topic, v, w.chatty[i].found, w.chatty[i].sent))
			}
		}
	}
	for i, c := range w.chatty {
		if topic := fmt.Sprint("chatty/", i); c.found > 0 && found[topic] == "" {
			wrong = append(wrong, topic+" is gone")
		}
	}
	for topic, want := range map[string]string{"hearth/status": "online", "hearth/porch_light/state": "OFF", "hearth/fan/state": "OFF"} {
		if found[topic] != want {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", topic, found[topic], want))
		}
	}
	if v := found["hearth/pump/state"]; !w.pump.allows(v) {
		wrong = append(wrong, fmt.Sprintf("the pump that is to be held is %q, want %q or one of %q", v, w.pump.settled, w.pump.maybe))
	}
	return wrong
}

// accept takes what was found as what is there.
func (w *world) accept(found map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, k := range w.quiet {
		*k = kept{settled: found[topic]}
		if found[topic] != "" {
			w.found++
		}
	}
	for topic, v := range found {
		if i, n, ok := readChatter(topic, v); ok {
			w.chatty[i].found = n
		}
	}
	w.pump = kept{settled: found["hearth/pump/state"]}
}

// do sends something: note is called before, and ack once it is acknowledged,
// if that was before the crash.
func (w *world) do(ctx context.Context, c *client, topic, payload string, qos byte, retain bool, note, ack func()) error {
	w.mu.Lock()
	if w.dark {
		w.mu.Unlock()
		return errors.New("it is dark")
	}
	note()
	w.mu.Unlock()
	if err := c.publish(ctx, topic, payload, qos, retain); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dark {
		w.acked++
		ack()
	}
	return nil
}

// every calls do until it fails, at this pace at most.
func every(ctx context.Context, pace time.Duration, do func(n int) error) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 0; ; n++ {
		if err := do(n); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sendQuiet is a device that says something once on each of many topics, with
// QoS 1 and 2 in turn, and takes some of it back.
func (w *world) sendQuiet(ctx context.Context, hub *life, device int) error {
	c, err := dial(ctx, hub.tcp, fmt.Sprint("quiet", device))
	if err != nil {
		return err
	}
	prefix := fmt.Sprintf("quiet/%d/%d/", device, len(w.crashes))
	return every(ctx, 3*time.Millisecond, func(n int) error {
		qos := byte(1 + n%2)
		if n%3 == 2 {
			n = rand.IntN(n)
			topic := fmt.Sprint(prefix, n)
			return w.do(ctx, c, topic, "", qos, true,
				func() { w.expectQuiet(topic, "") },
				func() { w.settleQuiet(topic, "") })
		}
		topic := fmt.Sprint(prefix, n)
		value := fmt.Sprintf("%s is well%s", topic, strings.Repeat(".", rand.IntN(600)))
		return w.do(ctx, c, topic, value, qos, true,
			func() { w.expectQuiet(topic, value) },
			func() { w.settleQuiet(topic, value) })
	})
}

func (w *world) expectQuiet(topic, value string) {
	if w.quiet[topic] == nil {
		w.quiet[topic] = new(kept)
	}
	w.quiet[topic].maybe = append(w.quiet[topic].maybe, value)
}

func (w *world) settleQuiet(topic, value string) {
	*w.quiet[topic] = kept{settled: value}
	w.onAck()
}

// sendChatter is a device that counts on a few topics as fast as it is let.
func (w *world) sendChatter(ctx context.Context, hub *life) error {
	c, err := dial(ctx, hub.tcp, "chatter")
	if err != nil {
		return err
	}
	return every(ctx, time.Millisecond, func(n int) error {
		i := n % chatters
		next := w.chatty[i].sent + 1 // nobody else writes it
		return w.do(ctx, c, fmt.Sprint("chatty/", i), fmt.Sprintf(`{"of":%d,"count":%d}`, i, next), 1, true,
			func() { w.chatty[i].sent = next }, func() {})
	})
}

func readChatter(topic, payload string) (i, n int, ok bool) {
	if _, err := fmt.Sscanf(payload, `{"of":%d,"count":%d}`, &i, &n); err != nil || i < 0 || i >= chatters {
		return 0, 0, false
	}
	return i, n, topic == fmt.Sprint("chatty/", i) && payload == fmt.Sprintf(`{"of":%d,"count":%d}`, i, n)
}

// switchLamp switches the lamp and the fan, and at some moment the pump.
func (w *world) switchLamp(ctx context.Context, hub *life) error {
	c, err := dial(ctx, hub.tcp, "hand")
	if err != nil {
		return err
	}
	pumpAt := rand.IntN(80)
	return every(ctx, 5*time.Millisecond, func(n int) error {
		if n == pumpAt {
			level := [2]string{"ON", "OFF"}[rand.IntN(2)]
			return w.do(ctx, c, "hearth/pump/set", level, 1, false,
				func() { w.pump.maybe = append(w.pump.maybe, level) },
				func() { w.pumped = time.Now() })
		}
		topic := [2]string{"hearth/porch_light/set", "hearth/fan/set"}[n%2]
		return w.do(ctx, c, topic, "TOGGLE", 1, false, func() {}, func() {})
	})
}

// useDoors opens two doors, closes perhaps one of the last life, and may press
// a button, each at a random moment.
func (w *world) useDoors(ctx context.Context, hub *life) error {
	c, err := dial(ctx, hub.tcp, "doors")
	if err != nil {
		return err
	}
	w.mu.Lock()
	first, ringing := len(w.doors), len(w.rings)
	w.doors = append(w.doors, door{}, door{})
	w.rings = append(w.rings, ring{})
	w.mu.Unlock()
	record := func(topic, payload string, d func() *deed) func() error {
		return func() error {
			return w.do(ctx, c, topic, payload, 1, false, func() { d().sent = time.Now() }, func() { d().acked = time.Now() })
		}
	}
	at := map[int]func() error{
		rand.IntN(3):       record(fmt.Sprint("door/", first), "open", func() *deed { return &w.doors[first].open }),
		3 + rand.IntN(300): record(fmt.Sprint("door/", first+1), "open", func() *deed { return &w.doors[first+1].open }),
	}
	if ringing%2 == 0 { // not always: what must be written for it takes the doors' timers along
		at[303+rand.IntN(100)] = record(fmt.Sprint("button/", ringing), "pressed", func() *deed { return &w.rings[ringing].deed })
	}
	if first >= 2 && rand.IntN(2) == 0 {
		at[400+rand.IntN(300)] = record(fmt.Sprint("door/", first-2), "closed", func() *deed { return &w.doors[first-2].close })
	}
	return every(ctx, 2*time.Millisecond, func(n int) error {
		if do := at[n]; do != nil {
			return do()
		}
		return nil
	})
}

// settle starts the hub for the last time and waits until all timers have ended.
func (w *world) settle(t *testing.T) {
	w.dark = false
	hub := w.start(t)
	c := hub.client(t, "last", "phone/#")
	last := 2 * *cuts
	c.send(t, fmt.Sprint("door/", last), "open", false)
	c.expect(t, fmt.Sprint("phone/", last), "the door is open") // all others began before
	var wrong []string
	if !within(patience, func() bool { wrong = w.timers(c.last()); return len(wrong) == 0 }) {
		t.Errorf("timers:\n%s", strings.Join(wrong, "\n"))
	}
	hub.stop(t)
}

var (
	doorFired = regexp.MustCompile(`^rule\.(door_\d+) fired`)
	rang      = regexp.MustCompile(`^rule\.ear fired: .*\(now ((?:RING|QUIET) \d+)\)`)
)

// witness takes up a new life.
func (w *world) witness(ear *client, v view) {
	w.mu.Lock()
	defer w.mu.Unlock()
	page := map[string][]time.Time{}
	for _, d := range v.Decisions {
		for _, pattern := range []*regexp.Regexp{doorFired, rang} {
			if m := pattern.FindStringSubmatch(d.Text); m != nil {
				page[m[1]] = append(page[m[1]], d.At)
			}
		}
	}
	w.witnesses = append(w.witnesses, witness{ear, page})
}

// times is when something was seen to happen: "door_3" fired, "RING 4", "QUIET 4".
func (w *world) times(what string) (times []time.Time) {
	for _, life := range w.witnesses {
		var heard []time.Time
		life.ear.mu.Lock()
		for _, m := range life.ear.got {
			door := strings.Replace(m.topic, "phone/", "door_", 1)
			if !m.retained && (m.payload == what || door == what) {
				heard = append(heard, m.at)
			}
		}
		life.ear.mu.Unlock()
		if len(life.page[what]) > len(heard) {
			heard = life.page[what]
		}
		times = append(times, heard...)
	}
	return times
}

// sure says whether what was done is on disk: it was acknowledged, and no crash
// came before it was a second old.
func (w *world) sure(d deed) bool {
	return !d.acked.IsZero() && !slices.ContainsFunc(w.crashes, func(c time.Time) bool {
		return c.After(d.sent) && c.Before(d.acked.Add(promised))
	})
}

// repeats is how often something may have happened that was sure to happen once:
// again after each crash that came before its end was on disk.
func (w *world) repeats(times []time.Time) int {
	n := 1
	for _, at := range times {
		// A busy machine may take a while from the crash, as it is noted, to the hub's end.
		if slices.ContainsFunc(w.crashes, func(c time.Time) bool { return c.After(at.Add(-time.Second)) && c.Before(at.Add(promised)) }) {
			n++
		}
	}
	return n
}

// timers lists which timers did not do as promised.
func (w *world) timers(phone map[string]string) (wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for i, d := range w.doors {
		times := w.times(fmt.Sprint("door_", i))
		opened, cancelled := !d.open.sent.IsZero() && w.sure(d.open), !d.close.sent.IsZero()
		switch {
		case len(times) > w.repeats(times):
			bad("door %d, opened at %s, fired %d times, at %s", i, clock(d.open.sent), len(times), clock(times...))
		case d.open.sent.IsZero() && len(times) > 0:
			bad("door %d fired and was never opened", i)
		case opened && !cancelled && len(times) == 0:
			bad("door %d, opened at %s, did not fire", i, clock(d.open.sent))
		case opened && !cancelled && phone[fmt.Sprint("phone/", i)] == "":
			bad("door %d fired, but the phone does not know", i)
		case cancelled && w.sure(d.close) && d.close.acked.Before(d.open.sent.Add(doorWait)) && len(times) > 0:
			bad("door %d, opened at %s and closed at %s, fired at %s", i, clock(d.open.sent), clock(d.close.sent), clock(times...))
		case len(times) > 0 && times[0].Before(d.open.sent.Add(doorWait-10*time.Millisecond)):
			bad("door %d, opened at %s, fired early at %s", i, clock(d.open.sent), clock(times...))
		}
	}
	for i, r := range w.rings {
		on, off := w.times(fmt.Sprint("RING ", i)), w.times(fmt.Sprint("QUIET ", i))
		switch {
		case len(on) > 1:
			bad("chime %d rang %d times, at %s", i, len(on), clock(on...))
		case len(on) > 0 && r.sent.IsZero():
			bad("chime %d rang and nobody pressed its button", i)
		case !r.sent.IsZero() && w.sure(r.deed) && len(on) == 0:
			bad("chime %d did not ring, the button was pressed at %s", i, clock(r.sent))
		case len(on) > 0 && len(off) == 0:
			bad("chime %d rings since %s", i, clock(on...))
		case len(off) > w.repeats(off):
			bad("chime %d ended %d times, at %s", i, len(off), clock(off...))
		case len(off) > 0 && off[0].Before(r.sent.Add(chimeWait)):
			bad("chime %d, whose button was pressed at %s, ended at %s", i, clock(r.sent), clock(off...))
		}
	}
	if len(wrong) > 0 {
		wrong = append(wrong, "the crashes were at "+clock(w.crashes...))
	}
	return wrong
}

func clock(times ...time.Time) string {
	var texts []string
	for _, at := range times {
		texts = append(texts, at.Format("05.000"))
	}
	return strings.Join(texts, " ")
}

// report says how much was tried, and what it showed.
func (w *world) report(t *testing.T) {
	inDark := func(from, to time.Time) (n int) {
		for _, c := range w.crashes {
			if c.After(from) && c.Before(to) {
				n++
			}
		}
		return n
	}
	t.Logf("%d crashes; exec to ready: %s", len(w.crashes), spread(w.starts))
	startsSoon(t, w.starts)
	t.Logf("%d messages acknowledged; %d quiet topics, looked at %d times; %d chatty values",
		w.acked, len(w.quiet), w.found, w.chatty[0].sent*chatters)
	var sure, late, most int
	var delays []time.Duration
	for i, d := range w.doors {
		times := w.times(fmt.Sprint("door_", i))
		if d.open.acked.IsZero() || len(times) == 0 {
			continue
		}
		if w.sure(d.open) {
			sure++
		}
		late += len(times) - 1
		most = max(most, inDark(d.open.acked, times[0]))
		delays = append(delays, times[0].Sub(d.open.acked.Add(doorWait)))
	}
	cancelled := 0
	for i, d := range w.doors {
		if !d.close.sent.IsZero() && len(w.times(fmt.Sprint("door_", i))) == 0 {
			cancelled++
		}
	}
	t.Logf("timers of %v: %d fired (%d of them surely on disk at the crash, %d repeated), %d were cancelled; at most %d crashes in one; late by %s",
		doorWait, len(delays), sure, late, cancelled, most, spread(delays))
	var pressed, rung, ended int
	for i, r := range w.rings {
		if !r.acked.IsZero() {
			pressed++
		}
		rung += len(w.times(fmt.Sprint("RING ", i)))
		ended += min(1, len(w.times(fmt.Sprint("QUIET ", i))))
	}
	t.Logf("%d buttons pressed, %d chimes rang, %d ended", pressed, rung, ended)
}
