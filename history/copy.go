package history

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
)

// A copy of a history, for a backup, is what its tables hold and not the database: it is
// taken while the house goes on, without a transaction that would hold up who writes, and
// what is damaged or free in the file is not in it.
//
//	"hearth history 1\n"
//	rows, in the order of the tables and of their ids:
//	    u8  1 for chunk, 2 for day
//	    u64 id, big-endian as all numbers here
//	    u16 length
//	    payload, as it stands before its checksum
//	u8 0, u64 how many rows there were
const (
	copyMagic = "hearth history 1\n"
	copyEnd   = 0
)

// copied is the number that a table has in a copy.
var copied = map[table]byte{tableChunk: 1, tableDay: 2}

// Copy writes all that was recorded until now. Rows are never changed, and what is added
// meanwhile has higher ids, so nothing waits for it, however slow w is. Only what is
// forgotten for its age meanwhile may be missing.
//
// An error of the history itself leaves the copy without its end; what came before is good.
func (h *History) Copy(ctx context.Context, w io.Writer) error {
	if err := h.Flush(ctx); err != nil && ctx.Err() != nil {
		return err
	} // else the disk refuses: what is on it is worth having
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(copyMagic)
	rows := uint64(0)
	for _, t := range []table{tableChunk, tableDay} {
		first, last, err := h.disk.ends(t)
		if err != nil {
			return err
		}
		if t == tableChunk {
			h.mu.Lock()
			last = h.next // which is above all that have been flushed
			h.mu.Unlock()
			first = max(first, 1) // 0: all of it is in the log
		}
		for segment := first; segment <= last; segment++ {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			damaged := 0
			list, err := h.disk.some(t, rowID(segment, 0, 0), rowID(segment, maxSeries, maxPart), &damaged)
			if err != nil {
				return err
			}
			for _, r := range list {
				var head [11]byte
				head[0] = copied[t]
				binary.BigEndian.PutUint64(head[1:], uint64(r.id))
				binary.BigEndian.PutUint16(head[9:], uint16(len(r.data)))
				out.Write(head[:])
				if _, err := out.Write(r.data); err != nil {
					return err
				}
				rows++
			}
		}
	}
	out.WriteByte(copyEnd)
	out.Write(binary.BigEndian.AppendUint64(nil, rows))
	return out.Flush()
}

// Restore makes the history of a copy in a folder that has none, and says how many rows it
// has. A copy without its end makes what there is of it, and ErrCopyCut.
func Restore(dir string, r io.Reader) (rows uint64, err error) {
	in := bufio.NewReader(r)
	magic := make([]byte, len(copyMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != copyMagic {
		return 0, errors.New("is no copy of a history that this Hearth knows")
	}
	d, err := openDisk(filepath.Join(dir, File))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	var batch []row
	flush := func(t table) error {
		if len(batch) == 0 {
			return nil
		}
		err := d.write(t, batch, math.MaxInt32*pageSize)
		batch = batch[:0]
		return err
	}
	now, last := tableChunk, int64(-1)
	for {
		var head [11]byte
		if _, err := io.ReadFull(in, head[:1]); err != nil {
			return rows, errors.Join(ErrCopyCut, flush(now))
		}
		t := now
		switch head[0] {
		case copyEnd:
			if err := flush(now); err != nil {
				return rows, err
			}
			var n uint64
			if err := binary.Read(in, binary.BigEndian, &n); err != nil || n != rows {
				return rows, ErrCopyCut
			}
			return rows, nil
		case copied[tableChunk]:
			t = tableChunk
		case copied[tableDay]:
			t = tableDay
		default:
			return rows, fmt.Errorf("a row of a table %d, which there is not", head[0])
		}
		if _, err := io.ReadFull(in, head[1:]); err != nil {
			return rows, errors.Join(ErrCopyCut, flush(now))
		}
		id, size := int64(binary.BigEndian.Uint64(head[1:])), int(binary.BigEndian.Uint16(head[9:]))
		if t != now {
			if err := flush(now); err != nil {
				return rows, err
			}
			last = -1
		}
		if id <= last || t == tableChunk && now == tableDay || size > maxBody {
			return rows, fmt.Errorf("row %d of %d bytes is out of order, or too large", id, size)
		}
		now, last = t, id
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			return rows, errors.Join(ErrCopyCut, flush(now))
		}
		batch = append(batch, row{id, sealed(now, id, body)})
		rows++
		if len(batch) == 500 {
			if err := flush(now); err != nil {
				return rows, err
			}
		}
	}
}

// ErrCopyCut is that of a copy without its end.
var ErrCopyCut = errors.New("the copy of the history ends early")
