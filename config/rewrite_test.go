package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// folder is what lies in one, by names, with what is hidden.
func folder(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %v %q\n", name, info.Mode(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// changed is a house of three files, of which one changes, one goes and one comes.
func changed(t *testing.T) (main string, edits []Edit) {
	t.Helper()
	dir := t.TempDir()
	main = filepath.Join(dir, "config.toml")
	a, b := filepath.Join(dir, "rules", "a.toml"), filepath.Join(dir, "rules", "b.toml")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "rules"), 0o755), os.WriteFile(main, []byte("old main"), 0o640), os.WriteFile(a, []byte{}, 0o604)); err != nil {
		t.Fatal(err)
	}
	return main, []Edit{{main, []byte("old main"), []byte("new main")}, {a, []byte{}, nil}, {b, nil, []byte("new b")}}
}

// Whenever the power goes, all files are as they were or all as they are to be. Each step of a
// change is one that happens whole or not at all, so it is enough to stop after each.
func TestAChangeIsWhole(t *testing.T) {
	for stop := range 5 {
		main, edits := changed(t)
		dir := filepath.Dir(main)
		before := folder(t, dir)
		c, err := Begin(main, edits)
		if err != nil {
			t.Fatal(err)
		}
		whole := c.edits
		c.edits = whole[:min(stop, len(whole))]
		if err := c.Write(); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, "rules", ".new-1"), []byte("ha"), 0o600) // of which the power cut left a part
		want := before
		if stop == 4 {
			os.Remove(filepath.Join(dir, "rules", ".new-1"))
			if err := c.Keep(); err != nil {
				t.Fatal(err)
			}
			want = "config.toml -rw-r----- \"new main\"\nrules/b.toml -rw-r----- \"new b\"\n"
		}
		undone, err := Recover(main)
		if got := folder(t, dir); err != nil || got != want || stop < 4 && len(undone) != stop {
			t.Errorf("stopped after %d: %v, %v undone\n%s", stop, err, undone, got)
		}
		if undone, err := Recover(main); err != nil || undone != nil {
			t.Errorf("again: %v %v", undone, err)
		}
	}
}

// The hub is started in the folder of its configuration, the power goes, and it is started in
// another: its files are found all the same, also one that lies elsewhere.
func TestAChangeIsFoundFromAnotherFolder(t *testing.T) {
	main, edits := changed(t)
	dir := filepath.Dir(main)
	far := filepath.Join(t.TempDir(), "far.toml")
	if err := os.WriteFile(far, []byte("old far"), 0o640); err != nil {
		t.Fatal(err)
	}
	before := folder(t, dir)
	t.Chdir(dir)
	for i, e := range edits {
		edits[i].File, _ = filepath.Rel(dir, e.File)
	}
	away, _ := filepath.Rel(dir, far)
	c, err := Begin("config.toml", append(edits, Edit{away, []byte("old far"), []byte("new far")}))
	if err == nil {
		err = c.Write()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	undone, err := Recover(main)
	text, _ := os.ReadFile(far)
	if got := folder(t, dir); err != nil || len(undone) != 4 || got != before || string(text) != "old far" {
		t.Errorf("%v, %v undone\n%s%s", err, undone, got, text)
	}
}

// A change is in force and its note could not be removed: the next change does not undo it, and
// is undone to it.
func TestAChangeInForceIsNotUndoneByTheNext(t *testing.T) {
	main, edits := changed(t)
	c, err := Begin(main, edits)
	if err == nil {
		err = c.Write()
	}
	if err != nil {
		t.Fatal(err)
	}
	next, err := Begin(main, []Edit{{main, []byte("new main"), []byte("newest main")}})
	if err == nil {
		err = next.Write()
	}
	if err != nil {
		t.Fatal(err)
	}
	undone, err := Recover(main)
	if got := folder(t, filepath.Dir(main)); err != nil || len(undone) != 1 || got != "config.toml -rw-r----- \"new main\"\nrules/b.toml -rw-r----- \"new b\"\n" {
		t.Errorf("%v, %v undone\n%s", err, undone, got)
	}
}

// What others write meanwhile is not written over, whether the change is undone at once or after
// the power came back; all else is.
func TestAChangeLeavesWhatOthersWrote(t *testing.T) {
	main, edits := changed(t)
	os.WriteFile(main, []byte("by hand"), 0o640)
	if _, err := Begin(main, edits); !errors.Is(err, ErrOther) {
		t.Errorf("begun: %v", err)
	}
	os.WriteFile(main, []byte("old main"), 0o640)
	b := edits[2].File
	before := folder(t, filepath.Dir(main))
	c, err := Begin(main, edits)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(b, []byte("by hand"), 0o640)
	if err := c.Write(); !errors.Is(err, ErrOther) || err.Error() != "rules/b.toml: somebody else has changed it meanwhile" {
		t.Errorf("written: %v", err)
	}
	os.Remove(b)
	if got := folder(t, filepath.Dir(main)); got != before {
		t.Errorf("it is not undone:\n%s", got)
	}
	c, err = Begin(main, edits)
	if err == nil {
		err = c.Write()
	}
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(main, []byte("by hand"), 0o640)
	if err := c.Undo(); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), main) {
		t.Errorf("undone: %v", err)
	}
	if got := folder(t, filepath.Dir(main)); got != "config.toml -rw-r----- \"by hand\"\nrules/a.toml -rw----r-- \"\"\n" {
		t.Error(got)
	}
}

// A journal tells files to be written, so nobody takes another's, and none that is a link.
func TestAnothersJournalIsNotObeyed(t *testing.T) {
	main, _ := changed(t)
	dir := filepath.Dir(main)
	victim, journal := filepath.Join(dir, "victim"), journalOf(main)
	os.WriteFile(victim, []byte("x"), 0o600)
	text := fmt.Sprintf(`[{"file":%q,"before":"mine","after":%q}]`, victim, sum([]byte("x")))
	os.WriteFile(filepath.Join(dir, "elsewhere"), []byte(text), 0o600)
	os.Symlink(filepath.Join(dir, "elsewhere"), journal)
	if undone, err := Recover(main); err == nil || undone != nil {
		t.Errorf("a link: %v %v", undone, err)
	}
	os.Remove(journal)
	if os.Geteuid() == 0 {
		os.WriteFile(journal, []byte(text), 0o600)
		os.Chown(journal, 1, 1)
		if undone, err := Recover(main); err == nil || undone != nil {
			t.Errorf("another user's: %v %v", undone, err)
		}
		os.Remove(journal)
	}
	os.WriteFile(journal, []byte(text[:20]), 0o600)
	if undone, err := Recover(main); err == nil || undone != nil {
		t.Errorf("half a journal: %v %v", undone, err)
	}
}

// Who may write to the folder puts a link in the place of the journal just when it is read, or
// something that never ends.
func TestAJournalIsNotExchanged(t *testing.T) {
	main, _ := changed(t)
	dir := t.TempDir()
	evil, victim := filepath.Join(dir, "evil"), filepath.Join(dir, "victim")
	text := fmt.Sprintf(`[{"file":%q,"before":"mine","after":%q}]`, victim, sum([]byte("x")))
	if err := errors.Join(os.WriteFile(victim, []byte("x"), 0o600), os.WriteFile(evil, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		next := filepath.Join(dir, "next")
		for range 400 {
			os.WriteFile(next, []byte("[]"), 0o600)
			os.Rename(next, journalOf(main))
			os.Symlink(evil, next)
			os.Rename(next, journalOf(main))
		}
	}()
	for going := true; going; {
		select {
		case <-ended:
			going = false
		default:
			Recover(main)
		}
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "x" {
		t.Errorf("a link was followed: %q %v", got, err)
	}
	os.Remove(journalOf(main))
	if err := syscall.Mkfifo(journalOf(main), 0o600); err != nil {
		t.Fatal(err)
	}
	if undone, err := Recover(main); err == nil || undone != nil {
		t.Errorf("a pipe: %v %v", undone, err)
	}
}
