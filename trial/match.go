package trial

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"hearth/devices"
)

// A Verdict is what a test came to.
type Verdict struct {
	Test  Test
	House House
	Story Story

	of     []int         // for each expectation the event that it was, -1 for none
	as     []int         // for each event the expectation that it was, -1 for none
	spare  []bool        // events that nobody need expect
	broken map[int][]int // events that are forbidden, and by which
}

// Run plays a test in a house and compares.
func Run(house House, test Test) *Verdict {
	v := &Verdict{Test: test, House: house, Story: Play(house, test)}
	v.judge()
	return v
}

// OK says that the test passed.
func (v *Verdict) OK() bool {
	return v.Story.Trouble == "" && len(v.missing()) == 0 && len(v.extra()) == 0 && len(v.broken) == 0
}

// missing are the expectations that nothing was.
func (v *Verdict) missing() (list []int) {
	for i, event := range v.of {
		if event < 0 {
			list = append(list, i)
		}
	}
	return list
}

// extra are the events that nobody expected.
func (v *Verdict) extra() (list []int) {
	for j, expected := range v.as {
		if expected < 0 && !v.spare[j] {
			list = append(list, j)
		}
	}
	return list
}

// judge pairs expectations with events, each with one at most. What must be
// expected looks for its pair first, and who has one keeps one, even if others
// have to change theirs for it: if there is any way to pair all, it is found
// (Kuhn's algorithm).
func (v *Verdict) judge() {
	events := v.Story.Events
	v.of = fill(len(v.Test.Expect))
	v.as = fill(len(events))
	v.spare = make([]bool, len(events))
	v.broken = make(map[int][]int)
	before := make(map[string]string)
	for j, e := range events {
		last, repeats := before[e.Topic+e.Device]
		repeats = repeats && last == e.Payload && !(e.Output != "" && e.Changed)
		v.spare[j] = e.Free || v.Test.Repeats && repeats && e.Topic+e.Device != "" || e.Topic != "" && v.ignored(e.Topic)
		before[e.Topic+e.Device] = e.Payload
	}
	for _, spare := range []bool{false, true} {
		for j := range events {
			if v.spare[j] == spare {
				v.pair(j, make([]bool, len(v.of)))
			}
		}
	}
	for i, f := range v.Test.Forbid {
		for j, e := range events {
			if f.in(e) && f.is(e) {
				v.broken[j] = append(v.broken[j], i)
			}
		}
	}
}

func fill(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = -1
	}
	return list
}

// pair finds an expectation for event j, and another event for that if need be.
func (v *Verdict) pair(j int, asked []bool) bool {
	for i, e := range v.Test.Expect {
		if asked[i] || !e.in(v.Story.Events[j]) || !e.is(v.Story.Events[j]) {
			continue
		}
		asked[i] = true
		if v.of[i] < 0 || v.pair(v.of[i], asked) {
			v.of[i], v.as[j] = j, i
			return true
		}
	}
	return false
}

func (v *Verdict) ignored(topic string) bool {
	for _, filter := range v.Test.Ignore {
		if devices.MatchTopic(filter, topic) {
			return true
		}
	}
	return false
}

// in says that an event came when e may come.
func (e Expect) in(got *Event) bool {
	from, to := e.window()
	return got.At >= from && got.At <= to
}

// is says that an event is what e is about, whenever it came.
func (e Expect) is(got *Event) bool {
	return e.about(got) &&
		(e.Device == "" || (e.Device == got.Device || got.Main && e.Device == base(got.Device)) && (e.Value == nil || e.Value.is(got.Value))) &&
		(e.To == nil || bool(*e.To) == got.On) &&
		(e.Payload == nil || Equal(string(*e.Payload), got.Payload)) &&
		(e.Retain == nil || *e.Retain == got.Retain) &&
		(e.HTTP == "" || (e.Method == "" || e.Method == got.HTTP.Method) && (e.Body == "" || Equal(e.Body, got.HTTP.Body)))
}

// about says that an event has the target of e.
func (e Expect) about(got *Event) bool {
	switch {
	case e.Topic != "":
		return e.Topic == got.Topic
	case e.Output != "":
		return e.Output == got.Output && got.Changed
	case e.Device != "":
		return got.Device != "" && base(e.Device) == base(got.Device)
	case e.HTTP != "":
		return got.HTTP != nil && e.HTTP == got.HTTP.URL
	}
	return e.Notify == got.Notify && got.Notify != ""
}

// base is the device of which something is a property.
func base(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}

// Equal compares two payloads: the same bytes, or the same JSON with numbers that
// differ by 1e-6 at most.
func Equal(want, got string) bool {
	if want == got {
		return true
	}
	var a, b any
	return json.Unmarshal([]byte(want), &a) == nil && json.Unmarshal([]byte(got), &b) == nil && same(a, b)
}

func same(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-6
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			other, has := b[k]
			if !has || !same(a[k], other) {
				return false
			}
		}
		return true
	}
	return a == b
}

// senders are the links, rules and machines that name a target: a topic, an output or a
// notification ("" then). It reads them as plain values, so that it need not
// know every key of theirs.
func senders(house House, e Expect) (names []string) {
	b, err := json.Marshal(house.Logic)
	var kinds map[string]any
	if err != nil || json.Unmarshal(b, &kinds) != nil {
		return nil
	}
	targets := map[string]bool{e.Topic: true, e.Output: true, e.HTTP: true, base(e.Device): true}
	if e.Output != "" {
		targets[topic(e.Output, "set")] = true
	}
	for _, o := range house.Pins.Output { // its messages follow from what switches it
		if e.Topic != "" && o.Value.Topic == e.Topic {
			targets[o.Name] = true
		}
	}
	for _, d := range house.Logic.Device {
		id := cmp.Or(d.Value.ID, d.Name)
		if e.Topic == "zigbee2mqtt/"+id+"/set" || strings.HasPrefix(e.Topic, "cmnd/"+id+"/") {
			targets[d.Name] = true
		}
	}
	targets[notification] = e.Notify != ""
	for _, n := range named(kinds["Notify"]) {
		targets[notification] = targets[notification] || e.Topic != "" && n.value["Topic"] == e.Topic
	}
	delete(targets, "")
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for _, n := range named(kinds[kind]) {
			if aims(n.value, "", targets) {
				names = append(names, strings.ToLower(kind)+"."+n.name)
			}
		}
	}
	return names
}

// An entry is what stands in a table under the owner's name.
type entry struct {
	name  string
	value map[string]any
}

func named(table any) (list []entry) {
	all, _ := table.([]any)
	for _, e := range all {
		e, _ := e.(map[string]any)
		name, _ := e["Name"].(string)
		value, _ := e["Value"].(map[string]any)
		if name != "" {
			list = append(list, entry{name, value})
		}
	}
	return list
}

// notification stands for any notification among targets.
const notification = "\x00notify"

var hole = regexp.MustCompile(`\\\{[^}]*\\\}`)

// aims says whether a configured value names a target under a key that is for one.
func aims(v any, key string, targets map[string]bool) bool {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if aims(e, k, targets) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if aims(e, key, targets) {
				return true
			}
		}
	case string:
		switch key {
		case "Notify":
			return v != "" && targets[notification]
		case "Set", "Publish", "Pulse", "Ramp", "To", "Topic", "HTTP":
			base, _, _ := strings.Cut(v, ".") // of a device's property
			if targets[v] || targets[base] && !strings.Contains(base, "/") {
				return true
			}
			// "{room}/lamp/set" may be any room's.
			if pattern := hole.ReplaceAllString(regexp.QuoteMeta(v), ".*"); v != "" && pattern != regexp.QuoteMeta(v) {
				re, err := regexp.Compile("^" + pattern + "$")
				for t := range targets {
					if err == nil && re.MatchString(t) {
						return true
					}
				}
			}
		}
	}
	return false
}
