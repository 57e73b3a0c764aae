package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A book is the rules of a smallHouse, and the reasons for its states.
type book struct {
	rules  []Rule
	detail map[string]RuleDetail
	whys   map[string]Why
	asked  []string      // of Why: the name and the moment
	did    []string      // rules that were enabled and disabled, and by whom
	slow   chan struct{} // not nil: Why says here that it was asked, and waits until nobody wants to know any more
}

func (h *smallHouse) Rules(context.Context) ([]Rule, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.book.rules), h.broken
}

func (h *smallHouse) Rule(_ context.Context, name string) (RuleDetail, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.book.rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return RuleDetail{}, NotFound("no rule, link or machine is named " + name)
	}
	d := h.book.detail[name]
	d.Rule = h.book.rules[i]
	return d, nil
}

func (h *smallHouse) Enable(ctx context.Context, name string, on bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.book.rules, func(r Rule) bool { return r.Switches == name && name != "" })
	if i < 0 {
		return NotFound(`no rule is named "` + name + `"; there are: stairs, frost`)
	}
	h.book.rules[i].Enabled = on
	h.book.did = append(h.book.did, fmt.Sprint(By(ctx), " ", name, " ", on))
	r := h.book.rules[i]
	h.tell(Event{Rule: &r})
	return nil
}

func (h *smallHouse) Why(ctx context.Context, name, at string) (Why, error) {
	h.mu.Lock()
	y, ok := h.book.whys[name]
	h.book.asked = append(h.book.asked, name+" "+at)
	slow := h.book.slow
	h.mu.Unlock()
	if slow != nil {
		slow <- struct{}{}
		<-ctx.Done()
		return Why{}, ctx.Err()
	}
	switch {
	case !ok:
		return Why{}, NotFound("nothing here is called " + name)
	case at == "tomorrow":
		return Why{}, Mistaken(`"tomorrow" is no time: want "2h" ago`)
	case at != "":
		y.Now = false
	}
	return y, nil
}

// withRules is a house whose porch light was switched by a rule.
func withRules() *smallHouse {
	h := newHouse()
	h.keepRules()
	return h
}

// keepRules has the pages tell of some rules, and why the porch light is on.
func (h *smallHouse) keepRules() {
	at := func(back time.Duration) time.Time { return noon.Add(-back) }
	h.book.rules = []Rule{
		{Name: "rule.stairs", Kind: "rule", Enabled: true, Switches: "stairs", Underway: []string{"on since pir is true"}, Ran: 12, Running: 1,
			Last: &RuleLast{At: at(4 * time.Minute), Outcome: "fired", Because: "pir is true"}},
		{Name: "rule.frost", Kind: "rule", Enabled: true, Switches: "frost", Next: noon.Add(5 * time.Hour), Last: &RuleLast{At: at(19 * time.Hour), Outcome: "blocked", Because: "time 17:00"}},
		{Name: "rule.lamps", Kind: "rule", Enabled: false, Switches: "lamps", Of: []string{"rule.lamps[kitchen]", "rule.lamps[bath]"}},
		{Name: "rule.garage", Kind: "rule", Enabled: true, Switches: "garage", Underway: []string{"garage/door is open for 15m, 3m to go"}, Errors: 2, Error: "no value of garage/light"},
		{Name: "link.hall_light", Kind: "link", Enabled: true},
		{Name: "machine.alarm", Kind: "machine", Enabled: true, State: "armed", Underway: []string{"armed, 20s to disarmed"}},
	}
	check := []Check{{Text: "sun down", Saw: "down", OK: true}, {Text: "zigbee2mqtt/hall:illuminance below 40", Saw: "31", OK: true}}
	h.book.detail = map[string]RuleDetail{"rule.stairs": {
		Parts: []RulePart{{Name: "rule.stairs", Underway: []string{"on since pir is true"},
			Triggers:   []RuleSight{{Text: "pir is true", Asks: "pir", Holds: true, Why: "its episode is on; it fires again once that has ended"}},
			Conditions: []Check{check[0], {Text: "zigbee2mqtt/hall:illuminance below 40", Saw: "57"}}}},
		Reads: []string{"pir", "zigbee2mqtt/hall:illuminance"}, Sets: []string{"porch_light"},
		Runs: []RuleRun{
			{Steps: []RuleStep{
				{At: at(4 * time.Minute), Outcome: "fired", Trigger: "pir is true", Cause: "pir ON", Asks: "pir", Checks: check, Does: []string{"porch_light ON"}, Latency: 1.4}}},
			{Steps: []RuleStep{
				{At: at(90 * time.Minute), Outcome: "fired", Trigger: "pir is true", Cause: "pir ON", Asks: "pir", Checks: check, Does: []string{"porch_light ON"}, Latency: 2},
				{At: at(87 * time.Minute), After: 180000, Outcome: "ended", Trigger: "pir is true", Why: "pir is false for 2m", Does: []string{"porch_light OFF"}}}},
			{Steps: []RuleStep{{At: at(26 * time.Hour), Outcome: "blocked", Trigger: "pir is true", Cause: "pir ON", Asks: "pir", Checks: []Check{{Text: "sun down", Saw: "up"}}}}},
		},
		Source: []Excerpt{{File: "config.toml", Line: 41, Text: "# Light on the stairs, at night.\n[rule.stairs]\ntrigger = { state = \"pir\", is = true, until = { is = false, for = \"2m\" } }\ncondition = [\n  { sun = \"down\" },\n  { state = { \"zigbee2mqtt/hall:illuminance\" = { below = 40 } } }, # lux\n]\naction = { set = \"porch_light\", on = true, off = false }\n"}},
	}}
	h.view.Outputs[0].On = true
	h.book.whys = map[string]Why{
		"porch_light": {Name: "porch_light", Kind: "output", At: noon, Now: true, Known: true, Is: "ON", Since: at(4 * time.Minute), Before: at(5 * time.Minute), Present: true,
			Path: []Cause{
				{At: at(244 * time.Second), What: "wire", Name: "pir", Value: "ON"},
				{At: at(244*time.Second - time.Millisecond), What: "decision", Rule: "rule.stairs", Outcome: "fired", Trigger: "pir is true", Checks: check, Does: []string{"porch_light ON"}, After: 1,
					Began: []Cause{{At: at(300 * time.Second), What: "message", Name: "zigbee2mqtt/hall:illuminance", Value: "31"}, {At: at(299 * time.Second), What: "decision", Rule: "rule.dusk", Outcome: "pending", Trigger: "dark for 1m"}}},
				{At: at(4 * time.Minute), What: "change", Name: "porch_light", Value: "ON", After: 3999, Held: []string{"min_off of 10 s is not over"}, Restarts: []time.Time{at(242 * time.Second)}},
			},
			Others: []OtherOrder{{At: at(3 * time.Minute), Later: true, Rule: "rule.night", Outcome: "fired", Tells: "OFF", Held: []string{"min_on"}, Gave: "boiler (interlock.heat)"}},
			Could: []CouldAct{
				{Rule: "rule.stairs", Tells: []string{"ON", "OFF"}, Now: []string{"rule.stairs, pir is true: its episode is on; it fires again once that has ended"}, Acted: &Hindrance{At: at(4 * time.Minute), Outcome: "fired"}},
				{Rule: "rule.lamps", Tells: []string{"OFF"}, Now: []string{"rule.lamps has been disabled"}, Stopped: &Hindrance{At: at(26 * time.Hour), Outcome: "blocked", Trigger: "pir is true", Checks: []Check{{Text: "sun down", Saw: "up"}}}},
			}},
		"pir":         {Name: "pir", Kind: "input", At: noon, Now: true, Known: true, Is: "ON", Since: at(244 * time.Second), Path: []Cause{{At: at(244 * time.Second), What: "wire", Name: "pir", Value: "ON"}}},
		"rule.stairs": {Name: "rule.stairs", Kind: "rule", At: noon, Now: true, Known: true, Is: "fired", Since: at(4 * time.Minute)},
		"garden_pump": {Name: "garden_pump", Kind: "output", At: noon, Now: true, Missing: "no history is kept: [history] has enabled = false"},
		"heater":      {Name: "heater", Kind: "output", At: noon, Now: true},
	}
}

// evilBook is one in which all is anybody's: names, values and reasons.
func evilBook(evil []string) book {
	b := book{detail: make(map[string]RuleDetail), whys: make(map[string]Why)}
	why, detail := Why{Name: "porch_light", At: noon, Now: true, Known: true, Is: evil[0]}, RuleDetail{}
	for _, text := range evil {
		c := Check{Text: text, Saw: text}
		cause := Cause{What: text, Name: text, Value: text, By: text, Trigger: text, Reason: text, Checks: []Check{c}, Does: []string{text}, Held: []string{text}}
		rule := cause
		rule.Rule, rule.Outcome, rule.What, rule.Began = "rule."+text, text, "decision", []Cause{cause}
		why.Kind, why.Cover, why.Missing = text, text, text
		why.Path, why.Waits = append(why.Path, cause, rule), append(why.Waits, text)
		why.Others = append(why.Others, OtherOrder{Rule: text, Tells: text, Gave: text, Held: []string{text}})
		why.Could = append(why.Could, CouldAct{Rule: text, Tells: []string{text}, Now: []string{text}, Stopped: &Hindrance{Trigger: text, Reason: text, Checks: []Check{c}}})
		b.rules = append(b.rules, Rule{Name: "rule." + text, Kind: "rule", Switches: text, State: text, Of: []string{text}, Underway: []string{text}, Last: &RuleLast{Outcome: text, Because: text}, Error: text})
		detail.Parts = append(detail.Parts, RulePart{Name: text, Triggers: []RuleSight{{Text: text, Asks: text, Why: text}}, Conditions: []Check{c}})
		detail.Reads, detail.Sets = append(detail.Reads, text), append(detail.Sets, text)
		detail.Runs = append(detail.Runs, RuleRun{Instance: text, Steps: []RuleStep{{Outcome: text, Trigger: text, Cause: text, Asks: text, Why: text, Checks: []Check{c}, Does: []string{text}}}})
		detail.Source, detail.Short, detail.Unread = append(detail.Source, Excerpt{File: text, Text: text}), text, text
	}
	b.rules = append(b.rules, Rule{Name: "rule.stairs", Kind: evil[0], Switches: evil[0], Underway: evil})
	b.detail["rule.stairs"], b.whys["porch_light"] = detail, why
	return b
}

// The list, one rule, and its switch, as programs have them.
func TestRulesForPrograms(t *testing.T) {
	house := withRules()
	s := lan(house, family())
	bert, display := cookie(t, s, "anna"), []string{"Authorization", "Bearer hearth_display"}
	var all struct{ Rules []Rule }
	w := get(s, "/api/v1/rules", bert...)
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all.Rules) != 6 || !all.Rules[0].Tells || all.Rules[4].Tells || all.Rules[2].Enabled || all.Rules[0].Underway[0] != "on since pir is true" {
		t.Fatalf("%v: %s", err, w.Body)
	}
	w = get(s, "/api/v1/rules/rule.stairs", bert...)
	var one RuleDetail
	if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil || one.Name != "rule.stairs" || len(one.Runs) != 3 || !one.Tells || !strings.Contains(one.Source[0].Text, "[rule.stairs]\ntrigger") {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if w := get(s, "/api/v1/rules/rule.nothing", bert...); w.Code != 404 || said(t, w) == "" {
		t.Errorf("one that is not there: %d", w.Code)
	}
	post := func(name, body string, who ...string) int {
		return ask(s, "POST", "/api/v1/rules/"+name, body, slices.Concat(from, []string{"Content-Type", "application/json", "Origin", "http://192.168.1.5:8080"}, who)...).Code
	}
	for _, c := range []struct {
		name, body string
		who        []string
		want       int
	}{
		{"stairs", `{"enabled":false}`, bert, 204},
		{"rule.frost", `{"enabled":false}`, bert, 204},
		{"rule.frost[a]", `{"enabled":true}`, bert, 204},
		{"nothing", `{"enabled":true}`, bert, 404},
		{"stairs", `{"enabled":true}`, display, 403},
		{"stairs", `{"enabled":1}`, bert, 400},
		{"stairs", `{}`, bert, 400},
		{"stairs", `{"enabled":true} {}`, bert, 400},
		{"stairs", `{"enabled":true,"x":1}`, bert, 400},
		{"stairs", `{"enabled":true` + strings.Repeat(" ", 2000) + `}`, bert, 413},
	} {
		if got := post(c.name, c.body, c.who...); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.name, c.body, got, c.want)
		}
	}
	if got := strings.Join(house.book.did, ", "); got != "anna stairs false, anna frost false, anna frost true" {
		t.Errorf("the house was told: %s", got)
	}
	if w := ask(s, "POST", "/api/v1/rules/stairs", `{"enabled":true}`, slices.Concat(from, bert, []string{"Content-Type", "text/plain"})...); w.Code != 415 {
		t.Errorf("without a content type: %d", w.Code)
	}
	// By a form, as a page without scripts has it.
	w = ask(s, "POST", "/rules/rule.stairs", "enabled=true&from=rules", slices.Concat(from, bert, []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "http://192.168.1.5:8080"})...)
	if w.Code != 303 || w.Header().Get("Location") != "/rules" || !house.book.rules[0].Enabled {
		t.Errorf("the form: %d %v", w.Code, w.Header())
	}
	for _, body := range []string{"", "enabled=maybe"} {
		if w := ask(s, "POST", "/rules/rule.stairs", body, slices.Concat(from, bert, []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "http://192.168.1.5:8080"})...); w.Code != 400 {
			t.Errorf("the form with %q: %d", body, w.Code)
		}
	}
}

// Who may see a part of the house is told a state, and not what led to it; nothing of rules.
func TestWhyAndRulesOfAPartOfTheHouse(t *testing.T) {
	house, people := withRules(), family()
	people.rights["anna"] = part{Use, []string{"hearth/heater/", "hearth/rule/frost/"}}
	s := lan(house, people)
	anna := cookie(t, s, "anna")
	var y Why
	w := get(s, "/api/v1/why/porch_light", anna...)
	if err := json.Unmarshal(w.Body.Bytes(), &y); err != nil || !y.Partial || y.Is != "ON" || len(y.Path)+len(y.Could)+len(y.Others) > 0 || len(house.book.asked) > 0 {
		t.Errorf("%v: %s; the house was asked %v", err, w.Body, house.book.asked)
	}
	for _, hidden := range []string{"heater", "rule.stairs", "nothing", "garage/door/state"} {
		if w := get(s, "/api/v1/why/"+url.PathEscape(hidden), anna...); w.Code != 404 || strings.Contains(w.Body.String(), "GPIO") {
			t.Errorf("%s: %d %s", hidden, w.Code, w.Body)
		}
	}
	page := get(s, "/why/porch_light", anna...)
	if page.Code != 200 || strings.Contains(page.Body.String(), "rule.stairs") || !strings.Contains(page.Body.String(), "you may see a part of it") {
		t.Errorf("the page of a state: %d", page.Code)
	}
	if w := get(s, "/rules", anna...); w.Code != 200 || strings.Contains(w.Body.String(), "rule.stairs") || strings.Contains(w.Body.String(), "frost") || !strings.Contains(w.Body.String(), "you may see a part of it") {
		t.Errorf("/rules: %d", w.Code)
	}
	for _, path := range []string{"/api/v1/rules", "/api/v1/rules/rule.stairs", "/rules/rule.stairs"} {
		if w := get(s, path, anna...); w.Code != 403 || strings.Contains(w.Body.String(), "pir") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	// A rule that she may use, as over MQTT; another, and one that is not there.
	for name, want := range map[string]int{"stairs": 204, "frost": 404, "nothing": 404} {
		w := ask(s, "POST", "/api/v1/rules/"+name, `{"enabled":false}`, slices.Concat(from, anna, []string{"Content-Type", "application/json", "Origin", "http://192.168.1.5:8080"})...)
		if w.Code != want || strings.Contains(w.Body.String(), "there are") {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, want)
		}
	}
	some, ok := Event{Rule: &Rule{Name: "rule.stairs"}}.seenBy(part{Use, []string{"hearth/heater/"}})
	if ok || some.Rule != nil {
		t.Error("she is told live what a rule does")
	}
}

// Who knows the path of a webhook may use it, so who may only look is not told.
func TestWebhooksAreForThoseWhoMayUse(t *testing.T) {
	house := withRules()
	const secret = "/hook/aX7-k.q/9"
	house.book.rules[0].Underway = []string{"on since webhook " + secret}
	d := house.book.detail["rule.stairs"]
	d.Source = []Excerpt{{File: "config.toml", Line: 1, Text: "trigger = { webhook = \"" + secret + "\" }\n"}}
	house.book.detail["rule.stairs"] = d
	house.book.whys["pir"] = Why{Name: "pir", Now: true, At: noon, Path: []Cause{{What: "webhook", Name: secret}}}
	house.view.Decisions = []Decision{{At: noon, Rule: "rule.stairs", Outcome: "fired", Text: "rule.stairs fired: webhook " + secret + ", and so on"}}
	s := lan(house, family())
	for _, path := range []string{"/rules", "/rules/rule.stairs", "/why/pir", "/log", "/api/v1/rules", "/api/v1/rules/rule.stairs", "/api/v1/why/pir", "/api/v1/house"} {
		for user, want := range map[string]bool{"anna": true, "oma": false} {
			if w := get(s, path, cookie(t, s, user)...); w.Code != 200 || strings.Contains(w.Body.String(), "aX7") != want || !strings.Contains(w.Body.String(), "/hook/") {
				t.Errorf("%s of %s: %d, and the path is told: %t", path, user, w.Code, !want)
			}
		}
	}
	for l, want := range map[Level]bool{See: false, Use: true} {
		e, _ := Event{Rule: &house.book.rules[0], Decision: &house.view.Decisions[0]}.seenBy(part{l, nil})
		if strings.Contains(string(asJSON(e)), "aX7") != want {
			t.Errorf("live, who may %v is told %s", l, asJSON(e))
		}
	}
}

// What is asked at a moment, what is no moment, what nobody knows, and what takes too long.
func TestWhyOfAMoment(t *testing.T) {
	house := withRules()
	s := New(house, Options{Log: quietLog})
	for path, want := range map[string][]string{
		"/why/porch_light":             {"On</strong>", "rule.stairs", `href="/rules/rule.stairs"`, `href="/why/pir?at=`, "1 ms later", "min_off of 10 s is not over", "the hub started again", "rule.lamps", "has been disabled", "sun down", "✗", `href="/why/porch_light?at=`, "boiler (interlock.heat)", "What it goes on with had begun so"},
		"/why/porch_light?at=07:30":    {"as of", `href="/why/porch_light"`},
		"/why/porch_light?at=tomorrow": {"&#34;tomorrow&#34; is no time", "On</strong>"},
		"/why/garden_pump":             {"no history is kept"},
		"/why/heater":                  {"neither changed nor been told anything", "No rule can tell it anything"},
		"/why/rule.stairs":             {`href="/rules/rule.stairs"`},
		"/rules":                       {"stairs", "on since pir is true", "17:00:00", "Disabled", "2 of its kind", "armed", "no value of garage/light", "has not decided anything yet"},
		"/rules/rule.stairs":           {"its episode is on", "57", "✗", "within 1 ms", "+ 3 min", "config.toml:41", "[rule.stairs]", `href="/why/zigbee2mqtt%2Fhall:illuminance"`, `href="/edit?at=rule.stairs"`},
		"/rules/link.hall_light":       {"has not decided anything that is remembered"},
		"/":                            {`<a class="state" href="/why/porch_light" title="Why porch_light?">On</a>`},
		"/log":                         {`<a href="/why/rule.heater?at=2026-03-10T11%3A59%3A57%2B01%3A00"><b>rule.heater</b></a>`},
	} {
		w := ask(s, "GET", path, "")
		for _, text := range want {
			if w.Code != 200 || !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: %d, lacks %s", path, w.Code, text)
			}
		}
	}
	for path, want := range map[string]int{"/api/v1/why/porch_light?at=tomorrow": 400, "/api/v1/why/nobody": 404, "/why/nobody": 404, "/rules/rule.nothing": 404} {
		if w := ask(s, "GET", path, ""); w.Code != want || said(t, w) == "" {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	// Those who wait do not keep the house busy, and are let go when they go.
	slow := make(chan struct{}, whysAtOnce+3)
	house.mu.Lock()
	house.book.slow = slow
	house.mu.Unlock()
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan int)
	for range whysAtOnce + 3 {
		go func() {
			r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/why/porch_light", nil)
			r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:4711"
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			answered <- w.Code
		}()
	}
	for range whysAtOnce {
		<-slow
	}
	if len(slow) > 0 {
		t.Error("more were asked at once")
	}
	leave()
	for range whysAtOnce + 3 {
		if code := <-answered; code != 503 {
			t.Errorf("who waited in vain was answered %d", code)
		}
	}
}

func TestRulesInGerman(t *testing.T) {
	house := withRules()
	s := New(house, Options{Log: quietLog})
	for path, want := range map[string][]string{
		"/rules":             {"Ausgeschaltet", "hat ausgelöst", "wurde aufgehalten", "Nächstes Mal:"},
		"/rules/rule.stairs": {"Bedingungen", "ist zu Ende", "Schritt für Schritt"},
		"/why/porch_light":   {"Wie es dazu kam", "verdrahtet: Hier beginnt es", "Warum nicht anders", "später"},
	} {
		w := ask(s, "GET", path, "", "Accept-Language", "de")
		for _, text := range want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s lacks %s", path, text)
			}
		}
	}
	empty := New(newHouse(), Options{Log: quietLog})
	if w := ask(empty, "GET", "/rules", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "There is no rule yet") {
		t.Errorf("an empty house: %d", w.Code)
	}
}

// 500 rules: the page and an event.
func TestManyRules(t *testing.T) {
	house := withRules()
	house.book.rules = nil
	for i := range 500 {
		house.book.rules = append(house.book.rules, Rule{Name: fmt.Sprintf("rule.number_%03d", i), Kind: "rule", Enabled: true, Switches: fmt.Sprintf("number_%03d", i), Underway: []string{"pir is true for 5m, 3m to go"},
			Last: &RuleLast{At: noon, Outcome: "fired", Because: "pir is true"}})
	}
	s := New(house, Options{Log: quietLog})
	ask(s, "GET", "/rules", "") // the templates are read once
	var w *httptest.ResponseRecorder
	took := time.Hour
	for range 5 { // the machine of a test has other things to do
		began := time.Now()
		w = ask(s, "GET", "/rules", "", "Accept-Encoding", "gzip")
		took = min(took, time.Since(began))
	}
	t.Logf("500 rules: %v, %d bytes over the wire", took, w.Body.Len())
	if w.Code != 200 || took > 5*time.Second || w.Body.Len() > 60_000 {
		t.Errorf("%d after %v with %d bytes", w.Code, took, w.Body.Len())
	}
}

// From the house to the reason, to the rule, and the rule off: all with clicks.
func TestRulesInABrowser(t *testing.T) {
	ctx := browser(t)
	house := withRules()
	s := serve(t, house)
	at := "http://" + s.Addr()
	do(t, ctx, "the house", chromedp.Navigate(at), chromedp.WaitVisible("body.live"), chromedp.Click(`a.state[href="/why/porch_light"]`), chromedp.WaitVisible("body.live .path"),
		until(`document.querySelectorAll('.path > li').length === 5 && document.documentElement.scrollWidth <= innerWidth`), until(shows(".step.last", "porch_light")))
	keepScreenshot(t, ctx, "why")
	do(t, ctx, "it changes meanwhile", until(`document.querySelector('#changed').hidden`))
	house.Switch(ctx, "porch_light", false)
	do(t, ctx, "which is told", chromedp.WaitVisible("#changed a"))
	do(t, ctx, "the first cause", chromedp.Click(`.step.first .title a`), chromedp.WaitVisible("body.live .path"), until(shows("h2", "pir")), chromedp.NavigateBack(), chromedp.WaitVisible("body.live .path"))
	do(t, ctx, "the rule", chromedp.Click(`#path > .of-decision > .card .title a`), chromedp.WaitVisible("body.live #rule"), until(shows("#rule", "Running")))
	keepScreenshot(t, ctx, "rule")
	do(t, ctx, "is disabled", chromedp.Click(`#rule .switch`), until(shows("#rule", "Disabled")), until(`document.querySelector('#rule .switch').getAttribute('aria-checked') === 'false'`),
		until(`document.activeElement.className === 'switch'`))
	if got := strings.Join(house.book.did, ", "); got != " stairs false" {
		t.Errorf("the house was told %q", got)
	}
	do(t, ctx, "by keyboard and in the list", chromedp.Click(`.crumb a`), chromedp.WaitVisible("body.live .rules"), until(shows("#count", "6")), until(shows(".rule.is-off", "stairs")))
	keepScreenshot(t, ctx, "rules")
	do(t, ctx, "on again", chromedp.Focus(`.rule [aria-label="rule.stairs enabled"]`), chromedp.SendKeys(`.rule [aria-label="rule.stairs enabled"]`, " "), until(shows(".rule", "Running")),
		until(`document.documentElement.scrollWidth <= innerWidth`))
	house.mu.Lock()
	house.tell(Event{Rule: &Rule{Name: "rule.frost", Kind: "rule", Enabled: true, Switches: "frost", Underway: []string{`<img src=x onerror="document.title='owned'">`}}})
	house.mu.Unlock()
	do(t, ctx, "what happens is told, as text", until(shows(".rules", "onerror")), until(`document.querySelectorAll('img').length === 1`), until(shows(".rules", "was blocked")))
	s.set.Store(&settings{loopback: true, anonymous: true, language: "de"})
	for path, part := range map[string]string{"/why/porch_light": "#path", "/rules": ".rules", "/rules/rule.stairs": ".trace"} {
		do(t, ctx, path+" on a small phone, in German", chromedp.EmulateViewport(320, 640), chromedp.Navigate(at+path), chromedp.WaitVisible("body.live "+part), until(`document.documentElement.scrollWidth <= innerWidth`))
	}
	keepScreenshot(t, ctx, "german")
	do(t, ctx, "without scripts", emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(at+"/rules"), chromedp.Click(`[aria-label="rule.frost eingeschaltet"]`), chromedp.WaitVisible(`.is-off [aria-label="rule.frost eingeschaltet"]`),
		chromedp.Navigate(at+"/rules/rule.frost"), chromedp.Click(`#rule .switch`), chromedp.WaitVisible(`.is-on .switch`), chromedp.Navigate("about:blank"))
	if got := house.book.did[len(house.book.did)-2:]; strings.Join(got, ",") != " frost false, frost true" {
		t.Errorf("without scripts the house was told %q", got)
	}
}
