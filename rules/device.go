package rules

import (
	"encoding/json"
	"slices"
	"strings"

	"hearth/devices"
)

// A device is something that talks MQTT, known by a name. By its id in the catalog, such as
// "shelly/shellyplus1-a8032abe54dc", it is one that announces itself: where it reports is
// for the hub to know, its properties come as readings of the name, and commands go by it.
// With via the topics follow from what it is called there.
type device struct {
	name, via, id, main string
}

func newDevice(name string, d Device) *device {
	dev := &device{name: name, via: d.Via, id: d.ID, main: d.Main}
	if id := d.Announced(); id != "" {
		dev.via, dev.id = announced, id
	}
	if dev.main == "" && !dev.announced() {
		dev.main = "state"
	}
	return dev
}

// announced is the via of a device of which only itself can say where it reports.
const announced = "what it announces"

func (d *device) announced() bool { return d.via == announced }

// Announced is the id of a device in the catalog; "" if it is known by its topics.
func (d Device) Announced() string {
	convention, _, ok := strings.Cut(d.ID, "/")
	if ok && d.Via == "" && slices.Contains(conventions, convention) {
		return d.ID
	}
	return ""
}

// conventions are the beginnings of ids in the catalog.
var conventions = []string{"zigbee2mqtt", "tasmota", "shelly", "homie", "esphome", "homeassistant"}

// String is what a rule is another one for if it is another: not the id of a device that
// announces itself, for rules go on with one that takes its place.
func (d *device) String() string {
	id := d.id
	if d.announced() {
		id = d.name
	}
	return d.name + "=" + d.via + ":" + id + "." + d.main
}

// source is where a property is reported; "" is the main one.
func (d *device) source(property string) devices.Source {
	if property == "" {
		property = d.main
	}
	switch {
	case d.announced():
		return devices.Source{Name: d.name, Property: property}
	case d.via == "tasmota" && property == "state":
		return devices.Source{Filter: "stat/" + d.id + "/POWER"}
	case d.via == "tasmota" && property == "availability":
		return devices.Source{Filter: "tele/" + d.id + "/LWT"}
	case d.via == "tasmota":
		path, err := devices.ParsePath(property)
		if err != nil {
			path = devices.Path{property}
		}
		return devices.Source{Filter: "tele/" + d.id + "/SENSOR", Path: path}
	case property == "availability":
		return devices.Source{Filter: "zigbee2mqtt/" + d.id + "/availability", Path: devices.Path{"state"}, OrWhole: true}
	}
	return devices.Source{Filter: "zigbee2mqtt/" + d.id, Path: devices.Path{property}}
}

// command is how a property is set: topic and payload. It is not for what is announced.
func (d *device) command(property string, v any) (topic, payload string) {
	if on, ok := v.(bool); ok && property == "state" {
		v = "OFF"
		if on {
			v = "ON"
		}
	}
	if d.via == "tasmota" {
		if property == "state" {
			property = "POWER"
		}
		return "cmnd/" + d.id + "/" + property, devices.Text(v)
	}
	b, err := json.Marshal(map[string]any{property: v})
	if err != nil {
		return "", ""
	}
	return "zigbee2mqtt/" + d.id + "/set", string(b)
}
