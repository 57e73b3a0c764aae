package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// The format of hearth.log, version 1; integers are little-endian.
//
//	0     header, and the same again at 2048
//	        0  "hearthlg"
//	        8  u32 version
//	       12  u32 sum of bytes 0-11 and 16-23
//	       16  u64 mark
//	4096  records one after another, each padded with zeros to 8 bytes
//	        0  u64 mark
//	        8  u32 sum of bytes 12 to 35, the head
//	       12  u32 sum of the key
//	       16  u32 sum of the value and the padding
//	       20  u32 length of the key
//	       24  u32 length of the value
//	       28  u48 commit
//	       34  u8  kind
//	       35  u8  flags: 1 deleted, 2 seal, 4 more of the commit follows
//	       36  key, value
//	...   zeros to the end
//
// Sums are CRC-32C. The mark is drawn at random for each file: after damage the
// next record is found by it, and no payload that someone sends can pass for a
// record. The head has a sum of its own so that its lengths can be believed
// before anything they span is read: a record with a damaged value says where it
// ends, and whatever a file holds, each byte of it is looked at a few times at
// most. The sum of the key tells whose a damaged value was. A newer record of a
// key replaces an older one.
//
// All records of one commit carry its number, and one is only begun when the one
// before it has been synced. A seal, a record without key and value, is written
// when everything before it has been synced: at the end of a new file and at
// Close. So what is unreadable in front of a seal or of a later commit had once
// been on disk and is damage. What is unreadable in the last commit, with no seal
// after it, was torn by a power cut, if nothing readable follows or if a sector
// of it was never written: disks do not write in order. Of such a commit nothing
// counts, for its records belong together and nobody was told that they are there.
const (
	magic       = "hearthlg"
	version     = 1
	headerSize  = 4096
	headerCopy  = 2048
	headerBytes = 24
	recordHead  = 36
	sector      = 512
)

const (
	deleted = 1 << iota
	seal
	more
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// recordSize is how many bytes a record takes in the file.
func recordSize(key string, value []byte) int64 {
	return (recordHead + int64(len(key)) + int64(len(value)) + 7) &^ 7
}

// deletion is the flag of a record that has no value.
func deletion(r Record) byte {
	if r.Value == nil {
		return deleted
	}
	return 0
}

func appendRecord(b []byte, mark, commit uint64, flags byte, r Record) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint64(b, mark)
	b = append(b, make([]byte, 12)...) // the sums, when the rest is known
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Key)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Value)))
	b = binary.LittleEndian.AppendUint64(b, commit&(1<<48-1)|uint64(r.Kind)<<48|uint64(flags)<<56)
	b = append(b, r.Key...)
	b = append(b, r.Value...)
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	fillSums(b[start:], len(r.Key))
	return b
}

// fillSums sets the sums of the record that b is.
func fillSums(b []byte, key int) {
	binary.LittleEndian.PutUint32(b[12:], sum(b[recordHead:recordHead+key]))
	binary.LittleEndian.PutUint32(b[16:], sum(b[recordHead+key:]))
	binary.LittleEndian.PutUint32(b[8:], sum(b[12:recordHead]))
}

// A head is what the first 36 bytes of a record say.
type head struct {
	marked           bool // begins with the file's mark
	commit           uint64
	kind             Kind
	flags            byte
	key, value       int64 // lengths
	keySum, valueSum uint32
}

// headAt reads the head at the start of b; ok if it is sound and the record fits
// into b.
func headAt(b []byte, mark uint64) (h head, ok bool) {
	if len(b) < recordHead || sum(b[12:recordHead]) != binary.LittleEndian.Uint32(b[8:]) {
		return h, false
	}
	word := binary.LittleEndian.Uint64(b[28:])
	h = head{
		marked:   binary.LittleEndian.Uint64(b) == mark,
		keySum:   binary.LittleEndian.Uint32(b[12:]),
		valueSum: binary.LittleEndian.Uint32(b[16:]),
		key:      int64(binary.LittleEndian.Uint32(b[20:])),
		value:    int64(binary.LittleEndian.Uint32(b[24:])),
		commit:   word & (1<<48 - 1),
		kind:     Kind(word >> 48),
		flags:    byte(word >> 56),
	}
	return h, h.size() <= int64(len(b))
}

func (h head) size() int64 { return (recordHead + h.key + h.value + 7) &^ 7 }

func appendHeader(b []byte, mark uint64) []byte {
	h := make([]byte, headerCopy)
	copy(h, magic)
	binary.LittleEndian.PutUint32(h[8:], version)
	binary.LittleEndian.PutUint64(h[16:], mark)
	binary.LittleEndian.PutUint32(h[12:], headerSum(h))
	b = append(b, h...)
	return append(b, h...)
}

func headerSum(h []byte) uint32 {
	return crc32.Update(sum(h[:12]), castagnoli, h[16:headerBytes])
}

// Damage is a stretch of the file that was on disk once and is unreadable now.
type Damage struct {
	Offset, Length int64
	Kind           Kind   // whose record it was; zero if that is unreadable too,
	Key            string // or if it is the file's header, which exists twice
}

func (d Damage) String() string {
	if d.Kind == 0 {
		return fmt.Sprintf("%d bytes at %d", d.Length, d.Offset)
	}
	return fmt.Sprintf("%s, %d bytes at %d", describe(d.Kind, d.Key), d.Length, d.Offset)
}

// found is what a log held when it was opened.
type found struct {
	records []Record // oldest first; Value nil is a deletion; they share the memory of the file's content
	damage  []Damage
	commit  uint64 // the last one
	end     int64  // where the next record goes
	size    int64  // of the file
	sealed  bool   // closed properly and fit to be written on: nothing but zeros after the seal
	mark    uint64
}

// parse reads a whole log. Its error means that the bytes are not one of ours.
func parse(b []byte) (*found, error) {
	fd := &found{end: headerSize}
	if err := fd.header(b); err != nil {
		return nil, err
	}

	// A hole is a stretch without a readable record.
	type hole struct {
		Damage
		zero bool   // a sector of it was never written
		next uint64 // commit of the first record after it; zero: none follows
	}
	var holes []hole
	open, lastSeal := 0, int64(0) // holes from open on wait for a record after them
	begun, unfinished := 0, false // the last commit's records, and whether more of it should follow
	used := usedBytes(b)
	fd.records = make([]Record, 0, max(0, used-headerSize)/128) // a guess
	for at := int64(headerSize); at < used; {
		h, ok := headAt(b[at:], fd.mark)
		d := Damage{Offset: at}
		if ok {
			d.Length = h.size()
			padded := b[at+recordHead+h.key : at+h.size()]
			key, value := b[at+recordHead:at+recordHead+h.key], padded[:h.value:h.value]
			keyOK := sum(key) == h.keySum
			if h.marked && keyOK && sum(padded) == h.valueSum {
				if h.commit > fd.commit {
					begun = len(fd.records)
				}
				fd.commit = max(fd.commit, h.commit)
				fd.sealed = h.flags&seal != 0
				unfinished = h.flags&more != 0
				switch {
				case fd.sealed:
					lastSeal = at
				case h.flags&deleted != 0:
					fd.records = append(fd.records, Record{h.kind, string(key), nil})
				default:
					fd.records = append(fd.records, Record{h.kind, string(key), value})
				}
				for ; open < len(holes); open++ {
					holes[open].next = h.commit
				}
				at += h.size()
				fd.end = at
				continue
			}
			if keyOK {
				d.Kind, d.Key = h.kind, string(key)
			}
		} else {
			d.Length = nextMark(b[at:], fd.mark)
		}
		zero := zeroSector(b, at, at+d.Length)
		if last := len(holes) - 1; last >= open && holes[last].zero == zero && holes[last].Kind == 0 && d.Kind == 0 {
			holes[last].Length += d.Length // one stretch, however many marks lie in it
		} else {
			holes = append(holes, hole{Damage: d, zero: zero})
		}
		at += d.Length
	}
	for _, h := range holes {
		torn := h.Offset > lastSeal && (h.next == 0 || h.next == fd.commit && h.zero)
		if !torn {
			fd.damage = append(fd.damage, h.Damage)
		}
		if h.Offset > lastSeal {
			fd.sealed = false
			if h.next == 0 && !h.zero {
				unfinished = false // it has been written, and is damaged: that costs only itself
			}
			if h.next == fd.commit && h.zero {
				unfinished = true
			}
		}
	}
	if unfinished && fd.end > lastSeal {
		fd.records = fd.records[:begun]
	}
	return fd, nil
}

// header reads either copy of it.
func (fd *found) header(b []byte) error {
	good := false
	for at := 0; at < headerSize; at += headerCopy {
		if len(b) < at+headerBytes {
			fd.damage = append(fd.damage, Damage{Offset: int64(at), Length: headerBytes})
			continue
		}
		h := b[at:]
		if string(h[:8]) != magic || binary.LittleEndian.Uint32(h[12:]) != headerSum(h) {
			fd.damage = append(fd.damage, Damage{Offset: int64(at), Length: headerBytes})
			continue
		}
		if v := binary.LittleEndian.Uint32(h[8:]); v != version {
			return fmt.Errorf("was written by a newer Hearth (format %d, this one knows %d)", v, version)
		}
		if !good {
			good, fd.mark = true, binary.LittleEndian.Uint64(h[16:])
		}
	}
	if !good {
		return fmt.Errorf("is not a log of Hearth (it begins with %q); move it away to begin a new one", b[:min(len(b), 16)])
	}
	return nil
}

// nextMark is how far it is to the next place where a record may begin.
func nextMark(b []byte, mark uint64) int64 {
	for at := 8; at+8 <= len(b); at += 8 {
		if binary.LittleEndian.Uint64(b[at:]) == mark {
			return int64(at)
		}
	}
	return int64(len(b))
}

var zeros [64 << 10]byte // never changed

func allZero(b []byte) bool {
	for part := range slices.Chunk(b, len(zeros)) {
		if !bytes.Equal(part, zeros[:len(part)]) {
			return false
		}
	}
	return true
}

// usedBytes is how long b is without the zeros at its end.
func usedBytes(b []byte) int64 {
	n := len(b)
	for n >= 4096 && allZero(b[n-4096:n]) {
		n -= 4096
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return int64(n)
}

// zeroSector says whether some sector's share of b[from:to] is all zeros.
func zeroSector(b []byte, from, to int64) bool {
	for from < to {
		end := min(to, from/sector*sector+sector)
		if allZero(b[from:end]) {
			return true
		}
		from = end
	}
	return false
}

// A logFile is the log being written. Any error of it makes it unusable.
type logFile struct {
	f      File
	mark   uint64
	end    int64 // where the next record goes
	size   int64 // filled with zeros up to here
	sealed bool
}

// openLog opens a log that exists and reads it.
func openLog(fs FS, name string) (_ *logFile, _ *found, err error) {
	f, err := fs.Open(name, os.O_RDWR)
	readOnly := errors.Is(err, syscall.EROFS)
	if readOnly {
		// So the kernel makes a file system that it found broken. What can be read
		// is worth having.
		f, err = fs.Open(name, os.O_RDONLY)
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	fd, err := readLog(f, name)
	if err != nil {
		return nil, nil, err
	}
	fd.sealed = fd.sealed && !readOnly // not to be written to
	return &logFile{f: f, mark: fd.mark, end: fd.end, size: fd.size, sealed: fd.sealed}, fd, nil
}

// readLog reads a whole log.
func readLog(f File, name string) (*found, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("%s is %d bytes long, which no log of Hearth is", name, size)
	}
	b, unread, err := readAll(f, size)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	fd, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	fd.damage, fd.size = append(fd.damage, unread...), size
	return fd, nil
}

// readAll reads a file of which the disk may refuse some pages. Those are zeros
// then, and reported; only if it refuses all of them that is an error.
func readAll(f File, size int64) (b []byte, unread []Damage, err error) {
	const page = 4096
	b = make([]byte, size)
	if _, err = f.ReadAt(b, 0); err == nil || errors.Is(err, io.EOF) {
		return b, nil, nil
	}
	pages := 0
	for at := int64(0); at < size; at += page {
		pages++
		p := b[at:min(at+page, size)]
		if _, e := f.ReadAt(p, at); e != nil && !errors.Is(e, io.EOF) {
			clear(p)
			unread = append(unread, Damage{Offset: at, Length: int64(len(p))})
		}
	}
	if len(unread) == pages {
		return nil, nil, err
	}
	return b, unread, nil
}

// growth is how much a file becomes larger at once.
const growth = 1 << 20

// nextSize is the step after size: twice that, but at most 1 MiB more.
func nextSize(size int64) int64 { return size + min(size, growth) }

// createLog makes a whole new log that holds the given records, which take live
// bytes, and puts it in the place of the old one, if any. On an error the old
// one is as it was, unless only the folder could not be synced: then either may
// be found after a power cut, and both hold all that was ever acknowledged.
func createLog(fs FS, dir string, first int64, records []Record, live int64, commit uint64) (_ *logFile, err error) {
	l, err := beginLog(fs, dir, first, live)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.drop(fs, dir)
		}
	}()
	var b []byte
	for i, r := range records {
		b = appendRecord(b, l.mark, commit, 0, r)
		if len(b) >= 64<<10 || i == len(records)-1 {
			if err := l.write(b); err != nil {
				return nil, err
			}
			b = b[:0]
		}
	}
	if err := l.zero(l.end, l.size); err != nil {
		return nil, err
	}
	return l, l.takeOver(fs, dir, commit)
}

// beginLog begins a new log beside the old one. It is of the size first, or as many
// steps larger as records of live bytes need, but not filled with zeros yet.
func beginLog(fs FS, dir string, first, live int64) (_ *logFile, err error) {
	var random [8]byte
	rand.Read(random[:])
	l := &logFile{mark: binary.LittleEndian.Uint64(random[:]) | 1, size: first}
	// A quarter must be free, lest the next commits find it full again.
	for l.size*3/4 < headerSize+live+recordHead {
		l.size = nextSize(l.size)
	}
	if l.f, err = fs.Open(filepath.Join(dir, newName), os.O_RDWR|os.O_CREATE|os.O_TRUNC); err != nil {
		return nil, err
	}
	if err = l.f.Reserve(0, l.size); err == nil {
		err = l.write(appendHeader(nil, l.mark))
	}
	if err != nil {
		l.drop(fs, dir)
		return nil, err
	}
	return l, nil
}

// drop gives a new log up, and the space back.
func (l *logFile) drop(fs FS, dir string) {
	l.f.Close()
	fs.Remove(filepath.Join(dir, newName)) // it is not there any more if the folder was the trouble
}

// takeOver brings a new log to disk, whole, and gives it the name.
func (l *logFile) takeOver(fs FS, dir string, commit uint64) error {
	if err := l.write(appendRecord(nil, l.mark, commit, seal, Record{})); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	l.sealed = true
	if err := fs.Rename(filepath.Join(dir, newName), filepath.Join(dir, logName)); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}

var errGone = errors.New("was deleted, renamed or replaced")

// gone says that the log is not what its name leads to any more.
func (l *logFile) gone(dir string) error {
	if name := filepath.Join(dir, logName); !l.f.Named(name) {
		return fmt.Errorf("%s %w", name, errGone)
	}
	return nil
}

// room is how much can be appended without growing; a seal always fits behind it.
func (l *logFile) room() int64 { return l.size - l.end - recordHead }

// grow makes room for n bytes.
func (l *logFile) grow(n int64) error {
	size := l.size
	for size-l.end-recordHead < n {
		size = nextSize(size)
	}
	if err := l.f.Reserve(l.size, size-l.size); err != nil {
		return err
	}
	if err := l.zero(l.size, size); err != nil {
		return err
	}
	l.size = size
	return nil // the sync of the commit it is for covers this too
}

// zero fills [from, to) with real writes. Space that is only reserved would have
// each commit change metadata: the extent from unwritten to written.
func (l *logFile) zero(from, to int64) error {
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if _, err := l.f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// write writes records, or the header, as one piece.
func (l *logFile) write(records []byte) error {
	l.sealed = false
	if _, err := l.f.WriteAt(records, l.end); err != nil {
		return err
	}
	l.end += int64(len(records))
	return nil
}

// append is write, and returns when they are on disk.
func (l *logFile) append(records []byte) error {
	if err := l.write(records); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// seal says that everything so far has been synced.
func (l *logFile) seal(commit uint64) error {
	if l.sealed {
		return nil
	}
	err := l.append(appendRecord(nil, l.mark, commit, seal, Record{}))
	l.sealed = err == nil
	return err
}
