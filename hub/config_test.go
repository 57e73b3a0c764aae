package hub

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/config"
	"hearth/rules"
)

// The sample that ships is sound, and shows every section there is.
func TestTheSampleIsSound(t *testing.T) {
	cfg, doc := Load("../config.toml")
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	for _, w := range doc.Warnings() {
		t.Errorf("the sample warns: %v", w)
	}
	if len(cfg.Output) == 0 || len(cfg.Input) == 0 || len(cfg.Interlock) == 0 || len(cfg.Cover) == 0 || len(cfg.Sensor) == 0 || !slices.ContainsFunc(cfg.parts(), func(p rules.Part) bool { return p.Events["press"] != nil }) || len(cfg.Link) == 0 || len(cfg.Rule) == 0 {
		t.Error("the sample lacks a section")
	}
}

// The sample mentions every key of the sections that it comments.
func TestTheSampleIsComplete(t *testing.T) {
	sample := string(read(t, "../config.toml"))
	for _, key := range []string{"name", "data", "timezone", "clock", "listen", "connect", "origins", "retained_interval", "certificate", "key", "client", "client_ca", "pin", "active_low", "initial", "safe",
		"retained_set", "min_on", "min_off", "max_on", "topic", "on", "off", "outputs", "gap", "pull", "debounce", "double", "hold", "presses", "momentary", "lifetime", "starts", "feedback", "feedback_within", "period", "frequency", "ramp", "range", "most", "stagger",
		"up", "down", "open_time", "close_time", "overrun", "type", "bus", "address", "interrupt", "poll", "pulses", "unit", "rate", "interval", "timeout", "a", "b", "steps", "reverse", "min", "max",
		"anonymous", "users", "announce", "prefix", "password", "roles", "publish", "subscribe", "except",
		"thermal", "iio", "hwmon", "w1", "round", "filter", "from", "to", "trigger", "condition", "action", "mode", "include"} {
		if !strings.Contains(sample, key+" = ") {
			t.Errorf("the sample does not mention %s", key)
		}
	}
}

// testdata/mistakes.txt holds broken houses and exactly what is said of each.
func TestMistakesAreNamedAtTheirPlace(t *testing.T) { saysOf(t, "testdata/mistakes.txt", false) }

// testdata/doubts.txt holds houses that can be run and are hardly meant, and
// others of which nothing is said although they come near.
func TestDoubtsAreNamedAtTheirPlace(t *testing.T) { saysOf(t, "testdata/doubts.txt", true) }

// What ships and what the stories tell is not doubted, but for the houses that
// are there to show what goes wrong.
func TestGoodHousesAreNotDoubted(t *testing.T) {
	deserved := map[string]int{
		"10-only-in-the-evening-and-only-if-somebody-is-home.txtar": 1, // somebody has to switch it off
		"13-rules-that-chase-each-other.txtar":                      1,
		"17-rules-that-fight-over-a-lamp.txtar":                     1,
		"04-restart.txtar":                                          1,
	}
	n := 0
	for _, pattern := range []string{"../cookbook/*.toml", "../config.toml", "testdata/stories/*.txtar", "../trial/testdata/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text := string(read(t, file))
			houses := []string{text}
			if filepath.Ext(file) == ".txtar" {
				houses = nil
				for _, part := range strings.Split(text, "\n-- ")[1:] {
					if name, body, _ := strings.Cut(part, " --\n"); filepath.Ext(name) == ".toml" {
						houses = append(houses, body)
					}
				}
			}
			var said []string
			for _, house := range houses {
				doc := new(config.Doc)
				if filepath.Ext(file) == ".toml" {
					_, doc = LoadWith(file, func(c *Config) { north, east := 52.5, 13.4; c.Hub.Latitude, c.Hub.Longitude = &north, &east })
				} else {
					_, doc = Parse(filepath.Base(file), []byte(house))
				}
				for _, m := range doc.Warnings() {
					said = append(said, m.String())
				}
				n++
			}
			if len(said) != deserved[filepath.Base(file)] {
				t.Errorf("%s: %d doubts, want %d:\n%s", file, len(said), deserved[filepath.Base(file)], strings.Join(said, "\n"))
			}
		}
	}
	t.Logf("%d houses", n)
}

// saysOf compares what is said of the houses in a file with what stands there.
func saysOf(t *testing.T, path string, silence bool) {
	text := string(read(t, path))
	head, rest, _ := strings.Cut(text, "\n=== ")
	out := head
	n := 0
	for _, block := range strings.Split(rest, "\n=== ") {
		title, body, _ := strings.Cut(block, "\n")
		source, want, ok := strings.Cut(body, "\n--\n")
		if !ok {
			t.Fatalf("%s: no line of dashes", title)
		}
		_, doc := Parse("config.toml", []byte(source+"\n"))
		var said []string
		for _, m := range append(doc.Mistakes(), doc.Warnings()...) {
			said = append(said, m.String())
		}
		got := strings.Join(said, "\n")
		if got == "" && silence {
			got = "nothing"
		}
		out += "\n=== " + title + "\n" + source + "\n--\n" + got + "\n"
		if want = strings.TrimSpace(want); got != want && !*update {
			t.Errorf("%s: it says\n%s\nwant\n%s", title, got, want)
		}
		if got == "" {
			t.Errorf("%s: nothing is said", title)
		}
		n++
	}
	if *update {
		if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d houses", n)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Any bytes are a house or mistakes, each at a place that exists.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("../config.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	broken, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	doubtful, err := os.ReadFile("testdata/doubts.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range append(strings.Split(string(broken), "\n=== ")[1:], strings.Split(string(doubtful), "\n=== ")[1:]...) {
		_, body, _ := strings.Cut(block, "\n")
		source, _, _ := strings.Cut(body, "\n--\n")
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, doc := Parse("config.toml", text)
		lines := strings.Count(string(text), "\n") + 1
		for _, m := range append(doc.Mistakes(), doc.Warnings()...) {
			if m.Text == "" || m.Line < 1 || m.Line > lines || m.Column < 1 || m.Column > len(text)+1 {
				t.Errorf("%q has a mistake at no place: %v", text, m)
			}
		}
	})
}
