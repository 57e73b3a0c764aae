package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFault(t *testing.T) {
	for _, c := range []struct {
		s             string
		topic, filter string
	}{
		{"a", "", ""}, {"/", "", ""}, {"a//b", "", ""}, {"$SYS/a b", "", ""}, {"höhe/ü", "", ""},
		{"", "it is empty", "it is empty"},
		{strings.Repeat("a", 20), "", ""},
		{strings.Repeat("a", 21), "it is longer than 20 bytes", "it is longer than 20 bytes"},
		{"1/2/3/4", "", ""},
		{"1/2/3/4/5", "it has more than 4 levels", "it has more than 4 levels"},
		{"a/\xff", "it is no valid text: not UTF-8", "it is no valid text: not UTF-8"},
		{"a/\xed\xa0\x80", "it is no valid text: not UTF-8", "it is no valid text: not UTF-8"}, // a half of a pair
		{"a\x00", "it is no valid text: there is a zero byte in it", "it is no valid text: there is a zero byte in it"},
		{"+", "wildcards are for subscribing", ""},
		{"a/#", "wildcards are for subscribing", ""},
		{"+/a/+/#", "wildcards are for subscribing", ""},
		{"a+", "wildcards are for subscribing", "a wildcard is a level of its own"},
		{"a/+b/c", "wildcards are for subscribing", "a wildcard is a level of its own"},
		{"++", "wildcards are for subscribing", "a wildcard is a level of its own"},
		{"a#", "wildcards are for subscribing", "a wildcard is a level of its own"},
		{"#/a", "wildcards are for subscribing", "# is for the end"},
		{"a/#/", "wildcards are for subscribing", "# is for the end"},
	} {
		if got := Fault(c.s, false, 20, 4); got != c.topic {
			t.Errorf("%q as a topic: %q, want %q", c.s, got, c.topic)
		}
		if got := Fault(c.s, true, 20, 4); got != c.filter {
			t.Errorf("%q as a filter: %q, want %q", c.s, got, c.filter)
		}
	}
}

// A packet of slashes that are only counted once they are few costs nothing.
func TestFaultOfSlashesIsFoundAtOnce(t *testing.T) {
	slashes := strings.Repeat("/", 65_000)
	begun := time.Now()
	for range 1000 {
		if Fault(slashes, false, 512, 32) != "it is longer than 512 bytes" || Fault(slashes, true, 1<<20, 32) != "it has more than 32 levels" {
			t.Fatal("they are no topic")
		}
	}
	if took := time.Since(begun); took > 10*time.Second { // it is 1 ms
		t.Errorf("a thousand times took %v", took)
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		filter, group, rest string
		ok                  bool
	}{
		{"a/b", "", "a/b", true}, {"$shared/g/a", "", "$shared/g/a", true}, {"", "", "", true}, {"/$share/g/a", "", "/$share/g/a", true},
		{"$share/g/a/b", "g", "a/b", true}, {"$share/g/#", "g", "#", true}, {"$share/g//", "g", "/", true},
		{"$share", "", "", false}, {"$share/", "", "", false}, {"$share/g", "", "", false}, {"$share/g/", "", "", false},
		{"$share//a", "", "", false}, {"$share/+/a", "", "", false}, {"$share/g#/a", "", "", false},
	} {
		if group, rest, ok := Share(c.filter); group != c.group || rest != c.rest || ok != c.ok {
			t.Errorf("%q: group %q, filter %q, %v", c.filter, group, rest, ok)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false},
		{"a/+", "a/", true}, {"+", "a", true}, {"+", "/a", false}, {"+/+", "/a", true}, {"/+", "/a", true},
		{"#", "a/b/c", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"+/b/#", "a/b", true},
		{"#", "$SYS/a", false}, {"+/a", "$SYS/a", false}, {"$SYS/#", "$SYS/a", true}, {"a/b/#", "a", false}, {"a//b", "a//b", true},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.topic, got)
		}
		if got := plainMatch(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v, if one looks simply", c.filter, c.topic, got)
		}
	}
}

// plainMatch is Match as the standard tells it.
func plainMatch(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	if f[len(f)-1] == "#" {
		f = f[:len(f)-1]
		if len(t) < len(f) {
			return false
		}
		t = t[:len(f)]
	}
	return slices.EqualFunc(f, t, func(f, t string) bool { return f == "+" || f == t })
}

// everyTopic and everyFilter are all of a small world. The topics have a level more
// than the filters, and a word that is in no filter.
func everyTopic() []string { return words(4, "", "a", "b", "$") }
func everyFilter() (filters []string) {
	for _, f := range words(3, "", "a", "$", "+", "#") {
		if Fault(f, true, 100, 100) == "" {
			filters = append(filters, f)
		}
	}
	return filters
}

func words(levels int, of ...string) (all []string) {
	last := of
	for range levels {
		all = append(all, last...)
		var next []string
		for _, begin := range last {
			for _, w := range of {
				next = append(next, begin+"/"+w)
			}
		}
		last = next
	}
	return all
}

// A rule covers a filter if, of all topics, none that matches the filter is left
// out; and if it says it does not, there is one.
func TestCovers(t *testing.T) {
	topics, filters := everyTopic(), everyFilter()
	covered := 0
	for _, rule := range filters {
		for _, filter := range filters {
			i := slices.IndexFunc(topics, func(topic string) bool { return plainMatch(filter, topic) && !plainMatch(rule, topic) })
			got := Covers(rule, filter)
			switch {
			case got && i >= 0:
				t.Errorf("rule %q covers %q, but for %q", rule, filter, topics[i])
			case !got && i < 0:
				t.Errorf("rule %q does not cover %q", rule, filter)
			case got:
				covered++
			}
		}
	}
	if all := len(filters) * len(filters); covered < all/20 || covered > all/2 {
		t.Errorf("%d of %d pairs are covered", covered, all)
	}
}

// What a filter finds among all topics, and a topic among all filters, is what
// matches, and comes once.
func TestIndexesFindWhatMatches(t *testing.T) {
	topics, filters := everyTopic(), everyFilter()
	var subs Subscribers[int, bool]
	var values Values[int]
	for i, f := range filters {
		subs.Set(f, i, true)
	}
	for i, topic := range topics {
		values.Set(topic, i)
	}
	for _, topic := range topics {
		var got, want []string
		subs.Match(topic, func(filter string, k int, v bool) bool {
			if filters[k] != filter || !v {
				t.Fatalf("subscriber %d of %q came by %q", k, filters[k], filter)
			}
			got = append(got, filter)
			return true
		})
		for _, f := range filters {
			if plainMatch(f, topic) {
				want = append(want, f)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q goes to %q, want %q", topic, got, want)
		}
		if subs.Any(topic) != (len(want) > 0) {
			t.Errorf("%q goes to any: %v, want %q", topic, subs.Any(topic), want)
		}
	}
	byLevel := func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) }
	slices.SortFunc(topics, byLevel)
	for _, f := range filters {
		var got, want []string
		values.Match(f, func(topic string, v int) bool { got = append(got, topic); return true })
		for _, topic := range topics {
			if plainMatch(f, topic) {
				want = append(want, topic)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q finds %q, want %q", f, got, want)
		}
	}
	var all []string
	for topic := range values.All() {
		all = append(all, topic)
	}
	if !slices.Equal(all, topics) {
		t.Errorf("all are %q, want %q", all, topics)
	}
}

// Two filters meet if there is a topic that both match.
func TestMeet(t *testing.T) {
	topics, filters := everyTopic(), everyFilter()
	for _, a := range filters {
		for _, b := range filters {
			want := slices.ContainsFunc(topics, func(topic string) bool { return plainMatch(a, topic) && plainMatch(b, topic) })
			if got := Meet(a, b); got != want {
				t.Errorf("%q and %q meet: %v", a, b, got)
			}
		}
	}
	if Meet("", "#") {
		t.Error("no filter meets all")
	}
}

// Who has seen enough is not asked again, wherever it is.
func TestMatchStopsWhenTold(t *testing.T) {
	var subs Subscribers[int, bool]
	var values Values[int]
	for _, f := range everyFilter() {
		subs.Set(f, 1, true)
		subs.Set(f, 2, true)
	}
	for _, topic := range everyTopic() {
		values.Set(topic, 0)
	}
	stops := func(what string, match func(yield func() bool)) {
		all := 0
		match(func() bool { all++; return true })
		for most := 1; most <= all; most++ {
			n := 0
			match(func() bool { n++; return n < most })
			if n != most {
				t.Fatalf("%s: asked %d times, and said stop at %d", what, n, most)
			}
		}
	}
	for _, topic := range everyTopic() {
		stops(topic, func(yield func() bool) {
			subs.Match(topic, func(string, int, bool) bool { return yield() })
		})
	}
	for _, f := range everyFilter() {
		stops(f, func(yield func() bool) { values.Match(f, func(string, int) bool { return yield() }) })
	}
	stops("all", func(yield func() bool) {
		for range values.All() {
			if !yield() {
				break
			}
		}
	})
}

// Thousands subscribe, come back with other options, and leave, in any order; at
// the end nothing is left that would take memory.
func TestNothingIsLeft(t *testing.T) {
	var subs Subscribers[int, int]
	filters := append(everyFilter(), "house/+/state", "house/#", "house/hall/lamp/state")
	type sub struct {
		filter string
		k      int
	}
	var all []sub
	for k := range 200 {
		for _, f := range filters {
			all = append(all, sub{f, k})
		}
	}
	shuffle := func() { rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) }
	shuffle()
	for i, s := range all {
		if !subs.Set(s.filter, s.k, 1) || subs.Set(s.filter, s.k, s.k) || subs.Len() != i+1 {
			t.Fatalf("%v: subscription %d of %d", s, subs.Len(), i+1)
		}
	}
	shuffle()
	for i, s := range all {
		if !subs.Delete(s.filter, s.k) || subs.Delete(s.filter, s.k) || subs.Len() != len(all)-i-1 {
			t.Fatalf("%v: %d are left after %d of %d", s, subs.Len(), i+1, len(all))
		}
		if i == len(all)-len(all)/20 { // few are left, and each is where it is looked for
			for _, s := range all[i+1:] {
				found := 0
				for _, at := range []string{"", "a", "b", "$"} {
					topic := strings.NewReplacer("+", "a", "#", "a").Replace(s.filter) + at
					if !Match(s.filter, topic) {
						continue
					}
					subs.Match(topic, func(f string, k, v int) bool {
						if f == s.filter && k == s.k && v == k {
							found++
						}
						return true
					})
				}
				if found == 0 {
					t.Fatalf("%v is not found", s)
				}
			}
		}
	}
	if len(subs.exact) > 0 || !subs.tree.empty() {
		t.Errorf("left are %v and %v", subs.exact, subs.tree)
	}

	var values Values[*int]
	topics := append(everyTopic(), "house/hall/lamp/state", "house/hall")
	for i := range 2000 {
		topics = append(topics, fmt.Sprintf("many/%d", i))
	}
	rand.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
	for i, topic := range topics {
		if !values.Set(topic, new(int)) || values.Set(topic, &i) || values.Len() != i+1 {
			t.Fatalf("%q: topic %d of %d", topic, values.Len(), i+1)
		}
	}
	rand.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
	for i, topic := range topics {
		if _, ok := values.Get(topic); !ok || !values.Delete(topic) || values.Delete(topic) || values.Len() != len(topics)-i-1 {
			t.Fatalf("%q: %d are left after %d of %d", topic, values.Len(), i+1, len(topics))
		}
		if v, ok := values.Get(topic); ok || v != nil {
			t.Fatalf("%q is still %v", topic, v)
		}
	}
	if len(values.root.children) > 0 {
		t.Errorf("left is %v", values.root.children)
	}
}

// A set whose crowd has left gives back its room.
func TestRoomIsGivenBack(t *testing.T) {
	var subs Subscribers[int, int]
	for k := range 5000 {
		subs.Set("a", k, k)
	}
	for k := range 4990 {
		subs.Delete("a", k)
	}
	if at := subs.exact["a"]; cap(at.all) > 100 || len(at.places) > 10 {
		t.Errorf("10 subscribers have room for %d, and %d places", cap(at.all), len(at.places))
	}
	for k := 4990; k < 5000; k++ {
		if !subs.Delete("a", k) {
			t.Errorf("%d is lost", k)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	var subs Subscribers[string, int]
	var values Values[int]
	for i := range 100 {
		for _, f := range []string{"a/b/c", "a/+/c", "a/#", "+/b/#", "#"} {
			subs.Set(f, fmt.Sprint("client", i), i)
		}
		values.Set(fmt.Sprint("a/b/", i), i)
	}
	n := 0
	for what, f := range map[string]func(){
		"Match":             func() { Match("+/b/#", "a/b/c") },
		"Covers":            func() { Covers("+/b/#", "a/b/c") },
		"Fault":             func() { Fault("+/b/#", true, 512, 32) },
		"Share":             func() { Share("$share/g/a") },
		"Subscribers.Match": func() { subs.Match("a/b/c", func(string, string, int) bool { n++; return true }) },
		"Subscribers.Any":   func() { subs.Any("a/b/c") },
		"Values.Match":      func() { values.Match("+/b/#", func(string, int) bool { n++; return true }) },
	} {
		if got := testing.AllocsPerRun(10, f); got > 0 {
			t.Errorf("%s allocates %v times", what, got)
		}
	}
	if n == 0 {
		t.Error("nothing matched")
	}
}

// FuzzMatch: all who say what matches say the same.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a/#", "a"}, {"+/a", "$SYS/a"}, {"#", "$SYS"}, {"a/+/c", "a//c"}, {"$SYS/#", "$SYS/a"}, {"+/#", "a/b"}, {"+", "a+"}, {"/", "/"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		valid := Fault(filter, true, 512, 32) == "" && Fault(topic, false, 512, 32) == ""
		want := Match(filter, topic)
		covers := Covers(filter, topic)
		Covers(topic, filter)
		var subs Subscribers[int, int]
		subs.Set(filter, 1, 2)
		any := subs.Any(topic)
		var values Values[int]
		values.Set(topic, 1)
		found := false
		values.Match(filter, func(string, int) bool { found = true; return true })
		if !subs.Delete(filter, 1) || !subs.tree.empty() || len(subs.exact) > 0 || !values.Delete(topic) || len(values.root.children) > 0 {
			t.Errorf("%q or %q leaves something behind", filter, topic)
		}
		if !valid {
			return
		}
		if plain := plainMatch(filter, topic); want != plain || covers != plain || any != plain || found != plain {
			t.Errorf("%q, %q: Match %v, Covers %v, Subscribers %v, Values %v, want %v", filter, topic, want, covers, any, found, plain)
		}
		if group, rest, ok := Share(filter); ok && group != "" && filter != "$share/"+group+"/"+rest {
			t.Errorf("%q is %q of %q", filter, rest, group)
		}
	})
}

// FuzzIndexes: whatever is set and deleted in whatever order, the indexes hold what
// plain maps hold.
func FuzzIndexes(f *testing.F) {
	f.Add([]byte("0a1b2c3d4e5f"), byte(3))
	f.Add([]byte{0, 0, 1, 0, 128, 0, 1, 1, 129, 0, 129, 1}, byte(0))
	many := make([]byte, 0, 200)
	for i := range byte(50) {
		many = append(many, 7, i)
	}
	for i := range byte(50) {
		many = append(many, 128+7, i)
	}
	f.Add(many, byte(9))
	topics, filters := everyTopic(), everyFilter()
	f.Fuzz(func(t *testing.T, data []byte, at byte) {
		type sub struct {
			filter string
			k      byte
		}
		var subs Subscribers[byte, int]
		var values Values[int]
		wantSubs, wantValues := map[sub]int{}, map[string]int{}
		for i := 0; i+1 < len(data); i += 2 {
			op, k := data[i], data[i+1]
			s := sub{filters[int(op&127)%len(filters)], k}
			topic := topics[(int(op&127)*7+int(k))%len(topics)]
			_, hadSub := wantSubs[s]
			_, hadValue := wantValues[topic]
			if op < 128 {
				wantSubs[s], wantValues[topic] = i, i
				if subs.Set(s.filter, s.k, i) == hadSub || values.Set(topic, i) == hadValue {
					t.Fatalf("%v or %q was new or was not", s, topic)
				}
			} else {
				delete(wantSubs, s)
				delete(wantValues, topic)
				if subs.Delete(s.filter, s.k) != hadSub || values.Delete(topic) != hadValue {
					t.Fatalf("%v or %q was there or was not", s, topic)
				}
			}
		}
		if subs.Len() != len(wantSubs) || values.Len() != len(wantValues) {
			t.Errorf("%d subscriptions, want %d; %d values, want %d", subs.Len(), len(wantSubs), values.Len(), len(wantValues))
		}
		topic, filter := topics[int(at)%len(topics)], filters[int(at)%len(filters)]
		n := 0
		subs.Match(topic, func(filter string, k byte, v int) bool {
			if want, ok := wantSubs[sub{filter, k}]; !ok || want != v || !plainMatch(filter, topic) {
				t.Errorf("%q went to %d of %q", topic, k, filter)
			}
			n++
			return true
		})
		values.Match(filter, func(topic string, v int) bool {
			if want, ok := wantValues[topic]; !ok || want != v || !plainMatch(filter, topic) {
				t.Errorf("%q found %q = %d", filter, topic, v)
			}
			n++
			return true
		})
		for s := range wantSubs {
			if plainMatch(s.filter, topic) {
				n--
			}
			subs.Delete(s.filter, s.k)
		}
		for topic, v := range wantValues {
			if plainMatch(filter, topic) {
				n--
			}
			if got, ok := values.Get(topic); !ok || got != v {
				t.Errorf("%q is %d, %v, want %d", topic, got, ok, v)
			}
			values.Delete(topic)
		}
		if n != 0 {
			t.Errorf("%d too many have matched", n)
		}
		if subs.Len() > 0 || len(subs.exact) > 0 || !subs.tree.empty() || values.Len() > 0 || len(values.root.children) > 0 {
			t.Error("something is left behind")
		}
	})
}
