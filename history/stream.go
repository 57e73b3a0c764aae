package history

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"sync"
)

// Decisions, events that are no readings, notes and what is large are streams of
// frames. While a segment is open they are kept as they are; on the disk a row holds
// as many of them as it can take when they are compressed together. A frame that
// is too large for a row goes on in the next ones.
//
// A row begins with a format, then, to find a decision without taking the row
// apart, the least and the greatest IDs in it (see idRange). What follows is
// compressed: frames one after the other, each
//
//	order      how many entries of the house since the last frame's
//	time       since the last frame's, in microseconds
//	id         since the last frame's
//	part       1: it goes on in the next row, + 2: it went on from the last one, + 4 for each
//	           of its pieces before: 0 is a whole frame
//	length     of the data, then the data
const formatStream = 1

// An idRange is which decisions are in something. Those of the hub have the highest
// bit set and a range of their own. A 0 is none.
type idRange struct{ low, high, hubLow, hubHigh uint64 }

const hubsOwn = 1 << 63 // in the ID of a decision that the hub made itself

func (r *idRange) add(id uint64) {
	low, high := &r.low, &r.high
	if id&hubsOwn != 0 {
		low, high = &r.hubLow, &r.hubHigh
	}
	if id == 0 {
		return
	}
	if *low == 0 || id < *low {
		*low = id
	}
	*high = max(*high, id)
}

func (r *idRange) has(id uint64) bool {
	if id&hubsOwn != 0 {
		return r.hubLow <= id && id <= r.hubHigh
	}
	return id != 0 && r.low <= id && id <= r.high
}

func (r *idRange) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, r.low)
	b = binary.AppendUvarint(b, r.high-r.low)
	b = binary.AppendUvarint(b, r.hubLow&^hubsOwn)
	return binary.AppendUvarint(b, r.hubHigh-r.hubLow)
}

func (r *reader) idRange() (x idRange) {
	x.low = r.uint()
	x.high = x.low + r.uint()
	if x.hubLow = r.uint(); x.hubLow != 0 {
		x.hubLow |= hubsOwn
	}
	x.hubHigh = x.hubLow + r.uint()
	return x
}

// A frame is one record of a stream.
type frame struct {
	order uint64
	mono  int64 // microseconds
	id    uint64
	data  []byte
}

// A stream is frames in memory. Their data lies in one piece, so that adding one
// costs no memory of its own.
type stream struct {
	frames []placed
	data   []byte
}

type placed struct {
	order uint64
	mono  int64
	id    uint64
	end   int // of its data
}

func (s *stream) bytes() int { return len(s.data) + 32*len(s.frames) }

// begin and end stand around what appends a frame's data to s.data.
func (s *stream) end(order uint64, mono int64, id uint64) {
	s.frames = append(s.frames, placed{order, mono, id, len(s.data)})
}

func (s *stream) frame(i int) frame {
	p, from := s.frames[i], 0
	if i > 0 {
		from = s.frames[i-1].end
	}
	return frame{p.order, p.mono, p.id, s.data[from:p.end:p.end]}
}

// A packer makes rows of streams.
type packer struct {
	writer *flate.Writer
	out    bytes.Buffer
	raw    []byte
	ratio  float64 // of what goes in to what comes out, lately
}

const (
	wholeFrame = 0
	goesOn     = 1
	wentOn     = 2
	onePiece   = 4
)

// begin stands before all streams of a segment.
func (p *packer) begin() { p.ratio = 3 }

type piece struct {
	frame
	how uint64
}

// pack is the payloads of a stream's rows, at most maxPart+1 of them, and the number of
// frames for which there was no room.
func (p *packer) pack(s *stream) (rows [][]byte, lost int) {
	if len(s.frames) == 0 {
		return nil, 0
	}
	if p.writer == nil {
		p.writer, _ = flate.NewWriter(io.Discard, 5)
	}
	var pieces []piece // that the next row begins with
	for i := 0; i < len(s.frames) || len(pieces) > 0; {
		want := int(float64(maxBody) * p.ratio)
		size := 0
		for _, x := range pieces {
			size += len(x.data) + 8
		}
		for i < len(s.frames) && size < want {
			f := s.frame(i)
			pieces = append(pieces, piece{f, wholeFrame})
			size += len(f.data) + 8
			i++
		}
		if len(rows) > maxPart {
			return rows, len(pieces) + len(s.frames) - i
		}
		// As many as fit; but a part of the first one if even that does not.
		for n := len(pieces); ; {
			row := p.row(pieces[:n])
			if len(row) <= maxBody {
				p.ratio = min(max(float64(len(p.raw))/float64(len(row))*0.95, 1), 50)
				rows = append(rows, bytes.Clone(row))
				pieces = append(pieces[:0], pieces[n:]...)
				break
			}
			if fits := n * maxBody / len(row); n > 1 {
				n = max(1, min(n-1, fits))
				continue
			}
			first := pieces[0]
			half := int(int64(len(first.data)) * (maxBody * 9 / 10) / int64(len(row))) // an int may have 32 bits
			rest := first
			first.data, rest.data = first.data[:half], first.data[half:]
			first.how |= goesOn
			rest.how = (rest.how | wentOn) + onePiece
			pieces = append([]piece{first, rest}, pieces[1:]...)
		}
	}
	return rows, 0
}

func (p *packer) row(pieces []piece) []byte {
	var ids idRange
	raw := p.raw[:0]
	var last frame
	for _, x := range pieces {
		raw = binary.AppendUvarint(raw, x.order-last.order)
		raw = binary.AppendVarint(raw, x.mono-last.mono)
		raw = binary.AppendVarint(raw, int64(x.id-last.id))
		raw = binary.AppendUvarint(raw, x.how)
		raw = binary.AppendUvarint(raw, uint64(len(x.data)))
		raw = append(raw, x.data...)
		ids.add(x.id)
		last = x.frame
	}
	p.raw = raw
	p.out.Reset()
	p.out.Write(ids.appendTo([]byte{formatStream}))
	p.writer.Reset(&p.out)
	p.writer.Write(raw)
	p.writer.Close()
	return p.out.Bytes()
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// maxInflated is more than a row can hold: DEFLATE makes 1 byte of at most 1032.
const maxInflated = maxBody * 1100

// An unpacker takes the rows of a stream apart, in their order.
type unpacker struct {
	begun frame // which goes on
	piece uint64
	open  bool
}

// unpack appends the frames that end in a row.
func (u *unpacker) unpack(body []byte, into []frame) ([]frame, error) {
	r := reader{b: body}
	if r.byte() != formatStream {
		return into, errDamaged
	}
	r.idRange()
	if r.bad {
		return into, errDamaged
	}
	inflater := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(inflater)
	inflater.(flate.Resetter).Reset(bytes.NewReader(r.b), nil)
	raw, err := io.ReadAll(io.LimitReader(inflater, maxInflated))
	if err != nil {
		return into, errDamaged
	}
	r = reader{b: raw}
	var last frame
	for len(r.b) > 0 {
		last.order += r.uint()
		last.mono += r.int()
		last.id += uint64(r.int())
		how := r.uint()
		last.data = r.bytes()
		if r.bad {
			return into, errDamaged
		}
		f := last
		if how&wentOn != 0 {
			if !u.open || u.begun.order != f.order || u.piece+1 != how/onePiece {
				u.open = false
				continue // what came before is lost
			}
			f.data = append(u.begun.data, f.data...)
		}
		if u.open = how&goesOn != 0; u.open {
			if how&wentOn == 0 {
				f.data = bytes.Clone(f.data)
			}
			u.begun, u.piece = f, how/onePiece
			continue
		}
		into = append(into, f)
	}
	return into, nil
}

// idsIn is which decisions a row of a stream has.
func idsIn(body []byte) (idRange, error) {
	r := reader{b: body}
	if r.byte() != formatStream {
		return idRange{}, errDamaged
	}
	ids := r.idRange()
	if r.bad {
		return ids, errDamaged
	}
	return ids, nil
}
