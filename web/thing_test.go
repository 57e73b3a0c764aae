package web

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var update = flag.Bool("update", false, "rewrite what is expected in testdata")

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

// Someone opens a thing from the page of the house, chooses a week, zooms by keyboard, reads
// out a moment, and what the house tells goes on.
func TestTheChartInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	livedIn(t, house, noon)
	s := serve(t, house)
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
	}), until(`location.search.includes('from=2026-03-10T14') || location.search.includes('from=2026-03-10T15')`))

	do(t, ctx, "the day, live", chromedp.Navigate("http://"+s.Addr()+"/thing/kitchen.temperature?with=heater"), chromedp.WaitVisible("body.live"), chromedp.WaitVisible(".plot[tabindex]"),
		until(shows(".chart .legend", "heater")), until(`!document.querySelector('.line.live')`))
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

func TestScreenshotsOfCharts(t *testing.T) {
	dir := os.Getenv("HEARTH_SCREENSHOTS")
	if dir == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	house := newHouse()
	livedIn(t, house, noon)
	s := serve(t, house)
	shots := map[string]string{"number": "/thing/kitchen.temperature", "together": "/thing/kitchen.temperature?with=kitchen.power&with=heater&with=kitchen.mode", "state": "/thing/heater", "text": "/thing/kitchen.mode", "year": "/thing/kitchen.power?range=year", "empty": "/thing/doorbell"}
	for name, path := range shots {
		for _, size := range []struct {
			name          string
			width, height int64
		}{{"tablet", 800, 1000}, {"desktop", 1280, 900}, {"small", 320, 640}} {
			for _, scheme := range []string{"light", "dark"} {
				var png []byte
				do(t, ctx, "a screenshot", chromedp.EmulateViewport(size.width, size.height),
					emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
					chromedp.Navigate("http://"+s.Addr()+path), until(`document.body.className === 'live'`), until(`document.documentElement.scrollWidth <= innerWidth`),
					chromedp.FullScreenshot(&png, 100))
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("chart-%s-%s-%s.png", name, size.name, scheme)), png, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
