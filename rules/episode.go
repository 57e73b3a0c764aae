package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/devices"
)

// read is one reading seen by one trigger.
func (e *Engine) read(inst *instance, t *trigger, in *devices.Reading) {
	l := &inst.latches[t.index]
	if s, ok := t.schedule.(*said); ok && s.source == watched(in) && in.Bad == "" {
		e.planAnew(inst, t, in)
	}
	own := t.source == watched(in)
	if own && t.distinct != nil && !t.news(e, inst, l, in) {
		return
	}
	if in.Bad == "" && !in.Restored {
		e.heard(inst, t, watched(in))
	}
	if t.truthless() {
		// Without a truth: an end comes first, and what ends does not begin.
		// What changed is compared with is each reading, whatever becomes of it.
		began, fires := l.began, own && e.fires(inst, t, in)
		e.end(inst, t, in)
		if fires && (!began || l.began) && !t.over(inst, in) {
			e.begin(inst, t, in.At, in)
		}
		return
	}
	if in.Bad != "" {
		e.end(inst, t, in) // the state stays as it was, but an event may end it
		return
	}
	e.lastsSince(inst, t, in)
	if own {
		pass, valid := t.check(inst, in)
		if !valid {
			return
		}
		switch {
		case pass && !l.truth && !t.ends(inst, in) && !e.overElsewhere(inst, t):
			e.rise(inst, t, in)
		case !pass && l.pending != nil: // whatever its until: for wants no interruption
			e.fall(inst, t, nil, in.At, in, nil)
		}
		if !pass && !l.truth && !l.seen {
			l.seen = true
			e.moved(inst)
		}
	}
	e.end(inst, t, in)
}

// overElsewhere reports whether an end that another source gives is true already,
// so that nothing begins.
func (e *Engine) overElsewhere(inst *instance, t *trigger) bool {
	for i, u := range t.untils {
		if u.test.Silent > 0 && !e.booted {
			continue // silence counts from the start
		}
		s := &inst.latches[t.index].untils[i]
		if u.source != t.source && !u.event && u.hold == 0 && u.holdsNow(e, inst, s.silent) {
			return true
		}
		if t.lasts(u) && s.held != nil && e.now.Mono-s.held.mono >= u.hold {
			return true
		}
	}
	return false
}

// lastsSince notes since when an until on another source holds.
func (e *Engine) lastsSince(inst *instance, t *trigger, in *devices.Reading) {
	for i, u := range t.untils {
		if u.source != watched(in) || !t.lasts(u) {
			continue
		}
		s := &inst.latches[t.index].untils[i]
		switch holds, valid := u.check(inst, in); {
		case !valid || holds == (s.held != nil):
		case holds:
			s.held = &since{mono: in.At.Mono}
			e.moved(inst)
		default:
			s.held = nil
			e.moved(inst)
		}
	}
}

// news reports whether a message is not the last one announced again.
func (t *trigger) news(e *Engine, inst *instance, l *latch, in *devices.Reading) bool {
	if in.Message == nil {
		return true
	}
	v, ok := t.distinct.Lookup(in.Message.JSON())
	if !ok {
		return true
	}
	seq := bounded(devices.Text(v))
	if l.seq != nil && *l.seq == seq {
		return false
	}
	l.seq = &seq
	e.noted(inst)
	return true
}

// bounded is a text, or its hash where it is too long to be kept at each change.
func bounded(text string) string {
	if len(text) > 64 {
		return hash(text)
	}
	return text
}

// fires reports whether a reading of its own source fires a trigger that has no
// truth: an event, or a state without a test.
func (e *Engine) fires(inst *instance, t *trigger, in *devices.Reading) bool {
	if t.event {
		return !in.Initial && (t.test.empty() || t.test.of(inst).holds(*in)) && (in.Bad == "" || t.anyMessage)
	}
	value := in.Value
	if t.carries != "" {
		var ok bool
		if value, ok = carried(in, t.carries, t.pathed); !ok {
			return false // a link takes its own type only
		}
	}
	if in.Bad != "" {
		return false
	}
	if t.changed {
		l := &inst.latches[t.index]
		text := bounded(valueText(value))
		if l.last != nil && *l.last == text {
			return false
		}
		l.last = &text
		e.noted(inst)
	}
	return (!in.Initial || t.retained) && t.came(inst, in)
}

// came reports whether the value before this one is what from asks for.
func (t *trigger) came(inst *instance, in *devices.Reading) bool {
	if len(t.from) == 0 {
		return true
	}
	if in.Old == nil {
		return false
	}
	before := devices.Reading{Value: in.Old, Text: valueText(in.Old)}
	from := Test{Is: t.from, holes: withHoles(t.from)}
	return from.of(inst).holds(before)
}

// rise is the edge of a state trigger: its truth goes from false to true.
func (e *Engine) rise(inst *instance, t *trigger, in *devices.Reading) {
	l := &inst.latches[t.index]
	if in.Initial && !t.retained {
		// Found at start: not news. With nothing stored it sets the truth in
		// silence, except where off values wait for a begin: a heater rule
		// added on a cold day must heat at the next live reading.
		if !l.seen && !inst.rule.hasOff {
			l.truth, l.seen = true, true
			e.moved(inst)
		}
		return
	}
	l.truth, l.seen = true, true
	e.moved(inst)
	if !t.came(inst, in) {
		return
	}
	if t.hold == 0 {
		e.begin(inst, t, in.At, in)
		return
	}
	l.of = newContext(t, in, in.Origin)
	e.timers.set(&l.pending, timer{inst: inst, trigger: t, kind: holdOver}, in.At.Mono+t.hold)
	d := e.decision(inst, in.At, t.text, in, Pending)
	d.Why = "for " + span(t.hold)
	l.by = d.ID
	e.decide(d)
}

// begin is a trigger that fires: the conditions, then the run.
func (e *Engine) begin(inst *instance, t *trigger, now devices.Now, in *devices.Reading) {
	origin := devices.Origin{By: "time"}
	if in != nil {
		origin = in.Origin
	}
	e.fire(inst, t, now, newContext(t, in, origin), in)
}

// fire is begin with what is to be seen in the run.
func (e *Engine) fire(inst *instance, t *trigger, now devices.Now, ctx *context, in *devices.Reading) {
	r, l := inst.rule, &inst.latches[t.index]
	if l.began && r.episode && r.machine == nil {
		return // nothing fires between begin and end
	}
	if !e.mayFire(inst, t, now, ctx, in) {
		return
	}
	if r.machine != nil {
		e.move(r.machine, inst, t, now, ctx, in)
		return
	}
	d := e.decision(inst, now, t.text, nil, Fired)
	d.Follows = ctx.by
	if in != nil {
		d.Cause = ctx.reading // the same, and nobody writes to it
	}
	if why := e.cooling(inst, now); why != "" {
		d.Outcome, d.Why = Ignored, why
		e.decide(d)
		return
	}
	if !e.allow(r.conditions, inst, ctx, now, &d) {
		d.Outcome = Blocked
		e.decide(d)
		return
	}
	var owed []devices.Command
	if active := inst.active(t); len(active) > 0 {
		switch {
		case r.mode == "restart":
			for _, run := range active {
				owed = append(owed, e.drop(run)...)
			}
		case r.mode == "queued" && len(active)+len(inst.queue) < r.max:
			ctx.by = d.ID
			inst.queue = append(inst.queue, ctx)
			e.moved(inst)
			d.Outcome, d.Why = Queued, fmt.Sprintf("%d before it", len(active)+len(inst.queue)-1)
			e.decide(d)
			return
		case r.mode == "parallel" && len(active) < r.max:
		case r.mode == "queued" || r.mode == "parallel":
			d.Outcome, d.Why = Ignored, fmt.Sprintf("%d runs are going or wait, which is max", r.max)
			e.decide(d)
			return
		default:
			d.Outcome, d.Why = Ignored, "its last run is still going (mode single)"
			e.decide(d)
			return
		}
	}
	if r.episode {
		e.open(inst, t, now, ctx)
		l.by = d.ID
	}
	e.cool(inst, now)
	ctx.origin = ctx.origin.Then(r.name)
	ctx.n = 1
	if r.episode {
		l.n = 1
	}
	run := &run{inst: inst, trigger: t, ctx: ctx}
	e.start(run, 0, now, &d)
	// What the old run held and the new one did not take over.
	owed = slices.DeleteFunc(owed, func(c devices.Command) bool { return run.holds(c) })
	d.Commands = append(e.emitAll(nil, owed), d.Commands...)
	e.decide(d)
	e.tell(inst, d.ID)
}

// mayFire guards against loops.
func (e *Engine) mayFire(inst *instance, t *trigger, now devices.Now, ctx *context, in *devices.Reading) bool {
	r := inst.rule
	if ctx.origin.Hops() >= MaxHops {
		d := e.decision(inst, now, t.text, in, Stopped)
		d.Follows = ctx.by
		d.Why = "these rules set each other off: " + strings.Join(loop(ctx.origin.Rules, r.name), " -> ")
		r.err = d.Why
		r.errors++
		e.decide(d)
		return false
	}
	if t.carries != "" && slices.Contains(ctx.origin.Rules, r.name) {
		d := e.decision(inst, now, t.text, in, Ignored)
		d.Follows = ctx.by
		d.Why = "it follows from what this link sent itself"
		e.decide(d)
		return false
	}
	inst.tokens = min(burst, inst.tokens+(now.Mono-inst.filled).Seconds()*perSecond)
	inst.filled = now.Mono
	if inst.tokens < 1 {
		if inst.tokens >= 0 { // told once
			inst.tokens = -perSecond // and left alone for a second or more
			d := e.decision(inst, now, t.text, in, Stopped)
			d.Follows = ctx.by
			d.Why = fmt.Sprintf("it fired %d times and more than %d times a second; if it is set off by what it does itself, that is a loop", burst, perSecond)
			r.err = d.Why
			r.errors++
			e.decide(d)
		}
		return false
	}
	inst.tokens--
	return true
}

// open begins an episode.
func (e *Engine) open(inst *instance, t *trigger, now devices.Now, ctx *context) {
	l := &inst.latches[t.index]
	l.began, l.again, l.n, l.gaps, l.sent, l.befores, l.of = true, false, 0, 0, 0, nil, ctx
	if t.minOn > 0 {
		e.timers.set(&l.earliest, timer{inst: inst, trigger: t, kind: minOnOver}, now.Mono+t.minOn)
	}
	for i, u := range t.untils { // one that holds already counts from the begin, or on another source since it holds
		if s := &l.untils[i]; u.test.Silent > 0 && s.silent == nil {
			e.timers.set(&s.silent, timer{inst: inst, trigger: t, kind: silenceOver, until: i}, now.Mono+time.Duration(u.test.Silent))
		}
		if s := &l.untils[i]; u.hold > 0 && s.since == nil && u.holdsNow(e, inst, s.silent) {
			from := now.Mono
			if s.held != nil {
				from = s.held.mono
			}
			e.timers.set(&s.since, timer{inst: inst, trigger: t, until: i, kind: untilOver}, max(now.Mono, from+u.hold))
		}
	}
	e.again(inst, t, now.Mono)
}

// again plans the next run of the action of an episode, one gap after the
// moment of the last one.
func (e *Engine) again(inst *instance, t *trigger, last time.Duration) {
	r, l := inst.rule, &inst.latches[t.index]
	if len(r.repeat) > 0 && (r.times == 0 || max(l.n, 1) < r.times) {
		gap := r.repeat[min(l.gaps, len(r.repeat)-1)]
		l.gaps++
		e.timers.set(&l.repeat, timer{inst: inst, trigger: t, kind: repeatDue}, last+gap)
	}
}

// end looks whether in ends what t has begun or waits to begin.
func (e *Engine) end(inst *instance, t *trigger, in *devices.Reading) {
	l := &inst.latches[t.index]
	if !l.truth && !l.began {
		return
	}
	var over *until
	source := watched(in)
	for i, u := range t.untils {
		if u.source != source {
			continue
		}
		s := &l.untils[i]
		holds, valid := u.check(inst, in)
		switch {
		case holds && valid && u.hold == 0:
			over = cmp.Or(over, u)
		case holds && valid && s.since == nil && l.pending == nil: // it counts from the begin
			e.timers.set(&s.since, timer{inst: inst, trigger: t, until: i, kind: untilOver}, in.At.Mono+u.hold)
			e.moved(inst)
		case valid && !holds && s.since != nil:
			e.timers.clear(&s.since)
			e.moved(inst)
		}
	}
	if over != nil {
		e.fall(inst, t, over, in.At, in, nil)
	}
}

// fall is the end of a truth: a for that still waits is cancelled, an episode
// ends unless its least time is not over. by is what ends it. Where time was what brought it, since is the report
// since which what ends it holds.
func (e *Engine) fall(inst *instance, t *trigger, by *until, now devices.Now, in, since *devices.Reading) {
	r, l := inst.rule, &inst.latches[t.index]
	if l.earliest != nil {
		return // min_on: looked at again when it is over
	}
	waited, began := l.pending != nil, l.began
	e.timers.clear(&l.pending)
	for i := range l.untils {
		e.timers.clear(&l.untils[i].since)
	}
	e.timers.clear(&l.repeat)
	l.truth, l.began, l.again, l.seen = false, false, false, true
	e.moved(inst)
	switch {
	case waited:
		d := e.decision(inst, now, t.text, in, Cancelled)
		d.Why, d.Follows = "before "+span(t.hold)+" were over", l.by
		e.decide(d)
		return
	case !began || !r.ends() || r.machine != nil:
		return
	}
	d := e.decision(inst, now, t.ended(by), in, Ended)
	d.Follows, d.Since = l.by, since
	origin := devices.Origin{By: "time"}
	if in != nil {
		origin = in.Origin
	}
	e.close(inst, t, now, origin.Then(r.name), true, &d)
	e.decide(d)
	e.tell(inst, d.ID)
}

// since is the report since which an until holds that time has made an end; nil if nobody
// knows of one.
func (e *Engine) since(inst *instance, u *until, now devices.Now) *devices.Reading {
	r, ok := e.registry.Last(inst.source(e, u.source))
	if !ok {
		return nil
	}
	if r.Restored || u.hold > 0 && r.At.Mono > now.Mono-u.hold { // said again meanwhile
		r.At = now.Add(-u.hold)
	}
	r.Message, r.Old = nil, nil
	return &r
}

// close ends an episode: its run is cancelled, the off values are sent, and with
// done that runs.
func (e *Engine) close(inst *instance, t *trigger, now devices.Now, origin devices.Origin, done bool, d *Decision) {
	r, l := inst.rule, &inst.latches[t.index]
	for _, run := range inst.active(t) {
		d.Commands = e.emitAll(d.Commands, e.drop(run))
	}
	ctx := l.of
	if ctx == nil {
		ctx = newContext(t, nil, origin)
	}
	ctx.origin, ctx.n = origin, l.n
	for _, c := range e.endings(inst, t, ctx) {
		e.carryOut(c, inst, ctx, now, d)
	}
	if done && r.done > 0 {
		run := &run{inst: inst, trigger: t, ctx: ctx, after: true}
		e.start(run, r.done, now, d)
	}
	l.of, l.befores, l.sent, l.n = nil, nil, 0, 0
}

// heard starts the time of silence of all levels of a trigger on a source anew.
func (e *Engine) heard(inst *instance, t *trigger, source string) {
	l := &inst.latches[t.index]
	if !t.listens || inst.values == nil && len(e.sources[source].Captures()) > 0 {
		return // nobody is silent of whom nothing was ever heard
	}
	if t.test.Silent > 0 && t.source == source {
		e.timers.set(&l.silent, timer{inst: inst, trigger: t, kind: silenceOver, until: -1}, e.now.Mono+time.Duration(t.test.Silent))
	}
	for i, u := range t.untils {
		if u.test.Silent > 0 && u.source == source {
			e.timers.set(&l.untils[i].silent, timer{inst: inst, trigger: t, kind: silenceOver, until: i}, e.now.Mono+time.Duration(u.test.Silent))
		}
	}
}

// listen starts the time of silence of all levels of a trigger, at the hub's
// start or the instance's.
func (e *Engine) listen(inst *instance, t *trigger) {
	if !inst.rule.enabled || inst.rule.off {
		return
	}
	e.heard(inst, t, t.source)
	for _, u := range t.untils {
		if u.source != t.source {
			e.heard(inst, t, u.source)
		}
	}
}

// listenAll is listen for all triggers of an instance, and for its conditions.
func (e *Engine) listenAll(inst *instance) {
	for _, t := range inst.rule.triggers {
		e.listen(inst, t)
	}
	if !inst.rule.enabled || inst.rule.off {
		return
	}
	for i, l := range inst.rule.levels {
		if l.test.Silent > 0 && (inst.values != nil || len(e.sources[l.source].Captures()) == 0) {
			e.timers.set(&inst.levels[i].silent, timer{inst: inst, kind: levelSilent, until: i}, e.now.Mono+time.Duration(l.test.Silent))
		}
	}
}

// silence is a source that has been silent for as long as a level asks.
func (e *Engine) silence(inst *instance, t *trigger, i int, now devices.Now) {
	l := &inst.latches[t.index]
	if i >= 0 {
		u, s := t.untils[i], &l.untils[i]
		if s.silent = nil; !l.truth && !l.began || !u.holdsNow(e, inst, nil) {
			return
		}
		if u.hold == 0 {
			e.fall(inst, t, u, now, nil, e.since(inst, u, now))
		} else if s.since == nil && l.pending == nil {
			e.timers.set(&s.since, timer{inst: inst, trigger: t, until: i, kind: untilOver}, now.Mono+u.hold)
		}
		return
	}
	l.silent = nil
	if l.truth || t.event || !t.holdsNow(e, inst, nil) {
		return
	}
	l.truth, l.seen = true, true
	if t.hold == 0 {
		e.begin(inst, t, now, nil)
		return
	}
	e.timers.set(&l.pending, timer{inst: inst, trigger: t, kind: holdOver}, now.Mono+t.hold)
	d := e.decision(inst, now, t.text, nil, Pending)
	d.Why = "for " + span(t.hold)
	l.by = d.ID
	e.decide(d)
}

// pass lets time pass: every deadline up to now, in their order.
func (e *Engine) pass(now devices.Now) {
	if now.Known && !e.known {
		e.known = true
		e.clockKnown(now)
	}
	if e.started && now.Known {
		e.followClock(now)
	}
	for {
		t := e.timers.due(now.Mono)
		if t == nil {
			e.now = now
			return
		}
		// It happens at its own moment even if the caller is late, so that being
		// late changes nothing; but what was due while the hub was down happens
		// now.
		e.now = now.Add(max(t.due, min(e.floor, now.Mono)) - now.Mono)
		e.expire(t, e.now)
		// What follows from one deadline comes before the next.
		for len(e.queue) > 0 {
			r := e.queue[0]
			e.queue = e.queue[1:]
			e.take(r, false)
		}
	}
}

// expire is a deadline that has passed.
func (e *Engine) expire(t *timer, now devices.Now) {
	switch {
	case t.calc != nil:
		t.calc.expire(e, now)
		return
	case t.variable != nil:
		t.variable.expire(e, now)
		return
	}
	inst := t.inst
	e.moved(inst)
	if t.kind == afterDue {
		e.after(inst.rule.machine, t.until, now)
		return
	}
	if t.thread != nil {
		e.wake(t, now)
		return
	}
	if t.kind == retryDue {
		e.retry(t.request, now)
		return
	}
	if t.kind == levelSilent {
		e.levelSilence(inst, t.until)
		return
	}
	l := &inst.latches[t.trigger.index]
	switch t.kind {
	case holdOver:
		l.pending = nil
		if e.overElsewhere(inst, t.trigger) {
			l.truth = false
			d := e.decision(inst, now, t.trigger.text, nil, Cancelled)
			d.Why, d.Follows = "its until holds already", l.by
			e.decide(d)
			return
		}
		ctx := e.lastly(inst, t.trigger, l.of)
		ctx.by = l.by
		e.fire(inst, t.trigger, now, ctx, nil)
	case untilOver:
		s := &l.untils[t.until]
		if s.since = nil; l.earliest != nil { // then, if it holds until then
			e.timers.set(&s.since, timer{inst: inst, trigger: t.trigger, until: t.until, kind: untilOver}, l.earliest.due)
			e.moved(inst)
			return
		}
		u := t.trigger.untils[t.until]
		e.fall(inst, t.trigger, u, now, nil, e.since(inst, u, now))
	case silenceOver:
		e.silence(inst, t.trigger, t.until, now)
	case minOnOver:
		l.earliest = nil
		for i, u := range t.trigger.untils {
			// An until with a for of its own counts once that for was over.
			if s := l.untils[i]; (s.since == nil || s.since.due <= now.Mono) && u.holdsNow(e, inst, s.silent) {
				e.fall(inst, t.trigger, u, now, nil, e.since(inst, u, now))
				return
			}
		}
	case repeatDue:
		e.repeat(inst, t, now)
	case planDue:
		e.planDue(inst, t.trigger, now)
	}
}

// repeat runs the action of an episode once more. What was missed runs once, and
// the next one comes when it would have come.
func (e *Engine) repeat(inst *instance, t *timer, now devices.Now) {
	r, l := inst.rule, &inst.latches[t.trigger.index]
	l.repeat = nil
	d := e.decision(inst, now, t.trigger.text, nil, Fired)
	d.Follows = l.by
	if len(inst.active(t.trigger)) > 0 {
		e.again(inst, t.trigger, t.due)
		d.Outcome, d.Why = Ignored, "its last run is still going"
		e.decide(d)
		return
	}
	l.n++
	last := t.due
	e.again(inst, t.trigger, last)
	for l.repeat != nil && l.repeat.due <= e.floor { // missed too
		last = l.repeat.due
		if gap := inst.rule.repeat[len(inst.rule.repeat)-1]; l.gaps >= len(inst.rule.repeat) { // all others are like this
			last += (e.floor - last) / gap * gap
		}
		e.timers.clear(&l.repeat)
		e.again(inst, t.trigger, last)
	}
	d.Why = fmt.Sprintf("repeated, run %d", l.n)
	ctx := *l.of
	ctx.n = l.n
	ctx.origin = devices.Origin{By: "time"}.Then(r.name)
	e.start(&run{inst: inst, trigger: t.trigger, ctx: &ctx}, 0, now, &d)
	e.decide(d)
}

// cooling says why a trigger is ignored after a run; "" if it is not.
func (e *Engine) cooling(inst *instance, now devices.Now) string {
	r := inst.rule
	switch {
	case r.cooldown > 0 && now.Mono < inst.cool:
		return "cooldown of " + span(r.cooldown) + ", " + span((inst.cool - now.Mono).Round(time.Second)) + " to go"
	case r.daily && inst.coolDay != "" && now.Known && inst.coolDay == e.today(now):
		return "it has run today, and its cooldown is a day"
	}
	return ""
}

// cool begins the cooldown.
func (e *Engine) cool(inst *instance, now devices.Now) {
	if inst.rule.cooldown > 0 {
		inst.cool, inst.coolWall = now.Mono+inst.rule.cooldown, time.Time{}
	}
	if inst.rule.daily && now.Known {
		inst.coolDay = e.today(now)
	}
	e.moved(inst)
}

// today is the local date.
func (e *Engine) today(now devices.Now) string {
	return now.Wall.In(e.house.zone()).Format(time.DateOnly)
}

// tell reports whether the rule runs, where something looks at rule.x; by is the
// decision that it follows from.
func (e *Engine) tell(inst *instance, by uint64) {
	r := inst.rule
	if !r.watched {
		return
	}
	running := slices.ContainsFunc(r.all(), func(i *instance) bool {
		return len(i.runs) > 0 || slices.ContainsFunc(i.latches, func(l latch) bool { return l.began })
	})
	source := "rule." + baseName(r.name)
	if last, ok := e.registry.Last(source); !ok || last.Value != running {
		e.derive(devices.Reading{Source: source, Value: running, At: e.now, Origin: devices.Origin{By: r.name, Decision: by}})
	}
}

// loop is the part of the chain that repeats, for the message.
func loop(chain []string, last string) []string {
	for i := len(chain) - 1; i >= 0; i-- {
		if chain[i] == last {
			return append(append([]string{}, chain[i:]...), last)
		}
	}
	return append(append([]string{}, chain...), last)
}
