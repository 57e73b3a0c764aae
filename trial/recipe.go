package trial

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/config"
)

// A Recipe is a test that comes from a JSON file and knows nothing of Hearth: its
// pins are levels of wires, and its rules stand in a file of their own.
//
// What differs from a test of the owner's: only retained messages are found at
// start; output pins begin low, which for one with active_low is a change; and
// while the hub is down they keep their level.
type Recipe struct {
	ID, Title string
	Err       error // what is wrong with it; then the rest is not to be used

	// Timezone and Place are where its house stands; Place is nil if it doesn't matter.
	Timezone string
	Place    *Place

	test Test            // inputs and outputs are named by their pins, at physical levels
	pins map[string]bool // levels of inputs at start
}

// A Place is in degrees north and east.
type Place struct{ Lat, Lon float64 }

// ReadRecipes reads a file of recipes. The error says that it is none; a recipe
// that can't be understood has its own.
func ReadRecipes(text []byte) ([]Recipe, error) {
	var file struct{ Recipes []json.RawMessage }
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("no file of recipes: %w", err)
	}
	if len(file.Recipes) == 0 {
		return nil, errors.New(`no file of recipes: want {"recipes": [...]} with at least one`)
	}
	recipes := make([]Recipe, len(file.Recipes))
	for i, raw := range file.Recipes {
		recipes[i] = readRecipe(raw)
		if recipes[i].ID == "" {
			recipes[i].ID = fmt.Sprintf("#%d", i+1)
		}
	}
	return recipes, nil
}

// rawRecipe is a recipe as it is written; what only explains it is left out.
type rawRecipe struct {
	ID, Title string
	Setup     struct {
		Clock, TZ string
		Place     *Place
		Inputs    map[string]level `json:"gpio_inputs"`
	}
	Timeline    []rawStep
	End         offset
	AllowRepeat bool `json:"allow_repeat"`
	Expect      []rawStep
	Forbid      []rawStep
}

// rawStep is an entry of timeline, expect or forbid: when, and one of the others.
type rawStep struct {
	At     *offset
	Window []offset

	Publish *struct {
		Topic   string
		Payload *payload
		Retain  *bool
	}
	GPIO *struct {
		Name  string
		Value *level
	}
	Restart *struct {
		Down offset `json:"down_for"`
	}
	Webhook *struct{ Method, Path, Body string }
	HTTP    *request
	Mock    *mock `json:"http_mock"`
}

func readRecipe(raw []byte) (r Recipe) {
	var rr rawRecipe
	var id struct{ ID, Title string }
	json.Unmarshal(raw, &id) // to name it, whatever else is wrong
	r.ID, r.Title = id.ID, id.Title
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&rr); err != nil {
		r.Err = err
		return r
	}
	if _, r.Err = time.LoadLocation(rr.Setup.TZ); r.Err != nil {
		return r
	}
	start, err := time.Parse("2006-01-02T15:04:05", rr.Setup.Clock)
	if err != nil {
		r.Err = fmt.Errorf(`setup.clock is %q, want such as "2026-03-10T12:00:00"`, rr.Setup.Clock)
		return r
	}
	r.Timezone, r.Place, r.pins = cmp.Or(rr.Setup.TZ, "UTC"), rr.Setup.Place, make(map[string]bool)
	for pin, high := range rr.Setup.Inputs {
		r.pins[pin] = bool(high)
	}
	end := Offset(rr.End)
	r.test = Test{Name: r.ID, Start: Moment{start}, End: &end, Repeats: rr.AllowRepeat, physical: true}
	for i, s := range rr.Timeline {
		send, err := s.send()
		if err != nil {
			r.Err = fmt.Errorf("timeline[%d]: %w", i, err)
			return r
		}
		if send != nil {
			r.test.Send = append(r.test.Send, *send)
		}
	}
	for _, part := range []struct {
		name string
		from []rawStep
		to   *config.List[Expect]
	}{{"expect", rr.Expect, &r.test.Expect}, {"forbid", rr.Forbid, &r.test.Forbid}} {
		for i, s := range part.from {
			e, err := s.expect()
			if err != nil {
				r.Err = fmt.Errorf("%s[%d]: %w", part.name, i, err)
				return r
			}
			*part.to = append(*part.to, e)
		}
	}
	return r
}

// send is an entry of the timeline; nil if the hub would not notice.
func (s rawStep) send() (*Send, error) {
	if s.At == nil {
		return nil, errors.New("it has no at")
	}
	send := &Send{At: Offset(*s.At)}
	switch {
	case s.Publish != nil:
		send.Topic, send.Retain = s.Publish.Topic, s.Publish.Retain != nil && *s.Publish.Retain
		if send.Topic == "" {
			return nil, errors.New("publish has no topic")
		}
		text := Payload("")
		if s.Publish.Payload != nil {
			text = Payload(*s.Publish.Payload)
		}
		send.Payload = &text
	case s.GPIO != nil:
		if s.GPIO.Name == "" || s.GPIO.Value == nil {
			return nil, errors.New("gpio wants a name and a value")
		}
		send.Input, send.To = s.GPIO.Name, (*Level)(s.GPIO.Value)
	case s.Restart != nil:
		if s.Restart.Down <= 0 {
			return nil, errors.New("restart has no down_for")
		}
		send.Restart = config.Duration(s.Restart.Down)
	case s.Webhook != nil:
		if s.Webhook.Method != "" && s.Webhook.Method != "POST" {
			return nil, nil // nothing listens to it
		}
		send.Webhook, send.Body = s.Webhook.Path, s.Webhook.Body
		if send.Webhook == "" {
			return nil, errors.New("webhook has no path")
		}
	case s.Mock != nil:
		send.HTTP, send.Status = s.Mock.URL, s.Mock.Status
	default:
		return nil, errors.New("it is none of publish, gpio, restart, webhook, http_mock")
	}
	return send, nil
}

// expect is an entry of expect or forbid.
func (s rawStep) expect() (e Expect, err error) {
	switch {
	case s.At != nil:
		e.At = (*Offset)(s.At)
	case len(s.Window) == 2:
		e.Between = []Offset{Offset(s.Window[0]), Offset(s.Window[1])}
	default:
		return e, errors.New("it has neither at nor a window of two times")
	}
	switch {
	case s.Publish != nil:
		e.Topic, e.Payload, e.Retain = s.Publish.Topic, (*Payload)(s.Publish.Payload), s.Publish.Retain
	case s.GPIO != nil:
		e.Output, e.To = s.GPIO.Name, (*Level)(s.GPIO.Value)
	case s.HTTP != nil:
		e.HTTP, e.Method, e.Body = s.HTTP.URL, s.HTTP.Method, string(s.HTTP.Body)
		if url, ok := strings.CutPrefix(e.HTTP, "http:"); ok && strings.Contains(url, "://") {
			e.HTTP = url // written as among outputs
		}
	}
	if e.Topic == "" && e.Output == "" && e.HTTP == "" {
		return e, errors.New("it is none of publish, gpio, http")
	}
	return e, nil
}

// Run tries a recipe out with the rules of a house that stands at its place.
func (r Recipe) Run(house House) *Verdict { return Run(house, r.In(house)) }

// In is the recipe as a test of a house, with its inputs and outputs for pins.
func (r Recipe) In(house House) Test {
	test := r.test
	test.Send, test.Expect, test.Forbid = nil, slices.Clone(test.Expect), slices.Clone(test.Forbid)
	add := func(s Send) {
		if s.Input != "" {
			name, activeLow, ok := inputOn(house, s.Input)
			if !ok {
				return // nothing is wired to it
			}
			on := bool(*s.To) != activeLow
			s.Input, s.To = name, (*Level)(&on)
		}
		test.Send = append(test.Send, s)
	}
	for _, pin := range slices.Sorted(maps.Keys(r.pins)) {
		high := r.pins[pin]
		add(Send{At: Offset(-24 * time.Hour), Input: pin, To: (*Level)(&high)})
	}
	for _, s := range r.test.Send {
		add(s)
	}
	for _, list := range [][]Expect{test.Expect, test.Forbid} {
		for i, e := range list {
			name, activeLow, ok := outputOn(house, e.Output)
			if e.Output == "" || !ok {
				continue
			}
			list[i].Output = name
			if e.To != nil {
				on := bool(*e.To) != activeLow
				list[i].To = (*Level)(&on)
			}
		}
	}
	return test
}

// outputOn and inputOn are what is on a pin. A recipe may call the pin as the
// kernel does, by its number, or as the house calls what is there.
func outputOn(house House, pin string) (name string, activeLow, ok bool) {
	for _, same := range []func(name, on string) bool{onPin(pin), called(pin)} {
		for _, o := range house.Pins.Output {
			if same(o.Name, o.Value.Pin) {
				return o.Name, o.Value.ActiveLow, true
			}
		}
	}
	return pin, false, false
}

func inputOn(house House, pin string) (name string, activeLow, ok bool) {
	for _, same := range []func(name, on string) bool{onPin(pin), called(pin)} {
		for _, i := range house.Pins.Input {
			if same(i.Name, i.Value.Pin) {
				return i.Name, i.Value.ActiveLow, true
			}
		}
	}
	return pin, false, false
}

func onPin(pin string) func(name, on string) bool {
	return func(_, on string) bool { return on == pin || on == "GPIO"+pin }
}

func called(pin string) func(name, on string) bool {
	return func(name, _ string) bool { return name == pin }
}

// An offset is hh:mm:ss or hh:mm:ss.mmm, maybe negative.
type offset time.Duration

func (o *offset) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("%q is no time: want hh:mm:ss or hh:mm:ss.mmm", text)
	s, negative := strings.CutPrefix(string(text), "-")
	whole, fraction, _ := strings.Cut(s, ".")
	parts := strings.Split(whole, ":")
	if len(parts) != 3 || len(fraction) > 9 {
		return wrong
	}
	var d time.Duration
	for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil || i > 0 && n > 59 {
			return wrong
		}
		d += time.Duration(n) * unit
	}
	if fraction != "" {
		n, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
		if err != nil {
			return wrong
		}
		d += time.Duration(n)
	}
	if *o = offset(d); negative {
		*o = -*o
	}
	return nil
}

// A payload is text, or what else stands there as JSON.
type payload string

func (p *payload) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		var short bytes.Buffer
		if err := json.Compact(&short, raw); err != nil {
			return err
		}
		text = short.String()
	}
	*p = payload(text)
	return nil
}

// A level is 0 or 1, or a boolean.
type level bool

func (l *level) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case "1", "true":
		*l = true
	case "0", "false":
		*l = false
	default:
		return fmt.Errorf("%s is no level: want 0 or 1", raw)
	}
	return nil
}

// A request is a URL alone, or what is asked of it.
type request struct {
	Method, URL string
	Body        payload
}

func (r *request) UnmarshalJSON(raw []byte) error {
	type plain request
	if json.Unmarshal(raw, &r.URL) == nil {
		return nil
	}
	return json.Unmarshal(raw, (*plain)(r))
}

// A mock is the status of the next answer; 0 is no connection.
type mock struct {
	URL    string
	Status int
}

func (m *mock) UnmarshalJSON(raw []byte) error {
	type plain mock
	if json.Unmarshal(raw, &m.Status) != nil {
		if err := json.Unmarshal(raw, (*plain)(m)); err != nil {
			return err
		}
	}
	if m.URL == "" {
		m.URL = "*"
	}
	return nil
}
