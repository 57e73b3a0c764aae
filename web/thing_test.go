package web

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"hearth/devices"
	"hearth/history"
	"hearth/rules"
	"hearth/web/webtest"
)

// livedIn is a house with a day behind it: a temperature that rises and falls with a gap in the
// evening, a heater, a mode that is a text, and a power.
func livedIn(t testing.TB, house *smallHouse, began time.Time) {
	t.Helper()
	house.remember(t, began)
	for i := range 24 * 12 { // every five minutes
		at := began.Add(time.Duration(i) * 5 * time.Minute)
		switch {
		case i == 60:
			house.said(at, "kitchen.temperature", "°C", nil) // unavailable for two hours
		case i > 60 && i < 84:
		default:
			house.said(at, "kitchen.temperature", "°C", float64(180+i%96)/10)
		}
		if i%48 == 0 {
			house.said(at, "heater", "", i%96 == 0)
			house.said(at, "kitchen.mode", "", []string{"eco", "comfort", "away"}[i/48%3])
		}
		house.said(at, "kitchen.power", "W", float64(i%12*50))
	}
	house.at(began.Add(24 * time.Hour))
	level, power := 21.5, 100.0
	house.view.Now = began.Add(24 * time.Hour)
	house.view.Things = append(house.view.Things, Thing{Name: "kitchen", Label: "Kitchen", Room: "Kitchen", Properties: []Property{
		{Name: "temperature", Kind: "value", Level: &level, Unit: "°C", Known: true, Series: "kitchen.temperature", See: []string{"zigbee2mqtt/kitchen"}},
		{Name: "mode", Kind: "value", Text: "eco", Known: true, Series: "kitchen.mode", See: []string{"zigbee2mqtt/kitchen"}},
		{Name: "power", Kind: "value", Level: &power, Unit: "W", Known: true, Series: "kitchen.power", See: []string{"zigbee2mqtt/kitchen"}},
	}})
	for _, name := range []string{"kitchen.temperature", "kitchen.mode", "kitchen.power"} {
		house.memory.topics[name] = []string{"zigbee2mqtt/kitchen"}
	}
	house.memory.topics["heater"] = []string{seen("heater")}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s is another one (-update rewrites it): %v\n%s", name, err, got)
	}
}

// A month of a house that is a day old says since when it is, and leads there.
func TestAChartOfAYoungHouse(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	s := New(house, Options{Log: quietLog})
	page := func(query string) string { return ask(s, "GET", "/thing/kitchen.temperature"+query, "").Body.String() }
	month := page("?range=month&with=kitchen.mode")
	for _, want := range []string{`<p class="since">Recorded since 10 Mar 12:00.`, `<rect class="nothing" x="0" y="0" width="9`, `>Recorded since 10 Mar 12:00.</text>`} {
		if !strings.Contains(month, want) {
			t.Errorf("the month lacks %s", want)
		}
	}
	there := regexp.MustCompile(`<a href="([^"]*)">Show from there on`).FindStringSubmatch(month)
	if there == nil {
		t.Fatal("nothing leads to where it begins")
	}
	began := ask(s, "GET", html.UnescapeString(there[1]), "").Body.String()
	if !strings.Contains(began, "10 Mar 12:00 to 11 Mar 12:00") || !strings.Contains(began, `class="state-of s1"`) || strings.Contains(began, "Recorded since") {
		t.Errorf("%s does not show all that there is", there[1])
	}
	if before := page("?day=2026-03-01"); !strings.Contains(before, "Recorded since 10 Mar 12:00.") || !strings.Contains(before, "Nothing is recorded of this time.") {
		t.Error("a day before does not say so")
	}
	if day := page("?from=2026-03-10T14:00:00%2B01:00&to=2026-03-10T20:00:00%2B01:00"); strings.Contains(day, "Recorded since") {
		t.Error("an afternoon of that day says it, too")
	}
}

// The page of a thing, by links and forms alone.
func TestThePageOfAThing(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	now := noon.Add(24 * time.Hour)
	d := rules.Decision{ID: 7, At: house.at(now), Rule: "rule.heater", Outcome: rules.Fired, Trigger: "kitchen.temperature below 19 (now 18.4)", Commands: []devices.Command{{Output: "heater", Value: true}}}
	house.memory.past.Decided(d, nil)
	on := devices.Reading{Source: "heater", Value: true, Text: "ON", At: house.at(now.Add(time.Second)), Origin: devices.Origin{Decision: 7}}
	house.memory.past.Seen(on, "")
	off := devices.Reading{Source: "heater", Value: false, Text: "OFF", At: house.at(now.Add(time.Minute)), Origin: devices.Origin{By: "anna"}}
	house.memory.past.Seen(off, "")
	house.at(now.Add(2 * time.Minute))
	house.change(func(v *View) { v.Now = now.Add(2 * time.Minute) })
	s := New(house, Options{Log: quietLog})
	has := func(path string, wants ...string) string {
		t.Helper()
		w := ask(s, "GET", path, "")
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		for _, want := range wants {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
		return w.Body.String()
	}
	heater := has("/thing/heater", "<title>heater · home · Hearth</title>", `role="switch" aria-label="heater"`, "GPIO22", "hearth/heater/state",
		`<b>Off</b> <span class="because">anna</span></span> <a class="ask" href="/why/heater?at=2026-03-11T12%3A01%3A00%2B01%3A00">`,
		`<b>On</b> <span class="because">rule.heater fired: kitchen.temperature below 19 (now 18.4) -&gt; heater ON</span>`,
		"<dt>On for</dt><dd>11 h 45 min", "<dt>Switched</dt><dd>7</dd>")
	if strings.Index(heater, "<b>Off</b>") > strings.Index(heater, "<b>On</b>") {
		t.Error("the newest change is not the first")
	}
	has("/thing/kitchen", "<title>Kitchen, temperature · home · Hearth</title>", `href="/thing/kitchen.power"`, "<dt>Least</dt><dd>18 °C <span>10 Mar 20:00</span>")
	has("/thing/kitchen.power", "<dt>Energy</dt><dd>6.6", "kWh", "<option value=\"kitchen.temperature\">Kitchen, temperature</option>", "per hour</a>")
	has("/thing/kitchen.mode", "<dt>Eco</dt><dd>7 h 45 min</dd>", `<text class="word state-1 minor" x="6" y="18">Comfort</text>`)
	has("/thing/doorbell", "Nothing is recorded of this time.", "doorbell: nothing is known.")
	has("/thing/"+url.PathEscape("kitchen.temperature"), `<h2 class="subject">Kitchen, temperature</h2>`)
	has("/log", `href="/thing/zigbee2mqtt%2Fhall_motion:occupancy"`)

	day := has("/thing/kitchen.temperature?day=2026-03-10&with=heater&with=kitchen.mode&with=kitchen.power&with=doorbell&with=heater", "10 Mar 00:00 to 11 Mar 00:00", "heater ×", `value="2026-03-10"`, `rel="prev"`, `rel="next"`)
	if strings.Contains(day, "doorbell ×") || strings.Count(day, `class="state-of`) != 2 || strings.Contains(day, `<select name="with"`) {
		t.Error("more than four together")
	}
	link := regexp.MustCompile(`href="([^"]*)" rel="prev"`).FindStringSubmatch(day)
	has(html.UnescapeString(link[1]), "9 Mar 00:00 to 10 Mar 00:00", "heater ×", `aria-current="true">Day`)
	if week := has("/thing/kitchen.temperature?range=week", "4 Mar 14:00 to 11 Mar 14:00"); strings.Contains(week, `rel="next"`) {
		t.Error("it leads to what is to come")
	}
	has("/thing/kitchen.temperature?range=month", "11 Feb 18:00 to 11 Mar 18:00")
	has("/thing/kitchen.temperature?range=year", "Kitchen, temperature: between 18 °C and 27.5 °C")
	has("/thing/kitchen.temperature?from=2026-03-10T13:00&to=2026-03-10T13:30", "10 Mar 13:00 to 10 Mar 13:30", `name="from" value="2026-03-10T13:00:00&#43;01:00"`, "13:05</text>")
	for path, want := range map[string]int{"/thing/nothing": 404, "/thing/": 404, "/thing/kitchen.nothing": 404, "/thing/heater?range=decade": 400, "/thing/heater?day=x": 400, "/thing/heater?from=x": 400, "/thing/heater?from=2026-03-10&to=2026-03-09": 400, "/thing/heater?with=nothing": 200, "/chart/nothing": 404} {
		if w := ask(s, "GET", path, ""); w.Code != want {
			t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
		}
	}
	if w := ask(s, "GET", "/chart/kitchen.power?range=week", "", person...); w.Code != 303 || w.Header().Get("Location") != "/thing/kitchen.power?range=week" {
		t.Errorf("who opens a chart alone is not led to its page: %d %s", w.Code, w.Header().Get("Location"))
	}
	german := ask(s, "GET", "/thing/heater?with=kitchen.temperature", "", "Accept-Language", "de").Body.String()
	for _, want := range []string{"Letzte Änderungen", "11 h 45 min an, 7-mal geschaltet.", "zwischen 18 °C und 27,5 °C", "Als Tabelle", "11. März"} {
		if !strings.Contains(german, want) {
			t.Errorf("in German it lacks %s", want)
		}
	}
}

// On a day of 25 hours the chart has 25, and the clock's name for each moment.
func TestADayOf25Hours(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	began := time.Date(2026, 10, 24, 20, 0, 0, 0, berlin)
	house := newHouse()
	house.remember(t, began)
	for i := range 40 {
		house.said(began.Add(time.Duration(i)*time.Hour), "x", "W", float64(i))
	}
	house.at(began.Add(40 * time.Hour))
	house.change(func(v *View) { v.Now = began.Add(40 * time.Hour) })
	s := New(house, Options{Log: quietLog})
	page := ask(s, "GET", "/thing/x?day=2026-10-25", "").Body.String()
	for _, want := range []string{"25 Oct 00:00 to 26 Oct 00:00", `x="36%" y="232" dy="18">08:00`, `"zone":[[1792879200000,7200],[1792890000000,3600]]`, "x: between 4 W and 28 W"} {
		if !strings.Contains(page, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	rows, err := csv.NewReader(ask(s, "GET", "/api/v1/history/x.csv?by=hour&from=2026-10-25&to=2026-10-26", "").Body).ReadAll()
	if err != nil || len(rows) != 26 || rows[3][0] != "2026-10-25T02:00:00+02:00" || rows[4][0] != "2026-10-25T02:00:00+01:00" {
		t.Errorf("%d rows, %v: %q", len(rows), err, rows)
	}
}

// attributes and data are what nobody reads.
var attributes = regexp.MustCompile(`="[^"]*"|(?s)<script type="application/json".*?</script>`)

// Whatever a thing, a series or a value is called, it is text on these pages.
func TestHostileNamesOnThePageOfAThing(t *testing.T) {
	for _, evil := range hostile {
		if evil == "" || len(evil) > 1000 {
			evil = strings.ToValidUTF8(evil[:min(len(evil), 190)], "") + "x"
		}
		house := newHouse()
		house.remember(t, noon)
		for i := range 3 {
			house.said(noon.Add(time.Duration(i)*time.Minute), evil, evil, evil)
			house.said(noon.Add(time.Duration(i)*time.Minute), "power", evil, float64(i))
			r := devices.Reading{Source: "power", Value: nil, Gone: true, Bad: evil, At: house.at(noon.Add(time.Duration(i)*time.Minute + time.Second)), Origin: devices.Origin{By: evil}}
			house.memory.past.Seen(r, evil)
		}
		house.at(noon.Add(time.Hour))
		level := 2.0
		house.change(func(v *View) {
			v.Now = noon.Add(time.Hour)
			v.Things = []Thing{{Name: "plain", Label: evil, Room: evil, Line: evil, Hint: evil, Properties: []Property{
				{Name: "power", Label: evil, Kind: "value", Level: &level, Unit: evil, Known: true, Series: "power", See: []string{evil}},
				{Name: "mode", Label: evil, Kind: "value", Text: evil, Known: true, Series: evil, See: []string{evil}},
			}}}
		})
		s := New(house, Options{Log: quietLog})
		for _, path := range []string{"/thing/plain.power?with=plain.mode", "/thing/plain.mode", "/thing/" + url.PathEscape(evil), "/chart/plain.mode?with=plain.power", "/thing/" + url.PathEscape("no"+evil), "/api/v1/history/" + url.PathEscape(evil), "/api/v1/history"} {
			w := ask(s, "GET", path, "")
			body := w.Body.String()
			if w.Code != 200 && w.Code != 404 || strings.HasPrefix(path, "/thing/plain") && w.Code != 200 {
				t.Errorf("%q: %d %.200s", path, w.Code, body)
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				shown := attributes.ReplaceAllString(body, "")
				for _, bad := range []string{"<script>alert", "<img src=x", "</li><h1>", `href="javascript:`, `action="javascript:`, "ZgotmplZ"} {
					if strings.Contains(body, bad) {
						t.Errorf("%q has %q", path, bad)
					}
				}
				for _, bad := range []string{"\u202e", "\x1b", "\x00"} {
					if strings.Contains(shown, bad) {
						t.Errorf("%q has %q", path, bad)
					}
				}
			} else if !json.Valid(w.Body.Bytes()) {
				t.Errorf("%q is no JSON: %.200s", path, body)
			}
		}
	}
}

// What is asked for before anything is shown stays small.
func TestAPageOfAThingIsSmall(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	s := New(house, Options{Log: quietLog})
	for path, most := range map[string]int{"/thing/kitchen.temperature": 12_000, "/thing/kitchen.temperature?with=heater&with=kitchen.power&with=kitchen.mode": 16_000, "/chart/kitchen.power?range=year": 8_000} {
		n := ask(s, "GET", path, "", "Accept-Encoding", "gzip").Body.Len()
		t.Logf("%s: %d bytes", path, n)
		if n > most {
			t.Errorf("%s: %d bytes, want at most %d", path, n, most)
		}
	}
}

// Someone opens a thing from the page of the house, chooses a week, zooms by keyboard, reads
// out a moment, and what the house tells goes on.
func TestTheChartInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	livedIn(t, house, noon)
	s := New(house, Options{Log: quietLog})
	var held atomic.Pointer[chan struct{}] // charts are answered for once it is closed
	answers := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if until := held.Load(); until != nil && strings.HasPrefix(r.URL.Path, "/chart/") {
			<-*until
		}
		answers.ServeHTTP(w, r)
	})
	listenOn(t, s, "127.0.0.1:0")
	t.Cleanup(func() { s.Close() })
	do(t, ctx, "the house, with a spark behind a number", chromedp.Navigate("http://"+s.Addr()), chromedp.WaitVisible("body.live"),
		until(`document.querySelectorAll('.spark path[d^=M]').length === 2`))
	keepScreenshot(t, ctx, "home-sparks")
	do(t, ctx, "a name leads to its page", chromedp.EmulateViewport(800, 1000), chromedp.Click(`a.title[href="/thing/kitchen.temperature"]`), chromedp.WaitVisible("#chart .line.s0"), chromedp.WaitVisible("body.live"),
		until(shows("figcaption", "between 18 °C and 27.5 °C")), until(`document.title === 'Kitchen, temperature · home · Hearth'`))
	do(t, ctx, "a week", chromedp.Click(`.ranges li:nth-child(2) a`), chromedp.WaitVisible("body.live"), until(`location.search === '?range=week' && document.querySelector('.ranges [aria-current]').textContent === 'Week'`))
	do(t, ctx, "and the day again", chromedp.Click(`.ranges li:nth-child(1) a`), chromedp.WaitVisible("body.live"), until(`location.search === '?range=day'`), chromedp.WaitVisible(".plot[tabindex]"))

	do(t, ctx, "arrow keys read it out", chromedp.Focus(".plot"), chromedp.KeyEvent(kb.Home), until(shows(".readout", "2026-03-10 12:15: 18.3 °C")),
		chromedp.KeyEvent(kb.ArrowRight), until(shows(".readout", "12:20: 18.4 °C")), chromedp.KeyEvent(kb.PageDown), chromedp.KeyEvent(kb.PageDown), until(shows(".readout", "17:08: Not known")),
		chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft), until(shows(".readout", "16:53: 23.8 °C")))
	do(t, ctx, "plus zooms about what is read out", chromedp.KeyEvent("+"), until(`document.querySelectorAll('.ranges [aria-current]').length === 0 && location.search.includes('from=2026-03-10T13')`),
		until(`document.activeElement.className === 'plot'`), until(shows(".readout", "16:5")), chromedp.KeyEvent("-"), until(`location.search.includes('from=2026-03-10T11:15') || location.search.includes('from=2026-03-10T11%3A15')`))
	do(t, ctx, "and so do buttons", chromedp.Click("[data-zoom=in]"), until(`location.search.includes('from=2026-03-10T13')`), until(`document.activeElement.dataset.zoom === 'in'`))
	answer := make(chan struct{})
	held.Store(&answer)
	place := `(() => { const box = document.querySelector('.plot').getBoundingClientRect(); return Math.round(document.querySelector('.drawing').getBoundingClientRect().left - box.left); })()`
	do(t, ctx, "a mouse reads out and moves", chromedp.ActionFunc(func(ctx context.Context) error {
		var y float64
		if err := chromedp.Evaluate(`(() => { const plot = document.querySelector('.plot'); plot.scrollIntoView({block: 'center'}); const box = plot.getBoundingClientRect(); return box.top + box.height / 2; })()`, &y).Do(ctx); err != nil {
			return err
		}
		for _, e := range []*input.DispatchMouseEventParams{input.DispatchMouseEvent(input.MouseMoved, 400, y), input.DispatchMouseEvent(input.MousePressed, 400, y).WithButton(input.Left).WithClickCount(1),
			input.DispatchMouseEvent(input.MouseMoved, 300, y).WithButton(input.Left), input.DispatchMouseEvent(input.MouseReleased, 300, y).WithButton(input.Left).WithClickCount(1)} {
			if err := e.Do(ctx); err != nil {
				return err
			}
		}
		return nil
	}), until(place+` === -100`), chromedp.ActionFunc(func(context.Context) error { held.Store(nil); close(answer); return nil }), // the picture stays where it was dropped until there is another
		until(place+` === 0`), until(`location.search.includes('from=2026-03-10T14') || location.search.includes('from=2026-03-10T15')`))

	do(t, ctx, "a finger reads out, two zoom", chromedp.Navigate("http://"+s.Addr()+"/thing/kitchen.temperature"), chromedp.WaitVisible("body.live"), chromedp.WaitVisible(".plot[tabindex]"),
		chromedp.ActionFunc(func(ctx context.Context) error {
			var box struct{ Left, Width, Y float64 }
			if err := chromedp.Evaluate(`(() => { const plot = document.querySelector('.plot'); plot.scrollIntoView({block: 'center'}); const box = plot.getBoundingClientRect(); return {Left: box.left, Width: box.width, Y: box.top + box.height / 2}; })()`, &box).Do(ctx); err != nil {
				return err
			}
			touch := func(kind input.TouchType, at ...float64) error {
				points := []*input.TouchPoint{}
				for i, share := range at {
					points = append(points, &input.TouchPoint{X: box.Left + share*box.Width, Y: box.Y, ID: float64(i + 1)})
				}
				return input.DispatchTouchEvent(kind, points).Do(ctx)
			}
			for _, err := range []error{touch(input.TouchStart, 0.4), touch(input.TouchMove, 0.5), touch(input.TouchEnd), until(shows(".readout", "2026-03-11 00:15")).Do(ctx),
				touch(input.TouchStart, 0.4, 0.6), touch(input.TouchMove, 0.3, 0.7), touch(input.TouchEnd)} {
				if err != nil {
					return err
				}
			}
			return nil
		}), until(`location.search.includes('from=2026-03-10T17:15') || location.search.includes('from=2026-03-10T17%3A15')`)) // half of it, about the same middle
	do(t, ctx, "the day, live", chromedp.Navigate("http://"+s.Addr()+"/thing/kitchen.temperature?with=heater"), chromedp.WaitVisible("body.live"), chromedp.WaitVisible(".plot[tabindex]"),
		until(shows(".chart .shown", "heater")), until(`!document.querySelector('.line.live')`))
	news := house.view.Things[0]
	level := 24.5
	news.Properties = slices.Clone(news.Properties)
	news.Properties[0].Level, news.Properties[0].At = &level, noon.Add(24*time.Hour+time.Second)
	house.mu.Lock()
	house.view.Things[0] = news
	house.tell(Event{Thing: &news})
	house.mu.Unlock()
	do(t, ctx, "a reading goes on", until(`!!document.querySelector('.line.live')`), until(`/^M[\d.]+ [\d.]+L989.[67] 73.3$/.test(document.querySelector('.line.live').getAttribute('d'))`), until(shows("#subject", "24.5 °C")))
	house.said(noon.Add(24*time.Hour+time.Second), "heater", "", true)
	house.at(noon.Add(24*time.Hour + 10*time.Minute))
	house.change(func(v *View) { v.Now = noon.Add(24*time.Hour + 10*time.Minute) })
	house.Switch(ctx, "heater", false)
	do(t, ctx, "a state is drawn anew", until(`document.querySelectorAll('.drawing rect.is-on').length === 4`))
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}

// While no hub ran nobody knew what state a thing was in, nor after that until it said so again;
// a restart of seconds is not to be seen.
func TestAStateOverARestart(t *testing.T) {
	house := newHouse()
	house.remember(t, noon)
	dir := t.TempDir()
	again := func(at time.Time) {
		t.Helper()
		house.at(at)
		if house.memory.past != nil {
			house.memory.past.Close()
		}
		past, err := history.Open(dir, history.Config{}, history.Options{Zone: noon.Location(), Boot: "x", Now: func() devices.Now {
			house.past.Lock()
			defer house.past.Unlock()
			return house.memory.now
		}})
		if err != nil {
			t.Fatal(err)
		}
		house.memory.past = past
	}
	t.Cleanup(func() { house.memory.past.Close() })
	hour := func(n float64) time.Time { return noon.Add(time.Duration(n * float64(time.Hour))) }
	again(noon)
	house.said(noon, "mode", "", "eco")
	house.said(hour(6), "other", "", "x")
	again(hour(12))
	house.said(hour(12), "other", "", "y")
	house.said(hour(14), "mode", "", "eco")
	house.said(hour(18), "other", "", "x")
	again(hour(18).Add(time.Second))
	house.said(hour(18).Add(2*time.Second), "mode", "", "eco")
	house.change(func(v *View) { v.Now = hour(24) })
	house.at(hour(24))
	page := ask(New(house, Options{Log: quietLog}), "GET", "/chart/mode?from=2026-03-10T12:00:00%2B01:00&to=2026-03-11T12:00:00%2B01:00", "").Body.String()
	var parts []string
	for _, found := range regexp.MustCompile(`<title>(Eco [^<]*)</title>`).FindAllStringSubmatch(page, -1) {
		parts = append(parts, found[1])
	}
	if got := strings.Join(parts, ", "); got != "Eco 10 Mar 12:00 – 10 Mar 18:00, Eco 11 Mar 02:00 – 11 Mar 12:00" {
		t.Errorf("it was %s", got)
	}
}

// What changes more often than can be drawn is drawn as its share of each stretch, or as far as
// it can be, and the page says so.
func TestAStateThatNeverRests(t *testing.T) {
	house := newHouse()
	house.remember(t, noon)
	for i := range 3000 {
		house.said(noon.Add(time.Duration(i)*20*time.Second), "flicker", "", i%2 == 0)
		house.said(noon.Add(time.Duration(i)*20*time.Second), "words", "", []string{"up", "down", "left"}[i%3])
	}
	house.said(noon.Add(17*time.Hour), "words", "", "still")
	house.at(noon.Add(20 * time.Hour))
	house.change(func(v *View) { v.Now = noon.Add(20 * time.Hour) })
	s := New(house, Options{Log: quietLog})
	page := ask(s, "GET", "/chart/flicker", "").Body.String()
	if n := strings.Count(page, "<rect"); n > 600 || !strings.Contains(page, "53 % 10 Mar 12:") || !strings.Contains(page, "switched 2999 times") || strings.Contains(page, `class="cut"`) {
		t.Errorf("%d rectangles:\n%.3000s", n, page)
	}
	page = ask(s, "GET", "/chart/words", "").Body.String()
	if n := strings.Count(page, "<rect"); n > 600 || !strings.Contains(page, ">still</text>") || !strings.Contains(page, "It changed so often") {
		t.Errorf("%d rectangles:\n%.3000s", n, page)
	}
}

func TestScreenshotsOfCharts(t *testing.T) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	house := newHouse()
	livedIn(t, house, noon)
	s := serve(t, house)
	year, _ := aYear(t)
	old := serve(t, year)
	shots := map[string]string{"year-of-minutes": "/thing/hall.temperature?range=year&with=heater", "month-of-minutes": "/thing/hall.temperature?range=month", "number": "/thing/kitchen.temperature", "together": "/thing/kitchen.temperature?with=kitchen.power&with=heater&with=kitchen.mode", "state": "/thing/heater", "text": "/thing/kitchen.mode", "empty": "/thing/doorbell"}
	for name, path := range shots {
		addr := s.Addr()
		if strings.Contains(path, "hall") {
			addr = old.Addr()
		}
		for _, size := range webtest.Sizes {
			for _, scheme := range []string{"light", "dark"} {
				do(t, ctx, "a size", chromedp.EmulateViewport(size.Width, size.Height), webtest.Scheme(scheme),
					chromedp.Navigate("http://"+addr+path), until(`document.body.className === 'live'`), until(`document.documentElement.scrollWidth <= innerWidth`))
				shoot(t, ctx, "chart-"+name+"-"+size.Name+"-"+scheme)
			}
		}
	}
}

// Where a page names something by what the configuration calls it, people read the name that they
// gave it, with the property; what they gave none stays as it is written.
func TestWhatPeopleCallAName(t *testing.T) {
	v := View{Things: []Thing{
		{Name: "porch", Label: "Porch light", Properties: []Property{{}, {Name: "level"}}},
		{Name: "cellar", Properties: []Property{{Name: "temperature"}}},
	}}
	for name, want := range map[string]string{
		"porch": "Porch light", "porch.level": "Porch light, level", "porch.fault": "porch.fault",
		"cellar.temperature": "cellar.temperature", "a/b:c": "a/b:c", "": "",
	} {
		if got := v.called(name); got != want {
			t.Errorf("%q is called %q, want %q", name, got, want)
		}
	}
	p := ruleSheet{RuleDetail: RuleDetail{Reads: []string{"porch.level"}, Sets: []string{"porch"}}, view: v}
	if got := p.ReadsThese()[0]; got != (mentioned{"Porch light, level", "/why/porch.level"}) || p.SetsThese()[0].Name != "Porch light" {
		t.Errorf("%+v, %+v", got, p.SetsThese())
	}
}
