package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite what is expected in testdata")

// A house is a config with one field of every kind.
type house struct {
	Hub       hub              `toml:"hub"`
	Broker    broker           `toml:"broker"`
	wired                      // flattened
	Rule      Table[rule]      `toml:"rule"`
	Interlock Table[interlock] `toml:"interlock"`
	Test      []story          `toml:"test"`
}

type hub struct {
	Name      string  `toml:"name"`
	Port      uint16  `toml:"port"`
	Latitude  float64 `toml:"latitude" min:"-90" max:"90"`
	Longitude float32 `toml:"longitude"`
	Seen      bool    // no tag: not for the owner
}

type broker struct {
	Listen    List[string] `toml:"listen" eg:"\"127.0.0.1:1883\""`
	Anonymous *bool        `toml:"anonymous"`
	Packet    Size         `toml:"packet" min:"1KiB" max:"64MiB"`
	Queue     *Size        `toml:"queue" eg:"\"4MiB\""`
}

type wired struct {
	Output Table[output] `toml:"output"`
}

type output struct {
	Pin       string   `toml:"pin,required" eg:"\"GPIO17\""`
	ActiveLow bool     `toml:"active_low"`
	Safe      string   `toml:"safe" enum:"off,on,hold"`
	MaxOn     Duration `toml:"max_on" min:"1s" max:"7d"`
}

type rule struct {
	Trigger List[trigger]  `toml:"trigger"`
	Vars    map[string]int `toml:"vars"`
	Extra   any            `toml:"extra"`
}

type trigger struct {
	State string `toml:"state"`
	Below limit  `toml:"below"`
	Until *limit `toml:"until"`
}

// A limit is a number, or a table with one.
type limit struct {
	Above float64 `toml:"above"`
}

func (l *limit) DecodeTOML(v any, at Place) {
	switch v.(type) {
	case int64, float64:
		Decode(v, &l.Above, at)
	case map[string]any:
		type table limit // without this method
		Decode(v, (*table)(l), at)
	default:
		at.Mistake("want a number or a table such as { above = 20 }")
	}
}

type interlock struct {
	Outputs []string  `toml:"outputs"`
	Gap     *Duration `toml:"gap"`
}

func (i *interlock) Check(at Place) {
	if len(i.Outputs) < 2 {
		at.Key("outputs").Mistake("want two outputs or more")
	}
	if i.Gap != nil && *i.Gap == 0 {
		at.Key("gap").Warn("both may be on for a moment")
	}
}

type story struct {
	Name string `toml:"name"`
	Send []sent `toml:"send"`
}

type sent struct {
	At    Duration `toml:"at"`
	Topic string   `toml:"topic"`
}

func said(d *Doc) string {
	var b strings.Builder
	for _, m := range append(d.Mistakes(), d.Warnings()...) {
		fmt.Fprintln(&b, m)
	}
	return b.String()
}

// A whole house is read into its struct: every kind of field, in each way it
// may be written.
func TestParse(t *testing.T) {
	const src = "\ufeff" + `
[hub]
name = "home"
port = 0x50
latitude = 52          # a whole number will do for a float
longitude = 13.4

[broker]
listen = "127.0.0.1:1883"
anonymous = false

[output.b]
pin = "GPIO2"
max_on = "1h30m"
[output.a]
pin = "GPIO1"
safe = "hold"

[rule.heater]
trigger = { state = "a/b:t", below = 19, until = { above = 20.5, }, }
vars = { x = 1, "y z" = 2 }
extra = [1, "two", { three = 3.5 }]
[rule.list]
trigger = [{ state = "a" }, { state = "b" }]

[interlock.shutter]
outputs = ["a", "b"]

[[test]]
name = "one"
send = [{ at = "0s", topic = "x" }]
[[test]]
name = "two"
`
	var got house
	d := Parse("config.toml", []byte(src), &got)
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	no := false
	want := house{
		Hub:    hub{Name: "home", Port: 80, Latitude: 52, Longitude: 13.4},
		Broker: broker{Listen: List[string]{"127.0.0.1:1883"}, Anonymous: &no},
		wired: wired{Output: Table[output]{
			{"b", output{Pin: "GPIO2", MaxOn: Duration(90 * time.Minute)}},
			{"a", output{Pin: "GPIO1", Safe: "hold"}},
		}},
		Rule: Table[rule]{
			{"heater", rule{
				Trigger: List[trigger]{{State: "a/b:t", Below: limit{19}, Until: &limit{20.5}}},
				Vars:    map[string]int{"x": 1, "y z": 2},
				Extra:   []any{int64(1), "two", map[string]any{"three": 3.5}},
			}},
			{"list", rule{Trigger: List[trigger]{{State: "a"}, {State: "b"}}}},
		},
		Interlock: Table[interlock]{{"shutter", interlock{Outputs: []string{"a", "b"}}}},
		Test:      []story{{Name: "one", Send: []sent{{Topic: "x"}}}, {Name: "two"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if p, ok := got.Output.Get("a"); !ok || p.Pin != "GPIO1" {
		t.Errorf("Get(a) = %v, %v", p, ok)
	}
	if _, ok := got.Output.Get("c"); ok {
		t.Error("Get(c) found something")
	}
	if names := got.Output.Names(); !slices.Equal(names, []string{"b", "a"}) {
		t.Errorf("Names() = %q", names)
	}

	// The places of the same document.
	root := d.Root()
	for _, c := range []struct {
		at   Place
		path string
		pos  string
	}{
		{root, "", "1:1"},
		{root.Key("hub"), "hub", "2:1"},
		{root.Key("hub").Key("port"), "hub.port", "4:8"},
		{root.Key("hub").Key("nothing"), "hub.nothing", "2:1"},
		{root.Key("output").Key("a"), "output.a", "15:1"},
		{root.Key("broker").Key("listen").Index(0), "broker.listen", "9:10"},
		{root.Key("rule").Key("heater").Key("trigger").Index(0).Key("until").Key("above"), "rule.heater.trigger.until.above", "20:60"},
		{root.Key("rule").Key("heater").Key("vars").Key("y z"), `rule.heater.vars."y z"`, "21:25"},
		{root.Key("rule").Key("heater").Key("extra").Index(2).Key("three"), "rule.heater.extra[3].three", "22:30"},
		{root.Key("rule").Key("list").Key("trigger").Index(1), "rule.list.trigger[2]", "24:29"},
		{root.Key("rule").Key("list").Key("trigger").Index(7), "rule.list.trigger[8]", "24:11"},
		{root.Key("test").Index(1).Key("name"), "test[2].name", "33:8"},
		{root.Key("test").Index(0).Key("send").Index(0).Key("topic"), "test[1].send[1].topic", "31:30"},
	} {
		pos := c.at.Position()
		if got := fmt.Sprintf("%d:%d", pos.Line, pos.Column); got != c.pos || c.at.String() != c.path {
			t.Errorf("%s at %s, want %s at %s", c.at, got, c.path, c.pos)
		}
	}
	if !root.Key("hub").Key("port").Given() || root.Key("hub").Key("pot").Given() {
		t.Error("Given is wrong")
	}
}

// Files are written into a directory and loaded; what is said names the files
// relative to it.
func TestInclude(t *testing.T) {
	type files map[string]string
	for _, c := range []struct {
		name  string
		files files
		want  string
		order string // of outputs
	}{
		{"spread over files in the order of reading", files{
			"config.toml":        "include = [\"more/*.toml\", \"one.toml\"]\n[output.z]\npin = \"1\"\n",
			"more/b.toml":        "[output.b]\npin = \"1\"\n",
			"more/a.toml":        "include = \"s[[]u]b/x.toml\"\n[output.a]\npin = \"1\"\n",
			"more/.a.toml":       "an editor's",
			"more/s[u]b/x.toml":  "include = [\"y*.toml\"]\n[output.x]\npin = \"1\"\n[hub]\nname = \"home\"\n",
			"more/s[u]b/y1.toml": "[output.y1]\npin = \"1\"\n",
			"one.toml":           "include = [\"more/a.toml\"]\noutput.y.pin = \"1\"\n",
		}, "", "z a x y1 b y"},
		{"mistakes name their file and place", files{
			"config.toml": "include = [\"a.toml\"]\n[[test]]\nname = 1\n",
			"a.toml":      "\n[[test]]\nname = 2\n[output.a]\npn = 3\n",
		}, `config.toml:3:8: test[1].name = 1: want text: write "1"
a.toml:3:8: test[2].name = 2: want text: write "2"
a.toml:4:1: output.a.pin: missing, want for example pin = "GPIO17"
a.toml:5:1: output.a.pn = 3: unknown key, did you mean "pin"?
`, "a"},
		{"the same name twice", files{
			"config.toml": "include = [\"a.toml\"]\nhub.name = \"a\"\n[output.a]\npin = \"1\"\n[broker]\n",
			"a.toml":      "broker = 1\n[output.a]\npin = \"2\"\n[hub]\nname = \"b\"\nport = 1\n",
		}, `a.toml:1:1: broker = 1: given twice, first at config.toml:5:2: want it only once
a.toml:2:9: output.a = {…}: given twice, first at config.toml:3:9: want it only once
a.toml:5:1: hub.name = "b": given twice, first at config.toml:2:5: want it only once
`, "a"},
		{"a circle", files{
			"config.toml": "include = [\"a.toml\"]\n",
			"a.toml":      "include = [\n  \"*.nothing\",\n  \"config.toml\",\n]\n",
		}, `a.toml:3:3: include[2] = "config.toml": a circle: config.toml includes a.toml includes config.toml
a.toml:2:3: warning: include[1] = "*.nothing": no file matches
`, ""},
		{"a pattern that matches its own file", files{
			"config.toml": "include = [\"*.toml\"]\n",
			"a.toml":      "[output.a]\npin = \"1\"\n",
		}, "", "a"},
		{"a file that is not there", files{
			"config.toml": "include = [\"a.toml\", \"dir\", 7, \"[\"]\n",
			"dir/a.toml":  "",
		}, `config.toml:1:12: include[1] = "a.toml": cannot read a.toml: no such file or directory
config.toml:1:22: include[2] = "dir": cannot read dir: not a file
config.toml:1:29: include[3] = 7: want text: write "7"
config.toml:1:32: include[4] = "[": want a pattern such as "rules/*.toml"
`, ""},
		{"a broken file does not hide the others' mistakes, nor make new ones", files{
			"config.toml": "include = [\"a.toml\", \"b.toml\"]\n",
			"a.toml":      "[output.a]\npin = GPIO17\n",
			"b.toml":      "[output.b]\npin = 17\n",
		}, `a.toml:2:7: output.a.pin = GPIO17: text stands in quotes: write "GPIO17"
b.toml:2:7: output.b.pin = 17: want text such as "GPIO17"
`, "b"},
		{"lists, texts and tables that do not fit together", files{
			"config.toml": "include = \"a.toml\"\nextra = [1]\ntest = []\n[hub]\n",
			"a.toml":      "extra = [2]\ntest = 1\n[[hub]]\n",
		}, `config.toml:2:1: extra = […]: unknown key, known here: hub, broker, output, rule, interlock, test
a.toml:1:1: extra = […]: given twice, first at config.toml:2:1: want it only once
a.toml:2:1: test = 1: given twice, first at config.toml:3:1: want it only once
a.toml:3:3: hub = […]: given twice, first at config.toml:4:2: want it only once
`, ""},
		{"no main file", files{}, "config.toml:1:1: cannot read config.toml: no such file or directory\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for name, src := range c.files {
				if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(src), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			var h house
			d := Load("config.toml", &h)
			if got := said(d); got != c.want {
				t.Errorf("said:\n%s\nwant:\n%s", got, c.want)
			}
			if got := strings.Join(h.Output.Names(), " "); got != c.order {
				t.Errorf("outputs %q, want %q", got, c.order)
			}
			if whole := !strings.Contains(c.want, "cannot read") && !strings.Contains(c.want, "circle") && !strings.Contains(c.want, "GPIO17: text"); d.Whole() != whole && len(c.files) > 0 {
				t.Errorf("Whole() = %v", d.Whole())
			}
			if c.order == "z a x y1 b y" {
				if got := strings.Join(d.Files(), " "); got != "config.toml more/a.toml more/s[u]b/x.toml more/s[u]b/y1.toml more/b.toml one.toml" {
					t.Errorf("files %s", got)
				}
				if h.Hub.Name != "home" {
					t.Errorf("hub.name %q", h.Hub.Name)
				}
			}
		})
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct{ in, out, err string }{
		{"500ms", "500ms", ""},
		{"60s", "1m", ""},
		{"15m", "15m", ""},
		{"2h", "2h", ""},
		{"7d", "7d", ""},
		{"1h30m", "1h30m", ""},
		{"1d12h", "1d12h", ""},
		{"36h", "1d12h", ""},
		{"1.5d", "1d12h", ""},
		{"1.5s", "1.5s", ""},
		{"1h0m5s", "1h5s", ""},
		{"0s", "0s", ""},
		{"0", "", `want a duration: write "0s"`},
		{"60", "", `want a duration: write "60s"`},
		{" 5 Min ", "", `want a duration: write "5m"`},
		{"2 weeks", "", `want a duration: write "14d"`},
		{"15M", "", `want a duration: write "15m"`},
		{"1h 30m", "", `want a duration: write "1h30m"`},
		{"-5s", "", `want a duration such as "15m"`},
		{"+5s", "", `want a duration such as "15m"`},
		{"", "", `want a duration such as "15m"`},
		{"d", "", `want a duration such as "15m"`},
		{"1h2d", "", `want a duration such as "15m"`},
		{"1d0", "", `want a duration such as "15m"`},
		{"1d2d", "", `want a duration such as "15m"`},
		{"5 parsecs", "", `want a duration such as "15m"`},
		{"200000d", "", `want a duration such as "15m"`},
		{"106751d23h47m17s", "", `want a duration such as "15m"`},
	} {
		d, err := ParseDuration(c.in)
		if got := fmt.Sprint(err); err != nil && got != c.err || err == nil && (c.err != "" || d.String() != c.out) {
			t.Errorf("%q: %s, %v; want %s, %s", c.in, d, err, c.out, c.err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Min(0).Draw(t, "d"))
		text, _ := d.MarshalText()
		var back Duration
		if err := back.UnmarshalText(text); err != nil || back != d {
			t.Fatalf("%d as %q is %d, %v", d, text, back, err)
		}
	})
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Size
		err  string
	}{
		{"256KiB", 256 << 10, ""}, {"64MiB", 64 << 20, ""}, {"2GiB", 2 << 30, ""}, {"100B", 100, ""}, {"0B", 0, ""},
		{"8589934591GiB", 8589934591 << 30, ""}, {"8589934592GiB", 0, "want a size such as"}, {"9223372036854775808B", 0, "want a size such as"},
		{"256", 0, `write "256B"`}, {"256 kb", 0, `write "256KiB"`}, {"64M", 0, `write "64MiB"`}, {"1 gib", 0, `write "1GiB"`},
		{"3 bytes", 0, `write "3B"`}, {"", 0, "want a size"}, {"KiB", 0, "want a size such as"}, {"-1KiB", 0, "want a size such as"},
		{"+1KiB", 0, "want a size such as"}, {"1.5MiB", 0, "want a size such as"}, {"5m0", 0, "want a size such as"},
	} {
		n, err := ParseSize(c.in)
		if n != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %d, %v; want %d, %q", c.in, n, err, c.want, c.err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := Size(rapid.Int64Min(0).Draw(t, "n"))
		text, _ := n.MarshalText()
		var back Size
		if err := back.UnmarshalText(text); err != nil || back != n {
			t.Fatalf("%d: %s: %d, %v", n, text, back, err)
		}
	})
}

func TestNearest(t *testing.T) {
	keys := []string{"pin", "active_low", "safe", "max_on", "min_on", "of", "at", "id"}
	for in, want := range map[string]string{
		"pn": "pin", "active-low": "active_low", "ActiveLow": "active_low", "actvie_low": "active_low",
		"max_no": "max_on", "SAFE": "safe", "if": "", "x": "", "": "", "colour": "", "pin": "", "mix_on": "max_on",
	} {
		if got, _ := Nearest(in, keys); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

// Deep, wide and large files end in a mistake or a value, soon and without a
// deep stack: each of these once took a parser seconds or all memory.
func TestLimits(t *testing.T) {
	rep := strings.Repeat
	for _, c := range []struct{ name, src, want string }{
		{"arrays", "a = " + rep("[", 100_000), "config.toml:1:69: nested more than 64 deep"},
		{"closed arrays", "a = " + rep("[", 100_000) + rep("]", 100_000), "config.toml:1:69: nested more than 64 deep"},
		{"tables", "a = " + rep("{a=", 100_000), "config.toml:1:197: nested more than 64 deep"},
		{"dots", rep("a.", 100_000) + "a = 1", "config.toml:1:130: nested more than 64 deep"},
		{"a header of dots", "[" + rep("a.", 100_000) + "a]\n", "config.toml:1:129: nested more than 64 deep"},
		{"a header and dots", "[" + rep("a.", 39) + "a]\n" + rep("b.", 39) + "b = 1\n", "config.toml:2:50: nested more than 64 deep"},
		{"tables after text", `a = ["]", '}', """ " ] """, ''' ' ] ''', ` + rep("{a=", 100), ""},
		{"a large file", rep("#", maxFile+1), "config.toml:1:1: the file has 1048577 bytes, want at most 1048576: split it with include"},
		{"one long line", "a = [" + rep("1, ", 100_000) + "]\n", "config.toml:1:1: a = […]: unknown key, known here: hub, broker, output, rule, interlock, test"},
		{"nothing but mistakes", rep("[[test]]\nnmae = 1\n", 20_000), "many"},
		{"dots in text", "hub.name = 1 # " + rep(".", 100) + "\n" + `hub.port = "` + rep("a.", 100) + "\"\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			got := said(Parse("config.toml", []byte(c.src), &house{}))
			if n := strings.Count(got, "\n"); c.want == "many" {
				if n != 20_000 {
					t.Errorf("%d mistakes", n)
				}
			} else if got == "" || c.want != "" && got != c.want+"\n" {
				t.Errorf("said %.300s\nwant %s", got, c.want)
			}
			if c.want == "" && c.name == "tables after text" != strings.Contains(got, "nested") {
				t.Errorf("said %.300s", got)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A level is read by its own UnmarshalText.
type level int

func (l *level) UnmarshalText(text []byte) error {
	if string(text) != "high" {
		return fmt.Errorf("want high")
	}
	*l = 1
	return nil
}

type left struct {
	A string `toml:"a"`
}

func (l left) Check(at Place) {
	if l.A == "" {
		at.Key("a").Mistake("left wants it")
	}
}

type right struct {
	B       level            `toml:"b"`
	Days    []Duration       `toml:"days" max:"7d"`
	Tiny    int8             `toml:"tiny"`
	Small   float32          `toml:"small"`
	Deep    map[string]left  `toml:"deep"`
	Nothing *map[string]left `toml:"nothing"`
	Big     uint64           `toml:"big"`
}

func (r *right) Check(at Place) { at.Key("b").Warn("right was here") }

// Every struct is checked once for each mistake, embedded or not, and every
// kind of field refuses what it cannot hold.
func TestCheckAndKinds(t *testing.T) {
	for _, c := range []struct {
		into any
		src  string
		want string
	}{
		{&struct{ left }{}, "", "x.toml:1:1: a: left wants it\n"},
		{&struct {
			left
			*right // not flattened: a pointer
		}{}, "a = 1", "x.toml:1:5: a = 1: want text: write \"1\"\n"},
		{&struct {
			left
			right
		}{}, "b = \"low\"\ndays = [\"1d\", \"8d\", 3]\ntiny = 200\nsmall = 1e300\nbig = -1\ndeep.x = {}\ndeep.y = { a = \"\" }\ndeep.z = 1\n", `x.toml:1:1: a: left wants it
x.toml:1:5: b = "low": want high
x.toml:2:15: days[2] = "8d": want a duration of at most "7d"
x.toml:2:21: days[3] = 3: want a duration: write "3s"
x.toml:3:8: tiny = 200: want a whole number from -128 to 127
x.toml:4:9: small = 1e+300: want a finite number
x.toml:5:7: big = -1: want a whole number of at least 0
x.toml:6:10: deep.x.a: left wants it
x.toml:7:16: deep.y.a = "": left wants it
x.toml:8:10: deep.z = 1: want a table, written [deep.z]
`},
		{&right{}, "b = \"high\"\nnothing = {}\ndays = \"1d\"", `x.toml:3:8: days = "1d": want a list: write ["1d"]
x.toml:1:5: warning: b = "high": right was here
`},
	} {
		if got := said(Parse("x.toml", []byte(c.src), c.into)); got != c.want {
			t.Errorf("%s\nsaid:\n%swant:\n%s", c.src, got, c.want)
		}
	}
}

// A mistake inside of a text is shown at the character the owner wrote, however
// the text is quoted. Each text below has an X where it is wrong.
func TestPlaceInText(t *testing.T) {
	for _, src := range []string{
		`a = "X"`,
		`a = "abcX"`,
		`a = 'C:\X'`,
		`a = "né \" \\ \t \u00e9 \U0001F600 \x41 \e X"`,
		`a = { b = "1", c = ["", "éX"] }`,
		"a = \"\"\"X\"\"\"",
		"a = \"\"\"\nX\"\"\"",
		"a = \"\"\"\r\nX\"\"\"",
		"a = '''\n\n  one \\\n  twoX'''",
		"a = '''one ''X'''",
		"a = \"\"\"\nvalue > 2 and\n  vaX < 3\n\"\"\"",
		"a = \"\"\"\r\nvalue > 2 and\r\n  vaX < 3\r\n\"\"\"",
		"a = \"\"\"\nvalue \\\n\n   \t> 2 \\t \"q\" \\\\  \r\n and X\"\"\"",
		"a = \"\"\"one \\\n   X\"\"\"",
		"# é\n\n[z]\n  'k y'.z = \"é X\" # X",
	} {
		d := Parse("config.toml", []byte(src), nil)
		if err := d.Err(); err != nil {
			t.Errorf("%q: %v", src, err)
			continue
		}
		var where string
		eachText(d.Root(), func(p Place, text string) {
			if before, _, ok := strings.Cut(text, "X"); ok {
				where = p.String()
				p.At(utf8.RuneCountInString(before)).Mistake("here")
			}
		})
		before := src[:strings.IndexByte(src, 'X')]
		line := before[strings.LastIndexByte(before, '\n')+1:]
		want := fmt.Sprintf("config.toml:%d:%d: %s = ", strings.Count(before, "\n")+1, len([]rune(line))+1, where)
		if got := said(d); !strings.HasPrefix(got, want) {
			t.Errorf("%q: said %s, want %s", src, got, want)
		}
	}
	d := Parse("config.toml", []byte("a = \"bc\"\nd = 3\n"), nil)
	d.Root().Key("a").At(99).Warn("after the end")
	d.Root().Key("d").At(1).Mistake("not a text")
	d.Root().Key("e").At(1).Mistake("not there")
	Place{}.At(1).Mistake("nowhere")
	if got, want := said(d), `config.toml:1:1: e: not there
config.toml:2:5: d = 3: not a text
config.toml:1:8: warning: a = "bc": after the end
`; got != want {
		t.Errorf("said %s, want %s", got, want)
	}
}

// eachText hands over every text at p and below.
func eachText(p Place, do func(p Place, text string)) {
	switch v := p.val.(type) {
	case string:
		do(p, v)
	case []any:
		for i := range v {
			eachText(p.Index(i), do)
		}
	case map[string]any:
		for k := range v {
			eachText(p.Key(k), do)
		}
	}
}

// Where the second walk does not get as far as the first, or sees less, what
// is wrong is placed at the nearest known.
func TestPlaceUnknown(t *testing.T) {
	d := Parse("config.toml", []byte("[output.a]\npin = 1\n"), nil)
	d.root.keys["output"].keys["a"].keys = nil
	Decode(d.value, &house{}, d.Root())
	if got, want := said(d), "config.toml:1:1: output.a.pin = 1: want text such as \"GPIO17\"\n"; got != want {
		t.Errorf("said %s, want %s", got, want)
	}
	d = Parse("config.toml", []byte("[output.b]\npin = 1\n[output.a]\n"), nil)
	d.root.keys = nil
	var h house
	Decode(d.value, &h, d.Root())
	if got := strings.Join(h.Output.Names(), " "); got != "a b" {
		t.Errorf("names whose place is not known are not sorted: %s", got)
	}
	var n int
	Decode("x", &n, Place{}) // belongs to no document: nothing is said, nothing breaks
	Place{}.Key("a").Index(1).Mistake("x")
	Place{}.Warn("x")
	var v any = 1
	if Decode(nil, &v, Place{}); v != nil {
		t.Error("nothing left something")
	}
}

// Any bytes give a value, or mistakes with places in the file.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range strings.Split(string(text), "\n=== ")[1:] {
		_, s, _ = strings.Cut(s, "\n")
		src, _, _ := strings.Cut(s, "--\n")
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d := Parse("config.toml", src, &house{})
		lines := bytes.Split(bytes.TrimPrefix(src, []byte("\ufeff")), []byte("\n"))
		for _, m := range append(d.Mistakes(), d.Warnings()...) {
			if m.Line < 1 || m.Column < 1 || m.Line > len(lines) || m.Column > len([]rune(string(lines[m.Line-1])))+1 {
				t.Errorf("outside the file: %s", m)
			}
			if m.File != "config.toml" || m.Text == "" || strings.ContainsAny(m.String(), "\n\x00") || !utf8.ValidString(m.String()) {
				t.Errorf("malformed: %q", m)
			}
		}
		eachText(d.Root(), func(p Place, text string) {
			if p.node == nil {
				return
			}
			for i, r := range []rune(text) {
				at := p.At(i).Position()
				if at.Line > len(lines) {
					t.Fatalf("%s: character %d of %q is outside the file", p, i, text)
				}
				line := []rune(string(lines[at.Line-1]) + "\n")
				if at.Column > len(line) || line[at.Column-1] != r && line[at.Column-1] != '\\' {
					t.Errorf("%s: character %d of %q is not at %s", p, i, text, at)
				}
			}
		})
	})
}

// FuzzSize: any text is a size that is written and read as the same, or a mistake
// that says what would be right.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"256KiB", "64 MB", "0B", "9223372036854775807B", "8EiB", "", "١KiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			if like := sizeLike(s); like != "" {
				if _, err := ParseSize(like); err != nil {
					t.Fatalf("%q: %q would be wrong too", s, like)
				}
			}
			return
		}
		if again, err := ParseSize(n.String()); err != nil || again != n || n < 0 {
			t.Fatalf("%q: %d became %d, %v", s, n, again, err)
		}
	})
}

func TestMistakes(t *testing.T) {
	const file = "testdata/mistakes.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stories := strings.Split(string(text), "\n=== ")
	for i, s := range stories[1:] {
		name, s, _ := strings.Cut(s, "\n")
		src, want, _ := strings.Cut(s, "--\n")
		t.Run(name, func(t *testing.T) {
			got := said(Parse("config.toml", []byte(src), &house{}))
			if got == "" {
				t.Error("nothing was said")
			}
			stories[i+1] = name + "\n" + src + "--\n" + got
			if want := strings.TrimRight(want, "\n") + "\n"; got != want && !*update {
				t.Errorf("said:\n%s\nwant:\n%s", got, want)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(stories, "\n=== ")), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// What is secret is not shown, and a second document's mistakes come after the
// first's.
func TestHiddenAndJoined(t *testing.T) {
	var into any
	a := Parse("a.toml", []byte("password = \"hunter2\"\n"), &into)
	a.Root().Key("password").Hidden().Mistake("want a hash")
	b := Parse("b.toml", []byte("x = 1\n"), &into)
	b.Root().Key("x").Warn("hm")
	b.Root().Key("x").Mistake("want 2")
	a.Join(b)
	a.Join(new(Doc))
	if got, want := a.Err().Error(), "a.toml:1:12: password: want a hash\nb.toml:1:5: x = 1: want 2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(a.Warnings(), a.Files()), "[b.toml:1:5: warning: x = 1: hm] [a.toml b.toml]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Texts are fresh as long as nothing would be read otherwise: not a byte, not a file more or less.
func TestFreshTexts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	main := filepath.Join(dir, "main.toml")
	write("main.toml", "include = [\"more_*.toml\", \"later.toml\"]\na = 1\n")
	write("more_a.toml", "b = 1\n")
	for what, change := range map[string]func(){
		"nothing":                func() {},
		"a byte":                 func() { write("more_a.toml", "b = 2\n") },
		"a file that matches":    func() { write("more_b.toml", "c = 1\n") },
		"a file more":            func() { write("later.toml", "d = 1\n") },
		"a file that is no more": func() { os.Remove(filepath.Join(dir, "more_a.toml")) },
	} {
		write("more_a.toml", "b = 1\n")
		os.Remove(filepath.Join(dir, "more_b.toml"))
		os.Remove(filepath.Join(dir, "later.toml"))
		texts := Load(main, nil).Texts()
		if change(); texts.Fresh() != (what == "nothing") {
			t.Errorf("after %s: fresh %v", what, texts.Fresh())
		}
		if len(texts.Files()) != 3 || string(texts.Source(main)) == "" || texts.Sum() == "" {
			t.Errorf("%v", texts.Files())
		}
	}
}
