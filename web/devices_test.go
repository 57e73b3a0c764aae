package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// The small house has as many devices as it was given.
func (h *smallHouse) Devices(context.Context) (Devices, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := Devices{Devices: slices.Clone(h.devices), Faults: h.notUnderstood}
	for i := range all.Devices {
		d := &all.Devices[i]
		d.Properties, d.Rules, d.Config = nil, nil, ""
	}
	return all, h.broken
}

func (h *smallHouse) Device(_ context.Context, name string) (Device, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.devices, func(d Device) bool { return d.Name == name })
	if i < 0 || h.broken != nil {
		return Device{}, false, h.broken
	}
	return h.devices[i], true, nil
}

func (h *smallHouse) Forget(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.devices, func(d Device) bool { return d.Name == name })
	if i < 0 {
		return errors.New("no such device")
	}
	h.devices = slices.Delete(h.devices, i, i+1)
	return nil
}

// aDevice is a thermometer that nobody has named.
func aDevice(name string) Device {
	yes, battery, link := true, 71.0, 120.0
	return Device{
		Name: name, ID: "zigbee2mqtt/0x00158d00" + name, Via: "zigbee2mqtt", Label: "Climate " + name, Maker: "Aqara", Model: "WSDCGQ11LM", Online: &yes,
		Since: noon.Add(-time.Hour), Seen: noon.Add(-time.Minute), Battery: &battery, Link: &link, LinkUnit: "lqi",
		Properties: []DeviceProperty{
			{Name: "temperature", Kind: "sensor", Unit: "°C", Text: "18.4", At: noon.Add(-time.Minute), Topics: []string{"zigbee2mqtt/" + name}},
			{Name: "state", Kind: "switch", Text: "on", At: noon, Topics: []string{"zigbee2mqtt/" + name}, SetTopic: "zigbee2mqtt/" + name + "/set"},
		},
		Rules: []string{"rule.heater"},
		See:   [][]string{{"zigbee2mqtt/" + name}, {"zigbee2mqtt/" + name}},
	}
}

func manyDevices(n int) *smallHouse {
	house := newHouse()
	for i := range n {
		d := aDevice(fmt.Sprintf("climate_%03d", i))
		if d.Named = i%5 != 0; d.Named {
			d.Room, d.Config = fmt.Sprint("Room ", i%7), "[device."+d.Name+"]\nid = \""+d.ID+"\""
		}
		if i%11 == 3 {
			no, low := false, 9.0
			d.Online, d.Battery = &no, &low
		}
		house.devices = append(house.devices, d)
	}
	return house
}

// New devices come first, each is there for those who may see something of it, and what is
// told of the whole house only for those who may see that.
func TestWhoSeesWhichDevices(t *testing.T) {
	house := manyDevices(3)
	house.notUnderstood = []DeviceFault{{"homeassistant/x/config", 3, "no topic"}}
	people := family()
	people.change(func(h *household) { h.rights["guest"] = part{Use, []string{"zigbee2mqtt/climate_001"}} })
	s := lan(house, people)
	anna, guest, oma := cookie(t, s, "anna"), cookie(t, s, "guest"), cookie(t, s, "oma")
	w := get(s, "/devices", anna...).Body.String()
	if first, second := strings.Index(w, "Climate climate_000"), strings.Index(w, "Climate climate_001"); first < 0 || second < first || !strings.Contains(w, "no topic") {
		t.Errorf("she sees\n%s", w)
	}
	for _, path := range []string{"/devices", "/api/v1/devices", "/devices/climate_002", "/api/v1/devices/climate_002"} {
		w := get(s, path, guest...)
		if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "climate_001") || strings.Contains(body, "no topic") || strings.Contains(body, "rule.heater") || strings.Contains(body, "[device.") || !strings.Contains(body, "climate_002") {
			t.Errorf("%s: %d\n%s", path, w.Code, body)
		}
	}
	for _, name := range []string{"climate_001", "nothing"} {
		if w := get(s, "/api/v1/devices/"+name, guest...); w.Code != 404 || said(t, w) != "no device is named "+name {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	// Of a device of which something is kept from somebody, they are not told what may be of that.
	house.devices[0].See[1] = []string{"zigbee2mqtt/climate_001"}
	if body := get(s, "/api/v1/devices/climate_000", guest...).Body.String(); strings.Contains(body, "battery") || strings.Contains(body, "lqi") || !strings.Contains(body, "temperature") {
		t.Errorf("the guest is told %s", body)
	}
	page := get(s, "/devices/climate_000", anna...).Body.String()
	for _, want := range []string{"rule.heater", "[device.climate_000]\nid = &#34;zigbee2mqtt/0x00158d00climate_000&#34;\nname = &#34;Climate climate_000&#34;", "/topics?filter=zigbee2mqtt%2fclimate_000%2fset", "Forget this device"} {
		if !strings.Contains(page, want) {
			t.Errorf("her page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(get(s, "/devices/climate_000", oma...).Body.String(), "Forget this device") {
		t.Error("who may look is offered to forget")
	}
	for _, c := range []struct {
		who  []string
		name string
		want int
	}{{oma, "climate_000", 403}, {guest, "climate_000", 403}, {anna, "nothing", 409}, {anna, "climate_000", 204}} {
		if w := ask(s, "POST", "/api/v1/devices/"+c.name+"/forget", `{}`, slices.Concat(from, c.who)...); w.Code != c.want {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	if len(house.devices) != 2 {
		t.Errorf("%d are left", len(house.devices))
	}
	if w := ask(s, "GET", "/devices", "", slices.Concat(from, anna, []string{"Accept-Language", "de"})...).Body.String(); !strings.Contains(w, "In der Konfiguration") || !strings.Contains(w, "Batterie 71 %") {
		t.Errorf("in German it says\n%s", w)
	}
	empty := ask(New(newHouse(), Options{Log: quietLog}), "GET", "/devices", "").Body.String()
	if !strings.Contains(empty, "No device has announced itself yet.") {
		t.Errorf("without a device it says\n%s", empty)
	}
}

func TestDevicesWithHostileText(t *testing.T) {
	for _, evil := range hostile {
		house := newHouse()
		d := Device{Name: evil, ID: evil, Via: evil, Label: evil, Room: evil, Maker: evil, Model: evil, Version: evil, StandsFor: evil, ReplacedBy: evil, Rules: []string{evil}, Denied: []string{evil}, Config: evil,
			Properties: []DeviceProperty{{Name: evil, Label: evil, Kind: evil, Unit: evil, Text: evil, Bad: evil, Asked: evil, Topics: []string{evil}, SetTopic: evil, At: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}}}
		other := d
		other.Name, other.Named = "plain", true
		house.devices, house.notUnderstood = []Device{d, other}, []DeviceFault{{evil, 1, evil}}
		house.kept = []Message{{Topic: evil, Payload: []byte(evil)}}
		s := New(house, Options{Log: quietLog})
		for _, path := range []string{"/devices", "/devices/plain", "/topics", "/topics?filter=" + url.QueryEscape(evil[:min(len(evil), 500)])} {
			w := ask(s, "GET", path, "")
			if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") || strings.Contains(body, "<h1>{{") || w.Body.Len() > 100_000 {
				t.Errorf("%s of %.20q: %d, %d bytes", path, evil, w.Code, w.Body.Len())
			}
		}
	}
}

// 500 devices are a page like any other, and filtered as one types.
func TestFiveHundredDevicesInABrowser(t *testing.T) {
	house := manyDevices(500)
	s := serve(t, house)
	began := time.Now()
	w := ask(s, "GET", "/devices", "", "Accept-Encoding", "gzip")
	t.Logf("500 devices: %d bytes over the air, made in %v", w.Body.Len(), time.Since(began))
	if w.Body.Len() > 40_000 {
		t.Errorf("%d bytes", w.Body.Len())
	}
	ctx := browser(t)
	at := "http://" + s.Addr()
	do(t, ctx, "all are there", chromedp.EmulateViewport(390, 800), chromedp.Navigate(at+"/devices"), chromedp.WaitVisible("body.live"), until(`document.querySelectorAll('.devices li').length === 500`), until(overflows))
	do(t, ctx, "some of them", chromedp.SendKeys("#filter", "climate_04"), until(shows("#count", "10 of 500")), until(`document.querySelectorAll('.devices li:not([hidden])').length === 10`))
	do(t, ctx, "a new one gets a name", chromedp.Click(`li[data-name=climate_040] a`), chromedp.WaitVisible("#naming"), chromedp.WaitVisible("body.live"), chromedp.Clear("[name=label]"), chromedp.SendKeys("[name=label]", `the "best"`),
		chromedp.SendKeys("[name=room]", "Hall"), until(shows("#lines", `name = "the \"best\""`)), until(shows("#lines", `room = "Hall"`)), until(overflows))
	do(t, ctx, "forgetting takes two", chromedp.Click("#forget"), until(shows("#forget", "Once more")), chromedp.Click("#forget"), chromedp.WaitVisible(".devices"), until(`document.querySelectorAll('.devices li').length === 499`))
}

func TestScreenshotsOfDevices(t *testing.T) {
	if os.Getenv("HEARTH_SCREENSHOTS") == "" {
		t.Skip("HEARTH_SCREENSHOTS names no folder")
	}
	ctx := browser(t)
	s := serve(t, manyDevices(12))
	keepAt(t, ctx, "devices", "http://"+s.Addr()+"/devices", `true`)
	keepAt(t, ctx, "device", "http://"+s.Addr()+"/devices/climate_005", `true`)
}
