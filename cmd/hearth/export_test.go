package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each series has a file of its own, however long the names are, and a name that a file system takes.
func TestTwoSeriesNeverShareAFile(t *testing.T) {
	long := strings.Repeat("A", 130)
	names := []string{"a", "A", "a/b", "a%2fb", ".a", long, long + "x" + long, long + "y" + long, "a\x1b\n", "..", "\u202e"}
	seen := make(map[string]string)
	for _, name := range names {
		file := fileName(name)
		if other, ok := seen[file]; ok {
			t.Errorf("%q and %q are both %s", name, other, file)
		}
		seen[file] = name
		if len(file) > 240 || strings.HasPrefix(file, ".") || strings.ContainsFunc(file, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			t.Errorf("%q is %q", name, file)
		}
	}
}

// Where others may write too, as in /tmp, an export follows no link that one of them has put there.
func TestAnExportWritesToNothingElse(t *testing.T) {
	dir := t.TempDir()
	precious, path := filepath.Join(dir, "precious"), filepath.Join(dir, "x.csv")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".part"} {
		if err := os.Symlink(precious, name); err != nil {
			t.Fatal(err)
		}
	}
	x := &exporting{format: "csv"}
	if err := x.file(t.Context(), path, nil); err == nil {
		t.Error("what is there was replaced unasked")
	}
	x.force = true
	if err := x.file(t.Context(), path, nil); err == nil {
		t.Error("a link was replaced")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := x.file(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "precious" {
		t.Errorf("the other file has %q, %v", text, err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "time,name,") {
		t.Errorf("the export has %q, %v", text, err)
	}
}
