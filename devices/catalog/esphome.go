package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
)

// ESPHome over MQTT, as esphome.io (components/mqtt) and its sources of 2025.10
// (esphome/components/mqtt) have it. Its nodes announce all that they have by Home
// Assistant's discovery, unless that is switched off, and that knows more of it than this
// does: units, ranges and names. So this comes after it where both tell of a node.
//
//	esphome/discover/<name>                      who it is, when it connects or is asked on esphome/discover
//	<name>/status                                online, offline
//	<name>/<component>/<object>/state            retained, if it was not switched off
//	<name>/<component>/<object>/command
//
// A node that says who it is has what it reports. Its topics begin with its name, unless
// its topic_prefix is another. <name>/debug, its log, is of no use here.
type esphome struct {
	nodes map[string]*espNode // by name
	seen  map[string]bool     // topics of states that were heard
}

type espNode struct {
	device  Device // without its properties; no id: it has not said who it is
	reports map[string]*espReport
}

// espReport is a component that was heard of: "switch/relay".
type espReport struct {
	component, object string
	brightness        bool // a light has one
	position          bool // a cover, a valve
	levels            bool // a fan
}

// Limits of what strangers may make it remember, who may publish on topics of this form too.
const (
	espMaxNodes  = 1000
	espMaxTopics = 10_000
)

func newESPHome() *esphome {
	return &esphome{nodes: make(map[string]*espNode), seen: make(map[string]bool)}
}

var espFilters = []string{
	"esphome/discover/+",
	"+/binary_sensor/+/state", "+/cover/+/state", "+/event/+/state", "+/fan/+/state", "+/light/+/state", "+/lock/+/state",
	"+/number/+/state", "+/select/+/state", "+/sensor/+/state", "+/switch/+/state", "+/text/+/state", "+/valve/+/state",
	"+/cover/+/position/state", "+/valve/+/position/state", "+/fan/+/speed_level/state",
}

func (e *esphome) filters() []string { return espFilters }

func (e *esphome) take(m *Payload) (Found, error) {
	if name, ok := strings.CutPrefix(m.Topic, "esphome/discover/"); ok {
		return e.discover(name, m)
	}
	light := strings.Contains(m.Topic, "/light/")
	if e.seen[m.Topic] && !light {
		return Found{}, nil
	}
	level := strings.Split(m.Topic, "/")
	if len(m.Payload) == 0 || slices.Contains(level, "") || level[0] == "homeassistant" {
		return Found{}, nil
	}
	n := e.node(level[0])
	if n == nil {
		return Found{}, nil
	}
	key := level[1] + "/" + level[2]
	r := n.reports[key]
	if r == nil {
		if len(n.reports) >= MaxProperties || len(e.seen) >= espMaxTopics {
			return Found{}, nil
		}
		r = &espReport{component: level[1], object: level[2]}
		n.reports[key] = r
	}
	was, heard := *r, e.seen[m.Topic]
	r.brightness = r.brightness || light && bytes.Contains(m.Payload, []byte(`"brightness"`))
	r.position = r.position || level[3] == "position"
	r.levels = r.levels || level[3] == "speed_level"
	if e.seen[m.Topic] = true; heard && was == *r || n.device.ID == "" {
		return Found{}, nil
	}
	return Found{Devices: []Device{n.whole(level[0])}}, nil
}

func (e *esphome) node(name string) *espNode {
	n := e.nodes[name]
	if n == nil && len(e.nodes) < espMaxNodes && len(name) <= haMaxName {
		n = &espNode{reports: make(map[string]*espReport)}
		e.nodes[name] = n
	}
	return n
}

// discover reads who a node is.
func (e *esphome) discover(name string, m *Payload) (Found, error) {
	if len(bytes.TrimSpace(m.Payload)) == 0 {
		n := e.nodes[name]
		if n == nil || n.device.ID == "" {
			return Found{}, nil
		}
		id := n.device.ID
		n.device = Device{}
		return Found{Gone: []string{id}}, nil
	}
	doc, err := m.JSON()
	if err != nil {
		return Found{}, err
	}
	said, ok := doc.(map[string]any)
	if !ok {
		return Found{}, errors.New("it is no JSON object")
	}
	if n := haText(said["name"]); n != "" && n != name {
		err = errors.New("it has another name than its topic")
	}
	d := Device{
		Via: "esphome", Name: cmp.Or(haText(said["friendly_name"]), haText(said["name"]), name),
		Model: haText(said["board"]), Version: haText(said["version"]),
	}
	if strings.HasPrefix(strings.ToUpper(haText(said["platform"])), "ESP") {
		d.Maker = "Espressif"
	}
	if maker, model, ok := strings.Cut(haText(said["project_name"]), "."); ok {
		d.Maker, d.Model = maker, model
	}
	mac := haAddress(haText(said["mac"]))
	if d.ID = "esphome/" + name; strings.HasPrefix(mac, "mac:") {
		d.ID = "esphome/" + strings.TrimPrefix(mac, "mac:")
		d.Identity = []string{mac}
	} else {
		err = errors.Join(err, errors.New("it has no mac"))
	}
	d.Available = Availability{Mode: Latest, Reports: []Report{{name + "/status", online(whole)}}}
	n := e.node(name)
	if n == nil {
		return Found{}, errors.New("there are too many nodes already")
	}
	old := n.device
	if old.ID == d.ID && old.Name == d.Name && old.Maker == d.Maker && old.Model == d.Model && old.Version == d.Version {
		return Found{}, err
	}
	n.device = d
	found := Found{Devices: []Device{n.whole(name)}}
	if old.ID != "" && old.ID != d.ID {
		found.Gone = []string{old.ID}
	}
	return found, err
}

// whole is the device with what it has reported, in an order that stays.
func (n *espNode) whole(name string) Device {
	all := make([]*espReport, 0, len(n.reports))
	for _, r := range n.reports {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *espReport) int {
		return cmp.Or(cmp.Compare(haRank[a.component], haRank[b.component]), cmp.Compare(a.object, b.object), cmp.Compare(a.component, b.component))
	})
	d := n.device
	taken := make(map[string]bool)
	for _, r := range all {
		topic := name + "/" + r.component + "/" + r.object
		options := map[string]any{"state_topic": topic + "/state"}
		switch r.component {
		case "binary_sensor", "sensor", "event":
		default:
			options["command_topic"] = topic + "/command"
		}
		if r.component == "light" {
			options["schema"], options["brightness"] = "json", r.brightness
		}
		if r.position {
			options["position_topic"], options["set_position_topic"] = topic+"/position/state", topic+"/position/command"
			if r.component == "cover" {
				delete(options, "state_topic")
			}
		}
		if r.levels {
			options["percentage_state_topic"], options["percentage_command_topic"] = topic+"/speed_level/state", topic+"/speed_level/command"
		}
		c := &haComponent{options: options, component: r.component, esphome: true}
		haComponents[r.component](c)
		base := cmp.Or(snake(r.object), "state")
		if taken[base] {
			base += "_" + r.component
		}
		for _, p := range c.properties {
			p.Name = haPart(base, p.Name)
			if p.Of == "." {
				p.Of = base
			}
			if p.Kind == Number && p.Of == "" {
				p.Range = nil // which nobody has told
			}
			p.Label = sentence(p.Name)
			taken[p.Name] = true
			d.Properties = append(d.Properties, *p)
		}
	}
	return d
}
