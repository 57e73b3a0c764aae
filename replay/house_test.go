package replay_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/replay"
)

// bigHouse is a house of 200 devices in 40 rooms; heater says below how many degrees the
// one in the third room goes on.
func bigHouse(heater string) string {
	var b strings.Builder
	b.WriteString(`
[hub]
timezone = "Europe/Berlin"
latitude = 52.5
longitude = 13.4

[notify.phone]
topic = "notify/phone"

[rule.motion]
trigger = { state = "zigbee2mqtt/motion_{room}:occupancy", is = true, until = { is = false, for = "2m" } }
condition = { state = { "zigbee2mqtt/motion_{room}:illuminance" = { below = 60 } } }
action = { publish = "zigbee2mqtt/lamp_{room}/set", payload = '{"state":"ON"}' }
done = { publish = "zigbee2mqtt/lamp_{room}/set", payload = '{"state":"OFF"}' }

[rule.lamp_log]
trigger = { state = "zigbee2mqtt/lamp_{room}:state", is = "ON", for = "20m" }
action = { notify = "{room} has been lit for long" }

[rule.window]
trigger = { state = "zigbee2mqtt/door_{room}:contact", is = false, for = "10m" }
action = { notify = "{room} is open" }
repeat = ["30m"]
done = { notify = "{room} is closed" }

[rule.washer]
trigger = { state = "zigbee2mqtt/plug_7:power", above = 20, until = { below = 5, for = "3m" } }
action = { http = "http://phone.example/washing", retry = ["5s"] }
done = { notify = "the washing is done" }

[calc.power]
of = "zigbee2mqtt/plug_{room}:power"
value = "sum(readings)"
[rule.power]
trigger = { state = "power", above = 570, until = { below = 520 } }
action = { notify = "much power is used" }

[calc.warmth]
of = "zigbee2mqtt/climate_{room}:temperature"
value = "mean(readings)"
max_age = "30m"

[rule.boiler]
trigger = { state = "warmth", below = 19.6, until = { above = 19.8 } }
action = { publish = "boiler/flow", payload = "45", retain = true }
done = { publish = "boiler/flow", payload = "25", retain = true }

[rule.pump]
trigger = { state = "boiler/flow", above = 40, for = "1m" }
action = { set = "pump", on = true, off = false }

[output.pump]
pin = "GPIO2"
min_on = "5m"

[output.fan]
pin = "GPIO3"
max_on = "20m"

[output.shutter_up]
pin = "GPIO4"
[output.shutter_down]
pin = "GPIO5"
[interlock.shutter]
outputs = ["shutter_up", "shutter_down"]
gap = "500ms"

[input.bell]
pin = "GPIO6"

[rule.morning]
trigger = { time = "07:00" }
action = { pulse = "shutter_up", for = "30s" }
[rule.evening]
trigger = { sun = "sunset" }
action = { pulse = "shutter_down", for = "30s" }

[rule.bell]
trigger = { state = "bell", is = true }
action = [{ notify = "somebody is at the door" }, { delay = "30s" }, { publish = "bell/answered", payload = "no" }]
mode = "restart"

[variable.cold]
initial = 0
[rule.count]
trigger = { state = "heater_3", is = true }
action = { set = "cold", value = "cold + 1" }
[rule.counted]
trigger = { state = "cold", above = 3 }
action = { publish = "stats/cold", value = "cold" }
[rule.fan]
trigger = { state = "heater_3", is = true, for = "15m" }
action = { set = "fan", on = true, off = false }

[machine.alarm]
initial = "off"
topic = "alarm/state"
moves = [
  { from = "off", on = { event = "alarm/set", is = "ARM" }, to = "arming" },
  { from = "arming", after = "30s", to = "armed" },
  { from = "armed", on = { state = "zigbee2mqtt/motion_1:occupancy", is = true }, to = "ringing" },
  { from = "*", on = { event = "alarm/set", is = "DISARM" }, to = "off" },
]
[rule.ringing]
trigger = { state = "alarm", is = "ringing" }
action = { pulse = "fan", for = "20s" }
`)
	for i := range 8 {
		below := "19.0"
		if i == 3 {
			below = heater
		}
		fmt.Fprintf(&b, `
[output.heater_%d]
pin = "GPIO%d"
min_off = "2m"
max_on = "2h"
[rule.heater_%d]
trigger = { state = "zigbee2mqtt/climate_%d:temperature", below = %s, until = 20.2, min_on = "4m" }
action = { set = "heater_%d", on = true, off = false }
`, i, 10+i, i, i, below, i)
	}
	return b.String()
}

// aDay is what happens to it: about 180,000 messages.
func aDay(seed uint64) (deeds []deed) {
	r := rand.New(rand.NewPCG(seed, 1))
	say := func(at time.Duration, topic, format string, args ...any) {
		deeds = append(deeds, deed{at: at.Truncate(time.Microsecond), topic: topic, payload: fmt.Sprintf(format, args...)})
	}
	day := 24 * time.Hour
	for room := range 40 {
		phase := time.Duration(r.Int64N(int64(time.Minute)))
		for at := phase; at < day; at += time.Minute + time.Duration(r.Int64N(int64(time.Second))) {
			warm := 19.6 + 1.3*math.Sin(at.Hours()/24*2*math.Pi*6+float64(room)) + r.Float64()*0.2
			say(at, fmt.Sprintf("zigbee2mqtt/climate_%d", room), `{"temperature":%.2f,"humidity":%.1f}`, warm, 40+20*r.Float64())
		}
		for at := phase; at < day; at += 30*time.Second + time.Duration(r.Int64N(int64(time.Second))) {
			power := 2.0
			if room == 7 && at > 10*time.Hour && at < 12*time.Hour {
				power = 400 + 100*r.Float64()
			}
			say(at, fmt.Sprintf("zigbee2mqtt/plug_%d", room), `{"power":%.1f}`, power)
		}
		for at := phase; at < day; at += time.Duration(r.Int64N(int64(40 * time.Minute))) {
			light := 10 + 200*r.Float64()
			say(at, fmt.Sprintf("zigbee2mqtt/motion_%d", room), `{"occupancy":true,"illuminance":%.0f}`, light)
			say(at+time.Minute, fmt.Sprintf("zigbee2mqtt/motion_%d", room), `{"occupancy":false,"illuminance":%.0f}`, light)
		}
		for at := phase; at < day; at += time.Duration(r.Int64N(int64(3 * time.Hour))) {
			say(at, fmt.Sprintf("zigbee2mqtt/door_%d", room), `{"contact":false}`)
			say(at+time.Duration(r.Int64N(int64(30*time.Minute))), fmt.Sprintf("zigbee2mqtt/door_%d", room), `{"contact":true}`)
		}
	}
	say(22*time.Hour, "alarm/set", "ARM")
	say(23*time.Hour, "alarm/set", "DISARM")
	for _, at := range []time.Duration{9 * time.Hour, 9*time.Hour + 10*time.Second, 17 * time.Hour} {
		deeds = append(deeds, deed{at: at, input: "bell", on: true}, deed{at: at + 3*time.Second, input: "bell"})
	}
	deeds = append(deeds,
		deed{at: 8*time.Hour + time.Minute, tell: "heater_3", on: true},
		deed{at: 11 * time.Hour, restart: 20 * time.Second},
		deed{at: 12 * time.Hour, enable: "motion"},
		deed{at: 13 * time.Hour, enable: "motion", on: true},
		deed{at: 19*time.Hour + 7*time.Minute, restart: 4 * time.Minute},
	)
	deeds = slices.DeleteFunc(deeds, func(d deed) bool { return d.at >= day })
	slices.SortStableFunc(deeds, func(a, b deed) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(deeds); i++ { // what happens while the hub is down happens to nobody
		if deeds[i-1].restart > 0 {
			for j := i; j < len(deeds) && deeds[j].at <= deeds[i-1].at+deeds[i-1].restart; {
				deeds = slices.Delete(deeds, j, j+1)
			}
		}
	}
	return deeds
}

func TestADayHappensAgain(t *testing.T) {
	l := live(t, bigHouse("19.0"), aDay(1), 24*time.Hour)
	same, err := replay.Again(l.all(), l.house, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range same.First {
		t.Errorf("%v: %s\nwas %v\n is %v", u.At.Wall, u.What, u.Was, u.Is)
	}
	t.Logf("%d events and %d decisions", same.Events, same.Decisions)
	if same.Decisions < 3000 || same.Differ > 0 {
		t.Errorf("%+v", same)
	}
}

// With the configuration that was in force nothing is different, also where the replay
// goes its own way wherever it can.
func TestTryingTheSameFindsNothing(t *testing.T) {
	l := live(t, bigHouse("19.0"), aDay(1), 24*time.Hour)
	o, err := replay.Try(l.all(), l.house, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !o.Same() || len(o.Changed)+len(o.Unheard) > 0 {
		var b strings.Builder
		o.Print(&b)
		t.Errorf("%d differences, %d silent, changed %v, unheard %v\n%.3000s", len(o.Differences), o.Silent, o.Changed, o.Unheard, b.String())
	}
}

// With one threshold changed exactly the decisions of that rule differ and what follows from
// them: to the day lived again with it, and each of them for itself.
func TestOneThreshold(t *testing.T) {
	day := aDay(1)
	then := live(t, bigHouse("19.0"), day, 24*time.Hour)
	other := live(t, bigHouse("18.7"), day, 24*time.Hour)
	o, err := replay.Try(then.all(), other.house, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	more, less := apart(then.done(), other.done())
	count := make(map[string]int)
	for _, d := range more {
		count["+ "+d.what]++
	}
	for _, d := range less {
		count["- "+d.what]++
	}
	rules := make(map[string]int)
	for _, d := range o.Differences {
		sign := "- "
		if d.Would {
			sign = "+ "
		}
		for _, what := range d.Done {
			count[sign+d.Rule+d.Instance+" "+what]--
		}
		if rules[d.Rule]++; (d.Follows == "") != (d.Rule == "rule.heater_3") {
			t.Errorf("%s at %v follows from %q", d.Rule, d.At, d.Follows)
		}
	}
	for what, n := range count {
		if n != 0 {
			t.Errorf("%d of: %s", n, what)
		}
	}
	if want := map[string]int{"rule.heater_3": 12, "rule.count": 10, "rule.fan": 10, "rule.counted": 2}; !maps.Equal(rules, want) {
		t.Errorf("want %v, got %v", want, rules)
	}
	if !slices.Equal(o.Changed, []string{"rule.heater_3"}) {
		t.Errorf("%v has changed", o.Changed)
	}
	// The outputs are on as long as they would have been.
	for _, u := range o.Outputs {
		if want := other.on[u.Output]; (u.Is - want).Abs() > time.Second {
			t.Errorf("%s would have been on for %v, not %v", u.Output, want, u.Is)
		}
		if want := then.on[u.Output]; (u.Was - want).Abs() > time.Second {
			t.Errorf("%s was on for %v, not %v", u.Output, want, u.Was)
		}
		checkSpells(t, u)
	}
}

// checkSpells looks whether the spells of an output are in order and add up.
func checkSpells(t *testing.T, u replay.Use) {
	t.Helper()
	for i, spells := range [][]replay.Spell{u.On, u.WouldOn} {
		var sum time.Duration
		for j, s := range spells {
			if sum += s.To.Sub(s.From); !s.From.Before(s.To) || j > 0 && !spells[j-1].To.Before(s.From) {
				t.Errorf("%s: %v after %v", u.Output, s, spells[max(0, j-1)])
			}
		}
		if want := []time.Duration{u.Was, u.Is}[i]; sum != want {
			t.Errorf("%s: the spells are %v, want %v", u.Output, sum, want)
		}
	}
}

// A day of a large house happens again in less than five seconds.
func BenchmarkADay(b *testing.B) {
	l := live(b, bigHouse("19.0"), aDay(1), 24*time.Hour)
	for b.Loop() {
		began := time.Now()
		if same, err := replay.Again(l.all(), l.house, time.Time{}); err != nil || same.Differ > 0 {
			b.Fatal(same, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			b.Fatalf("a day takes %v, want at most 5s", took)
		}
	}
}

// The same out of a file for others, which is JSON and takes several times as long.
func BenchmarkADayInAFile(b *testing.B) {
	l := live(b, bigHouse("19.0"), aDay(1), 24*time.Hour)
	file := written(b, replay.About{}, l.all())
	b.ReportMetric(float64(len(file))/1e6, "MB")
	for b.Loop() {
		r, err := replay.Open(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		if same, err := replay.Again(r.Entries(), l.house, time.Time{}); err != nil || same.Differ > 0 {
			b.Fatal(same, err)
		}
	}
}

// Where the engine stood in the past is where it stands if one stops the replay there.
func TestHowItStood(t *testing.T) {
	l := live(t, bigHouse("19.0"), aDay(1), 3*time.Hour)
	for _, at := range []time.Duration{10 * time.Minute, 2*time.Hour + 30*time.Minute} {
		engine, now, err := replay.At(l.all(), l.house, monday.Add(at))
		if err != nil {
			t.Fatal(err)
		}
		other := live(t, bigHouse("19.0"), aDay(1), at)
		if got, want := strings.Join(engine.Explain(now), "\n"), strings.Join(other.engine.Explain(now), "\n"); got != want {
			t.Errorf("at %v: want %s\ngot %s", at, want, got)
		}
	}
	if _, _, err := replay.At(l.all(), houseOf(t, bigHouse("18")), monday.Add(time.Hour)); !errors.Is(err, replay.ErrOtherConfig) {
		t.Errorf("with another configuration: %v", err)
	}
}
