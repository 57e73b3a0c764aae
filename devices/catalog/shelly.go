package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"

	"hearth/devices"
)

// Shelly devices speak MQTT in two ways, by their generation, and one convention knows
// both, for they meet on the same topics: shelly1.go and shelly2.go have their sources.

// shelly is the convention.
type shelly struct {
	first  map[string]*shelly1 // of generation 1, by the id in their topics, which may have slashes
	second map[string]*shelly2 // of the later ones, by the prefix of their topics
	known  map[string]bool     // topics of generation 1 that have told all of the structure they can tell
	asked  map[string]bool     // prefixes that may be those of devices, and were asked
}

// Limits of what is remembered of topics that may be no Shelly's at all.
const (
	maxShellyTopics = 50000
	maxShellyAsked  = 500
	maxShellyText   = 256 << 10 // bytes of a message; devices have not even the memory for one as long
)

func newShelly() *shelly {
	return &shelly{
		first: make(map[string]*shelly1), second: make(map[string]*shelly2),
		known: make(map[string]bool), asked: make(map[string]bool),
	}
}

// shellyFilters are those of generation 1, which is under shellies/, and those of the later
// ones, whose prefix is the owner's choice and may have up to three levels.
var shellyFilters = []string{
	"shellies/#",
	"+/online", "+/+/online", "+/+/+/online",
	"+/announce",
	"+/events/rpc", "+/+/events/rpc", "+/+/+/events/rpc",
	"+/status/+", "+/+/status/+", "+/+/+/status/+",
	"+/hearth/+/rpc", "+/+/hearth/+/rpc", "+/+/+/hearth/+/rpc",
}

func (c *shelly) filters() []string { return shellyFilters }

func (c *shelly) take(m *Payload) (Found, error) {
	topic := m.Topic
	if c.known[topic] && !m.Initial {
		return Found{}, nil
	}
	if len(m.Payload) > maxShellyText {
		return Found{}, fmt.Errorf("it has %d bytes, want at most %d", len(m.Payload), maxShellyText)
	}
	if prefix, rest, ok := cutShelly2(topic); ok {
		return c.take2(prefix, rest, m)
	}
	if id, ok := strings.CutPrefix(topic, "shellies/"); ok {
		return c.take1(id, m)
	}
	if prefix, ok := strings.CutSuffix(topic, "/announce"); ok && len(m.Payload) > 0 && m.Payload[0] == '{' {
		doc, err := m.JSON()
		if a, _ := doc.(map[string]any); err == nil && shellyGen(a) > 1 {
			return c.announced2(prefix, a, m)
		}
	}
	return Found{}, nil
}

// forget has the topics of a device that is gone tell of it again, should it come back.
func (c *shelly) forget(below string) {
	maps.DeleteFunc(c.known, func(topic string, _ bool) bool { return strings.HasPrefix(topic, below) })
	delete(c.asked, strings.TrimSuffix(below, "/"))
}

// forgetDevice has a device be news if it is heard of again.
func (c *shelly) forgetDevice(id string) {
	for name, d := range c.first {
		if "shelly/"+d.id == id {
			delete(c.first, name)
			c.forget("shellies/" + name + "/")
		}
	}
	for prefix, d := range c.second {
		if d.shown == id {
			delete(c.second, prefix)
			c.forget(prefix + "/")
		}
	}
}

// shellyGen is the generation that an announcement or a device's information names;
// generation 1 names none.
func shellyGen(info map[string]any) int {
	n, _ := strconv.Atoi(wordOf(info["gen"]))
	return n
}

// wordOf is a string or a number of a document; "" if it is neither.
func wordOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

var shellyMAC = regexp.MustCompile(`-([0-9A-Fa-f]{12})$`)

// macOf is the address at the end of an id, such as shellyplus1-a8032abe54dc; "" if the id
// has none, or a part of one.
func macOf(id string) string {
	if m := shellyMAC.FindStringSubmatch(id); m != nil {
		return MAC(m[1])
	}
	return ""
}

// A shellyParts collects the properties of a device in the order in which they are shown.
type shellyParts struct {
	all  []Property
	used map[string]bool
}

// add takes a property of the nth thing of a sort, and gives the name it got: that of the
// first has no number. Where two sorts have the same, such as the power of a switch and of
// a meter, the later one's name begins with its sort.
func (s *shellyParts) add(sort string, n int, p Property) string {
	name := p.Name
	if s.used[numbered(name, n)] {
		name = sort + "_" + name
	}
	p.Name = numbered(name, n)
	if s.used[p.Name] {
		return p.Name
	}
	if s.used == nil {
		s.used = make(map[string]bool)
	}
	s.used[p.Name] = true
	s.all = append(s.all, p)
	return p.Name
}

func numbered(name string, n int) string {
	if n == 0 {
		return name
	}
	return name + "_" + strconv.Itoa(n)
}

// presses are the words for what is done to a button, by those of either generation. Others
// stay as they are.
var presses = map[string]string{
	"S": "single", "SS": "double", "SSS": "triple", "L": "long", "SL": "single_long", "LS": "long_single",
	"single_push": "single", "double_push": "double", "triple_push": "triple", "long_push": "long",
	"btn_down": "down", "btn_up": "up",
}

func pressed(word string) string { return cmp.Or(presses[word], word) }

// within is an error for a number that is how a sensor says that it failed, such as 999.
func within(r Reader, least, most float64) Reader {
	return then(r, func(v any) (any, error) {
		if f, ok := v.(float64); ok && (f < least || f > most) {
			return nil, fmt.Errorf("%s is what the sensor says when it fails", short(f))
		}
		return v, nil
	})
}

// rgbText is a colour as people write it: #rrggbb.
func rgbText(r, g, b float64) string {
	return fmt.Sprintf("#%02x%02x%02x", colourByte(r), colourByte(g), colourByte(b))
}

func colourByte(f float64) int { return int(min(max(f, 0), 255) + 0.5) }

// rgbOf reads a colour: #rrggbb, or r,g,b from 0 to 255.
func rgbOf(v any) (r, g, b int, err error) {
	text := strings.TrimSpace(devices.Text(v))
	if hex, ok := strings.CutPrefix(text, "#"); ok && len(hex) == 6 {
		if n, err := strconv.ParseUint(hex, 16, 32); err == nil {
			return int(n >> 16), int(n >> 8 & 255), int(n & 255), nil
		}
	}
	if parts := strings.Split(text, ","); len(parts) == 3 {
		var all [3]int
		for i, part := range parts {
			if all[i], err = strconv.Atoi(strings.TrimSpace(part)); err != nil || all[i] < 0 || all[i] > 255 {
				return 0, 0, 0, errColour
			}
		}
		return all[0], all[1], all[2], nil
	}
	return 0, 0, 0, errColour
}

var errColour = errors.New(`want a colour such as "#ff8800" or "255,136,0"`)
