package store

import "encoding/binary"

// WithFirst makes new files of this size, so that a test meets the end of one
// soon and a disk in memory is small.
func (o Options) WithFirst(size int64) Options {
	o.first = size
	return o
}

// WithStep makes a compaction write this much at once, and one of no more live bytes is
// done in one go.
func (o Options) WithStep(size int64) Options {
	o.step = size
	return o
}

// Parse reads a log and says how many records and damaged stretches it holds.
func Parse(b []byte) (records, damage int, err error) {
	found, err := parse(b)
	if err != nil {
		return 0, 0, err
	}
	return len(found.records), len(found.damage), nil
}

// Held is how many keys the store has in memory, with deleted ones.
func (s *Store) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// CraftedLog is a log of n bytes from someone who knows its mark: everywhere a
// sound head that claims to be followed by size bytes; or only the mark.
func CraftedLog(n int, size uint32) []byte {
	b := appendHeader(make([]byte, 0, n), 7)
	for len(b)+recordHead+4 <= n {
		if size == 0 {
			b = binary.LittleEndian.AppendUint64(b, 7)
			continue
		}
		r := appendRecord(nil, 7, 1, 0, Record{Kind: Retained})
		binary.LittleEndian.PutUint32(r[24:], size)
		binary.LittleEndian.PutUint32(r[8:], sum(r[12:recordHead]))
		b = append(b, r...)
	}
	return b
}

// HeaderSum is the sum a header ought to have.
func HeaderSum(h []byte) uint32 { return headerSum(h) }

// Reseal makes the sums of everything that looks like a header or a record right.
func Reseal(b []byte) {
	for at := 0; at < headerSize && len(b) >= at+headerBytes; at += headerCopy {
		binary.LittleEndian.PutUint32(b[at+12:], headerSum(b[at:]))
	}
	for at := int64(headerSize); int64(len(b)) >= at+recordHead; {
		r := b[at:]
		key, value := int64(binary.LittleEndian.Uint32(r[20:])), int64(binary.LittleEndian.Uint32(r[24:]))
		size := head{key: key, value: value}.size()
		if size > int64(len(r)) {
			return
		}
		fillSums(r[:size], int(key))
		at += size
	}
}
