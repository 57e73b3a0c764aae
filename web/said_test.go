package web

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// told are the files whose sentences the page shows.
var told = []string{
	"../doctor/doctor.go",
	"../rules/about.go", "../rules/condition.go", "../rules/episode.go", "../rules/explain.go", "../rules/level.go", "../rules/machine.go", "../rules/plan.go",
	"../rules/request.go", "../rules/rules.go", "../rules/run.go", "../rules/scene.go", "../rules/snapshot.go", "../rules/start.go", "../rules/variable.go",
	"../gpio/follow.go", "../gpio/guard.go", "../gpio/header.go", "../gpio/pins.go", "../gpio/set.go", "../gpio/survey.go",
	"../gpio/sensor/chips.go", "../gpio/sensor/kernel.go", "../gpio/sensor/track.go",
	"../why/chain.go", "../why/others.go",
	"../devices/normalize.go", "../devices/catalog/command.go", "../devices/catalog/read.go", "../devices/catalog/registry.go",
	"../hub/accounts.go", "../hub/clients.go", "../hub/connect.go", "../hub/doctor.go", "../hub/edges.go", "../hub/edit.go", "../hub/found.go", "../hub/health.go", "../hub/machines.go", "../hub/page.go",
	"../hub/record.go", "../hub/reports.go", "../hub/rulebook.go", "../hub/saver.go", "../hub/things.go", "../hub/told.go", "../hub/topics.go", "../hub/trace.go", "../hub/try.go", "../hub/versions.go", "../hub/why.go",
	"../hub/whypage.go", "../hub/wiring.go",
	"answer.go", "devices.go", "edit.go", "health.go", "login.go", "past.go", "people.go", "pins.go", "refuse.go", "rules.go", "stream.go", "thing.go", "things.go", "topics.go", "users.go", "why.go",
}

// These stand in them, and are no sentences, or none that people are shown on a page.
var untold = regexp.MustCompile(strings.Join([]string{
	`^(hearth set|went on|Samsung Internet|output or input)$`, `^not (known|there)$`, // what has words of its own
	`^(retained topics|messages (in|out)|inbox (waiting|merged)|commands refused)$`,
	`^timedatectl |^chmod `,                                                                                                                                                                  // commands
	`^(is|has been) unknown$|^has said |^its feedback x9 x9 `,                                                                                                                                // parts of what stands in TestFeedbackIsSaid
	`^any other state$`, `^state of x9$`, `^ at x9 degrees$`, `^, of unknown age$`, `^, active low$`, `, and low here starts`, `^true \(open\)$|^false \(closed\)$|^a (level|position) from`, // parts of others
	`^(a question on hearth/why|who asked why|too many ask why|it has x9 bytes|this is not understood: want a name|x9 is nothing that a question|the answer tells of)`, // over MQTT
	`^from (and to are|has to be) |^JSON such as|^\{"|^\[(output|input|link|rule)\.`,                                                                                   // what is to be written
	`^want (do=|enabled=|Content-Type)|^(format|points|by): want`,                                                                                                      // for programs
	`^: still here|^not all of it|^found at start$|^clock not known$|^there is nothing at this address|^only x9 works here|^default-src|^; if that is a name|^this page answers`,
	`^built in$|^nothing, so that nothing is retained,$|^as in version|^ \(and x9 more\)$|^: you are logged out|^want (what a form posts|a form, and)|^the chart could not be|^too many tries$|^it is not what a record|^x9 waits for x9$`,
	`^the hub had not ended|^connected from|^x9 x9 it on the page|^a rule looks at`,
}, "|"))

// Every sentence of the house that the page shows is said in each language that needs words
// for that, and so a new one is, too.
func TestEverySentenceIsSaid(t *testing.T) {
	for language, w := range allWords() {
		if w.said == nil {
			continue
		}
		for _, file := range told {
			for _, s := range sentencesIn(t, file) {
				s.text = verb.ReplaceAllStringFunc(s.text, func(v string) string {
					if v == "%%" {
						return "%"
					}
					return "x9"
				})
				if said := w.say(s.text); !untold.MatchString(s.text) && (said == s.text || english.MatchString(said)) {
					t.Errorf("%s: nothing in words/said.%s.toml is %q, which becomes %q", s.at, language, s.text, said)
				}
			}
		}
	}
}

type writtenSentence struct {
	at   token.Position
	text string
}

// english is what no other language has.
var english = regexp.MustCompile(`(?i)\b(the|and|is|its|it|that|this|has|have|been|not|with|are|can|than|which|want|nobody|of|from|into|of)\b`)

var (
	verb      = regexp.MustCompile(`%[-+# 0-9.\[\]]*[a-zA-Z%]`)
	someWords = regexp.MustCompile(`[a-z]{2,} .*[a-z]{2,}`)
)

// sentencesIn are the sentences that stand in a file of Go, with words in place of what is put
// in.
func sentencesIn(t *testing.T, file string) (all []writtenSentence) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, filepath.FromSlash(file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec, *ast.Field:
			return false
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Mistake", "Warn", "Error", "Info", "Debug", "Cut", "HasPrefix", "TrimPrefix", "CutPrefix", "Fatal", "Format"}, f.Sel.Name) && len(n.Args) > 0 {
				return false
			}
		}
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		text, ok := spelled(e)
		if !ok {
			return true
		}
		if someWords.MatchString(text) {
			all = append(all, writtenSentence{set.Position(e.Pos()), text})
		}
		return false
	})
	return all
}

// spelled is the text that an expression makes; false if it makes none.
func spelled(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, e.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		a, okA := spelled(e.X)
		b, okB := spelled(e.Y)
		return cmp.Or(a, "x9") + cmp.Or(b, "x9"), e.Op == token.ADD && (okA || okB)
	case *ast.CallExpr:
		f, ok := e.Fun.(*ast.SelectorExpr)
		if !ok {
			if name, is := e.Fun.(*ast.Ident); is && name.Name == "say" || len(e.Args) > 0 && is && slices.Contains([]string{"refusal", "Refusal"}, name.Name) {
				break
			}
			return "", false
		}
		if !ok || !slices.Contains([]string{"Sprintf", "Errorf"}, f.Sel.Name) || len(e.Args) == 0 {
			return "", false
		}
		return spelled(e.Args[0])
	}
	return "", false
}

// What the stories of the house and its rules told is said in German, whatever was put in.
func TestWhatStoriesToldIsSaid(t *testing.T) {
	decided := regexp.MustCompile(`\b((?:rule|link|machine|output|variable)\.[a-z_]+)(?:\[[^\]]*\])? (fired|pending|cancelled|blocked|ignored|queued|ended|went on|stopped|switched|dropped)(?:$|[:;( ]).*`)
	// Formulas and the words of people are as they are.
	quoted := regexp.MustCompile(`"[^"]*"|\(value[^)]*\)|not value .*| -> .*|, (not )?(value|state|age)[ (].*|now [^)]*\)`)
	w, n := allWords()["de"], 0
	var files []string
	for _, in := range []string{"../hub/testdata/stories/*.txtar", "../cmd/hearth/testdata/*.txtar", "../migrate/testdata/*/*.txtar"} {
		some, err := filepath.Glob(in)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, some...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			found := decided.FindStringSubmatch(strings.TrimSpace(line))
			if found == nil {
				continue
			}
			n++
			d := Decision{Rule: found[1], Outcome: found[2], Text: found[0]}
			if said := quoted.ReplaceAllString(d.in(w).Text, ""); english.MatchString(said) {
				t.Errorf("%s: %s\nis %s", filepath.Base(file), d.Text, said)
			}
		}
	}
	if n < 100 {
		t.Errorf("the stories told only %d decisions", n)
	}
}

// A feedback that contradicts its output is told in sentences of parts.
func TestFeedbackIsSaid(t *testing.T) {
	w := allWords()["de"]
	for _, is := range []string{"is unknown 1s after it was switched ON", "is unknown 1s after it was switched OFF", "says OFF 1s after it was switched ON", "says ON 1s after it was switched OFF",
		"has been unknown for 1s while it was ON", "has been unknown for 1s while it was OFF", "has said ON for 1s while it was OFF", "has said OFF for 1s while it was ON"} {
		if said := w.say("fan: its feedback fan_on " + is); !strings.HasPrefix(said, "fan: seine Rückmeldung fan_on ") || english.MatchString(said) {
			t.Errorf("%s: %s", is, said)
		}
	}
}

// How sentences are put together, and what stays as it is.
func TestSay(t *testing.T) {
	w := allWords()["de"]
	for text, want := range map[string]string{
		"": "",
		"it is ON, so that is true already; it fires when that becomes true again": "es ist ON, also gilt das schon; sie löst aus, wenn das von neuem gilt",
		"pir is true: it is ON, so that is true already":                           "pir ist true: es ist ON, also gilt das schon",
		"tele/x:SENSOR above 3 for 5m, 2m to go":                                   "tele/x:SENSOR über 3 seit 5m, noch 2m",
		"study above 20.2 (now 20.9)":                                              "study über 20.2 (jetzt 20.9)",
		"a/v is OFF or away for 2m":                                                "a/v ist OFF oder away seit 2m",
		"bath:h above 3 and below 5 for 2m":                                        "bath:h über 3 und unter 5 seit 2m",
		"x silent for 5m for 1m":                                                   "x schweigt seit 5m, und das seit 1m",
		"somebody published nothing, so that nothing is retained, to a/b":          "jemand hat an a/b Leeres gesendet, damit nichts aufbewahrt wird",
		"value > 3 and value < 5":                                                  "value > 3 and value < 5", // a formula
		"not (sun down) (up)":                                                      "nicht (Sonne untergegangen) (up)",
		"morning (time 07:00)":                                                     "morning (Uhrzeit 07:00)",
		"a sentence that nobody knows":                                             "a sentence that nobody knows",
		"nothing is recorded of \"<b>{name...}\"":                                  "von \"<b>{name...}\" ist nichts aufgezeichnet",
	} {
		if got := w.say(text); got != want {
			t.Errorf("%q is said %q, want %q", text, got, want)
		}
		if got := allWords()["en"].say(text); got != text {
			t.Errorf("%q is said %q in English", text, got)
		}
	}
	for p, want := range map[[2]string]string{{"current_temperature"}: "Ist-Temperatur", {"t1", "Current temperature"}: "Ist-Temperatur", {"color temp", "Shade"}: "Shade", {"frobnication"}: "frobnication"} {
		if got := (Property{Name: p[0], Label: p[1]}).in(w).Title(); got != want {
			t.Errorf("the property %q is called %q, want %q", p, got, want)
		}
	}
	for d, want := range map[Decision]string{
		{Rule: "rule.a", Outcome: "fired", Text: "rule.a[name=plug] fired: pir is true (now ON), not sun down (up) -> lamp ON"}: "rule.a[name=plug] hat ausgelöst: pir ist true (jetzt ON), nicht Sonne untergegangen (up) -> lamp ON",
		{Rule: "rule.a", Outcome: "switched", Text: "rule.a switched -> rule.a disabled"}:                                       "rule.a wurde ein- oder ausgeschaltet -> rule.a ausgeschaltet",
		{Rule: "page", Outcome: "fired", Text: "page fired; anna switched it on the page -> lamp nothing yet"}:                  "page hat ausgelöst; anna hat es auf der Seite geschaltet -> lamp nothing yet",
		{Rule: "rule.a", Outcome: "fired", Text: "something else"}:                                                              "something else",
	} {
		if got := d.in(w).Text; got != want {
			t.Errorf("%s\nis  %s\nwant %s", d.Text, got, want)
		}
	}
}

// Each sentence of a language has the same holes as the one it stands for, and none twice.
func TestSayings(t *testing.T) {
	for language, w := range allWords() {
		if w.said == nil {
			continue
		}
		seen := make(map[string]bool)
		for _, one := range w.said.all {
			var holes []string
			for i, h := range one.holes {
				if holes = append(holes, h.in); i > 0 && one.parts[i] == "" {
					t.Errorf("said.%s.toml: two holes with nothing between: %s", language, one.text)
				}
			}
			in := regexp.MustCompile(`\{[^}]*\}`).FindAllString(one.as, -1)
			slices.Sort(holes)
			slices.Sort(in)
			if !slices.Equal(slices.Compact(holes), slices.Compact(in)) || len(holes) > mostHoles || seen[one.text] {
				t.Errorf("said.%s.toml: %s", language, one.text)
			}
			seen[one.text] = true
		}
	}
}

// What means ill takes no time, breaks nothing, and is still text alone.
func FuzzSay(f *testing.F) {
	for _, evil := range payloads {
		f.Add(evil)
	}
	for _, s := range []string{"; ", "x: ", "not ", "a is b and ", ", ", "it is {value...}", " -> "} {
		f.Add(strings.Repeat(s, 200))
	}
	w := allWords()["de"]
	f.Fuzz(func(t *testing.T, text string) {
		text = mended(text, mostText)
		began := time.Now()
		said := w.say(text)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%v for %q", took, text)
		}
		if !utf8.ValidString(said) || len(said) > 20*len(text)+200 || strings.Count(said, "<") != strings.Count(text, "<") || strings.Count(said, ">") < strings.Count(text, ">") {
			t.Errorf("%q became %q", text, said)
		}
	})
}

// A page in German has its sentences in German, also those that its modules fetch and are
// told later; programs have them in English, until they ask for another language.
func TestSentencesAreInTheLanguageOfWhoLooks(t *testing.T) {
	house := furnished()
	house.view.Trouble = []string{"the clock is not known to be right, so times of day wait until a time service has set it"}
	house.view.Waiting = []string{"rule.stairs: waits 40s"}
	house.view.Outputs[2].Fault = "its line does not answer"
	house.view.Decisions = []Decision{{At: noon, Rule: "rule.stairs", Outcome: "blocked", Text: "rule.stairs blocked: pir is true (now ON), not sun down (up)"}}
	house.checkedUp = illReport()
	s := New(house, Options{Log: quietLog})
	s.set.Store(&settings{loopback: true, anonymous: true, language: "de"})
	for path, says := range map[string][]string{
		"/log":                              {"Uhrzeiten, bis ein Zeitdienst", "wartet noch 40s", "garden_pump: seine Leitung antwortet nicht", "wurde aufgehalten: pir ist true (jetzt ON), nicht Sonne untergegangen (up)"},
		"/health":                           {"das Netzteil ist gerade zu schwach", "ihm Luft, einen Kühlkörper oder einen Lüfter geben"},
		"/pins":                             {"seine Leitung antwortet nicht"},
		"/api/v1/house?language=de":         {"wartet noch 40s", "seine Leitung antwortet nicht"},
		"/api/v1/health?language=de":        {"das Netzteil ist gerade zu schwach", "Prozessor"},
		"/api/v1/house":                     {"waits 40s", "its line does not answer"},
		"/api/v1/health":                    {"the power supply is too weak right now", "Processor"},
		"/api/v1/rules/nothing?language=de": {"keine Regel, kein Link und kein Automat heißt nothing"},
		"/api/v1/rules/nothing":             {"no rule, link or machine is named nothing"},
		"/api/v1/rules/nothing?language=fr": {"no rule, link or machine is named nothing"},
	} {
		body := html.UnescapeString(ask(s, "GET", path, "", "Accept", "text/html").Body.String())
		for _, want := range says {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %q:\n%s", path, want, body)
			}
		}
	}
}

// Two watch in two languages, and each is told what happens in their own.
func TestAStreamIsInALanguage(t *testing.T) {
	b := &batch{events: []Event{{Output: &Pin{Name: "fan", Fault: "its line does not answer"}}}}
	who := &judged{visitor: visitor{rights: part{Change, nil}}}
	for language, want := range map[string]string{"en": "its line does not answer", "de": "seine Leitung antwortet nicht"} {
		if told := string(b.as(who, "", allWords()[language])); !strings.Contains(told, want) {
			t.Errorf("%s: %s", language, told)
		}
	}
}

func BenchmarkSay(b *testing.B) {
	d := Decision{Rule: "rule.a", Outcome: "blocked", Text: "rule.a blocked: zigbee2mqtt/study:temperature below 19 (now 18.4), not sun down (up); its last run is still going -> heater ON"}
	for name, w := range map[string]*words{"new": nil, "again": allWords()["de"]} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if w == nil {
					left := mostSaid
					allWords()["de"].said.say(d.Text[15:], &left)
					continue
				}
				d.in(w)
			}
		})
	}
}

// A page in German of a house with 200 decisions costs this beside.
func BenchmarkViewInGerman(b *testing.B) {
	v := furnished().view
	for i := range 200 {
		v.Decisions = append(v.Decisions, Decision{Rule: "rule.a", Outcome: "fired", Text: "rule.a fired: pir is true (now ON), time 18:00-06:00 -> lamp ON " + strconv.Itoa(i)})
	}
	for b.Loop() {
		v.in(allWords()["de"])
	}
}

func BenchmarkSayOfWhatMeansIll(b *testing.B) {
	s, text := allWords()["de"].said, strings.Repeat("a is b, not ; c: ", 29)
	for b.Loop() {
		left := mostSaid
		s.say(text, &left)
	}
}
