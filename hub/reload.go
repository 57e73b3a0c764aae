package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hearth/config"
	"hearth/devices"
	"hearth/rules"
)

// Reload puts cfg, which Load found sound, in place of the configuration in
// force. Listeners and lines that are new are acquired first; if one can't be
// had nothing has changed, and the error says why. What is the same is not
// touched: a listener keeps its clients, a line its level, a rule its timers.
func (h *Hub) Reload(cfg *Config) error {
	if err := h.takeOver(cfg); err != nil {
		return err
	}
	h.invite() // without h.reload: who follows the link waits for that
	return nil
}

func (h *Hub) takeOver(cfg *Config) error {
	h.reload.Lock()
	defer h.reload.Unlock()
	if was, is := h.cfg.DataDir(), cfg.DataDir(); was != is {
		return fmt.Errorf("hub.data is now %s: only a restart can move what is kept in %s", is, was)
	}
	if err := h.firstUser(cfg); err != nil {
		return err
	}
	outside, err := h.acquire(cfg)
	if err != nil {
		return err
	}
	h.buses.Use(cfg.Buses)
	pins, err := h.pins.Prepare(cfg.Pins)
	if err != nil {
		h.buses.Use(h.cfg.Buses)
		outside.Undo()
		return err
	}
	// The pins go first, so that the new rules find every output they name.
	pins.Commit()
	h.sensors.Reload(cfg.Sensors)
	if err = h.do(context.Background(), func() { h.swap(cfg) }); err == nil {
		h.pushers.Use(cfg.Pushes)
	}
	outside.Commit()
	h.web.Judge()
	h.openControl()
	h.saver.use(cfg)
	if err == nil {
		h.editing.inForce(cfg, "reload")
		err = h.do(context.Background(), func() { // by the rights that are in force now
			h.rejudge()
			h.tellAll()
		})
	}
	return err
}

// A change is prepared and now either takes place or does not.
type change interface {
	Commit()
	Undo()
}

// changes are several that belong together.
type changes []change

func (cs changes) Commit() {
	for _, c := range cs {
		c.Commit()
	}
}

func (cs changes) Undo() {
	for _, c := range cs {
		c.Undo()
	}
}

// acquire opens the watchdog that cfg wants, binds what broker and page are to
// listen on, and plans the bridges, which start when the broker listens.
func (h *Hub) acquire(cfg *Config) (change, error) {
	d, err := h.dog.prepare(cfg.Hub.Watchdog)
	if err != nil {
		return nil, err
	}
	bridges := h.bridges.Prepare(cfg.links())
	if h.opt.Offline {
		return changes{d, bridges}, nil
	}
	b, err := h.broker.Prepare(cfg.ownBroker())
	if err != nil {
		d.Undo()
		return nil, err
	}
	w, err := h.web.Prepare(cfg.Web)
	if err != nil {
		changes{d, b}.Undo()
		return nil, err
	}
	return changes{d, b, w, bridges}, nil
}

// swap puts a new engine in place of the old one, on the loop.
func (h *Hub) swap(cfg *Config) {
	before := h.cfg.wired()
	states, decided := h.engine.Snapshot(h.now(), h.clock.Boot), h.engine.Decided()
	h.cfg = cfg
	h.http.permit(cfg.HTTP)
	h.engine = rules.New(cfg.Logic, h.house(cfg), h.registry, config.Place{})
	h.known.Store(newNames(cfg, h.engine))
	h.devices.registry.Rename()
	others := h.settleDevices()
	h.obey(h.adopt(rules.Reload, decided, states, nil))
	for _, name := range others {
		h.isAnother(name)
	}
	after := cfg.wired()
	for _, name := range before {
		if !slices.Contains(after, name) {
			h.forget(name)
		}
	}
	for said := range maps.Clone(h.published) {
		if h.logicGone(said) {
			h.say(said, "")
		}
	}
	h.sayLogic()
	h.announce()
	// A value that nobody listened to is not the newest when it is named again.
	named := h.named()
	for _, r := range h.registry.All() {
		if r.Topic != "" && !named[r.Source] && (r.Captured == nil || !named[r.Captured.Source]) {
			h.happen(rules.Event{Kind: rules.Forget, Name: r.Source})
		}
	}
	// For a rule that is new or changed all that is known already is found at
	// its start.
	known := h.known.Load()
	var found []devices.Reading
	seen := make(map[string]bool)
	find := func(r devices.Reading) {
		if _, known := h.registry.Last(r.Source); !known && !seen[r.Source] {
			seen[r.Source] = true
			found = append(found, r)
		}
	}
	for m := range h.broker.Retained() {
		if !known.index.Takes(m.Topic) {
			continue
		}
		for _, r := range h.item(known, m, true).readings {
			if known.looksAt(r) {
				find(r)
			}
		}
	}
	for _, r := range h.deviceReadings() {
		if named[r.Source] {
			find(r)
		}
	}
	h.obey(h.happen(rules.Event{Kind: rules.Begin, Readings: found}))
	h.historyUses(cfg)
	h.checkpoint() // from here on a replay knows what had been heard before
	h.reportEarly()
	h.reloadTrouble = ""
	h.sayHealth()
	h.log.Info("the new configuration is in force", "rules", len(cfg.Rule), "links", len(cfg.Link),
		"outputs", len(cfg.Output), "inputs", len(cfg.Input), "sensors", len(cfg.Sensor))
}

// forget takes back all that was said of something wired that is no more.
func (h *Hub) forget(name string) {
	for _, r := range h.registry.All() {
		if part, _, _ := strings.Cut(r.Source, "."); r.Topic == "" && part == name {
			h.happen(rules.Event{Kind: rules.Forget, Name: r.Source})
		}
	}
	for said := range maps.Clone(h.published) {
		if strings.HasPrefix(said, topic(name, "")) {
			h.say(said, "")
		}
	}
}

// do runs f on the loop and waits until it has.
func (h *Hub) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	h.inbox.always(&item{control: func() {
		defer close(done)
		f()
	}})
	select {
	case <-done:
		return nil
	case <-h.ended:
		return errStopped
	case <-ctx.Done():
		return errors.Join(errors.New("the hub did not answer"), context.Cause(ctx))
	}
}
