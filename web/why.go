package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Causes is what the page of a state asks of a house.
type Causes interface {
	// Why says why something is as it is, or was at a moment as a person types it; "" is now.
	// What it is asked of is the name of a thing or a property, a topic, a variable, or a
	// rule with its kind before it. The error of what is not there is a [NotFound], of a
	// moment that is none a [Mistaken]; where nothing was written down, Missing says so.
	Why(ctx context.Context, name, at string) (Why, error)
}

// A Why is why something is as it is.
type Why struct {
	Name  string    `json:"name"`
	Kind  string    `json:"kind,omitempty"` // "output", "device", "rule"...
	At    time.Time `json:"at"`             // the moment asked about
	Now   bool      `json:"now"`            // which is now
	Known bool      `json:"known"`          // a change is known
	Is    string    `json:"is,omitempty"`
	Since time.Time `json:"since,omitzero"`

	// Path leads from the first cause to the state, which is its last step.
	Path []Cause `json:"path"`

	Others   []OtherOrder `json:"others"`          // what else was said about it near that time
	Could    []CouldAct   `json:"could"`           // rules that can act on it, and what stops each
	Present  bool         `json:"present"`         // Could says where they stand, or stood
	Waits    []string     `json:"waits"`           // of the thing itself: a command that waits, a limit
	Cover    string       `json:"cover,omitempty"` // whose motor it switches
	LookedTo time.Time    `json:"looked_to,omitzero"`

	Before time.Time `json:"before,omitzero"` // a moment at which it was what it was before
	After  time.Time `json:"after,omitzero"`  // when it changed next, after the moment asked about

	Missing string `json:"missing,omitempty"` // why nothing is known: no history, not so old
	Partial bool   `json:"partial,omitempty"` // who asks may not see the whole house, and is told the state alone; set by web
}

// A Cause is one step of the path.
type Cause struct {
	At       time.Time   `json:"at"`
	Unsure   bool        `json:"clock_unsure,omitempty"`
	What     string      `json:"what"` // as of a link of hearth why: "change", "decision", "message", "wire", "webhook", "time", "person", "start", "stop", "limit", "unknown"
	Name     string      `json:"name,omitempty"`
	Value    string      `json:"value,omitempty"`
	By       string      `json:"by,omitempty"`
	Rule     string      `json:"rule,omitempty"` // of a decision, as all up to Does
	Instance string      `json:"instance,omitempty"`
	Outcome  string      `json:"outcome,omitempty"`
	Trigger  string      `json:"trigger,omitempty"`
	Reason   string      `json:"why,omitempty"`
	Checks   []Check     `json:"conditions,omitempty"`
	Does     []string    `json:"does,omitempty"`
	Likely   bool        `json:"likely,omitempty"`    // that it follows from the step before is a guess
	Above    bool        `json:"above,omitempty"`     // it is told elsewhere in the path what it follows from
	After    float64     `json:"after_ms,omitempty"`  // the step before it
	Lasted   float64     `json:"lasted_ms,omitempty"` // how long what set it off had held by then
	Restarts []time.Time `json:"restarts,omitempty"`  // of the hub between
	Held     []string    `json:"held_back,omitempty"` // what kept it waiting
	Began    []Cause     `json:"began,omitempty"`     // the path to what it goes on with: a wait, an episode
}

// An OtherOrder is a decision beside the path that told the thing something.
type OtherOrder struct {
	At      time.Time `json:"at"`
	Later   bool      `json:"later"` // it came after the change
	Rule    string    `json:"rule"`
	Outcome string    `json:"outcome"`
	Trigger string    `json:"trigger,omitempty"`
	Tells   string    `json:"tells"`
	Same    bool      `json:"same"` // which is what the thing became
	Held    []string  `json:"held_back,omitempty"`
	Gave    string    `json:"gave_way,omitempty"`
}

// A CouldAct is a rule that can act on the thing.
type CouldAct struct {
	Rule    string     `json:"rule"`
	Tells   []string   `json:"tells"`
	Maybe   bool       `json:"maybe,omitempty"`
	Now     []string   `json:"now"`               // what it needs, a line each
	Stopped *Hindrance `json:"stopped,omitempty"` // when it was kept from acting last, and by what
	Acted   *Hindrance `json:"acted,omitempty"`   // when it acted last
}

// A Hindrance is a decision, as far as it says why.
type Hindrance struct {
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Trigger string    `json:"trigger,omitempty"`
	Reason  string    `json:"why,omitempty"`
	Checks  []Check   `json:"conditions,omitempty"`
}

func (y Why) clean() Why {
	y.Name, y.Kind, y.Is, y.Cover, y.Missing = whole(y.Name), mended(y.Kind, 20), sentence(y.Is), whole(y.Cover), sentence(y.Missing)
	y.At, y.Since, y.LookedTo, y.Before, y.After = sane(y.At), sane(y.Since), sane(y.LookedTo), sane(y.Before), sane(y.After)
	y.Path, y.Waits = each(y.Path, Cause.clean), each(y.Waits, sentence)
	y.Others = each(y.Others, func(o OtherOrder) OtherOrder {
		o.At, o.Rule, o.Outcome, o.Trigger, o.Tells, o.Gave, o.Held = sane(o.At), whole(o.Rule), mended(o.Outcome, 20), sentence(o.Trigger), sentence(o.Tells), sentence(o.Gave), each(o.Held, sentence)
		return o
	})
	y.Could = each(y.Could, func(c CouldAct) CouldAct {
		return CouldAct{whole(c.Rule), each(c.Tells, sentence), c.Maybe, each(c.Now, sentence), cleaned(c.Stopped, Hindrance.clean), cleaned(c.Acted, Hindrance.clean)}
	})
	return y
}

func (h Hindrance) clean() Hindrance {
	return Hindrance{sane(h.At), mended(h.Outcome, 20), sentence(h.Trigger), sentence(h.Reason), each(h.Checks, Check.clean)}
}

func (c Cause) clean() Cause {
	c.At, c.What, c.Name, c.Value, c.By = sane(c.At), mended(c.What, 20), whole(c.Name), sentence(c.Value), sentence(c.By)
	c.Rule, c.Instance, c.Outcome, c.Trigger, c.Reason = whole(c.Rule), mended(c.Instance, mostName), mended(c.Outcome, 20), sentence(c.Trigger), sentence(c.Reason)
	c.Checks, c.Does, c.Held, c.Began = each(c.Checks, Check.clean), each(c.Does, sentence), each(c.Held, sentence), each(c.Began, Cause.clean)
	return c
}

// --- The answers ---

// whyPatience is how long it may take to find out why: on a small machine a chain through a
// month of history is some hundred milliseconds of work.
const whyPatience = 10 * time.Second

// whysAtOnce is how many questions are looked into at a time; others wait.
const whysAtOnce = 2

// whyIt asks the house, and tells who may not see all of it the state alone: of a chain other
// things are told, which conditions saw and rules decided.
func (s *Server) whyIt(r *http.Request, v View) (Why, error) {
	rights, name, at := visitorOf(r).rights, r.PathValue("name"), r.FormValue("at")
	if !rights.Whole(See) {
		p, there := v.property(name)
		if !there { // v is what the visitor may see
			return Why{}, NotFound("nothing here is called " + name)
		}
		return Why{Name: name, At: v.Now, Now: true, Known: p.Known, Is: valueOf(p), Since: p.At, Partial: true}.clean(), nil
	}
	ctx, done := context.WithTimeout(r.Context(), whyPatience)
	defer done()
	leave, err := s.whys.begin(ctx)
	if err != nil {
		return Why{}, err
	}
	defer leave()
	y, err := s.house.Why(ctx, name, at)
	if ctx.Err() != nil && r.Context().Err() == nil {
		return Why{}, fmt.Errorf("it takes longer than %v to find out, and so was given up", whyPatience)
	}
	return hookless(rights, y.clean()).in(s.wordsFor(r)), err
}

// valueOf is what a property is, as programs are told it.
func valueOf(p Property) string {
	switch {
	case !p.Known:
		return ""
	case p.Kind == "switch" && p.On:
		return "ON"
	case p.Kind == "switch":
		return "OFF"
	case p.Level != nil:
		return strings.TrimSpace(strconv.FormatFloat(*p.Level, 'f', -1, 64) + " " + p.Unit)
	}
	return p.Text
}

func (s *Server) serveWhy(w http.ResponseWriter, r *http.Request) {
	v, err := s.view(r.Context(), patience)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	y, err := s.whyIt(r, v.seenBy(visitorOf(r)))
	if err != nil {
		refuseFor(w, err)
		return
	}
	send(w, r, "application/json", asJSON(y))
}

// A whySheet is /why/NAME.
type whySheet struct {
	Why
	Of    Thing    // that it is of; the zero one if it is none
	Part  Property // that it is
	Wrong string   // with the moment that was asked about
	Asked string   // that moment, as it was typed

	view  View
	words *words
}

func (s *Server) whyPage(r *http.Request, v View) (any, error) {
	p := whySheet{view: v, words: s.wordsFor(r), Asked: mended(r.FormValue("at"), 40)}
	y, err := s.whyIt(r, v)
	if no, ok := errors.AsType[refusal](err); ok && no.status == http.StatusBadRequest { // a slip of a person: as it is now
		p.Wrong = p.words.say(sentence(no.why))
		r = r.Clone(r.Context())
		r.Form = url.Values{}
		y, err = s.whyIt(r, v)
	}
	if err != nil {
		return nil, err
	}
	p.Why = y
	p.Part, _ = v.property(y.Name)
	base, _, _ := strings.Cut(y.Name, ".")
	if i := slices.IndexFunc(v.Things, func(t Thing) bool { return t.Name == base }); i >= 0 {
		p.Of = v.Things[i]
	}
	return p, nil
}

// whyPath is the address of the page that tells why something was as it was at a moment, the
// zero one for now.
func whyPath(name string, at time.Time) string {
	path := "/why/" + url.PathEscape(name)
	if !at.IsZero() {
		path += "?at=" + url.QueryEscape(at.Format(time.RFC3339Nano))
	}
	return path
}

// Heading is what people call it.
func (p whySheet) Heading() string {
	if p.Of.Name == "" {
		return p.Name
	}
	title := p.Of.Title()
	if _, property, ok := strings.Cut(p.Name, "."); ok {
		title += ", " + cmp.Or(p.Part.Label, property)
	}
	return title
}

func (p whySheet) Clock(t time.Time) string { return p.words.clock(t, p.At) }

// State is what it is, or was, in words.
func (p whySheet) State() string {
	if p.ofRule() {
		return p.words.outcome(p.Is)
	}
	return p.words.state(p.Is, p.Part.Unit)
}

// ofRule says that what became of a rule is asked.
func (p whySheet) ofRule() bool { return p.Kind == "rule" || p.Kind == "link" }

// state is a value as people are told it.
func (w *words) state(value, unit string) string {
	switch value {
	case "", "not known":
		return w.text("unknown")
	case "not there":
		return w.text("away")
	}
	if strings.HasPrefix(value, "not known: ") {
		return w.say(value)
	}
	if n, err := strconv.ParseFloat(value, 64); err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) {
		return w.number(n, unit)
	}
	return w.is(value)
}

// Ago is how long it has been so, at the moment asked about.
func (p whySheet) Ago() string {
	if d := p.At.Sub(p.Since); !p.Since.IsZero() && d >= time.Second {
		return p.words.lasted(float64(d.Milliseconds()))
	}
	return ""
}

// Earlier and Later lead to other moments, "" where there is none.
func (p whySheet) Earlier() string {
	if p.Before.IsZero() {
		return ""
	}
	return whyPath(p.Name, p.Before)
}

func (p whySheet) Later() string {
	if p.After.IsZero() {
		return ""
	}
	return whyPath(p.Name, p.After)
}

func (p whySheet) Today() string { return whyPath(p.Name, time.Time{}) }

// Self is where the moment is chosen.
func (p whySheet) Self() string { return "/why/" + url.PathEscape(p.Name) }

// Moment is the one asked about, as a browser's field has it.
func (p whySheet) Moment() string { return p.At.Format("2006-01-02T15:04:05") }

// Rule is the page of what it is, if that is a rule.
func (p whySheet) Rule() string {
	switch {
	case p.Kind == "rule" || p.Kind == "link":
		return rulePath(p.Name)
	case p.Kind == "machine":
		return rulePath("machine." + strings.TrimPrefix(p.Name, "machine."))
	}
	return ""
}

// Follow is what of the stream tells that it is otherwise now.
func (p whySheet) Follow() string {
	switch {
	case p.Of.Name != "":
		return "things"
	case p.Rule() != "":
		return "rules"
	}
	return ""
}

// CoverTitle is what people call the cover whose motor it switches.
func (p whySheet) CoverTitle() string { return p.view.called(p.Cover) }

// Thing is the page of the thing.
func (p whySheet) Thing() string { return p.view.thingPath(p.Name) }

// thingPath is the address of the page of a thing that the visitor may see; "" if it is none.
func (v View) thingPath(name string) string {
	base, _, _ := strings.Cut(name, ".")
	if !slices.ContainsFunc(v.Things, func(t Thing) bool { return t.Name == base }) {
		return ""
	}
	return "/thing/" + url.PathEscape(name)
}

// Steps are the path, as its template takes it.
func (p whySheet) Steps() []causeRow { return p.rows(p.Path, true) }

func (p whySheet) rows(path []Cause, main bool) (rows []causeRow) {
	for i, c := range path {
		gap := c.After
		if i > 0 && gap == 0 {
			gap = float64(c.At.Sub(path[i-1].At).Microseconds()) / 1000
		}
		rows = append(rows, causeRow{c, p, i == 0 && !c.Above, main && i == len(path)-1, p.words.lasted(gap)})
	}
	return rows
}

// A causeRow is one step as it is drawn.
type causeRow struct {
	Cause
	page  whySheet
	First bool   // here it begins
	Last  bool   // it is the state
	Gap   string // how long after the one before it
}

func (r causeRow) Clock() string                { return r.page.Clock(r.At) }
func (r causeRow) BeganSteps() []causeRow       { return r.page.rows(r.Began, false) }
func (r causeRow) HeldFor() string              { return r.page.words.lasted(r.Lasted) }
func (r causeRow) RestartAt(t time.Time) string { return r.page.Clock(t) }

// Kind is what a step is, in words.
func (r causeRow) Kind() string {
	w := r.page.words
	switch r.What {
	case "change":
		if r.By == "computed" {
			return w.text("why.computed")
		}
		return w.text("why.change")
	case "decision":
		return r.page.words.outcome(r.Outcome)
	case "message":
		return w.text("why.message")
	case "wire":
		return w.text("why.wire")
	case "webhook":
		return w.text("why.webhook")
	case "time":
		return w.text("why.time")
	case "person":
		return w.text("why.person")
	case "start":
		return w.text("why.start")
	case "stop":
		return w.text("why.stop")
	case "limit":
		return w.text("why.limit")
	}
	return w.text("why.unknown")
}

// Title is who or what it is of.
func (r causeRow) Title() string {
	switch {
	case r.Rule != "":
		return r.Rule + r.Instance
	case r.Name != "":
		return r.page.view.called(r.Name)
	}
	return ""
}

// Path is where the step is told of: the page of a rule, or why something was so then.
func (r causeRow) Path() string {
	switch {
	case isRule(r.Rule):
		return rulePath(r.Rule)
	case r.Rule != "", r.Name == "", r.What == "webhook", r.Last:
		return ""
	}
	return whyPath(r.Name, r.At)
}

// isRule says whether a decision is one of a rule that has a page.
func isRule(name string) bool {
	kind, _, ok := strings.Cut(name, ".")
	return ok && (kind == "rule" || kind == "link" || kind == "machine")
}

// WhyPath is why a rule decided so, where that is not what is asked.
func (r causeRow) WhyPath() string {
	if !isRule(r.Rule) {
		return ""
	}
	return whyPath(r.Rule, r.At)
}

// Thing is the page of the thing that changed.
func (r causeRow) Thing() string {
	if r.Rule != "" {
		return ""
	}
	return r.page.view.thingPath(r.Name)
}

// State is what it became.
func (r causeRow) State() string {
	switch {
	case r.Value == "":
		return ""
	case r.Last && r.page.ofRule():
		return r.page.words.outcome(r.Value)
	}
	return r.page.words.state(r.Value, "")
}

// Note is what is said of it beside.
func (r causeRow) Note() string {
	if r.By == "computed" || r.By == r.Name || r.By == "time" {
		return ""
	}
	return r.By
}

// CouldActs are those that can act on it, as their template takes them.
func (p whySheet) CouldActs() (rows []couldRow) {
	for _, c := range p.Could {
		rows = append(rows, couldRow{c, p})
	}
	return rows
}

type couldRow struct {
	CouldAct
	page whySheet
}

func (r couldRow) Path() string { return rulePath(r.Rule) }

// Lines are what it needs.
func (r couldRow) Lines() []string { return each(r.Now, r.without) }

// without is a line of what it needs, without its own name before that.
func (c CouldAct) without(line string) string {
	for _, before := range []string{c.Rule + ", ", c.Rule + ": ", c.Rule + " "} {
		line = strings.TrimPrefix(line, before)
	}
	return line
}

func (r couldRow) When(h *Hindrance) string    { return r.page.Clock(h.At) }
func (r couldRow) Became(h *Hindrance) string  { return r.page.words.outcome(h.Outcome) }
func (r couldRow) WhyThen(h *Hindrance) string { return whyPath(r.Rule, h.At) }

// OtherOrders are those beside the path.
func (p whySheet) OtherOrders() (rows []otherRow) {
	for _, o := range p.Others {
		rows = append(rows, otherRow{o, p})
	}
	return rows
}

type otherRow struct {
	OtherOrder
	page whySheet
}

func (r otherRow) Clock() string { return r.page.Clock(r.At) }
func (r otherRow) State() string { return r.page.words.state(r.Tells, "") }
func (r otherRow) Path() string {
	if !isRule(r.Rule) {
		return ""
	}
	return rulePath(r.Rule)
}

// Fate says what became of it.
func (r otherRow) Fate() string {
	w := r.page.words
	switch {
	case !r.Later && !r.Same:
		return w.text("why.overridden")
	case !r.Later:
		return w.text("why.same_before")
	case r.Same:
		return w.text("why.same_after")
	}
	return w.text("why.not_come")
}

// lasted is a time in milliseconds; "" of none.
func (w *words) lasted(ms float64) string {
	if ms <= 0 {
		return ""
	}
	return w.span(time.Duration(ms * float64(time.Millisecond)))
}

// decisionPath is the page that says why a decision was made; "" where there is none.
func decisionPath(d Decision) string {
	name, at := d.Rule, d.At
	kind, of, _ := strings.Cut(d.Rule, ".")
	switch kind {
	case "rule", "link", "machine":
	case "output", "cover", "device":
		name = of
	default:
		return ""
	}
	return whyPath(name, at)
}
