package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hearth/config"
	"hearth/hub"
	"hearth/migrate"
)

type importCommand struct {
	File   string            `arg:"" placeholder:"FILE" help:"Automations of Home Assistant in YAML, or rules of Tasmota; - is standard input."`
	Beside []string          `arg:"" optional:"" placeholder:"FILE" help:"Scripts and scenes of Home Assistant that the automations use: scripts.yaml, scenes.yaml."`
	Topic  string            `name:"tasmota-topic" placeholder:"TOPIC" help:"The file has rules of Tasmota, and they were on the device with this topic."`
	Map    map[string]string `placeholder:"ENTITY=SOURCE" help:"What stands for an entity of Home Assistant: an output, a device, a device's property, or a topic. May be repeated."`
	Config string            `placeholder:"FILE" help:"The house that it is for: entities that are called as something there are that."`
}

// A partialError is an import that left something out.
type partialError struct{ error }

// Run prints the TOML to standard output. What was left out, and what has to be seen
// to, goes to standard error.
func (c *importCommand) Run(std streams) error {
	text, name, err := read(c.File, std.in)
	if err != nil {
		return err
	}
	o := migrate.Options{Name: name, Topic: c.Topic, Map: c.Map}
	for _, file := range c.Beside {
		more, _, err := read(file, std.in)
		if err != nil {
			return err
		}
		o.Beside = append(o.Beside, more)
	}
	if c.Topic != "" && (len(c.Beside) > 0 || len(c.Map) > 0) {
		return usageError{errors.New("rules of Tasmota stand in one file, and have no entities")}
	}
	var house *hub.Config
	if c.Config != "" {
		cfg, doc := hub.Load(c.Config)
		house = cfg
		if err := complain(std.err, c.Config, doc); err != nil {
			return err
		}
		o.Has = has(cfg)
	}
	dialect := migrate.HomeAssistant
	if c.Topic != "" {
		dialect = migrate.Tasmota
	} else if looksLikeTasmota.Match(text) {
		return usageError{errors.New("this looks like rules of Tasmota: say on which device they were, with --tasmota-topic TOPIC")}
	}
	result, err := dialect(text, o)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := io.WriteString(std.out, result.Text); err != nil {
		return err
	}
	for _, l := range result.Left {
		place := name
		if l.Line > 0 {
			place += ":" + strconv.Itoa(l.Line)
		}
		fmt.Fprintf(std.err, "%s: not carried over: %s: %s\n", place, harmless([]byte(l.What)), harmless([]byte(l.Why)))
	}
	for _, n := range result.Needs {
		fmt.Fprintf(std.err, "see to: %s\n", harmless([]byte(n)))
	}
	refused, again := c.refused(result.Text, house)
	if len(again) > 0 {
		fmt.Fprintf(std.err, "see to: %s has %s already that came out here, such as [%s]: leave these out; or, if they are of an earlier import, take that out of the house, import again, and put this one in its place\n",
			c.Config, count(len(again), "table"), again[0])
	}
	for _, m := range refused {
		fmt.Fprintf(std.err, "not sound, mend it by hand: %s\n", m)
	}
	if n := len(result.Left) + len(refused); n > 0 {
		return partialError{fmt.Errorf("%s imported, and %s not", count(result.Rules, "rule"), count(n, "thing"))}
	}
	_, err = fmt.Fprintf(std.err, "%s imported\n", count(result.Rules, "rule"))
	return err
}

var looksLikeTasmota = regexp.MustCompile(`(?im)^\s*(rule[1-3]?\s+)?ON\s+\S+#\S+.*\sDO\s`)

// read is the text of a file, and what it is called.
func read(file string, in io.Reader) (text []byte, name string, err error) {
	name = filepath.Base(file)
	if file == "-" {
		name = "input"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, "", err
		}
		defer f.Close()
		in = f
	}
	text, err = io.ReadAll(io.LimitReader(in, migrate.MaxText+1))
	return text, name, err
}

// has tells what has a name in a house.
func has(cfg *hub.Config) func(string) migrate.Thing {
	return func(name string) migrate.Thing {
		if d, ok := cfg.Device.Get(name); ok {
			return migrate.Thing{Kind: "device", Via: d.Via, ID: d.ID, Main: d.Main}
		}
		for _, part := range []struct {
			kind string
			ok   bool
		}{
			{"output", given(cfg.Output.Get(name))},
			{"cover", given(cfg.Cover.Get(name))},
			{"input", given(cfg.Input.Get(name))},
			{"sensor", given(cfg.Sensor.Get(name))},
			{"calc", given(cfg.Calc.Get(name))},
			{"variable", given(cfg.Variable.Get(name))},
			{"machine", given(cfg.Machine.Get(name))},
		} {
			if part.ok {
				return migrate.Thing{Kind: part.kind}
			}
		}
		return migrate.Thing{}
	}
}

func given[T any](_ T, ok bool) bool { return ok }

// refused is what hearth check would say of it, in the house that it is for, and again
// are the tables of it that the house has too. Where the house is not known and names
// of it are used, nobody can say.
func (c *importCommand) refused(text string, house *hub.Config) (refused, again []string) {
	if c.Config == "" && len(c.Map) > 0 {
		return nil, nil
	}
	place := func(cfg *hub.Config) {
		if cfg.Hub.Latitude == nil || cfg.Hub.Longitude == nil {
			cfg.Hub.Latitude, cfg.Hub.Longitude = new(float64), new(float64)
		}
	}
	dir, err := os.MkdirTemp("", "hearth-import")
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "imported.toml")
	err = os.WriteFile(path, []byte(text), 0o600)
	if house, e := filepath.Abs(c.Config); c.Config != "" && e == nil && err == nil {
		whole := filepath.Join(dir, "house.toml")
		err = os.WriteFile(whole, fmt.Appendf(nil, "include = [%q, %q]\n", house, path), 0o600)
		path = whole
	}
	if err != nil {
		return []string{err.Error()}, nil
	}
	_, doc := hub.LoadWith(path, place)
	for _, m := range doc.Mistakes() {
		if table, ok := twice(m, house); !ok {
			refused = append(refused, strings.ReplaceAll(m.String(), dir+string(filepath.Separator), ""))
		} else if !slices.Contains(again, table) {
			again = append(again, table)
		}
	}
	return refused, again
}

// twice says whether a mistake is that a table of an import is in the house already,
// and which.
func twice(m config.Mistake, house *hub.Config) (table string, ok bool) {
	kind, rest, _ := strings.Cut(m.Key, ".")
	name, _, _ := strings.Cut(rest, ".")
	if house == nil || !strings.HasPrefix(m.Text, "given twice") {
		return "", false
	}
	switch kind {
	case "rule":
		_, ok = house.Rule.Get(name)
	case "link":
		_, ok = house.Link.Get(name)
	case "notify":
		_, ok = house.Notify.Get(name)
	case "variable":
		_, ok = house.Variable.Get(name)
	case "calc":
		_, ok = house.Calc.Get(name)
	case "device":
		_, ok = house.Device.Get(name)
	}
	return kind + "." + name, ok
}
