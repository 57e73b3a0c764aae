package hub

import (
	"context"
	"slices"

	"hearth/devices/catalog"
	"hearth/rules"
	"hearth/web"
)

// Devices lists the devices that have announced themselves, for the page.
func (p page) Devices(ctx context.Context) (web.Devices, error) {
	return ask(ctx, p.Hub, func() web.Devices {
		all := web.Devices{Unlinked: p.linkTrouble()}
		for _, s := range p.devices.registry.All() {
			all.Devices = append(all.Devices, p.webDevice(s))
		}
		faults, _ := p.devices.registry.Faults()
		for _, f := range faults {
			all.Faults = append(all.Faults, web.DeviceFault{Topic: f.Topic, Times: f.Times, Why: f.Why})
		}
		return all
	})
}

// webDevice is a device without its properties.
func (h *Hub) webDevice(s *catalog.State) web.Device {
	d := web.Device{
		Name: s.Called, ID: s.ID, Via: s.Via, Maker: s.Maker, Model: s.Model, Version: s.Version, Online: s.Online, Silent: s.Silent, Sleepy: s.Sleepy,
		Since: s.Since, Seen: s.Seen, StandsFor: h.devices.registry.StandsFor(s), ReplacedBy: h.devices.registry.ReplacedBy(s),
	}
	if h.linkTrouble() != "" {
		d.Online = nil // it may have gone, or come back
	}
	d.Label, d.Room, _ = h.shownAs(s)
	_, d.Named = h.cfg.Device.Get(s.Called)
	for i := range s.Properties {
		p := &s.Properties[i]
		d.See = append(d.See, topicsToSee(p))
		v := s.Values[p.Name]
		if v.Bad != "" || h.secretly(s, p) {
			continue
		}
		number, isNumber := v.Value.(float64)
		is, _ := v.Value.(bool)
		switch {
		case p.Class == "battery" && isNumber && d.Battery == nil:
			d.Battery = &number
		case p.Class == "battery" && is, p.Name == "battery_low" && is:
			d.BatteryLow = true
		case d.Link == nil && isNumber && (p.Class == "signal_strength" || p.Name == "linkquality"):
			if d.Link, d.LinkUnit = &number, p.Unit; p.Unit == "" {
				d.LinkUnit = "lqi"
			}
		}
	}
	return d
}

// topicsToSee are those by which it is judged who may see a property.
func topicsToSee(p *catalog.Property) []string {
	if see := topicsOfProperty(p); len(see) > 0 || p.Set == nil {
		return see
	}
	return []string{p.Set.Topic}
}

// Device is all of one device. Its lines in the configuration are read where that is asked for.
func (p page) Device(ctx context.Context, name string) (web.Device, bool, error) {
	var cfg *Config
	d, err := ask(ctx, p.Hub, func() *web.Device {
		s, ok := p.devices.registry.Find(name)
		if !ok {
			return nil
		}
		cfg = p.cfg
		d := p.webDevice(s)
		d.Denied = s.Denied
		names := []string{s.Called}
		for i := range s.Properties {
			prop := &s.Properties[i]
			v := s.Values[prop.Name]
			one := web.DeviceProperty{Name: prop.Name, Label: prop.Label, Kind: string(prop.Kind), Unit: prop.Unit, At: v.At, Bad: printable(v.Bad),
				Away: s.Away(prop.Name), Diagnostic: prop.Diagnostic, Topics: topicsOfProperty(prop)}
			if v.Value != nil {
				one.Text = printable(inWords(v.Value))
			}
			if prop.Set != nil {
				one.SetTopic = prop.Set.Topic
			}
			secret := p.secretly(s, prop)
			if secret {
				one.Text, one.Bad = "***", ""
			}
			if a, ok := s.Asked[prop.Name]; ok && !secret {
				one.Asked, one.GaveUp = printable(inWords(a.Value)), a.GaveUp
			}
			d.Properties = append(d.Properties, one)
			names = append(names, s.Called+"."+prop.Name)
		}
		for _, name := range names {
			d.Rules = append(d.Rules, p.engine.Reads(name)...)
			for _, act := range p.engine.Acts(rules.Announced(name)) {
				d.Rules = append(d.Rules, act.Rule)
			}
		}
		slices.Sort(d.Rules)
		d.Rules = slices.Compact(d.Rules)
		return &d
	})
	if err != nil || d == nil {
		return web.Device{}, false, err
	}
	if d.Named {
		d.Config = tableIn(cfg.text(), "device", d.Name)
	}
	return *d, true, nil
}

// Forget forgets a device that is no more.
func (p page) Forget(ctx context.Context, name string) error {
	return desk(p).ForgetDevice(ctx, name)
}
