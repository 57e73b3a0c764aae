package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MakeDir makes a folder, for who owns the one above: root may call this, and the hub has to
// read what is in it.
func MakeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return Own(func(uid, gid int) error { return os.Lchown(dir, uid, gid) }, filepath.Dir(dir))
}

// halfWritten is what files are called that are not written whole yet.
const halfWritten = ".new-*"

// Replace writes a file whole: nobody ever reads half of one, and after a power cut there is
// the old one or the new. Mode 0 is that of the old one, or 0600 if there is none. It belongs
// to who owns the first of like that exists; see [Own].
func Replace(file string, text []byte, mode fs.FileMode, like ...string) (err error) {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := os.CreateTemp(filepath.Dir(file), halfWritten) // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(text); err != nil {
		return err
	}
	if err = Own(f.Chown, like...); err != nil {
		return err
	}
	if was, err := os.Stat(file); mode == 0 && err == nil {
		mode = was.Mode().Perm()
	}
	if mode != 0 { // after its owner, so that nobody else could read it for a moment
		if err = f.Chmod(mode); err != nil {
			return err
		}
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), file); err != nil {
		return err
	}
	return dir.Sync()
}

// Own gives what chown does to who owns the first of those that exists, if root calls. It is
// never by a name that is followed: who owns the folder, as the hub does, could have put a
// link to any file of root's in its place.
func Own(chown func(uid, gid int) error, like ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, l := range like {
		if info, err := os.Stat(l); err == nil {
			s := info.Sys().(*syscall.Stat_t)
			return chown(int(s.Uid), int(s.Gid))
		}
	}
	return nil
}
