package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// Config is what the owner writes of links and rules. docs/rules.md is its
// reference.
type Config struct {
	Link config.Table[Link] `toml:"link"`
	Rule config.Table[Rule] `toml:"rule"`
}

// A Link carries every live reading of one source to one target.
type Link struct {
	From    string `toml:"from,required" eg:"\"zigbee2mqtt/hall:occupancy\""`
	To      string `toml:"to,required" eg:"\"porch_light\""`     // an output or a topic
	Type    string `toml:"type" enum:"boolean,number,text,json"` // what is carried; others are dropped; default boolean
	Invert  bool   `toml:"invert"`                               // booleans and numbers: the opposite
	Changed bool   `toml:"changed"`                              // only when it differs from the last one carried
	Retain  bool   `toml:"retain"`                               // to a topic: as a retained message
	Enabled *bool  `toml:"enabled"`                              // default true
}

// A Rule runs actions when a trigger fires and its conditions hold.
type Rule struct {
	Trigger   config.List[Trigger]   `toml:"trigger,required" eg:"{ state = \"pir\", is = true }"`
	Condition config.List[Condition] `toml:"condition"`
	Action    config.List[Action]    `toml:"action,required" eg:"{ set = \"porch_light\", to = true }"`
	Mode      string                 `toml:"mode" enum:"single,restart"` // a run is still going when the trigger fires: ignore it (single, the default) or begin anew
	Enabled   *bool                  `toml:"enabled"`                    // default true
}

// A Trigger watches one source: as a state, whose test must become true, or as
// an event, every message of which counts.
type Trigger struct {
	State string `toml:"state" eg:"\"pir\""`
	Event string `toml:"event" eg:"\"button/set\""`
	Test
	Changed  bool            `toml:"changed"`            // without a test: only readings that differ from the last
	For      config.Duration `toml:"for" max:"1000d"`    // the test must hold so long without interruption
	Until    Untils          `toml:"until"`              // what ends it; makes the rule an episode
	MinOn    config.Duration `toml:"min_on" max:"1000d"` // no end before this
	Retained bool            `toml:"retained"`           // a value found at start may fire too
	ID       string          `toml:"id"`                 // its name in traces
}

// A Test compares a value. Several keys in one table must all hold; an empty
// Test holds for everything.
type Test struct {
	Is      Values   `toml:"is"`
	Above   *float64 `toml:"above" eg:"19.5"`
	Below   *float64 `toml:"below" eg:"19.5"`
	AtLeast *float64 `toml:"at_least" eg:"19.5"`
	AtMost  *float64 `toml:"at_most" eg:"19.5"`
}

// Values is one value or several, any of which will do. Each is a bool, a
// float64 or a string.
type Values []any

// DecodeTOML takes a scalar or a list of scalars.
func (v *Values) DecodeTOML(raw any, at config.Place) {
	list, ok := raw.([]any)
	if !ok {
		list = []any{raw}
	}
	if len(list) == 0 {
		at.Mistake("want at least one value")
	}
	for i, e := range list {
		if e, ok := scalar(e); ok {
			*v = append(*v, e)
		} else {
			at.Index(i).Mistake(`want text, a number or true/false, such as "ON", 21.5 or true`)
		}
	}
}

func scalar(raw any) (any, bool) {
	switch raw := raw.(type) {
	case bool, float64, string:
		return raw, true
	case int64:
		return float64(raw), true
	}
	return nil, false
}

// Untils is what ends an episode: any one of them.
type Untils []Until

// An Until is a test on the trigger's own source or, with State, on another;
// For delays the end until it has held so long.
type Until struct {
	Mirror *float64 // written as a bare number: the trigger's own test turned round
	State  string   `toml:"state"`
	Event  string   `toml:"event"`
	Test
	For config.Duration `toml:"for" max:"1000d"`
}

// DecodeTOML takes a number, a table or a list of these.
func (u *Untils) DecodeTOML(raw any, at config.Place) {
	switch raw := raw.(type) {
	case int64:
		n := float64(raw)
		*u = append(*u, Until{Mirror: &n})
	case float64:
		*u = append(*u, Until{Mirror: &raw})
	case map[string]any:
		var one Until
		config.Decode(raw, &one, at)
		*u = append(*u, one)
	case []any:
		for i, e := range raw {
			u.DecodeTOML(e, at.Index(i))
		}
	default:
		at.Mistake(`want a number such as 22, or a test such as { is = "OFF", for = "2m" }`)
	}
}

// A Condition is looked at once, when a trigger fires. All its keys must hold.
type Condition struct {
	State map[string]Want        `toml:"state"` // the newest values of these sources
	Time  Window                 `toml:"time"`  // time of day, half open, may cross midnight
	Days  Days                   `toml:"days"`
	Any   config.List[Condition] `toml:"any"` // at least one of these
	Not   *Condition             `toml:"not"`
}

// A Want is the test of a state condition: a value, a list of them, or a table
// of tests.
type Want struct{ Test }

// DecodeTOML takes a scalar, a list of scalars, or a table.
func (w *Want) DecodeTOML(raw any, at config.Place) {
	if _, ok := raw.(map[string]any); ok {
		config.Decode(raw, &w.Test, at)
		if w.empty() {
			at.Mistake(`want a test such as { below = 5 }`)
		}
		return
	}
	w.Is.DecodeTOML(raw, at)
}

// An Action is one thing to do: exactly one of Set, Publish and Pulse.
type Action struct {
	Set     config.List[string] `toml:"set" eg:"\"porch_light\""` // outputs
	Publish string              `toml:"publish" eg:"\"cmnd/lamp/POWER\""`
	Pulse   string              `toml:"pulse" eg:"\"porch_light\""` // an output or a topic: on, wait, off

	To      any             `toml:"to"`              // of set: true, false or "toggle"
	On      any             `toml:"on"`              // sent when the episode begins
	Off     any             `toml:"off"`             // sent when it ends
	Payload any             `toml:"payload"`         // of publish: text, a number, true/false (ON/OFF), or a table (JSON)
	Retain  bool            `toml:"retain"`          // of publish
	For     config.Duration `toml:"for" max:"1000d"` // of pulse
	Changed bool            `toml:"changed"`         // of set: not when the newest known level is the same
}

// A Window is a span of local time of day.
type Window struct {
	From, To time.Duration // since midnight; To before From crosses it
	set      bool
}

// DecodeTOML takes "16:00-23:00".
func (w *Window) DecodeTOML(raw any, at config.Place) {
	text, _ := raw.(string)
	from, to, ok := strings.Cut(text, "-")
	var err1, err2 error
	w.From, err1 = timeOfDay(from)
	w.To, err2 = timeOfDay(to)
	if !ok || err1 != nil || err2 != nil {
		at.Mistake(`want a span of time of day such as "16:00-23:00"`)
		return
	}
	if w.From == w.To {
		at.Mistake("the span is empty: it begins when it ends")
	}
	w.set = true
}

// timeOfDay reads "7:30", "07:30" or "07:30:15", up to 24:00.
func timeOfDay(text string) (time.Duration, error) {
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, fmt.Errorf("no time of day")
	}
	limits := []int{24, 59, 59}
	units := []time.Duration{time.Hour, time.Minute, time.Second}
	var d time.Duration
	for i, p := range parts {
		n := 0
		if len(p) == 0 || len(p) > 2 || i > 0 && len(p) != 2 {
			return 0, fmt.Errorf("no time of day")
		}
		for _, c := range []byte(p) {
			if c < '0' || c > '9' {
				return 0, fmt.Errorf("no time of day")
			}
			n = n*10 + int(c-'0')
		}
		if n > limits[i] {
			return 0, fmt.Errorf("no time of day")
		}
		d += time.Duration(n) * units[i]
	}
	if d > 24*time.Hour {
		return 0, fmt.Errorf("no time of day")
	}
	return d, nil
}

func (w Window) holds(wall time.Time) bool {
	h, m, s := wall.Clock()
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
	if w.From < w.To {
		return d >= w.From && d < w.To
	}
	return d >= w.From || d < w.To
}

func (w Window) String() string { return clock(w.From) + "-" + clock(w.To) }

func clock(d time.Duration) string {
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	if s != 0 {
		return fmt.Sprintf("%02d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%02d:%02d", h, m)
}

// Days is a set of weekdays, bit 0 for Sunday; none set means every day.
type Days byte

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// DecodeTOML takes "mon-fri" or "sat,sun".
func (d *Days) DecodeTOML(raw any, at config.Place) {
	text, ok := raw.(string)
	day := func(name string) int {
		name = strings.ToLower(strings.TrimSpace(name))
		for i, n := range dayNames {
			if n == name {
				return i
			}
		}
		ok = false
		return 0
	}
	for _, part := range strings.Split(text, ",") {
		from, to, span := strings.Cut(part, "-")
		i := day(from)
		j := i
		if span {
			j = day(to)
		}
		for *d |= 1 << i; i != j; {
			i = (i + 1) % 7
			*d |= 1 << i
		}
	}
	if !ok {
		at.Mistake(`want weekdays such as "mon-fri" or "sat,sun"`)
	}
}

func (d Days) holds(w time.Weekday) bool { return d == 0 || d&(1<<w) != 0 }

func (d Days) String() string {
	var names []string
	for i := 1; i <= 7; i++ {
		if d&(1<<(i%7)) != 0 {
			names = append(names, dayNames[i%7])
		}
	}
	return strings.Join(names, ",")
}

// House is the names that links and rules may use besides topics.
type House struct {
	Outputs []string
	Inputs  []string
}

func (h House) names() []string { return append(append([]string{}, h.Inputs...), h.Outputs...) }

// Sources of the whole configuration are found while it is compiled; a compiler
// gathers them and reports every mistake at its place.
type compiler struct {
	house   House
	sources map[string]devices.Source
}

func (c *compiler) source(text string, at config.Place) string {
	s, err := devices.ParseSource(text)
	if err != nil {
		at.Mistake("%v", err)
		return ""
	}
	if len(s.Captures()) > 0 || s.Property != "" {
		at.Mistake("captures such as {name} and properties are not built yet: write one rule a topic, or use + for any")
		return ""
	}
	if s.Name != "" && !slices.Contains(c.house.names(), s.Name) {
		c.unknown("input or output", s.Name, c.house.names(), at, `; a topic of one level needs quotes inside, '"`+s.Name+`"'`)
		return ""
	}
	if doubt := devices.TopicDoubt(s.Filter); doubt != "" {
		at.Warn("%s", doubt)
	}
	c.sources[s.String()] = s
	return s.String()
}

func (c *compiler) output(name string, at config.Place) {
	if strings.Contains(name, "/") {
		at.Mistake("want the name of an output; to send to a topic use publish")
		return
	}
	if slices.Contains(c.house.Inputs, name) {
		at.Mistake("%s is an input; want the name of an output", name)
	} else if !slices.Contains(c.house.Outputs, name) {
		c.unknown("output", name, c.house.Outputs, at, "")
	}
}

func (c *compiler) unknown(kind, name string, known []string, at config.Place, hint string) {
	near, ok := config.Nearest(name, known)
	switch {
	case ok:
		at.Mistake("no %s has this name, did you mean %q?", kind, near)
	case len(known) == 0:
		at.Mistake("no %s has this name, for none is declared%s", kind, hint)
	default:
		at.Mistake("no %s has this name; there are %s%s", kind, strings.Join(known, ", "), hint)
	}
}

// target tells an output from a topic and checks it.
func (c *compiler) target(text string, at config.Place) (output, topic string) {
	if !strings.Contains(text, "/") {
		c.output(text, at)
		return text, ""
	}
	c.topic(text, at)
	return "", text
}

func (c *compiler) topic(text string, at config.Place) {
	if err := devices.CheckTopic(text); err != nil {
		at.Mistake("%v", err)
		return
	}
	if strings.HasPrefix(text, "hearth/") && !strings.HasSuffix(text, "/set") {
		at.Mistake("%s is what the hub itself reports; to switch an output publish hearth/<name>/set, or use set", text)
	}
	if doubt := devices.TopicDoubt(text); doubt != "" {
		at.Warn("%s", doubt)
	}
}
