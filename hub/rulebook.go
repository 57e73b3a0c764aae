package hub

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/config"
	"hearth/history"
	"hearth/rules"
	"hearth/web"
)

// What the pages of the rules show: where each stands is asked of the loop; what it did and
// how it is written is looked up by who asks.

// Rules lists them. What one did last before the hub started is in the history.
func (p page) Rules(ctx context.Context) ([]web.Rule, error) {
	type asked struct {
		all  []web.Rule
		past *history.History
	}
	got, err := ask(ctx, p.Hub, func() asked {
		past, _ := p.pastNow()
		return asked{p.ruleViews(), past}
	})
	if err != nil {
		return nil, err
	}
	p.lastRuns.fill(ctx, got.all, got.past)
	return got.all, nil
}

// pastNow is the history, if one is kept; or why there is none.
func (h *Hub) pastNow() (past *history.History, missing string) {
	switch {
	case !h.cfg.History.On():
		return nil, errNoHistory.Error()
	case h.past == nil:
		return nil, cmp.Or(h.pastTrouble, "it is not open")
	}
	return h.past, ""
}

// ruleViews is rules as the page shows them; with names only those.
func (h *Hub) ruleViews(names ...string) (all []web.Rule) {
	now := h.now()
	enabled := h.engine.Enabled()
	last := make(map[string]trace)
	for name, list := range h.traces {
		name, _, _ = strings.Cut(name, "[")
		if t := list[len(list)-1]; t.ID != 0 && (last[name].At.IsZero() || last[name].At.Before(t.At)) {
			last[name] = t
		}
	}
	for _, o := range h.engine.Outlines(now, names...) {
		kind, name, _ := strings.Cut(o.Name, ".")
		r := web.Rule{Name: o.Name, Kind: kind, Enabled: o.Enabled, State: o.State, Of: o.Of, Running: o.Running, Next: o.Next, Ran: o.Ran, Errors: o.Errors, Error: printable(o.Error)}
		if _, may := enabled[name]; may && kind == "rule" {
			r.Switches = name
		}
		for _, line := range o.Underway {
			if o.State != "" && line == o.Name+": "+o.State { // which is told beside
				continue
			}
			r.Underway = append(r.Underway, printable(strings.TrimPrefix(line, o.Name+": ")))
		}
		if t, ok := last[o.Name]; ok {
			r.Last = &web.RuleLast{At: t.At, Outcome: t.Outcome, Because: cmp.Or(t.Why, t.Trigger)}
		}
		all = append(all, r)
	}
	return all
}

// lastRuns is what rules decided last before the hub started, as far as somebody has asked:
// that does not change any more.
type lastRuns struct {
	mu sync.Mutex
	of map[string]*web.RuleLast // nil: nothing was found
}

// lookBack is how long it may take to look for them. The rest stays unknown until they run.
const lookBack = 300 * time.Millisecond

// fill looks in a history for what rules of a list did last that have done nothing yet.
func (l *lastRuns) fill(ctx context.Context, all []web.Rule, past *history.History) {
	l.mu.Lock() // who asks meanwhile wants to know the same
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[string]*web.RuleLast)
	}
	var missing []string
	for i := range all {
		r := &all[i]
		if found, looked := l.of[r.Name]; r.Last == nil && looked {
			r.Last = found
		} else if r.Last == nil {
			missing = append(missing, r.Name)
		}
	}
	if len(missing) == 0 || past == nil {
		return
	}
	found := make(map[string]*web.RuleLast)
	until := time.Now().Add(lookBack)
	for d, err := range past.Before(time.Now().AddDate(1, 0, 0), missing) {
		if err != nil || ctx.Err() != nil || time.Now().After(until) {
			break
		}
		name, _, _ := strings.Cut(d.Rule, "[")
		if found[name] == nil && slices.Contains(missing, name) {
			found[name] = &web.RuleLast{At: d.At.Wall, Outcome: string(d.Outcome), Because: printable(cmp.Or(d.Why, d.Trigger))}
			if len(found) == len(missing) {
				break
			}
		}
	}
	for _, name := range missing {
		if found[name] != nil || ctx.Err() == nil { // who gave up did not look far enough for the others
			l.of[name] = found[name]
		}
	}
	for i := range all {
		if all[i].Last == nil {
			all[i].Last = found[all[i].Name]
		}
	}
}

// ruleNamed is the name with its kind of a rule, a link or a machine; false if there is none.
func (h *Hub) ruleNamed(name string) (string, bool) {
	var found string
	for _, o := range h.engine.Outlines(h.now()) {
		_, short, _ := strings.Cut(o.Name, ".")
		switch {
		case o.Name == name || slices.Contains(o.Of, name):
			return name, true
		case short == name && (found == "" || strings.HasPrefix(o.Name, "rule.")):
			found = o.Name
		}
	}
	return found, found != ""
}

// Rule takes one apart.
func (p page) Rule(ctx context.Context, name string) (web.RuleDetail, error) {
	type asked struct {
		web.RuleDetail
		known   bool
		traces  []trace
		past    *history.History
		cfg     *Config
		missing string // why there is no history
	}
	got, err := ask(ctx, p.Hub, func() (a asked) {
		now := p.now()
		full, ok := p.ruleNamed(name)
		if a.known = ok; !ok {
			return a
		}
		base, _, _ := strings.Cut(full, "[")
		if all := p.ruleViews(base); len(all) == 1 {
			a.Rule = all[0]
		}
		for _, s := range p.engine.Stances(full, now, partsShown) {
			a.Parts = append(a.Parts, p.rulePart(s))
		}
		a.Reads, a.Sets = p.engine.Reach(full)
		for rule, list := range p.traces {
			if rule == full || strings.HasPrefix(rule, full+"[") {
				a.traces = append(a.traces, list...)
			}
		}
		a.cfg, a.Rule.Name = p.cfg, full
		a.past, a.missing = p.pastNow()
		return a
	})
	switch {
	case err != nil:
		return web.RuleDetail{}, err
	case !got.known:
		return web.RuleDetail{}, web.NotFound("no rule, link or machine is named " + printable(name))
	}
	d := got.RuleDetail
	if got.past == nil {
		d.Short = "only what it did since the hub started is known: " + got.missing
	}
	d.Runs = runsOf(recentOf(ctx, p.Hub, got.past, d.Name, got.traces))
	one := []web.Rule{d.Rule}
	p.lastRuns.fill(ctx, one, got.past)
	d.Rule = one[0]
	d.Source, d.Unread = got.cfg.excerpts(d.Name, p.written.read(got.cfg.path))
	return d, nil
}

func (h *Hub) rulePart(s rules.Stance) web.RulePart {
	p := web.RulePart{Name: s.Name, Cooling: s.Cooling}
	for _, line := range s.Underway {
		p.Underway = append(p.Underway, printable(strings.TrimPrefix(line, s.Name+": ")))
	}
	for _, t := range s.Triggers {
		p.Triggers = append(p.Triggers, web.RuleSight{Text: t.Text, Asks: askable(t.Source), Holds: t.Holds, Why: printable(t.Why)})
	}
	for _, c := range s.Conditions {
		p.Conditions = append(p.Conditions, web.Check{Text: c.Text, Saw: printable(c.Saw), OK: c.OK})
	}
	return p
}

// askable is a source as /why is asked of it; "" where it is none of one thing.
func askable(source string) string {
	if strings.ContainsAny(source, "+#{ ") {
		return ""
	}
	return source
}

// partsShown is of how many of its parts.
const partsShown = 50

// runsShown is of how many decisions of a rule its page tells.
const runsShown = 60

// recentOf is the newest decisions of a rule, the newest first: those of the history, with
// what traces know beside. It takes at most half a second.
func recentOf(ctx context.Context, h *Hub, past *history.History, name string, traces []trace) []trace {
	latency := make(map[uint64]float64)
	for _, t := range traces {
		latency[t.ID] = t.Latency
	}
	var all []trace
	if past != nil {
		until := time.Now().Add(500 * time.Millisecond)
		for d, err := range past.Before(time.Now().AddDate(1, 0, 0), []string{name}) {
			if err != nil || ctx.Err() != nil || len(all) == runsShown || time.Now().After(until) {
				break
			}
			if base, _, _ := strings.Cut(d.Rule, "["); d.Rule == name || base == name {
				t := h.traceOf(d)
				t.Latency = latency[d.ID]
				all = append(all, t)
			}
		}
	}
	for _, t := range traces { // also those that a slow disk keeps us waiting for
		if !slices.ContainsFunc(all, func(o trace) bool { return o.ID == t.ID }) {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b trace) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID)) })
	return all[:min(runsShown, len(all))]
}

// runsOf puts decisions together that follow from one another; they come newest first.
func runsOf(all []trace) (runs []web.RuleRun) {
	of := make(map[uint64]int) // by decision
	for _, t := range slices.Backward(all) {
		i, ok := of[t.Follows]
		if t.Follows == 0 || !ok {
			i = len(runs)
			runs = append(runs, web.RuleRun{Instance: strings.TrimPrefix(t.Rule+t.Instance, written(t.Rule))})
		}
		of[t.ID] = i
		steps := &runs[i].Steps
		s := web.RuleStep{At: t.At, Outcome: t.Outcome, Trigger: t.Trigger, Why: t.Why, Latency: t.Latency}
		if n := len(*steps); n > 0 {
			s.After = float64(t.At.Sub((*steps)[n-1].At).Microseconds()) / 1000
		}
		if m := t.Message; m != nil {
			s.Asks = m.Source
			if m.Source == "" || strings.ContainsAny(m.Source, "+#{") {
				s.Asks = m.Topic
			}
			if s.Cause = s.Asks; m.Text != "" {
				s.Cause = strings.TrimSpace(s.Asks + " " + m.Text)
			}
			if s.By = m.By; len(m.From) > 0 {
				s.By = strings.Join(m.From, ", ")
			}
		}
		for _, c := range t.Checks {
			s.Checks = append(s.Checks, web.Check{Text: c.Text, Saw: c.Saw, OK: c.OK})
		}
		s.Does = slices.Concat(t.Sets, t.Commands)
		*steps = append(*steps, s)
	}
	slices.Reverse(runs)
	return runs
}

// written is the name of a rule as it stands in the configuration.
func written(rule string) string {
	rule, _, _ = strings.Cut(rule, "[")
	return rule
}

// Enable lets a rule run, or no longer, as a message on its topic does.
func (p page) Enable(ctx context.Context, name string, on bool) error {
	return p.try(ctx, func() error {
		if _, found := p.engine.Enabled()[name]; !found {
			if _, there := p.cfg.Rule.Get(name); there {
				return web.Conflict("rule." + name + " has enabled = false in the configuration, and only there it can be let run")
			}
			return web.NotFound(unknownName("rule", name, p.cfg.Rule.Names()).Error())
		}
		did := "disabled"
		if on {
			did = "enabled"
		}
		p.obey(p.happen(rules.Event{Kind: rules.Enable, Name: name, On: on, Text: who(ctx) + " " + did + " it on the page"}))
		p.tellRule("rule." + name)
		return nil
	})
}

// --- What the pages that watch are told ---

// newsAtOnce is of how many rules the pages are told in one second: more would fill what a
// page may be behind.
const newsAtOnce = 64

// isNews remembers that a rule stands otherwise than the pages were told.
func (h *Hub) isNews(rule string) {
	if len(h.watchers) == 0 {
		return
	}
	switch kind, _, _ := strings.Cut(rule, "."); kind {
	case "rule", "link", "machine":
		h.news[written(rule)] = true
	}
}

// tellNews tells of rules that stand otherwise, once a second.
func (h *Hub) tellNews() {
	if len(h.watchers) == 0 {
		clear(h.news)
	}
	if len(h.news) == 0 {
		return
	}
	names := make([]string, 0, newsAtOnce)
	for name := range h.news {
		if names = append(names, name); len(names) == newsAtOnce {
			break
		}
	}
	h.tellRule(names...)
}

func (h *Hub) tellRule(names ...string) {
	for _, name := range names {
		delete(h.news, name)
	}
	for _, r := range h.ruleViews(names...) {
		h.tell(web.Event{Rule: &r})
	}
}

// --- How a rule is written ---

// writtenRules are the files of a configuration as they are now. To parse those of 500 rules takes longer
// than the rest of a rule's page, so that is done once they are others.
type writtenRules struct {
	mu    sync.Mutex
	path  string
	texts *config.Texts
}

func (o *writtenRules) read(path string) *config.Texts {
	o.mu.Lock() // who asks meanwhile wants to know the same
	defer o.mu.Unlock()
	if o.texts == nil || o.path != path || !o.texts.Fresh() {
		o.path, o.texts = path, config.Load(path, nil).Texts()
	}
	return o.texts
}

// excerpts is where a rule is written, as its files are now, without what looks like a secret;
// or why nobody knows.
func (c *Config) excerpts(name string, texts *config.Texts) (list []web.Excerpt, trouble string) {
	kind, short, _ := strings.Cut(written(name), ".")
	for try := short; list == nil; {
		for _, file := range texts.Files() {
			src := texts.Source(file)
			if src == nil {
				return nil, "its file " + file + " can't be read"
			}
			shown := file
			if rel, err := filepath.Rel(filepath.Dir(c.path), file); err == nil {
				shown = rel
			}
			for _, e := range config.Excerpts(src, kind, try) {
				list = append(list, web.Excerpt{File: shown, Line: e.Line, Text: c.unsecret(e.Text)})
			}
		}
		i := strings.LastIndex(try, "_")
		if kind != "machine" || i < 0 { // each has put something behind its name
			break
		}
		try = try[:i]
	}
	switch {
	case texts.Sum() != c.sum:
		trouble = "the files have changed since the hub read them, and what they say now is not in force yet"
	case list == nil:
		trouble = fmt.Sprintf("%s is not written in %s", name, c.path)
	}
	return list, trouble
}

// Literals that say by their key, or their place in an address, that others must not read them.
var (
	secretKey = regexp.MustCompile(`(?i)((?:authorization|token|password|passwd|secret|credentials?|cookie|api[_-]?key|x-[a-z0-9-]*key)["']?\s*[=:]\s*)("(?:[^"\\\n]|\\.)*"|'[^'\n]*')`)
	secretURL = regexp.MustCompile(`(://)[^/\s"'@{]+@`)
	secretArg = regexp.MustCompile(`(?i)([?&](?:token|key|api_?key|password|secret|auth|access_token)=)[^&\s"'{]+`)
)

// unsecret is a text without the secrets of the configuration, and without what looks as if
// it were one. What names a secret may stay.
func (c *Config) unsecret(text string) string {
	for _, s := range c.Secret {
		if len(s) > 2 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	text = secretKey.ReplaceAllStringFunc(text, func(found string) string {
		if strings.Contains(found, "secret(") {
			return found
		}
		return secretKey.ReplaceAllString(found, `$1"***"`)
	})
	return secretArg.ReplaceAllString(secretURL.ReplaceAllString(text, "$1***@"), "$1***")
}
