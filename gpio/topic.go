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
}

// told notes what was sent, or what has to be taken for it.
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

var errTopic = errors.New("this output is a topic, it can only be sent words")

// pin is what an output or input is on. Those of topics are the same if name and
// topic are: the words may change.
func (p *Pins) pin(name string, o Output) (gpio.PinIO, error) {
	switch {
	case o.Topic == "":
		return p.opt.Bank.ByName(o.Pin)
	case p.opt.Publish == nil:
		return nil, errors.New("there is nothing to publish with")
	}
	return &topicPin{name: fmt.Sprintf("%s as %s", o.Topic, name)}, nil
}

// put makes an output be on or off.
func (l *line) put(o Output, on bool, from devices.Origin) error {
	pin, ok := l.pin.(*topicPin)
	if !ok {
		return l.pin.Out(o.level(on))
	}
	l.p.opt.Publish(devices.Message{Topic: o.Topic, Payload: []byte(o.word(on)), Origin: from})
	pin.told(gpio.Level(on))
	return nil
}
