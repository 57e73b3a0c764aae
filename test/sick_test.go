package test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A tmpfs that is full has no room for what must be kept.
func TestFullTmpfs(t *testing.T) {
	if !alone(t) {
		return
	}
	d := &disk{dir: t.TempDir()}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "hearth", d.dir).CombinedOutput(); err != nil {
		missing(t, "right to mount a tmpfs: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", d.dir).Run() })
	sickDisk(t, filepath.Join(d.dir, "data"), "no space left",
		func(*life) func() {
			d.fill(t)
			return func() { d.empty(t) }
		})
}

// A disk of which no sync succeeds may have kept what was written, or not. strace
// makes the kernel say so to the hub.
func TestFailingSyncs(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		missing(t, "strace")
	}
	sickDisk(t, t.TempDir(), "input/output error", func(hub *life) func() {
		pid := hub.cmd.Process.Pid
		cmd := exec.Command("strace", "-f", "-o", os.DevNull, "-e", "trace=fsync,fdatasync",
			"-e", "inject=fsync,fdatasync:error=EIO", "-p", strconv.Itoa(pid))
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { cmd.Process.Kill() })
		if !within(patience, func() bool { return traced(pid) || len(ended) > 0 }) || len(ended) > 0 {
			cmd.Process.Kill()
			<-ended
			missing(t, "right to trace the hub: %s", said.String())
		}
		return func() {
			cmd.Process.Signal(syscall.SIGINT)
			select {
			case <-ended:
			case <-time.After(patience):
				t.Fatal("strace does not end")
			}
		}
	})
}

// traced says whether each thread of a process has a tracer.
func traced(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err != nil || strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(tasks) > 0
}

// A sender publishes numbered messages: what has to wait for a session that is
// away, and retained values in turn.
type sender struct {
	*peer
	qos     byte
	mu      sync.Mutex
	sent    []string // topics
	ok      map[int]bool
	refused map[int]byte
}

func newSender(id string, version, qos byte) *sender {
	s := &sender{peer: &peer{id: id, version: version}, qos: qos, ok: map[int]bool{}, refused: map[int]byte{}}
	s.got = func(packet) {}
	s.acked = func(p packet, code byte) {
		n, _ := numbered(p.topic, p.payload)
		s.mu.Lock()
		defer s.mu.Unlock()
		if code >= 0x80 {
			s.refused[n] = code
		} else {
			s.ok[n] = true
		}
	}
	return s
}

func (s *sender) send() (n int) {
	s.mu.Lock()
	n = len(s.sent) + 1
	topic := "queue/" + s.id
	if n%2 == 0 {
		topic = fmt.Sprintf("kept/%s/%d", s.id, n)
	}
	s.sent = append(s.sent, topic)
	s.mu.Unlock()
	s.publish(topic, content(topic, n), s.qos, n%2 == 0)
	return n
}

// state is how many were sent, acknowledged and refused.
func (s *sender) state() (sent, ok, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent), len(s.ok), len(s.refused)
}

func (s *sender) answered(n int) (ok, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ok[n], s.refused[n] != 0
}

// sickDisk is the story of a disk that falls ill under a hub and is healed. Whoever
// sends what must be kept is not told that it is, while it is not: a client of
// version 5 hears that there is no space, one of version 3 nothing. Meanwhile
// the house goes on, and afterwards everything is as it was by itself.
func sickDisk(t *testing.T, data, reason string, fall func(*life) (heal func())) {
	house := newHouse(t, data, porch)
	house.retain(t, 0)
	hub := house.start(t)
	ctx, done := context.WithTimeout(t.Context(), 5*patience)
	defer done()
	away := &mailbox{peer: &peer{id: "away", version: 4, kept: true, acked: func(packet, byte) {}, got: func(packet) {}}}
	if err := away.connect(ctx, hub.tcp); err != nil {
		t.Fatal(err)
	}
	if err := away.subscribe(ctx, "queue/#", 2); err != nil {
		t.Fatal(err)
	}
	away.leave(true)

	senders := []*sender{newSender("one-v3", 4, 1), newSender("two-v3", 4, 2), newSender("one-v5", 5, 1), newSender("two-v5", 5, 2)}
	for _, s := range senders {
		if err := s.connect(ctx, hub.tcp); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			s.send()
		}
		eventually(t, "everything is acknowledged in peace", func() bool { _, ok, _ := s.state(); return ok == 10 })
	}
	lamp := hub.client(t, "lamp", "hearth/porch_light/state", "free/#")
	lamp.expect(t, "hearth/porch_light/state", "OFF")

	heal := fall(hub)
	// The log has room for some more, so that is used up: until nobody is told so for a
	// second, or a client is told that there is no space.
	glutton := &peer{id: "glutton", version: 5, got: func(packet) {}}
	taken, refused := make(chan bool, 1), 0
	glutton.acked = func(_ packet, code byte) { taken <- code < 0x80 }
	if err := glutton.connect(ctx, hub.tcp); err != nil {
		t.Fatal(err)
	}
	for n, full := 0, false; !full; n++ {
		if n > 200 {
			t.Fatal("the disk is sick, and 12 MB were kept on it")
		}
		glutton.publish(fmt.Sprint("glutton/", n), strings.Repeat("x", 60<<10), 1, true)
		select {
		case ok := <-taken:
			full = !ok
		case <-time.After(time.Second):
			full = true
		}
	}
	eventually(t, "the page says that the disk refuses", func() bool {
		return slices.ContainsFunc(hub.view(t).Trouble, func(s string) bool { return strings.Contains(s, reason) })
	})

	began := time.Now()
	before := map[*sender]int{}
	for range 5 {
		for _, s := range senders {
			n := s.send()
			before[s] = cmp.Or(before[s], n)
		}
	}
	times := switches(t, lamp, 100)
	free := &peer{id: "free", version: 4, got: func(packet) {}, acked: func(packet, byte) {}}
	if err := free.connect(ctx, hub.tcp); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		free.publish(fmt.Sprint("free/", n), "QoS 0", 0, false)
		lamp.expect(t, fmt.Sprint("free/", n), "QoS 0")
	}
	lamp.send(t, "zigbee2mqtt/hall_motion", `{"occupancy":true}`, false)
	lamp.expect(t, "hearth/porch_light/state", "ON")
	t.Logf("meanwhile switch to state: %s", spread(times))
	if left := 2*time.Second - time.Since(began); left > 0 {
		<-time.After(left) // for an answer that ought not to come
	}
	for _, s := range senders {
		for n := before[s]; n < before[s]+5; n++ {
			switch ok, no := s.answered(n); {
			case ok:
				t.Errorf("%s: message %d is acknowledged, but can't be on disk", s.id, n)
			case no && s.version == 4:
				t.Errorf("%s: message %d is refused, which version 3 can't", s.id, n)
			case no:
				refused++
			}
		}
	}
	for _, s := range senders {
		s.mu.Lock()
		for n, code := range s.refused {
			if code != noSpace {
				t.Errorf("%s: message %d is refused with %#x, want %#x, quota exceeded", s.id, n, code, noSpace)
			}
		}
		s.mu.Unlock()
	}
	t.Logf("%d of the 10 messages of version 5 were refused", refused)
	if !hub.alive() {
		t.Fatal("the hub is gone:", hub.status)
	}

	heal()
	began = time.Now()
	for _, s := range senders {
		eventually(t, s.id+": what had to wait is acknowledged when the disk is well", func() bool {
			sent, ok, no := s.state()
			return sent == ok+no
		})
		eventually(t, s.id+": what is sent now is acknowledged", func() bool {
			n := s.send()
			within(patience/4, func() bool { ok, no := s.answered(n); return ok || no })
			ok, _ := s.answered(n)
			return ok
		})
	}
	t.Logf("all were answered %v after the disk was well", time.Since(began))
	eventually(t, "the page says nothing of the disk any more", func() bool {
		return !slices.ContainsFunc(hub.view(t).Trouble, func(s string) bool { return strings.Contains(s, "disk") })
	})

	// All that was ever acknowledged is there after a crash.
	for _, s := range senders {
		s.leave(false)
	}
	hub.kill()
	hub = house.start(t)
	got := receive(t, hub, []*peer{away.peer})
	for _, s := range senders {
		for n := range s.ok {
			topic := s.sent[n-1]
			if !slices.Contains(got.queued[away.id][topic], n) && n%2 == 1 || n%2 == 0 && got.kept[topic] != n {
				t.Errorf("message %d to %s was acknowledged and is lost", n, topic)
			}
		}
	}
	for _, w := range got.wrong {
		t.Error(w)
	}
}

// received is what a hub has kept.
type received struct {
	lost   []string                    // sessions that it does not know
	queued map[string]map[string][]int // by session and topic, in the order in which they came
	kept   map[string]int
	wrong  []string
}

// receive connects sessions and takes what they and a new client get.
func receive(t *testing.T, hub *life, sessions []*peer) *received {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	var mu sync.Mutex
	r := &received{queued: map[string]map[string][]int{}, kept: map[string]int{}}
	marked := map[string]bool{}
	connect := func(p *peer, first bool) {
		queued := map[string][]int{}
		if !first {
			r.queued[p.id] = queued
		}
		p.got = func(q packet) {
			mu.Lock()
			defer mu.Unlock()
			if q.topic == "marker" || q.topic == "last" {
				marked[p.id] = true
				return
			}
			n, ok := numbered(q.topic, q.payload)
			switch {
			case !ok && !strings.HasPrefix(q.topic, "glutton/"):
				r.wrong = append(r.wrong, fmt.Sprintf("%s gets %s %.60q, which nobody ever sent", p.id, q.topic, q.payload))
			case first:
				r.kept[q.topic] = n
			default:
				queued[q.topic] = append(queued[q.topic], n)
			}
		}
		p.acked = func(packet, byte) {}
		err := p.connect(ctx, hub.tcp)
		if errors.Is(err, errSessionLost) {
			r.lost = append(r.lost, p.id)
			p.begun = false
			err = p.connect(ctx, hub.tcp)
		}
		if err != nil {
			t.Fatal(err)
		}
		if first {
			p.publish("last", "here", 1, true)
			// What is found by the second subscription comes after what the first one found.
			err = errors.Join(p.subscribe(ctx, "kept/#", 1), p.subscribe(ctx, "last", 1))
		} else {
			err = p.subscribe(ctx, "marker", 1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reader := &peer{id: "reader", version: 4}
	connect(reader, true)
	for _, p := range sessions {
		connect(p, false)
	}
	// Behind all that had been queued.
	reader.publish("marker", "", 1, false)
	if !within(patience, func() bool { mu.Lock(); defer mu.Unlock(); return len(marked) == len(sessions)+1 }) {
		t.Fatalf("what comes last came only to %v", marked)
	}
	reader.leave(true)
	for _, p := range sessions {
		p.leave(false)
	}
	mu.Lock()
	defer mu.Unlock()
	return r
}

// A bit that flips costs its record at most. It is reported, and nobody gets what was
// never sent.
func TestFlippedBits(t *testing.T) {
	flips := 25
	if inCI {
		flips = 500
	}
	data := t.TempDir()
	house := newHouse(t, data, "")
	house.retain(t, 0)
	hub := house.start(t)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	one := &peer{id: "away-v3", version: 4, kept: true, got: func(packet) {}, acked: func(packet, byte) {}}
	two := &peer{id: "away-v5", version: 5, kept: true, got: func(packet) {}, acked: func(packet, byte) {}}
	for qos, p := range []*peer{1: one, 2: two} {
		if p == nil {
			continue
		}
		if err := p.connect(ctx, hub.tcp); err != nil {
			t.Fatal(err)
		}
		if err := p.subscribe(ctx, "queue/#", byte(qos)); err != nil {
			t.Fatal(err)
		}
		p.leave(true)
	}
	senders := []*sender{newSender("one-v3", 4, 1), newSender("two-v5", 5, 2)}
	const each = 100
	for _, s := range senders {
		if err := s.connect(ctx, hub.tcp); err != nil {
			t.Fatal(err)
		}
		for range each {
			s.send()
			eventually(t, "not too many are under way", func() bool { return s.unacknowledged() < 20 })
		}
		eventually(t, "all are acknowledged", func() bool { _, ok, _ := s.state(); return ok == each })
		s.leave(true)
	}
	hub.stop(t)
	good, err := os.ReadFile(filepath.Join(data, "hearth.log"))
	if err != nil {
		t.Fatal(err)
	}
	used := len(strings.TrimRight(string(good), "\x00"))

	var starts []time.Duration
	reported, costly, sessions := 0, 0, 0
	for range flips {
		bit := rand.IntN(used * 8)
		bad := slices.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(filepath.Join(data, "hearth.log"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		one.in, two.in = map[uint16]bool{}, map[uint16]bool{} // as they were then
		hub := house.start(t)
		starts = append(starts, hub.ready)
		r := receive(t, hub, []*peer{one, two})
		missing := len(r.lost)
		sessions += len(r.lost)
		for _, s := range senders {
			for n := 1; n <= each; n++ {
				topic := s.sent[n-1]
				if n%2 == 0 {
					if r.kept[topic] != n {
						missing++
					}
					continue
				}
				for _, id := range []string{one.id, two.id} {
					if !slices.Contains(r.queued[id][topic], n) {
						missing++
					}
				}
			}
		}
		for id, topics := range r.queued {
			for topic, numbers := range topics {
				if !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != len(numbers) {
					t.Errorf("bit %d: %s gets %s in the order %v", bit, id, topic, numbers)
				}
			}
		}
		for _, w := range r.wrong {
			t.Errorf("bit %d: %s", bit, w)
		}
		damage := slices.ContainsFunc(hub.lines(), func(line string) bool { return strings.Contains(line, "damaged record") })
		if damage {
			reported++
		}
		if missing > 0 {
			costly++
			if !damage {
				t.Errorf("bit %d of %d: %d messages and values are lost, and nothing is reported", bit, used*8, missing)
			}
		}
		hub.kill()
	}
	t.Logf("%d flips in %d bytes: %d reported, %d cost something, a session %d times; exec to ready: %s", flips, used, reported, costly, sessions, spread(starts))
	startsSoon(t, starts)
	if reported < flips/2 {
		t.Errorf("only %d of %d flips were reported", reported, flips)
	}
}
