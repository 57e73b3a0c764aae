package template

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// jsonOf is what the hub gives for value_json.
func jsonOf(payload string) func() (any, error) {
	return func() (any, error) {
		d := json.NewDecoder(strings.NewReader(payload))
		d.UseNumber()
		var doc any
		if err := d.Decode(&doc); err != nil {
			return nil, err
		}
		if d.More() {
			return nil, errors.New("more than one value")
		}
		return doc, nil
	}
}

func input(payload string) Input { return Input{Value: payload, JSON: jsonOf(payload)} }

// show is what a template makes of a payload.
func show(text, payload string) (string, error) {
	t, err := Parse(text)
	if err != nil {
		return "", err
	}
	return t.Execute(input(payload))
}

// testdata/jinja.tsv has what Jinja gives for some 250 lines of expressions.
func TestAsJinja(t *testing.T) {
	b, err := os.ReadFile("testdata/jinja.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, "\t")
		if len(parts) != 3 {
			t.Fatalf("%q has no three parts", line)
		}
		got, err := show(parts[0], parts[1])
		if err != nil && parts[2] != "!" || err == nil && got != parts[2] {
			t.Errorf("%s of %s\ngot  %s %v\nwant %s", parts[0], parts[1], got, err, parts[2])
		}
	}
}
