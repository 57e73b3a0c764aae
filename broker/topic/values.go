package topic

import (
	"iter"
	"slices"
	"strings"
)

// Values are one value for each of many topics. The zero value is ready. It is not
// safe for concurrent use, and must not change while Match or All go through it.
//
// A topic is found in one map, those that match a filter in a tree of levels: of
// the topics only those are seen that begin as the filter does up to a wildcard.
// Their order is that of their levels: "a", "a/b", "a-b".
type Values[V any] struct {
	topics map[string]*node[V]
	root   node[V]
}

// A node is a topic, or the beginning of some. One that is neither is cut off.
type node[V any] struct {
	level    string
	parent   *node[V]
	children []*node[V] // by level

	isTopic bool
	topic   string
	value   V
}

// Len is the number of topics.
func (vs *Values[V]) Len() int { return len(vs.topics) }

// Get gives the value of a topic.
func (vs *Values[V]) Get(topic string) (v V, ok bool) {
	if n := vs.topics[topic]; n != nil {
		return n.value, true
	}
	return v, false
}

// Set gives a topic its value.
func (vs *Values[V]) Set(topic string, v V) (added bool) {
	if n := vs.topics[topic]; n != nil {
		n.value = v
		return false
	}
	topic = strings.Clone(topic) // it may be a part of a packet
	n := &vs.root
	for rest, more := topic, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		i, ok := n.find(level)
		if !ok {
			n.children = slices.Insert(n.children, i, &node[V]{level: level, parent: n})
		}
		n = n.children[i]
	}
	n.isTopic, n.topic, n.value = true, topic, v
	if vs.topics == nil {
		vs.topics = make(map[string]*node[V])
	}
	vs.topics[topic] = n
	return true
}

// Delete takes a topic away, if it is there.
func (vs *Values[V]) Delete(topic string) bool {
	n := vs.topics[topic]
	if n == nil {
		return false
	}
	delete(vs.topics, topic)
	var none V
	n.isTopic, n.topic, n.value = false, "", none
	for ; n.parent != nil && !n.isTopic && len(n.children) == 0; n = n.parent {
		up := n.parent
		i, _ := up.find(n.level)
		up.children = slices.Delete(up.children, i, i+1)
		if wasteful(up.children) {
			up.children = slices.Clone(up.children)
		}
	}
	return true
}

// All gives every topic, in order.
func (vs *Values[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { vs.root.each(yield) }
}

// Match calls yield for each topic that matches filter, in order, until it returns
// false.
func (vs *Values[V]) Match(filter string, yield func(topic string, v V) bool) {
	if wild(filter) {
		vs.root.match(filter, true, yield)
	} else if n := vs.topics[filter]; n != nil {
		yield(n.topic, n.value)
	}
}

// match goes through what matches the rest of a filter from here.
func (n *node[V]) match(filter string, more bool, yield func(topic string, v V) bool) bool {
	if !more {
		return !n.isTopic || yield(n.topic, n.value)
	}
	level, rest, more := strings.Cut(filter, "/")
	if level != "+" && level != "#" {
		i, ok := n.find(level)
		return !ok || n.children[i].match(rest, more, yield)
	}
	if level == "#" && n.isTopic && !yield(n.topic, n.value) {
		return false
	}
	for _, c := range n.children {
		switch {
		case n.parent == nil && hidden(c.level):
		case level == "#" && !c.each(yield), level == "+" && !c.match(rest, more, yield):
			return false
		}
	}
	return true
}

// each goes through what is here and below.
func (n *node[V]) each(yield func(topic string, v V) bool) bool {
	if n.isTopic && !yield(n.topic, n.value) {
		return false
	}
	for _, c := range n.children {
		if !c.each(yield) {
			return false
		}
	}
	return true
}

func (n *node[V]) find(level string) (i int, ok bool) {
	return slices.BinarySearchFunc(n.children, level, func(c *node[V], level string) int {
		return strings.Compare(c.level, level)
	})
}
