package web

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// told are the files whose sentences the page shows.
var told = []string{
	"../doctor/doctor.go",
	"../rules/about.go", "../rules/condition.go", "../rules/episode.go", "../rules/explain.go", "../rules/level.go", "../rules/machine.go", "../rules/plan.go",
	"../rules/request.go", "../rules/rules.go", "../rules/run.go", "../rules/scene.go", "../rules/snapshot.go", "../rules/start.go", "../rules/variable.go",
	"../gpio/guard.go", "../gpio/header.go", "../gpio/set.go", "../gpio/survey.go",
	"../why/chain.go", "../why/others.go",
	"../devices/catalog/command.go",
	"../hub/connect.go", "../hub/doctor.go", "../hub/edges.go", "../hub/page.go", "../hub/record.go", "../hub/reports.go", "../hub/rulebook.go", "../hub/things.go",
	"../hub/told.go", "../hub/trace.go", "../hub/why.go", "../hub/whypage.go", "../hub/wiring.go",
	"answer.go", "devices.go", "edit.go", "past.go", "people.go", "pins.go", "refuse.go", "rules.go", "stream.go", "things.go", "users.go", "why.go",
}

// These stand in them, and are no sentences, or none that people are shown on a page.
var untold = regexp.MustCompile(strings.Join([]string{
	`^(hearth set|went on|Samsung Internet|output or input)$`, `^not (known|there)$`, // what has words of its own
	`^(retained topics|messages (in|out)|inbox (waiting|merged)|commands refused)$`,
	`^timedatectl |^chmod `,                                                                                                                                                 // commands
	`^(is|has been) unknown$|^has said |^its feedback x9 x9 `,                                                                                                               // parts of what stands in TestFeedbackIsSaid
	`^any other state$`, `^ at x9 degrees$`, `^, of unknown age$`, `^, active low$`, `, and low here starts`, `^true \(open\)$|^false \(closed\)$|^a (level|position) from`, // parts of others
	`^(a question on hearth/why|who asked why|too many ask why|it has x9 bytes|this is not understood: want a name|x9 is nothing that a question|the answer tells of)`, // over MQTT
	`^from (and to are|has to be) |^JSON such as|^\{"|^\[(output|input|link|rule)\.`,            // what is to be written
	`^want (do=|enabled=|Content-Type)|^(format|points|by): want`, // for programs
	`^: still here|^not all of it|^found at start$|^clock not known$|^there is nothing at this address|^only x9 works here|^default-src|^; if that is a name|^this page answers`,
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
	verb   = regexp.MustCompile(`%[-+# 0-9.\[\]]*[a-zA-Z%]`)
	words2 = regexp.MustCompile(`[a-z]{2,} .*[a-z]{2,}`)
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
		if words2.MatchString(text) {
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

var _ = fmt.Sprint
