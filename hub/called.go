package hub

import (
	"cmp"
	"slices"
	"strings"

	"hearth/config"
	"hearth/devices"
	"hearth/devices/catalog"
)

// shownIn is how people are shown the things of a table, by where they stand in the
// configuration.
func shownIn[T any, P interface {
	*T
	AsShown() *devices.Shown
}](at config.Place, table config.Table[T]) (all []shownAt) {
	for i := range table {
		all = append(all, shownAt{at.Key(table[i].Name).Key("room").Position(), table[i].Name, P(&table[i].Value).AsShown()})
	}
	return all
}

// shownAt is how people are shown a thing, and where its room is written.
type shownAt struct {
	config.Position
	name string
	*devices.Shown
}

// furnish notes how people are shown what is wired, and the rooms of the house in the order in
// which they are written.
func (c *Config) furnish(doc *config.Doc) {
	at := doc.Root()
	all := slices.Concat(shownIn(at.Key("output"), c.Output), shownIn(at.Key("cover"), c.Cover), shownIn(at.Key("input"), c.Input),
		shownIn(at.Key("counter"), c.Counter), shownIn(at.Key("encoder"), c.Encoder), shownIn(at.Key("sensor"), c.Sensor))
	c.shown = make(map[string]devices.Shown, len(all))
	for _, one := range all {
		c.shown[one.name] = *one.Shown
	}
	for output, cover := range c.moves() { // the motor is where the cover is
		if o, ok := c.shown[output]; ok {
			o.Room = cmp.Or(o.Room, c.shown[cover].Room)
			c.shown[output] = o
		}
	}
	all = append(all, shownIn(at.Key("device"), c.Device)...)
	slices.SortStableFunc(all, func(a, b shownAt) int {
		return cmp.Or(slices.Index(c.files, a.File)-slices.Index(c.files, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	for _, one := range all {
		if room := string(one.Room); room != "" && !slices.Contains(c.rooms, room) {
			c.rooms = append(c.rooms, room)
		}
	}
}

// toldOf is what people call what is wired, and its room, as it stands beside a source; "" if
// nobody says.
func (h *Hub) toldOf(source string) string {
	shown := h.cfg.shown[ofWired(source)]
	return inALine(string(shown.Name), string(shown.Room))
}

// moves is which cover each output moves that moves one.
func (c *Config) moves() map[string]string {
	covers := make(map[string]string)
	for _, v := range c.Cover {
		covers[v.Value.Up], covers[v.Value.Down] = v.Name, v.Name
	}
	return covers
}

// inALine is what people call something, all on one line.
func inALine(texts ...string) string {
	return printable(strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), ", "))
}

// isTaken says whether a name belongs to something that the configuration declares and the
// page shows.
func (h *Hub) isTaken(name string) bool {
	_, declared := h.cfg.Device.Get(name)
	return declared || slices.Contains(h.cfg.wired(), name) || slices.Contains(h.cfg.Machine.Names(), name)
}

// givenName is what the configuration calls a device, "" if it says nothing of it.
func (h *Hub) givenName(d catalog.Device) string {
	for _, entry := range h.cfg.Device {
		id := entry.Value.Announced()
		via := cmp.Or(entry.Value.Via, "zigbee2mqtt")
		switch {
		case id != "" && (id == d.ID || slices.Contains(d.Also, id)),
			id == "" && via == d.Via && cmp.Or(entry.Value.ID, entry.Name) == d.Address:
			return entry.Name
		}
	}
	return ""
}

// deviceCalled finds a device as people call it: by its name, its id, one of its aliases, or
// what they are shown that it is called, if that is so of nothing else.
func (h *Hub) deviceCalled(name string) (*catalog.State, bool) {
	if s, ok := h.devices.registry.Find(name); ok {
		return s, true
	}
	is := func(other string) bool { return strings.EqualFold(other, strings.TrimSpace(name)) }
	for _, entry := range h.cfg.Device {
		if slices.ContainsFunc(entry.Value.Aliases, is) {
			return h.devices.registry.Find(entry.Name)
		}
	}
	var found *catalog.State
	for _, s := range h.devices.registry.All() {
		if label, _, _ := h.shownAs(s); is(label) {
			if found != nil {
				return nil, false
			}
			found = s
		}
	}
	return found, found != nil && len(h.cfg.wiredShown(name)) == 0
}

// title is what people call what is wired.
func (c *Config) title(name string) string { return cmp.Or(string(c.shown[name].Name), name) }

// wiredShown are the names of what is wired that people are shown as name.
func (c *Config) wiredShown(name string) (all []string) {
	for wired, shown := range c.shown {
		if shown.Name != "" && strings.EqualFold(string(shown.Name), strings.TrimSpace(name)) {
			all = append(all, wired)
		}
	}
	return all
}

// wiredCalled is the name of what is wired, or of a property of it, that people call so, if
// they call nothing else so; else what they said.
func (h *Hub) wiredCalled(said string) string {
	label, property := said, ""
	all := h.cfg.wiredShown(label)
	if i := strings.LastIndexByte(said, '.'); len(all) == 0 && i >= 0 {
		label, property = said[:i], said[i:]
		all = h.cfg.wiredShown(label)
	}
	is := func(s *catalog.State) bool {
		other, _, aliases := h.shownAs(s)
		return slices.ContainsFunc(append([]string{s.Called, other}, aliases...), func(name string) bool { return strings.EqualFold(name, strings.TrimSpace(label)) })
	}
	if len(all) != 1 || slices.ContainsFunc(h.devices.registry.All(), is) {
		return said
	}
	return all[0] + property
}

// propertyCalled finds a device, or after its last point one of its properties: the names that
// people give have points, too.
func (h *Hub) propertyCalled(name string) (s *catalog.State, property string, ok bool) {
	if s, property, ok = h.propertyNamed(name); ok {
		return s, property, true
	}
	if s, ok = h.deviceCalled(name); ok {
		return s, "", true
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		s, ok = h.deviceCalled(name[:i])
		property = name[i+1:]
	}
	return s, property, ok
}

// propertyNamed finds a device, or one of its properties, by what the house calls them alone:
// a device that gives itself the name of another's property is not meant by that.
func (h *Hub) propertyNamed(name string) (s *catalog.State, property string, ok bool) {
	called, property, _ := strings.Cut(name, ".")
	if s, ok = h.devices.registry.Find(called); !ok || s.Called != called {
		return nil, "", false
	}
	_, err := s.Property(property)
	return s, property, err == nil
}

// shownAs is how people are shown a device: the configuration goes before what it says of
// itself.
func (h *Hub) shownAs(s *catalog.State) (label, room string, aliases []string) {
	label, room = s.Name, s.Room
	if d, named := h.cfg.Device.Get(s.Called); named {
		label, room, aliases = cmp.Or(string(d.Name), label), cmp.Or(string(d.Room), room), d.Aliases
	}
	return label, room, aliases
}

// missRenamed warns of devices that the configuration knows by their topics, which are others
// now: nothing follows from what they say.
func (h *Hub) missRenamed() {
	for _, r := range h.devices.registry.Renamed() {
		for _, entry := range h.cfg.Device {
			d := entry.Value
			if d.Announced() == "" && cmp.Or(d.Via, "zigbee2mqtt") == r.Via && cmp.Or(d.ID, entry.Name) == r.Was {
				h.log.Warn("a device that the configuration knows by its topics was renamed, and rules miss it: say its new name, or its id, which stays",
					"device", entry.Name, "was", r.Was, "is", r.Address, "id", r.Device.ID)
			}
		}
	}
}

// seated is the ids of the devices that have the names of the configuration.
func (h *Hub) seated() map[string]string {
	ids := make(map[string]string)
	for _, entry := range h.cfg.Device {
		if s, ok := h.devices.registry.Find(entry.Name); ok && entry.Value.Announced() != "" {
			ids[entry.Name] = s.ID
		}
	}
	return ids
}

// hasSeat says whether a name of the configuration means the device with an id, which may be
// gone.
func (h *Hub) hasSeat(name, id string) bool {
	if s, ok := h.devices.registry.Find(name); ok {
		return s.ID == id || slices.Contains(s.Also, id)
	}
	d, named := h.cfg.Device.Get(name)
	return named && h.devices.registry.Last(d.Announced()) == id
}
