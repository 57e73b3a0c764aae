package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// A mosquitto is the broker that people have already, in folder dir. It has one port
// for as long as the test runs.
type mosquittoBroker struct {
	dir, addr string
	log       *transcript
	ended     chan struct{}
	cmd       *exec.Cmd
}

// newMosquitto makes one that is not started yet. What is in more stands in its
// configuration.
func newMosquitto(t *testing.T, more string) *mosquittoBroker {
	t.Helper()
	// Not a port that the kernel gives to who asks for any: until mosquitto has it, others of this
	// house ask.
	l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+mathrand.N(12000)))
	for tries := 0; err != nil && tries < 20; tries++ {
		l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+mathrand.N(12000)))
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &mosquittoBroker{dir: t.TempDir(), addr: l.Addr().String(), log: new(transcript)}
	l.Close()
	_, port, _ := net.SplitHostPort(m.addr)
	m.write(t, "mosquitto.conf", fmt.Sprintf("listener %s 127.0.0.1\nlog_dest stderr\nlog_type all\nuser root\n%s\n", port, strings.ReplaceAll(more, "DIR", m.dir)))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of mosquitto's log:\n%s", m.log.tail(60))
		}
	})
	return m
}

func (m *mosquittoBroker) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mosquittoServer is where Debian has it, which is not in everybody's PATH.
func mosquittoServer(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, "mosquitto (Debian: mosquitto)")
	return ""
}

func (m *mosquittoBroker) start(t *testing.T) {
	t.Helper()
	m.cmd = exec.Command(mosquittoServer(t), "-c", filepath.Join(m.dir, "mosquitto.conf"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m.cmd.Stdout, m.cmd.Stderr = w, w
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	cmd, ended := m.cmd, make(chan struct{})
	m.ended = ended
	go func() {
		m.log.read(r)
		r.Close()
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	eventually(t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", m.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// stop ends it; with sig SIGTERM it saves what it has, if it keeps anything.
func (m *mosquittoBroker) stop(sig os.Signal) {
	m.cmd.Process.Signal(sig)
	<-m.ended
}

// client connects somebody else.
func (m *mosquittoBroker) client(t *testing.T, id string, filters ...string) *client {
	t.Helper()
	return (&life{tcp: m.addr}).client(t, id, filters...)
}

// retained is what a client finds on a topic; "" is nothing.
func (m *mosquittoBroker) retained(t *testing.T, topic string) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(m.addr)
	out, _ := exec.Command("mosquitto_sub", "-h", host, "-p", port, "-t", topic, "-C", "1", "-W", "1", "--retained-only", "-q", "1").Output()
	return strings.TrimSpace(string(out))
}

// elsewhere is a house whose broker is another one.
func elsewhere(t *testing.T, connect, config string) *house {
	t.Helper()
	h := &house{config: filepath.Join(t.TempDir(), "config.toml"), log: new(transcript)}
	text := fmt.Sprintf("[hub]\ndata = %q\n[web]\nlisten = \"127.0.0.1:0\"\n%s%s", t.TempDir(), connect, config)
	if err := os.WriteFile(h.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.showLog(t)
	return h
}

// says waits until this life has said something.
func (l *life) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the hub says "+text, func() bool {
		return len(l.log.match(l.from, func(s said) bool { return strings.Contains(s.text, text) })) > 0
	})
}

const elsewhereHouse = `
[output.porch_light]
pin = "GPIO17"
[link.hall_light]
from = "zigbee2mqtt/hall_motion:occupancy"
to = "porch_light"
[rule.press]
trigger = { event = "zigbee2mqtt/button:action", is = "single" }
action = { publish = "bell/ring", payload = "once", qos = 1 }
[rule.echo]
trigger = { event = "bell/ring" }
action = { publish = "bell/heard", payload = "yes", qos = 1 }
`

// Debian's mosquitto is the broker of a house, in MQTT 5 and, behind a proxy that is as
// old as some people's brokers, in 3.1.1.
func TestMosquittoIsTheBrokerOfAHouse(t *testing.T) {
	mosquittoServer(t)
	needMosquitto(t)
	for _, version := range []string{"5", "3.1.1"} {
		t.Run("MQTT "+version, func(t *testing.T) {
			t.Parallel()
			m := newMosquitto(t, "allow_anonymous true\npersistence true\npersistence_location DIR/\n")
			m.start(t)
			at := m.addr
			if version == "3.1.1" {
				at = olden(t, m.addr)
			}
			device := m.client(t, "device", "bell/#", "hearth/porch_light/state")
			device.send(t, "zigbee2mqtt/button", `{"action":"single"}`, true) // found, so nothing happens
			device.send(t, "zigbee2mqtt/hall_motion", `{"occupancy":true}`, true)
			for i := range 300 { // more than mosquitto has on the way at once
				device.send(t, fmt.Sprintf("found/%d", i), "x", true)
			}

			house := elsewhere(t, fmt.Sprintf("[broker]\nconnect = \"mqtt://%s\"\n", at), elsewhereHouse)
			hub := house.launch(t)
			hub.says(t, "Ready")
			hub.says(t, "linked to the other broker")
			device.expect(t, "hearth/porch_light/state", "OFF")
			device.send(t, "hearth/porch_light/set", "ON", false)
			device.expect(t, "hearth/porch_light/state", "ON")
			device.send(t, "zigbee2mqtt/hall_motion", `{"occupancy":false}`, true)
			device.expect(t, "hearth/porch_light/state", "OFF")
			device.send(t, "zigbee2mqtt/button", `{"action":"single"}`, true)
			device.expect(t, "bell/heard", "yes")

			// It is restarted, and has its sessions and values again.
			m.stop(os.Interrupt)
			hub.says(t, "no link to the other broker")
			m.start(t)
			eventually(t, "the link is back", func() bool {
				return len(hub.log.match(hub.from, func(s said) bool { return strings.Contains(s.text, "linked to the other broker") })) == 2
			})
			device = m.client(t, "device", "bell/#", "hearth/porch_light/state")
			device.expect(t, "hearth/porch_light/state", "OFF")
			device.send(t, "zigbee2mqtt/button", `{"action":"single"}`, true)
			device.expect(t, "bell/heard", "yes")
			device.send(t, "hearth/porch_light/set", "ON", false)
			device.expect(t, "hearth/porch_light/state", "ON")

			rings := strings.Count(strings.Join(hub.lines(), "\n"), "rule.press fired")
			if rings != 2 {
				t.Errorf("the bell was rung %d times, want 2", rings)
			}
			if n := strings.Count(strings.Join(hub.lines(), "\n"), "rule.echo fired"); n != 2 {
				t.Errorf("the hub heard its own bell %d times, want 2", n)
			}
			if got := m.retained(t, "hearth/status"); got != "online" {
				t.Errorf("hearth/status is %q, want online", got)
			}
			if got := m.retained(t, "$SYS/broker/clients/connected"); got == "" {
				t.Error("mosquitto says nothing of itself")
			}
			if version == "5" {
				// What is retained there now is so here, too.
				device.send(t, "found/7", "seven", true)
				eventually(t, "the hub has the newest value", func() bool {
					out, _ := exec.Command(program, "retained", "found/7", "--config", house.config).Output()
					return strings.Contains(string(out), "seven")
				})
			}
			hub.kill()
			eventually(t, "the last will", func() bool { return m.retained(t, "hearth/status") == "offline" })
		})
	}
}

// The broker is down, and the hub is killed while messages wait for it: none that was
// to go out with QoS 1 is lost, and they go out in their order.
func TestAKilledHubLosesNothingForItsBroker(t *testing.T) {
	mosquittoServer(t)
	m := newMosquitto(t, "allow_anonymous true\n")
	house := elsewhere(t, fmt.Sprintf("[broker]\nconnect = \"mqtt://%s\"\n", m.addr), `
[rule.tick]
trigger = { webhook = "/hook/tick" }
action = { publish = "tick", value = "msg", qos = 1 }
`)
	const each, lives = 50, 4
	said := 0
	for range lives {
		hub := house.launch(t)
		hub.says(t, "Ready")
		for range each {
			said++
			hub.post(t, "/hook/tick", fmt.Sprintf("number %d", said))
		}
		waiting := ""
		eventually(t, "all waits", func() bool {
			out, err := exec.Command(program, "clients", "--config", house.config).CombinedOutput()
			waiting = string(out)
			_, rest, _ := strings.Cut(waiting, "out, ")
			n := 0
			fmt.Sscanf(rest, "%d waiting", &n)
			return err == nil && n >= said
		})
		if !strings.Contains(waiting, "not connected to mqtt://"+m.addr) {
			t.Errorf("hearth clients says %q", waiting)
		}
		time.Sleep(promised)
		hub.kill()
	}
	m.start(t)
	listener := m.client(t, "listener", "tick")
	hub := house.launch(t)
	listener.expect(t, "tick", fmt.Sprintf("number %d", said))
	listener.mu.Lock()
	defer listener.mu.Unlock()
	next := 1
	for _, msg := range listener.got {
		if msg.payload == fmt.Sprintf("number %d", next) {
			next++
		}
	}
	if next != said+1 {
		t.Errorf("number %d of %d is missing, or not in its place", next, said)
	}
	t.Logf("%d messages waited over %d kills, %d came", said, lives, len(listener.got))
	hub.says(t, "linked to the other broker")
}

// post is a request to the page that must be taken.
func (l *life) post(t *testing.T, path, body string) {
	t.Helper()
	page := ""
	for _, line := range l.lines() {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "page" {
			page = f[1]
		}
	}
	resp, err := http.Post(page+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("POST %s: %s", path, resp.Status)
	}
}

// A mosquitto that wants a login and TLS, and lets the hub do little: what it refuses
// is told and blocks nothing.
func TestMosquittoWithALoginAndRights(t *testing.T) {
	mosquittoServer(t)
	m := newMosquitto(t, "cafile DIR/ca.crt\ncertfile DIR/server.crt\nkeyfile DIR/server.key\npassword_file DIR/passwd\nacl_file DIR/acl\n")
	certificate(t, m.dir)
	m.write(t, "passwd", "")
	for _, user := range []string{"hub", "phone"} {
		must(t, exec.Command("mosquitto_passwd", "-b", filepath.Join(m.dir, "passwd"), user, user+" secret"))
	}
	m.write(t, "acl", "user hub\ntopic readwrite hearth/#\ntopic read door/#\nuser phone\ntopic readwrite #\n")
	m.start(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hub secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	house := elsewhere(t, fmt.Sprintf("[broker.connect]\naddress = \"mqtts://%s\"\nuser = \"hub\"\npassword_file = %q\ntls = { ca = %q }\n", m.addr, secret, filepath.Join(m.dir, "ca.crt")), `
[output.porch_light]
pin = "GPIO17"
[rule.door]
trigger = { event = "door/bell" }
action = [{ publish = "chime/ring", payload = "now", qos = 1 }, { set = "porch_light", on = true }]
`)
	phone := func(tool string, args ...string) *exec.Cmd {
		_, port, _ := net.SplitHostPort(m.addr)
		return exec.Command(tool, append([]string{"-h", "127.0.0.1", "-p", port, "-V", "5", "-u", "phone", "-P", "phone secret", "--cafile", filepath.Join(m.dir, "ca.crt")}, args...)...)
	}
	watch := follow(t, phone("mosquitto_sub", "-v", "-t", "hearth/porch_light/state", "-t", "chime/#"))
	hub := house.launch(t)
	hub.says(t, "linked to the other broker")
	watch.expect(t, "hearth/porch_light/state OFF")
	must(t, phone("mosquitto_pub", "-q", "1", "-t", "other/bell", "-m", "x")) // the hub may not hear it
	must(t, phone("mosquitto_pub", "-q", "1", "-t", "door/bell", "-m", "x"))
	watch.expect(t, "hearth/porch_light/state ON")
	hub.says(t, "chime/ring")
	if said := strings.Join(hub.lines(), "\n"); !strings.Contains(said, "the other broker refuses it: not authorized") {
		t.Errorf("nothing is said of the refusal:\n%s", said)
	}
	for _, line := range watch.match(0, func(s said) bool { return strings.HasPrefix(s.text, "chime/") }) {
		t.Errorf("the phone heard %q", line.text)
	}
	hub.stop(t)

	// A wrong password is told once, with where to look.
	if err := os.WriteFile(secret, []byte("guess\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub = house.launch(t)
	hub.says(t, "look at user and password of broker.connect")
}

// certificate writes ca.crt and with it server.crt and server.key, for 127.0.0.1.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.crt": {Type: "CERTIFICATE", Bytes: der}, "server.crt": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// olden gives an address behind which a broker speaks 3.1.1 only.
func olden(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				// The fixed header, the name MQTT, and the version.
				head := make([]byte, 1, 16)
				io.ReadFull(c, head)
				for more := true; more; {
					b := make([]byte, 1)
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					head, more = append(head, b[0]), b[0]&0x80 != 0
				}
				rest := make([]byte, 7)
				if _, err := io.ReadFull(c, rest); err != nil {
					return
				}
				if rest[6] == 5 {
					c.Write([]byte{0x20, 2, 0, 1}) // unacceptable protocol version
					return
				}
				up, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				up.Write(bytes.Join([][]byte{head, rest}, nil))
				go func() {
					io.Copy(c, up)
					c.Close()
				}()
				io.Copy(up, c)
			}()
		}
	}()
	return l.Addr().String()
}

// Users and rights that moved from a mosquitto into a hub: each user may do the same with
// each topic, as the two themselves show, and logs in with the same password.
func TestUsersMoveFromMosquitto(t *testing.T) {
	mosquittoServer(t)
	m := newMosquitto(t, "password_file DIR/passwd\nacl_file DIR/acl\nallow_anonymous true\n")
	m.write(t, "passwd", "")
	passwd := filepath.Join(m.dir, "passwd")
	users := []string{"anna", "bert", "carl", "watcher"}
	for i, user := range users {
		kind := []string{"sha512-pbkdf2", "sha512"}[i%2]
		must(t, exec.Command("mosquitto_passwd", "-H", kind, "-b", passwd, user, user+" secret"))
	}
	m.write(t, "acl", `topic read news/#
topic deny news/secret
topic readwrite desk
user anna
topic #
topic deny door/#
user bert
topic write news/bert
topic read door/+/state
topic deny bert/private
user watcher
topic #
pattern readwrite %u/#
pattern deny %u/never
pattern read client/%c
`)
	m.start(t)

	file := filepath.Join(t.TempDir(), "users.toml")
	h := newHouse(t, t.TempDir(), "")
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.config, []byte(strings.Replace(string(text), "[broker]\n", fmt.Sprintf("[broker]\nusers = %q\n", file), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "user", "import", "--config", h.config, filepath.Join(m.dir, "mosquitto.conf")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hub := h.start(t)

	topics := []string{"news/a", "news/secret", "news/bert", "desk", "door/a", "door/a/state", "anna/x", "anna/never", "bert/x", "bert/private", "bert/never", "carl/x", "carl/never", "client/of carl", "client/of bert", "else"}
	type probe struct {
		user, topic string
		write       bool
	}
	table := func(addr string) map[probe]bool {
		may := map[probe]bool{}
		connect := func(user string) *client {
			t.Helper()
			ctx, done := context.WithTimeout(t.Context(), patience)
			defer done()
			c, err := dialAs(ctx, addr, "of "+user, user, user+" secret")
			if err != nil {
				t.Fatalf("%q: %v", user, err)
			}
			t.Cleanup(func() { c.Disconnect(&paho.Disconnect{}) })
			return c
		}
		watcher := connect("watcher")
		ctx, done := context.WithTimeout(t.Context(), patience)
		defer done()
		if err := watcher.subscribe(ctx, 1, "#"); err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"anna", "bert", "carl", ""} {
			c := connect(user)
			for _, topic := range topics {
				c.subscribe(ctx, 1, topic) // which may be refused
			}
			for _, topic := range topics {
				c.publish(ctx, topic, "by "+user, 1, false) // the same
				watcher.send(t, topic, "for "+user, false)
			}
			last := "desk" // which all may have, of those without a name; the others have their own
			if user != "" {
				last = user + "/last"
			}
			ctx, done := context.WithTimeout(t.Context(), patience)
			if err := c.subscribe(ctx, 1, last); err != nil {
				t.Errorf("%q may not have %s: %v", user, last, err)
			}
			done()
			watcher.send(t, last, "the last", false)
			c.expect(t, last, "the last")
			watcher.expect(t, last, "the last")
			for _, topic := range topics {
				may[probe{user, topic, true}] = watcher.has(topic, "by "+user)
				may[probe{user, topic, false}] = c.has(topic, "for "+user)
			}
		}
		return may
	}
	want, got := table(m.addr), table(hub.tcp)
	n := 0
	for p, is := range want {
		if is {
			n++
		}
		if got[p] != is {
			t.Errorf("user %q, topic %s, publish %v: %v in mosquitto, %v here", p.user, p.topic, p.write, is, got[p])
		}
	}
	t.Logf("%d of %d are allowed", n, len(want))
}

// has says whether a client got a message.
func (c *client) has(topic, payload string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.got, func(m message) bool { return m.topic == topic && m.payload == payload })
}
