// Package test looks at Hearth as a house does: from outside. Each test runs the
// real binary with simulated pins, talks MQTT to it over sockets as devices do,
// and takes from it what a house may take away: a process, the power, the disk,
// the peace. What each one measured is logged; go test -v shows it.
//
//	clients_test.go   Debian's mosquitto clients and Python's paho
//	elsewhere_test.go Debian's mosquitto as the broker of a house
//	crash_test.go     kill -9 and power cuts at random moments, under load
//	disk_test.go      a full disk; and the disks that can be cut and filled
//	sick_test.go      a full tmpfs, syncs that fail, bits that flip
//	hostile_test.go   what no client should do
//	post_test.go      sessions, queues and retained values under crashes
//	page_test.go      people, with a real browser
//	package_test.go   the Debian package, installed and updated
//	machine_test.go   a kernel with simulated lines (make gpio-test)
//	wear_test.go      what a card is given to write (make wear)
//	footprint.sh      sizes, start and idle memory
//
// A test that needs what this machine has not (a client, root, a loop device)
// says so and is skipped. With HEARTH_CI=1 that is a failure, and crashes come
// twenty times instead of five; -cuts says another number (make crashes).
package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// patience is for what should take milliseconds, on a machine that has much else
// to do. No test waits so long for something that is to happen.
var patience = 20 * time.Second

var (
	cuts    = flag.Int("cuts", 0, "how many times to kill the hub or cut its power; 0: 20 with HEARTH_CI=1, else 5")
	inCI    = os.Getenv("HEARTH_CI") == "1"
	program = os.Getenv("HEARTH_TEST_BINARY") // set by alone, for itself
)

func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(recorders); dir != "" {
		fmt.Fprintln(os.Stderr, recordFor(dir, os.Getenv("HEARTH_TEST_SIZE")))
		os.Exit(1)
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if *cuts == 0 {
		*cuts = 5
		if inCI {
			*cuts = 20
		}
	}
	if program == "" {
		dir, err := os.MkdirTemp("", "hearth-test")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "hearth")
		if out, err := exec.Command("go", "build", "-o", program, "hearth/cmd/hearth").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build hearth: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// missing ends a test for which this machine lacks something.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if inCI {
		t.Fatalf("HEARTH_CI=1 and this machine has no %s", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: this machine has no %s", what)
}

// eventually polls until ok, which may take as long as patience.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !within(patience, ok) {
		t.Fatalf("this did not happen within %v: %s", patience, what)
	}
}

func within(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// spread is how a measurement came out.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(times))
	at := func(q float64) time.Duration { return s[int(q*float64(len(s)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("n=%d p50=%v p99=%v max=%v", len(s), at(0.50), at(0.99), at(1))
}

// startsSoon wants a hub to be ready within a second of exec. The median counts: the
// machine of a test has other things to do.
func startsSoon(t *testing.T, starts []time.Duration) {
	t.Helper()
	if s := slices.Sorted(slices.Values(starts)); len(s) > 0 && s[len(s)/2] > time.Second {
		t.Errorf("exec to ready: %s, want at most a second", spread(s))
	}
}

// A house is a configuration and the lives of the hub that runs it. All of them
// write into one log.
type house struct {
	config string
	log    *transcript
	env    []string
}

// ports stands in the configuration of every house: free ones of this machine.
const ports = `
[broker]
anonymous = true
listen = ["127.0.0.1:0", "ws://127.0.0.1:0"]
[web]
listen = "127.0.0.1:0"
`

// newHouse writes a configuration. What the hub keeps goes to data.
func newHouse(t *testing.T, data, config string) *house {
	t.Helper()
	h := &house{config: filepath.Join(t.TempDir(), "config.toml"), log: new(transcript)}
	config = fmt.Sprintf("[hub]\ndata = %q\n%s%s", data, ports, config)
	if err := os.WriteFile(h.config, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	h.showLog(t)
	return h
}

// showLog tells of a test that failed what the hub said.
func (h *house) showLog(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the hub's log:\n%s", h.log.tail(120))
		}
	})
}

// A life of the hub is a process.
type life struct {
	cmd     *exec.Cmd
	began   time.Time
	ready   time.Duration // how long it took to the line Ready
	log     *transcript
	from    int // where in log this life begins
	ended   chan struct{}
	status  error // of Wait; read after ended
	tcp, ws string
	page    string
}

// launch starts the binary with simulated pins and returns at once.
func (h *house) launch(t *testing.T) *life {
	t.Helper()
	return h.run(t, program, "serve", "--sim", "--config", h.config)
}

func (h *house) run(t *testing.T, command string, args ...string) *life {
	t.Helper()
	l := &life{cmd: exec.Command(command, args...), log: h.log, from: h.log.len(), ended: make(chan struct{})}
	// What a service manager or a terminal says is not for this hub.
	l.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TZ=UTC"}, h.env...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.cmd.Stdout, l.cmd.Stderr = w, w
	l.began = time.Now()
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		h.log.read(r)
		r.Close()
	}()
	go func() {
		err := l.cmd.Wait()
		<-read
		l.status = err
		close(l.ended)
	}()
	t.Cleanup(l.kill)
	return l
}

// start is launch, and waits until the hub says that it is ready.
func (h *house) start(t *testing.T) *life {
	t.Helper()
	return h.launch(t).mustBeReady(t)
}

func (l *life) mustBeReady(t *testing.T) *life {
	t.Helper()
	if err := l.waitReady(); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(l.lines(), "\n"))
	}
	return l
}

func (l *life) waitReady() error {
	gone := false
	isReady := func(s said) bool { return strings.HasPrefix(s.text, "Ready") }
	within(patience, func() bool {
		select {
		case <-l.ended:
			gone = true
		default:
		}
		return gone || len(l.log.match(l.from, isReady)) > 0
	})
	for _, s := range l.log.match(l.from, func(said) bool { return true }) {
		switch f := strings.Fields(s.text); {
		case len(f) == 3 && f[0] == "MQTT":
			l.tcp, l.ws = f[1], f[2]
		case len(f) == 2 && f[0] == "page":
			l.page = f[1]
		case isReady(s):
			l.ready = s.at.Sub(l.began)
		}
	}
	switch {
	case gone:
		return fmt.Errorf("the hub ended before it was ready: %v", l.status)
	case l.ready == 0:
		return errors.New("the hub is not ready and says nothing")
	case l.tcp == "" || l.ws == "" || l.page == "":
		return errors.New("the hub does not say where it listens")
	}
	return nil
}

// lines is what this life has said.
func (l *life) lines() (lines []string) {
	for _, s := range l.log.match(l.from, func(said) bool { return true }) {
		lines = append(lines, s.text)
	}
	return lines
}

// complaints is what this life has warned of, up to the line Ready or all.
func (l *life) complaints(all bool) (lines []string) {
	for _, line := range l.lines() {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.Contains(line, "damage") {
			lines = append(lines, line)
		}
		if !all && strings.HasPrefix(line, "Ready") {
			break
		}
	}
	return lines
}

func (l *life) alive() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// kill is what it says: SIGKILL.
func (l *life) kill() {
	l.cmd.Process.Kill()
	<-l.ended
}

// stop is SIGTERM, after which the hub is to end in order, within a second. A machine
// that runs tests may give it less than all of that time, so it is blamed after five.
func (l *life) stop(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.ended:
	case <-time.After(patience):
		t.Fatalf("the hub does not stop within %v of SIGTERM", patience)
	}
	took := time.Since(began)
	t.Logf("from SIGTERM to the end of the process: %v", took)
	if l.status != nil || took > 5*time.Second {
		t.Errorf("the hub ended after %v with %v, want 0 within a second", took, l.status)
	}
}

// rss is the memory the hub uses, in MiB.
func (l *life) rss(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kB float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kB); err == nil {
			return kB / 1024
		}
	}
	t.Fatal("the kernel does not say how much memory the hub uses")
	return 0
}

// view is the part of the page's JSON that tests look at.
type view struct {
	Trouble []string
	Outputs []struct {
		Name      string
		On, Known bool
	}
	Decisions []struct {
		At                  time.Time
		Rule, Outcome, Text string
	}
}

func (l *life) view(t *testing.T) (v view) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	req, err := http.NewRequestWithContext(ctx, "GET", l.page+"/api/v1/house", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal("the page:", resp.Status, err)
	}
	return v
}

// config asks the page's API of the configuration. Any answer but 200 is an error.
func (l *life) config(method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	req, err := http.NewRequestWithContext(ctx, method, l.page+"/api/v1/config"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, resp.Status, said)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(said, into)
	}
	return err
}

// A transcript is what programs said, line by line, and when it was heard.
type transcript struct {
	mu   sync.Mutex
	said []said
}

type said struct {
	at   time.Time
	text string
}

func (tr *transcript) read(from *os.File) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		tr.mu.Lock()
		tr.said = append(tr.said, said{time.Now(), lines.Text()})
		tr.mu.Unlock()
	}
}

func (tr *transcript) len() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.said)
}

// match is the lines from one on for which want is true.
func (tr *transcript) match(from int, want func(said) bool) (found []said) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, s := range tr.said[from:] {
		if want(s) {
			found = append(found, s)
		}
	}
	return found
}

// tail is the last n lines, without those that tell of each switch of the lamp.
func (tr *transcript) tail(n int) string {
	all := tr.match(0, func(s said) bool { return !strings.Contains(s.text, "/set fired") })
	var b strings.Builder
	for _, s := range all[max(0, len(all)-n):] {
		fmt.Fprintf(&b, "%s %.300s\n", s.at.Format("05.000"), s.text)
	}
	return b.String()
}

// A client is an MQTT 5 client that behaves.
type client struct {
	*paho.Client
	mu   sync.Mutex
	got  []message
	next int // the first that expect has not looked at
}

type message struct {
	topic, payload string
	retained       bool // found, not live
	at             time.Time
}

// dial connects a client.
func dial(ctx context.Context, addr, id string) (*client, error) {
	return dialAs(ctx, addr, id, "", "")
}

// dialAs is dial with a login; user "" has none.
func dialAs(ctx context.Context, addr, id, user, password string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{}
	c.Client = paho.NewClient(paho.ClientConfig{
		ClientID:      id,
		Conn:          packets.NewThreadSafeConn(conn),
		PacketTimeout: time.Hour, // what limits a wait is the context
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.got = append(c.got, message{p.Packet.Topic, string(p.Packet.Payload), p.Packet.Retain, time.Now()})
			return true, nil
		}},
	})
	hello := &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}
	if user != "" {
		hello.Username, hello.UsernameFlag, hello.Password, hello.PasswordFlag = user, true, []byte(password), true
	}
	if _, err := c.Connect(ctx, hello); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// client connects one that must succeed, and subscribes.
func (l *life) client(t *testing.T, id string, filters ...string) *client {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	c, err := dial(ctx, l.tcp, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(&paho.Disconnect{}) })
	if len(filters) > 0 {
		if err := c.subscribe(ctx, 1, filters...); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *client) subscribe(ctx context.Context, qos byte, filters ...string) error {
	var subs []paho.SubscribeOptions
	for _, f := range filters {
		subs = append(subs, paho.SubscribeOptions{Topic: f, QoS: qos})
	}
	_, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: subs})
	return err
}

// publish returns when the message is acknowledged.
func (c *client) publish(ctx context.Context, topic, payload string, qos byte, retain bool) error {
	_, err := c.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
	return err
}

// send publishes with QoS 1 and must succeed.
func (c *client) send(t *testing.T, topic, payload string, retain bool) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := c.publish(ctx, topic, payload, 1, retain); err != nil {
		t.Fatalf("publish %s to %s: %v", payload, topic, err)
	}
}

// expect waits for a message that came after the last one it has seen.
func (c *client) expect(t *testing.T, topic, payload string) message {
	t.Helper()
	var found message
	eventually(t, "message "+topic+" "+payload, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := c.next; i < len(c.got); i++ {
			if c.got[i].topic == topic && c.got[i].payload == payload {
				found, c.next = c.got[i], i+1
				return true
			}
		}
		return false
	})
	return found
}

// last is the newest payload of each topic that the client has got.
func (c *client) last() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[string]string)
	for _, msg := range c.got {
		m[msg.topic] = msg.payload
	}
	return m
}
