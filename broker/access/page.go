package access

import (
	"slices"

	"hearth/broker/topic"
)

// A Page is what somebody may do on the page and through its JSON API. Each allows what
// those before it do.
type Page int

const (
	Nothing Page = iota
	See          // look at the house
	Use          // tell outputs, devices and inputs what to be
	Change       // rules, names, users: the configuration
)

// pages are the words for it in a role, and the roles that are built in for those who
// need no other.
var pages = []string{Nothing: "", See: "see", Use: "use", Change: "change"}

func (p Page) String() string { return pages[p] }

// pageRole is the built-in role of a name that no role in the configuration has.
func pageRole(name string) (Role, bool) {
	return Role{Page: name}, name != "" && slices.Contains(pages, name)
}

// page is the number for the word of a role.
func (r Role) page() Page { return Page(max(0, slices.Index(pages, r.Page))) }

// Page is the most that the user may do on the page, somewhere.
func (r *Rights) Page() (most Page) {
	switch {
	case r == nil:
		return Nothing
	case r.all:
		return Change
	}
	for _, g := range r.grants {
		most = max(most, g.page)
	}
	return most
}

// On says whether the user may do that much on the page with what is told on a topic:
// see what comes on hearth/lamp/state, use hearth/lamp/set. What a role excepts it allows
// on the page no more than over MQTT.
func (r *Rights) On(topicName string, p Page) bool {
	if r == nil || r.all {
		return r != nil
	}
	return slices.ContainsFunc(r.grants, func(g grant) bool {
		return g.page >= p && !some(g.except, topicName, topic.Match)
	})
}
