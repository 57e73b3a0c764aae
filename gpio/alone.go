package gpio

import (
	"fmt"
	"slices"

	"hearth/config"
)

// Alone is the part of a configuration that is needed to try one output or
// input by hand: itself and, of an output, those that must not be on together
// with it, which are taken to be held off. Everything starts in its safe state.
// max_on and interlocks stay; min_on, min_off and starts do not, for how long an
// output has been as it is only the hub knows: whoever tries it has to know. The error
// says that there is none of that name, or none on a pin.
func (c Config) Alone(name string) (Config, error) {
	if in, ok := c.Input.Get(name); ok {
		return Config{Input: config.Table[Input]{{Name: name, Value: *in}}}, nil
	}
	for table, names := range map[string][]string{"a counter": c.Counter.Names(), "an encoder": c.Encoder.Names(), "a cover": c.Cover.Names()} {
		if slices.Contains(names, name) {
			return Config{}, fmt.Errorf("%s is %s: only outputs and inputs can be tried, of a cover its two outputs", name, table)
		}
	}
	switch o, ok := c.Output.Get(name); {
	case !ok:
		names := append(c.Output.Names(), c.Input.Names()...)
		if near, ok := config.Nearest(name, names); ok {
			return Config{}, fmt.Errorf("no output or input %q, did you mean %q?", name, near)
		}
		return Config{}, fmt.Errorf("no output or input %q", name)
	case o.Topic != "":
		return Config{}, fmt.Errorf("output %s is on a topic and not on a pin: try it with hearth pub %s %s", name, o.Topic, o.word(true))
	}
	var alone Config
	for _, l := range c.Locks() { // the motor of a cover has one, without anybody who follows it
		if slices.Contains(l.Value.Outputs, name) {
			alone.Interlock = append(alone.Interlock, l)
		}
	}
	for _, o := range c.Output {
		if o.Name != name && !slices.ContainsFunc(alone.Interlock, func(l config.Named[Interlock]) bool { return slices.Contains(l.Value.Outputs, o.Name) }) {
			continue
		}
		if o.Value.Topic == "" {
			o.Value.Initial, o.Value.MinOn, o.Value.MinOff = "", 0, 0
			o.Value.Starts, o.Value.Feedback, o.Value.FeedbackWithin = Rate{}, "", 0
			alone.Output = append(alone.Output, o)
		}
	}
	return alone, nil
}
