package rules

import (
	"slices"
	"strings"
	"time"

	"hearth/devices"
)

// A State is where one thing stands that outlives a restart, as plain values
// that JSON can carry: an instance of a rule, a variable or a calc.
type State struct {
	Hash     string         `json:"hash"` // "" says that there is nothing to keep
	Boot     string         `json:"boot"` // which life of the machine Mono belongs to
	At       devices.Now    `json:"at"`
	Values   []string       `json:"values,omitempty"` // of the captures
	Triggers []TriggerState `json:"triggers,omitempty"`
	Levels   []LevelState   `json:"levels,omitempty"`
	Runs     []RunState     `json:"runs,omitempty"`
	Queue    []ContextState `json:"queue,omitempty"`
	Requests []RequestState `json:"requests,omitempty"`
	Cool     *Deadline      `json:"cool,omitempty"`
	CoolDay  string         `json:"cool_day,omitempty"`
	Off      bool           `json:"off,omitempty"` // disabled by an action or by hand

	Machine  *MachineState `json:"machine,omitempty"`
	Value    any           `json:"value,omitempty"`    // of a variable or calc
	Back     *Deadline     `json:"back,omitempty"`     // when a variable is its initial again
	Decision uint64        `json:"decision,omitempty"` // that set it until then
	Known    bool          `json:"known,omitempty"`    // Value is one
	Since    devices.Now   `json:"since,omitzero"`     // when it became that
	Calc     *CalcState    `json:"calc,omitempty"`
	Exact    *ExactState   `json:"exact,omitempty"` // of a checkpoint only

	// Lazy says of one of Changes that it may be kept later: it is no deadline
	// and no decision, and changes with every reading.
	Lazy bool `json:"-"`
}

// A TriggerState is the state of one trigger.
type TriggerState struct {
	Seen     bool          `json:"seen,omitempty"`
	Truth    bool          `json:"truth,omitempty"`
	Began    bool          `json:"began,omitempty"`
	Last     *string       `json:"last,omitempty"`
	Seq      *string       `json:"seq,omitempty"`
	Pending  *Deadline     `json:"pending,omitempty"`  // of for
	Silent   *Deadline     `json:"silent,omitempty"`   // of silent
	Earliest *Deadline     `json:"earliest,omitempty"` // of min_on
	Repeat   *Deadline     `json:"repeat,omitempty"`
	Untils   []UntilState  `json:"untils,omitempty"`
	Handled  time.Time     `json:"handled,omitzero"` // times of day up to this are dealt with
	Of       *ContextState `json:"of,omitempty"`     // of the episode, or of what waits for for
	N        int           `json:"n,omitempty"`
	Gaps     int           `json:"gaps,omitempty"` // of repeat
	Sent     uint64        `json:"sent,omitempty"`
	Befores  map[int]any   `json:"befores,omitempty"`
	Decision uint64        `json:"decision,omitempty"` // that began the episode, or the wait for its for

	// Owed is what the episode's end sends, should the rule be gone by then.
	Owed []devices.Command `json:"owed,omitempty"`
}

// An UntilState is the state of one until.
type UntilState struct {
	Since  *Deadline `json:"since,omitempty"`
	Silent *Deadline `json:"silent,omitempty"`
	Held   *Deadline `json:"held,omitempty"` // it holds since; in the past
}

// A LevelState is the state of a condition with for.
type LevelState struct {
	Since  *Deadline `json:"since,omitempty"` // it holds since; in the past
	Silent *Deadline `json:"silent,omitempty"`
}

// A Deadline is kept as what remains of it and, where it is known, as the wall
// clock's moment. The first serves while the clock is not known, the second takes
// the downtime off.
type Deadline struct {
	Left  time.Duration `json:"left"`
	Wall  time.Time     `json:"wall,omitzero"`
	Order uint64        `json:"order,omitempty"` // of those due at once, the smallest comes first
}

// A ContextState is what a run knows of how it began.
type ContextState struct {
	Trigger  int      `json:"trigger"`
	Source   string   `json:"source,omitempty"`
	Topic    string   `json:"topic,omitempty"`
	Value    any      `json:"value,omitempty"`
	Text     string   `json:"text,omitempty"`
	Old      any      `json:"old,omitempty"`
	Message  *string  `json:"message,omitempty"`
	Reading  bool     `json:"reading,omitempty"` // there was one
	N        int      `json:"n,omitempty"`
	TimedOut bool     `json:"timed_out,omitempty"`
	Rules    []string `json:"rules,omitempty"`
	By       string   `json:"by,omitempty"`
	Decision uint64   `json:"decision,omitempty"` // of what waits in a queue: that it goes on from

	Whole *devices.Reading `json:"whole,omitempty"` // of a checkpoint: in place of its parts above
}

// A RunState is one run that waits.
type RunState struct {
	Context ContextState  `json:"context"`
	After   bool          `json:"after,omitempty"`
	Shared  bool          `json:"shared,omitempty"` // its context is that of the episode
	Threads []ThreadState `json:"threads"`
}

// A ThreadState is one place in a program.
type ThreadState struct {
	Step     int              `json:"step"`
	Parent   int              `json:"parent"` // among the threads; -1 for the first
	Joins    int              `json:"joins,omitempty"`
	Loops    []int            `json:"loops,omitempty"`
	Due      *Deadline        `json:"due,omitempty"`
	Timeout  *Deadline        `json:"timeout,omitempty"`
	Waits    []WaitState      `json:"waits,omitempty"` // for these triggers
	Owed     *devices.Command `json:"owed,omitempty"`
	Struck   bool             `json:"struck,omitempty"`
	Ramp     *RampState       `json:"ramp,omitempty"`
	Decision uint64           `json:"decision,omitempty"` // that started it, or let it go on last
}

// A WaitState is how far one of the triggers is that a thread waits for.
type WaitState struct {
	UntilState
	At time.Time `json:"at,omitzero"` // a time of day
}

// A RampState is a level on its way.
type RampState struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Round int     `json:"round"`
}

// A RequestState is an HTTP call that is to be made once more.
type RequestState struct {
	HTTP     devices.Request `json:"http"`
	Gaps     []time.Duration `json:"gaps,omitempty"`
	Tries    int             `json:"tries"`
	Notify   bool            `json:"notify,omitempty"`
	Secret   bool            `json:"secret,omitempty"`
	Due      Deadline        `json:"due"`
	Asked    bool            `json:"asked,omitempty"`    // of a checkpoint: it has been made, and waits for its answer
	Decision uint64          `json:"decision,omitempty"` // that made it
}

// A MachineState is the state of a machine.
type MachineState struct {
	State    string      `json:"state"`
	After    []*Deadline `json:"after,omitempty"`
	Decision uint64      `json:"decision,omitempty"` // that led to the state
}

// A CalcState is what a calc remembers.
type CalcState struct {
	Members  map[string]SampleState `json:"members,omitempty"`
	Readings []SampleState          `json:"readings,omitempty"`
	Full     *Deadline              `json:"full,omitempty"`
}

// A SampleState is one reading of a member. Its deadline lies in the past.
type SampleState struct {
	Value any      `json:"value"`
	At    Deadline `json:"at"`
}

// A keeper has a state to be kept, under its key.
type keeper interface {
	key() string
	state(e *Engine, k keeping, boot string) (State, bool) // false: nothing to keep
	mark() *news
}

// news is whether there is something to be kept, and how soon.
type news byte

const (
	nothingNew news = iota
	keepLater       // it changes often, and is no deadline and no decision
	keepSoon
)

func (n *news) mark() *news { return n }

// A holder has a value of its own.
type holder any

// moved says that something has to be kept soon; noted, that it may be kept
// later if it changes often.
func (e *Engine) moved(k keeper) { e.note(k, keepSoon) }
func (e *Engine) noted(k keeper) { e.note(k, keepLater) }

func (e *Engine) note(k keeper, how news) {
	n := k.mark()
	if *n == nothingNew {
		e.changed = append(e.changed, k)
	}
	*n = max(*n, how)
}

func (e *Engine) movedBy(t *timer) {
	switch {
	case t.inst != nil:
		e.moved(t.inst)
	case t.calc != nil:
		e.moved(t.calc)
	default:
		e.moved(t.variable)
	}
}

// key is "rule.x", or "rule.x{plug}" with captures.
func (inst *instance) key() string {
	if inst.values == nil {
		return inst.rule.name
	}
	return inst.rule.name + "{" + strings.Join(inst.values, "/") + "}"
}

func (v *variable) key() string { return "variable." + v.name }
func (x *calc) key() string     { return "calc." + x.name }

// Moved reports whether something's state has changed since Changes was last
// asked, with or without a decision.
func (e *Engine) Moved() bool { return len(e.changed) > 0 }

// Snapshot is the state of all that is there, by its key, at rest or not. boot
// names this life of the machine.
func (e *Engine) Snapshot(now devices.Now, boot string) map[string]State {
	return e.states(keeping{now: now}, boot)
}

func (e *Engine) states(how keeping, boot string) map[string]State {
	states := make(map[string]State)
	put := func(k keeper) {
		states[k.key()], _ = k.state(e, how, boot)
	}
	for _, r := range e.rules {
		if r.enabled {
			put(r.only)
			for _, inst := range r.instances {
				put(inst)
			}
		}
	}
	for _, v := range e.variables {
		put(v)
	}
	for _, x := range e.calcs {
		put(x)
	}
	return states
}

// Has reports whether there is something whose state has that key.
func (e *Engine) Has(key string) bool {
	name, values, captured := strings.Cut(strings.TrimSuffix(key, "}"), "{")
	if r := e.byName[name]; r != nil {
		return !captured || r.instances[values] != nil
	}
	kind, name, _ := strings.Cut(name, ".")
	switch e.holders[name].(type) {
	case *variable:
		return kind == "variable"
	case *calc:
		return kind == "calc"
	}
	return false
}

// Changes is the states of what has moved since it was last asked; one without
// hash has come to rest and needs no record.
func (e *Engine) Changes(now devices.Now, boot string) map[string]State {
	if len(e.changed) == 0 {
		return nil
	}
	states := make(map[string]State, len(e.changed))
	for _, k := range e.changed {
		s, ok := k.state(e, keeping{now: now}, boot)
		if !ok {
			s = State{}
		}
		s.Lazy = *k.mark() == keepLater
		*k.mark() = nothingNew
		states[k.key()] = s
	}
	e.changed = nil
	return states
}

// keeping turns moments into deadlines.
type keeping struct {
	now devices.Now

	// exact keeps all that decisions may ever depend on, for an engine that goes on at
	// this very moment, and not only what matters after a restart.
	exact bool
}

func (k keeping) mono(m time.Duration, wall time.Time) Deadline {
	d := Deadline{Left: m - k.now.Mono, Wall: wall}
	if k.now.Known && !k.exact {
		d.Wall = k.now.Wall.Add(d.Left)
	}
	return d
}

func (k keeping) timer(t *timer) *Deadline {
	if t == nil {
		return nil
	}
	d := k.mono(t.due, t.wall)
	d.Order = t.order
	return &d
}

func (inst *instance) state(e *Engine, k keeping, boot string) (State, bool) {
	r, now := inst.rule, k.now
	s := State{Hash: r.hash, Boot: boot, At: now, Values: inst.values, CoolDay: inst.coolDay, Off: r.off && inst == r.only}
	moved := len(inst.runs) > 0 || s.Off || inst.coolDay != ""
	for _, t := range r.triggers {
		l := &inst.latches[t.index]
		ts := TriggerState{Seen: l.seen, Truth: l.truth, Began: l.began, Last: l.last, Seq: l.seq, Handled: l.handled,
			N: l.n, Gaps: l.gaps, Sent: l.sent, Befores: l.befores, Decision: l.by,
			Pending: k.timer(l.pending), Silent: k.timer(l.silent), Earliest: k.timer(l.earliest), Repeat: k.timer(l.repeat)}
		for i := range l.untils {
			us := UntilState{Since: k.timer(l.untils[i].since), Silent: k.timer(l.untils[i].silent)}
			if h := l.untils[i].held; h != nil {
				held := k.mono(h.mono, h.wall)
				us.Held = &held
				moved = true
			}
			ts.Untils = append(ts.Untils, us)
		}
		if l.of != nil && (l.began || l.pending != nil) {
			c := l.of.state(k)
			ts.Of = &c
		}
		if l.began && r.hasOff {
			ts.Owed = e.owedBy(inst, t, now)
		}
		moved = moved || l.seen || l.truth || l.began || l.last != nil || l.seq != nil || !l.handled.IsZero()
		s.Triggers = append(s.Triggers, ts)
	}
	for i := range inst.levels {
		l := &inst.levels[i]
		ls := LevelState{Silent: k.timer(l.silent)}
		if l.holds {
			since := k.mono(l.mono, l.wall)
			ls.Since = &since
			moved = true
		}
		s.Levels = append(s.Levels, ls)
	}
	for _, run := range inst.runs {
		rs := run.state(k)
		rs.Shared = run.ctx == inst.latches[run.trigger.index].of
		s.Runs = append(s.Runs, rs)
	}
	for _, c := range inst.queue {
		s.Queue = append(s.Queue, c.state(k))
	}
	if k.exact {
		s.Exact = inst.exact(k)
	}
	for _, q := range e.requests {
		if q.inst == inst && (q.due != nil || k.exact) {
			rs := RequestState{HTTP: q.http, Gaps: q.gaps, Tries: q.tries, Notify: q.notify, Secret: q.secret, Decision: q.by}
			if q.due == nil {
				rs.Asked = true
			} else {
				rs.Due = *k.timer(q.due)
			}
			s.Requests = append(s.Requests, rs)
			moved = true
		}
	}
	slices.SortFunc(s.Requests, func(a, b RequestState) int { return strings.Compare(a.HTTP.ID, b.HTTP.ID) })
	if inst.cool > now.Mono {
		d := k.mono(inst.cool, inst.coolWall)
		s.Cool = &d
		moved = true
	}
	if m := r.machine; m != nil && inst == r.only {
		s.Machine = &MachineState{State: m.state, Decision: m.by}
		if last, ok := e.registry.Last(m.name); ok {
			s.Since = e.when(last, now)
		}
		for _, t := range m.after {
			s.Machine.After = append(s.Machine.After, k.timer(t))
		}
		moved = true
	}
	return s, moved
}

// owedBy is what the end of an episode would send now.
func (e *Engine) owedBy(inst *instance, t *trigger, now devices.Now) []devices.Command {
	ctx := inst.latches[t.index].of
	if ctx == nil {
		return nil
	}
	own := *ctx
	own.origin = devices.Origin{By: "time"}.Then(inst.rule.name)
	var d Decision
	var owed []devices.Command
	for _, s := range e.endings(inst, t, &own) {
		if s.in.target.variable != "" {
			continue
		}
		if c, ok := e.sends(s, inst, &own, now, &d); ok {
			owed = append(owed, c)
		}
	}
	return owed
}

func (c *context) state(k keeping) ContextState {
	s := ContextState{Trigger: c.trigger.index, N: c.n, TimedOut: c.timedOut, Rules: c.origin.Rules, By: c.origin.By, Decision: c.by}
	if r := c.reading; r != nil && k.exact {
		s.Whole = r
	} else if r != nil {
		s.Reading, s.Source, s.Topic, s.Value, s.Text, s.Old = true, r.Source, r.Topic, r.Value, r.Text, r.Old
		if len(s.Text) > devices.MaxMessage {
			s.Text, s.Value = "", nil
		}
		switch old := s.Old.(type) {
		case string:
			if len(old) > devices.MaxMessage {
				s.Old = nil
			}
		case []any, map[string]any:
			s.Old = nil // it may be as large
		}
		if m := r.Message; m != nil && len(m.Payload) <= devices.MaxMessage {
			text := string(m.Payload)
			s.Message = &text
		}
	}
	return s
}

func (s ContextState) context(r *rule) *context {
	c := &context{trigger: r.triggers[s.Trigger], n: s.N, timedOut: s.TimedOut, origin: devices.Origin{Rules: s.Rules, By: s.By}, by: s.Decision}
	switch {
	case s.Whole != nil:
		c.reading = s.Whole
	case s.Reading:
		c.reading = &devices.Reading{Source: s.Source, Topic: s.Topic, Value: s.Value, Text: s.Text, Old: s.Old, Restored: true}
		if s.Message != nil {
			c.reading.Message = &devices.Message{Topic: s.Topic, Payload: []byte(*s.Message)}
		}
	}
	return c
}

func (run *run) state(k keeping) RunState {
	s := RunState{Context: run.ctx.state(k), After: run.after}
	s.Context.Trigger = run.trigger.index
	for _, t := range run.threads {
		ts := ThreadState{Step: t.pc, Parent: slices.Index(run.threads, t.parent), Joins: t.joins, Loops: slices.Clone(t.loops),
			Due: k.timer(t.due), Timeout: k.timer(t.timeout), Owed: t.owed, Struck: t.struck, Decision: t.by}
		for _, w := range t.waits {
			ws := WaitState{UntilState: UntilState{Since: k.timer(w.since), Silent: k.timer(w.silent)}}
			if w.since != nil {
				ws.At = w.since.at
			}
			ts.Waits = append(ts.Waits, ws)
		}
		if r := t.ramp; r != nil {
			ts.Ramp = &RampState{r.from, r.to, r.round}
		}
		s.Threads = append(s.Threads, ts)
	}
	return s
}

func (v *variable) state(e *Engine, k keeping, boot string) (State, bool) {
	r, ok := e.registry.Last(v.name)
	now := k.now
	s := State{Hash: "variable", Boot: boot, At: now, Value: r.Value, Known: ok, Since: e.when(r, now), Back: k.timer(v.back), Decision: v.by}
	if k.exact {
		s.Exact = new(ExactState)
	}
	return s, ok
}

func (x *calc) state(e *Engine, k keeping, boot string) (State, bool) {
	r, ok := e.registry.Last(x.name)
	now := k.now
	s := State{Hash: x.hash, Boot: boot, At: now, Value: r.Value, Known: ok, Since: e.when(r, now), Calc: &CalcState{Members: make(map[string]SampleState), Full: k.timer(x.full)}}
	for key, m := range x.members {
		s.Calc.Members[key] = SampleState{m.value, k.mono(m.mono, m.wall)}
	}
	for _, r := range x.readings {
		s.Calc.Readings = append(s.Calc.Readings, SampleState{r.value, k.mono(r.mono, r.wall)})
	}
	if k.exact {
		s.Exact = &ExactState{Kept: x.kept}
	}
	return s, ok || len(x.members) > 0
}

// Restore takes up what states say. What has the same definition keeps
// everything; of what changed or is gone, what it owed is returned, to be sent
// now: the ends of pulses and of episodes, or a heater would stay on because its
// rule was edited. Call it once, before any Step, also with no states.
func (e *Engine) Restore(states map[string]State, now devices.Now, boot string) []Decision {
	e.now, e.known, e.floor, e.restoring = now, now.Known, now.Mono, true
	var gone []string
	for _, key := range sortedKeys(states) {
		s := states[key]
		if !e.restore(key, s, now, boot) {
			gone = append(gone, key)
		}
	}
	e.release(states, gone, now)
	return e.settle()
}

// release sends what those owed of whom nothing could be taken over, and lets what has
// taken their names begin anew.
func (e *Engine) release(states map[string]State, gone []string, now devices.Now) {
	for _, key := range gone {
		s := states[key]
		d := Decision{ID: e.number(), At: now, Rule: baseNameOf(key), Outcome: Dropped, Why: "its definition changed or is gone; what it owed is sent"}
		for _, run := range s.Runs {
			for _, t := range run.Threads {
				if t.Owed != nil && sound(*t.Owed) {
					d.Follows = t.Decision
					d.Commands = e.emit(d.Commands, *t.Owed)
				}
			}
		}
		for _, t := range s.Triggers {
			for _, c := range t.Owed {
				if sound(c) {
					d.Follows = t.Decision
					d.Commands = e.emit(d.Commands, c)
				}
			}
		}
		if len(d.Commands) > 0 {
			e.decide(d)
		}
		if !e.Has(key) {
			if kind, name, _ := strings.Cut(key, "."); kind == "variable" || kind == "calc" || kind == "machine" {
				e.registry.Forget(name)
				e.holdInitial(name, now)
			}
		}
	}
}

func sortedKeys(states map[string]State) []string {
	keys := make([]string, 0, len(states))
	for k := range states {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// restore takes up one state; false if it is not that of anything here.
func (e *Engine) restore(key string, s State, now devices.Now, boot string) bool {
	name := baseNameOf(key)
	kind, short, _ := strings.Cut(name, ".")
	switch h := e.holders[short].(type) {
	case *variable:
		if kind == "variable" {
			if s.Known && s.Exact == nil {
				e.hold(h.name, s)
			}
			if h.by = s.Decision; h.initial != nil {
				restoring{e, s, now, s.Boot == boot, s.Exact != nil}.timer(&h.back, timer{variable: h, kind: backDue}, s.Back)
			}
			e.moved(h)
			return true
		}
	case *calc:
		if kind == "calc" {
			if s.Hash != h.hash || s.Calc == nil {
				return false
			}
			h.restore(e, s, now, boot)
			return true
		}
	}
	r := e.byName[name]
	if r == nil || !r.enabled {
		return false
	}
	if r.machine == nil && r.only.values == nil && s.Off {
		r.off = true
	}
	if m := r.machine; m != nil && s.Machine != nil {
		if since := s.Since; slices.Contains(m.states, s.Machine.State) {
			if m.state, m.by = s.Machine.State, s.Machine.Decision; s.Exact == nil {
				e.hold(m.name, State{Value: m.state, Since: since})
			}
		} else { // there is no such state any more
			e.hold(m.name, State{Value: m.initial, Since: now})
		}
	}
	if s.Hash != r.hash || !s.fits(r) {
		e.moved(r.only) // another record takes the place of this one
		return false
	}
	inst := r.only
	if len(s.Values) > 0 {
		inst = r.add(e, strings.Join(s.Values, "/"), s.Values)
	}
	e.restoreInstance(inst, s, now, boot)
	return true
}

// hold puts a kept value into the registry.
func (e *Engine) hold(name string, s State) {
	e.registry.Apply(devices.Reading{Source: name, Value: s.Value, Text: valueText(s.Value), At: s.Since, Initial: true, Restored: true})
}

// holdInitial gives what has taken the name of something else its first value.
func (e *Engine) holdInitial(name string, now devices.Now) {
	var v any
	switch h := e.holders[name].(type) {
	case *variable:
		v = h.initial
	case *calc:
		v = h.initial
	case *machine:
		v = h.state
	}
	if v != nil {
		e.hold(name, State{Value: v, Since: now})
	}
}

// when is the moment of a reading by a clock that is known, if it is.
func (e *Engine) when(r devices.Reading, now devices.Now) devices.Now {
	if age, ok := e.age(&r, now); ok && now.Known {
		return now.Add(-age)
	}
	return r.At
}

// fits guards against a record that is sound but not of this shape.
func (s State) fits(r *rule) bool {
	if len(s.Triggers) != len(r.triggers) || len(s.Levels) != len(r.levels) || len(s.Values) != 0 && len(s.Values) != len(r.captures) {
		return false
	}
	trigger := func(c ContextState) bool { return c.Trigger >= 0 && c.Trigger < len(r.triggers) }
	for i, ts := range s.Triggers {
		if len(ts.Untils) != len(r.triggers[i].untils) || ts.Of != nil && !trigger(*ts.Of) {
			return false
		}
		if (ts.Began && len(r.repeat) > 0 || ts.Repeat != nil) && ts.Of == nil || ts.Repeat != nil && len(r.repeat) == 0 {
			return false
		}
	}
	for _, c := range s.Queue {
		if !trigger(c) {
			return false
		}
	}
	if m := s.Machine; m != nil && (r.machine == nil || len(m.After) != len(r.machine.after)) {
		return false
	}
	for _, run := range s.Runs {
		if !trigger(run.Context) || len(run.Threads) == 0 {
			return false
		}
		for i, t := range run.Threads {
			if t.Step < 0 || t.Step >= len(r.program) || t.Parent < -1 || t.Parent >= i || (t.Parent == -1) != (i == 0) {
				return false
			}
			op := r.program[t.Step].op
			switch {
			case t.Owed != nil && (op != opPulse || !sound(*t.Owed) || t.Due == nil):
				return false
			case t.Struck && (op != opPulse || t.Owed != nil || t.Due == nil):
				return false
			case t.Ramp != nil && (op != opRamp || t.Due == nil):
				return false
			case op == opWait && len(t.Waits) > 0 && len(t.Waits) != len(r.program[t.Step].triggers):
				return false
			case len(t.Waits) > 0 && op != opWait, t.Joins > 0 && op != opJoin:
				return false
			case t.Due == nil && len(t.Waits) == 0 && t.Joins == 0:
				return false // it would never go on
			}
			if len(t.Loops) != r.depth(t.Step) {
				return false
			}
		}
	}
	return true
}

// depth is how many loops a place of the program is in, within its list.
func (r *rule) depth(pc int) int {
	n := 0
	for i := pc - 1; i >= 0 && r.program[i].op != opEnd; i-- {
		switch r.program[i].op {
		case opLoop:
			n++
		case opLeave:
			n--
		case opFork:
			return n
		}
	}
	return n
}

// sound guards against a kept command that makes no sense.
func sound(c devices.Command) bool {
	if c.Device != "" {
		return c.Value != nil
	}
	if c.Output == "" {
		return c.Topic != ""
	}
	switch v := c.Value.(type) {
	case bool:
		return true
	case float64:
		return v == percent(v)
	}
	return c.Value == "stop" || c.Value == "acknowledge"
}

// A restoring turns deadlines back into moments.
type restoring struct {
	e   *Engine
	s   State
	now devices.Now
	// The monotonic clock has counted the downtime, if it is the same boot. But
	// what was kept while the clock was not known may date from a boot before.
	same bool

	exact bool // the engine goes on at the very moment of the state
}

// mono is a deadline as a moment; wall is set where that must be corrected once
// the clock is known.
func (k restoring) mono(d Deadline) (mono time.Duration, wall time.Time) {
	mono = k.now.Mono + d.Left
	if k.same {
		mono = k.s.At.Mono + d.Left
	}
	if k.exact {
		return mono, d.Wall
	}
	if !k.same || !k.s.At.Known {
		if wall = d.Wall; k.now.Known && !d.Wall.IsZero() {
			mono = byWall(d.Wall, k.now, mono)
			wall = time.Time{}
		}
	}
	return mono, wall
}

func (k restoring) timer(slot **timer, t timer, d *Deadline) {
	if d == nil {
		return
	}
	var due time.Duration
	due, t.wall = k.mono(*d)
	k.e.timers.put(slot, t, due, d.Order)
}

// heldFor is how long a pulse has to be for a restart of the hub to go on with
// it. A shorter one is the press of a button, which a relay must not do twice.
const heldFor = 10 * time.Second

// Held is the outputs that were on for an episode or a pulse that Restore found
// still going on: only the hub was gone, the machine was not.
func (e *Engine) Held() []string { return e.held }

// heldBy notes those of one instance.
func (e *Engine) heldBy(inst *instance) {
	for _, t := range inst.rule.triggers {
		if l := &inst.latches[t.index]; l.began {
			for _, s := range e.endings(inst, t, noContext) {
				if in := s.in; e.drops(in.target.output) && l.sent&(1<<in.off) != 0 && in.on.kind == constant && switchesOn(in.on.constant) {
					e.held = append(e.held, in.target.output)
				}
			}
		}
	}
	for _, run := range inst.runs {
		for _, t := range run.threads {
			if e.resumes(t, e.now) {
				e.held = append(e.held, t.owed.Output)
			}
		}
	}
}

func (e *Engine) restoreInstance(inst *instance, s State, now devices.Now, boot string) {
	r := inst.rule
	inst.kept = true
	if inst.moreOfInstance == noInstance.moreOfInstance && (len(s.Queue) > 0 || s.CoolDay != "" || s.Cool != nil) {
		inst.moreOfInstance = new(moreOfInstance)
	}
	k := restoring{e, s, now, s.Boot == boot, s.Exact != nil}
	for i, ts := range s.Triggers {
		t, l := r.triggers[i], &inst.latches[i]
		l.seen, l.truth, l.began = ts.Seen, ts.Truth, ts.Began
		if l.moreOfLatch != noLatch.moreOfLatch {
			l.last, l.seq, l.handled = ts.Last, ts.Seq, ts.Handled
		}
		l.n, l.gaps, l.sent, l.befores = ts.N, max(0, ts.Gaps), ts.Sent, ts.Befores
		l.by = ts.Decision
		l.again = ts.Began && r.hasOff && !k.exact
		if ts.Of != nil {
			l.of = ts.Of.context(r)
		}
		k.timer(&l.pending, timer{inst: inst, trigger: t, kind: holdOver}, ts.Pending)
		k.timer(&l.silent, timer{inst: inst, trigger: t, kind: silenceOver, until: -1}, ts.Silent)
		k.timer(&l.earliest, timer{inst: inst, trigger: t, kind: minOnOver}, ts.Earliest)
		k.timer(&l.repeat, timer{inst: inst, trigger: t, kind: repeatDue}, ts.Repeat)
		for j, u := range ts.Untils {
			k.timer(&l.untils[j].since, timer{inst: inst, trigger: t, until: j, kind: untilOver}, u.Since)
			k.timer(&l.untils[j].silent, timer{inst: inst, trigger: t, until: j, kind: silenceOver}, u.Silent)
			if u.Held != nil {
				l.untils[j].held = new(since)
				l.untils[j].held.mono, l.untils[j].held.wall = k.mono(*u.Held)
			}
		}
	}
	for i, ls := range s.Levels {
		l := &inst.levels[i]
		if ls.Since != nil {
			l.holds = true
			l.mono, l.wall = k.mono(*ls.Since)
		}
		k.timer(&l.silent, timer{inst: inst, kind: levelSilent, until: i}, ls.Silent)
	}
	for _, rs := range s.Runs {
		run := &run{inst: inst, trigger: r.triggers[rs.Context.Trigger], ctx: rs.Context.context(r), after: rs.After}
		for _, ts := range rs.Threads {
			t := &thread{run: run, pc: ts.Step, joins: ts.Joins, loops: ts.Loops, owed: ts.Owed, struck: ts.Struck, again: ts.Owed != nil && !k.exact, by: ts.Decision}
			if t.owed != nil {
				e.pulses[t.owed.Output] = t
			}
			if ts.Parent >= 0 {
				t.parent = run.threads[ts.Parent]
			}
			k.timer(&t.due, t.timer(waitOver, 0), ts.Due)
			k.timer(&t.timeout, t.timer(timeoutOver, 0), ts.Timeout)
			if len(ts.Waits) > 0 {
				t.waits = make([]untilState, len(ts.Waits))
			}
			for i, ws := range ts.Waits {
				held := t.timer(waitHeld, i)
				held.at = ws.At
				k.timer(&t.waits[i].since, held, ws.Since)
				k.timer(&t.waits[i].silent, t.timer(waitSilent, i), ws.Silent)
			}
			if ts.Ramp != nil {
				t.ramp = &ramp{from: ts.Ramp.From, to: ts.Ramp.To, round: ts.Ramp.Round}
			}
			run.threads = append(run.threads, t)
		}
		if l := &inst.latches[run.trigger.index]; rs.Shared && l.of != nil {
			run.ctx = l.of
		}
		inst.runs = append(inst.runs, run)
	}
	for _, cs := range s.Queue {
		inst.queue = append(inst.queue, cs.context(r))
	}
	for _, rs := range s.Requests {
		q := &request{inst: inst, http: rs.HTTP, gaps: rs.Gaps, tries: rs.Tries, notify: rs.Notify, secret: rs.Secret, by: rs.Decision}
		if e.asked++; !k.exact {
			q.http.ID = boot + "/" + q.http.ID
		}
		e.requests[q.http.ID] = q
		if !rs.Asked {
			k.timer(&q.due, timer{inst: inst, request: q, kind: retryDue}, &rs.Due)
		}
	}
	if s.CoolDay != "" {
		inst.coolDay = s.CoolDay
	}
	if s.Cool != nil {
		inst.cool, inst.coolWall = k.mono(*s.Cool)
	}
	if m := r.machine; m != nil && s.Machine != nil {
		for i, d := range s.Machine.After {
			k.timer(&m.after[i], timer{inst: inst, kind: afterDue, until: i}, d)
		}
	}
	if k.same && !k.exact {
		e.heldBy(inst)
	}
	if k.exact {
		inst.exactly(s.Exact, k)
	}
	e.moved(inst)
}

func (x *calc) restore(e *Engine, s State, now devices.Now, boot string) {
	x.kept = true
	k := restoring{e, s, now, s.Boot == boot, s.Exact != nil}
	sample := func(ss SampleState) sample {
		mono, wall := k.mono(ss.At)
		return sample{ss.Value, mono, wall}
	}
	for key, ss := range s.Calc.Members {
		x.members[key] = sample(ss)
	}
	for _, ss := range s.Calc.Readings {
		x.readings = append(x.readings, sample(ss))
	}
	k.timer(&x.full, timer{calc: x, kind: batchDue}, s.Calc.Full)
	if k.exact {
		e.moved(x)
		return
	}
	if x.full == nil {
		x.arm(e, now.Mono)
	}
	if s.Known {
		e.hold(x.name, s)
	}
	e.moved(x)
}

// byWall is the monotonic moment of a wall deadline, but never later than
// latest: a clock that went backwards must not make a wait longer.
func byWall(wall time.Time, now devices.Now, latest time.Duration) time.Duration {
	return min(latest, now.Mono+wall.Sub(now.Wall))
}
