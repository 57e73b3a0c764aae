package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"hearth/config"
)

// What is written means what was read, in the same order: the houses of the cookbook, with
// what TOML has beside.
func TestATextMeansTheSame(t *testing.T) {
	files, err := filepath.Glob("../cookbook/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	texts := map[string]string{
		"all kinds": "a = 1\nb = 1e300\nc = -0.5\nd = inf\ne = 2026-03-01T10:00:00\nf = 07:30:00\ng = 2026-03-01\n" +
			"h = \"q\\\"\\\\\\n\\u0001ü\"\n\"odd key\" = [1, [2, {x = 1}], {}]\ni = 2026-03-01T10:00:00+02:00\n[z.b]\nk = {y.z = 1, x = 'c:\\\\'}\n[z.a]\nl = true\n[[t]]\nm = 1\n[[t]]\nm = 2\n[z]\nq=1",
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = string(text)
	}
	same := func(_ []string, v any) any { return v }
	for name, text := range texts {
		d := config.Parse(name, []byte(text), nil)
		if d.Err() != nil {
			continue // it includes others
		}
		once := d.Text(same)
		again := config.Parse(name, once, nil)
		if again.Err() != nil {
			t.Errorf("%s: %v\n%s", name, again.Err(), once)
			continue
		}
		if twice := again.Text(same); string(twice) != string(once) {
			t.Errorf("%s: want\n%s\ngot\n%s", name, once, twice)
		}
		var a, b struct {
			Rule config.Table[map[string]any] `toml:"rule"`
			Z    map[string]any               `toml:"z"`
		}
		config.Parse(name, []byte(text), &a)
		config.Parse(name, once, &b)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: want %v, got %v", name, a, b)
		}
	}
}

func TestATextLeavesOut(t *testing.T) {
	d := config.Parse("x", []byte("[secret]\na = \"1234\"\n[rule.x]\naction = [{ http = \"u\", header = { A = \"b\" } }]\n[broker]\nlisten = \"x\"\n[[test]]\nname = \"y\"\n"), nil)
	got := string(d.Text(func(keys []string, v any) any {
		switch {
		case keys[0] == "broker", keys[0] == "test":
			return nil
		case keys[0] == "secret" && len(keys) == 2, slices.Contains(keys, "header") && keys[len(keys)-1] != "header":
			return "***"
		}
		return v
	}))
	if want := "\n[secret]\na = \"***\"\n\n[rule.x]\naction = [{ http = \"u\", header = { A = \"***\" } }]\n"; got != want {
		t.Errorf("got %q", got)
	}
}
