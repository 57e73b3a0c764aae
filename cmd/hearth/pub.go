package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/eclipse/paho.golang/paho"

	"hearth/devices"
)

// maxPayload is more than any device takes, and keeps a mistaken pipe from
// filling the memory.
const maxPayload = 16 << 20

type pubCommand struct {
	Topic   string  `arg:"" help:"Where to, such as hearth/porch_light/set."`
	Payload *string `arg:"" optional:"" help:"What (after -- if it begins with a -); an empty one with --retain deletes what is retained. Without it all of standard input is one message, as it is."`
	Retain  bool    `short:"r" help:"Keep it for those who subscribe later."`
	QoS     byte    `name:"qos" short:"q" default:"1" placeholder:"N" help:"Quality of service: 1 (default) and 2 wait until the broker has accepted it, 0 only sends."`
	brokerFlags
}

// Run ends without an error when the broker has accepted the message, or with
// QoS 0 when it is sent.
func (c *pubCommand) Run(ctx context.Context, std streams) error {
	if err := devices.CheckTopic(c.Topic); err != nil {
		return usageError{fmt.Errorf("topic %q: %w", c.Topic, err)}
	}
	if c.QoS > 2 {
		return usageError{fmt.Errorf("--qos %d: want 0, 1 or 2", c.QoS)}
	}
	payload, err := c.payload(std)
	if err != nil {
		return err
	}
	mqtt, err := c.connect(ctx, nil)
	if err != nil {
		return err
	}
	defer mqtt.close()
	// It would cut the connection instead of answering. The rest of the packet
	// is at most 16 bytes as it is sent here.
	if size := len(c.Topic) + len(payload) + 16; mqtt.largest > 0 && size > int(mqtt.largest) {
		return fmt.Errorf("%s takes packets of at most %d bytes, and this message makes one of %d", c.Broker, mqtt.largest, size)
	}
	open, cancel := mqtt.whileOpen(ctx)
	defer cancel()
	answer, err := mqtt.Publish(open, &paho.Publish{Topic: c.Topic, Payload: payload, QoS: c.QoS, Retain: c.Retain})
	switch {
	case answer != nil && answer.ReasonCode >= 0x80:
		text := ""
		if answer.Properties != nil {
			text = answer.Properties.ReasonString
		}
		if answer.ReasonCode == 0x87 && text == "" && strings.HasPrefix(c.Topic, "hearth/") && !strings.HasSuffix(c.Topic, "/set") {
			text = "under hearth/ clients publish to hearth/<output>/set only"
		}
		return fmt.Errorf("%s refuses a message to %s: %s", c.Broker, c.Topic, reason(answer.ReasonCode, text))
	case ctx.Err() != nil:
		return errors.New("interrupted before the message was acknowledged, though the broker may have taken it")
	case err != nil:
		return fmt.Errorf("the message was not acknowledged, though the broker may have taken it: %w", mqtt.because(err))
	}
	return nil
}

func (c *pubCommand) payload(std streams) ([]byte, error) {
	if c.Payload != nil {
		return []byte(*c.Payload), nil
	}
	if isTerminal(std.in) {
		fmt.Fprintln(std.err, "hearth: type the message, then Ctrl-D")
	}
	payload, err := io.ReadAll(io.LimitReader(std.in, maxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("read the message from standard input: %w", err)
	}
	if len(payload) > maxPayload {
		return nil, fmt.Errorf("the message on standard input is longer than %d MiB", maxPayload>>20)
	}
	return payload, nil
}

// isTerminal reports whether a person sits at the other end, nearly: /dev/null
// counts as one too, where it does no harm.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
