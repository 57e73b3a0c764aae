package catalog

import (
	"cmp"
	"slices"
)

// A Fault is what was wrong with the messages of a topic.
type Fault struct {
	Topic string `json:"topic"`
	Times int    `json:"times"`
	Why   string `json:"why"` // of the newest
}

// maxFaults bounds the topics of which faults are remembered.
const maxFaults = 200

// faults counts them by topic. One is told of as long as the newest message of its topic is
// wrong, and counts all there were.
type faults struct {
	topics map[string]*fault
	others int // messages of topics beyond those
}

type fault struct {
	Fault
	mended bool
}

func (f *faults) add(topic, why string) {
	topic, why = clip(topic, maxText), clip(why, maxText)
	one := f.topics[topic]
	if one == nil {
		if len(f.topics) >= maxFaults && !f.makeRoom() {
			f.others++
			return
		}
		if f.topics == nil {
			f.topics = make(map[string]*fault)
		}
		one = &fault{Fault: Fault{Topic: topic}}
		f.topics[topic] = one
	}
	one.Times++
	one.Why, one.mended = why, false
}

// makeRoom forgets one that is mended.
func (f *faults) makeRoom() bool {
	for topic, one := range f.topics {
		if one.mended {
			delete(f.topics, topic)
			return true
		}
	}
	return false
}

// mend notes that a message of a topic was understood, or that it was taken back.
func (f *faults) mend(topic string) {
	if one := f.topics[clip(topic, maxText)]; one != nil {
		one.mended = true
	}
}

// all lists those of two tables that are not mended, by topic. A message that is wrong twice,
// as an announcement and as a report, is one.
func (f *faults) all(g *faults) (list []Fault, others int) {
	both := make(map[string]Fault)
	for _, table := range []*faults{f, g} {
		for topic, one := range table.topics {
			if before, had := both[topic]; !one.mended && (!had || one.Times > before.Times) {
				both[topic] = one.Fault
			}
		}
	}
	for _, one := range both {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Fault) int { return cmp.Compare(a.Topic, b.Topic) })
	return list, f.others + g.others
}
