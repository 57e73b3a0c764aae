package rules

import (
	"slices"
	"strings"
	"time"

	"hearth/devices"
)

// A Checkpoint is where everything stood at one moment: enough to go on from there.
//
// That of Open and of Reload has what a restart leaves. One that [Engine.Checkpoint] made
// has all, so an engine that takes it as Current decides from then on as the one that it
// is of.
type Checkpoint struct {
	Boot     string            `json:"boot"`             // names the life of the machine to which monotonic times belong
	Life     uint64            `json:"life,omitempty"`   // of the hub: how often it had started on this store
	Decided  uint64            `json:"decided"`          // the ID of the last decision
	Seed     uint64            `json:"seed,omitempty"`   // of what is random in rules
	Config   string            `json:"config,omitempty"` // names the configuration in force: a hash of its text
	States   map[string]State  `json:"states,omitempty"` // of the engine, by key
	Readings []devices.Reading `json:"readings,omitempty"`
	Exact    *Exact            `json:"exact,omitempty"` // of [Engine.Checkpoint] only
}

// Exact is what an engine knows beside its States and the registry, and forgets at a
// restart.
type Exact struct {
	Booted    bool                         `json:"booted,omitempty"`
	Reloading bool                         `json:"reloading,omitempty"`
	Reloaded  bool                         `json:"reloaded,omitempty"`
	Known     bool                         `json:"known,omitempty"`   // the clock was
	Started   bool                         `json:"started,omitempty"` // times of day are planned
	Shift     time.Duration                `json:"shift,omitempty"`   // by how much the wall clock was ahead of the other then
	Floor     time.Duration                `json:"floor,omitempty"`
	Timers    uint64                       `json:"timers,omitempty"` // set so far
	Asked     int                          `json:"asked,omitempty"`  // requests
	Told      map[string]ToldState         `json:"told,omitempty"`   // properties of devices, by their source
	Sent      map[string]ToldState         `json:"sent,omitempty"`   // topics
	Pulses    map[string]ThreadName        `json:"pulses,omitempty"` // by output
	Commanded map[string]devices.Commanded `json:"commanded,omitempty"`
}

// A ToldState is what something was told last.
type ToldState struct {
	Value  any           `json:"value"`
	At     time.Duration `json:"at"`               // monotonic
	Secret bool          `json:"secret,omitempty"` // where it is kept, Value is not it
}

// A ThreadName says which thread of which run of which instance.
type ThreadName struct {
	Key    string `json:"key"`
	Run    int    `json:"run"`
	Thread int    `json:"thread"`
}

// An ExactState is what an instance of a rule, or a calc, knows beside the rest of its
// State, and forgets at a restart.
type ExactState struct {
	Kept   bool          `json:"kept,omitempty"` // it was taken over from the life before
	Ran    int           `json:"ran,omitempty"`  // runs, of a rule
	Tokens float64       `json:"tokens,omitempty"`
	Filled time.Duration `json:"filled,omitempty"`
	Plans  []PlanState   `json:"plans,omitempty"` // one for each trigger, if one is at times of day
}

// A PlanState is the next time of day of a trigger.
type PlanState struct {
	Due     *Deadline `json:"due,omitempty"`
	At      time.Time `json:"at,omitzero"`      // as of the wall clock
	Planned time.Time `json:"planned,omitzero"` // the same without its random part
}

// Checkpoint is where everything stands now, between two events. What names the house and
// its life (Life, Seed, Config) is for the caller to fill in.
func (e *Engine) Checkpoint(now devices.Now, boot string) *Checkpoint {
	cp := &Checkpoint{Boot: boot, Decided: e.numbered, States: e.states(keeping{now, true}, boot), Readings: e.registry.All()}
	for i := range cp.Readings {
		if r := &cp.Readings[i]; r.Message != nil && !e.ReadsMessage(*r) {
			r.Message = nil
		}
	}
	x := &Exact{Booted: e.booted, Reloading: e.reloading, Reloaded: e.reloaded, Known: e.known, Started: e.started, Shift: e.shift, Floor: e.floor,
		Timers: e.timers.count, Asked: e.asked, Told: make(map[string]ToldState), Sent: make(map[string]ToldState),
		Pulses: make(map[string]ThreadName), Commanded: e.registry.Commanded()}
	for source, t := range e.told {
		x.Told[source] = ToldState{t.value, t.at, t.secret}
	}
	for topic, s := range e.sent {
		x.Sent[topic] = ToldState{s.payload, s.at, s.secret}
	}
	for output, t := range e.pulses {
		inst := t.run.inst
		name := ThreadName{inst.key(), slices.Index(inst.runs, t.run), slices.Index(t.run.threads, t)}
		if name.Run >= 0 && name.Thread >= 0 { // it is still going
			x.Pulses[output] = name
		}
	}
	cp.Exact = x
	return cp
}

// exact is what an instance knows beside the rest of its state.
func (inst *instance) exact(k keeping) *ExactState {
	x := &ExactState{Kept: inst.kept, Tokens: inst.tokens, Filled: inst.filled}
	if inst == inst.rule.only {
		x.Ran = inst.rule.ran
	}
	for i, t := range inst.rule.triggers {
		if t.schedule == nil {
			continue
		}
		if x.Plans == nil {
			x.Plans = make([]PlanState, len(inst.rule.triggers))
		}
		l := &inst.latches[i]
		x.Plans[i] = PlanState{Due: k.timer(l.plan), Planned: l.planned}
		if l.plan != nil {
			x.Plans[i].At = l.plan.at
		}
	}
	return x
}

// exactly takes that up.
func (inst *instance) exactly(x *ExactState, k restoring) {
	inst.tokens, inst.filled = x.Tokens, x.Filled
	if inst == inst.rule.only {
		inst.rule.ran = x.Ran
	}
	for i, p := range x.Plans {
		if i >= len(inst.latches) || inst.rule.triggers[i].schedule == nil {
			continue
		}
		l := &inst.latches[i]
		l.planned = p.Planned
		k.timer(&l.plan, timer{inst: inst, trigger: inst.rule.triggers[i], kind: planDue, at: p.At}, p.Due)
	}
}

// continueAt takes up a whole checkpoint. What has another definition than then begins anew, as
// at a reload; what is the same knows nothing of that.
func (e *Engine) continueAt(cp *Checkpoint, now devices.Now) []Decision {
	x := cp.Exact
	e.now, e.numbered = now, cp.Decided
	e.registry.Restore(cp.Readings, x.Commanded)
	for name := range e.holders {
		if _, ok := e.registry.Last(name); !ok { // it is new
			e.holdInitial(name, now)
		}
	}
	var gone []string
	for _, key := range sortedKeys(cp.States) {
		if !e.restore(key, cp.States[key], now, cp.Boot) {
			gone = append(gone, key)
		}
	}
	e.booted, e.reloading, e.reloaded, e.known, e.started = x.Booted, x.Reloading, x.Reloaded, x.Known, x.Started
	e.shift, e.floor, e.asked, e.held = x.Shift, x.Floor, x.Asked, nil
	e.timers.count = max(e.timers.count, x.Timers)
	for source, t := range x.Told {
		e.told[source] = told{t.Value, t.At, t.Secret}
	}
	for topic, s := range x.Sent {
		payload, _ := s.Value.(string)
		e.sent[topic] = sent{payload, s.At, s.Secret}
	}
	clear(e.pulses)
	for output, name := range x.Pulses {
		if t := e.thread(name); t != nil {
			e.pulses[output] = t
		}
	}
	e.release(cp.States, gone, now)
	if e.booted && e.hasNew() {
		e.findAnew(now)
	}
	for key, s := range cp.States {
		e.keptAs(key, s.Exact)
	}
	return e.settle()
}

// thread finds one by its name.
func (e *Engine) thread(name ThreadName) *thread {
	inst := e.instance(name.Key)
	if inst == nil || name.Run < 0 || name.Run >= len(inst.runs) || name.Thread < 0 || name.Thread >= len(inst.runs[name.Run].threads) {
		return nil
	}
	return inst.runs[name.Run].threads[name.Thread]
}

// instance finds one by its key; nil if there is none.
func (e *Engine) instance(key string) *instance {
	name, values, captured := strings.Cut(strings.TrimSuffix(key, "}"), "{")
	r := e.byName[name]
	switch {
	case r == nil:
		return nil
	case captured:
		return r.instances[values]
	}
	return r.only
}

// hasNew reports whether something here was not taken over.
func (e *Engine) hasNew() bool {
	return slices.ContainsFunc(e.rules, func(r *rule) bool { return r.enabled && !r.only.kept }) ||
		slices.ContainsFunc(e.calcs, func(x *calc) bool { return !x.kept })
}

// findAnew lets what was not taken over find what is there, while the rest goes on.
func (e *Engine) findAnew(now devices.Now) {
	e.findAll(now)
	for _, r := range e.rules {
		if e.started && r.enabled && !r.off && !r.only.kept {
			e.planRule(r, now)
		}
	}
}

// keptAs says of what was taken over whether it had been so where it comes from.
func (e *Engine) keptAs(key string, x *ExactState) {
	if x == nil {
		return
	}
	if inst := e.instance(key); inst != nil {
		inst.kept = inst.kept && x.Kept
		return
	}
	kind, name, _ := strings.Cut(key, ".")
	if c, ok := e.holders[name].(*calc); ok && kind == "calc" {
		c.kept = c.kept && x.Kept
	}
}
