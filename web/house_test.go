package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/doctor"
)

// A smallHouse is a House in memory that works: what is switched turns, and
// those who watch hear of it.
type smallHouse struct {
	bureau            // of its configuration
	hooked   []string // bodies of the webhook
	told     []string // what other things were told
	mu       sync.Mutex
	view     View
	watchers map[chan Event]bool
	room     int   // events a watcher may be behind
	stalled  bool  // View waits until its context ends
	broken   error // what View says instead
	deaf     bool  // outputs take commands and do not turn
	refuses  error // that of a thing that takes nothing
	metrics  []Metric
	memory   memory
	past     sync.Mutex // of the present moment of memory
	book     book       // rules_test.go

	devices       []Device
	notUnderstood []DeviceFault
	clients       []Client
	checkedUp     doctor.Report
	broker
}

var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.FixedZone("CET", 3600))

func newHouse() *smallHouse {
	return &smallHouse{
		room:     64,
		watchers: map[chan Event]bool{},
		view: View{
			Name: "home", Version: "test", Simulated: true, Now: noon, Started: noon.Add(-26 * time.Hour), ClockKnown: true, Rules: 3,
			Outputs: []Pin{
				{Name: "porch_light", Pin: "GPIO17", Known: true, Simulated: true},
				{Name: "heater", Pin: "GPIO22", Known: true, On: true, Simulated: true},
				{Name: "garden_pump", Pin: "GPIO23", Simulated: true},
			},
			Inputs: []Pin{
				{Name: "pir", Pin: "GPIO27", Known: true, Simulated: true},
				{Name: "doorbell", Pin: "GPIO5", Known: true},
			},
			Readings: []Reading{
				{Source: "zigbee2mqtt/study_climate:temperature", Text: "18.4", At: noon.Add(-4 * time.Second)},
				{Source: "zigbee2mqtt/hall_motion:occupancy", Text: "true", At: noon.Add(-7 * time.Minute)},
				{Source: "garage/door/state", Text: "unavailable", Bad: "not valid: unavailable", At: noon.Add(-5 * time.Hour)},
			},
			Decisions: []Decision{
				{At: noon.Add(-3 * time.Second), Rule: "rule.heater", Outcome: "fired", Text: "rule.heater fired: zigbee2mqtt/study_climate:temperature below 19 (now 18.4) -> heater ON"},
				{At: noon.Add(-7 * time.Minute), Rule: "link.hall_light", Outcome: "blocked", Text: "link.hall_light blocked: zigbee2mqtt/hall_motion:occupancy (now true), not sun down (up)"},
			},
			Waiting: []string{"rule.garage_open waits until garage/door/state has been open for 15m"},
			Broker:  map[string]int64{"clients": 3, "messages_received": 12345},
		},
	}
}

func (h *smallHouse) View(ctx context.Context) (View, error) {
	h.mu.Lock()
	stalled, broken := h.stalled, h.broken
	v := h.view
	v.Things = slices.Clone(v.Things)
	for _, p := range v.Outputs {
		v.Things = append(v.Things, thingOf(p, true))
	}
	for _, p := range v.Inputs {
		v.Things = append(v.Things, thingOf(p, p.Simulated))
	}
	v.Outputs, v.Inputs = slices.Clone(v.Outputs), slices.Clone(v.Inputs)
	v.Readings, v.Decisions = slices.Clone(v.Readings), slices.Clone(v.Decisions)
	h.mu.Unlock()
	if stalled {
		<-ctx.Done()
		return View{}, ctx.Err()
	}
	return v, broken
}

// thingOf is a pin as the hub shows it among the things.
func thingOf(p Pin, tells bool) Thing {
	return Thing{Name: p.Name, Line: p.Pin, Note: p.Note, Fault: p.Fault, Properties: []Property{{Series: p.Name, Kind: "switch", On: p.On, Known: p.Known, Tells: tells, See: []string{seen(p.Name)}, Use: []string{used(p.Name)}}}}
}

func (h *smallHouse) Tell(ctx context.Context, name string, value any) error {
	h.mu.Lock()
	input := slices.ContainsFunc(h.view.Inputs, func(p Pin) bool { return p.Name == name })
	if i := slices.IndexFunc(h.view.Things, func(t Thing) bool { return name == t.Name || strings.HasPrefix(name, t.Name+".") }); i >= 0 {
		defer h.mu.Unlock()
		if h.refuses != nil {
			return h.refuses
		}
		h.told = append(h.told, fmt.Sprint(name, " ", value))
		return nil
	}
	h.mu.Unlock()
	on, ok := value.(bool)
	switch {
	case !ok:
		return errors.New("want true or false")
	case input:
		return h.Drive(ctx, name, on)
	}
	return h.Switch(ctx, name, on)
}

func (h *smallHouse) Watch() (<-chan Event, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := make(chan Event, h.room)
	h.watchers[events] = true
	return events, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, events)
	}
}

// tell is called with mu held.
func (h *smallHouse) tell(e Event) {
	for events := range h.watchers {
		select {
		case events <- e:
		default:
			close(events)
			delete(h.watchers, events)
		}
	}
}

func (h *smallHouse) watching() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers)
}

func (h *smallHouse) change(f func(*View)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.view)
}

func (h *smallHouse) report(r Reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.IndexFunc(h.view.Readings, func(o Reading) bool { return o.Source == r.Source }); i >= 0 {
		h.view.Readings[i] = r
	} else {
		h.view.Readings = append(h.view.Readings, r)
	}
	h.tell(Event{Reading: &r})
}

func (h *smallHouse) Switch(_ context.Context, name string, on bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.view.Outputs {
		p := &h.view.Outputs[i]
		if p.Name != name {
			continue
		}
		if p.Fault != "" {
			return fmt.Errorf("output %q can't be switched: %s", name, p.Fault)
		}
		if h.deaf {
			return nil
		}
		p.On, p.Known = on, true
		turned := *p
		thing := thingOf(turned, true)
		h.tell(Event{Output: &turned, Thing: &thing})
		word := map[bool]string{true: "ON", false: "OFF"}[on]
		d := Decision{At: noon.Add(time.Second), Rule: "page", Outcome: "fired", Text: "page fired; somebody switched it on the page -> " + name + " " + word}
		h.view.Decisions = slices.Insert(h.view.Decisions, 0, d)
		h.tell(Event{Decision: &d})
		return nil
	}
	return fmt.Errorf(`no output is named %q, did you mean "porch_light"?`, name)
}

func (h *smallHouse) Hook(_ context.Context, path string, body []byte) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if path != "/hook/doorbell" {
		return false, nil
	}
	h.hooked = append(h.hooked, string(body))
	return true, nil
}

func (h *smallHouse) Drive(_ context.Context, name string, on bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.view.Inputs {
		p := &h.view.Inputs[i]
		if p.Name != name {
			continue
		}
		if !p.Simulated {
			return fmt.Errorf("input %q is real", name)
		}
		p.On, p.Known = on, true
		turned := *p
		thing := thingOf(turned, true)
		h.tell(Event{Input: &turned, Thing: &thing})
		return nil
	}
	return errors.New("no such input")
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

// serve starts a server of house on a free port and ends it with the test.
func serve(t testing.TB, house House) *Server {
	t.Helper()
	s := New(house, Options{Log: quietLog})
	listenOn(t, s, "127.0.0.1:0")
	t.Cleanup(func() { s.Close() })
	return s
}

func listenOn(t testing.TB, s *Server, listen string) {
	t.Helper()
	c, err := s.Prepare(Config{Listen: &listen})
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
}

func (h *smallHouse) Metrics(context.Context) ([]Metric, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.metrics, h.broken
}
