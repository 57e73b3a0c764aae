package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for what must happen at once. Only a
// failing test takes it.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hearth": main})
}

// TestSessions runs the scripts in testdata: what a person types and what is
// answered. They run this program itself, with commands beside those of
// testscript to deal with what runs for longer:
//
//	serve [args]         hearth serve --sim until it is ready, called house; sets
//	                     $BROKER and $PAGE to where it listens
//	start NAME prog ...  runs a program beside the script
//	says NAME regexp     waits until it prints, after what an earlier says found,
//	                     a line that matches
//	signal NAME TERM     sends TERM, INT, HUP or KILL
//	ends NAME status     waits until it ends; status is a number or "killed"
//	systemd              plays systemd to what is started after it: what it is told
//	                     is what systemd says
//	kept regexp          waits until what is on disk in data matches
//	until regexp program args...
//	                     runs a program until what it prints has a line that matches
//	remember             fills data with a history of two days, see history_test.go
//	gate [certificate|expired]
//	                     listens with TLS for $BROKER at $TLS, and at $TLS_BY_NAME, which
//	                     is not in its certificate; with certificate whoever comes must
//	                     show one, with expired its own is. Writes ca.pem, client.pem
//	                     and .key, and stranger.pem and .key of another CA, nobody.pem
//
// [installed] is true where /etc/hearth/config.toml exists.
func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[beside{}] = programs{}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "installed" {
				return false, fmt.Errorf("no condition %s", name)
			}
			_, err := os.Stat(systemConfig)
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    serve,
			"start":    start,
			"says":     says,
			"signal":   sendSignal,
			"ends":     ends,
			"kept":     keptOnDisk,
			"systemd":  systemd,
			"gate":     gate,
			"until":    until,
			"remember": remember,
		},
	})
}

// programs are those that run beside a script, by the name it gave them.
type (
	programs map[string]*program
	beside   struct{} // their key among a script's values
)

type program struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has, with all its output in

	mu     sync.Mutex
	output bytes.Buffer  // both streams
	more   chan struct{} // closed and made anew when output grows
	from   int           // where the next says begins to look
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.output.Write(b)
}

// wait is the first match of a line after the last one's.
func (p *program) wait(ts *testscript.TestScript, pattern string) []string {
	line, err := regexp.Compile("(?m:" + pattern + ")")
	ts.Check(err)
	timeout := time.After(patience)
	for ended := false; ; {
		p.mu.Lock()
		rest, more := p.output.Bytes()[p.from:], p.more
		if m := line.FindSubmatchIndex(rest); m != nil {
			p.from += m[1]
			var found []string
			for i := 0; i < len(m); i += 2 {
				found = append(found, string(rest[m[i]:m[i+1]]))
			}
			p.mu.Unlock()
			return found
		}
		text := string(rest)
		p.mu.Unlock()
		if ended {
			ts.Fatalf("it ended without saying %q; it said:\n%s", pattern, text)
		}
		select {
		case <-more:
		case <-p.ended:
			ended = true
		case <-timeout:
			ts.Fatalf("it does not say %q within %v; it said:\n%s", pattern, patience, text)
		}
	}
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	start(ts, neg, append([]string{"house", "hearth", "serve", "--sim"}, args...))
	p := running(ts, "house")
	ts.Setenv("BROKER", p.wait(ts, `^  MQTT  ([^ \n]+)`)[1])
	ts.Setenv("PAGE", p.wait(ts, `^  page  (.*)$`)[1])
	p.wait(ts, `^Ready\.`)
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME program args...")
	}
	all := ts.Value(beside{}).(programs)
	if old := all[args[0]]; old != nil {
		select {
		case <-old.ended:
		default:
			ts.Fatalf("%s runs already", args[0])
		}
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	p := &program{cmd: exec.Command(path, args[2:]...), ended: make(chan struct{}), more: make(chan struct{})}
	p.cmd.Args[0] = args[1]
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = environment(ts)
	p.cmd.Stdout, p.cmd.Stderr = io.Writer(p), io.Writer(p)
	ts.Check(p.cmd.Start())
	all[args[0]] = p
	go func() {
		defer close(p.ended)
		p.cmd.Wait()
	}()
	ts.Defer(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if p.from < p.output.Len() {
			ts.Logf("[%s, unread]\n%s", args[0], p.output.Bytes()[p.from:])
		}
	})
}

// environment is what testscript gives its own programs, as far as ours care.
func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "HEARTH_USER", "HEARTH_PASSWORD", "HEARTH_CA"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func running(ts *testscript.TestScript, name string) *program {
	p := ts.Value(beside{}).(programs)[name]
	if p == nil {
		ts.Fatalf("no %s was started", name)
	}
	return p
}

func says(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: says NAME regexp")
	}
	running(ts, args[0]).wait(ts, args[1])
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME TERM")
	}
	sig, ok := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL,
	}[args[1]]
	if !ok {
		ts.Fatalf("no signal %s here", args[1])
	}
	ts.Check(running(ts, args[0]).cmd.Process.Signal(sig))
}

func ends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ends NAME status")
	}
	p := running(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end within %v", args[0], patience)
	}
	status := strconv.Itoa(p.cmd.ProcessState.ExitCode())
	if p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		status = "killed"
	}
	if status != args[1] {
		ts.Fatalf("%s ended with %s, want %s; it said:\n%s", args[0], status, args[1], p.output.Bytes()[p.from:])
	}
}

func systemd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: systemd")
	}
	// In a folder of its own: a socket's path must be short.
	dir, err := os.MkdirTemp("", "hearth")
	ts.Check(err)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	ts.Check(err)
	p := &program{ended: make(chan struct{}), more: make(chan struct{})}
	ts.Value(beside{}).(programs)["systemd"] = p
	ts.Setenv("NOTIFY_SOCKET", conn.LocalAddr().String())
	ts.Setenv("WATCHDOG_USEC", "3000000")
	go func() {
		defer close(p.ended)
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			p.Write(append(b[:n:n], '\n'))
		}
	}()
	ts.Defer(func() {
		conn.Close()
		<-p.ended
		os.RemoveAll(dir)
	})
}

// keptOnDisk looks into the log of the store, since nothing else tells when
// something is in it.
func keptOnDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kept regexp")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	timeout := time.After(patience)
	for {
		if b, err := os.ReadFile(ts.MkAbs(filepath.Join("data", "hearth.log"))); err == nil && re.Match(b) {
			return
		}
		select {
		case <-look.C:
		case <-timeout:
			ts.Fatalf("%q is not on disk within %v", args[0], patience)
		}
	}
}

// until is for what no program waits for, such as that a hub has taken something up.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until regexp program args...")
	}
	re, err := regexp.Compile("(?m:" + args[0] + ")")
	ts.Check(err)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	timeout := time.After(patience)
	for {
		path, err := exec.LookPath(args[1])
		ts.Check(err)
		cmd := exec.Command(path, args[2:]...)
		cmd.Args[0], cmd.Dir, cmd.Env = args[1], ts.MkAbs("."), environment(ts)
		out, err := cmd.CombinedOutput()
		if err == nil && re.Match(out) {
			return
		}
		select {
		case <-look.C:
		case <-timeout:
			ts.Fatalf("%v does not print %q within %v, but:\n%s", args[1:], args[0], patience, out)
		}
	}
}

// A journal line has its priority and no time, whatever the logger carries.
func TestJournal(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newJournal(&b, slog.LevelInfo))
	log.Debug("not this")
	log.With("output", "porch_light").Warn("does not answer", "for", time.Second)
	log.WithGroup("mqtt").Info("hello", "level", 3)
	want := "<4>msg=\"does not answer\" output=porch_light for=1s\n<6>msg=hello mqtt.level=3\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

// Systemd hears from the loop when it goes round, but not each time.
func TestThrottled(t *testing.T) {
	start := time.Unix(0, 0)
	now := start
	var told []int
	alive := throttled(5*time.Second, func() time.Time { return now }, func() {
		told = append(told, int(now.Sub(start)/time.Second))
	})
	for range 12 {
		alive()
		now = now.Add(time.Second)
	}
	now = now.Add(time.Hour) // stuck: nobody speaks for the loop
	alive()
	if got, want := fmt.Sprint(told), "[0 5 10 3612]"; got != want {
		t.Errorf("told systemd at %v, want %v", got, want)
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"21.5 °C":             "21.5 °C",
		"\x1b]0;owned\x07":    `\x1b]0;owned\a`,
		"a\nb\tc\r":           `a\nb\tc\r`,
		"\xff\x00":            `\xff\x00`,
		"\u009b31m":           `\u009b31m`,  // a terminal's CSI in one character
		"\u202eevil":          `\u202eevil`, // turns the writing direction round
		"it's \"quoted\" \\n": "it's \"quoted\" \\n",
	} {
		if got := harmless([]byte(in)); got != want {
			t.Errorf("harmless(%q) = %s, want %s", in, got, want)
		}
	}
}

// Whatever is published, the terminal gets printable text on one line.
func FuzzHarmless(f *testing.F) {
	f.Add([]byte("\x1b[2J"))
	f.Add([]byte("\xc2"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		for i, r := range harmless(payload) {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q at %d of %q", r, i, payload)
			}
		}
	})
}
