package access

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// matches and covers ask rights of one rule.
func matches(rule, topic string) bool {
	r := &Rights{publish: []string{rule}, subscribe: []string{rule}}
	if r.Publish(topic) != r.Receive(topic) {
		panic("publish and receive differ")
	}
	return r.Receive(topic)
}

func covers(rule, filter string) bool { return (&Rights{subscribe: []string{rule}}).Subscribe(filter) }

// A rule is an MQTT filter: what it matches and what it does not.
func TestRulesMatchAsFiltersDo(t *testing.T) {
	for _, c := range []struct {
		rule, topic string
		want        bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/bc", false}, // no prefix
		{"a/b", "a", false},
		{"a/b", "a/b/c", false},
		{"a/b", "A/b", false},
		{"a/+", "a/b", true},
		{"a/+", "a/", true}, // an empty level is one
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"+", "a", true},
		{"+", "/a", false},
		{"/+", "/a", true},
		{"+/+", "/a", true},
		{"a/#", "a/b/c", true},
		{"a/#", "a", true},
		{"a/#", "ab", false},
		{"a/+/#", "a/b", true},
		{"a/+/#", "a", false},
		{"#", "a/b", true},
		{"#", "$SYS/uptime", false},
		{"+/uptime", "$SYS/uptime", false},
		{"$SYS/#", "$SYS/uptime", true},
		{"$SYS/+", "$SYS/uptime", true},
		{"$SYS/#", "$SYSTEM/uptime", false},
		{"$SYS/#", "$CONTROL/x", false},
		{"a//b", "a//b", true},
		{"a//b", "a/b", false},
	} {
		if got := matches(c.rule, c.topic); got != c.want {
			t.Errorf("rule %s, topic %q: %v, want %v", c.rule, c.topic, got, c.want)
		}
	}
}

// A subscription needs one rule that allows all of it.
func TestRulesCoverFilters(t *testing.T) {
	for _, c := range []struct {
		rule, filter string
		want         bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/+", false},
		{"a/b", "a/#", false},
		{"a/+", "a/b", true},
		{"a/+", "a/+", true},
		{"a/+", "a/#", false},
		{"a/+", "+/b", false},
		{"a/#", "a/#", true},
		{"a/#", "a", true},
		{"a/#", "a/+/c/#", true},
		{"a/#", "#", false},
		{"a/#", "+/b", false},
		{"a/+/#", "a/b/#", true},
		{"a/+/#", "a/#", false}, // a alone
		{"+/#", "#", true},      // every topic has a level
		{"+/+/#", "#", false},
		{"#", "#", true},
		{"#", "+/+", true},
		{"#", "$SYS/#", false},
		{"+/#", "$SYS/#", false},
		{"$SYS/#", "$SYS/#", true},
		{"$SYS/#", "$SYS", true},
		{"$SYS/#", "#", false},
		{"$SYS/#", "+/uptime", false},
		{"a", "", false},
	} {
		if got := covers(c.rule, c.filter); got != c.want {
			t.Errorf("rule %s, filter %q: %v, want %v", c.rule, c.filter, got, c.want)
		}
	}
}

// Names of users and clients fill a rule, and never make it wider.
func TestNamesInRules(t *testing.T) {
	for _, c := range []struct {
		rule, user, client string
		want               string // "" is nothing
	}{
		{"tele/%c/#", "anna", "plug_1", "tele/plug_1/#"},
		{"home/%u/%c", "anna", "phone", "home/anna/phone"},
		{"home/dev_%c_%u/x", "anna", "phone", "home/dev_phone_anna/x"},
		{"a/100%%/b", "anna", "phone", "a/100%/b"},
		{"a/%%c", "anna", "phone", "a/%c"},
		{"tele/%c/#", "anna", "+", ""},
		{"tele/%c/#", "anna", "#", ""},
		{"tele/%c", "anna", "a/b", ""},
		{"tele/%c", "anna", "a+", ""},
		{"tele/%c", "anna", "a\x00", ""},
		{"tele/%c", "anna", "", ""},
		{"tele/%u", "", "phone", ""},
		{"%c/#", "anna", "$SYS", ""}, // # of everything would not have had that either
		{"a/%c/#", "anna", "$SYS", "a/$SYS/#"},
		{"tele/%c", "anna", "%u", "tele/%u"}, // a name is no rule
		{"plain/#", "anna", "#", "plain/#"},
	} {
		got, ok := fill(c.rule, c.user, c.client)
		if ok != (c.want != "") || got != c.want {
			t.Errorf("rule %s of user %q, client %q: %q, want %q", c.rule, c.user, c.client, got, c.want)
		}
	}
}

// Nil rights and rights without a rule allow nothing; those of an admin all.
func TestDefaultIsDeny(t *testing.T) {
	for _, r := range []*Rights{nil, {}, {publish: []string{"b/#"}, subscribe: []string{"b/#"}}} {
		if r.Publish("a") || r.Receive("a") || r.Subscribe("a") || r.Subscribe("#") || r.Publish("$SYS/x") {
			t.Errorf("%+v allows something", r)
		}
	}
	r := &Rights{all: true}
	if !r.Publish("a") || !r.Receive("$SYS/x") || !r.Subscribe("#") || !r.Subscribe("$CONTROL/#") {
		t.Error("an admin may not do everything")
	}
}

// levels are few and of one alphabet, so that rules, filters and topics meet.
func drawFilter(t *rapid.T, label string, wild bool) string {
	words := []string{"a", "b", "", "$S"}
	if wild {
		words = append(words, "+", "+")
	}
	levels := rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(t, label)
	if wild && rapid.Bool().Draw(t, label+" open") {
		levels = append(levels, "#")
		if rapid.Bool().Draw(t, label+" all") {
			levels = levels[len(levels)-1:]
		}
	}
	s := strings.Join(levels, "/")
	if s == "" {
		s = "/"
	}
	return s
}

// all gives every topic of up to five levels of that alphabet, and more words.
var allTopics = func() (all []string) {
	words := []string{"a", "b", "", "$S", "z"}
	last := []string{""}
	for n := range 5 {
		var next []string
		for _, head := range last {
			for _, w := range words {
				s := head + "/" + w
				if n == 0 {
					s = w
				}
				next = append(next, s)
			}
		}
		all = append(all, next...) // with the empty one, which is none but stands above /#
		last = next
	}
	return all
}()

// A subscription is allowed exactly if the rule allows every topic of it.
func TestWhatIsSubscribedIsReceived(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule, filter := drawFilter(t, "rule", true), drawFilter(t, "filter", true)
		every := true
		some := false
		for _, topic := range allTopics {
			if matches(filter, topic) {
				some = true
				if !matches(rule, topic) {
					every = false
					break
				}
			}
		}
		if got := covers(rule, filter); got && !every {
			t.Fatalf("rule %s covers %s, but not all of its topics", rule, filter)
		} else if !got && every && some && len(strings.Split(filter, "/")) < 5 && len(strings.Split(rule, "/")) < 5 {
			t.Fatalf("rule %s does not cover %s, although it matches all of its topics", rule, filter)
		}
	})
}

// Whatever the names are, what a rule allows has them in it, and the rest of it as
// it was written.
func FuzzNamesInRules(f *testing.F) {
	f.Add("tele/%c/#", "anna", "plug", "tele/plug/x")
	f.Add("%c/#", "anna", "$SYS", "$SYS/x")
	f.Add("%u%c/+", "+", "#", "a/b")
	f.Fuzz(func(t *testing.T, rule, user, client, topic string) {
		if ruleFault(rule) != "" || topic == "" {
			return
		}
		filled, ok := fill(rule, user, client)
		if !ok {
			return
		}
		if fault := ruleFault(strings.ReplaceAll(filled, "%", "%%")); fault != "" && !strings.HasPrefix(filled, "$share/") && !strings.Contains(fault, "control") && !strings.Contains(fault, "bytes") {
			t.Fatalf("%q with %q and %q is %q: %s", rule, user, client, filled, fault)
		}
		if strings.Count(filled, "/") != strings.Count(rule, "/") || strings.Count(filled, "+") != strings.Count(rule, "+") || strings.Count(filled, "#") != strings.Count(rule, "#") {
			t.Fatalf("%q with %q and %q is wider: %q", rule, user, client, filled)
		}
		if matches(filled, topic) && topic[0] == '$' && rule[0] != '$' {
			t.Fatalf("%q with %q and %q matches %q", rule, user, client, topic)
		}
		if covers(filled, topic) && !strings.ContainsAny(topic, "+#") && !matches(filled, topic) {
			t.Fatalf("%q covers %q and does not match it", filled, topic)
		}
	})
}

// The same for any bytes: what is subscribed is received.
func FuzzCoverage(f *testing.F) {
	f.Add("a/+/#", "a/b/#", "a/b/c")
	f.Add("+/#", "#", "x")
	f.Add("$SYS/#", "+/x", "$SYS/x")
	f.Fuzz(func(t *testing.T, rule, filter, topic string) {
		if rule == "" || filter == "" || ruleFault(strings.ReplaceAll(filter, "%", "%%")) != "" {
			return
		}
		if covers(rule, filter) && matches(filter, topic) && !matches(rule, topic) {
			t.Fatalf("rule %q covers %q, but not its topic %q", rule, filter, topic)
		}
	})
}

// A delivery asks, so asking costs no memory.
func TestAskingAllocatesNothing(t *testing.T) {
	r := &Rights{publish: []string{"a/b", "tele/+/SENSOR"}, subscribe: []string{"x/#", "cmnd/+/+", "tele/plug/#"}}
	var all Rights
	all.all = true
	if n := testing.AllocsPerRun(100, func() {
		if !r.Receive("tele/plug/SENSOR/x") || !r.Publish("tele/a/SENSOR") || !r.Subscribe("cmnd/+/POWER") || !all.Receive("a") {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReceive(b *testing.B) {
	r := &Rights{subscribe: []string{"cmnd/plug_1/#", "stat/plug_1/+", "tele/+/SENSOR"}}
	for b.Loop() {
		r.Receive("tele/plug_77/SENSOR")
	}
}

func BenchmarkReceiveAll(b *testing.B) {
	r := &Rights{all: true}
	for b.Loop() {
		r.Receive("tele/plug_77/SENSOR")
	}
}
