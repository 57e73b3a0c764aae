package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"periph.io/x/conn/v3/gpio"
)

const (
	openPages = 100
	sensors   = 100                  // each of which reports ten times a second
	every     = time.Second / 1000   // so often one of them does
	pace      = 2 * time.Millisecond // between two messages that are measured
)

// pagesHouse has a rule for each of the sensors, so that each of their messages is a reading,
// and one for the message that is measured.
func pagesHouse() string {
	var b strings.Builder
	b.WriteString(strings.Replace(house, `listen = ""`, `listen = "127.0.0.1:0"`, 1))
	for n := range sensors {
		fmt.Fprintf(&b, "\n[rule.warm_%d]\ntrigger = { state = \"room/%d:temperature\", above = 100 }\naction = { set = \"porch_light\", to = true }\n", n, n)
	}
	return b.String()
}

// BenchmarkPages is the time from the write of a PUBLISH until the pin has its level while
// 1,000 other readings a second come, with 100 pages open and without any, in turns. The
// pages are read by another process, which stands back where a processor is short, as
// phones and tablets have their own. What it reports beside the medians is how much
// memory of the hub a page takes. It fails where that, or the ratio of the p99, is more than
// pages are to cost.
func BenchmarkPages(b *testing.B) {
	if os.Getenv("HEARTH_READ_PAGES") != "" {
		readPages(os.Getenv("HEARTH_READ_PAGES"))
		return
	}
	h, bank := runHub(b, pagesHouse())
	s := connect(b, "hub", h.Addrs()[0], bank.pin)
	flood(b, h.Addrs()[0])

	var with50, with99, without50, without99, ratio50, ratio99, each []float64
	for i := 0; b.Loop(); i++ {
		var with, without []time.Duration
		measured := func() {
			before := inUse()
			close := openAll(b, h.PageAddr())
			with = s.paced(b)
			each = append(each, float64(inUse()-before)/openPages/1000)
			close()
		}
		if i%2 == 0 {
			measured()
		}
		without = s.paced(b)
		if i%2 == 1 {
			measured()
		}
		with50, with99 = append(with50, micros(with, 0.50)), append(with99, micros(with, 0.99))
		without50, without99 = append(without50, micros(without, 0.50)), append(without99, micros(without, 0.99))
		ratio50 = append(ratio50, micros(with, 0.50)/micros(without, 0.50))
		ratio99 = append(ratio99, micros(with, 0.99)/micros(without, 0.99))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(without50), "no-page-p50-µs")
	b.ReportMetric(median(without99), "no-page-p99-µs")
	b.ReportMetric(median(with50), "100-pages-p50-µs")
	b.ReportMetric(median(with99), "100-pages-p99-µs")
	b.ReportMetric(median(ratio50), "ratio-p50")
	b.ReportMetric(median(ratio99), "ratio-p99")
	b.ReportMetric(median(each), "kB/page")
	if ratio, kB := median(ratio99), median(each); b.N > 1 && (ratio > 1.2 || kB > 100) {
		b.Errorf("with 100 pages the p99 is %.2f times that without, which is to be at most 1.2; a page takes %.0f kB, which is to be at most 100", ratio, kB)
	}
}

// inUse is what the process holds after a collection, in bytes.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // what pools kept goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// paced is a turn with time between the messages, as one that waits for the loop alone
// would find it in step with the others.
func (s *side) paced(b *testing.B) []time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	late := time.After(3 * patience)
	times := make([]time.Duration, 0, turn)
	for n := range warmUp + turn {
		time.Sleep(pace)
		s.sent++
		on := s.sent%2 == 1
		pk := s.publish(b, 0, on)
		start := time.Now()
		s.conn.SetDeadline(start.Add(patience))
		if _, err := s.conn.Write(pk); err != nil {
			b.Fatal(err)
		}
		select {
		case got := <-s.pin.switched:
			if got.level != gpio.Level(on) {
				b.Fatalf("message %d: the pin is %v", s.sent, got.level)
			}
			if n >= warmUp {
				times = append(times, got.at.Sub(start))
			}
		case <-late:
			b.Fatalf("message %d did not reach the pin", s.sent)
		}
	}
	return times
}

// flood publishes the other readings until the benchmark ends.
func flood(b *testing.B, addr string) {
	conn := connectAs(b, addr, "rooms")
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * every)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var buf bytes.Buffer
			for range 10 {
				pk := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: fmt.Sprintf("room/%d", n%sensors),
					Payload: fmt.Appendf(nil, `{"battery":97,"humidity":%d,"linkquality":120,"temperature":%d.%d}`, 40+n%20, n%30, n%10)}
				pk.PublishEncode(&buf)
				n++
			}
			if _, err := conn.Write(buf.Bytes()); err != nil && ctx.Err() == nil {
				b.Error(err)
				return
			}
		}
	}()
	b.Cleanup(func() { stop(); <-ended })
}

// openAll has another process open all pages, and returns when each has had its first
// picture. close closes them.
func openAll(b *testing.B, addr string) (close func()) {
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkPages$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "HEARTH_READ_PAGES="+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			b.Fatal("who reads the pages ended")
		}
		if lines.Text() == "all are open" {
			break
		}
	}
	return func() {
		in.Close()
		io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			b.Error("who reads the pages: ", err)
		}
	}
}

// readPages is the other process.
func readPages(addr string) {
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19)
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "a page:", err)
		os.Exit(1)
	}
	for range openPages {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			fail(err)
		}
		fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
		in := bufio.NewReader(conn)
		status, err := in.ReadString('\n')
		if err != nil || !strings.Contains(status, " 200 ") {
			fail(fmt.Errorf("%s %w", status, err))
		}
		for line := ""; !strings.HasPrefix(line, "event: house"); {
			if line, err = in.ReadString('\n'); err != nil {
				fail(err)
			}
		}
		go func() {
			io.Copy(io.Discard, in)
			fail(io.EOF) // nobody closed it
		}()
	}
	fmt.Println("all are open")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
