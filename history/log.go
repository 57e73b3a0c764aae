package history

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// LogFile is the name of the file, beside File, in which the newest segments are
// until a day is over or it is full.
//
// A database writes each page that it changes twice, and the file system its own notes
// of a file that grows: that would be half of all that is written. So a segment goes to a
// file that has its full size from the start, in blocks of which each is readable
// alone, and once a day to the database with all others of that day.
//
// A block has the size of a page. It begins with a mark and the number of the segment;
// then come rows: the lower bits of the id (see rowID), the length of the data, the
// data. A checksum ends it. Blocks of which the database has the segments already
// are free.
const LogFile = "history.log"

const (
	logSize    = 4 << 20
	blockMark  = 0x48654c31 // "HeL1"
	blockHead  = 4 + 8
	blockSpace = pageSize - blockHead - sumSize
)

// errLogFull says that the log must be emptied into the database first.
var errLogFull = errors.New("the log is full")

// A recent is the log. One goroutine writes it, under the lock of disk.
type recent struct {
	path string
	file *os.File
	next int64    // where the next block goes
	rows []logRow // in the order of their ids

	damaged int // blocks that were found so
}

type logRow struct {
	id   int64
	from int64 // of the data, in the file
	n    int
}

// open opens the log and finds in it the segments after one.
func (l *recent) open(after uint64) error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	l.file, l.next, l.rows = f, 0, nil
	defer l.uncache()
	info, err := f.Stat()
	if err == nil && info.Size() < logSize {
		err = l.grow(info.Size())
	}
	if err != nil {
		l.close()
		return err
	}
	if err := l.look(after); err != nil {
		l.close()
		return err
	}
	return nil
}

// look finds what is in the file.
func (l *recent) look(after uint64) error {
	block := make([]byte, pageSize)
	for at := int64(0); at < logSize; at += pageSize {
		_, err := l.file.ReadAt(block, at)
		switch {
		case err == nil && l.note(block, at, after):
			l.next = at + pageSize
		case err != nil, isDamaged(block, after):
			l.damaged++
			l.file.WriteAt(make([]byte, pageSize), at) // so that it is told once; if it can't be written, add finds out
		}
	}
	l.sort()
	return nil
}

// grow fills the file with zeros: room that was only promised would be noted by the
// file system block by block.
func (l *recent) grow(from int64) error {
	zeros := make([]byte, 64<<10)
	for at := from; at < logSize; at += int64(len(zeros)) {
		if _, err := l.file.WriteAt(zeros[:min(int64(len(zeros)), logSize-at)], at); err != nil {
			return err
		}
	}
	return l.file.Sync()
}

// uncache lets the kernel forget the file: pages that it has in large pieces it counts,
// and may write, in large pieces too.
func (l *recent) uncache() {
	if l.file != nil {
		unix.Fadvise(int(l.file.Fd()), 0, 0, unix.FADV_DONTNEED)
		unix.Fadvise(int(l.file.Fd()), 0, 0, unix.FADV_RANDOM)
	}
}

func (l *recent) close() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// isDamaged reports whether a block that is not as it should be once was, with rows that are wanted; or
// the power failed while it was written, which can't be told from that.
func isDamaged(block []byte, after uint64) bool {
	if bytes.Count(block, []byte{0}) == len(block) {
		return false
	}
	segment := binary.BigEndian.Uint64(block[4:])
	return binary.BigEndian.Uint32(block) != blockMark || segment > after
}

// note notes the rows of a block, if they are wanted.
func (l *recent) note(block []byte, at int64, after uint64) bool {
	body := block[:pageSize-sumSize]
	segment := binary.BigEndian.Uint64(block[4:])
	if binary.BigEndian.Uint32(block) != blockMark || segment <= after || segment > maxSegment ||
		binary.BigEndian.Uint32(block[len(body):]) != crc32.Checksum(body, castagnoli) {
		return false
	}
	r := reader{b: body[blockHead:]}
	for len(r.b) > 0 && r.b[0] != 0 {
		low := r.uint() - 1
		data := r.bytes()
		if r.bad {
			break
		}
		l.rows = append(l.rows, logRow{int64(segment<<(partBits+seriesBits) | low), at + int64(len(body)-len(r.b)-len(data)), len(data)})
	}
	return true
}

// sort puts the rows in order. Of what was written twice the last counts.
func (l *recent) sort() {
	slices.SortStableFunc(l.rows, func(a, b logRow) int { return cmp.Compare(a.id, b.id) })
	kept := l.rows[:0]
	for i, r := range l.rows {
		if i+1 == len(l.rows) || l.rows[i+1].id != r.id {
			kept = append(kept, r)
		}
	}
	l.rows = kept
}

// add writes the rows of a segment. After an error nobody knows what is in the
// file, so that is looked at anew.
func (l *recent) add(segment uint64, rows []row, after uint64) error {
	if l.file == nil {
		if err := l.open(after); err != nil {
			return err
		}
	}
	var blocks, block []byte
	end := func() {
		block = append(block, make([]byte, pageSize-sumSize-len(block))...)
		block = binary.BigEndian.AppendUint32(block, crc32.Checksum(block, castagnoli))
		blocks = append(blocks, block...)
		block = block[:0]
	}
	for _, r := range rows {
		low := uint64(r.id)&(1<<(partBits+seriesBits)-1) + 1 // 0 ends a block
		var head [2 * binary.MaxVarintLen64]byte
		n := binary.PutUvarint(head[:], low)
		n += binary.PutUvarint(head[n:], uint64(len(r.data)))
		if len(block) > 0 && len(block)+n+len(r.data) > blockHead+blockSpace {
			end()
		}
		if len(block) == 0 {
			block = binary.BigEndian.AppendUint32(block, blockMark)
			block = binary.BigEndian.AppendUint64(block, segment)
		}
		block = append(append(block, head[:n]...), r.data...)
	}
	if len(block) > 0 {
		end()
	}
	if l.next+int64(len(blocks)) > logSize {
		return errLogFull
	}
	_, err := l.file.WriteAt(blocks, l.next)
	if err == nil {
		err = unix.Fdatasync(int(l.file.Fd()))
	}
	if err != nil {
		l.close()
		return fmt.Errorf("%s: %w", LogFile, err)
	}
	for at := 0; at < len(blocks); at += pageSize {
		l.note(blocks[at:at+pageSize], l.next+int64(at), after)
	}
	l.next += int64(len(blocks))
	l.sort()
	return nil
}

// find is where the rows from one id to another are, both included.
func (l *recent) find(from, to int64) []logRow {
	by := func(r logRow, id int64) int { return cmp.Compare(r.id, id) }
	i, _ := slices.BinarySearchFunc(l.rows, from, by)
	n, found := slices.BinarySearchFunc(l.rows[i:], to, by)
	if found {
		n++
	}
	return l.rows[i : i+n]
}

// some are the rows from one id to another, both included, with their checksums.
func (l *recent) some(from, to int64) (rows []row, err error) {
	for _, r := range l.find(from, to) {
		if l.file == nil {
			return rows, fs.ErrClosed
		}
		data := make([]byte, r.n)
		if _, err := l.file.ReadAt(data, r.from); err != nil {
			return rows, err
		}
		rows = append(rows, row{r.id, data})
	}
	return rows, nil
}

// empty forgets what the database has now.
func (l *recent) empty() { l.next, l.rows = 0, nil }

// last is the last segment in the log; 0 if there is none.
func (l *recent) last() uint64 {
	if len(l.rows) == 0 {
		return 0
	}
	segment, _, _ := splitID(l.rows[len(l.rows)-1].id)
	return segment
}
