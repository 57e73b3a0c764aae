package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree is what lies below a folder, without what this package put there.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != dir && IsOwn(d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(text)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

func put(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func saved(t testing.TB) (name string, done *Manifest) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "b.tar.gz")
	text := archive(t, house())
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, done, err := contents(text)
	if err != nil {
		t.Fatal(err)
	}
	return name, done
}

func plain(m Member) (int, int, fs.FileMode) {
	if strings.HasSuffix(m.Name, "/") {
		return os.Getuid(), os.Getgid(), 0o700 | fs.ModeSetgid
	}
	return os.Getuid(), os.Getgid(), m.Mode
}

// restoring puts the house of these tests into a machine's folders.
func restoring(t testing.TB, machine string) Restoring {
	name, done := saved(t)
	return Restoring{
		Name: name, Done: done, Last: "config/config.toml", LastAs: "my.toml",
		Targets: []Target{
			{Prefix: "data/", Dir: filepath.Join(machine, "var/lib/hearth"), Aside: []string{"hearth.log", "control.sock"}, Own: plain},
			{Prefix: "config/", Dir: filepath.Join(machine, "etc/hearth"), Aside: []string{"my.toml", "rules/old.toml"}, Own: plain},
			{Prefix: "outside/", Dir: filepath.Join(machine, "etc/hearth"), Below: "outside", Own: plain},
		},
	}
}

// restored is that house in them.
var restored = map[string]string{
	"etc/hearth/my.toml": house()["config/config.toml"], "etc/hearth/rules/lamp.toml": house()["config/rules/lamp.toml"],
	"etc/hearth/outside/etc/ssl/house": house()["outside/etc/ssl/house"],
	"var/lib/hearth/hearth.log":        house()["data/hearth.log"], "var/lib/hearth/users.toml": house()["data/users.toml"],
}

// older is the house that was there.
var older = map[string]string{
	"etc/hearth/my.toml": "old", "etc/hearth/rules/old.toml": "old rule", "etc/hearth/rules/lamp.toml": "old lamp", "etc/hearth/README": "mine",
	"var/lib/hearth/hearth.log": "old log", "var/lib/hearth/control.sock": "", "etc/passwd": "root",
}

func TestAnEmptyMachineGetsTheHouse(t *testing.T) {
	machine := t.TempDir()
	aside, err := restoring(t, machine).Run()
	if err != nil || len(aside) > 0 {
		t.Fatal(aside, err)
	}
	if got := tree(t, machine); !maps.Equal(got, restored) {
		t.Errorf("%v", got)
	}
	for name, mode := range map[string]fs.FileMode{"etc/hearth/my.toml": 0o640, "var/lib/hearth": 0o700 | fs.ModeSetgid} {
		if info, err := os.Stat(filepath.Join(machine, name)); err != nil || info.Mode()&^fs.ModeDir != mode {
			t.Error(name, info.Mode(), err)
		}
	}
	if left := list(t, filepath.Join(machine, "var/lib/hearth")); len(left) != 2 {
		t.Error(left)
	}
}

// withOlder is what is there once the house has taken the place of the older one: that is
// moved, and what belongs to neither stays.
func withOlder() map[string]string {
	want := maps.Clone(restored)
	want["etc/hearth/README"], want["etc/passwd"] = "mine", "root"
	return want
}

func TestWhatWasThereIsMovedAside(t *testing.T) {
	machine := t.TempDir()
	put(t, machine, older)
	aside, err := restoring(t, machine).Run()
	if err != nil || len(aside) != 2 {
		t.Fatal(aside, err)
	}
	if got := tree(t, machine); !maps.Equal(got, withOlder()) {
		t.Errorf("%v", got)
	}
	if got := tree(t, aside[0]); !maps.Equal(got, map[string]string{"hearth.log": "old log", "control.sock": ""}) {
		t.Error(got)
	}
	if got := tree(t, aside[1]); !maps.Equal(got, map[string]string{"my.toml": "old", "rules/old.toml": "old rule", "rules/lamp.toml": "old lamp"}) {
		t.Error(got)
	}
}

// The process dies before any of its changes: what was there is there, or the folder says that
// it is not, and Undo, or the next restore, makes it so.
func TestARestoreThatDiesAnywhereLeavesTheOldHouse(t *testing.T) {
	steps := 0
	for dies := 0; ; dies++ {
		machine := t.TempDir()
		put(t, machine, older)
		r := restoring(t, machine)
		data, config := r.Targets[0].Dir, r.Targets[1].Dir
		n := 0
		r.step = func() error {
			if n++; n > dies {
				return ErrLeft
			}
			return nil
		}
		_, err := r.Run()
		if err == nil {
			steps = dies
			break
		}
		if got := tree(t, machine); !maps.Equal(got, older) && Interrupted(data) == nil {
			t.Errorf("after %d steps nobody knows of %v", dies, got)
		}
		if dies%2 == 0 { // a person gives up
			if err := errors.Join(Undo(data), Undo(config)); err != nil {
				t.Error(err)
			}
			if got := all(t, machine); !maps.Equal(got, older) {
				t.Errorf("undone after %d steps: %v", dies, got)
			}
			if Interrupted(data) != nil {
				t.Error("it is not over")
			}
			continue
		}
		r.step = nil
		if _, err := r.Run(); err != nil {
			t.Error(err)
		}
		if got := tree(t, machine); !maps.Equal(got, withOlder()) || Interrupted(data) != nil {
			t.Errorf("again after %d steps: %v", dies, got)
		}
	}
	if steps < 12 {
		t.Errorf("only %d steps", steps)
	}
}

// all is tree with what this package put there.
func all(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			t.Error(err)
		case !d.IsDir():
			text, _ := os.ReadFile(path)
			files[rel] = string(text)
		case IsOwn(d.Name()):
			files[rel] = "folder"
		}
		return nil
	})
	return files
}

// Any of its changes fails: all is as it was, and nothing is left.
func TestARestoreThatFailsAnywhereChangesNothing(t *testing.T) {
	broken := errors.New("input/output error")
	for fails := 0; ; fails++ {
		machine := t.TempDir()
		put(t, machine, older)
		r := restoring(t, machine)
		n := 0
		r.step = func() error {
			if n++; n == fails+1 {
				return broken
			}
			return nil
		}
		_, err := r.Run()
		if err == nil {
			if fails < 12 {
				t.Errorf("only %d steps", fails)
			}
			return
		}
		if got := all(t, machine); !errors.Is(err, broken) || !maps.Equal(got, older) {
			t.Errorf("after %d steps: %v\n%v", fails, err, got)
		}
	}
}

// What is wrong with an archive is found before anything is changed, also if it comes to be
// wrong after it was looked at.
func TestABadArchiveChangesNothing(t *testing.T) {
	machine := t.TempDir()
	put(t, machine, older)
	r := restoring(t, machine)
	refused := errors.New("not this one")
	r.Check = func(staged []string) error {
		if got := tree(t, staged[0]); len(got) != 2 {
			t.Error(got)
		}
		return refused
	}
	if _, err := r.Run(); !errors.Is(err, refused) {
		t.Error(err)
	}
	r.Check = nil
	text, err := os.ReadFile(r.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.Name, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(); !errors.Is(err, ErrCut) {
		t.Error(err)
	}
	other := house()
	other["data/users.toml"] = "[user.mallory]\n"
	if err := os.WriteFile(r.Name, archive(t, other), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Error(err)
	}
	r = restoring(t, machine)
	for i := range r.Done.Members {
		r.Done.Members[i].Size = 1 << 60
	}
	if _, err := r.Run(); err == nil || !strings.Contains(err.Error(), "MB left") {
		t.Error(err)
	}
	if got := all(t, machine); !maps.Equal(got, older) {
		t.Errorf("%v", got)
	}

	// On a machine where nothing was, not even a folder is left.
	machine = t.TempDir()
	r = restoring(t, machine)
	r.Check = func([]string) error { return refused }
	if _, err := r.Run(); !errors.Is(err, refused) {
		t.Error(err)
	}
	if left := list(t, machine); len(left) > 0 {
		t.Error(left)
	}
}

// A house whose configuration and data lie in one folder comes back into one.
func TestTwoTargetsMayBeOneFolder(t *testing.T) {
	machine := t.TempDir()
	put(t, machine, map[string]string{"my.toml": "old", "hearth.log": "old"})
	r := restoring(t, machine)
	for i := range r.Targets[:2] {
		r.Targets[i].Dir = machine
	}
	r.Targets[0].Aside = []string{"hearth.log", "my.toml"}
	if _, err := r.Run(); err != nil {
		t.Fatal(err)
	}
	got := tree(t, machine)
	want := map[string]string{"my.toml": house()["config/config.toml"], "hearth.log": house()["data/hearth.log"], "users.toml": house()["data/users.toml"], "rules/lamp.toml": house()["config/rules/lamp.toml"], "etc/hearth/outside/etc/ssl/house": "-----BEGIN"}
	if !maps.Equal(got, want) {
		t.Error(fmt.Sprint(got))
	}
}

// Who may write to the data folder, which the hub's user may, does not have root move other files
// with a plan that no restore has made.
func TestAPlanOfSomebodyElseIsNotCarriedOut(t *testing.T) {
	machine := t.TempDir()
	put(t, machine, map[string]string{"data/evil": "evil", "etc/mine": "mine"})
	data, etc := filepath.Join(machine, "data"), filepath.Join(machine, "etc")
	for what, m := range map[string]move{
		"out of it":        {From: filepath.Join(etc, "cron"), To: filepath.Join(data, "evil")},
		"into it":          {From: filepath.Join(data, "taken"), To: filepath.Join(etc, "mine")},
		"by another way":   {From: filepath.Join(etc, "cron"), To: filepath.Join(data, "before-restore-x", "../evil")},
		"of another place": {From: filepath.Join(etc, "cron"), To: filepath.Join(data, "before-restore-x", "evil")},
	} {
		text, err := json.Marshal([]move{m})
		if err != nil {
			t.Fatal(err)
		}
		put(t, data, map[string]string{".hearth-restore/plan.json": string(text), "before-restore-x/evil": "evil"})
		before := tree(t, machine)
		if err := Undo(data); err == nil {
			t.Errorf("%s: it was carried out", what)
		}
		if got := tree(t, machine); !maps.Equal(got, before) {
			t.Errorf("%s: %v", what, got)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root")
	}
	put(t, data, map[string]string{".hearth-restore/plan.json": "[]"})
	if err := os.Chown(filepath.Join(data, ".hearth-restore/plan.json"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := Undo(data); err == nil || !strings.Contains(err.Error(), "12345") {
		t.Error("of another user:", err)
	}
}
