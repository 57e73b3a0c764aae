package rules

import (
	"fmt"
	"slices"
	"time"

	"hearth/devices"
)

// A State is where one rule stands, as plain values that JSON can carry.
type State struct {
	Hash     string         `json:"hash"`
	Boot     string         `json:"boot"` // which life of the machine Mono belongs to
	At       devices.Now    `json:"at"`
	Triggers []TriggerState `json:"triggers,omitempty"`
	Runs     []RunState     `json:"runs,omitempty"`
}

// A TriggerState is the state of one trigger.
type TriggerState struct {
	Seen     bool        `json:"seen,omitempty"`
	Truth    bool        `json:"truth,omitempty"`
	Began    bool        `json:"began,omitempty"`
	Last     *string     `json:"last,omitempty"`
	Pending  *Deadline   `json:"pending,omitempty"`  // of for
	Earliest *Deadline   `json:"earliest,omitempty"` // of min_on
	Untils   []*Deadline `json:"untils,omitempty"`   // of each until's for

	// Owed is what the episode's end sends, should the rule be gone by then.
	Owed []devices.Command `json:"owed,omitempty"`
}

// A Deadline is kept as what remains of it and, where it is known, as the wall
// clock's moment. The first serves while the clock is not known, the second takes
// the downtime off.
type Deadline struct {
	Left time.Duration `json:"left"`
	Wall time.Time     `json:"wall,omitzero"`
}

// A RunState is one run that waits.
type RunState struct {
	Trigger int              `json:"trigger"`
	Step    int              `json:"step"`
	Due     Deadline         `json:"due"`
	Owed    *devices.Command `json:"owed,omitempty"`
}

// Snapshot is the state of every rule that is enabled, by its name. boot names
// this life of the machine.
func (e *Engine) Snapshot(now devices.Now, boot string) map[string]State {
	states := make(map[string]State)
	for _, r := range e.rules {
		if r.enabled {
			states[r.name], _ = r.state(now, boot)
		}
	}
	return states
}

// Has reports whether there is a rule of that name.
func (e *Engine) Has(name string) bool {
	return slices.ContainsFunc(e.rules, func(r *rule) bool { return r.name == name })
}

// Changes is the states of the rules that have moved since it was last asked;
// one without hash has come to rest and needs no record.
func (e *Engine) Changes(now devices.Now, boot string) map[string]State {
	if len(e.changed) == 0 {
		return nil
	}
	states := make(map[string]State, len(e.changed))
	for r := range e.changed {
		s, ok := r.state(now, boot)
		if !ok {
			s = State{}
		}
		states[r.name] = s
	}
	clear(e.changed)
	return states
}

// state is where the rule stands; false if it is at rest.
func (r *rule) state(now devices.Now, boot string) (State, bool) {
	left := func(t *timer) *Deadline {
		if t == nil {
			return nil
		}
		d := &Deadline{Left: t.due - now.Mono, Wall: t.wall}
		if now.Known {
			d.Wall = now.Wall.Add(d.Left)
		}
		return d
	}
	s := State{Hash: r.hash, Boot: boot, At: now}
	moved := len(r.runs) > 0
	for _, t := range r.triggers {
		ts := TriggerState{Seen: t.seen, Truth: t.truth, Began: t.began, Last: t.last, Pending: left(t.pending), Earliest: left(t.earliest)}
		for _, u := range t.untils {
			ts.Untils = append(ts.Untils, left(u.since))
		}
		if t.began {
			ts.Owed = r.offs(devices.Origin{By: "time"}.Then(r.name))
		}
		moved = moved || t.seen || t.truth || t.began || t.last != nil
		s.Triggers = append(s.Triggers, ts)
	}
	for _, run := range r.runs {
		s.Runs = append(s.Runs, RunState{Trigger: slices.Index(r.triggers, run.trigger), Step: run.step, Due: *left(run.due), Owed: run.owed})
	}
	return s, moved
}

// Restore takes up what states say. A rule whose definition is the same keeps
// everything; of one that changed or is gone, what it owed is returned, to be
// sent now: the ends of pulses and of episodes, or a heater would stay on because
// its rule was edited. Call it once, before any Step.
func (e *Engine) Restore(states map[string]State, now devices.Now, boot string) []Decision {
	e.known = now.Known
	var ds []Decision
	left := make(map[string]bool, len(states))
	for name := range states {
		left[name] = true
	}
	for _, r := range e.rules {
		s, ok := states[r.name]
		if ok && s.Hash == r.hash && r.enabled && s.fits(r) {
			delete(left, r.name)
			e.restore(r, s, now, boot)
		}
	}
	gone := make([]string, 0, len(left))
	for name := range left {
		gone = append(gone, name)
	}
	slices.Sort(gone)
	for _, name := range gone {
		d := Decision{At: now, Rule: name, Outcome: Dropped, Why: "its definition changed or is gone; what it owed is sent"}
		for _, run := range states[name].Runs {
			if run.Owed != nil && sound(*run.Owed) {
				d.Commands = e.emit(d.Commands, *run.Owed)
			}
		}
		for _, t := range states[name].Triggers {
			for _, c := range t.Owed {
				if sound(c) {
					d.Commands = e.emit(d.Commands, c)
				}
			}
		}
		if len(d.Commands) > 0 {
			ds = append(ds, d)
		}
	}
	return ds
}

// fits guards against a record that is sound but not of this shape.
func (s State) fits(r *rule) bool {
	if len(s.Triggers) != len(r.triggers) {
		return false
	}
	for i, ts := range s.Triggers {
		if len(ts.Untils) != len(r.triggers[i].untils) {
			return false
		}
	}
	for _, run := range s.Runs {
		if run.Trigger < 0 || run.Trigger >= len(r.triggers) || run.Step < 0 || run.Step >= len(r.actions) ||
			r.actions[run.Step].kind != pulse || run.Owed == nil || !sound(*run.Owed) {
			return false
		}
	}
	return true
}

// sound guards against a kept command that makes no sense.
func sound(c devices.Command) bool {
	_, level := c.Value.(bool)
	return level && c.Output != "" || c.Output == "" && c.Topic != ""
}

func (e *Engine) restore(r *rule, s State, now devices.Now, boot string) {
	r.kept = true
	set := func(slot **timer, t timer, d *Deadline) {
		if d == nil {
			return
		}
		due := now.Mono + d.Left
		// In the same boot the monotonic clock has counted the downtime. But what
		// was kept while the clock was not known may date from a boot before.
		if s.Boot == boot {
			due = s.At.Mono + d.Left
		}
		if s.Boot != boot || !s.At.Known {
			if t.wall = d.Wall; now.Known && !d.Wall.IsZero() {
				due = byWall(d.Wall, now, due)
				t.wall = time.Time{}
			}
		}
		e.timers.set(slot, t, due)
	}
	for i, ts := range s.Triggers {
		t := r.triggers[i]
		t.seen, t.truth, t.began, t.last = ts.Seen, ts.Truth, ts.Began, ts.Last
		t.again = ts.Began && r.hasOff
		set(&t.pending, timer{rule: r, trigger: t, kind: holdOver}, ts.Pending)
		set(&t.earliest, timer{rule: r, trigger: t, kind: minOnOver}, ts.Earliest)
		for j, u := range t.untils {
			set(&u.since, timer{rule: r, trigger: t, until: u, kind: untilOver}, ts.Untils[j])
		}
	}
	for _, rs := range s.Runs {
		run := &run{trigger: r.triggers[rs.Trigger], step: rs.Step, owed: rs.Owed, origin: devices.Origin{By: "time", Rules: []string{r.name}}}
		r.runs = append(r.runs, run)
		set(&run.due, timer{rule: r, kind: waitOver, run: run}, &rs.Due)
	}
	e.changed[r] = true
}

// byWall is the monotonic moment of a wall deadline, but never later than
// latest: a clock that went backwards must not make a wait longer.
func byWall(wall time.Time, now devices.Now, latest time.Duration) time.Duration {
	return min(latest, now.Mono+wall.Sub(now.Wall))
}

// clockKnown takes the downtime off the deadlines that were restored while the
// clock was not known, and lets all states be kept again with the wall clock's
// moments in them.
func (e *Engine) clockKnown(now devices.Now) {
	waiting := slices.Clone(e.timers.heap)
	for _, t := range waiting {
		e.changed[t.rule] = true
		if !t.wall.IsZero() {
			e.timers.move(t, byWall(t.wall, now, t.due))
			t.wall = time.Time{}
		}
	}
}

// Explain lists where each rule stands, one line a rule, for a person.
func (e *Engine) Explain(now devices.Now) []string {
	var lines []string
	for _, r := range e.rules {
		for _, t := range r.triggers {
			switch {
			case t.pending != nil:
				lines = append(lines, fmt.Sprintf("%s: %s, %s to go", r.name, t.text, span((t.pending.due-now.Mono).Round(time.Second))))
			case t.began:
				lines = append(lines, fmt.Sprintf("%s: on since %s", r.name, t.text))
			}
		}
		for _, run := range r.runs {
			lines = append(lines, fmt.Sprintf("%s: waits %s", r.name, span((run.due.due-now.Mono).Round(time.Second))))
		}
	}
	return lines
}
