package push

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"
)

// An influx is a database in memory, behind a network that can be cut.
type influx struct {
	mu     sync.Mutex
	lines  []string // as it took them
	asked  []*http.Request
	answer func(r *http.Request, lines []string) (status int, header http.Header, body string) // nil: it takes them
	gone   error                                                                               // no connection
	slow   time.Duration
}

func (db *influx) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	zip, err := gzip.NewReader(r.Body)
	if err == nil {
		body, err = io.ReadAll(zip)
	}
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		http.Error(w, "not compressed", http.StatusTeapot)
		return
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	db.mu.Lock()
	defer db.mu.Unlock()
	db.asked = append(db.asked, r)
	if db.answer != nil {
		if status, header, text := db.answer(r, lines); status != 0 {
			for name := range header {
				w.Header().Set(name, header.Get(name))
			}
			w.WriteHeader(status)
			io.WriteString(w, text)
			return
		}
	}
	db.lines = append(db.lines, lines...)
	w.WriteHeader(http.StatusNoContent)
}

// RoundTrip is the network.
func (db *influx) RoundTrip(r *http.Request) (*http.Response, error) {
	db.mu.Lock()
	gone, slow := db.gone, db.slow
	db.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if gone != nil {
		return nil, gone
	}
	w := httptest.NewRecorder()
	db.ServeHTTP(w, r)
	return w.Result(), nil
}

func (db *influx) is(answer func(*http.Request, []string) (int, http.Header, string), gone error, slow time.Duration) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.answer, db.gone, db.slow = answer, gone, slow
}

// took is what it took since the last time, and how often it was asked.
func (db *influx) took() (lines []string, asked int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	lines, asked = db.lines, len(db.asked)
	db.lines, db.asked = nil, nil
	return lines, asked
}

func always(status int, body string) func(*http.Request, []string) (int, http.Header, string) {
	return func(*http.Request, []string) (int, http.Header, string) { return status, nil, body }
}

// A trial is pushers in a synctest bubble.
type trial struct {
	*Pushers
	db    *influx
	log   *bytes.Buffer
	began time.Time
	known atomic.Bool
}

func begin(t *testing.T, text string) *trial {
	t.Helper()
	x := &trial{db: new(influx), log: new(bytes.Buffer), began: time.Now()}
	x.known.Store(true)
	handler := slog.NewTextHandler(x.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	x.Pushers = New(Options{Now: x.now, Log: slog.New(handler), Transport: x.db,
		Secret: func(name string) (string, bool) { return "the " + name, name != "" }})
	x.Use(parse(t, text))
	return x
}

func (x *trial) now() devices.Now {
	return devices.Now{Mono: time.Since(x.began), Wall: time.Now(), Known: x.known.Load()}
}

// measure puts a temperature.
func (x *trial) measure(value float64) {
	x.Put(Point{At: x.now(), Name: "hall.temperature", Device: "hall", Property: "temperature", Unit: "°C", Value: value})
}

func parse(t *testing.T, text string) Config {
	t.Helper()
	var c Config
	if doc := config.Parse("config.toml", []byte(text), &c); doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	return c
}

const home = `
[push.home]
url = "http://influx.lan:8086/"
bucket = "home"
org = "the family"
token = "influx"
`

// Readings come in batches, with the time at which they were measured.
func TestReadingsAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t, home)
		x.measure(21.5)
		time.Sleep(time.Second)
		x.measure(22)
		x.Put(Point{At: x.now(), Device: "lamp", Room: "Study", Value: true})
		x.Put(Point{At: x.now(), Device: "lamp", Value: map[string]any{"x": 1.0}}) // has no form there
		time.Sleep(7 * time.Second)
		if lines, asked := x.db.took(); asked != 0 {
			t.Errorf("asked %d times with %q before ten seconds", asked, lines)
		}
		time.Sleep(3 * time.Second)
		x.db.mu.Lock()
		r := x.db.asked[0]
		x.db.mu.Unlock()
		if got := r.Method + " " + r.URL.String(); got != "POST http://influx.lan:8086/api/v2/write?bucket=home&org=the+family&precision=ns" {
			t.Error(got)
		}
		if got := r.Header.Get("Authorization"); got != "Token the influx" {
			t.Error(got)
		}
		lines, _ := x.db.took()
		want := []string{
			`hearth,device=hall,property=temperature,unit=°C value=21.5 946684800000000000`,
			`hearth,device=hall,property=temperature,unit=°C value=22 946684801000000000`,
			`hearth,device=lamp,room=Study value=1 946684801000000000`,
		}
		if !slices.Equal(lines, want) {
			t.Errorf("%q", lines)
		}
		x.measure(23) // what has not been sent at the end goes then
		x.Close()
		if lines, _ := x.db.took(); len(lines) != 1 {
			t.Errorf("at the end %q", lines)
		}
		if x.log.Len() > 0 {
			t.Error(x.log)
		}
	})
}

// Version 1 has other words for it all.
func TestVersionOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t, `
[push.old]
url = "https://influx.lan/behind/proxy"
database = "house"
user = "hearth"
password = "influx"
measurement = "the house"
tags = { site = "a b", deck = "x,y=z" }
include = ["hall.*", "lamp"]
exclude = "*.noise"
every = "1s"
`)
		x.measure(21.5)
		x.Put(Point{At: x.now(), Name: "hall.noise", Device: "hall", Property: "noise", Value: 1.0})
		x.Put(Point{At: x.now(), Name: "lamp.power", Device: "lamp", Property: "power", Value: 1.0})
		time.Sleep(2 * time.Second)
		x.Close()
		r := x.db.asked[0]
		user, password, _ := r.BasicAuth()
		if got := r.URL.String() + " " + user + " " + password; got != "https://influx.lan/behind/proxy/write?db=house&precision=ns hearth the influx" {
			t.Error(got)
		}
		if lines, _ := x.db.took(); !slices.Equal(lines, []string{`the\ house,deck=x\,y\=z,device=hall,property=temperature,site=a\ b,unit=°C value=21.5 946684800000000000`}) {
			t.Errorf("%q", lines)
		}
	})
}

// While the clock is not known to be right all waits; then it has the right time.
func TestReadingsOfBeforeTheClockWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t, home)
		x.known.Store(false)
		wrong := x.now()
		wrong.Wall = time.Unix(0, 0)
		x.Put(Point{At: wrong, Device: "hall", Value: 1.0})
		time.Sleep(time.Hour)
		if _, asked := x.db.took(); asked != 0 {
			t.Error("it was sent")
		}
		x.known.Store(true)
		time.Sleep(10 * time.Second)
		x.Close()
		if lines, _ := x.db.took(); !slices.Equal(lines, []string{"hearth,device=hall value=1 946684800000000000"}) {
			t.Errorf("%q", lines)
		}
	})
}

// A database that is gone, not well, or does not let us in: nothing is lost but what is too
// much, it is tried less and less often, and the log says it once.
func TestADatabaseThatIsNotThere(t *testing.T) {
	gone := errors.New("connect: no route to host")
	for what, c := range map[string]struct {
		answer func(*http.Request, []string) (int, http.Header, string)
		gone   error
		slow   time.Duration
		says   string
	}{
		"gone":          {nil, gone, 0, gone.Error()},
		"broken":        {always(503, "<html>\nno"), nil, 0, `it answers 503 Service Unavailable: <html> no`},
		"a stranger":    {always(401, `{"code":"unauthorized","message":"unauthorized access"}`), nil, 0, "it answers 401 Unauthorized: unauthorized access"},
		"no database":   {always(404, `{"error":"database not found: \"x\""}`), nil, 0, `it answers 404 Not Found: database not found: \"x\"`},
		"moved":         {always(301, ""), nil, 0, "it answers 301 Moved Permanently"},
		"never answers": {nil, nil, time.Hour, "context deadline exceeded"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := begin(t, home+"buffer = 300\n")
				defer x.Close()
				x.db.is(c.answer, c.gone, c.slow)
				for i := range 500 { // some eight hours
					x.measure(float64(i))
					time.Sleep(time.Minute)
				}
				s := x.Status()[0]
				if s.Waiting != 300 || s.Dropped != 200 || s.Sent != 0 || !strings.Contains(s.Trouble, strings.ReplaceAll(c.says, `\`, "")) {
					t.Errorf("%+v", s)
				}
				if _, asked := x.db.took(); asked > 110 {
					t.Errorf("asked %d times in eight hours", asked)
				}
				x.db.is(nil, nil, 0)
				time.Sleep(latest)
				lines, _ := x.db.took()
				if len(lines) != 300 || !strings.Contains(lines[0], " value=200 ") || !strings.Contains(lines[299], " value=499 ") {
					t.Errorf("%d lines from %q", len(lines), lines[0])
				}
				if s := x.Status()[0]; s != (Status{Name: "home", Sent: 300, Dropped: 200}) {
					t.Errorf("%+v", s)
				}
				log := strings.Split(strings.TrimSpace(x.log.String()), "\n")
				if len(log) != 3 || !strings.Contains(log[0], `readings can't be sent, and wait" push=home err=`) || !strings.Contains(log[0], c.says) ||
					!strings.Contains(log[1], "the oldest are dropped") || log[2] != `level=INFO msg="readings are sent again" push=home waiting=0 dropped=200` {
					t.Errorf("%s", x.log)
				}
			})
		})
	}
}

// What is refused for good blocks nothing behind it; what is too much at once goes in parts;
// and who is asked to wait does.
func TestWhatADatabaseRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t, home)
		defer x.Close()
		x.db.is(always(400, `{"code":"invalid","message":"unable to parse 'x'"}`), nil, 0)
		for i := range 3 {
			x.measure(float64(i))
			time.Sleep(11 * time.Second)
		}
		x.db.is(nil, nil, 0)
		x.measure(3)
		time.Sleep(11 * time.Second)
		if lines, _ := x.db.took(); len(lines) != 1 {
			t.Errorf("%q", lines)
		}
		if s := x.Status()[0]; s.Refused != 3 || s.Sent != 1 || s.Trouble != "" {
			t.Errorf("%+v", s)
		}
		if text := x.log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "unable to parse 'x'") {
			t.Error(text)
		}

		x.db.is(func(_ *http.Request, lines []string) (int, http.Header, string) {
			if len(lines) > 700 {
				return 413, nil, ""
			}
			return 0, nil, ""
		}, nil, 0)
		for i := range 6000 {
			x.measure(float64(i))
		}
		time.Sleep(time.Minute)
		if lines, _ := x.db.took(); len(lines) != 6000 || !strings.Contains(lines[5999], "value=5999 ") {
			t.Errorf("%d lines in parts", len(lines))
		}

		x.db.is(func(*http.Request, []string) (int, http.Header, string) {
			return 429, http.Header{"Retry-After": {"120"}}, ""
		}, nil, 0)
		x.db.took()
		x.measure(1)
		time.Sleep(119 * time.Second)
		if _, asked := x.db.took(); asked != 1 {
			t.Errorf("asked %d times, though it said 120 seconds", asked)
		}
	})
}

// Who puts a reading never waits, however slow the database is, and much goes at once.
func TestPutNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := begin(t, home)
		x.db.is(nil, nil, 20*time.Second)
		before := time.Now()
		for i := range 50_000 {
			x.measure(float64(i))
		}
		if took := time.Since(before); took > 0 {
			t.Errorf("it waited %v", took)
		}
		time.Sleep(5 * time.Minute)
		if s := x.Status()[0]; s.Sent+s.Dropped != 50_000 || s.Sent < 20_000 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		x.measure(1)
		before = time.Now()
		x.Close()
		if took := time.Since(before); took > lastWords {
			t.Errorf("the end waited %v", took)
		}
	})
}

// A reload: one that stays is not touched, what waits for one with a new address goes
// there, and one that is no more is forgotten.
func TestAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := strings.NewReplacer("push.home", "push.other", "bucket = \"home\"", "bucket = \"other\"").Replace(home)
		x := begin(t, home+other)
		x.db.is(nil, errors.New("gone"), 0)
		x.measure(1)
		time.Sleep(20 * time.Second)
		first := (*x.all.Load())[0]
		x.Use(parse(t, home+strings.Replace(other, "influx.lan", "new.lan", 1)+strings.Replace(other, "push.other", "push.third", 1)))
		if (*x.all.Load())[0] != first {
			t.Error("what did not change was touched")
		}
		x.db.is(nil, nil, 0)
		x.measure(2)
		time.Sleep(time.Minute)
		got := make(map[string]int)
		x.db.mu.Lock()
		for _, r := range x.db.asked {
			got[r.URL.Host+" "+r.URL.Query().Get("bucket")]++
		}
		x.db.mu.Unlock()
		if lines, _ := x.db.took(); len(lines) != 5 || got["new.lan:8086 other"] != 1 || got["influx.lan:8086 home"] == 0 || got["influx.lan:8086 other"] != 1 {
			t.Errorf("%v %q", got, lines)
		}
		x.Use(Config{})
		if x.Any() || x.Status() != nil {
			t.Error("there is still one")
		}
		x.Close()
	})
}

// On a real connection, with a certificate that only the owner knows.
func TestOverTheNetwork(t *testing.T) {
	db := new(influx)
	server := httptest.NewTLSServer(db)
	defer server.Close()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	now := func() devices.Now { return devices.Now{Wall: time.Now(), Known: true} }
	for _, known := range []bool{false, true} {
		text := strings.Replace(home, "http://influx.lan:8086/", server.URL, 1)
		if known {
			text += "ca = \"ca.pem\"\n"
		}
		p := newPusher("home", parse(t, text).Push[0].Value, Options{Dir: dir, Now: now, Log: slog.New(slog.DiscardHandler),
			Secret: func(string) (string, bool) { return "x", true }})
		p.put(Point{At: now(), Device: "hall", Value: 1.0})
		err := p.send(context.Background())
		if known != (err == nil) || err != nil && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("known %v: %v", known, err)
		}
		p.client.CloseIdleConnections()
	}
	if lines, _ := db.took(); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}

// readLine takes a line apart as the reference says: a backslash escapes a comma, an equals
// sign and a space in names and tags, a quote and itself in text, and is itself elsewhere.
func readLine(line string) (measurement string, tags map[string]string, field string, value any, at string, err error) {
	tags = make(map[string]string)
	bare := func(rest, stop string) (text, after string) {
		var b strings.Builder
		for i := 0; i < len(rest); i++ {
			switch c := rest[i]; {
			case c == '\\' && i+1 < len(rest) && strings.IndexByte(",= ", rest[i+1]) >= 0:
				i++
				b.WriteByte(rest[i])
			case strings.IndexByte(stop, c) >= 0:
				return b.String(), rest[i:]
			default:
				b.WriteByte(c)
			}
		}
		return b.String(), ""
	}
	if strings.ContainsAny(line, "\n\r\x00") {
		return "", nil, "", nil, "", errors.New("a line has no control characters")
	}
	measurement, rest := bare(line, ", ")
	for strings.HasPrefix(rest, ",") {
		var key, text string
		key, rest = bare(rest[1:], "=, ")
		if !strings.HasPrefix(rest, "=") {
			return "", nil, "", nil, "", fmt.Errorf("no = after tag %q", key)
		}
		if text, rest = bare(rest[1:], ",= "); text == "" || strings.HasPrefix(rest, "=") {
			return "", nil, "", nil, "", fmt.Errorf("tag %q has no sound value", key)
		}
		if _, twice := tags[key]; twice {
			return "", nil, "", nil, "", fmt.Errorf("tag %q comes twice", key)
		}
		tags[key] = text
	}
	field, rest = bare(strings.TrimPrefix(rest, " "), "= ")
	rest, ok := strings.CutPrefix(rest, "=")
	if !ok || field == "" {
		return "", nil, "", nil, "", errors.New("no field")
	}
	if text, quoted := strings.CutPrefix(rest, `"`); quoted {
		var b strings.Builder
		for i := 0; ; i++ {
			if i >= len(text) {
				return "", nil, "", nil, "", errors.New("a text has no end")
			}
			if text[i] == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\') {
				i++
			} else if text[i] == '"' {
				rest = text[i+1:]
				break
			}
			b.WriteByte(text[i])
		}
		value = b.String()
	} else {
		number, after, _ := strings.Cut(rest, " ")
		var f float64
		if _, err := fmt.Sscanf(number, "%g", &f); err != nil {
			return "", nil, "", nil, "", fmt.Errorf("%q is no number", number)
		}
		value, rest = f, " "+after
	}
	at, ok = strings.CutPrefix(rest, " ")
	if !ok || strings.Trim(at, "-0123456789") != "" || at == "" {
		return "", nil, "", nil, "", fmt.Errorf("%q is no time", rest)
	}
	return measurement, tags, field, value, at, nil
}

// Whatever a device calls itself and says, the line is one line, and its parts come back.
func FuzzLine(f *testing.F) {
	for _, s := range []string{`a\`, `a\,b`, `a,b=c d`, "a\nb", "\xff\x00", `"\"`, "#x", "é\u2028", `\\`, " ", "=", ""} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, device, room, text string) {
		p := Point{At: devices.Now{Wall: time.Unix(1, 5), Known: true}, Device: device, Property: "x", Room: room, Value: text}
		if !p.fit() {
			t.Fatal("a text has a form")
		}
		line := string(p.appendLine(nil, Target{}, devices.Now{}))
		line, ok := strings.CutSuffix(line, "\n")
		measurement, tags, field, value, at, err := readLine(line)
		if !ok || err != nil || measurement != "hearth" || field != "text" || at != "1000000005" {
			t.Fatalf("%q is read as %q %q %q %v %q: %v", line, measurement, tags, field, value, at, err)
		}
		if tags["device"] != tagText(device) || tags["room"] != tagText(room) || tags["property"] != "x" || value != fieldText(p.Value.(string)) {
			t.Fatalf("%q is read as %q %q", line, tags, value)
		}
		if strings.ContainsAny(device+room+text, "\n\\\x00") {
			return
		}
		if len(text) <= mostText && fieldText(text) == text && value != text {
			t.Fatalf("%q became %q", text, value)
		}
	})
}
