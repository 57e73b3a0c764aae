package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
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
	faults   faults                 // of reports
	taken    func(name string) bool // names that belong to somebody else
	written  func(Device) string    // the name that the configuration gives one, or ""
	states   map[string]*State      // by id
	names    map[string]string      // ids by name
	merged   map[string]string      // ids of what Devices gives, by the ids merged into them
	standIns map[string]standIn     // by the id of the device that is replaced
	index    *Index
	asking   map[string]bool         // ids of devices that were told something and may have to be told again
	woken    bool                    // one of them lives
	unseen   map[string]bool         // ids of devices of which some values may not be known
	timed    map[string]bool         // ids of devices with values that end by themselves
	stale    bool                    // the states and the index are behind the catalog
	restored map[string]bool         // ids of what restored announcements told of, until Settle
	messages map[string]announcement // by topic: what announced something and is not retained
	said     int                     // bytes of messages
	dirty    map[string]bool         // ids of which what they are is kept otherwise
	moved    map[string]bool         // ids whose values are kept otherwise
	news     map[string]bool         // topics of messages that are not kept yet, or not any more
	renamed  []Renamed               // what Renamed has not given yet
	turned   []string                // ids of those that Turned has not given yet
	reseated map[string]bool         // keys of standIns that are kept otherwise
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

	told      map[string]tellers // who told of it, as that is kept
	rest      []Property         // what was kept of it and has not been announced again
	spoke     time.Duration      // monotonic: when that was; 0: not since the hub started
	missed    time.Time          // since when it is silent; zero: not yet asked
	missedAt  time.Duration      // monotonic: when that was asked; 0: in an earlier life of the hub
	available presence           // of its availability
	parts     map[string]*part   // properties with an availability of their own
	counts    map[string]int64   // by property: the number of the last event that was heard of
	expected  time.Duration      // monotonic: until when it may say by itself how it is; 0: that is not yet known
	got       map[Message]bool   // what it was asked
	before    map[string]int64   // what counts was in the last life of the hub, where that is not over for long
	heard     time.Time          // when it said something last then
}

// A part is a property whose availability is told by itself.
type part struct {
	said presence // of its availability
	away bool
}

// A presence is what the reports of an availability have said last, each on its topic; nil: nothing yet.
type presence []presenceOn

type presenceOn struct {
	topic string
	there *bool
}

// together is what all of it says, last being what came just now.
func (p presence) together(mode Mode, last bool) bool {
	switch mode {
	case All:
		return !slices.ContainsFunc(p, func(on presenceOn) bool { return on.there == nil || !*on.there })
	case Any:
		return slices.ContainsFunc(p, func(on presenceOn) bool { return on.there != nil && *on.there })
	}
	return last
}

// by is what was said, by what the reports are now: what one of them said stays with its topic,
// whatever else is asked from now on. It was retained, or is not said a second time.
func (before presence) by(reports []Report) presence {
	if slices.EqualFunc(before, reports, func(a presenceOn, r Report) bool { return a.topic == r.Topic }) {
		return before
	}
	now := make(presence, len(reports))
	rest := slices.Clone(before)
	for i, r := range reports {
		now[i].topic = r.Topic
		for k, was := range rest { // of two on one topic, each has its own
			if was.topic == r.Topic {
				now[i].there = was.there
				rest = slices.Delete(rest, k, k+1)
				break
			}
		}
	}
	return now
}

// Away says that a property is not available, though the device may be.
func (s *State) Away(property string) bool {
	p := s.parts[property]
	return p != nil && p.away
}

// shortStop is how long a device may have been unheard for an event with another number to
// be news: devices tell the last one again every 30 seconds.
const shortStop = 2 * time.Minute

// Reported is the newest that a property was reported.
type Reported struct {
	Value any
	At    time.Time
	Bad   string // why the newest report was no value; the value is older

	live  bool          // it was reported since the hub started, not found
	here  bool          // At is a moment since the hub started,
	mono  time.Duration // and this is it by the clock that does not step
	rests bool          // of a cover that said only that it stopped: its position says how it stands
}

// When is the moment of a report, as the clock that does not step counts it.
func (v Reported) When(now devices.Now) devices.Now {
	then := now
	then.Wall = v.At
	if then.Mono = v.mono; !v.here {
		then.Mono = now.Mono - max(0, now.Wall.Sub(v.At))
		then.Known = true // as far as anybody knows
	}
	return then
}

// Restored says that a value is of the hub's last life, of which only the wall clock tells.
func (v Reported) Restored() bool { return !v.here }

// An announcement is a message that a restart needs again.
type announcement struct {
	Topic   string   `json:"topic"`
	Payload []byte   `json:"payload"`
	IDs     []string `json:"ids"` // of the devices that it told of
}

// maxAnnouncement is how large one may be that is kept; larger ones are retained at their
// broker, in practice.
const maxAnnouncement = 64 << 10

// They are bounded together: this many topics, and bytes.
const (
	maxAnnouncements = 5000
	maxSaid          = 4 << 20
)

// A device that has not announced itself for so long is forgotten. One that comes only for
// the summer keeps its place if it announces itself once in a while, or has a name in the
// configuration.
const forgetAfter = 30 * 24 * time.Hour

// NewRegistry gives an empty registry. taken says which names no device may take by
// itself, and written which one the configuration gives a device, or "".
func NewRegistry(taken func(name string) bool, written func(Device) string) *Registry {
	return &Registry{
		catalog: New(), taken: taken, written: written,
		asking: make(map[string]bool), unseen: make(map[string]bool),
		standIns: make(map[string]standIn), reseated: make(map[string]bool),
		states: make(map[string]*State), names: make(map[string]string), merged: make(map[string]string),
		index: NewIndex(nil), messages: make(map[string]announcement),
		dirty: make(map[string]bool), moved: make(map[string]bool), news: make(map[string]bool), timed: make(map[string]bool),
	}
}

// Filters are those of the messages that Take is for.
func (r *Registry) Filters() []string { return r.catalog.Filters() }

// Index is the present one; Settle makes another.
func (r *Registry) Index() *Index { return r.index }

// Faults lists what could not be understood of announcements and reports, by topic. others
// counts the messages of topics beyond those that are remembered.
func (r *Registry) Faults() (all []Fault, others int) { return r.catalog.faults.all(&r.faults) }

// Take learns from a message of the topics of Filters, and says whether Settle has
// something to do. ask is what to publish, so that a device says more.
func (r *Registry) Take(m devices.Message) (stale bool, ask []Message) {
	changed, ask := r.catalog.Take(m)
	long := r.catalog.Waits(m.Topic) // and its first part may tell of no device yet
	if !changed && !long {
		return r.stale || r.catalog.Waits(""), ask
	}
	r.stale = r.stale || changed
	fresh := !m.Retain && !m.Initial && len(m.Payload) > 0 && len(m.Payload) <= maxAnnouncement
	ids := r.catalog.last
	for _, id := range r.messages[m.Topic].IDs { // of which a long one says nothing new, if it still tells of them
		if _, known := r.catalog.known[id]; long && known && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	r.unsay(m.Topic)
	if fresh && len(r.messages) < maxAnnouncements && r.said+len(m.Payload) <= maxSaid {
		r.messages[m.Topic] = announcement{m.Topic, m.Payload, ids}
		r.said += len(m.Payload)
		r.news[m.Topic] = true
	}
	return true, ask
}

// Rest takes another part of a message that is too long to be taken in one go, and says
// whether there is more. It is to be called before Settle, when there is time.
func (r *Registry) Rest() (more bool) {
	topic, changed := r.catalog.Rest()
	if a, kept := r.messages[topic]; kept && changed {
		for _, id := range r.catalog.last {
			if !slices.Contains(a.IDs, id) { // as those of one that was restored are
				a.IDs = append(a.IDs, id)
				r.news[topic] = true
			}
		}
		r.messages[topic] = a
	}
	r.stale = r.stale || changed
	return r.Waits()
}

// Rejudge judges what a topic has announced by other rights than those with which it came: what
// it wanted to be told on topics counts now, or does not, and it may be put out of a device that
// others announce, or put them out. What was refused whole counts from its next announcement on. Settle
// has to follow.
func (r *Registry) Rejudge(topic string, may func(topic string) bool) {
	r.stale = r.catalog.rejudge(announcer{topic, may}) || r.stale
}

// Waits says whether Rest has something to do.
func (r *Registry) Waits() bool { return r.catalog.Waits("") }

func (r *Registry) unsay(topic string) {
	if a, had := r.messages[topic]; had {
		delete(r.messages, topic)
		r.said -= len(a.Payload)
		r.news[topic] = true
	}
}

// Settle brings names, states and the index in line with what was taken, for all that
// came together at once. It gives the topics that are in the index now and were not.
func (r *Registry) Settle(now time.Time) (topics []string) {
	if !r.stale {
		return nil
	}
	r.stale = false
	all := r.catalog.Devices()
	old, touched, before := r.index, r.catalog.touched, r.merged
	r.catalog.touched = make(map[string]bool)
	r.index, r.merged = NewIndex(all), make(map[string]string)
	for topic, bounds := range r.index.topics {
		if slices.ContainsFunc(bounds, func(b bound) bool { return !old.has(topic, b) }) {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	r.forgetSaid()
	there := make(map[string]bool, len(all))
	restored := r.restored
	r.restored = nil
	// What is retained has not been read yet when a hub starts, and what is a part of another
	// device by it, or nothing any more, is no new one until then.
	all = slices.DeleteFunc(all, func(d Device) bool {
		if !restored[d.ID] || r.states[d.ID] != nil {
			return false
		}
		if owner, ok := before[d.ID]; ok {
			r.merged[d.ID] = owner
		}
		r.stale = true
		return true
	})
	for _, d := range all {
		there[d.ID] = true
		for _, also := range d.Also {
			r.merged[also] = d.ID
		}
	}
	for _, d := range all {
		s := r.states[d.ID]
		if s == nil {
			s = &State{Since: now, Values: make(map[string]Reported), Asked: make(map[string]Asked), counts: make(map[string]int64), Silent: true}
			r.states[d.ID] = s
			// It was known by another convention first, or as a part of another.
			for _, id := range append(slices.Clone(d.Also), before[d.ID]) {
				if r.succeed(s, d.ID, id, there) {
					break
				}
			}
		}
		is := func(id string) bool { return touched[id] }
		if s.Silent || touched[d.ID] {
			r.unseen[d.ID] = true
		}
		if s.Silent || touched[d.ID] || slices.ContainsFunc(d.Also, is) || !slices.Equal(s.Also, d.Also) {
			r.dirty[d.ID] = true
		}
		if s.Address != "" && d.Address != s.Address {
			r.renamed = append(r.renamed, Renamed{s.Address, d})
		}
		switch {
		case restored[d.ID]: // what it said last may be a part of it only
			s.rest = slices.DeleteFunc(s.Properties, func(p Property) bool {
				return slices.ContainsFunc(d.Properties, func(q Property) bool { return q.Name == p.Name })
			})
		case touched[d.ID]:
			s.rest = nil
		}
		d.Properties = slices.Concat(d.Properties, s.rest)
		s.Device, s.Silent, s.missed = d, false, time.Time{}
		s.forgetOthers()
		said := len(s.available)
		if s.available = s.available.by(d.Available.Reports); len(s.available) == 0 {
			s.Online = nil // nobody says any more
		} else if len(s.available) < said && s.isOnline() {
			r.turned = append(r.turned, d.ID)
		}
		s.settleParts()
		if slices.ContainsFunc(d.Properties, func(p Property) bool { return p.OffAfter > 0 || p.StaleAfter > 0 }) {
			r.timed[d.ID] = true
		}
	}
	for id, s := range r.states {
		if !there[id] && (!s.Silent || r.merged[id] != "") {
			r.forget(id)
		}
	}
	r.settleStandIns()
	for _, id := range slices.Sorted(maps.Keys(r.states)) {
		s := r.states[id]
		if age := now.Sub(s.Since); age >= 0 && age < introduction && r.calledByID(s) {
			delete(r.names, s.Called)
			s.Called = ""
		}
		r.call(s)
	}
	return topics
}

// introduction is how long after it was found a device that is called by its id, for want of a
// name, may still get the one that it tells. Later people have got used to the id.
const introduction = 10 * time.Minute

// calledByID says whether a device has only its id for a name here, and tells a better one.
func (r *Registry) calledByID(s *State) bool {
	return s.Called == slug(s.lastOfID()) && s.Name != "" && slug(s.Name) != s.Called && r.given(s.Device) == ""
}

// lastOfID is the id within the device's convention.
func (d *Device) lastOfID() string { return d.ID[strings.LastIndexByte(d.ID, '/')+1:] }

// A Renamed is a device whose topics call it otherwise than before.
type Renamed struct {
	Was string
	Device
}

// Renamed gives those that were renamed since it was asked last.
func (r *Registry) Renamed() []Renamed {
	all := r.renamed
	r.renamed = nil
	return all
}

// forgetSaid forgets what was announced of devices of which nothing is left.
func (r *Registry) forgetSaid() {
	if len(r.catalog.gone) == 0 {
		return
	}
	for topic, a := range r.messages {
		known := func(id string) bool { _, ok := r.catalog.known[id]; return ok }
		if slices.ContainsFunc(a.IDs, func(id string) bool { return slices.Contains(r.catalog.gone, id) }) && !slices.ContainsFunc(a.IDs, known) {
			r.unsay(topic)
		}
	}
	r.catalog.gone = nil
}

// Unsettled says whether Settle has something to do, as it has after a first one that came
// before what is retained was read.
func (r *Registry) Unsettled() bool { return r.stale }

// succeed gives a device the place of one that it was known as, if that is there no more.
func (r *Registry) succeed(s *State, id, as string, there map[string]bool) bool {
	old := r.states[as]
	if old == nil || there[as] || r.names[old.Called] != as {
		return false
	}
	s.Called, s.Since, s.Seen, s.spoke = old.Called, old.Since, old.Seen, old.spoke
	r.forget(as)
	r.names[s.Called] = id
	r.reseat(as, id)
	return true
}

// call gives a device its name: the one that the owner gave it, or the one that it has,
// or a new one.
func (r *Registry) call(s *State) {
	name := r.given(s.Device)
	other := r.states[r.names[name]]
	if name != "" && other != nil && other != s && r.given(other.Device) == name {
		name = "" // which is that of one only, and another has it
	}
	if name == "" && s.Called != "" && !r.taken(s.Called) {
		name = s.Called // as before, unless another has it
	}
	if other = r.states[r.names[name]]; name == "" || other != nil && other != s && r.given(s.Device) != name {
		name, other = r.freeName(s.Device), nil
	}
	if name == s.Called && r.names[name] == s.ID {
		return
	}
	if r.names[s.Called] == s.ID {
		delete(r.names, s.Called)
	}
	s.Called = name
	r.names[name] = s.ID
	r.dirty[s.ID] = true
	if other != nil && other != s { // it had by chance what the owner gave this one
		r.call(other)
	}
}

func (r *Registry) forget(id string) {
	s := r.states[id]
	if r.names[s.Called] == id {
		delete(r.names, s.Called)
	}
	delete(r.states, id)
	for id, t := range s.told {
		r.catalog.forgetTellers(id, t)
	}
	r.dirty[id], r.moved[id] = true, true
}

// freeName makes a name of what the device calls itself: "Living Room" is living_room,
// and the second of them living_room_2.
func (r *Registry) freeName(d Device) string {
	name := slug(cmp.Or(d.Name, d.lastOfID()))
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

// slug makes a name of text.
func slug(text string) string {
	name := snake(text)
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
	Bad      string // why there is no value any more
	Event    bool
	Answer   bool // to what it was told
	Away     bool // the property alone is not available: nothing is known of it
	Stale    bool // it has not been told for too long: nothing is known of it any more
	Found    bool // it is available again, and this is no news
}

// Apply takes what an Index read of a message.
func (r *Registry) Apply(values []Value, m devices.Message, at devices.Now) (changes []Change) {
	now, initial := at.Wall, m.Initial
	switch i := slices.IndexFunc(values, func(v Value) bool { return v.Bad != "" }); {
	case i >= 0:
		r.faults.add(m.Topic, cmp.Or(values[i].Property, "availability")+": "+values[i].Bad)
	case len(r.faults.topics) > 0:
		r.faults.mend(m.Topic)
	}
	for _, v := range values {
		s := r.states[v.Device]
		if s == nil {
			continue // it is gone meanwhile
		}
		if !initial && (v.Available < 0 || v.Value == true) {
			r.lives(s)
		}
		if v.Available >= 0 && v.Property != "" {
			if c, ok := s.heardOfPart(v); ok && v.Bad == "" {
				changes = append(changes, c)
			}
			continue
		}
		if v.Available >= 0 {
			if v.Bad == "" && r.heard(s, v) {
				r.moved[v.Device] = true
				changes = append(changes, Change{ID: v.Device, Called: s.Called, Property: "availability", Value: *s.Online})
			}
			continue
		}
		if !initial {
			s.Seen, s.spoke = now, at.Mono
		}
		r.moved[v.Device] = true
		old := s.Values[v.Property]
		if initial && old.live {
			continue // it was looked up meanwhile, and this is newer
		}
		p, err := s.Property(v.Property)
		if err != nil {
			continue // it is gone meanwhile
		}
		main := p == &s.Properties[0]
		if v.Bad != "" {
			if old.Bad == "" {
				changes = append(changes, Change{ID: v.Device, Called: s.Called, Property: v.Property, Main: main, Bad: v.Bad})
			}
			old.Bad = v.Bad
			s.Values[v.Property] = old
			continue
		}
		if p.Kind == Event {
			if e, ok := v.Value.(counted); ok {
				if n, ok := s.before[v.Property]; ok {
					delete(s.before, v.Property)
					if _, since := s.counts[v.Property]; !since && at.Known && now.Sub(s.heard) <= shortStop {
						s.counts[v.Property] = n
					}
				}
				if !e.news(s.counts, v.Property, initial) {
					continue
				}
				v.Value = e.event
			}
			s.Values[v.Property] = Reported{Value: v.Value, At: now, live: true, here: true, mono: at.Mono}
			changes = append(changes, Change{ID: v.Device, Called: s.Called, Property: v.Property, Main: main, Value: v.Value, Event: true})
			continue
		}
		changes = append(changes, r.note(s, p, v.Value, initial, at))
		if cover := s.restsAt(p); cover != nil {
			changes = append(changes, r.note(s, cover, "stopped", initial, at))
		}
	}
	return changes
}

// note takes up what a property that is no event was reported, now or found at the start.
func (r *Registry) note(s *State, p *Property, value any, initial bool, at devices.Now) Change {
	old := s.Values[p.Name]
	rests := false
	if p.Kind == Cover {
		value, rests = s.stands(p, value)
	}
	is := Reported{Value: value, At: at.Wall, live: !initial || old.live, here: true, mono: at.Mono, rests: rests}
	same := sameValue(old.Value, value)
	if initial && same && !old.At.IsZero() { // found again as it was kept: it is as old as it was
		is.At, is.here, is.mono = old.At, old.here, old.mono
	}
	s.Values[p.Name] = is
	asked, answer := s.Asked[p.Name]
	if answer = answer && p.answers(asked.Value, value, same); answer {
		delete(s.Asked, p.Name)
	}
	return Change{ID: s.ID, Called: s.Called, Property: p.Name, Main: p == &s.Properties[0], Value: value, Answer: answer, Away: s.Away(p.Name)}
}

func sameValue(a, b any) bool {
	switch a.(type) {
	case bool, float64, string:
		return a == b
	}
	return a != nil && devices.Text(a) == devices.Text(b)
}

// forgetOthers forgets what was said of properties that the device has no more: one that is
// called otherwise each time must not fill the memory, and one that comes back is not as it was.
func (s *State) forgetOthers() {
	has := make(map[string]bool, len(s.Properties))
	for _, p := range s.Properties {
		has[p.Name] = true
	}
	maps.DeleteFunc(s.Values, func(name string, _ Reported) bool { return !has[name] })
	maps.DeleteFunc(s.Asked, func(name string, _ Asked) bool { return !has[name] })
	maps.DeleteFunc(s.counts, func(name string, _ int64) bool { return !has[name] })
	maps.DeleteFunc(s.before, func(name string, _ int64) bool { return !has[name] })
}

// settleParts has a part for each property whose availability is told by itself.
func (s *State) settleParts() {
	before := s.parts
	s.parts = nil
	for i := range s.Properties {
		p := &s.Properties[i]
		if p.Available == nil {
			continue
		}
		if s.parts == nil {
			s.parts = make(map[string]*part)
		}
		one := before[p.Name]
		if one == nil {
			one = new(part)
		}
		one.said = one.said.by(p.Available.Reports)
		s.parts[p.Name] = one
	}
}

// heardOfPart notes one report of a property's own availability, and gives what that
// changes. Only what is said makes it away: a report that never came says nothing.
func (s *State) heardOfPart(v Value) (c Change, changed bool) {
	on, ok := v.Value.(bool)
	part := s.parts[v.Property]
	p, err := s.Property(v.Property)
	if !ok || err != nil || part == nil || p.Available == nil || v.Available >= len(part.said) {
		return c, false
	}
	part.said[v.Available].there = &on
	away := !on
	for _, a := range part.said {
		switch {
		case a.there == nil:
		case p.Available.Mode == All:
			away = away || !*a.there
		case p.Available.Mode == Any:
			away = away && !*a.there
		}
	}
	if away == part.away {
		return c, false
	}
	part.away = away
	c = Change{ID: s.ID, Called: s.Called, Property: p.Name, Main: p == &s.Properties[0], Away: away, Found: true}
	if is := s.Values[p.Name]; !away {
		c.Value, c.Bad = is.Value, is.Bad
	}
	return c, away || c.Value != nil && c.Bad == "" && p.Kind != Event
}

// heard notes one report of availability of the device, and reports whether the device is there now
// and was not, or the other way round.
func (r *Registry) heard(s *State, v Value) bool {
	on, ok := v.Value.(bool)
	if !ok || v.Available >= len(s.available) {
		return false
	}
	s.available[v.Available].there = &on
	now := s.available.together(s.Available.Mode, on)
	changed := s.Online == nil || *s.Online != now
	s.Online = &now
	return changed
}

// isOnline takes up what the reports that are left say, if each has said something, and reports whether
// the device is there now and was not, or the other way round.
func (s *State) isOnline() (changed bool) {
	unsaid := func(on presenceOn) bool { return on.there == nil }
	mode := s.Available.Mode
	if s.Online == nil || slices.ContainsFunc(s.available, unsaid) || len(s.available) > 1 && mode != All && mode != Any {
		return false
	}
	now := s.available.together(mode, *s.available[0].there)
	changed = *s.Online != now
	s.Online = &now
	return changed
}

// Turned gives the devices that are there, or away, because a report of theirs does not count any
// more, since it was asked last.
func (r *Registry) Turned() (changes []Change) {
	for _, id := range r.turned {
		if s := r.states[id]; s != nil && s.Online != nil {
			r.moved[id] = true
			changes = append(changes, Change{ID: id, Called: s.Called, Property: "availability", Value: *s.Online, Found: true})
		}
	}
	r.turned = nil
	return changes
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
			if !v.here {
				if age = now.Wall.Sub(v.At); !now.Known {
					continue
				}
			}
			switch {
			case p.OffAfter > 0 && v.Value == true && age >= p.OffAfter:
				s.Values[p.Name] = Reported{Value: false, At: now.Wall, live: true, here: true, mono: now.Mono}
				changes = append(changes, Change{ID: id, Called: s.Called, Property: p.Name, Main: i == 0, Value: false, Away: s.Away(p.Name)})
				r.moved[id] = true
			case p.StaleAfter > 0 && v.Value != nil && v.Bad == "" && age >= p.StaleAfter:
				v.Bad = "nothing came for " + p.StaleAfter.String()
				s.Values[p.Name] = v
				changes = append(changes, Change{ID: id, Called: s.Called, Property: p.Name, Main: i == 0, Bad: v.Bad, Away: s.Away(p.Name), Stale: true})
			}
		}
	}
	return changes
}

// ClockSet is to be called when the wall clock was set otherwise: what came since the hub
// started is as old as the other clock says.
func (r *Registry) ClockSet(now devices.Now) {
	wall := func(mono time.Duration) time.Time { return now.Wall.Add(mono - now.Mono) }
	for id, s := range r.states {
		r.moved[id] = true
		if s.spoke != 0 {
			s.Seen = wall(s.spoke)
		}
		if s.missedAt != 0 && !s.missed.IsZero() {
			s.missed = wall(s.missedAt)
			r.dirty[id] = true
		}
		for name, v := range s.Values {
			if v.here {
				v.At = wall(v.mono)
				s.Values[name] = v
			}
		}
		for name, a := range s.Asked {
			if !a.kept {
				a.At = wall(a.since)
				s.Asked[name] = a
			}
		}
	}
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

// Tell gives what tells a property of a device a value, and notes that it was asked, by
// whom. A toggle that the device has no word for becomes the opposite of what it is.
func (r *Registry) Tell(s *State, property string, v any, origin devices.Origin, now devices.Now) (Message, error) {
	p, err := s.Property(property)
	switch {
	case err != nil:
		return Message{}, err
	case s.Silent && p.Set == nil:
		return Message{}, fmt.Errorf("%s has not announced itself since the hub started, so nobody knows how to tell it anything", s.Called)
	}
	want, err := p.fit(v)
	if err != nil {
		if other := s.elsewhere(p, v); other != "" {
			err = fmt.Errorf("%w; %s.%s takes that", err, s.Called, other)
		}
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
	r.ask(s, p, p.asReported(want), origin, now)
	return m, nil
}

// All lists the devices by their names here.
func (r *Registry) All() []*State {
	return slices.SortedFunc(maps.Values(r.states), func(a, b *State) int { return cmp.Compare(a.Called, b.Called) })
}

// Names lists the names of all devices, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.names)) }

// kept is what a device is, as it is kept. It is written when that changes.
type kept struct {
	Device Device             `json:"device"`
	Called string             `json:"called"`
	Since  time.Time          `json:"since"`
	Missed time.Time          `json:"missed,omitzero"`
	Told   map[string]tellers `json:"told,omitempty"` // by id: of it, and of what is merged into it
}

// keptValues is what it reported, which is written so often that it has to be short.
type keptValues struct {
	Seen   int64               `json:"seen,omitempty"` // Unix time in ms
	Online *bool               `json:"online,omitempty"`
	Values map[string]keptPair `json:"values,omitempty"`

	Asked  map[string]keptAsked `json:"asked,omitempty"`
	Counts map[string]int64     `json:"counts,omitempty"` // of events that are counted
}

type keptPair [2]any // a value, and when it came: Unix time in ms

// maxKept is how much of one device's values is kept; more is not worth the card.
const maxKept = 16 << 10

// Changes gives the records that are out of date, by their keys; nil is for one to be
// deleted. Those of values only if they are wanted: there are always some.
func (r *Registry) Changes(values bool) map[string][]byte {
	changes := make(map[string][]byte)
	put := func(key string, v any) {
		if b, err := json.Marshal(v); err == nil {
			changes[key] = b
		}
	}
	for id := range r.dirty {
		changes["device "+id] = nil
		if s := r.states[id]; s != nil {
			put("device "+id, r.kept(s))
		}
	}
	clear(r.dirty)
	for id := range r.moved {
		s := r.states[id]
		if s == nil {
			changes["values "+id] = nil
			delete(r.moved, id)
		} else if values {
			put("values "+id, s.keptValues())
			delete(r.moved, id)
		}
	}
	for topic := range r.news {
		changes["said "+topic] = nil
		if a, ok := r.messages[topic]; ok {
			put("said "+topic, a)
		}
	}
	clear(r.news)
	for old := range r.reseated {
		changes["as "+old] = nil
		if in, ok := r.standIns[old]; ok {
			put("as "+old, in)
		}
	}
	clear(r.reseated)
	return changes
}

func (r *Registry) kept(s *State) kept {
	k := kept{Device: s.Device, Called: s.Called, Since: s.Since, Missed: s.missed}
	told := make(map[string]tellers)
	for _, id := range append([]string{s.ID}, s.Also...) {
		if t := r.catalog.tellers(id); len(t.Topics) > 0 {
			told[id] = t
		} else if t, ok := s.told[id]; ok {
			told[id] = t
		}
	}
	k.Told, s.told = told, told
	return k
}

func (s *State) keptValues() keptValues {
	k := keptValues{Online: s.Online, Values: make(map[string]keptPair), Asked: s.keptAsked(), Counts: s.counts}
	if !s.Seen.IsZero() {
		k.Seen = s.Seen.UnixMilli()
	}
	room := maxKept
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		v := s.Values[name]
		if room -= len(devices.Text(v.Value)); v.Value != nil && room > 0 {
			k.Values[name] = keptPair{v.Value, v.At.UnixMilli()}
		}
	}
	return k
}

// Restore takes up a record. Those of who stands for whom come before those of devices, and these before
// those of what they said and reported, as their keys are sorted. What makes no sense gives an error, and nothing is
// restored.
func (r *Registry) Restore(key string, record []byte) error {
	what, of, _ := strings.Cut(key, " ")
	switch what {
	case "as":
		return r.restoreStandIn(of, record)
	case "said":
		var a announcement
		if err := json.Unmarshal(record, &a); err != nil {
			return err
		}
		if a.Topic != of {
			return errKept
		}
		r.messages[of] = a
		r.said += len(a.Payload)
		changed, _ := r.catalog.Take(devices.Message{Topic: a.Topic, Payload: a.Payload, Initial: true})
		r.stale = r.stale || changed
		if r.restored == nil {
			r.restored = make(map[string]bool)
		}
		note := func() {
			for _, id := range r.catalog.last {
				r.restored[id] = true
			}
		}
		note()
		for r.catalog.Waits("") {
			r.Rest()
			note()
		}
		return nil
	case "device":
		var k kept
		if err := json.Unmarshal(record, &k); err != nil {
			return err
		}
		if k.Device.ID != of || of == "" {
			return errKept
		}
		s := &State{Device: k.Device, Called: k.Called, Since: k.Since, missed: k.Missed,
			Values: make(map[string]Reported), Asked: make(map[string]Asked), counts: make(map[string]int64), Silent: true}
		s.told = k.Told
		r.states[of] = s
		for id, t := range k.Told {
			r.catalog.restore(id, t)
		}
		r.catalog.refuse(of, s.Denied)
		for _, also := range s.Also {
			r.catalog.refuse(also, s.Denied)
			r.merged[also] = of
		}
		if r.call(s); s.Called == k.Called {
			delete(r.dirty, of)
		}
		return nil
	case "values":
		var k keptValues
		if err := json.Unmarshal(record, &k); err != nil {
			return err
		}
		s := r.states[of]
		if s == nil {
			return errKept
		}
		s.Online = k.Online
		if k.Seen != 0 {
			s.Seen = time.UnixMilli(k.Seen)
		}
		s.before, s.heard = k.Counts, s.Seen
		for name, v := range k.Values {
			if at, ok := v[1].(float64); ok && v[0] != nil {
				s.Values[name] = Reported{Value: v[0], At: time.UnixMilli(int64(at))}
			}
		}
		r.restoreAsked(s, k.Asked)
		return nil
	}
	return errKept
}

var errKept = errors.New("it is not what a record of this name holds")

// Prune forgets devices that have been silent for too long. Nothing is forgotten by a
// clock that may be wrong.
func (r *Registry) Prune(now devices.Now) {
	if !now.Known {
		return
	}
	for id, s := range r.states {
		switch {
		case !s.Silent || r.given(s.Device) != "":
		case s.missed.IsZero():
			s.missed, s.missedAt = now.Wall, now.Mono
			r.dirty[id] = true
		case now.Wall.Sub(s.missed) >= forgetAfter:
			r.forget(id)
		}
	}
}

// Rename looks anew what the owner calls the devices.
func (r *Registry) Rename() { r.stale = true }

// takeAway says how what a device announces is taken away.
func (r *Registry) takeAway(s *State) string {
	var topics []string
	for _, a := range r.catalog.known[s.ID].told {
		topic := a.topic
		if base, _, ok := strings.Cut(topic, "/$"); ok && s.Via == "homie" { // which tells of a device on many topics
			topic = base + "/#"
		}
		if topic != "" && !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	if s.Via == "zigbee2mqtt" || len(topics) == 0 { // whose list has all of the others, too
		return "remove it where it is paired"
	}
	slices.Sort(topics)
	return "hearth retained clear '" + strings.Join(topics, "' and '") + "' takes that away"
}

// Remove forgets a device, until it announces itself again. One whose announcement is
// retained can't be forgotten: it would be here again.
func (r *Registry) Remove(s *State) error {
	var said []string
	ids := append([]string{s.ID}, s.Also...)
	for topic, a := range r.messages {
		if slices.ContainsFunc(a.IDs, func(id string) bool { return slices.Contains(ids, id) }) {
			said = append(said, topic)
		}
	}
	if !s.Silent && len(said) == 0 {
		return fmt.Errorf("what %s announces is retained, and it would be here again: %s", s.Called, r.takeAway(s))
	}
	for _, topic := range said {
		r.unsay(topic)
		r.catalog.Take(devices.Message{Topic: topic, Initial: true}) // as if it had taken that back
	}
	for _, id := range ids {
		r.catalog.forget(id)
	}
	r.forget(s.ID)
	r.stale = true
	return nil
}
