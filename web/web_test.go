package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"hearth/config"
)

// ask sends a request through all the checks, as one from this machine. "Host" and "From"
// among the headers are who is asked, and from where.
func ask(s *Server, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:4711"
	if method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "Host":
			r.Host = header[i+1]
		case "From":
			r.RemoteAddr = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func said(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var answer struct{ Error string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Error == "" {
		t.Errorf("status %d: want {\"error\":...}, got %q", w.Code, w.Body)
	}
	return answer.Error
}

func TestThePageWithoutJavaScriptTellsHowTheHouseIs(t *testing.T) {
	house := newHouse()
	house.view.Outputs[2].Fault = "the line is held by another program"
	house.view.Trouble = []string{"the disk refuses: no space left on device"}
	s := New(house, Options{Log: quietLog})
	w := ask(s, "GET", "/", "")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("status %d, %s", w.Code, w.Header())
	}
	text := strings.Join(strings.Fields(html.UnescapeString(w.Body.String()+ask(s, "GET", "/log", "").Body.String())), " ")
	for _, want := range []string{
		"<title>home · Hearth</title>", "Simulated pins.", `<a href="/health">the disk refuses: no space left on device</a>`,
		`<li><a href="/pins#garden_pump">garden_pump: the line is held by another program</a></li>`,
		`<a class="name" href="/thing/porch_light">porch_light</a> <span class="line" title="">GPIO17</span>`, `<a class="state" href="/why/porch_light" title="Why porch_light?">Off</a>`,
		`aria-label="heater" aria-checked="true" disabled>`,
		`title="Why garden_pump?">Not known</a>`,
		`zigbee2mqtt/study_climate:temperature`, "18.4", "11:59:56",
		"<b>rule.heater</b></a> <span class=\"because\">fired: zigbee2mqtt/study_climate:temperature below 19 (now 18.4) -> heater ON",
		"running since <span id=\"started\">2026-03-09 10:00", "rule.garage_open waits until",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(text, `id="empty" class="card hint">`) {
		t.Error("the page calls a full house empty")
	}
}

func TestAnEmptyHouseSaysWhatToWriteNext(t *testing.T) {
	house := newHouse()
	house.view = View{Name: "home", Now: noon}
	page := ask(New(house, Options{Log: quietLog}), "GET", "/", "").Body.String()
	for _, want := range []string{`id="empty" class="card hint">`, "[output.porch_light]\npin = \"GPIO17\"\nactive_low = true", `<div id="rooms"></div>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	house.view.Readings = []Reading{{Source: "plug.power", Text: "5 W", At: noon}}
	page = ask(New(house, Options{Log: quietLog}), "GET", "/", "").Body.String()
	if !strings.Contains(page, `id="empty" class="card hint" hidden>`) {
		t.Error("a house with devices and nothing of its own is called empty")
	}
	house.view.Outputs = []Pin{{Name: "lamp"}}
	page = ask(New(house, Options{Log: quietLog}), "GET", "/log", "").Body.String()
	if !strings.Contains(page, `to = "<span id="first-output">lamp</span>"`) || strings.Contains(page, `id="no-rules" hidden`) {
		t.Error("a house without rules is not shown a link to its first output")
	}
}

func TestTheFieldNamesAreStable(t *testing.T) {
	house := newHouse()
	house.view.Outputs = house.view.Outputs[:1]
	house.view.Inputs, house.view.Broker = nil, map[string]int64{"clients": 3}
	house.view.Readings, house.view.Decisions = house.view.Readings[:1], house.view.Decisions[1:]
	got := ask(New(house, Options{Log: quietLog}), "GET", "/api/v1/house", "").Body.String()
	want := `{"name":"home","version":"test","simulated":true,"now":"2026-03-10T12:00:00+01:00","started":"2026-03-09T10:00:00+01:00","clock_known":true,"trouble":[],"may":"change",` +
		`"things":[{"name":"porch_light","line":"GPIO17","properties":[{"name":"","kind":"switch","known":true,"tells":true}]}],` +
		`"outputs":[{"name":"porch_light","pin":"GPIO17","on":false,"known":true,"fault":"","simulated":true}],"inputs":[],` +
		`"readings":[{"source":"zigbee2mqtt/study_climate:temperature","text":"18.4","bad":"","at":"2026-03-10T11:59:56+01:00"}],` +
		`"decisions":[{"at":"2026-03-10T11:53:00+01:00","rule":"link.hall_light","outcome":"blocked","text":"link.hall_light blocked: zigbee2mqtt/hall_motion:occupancy (now true), not sun down (up)"}],` +
		`"waiting":["rule.garage_open waits until garage/door/state has been open for 15m"],"rules":3,"broker":{"clients":3}}` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSwitching(t *testing.T) {
	house := newHouse()
	house.view.Outputs[2].Fault = "stuck"
	s := New(house, Options{Log: quietLog})
	for _, test := range []struct {
		path, body string
		header     []string
		status     int
		says       string
	}{
		{"/api/v1/output/porch_light", `{"on":true}`, nil, 204, ""},
		{"/api/v1/output/porch_light", ` {"on": false} `, []string{"Content-Type", "application/json; charset=utf-8"}, 204, ""},
		{"/api/v1/input/pir", `{"on":true}`, nil, 204, ""},
		{"/api/v1/input/doorbell", `{"on":true}`, nil, 409, "is real"},
		{"/api/v1/output/garden_pump", `{"on":true}`, nil, 409, "stuck"},
		{"/api/v1/output/porch", `{"on":true}`, nil, 404, `did you mean "porch_light"?`},
		{"/api/v1/output/%3Cscript%3E", `{"on":true}`, nil, 404, `no output is named "<script>"`},
		{"/api/v1/output/porch_light", `{}`, nil, 400, `want {"on":true}`},
		{"/api/v1/output/porch_light", `{"on":1}`, nil, 400, `want {"on":true}`},
		{"/api/v1/output/porch_light", `{"on":true}{"on":false}`, nil, 400, `want {"on":true}`},
		{"/api/v1/output/porch_light", `{"on":true,"for":"1m"}`, nil, 400, `want {"on":true}`},
		{"/api/v1/output/porch_light", strings.Repeat(" ", 1<<20) + `{"on":true}`, nil, 413, "want at most 1024 bytes"},
		{"/api/v1/output/porch_light", `on=true`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
		{"/api/v1/output/porch_light", `{"on":true}`, []string{"Content-Type", "text/plain"}, 415, "application/json"},
	} {
		w := ask(s, "POST", test.path, test.body, test.header...)
		if w.Code != test.status {
			t.Errorf("%s %.40q: status %d, want %d", test.path, test.body, w.Code, test.status)
		}
		if test.says != "" && !strings.Contains(said(t, w), test.says) {
			t.Errorf("%s %.40q: says %q, want %q in it", test.path, test.body, w.Body, test.says)
		}
	}
	if v := house.view; v.Outputs[0].On || !v.Inputs[0].On || v.Inputs[1].On {
		t.Errorf("the house is %+v %+v", v.Outputs, v.Inputs)
	}
	for path, method := range map[string]string{"/api/v1/output/porch_light": "GET", "/api/v1/house": "DELETE", "/": "POST"} {
		if w := ask(s, method, path, ""); w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: status %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := ask(s, "GET", "/api/nothing", ""); w.Code != 404 {
		t.Errorf("nothing: status %d", w.Code)
	}
}

// What is refused is said to a person in a page, in their language, and to programs as JSON; a form
// of who was logged out leads to the login.
func TestRefusalsAreSaidToPeople(t *testing.T) {
	s := lan(newHouse(), family())
	anna := cookie(t, s, "anna")
	for _, c := range []struct {
		method, path string
		with         []string
		status       int
		says, text   string // to a person, in German; to a program
	}{
		{"POST", "/logout", []string{"Sec-Fetch-Site", "cross-site"}, 403, "Eine andere Website hat den Browser gebeten", "another site asked"},
		{"POST", "/account", slices.Concat([]string{"Origin", "http://evil.example"}, anna), 403, "Eine andere Website hat den Browser gebeten", "another site asked"},
		{"POST", "/log", anna, 405, "lässt sich so weder öffnen noch senden", "only GET works here"},
		{"GET", "/logout", nil, 405, "lässt sich so weder öffnen noch senden", "only POST works here"},
		{"GET", "/", []string{"Host", "house.example"}, 421, `names = [&#34;house.example&#34;]`, `names = [\"house.example\"]`},
		{"POST", "/login", []string{"Content-Type", "text/plain"}, 415, "Das ging nicht", "want what a form posts"},
		{"POST", "/account", slices.Concat([]string{"Content-Type", "text/plain"}, anna), 415, "Das ging nicht", "want what a form posts"},
	} {
		w := ask(s, c.method, c.path, "x", slices.Concat([]string{"From", "192.168.1.77:1"}, person, []string{"Accept-Language", "de"}, c.with)...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || !strings.Contains(w.Body.String(), `<html lang="de"`) {
			t.Errorf("%s %s %s to a person: %d %s", c.method, c.path, c.with, w.Code, w.Body)
		}
		w = ask(s, c.method, c.path, "x", slices.Concat([]string{"From", "192.168.1.77:1"}, c.with)...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) || !strings.HasPrefix(w.Body.String(), "{") {
			t.Errorf("%s %s to a program: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
	if w := ask(s, "POST", "/rules/rule.heater", "enabled=true", slices.Concat([]string{"From", "192.168.1.77:1", "Content-Type", "application/x-www-form-urlencoded"}, person)...); w.Code != 303 || w.Header().Get("Location") != "/login?next=%2Frules%2Frule.heater" {
		t.Errorf("a form of a stranger: %d %s %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	if w := ask(s, "POST", "/api/v1/output/heater", `{"on":true}`, slices.Concat([]string{"From", "192.168.1.77:1", "Content-Type", "application/json"}, person)...); w.Code != 401 || said(t, w) == "" {
		t.Errorf("the API: %d %s", w.Code, w.Body)
	}
}

func TestOnlyThisMachineIsAnswered(t *testing.T) {
	house := newHouse()
	s := New(house, Options{Log: quietLog})
	for _, host := range []string{"localhost", "LOCALHOST:8080", "localhost.:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]", "[::ffff:127.0.0.1]:8080"} {
		if w := ask(s, "GET", "/api/v1/house", "", "Host", host); w.Code != 200 {
			t.Errorf("host %s: status %d", host, w.Code)
		}
	}
	for _, host := range []string{"", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.5:8080", "0.0.0.0", "[::]:8080", "0x7f.1", "localhost:80:80", "\xff"} {
		for _, path := range []string{"/", "/log", assetPath("js/home.js"), "/api/v1/house", "/api/v1/events", "/healthz"} {
			if w := ask(s, "GET", path, "", "Host", host); w.Code != 421 || said(t, w) == "" {
				t.Errorf("host %q: status %d", host, w.Code)
			}
		}
	}
	for _, origin := range [][]string{
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Origin", "http://localhost:9999"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:3000"},
	} {
		if w := ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, origin...); w.Code != 403 || said(t, w) == "" {
			t.Errorf("%v: status %d", origin, w.Code)
		}
	}
	if w := ask(s, "GET", "/api/v1/events", "", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("a stream for another site: status %d", w.Code)
	}
	if house.view.Outputs[0].On || house.watching() > 0 {
		t.Error("another site reached the house")
	}
	for _, own := range [][]string{{"Origin", "http://localhost:8080"}, {"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:8080"}} {
		if w := ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, own...); w.Code != 204 {
			t.Errorf("%v: status %d", own, w.Code)
		}
	}
}

func TestEveryAnswerIsHardened(t *testing.T) {
	s := New(newHouse(), Options{Log: quietLog})
	for _, path := range []string{"/", "/log", assetPath("js/home.js"), assetPath("style.css"), assetPath("icon.svg"), "/healthz", "/api/v1/house", "/nothing", "/../web.go"} {
		h := ask(s, "GET", path, "").Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, h)
		}
	}
	for _, path := range []string{"/", "/log", "/login?again=1"} {
		page := ask(s, "GET", path, "").Body.String()
		for _, inline := range []string{"<style", "style=", "onclick", "javascript:", "http://", "https://"} {
			if strings.Contains(page, inline) {
				t.Errorf("%s has %s", path, inline)
			}
		}
	}
}

// What a page loads may be kept for ever, since another version has another address.
func TestAssets(t *testing.T) {
	s := New(newHouse(), Options{Log: quietLog})
	for _, page := range []string{"/", "/log"} {
		for _, link := range regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(ask(s, "GET", page, "").Body.String(), -1) {
			plain, packed := ask(s, "GET", link[1], ""), ask(s, "GET", link[1], "", "Accept-Encoding", "br, gzip")
			for _, w := range []*httptest.ResponseRecorder{plain, packed} {
				if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
					t.Errorf("%s: %d, %v", link[1], w.Code, w.Header())
				}
			}
			tag := packed.Header().Get("ETag")
			if packed.Header().Get("Content-Encoding") == "gzip" && tag == plain.Header().Get("ETag") {
				t.Errorf("%s has the same tag %s packed", link[1], tag)
			}
			if w := ask(s, "GET", link[1], "", "Accept-Encoding", "gzip", "If-None-Match", tag); w.Code != 304 {
				t.Errorf("%s unchanged: status %d", link[1], w.Code)
			}
		}
	}
	for _, wrong := range []string{"/assets/older/js/home.js", assetPath("js/nothing.js"), assetPath("pages/home.html"), assetPath("words/de.toml"), assetPath("../web.go")} {
		if w := ask(s, "GET", wrong, ""); w.Code == 200 {
			t.Errorf("%s: %d", wrong, w.Code)
		}
	}
	for encoding, want := range map[string]string{"": "", "br": "", "gzip": "gzip", "GZIP;q=0.5": "gzip", "gzip;q=0": "", "br, gzip;q=0.0": ""} {
		if got := ask(s, "GET", "/", "", "Accept-Encoding", encoding).Header().Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: %q", encoding, got)
		}
	}
}

// hostile is what a device, or an owner who was tricked, may say.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'-alert(1)-'`, `</template></li><h1>`, `{{.Name}}`, `javascript:alert(1)`,
	"\xff\xfe\x00\x1b[31m", "a\u202egnp.exe", "line\nbreak\r\n\r\ndata: {}", "\u2028\u2029", strings.Repeat("x", 1<<20), strings.Repeat("e\u0301\u0302\u0303", 1<<16), "",
}

func TestHostileTextIsOnlyText(t *testing.T) {
	for _, evil := range hostile {
		house := newHouse()
		house.view = View{
			Name: evil, Version: evil, Now: noon, Trouble: []string{evil}, Waiting: []string{evil}, Broker: map[string]int64{"clients": 1},
			Outputs: []Pin{{Name: evil, Pin: evil, Fault: evil, Note: evil, Shows: evil}},
			Inputs:  []Pin{{Name: evil, Pin: evil, Fault: evil}},
			Things: []Thing{{Name: evil, Label: evil, Room: evil, Line: evil, Note: evil, Fault: evil, Properties: []Property{
				{Name: evil, Label: evil, Kind: "level", Unit: evil, Asked: evil, Bad: evil, Range: &Range{}, At: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}, {Name: evil, Kind: evil, Text: evil, Known: true}}}},
			Readings:  []Reading{{Source: evil, Text: evil, Bad: evil, At: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}},
			Decisions: []Decision{{Rule: evil, Outcome: evil, Text: evil, At: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}},
		}
		s := New(house, Options{Log: quietLog})
		for _, path := range []string{"/", "/log"} {
			page := ask(s, "GET", path, "")
			if page.Code != 200 || !utf8.Valid(page.Body.Bytes()) || page.Body.Len() > 100_000 {
				t.Errorf("%.30q: status %d, %d bytes, valid UTF-8 %v", evil, page.Code, page.Body.Len(), utf8.Valid(page.Body.Bytes()))
			}
			for _, tag := range []string{"<script>", "<img src=x", "<h1>", "\u202e", "\x00", "\x1b"} {
				if strings.Contains(page.Body.String(), tag) {
					t.Errorf("%.30q: the page has %q", evil, tag)
				}
			}
		}
		for _, path := range []string{"/api/v1/house", "/api/v1/output/" + strings.Repeat("%FF", 3)} {
			w := ask(s, map[bool]string{true: "GET", false: "POST"}[path == "/api/v1/house"], path, `{"on":true}`)
			if !json.Valid(w.Body.Bytes()) || !utf8.Valid(w.Body.Bytes()) || w.Body.Len() > 100_000 {
				t.Errorf("%s, %.30q: %d bytes", path, evil, w.Body.Len())
			}
		}
	}
}

func FuzzMended(f *testing.F) {
	for _, evil := range hostile[:10] {
		f.Add(evil)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := mended(s, 100)
		if !utf8.ValidString(m) || utf8.RuneCountInString(m) > 101 || strings.ContainsAny(m, "\x00\n\r\x1b\u202e\u2066") {
			t.Errorf("mended(%q) = %q", s, m)
		}
		if mended(m, 101) != m {
			t.Errorf("%q is not mended for good", m)
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := newHouse()
		s := New(house, Options{Log: quietLog})
		if w := ask(s, "GET", "/healthz", ""); w.Code != 200 {
			t.Errorf("a well house: status %d", w.Code)
		}
		house.broken = errors.New("the loop stands still")
		time.Sleep(time.Second)
		if w := ask(s, "GET", "/healthz", ""); w.Code != 503 || !strings.Contains(said(t, w), "stands still") {
			t.Errorf("a broken house: status %d %s", w.Code, w.Body)
		}
		house.stalled = true
		time.Sleep(time.Second)
		began := time.Now()
		if w := ask(s, "GET", "/healthz", ""); w.Code != 503 || time.Since(began) != time.Second {
			t.Errorf("a stalled house: status %d after %v", w.Code, time.Since(began))
		}
		if w := ask(s, "GET", "/", ""); w.Code != 503 || said(t, w) == "" {
			t.Errorf("its page: status %d", w.Code)
		}
	})
}

// A countedHouse counts how often it was asked for everything.
type countedHouse struct {
	*smallHouse
	views int
}

func (h *countedHouse) View(ctx context.Context) (View, error) {
	h.views++
	return h.smallHouse.View(ctx)
}

// Whoever reaches the page may ask whether the house is well, as often as they like: it is
// no work for the house.
func TestAskingForHealthIsNoWorkForTheHouse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := &countedHouse{smallHouse: newHouse()}
		s := New(house, Options{Log: quietLog})
		for range 3 {
			for range 1000 {
				if w := ask(s, "GET", "/healthz", ""); w.Code != 200 {
					t.Fatal(w.Code, w.Body)
				}
			}
			time.Sleep(time.Second)
		}
		if house.views != 3 {
			t.Errorf("the house was asked %d times in 3 seconds", house.views)
		}
	})
}

// A watch is one open stream.
type watch struct {
	*bufio.Scanner
	body io.Closer
}

func watchOn(t *testing.T, addr string, only ...string) (*watch, *http.Response) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/api/v1/events?only=" + strings.Join(only, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &watch{lines, resp.Body}, resp
}

// next is the next event that carries data, its name before it.
func (w *watch) next() string {
	name := ""
	for w.Scan() {
		if n, ok := strings.CutPrefix(w.Text(), "event: "); ok {
			name = n + " "
		}
		if data, ok := strings.CutPrefix(w.Text(), "data: "); ok {
			return name + data
		}
	}
	return "the end"
}

func TestAWatcherSeesTheHouseAndThenWhatHappens(t *testing.T) {
	house := newHouse()
	s := serve(t, house)
	w, resp := watchOn(t, s.Addr())
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("Content-Type %s", kind)
	}
	first := w.next()
	if !strings.HasPrefix(first, `house {"name":"home"`) || !strings.Contains(first, `"readings":[{`) {
		t.Errorf("first came %s", first)
	}
	house.report(Reading{Source: "a/b", Text: "\xff<b>", At: noon})
	if got, want := w.next(), `{"reading":{"source":"a/b","text":"�\u003cb\u003e","bad":"","at":"2026-03-10T12:00:00+01:00"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	req, _ := http.NewRequest("POST", "http://"+s.Addr()+"/api/v1/output/porch_light", strings.NewReader(`{"on":true}`))
	req.Header.Set("Content-Type", "application/json")
	if answer, err := http.DefaultClient.Do(req); err != nil || answer.StatusCode != 204 {
		t.Fatal(answer, err)
	}
	if got := w.next(); !strings.HasPrefix(got, `{"output":{"name":"porch_light","pin":"GPIO17","on":true`) {
		t.Errorf("got %s", got)
	}
	for _, part := range []string{`{"thing":{"name":"porch_light"`, `{"decision":{`} {
		if got := w.next(); !strings.HasPrefix(got, part) {
			t.Errorf("got %s, want %s", got, part)
		}
	}
}

func TestAQuietStreamGivesSignsOfLife(t *testing.T) {
	house := newHouse()
	s := New(house, Options{Log: quietLog})
	s.beat = time.Millisecond
	listenOn(t, s, "127.0.0.1:0")
	defer s.Close()
	w, _ := watchOn(t, s.Addr())
	w.next()
	house.change(func(v *View) { v.Trouble = []string{"the disk refuses"} })
	got := w.next()
	for strings.Contains(got, `"trouble":[]`) { // sent before the change
		got = w.next()
	}
	if !strings.HasPrefix(got, `status {"name":"home"`) || !strings.Contains(got, "the disk refuses") || strings.Contains(got, `"outputs"`) {
		t.Errorf("got %s", got)
	}
	for w.Scan() && w.Text() != ": still here" {
	}
	if w.Text() != ": still here" {
		t.Error("no comment line between")
	}
}

func TestAWatcherThatFellBehindIsCutOffAndComesBackToTheWhole(t *testing.T) {
	house := newHouse()
	s := serve(t, house)
	w, _ := watchOn(t, s.Addr())
	w.next()
	house.mu.Lock() // so much that it has no room for more, and the house closes its channel
	for i := 0; len(house.watchers) > 0; i++ {
		house.tell(Event{Reading: &Reading{Source: "a", Text: fmt.Sprint(i), At: noon}})
		house.view.Readings[0].Text = "the newest"
	}
	house.mu.Unlock()
	for got := w.next(); got != "the end"; got = w.next() {
		if strings.HasPrefix(got, "status") {
			t.Fatal("still served")
		}
	}
	w, _ = watchOn(t, s.Addr())
	if got := w.next(); !strings.HasPrefix(got, "house") || !strings.Contains(got, "the newest") {
		t.Errorf("got %s", got)
	}
}

// A watcher that takes nothing fills the socket, then its channel, and then the
// house drops it; nobody else waits for a moment.
func TestAWatcherThatDoesNotReadBlocksNobody(t *testing.T) {
	house := newHouse()
	s := serve(t, house)
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "watching", func() bool { return house.watching() == 1 })
	began := time.Now()
	text := strings.Repeat("x", mostText)
	for n := 0; house.watching() == 1; n++ {
		house.report(Reading{Source: "a", Text: text, At: noon})
		if n > 1_000_000 {
			t.Fatal("a million events were taken")
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the house was held up for %v", took)
	}
	eventually(t, "its place is free again", func() bool { return streams(s) == 0 })
}

func streams(s *Server) int {
	s.watching.mu.Lock()
	defer s.watching.mu.Unlock()
	return s.watching.all + len(s.watching.of)
}

func TestThereIsRoomForSoManyWatchersAndNoMore(t *testing.T) {
	house := newHouse()
	s := serve(t, house)
	var all []*watch
	for range mostWatchers {
		w, _ := watchOn(t, s.Addr())
		w.next()
		all = append(all, w)
	}
	_, resp := watchOn(t, s.Addr())
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || !strings.Contains(string(body), fmt.Sprint(mostWatchers, " pages are watching already")) {
		t.Errorf("one more: status %d %s", resp.StatusCode, body)
	}
	all[0].body.Close()
	eventually(t, "one that left makes room", func() bool {
		_, resp := watchOn(t, s.Addr())
		defer resp.Body.Close()
		return resp.StatusCode == 200
	})
}

func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	house := newHouse()
	s := New(house, Options{Log: quietLog})
	listenOn(t, s, "127.0.0.1:0")
	addr := s.Addr()
	var all []*watch
	for range 5 {
		w, _ := watchOn(t, addr)
		w.next()
		all = append(all, w)
	}
	stuck, err := net.Dial("tcp", addr) // a request that never ends
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	fmt.Fprintf(stuck, "POST /api/v1/output/porch_light HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{")

	began := time.Now()
	s.Close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	if house.watching() != 0 || streams(s) != 0 {
		t.Error("a stream goes on")
	}
	for _, w := range all {
		if got := w.next(); got != "the end" {
			t.Errorf("a stream told %s", got)
		}
		w.body.Close()
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("it still listens")
	}
	if s.Addr() != "" {
		t.Errorf("Addr is %s", s.Addr())
	}
	if _, err := s.Prepare(Config{}); err == nil {
		t.Error("a closed server prepares")
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
}

func TestMovingToAnotherAddress(t *testing.T) {
	s := serve(t, newHouse())
	first := s.Addr()
	answers := func(addr string) bool {
		resp, err := http.Get("http://" + addr + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	}
	stay, _ := watchOn(t, first)
	stay.next()

	// The same address again: not so much as a stream ends.
	listenOn(t, s, "localhost:0")
	if s.Addr() != first || !answers(first) {
		t.Errorf("moved to %s", s.Addr())
	}

	// A port that is taken is found before anything is touched.
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := other.Addr().String()
	if _, err := s.Prepare(Config{Listen: &taken}); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("err = %v", err)
	}
	other.Close()

	// Undone: the new address is free again, the old one serves.
	c, err := s.Prepare(Config{Listen: &taken})
	if err != nil {
		t.Fatal(err)
	}
	c.Undo()
	c.Commit()
	if other, err = net.Listen("tcp", taken); err != nil || s.Addr() != first {
		t.Errorf("after undo: %v, serving %s", err, s.Addr())
	}
	other.Close()

	// Moved: it answers there, the streams at the old one end.
	listenOn(t, s, taken)
	if s.Addr() != taken || !answers(taken) {
		t.Errorf("it serves %s", s.Addr())
	}
	if got := stay.next(); got != "the end" {
		t.Errorf("the old stream told %s", got)
	}
	eventually(t, "the old address is free", func() bool { return !answers(first) })

	// And off.
	listenOn(t, s, "")
	if s.Addr() != "" {
		t.Errorf("it serves %s", s.Addr())
	}
	eventually(t, "off", func() bool { return !answers(taken) })
	listenOn(t, s, "")
}

func TestWhereItMayListen(t *testing.T) {
	for _, good := range []string{"", "127.0.0.1:8080", "127.1.2.3:80", "[::1]:8080", "localhost:0", "LocalHost:8080", "[::ffff:127.0.0.1]:8080",
		"0.0.0.0:8080", ":8080", "[::]:8080", "192.168.1.5:8080", "[fe80::1%lo]:80"} {
		if m := mistakes(good, ""); m != "" {
			t.Errorf("%q: %s", good, m)
		}
	}
	for _, bad := range []string{"home.example:8080", "8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "[::1", "127.1:80", "localhost:80:80"} {
		m := mistakes(bad, "")
		if !strings.Contains(m, "config.toml:2:10: web.listen = ") || !strings.Contains(m, "127.0.0.1:8080") {
			t.Errorf("%q: %s", bad, m)
		}
		if c, err := New(newHouse(), Options{}).Prepare(Config{Listen: &bad}); err == nil {
			c.Undo()
			t.Errorf("%q was prepared", bad)
		}
	}
	want := `config.toml:2:10: web.listen = "home.example:8080": want an address of this machine in digits, such as "127.0.0.1:8080", or "0.0.0.0:8080" for all of them`
	if got := mistakes("home.example:8080", ""); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A page that others reach can't be open to everybody.
	want = `config.toml:3:13: web.anonymous = true: the page can be reached from other machines, by web.listen, and there everybody needs a login: leave it out`
	if got := mistakes("0.0.0.0:8080", "anonymous = true"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, good := range []string{"anonymous = false", `names = ["hearth.home.arpa", "HEARTH"]`} {
		if m := mistakes("0.0.0.0:8080", good); m != "" {
			t.Errorf("%s: %s", good, m)
		}
	}
	if m := mistakes("127.0.0.1:80", "anonymous = true"); m != "" {
		t.Error(m)
	}
	for _, bad := range []string{"http://hearth", "hearth:8080", "*", "", "hearth/"} {
		if m := mistakes("0.0.0.0:8080", fmt.Sprintf("names = [%q]", bad)); !strings.Contains(m, "config.toml:3:10: web.names[1]") {
			t.Errorf("%q: %s", bad, m)
		}
	}
	if listen := (Config{}).listen(); listen != "127.0.0.1:8080" {
		t.Errorf("by default %s", listen)
	}
}

func mistakes(listen, more string) string {
	var c struct {
		Web Config `toml:"web"`
	}
	doc := config.Parse("config.toml", fmt.Appendf(nil, "[web]\nlisten = %q\n%s\n", listen, more), &c)
	if err := doc.Err(); err != nil {
		return err.Error()
	}
	return ""
}

// Only an address of this machine alone is ever taken for one that needs no login.
func FuzzListen(f *testing.F) {
	f.Add("127.0.0.1:8080")
	f.Add("[::1%lo]:80")
	f.Add(":80")
	f.Fuzz(func(t *testing.T, listen string) {
		set, err := Config{Listen: &listen}.settings(quietLog)
		if err != nil || !set.anonymous {
			return
		}
		host, _, err := net.SplitHostPort(listen)
		if ip, _ := netip.ParseAddr(host); err != nil || !ip.Unmap().IsLoopback() && !strings.EqualFold(host, "localhost") {
			t.Errorf("%q needs no login", listen)
		}
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); runtime.Gosched() {
		if is() {
			return
		}
	}
	t.Errorf("never: %s", what)
}
