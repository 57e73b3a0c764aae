package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hearth/backup"
	"hearth/certs"
	"hearth/config"
	"hearth/history"
	"hearth/store"
)

// Names of what is in a backup.
const (
	ofConfig  = "config/"
	ofOutside = "outside/"
	ofData    = "data/"
	keptState = ofData + store.LogName
)

// namedFiles is every file that the configuration names, such as keys and passwords, by its whole
// path; those of the configuration itself are not among them.
func (c *Config) namedFiles() (files []string) {
	if c.Broker.TLS != nil {
		files = append(files, c.Broker.TLS.Files()...)
	}
	if c.Web.TLS != nil {
		files = append(files, c.Web.TLS.Files()...)
	}
	for _, b := range c.links().Bridge {
		files = append(files, b.Value.Files(filepath.Dir(c.path))...)
	}
	return files
}

// Backup writes an archive of the house as it is now, while it runs: its configuration, and
// what that names; users; sessions, queues, retained values, rules and all else that the
// store keeps. Nothing waits for it. Two at once wait for each other.
func (h *Hub) Backup(ctx context.Context, w io.Writer) (*backup.Manifest, error) {
	select {
	case h.saving <- struct{}{}:
		defer func() { <-h.saving }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var cfg *Config
	err := h.do(ctx, func() {
		cfg = h.cfg
		// What is kept seldom is kept now, so that the backup has it.
		h.keepEngine(nil)
		h.keepLater()
		h.keepDevices(0, true)
	})
	if err != nil {
		return nil, err
	}
	var past copier
	if h.past != nil {
		past = h.past
	}
	return cfg.save(ctx, w, h.now().Wall, h.clockKnown.Load(), h.opt.Version, h.store.Snapshot(), past)
}

// A copier is a history that can be copied while it is written.
type copier interface {
	Copy(ctx context.Context, w io.Writer) error
}

// Save is Hub.Backup of a house that does not run; while a hub runs on its data folder that is
// the error. It changes nothing. Damage that it finds in what was kept is told to warn.
func (c *Config) Save(ctx context.Context, w io.Writer, version string, warn func(string)) (*backup.Manifest, error) {
	var state *store.Snapshot
	switch held, err := store.Hold(c.DataDir()); {
	case err == nil:
		defer held.Close()
		var damage []store.Damage
		if state, damage, err = store.Read(c.DataDir()); err != nil {
			return nil, err
		}
		for _, d := range damage {
			warn(fmt.Sprintf("what was kept is damaged, and this is not in the backup: %v", d))
		}
	case errors.Is(err, fs.ErrNotExist):
		warn(c.DataDir() + " is not there, so only the configuration is in the backup")
	default:
		return nil, err
	}
	return c.save(ctx, w, time.Now(), clockSynchronized() || c.Hub.Clock == "trust", version, state, nil)
}

// save writes the archive. Without a state there is none yet.
func (c *Config) save(ctx context.Context, w io.Writer, now time.Time, known bool, version string, state *store.Snapshot, past copier) (*backup.Manifest, error) {
	main, err := filepath.Abs(c.path)
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(c.DataDir())
	if err != nil {
		return nil, err
	}
	head := backup.Head{
		Hearth: version, House: c.name(), Made: now.UTC().Truncate(time.Second), Unsure: !known,
		Config: filepath.Base(main), Folder: filepath.Dir(main), Data: c.Hub.Data, DataDir: data,
	}
	a, err := backup.NewWriter(untilDone{ctx, w}, head)
	if err != nil {
		return nil, err
	}
	m, text, err := backup.File(ofConfig+head.Config, main)
	if err != nil {
		return nil, err // without it there is no house
	}
	if err := a.Add(m, bytes.NewReader(text)); err != nil {
		return nil, err
	}
	// As it lies on the disk now, which is what a restart would take.
	files := config.Load(c.path, nil).Files()[1:]
	files = append(files, c.namedFiles()...)
	if _, err := os.Stat(c.UsersFile()); !errors.Is(err, fs.ErrNotExist) {
		files = append(files, c.UsersFile())
	}
	files = append(files, certs.Made(c.CADir())...) // phones trust that CA and no other
	has := map[string]bool{main: true}
	for _, file := range files {
		if file, err = filepath.Abs(file); err != nil {
			return nil, err
		}
		if has[file] {
			continue
		}
		has[file] = true
		m, text, err := backup.File(placeOf(file, head.Folder, data), file)
		if err != nil {
			a.LeftOut(err.Error())
			continue
		}
		if err := a.Add(m, bytes.NewReader(text)); err != nil {
			return nil, err
		}
	}
	if state != nil {
		m := backup.Member{Name: keptState, Size: state.Size(), Mode: 0o600}
		if info, err := os.Stat(data); err == nil {
			m.User, m.Group = backup.Owner(info)
		}
		if err := a.Write(m, state); err != nil {
			return nil, err
		}
	}
	if past != nil {
		var wrong error
		if err := a.Stream(streamOfHistory, func(w io.Writer) error { wrong = past.Copy(ctx, w); return nil }); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if wrong != nil { // that of w is Close's too
			a.LeftOut(fmt.Sprintf("a part of the history: %v", wrong))
		}
	} else if err := addHistory(a, data); err != nil {
		return nil, err
	}
	return a.Close()
}

// streamOfHistory is where a history is that was copied while it was written.
const streamOfHistory = ofData + "history"

// addHistory adds the files of a history that nobody writes.
func addHistory(a *backup.Writer, data string) error {
	for _, name := range []string{history.File, history.File + "-journal", history.LogFile} {
		f, err := os.Open(filepath.Join(data, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			a.LeftOut(err.Error())
			continue
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		m := backup.Member{Name: ofData + name, Size: info.Size(), Mode: 0o600}
		m.User, m.Group = backup.Owner(info)
		if err := a.Add(m, f); err != nil {
			return err
		}
	}
	return nil
}

// placeOf is where a file is in a backup.
func placeOf(file, folder, data string) string {
	for _, at := range []struct{ dir, name string }{{data, ofData}, {folder, ofConfig}} {
		if rel, err := filepath.Rel(at.dir, file); err == nil && filepath.IsLocal(rel) {
			return at.name + filepath.ToSlash(rel)
		}
	}
	return ofOutside + strings.TrimPrefix(filepath.ToSlash(file), "/")
}

// untilDone is a writer until its context ends.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.w.Write(b)
}
