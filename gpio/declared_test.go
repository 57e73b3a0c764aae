package gpio

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
)

// What is declared holds where two things meet: a limit and a reload, a level and
// a restart, a time and a line that was gone.

func (h *house) command(c devices.Command) {
	h.t.Helper()
	if err := h.pins.Command(c); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) stop() {
	h.t.Helper()
	time.Sleep(2 * time.Second)
	if err := h.pins.Close(); err != nil {
		h.t.Fatal(err)
	}
}

func TestALineThatIsHeldComesBackAsAfterARestart(t *testing.T) {
	gone := errors.New("no such device")
	const lamp = "[output.lamp]\npin = \"GPIO1\"\nsafe = \"hold\"\n"
	away := func(h *house, pin string, d time.Duration) {
		h.sim.Fail(pin, gone)
		time.Sleep(d)
		h.sim.Fail(pin, nil)
		time.Sleep(2 * time.Second)
	}
	t.Run("what was for a time does not go on for ever", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp)
			h.command(devices.Command{Output: "lamp", Value: true, For: 10 * time.Second})
			away(h, "GPIO1", 5*time.Second)
			time.Sleep(time.Hour)
			if h.pins.Outputs()[0].On {
				t.Error("a lamp that was to be on for 10s is on for ever")
			}
		})
	})
	t.Run("max_on does not begin anew", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp + "max_on = \"1m\"")
			h.set("lamp", true)
			time.Sleep(40 * time.Second)
			away(h, "GPIO1", 5*time.Second)
			time.Sleep(30 * time.Second)
			h.wantSwitched("GPIO1", "0 H, 60 L")
		})
	})
	t.Run("a reload meanwhile changes nothing", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp)
			h.set("lamp", true)
			time.Sleep(10 * time.Second)
			h.sim.Fail("GPIO1", gone)
			time.Sleep(5 * time.Second)
			h.reload(lamp + "min_on = \"1s\"")
			h.sim.Fail("GPIO1", nil)
			time.Sleep(5 * time.Second)
			h.wantSwitched("GPIO1", "0 H")
		})
	})
	t.Run("a level is the one that it was", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open("[output.strip]\npin = \"pwmchip0:0\"\nfrequency = \"1kHz\"\nsafe = \"hold\"")
			h.command(devices.Command{Output: "strip", Value: 25.0})
			time.Sleep(10 * time.Second)
			away(h, "pwmchip0:0", 5*time.Second)
			if i := h.pins.Outputs()[0]; i.Level != 25 {
				t.Errorf("the level is %v", i.Level)
			}
		})
	})
}

// A line that was gone is not asked for leave: what it does when it is back has to
// be right whatever the others do.
func TestWhatDoesNotComeBackOn(t *testing.T) {
	const two = "[output.a]\npin = \"GPIO1\"\nsafe = \"hold\"\n[output.b]\npin = \"GPIO2\"\nsafe = \"hold\"\n"
	gone := errors.New("no such device")
	t.Run("what never went on", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(two)
			h.sim.Fail("GPIO1", gone)
			h.set("a", true)
			time.Sleep(time.Minute)
			h.sim.Fail("GPIO1", nil)
			time.Sleep(time.Minute)
			h.wantSwitched("GPIO1", "")
		})
	})
	t.Run("two that are interlocked since", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(two)
			h.set("a", true)
			h.set("b", true)
			time.Sleep(time.Second)
			h.sim.Fail("GPIO1", gone)
			h.sim.Fail("GPIO2", gone)
			time.Sleep(4 * time.Second)
			h.reload(two + "[interlock.x]\noutputs = [\"a\", \"b\"]")
			h.sim.Fail("GPIO1", nil)
			time.Sleep(10 * time.Second)
			h.sim.Fail("GPIO2", nil)
			time.Sleep(10 * time.Second)
			for _, o := range h.pins.Outputs() {
				if o.On && o.Name == "a" {
					t.Error("a is on, and nobody knew what b was")
				}
			}
		})
	})
}

func TestALevelOverARestart(t *testing.T) {
	for name, toml := range map[string]string{
		"hold": "[output.heater]\npin = \"GPIO1\"\nperiod = \"10s\"\nsafe = \"hold\"",
		"last": "[output.heater]\npin = \"GPIO1\"\nperiod = \"10s\"\ninitial = \"last\"",
		"PWM":  "[output.heater]\npin = \"pwmchip0:0\"\nfrequency = \"1kHz\"\ninitial = \"last\"",
	} {
		for _, crash := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.open(toml)
					h.command(devices.Command{Output: "heater", Value: 30.0})
					if crash {
						h.crash()
					} else {
						h.stop()
					}
					h.open(toml)
					time.Sleep(time.Second)
					if i := h.pins.Outputs()[0]; i.Level != 30 {
						t.Errorf("crash %v: the level is %v after a restart, want 30", crash, i.Level)
					}
				})
			})
		}
	}
}

func TestTheLastStateOfOneWithLimits(t *testing.T) {
	for name, toml := range map[string]string{
		"min_off":   "[output.lamp]\npin = \"GPIO1\"\ninitial = \"last\"\nmin_off = \"5s\"\n[output.b]\npin = \"GPIO2\"",
		"interlock": "[output.lamp]\npin = \"GPIO1\"\ninitial = \"last\"\n[output.b]\npin = \"GPIO2\"\n[interlock.x]\noutputs = [\"lamp\", \"b\"]",
		"group":     "[output.lamp]\npin = \"GPIO1\"\ninitial = \"last\"\n[output.b]\npin = \"GPIO2\"\n[group.x]\noutputs = [\"lamp\", \"b\"]\nmost = 1",
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.open(toml)
				time.Sleep(10 * time.Second)
				h.set("lamp", true)
				h.stop()
				time.Sleep(time.Minute)
				h.open(toml)
				time.Sleep(10 * time.Second)
				if !h.pins.Outputs()[0].On {
					t.Error("it was on before the stop and is off after the start")
				}
			})
		})
	}
}

// What somebody said before a crash was said, also if it could not be done yet.
func TestAnOffThatIsStillToComeIsNotForgotten(t *testing.T) {
	t.Run("min_on", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const pump = "[output.pump]\npin = \"GPIO1\"\nsafe = \"hold\"\nmin_on = \"1m\""
			h.open(pump)
			h.set("pump", true)
			time.Sleep(5 * time.Second)
			h.set("pump", false)
			h.crash()
			h.open(pump)
			time.Sleep(5 * time.Minute)
			if h.pins.Outputs()[0].On {
				t.Error("it was told to be off, and is on for ever")
			}
		})
	})
	t.Run("a ramp", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const strip = "[output.strip]\npin = \"pwmchip0:0\"\nfrequency = \"1kHz\"\nramp = \"10m\"\nsafe = \"hold\""
			h.open(strip)
			h.command(devices.Command{Output: "strip", Value: true, Ramp: time.Second})
			time.Sleep(5 * time.Second)
			h.set("strip", false)
			h.crash()
			h.open(strip)
			time.Sleep(time.Hour)
			if h.pins.Outputs()[0].On {
				t.Error("it was on its way to off, and is on for ever")
			}
		})
	})
}

func TestStartsWhereTheClockIsNotKnown(t *testing.T) {
	const pump = "[output.pump]\npin = \"GPIO1\"\nstarts = \"2/1h\""
	for _, before := range []bool{true, false} {
		inHouse(t, func(h *house) {
			open := func(known bool) {
				options := h.options()
				options.Now = func() devices.Now {
					return devices.Now{Mono: time.Since(h.began), Wall: time.Now(), Known: known}
				}
				var err error
				if h.pins, err = Open(configured(t, pump), options); err != nil {
					t.Fatal(err)
				}
			}
			open(before)
			for range 2 {
				h.set("pump", true)
				time.Sleep(time.Minute)
				h.set("pump", false)
			}
			h.crash()
			open(false)
			h.set("pump", true)
			time.Sleep(30 * time.Minute)
			h.wantSwitched("GPIO1", "")
			time.Sleep(time.Hour)
			h.wantSwitched("GPIO1", "3722 H")
		})
	}
}

// A clock that is read twice says two times. Nothing has happened between them, so
// nothing is written.
func TestTheCardIsSpared(t *testing.T) {
	inHouse(t, func(h *house) {
		options := h.options()
		tick := time.Duration(0)
		options.Now = func() devices.Now {
			tick += 137
			return devices.Now{Mono: time.Since(h.began), Wall: time.Now().Add(tick), Known: true}
		}
		var err error
		if h.pins, err = Open(configured(t, "[output.pump]\npin = \"GPIO1\"\nstarts = \"3/1h\""), options); err != nil {
			t.Fatal(err)
		}
		h.set("pump", true)
		synctest.Wait()
		h.pins.mu.Lock()
		before := h.pins.kept["pump"]
		h.pins.mu.Unlock()
		time.Sleep(time.Minute)
		h.set("pump", true)
		h.pins.mu.Lock()
		defer h.pins.mu.Unlock()
		if after := h.pins.kept["pump"]; !after.same(before) {
			t.Errorf("the same state is kept anew: %+v, then %+v", before, after)
		}
	})
}

func TestReloadOfLimitsWhileItIsOn(t *testing.T) {
	const lamp = "[output.lamp]\npin = \"GPIO1\"\n"
	t.Run("one becomes momentary", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp)
			h.set("lamp", true)
			time.Sleep(10 * time.Second)
			h.reload(lamp + "momentary = \"30s\"")
			time.Sleep(time.Hour)
			h.wantSwitched("GPIO1", "0 H, 30 L")
		})
	})
	t.Run("one becomes momentary while its command waits", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp + "min_off = \"20s\"")
			h.set("lamp", true)
			time.Sleep(10 * time.Second)
			h.reload(lamp + "min_off = \"20s\"\nmomentary = \"1s\"")
			time.Sleep(time.Hour)
			h.wantSwitched("GPIO1", "20 H, 21 L")
		})
	})
	t.Run("fewer starts", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp + "starts = \"5/1h\"")
			for range 3 {
				h.set("lamp", true)
				time.Sleep(time.Second)
				h.set("lamp", false)
			}
			h.reload(lamp + "starts = \"2/1h\"")
			h.set("lamp", true)
			time.Sleep(2 * time.Hour)
			h.wantSwitched("GPIO1", "0 H, 1 L, 1 H, 2 L, 2 H, 3 L, 3601 H")
		})
	})
	t.Run("a shorter period", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(lamp + "period = \"10h\"")
			h.command(devices.Command{Output: "lamp", Value: 50.0})
			time.Sleep(10 * time.Second)
			h.reload(lamp + "period = \"10s\"")
			time.Sleep(22 * time.Second)
			h.wantSwitched("GPIO1", "0 H, 15 L, 20 H, 25 L, 30 H")
		})
	})
	const strip = "[output.strip]\npin = \"pwmchip0:0\"\n"
	t.Run("one on its way to off loses its levels", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(strip + "frequency = \"1kHz\"\nramp = \"10s\"")
			h.command(devices.Command{Output: "strip", Value: true, Ramp: time.Second})
			time.Sleep(5 * time.Second)
			h.set("strip", false)
			time.Sleep(time.Second)
			h.reload(strip)
			time.Sleep(time.Hour)
			if h.pins.Outputs()[0].On {
				t.Error("it was told to be off, and is on for ever")
			}
		})
	})
	t.Run("a level on other pulses", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(strip + "frequency = \"50Hz\"\nrange = \"1ms to 2ms\"")
			h.command(devices.Command{Output: "strip", Value: 50.0})
			time.Sleep(5 * time.Second)
			before := h.sim.History("pwmchip0:0")
			h.reload(strip + "frequency = \"50Hz\"\nrange = \"2ms to 4ms\"")
			after := h.sim.History("pwmchip0:0")
			if a, b := before[len(before)-1].Duty, after[len(after)-1].Duty; b < 2*a-1 || b > 2*a+1 {
				t.Errorf("the duty was %v and is %v, want twice that", a, b)
			}
		})
	})
	t.Run("a group of which too many are on: as many stay on as may", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const three = "[output.a]\npin = \"GPIO1\"\n[output.b]\npin = \"GPIO2\"\n[output.c]\npin = \"GPIO3\"\n"
			h.open(three)
			for _, name := range []string{"a", "b", "c"} {
				h.set(name, true)
			}
			time.Sleep(time.Second)
			h.reload(three + "[group.x]\noutputs = [\"a\", \"b\", \"c\"]\nmost = 2")
			on := 0
			for _, o := range h.pins.Outputs() {
				if o.On {
					on++
				}
			}
			if on != 2 {
				t.Errorf("%d are on, want 2", on)
			}
		})
	})
	t.Run("an interlock with one of which nobody knows how it is", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const two = "[output.a]\npin = \"GPIO1\"\n[output.b]\npin = \"GPIO2\"\n"
			h.open(two)
			h.set("a", true)
			h.set("b", true)
			synctest.Wait()
			h.sim.Fail("GPIO1", errors.New("bus error")) // and its relay is on
			time.Sleep(5 * time.Second)
			h.reload(two + "[interlock.x]\noutputs = [\"a\", \"b\"]")
			if h.pins.Outputs()[1].On {
				t.Error("b is on, and a is on")
			}
			h.sim.Fail("GPIO1", nil)
			time.Sleep(5 * time.Second)
		})
	})
	t.Run("a feedback: its fault is told from then on", func(t *testing.T) {
		inHouse(t, func(h *house) {
			const with = "[input.shows]\npin = \"GPIO2\"\n"
			h.open(lamp + with)
			h.hears("0 lamp OFF initial", "0 shows OFF initial")
			h.reload(lamp + "feedback = \"shows\"\n" + with)
			h.hears("0 lamp.fault none initial")
		})
	})
}

func TestARampFromOffIsNoFault(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.strip]\npin = \"pwmchip0:0\"\nfrequency = \"1kHz\"\nramp = \"1s\"")
		h.hears("0 strip OFF initial", "0 strip.level 0 initial")
		h.set("strip", true)
		synctest.Wait()
		if i := h.pins.Outputs()[0]; i.Fault != "" {
			t.Errorf("a ramp begins with a fault: %s", i.Fault)
		}
		time.Sleep(2 * time.Second)
		h.hears("0 strip ON", "0 strip.level 100", "1 strip ON")
	})
}

func TestNoHeldButtonAtAStart(t *testing.T) {
	last := kept{Pin: "GPIO1", On: true}
	if first(Output{Pin: "GPIO1", Momentary: 1}, &last, true, 0) {
		t.Error("a button is pressed at the start")
	}
}

// A word that was not taken is said again: max_on is not over with one attempt.
func TestAnOffThatFailedIsTriedAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		var refuse atomic.Bool
		options := h.options()
		publish := options.Publish
		options.Publish = func(m devices.Message) error {
			if refuse.Load() {
				return errors.New("nobody takes it")
			}
			return publish(m)
		}
		var err error
		if h.pins, err = Open(configured(t, "[output.plug]\ntopic = \"cmnd/plug/POWER\"\nmax_on = \"1m\""), options); err != nil {
			t.Fatal(err)
		}
		h.set("plug", true)
		synctest.Wait()
		refuse.Store(true)
		time.Sleep(2 * time.Minute)
		refuse.Store(false)
		time.Sleep(time.Minute)
		if h.pins.Outputs()[0].On {
			t.Error("it is on for ever")
		}
	})
}

// A hub that takes no reading does not make a fault of a feedback that followed.
func TestAFeedbackWhileTheHubIsStalled(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(valve + "[output.noise]\npin = \"GPIO3\"")
		h.full = make(chan struct{})
		for range 600 {
			h.set("noise", true)
		}
		synctest.Wait()
		for range 4 {
			h.set("valve", true)
			time.Sleep(time.Second)
			h.drive("GPIO2", gpio.High)
			time.Sleep(10 * time.Second)
			h.pins.Set("valve", false)
			time.Sleep(time.Second)
			h.drive("GPIO2", gpio.Low)
			time.Sleep(10 * time.Second)
		}
		close(h.full)
		synctest.Wait()
		if f := h.pins.Outputs()[0].Fault; f != "" {
			t.Errorf("the valve obeys, and has a fault: %s", f)
		}
	})
}

// One that is told to be on and hangs may go on at any moment; the next waits for it.
func TestInrushOfALineThatHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.a]\npin = \"GPIO1\"\n[output.b]\npin = \"GPIO2\"\n[group.x]\noutputs = [\"a\", \"b\"]\nstagger = \"2s\"")
		h.sim.Hang("GPIO1", true)
		h.set("a", true)
		time.Sleep(time.Second)
		h.set("b", true)
		time.Sleep(4 * time.Second)
		h.sim.Hang("GPIO1", false)
		time.Sleep(10 * time.Second)
		h.wantSwitched("GPIO1", "5 H")
		h.wantSwitched("GPIO2", "7 H")
	})
}

// A slow load that rests at a crash has not been off for long enough at the start.
func TestMinOffOfASlowLoadOverACrash(t *testing.T) {
	inHouse(t, func(h *house) {
		const heater = "[output.heater]\npin = \"GPIO1\"\nperiod = \"20s\"\nmin_off = \"10s\"\nsafe = \"hold\""
		h.open(heater)
		time.Sleep(10 * time.Second)
		h.command(devices.Command{Output: "heater", Value: 40.0})
		time.Sleep(8 * time.Second) // and off from then on
		h.crash()
		h.open(heater)
		time.Sleep(15 * time.Second)
		h.wantSwitched("GPIO1", "30 H")
		if i := h.pins.Outputs()[0]; i.Level != 40 {
			t.Errorf("the level is %v", i.Level)
		}
	})
}

// initial is about the start. A reload of other settings does not switch on what
// somebody has switched off.
func TestAReloadIsNoStart(t *testing.T) {
	inHouse(t, func(h *house) {
		const lamp = "[output.lamp]\npin = \"GPIO1\"\ninitial = \"on\"\nmin_off = \"1s\"\n"
		h.open(lamp)
		time.Sleep(10 * time.Second)
		h.set("lamp", false)
		time.Sleep(10 * time.Second)
		h.reload(lamp + "max_on = \"1h\"")
		time.Sleep(10 * time.Second)
		h.wantSwitched("GPIO1", "1 H, 10 L")
	})
}

// A line that hung switches late, and what is kept says when it really did: after a
// crash no limit counts from the command.
func TestALateSwitchIsKeptAsItWas(t *testing.T) {
	inHouse(t, func(h *house) {
		const pumps = "[output.often]\npin = \"GPIO1\"\nstarts = \"1/20s\"\n[output.rests]\npin = \"GPIO2\"\nmin_off = \"20s\""
		h.open(pumps)
		time.Sleep(30 * time.Second)
		h.set("rests", true)
		synctest.Wait()
		h.sim.Hang("GPIO1", true)
		h.sim.Hang("GPIO2", true)
		h.set("often", true)
		h.set("rests", false)
		time.Sleep(10 * time.Second)
		h.sim.Hang("GPIO1", false)
		h.sim.Hang("GPIO2", false)
		synctest.Wait() // both are switched at 40 s
		h.crash()
		h.open(pumps)
		h.set("often", true)
		h.set("rests", true)
		time.Sleep(time.Minute)
		h.wantSwitched("GPIO1", "60 H")
		h.wantSwitched("GPIO2", "60 H")
	})
}
