package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// FS is what the store asks of a file system. There is [Disk], the real one, and
// [Faulty], which refuses on demand.
type FS interface {
	// MkdirAll makes a folder for the owner only, if it is missing.
	MkdirAll(dir string) error
	// Lock takes the folder of the named file for this process, without waiting,
	// until it is closed or the process ends, and notes its pid in the file.
	Lock(name string) (io.Closer, error)
	// Open opens a file for the owner only; flag as for os.OpenFile.
	Open(name string, flag int) (File, error)
	// Rename replaces what has the new name.
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir returns when the names in a folder are on disk.
	SyncDir(dir string) error
}

// File is what the store asks of a file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync returns when what was written is on disk.
	Sync() error
	// Reserve makes sure that a part of the file can be written, as far as the file
	// system knows how to; it changes neither the length nor the content.
	Reserve(from, length int64) error
	Size() (int64, error)
	// Named is false if the name leads to nothing now, or to another file.
	Named(name string) bool
}

// Disk is the real file system.
type Disk struct{}

func (d Disk) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := d.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Without this a power cut may take the new folder with all that is in it.
	return d.SyncDir(parent)
}

// Free says who has a store open in a folder, as an error; nil if nobody has, or
// if that can't be told. It writes nothing.
func Free(dir string) error {
	f, err := lockFolder(filepath.Join(dir, lockName))
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// Lock locks the folder itself, for that can be opened on a full disk and on a
// read-only one too; the file tells others who has it.
func (Disk) Lock(name string) (io.Closer, error) {
	dir, err := lockFolder(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fs.ErrPermission):
		dir.Close() // a folder of someone else is a mistake in the setup, no sick disk
		return nil, err
	case err == nil:
		// Of fixed width, so that one write replaces the last one's pid whole.
		f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
		f.Close()
	}
	return dir, nil
}

func lockFolder(name string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		dir.Close()
		if pid, err := os.ReadFile(name); err == nil && len(bytes.TrimSpace(pid)) > 0 {
			return nil, fmt.Errorf("in use by process %s, which is probably another hub", bytes.TrimSpace(pid))
		}
		return nil, errors.New("in use by another process")
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return dir, nil
}

func (Disk) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (Disk) Rename(from, to string) error { return os.Rename(from, to) }
func (Disk) Remove(name string) error     { return os.Remove(name) }

func (Disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

type diskFile struct{ *os.File }

// Sync leaves out the time of the last change, which nobody reads here and which
// would cost a journal entry each commit.
func (f diskFile) Sync() error {
	if err := retry(func() error { return syscall.Fdatasync(int(f.Fd())) }); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f diskFile) Reserve(from, length int64) error {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE
	err := retry(func() error { return syscall.Fallocate(int(f.Fd()), keepSize, from, length) })
	if err == nil || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
}

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Named believes in the name when it can't be told, say because somebody took away
// the right to look into the folder.
func (f diskFile) Named(name string) bool {
	there, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	ours, err2 := f.Stat()
	return err != nil || err2 != nil || os.SameFile(there, ours)
}

// retry calls again what a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// Faulty is a file system for tests: another one that refuses, hangs and counts.
// The zero value passes everything on to [Disk]. Its methods may be called while
// a store uses it.
type Faulty struct {
	FS FS // nil: Disk

	mu     sync.Mutex
	writes error
	syncs  error
	full   bool
	left   int
	after  error
	hung   chan struct{}
	count  Count
}

// Count is what a Faulty has let through to files.
type Count struct {
	Writes int   // calls
	Bytes  int64 // written by them
	Syncs  int
	Steps  int // everything that changes the disk: writes, syncs, names
}

// FailWrites makes every write fail with err, until it is called with nil.
func (f *Faulty) FailWrites(err error) { f.set(func() { f.writes = err }) }

// FailSyncs makes every sync of a file or folder fail with err, until it is
// called with nil. What was written stays written, as far as readers see.
func (f *Faulty) FailSyncs(err error) { f.set(func() { f.syncs = err }) }

// FailAfter lets n more steps through that change the disk, and makes all after
// them fail with err, as if the process had died there. A nil err ends that.
func (f *Faulty) FailAfter(n int, err error) { f.set(func() { f.left, f.after = n, err }) }

// Full makes the disk full, or gives it space again: a write beyond the end of a
// file fails with ENOSPC, and one to space it already has does not.
func (f *Faulty) Full(full bool) { f.set(func() { f.full = full }) }

// Block makes writes and syncs hang until release is called, once.
func (f *Faulty) Block() (release func()) {
	hung := make(chan struct{})
	f.set(func() { f.hung = hung })
	return func() {
		f.set(func() { f.hung = nil })
		close(hung)
	}
}

// Counts is what went through so far.
func (f *Faulty) Counts() (c Count) {
	f.set(func() { c = f.count })
	return c
}

func (f *Faulty) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *Faulty) fs() FS {
	if f.FS == nil {
		return Disk{}
	}
	return f.FS
}

// step passes one change to the disk, or does not.
func (f *Faulty) step(refused func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.after != nil && f.left <= 0 {
		return f.after
	}
	if refused != nil {
		if err := refused(); err != nil {
			return err
		}
	}
	f.left--
	f.count.Steps++
	return nil
}

func (f *Faulty) hang() {
	var hung chan struct{}
	f.set(func() { hung = f.hung })
	if hung != nil {
		<-hung
	}
}

func (f *Faulty) MkdirAll(dir string) error           { return f.fs().MkdirAll(dir) }
func (f *Faulty) Lock(name string) (io.Closer, error) { return f.fs().Lock(name) }

func (f *Faulty) Open(name string, flag int) (File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		if err := f.step(nil); err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
	file, err := f.fs().Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

func (f *Faulty) Rename(from, to string) error {
	if err := f.step(nil); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return f.fs().Rename(from, to)
}

func (f *Faulty) Remove(name string) error {
	if err := f.step(nil); err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return f.fs().Remove(name)
}

func (f *Faulty) SyncDir(dir string) error {
	f.hang()
	if err := f.step(func() error { return f.syncs }); err != nil {
		return &os.PathError{Op: "sync", Path: dir, Err: err}
	}
	return f.fs().SyncDir(dir)
}

type faultyFile struct {
	File
	f    *Faulty
	name string
}

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	f.f.hang()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	err = f.f.step(func() error {
		if f.f.full && at+int64(len(b)) > size {
			return syscall.ENOSPC
		}
		return f.f.writes
	})
	if err != nil {
		return 0, &os.PathError{Op: "write", Path: f.name, Err: err}
	}
	n, err := f.File.WriteAt(b, at)
	f.f.set(func() {
		f.f.count.Writes++
		f.f.count.Bytes += int64(n)
	})
	return n, err
}

func (f *faultyFile) Sync() error {
	f.f.hang()
	if err := f.f.step(func() error { return f.f.syncs }); err != nil {
		return &os.PathError{Op: "sync", Path: f.name, Err: err}
	}
	f.f.set(func() { f.f.count.Syncs++ })
	return f.File.Sync()
}

func (f *faultyFile) Reserve(from, length int64) error {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	if f.f.full {
		return &os.PathError{Op: "reserve", Path: f.name, Err: syscall.ENOSPC}
	}
	return f.File.Reserve(from, length)
}
