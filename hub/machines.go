package hub

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hearth/devices"
	"hearth/rules"
	"hearth/web"
)

// Topics of a machine: hearth/machine/<name>/state says where it stands, retained, and
// .../set takes the name of a state to which it is to go.

func machineState(name string) string { return "hearth/machine/" + name + "/state" }
func machineSets(name string) string  { return "hearth/machine/" + name + "/set" }

// machineSet takes a topic that commands a machine apart.
func machineSet(topic string) (name string, ok bool) {
	name, ok = strings.CutPrefix(topic, "hearth/machine/")
	name, is := strings.CutSuffix(name, "/set")
	return name, ok && is && name != "" && !strings.Contains(name, "/")
}

// askMachine obeys what is published for a machine.
func (h *Hub) askMachine(m devices.Message) {
	name, ok := machineSet(m.Topic)
	if !ok || m.Initial {
		return
	}
	to := strings.TrimSpace(string(m.Payload))
	origin := m.Origin
	if origin.By == "" {
		origin.By = m.Topic
	}
	in := devices.Reading{Source: m.Topic, Topic: m.Topic, Value: to, Text: to, At: h.now(), Message: &m, Origin: origin}
	d := rules.Decision{At: h.now(), Rule: m.Topic, Outcome: rules.Blocked, Cause: &in}
	if m.Retain {
		d.Why = "the command is retained, so nobody knows how old it is"
	} else {
		d.Rule = "hearth/machine/+/set" // anybody may invent names, and each would be remembered
		var names []string
		for _, machine := range h.engine.Machines() {
			names = append(names, machine.Machine)
			if machine.Machine == name && slices.Contains(machine.States, to) {
				h.sendMachine(name, in)
				return
			}
			if machine.Machine == name {
				d.Rule, d.Why = m.Topic, unknownName("state of "+name, to, machine.States).Error()
			}
		}
		if d.Why == "" {
			d.Why = unknownName("machine", name, names).Error()
		}
	}
	h.obeyOwn(d)
}

// sendMachine asks a machine for the state that a reading names, and returns what it decided.
func (h *Hub) sendMachine(name string, in devices.Reading) []rules.Decision {
	ds := h.happen(rules.Event{Kind: rules.Ask, Name: name, Text: in.Text, Readings: []devices.Reading{in}})
	h.obey(ds)
	return ds
}

// send asks a machine for a state, as somebody did on the page, and says why it does not go there.
func (p page) send(m rules.Standing, to string) error {
	if !slices.Contains(m.States, to) {
		return unknownName("state of "+m.Machine, to, m.States)
	}
	set, by := machineSets(m.Machine), devices.Origin{By: "page"}
	asked := devices.Message{Topic: set, Payload: []byte(to), Origin: by}
	for _, d := range p.sendMachine(m.Machine, devices.Reading{Source: set, Topic: set, Value: to, Text: to, At: p.now(), Message: &asked, Origin: by}) {
		if d.Rule == "machine."+m.Machine && d.Outcome == rules.Blocked {
			return fmt.Errorf("%s does not go to %s: %s", m.Machine, to, cmp.Or(d.Why, "a condition of the move does not hold"))
		}
	}
	return nil
}

// sayStanding publishes where a machine stands, and shows it on the pages.
func (h *Hub) sayStanding(m rules.Standing) {
	h.say(machineState(m.Machine), m.State)
	t := h.thingOfMachine(m)
	h.tell(web.Event{Thing: &t})
}

// sayLogic publishes which rules may run and where the machines stand.
func (h *Hub) sayLogic() {
	for name, on := range h.engine.Enabled() {
		h.sayEnabled(name, on)
	}
	for _, m := range h.engine.Machines() {
		h.sayStanding(m)
	}
}

// logicGone says that a topic is of a rule or a machine that is no more.
func (h *Hub) logicGone(topic string) bool {
	if name, ok := strings.CutPrefix(topic, "hearth/rule/"); ok {
		name, is := strings.CutSuffix(name, "/"+ruleEnabled)
		_, known := h.engine.Enabled()[name]
		return is && !known
	}
	if name, ok := strings.CutPrefix(topic, "hearth/machine/"); ok {
		name, is := strings.CutSuffix(name, "/state")
		for _, m := range h.engine.Machines() {
			if m.Machine == name {
				return false
			}
		}
		return is
	}
	return false
}
