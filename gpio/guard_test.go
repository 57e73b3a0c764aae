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
			fmt.Fprintf(&b, "%v %s%s %s%s\n", at, same, d.Output, word(d.On), why)
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
		if f[1] == "started" {
			g.Started(f[2], f[3] == "on", at)
			continue
		}
		drives, err := g.Command(f[1], f[2] == "on", at)
		if err != nil {
			t.Fatal(err)
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
	if w, ok := g.Waiting("heat"); !ok || w != (Waiting{true, 70 * time.Second, "interlock.air with cool"}) {
		t.Errorf("heat: %+v, %v", w, ok)
	}
	if w, ok := g.Waiting("cool"); !ok || w != (Waiting{false, time.Minute, `interlock.air: heat is to be on, after min_on = "1m"`}) {
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

// Any limits, any interlocks, any commands, deadlines served on time or late,
// switches that take time and fail: no limit that was declared is ever broken.
// The pins here are the simplest that can be: a level each, and when it changed.
func TestNoLimitIsEverBroken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		span := func(label string) config.Duration {
			return config.Duration(rapid.IntRange(0, 6).Draw(t, label)) * config.Duration(time.Second)
		}
		var cfg Config
		for i, name := range names {
			o := Output{Pin: fmt.Sprint("GPIO", i), MinOn: span("min_on"), MinOff: span("min_off")}
			if most := span("max_on"); most > 0 {
				o.MaxOn = max(most, o.MinOn)
			}
			cfg.Output = append(cfg.Output, config.Named[Output]{Name: name, Value: o})
		}
		gaps := map[[2]string]time.Duration{}
		for i := range rapid.IntRange(0, 3).Draw(t, "interlocks") {
			l := Interlock{Outputs: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 2, 4, rapid.ID[string]).Draw(t, "outputs"), Gap: span("gap")}
			cfg.Interlock = append(cfg.Interlock, config.Named[Interlock]{Name: fmt.Sprint("x", i), Value: l})
			for _, a := range l.Outputs {
				for _, b := range l.Outputs {
					if a != b {
						gaps[[2]string{a, b}] = max(gaps[[2]string{a, b}], time.Duration(l.Gap))
					}
				}
			}
		}
		g := NewGuard(cfg)
		g.slow = rapid.Bool().Draw(t, "slow")

		type level struct {
			on    bool
			since time.Duration
		}
		pins := map[string]level{}
		for _, name := range names {
			pins[name] = level{since: longAgo}
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
			if was.on == d.On {
				return
			}
			lasted := now - was.since
			if d.On {
				if lasted < time.Duration(o.MinOff) {
					t.Fatalf("%v: %s was off for %v only", now, d.Output, lasted)
				}
				for pair, gap := range gaps {
					if pair[0] != d.Output {
						continue
					}
					if other := pins[pair[1]]; other.on || now-other.since < gap {
						t.Fatalf("%v: %s goes on while %s is %v since %v", now, d.Output, pair[1], other.on, other.since)
					}
				}
			} else if lasted < time.Duration(o.MinOn) && !g.slow {
				t.Fatalf("%v: %s was on for %v only", now, d.Output, lasted)
			}
			pins[d.Output] = level{d.On, now}
		}
		do := func(drives []Drive) {
			for _, d := range drives {
				if g.slow {
					queues[d.Output] = append(queues[d.Output], d)
				} else {
					put(d)
				}
			}
		}
		queues = map[string][]Drive{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				name, on := rapid.SampledFrom(names).Draw(t, "output"), rapid.Bool().Draw(t, "on")
				drives, err := g.Command(name, on, now)
				if err != nil {
					t.Fatal(err)
				}
				newest[name] = on
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
			case 3:
				end := now + time.Duration(rapid.IntRange(1, 80).Draw(t, "time"))*(time.Second/10)
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
			for _, o := range cfg.Output {
				most := time.Duration(o.Value.MaxOn)
				if pin := pins[o.Name]; pin.on && most > 0 && now-pin.since > most+late && !g.slow {
					t.Fatalf("%v: %s is on since %v", now, o.Name, pin.since)
				}
			}
		}
		if g.slow {
			return
		}
		// Nothing waits for ever, and what was wanted last came about, unless an
		// interlock or max_on said otherwise.
		for at, ok := g.Next(); ok; at, ok = g.Next() {
			now = max(now, at)
			do(g.Advance(now))
		}
		for _, o := range cfg.Output {
			if _, waits := g.Waiting(o.Name); waits {
				t.Fatalf("a command for %s waits for ever", o.Name)
			}
			if pins[o.Name].on && !newest[o.Name] {
				t.Fatalf("%s is on although it was told to be off", o.Name)
			}
			free := len(g.byName[o.Name].partners) == 0 && o.Value.MaxOn == 0
			if on, told := newest[o.Name]; told && free && pins[o.Name].on != on {
				t.Fatalf("%s is %v, but was told %v", o.Name, pins[o.Name].on, on)
			}
		}
	})
}
