// Package devices is the vocabulary of the house: what reports, what can be
// told, and how a payload becomes a value.
//
// A [Source] is the owner's way to say where a value comes from, such as
// "zigbee2mqtt/hall:occupancy" or "pir". An [Index] holds every source that the
// configuration names and turns a [Message] into the [Reading]s of those
// sources; it never changes once built, so the edges use it without a lock. The
// [Registry] keeps the newest reading of each source; it belongs to the hub's
// one loop.
//
// The package imports nothing of Hearth, starts nothing and reads no clock.
package devices

import (
	"fmt"
	"strings"
	"time"
)

// Now is one moment as the hub knows it. A Raspberry Pi has no clock of its own
// that outlives the power: it boots in 1970 or with last week's time, and NTP
// steps the wall clock later. So durations are measured on Mono, and only what
// is about times of day looks at Wall, and only once it is Known.
type Now struct {
	Mono  time.Duration // since the machine booted; never steps
	Wall  time.Time     // local wall clock, right only if Known
	Known bool          // the wall clock has been set by something to be trusted
}

// Add is the moment d later by both clocks.
func (n Now) Add(d time.Duration) Now {
	return Now{Mono: n.Mono + d, Wall: n.Wall.Add(d), Known: n.Known}
}

// Origin says what caused a message or a command: the rules that led to it,
// oldest first, or nothing when it came from outside the hub. Its length is the
// hop count that stops a loop, its content names the rules of that loop.
type Origin struct {
	Rules []string
	By    string // who asked, where no rule did: "page", "hearth/lamp/set"

	// Decision is the ID of the decision that it comes from; 0 if of none. With it
	// history finds the whole chain of what led to it.
	Decision uint64
}

// Then is the origin of what rule does because of o.
func (o Origin) Then(rule string) Origin {
	rules := make([]string, len(o.Rules), len(o.Rules)+1)
	copy(rules, o.Rules)
	return Origin{Rules: append(rules, rule), By: o.By}
}

// Last is the rule nearest to what it caused; "" if none did.
func (o Origin) Last() string {
	if len(o.Rules) == 0 {
		return ""
	}
	return o.Rules[len(o.Rules)-1]
}

// Hops is how many rules stand between the outside and this.
func (o Origin) Hops() int { return len(o.Rules) }

// A Message is one MQTT publish as the house sees it.
type Message struct {
	Topic   string
	Payload []byte
	Retain  bool // the flag as it was sent; see Initial for what was found at start
	Initial bool // found stored when the hub started, so it is not news
	Origin  Origin

	// May says whether its publisher may publish to another topic. Nil: it is the hub
	// itself, or nobody knows any more who it was.
	May func(topic string) bool `json:"-"`

	doc any // what JSON has found
}

// A Reading is one report of one source.
type Reading struct {
	Source  string // the source's text: "zigbee2mqtt/hall:occupancy", "pir"
	Topic   string // the topic it came on; "" for a pin
	Value   any    // bool, float64, string, map[string]any or []any; nil if Bad
	Text    string // the value as it was sent, for exact comparison
	Bad     string // why it is no valid reading: "broken JSON", "null"; "" if it is one
	At      Now
	Initial bool // found at start; may end something, never begin it
	Event   bool // it happened, and leaves no value: a press
	Gone    bool // nothing is known of it any more, so its last value does not count; beside Bad it is not there either
	Origin  Origin

	// Restored says that At is of the hub's last life, of which only the wall
	// clock's moment means something.
	Restored bool

	Old      any      // of the registry's: the value before this one
	Message  *Message // the whole of which it is a part; nil for what is no message
	Captured *Capture // what {name}s of the source stood for; nil if it has none
	From     *Reading // of what is computed: the report at which it was; nil if time was what made it new
}

// A Capture is what the {name}s of a source stand for in one topic.
type Capture struct {
	Source string   // as written, "tele/{name}/LWT"; the reading's own has the values put in
	Values []string // in the order of their names in it
}

// A Command tells an output or a device something, publishes a payload or sends a
// request. Exactly one of Output, Device, Topic and HTTP is set.
//
// For an output, or another wired thing that takes commands, Value is a bool,
// Toggle, a float64 from 0 to 100 (percent of a dimmed lamp or of a cover's way),
// or a word: "stop" for a cover, "acknowledge" for an output that has a fault.
type Command struct {
	Output   string
	Device   string // one that has announced itself
	Property string // of Device; "" is its main one
	Topic    string
	HTTP     *Request
	Value    any           // for Output: see below; for a device's property: what it is told
	Payload  string        // for Topic
	Source   string        // of a device's property: where it will report
	For      time.Duration // of an Output: then it goes off again; 0: it stays
	Ramp     time.Duration // of an Output with levels: how long the way there takes
	Retain   bool
	QoS      byte
	Notify   bool   // it tells a person: never twice
	Secret   bool   // what is sent holds a secret, so String does not show it
	Shown    string // in place of Topic, if that holds one
	Origin   Origin

	// Owed is an end that something begun before must get: the off of a pulse or
	// of an episode.
	Owed bool

	// Journal asks that the run this belongs to is on disk before the command
	// goes out, so that a crash can't forget that its end is owed.
	Journal bool
}

// A Request is one HTTP call. Its result comes back to who asked by ID.
type Request struct {
	ID     string
	Method string // "GET", "POST"...
	URL    string
	Body   string
	Header map[string]string
}

// String is the command as a person would write it: "porch_light ON".
func (c Command) String() string {
	switch {
	case c.Output != "" && c.For > 0:
		return fmt.Sprintf("%s %s for %v", c.Output, Text(c.Value), c.For)
	case c.Output != "":
		return c.Output + " " + Text(c.Value)
	case c.Device != "":
		name := c.Device
		if c.Property != "" {
			name += "." + c.Property
		}
		if c.Secret {
			return name + " ***"
		}
		return name + " " + Text(c.Value)
	case c.HTTP != nil && c.Secret:
		return c.HTTP.Method + " ***"
	case c.Secret && c.Shown != "":
		return c.Shown + " ***"
	case c.Secret:
		return c.Topic + " ***"
	case c.HTTP != nil:
		return strings.TrimSpace(c.HTTP.Method + " " + c.HTTP.URL + " " + c.HTTP.Body)
	}
	if c.Payload == "" {
		return c.Topic
	}
	return c.Topic + " " + c.Payload
}

// Toggle as a command's Value asks for the opposite of the newest known level.
type Toggle struct{}

// OnOff reads the on/off words that people and devices use: on, off, true,
// false, 1, 0, in any case, with spaces round them.
func OnOff(text string) (on, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "on", "true", "1":
		return true, true
	case "off", "false", "0":
		return false, true
	}
	return false, false
}

// Bool is v as a boolean: a boolean itself, the numbers 1 and 0, or an on/off word.
func Bool(v any) (on, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case float64:
		return v == 1, v == 0 || v == 1
	case string:
		return OnOff(v)
	}
	return false, false
}
