package hub

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"hearth/control"
	"hearth/gpio"
)

// What an administrator sees of a tablet that comes, subscribes, goes, and does
// not come back.
func TestTheDeskSeesClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{Bank: gpio.NewSim()})
		defer stop()
		desk := desk{h}
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() { defer close(served); h.Attach(theirs) }()
		client := paho.NewClient(paho.ClientConfig{ClientID: "tablet", Conn: packets.NewThreadSafeConn(ours)})
		hour := uint32(3600)
		if _, err := client.Connect(t.Context(), &paho.Connect{ClientID: "tablet", CleanStart: true, KeepAlive: 30, Properties: &paho.ConnectProperties{SessionExpiryInterval: &hour}}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a/#", QoS: 1}, {Topic: "b", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		all := desk.Clients()
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		if c := all[0]; c.ID != "tablet" || !c.Connected || c.Version != "5" || c.Subscriptions != 2 || !c.Expires.IsZero() {
			t.Errorf("connected: %+v", c)
		}

		client.Disconnect(&paho.Disconnect{})
		ours.Close()
		<-served
		<-client.Done()
		time.Sleep(10 * time.Minute)
		all = desk.Clients()
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		c := all[0]
		if c.ID != "tablet" || c.Connected || c.Subscriptions != 2 {
			t.Errorf("away: %+v", c)
		}
		if left := time.Until(c.Expires); left < 49*time.Minute || left > 51*time.Minute {
			t.Errorf("it expires in %v", left)
		}
		if away := time.Since(c.Since); away < 9*time.Minute || away > 11*time.Minute {
			t.Errorf("it is away for %v", away)
		}

		time.Sleep(time.Hour)
		if all := desk.Clients(); len(all) > 0 {
			t.Errorf("after its time: %+v", all)
		}
	})
}

// What is retained can be looked at and cleared, and those who listen hear of it.
func TestTheDeskClearsWhatIsRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{Bank: gpio.NewSim()})
		defer stop()
		desk := desk{h}
		var heard []string
		client, end := connect(t, h, "plug", func(p *paho.Publish) { heard = append(heard, p.Topic+" "+string(p.Payload)) })
		defer end()
		minute := uint32(60)
		for _, p := range []paho.Publish{
			{Topic: "old/b", Payload: []byte("2"), QoS: 1},
			{Topic: "old/a", Payload: []byte("1"), QoS: 1, Properties: &paho.PublishProperties{MessageExpiry: &minute}},
			{Topic: "new", Payload: []byte("3")},
		} {
			p.Retain = true
			if _, err := client.Publish(t.Context(), &p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "old/#", QoS: 1, RetainHandling: 2}}}); err != nil {
			t.Fatal(err)
		}
		values, err := desk.Retained("old/+")
		if err != nil || len(values) != 2 {
			t.Fatalf("%+v, %v", values, err)
		}
		if v := values[0]; v.Topic != "old/a" || string(v.Payload) != "1" || v.Size != 1 || v.QoS != 1 || time.Until(v.Expires) > time.Minute || v.Expires.IsZero() {
			t.Errorf("%+v", v)
		}
		if v := values[1]; v.Topic != "old/b" || !v.Expires.IsZero() {
			t.Errorf("%+v", v)
		}
		n, err := desk.ClearRetained(t.Context(), "old/#")
		if n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		synctest.Wait()
		if got := strings.Join(heard, ","); got != "old/a ,old/b " {
			t.Errorf("heard %q", got)
		}
		if values, err := desk.Retained("#"); err != nil || len(values) == 0 || values[len(values)-1].Topic != "new" {
			t.Errorf("%+v, %v", values, err)
		}

		// What is no filter is a mistake of whoever asked.
		if _, err := desk.Retained("a/#/b"); !errors.As(err, new(control.Mistake)) {
			t.Error(err)
		}
		if _, err := desk.ClearRetained(t.Context(), ""); !errors.As(err, new(control.Mistake)) {
			t.Error(err)
		}
		if _, err := desk.Reload(t.Context()); !errors.As(err, new(control.Mistake)) {
			t.Error(err)
		}
	})
}

// A folder that takes no socket, as on a disk that is full or read-only, costs the
// desk and nothing else; and the hub's end takes its socket away.
func TestTheControlSocket(t *testing.T) {
	dir := t.TempDir()
	cfg := load(t, dir, "broker = { listen = [\"127.0.0.1:0\"] }\nweb = { listen = \"\" }\nhub = { data = \"data\" }\n")
	var log strings.Builder
	run := func() (h *Hub, stop func()) {
		h, err := New(cfg, Options{Bank: gpio.NewSim(), Clock: testClock(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		return h, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	data := cfg.DataDir()
	ask := func() error {
		_, err := control.Ask(data).Clients(t.Context())
		return err
	}
	_, stop := run()
	if err := ask(); err != nil {
		t.Error(err)
	}
	stop()
	if err := ask(); !errors.Is(err, control.ErrNobody) {
		t.Error("after the end:", err)
	}

	readOnly := func(on bool) {
		flags := uintptr(syscall.MS_BIND | syscall.MS_REMOUNT)
		if on {
			flags |= syscall.MS_RDONLY
		}
		if err := syscall.Mount("", data, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount(data, data, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("a read-only folder takes mounting one:", err)
	}
	defer syscall.Unmount(data, syscall.MNT_DETACH)
	os.Remove(data + "/" + control.Name)
	log.Reset()
	readOnly(true)
	h, stop := run()
	readOnly(false)
	if err := ask(); !errors.Is(err, control.ErrNobody) {
		t.Error("read-only:", err)
	}
	if err := h.Reload(cfg); err != nil {
		t.Error(err)
	}
	if err := ask(); err != nil {
		t.Error("after a reload:", err)
	}
	stop()
	if !strings.Contains(log.String(), "can't reach this hub") {
		t.Error(log.String())
	}
}
