package topic

import (
	"slices"
	"strings"
)

// Subscribers are subscriptions: for each filter those who want what matches it,
// and how (V). The zero value is ready. It is not safe for concurrent use, and what
// Match calls must not change it.
//
// Every message that is published asks it, so Match allocates nothing, and goes
// through a slice where there are subscribers. Filters without wildcards lie in one
// map; a house has mostly these, and the topic is looked up once for all of them.
// The others are a tree of levels, of which Match sees what the topic leads to.
type Subscribers[K comparable, V any] struct {
	exact map[string]*set[K, V]
	tree  branch[K, V]
	len   int
}

// Len is the number of subscriptions.
func (s *Subscribers[K, V]) Len() int { return s.len }

// Set subscribes k to filter, or changes how it is subscribed.
func (s *Subscribers[K, V]) Set(filter string, k K, v V) (added bool) {
	at := s.find(filter)
	if at == nil {
		filter = strings.Clone(filter) // it may be a part of a packet
		at = s.make(filter)
		at.filter = filter
	}
	if !at.set(k, v) {
		return false
	}
	s.len++
	return true
}

// Delete ends the subscription of k to filter, if there is one.
func (s *Subscribers[K, V]) Delete(filter string, k K) bool {
	at := s.find(filter)
	if at == nil || !at.delete(k) {
		return false
	}
	s.len--
	if len(at.all) > 0 {
		return true
	}
	if !wild(filter) {
		delete(s.exact, filter)
		return true
	}
	for b := s.tree.at(filter); b.parent != nil && b.empty(); b = b.parent {
		b.parent.setChild(b.level, nil)
	}
	return true
}

// Match calls yield for each subscription that matches topic, until it returns
// false. Who has subscribed by several filters comes several times.
func (s *Subscribers[K, V]) Match(topic string, yield func(filter string, k K, v V) bool) {
	s.match(topic, yield)
}

// Any says whether Match would find one.
func (s *Subscribers[K, V]) Any(topic string) bool {
	return !s.match(topic, func(string, K, V) bool { return false })
}

func (s *Subscribers[K, V]) match(topic string, yield func(filter string, k K, v V) bool) bool {
	if at := s.exact[topic]; at != nil && !at.each(yield) {
		return false
	}
	if hidden(topic) {
		level, rest, more := strings.Cut(topic, "/")
		b := s.tree.children[level]
		return b == nil || b.match(rest, more, yield)
	}
	return s.tree.match(topic, true, yield)
}

func (s *Subscribers[K, V]) find(filter string) *set[K, V] {
	if !wild(filter) {
		return s.exact[filter]
	}
	if b := s.tree.at(filter); b != nil && len(b.all) > 0 {
		return &b.set
	}
	return nil
}

func (s *Subscribers[K, V]) make(filter string) *set[K, V] {
	if wild(filter) {
		return &s.tree.grow(filter).set
	}
	if s.exact == nil {
		s.exact = make(map[string]*set[K, V])
	}
	at := new(set[K, V])
	s.exact[filter] = at
	return at
}

// A branch of the tree is where filters with the same levels so far go on. One that
// leads to no subscriber is cut off.
type branch[K comparable, V any] struct {
	set[K, V] // of the filter that ends here

	level    string
	parent   *branch[K, V]
	children map[string]*branch[K, V]
	plus     *branch[K, V] // the child +
	hash     *branch[K, V] // the child #, where nothing goes on
}

func (b *branch[K, V]) empty() bool {
	return len(b.all) == 0 && len(b.children) == 0 && b.plus == nil && b.hash == nil
}

func (b *branch[K, V]) child(level string) *branch[K, V] {
	switch level {
	case "+":
		return b.plus
	case "#":
		return b.hash
	}
	return b.children[level]
}

func (b *branch[K, V]) setChild(level string, c *branch[K, V]) {
	switch {
	case level == "+":
		b.plus = c
	case level == "#":
		b.hash = c
	case c == nil:
		if delete(b.children, level); len(b.children) == 0 {
			b.children = nil // a map never shrinks
		}
	default:
		if b.children == nil {
			b.children = make(map[string]*branch[K, V])
		}
		b.children[level] = c
	}
}

// at gives the branch where filter ends, nil if there is none.
func (b *branch[K, V]) at(filter string) *branch[K, V] {
	for more := true; more && b != nil; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		b = b.child(level)
	}
	return b
}

// grow is at, and makes what is missing.
func (b *branch[K, V]) grow(filter string) *branch[K, V] {
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		c := b.child(level)
		if c == nil {
			c = &branch[K, V]{level: level, parent: b}
			b.setChild(level, c)
		}
		b = c
	}
	return b
}

// match goes through what matches the rest of a topic from here. It calls itself
// once a level, and however many filters fork, no branch is seen twice.
func (b *branch[K, V]) match(topic string, more bool, yield func(filter string, k K, v V) bool) bool {
	if b.hash != nil && !b.hash.each(yield) {
		return false
	}
	if !more {
		return b.each(yield)
	}
	level, rest, more := strings.Cut(topic, "/")
	if c := b.children[level]; c != nil && !c.match(rest, more, yield) {
		return false
	}
	return b.plus == nil || b.plus.match(rest, more, yield)
}

// A set is the subscribers of one filter, in no order.
type set[K comparable, V any] struct {
	filter string
	all    []subscriber[K, V]
	places map[K]int // where each is in all; nil while there are few
}

type subscriber[K comparable, V any] struct {
	k K
	v V
}

// few subscribers are found sooner by looking at each.
const few = 16

func (s *set[K, V]) each(yield func(filter string, k K, v V) bool) bool {
	for i := range s.all {
		if sub := &s.all[i]; !yield(s.filter, sub.k, sub.v) {
			return false
		}
	}
	return true
}

func (s *set[K, V]) find(k K) (i int, ok bool) {
	if s.places != nil {
		i, ok = s.places[k]
		return i, ok
	}
	i = slices.IndexFunc(s.all, func(sub subscriber[K, V]) bool { return sub.k == k })
	return i, i >= 0
}

func (s *set[K, V]) set(k K, v V) (added bool) {
	if i, ok := s.find(k); ok {
		s.all[i].v = v
		return false
	}
	s.all = append(s.all, subscriber[K, V]{k, v})
	if s.places != nil {
		s.places[k] = len(s.all) - 1
	} else if len(s.all) > few {
		s.place()
	}
	return true
}

func (s *set[K, V]) delete(k K) bool {
	i, ok := s.find(k)
	if !ok {
		return false
	}
	last := len(s.all) - 1
	if s.places != nil {
		s.places[s.all[last].k] = i
		delete(s.places, k)
	}
	s.all[i] = s.all[last]
	s.all[last] = subscriber[K, V]{}
	s.all = s.all[:last]
	if wasteful(s.all) {
		s.all = slices.Clone(s.all)
		s.place()
	}
	return true
}

// place writes down anew where each is.
func (s *set[K, V]) place() {
	s.places = nil
	if len(s.all) <= few {
		return
	}
	s.places = make(map[K]int, len(s.all))
	for i := range s.all {
		s.places[s.all[i].k] = i
	}
}

// wasteful says that a slice holds on to room for much more than is in it.
func wasteful[T any](s []T) bool { return cap(s) > 2*few && len(s) < cap(s)/4 }
