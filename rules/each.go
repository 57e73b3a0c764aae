package rules

import (
	"maps"
	"slices"
	"strings"

	"hearth/config"
	"hearth/devices"
)

// An Entry is one of what was written once with each: Body has the parameters
// put in. Without each there is one, without parameters.
type Entry[T any] struct {
	Params map[string]any
	Number int // from 0, of those written as one
	Body   T
}

// entries reads raw once for each of its parameters. A parameter is put into
// every text of it: "{room}_light" becomes "kitchen_light", and a text that is
// "{limit}" and nothing else becomes what limit is, be it a number.
func entries[T any](raw any, at config.Place) []Entry[T] {
	table, _ := raw.(map[string]any)
	var each Each
	if list, ok := table["each"]; ok {
		each.DecodeTOML(list, at.Key("each"))
	}
	if len(each) == 0 {
		each = Each{nil}
	}
	var list []Entry[T]
	for i, params := range each {
		one := Entry[T]{Params: params, Number: i}
		if params == nil {
			config.Decode(raw, &one.Body, at)
		} else {
			rest := maps.Clone(table)
			delete(rest, "each")
			config.Decode(fill(rest, params), &one.Body, at)
		}
		list = append(list, one)
	}
	return list
}

// suffix tells one entry from the others: "[kitchen]", "[limit=60,room=bath]".
func suffix(params map[string]any) string {
	if params == nil {
		return ""
	}
	if item, ok := params["item"]; ok && len(params) == 1 {
		return "[" + devices.Text(item) + "]"
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(params)) {
		parts = append(parts, key+"="+devices.Text(params[key]))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// fill is raw with parameters put in.
func fill(raw any, params map[string]any) any {
	switch raw := raw.(type) {
	case string:
		return fillText(raw, params)
	case []any:
		list := make([]any, len(raw))
		for i, e := range raw {
			list[i] = fill(e, params)
		}
		return list
	case map[string]any:
		table := make(map[string]any, len(raw))
		for k, e := range raw {
			if key, ok := fillText(k, params).(string); ok {
				k = key
			}
			table[k] = fill(e, params)
		}
		return table
	}
	return raw
}

func fillText(text string, params map[string]any) any {
	if !strings.Contains(text, "{") {
		return text
	}
	if len(text) > 2 && text[len(text)-1] == '}' {
		if v, ok := params[text[1:len(text)-1]]; ok && text[0] == '{' {
			return v
		}
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '{')
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		text = text[i:]
		if strings.HasPrefix(text, "{{") { // a plain brace
			b.WriteString("{{")
			text = text[2:]
			continue
		}
		if j := strings.IndexByte(text, '}'); j > 0 {
			if v, ok := params[text[1:j]]; ok {
				b.WriteString(devices.Text(v))
				text = text[j+1:]
				continue
			}
		}
		b.WriteByte('{')
		text = text[1:]
	}
}
