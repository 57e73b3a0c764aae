package catalog

import (
	"fmt"
	"strings"
	"testing"

	"hearth/devices"
	"hearth/devices/template"
)

// A template sees the same in a payload of which it decodes what it looks at as in one
// that is decoded whole.
func FuzzLazyTemplate(f *testing.F) {
	var many strings.Builder
	for i := range 50 {
		fmt.Fprintf(&many, `"k%d":{"v":[%d,{"w":%d}]},`, i%40, i, i)
	}
	payloads := []string{`{"a":{"b":[1,{"c":2.50}],"d":null},"e":"x","e":"y"}`, `[1,[2,3],{"a":"b"}]`, `{}`, `"text"`, `{"a":`, `{` + many.String() + `"a":{"a":{}}}`}
	for i, t := range []string{
		"{{ value_json.a.b[1].c }}{{ value_json.e }}", "{{ value_json | tojson }}", "{{ value_json.a == value_json.a }}", "{{ value_json | length }}", "{{ value_json[1][0] }}",
		"{% if value_json %}1{% endif %}{{ 'a' in value_json }}{{ value_json.a is defined }}", "{{ value_json.k39.v[1].w + value_json.k1.v[0] }}", "{{ value_json.a.get('d', 1) }}{{ value_json.a.b | first }}{{ value_json | list }}",
	} {
		for j := range payloads {
			f.Add(t, payloads[(i+j)%len(payloads)])
		}
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		parsed, err := template.Parse(text)
		if err != nil {
			return
		}
		p := &Payload{Message: devices.Message{Payload: []byte(payload)}}
		got, err := parsed.Execute(template.Input{Value: payload, JSON: p.object})
		want, wantErr := parsed.Execute(template.Input{Value: payload, JSON: p.JSON})
		if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%s of %s is %q, %v, want %q, %v", text, payload, got, err, want, wantErr)
		}
	})
}

// A payload may have as many values as a bridge's longest, and no more: each property looks
// through it.
func TestTooManyValues(t *testing.T) {
	p := &Payload{Message: devices.Message{Payload: []byte("[" + strings.Repeat("1,", maxValues) + "1]")}}
	if _, _, err := at(0)(p); err == nil || err.Error() != "it has too many values" {
		t.Errorf("%v of too many values", err)
	}
}
