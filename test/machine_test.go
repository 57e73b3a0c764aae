package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMachine is the hub on a real kernel: vm/run.sh boots one with 28 simulated
// lines and a bus with two sensors. The hub is the binary that ships, started and
// cleaned up after as its systemd unit says; its clients are MQTT clients. What
// the lines do is read from the kernel alone: the simulated lines' values, trace
// events with their times, and /sys/kernel/debug/gpio.
//
// How often things are done is said by HEARTH_VM, such as "starts=100 bursts=10000".
func TestMachine(t *testing.T) {
	if os.Getenv("HEARTH_VM") == "" {
		t.Skip("NOT TESTED: this machine has no simulated kernel lines. Run make gpio-test.")
	}
	m := newMachine(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"lines are held", m.held},
		{"starts", m.starts},
		{"ends", m.ends},
		{"an interlocked pair", m.interlocked},
		{"max_on", m.maxOn},
		{"timed sets", m.timedSets},
		{"bounces", m.bounces},
		{"feedback", m.feedback},
		{"a line that another holds", m.busy},
		{"sensors", m.sensors},
		{"a chip that comes and goes", m.unplugged}, // last: its lines get other numbers
	} {
		t.Run(test.name, test.run)
	}
}

// number is how often HEARTH_VM says that something is to be done.
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

// shown is what a test has found out, for the summary of vm/run.sh.
func shown(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("shown: "+format, args...)
}

// A machine is the kernel seen from outside the hub.
type machine struct {
	chip string // its folder in sysfs; "": to be looked for

	mu     sync.Mutex
	events []event
	marks  int
}

// An event is what was done to a line.
type event struct {
	at   time.Duration // CLOCK_MONOTONIC
	line int           // as the kernel numbers them over all chips
	did  string        // "set 1", "get 0", "in", "out"; "mark 7" is ours
}

const tracing = "/sys/kernel/tracing/"

// newMachine begins to listen to the kernel's trace.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{}
	for _, set := range []struct{ file, to string }{
		{"trace_clock", "mono"}, {"buffer_size_kb", "8192"}, {"events/gpio/enable", "1"},
	} {
		write(t, tracing+set.file, set.to)
	}
	fd, err := unix.Open(tracing+"trace_pipe", unix.O_RDONLY|unix.O_CLOEXEC, 0) // not os.Open, whose poller waits for half a buffer
	if err != nil {
		t.Fatal(err)
	}
	go m.listen(os.NewFile(uintptr(fd), "trace_pipe"))
	t.Cleanup(func() { write(t, tracing+"events/gpio/enable", "0") })
	return m
}

func (m *machine) listen(pipe io.Reader) {
	//    hearth-93      [000] .....     4.816354: gpio_value: 996 set 1
	//    hearth-93      [000] .....     4.816355: gpio_direction: 996 out (0)
	line := regexp.MustCompile(`\s(\d+)\.(\d{6}): (gpio_value: (\d+) ([gs]et [01])|gpio_direction: (\d+)\s+(in|out)|tracing_mark_write: (mark \d+)|.*LOST.*)`)
	buf := make([]byte, 0, 1<<16)
	for {
		n, err := pipe.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		whole := bytes.LastIndexByte(buf, '\n') + 1
		m.mu.Lock()
		for text := range strings.Lines(string(buf[:whole])) {
			if strings.Contains(text, "LOST") {
				m.events = append(m.events, event{did: "lost"})
			}
			f := line.FindStringSubmatch(text)
			if f == nil {
				continue
			}
			seconds, _ := strconv.Atoi(f[1])
			micros, _ := strconv.Atoi(f[2])
			number, _ := strconv.Atoi(f[4] + f[6])
			m.events = append(m.events, event{time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond, number, f[5] + f[7] + f[8]})
		}
		m.mu.Unlock()
		buf = buf[:copy(buf, buf[whole:])]
	}
}

// mark is this moment in the events: all that was done before it lies below.
func (m *machine) mark(t *testing.T) (i int) {
	t.Helper()
	m.mu.Lock()
	m.marks++
	name := fmt.Sprintf("mark %d", m.marks)
	m.mu.Unlock()
	write(t, tracing+"trace_marker", name+"\n")
	eventually(t, "trace of "+name, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		i = len(m.events) - 1
		for i >= 0 && m.events[i].did != name {
			i--
		}
		return i >= 0
	})
	return i
}

// did is what was done to a line since a mark. A trace with a gap proves nothing.
func (m *machine) did(t *testing.T, since, line int) (events []event) {
	t.Helper()
	until, number := m.mark(t), base(t)+line
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events[since:until] {
		if e.did == "lost" {
			t.Fatal("the kernel's trace has a gap")
		}
		if e.line == number && !strings.HasPrefix(e.did, "get") && e.at > 0 {
			events = append(events, e)
		}
	}
	return events
}

// count is how many of events did that.
func count(events []event, did string) (n int) {
	for _, e := range events {
		if e.did == did {
			n++
		}
	}
	return n
}

// mono is the clock of events.
func mono(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// sim is a file of a simulated line in sysfs.
func (m *machine) sim(t *testing.T, line int, name string) string {
	t.Helper()
	if m.chip == "" {
		m.chip = simulated(t)
	}
	return fmt.Sprintf("%s/sim_gpio%d/%s", m.chip, line, name)
}

func simulated(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio0")
	if err != nil || len(found) != 1 {
		t.Fatalf("simulated chips: %v, %v", found, err)
	}
	return filepath.Dir(found[0])
}

func (m *machine) value(t *testing.T, line int) string {
	t.Helper()
	b, err := os.ReadFile(m.sim(t, line, "value"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// wait waits until a line has a level.
func (m *machine) wait(t *testing.T, line int, level string) {
	t.Helper()
	eventually(t, fmt.Sprintf("line %d at %s", line, level), func() bool { return m.value(t, line) == level })
}

// pull puts a level on a line from outside.
func (m *machine) pull(t *testing.T, line int, up bool) {
	t.Helper()
	write(t, m.sim(t, line, "pull"), map[bool]string{true: "pull-up", false: "pull-down"}[up])
}

// keepLines lets the kernel leave a line that nobody holds any more as it was
// driven, as those of Raspberry Pi OS do.
func keepLines(t *testing.T, on string) { write(t, "/sys/module/gpio_sim/parameters/keep", on) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// base is the kernel's number of line 0.
func base(t *testing.T) int {
	t.Helper()
	//    gpiochip0: GPIOs 996-1023, parent: platform/gpio-sim.0, pinctrl-sim, can sleep:
	f := regexp.MustCompile(`GPIOs (\d+)-.*pinctrl-`).FindStringSubmatch(debugfs(t))
	if f == nil {
		t.Fatal("no chip in ", debugfs(t))
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

func debugfs(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/debug/gpio")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// holder is who has a line: "hearth", or "" if nobody.
func holder(t *testing.T, line int) string {
	t.Helper()
	//    gpio-1013 (GPIO17              |hearth              ) out lo
	f := regexp.MustCompile(fmt.Sprintf(`\(GPIO%d\s*\|([^)]*)\)`, line)).FindStringSubmatch(debugfs(t))
	if f == nil {
		return ""
	}
	return strings.TrimSpace(f[1])
}

// take has another user of lines, the kernel's old interface in sysfs, ask for
// one.
func take(t *testing.T, line int) error {
	return os.WriteFile("/sys/class/gpio/export", []byte(strconv.Itoa(base(t)+line)), 0)
}

func giveBack(t *testing.T, line int) {
	write(t, "/sys/class/gpio/unexport", strconv.Itoa(base(t)+line))
}

// What systemd does.

const (
	configFile  = "/etc/hearth/config.toml"
	stateFolder = "/var/lib/hearth"
)

// unitSays is a command of the unit.
func unitSays(t *testing.T, key string) []string {
	t.Helper()
	text, err := os.ReadFile("../systemd/hearth.service")
	if err != nil {
		t.Fatal(err)
	}
	f := regexp.MustCompile(`(?m)^` + key + `=(.+)$`).FindStringSubmatch(string(text))
	if f == nil {
		t.Fatalf("the unit has no %s=", key)
	}
	return strings.Fields(f[1])
}

// install makes a house of a configuration, with nothing kept.
func install(t *testing.T, config string) *house {
	t.Helper()
	if err := errors.Join(os.RemoveAll(stateFolder), os.Mkdir(stateFolder, 0o700)); err != nil {
		t.Fatal(err)
	}
	h := &house{config: configFile, log: new(transcript), env: []string{"STATE_DIRECTORY=" + stateFolder}}
	write(t, configFile, ports+config)
	h.showLog(t)
	return h
}

// serve starts the hub as the unit says.
func (h *house) serve(t *testing.T) *life {
	t.Helper()
	start := unitSays(t, "ExecStart")
	return h.run(t, start[0], start[1:]...)
}

// cleanUp is what systemd does once the hub has ended, however it has.
func (h *house) cleanUp(t *testing.T, l *life) {
	t.Helper()
	<-l.ended
	post := unitSays(t, "ExecStopPost")
	cmd := exec.Command(post[0], post[1:]...)
	cmd.Env = h.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ExecStopPost: %v\n%s", err, out)
	}
}

// end has the hub end by a signal and cleans up after it.
func (h *house) end(t *testing.T, l *life, sig syscall.Signal) {
	t.Helper()
	if err := l.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	h.cleanUp(t, l)
}

// The tests.

// Each line of the configuration is the hub's; who else wants one is told that it
// is busy.
func (m *machine) held(t *testing.T) {
	const lines = 14
	var config strings.Builder
	for i := range lines {
		fmt.Fprintf(&config, "[output.o%d]\npin = \"GPIO%d\"\nactive_low = %v\n[input.i%d]\npin = \"GPIO%d\"\n", i, 2*i, i%2 == 0, i, 2*i+1)
	}
	h := install(t, config.String())
	l := h.serve(t).mustBeReady(t)
	for line := range 2 * lines {
		if who := holder(t, line); who != "hearth" {
			t.Errorf("line %d is held by %q", line, who)
		}
		if err := take(t, line); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("another asks for line %d and gets %v", line, err)
		}
	}
	h.end(t, l, syscall.SIGTERM)
	for line := range 2 * lines {
		if who := holder(t, line); who != "" {
			t.Errorf("after the end line %d is held by %q", line, who)
		}
	}
	shown(t, "1. %d of %d lines are held by hearth, and whoever else asks for one gets EBUSY", 2*lines, 2*lines)
}

// Starts make no pulse, reading changes no direction, and min_off holds from one
// life to the next.
func (m *machine) starts(t *testing.T) {
	starts, reads := number("starts", 10), number("reads", 200)
	const minOff = 800 * time.Millisecond
	h := install(t, `
		[hub]
		clock = "trust"
		[output.high]
		pin = "GPIO2"
		[output.low]
		pin = "GPIO3"
		active_low = true
		[output.rest]
		pin = "GPIO4"
		min_off = "800ms"
	`)
	m.pull(t, 2, false) // as relay boards do
	m.pull(t, 3, true)
	began := m.mark(t)
	var ready []time.Duration
	for i := range starts {
		l := h.serve(t).mustBeReady(t)
		ready = append(ready, l.ready)
		l.client(t, "x").send(t, "hearth/rest/set", "ON", false)
		m.wait(t, 4, "1")
		h.end(t, l, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i%2])
	}
	pulses := count(m.did(t, began, 2), "set 1") + count(m.did(t, began, 3), "set 0")
	if pulses != 0 {
		t.Errorf("%d pulses", pulses)
	}
	shown(t, "2. %d starts, both polarities: %d transitions to active before the first command; ready after %s", starts, pulses, spread(ready))

	var rests []time.Duration
	off := time.Duration(0)
	for _, e := range m.did(t, began, 4) {
		switch {
		case e.did == "set 1":
			if off > 0 {
				rests = append(rests, e.at-off)
			}
			off = 0
		case off == 0: // else it was off already
			off = e.at
		}
	}
	if len(rests) != starts || slices.Min(rests) < minOff {
		t.Errorf("%d rests of min_off = %v: %v", len(rests), minOff, rests)
	}
	shown(t, "5. %d restarts, each told to be on at once: off for %v at least, min_off is %v", starts, slices.Min(rests), minOff)

	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x")
	before := m.mark(t)
	for range reads {
		if v := l.view(t); v.Outputs[0].On || v.Outputs[1].On {
			t.Fatalf("%+v", v.Outputs)
		}
	}
	directions := 0
	for line := range 28 {
		e := m.did(t, before, line)
		directions += count(e, "in") + count(e, "out")
	}
	if directions != 0 {
		t.Errorf("%d changes of direction", directions)
	}
	shown(t, "2. %d reads of the state: %d changes of direction", reads, directions)
	// What was counted as none can be seen.
	c.send(t, "hearth/high/set", "ON", false)
	c.send(t, "hearth/low/set", "ON", false)
	m.wait(t, 2, "1")
	m.wait(t, 3, "0")
	if n, n2 := count(m.did(t, before, 2), "set 1"), count(m.did(t, before, 3), "set 0"); n != 1 || n2 != 1 {
		t.Errorf("a command each made %d and %d pulses", n, n2)
	}
	h.end(t, l, syscall.SIGTERM)
}

// However the hub ends, what is on goes to its safe state, on a kernel that would
// leave it on.
func (m *machine) ends(t *testing.T) {
	keepLines(t, "1")
	defer keepLines(t, "0")
	const config = `
		[output.boiler]
		pin = "GPIO5"
		active_low = true
		[output.valve]
		pin = "GPIO6"
		[output.emergency_light]
		pin = "GPIO7"
		safe = "on"
		[output.lamp]
		pin = "GPIO8"
		safe = "hold"
	`
	safe := map[int]string{5: "set 1", 6: "set 0", 7: "set 1"}
	for _, way := range []struct {
		name  string
		limit time.Duration
		end   func(*house, *life)
	}{
		{"SIGTERM", 200 * time.Millisecond, func(h *house, l *life) { h.end(t, l, syscall.SIGTERM) }},
		// Go dies of it as of a panic: a trace of every goroutine, exit status 2.
		{"crash (SIGQUIT) and ExecStopPost", 2 * time.Second, func(h *house, l *life) { h.end(t, l, syscall.SIGQUIT) }},
		{"SIGKILL and ExecStopPost", 2 * time.Second, func(h *house, l *life) { h.end(t, l, syscall.SIGKILL) }},
		{"start with a broken configuration", 200 * time.Millisecond, nil},
	} {
		var times []time.Duration
		for range max(3, number("starts", 10)/5) {
			h := install(t, config)
			l := h.serve(t).mustBeReady(t)
			c := l.client(t, "x", "hearth/+/state")
			for _, output := range []string{"boiler", "valve", "lamp"} {
				c.send(t, "hearth/"+output+"/set", "ON", false)
			}
			c.send(t, "hearth/emergency_light/set", "OFF", false)
			for line, level := range map[int]string{5: "0", 6: "1", 7: "0", 8: "1"} {
				m.wait(t, line, level)
			}
			if way.end == nil { // nobody cleaned up after the last life
				l.kill()
				write(t, configFile, config+"[output.boiler]\nwhat = \"is this\"")
			}
			before := m.mark(t)
			from := mono(t)
			if way.end != nil {
				way.end(h, l)
			} else {
				l = h.serve(t)
				<-l.ended
				if l.status == nil {
					t.Error("it started")
				}
			}
			last := time.Duration(0)
			for line, want := range safe {
				e := m.did(t, before, line)
				i := slices.IndexFunc(e, func(e event) bool { return e.did == want })
				if i < 0 {
					t.Errorf("%s: line %d: %v", way.name, line, e)
					continue
				}
				last = max(last, e[i].at-from)
			}
			times = append(times, last)
			got := m.value(t, 5) + m.value(t, 6) + m.value(t, 7) + m.value(t, 8)
			if want := "1011"; got != want {
				t.Errorf("%s: the lines are %s, want %s", way.name, got, want)
			}
		}
		// The first may have to read the program from a cold disk.
		slices.Sort(times)
		if times[len(times)/2] > way.limit || slices.Max(times) > 2*way.limit {
			t.Errorf("%s: safe after %v, want %v", way.name, times, way.limit)
		}
		shown(t, "3. %s: safe after %s", way.name, spread(times))
	}
}

// A pair that must never be on together, and all hands on it at once.
func (m *machine) interlocked(t *testing.T) {
	keepLines(t, "1")
	defer keepLines(t, "0")
	commands := number("commands", 2000)
	const gap = 20 * time.Millisecond
	h := install(t, `
		[output.up]
		pin = "GPIO9"
		[output.down]
		pin = "GPIO10"
		active_low = true
		[interlock.shutter]
		outputs = ["up", "down"]
		gap = "20ms"
		[rule.up]
		trigger = { event = "wall/up" }
		action = { set = "up", to = true }
		[rule.down]
		trigger = { event = "wall/down" }
		action = { set = "down", to = true }
		[rule.pulse]
		trigger = { event = "wall/pulse" }
		action = { pulse = "up", for = "30ms" }
		[rule.stop]
		trigger = { event = "wall/stop" }
		action = { set = "down", to = false }
	`)
	m.pull(t, 9, false)
	m.pull(t, 10, true)
	before := m.mark(t)
	rng := rand.New(rand.NewPCG(4, 4))
	said := []struct{ topic, payload string }{
		{"hearth/up/set", "ON"}, {"hearth/up/set", "OFF"}, {"hearth/up/set", "TOGGLE"},
		{"hearth/down/set", "ON"}, {"hearth/down/set", "OFF"}, {"hearth/down/set", "TOGGLE"},
		{"wall/up", "x"}, {"wall/down", "x"}, {"wall/pulse", "x"}, {"wall/stop", "x"},
	}
	restarts := max(4, commands/5000)
	for life := range restarts {
		l := h.serve(t).mustBeReady(t)
		c := l.client(t, "fuzz")
		for i := range commands / restarts {
			s := said[rng.IntN(len(said))]
			var err error
			if i%20 == 19 { // then the hub has had all of them
				c.send(t, s.topic, s.payload, false)
				time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			} else {
				err = c.publish(t.Context(), s.topic, s.payload, 0, false)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		h.end(t, l, []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[life%2])
	}
	type edge struct {
		at   time.Duration
		line int
		on   bool
	}
	var edges []edge
	for line, active := range map[int]string{9: "set 1", 10: "set 0"} {
		for _, e := range m.did(t, before, line) {
			if strings.HasPrefix(e.did, "set") {
				edges = append(edges, edge{e.at, line, e.did == active})
			}
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return int(a.at - b.at) })
	on, off := map[int]bool{}, map[int]time.Duration{}
	var pauses []time.Duration
	both, switched := 0, 0
	for _, e := range edges {
		other := 19 - e.line
		switch {
		case e.on && !on[e.line]:
			switched++
			if on[other] {
				both++
			}
			if since, ok := off[other]; ok {
				pauses = append(pauses, e.at-since)
			}
		case !e.on && on[e.line]:
			off[e.line] = e.at
		}
		on[e.line] = e.on
	}
	if both > 0 || len(pauses) == 0 || slices.Min(pauses) < gap || switched < restarts {
		t.Errorf("both on %d times, shortest pause of %d %v, %d times on", both, len(pauses), slices.Min(append(pauses, 0)), switched)
		return
	}
	shown(t, "4. %d commands from MQTT and rules, %d ends by SIGKILL and SIGTERM: on %d times, both at once %d times, shortest pause %v, gap is %v",
		commands, restarts, switched, both, slices.Min(pauses), gap)
}

// max_on does not need the broker, the loop or the right time of day.
func (m *machine) maxOn(t *testing.T) {
	const maxOn = time.Second
	h := install(t, `
		[output.heater]
		pin = "GPIO11"
		max_on = "1s"
		[rule.busy]
		trigger = { event = "wall/busy" }
		action = { publish = "never/mind", value = '`+work+`' }
	`)
	l := h.serve(t).mustBeReady(t)
	day := func(by time.Duration) {
		now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
		if err := unix.Settimeofday(&now); err != nil {
			t.Fatal(err)
		}
	}
	loopback := func(to string) {
		if out, err := exec.Command("ip", "link", "set", "lo", to).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	c := l.client(t, "x", "hearth/heater/state")
	for _, trouble := range []struct {
		name          string
		before, after func()
	}{
		{"nothing wrong", func() {}, func() {}},
		{"the clock a day ahead", func() { day(24 * time.Hour) }, func() { day(-24 * time.Hour) }},
		{"the clock a day back", func() { day(-24 * time.Hour) }, func() { day(24 * time.Hour) }},
		{"nobody reaches the broker", func() { loopback("down") }, func() { loopback("up") }},
		{"a loop that has no time", func() {
			for range 200 {
				if err := c.publish(t.Context(), "wall/busy", "x", 0, false); err != nil {
					t.Fatal(err)
				}
			}
		}, func() {}},
	} {
		before := m.mark(t)
		c.send(t, "hearth/heater/set", "ON", false)
		m.wait(t, 11, "1")
		began := mono(t)
		trouble.before()
		m.wait(t, 11, "0")
		if trouble.name == "a loop that has no time" {
			if answer, took := l.asks(t), mono(t); answer == http.StatusOK {
				t.Errorf("the loop had time for the page %v after the command, so nothing was shown", took-began)
			}
			eventually(t, "that the loop has worked off the rest", func() bool { return l.asks(t) == http.StatusOK })
			t.Logf("the loop had time again %v after the command", (mono(t) - began).Round(time.Millisecond))
		}
		trouble.after()
		e := m.did(t, before, 11)
		on := slices.IndexFunc(e, func(e event) bool { return e.did == "set 1" })
		off := slices.IndexFunc(e, func(e event) bool { return e.did == "set 0" })
		if on < 0 || off < on {
			t.Fatalf("%s: %v", trouble.name, e)
		}
		took := e[off].at - e[on].at
		// It counts from the moment when the command was accepted.
		if took < maxOn-50*time.Millisecond || took > maxOn+100*time.Millisecond {
			t.Errorf("%s: on for %v, max_on is %v", trouble.name, took, maxOn)
		}
		shown(t, "5. max_on = %v, %s: off after %v", maxOn, trouble.name, took)
	}
	h.end(t, l, syscall.SIGTERM)
}

// asks is what the page answers at once, which it can't without the loop.
func (l *life) asks(t *testing.T) (status int) {
	t.Helper()
	resp, err := (&http.Client{Timeout: 300 * time.Millisecond}).Get(l.page + "/api/v1/house")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// work keeps the loop at work for a while.
const work = `len(filter(split(repeat("a,", 10000), ","), # == "b"))`

// A timed set is over when its output is told anything else.
func (m *machine) timedSets(t *testing.T) {
	h := install(t, "[output.lamp]\npin = \"GPIO12\"\n[output.other]\npin = \"GPIO13\"\n")
	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x", "hearth/lamp/state")
	before, began := m.mark(t), time.Now()
	at := func(d time.Duration) { time.Sleep(d - time.Since(began)) }
	c.send(t, "hearth/lamp/set", `{"on_ms":5000}`, false)
	for _, refused := range []string{`{"on_ms":NaN}`, `{"on_ms":"NaN"}`, `{"on_ms":1e999}`, `{"on_ms":"Infinity"}`, `{"on_ms":-1000}`, `{"on_ms":0}`, `{"on_ms":null}`} {
		from := h.log.len()
		c.send(t, "hearth/other/set", refused, false)
		eventually(t, "an answer to "+refused, func() bool {
			return len(h.log.match(from, func(s said) bool { return strings.Contains(s.text, "on_ms") })) > 0
		})
	}
	at(time.Second)
	c.send(t, "hearth/lamp/set", "OFF", false)
	at(2 * time.Second)
	c.send(t, "hearth/lamp/set", "ON", false)
	at(6 * time.Second)
	if got := m.value(t, 12); got != "1" {
		t.Errorf("after six seconds the lamp is %s", got)
	}
	var did []string
	for _, e := range m.did(t, before, 12) {
		did = append(did, e.did)
	}
	if want := []string{"set 1", "set 0", "set 1"}; !slices.Equal(did, want) {
		t.Errorf("the lamp did %v, want %v", did, want)
	}
	if n := count(m.did(t, before, 13), "set 1"); n != 0 {
		t.Errorf("what was refused switched %d times", n)
	}
	began = time.Now()
	c.send(t, "hearth/other/set", `{"on_ms":300}`, false)
	m.wait(t, 13, "1")
	m.wait(t, 13, "0")
	e := m.did(t, before, 13)
	pulse := e[len(e)-1].at - e[len(e)-2].at
	// Each edge has its stamp from an interrupt, which may be late by itself.
	if pulse < 299*time.Millisecond || pulse > 400*time.Millisecond {
		t.Errorf("on_ms = 300 was %v", pulse)
	}
	shown(t, "6. on_ms 5000, off at 1 s, on at 2 s: at 6 s it is on; NaN, infinite and negative are refused; on_ms 300 was on for %v", pulse)
	h.end(t, l, syscall.SIGTERM)
}

// Contacts that bounce: what is published in the end is what the line is.
func (m *machine) bounces(t *testing.T) {
	const inputs, first, debounce = 8, 14, 20 * time.Millisecond
	var config strings.Builder
	for i := range inputs {
		fmt.Fprintf(&config, "[input.contact%d]\npin = \"GPIO%d\"\ndebounce = \"20ms\"\n", i, first+i)
		m.pull(t, first+i, false)
	}
	h := install(t, config.String())
	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x", "hearth/+/state")
	topic := func(i int) string { return fmt.Sprintf("hearth/contact%d/state", i) }
	eventually(t, "first states", func() bool { return len(c.last()) == inputs })
	rng := rand.New(rand.NewPCG(7, 7))
	bursts, edges, wrong := 0, 0, 0
	var late []time.Duration
	level := make([]bool, inputs)
	for bursts < number("bursts", 500) {
		was := slices.Clone(level)
		from := len(c.heard())
		settled := make([]time.Time, inputs)
		for step := range 12 {
			for i := range inputs {
				if step < 11 || rng.IntN(2) == 0 {
					level[i] = !level[i]
					m.pull(t, first+i, level[i])
					settled[i] = time.Now()
					edges++
				}
			}
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
		}
		time.Sleep(time.Until(slices.MaxFunc(settled, time.Time.Compare).Add(debounce + 60*time.Millisecond)))
		heard := c.heard()
		for i := range inputs {
			bursts++
			last, at := was[i], settled[i]
			for _, msg := range heard[from:] {
				if msg.topic == topic(i) && msg.at.Sub(settled[i]) <= debounce+50*time.Millisecond {
					last, at = msg.payload == "ON", msg.at
				}
			}
			if line := m.value(t, first+i) == "1"; last != line {
				wrong++
				t.Errorf("contact %d is %v, published is %v", i, line, last)
			}
			if last != was[i] {
				late = append(late, at.Sub(settled[i]))
			}
		}
	}
	if len(late) < bursts/4 {
		t.Errorf("of %d bursts %d changed anything", bursts, len(late))
	}
	shown(t, "7. %d bursts, %d edges: %d final states wrong; published after the last edge: %s (debounce is %v)", bursts, edges, wrong, spread(late), debounce)
	h.end(t, l, syscall.SIGTERM)
}

// heard is all that a client has got.
func (c *client) heard() []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.got)
}

// A valve whose contact does not follow is a fault, which stays until somebody
// has seen it.
func (m *machine) feedback(t *testing.T) {
	h := install(t, `
		[output.valve]
		pin = "GPIO22"
		feedback = "valve_open"
		feedback_within = "500ms"
		[input.valve_open]
		pin = "GPIO23"
	`)
	m.pull(t, 23, false)
	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x", "hearth/valve/#")
	before := m.mark(t)
	c.send(t, "hearth/valve/set", "ON", false)
	m.wait(t, 22, "1")
	m.wait(t, 22, "0") // the contact is stuck
	e := m.did(t, before, 22)
	took := e[len(e)-1].at - e[0].at
	c.expect(t, "hearth/valve/fault", "its feedback valve_open says OFF 500ms after it was switched ON")
	c.send(t, "hearth/valve/set", "ON", false)
	time.Sleep(300 * time.Millisecond)
	if got := m.value(t, 22); got != "0" {
		t.Error("it can be switched although it has a fault")
	}
	c.send(t, "hearth/valve/set", "ACKNOWLEDGE", false)
	c.expect(t, "hearth/valve/fault", "none")
	c.send(t, "hearth/valve/set", "ON", false)
	m.wait(t, 22, "1")
	m.pull(t, 23, true) // this time it follows
	time.Sleep(time.Second)
	if got := m.value(t, 22); got != "1" {
		t.Error("it went off although its contact followed")
	}
	shown(t, "9. a contact that is stuck: fault and off after %v (feedback_within is 500ms), no switching until it is acknowledged", took)
	m.pull(t, 23, false)
	h.end(t, l, syscall.SIGTERM)
}

// A line that somebody else holds when the hub starts is the hub's within five
// seconds of being free.
func (m *machine) busy(t *testing.T) {
	if err := take(t, 24); err != nil {
		t.Fatal(err)
	}
	h := install(t, "[output.pump]\npin = \"GPIO24\"\n[output.lamp]\npin = \"GPIO25\"\n")
	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x", "hearth/+/availability")
	c.expect(t, "hearth/pump/availability", "offline")
	c.send(t, "hearth/lamp/set", "ON", false)
	m.wait(t, 25, "1")
	if who := holder(t, 24); who != "sysfs" {
		t.Errorf("the line is held by %q", who)
	}
	giveBack(t, 24)
	freed := time.Now()
	eventually(t, "the line back", func() bool { return holder(t, 24) == "hearth" })
	took := time.Since(freed)
	c.expect(t, "hearth/pump/availability", "online")
	c.send(t, "hearth/pump/set", "ON", false)
	m.wait(t, 24, "1")
	if took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	shown(t, "8. a line that another held at the start: back %v after it was free; the rest worked meanwhile", took.Round(time.Millisecond))
	h.end(t, l, syscall.SIGTERM)
}

// A chip that is unplugged and comes back, again and again.
func (m *machine) unplugged(t *testing.T) {
	cycles := min(max(5, number("cycles", 20)/4), 30) // package gpio says why not more
	h := install(t, `
		[output.lamp]
		pin = "GPIO22"
		[input.pir]
		pin = "GPIO23"
		pull = "up"
	`)
	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x", "hearth/+/availability", "hearth/+/state")
	const live = "/sys/kernel/config/gpio-sim/header/live"
	held := func() bool { return holder(t, 22) == "hearth" && holder(t, 23) == "hearth" }
	var back []time.Duration
	var files, threads int
	for i := range cycles {
		from := len(c.heard())
		write(t, live, "0")
		m.chip = ""
		if i > 0 { // a command finds out at once, nobody's after a while
			c.send(t, "hearth/lamp/set", "ON", false)
		}
		eventually(t, "that the hub knows", func() bool {
			gone := map[string]bool{}
			for _, msg := range c.heard()[from:] {
				gone[msg.topic+" "+msg.payload] = true
			}
			return gone["hearth/lamp/availability offline"] && gone["hearth/pir/availability offline"]
		})
		write(t, live, "1")
		restored := time.Now()
		eventually(t, "both lines back", held)
		back = append(back, time.Since(restored))
		c.expect(t, "hearth/lamp/availability", "online")
		if m.value(t, 22) != "0" {
			t.Error("it came back on, and nobody has said so")
		}
		c.send(t, "hearth/lamp/set", "ON", false)
		m.wait(t, 22, "1")
		if i == min(2, cycles-1) { // warm
			files, threads = l.uses(t)
		}
	}
	if slices.Max(back) > 5*time.Second {
		t.Errorf("back after %v", back)
	}
	filesAfter, threadsAfter := l.uses(t)
	if filesAfter > files {
		t.Errorf("%d descriptors, before %d", filesAfter, files)
	}
	if threadsAfter > threads+3 { // as many as goroutines wait for a slow call at once
		t.Errorf("%d threads, before %d", threadsAfter, threads)
	}
	shown(t, "8. %d times the chip was removed and restored: back after %s; descriptors %d before and %d after, threads %d and %d",
		cycles, spread(back), files, filesAfter, threads, threadsAfter)
	h.end(t, l, syscall.SIGTERM)
}

// uses counts what a leak would add to.
func (l *life) uses(t *testing.T) (files, threads int) {
	t.Helper()
	for what, n := range map[string]*int{"fd": &files, "task": &threads} {
		d, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", l.cmd.Process.Pid, what))
		if err != nil {
			t.Fatal(err)
		}
		*n = len(d)
	}
	return files, threads
}

// A BMP280 that the kernel's driver reads, with the values of its datasheet; it
// goes away while the hub runs, and comes back.
func (m *machine) sensors(t *testing.T) {
	seed(t)
	const bus = "/sys/bus/i2c/devices/i2c-0/"
	write(t, bus+"new_device", "bmp280 0x76")
	h := install(t, `
		[sensor.attic]
		iio = "bmp280"
		unit = "kPa"
		interval = "1s"
	`)
	l := h.serve(t).mustBeReady(t)
	c := l.client(t, "x", "hearth/attic/#")
	eventually(t, "readings", func() bool {
		last := c.last()
		return last["hearth/attic/temperature"] == "25.08" && last["hearth/attic/pressure"] == "100.653"
	})
	told := maps.Clone(c.last())
	write(t, bus+"delete_device", "0x76")
	deleted := time.Now()
	c.expect(t, "hearth/attic/availability", "offline")
	took := time.Since(deleted)
	if took > 2*time.Second {
		t.Errorf("it was known after %v", took)
	}
	write(t, bus+"new_device", "bmp280 0x76")
	restored := time.Now()
	c.expect(t, "hearth/attic/availability", "online")
	shown(t, "9. BMP280 through IIO: %s °C, %s kPa; deleted: unavailable after %v (interval 1s); restored: back after %v",
		told["hearth/attic/temperature"], told["hearth/attic/pressure"], took.Round(time.Millisecond), time.Since(restored).Round(time.Millisecond))
	h.end(t, l, syscall.SIGTERM)
}
