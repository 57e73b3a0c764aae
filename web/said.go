package web

import (
	"slices"
	"strings"
	"sync"
)

// What the house says in sentences comes in English: troubles, reasons, refusals. Some of it
// was recorded long ago, and all of it is told to programs. So the page does not ask for other
// sentences; it knows those that there are, from words/said.*.toml, and says them in the
// language of who looks. One that it does not know stays as it is.
//
// Each type that has sentences has a method in, which is it in a language, as clean is it fit
// to be shown.

// sayings are the sentences of a language, in the order of its file.
type sayings struct {
	begin [256][]*saying // by the first byte of what may be one
	all   []*saying

	mu   sync.Mutex
	kept map[string]string // what was said lately: the same is on the next page
}

// A saying is a sentence with holes.
type saying struct {
	text  string
	parts []string // what stands before the first hole, between them, and after the last
	holes []hole
	as    string // in the language
}

// A hole is {name}, which one word fills; {name...}, which any text does; {name?}, a text that
// is said in the language as well, if it can be; or {name!}, one that must be.
type hole struct {
	in   string // as it stands in both sentences
	kind byte   // ' ', '.', '?' or '!'
}

// mostKept is of how many sentences it is remembered how they are said: some pages full.
const mostKept = 1000

// mostHoles is how many a sentence has.
const mostHoles = 6

// mostSaid is of how many parts of a text it is looked which sentence each is: half a
// millisecond for what means ill, and many times what a long decision has.
const mostSaid = 100

// say is a sentence of the house in the language of the words.
func (w *words) say(text string) string {
	if w.said == nil || text == "" {
		return text
	}
	s := w.said
	s.mu.Lock()
	said, ok := s.kept[text]
	s.mu.Unlock()
	if ok {
		return said
	}
	left := mostSaid
	said, _ = s.say(text, &left)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || len(s.kept) >= mostKept {
		s.kept = make(map[string]string)
	}
	s.kept[text] = said
	return said
}

// sayDone is what was done in the language of the words. But for rules, which are enabled and
// disabled, that is a name with a value, and no sentence.
func (w *words) sayDone(text string) string {
	if strings.HasPrefix(text, "rule.") {
		return w.say(text)
	}
	return text
}

func (s *sayings) say(text string, left *int) (said string, ok bool) {
	if *left--; *left < 0 || text == "" {
		return text, false
	}
	for _, one := range s.begin[text[0]] {
		if said, ok := one.fill(s, text, left); ok {
			return said, true
		}
	}
	return text, false
}

// fill is the saying with what a text has in its holes; false if it is another sentence.
func (one *saying) fill(s *sayings, text string, left *int) (string, bool) {
	last := len(one.holes)
	rest, ok := strings.CutPrefix(text, one.parts[0])
	if !ok || last == 0 {
		return one.as, ok && rest == ""
	}
	if !strings.HasSuffix(rest, one.parts[last]) {
		return "", false
	}
	var room [2 * mostHoles]string
	puts := room[:0]
	for i, h := range one.holes {
		var value string
		if i == last-1 {
			value, ok = strings.CutSuffix(rest, one.parts[last])
		} else {
			value, rest, ok = strings.Cut(rest, one.parts[i+1])
		}
		if !ok || value == "" || h.kind == ' ' && strings.Contains(value, " ") {
			return "", false
		}
		puts = append(puts, h.in, value)
	}
	for i, h := range one.holes { // only of what fits
		if h.kind == '?' || h.kind == '!' {
			said, ok := s.say(puts[2*i+1], left)
			if h.kind == '!' && (!ok || said == puts[2*i+1]) {
				return "", false
			}
			puts[2*i+1] = said
		}
	}
	return strings.NewReplacer(puts...).Replace(one.as), true
}

// newSaying reads one of the file.
func newSaying(text, as string) *saying {
	one := &saying{text: text, as: as}
	rest := text
	for {
		before, after, open := strings.Cut(rest, "{")
		one.parts = append(one.parts, before)
		if !open {
			return one
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			panic("a hole has no end: " + text)
		}
		h := hole{"{" + name + "}", ' '}
		if strings.ContainsAny(name[len(name)-1:], ".?!") {
			h.kind = name[len(name)-1]
		}
		one.holes = append(one.holes, h)
		rest = after
	}
}

// sayingsOf are those of a language; nil if it has none, as English needs none.
func sayingsOf(language string) *sayings {
	content, err := files.ReadFile("words/said." + language + ".toml")
	if err != nil {
		return nil
	}
	s := new(sayings)
	var free []*saying // which begin with a hole
	var begins [256]bool
	for text, as := range entriesOf(content) {
		one := newSaying(text, as)
		s.all = append(s.all, one)
		if one.parts[0] == "" {
			free = append(free, one)
		} else {
			begins[one.parts[0][0]] = true
		}
	}
	for c := range s.begin {
		if s.begin[c] = free; begins[c] {
			s.begin[c] = slices.DeleteFunc(slices.Clone(s.all), func(one *saying) bool { return one.parts[0] != "" && one.parts[0][0] != byte(c) })
		}
	}
	return s
}

// --- What has sentences ---

// in is v in the language of the words, a copy, for others are told the same in theirs.
func (v View) in(w *words) View {
	if w.said == nil {
		return v
	}
	v.Trouble, v.Waiting = each(v.Trouble, w.say), each(v.Waiting, w.say)
	v.Things, v.Outputs, v.Inputs = allSaid(w, v.Things, Thing.in), allSaid(w, v.Outputs, Pin.in), allSaid(w, v.Inputs, Pin.in)
	v.Readings, v.Decisions = allSaid(w, v.Readings, Reading.in), allSaid(w, v.Decisions, Decision.in)
	return v
}

// allSaid is a list in the language of the words. What was left out stays so.
func allSaid[T any](w *words, list []T, in func(T, *words) T) []T {
	if list == nil || w.said == nil {
		return list
	}
	return each(list, func(one T) T { return in(one, w) })
}

// oneSaid is one that may not be there in the language of the words.
func oneSaid[T any](w *words, p *T, in func(T, *words) T) *T {
	return cleaned(p, func(one T) T { return in(one, w) })
}

func (t Thing) in(w *words) Thing {
	t.Hint, t.Note, t.Fault, t.Properties = w.say(t.Hint), w.say(t.Note), w.say(t.Fault), allSaid(w, t.Properties, Property.in)
	return t
}

func (p Property) in(w *words) Property {
	if p.Bad = w.say(p.Bad); p.Kind == "cover" {
		p.Text = w.say(p.Text)
	}
	// What it is called is no sentence; that it is a property says so.
	const property = "property "
	plain := strings.ToLower(strings.ReplaceAll(p.Title(), "_", " "))
	if said := w.say(property + plain); said != property+plain {
		p.Label = said
	}
	return p
}

func (p Pin) in(w *words) Pin {
	p.Fault, p.Note, p.Hint, p.Shows = w.say(p.Fault), w.say(p.Note), w.say(p.Hint), w.say(p.Shows)
	return p
}

func (r Reading) in(w *words) Reading {
	r.Bad = w.say(r.Bad)
	return r
}

// in also says what became of it: the sentence begins with the rule, the values of its captures
// and that.
func (d Decision) in(w *words) Decision {
	rest, ok := strings.CutPrefix(d.Text, d.Rule)
	if w.said == nil || !ok {
		return d
	}
	head := d.Rule
	if i := strings.Index(rest, "] "); strings.HasPrefix(rest, "[") && i > 0 {
		head, rest = head+rest[:i+1], rest[i+1:]
	}
	if why, ok := strings.CutPrefix(rest, " "+d.Outcome); ok {
		head, rest = head+" "+w.outcome(d.Outcome), why
	}
	why := strings.TrimLeft(rest, ":; ")
	d.Text = head + strings.TrimSuffix(rest, why) + w.say(why)
	return d
}

func (e Event) in(w *words) Event {
	if w.said == nil {
		return e
	}
	e.Output, e.Input, e.Reading = oneSaid(w, e.Output, Pin.in), oneSaid(w, e.Input, Pin.in), oneSaid(w, e.Reading, Reading.in)
	e.Decision, e.Thing, e.Rule = oneSaid(w, e.Decision, Decision.in), oneSaid(w, e.Thing, Thing.in), oneSaid(w, e.Rule, Rule.in)
	return e
}

func (r Rule) in(w *words) Rule {
	r.Underway, r.Error = each(r.Underway, w.say), w.say(r.Error)
	r.Last = cleaned(r.Last, func(l RuleLast) RuleLast {
		l.Because = w.say(l.Because)
		return l
	})
	return r
}

func (d RuleDetail) in(w *words) RuleDetail {
	if w.said == nil {
		return d
	}
	d.Rule, d.Short, d.Unread = d.Rule.in(w), w.say(d.Short), w.say(d.Unread)
	d.Parts = each(d.Parts, func(p RulePart) RulePart {
		p.Underway, p.Cooling, p.Conditions = each(p.Underway, w.say), w.say(p.Cooling), allSaid(w, p.Conditions, Check.in)
		p.Triggers = each(p.Triggers, func(s RuleSight) RuleSight {
			s.Text, s.Why = w.say(s.Text), w.say(s.Why)
			return s
		})
		return p
	})
	d.Runs = each(d.Runs, func(r RuleRun) RuleRun {
		r.Steps = each(r.Steps, func(s RuleStep) RuleStep {
			s.Trigger, s.By, s.Why, s.Checks, s.Does = w.say(s.Trigger), w.say(s.By), w.say(s.Why), allSaid(w, s.Checks, Check.in), each(s.Does, w.sayDone)
			return s
		})
		return r
	})
	return d
}

func (c Check) in(w *words) Check {
	c.Text, c.Saw = w.say(c.Text), w.say(c.Saw)
	return c
}

func (y Why) in(w *words) Why {
	if w.said == nil {
		return y
	}
	y.Missing, y.Waits, y.Path = w.say(y.Missing), each(y.Waits, w.say), allSaid(w, y.Path, Cause.in)
	y.Others = each(y.Others, func(o OtherOrder) OtherOrder {
		o.Trigger, o.Gave, o.Held = w.say(o.Trigger), w.say(o.Gave), each(o.Held, w.say)
		return o
	})
	y.Could = each(y.Could, func(c CouldAct) CouldAct {
		c.Tells, c.Stopped, c.Acted = each(c.Tells, w.say), oneSaid(w, c.Stopped, Hindrance.in), oneSaid(w, c.Acted, Hindrance.in)
		c.Now = each(c.Now, func(line string) string {
			rest := c.without(line)
			return strings.TrimSuffix(line, rest) + w.say(rest)
		})
		return c
	})
	return y
}

func (c Cause) in(w *words) Cause {
	if c.By != "computed" && c.By != "time" { // which are no sentences
		c.By = w.say(c.By)
	}
	c.Trigger, c.Reason, c.Checks, c.Does = w.say(c.Trigger), w.say(c.Reason), allSaid(w, c.Checks, Check.in), each(c.Does, w.sayDone)
	c.Held, c.Began = each(c.Held, w.say), allSaid(w, c.Began, Cause.in)
	return c
}

func (h Hindrance) in(w *words) Hindrance {
	h.Trigger, h.Reason, h.Checks = w.say(h.Trigger), w.say(h.Reason), allSaid(w, h.Checks, Check.in)
	return h
}

func (b Board) in(w *words) Board {
	b.Pins, b.Others = allSaid(w, b.Pins, BoardPin.in), allSaid(w, b.Others, BoardPin.in)
	return b
}

func (p BoardPin) in(w *words) BoardPin {
	p.Held, p.Caution = w.say(p.Held), w.say(p.Caution)
	p.Uses = each(p.Uses, func(u PinUse) PinUse {
		u.Wrong, u.Cautions = w.say(u.Wrong), each(u.Cautions, w.say)
		return u
	})
	return p
}

func (c Configuration) in(w *words) Configuration {
	c.Files = each(c.Files, func(f ConfigFile) ConfigFile {
		f.Hidden, f.Locked = w.say(f.Hidden), w.say(f.Locked)
		return f
	})
	return c
}

func (t Trial) in(w *words) Trial {
	t.Differences = each(t.Differences, func(d TrialDifference) TrialDifference {
		d.Because, d.Instead, d.Done = w.say(d.Because), w.say(d.Instead), each(d.Done, w.sayDone)
		return d
	})
	return t
}
