package gpio

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/store"

	"periph.io/x/conn/v3/gpio"
	"pgregory.net/rapid"
)

func TestMistakesOfCountersAndEncoders(t *testing.T) {
	for _, tt := range []struct{ toml, want string }{
		{"[counter.power]\npin = \"5\"", `config.toml:2:7: counter.power.pin = "5": want "GPIO5" for line 5 of the Raspberry Pi (which is not pin 5 of its header)`},
		{"[input.power]\npin = \"GPIO1\"\n[counter.power]\npin = \"GPIO2\"", `config.toml:3:1: counter.power = {…}: input.power has this name too, at config.toml:1:1: want another`},
		{"[counter.power]\npin = \"GPIO1\"\n[encoder.volume]\na = \"GPIO1\"\nb = \"GPIO2\"", `config.toml:4:5: encoder.volume.a = "GPIO1": this pin is used twice, want another: counter.power.pin has it too, at config.toml:2:7`},
		{"[encoder.volume]\na = \"GPIO1\"\nb = \"GPIO1\"", `config.toml:3:5: encoder.volume.b = "GPIO1": this pin is used twice, want another: encoder.volume.a has it too, at config.toml:2:5`},
		{"[encoder.volume]\na = \"GPIO1\"\nb = \"GPIO2\"\nsteps = 3", `config.toml:4:9: encoder.volume.steps = 3: want 1, 2 or 4`},
		{"[encoder.volume]\na = \"GPIO1\"\nb = \"GPIO2\"\nmin = 10\nmax = 10", `config.toml:5:7: encoder.volume.max = 10: want more than min, which is 10`},
	} {
		var cfg Config
		err := config.Parse("config.toml", []byte(tt.toml), &cfg).Err()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s\n\tgives %v\n\twant  %s", tt.toml, err, tt.want)
		}
	}
	for _, keys := range []string{"pulses = 0", "pulses = -1", "pulses = nan", "rate = \"1ms\"", "interval = \"1ms\"", "timeout = \"0s\"", "pull = \"left\""} {
		var cfg Config
		if m := config.Parse("config.toml", []byte("[counter.power]\npin = \"GPIO1\"\n"+keys), &cfg).Mistakes(); len(m) != 1 {
			t.Errorf("%s gives %v, want one mistake", keys, m)
		}
	}
}

// pulse drives n pulses of 10 ms, one every so often.
func (h *house) pulse(pin string, n int, every time.Duration) {
	h.t.Helper()
	for range n {
		h.drive(pin, gpio.High)
		time.Sleep(10 * ms)
		h.drive(pin, gpio.Low)
		time.Sleep(every - 10*ms)
	}
	synctest.Wait()
}

const meter = "[counter.power]\npin = \"GPIO5\"\npulses = 1000\nunit = \"kWh\"\n"

func TestACounterCounts(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(meter)
		h.hears("0 power 0 initial", "0 power.pulses 0 initial", "0 power.rate bad: not known before two pulses initial", "0 power.gaps 0 initial", "0 power.missed 0 initial")
		h.pulse("GPIO5", 2, 30*time.Second)
		h.hears("10 power 0.001", "10 power.pulses 1", "30 power 0.002", "30 power.pulses 2", "30 power.rate 0.12")
		if i := h.pins.Inputs()[0]; i.Name != "power" || i.Pin != "GPIO5" || i.Shows != "0.002 kWh, 0.12 kW" || !i.Known || i.Fault != "" {
			t.Errorf("%+v", i)
		}
		wantError(t, h.pins.SetTotal("power", math.NaN()), "power: want what the meter shows, a number from 0 to 1000000000000, not NaN")
		wantError(t, h.pins.SetTotal("power", math.Inf(1)), "not +Inf")
		wantError(t, h.pins.SetTotal("power", 1e308), "not 1e+308")
		wantError(t, h.pins.SetTotal("power", -1), "not -1")
		wantError(t, h.pins.SetTotal("powre", 1), `no counter "powre", did you mean "power"?`)
		if err := h.pins.SetTotal("power", 4711.5); err != nil {
			t.Error(err)
		}
		h.hears("60 power 4711.5")
		h.pulse("GPIO5", 1, 20*time.Second)
		h.hears("70 power 4711.501", "70 power.pulses 3")
	})
}

// After a stop it goes on, and what came meanwhile is a gap. A crash costs what
// came in the last minute at most.
func TestATotalOutlivesTheHub(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(meter)
		if err := h.pins.SetTotal("power", 100); err != nil {
			t.Error(err)
		}
		h.pulse("GPIO5", 5, time.Second)
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		h.holds()
		h.hears("0 power 0 initial", "0 power.pulses 0 initial", "0 power.rate bad: not known before two pulses initial", "0 power.gaps 0 initial", "0 power.missed 0 initial", "0 power 100",
			"5.02 power 100.005", "5.02 power.pulses 5", "5.02 power.rate 3.5294") // the last pulse is a second ago
		h.drive("GPIO5", gpio.High) // nobody sees it
		h.drive("GPIO5", gpio.Low)
		time.Sleep(55 * time.Second)
		h.open(meter)
		h.hears("60.02 power 100.005 initial", "60.02 power.pulses 5 initial", "60.02 power.rate bad: not known before two pulses initial", "60.02 power.gaps 1 initial", "60.02 power.missed 55 initial")
		if i := h.pins.Inputs()[0]; i.Shows != "100.005 kWh, 1 gap" {
			t.Errorf("after the restart: %+v", i)
		}

		h.pulse("GPIO5", 70, time.Second)
		h.crash()
		h.open(meter)
		var got total
		got, _, err := keptTotal(h.st, "power")
		if err != nil || got.N < 5+10 || got.N > 75 || got.Gaps != 1 {
			t.Errorf("kept: %+v, %v", got, err)
		}
		if i := h.pins.Inputs()[0]; i.Shows != fmt.Sprintf("100.%03d kWh, 2 gaps", got.N) {
			t.Errorf("after the crash: %+v, kept was %+v", i, got)
		}
	})
}

// More pulses than wait anywhere, while the hub takes nothing: each is counted.
func TestNoPulseIsLostWhileTheHubStandsStill(t *testing.T) {
	inHouse(t, func(h *house) {
		h.full = make(chan struct{})
		h.open(meter)
		for range 2000 {
			h.drive("GPIO5", gpio.High)
			h.drive("GPIO5", gpio.Low)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		i := h.pins.Inputs()[0]
		if i.Shows != "2 kWh, 0 kW" || i.Lost == 0 {
			t.Errorf("%+v", i)
		}
		close(h.full)
		h.mu.Lock()
		h.full = nil
		h.mu.Unlock()
		synctest.Wait()
		h.mu.Lock()
		last := h.heard[len(h.heard)-1]
		n := len(h.heard)
		h.mu.Unlock()
		if n > 20 {
			t.Errorf("%d readings were kept for a hub that takes none", n)
		}
		t.Log(n, last.Source, last.Text)
	})
}

func TestACounterDebounces(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[counter.water]\npin = \"GPIO5\"\npull = \"up\"\nactive_low = true\ndebounce = \"20ms\"\n")
		for range 3 {
			for _, l := range []gpio.Level{gpio.Low, gpio.High, gpio.Low, gpio.High, gpio.Low} {
				h.drive("GPIO5", l)
				time.Sleep(ms)
			}
			time.Sleep(100 * ms)
			h.drive("GPIO5", gpio.High)
			time.Sleep(100 * ms)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if i := h.pins.Inputs()[0]; i.Shows[:2] != "3," {
			t.Errorf("%+v", i)
		}
	})
}

// A line that fails is said to be bad, tried again, and counts on. That is a gap.
func TestACounterComesBack(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(meter)
		h.pulse("GPIO5", 2, time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		h.mu.Lock()
		h.heard = nil
		h.mu.Unlock()
		h.sim.Fail("GPIO5", errors.New("no such device"))
		time.Sleep(2500 * ms)
		h.hears("12 power bad: no such device", "12 power.rate bad: the line has failed")
		if i := h.pins.Inputs()[0]; i.Fault != "no such device" {
			t.Errorf("%+v", i)
		}
		h.sim.Fail("GPIO5", nil)
		time.Sleep(600 * ms)
		h.hears("15 power 0.002 initial", "15 power.pulses 2 initial", "15 power.rate bad: not known before two pulses initial", "15 power.gaps 1 initial", "15 power.missed 3 initial")
		h.pulse("GPIO5", 1, 20*time.Second)
		h.hears("25 power 0.003", "25 power.pulses 3")
		h.holds("GPIO5")
	})
}

func TestAReloadOfCounters(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(meter)
		h.pulse("GPIO5", 2, time.Second)
		h.reload("[counter.power]\npin = \"GPIO5\"\npulses = 500\ninterval = \"1s\"\n") // the line stays
		h.pulse("GPIO5", 1, time.Second)
		if i := h.pins.Inputs()[0]; i.Shows != "0.006, 7.2 /h" {
			t.Errorf("%+v", i)
		}
		h.reload("[counter.power]\npin = \"GPIO6\"\npulses = 500\n") // it moves, and goes on
		h.pulse("GPIO6", 1, time.Second)
		h.holds("GPIO6")
		h.reload("[output.lamp]\npin = \"GPIO6\"\n[counter.power]\npin = \"GPIO5\"\npulses = 500\n")
		h.pulse("GPIO5", 1, 20*time.Second)
		if i := h.pins.Inputs()[0]; i.Shows != "0.01, 2 gaps" || i.Fault != "" {
			t.Errorf("%+v", i)
		}
		h.holds("GPIO5", "GPIO6")
		h.reload("")
		time.Sleep(time.Minute)
		h.holds()
		h.reload(meter) // it was only away
		if i := h.pins.Inputs()[0]; i.Shows != "0.005 kWh, 3 gaps" {
			t.Errorf("%+v", i)
		}
	})
}

// What Prepare took is given back.
func TestUndoLetsCountersAndEncodersGo(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("")
		c, err := h.pins.Prepare(configured(t, meter+knobConfig))
		if err != nil {
			t.Fatal(err)
		}
		h.holds("GPIO5", "GPIO6", "GPIO7")
		c.Undo()
		h.holds()
		h.sim.Fail("GPIO6", errors.New("no such device"))
		if _, err := h.pins.Prepare(configured(t, meter+knobConfig)); err == nil {
			t.Error("there is an encoder on a line that does not work")
		} else {
			wantError(t, err, "encoder volume on GPIO6 and GPIO7: no such device")
		}
		h.holds()
		h.sim.Fail("GPIO6", nil)
		h.reload(meter + knobConfig)
		h.holds("GPIO5", "GPIO6", "GPIO7")
	})
}

const knobConfig = "[encoder.volume]\na = \"GPIO6\"\nb = \"GPIO7\"\npull = \"up\"\nmin = 0\nmax = 2\n"

// detent turns a knob with contacts to ground by one detent.
func (h *house) detent(a, b string, by int) {
	h.t.Helper()
	first, second := a, b
	if by < 0 {
		first, second = b, a
	}
	for _, l := range []gpio.Level{gpio.Low, gpio.High} {
		h.drive(first, l)
		h.drive(second, l)
	}
	synctest.Wait()
}

func TestAnEncoderTurns(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(knobConfig)
		h.holds("GPIO6", "GPIO7")
		h.hears("0 volume 0 initial")
		time.Sleep(time.Second)
		h.detent("GPIO6", "GPIO7", 1)
		h.hears("1 volume.turn 1", "1 volume 1")
		h.detent("GPIO6", "GPIO7", 1)
		h.detent("GPIO6", "GPIO7", 1)
		h.detent("GPIO6", "GPIO7", -1)
		h.hears("1 volume.turn 1", "1 volume 2", "1 volume.turn 1", "1 volume.turn -1", "1 volume 1")
		if i := h.pins.Inputs()[0]; i.Name != "volume" || i.Pin != "GPIO6 and GPIO7" || i.Shows != "at 1" || i.Lost != 0 {
			t.Errorf("%+v", i)
		}
		h.reload(knobConfig + "[output.lamp]\npin = \"GPIO1\"\n") // it stays
		h.detent("GPIO6", "GPIO7", -1)
		h.hears("1 volume.turn -1", "1 volume 0", "1 lamp OFF initial")
		// The lines change places: it is taken anew.
		h.detent("GPIO6", "GPIO7", 1)
		h.hears("1 volume.turn 1", "1 volume 1")
		h.reload("[encoder.volume]\na = \"GPIO7\"\nb = \"GPIO6\"\npull = \"up\"\n")
		time.Sleep(time.Second)
		h.hears("1.02 volume 1 initial")
		h.detent("GPIO6", "GPIO7", 1)
		h.hears("2 volume.turn -1", "2 volume 0")
		// One of them becomes something else.
		h.reload("[encoder.volume]\na = \"GPIO7\"\nb = \"GPIO8\"\npull = \"up\"\n[input.door]\npin = \"GPIO6\"\n")
		time.Sleep(time.Second)
		h.holds("GPIO6", "GPIO7", "GPIO8")
		for _, i := range h.pins.Inputs() {
			if !i.Known || i.Fault != "" {
				t.Errorf("%+v", i)
			}
		}
		h.reload("[input.door]\npin = \"GPIO6\"\n")
		time.Sleep(time.Second)
		h.holds("GPIO6")
	})
}

// While the hub takes nothing, turns add up.
func TestTurnsAddUp(t *testing.T) {
	inHouse(t, func(h *house) {
		h.full = make(chan struct{})
		h.open("[encoder.volume]\na = \"GPIO6\"\nb = \"GPIO7\"\npull = \"up\"\n")
		time.Sleep(time.Second)
		for range 1000 {
			h.detent("GPIO6", "GPIO7", 1)
		}
		full := h.full
		h.mu.Lock()
		h.full = nil
		h.mu.Unlock()
		close(full)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		sum := 0.0
		for _, r := range h.heard {
			if r.Source == "volume.turn" {
				sum += r.Value.(float64)
			}
		}
		if sum != 1000 || h.heard[len(h.heard)-1].Value != 1000.0 || len(h.heard) > 600 {
			t.Errorf("%v turns in %d readings, the last %+v", sum, len(h.heard), h.heard[len(h.heard)-1])
		}
	})
}

// A total that can't be read makes a new one, and says so.
func TestABrokenTotal(t *testing.T) {
	inHouse(t, func(h *house) {
		h.st.Put(store.Record{Kind: store.Total, Key: "power", Value: []byte("{")}, 0, nil)
		h.open(meter)
		h.hears("0 power 0 initial", "0 power.pulses 0 initial", "0 power.rate bad: not known before two pulses initial", "0 power.gaps 0 initial", "0 power.missed 0 initial")
	})
}

// From any house to any other, over the same few pins: what is configured is held
// and works, and nothing else is held. Some changes are undone, some can't be had.
func TestAnyReloadOfCountersAndEncoders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inHouse(t, func(h *house) {
			h.open("")
			var pins []string // of the configuration in force
			for range rapid.IntRange(1, 12).Draw(rt, "reloads") {
				free := rapid.Permutation([]string{"GPIO1", "GPIO2", "GPIO3", "GPIO4", "GPIO5"}).Draw(rt, "pins")
				toml, wants := "", []string(nil)
				take := func() string {
					pin := free[0]
					free, wants = free[1:], append(wants, pin)
					return pin
				}
				for _, name := range []string{"counter.a", "encoder.b", "input.c", "output.d", "counter.e", "encoder.f"} {
					pair := name[0] == 'e'
					if !rapid.Bool().Draw(rt, name) || len(free) == 0 || pair && len(free) < 2 {
						continue
					}
					toml += fmt.Sprintf("[%s]\n", name)
					if pair {
						toml += fmt.Sprintf("a = %q\nb = %q\n", take(), take())
					} else {
						toml += fmt.Sprintf("pin = %q\n", take())
					}
				}
				broken := ""
				if rapid.IntRange(0, 4).Draw(rt, "broken") == 0 {
					broken = rapid.SampledFrom([]string{"GPIO1", "GPIO2", "GPIO3", "GPIO4", "GPIO5"}).Draw(rt, "which")
					if slices.Contains(pins, broken) {
						broken = ""
					} else {
						h.sim.Fail(broken, errors.New("broken"))
					}
				}
				c, err := h.pins.Prepare(configured(t, toml))
				if broken != "" {
					if err == nil {
						c.Undo() // it may be to take the pin only later
					}
					h.sim.Fail(broken, nil)
				} else if err != nil {
					rt.Fatalf("%s: %v", toml, err)
				} else if rapid.IntRange(0, 3).Draw(rt, "undo") == 0 {
					c.Undo()
				} else {
					c.Commit()
					pins = wants
				}
				time.Sleep(100 * ms)
				synctest.Wait()
				slices.Sort(pins)
				h.holds(pins...)
				for _, i := range slices.Concat(h.pins.Inputs(), h.pins.Outputs()) {
					if !i.Known || i.Fault != "" {
						rt.Fatalf("%s\n%+v", toml, i)
					}
				}
			}
			if t.Failed() {
				rt.FailNow()
			}
		})
	})
}

// What can't be had at the start is tried again, as all lines are. There was
// nothing before, so that is no gap.
func TestCountersAndEncodersThatCannotBeHadYet(t *testing.T) {
	inHouse(t, func(h *house) {
		h.sim.Fail("GPIO5", errors.New("busy"))
		h.sim.Fail("GPIO7", errors.New("busy"))
		h.open(meter + knobConfig)
		for _, i := range h.pins.Inputs() {
			if i.Known || i.Fault != "busy" {
				t.Errorf("%+v", i)
			}
		}
		wantError(t, h.pins.SetTotal("power", 1), "counter power is not at work yet")
		h.hears("0 power bad: busy", "0 volume bad: busy")
		time.Sleep(5500 * ms)
		h.sim.Fail("GPIO5", nil)
		h.sim.Fail("GPIO7", nil)
		time.Sleep(time.Second)
		h.holds("GPIO5", "GPIO6", "GPIO7")
		h.hears("6 power 0 initial", "6 power.pulses 0 initial", "6 power.rate bad: not known before two pulses initial", "6 power.gaps 0 initial", "6 power.missed 0 initial", "6 volume 0 initial")
	})
}
