package history

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What is far too large for a row, and can't be made smaller, goes on in as many rows as it
// takes: also where an int has 32 bits (GOARCH=386 go test ./history -run LargeFrame).
func TestALargeFrameIsInManyRows(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{0, 3000, 70_000, 300_000} {
		large := make([]byte, size)
		random.Read(large)
		var s stream
		for i, data := range [][]byte{[]byte("before"), large, []byte("after")} {
			s.data = append(s.data, data...)
			s.end(uint64(i+1), int64(i), 0)
		}
		var p packer
		p.begin()
		rows, lost := p.pack(&s)
		var frames []frame
		var u unpacker
		for _, row := range rows {
			if len(row) > maxBody {
				t.Fatalf("%d bytes: a row has %d bytes", size, len(row))
			}
			var err error
			if frames, err = u.unpack(row, frames); err != nil {
				t.Fatal(size, err)
			}
		}
		if lost != 0 || len(frames) != 3 || !bytes.Equal(frames[1].data, large) || string(frames[2].data) != "after" {
			t.Errorf("%d bytes: %d frames come back of 3, %d are lost", size, len(frames), lost)
		}
	}
}
