package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Thing is what people see in a room: an output, a cover, an input, something that
// measures, or a device that announced itself.
type Thing struct {
	Name      string `json:"name"`            // by which it is told something: "porch_light"
	Label     string `json:"label,omitempty"` // what people call it, where that is another
	Room      string `json:"room,omitempty"`
	Favourite bool   `json:"favourite,omitempty"`
	Line      string `json:"line,omitempty"` // the pin or topic it is on
	Hint      string `json:"hint,omitempty"` // what there is to say about that: "went on 12 times"
	Note      string `json:"note,omitempty"`
	Fault     string `json:"fault,omitempty"`
	Away      bool   `json:"away,omitempty"` // nobody can reach it now

	Properties []Property `json:"properties"` // the main one first
}

// A Property is one thing to see of a Thing, and maybe to tell it.
type Property struct {
	Name  string   `json:"name"` // within the thing, "" where it has one alone
	Label string   `json:"label,omitempty"`
	Kind  string   `json:"kind"`         // "switch", "level", "number", "choice", "text", "color", "cover", "lock", "button", "value"
	On    bool     `json:"on,omitempty"` // of a switch
	Level *float64 `json:"level,omitempty"`
	Text  string   `json:"text,omitempty"` // of what is neither; "" is not known
	Known bool     `json:"known"`
	Unit  string   `json:"unit,omitempty"`
	Range *Range   `json:"range,omitempty"` // of a level; of a text, how many characters it takes

	Options []string `json:"options,omitempty"` // of a choice, a cover and a lock: what it can be told

	Asked string    `json:"asked,omitempty"` // what it was told and has not confirmed: "on", "off", "40"
	Bad   string    `json:"bad,omitempty"`   // why what it says is no value
	Away  bool      `json:"away,omitempty"`
	At    time.Time `json:"at,omitzero"`

	// Tells says that it can be told something, and set by web by who is told of it.
	Tells bool `json:"tells,omitempty"`

	// Series is the name under which it is recorded; "" if nothing of it may be shown.
	Series string `json:"-"`

	// By these topics it is judged who may see it and who may tell it something. Without
	// any it is for those who may do so with the whole house.
	See, Use []string `json:"-"`
}

// Title is what people call it.
func (t Thing) Title() string { return cmp.Or(t.Label, t.Name) }

// Title is what people call it beside its thing; "" for the one that a thing has alone.
func (p Property) Title() string { return cmp.Or(p.Label, p.Name) }

// spoken is what people call a property where its thing is not said beside: "Porch, level".
func (t Thing) spoken(p Property) string {
	if p.Title() == "" {
		return t.Title()
	}
	return t.Title() + ", " + p.Title()
}

// path names a property in addresses and to programs: "porch.level", or "porch" for the one
// that a thing has alone.
func (t Thing) path(p Property) string { return strings.TrimSuffix(t.Name+"."+p.Name, ".") }

// kinds are those of a Property.
var kinds = []string{"switch", "level", "number", "choice", "text", "color", "cover", "lock", "button", "value"}

// So many characters of a text can be typed, and are shown of one that can; of others 100 are.
const mostTyped = 255

// So many options a choice has at most; nobody looks through more.
const mostOptions = 60

// A Range is that of a level, or of the length of a text.
type Range struct {
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Step float64 `json:"step"`
}

// A Room is a part of the house with its things, as the page shows it.
type Room struct {
	Name      string
	Favourite bool
	Things    []Thing
}

// Key is what the module of the page calls it.
func (r Room) Key() string {
	if r.Favourite {
		return "*"
	}
	return "=" + r.Name
}

// rooms are those of things, in the order in which they come.
func rooms(things []Thing) (all []Room) {
	for _, t := range things {
		is := func(r Room) bool { return r.Favourite == t.Favourite && (t.Favourite || r.Name == t.Room) }
		i := slices.IndexFunc(all, is)
		if i < 0 {
			i = len(all)
			all = append(all, Room{Name: t.Room, Favourite: t.Favourite})
		}
		all[i].Things = append(all[i].Things, t)
	}
	return all
}

func (t Thing) clean() Thing {
	t.Name, t.Label, t.Room, t.Line = mended(t.Name, mostName), mended(t.Label, mostName), mended(t.Room, mostName), mended(t.Line, mostName)
	t.Hint, t.Note, t.Fault = mended(t.Hint, mostName), mended(t.Note, mostName), sentence(t.Fault)
	t.Properties = each(t.Properties, Property.clean)
	return t
}

func (p Property) clean() Property {
	p.Name, p.Label, p.Unit, p.Asked = mended(p.Name, mostName), mended(p.Label, mostName), mended(p.Unit, 20), mended(p.Asked, 40)
	if !slices.Contains(kinds, p.Kind) { // for which the page has no template
		p.Kind = "value"
	}
	most := 100
	if p.Kind == "text" {
		most = mostTyped
	}
	p.Text, p.Bad, p.At = mended(p.Text, most), mended(p.Bad, mostName), sane(p.At)
	p.Options = slices.DeleteFunc(slices.Clone(p.Options), func(o string) bool { return o == "" || mended(o, 100) != o }) // told as shown, or not at all
	p.Options = p.Options[:min(len(p.Options), mostOptions)]
	return p
}

// seenBy is the part of t that a visitor may see; false if that is nothing.
func (t Thing) seenBy(r Rights) (Thing, bool) {
	whole := r.Whole(See)
	var some []Property
	for _, p := range t.Properties {
		if !whole && !may(r, p.See, See) {
			continue
		}
		p.Tells = p.Tells && may(r, p.Use, Use)
		some = append(some, p)
	}
	if !whole {
		t.Note = "" // as of a Pin
		if t.Fault != "" {
			t.Fault = "it has a fault"
		}
	}
	t.Properties = some
	return t, len(some) > 0
}

// may says whether somebody may do that much on all of some topics.
func may(r Rights, topics []string, l Level) bool {
	if r.Whole(l) {
		return true
	}
	return len(topics) > 0 && !slices.ContainsFunc(topics, func(topic string) bool { return !r.On(topic, l) })
}

// ofThings is v without what the page of the house does not show.
func (v View) ofThings() View {
	v.Readings, v.Decisions, v.Waiting = nil, nil, []string{}
	return v
}

// find is what a path names: a property, or by the name of its thing the main one. Nil: there
// is no such thing.
func (v View) find(path string) (*Thing, *Property) {
	for i := range v.Things {
		t := &v.Things[i]
		for k := range t.Properties {
			if p := &t.Properties[k]; path == t.Name+"."+p.Name || k == 0 && path == t.Name {
				return t, p
			}
		}
	}
	return nil, nil
}

// property is that which a path names, false if there is none.
func (v View) property(path string) (Property, bool) {
	if _, p := v.find(path); p != nil {
		return *p, true
	}
	return Property{}, false
}

const wantValue = `{"value":true}, a number or a short text in place of true`

// takeTell tells a thing a value: {"value": true}, {"value": 40} or {"value": "stop"}.
func (s *Server) takeTell(w http.ResponseWriter, r *http.Request) {
	var told struct {
		Value any `json:"value"`
	}
	err := readJSON(w, r, 2<<10, wantValue, &told)
	switch told.Value.(type) {
	case bool, float64, string:
	default:
		err = cmp.Or(err, Mistaken("want "+wantValue))
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	name, rights := r.PathValue("name"), visitorOf(r).rights
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	v, err := s.house.View(ctx)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	t, p := v.find(name)
	switch {
	case p == nil || !may(rights, p.See, See): // in the same words whether it is there or not
		refuse(w, http.StatusNotFound, "no thing is named "+name)
	case !may(rights, p.Use, Use):
		refuse(w, http.StatusForbidden, "you may look at "+name+" and not use it")
	default:
		if err := s.house.Tell(ctx, t.path(*p), told.Value); err != nil { // of which the rights were judged
			why := err.Error()
			if !rights.Whole(See) {
				why = name + " was not told that" // the reason may be another thing
			}
			refuse(w, http.StatusConflict, why)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
