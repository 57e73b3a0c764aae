package gpio

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"

	"pgregory.net/rapid"
)

// played runs a guard through commands, one a line: "10s down on"; deadlines are
// served in between. It gives the drives, one a line: "10s up OFF", with = before
// those that switch nothing, and with the reason after a colon.
func played(t *testing.T, toml, story string) string {
	t.Helper()
	g := NewGuard(configured(t, toml))
	var b strings.Builder
	note := func(at time.Duration, drives []Drive) {
		for _, d := range drives {
			same, why := "", ""
			if d.Same {
				same = "="
			}
			if d.Why != "" {
				why = ": " + d.Why
			}
			level := ""
			if o := g.byName[d.Output]; o.Frequency > 0 && d.On {
				level = fmt.Sprintf(" %.4g", d.Level)
			}
			fmt.Fprintf(&b, "%v %s%s %s%s%s\n", at, same, d.Output, word(d.On), level, why)
		}
	}
	until := func(end time.Duration) {
		for {
			at, ok := g.Next()
			if !ok || at > end {
				return
			}
			drives := g.Advance(at)
			if next, ok := g.Next(); ok && next <= at {
				t.Fatalf("after Advance(%v) the next is %v", at, next)
			}
			note(at, drives)
		}
	}
	for line := range strings.Lines(story) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		at, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatal(err)
		}
		until(at - 1)
		switch f[1] {
		case "started":
			g.Started(f[2], f[3] == "on", at)
			continue
		case "input":
			g.Input(f[2], f[3] == "on", f[3] != "unknown", at)
			continue
		case "vanished":
			note(at, g.vanish(f[2], at))
			continue
		case "appeared":
			note(at, g.appear(f[2], false, at))
			continue
		}
		takes := "switch"
		if g.byName[f[1]].Levels() {
			takes = "level"
		}
		c, err := ParseSet([]byte(strings.Join(f[2:], " ")), takes)
		if err != nil {
			t.Fatal(err)
		}
		c.Output = f[1]
		order, err := OrderOf(c)
		if err != nil {
			t.Fatal(err)
		}
		drives, err := g.Do(order, at)
		if err != nil {
			fmt.Fprintf(&b, "%v refused: %v\n", at, err)
		}
		note(at, drives)
	}
	until(24 * time.Hour)
	return b.String()
}

func TestGuard(t *testing.T) {
	const shutter = `
		[output.up]
		pin = "GPIO1"
		max_on = "30s"
		[output.down]
		pin = "GPIO2"
		max_on = "30s"
		[interlock.shutter]
		outputs = ["up", "down"]
		gap = "500ms"
	`
	const heater = "[output.heater]\npin = \"GPIO1\"\nmin_on = \"10m\"\nmin_off = \"5m\"\nmax_on = \"2h\""
	const compressor = `
		[output.cool]
		pin = "GPIO1"
		min_on = "1m"
		min_off = "2m"
		[output.heat]
		pin = "GPIO2"
		[interlock.air]
		outputs = ["cool", "heat"]
		gap = "10s"
	`
	for _, tt := range []struct{ name, toml, story, want string }{
		{"nothing declared: every command is carried out", "[output.lamp]\npin = \"GPIO1\"",
			"0s lamp on\n1s lamp on\n2s lamp off\n3s lamp off",
			"0s lamp ON\n1s lamp ON\n2s lamp OFF\n3s lamp OFF\n"},
		{"a shutter turns round, stops, runs its time, and forgets a reversal that was stopped", shutter, `
			0s up on
			10s down on
			20s up off
			20s down off
			25s up on
			60s up on
			60.1s down on
			60.3s up off
			60.3s down off`,
			`0s up ON
10s up OFF: interlock.shutter: down is to be on
10.5s down ON: it waited: interlock.shutter with up
20s up OFF
20s down OFF
25s up ON
55s up OFF: max_on = "30s"
1m0s up ON
1m0.1s up OFF: interlock.shutter: down is to be on
1m0.3s up OFF
1m0.3s =down OFF: a newer command took its place
1m0.3s down OFF
`},
		{"an on of another cancels the waiting one, and its gap counts from the last off", shutter,
			"0s up on\n1s down on\n1.2s up on",
			`0s up ON
1s up OFF: interlock.shutter: down is to be on
1.2s =down OFF: interlock.shutter: up is to be on
1.2s up ON
31.2s up OFF: max_on = "30s"
`},
		{"without a gap one goes off and the other on", "[output.a]\npin = \"GPIO1\"\n[output.b]\npin = \"GPIO2\"\n[interlock.x]\noutputs = [\"a\", \"b\"]",
			"0s a on\n1s b on",
			"0s a ON\n1s a OFF: interlock.x: b is to be on\n1s b ON\n"},
		{"a command for the very moment when something is due comes first", shutter,
			"0s up on\n1s down on\n1.5s down off",
			"0s up ON\n1s up OFF: interlock.shutter: down is to be on\n1.5s =down OFF: a newer command took its place\n1.5s down OFF\n"},
		{"a heater stays on and off as long as it needs; the newest command that waits wins", heater, `
			0s heater on
			1m heater off
			2m heater on
			3m heater off
			11m heater on
			12m heater off
			13m heater on`,
			`0s heater ON
2m0s =heater ON: a newer command took its place
2m0s heater ON
10m0s heater OFF: it waited: min_on = "10m"
12m0s =heater OFF: a newer command took its place
12m0s heater OFF
15m0s heater ON: it waited: min_off = "5m"
2h15m0s heater OFF: max_on = "2h"
`},
		{"a command to be on does not prolong max_on, one after it is obeyed", shutter,
			"0s up on\n29s up on\n30s down off\n31s up on\n40s up off",
			"0s up ON\n29s up ON\n30s down OFF\n30s up OFF: max_on = \"30s\"\n31s up ON\n40s up OFF\n"},
		{"an interlock waits for the min_on of the one that has to go", compressor, `
			0s cool on
			20s heat on
			5m heat off
			5m1s cool on
			5m2s heat on
			5m3s heat off
			5m4s cool off
			8m cool on`,
			`0s cool ON
1m0s cool OFF: it waited: interlock.air: heat is to be on, after min_on = "1m"
1m10s heat ON: it waited: interlock.air with cool
5m0s heat OFF
5m2s =cool OFF: interlock.air: heat is to be on
5m2s heat ON
5m3s heat OFF
5m4s cool OFF
8m0s cool ON
`},
		{"how it started counts", heater,
			"0s started heater off\n1s heater on",
			"5m0s heater ON: it waited: min_off = \"5m\"\n2h5m0s heater OFF: max_on = \"2h\"\n"},
		{"one that started on is limited too", shutter, "2s started up on", "32s up OFF: max_on = \"30s\"\n"},
		{"several interlocks share an output; the longest gap counts", `
			[output.a]
			pin = "GPIO1"
			[output.b]
			pin = "GPIO2"
			[output.c]
			pin = "GPIO3"
			[interlock.x]
			outputs = ["a", "b"]
			gap = "1s"
			[interlock.y]
			outputs = ["c", "b", "a"]
			gap = "3s"
			[interlock.z]
			outputs = ["b", "c"]
			gap = "5s"`,
			"0s a on\n1s b on\n2s c on\n10s b on\n12s c off",
			`0s a ON
1s a OFF: interlock.y: b is to be on
2s =b OFF: interlock.z: c is to be on
4s c ON: it waited: interlock.y with a
10s c OFF: interlock.z: b is to be on
12s c OFF
15s b ON: it waited: interlock.z with c
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := played(t, tt.toml, tt.story); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestGuardSaysWhatWaits(t *testing.T) {
	g := NewGuard(configured(t, `
		[output.cool]
		pin = "GPIO1"
		min_on = "1m"
		[output.heat]
		pin = "GPIO2"
		[interlock.air]
		outputs = ["cool", "heat"]
		gap = "10s"
	`))
	for _, output := range []string{"cool", "heat"} {
		if _, err := g.Command(output, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	if w, ok := g.Waiting("heat"); !ok || w != (Waiting{On: true, Until: 70 * time.Second, Why: "interlock.air with cool"}) {
		t.Errorf("heat: %+v, %v", w, ok)
	}
	if w, ok := g.Waiting("cool"); !ok || w != (Waiting{Until: time.Minute, Why: `interlock.air: heat is to be on, after min_on = "1m"`}) {
		t.Errorf("cool: %+v, %v", w, ok)
	}
	if on, since := g.State("cool"); !on || since != 0 {
		t.Errorf("cool is %v since %v", on, since)
	}
	if _, ok := g.Waiting("fan"); ok {
		t.Error("something waits for an output that does not exist")
	}
	_, err := g.Command("haet", true, 0)
	wantError(t, err, `no output "haet", did you mean "heat"?`)
}

// Drives that take time, and some of which fail: whatever else happens, a
// partner goes on only once it is known that the other is off, for so long.
func TestASlowSwitchIsWaitedFor(t *testing.T) {
	start := func() *Guard {
		g := NewGuard(configured(t, "[output.a]\npin = \"GPIO1\"\n[output.b]\npin = \"GPIO2\"\n[interlock.x]\noutputs = [\"a\", \"b\"]\ngap = \"1s\""))
		g.slow = true
		wantDrives(t, "a on", command(t, g, "a", true, 0), "a ON")
		wantDrives(t, "a is on", g.done("a", true, 0, false))
		wantDrives(t, "b on", command(t, g, "b", true, 5*time.Second), "a OFF")
		wantDrives(t, "a hangs", g.Advance(time.Minute))
		if at, ok := g.Next(); ok {
			t.Errorf("next is %v, although all hangs on a", at)
		}
		return g
	}
	t.Run("it is off at last", func(t *testing.T) {
		g := start()
		wantDrives(t, "a is off", g.done("a", false, time.Minute, false))
		wantDrives(t, "too early", g.Advance(time.Minute+time.Second-1))
		wantDrives(t, "the gap is over", g.Advance(time.Minute+time.Second), "b ON")
	})
	t.Run("asked again, it is told once", func(t *testing.T) {
		g := start()
		wantDrives(t, "b on again", command(t, g, "b", true, time.Minute), "=b OFF")
	})
	t.Run("it can't be switched off", func(t *testing.T) {
		g := start()
		wantDrives(t, "a fails", g.done("a", false, time.Minute, true), "=b OFF")
		wantDrives(t, "nothing is left", g.Advance(time.Hour))
		wantDrives(t, "b on", command(t, g, "b", true, time.Hour), "a OFF")
		wantDrives(t, "a is off", g.done("a", false, time.Hour, false))
		wantDrives(t, "the gap is over", g.Advance(time.Hour+time.Second), "b ON")
	})
}

// Two words to be off, of which only the second works, and late: min_off counts
// from there.
func TestMinOffCountsFromTheOffThatWorked(t *testing.T) {
	g := NewGuard(configured(t, "[output.heater]\npin = \"GPIO1\"\nmin_off = \"1m\""))
	g.slow = true
	wantDrives(t, "on", command(t, g, "heater", true, 0), "heater ON")
	wantDrives(t, "it is on", g.done("heater", true, 0, false))
	wantDrives(t, "off", command(t, g, "heater", false, time.Second), "heater OFF")
	wantDrives(t, "off again", command(t, g, "heater", false, 2*time.Second), "heater OFF")
	wantDrives(t, "on waits", command(t, g, "heater", true, 3*time.Second))
	wantDrives(t, "the first off fails", g.done("heater", false, 10*time.Second, true))
	wantDrives(t, "the second hangs", g.Advance(75*time.Second))
	wantDrives(t, "and works", g.done("heater", false, 80*time.Second, false))
	wantDrives(t, "too early", g.Advance(139*time.Second))
	wantDrives(t, "long enough", g.Advance(140*time.Second), "heater ON")
}

func command(t *testing.T, g *Guard, output string, on bool, at time.Duration) []Drive {
	t.Helper()
	drives, err := g.Command(output, on, at)
	if err != nil {
		t.Fatal(err)
	}
	return drives
}

func wantDrives(t *testing.T, when string, drives []Drive, want ...string) {
	t.Helper()
	var got []string
	for _, d := range drives {
		same := ""
		if d.Same {
			same = "="
		}
		got = append(got, same+d.Output+" "+word(d.On))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", when, got, want)
	}
}

// Any limits, interlocks and groups, any commands, deadlines served on time or late,
// feedbacks that contradict, lines that vanish, switches that take time and fail:
// no limit that was declared is ever broken. The pins here are the simplest that
// can be: a level each, and when it changed.
func TestNoLimitIsEverBroken(t *testing.T) { rapid.Check(t, noLimitIsBroken) }

func noLimitIsBroken(t *rapid.T) {
	names := []string{"a", "b", "c", "d"}
	span := func(label string) config.Duration {
		return config.Duration(rapid.IntRange(0, 6).Draw(t, label)) * config.Duration(time.Second)
	}
	var cfg Config
	for i, name := range names {
		o := Output{Pin: fmt.Sprint("GPIO", i), MinOn: span("min_on"), MinOff: span("min_off")}
		longest := func(label string) config.Duration {
			if most := span(label); most > 0 {
				return max(most, o.MinOn)
			}
			return 0
		}
		o.MaxOn = longest("max_on")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			o.Momentary = longest("momentary")
		case 1:
			o.Lifetime = longest("lifetime")
		case 2:
			o.Starts = Rate{rapid.IntRange(1, 3).Draw(t, "most"), time.Duration(span("per")) + time.Second}
		case 3:
			o.Period = max(o.MinOn+o.MinOff, 2*config.Duration(time.Second))
		case 4:
			o.Feedback, o.FeedbackWithin = "shows_"+name, span("within")+config.Duration(time.Second)
		}
		cfg.Output = append(cfg.Output, config.Named[Output]{Name: name, Value: o})
	}
	gaps := map[[2]string]time.Duration{}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 2, 4, rapid.ID[string])
	for i := range rapid.IntRange(0, 3).Draw(t, "interlocks") {
		l := Interlock{Outputs: some.Draw(t, "outputs"), Gap: span("gap")}
		cfg.Interlock = append(cfg.Interlock, config.Named[Interlock]{Name: fmt.Sprint("x", i), Value: l})
		for _, a := range l.Outputs {
			for _, b := range l.Outputs {
				if a != b {
					gaps[[2]string{a, b}] = max(gaps[[2]string{a, b}], time.Duration(l.Gap))
				}
			}
		}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "groups") {
		g := Group{Outputs: some.Draw(t, "outputs"), Most: rapid.IntRange(0, 2).Draw(t, "most"), Stagger: span("stagger")}
		cfg.Group = append(cfg.Group, config.Named[Group]{Name: fmt.Sprint("g", i), Value: g})
	}
	g := NewGuard(cfg)
	g.slow = rapid.Bool().Draw(t, "slow")

	type level struct {
		on    bool
		since time.Duration
		ons   []time.Duration // when it went on
		told  time.Duration   // to be on, last
		shows time.Duration   // its feedback agrees with it since then at the latest
		lost  bool
	}
	pins := map[string]*level{}
	shown := map[string]bool{}
	for _, name := range names {
		pins[name] = &level{since: longAgo, told: longAgo}
		g.Input("shows_"+name, false, true, 0)
	}
	newest := map[string]bool{} // what each was told last
	var queues map[string][]Drive
	var now time.Duration
	late := time.Duration(0) // by which deadlines were served too late so far

	put := func(d Drive) {
		if d.Same {
			if pins[d.Output].on != d.On && !g.slow {
				t.Fatalf("%v: %s is said to be %v", now, d.Output, d.On)
			}
			return
		}
		o, _ := cfg.Output.Get(d.Output)
		was := pins[d.Output]
		if was.lost && d.On {
			t.Fatalf("%v: %s goes on although its line is lost", now, d.Output)
		}
		if was.on == d.On || was.lost {
			return
		}
		lasted := now - was.since
		if d.On {
			if lasted < time.Duration(o.MinOff) {
				t.Fatalf("%v: %s was off for %v only", now, d.Output, lasted)
			}
			if fault := g.Fault(d.Output); fault != "" && !g.slow {
				t.Fatalf("%v: %s goes on with a fault: %s", now, d.Output, fault)
			}
			for pair, gap := range gaps {
				if pair[0] != d.Output {
					continue
				}
				if other := pins[pair[1]]; other.on || other.lost || now-other.since < gap {
					t.Fatalf("%v: %s goes on while %s is %v since %v, lost %v", now, d.Output, pair[1], other.on, other.since, other.lost)
				}
			}
			if n := o.Starts.Most; n > 0 && len(was.ons) >= n && now-was.ons[len(was.ons)-n] < o.Starts.Per && !g.slow {
				t.Fatalf("%v: %s went on at %v already", now, d.Output, was.ons)
			}
			for _, group := range cfg.Group {
				if !slices.Contains(group.Value.Outputs, d.Output) {
					continue
				}
				on := 0
				for _, name := range group.Value.Outputs {
					other := pins[name]
					if other.on && name != d.Output {
						on++
					}
					if n := len(other.ons); n > 0 && now-other.ons[n-1] < time.Duration(group.Value.Stagger) && !g.slow {
						t.Fatalf("%v: %s goes on, %s did at %v", now, d.Output, name, other.ons[n-1])
					}
				}
				if most := group.Value.Most; most > 0 && on >= most {
					t.Fatalf("%v: %s goes on while %d of its group are", now, d.Output, on)
				}
			}
			was.ons = append(was.ons, now)
		} else if lasted < time.Duration(o.MinOn) && !g.slow && g.Fault(d.Output) == "" {
			t.Fatalf("%v: %s was on for %v only", now, d.Output, lasted)
		}
		was.on, was.since = d.On, now
		was.shows = now
	}
	queues = map[string][]Drive{}
	do := func(drives []Drive) {
		for _, d := range drives {
			if g.slow {
				queues[d.Output] = append(queues[d.Output], d)
			} else {
				put(d)
			}
		}
	}
	pass := func(end time.Duration) {
		for {
			at, ok := g.Next()
			if !ok || at > end {
				break
			}
			at = max(at, now)
			if rapid.IntRange(0, 3).Draw(t, "late") == 0 {
				late = max(late, min(end-at, time.Second))
				at = min(end, at+time.Second)
			}
			now = at
			do(g.Advance(now))
			if next, ok := g.Next(); ok && next <= now {
				t.Fatalf("after Advance(%v) the next is %v", now, next)
			}
		}
		now = end
	}
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		name := rapid.SampledFrom(names).Draw(t, "output")
		o, _ := cfg.Output.Get(name)
		pin := pins[name]
		switch rapid.IntRange(0, 6).Draw(t, "step") {
		case 0, 1:
			order := Order{Output: name, On: rapid.Bool().Draw(t, "on")}
			if order.On && o.Momentary == 0 && rapid.IntRange(0, 3).Draw(t, "timed") == 0 {
				order.For = time.Duration(rapid.IntRange(1, 60).Draw(t, "for")) * (time.Second / 10)
			}
			if order.On && o.Levels() {
				order.Level = float64(rapid.IntRange(1, 100).Draw(t, "level"))
			}
			drives, err := g.Do(order, now)
			if err != nil {
				if g.Fault(name) == "" && !slices.ContainsFunc(names, func(n string) bool { return pins[n].lost }) {
					t.Fatal(err)
				}
				continue
			}
			newest[name] = order.On && order.For == 0
			if order.On {
				pin.told = now
			}
			do(drives)
		case 2:
			for _, name := range names { // the lines answer
				for len(queues[name]) > 0 && rapid.Bool().Draw(t, "answers") {
					d := queues[name][0]
					queues[name] = queues[name][1:]
					failed := rapid.IntRange(0, 4).Draw(t, "failed") == 0
					if !failed {
						put(d)
					}
					if d.change {
						do(g.done(d.Output, d.On, now, failed))
					}
				}
			}
		case 3, 4:
			pass(now + time.Duration(rapid.IntRange(1, 80).Draw(t, "time"))*(time.Second/10))
		case 5:
			if is := rapid.Bool().Draw(t, "shows"); o.Feedback != "" && is != shown[name] {
				shown[name] = is
				pin.shows = now
				g.Input(o.Feedback, is, true, now)
			}
			if g.Fault(name) != "" && rapid.Bool().Draw(t, "acknowledges") {
				drives, err := g.Do(Order{Output: name, Acknowledge: true}, now)
				if pin.shows = now; err != nil && !pin.lost {
					t.Fatal(err)
				}
				do(drives)
			}
		case 6:
			switch {
			case g.slow: // what was decided before may still come about
			case pin.lost:
				pin.lost, pin.on, pin.since, pin.shows = false, false, now, now
				do(g.appear(name, false, now))
			default:
				pin.lost, newest[name] = true, false
				do(g.vanish(name, now))
				pin.on = false
			}
		}
		for _, o := range cfg.Output {
			pin := pins[o.Name]
			if !pin.on || g.slow {
				continue
			}
			on := now - pin.since
			if most := time.Duration(o.Value.MaxOn); most > 0 && on > most+late {
				t.Fatalf("%v: %s is on since %v", now, o.Name, pin.since)
			}
			if d := time.Duration(o.Value.Lifetime); d > 0 && now-max(pin.told, pin.since) > d+late {
				t.Fatalf("%v: %s is on, told so at %v", now, o.Name, pin.told)
			}
			if d := time.Duration(o.Value.Momentary); d > 0 && now-max(pin.told, pin.since) > d+late {
				t.Fatalf("%v: %s is pressed since %v", now, o.Name, pin.told)
			}
			if o.Value.Feedback != "" && !shown[o.Name] && now-max(pin.since, pin.shows) > time.Duration(o.Value.FeedbackWithin)+late {
				t.Fatalf("%v: %s is on since %v, its feedback is off since %v", now, o.Name, pin.since, pin.shows)
			}
		}
	}
	if g.slow {
		return
	}
	// Nothing waits for ever, and what was wanted last came about, unless something
	// that is declared said otherwise.
	for range 1000 {
		at, ok := g.Next()
		if !ok || now > time.Hour {
			break
		}
		now = max(now, at)
		do(g.Advance(now))
	}
	for _, o := range cfg.Output {
		free := len(g.byName[o.Name].partners) == 0 && len(g.byName[o.Name].groups) == 0
		if _, waits := g.Waiting(o.Name); waits && free && o.Value.Period == 0 {
			t.Fatalf("a command for %s waits for ever", o.Name)
		}
		if pins[o.Name].on && !newest[o.Name] {
			t.Fatalf("%s is on although it was told to be off", o.Name)
		}
		plain := o.Value.MaxOn == 0 && o.Value.Lifetime == 0 && o.Value.Momentary == 0 && o.Value.Period == 0 && o.Value.Feedback == ""
		if on, told := newest[o.Name]; told && free && plain && pins[o.Name].on != on {
			t.Fatalf("%s is %v, but was told %v", o.Name, pins[o.Name].on, on)
		}
	}
}
