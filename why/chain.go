package why

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/devices"
	"hearth/history"
	"hearth/rules"
)

// What a link is.
const (
	Changed  = "change"   // the thing became something
	Decided  = "decision" // of a rule, or of the hub itself
	Message  = "message"  // came from outside
	Wire     = "wire"     // a pin or a sensor that is wired
	Webhook  = "webhook"  // somebody posted
	Time     = "time"     // of day, or that passed
	Person   = "person"   // somebody asked for it
	Start    = "start"    // of the hub
	Stop     = "stop"     // of the hub, at which outputs are made safe
	Limit    = "limit"    // what is declared of an output
	NotKnown = "unknown"  // what is missing in the history, or was never told
)

// A Link is one thing that happened, and what it happened because of.
type Link struct {
	At       time.Time   `json:"at"`
	Unsure   bool        `json:"clock_unsure,omitempty"` // the clock was not known to be right
	What     string      `json:"what"`
	Name     string      `json:"name,omitempty"`  // what changed or reported: a source, a path
	Value    string      `json:"value,omitempty"` // became that, or said that
	By       string      `json:"by,omitempty"`    // who asked, the limit that counted, or what is not known
	Decision *Decision   `json:"decision,omitempty"`
	Likely   bool        `json:"likely,omitempty"`    // what it follows from is a guess: nothing links the two
	Above    bool        `json:"above,omitempty"`     // the chain has come to this decision before, and says there what it follows from
	After    float64     `json:"after_ms,omitempty"`  // how long after what it goes on from, or what led to it
	Lasted   float64     `json:"lasted_ms,omitempty"` // how long what set it off had held by then
	Restarts []time.Time `json:"restarts,omitempty"`  // of the hub meanwhile
	Held     []string    `json:"held_back,omitempty"` // what it waited for meanwhile
	Because  []*Link     `json:"because,omitempty"`   // what set it off, first
	GoesOn   *Link       `json:"goes_on,omitempty"`   // what began the wait or episode that it goes on with
	id       uint64      // of Decision
}

// A Decision is one as people are told it.
type Decision struct {
	ID       string   `json:"id"`
	Rule     string   `json:"rule"`
	Instance string   `json:"instance,omitempty"`
	Trigger  string   `json:"trigger,omitempty"`
	Outcome  string   `json:"outcome"`
	Why      string   `json:"why,omitempty"`
	Checks   []Check  `json:"conditions,omitempty"`
	Sets     []string `json:"sets,omitempty"`
	Commands []string `json:"commands,omitempty"`
}

// A Check is a condition with the value that it saw.
type Check struct {
	Text string `json:"text"`
	Saw  string `json:"saw"`
	OK   bool   `json:"ok"`
}

func tell(d rules.Decision) *Decision {
	t := &Decision{ID: fmt.Sprintf("%x", d.ID), Rule: d.Rule, Instance: d.Instance, Trigger: d.Trigger, Outcome: string(d.Outcome), Why: d.Why, Sets: d.Sets}
	for _, c := range d.Checks {
		t.Checks = append(t.Checks, Check(c))
	}
	for _, c := range d.Commands {
		t.Commands = append(t.Commands, c.String())
	}
	return t
}

// A walk answers one question.
type walk struct {
	past     Past
	q        Question
	seen     map[uint64]bool // decisions of the chain
	depth    int
	lookedTo time.Time
}

// longest is how many links a chain may have. One rule may follow from another
// [rules.MaxHops] times; waits and episodes come between.
const longest = 100

// closely is how near a report has to come to what its device was told, to be taken for
// what came of it.
const closely = 10 * time.Second

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// change is the newest change of the thing, and why it came; nil if none is known.
func (w *walk) change() (*Link, error) {
	var newest *Link
	var led uint64
	for _, source := range w.q.Thing.Sources {
		p, ok, err := w.past.Changed(source, w.q.At)
		if err != nil {
			return nil, err
		}
		if ok && (newest == nil || p.At.After(newest.At)) {
			newest, led = &Link{At: p.At, Unsure: !p.Sure, What: Changed, Name: source, Value: devices.Text(p.Value), By: p.By}, p.Decision
			switch {
			case p.Gone && w.q.Thing.Kind == "cover": // nobody knows its position
				newest.Value = "not known"
			case p.Gone:
				newest.Value = "not there"
			case p.Bad != "":
				newest.Value = "not known: " + p.Bad
			}
		}
	}
	if newest == nil || w.q.Thing.Kind == "topic" {
		// What is told and does not report: the newest order is the change.
		told, d, err := w.told()
		if err != nil {
			return nil, err
		}
		if told != nil && (newest == nil || !told.At.Before(newest.At)) {
			w.seen[d.ID] = true
			because, err := w.decided(d)
			told.Because = []*Link{because}
			return told, err
		}
	}
	if newest == nil {
		return nil, nil
	}
	return newest, w.explain(newest, led)
}

// told is the newest decision that told the thing something, or set it, or was the rule's own.
func (w *walk) told() (*Link, rules.Decision, error) {
	t := w.q.Thing
	for d, err := range w.before(w.q.At, w.words()) {
		if err != nil {
			return nil, d, err
		}
		l := &Link{At: d.At.Wall, Unsure: !d.At.Known, What: Changed, Name: t.Name}
		became := t.Became(d)
		switch {
		case t.Is(d) && t.Value == "":
			l.Value = string(d.Outcome)
		case len(became) > 0:
			l.Value = became[len(became)-1]
		default:
			continue
		}
		return l, d, nil
	}
	return nil, rules.Decision{}, nil
}

// before is decisions at or before a moment that have one of some words, newest first. How
// far it looked is remembered.
func (w *walk) before(at time.Time, words []string) func(func(rules.Decision, error) bool) {
	return func(yield func(rules.Decision, error) bool) {
		for d, err := range w.past.Before(at, words) {
			if errors.Is(err, history.ErrFar) {
				if w.lookedTo.Before(d.At.Wall) {
					w.lookedTo = d.At.Wall
				}
				return
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// words are those by which decisions about the thing are found.
func (w *walk) words() []string {
	t := w.q.Thing
	base, _, _ := strings.Cut(t.Name, ".")
	if strings.Contains(t.Name, "/") {
		base = t.Name
	}
	return slices.Concat([]string{base, t.Value, t.Rule}, t.Topics, t.Sources)
}

// explain finds what a change came of. led is the decision that its reading names.
func (w *walk) explain(l *Link, led uint64) error {
	d, ok, err := rules.Decision{}, false, error(nil)
	if led != 0 {
		if d, ok, err = w.past.Decision(led); err != nil {
			return err
		}
		if !ok {
			l.Because = []*Link{lost(l.At, led)}
			return nil
		}
	}
	base, _, _ := strings.Cut(l.Name, ".")
	limit, limited := strings.CutPrefix(l.By, "output."+base+": ")
	switch {
	case limited && (!ok || d.Rule == "output."+base): // which the hub has noted as a decision of its own
		w.seen[d.ID] = ok
		because, err := w.limit(l, base, limit)
		because.id = d.ID
		l.Because = []*Link{because}
		return err
	case !ok && w.q.Thing.Kind == "device":
		if d, ok, err = w.likely(l); err != nil {
			return err
		}
		l.Likely = ok
	}
	if !ok {
		if l.By == "" && (w.q.Thing.Kind == "output" || w.q.Thing.Kind == "cover") {
			because, err := w.hub(l.At)
			l.Because = []*Link{because}
			return err
		}
		l.Because = []*Link{root(l.At, l.Name, l.Value, l.By, w.q.Thing.Kind != "device" && w.q.Thing.Kind != "topic")}
		return nil
	}
	w.seen[d.ID] = true
	because, err := w.decided(d)
	if err != nil {
		return err
	}
	l.Because = []*Link{because}
	if err := w.between(l, because); err != nil {
		return err
	}
	if rival := w.rival(d); rival != nil && len(w.q.Thing.Became(d)) == 0 && base == w.q.Thing.Name {
		l.Because = []*Link{{At: l.At, What: Limit, Name: base, By: rival.Lock + " with " + rival.Name, Because: l.Because}}
	}
	return nil
}

// hub is what the hub itself did to an output that nobody told anything: at its start, or
// at its stop.
func (w *walk) hub(at time.Time) (*Link, error) {
	link := &Link{At: at, What: NotKnown, By: "nobody told it so"}
	nearest := closely
	for n, err := range w.past.Notes(at.Add(-closely), at.Add(closely)) {
		if err != nil {
			return nil, err
		}
		if off := n.At.Wall.Sub(at).Abs(); off < nearest && (n.Kind == Start || n.Kind == Stop) {
			nearest, link = off, &Link{At: n.At.Wall, What: n.Kind}
		}
	}
	return link, nil
}

// likely is the newest order to the device that its report may have come of.
func (w *walk) likely(l *Link) (rules.Decision, bool, error) {
	for d, err := range w.before(l.At, w.words()) {
		if err != nil || d.At.Wall.Before(l.At.Add(-closely)) {
			return d, false, err
		}
		if slices.ContainsFunc(w.q.Thing.Became(d), func(told string) bool { return alike(told, l.Value) }) {
			return d, true, nil
		}
	}
	return rules.Decision{}, false, nil
}

// alike says that two texts may be the same value.
func alike(a, b string) bool {
	on, ok := devices.OnOff(a)
	other, also := devices.OnOff(b)
	return strings.EqualFold(a, b) || ok && also && on == other
}

// limit is what is declared of an output and has switched it, and what had switched it on
// before.
func (w *walk) limit(l *Link, output, why string) (*Link, error) {
	link := &Link{At: l.At, What: Limit, Name: output, By: why}
	before, ok, err := w.past.Changed(output, l.At.Add(-time.Microsecond))
	if err != nil || !ok || w.depth >= longest {
		return link, err
	}
	w.depth++
	began := &Link{At: before.At, Unsure: !before.Sure, What: Changed, Name: output, Value: devices.Text(before.Value), By: before.By}
	if err := w.explain(began, before.Decision); err != nil {
		return link, err
	}
	link.GoesOn = began
	return link, w.between(link, began)
}

// lost is a decision that is not there any more.
func lost(at time.Time, id uint64) *Link {
	return &Link{At: at, What: NotKnown, By: fmt.Sprintf("decision %x, which is not in the history any more", id)}
}

// decided is a decision and what it follows from.
func (w *walk) decided(d rules.Decision) (*Link, error) {
	l := &Link{At: d.At.Wall, Unsure: !d.At.Known, What: Decided, Decision: tell(d), id: d.ID}
	if w.depth++; w.depth > longest {
		l.Because = []*Link{{At: d.At.Wall, What: NotKnown, By: "what came before: the chain is too long"}}
		return l, nil
	}
	c := d.Cause
	if c == nil {
		c = d.Since
	}
	if c != nil {
		because, err := w.cause(*c, d.At.Wall)
		if err != nil {
			return l, err
		}
		l.Because = []*Link{because}
		if d.Cause == nil {
			l.Lasted = milliseconds(l.At.Sub(because.At))
		}
	}
	switch {
	case d.Follows != 0 && w.seen[d.Follows] && l.Because == nil:
		before, err := w.above(d.Follows, d.At.Wall)
		if err != nil {
			return l, err
		}
		l.GoesOn = before
	case d.Follows != 0 && !w.seen[d.Follows]:
		w.seen[d.Follows] = true
		before, ok, err := w.past.Decision(d.Follows)
		if err != nil {
			return l, err
		}
		if !ok {
			l.GoesOn = lost(d.At.Wall, d.Follows)
			return l, nil
		}
		if l.GoesOn, err = w.decided(before); err != nil {
			return l, err
		}
		if err := w.between(l, l.GoesOn); err != nil {
			return l, err
		}
	}
	if l.Because == nil && l.GoesOn == nil {
		l.Because = []*Link{origin(d)}
	}
	return l, nil
}

// above is a decision that the chain has come to before.
func (w *walk) above(id uint64, at time.Time) (*Link, error) {
	d, ok, err := w.past.Decision(id)
	if err != nil || !ok {
		return lost(at, id), err
	}
	return &Link{At: d.At.Wall, Unsure: !d.At.Known, What: Decided, Decision: tell(d), Above: true, id: d.ID}, nil
}

// cause is the reading that set a decision off, and what that came of.
func (w *walk) cause(c devices.Reading, decided time.Time) (*Link, error) {
	at := c.At.Wall
	if at.IsZero() || c.Restored {
		at = decided
	}
	name := c.Source
	if filter, path, of := strings.Cut(name, ":"); strings.ContainsAny(filter, "+#") || name == "" {
		if name = c.Topic; of {
			name += ":" + path
		}
	}
	if from := c.From; from != nil {
		because, err := w.cause(*from, decided)
		return &Link{At: at, What: Changed, Name: name, Value: c.Text, By: "computed", Because: []*Link{because}}, err
	}
	if c.Origin.Decision == 0 {
		l := root(at, name, c.Text, c.Origin.By, c.Topic == "")
		if c.Initial && l.What == Message {
			l.By = "it was found when the hub started"
		}
		return l, nil
	}
	l := &Link{At: at, What: Changed, Name: name, Value: c.Text, By: c.Origin.By}
	if w.seen[c.Origin.Decision] {
		before, err := w.above(c.Origin.Decision, at)
		l.Because = []*Link{before}
		return l, err
	}
	w.seen[c.Origin.Decision] = true
	before, ok, err := w.past.Decision(c.Origin.Decision)
	if err != nil {
		return l, err
	}
	if !ok {
		l.Because = []*Link{lost(at, c.Origin.Decision)}
		return l, nil
	}
	because, err := w.decided(before)
	if err != nil {
		return l, err
	}
	l.Because = []*Link{because}
	return l, w.between(l, because)
}

// persons are how people reach the hub, by who a command says has asked.
var persons = map[string]string{
	"page":       "somebody switched it on the page",
	"hearth set": "somebody called hearth set",
}

// root is where a chain begins: a value that no decision led to, of a wire or from a
// message.
func root(at time.Time, name, value, by string, wired bool) *Link {
	l := &Link{At: at, What: Message, Name: name, Value: value, By: by}
	path, posted := strings.CutPrefix(by, "webhook ")
	switch {
	case posted:
		l.What, l.Name, l.By = Webhook, path, ""
	case persons[by] != "":
		l.What, l.By = Person, persons[by]
	case by == "time":
		l.What = Time
	case strings.HasPrefix(by, "output."):
		l.What = Limit
	case wired:
		l.What = Wire
	}
	return l
}

// origin is where a chain begins that no reading set off.
func origin(d rules.Decision) *Link {
	l := &Link{At: d.At.Wall, What: Time, By: d.Trigger}
	switch {
	case persons[d.Rule] != "":
		l.What, l.By = Person, persons[d.Rule]
	case strings.HasPrefix(d.Rule, "output."), strings.HasPrefix(d.Rule, "cover."), strings.HasPrefix(d.Rule, "device."):
		l.What, l.By = Limit, d.Why
	case strings.HasPrefix(d.Rule, "hearth/"):
		l.What, l.By = Message, d.Rule
	case d.Outcome == rules.Switched:
		l.What, l.By = Person, d.Why
	case d.Trigger == "start", strings.HasSuffix(d.Trigger, "(start)"):
		l.What, l.By = Start, ""
	}
	return l
}

// End is where the chain of a link begins: what set it off, all the way back. Where an
// episode has ended that is what ended it, not what began it.
func (l *Link) End() *Link {
	for {
		switch {
		case len(l.Because) > 0:
			l = l.Because[0]
		case l.GoesOn != nil:
			l = l.GoesOn
		default:
			return l
		}
	}
}

// Ends is all places where the chain begins, those of its waits and episodes too, each once.
func (l *Link) Ends() (all []*Link) {
	if len(l.Because) == 0 && l.GoesOn == nil && !l.Above {
		return []*Link{l}
	}
	for _, b := range l.Because {
		all = append(all, b.Ends()...)
	}
	if l.GoesOn != nil {
		all = append(all, l.GoesOn.Ends()...)
	}
	return all
}

// Links is all of a chain; none of a nil one.
func (l *Link) Links() (all []*Link) {
	if l == nil {
		return nil
	}
	all = append(all, l)
	for _, b := range l.Because {
		all = append(all, b.Links()...)
	}
	return append(all, l.GoesOn.Links()...)
}

// Rules is every rule of the chain, and what limited an output, the newest first.
func (l *Link) Rules() (all []string) {
	for _, l := range l.Links() {
		switch {
		case l.Decision != nil:
			all = append(all, l.Decision.Rule)
		case l.What == Limit && l.Name != "":
			all = append(all, "output."+l.Name)
		}
	}
	return all
}
