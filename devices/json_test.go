package devices

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// wholeJSON is what encoding/json says of a text.
func wholeJSON(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, end := d.Token(); end != io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	return v, nil
}

// A Document takes what encoding/json takes, and at each place has what that has there.
func FuzzDocument(f *testing.F) {
	for _, text := range []string{
		`{"unit":"°C","a":[1,-0.5,1e3,true,null,"\u00b0"]}`, `{"a":1,"a":2}`, "\"\xff°\"", `[01]`, `"a" 1`, ` [ ] `, `{"":{}}`, "{\"°\":\"\xc2\"}",
		`{"a":{"b":1},"a":{"c":2}}`, `{"a":{"b":1},"\u0061":3}`, "{\"\xff\":1,\"\xfe\":2}", `["\ud83d\ude00","\ud83d","\/\b"]`, `[[],{},[{}],[[1]]]`,
		`{"a":1,}`, `[1,]`, `{,}`, `{"a"}`, `{"a":}`, `[1 2]`, `{"a":1]`, `1e999`, `-`, `-0`, `1.`, `1.5E+`, `.5`, `00`, `tru`, `nul`, `"\x"`, `"\u12g4"`, "\"a\tb\"", "{\"a\":1}\x00", "\ufeff{}",
		`{"battery":97,"humidity":48.25,"occupancy":true,"action":"single","x":null}`, ` [ 1 , -0.5 , [ ] , { } , "" ] `, `{"a":{"b":[{"c":0}]},"a":2}`, `{} {}`, "", "\x00", `truetrue`,
		strings.Repeat(`{"a":`, 30) + "1" + strings.Repeat("}", 30),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, wantErr := wholeJSON(text)
		var d Document
		err := d.Scan(text, AllValues)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: %v, want %v", text, err, wantErr)
		}
		if err != nil {
			return
		}
		if got := d.Root().Decode(); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, want %#v", text, got, want)
		}
		values := len(d.nodes)
		if err := d.Scan(text, values-1); err != ErrManyValues {
			t.Errorf("%q: %v with too many values", text, err)
		}
		if err := d.Scan(text, values); err != nil {
			t.Errorf("%q: %v when scanned again", text, err)
		}
		var compare func(path Path, want any)
		compare = func(path Path, want any) {
			n, ok := d.Root().At(path)
			if !ok {
				t.Fatalf("%q: nothing at %q", text, path)
			}
			switch want := want.(type) {
			case map[string]any:
				for key, v := range want {
					compare(append(slices.Clone(path), key), v)
				}
				if _, ok := n.Key(strings.Join(slices.Collect(maps.Keys(want)), "") + "!"); ok {
					t.Errorf("%q: at %q there is what is not there", text, path)
				}
			case []any:
				for i, v := range want {
					compare(append(slices.Clone(path), i), v)
				}
				if _, ok := n.At(Path{len(want)}); ok {
					t.Errorf("%q: %q has an element too many", text, path)
				}
			default:
				got, ok, err := n.Scalar()
				if number, isNumber := want.(json.Number); isNumber {
					f, wantErr := number.Float64()
					if want = f; wantErr != nil {
						want = nil
					}
					if (err != nil) != (wantErr != nil) {
						t.Errorf("%q: %q: %v, want %v", text, path, err, wantErr)
					}
				}
				if !ok || got != want {
					t.Errorf("%q: %#v at %q, want %#v", text, got, path, want)
				}
			}
		}
		if len(text) <= 2000 { // each place is looked for from the root
			compare(nil, want)
		}
	})
}

// As deep as encoding/json goes, and no deeper.
func TestDeepJSON(t *testing.T) {
	for _, depth := range []int{1000, jsonDepth, jsonDepth + 1} {
		text := []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		_, wantErr := wholeJSON(text)
		if _, err := DecodeJSON(text); (err != nil) != (wantErr != nil) {
			t.Errorf("%d deep: %v, want %v", depth, err, wantErr)
		}
	}
}

// A payload of a plug, of which five values are asked for; encoding/json beside it.
func BenchmarkDocument(b *testing.B) {
	text := []byte(`{"child_lock":"UNLOCK","countdown":0,"current":0.21,"energy":123.45,"indicator_mode":"off/on","last_seen":"2026-03-01T12:00:00.000Z","linkquality":116,"power":48.3,"power_outage_memory":"restore","state":"ON","update":{"installed_version":192,"latest_version":192,"state":"idle"},"update_available":null,"voltage":231.2,"device":{"applicationVersion":192,"dateCode":"","friendlyName":"Desk plug","hardwareVersion":1,"ieeeAddr":"0x00158d00018255df","manufacturerID":4417,"model":"TS011F_plug_1","networkAddress":4711}}`)
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		var d Document
		for b.Loop() {
			d.Scan(text, AllValues)
		}
	})
	b.Run("five values", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		var d Document
		for b.Loop() {
			d.Scan(text, AllValues)
			for _, name := range [...]string{"state", "power", "voltage", "energy", "linkquality"} {
				n, _ := d.Root().Key(name)
				n.Scalar()
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			DecodeJSON(text)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var v map[string]any
			json.Unmarshal(text, &v)
		}
	})
}
