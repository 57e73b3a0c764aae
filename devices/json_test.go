package devices

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"
)

// DecodeJSON reads what encoding/json reads, and as it does.
func FuzzDecodeJSON(f *testing.F) {
	for _, text := range []string{
		`{"unit":"°C","a":[1,-0.5,1e3,true,null,"\u00b0"]}`, `{"a":1,"a":2}`, "\"\xff°\"", `[01]`, `"a" 1`, ` [ ] `, `{"":{}}`, "{\"°\":\"\xc2\"}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := DecodeJSON(text)
		var want any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		wantErr := d.Decode(&want)
		if wantErr == nil {
			if _, end := d.Token(); end != io.EOF {
				wantErr = end
				if end == nil {
					wantErr = io.ErrUnexpectedEOF
				}
			}
		}
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: %v, want %v", text, err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %#v, want %#v", text, got, want)
		}
		members, ok := Members(text)
		object, isObject := got.(map[string]any)
		if ok && (err != nil || !isObject) {
			t.Fatalf("%q: members of what is no object", text)
		}
		found := make(map[string]any)
		for _, m := range members {
			if ok {
				if found[string(m.Name)], err = DecodeJSON(m.Value); err != nil {
					t.Errorf("%q: %v", m.Value, err)
				}
			}
		}
		if ok && !reflect.DeepEqual(found, object) {
			t.Errorf("%q: members %v, want %v", text, found, object)
		}
	})
}
