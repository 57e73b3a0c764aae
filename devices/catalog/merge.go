package catalog

import "slices"

// closeness is the order in which conventions are believed about a device that
// several tell of: its own first, and Home Assistant's, which most bridges speak
// besides their own, after them. ESPHome has little of its own but Home Assistant's.
var closeness = []string{"zigbee2mqtt", "tasmota", "shelly", "homie", "homeassistant", "esphome"}

// merged makes one of those that are the same device. A property that only the less close
// knows is added.
func merged(all []Device) []Device {
	slices.SortStableFunc(all, func(a, b Device) int {
		return slices.Index(closeness, a.Via) - slices.Index(closeness, b.Via)
	})
	owner := make(map[string]int) // by identity, the place in out
	var out []Device
	for _, d := range all {
		at := -1
		for _, id := range d.Identity {
			if i, ok := owner[id]; ok && out[i].Via != d.Via {
				at = i
				break
			}
		}
		if at < 0 {
			at = len(out)
			d.Also = nil
			out = append(out, d)
		} else {
			one := &out[at]
			one.Also = append(one.Also, d.ID)
			one.Denied = append(slices.Clip(one.Denied), d.Denied...)
			one.Properties = slices.Clip(one.Properties)
			for _, p := range d.Properties {
				if !slices.ContainsFunc(one.Properties, p.same) {
					one.Properties = append(one.Properties, p)
				}
			}
		}
		for _, id := range d.Identity {
			owner[id] = at
		}
	}
	slices.SortStableFunc(out, func(a, b Device) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// same says that two properties are one: they have one name, or are reported and told at
// the same places.
func (p Property) same(q Property) bool {
	if p.Name == q.Name {
		return true
	}
	if p.Set != nil && q.Set != nil && p.Set.Topic == q.Set.Topic && p.Kind == q.Kind {
		return true
	}
	return p.Class != "" && p.Class == q.Class && p.Kind == q.Kind && p.Unit == q.Unit
}
