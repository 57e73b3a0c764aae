package hub

import (
	"cmp"
	"strings"

	"hearth/devices"
	"hearth/devices/catalog"
)

// labels say of a number what it is, to those who keep numbers of many houses.
type labels struct {
	device   string // or what is wired, or a topic
	property string // "" is the main one, or a whole payload
	unit     string // "" if nobody says, or it has none
	room     string
}

func (l labels) pairs(more ...string) []string {
	return append([]string{"device", l.device, "property", l.property, "room", l.room, "unit", l.unit}, more...)
}

// labelsOf are those of what rules know by the name of source: something wired, a
// calculation, or a place on a topic.
func (h *Hub) labelsOf(source string) labels {
	s, err := devices.ParseSource(source)
	if err != nil || s.Name == "" {
		if err != nil { // a capture brought what no configuration could
			s.Filter = source
		}
		return labels{device: s.Filter, property: s.Path.String()}
	}
	l := labels{device: s.Name, property: s.Property, room: string(h.cfg.shown[s.Name].Room)}
	if n, ok := h.cfg.Counter.Get(s.Name); ok {
		switch s.Property {
		case "":
			l.unit = n.Unit
		case "rate":
			l.unit = n.RateUnit()
		case "missed":
			l.unit = "s"
		}
	} else if m, ok := h.cfg.Sensor.Get(s.Name); ok {
		_, unit := m.Quantity(s.Property)
		l.unit = cmp.Or(measuredAs[unit], unit)
	} else if _, ok := h.cfg.Cover.Get(s.Name); ok && s.Property == "" || s.Property == "level" {
		l.unit = "%"
	}
	return l
}

// labelsOfDevice are those of a property of a device that announced itself.
func (h *Hub) labelsOfDevice(s *catalog.State, p *catalog.Property) labels {
	_, room, _ := h.shownAs(s)
	return labels{device: s.Called, property: p.Name, unit: p.Unit, room: room}
}

// ofWired is the name of what is wired, or computed here, of which source is a property.
func ofWired(source string) string {
	name, _, _ := strings.Cut(source, ".")
	return name
}

// asNumber is a value as one: 1 and 0 for on and off, also in words.
func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case bool, string:
		on, ok := devices.Bool(v)
		if on {
			return 1, ok
		}
		return 0, ok
	}
	return 0, false
}
