// Package store keeps what must survive a power cut: retained values, sessions
// and what they wait for, the engine's snapshot, the last accepted outputs.
//
// It is one file of checksummed records, hearth.log, and everything in it also
// lies in memory. [Store.Put] changes the memory at once and never waits for the
// disk; one goroutine, the only one that touches the file, brings the changes
// there in groups. What it promises:
//
//   - When done is called with nil, the value is on disk and outlives a power cut.
//   - It is there at the latest `within` after the Put, as long as the disk works.
//     Values of one key that follow each other sooner are written once, so a
//     chatty one costs a card little if its owner allows it a few minutes. What
//     comes and is deleted again sooner is never written.
//   - All that waits is written as one piece with one sync, whenever the first of
//     it falls due; the done functions are called in the order of the Puts.
//   - A damaged record costs only itself: see [Store.Damage].
//   - A disk that refuses (full, broken) loses nothing that was acknowledged and
//     acknowledges nothing that is not there: see [Store.Trouble].
//
// # The file
//
// The format is told at the top of file.go. The file is filled with zeros ahead
// of its use, 1 MiB at a time. So a commit changes bytes and no metadata, which
// halves what a card has to write, and a full disk is met at a step rather than at
// any commit.
//
// A commit appends; a record that a newer one replaces is garbage. When the file
// has no room for the next commit and the live values would fill at most half
// of it, they are written to a new file, hearth.log.new, which is synced and
// then takes the old one's name; otherwise the file grows. So a file is at most
// about twice what lives in it plus a step, and filling and compacting write at
// most about twice what the commits do.
//
// Few live values, as a house has them, are written to the new file in one go. Many
// would hold up the commits for as long as the disk needs for all of them, seconds
// on a card. So they are written in steps, each with its own sync, and between
// two steps the commits go on in the old file, which grows meanwhile. What they
// changed is added to the new file at the end, before it takes the name.
//
// # When the disk refuses
//
// After a failed write or sync nobody knows what the file holds: the kernel may
// drop the data and report success for the next sync. So that file is never
// written again. A whole new one is built from memory, at once and then after
// pauses that grow from 250 ms to 10 s, until one succeeds; the old one stays
// until the new one takes its name. A disk that hangs stops only the goroutine
// that writes; see [Store.Close] for the end of that. For the same reason a file that was not
// closed properly is copied to a new one when it is opened, for what the kernel
// hands out may never have reached the disk.
//
// A file that somebody deletes, renames or replaces, alone or with the whole folder,
// is a failed disk, too: what is written to it then nobody will find. It is
// noticed before the next acknowledgement, or within ten seconds, and the file is
// built anew in its place.
package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind says whose record it is. Keys of different kinds have nothing to do with
// each other. The numbers are on disk: never change or reuse one.
type Kind byte

const (
	Retained Kind = 1 // broker: a retained message, by topic
	Engine   Kind = 2 // hub: the rules' snapshot
	Output   Kind = 3 // gpio: the last accepted state and settings of an output or interlock, by name
	Reading  Kind = 4 // hub: the newest reading of a source, by source
	Owed     Kind = 5 // hub: ends that wait for somebody to hear them, by topic, or "device NAME.PROPERTY"
	Total    Kind = 7 // gpio: what a counter has counted, by name
	Cover    Kind = 8 // gpio: where a cover was left, by name

	// Numbers in these keys are big-endian, so that Each gives them in their order.
	Session      Kind = 9  // broker: a kept session, by client id
	Subscription Kind = 10 // broker: by session number (4 bytes) and filter
	Queued       Kind = 11 // broker: a delivery that a kept session owes, by session number (4 bytes) and sequence (8)
	Body         Kind = 12 // broker: a message that kept sessions wait for, by sequence (8 bytes)
	Unreleased   Kind = 13 // broker: a QoS 2 message received and not released, by session number (4 bytes) and packet id (2)

	Device Kind = 14 // hub: "device ID", what one is, "said TOPIC", how it announced itself, "values ID", what it reported
	Said   Kind = 19 // hub: what Home Assistant was told of the house, under one key
	Bridge Kind = 20 // hub: what was asked of the brokers of a bridge, by name
	Visit  Kind = 21 // hub: who is logged in to the page, by the hash of what the cookie holds
)

func (k Kind) String() string {
	switch k {
	case Retained:
		return "retained"
	case Engine:
		return "engine"
	case Cover:
		return "cover"
	case Device:
		return "device"
	case Output:
		return "output"
	case Reading:
		return "reading"
	case Owed:
		return "owed"
	case Total:
		return "total"
	case Session:
		return "session"
	case Subscription:
		return "subscription"
	case Queued:
		return "queued"
	case Body:
		return "body"
	case Unreleased:
		return "unreleased"
	case Said:
		return "said"
	case Bridge:
		return "bridge"
	case Visit:
		return "visit"
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// describe names a record for people: its kind and its key, numbers as numbers.
func describe(k Kind, key string) string {
	number := func(digits string) (n uint64) {
		for _, b := range []byte(digits) {
			n = n<<8 | uint64(b)
		}
		return n
	}
	switch {
	case k == Subscription && len(key) >= 4:
		return fmt.Sprintf("subscription of session %d to %q", number(key[:4]), key[4:])
	case k == Queued && len(key) == 12:
		return fmt.Sprintf("queued message %d of session %d", number(key[4:]), number(key[:4]))
	case k == Body && len(key) == 8:
		return fmt.Sprintf("body of message %d", number(key))
	case k == Unreleased && len(key) == 6:
		return fmt.Sprintf("unreleased packet %d of session %d", number(key[4:]), number(key[:4]))
	}
	if k == Visit { // its key is bytes, and nobody's business
		return "login to the page"
	}
	return fmt.Sprintf("%s %q", k, key)
}

// A Record is one value under its kind and key. A nil Value deletes; an empty
// one that is not nil is a value.
type Record struct {
	Kind  Kind
	Key   string
	Value []byte
}

// Options for [Open]; the zero value is right for the hub.
type Options struct {
	FS  FS           // nil: the real one, [Disk]
	Log *slog.Logger // nil: silent

	first int64 // size of a new file; zero: firstSize. Tests need not fill a mebibyte,
	step  int64 // nor as much as a compaction writes at once; zero: stepSize.
}

// ErrClosed is what done gets for a Put after Close.
var ErrClosed = errors.New("the store is closed")

const (
	logName  = "hearth.log"
	newName  = "hearth.log.new"
	lockName = "hearth.lock"

	firstSize = 1 << 20

	// A compaction writes so much at once. A slow card takes 50 ms for it.
	stepSize = 512 << 10

	// How often an idle store looks whether its file is still where it ought to be.
	lookEvery = 10 * time.Second

	firstPause = 250 * time.Millisecond
	lastPause  = 10 * time.Second
	patience   = 2 * time.Second // of Close with the disk

	firstSweep = 1 << 12

	// maxLive bounds what lives in the store, and so the file: about 1 GiB, which
	// even a 32-bit Pi could still open. Real houses have a thousandth of it.
	maxLive = 512 << 20
)

// A Store is open. Its methods may be called from any goroutine, also from a
// done function, but for Sync and Close, which would wait for themselves there.
type Store struct {
	fs    FS
	dir   string
	log   *slog.Logger
	first int64
	step  int64

	lock   io.Closer // nil: lost, see regain
	damage []Damage
	wake   chan struct{} // tells the writer that due or closing changed
	ended  chan struct{} // closed when the writer has returned

	mu      sync.Mutex // held for moments, never while the disk works
	entries map[id]*entry
	live    int64     // bytes the entries take as records
	dirty   []id      // changed since the last commit took its batch, oldest first
	sweepAt int       // length of dirty at which to sweep it
	waiting []ack     // done functions of Puts not committed yet, in order
	due     time.Time // when the earliest of them must be written; zero: nothing waits
	closing bool
	calling bool  // the writer is in a done function
	left    bool  // Close has left without the writer, and has called all done functions
	err     error // why the disk refuses now
	tell    []*watcher

	// The writer's own; before it starts, Open's.
	file    *logFile // nil: the last one failed, a new one has to be built
	commit  uint64   // number of the last commit
	batch   []Record // the changes being written, and
	buf     []byte   // their records, both kept for the next commit
	next    *compaction
	look    time.Time // when to look for the file again
	missing bool      // somebody took the file away, and the folder perhaps
	since   time.Time
	pause   time.Duration
	retry   time.Time // when to try a new file again
	endErr  error     // what it leaves behind when it ends

	close    sync.Once
	closeErr error
}

type id struct {
	kind Kind
	key  string
}

// An entry is the newest value of a key. A deleted one stays only until its
// deletion has been handed to a commit.
type entry struct {
	value  []byte // never changed in place
	gone   bool
	dirty  bool // listed in Store.dirty
	onDisk bool // a record of this key is, or may be, in the file
}

type ack struct {
	done func(error)
	err  error // refused from the start
}

// A watcher is told of trouble.
type watcher struct {
	f   func(error)
	bad bool // what it was told last
}

// A compaction is a new log in the making, while commits go to the old one.
type compaction struct {
	file   *logFile
	todo   []Record        // what is still to be written to it
	filled int64           // behind its records it is zeros up to here
	since  map[id]struct{} // what has been committed to the old one since todo was made
	buf    []byte
}

// Open opens the store in the folder dir and makes both if they are missing. A
// store serves one process at a time: the error for a second one names the pid
// of the first. A hearth.log that is not one, or that a newer Hearth wrote, is
// an error too, and is left as it is.
//
// Damaged records do not keep a store from opening, see Damage; neither does a
// disk that cannot be written (full, read-only, broken), see Trouble, as long as
// the folder is there. A folder that belongs to someone else does.
func Open(dir string, opt Options) (_ *Store, err error) {
	s := &Store{
		fs:      opt.FS,
		dir:     dir,
		log:     opt.Log,
		first:   cmp.Or(opt.first, firstSize),
		step:    cmp.Or(opt.step, stepSize),
		wake:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
		sweepAt: firstSweep,
		entries: map[id]*entry{},
	}
	if s.fs == nil {
		s.fs = Disk{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("store: make folder: %w", err)
	}
	if s.lock, err = s.fs.Lock(filepath.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	defer func() {
		if err != nil && s.lock != nil {
			s.lock.Close()
		}
	}()
	// An unfinished file of a writer that died; it was never the store's. Should it
	// not go, the next one that is built overwrites it.
	s.fs.Remove(filepath.Join(dir, newName))

	f, found, err := openLog(s.fs, filepath.Join(dir, logName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.rewrite() // a house must start on a full disk, too
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	default:
		s.take(f, found)
	}
	go s.run()
	return s, nil
}

// take adopts the log that was found at start.
func (s *Store) take(f *logFile, found *found) {
	for _, r := range found.records {
		k := id{r.Kind, r.Key}
		e := s.entries[k]
		if e != nil {
			s.live -= recordSize(r.Key, e.value)
		}
		if r.Value == nil {
			delete(s.entries, k)
			continue
		}
		if e == nil {
			e = &entry{onDisk: true}
			s.entries[k] = e
		}
		e.value = r.Value
		s.live += recordSize(r.Key, r.Value)
	}
	for _, e := range s.entries {
		e.value = bytes.Clone(e.value) // lets go of the file's whole content
	}
	s.commit, s.damage = found.commit, found.damage
	for i, d := range s.damage {
		if i == 20 {
			s.log.Warn("store: more damaged records", "file", filepath.Join(s.dir, logName), "count", len(s.damage)-i)
			break
		}
		s.log.Warn("store: damaged record", "file", filepath.Join(s.dir, logName), "what", d.String())
	}

	if found.sealed && len(s.damage) == 0 {
		// The seal says that everything before it was synced. That the seal itself
		// was, a writer killed between write and sync could not know.
		err := f.f.Sync()
		if err == nil {
			s.file = f
			return
		}
		s.fail(fmt.Errorf("sync %s: %w", logName, err))
	}
	f.f.Close()
	s.rewrite()
}

// Put sets or deletes a value. It is at once what Each shows, and on disk at the
// latest `within` from now; zero or less means as soon as can be. It never waits
// for the disk. The value is copied.
//
// done may be nil. It is called once, from the store's goroutine and so one at a
// time and in the order of the Puts: with nil when the value, or a newer one of
// the same key, is on disk; with an error only when the store closes without
// that or the value is beyond all measure (512 MiB in the store). After Close it
// is called with ErrClosed before Put returns. What it does holds up all commits:
// it should only pass the news on. While the disk refuses, done functions pile up:
// a caller bounds how many it has under way.
func (s *Store) Put(r Record, within time.Duration, done func(error)) {
	value := bytes.Clone(r.Value)
	if s.lockOpen(done) {
		s.await(within, ack{done, s.put(r, value)})
		s.mu.Unlock()
	}
}

// PutAll is Put of records that belong together: they go into one commit, of which a
// power cut leaves all or nothing. There is at least one, and done is about all.
func (s *Store) PutAll(rs []Record, within time.Duration, done func(error)) {
	values := make([][]byte, len(rs))
	for i, r := range rs {
		values[i] = bytes.Clone(r.Value)
	}
	if s.lockOpen(done) {
		var err error
		for i, r := range rs {
			if e := s.put(r, values[i]); err == nil {
				err = e
			}
		}
		s.await(within, ack{done, err})
		s.mu.Unlock()
	}
}

// lockOpen locks s.mu, unless the store is closed: then done knows.
func (s *Store) lockOpen(done func(error)) bool {
	s.mu.Lock()
	if !s.closing {
		return true
	}
	s.mu.Unlock()
	if done != nil {
		done(ErrClosed)
	}
	return false
}

// put makes a value the newest. s.mu is held.
func (s *Store) put(r Record, value []byte) error {
	k, size := id{r.Kind, r.Key}, recordSize(r.Key, r.Value)
	e := s.entries[k]
	live := s.live
	if e != nil && !e.gone {
		live -= recordSize(k.key, e.value)
	}
	if value != nil {
		if live+size > maxLive {
			return fmt.Errorf("%s: %d bytes on top of %d are more than a store holds", describe(r.Kind, r.Key), size, live)
		}
		live += size
	}
	s.live = live
	if e == nil {
		e = &entry{}
		s.entries[k] = e
	}
	e.value, e.gone = value, value == nil
	if !e.dirty {
		e.dirty = true
		s.dirty = append(s.dirty, k)
		if len(s.dirty) >= s.sweepAt {
			s.sweep()
		}
	}
	return nil
}

// sweep forgets what came and went since the last commit, lest a disk that hangs
// for hours fills the memory with it. s.mu is held.
func (s *Store) sweep() {
	s.dirty = slices.DeleteFunc(s.dirty, func(k id) bool {
		e := s.entries[k]
		if !e.gone || e.onDisk {
			return false
		}
		delete(s.entries, k)
		return true
	})
	s.sweepAt = max(2*len(s.dirty), firstSweep)
}

// await makes the writer write within the given time and call done after that.
// s.mu is held.
func (s *Store) await(within time.Duration, a ack) {
	if a.done != nil {
		s.waiting = append(s.waiting, a)
	}
	due := time.Now().Add(within)
	if !s.due.IsZero() && !due.Before(s.due) {
		return
	}
	s.due = due
	s.nudge()
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it has not yet looked since the last time
	}
}

// Each gives the keys of a kind, sorted, and their newest values, committed or
// not, as they are when the loop begins; the loop may Put. The values are the
// store's own and must not be changed.
func (s *Store) Each(kind Kind) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		s.mu.Lock()
		var records []Record
		for k, e := range s.entries {
			if k.kind == kind && !e.gone {
				records = append(records, Record{kind, k.key, e.value})
			}
		}
		s.mu.Unlock()
		slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
		for _, r := range records {
			if !yield(r.Key, r.Value) {
				return
			}
		}
	}
}

// Damage lists what was unreadable when the store was opened. Each cost a
// record, or brought back the one it had replaced. An unfinished commit at the
// end of the file, as a power cut leaves it, is no damage: nobody was told that
// it is there.
func (s *Store) Damage() []Damage { return slices.Clone(s.damage) }

// Trouble is nil, or why the disk refuses to be written now. The store keeps
// trying; until it succeeds no done function is called.
func (s *Store) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// OnTrouble has f called with the reason when the disk begins to refuse, and with nil
// when that is over, before the done functions that had to wait. What is over at once,
// as a file that could be built anew, is not worth a call. If there is trouble now, f is
// called soon. The calls come from the store's goroutine like those of done
// functions, one at a time, and should only pass the news on, too. A disk that hangs
// refuses nothing and is not told of.
func (s *Store) OnTrouble(f func(error)) {
	s.mu.Lock()
	s.tell = append(s.tell, &watcher{f: f})
	s.mu.Unlock()
	s.nudge()
}

// tellTrouble tells who does not know yet whether there is trouble.
func (s *Store) tellTrouble() {
	s.mu.Lock()
	err, watchers := s.err, s.tell
	s.mu.Unlock()
	for _, w := range watchers {
		if bad := err != nil; bad != w.bad {
			w.bad = bad
			w.f(err)
		}
	}
}

// Sync returns when everything Put so far is on disk, or with an error when ctx
// ends or the store closes before that.
func (s *Store) Sync(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	committed := make(chan error, 1)
	s.await(0, ack{done: func(err error) { committed <- err }})
	s.mu.Unlock()
	select {
	case err := <-committed:
		return err
	case <-ctx.Done():
		if err := s.Trouble(); err != nil {
			return fmt.Errorf("store: sync: %w (%w)", ctx.Err(), err)
		}
		return fmt.Errorf("store: sync: %w", ctx.Err())
	}
}

// Close commits what waits and lets the folder go. If the disk refuses it tries
// once to write a new file; the error says that this failed too, and the done
// functions get it as well.
//
// A write may hang in the kernel for good. After two seconds Close leaves without
// it and says so, and the done functions, called by Close then, get that error:
// their values may be on disk or not. The folder stays locked until the kernel
// returns from the write or the process ends.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		s.nudge()
		select {
		case <-s.ended:
			s.closeErr = s.endErr
		case <-time.After(patience):
			s.closeErr = s.leave()
		}
	})
	return s.closeErr
}

// leave ends the store without its writer, which hangs.
func (s *Store) leave() error {
	s.mu.Lock()
	if s.calling {
		s.mu.Unlock()
		return fmt.Errorf("store %s: closed while a done function has not returned for %v", s.dir, patience)
	}
	err := fmt.Errorf("store %s: closed without waiting for the disk, which has hung for %v", s.dir, patience)
	left := s.waiting
	s.waiting, s.left = nil, true
	s.mu.Unlock()
	for _, a := range left {
		a.done(cmp.Or(a.err, err))
	}
	return err
}

// run is the writer.
func (s *Store) run() {
	defer close(s.ended)
	defer func() {
		if s.lock == nil {
			return
		}
		if err := s.lock.Close(); err != nil && s.endErr == nil {
			s.endErr = fmt.Errorf("store: unlock %s: %w", s.dir, err)
		}
	}()
	s.look = time.Now().Add(lookEvery)
	for {
		s.mu.Lock()
		due, closing := s.due, s.closing
		s.mu.Unlock()
		if closing {
			s.finish()
			return
		}
		s.tellTrouble()
		wake := s.look
		if s.file == nil {
			due, wake = s.retry, s.retry // sooner would only wear out what is already in trouble
		} else if !due.IsZero() && due.Before(wake) {
			wake = due
		}
		left := time.Until(wake)
		switch {
		case left <= 0 && wake.Equal(due):
			s.write()
		case left <= 0:
			s.lookForFile()
		case s.next != nil:
			s.compact()
		default:
			select {
			case <-time.After(left):
			case <-s.wake:
			}
		}
	}
}

// lookForFile looks whether the file still has its name. A stat writes nothing.
func (s *Store) lookForFile() {
	s.look = time.Now().Add(lookEvery)
	if err := s.file.gone(s.dir); err != nil {
		s.lose(err)
		s.rewrite()
	}
}

// lose gives the file up, and what was to replace it.
func (s *Store) lose(err error) {
	s.abandon()
	s.file.f.Close()
	s.file = nil
	s.missing = errors.Is(err, errGone)
	s.fail(err)
}

// write commits everything that waits, to the file or else to a new one.
func (s *Store) write() {
	if s.file != nil {
		acks, fits, err := s.append()
		if fits && err == nil {
			s.acknowledge(acks)
			if s.next != nil {
				s.compact() // else the commits of a busy house would never let it end
			}
			return
		}
		if err != nil {
			s.lose(err)
		} else {
			s.file.f.Close()
			s.file = nil
		}
	}
	s.rewrite()
}

// takeDirty hands out what changed since the last time as records, nil values for
// what was deleted, and forgets what came and went. s.mu is held. The values are
// turned into bytes without it, for none is ever changed in place.
func (s *Store) takeDirty() {
	s.due = time.Time{}
	s.commit++
	s.batch = s.batch[:0]
	for _, k := range s.dirty {
		e := s.entries[k]
		e.dirty = false
		if e.gone {
			delete(s.entries, k)
			if !e.onDisk {
				continue // came and went between two commits
			}
		}
		e.onDisk = true
		s.batch = append(s.batch, Record{k.kind, k.key, e.value})
	}
	s.dirty, s.sweepAt = s.dirty[:0], firstSweep
}

// letGo keeps the memory for the next commit, unless this was a rare big one.
func (s *Store) letGo() {
	clear(s.batch)
	if cap(s.buf) > 1<<20 || cap(s.batch) > 1<<14 {
		s.batch, s.buf = nil, nil
	}
}

// append writes the changes to the end of the file, which may grow. It does not
// fit if a new file is the better place for them.
func (s *Store) append() (acks int, fits bool, err error) {
	s.mu.Lock()
	acks = len(s.waiting)
	s.takeDirty()
	live := s.live
	s.mu.Unlock()
	defer s.letGo()
	if len(s.batch) == 0 {
		return acks, true, s.file.gone(s.dir)
	}
	s.buf = s.buf[:0]
	for i, r := range s.batch {
		flags := deletion(r)
		if i < len(s.batch)-1 {
			flags |= more
		}
		s.buf = appendRecord(s.buf, s.file.mark, s.commit, flags, r)
	}
	n := int64(len(s.buf))
	if n > s.file.room() {
		if s.next == nil && live <= s.file.size/2 {
			if live <= s.step {
				return acks, false, nil
			}
			s.beginCompaction(live)
		}
		if err := s.file.grow(n); err != nil {
			return acks, true, fmt.Errorf("grow %s: %w", logName, err)
		}
	}
	if err := s.file.append(s.buf); err != nil {
		return acks, true, fmt.Errorf("write %s: %w", logName, err)
	}
	if s.next != nil {
		for _, r := range s.batch {
			s.next.since[id{r.Kind, r.Key}] = struct{}{}
		}
	}
	return acks, true, s.file.gone(s.dir)
}

// beginCompaction begins a new file with what is in the old one, the commit under
// way included. If the disk will not have two files, the old one has to do until
// it is full again.
func (s *Store) beginCompaction(live int64) {
	file, err := beginLog(s.fs, s.dir, s.first, live)
	if err != nil {
		s.log.Warn("store: compact", "dir", s.dir, "err", err)
		return
	}
	s.next = &compaction{file: file, since: map[id]struct{}{}}
	s.mu.Lock()
	s.next.todo = make([]Record, 0, len(s.entries))
	for k, e := range s.entries {
		if !e.dirty { // a later commit brings it
			s.next.todo = append(s.next.todo, Record{k.kind, k.key, e.value})
		}
	}
	s.mu.Unlock()
}

// abandon gives the compaction up, if there is one.
func (s *Store) abandon() {
	if s.next != nil {
		s.next.file.drop(s.fs, s.dir)
		s.next = nil
	}
}

// compact takes one step of the compaction. The last one is a commit, too.
func (s *Store) compact() {
	c := s.next
	// Were each step smaller than each commit, it would never catch up.
	limit := max(s.step, 2*int64(len(s.buf)))
	last, err := false, error(nil)
	switch {
	case len(c.todo) > 0:
		err = c.add(limit, s.commit)
	case c.filled < c.file.size:
		from := max(c.filled, c.file.end)
		c.filled = min(c.file.size, from+limit)
		err = c.file.zero(from, c.filled)
	default:
		s.mu.Lock()
		var size int64
		for k := range c.since {
			r := Record{Kind: k.kind, Key: k.key}
			if e := s.entries[k]; e != nil {
				r.Value = e.value
			}
			c.todo = append(c.todo, r)
			size += recordSize(r.Key, r.Value)
		}
		s.mu.Unlock()
		clear(c.since)
		last = size <= limit
	}
	if err == nil && !last {
		err = c.file.f.Sync()
	}
	if err != nil {
		// The old file is as good as it was.
		s.log.Warn("store: compact", "dir", s.dir, "err", err)
		s.abandon()
		return
	}
	if last {
		s.switchFiles()
	}
}

// add writes the next records to the new file, as many as make the limit.
func (c *compaction) add(limit int64, commit uint64) error {
	c.buf = c.buf[:0]
	for len(c.todo) > 0 && int64(len(c.buf)) < limit {
		c.buf = appendRecord(c.buf, c.file.mark, commit, deletion(c.todo[0]), c.todo[0])
		c.todo = c.todo[1:]
	}
	if n := int64(len(c.buf)); n > c.file.room() {
		if err := c.file.grow(n); err != nil {
			return err
		}
	}
	return c.file.write(c.buf)
}

// switchFiles commits what waits, to the new file, which then takes the place of the
// old one.
func (s *Store) switchFiles() {
	c := s.next
	s.mu.Lock()
	acks := len(s.waiting)
	s.takeDirty()
	s.mu.Unlock()
	c.todo = append(c.todo, s.batch...)
	s.letGo()
	err := c.add(math.MaxInt64, s.commit)
	if err == nil {
		err = c.file.takeOver(s.fs, s.dir, s.commit)
	}
	if err != nil {
		s.lose(fmt.Errorf("write %s: %w", newName, err))
		s.rewrite()
		return
	}
	s.file.f.Close()
	s.file, s.next = c.file, nil
	if err := s.file.gone(s.dir); err != nil {
		s.lose(err)
		s.rewrite()
		return
	}
	s.acknowledge(acks)
}

// rewrite builds a new file from memory and switches to it. When that fails
// s.file stays nil and the writer will come back.
func (s *Store) rewrite() {
	acks, err := s.rebuild()
	if err != nil {
		s.missing = s.missing || errors.Is(err, fs.ErrNotExist)
		s.fail(err)
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		s.retry = time.Now().Add(s.pause)
		return
	}
	s.recovered()
	s.tellTrouble()
	s.acknowledge(acks)
}

func (s *Store) rebuild() (acks int, err error) {
	if s.missing {
		if err := s.regain(); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	acks = len(s.waiting)
	s.due = time.Time{}
	s.commit++
	records := make([]Record, 0, len(s.entries))
	for k, e := range s.entries {
		e.dirty, e.onDisk = false, true
		if e.gone {
			delete(s.entries, k)
			continue
		}
		records = append(records, Record{k.kind, k.key, e.value})
	}
	s.dirty, s.sweepAt = s.dirty[:0], firstSweep
	live := s.live
	s.mu.Unlock()

	file, err := createLog(s.fs, s.dir, s.first, records, live, s.commit)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", newName, err)
	}
	if err := file.gone(s.dir); err != nil {
		file.f.Close()
		return 0, err
	}
	s.file = file
	return acks, nil
}

// regain makes the folder again, if it is gone, and locks it: the lock is on the old
// one, if it was another. Should another hub have come meanwhile, its file is not
// ours to replace.
func (s *Store) regain() error {
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	lock, err := s.fs.Lock(filepath.Join(s.dir, lockName))
	if err != nil {
		return err
	}
	s.lock, s.missing = lock, false
	return nil
}

// acknowledge calls the first n done functions, whose records are on disk now.
func (s *Store) acknowledge(n int) {
	s.mu.Lock()
	if s.left {
		n = 0
	}
	done := s.waiting[:n:n]
	if s.waiting = s.waiting[n:]; len(s.waiting) == 0 {
		s.waiting = nil // with the memory of the functions
	}
	s.calling = true
	s.mu.Unlock()
	for _, a := range done {
		a.done(a.err)
	}
	s.mu.Lock()
	s.calling = false
	s.mu.Unlock()
}

// fail notes that the disk refuses. It logs only the first of a row.
func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.err == nil
	s.err = err
	s.mu.Unlock()
	if first {
		s.since = time.Now()
		s.log.Error("store: the disk refuses, keeping everything in memory and trying again", "dir", s.dir, "err", err)
	}
}

func (s *Store) recovered() {
	s.mu.Lock()
	was := s.err
	s.err = nil
	s.mu.Unlock()
	s.pause = 0
	if was != nil {
		s.log.Info("store: the disk takes everything again", "dir", s.dir, "after", time.Since(s.since).Round(time.Millisecond))
	}
}

// finish is the writer's last act: one attempt to commit what is left.
func (s *Store) finish() {
	s.mu.Lock()
	pending, left := len(s.dirty)+len(s.waiting) > 0, s.left
	s.mu.Unlock()
	if left {
		s.abandon()
		if s.file != nil {
			s.file.f.Close() // Close has told everyone already
		}
		return
	}
	if s.file != nil {
		if err := s.file.gone(s.dir); err != nil {
			s.lose(err)
		}
	}
	if pending || s.file == nil {
		s.write()
	}
	s.abandon()
	if s.file == nil {
		s.endErr = fmt.Errorf("store %s: closed without its newest values on disk: %w", s.dir, s.Trouble())
	} else {
		if err := s.file.seal(s.commit); err != nil {
			// Nothing is lost. The next start will see that there is no seal.
			s.log.Warn("store: seal", "dir", s.dir, "err", err)
		}
		s.file.f.Close()
	}
	s.mu.Lock()
	unwritten := s.waiting
	s.waiting, s.calling = nil, true
	s.mu.Unlock()
	for _, a := range unwritten {
		a.done(cmp.Or(a.err, s.endErr))
	}
}
