package hub

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"hearth/broker/access"
	"hearth/gpio"
)

// A visit is what comes back of one request from the tablet on the wall.
func visit(h *Hub, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "192.168.1.5:8080", "192.168.1.77:5000"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.web.Handler().ServeHTTP(w, r)
	return w
}

// listening is start with listeners, so it is not for a bubble of synctest, in which no
// network is.
func listening(t *testing.T, cfg *Config, opt Options) (h *Hub, stop func()) {
	t.Helper()
	opt.Bank, opt.Clock = gpio.NewSim(), testClock()
	h, err := New(cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	return h, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// logIn gives the cookie of a user.
func logIn(t *testing.T, h *Hub, user, password string) []string {
	t.Helper()
	form := url.Values{"user": {user}, "password": {password}, "next": {"/"}}
	w := visit(h, "POST", "/login", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if w.Code != 303 {
		t.Fatalf("login of %s: %d %s", user, w.Code, w.Body)
	}
	c := w.Result().Cookies()[0]
	return []string{"Cookie", c.Name + "=" + c.Value}
}

const openHouse = `
hub = { data = "data", clock = "trust" }
web = { listen = "0.0.0.0:0" }
[broker]
listen = ["127.0.0.1:0"]
[broker.role.guest]
page = "use"
except = ["hearth/heater/#"]
[output.lamp]
pin = "GPIO17"
name = "Ceiling"
room = "Hall"
[output.heater]
pin = "GPIO22"
name = "Frost guard"
room = "Workshop"
[secret]
alarm = "the alarm's code"
`

// Users of the house come to the page with the passwords and roles of hearth user, stay
// logged in over a restart, and are out as soon as a reload says so.
func TestUsersOfThePage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	users := filepath.Join(dir, "data", "users.toml")
	if err := os.WriteFile(file, []byte(openHouse), 0o600); err != nil {
		t.Fatal(err)
	}
	secret, hash := access.NewToken()
	for _, err := range []error{
		access.AddUser(users, "anna", access.Hash([]byte("correct horse")), []string{"admin"}),
		access.AddUser(users, "guest", access.Hash([]byte("welcome here")), []string{"guest"}),
		access.AddToken(users, "display", hash, []string{"see"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	loaded := func() *Config {
		cfg, doc := Load(file)
		if err := doc.Err(); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	h, stop := listening(t, loaded(), Options{})
	anna, guest := logIn(t, h, "anna", "correct horse"), logIn(t, h, "guest", "welcome here")
	display := []string{"Authorization", "Bearer " + secret}
	turn := func(name string, who []string) int {
		return visit(h, "POST", "/api/v1/output/"+name, `{"on":true}`, who...).Code
	}
	if a, b, c, d := turn("heater", anna), turn("heater", guest), turn("lamp", guest), turn("lamp", display); a != 204 || b != 404 || c != 204 || d != 403 {
		t.Errorf("anna %d, the guest %d and %d, the display %d", a, b, c, d)
	}
	if w := visit(h, "GET", "/api/v1/house", "", guest...); w.Code != 200 || strings.Contains(w.Body.String(), "heater") || !strings.Contains(w.Body.String(), `"name":"lamp"`) {
		t.Errorf("the guest sees %s", w.Body)
	}
	// People read the names that they gave, and of what they may not see neither that nor its room.
	for _, path := range []string{"/", "/thing/lamp", "/why/lamp", "/pins", "/log", "/api/v1/house", "/api/v1/pins"} {
		body := visit(h, "GET", path, "", guest...).Body.String()
		if strings.Contains(body, "Frost guard") || strings.Contains(body, "Workshop") {
			t.Errorf("%s tells the guest of the heater", path)
		}
		if path != "/log" && !strings.Contains(body, "Ceiling") {
			t.Errorf("%s calls the lamp otherwise", path)
		}
	}
	if body := visit(h, "GET", "/pins", "", anna...).Body.String(); !strings.Contains(body, "Frost guard") || !strings.Contains(body, "<dd>output heater</dd>") {
		t.Error("the header does not say how the heater is called, here and there")
	}
	if w := visit(h, "GET", "/api/v1/house", "", anna...); !strings.Contains(w.Body.String(), "page fired; guest switched it on the page") {
		t.Errorf("who it was is not told: %s", w.Body)
	}
	if w := visit(h, "GET", "/api/v1/house", ""); w.Code != 401 {
		t.Errorf("a stranger: %d", w.Code)
	}
	// Nothing that lets somebody in, and no secret of the house, is in any answer.
	kept, err := os.ReadFile(users)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/login", "/setup", "/api/v1/house", "/metrics", "/healthz", "/log", "/users.toml", "/data/users.toml", "/../data/users.toml", "/%2e%2e/data/users.toml"} {
		body := visit(h, "GET", path, "", anna...).Body.String()
		for _, hidden := range append(regexp.MustCompile(`"[^"]{20,}"`).FindAllString(string(kept), -1), "the alarm's code", "correct horse", secret, strings.TrimPrefix(anna[1], "hearth=")) {
			if strings.Contains(body, strings.Trim(hidden, `"`)) {
				t.Errorf("%s tells %s", path, hidden)
			}
		}
	}
	stop()

	h, stop = listening(t, loaded(), Options{})
	defer func() { stop() }()
	sees := func(who []string) int { return visit(h, "GET", "/api/v1/house", "", who...).Code }
	if a, b, c := sees(anna), sees(guest), sees(display); a != 200 || b != 200 || c != 200 {
		t.Errorf("after a restart: %d, %d, %d", a, b, c)
	}
	// Anna's page is open meanwhile.
	_, port, _ := net.SplitHostPort(h.web.Addr())
	req, _ := http.NewRequest("GET", "http://127.0.0.1:"+port+"/api/v1/events", nil)
	req.Header.Set("Cookie", anna[1])
	open, err := http.DefaultClient.Do(req)
	if err != nil || open.StatusCode != 200 {
		t.Fatal(open, err)
	}
	defer open.Body.Close()
	for _, err := range []error{
		access.SetPassword(users, "anna", access.Hash([]byte("battery staple"))),
		access.SetRoles(users, "guest", []string{"see"}),
		access.RemoveToken(users, "display"),
		h.Reload(loaded()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if a, b, c := sees(anna), turn("lamp", guest), sees(display); a != 401 || b != 403 || c != 401 {
		t.Errorf("after the reload anna gets %d, the guest %d, the display %d", a, b, c)
	}
	if _, err := io.ReadAll(open.Body); err != nil { // it has an end
		t.Error(err)
	}
	// While no hub runs a password is changed.
	stop()
	if err := access.SetPassword(users, "guest", access.Hash([]byte("another one"))); err != nil {
		t.Fatal(err)
	}
	h, stop = listening(t, loaded(), Options{})
	if got := sees(guest); got != 401 {
		t.Errorf("after a restart with another password: %d", got)
	}
	logIn(t, h, "guest", "another one")
}

// A house that others reach and that nobody can log in to prints a link, which makes the
// first user. One whose MQTT needs logins has a first user already.
func TestTheFirstUserOfThePage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	write := func(text string) *Config {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, doc := Load(file)
		if err := doc.Err(); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	var links, made []string
	opt := Options{
		Invite:    func(url string) { links = append(links, url) },
		FirstUser: func(name, password string) { made = append(made, name) },
	}
	open := strings.Replace(openHouse, "[broker]", "[broker]\nanonymous = true", 1)
	h, stop := listening(t, write(strings.Replace(open, "0.0.0.0:0", "127.0.0.1:0", 1)), opt)
	if len(links)+len(made) > 0 {
		t.Errorf("for a house that is for this machine alone: %q %q", links, made)
	}
	if err := h.Reload(write(open)); err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || len(made) != 0 || !strings.HasPrefix(links[0], h.PageURL()+"/setup?token=") {
		t.Fatalf("links %q, users %q", links, made)
	}
	u, err := url.Parse(links[0])
	if err != nil || u.Hostname() == "0.0.0.0" {
		t.Fatal(links, err)
	}
	form := url.Values{"token": {u.Query().Get("token")}, "user": {"anna"}, "password": {"correct horse"}, "again": {"correct horse"}}
	w := visit(h, "POST", "/setup", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if w.Code != 303 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	anna := logIn(t, h, "anna", "correct horse")
	if w := visit(h, "POST", "/api/v1/output/heater", `{"on":true}`, anna...); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := h.Reload(write(open)); err != nil || len(links) != 1 {
		t.Errorf("%v; links %q", err, links)
	}
	if w := visit(h, "GET", "/api/v1/house", "", anna...); w.Code != 200 {
		t.Errorf("a reload forgets the first user: %d", w.Code)
	}
	stop()

	if err := os.Remove(filepath.Join(dir, "data", "users.toml")); err != nil {
		t.Fatal(err)
	}
	h, stop = listening(t, write(openHouse), opt)
	defer stop()
	if len(links) != 1 || !slices.Equal(made, []string{"admin"}) || !h.door.Table().AnyOnPage() {
		t.Errorf("links %q, users %q", links, made)
	}
}

// What is seen of a reading is judged by its topic, also of what is wired and of devices.
func TestReadingsHaveTheirTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
			[input.pir]
			pin = "GPIO27"
			[output.lamp]
			pin = "GPIO17"
			[calc.twice]
			of = "a/b:c"
			value = "2"
			[link.a]
			from = "garage/door:contact"
			to = "lamp"
			[link.b]
			from = "tele/+/state:x"
			to = "lamp"`), Options{Bank: gpio.NewSim()})
		defer stop()
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for _, r := range v.Readings {
			got[r.Source] = fmt.Sprint(r.Topics)
		}
		for source, want := range map[string]string{"garage/door:contact": "[garage/door]", "a/b:c": "[a/b]", "tele/+/state:x": "[]"} {
			if is, ok := got[source]; !ok || is != want {
				t.Errorf("%s: %s, want %s; there are %v", source, is, want, got)
			}
		}
		if topics := h.topicsOfWired("lamp.fault"); !slices.Equal(topics, []string{"hearth/lamp/state"}) {
			t.Error(topics)
		}
		if topics := h.topicsOfWired("twice"); topics != nil {
			t.Error(topics)
		}
	})
}
