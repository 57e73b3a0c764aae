package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hearth/gpio"
	"hearth/web/webtest"
)

// Board has the pins of the small house, as far as they are on the header, and a bus.
func (h *smallHouse) Board(context.Context) (Board, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return Board{}, h.broken
	}
	b := Board{Simulated: true}
	for _, p := range gpio.Header() {
		b.Pins = append(b.Pins, BoardPin{Number: p.Number, Line: p.Name, Role: p.Role, PowerUp: p.PowerUp, Caution: p.Caution})
	}
	for table, pins := range map[string][]Pin{"output": h.view.Outputs, "input": h.view.Inputs} {
		for _, p := range pins {
			use := PinUse{Name: p.Name, Table: table, ActiveLow: p.Name == "heater", Config: fmt.Sprintf("[%s.%s]\npin = %q", table, p.Name, p.Pin)}
			i := slices.IndexFunc(b.Pins, func(on BoardPin) bool { return on.Line == p.Pin })
			if i < 0 {
				b.Others = append(b.Others, BoardPin{Line: p.Pin, Uses: []PinUse{use}})
				continue
			}
			b.Pins[i].Uses = append(b.Pins[i].Uses, use)
		}
	}
	for _, i := range []int{2, 4} {
		b.Pins[i].Held, b.Pins[i].For = "I2C1", []string{"hall_climate"}
	}
	return b, nil
}

func (h *smallHouse) Acknowledge(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.view.Outputs {
		p := &h.view.Outputs[i]
		if p.Name != name {
			continue
		}
		if p.Fault == "" {
			return errors.New(name + " has no fault to acknowledge")
		}
		if p.Acknowledged = true; p.Latched {
			p.Fault, p.Latched, p.Acknowledged = "", false, false
		}
		turned := *p
		h.tell(Event{Output: &turned})
		return nil
	}
	return errors.New("no such pin")
}

func boardOf(t *testing.T, s *Server, header ...string) map[string]BoardPin {
	t.Helper()
	w := get(s, "/api/v1/pins", header...)
	var b Board
	if err := json.Unmarshal(w.Body.Bytes(), &b); w.Code != 200 || err != nil {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	pins := make(map[string]BoardPin)
	for _, p := range slices.Concat(b.Pins, b.Others) {
		pins[p.Line] = p
	}
	return pins
}

// Everybody learns which pins are taken; what has them only who may see that.
func TestWhoSeesWhatOfThePins(t *testing.T) {
	house := newHouse()
	house.view.Outputs[0].Pin = "relays:3"
	s := lan(house, family())
	anna, guest := boardOf(t, s, cookie(t, s, "anna")...), boardOf(t, s, cookie(t, s, "guest")...)
	if p := anna["GPIO22"]; p.Number != 15 || p.Kind() != "ours" || p.Uses[0].Name != "heater" || !p.Uses[0].State.On || p.Uses[0].Volts() != "low" || p.Uses[0].Config == "" {
		t.Errorf("she sees of the heater %+v", p)
	}
	if p := guest["GPIO22"]; p.Kind() != "held" || !p.Used || len(p.Uses) > 0 {
		t.Errorf("he sees of the heater %+v", p)
	}
	if p := guest["relays:3"]; len(p.Uses) != 1 || p.Uses[0].Config != "" || p.Uses[0].State == nil {
		t.Errorf("he sees of the porch %+v", p)
	}
	if a, g := anna["GPIO2"], guest["GPIO2"]; a.Kind() != "held" || a.Held != "I2C1" || g.Kind() != "held" {
		t.Errorf("the bus: %+v and %+v", a, g)
	}
	for line, kind := range map[string]string{"GND": "ground", "3V3": "power", "5V": "power", "GPIO26": "free", "GPIO17": "free"} {
		if got := anna[line].Kind(); got != kind {
			t.Errorf("%s is %s", line, got)
		}
	}
	for _, path := range []string{"/pins", "/api/v1/pins"} {
		if w := get(s, path, cookie(t, s, "guest")...); w.Code != 200 || strings.Contains(w.Body.String(), "heater") {
			t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		}
	}
	house.broken = errors.New("it is asleep")
	if w := get(s, "/api/v1/pins", "Authorization", "Bearer hearth_display"); w.Code != 503 {
		t.Errorf("of a house that is asleep: %d", w.Code)
	}
}

func TestWhoMayAcknowledge(t *testing.T) {
	house := newHouse()
	house.view.Outputs[0].Fault, house.view.Outputs[1].Fault = "the line is held", "the lamp is off; it waits to be acknowledged"
	house.view.Outputs[1].Latched = true
	s := lan(house, family())
	for _, c := range []struct {
		who, name string
		want      int
	}{
		{"oma", "porch_light", 403}, {"guest", "heater", 404}, {"guest", "nothing", 404}, {"guest", "garden_pump", 409}, {"guest", "porch_light", 204},
		{"anna", "heater", 204}, {"anna", "heater", 409}, {"anna", "doorbell", 409},
	} {
		if w := ask(s, "POST", "/api/v1/acknowledge/"+c.name, `{}`, slices.Concat(from, cookie(t, s, c.who))...); w.Code != c.want {
			t.Errorf("%s of %s: %d %s", c.name, c.who, w.Code, w.Body)
		}
	}
	if w := ask(s, "POST", "/api/v1/acknowledge/porch_light", ``, slices.Concat(from, []string{"Content-Type", "text/plain"}, cookie(t, s, "anna"))...); w.Code != 415 {
		t.Errorf("a form of another site: %d", w.Code)
	}
	if p := house.view.Outputs[0]; !p.Acknowledged || p.Fault == "" {
		t.Errorf("what nobody mended is %+v", p)
	}
	if got := fmt.Sprint(troubles(house.view)); got != "[]" {
		t.Errorf("it is loud: %s", got)
	}
}

// Names of pins and what is said of them may hold anything.
func TestPinsWithHostileText(t *testing.T) {
	for _, evil := range hostile {
		house := newHouse()
		house.view.Outputs = []Pin{{Name: evil, Pin: evil, Fault: evil, Note: evil, Hint: evil, Known: true}, {Name: evil, Pin: "GPIO17"}}
		s := New(house, Options{Log: quietLog})
		if w := ask(s, "GET", "/pins", ""); w.Code != 200 || strings.Contains(w.Body.String(), "<script>alert") || strings.Contains(w.Body.String(), "<img src=x") || w.Body.Len() > 200_000 {
			t.Errorf("%.20q: %d, %d bytes", evil, w.Code, w.Body.Len())
		}
	}
}

const overflows = `document.documentElement.scrollWidth <= innerWidth`

// An input is flipped on the header, a lamp follows on another page; a fault is acknowledged.
func TestThePinsInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	s := serve(t, house)
	at := "http://" + s.Addr()
	level := func(name, is string) string {
		return fmt.Sprintf(`Array.from(document.querySelectorAll('.level')).some(e => e.dataset.of === %q && e.textContent === %q)`, name, is)
	}
	do(t, ctx, "the board", chromedp.EmulateViewport(390, 800), chromedp.Navigate(at+"/pins"), until(`document.body.className === 'live'`), until(level("heater", "On")), until(overflows),
		until(`document.querySelectorAll('.board tbody tr').length === 20 && document.querySelectorAll('#details article:not([hidden])').length === 0`))
	do(t, ctx, "a pin says what it is", chromedp.Click(`a[href="#pin-13"]`), chromedp.WaitVisible("#pin-13"), until(`document.activeElement.id === 'pin-13'`), until(shows("#pin-13", "pir")), until(shows("#pin-13", "[input.pir]")))
	do(t, ctx, "and is flipped", chromedp.Click("#pin-13 .switch"), until(level("pir", "On")), until(`document.querySelector('#pin-13 .switch').getAttribute('aria-checked') === 'true'`), until(shows("#pin-13 .volts", "high")))
	if v, _ := house.View(ctx); !v.Inputs[0].On {
		t.Error("the page shows it on, the house does not")
	}
	do(t, ctx, "by keyboard it closes", chromedp.KeyEvent("\x1b"), until(`document.querySelector('#pin-13').hidden && document.activeElement.getAttribute('href') === '#pin-13'`))
	do(t, ctx, "and another opens", chromedp.Focus(`a[href="#pin-37"]`), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#pin-37"), until(shows("#pin-37", "Nothing uses it")), until(shows("#pin-37", `pin = "GPIO26"`)), chromedp.KeyEvent("\x1b"))
	do(t, ctx, "a real input has no switch", chromedp.Click(`a[href="#pin-29"]`), chromedp.WaitVisible("#pin-29"), until(`document.querySelector('#pin-29 .switch').hidden`), chromedp.KeyEvent("\x1b"))
	house.Switch(ctx, "heater", false)
	do(t, ctx, "what others do is seen", until(level("heater", "Off")))

	house.mu.Lock()
	p := &house.view.Outputs[0]
	p.Fault, p.Latched = "the feedback says that it is off", true
	fault := *p
	house.tell(Event{Output: &fault})
	house.mu.Unlock()
	do(t, ctx, "a fault is loud", until(level("porch_light", "Fault")), until(shows("#trouble", "the feedback says")), chromedp.Click(`#trouble a[href="/pins#porch_light"]`), chromedp.WaitVisible("#pin-11 .acknowledge"),
		until(shows("#pin-11 .fault", "the feedback says")))
	do(t, ctx, "also from elsewhere", chromedp.Navigate("http://"+s.Addr()+"/log"), chromedp.WaitVisible("body.live"), chromedp.Click(`#trouble a`), chromedp.WaitVisible("#pin-11 .acknowledge"))
	do(t, ctx, "until somebody acknowledges it", chromedp.Click("#pin-11 .acknowledge"), until(`document.querySelector('#trouble').hidden && document.querySelector('#pin-11 .acknowledge').hidden`), until(level("porch_light", "Off")))
	do(t, ctx, "at 320 px", chromedp.EmulateViewport(320, 640), until(overflows))
}

// keepAt keeps screenshots of a page at the sizes that there are in homes, for eyes.
func keepAt(t *testing.T, ctx context.Context, name, url, ready string) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		return
	}
	for _, size := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"320", 320, 640, "light"}, {"390", 390, 800, "dark"}, {"tablet", 800, 1000, "light"}, {"desktop", 1280, 900, "dark"}} {
		do(t, ctx, name, chromedp.EmulateViewport(size.width, size.height), webtest.Scheme(size.scheme),
			chromedp.Navigate(url), until(`document.body.className === 'live'`), until(ready), until(overflows))
		shoot(t, ctx, name+"-"+size.name)
	}
}

func TestScreenshotsOfPins(t *testing.T) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	house := newHouse()
	house.view.Outputs[0].On = true
	house.view.Outputs[2].Fault, house.view.Outputs[2].Hint = "the line is held by another program", "went on 12 times"
	house.view.Outputs = append(house.view.Outputs, Pin{Name: "attic_fan_with_a_rather_long_name", Pin: "relays:3", Known: true})
	s := serve(t, house)
	keepAt(t, ctx, "pins", "http://"+s.Addr()+"/pins", `true`)
	keepAt(t, ctx, "pin", "http://"+s.Addr()+"/pins?#pin-16", `!document.querySelector('#pin-16').hidden`)
}
