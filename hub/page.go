package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
	"hearth/web"
)

// page is the hub as the web page sees it, a web.House. Its methods may be called from any
// goroutine: what belongs to the loop is asked of it, and what takes disk, kernel or time is
// looked up by who asks. Here is the house at one moment, what happens, and what pins are told;
// the rest lies, by the interfaces of web, in
//
//	things.go    rooms and their things, and what they are told (View, Tell)
//	charts.go    what was (Past)
//	whypage.go   why it is so (Causes); why.go finds it, for everybody
//	rulebook.go  the rules (Rulebook)
//	edit.go      the configuration (Editor), with its history in versions.go and trials in try.go
//	wiring.go    the header (Wiring)
//	found.go     devices that announced themselves (Catalog)
//	topics.go    raw messages (Messages); clients.go who sends them (Broker)
//	doctor.go    how all that is doing (Doctor)
//	visitors.go  who may see it (web.People), and accounts.go their users (web.Accounts)
type page struct{ *Hub }

// watcherBuffer is how many events web, which takes them for all pages and ten times a
// second where there are many, may be behind before the pages fetch everything anew.
const watcherBuffer = 4096

// ask runs f on the loop and waits for what it returns. If ctx ends before, f has
// not run and will not.
func ask[T any](ctx context.Context, h *Hub, f func() T) (v T, err error) {
	answer := make(chan T, 1)
	asked := ctx
	err = h.do(ctx, func() {
		if asked.Err() == nil {
			answer <- f()
		}
	})
	if err != nil {
		return v, err
	}
	select {
	case v = <-answer:
		return v, nil
	default:
		return v, context.Cause(ctx)
	}
}

func (p page) View(ctx context.Context) (web.View, error) { return ask(ctx, p.Hub, p.view) }

func (h *Hub) view() web.View {
	now := h.now()
	v := web.View{
		Name:       h.cfg.name(),
		Version:    h.opt.Version,
		Simulated:  h.opt.Simulated,
		Now:        now.Wall,
		Started:    now.Wall.Add(h.began - now.Mono),
		ClockKnown: now.Known,
		Rules:      len(h.cfg.Rule) + len(h.cfg.Link),
		Waiting:    h.engine.Explain(now),
		Broker:     h.counters(),
	}
	if err := h.store.Trouble(); err != nil {
		v.Trouble = append(v.Trouble, "the disk refuses: "+err.Error())
	}
	if trouble := h.historyTrouble(); trouble != "" {
		v.Trouble = append(v.Trouble, trouble)
	}
	if trouble := h.linkTrouble(); trouble != "" {
		v.Trouble = append(v.Trouble, trouble)
	}
	if !now.Known {
		v.Trouble = append(v.Trouble, "the clock is not known to be right, so times of day wait until a time service has set it")
	}
	v.Outputs, v.Inputs = h.pinViews()
	v.Things, v.Readings = h.things(), h.readingViews()
	if h.reloadTrouble != "" {
		v.Trouble = append(v.Trouble, h.reloadTrouble)
	}
	for _, d := range slices.Backward(h.decisions[max(0, len(h.decisions)-decisionsKept):]) {
		v.Decisions = append(v.Decisions, d)
	}
	return v
}

func (p page) Watch() (<-chan web.Event, func()) {
	events := make(chan web.Event, watcherBuffer)
	p.inbox.always(&item{control: func() {
		if p.watchers == nil {
			close(events)
			return
		}
		p.watchers[events] = true
	}})
	return events, func() {
		p.inbox.always(&item{control: func() { delete(p.watchers, events) }})
	}
}

// tell sends an event to every page that watches. One that has fallen behind is
// cut off: its channel is closed.
func (h *Hub) tell(e web.Event) {
	for events := range h.watchers {
		select {
		case events <- e:
		default:
			close(events)
			delete(h.watchers, events)
		}
	}
}

// who is who asks, for the log and the reasons of decisions.
func who(ctx context.Context) string { return cmp.Or(printable(web.By(ctx)), "somebody") }

func (p page) Switch(ctx context.Context, output string, on bool) error {
	return p.try(ctx, func() error {
		if _, cover := p.cfg.Cover.Get(output); !cover {
			if _, ok := p.cfg.Output.Get(output); !ok {
				return unknownName("output", output, p.cfg.Output.Names())
			}
		}
		return p.turn(ctx, output, on)
	})
}

// turn tells an output its level. It is for the loop.
func (p page) turn(ctx context.Context, output string, on bool) error {
	p.happen(rules.Event{Kind: rules.Tell, Name: output, Value: on})
	p.obeyOwn(rules.Decision{At: p.now(), Rule: "page", Outcome: rules.Fired, Why: who(ctx) + " switched it on the page",
		Commands: []devices.Command{{Output: output, Value: on, Origin: devices.Origin{By: "page"}}}})
	return nil
}

func (p page) Drive(ctx context.Context, input string, on bool) error {
	return p.try(ctx, func() error {
		if known := p.cfg.driven(); !slices.Contains(known, input) {
			return unknownName("input", input, known)
		}
		return p.pins.Drive(input, on)
	})
}

// driven are the names of what can be driven where the pins are simulated.
func (c *Config) driven() []string { return slices.Concat(c.Input.Names(), c.Counter.Names()) }

func (p page) Hook(ctx context.Context, path string, body []byte) (known bool, err error) {
	return ask(ctx, p.Hub, func() bool {
		if !p.engine.Hooked(path) {
			return false
		}
		p.obey(p.happen(rules.Event{Kind: rules.Post, Name: path, Body: body}))
		return true
	})
}

func (p page) try(ctx context.Context, f func() error) error {
	wrong, err := ask(ctx, p.Hub, f)
	if err != nil {
		return err
	}
	return wrong
}

func unknownName(kind, name string, known []string) error {
	if near, ok := config.Nearest(name, known); ok {
		return fmt.Errorf("no %s is named %q, did you mean %q?", kind, name, near)
	}
	if len(known) == 0 {
		return fmt.Errorf("no %s is named %q, and none is declared", kind, name)
	}
	return fmt.Errorf("no %s is named %q; there are: %s", kind, name, strings.Join(known, ", "))
}

func (h *Hub) webReading(r devices.Reading) *web.Reading {
	v := &web.Reading{Source: r.Source, Of: h.toldOf(r.Source), Text: printable(r.Text), At: r.At.Wall, Topics: h.topicsOf(r)}
	if h.engine.Hidden(r) {
		v.Text = "***"
	}
	switch {
	case r.Gone:
		v.Bad = "unavailable: " + r.Bad
	case r.Bad != "":
		v.Bad = "not valid: " + r.Bad
	}
	return v
}

func webDecision(d rules.Decision) web.Decision {
	return web.Decision{At: d.At.Wall, Rule: d.Rule, Outcome: string(d.Outcome), Text: printable(d.String())}
}

// printable cuts what a device may make endless, and mends what is not text.
func printable(s string) string {
	const most = 500
	if len(s) > most {
		s = s[:most] + "…"
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// readingViews is every source that the rules name, also one that has said
// nothing yet, or only what can't be a value: a name with a typo shows there.
func (h *Hub) readingViews() []web.Reading {
	var list []web.Reading
	captured := make(map[string]bool)
	for _, r := range h.registry.All() {
		if r.Captured != nil {
			captured[r.Captured.Source] = true
			list = append(list, *h.webReading(r))
		}
	}
	for _, s := range h.engine.Sources() {
		if s.Name != "" || captured[s.String()] {
			continue
		}
		v := web.Reading{Source: s.String(), Bad: "nothing yet", Topics: plainTopics(s.Filter)}
		if r, ok := h.registry.Last(v.Source); ok {
			v = *h.webReading(r)
		}
		if n, why := h.registry.Bad(v.Source); n > 0 {
			v.Bad = fmt.Sprintf("not valid: %s (%d so far)", why, n)
		}
		list = append(list, v)
	}
	for _, s := range h.devices.registry.All() {
		for i := range s.Properties {
			if v, ok := h.propertyView(s, s.Properties[i].Name); ok {
				list = append(list, *v)
			}
		}
	}
	for _, s := range h.cfg.Sensor {
		for _, property := range s.Value.Measures() {
			v := web.Reading{Source: s.Name + "." + property, Of: h.toldOf(s.Name), Bad: "nothing yet", Topics: h.topicsOfWired(s.Name)}
			if r, ok := h.registry.Last(v.Source); ok {
				v = *h.webReading(r)
			} else if why := h.sensors.Fault(s.Name); why != "" {
				v.Bad = "unavailable: " + why
			}
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b web.Reading) int { return strings.Compare(a.Source, b.Source) })
	return list
}

// ReloadFailed lets the page say that the configuration on disk is not the one in
// force, until a reload succeeds.
func (h *Hub) ReloadFailed(err error) {
	h.inbox.always(&item{control: func() {
		h.reloadTrouble = "the configuration on disk was not taken over: " + err.Error()
		h.tellAll()
	}})
}

// pinViews is the outputs and inputs as the page shows them.
func (h *Hub) pinViews() (outputs, inputs []web.Pin) {
	view := func(infos []gpio.Info) []web.Pin {
		pins := make([]web.Pin, 0, len(infos))
		for _, i := range infos {
			pins = append(pins, h.webPin(i))
		}
		return pins
	}
	return view(append(h.pins.Outputs(), h.pins.Covers()...)), view(h.pins.Inputs())
}

func (h *Hub) webPin(i gpio.Info) web.Pin {
	p := web.Pin{Name: i.Name, Label: string(h.cfg.shown[i.Name].Name), Pin: i.Pin, On: i.On, Known: i.Known, Fault: i.Fault, Note: i.Waits, Shows: i.Shows, Simulated: h.opt.Simulated,
		Latched: i.Latched, Acknowledged: i.Fault != "" && !i.Latched && h.quiet[i.Name] == faultKind(i.Fault)}
	if p.Note == "" && i.Levels && i.On {
		p.Note = fmt.Sprintf("at %.3g %%", i.Level)
	}
	switch {
	case i.Cycles == 1:
		p.Hint = "went on once"
	case i.Cycles > 1:
		p.Hint = fmt.Sprintf("went on %d times", i.Cycles)
	case i.Shows != "": // a counter counts them all the same
	case i.Lost == 1:
		p.Hint = "1 edge was lost"
	case i.Lost > 1:
		p.Hint = fmt.Sprintf("%d edges were lost", i.Lost)
	}
	if p.Note == "" && !i.On && !strings.HasPrefix(i.Fault, i.Why) { // what should be off and is not has a fault, and one that says why needs no note
		p.Note = i.Why
	}
	return p
}

// tellWait tells the pages that a command for an output waits, if one does: no
// reading tells them.
func (h *Hub) tellWait(output string) {
	if len(h.watchers) == 0 {
		return
	}
	for _, i := range h.pins.Outputs() {
		if i.Name == output && i.Waits != "" {
			p, t := h.webPin(i), h.thingOfPin(i, true)
			h.waited[output] = true
			h.tell(web.Event{Output: &p, Thing: &t})
		}
	}
}

// tellWaiting keeps the pages up to date about commands that wait: for how long
// still, and that one waits no more.
func (h *Hub) tellWaiting() {
	if len(h.watchers) == 0 {
		clear(h.waited)
		return
	}
	for _, i := range h.pins.Outputs() {
		if i.Waits == "" && !h.waited[i.Name] {
			continue
		}
		p, t := h.webPin(i), h.thingOfPin(i, true)
		h.tell(web.Event{Output: &p, Thing: &t})
		h.waited[i.Name] = i.Waits != ""
	}
}

// tellAll makes every page fetch everything anew.
func (h *Hub) tellAll() {
	for events := range h.watchers {
		close(events)
	}
	clear(h.watchers)
}

// tellPin tells the pages that a pin has reported.
func (h *Hub) tellPin(name string) {
	if len(h.watchers) == 0 {
		return
	}
	name, _, _ = strings.Cut(name, ".")
	for _, i := range append(h.pins.Outputs(), h.pins.Covers()...) {
		if i.Name == name {
			p, t := h.webPin(i), h.thingOfPin(i, true)
			h.tell(web.Event{Output: &p, Thing: &t})
		}
	}
	for _, i := range h.pins.Inputs() {
		if i.Name == name {
			p, t := h.webPin(i), h.thingOfPin(i, false)
			h.tell(web.Event{Input: &p, Thing: &t})
		}
	}
}

// counters are what the page shows of messages.
func (h *Hub) counters() map[string]int64 {
	b := h.broker.Stats()
	waiting, merged, dropped := h.inbox.counts()
	return map[string]int64{
		"clients":          b.Clients,
		"retained topics":  b.Retained,
		"messages in":      b.Received,
		"messages out":     b.Sent,
		"dropped":          b.Dropped + dropped,
		"refused":          b.Refused,
		"inbox waiting":    int64(waiting),
		"inbox merged":     merged,
		"commands refused": h.refused,
	}
}
