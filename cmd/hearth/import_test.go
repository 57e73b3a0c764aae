package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"hearth/hub"
	"hearth/migrate"
	"hearth/trial"
)

var update = flag.Bool("update", false, "rewrite what the imports give; read the diff before you commit it")

// Each file in migrate/testdata is an import: automations of Home Assistant
// (home.yaml) or rules of Tasmota (tasmota.txt, on hall_plug), what comes out, what
// is told beside, and the tests that say what the original did. With house.toml it is
// for that house.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("../../migrate/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no imports", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) *txtar.File {
				for i := range archive.Files {
					if archive.Files[i].Name == name {
						return &archive.Files[i]
					}
				}
				return &txtar.File{}
			}
			var r migrate.Result
			o := migrate.Options{Map: make(map[string]string), Topic: "hall_plug"}
			for pair := range strings.FieldsSeq(string(part("map").Data)) {
				entity, source, _ := strings.Cut(pair, "=")
				o.Map[entity] = source
			}
			house := part("house.toml").Data
			if len(house) > 0 {
				cfg, doc := hub.Parse("house.toml", house)
				if doc.Err() != nil {
					t.Fatal(doc.Err())
				}
				o.Has = has(cfg)
			}
			if in := part("home.yaml"); in.Name != "" {
				r, err = migrate.HomeAssistant(in.Data, o)
			} else {
				r, err = migrate.Tasmota(part("tasmota.txt").Data, o)
			}
			if err != nil {
				t.Fatal(err)
			}
			told := ""
			for _, l := range r.Left {
				told += fmt.Sprintf("not carried over: %s\n", l)
			}
			for _, got := range []txtar.File{{Name: "hearth.toml", Data: []byte(r.Text)}, {Name: "told", Data: []byte(told)}} {
				want := part(got.Name)
				if string(want.Data) == string(got.Data) {
					continue
				}
				if !*update {
					t.Errorf("%s is\n%s\nwant\n%s", got.Name, got.Data, want.Data)
				} else if want.Name == "" {
					archive.Files = append(archive.Files, got)
				} else {
					want.Data = got.Data
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text := slices.Concat([]byte(r.Text), house, part("tests.toml").Data)
			cfg, doc := hub.Parse("house.toml", text)
			if doc.Err() != nil {
				t.Fatalf("%v\n%s", doc.Err(), text)
			}
			for _, w := range doc.Warnings() {
				t.Errorf("a doubt: %v", w)
			}
			if len(cfg.Test) == 0 {
				t.Error("it has no test")
			}
			for _, test := range cfg.Test {
				if v := trial.Run(cfg.Trial(), test); !v.OK() {
					t.Errorf("%s\n%s", test.Name, v.Diff())
				}
			}
		})
	}
}

// Words that stand in another place than they should make no configuration that
// can't be run: mixed up are those of all imports, and some that are odd.
func TestImportsOfWordsMixedUp(t *testing.T) {
	files, err := filepath.Glob("../../migrate/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile(`[^\s"',:{}\[\]]+`)
	for _, name := range []string{"home.yaml", "tasmota.txt"} {
		var texts []string
		words := []string{"''", "{a}", "{{", "}}", "\\", "0", "-1", "99999999", "1e300", "NaN", "ü", "a/b", "#", "+", "%var1%", "%x%", "<", "!=", "null", "on", "x.y", "value", "all", "light.all", "sensor.value", "a" + strings.Repeat("b", 300)}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range archive.Files {
				if part.Name == name {
					texts = append(texts, string(part.Data))
					words = append(words, word.FindAllString(string(part.Data), -1)...)
				}
			}
		}
		dialect := migrate.HomeAssistant
		if name == "tasmota.txt" {
			dialect = migrate.Tasmota
		}
		came := 0
		for seed := range uint64(600) {
			random := rand.New(rand.NewPCG(seed, 0))
			text := texts[random.IntN(len(texts))]
			all := word.FindAllStringIndex(text, -1)
			for range 1 + random.IntN(5) {
				at := all[random.IntN(len(all))]
				if at[1] > len(text) {
					continue
				}
				text = text[:at[0]] + words[random.IntN(len(words))] + text[at[1]:]
			}
			r, err := dialect([]byte(text), migrate.Options{Topic: "hall_plug"})
			if err != nil {
				continue
			}
			came++
			if runs(t, []byte(text), r); t.Failed() {
				t.Fatalf("seed %d of %s", seed, name)
			}
		}
		if came < 200 {
			t.Errorf("only %d of 600 mixtures of %s could be read", came, name)
		}
	}
}

// Whatever is imported, what comes out is a configuration that can be run.
func FuzzHomeAssistant(f *testing.F) {
	seeds(f, "home.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := migrate.HomeAssistant(text, migrate.Options{Name: "automations.yaml"})
		if err == nil {
			runs(t, text, r)
		}
	})
}

func FuzzTasmota(f *testing.F) {
	seeds(f, "tasmota.txt")
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := migrate.Tasmota(text, migrate.Options{Name: "rules.txt", Topic: "hall_plug"})
		if err == nil {
			runs(t, text, r)
		}
	})
}

func seeds(f *testing.F, name string) {
	files, _ := filepath.Glob("../../migrate/testdata/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == name {
				f.Add(part.Data)
			}
		}
	}
}

func runs(t *testing.T, from []byte, r migrate.Result) {
	_, doc := hub.Parse("house.toml", []byte(r.Text+"\n[hub]\nlatitude = 52.5\nlongitude = 13.4\n"))
	if doc.Err() != nil {
		t.Errorf("%v\nfrom\n%s\ncame\n%s", doc.Err(), from, r.Text)
	}
	for _, l := range r.Left {
		if l.What == "" || l.Why == "" {
			t.Errorf("something was left out, and %+v does not say what", l)
		}
	}
}
