package trial

import (
	"hearth/rules"
)

// A Watcher sees a house while it is played, as a history of it would: what moves the rules,
// and what is decided.
type Watcher interface {
	Happened(rules.Event)
	Decided(rules.Decision)
}

// Watch is Play with somebody who sees more of it than what the house does.
func Watch(house House, test Test, w Watcher) Story {
	p := begun(house, test)
	p.watcher = w
	p.run(test.end())
	return p.story
}
