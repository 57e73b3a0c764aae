package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// talkative is a house of so many sources, of which later ones have spoken more recently.
func talkative(n int) *smallHouse {
	house := newHouse()
	for i := range n {
		house.view.Readings = append(house.view.Readings, Reading{Source: fmt.Sprintf("meter/%05d", i), Of: "Meter", Text: fmt.Sprint(i), At: noon.Add(time.Duration(i-n) * time.Second), Topics: []string{fmt.Sprintf("meter/%05d", i)}})
	}
	return house
}

// Of very many sources the page of what happened has the newest, and the others are found: by a
// form, by programs, and never by who may not see them.
func TestTheLogOfManySources(t *testing.T) {
	house, people := talkative(20_000), family()
	people.rights["guest"] = part{See, []string{"meter/00007"}}
	s := lan(house, people)
	anna, guest := cookie(t, s, "anna"), cookie(t, s, "guest")
	page := get(s, "/log", anna...).Body.String()
	if n := strings.Count(page, `class="source"`); n != mostReadings+1 || len(page) > 400_000 || !strings.Contains(page, "meter/19999") || strings.Contains(page, "meter/00007") || !strings.Contains(page, "500 of 2000") {
		t.Errorf("%d readings in %d bytes", n, len(page))
	}
	for who, want := range map[string]int{"anna": 1, "guest": 0} {
		header := map[string][]string{"anna": anna, "guest": guest}[who]
		if found := get(s, "/log?find=ter/00007", header...).Body.String(); strings.Count(found, `class="source"`) != want+1 || !strings.Contains(found, `name="find" value="ter/00007"`) {
			t.Errorf("%s does not find %d by a form", who, want)
		}
		var list ReadingList
		json.Unmarshal(get(s, "/api/v1/readings?find=METER/0000", header...).Body.Bytes(), &list)
		if all := map[string]int{"anna": 10, "guest": 9}[who]; list.All != all || len(list.Readings) != all {
			t.Errorf("%s finds %d of %d", who, len(list.Readings), list.All)
		}
	}
	if list := found(house.view.Readings, "meter"); list.All != 20_000 || len(list.Readings) != mostReadings || list.Readings[0].Source != "meter/19500" {
		t.Errorf("it finds %d of %d", len(list.Readings), list.All)
	}
}

// One types a name that is not among the newest, and sees it live.
func TestAReadingIsFoundInABrowser(t *testing.T) {
	ctx := browser(t)
	house := talkative(5000)
	s := serve(t, house)
	do(t, ctx, "the newest", chromedp.Navigate("http://"+s.Addr()+"/log"), chromedp.WaitVisible("body.live"), until(`document.querySelectorAll('.values li').length === 500`), until(shows("#count", "500 of 500")))
	do(t, ctx, "another", chromedp.SendKeys("#filter", "meter/00042", chromedp.NodeVisible), until(`document.querySelectorAll('.values li').length === 1`), until(shows(".values .text", "42")))
	house.report(Reading{Source: "meter/00042", Of: "Meter", Text: "4711", At: noon, Topics: []string{"meter/00042"}})
	do(t, ctx, "lives", until(shows(".values .text", "4711")))
	do(t, ctx, "and back", chromedp.Evaluate(`(() => { const f = document.querySelector('#filter'); f.value = ''; f.oninput(); })()`, nil), until(`document.querySelectorAll('.values li').length === 500`), until(shows(".values", "4711")))
	house.report(Reading{Source: "meter/00042", Of: "Meter", Text: "1", At: noon, Bad: "nothing came for 5m", Topics: []string{"meter/00042"}})
	do(t, ctx, "as it is now, in the reader's language", chromedp.SendKeys("#filter", "meter/0004"), until(`document.querySelectorAll('.values li').length === 10`), chromedp.Evaluate(`document.documentElement.lang = 'de'`, nil), chromedp.SendKeys("#filter", "2"), until(shows(".values .why", "seit 5m kam nichts")),
		chromedp.Evaluate(`(() => { const f = document.querySelector('#filter'); f.value = ''; f.oninput(); })()`, nil), until(`document.querySelectorAll('.values li').length === 500`))
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}
