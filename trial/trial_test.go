package trial_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"hearth/hub"
	"hearth/trial"
)

var update = flag.Bool("update", false, "rewrite what the stories expect; read the diff before you commit it")

// Each file in testdata is a house with its tests, and what is said of them: a
// txtar archive of config.toml and verdict. A test that passes is a line; one that
// fails is told as hearth test tells it. With a file named timeline the whole story
// of the first test is compared too.
func TestHouses(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no houses", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for i := range archive.Files {
				f := &archive.Files[i]
				if f.Name == "config.toml" {
					got = told(t, string(f.Data))
					continue
				}
				if got[f.Name] == string(f.Data) {
					continue
				}
				if !*update {
					t.Errorf("%s is\n%s\nwant\n%s", f.Name, got[f.Name], f.Data)
				}
				f.Data = []byte(got[f.Name])
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func parse(t *testing.T, text string) *hub.Config {
	t.Helper()
	cfg, doc := hub.Parse("config.toml", []byte("[hub]\ntimezone = \"Europe/Berlin\"\n"+text))
	if doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	return cfg
}

func told(t *testing.T, text string) map[string]string {
	cfg := parse(t, text)
	var verdict strings.Builder
	timeline := ""
	for i, test := range cfg.Test {
		v := trial.Run(cfg.Trial(), test)
		if v.OK() {
			fmt.Fprintf(&verdict, "ok   %s\n", test.Name)
		} else {
			fmt.Fprintf(&verdict, "FAIL %s\n%s", test.Name, v.Diff())
		}
		if i == 0 {
			timeline = v.Story.Timeline()
		}
	}
	return map[string]string{"verdict": verdict.String(), "timeline": timeline}
}

// A year in which a lamp is switched every hour.
const busy = `
[output.lamp]
pin = "GPIO17"
max_on = "20m"
[input.pir]
pin = "GPIO27"
debounce = "50ms"
[rule.lamp]
trigger = { state = "pir", is = true, for = "5s" }
action = { pulse = "lamp", for = "30m" }
[rule.heat]
trigger = { state = "t", below = 20, until = 21 }
action = { publish = "heat", on = "ON", off = "OFF" }
`

func busyTest(hours int) trial.Test {
	at := func(d time.Duration) trial.Offset { return trial.Offset(d) }
	on, off := trial.Level(true), trial.Level(false)
	end := at(time.Duration(hours) * time.Hour)
	test := trial.Test{Name: "busy", End: &end}
	for h := range hours {
		t := time.Duration(h) * time.Hour
		payload := trial.Payload([]string{"19", "20.5", "21.5"}[h%3])
		test.Send = append(test.Send,
			trial.Send{At: at(t), Topic: "t/x", Payload: &payload},
			trial.Send{At: at(t), Input: "pir", To: &on},
			trial.Send{At: at(t + time.Minute), Input: "pir", To: &off})
	}
	return test
}

// The same house and the same test give the same story, to the byte.
func TestTheSameAgain(t *testing.T) {
	house := parse(t, strings.ReplaceAll(busy, `"t"`, `"t/x"`)).Trial()
	first := trial.Play(house, busyTest(100)).Timeline()
	if !strings.Contains(first, "output lamp off") || !strings.Contains(first, "heat OFF") {
		t.Fatal("not much of a story:\n", first)
	}
	for range 20 {
		if again := trial.Play(house, busyTest(100)).Timeline(); again != first {
			t.Fatal("another story")
		}
	}
}

// Rules that set each other off twice each would fill the memory: the house is
// stopped before, or by the engine.
func TestAHouseThatNeverRests(t *testing.T) {
	cfg := parse(t, `
[rule.a]
trigger = { event = "x/a" }
action = [{ publish = "x/a", payload = "1" }, { publish = "x/a", payload = "2" }, { publish = "x/a", payload = "3" }]
[[test]]
name = "loop"
send = { at = "0s", topic = "x/a", payload = "0" }
`)
	if v := trial.Run(cfg.Trial(), cfg.Test[0]); v.OK() {
		t.Error("it passed")
	}
}

func BenchmarkDay(b *testing.B) {
	cfg, doc := hub.Parse("config.toml", []byte(strings.ReplaceAll(busy, `"t"`, `"t/x"`)))
	if doc.Err() != nil {
		b.Fatal(doc.Err())
	}
	for b.Loop() {
		trial.Play(cfg.Trial(), busyTest(24))
	}
}

// Whatever an owner writes as a test is refused with its place, or can be run.
func FuzzTests(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		if archive, err := txtar.ParseFile(file); err == nil && len(archive.Files) > 0 {
			f.Add(archive.Files[0].Data)
		}
	}
	f.Add([]byte("[[test]]\nname = \"x\"\nend = \"-1s\"\nsend = { at = \"1s\", clock = \"unknown\" }\nexpect = { between = [\"1s\"], http = \"\" }\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, doc := hub.Parse("config.toml", text)
		if doc.Err() != nil {
			for _, m := range doc.Mistakes() {
				if m.Line == 0 {
					t.Errorf("no place: %v", m)
				}
			}
			return
		}
		for _, test := range cfg.Test {
			if hour := trial.Offset(time.Hour); test.End == nil || *test.End > hour {
				test.End = &hour
			}
			v := trial.Run(cfg.Trial(), test)
			if v.OK() != (v.Reason() == "") || v.OK() != (v.Diff() == "") {
				t.Errorf("OK is %v, the reason %q, the difference\n%s", v.OK(), v.Reason(), v.Diff())
			}
		}
	})
}

const recipe = `{"recipes": [{"id": "P1", "title": "x", "setup": {"clock": "2026-03-10T12:00:00", "tz": "UTC", "place": {"lat": 52.5, "lon": 13.4}, "gpio_inputs": {"pir": 1}},
"timeline": [{"at": "-00:00:01", "publish": {"topic": "a/b", "payload": "x", "retain": true}}, {"at": "00:00:00", "gpio": {"name": "pir", "value": 0}},
{"at": "00:00:01", "restart": {"down_for": "00:00:02"}}, {"at": "00:00:04", "webhook": {"method": "POST", "path": "/hook/x", "body": ""}},
{"at": "00:00:04", "http_mock": {"status": 500}}, {"at": "00:00:05.5", "gpio": {"name": "pir", "value": 1}}],
"end": "00:01:00", "outputs": ["lamp"], "allow_repeat": true,
"expect": [{"at": "00:00:10.5", "gpio": {"name": "lamp", "value": 1}}, {"window": ["00:00:00", "00:00:01"], "publish": {"topic": "heat", "payload": {"a": 1}, "retain": false}}, {"at": "00:00:04", "http": {"url": "http:http://x", "body": "1"}}],
"forbid": [{"window": ["00:00:00", "00:00:01"], "gpio": {"name": "lamp"}}]}]}`

func FuzzReadRecipes(f *testing.F) {
	f.Add([]byte(recipe))
	f.Add([]byte(`{"recipes": [{}, {"id": 1}, {"id": "P2", "setup": {"clock": "x"}}]}`))
	cfg, doc := hub.Parse("config.toml", []byte(strings.ReplaceAll(busy, `"t"`, `"t/x"`)))
	if doc.Err() != nil {
		f.Fatal(doc.Err())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		recipes, err := trial.ReadRecipes(text)
		if err != nil {
			return
		}
		for _, r := range recipes {
			if r.Err == nil {
				v := r.Run(cfg.Trial())
				if v.OK() != (v.Diff() == "") {
					t.Error("no difference, and not OK")
				}
			}
		}
	})
}

// Every part of a recipe is understood, and what is not says where.
func TestRecipes(t *testing.T) {
	recipes, err := trial.ReadRecipes([]byte(recipe))
	if err != nil || recipes[0].Err != nil {
		t.Fatal(err, recipes[0].Err)
	}
	if r := recipes[0]; r.ID != "P1" || r.Title != "x" || r.Timezone != "UTC" || r.Place.Lat != 52.5 {
		t.Error(r)
	}
	cfg := parse(t, strings.ReplaceAll(busy, `"t"`, `"t/x"`))
	v := recipes[0].Run(cfg.Trial())
	if got, want := v.Reason(), "missing: heat {\"a\":1} (not retained) at 0s (and 1 more)"; got != want {
		t.Errorf("%s, want %s\n%s", got, want, v.Story.Timeline())
	}
	for old, want := range map[string]string{
		`"2026-03-10T12:00:00"`:       `setup.clock is "x"`,
		`"tz": "UTC"`:                 "unknown time zone x",
		`"publish": {"topic": "a/b"`:  "timeline[0]: it is none of publish",
		`{"name": "pir", "value": 0}`: "timeline[1]: gpio wants a name and a value",
		`"down_for": "00:00:02"`:      "timeline[2]: restart has no down_for",
		`"path": "/hook/x"`:           "timeline[3]: webhook has no path",
		`"at": "00:00:05.5", `:        "timeline[5]: it has no at",
		`"at": "00:00:10.5", `:        "expect[0]: it has neither at nor a window",
		`"gpio": {"name": "lamp"}`:    "forbid[0]: it is none of publish, gpio, http",
		`"value": 1}`:                 "2 is no level",
	} {
		with := map[string]string{`"2026-03-10T12:00:00"`: `"x"`, `"tz": "UTC"`: `"tz": "x"`, `"publish": {"topic": "a/b"`: `"publsh": {"topic": "a/b"`,
			`"at": "00:00:05.5", `: "", `"at": "00:00:10.5", `: "", `"value": 1}`: `"value": 2}`, `{"name": "pir", "value": 0}`: "{}"}[old]
		if with == "" && strings.HasPrefix(old, `"gpio"`) || strings.HasPrefix(old, `"down`) || strings.HasPrefix(old, `"path`) {
			with = `"x": {}`
		}
		broken, err := trial.ReadRecipes([]byte(strings.Replace(recipe, old, with, 1)))
		if err != nil || broken[0].Err == nil || !strings.Contains(broken[0].Err.Error(), want) {
			t.Errorf("with %s for %s: %v, %v; want %s", with, old, err, broken[0].Err, want)
		}
	}
	for _, none := range []string{"", "[]", "{}", `{"recipes": []}`, `{"recipes": {}}`} {
		if _, err := trial.ReadRecipes([]byte(none)); err == nil || !strings.Contains(err.Error(), "no file of recipes") {
			t.Errorf("%q: %v", none, err)
		}
	}
}
