package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Secret says of a text in a file whether nobody is to see it. keys lead to it, from the
// outermost in; elements of lists have the keys of their list.
type Secret func(keys []string, text string) bool

// veil stands for the nth text of a file that nobody is to see.
func veil(n int) string { return fmt.Sprintf(`"***%d"`, n) }

var veiledSomewhere = regexp.MustCompile(`["']\*\*\*[0-9]+["']`)

var veiled = regexp.MustCompile(`^\*\*\*([0-9]+)$`)

// Veil is src, one file, with something in place of each secret, by which [Unveil] knows it
// again. All else is as it was, byte for byte. The error says that it can't be told where
// secrets are.
func Veil(src []byte, secret Secret) ([]byte, error) {
	all, err := texts(src)
	if err != nil {
		return nil, err
	}
	out, from, n := []byte(nil), 0, 0
	for _, t := range all {
		if secret(t.keys, t.text) {
			n++
			out = append(append(out, src[from:t.from]...), veil(n)...)
			from = t.to
		}
	}
	return append(out, src[from:]...), nil
}

// Unveil is draft with the secrets of src where what stands for them stands at the same keys,
// and what is wrong where it stands elsewhere: who may edit a file is not to see by that what
// is in it. A draft that is no TOML comes back as it is.
func Unveil(file string, draft, src []byte, secret Secret) ([]byte, []Mistake) {
	all, err := texts(draft)
	switch {
	case errors.Is(err, errPlaces) && veiledSomewhere.Match(draft):
		return draft, []Mistake{{Position: Position{File: file, Line: 1, Column: 1}, Text: "it can't be told where the hidden secrets are in this: write it more plainly"}}
	case err != nil:
		return draft, nil
	}
	old, _ := texts(src)
	hidden := slices.DeleteFunc(old, func(t written) bool { return !secret(t.keys, t.text) })
	var wrong []Mistake
	out, from := []byte(nil), 0
	at := text{src: withoutMark(draft), file: file}
	mark := len(draft) - len(at.src)
	for _, t := range all {
		found := veiled.FindStringSubmatch(t.text)
		if found == nil {
			continue
		}
		n, _ := strconv.Atoi(found[1])
		switch {
		case n < 1 || n > len(hidden):
			wrong = append(wrong, Mistake{Position: at.position(t.from - mark), Key: t.path(), Text: "this stands for a secret that is not in the file: write the secret itself"})
		case !slices.Equal(hidden[n-1].keys, t.keys):
			wrong = append(wrong, Mistake{Position: at.position(t.from - mark), Key: t.path(), Text: "this stands for the secret of " + hidden[n-1].path() + " and is good for nothing elsewhere: write the secret itself"})
		default:
			h := hidden[n-1]
			out = append(append(out, draft[from:t.from]...), src[h.from:h.to]...)
			from = t.to
		}
	}
	return append(out, draft[from:]...), wrong
}

// Secrets are the texts of a file that nobody is to see; none where it can't be told.
func Secrets(src []byte, secret Secret) (hidden []string) {
	all, err := texts(src)
	if err != nil {
		return nil
	}
	for _, t := range all {
		if secret(t.keys, t.text) {
			hidden = append(hidden, t.text)
		}
	}
	return hidden
}

// Without is a mistake in which none of the hidden texts is found or quoted: a value that
// nobody is to see may be wrong because of what somebody wrote elsewhere.
func (m Mistake) Without(hidden []string) Mistake {
	for _, h := range hidden {
		if m.Found != "" && m.Found == show(h) {
			m.Found = ""
		}
		if utf8.RuneCountInString(h) >= 4 { // less is a part of many words
			m.Text = strings.ReplaceAll(strings.ReplaceAll(m.Text, show(h), `"***"`), h, "***")
		}
	}
	return m
}

// A written text is one as it stands in a file, with its quotes.
type written struct {
	keys     []string
	text     string
	from, to int // offsets
}

func (q written) path() string {
	var b strings.Builder
	for i, k := range q.keys {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(showKey(k))
	}
	return b.String()
}

var errPlaces = errors.New("it can't be told where its values stand")

func withoutMark(src []byte) []byte { return bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")) }

// texts are all those that are values in a file, in its order.
func texts(src []byte) ([]written, error) {
	d := newDoc("")
	value, root, ok := d.read("", src)
	if !ok {
		return nil, errors.New("it is no TOML")
	}
	type placed struct {
		written
		at Position
	}
	var all []placed
	var err error
	var look func(keys []string, v any, n *node)
	look = func(keys []string, v any, n *node) {
		switch v := v.(type) {
		case string:
			if n == nil || n.val.Line < 1 {
				err = errPlaces
				return
			}
			all = append(all, placed{written{keys: slices.Clone(keys), text: v}, n.val})
		case map[string]any:
			for k, e := range v {
				var sub *node
				if n != nil {
					sub = n.keys[k]
				}
				look(append(keys, k), e, sub)
			}
		case []any:
			for i, e := range v {
				var sub *node
				if n != nil && i < len(n.elems) {
					sub = n.elems[i]
				}
				look(keys, e, sub)
			}
		}
	}
	look(nil, value, root)
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.at.Line, b.at.Line), cmp.Compare(a.at.Column, b.at.Column))
	})
	bare := withoutMark(src)
	mark := len(src) - len(bare)
	list := make([]written, len(all))
	offset, line, column := 0, 1, 1 // in one walk, for a line may be all of the file
	for i, t := range all {
		for offset < len(bare) && (line < t.at.Line || line == t.at.Line && column < t.at.Column) {
			c, size := utf8.DecodeRune(bare[offset:])
			offset += size
			if column++; c == '\n' {
				line, column = line+1, 1
			}
		}
		if offset == len(bare) || line != t.at.Line || bare[offset] != '"' && bare[offset] != '\'' {
			return nil, errPlaces
		}
		list[i] = t.written
		list[i].from, list[i].to = mark+offset, mark+textEnd(bare, offset)+1
	}
	return list, err
}
