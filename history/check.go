package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// What the first page of a SQLite file says of the whole, and what a page of a tree
// that leads to others looks like (sections 1.3 "The Database Header", 1.5 "The
// Freelist" and 1.6 of the format).
const (
	headPages    = 28 // u32: how many pages there are
	headFree     = 32 // u32: the first page that lists free ones
	headFreeSize = 36 // u32: how many are free, with those that list them
	headVacuum   = 52 // u32: not 0 in a file with pages of a kind that ours has not

	innerPage   = 5  // u8 0; u16 3: how many cells; u32 8: the last child
	innerHeader = 12 // u16 for each cell, where it is; a cell is u32 child, varint highest id in it

	lockPage = 1<<30/pageSize + 1 // never used by SQLite
)

// checkPages is an error if a SQLite file of so many pages does not account for each of
// them once: as the page of the schema, as a page of one of the trees that begin at roots,
// or as a free one. A page that counts twice, or that is free and is not, would be
// overwritten sooner or later with what does not belong there, so this is looked at before
// the first write of a hub's life. It reads no leaves, which is a page of some hundred.
func checkPages(count uint32, roots []uint32, page func(n uint32) ([]byte, error)) error {
	first, err := page(1)
	if err != nil {
		return err
	}
	if first[fileHeader] != leafPage || binary.BigEndian.Uint32(first[headVacuum:]) != 0 {
		return fmt.Errorf("page 1 is not as Hearth makes it")
	}
	c := checker{page: page, seen: make([]uint64, count/64+1), count: count}
	if err := c.take(1); err != nil {
		return err
	}
	for _, root := range roots {
		if err := c.tree(root); err != nil {
			return err
		}
	}
	if err := c.free(binary.BigEndian.Uint32(first[headFree:]), binary.BigEndian.Uint32(first[headFreeSize:])); err != nil {
		return err
	}
	if count >= lockPage {
		c.taken++
	}
	if c.taken != count {
		return fmt.Errorf("%d of %d pages belong nowhere", count-c.taken, count)
	}
	return nil
}

type checker struct {
	page  func(n uint32) ([]byte, error)
	seen  []uint64 // a bit for each page
	taken uint32
	count uint32
}

func (c *checker) take(n uint32) error {
	if n == 0 || n > c.count || n == lockPage {
		return fmt.Errorf("page %d is used, of %d", n, c.count)
	}
	if c.seen[n/64]&(1<<(n%64)) != 0 {
		return fmt.Errorf("page %d is used twice", n)
	}
	c.seen[n/64] |= 1 << (n % 64)
	c.taken++
	return nil
}

// tree goes through the tree that begins at a page. All of its leaves are equally deep.
func (c *checker) tree(root uint32) error {
	depth := 0
	for n := root; ; depth++ {
		p, err := c.page(n)
		if err != nil {
			return err
		}
		if p[0] == leafPage {
			break
		}
		children, err := children(n, p)
		if err != nil {
			return err
		}
		if depth > 20 {
			return fmt.Errorf("the tree from page %d on has no end", root)
		}
		n = children[0]
	}
	return c.level(root, depth)
}

func (c *checker) level(n uint32, depth int) error {
	if err := c.take(n); err != nil || depth == 0 {
		return err
	}
	p, err := c.page(n)
	if err != nil {
		return err
	}
	all, err := children(n, p)
	if err != nil {
		return err
	}
	for _, child := range all {
		if err := c.level(child, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// children are the pages to which an inner one leads.
func children(n uint32, p []byte) (all []uint32, err error) {
	cells := int(binary.BigEndian.Uint16(p[3:]))
	if p[0] != innerPage || innerHeader+2*cells > len(p) {
		return nil, fmt.Errorf("page %d does not lead to others as it should", n)
	}
	last := uint64(0)
	for i := range cells {
		at := int(binary.BigEndian.Uint16(p[innerHeader+2*i:]))
		if at < innerHeader+2*cells || at+5 > len(p) {
			return nil, fmt.Errorf("page %d: child %d is not in it", n, i)
		}
		id, length := varint(p[at+4:])
		if length == 0 || id < last || id > 1<<63-1 {
			return nil, fmt.Errorf("page %d: child %d is not in its order", n, i)
		}
		last = id + 1
		all = append(all, binary.BigEndian.Uint32(p[at:]))
	}
	return append(all, binary.BigEndian.Uint32(p[8:])), nil
}

// free goes through the list of free pages: each page of it names the next of the list, how
// many free ones it lists, and these.
func (c *checker) free(n, size uint32) error {
	before := c.taken
	for n != 0 {
		if err := c.take(n); err != nil {
			return err
		}
		p, err := c.page(n)
		if err != nil {
			return err
		}
		listed := binary.BigEndian.Uint32(p[4:])
		if listed > pageSize/4-2 {
			return fmt.Errorf("page %d lists %d free ones", n, listed)
		}
		for i := range listed {
			if err := c.take(binary.BigEndian.Uint32(p[8+4*i:])); err != nil {
				return err
			}
		}
		n = binary.BigEndian.Uint32(p)
	}
	if c.taken-before != size {
		return fmt.Errorf("%d pages are free, not %d", c.taken-before, size)
	}
	return nil
}

// errPages is of a file whose pages do not hold together as SQLite's should.
var errPages = errors.New("history.db is damaged")

// check looks whether the file is what begin makes of it, and accounts for each of its pages.
func (d *disk) check() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	var roots []uint32
	rows, err := d.db.Query("SELECT name, rootpage, sql FROM sqlite_schema ORDER BY name")
	if err != nil {
		return err
	}
	defer rows.Close()
	for i := 0; rows.Next(); i++ {
		var name, text string
		var root uint32
		if err := rows.Scan(&name, &root, &text); err != nil {
			return fmt.Errorf("%w: %v", errPages, err)
		}
		if i >= len(tables) || name != string(tables[i]) || text != tables[i].schema() {
			return fmt.Errorf("%w: it has a table %.50q that is not Hearth's", errPages, text)
		}
		roots = append(roots, root)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(roots) != len(tables) {
		return fmt.Errorf("%w: it has %d tables of %d", errPages, len(roots), len(tables))
	}
	var count, size int64
	if err := d.db.QueryRow("SELECT (SELECT page_count FROM pragma_page_count), (SELECT page_size FROM pragma_page_size)").Scan(&count, &size); err != nil {
		return err
	}
	if size != pageSize || count*size != info.Size() {
		return fmt.Errorf("%w: it has %d bytes, but says that it has %d pages of %d", errPages, info.Size(), count, size)
	}
	read, err := d.db.Prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?")
	if err != nil {
		return err
	}
	defer read.Close()
	var failed error
	err = checkPages(uint32(count), roots, func(n uint32) (p []byte, err error) {
		failed = read.QueryRow(n).Scan(&p)
		return p, failed
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return fmt.Errorf("%w: %v", errPages, err)
	}
	return nil
}
