package history

import (
	"encoding/binary"
	"io"
	"iter"
)

// How a SQLite file looks inside (https://www.sqlite.org/fileformat2.html, sections 1.6
// "B-tree Pages", 2.1 "Record Format" and 3 "The Rollback Journal"), as far as it takes
// to read our rows out of it: integers are big-endian, and a leaf of a table is a page of
//
//	0  u8   13
//	1  u16  first free block
//	3  u16  number of cells
//	5  u16  where the cells begin
//	7  u8   fragmented bytes
//	8  u16  for each cell, where it is
//
// after which comes free room, and the cells at the end of the page. The first page
// has all that 100 bytes later, behind the header of the file. A cell of ours is
//
//	varint  length of the record
//	varint  id
//	varint  length of the head of the record, itself included
//	varint  0: the id, which stands above
//	varint  12 + twice the length of the data
//	data
//
// and never goes on in another page, for our data is short enough.
const (
	pageSize   = 4096
	fileHeader = 100
	leafPage   = 13
	leafHeader = 8
)

// A row is what was found in a page.
type row struct {
	id   int64
	data []byte // is only good until the next row
	at   int64  // where its page begins
}

// rowsIn goes through the pages of a SQLite file and gives each row that is good by its own
// sum, whatever the rest of the file looks like: neither the header is looked at nor the
// schema, nor the pages that lead to the leaves. It gives rows in the order of the pages, and
// those of pages that are free by now as well. A stretch that can't be read is an error and a
// row with nothing but its place; reading goes on behind it.
func rowsIn(f io.ReaderAt, size int64, good func(id int64, data []byte) bool) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		block := make([]byte, 64*pageSize)
		for at := int64(0); at < size; at += int64(len(block)) {
			b := block[:min(size-at, int64(len(block)))]
			if n, err := f.ReadAt(b, at); n == len(b) {
				for i := 0; i < len(b); i += pageSize {
					if !rowsOf(b[i:min(i+pageSize, len(b))], at+int64(i), good, yield) {
						return
					}
				}
			} else if !pageByPage(f, b, at, err, good, yield) {
				return
			}
		}
	}
}

// pageByPage reads a block in which something can't be read.
func pageByPage(f io.ReaderAt, b []byte, at int64, err error, good func(int64, []byte) bool, yield func(row, error) bool) bool {
	for i := 0; i < len(b); i += pageSize {
		page := b[i:min(i+pageSize, len(b))]
		n, err2 := f.ReadAt(page, at+int64(i))
		if n < len(page) {
			if err2 == nil {
				err2 = err
			}
			if !yield(row{at: at + int64(i)}, err2) {
				return false
			}
		}
		if !rowsOf(page[:n], at+int64(i), good, yield) {
			return false
		}
	}
	return true
}

// rowsOf gives the rows of one page that begins at a place of the file. What the page says of
// itself is not needed for that: neither that it is a leaf nor how many cells it has, since no
// other page has numbers in that place which lead to something with a right sum. So a bit that
// flips in the head of a page costs nothing, and one among the numbers a single row.
func rowsOf(page []byte, at int64, good func(int64, []byte) bool, yield func(row, error) bool) bool {
	list := leafHeader
	if at == 0 {
		list += fileHeader
	}
	first := len(page) // of the cells found; the list ends before it
	for ; list+2 <= first; list += 2 {
		cell := int(binary.BigEndian.Uint16(page[list:]))
		id, data, ok := readCell(page, cell)
		if !ok || !good(id, data) {
			continue
		}
		first = min(first, cell)
		if !yield(row{id, data, at}, nil) {
			return false
		}
	}
	return true
}

// rowsInJournal is rowsIn for the journal of a file, in which SQLite keeps the pages as they were
// before the commit that is under way: a header, as long as a sector of the disk, and then for each
// page its number, its content and a sum, over and over. Each page so begins 4 bytes behind a multiple of 8.
func rowsInJournal(b []byte, good func(id int64, data []byte) bool) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for at := 4; at < len(b); at += 8 {
			if b[at] == leafPage && !rowsOf(b[at:min(at+pageSize, len(b))], int64(at), good, yield) {
				return
			}
		}
	}
}

// readCell reads what may be a cell of ours at a place of a page. The data is a part of the page.
func readCell(page []byte, at int) (id int64, data []byte, ok bool) {
	if at < leafHeader || at >= len(page) {
		return 0, nil, false
	}
	b := page[at:]
	length, n := varint(b)
	if n == 0 || length > pageSize {
		return 0, nil, false
	}
	key, m := varint(b[n:])
	if m == 0 || key > 1<<63-1 {
		return 0, nil, false
	}
	if b = b[n+m:]; uint64(len(b)) < length {
		return 0, nil, false
	}
	b = b[:length]
	if len(b) < 3 || b[1] != 0 {
		return 0, nil, false
	}
	kind, n := varint(b[2:])
	if n == 0 || int(b[0]) != 2+n || kind < 12 || kind%2 != 0 || kind > 12+2*pageSize {
		return 0, nil, false
	}
	if data = b[2+n:]; uint64(len(data)) != (kind-12)/2 {
		return 0, nil, false
	}
	return int64(key), data, true
}

// varint reads a number of SQLite's form: seven bits a byte, the highest first, and all eight
// of a ninth. n is how many bytes it has, 0 if b ends before it does.
func varint(b []byte) (v uint64, n int) {
	for i, c := range b[:min(len(b), 9)] {
		if i == 8 {
			return v<<8 | uint64(c), 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
