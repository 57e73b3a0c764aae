package gpio

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
	"pgregory.net/rapid"
)

func TestReloadTouchesOnlyWhatChanged(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(`
			[output.lamp]
			pin = "GPIO1"
			[output.gone]
			pin = "GPIO2"
			active_low = true
			[input.pir]
			pin = "GPIO3"
			[input.gone_too]
			pin = "GPIO4"
		`)
		h.set("lamp", true)
		h.set("gone", true)
		synctest.Wait()
		h.heard = nil
		h.reload(`
			[output.fan]
			pin = "GPIO5"
			initial = "on"
			[output.lamp]
			pin = "GPIO1"
			safe = "hold"            # only matters later
			[input.pir]
			pin = "GPIO3"
			[input.door]
			pin = "GPIO6"
			pull = "up"
		`)
		h.hears("0 fan ON initial", "0 door ON initial")
		h.saw("GPIO1", "LH")  // untouched
		h.saw("GPIO2", "HLH") // made safe
		h.saw("GPIO5", "H")
		h.holds("GPIO1", "GPIO3", "GPIO5", "GPIO6")
		h.remembers("fan GPIO5 ON", "lamp GPIO1 ON")
		wantError(t, h.pins.Set("gone", true), "no output")
		if names := []string{h.pins.Outputs()[0].Name, h.pins.Outputs()[1].Name}; names[0] != "fan" || names[1] != "lamp" {
			t.Errorf("outputs are %v, want the order of the file", names)
		}

		h.set("lamp", false)
		h.drive("GPIO3", gpio.High)
		h.hears("0 lamp OFF", "0 pir ON")
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		h.saw("GPIO1", "LHL") // hold: not written at Close
	})
}

// What people call things, and in which room they are, is no setting of a line: none of them
// is touched, not even one that hangs, and what runs and waits goes on.
func TestANameTouchesNoPin(t *testing.T) {
	inHouse(t, func(h *house) {
		const tables = `
			[output.lamp]
			pin = "GPIO1"
			max_on = "1m"
			min_off = "10s"
			#
			[output.stuck]
			pin = "GPIO2"
			#
			[output.up]
			pin = "GPIO3"
			[output.down]
			pin = "GPIO4"
			[cover.blind]
			up = "up"
			down = "down"
			open_time = "20s"
			close_time = "20s"
			#
			[input.pir]
			pin = "GPIO5"
			#
			[counter.power]
			pin = "GPIO6"
			#
			[encoder.volume]
			a = "GPIO7"
			b = "GPIO8"
			#
		`
		named := strings.ReplaceAll(tables, "#", "name = \"What it is\"\nroom = \"Hall\"")
		h.open(tables)
		time.Sleep(time.Minute)
		h.set("lamp", true)
		h.sim.Hang("GPIO2", true)
		h.set("stuck", true)
		h.drive("GPIO6", gpio.High)
		if err := h.pins.Command(devices.Command{Output: "blind", Value: 50.0}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		h.heard = nil
		for _, toml := range []string{named, strings.ReplaceAll(named, "Hall", "Attic"), tables} {
			h.reload(toml)
			h.hears()
		}
		h.sim.Hang("GPIO2", false)
		time.Sleep(2 * time.Minute)
		h.saw("GPIO1", "LHL") // off by max_on, from when it went on
		h.wantSwitched("GPIO1", "60 H, 120 L")
		h.saw("GPIO2", "LH")
		h.saw("GPIO5", "")
		for _, i := range h.pins.Inputs() {
			if i.Name == "power" && !strings.HasPrefix(i.Shows, "1") {
				t.Errorf("the counter shows %q", i.Shows)
			}
		}
	})
}

func TestACorrectedActiveLowIsOneSwitch(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.boiler]\npin = \"GPIO1\"") // off is low, so the relay is on
		h.reload("[output.boiler]\npin = \"GPIO1\"\nactive_low = true")
		h.saw("GPIO1", "LH")
		h.hears("0 boiler OFF initial", "0 boiler OFF initial")
		h.set("boiler", true)
		h.saw("GPIO1", "LHL")
		h.reload("[output.boiler]\npin = \"GPIO1\"")
		h.saw("GPIO1", "LHLH") // it was on, it stays on
	})
}

func TestPinsMoveBetweenOutputs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.up]\npin = \"GPIO1\"\n[output.down]\npin = \"GPIO2\"\n[output.lamp]\npin = \"GPIO3\"")
		h.set("up", true)
		h.set("lamp", true)
		synctest.Wait()
		h.heard = nil

		// Two that were mixed up, and one that gets another name and is to be on.
		h.reload("[output.up]\npin = \"GPIO2\"\n[output.down]\npin = \"GPIO1\"\n[output.light]\npin = \"GPIO3\"\ninitial = \"on\"")
		h.hears("0 down OFF initial", "0 light ON initial", "0 up OFF initial")
		h.saw("GPIO1", "LHL")
		h.saw("GPIO2", "LL")
		h.saw("GPIO3", "LHH") // never off in between
		h.remembers("down GPIO1 OFF", "light GPIO3 ON", "up GPIO2 OFF")
		h.set("down", true)
		h.hears("0 down ON")
		if !h.sim.Level("GPIO1") {
			t.Error("down is not on GPIO1")
		}
	})
}

func TestAnOutputMovesToAnotherPin(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"")
		h.set("lamp", true)
		synctest.Wait()
		h.heard = nil
		h.reload("[output.lamp]\npin = \"GPIO2\"")
		h.hears("0 lamp OFF initial")
		h.saw("GPIO1", "LHL")
		h.saw("GPIO2", "L")
		h.holds("GPIO2")
		h.remembers("lamp GPIO2 OFF")
	})
}

func TestCommandsThatWaitBelongToTheOutputThatTheyWereFor(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.up]\npin = \"GPIO1\"\n[output.down]\npin = \"GPIO2\"")
		h.hears("0 up OFF initial", "0 down OFF initial")
		h.sim.Hang("GPIO1", true)
		h.set("up", true)
		synctest.Wait()
		h.reload("[output.up]\npin = \"GPIO2\"\n[output.down]\npin = \"GPIO1\"")
		h.sim.Hang("GPIO1", false)
		h.hears("0 down OFF initial", "0 up OFF initial") // and no "up ON" from the wrong pin
		h.saw("GPIO1", "LHL")
	})
}

func TestAPinChangesItsDirection(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"\n[input.pir]\npin = \"GPIO2\"")
		h.set("lamp", true)
		synctest.Wait()
		h.heard = nil
		h.reload("[output.lamp]\npin = \"GPIO2\"\ninitial = \"on\"\n[input.pir]\npin = \"GPIO1\"\npull = \"up\"")
		h.hears("0 lamp ON initial", "0 pir ON initial")
		h.saw("GPIO1", "LHLh") // safe before it is let go; then the pull-up
		h.saw("GPIO2", "H")
		h.drive("GPIO1", gpio.Low)
		h.set("lamp", false)
		h.hears("0 lamp OFF", "0 pir OFF")
	})
}

func TestAnInputWithOtherSettings(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[input.pir]\npin = \"GPIO1\"")
		h.reload("[input.pir]\npin = \"GPIO1\"\ndebounce = \"1s\"\nactive_low = true")
		h.hears("0 pir OFF initial", "0 pir ON initial")
		h.drive("GPIO1", gpio.High)
		time.Sleep(time.Second)
		h.hears("1 pir OFF")
		h.holds("GPIO1")
	})
}

func TestUndoLetsGoWhatPrepareTook(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"\n[output.stays]\npin = \"GPIO2\"")
		h.set("lamp", true)
		h.hears("0 lamp OFF initial", "0 lamp ON", "0 stays OFF initial")
		next := configured(t, `
			[output.lamp]
			pin = "GPIO1"
			active_low = true
			[output.fan]
			pin = "GPIO3"
			initial = "on"
			[input.door]
			pin = "GPIO4"
		`)
		c, err := h.pins.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		h.holds("GPIO1", "GPIO2", "GPIO3", "GPIO4")
		_, err = h.pins.Prepare(next)
		wantError(t, err, "another change of the pins is under way")
		c.Undo()
		c.Undo()
		c.Commit() // too late
		h.hears()
		h.holds("GPIO1", "GPIO2")
		h.saw("GPIO1", "LH")
		h.saw("GPIO2", "L")
		h.saw("GPIO3", "HL")
		h.remembers("lamp GPIO1 ON", "stays GPIO2 OFF")

		// A line that can't be had undoes the same.
		h.sim.Fail("GPIO4", errors.New("in use"))
		_, err = h.pins.Prepare(next)
		wantError(t, err, "input door on GPIO4: in use")
		h.holds("GPIO1", "GPIO2")
		h.sim.Fail("GPIO4", nil)
		h.reload("[output.lamp]\npin = \"GPIO1\"\n[output.fan]\npin = \"GPIO3\"\n[input.door]\npin = \"GPIO4\"")
		h.holds("GPIO1", "GPIO3", "GPIO4")
	})
}

func TestReloadWithALineThatHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.stuck]\npin = \"GPIO1\"\n[output.lamp]\npin = \"GPIO2\"")
		h.sim.Hang("GPIO1", true)
		h.set("stuck", true)
		time.Sleep(2 * time.Second)

		_, err := h.pins.Prepare(configured(t, "[output.stuck]\npin = \"GPIO1\"\nactive_low = true"))
		wantError(t, err, "output stuck on GPIO1: its settings can't be changed, it has not answered for 2s")

		// Without it a reload goes through at once.
		began := time.Now()
		h.reload("[output.lamp]\npin = \"GPIO2\"")
		if d := time.Since(began); d != 0 {
			t.Errorf("the reload took %v", d)
		}
		h.remembers("lamp GPIO2 OFF", "stuck GPIO1 ON") // not safe yet, so not forgotten

		// Its pin can't be had again before it is let go.
		_, err = h.pins.Prepare(configured(t, "[output.lamp]\npin = \"GPIO2\"\n[input.button]\npin = \"GPIO1\""))
		wantError(t, err, "input button on GPIO1: no answer within 1.5s")
		h.sim.Hang("GPIO1", false)
		synctest.Wait()
		h.holds("GPIO2")
		h.saw("GPIO1", "LHL")
		h.remembers("lamp GPIO2 OFF")
		h.reload("[output.lamp]\npin = \"GPIO2\"\n[input.button]\npin = \"GPIO1\"")
		h.holds("GPIO1", "GPIO2")
	})
}

// A line that did not answer is wanted again just when it does: the attempt that
// was given up lets it go before the new one takes it, not after.
func TestALineThatHangsIsPreparedAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"")
		next := configured(t, "[output.lamp]\npin = \"GPIO1\"\n[output.fan]\npin = \"GPIO2\"\ninitial = \"on\"")
		for range 20 {
			h.sim.Hang("GPIO2", true)
			_, err := h.pins.Prepare(next)
			wantError(t, err, "output fan on GPIO2: no answer within 1.5s")
			time.AfterFunc(time.Second/2, func() { h.sim.Hang("GPIO2", false) })
			c, err := h.pins.Prepare(next)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			h.holds("GPIO1", "GPIO2")
			if h.sim.Level("GPIO2") != gpio.High {
				t.Fatal("the fan is not on")
			}
			c.Undo()
			h.holds("GPIO1")
		}
	})
}

func TestUndoOfALineThatHangsMeanwhile(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"")
		next := configured(t, "[output.lamp]\npin = \"GPIO1\"\n[output.fan]\npin = \"GPIO2\"\ninitial = \"on\"")
		c, err := h.pins.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		h.sim.Hang("GPIO2", true)
		c.Undo()
		_, err = h.pins.Prepare(next)
		wantError(t, err, "output fan on GPIO2: no answer within 1.5s")
		h.sim.Hang("GPIO2", false)
		synctest.Wait()
		h.holds("GPIO1")
		h.saw("GPIO2", "HLHL")
	})
}

func TestReloadsWhileCommandsPileUp(t *testing.T) {
	inHouse(t, func(h *house) {
		toml := [2]string{"[output.lamp]\npin = \"GPIO1\"", "[output.lamp]\npin = \"GPIO1\"\nactive_low = true"}
		h.open(toml[0])
		h.sim.Hang("GPIO1", true)
		for range queueLimit + 1 {
			h.set("lamp", true)
			synctest.Wait()
		}
		for i := range queueReserve + 1 { // all before it is known that the line hangs
			if h.pins.Outputs()[0].Fault != "" {
				t.Fatalf("reload %d: %q", i, h.pins.Outputs()[0].Fault)
			}
			h.reload(toml[1-i%2])
		}
		if fault := h.pins.Outputs()[0].Fault; fault != "too many commands wait, the new settings were not applied" {
			t.Errorf("fault is %q", fault)
		}
		h.sim.Hang("GPIO1", false)
		synctest.Wait()
		h.set("lamp", true) // brings the settings of the last reload
		synctest.Wait()
		if o := h.pins.Outputs()[0]; !o.On || o.High || o.Fault != "" {
			t.Errorf("%+v", o)
		}
	})
}

func TestClosedBetweenPrepareAndCommit(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO1\"")
		c, err := h.pins.Prepare(configured(t, "[output.lamp]\npin = \"GPIO1\"\n[output.fan]\npin = \"GPIO2\"\ninitial = \"on\""))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		c.Commit()
		h.holds()
		h.saw("GPIO2", "HL")
	})
}

// Any commands and any reloads: after each, every output is as it was last told
// or declared, nothing else is held, and no pin has changed its level twice. A
// pulse would be two changes.
func TestNoSequenceOfReloadsMakesAPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// rapid asks a *testing.T for its deadline, which there is not in a bubble.
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
			h := &house{sim: NewSim(), began: time.Now()}
			draw := func() Config {
				var cfg Config
				pins := rapid.Permutation([]string{"GPIO1", "GPIO2", "GPIO3", "GPIO4", "GPIO5"}).Draw(t, "pins")
				for i, name := range []string{"a", "b", "c", "d"} {
					if rapid.Bool().Draw(t, name) {
						cfg.Output = append(cfg.Output, config.Named[Output]{Name: name, Value: Output{
							Pin:       pins[i],
							ActiveLow: rapid.Bool().Draw(t, "active_low"),
							Initial:   rapid.SampledFrom([]string{"", "off", "on"}).Draw(t, "initial"),
							Safe:      rapid.SampledFrom([]string{"", "on", "hold"}).Draw(t, "safe"),
						}})
					}
				}
				return cfg
			}
			cfg := draw()
			options := h.options()
			options.Store = nil
			pins, err := Open(cfg, options)
			if err != nil {
				t.Fatal(err)
			}
			on := map[string]bool{} // what each output was told, if anything
			for range rapid.IntRange(1, 12).Draw(t, "steps") {
				changes := map[string]int{}
				for _, pin := range h.sim.Names() {
					changes[pin] = levelChanges(h.sim, pin)
				}
				if len(cfg.Output) > 0 && rapid.Bool().Draw(t, "set") {
					o := rapid.SampledFrom(cfg.Output).Draw(t, "output")
					on[o.Name] = rapid.Bool().Draw(t, "on")
					if err := pins.Set(o.Name, on[o.Name]); err != nil {
						t.Fatal(err)
					}
				} else {
					next := draw()
					c, err := pins.Prepare(next)
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range cfg.Output {
						if now, ok := next.Output.Get(o.Name); !ok || now.Pin != o.Value.Pin {
							delete(on, o.Name) // gone, or something new by that name
						} else if _, told := on[o.Name]; !told {
							on[o.Name] = first(o.Value, nil, false, -1) // stays as it began, whatever is declared now
						}
					}
					c.Commit()
					cfg = next
				}
				synctest.Wait()

				held := map[string]bool{}
				for _, o := range cfg.Output {
					held[o.Value.Pin] = true
					want, told := on[o.Name]
					if !told {
						want = first(o.Value, nil, false, -1)
					}
					if got := h.sim.Level(o.Value.Pin); got != o.Value.level(want) {
						t.Errorf("%s with %+v is %v, want on = %v", o.Name, o.Value, got, want)
					}
				}
				for _, pin := range h.sim.Names() {
					if h.sim.Held(pin) != held[pin] {
						t.Errorf("%s is held: %v", pin, h.sim.Held(pin))
					}
					if n := levelChanges(h.sim, pin) - changes[pin]; n > 1 {
						t.Errorf("%s changed %d times: %s", pin, n, history(h.sim, pin))
					}
				}
			}
			if err := pins.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func levelChanges(sim *Sim, pin string) (n int) {
	level := gpio.Low
	for _, s := range sim.History(pin) {
		if s.Level != level {
			n++
		}
		level = s.Level
	}
	return n
}
