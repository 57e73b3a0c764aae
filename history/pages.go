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
	fileHeader = 100
	leafPage   = 13
	leafHeader = 8
)

// A foundRow is one in a page.
type foundRow struct {
	row         // its data is good until the next one
	table table // to which its sum says that it belongs
	at    int64 // where in the file its data is
}

// tableOf is the table in which a row is good.
func tableOf(id int64, data []byte) (table, bool) {
	for _, t := range []table{tableChunk, tableDay} {
		if _, err := unsealed(t, id, data); err == nil {
			return t, true
		}
	}
	return "", false
}

// rowsIn goes through the pages of a SQLite file and gives each row that is good by its own
// sum, whatever the rest of the file looks like: neither the header is looked at nor the
// schema, nor the pages that lead to the leaves. It gives rows in the order of the pages, and
// those of pages that are free by now as well. A row that a leaf has and that is broken has no
// table, and no id if that can't be read. A stretch that can't be read is an error and a row with nothing
// but its place; reading goes on behind it.
func rowsIn(f io.ReaderAt, size int64) iter.Seq2[foundRow, error] {
	return func(yield func(foundRow, error) bool) {
		block := make([]byte, 64*pageSize)
		for at := int64(0); at < size; at += int64(len(block)) {
			b := block[:min(size-at, int64(len(block)))]
			if n, err := f.ReadAt(b, at); n == len(b) {
				for i := 0; i < len(b); i += pageSize {
					if !rowsOf(b[i:min(i+pageSize, len(b))], at+int64(i), yield) {
						return
					}
				}
			} else if !pageByPage(f, b, at, err, yield) {
				return
			}
		}
	}
}

// pageByPage reads a block in which something can't be read.
func pageByPage(f io.ReaderAt, b []byte, at int64, err error, yield func(foundRow, error) bool) bool {
	for i := 0; i < len(b); i += pageSize {
		page := b[i:min(i+pageSize, len(b))]
		n, err2 := f.ReadAt(page, at+int64(i))
		if n < len(page) {
			if err2 == nil {
				err2 = err
			}
			if !yield(foundRow{at: at + int64(i)}, err2) {
				return false
			}
		}
		if !rowsOf(page[:n], at+int64(i), yield) {
			return false
		}
	}
	return true
}

// rowsOf gives the rows of one page that begins at a place of the file. What the page says of
// itself is not needed for that: neither that it is a leaf nor how many cells it has, since no
// other page has numbers in that place which lead to something with a right sum. So a bit that
// flips in the head of a page costs nothing, and one among the numbers a single row.
func rowsOf(page []byte, at int64, yield func(foundRow, error) bool) bool {
	list := leafHeader
	if at == 0 {
		list += fileHeader
	}
	listed := 0                                                           // where the list ends, by what a leaf says of itself
	if at > 0 && len(page) >= list && page[list-leafHeader] == leafPage { // the first page has no rows of ours
		listed = list + 2*int(binary.BigEndian.Uint16(page[list-leafHeader+3:]))
	}
	first := len(page) // of the cells found; the list ends before it
	for ; list+2 <= first; list += 2 {
		cell := int(binary.BigEndian.Uint16(page[list:]))
		id, from, to, ok := readCell(page, cell)
		var t table
		if ok {
			t, ok = tableOf(id, page[from:to])
		}
		if !ok {
			if list < listed && !yield(foundRow{row: row{id: id}, at: at + int64(cell)}, nil) {
				return false
			}
			continue
		}
		first = min(first, cell)
		if !yield(foundRow{row{id, page[from:to]}, t, at + int64(from)}, nil) {
			return false
		}
	}
	return true
}

// rowsInJournal is rowsIn for the journal of a file, in which SQLite keeps the pages as they were
// before the commit that is under way: a header, as long as a sector of the disk, and then for each
// page its number, its content and a sum, over and over. Each page so begins 4 bytes behind a multiple of 8.
func rowsInJournal(b []byte) iter.Seq[foundRow] {
	return func(yield func(foundRow) bool) {
		each := func(r foundRow, _ error) bool { return yield(r) }
		for at := 4; at < len(b); at += 8 {
			if b[at] == leafPage && !rowsOf(b[at:min(at+pageSize, len(b))], int64(at), each) {
				return
			}
		}
	}
}

// readCell reads what may be a cell of ours at a place of a page, and says where in the page
// its data is.
func readCell(page []byte, at int) (id int64, from, to int, ok bool) {
	if at < leafHeader || at >= len(page) {
		return 0, 0, 0, false
	}
	length, n := varint(page[at:])
	if n == 0 || length > pageSize {
		return 0, 0, 0, false
	}
	key, m := varint(page[at+n:])
	if m == 0 || key > 1<<63-1 {
		return 0, 0, 0, false
	}
	from = at + n + m
	to = from + int(length)
	if to > len(page) || length < 3 || page[from+1] != 0 {
		return 0, 0, 0, false
	}
	kind, n := varint(page[from+2 : to])
	if n == 0 || int(page[from]) != 2+n || kind < 12 || kind%2 != 0 {
		return 0, 0, 0, false
	}
	from += 2 + n
	return int64(key), from, to, uint64(to-from) == (kind-12)/2
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
