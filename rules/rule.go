package rules

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"hearth/devices"
)

// A rule is a link, a rule or the moves of a machine, made ready to run.
type rule struct {
	name    string // "rule.heater", "rule.lamps[kitchen]"
	hash    string // of its definition: the same text keeps its timers
	order   int    // among all
	enabled bool   // by the configuration
	off     bool   // by an action or by hand
	hasOff  bool
	episode bool // what ends says, once it is compiled
	secret  bool // it compares with a secret: what set it off is not told
	watched bool // something looks at rule.x
	message bool // its expressions look at whole messages
	mode    string
	max     int

	triggers   []*trigger
	conditions []condition
	program    []*instr // of action from 0
	*moreOfRule

	only      *instance            // the one without captured values
	alone     withLatch            // where that one lies
	instances map[string]*instance // the others, by their values
	full      int                  // readings that found no room for an instance

	ran    int // runs since the hub started
	errors int // expressions that failed
	err    string
}

// moreOfRule is what few rules have; the others share one that is empty.
type moreOfRule struct {
	captures []string // the {names} in its triggers' topics
	params   map[string]any
	machine  *machine // whose moves they are
	levels   []*level // of conditions with for
	waits    []*trigger
	done     int   // where in the program done begins; 0 if there is none
	offs     []int // where in it sends with an off value are

	repeat   []time.Duration
	times    int
	cooldown time.Duration
	daily    bool // the cooldown is until midnight
	catchUp  string
}

// slim lets go of what is empty in a rule that is compiled.
func (r *rule) slim() {
	r.episode = r.ends()
	if reflect.ValueOf(r.moreOfRule).Elem().IsZero() {
		r.moreOfRule = noRule.moreOfRule
	}
	for _, in := range r.program {
		if in != theEnd && reflect.ValueOf(in.moreOfInstr).Elem().IsZero() { // theEnd is everybody's
			in.moreOfInstr = theEnd.moreOfInstr
		}
	}
	for _, t := range r.triggers {
		if reflect.ValueOf(t.moreOfTrigger).Elem().IsZero() {
			t.moreOfTrigger = noTrigger.moreOfTrigger
		}
	}
}

var (
	noRule    = &rule{moreOfRule: new(moreOfRule)}
	noTrigger = &trigger{moreOfTrigger: new(moreOfTrigger)}
	noLatch   = &latch{moreOfLatch: new(moreOfLatch)}
)

// ends reports whether the rule's firing is an episode.
func (r *rule) ends() bool {
	return r.hasOff || r.done > 0 && r.machine == nil || len(r.repeat) > 0 ||
		slices.ContainsFunc(r.triggers, func(t *trigger) bool { return !t.implicit })
}

// places says for each capture of a source which of the rule's it is.
func (r *rule) places(s devices.Source) []int {
	var at []int
	for _, name := range s.Captures() {
		at = append(at, slices.Index(r.captures, name))
	}
	return at
}

// An instance is where one rule stands, for one value of its captures.
type instance struct {
	rule    *rule
	latches []latch // one for each trigger
	runs    []*run
	kept    bool // its state was taken over by Restore
	news         // of what has to be kept

	// Of the rate limit: what is left of the burst, and when that was so.
	tokens float64
	filled time.Duration

	*moreOfInstance
}

type withLatch struct {
	instance
	one [1]latch
}

// moreOfInstance is what few instances have; the others share one that is empty.
type moreOfInstance struct {
	values   []string      // "" for those that its trigger does not name
	levels   []since       // one for each condition with for
	queue    []*context    // mode queued: firings that wait for a run
	cool     time.Duration // monotonic end of the cooldown
	coolDay  string        // local date of the last run, where the cooldown is a day
	coolWall time.Time     // as of a timer
}

// instance makes one. It starts the clock of what counts silence.
func (r *rule) instance(e *Engine, values []string) *instance {
	// Nearly all have one trigger. Then its latch lies beside the instance.
	both := &r.alone
	if values != nil {
		both = new(withLatch)
	}
	inst := &both.instance
	inst.rule, inst.tokens, inst.latches, inst.moreOfInstance = r, burst, both.one[:], noInstance.moreOfInstance
	if len(r.triggers) != 1 {
		inst.latches = make([]latch, len(r.triggers))
	}
	for i, t := range r.triggers {
		l := &inst.latches[i]
		if n := len(t.untils); n > 0 {
			l.untils = make([]untilState, n)
		}
		if l.moreOfLatch = noLatch.moreOfLatch; t.schedule != nil || t.changed || t.distinct != nil {
			l.moreOfLatch = new(moreOfLatch)
		}
	}
	if values != nil || len(r.levels) > 0 || r.mode == "queued" || r.cooldown > 0 || r.daily {
		inst.moreOfInstance = &moreOfInstance{values: values, levels: make([]since, len(r.levels))}
	}
	return inst
}

// find is the instance that a reading belongs to; a new one if it is the own
// source of a trigger, nil if there is none or no room.
func (r *rule) find(e *Engine, w *watcher, in *devices.Reading) *instance {
	if len(w.at) == 0 {
		return r.only
	}
	var values []string
	if len(w.at) == len(r.captures) && slices.IsSorted(w.at) {
		values = in.Captured.Values
	} else {
		values = make([]string, len(r.captures))
		for i, at := range w.at {
			values[at] = in.Captured.Values[i]
		}
	}
	var key string
	if len(values) == 1 {
		key = values[0]
	} else {
		key = strings.Join(values, "/") // none has a slash in it
	}
	inst := r.instances[key]
	if inst == nil && (w.own || w.trigger == nil && w.wait == nil) { // or it is a condition, which has a for
		if len(r.instances) >= MaxInstances {
			r.full++
			return nil
		}
		inst = r.add(e, key, slices.Clone(values))
		e.listenAll(inst)
	}
	return inst
}

func (r *rule) add(e *Engine, key string, values []string) *instance {
	inst := r.instance(e, values)
	if r.instances == nil {
		r.instances = make(map[string]*instance)
	}
	r.instances[key] = inst
	return inst
}

// all is every instance, in an order that is always the same.
func (r *rule) all() []*instance {
	list := []*instance{r.only}
	for _, inst := range r.instances {
		list = append(list, inst)
	}
	slices.SortFunc(list, func(a, b *instance) int { return slices.Compare(a.values, b.values) })
	return list
}

// agrees reports whether the captured values of a reading are the instance's.
func (inst *instance) agrees(w *watcher, in *devices.Reading) bool {
	for i, at := range w.at {
		if at < 0 || inst.values == nil || inst.values[at] != in.Captured.Values[i] {
			return false
		}
	}
	return true
}

// capture is what a {name} stands for.
func (inst *instance) capture(name string) (string, bool) {
	if inst.values == nil {
		return "", false
	}
	if i := slices.Index(inst.rule.captures, name); i >= 0 && inst.values[i] != "" {
		return inst.values[i], true
	}
	return "", false
}

// suffix tells an instance from its brothers: "[name=plug]".
func (inst *instance) suffix() string {
	var parts []string
	for i, v := range inst.values {
		if v != "" {
			parts = append(parts, inst.rule.captures[i]+"="+v)
		}
	}
	if parts == nil {
		return ""
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// source is the text of a source with this instance's values in it.
func (inst *instance) source(e *Engine, text string) string {
	if inst.values == nil || !strings.Contains(text, "{") {
		return text
	}
	s, ok := e.sources[text]
	if !ok {
		return text
	}
	return s.With(inst.rule.captures, inst.values).String()
}

// decision is the beginning of one of an instance.
func (e *Engine) decision(inst *instance, now devices.Now, trigger string, in *devices.Reading, o Outcome) Decision {
	d := Decision{ID: e.number(), At: now, Rule: inst.rule.name, Instance: inst.suffix(), Trigger: trigger, Outcome: o, secret: inst.rule.secret}
	if in != nil {
		cause := *in
		d.Cause = &cause
	}
	return d
}

// A latch is the state of one trigger.
type latch struct {
	seen  bool // some reading has set the truth, whichever way
	truth bool
	began bool // an episode is on
	again bool // it was on before the restart, and has not been resumed

	pending  *timer // the truth rose and waits for its for
	silent   *timer // runs until the source has been silent for so long
	earliest *timer // min_on is not over
	repeat   *timer // the next run of the action
	untils   []untilState

	of      *context // what began the episode
	by      uint64   // the decision that began it, or the wait for its for
	n       int      // runs of the action in it
	gaps    int      // of repeat that have been taken
	sent    uint64   // its sends with an off value that have been made
	befores map[int]any

	*moreOfLatch
}

// moreOfLatch is of triggers at times of day, and with changed or distinct; the
// others share one that is empty.
type moreOfLatch struct {
	plan    *timer    // of a time of day
	planned time.Time // the moment that plan stands for, before its random part
	handled time.Time // moments up to this have been dealt with
	last    *string   // where changed asks for it, the last reading
	seq     *string   // where distinct does, its value there
}

// An untilState is the state of one until.
type untilState struct {
	since  *timer // it holds and waits for its for
	silent *timer
	held   *since // of one on another source with a for: since when it holds
}

// A since says since when a condition with for holds.
type since struct {
	holds  bool
	silent *timer
	mono   time.Duration
	wall   time.Time // as of a timer
}
