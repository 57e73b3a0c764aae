package gpio

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hearth/store"

	"periph.io/x/conn/v3/gpio"
)

func TestOutputsStartAsDeclared(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(`
			[output.plain]
			pin = "GPIO1"
			[output.relay]
			pin = "GPIO2"
			active_low = true
			[output.fan]
			pin = "GPIO3"
			initial = "on"
			[output.frost_valve]
			pin = "GPIO4"
			active_low = true
			safe = "on"
		`)
		// Each pin was driven once: there is no level in between.
		h.saw("GPIO1", "L")
		h.saw("GPIO2", "H")
		h.saw("GPIO3", "H")
		h.saw("GPIO4", "L")
		for _, o := range h.pins.Outputs() {
			if want := o.Name == "fan" || o.Name == "frost_valve"; o.On != want || !o.Known || o.Fault != "" {
				t.Errorf("%+v, want on = %v", o, want)
			}
		}
		h.remembers("fan GPIO3 ON", "frost_valve GPIO4 ON", "plain GPIO1 OFF", "relay GPIO2 OFF")
	})
}

// A relay board pulls its inputs up, so they are off before anybody holds the
// pins. From there to the end of the hub the relay only moves on command.
func TestActiveLowRelayNeverPulses(t *testing.T) {
	inHouse(t, func(h *house) {
		h.drive("GPIO17", gpio.High)
		h.open("[output.boiler]\npin = \"GPIO17\"\nactive_low = true")
		h.hears("0 boiler OFF initial")
		h.saw("GPIO17", "hH")
		h.set("boiler", true)
		h.saw("GPIO17", "hHL")
		h.hears("0 boiler ON")
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		h.saw("GPIO17", "hHLH")
		h.hears("0 boiler OFF")
		h.holds()
	})
}

func TestCommandsAreSwitchedInOrderAndReadBack(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO5\"")
		h.hears("0 lamp OFF initial")
		for _, on := range []bool{true, false, false, true} {
			h.set("lamp", on)
		}
		// The second OFF is written too: something else may have touched the pin.
		h.saw("GPIO5", "LHLLH")
		h.hears("0 lamp ON", "0 lamp OFF", "0 lamp OFF", "0 lamp ON")
		wantError(t, h.pins.Set("lmap", true), `no output "lmap", did you mean "lamp"?`)
	})
}

func TestAHangingLineStallsOnlyItself(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(`
			[output.stuck]
			pin = "GPIO1"
			[output.lamp]
			pin = "GPIO2"
			[input.pir]
			pin = "GPIO3"
		`)
		h.hears("0 stuck OFF initial", "0 lamp OFF initial", "0 pir OFF initial")
		h.sim.Hang("GPIO1", true)
		for range queueLimit {
			h.set("stuck", true)
		}
		synctest.Wait()
		h.set("stuck", false) // the first one is with the pin
		wantError(t, h.pins.Set("stuck", false), "output stuck on GPIO1: 1024 commands wait already")

		time.Sleep(3 * time.Second)
		h.set("lamp", true)
		h.drive("GPIO3", gpio.High)
		h.hears("3 lamp ON", "3 pir ON")
		if fault := h.pins.Outputs()[0].Fault; fault != "no answer for 3s" {
			t.Errorf("fault is %q", fault)
		}

		began := time.Now()
		err := h.pins.Close()
		wantError(t, err, "output stuck on GPIO1: no answer within 400ms")
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
		h.saw("GPIO2", "LHL")

		// If it ever comes back the line is made safe; the queue is forgotten.
		h.sim.Hang("GPIO1", false)
		h.saw("GPIO1", "LHL")
		h.holds()
	})
}

func TestAHubThatTakesNothingKeepsNoOutputFromItsSafeLevel(t *testing.T) {
	inHouse(t, func(h *house) {
		h.full = make(chan struct{})
		h.open("[output.pump]\npin = \"GPIO1\"\n[output.lamp]\npin = \"GPIO2\"")
		for range 500 {
			h.set("pump", true)
		}
		h.set("lamp", true)
		synctest.Wait()
		began := time.Now()
		wantError(t, h.pins.Close(), "the last readings were not taken")
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
		for _, pin := range []string{"GPIO1", "GPIO2"} {
			if h.sim.Level(pin) == gpio.High || h.sim.Held(pin) {
				t.Errorf("%s is %v, held %v", pin, h.sim.Level(pin), h.sim.Held(pin))
			}
		}
		close(h.full)
	})
}

func TestWhatGoesWrongIsSaidWithTheLevelThatIs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO5\"")
		h.hears("0 lamp OFF initial")
		h.sim.Fail("GPIO5", errors.New("bus error"))
		h.set("lamp", true)
		h.hears("0 lamp bad: bus error")
		o := h.pins.Outputs()[0]
		if o.Known || o.Fault == "" {
			t.Errorf("%+v", o)
		}
		h.sim.Fail("GPIO5", nil)
		time.Sleep(2 * time.Second)
		h.hears("2 lamp OFF") // nobody is sure of what was wanted before
		h.set("lamp", true)
		h.hears("2 lamp ON")
		if o := h.pins.Outputs()[0]; !o.On || !o.High || o.Fault != "" {
			t.Errorf("%+v", o)
		}
	})
}

func TestInputs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.drive("GPIO3", gpio.High)
		h.open(`
			[input.pir]
			pin = "GPIO1"
			[input.button]           # to ground
			pin = "GPIO2"
			pull = "up"
			active_low = true
			debounce = "50ms"
			[input.door]
			pin = "GPIO3"
		`)
		h.hears("0 pir OFF initial", "0 button OFF initial", "0 door ON initial")
		h.saw("GPIO2", "h") // the pull-up

		// Without debounce each edge counts.
		h.drive("GPIO1", gpio.High)
		h.hears("0 pir ON")
		h.drive("GPIO1", gpio.Low)
		h.hears("0 pir OFF")

		// A contact bounces for 20 ms; 50 ms after the last bounce it is pressed.
		for range 5 {
			time.Sleep(2 * time.Millisecond)
			h.drive("GPIO2", gpio.Low)
			time.Sleep(2 * time.Millisecond)
			h.drive("GPIO2", gpio.High)
		}
		h.drive("GPIO2", gpio.Low) // at 20 ms
		time.Sleep(49 * time.Millisecond)
		h.hears()
		time.Sleep(time.Millisecond)
		h.hears("0.07 button ON")

		// A spike is nothing.
		h.drive("GPIO2", gpio.High)
		time.Sleep(49 * time.Millisecond)
		h.drive("GPIO2", gpio.Low)
		time.Sleep(time.Second)
		h.hears()
		if i := h.pins.Inputs()[1]; !i.On || i.High || i.Pin != "GPIO2" {
			t.Errorf("%+v", i)
		}
	})
}

func TestTheHubDrivesSimulatedInputs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[input.button]\npin = \"GPIO2\"\npull = \"up\"\nactive_low = true\n[output.lamp]\npin = \"GPIO3\"")
		h.hears("0 lamp OFF initial", "0 button OFF initial")
		if err := h.pins.Drive("button", true); err != nil {
			t.Error(err)
		}
		h.hears("0 button ON")
		wantError(t, h.pins.Drive("lamp", true), `no input "lamp"`)
		wantError(t, h.sim.Drive("GPIO3", gpio.High), "GPIO3 is an output")
	})
}

// More edges than anything can hold: what is lost is counted, and the last word
// is the level that the line has.
func TestLostEdgesAreCountedAndTheLevelIsReadAnew(t *testing.T) {
	inHouse(t, func(h *house) {
		h.full = make(chan struct{})
		h.open("[input.meter]\npin = \"GPIO1\"")
		level := gpio.Low
		for range 1001 {
			level = !level
			h.drive("GPIO1", level)
			synctest.Wait()
		}
		close(h.full)
		synctest.Wait()
		h.mu.Lock()
		last := h.heard[len(h.heard)-1]
		h.mu.Unlock()
		i := h.pins.Inputs()[0]
		if last.Value != true || !i.On {
			t.Errorf("last heard %+v, input is %+v", last, i)
		}
		if i.Lost == 0 {
			t.Error("no edge was lost, the story tells nothing")
		}
	})
}

func TestALineThatIsTakenCanBeTriedAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		cfg := configured(t, `
			[output.lamp]
			pin = "GPIO1"
			[output.taken]
			pin = "GPIO2"
			[output.nowhere]
			pin = "GPIO99"
			[input.pir]
			pin = "GPIO4"
		`)
		h.sim.Fail("GPIO2", syscall.EBUSY)
		_, err := Open(cfg, h.options())
		wantError(t, err, `nowhere on GPIO99: simulated pins: no pin "GPIO99", did you mean "GPIO9"?`)
		h.saw("GPIO1", "") // nothing is touched for a configuration that can't be

		cfg.Output = cfg.Output[:2]
		if h.pins, err = Open(cfg, h.options()); err != nil { // the rest of the house does not wait for it
			t.Fatal(err)
		}
		h.set("lamp", true)
		synctest.Wait()
		h.holds("GPIO1", "GPIO4")
		h.hears("0 lamp OFF initial", "0 lamp ON", "0 pir OFF initial", "0 taken bad: device or resource busy initial")
		wantError(t, h.pins.Set("taken", true), "taken: its line does not answer")

		time.Sleep(59500 * time.Millisecond)
		h.sim.Fail("GPIO2", nil)
		time.Sleep(2500 * time.Millisecond)
		h.holds("GPIO1", "GPIO2", "GPIO4")
		h.hears("60 taken OFF")
		h.set("taken", true)
		synctest.Wait()
		h.saw("GPIO2", "LH")

		// A change of a configuration that runs asks for all that it needs.
		h.sim.Fail("GPIO3", syscall.EBUSY)
		_, err = h.pins.Prepare(configured(t, "[output.lamp]\npin = \"GPIO3\""))
		wantError(t, err, "output lamp on GPIO3: device or resource busy")
		if !errors.Is(err, syscall.EBUSY) {
			t.Error("the error hides that the line is busy")
		}
	})
}

func TestALineThatHangsAtStart(t *testing.T) {
	inHouse(t, func(h *house) {
		h.sim.Hang("GPIO2", true)
		cfg := configured(t, "[output.lamp]\npin = \"GPIO1\"\n[output.stuck]\npin = \"GPIO2\"\ninitial = \"on\"")
		began := time.Now()
		_, err := Open(cfg, h.options())
		wantError(t, err, "output stuck on GPIO2: no answer within 1.5s")
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("Open took %v", d)
		}
		h.holds()
		// It answers when nobody wants it any more: it goes back, safe.
		h.sim.Hang("GPIO2", false)
		h.saw("GPIO2", "HL")
		h.holds()
	})
}

func TestAfterACrash(t *testing.T) {
	const before = `
		[output.boiler]
		pin = "GPIO1"
		active_low = true
		[output.valve]
		pin = "GPIO2"
		safe = "on"
		[output.night_light]
		pin = "GPIO3"
		safe = "hold"
		[output.gone]
		pin = "GPIO4"
	`
	start := func(h *house) {
		h.open(before)
		h.set("boiler", true)
		h.set("valve", false)
		h.set("night_light", true)
		h.set("gone", true)
		h.crash()
		for pin, want := range map[string]gpio.Level{"GPIO1": gpio.Low, "GPIO2": gpio.Low, "GPIO3": gpio.High, "GPIO4": gpio.High} {
			if h.sim.Level(pin) != want {
				t.Fatalf("%s is %v after the crash, the story needs %v", pin, h.sim.Level(pin), want)
			}
		}
		h.heard = nil
	}
	t.Run("hearth safe", func(t *testing.T) {
		inHouse(t, func(h *house) {
			start(h)
			if err := Safe(h.sim, h.st); err != nil {
				t.Error(err)
			}
			h.saw("GPIO1", "H")
			h.saw("GPIO2", "H")
			h.saw("GPIO3", "") // hold: left alone
			h.saw("GPIO4", "L")
			h.holds()
		})
	})
	t.Run("safe names what it can't do and does the rest", func(t *testing.T) {
		inHouse(t, func(h *house) {
			start(h)
			h.st.Put(store.Record{Kind: store.Output, Key: "torn", Value: []byte("{")}, 0, nil)
			h.sim.Fail("GPIO2", syscall.EBUSY)
			h.sim.Hang("GPIO4", true)
			err := Safe(h.sim, h.st)
			wantError(t, err, "kept output torn", "valve on GPIO2: device or resource busy", "gone on GPIO4: no answer within 1.5s")
			h.saw("GPIO1", "H")
			h.sim.Hang("GPIO4", false)
		})
	})
	t.Run("the next start", func(t *testing.T) {
		inHouse(t, func(h *house) {
			start(h)
			h.open(`
				[output.night_light]
				pin = "GPIO3"
				safe = "hold"
				initial = "off"
				[output.valve]
				pin = "GPIO12"
				safe = "on"
				[input.button]
				pin = "GPIO1"
			`)
			h.hears("2 night_light ON initial", "2 valve ON initial", "2 button OFF initial")
			h.saw("GPIO3", "H")  // as it was
			h.saw("GPIO12", "H") // the valve has moved here,
			h.saw("GPIO2", "H")  // and is safe where it was
			h.saw("GPIO4", "L")  // no longer configured
			h.saw("GPIO1", "")   // the button's now: not driven
			h.remembers("night_light GPIO3 ON", "valve GPIO12 ON")
		})
	})
	t.Run("what can't be made safe is not forgotten", func(t *testing.T) {
		inHouse(t, func(h *house) {
			start(h)
			h.sim.Fail("GPIO1", syscall.EBUSY)
			h.sim.Hang("GPIO4", true)
			h.open("[output.lamp]\npin = \"GPIO5\"")
			h.saw("GPIO2", "H")
			h.remembers("boiler GPIO1 ON", "gone GPIO4 ON", "lamp GPIO5 OFF")
			h.sim.Hang("GPIO4", false)
			h.saw("GPIO4", "L")
			h.remembers("boiler GPIO1 ON", "lamp GPIO5 OFF")
			h.hears("2 lamp OFF initial")
		})
	})
	t.Run("hold on another pin is another thing", func(t *testing.T) {
		inHouse(t, func(h *house) {
			start(h)
			h.open("[output.night_light]\npin = \"GPIO13\"\nsafe = \"hold\"")
			h.hears("2 night_light OFF initial")
		})
	})
}

func TestWhatIsKeptIsOnDiskWithinASecond(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO5\"")
		time.Sleep(time.Minute)
		h.set("lamp", true)
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		now := t.TempDir() // what a power cut would leave
		if err := os.CopyFS(now, os.DirFS(h.dir)); err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(now, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		last, err := keptOutputs(st)
		if want := (kept{Pin: "GPIO5", On: true, Cycles: 1, Since: h.began.Add(time.Minute).UnixNano()}); err != nil || !last["lamp"].same(want) {
			t.Errorf("on disk: %+v, %v", last, err)
		}

		// A command that changes nothing costs the card nothing.
		before, err := os.ReadFile(h.dir + "/hearth.log")
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			h.set("lamp", true)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if after, err := os.ReadFile(h.dir + "/hearth.log"); err != nil || !bytes.Equal(after, before) {
			t.Errorf("the log has changed (%v)", err)
		}
	})
}

func TestAfterCloseNothingMoves(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.lamp]\npin = \"GPIO5\"")
		if err := h.pins.Close(); err != nil {
			t.Error(err)
		}
		wantError(t, h.pins.Set("lamp", true), "the pins are closed")
		_, err := h.pins.Prepare(Config{})
		wantError(t, err, "the pins are closed")
		h.saw("GPIO5", "LL")
		if err := h.pins.Close(); err != nil {
			t.Error("the second Close:", err)
		}
	})
}
