package replay_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/replay"
)

// randomHouse is a house of some rules that see each other's effects. other changes the
// threshold of one of them.
func randomHouse(seed uint64, other bool) string {
	r := rand.New(rand.NewPCG(seed, 7))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	var b strings.Builder
	b.WriteString("[hub]\ntimezone = \"UTC\"\n[notify.phone]\ntopic = \"notify/phone\"\n[variable.times]\ninitial = 0\n[input.pir]\npin = \"GPIO9\"\n")
	for i := range 3 {
		fmt.Fprintf(&b, "[output.o%d]\npin = \"GPIO%d\"\n", i, 10+i)
		for _, limit := range []string{"min_on = \"20s\"", "min_off = \"15s\"", "max_on = \"3m\"", "lifetime = \"2m\""} {
			if r.IntN(5) == 0 {
				b.WriteString(limit + "\n")
			}
		}
	}
	if r.IntN(2) == 0 {
		b.WriteString("[interlock.both]\noutputs = [\"o0\", \"o1\"]\ngap = \"3s\"\n")
	}
	b.WriteString("[device.lamp]\nvia = \"zigbee2mqtt\"\n")
	rules := 4 + r.IntN(5)
	odd := r.IntN(rules)
	for i := range rules {
		level := 12 + r.IntN(16)
		if moved := level + 3 - 6*r.IntN(2); other && i == odd {
			level = moved
		}
		var trigger string
		number := true
		switch n := r.IntN(10); {
		case n < 5 || i == odd:
			trigger = fmt.Sprintf(`state = "t/%s", above = %d`, pick("a", "b"), level)
		case n < 6:
			trigger, number = fmt.Sprintf(`state = "o%d", is = true`, r.IntN(3)), false
		case n < 7:
			trigger, number = fmt.Sprintf(`state = "out/%d", is = "ON"`, r.IntN(rules)), false
		case n < 8:
			trigger, number = `state = "lamp", is = "ON"`, false
		case n < 9:
			trigger, number = `state = "pir", is = true`, false
		default:
			trigger = fmt.Sprintf(`state = "times", above = %d`, r.IntN(5))
		}
		if r.IntN(3) == 0 {
			trigger += fmt.Sprintf(`, for = "%ds"`, 5+r.IntN(60))
		}
		episode := r.IntN(2) == 0
		if episode && number && !strings.Contains(trigger, `"times"`) {
			trigger += fmt.Sprintf(`, until = { below = %d }`, 6+r.IntN(5))
		}
		fmt.Fprintf(&b, "[rule.r%d]\ntrigger = { %s }\n", i, trigger)
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, "condition = { state = { \"o%d\" = %v } }\n", r.IntN(3), r.IntN(2) == 0)
		}
		var action string
		switch r.IntN(7) {
		case 0, 1:
			action = fmt.Sprintf(`{ set = "o%d", to = %v }`, r.IntN(3), r.IntN(3) > 0)
			if episode {
				action = fmt.Sprintf(`{ set = "o%d", on = true, off = false }`, r.IntN(3))
			}
		case 2:
			action = fmt.Sprintf(`{ pulse = "o%d", for = "%ds" }`, r.IntN(3), 2+r.IntN(40))
		case 3:
			action = fmt.Sprintf(`{ publish = "out/%d", payload = "%s", retain = %v }`, i, pick("ON", "OFF"), r.IntN(2) == 0)
			if episode {
				action = fmt.Sprintf(`{ publish = "out/%d", on = "ON", off = "OFF" }`, i)
			}
		case 4:
			action = fmt.Sprintf(`[{ delay = "%ds" }, { set = "o%d", to = true }]`, 1+r.IntN(20), r.IntN(3))
		case 5:
			action = fmt.Sprintf(`{ set = "lamp", to = %v }`, r.IntN(3) > 0)
		case 6:
			action = `[{ set = "times", value = "times + 1" }, { notify = "{value}" }]`
		}
		b.WriteString("action = " + action + "\n")
		if strings.Contains(action, "delay") {
			b.WriteString("mode = \"restart\"\n")
		}
	}
	return b.String()
}

func randomDay(seed uint64) (deeds []deed) {
	r := rand.New(rand.NewPCG(seed, 9))
	value := map[string]float64{"a": 15, "b": 15}
	at := time.Minute
	for range 400 {
		at += time.Duration(r.Int64N(int64(40 * time.Second))).Truncate(time.Microsecond)
		switch n := r.IntN(40); {
		case n < 30:
			name := string('a' + rune(r.IntN(2)))
			value[name] = min(30, max(3, value[name]+8*(r.Float64()-0.5)))
			deeds = append(deeds, deed{at: at, topic: "t/" + name, payload: fmt.Sprintf("%.1f", value[name])})
		case n < 34:
			deeds = append(deeds, deed{at: at, input: "pir", on: r.IntN(2) == 0})
		case n < 36 && seed%4 == 3:
			deeds = append(deeds, deed{at: at, topic: "zigbee2mqtt/lamp", payload: `{"state":"` + []string{"ON", "OFF"}[r.IntN(2)] + `"}`})
		case n < 38:
			deeds = append(deeds, deed{at: at, tell: fmt.Sprintf("o%d", r.IntN(3)), on: r.IntN(2) == 0})
		case n < 39:
			deeds = append(deeds, deed{at: at, enable: "r0", on: r.IntN(3) > 0})
		default:
			down := time.Duration(1+r.IntN(60)) * time.Second
			deeds = append(deeds, deed{at: at, restart: down})
			at += down
		}
	}
	return deeds
}

// Whatever the house is: the same rules decide the same, and a replay that goes its own way
// wherever it can finds nothing to go its own way for.
func TestRandomHousesFindNothing(t *testing.T) {
	for seed := range uint64(120) {
		text := randomHouse(seed, false)
		l := live(t, text, randomDay(seed), 4*time.Hour)
		same, err := replay.Again(l.all(), l.house, time.Time{})
		if err != nil || same.Differ > 0 {
			t.Fatalf("seed %d: %v %+v\n%s", seed, err, same, text)
		}
		o, err := replay.Try(l.all(), l.house, time.Time{})
		if err != nil || !o.Same() {
			var b strings.Builder
			o.Print(&b)
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, b.String(), text)
		}
		for _, u := range o.Outputs {
			if u.Was != u.Is || u.Switches != u.Would {
				t.Errorf("seed %d: %+v", seed, u)
			}
		}
	}
}

// With one threshold changed a replay tells what living the day again with it shows. Of a
// lamp that is switched by hand to what only the rules of then had told it, nobody can know
// that it was: it says the same as a lamp that repeats what it is.
func TestRandomHousesWithOneThresholdChanged(t *testing.T) {
	right, wrong, unsure, told := 0, 0, 0, 0
	for seed := range uint64(120) {
		text := randomHouse(seed, false)
		day := randomDay(seed)
		then := live(t, text, day, 4*time.Hour)
		other := live(t, randomHouse(seed, true), day, 4*time.Hour)
		o, err := replay.Try(then.all(), other.house, time.Time{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		more, less := apart(then.done(), other.done())
		var want, got []string
		for _, d := range more {
			want = append(want, "+ "+d.what)
		}
		for _, d := range less {
			want = append(want, "- "+d.what)
		}
		for _, d := range o.Differences {
			sign := "- "
			if d.Would {
				sign = "+ "
			}
			for _, what := range d.Done {
				got = append(got, sign+d.Rule+d.Instance+" "+what)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		told += len(got)
		switch {
		case slices.Equal(want, got):
			right++
		case seed%4 == 3:
			unsure++
		default:
			wrong++
			t.Logf("seed %d\nwant %q\n got %q", seed, want, got)
		}
	}
	t.Logf("of %d houses, with %d differences, %d are not told right, and %d of those in which a lamp is also switched by hand", right+wrong+unsure, told, wrong, unsure)
	if wrong > 0 || unsure > 4 || told < 500 {
		t.Error("want all of them, but for some of the latter")
	}
}
