package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// One word sets everything off that a rule can owe: a for, a delay, a pulse, a
// notification, a toggle. The output says hold, so that it shows how often it was
// toggled.
const recipe = `
[output.lamp]
pin = "GPIO5"
safe = "hold"

[notify.phone]
topic = "out/phone"

[rule.held]
trigger = { state = "house/go", is = "now", for = "2s" }
action = { publish = "out/held", payload = "x" }

[rule.delayed]
trigger = { event = "house/go" }
action = [{ delay = "1800ms" }, { publish = "out/delayed", payload = "x" }]

[rule.bell]
trigger = { event = "house/go" }
action = { pulse = "out/bell", for = "1500ms" }

[rule.note]
trigger = { event = "house/go" }
action = [{ delay = "1200ms" }, { notify = "it is time" }]

[rule.lamp]
trigger = { event = "house/go" }
action = [{ delay = "1600ms" }, { set = "lamp", to = "toggle" }]
`

// A due is what the recipe owes, and when.
type due struct {
	what  string // as a decision tells it
	at    time.Duration
	twice bool // it may come again
}

var dues = []due{
	{"out/held x", 2000 * time.Millisecond, true},
	{"out/delayed x", 1800 * time.Millisecond, true},
	{"out/bell ON", 0, false},
	{"out/bell OFF", 1500 * time.Millisecond, true},
	{"out/phone it is time", 1200 * time.Millisecond, false},
	{"lamp ON", 1600 * time.Millisecond, false},
	{"lamp OFF", 0, false}, // never
}

const (
	kills = 20
	// What the machine may add to the promised second, for it has much else to do.
	busy = time.Second
)

// kill -9 at a random moment of a recipe of two seconds, and at once a new start:
// all comes that ought to, late by the downtime and a second at most. What was set
// off less than a second before the kill may be forgotten; a notification, a toggle
// or the begin of a pulse that was due in the last second may be lost. None of
// these comes twice.
//
// Each kill has a house of its own, and all live at the same time.
func TestKilledRecipe(t *testing.T) {
	var all kitchen
	var cooks sync.WaitGroup
	for n := range kills {
		house := newHouse(t, t.TempDir(), recipe)
		cooks.Go(func() { all.cook(t, n, house) })
	}
	cooks.Wait()
	t.Logf("%d kills, down for %s; late by %s; %d repeated, %d lost in flight, %d forgotten",
		kills, spread(all.down), spread(all.late), all.repeated, all.lost, all.forgotten)
}

type kitchen struct {
	mu                        sync.Mutex
	down, late                []time.Duration
	repeated, lost, forgotten int
}

// cook is one kill.
func (k *kitchen) cook(t *testing.T, n int, house *house) {
	hub := house.launch(t)
	if err := hub.waitReady(); err != nil {
		t.Error(err)
		return
	}
	ear, err := dial(t.Context(), hub.tcp, "ear")
	if err == nil {
		err = ear.subscribe(t.Context(), 1, "out/#", "hearth/lamp/state")
	}
	if err != nil {
		t.Error(err)
		return
	}
	began := time.Now()
	if err := ear.publish(t.Context(), "house/go", "now", 1, false); err != nil {
		t.Error(err)
		return
	}
	after := time.Duration(n)*2500*time.Millisecond/kills + rand.N(2500*time.Millisecond/kills)
	<-time.After(time.Until(began.Add(after)))
	hub.kill()
	killed := time.Now()
	hub = house.launch(t)
	if err := hub.waitReady(); err != nil {
		t.Error(err)
		return
	}
	down := time.Since(killed)
	<-time.After(time.Until(began.Add(2*time.Second + down + time.Second + busy)))

	// What the first life did somebody heard; what the second did stands on its page.
	came := map[string][]time.Time{}
	ear.mu.Lock()
	for _, m := range ear.got {
		switch {
		case m.topic == "hearth/lamp/state" && !m.retained && m.payload == "ON":
			came["lamp ON"] = append(came["lamp ON"], m.at)
		case m.topic != "hearth/lamp/state":
			came[m.topic+" "+m.payload] = append(came[m.topic+" "+m.payload], m.at)
		}
	}
	ear.mu.Unlock()
	page := hub.view(t)
	for _, d := range page.Decisions {
		for _, due := range dues {
			if strings.Contains(d.Text, "> "+due.what) || strings.Contains(d.Text, ", "+due.what) {
				came[due.what] = append(came[due.what], d.At)
			}
		}
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = append(k.down, down)
	forgets := after < time.Second
	for _, due := range dues {
		times := came[due.what]
		wrong := ""
		switch {
		case due.what == "lamp OFF":
			if len(times) > 0 {
				wrong = "toggled twice"
			}
		case len(times) == 0 && !due.twice && due.at <= after && after < due.at+time.Second:
			k.lost++
		case len(times) == 0 && forgets:
			k.forgotten++
		case len(times) == 0:
			wrong = "it did not come"
		case len(times) > 1 && !due.twice:
			wrong = "it came twice"
		default:
			k.repeated += len(times) - 1
			late := times[0].Sub(began) - due.at
			k.late = append(k.late, late)
			if late > down+time.Second+busy || late < -10*time.Millisecond {
				wrong = fmt.Sprintf("it was late by %v", late)
			}
		}
		if wrong != "" {
			t.Errorf("%s, due after %v, with a kill after %v that took %v: %s (began %s, came %s)\n%s", due.what, due.at, after, down, wrong,
				clock(began), clock(times...), strings.Join(hub.lines(), "\n"))
		}
	}
	// How an output is that is to be held is on disk within a second too.
	on, lit := page.Outputs[0].On, came["lamp ON"]
	fresh := len(lit) == 1 && lit[0].Before(killed) && killed.Sub(lit[0]) < time.Second
	if on != (len(lit) == 1) && !fresh {
		t.Errorf("the lamp is on: %v; it was switched on %d times", on, len(lit))
	}
	hub.kill()
}
