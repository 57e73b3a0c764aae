package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// unfinished is how a file is called that is being written, in the folder of the one that it
// will be.
const unfinished = ".hearth-backup-*.part"

// syncEvery is how much is written before the disk is waited for: a stick that is handed
// hundreds of megabytes at once holds up the card, too.
const syncEvery = 8 << 20

// WriteFile has an archive written and gives it the name: whoever looks sees the one that was
// there before, or all of the new one, whatever happens meanwhile. The folder must exist. What
// has the name already is replaced only if it is a backup, for a name is soon mistyped.
func WriteFile(name string, write func(io.Writer) error) (err error) {
	if err := replaceable(name); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	sweep(dir)
	f, err := os.CreateTemp(dir, unfinished) // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	// Where a file system knows no locks a file that somebody left stays there.
	syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	paced := &pacing{f: f}
	out := bufio.NewWriterSize(paced, 256<<10)
	if err := write(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	f.Close()
	return syncDir(dir)
}

// replaceable says why what has the name may not go.
func replaceable(name string) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there and no file: name one", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := Read(f, func(Head, Member, io.Reader) error { return errSeen }); err != nil && !errors.Is(err, errSeen) && !errors.Is(err, ErrNewer) {
		return fmt.Errorf("%s is there and %v: it is not overwritten; remove it, or name another file", name, err)
	}
	return nil
}

var errSeen = errors.New("it is a backup")

// sweep removes what a process left that died while it wrote.
func sweep(dir string) {
	names, _ := os.ReadDir(dir)
	for _, e := range names {
		if ours, _ := filepath.Match(unfinished, e.Name()); !ours {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.Remove(name)
		}
		f.Close()
	}
}

// pacing waits for the disk now and then.
type pacing struct {
	f *os.File
	n int
}

func (p *pacing) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	if p.n += n; err == nil && p.n >= syncEvery {
		p.n = 0
		err = p.f.Sync()
	}
	return n, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) { // FAT and what comes over a network may know no such thing
		return nil
	}
	return err
}
