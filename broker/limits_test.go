package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/config"
)

func parseLimits(t *testing.T, text string) (limits, error) {
	t.Helper()
	var cfg struct {
		Broker Config `toml:"broker"`
	}
	doc := config.Parse("config.toml", []byte("[broker.limits]\n"+text), &cfg)
	return cfg.Broker.limits(), doc.Err()
}

// The table of docs/broker.md names the defaults as they are, and every key of it
// is the setting of one limit.
func TestTheTableOfLimitsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1)
	if len(rows) < 20 {
		t.Fatal("only", len(rows), "rows")
	}
	if l, err := parseLimits(t, ""); err != nil || l != defaultLimits() {
		t.Fatalf("%+v, %v", l, err)
	}
	// Two other values of each kind: nothing but its own limit may change.
	seen := map[string]string{}
	for _, row := range rows {
		key, value := row[1], row[2]
		if l, err := parseLimits(t, key+" = "+value); err != nil || l != defaultLimits() {
			t.Errorf("%s = %s is not the default: %v", key, value, err)
		}
		other := map[bool]string{true: `"6s"`, false: "77"}[strings.HasSuffix(value, `s"`) || strings.HasSuffix(value, `d"`)]
		switch {
		case strings.HasSuffix(value, `B"`):
			other = `"2MiB"`
			if key == "connect_packet" {
				other = `"2KiB"`
			}
		case key == "session_expiry":
			other = `"2d"`
		}
		l, err := parseLimits(t, key+" = "+other)
		if err != nil {
			t.Errorf("%s = %s: %v", key, other, err)
		}
		changed := differences(l, defaultLimits())
		if len(changed) != 1 {
			t.Errorf("%s = %s changes %q", key, other, changed)
		} else if before := seen[changed[0]]; before != "" {
			t.Errorf("%s and %s change both %s", before, key, changed[0])
		} else {
			seen[changed[0]] = key
		}
	}
	if all := differences(limits{}, defaultLimits()); len(seen) != len(all) {
		t.Errorf("%d limits can be set, of %d", len(seen), len(all))
	}
	for _, none := range []string{"messages = 0\naddress_messages = 0\naliases = 0", "messages = 1"} {
		if l, err := parseLimits(t, none); err != nil || l == defaultLimits() {
			t.Errorf("%s: %v", none, err)
		}
	}
	for _, wrong := range []string{"levels = 0", `packet = "1GiB"`, `connect_timeout = "0s"`, "messages = -1", "connections = 0", "topic = 70000", "queue = 60001", "send_maximum = 5001", `burst = "2m"`} {
		if _, err := parseLimits(t, wrong); err == nil {
			t.Errorf("%s is no mistake", wrong)
		}
	}
}

// differences names the fields in which two limits differ.
func differences(a, b limits) (names []string) {
	fields := regexp.MustCompile(`(\w+):([^ }]+)`)
	as, bs := fields.FindAllStringSubmatch(fmt.Sprintf("%+v", a), -1), fields.FindAllStringSubmatch(fmt.Sprintf("%+v", b), -1)
	for i := range as {
		if as[i][2] != bs[i][2] {
			names = append(names, as[i][1])
		}
	}
	return names
}

// Other limits count from the next connection on, and put nobody out; a reload that
// is taken back changes none.
func TestLimitsAreReloaded(t *testing.T) {
	var log lines
	b := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	addr := listen(t, b, "127.0.0.1:0")[0]
	all := []*client{over(t, dial(t, addr), "one"), over(t, dial(t, addr), "two")}
	few := Config{Listen: []string{"127.0.0.1:0"}, Limits: Limits{Connections: 1}}
	ch, err := b.Prepare(few)
	if err != nil {
		t.Fatal(err)
	}
	ch.Undo()
	all = append(all, over(t, dial(t, addr), "three"))
	listenWith(t, b, few)
	refused := dial(t, addr)
	refused.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil || !log.has("broker.limits.connections") {
		t.Error("the new limit does not count", err, log.String())
	}
	for _, c := range all {
		c.alive()
	}
	listen(t, b, "127.0.0.1:0")
	over(t, dial(t, addr), "four").alive()
}

func TestRetainedIntervals(t *testing.T) {
	var cfg struct {
		Broker Config `toml:"broker"`
	}
	doc := config.Parse("config.toml", []byte(`
[broker]
retained_interval = "10m"
[broker.retained_intervals]
"#" = "9m"
"zigbee2mqtt/#" = "1m"
"zigbee2mqtt/+/set" = "0s"
"zigbee2mqtt/lamp/#" = "2m"
"zigbee2mqtt/lamp/set" = "3m"
"zigbee2mqtt" = "4m"
"+/lamp/state" = "5m"
"zigbee2mqtt/lamp" = "6m"
`), &cfg)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	is := cfg.Broker.intervals()
	for topic, want := range map[string]time.Duration{
		"anything":               9 * time.Minute,
		"$other":                 10 * time.Minute, // which # does not match
		"zigbee2mqtt":            4 * time.Minute,
		"zigbee2mqtt/lamp":       6 * time.Minute,
		"zigbee2mqtt/plug":       time.Minute,
		"zigbee2mqtt/plug/set":   0,
		"zigbee2mqtt/plug/set/x": time.Minute,
		"zigbee2mqtt/lamp/set":   3 * time.Minute,
		"zigbee2mqtt/lamp/state": 2 * time.Minute, // the earlier level decides
		"zwave/lamp/state":       5 * time.Minute,
	} {
		if got := is.of(topic); got != want {
			t.Errorf("%s: %v, want %v", topic, got, want)
		}
	}
	if got := (Config{}).intervals().of("a"); got != 5*time.Minute {
		t.Error("by default", got)
	}
	for _, c := range []struct{ text, want string }{
		{`"a/#/b" = "1m"`, `config.toml:2:1: broker.retained_intervals."a/#/b" = "1m": # stands for the whole rest`},
		{`"a+/b" = "1m"`, "+ stands for one whole level"},
		{`"" = "1m"`, "it is empty, want a topic filter"},
		{`"$share/a/b" = "1m"`, "shared subscriptions"},
		{`"a" = "25h"`, `config.toml:2:7: broker.retained_intervals.a = "25h": want a duration of at most "1d"`},
		{`"a" = 5`, "want a duration"},
	} {
		doc := config.Parse("config.toml", []byte("[broker.retained_intervals]\n"+c.text), &cfg)
		if err := doc.Err(); err == nil || !strings.Contains(err.Error(), c.want) || len(doc.Mistakes()) != 1 {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

// Thousands of sockets that say nothing cost little, keep nobody out and are
// closed soon.
func TestSilentSockets(t *testing.T) {
	const n = 5000
	b := open(t, Options{})
	addr := listenWith(t, b, Config{Listen: []string{"127.0.0.1:0"}, Limits: Limits{ConnectTimeout: config.Duration(3 * time.Second)}})[0]
	good := over(t, dial(t, addr), "good")
	before := inUse()
	var all []net.Conn
	for range n {
		nc, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.EMFILE) {
			t.Skipf("only %d sockets are to be had here", len(all))
		} else if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		all = append(all, nc)
	}
	last := time.Now()
	for end := last.Add(2 * time.Second); b.accepted.Load() < n+1 && time.Now().Before(end); {
		runtime.Gosched()
	}
	if most, got := int64(50<<20), inUse()-before; got > most {
		t.Errorf("%d silent sockets cost %d bytes here, with those of the other side", n, got)
	} else {
		t.Logf("%d bytes for each of %d, with those of the other side", got/n, b.accepted.Load())
	}
	over(t, dial(t, addr), "another").alive()
	good.alive()
	for _, nc := range all {
		nc.SetReadDeadline(last.Add(10 * time.Second))
		if _, err := nc.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a silent socket is not closed")
		}
	}
	good.alive()
}

// inUse is the memory that the process has taken for what lives.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A process that is out of file descriptors says so, goes on, and serves again as
// soon as there are some.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv("HEARTH_TEST_FEW_DESCRIPTORS") != "" {
		fewDescriptors(t)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
	child.Env = append(os.Environ(), "HEARTH_TEST_FEW_DESCRIPTORS=1")
	stdin, _ := child.StdinPipe()
	defer func() { child.Wait() }()
	defer stdin.Close() // which ends it
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		for s := bufio.NewScanner(out); s.Scan(); {
			said <- s.Text()
		}
	}()
	wait := func(what string) string {
		t.Helper()
		timeout := time.After(30 * time.Second)
		for {
			select {
			case line, ok := <-said:
				if !ok {
					t.Fatal("it ended before it said", what)
				}
				if strings.Contains(line, what) {
					return line
				}
			case <-timeout:
				t.Fatal("it never said", what)
			}
		}
	}
	_, addr, _ := strings.Cut(wait("listening on "), "listening on ")
	good := over(t, dial(t, addr), "good")
	var all []net.Conn
	for range 60 { // the kernel takes them where the process can't
		nc := dial(t, addr)
		nc.Write(encode(connectPacket(fmt.Sprint(len(all)), 5)))
		all = append(all, nc)
	}
	wait("too many open files")
	good.alive()
	for _, nc := range all {
		nc.Close()
	}
	over(t, dial(t, addr), "late").alive()
	good.alive()
}

// fewDescriptors is a broker whose process may open a few files more.
func fewDescriptors(t *testing.T) {
	b := open(t, Options{})
	addr := listen(t, b, "127.0.0.1:0")[0]
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	few := syscall.Rlimit{Cur: uint64(len(open) + 20), Max: uint64(len(open) + 20)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("listening on %s\n", addr)
	io.Copy(io.Discard, os.Stdin)
}
