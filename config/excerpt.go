package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// An Excerpt is some lines of a file, as they stand there.
type Excerpt struct {
	Line int // of the first, from 1
	Text string
}

// Excerpts is where in src a table is written that some keys lead to, from the outermost in:
// its lines and those of the tables in it, with the comment right above. A table may be
// written in several places. Of what is no TOML it gives what can be told until then.
func Excerpts(src []byte, keys ...string) (list []Excerpt) {
	type part struct {
		line int // from 0
		mine bool
	}
	var parts []part
	lines := strings.SplitAfter(string(src), "\n")
	at := text{src: src}
	func() {
		defer func() { _ = recover() }() // as in walk
		var p unstable.Parser
		p.Reset(src)
		var table []string
		for p.NextExpression() {
			e := p.Expression()
			path, offset := []string(nil), -1
			switch e.Kind {
			case unstable.KeyValue:
				path = slices.Clone(table)
			case unstable.Table, unstable.ArrayTable:
			default:
				continue
			}
			for it := e.Key(); it.Next(); {
				part := it.Node()
				path = append(path, string(part.Data))
				if offset < 0 {
					offset = int(part.Raw.Offset)
				}
			}
			if e.Kind != unstable.KeyValue {
				table = path
			}
			parts = append(parts, part{at.position(offset).Line - 1, len(path) >= len(keys) && slices.Equal(path[:len(keys)], keys)})
		}
	}()
	comment := func(line int) bool { return strings.HasPrefix(strings.TrimSpace(lines[line]), "#") }
	// top is the first line of what is said above a part, which belongs to it.
	top := func(line int) int {
		for line > 0 && comment(line-1) {
			line--
		}
		return line
	}
	for i := 0; i < len(parts); {
		if !parts[i].mine {
			i++
			continue
		}
		from := top(parts[i].line)
		for i < len(parts) && parts[i].mine {
			i++
		}
		to := len(lines)
		if i < len(parts) {
			to = top(parts[i].line)
		}
		text := strings.Join(lines[from:max(from, to)], "")
		list = append(list, Excerpt{from + 1, strings.TrimRight(text, " \t\r\n") + "\n"})
	}
	return list
}
