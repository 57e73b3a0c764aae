package catalog

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/devices"
)

// A Registry is what the house knows of its devices: which there are, what they are
// called here, what each has reported last and when, and what it was told and has not
// confirmed. One goroutine owns it.
type Registry struct {
	catalog  *Catalog
	taken    func(name string) bool // names that belong to somebody else
	given    func(Device) string    // the name that the owner gave one, or ""
	states   map[string]*State      // by id
	names    map[string]string      // ids by name
	merged   map[string]string      // ids of what Devices gives, by the ids merged into them
	index    *Index
	timed    map[string]bool         // ids of devices with values that end by themselves
	stale    bool                    // the states and the index are behind the catalog
	messages map[string]announcement // by topic: what announced something and is not retained
	dirty    map[string]bool         // ids whose record is out of date
	news     map[string]bool         // topics of messages that are not kept yet, or not any more
}

// State is one device as the house knows it.
type State struct {
	Device
	Called string    // the name in this house: a-z, 0-9 and _
	Since  time.Time // when it was found
	Seen   time.Time // when it said something last; zero: never
	Online *bool     // nil: nobody says
	Values map[string]Reported
	Asked  map[string]Asked // what it was told and has not reported
	Silent bool             // it has not announced itself since the hub started: this is what was kept

	available []*bool // by the reports of its availability
}

// Reported is the newest that a property was reported.
type Reported struct {
	Value any
	At    time.Time
	Bad   string // why the newest report was no value; the value is older

	live bool          // it was reported since the hub started, not found
	mono time.Duration // then: when that was, by the clock that does not step
}

// Asked is what a property was told last.
type Asked struct {
	Value any
	At    time.Time
}

// An announcement is a message that a restart needs again.
type announcement struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"`
}

// maxAnnouncement is how large one may be that is kept; larger ones are retained at their
// broker, in practice.
const maxAnnouncement = 64 << 10

// maxAnnouncements bounds their topics.
const maxAnnouncements = 5000

// NewRegistry gives an empty registry. taken says which names no device may take by
// itself, and given which one the owner gave a device, or "".
func NewRegistry(taken func(name string) bool, given func(Device) string) *Registry {
	return &Registry{
		catalog: New(), taken: taken, given: given,
		states: make(map[string]*State), names: make(map[string]string), merged: make(map[string]string),
		index: NewIndex(nil), messages: make(map[string]announcement),
		dirty: make(map[string]bool), news: make(map[string]bool), timed: make(map[string]bool),
	}
}

// Filters are those of the messages that Take is for.
func (r *Registry) Filters() []string { return r.catalog.Filters() }

// Index is the present one; Settle makes another.
func (r *Registry) Index() *Index { return r.index }

// Faults are those of the catalog.
func (r *Registry) Faults() ([]Fault, int) { return r.catalog.Faults() }

// Take learns from a message of the topics of Filters, and says whether Settle has
// something to do. ask is what to publish, so that a device says more.
func (r *Registry) Take(m devices.Message) (stale bool, ask []Message) {
	changed, ask := r.catalog.Take(m)
	if !changed {
		return r.stale, ask
	}
	r.stale = true
	_, had := r.messages[m.Topic]
	switch {
	case !m.Retain && !m.Initial && len(m.Payload) > 0 && len(m.Payload) <= maxAnnouncement && (had || len(r.messages) < maxAnnouncements):
		r.messages[m.Topic] = announcement{m.Topic, m.Payload}
		r.news[m.Topic] = true
	case had:
		delete(r.messages, m.Topic)
		r.news[m.Topic] = true
	}
	return true, ask
}

// Settle brings names, states and the index in line with what was taken, for all that
// came together at once. It gives the topics that are in the index now and were not.
func (r *Registry) Settle(now time.Time) (topics []string) {
	if !r.stale {
		return nil
	}
	r.stale = false
	all := r.catalog.Devices()
	old := r.index
	r.index = NewIndex(all)
	for topic := range r.index.topics {
		if !old.Takes(topic) {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	clear(r.merged)
	there := make(map[string]bool, len(all))
	for _, d := range all {
		there[d.ID] = true
		for _, also := range d.Also {
			r.merged[also] = d.ID
		}
		s := r.states[d.ID]
		if s == nil {
			s = &State{Since: now, Values: make(map[string]Reported), Asked: make(map[string]Asked)}
			for _, also := range d.Also { // it was known by another convention first
				if old := r.states[also]; old != nil {
					s.Called, s.Since = old.Called, old.Since
					r.names[s.Called] = d.ID
					break
				}
			}
			r.states[d.ID] = s
		}
		s.Device, s.Silent = d, false
		if len(s.available) != len(d.Available.Reports) {
			s.available = make([]*bool, len(d.Available.Reports))
		}
		r.call(s)
		if slices.ContainsFunc(d.Properties, func(p Property) bool { return p.OffAfter > 0 || p.StaleAfter > 0 }) {
			r.timed[d.ID] = true
		}
		r.dirty[d.ID] = true
	}
	for id, s := range r.states {
		if !there[id] && !s.Silent {
			r.forget(id)
		}
	}
	return topics
}

// call gives a device its name: the one that the owner gave it, or the one that it has,
// or a new one.
func (r *Registry) call(s *State) {
	name := r.given(s.Device)
	switch {
	case name == "" && s.Called != "" && !r.taken(s.Called):
		return
	case name == "":
		name = r.freeName(s.Device)
	}
	if r.names[s.Called] == s.ID {
		delete(r.names, s.Called)
	}
	s.Called = name
	r.names[name] = s.ID
}

func (r *Registry) forget(id string) {
	s := r.states[id]
	if r.names[s.Called] == id {
		delete(r.names, s.Called)
	}
	delete(r.states, id)
	r.dirty[id] = true
}

// freeName makes a name of what the device calls itself: "Living Room" is living_room,
// and the second of them living_room_2.
func (r *Registry) freeName(d Device) string {
	name := slug(cmp.Or(d.Name, d.ID[strings.LastIndexByte(d.ID, '/')+1:]))
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			try += "_" + strconv.Itoa(n)
		}
		if _, used := r.names[try]; !used && !r.taken(try) {
			return try
		}
	}
}

var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "ae", "Ö", "oe", "Ü", "ue", "ß", "ss", "é", "e", "è", "e", "à", "a", "å", "a", "ø", "o", "ñ", "n", "ç", "c")

// slug makes a name of text.
func slug(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(umlauts.Replace(text)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && b.String()[b.Len()-1] != '_':
			b.WriteByte('_')
		}
		if b.Len() >= 60 {
			break
		}
	}
	name := strings.Trim(b.String(), "_")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = strings.TrimRight("device_"+name, "_")
	}
	return name
}

// A Change is a property that was reported, or an event.
type Change struct {
	ID       string
	Called   string
	Property string // "availability" for whether it is there
	Main     bool   // it is the device's main one
	Value    any
	Event    bool
}

// Apply takes what an Index read of a message.
func (r *Registry) Apply(values []Value, initial bool, at devices.Now) (changes []Change) {
	now := at.Wall
	for _, v := range values {
		s := r.states[v.Device]
		if s == nil {
			continue // it is gone meanwhile
		}
		r.dirty[v.Device] = true
		if v.Available >= 0 {
			if v.Bad == "" && r.heard(s, v) {
				changes = append(changes, Change{ID: v.Device, Called: s.Called, Property: "availability", Value: *s.Online})
			}
			continue
		}
		if !initial {
			s.Seen = now
		}
		old := s.Values[v.Property]
		if initial && old.live {
			continue // it was looked up meanwhile, and this is newer
		}
		if v.Bad != "" {
			old.Bad = v.Bad
			s.Values[v.Property] = old
			continue
		}
		p, err := s.Property(v.Property)
		if err != nil {
			continue
		}
		main := p == &s.Properties[0]
		if p.Kind == Event {
			s.Values[v.Property] = Reported{v.Value, now, "", true, at.Mono}
			changes = append(changes, Change{v.Device, s.Called, v.Property, main, v.Value, true})
			continue
		}
		since := now
		same := sameValue(old.Value, v.Value)
		if initial && same && !old.At.IsZero() {
			since = old.At // found again as it was kept: it is as old as it was
		}
		s.Values[v.Property] = Reported{v.Value, since, "", !initial, at.Mono}
		delete(s.Asked, v.Property)
		changes = append(changes, Change{v.Device, s.Called, v.Property, main, v.Value, false})
	}
	return changes
}

func sameValue(a, b any) bool {
	switch a.(type) {
	case bool, float64, string:
		return a == b
	}
	return a != nil && devices.Text(a) == devices.Text(b)
}

// heard notes one report of availability, and reports whether the device is there now
// and was not, or the other way round.
func (r *Registry) heard(s *State, v Value) bool {
	on, ok := v.Value.(bool)
	if !ok || v.Available >= len(s.available) {
		return false
	}
	s.available[v.Available] = &on
	now := on
	switch s.Available.Mode {
	case All:
		for _, a := range s.available {
			now = now && a != nil && *a
		}
	case Any:
		for _, a := range s.available {
			now = now || a != nil && *a
		}
	}
	changed := s.Online == nil || *s.Online != now
	s.Online = &now
	return changed
}

// Expire lets time pass: a motion that is said once and never taken back is over after
// a while, and a value that should have come again is none any more.
func (r *Registry) Expire(now devices.Now) (changes []Change) {
	for id := range r.timed {
		s := r.states[id]
		if s == nil {
			delete(r.timed, id)
			continue
		}
		for i, p := range s.Properties {
			v := s.Values[p.Name]
			age := now.Mono - v.mono
			if !v.live {
				if age = now.Wall.Sub(v.At); !now.Known {
					continue
				}
			}
			switch {
			case p.OffAfter > 0 && v.Value == true && age >= p.OffAfter:
				s.Values[p.Name] = Reported{false, now.Wall, "", true, now.Mono}
				changes = append(changes, Change{id, s.Called, p.Name, i == 0, false, false})
				r.dirty[id] = true
			case p.StaleAfter > 0 && v.Value != nil && v.Bad == "" && age >= p.StaleAfter:
				v.Bad = "nothing came for " + p.StaleAfter.String()
				s.Values[p.Name] = v
			}
		}
	}
	return changes
}

// Find gives the device of a name, or of an id.
func (r *Registry) Find(name string) (*State, bool) {
	id, ok := r.names[name]
	if !ok {
		id = cmp.Or(r.merged[name], name)
	}
	s, ok := r.states[id]
	return s, ok
}

// Tell gives what tells a property of a device a value, and notes that it was asked. A
// toggle that the device has no word for becomes the opposite of what it is.
func (r *Registry) Tell(s *State, property string, v any, now time.Time) (Message, error) {
	p, err := s.Property(property)
	if err != nil {
		return Message{}, err
	}
	want, err := p.fit(v)
	if err != nil {
		return Message{}, err
	}
	if want == any(devices.Toggle{}) {
		if on, known := s.Values[p.Name].Value.(bool); known {
			want = !on
		}
	}
	m, err := p.command(want)
	if err != nil {
		return Message{}, err
	}
	if len(p.Reports) > 0 {
		s.Asked[p.Name] = Asked{want, now}
	}
	return m, nil
}

// All lists the devices by their names here.
func (r *Registry) All() []*State {
	return slices.SortedFunc(maps.Values(r.states), func(a, b *State) int { return cmp.Compare(a.Called, b.Called) })
}

// Names lists the names of all devices, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.names)) }

// kept is a device's record.
type kept struct {
	Device Device               `json:"device"`
	Called string               `json:"called"`
	Since  time.Time            `json:"since"`
	Seen   time.Time            `json:"seen,omitzero"`
	Online *bool                `json:"online,omitempty"`
	Values map[string]keptValue `json:"values,omitempty"`
}

type keptValue struct {
	Value any       `json:"v"`
	At    time.Time `json:"at"`
}

// Changes gives the records that are out of date, by their keys; nil is for one to be
// deleted.
func (r *Registry) Changes() map[string][]byte {
	changes := make(map[string][]byte)
	for id := range r.dirty {
		s := r.states[id]
		if s == nil {
			changes["device "+id] = nil
			continue
		}
		k := kept{Device: s.Device, Called: s.Called, Since: s.Since, Seen: s.Seen, Online: s.Online, Values: make(map[string]keptValue)}
		for name, v := range s.Values {
			if v.Value != nil {
				k.Values[name] = keptValue{v.Value, v.At}
			}
		}
		if b, err := json.Marshal(k); err == nil {
			changes["device "+id] = b
		}
	}
	for topic := range r.news {
		changes["said "+topic] = nil
		if a, ok := r.messages[topic]; ok {
			if b, err := json.Marshal(a); err == nil {
				changes["said "+topic] = b
			}
		}
	}
	clear(r.dirty)
	clear(r.news)
	return changes
}

// Restore takes up a record. Those of devices come before those of what they said, as
// their keys are sorted. What makes no sense gives an error, and nothing is restored.
func (r *Registry) Restore(key string, record []byte) error {
	if topic, ok := strings.CutPrefix(key, "said "); ok {
		var a announcement
		if err := json.Unmarshal(record, &a); err != nil {
			return err
		}
		r.messages[topic] = a
		changed, _ := r.catalog.Take(devices.Message{Topic: a.Topic, Payload: a.Payload, Initial: true})
		r.stale = r.stale || changed
		return nil
	}
	var k kept
	if err := json.Unmarshal(record, &k); err != nil {
		return err
	}
	if name := r.given(k.Device); name != "" {
		k.Called = name
	} else if _, used := r.names[k.Called]; used || k.Called == "" || r.taken(k.Called) {
		k.Called = r.freeName(k.Device)
	}
	s := &State{Device: k.Device, Called: k.Called, Since: k.Since, Seen: k.Seen, Online: k.Online,
		Values: make(map[string]Reported), Asked: make(map[string]Asked), Silent: true}
	for name, v := range k.Values {
		s.Values[name] = Reported{Value: v.Value, At: v.At}
	}
	r.states[k.Device.ID] = s
	r.names[k.Called] = k.Device.ID
	return nil
}

// Rename looks anew what the owner calls the devices.
func (r *Registry) Rename() { r.stale = true }

// Remove forgets a device, until it announces itself again.
func (r *Registry) Remove(s *State) {
	delete(r.catalog.known, s.ID)
	for _, also := range s.Also {
		delete(r.catalog.known, also)
	}
	r.forget(s.ID)
	r.stale = true
}
