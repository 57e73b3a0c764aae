package broker

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/autopaho"
	wire "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/config"
)

func listen(t *testing.T, b *Broker, addresses ...string) []string {
	t.Helper()
	anonymous := true
	ch, err := b.Prepare(Config{Listen: addresses, Config: access.Config{Anonymous: &anonymous}})
	if err != nil {
		t.Fatal(err)
	}
	ch.Commit()
	return b.Addrs()
}

// dial connects to one of Addrs.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var nc net.Conn
	var err error
	switch {
	case strings.HasPrefix(addr, "ws://"):
		var ws *websocket.Conn
		ws, _, err = websocket.Dial(ctx, addr+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err == nil {
			nc = websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
		}
	case strings.HasPrefix(addr, "unix://"):
		nc, err = net.Dial("unix", strings.TrimPrefix(addr, "unix://"))
	default:
		nc, err = net.Dial("tcp", addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// Paho's client for MQTT 5 over every kind of listener.
func TestPaho(t *testing.T) {
	b := open(t, Options{})
	addrs := listen(t, b, "127.0.0.1:0", "ws://localhost:0", "unix://"+filepath.Join(t.TempDir(), "s"))
	b.Publish(Message{Topic: "house/kept", Payload: []byte("old"), Retain: true, QoS: 1})
	for _, addr := range addrs {
		t.Run(addr[:4], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got := make(chan string, 10)
			u, _ := url.Parse("mqtt://" + addr)
			cm, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
				ServerUrls:     []*url.URL{u},
				KeepAlive:      20,
				ConnectTimeout: 10 * time.Second,
				OnConnectError: func(err error) { t.Log("paho:", err) },
				AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) {
					return wire.NewThreadSafeConn(dial(t, addr)), nil // Paho writes a packet in pieces
				},
				ClientConfig: paho.ClientConfig{
					ClientID:      "paho",
					OnClientError: func(err error) { t.Log("paho:", err) },
					OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
						got <- r.Packet.Topic + " " + string(r.Packet.Payload)
						return true, nil
					}},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { cm.Disconnect(ctx); <-cm.Done() }()
			if err := cm.AwaitConnection(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "house/#", QoS: 2}}}); err != nil {
				t.Fatal(err)
			}
			if m := <-got; m != "house/kept old" {
				t.Fatal(m)
			}
			for qos := range byte(3) {
				if _, err := cm.Publish(ctx, &paho.Publish{Topic: "house/lamp", QoS: qos, Payload: []byte{'0' + qos}}); err != nil {
					t.Fatal(err)
				}
				select {
				case m := <-got:
					if m != "house/lamp "+string('0'+qos) {
						t.Fatal(m)
					}
				case <-ctx.Done():
					t.Fatal("nothing came")
				}
			}
		})
	}
}

func TestReloadLeavesWhatStaysAlone(t *testing.T) {
	b := open(t, Options{})
	path := filepath.Join(t.TempDir(), "s")
	first := listen(t, b, "127.0.0.1:0", "unix://"+path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Fatal(info.Mode(), err)
	}
	connected := func(addr, id string) *client {
		c := speak(t, dial(t, addr), 5)
		c.connect(id)
		return c
	}
	stays, goes := connected(first[0], "stays"), connected(first[1], "goes")

	// A reload that fails, and one that is taken back, change nothing.
	if _, err := b.Prepare(Config{Listen: []string{"127.0.0.1:0", "ws://127.0.0.1:0", first[0]}}); err == nil {
		t.Fatal("a port that is taken was bound")
	}
	ch, err := b.Prepare(Config{Listen: []string{"ws://127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	ch.Undo()
	if !slices.Equal(b.Addrs(), first) {
		t.Fatal(b.Addrs())
	}
	stays.alive()
	goes.alive()

	second := listen(t, b, "ws://127.0.0.1:0", "127.0.0.1:0")
	if second[1] != first[0] {
		t.Fatal(second)
	}
	if why := goes.wantEnd(); why != packets.ErrAdministrativeAction.Code {
		t.Errorf("ended with %#x", why)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is still there")
	}
	stays.alive()
	connected(second[0], "new").alive()
}

func TestSocketOfAKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, Options{})
	if _, err := b.Prepare(Config{Listen: []string{"unix://" + path}}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	listen(t, b, "unix://"+path)
}

func TestWebSocketRefusals(t *testing.T) {
	b := open(t, Options{})
	addr := strings.TrimPrefix(listen(t, b, "ws://127.0.0.1:0")[0], "ws://")
	for _, c := range []struct{ path, host, origin string }{
		{"/other", addr, ""},
		{"/mqtt", addr, "http://evil.example"},
		{"/mqtt", addr, "http://127.0.0.1:1"},
		{"/mqtt", "evil.example", "http://evil.example"}, // a name that was pointed here
	} {
		r, _ := http.NewRequest("GET", "http://"+addr+c.path, nil)
		r.Host = c.host
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt", "Origin": c.origin} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode < 400 {
			t.Errorf("%+v: %s", c, res.Status)
		}
	}
	ws, _, err := websocket.Dial(t.Context(), "ws://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Error(err)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		b := open(t, Options{Receive: func(m Message) func() <-chan struct{} {
			if m.Topic != "block" {
				return nil
			}
			return func() <-chan struct{} { return make(chan struct{}) }
		}})
		addrs := listen(t, b, "127.0.0.1:0", "ws://127.0.0.1:0")
		for _, addr := range addrs {
			nc := dial(t, addr)
			nc.Write(encode(connectPacket(addr, 4)))
			nc.Write(encode(publishPacket("block", "x", 1, 1)))
			dial(t, addr) // says nothing
		}
		raw := dial(t, strings.TrimPrefix(addrs[1], "ws://")) // no WebSocket yet
		io.WriteString(raw, "GET / HT")
		for b.Stats().Clients < 2 || b.Stats().Received < 2 {
			time.Sleep(time.Millisecond)
		}
		start := time.Now()
		b.Close()
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("Close took %v", d)
		}
		if b.accepted.Load() != 0 || len(b.conns) != 0 {
			t.Error(b.accepted.Load(), len(b.conns))
		}
	}
	// The library's write goroutines end by themselves, a moment later.
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		var stacks bytes.Buffer
		buf := make([]byte, 1<<20)
		stacks.Write(buf[:runtime.Stack(buf, true)])
		if s := stacks.String(); !strings.Contains(s, "broker.(*") && !strings.Contains(s, "mqtt.(*") {
			break
		} else if time.Since(start) > 10*time.Second {
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), s)
		}
	}
}

func TestConfigMistakes(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{`listen = "x"`, "listen"},
		{`listen = ["tls://127.0.0.1:8883"]`, `needs a certificate, want a table [broker.tls]`},
		{`listen = ["wss://127.0.0.1:8883"]`, `needs a certificate, want a table [broker.tls]`},
		{`listen = ["http://127.0.0.1:80"]`, `http:// is unknown`},
		{`listen = ["mqtt://127.0.0.1:1883"]`, `want "tcp://127.0.0.1:1883"`},
		{`listen = ["mqtts://127.0.0.1:8883"]`, `want "tls://127.0.0.1:8883"`},
		{`listen = ["127.0.0.1"]`, `want a host and a port`},
		{`listen = ["127.0.0.1:mqtt"]`, `port "mqtt" is none`},
		{`listen = ["127.0.0.1:70000"]`, `port "70000" is none`},
		{`listen = ["192.168.1:1883"]`, `host "192.168.1" is none`},
		{`listen = ["192.168.1.300:1883"]`, `host "192.168.1.300" is none`},
		{`listen = ["my house:1883"]`, `host "my house" is none`},
		{`listen = ["unix://rel"]`, `want an absolute path`},
		{`listen = ["127.0.0.1:1883", "tcp://127.0.0.1:1883"]`, `config.toml:2:29: broker.listen[2] = "tcp://127.0.0.1:1883": is listed twice`},
		{`listen = ["unix:///run/s", "unix:///run/../run/s"]`, `listed twice`},
		{`listen = ["127.0.0.1:1883", "ws://127.0.0.1:1883"]`, `"127.0.0.1:1883" is there already`},
		{`listen = ["127.0.0.1:1883", "0.0.0.0:1883"]`, `"127.0.0.1:1883" is there already`},
		{`listen = [":1883", "[::1]:1883"]`, `":1883" is there already`},
		{`listen = ["0.0.0.0:1883", "[::]:1883"]`, `"0.0.0.0:1883" is there already`},
		{`listen = ["hearth.local:1883", "0.0.0.0:1883"]`, `"hearth.local:1883" is there already`},
		{`origins = ["dash.home"]`, `config.toml:2:12: broker.origins[1] = "dash.home": want what a browser calls the origin`},
		{`origins = ["https://dash.home/"]`, `want what a browser calls the origin`},
		{`origins = ["*"]`, `want what a browser calls the origin`},
	} {
		var cfg struct {
			Broker Config `toml:"broker"`
		}
		doc := config.Parse("config.toml", []byte("[broker]\n"+c.toml+"\n"), &cfg)
		if err := doc.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.toml, err, c.want)
		} else if len(doc.Mistakes()) != 1 {
			t.Errorf("%s: %v", c.toml, err)
		}
		if c.want == "listen" {
			continue
		}
		b := open(t, Options{})
		if _, err := b.Prepare(cfg.Broker); err == nil {
			t.Errorf("%s: Prepare takes it", c.toml)
		}
	}
	for _, listen := range []string{
		`"127.0.0.1:1883", "[::1]:1883", "localhost:0", "localhost:0", "ws://127.1.2.3:8083", "unix:///run/hearth/mqtt.sock"`,
		`"0.0.0.0:1883", "[::1]:1883", "ws://192.168.1.2:80", "hearth.local:1884"`,
		`":1883", "ws://0.0.0.0:8083"`, `"192.168.1.2:1883", "192.168.1.3:1883"`, `"[::]:1883"`,
	} {
		var cfg struct {
			Broker Config `toml:"broker"`
		}
		doc := config.Parse("config.toml", []byte("[broker]\nanonymous = true\norigins = [\"https://dash.home\", \"http://192.168.1.5:8080\"]\nlisten = ["+listen+"]"), &cfg)
		if err := doc.Err(); err != nil {
			t.Error(listen, err)
		}
	}
}

// A port that changes hands, as when the broker is opened to the network, is let
// go by one listener and taken by the other; and back, if the reload fails.
func TestAPortChangesHands(t *testing.T) {
	b := open(t, Options{})
	addrs := listen(t, b, "127.0.0.1:0", "127.0.0.1:0")
	addr := addrs[0]
	b.listeners[0].address.at = addr // as if it had been asked for
	_, port, _ := net.SplitHostPort(addr)
	first, other := over(t, dial(t, addr), "first"), over(t, dial(t, addrs[1]), "other")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, next := range []string{"0.0.0.0:" + port, "ws://" + addr, ":" + port} {
		// It was good, and then something else was not.
		if _, err := b.Prepare(Config{Listen: []string{next, "127.0.0.1:0", busy.Addr().String()}}); err == nil || !strings.Contains(err.Error(), "another program has it") {
			t.Fatalf("%s: %v", next, err)
		}
		over(t, dial(t, addr), "after an error").alive()
		ch, err := b.Prepare(Config{Listen: []string{next, "127.0.0.1:0"}})
		if err != nil {
			t.Fatalf("%s: %v", next, err)
		}
		waits := dial(t, addr) // in the kernel's queue of the new one
		ch.Undo()
		waits.Close()
		over(t, dial(t, addr), "after an undo").alive()
		if !slices.Equal(b.Addrs(), addrs) {
			t.Fatal(b.Addrs())
		}
	}
	first.alive()

	now := listen(t, b, "127.0.0.1:0", "0.0.0.0:"+port)
	if !slices.Equal(now, []string{addrs[1], "0.0.0.0:" + port}) {
		t.Fatal(now)
	}
	over(t, dial(t, addr), "new").alive()
	other.alive()

	// Meanwhile another program may have come first.
	ch, err := b.Prepare(Config{Listen: []string{"127.0.0.1:" + port}})
	if err != nil {
		t.Fatal(err)
	}
	ch.fresh[0].net.Close()
	thief, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	ch.Undo()
	thief.Close()
	over(t, dial(t, listen(t, b, "0.0.0.0:"+port)[0]), "found again").alive()
}

// A browser lets any page connect in the name of whoever looks at it.
func TestWhichPagesMayConnect(t *testing.T) {
	open := &pages{origins: []string{"https://dash.home", "http://192.168.1.9:8123"}}
	closed := &pages{origins: open.origins, byName: true} // as with logins
	for _, c := range []struct {
		origin, host string
		open, closed bool
	}{
		{"", "anything", true, true}, // no browser
		{"http://192.168.1.5:8083", "192.168.1.5:8083", true, true},
		{"https://192.168.1.5:8083", "192.168.1.5:8083", true, true},
		{"http://[::1]:8083", "[::1]:8083", true, true},
		{"http://localhost:8083", "localhost:8083", true, true},
		{"http://hearth.local:8083", "hearth.local:8083", false, true}, // a name that could be pointed here
		{"http://hearth.local:8083", "192.168.1.5:8083", false, false},
		{"http://192.168.1.5:80", "192.168.1.5:8083", false, false},
		{"https://evil.example", "192.168.1.5:8083", false, false},
		{"https://dash.home", "192.168.1.5:8083", true, true},
		{"https://DASH.home", "192.168.1.5:8083", true, true},
		{"http://dash.home", "192.168.1.5:8083", false, false},
		{"https://dash.home.evil.example", "192.168.1.5:8083", false, false},
		{"http://192.168.1.9:8123", "hearth.local:8083", true, true},
		{"null", "192.168.1.5:8083", false, false}, // a file, or a sandbox
		{"null", "", false, false},
		{"%", "%", false, false},
	} {
		r := &http.Request{Host: c.host, Header: http.Header{}}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if why := open.refuse(r); (why == "") != c.open {
			t.Errorf("without logins, %q at %q: %q", c.origin, c.host, why)
		}
		if why := closed.refuse(r); (why == "") != c.closed {
			t.Errorf("with logins, %q at %q: %q", c.origin, c.host, why)
		}
	}
}

// Whoever comes through a proxy on this machine is not of this machine.
func TestProxiesSpeakForOthers(t *testing.T) {
	b := open(t, Options{})
	addr := listen(t, b, "ws://127.0.0.1:0")[0]
	for _, c := range []struct {
		key, value string
		addr       string
		local      bool
	}{
		{"X-Other", "192.0.2.1", "127.0.0.1", true},
		{"X-Forwarded-For", "192.0.2.1", "192.0.2.1", false},
		{"X-Forwarded-For", "127.0.0.1, 192.0.2.7", "192.0.2.7", false}, // the first is what the client itself said
		{"X-Forwarded-For", "::ffff:192.0.2.8", "192.0.2.8", false},
		{"X-Forwarded-For", "unknown", "127.0.0.1", false},
		{"Forwarded", "for=192.0.2.1", "127.0.0.1", false},
		{"X-Real-IP", "192.0.2.1", "127.0.0.1", false},
	} {
		ws, _, err := websocket.Dial(t.Context(), addr, &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{c.key: {c.value}}})
		if err != nil {
			t.Fatal(err)
		}
		over(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary), "x").alive()
		if way := b.way("x"); way.local != c.local || way.addr.String() != c.addr {
			t.Errorf("%s: %s: from %v, local %v", c.key, c.value, way.addr, way.local)
		}
		ws.CloseNow()
	}
}

// Over WebSocket a client is told why its connection ends, too.
func TestLastWordsOverWebSocket(t *testing.T) {
	b := open(t, Options{})
	addr := listen(t, b, "ws://127.0.0.1:0")[0]
	lost := 0
	for range 50 {
		c := speak(t, dial(t, addr), 5)
		c.connect("c")
		other := speak(t, dial(t, addr), 5)
		other.connect("c")
		pk, err := c.receive()
		if err != nil || pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != packets.ErrSessionTakenOver.Code {
			lost++
		}
		other.nc.Close()
	}
	if lost > 0 {
		t.Errorf("%d of 50 were not told", lost)
	}
}
