package hub

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
)

// weekHouse is a house of 60 devices in ten rooms, with 40 rules and what a Pi switches itself.
func weekHouse(heating string) string {
	var b strings.Builder
	b.WriteString(`
[hub]
timezone = "UTC"
latitude = 52.5
longitude = 13.4
[notify.phone]
topic = "notify/phone"
[output.pump]
pin = "GPIO2"
min_on = "5m"
[rule.pump]
trigger = { state = "warmth", below = 19.8, until = { above = 20.1 } }
action = { set = "pump", on = true, off = false }
[calc.warmth]
of = "zigbee2mqtt/climate_{room}:temperature"
value = "mean(readings)"
max_age = "30m"
[calc.power]
of = "zigbee2mqtt/plug_{room}:power"
value = "sum(readings)"
[rule.power]
trigger = { state = "power", above = 900, until = { below = 700 } }
action = { notify = "much power is used" }
[rule.washer]
trigger = { state = "zigbee2mqtt/plug_7:power", above = 20, until = { below = 5, for = "3m" } }
action = { publish = "washer/state", payload = "runs" }
done = { notify = "the washing is done" }
[rule.window]
trigger = { state = "zigbee2mqtt/door_{room}:contact", is = false, for = "10m" }
action = { notify = "{room} is open" }
done = { notify = "{room} is closed" }
[rule.offline]
trigger = { state = "zigbee2mqtt/{name}/availability", is = "offline", for = "1h" }
action = { notify = "{name} is offline" }
`)
	for room := range 10 {
		fmt.Fprintf(&b, `
[output.heater_%[1]d]
pin = "GPIO%[2]d"
min_off = "2m"
max_on = "4h"
[rule.heater_%[1]d]
trigger = { state = "zigbee2mqtt/climate_%[1]d:temperature", below = %[3]s, until = 20.4, min_on = "4m" }
action = { set = "heater_%[1]d", on = true, off = false }
[rule.light_%[1]d]
trigger = { state = "zigbee2mqtt/motion_%[1]d:occupancy", is = true, until = { is = false, for = "2m" } }
condition = { state = { "zigbee2mqtt/motion_%[1]d:illuminance" = { below = 60 } } }
action = { publish = "zigbee2mqtt/lamp_%[1]d/set", payload = '{"state":"ON"}' }
done = { publish = "zigbee2mqtt/lamp_%[1]d/set", payload = '{"state":"OFF"}' }
[rule.night_%[1]d]
trigger = { time = "23:%02[1]d" }
condition = { days = "mon-fri" }
action = { publish = "zigbee2mqtt/lamp_%[1]d/set", payload = '{"state":"OFF"}' }
`, room, 10+room, heating)
	}
	for room := range 5 {
		fmt.Fprintf(&b, `
[rule.long_%[1]d]
trigger = { state = "zigbee2mqtt/lamp_%[1]d:state", is = "ON", for = "30m" }
action = { notify = "lamp %[1]d has been on for long" }
`, room)
	}
	return b.String()
}

// A spoken is what a device says, and when.
type spoken struct {
	at             time.Duration
	topic, payload string
}

// aWeeksDay is what its devices say in a day: each a reading every half a minute or minute, as
// they do, with some motion, doors and lamps. About 59,000 messages.
func aWeeksDay(day uint64, length time.Duration) (all []spoken) {
	r := rand.New(rand.NewPCG(day, 1))
	say := func(at time.Duration, topic, format string, args ...any) {
		if at < length {
			all = append(all, spoken{at, "zigbee2mqtt/" + topic, fmt.Sprintf(format, args...)})
		}
	}
	every := func(d time.Duration, do func(at time.Duration)) {
		for at := time.Duration(r.Int64N(int64(d))); at < length; at += d + time.Duration(r.Int64N(int64(time.Second))) {
			do(at)
		}
	}
	for room := range 10 {
		every(time.Minute, func(at time.Duration) {
			warm := 20 + math.Sin(at.Hours()/24*2*math.Pi*6+float64(room)) + r.Float64()*0.2
			say(at, fmt.Sprintf("climate_%d", room), `{"temperature":%.2f,"humidity":%.1f,"battery":87,"linkquality":%d}`, warm, 40+20*r.Float64(), 60+r.IntN(90))
		})
		every(30*time.Second, func(at time.Duration) {
			power := 2 + r.Float64()
			if room == 7 && at > 10*time.Hour && at < 12*time.Hour {
				power = 400 + 100*r.Float64()
			}
			say(at, fmt.Sprintf("plug_%d", room), `{"state":"ON","power":%.1f,"voltage":%d,"energy":%.2f}`, power, 228+r.IntN(5), at.Hours()*power/1000)
		})
		every(time.Minute, func(at time.Duration) {
			say(at, fmt.Sprintf("meter_%d", room), `{"co2":%d,"voc":%d}`, 500+r.IntN(600), r.IntN(200))
		})
		every(25*time.Minute, func(at time.Duration) {
			light := 10 + 200*r.Float64()
			say(at, fmt.Sprintf("motion_%d", room), `{"occupancy":true,"illuminance":%.0f}`, light)
			say(at+90*time.Second, fmt.Sprintf("motion_%d", room), `{"occupancy":false,"illuminance":%.0f}`, light)
			say(at+time.Second, fmt.Sprintf("lamp_%d", room), `{"state":"ON","brightness":200}`)
			say(at+4*time.Minute, fmt.Sprintf("lamp_%d", room), `{"state":"OFF","brightness":200}`)
		})
		every(2*time.Hour, func(at time.Duration) {
			say(at, fmt.Sprintf("door_%d", room), `{"contact":false}`)
			say(at+time.Duration(r.Int64N(int64(30*time.Minute))), fmt.Sprintf("door_%d", room), `{"contact":true}`)
		})
	}
	slices.SortStableFunc(all, func(a, b spoken) int { return cmp.Compare(a.at, b.at) })
	return all
}

// A week of such a house is lived by the hub, recorded by it, and then happens again to a draft
// in which each heating begins a bit later. HEARTH_DAYS says how many days it is; without, it
// is an hour, so that it is always true that it works. What counts is the real time of the
// second hub; the week itself passes on a clock of its own.
func TestTryingAWeek(t *testing.T) {
	length := time.Hour
	days, err := strconv.Atoi(os.Getenv("HEARTH_DAYS"))
	if err == nil {
		length = time.Duration(days) * 24 * time.Hour
	}
	dir := t.TempDir()
	var end time.Time
	said := 0
	lived := time.Now()
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, dir, weekHouse("19.4")), Options{Bank: gpio.NewSim()})
		client, hangUp := connect(t, h, "devices", nil)
		began := time.Now()
		for day := uint64(0); time.Since(began) < length; day++ {
			midnight := began.Add(time.Duration(day) * 24 * time.Hour)
			for _, s := range aWeeksDay(day, min(24*time.Hour, length-time.Since(began))) {
				time.Sleep(time.Until(midnight.Add(s.at)))
				publish(t, client, 0, s.topic, s.payload)
				said++
			}
			time.Sleep(time.Until(midnight.Add(24 * time.Hour)))
			if length < 24*time.Hour {
				break
			}
		}
		end = h.now().Wall
		hangUp()
		stop()
	})
	t.Logf("%d messages in %v, lived in %v", said, length, time.Since(lived).Round(time.Millisecond))

	clock := SystemClock()
	began := time.Now()
	clock.Wall = func() time.Time { return end.Add(time.Minute + time.Since(began)) }
	clock.Known = func() bool { return true }
	h, run := open(t, load(t, dir, weekHouse("19.4")), Options{Bank: gpio.NewSim(), Clock: clock})
	defer run()()
	p := page{h}
	for p.past == nil || len(p.past.Series()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	d := draft(t, p, "config.toml")
	d.Text = weekHouse("19.2")
	before, most := heap(), int64(0)
	told := 0
	used := processorTime(t)
	began = time.Now()
	tried, err := p.TryDraft(context.Background(), d, max(1, days), func(float64) {
		told++
		most = max(most, int64(heapBytes()))
	})
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("tried in %v, %v of processors; %.1f MB at most; %d times told how far; %d events from %v, %d differences and %d more", took.Round(time.Millisecond), (processorTime(t) - used).Round(time.Millisecond), float64(most-before)/1e6, told,
		tried.Events, tried.From.Format(time.DateTime), len(tried.Differences), tried.Others)
	if took > maxTrial || most-before > maxTrialBytes {
		t.Errorf("it took %v and %d bytes", took, most-before)
	}
	if len(tried.Changed) != 10 || days > 0 && (told < 100 || tried.Same) {
		t.Errorf("%d times told, changed %v", told, tried.Changed)
	}
}
