package access

import (
	"strings"

	"hearth/broker/topic"
)

// Rights are of one user's client. They never change: after a reload there are
// others. They allow nothing that no rule allows; nil allows nothing at all.
//
// Asking them allocates nothing, for each delivery to each subscriber asks.
type Rights struct {
	all    bool // whatever there is: no rule is looked at
	grants []grant
}

// A grant is what one role allows. What it excepts another may allow.
type grant struct {
	publish, subscribe []string
	except             []string // of these topics nothing
	page               Page
}

// All allows everything.
var All = &Rights{all: true}

// Publish says whether the client may publish to a topic.
func (r *Rights) Publish(to string) bool {
	if r == nil || r.all {
		return r != nil
	}
	for i := range r.grants {
		if g := &r.grants[i]; some(g.publish, to, topic.Match) && !some(g.except, to, topic.Match) {
			return true
		}
	}
	return false
}

// Receive says whether a message of a topic may be delivered to the client.
func (r *Rights) Receive(of string) bool {
	if r == nil || r.all {
		return r != nil
	}
	for i := range r.grants {
		if g := &r.grants[i]; some(g.subscribe, of, topic.Match) && !some(g.except, of, topic.Match) {
			return true
		}
	}
	return false
}

// Subscribe says whether the client may subscribe to filter (without $share/NAME/):
// whether one rule allows every topic that the filter matches, and no exception
// takes all of them away. One that takes some away is for Receive to obey.
func (r *Rights) Subscribe(filter string) bool {
	if r == nil || r.all {
		return r != nil
	}
	for i := range r.grants {
		if g := &r.grants[i]; some(g.subscribe, filter, topic.Covers) && !some(g.except, filter, topic.Covers) {
			return true
		}
	}
	return false
}

// Excepted says of a filter that is refused whether it would be allowed but for an
// exception.
func (r *Rights) Excepted(filter string) bool {
	if r == nil || r.all {
		return false
	}
	for i := range r.grants {
		if g := &r.grants[i]; some(g.subscribe, filter, topic.Covers) && some(g.except, filter, topic.Covers) {
			return true
		}
	}
	return false
}

func some(rules []string, s string, allows func(rule, s string) bool) bool {
	for _, rule := range rules {
		if allows(rule, s) {
			return true
		}
	}
	return false
}

// fill puts the names of a user and a client into a rule as it was written. It
// says false if the rule then allows nothing: a name with a wildcard or a level
// in it would make it allow more than its author meant, and so would one with a
// $ at its front.
func fill(rule, user, client string) (string, bool) {
	if !strings.Contains(rule, "%") {
		return rule, true
	}
	var b strings.Builder
	for i := 0; i < len(rule); i++ {
		if rule[i] != '%' {
			b.WriteByte(rule[i])
			continue
		}
		i++ // Check has seen that something follows
		var name string
		switch rule[i] {
		case 'u':
			name = user
		case 'c':
			name = client
		default:
			b.WriteByte('%')
			continue
		}
		if name == "" || strings.ContainsAny(name, "/+#\x00") || name[0] == '$' && b.Len() == 0 {
			return "", false
		}
		b.WriteString(name)
	}
	return b.String(), true
}

// ofClient says whether a rule depends on the client's id.
func ofClient(rule string) bool { return names(rule, "%c") }

// names says whether %u or %c is in a rule as it was written.
func names(rule, what string) bool { return strings.Contains(strings.ReplaceAll(rule, "%%", ""), what) }

// ruleFault says what is wrong with a rule as it was written; "" is nothing.
func ruleFault(rule string) string {
	if rule == "" {
		return `want a filter such as "tele/%c/#"`
	}
	if len(rule) > 512 {
		return "want a filter of at most 512 bytes"
	}
	if strings.HasPrefix(rule, "$share/") {
		return "a shared subscription is allowed by what allows its filter: want that, without $share and its group"
	}
	for _, r := range rule {
		if r < ' ' || r == 0x7f {
			return "want a filter without control characters"
		}
	}
	left := strings.ReplaceAll(rule, "%%", "")
	for i := range left {
		if left[i] == '%' && (i+1 == len(left) || left[i+1] != 'u' && left[i+1] != 'c') {
			return "after % want u (the user's name), c (the client's id), or % for the character itself"
		}
	}
	levels := strings.Split(rule, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i < len(levels)-1:
			return "# stands for all that follows: want it at the end"
		case level != "#" && level != "+" && strings.ContainsAny(level, "+#"):
			return "+ and # stand for whole levels: want them alone between slashes"
		}
	}
	return ""
}
