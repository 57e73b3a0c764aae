package web

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// manyThings is a house of so many devices with each kind of property in turn, in rooms.
func manyThings(n int) *smallHouse {
	house := newHouse()
	level := 21.5
	for i := range n {
		name := fmt.Sprintf("device_%02d", i)
		p := Property{Name: "state", Kind: []string{"switch", "level", "value", "cover", "switch", "level", "choice", "lock", "text", "number", "color", "button"}[i%12], Known: true, At: noon, Tells: i%12 != 2, See: []string{"zigbee2mqtt/" + name}, Use: []string{"zigbee2mqtt/" + name + "/set"}}
		switch p.Kind {
		case "level", "value":
			p.Level, p.Unit, p.Range = &level, "°C", &Range{Min: 5, Max: 30, Step: 0.5}
		case "cover":
			p.Text, p.Options = "open", []string{"open", "close", "stop"}
		case "choice":
			p.Text, p.Options = "heat", []string{"off", "heat", "auto"}
		case "lock":
			p.Text, p.Options = "locked", []string{"lock", "unlock"}
		case "text":
			p.Text, p.Range = "hello", &Range{Max: 20}
		case "number":
			p.Level, p.Unit = &level, "s"
		case "color":
			p.Text = "#ff8800"
		case "button":
			p.Known, p.At = false, time.Time{}
		}
		more := Property{Name: "power", Kind: "value", Level: &level, Unit: "W", Known: true, At: noon, See: p.See}
		house.view.Things = append(house.view.Things, Thing{Name: name, Label: fmt.Sprint("Device ", i), Room: fmt.Sprint("Room ", i/8), Properties: []Property{p, more}})
	}
	return house
}

func TestTelling(t *testing.T) {
	house := manyThings(4)
	s := New(house, Options{Log: quietLog})
	for body, want := range map[string]int{`{"value":22.5}`: 204, `{"value":"stop"}`: 204, `{"value":true}`: 204, `{"value":null}`: 400, `{"value":[1]}`: 400, `{}`: 400, `{"value":1}{}`: 400, `{"value":1,"x":2}`: 400,
		`{"value":"` + strings.Repeat("x", 3000) + `"}`: 413} {
		if w := ask(s, "POST", "/api/v1/thing/device_01.state", body); w.Code != want {
			t.Errorf("%.30s: %d %s", body, w.Code, w.Body)
		}
	}
	slices.Sort(house.told)
	if got := fmt.Sprint(house.told); got != "[device_01.state 22.5 device_01.state stop device_01.state true]" {
		t.Error(got)
	}
	if w := ask(s, "POST", "/api/v1/thing/device_00", `{"value":true}`, "Content-Type", "text/plain"); w.Code != 415 {
		t.Errorf("plain text: %d", w.Code)
	}
	if w := ask(s, "POST", "/api/v1/thing/nothing", `{"value":true}`); w.Code != 404 {
		t.Errorf("nothing: %d", w.Code)
	}

	// Who may not see a thing is told that there is none; who may only look, that.
	people := family()
	people.change(func(h *household) {
		h.rights["guest"] = part{Use, []string{"zigbee2mqtt/device_02", "zigbee2mqtt/device_01/set"}}
	})
	out := lan(house, people)
	guest := cookie(t, out, "guest")
	house.told = nil
	for name, want := range map[string]int{"device_00": 204, "device_01": 403, "device_01.state": 403, "device_02": 404, "device_02.power": 404, "device_00.power": 403, "nothing": 404, "device_00.nothing": 404} {
		if w := ask(out, "POST", "/api/v1/thing/"+name, `{"value":true}`, slices.Concat(from, guest)...); w.Code != want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if fmt.Sprint(house.told) != "[device_00.state true]" {
		t.Error(house.told)
	}
	for _, path := range []string{"/", "/api/v1/house"} {
		if w := get(out, path, guest...); w.Code != 200 || strings.Contains(w.Body.String(), "Device 2") || !strings.Contains(w.Body.String(), "Device 1") {
			t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		}
	}
}

// What things say of themselves, and what they were told, is said in the language of who looks, and
// a control that a thing does not take is not offered; also where no script runs.
func TestStatesInWords(t *testing.T) {
	house, level := newHouse(), 21.5
	house.view.Things = []Thing{{Name: "hall", Properties: []Property{
		{Name: "blind", Kind: "cover", Text: "closing", Options: []string{"open", "close"}, Known: true, Tells: true},
		{Name: "awning", Kind: "cover", Text: "closed", Options: []string{"open", "close", "stop"}, Asked: "open", Known: true, Tells: true},
		{Name: "door", Kind: "lock", Text: "jammed", Options: []string{"lock", "unlock", "open"}, Known: true, Tells: true},
		{Name: "mode", Kind: "choice", Text: "heat_cool", Options: []string{"off", "heat_cool", "turbo"}, Known: true, Tells: true},
		{Name: "preset", Kind: "choice", Text: "none", Options: []string{"none", "eco"}, Asked: "eco", Known: true, Tells: true},
		{Name: "window", Kind: "value", Text: "off", Known: true},
		{Name: "set", Kind: "level", Level: &level, Unit: "°C", Range: &Range{Max: 30, Step: 0.5}, Asked: "19.5", Known: true, Tells: true},
		{Name: "sign", Kind: "text", Text: "open", Known: true, Tells: true},
		{Name: "gone", Kind: "lock", Text: "locked", Options: []string{"lock", "unlock"}, Known: true, Away: true, Tells: true},
	}}}
	page := ask(New(house, Options{Log: quietLog}), "GET", "/", "", "Accept-Language", "de").Body.String()
	var states []string
	for _, found := range regexp.MustCompile(`class="state"[^>]*>([^<]*)<`).FindAllStringSubmatch(page, -1) {
		states = append(states, found[1])
	}
	if got, want := strings.Join(states[:9], ", "), "Schließt sich, Soll: Auf, Klemmt, Heizen oder kühlen, Soll: Eco, Aus, Soll: 19,5 °C, open, Nicht erreichbar"; got != want {
		t.Errorf("they are said to be %s, want %s", got, want)
	}
	for _, want := range []string{`of-cover asked"`, `data-tell="stop" disabled hidden>`, `<option value="turbo">turbo</option>`, `<option value="off">Aus</option>`, `<option value="heat_cool" selected>`, `<option value="eco" selected>`, `value="19.5" disabled`, `aria-label="hall, door"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if offered := regexp.MustCompile(`data-tell="open" disabled>`).FindAllString(page, -1); len(offered) != 3 {
		t.Errorf("to open is offered %d times, want by both covers and the lock that has a latch", len(offered))
	}
}

// firstPage is all that a browser is sent until the house is live, in bytes.
func firstPage(s *Server) (total int, parts string) {
	for _, path := range []string{"/", assetPath("style.css"), assetPath("icon.svg"), assetPath("js/home.js"), assetPath("js/live.js"), assetPath("js/lists.js"), assetPath("js/send.js"), assetPath("js/words.js")} {
		w := ask(s, "GET", path, "", "Accept-Encoding", "gzip")
		n := w.Body.Len() + 500 // headers
		total += n
		parts += fmt.Sprintf("%s %d, ", path[strings.LastIndex(path, "/")+1:], n)
	}
	return total, parts
}

func TestTheFirstPageIsSmall(t *testing.T) {
	house := manyThings(60)
	s := New(house, Options{Log: quietLog})
	total, parts := firstPage(s)
	v, _ := s.view(t.Context(), patience)
	stream := len(asJSON(v.seenBy(visitor{rights: everything{}}).ofThings()))
	t.Logf("%s the stream's beginning %d: %d bytes", parts, stream, total+stream)
	if total += stream; total > 60_000 {
		t.Errorf("%d bytes", total)
	}
}

// A house of 500 devices: the page is to be there in 300 ms, on a Pi too.
func BenchmarkAPageOf500Devices(b *testing.B) {
	s := New(manyThings(500), Options{Log: quietLog})
	for b.Loop() {
		if w := ask(s, "GET", "/", "", "Accept-Encoding", "gzip"); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

func TestPackedPagesAreThePages(t *testing.T) {
	s := New(manyThings(8), Options{Log: quietLog})
	for _, path := range []string{"/", "/log", "/api/v1/house", assetPath("style.css")} {
		z, err := gzip.NewReader(ask(s, "GET", path, "", "Accept-Encoding", "gzip").Body)
		if err != nil {
			t.Fatal(path, err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(z); err != nil || b.String() != ask(s, "GET", path, "").Body.String() {
			t.Errorf("%s is another one packed: %v", path, err)
		}
	}
	if w := ask(s, "GET", "/login?again=1", "", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
		t.Error("the login is packed, and may hold a secret")
	}
}

func TestThingsInABrowser(t *testing.T) {
	ctx := browser(t)
	house := manyThings(60)
	s := serve(t, house)
	do(t, ctx, "rooms", chromedp.Navigate("http://"+s.Addr()), chromedp.WaitVisible("body.live"), until(`document.querySelectorAll('.room').length === 9 && document.querySelectorAll('.thing').length === 65`))
	if wrong := audit(t, ctx, axeOf(t)); len(wrong) > 0 {
		t.Errorf("axe: %s", strings.Join(wrong, "\n"))
	}
	var missed []string
	if do(t, ctx, "targets", chromedp.Evaluate(missable, &missed)); len(missed) > 0 {
		t.Errorf("too small for a finger: %s", strings.Join(missed, "\n"))
	}
	do(t, ctx, "who counts", chromedp.Evaluate(`window.touched = []; new MutationObserver((all) => all.forEach((m) => window.touched.push(m.target))).observe(document.querySelector('main'), {subtree: true, childList: true, characterData: true, attributes: true})`, nil))
	news := house.view.Things[2]
	level := 7.25
	news.Properties = slices.Clone(news.Properties)
	news.Properties[0].Level = &level
	house.mu.Lock()
	house.view.Things[2] = news
	house.tell(Event{Thing: &news})
	house.mu.Unlock()
	do(t, ctx, "one value is one node", until(shows("#rooms", "7.25 °C")), until(`window.touched.length === 1 && window.touched[0].className === 'state'`))

	do(t, ctx, "a level is told when it is let go", chromedp.Evaluate(`(() => { const r = document.querySelector('input[type=range]'); for (let i = 0; i < 50; i++) { r.value = 10 + i % 9; r.dispatchEvent(new Event('input', {bubbles: true})); } r.value = 25; r.dispatchEvent(new Event('change', {bubbles: true})); })()`, nil),
		until(shows(".of-level .state", "Asked: 25 °C")))
	do(t, ctx, "a cover is told to stop", chromedp.Click(`[data-tell=stop]`, chromedp.NodeVisible), until(shows(".of-cover .state", "Asked: Stop")))
	do(t, ctx, "a mode is chosen", chromedp.Evaluate(`(() => { const s = document.querySelector('.of-choice select'); s.value = 'auto'; s.dispatchEvent(new Event('change', {bubbles: true})); })()`, nil), until(shows(".of-choice .state", "Asked: Automatic")))
	do(t, ctx, "and a door locked", until(shows(".of-lock .state", "Locked")), until(`document.querySelector(".of-lock [data-tell=open]").hidden`), chromedp.Click(`[data-tell=unlock]`, chromedp.NodeVisible), until(shows(".of-lock .state", "Asked: Unlock")))
	do(t, ctx, "a text is typed, and taken back", chromedp.SendKeys(".of-text input", "xx"+kb.Escape, chromedp.NodeVisible), until(`document.querySelector('.of-text input').value === 'hello'`),
		chromedp.SendKeys(".of-text input", " you"+kb.Enter), until(shows(".of-text .state", "Asked: hello you")), chromedp.Evaluate(`document.activeElement.blur()`, nil))
	do(t, ctx, "a number", chromedp.SetValue(".of-number input", ""), chromedp.SendKeys(".of-number input", "90"+kb.Tab, chromedp.NodeVisible), until(shows(".of-number .state", "Asked: 90 s")))
	do(t, ctx, "and a colour is chosen", chromedp.Evaluate(`(() => { const i = document.querySelector('.of-color input'); if (i.value !== '#ff8800') throw i.value; i.value = '#0000ff'; i.dispatchEvent(new Event('change', {bubbles: true})); })()`, nil), until(shows(".of-color .state", "Asked: #0000ff")))
	do(t, ctx, "a button is pressed, and has no state", until(`document.querySelector('.of-button .what').hidden`), chromedp.Click(".of-button button", chromedp.NodeVisible), until(shows("#toast", "Device 11, state was pressed")), until(`document.querySelector('.of-button .what').hidden && !document.querySelector('.of-button.asked')`))
	eventually(t, "they are told", func() bool {
		house.mu.Lock()
		defer house.mu.Unlock()
		slices.Sort(house.told) // they may overtake each other
		return fmt.Sprint(house.told) == "[device_01.state 25 device_03.state stop device_06.state auto device_07.state unlock device_08.state hello you device_09.state 90 device_10.state #0000ff device_11.state true]"
	})
	asked := house.view.Things[0]
	asked.Properties = slices.Clone(asked.Properties)
	asked.Properties[0].Asked = "on"
	elsewhere := house.view.Things[5]
	elsewhere.Properties = slices.Clone(elsewhere.Properties)
	elsewhere.Properties[0].Asked = "7.5"
	away := house.view.Things[2]
	away.Away = true
	house.mu.Lock()
	house.tell(Event{Thing: &asked})
	house.tell(Event{Thing: &away})
	house.tell(Event{Thing: &elsewhere})
	house.mu.Unlock()
	do(t, ctx, "what the house has asked for shows so, and what is away", until(shows(".of-switch .state", "Asked on")), until(`document.querySelector('.thing.away .state').textContent === 'Unavailable'`))
	do(t, ctx, "a slider stands where somebody else has asked it to be", until(`document.querySelectorAll('.of-level input')[1].value === '7.5'`))
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}

// What somebody has typed half is told nobody, whatever becomes of the thing meanwhile; and
// nothing is told by who changed nothing.
func TestWhatIsHalfTypedIsNotTold(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	display := func(room, text string) Thing {
		return Thing{Name: "display", Room: room, Properties: []Property{{Name: "text", Kind: "text", Known: true, Text: text, Tells: true}}}
	}
	meter := func(kind string) Thing {
		level := 5.0
		return Thing{Name: "meter", Room: "A", Properties: []Property{{Name: "n", Kind: kind, Known: true, Level: &level, Range: &Range{Max: 100, Step: 1}, Tells: true}}}
	}
	house.view.Things = []Thing{display("A", "hello"), meter("number")}
	become := func(thing Thing) {
		house.mu.Lock()
		defer house.mu.Unlock()
		house.view.Things[slices.IndexFunc(house.view.Things, func(o Thing) bool { return o.Name == thing.Name })] = thing
		house.tell(Event{Thing: &thing})
	}
	s := serve(t, house)
	text, number := `#rooms [aria-label="display, text"]`, `#rooms [aria-label="meter, n"]`
	do(t, ctx, "it is typed", chromedp.Navigate("http://"+s.Addr()), chromedp.WaitVisible("body.live"), chromedp.SendKeys(text, "half"))
	become(display("B", "hello"))
	do(t, ctx, "and the thing is elsewhere", until(`document.querySelectorAll('.room').length === 3`), chromedp.SendKeys(number, "7"))
	become(meter("level"))
	do(t, ctx, "or another", until(`document.querySelector('#rooms [type=range]')`))
	become(meter("number"))
	do(t, ctx, "a field that one leaves", chromedp.SendKeys(text, "half"), chromedp.Evaluate(`document.activeElement.blur()`, nil), until(`document.querySelector('`+text+`').value === 'hello'`))
	do(t, ctx, "one that is taken back", chromedp.SendKeys(number, "3"+kb.Escape), chromedp.Evaluate(`document.activeElement.blur()`, nil), until(`document.querySelector('`+number+`').value === '5'`))
	become(display("B", strings.Repeat("x", mostTyped+1)))
	do(t, ctx, "and one of which the text is too long", until(`document.querySelector('`+text+`').value === ''`), chromedp.SendKeys(text, kb.Enter), chromedp.Evaluate(`document.activeElement.blur()`, nil))
	become(display("B", "hello"))
	do(t, ctx, "what is told is told", until(`document.querySelector('`+text+`').value === 'hello'`), chromedp.SendKeys(text, " you"+kb.Enter), until(shows(".of-text .state", "Asked: hello you")),
		chromedp.SendKeys(number, "6"+kb.Enter), until(shows(".of-number .state", "Asked")))
	eventually(t, "and nothing else was", func() bool {
		house.mu.Lock()
		defer house.mu.Unlock()
		if len(house.told) > 1 && !slices.Equal(house.told, []string{"display.text hello you", "meter.n 56"}) {
			t.Fatalf("told %q", house.told)
		}
		return len(house.told) == 2
	})
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}

// What is refused is not so: a choice is what it was, and what was typed can be told once more.
func TestWhatIsRefusedIsNotShown(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	level := 5.0
	house.view.Things = []Thing{{Name: "alarm", Properties: []Property{{Kind: "choice", Known: true, Text: "off", Options: []string{"off", "armed"}, Tells: true}, {Name: "n", Kind: "number", Known: true, Level: &level, Tells: true}}}}
	house.refuses = errors.New("no move leads there")
	s := serve(t, house)
	do(t, ctx, "it is refused", chromedp.Navigate("http://"+s.Addr()), chromedp.WaitVisible("body.live"), chromedp.Focus("#rooms select"),
		chromedp.Evaluate(`(() => { const s = document.activeElement; s.value = 'armed'; s.dispatchEvent(new Event('change', {bubbles: true})); })()`, nil),
		until(shows("#toast", "no move leads there")), until(`document.querySelector('#rooms select').value === 'off' && document.querySelector('.of-choice .state').textContent === 'Off'`))
	field := "#rooms [type=number]"
	do(t, ctx, "and so is a number", chromedp.SendKeys(field, "7"+kb.Enter), until(`!document.querySelector('.asked')`))
	house.mu.Lock()
	house.refuses = nil
	house.mu.Unlock()
	do(t, ctx, "which is told once more", chromedp.SendKeys(field, kb.Enter), until(`document.querySelector('.of-number .state').textContent === 'Asked: ' + document.activeElement.value && document.activeElement.value.length === 2`))
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}
