package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/formula"
)

// A context is what a run knows of how it began.
type context struct {
	trigger  *trigger
	reading  *devices.Reading // nil if time was the cause
	n        int              // which run of the episode, from 1
	timedOut bool             // the last wait ended by its timeout
	by       uint64           // the decision that what fires goes on from; 0 if none
	origin   devices.Origin
}

func newContext(t *trigger, in *devices.Reading, origin devices.Origin) *context {
	ctx := &context{trigger: t, origin: origin}
	if in != nil {
		r := *in
		ctx.reading = &r
	}
	return ctx
}

// lastly is a context of the newest reading of a trigger's source, for what
// fires later than it came. was is of when it came.
func (e *Engine) lastly(inst *instance, t *trigger, was *context) *context {
	ctx := newContext(t, nil, devices.Origin{By: "time"})
	last, ok := e.registry.Last(inst.source(e, t.source))
	switch {
	case ok && was != nil && was.reading != nil && last.Source == e.coming:
		ctx.reading = was.reading // what came after the deadline has not been stepped yet
	case ok:
		ctx.reading = &last
		if last.Message == nil && was != nil && was.reading != nil {
			last.Message = was.reading.Message
		}
	case was != nil:
		ctx.reading = was.reading
	}
	return ctx
}

// A run is one going-through of a program.
type run struct {
	inst    *instance
	trigger *trigger
	ctx     *context
	threads []*thread
	after   bool // it is of done: nothing cancels it, and it stands in nobody's way

	// Actions without a pause, and the moment in which they were done.
	steps int
	at    time.Duration
}

// A thread is one place in a program. A run has one, and one more for each list
// of a parallel while that lasts.
type thread struct {
	run     *run
	parent  *thread
	pc      int
	due     *timer           // it waits
	timeout *timer           // the same, but no longer than this
	owed    *devices.Command // what must be sent whatever becomes of it
	struck  bool             // it is in a pulse whose end is not owed any more: the output was told something else
	again   bool             // it was in a pulse before the restart, and has not been resumed
	ramp    *ramp            // the instruction at pc is one, and on its way
	waits   []untilState     // for one of the triggers of the instruction at pc
	since   uint64           // the step in which it began to, whose reading it does not see
	joins   int              // children that must be over before it goes on
	forking bool             // they are being started
	by      uint64           // the decision that started it, or let it go on last
	loops   []int            // how often each loop that it is in has gone round
}

// A ramp is a level on its way.
type ramp struct {
	from, to float64
	round    int           // values that have been sent, or would have been
	last     time.Duration // monotonic, when the last of them was due
}

// rounds is how many values the ramp of an instruction has.
func (in *instr) rounds() int { return max(1, int((in.wait+in.gap-1)/in.gap)) }

// at is the value of one round. Between whole numbers it is a whole number.
func (r *ramp) at(round, of int) float64 {
	if round >= of {
		return r.to
	}
	part := float64(round) / float64(of)
	v := r.from*(1-part) + r.to*part // and not over the difference, which may be too large
	if r.from == math.Trunc(r.from) && r.to == math.Trunc(r.to) {
		return math.Round(v)
	}
	return nano(v)
}

// climb begins a ramp or goes on with it; false if it has arrived.
func (e *Engine) climb(t *thread, in *instr, now devices.Now, d *Decision) bool {
	inst, n := t.run.inst, in.rounds()
	send := func(v float64) {
		e.carryOut(sending{in, value{kind: constant, constant: v}, false}, inst, t.run.ctx, now, d)
	}
	r := t.ramp
	if r == nil {
		to, ok := e.eval(in.on, in, inst, t.run.ctx, now, d)
		if !ok {
			return false
		}
		r = &ramp{to: to.(float64), last: now.Mono}
		if in.target.output != "" {
			r.to = d.bounded(in.target.output, r.to)
		}
		if in.offValue.kind != none {
			r.from = in.offValue.constant.(float64)
			send(r.from)
		} else if r.from, ok = e.standing(in, inst, t.run.ctx, now, d); !ok {
			d.because("where " + in.target.text + " stands is not known, so it goes to " + formula.Print(r.to) + " at once")
			send(r.to)
			return false
		}
		if r.from == r.to {
			return false
		}
		t.ramp = r
	} else {
		// What passed while the hub was down is left out.
		was := r.at(r.round, n)
		r.round = min(n, r.round+1+int((now.Mono-r.last)/in.gap))
		if v := r.at(r.round, n); v != was {
			send(v)
		}
		if r.round == n {
			t.ramp = nil
			return false
		}
		r.last += (now.Mono - r.last) / in.gap * in.gap
	}
	e.timers.set(&t.due, t.timer(waitOver, 0), r.last+min(in.gap, in.wait-time.Duration(r.round)*in.gap))
	e.moved(inst)
	return true
}

// standing is the newest number known of what an instruction tells.
func (e *Engine) standing(in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) (float64, bool) {
	t, ok := e.aim(in, inst, ctx, now, d)
	if !ok {
		return 0, false
	}
	var v any
	switch {
	case t.output != "":
		return e.registry.Percent(t.output)
	case t.variable != "":
		v, _ = e.value(t.variable)
	case t.device != nil:
		v, _ = e.newest(t.device.source(t.property).String())
	case t.plain != "":
		last, reported := e.registry.Last(t.plain)
		v = last.Value
		if was, ok := e.sent[t.plain]; ok && (!reported || last.Restored || last.At.Mono <= was.at) {
			v = json.Number(was.payload)
		}
	}
	switch v := v.(type) {
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

// active is the runs that a new firing of t meets: in a rule of episodes those
// of the same trigger, else all.
func (inst *instance) active(t *trigger) []*run {
	if len(inst.runs) == 0 {
		return nil
	}
	ends := inst.rule.episode
	var list []*run
	for _, run := range inst.runs {
		if !run.after && (!ends || run.trigger == t) {
			list = append(list, run)
		}
	}
	return list
}

// holds reports whether the run owes an end to the same target as c.
func (r *run) holds(c devices.Command) bool {
	return slices.ContainsFunc(r.threads, func(t *thread) bool { return t.owed != nil && sameTarget(*t.owed, c) })
}

func sameTarget(a, b devices.Command) bool { return a.Output == b.Output && a.Topic == b.Topic }

// Told notes that somebody else has told an output something. It is the newest word,
// so a pulse that the output is in has no end any more: what was switched on for good
// after that is not to go off.
func (e *Engine) Told(output string, value any) {
	e.registry.Command(output, value)
	e.strike(output)
}

// strike forgets the end of a pulse of an output.
func (e *Engine) strike(output string) {
	if t := e.pulses[output]; t != nil && t.owed != nil {
		t.owed, t.struck, t.again = nil, true, false
		e.moved(t.run.inst)
	}
	delete(e.pulses, output)
}

// drop takes a run away and returns what it owes.
func (e *Engine) drop(gone *run) []devices.Command {
	var owed []devices.Command
	for _, t := range gone.threads {
		if t.owed != nil {
			owed = append(owed, *t.owed)
			t.owed = nil
		}
		e.clear(t)
	}
	gone.threads = nil
	inst := gone.inst
	inst.runs = slices.DeleteFunc(inst.runs, func(x *run) bool { return x == gone })
	e.moved(inst)
	return owed
}

func (e *Engine) clear(t *thread) {
	e.timers.clear(&t.due)
	e.timers.clear(&t.timeout)
	for i := range t.waits {
		e.timers.clear(&t.waits[i].since)
		e.timers.clear(&t.waits[i].silent)
	}
	t.waits = nil
}

// start begins a run at a place of the program. What it does until it waits goes
// into d.
func (e *Engine) start(run *run, pc int, now devices.Now, d *Decision) {
	inst := run.inst
	inst.rule.ran++
	inst.runs = append(inst.runs, run)
	main := &thread{run: run, pc: pc}
	run.threads = []*thread{main}
	e.moved(inst)
	e.proceed(main, now, d)
}

// maxSteps is how many actions a run may do without a pause.
const maxSteps = 10_000

// proceed goes on with a thread until it waits or is over.
func (e *Engine) proceed(t *thread, now devices.Now, d *Decision) {
	run := t.run
	inst := run.inst
	r := inst.rule
	t.by = d.ID
	switch {
	case t.owed != nil:
		end := *t.owed
		t.owed = nil // before it is sent, for it is no newer word than itself
		d.Commands = e.emit(d.Commands, end)
		t.pc++
	case t.struck:
		d.because("its pulse is over, and a newer command has taken its place")
		t.struck = false
		t.pc++
	}
	if run.at != now.Mono {
		run.at, run.steps = now.Mono, 0
	}
	for ; ; run.steps++ {
		if run.steps > maxSteps {
			e.failed(r, d, fmt.Sprintf("stopped after %d actions without a pause", maxSteps))
			d.Commands = e.emitAll(d.Commands, e.drop(run))
			e.over(run, now, d)
			return
		}
		in := r.program[t.pc]
		switch in.op {
		case opEnd:
			e.finish(t, now, d)
			return
		case opStop:
			d.Commands = e.emitAll(d.Commands, e.drop(run))
			e.over(run, now, d)
			return
		case opJump:
			t.pc = in.to
			continue
		case opIf:
			if e.allow(in.conditions, inst, run.ctx, now, d) {
				t.pc++
			} else {
				d.Checks[len(d.Checks)-1].Text = "if " + d.Checks[len(d.Checks)-1].Text
				t.pc = in.to
			}
			continue
		case opLoop: // begins one
			t.loops = append(t.loops, 0)
		case opRound: // once more, if times are left
			n := &t.loops[len(t.loops)-1]
			if *n++; in.times > 0 && *n >= in.times {
				t.pc = in.to
				continue
			}
		case opLeave:
			t.loops = t.loops[:len(t.loops)-1]
		case opSend:
			if in.off >= 0 {
				inst.latches[run.trigger.index].sent |= 1 << in.off
			}
			if in.on.kind != none {
				e.carryOut(sending{in, in.on, false}, inst, run.ctx, now, d)
			}
		case opPulse:
			wait, ok := e.pause(in, inst, run.ctx, now, d)
			if !ok {
				break
			}
			on, ok1 := e.sends(sending{in, in.on, false}, inst, run.ctx, now, d)
			off, ok2 := e.sends(sending{in, in.offValue, true}, inst, run.ctx, now, d)
			if !ok1 || !ok2 {
				break
			}
			on.Journal = true
			d.Commands = e.emit(d.Commands, on)
			t.owed = &off
			e.pulses[off.Output] = t // of a topic it is of no use
			e.timers.set(&t.due, timer{inst: inst, kind: waitOver, thread: t}, now.Mono+wait)
			e.moved(inst)
			return
		case opDelay:
			wait, ok := e.pause(in, inst, run.ctx, now, d)
			if !ok {
				break
			}
			wait += draw(in.random, e.house.Seed, inst.key(), int64(t.pc), int64(r.ran), int64(now.Mono))
			t.pc++
			e.timers.set(&t.due, timer{inst: inst, kind: waitOver, thread: t}, now.Mono+wait)
			e.moved(inst)
			return
		case opRamp:
			if e.climb(t, in, now, d) {
				return
			}
		case opWait:
			if e.await(t, in, now) {
				run.ctx.timedOut = false
				break
			}
			e.moved(inst)
			return
		case opFork:
			t.pc++
			t.joins, t.forking = len(in.ways), true
			children := make([]*thread, len(in.ways))
			for i, to := range in.ways {
				children[i] = &thread{run: run, parent: t, pc: to}
			}
			run.threads = append(run.threads, children...)
			for _, child := range children {
				if e.proceed(child, now, d); run.threads == nil {
					return // it has stopped the run
				}
			}
			t.forking = false
			continue
		case opJoin:
			if t.joins > 0 {
				return
			}
		case opNotify, opHTTP:
			e.request(in, inst, run.ctx, now, d)
		case opEnable:
			e.enable(in.name, in.enable, now, d)
			if run.threads == nil {
				return // it was itself
			}
		}
		t.pc++
	}
}

// longest is how long a computed pause may be.
const longest = 1000 * 24 * time.Hour

// pause is how long an instruction waits; false if that is not known.
func (e *Engine) pause(in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) (time.Duration, bool) {
	if in.waitText == nil {
		return in.wait, true
	}
	text, err := in.waitText.Text(&scene{e: e, inst: inst, ctx: ctx, params: in.params, now: now})
	var wait config.Duration
	if err == nil {
		if wait, err = config.ParseDuration(text); err != nil {
			err = fmt.Errorf("%q is no time such as 5m", short(text))
		}
	}
	if err != nil {
		e.erred(inst.rule, err)
		d.because(fmt.Sprintf("it does not wait: %v", err))
		return 0, false
	}
	return min(time.Duration(wait), longest), true
}

// finish is a thread that has come to its end.
func (e *Engine) finish(t *thread, now devices.Now, d *Decision) {
	run := t.run
	run.threads = slices.DeleteFunc(run.threads, func(x *thread) bool { return x == t })
	e.moved(run.inst)
	if p := t.parent; p != nil {
		if p.joins--; p.joins == 0 && !p.forking {
			e.proceed(p, now, d)
		}
		return
	}
	e.drop(run)
	e.over(run, now, d)
}

// over is what follows from the end of a run.
func (e *Engine) over(run *run, now devices.Now, d *Decision) {
	inst, t := run.inst, run.trigger
	r := inst.rule
	l := &inst.latches[t.index]
	if !run.after && l.began && t.truthless() && !r.hasOff && r.done == 0 && len(r.repeat) == 0 {
		// What has no truth has no other end: the episode is over with its run.
		l.began, l.of = false, nil
		e.timers.clear(&l.earliest)
		for i := range l.untils {
			e.timers.clear(&l.untils[i].since)
		}
	}
	if !run.after && len(inst.queue) > 0 && len(inst.active(t)) == 0 {
		e.waiting = append(e.waiting, queued{inst, inst.queue[0]})
		inst.queue = inst.queue[1:]
	}
	e.tell(inst, d.ID)
}

// queued is a firing whose turn has come.
type queued struct {
	inst *instance
	ctx  *context
}

// dequeue starts a firing that had to wait.
func (e *Engine) dequeue(q queued) {
	d := e.decision(q.inst, e.now, q.ctx.trigger.text, q.ctx.reading, Fired)
	d.Why, d.Follows = "it was queued", q.ctx.by
	q.ctx.n = 1
	q.ctx.origin = q.ctx.origin.Then(q.inst.rule.name)
	e.cool(q.inst, e.now)
	e.start(&run{inst: q.inst, trigger: q.ctx.trigger, ctx: q.ctx}, 0, e.now, &d)
	e.decide(d)
}

// await begins to wait for one of the triggers of an instruction; true if what
// one wants is so already.
func (e *Engine) await(t *thread, in *instr, now devices.Now) bool {
	inst := t.run.inst
	t.since = e.steps
	t.waits = make([]untilState, len(in.triggers))
	for i, w := range in.triggers {
		s := &t.waits[i]
		if w.schedule == nil && !w.event && !w.test.empty() && w.test.Silent == 0 && w.holdsNow(e, inst, nil) {
			if w.hold == 0 {
				e.clear(t)
				return true
			}
			e.timers.set(&s.since, t.timer(waitHeld, i), now.Mono+w.hold)
		}
		if w.test.Silent > 0 {
			e.timers.set(&s.silent, t.timer(waitSilent, i), now.Mono+time.Duration(w.test.Silent))
		}
	}
	if in.wait > 0 {
		e.timers.set(&t.timeout, t.timer(timeoutOver, 0), now.Mono+in.wait)
	}
	e.awaitTimes(t, now)
	return false
}

// awaitTimes sets the deadlines of a wait for times of day.
func (e *Engine) awaitTimes(t *thread, now devices.Now) {
	if !now.Known {
		return
	}
	for i, w := range t.instr().triggers {
		if w.schedule == nil || t.waits[i].since != nil {
			continue
		}
		if at, ok := w.schedule.Next(now.Wall.In(e.house.zone())); ok {
			due := t.timer(waitHeld, i)
			due.at = at
			e.timers.set(&t.waits[i].since, due, now.Mono+at.Sub(now.Wall))
		}
	}
}

// readWait is one reading seen by those that wait for it.
func (e *Engine) readWait(inst *instance, w *trigger, in *devices.Reading) {
	var on []*thread
	for _, run := range inst.runs {
		for _, t := range run.threads {
			if t.waits == nil || t.since == e.steps || w.index >= len(t.waits) || t.instr().triggers[w.index] != w || in.Initial && !w.retained && w.event {
				continue
			}
			s := &t.waits[w.index]
			if in.Bad == "" && w.test.Silent > 0 {
				e.timers.set(&s.silent, t.timer(waitSilent, w.index), in.At.Mono+time.Duration(w.test.Silent))
			}
			holds, valid := w.check(inst, in)
			switch {
			case holds && valid && (w.event || w.hold == 0):
				on = append(on, t)
			case holds && valid && s.since == nil:
				e.timers.set(&s.since, t.timer(waitHeld, w.index), in.At.Mono+w.hold)
				e.moved(inst)
			case valid && !holds && s.since != nil:
				e.timers.clear(&s.since)
				e.moved(inst)
			}
		}
	}
	for _, t := range on {
		if t.run.threads != nil { // not stopped by the one before
			t.run.ctx.reading = newContext(w, in, in.Origin).reading
			e.goOn(t, in.At, in, w.text)
		}
	}
}

// wake is a deadline of a thread.
func (e *Engine) wake(timer *timer, now devices.Now) {
	t := timer.thread
	switch timer.kind {
	case waitOver:
		t.due = nil
		if t.ramp != nil {
			t.ramp.last = timer.due
		}
		d := e.decision(t.run.inst, now, t.run.trigger.text, nil, Went)
		d.Why, d.Follows = "the wait is over", t.by
		e.proceed(t, now, &d)
		if t.ramp == nil || len(d.Commands)+len(d.Sets) > 0 { // of a ramp each value, but not each step
			e.decide(d)
		} else {
			t.by = d.Follows
		}
	case waitHeld:
		t.waits[timer.until].since = nil
		e.goOn(t, now, nil, t.instr().triggers[timer.until].text)
	case waitSilent:
		s := &t.waits[timer.until]
		s.silent = nil
		switch w := t.instr().triggers[timer.until]; {
		case !w.holdsNow(e, t.run.inst, nil):
		case w.hold == 0:
			e.goOn(t, now, nil, w.text)
		case s.since == nil:
			e.timers.set(&s.since, t.timer(waitHeld, timer.until), now.Mono+w.hold)
		}
	case timeoutOver:
		t.timeout = nil
		t.run.ctx.timedOut = true
		e.resume(t, now, nil, "the wait for "+t.instr().awaited()+" has timed out")
	}
}

// timer is one of the thread's; i is which of the triggers that it waits for.
func (t *thread) timer(kind timerKind, i int) timer {
	return timer{inst: t.run.inst, thread: t, kind: kind, until: i}
}

// awaited is what an instruction waits for, in words.
func (in *instr) awaited() string {
	var texts []string
	for _, w := range in.triggers {
		texts = append(texts, w.text)
	}
	return strings.Join(texts, " or ")
}

func (t *thread) instr() *instr { return t.run.inst.rule.program[t.pc] }

// goOn is the end of a wait by what it waited for.
func (e *Engine) goOn(t *thread, now devices.Now, in *devices.Reading, what string) {
	t.run.ctx.timedOut = false
	e.resume(t, now, in, "waited for "+what)
}

func (e *Engine) resume(t *thread, now devices.Now, in *devices.Reading, why string) {
	e.clear(t)
	t.pc++
	d := e.decision(t.run.inst, now, t.run.trigger.text, in, Went)
	d.Why, d.Follows = why, t.by
	e.proceed(t, now, &d)
	e.decide(d)
}
