package rules

import (
	"math"
	"slices"
	"strings"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/calendar"
)

// Config is what the owner writes of links, rules and what they compute and
// remember. docs/rules.md is its reference.
type Config struct {
	Link     config.Table[Link]     `toml:"link"`
	Calc     config.Table[Calc]     `toml:"calc"`
	Variable config.Table[Variable] `toml:"variable"`
	Machine  config.Table[Machine]  `toml:"machine"`
	Rule     config.Table[Rule]     `toml:"rule"`
	Notify   config.Table[Notify]   `toml:"notify"`
	Device   config.Table[Device]   `toml:"device"`
}

// A Link carries every live reading of one source to one target.
type Link struct {
	From     string `toml:"from,required" eg:"\"zigbee2mqtt/hall:occupancy\""`
	To       string `toml:"to,required" eg:"\"porch_light\""`     // an output, a device's property, a variable or a topic
	Type     string `toml:"type" enum:"boolean,number,text,json"` // what is carried; others are dropped; default boolean
	Invert   bool   `toml:"invert"`                               // booleans and numbers: the opposite
	Changed  bool   `toml:"changed"`                              // only when it differs from the last one carried
	Retained bool   `toml:"retained"`                             // what is found at start is carried too
	Retain   bool   `toml:"retain"`                               // to a topic: as a retained message
	Enabled  *bool  `toml:"enabled"`                              // default true
}

// A Rule is one or, with each, several of the same form with other parameters.
type Rule struct{ Entries []Entry[RuleBody] }

// DecodeTOML reads a rule once for each of its parameters.
func (r *Rule) DecodeTOML(raw any, at config.Place) { r.Entries = entries[RuleBody](raw, at) }

// A RuleBody runs actions when a trigger fires and its conditions hold.
type RuleBody struct {
	Each      Each                   `toml:"each,some"`
	Trigger   config.List[Trigger]   `toml:"trigger,required" eg:"{ state = \"pir\", is = true }"`
	Condition config.List[Condition] `toml:"condition,some"`
	Action    Actions                `toml:"action" eg:"{ set = \"porch_light\", to = true }"`
	Choose    config.List[Choice]    `toml:"choose,some"`
	Done      Actions                `toml:"done,some"`                                  // at the end of an episode
	Repeat    config.List[Interval]  `toml:"repeat,some"`                                // the action again after these gaps, while the episode lasts
	Times     int                    `toml:"times" min:"1" max:"1000000"`                // at most so many runs of the action an episode
	Cooldown  Cooldown               `toml:"cooldown"`                                   // after a run has started triggers are ignored so long
	Mode      string                 `toml:"mode" enum:"single,restart,queued,parallel"` // a run is still going when the trigger fires
	Max       int                    `toml:"max" min:"1" max:"1000"`                     // of queued and parallel; default 10
	CatchUp   string                 `toml:"catch_up" enum:"missed,restart,start"`       // what becomes of times of day that passed while the hub was down
	Enabled   *bool                  `toml:"enabled"`                                    // default true
}

// An Interval is a duration of at least a millisecond.
type Interval struct{ config.Duration }

// DecodeTOML takes a duration.
func (i *Interval) DecodeTOML(raw any, at config.Place) {
	config.Decode(raw, &i.Duration, at)
	if i.Duration <= 0 && raw != nil {
		at.Mistake(`want a time such as "30m"`)
	}
}

// A Cooldown is a duration or the rest of the local day.
type Cooldown struct {
	For config.Duration
	Day bool
}

// DecodeTOML takes a duration or "day".
func (c *Cooldown) DecodeTOML(raw any, at config.Place) {
	if raw == "day" {
		c.Day = true
		return
	}
	config.Decode(raw, &c.For, at)
}

// A Trigger says when: exactly one of its sources.
type Trigger struct {
	State   string             `toml:"state" eg:"\"pir\""`
	Event   string             `toml:"event" eg:"\"button/set\""`
	Time    Times              `toml:"time,some"`                       // times of day
	Every   config.Duration    `toml:"every" min:"1s" max:"24h"`        // whole multiples since midnight
	Cron    string             `toml:"cron" eg:"\"30 7 * * mon-fri\""`  // a crontab entry
	Sun     *calendar.SunEvent `toml:"sun"`                             // sunrise, sunset...
	Webhook string             `toml:"webhook" eg:"\"/hook/doorbell\""` // a POST to this path
	Start   bool               `toml:"start"`                           // every start of the hub
	Test
	From      Values          `toml:"from,some"`                    // what it was before
	Changed   bool            `toml:"changed"`                      // without a test: only readings that differ from the last
	Distinct  string          `toml:"distinct" eg:"\"seq\""`        // a message with the same value here is the same one again
	For       config.Duration `toml:"for" max:"1000d"`              // the test must hold so long without interruption
	Until     Untils          `toml:"until,some"`                   // what ends it; makes the rule an episode
	MinOn     config.Duration `toml:"min_on" max:"1000d"`           // no end before this
	Retained  bool            `toml:"retained"`                     // a value found at start may fire too
	Days      calendar.Days   `toml:"days"`                         // of time, every, cron and sun
	Random    config.Duration `toml:"random" max:"24h"`             // of these: some moment up to so much later
	Elevation *float64        `toml:"elevation" min:"-90" max:"90"` // of sun, in degrees
	ID        string          `toml:"id"`                           // its name in {trigger} and in traces
}

// Times is times of day, or a source that says one.
type Times struct {
	Clock  calendar.Times
	Source string
}

// DecodeTOML takes a time of day, a list of them, or a source.
func (t *Times) DecodeTOML(raw any, at config.Place) {
	if s, ok := raw.(string); ok && s != "" && (s[0] < '0' || s[0] > '9') {
		switch _, err := calendar.ParseSun(s); {
		case err == nil:
			at.Mistake("the sun has a key of its own: want sun = %q", s)
		case strings.ContainsAny(s, "+-") && !strings.ContainsAny(s, "/:"):
			at.Mistake("a source that says a time has no offset here: a calc can compute one")
		default:
			t.Source = s
		}
		return
	}
	t.Clock.DecodeTOML(raw, at)
}

// A Test compares a value. Several keys in one table must all hold; an empty
// Test holds for everything.
type Test struct {
	Is      Values          `toml:"is,some"`
	Above   *float64        `toml:"above" eg:"19.5"`
	Below   *float64        `toml:"below" eg:"19.5"`
	AtLeast *float64        `toml:"at_least" eg:"19.5"`
	AtMost  *float64        `toml:"at_most" eg:"19.5"`
	Silent  config.Duration `toml:"silent" min:"1ms" max:"1000d"` // no valid reading for so long

	holes bool // a text of Is names a capture, for whose value it stands
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
	case float64:
		return raw, !math.IsNaN(raw) && !math.IsInf(raw, 0)
	case bool, string:
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

// A Condition is looked at once, when a trigger fires. All its keys must hold;
// or it is an expression.
type Condition struct {
	Formula string // written as a text
	conditionTable
}

type conditionTable struct {
	State     Wants                  `toml:"state"` // the newest values of these sources
	Time      calendar.Window        `toml:"time"`  // time of day, half open, may cross midnight
	Days      calendar.Days          `toml:"days"`
	Dates     calendar.Dates         `toml:"dates,some"`
	Sun       string                 `toml:"sun" enum:"up,down"`
	Elevation *float64               `toml:"elevation" min:"-90" max:"90"` // of sun; default the horizon
	Trigger   config.List[string]    `toml:"trigger,some"`                 // the trigger that fired is one of these
	Any       config.List[Condition] `toml:"any,some"`                     // at least one of these
	Not       *Condition             `toml:"not"`
	Test                             // of the trigger's value
}

// DecodeTOML takes an expression or a table.
func (c *Condition) DecodeTOML(raw any, at config.Place) {
	if text, ok := raw.(string); ok {
		if c.Formula = text; text == "" {
			at.Mistake(`the condition is empty: want an expression such as "level > 5", or a table`)
		}
		return
	}
	if _, ok := raw.(map[string]any); !ok {
		at.Mistake(`want a table such as { state = { "pir" = true } }, or an expression such as "level > 5"`)
		return
	}
	config.Decode(raw, &c.conditionTable, at)
}

// Wants is what the newest values of sources have to be.
type Wants map[string]Want

// DecodeTOML takes a table of sources.
func (w *Wants) DecodeTOML(raw any, at config.Place) {
	if s, ok := raw.(string); ok {
		at.Mistake("in a condition the source is a key: want state = { %q = true }, or a test such as { below = 5 } for true", s)
		return
	}
	var table map[string]Want
	config.Decode(raw, &table, at)
	*w = table
}

// A Want is the test of a state condition: a value, a list of them, or a table
// of tests.
type Want struct{ wantTable }

type wantTable struct {
	Test
	For    config.Duration `toml:"for" max:"1000d"`    // it has held so long
	Within config.Duration `toml:"within" max:"1000d"` // it was reported no longer ago
}

// DecodeTOML takes a scalar, a list of scalars, or a table.
func (w *Want) DecodeTOML(raw any, at config.Place) {
	if _, ok := raw.(map[string]any); ok {
		config.Decode(raw, &w.wantTable, at)
		if w.empty() && w.Within == 0 {
			at.Mistake(`want a test such as { below = 5 }`)
		}
		if w.For > 0 && w.empty() {
			at.Key("for").Mistake("for says how long a test has held, and there is none")
		}
		return
	}
	w.Is.DecodeTOML(raw, at)
}

// A Choice is one way of several: the first whose If holds is gone.
type Choice struct {
	If config.List[Condition] `toml:"if,some"`
	Do Actions                `toml:"do,required" eg:"{ set = \"porch_light\", to = true }"`
}

// Actions run in order. One with each stands there once for each of its items.
type Actions []Entry[Action]

// DecodeTOML reads one action or a list of them.
func (as *Actions) DecodeTOML(raw any, at config.Place) {
	list, ok := raw.([]any)
	if !ok {
		list = []any{raw}
	}
	for i, one := range list {
		if _, ok := one.(map[string]any); !ok {
			at.Index(i).Mistake(`want an action such as { set = "porch_light", to = true }`)
			continue
		}
		*as = append(*as, entries[Action](one, at.Index(i))...)
	}
}

// An Action is one thing to do: exactly one of Set, Publish, Pulse, Ramp, Notify,
// HTTP, Delay, Wait, Do, Choose, Parallel, Stop, Enable and Disable.
type Action struct {
	If   config.List[Condition] `toml:"if,some"`
	Each Each                   `toml:"each,some"`       // once for each of these
	Gap  config.Duration        `toml:"gap" max:"1000d"` // between one and the next, of each, times and while

	Set     config.List[string] `toml:"set,some" eg:"\"porch_light\""` // outputs, properties of devices, variables
	To      any                 `toml:"to"`                            // of set: a value, or "toggle"; of ramp: a number; of pulse: the level of its on
	Value   string              `toml:"value"`                         // of set, publish and ramp: an expression
	On      any                 `toml:"on"`                            // sent when the episode begins; of a pulse to a topic its begin
	Off     any                 `toml:"off"`                           // sent when it ends; "before" is what was there at the begin
	Changed bool                `toml:"changed"`                       // not when the newest known is the same

	Publish string `toml:"publish" eg:"\"cmnd/lamp/POWER\""`
	Payload any    `toml:"payload"` // text with {holes}, a number, true/false (ON/OFF), or a table (JSON)
	Retain  bool   `toml:"retain"`
	QoS     int    `toml:"qos" min:"0" max:"2"`

	Step *float64 `toml:"step"` // of set: by so much more than it is, or less
	Min  *float64 `toml:"min"`  // but not below this
	Max  *float64 `toml:"max"`  // nor above

	Pulse  string `toml:"pulse" eg:"\"porch_light\""` // an output or a topic: on, wait, off
	For    Pause  `toml:"for" max:"1000d"`            // of pulse; of set: a variable goes back to its initial after this
	Extend bool   `toml:"extend"`                     // of that: so much longer than is left

	Ramp  string          `toml:"ramp" eg:"\"bedroom.brightness\""` // a level, evenly from what it is to another
	From  *float64        `toml:"from"`                             // or from this
	Over  config.Duration `toml:"over" max:"1000d"`                 // in this time
	Every config.Duration `toml:"every" min:"100ms" max:"24h"`      // a value so often; default each second, or a hundred in all

	Notify string `toml:"notify" eg:"\"The garage is open\""`
	Via    string `toml:"via"` // which [notify.x], where there are several

	HTTP    string                `toml:"http" eg:"\"http://192.168.1.5/ring\""`
	Method  string                `toml:"method" enum:"GET,POST,PUT,PATCH,DELETE"` // default POST
	Body    any                   `toml:"body"`
	Headers map[string]string     `toml:"headers"`    // such as Authorization = "Bearer {secret('token')}"
	Retry   config.List[Interval] `toml:"retry,some"` // again after these gaps, on 5xx or without a connection

	Delay   Pause                `toml:"delay" max:"1000d"`
	Random  config.Duration      `toml:"random" max:"24h"` // of delay: up to so much longer
	Wait    config.List[Trigger] `toml:"wait,some"`        // until one of these fires
	Timeout config.Duration      `toml:"timeout" min:"1ms" max:"1000d"`

	Do       Actions                `toml:"do,some"`                     // a group
	While    config.List[Condition] `toml:"while,some"`                  // of do: again as long as this holds
	Times    int                    `toml:"times" min:"1" max:"1000000"` // of do: so often
	Choose   config.List[Choice]    `toml:"choose,some"`
	Parallel []Actions              `toml:"parallel,some"`               // each list by itself, at once; goes on when all are over
	Stop     bool                   `toml:"stop"`                        // ends this run
	Enable   string                 `toml:"enable" eg:"\"garage_open\""` // a rule
	Disable  string                 `toml:"disable" eg:"\"garage_open\""`
}

// A Pause is a duration, or a text with holes that gives one.
type Pause struct {
	Fixed config.Duration
	Text  string
}

// DecodeTOML takes "5m" or "{minutes}m".
func (p *Pause) DecodeTOML(raw any, at config.Place) {
	if s, ok := raw.(string); ok && strings.Contains(s, "{") {
		p.Text = s
		return
	}
	config.Decode(raw, &p.Fixed, at)
}

func (p Pause) given() bool { return p.Fixed > 0 || p.Text != "" }

// A Calc is a value computed from the readings of others.
type Calc struct {
	Of      config.List[string] `toml:"of,required" eg:"\"zigbee2mqtt/climate_{room}:temperature\""`
	Value   string              `toml:"value,required" eg:"\"mean(readings)\""`
	MaxAge  config.Duration     `toml:"max_age" max:"1000d"`             // older ones are left out
	Window  Span                `toml:"window"`                          // the readings of so long, or so many
	Batch   Span                `toml:"batch"`                           // computed once per so many, or so long
	Default any                 `toml:"default"`                         // before the first
	Type    string              `toml:"type" enum:"number,boolean,text"` // other readings are invalid
}

// A Span is a number of readings or a time.
type Span struct {
	Count int
	For   config.Duration
}

// DecodeTOML takes a whole number or a duration.
func (s *Span) DecodeTOML(raw any, at config.Place) {
	n, ok := raw.(int64)
	switch {
	case ok && n > 0 && n <= maxReadings:
		s.Count = int(n)
	case ok:
		at.Mistake("want at least 1 reading and at most %d", maxReadings)
	default:
		if _, ok := raw.(string); !ok {
			at.Mistake(`want a time such as "5m", or a number of readings such as 10`)
			return
		}
		if config.Decode(raw, &s.For, at); s.For < 0 || s.For == 0 && raw == "0s" {
			at.Mistake(`want a time such as "5m"`)
		}
	}
}

// A Variable is a value that actions set.
type Variable struct {
	Initial any    `toml:"initial"`
	Topic   string `toml:"topic"` // published there, retained, at each change
}

// A Machine is in one state at a time; moves lead from one to another. With each
// there is one for each of its items, called by its name and the item's.
type Machine struct{ Entries []Entry[MachineBody] }

// DecodeTOML reads a machine once for each of its parameters.
func (m *Machine) DecodeTOML(raw any, at config.Place) { m.Entries = entries[MachineBody](raw, at) }

// A MachineBody is the table of a machine.
type MachineBody struct {
	Each    Each              `toml:"each,some"`
	Initial string            `toml:"initial,required" eg:"\"disarmed\""`
	Topic   string            `toml:"topic"` // the state is published there, retained, at each change
	Moves   config.List[Move] `toml:"moves,required" eg:"[{ from = \"off\", on = { event = \"a/b\" }, to = \"on\" }]"`
}

// A Move leads from some states to one, on a trigger or after a time.
type Move struct {
	From  config.List[string]    `toml:"from,required" eg:"\"disarmed\""` // "*" is any but To
	On    config.List[Trigger]   `toml:"on,some"`
	After config.Duration        `toml:"after" max:"1000d"` // since the state was entered
	If    config.List[Condition] `toml:"if,some"`
	To    string                 `toml:"to,required" eg:"\"armed\""`
	Do    Actions                `toml:"do,some"`
}

// A Notify is a way to tell a person: a topic or a URL, exactly one.
type Notify struct {
	Topic  string `toml:"topic" eg:"\"notify/phone\""`
	URL    string `toml:"url" eg:"\"https://ntfy.sh/my_house\""` // gets the text by POST
	Retain bool   `toml:"retain"`
}

// A Device gives a name to something that talks MQTT.
type Device struct {
	Via  string `toml:"via" enum:"zigbee2mqtt,tasmota"`
	ID   string `toml:"id"`   // what hearth devices says, such as "shelly/shellyplus1-a8032abe54dc"; or with via the name that it has there
	Main string `toml:"main"` // the property that the name alone stands for; default state, or the first that the device announces

	// What people are shown in place of what it says of itself, and by which other names
	// they may call it; rules know the one name only.
	devices.Shown
	Aliases config.List[string] `toml:"aliases" eg:"\"deckenlampe\""`
}

// Each is the parameters of several rules or actions of the same form.
type Each []map[string]any

// DecodeTOML takes a list of tables, or of values, which are called item.
func (e *Each) DecodeTOML(raw any, at config.Place) {
	list, ok := raw.([]any)
	if !ok {
		at.Mistake(`want a list such as ["kitchen", "bath"] or [{ room = "kitchen", limit = 60 }]`)
		return
	}
	for i, one := range list {
		if table, ok := one.(map[string]any); ok {
			params := make(map[string]any, len(table))
			for key, v := range table {
				v, ok := scalar(v)
				switch {
				case !ok:
					at.Index(i).Key(key).Mistake("want text, a number or true/false")
				case !isParameter(key):
					at.Index(i).Key(key).Mistake("want a name made of a-z, 0-9 and _")
				default:
					params[key] = v
				}
			}
			*e = append(*e, params)
		} else if v, ok := scalar(one); ok {
			*e = append(*e, map[string]any{"item": v})
		} else {
			at.Index(i).Mistake(`want text, a number, or a table such as { room = "kitchen", limit = 60 }`)
		}
	}
	for i, one := range (*e)[min(1, len(*e)):] {
		for key := range (*e)[0] {
			if _, ok := one[key]; !ok {
				at.Index(i+1).Mistake("%s is missing, which the first one has", key)
			}
		}
	}
}

func isParameter(key string) bool {
	return key != "" && key[0] >= 'a' && key[0] <= 'z' && !slices.ContainsFunc([]byte(key), func(c byte) bool {
		return !(c >= 'a' && c <= 'z' || c == '_' || c >= '0' && c <= '9')
	})
}
