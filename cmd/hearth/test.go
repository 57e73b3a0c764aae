package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"hearth/hub"
	"hearth/trial"
)

type testCommand struct {
	Files   []string `arg:"" optional:"" placeholder:"FILE" help:"Configurations with [[test]] tables; default as for check."`
	Config  string   `short:"c" placeholder:"FILE" help:"The same as one FILE, as other commands have it."`
	Only    string   `name:"run" placeholder:"REGEXP" help:"Only tests with such a name, or recipes with such an id; small and capital letters are the same."`
	Verbose bool     `short:"v" help:"Tell the whole story of each test, with every decision."`
	JUnit   string   `name:"junit" placeholder:"FILE" help:"Write the results to FILE as JUnit XML too."`
	Recipes string   `placeholder:"FILE" help:"Instead of tests: recipes in JSON."`
	Rules   string   `placeholder:"DIR" help:"Where the rules of the recipe P01 are DIR/P01.toml."`
}

// longFlags lets -run and -junit be written with one dash, as testers of Go do.
func longFlags(args []string) []string {
	if len(args) == 0 || args[0] != "test" {
		return args
	}
	args = slices.Clone(args)
	for i, a := range args {
		if name, _, _ := strings.Cut(a, "="); name == "-run" || name == "-junit" {
			args[i] = "-" + a
		}
	}
	return args
}

// Run says of each test, in a line, whether it passed, and of one that did not
// what differs and why.
func (c *testCommand) Run(std streams) error {
	wanted, err := regexp.Compile("(?i)" + c.Only)
	switch {
	case err != nil:
		return usageError{fmt.Errorf("--run: %w", err)}
	case (c.Recipes == "") != (c.Rules == ""):
		return usageError{errors.New("--recipes FILE and --rules DIR belong together")}
	case c.Config != "" && len(c.Files) > 0:
		return usageError{errors.New("want the file once, either as it is or after --config")}
	case c.Recipes != "" && len(c.Files)+len(c.Config) > 0:
		return usageError{errors.New("want either recipes or files with tests, not both")}
	}
	t := &tester{testCommand: c, std: std, wanted: wanted}
	if c.Recipes != "" {
		err = t.recipes()
	} else {
		err = t.files()
	}
	if c.JUnit != "" && len(t.suites) > 0 {
		err = errors.Join(err, t.writeJUnit())
	}
	return err
}

// tester runs tests and counts.
type tester struct {
	*testCommand
	std            streams
	wanted         *regexp.Regexp
	passed, failed int
	skipped        int // of another name
	broken         int // files with mistakes
	suites         []suite
}

// files runs the tests in configurations.
func (t *tester) files() error {
	files := t.Files
	if len(files) == 0 {
		files = []string{t.Config}
	}
	for _, asked := range files {
		path, err := findConfig(asked)
		if err != nil {
			return err
		}
		cfg, doc := hub.Load(path)
		if err := complain(t.std.err, path, doc); err != nil {
			fmt.Fprintln(t.std.out, "FAIL", err)
			t.suites = append(t.suites, suite{Name: path, Cases: []testcase{{Name: "configuration", Failure: &failure{err.Error(), doc.Err().Error()}}}})
			t.broken++
			continue
		}
		s := suite{Name: path}
		for i, test := range cfg.Test {
			if !t.wanted.MatchString(test.Name) {
				t.skipped++
				continue
			}
			v := trial.Run(cfg.Trial(), test)
			at := doc.Root().Key("test").Index(i).Position()
			if v.OK() {
				fmt.Fprintf(t.std.out, "ok   %s\n", test.Name)
			} else {
				fmt.Fprintf(t.std.out, "FAIL %s (%s:%d)\n%s", test.Name, at.File, at.Line, v.Diff())
			}
			t.count(&s, test.Name, "", v)
		}
		t.suites = append(t.suites, s)
	}
	if t.passed+t.failed+t.broken == 0 {
		if t.skipped > 0 {
			return fmt.Errorf("none of %s has a name that matches %s", count(t.skipped, "test"), t.Only)
		}
		return errors.New("no tests found: write [[test]] tables beside the rules, or into a file that includes them")
	}
	return t.close("test")
}

// count takes a verdict into the results, and tells its story if that is wanted.
func (t *tester) count(s *suite, name, why string, v *trial.Verdict) {
	if v != nil && t.Verbose {
		fmt.Fprint(t.std.out, v.Story.Timeline())
	}
	c := testcase{Name: name}
	if v != nil && !v.OK() {
		c.Failure = &failure{v.Reason(), v.Diff()}
	} else if why != "" {
		c.Failure = &failure{why, why}
	}
	if c.Failure != nil {
		t.failed++
	} else {
		t.passed++
	}
	s.Cases = append(s.Cases, c)
}

// close is the last line, and the error that makes the exit status.
func (t *tester) close(what string) error {
	fmt.Fprintf(t.std.out, "%d passed, %d failed\n", t.passed, t.failed)
	switch {
	case t.broken > 0 && t.failed == 0:
		return fmt.Errorf("%s with mistakes", count(t.broken, "file"))
	case t.broken > 0:
		return fmt.Errorf("%s failed, and %s with mistakes", count(t.failed, what), count(t.broken, "file"))
	case t.failed > 0:
		return fmt.Errorf("%s failed", count(t.failed, what))
	}
	return nil
}

// recipes runs recipes, each with the rules of its own file.
func (t *tester) recipes() error {
	text, err := os.ReadFile(t.Recipes)
	if err != nil {
		return err
	}
	recipes, err := trial.ReadRecipes(text)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Recipes, err)
	}
	s := suite{Name: t.Recipes}
	for _, r := range recipes {
		if !t.wanted.MatchString(r.ID) && !t.wanted.MatchString(r.Title) {
			t.skipped++
			continue
		}
		v, why := t.recipe(r)
		if v != nil {
			why = v.Reason()
		}
		if why == "" {
			fmt.Fprintf(t.std.out, "%s pass\n", r.ID)
		} else {
			fmt.Fprintf(t.std.out, "%s fail: %s\n", r.ID, strings.ReplaceAll(why, "\n", "; "))
			if v != nil && t.Verbose {
				fmt.Fprint(t.std.out, v.Diff())
			}
		}
		t.count(&s, r.ID, why, v)
	}
	t.suites = append(t.suites, s)
	if t.passed+t.failed == 0 {
		return fmt.Errorf("none of %s has an id or title that matches %s", count(t.skipped, "recipe"), t.Only)
	}
	return t.close("recipe")
}

// recipe runs one. Where it can't be run why says so.
func (t *tester) recipe(r trial.Recipe) (v *trial.Verdict, why string) {
	path := filepath.Join(t.Rules, r.ID+".toml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, "there is no file " + path
	}
	if r.Err != nil {
		return nil, "the recipe can't be read: " + r.Err.Error()
	}
	cfg, doc := hub.LoadWith(path, func(cfg *hub.Config) {
		cfg.Hub.Timezone = r.Timezone
		if p := r.Place; p != nil {
			cfg.Hub.Latitude, cfg.Hub.Longitude = &p.Lat, &p.Lon
		}
	})
	if doc.Err() != nil {
		mistakes := doc.Mistakes()
		why := mistakes[0].String()
		if n := len(mistakes); n > 1 {
			why += fmt.Sprintf(" (and %d more)", n-1)
		}
		return nil, why
	}
	return r.Run(cfg.Trial()), ""
}

// JUnit's XML, as much of it as build servers read.
type (
	suite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func (t *tester) writeJUnit() error {
	root := struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suites   []suite
	}{}
	for _, s := range t.suites {
		for i := range s.Cases {
			s.Cases[i].Class = s.Name
			if s.Cases[i].Failure != nil {
				s.Failures++
			}
		}
		s.Tests = len(s.Cases)
		root.Tests += s.Tests
		root.Failures += s.Failures
		root.Suites = append(root.Suites, s)
	}
	text, err := xml.MarshalIndent(root, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(t.JUnit, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}
