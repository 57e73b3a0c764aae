package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A household is People in memory: users with a password and rights, tokens.
type household struct {
	mu        sync.Mutex
	passwords map[string]string
	rights    map[string]Rights
	tokens    map[string]string // secret -> name
	asked     int               // how often somebody tried to log in
	banned    bool
	changes   int
}

// A part of the house is all but some topics.
type part struct {
	most Level
	but  []string
}

func (p part) Most() Level        { return p.most }
func (p part) Whole(l Level) bool { return l <= p.most && len(p.but) == 0 }
func (p part) On(topic string, l Level) bool {
	return l <= p.most && !slices.ContainsFunc(p.but, func(but string) bool { return strings.HasPrefix(topic, but) })
}

func family() *household {
	return &household{
		passwords: map[string]string{"anna": "correct horse", "oma": "abends um acht", "guest": "welcome here", "washer": "a device's own"},
		rights: map[string]Rights{
			"anna": part{Change, nil}, "oma": part{See, nil}, "washer": part{Nothing, nil},
			"guest":         part{Use, []string{"hearth/heater/", "garage/", "hearth/doorbell/"}},
			"token display": part{See, nil}, "token script": part{Use, nil},
		},
		tokens: map[string]string{"hearth_display": "display", "hearth_script": "script"},
	}
}

var errWrong = errors.New("user name or password is wrong")

func (h *household) Login(_ context.Context, _ netip.Addr, user, password string, key []byte) ([]byte, error) {
	h.mu.Lock()
	h.asked++
	right, banned := h.passwords[user] == password && password != "", h.banned
	h.mu.Unlock()
	switch {
	case banned:
		return nil, fmt.Errorf("%w: for ten seconds", ErrLater)
	case !right:
		return nil, errWrong
	}
	return h.Mark(user, key), nil
}

func (h *household) Mark(user string, key []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.passwords[user] == "" {
		return nil
	}
	return []byte(user + string(key) + h.passwords[user])
}

func (h *household) Rights(user string) Rights {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.passwords[user] == "" {
		return nil
	}
	return h.rights[user]
}

func (h *household) Token(secret string) (string, Rights) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name, ok := h.tokens[secret]
	if !ok {
		return "", nil
	}
	return name, h.rights["token "+name]
}

func (h *household) Any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for user := range h.passwords {
		if h.rights[user].Most() >= See {
			return true
		}
	}
	return false
}

func (h *household) AddFirst(_ context.Context, user, password string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.Contains(user, "/") {
		return errors.New("a name is part of topics")
	}
	h.passwords[user], h.rights[user] = password, part{Change, nil}
	return nil
}

func (h *household) change(f func(h *household)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes++
	f(h)
}

func (h *household) Version() any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes
}

// A cupboard is a Shelf in memory.
type cupboard struct {
	mu     sync.Mutex
	all    map[string][]byte
	writes int
}

func (c *cupboard) Each() iter.Seq2[string, []byte] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.All(maps.Clone(c.all))
}

func (c *cupboard) Put(key string, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if value == nil {
		delete(c.all, key)
		return
	}
	if c.all == nil {
		c.all = make(map[string][]byte)
	}
	c.all[key] = value
}

// lan is a page that other machines reach.
func lan(house House, people People, more ...func(*Options)) *Server {
	opt := Options{People: people, Log: quietLog}
	for _, m := range more {
		m(&opt)
	}
	s := New(house, opt)
	s.set.Store(&settings{names: []string{"hearth.example"}})
	s.machine = []string{"raspberrypi.home", "raspberrypi", "raspberrypi.local"}
	return s
}

// from are headers of a request from the tablet on the wall.
var from = []string{"Host", "192.168.1.5:8080", "From", "192.168.1.77:5000"}

func post(s *Server, path string, fields url.Values, header ...string) *httptest.ResponseRecorder {
	return ask(s, "POST", path, fields.Encode(), slices.Concat(from, []string{"Content-Type", "application/x-www-form-urlencoded"}, header)...)
}

func login(s *Server, user, password string, header ...string) *httptest.ResponseRecorder {
	return post(s, "/login", url.Values{"user": {user}, "password": {password}, "next": {"/"}}, header...)
}

// cookie logs in and gives the header by which one stays so.
func cookie(t *testing.T, s *Server, user string, header ...string) []string {
	t.Helper()
	w := login(s, user, s.people.(*household).passwords[user], header...)
	if w.Code != 303 || w.Header().Get("Location") != "/" {
		t.Fatalf("login of %s: %d %s", user, w.Code, w.Body)
	}
	set := w.Result().Cookies()
	if len(set) != 1 {
		t.Fatalf("cookies: %v", set)
	}
	return []string{"Cookie", set[0].Name + "=" + set[0].Value}
}

func get(s *Server, path string, header ...string) *httptest.ResponseRecorder {
	return ask(s, "GET", path, "", slices.Concat(from, header)...)
}

// Whoever adds a route has to say who may use it: all that need somebody refuse strangers.
func TestNobodyGetsInWithoutALogin(t *testing.T) {
	house := newHouse()
	s := lan(house, family())
	open := map[string]bool{"/assets/{version}/{name...}": true, "/login": true, "/logout": true, "/logout/everywhere": true,
		"/setup": true, "/healthz": true, "/manifest.webmanifest": true, "/sw.js": true, "/offline": true, "/hook/{name...}": true}
	for _, r := range s.table {
		if r.needs == Nothing != open[r.path] {
			t.Errorf("%s %s: it needs %v", r.method, r.path, r.needs)
		}
		if open[r.path] {
			continue
		}
		for _, who := range [][]string{nil, {"Cookie", "hearth=" + strings.Repeat("A", 43)}, {"Cookie", "hearth="}, {"Authorization", "Basic YW5uYTpjb3JyZWN0IGhvcnNl"},
			{"Authorization", "Bearer hearth_wrong"}, {"Authorization", "Bearer "}, {"X-Forwarded-For", "127.0.0.1"}} {
			w := ask(s, r.method, sample(r), `{"on":true}`, slices.Concat(from, who)...)
			toLogin := w.Code == 303 && strings.HasPrefix(w.Header().Get("Location"), "/login?next=%2F") && r.method == "GET" && !forPrograms(r.path)
			if w.Code != 401 && !toLogin {
				t.Errorf("%s %s of %q: %d %s", r.method, r.path, who, w.Code, w.Body)
			}
			if w.Code == 401 && said(t, w) == "" || strings.Contains(w.Body.String(), "GPIO17") {
				t.Errorf("%s %s says %s", r.method, r.path, w.Body)
			}
		}
		// A device of the house has a login, too, and nothing to do here.
		w := ask(s, r.method, sample(r), `{"on":true}`, append(slices.Clone(from), "Authorization", "Bearer hearth_display")...)
		if r.needs > See && w.Code != 403 {
			t.Errorf("%s %s of who may look only: %d", r.method, r.path, w.Code)
		}
	}
	if house.view.Outputs[0].On || house.watching() > 0 {
		t.Error("a stranger reached the house")
	}
	// What is open tells strangers nothing of the house.
	for _, path := range []string{"/login", "/login?again=1", "/setup", "/setup?token=x", "/healthz", "/nothing", assetPath("js/home.js")} {
		if w := get(s, path); strings.Contains(w.Body.String(), "GPIO") || strings.Contains(w.Body.String(), "study_climate") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// On this machine alone the page is as open as it always was, but not to who comes through
// a proxy, nor if its owner says so.
func TestOnThisMachineNobodyNeedsALogin(t *testing.T) {
	s := New(newHouse(), Options{People: family(), Log: quietLog})
	defer s.Close()
	if w := ask(s, "GET", "/api/v1/house", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"may":"change"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, of := range append(slices.Clone(proxyHeaders), "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded") {
		if w := ask(s, "GET", "/api/v1/house", "", of, "127.0.0.1"); w.Code != 401 {
			t.Errorf("a proxy that says %s: %d", of, w.Code)
		}
	}
	if w := ask(s, "GET", "/api/v1/house", "", "From", "192.168.1.77:5000"); w.Code != 401 {
		t.Errorf("somebody from elsewhere, however they got here: %d", w.Code)
	}
	if w := ask(s, "GET", "/api/v1/house", "", "Authorization", "Bearer hearth_wrong"); w.Code != 401 {
		t.Errorf("a token that is none: %d", w.Code)
	}
	// A proxy that says nothing: the name by which the page is reached elsewhere tells.
	set := *s.set.Load()
	set.names = []string{"hearth.example"}
	s.set.Store(&set)
	if w := ask(s, "GET", "/api/v1/house", "", "Host", "hearth.example"); w.Code != 401 {
		t.Errorf("by a name of elsewhere: %d", w.Code)
	}
	yes, no := true, false
	for listen, here := range map[string]bool{"127.0.0.1:0": true, "0.0.0.0:0": false} {
		for _, anonymous := range []*bool{nil, &yes, &no} {
			set, err := Config{Listen: &listen, Anonymous: anonymous}.settings(quietLog)
			if err != nil {
				t.Fatal(err)
			}
			s.set.Store(set)
			want := map[bool]int{true: 200, false: 401}[here && anonymous != &no]
			if w := ask(s, "GET", "/api/v1/house", ""); w.Code != want {
				t.Errorf("on %s with anonymous = %v: %d, want %d", listen, anonymous, w.Code, want)
			}
		}
	}
}

// Anna logs in on the tablet and out again.
func TestLoggingInAndOut(t *testing.T) {
	s := lan(newHouse(), family())
	w := get(s, "/")
	if w.Code != 303 || w.Header().Get("Location") != "/login?next=%2F" {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	if w := get(s, "/login?next=%2F", "Sec-Fetch-Site", "none"); w.Code != 200 || !strings.Contains(w.Body.String(), `<form class="card login" method="post" action="/login">`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w = login(s, "anna", "correct horse")
	c := w.Result().Cookies()[0]
	if c.Name != "hearth" || len(c.Value) != 43 || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 400*86400 {
		t.Errorf("the cookie is %v", c)
	}
	anna := []string{"Cookie", c.Name + "=" + c.Value}
	page := get(s, "/", anna...)
	if page.Code != 200 || !strings.Contains(page.Body.String(), "Logged in as <b>anna</b>") || len(page.Result().Cookies()) != 1 {
		t.Errorf("%d %v", page.Code, page.Header())
	}
	if w := ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, slices.Concat(from, anna)...); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get(s, "/login?next=/there", anna...); w.Code != 303 || w.Header().Get("Location") != "/there" {
		t.Errorf("who is logged in is asked again: %d %s", w.Code, w.Header())
	}
	other := cookie(t, s, "anna")
	w = post(s, "/logout", nil, anna...)
	if c := w.Result().Cookies()[0]; w.Code != 303 || c.Value != "" || c.MaxAge >= 0 {
		t.Errorf("%d %v", w.Code, c)
	}
	if w := get(s, "/api/v1/house", anna...); w.Code != 401 {
		t.Errorf("logged out: %d", w.Code)
	}
	if w := get(s, "/api/v1/house", other...); w.Code != 200 {
		t.Errorf("the other browser: %d", w.Code)
	}
	third, oma := cookie(t, s, "anna"), cookie(t, s, "oma")
	post(s, "/logout/everywhere", nil, third...)
	for _, c := range [][]string{other, third} {
		if w := get(s, "/api/v1/house", c...); w.Code != 401 {
			t.Errorf("logged out everywhere: %d", w.Code)
		}
	}
	if w := get(s, "/api/v1/house", oma...); w.Code != 200 {
		t.Errorf("somebody else: %d", w.Code)
	}
}

func TestALoginThatIsRefusedSaysWhy(t *testing.T) {
	people := family()
	s := lan(newHouse(), people)
	for _, c := range []struct {
		user, password string
		status         int
		says           string
	}{
		{"anna", "wrong horse", 401, "The name or the password is wrong."},
		{"nobody", "correct horse", 401, "The name or the password is wrong."},
		{"", "correct horse", 401, "A name and a password are needed."},
		{"anna", "", 401, "A name and a password are needed."},
		{"washer", "a device's own", 403, "washer has a login and no role that lets it see the page"},
		{`"><script>`, "wrong horse", 401, "&#34;&gt;&lt;script&gt;"},
	} {
		w := login(s, c.user, c.password)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || len(w.Result().Cookies()) > 0 || strings.Contains(w.Body.String(), "horse") {
			t.Errorf("%q: %d %s", c.user, w.Code, w.Body)
		}
	}
	people.banned = true
	if w := login(s, "anna", "correct horse"); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("banned: %d", w.Code)
	}
	for _, kind := range []string{"text/plain", "application/json", "multipart/form-data; boundary=x", ""} {
		if w := login(s, "anna", "correct horse", "Content-Type", kind); w.Code != 415 {
			t.Errorf("%s: %d", kind, w.Code)
		}
	}
	if w := login(s, "anna", strings.Repeat("x", 100_000)); w.Code != 400 {
		t.Errorf("a form without an end: %d", w.Code)
	}
}

// Ten tries a minute from one address are looked at. Who is logged in, and who comes from
// elsewhere, is not kept out by that.
func TestTenTriesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		people := family()
		var log bytes.Buffer
		s := lan(newHouse(), people, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		anna := cookie(t, s, "anna")
		people.asked = 0
		for i := range 30 {
			want := 401
			if i >= 10 {
				want = 429
			}
			if w := login(s, "anna", fmt.Sprint("guess ", i)); w.Code != want || want == 429 && w.Header().Get("Retry-After") != "61" {
				t.Fatalf("try %d: %d, after %s", i, w.Code, w.Header().Get("Retry-After"))
			}
		}
		if people.asked != 10 {
			t.Errorf("%d were looked at", people.asked)
		}
		if n := strings.Count(log.String(), "was refused"); n != 2 || strings.Contains(log.String(), "guess") {
			t.Errorf("the log has %d lines of it:\n%s", n, &log)
		}
		if w := get(s, "/api/v1/house", anna...); w.Code != 200 {
			t.Errorf("who is logged in: %d", w.Code)
		}
		if w := login(s, "anna", "correct horse"); w.Code != 429 {
			t.Errorf("the right one is looked at, too: %d", w.Code)
		}
		if w := login(s, "anna", "correct horse", "From", "192.168.1.78:1"); w.Code != 303 {
			t.Errorf("from elsewhere: %d", w.Code)
		}
		time.Sleep(time.Minute)
		for range 50 { // those that are right are not counted
			if w := login(s, "anna", "correct horse"); w.Code != 303 {
				t.Fatalf("a minute later: %d", w.Code)
			}
		}
		// A network of IPv6 is one address, and what is remembered is bounded.
		for i := range 11 {
			w := login(s, "anna", "guess", "From", fmt.Sprintf("[2001:db8::%x]:1", i+1))
			if want := map[bool]int{true: 429, false: 401}[i == 10]; w.Code != want {
				t.Errorf("IPv6, try %d: %d", i, w.Code)
			}
		}
		for i := range 2 * mostTriers {
			s.tries.begin(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), time.Now())
		}
		if len(s.tries.of) > mostTriers {
			t.Errorf("%d addresses are remembered", len(s.tries.of))
		}
	})
}

// Whatever a browser shows before the login, it shows something else after it.
func TestNobodyCanGiveAVisitorASession(t *testing.T) {
	s := lan(newHouse(), family())
	planted := "hearth=" + strings.Repeat("B", 43)
	w := login(s, "anna", "correct horse", "Cookie", planted)
	if w.Code != 303 || strings.Contains(w.Header().Get("Set-Cookie"), planted) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := get(s, "/api/v1/house", "Cookie", planted); w.Code != 401 {
		t.Errorf("the planted cookie is a login: %d", w.Code)
	}
	// Nor does a session of the guest become Anna's: it ends.
	guest := cookie(t, s, "guest")
	anna := cookie(t, s, "anna", guest...)
	if guest[1] == anna[1] || get(s, "/api/v1/house", guest...).Code != 401 || get(s, "/api/v1/house", anna...).Code != 200 {
		t.Error("a session went over to somebody else")
	}
}

// The password was changed, the user removed, the role taken away: it counts with the next
// request, and for streams that are open.
func TestASessionEndsWithWhatItIsBasedOn(t *testing.T) {
	house, people := newHouse(), family()
	s := lan(house, people)
	for what, change := range map[string]func(*household){
		"another password": func(h *household) { h.passwords["anna"] = "battery staple" },
		"no user any more": func(h *household) { delete(h.passwords, "anna") },
	} {
		people.change(func(h *household) { h.passwords["anna"] = "correct horse" })
		anna := cookie(t, s, "anna")
		people.change(change)
		s.Judge()
		if w := get(s, "/api/v1/house", anna...); w.Code != 401 {
			t.Errorf("%s: %d", what, w.Code)
		}
		people.change(func(h *household) { h.passwords["anna"] = "correct horse" })
		if w := get(s, "/api/v1/house", anna...); w.Code != 401 {
			t.Errorf("%s, and back: the session lives again", what)
		}
	}
	anna := cookie(t, s, "anna")
	people.change(func(h *household) { h.rights["anna"] = part{See, nil} })
	if w := ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, slices.Concat(from, anna)...); w.Code != 403 || get(s, "/", anna...).Code != 200 {
		t.Errorf("who may look only: %d", w.Code)
	}
	people.change(func(h *household) { h.rights["anna"] = part{Nothing, nil} })
	if w := get(s, "/", anna...); w.Code != 403 || !strings.Contains(w.Body.String(), "hearth user roles") {
		t.Errorf("who may nothing: %d %s", w.Code, w.Body)
	}
}

// A tablet stays logged in over a restart, and what lies in the store lets nobody in.
func TestSessionsOutliveTheHub(t *testing.T) {
	people, shelf := family(), &cupboard{}
	with := func(o *Options) { o.Shelf = shelf }
	first := lan(newHouse(), people, with)
	anna, guest := cookie(t, first, "anna"), cookie(t, first, "guest")
	second := lan(newHouse(), people, with)
	if get(second, "/api/v1/house", anna...).Code != 200 {
		t.Error("a restart logs out")
	}
	for key, value := range shelf.Each() {
		if strings.Contains(anna[1], key) || bytes.Contains(value, []byte(anna[1])) {
			t.Error("the store holds the cookie")
		}
		var k kept
		if err := json.Unmarshal(value, &k); err != nil || k.Used.IsZero() {
			t.Errorf("%s", value)
		}
	}
	post(second, "/logout", nil, anna...)
	people.change(func(h *household) { h.passwords["guest"] = "another one" }) // while no hub runs
	shelf.Put("broken", []byte("{"))
	third := lan(newHouse(), people, with)
	if get(third, "/api/v1/house", anna...).Code != 401 || get(third, "/api/v1/house", guest...).Code != 401 || len(shelf.all) != 0 {
		t.Errorf("%d sessions are left", len(shelf.all))
	}
}

func TestSessionsThatNobodyUsesEnd(t *testing.T) {
	people, shelf := family(), &cupboard{}
	now, known := noon, true
	s := lan(newHouse(), people, func(o *Options) {
		o.Shelf, o.Clock = shelf, func() (time.Time, bool) { return now, known }
	})
	anna, oma := cookie(t, s, "anna"), cookie(t, s, "oma")
	use := func(c []string) bool { return get(s, "/api/v1/house", c...).Code == 200 }
	writes := shelf.writes
	for range 100 {
		use(anna)
	}
	if shelf.writes != writes {
		t.Errorf("a card was written to %d times for what was used", shelf.writes-writes)
	}
	for range 89 {
		now = now.Add(24 * time.Hour)
		use(anna)
	}
	if got := shelf.writes - writes; got != 89 {
		t.Errorf("%d writes in 89 days", got)
	}
	// Nobody knows the time: nothing is too old, and nothing is written.
	now, known = now.Add(2*365*24*time.Hour), false
	writes = shelf.writes
	if !use(anna) || shelf.writes != writes {
		t.Error("a clock that is not known ends a session")
	}
	now, known = noon.Add(91*24*time.Hour), true
	if !use(anna) || use(oma) {
		t.Error("want the one that was used and not the other")
	}
	// A clock that was years ahead does not make one live for years.
	now = now.Add(5 * 365 * 24 * time.Hour)
	early := cookie(t, s, "guest")
	now = noon.Add(92 * 24 * time.Hour)
	if !use(early) {
		t.Error("a date in the future ends a session")
	}
	now = now.Add(91 * 24 * time.Hour)
	if use(early) {
		t.Error("a date in the future keeps a session")
	}
	// A browser that never comes back leaves nothing behind.
	cookie(t, s, "oma")
	now = now.Add(91 * 24 * time.Hour)
	cookie(t, s, "guest")
	if len(shelf.all) != 1 {
		t.Errorf("%d sessions are kept", len(shelf.all))
	}
}

func TestSessionsAreBounded(t *testing.T) {
	now := noon
	s := lan(newHouse(), family(), func(o *Options) { o.Clock = func() (time.Time, bool) { return now, true } })
	oma := cookie(t, s, "oma")
	var all [][]string
	for range 40 {
		now = now.Add(time.Second)
		all = append(all, cookie(t, s, "anna"))
	}
	for i, c := range all {
		if got := get(s, "/api/v1/house", c...).Code == 200; got != (i >= 8) {
			t.Errorf("session %d: %v", i, got)
		}
	}
	if get(s, "/api/v1/house", oma...).Code != 200 {
		t.Error("one user's logins end another's")
	}
}

// Over TLS, ours or that of a proxy here, the cookie is for this very host alone.
func TestCookiesOverTLS(t *testing.T) {
	s := lan(newHouse(), family())
	proxy := []string{"From", "127.0.0.1:1", "Host", "hearth.example", "X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.9"}
	w := login(s, "anna", "correct horse", proxy...)
	c := w.Result().Cookies()[0]
	if c.Name != "__Host-hearth" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%v", c)
	}
	if w := get(s, "/api/v1/house", append(proxy, "Cookie", c.Name+"="+c.Value)...); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	// Who has read a cookie on its way in the clear does not come in with it over TLS.
	plain := cookie(t, s, "anna")
	if w := get(s, "/api/v1/house", append(proxy, "Cookie", "__Host-"+plain[1])...); w.Code != 401 {
		t.Errorf("a session of before TLS: %d", w.Code)
	}
	if w := get(s, "/api/v1/house", plain...); w.Code != 200 {
		t.Errorf("in the clear it is as good as before: %d", w.Code)
	}
	// Somebody else can't say so.
	if c := login(s, "anna", "correct horse", "X-Forwarded-Proto", "https").Result().Cookies()[0]; c.Secure {
		t.Errorf("%v", c)
	}
}

// Who came through a proxy on this machine finds their own address in the list of their logins, and
// nobody can name another by what they send themselves.
func TestWhereSomebodyIsLoggedIn(t *testing.T) {
	for _, c := range []struct {
		with []string
		want string
	}{
		{[]string{"From", "127.0.0.1:1", "Host", "hearth.example", "X-Forwarded-For", "198.51.100.7, 203.0.113.9"}, "203.0.113.9"}, // the first was sent along
		{[]string{"From", "127.0.0.1:1", "Host", "hearth.example", "X-Forwarded-For", "<b>"}, "127.0.0.1"},
		{[]string{"From", "192.168.1.77:1", "Host", "192.168.1.5", "X-Forwarded-For", "203.0.113.9"}, "192.168.1.77"},
	} {
		s := lan(newHouse(), family())
		set := login(s, "anna", "correct horse", c.with...).Result().Cookies()[0]
		page := get(s, "/account", append(c.with, "Cookie", set.Name+"="+set.Value)...).Body.String()
		if !strings.Contains(page, c.want) || strings.Contains(page, "198.51.100.7") || strings.Contains(page, "<b></b>") {
			t.Errorf("%s: the page lacks %s:\n%s", c.with, c.want, page)
		}
	}
}

// The login leads back, but to this page only.
func TestTheLoginLeadsNowhereElse(t *testing.T) {
	s := lan(newHouse(), family())
	for next, want := range map[string]string{
		"/": "/", "/rules?name=a#b": "/rules?name=a#b", "": "/", "/login": "/", "/login?next=/": "/",
		"//evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "https://evil.example/": "/", "javascript:alert(1)": "/", "evil.example": "/",
		"/\t/evil.example": "/", "/\n": "/", "http:/evil": "/", "/%2F/evil": "/", "///evil.example": "/", "/ü": "/", "/a:b@evil": "/a:b@evil", "/" + strings.Repeat("x", 2000): "/",
		"//": "/",
	} {
		w := post(s, "/login", url.Values{"user": {"anna"}, "password": {"correct horse"}, "next": {next}})
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%.40q leads to %q, want %q", next, got, want)
		}
		c := cookie(t, s, "anna")
		if got := get(s, "/login?next="+url.QueryEscape(next), c...).Header().Get("Location"); got != want {
			t.Errorf("who is logged in: %.40q leads to %q, want %q", next, got, want)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/", "//evil", `/\evil`, "/\t/evil", "https:evil", "/a?b#c", "/%2f/evil", "/login"} {
		f.Add(seed)
	}
	here, _ := url.Parse("http://hearth.example/login")
	f.Fuzz(func(t *testing.T, next string) {
		got := localPath(next)
		to, err := here.Parse(got)
		if err != nil || to.Host != here.Host || to.Scheme != "http" || strings.ContainsAny(got, "\\\r\n\t") || strings.HasPrefix(got, "//") {
			t.Errorf("%q leads to %q", next, got)
		}
	})
}

// What strangers write into forms comes back as text.
func TestHostileNamesAtTheDoor(t *testing.T) {
	people := family()
	people.passwords = map[string]string{}
	s := lan(newHouse(), people)
	s.now = &listener{Listener: nowhere{}}
	token := strings.TrimPrefix(s.Invite(), "/setup?token=")
	for _, evil := range hostile {
		if len(evil) > 1000 {
			continue // more than a form may hold
		}
		for _, w := range []*httptest.ResponseRecorder{
			post(s, "/setup", url.Values{"token": {token}, "user": {evil}, "password": {"short"}, "again": {evil}}),
			get(s, "/login?again=1&next="+url.QueryEscape(evil)), get(s, "/setup?token="+url.QueryEscape(evil)),
			login(s, evil, "x", "From", "10.0.0.1:1"),
		} {
			body := w.Body.String()
			for _, tag := range []string{"<script>", "<img src=x", "</template>", "{{.Name}}", "\u202e", "\x00", "\x1b"} {
				if strings.Contains(strings.ReplaceAll(body, `value="{{.Name}}"`, ""), tag) {
					t.Errorf("%q: %d has %q:\n%s", evil, w.Code, tag, body)
				}
			}
		}
		s.tries.of = nil
	}
}

// A stranger who opens connections without end gets so many, and others theirs.
func TestConnectionsAreBounded(t *testing.T) {
	c := &crowd{of: make(map[netip.Prefix]int)}
	at := func(i int) netip.Prefix { return tryer(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})) }
	for i := range 100 {
		if got := c.enter(at(1)); got != (i < mostConnsOfOne) {
			t.Fatalf("connection %d: %v", i, got)
		}
	}
	if !c.enter(at(2)) || !c.enter(netip.Prefix{}) {
		t.Error("another one is kept out")
	}
	for i := range 1000 {
		c.enter(at(i + 3))
	}
	if c.all != mostConns-keptForHere || c.enter(at(5000)) {
		t.Errorf("%d connections", c.all)
	}
	c.leave(at(1))
	if !c.enter(at(5000)) {
		t.Error("one that left makes no room")
	}
	for range keptForHere {
		if !c.enter(netip.Prefix{}) {
			t.Error("who is on this machine is kept out by others")
		}
	}
	if c.enter(netip.Prefix{}) {
		t.Errorf("%d connections", c.all)
	}

	s := serve(t, newHouse())
	for range 2 * mostConns { // those that are closed are counted no more
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	eventually(t, "it answers", func() bool {
		resp, err := http.Get("http://" + s.Addr() + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// By a link in a mail the browser comes without its cookie. The page asks once more by
// itself, which the browser then does with it.
func TestALinkFromElsewhereFindsWhoIsLoggedIn(t *testing.T) {
	s := lan(newHouse(), family())
	for _, site := range []string{"cross-site", "same-site", ""} {
		w := get(s, "/login?next=%2Frules%3Fa%3D1%26b", "Sec-Fetch-Site", site)
		if w.Code != 200 || !strings.Contains(w.Body.String(), `<meta http-equiv="refresh" content="0; url=/login?again=1&amp;next=%2Frules%3Fa%3D1%26b">`) {
			t.Errorf("%q: %d %s", site, w.Code, w.Body)
		}
	}
	if w := get(s, "/login?again=1&next=/", "Sec-Fetch-Site", "cross-site"); strings.Contains(w.Body.String(), "refresh") {
		t.Error("it asks for ever")
	}
	anna := cookie(t, s, "anna")
	if w := get(s, "/login?again=1&next=%2Frules%3Fa%3D1%26b", anna...); w.Code != 303 || w.Header().Get("Location") != "/rules?a=1&b" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// All that changes something, asked for by four other sites in the name of who is logged in.
func TestOtherSitesChangeNothing(t *testing.T) {
	house := newHouse()
	s := lan(house, family())
	anna := cookie(t, s, "anna")
	for _, r := range s.table {
		if r.method == "GET" {
			continue
		}
		for _, origin := range [][]string{
			{"Origin", "https://evil.example"},
			{"Origin", "null"},
			{"Origin", "http://192.168.1.5:9999"},
			{"Origin", "http://192.168.1.6:8080", "Sec-Fetch-Site", "same-site"},
		} {
			for _, kind := range []string{"application/json", "application/x-www-form-urlencoded", "text/plain"} {
				for _, who := range [][]string{anna, {"Authorization", "Bearer hearth_script"}, nil} {
					w := ask(s, r.method, sample(r), `{"on":true}`, slices.Concat(from, []string{"Content-Type", kind}, who, origin)...)
					if w.Code != 403 || !strings.Contains(said(t, w), "another site") {
						t.Errorf("%s %s from %q: %d", r.method, r.path, origin, w.Code)
					}
				}
			}
		}
	}
	if house.view.Outputs[0].On || len(house.hooked) > 0 || get(s, "/api/v1/house", anna...).Code != 200 {
		t.Error("another site did something")
	}
	if w := ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, slices.Concat(from, anna, []string{"Origin", "http://192.168.1.5:8080"})...); w.Code != 204 {
		t.Errorf("the page itself: %d", w.Code)
	}
	// What another page of the same machine has a browser ask for comes with the cookie.
	for _, path := range []string{"/api/v1/house", "/api/v1/events", "/metrics"} {
		for _, origin := range []string{"http://192.168.1.5:9999", "null", "https://evil.example"} {
			if w := ask(s, "HEAD", path, "", slices.Concat(from, anna, []string{"Origin", origin})...); w.Code != 403 {
				t.Errorf("%s for %s: %d", path, origin, w.Code)
			}
		}
		if w := ask(s, "HEAD", path, "", slices.Concat(from, anna, []string{"Origin", "http://192.168.1.5:8080"})...); w.Code != 200 {
			t.Errorf("%s for the page itself: %d", path, w.Code)
		}
	}
}

// A program with a token does what the token may.
func TestTokens(t *testing.T) {
	s := lan(newHouse(), family())
	display, script := []string{"Authorization", "Bearer hearth_display"}, []string{"Authorization", "Bearer hearth_script"}
	for _, path := range []string{"/api/v1/house", "/metrics", "/"} {
		if w := get(s, path, display...); w.Code != 200 || len(w.Result().Cookies()) > 0 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	turn := func(who []string) int {
		return ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, slices.Concat(from, who)...).Code
	}
	if a, b := turn(display), turn(script); a != 403 || b != 204 {
		t.Errorf("display %d, script %d", a, b)
	}
	// An old token is not overlooked because somebody is logged in.
	if w := get(s, "/api/v1/house", append(cookie(t, s, "anna"), "Authorization", "Bearer hearth_old")...); w.Code != 401 || said(t, w) != "there is no such token" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The guest sees and uses the house but for the heater, the garage and the doorbell: those
// are not in the page, nor in the JSON, nor in the stream, and no refusal tells of them.
func TestWhatSomebodyMayNotSeeIsNotThere(t *testing.T) {
	house := newHouse()
	for i := range house.view.Readings {
		house.view.Readings[i].Topics = []string{strings.Split(house.view.Readings[i].Source, ":")[0]}
	}
	house.view.Readings = append(house.view.Readings, Reading{Source: "calc.warmth", Text: "21"})
	house.view.Trouble = []string{"heater: stuck"}
	house.view.Outputs[0].Note = "waits until heater is off"
	house.view.Outputs[2].Fault = "the line is held for the heater"
	s := lan(house, family())
	listenOn(t, s, "127.0.0.1:0")
	defer s.Close()
	s.set.Store(&settings{loopback: true})
	guest := cookie(t, s, "guest", "Host", "localhost", "From", "127.0.0.1:1")
	here := append([]string{"Host", "localhost", "From", "127.0.0.1:1"}, guest...)
	hidden := []string{"heater", "garage", "doorbell", "GPIO22", "GPIO5", "warmth", "messages_received"}
	for _, path := range []string{"/", "/log", "/api/v1/house"} {
		w := ask(s, "GET", path, "", here...)
		for _, word := range hidden {
			if w.Code != 200 || strings.Contains(w.Body.String(), word) {
				t.Errorf("%s (%d) tells of %s:\n%s", path, w.Code, word, w.Body)
			}
		}
		if path != "/log" && !strings.Contains(w.Body.String(), "porch_light") || path != "/" && !strings.Contains(w.Body.String(), "study_climate") {
			t.Errorf("%s lacks what may be seen", path)
		}
	}
	for path, want := range map[string]int{"/api/v1/output/porch_light": 204, "/api/v1/output/garden_pump": 409, "/api/v1/output/heater": 404, "/api/v1/output/nothing": 404, "/api/v1/input/doorbell": 404, "/api/v1/input/pir": 204, "/metrics": 405} {
		w := ask(s, "POST", path, `{"on":true}`, here...)
		name := path[strings.LastIndex(path, "/")+1:]
		if strings.Contains(w.Body.String(), "held for") || w.Code != want || want == 404 && !strings.HasSuffix(said(t, w), fmt.Sprintf("put is named %q", name)) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(s, "GET", "/metrics", "", here...); w.Code != 403 {
		t.Errorf("metrics: %d", w.Code)
	}

	req, _ := http.NewRequest("GET", "http://"+s.Addr()+"/api/v1/events", nil)
	req.Header.Set("Cookie", guest[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	house.Switch(t.Context(), "heater", false) // with a decision
	house.report(Reading{Source: "garage/door/state", Text: "open", Topics: []string{"garage/door/state"}})
	house.report(Reading{Source: "calc.warmth", Text: "22"})
	house.report(Reading{Source: "zigbee2mqtt/lamp:state", Text: "the last", Topics: []string{"zigbee2mqtt/lamp"}})
	var all bytes.Buffer
	for buf := make([]byte, 4096); !bytes.Contains(all.Bytes(), []byte("the last")); {
		n, err := resp.Body.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v after %s", err, &all)
		}
	}
	for _, word := range hidden {
		if strings.Contains(all.String(), word) {
			t.Errorf("the stream tells of %s:\n%s", word, &all)
		}
	}
	// Logged out elsewhere, the stream ends at once.
	ask(s, "POST", "/logout", "", append(here, "Content-Type", "application/x-www-form-urlencoded")...)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(rest), ": you are logged out") {
		t.Errorf("%v %s", err, rest)
	}
}

// Rights that were taken away count for what an open stream is sent next.
func TestAStreamIsJudgedWithEachThingItIsSent(t *testing.T) {
	house, people := newHouse(), family()
	s := lan(house, people)
	listenOn(t, s, "127.0.0.1:0")
	defer s.Close()
	s.set.Store(&settings{loopback: true})
	anna := cookie(t, s, "anna", "Host", "localhost", "From", "127.0.0.1:1")
	req, _ := http.NewRequest("GET", "http://"+s.Addr()+"/api/v1/events", nil)
	req.Header.Set("Cookie", anna[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	eventually(t, "watching", func() bool { return house.watching() == 1 })
	people.change(func(h *household) { h.passwords["anna"] = "battery staple" })
	house.report(Reading{Source: "a/secret", Text: "42", Topics: []string{"a/secret"}})
	rest, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(rest), "a/secret") || !strings.Contains(string(rest), ": you are logged out") {
		t.Errorf("%v %s", err, rest)
	}
}

// The owner asks for logins while a page without one is open: it is told nothing more.
func TestAStreamWithoutALoginEndsWhenOneIsNeeded(t *testing.T) {
	house := newHouse()
	s := serve(t, house)
	w, _ := watchOn(t, s.Addr())
	w.next()
	s.set.Store(&settings{loopback: true})
	house.report(Reading{Source: "a/b", Text: "42"})
	if got := w.next(); got != "the end" {
		t.Errorf("it is told %s", got)
	}
}

// The tablet on the wall asks for nothing for months but its stream: that is use.
func TestAStreamIsUse(t *testing.T) {
	shelf := &cupboard{}
	var days atomic.Int64
	s := New(newHouse(), Options{People: family(), Shelf: shelf, Log: quietLog, Clock: func() (time.Time, bool) { return noon.AddDate(0, 0, int(days.Load())), true }})
	s.beat = time.Millisecond
	listenOn(t, s, "127.0.0.1:0")
	defer s.Close()
	oma := cookie(t, s, "oma", "Host", "localhost", "From", "127.0.0.1:1")
	req, _ := http.NewRequest("GET", "http://"+s.Addr()+"/api/v1/events", nil)
	req.Header.Set("Cookie", oma[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	days.Store(60)
	eventually(t, "that it is used is kept", func() bool {
		for _, value := range shelf.Each() {
			var k kept
			return json.Unmarshal(value, &k) == nil && k.Used.Equal(noon.AddDate(0, 0, 60))
		}
		return false
	})
}

// What the console shows leads to the first user, once and for an hour.
func TestTheFirstUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		people := family()
		people.passwords = map[string]string{"washer": "a device's own"}
		s := lan(newHouse(), people)
		s.now = &listener{Listener: nowhere{}} // it listens
		if w := get(s, "/login?again=1"); !strings.Contains(w.Body.String(), "Nobody can log in yet.") {
			t.Errorf("%s", w.Body)
		}
		path := s.Invite()
		if !strings.HasPrefix(path, "/setup?token=") || s.Invite() != "" {
			t.Fatalf("invited to %q", path)
		}
		time.Sleep(time.Hour)
		if w := get(s, path); w.Code != 403 {
			t.Errorf("an hour later: %d", w.Code)
		}
		old := path
		path = s.Invite()
		token := strings.TrimPrefix(path, "/setup?token=")
		if len(token) != 43 || path == old {
			t.Fatalf("invited to %q", path)
		}
		for _, wrong := range []string{"/setup", "/setup?token=", old, path[:len(path)-1], path + "A"} {
			if w := get(s, wrong); w.Code != 403 || !strings.Contains(w.Body.String(), "not good any more") {
				t.Errorf("%s: %d", wrong, w.Code)
			}
		}
		if w := get(s, path); w.Code != 200 || !strings.Contains(w.Body.String(), `name="token" value="`+token+`"`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		try := func(token, user, password, again string) *httptest.ResponseRecorder {
			return post(s, "/setup", url.Values{"token": {token}, "user": {user}, "password": {password}, "again": {again}})
		}
		for _, c := range []struct{ token, user, password, again, says string }{
			{"wrong", "anna", "correct horse", "correct horse", "not good any more"},
			{token, "anna", "short", "short", "at least 8 characters"},
			{token, "anna", "correct horse", "wrong horse", "not the same"},
			{token, "a/b", "correct horse", "correct horse", "a name is part of topics"},
			{token, "anna", strings.Repeat("x", 1025), strings.Repeat("x", 1025), "too long"},
		} {
			if w := try(c.token, c.user, c.password, c.again); w.Code < 400 || !strings.Contains(w.Body.String(), c.says) || strings.Contains(w.Body.String(), "horse") {
				t.Errorf("%+v: %d %s", c, w.Code, w.Body)
			}
		}
		w := try(token, "anna", "correct horse", "correct horse")
		if w.Code != 303 || w.Header().Get("Location") != "/" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		c := w.Result().Cookies()[0]
		if get(s, "/api/v1/house", "Cookie", c.Name+"="+c.Value).Code != 200 || login(s, "anna", "correct horse").Code != 303 {
			t.Error("the first user is not logged in, or can't")
		}
		if get(s, path).Code != 403 || try(token, "eve", "correct horse", "correct horse").Code != 403 || s.Invite() != "" {
			t.Error("the link makes a second user")
		}
	})
}

// nowhere is a listener that is asked for its address alone.
type nowhere struct{}

func (nowhere) Accept() (c net.Conn, err error) { return nil, io.EOF }
func (nowhere) Close() error                    { return nil }
func (nowhere) Addr() net.Addr                  { return &net.TCPAddr{} }

// Somebody who may log in by other means needs no link.
func TestWhoNeedsNoSetup(t *testing.T) {
	s := lan(newHouse(), family())
	s.now = &listener{Listener: nowhere{}}
	if path := s.Invite(); path != "" {
		t.Errorf("there are users: %s", path)
	}
	s = New(newHouse(), Options{})
	s.now = &listener{Listener: nowhere{}}
	if path := s.Invite(); path != "" {
		t.Errorf("no login is needed: %s", path)
	}
	s = lan(newHouse(), &household{})
	if path := s.Invite(); path != "" {
		t.Errorf("there is no page: %s", path)
	}
}

// A page from the internet whose name is made to point here gets nothing, and who has a
// name of their own is told what to write.
func TestTheHostHeader(t *testing.T) {
	s := lan(newHouse(), family())
	for _, host := range []string{"192.168.1.5:8080", "192.168.1.5", "[2001:db8::1]:8080", "[fe80::1]", "localhost:8080", "127.0.0.1", "raspberrypi", "RaspberryPi:8080", "raspberrypi.local", "raspberrypi.local.", "raspberrypi.home", "hearth.example", "HEARTH.example:443"} {
		if w := ask(s, "GET", "/api/v1/house", "", "Host", host, "Authorization", "Bearer hearth_display", "From", "192.168.1.77:1"); w.Code != 200 {
			t.Errorf("%s: %d %s", host, w.Code, w.Body)
		}
	}
	for _, host := range []string{"", "evil.example", "raspberrypi.evil.example", "192.168.1.5.evil.example", "xraspberrypi", "evil.local", "0.0.0.0:8080", "[::]", "0x7f.1", "hearth.example.evil", "sub.hearth.example", "localhost:80:80", "\xff"} {
		for _, path := range []string{"/", "/log", "/login", assetPath("js/home.js"), "/api/v1/house", "/healthz", "/setup"} {
			if w := ask(s, "GET", path, "", "Host", host, "Authorization", "Bearer hearth_display"); w.Code != 421 || said(t, w) == "" {
				t.Errorf("%q %s: %d", host, path, w.Code)
			}
		}
	}
	if got, want := said(t, ask(s, "GET", "/", "", "Host", "hearth.home.arpa:8080")), `if that is a name of yours for it, write names = ["hearth.home.arpa"] under [web]`; !strings.Contains(got, want) {
		t.Errorf("it says %s", got)
	}
}

// On every answer, of whatever status, a browser is told to frame and run nothing else.
func TestEveryAnswerOfTheDoorIsHardened(t *testing.T) {
	s := lan(newHouse(), family())
	anna := cookie(t, s, "anna")
	for _, w := range []*httptest.ResponseRecorder{
		get(s, "/"), get(s, "/", anna...), get(s, "/login"), get(s, "/login?again=1"), get(s, "/setup?token=x"), login(s, "anna", "wrong"), post(s, "/logout", nil),
		get(s, "/api/v1/house"), get(s, "/nothing"), ask(s, "GET", "/", "", "Host", "evil.example"),
		get(s, "/../../etc/passwd"), get(s, "/%2e%2e/%2e%2e/etc/passwd"), get(s, assetPath("js/../../web.go")), get(s, assetPath("..%2f..%2fusers.toml")),
	} {
		h := w.Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "form-action 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d: %v", w.Code, h)
		}
		for _, secret := range []string{"root:", "package web", "correct horse"} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		}
		for _, inline := range []string{"<style", "style=", "onclick", "javascript:", "<script>"} {
			if strings.Contains(w.Body.String(), inline) {
				t.Errorf("%d has %s", w.Code, inline)
			}
		}
	}
}

// What lets somebody in is in no answer, but in the cookie of who has just logged in.
func TestSecretsAreInNoAnswer(t *testing.T) {
	s := lan(newHouse(), family())
	anna := cookie(t, s, "anna")
	secret := strings.TrimPrefix(anna[1], "hearth=")
	for _, r := range s.table {
		if r.path == "/api/v1/events" || strings.HasPrefix(r.path, "/logout") {
			continue
		}
		w := ask(s, r.method, sample(r), `{"on":true}`, slices.Concat(from, anna)...)
		for _, word := range []string{secret, "correct horse", "hearth_display", "abends um acht"} {
			if strings.Contains(w.Body.String(), word) {
				t.Errorf("%s %s tells %s", r.method, r.path, word)
			}
		}
	}
}

// From this machine alone to the whole network, on the same port, and back.
func TestMovingToAllAddresses(t *testing.T) {
	s := New(newHouse(), Options{People: family(), Log: quietLog})
	defer s.Close()
	listenOn(t, s, "127.0.0.1:0")
	addr := s.Addr()
	_, port, _ := strings.Cut(addr, ":")
	status := func() int {
		resp, err := http.Get("http://" + addr + "/api/v1/house")
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(); got != 200 {
		t.Fatalf("here: %d", got)
	}
	all := "0.0.0.0:" + port
	c, err := s.Prepare(Config{Listen: &all})
	if err != nil {
		t.Fatal(err)
	}
	c.Undo()
	c.Commit()
	if got := status(); got != 200 || s.Addr() != addr {
		t.Errorf("undone: %d on %s", got, s.Addr())
	}
	listenOn(t, s, all)
	if got := status(); got != 401 {
		t.Errorf("everywhere: %d", got)
	}
	listenOn(t, s, "127.0.0.1:"+port)
	if got := status(); got != 200 {
		t.Errorf("here again: %d", got)
	}
}

// Who may look can't take the place of all others at the streams.
func TestNobodyTakesAllStreams(t *testing.T) {
	s := lan(newHouse(), family())
	listenOn(t, s, "127.0.0.1:0")
	defer s.Close()
	s.set.Store(&settings{loopback: true})
	open := func(token string) *http.Response {
		req, _ := http.NewRequest("GET", "http://"+s.Addr()+"/api/v1/events", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for range mostWatchersOfOne {
		if resp := open("hearth_display"); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	resp := open("hearth_display")
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || !strings.Contains(string(body), fmt.Sprint(mostWatchersOfOne, " pages of display are watching already")) {
		t.Errorf("one more: %d %s", resp.StatusCode, body)
	}
	if resp := open("hearth_script"); resp.StatusCode != 200 {
		t.Errorf("another: %d", resp.StatusCode)
	}
}
