package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// tasmota reads rules of Tasmota (tasmota.github.io/docs/Rules). They ran on the
// device and now run in the hub: what set them off is what the device publishes,
// and what they did is what it can be told on cmnd/TOPIC.
type tasmota struct {
	*importer
	text   string
	sets   [4]ruleSet        // 1 to 3; 0 is what stands in none
	timers map[int]string    // Timer1 to its JSON
	heard  map[string]string // an event by a subscription to its source
	fired  map[string]bool   // events that some rule fires
	clocks map[string]bool   // events that are given the time of day
	asked  map[string]bool   // events that some rule waits for
	single bool              // the device has one relay, as far as can be seen
	full   string            // its FullTopic, with a slash at its end
	first  map[string]any    // what variables were given in the console: "mem1" to 22
	writes map[string]bool   // variables that some rule sets
	counts map[int]bool      // buttons whose presses are counted: 10 and more
	gone   map[string]bool   // rules that an earlier reading did not make, and "var1" that nothing set in it
	lost   map[string]bool   // variables that some command should have set that was not carried over
	stored map[string]bool   // those that are set

	// Of the rule that is read:
	set    int
	on     source
	saved  map[string]bool // variables it has set, and of which it needs the value before
	before table           // what saves them
	wrote  map[string]bool
	acts   bool // it tells the device something
}

type ruleSet struct {
	blocks []*block
	once   bool
	off    bool
	gated  bool // it is off, and another rule switches it on
}

// A block is ON trigger DO commands ENDON.
type block struct {
	line    int
	set     int
	trigger string
	body    string
	at      int // where the body begins in the text
	stops   bool
	name    string
	whole   bool // it shares a message with another, and has to come before or after it
}

// maxRules is how much text with rules is read, in bytes: a device holds three sets of
// some 1500 characters.
const maxRules = 64 << 10

// Tasmota imports rules as they are typed into the console: Rule1 ON ... ENDON, and
// what else stands there, such as Rule1 5 or Timer1 {...}. Rules alone, without
// Rule1 before them, will do too. An error is of text that has no rule in it.
func Tasmota(text []byte, o Options) (Result, error) {
	if len(text) > maxRules {
		return Result{}, fmt.Errorf("it has %d bytes: at most %d are read, and a device holds a tenth of that", len(text), maxRules)
	}
	if o.Topic == "" || strings.ContainsAny(o.Topic, "+#{}\"\x00 ") {
		return Result{}, fmt.Errorf("the rules were on a device: want its topic, such as hall_plug, not %q", o.Topic)
	}
	// A rule can only be switched by another if it came out at all, which is known
	// once all have been read.
	gone := make(map[string]bool)
	for pass := 1; ; pass++ {
		t := &tasmota{importer: newImporter(o), text: strings.ReplaceAll(strings.ToValidUTF8(string(text), "?"), "\x00", "?"), timers: make(map[int]string), heard: make(map[string]string),
			fired: make(map[string]bool), clocks: make(map[string]bool), asked: make(map[string]bool), gone: gone,
			lost: make(map[string]bool), stored: make(map[string]bool), first: make(map[string]any), writes: make(map[string]bool), counts: make(map[int]bool)}
		if err := t.read(); err != nil {
			return Result{}, err
		}
		before := len(gone)
		for _, s := range t.sets {
			for _, b := range s.blocks {
				if _, came := t.whole[b.name]; !came || pass == maxPasses {
					gone[b.name] = true
				}
			}
		}
		for v := range t.lost {
			if !t.stored[v] && t.first[v] == nil {
				gone[v] = true
			}
		}
		if len(gone) == before {
			return t.result(), nil
		}
	}
}

func (t *tasmota) line(at int) int { return 1 + strings.Count(t.text[:at], "\n") }

var (
	blockStart = lazily(`(?i)(?:^|\s)ON[ \t]+([^\s#]+#\S+)\s`)
	blockEnd   = lazily(`(?i)(?:^|\s)(ENDON|BREAK)(?:\s|"|$)`)
	wordDo     = lazily(`(?i)^\s*DO(\s|$)`)
	operator   = lazily(`^\s*(==|!=|>=|<=|=|>|<|\|)\s*(\S+)?`)
	// Where a device is asked or told of a second relay it has several.
	severalRelays = lazily(`(?i)\bON\s+Power[2-9]#|(\bDO|\bBacklog|;|\))\s*Power[2-9]\b`)
	ruleWord      = lazily(`(?i)^rule ?([123]?)$`)
)

var fullTopic = lazily(`(?im)(?:^|;)\s*FullTopic\s+([^\s;]+)`)

// under is where the device publishes or listens: prefix is stat, tele or cmnd.
func (t *tasmota) under(prefix string) string {
	return strings.NewReplacer("%prefix%", prefix, "%topic%", t.Topic).Replace(t.full)
}

// read takes the text apart and makes its rules.
func (t *tasmota) read() error {
	t.full = "%prefix%/%topic%/"
	if m := fullTopic().FindStringSubmatch(t.text); m != nil && strings.Contains(m[1], "%prefix%") && strings.Contains(m[1], "%topic%") && strings.Count(m[1], "%") == 4 && !strings.ContainsAny(m[1], "+#{}\":") {
		t.full = strings.TrimSuffix(m[1], "/") + "/"
	}
	set := 1
	rest, at := t.text, 0
	for {
		m := blockStart().FindStringSubmatchIndex(rest)
		if m == nil {
			t.between(rest, at, set)
			break
		}
		set = t.between(rest[:m[0]], at, set)
		b := &block{line: t.line(at + m[2]), set: set, trigger: rest[m[2]:m[3]]}
		at, rest = at+m[3], rest[m[3]:]
		// The comparison may stand apart: ON Energy#Power > 10 DO.
		if op := operator().FindString(rest); op != "" {
			b.trigger += strings.ReplaceAll(strings.ReplaceAll(op, " ", ""), "\t", "")
			at, rest = at+len(op), rest[len(op):]
		} else if strings.ContainsRune("=<>|", rune(b.trigger[len(b.trigger)-1])) {
			if f := strings.Fields(rest); len(f) > 0 && !strings.EqualFold(f[0], "DO") {
				n := strings.Index(rest, f[0]) + len(f[0])
				b.trigger += f[0]
				at, rest = at+n, rest[n:]
			}
		}
		if d := wordDo().FindString(rest); d != "" {
			at, rest = at+len(d), rest[len(d):]
		}
		e := blockEnd().FindStringSubmatchIndex(rest)
		if e == nil {
			t.leave(b.line, "ON "+b.trigger, "it has no ENDON")
			t.notes = nil
			break
		}
		b.body, b.at, b.stops = rest[:e[0]], at, strings.EqualFold(rest[e[2]:e[3]], "BREAK")
		t.sets[set].blocks = append(t.sets[set].blocks, b)
		at, rest = at+e[3], rest[e[3]:]
	}
	var all []*block
	for _, s := range t.sets {
		all = append(all, s.blocks...)
	}
	slices.SortStableFunc(all, func(a, b *block) int { return a.at - b.at })
	if len(all) == 0 {
		return errors.New("no rule in it: want one such as ON Power1#state=1 DO RuleTimer1 60 ENDON")
	}
	if len(all) > 500 {
		return fmt.Errorf("it has %d rules: at most 500 are read", len(all))
	}
	t.single = !severalRelays().MatchString(t.text)
	taken := make(map[string]bool)
	for _, b := range all {
		b.name = unique(slug(t.Topic+"_"+strings.ReplaceAll(b.trigger, "%", "")), taken)
		taken[b.name] = true
		t.foresee(b)
	}
	together(all)
	for n := 1; n < len(t.sets); n++ {
		switchedOn := regexp.MustCompile(fmt.Sprintf(`(?i)(?:^|[;\s)])Rule%d\s+(?:1|on|%%value%%)(?:[;\s]|$)`, n))
		t.sets[n].gated = t.sets[n].off && slices.ContainsFunc(all, func(b *block) bool { return switchedOn.MatchString(b.body) })
	}
	t.need("switch the rules off on %s once these run, with Rule1 0: else both act", t.Topic)
	for _, b := range all {
		t.block(b)
	}
	t.outside()
	return nil
}

var (
	writing   = lazily(`(?i)(?:^|[;\s)])(var|mem|add|sub|mult|scale)(\d*)(?:\s|=[^=])`)
	counting  = lazily(`(?i)^button(\d*)#state==?1\d$`)
	firing    = lazily(`(?i)(?:^|[;\s(])event\s+([^\s=;]+)\s*(=\s*%time%)?`)
	subscribe = lazily(`(?i)^subscribe2?\s+([^,\s]+)\s*,\s*([^,\s]+)\s*(?:,\s*(\S+))?\s*$`)
)

// foresee notes what other rules have to know of one.
func (t *tasmota) foresee(b *block) {
	if m := counting().FindStringSubmatch(b.trigger); m != nil {
		t.counts[max(1, int(number1(m[1])))] = true
	}
	for _, v := range written(b.body) {
		t.writes[v] = true
	}
	for _, m := range firing().FindAllStringSubmatch(b.body, -1) {
		t.fired[strings.ToLower(m[1])] = true
		if m[2] != "" {
			t.clocks[strings.ToLower(m[1])] = true
		}
	}
	for one := range strings.SplitSeq(b.body, ";") {
		one = strings.TrimSpace(one)
		if w, rest, ok := strings.Cut(one, " "); ok && strings.HasPrefix(strings.ToLower(w), "backlog") {
			one = strings.TrimSpace(rest)
		}
		t.subscription(one)
	}
}

// written are the variables that commands set: "var1".
func written(commands string) (all []string) {
	for _, m := range writing().FindAllStringSubmatch(commands, -1) {
		kind := strings.ToLower(m[1])
		if kind != "mem" {
			kind = "var"
		}
		all = append(all, fmt.Sprintf("%s%d", kind, max(1, int(number1(m[2])))))
	}
	return all
}

// lack notes which variables are not set, as commands are not carried over.
func (t *tasmota) lack(commands string) {
	for _, v := range written(commands) {
		t.lost[v] = true
	}
}

func (t *tasmota) subscription(command string) bool {
	m := subscribe().FindStringSubmatch(command)
	if m == nil || !listenable(m[2]) {
		return false
	}
	path := ""
	if m[3] != "" {
		path = jsonPath(strings.Split(m[3], "."))
	}
	t.heard[strings.ToLower(m[1])] = topicSource(m[2], path)
	return true
}

// between reads what stands between rules: which set the next ones are in, and
// settings.
func (t *tasmota) between(text string, at, set int) int {
	for line := range strings.Lines(text) {
		n := t.line(at)
		at += len(line)
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "```") {
			continue
		}
		commands := []string{line}
		if w, rest, ok := strings.Cut(line, " "); ok && strings.HasPrefix(strings.ToLower(w), "backlog") {
			commands = strings.Split(rest, ";")
		}
		for _, c := range commands {
			set = t.console(strings.TrimSpace(c), n, set)
		}
	}
	return set
}

// console is one command between rules.
func (t *tasmota) console(c string, line, set int) int {
	if c == "" || c == "+" || c == `"` {
		return set
	}
	if m := ruleWord().FindStringSubmatch(strings.TrimRight(c, ` +"`)); m != nil {
		return max(1, int(number1(m[1])))
	}
	word, args, _ := strings.Cut(c, " ")
	args = strings.TrimSpace(args)
	name, index := command(word)
	switch name {
	case "rule":
		s := &t.sets[max(1, min(3, index))]
		switch strings.ToLower(args) {
		case "0", "off":
			s.off = true
		case "1", "on":
			s.off = false
		case "4":
			s.once = false
		case "5":
			s.once = true
		}
		return set
	case "timer":
		if strings.HasPrefix(args, "{") {
			t.timers[index] = args
			return set
		}
	case "var", "mem":
		if v := strings.TrimSpace(args); v != "" && !strings.Contains(v, "%") {
			t.first[fmt.Sprintf("%s%d", name, index)] = scalarText(v)
			t.register(name, index, scalarText(v))
			return set
		}
	}
	if t.subscription(c) || name == "fulltopic" && t.full != "%prefix%/%topic%/" {
		return set
	}
	if wordOnly().MatchString(word) && len(c) < 200 {
		t.need("line %d: %s is a setting of the device: it has to be made there, in its console", line, oneLine(c))
		return set
	}
	t.leave(line, c, "this is no command")
	t.notes = nil
	return set
}

var wordOnly = lazily(`^[A-Za-z][A-Za-z0-9]*$`)

func number1(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64)
	return f
}

// command takes the number off a command: "RuleTimer2" is ruletimer, 2. Without one
// it is 1.
func command(word string) (string, int) {
	word = strings.ToLower(word)
	name := strings.TrimRight(word, "0123456789")
	n, err := strconv.Atoi(word[len(name):])
	if err != nil {
		n = 1
	}
	return name, n
}

// scalarText is a number where it is one.
func scalarText(s string) any {
	if f, err := strconv.ParseFloat(s, 64); err == nil && regexp.MustCompile(`^-?[0-9.]+$`).MatchString(s) {
		return f
	}
	return s
}

// register declares a variable of the device, and gives its name.
func (t *tasmota) register(kind string, n int, initial any) string {
	name := slug(fmt.Sprintf("%s_%s%d", t.Topic, kind, n))
	if kind == "timer" {
		initial = "over"
	}
	t.names[name] = true
	t.part("variable", name, "", table{{"initial", initial}})
	return name
}

// outside lets events that come from elsewhere in.
func (t *tasmota) outside() {
	if !slices.ContainsFunc(keysOf(t.asked), func(e string) bool { return !t.fired[e] }) {
		return
	}
	prefix := t.under("cmnd")
	t.notes = []string{"Events that come from outside of these rules, as NAME or NAME=VALUE."}
	t.rule(0, slug(t.Topic+"_event"), table{
		{"trigger", []any{table{{"event", prefix + "event"}}, table{{"event", prefix + "Event"}}, table{{"event", prefix + "EVENT"}}}},
		{"action", table{
			{"publish", "rules/" + t.Topic + "/{lower(split(string(msg), '=')[0])}"},
			{"payload", "{split(string(msg), '=')[1] ?? 1}"},
		}},
	})
}

func keysOf(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// A source is what sets a rule off, and what its %value% is.
type source struct {
	trigger table  // without a test: { event = "..." }
	or      string // another source of the same
	kind    string // "power", "switch" and "button" have words for 0, 1, 2; "event", "sensor"...
	edge    bool   // only a change sets it off
	boot    bool
	local   bool          // it has a value of its own, not that of the message
	counts  bool          // a button that tells how often it was pressed
	expr    string        // what its value is, where it is not that of the message
	there   string        // that this value is there at all
	late    time.Duration // so long after it the rule acts
}

// block makes a rule of one.
func (t *tasmota) block(b *block) {
	t.set, t.saved, t.before, t.wrote, t.acts = b.set, make(map[string]bool), nil, make(map[string]bool), false
	head := fmt.Sprintf("line %d: ON %s DO %s", b.line, oneLine(b.trigger), oneLine(b.body))
	if t.Name != "" {
		head = oneLine(t.Name) + ":" + strings.TrimPrefix(head, "line ")
	}
	t.notes = []string{oneLine(head)}
	set := &t.sets[b.set]
	triggers, cond, err := t.trigger(b, set)
	if err != nil {
		t.lack(b.body)
		t.leave(b.line, "ON "+b.trigger, "%s", err)
		t.nothing()
		return
	}
	p := &statements{text: b.body}
	list := p.list(0)
	if p.err != nil {
		t.lack(b.body)
		t.leave(b.line, "ON "+b.trigger, "%s", p.err)
		t.nothing()
		return
	}
	actions := t.commands(list, b)
	if t.on.boot {
		hub := table{{"start", true}}
		if len(actions) > 0 && !t.acts {
			triggers = append([]table{hub}, triggers...)
		}
	}
	if len(actions) == 0 {
		t.notes = append(t.notes, "Nothing to do, so there is no rule.")
		t.nothing()
		return
	}
	for _, s := range t.before {
		actions = append([]any{s.value}, actions...)
	}
	if t.on.late > 0 {
		actions = append([]any{table{{"delay", duration(t.on.late)}}}, actions...)
	}
	if set.gated {
		cond = behind(t.gate(b.set), cond)
	}
	all := make([]any, len(triggers))
	for i, one := range triggers {
		all[i] = one
	}
	rule := table{{"trigger", oneOrMore(all)}}
	if cond != nil {
		rule.put("condition", cond.list())
	}
	rule.act(actions)
	if hasDelay(actions) {
		rule.put("mode", "parallel") // a Backlog that waits does not keep out the next one
	}
	if set.off && !set.gated && !t.broken {
		rule.put("enabled", false)
		t.notes = append(t.notes, fmt.Sprintf("Rule%d was off.", b.set))
	}
	t.rule(b.line, b.name, rule)
}

// gate is a variable that says whether a set runs that was off and is switched on by
// another: a rule that is not enabled in the configuration stays off.
func (t *tasmota) gate(n int) string {
	name := slug(fmt.Sprintf("%s_rule%d", t.Topic, n))
	t.names[name] = true
	t.part("variable", name, fmt.Sprintf("Whether Rule%d is on; it was off.", n), table{{"initial", false}})
	return name
}

func hasDelay(actions []any) bool {
	for _, a := range actions {
		t, ok := a.(table)
		if !ok {
			continue
		}
		for _, p := range t {
			inner, many := p.value.([]any)
			if one, ok := p.value.(table); ok {
				inner, many = []any{one}, true
			}
			if p.key == "delay" || many && (p.key == "do" || p.key == "choose") && hasDelay(inner) {
				return true
			}
		}
	}
	return false
}

var triggerParts = lazily(`^([^=<>|!$]+)(==|!=|>=|<=|\$[!<>|^]|=|>|<|\||)(.*)$`)

// trigger is what sets a rule off, and a condition that it asks beside.
func (t *tasmota) trigger(b *block, set *ruleSet) ([]table, *cond, error) {
	m := triggerParts().FindStringSubmatch(b.trigger)
	if m == nil {
		return nil, nil, errors.New("want a trigger such as Power1#state=1")
	}
	path, op, limit := strings.Split(m[1], "#"), m[2], m[3]
	if len(path) < 2 || slices.Contains(path, "") {
		return nil, nil, errors.New("want a trigger such as Power1#state=1")
	}
	if strings.HasPrefix(op, "$") {
		return nil, nil, errors.New("a test of a part of a text has no counterpart")
	}
	if (op != "") != (limit != "") {
		return nil, nil, errors.New("the comparison is not whole")
	}
	what := strings.ToLower(path[0] + "#" + path[1])
	t.on = source{}
	list, done, err := t.moment(what, op, limit)
	if err != nil {
		return nil, nil, err
	}
	if done {
		return list, nil, nil
	}
	if err := t.source(path); err != nil {
		return nil, nil, err
	}
	if b.whole && !set.once {
		t.parent()
	}
	trigger := t.on.trigger
	tests, extra, err := t.tests(op, limit)
	if err != nil {
		return nil, nil, err
	}
	// After a BREAK the others of the set are not looked at.
	for _, other := range set.blocks {
		if other == b {
			break
		}
		o := triggerParts().FindStringSubmatch(other.trigger)
		if !other.stops || o == nil || !strings.EqualFold(o[1], m[1]) {
			continue
		}
		if o[2] == "" {
			return nil, nil, errors.New("a rule before it, which ends with BREAK, leaves nothing for it")
		}
		before, more, err := t.tests(o[2], o[3])
		if err != nil {
			return nil, nil, err
		}
		var stopped *cond
		switch {
		case more != nil:
			stopped = not(more)
		default:
			if narrowed, ok := narrow(tests, before); ok {
				if tests = narrowed; void(tests) {
					return nil, nil, errors.New("a rule before it, which ends with BREAK, leaves nothing for it")
				}
				continue
			}
			stopped = not(&cond{op: "table", table: before})
		}
		if extra != nil {
			stopped = both("and", extra, stopped)
		}
		extra = stopped
	}
	event := trigger[0].key == "event"
	switch {
	case extra != nil:
		trigger = append(trigger, tests...)
	case len(tests) > 0 && (set.once || t.on.edge) && event && t.on.kind != "event":
		trigger = append(table{{"state", trigger[0].value}}, tests...)
	case len(tests) > 0 && !event && t.on.local:
		extra = &cond{op: "table", table: tests} // each time that it is set
	case len(tests) == 0 && event && t.on.edge:
		trigger = table{{"state", trigger[0].value}, {"changed", true}}
	default:
		trigger = append(trigger, tests...)
	}
	if t.on.or == "" {
		return []table{trigger}, extra, nil
	}
	other := slices.Clone(trigger)
	other[0].value = t.on.or
	return []table{other, trigger}, extra, nil
}

// narrow adds to tests that others fail, if that can be said in tests.
func narrow(tests, failed table) (table, bool) {
	if len(failed) != 1 {
		return nil, false
	}
	p, ok := opposite(failed[0])
	f, isNumber := p.value.(float64)
	if !ok || !isNumber {
		return nil, false
	}
	upper := func(key string) bool { return key == "below" || key == "at_most" }
	out := slices.Clone(tests)
	for i, have := range out {
		g, isNumber := have.value.(float64)
		switch {
		case have.key == "is":
			return out, isNumber // one number is on one side anyway
		case !isNumber || upper(have.key) != upper(p.key):
			continue
		case upper(p.key) && f < g || !upper(p.key) && f > g || f == g && (p.key == "below" || p.key == "above"):
			out[i] = p
		}
		return out, true
	}
	out.put(p.key, f)
	return out, true
}

// void says that no number passes all tests.
func void(tests table) bool {
	low, high := math.Inf(-1), math.Inf(1)
	open := false
	for _, p := range tests {
		f, ok := p.value.(float64)
		if !ok {
			return false
		}
		switch p.key {
		case "above", "at_least":
			low, open = f, open || p.key == "above"
		case "below", "at_most":
			high, open = f, open || p.key == "below"
		}
	}
	return low > high || low == high && open
}

// moment is a trigger by the clock, by a start or by a timer; done says that it is
// one.
func (t *tasmota) moment(what, op, limit string) (list []table, done bool, err error) {
	n, errNumber := strconv.Atoi(limit)
	boot := []table{{{"event", t.under("tele") + "INFO3"}}}
	switch what {
	case "time#minute":
		switch {
		case op == "":
			return []table{{{"every", "1m"}}}, true, nil
		case (op == "=" || op == "==") && strings.EqualFold(limit, "%sunrise%"), (op == "=" || op == "==") && strings.EqualFold(limit, "%sunset%"):
			t.need("the sun needs latitude and longitude in [hub]")
			return []table{{{"sun", strings.ToLower(strings.Trim(limit, "%"))}}}, true, nil
		case errNumber != nil && op != "|" && t.fixed(&n, limit):
			if n >= 0 && n < 1440 && (op == "=" || op == "==") {
				return []table{{{"time", minutesOfDay(n)}}}, true, nil
			}
			return nil, true, errors.New("want a minute of the day, 0 to 1439")
		case errNumber != nil:
			return nil, true, errors.New("a time of day that stands in a variable is a text such as \"07:30\" in Hearth: { time = \"a_variable\" }")
		case op == "|" && n >= 1 && n <= 1440:
			return []table{{{"every", duration(time.Duration(n) * time.Minute)}}}, true, nil
		case (op == "=" || op == "==") && n >= 0 && n < 1440:
			return []table{{{"time", minutesOfDay(n)}}}, true, nil
		}
		return nil, true, errors.New("want a minute of the day, 0 to 1439")
	case "time#initialized":
		if op != "" {
			d, ok := seconds(number1(limit))
			if op != ">" && op != ">=" || errNumber != nil || !ok || d < 0 {
				return nil, true, errors.New("want Time#Initialized, or so many seconds after it: Time#Initialized>120")
			}
			t.on.late = d
		}
		return []table{{{"start", true}}}, true, nil // that of the hub, whose clock is set
	case "time#set":
		return []table{{{"every", "1h"}}}, true, nil
	case "system#boot", "system#init", "power1#boot", "power#boot", "dimmer#boot", "http#initialized":
		if op != "" {
			return nil, true, errors.New("what it was at its start the device tells nobody")
		}
		t.on.boot = true
		return boot, true, nil
	case "system#save":
		return nil, true, errors.New("that it is about to restart the device tells nobody")
	case "mqtt#connected", "wifi#connected":
		return []table{{{"event", t.under("tele") + "LWT"}, {"is", "Online"}}}, true, nil
	case "mqtt#disconnected", "wifi#disconnected":
		return nil, true, errors.New("a device without a connection can't be told anything: leave this rule on the device")
	case "rules#timer":
		if op != "=" && op != "==" || errNumber != nil || n < 1 || n > 8 {
			return nil, true, errors.New("want the timer's number, 1 to 8")
		}
		return []table{{{"state", t.register("timer", n, nil)}, {"is", "over"}}}, true, nil
	case "clock#timer":
		if op != "=" && op != "==" || errNumber != nil {
			return nil, true, errors.New("want the timer's number, 1 to 16")
		}
		return t.clock(n)
	}
	if strings.HasSuffix(what, "#boot") {
		return nil, true, errors.New("what it was at its start the device tells nobody")
	}
	return nil, false, nil
}

// fixed is the number of a variable that was given in the console and that no rule
// sets.
func (t *tasmota) fixed(n *int, limit string) bool {
	name := strings.ToLower(strings.Trim(limit, "%"))
	kind, index := command(name)
	f, ok := t.first[fmt.Sprintf("%s%d", kind, index)].(float64)
	if !ok || !strings.HasPrefix(limit, "%") || t.writes[fmt.Sprintf("%s%d", kind, index)] || f != math.Trunc(f) || math.Abs(f) > 1e6 {
		return false
	}
	*n = int(f)
	t.need("%s is taken for %d for good where it is a time of day, which is written out", name, *n)
	return true
}

// clock is one of the sixteen timers of the device, if its JSON stands in the text
// (tasmota.github.io/docs/Timers).
func (t *tasmota) clock(n int) ([]table, bool, error) {
	text, ok := t.timers[n]
	if !ok {
		return nil, true, fmt.Errorf("when it is stands in the device: add the line Timer%d {...} that the console shows for Timer%d", n, n)
	}
	var timer struct {
		Enable, Arm, Mode, Window *int
		Time, Days                string
	}
	if err := json.Unmarshal([]byte(text), &timer); err != nil {
		return nil, true, fmt.Errorf("the line of Timer%d is no JSON: %v", n, err)
	}
	is := func(p *int) int {
		if p == nil {
			return 0
		}
		return *p
	}
	if timer.Enable != nil && *timer.Enable == 0 || timer.Arm != nil && *timer.Arm == 0 {
		return nil, true, fmt.Errorf("the timer %d is off", n)
	}
	trigger := table{}
	switch is(timer.Mode) {
	case 0:
		at, ok := clockTime(timer.Time)
		if !ok {
			return nil, true, fmt.Errorf("the Time of Timer%d is none", n)
		}
		trigger.put("time", at)
	case 1, 2:
		t.need("the sun needs latitude and longitude in [hub]")
		event, err := sunEvent([]string{"", "sunrise", "sunset"}[*timer.Mode], nil)
		if d, ok := spanOf(timer.Time); ok && d != 0 && err == nil {
			if d.Abs() > 12*time.Hour {
				return nil, true, fmt.Errorf("the Time of Timer%d is more than 12 hours", n)
			}
			event += map[bool]string{true: "+"}[d > 0] + duration(d)
		}
		trigger.put("sun", event)
	default:
		return nil, true, fmt.Errorf("the Mode of Timer%d is not known", n)
	}
	if w := is(timer.Window); w > 0 && w <= 720 {
		t.leave(t.line(strings.Index(t.text, text)), fmt.Sprintf("Window of Timer%d", n), "Hearth draws a moment after the time, not before it: random = \"%s\" is near to that", duration(time.Duration(w)*time.Minute))
	}
	if d := timer.Days; len(d) == 7 {
		var has [7]bool
		all, none := true, true
		for i := range 7 { // it begins with Sunday
			has[(i+6)%7] = d[i] != '0' && d[i] != '-'
			all, none = all && has[(i+6)%7], none && !has[(i+6)%7]
		}
		if none {
			return nil, true, fmt.Errorf("the timer %d is on no day", n)
		}
		if !all {
			trigger.put("days", dayList(has))
		}
	}
	return []table{trigger}, true, nil
}

// replies are the triggers that are named by a command whose answer stands in
// stat/TOPIC/RESULT; all else is a sensor.
var replies = map[string]string{
	"dimmer": "Dimmer", "color": "Color", "ct": "CT", "fanspeed": "FanSpeed", "hsbcolor": "HSBColor", "white": "White", "channel": "Channel",
	"shutter": "Shutter", "pulsetime": "PulseTime", "scheme": "Scheme", "speed": "Speed", "fade": "Fade", "wakeup": "Wakeup",
	"thermostatmodeset": "ThermostatModeSet",
}

// received are those that a device passes on in tele/TOPIC/RESULT.
var received = map[string]string{
	"irreceived": "IrReceived", "rfreceived": "RfReceived", "tuyareceived": "TuyaReceived", "serialreceived": "SerialReceived", "sserialreceived": "SSerialReceived",
	"ping": "Ping",
}

// statuses are the answers to Status, and where they are published.
var statuses = map[string][]string{
	"statussns": {"StatusSNS", "STATUS8", "STATUS10"}, "statussts": {"StatusSTS", "STATUS11"}, "statusnet": {"StatusNET", "STATUS5"}, "statustim": {"StatusTIM", "STATUS7"},
}

// keysOfJSON are names in JSON as devices write them; rules know no case.
var keysOfJSON = map[string]string{
	"temperature": "Temperature", "humidity": "Humidity", "pressure": "Pressure", "dewpoint": "DewPoint", "illuminance": "Illuminance", "distance": "Distance",
	"power": "Power", "current": "Current", "voltage": "Voltage", "today": "Today", "yesterday": "Yesterday", "total": "Total", "factor": "Factor",
	"apparentpower": "ApparentPower", "reactivepower": "ReactivePower", "frequency": "Frequency", "carbondioxide": "CarbonDioxide", "range": "Range",
	"rfkey": "RfKey", "data": "Data", "protocol": "Protocol", "position": "Position", "direction": "Direction", "target": "Target", "linkquality": "LinkQuality",
	"rssi": "RSSI", "success": "Success", "reachable": "Reachable", "uptimesec": "UptimeSec", "speed": "Speed", "noise": "Noise", "moisture": "Moisture", "weight": "Weight",
}

func jsonKey(k string) string {
	if known, ok := keysOfJSON[strings.ToLower(k)]; ok {
		return known
	}
	if k == strings.ToLower(k) && k != "" && letter(k[0]) {
		return strings.ToUpper(k[:1]) + k[1:]
	}
	return k
}

// source finds where a trigger's value is published.
func (t *tasmota) source(path []string) error {
	if i := slices.Index(path, "?"); i >= 0 {
		return t.anyOf(path, i)
	}
	if strings.ContainsAny(strings.Join(path, ""), `%"{}:/\`) {
		return errors.New("want a trigger such as Power1#state=1")
	}
	first, tele := strings.CutPrefix(strings.ToLower(path[0]), "tele-")
	written := path[0]
	if tele {
		written = path[0][len("tele-"):]
	}
	name, n := command(first)
	second := strings.ToLower(path[1])
	stat, sensor, result := t.under("stat"), t.under("tele")+"SENSOR:", t.under("tele")+"RESULT:"
	event := func(kind, source string) error {
		t.on = source0(kind, source)
		return nil
	}
	switch {
	case name == "power" && (second == "state" || second == "data"):
		t.on = source{trigger: table{{"event", fmt.Sprintf("%sPOWER%d", stat, n)}}, kind: "power", edge: true}
		if t.single && n == 1 { // one with a single relay leaves the number out
			t.on.or = stat + "POWER"
		}
		return nil
	case name == "switch" && second == "state":
		t.need("Switch%d: the device tells it only with SetOption114 1, which also takes its relay from it", n)
		return event("switch", fmt.Sprintf("%sRESULT:Switch%d.Action", stat, n))
	case name == "button" && second == "state":
		t.need("Button%d: the device tells it only with SetOption73 1, which also takes its relay from it", n)
		t.on = source0("button", fmt.Sprintf("%sRESULT:Button%d.Action", stat, n))
		t.on.counts = t.counts[n]
		return nil
	case name == "rotary":
		return errors.New("a knob is told to the device's own rules alone: leave one there that publishes it, ON Rotary1#Pos1 DO Publish knob/pos %value% ENDON")
	case (name == "var" || name == "mem") && (second == "state" || second == "data"):
		t.on = source{trigger: table{{"state", t.register(name, n, 0)}}, kind: "variable", local: true}
		return nil
	case first == "event":
		e := strings.ToLower(path[1])
		if !plainTopic(e) {
			return errors.New("an event's name is a word")
		}
		if from, ok := t.heard[e]; ok {
			return event("event", from)
		}
		t.asked[e] = true
		return event("event", "rules/"+t.Topic+"/"+e)
	case first == "analog" && strings.HasSuffix(second, "div10"):
		return errors.New("the device does not publish it: take Analog#A0, 0 to 1023, which stands in tele/.../SENSOR")
	case strings.HasPrefix(first, "zbreceived"):
		if len(path) < 3 {
			return errors.New("want ZbReceived#device#value")
		}
		return event("sensor", sensor+jsonPath(append([]string{"ZbReceived", path[1]}, mapped(path[2:])...)))
	case statuses[first] != nil:
		p := ":" + jsonPath(append([]string{statuses[first][0]}, mapped(path[1:])...))
		t.on = source0("sensor", stat+statuses[first][1]+p)
		if len(statuses[first]) > 2 {
			t.on.or = stat + statuses[first][2] + p
		}
		return nil
	case received[first] != "":
		p := []string{received[first]}
		// What comes over the serial line is a text, or JSON with keys of its own.
		if !strings.HasSuffix(first, "serialreceived") || second != "data" {
			p = append(p, mapped(path[1:])...)
		}
		return event("code", result+jsonPath(p))
	case replies[name] != "":
		p := []string{replies[name]}
		if first != name {
			p[0] += strconv.Itoa(n)
		}
		if second != "state" && second != "data" {
			p = append(p, mapped(path[1:])...)
		}
		t.on = source{trigger: table{{"event", stat + "RESULT:" + jsonPath(p)}}, kind: "reply"}
		return nil
	case strings.HasPrefix(first, "wifi"):
		return event("sensor", t.under("tele")+"STATE:"+jsonPath(append([]string{"Wifi"}, mapped(path[1:])...)))
	case second == "data":
		return event("reply", stat+"RESULT:"+jsonPath([]string{written}))
	}
	// A sensor: most are written in capitals.
	if written == strings.ToLower(written) || strings.EqualFold(written, "energy") || strings.EqualFold(written, "analog") || strings.EqualFold(written, "counter") {
		written = strings.ToUpper(written)
	}
	p := jsonPath(append([]string{written}, mapped(path[1:])...))
	if m := regexp.MustCompile(`^(.*)"?\[([1-9])\]"?$`).FindStringSubmatch(p); m != nil { // counted from 1 there
		k := strings.Split(m[1], ".")
		last := strings.Trim(k[len(k)-1], `"`)
		p = jsonPath(append([]string{written}, jsonKey(last))) + fmt.Sprintf("[%d]", int(number1(m[2]))-1)
	}
	t.on = source0("sensor", sensor+p)
	if !tele {
		t.need("%s is heard as often as the device publishes it, each TelePeriod", sensor+p)
	}
	return nil
}

// parent makes the object that a value stands in the source. What one message has at
// several places is looked at place by place, but at one place rule by rule, in their
// order, and that is how the device does it.
func (t *tasmota) parent() {
	from, _ := t.on.trigger[0].value.(string)
	i := strings.LastIndex(from, ".")
	if i < 0 || i < strings.LastIndex(from, ":") || !plainKey(from[i+1:]) || t.on.expr != "" || t.on.kind != "sensor" && t.on.kind != "code" {
		return
	}
	key := from[i+1:]
	t.on.trigger = table{{"event", from[:i]}}
	t.on.expr, t.on.there = "value."+key, exprText(key)+" in value"
}

// together marks rules that hear values of one object, of which a later one uses a
// variable that an earlier one sets.
func together(all []*block) {
	path := func(b *block) (object, place string) {
		path := strings.TrimPrefix(strings.ToLower(triggerParts().ReplaceAllString(b.trigger, "$1")), "tele-")
		i := max(0, strings.LastIndex(path, "#"))
		return fmt.Sprint(b.set, path[:i]), path[i:]
	}
	for i, a := range all {
		sets := written(a.body)
		object, place := path(a)
		for _, b := range all[i+1:] {
			if other, elsewhere := path(b); object == other && place != elsewhere && slices.ContainsFunc(sets, func(v string) bool {
				return strings.Contains(strings.ToLower(b.body), v) || strings.Contains(strings.ToLower(b.trigger), "%"+v+"%")
			}) {
				a.whole, b.whole = true, true
			}
		}
	}
}

// anyOf is a source with a ? in place i of its path: the value is that of whichever
// device the message names, and a message names one.
func (t *tasmota) anyOf(path []string, i int) error {
	if i == 0 || i != len(path)-2 || path[i+1] == "?" {
		return errors.New("want one ? between two names, such as ZbReceived#?#Power")
	}
	for _, k := range path {
		if k != "?" && !plainKey(k) {
			return errors.New("want a trigger such as ZbReceived#?#Power")
		}
	}
	head := slices.Clone(path[:i])
	topic := t.under("tele") + "SENSOR:"
	first, tele := strings.CutPrefix(strings.ToLower(head[0]), "tele-")
	if tele {
		head[0] = head[0][len("tele-"):]
	}
	switch {
	case first == "zbreceived":
		head[0] = "ZbReceived"
	case received[first] != "":
		head[0], topic = received[first], t.under("tele")+"RESULT:"
	case head[0] == strings.ToLower(head[0]):
		head[0] = strings.ToUpper(head[0])
	}
	t.on = source0("any", topic+jsonPath(head))
	key := jsonKey(path[i+1])
	t.on.expr, t.on.there = "values(value)[0]."+key, exprText(key)+" in values(value)[0]"
	return nil
}

func source0(kind, s string) source { return source{trigger: table{{"event", s}}, kind: kind} }

func plainTopic(s string) bool {
	return s != "" && !strings.ContainsAny(s, "+#{}/:\"%") && !strings.ContainsFunc(s, unicode.IsControl)
}

func mapped(path []string) []string {
	out := make([]string, len(path))
	for i, k := range path {
		out[i] = jsonKey(k)
	}
	return out
}

// states are the words that a device publishes for the numbers that rules have.
func (s source) states(n float64) (any, bool) {
	word := map[string]map[float64]any{
		"power":  {0: "OFF", 1: "ON"},
		"switch": {0: "OFF", 1: "ON", 2: "TOGGLE", 3: "HOLD", 4: "INC_DEC", 5: "INV", 6: "CLEAR"},
		"button": {0: "OFF", 1: "ON", 2: []any{"SINGLE", "TOGGLE"}, 3: "HOLD", 10: "SINGLE", 11: "DOUBLE", 12: "TRIPLE", 13: "QUAD", 14: "PENTA", 15: "CLEAR"},
	}[s.kind][n]
	if s.counts && n == 2 {
		word = "TOGGLE" // a single press is 10 there
	}
	return word, word != nil
}

func (s source) worded() bool { return s.kind == "power" || s.kind == "switch" || s.kind == "button" }

// tests is a comparison of the trigger's value, as tests or as a condition.
func (t *tasmota) tests(op, limit string) (table, *cond, error) {
	if op == "" && t.on.there != "" {
		return nil, &cond{op: "expr", text: t.on.there}, nil
	}
	if op == "" {
		return nil, nil, nil
	}
	name := strings.ToLower(strings.Trim(limit, "%"))
	if t.onClock() && name != "sunrise" && name != "sunset" {
		n, err := strconv.Atoi(limit)
		if err != nil && !t.fixed(&n, limit) {
			return nil, nil, errors.New("a time of day is compared with what stands in a variable: write the minute of the day")
		}
		c, err := t.clockCond(op, &expr{op: "number", text: strconv.Itoa(n)})
		return nil, c, err
	}
	if strings.Contains(limit, "%") {
		if name == "sunrise" || name == "sunset" {
			return t.sunTest(op, name)
		}
		other, err := t.variable(limit)
		if err != nil {
			return nil, nil, err
		}
		sign := map[string]string{"=": "=="}[op]
		if sign == "" {
			sign = op
		}
		if sign == "|" {
			return nil, nil, errors.New("a multiple of a variable has no counterpart")
		}
		return nil, &cond{op: "expr", text: t.value() + " " + sign + " " + other}, nil
	}
	v := scalarText(limit)
	f, isNumber := v.(float64)
	if t.on.expr != "" && op != "|" {
		right := exprText(limit)
		if isNumber {
			right = number(f)
		}
		if op == "=" {
			op = "=="
		}
		if op != "==" && op != "!=" && !isNumber {
			return nil, nil, fmt.Errorf("want a number, not %s", oneLine(limit))
		}
		return nil, &cond{op: "expr", text: t.on.expr + " " + op + " " + right}, nil
	}
	if t.on.worded() {
		word, ok := t.on.states(f)
		if !isNumber || !ok {
			return nil, nil, fmt.Errorf("want a number of a state, such as 1, not %s", oneLine(limit))
		}
		switch op {
		case "=", "==":
			return table{{"is", word}}, nil, nil
		case "!=":
			if t.on.kind == "power" {
				other, _ := t.on.states(1 - f)
				return table{{"is", other}}, nil, nil
			}
			return nil, not(&cond{op: "table", table: table{{"is", word}}}), nil
		}
		return nil, nil, errors.New("states are compared with = and !=")
	}
	if op == "|" {
		if !isNumber || f < 1 {
			return nil, nil, errors.New("want a whole number after |")
		}
		return nil, &cond{op: "expr", text: fmt.Sprintf("int(%s) %% %s == 0", t.value(), number(float64(int(f))))}, nil
	}
	key := map[string]string{"=": "is", "==": "is", "!=": "is", ">": "above", "<": "below", ">=": "at_least", "<=": "at_most"}[op]
	if !isNumber && key != "is" {
		return nil, nil, fmt.Errorf("want a number, not %s", oneLine(limit))
	}
	if op == "!=" {
		return nil, not(&cond{op: "table", table: table{{"is", v}}}), nil
	}
	return table{{key, v}}, nil, nil
}

// onClock says that the rule waits for an event that is given the time of day.
func (t *tasmota) onClock() bool {
	if len(t.on.trigger) == 0 || t.on.kind != "event" {
		return false
	}
	at, _ := t.on.trigger[0].value.(string)
	name, ok := strings.CutPrefix(at, "rules/"+t.Topic+"/")
	return ok && t.clocks[name]
}

// sunTest: an event that was given %time% and is compared with the sun asks whether
// it is before sunrise or after sunset.
func (t *tasmota) sunTest(op, name string) (table, *cond, error) {
	if !t.onClock() {
		return nil, nil, errors.New("a comparison with the sun: a condition { sun = \"down\" } asks for it")
	}
	t.need("the sun needs latitude and longitude in [hub]")
	half := map[string]string{"sunrise": "00:00-12:00", "sunset": "12:00-00:00"}[name]
	dark := &cond{op: "table", table: table{{"sun", "down"}, {"time", half}}}
	if (name == "sunset") == (op == ">" || op == ">=") {
		return nil, dark, nil
	}
	return nil, not(dark), nil
}

// value is %value% in an expression: rules have a number where a device says a word.
func (t *tasmota) value() string {
	if t.on.expr != "" {
		return t.on.expr
	}
	if t.on.worded() {
		switch t.on.kind {
		case "power":
			return "(value == 'ON' ? 1 : 0)"
		case "switch":
			return "(value == 'ON' ? 1 : value == 'TOGGLE' ? 2 : value == 'HOLD' ? 3 : 0)"
		}
		if t.on.counts {
			return "(value == 'SINGLE' ? 10 : value == 'DOUBLE' ? 11 : value == 'TRIPLE' ? 12 : value == 'QUAD' ? 13 : value == 'PENTA' ? 14 : value == 'HOLD' ? 3 : value == 'TOGGLE' ? 2 : value == 'ON' ? 1 : 0)"
		}
		return "(value in ['SINGLE', 'TOGGLE'] ? 2 : value == 'HOLD' ? 3 : value == 'DOUBLE' ? 11 : value == 'ON' ? 1 : 0)"
	}
	return "value"
}

// variable is %var1% and its like in an expression.
func (t *tasmota) variable(text string) (string, error) {
	name := strings.ToLower(strings.Trim(text, "%"))
	switch kind, n := command(name); {
	case name == "value" && t.onClock():
		return "", errors.New("%value% is the time of day here: an expression of Hearth does not read the clock")
	case name == "value":
		return t.value(), nil
	case name == "topic":
		return exprText(t.Topic), nil
	case (kind == "var" || kind == "mem") && t.gone[fmt.Sprintf("%s%d", kind, n)]:
		return "", fmt.Errorf("%%%s%%: what sets it was not carried over", name)
	case (kind == "var" || kind == "mem") && n >= 1 && n <= 16:
		return t.old(t.register(kind, n, 0)), nil
	case name == "color" || name == "timestamp" || name == "time" || name == "uptime" || name == "utctime" || name == "localtime" || name == "sunrise" || name == "sunset":
		return "", fmt.Errorf("%%%s%%: an expression of Hearth does not read the clock, nor what only the device knows", name)
	}
	return "", fmt.Errorf("%s is not known", oneLine(text))
}

// old is a variable as it was when the rule began: a Backlog has all its %var1% put
// in before it does anything.
func (t *tasmota) old(name string) string {
	if !t.wrote[name] {
		return name
	}
	before := name + "_before"
	if !t.saved[name] {
		t.saved[name] = true
		t.names[before] = true
		t.part("variable", before, "", table{{"initial", 0}})
		t.before.put(name, set(before, "value", name))
	}
	return before
}

// outcome is what a text with %...% in it is: plain, or an expression.
func (t *tasmota) outcome(text string) (plain string, parts []string, err error) {
	for text != "" {
		i := strings.Index(text, "%")
		j := -1
		if i >= 0 {
			j = strings.Index(text[i+1:], "%")
		}
		if j < 0 {
			parts = append(parts, exprText(text))
			plain += plainText(text)
			break
		}
		name := text[i : i+j+2]
		if !regexp.MustCompile(`^%[A-Za-z]+[0-9]*%$`).MatchString(name) {
			parts = append(parts, exprText(text[:i+1]))
			plain += plainText(text[:i+1])
			text = text[i+1:]
			continue
		}
		if i > 0 {
			parts = append(parts, exprText(text[:i]))
			plain += plainText(text[:i])
		}
		e, err := t.variable(name)
		if err != nil {
			return "", nil, err
		}
		parts = append(parts, e)
		if name = strings.ToLower(name); name == "%topic%" {
			plain += t.Topic
		} else {
			plain += "{" + e + "}"
		}
		text = text[i+j+2:]
	}
	return plain, parts, nil
}
