package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"hearth/broker"
	"hearth/devices"
	"hearth/gpio"
	"hearth/store"
)

// load writes a configuration into dir and loads it.
func load(t *testing.T, dir, text string) *Config {
	t.Helper()
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, doc := Load(path)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func testClock() Clock {
	began := time.Now()
	return Clock{Mono: func() time.Duration { return time.Since(began) }, Wall: time.Now, Known: func() bool { return true }, Boot: "test"}
}

// start runs a hub without listeners; stop ends it and checks how.
func start(t *testing.T, cfg *Config, opt Options) (h *Hub, stop func()) {
	t.Helper()
	h, run := open(t, cfg, opt)
	return h, run()
}

// open is start in two steps: run lets the loop turn.
func open(t *testing.T, cfg *Config, opt Options) (h *Hub, run func() (stop func())) {
	t.Helper()
	opt.Offline = true
	if opt.Clock.Boot == "" {
		opt.Clock = testClock()
	}
	h, err := New(cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	return h, func() func() {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Logf("Run: %v", err)
			}
		}
	}
}

func publish(t *testing.T, c *paho.Client, qos byte, topic, payload string) {
	t.Helper()
	if _, err := c.Publish(t.Context(), &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos}); err != nil {
		t.Errorf("publish %s: %v", topic, err)
	}
}

// levels is how the level of an output pin changed.
func levels(sim *gpio.Sim, pin string) string {
	var b strings.Builder
	for _, s := range sim.History(pin) {
		if s.Driven {
			b.WriteString(map[bool]string{true: "1", false: "0"}[bool(s.Level)])
		}
	}
	return b.String()
}

const twoLamps = `
[output.good]
pin = "GPIO5"
[output.stuck]
pin = "GPIO6"
[link.good]
from = "a/good"
to = "good"
[link.stuck]
from = "a/stuck"
to = "stuck"
[link.out]
from = "a/out"
to = "b/out"
[rule.bell]
trigger = { event = "a/bell" }
action = { pulse = "good", for = "1m" }
`

// A relay board on a stuck bus: its commands wait, in their order, and nobody
// else waits with them.
func TestAPinThatHangsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), twoLamps), Options{Bank: sim})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		sim.Hang("GPIO6", true)
		for range 5 {
			publish(t, client, 1, "a/stuck", "on")
			publish(t, client, 1, "a/stuck", "off")
			publish(t, client, 1, "a/good", "on")
			publish(t, client, 1, "a/good", "off")
		}
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "01010101010" {
			t.Errorf("the good pin went %s while the other hung", got)
		}
		if got := levels(sim, "GPIO6"); got != "0" {
			t.Errorf("the stuck pin went %s", got)
		}
		time.Sleep(time.Minute)
		view, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if view.Outputs[1].Fault == "" {
			t.Error("nobody says that the pin hangs")
		}
		sim.Hang("GPIO6", false)
		synctest.Wait()
		if got := levels(sim, "GPIO6"); got != "01010101010" {
			t.Errorf("the stuck pin went %s once it was free: not every command, in order", got)
		}
		end()
		stop()
	})
}

// A broker that takes nothing for an hour: the pins go on, and what was to be
// said is said afterwards, in order, each command of it.
func TestABrokerThatTakesNothingDelaysNoPin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		var mu sync.Mutex
		var said []string
		blocked := make(chan struct{})
		h, stop := start(t, load(t, t.TempDir(), twoLamps), Options{Bank: sim, publish: func(m broker.Message) error {
			<-blocked
			mu.Lock()
			defer mu.Unlock()
			if m.Topic == "b/out" {
				said = append(said, string(m.Payload))
			}
			return nil
		}})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		var want []string
		for i := range 1000 {
			word := []string{"ON", "OFF"}[i%2]
			want = append(want, word)
			publish(t, client, 1, "a/out", word)
			publish(t, client, 1, "a/good", word)
		}
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "0"+strings.Repeat("10", 500) {
			t.Errorf("the pin went %s", got)
		}
		time.Sleep(time.Hour)
		close(blocked)
		synctest.Wait()
		if !slices.Equal(said, want) {
			t.Errorf("%d messages were said, want the %d in order", len(said), len(want))
		}
		end()
		stop()
	})
}

// A full disk: rules, pins and messages go on; a pulse waits a moment for the
// disk and rings all the same; the page says what is wrong. When there is room
// again everything is kept.
func TestAFullDiskKeepsNothingFromWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, dir, disk := gpio.NewSim(), t.TempDir(), new(store.Faulty)
		cfg := load(t, dir, twoLamps)
		h, stop := start(t, cfg, Options{Bank: sim, FS: disk})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		synctest.Wait()
		disk.FailWrites(syscall.ENOSPC)
		publish(t, client, 1, "a/stuck", "on")
		began := time.Now()
		publish(t, client, 1, "a/bell", "x")
		synctest.Wait()
		if got := levels(sim, "GPIO6"); got != "01" {
			t.Errorf("a link went %s on a full disk", got)
		}
		for !strings.HasSuffix(levels(sim, "GPIO5"), "1") {
			if time.Since(began) > 10*time.Second {
				t.Fatal("the bell never rang")
			}
			time.Sleep(50 * time.Millisecond)
		}
		if d := time.Since(began); d < journalPatience || d > journalPatience+100*time.Millisecond {
			t.Errorf("the bell rang after %v, want after the patience with the disk", d)
		}
		view, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(view.Trouble) != 1 || !strings.Contains(view.Trouble[0], "the disk refuses") {
			t.Errorf("trouble: %q", view.Trouble)
		}
		disk.FailWrites(nil)
		time.Sleep(30 * time.Second)
		end()
		stop()
		// The pulse was owed its off; the next life knows.
		h, stop = start(t, cfg, Options{Bank: sim})
		if view, err = (page{h}).View(t.Context()); err != nil || len(view.Waiting) != 1 {
			t.Errorf("after a restart the rules wait for %q, %v", view.Waiting, err)
		}
		stop()
	})
}

// Retained values are on disk before they are acknowledged: on a full disk the
// publisher is told that there is no space, and may try again when there is.
func TestAFullDiskAcknowledgesNoValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := new(store.Faulty)
		h, stop := start(t, load(t, t.TempDir(), twoLamps), Options{Bank: gpio.NewSim(), FS: disk})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		synctest.Wait()
		disk.FailWrites(syscall.ENOSPC)
		kept := func() (byte, error) {
			ctx, done := context.WithTimeout(t.Context(), time.Minute)
			defer done()
			ack, err := client.Publish(ctx, &paho.Publish{Topic: "some/state", Payload: []byte("kept"), QoS: 1, Retain: true})
			if ack == nil {
				return 0, err
			}
			return ack.ReasonCode, err
		}
		// The first one is refused when the disk has refused, the second at once.
		for range 2 {
			if code, err := kept(); err == nil || code != packets.PubackQuotaExceeded {
				t.Errorf("on a full disk it is answered with %#x and %v", code, err)
			}
		}
		disk.FailWrites(nil)
		time.Sleep(10 * time.Second)
		if code, err := kept(); err != nil || code >= 0x80 {
			t.Errorf("with room again it is answered with %#x and %v", code, err)
		}
		end()
		stop()
	})
}

// The loop stands still, as it never should, and messages pour in. Senders of
// QoS 1 wait, and nothing of theirs is lost; QoS 0 is dropped and counted; of
// numbers that no trigger counts the newest stays; commands never merge.
func TestWhenTheInboxIsFullQoS1WaitsAndQoS0IsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, run := open(t, load(t, t.TempDir(), twoLamps+`
			[rule.warm]
			trigger = { state = "room/t", above = 25 }
			action = { set = "stuck", to = true }`), Options{Bank: sim})
		h.inbox.mu.Lock()
		h.inbox.size = 16
		h.inbox.mu.Unlock()
		chatty, endChatty := connect(t, h, "chatty", func(*paho.Publish) {})
		for i := range 100 {
			publish(t, chatty, 0, "room/t", fmt.Sprint(i))
		}
		for range 40 {
			publish(t, chatty, 0, "a/out", "on") // a link looks at each
		}
		synctest.Wait()
		waiting, merged, dropped := h.inbox.counts()
		if waiting != 16 || merged != 92 || dropped != 32 {
			t.Errorf("%d wait, %d merged, %d dropped; want 16 = 8 numbers and 8 messages, 92 and 32", waiting, merged, dropped)
		}
		careful, endCareful := connect(t, h, "careful", func(*paho.Publish) {})
		sent := make(chan int, 1)
		go func() {
			n := 0
			for i := range 50 {
				if _, err := careful.Publish(t.Context(), &paho.Publish{Topic: "a/good", Payload: []byte([]string{"on", "off"}[i%2]), QoS: 1}); err == nil {
					n++
				}
			}
			sent <- n
		}()
		time.Sleep(time.Minute)
		select {
		case <-sent:
			t.Error("QoS 1 was acknowledged although nobody took it")
		default:
		}
		stop := run()
		if n := <-sent; n != 50 {
			t.Errorf("%d of 50 were acknowledged", n)
		}
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "0"+strings.Repeat("10", 25) {
			t.Errorf("the pin went %s, want all 50 commands in order", got)
		}
		if got := levels(sim, "GPIO6"); got != "01" {
			t.Errorf("the newest temperature did not arrive: the pin went %s", got)
		}
		endChatty()
		endCareful()
		stop()
	})
}

// Thirty minutes of a for rule, in process: the real broker over a pipe, the
// loop, simulated pins.
func TestHalfAnHourPassesInAMoment(t *testing.T) {
	real := time.Now()
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), `
			[output.hall]
			pin = "GPIO5"
			[rule.on]
			trigger = { state = "hall/motion", is = true }
			action = { set = "hall", to = true }
			[rule.off]
			trigger = { state = "hall/motion", is = false, for = "30m" }
			action = { set = "hall", to = false }`), Options{Bank: sim})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		publish(t, client, 1, "hall/motion", "on")
		publish(t, client, 1, "hall/motion", "off")
		time.Sleep(30*time.Minute - time.Millisecond)
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "01" {
			t.Errorf("before the half hour is over the pin went %s", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "010" {
			t.Errorf("after the half hour the pin went %s", got)
		}
		end()
		stop()
	})
	t.Logf("30 virtual minutes took %v", time.Since(real))
}

// The watchdog is fed by the loop, so it starves when the loop stands still.
func TestAliveComesFromTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beats := 0
		h, stop := start(t, load(t, t.TempDir(), ``), Options{Bank: gpio.NewSim(), Alive: func() { beats++ }})
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if beats != 10 {
			t.Errorf("%d beats in 10 s", beats)
		}
		standing := make(chan struct{})
		h.inbox.always(&item{control: func() { <-standing }})
		time.Sleep(time.Minute)
		synctest.Wait()
		if beats != 10 {
			t.Errorf("%d beats while the loop stood still", beats-10)
		}
		close(standing)
		stop()
	})
}

// A deadline and the message that takes it away are both late, for the loop was
// busy: the message came first, so it counts first.
func TestWhatCameBeforeADeadlineCountsBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), `
			[output.siren]
			pin = "GPIO5"
			[rule.alarm]
			trigger = { state = "door/open", is = true, for = "10s" }
			action = { set = "siren", to = true }`), Options{Bank: sim})
		client, end := connect(t, h, "door", func(*paho.Publish) {})
		for range 20 { // the select of the loop chooses at random
			publish(t, client, 1, "door/open", "on")
			synctest.Wait()
			time.Sleep(9 * time.Second)
			busy := make(chan struct{})
			h.inbox.always(&item{control: func() { <-busy }})
			publish(t, client, 1, "door/open", "off")
			time.Sleep(5 * time.Second)
			close(busy)
			synctest.Wait()
		}
		if got := levels(sim, "GPIO5"); got != "0" {
			t.Errorf("the siren went %s", got)
		}
		end()
		stop()
	})
}

// A reload that can't be carried out changes nothing at all.
func TestAReloadThatFailsChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, dir := gpio.NewSim(), t.TempDir()
		cfg := load(t, dir, twoLamps)
		h, stop := start(t, cfg, Options{Bank: sim})
		synctest.Wait()
		for _, c := range []struct{ text, want string }{
			{strings.Replace(twoLamps, "GPIO6", "GPIO77", 1), "GPIO77"},
			{twoLamps + "[hub]\ndata = \"elsewhere\"\n", "only a restart can move"},
		} {
			if err := h.Reload(load(t, dir, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("reload: %v, want %q", err, c.want)
			}
		}
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		publish(t, client, 1, "a/stuck", "on")
		synctest.Wait()
		if got := levels(sim, "GPIO6"); got != "01" {
			t.Errorf("the pin went %s after the failed reloads", got)
		}
		end()
		stop()
	})
}

// An output that is taken out of the configuration is made safe, and what was
// said of it is taken back.
func TestAnOutputThatIsGoneIsSafeAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, dir := gpio.NewSim(), t.TempDir()
		h, stop := start(t, load(t, dir, twoLamps), Options{Bank: sim})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		publish(t, client, 1, "hearth/stuck/set", "ON")
		synctest.Wait()
		if err := h.Reload(load(t, dir, "[output.good]\npin = \"GPIO5\"\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if bool(sim.Level("GPIO6")) || sim.Held("GPIO6") {
			t.Error("the pin of an output that is gone is on, or held")
		}
		for m := range h.broker.Retained() {
			if strings.HasPrefix(m.Topic, "hearth/stuck/") {
				t.Errorf("%s still says %q", m.Topic, m.Payload)
			}
		}
		end()
		stop()
	})
}

func TestTwoHubsDoNotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	cfg := load(t, dir, "")
	h, err := New(cfg, Options{Bank: gpio.NewSim(), Clock: testClock(), Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if _, err := New(cfg, Options{Bank: gpio.NewSim(), Clock: testClock(), Offline: true}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("the second hub says %v, want the process that holds the folder", err)
	}
	if err := Safe(cfg, gpio.NewSim(), nil); err == nil {
		t.Error("safe ran beside a hub")
	}
}

// The next life of a crashed hub's outputs, without its configuration.
func TestSafeNeedsNoConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, dir := gpio.NewSim(), t.TempDir()
		h, stop := start(t, load(t, dir, "[output.valve]\npin = \"GPIO5\"\nactive_low = true\n"), Options{Bank: sim})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		publish(t, client, 1, "hearth/valve/set", "ON")
		time.Sleep(2 * time.Second)
		crashed := filepath.Join(t.TempDir(), "hearth-data")
		if err := os.CopyFS(crashed, os.DirFS(filepath.Join(dir, "hearth-data"))); err != nil {
			t.Fatal(err)
		}
		end()
		stop()
		after := gpio.NewSim()
		cfg := &Config{path: filepath.Join(filepath.Dir(crashed), "config.toml")} // nothing in it could be read
		if err := Safe(cfg, after, nil); err != nil {
			t.Fatal(err)
		}
		if got := levels(after, "GPIO5"); got != "1" {
			t.Errorf("the active-low valve went %q, want high and nothing else", got)
		}
	})
}

func TestTheInboxKeepsTheOrderAndHoldsBackWhoIsTooMany(t *testing.T) {
	in := newInbox(2)
	m := new(devices.Message)
	open := func(room <-chan struct{}) bool {
		select {
		case <-room:
			return true
		default:
			return room == nil
		}
	}
	var rooms []<-chan struct{}
	for i := range 5 {
		rooms = append(rooms, in.put(&item{message: m, merge: fmt.Sprint(i)}, false))
	}
	for i := range 5 {
		for j, room := range rooms { // each that is taken lets one more go on
			if want := j < 2 || j < 2+i-3 || i == 5; open(room) != want && i < 4 {
				t.Errorf("after %d taken, number %d goes on: %v", i, j, open(room))
			}
		}
		if it := in.take(); it == nil || it.merge != fmt.Sprint(i) {
			t.Fatalf("number %d is %+v", i, it)
		}
	}
	for j, room := range rooms {
		if !open(room) {
			t.Errorf("number %d still waits", j)
		}
	}
}

// Whoever reads the log has stopped reading: the loop goes on.
func TestALogThatHangsDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, log := gpio.NewSim(), make(hangingLog)
		h, stop := start(t, load(t, t.TempDir(), twoLamps), Options{Bank: sim, Log: slog.New(slog.NewTextHandler(log, nil))})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		for i := range 100 {
			publish(t, client, 1, "a/good", []string{"on", "off"}[i%2])
		}
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "0"+strings.Repeat("10", 50) {
			t.Errorf("the pin went %s", got)
		}
		end()
		close(log)
		stop()
	})
}

type hangingLog chan struct{}

func (l hangingLog) Write(p []byte) (int, error) {
	<-l
	return len(p), nil
}

// A siren on MQTT was on when the hub stopped, and its end fell into the
// downtime. It comes back two minutes after the hub, and hears that it is over.
func TestAnOwedEndWaitsForWhoeverMustHearIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), `
			[rule.siren]
			trigger = { event = "a/alarm" }
			action = { pulse = "cmnd/siren/POWER", for = "1m" }`)
		var got []string
		siren := func(h *Hub) (*paho.Client, func()) {
			client, end := connect(t, h, "siren", func(p *paho.Publish) { got = append(got, string(p.Payload)) })
			if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "cmnd/siren/#", QoS: 1}}}); err != nil {
				t.Fatal(err)
			}
			return client, end
		}
		clock := testClock()
		h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), Clock: clock})
		client, end := siren(h)
		publish(t, client, 1, "a/alarm", "x")
		time.Sleep(10 * time.Second)
		end()
		stop()
		time.Sleep(2 * time.Minute)
		_, stop = start(t, cfg, Options{Bank: gpio.NewSim(), Clock: clock})
		time.Sleep(2 * time.Minute)
		stop() // again, before anybody has heard
		h, stop = start(t, cfg, Options{Bank: gpio.NewSim(), Clock: clock})
		time.Sleep(2 * time.Minute)
		_, end = siren(h)
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"ON", "OFF"}; !slices.Equal(got, want) {
			t.Errorf("the siren heard %q, want %q", got, want)
		}
		end()
		stop()
	})
}

// A client goes on ringing while the hub stops: what is acknowledged has been
// acted on.
func TestNothingIsAcknowledgedThatIsNotTakenIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), `
			[rule.bell]
			trigger = { event = "a/bell" }
			action = { publish = "b/bell", payload = "x" }`)
		h, run := open(t, cfg, Options{Bank: gpio.NewSim()})
		h.inbox.mu.Lock()
		h.inbox.size = 4
		h.inbox.mu.Unlock()
		client, end := connect(t, h, "bell", func(*paho.Publish) {})
		acknowledged := 0
		done := make(chan bool)
		go func() {
			defer close(done)
			for range 10 {
				if _, err := client.Publish(t.Context(), &paho.Publish{Topic: "a/bell", Payload: []byte("x"), QoS: 1}); err != nil {
					return
				}
				acknowledged++
			}
		}()
		synctest.Wait()
		h.inbox.close() // as a stop does first
		synctest.Wait()
		run()()
		end()
		<-done
		if h.logged != 5 || acknowledged != 4 {
			t.Errorf("%d were acknowledged, %d acted on, want 4 and the one that waited", acknowledged, h.logged)
		}
	})
}

// The hub stops while a pulse waits for the disk, and behind it an order to be
// silent: both go out, in order.
func TestWhatWaitsForTheDiskGoesOutAtTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := new(store.Faulty)
		h, stop := start(t, load(t, t.TempDir(), `
			[rule.siren]
			trigger = { event = "a/alarm" }
			action = { pulse = "cmnd/siren/POWER", for = "10m" }
			[rule.silence]
			trigger = { event = "a/silence" }
			action = { publish = "cmnd/siren/POWER", payload = "OFF" }`), Options{Bank: gpio.NewSim(), FS: disk})
		var got []string
		client, end := connect(t, h, "siren", func(p *paho.Publish) { got = append(got, string(p.Payload)) })
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "cmnd/#", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		disk.FailWrites(syscall.ENOSPC)
		publish(t, client, 1, "a/alarm", "x")
		publish(t, client, 1, "a/silence", "x")
		synctest.Wait()
		if len(got) != 0 {
			t.Errorf("before the disk had it the siren heard %q", got)
		}
		stop()
		synctest.Wait()
		if want := []string{"ON", "OFF"}; !slices.Equal(got, want) {
			t.Errorf("the siren heard %q, want %q", got, want)
		}
		end()
	})
}

// Under pressure a partial update does not take the place of another one.
func TestOnlyLikeReadingsMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, run := open(t, load(t, t.TempDir(), twoLamps+`
			[rule.warm]
			trigger = { state = "room/x:t", above = 25 }
			action = { set = "stuck", to = true }
			[rule.humid]
			trigger = { state = "room/x:h", above = 70 }
			action = { set = "good", to = true }`), Options{Bank: sim})
		h.inbox.mu.Lock()
		h.inbox.size = 4
		h.inbox.mu.Unlock()
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		for _, payload := range []string{`{"h":1}`, `{"h":2}`, `{"t":30}`, `{"h":10}`} {
			publish(t, client, 0, "room/x", payload)
		}
		synctest.Wait()
		stop := run()
		synctest.Wait()
		if got := levels(sim, "GPIO6"); got != "01" {
			t.Errorf("the temperature was lost: the pin went %s", got)
		}
		end()
		stop()
	})
}

// What a client sends may be large; the hub keeps a line of it.
func TestDecisionsKeepNoPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		h, stop := start(t, load(t, t.TempDir(), `
			[output.lamp]
			pin = "GPIO5"
			[link.camera]
			from = "cam/1"
			to = "b/c"
			type = "text"`), Options{Bank: gpio.NewSim(), Log: slog.New(slog.NewTextHandler(&logged, nil))})
		client, end := connect(t, h, "camera", func(*paho.Publish) {})
		for range 20 {
			publish(t, client, 1, "cam/1", strings.Repeat("x", 200_000))
			publish(t, client, 1, "hearth/lamp/set", strings.Repeat("x", 200_000))
		}
		synctest.Wait()
		for _, d := range h.decisions {
			if len(d.Text) > 1000 {
				t.Fatalf("a decision of %d bytes is kept", len(d.Text))
			}
		}
		end()
		stop()
		if logged.Len() > 50_000 {
			t.Errorf("%d bytes were logged", logged.Len())
		}
	})
}

// Somebody who no longer waits for the page gets nothing done.
func TestAPageThatGivesUpSwitchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), twoLamps), Options{Bank: sim})
		busy := make(chan struct{})
		h.inbox.always(&item{control: func() { <-busy }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := (page{h}).Switch(ctx, "good", true); err == nil {
			t.Error("switched by a loop that stands still")
		}
		close(busy)
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "0" {
			t.Errorf("the pin went %s", got)
		}
		stop()
	})
}

// A link that feeds the hub's own word on a lamp back to the lamp.
func TestALoopThroughTheStateTopicIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), `
			[output.lamp]
			pin = "GPIO5"
			[link.back]
			from = "hearth/lamp/state"
			to = "lamp"
			invert = true`), Options{Bank: sim})
		client, end := connect(t, h, "x", func(*paho.Publish) {})
		publish(t, client, 1, "hearth/lamp/set", "ON")
		time.Sleep(time.Second)
		if n := len(levels(sim, "GPIO5")); n > 25 {
			t.Errorf("the relay was switched %d times", n)
		}
		end()
		stop()
	})
}

// What the owner mistyped shows on the page: a source that never says anything,
// one that says what can't be a value, and a reload that was refused.
func TestThePageShowsWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, `
			[link.typo]
			from = "hall:ocupancy"
			to = "a/b"
			[link.broken]
			from = "hall:state"
			to = "a/c"`), Options{Bank: gpio.NewSim(), Clock: unknownClock()})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		publish(t, client, 1, "hall", `{"occupancy":true,"state":null}`)
		h.ReloadFailed(errors.New("3 mistakes"))
		synctest.Wait()
		view, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var shown []string
		for _, r := range view.Readings {
			shown = append(shown, r.Source+": "+r.Bad)
		}
		if want := []string{"hall:ocupancy: nothing yet", "hall:state: not valid: null (1 so far)"}; !slices.Equal(shown, want) {
			t.Errorf("readings %q, want %q", shown, want)
		}
		if len(view.Trouble) != 2 || !strings.Contains(strings.Join(view.Trouble, "\n"), "3 mistakes") {
			t.Errorf("trouble %q", view.Trouble)
		}
		// A reload that works ends one trouble, and with clock = "trust" the other.
		if err := h.Reload(load(t, dir, "[hub]\nclock = \"trust\"\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * heartbeat)
		if view, err = (page{h}).View(t.Context()); err != nil || len(view.Trouble) != 0 {
			t.Errorf("after a reload: trouble %q, %v", view.Trouble, err)
		}
		end()
		stop()
	})
}

func unknownClock() Clock {
	c := testClock()
	c.Known = func() bool { return false }
	return c
}
