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
	owners := make(map[string][]int) // by identity, the places in out
	var out []Device
	for _, d := range all {
		at := -1
		for _, id := range d.Identity {
			for _, i := range slices.Backward(owners[id]) {
				if out[i].Via != d.Via && together(&out[i], &d) {
					at = i
					break
				}
			}
			if at >= 0 {
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
			one.told = append(slices.Clip(one.told), d.told...) // so that a third is asked about both
			one.Denied = append(slices.Clip(one.Denied), d.Denied...)
			one.Properties = slices.Clip(one.Properties)
			for _, p := range d.Properties {
				if !slices.ContainsFunc(one.Properties, p.same) {
					one.Properties = append(one.Properties, p)
				}
			}
		}
		for _, id := range d.Identity {
			if !slices.Contains(owners[id], at) {
				owners[id] = append(owners[id], at)
			}
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

// together says whether two may be made one: those who told of the one may publish what tells of the other.
// Else a stranger could name the address of a lamp, and have a say in it or take its place.
func together(a, b *Device) bool {
	for _, x := range a.told {
		for _, y := range b.told {
			if !x.mayTo(y.topic) || !y.mayTo(x.topic) {
				return false
			}
		}
	}
	return true
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
