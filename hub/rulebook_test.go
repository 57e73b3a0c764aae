package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/gpio"
	"hearth/rules"
	"hearth/web"
)

const stairsHouse = `
[hub]
timezone = "Europe/Berlin"
[secret]
key = "abrakadabra"
[output.porch]
pin = "GPIO17"
[output.bell]
pin = "GPIO18"
[input.pir]
pin = "GPIO27"

# Light, where somebody goes.
[rule.stairs]
trigger = { state = "room/motion", is = true, until = { is = false, for = "2m" } }
condition = { state = { "room/lux" = { below = 40 } } }
action = { set = "porch", on = true, off = false }

# Not of it: rings.
[rule.ring]
trigger = { event = "door/button" }
action = [{ delay = "10s" }, { set = "bell", to = true, if = "\"abrakadabra\" != secret('key')" }]
[rule.lamps]
each = ["kitchen", "bath"]
trigger = { state = "{item}/motion", is = true }
action = { publish = "{item}/lamp", payload = "ON" }
[rule.post]
enabled = false
trigger = { time = "07:00" }
action = { http = "https://me:geheim@example.org/x?token=geheim2", headers = { Authorization = "Bearer geheim3" } }
[rule.morning]
trigger = { time = "06:30" }
action = { set = "bell", to = true }
[link.hall]
from = "hall/motion"
to = "bell"
[machine.alarm]
initial = "off"
moves = [{ from = "off", on = { event = "alarm/arm" }, to = "armed" }, { from = "armed", after = "30s", to = "off" }]
`

// As the page has it: a light goes on and off, somebody asks why, follows to the rule, sees its
// runs, disables it; the next motion does nothing, and why says so.
func TestARuleOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), stairsHouse), Options{Bank: gpio.NewSim()})
		defer stop()
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		defer end()
		p := page{h}
		ctx := context.Background()
		why := func(name, at string) web.Why {
			t.Helper()
			y, err := p.Why(ctx, name, at)
			if err != nil {
				t.Fatal(name, at, err)
			}
			return y
		}
		rule := func(name string) web.RuleDetail {
			t.Helper()
			d, err := p.Rule(ctx, name)
			if err != nil {
				t.Fatal(name, err)
			}
			return d
		}
		time.Sleep(2 * time.Second)
		publish(t, client, 1, "room/lux", "12")
		publish(t, client, 1, "room/motion", "true")
		time.Sleep(10 * time.Second)

		y := why("porch", "")
		var path []string
		for _, c := range y.Path {
			path = append(path, strings.TrimSpace(fmt.Sprintf("%s %s%s %s%s", c.What, c.Name, c.Rule, c.Value, c.Outcome)))
		}
		if got := strings.Join(path, ", "); !y.Now || !y.Known || y.Is != "ON" || got != "message room/motion true, decision rule.stairs fired, change porch ON" {
			t.Errorf("the path is %s: %+v", got, y)
		}
		if checks := y.Path[1].Checks; len(checks) != 1 || !checks[0].OK || checks[0].Saw != "12" {
			t.Errorf("its condition saw %+v", checks)
		}
		if before := why("porch", y.Before.Format(time.RFC3339Nano)); before.Is != "OFF" || before.Now || !before.After.Equal(y.Since) {
			t.Errorf("before that it was %+v, and changed next %v, want %v", before.Is, before.After, y.Since)
		}
		d := rule("stairs")
		if d.Name != "rule.stairs" || !d.Enabled || d.Switches != "stairs" || len(d.Underway) == 0 || d.Last.Outcome != "fired" || strings.Join(d.Reads, " ")+" > "+strings.Join(d.Sets, " ") != "room/lux room/motion > porch" {
			t.Errorf("%+v", d)
		}
		if parts := d.Parts; len(parts) != 1 || !parts[0].Triggers[0].Holds || !parts[0].Conditions[0].OK || parts[0].Conditions[0].Saw != "12" {
			t.Errorf("it stands at %+v", parts)
		}
		if len(d.Source) != 1 || d.Source[0].File != "config.toml" || !strings.HasPrefix(d.Source[0].Text, "# Light, where somebody goes.\n[rule.stairs]\n") || strings.Contains(d.Source[0].Text, "ring") || d.Unread != "" {
			t.Errorf("it is written %+v %s", d.Source, d.Unread)
		}

		publish(t, client, 1, "room/motion", "false")
		time.Sleep(3 * time.Minute)
		d = rule("stairs")
		var steps []string
		for _, s := range d.Runs[0].Steps {
			steps = append(steps, s.Outcome+" "+strings.Join(s.Does, " "))
		}
		if got := strings.Join(steps, ", "); len(d.Runs) != 1 || got != "fired porch ON, ended porch OFF" || d.Runs[0].Steps[1].After < 120_000 || d.Runs[0].Steps[0].Asks != "room/motion" {
			t.Errorf("its runs are %+v", d.Runs)
		}

		// Somebody disables it.
		if err := p.Enable(ctx, "stairs", false); err != nil {
			t.Fatal(err)
		}
		publish(t, client, 1, "room/motion", "true")
		time.Sleep(time.Second)
		if y = why("porch", ""); y.Is != "OFF" || len(y.Could) != 1 || strings.Join(y.Could[0].Now, " ") != "rule.stairs has been disabled" {
			t.Errorf("why not: %s %+v", y.Is, y.Could)
		}
		y = why("rule.stairs", "")
		if y.Is != "switched" || len(y.Path) == 0 || !slices.ContainsFunc(y.Path, func(c web.Cause) bool { return strings.Contains(c.By+c.Reason, "somebody disabled it on the page") }) {
			t.Errorf("who did it: %+v", y.Path)
		}
		if d = rule("rule.stairs"); d.Enabled || d.Last.Outcome != "switched" {
			t.Errorf("it is still enabled: %+v", d.Rule)
		}
		if got := retainedOf(h, "hearth/rule/stairs/enabled"); got != "OFF" {
			t.Errorf("over MQTT it is %q", got)
		}
		if err := p.Enable(ctx, "stairs", true); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"post": "enabled = false in the configuration", "stair": `did you mean "stairs"`, "hall": "no rule is named"} {
			if err := p.Enable(ctx, name, true); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"nothing", "", "stairs["} {
			if _, err := p.Rule(ctx, name); err == nil {
				t.Errorf("there is a rule %q", name)
			}
			if _, err := p.Why(ctx, name, ""); err == nil {
				t.Errorf("there is a reason for %q", name)
			}
		}
		if _, err := p.Why(ctx, "porch", "tomorrow"); err == nil {
			t.Error("tomorrow was")
		}
		if y := why("porch", "1999-12-31 12:00"); y.Known || y.Missing == "" || y.After.IsZero() {
			t.Errorf("before there was a history: %+v", y)
		}
		// A question that nobody waits for any more ends.
		late, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := p.Why(late, "porch", ""); err == nil {
			t.Error("who has gone is answered")
		}

		// The others.
		all, err := p.Rules(ctx)
		if err != nil {
			t.Fatal(err)
		}
		of := make(map[string]web.Rule)
		for _, r := range all {
			of[r.Name] = r
		}
		if len(all) != 7 || len(of["rule.lamps"].Of) != 2 || of["rule.post"].Enabled || of["rule.post"].Switches != "" || of["link.hall"].Switches != "" || of["machine.alarm"].State != "off" ||
			of["rule.morning"].Next.Format("15:04") != "06:30" {
			t.Errorf("%+v", all)
		}
		publish(t, client, 1, "bath/motion", "true")
		publish(t, client, 1, "alarm/arm", "x")
		publish(t, client, 1, "door/button", "x")
		time.Sleep(time.Second)
		if d := rule("lamps"); len(d.Parts) != 2 || d.Last == nil || d.Runs[0].Instance != "[bath]" || len(d.Source) != 1 {
			t.Errorf("%+v", d)
		}
		if d := rule("rule.lamps[bath]"); len(d.Parts) != 1 || d.Name != "rule.lamps[bath]" || len(d.Runs) != 1 {
			t.Errorf("%+v", d)
		}
		if d := rule("machine.alarm"); d.State != "armed" || len(d.Underway) != 1 || !strings.Contains(d.Underway[0], "to off") {
			t.Errorf("%+v", d.Rule)
		}
		if d := rule("ring"); d.Running != 1 || len(d.Underway) != 1 || !strings.Contains(d.Underway[0], "waits 9s") {
			t.Errorf("%+v", d.Rule)
		}

		// Nothing tells a secret.
		for _, name := range []string{"ring", "post"} {
			text, err := json.Marshal(rule(name))
			if err != nil || strings.Contains(string(text), "abrakadabra") || strings.Contains(string(text), "geheim") || !strings.Contains(string(text), "***") {
				t.Errorf("%s: %s %v", name, text, err)
			}
		}
		// The files are others than those in force.
		if first, again := h.written.read(h.cfg.path), h.written.read(h.cfg.path); first != again {
			t.Error("files that are as they were are parsed anew for each page")
		}
		if err := os.WriteFile(h.cfg.path, []byte("[rule.stairs]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if d := rule("stairs"); !strings.Contains(d.Unread, "not in force yet") {
			t.Errorf("of files that changed it says %q", d.Unread)
		}
		os.Remove(filepath.Join(h.cfg.path))
		if d := rule("stairs"); d.Unread == "" || len(d.Parts) != 1 {
			t.Errorf("without the file: %q", d.Unread)
		}
	})
}

func retainedOf(h *Hub, topic string) string {
	for m := range h.broker.Retained() {
		if m.Topic == topic {
			return string(m.Payload)
		}
	}
	return ""
}

// After a restart the list knows what rules did before it, and a house without history says
// what it knows now and why no more.
func TestRulesOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, stairsHouse), Options{Bank: gpio.NewSim()})
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		time.Sleep(2 * time.Second)
		publish(t, client, 1, "room/lux", "12")
		publish(t, client, 1, "room/motion", "true")
		time.Sleep(time.Second)
		end()
		stop()
		time.Sleep(time.Hour)
		h, stop = start(t, load(t, dir, stairsHouse), Options{Bank: gpio.NewSim()})
		last := func() map[string]string {
			all, err := page{h}.Rules(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			of := make(map[string]string)
			for _, r := range all {
				if r.Last != nil {
					of[r.Name] = r.Last.Outcome
				}
			}
			return of
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		h.lastRuns.fill(gone, []web.Rule{{Name: "rule.stairs"}}, h.past) // who gives up spoils it for nobody
		for range 2 {                                                    // the second time without a look at the disk
			if got := last(); len(got) != 1 || got["rule.stairs"] == "" {
				t.Errorf("of before is known %v", got)
			}
		}
		stop()

		h, stop = start(t, load(t, t.TempDir(), stairsHouse+"[history]\nenabled = false\n"), Options{Bank: gpio.NewSim()})
		defer stop()
		client, end = connect(t, h, "wall", func(*paho.Publish) {})
		defer end()
		time.Sleep(2 * time.Second)
		publish(t, client, 1, "room/lux", "12")
		publish(t, client, 1, "room/motion", "true")
		time.Sleep(time.Second)
		y, err := page{h}.Why(t.Context(), "porch", "")
		if err != nil || !strings.Contains(y.Missing, "no history is kept") || y.Is != "ON" || len(y.Path) > 0 {
			t.Errorf("%+v %v", y, err)
		}
		d, err := page{h}.Rule(t.Context(), "stairs")
		if err != nil || len(d.Runs) != 1 || d.Runs[0].Steps[0].Outcome != "fired" || !strings.Contains(d.Short, "no history is kept") {
			t.Errorf("%+v %v", d, err)
		}
	})
}

// The pages that watch hear of a rule once a second at most, and of no more at once than they
// can take.
func TestNewsOfRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := stairsHouse
		for i := range 300 {
			text += fmt.Sprintf("[rule.n%d]\ntrigger = { event = \"all/go\" }\naction = { publish = \"n/%d\", payload = \"x\" }\n", i, i)
		}
		h, stop := start(t, load(t, t.TempDir(), text), Options{Bank: gpio.NewSim()})
		defer stop()
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		defer end()
		time.Sleep(2500 * time.Millisecond)
		events, done := page{h}.Watch()
		defer done()
		heard := make(map[string]int)
		most := 0
		take := func() {
			n := 0
			for len(events) > 0 {
				if e, ok := <-events; ok && e.Rule != nil {
					heard[e.Rule.Name]++
					n++
				} else if !ok {
					t.Fatal("the page was cut off")
				}
			}
			most = max(most, n)
		}
		for range 20 {
			publish(t, client, 1, "room/motion", "true")
			publish(t, client, 1, "room/motion", "false")
			time.Sleep(10 * time.Millisecond)
			take()
		}
		time.Sleep(time.Second)
		take()
		if n := heard["rule.stairs"]; n == 0 || n > 2 {
			t.Errorf("the pages were told of it %d times", n)
		}
		clear(heard)
		h.inbox.always(&item{control: func() {
			for i := range 300 {
				h.isNews(fmt.Sprintf("rule.n%d", i))
			}
		}})
		for range 8 {
			time.Sleep(time.Second)
			take()
		}
		if len(heard) != 300 || most > newsAtOnce {
			t.Errorf("of %d rules was told, at most %d at once", len(heard), most)
		}
		before := len(heard)
		if err := (page{h}).Enable(t.Context(), "stairs", false); err != nil {
			t.Fatal(err)
		}
		if take(); heard["rule.stairs"] == 0 || len(heard) < before {
			t.Error("a switch is not told at once")
		}
	})
}

// What a page costs the loop: all of 500 rules, and news of 64.
func BenchmarkRulesOfThePage(b *testing.B) {
	text := "[output.porch]\npin = \"GPIO17\"\n"
	for i := range 500 {
		text += fmt.Sprintf("[rule.n%d]\ntrigger = { state = \"a/%d\", is = true, for = \"5m\" }\ncondition = { state = { \"b/%d\" = { below = 5 } } }\naction = { set = \"porch\", to = true }\n", i, i, i)
	}
	dir := b.TempDir()
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	cfg, doc := Load(path)
	if err := doc.Err(); err != nil {
		b.Fatal(err)
	}
	h, err := New(cfg, Options{Bank: gpio.NewSim(), Clock: testClock(), Offline: true})
	if err != nil {
		b.Fatal(err)
	}
	defer h.close()
	for i := range 500 {
		h.keepTrace(rules.Decision{ID: uint64(i + 1), At: h.now(), Rule: fmt.Sprintf("rule.n%d", i), Outcome: rules.Fired, Trigger: "a is true"})
	}
	names := make([]string, newsAtOnce)
	for i := range names {
		names[i] = fmt.Sprintf("rule.n%d", i*7)
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			h.ruleViews()
		}
	})
	b.Run("news", func(b *testing.B) {
		for b.Loop() {
			h.ruleViews(names...)
		}
	})
	b.Run("none", func(b *testing.B) { // what each decision costs where nobody watches
		for b.Loop() {
			h.isNews("rule.n7")
		}
	})
	b.Run("page", func(b *testing.B) { // the file, which is read beside the loop
		for b.Loop() {
			cfg.excerpts("rule.n250", h.written.read(path))
		}
	})
}
