package hub

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"golang.org/x/tools/txtar"

	"hearth/gpio"
)

var update = flag.Bool("update", false, "rewrite what the stories expect; read the diff before you commit it")

// Each file in testdata/stories is a house, a timeline and what happened: a
// txtar archive of config.toml, timeline and expect. The real hub runs, with
// the real broker on pipes and simulated pins, on virtual time.
//
// The timeline, a line each: an offset from the start and
//
//	publish TOPIC PAYLOAD     some client publishes, QoS 1
//	retain TOPIC PAYLOAD      the same, retained
//	input NAME on|off         the contact of an input changes
//	page OUTPUT on|off        somebody switches on the page
//	reload FILE               FILE of the archive becomes config.toml: SIGHUP
//	restart DURATION          orderly stop, start again after DURATION
//	powercut DURATION         what is not on disk is lost; a new boot
//	device TOPIC ANSWER       from now on a device listens to TOPIC and repeats on ANSWER what it hears there
//	late TOPIC                a client that subscribes only now, and what it gets
//	clock unknown|known       whether NTP has set the clock
//	wait                      nothing, so that the story goes on until then
//
// start 2026-03-10T12:00:00 as its first line sets the clock.
//
// What is expected: every level change of an output pin, every message that is
// not the story's own, and with -- why -- in the archive every decision.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var got string
			synctest.Test(t, func(t *testing.T) {
				s := &story{t: t, dir: dir, files: archive.Files}
				got = s.play()
			})
			want := section(archive.Files, "expect")
			if got == want {
				return
			}
			if *update {
				for i := range archive.Files {
					if archive.Files[i].Name == "expect" {
						archive.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("what happened is\n%s\nwant\n%s", got, want)
		})
	}
}

func section(files []txtar.File, name string) string {
	for _, f := range files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// A story is one that is being played.
type story struct {
	t     *testing.T
	dir   string
	files []txtar.File

	began time.Time // of the bubble's clock
	start time.Time // what the house's clock said then
	known atomic.Bool
	boots int
	lives int

	stopping atomic.Bool // the hub is: no device answers any more
	sim      *gpio.Sim
	seen     map[string]int // of the history of each pin
	hub      *Hub
	stop     func() error
	client   *paho.Client
	ends     []func() // of the devices

	mu    sync.Mutex
	lines []line
}

// A line is something that happened.
type line struct {
	at   time.Duration
	rank int // among what happened at the same moment: pins, the hub's own topics by name, other topics each in order
	text string
}

func (s *story) happened(rank int, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line{time.Since(s.began), rank, fmt.Sprintf(format, args...)})
}

func (s *story) play() string {
	s.began, s.start = time.Now(), time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	s.known.Store(true)
	s.write("config.toml", section(s.files, "config.toml"))
	for _, f := range s.files {
		if strings.Contains(f.Name, "/") {
			s.write(f.Name, string(f.Data))
		}
	}
	steps := strings.Split(strings.TrimSpace(section(s.files, "timeline")), "\n")
	for len(steps) > 0 {
		fields := strings.Fields(steps[0])
		if at, ok := strings.CutPrefix(steps[0], "start "); ok {
			var err error
			if s.start, err = time.Parse("2006-01-02T15:04:05", strings.TrimSpace(at)); err != nil {
				s.t.Fatal(err)
			}
		} else if len(fields) == 3 && fields[0] == "clock" {
			s.known.Store(fields[1] == "known")
		} else {
			break
		}
		steps = steps[1:]
	}
	s.powerUp()
	for _, step := range steps {
		step, _, _ = strings.Cut(step, "  #")
		at, what, _ := strings.Cut(strings.TrimSpace(step), " ")
		if at == "" || at == "#" {
			continue
		}
		offset, err := time.ParseDuration(at)
		if err != nil {
			s.t.Fatalf("%q: %v", step, err)
		}
		time.Sleep(time.Until(s.began.Add(offset)))
		s.step(strings.TrimSpace(what))
		synctest.Wait()
		s.watchPins()
	}
	told := s.told() // without the end of the test
	s.stopping.Store(true)
	if err := s.stop(); err != nil {
		s.t.Error("stop:", err)
	}
	return told
}

func (s *story) step(what string) {
	word, rest, _ := strings.Cut(what, " ")
	first, second, _ := strings.Cut(strings.TrimSpace(rest), " ")
	second = strings.TrimSpace(second)
	switch word {
	case "publish", "retain":
		if _, err := s.client.Publish(context.Background(), &paho.Publish{Topic: first, Payload: []byte(second), QoS: 1, Retain: word == "retain"}); err != nil {
			s.happened(3, "%s refused: %v", first, err)
		}
	case "input":
		if err := s.hub.pins.Drive(first, second == "on"); err != nil {
			s.t.Fatal(err)
		}
	case "page":
		if err := (page{s.hub}).Switch(context.Background(), first, second == "on"); err != nil {
			s.happened(3, "the page says: %v", err)
		}
	case "reload":
		s.write("config.toml", section(s.files, first))
		cfg, doc := Load(filepath.Join(s.dir, "config.toml"))
		err := doc.Err()
		if err == nil {
			cfg.Hub.Data = s.dataDir()
			err = s.hub.Reload(cfg)
		}
		if err != nil {
			s.happened(3, "not reloaded: %s", strings.ReplaceAll(err.Error(), s.dir+"/", ""))
		}
	case "restart":
		again := s.after(first)
		s.stopping.Store(true)
		if err := s.stop(); err != nil {
			s.t.Error("stop:", err)
		}
		s.watchPins()
		time.Sleep(time.Until(again))
		s.live()
	case "powercut":
		again := s.after(first)
		synctest.Wait()
		s.watchPins()
		s.stopping.Store(true)
		old, stop := s.dataDir(), s.stop
		s.lives++
		if err := os.CopyFS(s.dataDir(), os.DirFS(old)); err != nil {
			s.t.Fatal(err)
		}
		s.happened(4, "the power is gone")
		n := len(s.lines)
		if err := stop(); err != nil {
			s.t.Error("stop:", err)
		}
		s.lines = s.lines[:n] // what the old life does from now on never happened
		time.Sleep(time.Until(again))
		s.happened(-1, "the power is back")
		s.powerUp()
	case "device":
		s.device(first, second)
	case "late":
		var got []string
		late, end := connect(s.t, s.hub, "late", func(p *paho.Publish) { got = append(got, fmt.Sprintf("late: %s %s%s", p.Topic, p.Payload, flagged(p))) })
		if _, err := late.Subscribe(context.Background(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: first, QoS: 1}}}); err != nil {
			s.t.Fatal(err)
		}
		synctest.Wait()
		end()
		slices.Sort(got)
		for _, g := range got {
			s.happened(3, "%s", g)
		}
	case "clock":
		s.known.Store(first == "known")
	case "wait":
	default:
		s.t.Fatalf("%q is no step", what)
	}
}

// after is the moment d from now, however long what comes meanwhile takes.
func (s *story) after(d string) time.Time {
	downtime, err := time.ParseDuration(d)
	if err != nil {
		s.t.Fatal(err)
	}
	return time.Now().Add(downtime)
}

func (s *story) write(name, text string) {
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) dataDir() string { return filepath.Join(s.dir, fmt.Sprint("data", s.lives)) }

// powerUp is a board that gets power: no pin is driven, a new boot.
func (s *story) powerUp() {
	s.boots++
	s.sim, s.seen = gpio.NewSim(), make(map[string]int)
	s.live()
}

// wall is the board's clock: without NTP it begins in 1970.
func (s *story) wall() time.Time {
	if !s.known.Load() {
		return time.Unix(0, 0).UTC().Add(time.Since(s.began))
	}
	return s.start.Add(time.Since(s.began))
}

// live starts the hub.
func (s *story) live() {
	cfg, doc := Load(filepath.Join(s.dir, "config.toml"))
	if err := doc.Err(); err != nil {
		s.t.Fatal(err)
	}
	cfg.Hub.Data = s.dataDir()
	hub, err := New(cfg, Options{
		Seed:    1, // so that the house has the same name each time
		Bank:    s.sim,
		Offline: true,
		Clock: Clock{
			Mono:  func() time.Duration { return time.Since(s.began) + time.Second },
			Wall:  s.wall,
			Known: s.known.Load,
			Boot:  fmt.Sprint("boot ", s.boots),
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.hub = hub
	s.stopping.Store(false)
	synctest.Wait()
	client, disconnect := connect(s.t, s.hub, "story", func(p *paho.Publish) {
		if strings.HasPrefix(p.Topic, "homeassistant/device/") {
			return // a long line, which its own tests read
		}
		rank := 2
		if strings.HasPrefix(p.Topic, "hearth/") {
			rank = 1
		}
		s.happened(rank, "%s %s%s", p.Topic, p.Payload, flagged(p))
	})
	s.client = client
	if _, err := client.Subscribe(context.Background(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
		{Topic: "#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}); err != nil {
		s.t.Fatal(err)
	}
	// Everybody is connected when the loop begins to turn, so that the story sees
	// the first thing it does.
	s.ends = nil
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if slices.ContainsFunc(s.files, func(f txtar.File) bool { return f.Name == "why" }) {
		events, _ := page{hub}.Watch()
		go func() {
			for e := range events {
				if e.Decision != nil {
					s.happened(0, "why: %s", e.Decision.Text)
				}
			}
		}()
	}
	go func() { ended <- hub.Run(ctx) }()
	synctest.Wait()
	s.watchPins()
	s.stop = func() error {
		cancel()
		err := <-ended
		synctest.Wait()
		disconnect()
		for _, end := range s.ends {
			end()
		}
		return err
	}
}

// device is one that does what it is told and says so.
func (s *story) device(topic, answer string) {
	var client *paho.Client
	heard := make(chan []byte, 100)
	client, end := connect(s.t, s.hub, "device "+topic, func(p *paho.Publish) { heard <- p.Payload })
	if _, err := client.Subscribe(context.Background(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // not on the goroutine that reads the connection
		defer close(done)
		for payload := range heard {
			// As devices do; and so the order of what is heard is always the same.
			if time.Sleep(20 * time.Millisecond); s.stopping.Load() {
				continue
			}
			client.Publish(context.Background(), &paho.Publish{Topic: answer, Payload: payload})
		}
	}()
	s.ends = append(s.ends, func() {
		end()
		close(heard)
		<-done
	})
}

// connect is an MQTT client on a pipe; end disconnects it.
func connect(t *testing.T, h *Hub, id string, got func(*paho.Publish)) (client *paho.Client, end func()) {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		h.Attach(theirs)
	}()
	client = paho.NewClient(paho.ClientConfig{
		ClientID:      id,
		Conn:          packets.NewThreadSafeConn(ours),
		PacketTimeout: time.Hour, // an acknowledgement may be withheld for long
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			got(p.Packet)
			return true, nil
		}},
	})
	if _, err := client.Connect(t.Context(), &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 3600}); err != nil {
		t.Fatal(err)
	}
	return client, func() {
		client.Disconnect(&paho.Disconnect{})
		ours.Close()
		<-served
		<-client.Done()
	}
}

func flagged(p *paho.Publish) string {
	if p.Retain {
		return " (retained)"
	}
	return ""
}

// watchPins notes how the levels of the output pins changed since it last looked.
func (s *story) watchPins() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pin := range s.sim.Names() {
		history := s.sim.History(pin)
		for i, h := range history {
			if i < s.seen[pin] || !h.Driven || i > 0 && history[i-1].Level == h.Level {
				continue
			}
			s.lines = append(s.lines, line{h.At.Sub(s.began), 0, fmt.Sprintf("%s %s", pin, strings.ToLower(h.Level.String()))})
		}
		s.seen[pin] = len(history)
	}
}

func (s *story) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.lines, func(a, b line) int {
		c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.rank, b.rank))
		switch {
		case c == 0 && a.rank == 1:
			c = cmp.Compare(a.text, b.text)
		case c == 0 && a.rank == 2: // MQTT keeps the order of a topic, not that of several
			of, _, _ := strings.Cut(a.text, " ")
			than, _, _ := strings.Cut(b.text, " ")
			c = cmp.Compare(of, than)
		}
		return c
	})
	var b bytes.Buffer
	for _, l := range s.lines {
		fmt.Fprintf(&b, "%-8s %s\n", l.at.Round(time.Millisecond), l.text)
	}
	return b.String()
}
