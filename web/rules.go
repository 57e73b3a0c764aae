package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Rulebook is what the pages of the rules need of a house.
type Rulebook interface {
	// Rules is all rules, links and machines, in the order in which they decide.
	Rules(ctx context.Context) ([]Rule, error)

	// Rule takes one apart: "rule.stairs", "link.hall", "machine.alarm", or without the kind
	// the first of these. The error of one that is not there is a [NotFound].
	Rule(ctx context.Context, name string) (RuleDetail, error)

	// Enable lets a rule run, or no longer. Whether somebody may, web has judged.
	Enable(ctx context.Context, name string, on bool) error
}

// A Rule is a rule, a link or a machine as it is written, and where it stands.
type Rule struct {
	Name     string    `json:"name"` // "rule.stairs"
	Kind     string    `json:"kind"` // "rule", "link", "machine"
	Enabled  bool      `json:"enabled"`
	State    string    `json:"state,omitempty"` // of a machine
	Of       []string  `json:"of,omitempty"`    // those that each made of it: "rule.lamps[kitchen]"
	Running  int       `json:"running,omitempty"`
	Underway []string  `json:"underway"`         // what it waits for, a line each
	Next     time.Time `json:"next,omitzero"`    // of its times of day
	Last     *RuleLast `json:"last,omitempty"`   // what it decided last
	Ran      int       `json:"ran"`              // runs since the hub started
	Errors   int       `json:"errors,omitempty"` // expressions that failed and the like
	Error    string    `json:"error,omitempty"`  // the last of them

	// Switches is the name by which it is enabled; "" where only its configuration can. Tells
	// says that who is told this may do so, and is set by web.
	Switches string `json:"-"`
	Tells    bool   `json:"tells,omitempty"`
}

// A RuleLast is the newest decision of a rule.
type RuleLast struct {
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Because string    `json:"because,omitempty"` // what set it off, or why not
}

// A RuleDetail is a rule with all that there is to tell of it.
type RuleDetail struct {
	Rule
	Parts  []RulePart `json:"parts"`
	Reads  []string   `json:"reads"`            // what it looks at, as sources
	Sets   []string   `json:"sets"`             // what it tells something
	Runs   []RuleRun  `json:"runs"`             // the newest first
	Short  string     `json:"short,omitempty"`  // why there are no more runs
	Source []Excerpt  `json:"source"`           // how it is written
	Unread string     `json:"unread,omitempty"` // why that is not known, or not in force
}

// A RulePart is one of those that each made of a rule, or that stand for a value of its
// captures; or the whole.
type RulePart struct {
	Name       string      `json:"name"`
	Underway   []string    `json:"underway"`
	Triggers   []RuleSight `json:"triggers"`
	Conditions []Check     `json:"conditions"` // as they are now
	Cooling    string      `json:"cooling,omitempty"`
}

// A RuleSight is a trigger, with what it sees now.
type RuleSight struct {
	Text  string `json:"text"`
	Asks  string `json:"asks,omitempty"` // what it looks at, as /why has it
	Holds bool   `json:"holds"`
	Why   string `json:"why"`
}

// A Check is a condition with the value that it saw.
type Check struct {
	Text string `json:"text"`
	Saw  string `json:"saw,omitempty"`
	OK   bool   `json:"ok"`
}

// A RuleRun is what came of one trigger: decisions that follow from one another.
type RuleRun struct {
	Instance string     `json:"instance,omitempty"`
	Steps    []RuleStep `json:"steps"` // the oldest first
}

// A RuleStep is one decision.
type RuleStep struct {
	At      time.Time `json:"at"`
	After   float64   `json:"after_ms,omitempty"` // after the one before it
	Outcome string    `json:"outcome"`
	Trigger string    `json:"trigger,omitempty"`
	Cause   string    `json:"cause,omitempty"` // what set it off: "pir is true"
	Asks    string    `json:"asks,omitempty"`  // that as /why has it
	By      string    `json:"by,omitempty"`    // who asked, or the rules it follows from
	Why     string    `json:"why,omitempty"`
	Checks  []Check   `json:"conditions,omitempty"`
	Does    []string  `json:"does,omitempty"`
	Latency float64   `json:"latency_ms,omitempty"` // from what set it off to the decision
}

// An Excerpt is some lines of a configuration file. What looks like a secret is masked.
type Excerpt struct {
	File string `json:"file"`
	Line int    `json:"line"` // of the first
	Text string `json:"text"`
}

func (r Rule) clean() Rule {
	r.Name, r.Kind, r.State, r.Error = mended(r.Name, mostName), mended(r.Kind, 20), mended(r.State, mostName), sentence(r.Error)
	if len(r.Of) > mostParts {
		r.Of = r.Of[:mostParts]
	}
	if len(r.Underway) > mostParts {
		r.Underway = append(slices.Clone(r.Underway[:mostParts]), "…")
	}
	r.Of, r.Underway, r.Next = each(r.Of, sentence), each(r.Underway, sentence), sane(r.Next)
	r.Last = cleaned(r.Last, func(l RuleLast) RuleLast {
		return RuleLast{sane(l.At), mended(l.Outcome, 20), sentence(l.Because)}
	})
	return r
}

// mostParts is how many parts of a rule are told: a {name} may have met a thousand values.
const mostParts = 50

func (d RuleDetail) clean() RuleDetail {
	d.Rule = d.Rule.clean()
	if len(d.Parts) > mostParts {
		d.Parts = d.Parts[:mostParts]
	}
	d.Parts = each(d.Parts, func(p RulePart) RulePart {
		p.Name, p.Cooling, p.Underway = mended(p.Name, mostName), sentence(p.Cooling), each(p.Underway, sentence)
		p.Triggers = each(p.Triggers, func(s RuleSight) RuleSight {
			return RuleSight{sentence(s.Text), s.Asks, s.Holds, sentence(s.Why)}
		})
		p.Conditions = each(p.Conditions, Check.clean)
		return p
	})
	d.Runs = each(d.Runs, func(r RuleRun) RuleRun {
		return RuleRun{mended(r.Instance, mostName), each(r.Steps, RuleStep.clean)}
	})
	d.Reads, d.Sets, d.Short, d.Unread = each(d.Reads, whole), each(d.Sets, whole), sentence(d.Short), sentence(d.Unread)
	d.Source = each(d.Source, func(e Excerpt) Excerpt {
		var lines []string
		for line := range strings.Lines(e.Text) {
			lines = append(lines, mended(strings.TrimRight(line, "\r\n"), mostText))
		}
		return Excerpt{mended(e.File, mostText), e.Line, strings.Join(lines, "\n")}
	})
	return d
}

// whole is a name that is asked for again, and so not cut.
func whole(name string) string { return mended(name, 1<<10) }

func (c Check) clean() Check { return Check{sentence(c.Text), sentence(c.Saw), c.OK} }

func (s RuleStep) clean() RuleStep {
	s.At, s.Outcome, s.Trigger, s.Cause, s.By, s.Why = sane(s.At), mended(s.Outcome, 20), sentence(s.Trigger), sentence(s.Cause), sentence(s.By), sentence(s.Why)
	s.Checks, s.Does = each(s.Checks, Check.clean), each(s.Does, sentence)
	return s
}

var hookPath = regexp.MustCompile(`/hook/[^\s"'\\,;)]+`)

// hookless is what is told without the paths of webhooks, for who may not use everything: who
// knows one may use it.
func hookless[T any](r Rights, told T) T {
	text := asJSON(told)
	if r.Whole(Use) || !hookPath.Match(text) {
		return told
	}
	var less T
	if err := json.Unmarshal(hookPath.ReplaceAll(text, []byte("/hook/***")), &less); err != nil {
		panic(err) // it was made of that type
	}
	return less
}

// switched is by what topic it is judged whether somebody may enable a rule, as over MQTT.
func switched(rule string) string { return "hearth/rule/" + rule + "/set" }

// seenBy is a rule as a visitor may see it, who may see the whole house.
func (r Rule) seenBy(of Rights) Rule {
	r.Tells = r.Switches != "" && of.On(switched(r.Switches), Use)
	return r
}

// --- The answers ---

var errWholeOnly = refusal{http.StatusForbidden, "what rules do and why is told of the whole house, and so is for those who may see all of it"}

// rules asks the house, for who may see all of it.
func (s *Server) rules(r *http.Request) ([]Rule, error) {
	rights := visitorOf(r).rights
	if !rights.Whole(See) {
		return nil, errWholeOnly
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	all, err := s.house.Rules(ctx)
	return allSaid(s.wordsFor(r), hookless(rights, each(all, func(one Rule) Rule { return one.clean().seenBy(rights) })), Rule.in), err
}

func (s *Server) rule(r *http.Request) (RuleDetail, error) {
	rights := visitorOf(r).rights
	if !rights.Whole(See) {
		return RuleDetail{}, errWholeOnly
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	d, err := s.house.Rule(ctx, r.PathValue("name"))
	if err != nil {
		return RuleDetail{}, err
	}
	d = d.clean()
	d.Rule = d.Rule.seenBy(rights)
	return hookless(rights, d).in(s.wordsFor(r)), nil
}

func (s *Server) serveRules(w http.ResponseWriter, r *http.Request) {
	all, err := s.rules(r)
	if err != nil {
		refuseFor(w, err)
		return
	}
	send(w, r, "application/json", asJSON(ruleList{all}))
}

func (s *Server) serveRule(w http.ResponseWriter, r *http.Request) {
	d, err := s.rule(r)
	if err != nil {
		refuseFor(w, err)
		return
	}
	send(w, r, "application/json", asJSON(d))
}

// A ruleList is GET /api/v1/rules.
type ruleList struct {
	Rules []Rule `json:"rules"` // in the order in which they decide
}

// A rulesSheet is /rules: nobody who may not see the whole house has one.
type rulesSheet struct {
	Rules []ruleRow
	Edits bool
}

func (s *Server) rulesPage(r *http.Request, v View) (any, error) {
	all, err := s.rules(r)
	if err == errWholeOnly {
		return rulesSheet{}, nil // the page says so
	}
	p := rulesSheet{Edits: visitorOf(r).rights.Whole(Change)}
	for _, one := range all {
		p.Rules = append(p.Rules, ruleRow{one, v.Now, s.wordsFor(r), true})
	}
	return p, err
}

// A ruleRow is what the template of a row takes.
type ruleRow struct {
	Rule
	now    time.Time
	words  *words
	listed bool // with others
}

// Short is the name without its kind.
func (r ruleRow) Short() string { return strings.TrimPrefix(r.Name, r.Kind+".") }

// KindWord is what it is, in words.
func (r ruleRow) KindWord() string {
	switch r.Kind {
	case "link":
		return r.words.text("rules.link")
	case "machine":
		return r.words.text("rules.machine")
	}
	return r.words.text("rules.rule")
}

// Path is that of its page.
func (r ruleRow) Path() string { return rulePath(r.Name) }

func rulePath(name string) string { return "/rules/" + url.PathEscape(name) }

// Is says in words how it stands.
func (r ruleRow) Is() string {
	switch {
	case !r.Enabled:
		return r.words.text("rules.off")
	case r.State != "":
		return r.State
	case r.Running > 0:
		return r.words.text("rules.running")
	case len(r.Underway) > 0:
		return r.words.text("rules.waiting")
	}
	return r.words.text("rules.on")
}

// Doing is what it waits for, in one line.
func (r ruleRow) Doing() string { return strings.Join(r.Underway[:min(3, len(r.Underway))], " · ") }

// From is the page that the row is on, to which its form leads back.
func (r ruleRow) From() string { return map[bool]string{true: "rules"}[r.listed] }

// Class is by what that is drawn.
func (r ruleRow) Class() string {
	switch {
	case !r.Enabled:
		return "off"
	case r.Running > 0:
		return "running"
	case len(r.Underway) > 0:
		return "waiting"
	}
	return "on"
}

func (r ruleRow) NextTime() string {
	if r.Next.IsZero() {
		return ""
	}
	return r.words.clock(r.Next, r.now)
}

func (r ruleRow) LastTime() string {
	if r.Last == nil {
		return ""
	}
	return r.words.clock(r.Last.At, r.now)
}

func (r ruleRow) LastOutcome() string {
	if r.Last == nil {
		return r.words.text("rules.never")
	}
	return r.words.outcome(r.Last.Outcome)
}

func (r ruleRow) LastBecause() string {
	if r.Last == nil {
		return ""
	}
	return sentenceAfter(r.Last.Because)
}

// sentenceAfter is a text as it goes on behind a word.
func sentenceAfter(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// outcome is what became of a trigger, in words; what there are no words for stays.
func (w *words) outcome(o string) string {
	switch o {
	case "fired":
		return w.text("outcome.fired")
	case "pending":
		return w.text("outcome.pending")
	case "cancelled":
		return w.text("outcome.cancelled")
	case "blocked":
		return w.text("outcome.blocked")
	case "ignored":
		return w.text("outcome.ignored")
	case "queued":
		return w.text("outcome.queued")
	case "ended":
		return w.text("outcome.ended")
	case "went on":
		return w.text("outcome.went_on")
	case "stopped":
		return w.text("outcome.stopped")
	case "switched":
		return w.text("outcome.switched")
	case "dropped":
		return w.text("outcome.dropped")
	}
	return o
}

// A ruleSheet is /rules/NAME.
type ruleSheet struct {
	RuleDetail
	Row  ruleRow
	Edit string // where it is edited; "" for who may not

	view View
}

func (s *Server) rulePage(r *http.Request, v View) (any, error) {
	d, err := s.rule(r)
	if err != nil {
		return nil, err
	}
	p := ruleSheet{RuleDetail: d, Row: ruleRow{d.Rule, v.Now, s.wordsFor(r), false}, view: v}
	if visitorOf(r).rights.Whole(Change) {
		table, _, _ := strings.Cut(d.Name, "[")
		p.Edit = "/edit?at=" + url.QueryEscape(table)
	}
	return p, nil
}

// A mentioned is a name with the page that tells of it.
type mentioned struct{ Name, Path string }

// ReadsThese and SetsThese are what it looks at and what it tells something, with where each
// is told of.
func (p ruleSheet) ReadsThese() []mentioned { return p.view.mentions(p.Reads) }
func (p ruleSheet) SetsThese() []mentioned  { return p.view.mentions(p.Sets) }

func (v View) mentions(names []string) (all []mentioned) {
	for _, name := range names {
		m := mentioned{Name: v.called(name), Path: whyPath(name, time.Time{})}
		switch {
		case strings.HasPrefix(name, "rule."):
			m.Path = rulePath(name)
		case strings.Contains(name, "{"): // whom it means is known only when it runs
			m.Path = ""
		}
		all = append(all, m)
	}
	return all
}

// Steps are those of a run, as its template takes them.
func (p ruleSheet) Steps(run RuleRun) (rows []stepRow) {
	for _, s := range run.Steps {
		rows = append(rows, stepRow{s, p.Name, p.Row.now, p.Row.words})
	}
	return rows
}

type stepRow struct {
	RuleStep
	rule  string
	now   time.Time
	words *words
}

// Class is what became of it as a word of a style.
func (r stepRow) Class() string { return strings.ReplaceAll(r.Outcome, " ", "-") }

func (r stepRow) Clock() string  { return r.words.clock(r.At, r.now) }
func (r stepRow) Became() string { return r.words.outcome(r.Outcome) }
func (r stepRow) Later() string  { return r.words.lasted(r.After) }
func (r stepRow) Took() string   { return r.words.lasted(r.Latency) }
func (r stepRow) Path() string   { return whyPath(r.rule, r.At) }
func (r stepRow) CausePath() string {
	if r.Asks == "" {
		return ""
	}
	return whyPath(r.Asks, r.At)
}

// A sourceLine is one line of TOML, by what it is: "comment", "heading" or "".
type sourceLine struct {
	N     int
	Class string
	Text  string
}

// Lines are those of an excerpt.
func (e Excerpt) Lines() (lines []sourceLine) {
	n := e.Line
	for line := range strings.Lines(e.Text) {
		l := sourceLine{N: n, Text: strings.TrimRight(line, "\r\n")}
		switch begins := strings.TrimSpace(line); {
		case strings.HasPrefix(begins, "#"):
			l.Class = "comment"
		case strings.HasPrefix(begins, "["):
			l.Class = "heading"
		}
		lines = append(lines, l)
		n++
	}
	return lines
}

// --- Enabling ---

// enable lets a rule run or no longer, if who asks may.
func (s *Server) enable(r *http.Request, name string, on bool) error {
	rights := visitorOf(r).rights
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "rule."), "[") // all that each made of it, as over MQTT
	whole := rights.Whole(See)
	switch {
	case !whole && !rights.On(switched(name), See): // in the same words whether it is there or not
		return NotFound("no rule is named " + name)
	case !rights.On(switched(name), Use):
		return refusal{http.StatusForbidden, "you may look at rule." + name + " and not enable or disable it"}
	}
	err := s.house.Enable(ctx, name, on)
	if err == nil || whole {
		return err
	}
	if no, ok := errors.AsType[refusal](err); ok && no.status == http.StatusNotFound {
		return NotFound("no rule is named " + name) // and not which others there are
	}
	return refusal{http.StatusConflict, "rule." + name + " was not switched"}
}

const wantEnabled = `{"enabled":true} or {"enabled":false}`

// takeRule is POST /api/v1/rules/{name}.
func (s *Server) takeRule(w http.ResponseWriter, r *http.Request) {
	var told struct {
		Enabled *bool `json:"enabled"`
	}
	err := readJSON(w, r, 1<<10, wantEnabled, &told)
	if err == nil && told.Enabled == nil {
		err = Mistaken("want " + wantEnabled)
	}
	if err == nil {
		err = s.enable(r, r.PathValue("name"), *told.Enabled)
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// takeRuleForm is the same of a page without JavaScript, which is shown again.
func (s *Server) takeRuleForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	on := r.PostFormValue("enabled")
	if on != "true" && on != "false" {
		s.fail(w, r, http.StatusBadRequest, "want enabled=true or enabled=false")
		return
	}
	if err := s.enable(r, r.PathValue("name"), on == "true"); err != nil {
		s.failFor(w, r, err)
		return
	}
	to := rulePath(r.PathValue("name"))
	if r.PostFormValue("from") == "rules" {
		to = "/rules"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
