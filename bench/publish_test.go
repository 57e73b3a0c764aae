// Package bench measures how long a message takes to become a level on a pin:
// through the whole hub, and through the least that could do it. README.md
// says how to run it and what came out.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"periph.io/x/conn/v3/gpio"

	hearth "hearth/gpio"
	"hearth/hub"
)

const (
	topic   = "zigbee2mqtt/hall_motion"
	pinName = "GPIO17"

	// The house of the hub: everything but the page, which nobody looks at here.
	house = `
[broker]
listen = ["127.0.0.1:0"]
limits = { messages = 0 }
anonymous = true

[web]
listen = ""

[output.porch_light]
pin = "GPIO17"

[link.hall_light]
from = "zigbee2mqtt/hall_motion:occupancy"
to = "porch_light"
`

	turn     = 1000             // messages to one side before it is the other's turn
	warmUp   = 50               // and those before them, which do not count
	patience = 10 * time.Second // for one turn's messages that do not come
)

// BenchmarkPublishToPin is the time from the write of a PUBLISH to a TCP socket
// until the simulated pin has its level, one message at a time. The hub stands
// beside a bare MQTT server whose handler is written by hand and switches the
// same kind of pin. They take turns, so what else the machine does hits both.
//
// The client shares the process, and so the scheduler: a message may be handed
// on without waking a thread, or after waking two. That moves either side by a
// factor of two from one run to the next, so only ratios are to be compared.
//
// One iteration is one turn of each. What is reported is the median over all
// iterations of their p50 and p99, and of the hub's divided by the bare server's.
func BenchmarkPublishToPin(b *testing.B) {
	ours, bare := startHub(b), startBare(b)
	for qos := range byte(2) {
		b.Run(fmt.Sprintf("QoS%d", qos), func(b *testing.B) {
			var hub50, hub99, bare50, bare99, ratio50, ratio99 []float64
			for i := 0; b.Loop(); i++ {
				var h, s []time.Duration
				if i%2 == 0 {
					h = ours.turn(b, qos)
					s = bare.turn(b, qos)
				} else {
					s = bare.turn(b, qos)
					h = ours.turn(b, qos)
				}
				hub50, hub99 = append(hub50, micros(h, 0.50)), append(hub99, micros(h, 0.99))
				bare50, bare99 = append(bare50, micros(s, 0.50)), append(bare99, micros(s, 0.99))
				ratio50 = append(ratio50, micros(h, 0.50)/micros(s, 0.50))
				ratio99 = append(ratio99, micros(h, 0.99)/micros(s, 0.99))
			}
			b.ReportMetric(0, "ns/op") // that of a turn says nothing
			b.ReportMetric(median(hub50), "hub-p50-µs")
			b.ReportMetric(median(hub99), "hub-p99-µs")
			b.ReportMetric(median(bare50), "bare-p50-µs")
			b.ReportMetric(median(bare99), "bare-p99-µs")
			b.ReportMetric(median(ratio50), "ratio-p50")
			b.ReportMetric(median(ratio99), "ratio-p99")
		})
	}
}

// micros is the quantile q of times in microseconds. It sorts them.
func micros(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return float64(times[int(q*float64(len(times)))].Nanoseconds()) / 1e3
}

func median(of []float64) float64 {
	slices.Sort(of)
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
}

// A side is one of the two that are compared: a connection to its server, and
// the pin that the server switches.
type side struct {
	name string
	conn net.Conn
	pin  *pin
	sent int
}

// turn sends one message after the other, each when the one before has arrived
// at the pin and been acknowledged, and gives how long each took to the pin.
func (s *side) turn(b *testing.B, qos byte) []time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC() // so that nobody sweeps up after the other
	s.conn.SetDeadline(time.Now().Add(patience))
	late := time.After(patience)
	times := make([]time.Duration, 0, turn)
	for n := range warmUp + turn {
		s.sent++
		on := s.sent%2 == 1
		pk := s.publish(b, qos, on)
		start := time.Now()
		if _, err := s.conn.Write(pk); err != nil {
			b.Fatalf("%s: message %d: %v", s.name, s.sent, err)
		}
		select {
		case got := <-s.pin.switched:
			if got.level != gpio.Level(on) {
				b.Fatalf("%s: message %d: the pin is %v", s.name, s.sent, got.level)
			}
			if n >= warmUp {
				times = append(times, got.at.Sub(start))
			}
		case <-late:
			b.Fatalf("%s: message %d did not reach the pin", s.name, s.sent)
		}
		if qos == 1 {
			expect(b, s.conn, packets.Puback, pk)
		}
	}
	return times
}

// publish is a sensor's report as bytes.
func (s *side) publish(b *testing.B, qos byte, on bool) []byte {
	pk := packets.Packet{
		ProtocolVersion: 4,
		FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: qos},
		TopicName:       topic,
		Payload: fmt.Appendf(nil, `{"battery":97,"illuminance":14,"linkquality":120,"occupancy":%t,"seq":%d,"temperature":21.4,"voltage":3005}`,
			on, s.sent),
	}
	if qos > 0 {
		pk.PacketID = uint16(s.sent%0xffff) + 1
	}
	var buf bytes.Buffer
	if err := pk.PublishEncode(&buf); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// expect reads the answer to a packet: of MQTT 3.1.1 those we ask for have two
// bytes after the header.
func expect(b *testing.B, conn net.Conn, kind byte, to []byte) {
	var answer [4]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		b.Fatalf("the answer to % x: %v", to, err)
	}
	if answer[0]>>4 != kind {
		b.Fatalf("the answer to % x is % x", to, answer)
	}
}

// connect makes the side of a server that listens at addr. The client is a bare
// socket: any client library would cost more than what is measured.
func connect(b *testing.B, name, addr string, p *pin) *side {
	return &side{name: name, conn: connectAs(b, addr, "sensor"), pin: p}
}

func connectAs(b *testing.B, addr, client string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect:     packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: client},
	}
	pk.ProtocolVersion = 4
	var buf bytes.Buffer
	if err := pk.ConnectEncode(&buf); err != nil {
		b.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(buf.Bytes()); err != nil {
		b.Fatal(err)
	}
	expect(b, conn, packets.Connack, buf.Bytes())
	conn.SetDeadline(time.Time{})
	return conn
}

// startHub is the whole hub as `hearth serve` runs it, its data on the disk and
// its log in a file.
func startHub(b *testing.B) *side {
	h, bank := runHub(b, house)
	return connect(b, "hub", h.Addrs()[0], bank.pin)
}

func runHub(b *testing.B, house string) (*hub.Hub, bank) {
	dir := b.TempDir()
	cfg, doc := hub.Parse(filepath.Join(dir, "config.toml"), []byte(house))
	if err := doc.Err(); err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	bank := newBank(b)
	h, err := hub.New(cfg, hub.Options{
		Bank:      bank,
		Simulated: true,
		Clock:     hub.SystemClock(),
		Log:       slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		log.Close()
	})
	// The first level is the start's, not a message's.
	<-bank.pin.switched
	return h, bank
}

// startBare is what somebody would write who needs this one rule and nothing
// else: the library that the hub's broker is made of, and a handler.
func startBare(b *testing.B) *side {
	server := mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(allowAll), nil); err != nil {
		b.Fatal(err)
	}
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := server.AddListener(tcp); err != nil {
		b.Fatal(err)
	}
	p := newBank(b).pin
	err := server.Subscribe(topic, 1, func(_ *mqtt.Client, _ packets.Subscription, pk packets.Packet) {
		var motion struct {
			Occupancy *bool `json:"occupancy"`
		}
		if json.Unmarshal(pk.Payload, &motion) == nil && motion.Occupancy != nil {
			p.Out(gpio.Level(*motion.Occupancy))
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close() })
	return connect(b, "bare", tcp.Address(), p)
}

// allowAll lets everybody in.
type allowAll struct{ mqtt.HookBase }

func (*allowAll) ID() string { return "allow-all" }
func (*allowAll) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}
func (*allowAll) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (*allowAll) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

// A bank is simulated pins, one of which tells when it is switched.
type bank struct {
	*hearth.Sim
	pin *pin
}

func newBank(b *testing.B) bank {
	sim := hearth.NewSim()
	inner, err := sim.ByName(pinName)
	if err != nil {
		b.Fatal(err)
	}
	return bank{sim, &pin{PinIO: inner, switched: make(chan switched, 1)}}
}

func (s bank) ByName(name string) (gpio.PinIO, error) {
	if name == pinName {
		return s.pin, nil
	}
	return s.Sim.ByName(name)
}

type pin struct {
	gpio.PinIO
	switched chan switched
}

// switched is a level that a pin has, and since when.
type switched struct {
	level gpio.Level
	at    time.Time
}

func (p *pin) Out(l gpio.Level) error {
	err := p.PinIO.Out(l)
	select {
	case p.switched <- switched{l, time.Now()}:
	default: // nobody waits: the hub stops, and the pin is made safe
	}
	return err
}
