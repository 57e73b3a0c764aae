package access

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// matches and covers ask rights of one rule.
func matches(rule, topic string) bool {
	r := &Rights{grants: []grant{{publish: []string{rule}, subscribe: []string{rule}}}}
	if r.Publish(topic) != r.Receive(topic) {
		panic("publish and receive differ")
	}
	return r.Receive(topic)
}

func covers(rule, filter string) bool {
	return (&Rights{grants: []grant{{subscribe: []string{rule}}}}).Subscribe(filter)
}

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
	for _, r := range []*Rights{
		nil, {},
		{grants: []grant{{publish: []string{"b/#"}, subscribe: []string{"b/#"}}}},
		{grants: []grant{{publish: []string{"#"}, subscribe: []string{"#"}, except: []string{"#"}}}},
	} {
		if r.Publish("a") || r.Receive("a") || r.Subscribe("a") || r.Subscribe("#") || r.Publish("$SYS/x") {
			t.Errorf("%+v allows something", r)
		}
	}
	r := &Rights{all: true}
	if !r.Publish("a") || !r.Receive("$SYS/x") || !r.Subscribe("#") || !r.Subscribe("$CONTROL/#") {
		t.Error("an admin may not do everything")
	}
}

// rightsOf gives the rights of a user anna with some roles, by what Prepare does.
func rightsOf(client string, roles ...Role) *Rights {
	a := new(account)
	all := make(map[string]Role)
	for i, r := range roles {
		name := string('a' + rune(i))
		all[name] = r
		if err := a.add(name, all); err != nil {
			panic(err)
		}
	}
	a.settle("anna")
	return a.rights("anna", client)
}

// What a role excepts it does not allow; another may.
func TestExcept(t *testing.T) {
	house := Role{Publish: []string{"#"}, Subscribe: []string{"#", "$SYS/#"}, Except: []string{"door/+/code", "hearth/#", "by/%u/%c", "$SYS/broker/#"}}
	door := Role{Subscribe: []string{"door/front/code"}, Publish: []string{"hearth/+/set"}}
	for _, c := range []struct {
		name                        string
		r                           *Rights
		topic                       string // or a filter, if it has wildcards
		publish, receive, subscribe bool
	}{
		{"what is not excepted", rightsOf("c", house), "a/b", true, true, true},
		{"a name", rightsOf("c", house), "door/front/code", false, false, false},
		{"beside it", rightsOf("c", house), "door/front/codes", true, true, true},
		{"below it", rightsOf("c", house), "door/front/code/x", true, true, true},
		{"all below", rightsOf("c", house), "hearth/lamp/set", false, false, false},
		{"a/# is a too", rightsOf("c", house), "hearth", false, false, false},
		{"names of user and client", rightsOf("c", house), "by/anna/c", false, false, false},
		{"another client's", rightsOf("c", house), "by/anna/d", true, true, true},
		{"$ is excepted by $", rightsOf("c", house), "$SYS/broker/uptime", false, false, false},
		{"and not by less", rightsOf("c", house), "$SYS/x", false, true, true},
		{"a filter that is covered", rightsOf("c", house), "hearth/+/state", false, false, false},
		{"the exception itself", rightsOf("c", house), "door/+/code", false, false, false},
		{"a filter that is wider", rightsOf("c", house), "door/#", false, false, true},
		{"all", rightsOf("c", house), "#", false, false, true},
		{"another role's topic", rightsOf("c", house, door), "door/front/code", false, true, true},
		{"not more of it", rightsOf("c", house, door), "door/back/code", false, false, false},
		{"in any order", rightsOf("c", door, house), "door/front/code", false, true, true},
		{"to publish", rightsOf("c", door, house), "hearth/lamp/set", true, false, false},
		{"a client that no exception can name", rightsOf("a/b", house), "a/b", false, false, false},
		{"or user", rightsOf("", house), "a/b", false, false, false},
		{"has its other roles", rightsOf("a/b", house, door), "door/front/code", false, true, true},
		{"rules above themselves", rightsOf("c", Role{Subscribe: []string{"a/b"}, Except: []string{"a/#"}}), "a/b", false, false, false},
	} {
		wild := strings.ContainsAny(c.topic, "+#")
		if got := c.r.Publish(c.topic); !wild && got != c.publish {
			t.Errorf("%s: publish to %s: %v", c.name, c.topic, got)
		}
		if got := c.r.Receive(c.topic); !wild && got != c.receive {
			t.Errorf("%s: receive %s: %v", c.name, c.topic, got)
		}
		if got := c.r.Subscribe(c.topic); got != c.subscribe {
			t.Errorf("%s: subscribe to %s: %v", c.name, c.topic, got)
		}
	}
}

// Only what would be allowed is excepted.
func TestExcepted(t *testing.T) {
	r := rightsOf("c", Role{Subscribe: []string{"door/#"}, Except: []string{"door/+/code", "hall/#"}}, Role{Subscribe: []string{"door/front/code"}})
	for filter, want := range map[string]bool{"door/+/code": true, "door/back/code": true, "door/#": false, "hall/x": false, "other": false} {
		if got := r.Excepted(filter); got != want {
			t.Errorf("%s: %v", filter, got)
		}
	}
	if All.Excepted("door/+/code") || (*Rights)(nil).Excepted("door/+/code") {
		t.Error("something is excepted where there are no roles")
	}
}

// An exception is no rule: it never allows, takes away just what it matches, and
// what it takes from one role another still gives.
func TestExceptTakesAwayWhatItMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) Role {
			list := func(what string, least int) (all []string) {
				for range rapid.IntRange(least, 2).Draw(t, label+what) {
					all = append(all, drawFilter(t, label+what, true))
				}
				return all
			}
			return Role{Publish: list(" publish", 0), Subscribe: list(" subscribe", 1), Except: list(" except", 0)}
		}
		one, two := draw("one"), draw("two")
		allows := func(rules, except []string, topic string) bool {
			hit := func(filters []string) bool {
				for _, f := range filters {
					if matches(f, topic) {
						return true
					}
				}
				return false
			}
			return hit(rules) && !hit(except)
		}
		r := rightsOf("c", one, two)
		for _, topic := range allTopics {
			if got, want := r.Publish(topic), allows(one.Publish, one.Except, topic) || allows(two.Publish, two.Except, topic); got != want {
				t.Fatalf("publish to %q: %v, want %v", topic, got, want)
			}
			if got, want := r.Receive(topic), allows(one.Subscribe, one.Except, topic) || allows(two.Subscribe, two.Except, topic); got != want {
				t.Fatalf("receive %q: %v, want %v", topic, got, want)
			}
		}
		// Who is refused a filter gets less than all of it by each role, or nothing.
		filter := drawFilter(t, "filter", true)
		without := rightsOf("c", Role{Subscribe: one.Subscribe}, Role{Subscribe: two.Subscribe})
		if r.Subscribe(filter) && !without.Subscribe(filter) {
			t.Fatalf("with exceptions %s is allowed, without it is not", filter)
		}
		if !r.Subscribe(filter) && rightsOf("c", Role{Subscribe: one.Subscribe}).Subscribe(filter) {
			for _, topic := range allTopics {
				if matches(filter, topic) && allows(one.Subscribe, one.Except, topic) {
					t.Fatalf("%s is refused, although %q of it may come", filter, topic)
				}
			}
		}
	})
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

// Whatever the names are, what an exception takes away nobody gets by that role.
func FuzzExcept(f *testing.F) {
	f.Add("#", "hearth/#", "anna", "c", "hearth/house")
	f.Add("tele/%u/#", "tele/%u/%c", "anna", "plug", "tele/anna/plug")
	f.Add("#", "%c/x", "anna", "+", "a/x")
	f.Add("$SYS/#", "%c/x", "anna", "$SYS", "$SYS/x")
	f.Fuzz(func(t *testing.T, rule, except, user, client, topic string) {
		if ruleFault(rule) != "" || ruleFault(except) != "" || topic == "" || strings.ContainsAny(topic, "+#") {
			return
		}
		role := Role{Publish: []string{rule}, Subscribe: []string{rule}, Except: []string{except}}
		a := &account{roles: []Role{role}}
		r := a.make(user, client)
		filled, ok := fill(except, user, client)
		plain := &account{roles: []Role{{Publish: role.Publish, Subscribe: role.Subscribe}}}
		want := ok && !matches(filled, topic) && plain.make(user, client).Receive(topic)
		if r.Publish(topic) != want || r.Receive(topic) != want || r.Subscribe(topic) != want {
			t.Fatalf("rule %q but %q, user %q, client %q, topic %q: publish %v, receive %v, subscribe %v, want %v",
				rule, except, user, client, topic, r.Publish(topic), r.Receive(topic), r.Subscribe(topic), want)
		}
	})
}

// A delivery asks, so asking costs no memory.
func TestAskingAllocatesNothing(t *testing.T) {
	r := &Rights{grants: []grant{
		{publish: []string{"#"}, subscribe: []string{"#"}, except: []string{"tele/+/SENSOR/#", "cmnd/#"}},
		{publish: []string{"a/b", "tele/+/SENSOR"}, subscribe: []string{"x/#", "cmnd/+/+", "tele/plug/#"}},
	}}
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
	r := &Rights{grants: []grant{{subscribe: []string{"cmnd/plug_1/#", "stat/plug_1/+", "tele/+/SENSOR"}}}}
	for b.Loop() {
		r.Receive("tele/plug_77/SENSOR")
	}
}

func BenchmarkReceiveExcept(b *testing.B) {
	r := &Rights{grants: []grant{{subscribe: []string{"#"}, except: []string{"test/nosubscribe", "hearth/#", "door/+/code"}}}}
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
