package rules

import (
	"hearth/devices"
)

// An Event is one thing that happens to the rules. All that moves an engine, and the
// registry of values that it reads, goes through [Engine.Take] as one of these; so
// whoever keeps them can let it all happen again, with the same decisions.
type Event struct {
	At   devices.Now
	Kind EventKind

	Readings []devices.Reading // Report: what was reported at one time
	Name     string            // Enable: a rule; Ask: a machine; Tell, Refuse: an output; Post: a path; Answer: a request's ID
	On       bool              // Enable
	Value    any               // Tell
	Text     string            // Ask: the state asked for; Answer: why there is no answer
	Status   int               // Answer: of HTTP
	Body     []byte            // Post
	State    *Checkpoint       // Open, Reload: what the engine begins with
}

// An EventKind says what happens.
type EventKind string

// The kinds of events.
const (
	Report  EventKind = "report"  // sources have reported
	Pass    EventKind = "pass"    // time has passed, and something is due
	Open    EventKind = "open"    // the hub starts, with what the last life left
	Begin   EventKind = "begin"   // all that is there at the start has been found
	Resume  EventKind = "resume"  // the house is back: what was on goes on
	Reload  EventKind = "reload"  // another configuration is in force
	Enable  EventKind = "enable"  // somebody lets a rule run, or no longer
	Ask     EventKind = "ask"     // somebody asks a machine for a state
	Tell    EventKind = "tell"    // somebody who is no rule told an output something
	Refuse  EventKind = "refuse"  // an output did not take a command, and will not report on it
	Post    EventKind = "post"    // somebody posted to a path, a webhook
	Answer  EventKind = "answer"  // a request has its answer
	Forget  EventKind = "forget"  // nothing is known of a source any more
	Current EventKind = "current" // nothing happens: State is where everything stands, for who begins to replay here
)

// A Checkpoint is where everything stood at one moment: enough to go on from there.
type Checkpoint struct {
	Boot     string            // names the life of the machine to which monotonic times belong
	Life     uint64            // of the hub: how often it had started on this store
	Decided  uint64            // the ID of the last decision
	Seed     uint64            // of what is random in rules
	Config   string            // names the configuration in force: a hash of its text
	States   map[string]State  // of the engine, by key
	Readings []devices.Reading // the newest of each source, without their messages
}
