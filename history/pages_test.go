package history

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"
)

var testTable = crc32.MakeTable(crc32.Castagnoli)

// signed is data with a sum over the id and itself at the end.
func signed(id int64, data []byte) []byte {
	key := binary.BigEndian.AppendUint64(nil, uint64(id))
	return binary.BigEndian.AppendUint32(bytes.Clone(data), crc32.Update(crc32.Checksum(key, testTable), testTable, data))
}

func isSigned(id int64, data []byte) bool {
	n := len(data) - 4
	return n >= 0 && bytes.Equal(signed(id, data[:n]), data)
}

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
		want[id] = signed(id, data)
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
	for r, err := range rowsIn(bytes.NewReader(b), int64(len(b)), isSigned) {
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
		check := func(r row, err error) {
			if err != nil || !isSigned(r.id, r.data) || !bytes.Contains(b, r.data) {
				t.Fatalf("row %d of %d bytes at %d: %v", r.id, len(r.data), r.at, err)
			}
		}
		for r, err := range rowsIn(bytes.NewReader(b), int64(len(b)), isSigned) {
			check(r, err)
		}
		for r, err := range rowsInJournal(b, isSigned) {
			check(r, err)
		}
	})
}
