package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hearth/control"
	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/store"
)

// ReplaceDevice puts a device into the place of another, which has broken: it has its name
// from now on, and so all that rules and people say to that name. It returns when that is
// on disk. Unless forced it is refused if the new one lacks what rules use of the name.
func (d desk) ReplaceDevice(ctx context.Context, broken, by string, force bool) (control.Replaced, error) {
	return d.reseat(ctx, func() (done control.Replaced, err error) {
		old, err := d.seatOf(broken)
		if err != nil {
			return done, err
		}
		s, ok := d.deviceCalled(by)
		if !ok {
			return done, fmt.Errorf("%w; the new device has to announce itself first", d.unknownThing(by))
		}
		done = control.Replaced{Name: old.name, Now: s.ID, Old: old.id}
		done.Missing = d.lacks(old, s)
		if len(done.Missing) > 0 && !force {
			return done, fmt.Errorf("%s has not what rules use of %s: %s; --force replaces it all the same", by, old.name, strings.Join(done.Missing, ", "))
		}
		return done, d.devices.registry.Replace(old.id, s)
	})
}

// ReinstateDevice takes back the last replacement of a name.
func (d desk) ReinstateDevice(ctx context.Context, name string) (control.Replaced, error) {
	return d.reseat(ctx, func() (done control.Replaced, err error) {
		at, err := d.seatOf(name)
		if err != nil {
			return done, err
		}
		was, is, err := d.devices.registry.Reinstate(at.id)
		return control.Replaced{Name: at.name, Now: was, Old: is}, err
	})
}

// reseat has a name mean another device, and waits until that is on disk.
func (d desk) reseat(ctx context.Context, change func() (control.Replaced, error)) (done control.Replaced, err error) {
	kept := make(chan error, 1)
	wrong, err := ask(ctx, d.Hub, func() (wrong error) {
		if done, wrong = change(); wrong != nil {
			return control.Mistaken(wrong)
		}
		d.countDevices()
		d.tellAll()
		_, done.Written = d.cfg.Device.Get(done.Name)
		if s, ok := d.devices.registry.Find(done.Name); ok && done.Written && d.devices.registry.StandsFor(s) == "" {
			done.Written = false // the configuration names it as it is
		}
		var put []store.Record
		for key, record := range d.devices.registry.Changes(false) {
			put = append(put, store.Record{Kind: store.Device, Key: key, Value: record})
		}
		if len(put) == 0 {
			kept <- nil
			return nil
		}
		d.store.PutAll(put, 0, func(err error) { kept <- err })
		return nil
	})
	if err = errors.Join(err, wrong); err != nil {
		return done, err
	}
	select {
	case err = <-kept:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return done, err
}

// A seat is a name that devices have one after the other.
type seat struct{ name, id string }

// seatOf is the seat of a device that may be gone by now.
func (h *Hub) seatOf(name string) (seat, error) {
	if d, named := h.cfg.Device.Get(name); named && d.Announced() == "" {
		return seat{}, fmt.Errorf("the configuration knows %s by its topics: say there what the new one is called, or call it as the old one was where it is paired", name)
	}
	if s, ok := h.deviceCalled(name); ok {
		if d, named := h.cfg.Device.Get(s.Called); named && d.Announced() == "" {
			return h.seatOf(s.Called)
		}
		return seat{s.Called, s.ID}, nil
	}
	for _, entry := range h.cfg.Device {
		if id := entry.Value.Announced(); id != "" && (id == name || entry.Name == name) {
			return seat{entry.Name, h.devices.registry.Last(id)}, nil
		}
	}
	return seat{}, h.unknownThing(name)
}

// lacks says what rules use of a name and a device does not have.
func (h *Hub) lacks(old seat, s *catalog.State) (missing []string) {
	if s.Silent {
		return []string{"it has not announced itself since the hub started"}
	}
	before, _ := h.devices.registry.Find(old.id)
	for _, source := range h.engine.Sources() {
		if source.Name != old.name || source.Property == "availability" {
			continue
		}
		p, err := s.Property(source.Property)
		switch {
		case err != nil:
			missing = append(missing, strings.TrimSuffix(source.Property+" (it has "+strings.Join(s.PropertyNames(), ", ")+")", " (it has )"))
		case before == nil:
		default:
			if was, err := before.Property(source.Property); err == nil && was.Form() != p.Form() {
				missing = append(missing, fmt.Sprintf("%s as %s (of this one it is %s)", was.Name, was.Form(), p.Form()))
			}
		}
	}
	for _, property := range h.engine.Tells(old.name) {
		if p, err := s.Property(property); err == nil && p.Set == nil {
			missing = append(missing, "that "+p.Name+" can be told something")
		}
	}
	return missing
}

// isAnother lets the rules know that a name means another device: of the one before nothing
// is known any more, and what is known of this one is found, not news.
func (h *Hub) isAnother(name string) {
	clear(h.devices.warned)
	known := make(map[string]bool)
	all := h.deviceReadings()
	for _, r := range all {
		known[r.Source] = true
	}
	of := func(source string) bool { return source == name || strings.HasPrefix(source, name+".") }
	for _, r := range h.registry.All() {
		if of(r.Source) && !known[r.Source] {
			h.read(devices.Reading{Source: r.Source, Topic: r.Topic, At: h.now(), Gone: true})
		}
	}
	for _, r := range all {
		if of(r.Source) {
			h.read(r)
		}
	}
}
