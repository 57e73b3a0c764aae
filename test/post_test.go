package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sessions that are kept, under crashes. Publishers of QoS 1 and 2, of MQTT 3.1.1
// and 5, send to four sessions: two are away until the hub is there again, two are
// connected and acknowledge. Then comes a crash. After it
//
//   - The hub starts by itself, in less than a second, without a word of damage.
//   - Each session is there, with the subscriptions that were acknowledged.
//   - Each message that was acknowledged reaches each session, and each publisher's
//     messages on a topic come in the order in which they were sent.
//   - None comes twice, but for QoS 1 with the DUP flag. (One that was not
//     acknowledged may have been delivered, forgotten in the crash, and sent again by
//     its publisher: that is a new message to the hub. It is counted.)
//   - A retained value is the last that was acknowledged or a later one: with
//     retained_interval = "0s" always, else if its topic had been quiet, or if that
//     was the interval ago.
//
// Only what was seen before the crash counts.

// kill -9 takes the process and what it had in memory.
func TestKilledHubKeepsSessions(t *testing.T) {
	w := newPost(t, t.TempDir())
	for range *cuts {
		w.live(t, func(hub *life) {
			w.crash()
			hub.kill()
		})
	}
	w.end(t)
}

// A power cut takes what was not synced too.
func TestPowerCutsLeaveSessions(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := newDisk(t, 64<<20)
	disk.mount(t)
	w := newPost(t, filepath.Join(disk.dir, "data"))
	for range *cuts {
		w.live(t, func(hub *life) {
			disk.cut(t, w.crash)
			hub.kill()
			disk.unmount(t)
			disk.mount(t)
		})
	}
	w.end(t)
}

// A lost connection takes what was under way; the hub stays, so nothing may come twice
// but QoS 1 with DUP.
func TestLostConnectionsLoseNothing(t *testing.T) {
	w := newPost(t, t.TempDir())
	w.hub = w.start(t)
	for range *cuts {
		w.live(t, func(*life) {
			w.crash()
			for _, p := range w.peers() {
				p.leave(false)
			}
		})
	}
	w.end(t)
}

// The intervals that lives have in turn, for what retained values are written.
var intervals = []time.Duration{0, time.Second, 5 * time.Minute}

// A post is who sends and who waits for it.
type post struct {
	house   *house
	hub     *life // lives on through what else would be a crash; nil: crashes are real
	lives   int
	boxes   []*mailbox
	writers []*writer
	starts  []time.Duration

	mu       sync.Mutex
	dark     bool // the crash has come: what arrives now does not count
	crashed  time.Time
	interval time.Duration
	streams  map[string]*stream
	owed     int      // sent since all the boxes were emptied
	late     []string // filters that the first box has subscribed to
	wrong    []string
	acked    int
	resent   int // with DUP
	again    int // unacknowledged ones that came twice
}

// More would be beyond the limit of a queue.
const mostOwed = 800

// A stream is what one publisher sends to one topic: numbers from 1 on.
type stream struct {
	sent      int
	pending   map[int]bool // not acknowledged
	forgotten map[int]bool // not acknowledged at some crash
	acks      []ack        // of this life
	found     int          // retained: at the last start
}

type ack struct {
	n      int
	at     time.Time
	judged bool
	sure   bool // retained: a crash can't have taken it
}

type writer struct {
	*peer
	qos    byte
	retain bool
}

// A mailbox is a session that is kept.
type mailbox struct {
	*peer
	qos  byte
	away bool
	seen map[string]*seen
}

type seen struct {
	most int
	got  map[int]bool
}

func newPost(t *testing.T, data string) *post {
	w := &post{house: newHouse(t, data, ""), streams: map[string]*stream{}}
	for _, wr := range []*writer{
		{&peer{id: "one-v3", version: 4}, 1, false},
		{&peer{id: "one-v5", version: 5}, 1, false},
		{&peer{id: "two-v3", version: 4, kept: true}, 2, false},
		{&peer{id: "two-v5", version: 5, kept: true}, 2, false},
		{&peer{id: "retain-v3", version: 4}, 1, true},
		{&peer{id: "retain-v5", version: 5}, 2, true},
	} {
		wr.got = func(packet) {}
		wr.acked = w.acknowledge
		w.writers = append(w.writers, wr)
	}
	for _, b := range []*mailbox{
		{peer: &peer{id: "here-v3", version: 4}, qos: 2},
		{peer: &peer{id: "here-v5", version: 5}, qos: 1},
		{peer: &peer{id: "away-v3", version: 4}, qos: 1, away: true},
		{peer: &peer{id: "away-v5", version: 5}, qos: 2, away: true},
	} {
		b.kept, b.seen = true, map[string]*seen{}
		b.got = func(p packet) { w.take(b, p) }
		w.boxes = append(w.boxes, b)
	}
	return w
}

func (w *post) peers() (all []*peer) {
	for _, wr := range w.writers {
		all = append(all, wr.peer)
	}
	for _, b := range w.boxes {
		all = append(all, b.peer)
	}
	return all
}

// content is what the nth message of a topic says.
func content(topic string, n int) string {
	return fmt.Sprintf("%s %d %s", topic, n, strings.Repeat(".", n*7919%900))
}

func numbered(topic, payload string) (n int, ok bool) {
	_, err := fmt.Sscanf(strings.TrimPrefix(payload, topic), "%d", &n)
	return n, err == nil && n > 0 && payload == content(topic, n)
}

// live is one life of the hub, which crashes at a random moment: now and then before
// all is delivered that the last one owed.
func (w *post) live(t *testing.T, crash func(*life)) {
	if t.Failed() {
		t.FailNow() // one loss brings others, which would only hide it
	}
	w.lives++
	hub := w.begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer w.hangUp()
	if w.lives%4 == 3 {
		var busy sync.WaitGroup
		for _, b := range w.boxes {
			busy.Go(func() { w.tell(t, b.connect(ctx, hub.tcp)) })
		}
		<-time.After(rand.N(30 * time.Millisecond))
		if w.hub != nil {
			busy.Wait() // a CONNECT that is given up may reach the hub after the next one, and take over
		}
		crash(hub)
		cancel()
		busy.Wait()
		return
	}
	w.collect(t, hub)
	w.compare(t, hub)
	var busy sync.WaitGroup
	for _, wr := range w.writers {
		busy.Go(func() { w.tell(t, w.write(ctx, hub, wr)) })
	}
	busy.Go(func() { w.tell(t, w.subscribeLate(ctx)) })
	<-time.After(100*time.Millisecond + rand.N(900*time.Millisecond))
	crash(hub)
	cancel()
	busy.Wait()
}

// end starts the hub for the last time.
func (w *post) end(t *testing.T) {
	w.lives++
	hub := w.begin(t)
	w.collect(t, hub)
	w.compare(t, hub)
	w.hangUp()
	hub.stop(t)
	t.Logf("%d crashes; exec to ready: %s", w.lives-1, spread(w.starts))
	startsSoon(t, w.starts)
	t.Logf("%d messages acknowledged; %d came again with DUP; %d that were not acknowledged came twice", w.acked, w.resent, w.again)
}

func (w *post) hangUp() {
	for _, p := range w.peers() {
		p.leave(false)
	}
}

func (w *post) start(t *testing.T) *life {
	t.Helper()
	w.interval = intervals[w.lives%len(intervals)]
	w.house.retain(t, w.interval)
	hub := w.house.start(t)
	w.starts = append(w.starts, hub.ready)
	if c := hub.complaints(false); len(c) > 0 {
		t.Errorf("in life %d the hub complains:\n%s", w.lives, strings.Join(c, "\n"))
	}
	return hub
}

func (w *post) begin(t *testing.T) *life {
	t.Helper()
	hub := w.hub
	if hub == nil {
		hub = w.start(t)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dark = false
	return hub
}

// retain sets the interval in the configuration.
func (h *house) retain(t *testing.T, interval time.Duration) {
	t.Helper()
	b, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	b = regexp.MustCompile(`(?m)^retained_interval.*\n`).ReplaceAll(b, nil)
	b = regexp.MustCompile(`(?m)^\[broker\]\n`).ReplaceAll(b, fmt.Appendf(nil, "[broker]\nretained_interval = \"%v\"\n", interval))
	if err := os.WriteFile(h.config, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// crash says that it comes now.
func (w *post) crash() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dark, w.crashed = true, time.Now()
	for topic, s := range w.streams {
		if w.hub == nil {
			maps.Copy(s.forgotten, s.pending)
		}
		for i, a := range s.acks {
			if !a.judged {
				// A second more: on a machine that is busy, the commit takes a while.
				old := w.crashed.Sub(a.at) > w.interval+time.Second
				s.acks[i].judged, s.acks[i].sure = true, w.hub != nil || w.interval == 0 || old || strings.Contains(topic, "/quiet/")
			}
		}
	}
}

// tell says what went wrong, unless it was the crash.
func (w *post) tell(t *testing.T, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.dark {
		t.Error("under load:", err)
	}
}

func (w *post) stream(topic string) *stream {
	s := w.streams[topic]
	if s == nil {
		s = &stream{pending: map[int]bool{}, forgotten: map[int]bool{}}
		w.streams[topic] = s
	}
	return s
}

// write is a publisher, which has a few messages under way.
func (w *post) write(ctx context.Context, hub *life, wr *writer) error {
	if !wr.kept {
		w.giveUp(wr)
	}
	if err := wr.connect(ctx, hub.tcp); err != nil {
		return err
	}
	quiet := 0
	return every(ctx, 4*time.Millisecond, func(int) error {
		select {
		case <-wr.gone():
			return fmt.Errorf("%s: %w", wr.id, wr.reason())
		default:
		}
		if wr.unacknowledged() >= 20 {
			return nil
		}
		topic := fmt.Sprintf("queue/%s/%d", wr.id, rand.IntN(3))
		if wr.retain {
			if topic = fmt.Sprintf("kept/%s/%d", wr.id, rand.IntN(3)); rand.IntN(4) == 0 {
				topic = fmt.Sprintf("kept/%s/quiet/%d/%d", wr.id, w.lives, quiet)
				quiet++
			}
		}
		w.mu.Lock()
		if w.dark || !wr.retain && w.owed >= mostOwed {
			w.mu.Unlock()
			return nil
		}
		if !wr.retain {
			w.owed++
		}
		s := w.stream(topic)
		s.sent++
		n := s.sent
		s.pending[n] = true
		w.mu.Unlock()
		wr.publish(topic, content(topic, n), wr.qos, wr.retain)
		return nil
	})
}

// giveUp forgets what a publisher without a session had under way.
func (w *post) giveUp(wr *writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, s := range w.streams {
		if strings.Contains(topic, "/"+wr.id+"/") {
			clear(s.pending)
		}
	}
}

func (w *post) acknowledge(p packet, code byte) {
	n, _ := numbered(p.topic, p.payload)
	w.mu.Lock()
	defer w.mu.Unlock()
	if code >= 0x80 && !w.dark { // a disk without power is full, so to speak
		w.wrong = append(w.wrong, fmt.Sprintf("message %d to %s is refused with %#x", n, p.topic, code))
	}
	if s := w.streams[p.topic]; s != nil && !w.dark {
		delete(s.pending, n)
		s.acks = append(s.acks, ack{n: n, at: time.Now()})
		w.acked++
	}
}

// take is a message that reaches a mailbox.
func (w *post) take(b *mailbox, p packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bad := func(format string, args ...any) {
		w.wrong = append(w.wrong, fmt.Sprintf("life %d: %s gets %s: ", w.lives, b.id, p.topic)+fmt.Sprintf(format, args...))
	}
	s := w.streams[p.topic]
	n, ok := numbered(p.topic, p.payload)
	if s == nil || !ok || n > s.sent {
		bad("%.60q, which was never sent", p.payload)
		return
	}
	got := b.seen[p.topic]
	if got == nil {
		got = &seen{got: map[int]bool{}}
		b.seen[p.topic] = got
	}
	switch {
	case n > got.most:
	case !got.got[n]:
		bad("%d after %d", n, got.most)
	case p.qos() == 1 && p.dup():
		w.resent++
	case s.forgotten[n]:
		w.again++
	default:
		bad("%d again, with QoS %d and DUP %v", n, p.qos(), p.dup())
	}
	got.most, got.got[n] = max(got.most, n), true
}

// subscribeLate has a session subscribe to something else while it is busy.
func (w *post) subscribeLate(ctx context.Context) error {
	filter := fmt.Sprint("late/", w.lives)
	if err := w.boxes[0].subscribe(ctx, filter, w.boxes[0].qos); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dark {
		w.late = append(w.late, filter)
	}
	return nil
}

// collect connects the sessions and waits for everything they must get. Those that
// ought to be away leave again.
func (w *post) collect(t *testing.T, hub *life) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	for _, b := range w.boxes {
		first := !b.begun
		if err := b.connect(ctx, hub.tcp); err != nil {
			t.Fatalf("life %d: %v", w.lives, err)
		}
		if first {
			if err := b.subscribe(ctx, "queue/#", b.qos); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What has been sent now comes after all that was owed, in the order of one topic.
	marker := &peer{id: "marker", version: 5, got: func(packet) {}, acked: w.acknowledge}
	if err := marker.connect(ctx, hub.tcp); err != nil {
		t.Fatal(err)
	}
	defer marker.leave(true)
	w.mu.Lock()
	topics := append([]string{"queue/marker"}, w.late...)
	w.late = nil
	var sends []func()
	for _, topic := range topics {
		s := w.stream(topic)
		s.sent++
		n := s.sent
		sends = append(sends, func() { marker.publish(topic, content(topic, n), 1, false) })
	}
	w.mu.Unlock()
	for _, send := range sends {
		send()
	}

	var missing []string
	if !within(patience, func() bool { missing = w.missing(); return len(missing) == 0 }) {
		t.Errorf("life %d: %d messages are lost, such as\n%s", w.lives, len(missing), strings.Join(missing[:min(10, len(missing))], "\n"))
	}
	for i, b := range w.boxes {
		select {
		case <-b.gone():
			t.Errorf("life %d: %s lost its connection: %v", w.lives, b.id, b.reason())
		default:
		}
		if b.away {
			b.leave((i+w.lives)%2 == 0)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, s := range w.streams {
		if !strings.HasPrefix(topic, "kept/") {
			s.acks = nil
		}
	}
	w.owed = 0
	if len(w.wrong) > 0 {
		t.Errorf("%d things are wrong, such as\n%s", len(w.wrong), strings.Join(w.wrong[:min(10, len(w.wrong))], "\n"))
		w.wrong = nil
	}
}

// missing is what was acknowledged and has not come.
func (w *post) missing() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, s := range w.streams {
		for i, b := range w.boxes {
			if strings.HasPrefix(topic, "kept/") || strings.HasPrefix(topic, "late/") && i > 0 {
				continue
			}
			if topic == "queue/marker" || strings.HasPrefix(topic, "late/") {
				if got := b.seen[topic]; got == nil || got.most < s.sent {
					list = append(list, fmt.Sprintf("%s does not get %s", b.id, topic))
				}
				continue
			}
			for _, a := range s.acks {
				if got := b.seen[topic]; got == nil || !got.got[a.n] {
					list = append(list, fmt.Sprintf("%s does not get %d of %s, acknowledged %v before the crash", b.id, a.n, topic, w.crashed.Sub(a.at)))
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// compare looks at the retained values.
func (w *post) compare(t *testing.T, hub *life) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	var mu sync.Mutex
	found, marked := map[string]string{}, false
	reader := &peer{id: "reader", version: 4, acked: func(packet, byte) {}, got: func(p packet) {
		mu.Lock()
		defer mu.Unlock()
		if p.topic == "last" {
			marked = true
		} else {
			found[p.topic] = p.payload
		}
	}}
	if err := reader.connect(ctx, hub.tcp); err != nil {
		t.Fatal(err)
	}
	defer reader.leave(true)
	reader.publish("last", "here", 1, true)
	// What is found by the second subscription comes after what the first one found.
	if err := errors.Join(reader.subscribe(ctx, "kept/#", 1), reader.subscribe(ctx, "last", 1)); err != nil {
		t.Fatal(err)
	}
	var wrong []string
	if !within(patience, func() bool { mu.Lock(); defer mu.Unlock(); return marked }) {
		t.Fatal("the reader does not get all retained values")
	}
	mu.Lock()
	defer mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, payload := range found {
		if w.streams[topic] == nil {
			wrong = append(wrong, fmt.Sprintf("%s is %.40q, and nobody ever sent that", topic, payload))
		}
	}
	for topic, s := range w.streams {
		if !strings.HasPrefix(topic, "kept/") {
			continue
		}
		least := s.found
		for _, a := range s.acks {
			if a.sure {
				least = max(least, a.n)
			}
		}
		n, ok := 0, true
		if found[topic] != "" {
			n, ok = numbered(topic, found[topic])
		}
		if !ok || n < least || n > s.sent {
			wrong = append(wrong, fmt.Sprintf("%s is %.40q, want a number from %d to %d", topic, found[topic], least, s.sent))
		}
		s.found, s.acks = n, nil
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Errorf("life %d: %d retained values are wrong, such as\n%s", w.lives, len(wrong), strings.Join(wrong[:min(10, len(wrong))], "\n"))
	}
}
