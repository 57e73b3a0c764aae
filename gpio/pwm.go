package gpio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// A dutyPin can be on in part.
type dutyPin interface {
	// PWM switches the pin on for that part of each period, in hardware.
	PWM(gpio.Duty, physic.Frequency) error
	// Duty is what the pin really has, physically: 0 is low, gpio.DutyMax high.
	Duty() (gpio.Duty, error)
}

const (
	pwmPeriod = time.Millisecond // of a pin that was only told Out
	// How long a channel may take to appear, and udev to give it to the group; less
	// than acquireLimit, so that it is said what is missing.
	pwmPatience = 800 * time.Millisecond
	pwmPause    = 10 * time.Millisecond
)

var pwmName = regexp.MustCompile(`^(pwmchip[0-9]+):(0|[1-9][0-9]{0,3})$`)

var (
	errOnlyPWM = errors.New("this is a PWM pin, it can't be an input")
	errDuty    = errors.New("want a duty from 0 to 100 % and a frequency from 1 µHz to 1 GHz")
)

func checkPWM(duty gpio.Duty, f physic.Frequency) error {
	if !duty.Valid() || f <= 0 || f.Period() <= 0 {
		return fmt.Errorf("duty %v at %v: %w", duty, f, errDuty)
	}
	return nil
}

// pwmPins are the PWM channels of the kernel, in root, by their names.
type pwmPins struct {
	root  string              // /sys/class/pwm
	sleep func(time.Duration) // nil: time.Sleep

	mu   sync.Mutex
	pins map[string]*pwmPin
}

// byName is the channel of that name. Chip and channel have to be there.
func (b *pwmPins) byName(pin string) (*pwmPin, error) {
	m := pwmName.FindStringSubmatch(pin)
	if m == nil {
		return nil, fmt.Errorf("want a PWM channel such as \"pwmchip0:1\", not %q", pin)
	}
	chip := filepath.Join(b.root, m[1])
	channels, err := readNumber(filepath.Join(chip, "npwm"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no PWM chip %s (is dtoverlay=pwm-2chan in config.txt?): %w", m[1], err)
	}
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(m[2])
	if int64(n) >= channels {
		return nil, fmt.Errorf("%s has %d channels, 0 to %d: there is no %d", chip, channels, channels-1, n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pins == nil {
		b.pins = map[string]*pwmPin{}
	}
	if b.pins[pin] == nil {
		p := &pwmPin{name: pin, chip: chip, channel: n, dir: filepath.Join(chip, "pwm"+m[2]), sleep: b.sleep}
		if p.sleep == nil {
			p.sleep = time.Sleep
		}
		b.pins[pin] = p
	}
	return b.pins[pin], nil
}

// names are all channels that there are.
func (b *pwmPins) names() (all []string) {
	chips, _ := filepath.Glob(filepath.Join(b.root, "pwmchip*")) // the pattern is good
	for _, chip := range chips {
		n, _ := readNumber(filepath.Join(chip, "npwm")) // a chip that can't be read is none
		for i := range n {
			all = append(all, fmt.Sprintf("%s:%d", filepath.Base(chip), i))
		}
	}
	return all
}

// pwmPin is one channel, an output only. It is taken by its first Out or PWM. The
// kernel lets nobody hold a channel alone: one that is there already is taken over
// as it is, as after a crash.
type pwmPin struct {
	name    string
	chip    string // the folder of its chip
	channel int
	dir     string // and its own, which is there while it is exported
	sleep   func(time.Duration)

	mu           sync.Mutex
	held         bool
	asked        gpio.Duty // what was last written, exactly;
	period, duty int64     // and in nanoseconds
}

func (p *pwmPin) Name() string   { return p.name }
func (p *pwmPin) String() string { return p.name }
func (p *pwmPin) Number() int    { return p.channel }

// Function says what the pin is now. It never changes it.
func (p *pwmPin) Function() string {
	duty, err := p.Duty()
	switch {
	case err != nil:
		return ""
	case duty == 0:
		return function(true, true, gpio.Low)
	case duty == gpio.DutyMax:
		return function(true, true, gpio.High)
	}
	return "PWM/" + duty.String()
}

// Out is all or nothing of the period that the pin has.
func (p *pwmPin) Out(l gpio.Level) error {
	duty := gpio.Duty(0)
	if l {
		duty = gpio.DutyMax
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drive(duty, 0)
}

// PWM gives the pin a duty; see dutyPin.
func (p *pwmPin) PWM(duty gpio.Duty, f physic.Frequency) error {
	if err := checkPWM(duty, f); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drive(duty, f.Period())
}

// drive writes period and duty; without a period that which is there stays. p.mu
// is held. After a failure the pin is taken anew.
func (p *pwmPin) drive(duty gpio.Duty, period time.Duration) error {
	err := p.take()
	if err == nil {
		err = p.set(duty, int64(period))
	}
	if err != nil {
		p.held = false
		return fmt.Errorf("PWM pin %s: %w", p.name, err)
	}
	return nil
}

// take exports the channel and waits until it can be written to. Polarity can
// only be changed while it is off.
func (p *pwmPin) take() error {
	if p.held {
		return nil
	}
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		if err := write(filepath.Join(p.chip, "export"), int64(p.channel)); err != nil {
			return err
		}
	}
	for waited := time.Duration(0); ; waited += pwmPause {
		err := p.writable()
		if err == nil {
			break
		}
		if waited >= pwmPatience || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		p.sleep(pwmPause)
	}
	polarity := filepath.Join(p.dir, "polarity")
	if text, err := os.ReadFile(polarity); err == nil && strings.TrimSpace(string(text)) != "normal" {
		if err := write(p.file("enable"), 0); err != nil {
			return err
		}
		if err := writeText(polarity, "normal"); err != nil {
			return err
		}
	}
	p.held = true
	return nil
}

func (p *pwmPin) file(name string) string { return filepath.Join(p.dir, name) }

// writable: the kernel makes the files for root, and udev then gives them away one
// by one.
func (p *pwmPin) writable() error {
	for _, name := range []string{"period", "duty_cycle", "enable"} {
		f, err := os.OpenFile(p.file(name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// set writes the files, and then that they count.
func (p *pwmPin) set(asked gpio.Duty, period int64) error {
	was, err := readNumber(p.file("period"))
	if err != nil {
		return err
	}
	if period == 0 {
		if period = was; period == 0 {
			period = int64(pwmPeriod)
		}
	}
	duty := dutyTime(asked, period)
	for _, w := range pwmOrder(was, period, duty) {
		if err := write(p.file(w.file), w.value); err != nil {
			return err
		}
	}
	enabled, err := readNumber(p.file("enable"))
	if err == nil && enabled != 1 {
		err = write(p.file("enable"), 1)
	}
	p.asked, p.period, p.duty = asked, period, duty
	return err
}

// A pwmWrite is what a file gets.
type pwmWrite struct {
	file  string
	value int64
}

// pwmOrder is what to write from a period that was. The duty is below the period at
// any moment, which the kernel demands; in between the pin is on for less than
// before or after, never for more than both.
func pwmOrder(was, period, duty int64) []pwmWrite {
	p, d := pwmWrite{"period", period}, pwmWrite{"duty_cycle", duty}
	switch {
	case period > was:
		return []pwmWrite{p, d}
	case period < was:
		return []pwmWrite{d, p}
	}
	return []pwmWrite{d}
}

// dutyTime is a part of a period, to the nearest nanosecond.
func dutyTime(d gpio.Duty, period int64) int64 {
	whole, rest := period/int64(gpio.DutyMax), period%int64(gpio.DutyMax)
	return whole*int64(d) + (rest*int64(d)+int64(gpio.DutyHalf))/int64(gpio.DutyMax)
}

// Duty reads back what the pin has. What was asked for is given exactly where the
// kernel has kept it to the nanosecond.
func (p *pwmPin) Duty() (gpio.Duty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.held {
		return 0, fmt.Errorf("read %s: it is not held", p.name)
	}
	var n [3]int64
	for i, name := range []string{"enable", "period", "duty_cycle"} {
		var err error
		if n[i], err = readNumber(p.file(name)); err != nil {
			return 0, fmt.Errorf("PWM pin %s: %w", p.name, err)
		}
	}
	switch enabled, period, duty := n[0] == 1, n[1], n[2]; {
	case !enabled || period <= 0 || duty <= 0:
		return 0, nil
	case period == p.period && duty == p.duty:
		return p.asked, nil
	default:
		return gpio.Duty(float64(gpio.DutyMax) * min(1, float64(duty)/float64(period))), nil
	}
}

// Level is High where the pin is on in part, too; Duty tells more.
func (p *pwmPin) Level() (gpio.Level, error) {
	duty, err := p.Duty()
	return duty > 0, err
}

// Read is Level for those who can do nothing about an error.
func (p *pwmPin) Read() gpio.Level {
	l, _ := p.Level()
	return l
}

// Halt lets the channel go. One that is on stays on: it is so because its owner
// declared it as the safe state, and a channel that is given back goes low.
func (p *pwmPin) Halt() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.held {
		return nil
	}
	p.held = false
	duty, err := readNumber(p.file("duty_cycle"))
	if err == nil && duty > 0 || errors.Is(err, fs.ErrNotExist) { // or it is gone by itself
		return nil
	}
	if err == nil {
		err = write(p.file("enable"), 0)
	}
	if err == nil {
		err = write(filepath.Join(p.chip, "unexport"), int64(p.channel))
	}
	if err != nil {
		return fmt.Errorf("PWM pin %s: %w", p.name, err)
	}
	return nil
}

func (p *pwmPin) In(gpio.Pull, gpio.Edge) error          { return fmt.Errorf("%s: %w", p.name, errOnlyPWM) }
func (p *pwmPin) Pull() gpio.Pull                        { return gpio.PullNoChange }
func (p *pwmPin) DefaultPull() gpio.Pull                 { return gpio.PullNoChange }
func (p *pwmPin) WaitForEdge(timeout time.Duration) bool { return false }

func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: want a number: %w", path, err)
	}
	return n, nil
}

func write(path string, n int64) error { return writeText(path, strconv.FormatInt(n, 10)) }

// writeText never makes a file: what is not there is an error.
func writeText(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
