package gpio

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hearth/config"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// What the owner writes of an output in a form of its own.

// Rate is so many in any time of that length, written "6/1h".
type Rate struct {
	Most int
	Per  time.Duration
}

const maxRate = 60

func (r *Rate) UnmarshalText(text []byte) error {
	n, per, ok := strings.Cut(string(text), "/")
	most, err := strconv.Atoi(strings.TrimSpace(n))
	d, wrong := config.ParseDuration(strings.TrimSpace(per))
	if !ok || err != nil || wrong != nil || most < 1 || most > maxRate || d <= 0 || time.Duration(d) > 24*time.Hour {
		return fmt.Errorf(`want how often in which time, such as "6/1h": from 1 to %d, in at most a day`, maxRate)
	}
	*r = Rate{most, time.Duration(d)}
	return nil
}

func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string {
	if r.Most == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%v", r.Most, config.Duration(r.Per))
}

// Frequency is that of a PWM, written "1kHz" or "50Hz".
type Frequency physic.Frequency

func (f *Frequency) UnmarshalText(text []byte) error {
	var p physic.Frequency
	if err := p.Set(strings.TrimSpace(string(text))); err != nil || p < physic.Hertz || p > 10*physic.MegaHertz {
		return errors.New(`want a frequency such as "1kHz", from 1Hz to 10MHz`)
	}
	*f = Frequency(p)
	return nil
}

func (f Frequency) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
func (f Frequency) String() string               { return physic.Frequency(f).String() }

// Range is the shortest and the longest pulse, written "1ms to 2ms". Which
// of them belongs to the lowest level is told by the order.
type Range struct{ From, To time.Duration }

func (r *Range) UnmarshalText(text []byte) error {
	from, to, ok := strings.Cut(string(text), "to")
	a, wrong := config.ParseDuration(strings.TrimSpace(from))
	b, wrong2 := config.ParseDuration(strings.TrimSpace(to))
	if !ok || wrong != nil || wrong2 != nil || a == b {
		return errors.New(`want two lengths of a pulse, such as "1ms to 2ms"`)
	}
	*r = Range{time.Duration(a), time.Duration(b)}
	return nil
}

func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Range) String() string {
	if r == (Range{}) {
		return ""
	}
	return fmt.Sprintf("%v to %v", config.Duration(r.From), config.Duration(r.To))
}

// duty is the part of each period that the pin is high at a level in percent,
// while it is on. The lowest level of a range is its first pulse; off is no pulse,
// so what is on has one of a nanosecond at least, also where a ramp begins.
func (o Output) duty(level float64) gpio.Duty {
	part, period := level/100, float64(physic.Frequency(o.Frequency).Period())
	if o.Range != (Range{}) {
		width := float64(o.Range.From) + part*float64(o.Range.To-o.Range.From)
		part = width / period
	}
	part = max(part, 1/period, 1/float64(gpio.DutyMax))
	if o.ActiveLow {
		part = 1 - part
	}
	return gpio.Duty(part*float64(gpio.DutyMax) + 0.5)
}
