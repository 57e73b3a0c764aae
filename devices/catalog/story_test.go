package catalog

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/devices"
)

var update = flag.Bool("update", false, "write what comes out into the stories")

// A story in testdata is what devices send, line by line, and below each line, indented,
// what the catalog makes of it:
//
//	<r TOPIC PAYLOAD       a retained message, found at the start
//	<  TOPIC PAYLOAD       a message
//	!  DEVICE PROPERTY VALUE   somebody tells a device something
//	?  devices             lists them
//	#  a remark
//
// An announcement shows the devices that are new or another; a report its values. A
// payload may go on in lines that begin with a tab.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(old))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(old) {
				t.Errorf("%s tells another story, see what -update makes of it:\n%s", file, firstDifference(string(old), got))
			}
		})
	}
}

func firstDifference(old, got string) string {
	a, b := strings.Split(old, "\n"), strings.Split(got, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("line %d: want %q\n     got %q", i+1, a[i], strings.Join(b[i:min(i+3, len(b))], "\n"))
		}
	}
	return "there is more at the end"
}

// play gives a story with what comes out.
func play(story string) string {
	var out bytes.Buffer
	c := New()
	index := NewIndex(nil)
	shown := make(map[string]string)
	presses := make(map[string]int64)
	show := func(format string, args ...any) { fmt.Fprintf(&out, "    "+format+"\n", args...) }
	lines := strings.Split(strings.TrimRight(story, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, "    ") {
			continue
		}
		out.WriteString(line + "\n")
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "\t") {
			i++
			out.WriteString(lines[i] + "\n")
			line += "\n" + lines[i][1:]
		}
		op, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch op {
		case "<", "<r":
			topic, payload, _ := strings.Cut(rest, " ")
			m := devices.Message{Topic: topic, Payload: []byte(payload), Retain: op == "<r", Initial: op == "<r"}
			faults, _ := c.Faults()
			before := fmt.Sprint(faults)
			changed, ask := c.Take(m)
			for c.Waits("") {
				_, more := c.Rest()
				changed = changed || more
			}
			if faults, _ := c.Faults(); fmt.Sprint(faults) != before {
				for _, f := range faults {
					if f.Topic == topic {
						show("fault: %s", f.Why)
					}
				}
			}
			for _, a := range ask {
				show("> %s %s", a.Topic, a.Payload)
			}
			if changed {
				index = NewIndex(c.Devices())
				now := make(map[string]string)
				for _, d := range c.Devices() {
					if now[d.ID] = describe(d); shown[d.ID] != now[d.ID] {
						for line := range strings.Lines(now[d.ID]) {
							show("%s", strings.TrimRight(line, "\n"))
						}
					}
				}
				for _, id := range slices.Sorted(maps.Keys(shown)) {
					if now[id] == "" {
						show("%s is gone", id)
					}
				}
				shown = now
			}
			for _, v := range index.Read(m) {
				if e, ok := v.Value.(counted); ok {
					if !e.news(presses, v.Device+v.Property, m.Initial) {
						continue
					}
					v.Value = e.event
				}
				name := v.Property
				if v.Available >= 0 {
					name = "available"
				}
				if v.Bad != "" {
					show("%s %s: bad, %s", v.Device, name, v.Bad)
				} else {
					show("%s %s = %s", v.Device, name, shortValue(v.Value))
				}
			}
		case "!":
			id, what, _ := strings.Cut(rest, " ")
			property, value, _ := strings.Cut(what, " ")
			found := false
			for _, d := range c.Devices() {
				if d.ID != id {
					continue
				}
				found = true
				m, err := d.Command(property, value)
				switch {
				case err != nil:
					show("no: %v", err)
				case m.Retain:
					show(">r %s %s", m.Topic, m.Payload)
				default:
					show("> %s %s", m.Topic, m.Payload)
				}
			}
			if !found {
				show("no: there is no %s", id)
			}
		case "?":
			for _, d := range c.Devices() {
				for line := range strings.Lines(describe(d)) {
					show("%s", strings.TrimRight(line, "\n"))
				}
			}
		}
	}
	return out.String()
}

func shortValue(v any) string {
	switch v := v.(type) {
	case bool:
		return fmt.Sprint(v)
	case string:
		return fmt.Sprintf("%q", v)
	}
	return devices.Text(v)
}

func describe(d Device) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", d.ID, d.Name)
	for _, what := range []struct{ name, value string }{{"room", d.Room}, {"maker", d.Maker}, {"model", d.Model}, {"version", d.Version}} {
		if what.value != "" {
			fmt.Fprintf(&b, ", %s %q", what.name, what.value)
		}
	}
	if d.Sleepy {
		b.WriteString(", sleepy")
	}
	for _, id := range d.Identity {
		b.WriteString(", " + id)
	}
	for _, id := range d.Also {
		b.WriteString(", also " + id)
	}
	b.WriteString("\n")
	for _, r := range d.Available.Reports {
		fmt.Fprintf(&b, "  available on %s", r.Topic)
		if len(d.Available.Reports) > 1 {
			fmt.Fprintf(&b, " (%s)", d.Available.Mode)
		}
		b.WriteString("\n")
	}
	for _, p := range d.Properties {
		fmt.Fprintf(&b, "  %s: %s", p.Name, p.Kind)
		if p.Of != "" {
			b.WriteString(" of " + p.Of)
		}
		if p.Label != "" {
			fmt.Fprintf(&b, " %q", p.Label)
		}
		if p.Class != "" {
			b.WriteString(", " + p.Class)
		}
		if p.Unit != "" {
			b.WriteString(" in " + p.Unit)
		}
		if r := p.Range; r != nil {
			fmt.Fprintf(&b, ", %s to %s", short(r.Min), short(r.Max))
			if r.Step != 0 {
				b.WriteString(" by " + short(r.Step))
			}
		}
		if len(p.Options) > 0 {
			fmt.Fprintf(&b, ", one of %s", strings.Join(p.Options, " "))
		}
		if p.Diagnostic {
			b.WriteString(", diagnostic")
		}
		if p.OffAfter != 0 {
			fmt.Fprintf(&b, ", off after %v", p.OffAfter)
		}
		if p.StaleAfter != 0 {
			fmt.Fprintf(&b, ", stale after %v", p.StaleAfter)
		}
		if p.Raw != "" {
			b.WriteString(", raw: " + p.Raw)
		}
		for _, r := range p.Reports {
			b.WriteString(" <- " + r.Topic)
		}
		if p.Set != nil {
			b.WriteString(" -> " + p.Set.Topic)
		}
		b.WriteString("\n")
	}
	return b.String()
}
