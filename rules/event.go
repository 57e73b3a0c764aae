package rules

import (
	"maps"
	"slices"

	"hearth/devices"
)

// An Event is one thing that happens to the rules. All that moves an engine, and the
// registry of values that it reads, goes through [Engine.Take] as one of these; so
// whoever keeps them can let it all happen again, with the same decisions.
type Event struct {
	At   devices.Now
	Kind EventKind

	// Readings is what was reported at one time (Report), what is known by now though it
	// was never reported to these rules (Begin), or the message that asks (Ask).
	Readings []devices.Reading `json:",omitempty"`

	Name   string      `json:",omitempty"` // Enable: a rule; Ask: a machine; Tell, Refuse: an output; Post: a path; Answer: a request's ID; Forget: a source
	On     bool        `json:",omitempty"` // Enable
	Value  any         `json:",omitempty"` // Tell
	Text   string      `json:",omitempty"` // Ask: the state asked for; Answer: why there is no answer; Enable: who did it
	Status int         `json:",omitempty"` // Answer: of HTTP; 0 if there is none
	Body   []byte      `json:",omitempty"` // Post
	State  *Checkpoint `json:",omitempty"` // Open, Reload, Current: what the engine begins with
}

// An EventKind says what happens.
type EventKind string

// The kinds of events. A life of the hub is Open, what is found (Report), Begin, Resume,
// and then the others. At Open, Reload and Current a new engine takes the event: at Reload
// it keeps the registry, at the other two that is new too.
const (
	Report  EventKind = "report"  // sources have reported
	Pass    EventKind = "pass"    // time has passed, and something is due
	Open    EventKind = "open"    // the hub starts, with what the last life left
	Begin   EventKind = "begin"   // all that is there at the start, or at a reload, has been found
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

// Begins reports whether an engine that is new, with a registry that is, can take it up here:
// the event has all of where things stood. That of a Reload has not, for the registry stays.
func (ev Event) Begins() bool { return ev.State != nil && ev.Kind != Reload }

// Take lets one thing happen, and returns what is decided because of it, in order. It is
// the one door: an engine that is moved by nothing else, with a registry that nobody else
// writes to, decides the same whenever it takes the same events, as the same bits.
//
// A running engine may leave Current out; one that is new begins with it in place of Open.
// Pass is needed only where [Engine.Due] says so.
func (e *Engine) Take(ev Event) []Decision {
	if ev.State == nil { // a recording may be anybody's
		ev.State = new(Checkpoint)
	}
	switch ev.Kind {
	case Report:
		return e.reported(ev.Readings)
	case Pass:
		return e.Advance(ev.At)
	case Open, Reload:
		for _, r := range ev.State.Readings {
			e.registry.Apply(r)
		}
		e.numbered, e.reloading = ev.State.Decided, ev.Kind == Reload
		return e.Restore(ev.State.States, ev.At, ev.State.Boot)
	case Current:
		if e.booted || e.restoring || ev.State.Exact == nil {
			return nil
		}
		return e.continueAt(ev.State, ev.At)
	case Begin:
		for _, r := range ev.Readings {
			e.registry.Apply(r)
		}
		if e.reloading {
			return e.Reload(ev.At)
		}
		return e.Start(ev.At)
	case Resume:
		return e.Resume(ev.At)
	case Enable:
		ds, _ := e.Enable(ev.Name, ev.On, ev.Text, ev.At)
		return ds
	case Ask:
		if len(ev.Readings) == 0 {
			return nil
		}
		ds, _ := e.Move(ev.Name, ev.Text, ev.Readings[0], ev.At)
		return ds
	case Tell:
		e.Told(ev.Name, ev.Value)
	case Refuse:
		e.registry.Reported(ev.Name)
	case Post:
		return e.Webhook(ev.Name, ev.Body, ev.At)
	case Answer:
		return e.Answer(ev.Name, ev.Status, ev.Text, ev.At)
	case Forget:
		e.registry.Forget(ev.Name)
	}
	return nil
}

// reported is what was reported at one time, end to end: all of it is known before
// anything follows from a part of it, so that a motion is judged by the brightness that
// the sensor measured with it. What was due before is done first.
func (e *Engine) reported(all []devices.Reading) (ds []Decision) {
	if len(all) > 1 && !all[0].Initial {
		ds = e.Advance(all[0].At)
	}
	for _, r := range all {
		if r.Event {
			continue // there is no last value of it to be found later
		}
		if e.registry.Apply(r); r.Gone {
			e.registry.Forget(r.Source)
		}
	}
	e.reports++
	for _, r := range all {
		if r.Gone && r.Bad == "" {
			r.Bad = "nothing is known of it" // so it begins nothing
		}
		if more := e.receive(r); ds == nil {
			ds = more
		} else {
			ds = append(ds, more...)
		}
	}
	return ds
}

// Due reports whether the passing of time until now matters: a deadline is over, or the
// wall clock has become known or was set. Where it is false Advance does nothing at all.
func (e *Engine) Due(now devices.Now) bool {
	if next, ok := e.timers.next(); ok && next <= now.Mono || len(e.queue) > 0 {
		return true
	}
	return now.Known && (!e.known || e.started && e.clockSet(now))
}

// ReadsMessage reports whether some expression may look at the whole message of which a
// reading is a part. The others need not carry theirs.
func (e *Engine) ReadsMessage(r devices.Reading) bool {
	w := e.watch[watched(&r)]
	return w != nil && w.messages
}

// Masked is an event as it may be kept: without secrets, and what is compared with one. To
// let it happen again with that left out is not the same.
func (e *Engine) Masked(ev Event) Event {
	ev.Readings = e.masked(ev.Readings)
	if ev.Kind == Post && e.hidden[hook(ev.Name)] {
		ev.Body = []byte("***")
	}
	if ev.State == nil {
		return ev
	}
	cp := *ev.State
	cp.Readings = e.masked(cp.Readings)
	cp.States = maps.Clone(cp.States)
	for key, s := range cp.States {
		s.Runs, s.Queue, s.Triggers = slices.Clone(s.Runs), slices.Clone(s.Queue), slices.Clone(s.Triggers)
		for i := range s.Runs {
			s.Runs[i].Threads = slices.Clone(s.Runs[i].Threads)
			e.hide(&s.Runs[i].Context)
		}
		for i := range s.Queue {
			e.hide(&s.Queue[i])
		}
		for i := range s.Triggers {
			t := &s.Triggers[i]
			if t.Of != nil {
				of := *t.Of
				e.hide(&of)
				t.Of = &of
			}
			t.Owed = veiledCommands(t.Owed)
		}
		s.Requests = slices.Clone(s.Requests)
		for i := range s.Requests {
			if r := &s.Requests[i]; r.Secret {
				r.HTTP = veiledRequest(r.HTTP)
			}
		}
		for _, run := range s.Runs {
			for i, t := range run.Threads {
				if t.Owed != nil && t.Owed.Secret {
					owed := veiledCommand(*t.Owed)
					run.Threads[i].Owed = &owed
				}
			}
		}
		cp.States[key] = s
	}
	if cp.Exact != nil {
		exact := *cp.Exact
		exact.Told, exact.Sent = veiledTold(exact.Told), veiledTold(exact.Sent)
		cp.Exact = &exact
	}
	ev.State = &cp
	return ev
}

// veiledTold is what was told last, without what is secret.
func veiledTold(all map[string]ToldState) map[string]ToldState {
	all = maps.Clone(all)
	for to, t := range all {
		if t.Secret {
			t.Value = "***"
			all[to] = t
		}
	}
	return all
}

// masked is readings without what is compared with a secret.
func (e *Engine) masked(all []devices.Reading) []devices.Reading {
	if len(e.hidden) == 0 || !slices.ContainsFunc(all, e.Hidden) {
		return all
	}
	all = slices.Clone(all)
	for i := range all {
		if e.Hidden(all[i]) {
			all[i] = veiled(all[i])
		}
	}
	return all
}

// veiled is a reading that does not tell what it says.
func veiled(r devices.Reading) devices.Reading {
	r.Value, r.Old, r.Text, r.Message = "***", nil, "***", nil
	return r
}

// hide masks what a run knows of how it began.
func (e *Engine) hide(c *ContextState) {
	if c.Whole != nil && e.Hidden(*c.Whole) {
		r := veiled(*c.Whole)
		c.Whole = &r
	}
	if c.Reading && e.Hidden(devices.Reading{Source: c.Source}) {
		c.Value, c.Text, c.Old, c.Message = "***", "***", nil, nil
	}
}

// Masked is a decision as it may be kept: without the secrets that it sends.
func (d Decision) Masked() Decision {
	if !slices.ContainsFunc(d.Commands, func(c devices.Command) bool { return c.Secret }) {
		return d
	}
	d.Commands = veiledCommands(d.Commands)
	return d
}

// veiledCommands is commands of which none tells what is secret.
func veiledCommands(all []devices.Command) []devices.Command {
	all = slices.Clone(all)
	for i, c := range all {
		if c.Secret {
			all[i] = veiledCommand(c)
		}
	}
	return all
}

// veiledCommand is one that does not tell what it sends.
func veiledCommand(c devices.Command) devices.Command {
	if c.Shown != "" {
		c.Topic = c.Shown
	}
	if c.HTTP != nil {
		ask := veiledRequest(*c.HTTP)
		c.HTTP = &ask
	}
	if c.Payload != "" {
		c.Payload = "***"
	}
	if c.Value != nil {
		c.Value = "***"
	}
	return c
}

func veiledRequest(r devices.Request) devices.Request {
	return devices.Request{ID: r.ID, Method: r.Method, URL: "***"}
}
