package rules

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"
)

// The benchmarks say what a rule costs. The machines that they run on are shared
// and noisy: compare only what one run has measured, and of several the medians.

// rulesOf is n rules of one form, in which %[1]d is the number of the rule.
func rulesOf(tb testing.TB, n int, form string) Config {
	tb.Helper()
	const atOnce = 2000 // a file may have a megabyte
	var all Config
	for from := 0; from < n; from += atOnce {
		var text strings.Builder
		for i := from; i < min(n, from+atOnce); i++ {
			fmt.Fprintf(&text, form, i)
		}
		var cfg Config
		if err := config.Parse("config.toml", []byte(text.String()), &cfg).Err(); err != nil {
			tb.Fatal(err)
		}
		all.Rule = append(all.Rule, cfg.Rule...)
	}
	return all
}

// A running is an engine that has been started, and what it is fed with.
type running struct {
	engine   *Engine
	registry *devices.Registry
	index    *devices.Index
	now      devices.Now
}

func startRules(cfg Config) *running {
	x := &running{registry: new(devices.Registry), now: devices.Now{Mono: time.Hour, Wall: noon, Known: true}}
	x.engine = New(cfg, names, x.registry, config.Place{})
	x.index = devices.NewIndex(x.engine.Sources())
	x.engine.Restore(nil, x.now, "first")
	x.engine.Start(x.now)
	x.keep()
	return x
}

// keep asks for what is to be kept, as the hub does twice a second.
func (x *running) keep() {
	x.engine.Changes(x.now, "first")
	x.registry.Changes()
}

// readings is what a message means, one step later.
func (x *running) readings(topic, payload string, step time.Duration) []devices.Reading {
	x.now = x.now.Add(step)
	return x.index.Normalize(devices.Message{Topic: topic, Payload: []byte(payload)}, x.now)
}

// batch is how many readings are made ready at a time, for making them is not
// what is measured.
const batch = 100

// median is what most batches took for each of theirs: one in which the machine
// did something else does not count.
func median(batches []time.Duration) float64 {
	slices.Sort(batches)
	return float64(batches[len(batches)/2].Nanoseconds()) / batch
}

// BenchmarkMatch is a reading that fires one rule of so many: always the same one,
// or any. ns/op is the median, mean-ns/op with all that came between; registry-ns/op
// is what of it is the registry's.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var x *running
			for _, which := range []string{"same", "spread"} {
				b.Run(which, func(b *testing.B) {
					if x == nil {
						x = startRules(rulesOf(b, n, `
							[rule.r%[1]d]
							trigger = { event = "room/%[1]d:action", is = "single" }
							action = { publish = "light/%[1]d", payload = "ON" }`))
					}
					random := rand.New(rand.NewPCG(1, uint64(n)))
					ready := func() (list []devices.Reading) {
						x.keep()
						for range batch {
							i := n / 2
							if which == "spread" {
								i = random.IntN(n)
							}
							list = append(list, x.readings(fmt.Sprintf("room/%d", i), `{"action":"single"}`, 20*time.Millisecond)...)
						}
						return list
					}
					var took, registry []time.Duration
					fired := 0
					b.ReportAllocs()
					b.ResetTimer()
					for done := 0; done < b.N; done += batch {
						b.StopTimer()
						list := ready()
						b.StartTimer()
						began := time.Now()
						for _, r := range list {
							x.registry.Apply(r)
							for _, d := range x.engine.Step(r) {
								fired += len(d.Commands)
							}
						}
						took = append(took, time.Since(began))
					}
					b.StopTimer()
					if fired != len(took)*batch {
						b.Fatalf("%d batches have fired %d times", len(took), fired)
					}
					for range took {
						list := ready()
						began := time.Now()
						for _, r := range list {
							x.registry.Apply(r)
						}
						registry = append(registry, time.Since(began))
					}
					var sum time.Duration
					for _, d := range took {
						sum += d
					}
					b.ReportMetric(float64(sum.Nanoseconds())/float64(len(took)*batch), "mean-ns/op")
					b.ReportMetric(median(took), "ns/op")
					b.ReportMetric(median(registry), "registry-ns/op")
				})
			}
		})
	}
}

// BenchmarkNoMatch is a reading that sets nothing off: one of a source that nobody
// looks at, and one of which the test says no.
func BenchmarkNoMatch(b *testing.B) {
	for _, c := range []struct {
		name, source string
		value        any
	}{
		{"unheard", "room/1:humidity", 50.0},
		{"failed", "room/1:temperature", 21.5},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := startRules(rulesOf(b, 1000, cold))
			r := devices.Reading{Source: c.source, Topic: "room/1", Value: c.value, Text: "1", At: x.now}
			x.registry.Apply(r)
			x.engine.Step(r)
			b.ReportAllocs()
			for b.Loop() {
				x.registry.Apply(r)
				x.engine.Step(r)
			}
		})
	}
}

const cold = `
	[rule.r%[1]d]
	trigger = { state = "room/%[1]d:temperature", below = 19 }
	condition = { state = { "window/%[1]d" = "closed" } }
	action = { publish = "heat/%[1]d", payload = "ON" }`

// A reading that sets nothing off allocates nothing.
func TestNoMatchAllocates(t *testing.T) {
	x := startRules(rulesOf(t, 10, cold))
	for _, source := range []string{"room/1:humidity", "room/1:temperature", "window/1"} {
		r := devices.Reading{Source: source, Value: 21.5, Text: "21.5", At: x.now}
		x.registry.Apply(r)
		x.engine.Step(r)
		if n := testing.AllocsPerRun(100, func() {
			r.At = r.At.Add(time.Second)
			x.registry.Apply(r)
			if len(x.engine.Step(r)) > 0 {
				t.Error(source, "has set something off")
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", source, n)
		}
	}
}

// inUse is how many bytes are in use.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first one has found to be finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemoryPerRule is the memory of a rule whose source has reported: of it,
// its state, and the last message in the registry. The index, by which the edges
// find sources, is told apart.
func BenchmarkMemoryPerRule(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		cfg := rulesOf(b, n, `
			[rule.r%[1]d]
			trigger = { state = "zigbee2mqtt/motion_%[1]d:occupancy", is = true }
			action = { set = "lamp", to = true }`)
		before := inUse()
		x := startRules(cfg)
		compiled := inUse()
		for i := range n {
			for _, r := range x.readings(fmt.Sprintf("zigbee2mqtt/motion_%d", i), `{"occupancy":false,"battery":97,"linkquality":120}`, time.Millisecond) {
				x.registry.Apply(r)
				x.engine.Step(r)
			}
			if i%1000 == 0 {
				x.keep()
			}
		}
		x.keep()
		all := inUse()
		x.index = nil
		rules := inUse()
		b.ReportMetric(float64(rules-before)/n, "B/rule")
		b.ReportMetric(float64(all-compiled)/n, "registry-B/rule")
		b.ReportMetric(float64(all-rules)/n, "index-B/rule")
		runtime.KeepAlive(x)
		runtime.KeepAlive(cfg)
	}
}

// BenchmarkLoad is the compilation of so many rules.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cfg := rulesOf(b, n, cold)
			b.ReportAllocs()
			for b.Loop() {
				New(cfg, names, new(devices.Registry), config.Place{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/rule")
		})
	}
}

// BenchmarkKeep is what it costs to ask for what is to be kept when one rule of so
// many has moved; once all of them had.
func BenchmarkKeep(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := startRules(rulesOf(b, n, cold))
			for _, r := range x.engine.rules {
				x.engine.moved(r.only)
				x.registry.Apply(devices.Reading{Source: r.triggers[0].source, Value: 21.5, Text: "21.5", At: x.now})
			}
			x.keep()
			temperature := 18.0
			b.ReportAllocs()
			for b.Loop() {
				temperature = 39 - temperature // 18 and 21
				x.now = x.now.Add(time.Second)
				r := devices.Reading{Source: "room/5:temperature", Value: temperature, Text: "x", At: x.now}
				x.registry.Apply(r)
				x.engine.Step(r)
				if len(x.engine.Changes(x.now, "first")) != 1 || len(x.registry.Changes()) != 1 {
					b.Fatal("not one has moved")
				}
			}
		})
	}
}

// BenchmarkTimers is what it costs to start a timer, to cancel one and to let one
// fire while so many are running, each for a time of its own.
func BenchmarkTimers(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := rand.New(rand.NewPCG(2, uint64(n)))
			cfg := rulesOf(b, n, `
				[rule.r%[1]d]
				trigger = { state = "door/%[1]d", is = "open", for = "1h" }
				action = { publish = "say/%[1]d", payload = "open" }`)
			for i := range cfg.Rule {
				cfg.Rule[i].Value.Entries[0].Body.Trigger[0].For = config.Duration(time.Minute + time.Duration(random.Int64N(int64(1000*time.Minute))))
			}
			x := startRules(cfg)
			timed := func(doors []int, payload string, outcome Outcome) time.Duration {
				var list []devices.Reading
				for _, i := range doors {
					list = append(list, x.readings(fmt.Sprintf("door/%d", i), payload, 0)...)
				}
				began := time.Now()
				for _, r := range list {
					x.registry.Apply(r)
					if ds := x.engine.Step(r); len(ds) > 0 && ds[0].Outcome != outcome {
						b.Fatal(ds)
					}
				}
				took := time.Since(began)
				x.keep()
				return took
			}
			for i := range n {
				timed([]int{i}, "open", Pending)
			}
			var start, cancel, fire []time.Duration
			for b.Loop() {
				doors := random.Perm(n)[:batch]
				cancel = append(cancel, timed(doors, "closed", Cancelled))
				start = append(start, timed(doors, "open", Pending))

				var fired []int
				began := time.Now()
				for range batch {
					due, _ := x.engine.Next()
					x.now = x.now.Add(due - x.now.Mono)
					for _, d := range x.engine.Advance(x.now) {
						var i int
						fmt.Sscanf(d.Rule, "rule.r%d", &i)
						fired = append(fired, i)
					}
				}
				fire = append(fire, time.Since(began))
				timed(fired, "closed", Ended)
				timed(fired, "open", Pending)
			}
			if got := len(x.engine.timers.heap); got != n {
				b.Fatalf("%d timers are running", got)
			}
			b.ReportMetric(0, "ns/op") // of a round
			b.ReportMetric(median(start), "start-ns")
			b.ReportMetric(median(cancel), "cancel-ns")
			b.ReportMetric(median(fire), "fire-ns")
		})
	}
}

// BenchmarkReplayDay is a day of 200 devices: a million readings out of messages
// as devices send them, and what some two hundred rules make of them.
func BenchmarkReplayDay(b *testing.B) {
	day := busyDay()
	var cfg Config
	if err := config.Parse("config.toml", []byte(busyHouse()), &cfg).Err(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		x := startRules(cfg)
		readings, decisions, commands := 0, 0, 0
		count := func(ds []Decision) {
			decisions += len(ds)
			for _, d := range ds {
				commands += len(d.Commands)
			}
		}
		kept := x.now.Mono
		for _, m := range day {
			x.now = devices.Now{Mono: time.Hour + m.at, Wall: noon.Add(m.at), Known: true}
			for due, ok := x.engine.Next(); ok && due <= x.now.Mono; due, ok = x.engine.Next() {
				count(x.engine.Advance(devices.Now{Mono: due, Wall: noon.Add(due - time.Hour), Known: true}))
			}
			for _, r := range x.index.Normalize(m.Message, x.now) {
				x.registry.Apply(r)
				count(x.engine.Step(r))
				readings++
			}
			if x.now.Mono-kept > time.Minute { // a replay keeps nothing; but what is to be kept must not grow
				x.keep()
				kept = x.now.Mono
			}
		}
		if readings < 1_000_000 {
			b.Fatalf("only %d readings", readings)
		}
		b.ReportMetric(float64(len(day)), "messages")
		b.ReportMetric(float64(readings), "readings")
		b.ReportMetric(float64(len(x.engine.rules)), "rules")
		b.ReportMetric(float64(decisions), "decisions")
		b.ReportMetric(float64(commands), "commands")
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/day")
}

type timedMessage struct {
	devices.Message
	at time.Duration
}

// rooms is how many there are in the busy house; each has a climate sensor, a
// motion sensor, a contact, a remote and a plug.
const rooms = 40

// busyHouse has rules of each kind for its rooms.
func busyHouse() string {
	var text strings.Builder
	for i := range rooms {
		fmt.Fprintf(&text, `
[link.light%[1]d]
from = "zigbee2mqtt/motion_%[1]d:occupancy"
to = "zigbee2mqtt/lamp_%[1]d/set"

[rule.heat%[1]d]
trigger = { state = "zigbee2mqtt/climate_%[1]d:temperature", below = 19.5, until = 20.5, min_on = "8m" }
condition = { state = { "zigbee2mqtt/window_%[1]d:contact" = true } }
action = { publish = "cmnd/heater_%[1]d/POWER", on = "ON", off = "OFF" }

[rule.airing%[1]d]
trigger = { state = "zigbee2mqtt/window_%[1]d:contact", is = false, for = "15m" }
condition = { state = { "outside" = { below = 10 } } }
action = { publish = "say/it", payload = "The window of room %[1]d is open, it is {outside} degrees" }
repeat = "30m"

[rule.press%[1]d]
trigger = { event = "zigbee2mqtt/remote_%[1]d:action", is = "single" }
action = { pulse = "cmnd/lamp_%[1]d/POWER", for = "10m" }
mode = "restart"

[rule.washed%[1]d]
trigger = { state = "tele/plug_%[1]d/SENSOR:ENERGY.Power", above = 50, until = { below = 5, for = "2m" } }
action = { publish = "plug/%[1]d", on = "running", off = "idle" }
`, i)
	}
	text.WriteString(`
[calc.warmth]
of = "zigbee2mqtt/climate_{room}:temperature"
value = "round(mean(readings), 1)"
max_age = "30m"

[calc.outside]
of = "zigbee2mqtt/climate_0:temperature"
value = "min(readings) - 10"
window = "10m"

[rule.warm]
trigger = { state = "warmth", above = 20 }
action = { publish = "house/warmth", value = "warmth" }

[rule.battery]
trigger = { state = "zigbee2mqtt/climate_{room}:battery", below = 20, for = "10m" }
action = { publish = "say/it", payload = "The sensor of {room} wants a battery" }

[rule.load]
trigger = { state = "tele/plug_{plug}/SENSOR:ENERGY.Power", above = 2000, for = "1m" }
action = { publish = "say/it", payload = "{plug} draws {value} W" }

[rule.gone]
trigger = { state = "zigbee2mqtt/motion_{room}:linkquality", silent = "3h" }
action = { publish = "say/it", payload = "{room} is silent" }
`)
	return text.String()
}

// busyDay is what its devices send from noon to noon, in order.
func busyDay() []timedMessage {
	random := rand.New(rand.NewPCG(3, 4))
	var day []timedMessage
	device := func(topic string, every time.Duration, payload func(at time.Duration) string) {
		for at := time.Duration(random.Int64N(int64(every))); at < 24*time.Hour; at += every/2 + time.Duration(random.Int64N(int64(every))) {
			day = append(day, timedMessage{devices.Message{Topic: topic, Payload: []byte(payload(at))}, at})
		}
	}
	for i := range rooms {
		name := func(kind string) string { return fmt.Sprintf("zigbee2mqtt/%s_%d", kind, i) }
		device(name("climate"), time.Minute, func(at time.Duration) string {
			t := 20.3 + 1.5*math.Sin(2*math.Pi*at.Hours()/24) + random.NormFloat64()/10
			return fmt.Sprintf(`{"battery":%d,"humidity":%.2f,"linkquality":%d,"temperature":%.2f,"voltage":3000}`, 19+(i+2)%80, 45+random.Float64(), 80+random.IntN(40), t)
		})
		occupied := false
		device(name("motion"), 90*time.Second, func(time.Duration) string {
			occupied = !occupied
			return fmt.Sprintf(`{"battery":97,"illuminance":%d,"linkquality":%d,"occupancy":%t}`, random.IntN(300), 80+random.IntN(40), occupied)
		})
		closed := true
		device(name("window"), 50*time.Minute, func(time.Duration) string {
			closed = random.IntN(6) > 0
			return fmt.Sprintf(`{"battery":100,"contact":%t,"linkquality":%d,"voltage":3025}`, closed, 80+random.IntN(40))
		})
		device(name("remote"), 30*time.Minute, func(time.Duration) string {
			return fmt.Sprintf(`{"action":"%s","battery":88,"linkquality":%d}`, []string{"single", "double", "hold"}[random.IntN(3)], 80+random.IntN(40))
		})
		device(fmt.Sprintf("tele/plug_%d/SENSOR", i), 9*time.Second, func(at time.Duration) string {
			power := random.IntN(4)
			switch hour := at.Hours() - float64(i%20); {
			case hour > 0 && hour < 0.1:
				power = 2200
			case hour > 0 && hour < 1:
				power = 300
			}
			return fmt.Sprintf(`{"Time":"2026-03-10T12:00:00","ENERGY":{"TotalStartTime":"2025-01-01T10:00:00","Total":%.3f,"Yesterday":0.512,"Today":0.204,"Power":%d,"ApparentPower":%d,"ReactivePower":0,"Factor":0.91,"Voltage":%d,"Current":%.3f}}`,
				123+at.Hours()/10, power, power+1, 228+random.IntN(5), float64(power)/230)
		})
	}
	slices.SortStableFunc(day, func(a, b timedMessage) int { return cmp.Compare(a.at, b.at) })
	return day
}
