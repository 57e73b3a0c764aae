package test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth/web/webtest"
)

// The page as people meet it: a real browser, and the program that ships.

const wired = `
[output.lamp]
pin = "GPIO17"

[output.fan]
pin = "GPIO27"

[input.bell]
pin = "GPIO5"

[rule.bell]
trigger = { state = "bell", is = true }
action = { set = "lamp", to = true }
`

const live = `document.body.className === 'live'`

func isOn(name string) string {
	return fmt.Sprintf(`(document.querySelector('[role=switch][aria-label="%s"]').getAttribute('aria-checked') === 'true')`, name)
}

func click(name string) chromedp.Action {
	return chromedp.Click(fmt.Sprintf(`[role=switch][aria-label="%s"]`, name))
}

// stands says that in a room of the page of the house there is a thing that people call so.
func stands(room, thing string) string {
	return fmt.Sprintf(`Array.from(document.querySelectorAll('.room')).some((r) => r.querySelector('h2').textContent === %q && Array.from(r.querySelectorAll('.name'), (a) => a.textContent).includes(%q))`, room, thing)
}

// setupLink is the one on the console by which the first user is made.
func (l *life) setupLink(t *testing.T) (link string) {
	t.Helper()
	eventually(t, "the console has a link", func() bool {
		for _, line := range l.lines() {
			if i := strings.Index(line, "http://"); i >= 0 && strings.Contains(line, "/setup?token=") {
				link = line[i:]
			}
		}
		return link != ""
	})
	return link
}

// Nobody can log in yet: the console has a link, which makes the first user, once.
func TestTheFirstLogin(t *testing.T) {
	ctx := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), "anonymous = false\n"+wired).start(t)
	link := l.setupLink(t)
	webtest.Do(t, ctx, "without a login there is the login", chromedp.Navigate(l.page), webtest.Until(`location.pathname === '/login'`))
	webtest.Do(t, ctx, "the link", chromedp.Navigate(link), chromedp.WaitVisible(`[name=again]`),
		chromedp.SetValue(`[name=user]`, "anna"), chromedp.SendKeys(`[name=password]`, "correct horse"), chromedp.SendKeys(`[name=again]`, "correct horse\r"),
		webtest.Until(live), webtest.Until(webtest.Shows(".user b", "anna")))
	webtest.Do(t, ctx, "and she switches", click("lamp"), webtest.Until(isOn("lamp")))

	other := webtest.Tab(t, ctx)
	webtest.Do(t, other, "the link is good once", chromedp.Navigate(link), webtest.Until(`document.querySelector('[name=again]') === null`))
	webtest.Do(t, ctx, "out", chromedp.Click(`form.user button`), webtest.Until(`location.pathname === '/login'`))
	webtest.Do(t, ctx, "and in again", chromedp.SetValue(`[name=user]`, "anna"), chromedp.SendKeys(`[name=password]`, "correct horse\r"), webtest.Until(live), webtest.Until(isOn("lamp")))
}

// Who turns a switch on one page sees it turn on another within 200 ms.
func TestAnotherPageSeesTheSwitchTurn(t *testing.T) {
	one := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), wired).start(t)
	other := webtest.Tab(t, one)
	webtest.Do(t, one, "a page", chromedp.Navigate(l.page), webtest.Until(live))
	webtest.Do(t, other, "another", chromedp.Navigate(l.page), webtest.Until(live), chromedp.Evaluate(`
		window.turned = [];
		new MutationObserver(() => turned.push(Date.now())).observe(document.querySelector('[role=switch][aria-label=lamp]'), { attributes: true, attributeFilter: ['aria-checked'] });`, nil))
	var took []time.Duration
	for n := range 15 {
		var clicked, turned float64
		webtest.Do(t, one, "a click", chromedp.Evaluate(`window.clicked = Date.now(); document.querySelector('[role=switch][aria-label=lamp]').click(); clicked`, &clicked))
		webtest.Do(t, other, "is seen", webtest.Until(fmt.Sprintf(`turned.length === %d`, n+1)), chromedp.Evaluate(fmt.Sprintf(`turned[%d]`, n), &turned))
		webtest.Do(t, one, "here, too", webtest.Until(fmt.Sprintf(`%s === %t`, isOn("lamp"), n%2 == 0)))
		took = append(took, time.Duration(turned-clicked)*time.Millisecond)
	}
	slices.Sort(took)
	t.Logf("from the click on one page until the switch on another turned: %s", spread(took))
	if median := took[len(took)/2]; median > 200*time.Millisecond {
		t.Errorf("half of them took more than %v, want 200ms", median)
	}
}

// Somebody presses the bell, which is simulated here, and the rule turns on the lamp. On the
// page one sees both, and then why.
func TestAnInputIsFlipped(t *testing.T) {
	ctx := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), wired).start(t)
	webtest.Do(t, ctx, "the bell", chromedp.Navigate(l.page), webtest.Until(live), click("bell"), webtest.Until(isOn("bell")), webtest.Until(isOn("lamp")))
	webtest.Do(t, ctx, "and what happened", chromedp.Navigate(l.page+"/log"), webtest.Until(live), webtest.Until(webtest.Shows(".log", "rule.bell")))
}

// The lamp is on. One click says why, step by step back to the bell; another leads to the rule,
// which is disabled there. The next ring does nothing, and why says so.
func TestWhyTheLampIsOn(t *testing.T) {
	ctx := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), wired).start(t)
	webtest.Do(t, ctx, "the bell", chromedp.Navigate(l.page), webtest.Until(live), click("bell"), webtest.Until(isOn("lamp")))
	webtest.Do(t, ctx, "why is the lamp on", chromedp.Click(`a.state[href="/why/lamp"]`), webtest.Until(`location.pathname === '/why/lamp' && `+live),
		webtest.Until(`Array.from(document.querySelectorAll('#path > .step .title'), (p) => p.innerText).join() === 'bell → On,rule.bell,lamp → On'`))
	webtest.Keep(t, ctx, "story-why")
	webtest.Do(t, ctx, "what it was before", chromedp.Click(`.moments [rel=prev]`), webtest.Until(`location.search.startsWith('?at=') && `+live), webtest.Until(webtest.Shows(".whyhead", "Off")),
		chromedp.Click(`.moments [rel=next]`), webtest.Until(live+` && document.querySelectorAll('#path > .step').length === 3`))
	webtest.Do(t, ctx, "the rule", chromedp.Click(`#path .of-decision .title a`), webtest.Until(`location.pathname === '/rules/rule.bell' && `+live), webtest.Until(webtest.Shows(".trace", "lamp ON")),
		webtest.Until(webtest.Shows("figure.source", "[rule.bell]")))
	webtest.Keep(t, ctx, "story-rule")
	webtest.Do(t, ctx, "is disabled", chromedp.Click(`#rule .switch`), webtest.Until(webtest.Shows("#rule", "Disabled")), webtest.Until(webtest.Shows(".trace", "somebody disabled it on the page")))
	webtest.Do(t, ctx, "off, and the bell rings again", chromedp.Navigate(l.page), webtest.Until(live), click("lamp"), webtest.Until(`!`+isOn("lamp")),
		click("bell"), webtest.Until(`!`+isOn("bell")), click("bell"), webtest.Until(isOn("bell")))
	webtest.Do(t, ctx, "nothing", chromedp.Navigate(l.page+"/why/lamp"), webtest.Until(live), webtest.Until(webtest.Shows(".whyhead", "Off")), webtest.Until(webtest.Shows("#path", "on the page")),
		webtest.Until(webtest.Shows(".could", "has been disabled")))
	webtest.Do(t, ctx, "all rules", chromedp.Click(`nav a[href="/rules"]`), webtest.Until(`location.pathname === '/rules' && `+live), webtest.Until(webtest.Shows(".rule.is-off", "bell")),
		chromedp.Click(`.rule .switch`), webtest.Until(`document.querySelector('.rule.is-on')`))
}

// The power of the hub fails while people look at the page. They are told that what they see is
// old, and when the hub is back so is the page, by itself and as the house is then.
func TestTheHubGoesAndComesBack(t *testing.T) {
	ctx := webtest.Browser(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	h := newHouse(t, t.TempDir(), wired)
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "[web]\nlisten = \"127.0.0.1:0\"", fmt.Sprintf("[web]\nlisten = %q", addr), 1))
	if err := os.WriteFile(h.config, text, 0o644); err != nil {
		t.Fatal(err)
	}
	l := h.start(t)
	webtest.Do(t, ctx, "the lamp is on", chromedp.Navigate(l.page), webtest.Until(live), click("lamp"), webtest.Until(isOn("lamp")), chromedp.Evaluate(`window.same = true`, nil))
	l.kill()
	webtest.Do(t, ctx, "it says that it is old", webtest.Until(`document.body.className === 'stale'`), webtest.Until(webtest.Shows("#lost", "does not answer")),
		click("fan"), webtest.Until(webtest.Shows("#toast", "fan was not switched")), webtest.Until(`!document.querySelector('.asked')`), webtest.Until(isOn("lamp")))
	webtest.Keep(t, ctx, "story-lost")
	h.start(t)
	webtest.Do(t, ctx, "and comes back", webtest.Until(live), webtest.Until(`document.querySelector('#lost').hidden && same`), webtest.Until(`!`+isOn("lamp")))
}

// Anna breaks a rule and the page says where; she mends it, tries it on what was recorded, and
// saves it. It acts at once. She undoes it, and it does as before. Then the lamp gets a name and
// a room, and on another page stands there at once, on as it was.
func TestARuleIsEdited(t *testing.T) {
	ctx := webtest.Browser(t)
	h := newHouse(t, t.TempDir(), wired)
	l := h.start(t)
	kept, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	file := func() string {
		text, err := os.ReadFile(h.config)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	becomes := func(from, to string) chromedp.Action {
		return chromedp.Evaluate(fmt.Sprintf(`(() => { const t = document.getElementById('text'); t.value = t.value.replace(%q, %q); t.oninput(); })()`, from, to), nil)
	}
	webtest.Do(t, ctx, "the bell rings twice", chromedp.Navigate(l.page), webtest.Until(live), click("bell"), webtest.Until(isOn("lamp")), click("lamp"), webtest.Until("!"+isOn("lamp")),
		click("bell"), webtest.Until("!"+isOn("bell")), click("bell"), webtest.Until(isOn("lamp")))
	webtest.Do(t, ctx, "the rule", chromedp.Navigate(l.page+"/edit?at=rule.bell"), webtest.Until(live), webtest.Until(webtest.Shows("#state", "in order")),
		webtest.Until(`(() => { const t = document.getElementById('text'); return t.value.slice(t.selectionStart, t.selectionEnd) === '[rule.bell]'; })()`))
	webtest.Do(t, ctx, "is broken", becomes(`set = "lamp"`, `set = "lmap"`), webtest.Until(webtest.Shows("#state", "1 mistake")),
		webtest.Until(webtest.Shows("#mistakes", `rule.bell.action.set = "lmap"`)), webtest.Until(webtest.Shows("#mistakes", `did you mean "lamp"?`)),
		webtest.Until(`(() => { const lines = document.getElementById('text').value.split('\n'); return document.querySelector('#marks .band').style.top === 10 + 21 * lines.findIndex((l) => l.includes('lmap')) + 'px'; })()`))
	webtest.Do(t, ctx, "is mended", becomes(`set = "lmap"`, `set = "fan"`), webtest.Until(webtest.Shows("#state", "in order")))
	webtest.Do(t, ctx, "is tried", chromedp.Click("#try"), chromedp.WaitVisible("#trial"), webtest.Until(webtest.Shows("#verdict", "2 more and 2 less")), webtest.Until(webtest.Shows("#differences", "fan ON")))
	webtest.Keep(t, ctx, "story-trial")
	if file() != string(kept) {
		t.Error("a trial has written the file")
	}
	webtest.Do(t, ctx, "is saved", chromedp.Click("#save"), webtest.Until(webtest.Shows("#toast", "Saved and in force")))
	if want := strings.Replace(string(kept), `set = "lamp"`, `set = "fan"`, 1); file() != want {
		t.Errorf("the file is\n%s\nwant\n%s", file(), want)
	}
	webtest.Do(t, ctx, "acts", chromedp.Navigate(l.page), webtest.Until(live), click("bell"), webtest.Until("!"+isOn("bell")), click("bell"), webtest.Until(isOn("fan")))
	webtest.Do(t, ctx, "is undone", chromedp.Navigate(l.page+"/edit/versions?of=1"), webtest.Until(live), webtest.Until(webtest.Shows(".diff .plus", "lamp")), chromedp.Click("#restore"),
		webtest.Until(`location.search === ''`), webtest.Until(webtest.Shows(".versions", "as in version 1")))
	if file() != string(kept) {
		t.Errorf("the file is\n%s", file())
	}
	other := webtest.Tab(t, ctx)
	webtest.Do(t, other, "the house", chromedp.Navigate(l.page), webtest.Until(live), webtest.Until(stands("Elsewhere in the house", "lamp")), webtest.Until(isOn("lamp")))
	webtest.Do(t, ctx, "the lamp gets a room", chromedp.Navigate(l.page+"/edit"), webtest.Until(live), webtest.Until(webtest.Shows("#state", "in order")),
		becomes(`pin = "GPIO17"`, "pin = \"GPIO17\"\nname = \"Ceiling lamp\"\nroom = \"Hall\""), webtest.Until(webtest.Shows("#state", "in order")),
		chromedp.Click("#save"), webtest.Until(webtest.Shows("#toast", "Saved and in force")))
	webtest.Do(t, other, "and stands there", webtest.Until(stands("Hall", "Ceiling lamp")), webtest.Until(stands("Elsewhere in the house", "fan")), webtest.Until(isOn("Ceiling lamp")))
	webtest.Keep(t, other, "story-rooms")
	webtest.Do(t, other, "and is told apart", click("Ceiling lamp"), webtest.Until("!"+isOn("Ceiling lamp")), chromedp.Navigate(l.page+"/why/lamp"), webtest.Until(webtest.Shows("h2", "Ceiling lamp")))
}

// Every page that the menu leads to, at the sizes of phones, tablets and desktops, light and
// dark. Nothing is wider than the screen; pictures are kept for eyes.
func TestEveryPageAtEverySize(t *testing.T) {
	ctx := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), wired).start(t)
	var paths []string
	webtest.Do(t, ctx, "the menu", chromedp.Navigate(l.page), webtest.Until(live), click("bell"), webtest.Until(isOn("lamp")),
		chromedp.Evaluate(`Array.from(document.querySelectorAll('nav a'), (a) => a.getAttribute('href'))`, &paths))
	if len(paths) < 2 {
		t.Fatalf("the menu leads to %q", paths)
	}
	for _, path := range paths {
		for _, size := range webtest.Sizes {
			for _, scheme := range []string{"light", "dark"} {
				webtest.Do(t, ctx, path, chromedp.EmulateViewport(size.Width, size.Height), webtest.Scheme(scheme), chromedp.Navigate(l.page+path),
					webtest.Until(live), webtest.Until(`document.documentElement.scrollWidth <= innerWidth`))
				webtest.Keep(t, ctx, strings.Join([]string{"page", strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"), size.Name, scheme}, "-"))
			}
		}
	}
}

// Anna, the first user, makes one for her guest, who comes in with it and may look and no more;
// and out he is when she takes him away.
func TestAUserIsMadeOnThePage(t *testing.T) {
	anna := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), "anonymous = false\n"+wired).start(t)
	link := l.setupLink(t)
	webtest.Do(t, anna, "the first user", chromedp.Navigate(link), chromedp.WaitVisible(`[name=again]`), chromedp.SetValue(`[name=user]`, "anna"),
		chromedp.SendKeys(`[name=password]`, "correct horse"), chromedp.SendKeys(`[name=again]`, "correct horse\r"), webtest.Until(live))
	webtest.Do(t, anna, "makes a second", chromedp.Click(`nav a[href="/users"]`), webtest.Until(live+` && location.pathname === '/users'`), chromedp.Click(`.add summary`),
		chromedp.SendKeys(`.add [name=name]`, "guest"), chromedp.SetValue(`.add [name=role]`, "see"), chromedp.SendKeys(`.add [name=password]`, "welcome here"), chromedp.SendKeys(`.add [name=again]`, "welcome here\r"),
		webtest.Until(webtest.Shows(".accounts", "guest")), webtest.Until(live))
	webtest.Keep(t, anna, "story-users")

	guest := webtest.Browser(t)
	webtest.Do(t, guest, "who comes in", chromedp.Navigate(l.page), webtest.Until(`location.pathname === '/login'`), chromedp.WaitVisible(`[name=user]`),
		chromedp.SendKeys(`[name=user]`, "guest"), chromedp.SendKeys(`[name=password]`, "welcome here\r"), webtest.Until(live),
		webtest.Until(`document.querySelector('[role=switch][aria-label=lamp]').hidden`), webtest.Until(`!document.querySelector('nav a[href="/users"]')`))
	webtest.Do(t, anna, "until she takes him away", chromedp.Evaluate(`window.confirm = () => true; Array.from(document.querySelectorAll('.accounts li')).find((li) => li.querySelector('b').textContent === 'guest').querySelector('[value=remove]').form.querySelector('button').click()`, nil),
		webtest.Until(live+` && !document.querySelector('.accounts').innerText.includes('guest')`))
	webtest.Do(t, guest, "which is the end at once", webtest.Until(`location.pathname === '/login'`))
}

// Somebody wants to know what the lamp did: its page has the bell that turned it on as the
// reason, and while one looks the chart goes on.
func TestWhatTheLampDid(t *testing.T) {
	ctx := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), wired).start(t)
	webtest.Do(t, ctx, "the bell turns the lamp on", chromedp.Navigate(l.page), webtest.Until(live), click("bell"), webtest.Until(isOn("lamp")))
	webtest.Do(t, ctx, "its page", chromedp.Click(`a.name[href="/thing/lamp"]`), webtest.Until(live), webtest.Until(`location.pathname === '/thing/lamp'`),
		webtest.Until(webtest.Shows(".changes li", "rule.bell fired")), webtest.Until(`!!document.querySelector('.changes a[href^="/why/lamp?at="]')`), webtest.Until(`!!document.querySelector('.plot[tabindex]')`))
	webtest.Do(t, ctx, "off, here", click("lamp"), webtest.Until(`!`+isOn("lamp")), webtest.Until(webtest.Shows("figcaption", "switched 2 times")))
	webtest.Keep(t, ctx, "story-thing")
	webtest.Do(t, ctx, "and the chart has both", webtest.Until(`document.querySelectorAll('.drawing rect.is-on').length === 1`))
}

// On the header of the board somebody flips the bell, and the lamp of its rule turns there and on
// another page. A fan that its own sensor contradicts is in fault until somebody acknowledges
// that. By hand one publishes what switches the lamp off, and hears what comes of it.
func TestTheHeaderAndTopics(t *testing.T) {
	one := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), wired+`
[output.pump]
pin = "GPIO22"
feedback = "pump_runs"
feedback_within = "200ms"
name = "Cellar pump"
room = "Cellar"
[input.pump_runs]
pin = "GPIO6"
`).start(t)
	other := webtest.Tab(t, one)
	webtest.Do(t, other, "the house", chromedp.Navigate(l.page), webtest.Until(live))
	level := func(name, is string) string {
		return fmt.Sprintf(`Array.from(document.querySelectorAll('.level')).some((e) => e.dataset.of === %q && e.textContent === %q)`, name, is)
	}
	webtest.Do(t, one, "the bell on the header", chromedp.Navigate(l.page+"/pins"), webtest.Until(live), chromedp.Click(`a[href="#pin-29"]`), chromedp.WaitVisible("#pin-29"), chromedp.Click("#pin-29 .switch"),
		webtest.Until(level("bell", "On")), webtest.Until(level("lamp", "On")), webtest.Until(webtest.Shows("#pin-29 pre", "[input.bell]")))
	webtest.Do(t, other, "and elsewhere the lamp", webtest.Until(isOn("lamp")), webtest.Until(stands("Cellar", "Cellar pump")), click("Cellar pump"), webtest.Until(webtest.Shows("#trouble", "Cellar pump:")))
	webtest.Do(t, one, "the pump is in fault", webtest.Until(level("pump", "Fault")), webtest.Until(webtest.Shows("a[href=\"#pin-15\"]", "Cellar pump")), chromedp.KeyEvent("\x1b"), chromedp.Click(`a[href="#pin-15"]`), chromedp.WaitVisible("#pin-15 .acknowledge"))
	webtest.Keep(t, one, "story-fault")
	webtest.Do(t, one, "and acknowledged", chromedp.Click("#pin-15 .acknowledge"), webtest.Until(level("pump", "Off")))
	webtest.Do(t, other, "which others see", webtest.Until(`!document.querySelector('#trouble').innerText.includes('pump')`))

	webtest.Do(t, one, "by hand", chromedp.Navigate(l.page+"/topics?filter=hearth/lamp/%23"), webtest.Until(live), chromedp.Click(".publish summary"), chromedp.SendKeys("[name=topic]", "hearth/lamp/set"),
		chromedp.SendKeys("[name=payload]", "OFF"), chromedp.Click("#publish button"), webtest.Until(webtest.Shows("#toast", "Published to hearth/lamp/set")), webtest.Until(webtest.Shows("#topics", "hearth/lamp/set")))
	webtest.Do(t, other, "the lamp is off", webtest.Until(`!`+isOn("lamp")), chromedp.Navigate(l.page+"/log"), webtest.Until(webtest.Shows(".log", `somebody published "OFF" to hearth/lamp/set`)))
	webtest.Do(t, other, "how it is", chromedp.Navigate(l.page+"/health"), webtest.Until(live), webtest.Until(webtest.Shows("[data-key=loop]", "ms")), chromedp.Navigate(l.page+"/clients"), webtest.Until(live))
}
