package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func ofSecret(keys []string, _ string) bool { return slices.Contains(keys, "secret") }

// A file with secrets is shown without them and written back with them, and all the rest of
// it stays as it is: its mark, its line ends, its comments.
func TestVeil(t *testing.T) {
	for name, src := range map[string]string{
		"plain":     "# mine\nname = \"x\"\n[secret]\nalarm = \"4711\" # a comment\ndoor = '''\nfour\n'''\n",
		"windows":   "\xef\xbb\xbfname = \"ä\"\r\n[secret]\r\nalarm = \"47\\\"11\"\r\n",
		"inline":    "secret = { \"a b\" = \"one\", c = [\"two\", { d = \"three\" }] }\nname = \"ü\"",
		"none":      "name = \"x\"",
		"one line":  "x = { \"ä\" = \"ü\", secret = \"4711\", z = 1 }",
		"same line": "secret = { a = \"\"\"one\ntwo\"\"\", b = \"three\" }",
	} {
		shown, err := Veil([]byte(src), ofSecret)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, word := range []string{"47", "four", "one", "two", "three"} {
			if strings.Contains(string(shown), word) {
				t.Errorf("%s shows %s:\n%s", name, word, shown)
			}
		}
		back, wrong := Unveil("f", shown, []byte(src), ofSecret)
		if string(back) != src || wrong != nil {
			t.Errorf("%s came back as %q %v, was %q", name, back, wrong, src)
		}
	}
}

// What stands for a secret is good for nothing but to leave it where it is.
func TestUnveilElsewhere(t *testing.T) {
	src := []byte("[secret]\na = \"one\"\nb = \"two\"\n[[x]]\nsecret = \"three\"\n[[x]]\nsecret = \"four\"\n")
	for draft, want := range map[string]string{
		"name = \"***1\"\n":                                    "f:1:8: name: this stands for the secret of secret.a and is good for nothing elsewhere: write the secret itself",
		"[secret]\nb = \"***1\"\n":                             "f:2:5: secret.b: this stands for the secret of secret.a and is good for nothing elsewhere: write the secret itself",
		"[secret]\nb = \"***9\"\n":                             "f:2:5: secret.b: this stands for a secret that is not in the file: write the secret itself",
		"[secret]\na = \"new\"\nb = '***2'\n":                  "[secret]\na = \"new\"\nb = \"two\"\n",
		"[[x]]\nsecret = \"***4\"\n":                           "[[x]]\nsecret = \"four\"\n", // the first is gone, and the second is still itself
		"[secret]\na = \"***1\"\nc = \"***\"\nd = \"***1x\"\n": "[secret]\na = \"one\"\nc = \"***\"\nd = \"***1x\"\n",
		"[secret\na = \"***1\"\n":                              "[secret\na = \"***1\"\n", // the check will say what is wrong
	} {
		back, wrong := Unveil("f", []byte(draft), src, ofSecret)
		got := string(back)
		if wrong != nil {
			got = wrong[0].String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", draft, got, want)
		}
	}
}

func FuzzVeil(f *testing.F) {
	f.Add([]byte("[secret]\na = \"x\"\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		shown, err := Veil(src, ofSecret)
		if err != nil {
			return
		}
		if back, wrong := Unveil("f", shown, src, ofSecret); wrong == nil && string(back) != string(src) {
			t.Errorf("%q came back as %q", src, back)
		}
	})
}

// What is being edited is read in place of what is on disk, and an include may be refused.
func TestLoadDraft(t *testing.T) {
	dir := t.TempDir()
	main, part := filepath.Join(dir, "config.toml"), filepath.Join(dir, "rules", "a.toml")
	os.Mkdir(filepath.Dir(part), 0o755)
	os.WriteFile(main, []byte("include = [\"rules/*.toml\"]\nname = \"x\"\n"), 0o644)
	os.WriteFile(part, []byte("a = 1\n"), 0o644)
	draft := Draft{Instead: map[string][]byte{part: []byte("a = \n")}}
	if doc := LoadDraft(main, nil, draft); doc.Err() == nil || !strings.HasPrefix(doc.Err().Error(), part+":1:") {
		t.Errorf("%v", doc.Err())
	}
	if doc := Load(main, nil); doc.Err() != nil || string(doc.Source(part)) != "a = 1\n" {
		t.Errorf("%v %q", doc.Err(), doc.Source(part))
	}
	draft = Draft{Instead: map[string][]byte{main: []byte("include = [\"../*.toml\", \"/etc/passwd\"]\n")}, May: func(path string) error { return errors.New("not " + path) }}
	doc := LoadDraft(main, nil, draft)
	if ms := doc.Mistakes(); len(ms) != 2 || ms[0].Text != "not "+filepath.Join(filepath.Dir(dir), "*.toml") || ms[1].Text != "not /etc/passwd" || doc.Whole() || len(doc.Files()) != 1 {
		t.Errorf("%v %v", ms, doc.Files())
	}
}
