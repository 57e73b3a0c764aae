package access

import (
	"crypto/hmac"
	"crypto/sha256"
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

// LevelOf is the most that a role allows on the page.
func LevelOf(r Role) Page { return r.page() }

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

// Whole says whether there is nothing in the house on which the user may not do that
// much: a role allows it and excepts nothing.
func (r *Rights) Whole(p Page) bool {
	if r == nil || r.all {
		return r != nil
	}
	return slices.ContainsFunc(r.grants, func(g grant) bool { return g.page >= p && len(g.except) == 0 })
}

// AnyOnPage says whether somebody who logs in with a password may so much as look at the
// page. Tokens don't count: they let programs in, and make no users.
func (t *Table) AnyOnPage() bool {
	for _, u := range t.users {
		if u.phc != nil && u.rights(u.name, "").Page() > Nothing {
			return true
		}
	}
	return false
}

// Mark is for who keeps it over a restart of the hub what [Door.Stamp] is to others: it
// changes when the user's password does, and is nil for who is no user. Without the key,
// which is the caller's, it tells nothing of the password. A better hash of the same
// password is no change: as soon as one is made the mark is made of it.
func (d *Door) Mark(user string, key []byte) []byte {
	u := d.table.Load().users[user]
	if u == nil {
		return nil
	}
	hash := u.hash
	d.mu.Lock()
	for better, was := range d.same {
		if was == d.origin(hash) {
			hash = better
			break
		}
	}
	d.mu.Unlock()
	m := hmac.New(sha256.New, key)
	m.Write([]byte(user))
	m.Write([]byte{0}) // which is in no name
	m.Write([]byte(hash))
	return m.Sum(nil)
}
