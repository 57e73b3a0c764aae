package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"hearth/web/webtest"
)

// What webtest has, by names that are short enough for long stories.
var (
	browser = webtest.Browser
	do      = webtest.Do
	until   = webtest.Until
	shows   = webtest.Shows
	shoot   = webtest.Keep
)

const porch = `[role=switch][aria-label=porch_light]`

func checked(label, state string) string {
	return fmt.Sprintf(`document.querySelector('[role=switch][aria-label=%s]').getAttribute('aria-checked') === %q`, label, state)
}

func TestInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	s := serve(t, house)
	addr := s.Addr()

	do(t, ctx, "the page goes live", chromedp.Navigate("http://"+addr), until(`document.body.className === 'live'`), until(shows("#live", "Live")))
	do(t, ctx, "a click turns the output", chromedp.Click(porch), until(checked("porch_light", "true")))
	if v, _ := house.View(ctx); !v.Outputs[0].On {
		t.Error("the page shows it on, the house does not")
	}
	do(t, ctx, "by keyboard", chromedp.Focus(porch), chromedp.SendKeys(porch, " "), until(checked("porch_light", "false")))
	do(t, ctx, "a simulated input", chromedp.Click(`[role=switch][aria-label=pir]`), until(checked("pir", "true")))
	do(t, ctx, "a real input has no switch", until(`document.querySelector('[aria-label=doorbell]').hidden`))
	house.Switch(ctx, "heater", false)
	do(t, ctx, "what others do is seen", until(checked("heater", "false")))

	house.change(func(v *View) { v.Outputs[2].Fault = "the line is held" })
	do(t, ctx, "a refusal is told", chromedp.Click(`[aria-label=garden_pump]`), until(shows("#toast", `output "garden_pump" can't be switched: the line is held`)),
		until(`!document.querySelector('.asked')`))
	house.mu.Lock()
	house.deaf = true
	house.mu.Unlock()
	do(t, ctx, "asked is not yet so", chromedp.Click(porch), until(`document.querySelector('.asked .state').textContent === 'Asked on' && document.querySelector('.asked').getAttribute('aria-busy') === 'true'`),
		until(shows("#toast", "porch_light was told so and has not answered yet")), until(checked("porch_light", "false")))

	house.mu.Lock()
	house.tell(Event{Thing: &Thing{Name: `<img src=x onerror="document.title='owned'">`, Line: "<b>", Fault: "</li>", Properties: []Property{{Kind: "value", Text: "<script>", Known: true}}}})
	house.mu.Unlock()
	do(t, ctx, "a hostile name is text", until(shows("#rooms", "onerror")), until(`document.querySelectorAll('img').length === 1 && document.title === 'home · Hearth'`),
		until(`document.documentElement.scrollWidth <= innerWidth`))

	do(t, ctx, "what happened has a page of its own", chromedp.Click(`nav a[href="/log"]`), chromedp.WaitVisible("#h-decisions"), chromedp.WaitVisible("body.live"),
		until(shows(".log", "somebody switched it on the page -> porch_light ON")))
	house.mu.Lock()
	house.deaf = false
	house.mu.Unlock()
	house.Switch(ctx, "heater", true)
	do(t, ctx, "and is told live", until(`document.querySelectorAll('.log li').length === 6`))
	house.report(Reading{Source: "zigbee2mqtt/study_climate:temperature", Text: "21.7", At: noon})
	do(t, ctx, "a reading changes in its place", until(`document.querySelectorAll('.values li').length === 3`), until(shows(".values", "21.7")))
	for i := range 40 {
		house.report(Reading{Source: fmt.Sprintf("tele/plug_%02d/SENSOR:ENERGY.Power", i), Text: fmt.Sprint(i * 7), At: noon})
	}
	do(t, ctx, "a filter for many", until(shows("#count", "43")), chromedp.SendKeys("#filter", "PLUG_07"), until(shows("#count", "1 of 43")),
		until(`document.querySelectorAll('.values li:not([hidden])').length === 1`),
		chromedp.Evaluate(`document.getElementById('filter').value = ''; document.getElementById('filter').oninput()`, nil))

	for _, evil := range hostile {
		house.report(Reading{Source: "evil/" + evil, Text: evil, Bad: evil, At: noon})
	}
	house.mu.Lock()
	house.tell(Event{Decision: &Decision{At: noon, Rule: "<i>", Outcome: "fired x\" onclick=", Text: "<i><script>document.title='owned'</script>"}})
	house.mu.Unlock()
	do(t, ctx, "hostile text is text", until(shows(".values", "<script>alert(1)</script>")), until(shows(".log", "<script>document.title")),
		until(`document.querySelectorAll('img').length === 1 && !document.querySelector('.values script, .log script') && document.title === 'What happened · home · Hearth'`),
		until(`document.documentElement.scrollWidth <= innerWidth`))

	// Overrun: more at once than the page's channel takes.
	house.mu.Lock()
	house.view.Readings = []Reading{{Source: "after/all", Text: "whole again", At: noon}}
	for len(house.watchers) > 0 {
		house.tell(Event{Reading: &Reading{Source: "flood", Text: "x", At: noon}})
	}
	house.mu.Unlock()
	do(t, ctx, "one that fell behind fetches everything", until(shows(".values", "whole again")),
		until(`document.querySelectorAll('.values li').length === 1`), until(`document.querySelector('#lost').hidden`))

	s.Close()
	do(t, ctx, "a lost hub is told", until(shows("#lost", "The hub does not answer")), until(`document.body.className === 'stale'`))
	house.change(func(v *View) { v.Readings[0].Text = "back" })
	again := New(house, Options{Log: quietLog})
	listenOn(t, again, addr)
	defer again.Close()
	do(t, ctx, "and comes back by itself", until(`document.body.className === 'live' && document.querySelector('#lost').hidden`), until(shows(".values", "back")))
}

// Until the stream has said something the page shows what it came with.
func TestThePageInABrowserBeforeTheStream(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	s := New(house, Options{Log: quietLog})
	asked, silent := make(chan bool, 10), make(chan struct{}) // the script asks when it has done all else
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/events" {
			asked <- true
			select {
			case <-silent:
			case <-r.Context().Done():
				return
			}
		}
		s.Handler().ServeHTTP(w, r)
	}))
	defer front.Close()
	defer s.Close()
	rows := `document.querySelectorAll('.things li, .log li, .values li').length`
	do(t, ctx, "the house without a stream", chromedp.Navigate(front.URL))
	<-asked
	do(t, ctx, "can be told something", chromedp.Evaluate(`window.drawn = Array.from(document.querySelectorAll('#rooms li')); document.querySelector('#rooms .switch').focus()`, nil),
		chromedp.Click("#rooms .switch:not([hidden])"), until(shows(".of-switch .state", "Asked on")))
	eventually(t, "it is told", func() bool {
		house.mu.Lock()
		defer house.mu.Unlock()
		return house.view.Outputs[0].On
	})
	silent <- struct{}{}
	do(t, ctx, "and with it all rows are the same, and what one was at", chromedp.WaitVisible("body.live"), until(`window.drawn.length > 3 && window.drawn.join() === Array.from(document.querySelectorAll('#rooms li')).join() && window.drawn.every((li) => document.contains(li)) && document.activeElement.className === 'switch'`))
	var drawn, live int
	for _, path := range []string{"/", "/log"} {
		do(t, ctx, "the page without a stream", chromedp.Navigate(front.URL+path))
		<-asked
		do(t, ctx, "has its rows", chromedp.Evaluate(rows, &drawn))
		silent <- struct{}{}
		do(t, ctx, "and with it", until(`document.body.className === 'live'`), chromedp.Evaluate(rows, &live))
		if drawn == 0 || drawn != live {
			t.Errorf("%s: %d rows before the stream, %d with it", path, drawn, live)
		}
	}
	do(t, ctx, "it goes, so that the stream ends", chromedp.Navigate("about:blank"))
}

func TestThePageInABrowserWithoutJavaScript(t *testing.T) {
	ctx := browser(t)
	s := serve(t, newHouse())
	do(t, ctx, "scripts are off", emulation.SetScriptExecutionDisabled(true), chromedp.Navigate("http://"+s.Addr()), chromedp.WaitVisible("noscript p"))
	var text string
	do(t, ctx, "reading it", chromedp.Text("body", &text))
	var happened string
	do(t, ctx, "and what happened", chromedp.Navigate("http://"+s.Addr()+"/log"), chromedp.WaitVisible("noscript p"), chromedp.Text("body", &happened))
	text += happened
	for _, want := range []string{"Without JavaScript", "porch_light", "18.4", "rule.heater"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

// TestScreenshots keeps what the page looks like, for eyes: set
// HEARTH_SCREENSHOTS to a folder.
func TestScreenshots(t *testing.T) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	full := manyThings(12)
	full.view.Things[5].Away, full.view.Things[4].Properties[0].Asked, full.view.Things[0].Favourite, full.view.Things[0].Properties[0].On = true, "on", true, true
	full.view.Things[9].Room = "" // and so among what is in none
	for i := range 14 {
		full.view.Readings = append(full.view.Readings, Reading{Source: fmt.Sprintf("tele/plug_%02d/SENSOR:ENERGY.Power", i), Text: fmt.Sprint(i * 37 % 100), At: noon.Add(-time.Duration(i*i) * time.Minute)})
		full.view.Decisions = append(full.view.Decisions, Decision{At: noon.Add(-time.Duration(i+8) * time.Minute * 90), Rule: "rule.stairs", Outcome: []string{"fired", "pending", "ended", "cancelled"}[i%4],
			Text: "rule.stairs " + []string{"fired", "pending", "ended", "cancelled"}[i%4] + ": pir is true, sun down -> porch_light ON"})
	}
	full.view.Readings = append(full.view.Readings, Reading{Source: "shelly/rpc", Text: `{"src":"shellyplus1-a8032ab1","dst":"shellyplus1/events","method":"NotifyStatus","params":{"ts":1631266595.43,"switch:0":{"id":0,"output":true}}}`, At: noon})
	ill := newHouse()
	ill.view.Trouble = []string{"the disk refuses: no space left on device", "the clock is not known to be right, so times of day wait until a time service has set it"}
	ill.view.ClockKnown = false
	ill.view.Outputs[2].Fault = "the line is held by another program"
	for _, evil := range hostile[:12] {
		ill.view.Readings = append(ill.view.Readings, Reading{Source: "evil/" + evil, Text: evil, Bad: "broken JSON", At: time.Unix(30, 0)})
	}
	empty := newHouse()
	empty.view = View{Name: "home", Version: "test", Simulated: true, Now: noon, Started: noon, ClockKnown: true}
	for name, house := range map[string]*smallHouse{"full": full, "ill": ill, "empty": empty} {
		s := serve(t, house)
		for _, size := range webtest.Sizes {
			for _, scheme := range []string{"light", "dark"} {
				do(t, ctx, "a size", chromedp.EmulateViewport(size.Width, size.Height), webtest.Scheme(scheme),
					chromedp.Navigate("http://"+s.Addr()), until(`document.body.className === 'live'`), until(`document.documentElement.scrollWidth <= innerWidth`))
				shoot(t, ctx, name+"-"+size.Name+"-"+scheme)
			}
		}
		if name == "full" {
			do(t, ctx, "losing the hub", chromedp.EmulateViewport(1280, 900), chromedp.ActionFunc(func(context.Context) error { return s.Close() }),
				until(`document.body.className === 'stale'`))
			shoot(t, ctx, "lost-desktop-dark")
		}
	}
}

// At the door: Anna is led to the login, comes in, stays in when a link elsewhere brings
// her back, switches, and is out again when she logs out on another device.
func TestTheDoorInABrowser(t *testing.T) {
	ctx := browser(t)
	house, people := newHouse(), family()
	s := New(house, Options{People: people, Log: quietLog})
	listen, no := "127.0.0.1:0", false
	c, err := s.Prepare(Config{Listen: &listen, Anonymous: &no})
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	defer s.Close()
	at := "http://" + s.Addr()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<a id="link" href="%s/">to the house</a><form method="post" action="%s/logout/everywhere"><button>evil</button></form>`, at, at)
	}))
	defer elsewhere.Close()
	other := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) // another site than 127.0.0.1

	do(t, ctx, "she is led to the login", chromedp.Navigate(at+"/"), chromedp.WaitVisible(`form.login`), until(`document.activeElement.name === 'user'`))
	keepScreenshot(t, ctx, "login")
	do(t, ctx, "a slip", chromedp.SendKeys(`[name=user]`, "anna"), chromedp.SendKeys(`[name=password]`, "wrong\r"), chromedp.WaitVisible("[role=alert]"), until(shows("[role=alert]", "The name or the password is wrong.")),
		until(`document.querySelector('[name=user]').value === 'anna' && document.querySelector('[name=password]').value === ''`))
	do(t, ctx, "she logs in", chromedp.SendKeys(`[name=password]`, "correct horse\r"), chromedp.WaitVisible(`body.live`), until(shows("footer", "Logged in as anna")))
	do(t, ctx, "and switches", chromedp.Click(porch), until(checked("porch_light", "true")))
	do(t, ctx, "a script can't read the cookie", until(`document.cookie === ''`))

	do(t, ctx, "a link elsewhere finds her logged in", chromedp.Navigate(other), chromedp.Click("#link"), chromedp.WaitVisible(`body.live`), until(`location.href === '`+at+`/'`))
	do(t, ctx, "a form elsewhere does nothing", chromedp.Navigate(other), chromedp.Click("button"), chromedp.WaitVisible(".failure"), until(`document.body.innerText.includes('Another website asked your browser to send this')`),
		chromedp.Navigate(at+"/"), chromedp.WaitVisible(`body.live`))

	// What she may do becomes less while she looks.
	people.change(func(h *household) { h.rights["anna"] = part{See, nil} })
	do(t, ctx, "who may look only", chromedp.Reload(), chromedp.WaitVisible(`body.live`), until(`document.querySelector('`+porch+`').hidden`))
	people.change(func(h *household) { h.rights["anna"] = part{Use, []string{"hearth/heater/"}} })
	do(t, ctx, "who may not see the heater", chromedp.Reload(), chromedp.WaitVisible(`body.live`), until(`!document.body.innerText.includes('heater')`),
		chromedp.Navigate(at+"/log"), chromedp.WaitVisible(`body.live`), until(`!document.body.innerText.includes('heater') && document.querySelector('#decisions').hidden`))

	s.sessions.endAll("anna")
	do(t, ctx, "logged out elsewhere, the page leads to the login", chromedp.WaitVisible(`form.login`))
	do(t, ctx, "and in again, and out", chromedp.SendKeys(`[name=user]`, "anna"), chromedp.SendKeys(`[name=password]`, "correct horse\r"), chromedp.WaitVisible(`body.live`),
		chromedp.Click(`.user button`), chromedp.WaitVisible(`form.login`), chromedp.Navigate(at+"/"), chromedp.WaitVisible(`form.login`))
	do(t, ctx, "it goes, so that nothing is open", chromedp.Navigate("about:blank"))
}

// The first user is made with the link from the console, by a browser without scripts.
func TestTheSetupInABrowser(t *testing.T) {
	ctx := browser(t)
	people := family()
	people.passwords = map[string]string{}
	s := New(newHouse(), Options{People: people, Log: quietLog})
	listen, no := "127.0.0.1:0", false
	c, err := s.Prepare(Config{Listen: &listen, Anonymous: &no})
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	defer s.Close()
	path := s.Invite()
	do(t, ctx, "the link", emulation.SetScriptExecutionDisabled(true), chromedp.Navigate("http://"+s.Addr()+path), chromedp.WaitVisible(`form.login`))
	keepScreenshot(t, ctx, "setup")
	var text string
	do(t, ctx, "makes a user and logs in", chromedp.SendKeys(`[name=password]`, "correct horse"), chromedp.SendKeys(`[name=again]`, "correct horse\r"),
		chromedp.WaitVisible(".user b"), chromedp.Text(".user b", &text))
	if text != "admin" {
		t.Errorf("logged in as %q", text)
	}
}

// keepScreenshot is for eyes, as TestScreenshots.
func keepScreenshot(t *testing.T, ctx context.Context, name string) {
	for scheme, size := range map[string][2]int64{"light": {320, 640}, "dark": {1280, 900}} {
		do(t, ctx, "a size", chromedp.EmulateViewport(size[0], size[1]), webtest.Scheme(scheme))
		shoot(t, ctx, name+"-"+scheme)
	}
}

// By a name and without TLS, as most phones come. There browsers don't say Sec-Fetch-Site,
// so that it is by Origin that a form of ours is told from one of another site.
func TestTheDoorInABrowserWithoutTLS(t *testing.T) {
	ctx := browser(t, chromedp.Flag("host-resolver-rules", "MAP *.home.arpa 127.0.0.1"))
	s := New(newHouse(), Options{People: family(), Log: quietLog})
	listen, no := "127.0.0.1:0", false
	c, err := s.Prepare(Config{Listen: &listen, Anonymous: &no, Names: []string{"hearth.home.arpa"}})
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	defer s.Close()
	_, port, _ := strings.Cut(s.Addr(), ":")
	at := "http://hearth.home.arpa:" + port
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" action="%s/logout/everywhere"><button>evil</button></form>`, at)
	}))
	defer elsewhere.Close()
	other := strings.Replace(elsewhere.URL, "127.0.0.1", "hearth.home.arpa", 1) // another port: the cookie is sent

	do(t, ctx, "she logs in", chromedp.Navigate(at+"/"), chromedp.WaitVisible(`form.login`), chromedp.SendKeys(`[name=user]`, "anna"),
		chromedp.SendKeys(`[name=password]`, "correct horse\r"), chromedp.WaitVisible(`body.live`), until(shows("footer", "Logged in as anna")))
	do(t, ctx, "and switches", chromedp.Click(porch), until(checked("porch_light", "true")))
	do(t, ctx, "a form elsewhere does nothing", chromedp.Navigate(other), chromedp.Click("button"), chromedp.WaitVisible(".failure"), until(`document.body.innerText.includes('Another website asked your browser to send this')`),
		chromedp.Navigate(at+"/"), chromedp.WaitVisible(`body.live`))
	do(t, ctx, "and out", chromedp.Click(`.user button`), chromedp.WaitVisible(`form.login`), chromedp.Navigate("about:blank"))
}
