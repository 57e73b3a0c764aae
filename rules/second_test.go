package rules_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/devices"
	"hearth/rules"
	"hearth/rules/calendar"
	"hearth/rules/formula"
)

// A second engine, written from the language reference and not from the first:
// where the two disagree about a house, one of them has misread it.
//
// It is slow and plain on purpose. It remembers every reading since it was made
// and looks through them whenever it wants to know how long something has been
// so. Timers are one list that is searched for the next. Actions are not
// compiled: each is called with what is to be done after it, so a run that waits
// is a function in that list. It keeps nothing over a restart, because it never
// goes away: the hub being down is a time in which nobody looks at the list.
type second struct {
	cfg     rules.Config
	outputs []string
	epoch   time.Time // the wall clock when the monotonic one was 0
	now     time.Duration
	born    time.Duration // when the hub was last started
	begun   bool          // it has been started once
	again   bool          // and after that
	steps   int           // taken
	runs    int           // begun

	past   map[string][]devices.Reading // every valid reading, by source
	pulses map[string]*secondOwed       // of outputs, the newest
	level  map[string]float64           // of outputs, the newest of told and reported: 0 is off
	sent   map[string]string            // to topics
	vars   map[string]any
	fresh  []devices.Reading // of variables and machines, waiting for a step of their own
	alarm  []*alarm
	set    int // alarms so far

	calcs    []*secondCalc
	machines []*secondMachine
	links    []*secondLink
	rules    []*secondRule

	said []string // every command with its moment
}

// An alarm is something to be done at a moment. Of those at one moment the one
// that was set first comes first.
type alarm struct {
	at      time.Duration
	number  int
	planned bool // a time of day
	do      func()
}

func newSecond(cfg rules.Config, outputs []string, epoch time.Time, now time.Duration) *second {
	s := &second{cfg: cfg, outputs: outputs, epoch: epoch, now: now, born: now,
		past: map[string][]devices.Reading{}, level: map[string]float64{}, pulses: map[string]*secondOwed{}, sent: map[string]string{}, vars: map[string]any{}}
	for _, v := range cfg.Variable {
		s.vars[v.Name] = plainNumber(v.Value.Initial)
	}
	for _, c := range cfg.Calc {
		s.addCalc(c.Name, c.Value)
	}
	for _, m := range cfg.Machine {
		for _, e := range m.Value.Entries {
			s.addMachine(m.Name, e)
		}
	}
	for _, l := range cfg.Link {
		s.links = append(s.links, &secondLink{name: l.Name, cfg: l.Value})
	}
	for _, r := range cfg.Rule {
		for _, e := range r.Value.Entries {
			s.addRule(r.Name, e)
		}
	}
	return s
}

// --- time ---

func (s *second) wall() time.Time { return s.epoch.Add(s.now) }

func (s *second) moment() devices.Now { return devices.Now{Mono: s.now, Wall: s.wall(), Known: true} }

func (s *second) after(d time.Duration, do func()) *alarm { return s.at(s.now+d, do) }

func (s *second) at(t time.Duration, do func()) *alarm {
	s.set++
	a := &alarm{at: t, number: s.set, do: do}
	s.alarm = append(s.alarm, a)
	return a
}

func (s *second) drop(a *alarm) {
	s.alarm = slices.DeleteFunc(s.alarm, func(b *alarm) bool { return a == b })
}

// advance does all that is due until t, each thing at its moment; what should
// have been while the hub was down is late.
func (s *second) advance(t time.Duration) {
	for {
		var first *alarm
		for _, a := range s.alarm {
			if a.at <= t && (first == nil || a.at < first.at || a.at == first.at && a.number < first.number) {
				first = a
			}
		}
		if first == nil {
			break
		}
		s.drop(first)
		s.now = max(s.now, first.at)
		first.do()
		s.settle()
	}
	s.now = t
}

// start is the start of the hub, when what was found there has been read. The
// values of variables and machines are found like others.
func (s *second) start() {
	s.listen()
	if !s.begun {
		s.begun = true
		for _, c := range s.calcs {
			s.fill(c)
		}
		for _, m := range s.machines {
			s.enter(m, m.state)
		}
	}
	names := s.cfg.Variable.Names()
	for _, m := range s.machines {
		names = append(names, m.name)
	}
	slices.Sort(names)
	for _, name := range names {
		if v, ok := s.value(name); ok {
			s.take(s.note(devices.Reading{Source: name, Value: v, Text: devices.Text(v), At: s.moment(), Initial: true, Origin: devices.Origin{By: "found"}}))
		}
	}
	s.advance(s.now)
	for _, r := range s.rules {
		for _, inst := range r.instances {
			var late []*secondTrigger
			for _, t := range inst.triggers {
				if p := t.schedule(); p != nil && t.handled.Before(s.wall()) && !t.handled.IsZero() {
					// A little late counts as kept, without catch_up.
					if at, ok := p.Latest(t.handled, s.wall()); ok && s.wall().Sub(at) <= 10*time.Second {
						late = append(late, t)
					}
				}
				s.plan(t)
			}
			for _, t := range late {
				t.fire(nil)
			}
		}
	}
	for _, r := range s.rules {
		for _, inst := range r.instances {
			for _, t := range inst.triggers {
				if t.cfg.Start {
					t.fire(nil)
				}
			}
		}
	}
	s.settle()
}

// down is a stop of the hub for so long. What is silent counts from its start;
// what was told last is forgotten.
func (s *second) down(d time.Duration) {
	s.now += d
	s.born, s.again = s.now, true
	clear(s.sent)
	for key, past := range s.past {
		if pin := key == "pir" || key == "button" || slices.Contains(s.outputs, key); !pin {
			past[len(past)-1].Restored = true
		}
	}
	clear(s.level)
	s.alarm = slices.DeleteFunc(s.alarm, func(a *alarm) bool { return a.planned })
	s.listen()
}

// listen lets all silence count from now.
func (s *second) listen() {
	for _, m := range s.machines {
		for _, t := range m.triggers {
			s.listenToSilence(t, "")
		}
	}
	for _, r := range s.rules {
		for _, inst := range r.instances {
			for _, t := range inst.triggers {
				s.listenToSilence(t, "")
			}
		}
	}
}

// plan sets the next time of day of a trigger.
func (s *second) plan(t *secondTrigger) {
	p := t.schedule()
	if p == nil {
		return
	}
	t.handled = s.wall()
	if next, ok := p.Next(s.wall()); ok {
		a := s.at(next.Sub(s.epoch), nil)
		a.planned = true
		a.do = func() {
			s.plan(t)
			t.fire(nil)
		}
	}
}

func (t *secondTrigger) schedule() calendar.Schedule {
	switch {
	case len(t.cfg.Time.Clock) > 0:
		return calendar.Daily(t.cfg.Time.Clock, t.cfg.Days)
	case t.cfg.Every > 0:
		every, _ := calendar.Every(time.Duration(t.cfg.Every), t.cfg.Days)
		return every
	}
	return nil
}

// --- readings ---

// key is where a reading belongs: the source as the owner wrote it and, where
// that has captures, what it stands for.
func key(r devices.Reading) string {
	if r.Captured != nil {
		return r.Captured.Source + " = " + r.Source
	}
	return r.Source
}

// written is the source as the owner wrote it.
func written(r devices.Reading) string {
	if r.Captured != nil {
		return r.Captured.Source
	}
	return r.Source
}

func canonical(source string) string {
	if source == "" {
		return ""
	}
	src, err := devices.ParseSource(source)
	if err != nil {
		panic(err)
	}
	return src.String()
}

// keyOf is the key of a source within an instance.
func (inst *secondInstance) keyOf(source string) string {
	src, err := devices.ParseSource(source)
	if err != nil {
		panic(err)
	}
	if len(src.Captures()) == 0 {
		return src.String()
	}
	var names, values []string
	for name, value := range inst.captured {
		names, values = append(names, name), append(values, value)
	}
	return src.String() + " = " + src.With(names, values).String()
}

func (s *second) last(key string) (devices.Reading, bool) {
	past := s.past[key]
	if len(past) == 0 {
		return devices.Reading{}, false
	}
	return past[len(past)-1], true
}

func (s *second) step(r devices.Reading) {
	if !r.Initial {
		s.advance(r.At.Mono)
	}
	s.take(s.note(r))
	s.settle()
}

func (s *second) settle() {
	for len(s.fresh) > 0 {
		r := s.fresh[0]
		s.fresh = s.fresh[1:]
		s.take(r)
	}
}

// note remembers a valid reading.
func (s *second) note(r devices.Reading) devices.Reading {
	if r.Bad != "" {
		return r
	}
	if last, ok := s.last(key(r)); ok {
		r.Old = last.Value
		if r.Initial && last.Restored && last.Text == r.Text {
			r.At, r.Origin, r.Restored = last.At, last.Origin, true // found as it was left: nobody has spoken
		}
	}
	if r.Initial && s.again && r.Origin.By != "found" {
		r.Origin.By = "found again"
	}
	s.past[key(r)] = append(s.past[key(r)], r)
	// A dimmed lamp does what it is told; only at a start it is asked.
	if output, isLevel := strings.CutSuffix(r.Source, ".level"); isLevel && r.Initial && s.level[output] > 0 {
		s.level[output] = r.Value.(float64)
	} else if slices.Contains(s.outputs, r.Source) && (r.Source != "glow" || r.Initial) {
		s.level[r.Source] = levelOf(r.Value)
	}
	return r
}

// take is one step: value, calcs, machines, links and rules.
func (s *second) take(r devices.Reading) {
	s.steps++
	readings := []devices.Reading{r}
	for i := 0; i < len(readings); i++ {
		for _, c := range s.calcs {
			if out, ok := s.read(c, readings[i]); ok {
				readings = append(readings, s.note(out))
			}
		}
	}
	for _, m := range s.machines {
		for _, r := range readings {
			waits := byAge(m.inst.waits)
			for _, t := range m.triggers {
				s.see(t, r)
			}
			for _, t := range waits {
				if slices.Contains(m.inst.waits, t) {
					s.see(t, r)
				}
			}
		}
	}
	for _, l := range s.links {
		for _, r := range readings {
			s.carry(l, r)
		}
	}
	for _, rule := range s.rules {
		for _, r := range readings {
			for _, inst := range s.concerned(rule, r) {
				waits := byAge(inst.waits)
				for _, t := range inst.triggers {
					s.see(t, r)
				}
				for _, t := range waits {
					if slices.Contains(inst.waits, t) {
						s.see(t, r)
					}
				}
			}
		}
	}
}

// byAge is waits in the order of the runs that they belong to.
func byAge(waits []*secondTrigger) []*secondTrigger {
	waits = slices.Clone(waits)
	slices.SortStableFunc(waits, func(a, b *secondTrigger) int { return a.run.number - b.run.number })
	return waits
}

func (s *second) number() int {
	s.runs++
	return s.runs
}

// derive is a reading of a variable or a machine. Its value is seen at once, its
// step comes after this one.
func (s *second) derive(name string, v any) {
	s.fresh = append(s.fresh, s.note(devices.Reading{Source: name, Value: v, Text: devices.Text(v), At: s.moment()}))
}

// --- tests ---

func nano(f float64) float64 { return math.Round(f*1e9) / 1e9 }

// passes compares one value; it is not fit where the test needs another type.
func passes(t rules.Test, r devices.Reading) (pass, fit bool) {
	if r.Bad != "" {
		return false, false
	}
	pass = true
	if len(t.Is) > 0 {
		pass = false
		for _, want := range t.Is {
			switch want := want.(type) {
			case string:
				fit = true
				pass = pass || r.Text == want
			case float64:
				f, ok := r.Value.(float64)
				fit = fit || ok
				pass = pass || ok && nano(f) == nano(want)
			case bool:
				on, ok := devices.Bool(r.Value)
				fit = fit || ok
				pass = pass || ok && on == want
			}
		}
		if !fit {
			return false, false
		}
	}
	f, number := r.Value.(float64)
	if (t.Above != nil || t.Below != nil || t.AtLeast != nil || t.AtMost != nil) && !number {
		return false, false
	}
	pass = pass && (t.Above == nil || nano(f) > nano(*t.Above)) && (t.Below == nil || nano(f) < nano(*t.Below)) &&
		(t.AtLeast == nil || nano(f) >= nano(*t.AtLeast)) && (t.AtMost == nil || nano(f) <= nano(*t.AtMost))
	return pass, true
}

func asksNothing(t rules.Test) bool {
	return len(t.Is) == 0 && t.Above == nil && t.Below == nil && t.AtLeast == nil && t.AtMost == nil
}

// held is since when the newest fitting values of a source have passed a test.
func (s *second) held(key string, t rules.Test) (since time.Duration, ok bool) {
	past := s.past[key]
	if len(past) == 0 {
		if v, known := s.value(key); known { // before the first
			pass, fit := passes(t, devices.Reading{Value: v, Text: devices.Text(v)})
			return 0, pass && fit
		}
	}
	for i := len(past) - 1; i >= 0; i-- {
		pass, fit := passes(t, past[i])
		if fit && !pass {
			break
		}
		if fit {
			since, ok = past[i].At.Mono, true
		}
	}
	return since, ok
}

// silent is since when nothing valid has come.
func (s *second) silentSince(key string) time.Duration {
	if last, ok := s.last(key); ok {
		return max(s.born, last.At.Mono)
	}
	return s.born
}

// --- triggers ---

// A secondTrigger is a trigger of a rule, a move or a wait.
type secondTrigger struct {
	cfg    rules.Trigger
	inst   *secondInstance
	id     string
	source string // its key
	untils []*secondUntil
	fire   func(r *devices.Reading)

	run           *secondRun // that waits for it
	handled       time.Time  // until when its times of day are dealt with
	truth, stored bool
	pending       *alarm // its for
	silence       *alarm
	episode       *secondEpisode
}

// A secondUntil is one end. Absent is that where nobody wrote one.
type secondUntil struct {
	source string
	test   rules.Test
	event  bool
	path   bool
	absent bool
	wait   time.Duration
	alarm  *alarm         // of its for
	past   bool           // that has passed
	lasts  *time.Duration // with a for and on another source: since when it is there
	quiet  *alarm         // of its silent
}

func newTrigger(s *second, cfg rules.Trigger, inst *secondInstance, number int) *secondTrigger {
	t := &secondTrigger{cfg: cfg, inst: inst, id: cfg.ID}
	if t.id == "" {
		t.id = strconv.Itoa(number)
	}
	if text := cfg.State + cfg.Event; text != "" {
		t.source = inst.keyOf(text)
	}
	for _, u := range cfg.Until {
		su := &secondUntil{source: t.source, test: u.Test, wait: time.Duration(u.For), event: cfg.Event != ""}
		switch {
		case u.Mirror != nil:
			switch n := u.Mirror; {
			case cfg.Above != nil:
				su.test.Below = n
			case cfg.Below != nil:
				su.test.Above = n
			case cfg.AtLeast != nil:
				su.test.AtMost = n
			case cfg.AtMost != nil:
				su.test.AtLeast = n
			}
		case u.State != "":
			su.source, su.event = inst.keyOf(u.State), false
		case u.Event != "":
			su.source, su.event = inst.keyOf(u.Event), true
		}
		su.path = strings.Contains(su.source, ":")
		t.untils = append(t.untils, su)
	}
	if len(cfg.Until) == 0 && t.tested() {
		t.untils = append(t.untils, &secondUntil{source: t.source, test: cfg.Test, absent: true})
	}
	s.listenToSilence(t, "")
	return t
}

// tested reports whether the trigger has a truth.
func (t *secondTrigger) tested() bool {
	return t.cfg.State != "" && (!asksNothing(t.cfg.Test) || t.cfg.Silent > 0)
}

// listenToSilence sets the deadlines of silent on a source, anew at each valid
// reading of it; those of all sources if it is "".
func (s *second) listenToSilence(t *secondTrigger, source string) {
	if t.cfg.Silent > 0 && (source == "" || source == t.source) {
		s.drop(t.silence)
		t.silence = s.at(s.silentSince(t.source)+time.Duration(t.cfg.Silent), func() {
			if _, ok := s.held(t.source, t.cfg.Test); (ok || asksNothing(t.cfg.Test)) && !t.truth {
				s.rise(t, nil)
			}
		})
	}
	for _, u := range t.untils {
		if u.test.Silent > 0 && !u.absent && (source == "" || source == u.source) {
			s.drop(u.quiet)
			s.hush(t, u, s.silentSince(u.source))
		}
	}
}

// hush sets the deadline of an until with silent.
func (s *second) hush(t *secondTrigger, u *secondUntil, since time.Duration) {
	u.quiet = s.at(since+time.Duration(u.test.Silent), func() {
		u.quiet = nil
		if s.reached(u) {
			s.sees(t, u, true, nil)
		}
	})
}

// reached reports whether the level of an until is there now.
func (s *second) reached(u *secondUntil) bool {
	if u.event {
		return false
	}
	if u.test.Silent > 0 && u.quiet != nil {
		return false
	}
	if u.absent {
		if u.test.Silent > 0 && s.now-s.silentSince(u.source) < time.Duration(u.test.Silent) {
			return true
		}
		_, ok := s.held(u.source, u.test)
		return !ok
	}
	_, ok := s.held(u.source, u.test)
	return ok || asksNothing(u.test)
}

// see is one reading seen by one trigger.
func (s *second) see(t *secondTrigger, r devices.Reading) {
	own := key(r) == t.source
	if r.Bad == "" && !r.Restored {
		s.listenToSilence(t, key(r))
	}
	on := t.truth && t.pending == nil || t.episode != nil // before this reading
	ends := false                                         // this reading passes an until
	for _, u := range t.untils {
		if u.source != key(r) || u.event && r.Initial || u.test.Silent > 0 && r.Restored {
			continue
		}
		pass, fit := passes(u.test, r)
		if u.event && r.Bad != "" && asksNothing(u.test) && !u.path {
			pass, fit = true, true
		}
		if u.test.Silent > 0 && !u.absent {
			pass = false // it has just spoken
		}
		if u.absent {
			pass = !pass || u.test.Silent > 0
		}
		if !fit {
			continue
		}
		switch {
		case u.source == t.source || u.event || u.wait == 0 || u.test.Silent > 0 || !t.tested():
		case !pass:
			u.lasts = nil
		case u.lasts == nil:
			now := s.now
			u.lasts = &now
		}
		ends = ends || pass && u.wait == 0
		if on {
			s.sees(t, u, pass, &r)
		}
	}
	if !own {
		if t.pending != nil && ends {
			s.cancel(t)
		}
		return
	}
	if !t.tested() {
		s.seeEach(t, r, on, ends)
		return
	}
	pass, fit := passes(t.cfg.Test, r)
	if !fit || t.cfg.Silent > 0 && r.Restored {
		return
	}
	if t.cfg.Silent > 0 {
		pass = false
	}
	// An until on another source is a level too.
	for _, u := range t.untils {
		ends = ends || u.source != key(r) && u.wait == 0 && s.reached(u) || s.lasted(u)
	}
	switch {
	case t.pending != nil && (!pass || ends):
		s.cancel(t)
	case t.truth:
	case pass && ends: // as if it had not been said
	case on, !pass:
		t.stored = true
	case !r.Initial || t.cfg.Retained || t.run != nil: // what a wait wants is a level
		s.rise(t, &r)
	case t.stored || t.inst.rule != nil && t.inst.rule.hasOff():
	default:
		t.truth, t.stored = true, true
		for _, u := range t.untils {
			if u.source == key(r) && u.wait > 0 && s.reached(u) {
				s.sees(t, u, true, &r)
			}
		}
	}
}

// seeEach is for what has no truth: events, and states without a test.
func (s *second) seeEach(t *secondTrigger, r devices.Reading, on, ends bool) {
	if on || ends || r.Initial && (t.cfg.Event != "" || !t.cfg.Retained) {
		return
	}
	switch {
	case t.cfg.Event != "":
		pass, _ := passes(t.cfg.Test, r)
		if r.Bad != "" {
			pass = asksNothing(t.cfg.Test) && !strings.Contains(t.source, ":")
		}
		if pass {
			t.fire(&r)
		}
	case r.Bad == "" && (!t.cfg.Changed || !same(r.Old, r.Value)):
		t.fire(&r)
	}
}

func same(a, b any) bool { return fmt.Sprintf("%T %v", a, a) == fmt.Sprintf("%T %v", b, b) }

// rise is the truth going from false to true.
func (s *second) rise(t *secondTrigger, r *devices.Reading) {
	t.truth, t.stored = true, true
	if t.cfg.For == 0 {
		s.watchEnd(t)
		t.fire(r)
		return
	}
	t.pending = s.after(time.Duration(t.cfg.For), func() {
		t.pending = nil
		for _, u := range t.untils {
			if s.lasted(u) || u.source != t.source && u.wait == 0 && s.reached(u) {
				t.truth = false
				return
			}
		}
		s.watchEnd(t)
		t.fire(nil)
	})
}

func (s *second) cancel(t *secondTrigger) {
	s.drop(t.pending)
	t.pending, t.truth = nil, false
}

// lasted reports whether an until on another source has been there for as long as it
// asks.
func (s *second) lasted(u *secondUntil) bool { return u.lasts != nil && s.now-*u.lasts >= u.wait }

// watchEnd lets the for of each until begin, where its level is there already.
func (s *second) watchEnd(t *secondTrigger) {
	for _, u := range t.untils {
		s.drop(u.alarm)
		u.alarm, u.past = nil, false
		if u.wait > 0 && s.reached(u) {
			s.sees(t, u, true, nil)
		}
	}
}

// sees is an until whose level has come or gone.
func (s *second) sees(t *secondTrigger, u *secondUntil, level bool, r *devices.Reading) {
	switch {
	case t.pending != nil && level && u.wait == 0:
		s.cancel(t)
	case !t.truth && t.episode == nil || t.pending != nil:
	case u.wait == 0 && level:
		s.ends(t, r)
	case u.wait == 0:
	case !level:
		s.drop(u.alarm)
		u.alarm, u.past = nil, false
	case u.alarm == nil && !u.past:
		wait := u.wait
		if u.lasts != nil {
			wait = max(0, *u.lasts+u.wait-s.now)
		}
		u.alarm = s.after(wait, func() {
			u.alarm, u.past = nil, true
			s.ends(t, nil)
		})
	}
}

// ends is the end of what a trigger began, if it may end yet.
func (s *second) ends(t *secondTrigger, r *devices.Reading) {
	ep := t.episode
	if ep != nil && ep.held {
		return // looked at again then
	}
	t.truth = false
	for _, u := range t.untils {
		s.drop(u.alarm)
		u.alarm, u.past = nil, false
	}
	if ep != nil {
		t.episode = nil
		ep.end(r)
	}
}

// --- rules ---

type secondRule struct {
	name      string
	params    map[string]any
	body      rules.RuleBody
	captures  []string
	instances []*secondInstance
}

// A secondInstance is a rule for one value of its captures, or a machine.
type secondInstance struct {
	rule     *secondRule
	captured map[string]string
	triggers []*secondTrigger
	waits    []*secondTrigger // of runs
	runs     []*secondRun     // one-shot ones that are going
	queue    []*secondScene
	cool     time.Duration // until when triggers are ignored
}

// A secondScene is what a run knows of how it began.
type secondScene struct {
	inst     *secondInstance
	trigger  *secondTrigger
	reading  *devices.Reading
	params   map[string]any
	n        int
	timedOut bool
}

// A secondEpisode lasts from a begin to its end.
type secondEpisode struct {
	held bool // by its min_on
	runs []*secondRun
	gap  *alarm
	end  func(r *devices.Reading)
}

type secondRun struct {
	number int // the older is looked at first
	inst   *secondInstance
	scene  *secondScene
	over   bool
	alarm  []*alarm
	waits  []*secondTrigger
	owed   []*secondOwed
	taken  []*secondOwed // from a run that it took the place of
	ended  func()
}

// A secondOwed is the off of a pulse.
type secondOwed struct {
	target string
	send   func()
}

func (s *second) addRule(name string, e rules.Entry[rules.RuleBody]) {
	r := &secondRule{name: name, params: e.Params, body: e.Body}
	if e.Body.Enabled != nil && !*e.Body.Enabled {
		return
	}
	for _, t := range e.Body.Trigger {
		if src, err := devices.ParseSource(t.State + t.Event); err == nil && len(src.Captures()) > 0 {
			r.captures = src.Captures()
		}
	}
	s.rules = append(s.rules, r)
	if len(r.captures) == 0 {
		s.instance(r, map[string]string{})
	}
}

func (s *second) instance(r *secondRule, captured map[string]string) *secondInstance {
	inst := &secondInstance{rule: r, captured: captured}
	for i, cfg := range r.body.Trigger {
		t := newTrigger(s, cfg, inst, i+1)
		t.fire = func(in *devices.Reading) { s.fired(t, in) }
		inst.triggers = append(inst.triggers, t)
	}
	r.instances = append(r.instances, inst)
	return inst
}

// concerned is the instances of a rule that look at a reading; one with new
// captures is made for it.
func (s *second) concerned(r *secondRule, in devices.Reading) []*secondInstance {
	if len(r.captures) == 0 || in.Captured == nil {
		return r.instances
	}
	looks := false
	for _, t := range r.body.Trigger {
		looks = looks || canonical(t.State+t.Event) == written(in)
	}
	src, _ := devices.ParseSource(in.Captured.Source)
	captured := map[string]string{}
	for i, name := range src.Captures() {
		captured[name] = in.Captured.Values[i]
	}
	for _, inst := range r.instances {
		if fmt.Sprint(inst.captured) == fmt.Sprint(captured) {
			return []*secondInstance{inst}
		}
	}
	if !looks {
		return nil
	}
	return []*secondInstance{s.instance(r, captured)}
}

// hasOff reports whether anything is to be sent at the end.
func (r *secondRule) hasOff() bool { return len(offs(r.body.Action)) > 0 }

func offs(list rules.Actions) []rules.Action {
	var all []rules.Action
	for _, e := range list {
		if e.Body.Off != nil && e.Body.Pulse == "" {
			all = append(all, e.Body)
		}
	}
	return all
}

func (r *secondRule) episodic() bool {
	until := slices.ContainsFunc(r.body.Trigger, func(t rules.Trigger) bool { return len(t.Until) > 0 })
	return until || r.lasts()
}

// lasts reports whether an episode goes on when its run is over, also that of a
// trigger without truth.
func (r *secondRule) lasts() bool {
	return r.hasOff() || len(r.body.Done) > 0 || len(r.body.Repeat) > 0
}

// fired is a trigger that fires: from here on it is the rule's affair.
func (s *second) fired(t *secondTrigger, in *devices.Reading) {
	inst := t.inst
	r := inst.rule
	if in == nil && t.source != "" && (t.cfg.Silent == 0 || t.cfg.For > 0) { // what is silent has no value
		if last, ok := s.last(t.source); ok {
			in = &last
		} else if v, ok := s.value(t.source); ok { // the default of a calc
			in = &devices.Reading{Source: t.source, Value: v, Text: devices.Text(v)}
		}
	}
	scene := &secondScene{inst: inst, trigger: t, reading: in, params: r.params, n: 1}
	if t.episode != nil || s.now < inst.cool || !s.all(scene, r.body.Condition) {
		return // between begin and end nothing fires
	}
	if r.episodic() {
		s.cooldown(inst)
		s.begin(t, scene)
		return
	}
	limit := r.body.Max
	if limit == 0 {
		limit = 10
	}
	switch {
	case len(inst.runs) == 0:
		s.launch(scene, nil)
	case r.body.Mode == "restart":
		var owed []*secondOwed
		for _, old := range slices.Clone(inst.runs) {
			owed = append(owed, old.owed...)
			old.owed = nil
			s.stop(old)
		}
		inst.runs = nil
		s.launch(scene, owed)
	case r.body.Mode == "queued":
		if len(inst.runs)+len(inst.queue) < limit {
			inst.queue = append(inst.queue, scene)
		}
	case r.body.Mode == "parallel":
		if len(inst.runs) < limit {
			s.launch(scene, nil)
		}
	}
}

func (s *second) cooldown(inst *secondInstance) {
	switch c := inst.rule.body.Cooldown; {
	case c.Day:
		inst.cool = calendar.Midnight(s.wall()).Sub(s.epoch)
	case c.For > 0:
		inst.cool = s.now + time.Duration(c.For)
	}
}

// launch starts a one-shot run. What it takes over from an old one and does not
// pulse itself goes off.
func (s *second) launch(scene *secondScene, owed []*secondOwed) {
	inst := scene.inst
	s.cooldown(inst)
	run := &secondRun{number: s.number(), inst: inst, scene: scene}
	run.ended = func() {
		inst.runs = slices.DeleteFunc(inst.runs, func(r *secondRun) bool { return r == run })
		if len(inst.runs) == 0 && len(inst.queue) > 0 {
			next := inst.queue[0]
			inst.queue = inst.queue[1:]
			s.launch(next, nil)
		}
	}
	inst.runs = append(inst.runs, run)
	run.taken = owed
	before, levels := len(s.said), maps.Clone(s.level)
	s.act(run)
	// What is not taken over goes off before all that the new run does.
	said := slices.Clone(s.said[before:])
	after := s.level
	s.said, s.level = s.said[:before], levels
	for _, o := range run.taken {
		o.send()
	}
	run.taken = nil
	for _, text := range said {
		if target := strings.Fields(text)[1]; slices.Contains(s.outputs, target) {
			s.level[target] = after[target]
		}
	}
	s.said = append(s.said, said...)
}

// act runs the action, or the first choice that fits.
func (s *second) act(run *secondRun) {
	body := run.inst.rule.body
	over := func() { s.over(run) }
	if len(body.Choose) > 0 {
		s.choose(run, body.Choose, over)
		return
	}
	s.list(run, body.Action, run.inst.rule.params, over)
}

// over is a run that has come to its end.
func (s *second) over(run *secondRun) {
	if run.over {
		return
	}
	s.stop(run)
	if run.ended != nil {
		run.ended()
	}
}

// stop cancels what is left of a run; what it owes is sent.
func (s *second) stop(run *secondRun) {
	run.over = true
	for _, a := range run.alarm {
		s.drop(a)
	}
	s.unwait(run, run.waits)
	owed := run.owed
	run.owed = nil
	for _, o := range owed {
		o.send()
	}
}

func (s *second) unwait(run *secondRun, waits []*secondTrigger) {
	for _, t := range waits {
		s.drop(t.pending)
		s.drop(t.silence)
		run.inst.waits = slices.DeleteFunc(run.inst.waits, func(w *secondTrigger) bool { return w == t })
	}
}

// begin is the begin of an episode.
func (s *second) begin(t *secondTrigger, scene *secondScene) {
	body := t.inst.rule.body
	ep := &secondEpisode{held: t.cfg.MinOn > 0}
	t.episode = ep
	for _, u := range t.untils {
		if u.test.Silent > 0 && !u.absent && u.quiet == nil { // long silent: from now on it counts
			s.drop(u.alarm)
			u.alarm = nil
			s.hush(t, u, s.now)
		}
	}
	if !t.tested() {
		s.watchEnd(t)
	}
	ep.end = func(r *devices.Reading) {
		s.drop(ep.gap)
		for _, run := range ep.runs {
			if !run.over {
				s.stop(run)
			}
		}
		last := *scene
		if r != nil {
			last.reading = r
		}
		for _, a := range offs(body.Action) {
			s.send(&last, a, a.Off)
		}
		if len(body.Done) > 0 {
			run := &secondRun{number: s.number(), inst: t.inst, scene: &last}
			s.list(run, body.Done, t.inst.rule.params, func() { s.over(run) })
		}
	}
	if t.cfg.MinOn > 0 {
		s.after(time.Duration(t.cfg.MinOn), func() {
			ep.held = false
			if t.episode != ep {
				return
			}
			for _, u := range t.untils {
				if u.past || u.alarm != nil && u.alarm.at <= s.now || u.wait == 0 && s.reached(u) {
					s.ends(t, nil)
					return
				}
			}
		})
	}
	start := s.now
	run := func(scene *secondScene) {
		run := &secondRun{number: s.number(), inst: t.inst, scene: scene}
		run.ended = func() {
			if t.episode == ep && !t.tested() && !t.inst.rule.lasts() {
				t.episode = nil
				for _, u := range t.untils {
					s.drop(u.alarm)
					u.alarm, u.past = nil, false
				}
			}
		}
		ep.runs = append(ep.runs, run)
		s.act(run)
	}
	var again func()
	n, due := 1, start
	schedule := func() {
		if len(body.Repeat) == 0 || body.Times > 0 && n >= body.Times {
			return
		}
		for gap := n; ; gap++ {
			due += time.Duration(body.Repeat[min(gap, len(body.Repeat))-1].Duration)
			if due > s.now {
				break
			}
		}
		ep.gap = s.at(due, again)
	}
	again = func() {
		n++
		next := *scene
		next.n = n
		schedule()
		run(&next)
	}
	schedule()
	run(scene)
}

// --- actions ---

func (s *second) list(run *secondRun, list rules.Actions, params map[string]any, then func()) {
	if run.over {
		return
	}
	if len(list) == 0 {
		then()
		return
	}
	one, rest := list[0], list[1:]
	with := params
	if one.Params != nil {
		with = map[string]any{}
		for k, v := range params {
			with[k] = v
		}
		for k, v := range one.Params {
			with[k] = v
		}
	}
	do := func() {
		s.one(run, one.Body, with, func() { s.list(run, rest, params, then) })
	}
	if one.Number > 0 && one.Body.Gap > 0 {
		s.pause(run, time.Duration(one.Body.Gap), do)
		return
	}
	do()
}

func (s *second) pause(run *secondRun, d time.Duration, then func()) {
	run.alarm = append(run.alarm, s.after(d, then))
}

func (s *second) choose(run *secondRun, choices []rules.Choice, then func()) {
	for _, c := range choices {
		if s.all(run.scene, c.If) {
			s.list(run, c.Do, run.scene.params, then)
			return
		}
	}
	then()
}

func (s *second) one(run *secondRun, a rules.Action, params map[string]any, then func()) {
	scene := run.scene
	keep := scene.params
	scene.params = params
	back := func() {
		scene.params = keep
		then()
	}
	if !s.all(scene, a.If) {
		back()
		return
	}
	switch {
	case len(a.Set) > 0:
		v := a.To
		if a.On != nil {
			v = a.On
		}
		s.send(scene, a, v)
		back()
	case a.Publish != "":
		v := a.Payload
		if a.On != nil {
			v = a.On
		}
		s.send(scene, a, v)
		back()
	case a.Pulse != "":
		on, off := any(true), any(false)
		if a.To != nil {
			on = a.To
		}
		if a.On != nil {
			on = a.On
		}
		if a.Off != nil {
			off = a.Off
		}
		target, _ := s.text(scene, a.Pulse)
		s.tell(target, on, false)
		run.taken = slices.DeleteFunc(run.taken, func(o *secondOwed) bool { return o.target == target })
		o := &secondOwed{target: target}
		if slices.Contains(s.outputs, target) {
			s.pulses[target] = o
		}
		o.send = func() {
			if !slices.Contains(s.outputs, target) || s.pulses[target] == o { // else it was told something newer
				s.tell(target, off, false)
			}
		}
		run.owed = append(run.owed, o)
		s.pause(run, time.Duration(a.For.Fixed), func() {
			run.owed = slices.DeleteFunc(run.owed, func(p *secondOwed) bool { return p == o })
			o.send()
			back()
		})
	case a.Delay.Fixed > 0:
		s.pause(run, time.Duration(a.Delay.Fixed), back)
	case len(a.Wait) > 0:
		s.wait(run, a, back)
	case len(a.Do) > 0 && len(a.While) > 0:
		var again func()
		again = func() {
			if !s.all(scene, a.While) {
				back()
				return
			}
			s.list(run, a.Do, params, func() { s.pause(run, time.Duration(a.Gap), again) })
		}
		again()
	case len(a.Do) > 0:
		left := max(1, a.Times)
		var again func()
		again = func() {
			s.list(run, a.Do, params, func() {
				left--
				switch {
				case left == 0:
					back()
				case a.Gap > 0:
					s.pause(run, time.Duration(a.Gap), again)
				default:
					again()
				}
			})
		}
		again()
	case len(a.Choose) > 0:
		s.choose(run, a.Choose, back)
	case len(a.Parallel) > 0:
		left := len(a.Parallel)
		for _, branch := range a.Parallel {
			s.list(run, branch, params, func() {
				if left--; left == 0 {
					back()
				}
			})
		}
	case a.Stop:
		s.over(run)
	}
}

// wait lets the run go on when one of the triggers fires.
func (s *second) wait(run *secondRun, a rules.Action, then func()) {
	scene := run.scene
	scene.timedOut = false
	var waits []*secondTrigger
	var timeout *alarm
	goOn := func() {
		s.unwait(run, waits)
		s.drop(timeout)
		then()
	}
	for i, cfg := range a.Wait {
		t := newTrigger(s, cfg, run.inst, i+1)
		t.run = run
		t.fire = func(r *devices.Reading) {
			if r != nil {
				scene.reading = r // from here on the value is what was waited for
			}
			goOn()
		}
		waits = append(waits, t)
	}
	for _, t := range waits {
		if _, ok := s.held(t.source, t.cfg.Test); ok && t.tested() && t.cfg.For == 0 {
			s.drop(timeout) // it is so already
			then()
			return
		}
	}
	run.waits = append(run.waits, waits...)
	run.inst.waits = append(run.inst.waits, waits...)
	if a.Timeout > 0 {
		timeout = s.after(time.Duration(a.Timeout), func() {
			scene.timedOut = true
			goOn()
		})
		run.alarm = append(run.alarm, timeout)
	}
}

// send is a set or publish with what it sends.
func (s *second) send(scene *secondScene, a rules.Action, v any) {
	if a.Publish != "" {
		topic, ok := s.text(scene, a.Publish)
		if !ok {
			return
		}
		payload, ok := s.payload(scene, a, v)
		if !ok || a.Changed && s.sentSame(topic, payload) {
			return
		}
		s.publish(topic, payload, a.Retain)
		return
	}
	for _, target := range a.Set {
		target, _ = s.text(scene, target)
		to := v
		if a.Value != "" && a.On == nil {
			x, err := s.compute(scene, a.Value)
			if err != nil {
				continue
			}
			to = x
		}
		if slices.Contains(s.outputs, target) {
			old, known := s.level[target]
			to, ok := plainNumber(to), true
			switch level, number := to.(float64); {
			case to == "toggle":
				to = old == 0
			case a.Step != nil:
				if ok = known; ok {
					to = min(100, max(0, old+*a.Step))
				}
			case number && target == "glow":
				to = min(100, max(0, level))
			default:
				to, ok = devices.Bool(to)
			}
			level, number := to.(float64)
			if !ok || a.Changed && known && (number && level == old || !number && to == (old > 0)) {
				continue
			}
			s.tell(target, to, false)
			continue
		}
		if text, isText := to.(string); isText && a.Value == "" {
			to, _ = s.text(scene, text)
		}
		s.setVariable(target, plainNumber(to), a.Changed)
	}
}

func (s *second) sentSame(topic, payload string) bool {
	last, ok := s.sent[topic]
	return ok && last == payload
}

func plainNumber(v any) any {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v
}

func (s *second) setVariable(name string, v any, changed bool) {
	old := s.vars[name]
	if same(old, v) && changed {
		return
	}
	s.vars[name] = v
	if cfg, _ := s.cfg.Variable.Get(name); cfg.Topic != "" && !same(old, v) {
		s.publish(cfg.Topic, devices.Text(v), true)
	}
	s.derive(name, v)
}

// tell is a command to an output or, for a pulse, to a topic.
func (s *second) tell(target string, v any, retain bool) {
	if !slices.Contains(s.outputs, target) {
		s.publish(target, devices.Text(v), retain)
		return
	}
	delete(s.pulses, target)
	v = plainNumber(v)
	if target != "glow" {
		v, _ = devices.Bool(v)
	}
	s.level[target] = levelOf(v)
	s.say(devices.Command{Output: target, Value: v})
}

// levelOf is what an output that is told v gets.
func levelOf(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case bool:
		if v {
			return 100
		}
	}
	return 0
}

func (s *second) publish(topic, payload string, retain bool) {
	s.sent[topic] = payload
	s.say(devices.Command{Topic: topic, Payload: payload, Retain: retain})
}

func (s *second) say(c devices.Command) { s.said = append(s.said, sayCommand(s.now, c)) }

func sayCommand(at time.Duration, c devices.Command) string {
	text := fmt.Sprintf("%v %s", at, c)
	if c.Retain {
		text += " (retained)"
	}
	return text
}

// --- conditions ---

func (s *second) all(scene *secondScene, list []rules.Condition) bool {
	for _, c := range list {
		if !s.holds(scene, c) {
			return false
		}
	}
	return true
}

func (s *second) holds(scene *secondScene, c rules.Condition) bool {
	if c.Formula != "" {
		v, err := s.compute(scene, c.Formula)
		return err == nil && v == true
	}
	for source, want := range c.State {
		if !s.wanted(scene, source, want) {
			return false
		}
	}
	if c.Time.Set() && !c.Time.Holds(s.wall()) {
		return false
	}
	if c.Days != 0 && !c.Days.Holds(s.wall().Weekday()) {
		return false
	}
	if len(c.Trigger) > 0 && !slices.Contains(c.Trigger, scene.trigger.id) {
		return false
	}
	if !asksNothing(c.Test) {
		if scene.reading == nil {
			return false
		}
		if pass, fit := passes(c.Test, *scene.reading); !pass || !fit {
			return false
		}
	}
	if len(c.Any) > 0 && !slices.ContainsFunc(c.Any, func(one rules.Condition) bool { return s.holds(scene, one) }) {
		return false
	}
	return c.Not == nil || !s.holds(scene, *c.Not)
}

func (s *second) wanted(scene *secondScene, source string, want rules.Want) bool {
	k := scene.inst.keyOf(source)
	if v, ok := s.value(k); ok && len(s.past[k]) == 0 { // a variable, machine or calc that has only its first value
		if want.Within > 0 || want.For > 0 {
			return false
		}
		pass, fit := passes(want.Test, devices.Reading{Value: v, Text: devices.Text(v)})
		return pass && fit
	}
	last, ok := s.last(k)
	if want.Silent > 0 && s.now-s.silentSince(k) < time.Duration(want.Silent) {
		return false
	}
	if !asksNothing(want.Test) || want.Within > 0 {
		if !ok {
			return false
		}
		if pass, fit := passes(want.Test, last); !pass || !fit {
			return false
		}
	}
	if want.Within > 0 && (last.Origin.By == "found" || s.now-last.At.Mono > time.Duration(want.Within)) {
		return false // what a variable had at the first start nobody reported
	}
	if want.For > 0 {
		since, ok := s.held(k, want.Test)
		if !ok || s.now-since < time.Duration(want.For) {
			return false
		}
	}
	return true
}

// --- texts and expressions ---

// value is what a name of the house stands for.
func (s *second) value(name string) (any, bool) {
	if v, ok := s.vars[name]; ok {
		return v, v != nil
	}
	for _, m := range s.machines {
		if m.name == name {
			return m.state, true
		}
	}
	if r, ok := s.last(name); ok {
		return r.Value, true
	}
	for _, c := range s.calcs {
		if c.name == name {
			return plainNumber(c.cfg.Default), c.cfg.Default != nil
		}
	}
	return nil, false
}

// A secondView is what an expression sees.
type secondView struct {
	s     *second
	scene *secondScene
	extra map[string]any
}

func (v secondView) Value(name string) (any, bool) {
	if x, ok := v.extra[name]; ok {
		return x, true
	}
	if v.scene != nil {
		if x, ok := v.scene.params[name]; ok {
			return x, true
		}
		if x, ok := v.scene.inst.captured[name]; ok {
			return x, true
		}
		r := v.scene.reading
		switch name {
		case "n":
			return float64(v.scene.n), true
		case "timed_out":
			return v.scene.timedOut, true
		case "trigger":
			return v.scene.trigger.id, true
		case "value", "old", "topic":
			if r == nil {
				return nil, false
			}
			x := map[string]any{"value": r.Value, "old": r.Old, "topic": r.Topic}[name]
			return x, x != nil && x != ""
		}
	}
	return v.s.value(name)
}
func (v secondView) Property(string, string) (any, bool) { return nil, false }
func (v secondView) State(source string) (any, bool) {
	r, ok := v.s.last(canonical(source))
	return r.Value, ok
}
func (v secondView) Age(source string) (float64, bool) {
	r, ok := v.s.last(canonical(source))
	return (v.s.now - r.At.Mono).Seconds(), ok
}
func (v secondView) Secret(string) (string, bool) { return "", false }

// scope knows every name, of any type.
func (v secondView) scope() formula.Scope {
	names := map[string]formula.Type{}
	for _, list := range [][]string{{"value", "old", "topic", "n", "timed_out", "trigger", "item", "readings", "members"},
		v.s.outputs, {"pir", "button"}, v.s.cfg.Variable.Names(), v.s.cfg.Calc.Names(), v.s.cfg.Machine.Names()} {
		for _, name := range list {
			names[name] = formula.Any
		}
	}
	if v.scene != nil {
		for name := range v.scene.params {
			names[name] = formula.Any
		}
		for name := range v.scene.inst.captured {
			names[name] = formula.Any
		}
	}
	return formula.Scope{Names: names}
}

func (s *second) compute(scene *secondScene, text string) (any, error) {
	return s.eval(secondView{s, scene, nil}, text)
}

func (s *second) eval(v secondView, text string) (any, error) {
	f, err := formula.Compile(text, v.scope(), formula.Any)
	if err != nil {
		panic(text + ": " + err.Error())
	}
	return f.Eval(v)
}

// text fills the holes.
func (s *second) text(scene *secondScene, text string) (string, bool) {
	v := secondView{s, scene, nil}
	t, err := formula.CompileText(text, v.scope())
	if err != nil {
		panic(text + ": " + err.Error())
	}
	out, err := t.Text(v)
	return out, err == nil
}

func (s *second) payload(scene *secondScene, a rules.Action, v any) (string, bool) {
	if a.Value != "" && a.On == nil {
		x, err := s.compute(scene, a.Value)
		if err != nil {
			return "", false
		}
		if b, ok := x.(bool); ok {
			return devices.Text(b), true
		}
		return formula.Print(x), true
	}
	switch v := v.(type) {
	case string:
		return s.text(scene, v)
	case map[string]any:
		filled := map[string]any{}
		for k, e := range v {
			if text, ok := e.(string); ok {
				e, ok = s.text(scene, text)
				if !ok {
					return "", false
				}
			}
			filled[k] = e
		}
		b, _ := json.Marshal(filled)
		return string(b), true
	}
	return devices.Text(v), true
}

// --- links ---

type secondLink struct {
	name    string
	cfg     rules.Link
	carried any
}

func (s *second) carry(l *secondLink, r devices.Reading) {
	if written(r) != canonical(l.cfg.From) || r.Bad != "" || l.cfg.Enabled != nil && !*l.cfg.Enabled {
		return
	}
	var v any
	switch l.cfg.Type {
	case "", "boolean":
		on, ok := devices.Bool(r.Value)
		if !ok {
			return
		}
		v = on != l.cfg.Invert
	case "number":
		f, ok := r.Value.(float64)
		if !ok {
			return
		}
		if l.cfg.Invert {
			f = 0 - f
		}
		v = f
	case "text":
		text, ok := r.Value.(string)
		if !ok {
			return
		}
		v = text
	}
	old := l.carried
	l.carried = v
	if l.cfg.Changed && old != nil && same(old, v) || r.Initial && !l.cfg.Retained {
		return
	}
	if _, ok := s.vars[l.cfg.To]; ok {
		s.setVariable(l.cfg.To, v, false)
		return
	}
	s.tell(l.cfg.To, v, l.cfg.Retain)
}

// --- calcs ---

type secondCalc struct {
	name  string
	cfg   rules.Calc
	batch []any
}

func (s *second) addCalc(name string, cfg rules.Calc) {
	s.calcs = append(s.calcs, &secondCalc{name: name, cfg: cfg})
}

// fill lets the time of a batch begin.
func (s *second) fill(c *secondCalc) {
	if c.cfg.Batch.For == 0 {
		return
	}
	s.after(time.Duration(c.cfg.Batch.For), func() {
		s.fill(c)
		batch := c.batch
		c.batch = nil
		if out, ok := s.result(c, batch, nil); ok {
			out.At = s.moment()
			out.Text = devices.Text(out.Value)
			s.fresh = append(s.fresh, s.note(out))
		}
	})
}

func (c *secondCalc) fits(r devices.Reading) bool {
	if r.Bad != "" {
		return false
	}
	switch r.Value.(type) {
	case float64:
		return c.cfg.Type == "" || c.cfg.Type == "number"
	case bool:
		return c.cfg.Type == "" || c.cfg.Type == "boolean"
	case string:
		if _, ok := devices.Bool(r.Value); ok && c.cfg.Type == "boolean" {
			return true
		}
		return c.cfg.Type == "" || c.cfg.Type == "text"
	}
	return c.cfg.Type == ""
}

// read is a reading that may make a calc compute.
func (s *second) read(c *secondCalc, r devices.Reading) (devices.Reading, bool) {
	mine := slices.ContainsFunc(c.cfg.Of, func(of string) bool { return canonical(of) == written(r) })
	if !mine || !c.fits(r) {
		return devices.Reading{}, false
	}
	var list []any
	members := map[string]any{}
	switch {
	case r.Initial && (c.cfg.Batch.For > 0 || c.cfg.Batch.Count > 0 || s.again && (c.cfg.Window.For > 0 || c.cfg.Window.Count > 0)):
		return devices.Reading{}, false // a batch is of what comes, and a window has it already
	case c.cfg.Batch.For > 0:
		c.batch = append(c.batch, r.Value)
		return devices.Reading{}, false
	case c.cfg.Batch.Count > 0:
		if c.batch = append(c.batch, r.Value); len(c.batch) < c.cfg.Batch.Count {
			return devices.Reading{}, false
		}
		list, c.batch = c.batch, nil
	case c.cfg.Window.For > 0 || c.cfg.Window.Count > 0:
		for _, p := range s.past[key(r)] {
			if c.fits(p) && p.Origin.By != "found again" && (c.cfg.Window.For == 0 || r.At.Mono-p.At.Mono <= time.Duration(c.cfg.Window.For)) {
				list = append(list, p.Value)
			}
		}
		if n := c.cfg.Window.Count; n > 0 && len(list) > n {
			list = list[len(list)-n:]
		}
	default:
		for _, of := range c.cfg.Of {
			newest := map[string]devices.Reading{} // by topic
			for _, past := range s.past {
				for _, p := range past {
					if written(p) != canonical(of) || !c.fits(p) {
						continue
					}
					member := p.Source
					if strings.ContainsAny(of, "+#{") {
						member = p.Topic
					}
					if old, ok := newest[member]; !ok || p.At.Mono >= old.At.Mono {
						newest[member] = p
					}
				}
			}
			if len(newest) == 0 && !strings.ContainsAny(of, "+#{") {
				return devices.Reading{}, false
			}
			for member, p := range newest {
				if c.cfg.MaxAge == 0 || r.At.Mono-p.At.Mono <= time.Duration(c.cfg.MaxAge) {
					list = append(list, p.Value)
					members[member] = p.Value
				}
			}
		}
	}
	out, ok := s.result(c, list, members)
	out.At, out.Initial = r.At, r.Initial
	out.Text = devices.Text(out.Value)
	return out, ok
}

func (s *second) result(c *secondCalc, list []any, members map[string]any) (devices.Reading, bool) {
	if len(list) == 0 {
		return devices.Reading{}, false
	}
	v, err := s.eval(secondView{s, nil, map[string]any{"readings": list, "members": members}}, c.cfg.Value)
	if err != nil {
		return devices.Reading{}, false
	}
	return devices.Reading{Source: c.name, Value: v}, true
}

// --- machines ---

type secondMachine struct {
	name     string
	body     rules.MachineBody
	state    string
	triggers []*secondTrigger // of all moves, in their order
	afters   []*alarm
	moved    *devices.Message // the last message that moved it
	step     int              // and the step
	inst     *secondInstance
}

func (s *second) addMachine(name string, e rules.Entry[rules.MachineBody]) {
	m := &secondMachine{name: name, body: e.Body, state: e.Body.Initial}
	m.inst = &secondInstance{captured: map[string]string{}}
	s.machines = append(s.machines, m)
	number := 0
	for _, move := range e.Body.Moves {
		for _, cfg := range move.On {
			number++
			t := newTrigger(s, cfg, m.inst, number)
			t.fire = func(in *devices.Reading) {
				if in == nil {
					if last, ok := s.last(t.source); ok {
						in = &last
					}
				}
				if in != nil && (in.Message != nil && in.Message == m.moved || m.step == s.steps) {
					return
				}
				if s.move(m, move, t, in) && in != nil {
					m.moved, m.step = in.Message, s.steps
				}
			}
			m.triggers = append(m.triggers, t)
		}
	}
}

func (s *second) enter(m *secondMachine, state string) {
	m.state = state
	for _, a := range m.afters {
		s.drop(a)
	}
	m.afters = nil
	for _, move := range m.body.Moves {
		if move.After > 0 && fits(move, state) {
			m.afters = append(m.afters, s.after(time.Duration(move.After), func() { s.move(m, move, nil, nil) }))
		}
	}
}

func fits(move rules.Move, state string) bool {
	return slices.Contains(move.From, state) || slices.Contains(move.From, "*") && move.To != state
}

func (s *second) move(m *secondMachine, move rules.Move, t *secondTrigger, in *devices.Reading) bool {
	scene := &secondScene{inst: m.inst, trigger: t, reading: in, n: 1}
	if t == nil {
		scene.trigger = &secondTrigger{}
	}
	if !fits(move, m.state) || !s.all(scene, move.If) {
		return false
	}
	old := m.state
	s.enter(m, move.To)
	if m.body.Topic != "" && old != move.To {
		s.publish(m.body.Topic, move.To, true)
	}
	if old != move.To {
		s.derive(m.name, move.To)
	}
	run := &secondRun{number: s.number(), inst: m.inst, scene: scene}
	s.list(run, move.Do, nil, func() { s.over(run) })
	return true
}

// advanceTo stops at each deadline on the way, so that outputs can report.
func (s *second) advanceTo(t time.Duration, stop func()) {
	for {
		next := t
		for _, a := range s.alarm {
			next = min(next, max(a.at, s.now))
		}
		s.advance(next)
		stop()
		if next == t {
			return
		}
	}
}
