package hub

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"time"

	"hearth/devices/catalog"
	"hearth/rules"
	"hearth/web"
)

// A ruled is what came of a rule.
type ruled struct {
	rule    string
	outcome rules.Outcome
}

// mostRuled is how many of them there may be: rules are named in the configuration, but
// a hub may see many in its life.
const mostRuled = 10_000

func (h *Hub) count(d rules.Decision) {
	t := ruled{d.Rule, d.Outcome}
	if _, ok := h.decided[t]; ok || len(h.decided) < mostRuled {
		h.decided[t]++
	}
}

// Metrics is what Prometheus is told.
//
// What is unavailable is left out: Prometheus then knows that it has no value, and a
// chart has a gap. At its last value it would look as if nothing were wrong. That
// a device is away is a metric of its own.
func (p page) Metrics(ctx context.Context) ([]web.Metric, error) {
	return ask(ctx, p.Hub, func() []web.Metric {
		m := new(meter)
		p.measureHub(m)
		p.measureHistory(m)
		p.measurePush(m)
		p.measureRules(m)
		p.measurePins(m)
		p.measureDevices(m)
		p.measureReadings(m)
		return m.all
	})
}

// A meter gathers metrics. Each call of gauge or counter is a sample, and those of one
// name follow each other.
type meter struct{ all []web.Metric }

func (m *meter) gauge(name, help string, value float64, labels ...string) {
	m.add(web.Metric{Name: name, Help: help}, value, labels)
}

func (m *meter) counter(name, help string, value float64, labels ...string) {
	m.add(web.Metric{Name: name, Help: help, Counter: true}, value, labels)
}

func (m *meter) add(of web.Metric, value float64, labels []string) {
	i := slices.IndexFunc(m.all, func(other web.Metric) bool { return other.Name == of.Name })
	if i < 0 {
		i = len(m.all)
		m.all = append(m.all, of)
	}
	m.all[i].Samples = append(m.all[i].Samples, web.Sample{Labels: labels, Value: value})
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// seconds is a moment as Prometheus writes it, since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (h *Hub) measureHub(m *meter) {
	now := h.now()
	m.gauge("hearth_build_info", "Which hub this is; always 1.", 1, "version", cmp.Or(h.opt.Version, "devel"), "goversion", runtime.Version())
	m.gauge("hearth_clock_known", "Whether the clock is known to be right.", truth(now.Known))
	if now.Known {
		m.gauge("hearth_start_time_seconds", "When the hub started.", seconds(now.Wall.Add(h.began-now.Mono)))
	}
	m.gauge("hearth_problem", "Whether something is wrong; hearth/problem and the page say what.", truth(h.problem() != "none"))
	m.gauge("hearth_store_trouble", "Whether the disk refuses what must be kept.", truth(h.store.Trouble() != nil))
	m.gauge("hearth_config_stale", "Whether the configuration on disk could not be taken over.", truth(h.reloadTrouble != ""))

	waiting, merged, dropped := h.inbox.counts()
	m.gauge("hearth_inbox_waiting", "Messages that wait for the hub's loop.", float64(waiting))
	m.counter("hearth_inbox_merged_total", "Readings that a newer one replaced while the loop was behind.", float64(merged))
	m.counter("hearth_inbox_dropped_total", "Messages of QoS 0 for which there was no room.", float64(dropped))
	m.counter("hearth_commands_refused_total", "Commands that no output or device took.", float64(h.refused))

	b := h.broker.Stats()
	m.gauge("hearth_mqtt_clients", "MQTT clients that are connected.", float64(b.Clients))
	m.gauge("hearth_mqtt_sessions", "MQTT sessions, of clients that are away too.", float64(b.Sessions))
	m.gauge("hearth_mqtt_retained", "Topics with a retained value.", float64(b.Retained))
	m.gauge("hearth_mqtt_queued_bytes", "Messages of QoS 1 and 2 that wait for clients.", float64(b.QueuedBytes))
	m.counter("hearth_mqtt_messages_received_total", "Messages published, by clients and by the hub.", float64(b.Received))
	m.counter("hearth_mqtt_messages_sent_total", "Messages sent to clients.", float64(b.Sent))
	m.counter("hearth_mqtt_messages_dropped_total", "Messages not sent to a client because too many waited for it.", float64(b.Dropped))
	m.counter("hearth_mqtt_messages_refused_total", "Messages that clients may not publish.", float64(b.Refused))

	for _, s := range h.bridges.Status() {
		m.gauge("hearth_bridge_connected", "Whether the link to another broker is up.", truth(s.Connected), "bridge", s.Name)
		m.counter("hearth_bridge_messages_received_total", "Messages that came from there.", float64(s.In), "bridge", s.Name)
		m.counter("hearth_bridge_messages_sent_total", "Messages that went there.", float64(s.Out), "bridge", s.Name)
		m.counter("hearth_bridge_messages_dropped_total", "Messages not passed because the other side could not take them.", float64(s.Dropped), "bridge", s.Name)
	}
}

func (h *Hub) measureHistory(m *meter) {
	if h.past == nil {
		return
	}
	s := h.past.Health()
	m.gauge("hearth_history_bytes", "How large the file of the history is.", float64(s.Bytes))
	m.gauge("hearth_history_series", "Names of which something is recorded.", float64(s.Series))
	m.gauge("hearth_history_pending_bytes", "What of the history is in memory and not on the disk yet.", float64(s.Pending))
	m.gauge("hearth_history_trouble", "Whether the disk takes no history now.", truth(s.Err != ""))
	m.counter("hearth_history_lost_total", "Entries that no disk took, or for which there was no room.", float64(s.Lost))
	m.counter("hearth_history_damaged_total", "Rows that were found damaged.", float64(s.Damaged))
	if !s.Oldest.IsZero() {
		m.gauge("hearth_history_oldest_timestamp_seconds", "When the oldest readings that are kept in full were made.", seconds(s.Oldest))
	}
}

func (h *Hub) measurePush(m *meter) {
	for _, s := range h.pushers.Status() {
		m.gauge("hearth_push_waiting", "Readings that wait to be sent to a database.", float64(s.Waiting), "push", s.Name)
		m.gauge("hearth_push_trouble", "Whether it takes nothing now.", truth(s.Trouble != ""), "push", s.Name)
		m.counter("hearth_push_sent_total", "Readings that it took.", float64(s.Sent), "push", s.Name)
		m.counter("hearth_push_dropped_total", "Readings that were lost because too many waited.", float64(s.Dropped), "push", s.Name)
		m.counter("hearth_push_refused_total", "Readings that it did not understand.", float64(s.Refused), "push", s.Name)
	}
}

func (h *Hub) measureRules(m *meter) {
	m.gauge("hearth_rules", "How many rules and links there are.", float64(len(h.cfg.Rule)+len(h.cfg.Link)))
	enabled := h.engine.Enabled()
	for _, name := range h.cfg.Rule.Names() {
		if on, ok := enabled[name]; ok {
			m.gauge("hearth_rule_enabled", "Whether a rule runs.", truth(on), "rule", name)
		}
	}
	for _, i := range h.engine.Infos(h.now()) {
		m.counter("hearth_rule_errors_total", "Expressions of a rule that failed, loops that it was in, and requests that it gave up.", float64(i.Errors), "rule", i.Name)
	}
	all := make([]ruled, 0, len(h.decided))
	for t := range h.decided {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b ruled) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.outcome, b.outcome))
	})
	for _, t := range all {
		m.counter("hearth_decisions_total", "What rules, people and limits decided, by what became of it.", float64(h.decided[t]), "rule", t.rule, "outcome", string(t.outcome))
	}
	for _, s := range h.engine.Machines() {
		for _, state := range s.States {
			m.gauge("hearth_machine_state", "1 for the state that a machine is in.", truth(state == s.State), "machine", s.Machine, "state", state)
		}
	}
}

func (h *Hub) measurePins(m *meter) {
	for _, o := range h.pins.Outputs() {
		if o.Known {
			m.gauge("hearth_output_on", "Whether an output is on.", truth(o.On), "output", o.Name)
		}
		if o.Known && o.Levels {
			m.gauge("hearth_output_level_ratio", "The level of an output that has levels, from 0 to 1.", o.Level/100, "output", o.Name)
		}
		m.counter("hearth_output_switches_total", "How often an output went on, in all its life.", float64(o.Cycles), "output", o.Name)
		m.gauge("hearth_fault", "Whether something is wrong with what is wired.", truth(o.Fault != ""), "name", o.Name)
	}
	for _, i := range h.pins.Inputs() {
		if i.Known && i.Shows == "" {
			m.gauge("hearth_input_on", "Whether an input is on.", truth(i.On), "input", i.Name)
		}
		m.gauge("hearth_fault", "Whether something is wrong with what is wired.", truth(i.Fault != ""), "name", i.Name)
	}
	for _, name := range h.cfg.Sensor.Names() {
		m.gauge("hearth_fault", "Whether something is wrong with what is wired.", truth(h.sensors.Fault(name) != ""), "name", name)
	}
}

func (h *Hub) measureDevices(m *meter) {
	linked := h.linkTrouble() == ""
	known := h.now().Known
	for _, s := range h.devices.registry.All() {
		_, room, _ := h.shownAs(s)
		if s.Online != nil && linked { // else it may have gone, or come back
			m.gauge("hearth_device_available", "Whether a device says that it can be reached.", truth(*s.Online), "device", s.Called, "room", room)
		}
		if !s.Seen.IsZero() && known {
			m.gauge("hearth_device_seen_timestamp_seconds", "When a device said something last.", seconds(s.Seen), "device", s.Called, "room", room)
		}
	}
}

func (h *Hub) measureReadings(m *meter) {
	known := h.now().Known
	reading := func(l labels, value float64, at time.Time) {
		m.gauge("hearth_reading", "The newest value of what is measured or reported, 1 and 0 for on and off; absent while it is unavailable.", value, l.pairs()...)
		if known && !at.IsZero() {
			m.gauge("hearth_reading_timestamp_seconds", "When that was said.", seconds(at), "device", l.device, "property", l.property)
		}
	}
	own := slices.Concat(h.cfg.Output.Names(), h.cfg.Input.Names())
	for _, s := range h.engine.Machines() {
		own = append(own, s.Machine)
	}
	for _, r := range h.registry.All() {
		if h.engine.Hidden(r) || h.ofDevice(r.Source) {
			continue
		}
		if name := ofWired(r.Source); r.Topic == "" && slices.Contains(own, name) {
			continue // these have metrics of their own
		}
		if value, ok := asNumber(r.Value); ok {
			reading(h.labelsOf(r.Source), value, r.At.Wall)
		}
		if n, _ := h.registry.Bad(r.Source); n > 0 {
			l := h.labelsOf(r.Source)
			m.counter("hearth_readings_invalid_total", "Messages that were no value.", float64(n), "device", l.device, "property", l.property)
		}
	}
	for _, s := range h.devices.registry.All() {
		if s.Online != nil && !*s.Online {
			continue
		}
		for i := range s.Properties {
			p := &s.Properties[i]
			v := s.Values[p.Name]
			if v.Value == nil || v.Bad != "" || s.Away(p.Name) || p.Kind == catalog.Event || h.secretly(s, p) {
				continue
			}
			l := h.labelsOfDevice(s, p)
			if word, ok := v.Value.(string); ok && standsIn(p, word) {
				for _, state := range slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(p.Options), word)))) {
					m.gauge("hearth_state", "1 for the word, of those that it may say, that a device says.", truth(state == word), "device", l.device, "property", l.property, "room", l.room, "state", state)
				}
			} else if value, ok := asNumber(v.Value); ok {
				reading(l, value, v.At)
			}
		}
	}
}

// standsIn says whether a property says one of a few words, which are worth a number each:
// text of any other kind would be another series each time.
func standsIn(p *catalog.Property, word string) bool {
	const few = 50
	switch p.Kind {
	case catalog.Cover, catalog.Lock, catalog.Climate:
		return len(p.Options) <= few
	}
	return len(p.Options) <= few && slices.Contains(p.Options, word)
}
