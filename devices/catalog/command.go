package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hearth/config"
	"hearth/devices"
)

func (d *Device) noProperty(name string) error {
	names := d.PropertyNames()
	switch near, ok := config.Nearest(name, names); {
	case len(names) == 0:
		return fmt.Errorf("%s has no properties", d.Name)
	case ok:
		return fmt.Errorf("%s has no property %q, did you mean %q?", d.Name, name, near)
	}
	return fmt.Errorf("%s has no property %q: it has %s", d.Name, name, strings.Join(names, ", "))
}

// command gives what tells the property v.
func (p *Property) command(v any) (Message, error) {
	if p.Set == nil {
		return Message{}, fmt.Errorf("%s can't be told anything: it only reports", p.Name)
	}
	v, err := p.fit(v)
	if err != nil {
		return Message{}, err
	}
	set := p.Set
	if v == true && set.On != nil {
		set = set.On
	}
	payload, err := set.Encode(v)
	if err != nil {
		return Message{}, err
	}
	return Message{Topic: set.Topic, Payload: payload, Retain: set.Retain, QoS: set.QoS}, nil
}

// fit makes v a value in the form of the property's kind, or says why it is none.
func (p *Property) fit(v any) (any, error) {
	switch p.Kind {
	case Switch, Light, Fan, Valve:
		if v == any(devices.Toggle{}) {
			return v, nil
		}
		if text, ok := v.(string); ok {
			switch strings.ToLower(strings.TrimSpace(text)) {
			case "toggle":
				return devices.Toggle{}, nil
			case "open":
				if p.Kind == Valve {
					return true, nil
				}
			case "close", "closed":
				if p.Kind == Valve {
					return false, nil
				}
			}
		}
		on, ok := devices.Bool(v)
		if !ok {
			return nil, fmt.Errorf("%s takes on, off or toggle, not %q", p.Name, devices.Text(v))
		}
		return on, nil
	case Cover, Lock:
		return p.word(v, p.Words()...)
	case Number:
		text, isText := v.(string)
		for _, word := range p.Options { // values that have a name, such as "warmest"
			if isText && strings.EqualFold(word, strings.TrimSpace(text)) {
				return word, nil
			}
		}
		if isText && p.Unit != "" {
			v = strings.TrimSuffix(strings.TrimSpace(text), p.Unit)
		}
		f, err := toNumber(v)
		if err != nil {
			return nil, fmt.Errorf("%s takes a number: %w", p.Name, err)
		}
		if r := p.Range; r != nil && (f < r.Min || f > r.Max) {
			return nil, fmt.Errorf("%s takes %s to %s, not %s", p.Name, short(r.Min), short(r.Max), short(f))
		}
		return f, nil
	case Select, Climate:
		return p.word(v, p.Options...)
	case Button:
		if pressed, ok := devices.Bool(v); ok && !pressed {
			return nil, fmt.Errorf("%s is pressed or not told anything", p.Name)
		}
	case Text:
		if r := p.Range; r != nil {
			length := float64(len([]rune(devices.Text(v))))
			if length > r.Max {
				return nil, fmt.Errorf("%s takes at most %s characters", p.Name, short(r.Max))
			}
			if length < r.Min {
				return nil, fmt.Errorf("%s takes at least %s characters", p.Name, short(r.Min))
			}
		}
	}
	return v, nil
}

// Words are those that a cover or a lock is told; nil of other kinds. Not every cover can be
// stopped, and not every lock has a latch to open.
func (p *Property) Words() (words []string) {
	switch p.Kind {
	case Cover:
		words = []string{"open", "close", "stop"}
	case Lock:
		words = []string{"lock", "unlock", "open"}
	}
	return slices.DeleteFunc(words, func(word string) bool {
		if p.Set == nil {
			return false
		}
		_, err := p.Set.Encode(word)
		return err != nil
	})
}

// asReported is v, that a property is told, in the form in which it reports it: a colour may be
// told as the parts that devices use, and is reported as "#ff8800".
func (p *Property) asReported(v any) any {
	if p.Class != "color" {
		return v
	}
	if r, g, b, err := hexColor(v); err == nil {
		return fmt.Sprintf("#%02x%02x%02x", r, g, b)
	}
	told := v
	if text, ok := v.(string); ok && json.Unmarshal([]byte(text), &told) != nil {
		return v
	}
	m, _ := told.(map[string]any)
	parts := func(names ...string) (f [3]float64, ok bool) {
		for i, name := range names {
			var err error
			if f[i], err = toNumber(plain1(m[name])); err != nil {
				return f, false
			}
		}
		return f, true
	}
	if f, ok := parts("r", "g", "b"); ok {
		return rgbColor(f[0]/255, f[1]/255, f[2]/255)
	}
	if f, ok := parts("x", "y"); ok {
		return xyColor(f[0], f[1])
	}
	if f, ok := parts("hue", "saturation"); ok {
		return hsColor(f[0], f[1])
	}
	return v
}

// elsewhere names a property that takes what p does not, "" if none does: who says "blind 40"
// means its position.
func (d *Device) elsewhere(p *Property, v any) string {
	for i := range d.Properties {
		q := &d.Properties[i]
		if q == p || q.Kind != Number || q.Diagnostic || q.Of != p.Name {
			continue
		}
		if _, err := q.command(v); err == nil {
			return q.Name
		}
	}
	return ""
}

func short(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// word is v as one of those that are taken; any, if none are named.
func (p *Property) word(v any, taken ...string) (any, error) {
	text := devices.Text(v)
	if len(taken) == 0 || slices.Contains(taken, text) {
		return text, nil
	}
	for _, t := range taken {
		if strings.EqualFold(t, strings.TrimSpace(text)) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%s takes %s, not %q", p.Name, strings.Join(taken, ", "), text)
}

// plain encodes a value as Hearth prints it.
func plain(v any) (string, error) { return devices.Text(v), nil }

// saying encodes booleans in the words of a device; toggle "" is that it has none.
func saying(on, off, toggle string) func(v any) (string, error) {
	return func(v any) (string, error) {
		switch v {
		case true:
			return on, nil
		case false:
			return off, nil
		case any(devices.Toggle{}):
			if toggle != "" {
				return toggle, nil
			}
			return "", errToggle
		}
		return "", fmt.Errorf("%v is neither on nor off", v)
	}
}

// errToggle is for who knows the level to say which is the other.
var errToggle = fmt.Errorf("it has no word for toggle: want on or off")
