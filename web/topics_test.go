package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"hearth/devices"
)

// A broker is one in memory: what is published is heard, and kept where that is asked for.
type broker struct {
	air  sync.Mutex
	ears map[int]func(Message)
	last int
	kept []Message
	hand []string // who published by hand what
}

func (b *broker) Listen(filter string, hear func(Message)) (func(), error) {
	if err := devices.CheckFilter(filter); err != nil {
		return nil, err
	}
	b.air.Lock()
	defer b.air.Unlock()
	if b.ears == nil {
		b.ears = make(map[int]func(Message))
	}
	b.last++
	mine := b.last
	b.ears[mine] = func(m Message) {
		if devices.MatchTopic(filter, m.Topic) {
			hear(m)
		}
	}
	return func() {
		b.air.Lock()
		defer b.air.Unlock()
		delete(b.ears, mine)
	}, nil
}

func (b *broker) Retained(filter string) (some []Message, err error) {
	b.air.Lock()
	defer b.air.Unlock()
	for _, m := range b.kept {
		if devices.MatchTopic(filter, m.Topic) || filter == "#" {
			some = append(some, m)
		}
	}
	return some, devices.CheckFilter(filter)
}

func (b *broker) Publish(ctx context.Context, m Message) error {
	if m.Topic == "hearth/status" {
		return errors.New("what the hub says itself, nobody else can say")
	}
	m.At = noon
	b.say(m)
	b.air.Lock()
	defer b.air.Unlock()
	b.hand = append(b.hand, fmt.Sprintf("%s: %s %s %d %v", By(ctx), m.Topic, m.Payload, m.QoS, m.Retain))
	return nil
}

func (b *broker) say(m Message) {
	b.air.Lock()
	defer b.air.Unlock()
	if m.Retain {
		b.kept = append(b.kept, m)
	}
	for _, hear := range b.ears {
		hear(m)
	}
}

func (b *broker) listening() int {
	b.air.Lock()
	defer b.air.Unlock()
	return len(b.ears)
}

func TestARowOfATopic(t *testing.T) {
	for _, c := range []struct {
		payload string
		want    string
		binary  bool
	}{
		{"ON", "ON", false}, {"", "", false}, {"a\nb\tc", "a b c", false}, {"grün", "grün", false}, {"\x00\x01\xff", "0001ff", true}, {strings.Repeat("\xff", 100), strings.Repeat("ff", 48) + "…", true},
		{strings.Repeat("x", 1<<20), strings.Repeat("x", 500) + "…", false}, {strings.Repeat("€", 1<<18), strings.Repeat("€", 500) + "…", false}, {"\x1b[31m", "1b5b33316d", true},
	} {
		if row := rowOf(Message{Topic: "a", Payload: []byte(c.payload)}); row.Text != c.want || row.Binary != c.binary || row.Size != len(c.payload) {
			t.Errorf("%.20q: %+v", c.payload, row)
		}
	}
	if row := rowOf(Message{Topic: "alarm/code", Payload: []byte("1234"), Hidden: true}); row.Text != "***" || row.Size != 0 {
		t.Errorf("a secret is %+v", row)
	}
}

// However much is said, an ear keeps the newest of so many topics, and counts the rest.
func TestAFloodOfTopics(t *testing.T) {
	e := &ear{rights: everything{}, latest: make(map[string]*heard), ready: make(chan struct{}, 1)}
	for i := range 100_000 {
		e.hear(Message{Topic: fmt.Sprint("flood/", i%1500), Payload: []byte(strings.Repeat("x", 10_000))})
	}
	size := 0
	for _, h := range e.latest {
		size += len(h.Payload)
	}
	if len(e.latest) != mostHeard || size > mostHeard*(4*mostText+1) {
		t.Errorf("%d topics of %d bytes are kept", len(e.latest), size)
	}
	total, rows := 0, 0
	for more := true; more; {
		var h hearing
		if h, more = e.take(); len(h.Topics) > mostTopics {
			t.Errorf("%d rows at once", len(h.Topics))
		}
		total += h.Messages
		rows += len(h.Topics)
	}
	if total != 100_000 || rows != mostHeard {
		t.Errorf("%d messages, %d rows", total, rows)
	}
	if h, _ := e.take(); h.Messages != 0 || len(h.Topics) != 0 {
		t.Errorf("it comes again: %+v", h)
	}
	// Who may see less than before is sent nothing that was heard then.
	e.hear(Message{Topic: "hearth/heater/state"})
	e.judge(part{See, []string{"hearth/heater/"}})
	e.hear(Message{Topic: "hearth/heater/state"})
	if h, _ := e.take(); len(h.Topics) > 0 {
		t.Errorf("%+v", h)
	}
}

// tune opens the stream of topics and gives what comes, event by event.
func tune(t *testing.T, s *Server, query string, header ...string) (next func() (string, hearing)) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Addr()+"/api/v1/topics"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != 200 {
		t.Fatal(answer, err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	return func() (name string, h hearing) {
		for lines.Scan() {
			if of, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = of
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &h); err != nil {
					t.Fatal(err)
				}
				return name, h
			}
		}
		t.Error("the stream ended")
		return "", h
	}
}

// Who listens hears what is retained, then what is said, four times a second at most, and
// nothing that they may not see.
func TestListeningToTopics(t *testing.T) {
	house, people := newHouse(), family()
	house.kept = []Message{{Topic: "garage/door/state", Payload: []byte("open"), Retain: true}, {Topic: "zigbee2mqtt/lamp", Payload: []byte(`{"state":"ON"}`), Retain: true},
		{Topic: "hearth/problem", Payload: []byte("garage"), Retain: true, Whole: true}}
	s := New(house, Options{People: people, Log: quietLog})
	listen, no := "127.0.0.1:0", false
	c, err := s.Prepare(Config{Listen: &listen, Anonymous: &no})
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	defer s.Close()
	people.change(func(h *household) { h.rights["token display"] = part{See, []string{"garage/"}} })
	next := tune(t, s, "", "Authorization", "Bearer hearth_display")
	if name, h := next(); name != "retained" || len(h.Topics) != 1 || h.Topics[0].Topic != "zigbee2mqtt/lamp" || !h.Topics[0].Retain {
		t.Errorf("%s %+v", name, h)
	}
	house.say(Message{Topic: "garage/door/state", Payload: []byte("closed"), At: noon})
	house.say(Message{Topic: "hearth/why/lamp", Payload: []byte("garage/door/state was closed"), Whole: true, At: noon})
	began := time.Now()
	for i := range 1000 {
		house.say(Message{Topic: "tele/plug/SENSOR", Payload: fmt.Append(nil, i), At: noon})
	}
	events, messages := 0, 0
	for messages < 1000 {
		_, h := next()
		events++
		messages += h.Messages
		for _, row := range h.Topics {
			if strings.Contains(row.Topic+row.Text, "garage") {
				t.Errorf("it hears %+v", row)
			}
		}
		if messages == 1000 && h.Topics[0].Text != "999" {
			t.Errorf("the newest is %+v", h.Topics)
		}
	}
	if most := 2 + int(time.Since(began)/listenFor); events > most {
		t.Errorf("%d events in %v", events, time.Since(began))
	}
	if w := ask(s, "GET", "/topics", "", "Authorization", "Bearer hearth_script"); !strings.Contains(w.Body.String(), "hearth/problem") {
		t.Errorf("who may see all is shown\n%s", w.Body)
	}
	if w := ask(s, "GET", "/api/v1/topics?filter=a/%23/b", "", "Authorization", "Bearer hearth_script"); w.Code != 400 {
		t.Errorf("a bad filter: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/topics?filter=a/%23/b", "", "Authorization", "Bearer hearth_script"); w.Code != 200 || !strings.Contains(w.Body.String(), "it must be the whole last level") {
		t.Errorf("a bad filter: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/topics", "", "Authorization", "Bearer hearth_display"); strings.Contains(w.Body.String(), "garage") || !strings.Contains(w.Body.String(), "zigbee2mqtt/lamp") {
		t.Errorf("the page shows\n%s", w.Body)
	}
}

// mqtt are rights with some over MQTT.
type mqtt struct {
	part
	to string
}

func (m mqtt) Publish(topic string) bool { return strings.HasPrefix(topic, m.to) }

// By hand one publishes what one may use and publish over MQTT, or anything if one may
// change the house; never what only the hub can say.
func TestPublishingByHand(t *testing.T) {
	house, people := newHouse(), family()
	people.change(func(h *household) { h.rights["guest"] = mqtt{part{Use, []string{"cmnd/heater"}}, "cmnd/"} })
	s := lan(house, people)
	for _, c := range []struct {
		who, body string
		want      int
	}{
		{"oma", `{"topic":"cmnd/lamp/POWER","payload":"ON"}`, 403},
		{"guest", `{"topic":"cmnd/lamp/POWER","payload":"ON","qos":1,"retain":true}`, 204},
		{"guest", `{"topic":"cmnd/heater/POWER","payload":"ON"}`, 403},
		{"guest", `{"topic":"homeassistant/light/x/config","payload":"{}"}`, 403},
		{"anna", `{"topic":"homeassistant/light/x/config","payload":""}`, 204},
		{"anna", `{"topic":"hearth/status","payload":"offline"}`, 409},
		{"anna", `{"topic":"a","payload":"x","qos":3}`, 400}, {"anna", `{"topic":"a","payload":1}`, 400}, {"anna", `{"topic":"a"}{}`, 400}, {"anna", `{"topic":"a","who":"me"}`, 400},
		{"anna", `{"topic":"a","payload":"` + strings.Repeat("x", 300<<10) + `"}`, 413},
	} {
		if w := ask(s, "POST", "/api/v1/publish", c.body, slices.Concat(from, cookie(t, s, c.who))...); w.Code != c.want {
			t.Errorf("%.50s of %s: %d %s", c.body, c.who, w.Code, w.Body)
		}
	}
	if w := ask(s, "POST", "/api/v1/publish", `{"topic":"a"}`, slices.Concat(from, cookie(t, s, "anna"), []string{"Content-Type", "text/plain"})...); w.Code != 415 {
		t.Errorf("plain text: %d", w.Code)
	}
	if w := ask(s, "POST", "/api/v1/publish", `{"topic":"cmnd/lamp/POWER"}`, slices.Concat(from, []string{"Authorization", "Bearer hearth_script"})...); w.Code != 403 {
		t.Errorf("a token without MQTT: %d", w.Code)
	}
	if got := fmt.Sprint(house.hand); got != "[guest: cmnd/lamp/POWER ON 1 true anna: homeassistant/light/x/config  0 false]" {
		t.Error(got)
	}
}

func TestTopicsInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	house.kept = []Message{{Topic: "zigbee2mqtt/lamp", Payload: []byte(`{"state":"ON"}`), Retain: true, At: noon}, {Topic: "zigbee2mqtt/plug", Payload: []byte{0, 1, 255}, Retain: true, At: noon}}
	s := serve(t, house)
	at := "http://" + s.Addr()
	row := func(topic, text string) string {
		return fmt.Sprintf(`Array.from(document.querySelectorAll('.topics li')).some(li => li.querySelector('.source').textContent === %q && li.querySelector('.text').textContent === %q)`, topic, text)
	}
	do(t, ctx, "what is retained", chromedp.EmulateViewport(390, 800), chromedp.Navigate(at+"/topics?filter=zigbee2mqtt/%23"), chromedp.WaitVisible("body.live"), until(row("zigbee2mqtt/plug", "0001ff")),
		until(`document.querySelectorAll('.topics .kept:not([hidden])').length === 2`), until(overflows))
	for house.listening() == 0 {
		time.Sleep(time.Millisecond)
	}
	house.say(Message{Topic: "zigbee2mqtt/lamp", Payload: []byte("OFF"), At: noon})
	house.say(Message{Topic: "elsewhere", Payload: []byte("x"), At: noon})
	do(t, ctx, "what is said", until(row("zigbee2mqtt/lamp", "OFF")), until(`document.querySelectorAll('.topics li').length === 2`))

	// A flood: 2,000 messages a second on 800 topics, and the tab goes on.
	var stop atomic.Bool
	said := make(chan bool)
	go func() {
		defer close(said)
		for i := 0; !stop.Load(); i++ {
			house.say(Message{Topic: fmt.Sprint("zigbee2mqtt/flood/", i%800), Payload: fmt.Append(nil, i), At: noon})
			if i%20 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	do(t, ctx, "a flood", until(`document.querySelectorAll('.topics li').length === 500 && !document.querySelector('#left').hidden`))
	var slowest float64
	do(t, ctx, "the tab still answers", chromedp.Evaluate(`new Promise(done => { let worst = 0, last = performance.now(), n = 0; (function look() { const now = performance.now(); worst = Math.max(worst, now - last); last = now; if (++n < 60) setTimeout(look, 16); else done(worst); })(); })`, &slowest, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	t.Logf("in a flood the tab was busy for %.0f ms at most", slowest)
	if slowest > 1000 {
		t.Errorf("the tab was busy for %.0f ms", slowest)
	}
	do(t, ctx, "narrower", chromedp.SendKeys("#text", "plug"), until(`document.querySelectorAll('.topics li:not([hidden])').length === 1`))
	do(t, ctx, "a pause", chromedp.Click("#pause"), until(`document.querySelector('#pause').getAttribute('aria-pressed') === 'true'`))
	stop.Store(true)
	<-said
	house.say(Message{Topic: "zigbee2mqtt/plug", Payload: []byte("after"), At: noon})
	do(t, ctx, "goes on with the newest", chromedp.Sleep(600*time.Millisecond), until(row("zigbee2mqtt/plug", "0001ff")), chromedp.Click("#pause"), until(row("zigbee2mqtt/plug", "after")))

	do(t, ctx, "by hand", chromedp.Click(".publish summary"), chromedp.SendKeys("[name=topic]", "zigbee2mqtt/lamp/set"), chromedp.SendKeys("[name=payload]", `{"state":"ON"}`), chromedp.Click("[name=retain]"),
		chromedp.Click("#publish button"), until(shows("#toast", "Published to zigbee2mqtt/lamp/set")), until(overflows))
	do(t, ctx, "which is refused", chromedp.SetValue("[name=topic]", "hearth/status"), chromedp.Click("#publish button"), until(shows("#toast", "what the hub says itself")))
	if got := fmt.Sprint(house.hand); got != `[: zigbee2mqtt/lamp/set {"state":"ON"} 0 true]` {
		t.Error(got)
	}
	for _, evil := range hostile {
		house.say(Message{Topic: "zigbee2mqtt/evil/" + evil[:min(len(evil), 100)], Payload: []byte(evil), At: noon})
	}
	do(t, ctx, "hostile text is text", until(`document.querySelectorAll('img').length === 1 && !document.querySelector('.topics script')`), until(overflows))
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}

func TestScreenshotsOfTopics(t *testing.T) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	house := newHouse()
	house.kept = []Message{{Topic: "garage/door/state", Payload: []byte("open"), Retain: true, At: noon}, {Topic: "zigbee2mqtt/study_climate", Payload: []byte(`{"battery":71,"humidity":44.2,"linkquality":120,"temperature":18.4}`), Retain: true, At: noon.Add(-time.Hour)},
		{Topic: "alarm/panel/code", Payload: []byte("1234"), Hidden: true, At: noon}, {Topic: "camera/still", Payload: []byte("\xff\xd8\xff\xe0\x00\x10JFIF"), At: noon}}
	s := serve(t, house)
	keepAt(t, ctx, "topics", "http://"+s.Addr()+"/topics", `document.querySelector('.publish').open = true`)
}
