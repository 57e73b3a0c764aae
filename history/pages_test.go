package history

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// sqliteWith makes a file with rows of all lengths, of which some are deleted again.
func sqliteWith(t testing.TB, rows int) (name string, want map[int64][]byte) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "a.db")
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	do := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(query, err)
		}
	}
	db.SetMaxOpenConns(1)
	do("create table chunk (id integer primary key, data blob)")
	random := rand.New(rand.NewPCG(1, uint64(rows)))
	want = map[int64][]byte{}
	do("begin")
	for i := range rows {
		id := int64(i/40)<<20 | int64(i%40)<<4
		data := make([]byte, random.IntN([]int{20, 200, 3900}[random.IntN(3)]))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		want[id] = sealed(tableChunk, id, data)
		do("insert into chunk values (?, ?)", id, want[id])
	}
	do("commit")
	do("delete from chunk where id < ?", int64(rows/80)<<20)
	for id := range want {
		if id < int64(rows/80)<<20 {
			delete(want, id)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return name, want
}

// Each row that SQLite has is found without it, by its page alone.
func TestPagesAreReadWithoutSQLite(t *testing.T) {
	name, want := sqliteWith(t, 2000)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found, old := 0, 0
	seen := map[int64]bool{}
	for r, err := range rowsIn(bytes.NewReader(b), int64(len(b))) {
		switch {
		case err != nil:
			t.Fatal(err)
		case seen[r.id]:
		case want[r.id] == nil:
			old++
		case !bytes.Equal(r.data, want[r.id]):
			t.Fatalf("row %d is another", r.id)
		default:
			found++
		}
		seen[r.id] = true
	}
	t.Logf("%d rows, and %d that had been deleted, in %d KiB", found, old, len(b)>>10)
	if found != len(want) {
		t.Errorf("found %d rows of %d", found, len(want))
	}
}

// FuzzPages takes any bytes for a file. What it gives must have a right sum, must be a part
// of the file, and does not depend on how the file is read.
func FuzzPages(f *testing.F) {
	name, _ := sqliteWith(f, 60)
	b, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i+pageSize <= len(b) && i < 4*pageSize; i += pageSize {
		f.Add(b[i : i+pageSize])
	}
	f.Add(b[pageSize/2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(r foundRow, err error) {
			if r.table == "" && err == nil {
				return // a broken one
			}
			if table, ok := tableOf(r.id, r.data); err != nil || !ok || table != r.table || !bytes.HasPrefix(b[r.at:], r.data) {
				t.Fatalf("row %d of %d bytes at %d: %v", r.id, len(r.data), r.at, err)
			}
		}
		for r, err := range rowsIn(bytes.NewReader(b), int64(len(b))) {
			check(r, err)
		}
		for r := range rowsInJournal(b) {
			check(r, nil)
		}
	})
}

// Bits flip in the pages that hold the file together: the header, the pages that lead to
// others, and the list of free ones. A flip is found, or it changed nothing of what leads where.
func TestPagesThatLeadAstrayAreFound(t *testing.T) {
	name, _ := sqliteWith(t, 6000)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(b []byte) error {
		return checkPages(uint32(len(b)/pageSize), []uint32{2}, func(n uint32) ([]byte, error) {
			if int(n)*pageSize > len(b) || n == 0 {
				return nil, os.ErrNotExist
			}
			return b[(n-1)*pageSize : n*pageSize], nil
		})
	}
	if err := check(good); err != nil {
		t.Fatal(err)
	}
	inner, to := led(good, 2)
	var free []uint32
	for n := binary.BigEndian.Uint32(good[headFree:]); n != 0; n = binary.BigEndian.Uint32(good[(n-1)*pageSize:]) {
		free = append(free, n)
	}
	random := rand.New(rand.NewPCG(2, 3))
	found := 0
	for i := range 400 {
		b := bytes.Clone(good)
		list := inner
		if i%2 == 0 {
			list = free
		}
		n := list[random.IntN(len(list))]
		at := int(n-1)*pageSize + random.IntN(pageSize)
		b[at] ^= 1 << random.IntN(8)
		if check(b) != nil {
			found++
			continue
		}
		if _, now := led(b, 2); !slices.Equal(now, to) {
			t.Fatalf("page %d, byte %d: it leads elsewhere, and nothing said", n, at%pageSize)
		}
	}
	t.Logf("%d pages that lead to others, %d that list free ones; %d of 400 flips found", len(inner), len(free), found)
}

// led is which pages of a tree lead to others, and to which.
func led(b []byte, n uint32) (inner, to []uint32) {
	p := b[(n-1)*pageSize : n*pageSize]
	if p[0] != innerPage {
		return nil, nil
	}
	inner = append(inner, n)
	all, err := children(n, p)
	if err != nil {
		return inner, nil
	}
	for _, child := range all {
		more, further := led(b, child)
		inner, to = append(inner, more...), append(append(to, child), further...)
	}
	return inner, to
}
