package hub

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/devices"
	"hearth/gpio"
)

// A caller with a place for its answers.
func calls(t *testing.T, allow ...string) (c *caller, answers chan string) {
	answers = make(chan string, 1000)
	c = newCaller(func(id string, status int, problem string) { answers <- fmt.Sprintf("%s %d %s", id, status, problem) })
	c.permit(HTTP{Allow: allow})
	t.Cleanup(c.finish)
	return c, answers
}

func wait(t *testing.T, answers chan string) string {
	t.Helper()
	select {
	case a := <-answers:
		return a
	case <-time.After(time.Minute):
		t.Fatal("no answer")
		return ""
	}
}

func TestARequestSaysWhatItIsAndHowItWent(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(b))
		mu.Unlock()
		if r.URL.Path == "/busy" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	c, answers := calls(t, "127.0.0.1")
	c.put(devices.Request{ID: "1", Method: "POST", URL: server.URL + "/ring", Body: `{"on":true}`})
	if a := wait(t, answers); a != "1 200 " {
		t.Error(a)
	}
	c.put(devices.Request{ID: "2", Method: "GET", URL: server.URL + "/busy"})
	if a := wait(t, answers); a != "2 503 " {
		t.Error(a)
	}
	c.put(devices.Request{ID: "3", Method: "POST", URL: "http://[bad", Body: "x"})
	if a := wait(t, answers); a != "3 0 it is no address" {
		t.Error(a)
	}
	if want := []string{`POST /ring application/json {"on":true}`, "GET /busy  "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is in the house has often no login. Only what is listed is asked, also
// where a name or a redirection leads there.
func TestPrivateAddressesAreAskedOnlyIfListed(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++ }))
	defer server.Close()
	c, answers := calls(t, "192.168.1.0/24")
	for _, url := range []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), "http://10.1.2.3/", "http://169.254.169.254/latest", "http://[::1]:1/", "http://[fe80::1]/", "http://100.64.0.1/", "http://0.0.0.0/"} {
		c.put(devices.Request{ID: "x", Method: "GET", URL: url})
		if a := wait(t, answers); !strings.Contains(a, "is a private address and not listed") {
			t.Errorf("%s: %s", url, a)
		}
	}
	if asked > 0 {
		t.Error("it was asked")
	}
	redirect := httptest.NewServer(http.RedirectHandler("http://10.1.2.3/", http.StatusFound))
	defer redirect.Close()
	c.permit(HTTP{Allow: []string{"127.0.0.1"}})
	c.put(devices.Request{ID: "x", Method: "GET", URL: redirect.URL})
	if a := wait(t, answers); !strings.Contains(a, "10.1.2.3 is a private address") {
		t.Error(a)
	}
}

// A host that never answers takes one caller; a flood of requests is refused, and
// the hub's end waits for nobody.
func TestRequestsThatNobodyAnswers(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-hold
		}
	}))
	defer server.Close()
	defer close(hold)
	c, answers := calls(t, "127.0.0.0/8")
	c.put(devices.Request{ID: "hang", Method: "GET", URL: server.URL + "/hang"})
	c.put(devices.Request{ID: "quick", Method: "GET", URL: server.URL + "/quick"})
	if a := wait(t, answers); a != "quick 200 " {
		t.Error(a)
	}
	refused := 0
	for i := range 2 * callQueue {
		if err := c.put(devices.Request{ID: fmt.Sprint(i), Method: "GET", URL: server.URL + "/hang"}); err != nil {
			refused++
		}
	}
	if refused < callQueue-callers {
		t.Errorf("%d of %d were refused", refused, 2*callQueue)
	}
	c.finish()
}

// A rule asks a server that has trouble at first, and a person is told over HTTP.
func TestARuleAsksAgain(t *testing.T) {
	tries := make(chan string, 10)
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		tries <- strings.TrimSpace(r.URL.Path + " " + string(b) + " " + r.Header.Get("Authorization"))
		if n++; n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	h, stop := start(t, load(t, t.TempDir(), `
		[http]
		allow = "127.0.0.1"
		[secret]
		token = "T0K"
		[notify.phone]
		url = "`+server.URL+`/phone"
		[rule.bell]
		trigger = { webhook = "/hook/bell" }
		action = [
		  { http = "`+server.URL+`/ring", body = "{msg.who}", headers = { Authorization = "Bearer {secret('token')}" }, retry = "50ms" },
		  { wait = { event = "a/never" }, timeout = "200ms" },
		  { notify = "{msg.who} rang" },
		]`), Options{Bank: gpio.NewSim()})
	defer stop()
	if known, err := (page{h}).Hook(t.Context(), "/hook/other", nil); known || err != nil {
		t.Errorf("a hook that no rule names: %v, %v", known, err)
	}
	if known, err := (page{h}).Hook(t.Context(), "/hook/bell", []byte(`{"who":"Ada"}`)); !known || err != nil {
		t.Errorf("the hook: %v, %v", known, err)
	}
	var got []string
	for range 3 {
		got = append(got, wait(t, tries))
	}
	if want := []string{"/ring Ada Bearer T0K", "/ring Ada Bearer T0K", "/phone Ada rang"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}
