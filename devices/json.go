package devices

import (
	"encoding/json"
	"errors"
	"iter"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// DecodeJSON is a payload as encoding/json decodes it, with numbers as they are
// written.
func DecodeJSON(payload []byte) (any, error) {
	var d Document
	if err := d.Scan(payload, AllValues); err != nil {
		return nil, err
	}
	return d.Root().Decode(), nil
}

// A Document is a JSON text of which it is known where each value stands. Few of them
// matter to anybody, and only those are decoded: to decode all is most of what a message
// costs. What it takes, refuses and gives is what encoding/json does; a fuzz target
// compares the two.
type Document struct {
	text  []byte
	nodes []node // in the order of the text: what is within one stands behind it
}

// A node is where one value stands. MQTT has no payload of 2 GiB.
type node struct {
	from, to      int32
	name, nameEnd int32 // without quotes; 0 where the value is in no object
	next          int32 // the node behind this one and all within it
	odd, oddName  bool  // the text or the name has escapes, or is not all ASCII
}

// A Node is a value of a document, good until the next Scan.
type Node struct {
	of *Document
	i  int32
}

var (
	errBrokenJSON = errors.New("broken JSON")

	// ErrManyValues says that a document was not read because it has too many values.
	ErrManyValues = errors.New("it has too many values")
)

// AllValues is for a document that may have as many values as it likes.
const AllValues = math.MaxInt32

// jsonDepth is how deep encoding/json goes.
const jsonDepth = 10_000

// Scan finds the values of a payload, at most so many. The document then refers to the
// payload, and forgets what it had.
func (d *Document) Scan(payload []byte, most int) error {
	d.text = payload
	nodes := slices.Grow(d.nodes[:0], min(most, len(payload)/16+1))
	defer func() { d.nodes = nodes }()
	text, at, open, depth := payload, skipSpace(payload, 0), int32(-1), 0
	var name, nameEnd int // of the next value, if it has one
	var oddName bool
	for {
		self := int32(len(nodes))
		if at == len(text) {
			return errBrokenJSON
		}
		if int(self) >= most {
			return ErrManyValues
		}
		nodes = append(nodes, node{from: int32(at), name: int32(name), nameEnd: int32(nameEnd), oddName: oddName, next: self + 1})
		n := &nodes[self]
		ok := true
		switch text[at] {
		case '{', '[':
			n.next, open = open, self // until it is closed this says what it is in
			if depth++; depth > jsonDepth {
				return errBrokenJSON
			}
			at = skipSpace(text, at+1)
		case '"':
			at, n.odd, ok = skipString(text, at)
		case 't':
			at, ok = skipWord(text, at, "true")
		case 'f':
			at, ok = skipWord(text, at, "false")
		case 'n':
			at, ok = skipWord(text, at, "null")
		default:
			at, ok = skipNumber(text, at)
		}
		if !ok {
			return errBrokenJSON
		}
		n.to = int32(at)

		// What is behind it: the end of what it is in, maybe of several, or the next.
		first := open == self
		for {
			at = skipSpace(text, at)
			if open < 0 {
				if at < len(text) {
					return errBrokenJSON
				}
				return nil
			}
			if at == len(text) {
				return errBrokenJSON
			}
			in := &nodes[open]
			if text[at] == text[in.from]+2 { // ] and }
				at++
				depth--
				open, in.next, in.to = in.next, int32(len(nodes)), int32(at)
				first = false
				continue
			}
			if !first {
				if text[at] != ',' {
					return errBrokenJSON
				}
				at = skipSpace(text, at+1)
			}
			name, nameEnd, oddName = 0, 0, false
			if text[in.from] == '{' {
				name = at + 1
				if at, oddName, ok = skipString(text, at); !ok {
					return errBrokenJSON
				}
				nameEnd = at - 1
				if at = skipSpace(text, at); at == len(text) || text[at] != ':' {
					return errBrokenJSON
				}
				at = skipSpace(text, at+1)
			}
			break
		}
	}
}

// Reset forgets what was scanned, and keeps the room that most documents need.
func (d *Document) Reset() {
	if d.text = nil; cap(d.nodes) > 1000 {
		d.nodes = nil
	}
}

func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// plainByte is what stands for itself within a string: ASCII without the quote, the
// backslash and control characters.
var plainByte = func() (plain [256]bool) {
	for c := ' '; c < 0x80; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

// skipString goes behind the string that begins at a place, if one does.
func skipString(text []byte, at int) (end int, odd, ok bool) {
	if at >= len(text) || text[at] != '"' {
		return at, false, false
	}
	for at++; ; at++ {
		for at < len(text) && plainByte[text[at]] {
			at++
		}
		if at == len(text) {
			return at, false, false
		}
		switch c := text[at]; {
		case c == '"':
			return at + 1, odd, true
		case c >= 0x80:
			odd = true
		case c < ' ':
			return at, false, false
		default: // a backslash
			odd = true
			if at++; at == len(text) {
				return at, false, false
			}
			switch text[at] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if at++; at == len(text) || !isHex(text[at]) {
						return at, false, false
					}
				}
			default:
				return at, false, false
			}
		}
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func skipWord(text []byte, at int, word string) (end int, ok bool) {
	end = at + len(word)
	return end, end <= len(text) && string(text[at:end]) == word
}

func skipNumber(text []byte, at int) (end int, ok bool) {
	if text[at] == '-' {
		at++
	}
	whole := at
	at = skipDigits(text, at)
	if at == whole || at > whole+1 && text[whole] == '0' {
		return at, false
	}
	if at < len(text) && text[at] == '.' {
		from := at + 1
		if at = skipDigits(text, from); at == from {
			return at, false
		}
	}
	if at < len(text) && text[at]|0x20 == 'e' {
		if at++; at < len(text) && (text[at] == '+' || text[at] == '-') {
			at++
		}
		from := at
		if at = skipDigits(text, from); at == from {
			return at, false
		}
	}
	return at, true
}

func skipDigits(text []byte, at int) int {
	for at < len(text) && text[at] >= '0' && text[at] <= '9' {
		at++
	}
	return at
}

// Root is the whole of a document that was scanned.
func (d *Document) Root() Node { return Node{d, 0} }

// At is what stands at a place in n.
func (n Node) At(path Path) (_ Node, ok bool) {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			n, ok = n.Key(step)
		case int:
			n, ok = n.index(step)
		}
		if !ok {
			return Node{}, false
		}
	}
	return n, true
}

// Key is the value of a name in n, if n is an object and has it. Of several of one name
// it is the last.
func (n Node) Key(name string) (_ Node, ok bool) {
	if !n.IsObject() {
		return Node{}, false
	}
	d := n.of
	for i, end := n.i+1, d.nodes[n.i].next; i < end; {
		m := &d.nodes[i]
		if m.oddName {
			if unquoted(d.text[m.name-1:m.nameEnd+1]) == name {
				n.i, ok = i, true
			}
		} else if int(m.nameEnd-m.name) == len(name) && string(d.text[m.name:m.nameEnd]) == name {
			n.i, ok = i, true
		}
		i = m.next
	}
	return n, ok
}

func (n Node) index(k int) (_ Node, ok bool) {
	list := &n.of.nodes[n.i]
	if n.of.text[list.from] != '[' {
		return Node{}, false
	}
	for i := n.i + 1; i < list.next; i = n.of.nodes[i].next {
		if k--; k < 0 {
			return Node{n.of, i}, true
		}
	}
	return Node{}, false
}

// Text is the value as it is written.
func (n Node) Text() []byte {
	at := &n.of.nodes[n.i]
	return n.of.text[at.from:at.to]
}

// IsObject says whether the value is one.
func (n Node) IsObject() bool { return n.of.text[n.of.nodes[n.i].from] == '{' }

// IsList says whether the value is one.
func (n Node) IsList() bool { return n.of.text[n.of.nodes[n.i].from] == '[' }

// Scalar is a value that holds no others: a string, a float64, a bool or nil. It gives
// ok for those alone, and an error for a number that no float64 can hold.
func (n Node) Scalar() (v any, ok bool, err error) {
	text := n.Text()
	switch text[0] {
	case '{', '[':
		return nil, false, nil
	case '"':
		return n.string(), true, nil
	case 't':
		return true, true, nil
	case 'f':
		return false, true, nil
	case 'n':
		return nil, true, nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return nil, true, err
	}
	return f, true, nil
}

// Decode is the value as encoding/json decodes it, with numbers as they are written.
func (n Node) Decode() any {
	switch text := n.Text(); text[0] {
	case '{':
		m := make(map[string]any, n.members())
		for name, v := range n.All() {
			m[name] = v.Decode()
		}
		return m
	case '[':
		list := make([]any, 0, n.members())
		for _, v := range n.All() {
			list = append(list, v.Decode())
		}
		return list
	case '"':
		return n.string()
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	default:
		return json.Number(text)
	}
}

// All gives the values in an object, with their names, or in a list.
func (n Node) All() iter.Seq2[string, Node] {
	return func(yield func(string, Node) bool) {
		nodes := n.of.nodes
		for i, end := n.i+1, nodes[n.i].next; i < end; i = nodes[i].next {
			if v := (Node{n.of, i}); !yield(v.name(), v) {
				return
			}
		}
	}
}

// Size is how many values are in n and in those.
func (n Node) Size() int { return int(n.of.nodes[n.i].next - n.i - 1) }

// members is how many values are in n, not counting those within them.
func (n Node) members() (count int) {
	nodes := n.of.nodes
	for i, end := n.i+1, nodes[n.i].next; i < end; i = nodes[i].next {
		count++
	}
	return count
}

func (n Node) name() string {
	at := &n.of.nodes[n.i]
	if at.nameEnd == 0 {
		return ""
	}
	if at.oddName {
		return unquoted(n.of.text[at.name-1 : at.nameEnd+1])
	}
	return string(n.of.text[at.name:at.nameEnd])
}

func (n Node) string() string {
	at, text := &n.of.nodes[n.i], n.Text()
	if at.odd {
		return unquoted(text)
	}
	return string(text[1 : len(text)-1])
}

// unquoted is a string of JSON. What is not UTF-8 in it encoding/json mends.
func unquoted(text []byte) (s string) {
	if inner := text[1 : len(text)-1]; utf8.Valid(inner) && !slices.Contains(inner, '\\') {
		return string(inner)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return "" // which Scan does not let through
	}
	return s
}
