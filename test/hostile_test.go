package test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A good client switches the lamp, again and again, while around it happens all
// that should not. Each of its switches is answered.
func TestHostileClientsDoNotDisturbTheLamp(t *testing.T) {
	hub := newHouse(t, t.TempDir(), porch).start(t)
	good := hub.client(t, "good", "hearth/porch_light/state")
	good.expect(t, "hearth/porch_light/state", "OFF")

	times := switches(t, good, 200)
	t.Logf("%-42s %s, %.1f MiB", "in peace: switch to state", spread(times), hub.rss(t))

	type attack = func(context.Context, *testing.T, *life, *sync.WaitGroup)
	for _, attack := range []struct {
		name   string
		begins []attack
	}{
		{"random bytes", []attack{throwRandomBytes}},
		{"packets that break off, and malformed ones", []attack{throwBrokenPackets}},
		{"200 connections without CONNECT", []attack{keepSilent}},
		{"clients that never read, under a flood", []attack{neverRead}},
		{"all of it", []attack{throwRandomBytes, throwBrokenPackets, keepSilent, neverRead}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var going sync.WaitGroup
			for _, begin := range attack.begins {
				begin(ctx, t, hub, &going)
			}
			times := switches(t, good, 1000)
			rss := hub.rss(t)
			cancel()
			going.Wait()
			t.Logf("%-42s %s, %.1f MiB", "switch to state", spread(times), rss)
		})
	}
	if !hub.alive() {
		t.Fatal("the hub is gone:", hub.status)
	}
	t.Logf("%d packets made the server panic, which ended their connections only", len(hub.log.match(0, func(s said) bool {
		return strings.Contains(s.text, "a packet made the server panic")
	})))
	hub.stop(t)
}

// switches switches the lamp n times and waits for each answer.
func switches(t *testing.T, c *client, n int) (times []time.Duration) {
	t.Helper()
	level := map[bool]string{true: "ON", false: "OFF"}
	for i := range n {
		want := level[i%2 == 0]
		began := time.Now()
		c.send(t, "hearth/porch_light/set", want, false)
		times = append(times, c.expect(t, "hearth/porch_light/state", want).at.Sub(began))
	}
	return times
}

// shout opens a connection, writes, and sees it closed or leaves soon.
func shout(ctx context.Context, t *testing.T, hub *life, bytes []byte) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", hub.tcp)
	if err != nil {
		if ctx.Err() == nil {
			t.Error("connect:", err)
		}
		return
	}
	defer conn.Close()
	conn.Write(bytes)
	conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	conn.Read(make([]byte, 64))
}

func throwRandomBytes(ctx context.Context, t *testing.T, hub *life, going *sync.WaitGroup) {
	going.Go(func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			garbage := make([]byte, 1+mathrand.IntN(4096))
			rand.Read(garbage)
			if n%2 == 0 {
				garbage = append(connectPacket(byte(4+n/2%2), fmt.Sprint("garbage", n)), garbage...)
			}
			shout(ctx, t, hub, garbage)
		}
		t.Logf("%d connections with garbage", n)
	})
}

// connectPacket is a sound CONNECT of MQTT 3.1.1 (version 4) or 5 with a clean
// session.
func connectPacket(version byte, id string) []byte {
	body := []byte{0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 60}
	if version == 5 {
		body = append(body, 0) // no properties
	}
	body = append(body, mqttString(id)...)
	return append([]byte{0x10, byte(len(body))}, body...)
}

func mqttString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// broken is packets that are wrong in one way each.
var broken = [][]byte{
	{0x82, 8, 0, 1, 0, 0, 3, 'a', '/', 'b'},   // the SUBSCRIBE that as MQTT 5 kills a bare mochi, its issue 501
	{0x82, 2, 0, 1},                           // SUBSCRIBE to nothing
	{0x82, 6, 0, 1, 0, 1, '#', 3},             // QoS 3
	{0x80, 6, 0, 1, 0, 1, '#', 0},             // SUBSCRIBE with the wrong flags
	{0xa2, 2, 0, 1},                           // UNSUBSCRIBE from nothing
	{0x30, 0},                                 // PUBLISH of nothing
	{0x30, 3, 0, 9, 'x'},                      // its topic is longer than the packet
	{0x36, 5, 0, 1, 'x', 0, 1},                // QoS 3
	{0x32, 5, 0, 1, 'x', 0, 0},                // packet id 0
	{0x30, 5, 0, 3, 'a', '/', '#'},            // a wildcard
	{0x30, 4, 0, 2, 0xc3, 0x28},               // not UTF-8
	{0x30, 4, 0, 2, 'a', 0},                   // a NUL
	{0x30, 0xff, 0xff, 0xff, 0xff, 0x7f},      // a length of five bytes
	{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'x'}, // 256 MiB to come
	{0x40, 0}, {0x50, 0}, {0x62, 0}, {0x70, 0}, {0x40, 2, 7, 77}, // acknowledgements of nothing
	{0x00, 0}, {0xf0, 0}, {0x20, 2, 0, 0}, {0xd0, 0}, // packets that only a server sends, or nobody
	{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0}, // a second CONNECT
	{0x10, 4, 0, 4, 'M', 'Q'},                               // one that breaks off
}

func throwBrokenPackets(ctx context.Context, t *testing.T, hub *life, going *sync.WaitGroup) {
	going.Go(func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			packet, version := broken[n%len(broken)], byte(4+mathrand.IntN(2))
			switch id := fmt.Sprint("broken", n); mathrand.IntN(4) {
			case 0: // before CONNECT
				shout(ctx, t, hub, packet)
			case 1: // cut somewhere
				all := append(connectPacket(version, id), packet...)
				shout(ctx, t, hub, all[:mathrand.IntN(len(all))])
			default:
				shout(ctx, t, hub, append(connectPacket(version, id), packet...))
			}
		}
		t.Logf("%d connections with broken packets", n)
	})
}

// keepSilent holds 200 connections that never send CONNECT.
func keepSilent(ctx context.Context, t *testing.T, hub *life, _ *sync.WaitGroup) {
	for range 200 {
		conn, err := net.Dial("tcp", hub.tcp)
		if err != nil {
			t.Fatal("connect:", err)
		}
		context.AfterFunc(ctx, func() { conn.Close() })
	}
}

// neverRead holds clients that subscribe to everything and read nothing, while
// another sends as fast as it can.
func neverRead(ctx context.Context, t *testing.T, hub *life, going *sync.WaitGroup) {
	for range 5 {
		conn := connectDeaf(t, hub.tcp)
		context.AfterFunc(ctx, func() { conn.Close() })
	}
	sent := flood(ctx, t, hub)
	going.Go(func() {
		<-ctx.Done()
		t.Logf("%d MiB for 5 clients that never read", sent.Load()>>20)
	})
}

var deaf atomic.Int64

// connectDeaf is a client that subscribes to everything and reads nothing.
func connectDeaf(t *testing.T, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal("connect:", err)
	}
	conn.(*net.TCPConn).SetReadBuffer(4096)
	conn.Write(connectPacket(4, fmt.Sprint("deaf", deaf.Add(1))))
	conn.Write([]byte{0x82, 6, 0, 1, 0, 1, '#', 1})
	return conn
}

// flood publishes 8 KiB a message with QoS 0 to a topic that nothing in the house
// uses, until ctx ends. It counts the bytes.
func flood(ctx context.Context, t *testing.T, hub *life) *atomic.Int64 {
	sent := new(atomic.Int64)
	conn, err := net.Dial("tcp", hub.tcp)
	if err != nil {
		t.Fatal("connect:", err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	conn.Write(connectPacket(4, fmt.Sprint("flood", deaf.Add(1))))
	body := append(mqttString("noise/loud"), make([]byte, 8<<10)...)
	packet := append([]byte{0x30, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}, body...)
	go func() {
		for ctx.Err() == nil {
			if _, err := conn.Write(packet); err != nil {
				return // ctx has ended, or the hub
			}
			sent.Add(int64(len(packet)))
		}
	}()
	return sent
}
