package history

import (
	"math/bits"
	"strings"

	"hearth/rules"
)

// A filter says of a segment which series it has readings of, and of which rules and things
// its decisions are. It may say yes where that is not so, seldom, and never no where it is
// (Bloom, 1970). Who looks for the last time that something happened need not read what a
// month has on the disk; and the filters of that month fit into memory.
type filter []byte

const (
	bitsAWord  = 10 // of which one in a hundred is wrongly said to be there
	hashes     = 4
	maxFilter  = 512 // bytes; with more words it is wrong more often
	seedFilter = 14695981039346656037
)

// word is the hash of a word, as [hash/fnv] makes it, mixed: it is kept on the disk.
func word(text string) uint64 {
	h := uint64(seedFilter)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mixed(h)
}

// seriesWord is that of a series.
func seriesWord(number uint32) uint64 { return mixed(uint64(number) + 1<<40) }

func mixed(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h
}

func newFilter(words map[uint64]struct{}) filter {
	size := 8
	for size*8 < len(words)*bitsAWord && size < maxFilter {
		size *= 2
	}
	f := make(filter, size)
	for w := range words {
		for _, bit := range f.bits(w) {
			f[bit/8] |= 1 << (bit % 8)
		}
	}
	return f
}

func (f filter) bits(word uint64) (list [hashes]uint64) {
	mask := uint64(len(f)*8 - 1)
	step := bits.RotateLeft64(word, 32) | 1
	for i := range list {
		list[i] = (word + uint64(i)*step) & mask
	}
	return list
}

// may says whether a word may be in it. An empty filter knows nothing.
func (f filter) may(word uint64) bool {
	if len(f) == 0 {
		return true
	}
	for _, bit := range f.bits(word) {
		if f[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// concerns calls each with what a decision is about: its rule, and each thing that it tells,
// sets or switches, by every name that one may ask for.
func concerns(d *rules.Decision, each func(word string)) {
	named := func(name, cut string) {
		each(name)
		if base, _, found := strings.Cut(name, cut); found {
			each(base)
		}
	}
	named(d.Rule, "[")
	for _, s := range d.Sets {
		name, _, _ := strings.Cut(s, " ")
		named(name, "[")
	}
	for _, s := range d.Switched {
		each("rule." + s.Rule)
	}
	for i := range d.Commands {
		switch c := &d.Commands[i]; {
		case c.Output != "":
			each(c.Output)
		case c.Device != "":
			each(c.Device)
		case c.HTTP != nil:
			each(c.HTTP.URL)
		default:
			each(c.Topic)
			each(c.Source)
		}
	}
}
