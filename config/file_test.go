package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who reads a file while it is replaced, as the next start after a power cut does, has the old
// one whole or the new one, and nothing is left beside it.
func TestReplaceIsWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	old, now := []byte(strings.Repeat("a", 100_000)), []byte(strings.Repeat("b", 50_000))
	if err := os.WriteFile(file, old, 0o640); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for i := range 100 {
			if err := Replace(file, [][]byte{now, old}[i%2], 0, file); err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for reads := 0; ; reads++ {
		text, err := os.ReadFile(file)
		if err != nil || string(text) != string(old) && string(text) != string(now) {
			t.Fatalf("read %d: %v, %d bytes", reads, err, len(text))
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			entries, _ := os.ReadDir(dir)
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 || len(entries) != 1 {
				t.Errorf("%v %v %v", err, info.Mode(), entries)
			}
			return
		default:
		}
	}
}
