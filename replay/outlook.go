package replay

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
)

// An Outlook is what would have been different.
type Outlook struct {
	From        time.Time    `json:"from"`
	To          time.Time    `json:"to"`
	Events      int          `json:"events"`    // that the rules of the replay had
	Decisions   int          `json:"decisions"` // that they made
	Differences []Difference `json:"differences"`
	Others      int          `json:"others,omitempty"` // differences beyond those
	Silent      int          `json:"silent,omitempty"` // decisions that differ, of which nothing comes: a wait that began, a condition that said no
	Outputs     []Use        `json:"outputs"`
	Covers      []Course     `json:"covers,omitempty"`
	Changed     []string     `json:"changed,omitempty"` // rules of another definition than recorded, new, or gone
	Veiled      int          `json:"veiled,omitempty"`  // events that are not whole, for what they said was compared with a secret; the rules are taken to have done the same then
	Unheard     []string     `json:"unheard,omitempty"` // sources that rules look at and of which nothing is recorded
}

// Same reports whether nothing would have been different.
func (o *Outlook) Same() bool { return len(o.Differences)+o.Others+o.Silent == 0 }

// A Difference is something that would have been done as well, or would not.
type Difference struct {
	At       time.Time `json:"at"`
	Rule     string    `json:"rule"`
	Instance string    `json:"instance,omitempty"`
	Would    bool      `json:"would"`             // it would have been done; false: it was done, and would not have been
	Done     []string  `json:"done"`              // what it sends, sets and so on
	Because  string    `json:"because,omitempty"` // of where it is done: what set it off, and what it saw
	Instead  string    `json:"instead,omitempty"` // of where it is not: what became of the rule there
	Follows  string    `json:"follows,omitempty"` // the source whose other value led to it, or that something was different before; "" of a rule that is another one

	mono time.Duration
	void bool // its counterpart came a moment apart
}

// earlier is what a difference follows from where no one source led to it.
const earlier = "what was different before"

// A Use is how an output was used by record, and how it would have been.
type Use struct {
	Output   string        `json:"output"`
	Was      time.Duration `json:"on_ns"`
	Is       time.Duration `json:"would_on_ns"`
	Switches int           `json:"switches"`
	Would    int           `json:"would_switches"`
	On       []Spell       `json:"on,omitempty"` // when it was on
	WouldOn  []Spell       `json:"would_on,omitempty"`
}

// A Spell is some time that an output was on. Where there are more than maxSpells of them, those that follow are one.
type Spell struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// A Course is where a cover stood by record, and where it would have stood. Covers are seldom
// told of while they move, and that takes half a minute: so a run counts as where it led to.
type Course struct {
	Cover string        `json:"cover"`
	Was   float64       `json:"open_pct"` // on average, of the time in which that is known
	Is    float64       `json:"would_open_pct"`
	Runs  int           `json:"runs"`
	Would int           `json:"would_runs"`
	Apart time.Duration `json:"apart_ns"` // for how long it would have stood elsewhere
	Stood []Stand       `json:"stood,omitempty"`
	Stand []Stand       `json:"would_stand,omitempty"`
}

// A Stand is some time in which a cover stands at one place; while nobody knows where, there is none.
type Stand struct {
	Spell
	Open float64 `json:"open_pct"` // 0 is closed, 100 is open
}

const (
	// aRun is how long after the last word of a cover it may still be in the same run.
	aRun = 3 * time.Second
	// aMoment is how far apart the same may be done to count as the same.
	aMoment = 2 * time.Second
	// maxDifferences is how many are told; more would be no answer.
	maxDifferences = 10_000
	// maxSpells is how many are told of one output, of how it was and of how it would have been.
	maxSpells = 1000
)

// outlook gathers an Outlook.
type outlook struct {
	Outlook
	recent  []*Difference // of the last moment, which may still find their counterpart
	named   map[string]bool
	outputs map[string]*uses
	covers  map[string]*courses
	shift   time.Duration // by how much the clock was wrong, as is known by now
}

// uses is how one output is used.
type uses struct{ was, is use }

type use struct {
	on       bool
	known    bool
	since    time.Duration
	total    time.Duration
	switches int
	began    time.Time // by the wall clock: that of since
	spans    []Spell
}

// courses is how one cover stands.
type courses struct{ was, is course }

type course struct {
	known  bool
	open   float64
	began  time.Time     // by the wall clock: it stands there since then
	moved  time.Duration // when it last said another place
	ran    bool          // it has moved since it is known
	runs   int
	stands []Stand
}

func newOutlook(cfg gpio.Config) *outlook {
	o := &outlook{named: make(map[string]bool), outputs: make(map[string]*uses), covers: make(map[string]*courses)}
	o.Differences, o.Outputs = []Difference{}, []Use{}
	for _, name := range cfg.Output.Names() {
		o.outputs[name] = new(uses)
		o.Outputs = append(o.Outputs, Use{Output: name})
	}
	for _, name := range cfg.Cover.Names() {
		o.covers[name] = new(courses)
		o.Covers = append(o.Covers, Course{Cover: name})
	}
	return o
}

func (o *outlook) begin(now devices.Now) { o.From = now.Wall.Add(o.shift) }

// at lets time pass.
func (o *outlook) at(now devices.Now) {
	o.To = now.Wall.Add(o.shift)
	n := 0
	for n < len(o.recent) && (now.Mono-o.recent[n].mono > aMoment || now.Mono < o.recent[n].mono) {
		n++
	}
	o.tell(n)
}

// tell tells of the first n of what is recent.
func (o *outlook) tell(n int) {
	for _, d := range o.recent[:n] {
		switch {
		case d.void:
		case len(o.Differences) < maxDifferences:
			o.Differences = append(o.Differences, *d)
		default:
			o.Others++
		}
	}
	o.recent = o.recent[n:]
}

// changed names what has another definition than recorded: by the key of its state.
func (o *outlook) changed(key string) {
	name, _, _ := strings.Cut(key, "{")
	if !o.named[name] {
		o.named[name] = true
		o.Changed = append(o.Changed, name)
		slices.Sort(o.Changed)
	}
}

func (o *outlook) was(r devices.Reading) {
	if u := o.outputs[r.Source]; u != nil {
		u.was.read(r, o.shift)
	}
	if c := o.covers[r.Source]; c != nil {
		c.was.read(r, o.shift)
	}
}

func (o *outlook) is(r devices.Reading) {
	if u := o.outputs[r.Source]; u != nil {
		u.is.read(r, o.shift)
	}
	if c := o.covers[r.Source]; c != nil {
		c.is.read(r, o.shift)
	}
}

// read takes what a cover says of where it is.
func (c *course) read(r devices.Reading, shift time.Duration) {
	open, ok := r.Value.(float64)
	at := r.At.Wall.Add(shift)
	switch {
	case !ok || r.Gone || r.Bad != "":
		c.pass(at)
		c.known = false
	case !c.known:
		c.known, c.open, c.began, c.ran = true, open, at, false
	case open == c.open:
	case c.ran && r.At.Mono-c.moved <= aRun: // it goes on
		c.open, c.moved = open, r.At.Mono
	default:
		c.pass(at)
		c.open, c.moved, c.ran = open, r.At.Mono, true
		c.runs++
	}
}

// pass ends the time for which it has stood there.
func (c *course) pass(at time.Time) {
	if !c.known || !at.After(c.began) {
		return
	}
	if n := len(c.stands); n == maxSpells {
		c.stands[n-1].To, c.stands[n-1].Open = at, c.open
	} else {
		c.stands = append(c.stands, Stand{Spell{c.began, at}, c.open})
	}
	c.began = at
}

// average is how far it was open.
func (c *course) average() float64 {
	sum, all := 0.0, 0.0
	for _, s := range c.stands {
		d := s.To.Sub(s.From).Seconds()
		sum, all = sum+s.Open*d, all+d
	}
	return math.Round(sum / max(all, 1e-9))
}

// elsewhere is for how long one stood where the other did not.
func elsewhere(a, b []Stand) (apart time.Duration) {
	for len(a) > 0 && len(b) > 0 {
		from, to := a[0].From, a[0].To
		if b[0].From.After(from) {
			from = b[0].From
		}
		if b[0].To.Before(to) {
			to = b[0].To
		}
		if to.After(from) && math.Abs(a[0].Open-b[0].Open) > 1 { // which is how far one made up may be off
			apart += to.Sub(from)
		}
		if a[0].To.After(to) {
			b = b[1:]
		} else {
			a = a[1:]
		}
	}
	return apart
}

func (u *use) read(r devices.Reading, shift time.Duration) {
	on, ok := r.Value.(bool)
	if !ok || r.Bad != "" {
		return
	}
	if u.known && on != u.on {
		u.switches++
	}
	u.pass(r.At, shift)
	u.on, u.known, u.since = on, true, r.At.Mono
}

// pass lets time pass; shift is by how much the clock was wrong.
func (u *use) pass(now devices.Now, shift time.Duration) {
	at := now.Wall.Add(shift)
	if u.on {
		u.total += max(0, now.Mono-u.since)
		switch n := len(u.spans); {
		case n > 0 && (n == maxSpells || !u.spans[n-1].To.Before(u.began)):
			u.spans[n-1].To = at
		case at.After(u.began):
			u.spans = append(u.spans, Spell{u.began, at})
		}
	}
	u.since, u.began = now.Mono, at
}

// down is a hub that is gone since then: how its outputs were until it came back is not
// counted.
func (o *outlook) down(since devices.Now) {
	for _, u := range o.outputs {
		u.was.pass(since, o.shift)
		u.is.pass(since, o.shift)
		u.was.on, u.is.on, u.was.known, u.is.known = false, false, false, false
	}
	for _, c := range o.covers {
		c.was.pass(since.Wall.Add(o.shift))
		c.is.pass(since.Wall.Add(o.shift))
		c.was.known, c.is.known = false, false
	}
	o.tell(len(o.recent))
}

func (o *outlook) close(now devices.Now) {
	o.tell(len(o.recent))
	if len(o.Differences) > 0 && o.Silent == 0 && o.Differences[0].Follows == earlier {
		o.named[o.Differences[0].Rule] = true // nothing was different before, so it is this rule that is another one
	}
	for i := range o.Differences {
		if o.named[o.Differences[i].Rule] { // which needs no other reason
			o.Differences[i].Follows = ""
		}
	}
	for i := range o.Outputs {
		out := &o.Outputs[i]
		u := o.outputs[out.Output]
		u.was.pass(now, o.shift)
		u.is.pass(now, o.shift)
		out.Was, out.Is, out.Switches, out.Would = u.was.total, u.is.total, u.was.switches, u.is.switches
		out.On, out.WouldOn = u.was.spans, u.is.spans
	}
	for i := range o.Covers {
		out := &o.Covers[i]
		c := o.covers[out.Cover]
		c.was.pass(now.Wall.Add(o.shift))
		c.is.pass(now.Wall.Add(o.shift))
		out.Was, out.Is, out.Runs, out.Would = c.was.average(), c.is.average(), c.was.runs, c.is.runs
		out.Stood, out.Stand = c.was.stands, c.is.stands
		out.Apart = elsewhere(out.Stood, out.Stand)
	}
}

// acts is all that a decision does, each in words that tell it from others.
func acts(d *rules.Decision) (all []string) {
	for _, c := range d.Commands {
		all = append(all, act(d, c))
	}
	for _, s := range d.Sets {
		all = append(all, d.Rule+d.Instance+" "+s)
	}
	for _, s := range d.Entered {
		all = append(all, d.Rule+d.Instance+" "+s.Machine+" is "+s.State)
	}
	for _, s := range d.Switched {
		all = append(all, fmt.Sprintf("%s%s %s %v", d.Rule, d.Instance, s.Rule, s.On))
	}
	return all
}

// compare finds what differs between what was decided because of an event then and here;
// false if nothing does.
func (o *outlook) compare(t *trying, then []Entry, own []rules.Decision) bool {
	if len(then) == len(own) {
		same := true
		for i := range own {
			same = same && alikeDecisions(then[i].Decision, &own[i])
		}
		if same {
			return false
		}
	}
	count := make(map[string]int)
	silent := make(map[string]int)
	verdict := func(d *rules.Decision) string { return d.Rule + d.Instance + " " + string(d.Outcome) }
	for _, e := range then {
		list := acts(e.Decision)
		for _, a := range list {
			count[a]++
		}
		if len(list) == 0 {
			silent[verdict(e.Decision)]++
		}
	}
	differs := false
	for i := range own {
		d := &own[i]
		var more []string
		list := acts(d)
		for _, a := range list {
			if count[a]--; count[a] < 0 {
				count[a] = 0
				more = append(more, strings.TrimPrefix(a, d.Rule+d.Instance+" "))
			}
		}
		if len(list) == 0 {
			if silent[verdict(d)]--; silent[verdict(d)] < 0 {
				silent[verdict(d)] = 0
				o.Silent++
				differs = true
			}
		}
		if len(more) > 0 {
			differs = true
			one := &Difference{At: d.At.Wall, Rule: d.Rule, Instance: d.Instance, Would: true, Done: more, Because: because(d), mono: d.At.Mono}
			for _, e := range then {
				if e.Decision.Rule == d.Rule && e.Decision.Instance == d.Instance {
					one.Instead = string(e.Decision.Outcome) + ": " + because(e.Decision)
				}
			}
			o.add(t, one, d)
		}
	}
	for i := len(then) - 1; i >= 0; i-- { // of several that are the same the last are those that are missing
		d := then[i].Decision
		var less []string
		for _, a := range acts(d) {
			if count[a] > 0 {
				count[a]--
				less = append(less, strings.TrimPrefix(a, d.Rule+d.Instance+" "))
			}
		}
		if len(less) > 0 {
			differs = true
			o.add(t, &Difference{At: d.At.Wall, Rule: d.Rule, Instance: d.Instance, Done: less, Because: because(d), Instead: t.instead(d, own), mono: d.At.Mono}, d)
		}
	}
	for _, n := range silent {
		if n > 0 {
			o.Silent += n
			differs = true
		}
	}
	return differs
}

// alikeDecisions reports whether two decisions are the same for all that follows.
func alikeDecisions(a, b *rules.Decision) bool {
	return a.Rule == b.Rule && a.Instance == b.Instance && a.Outcome == b.Outcome && slices.Equal(acts(a), acts(b))
}

// add notes a difference, unless it is one in time alone, and by no more than a moment.
func (o *outlook) add(t *trying, d *Difference, of *rules.Decision) {
	for _, other := range o.recent {
		if !other.void && other.Would != d.Would && other.Rule == d.Rule && other.Instance == d.Instance && slices.Equal(other.Done, d.Done) {
			other.void, d.void = true, true
			return
		}
	}
	if c := of.Cause; c != nil && t.strays[c.Source] {
		d.Follows = c.Source
	} else {
		d.Follows = earlier
	}
	d.At = d.At.Add(o.shift)
	o.recent = append(o.recent, d)
}

// instead is what became here of a rule that then did something.
func (t *trying) instead(d *rules.Decision, own []rules.Decision) string {
	for i := range own {
		if own[i].Rule == d.Rule && own[i].Instance == d.Instance {
			return string(own[i].Outcome) + ": " + because(&own[i])
		}
	}
	var why []string
	for _, line := range t.engine.Underway(d.Rule, t.now) { // of what went on then, where it is now
		if rest, ok := strings.CutPrefix(line, d.Rule+d.Instance+": waits "); ok && d.Outcome == rules.Went {
			why = append(why, "waits "+rest)
		}
	}
	if why != nil {
		return strings.Join(why, "; ")
	}
	for _, line := range t.engine.WhyNot(d.Rule, t.now) {
		if rest, ok := strings.CutPrefix(line, d.Rule+d.Instance+", "); ok {
			why = append(why, rest)
		} else if strings.HasPrefix(line, d.Rule+" ") {
			why = append(why, line)
		}
	}
	if why == nil {
		return "there is no such rule"
	}
	return strings.Join(why, "; ")
}

// because is a decision without what it does.
func because(d *rules.Decision) string {
	bare := *d
	bare.Commands, bare.Sets = nil, nil
	text := bare.String()
	text = strings.TrimPrefix(text, d.Rule+d.Instance+" "+string(d.Outcome))
	text = strings.TrimPrefix(strings.TrimPrefix(text, ": "), "; ")
	return cmp.Or(text, "its time had come")
}

// Print tells an outlook to a person: per rule what would have been done otherwise and
// why, then per output how long it was on.
func (o *Outlook) Print(w io.Writer) error {
	var b strings.Builder
	byRule := make(map[string][]Difference)
	for _, d := range o.Differences {
		byRule[d.Rule] = append(byRule[d.Rule], d)
	}
	for _, rule := range slices.SortedFunc(maps.Keys(byRule), func(a, b string) int {
		return byRule[a][0].At.Compare(byRule[b][0].At)
	}) {
		list := byRule[rule]
		would := 0
		for _, d := range list {
			if d.Would {
				would++
			}
		}
		fmt.Fprintf(&b, "%s: %d more, %d less\n", rule, would, len(list)-would)
		for _, d := range list {
			word := "would not have:"
			if d.Would {
				word = "would have:"
			}
			fmt.Fprintf(&b, "  %s %s %s%s\n", d.At.Format(time.DateTime), word, instance(d.Instance), strings.Join(d.Done, ", "))
			if d.Would {
				fmt.Fprintf(&b, "    because: %s\n", d.Because)
				if d.Instead != "" {
					fmt.Fprintf(&b, "    it was %s\n", d.Instead)
				}
			} else {
				fmt.Fprintf(&b, "    it was because: %s\n", d.Because)
				fmt.Fprintf(&b, "    with these rules: %s\n", d.Instead)
			}
			switch d.Follows {
			case "":
			case earlier:
				b.WriteString("    this comes of " + earlier + "\n")
			default:
				fmt.Fprintf(&b, "    this comes of %s, which would have said something else\n", d.Follows)
			}
		}
	}
	if o.Others > 0 {
		fmt.Fprintf(&b, "and %d more differences\n", o.Others)
	}
	if !o.Same() && slices.ContainsFunc(o.Outputs, Use.differs) {
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "OUTPUT\tWAS ON\tWOULD HAVE BEEN\tSWITCHED\tWOULD HAVE BEEN\n")
		for _, u := range o.Outputs {
			if u.differs() {
				fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\n", u.Output, hours(u.Was), hours(u.Is), u.Switches, u.Would)
			}
		}
		t.Flush()
	}
	if !o.Same() && slices.ContainsFunc(o.Covers, Course.Differs) {
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "COVER\tWAS OPEN\tWOULD HAVE BEEN\tRAN\tWOULD HAVE RUN\tELSEWHERE FOR\n")
		for _, c := range o.Covers {
			if c.Differs() {
				fmt.Fprintf(t, "%s\t%v %%\t%v %%\t%d\t%d\t%s\n", c.Cover, c.Was, c.Is, c.Runs, c.Would, hours(c.Apart))
			}
		}
		t.Flush()
	}
	if len(o.Unheard) > 0 {
		fmt.Fprintf(&b, "\nNothing is recorded of these, so what rules make of them can't be told:\n")
		for _, s := range o.Unheard {
			fmt.Fprintf(&b, "  %s\n", s)
		}
	}
	if o.Veiled > 0 {
		fmt.Fprintf(&b, "\n%d messages are not in the recording, for rules compare them with a secret; what these make of them is taken to be the same.\n", o.Veiled)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (u Use) differs() bool {
	return u.Was.Round(time.Second) != u.Is.Round(time.Second) || u.Switches != u.Would
}

// Differs reports whether a cover would have stood elsewhere, for longer than it takes to run.
func (c Course) Differs() bool { return c.Apart > time.Minute || c.Runs != c.Would }

// hours is a time as people add it up: "7h12m", "0m40s".
func hours(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
}

func instance(text string) string {
	if text == "" {
		return ""
	}
	return text + " "
}
