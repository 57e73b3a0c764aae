package store

import "encoding/binary"

// HeaderSum is the sum a header ought to have.
func HeaderSum(h []byte) uint32 { return headerSum(h) }

// Reseal makes the sums of everything that looks like a header or a record right.
func Reseal(b []byte) {
	for at := 0; at < headerSize && len(b) >= at+headerBytes; at += headerCopy {
		binary.LittleEndian.PutUint32(b[at+12:], headerSum(b[at:]))
	}
	for at := headerSize; at < len(b); {
		h, ok := headAt(b[at:])
		if !ok {
			return
		}
		r := b[at:]
		binary.LittleEndian.PutUint32(r[8:], sum(r[16:h.size()]))
		binary.LittleEndian.PutUint32(r[12:], sum(r[16:recordHead+h.key]))
		at += int(h.size())
	}
}
