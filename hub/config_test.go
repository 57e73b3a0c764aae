package hub

import (
	"os"
	"strings"
	"testing"
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
	if len(cfg.Output) == 0 || len(cfg.Input) == 0 || len(cfg.Interlock) == 0 || len(cfg.presses()) == 0 || len(cfg.Link) == 0 || len(cfg.Rule) == 0 {
		t.Error("the sample lacks a section")
	}
}

// The sample mentions every key of the sections that it comments.
func TestTheSampleIsComplete(t *testing.T) {
	sample := string(read(t, "../config.toml"))
	for _, key := range []string{"name", "data", "timezone", "clock", "listen", "pin", "active_low", "initial", "safe",
		"retained_set", "min_on", "min_off", "max_on", "topic", "on", "off", "outputs", "gap", "pull", "debounce", "double", "hold", "presses", "from", "to", "trigger", "condition", "action", "mode", "include"} {
		if !strings.Contains(sample, key+" = ") {
			t.Errorf("the sample does not mention %s", key)
		}
	}
}

// testdata/mistakes.txt holds broken houses and exactly what is said of each.
func TestMistakesAreNamedAtTheirPlace(t *testing.T) {
	const path = "testdata/mistakes.txt"
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
	t.Logf("%d broken houses", n)
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
	for _, block := range strings.Split(string(broken), "\n=== ")[1:] {
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
