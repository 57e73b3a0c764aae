package hub

import (
	"path/filepath"

	"hearth/config"
	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/push"
)

// openPush makes what sends readings to databases. It sends nothing before Use.
func (h *Hub) openPush() *push.Pushers {
	return push.New(push.Options{
		Dir:       filepath.Dir(h.cfg.path),
		Secret:    func(name string) (string, bool) { v, ok := h.cfg.Secret[name]; return v, ok },
		Now:       h.now,
		Log:       h.log,
		Transport: h.opt.transport,
	})
}

// checkPush says which secrets of databases there are none of.
func (c *Config) checkPush(at config.Place) {
	var known []string
	for name := range c.Secret {
		known = append(known, name)
	}
	for _, p := range c.Push {
		for _, key := range []struct{ name, secret string }{{"token", p.Value.Token}, {"password", p.Value.Password}} {
			if _, ok := c.Secret[key.secret]; ok || key.secret == "" {
				continue
			}
			hint := "it is the name of one that stands under [secret]"
			if near, ok := config.Nearest(key.secret, known); ok {
				hint = `did you mean "` + near + `"?`
			}
			at.Key("push").Key(p.Name).Key(key.name).Mistake("no secret is called so: %s", hint)
		}
	}
}

// push sends a reading of what rules know by a name of its own: something wired, or a
// topic. What was found at the start is no news, and what is compared with a secret is
// not told.
func (h *Hub) push(r devices.Reading) {
	if !h.pushers.Any() || r.Bad != "" || r.Gone || r.Initial || r.Restored || h.ofDevice(r.Source) || h.engine.Hidden(r) {
		return
	}
	l := h.labelsOf(r.Source)
	h.pushers.Put(push.Point{At: r.At, Name: r.Source, Device: l.device, Property: l.property, Room: l.room, Unit: l.unit, Value: r.Value})
}

// pushChange sends what is new of a device that announced itself.
func (h *Hub) pushChange(s *catalog.State, c catalog.Change, at devices.Now) {
	p, err := s.Property(c.Property)
	if !h.pushers.Any() || err != nil || c.Property == "" || c.Bad != "" || c.Away || c.Stale || c.Found || h.secretly(s, p) {
		return
	}
	l := h.labelsOfDevice(s, p)
	h.pushers.Put(push.Point{At: at, Name: l.device + "." + l.property, Device: l.device, Property: l.property, Room: l.room, Unit: l.unit, Value: c.Value})
}
