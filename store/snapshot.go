package store

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// LogName is how the store's one file is called in its folder.
const LogName = logName

// A Snapshot is all that lives in a store at one moment, to be written down as a log
// of its own: a store that is opened on it has just that.
type Snapshot struct {
	records []Record // by kind and key; the values are the store's own
	commit  uint64
	size    int64
}

// Snapshot takes one of the store as it is now, committed or not. What was put together
// is in it together. It holds up the store for as long as its keys take to be listed, which
// is milliseconds for a house; what is then done with it holds up nobody.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	snap := &Snapshot{commit: s.commit + 1, records: make([]Record, 0, len(s.entries))}
	for k, e := range s.entries {
		if !e.gone {
			snap.records = append(snap.records, Record{k.kind, k.key, e.value})
		}
	}
	s.mu.Unlock()
	snap.arrange()
	return snap
}

// Read takes a snapshot of a folder in which no store is open, and says what of it was
// unreadable. It changes nothing there, so anybody who may read the log may call it. One
// of a folder without a log is empty.
func Read(dir string) (*Snapshot, []Damage, error) {
	f, err := os.Open(filepath.Join(dir, logName))
	if errors.Is(err, fs.ErrNotExist) {
		snap := &Snapshot{commit: 1}
		snap.arrange()
		return snap, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	found, err := readLog(diskFile{f}, f.Name())
	if err != nil {
		return nil, nil, err
	}
	newest := make(map[id][]byte)
	for _, r := range found.records {
		newest[id{r.Kind, r.Key}] = r.Value
	}
	snap := &Snapshot{commit: found.commit + 1}
	for k, value := range newest {
		if value != nil {
			snap.records = append(snap.records, Record{k.kind, k.key, value})
		}
	}
	snap.arrange()
	return snap, found.damage, nil
}

func (s *Snapshot) arrange() {
	slices.SortFunc(s.records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Key, b.Key))
	})
	s.size = headerSize + recordSize("", nil) // of the seal at the end
	for _, r := range s.records {
		s.size += recordSize(r.Key, r.Value)
	}
}

// Size is how many bytes WriteTo writes.
func (s *Snapshot) Size() int64 { return s.size }

// WriteTo writes the snapshot as a log. Two of the same snapshot differ, for each log has a
// mark of its own.
func (s *Snapshot) WriteTo(w io.Writer) (n int64, err error) {
	var random [8]byte
	rand.Read(random[:])
	mark := binary.LittleEndian.Uint64(random[:]) | 1
	write := func(b []byte) {
		if err == nil {
			var m int
			m, err = w.Write(b)
			n += int64(m)
		}
	}
	write(appendHeader(nil, mark))
	var b []byte
	for _, r := range s.records {
		b = appendRecord(b, mark, s.commit, deletion(r), r)
		if len(b) >= 64<<10 {
			write(b)
			b = b[:0]
		}
	}
	write(appendRecord(b, mark, s.commit, seal, Record{}))
	return n, err
}

// Hold keeps every store out of a folder until it is closed. Who has one open there
// already is the error, which names him. It writes nothing.
func Hold(dir string) (io.Closer, error) {
	f, err := lockFolder(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return f, nil
}
