package gpio

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
	"pgregory.net/rapid"
)

// What the guard decides, at work on pins.

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

func TestAShutter(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(shutter)
		h.hears("0 up OFF initial", "0 down OFF initial")
		at := func(s float64) {
			time.Sleep(time.Duration(s*float64(time.Second)) - time.Since(h.began))
			synctest.Wait()
		}
		h.set("up", true) // at once, for both have been off
		h.hears("0 up ON")
		at(10)
		h.set("down", true)
		h.hears("10 up OFF")
		if i := h.pins.Outputs()[1]; i.Waits != "ON in 500ms, for interlock.shutter with up" {
			t.Errorf("down waits: %q", i.Waits)
		}
		at(20)
		h.hears("10.5 down ON")
		h.set("up", false)
		h.set("down", false)
		h.hears("20 up OFF", "20 down OFF")
		at(25)
		h.set("up", true)
		at(60) // the hub did nothing meanwhile
		h.hears("25 up ON", "55 up OFF")
		h.set("up", true)
		at(60.1)
		h.set("down", true)
		at(60.3)
		h.set("up", false)
		h.set("down", false)
		at(100)
		h.hears("60 up ON", "60.1 up OFF", "60.3 up OFF", "60.3 down OFF", "60.3 down OFF") // one for each command
		h.wantSwitched("GPIO1", "0 H, 10 L, 25 H, 55 L, 60 H, 60.1 L")
		h.wantSwitched("GPIO2", "10.5 H, 20 L")
	})
}

func TestLimitsHoldWhileTheHubIsStalled(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.heater]\npin = \"GPIO1\"\nmax_on = \"1h\"\n[output.pump]\npin = \"GPIO2\"")
		h.full = make(chan struct{})
		for range 500 { // more than fit between the lines and the hub
			h.set("pump", true)
		}
		synctest.Wait()
		h.set("heater", true)
		time.Sleep(2 * time.Hour)
		h.wantSwitched("GPIO1", "0 H, 3600 L")
		wait := 0
		for h.pins.Set("pump", true) == nil {
			wait++
		}
		if wait > queueLimit {
			t.Errorf("%d more commands were taken", wait)
		}
		close(h.full)
		synctest.Wait()
		var last devices.Reading
		for _, r := range h.heard {
			if r.Source == "heater" {
				last = r
			}
		}
		if last.Text != "OFF" || last.At.Mono != time.Hour {
			t.Errorf("the hub heard last: %+v", last)
		}
	})
}

func TestAnInterlockWaitsForALineThatHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(shutter)
		h.set("up", true)
		synctest.Wait()
		h.sim.Hang("GPIO1", true)
		time.Sleep(time.Second)
		h.set("down", true)
		time.Sleep(5 * time.Second)
		h.wantSwitched("GPIO2", "") // up may still be on
		h.sim.Hang("GPIO1", false)
		synctest.Wait()
		time.Sleep(time.Second)
		h.wantSwitched("GPIO1", "0 H, 6 L")
		h.wantSwitched("GPIO2", "6.5 H")
	})
}

func TestAnInterlockWhoseLineFails(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(shutter)
		h.set("up", true)
		synctest.Wait()
		h.heard = nil
		h.sim.Fail("GPIO1", errors.New("bus error"))
		h.set("down", true)
		time.Sleep(59500 * time.Millisecond)
		h.hears("0 up bad: bus error", "0 down OFF") // it was told, and is not
		h.wantSwitched("GPIO2", "")
		wantError(t, h.pins.Set("down", true), "down: it stays off, for the line of up, with which it is in interlock.shutter, does not answer")
		h.sim.Fail("GPIO1", nil)
		time.Sleep(2500 * time.Millisecond) // up is tried again every second, and first of all switched off
		h.wantSwitched("GPIO1", "0 H, 60 L")
		h.set("down", true)
		time.Sleep(time.Second)
		h.wantSwitched("GPIO2", "62 H")
	})
}

func TestStopOverridesWhatWaits(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(shutter + "[output.heater]\npin = \"GPIO3\"\nmin_on = \"1h\"")
		h.set("heater", true)
		h.set("up", true)
		synctest.Wait()
		h.set("down", true)
		h.set("heater", false)
		synctest.Wait()
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		h.wantSwitched("GPIO1", "0 H, 0 L")
		h.wantSwitched("GPIO2", "")
		h.wantSwitched("GPIO3", "0 H, 0 L")
	})
}

// min_off counts through a stop and a crash; where nobody knows how long an
// output has been off, from the start.
func TestShortestTimesOverARestart(t *testing.T) {
	const heater = "[output.heater]\npin = \"GPIO1\"\nmin_off = \"5m\""
	on := func(h *house, want string) { // when it goes on, told at once
		h.t.Helper()
		h.set("heater", true)
		time.Sleep(10 * time.Minute)
		h.wantSwitched("GPIO1", want)
	}
	t.Run("the first start", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(heater)
			on(h, "300 H")
		})
	})
	t.Run("after a stop", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(heater)
			time.Sleep(time.Hour)
			h.set("heater", true)
			synctest.Wait()
			if err := h.pins.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			h.open(heater)
			on(h, "3600 H, 3600 L, 3900 H")
		})
	})
	t.Run("after a crash while it was on", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(heater)
			time.Sleep(time.Hour)
			h.set("heater", true)
			h.crash() // takes 2 s
			h.open(heater)
			on(h, "3902 H") // and off since 3602: the story of the pins begins anew with a crash
		})
	})
	t.Run("after a crash while it was off", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(heater)
			time.Sleep(time.Minute)
			h.crash()
			h.open(heater)
			on(h, "300 H") // five minutes after the first start
		})
	})
	t.Run("with a clock that is not to be trusted", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(heater)
			time.Sleep(time.Minute)
			h.crash()
			options := h.options()
			options.Now = func() devices.Now {
				return devices.Now{Mono: time.Since(h.began), Wall: time.Unix(0, 0)}
			}
			pins, err := Open(configured(t, heater), options)
			if err != nil {
				t.Fatal(err)
			}
			h.pins = pins
			on(h, "362 H")
		})
	})
	t.Run("max_on goes on over a crash with hold", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const lamp = "[output.lamp]\npin = \"GPIO1\"\nsafe = \"hold\"\nmax_on = \"1m\""
			h.open(lamp)
			h.set("lamp", true)
			time.Sleep(30 * time.Second)
			h.crash()
			h.open(lamp)
			time.Sleep(time.Hour)
			h.wantSwitched("GPIO1", "32 H, 60 L") // it was high all the time
		})
	})
}

func TestInterlockedOutputsStart(t *testing.T) {
	t.Run("one that is declared on is told so, and its min_off holds", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(`
				[output.heat]
				pin = "GPIO1"
				initial = "on"
				[output.cool]
				pin = "GPIO2"
				[interlock.air]
				outputs = ["heat", "cool"]
				gap = "10s"
				[output.compressor]
				pin = "GPIO3"
				initial = "on"
				min_off = "1m"
			`)
			h.hears("0 heat OFF initial", "0 heat ON", "0 cool OFF initial", "0 compressor OFF initial")
			time.Sleep(2 * time.Minute)
			h.hears("60 compressor ON")
		})
	})
	t.Run("after a crash the gap counts from the start", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(shutter)
			h.set("down", true)
			h.crash()
			h.open(shutter)
			h.set("up", true)
			time.Sleep(time.Minute)
			h.saw("GPIO2", "L")
			h.wantSwitched("GPIO1", "2.5 H, 32.5 L")
		})
	})
	const held = "[output.a]\npin = \"GPIO1\"\nsafe = \"hold\"\n[output.b]\npin = \"GPIO2\"\nsafe = \"hold\"\n"
	t.Run("one that was on goes on", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(held + "[interlock.x]\noutputs = [\"a\", \"b\"]")
			h.set("b", true)
			h.crash()
			h.open(held + "[interlock.x]\noutputs = [\"a\", \"b\"]")
			h.saw("GPIO1", "L")
			h.saw("GPIO2", "H")
		})
	})
	t.Run("of two that were on, before there was an interlock, none does", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(held)
			h.set("a", true)
			h.set("b", true)
			h.crash()
			h.open(held + "[interlock.x]\noutputs = [\"a\", \"b\"]")
			h.saw("GPIO1", "L")
			h.saw("GPIO2", "L")
		})
	})
}

func TestReloadAndWhatRuns(t *testing.T) {
	t.Run("times go on, by the new limits", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(shutter + "[output.heater]\npin = \"GPIO3\"\nmax_on = \"1h\"\nmin_on = \"10m\"")
			h.set("heater", true)
			h.set("up", true)
			time.Sleep(10 * time.Second)
			h.set("down", true)
			h.reload(strings.ReplaceAll(shutter, "500ms", "2s") + "[output.heater]\npin = \"GPIO3\"\nmax_on = \"20m\"\n[output.new]\npin = \"GPIO4\"")
			time.Sleep(time.Hour)
			h.wantSwitched("GPIO1", "0 H, 10 L")
			h.wantSwitched("GPIO2", "12 H, 42 L")
			h.wantSwitched("GPIO3", "0 H, 1200 L")
		})
	})
	t.Run("a new interlock holds at once", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const two = "[output.a]\npin = \"GPIO1\"\nmin_on = \"1h\"\n[output.b]\npin = \"GPIO2\"\n"
			h.open(two)
			h.set("a", true)
			h.set("b", true)
			time.Sleep(time.Minute)
			h.reload(two + "[interlock.x]\noutputs = [\"a\", \"b\"]")
			h.wantSwitched("GPIO1", "0 H, 60 L")
			h.wantSwitched("GPIO2", "0 H, 60 L")
		})
	})
	t.Run("an output moves to another pin: its partner waits until the old one is off", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(shutter)
			h.set("up", true)
			synctest.Wait()
			h.sim.Hang("GPIO1", true)
			h.reload(strings.ReplaceAll(shutter, "GPIO1", "GPIO3"))
			h.set("down", true)
			time.Sleep(5 * time.Second)
			h.wantSwitched("GPIO2", "")
			h.sim.Hang("GPIO1", false)
			synctest.Wait()
			time.Sleep(time.Second)
			h.wantSwitched("GPIO1", "0 H, 5 L")
			h.wantSwitched("GPIO2", "5.5 H")
		})
	})
	t.Run("two change their pins: the one that is told to be on waits for both", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(shutter)
			h.set("up", true)
			time.Sleep(time.Second)
			h.sim.Hang("GPIO1", true)
			h.reload(strings.NewReplacer("GPIO1", "GPIO2", "GPIO2", "GPIO1").Replace(shutter))
			h.set("up", true)
			time.Sleep(2 * time.Second)
			h.sim.Hang("GPIO1", false)
			synctest.Wait()
			time.Sleep(5 * time.Second)
			h.wantSwitched("GPIO1", "0 H, 3 L")
			h.wantSwitched("GPIO2", "3.5 H")
		})
	})
	t.Run("a new output that is declared on does not switch off one that is", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open("[output.a]\npin = \"GPIO1\"")
			h.set("a", true)
			synctest.Wait()
			h.reload("[output.a]\npin = \"GPIO1\"\n[output.b]\npin = \"GPIO2\"\ninitial = \"on\"\n[interlock.x]\noutputs = [\"a\", \"b\"]")
			h.wantSwitched("GPIO1", "0 H")
			h.wantSwitched("GPIO2", "")
		})
	})
}

func TestAnOutputOnATopic(t *testing.T) {
	const boiler = `
		[output.boiler]
		topic = "cmnd/boiler/POWER"
		max_on = "1h"
		[output.pump]
		topic = "zigbee2mqtt/pump/set"
		on = '{"state":"ON"}'
		off = '{"state":"OFF"}'
		safe = "hold"
		[interlock.x]
		outputs = ["boiler", "pump"]
		gap = "1s"
	`
	inHouse(t, func(h *house) {
		h.open(boiler)
		h.sends("0 cmnd/boiler/POWER OFF") // hold: left as it is
		h.hears("0 boiler OFF initial", "0 pump OFF initial")
		h.set("boiler", true)
		time.Sleep(time.Minute)
		h.set("pump", true)
		time.Sleep(time.Minute)
		h.sends("0 cmnd/boiler/POWER ON", "60 cmnd/boiler/POWER OFF", `61 zigbee2mqtt/pump/set {"state":"ON"}`)
		h.hears("0 boiler ON", "60 boiler OFF", "61 pump ON")
		if o := h.pins.Outputs()[1]; o.Pin != "zigbee2mqtt/pump/set" || !o.On || !o.Known {
			t.Errorf("%+v", o)
		}
		h.reload(strings.Replace(boiler, `'{"state":"ON"}'`, `'{"state":"on"}'`, 1))
		h.sends(`120 zigbee2mqtt/pump/set {"state":"on"}`)
		h.crash()
		h.sends("122 cmnd/boiler/POWER OFF") // of the pins that were made harmless
		if err := Safe(h.sim, h.st); err != nil {
			t.Error(err)
		}
		h.heard = nil
		h.open(boiler)
		h.sends("122 cmnd/boiler/POWER OFF")
		h.hears("122 boiler OFF initial", "122 pump ON initial")
		h.reload("[output.pump]\ntopic = \"zigbee2mqtt/pump/set\"\nsafe = \"hold\"")
		h.sends("122 cmnd/boiler/POWER OFF", "122 zigbee2mqtt/pump/set ON") // one is gone, the other has new words
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		h.sends()
	})
	t.Run("what was said a moment ago is not said again", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open("[output.plug]\ntopic = \"cmnd/plug/POWER\"")
			time.Sleep(2 * time.Second)
			for _, on := range []bool{true, true, false, true, true} {
				h.set("plug", on)
				time.Sleep(100 * time.Millisecond)
			}
			h.sends("0 cmnd/plug/POWER OFF", "2 cmnd/plug/POWER ON", "2.2 cmnd/plug/POWER OFF", "2.3 cmnd/plug/POWER ON")
			h.hears("0 plug OFF initial", "2 plug ON", "2.1 plug ON", "2.2 plug OFF", "2.3 plug ON", "2.4 plug ON")
			time.Sleep(time.Second)
			h.set("plug", true) // somebody insists
			h.sends("3.5 cmnd/plug/POWER ON")
			h.reload("[output.plug]\ntopic = \"cmnd/plug/POWER\"\non = \"1\"")
			h.sends("3.5 cmnd/plug/POWER 1")
			if err := h.pins.Close(); err != nil {
				t.Error(err)
			}
			h.sends("3.5 cmnd/plug/POWER OFF")
		})
	})
	t.Run("a word that was not taken is no switch", func(t *testing.T) {
		inHouse(t, func(h *house) {
			refuse := false
			options := h.options()
			publish := options.Publish
			options.Publish = func(m devices.Message) error {
				if refuse {
					return errors.New("nobody takes it")
				}
				return publish(m)
			}
			pins, err := Open(configured(t, "[output.plug]\ntopic = \"cmnd/plug/POWER\""), options)
			if err != nil {
				t.Fatal(err)
			}
			if err := pins.Set("plug", true); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			refuse = true
			if err := pins.Set("plug", false); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if o := pins.Outputs()[0]; !o.On || o.Fault != "nobody takes it" {
				t.Errorf("%+v", o)
			}
			wantError(t, pins.Close(), "plug on cmnd/plug/POWER", "nobody takes it")
		})
	})
	t.Run("without anybody to publish", func(t *testing.T) {
		_, err := Open(configured(t, boiler), Options{Bank: NewSim(), Now: func() devices.Now { return devices.Now{} }, Feed: func(devices.Reading) {}})
		wantError(t, err, "boiler on cmnd/boiler/POWER: there is nothing to publish with")
	})
}

// After a crash hearth safe switches an output off. The next hub must not take it for
// one that has been on all the time.
func TestMinOffAfterSafe(t *testing.T) {
	const fridge = "[output.fridge]\npin = \"GPIO1\"\ninitial = \"on\"\nmin_off = \"5m\""
	inHouse(t, func(h *house) {
		h.open(fridge)
		time.Sleep(10 * time.Minute)
		h.wantSwitched("GPIO1", "300 H") // nobody knew how long it had been off
		h.crash()
		if err := Safe(h.sim, h.st); err != nil {
			t.Fatal(err)
		}
		h.heard = nil
		h.open(fridge)
		time.Sleep(10 * time.Minute)
		h.wantSwitched("GPIO1", "902 H")
		if left := Unreached(h.st); left != nil {
			t.Errorf("out of reach: %v", left)
		}
	})
}

func TestReadingsKnowWhereTheyComeFrom(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(shutter)
		for _, c := range []devices.Command{
			{Output: "up", Value: true, Origin: devices.Origin{By: "page"}},
			{Output: "down", Value: true, Origin: devices.Origin{Rules: []string{"evening"}}},
		} {
			if err := h.pins.Command(c); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var got []string
		for _, r := range h.heard {
			if !r.Initial {
				got = append(got, fmt.Sprint(r.Source, " ", r.Text, " ", r.Origin.Rules, r.Origin.By))
			}
		}
		want := `up ON []page; up OFF [evening]; down ON [evening]; down OFF []output.down: max_on = "30s"`
		if strings.Join(got, "; ") != want {
			t.Errorf("got %s\nwant %s", strings.Join(got, "; "), want)
		}
		wantError(t, h.pins.Command(devices.Command{Output: "up", Value: devices.Toggle{}}), "want true or false")
	})
}

func TestAButton(t *testing.T) {
	inHouse(t, func(h *house) {
		h.drive("GPIO2", gpio.High)
		h.open(`
			[input.button]
			pin = "GPIO1"
			debounce = "50ms"
			double = "500ms"
			hold = "2s"
			[input.held]
			pin = "GPIO2"
			hold = "1s"
			[input.pir]
			pin = "GPIO3"
		`)
		press := func(pin string, on, off time.Duration) {
			h.drive(pin, gpio.High)
			time.Sleep(on)
			h.drive(pin, gpio.Low)
			time.Sleep(off)
		}
		press("GPIO1", 100*time.Millisecond, 900*time.Millisecond)
		h.hears("0 button OFF initial", "0 held ON initial", "0 pir OFF initial",
			"0.05 button ON", "0.15 button OFF", "0.65 button.press single")
		press("GPIO1", 100*time.Millisecond, 200*time.Millisecond)
		press("GPIO1", 3*time.Second, time.Second)
		h.hears("1.05 button ON", "1.15 button OFF", "1.35 button ON", "1.35 button.press double", "4.35 button OFF")
		press("GPIO1", 3*time.Second, time.Second)
		h.hears("5.35 button ON", "7.35 button.press hold", "8.35 button OFF")
		// The second press settles at the last moment that makes it one.
		press("GPIO1", 100*time.Millisecond, 500*time.Millisecond)
		press("GPIO1", 100*time.Millisecond, 900*time.Millisecond)
		h.hears("9.35 button ON", "9.45 button OFF", "9.95 button ON", "9.95 button.press double", "10.05 button OFF")
		press("GPIO3", time.Second, time.Second)
		h.hears("10.9 pir ON", "11.9 pir OFF")
		h.drive("GPIO2", gpio.Low) // it was pressed before anybody looked
		time.Sleep(time.Second)
		h.hears("12.9 held OFF")
		press("GPIO2", time.Second/2, time.Second)
		h.hears("13.9 held ON", "14.4 held OFF", "14.4 held.press single")
	})
}

// Any commands, any reloads, crashes and stops, on pins that answer late: two
// that are interlocked are never on together, nor one sooner after the other than
// the gap. Looked at from the pins.
func TestInterlocksHoldWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
			h := &house{sim: NewSim(), began: time.Now()}
			gap := time.Duration(rapid.IntRange(1, 3).Draw(t, "gap")) * time.Second
			draw := func() Config {
				cfg := Config{Interlock: config.Table[Interlock]{{Name: "x", Value: Interlock{Outputs: []string{"a", "b"}, Gap: config.Duration(gap)}}}}
				pins := []string{ // never one that the other had: then the pins tell which is which
					rapid.SampledFrom([]string{"GPIO1", "GPIO2"}).Draw(t, "pin of a"),
					rapid.SampledFrom([]string{"GPIO3", "GPIO4"}).Draw(t, "pin of b"),
				}
				starts := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "starts")
				for i, name := range []string{"a", "b"} {
					o := Output{Pin: pins[i], MinOn: config.Duration(rapid.IntRange(0, 2).Draw(t, "min_on")) * config.Duration(time.Second)}
					if name == starts {
						o.Initial = "on"
					}
					cfg.Output = append(cfg.Output, config.Named[Output]{Name: name, Value: o})
				}
				return cfg
			}
			options := h.options()
			options.Store = nil
			options.Publish = nil
			pins, err := Open(draw(), options)
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(1, 30).Draw(t, "steps") {
				switch rapid.IntRange(0, 9).Draw(t, "step") {
				default:
					if err := pins.Set(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "output"), rapid.Bool().Draw(t, "on")); err != nil {
						t.Fatal(err)
					}
				case 5, 6, 7:
					time.Sleep(time.Duration(rapid.IntRange(1, 20).Draw(t, "time")) * (time.Second / 4))
				case 8:
					h.sim.Hang(rapid.SampledFrom([]string{"GPIO1", "GPIO2", "GPIO3", "GPIO4"}).Draw(t, "hangs"), rapid.Bool().Draw(t, "hang"))
				case 9:
					if c, err := pins.Prepare(draw()); err == nil {
						c.Commit()
					}
				}
				if rapid.Bool().Draw(t, "settles") {
					synctest.Wait()
				}
			}
			for _, pin := range []string{"GPIO1", "GPIO2", "GPIO3", "GPIO4"} {
				h.sim.Hang(pin, false)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := pins.Close(); err != nil {
				t.Error(err)
			}
			type span struct {
				pin      string
				from, to time.Time
			}
			var spans []span
			for _, pin := range []string{"GPIO1", "GPIO2", "GPIO3", "GPIO4"} {
				on := false
				for _, s := range h.sim.History(pin) {
					switch {
					case bool(s.Level) && !on:
						spans = append(spans, span{pin: pin, from: s.At})
					case !bool(s.Level) && on:
						spans[len(spans)-1].to = s.At
					}
					on = bool(s.Level)
				}
				if on {
					t.Fatalf("%s is still on", pin)
				}
			}
			for _, a := range spans {
				for _, b := range spans {
					if (a.pin < "GPIO3") != (b.pin < "GPIO3") && !b.from.Before(a.from) && b.from.Sub(a.to) < gap {
						t.Fatalf("%s was on until %v, %s from %v", a.pin, a.to.Sub(h.began), b.pin, b.from.Sub(h.began))
					}
				}
			}
		})
	})
}
