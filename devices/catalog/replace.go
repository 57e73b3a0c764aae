package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A device that broke is replaced by another, which takes its place: it gets the name, and
// with it all that rules and people say to that name. What the configuration says stays as
// it is; that the one stands for the other is kept here, until the configuration itself
// names the new one.

// A standIn says that one device stands for another.
type standIn struct {
	Is   string `json:"is"`             // the id of the one that has the place now
	Name string `json:"name,omitempty"` // of the place, if the configuration gave it none
}

// given is what the owner calls a device: as the configuration names it or, of one that
// stands for another, that one. One that is replaced has no name any more.
func (r *Registry) given(d Device) string {
	if _, replaced := r.replacedBy(d); replaced {
		return ""
	}
	if name := r.written(d); name != "" {
		return name
	}
	for _, old := range r.predecessors(d) {
		if name := r.written(r.deviceOf(old)); name != "" {
			return name
		}
		if name := r.standIns[old].Name; name != "" {
			return name
		}
	}
	return ""
}

// deviceOf is the device of an id, of which no more may be known.
func (r *Registry) deviceOf(id string) Device {
	if s, ok := r.Find(id); ok {
		return s.Device
	}
	return Device{ID: id}
}

func (d *Device) is(id string) bool { return d.ID == id || slices.Contains(d.Also, id) }

// predecessors are the ids of those that a device stands for: the last that had its place,
// the one before that, and so on.
func (r *Registry) predecessors(d Device) (ids []string) {
	for range r.standIns { // no more, should two that stood one for the other be found to be one device
		for old, in := range r.standIns {
			if d.is(in.Is) {
				ids = append(ids, old)
				d = r.deviceOf(old)
				break
			}
		}
	}
	return ids
}

// replacedBy is the id of the one that stands for a device.
func (r *Registry) replacedBy(d Device) (id string, ok bool) {
	for old, in := range r.standIns {
		if d.is(old) {
			return in.Is, true
		}
	}
	return "", false
}

// StandsFor is the id of the device in whose place s is; "" if it is in its own.
func (r *Registry) StandsFor(s *State) string {
	if ids := r.predecessors(s.Device); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// ReplacedBy is the id of the device that stands for s; "" if none does.
func (r *Registry) ReplacedBy(s *State) string {
	id, _ := r.replacedBy(s.Device)
	return id
}

// Replace puts s into the place of the device with the id old, which may be gone already.
// To put back what was replaced is to take that back. Settle has to follow.
func (r *Registry) Replace(old string, s *State) error {
	before := r.deviceOf(old)
	if before.is(s.ID) {
		return fmt.Errorf("%s can't take its own place", s.ID)
	}
	line := r.predecessors(before)
	if i := slices.IndexFunc(line, s.is); i >= 0 { // it comes back
		for _, id := range line[:i+1] {
			r.setStandIn(id, nil)
		}
		return nil
	}
	if name := r.written(s.Device); name != "" {
		return fmt.Errorf("the configuration names %s itself, %s: take that out of it first", s.ID, name)
	}
	if id := r.StandsFor(s); id != "" {
		return fmt.Errorf("%s stands for %s already", s.ID, id)
	}
	if id := r.ReplacedBy(s); id != "" {
		return fmt.Errorf("%s was replaced itself, by %s: take that back first", s.ID, id)
	}
	if id := r.ReplacedBy(&State{Device: before}); id != "" {
		return fmt.Errorf("%s stands for %s already: replace that one, or take that back first", id, old)
	}
	in := standIn{Is: s.ID}
	if known, ok := r.Find(old); ok {
		clear(known.Asked) // nobody means the broken one any more, should it wake
		r.moved[known.ID] = true
		if r.given(before) == "" {
			in.Name = known.Called
		}
	}
	r.setStandIn(before.ID, &in)
	return nil
}

// Reinstate takes back the last replacement in the place of the device with an id, be it
// the first that had it or the last. Settle has to follow.
func (r *Registry) Reinstate(id string) (old, now string, err error) {
	d := r.deviceOf(r.Last(id))
	line := r.predecessors(d)
	if len(line) == 0 {
		return "", "", fmt.Errorf("%s stands for no other", id)
	}
	r.setStandIn(line[0], nil)
	return line[0], d.ID, nil
}

// Last is the id of the one that has the place of the device with an id now.
func (r *Registry) Last(id string) string {
	for range r.standIns {
		if next, ok := r.replacedBy(r.deviceOf(id)); ok {
			id = next
		}
	}
	return id
}

func (r *Registry) setStandIn(old string, in *standIn) {
	if was := r.standIns[old].Name; was != "" && in == nil {
		r.giveBack(was, old)
	}
	if delete(r.standIns, old); in != nil {
		r.standIns[old] = *in
	}
	r.reseated[old] = true
	r.stale = true
}

// giveBack gives a name that only the registry knows to the one who had it first.
func (r *Registry) giveBack(name, id string) {
	old, known := r.states[id]
	has := r.states[r.names[name]]
	if !known || has == nil || has == old {
		return
	}
	delete(r.names, old.Called)
	old.Called, has.Called = name, ""
	r.names[name] = id
	r.dirty[id], r.dirty[has.ID] = true, true
}

// reseat is a device that is known by another id now.
func (r *Registry) reseat(was, id string) {
	for old, in := range r.standIns {
		switch {
		case in.Is == was:
			in.Is = id
			r.setStandIn(old, &in)
		case old == was:
			delete(r.standIns, old)
			r.reseated[old] = true
			r.setStandIn(id, &in)
		}
	}
}

// settleStandIns lets go of what the configuration says itself by now.
func (r *Registry) settleStandIns() {
	for id := range r.standIns {
		s, ok := r.Find(r.standIns[id].Is)
		switch {
		case !ok:
		case s.is(id): // they were found to be one device
			delete(r.standIns, id)
			r.reseated[id] = true
		case r.written(s.Device) != "":
			for _, old := range r.predecessors(s.Device) {
				delete(r.standIns, old)
				r.reseated[old] = true
			}
		}
	}
}

// restoreStandIn takes up a record of who stands for the device with the id old.
func (r *Registry) restoreStandIn(old string, record []byte) error {
	var in standIn
	if err := json.Unmarshal(record, &in); err != nil {
		return err
	}
	if in.Is == "" || in.Is == old || old == "" {
		return errKept
	}
	for id := in.Is; id != ""; id = r.standIns[id].Is {
		if id == old {
			return errKept // they would stand for each other in a ring
		}
	}
	r.standIns[old] = in
	return nil
}
