package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A node is a value of a YAML document with its line, all aliases replaced by what
// they stand for. The nil *node is one that is not there.
type node struct {
	line   int
	kind   yaml.Kind // of yaml.ScalarNode, SequenceNode and MappingNode
	text   string    // of a scalar
	quoted bool
	tag    string // its own: "!secret"
	items  []*node
	keys   []string // of a mapping, beside items
	at     []int    // their lines
}

// How much YAML is taken. Aliases make much out of little, so what counts is what
// there is after they are replaced.
const (
	maxNodes = 50_000
	maxDepth = 60
)

// readYAML reads all documents of a text.
func readYAML(text []byte) ([]*node, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("it has %d bytes: at most %d are read, so import it in parts", len(text), MaxText)
	}
	var docs []*node
	r := &yamlReader{}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s", strings.Replace(oneLine(err.Error()), "yaml: ", "no YAML: ", 1))
		}
		if len(doc.Content) == 0 {
			continue
		}
		n, err := r.node(doc.Content[0], 0)
		if err != nil {
			return nil, err
		}
		docs = append(docs, n)
	}
}

type yamlReader struct{ nodes int }

func (r *yamlReader) node(y *yaml.Node, depth int) (*node, error) {
	if r.nodes++; r.nodes > maxNodes {
		return nil, fmt.Errorf("line %d: it has more than %d values with its aliases: import it in parts", y.Line, maxNodes)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: it is nested deeper than %d", y.Line, maxDepth)
	}
	if y.Kind == yaml.AliasNode {
		return r.node(y.Alias, depth+1)
	}
	n := &node{line: y.Line, kind: y.Kind, text: y.Value, quoted: y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0}
	if strings.HasPrefix(y.Tag, "!") && !strings.HasPrefix(y.Tag, "!!") {
		n.tag = y.Tag
	}
	switch y.Kind {
	case yaml.SequenceNode:
		for _, c := range y.Content {
			one, err := r.node(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, one)
		}
	case yaml.MappingNode:
		var merged []*node
		for i := 0; i+1 < len(y.Content); i += 2 {
			k, c := y.Content[i], y.Content[i+1]
			one, err := r.node(c, depth+1)
			if err != nil {
				return nil, err
			}
			if k.Tag == "!!merge" {
				merged = append(merged, one.list()...)
				continue
			}
			n.keys, n.at, n.items = append(n.keys, k.Value), append(n.at, k.Line), append(n.items, one)
		}
		for _, m := range merged {
			for i, k := range m.keys {
				if !slices.Contains(n.keys, k) {
					n.keys, n.at, n.items = append(n.keys, k), append(n.at, m.at[i]), append(n.items, m.items[i])
				}
			}
		}
	}
	return n, nil
}

// get is the value of the first of these keys that is there.
func (n *node) get(keys ...string) *node {
	if n == nil || n.kind != yaml.MappingNode {
		return nil
	}
	for _, k := range keys {
		if i := slices.Index(n.keys, k); i >= 0 && !n.items[i].null() {
			return n.items[i]
		}
	}
	return nil
}

// elsewhere takes the lines off a node that stands in another text.
func (n *node) elsewhere() {
	n.line = 0
	clear(n.at)
	for _, e := range n.items {
		e.elsewhere()
	}
}

func (n *node) null() bool {
	return n != nil && n.kind == yaml.ScalarNode && !n.quoted && n.tag == "" && (n.text == "" || n.text == "~" || strings.EqualFold(n.text, "null"))
}

func (n *node) scalar() bool  { return n != nil && n.kind == yaml.ScalarNode }
func (n *node) mapping() bool { return n != nil && n.kind == yaml.MappingNode }

// list is the elements of a list, or the only one.
func (n *node) list() []*node {
	switch {
	case n == nil || n.null():
		return nil
	case n.kind == yaml.SequenceNode:
		return n.items
	}
	return []*node{n}
}

// str is the text of a scalar; "" for all else.
func (n *node) str() string {
	if !n.scalar() {
		return ""
	}
	return strings.TrimSpace(n.text)
}

// boolean is what YAML 1.1 takes for one, which Home Assistant reads.
func (n *node) boolean() (value, ok bool) {
	if !n.scalar() || n.quoted {
		return false, false
	}
	switch strings.ToLower(n.text) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// word is the text of a state: on and off also where YAML reads a boolean.
func (n *node) word() string {
	if on, ok := n.boolean(); ok {
		if on {
			return "on"
		}
		return "off"
	}
	return n.str()
}

// show is a node as a person would name it, on one line.
func (n *node) show() string {
	switch {
	case n == nil:
		return ""
	case n.kind == yaml.ScalarNode:
		return strings.TrimSpace(n.tag + " " + n.text)
	case n.kind == yaml.SequenceNode:
		var parts []string
		for _, e := range n.items[:min(len(n.items), 6)] {
			parts = append(parts, e.show())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	var parts []string
	for i, k := range n.keys[:min(len(n.keys), 6)] {
		parts = append(parts, k+": "+n.items[i].show())
	}
	return strings.Join(parts, ", ")
}
