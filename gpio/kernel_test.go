package gpio

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/devices"
	"hearth/store"

	"github.com/warthog618/go-gpiocdev"
	"periph.io/x/conn/v3/gpio"
)

// TestKernel drives lines of a real kernel: those of gpio-sim, in a virtual
// machine that vm/run.sh starts. What is seen from outside comes from the
// kernel, not from us: the value and pull of each simulated line, trace events,
// and go-gpiocdev as the other program.
func TestKernel(t *testing.T) {
	if os.Getenv("HEARTH_VM") == "" {
		t.Skip("NOT TESTED: this machine has no simulated kernel lines. Run make gpio-test (about a minute, after a first download of 210 MB).")
	}
	m := newMachine(t)
	t.Run("names", m.names)
	t.Run("survey", m.survey)
	t.Run("start without a pulse", m.startWithoutAPulse)
	t.Run("reading changes nothing", m.readingChangesNothing)
	t.Run("switching", m.switching)
	t.Run("pull", m.pulls)
	t.Run("edges", m.edges)
	t.Run("lost edges", m.lostEdges)
	t.Run("debounce", m.debounce)
	t.Run("waiting", m.waiting)
	t.Run("busy", m.busy)
	t.Run("busy and freed", m.freed)
	t.Run("counter", m.counter)
	t.Run("counter debounced", m.counterDebounced)
	t.Run("encoder", m.encoder)
	t.Run("reload", m.reload)
	t.Run("direction", m.direction)
	t.Run("nothing is left behind", m.nothingIsLeft)
	t.Run("killed", m.killed)
	t.Run("chip removed and back", m.removed) // last: these take the chip away
	t.Run("counters of a chip removed and back", m.removedCounters)
}

// machine is the test machine seen from outside the kernel's GPIO device.
type machine struct {
	sim string // the folder of the simulated chip in sysfs
	dev string // gpiochip0
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	sims, err := filepath.Glob("/sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio0")
	if err != nil || len(sims) != 1 {
		t.Fatalf("simulated chips: %v, %v", sims, err)
	}
	sim := filepath.Dir(sims[0])
	return &machine{sim: sim, dev: filepath.Base(sim)}
}

func (m *machine) attr(t *testing.T, line int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("%s/sim_gpio%d/%s", m.sim, line, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (m *machine) wantValue(t *testing.T, line int, want string) {
	t.Helper()
	if got := m.attr(t, line, "value"); got != want {
		t.Errorf("the value of line %d is %s, want %s", line, got, want)
	}
}

// pull puts a level on a line from outside.
func (m *machine) pull(t *testing.T, line int, l gpio.Level) {
	t.Helper()
	to := "pull-down"
	if l {
		to = "pull-up"
	}
	if err := os.WriteFile(fmt.Sprintf("%s/sim_gpio%d/pull", m.sim, line), []byte(to), 0); err != nil {
		t.Fatal(err)
	}
}

const tracing = "/sys/kernel/tracing/"

// trace is what the kernel did to lines while do ran: "set 1", "out". It numbers
// lines over all chips, so do should use one line only.
func trace(t *testing.T, do func()) []string {
	t.Helper()
	write := func(file, text string) {
		if err := os.WriteFile(tracing+file, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write("trace", "")
	write("events/gpio/enable", "1")
	do()
	write("events/gpio/enable", "0")
	b, err := os.ReadFile(tracing + "trace")
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for line := range strings.Lines(string(b)) {
		// … gpio_value: 512 set 1      … gpio_direction: 512 out (0)
		f := strings.Fields(line)
		switch i := slices.IndexFunc(f, func(s string) bool { return s == "gpio_value:" || s == "gpio_direction:" }); {
		case i < 0 || strings.HasPrefix(line, "#"):
		case f[i] == "gpio_value:":
			events = append(events, f[i+2]+" "+f[i+3])
		default:
			events = append(events, f[i+2])
		}
	}
	return events
}

// info is the line as another program sees it.
func (m *machine) info(t *testing.T, line int) gpiocdev.LineInfo {
	t.Helper()
	c, err := gpiocdev.NewChip(m.dev)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.LineInfo(line)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func kernel(t *testing.T) Bank {
	t.Helper()
	b, err := OpenKernel()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A hub that writes down what it hears, with real time.
type listener struct {
	mu    sync.Mutex
	heard []devices.Reading
	full  chan struct{}
}

func (l *listener) options(bank Bank) Options {
	began := time.Now()
	return Options{
		Bank: bank,
		Now:  func() devices.Now { return devices.Now{Mono: time.Since(began), Wall: time.Now(), Known: true} },
		Feed: func(r devices.Reading) {
			if l.full != nil {
				<-l.full
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.heard = append(l.heard, r)
		},
	}
}

func (l *listener) readings() []devices.Reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard)
}

// waitFor gives the machine, which is slow, a long time for something short.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func openPins(t *testing.T, toml string, opt Options) *Pins {
	t.Helper()
	p, err := Open(configured(t, toml), opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func closePins(t *testing.T, p *Pins) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func (m *machine) names(t *testing.T) {
	// As on a Raspberry Pi 5: a second name for the chip.
	link := "/dev/gpiochip9"
	if err := os.Symlink(m.dev, link); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(link)
	b := kernel(t)
	if n := len(b.Names()); n != 28 {
		t.Errorf("%d pins: %v", n, b.Names())
	}
	p, err := b.ByName("GPIO17")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{m.dev + ":17", "gpiochip9:17"} {
		if q, err := b.ByName(name); err != nil || q != p {
			t.Errorf("%s is %v, %v, want the pin %v", name, q, err, p)
		}
	}
}

// A survey tells who holds what, and touches no line: not one that is held, and
// not one that is free.
func (m *machine) survey(t *testing.T) {
	var hub listener
	p := openPins(t, "[output.lamp]\npin = \"GPIO17\"\n[input.door]\npin = \"GPIO4\"\npull = \"up\"", hub.options(kernel(t)))
	other, err := gpiocdev.RequestLine(m.dev, 5, gpiocdev.WithConsumer("somebody"), gpiocdev.AsOutput(1))
	if err != nil {
		t.Fatal(err)
	}
	var chips []Chip
	if events := trace(t, func() { chips, err = Survey() }); len(events) > 0 {
		t.Errorf("the survey did %v", events)
	}
	if err != nil || len(chips) != 1 || len(chips[0].Lines) != 28 || chips[0].Label != "pinctrl-sim" || chips[0].Path != "/dev/"+m.dev {
		t.Fatalf("%+v, %v", chips, err)
	}
	for line, want := range map[int]ChipLine{
		17: {ID: m.dev + ":17", Name: "GPIO17", Direction: "output", Used: true, Consumer: Consumer},
		4:  {ID: m.dev + ":4", Name: "GPIO4", Direction: "input", Pull: "up", Used: true, Consumer: Consumer},
		5:  {ID: m.dev + ":5", Name: "GPIO5", Direction: "output", Used: true, Consumer: "somebody"},
		6:  {ID: m.dev + ":6", Name: "GPIO6", Direction: "input"},
	} {
		if got := chips[0].Lines[line]; got != want {
			t.Errorf("line %d: %+v, want %+v", line, got, want)
		}
	}
	m.wantValue(t, 5, "1")
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	closePins(t, p)
}

// Every start of an output is one request to the kernel: the level, then the
// direction, and nothing else up to the first command. (Reading back shows as
// a get; Close sets the safe level, which is the same.)
func (m *machine) startWithoutAPulse(t *testing.T) {
	const starts = 100
	for _, activeLow := range []bool{false, true} {
		off := gpio.Level(activeLow)
		set, get := fmt.Sprintf("set %d", levelNumber(off)), fmt.Sprintf("get %d", levelNumber(off))
		m.pull(t, 17, off) // as the relay board does
		events := trace(t, func() {
			for range starts {
				var hub listener
				p := openPins(t, fmt.Sprintf("[output.relay]\npin = \"GPIO17\"\nactive_low = %v", activeLow), hub.options(kernel(t)))
				waitFor(t, "first reading", func() bool { return len(hub.readings()) == 1 })
				m.wantValue(t, 17, fmt.Sprint(levelNumber(off)))
				closePins(t, p)
			}
		})
		want := slices.Repeat([]string{set, "out", get, set, get}, starts)
		if !slices.Equal(events, want) {
			t.Errorf("active_low = %v: the kernel did %v", activeLow, events)
		}
		on := fmt.Sprintf("set %d", levelNumber(!off))
		t.Logf("active_low = %v: %d starts, %d events, %q among them: %v", activeLow, starts, len(events), on, slices.Contains(events, on))
	}
}

func levelNumber(l gpio.Level) int {
	if l {
		return 1
	}
	return 0
}

func (m *machine) readingChangesNothing(t *testing.T) {
	p, err := kernel(t).ByName("GPIO5")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Out(gpio.High); err != nil {
		t.Fatal(err)
	}
	defer p.Halt()
	events := trace(t, func() {
		for range 1000 {
			if l := p.Read(); !l {
				t.Fatal("it reads Low")
			}
		}
	})
	for _, e := range events {
		if e != "get 1" {
			t.Fatalf("reading made %q", e)
		}
	}
	m.wantValue(t, 5, "1")
	if info := m.info(t, 5); info.Config.Direction != gpiocdev.LineDirectionOutput || info.Consumer != "hearth" {
		t.Errorf("%+v", info)
	}
	t.Logf("1000 reads: %d events, all of them reads", len(events))
}

func (m *machine) switching(t *testing.T) {
	var hub listener
	p := openPins(t, "[output.lamp]\npin = \"GPIO6\"\n[output.relay]\npin = \"GPIO7\"\nactive_low = true", hub.options(kernel(t)))
	for _, on := range []bool{true, false, true} {
		if err := errors.Join(p.Set("lamp", on), p.Set("relay", on)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "readings", func() bool { return len(hub.readings()) == 8 })
	m.wantValue(t, 6, "1")
	m.wantValue(t, 7, "0")
	began := time.Now()
	const n = 1000
	for i := range n {
		if err := p.Set("lamp", i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "readings", func() bool { return len(hub.readings()) == 8+n })
	t.Logf("%d commands switched and read back in %v", n, time.Since(began).Round(time.Millisecond))
	began = time.Now()
	closePins(t, p)
	t.Logf("Close took %v", time.Since(began).Round(time.Millisecond))
	for line := 6; line <= 7; line++ {
		if info := m.info(t, line); info.Used {
			t.Errorf("after Close: %+v", info)
		}
	}
}

func (m *machine) pulls(t *testing.T) {
	p, err := kernel(t).ByName("GPIO8")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Halt()
	for _, tt := range []struct {
		pull gpio.Pull
		want gpio.Level
	}{{gpio.PullUp, gpio.High}, {gpio.PullDown, gpio.Low}} {
		if err := p.In(tt.pull, gpio.NoEdge); err != nil {
			t.Fatal(err)
		}
		if got := p.Read(); got != tt.want || p.Pull() != tt.pull {
			t.Errorf("%v: it reads %v, pull %v", tt.pull, got, p.Pull())
		}
	}
	if err := p.In(gpio.Float, gpio.NoEdge); err != nil {
		t.Errorf("without a pull: %v", err)
	}
}

// Forty quick edges arrive, each with its time and in order.
func (m *machine) edges(t *testing.T) {
	m.pull(t, 9, gpio.Low)
	p, err := kernel(t).ByName("GPIO9")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.In(gpio.PullNoChange, gpio.BothEdges); err != nil {
		t.Fatal(err)
	}
	defer p.Halt()
	began := time.Now()
	const n = 40
	for i := range n {
		m.pull(t, 9, gpio.Level(i%2 == 0))
	}
	ended := time.Now()
	last := began
	for i := range n {
		e, err := p.(edger).NextEdge(time.Second)
		if err != nil {
			t.Fatalf("edge %d: %v", i+1, err)
		}
		if e.Seq != uint32(i+1) || e.Level != gpio.Level(i%2 == 0) || e.At.Before(last.Add(-time.Millisecond)) || e.At.After(ended.Add(time.Millisecond)) {
			t.Errorf("edge %d is %+v, between %v and %v", i+1, e, last, ended)
		}
		last = e.At
	}
	if e, err := p.(edger).NextEdge(0); err != errTimeout {
		t.Errorf("one more: %+v, %v", e, err)
	}
	t.Logf("%d of %d edges, %v apart", n, n, (ended.Sub(began) / n).Round(time.Microsecond))
}

// More edges than the kernel keeps, while the hub takes nothing: they are
// counted as lost, and the last word is the level that the line has.
func (m *machine) lostEdges(t *testing.T) {
	m.pull(t, 10, gpio.Low)
	hub := listener{full: make(chan struct{})}
	p := openPins(t, "[input.meter]\npin = \"GPIO10\"", hub.options(kernel(t)))
	const n = 1501
	for i := range n {
		m.pull(t, 10, gpio.Level(i%2 == 0))
	}
	close(hub.full)
	waitFor(t, "last level", func() bool {
		h := hub.readings()
		return len(h) > 300 && h[len(h)-1].Value == true && p.Inputs()[0].Lost > 0
	})
	time.Sleep(200 * time.Millisecond)
	h := hub.readings()
	i := p.Inputs()[0]
	if h[len(h)-1].Value != true || !i.On {
		t.Errorf("last heard %+v, input is %+v", h[len(h)-1], i)
	}
	t.Logf("shown: 7. in package gpio %d edges while nobody took any: %d lost, %d readings, and the level is right", n, i.Lost, len(h))
	closePins(t, p)
}

func (m *machine) debounce(t *testing.T) {
	m.pull(t, 11, gpio.Low)
	var hub listener
	p := openPins(t, "[input.button]\npin = \"GPIO11\"\ndebounce = \"50ms\"", hub.options(kernel(t)))
	waitFor(t, "first reading", func() bool { return len(hub.readings()) == 1 })
	bursts := 20
	for b := range bursts {
		for i := range 21 {
			m.pull(t, 11, gpio.Level(i%2 == 0) != gpio.Level(b%2 == 1))
		}
		settled := time.Now()
		waitFor(t, "the settled level", func() bool { return len(hub.readings()) == b+2 })
		r := hub.readings()[b+1]
		if r.Value != (b%2 == 0) {
			t.Fatalf("burst %d ended as %v", b, r.Value)
		}
		if late := time.Since(settled); b == 0 {
			t.Logf("told %v after the last bounce", late.Round(time.Millisecond))
		}
	}
	time.Sleep(200 * time.Millisecond)
	if n := len(hub.readings()); n != bursts+1 {
		t.Errorf("%d readings", n)
	}
	t.Logf("%d bursts of 21 edges: %d readings", bursts, len(hub.readings())-1)
	closePins(t, p)
}

func (m *machine) waiting(t *testing.T) {
	p, err := kernel(t).ByName("GPIO12")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.In(gpio.PullDown, gpio.BothEdges); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if p.WaitForEdge(100 * time.Millisecond) {
		t.Error("an edge out of nothing")
	}
	if d := time.Since(began); d < 100*time.Millisecond {
		t.Errorf("waited only %v", d)
	}
	done := make(chan bool)
	go func() { done <- p.WaitForEdge(-1) }()
	select {
	case <-done:
		t.Error("WaitForEdge(-1) did not wait")
	case <-time.After(300 * time.Millisecond):
	}
	m.pull(t, 12, gpio.High)
	if !<-done {
		t.Error("WaitForEdge(-1) missed the edge")
	}
	go func() { done <- p.WaitForEdge(-1) }()
	time.Sleep(50 * time.Millisecond)
	if err := p.Halt(); err != nil {
		t.Error(err)
	}
	select {
	case edge := <-done:
		if edge {
			t.Error("Halt came out as an edge")
		}
	case <-time.After(10 * time.Second):
		t.Error("Halt does not end WaitForEdge")
	}
}

func (m *machine) busy(t *testing.T) {
	other, err := gpiocdev.RequestLine(m.dev, 13, gpiocdev.AsOutput(0), gpiocdev.WithConsumer("heating-script"))
	if err != nil {
		t.Fatal(err)
	}
	var hub listener
	p := openPins(t, "[output.boiler]\npin = \"GPIO13\"\n[output.lamp]\npin = \"GPIO14\"", hub.options(kernel(t)))
	want := m.dev + `:13 is held by "heating-script": device or resource busy`
	waitFor(t, "a fault", func() bool { return p.Outputs()[0].Fault != "" })
	if o := p.Outputs(); !strings.Contains(o[0].Fault, want) || o[0].Known || o[1].Fault != "" {
		t.Errorf("while another holds the line: %+v", o)
	}
	if err := p.Set("lamp", true); err != nil {
		t.Error(err)
	}
	waitFor(t, "the lamp", func() bool { return p.Outputs()[1].On })
	t.Log(p.Outputs()[0].Fault)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	waitFor(t, "the line", func() bool { return p.Outputs()[0].Known })
	if took := time.Since(freed); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if info := m.info(t, 13); info.Consumer != "hearth" {
		t.Errorf("%+v", info)
	}
	if _, err := gpiocdev.RequestLine(m.dev, 13, gpiocdev.AsInput); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("another program asks for our line and gets %v", err)
	}
	closePins(t, p)
}

// A line that another program has when the hub comes, and then lets go, again and
// again: each time it is the hub's within five seconds, and nothing is left.
func (m *machine) freed(t *testing.T) {
	bank := kernel(t)
	var slowest time.Duration
	var files, routines int
	cycles := number("cycles", 20)
	for i := range cycles {
		other, err := gpiocdev.RequestLine(m.dev, 13, gpiocdev.AsInput, gpiocdev.WithConsumer("heating-script"))
		if err != nil {
			t.Fatal(err)
		}
		var hub listener
		p := openPins(t, "[output.boiler]\npin = \"GPIO13\"\n[input.pir]\npin = \"GPIO14\"", hub.options(bank))
		waitFor(t, "a fault", func() bool { return p.Outputs()[0].Fault != "" })
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		freed := time.Now()
		waitFor(t, "the line", func() bool { return p.Outputs()[0].Known })
		slowest = max(slowest, time.Since(freed))
		if err := p.Set("boiler", true); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the boiler", func() bool { return p.Outputs()[0].On })
		closePins(t, p)
		if i == min(10, cycles/2) {
			files, routines = m.descriptors(t), runtime.NumGoroutine()
		}
	}
	if slowest > 5*time.Second {
		t.Errorf("it took %v", slowest)
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= routines })
	if n := m.descriptors(t); n > files {
		t.Errorf("%d descriptors, before %d", n, files)
	}
	t.Logf("shown: 8. in package gpio %d times a line was held by another and freed: the hub's after %v at most; goroutines %d before and %d after, descriptors %d and %d",
		cycles, slowest.Round(time.Millisecond), routines, runtime.NumGoroutine(), files, m.descriptors(t))
}

// Many more pulses than the kernel keeps come while nobody takes any; then a slow
// meter. Each is counted, and the rate is that of the edges.
func (m *machine) counter(t *testing.T) {
	m.pull(t, 25, gpio.High)
	var hub listener
	p := openPins(t, "[counter.power]\npin = \"GPIO25\"\nactive_low = true\nrate = \"1s\"\ninterval = \"100ms\"", hub.options(kernel(t)))
	waitFor(t, "the counter", func() bool { return p.Inputs()[0].Known })
	const n = 3000
	began := time.Now()
	p.mu.Lock() // its worker stands still
	for range n {
		m.pull(t, 25, gpio.Low)
		m.pull(t, 25, gpio.High)
	}
	p.mu.Unlock()
	apart := time.Since(began) / n
	last := func(source string) (v float64) {
		for _, r := range hub.readings() {
			if f, ok := r.Value.(float64); ok && r.Source == source {
				v = f
			}
		}
		return v
	}
	waitFor(t, "all pulses", func() bool { return last("power") == n })
	lost := p.Inputs()[0].Lost
	if lost < n-2*kernelEdges {
		t.Errorf("%d were lost, so the kernel kept more than it can", lost)
	}
	t.Logf("%d pulses, %v apart, %d of them lost by the kernel and counted all the same; %d readings", n, apart.Round(time.Microsecond), lost, len(hub.readings()))

	pulse := func() {
		m.pull(t, 25, gpio.Low)
		m.pull(t, 25, gpio.High)
	}
	time.Sleep(300 * time.Millisecond)
	pulse()
	began = time.Now()
	waitFor(t, "a pulse", func() bool { return last("power") == n+1 })
	time.Sleep(time.Second - time.Since(began))
	pulse()
	took := time.Since(began).Seconds()
	waitFor(t, "a pulse", func() bool { return last("power") == n+2 && last("power.pulses") == n+2 })
	time.Sleep(10 * time.Millisecond)
	if rate := last("power.rate"); rate < 0.9/took || rate > 1.1/took {
		t.Errorf("two pulses %v s apart are a rate of %v", took, rate)
	} else {
		t.Logf("two pulses %.3f s apart are a rate of %v a second", took, rate)
	}
	if info := m.info(t, 25); info.Consumer != "hearth" || info.Config.EdgeDetection != gpiocdev.LineEdgeFalling {
		t.Errorf("%+v", info)
	}
	closePins(t, p)
	if m.info(t, 25).Used {
		t.Error("after Close it is held")
	}
}

// The kernel filters, and tells one of the two edges: a pulse that bounces is one.
func (m *machine) counterDebounced(t *testing.T) {
	m.pull(t, 4, gpio.Low)
	var hub listener
	p := openPins(t, "[counter.water]\npin = \"GPIO4\"\ndebounce = \"5ms\"\ninterval = \"100ms\"", hub.options(kernel(t)))
	waitFor(t, "the counter", func() bool { return p.Inputs()[0].Known })
	const n = 20
	for range n {
		for _, end := range []bool{true, false} {
			for i := range 11 {
				m.pull(t, 4, gpio.Level((i%2 == 0) == end))
			}
			time.Sleep(30 * time.Millisecond)
		}
	}
	waitFor(t, "the total", func() bool { return strings.HasPrefix(p.Inputs()[0].Shows, fmt.Sprintf("%d,", n)) })
	time.Sleep(200 * time.Millisecond)
	if i := p.Inputs()[0]; !strings.HasPrefix(i.Shows, fmt.Sprintf("%d,", n)) || i.Lost != 0 {
		t.Errorf("%+v", i)
	}
	t.Logf("%d pulses of 22 edges: %s", n, p.Inputs()[0].Shows)
	closePins(t, p)
}

// Two lines of one request: their edges come in order, however quickly it is
// turned.
func (m *machine) encoder(t *testing.T) {
	const a, b = 26, 27
	m.pull(t, a, gpio.High)
	m.pull(t, b, gpio.High)
	var hub listener
	p := openPins(t, "[encoder.volume]\na = \"GPIO26\"\nb = \"GPIO27\"", hub.options(kernel(t)))
	waitFor(t, "first reading", func() bool { return len(hub.readings()) == 1 })
	time.Sleep(100 * time.Millisecond)
	turn := func(detents int, first, second int) {
		for range detents {
			for _, l := range []gpio.Level{gpio.Low, gpio.High} {
				for _, line := range []int{first, second} {
					m.pull(t, line, l)
					m.pull(t, line, !l) // it bounces
					m.pull(t, line, l)
				}
			}
		}
	}
	began := time.Now()
	turn(20, a, b)
	turn(5, b, a)
	took := time.Since(began)
	position := func() any {
		var v any
		for _, r := range hub.readings() {
			if r.Source == "volume" {
				v = r.Value
			}
		}
		return v
	}
	waitFor(t, "the position", func() bool { return position() == 15.0 })
	turned := 0.0
	for _, r := range hub.readings() {
		if r.Source == "volume.turn" {
			turned += r.Value.(float64)
		}
	}
	i := p.Inputs()[0]
	if turned != 15 {
		t.Errorf("turned by %v, %+v", turned, i)
	}
	for _, line := range []int{a, b} {
		if info := m.info(t, line); info.Consumer != "hearth" {
			t.Errorf("%+v", info)
		}
	}
	t.Logf("25 detents, bouncing, 300 edges in %v: %d came together with the one before, at %v", took.Round(time.Millisecond), i.Lost, position())
	closePins(t, p)
	if m.info(t, a).Used || m.info(t, b).Used {
		t.Error("after Close it is held")
	}
}

// A setting that matters later does nothing to the pin. A pin that goes to an
// output with another name is written once, and never let go.
func (m *machine) reload(t *testing.T) {
	var hub listener
	p := openPins(t, "[output.lamp]\npin = \"GPIO24\"\ninitial = \"on\"", hub.options(kernel(t)))
	waitFor(t, "first reading", func() bool { return len(hub.readings()) == 1 })
	events := trace(t, func() {
		for i, toml := range []string{
			"[output.lamp]\npin = \"GPIO24\"\ninitial = \"on\"\nsafe = \"hold\"",
			"[output.light]\npin = \"GPIO24\"\ninitial = \"on\"",
		} {
			c, err := p.Prepare(configured(t, toml))
			if err != nil {
				t.Fatal(err)
			}
			c.Commit()
			waitFor(t, "reading", func() bool { return len(hub.readings()) == 1+i })
		}
	})
	if want := []string{"set 1", "get 1"}; !slices.Equal(events, want) {
		t.Errorf("the kernel did %v, want %v", events, want)
	}
	closePins(t, p)
}

func (m *machine) direction(t *testing.T) {
	m.pull(t, 16, gpio.High)
	var hub listener
	p := openPins(t, "[output.a]\npin = \"GPIO15\"\ninitial = \"on\"\n[input.b]\npin = \"GPIO16\"", hub.options(kernel(t)))
	c, err := p.Prepare(configured(t, "[output.a]\npin = \"GPIO16\"\ninitial = \"on\"\n[input.b]\npin = \"GPIO15\"\npull = \"up\""))
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	waitFor(t, "both to be on", func() bool { return p.Outputs()[0].On && p.Inputs()[0].On })
	m.wantValue(t, 16, "1")
	if a, b := p.Outputs()[0], p.Inputs()[0]; a.Fault != "" || b.Fault != "" {
		t.Errorf("%+v %+v", a, b)
	}
	closePins(t, p)
}

// descriptors counts what this process holds.
func (m *machine) descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func (m *machine) nothingIsLeft(t *testing.T) {
	bank := kernel(t)
	var files, routines int
	const rounds = 200
	for i := range rounds {
		var hub listener
		p := openPins(t, "[output.a]\npin = \"GPIO18\"\n[input.b]\npin = \"GPIO19\"\ndebounce = \"5ms\"", hub.options(bank))
		closePins(t, p)
		if i == 10 {
			files, routines = m.descriptors(t), runtime.NumGoroutine()
		}
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= routines })
	if n := m.descriptors(t); n > files {
		t.Errorf("%d descriptors, before %d", n, files)
	}
	t.Logf("%d rounds: %d goroutines, %d descriptors, as after ten", rounds, runtime.NumGoroutine(), m.descriptors(t))
}

// TestVictim is the hub that killed kills: it switches two outputs on and waits.
func TestVictim(t *testing.T) {
	dir := os.Getenv("HEARTH_VM_VICTIM")
	if dir == "" {
		t.Skip("only for TestKernel/killed")
	}
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var hub listener
	opt := hub.options(kernel(t))
	opt.Store = st
	p := openPins(t, killedConfig, opt)
	if err := errors.Join(p.Set("boiler", true), p.Set("night_light", true)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both to be on", func() bool { return p.Outputs()[0].On && p.Outputs()[1].On })
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Println("victim is ready")
	time.Sleep(time.Hour)
}

const killedConfig = `
	[output.boiler]
	pin = "GPIO20"
	active_low = true
	[output.night_light]
	pin = "GPIO21"
	safe = "hold"
`

func (m *machine) killed(t *testing.T) {
	m.pull(t, 20, gpio.High) // the relay board
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), "HEARTH_VM_VICTIM="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := false
	for s := bufio.NewScanner(out); !ready && s.Scan(); {
		ready = strings.Contains(s.Text(), "victim is ready")
	}
	if !ready {
		t.Fatal("the victim did not get ready: ", cmd.Wait())
	}
	m.wantValue(t, 20, "0")
	m.wantValue(t, 21, "1")

	began := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	t.Logf("SIGKILL: boiler (active low, on) was 0 and is %s, night_light was 1 and is %s; held: %v, %v",
		m.attr(t, 20, "value"), m.attr(t, 21, "value"), m.info(t, 20).Used, m.info(t, 21).Used)

	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	bank := kernel(t)
	events := trace(t, func() {
		if err := Safe(bank, st); err != nil {
			t.Error(err)
		}
	})
	t.Logf("Safe, %v after the kill: %v; boiler is %s", time.Since(began).Round(time.Millisecond), events, m.attr(t, 20, "value"))
	if !slices.Equal(events, []string{"set 1", "out"}) {
		t.Errorf("Safe did %v", events)
	}
	m.wantValue(t, 20, "1")

	// The next start goes on where safe = "hold".
	var hub listener
	opt := hub.options(bank)
	opt.Store = st
	p := openPins(t, killedConfig, opt)
	waitFor(t, "first readings", func() bool { return len(hub.readings()) == 2 })
	m.wantValue(t, 20, "1")
	m.wantValue(t, 21, "1")
	closePins(t, p)
}

// live plugs the chip in ("1") or unplugs it ("0").
func (m *machine) live(t *testing.T, on string) {
	t.Helper()
	if err := os.WriteFile("/sys/kernel/config/gpio-sim/header/live", []byte(on), 0); err != nil {
		t.Fatal(err)
	}
}

// A chip that is unplugged and comes back, as another number, again and again:
// each time both lines are back within five seconds, in a state that was
// declared, and nothing more is held than before.
func (m *machine) removed(t *testing.T) {
	var hub listener
	p := openPins(t, "[output.lamp]\npin = \"GPIO22\"\n[input.pir]\npin = \"GPIO23\"", hub.options(kernel(t)))
	var slowest time.Duration
	var files, routines int
	// This kernel (6.1) never frees the numbers of a chip that went while a line of it
	// was held, and has a thousand.
	cycles := min(number("cycles", 20), 30)
	for i := range cycles {
		waitFor(t, "both", func() bool { return p.Outputs()[0].Known && p.Inputs()[0].Known })
		if i == 0 || i == 1 { // the first had no fault yet
			files, routines = m.descriptors(t), runtime.NumGoroutine()
		}
		if err := p.Set("lamp", true); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the lamp", func() bool { return p.Outputs()[0].On })
		m.live(t, "0")
		if i > 0 { // a command finds out at once, nobody's after a while
			if err := p.Set("lamp", true); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "faults", func() bool { return p.Outputs()[0].Fault != "" && p.Inputs()[0].Fault != "" })
		m.live(t, "1")
		restored := time.Now()
		waitFor(t, "both", func() bool { return p.Outputs()[0].Known && p.Inputs()[0].Known })
		slowest = max(slowest, time.Since(restored))
		if o := p.Outputs()[0]; o.On {
			t.Fatalf("it came back as %+v", o)
		}
		*m = *newMachine(t) // its lines have other names in sysfs
		m.wantValue(t, 22, "0")
	}
	if slowest > 5*time.Second {
		t.Errorf("it took %v until both were back", slowest)
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= routines })
	if n := m.descriptors(t); n > files {
		t.Errorf("%d descriptors, before %d", n, files)
	}
	t.Logf("shown: 8. in package gpio %d times the chip was removed and restored: back after %v at most; goroutines %d before and %d after, descriptors %d and %d",
		cycles, slowest.Round(time.Millisecond), routines, runtime.NumGoroutine(), files, m.descriptors(t))
	closePins(t, p)
}

// A counter and an encoder are back soon after their chip is, and count on.
func (m *machine) removedCounters(t *testing.T) {
	var hub listener
	p := openPins(t, "[counter.power]\npin = \"GPIO24\"\ninterval = \"100ms\"\n[encoder.volume]\na = \"GPIO26\"\nb = \"GPIO27\"", hub.options(kernel(t)))
	all := func(is func(Info) bool) func() bool {
		return func() bool { i := p.Inputs(); return is(i[0]) && is(i[1]) }
	}
	pulse := func() {
		m := newMachine(t)
		m.pull(t, 24, gpio.High)
		m.pull(t, 24, gpio.Low)
	}
	works := all(func(i Info) bool { return i.Known && i.Fault == "" })
	waitFor(t, "both", works)
	pulse()
	waitFor(t, "the pulse", func() bool { return strings.HasPrefix(p.Inputs()[0].Shows, "1") })
	m.live(t, "0")
	waitFor(t, "two faults", all(func(i Info) bool { return i.Fault != "" }))
	t.Logf("without the chip: %q", p.Inputs()[0].Fault)
	m.live(t, "1")
	began := time.Now()
	waitFor(t, "both", works)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("back only after %v", took)
	} else {
		t.Logf("back after %v", took.Round(time.Millisecond))
	}
	pulse()
	waitFor(t, "the next pulse", func() bool {
		return strings.HasPrefix(p.Inputs()[0].Shows, "2, ") || p.Inputs()[0].Shows == "2, 1 gap"
	})
	if shows := p.Inputs()[0].Shows; !strings.HasSuffix(shows, "1 gap") {
		t.Errorf("it shows %q", shows)
	}
	closePins(t, p)
}

// number is how often HEARTH_VM, such as "cycles=1000", says that something is to
// be done.
func number(name string, otherwise int) int {
	for _, word := range strings.Fields(os.Getenv("HEARTH_VM")) {
		if is, n, _ := strings.Cut(word, "="); is == name {
			if n, err := strconv.Atoi(n); err == nil && n > 0 {
				return n
			}
		}
	}
	return otherwise
}
