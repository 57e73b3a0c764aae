package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// What history leaves free on its disk for the state of the house: a tenth of the
	// disk, but no more than this.
	mostReserve = 64 << 20

	// So much of the newest history is kept even if the disk has no room for it: the log, and
	// what it takes to empty that into the database.
	leastSize = logSize + 8<<20
)

// roomFor is how large history's file may be in bytes, of which it now takes used, so that
// the reserve stays free on its disk. What others write takes that room away again: then
// the oldest history goes. limit is what the owner allows.
func roomFor(dir string, used, limit int64) (int64, error) {
	free, reserve, err := freeOn(dir)
	if err != nil {
		return limit, err
	}
	return max(min(limit, used+free-reserve), leastSize), nil
}

// freeOn is how many bytes are free on the disk of a folder, and how many of them history
// leaves so.
func freeOn(dir string) (free, reserve int64, err error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	size := int64(disk.Bsize) // of another type on each kind of machine
	return int64(disk.Bavail) * size, min(int64(disk.Blocks)*size/10, mostReserve), nil
}

// mayBegin says that a history may be made where there is none: on a very small disk it
// would take the room that the state of the house needs.
func mayBegin(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	free, reserve, err := freeOn(filepath.Dir(path))
	if need := leastSize + reserve; err == nil && free < need { // of an error he is told who opens it
		return fmt.Errorf("%d MiB are free in %s, and it wants %d; the next start looks again", free>>20, filepath.Dir(path), (need+1<<20-1)>>20)
	}
	return nil
}

// takenBy is how many bytes of the disk a file takes, without its holes.
func takenBy(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

// giveBack returns the room of the free pages of a SQLite file to the disk, without
// changing its length: SQLite does not read a free page and writes it whole when it needs
// it. The pages that list the free ones stay. It reports how many bytes these pages
// had; a file system that can't do that is no error, it gives nothing back.
func giveBack(f *os.File, first []byte, page func(n uint32) ([]byte, error)) (int64, error) {
	const punch = 2 | 1 // FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE
	given := int64(0)
	for n, left := binary.BigEndian.Uint32(first[headFree:]), 1<<20; n != 0 && left > 0; left-- {
		p, err := page(n)
		if err != nil {
			return given, err
		}
		for i := range min(binary.BigEndian.Uint32(p[4:]), pageSize/4-2) {
			at := int64(binary.BigEndian.Uint32(p[8+4*i:])-1) * pageSize
			err := syscall.Fallocate(int(f.Fd()), punch, at, pageSize)
			switch {
			case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
				return given, nil
			case err != nil:
				return given, &os.PathError{Op: "punch a hole into", Path: f.Name(), Err: err}
			}
			given += pageSize
		}
		n = binary.BigEndian.Uint32(p)
	}
	return given, nil
}
