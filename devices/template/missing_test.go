package template

import (
	"errors"
	"testing"
)

// A payload that lacks a key is told from one whose key makes no sense.
func TestMissingIsNoMistake(t *testing.T) {
	payload := func() (any, error) {
		return map[string]any{"POWER": "ON", "word": "x", "none": nil}, nil
	}
	for text, want := range map[string]bool{
		"{{ value_json.Color.split(',')[0] }}":      true,
		"{{ value_json['ENERGY']['Power'] }}":       true,
		"{{ value_json.temperature + 1 }}":          true,
		"{{ value_json.temperature | float / 60 }}": true,
		"{{ value_json.temperature | round(1) }}":   true,
		"{{ '%0.1f' | format(value_json.rain) }}":   true,
		"{{ value_json.word | float }}":             false,
		"{{ value_json.none | float }}":             false,
		"{{ value_json.word + 1 }}":                 false,
	} {
		tpl, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = tpl.Execute(Input{JSON: payload}); err == nil || errors.Is(err, ErrMissing) != want {
			t.Errorf("%s: missing is %v, want %v: %v", text, !want, want, err)
		}
	}
}
