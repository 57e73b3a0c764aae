package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// An Edit is what becomes of a file. nil is that there is none.
type Edit struct {
	File          string
	Before, After []byte
}

// A Rewrite is files that become others together. What they were is noted beside the main one
// before the first of them is touched, so that a power cut at any moment leaves all of them as
// they were, once [Recover] has looked, or all as they are to be:
//
//	c, err := Begin(main, edits)
//	err = c.Write()
//	err = c.Keep()         or, as long as that was not called: c.Undo()
//
// Between Write and Keep who obeys the files may try whether it can.
type Rewrite struct {
	journal string
	edits   []Edit
	noted   []noted // of each
}

// ErrOther is that a file is neither as it was nor as it is to be: somebody else wrote it.
var ErrOther = errors.New("somebody else has changed it meanwhile")

// A noted is an Edit in the journal. After is named alone, to know it again.
type noted struct {
	File   string      `json:"file"`   // as seen from the folder of the main one
	Before *string     `json:"before"` // nil: there was none
	Mode   fs.FileMode `json:"mode,omitempty"`
	After  string      `json:"after"` // sum; "": there is none
}

func sum(text []byte) string {
	if text == nil {
		return ""
	}
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

// journalOf is where a change of a configuration is noted: what has to be known before the
// configuration is read can't lie where only that says.
func journalOf(main string) string {
	return filepath.Join(filepath.Dir(main), "."+filepath.Base(main)+".change")
}

// seenFrom is what a file is called in the folder of the main one, wherever the hub is started;
// what lies elsewhere keeps its whole path.
func seenFrom(dir, file string) (string, error) {
	if name, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(name) {
		return name, nil
	}
	return filepath.Abs(file)
}

// Begin notes a change of files that belong to the configuration in main. It is an error if one
// of them is not as it is thought to be. What is noted of one before is forgotten: whoever
// began that has ended it, and what is in force is not undone by the next change.
func Begin(main string, edits []Edit) (*Rewrite, error) {
	var all []noted
	for _, e := range edits {
		name, err := seenFrom(filepath.Dir(main), e.File)
		if err != nil {
			return nil, err
		}
		n := noted{File: name, After: sum(e.After)}
		is, mode, err := present(e.File)
		if err != nil {
			return nil, err
		}
		if !same(is, e.Before) {
			return nil, fmt.Errorf("%s: %w", name, ErrOther)
		}
		if n.Mode = mode; is != nil {
			text := string(is)
			n.Before = &text
		}
		all = append(all, n)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	c := &Rewrite{journal: journalOf(main), edits: edits, noted: all}
	return c, Replace(c.journal, text, 0o600)
}

// Write makes the files what they are to be. If it can't, it undoes what it did.
func (c *Rewrite) Write() error {
	err := c.write()
	if err == nil {
		return nil
	}
	bad := c.Undo()
	if errors.Is(bad, ErrOther) { // as was met here
		bad = nil
	}
	return errors.Join(err, bad)
}

func (c *Rewrite) write() error {
	for i, e := range c.edits {
		switch is, _, err := present(e.File); {
		case err != nil:
			return err
		case !same(is, e.Before):
			return fmt.Errorf("%s: %w", c.noted[i].File, ErrOther)
		}
		mode := fs.FileMode(0)
		if e.Before == nil {
			if err := MakeDir(filepath.Dir(e.File)); err != nil {
				return err
			}
			mode = 0o640 // its group is the folder's
		}
		if err := put(e.File, e.After, mode); err != nil {
			return err
		}
	}
	return nil
}

// Keep ends a change that is to stay.
func (c *Rewrite) Keep() error { return put(c.journal, nil, 0) }

// Undo ends one that is not. What others wrote meanwhile stays, and is the error.
func (c *Rewrite) Undo() error {
	_, err := undo(c.journal)
	return err
}

// Recover undoes a change of the configuration in main that was neither kept nor undone, as of
// a power cut, and says which files it gave back what was in them. What others have written
// into some since stays, and is the error. It is to be called before the configuration is read,
// by the one who obeys it.
func Recover(main string) (undone []string, err error) { return undo(journalOf(main)) }

func undo(journal string) (undone []string, err error) {
	f, err := os.OpenFile(journal, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// It names files to be written: of nobody else one takes that, least of all as root. What was
	// opened is looked at, for by its name there may be another file the next moment.
	if s, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || !ok || int(s.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s is another user's, so what it says was not done", journal)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	var all []noted
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", journal, err)
	}
	for i, n := range all {
		if !filepath.IsAbs(n.File) {
			all[i].File = filepath.Join(filepath.Dir(journal), n.File)
		}
	}
	var trouble error
	for _, n := range all {
		is, _, err := present(n.File)
		var before []byte
		if n.Before != nil {
			before = append([]byte{}, *n.Before...)
		}
		switch {
		case err != nil:
		case same(is, before):
			continue
		case sum(is) != n.After:
			err = fmt.Errorf("%s: %w", n.File, ErrOther)
		default:
			if err = put(n.File, before, n.Mode); err == nil {
				undone = append(undone, n.File)
			}
		}
		if err != nil && !errors.Is(err, ErrOther) { // it may work the next time
			return undone, err
		}
		trouble = errors.Join(trouble, err)
	}
	for _, n := range all { // what a cut left half written
		left, _ := filepath.Glob(filepath.Join(literal.Replace(filepath.Dir(n.File)), halfWritten))
		for _, l := range left {
			os.Remove(l)
		}
	}
	return undone, errors.Join(trouble, put(journal, nil, 0))
}

// present is what is in a file, with its mode; nil if there is none.
func present(file string) (text []byte, mode fs.FileMode, err error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, nil
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a file", file)
	}
	if err != nil {
		return nil, 0, err
	}
	if text, err = os.ReadFile(file); text == nil {
		text = []byte{}
	}
	return text, info.Mode().Perm(), err
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// put writes a file, or removes it if text is nil, and comes back when that is on disk.
func put(file string, text []byte, mode fs.FileMode) error {
	if text != nil {
		return Replace(file, text, mode, file)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
