package web

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth/doctor"
)

// Clients are those that the small house was given.
func (h *smallHouse) Clients(context.Context) ([]Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.clients), h.broken
}

func (h *smallHouse) Subscriptions(id string, most int) []string {
	return []string{"zigbee2mqtt/#", "of/" + id}
}

func (h *smallHouse) Disconnect(_ context.Context, id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.clients {
		if c := &h.clients[i]; c.ID == id && c.Connected && !c.Own {
			c.Connected = false
			return nil
		}
	}
	return errors.New("no such client is connected")
}

func (h *smallHouse) Report(context.Context) (doctor.Report, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.checkedUp, h.broken
}

func someClients() []Client {
	return []Client{
		{ID: "dishwasher", User: "kitchen", Version: "5", Since: noon.Add(-time.Hour), Expires: noon.Add(time.Hour), Subscriptions: 1, Queued: 3, QueuedBytes: 1234},
		{ID: "zigbee2mqtt", User: "z2m", Version: "3.1.1", Connected: true, Address: "192.168.1.5:51234", Since: noon.Add(-26 * time.Hour), LastSeen: noon.Add(-2 * time.Second), KeepAlive: 60, Subscriptions: 2, Received: 12345, Sent: 678},
		{ID: "tablet", Version: "5", Connected: true, Address: "192.168.1.77:4000", Since: noon.Add(-time.Minute), Queued: 500, QueuedBytes: 2_500_000, Unacked: 20, Dropped: 77, Subscriptions: 1},
		{ID: "bridge-attic", Own: true, Version: "5", Connected: true, Since: noon},
	}
}

func illReport() doctor.Report {
	hot, offset, bits := 83.2, 0.0012, uint32(0x50005)
	m := doctor.Machine{Model: "Raspberry Pi 4 Model B Rev 1.5", Uptime: 93784, Memory: 3_900_000_000, Available: 2_100_000_000, Temperature: &hot, Throttled: &bits,
		DiskSize: 31_000_000_000, DiskFree: 300_000_000, Card: true, Synchronized: true, Offset: &offset, TimeSource: "systemd-timesyncd", Watchdog: "there"}
	h := doctor.Hub{Running: true, Version: "v1.0", Started: noon.Add(-26 * time.Hour), ClockKnown: true, Resident: 34_500_000, Limit: 200_000_000, Written: 12_000_000, PerDay: 11_000_000, Loop: 0.0004,
		History: true, HistoryBytes: 88_000_000, HistoryOldest: noon.Add(-30 * 24 * time.Hour), Broker: map[string]int64{"clients": 3, "messages in": 12345}, Page: "0.0.0.0:8080", PageOpen: true}
	return doctor.Report{At: noon, Findings: doctor.Examine(m, h), Machine: m, Hub: h}
}

// Who is connected and how the machine is doing is told to those who may see the whole house.
func TestWhoSeesClientsAndHealth(t *testing.T) {
	house := newHouse()
	house.clients, house.checkedUp = someClients(), illReport()
	s := lan(house, family())
	anna, guest, oma := cookie(t, s, "anna"), cookie(t, s, "guest"), cookie(t, s, "oma")
	for path, want := range map[string]string{"/clients": "zigbee2mqtt", "/api/v1/clients": `"id":"tablet"`, "/health": "83.2 °C", "/api/v1/health": `"text":"34.5 MB of 200 MB"`, "/clients?client=tablet": "of/tablet"} {
		if w := get(s, path, oma...); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s of who may look: %d, no %q in\n%s", path, w.Code, want, w.Body)
		}
		if w := get(s, path, guest...); w.Code != 403 || strings.Contains(w.Body.String(), want) {
			t.Errorf("%s of a guest: %d %s", path, w.Code, w.Body)
		}
	}
	if w := get(s, "/", guest...).Body.String(); strings.Contains(w, `href="/health"`) || !strings.Contains(w, `href="/pins"`) {
		t.Error("the menu of a guest has what he may not see, or lacks something")
	}
	page := get(s, "/clients", anna...).Body.String()
	if strings.Index(page, "tablet") > strings.Index(page, "zigbee2mqtt") || strings.Index(page, "zigbee2mqtt") > strings.Index(page, "dishwasher") {
		t.Error("whom something is wrong with does not come first")
	}
	if n := strings.Count(page, `class="quiet disconnect"`); n != 2 {
		t.Errorf("%d can be disconnected", n)
	}
	for _, c := range []struct {
		who  []string
		body string
		want int
	}{{oma, `{"client":"tablet"}`, 403}, {guest, `{"client":"tablet"}`, 403}, {anna, `{"client":"bridge-attic"}`, 409}, {anna, `{"client":""}`, 400}, {anna, `{"client":1}`, 400}, {anna, `{"client":"tablet"}`, 204}, {anna, `{"client":"tablet"}`, 409}} {
		if w := ask(s, "POST", "/api/v1/clients/disconnect", c.body, slices.Concat(from, c.who)...); w.Code != c.want {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
	}
	if w := ask(s, "GET", "/health", "", slices.Concat(from, anna, []string{"Accept-Language", "de"})...).Body.String(); !strings.Contains(w, "34,5 MB von 200 MB") || !strings.Contains(w, "Was zu tun ist") || !strings.Contains(w, "<dd>26 h</dd>") {
		t.Errorf("in German it says\n%s", w)
	}
	house.checkedUp = doctor.Report{At: noon}
	if w := get(s, "/health", anna...); !strings.Contains(w.Body.String(), `class="card hint well">All is well.`) {
		t.Errorf("where all is well:\n%s", w.Body)
	}
}

func TestClientsAndHealthWithHostileText(t *testing.T) {
	for _, evil := range hostile {
		house := newHouse()
		house.clients = []Client{{ID: evil, User: evil, Version: evil, Address: evil, Listener: evil, Connected: true, Subscriptions: 1, Since: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}}
		house.checkedUp = illReport()
		house.checkedUp.Findings = []doctor.Finding{{Level: doctor.Bad, What: evil, Do: evil}}
		house.checkedUp.Machine.Model, house.checkedUp.Hub.Broker = evil, map[string]int64{evil: 1}
		house.checkedUp.Hub.Troubles = []string{evil}
		s := New(house, Options{Log: quietLog})
		for _, path := range []string{"/clients", "/health", "/api/v1/health"} {
			w := ask(s, "GET", path, "")
			if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
				t.Errorf("%s of %.20q: %d, %d bytes", path, evil, w.Code, w.Body.Len())
			}
		}
	}
}

func TestClientsAndHealthInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	house.clients, house.checkedUp = someClients(), illReport()
	s := serve(t, house)
	at := "http://" + s.Addr()
	do(t, ctx, "who is there", chromedp.EmulateViewport(320, 640), chromedp.Navigate(at+"/clients"), chromedp.WaitVisible("body.live"), until(`document.querySelectorAll('.client').length === 4`), until(overflows))
	do(t, ctx, "one is sent away", chromedp.Click(`[data-client=tablet]`), until(`document.querySelector('[data-client=tablet]').disabled`))
	if house.clients[2].Connected {
		t.Error("it is still there")
	}
	do(t, ctx, "how it is", chromedp.Navigate(at+"/health"), chromedp.WaitVisible("body.live"), until(shows("#findings", "The power supply is too weak")), until(shows("[data-key=temperature].bad", "83.2 °C")), until(overflows))
	house.mu.Lock()
	house.checkedUp.Findings, house.checkedUp.Machine.Temperature = nil, nil
	house.checkedUp.Hub.Resident = 40_000_000
	house.mu.Unlock()
	do(t, ctx, "it is looked at again", chromedp.Evaluate(`document.dispatchEvent(new Event('visibilitychange'))`, nil), until(`!document.querySelector('#well').hidden && !document.querySelector('.finding')`), until(shows("[data-key=resident]", "40 MB of 200 MB")))
}

func TestScreenshotsOfClientsAndHealth(t *testing.T) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	house := newHouse()
	house.clients, house.checkedUp = someClients(), illReport()
	s := serve(t, house)
	for _, name := range []string{"clients", "health"} {
		keepAt(t, ctx, name, fmt.Sprint("http://", s.Addr(), "/", name), `true`)
	}
}
