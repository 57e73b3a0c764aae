package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/broker"
	"hearth/config"
	"hearth/control"
	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/gpio"
	"hearth/rules"
)

const (
	// How long a device may take to confirm what it was told, as far as who waits at a
	// terminal is told.
	confirmWithin = 5 * time.Second
	// The same of an output, which obeys at once or says what it waits for.
	obeyedWithin = 200 * time.Millisecond
)

// commandDevice tells a device what a rule decided.
func (h *Hub) commandDevice(c devices.Command) error {
	s, ok := h.devices.registry.Find(c.Device)
	if !ok {
		return fmt.Errorf("%s has not announced itself, so nobody knows how to tell it anything", c.Device)
	}
	m, err := h.devices.registry.Tell(s, c.Property, c.Value, c.Origin, h.now())
	switch {
	case err != nil && c.Secret: // which the reason may show
		return fmt.Errorf("%s can't be told that, which holds a secret", c.Device)
	case err != nil:
		return err
	}
	if p, err := s.Property(c.Property); err == nil && c.Secret {
		delete(s.Asked, p.Name)
	}
	return h.tellDevice(m, c.Origin)
}

// tellDevice publishes what tells a device something.
func (h *Hub) tellDevice(m catalog.Message, origin devices.Origin) error {
	return h.mqtt.put(broker.Message{Topic: m.Topic, Payload: []byte(m.Payload), Retain: m.Retain, QoS: m.QoS, Origin: origin})
}

// remind tells devices again what they have not confirmed.
func (h *Hub) remind() {
	again, gaveUp := h.devices.registry.Remind(h.now())
	for _, m := range again {
		if err := h.tellDevice(m.Message, m.Origin); err != nil {
			h.log.Error("a device was not told again", "device", m.Called, "property", m.Property, "err", err)
		}
	}
	for _, m := range gaveUp {
		h.log.Warn("a device has not confirmed what it was told", "device", m.Called, "property", m.Property, "told", devices.Text(m.Value), "times", m.Times)
	}
}

// lookAfterDevices is what is to be done for devices every beat: to tell again, and to ask
// one of those that have not said yet how they are.
func (h *Hub) lookAfterDevices() {
	h.remind()
	if m, ok := h.devices.registry.Unseen(h.now()); ok {
		if err := h.tellDevice(m, devices.Origin{By: "discovery"}); err != nil {
			h.log.Error("a device was not asked how it is", "topic", m.Topic, "err", err)
		}
	}
}

// Set tells an output, a cover or a device's property a value, and waits a moment for
// the answer.
func (d desk) Set(ctx context.Context, name, value string) (control.Answer, error) {
	type asked struct {
		answer control.Answer
		wait   chan catalog.Change
		key    string // of those who wait
		output bool
		err    error
	}
	got, err := ask(ctx, d.Hub, func() (a asked) {
		thing, property, _ := strings.Cut(name, ".")
		if _, ok := d.cfg.part(thing); !ok {
			thing, property, _ = strings.Cut(d.wiredCalled(name), ".")
		}
		if part, ok := d.cfg.part(thing); ok && property == "" {
			if _, a.err = gpio.ParseSet([]byte(value), part.Takes); a.err == nil {
				a.err = d.mqtt.put(broker.Message{Topic: topic(thing, "set"), Payload: []byte(value), Origin: devices.Origin{By: "hearth set"}})
				a.answer, a.output = control.Answer{Name: thing, Topic: topic(thing, "set"), Payload: value}, true
			}
			return a
		}
		s, property, ok := d.propertyCalled(name)
		if !ok {
			a.err = d.unknownThing(thing)
			return a
		}
		if trouble := d.linkTrouble(); trouble != "" { // to most it would be lost, and late for the others
			a.err = fmt.Errorf("%s was told nothing: %s", s.Called, trouble)
			return a
		}
		by := devices.Origin{By: "hearth set", Decision: d.nextOwn()}
		m, err := d.devices.registry.Tell(s, property, value, by, d.now())
		if err != nil {
			a.err = err
			return a
		}
		p, _ := s.Property(property)
		a.answer = control.Answer{Name: s.Called + "." + p.Name, Topic: m.Topic, Payload: m.Payload}
		if a.err = d.tellDevice(m, by); a.err != nil {
			return a
		}
		told := rules.Decision{ID: by.Decision, At: d.now(), Rule: "hearth set", Outcome: rules.Fired, Why: "somebody called hearth set",
			Commands: []devices.Command{{Device: s.Called, Property: p.Name, Value: value, Origin: by}}}
		d.recordDecision(told, nil)
		d.note(told)
		if _, ok := s.Asked[p.Name]; ok {
			a.answer.Again = s.Again(p.Name)
			a.wait, a.key = make(chan catalog.Change, 1), s.ID+"\x00"+p.Name
			d.devices.waiting[a.key] = append(d.devices.waiting[a.key], a.wait)
		} else {
			a.answer.Was = len(p.Reports) > 0
		}
		return a
	})
	switch {
	case err != nil:
		return control.Answer{}, err
	case got.err != nil:
		return control.Answer{}, control.Mistaken(got.err)
	case got.output:
		return d.outputAnswer(ctx, got.answer)
	case got.wait == nil:
		return got.answer, nil
	}
	limit := time.NewTimer(confirmWithin)
	defer limit.Stop()
	select {
	case c := <-got.wait:
		got.answer.Reported = c.Value
		return got.answer, nil
	case <-limit.C:
		got.answer.Late = true
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-d.ended:
		return got.answer, errors.New("the hub ended meanwhile")
	}
	d.inbox.always(&item{control: func() { d.waitNoMore(got.key, got.wait) }})
	return got.answer, err
}

// outputAnswer looks after a moment what came of a command for an output: what it is, or
// what it waits for.
func (d desk) outputAnswer(ctx context.Context, a control.Answer) (control.Answer, error) {
	moment := time.NewTimer(obeyedWithin)
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-d.ended:
		return a, errors.New("the hub ended meanwhile")
	}
	return ask(ctx, d.Hub, func() control.Answer {
		for _, i := range d.pins.Outputs() {
			if i.Name != a.Name {
				continue
			}
			if a.Waits = i.Waits; i.Known && i.Waits == "" {
				a.Reported = i.On
			}
		}
		return a
	})
}

func (h *Hub) answerWaiting(c catalog.Change) {
	if !c.Answer {
		return
	}
	key := c.ID + "\x00" + c.Property
	for _, ch := range h.devices.waiting[key] {
		ch <- c // it has room for one, and is in no other list
	}
	delete(h.devices.waiting, key)
}

// waitNoMore forgets one who has given up.
func (h *Hub) waitNoMore(key string, ch chan catalog.Change) {
	h.devices.waiting[key] = slices.DeleteFunc(h.devices.waiting[key], func(other chan catalog.Change) bool { return other == ch })
	if len(h.devices.waiting[key]) == 0 {
		delete(h.devices.waiting, key)
	}
}

func (h *Hub) unknownThing(name string) error {
	if d, named := h.cfg.Device.Get(name); named && d.Announced() != "" {
		id := h.devices.registry.Last(d.Announced())
		return fmt.Errorf("%s is %s, which has not announced itself: hearth devices says how the id of each is written that has", name, id)
	}
	names := slices.Concat(h.cfg.settable(), h.devices.registry.Names())
	if near, ok := config.Nearest(name, names); ok {
		return fmt.Errorf("nothing here is named %q, did you mean %q?", name, near)
	}
	return fmt.Errorf("nothing here is named %q: hearth devices lists what has announced itself", name)
}
