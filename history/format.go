package history

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The file is a SQLite database of two tables of the same form:
//
//	chunk(id INTEGER PRIMARY KEY, data BLOB)   what happened
//	day(id INTEGER PRIMARY KEY, data BLOB)     rollups of each UTC day
//
// It has no other index, and rows are never changed. What is flushed together is a
// segment; its rows are written in the order of their ids, so that a flush appends
// to the right edge of the tree.
//
// The id of a row is segment<<26 | series<<8 | part; in the table day the number of
// the day since 1970 stands in the place of the segment. A row's data is the payload
// and a checksum of it, of the table and of the id: a row that came into a wrong place
// is damaged too. A row is so small that it never leaves its page of the database: damage to a
// page costs what is in that page and nothing else.
const (
	partBits   = 8
	seriesBits = 18

	maxPart    = 1<<partBits - 1
	maxSeries  = 1<<seriesBits - 1
	maxSegment = 1<<(63-partBits-seriesBits) - 1

	pageSize = 4096
	maxData  = 3900              // of a row, in bytes, with its checksum
	sumSize  = 4                 // of the checksum: CRC-32C
	maxBody  = maxData - sumSize // of a row's payload
)

// Numbers of series that are none: what else a segment consists of. The first
// number of a real one is firstSeries.
const (
	namesSeries    = 0 // of series: those that are new; in the first segment of each day all of them
	headSeries     = 1 // what the segment is: see head. In the table day: the heads of the day's segments
	decisionSeries = 2 // of rules and of the hub
	eventSeries    = 3 // those that are no readings
	noteSeries     = 4
	largeSeries    = 5 // messages, and readings that are not of the usual kind
	lossSeries     = 6 // what of all this is lost
	firstSeries    = 16

	// The last row of a segment is the first of headSeries once more, and so on: what
	// damages the page of one leaves the other, or all of the segment was in it.
	endSeries = maxSeries
)

// An id is the number of a row.
func rowID(segment uint64, series uint32, part int) int64 {
	return int64(segment<<(partBits+seriesBits) | uint64(series)<<partBits | uint64(part))
}

// splitID takes the number of a row apart.
func splitID(id int64) (segment uint64, series uint32, part int) {
	return uint64(id) >> (partBits + seriesBits), uint32(id>>partBits) & maxSeries, int(id & maxPart)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is of a row whose checksum is wrong, or whose payload is not what it
// should be.
var errDamaged = errors.New("damaged")

func checksum(t table, id int64, body []byte) uint32 {
	var b [9]byte
	b[0] = t[0]
	binary.BigEndian.PutUint64(b[1:], uint64(id))
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, body)
}

// sealed is a row's data: the payload and its checksum.
func sealed(t table, id int64, body []byte) []byte {
	data := make([]byte, 0, len(body)+sumSize)
	data = append(data, body...)
	return binary.BigEndian.AppendUint32(data, checksum(t, id, body))
}

// unsealed is the payload of a row's data.
func unsealed(t table, id int64, data []byte) ([]byte, error) {
	n := len(data) - sumSize
	if n < 0 || binary.BigEndian.Uint32(data[n:]) != checksum(t, id, data[:n]) {
		return nil, errDamaged
	}
	return data[:n], nil
}
