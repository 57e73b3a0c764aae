package hub

import (
	"cmp"
	"context"
	"slices"

	"hearth/control"
	"hearth/devices/catalog"
)

// Devices lists the devices that have announced themselves.
func (d desk) Devices(ctx context.Context) (control.Devices, error) {
	return ask(ctx, d.Hub, func() control.Devices {
		all := control.Devices{Unlinked: d.linkTrouble()}
		for _, s := range d.devices.registry.All() {
			one := toldDevice(s)
			one.Label, one.Room, one.Aliases = d.shownAs(s)
			if all.Unlinked != "" {
				one.Online = nil // it may have gone, or come back
			}
			_, one.Named = d.cfg.Device.Get(s.Called)
			one.StandsFor, one.ReplacedBy = d.devices.registry.StandsFor(s), d.devices.registry.ReplacedBy(s)
			all.Devices = append(all.Devices, one)
		}
		for _, entry := range d.cfg.Device {
			if id := entry.Value.Announced(); id != "" {
				if _, ok := d.devices.registry.Find(entry.Name); !ok {
					one := control.Device{Name: entry.Name, ID: d.devices.registry.Last(id), Label: string(entry.Value.Name), Room: string(entry.Value.Room), Aliases: entry.Value.Aliases, Named: true, Silent: true}
					if one.ID != id {
						one.StandsFor = id
					}
					all.Devices = append(all.Devices, one)
				}
			}
		}
		slices.SortFunc(all.Devices, func(a, b control.Device) int { return cmp.Compare(a.Name, b.Name) })
		faults, others := d.devices.registry.Faults()
		for _, f := range faults {
			all.Faults = append(all.Faults, control.Fault{Topic: f.Topic, Times: f.Times, Why: f.Why})
		}
		all.OtherFaults = others
		return all
	})
}

func toldDevice(s *catalog.State) control.Device {
	one := control.Device{
		Name: s.Called, ID: s.ID, Via: s.Via, Label: s.Name, Room: s.Room, Maker: s.Maker, Model: s.Model, Version: s.Version,
		Sleepy: s.Sleepy, Also: s.Also, Denied: s.Denied, Since: s.Since, Seen: s.Seen, Online: s.Online, Silent: s.Silent,
	}
	for i := range s.Properties {
		p := &s.Properties[i]
		told := control.Property{
			Name: p.Name, Label: p.Label, Kind: string(p.Kind), Of: p.Of, Class: p.Class, Unit: p.Unit,
			Options: slices.Concat(p.Options, p.Words()), Diagnostic: p.Diagnostic, Raw: p.Raw, Settable: p.Set != nil,
		}
		if p.Range != nil {
			told.Min, told.Max = &p.Range.Min, &p.Range.Max
		}
		told.Away = s.Away(p.Name)
		if v, ok := s.Values[p.Name]; ok {
			told.Value, told.At, told.Bad = v.Value, v.At, v.Bad
		}
		if a, ok := s.Asked[p.Name]; ok {
			told.Asked, told.AskedAt, told.GaveUp, told.Again = a.Value, a.At, a.GaveUp, s.Again(p.Name)
		}
		for _, r := range p.Reports {
			told.Topics = append(told.Topics, r.Topic)
		}
		if p.Set != nil {
			told.SetTopic = p.Set.Topic
		}
		one.Properties = append(one.Properties, told)
	}
	return one
}

// ForgetDevice forgets a device that is no more.
func (d desk) ForgetDevice(ctx context.Context, name string) error {
	wrong, err := ask(ctx, d.Hub, func() error {
		s, ok := d.deviceCalled(name)
		if !ok {
			return d.unknownThing(name)
		}
		if err := d.devices.registry.Remove(s); err != nil {
			return err
		}
		d.countDevices()
		return nil
	})
	if err == nil && wrong != nil {
		err = control.Mistaken(wrong)
	}
	return err
}
