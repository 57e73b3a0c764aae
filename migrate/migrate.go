// Package migrate turns what other systems call an automation into Hearth's TOML.
//
// It knows two dialects: the rules of Tasmota, which run on the device that they
// stand on, and the automations of Home Assistant. Both are read into the same few
// tables (write.go), and what can't be said in them is told with its line and the
// reason. A rule that lost something which decides when or whether it acts, such
// as a condition or a wait, comes out switched off: run without it, it would do
// more than its owner wrote.
//
// The package reads no file and knows nothing of the house but the names that it
// is told. What comes out is text; whether it is sound is for hub to say.
package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"

	"hearth/rules/formula"
)

// Options are what an import has to know beside the text.
type Options struct {
	Name   string                  // of the file, for comments; "" for none
	Beside [][]byte                // other texts of Home Assistant, with the scripts and scenes that are called: scripts.yaml, scenes.yaml
	Topic  string                  // of the Tasmota device that the rules were on
	Map    map[string]string       // entity of Home Assistant to a source of Hearth: "hall_lamp", "hall_lamp.power", "a/b:c"
	Has    func(name string) Thing // what has this name in the house that it is for. May be nil
}

// A Thing is what has a name in a house.
type Thing struct {
	Kind string // "output", "cover", "device"...; "" for nothing
	Via  string // of a device by its topics: "zigbee2mqtt", "tasmota"; "" for one that announces itself
	ID   string // of a device
	Main string // of a device: the property that its name stands for; "" for its first
}

// A Result is the TOML, and what its owner has to know of it.
type Result struct {
	Text  string   // ends with a line feed, unless it is empty
	Rules int      // rules that came out
	Left  []Left   // what was not carried over, in the order of the text
	Needs []string // what its owner has to see to
}

// Left is something that was not carried over.
type Left struct {
	Line int    // in the text, from 1; 0 if it is about the whole
	What string // as it was written, or what it is
	Why  string
}

func (l Left) String() string {
	if l.Line == 0 {
		return l.What + ": " + l.Why
	}
	return fmt.Sprintf("line %d: %s: %s", l.Line, l.What, l.Why)
}

// MaxText is how much text is read, in bytes: a house of automations is a tenth of it.
const MaxText = 1 << 20

// maxPasses is how often a text is read until it is known which rules come out that
// others switch. Whoever has a longer chain of them loses those that switch.
const maxPasses = 20

// An importer gathers what comes out of one text.
type importer struct {
	Options
	parts  []*section
	names  map[string]bool // of devices, variables and calcs, which share theirs
	ruled  map[string]bool // of rules
	whole  map[string]bool // of the rules that came out, whether they lost nothing that they need
	made   map[string]bool // parts that are no rules: "device.hall"
	told   map[string]bool // what is in left and needs
	left   []Left
	needs  []string
	notes  []string // comments of the rule that is being made
	broken bool     // it lost something that decides when or whether it acts
}

func newImporter(o Options) *importer {
	return &importer{Options: o, names: make(map[string]bool), ruled: make(map[string]bool), whole: make(map[string]bool), made: make(map[string]bool), told: make(map[string]bool)}
}

func (x *importer) result() Result {
	slices.SortStableFunc(x.left, func(a, b Left) int { return a.Line - b.Line })
	r := Result{Left: x.left, Needs: x.needs}
	for _, p := range x.parts {
		if p.kind == "rule" && p.name != "" {
			r.Rules++
		}
	}
	r.Text = write(x.parts)
	if len(x.needs) > 0 {
		r.Text = "# To see to:\n# - " + strings.Join(x.needs, "\n# - ") + "\n\n" + r.Text
	}
	return r
}

// leave tells of something that was not carried over, and can be done without.
func (x *importer) leave(line int, what, why string, args ...any) {
	if what = oneLine(what); what == "" {
		what = "an empty value"
	}
	l := Left{line, what, oneLine(fmt.Sprintf(why, args...))}
	if x.told[l.String()] {
		return
	}
	x.told[l.String()] = true
	x.left = append(x.left, l)
	x.notes = append(x.notes, "not carried over, "+l.String())
}

// lose is leave for what decides when or whether a rule acts.
func (x *importer) lose(line int, what, why string, args ...any) {
	x.leave(line, what, why, args...)
	x.broken = true
}

// need tells of something that the owner has to see to.
func (x *importer) need(format string, args ...any) {
	if text := oneLine(fmt.Sprintf(format, args...)); !x.told[text] {
		x.told[text] = true
		x.needs = append(x.needs, text)
	}
}

// rule adds one, with the notes that were taken meanwhile. One that has lost
// something stays off.
func (x *importer) rule(line int, name string, t table) {
	if err := unsound(t, ""); err != nil {
		x.leave(line, name, "%s", err)
		x.nothing()
		return
	}
	name = unique(name, x.ruled)
	x.ruled[name] = true
	if x.broken {
		t.put("enabled", false)
		x.notes = append(x.notes, "It is off, for without that it would do something else: mend it, then take enabled away.")
	}
	x.parts = append(x.parts, &section{kind: "rule", name: name, comments: x.notes, table: t})
	x.whole[name] = !x.broken
	x.notes, x.broken = nil, false
}

// nothing stands in the place of a rule of which nothing is left.
func (x *importer) nothing() {
	x.parts = append(x.parts, &section{kind: "rule", comments: x.notes})
	x.notes, x.broken = nil, false
}

// part adds a table that is no rule, once.
func (x *importer) part(kind, name, comment string, t table) {
	if x.made[kind+"."+name] {
		return
	}
	x.made[kind+"."+name] = true
	p := &section{kind: kind, name: name, table: t}
	if comment != "" {
		p.comments = []string{comment}
	}
	x.parts = append(x.parts, p)
}

// name takes a name for a value; other is what it is called if that is taken.
func (x *importer) name(want, other string) string {
	name := slug(want)
	if x.names[name] || !free(name) || x.thing(name).Kind != "" {
		name = unique(slug(other), x.names)
	}
	for !free(name) || x.names[name] {
		name += "_x"
	}
	x.names[name] = true
	return name
}

// thing is what is called so in the house.
func (x *importer) thing(name string) Thing {
	if x.Has == nil {
		return Thing{}
	}
	return x.Has(name)
}

// free says whether something may be called so.
func free(name string) bool {
	return !formula.Reserved(name) && !slices.Contains([]string{
		"value", "old", "msg", "topic", "trigger", "n", "timed_out", "readings", "members", "item", "rule",
	}, name)
}

// unique is a name that is not taken, with a number if it has to be.
func unique(name string, taken map[string]bool) string {
	if !taken[name] {
		return name
	}
	// Twice as far as long as all are taken, then back by halves: somebody may have
	// given two thousand of them one name.
	last := 2
	for taken[fmt.Sprintf("%s_%d", name, last)] {
		last *= 2
	}
	n := last/2 + sort.Search(last-last/2, func(i int) bool { return !taken[fmt.Sprintf("%s_%d", name, last/2+i)] })
	return fmt.Sprintf("%s_%d", name, max(2, n))
}

// lazily is an expression that is compiled at its first use: every start of the hub
// would pay for those of an import, also the one that makes outputs safe.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

var noWord = lazily(`[^a-z0-9]+`)

// slug makes a name of Hearth's out of any text.
func slug(text string) string {
	s := strings.Trim(noWord().ReplaceAllString(strings.ToLower(text), "_"), "_")
	if len(s) > 60 {
		s = strings.TrimRight(s[:60], "_")
	}
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		s = strings.TrimRight("r_"+s, "_")
	}
	return s
}

// oneLine is text as a comment can hold it.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))), " ")
	if r := []rune(text); len(r) > 240 {
		text = string(r[:237]) + "..."
	}
	return text
}

// listenable says that a topic can be listened to: + and # are whole levels, and #
// the last one.
func listenable(topic string) bool {
	levels := strings.Split(topic, "/")
	for i, l := range levels {
		if strings.Contains(l, "+") && l != "+" || strings.Contains(l, "#") && (l != "#" || i < len(levels)-1) || strings.ContainsAny(l, "\"\x00") {
			return false
		}
	}
	return topic != "" && len(topic) < 1000
}

// topicSource is a topic as a source is written; path "" is the whole payload.
func topicSource(topic, path string) string {
	if !strings.Contains(topic, "/") && topic != "#" && topic != "+" || strings.ContainsAny(topic, `:"{}`) {
		levels := strings.Split(topic, "/")
		for i, l := range levels {
			if len(levels) == 1 || strings.ContainsAny(l, `:{}`) {
				levels[i] = `"` + l + `"`
			}
		}
		topic = strings.Join(levels, "/")
	}
	if path == "" {
		return topic
	}
	return topic + ":" + path
}

// plainText is text in which no brace opens a hole.
func plainText(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		b.WriteByte(c)
		if c == '{' && i+1 < len(text) && (text[i+1] >= 'a' && text[i+1] <= 'z' || text[i+1] >= 'A' && text[i+1] <= 'Z' || strings.IndexByte("_({", text[i+1]) >= 0) {
			b.WriteByte('{')
		}
	}
	return b.String()
}
