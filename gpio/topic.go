package gpio

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// topicPin stands for a device on a topic, so that what drives pins drives it
// too. It is at the level that was sent last: nobody can read it back.
type topicPin struct {
	name string

	mu    sync.Mutex
	level gpio.Level
	sent  time.Time // when; zero if nothing was
}

// A device that was told a word says so, and where that leads back to its output
// it is told the same again: for ever, unless what was just said is not repeated.
const echoLimit = time.Second

// echoed reports whether a job asks for the word that was sent a moment ago.
func (l *line) echoed(j job) bool {
	pin, ok := l.pin.(*topicPin)
	if !ok {
		return false
	}
	pin.mu.Lock()
	defer pin.mu.Unlock()
	return pin.level == gpio.Level(j.on) && !pin.sent.IsZero() && time.Since(pin.sent) < echoLimit
}

// told notes what has to be taken for what was sent.
func (p *topicPin) told(l gpio.Level) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = l
}

// Read is the level that was sent last.
func (p *topicPin) Read() gpio.Level {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level
}

func (p *topicPin) String() string   { return p.name }
func (p *topicPin) Name() string     { return p.name }
func (p *topicPin) Number() int      { return -1 }
func (p *topicPin) Function() string { return "Out/" + p.Read().String() }
func (p *topicPin) Halt() error      { return nil }

// Out is not how a word is sent: see line.put.
func (p *topicPin) Out(gpio.Level) error { return errTopic }

func (p *topicPin) In(gpio.Pull, gpio.Edge) error         { return errTopic }
func (p *topicPin) Pull() gpio.Pull                       { return gpio.PullNoChange }
func (p *topicPin) DefaultPull() gpio.Pull                { return gpio.PullNoChange }
func (p *topicPin) WaitForEdge(time.Duration) bool        { return false }
func (p *topicPin) PWM(gpio.Duty, physic.Frequency) error { return errNoPWM }

// onTopic reports whether the line is no line but a topic.
func (l *line) onTopic() bool {
	_, ok := l.pin.(*topicPin)
	return ok
}

var errTopic = errors.New("this output is a topic, it can only be sent words")

// pin is what an output or input is on. Those of topics are the same if name and
// topic are: the words may change.
func (p *Pins) pin(name string, o Output) (gpio.PinIO, error) {
	switch {
	case o.Topic == "":
		return p.bank.ByName(o.Pin)
	case p.opt.Publish == nil:
		return nil, errors.New("there is nothing to publish with")
	}
	return &topicPin{name: fmt.Sprintf("%s as %s", o.Topic, name)}, nil
}

// put makes an output be on, at a level, or off.
func (l *line) put(o Output, on bool, level float64, from devices.Origin) error {
	pin, ok := l.pin.(*topicPin)
	if !ok {
		return l.set(o, on, level)
	}
	if err := l.p.opt.Publish(devices.Message{Topic: o.Topic, Payload: []byte(o.word(on)), Origin: from}); err != nil {
		return err
	}
	pin.mu.Lock()
	defer pin.mu.Unlock()
	pin.level, pin.sent = gpio.Level(on), time.Now()
	return nil
}
