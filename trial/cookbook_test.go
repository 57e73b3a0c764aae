package trial_test

import (
	"path/filepath"
	"testing"

	"hearth/hub"
	"hearth/trial"
)

// Every story of the cookbook passes, and is the same each time.
func TestCookbook(t *testing.T) {
	files, err := filepath.Glob("../cookbook/*.test.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cookbook", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cfg, doc := hub.Load(file)
			if doc.Err() != nil {
				t.Fatal(doc.Err())
			}
			if len(cfg.Test) == 0 {
				t.Error("it has no test")
			}
			for _, test := range cfg.Test {
				v := trial.Run(cfg.Trial(), test)
				if !v.OK() {
					t.Errorf("%s\n%s", test.Name, v.Diff())
				}
				for range 20 {
					if trial.Play(cfg.Trial(), test).Timeline() != v.Story.Timeline() {
						t.Fatal("another story")
					}
				}
			}
		})
	}
}
