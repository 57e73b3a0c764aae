package gpio

import (
	"fmt"
	"maps"
	"slices"

	"hearth/config"
)

// core decides what a command becomes. It is below the hub's loop and its
// rules: what it says holds whatever they want. It starts nothing, reads no
// clock and touches no pin; the outputs are what it knows of the world.
//
// For now a command becomes one switch of one output. Interlocks and the
// shortest and longest times belong here: then a command may become several
// switches, or one that is due later.
type core struct {
	outputs map[string]*outputState
}

type outputState struct {
	Output
	on bool // the last accepted state
}

// A drive is one switch that has been decided.
type drive struct {
	output string
	on     bool
}

// decide is what has to be switched, in this order, for output to become on. It
// changes nothing: accept does, for each drive that was passed on.
func (c *core) decide(output string, on bool) ([]drive, error) {
	if _, ok := c.outputs[output]; !ok {
		near, ok := config.Nearest(output, slices.Sorted(maps.Keys(c.outputs)))
		if ok {
			return nil, fmt.Errorf("no output %q, did you mean %q?", output, near)
		}
		return nil, fmt.Errorf("no output %q", output)
	}
	return []drive{{output, on}}, nil
}

func (c *core) accept(d drive) { c.outputs[d.output].on = d.on }

// first is the state in which an output starts. last is what is kept of it from
// earlier, nil if nothing is; with safe = "hold" it counts if it was on the same
// pin, for another wire means another thing.
func first(o Output, last *kept) bool {
	switch {
	case o.Safe == "hold" && last != nil && last.Pin == o.Pin:
		return last.On
	case o.Initial != "":
		return o.Initial == "on"
	}
	return o.Safe == "on"
}

// safe is the state of an output that nobody looks after any more; hold means
// that the pin has to be left as it is.
func safe(o Output) (on, hold bool) {
	return o.Safe == "on", o.Safe == "hold"
}

// changed is the state of an output whose settings changed while it was held on
// the same pin. Under its old name it keeps its state, now by the new settings,
// so a corrected active_low is one switch. Under another it is a new output that
// begins as declared, without the detour over the safe level of the old one.
func (c *core) changed(oldName, name string, o Output) bool {
	if s, ok := c.outputs[oldName]; ok && oldName == name {
		return s.on
	}
	return first(o, nil)
}
