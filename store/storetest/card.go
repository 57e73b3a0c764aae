// Package storetest has the disk that tests give to a store: a card in memory whose
// power can be cut.
package storetest

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hearth/store"
)

// A Card is a disk in memory that loses at a power cut what was not synced: all, or
// any choice of sectors and names, for a disk writes in its own order.
type Card struct {
	SyncTakes time.Duration // on the clock of a synctest bubble, say

	mu      sync.Mutex
	names   map[string]*file // as the process sees them
	durable map[string]*file // as they are on disk
}

type file struct {
	card          *Card
	data, durable []byte
	from, to      int // what of data has been written since the last sync
}

// NewCard is an empty one, with every folder one could ask for.
func NewCard() *Card { return &Card{names: map[string]*file{}, durable: map[string]*file{}} }

// With is a card that holds one file.
func With(name string, b []byte) *Card {
	c := NewCard()
	f := &file{card: c, data: b, durable: bytes.Clone(b)}
	c.names[name], c.durable[name] = f, f
	return c
}

// Content is what a file holds now, synced or not; nil if there is none. It must not
// be changed while a store is open.
func (c *Card) Content(name string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.names[name]; f != nil {
		return f.data
	}
	return nil
}

// Cut is the card after a power cut at this moment; pick answers each open question
// of what got there. If it is nil only what was synced did.
func (c *Card) Cut(pick func() bool) *Card {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pick == nil {
		pick = func() bool { return false }
	}
	names := c.durable
	if pick() {
		names = c.names
	}
	after := NewCard()
	after.SyncTakes = c.SyncTakes
	for name, f := range names {
		b := bytes.Clone(f.durable)
		if len(f.data) > len(b) && pick() {
			b = append(b, make([]byte, len(f.data)-len(b))...)
		}
		for at := f.from &^ 511; at < min(f.to, len(b)); at += 512 {
			end := min(at+512, len(b), len(f.data))
			if at < end && !bytes.Equal(b[at:end], f.data[at:end]) && pick() {
				copy(b[at:end], f.data[at:end])
			}
		}
		n := &file{card: after, data: b, durable: bytes.Clone(b)}
		after.names[name], after.durable[name] = n, n
	}
	return after
}

// RemoveAll deletes what lies in a folder, as somebody might under a running hub. It is
// on disk at once.
func (c *Card) RemoveAll(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, names := range []map[string]*file{c.names, c.durable} {
		maps.DeleteFunc(names, func(name string, _ *file) bool { return strings.HasPrefix(name, filepath.Clean(dir)+"/") })
	}
}

func (c *Card) MkdirAll(string) error          { return nil }
func (c *Card) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (c *Card) Open(name string, flag int) (store.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.names[name]
	if f == nil {
		if flag&os.O_CREATE == 0 {
			return nil, fs.ErrNotExist
		}
		f = &file{card: c}
		c.names[name] = f
	}
	if flag&os.O_TRUNC != 0 {
		f.data = nil // what is durable stays until the next sync
		f.from, f.to = 0, len(f.durable)
	}
	return f, nil
}

func (c *Card) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[from] == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrNotExist}
	}
	c.names[to] = c.names[from]
	delete(c.names, from)
	return nil
}

func (c *Card) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.names, name)
	return nil
}

func (c *Card) SyncDir(string) error {
	time.Sleep(c.SyncTakes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durable = maps.Clone(c.names)
	return nil
}

func (f *file) ReadAt(b []byte, at int64) (int, error) {
	f.card.mu.Lock()
	defer f.card.mu.Unlock()
	return bytes.NewReader(f.data).ReadAt(b, at)
}

func (f *file) WriteAt(b []byte, at int64) (int, error) {
	f.card.mu.Lock()
	defer f.card.mu.Unlock()
	if grow := int(at) + len(b) - len(f.data); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	if f.from == f.to {
		f.from = int(at)
	}
	f.from, f.to = min(f.from, int(at)), max(f.to, int(at)+len(b))
	return copy(f.data[at:], b), nil
}

func (f *file) Sync() error {
	time.Sleep(f.card.SyncTakes)
	f.card.mu.Lock()
	defer f.card.mu.Unlock()
	if len(f.durable) != len(f.data) {
		f.durable = bytes.Clone(f.data)
	} else {
		copy(f.durable[f.from:f.to], f.data[f.from:f.to])
	}
	f.from, f.to = 0, 0
	return nil
}

func (f *file) Size() (int64, error) {
	f.card.mu.Lock()
	defer f.card.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *file) Named(name string) bool {
	f.card.mu.Lock()
	defer f.card.mu.Unlock()
	return f.card.names[name] == f
}

func (f *file) Reserve(int64, int64) error { return nil }
func (f *file) Close() error               { return nil }
