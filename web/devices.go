package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Catalog is the devices that have announced themselves.
type Catalog interface {
	// Devices lists them, without their properties.
	Devices(ctx context.Context) (Devices, error)

	// Device is all of one, by the name that it has here; false if there is none.
	Device(ctx context.Context, name string) (Device, bool, error)

	// Forget forgets a device that is no more.
	Forget(ctx context.Context, name string) error
}

// Devices are those that have announced themselves, and what could not be understood of
// that.
type Devices struct {
	Devices  []Device      `json:"devices"`
	Unlinked string        `json:"unlinked,omitempty"` // why nothing is heard of any
	Faults   []DeviceFault `json:"faults,omitempty"`
}

// A DeviceFault is what is wrong with announcements on a topic.
type DeviceFault struct {
	Topic string `json:"topic"`
	Times int    `json:"times"`
	Why   string `json:"why"`
}

// A Device is one that announced itself.
type Device struct {
	Name       string    `json:"name"` // in this house
	ID         string    `json:"id"`
	Via        string    `json:"via"`             // the convention by which it does so
	Named      bool      `json:"named,omitempty"` // the configuration says what it is called
	Label      string    `json:"label,omitempty"` // what people call it
	Room       string    `json:"room,omitempty"`
	Maker      string    `json:"maker,omitempty"`
	Model      string    `json:"model,omitempty"`
	Version    string    `json:"version,omitempty"`
	Online     *bool     `json:"online,omitempty"` // absent: nobody says
	Silent     bool      `json:"silent,omitempty"` // it has not announced itself since the hub started
	Sleepy     bool      `json:"sleepy,omitempty"` // it listens only now and then
	Since      time.Time `json:"since,omitzero"`
	Seen       time.Time `json:"seen,omitzero"`
	Battery    *float64  `json:"battery,omitempty"` // %
	BatteryLow bool      `json:"battery_low,omitempty"`
	Link       *float64  `json:"link,omitempty"`
	LinkUnit   string    `json:"link_unit,omitempty"` // "lqi", "dBm"
	StandsFor  string    `json:"stands_for,omitempty"`
	ReplacedBy string    `json:"replaced_by,omitempty"`

	// Of one device alone:

	Properties []DeviceProperty `json:"properties,omitempty"`
	Rules      []string         `json:"rules,omitempty"`  // that look at it or tell it something
	Config     string           `json:"config,omitempty"` // its lines in the configuration
	Denied     []string         `json:"denied,omitempty"` // topics for commands on which who announced it may not publish

	See [][]string `json:"-"` // by property: the topics that one has to be allowed to see
}

// A DeviceProperty is what a device reports or can be told, with all of its topics.
type DeviceProperty struct {
	Name       string    `json:"name"`
	Label      string    `json:"label,omitempty"`
	Kind       string    `json:"kind"`
	Unit       string    `json:"unit,omitempty"`
	Text       string    `json:"text,omitempty"`
	At         time.Time `json:"at,omitzero"`
	Bad        string    `json:"bad,omitempty"`
	Away       bool      `json:"away,omitempty"`
	Asked      string    `json:"asked,omitempty"`
	GaveUp     bool      `json:"gave_up,omitempty"` // it was told so as often as makes sense
	Diagnostic bool      `json:"diagnostic,omitempty"`
	Topics     []string  `json:"topics,omitempty"` // on which it is reported
	SetTopic   string    `json:"set_topic,omitempty"`
}

// Title is what people read.
func (d Device) Title() string { return cmp.Or(d.Label, d.Name) }

// Made is who made it, and what it is.
func (d Device) Made() string { return strings.TrimSpace(d.Maker + " " + d.Model) }

// Lines are what gives it a name and a room in the configuration.
func (d Device) Lines() string {
	return fmt.Sprintf("[device.%s]\nid = %s\nname = %s\nroom = %s", d.Name, tomlText(d.ID), tomlText(d.Title()), tomlText(d.Room))
}

// tomlText is a text as a configuration has it. A string of JSON is one of TOML.
func tomlText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

// A deviceRow is what the template of a row takes.
type deviceRow struct {
	Device
	Now   time.Time
	words *words
}

func (r deviceRow) Path() string { return "/devices/" + url.PathEscape(r.Name) }

// Gone says that it says that it can't be reached.
func (r deviceRow) Gone() bool { return r.Online != nil && !*r.Online }

// There says in words whether it can be.
func (r deviceRow) There() string {
	switch {
	case r.Gone():
		return r.words.text("away")
	case r.Silent:
		return r.words.text("device.quiet")
	case r.Online != nil:
		return r.words.text("device.there")
	}
	return r.words.text("device.heard")
}

// Power is its battery in words, "" if it says nothing of one; Weak, that it is nearly empty.
func (r deviceRow) Power() string {
	switch {
	case r.Battery != nil:
		return r.words.text("device.battery", "n", r.words.number(*r.Battery, "%"))
	case r.BatteryLow:
		return r.words.text("device.battery_low")
	}
	return ""
}

func (r deviceRow) Weak() bool { return r.BatteryLow || r.Battery != nil && *r.Battery <= 15 }

// Radio is how well it is heard.
func (r deviceRow) Radio() string {
	if r.Link == nil {
		return ""
	}
	return r.words.text("device.link", "n", r.words.number(*r.Link, r.LinkUnit))
}

func (d Device) clean() Device {
	d.Name, d.ID, d.Via, d.Label, d.Room = asName(d.Name), asName(d.ID), asName(d.Via), asName(d.Label), asName(d.Room)
	d.Maker, d.Model, d.Version = asName(d.Maker), asName(d.Model), asName(d.Version)
	d.StandsFor, d.ReplacedBy, d.LinkUnit, d.Config = asName(d.StandsFor), asName(d.ReplacedBy), mended(d.LinkUnit, 20), mendedLines(d.Config, 4000)
	d.Since, d.Seen = sane(d.Since), sane(d.Seen)
	d.Rules, d.Denied = each(d.Rules, asName), each(d.Denied, asName)
	d.Properties = each(d.Properties, func(p DeviceProperty) DeviceProperty {
		p.Name, p.Label, p.Kind, p.Unit = asName(p.Name), asName(p.Label), mended(p.Kind, 20), mended(p.Unit, 20)
		p.Text, p.Bad, p.Asked, p.At = mended(p.Text, mostText), sentence(p.Bad), mended(p.Asked, mostName), sane(p.At)
		p.Topics, p.SetTopic = each(p.Topics, asName), asName(p.SetTopic)
		return p
	})
	return d
}

// seenBy is the part of d that a visitor may see; false if that is nothing.
func (d Device) seenBy(r Rights) (Device, bool) {
	if r.Whole(See) {
		return d, true
	}
	var some []DeviceProperty
	any, all := false, true
	for i, topics := range d.See {
		if may(r, topics, See) {
			if any = true; i < len(d.Properties) {
				some = append(some, d.Properties[i])
			}
		} else {
			all = false
		}
	}
	if !all { // of which of its properties these are, is not told
		d.Battery, d.BatteryLow, d.Link, d.LinkUnit = nil, false, nil, ""
	}
	d.Properties, d.Rules, d.Config, d.Denied = some, nil, "", nil
	return d, any
}

// deviceList is the devices as a visitor may see them: new ones first, then by room.
func (s *Server) deviceList(r *http.Request) (Devices, error) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	leave, err := s.whole.rest(ctx)
	if err != nil {
		return Devices{}, err
	}
	all, err := s.house.Devices(ctx)
	leave()
	if err != nil {
		return Devices{}, err
	}
	who := visitorOf(r).rights
	some := make([]Device, 0, len(all.Devices))
	for _, d := range all.Devices {
		if d, ok := d.seenBy(who); ok {
			some = append(some, d.clean())
		}
	}
	slices.SortStableFunc(some, func(a, b Device) int {
		switch {
		case a.Named != b.Named:
			return map[bool]int{false: -1, true: 1}[a.Named]
		case !a.Named:
			return cmp.Or(b.Since.Compare(a.Since), strings.Compare(a.Name, b.Name))
		}
		return cmp.Or(strings.Compare(a.Room, b.Room), strings.Compare(a.Title(), b.Title()))
	})
	w := s.wordsFor(r)
	all.Devices, all.Unlinked = some, w.say(sentence(all.Unlinked))
	if !who.Whole(See) {
		all.Faults, all.Unlinked = nil, ""
	}
	all.Faults = each(all.Faults, func(f DeviceFault) DeviceFault {
		return DeviceFault{asName(f.Topic), f.Times, w.say(sentence(f.Why))}
	})
	return all, nil
}

// New are those that the configuration says nothing of.
func (l Devices) New() []Device { return l.named(false) }
func (l Devices) Known() []Device {
	return l.named(true)
}

func (l Devices) named(is bool) (some []Device) {
	for _, d := range l.Devices {
		if d.Named == is {
			some = append(some, d)
		}
	}
	return some
}

func (s *Server) devicesPage(r *http.Request, v View) (any, error) { return s.deviceList(r) }

func (s *Server) serveDevices(w http.ResponseWriter, r *http.Request) {
	list, err := s.deviceList(r)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	send(w, r, "application/json", asJSON(list))
}

// A deviceSheet is what is on the page of one device.
type deviceSheet struct {
	Device
	Topics  []topicRow // its topics, with what is retained there
	Changes bool       // who looks may change the configuration, and forget it
}

// theDevice is one as a visitor may see it. Whether it is there or not is told in the same words.
func (s *Server) theDevice(r *http.Request) (Device, error) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	name := r.PathValue("name")
	d, ok, err := s.house.Device(ctx, name)
	if err != nil {
		return d, err
	}
	if ok {
		d, ok = d.seenBy(visitorOf(r).rights)
	}
	if !ok {
		return d, refusal{http.StatusNotFound, "no device is named " + name}
	}
	d, w := d.clean(), s.wordsFor(r)
	for i, p := range d.Properties {
		d.Properties[i].Bad = w.say(p.Bad)
	}
	return d, nil
}

func (s *Server) devicePage(r *http.Request, v View) (any, error) {
	d, err := s.theDevice(r)
	if err != nil {
		return nil, err
	}
	who := visitorOf(r).rights
	sheet := deviceSheet{Device: d, Changes: who.Whole(Change)}
	seen := make(map[string]bool)
	for _, p := range d.Properties {
		for _, topic := range append(slices.Clone(p.Topics), p.SetTopic) {
			if topic == "" || seen[topic] {
				continue
			}
			seen[topic] = true
			rows, _, err := s.retained(topic, who)
			if err == nil && len(rows) == 0 && who.On(topic, See) {
				rows = []topicRow{{Topic: topic}}
			}
			sheet.Topics = append(sheet.Topics, rows...)
		}
	}
	return sheet, nil
}

func (s *Server) serveDevice(w http.ResponseWriter, r *http.Request) {
	d, err := s.theDevice(r)
	if err != nil {
		refuseFor(w, err)
		return
	}
	send(w, r, "application/json", asJSON(d))
}

// takeForget forgets a device, for those who may change the house.
func (s *Server) takeForget(w http.ResponseWriter, r *http.Request) {
	err := isJSON(r)
	if err == nil && !visitorOf(r).rights.Whole(Change) {
		err = errChangeWhole
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	if err := s.house.Forget(ctx, r.PathValue("name")); err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
