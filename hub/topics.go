package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hearth/broker"
	"hearth/devices"
	"hearth/devices/announce"
	"hearth/rules"
	"hearth/web"
)

// What people hear of raw topics on the page. It is no way round what is kept from them
// elsewhere: payloads that are compared with a secret, or sent as one, are hidden.

// ears are those who listen. A house in which nobody does pays one look at them for each
// message.
type ears struct {
	mu  sync.Mutex // of who comes and goes
	all atomic.Pointer[[]*ear]

	own    string                   // by which the house announces itself; never changes
	veil   atomic.Pointer[[]string] // filters of topics whose payloads are secret
	veiled sync.Map                 // topic of a command with a secret in it: how it is shown
	nVeils atomic.Int64
}

type ear struct {
	filter string
	hear   func(web.Message)
}

// mostVeils is how many topics are remembered on which a secret was sent: rules may compute
// them. Where there are more, all payloads are hidden.
const mostVeils = 10_000

// overhear lets those hear a message who listen to its topic. Any goroutine may call it.
func (e *ears) overhear(m broker.Message) {
	all := e.all.Load()
	if all == nil {
		return
	}
	for _, one := range *all {
		if devices.MatchTopic(one.filter, m.Topic) {
			one.hear(e.shown(m, time.Now()))
		}
	}
}

// shown is a message as it may be seen.
func (e *ears) shown(m broker.Message, at time.Time) web.Message {
	shown := web.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, At: at, Hidden: e.nVeils.Load() > mostVeils}
	if as, ok := e.veiled.Load(m.Topic); ok {
		shown.Topic, shown.Hidden = as.(string), true
	}
	// What these tell names things of which who listens may not know.
	shown.Whole = m.Topic == problem || m.Topic == whyTopic || strings.HasPrefix(m.Topic, whyTopic+"/") || e.own != "" && announce.IsOwn(m.Topic, e.own)
	if veil := e.veil.Load(); veil != nil && slices.ContainsFunc(*veil, func(filter string) bool { return devices.MatchTopic(filter, m.Topic) }) {
		shown.Hidden = true
	}
	return shown
}

// hide remembers where a secret is sent.
func (e *ears) hide(c devices.Command) {
	if c.Topic == "" || !c.Secret {
		return
	}
	if _, known := e.veiled.Load(c.Topic); !known && e.nVeils.Add(1) <= mostVeils {
		e.veiled.Store(c.Topic, cmp.Or(c.Shown, c.Topic))
	}
}

// noteSecrets finds the topics of what is secret: when rules are others, or devices.
func (h *Hub) noteSecrets() {
	var filters []string
	for _, of := range h.engine.Secrets() {
		if strings.Contains(of, "/") {
			filters = append(filters, of)
			continue
		}
		name, property, _ := strings.Cut(of, ".")
		s, ok := h.devices.registry.Find(name)
		if !ok {
			filters = append(filters, topic(name, "state"), topic(name, "set"))
			continue
		}
		if p, err := s.Property(property); err == nil {
			filters = append(filters, topicsOfProperty(p)...)
			if p.Set != nil {
				filters = append(filters, p.Set.Topic)
			}
		}
	}
	h.ears.veil.Store(&filters)
}

// Listen has hear called for each message on topics that filter matches, until stop is.
func (p page) Listen(filter string, hear func(web.Message)) (stop func(), err error) {
	if err := devices.CheckFilter(filter); err != nil {
		return nil, err
	}
	e, mine := &p.ears, &ear{filter, hear}
	change := func(f func([]*ear) []*ear) {
		e.mu.Lock()
		defer e.mu.Unlock()
		var now []*ear
		if all := e.all.Load(); all != nil {
			now = slices.Clone(*all)
		}
		if now = f(now); len(now) == 0 {
			e.all.Store(nil)
		} else {
			e.all.Store(&now)
		}
	}
	change(func(all []*ear) []*ear { return append(all, mine) })
	return func() {
		change(func(all []*ear) []*ear {
			return slices.DeleteFunc(all, func(one *ear) bool { return one == mine })
		})
	}, nil
}

// Retained are the messages that are kept on topics that filter matches.
func (p page) Retained(filter string) (all []web.Message, err error) {
	if err := devices.CheckFilter(filter); err != nil {
		return nil, err
	}
	for _, v := range p.broker.RetainedValues(filter) {
		all = append(all, p.ears.shown(v.Message, v.At))
	}
	return all, nil
}

// Publish publishes by hand. It is a decision of the page like any other, so that what
// follows from it has a beginning.
func (p page) Publish(ctx context.Context, m web.Message) error {
	if err := devices.CheckTopic(m.Topic); err != nil {
		return err
	}
	if !p.mayPublish(m.Topic) || strings.HasPrefix(m.Topic, "$") {
		return errors.New("what the hub says itself, nobody else can say: " + m.Topic)
	}
	told := broker.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Origin: devices.Origin{By: "page"}}
	payload := fmt.Sprintf("%q", printable(string(m.Payload)))
	switch {
	case p.ears.shown(told, time.Time{}).Hidden:
		payload = "***"
	case len(m.Payload) == 0 && m.Retain:
		payload = "nothing, so that nothing is retained,"
	}
	decide := func(outcome rules.Outcome, format string, args ...any) (rules.Decision, error) {
		return ask(ctx, p.Hub, func() rules.Decision {
			d := p.ofOwn(rules.Decision{At: p.now(), Rule: "page", Outcome: outcome, Why: fmt.Sprintf(format, args...)})
			p.obey([]rules.Decision{d})
			return d
		})
	}
	// What follows is to have its beginning in the log, so that is written first.
	d, err := decide(rules.Fired, "%s published %s to %s", who(ctx), payload, printable(m.Topic))
	if err != nil {
		return err
	}
	told.Origin = devices.Origin{By: "page", Decision: d.ID}
	if rights, ok := web.RightsOf(ctx).(rights); ok {
		told.Rights = rights.of
		err = p.broker.PublishAs(web.By(ctx), told)
	} else { // no login is needed
		err = p.broker.Publish(told)
	}
	if err != nil {
		decide(rules.Blocked, "it was not published: %s", printable(err.Error())) // or the hub stops
	}
	return err
}
