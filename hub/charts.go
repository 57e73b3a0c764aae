package hub

import (
	"context"
	"errors"
	"strings"

	"hearth/history"
	"hearth/web"
)

// History is what the page asks about the past. It is asked off the loop.
func (p page) History(ctx context.Context) (*history.History, error) {
	type found struct {
		past *history.History
		err  error
	}
	got, err := ask(ctx, p.Hub, func() (f found) {
		switch {
		case !p.cfg.History.On():
			f.err = errNoHistory
		case p.past == nil:
			f.err = errors.New(p.pastTrouble)
		default:
			f.past = p.past
		}
		return f
	})
	if err != nil {
		return nil, err
	}
	return got.past, got.err
}

// Recorded are series as the page may show them: not those that a rule compares with a secret.
func (p page) Recorded(ctx context.Context, names ...string) ([]web.Series, error) {
	past, err := p.History(ctx)
	if err != nil {
		return nil, err
	}
	var wanted []history.Series
	if len(names) == 0 {
		wanted = past.Series()
	}
	for _, name := range names { // a house may have a hundred thousand others
		if one, ok := past.Find(name); ok {
			wanted = append(wanted, one)
		}
	}
	return ask(ctx, p.Hub, func() (some []web.Series) {
		for _, s := range wanted {
			if topics, secret := p.topicsOfSeries(s.Name); !secret {
				some = append(some, web.Series{Name: s.Name, Unit: s.Unit, Kind: s.Kind, First: s.First, Last: s.Last, Topics: topics})
			}
		}
		return some
	})
}

// topicsOfSeries are those by which it is judged who may see what was recorded under a name:
// of what is wired the hub's own, of a device all on which the property is reported, else the
// topic itself. What is computed has none, and neither has what is no more.
func (h *Hub) topicsOfSeries(name string) (topics []string, secret bool) {
	last, _ := h.registry.Last(name) // which knows by what capture it came
	if last.Source = name; h.engine.Hidden(last) {
		return nil, true
	}
	if topics := h.topicsOfWired(name); topics != nil {
		return topics, false
	}
	called, property, _ := strings.Cut(name, ".")
	if s, ok := h.devices.registry.Find(called); ok && s.Called == called {
		if property == "availability" {
			for _, r := range s.Available.Reports {
				topics = append(topics, r.Topic)
			}
			return topics, false
		}
		p, err := s.Property(property)
		if err != nil {
			return nil, false
		}
		return topicsOfProperty(p), h.secretly(s, p)
	}
	if topic := topicOf(name); strings.Contains(topic, "/") {
		return plainTopics(topic), false
	}
	return nil, false
}
