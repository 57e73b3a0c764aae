package gpio

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// fakePWM is a folder as the kernel's /sys/class/pwm, with one chip of two
// channels. Files are plain, so a test plays the kernel where that does something.
type fakePWM struct {
	t    *testing.T
	root string
	pins *pwmPins
}

func newFakePWM(t *testing.T) *fakePWM {
	f := &fakePWM{t: t, root: t.TempDir()}
	must(t, os.Mkdir(f.path(""), 0o755))
	f.set("npwm", "2\n")
	f.set("export", "")
	f.set("unexport", "")
	f.pins = &pwmPins{root: f.root, sleep: func(time.Duration) { t.Error("it waits, and there is nothing to wait for") }}
	return f
}

func (f *fakePWM) path(name string) string { return filepath.Join(f.root, "pwmchip0", name) }

func (f *fakePWM) set(name, text string) {
	f.t.Helper()
	must(f.t, os.WriteFile(f.path(name), []byte(text), 0o644))
}

// export is what the kernel does when a channel is exported.
func (f *fakePWM) export(channel string) {
	f.t.Helper()
	must(f.t, os.Mkdir(f.path(channel), 0o755))
	for name, text := range map[string]string{"period": "0\n", "duty_cycle": "0\n", "enable": "0\n", "polarity": "normal\n"} {
		f.set(channel+"/"+name, text)
	}
}

// says expects the files of a channel: period, duty and enable.
func (f *fakePWM) says(channel, want string) {
	f.t.Helper()
	var got []string
	for _, name := range []string{"period", "duty_cycle", "enable"} {
		text, err := os.ReadFile(f.path(channel + "/" + name))
		must(f.t, err)
		got = append(got, strings.TrimSpace(string(text)))
	}
	if s := strings.Join(got, " "); s != want {
		f.t.Errorf("%s is %s, want %s", channel, s, want)
	}
}

func (f *fakePWM) pin(name string) *pwmPin {
	f.t.Helper()
	p, err := f.pins.byName(name)
	must(f.t, err)
	return p
}

func percent(n float64) gpio.Duty { return gpio.Duty(n / 100 * float64(gpio.DutyMax)) }

func TestAPWMPin(t *testing.T) {
	f := newFakePWM(t)
	f.export("pwm1") // as after a crash; else the folder comes later
	p := f.pin("pwmchip0:1")
	must(t, p.Out(gpio.Low))
	f.says("pwm1", "1000000 0 1")
	must(t, p.PWM(percent(25), 100*physic.Hertz))
	f.says("pwm1", "10000000 2500000 1")
	if d, err := p.Duty(); err != nil || d != percent(25) {
		t.Error(d, err)
	}
	must(t, p.PWM(percent(25), 20*physic.KiloHertz))
	f.says("pwm1", "50000 12500 1")
	must(t, p.Out(gpio.High)) // with the period that it has
	f.says("pwm1", "50000 50000 1")
	if l, err := p.Level(); err != nil || l != gpio.High {
		t.Error(l, err)
	}
	// A part that is no whole number of nanoseconds is still what was asked for.
	must(t, p.PWM(percent(33.3333), 30*physic.KiloHertz))
	if d, err := p.Duty(); err != nil || d != percent(33.3333) {
		t.Error(d, err)
	}
	// Somebody else has changed it.
	f.set("pwm1/duty_cycle", "16666")
	if d, err := p.Duty(); err != nil || max(d-gpio.DutyHalf, gpio.DutyHalf-d) > gpio.DutyMax/1000 {
		t.Error(d, err)
	}
	f.set("pwm1/enable", "0")
	if d, err := p.Duty(); err != nil || d != 0 {
		t.Error(d, err)
	}
	must(t, p.Out(gpio.Low))
	must(t, p.Halt())
	f.says("pwm1", "33333 0 0")
	if text, _ := os.ReadFile(f.path("unexport")); string(text) != "1" {
		t.Errorf("unexport got %q", text)
	}
	_, err := p.Duty()
	wantError(t, err, "it is not held")
}

// A channel that is given back goes low. So one whose safe state is high is not.
func TestAPWMPinThatIsHighStaysSo(t *testing.T) {
	f := newFakePWM(t)
	f.export("pwm0")
	p := f.pin("pwmchip0:0")
	must(t, p.Out(gpio.High))
	must(t, p.Halt())
	f.says("pwm0", "1000000 1000000 1")
	if text, _ := os.ReadFile(f.path("unexport")); len(text) > 0 {
		t.Errorf("unexport got %q", text)
	}
}

// At no moment is the duty longer than the period, which the kernel refuses, and
// at none is the pin on for more than before and after.
func TestTheOrderOfPeriodAndDuty(t *testing.T) {
	periods := []int64{0, 1, 50000, 1000000, 10000000}
	duties := []gpio.Duty{0, 1, percent(30), gpio.DutyHalf, gpio.DutyMax}
	for _, was := range periods {
		for _, had := range duties {
			for _, period := range periods[1:] {
				for _, duty := range duties {
					nowPeriod, nowDuty := was, dutyTime(had, was)
					part := func() float64 { return float64(nowDuty) / float64(max(nowPeriod, 1)) }
					most := max(part(), float64(dutyTime(duty, period))/float64(period))
					for _, w := range pwmOrder(was, period, dutyTime(duty, period)) {
						if w.file == "period" {
							nowPeriod = w.value
						} else {
							nowDuty = w.value
						}
						if nowDuty > nowPeriod || part() > most {
							t.Fatalf("from %v of %d to %v of %d: in between it is %d of %d", had, was, duty, period, nowDuty, nowPeriod)
						}
					}
					if nowPeriod != period || nowDuty != dutyTime(duty, period) {
						t.Fatalf("it is %d of %d", nowDuty, nowPeriod)
					}
				}
			}
		}
	}
}

// The kernel makes the folder at once, and udev gives it to the group later.
func TestAPWMPinThatTakesItsTime(t *testing.T) {
	f := newFakePWM(t)
	slept := 0
	f.pins.sleep = func(time.Duration) {
		if slept++; slept == 5 {
			f.export("pwm1")
		}
	}
	p := f.pin("pwmchip0:1")
	must(t, p.Out(gpio.High))
	f.says("pwm1", "1000000 1000000 1")
	if text, _ := os.ReadFile(f.path("export")); string(text) != "1" || slept != 5 {
		t.Errorf("export got %q, and it waited %d times", text, slept)
	}

	f = newFakePWM(t) // where it never comes
	var waited time.Duration
	f.pins.sleep = func(d time.Duration) { waited += d }
	p = f.pin("pwmchip0:0")
	wantError(t, p.Out(gpio.High), "PWM pin pwmchip0:0: open "+f.path("pwm0/period")+": no such file or directory")
	if waited != pwmPatience || waited >= acquireLimit {
		t.Errorf("waited %v", waited)
	}
	f.export("pwm0") // and then all the same
	must(t, p.Out(gpio.High))
}

// A channel that somebody has left with the polarity turned round.
func TestAPWMPinWithAnotherPolarity(t *testing.T) {
	f := newFakePWM(t)
	f.export("pwm0")
	f.set("pwm0/polarity", "inversed\n")
	f.set("pwm0/enable", "1\n")
	p := f.pin("pwmchip0:0")
	must(t, p.Out(gpio.Low))
	if text, _ := os.ReadFile(f.path("pwm0/polarity")); string(text) != "normal" {
		t.Errorf("polarity %q", text)
	}
	f.says("pwm0", "1000000 0 1")
}

func TestWhatAPWMPinCanNotDo(t *testing.T) {
	f := newFakePWM(t)
	f.export("pwm0")
	_, err := f.pins.byName("pwmchip1:0")
	wantError(t, err, "no PWM chip pwmchip1 (is dtoverlay=pwm-2chan in config.txt?)", filepath.Join(f.root, "pwmchip1/npwm"))
	_, err = f.pins.byName("pwmchip0:2")
	wantError(t, err, "has 2 channels, 0 to 1: there is no 2")
	p := f.pin("pwmchip0:0")
	wantError(t, p.In(gpio.PullUp, gpio.BothEdges), "pwmchip0:0: this is a PWM pin, it can't be an input")
	for _, tt := range []struct {
		duty gpio.Duty
		f    physic.Frequency
	}{{-1, physic.Hertz}, {gpio.DutyMax + 1, physic.Hertz}, {0, 0}, {0, -physic.Hertz}} {
		wantError(t, p.PWM(tt.duty, tt.f), "want a duty from 0 to 100 % and a frequency")
	}
	must(t, p.Out(gpio.Low))
	must(t, os.RemoveAll(f.path("pwm0"))) // the driver is unloaded
	f.pins.sleep = nil
	_, err = p.Duty()
	wantError(t, err, f.path("pwm0/enable"))
	must(t, p.Halt())

	b := newKernelBank("/dev", []*kernelChip{{path: "/dev/gpiochip0", name: "gpiochip0", label: "pinctrl-bcm2711", lines: []string{"GPIO0"}}})
	b.pwm = pwmPins{root: f.root}
	if names := b.Names(); !slices.Equal(names, []string{"GPIO0", "pwmchip0:0", "pwmchip0:1"}) {
		t.Error(names)
	}
	first, err := b.ByName("pwmchip0:1")
	must(t, err)
	if again, _ := b.ByName("pwmchip0:1"); again != first {
		t.Error("the same pin is another value")
	}
	if _, ok := first.(dutyPin); !ok {
		t.Error("it has no duty")
	}
}

func TestASimulatedPWMPin(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open("[output.fan]\npin = \"pwmchip0:1\"")
		h.set("fan", true)
		h.saw("pwmchip0:1", "LH")
		pin := h.pins.outputs[0].pin
		d := pin.(dutyPin)
		must(t, d.PWM(percent(40), physic.KiloHertz))
		if got, err := d.Duty(); err != nil || got != percent(40) {
			t.Error(got, err)
		}
		wantError(t, d.PWM(2*gpio.DutyMax, physic.KiloHertz), "pwmchip0:1")
		var duties []string
		for _, s := range h.sim.History("pwmchip0:1") {
			duties = append(duties, s.Duty.String())
		}
		if got := strings.Join(duties, " "); got != "0% 100% 40%" {
			t.Error(got)
		}
		wantError(t, pin.In(gpio.Float, gpio.BothEdges), "can't be an input")
		plain, _ := h.sim.ByName("GPIO1")
		if _, ok := plain.(dutyPin); ok {
			t.Error("a plain pin has a duty")
		}
	})
}
