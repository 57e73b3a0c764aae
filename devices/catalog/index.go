package catalog

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"hearth/devices"
)

// An Index takes what devices report. It never changes.
type Index struct {
	topics map[string][]bound
	wild   map[string][]string // of those that are filters, by their last level, which is never a wildcard
}

// bound is a report of one property.
type bound struct {
	device, property string
	event            bool
	available        int // which of the reports of availability, of the property or the device; -1: of the property's value
	read             Reader
}

// NewIndex makes the index of devices.
func NewIndex(all []Device) *Index {
	x := &Index{topics: make(map[string][]bound), wild: make(map[string][]string)}
	for _, d := range all {
		for _, p := range d.Properties {
			for _, r := range p.Reports {
				x.topics[r.Topic] = append(x.topics[r.Topic], bound{d.ID, p.Name, p.Kind == Event, -1, r.Read})
			}
			if p.Available == nil {
				continue
			}
			for i, r := range p.Available.Reports {
				x.topics[r.Topic] = append(x.topics[r.Topic], bound{device: d.ID, property: p.Name, available: i, read: r.Read})
			}
		}
		for i, r := range d.Available.Reports {
			x.topics[r.Topic] = append(x.topics[r.Topic], bound{device: d.ID, available: i, read: r.Read})
		}
	}
	for topic := range x.topics {
		if strings.Contains(topic, "+") {
			last := lastLevel(topic)
			x.wild[last] = append(x.wild[last], topic)
		}
	}
	return x
}

func lastLevel(topic string) string { return topic[strings.LastIndexByte(topic, '/')+1:] }

// on gives the reports on a topic.
func (x *Index) on(topic string) []bound {
	all := x.topics[topic]
	if len(x.wild) == 0 {
		return all
	}
	for _, filter := range x.wild[lastLevel(topic)] {
		if filter != topic && devices.MatchTopic(filter, topic) {
			all = append(slices.Clip(all), x.topics[filter]...)
		}
	}
	return all
}

// Takes says whether some device reports on topic.
func (x *Index) Takes(topic string) bool { return len(x.on(topic)) > 0 }

// A Value is what one message says of one property.
type Value struct {
	Device, Property string
	Value            any    // in the form of the property's kind, or a counted event; nil if Bad
	Bad              string // why it is none
	Available        int    // which report of availability it is, of Property or of the device, whose value is a bool; -1: a value of Property
}

// Read gives what a message says. A message that was found at the start has no events but
// counted ones, which are not news then either.
func (x *Index) Read(m devices.Message) []Value {
	all := x.on(m.Topic)
	if len(all) == 0 {
		return nil
	}
	p := payloads.Get().(*Payload)
	p.Message = m
	defer p.release()
	values := make([]Value, 0, len(all))
	for i := range all {
		b := &all[i]
		v, ok, err := b.read(p)
		if b.event && m.Initial {
			if _, ok := v.(counted); !ok { // whose number is worth knowing
				continue
			}
		}
		if err == nil && ok {
			err = tooLong(v, len(m.Payload))
		}
		switch {
		case err != nil:
			values = append(values, Value{b.device, b.property, nil, clip(err.Error(), maxText), b.available})
		case ok:
			values = append(values, Value{b.device, b.property, v, "", b.available})
		}
	}
	return values
}

// payloads are those that no message needs at present.
var payloads = sync.Pool{New: func() any { return new(Payload) }}

func (p *Payload) release() {
	p.json.Reset()
	*p = Payload{json: p.json}
	payloads.Put(p)
}

// has says whether a report of the same property is on topic.
func (x *Index) has(topic string, b bound) bool {
	return slices.ContainsFunc(x.topics[topic], func(o bound) bool {
		return o.device == b.device && o.property == b.property && o.available == b.available
	})
}

// maxValue bounds a value in bytes: each is remembered.
const maxValue = 16 << 10

func tooLong(v any, payload int) error {
	switch v := v.(type) {
	case string:
		payload = len(v)
	case map[string]any, []any:
	default:
		return nil
	}
	if payload > maxValue {
		return fmt.Errorf("it has %d bytes, want at most %d", payload, maxValue)
	}
	return nil
}
