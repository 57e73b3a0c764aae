package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, never negative, written as text: "256KiB", "64MiB",
// "1GiB", "512B", or as a whole number of bytes.
type Size int64

var errSize = errors.New(`want a size such as "256KiB", or a whole number of bytes`)

// units of a Size, the largest first.
var units = []struct {
	name string
	size Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads a size as the owner writes it. The error says what would be
// right, as the text of a mistake does.
func ParseSize(s string) (Size, error) {
	if n, ok := parseSize(s); ok {
		return n, nil
	}
	if like := sizeLike(s); like != "" {
		return 0, errors.New("want a size: write " + strconv.Quote(like))
	}
	return 0, errSize
}

func parseSize(s string) (Size, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || n > math.MaxInt64/uint64(u.size) {
			return 0, false // also "1KiB" as so many B
		}
		return Size(n) * u.size, true
	}
	return 0, false
}

// sizeLike turns "64 MB", "64m" or "64" into the text that was meant; it is ""
// where nothing of the kind was. Who writes MB of memory means MiB.
func sizeLike(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	unit := strings.TrimLeft(s, "0123456789")
	n := s[:len(s)-len(unit)]
	switch strings.TrimSpace(unit) {
	case "", "b", "byte", "bytes":
		n += "B"
	case "k", "kb", "kib":
		n += "KiB"
	case "m", "mb", "mib":
		n += "MiB"
	case "g", "gb", "gib":
		n += "GiB"
	default:
		return ""
	}
	if _, ok := parseSize(n); !ok {
		return ""
	}
	return n
}

// String is the shortest way to write it: "256KiB", "1000B".
func (n Size) String() string {
	if n == 0 {
		return "0B"
	}
	for _, u := range units {
		if n%u.size == 0 {
			return strconv.FormatInt(int64(n/u.size), 10) + u.name
		}
	}
	return "" // not reached: the last unit divides all
}

// MarshalText is String.
func (n Size) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText is ParseSize.
func (n *Size) UnmarshalText(text []byte) (err error) {
	*n, err = ParseSize(string(text))
	return err
}

func (p Place) decodeSize(v any, into *Size) {
	text := errSize.Error()
	if p.hint.eg != "" {
		text = p.want("a size") + ", or a whole number of bytes"
	}
	var n Size
	switch v := v.(type) {
	case string:
		var err error
		if n, err = ParseSize(v); err != nil {
			if err != errSize {
				text = err.Error()
			}
			p.wrong("%s", text)
			return
		}
	case int64:
		if n = Size(v); n < 0 {
			p.wrong("%s", text)
			return
		}
	default:
		p.wrong("%s", text)
		return
	}
	lo, hi := p.hint.min, p.hint.max
	if lo != "" && n < mustSize(lo) || hi != "" && n > mustSize(hi) {
		p.wrong("want a size%s", bounds(quoted(lo), quoted(hi)))
		return
	}
	*into = n
}

func mustSize(s string) Size {
	n, err := ParseSize(s)
	if err != nil {
		panic("config: min or max tag: " + err.Error())
	}
	return n
}
