package history

import (
	"database/sql"
	"os"
	"testing"
)

// Old rows go, and what they took is the disk's again, though the file keeps its length; new
// ones find room in it.
func TestRoomOfFreePagesGoesBackToTheDisk(t *testing.T) {
	name, want := sqliteWith(t, 4000)
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := func(n uint32) (p []byte, err error) {
		return p, db.QueryRow("select data from sqlite_dbpage where pgno = ?", n).Scan(&p)
	}
	whole := func(when string) {
		t.Helper()
		var verdict string
		if err := db.QueryRow("pragma integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Fatal(when, verdict, err)
		}
		rows := map[int64][]byte{}
		all, err := db.Query("select id, data from chunk")
		if err != nil {
			t.Fatal(err)
		}
		defer all.Close()
		for all.Next() {
			var id int64
			var data []byte
			if err := all.Scan(&id, &data); err != nil {
				t.Fatal(err)
			}
			rows[id] = data
		}
		if len(rows) != len(want) {
			t.Fatalf("%s: %d rows of %d", when, len(rows), len(want))
		}
		for id, data := range want {
			if string(rows[id]) != string(data) {
				t.Fatalf("%s: row %d is another", when, id)
			}
		}
	}
	before := takenBy(name)
	first, err := page(1)
	if err != nil {
		t.Fatal(err)
	}
	given, err := giveBack(f, first, page)
	if err != nil {
		t.Fatal(err)
	}
	after := takenBy(name)
	t.Logf("the file took %d KiB, gave back %d, and takes %d", before>>10, given>>10, after>>10)
	if given == 0 {
		t.Skip("SKIPPED, NOT TESTED: the file system knows no holes")
	}
	if before-after < given-16<<10 { // the file system needs some to know the holes
		t.Errorf("%d bytes were given back, but the file takes only %d less", given, before-after)
	}
	whole("with holes")

	// A transaction that uses the holes and is undone, then one that is not.
	for _, end := range []string{"rollback", "commit"} {
		if _, err := db.Exec("begin"); err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			id := int64(1)<<40 + int64(i)
			data := sealed(tableChunk, id, make([]byte, i))
			if _, err := db.Exec("insert into chunk values (?, ?)", id, data); err != nil {
				t.Fatal(err)
			}
			if end == "commit" {
				want[id] = data
			}
		}
		if _, err := db.Exec(end); err != nil {
			t.Fatal(err)
		}
		whole(end)
	}
}
