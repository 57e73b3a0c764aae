package broker

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The stories in mqtt_*_test.go are of MQTT as its specifications have it, seen
// from outside: what a client sends, and what comes of it. Where a specification
// leaves a choice they take either. Statements have their numbers of MQTT 5; what
// is true of 3.1.1 too is told for all versions.
//
// To see whether a story or the broker is wrong, ask another broker:
//
//	HEARTH_TEST_PEER='mosquitto -c /some.conf -p' go test ./broker -run 'MQTT/'
//
// starts that command, with a port behind it, for each story.
type world struct {
	*testing.T
	b    *Broker // nil: it is another, at peer
	peer string
}

// story runs f in a world of its own, in which time passes as fast as it can.
func story(t *testing.T, name string, f func(w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		if cmd := os.Getenv("HEARTH_TEST_PEER"); cmd != "" {
			f(&world{T: t, peer: startPeer(t, strings.Fields(cmd))})
			return
		}
		synctest.Test(t, func(t *testing.T) {
			b := open(t, Options{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
			defer b.Close()
			f(&world{T: t, b: b})
		})
	})
}

var versions = []byte{3, 4, 5}

// storyOf tells a story once for each version of MQTT.
func storyOf(t *testing.T, name string, versions []byte, f func(w *world, version byte)) {
	t.Helper()
	for _, v := range versions {
		story(t, fmt.Sprintf("%s (MQTT %s)", name, map[byte]string{3: "3.1", 4: "3.1.1", 5: "5"}[v]), func(w *world) { f(w, v) })
	}
}

func startPeer(t *testing.T, cmd []string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	p := exec.Command(cmd[0], append(cmd[1:], port)...)
	p.Stderr = t.Output()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr
		} else if time.Since(start) > 10*time.Second {
			t.Fatal(err)
		}
	}
}

// settle returns when all that is on its way has arrived.
func (w *world) settle() {
	if w.b == nil {
		time.Sleep(150 * time.Millisecond)
		return
	}
	synctest.Wait()
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	if w.b == nil && d > 20*time.Second {
		w.Skip("too long for a broker in real time")
	}
	time.Sleep(d)
	w.settle()
}

// attach gives an unconnected client.
func (w *world) attach(version byte) *client {
	w.Helper()
	var c *client
	if w.b != nil {
		c = attach(w, w.b, version)
	} else {
		nc, err := net.Dial("tcp", w.peer)
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { nc.Close() })
		c = speak(w, nc, version)
	}
	c.settle = w.settle
	return c
}

// connect gives a connected client.
func (w *world) connect(id string, version byte, change ...func(*packets.Packet)) *client {
	w.Helper()
	c := w.attach(version)
	c.connect(id, change...)
	return c
}

// drop breaks a client's connection, as when its battery is taken out.
func (w *world) drop(c *client) {
	c.nc.Close()
	w.settle()
}

// present says whether the broker has a session for id, and leaves it as it is.
func (w *world) present(id string, version byte, change ...func(*packets.Packet)) bool {
	w.Helper()
	c := w.connect(id, version, append(change, kept)...)
	defer w.drop(c)
	return c.connack.SessionPresent
}

// What may be changed of packets.

// kept asks for a session that outlives the connection.
func kept(pk *packets.Packet) {
	pk.Connect.Clean = false
	if p := &pk.Properties; !p.SessionExpiryIntervalFlag {
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = 3600, true
	}
}

func expiry(seconds uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = seconds, true
	}
}

// resume is kept without a wish how long.
func resume(pk *packets.Packet) { pk.Connect.Clean = false }

// lwt is a will that is not retained.
func lwt(topic, payload string, qos byte, delay uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		p := &pk.Connect
		p.WillFlag, p.WillTopic, p.WillPayload, p.WillQos = true, topic, []byte(payload), qos
		p.WillProperties.WillDelayInterval = delay
	}
}

func keepalive(seconds uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Connect.Keepalive = seconds }
}

func reason(code byte) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.ReasonCode = code }
}

func receiveMaximum(n uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = n }
}

func maximumPacket(n uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = n }
}

func aliasMaximum(n uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = n }
}

func alias(n uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = n, true }
}

func expires(seconds uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.MessageExpiryInterval = seconds }
}

func dup(pk *packets.Packet) { pk.FixedHeader.Dup = true }

func identifier(n int) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.SubscriptionIdentifier = []int{n} }
}

// Packets byte by byte, for those that no encoder makes.

func raw(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(append([]byte{first}, varint(len(body))...), body...)
}

func varint(n int) (p []byte) {
	for ; n > 127; n >>= 7 {
		p = append(p, byte(n&127)|128)
	}
	return append(p, byte(n))
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func properties(parts ...[]byte) []byte { return raw(0, parts...)[1:] }

// last reads what comes until the connection ends.
func (c *client) last() []byte {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	p, err := io.ReadAll(c.r)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection does not end")
	}
	return p
}
