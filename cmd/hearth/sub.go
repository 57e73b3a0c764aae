package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/paho"

	"hearth/devices"
)

// subCommand prints each message as a line, topic, space, payload. Watching
// goes on over a restart of the hub. With --count or --timeout it is a script
// that waits for something, and a gap in the connection would make what it gets
// a lie: then a lost connection is an error.
type subCommand struct {
	Filters []string      `arg:"" name:"filter" help:"Topics, such as 'hearth/#' or 'zigbee2mqtt/+'."`
	Count   int           `short:"n" placeholder:"N" help:"End after so many messages."`
	Timeout time.Duration `placeholder:"TIME" help:"End after so long, such as 10s; with --count that is a failure."`
	Mark    string        `enum:"auto,always,never" default:"auto" placeholder:"WHEN" help:"Begin the lines of messages that were retained, so older than this command, with [retained]: auto (default: on a terminal), always or never."`
	Verbose bool          `short:"v" help:"Accepted for the habit: topic and payload are always printed."`
	brokerFlags
}

func (c *subCommand) Run(ctx context.Context, std streams) error {
	for _, filter := range c.Filters {
		if err := devices.CheckFilter(filter); err != nil {
			return usageError{fmt.Errorf("filter %q: %w", filter, err)}
		}
	}
	if c.Count < 0 || c.Timeout < 0 {
		return usageError{errors.New("--count and --timeout can't be negative")}
	}
	watching := c.Count == 0 && c.Timeout == 0
	p := &printer{
		w:      std.out,
		pretty: isTerminal(std.out),
		limit:  c.Count,
		done:   make(chan struct{}),
	}
	p.mark = c.Mark == "always" || c.Mark == "auto" && p.pretty

	signals := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	pause := firstPause
	for met := false; ; {
		connected, err := c.follow(ctx, std.err, p)
		switch {
		case p.finished():
			return p.err
		case signals.Err() != nil:
			return nil // asked to end
		case ctx.Err() != nil && c.Count > 0:
			return fmt.Errorf("%s of %d came within %v", count(p.n(), "message"), c.Count, c.Timeout)
		case ctx.Err() != nil && (met || connected):
			return nil
		case !watching, !met && !connected, errors.As(err, new(refusedError)):
			return err
		}
		if connected {
			met, pause = true, firstPause
		}
		fmt.Fprintf(std.err, "hearth: %v; trying again in %v\n", err, pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// A refusedError is a login or a subscription that the broker does not grant, or
// a broker that is not whom it claims to be; it would be so the next time.
type refusedError struct{ error }

// follow subscribes and prints what comes, until the connection or ctx ends or
// the printer has enough. It always returns an error; connected says whether it
// got as far as subscribing.
func (c *subCommand) follow(ctx context.Context, stderr io.Writer, p *printer) (connected bool, err error) {
	mqtt, err := c.connect(ctx, p.print)
	if err != nil {
		return false, err
	}
	defer mqtt.close()
	request := new(paho.Subscribe)
	for _, filter := range c.Filters {
		request.Subscriptions = append(request.Subscriptions, paho.SubscribeOptions{Topic: filter, QoS: 1})
	}
	open, cancel := mqtt.whileOpen(ctx)
	defer cancel()
	answer, err := mqtt.Subscribe(open, request)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case answer == nil:
		return false, fmt.Errorf("subscribe: %w", mqtt.because(err))
	}
	granted, err := c.judge(answer)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(stderr, "hearth: subscribed to %s\n", strings.Join(granted, " "))
	select {
	case <-p.done:
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	case <-mqtt.Done():
		return true, mqtt.because(io.EOF)
	}
}

// judge reads the broker's answer: what it granted, or an error that names
// every filter it refuses.
func (c *subCommand) judge(answer *paho.Suback) (granted []string, err error) {
	text := ""
	if answer.Properties != nil {
		text = answer.Properties.ReasonString
	}
	var refused []error
	for i, filter := range c.Filters {
		switch {
		case i >= len(answer.Reasons):
			refused = append(refused, fmt.Errorf("%s says nothing about a subscription to %s", c.Broker, filter))
		case answer.Reasons[i] >= 0x80:
			refused = append(refused, fmt.Errorf("%s refuses a subscription to %s: %s", c.Broker, filter, reason(answer.Reasons[i], text)))
		case answer.Reasons[i] == 0:
			granted = append(granted, filter+" (only QoS 0: some messages may be left out)")
		default:
			granted = append(granted, filter)
		}
	}
	if refused != nil {
		return nil, refusedError{errors.Join(refused...)}
	}
	return granted, nil
}

// A printer writes messages as lines, each with one write, so that a pipe has
// it at once.
type printer struct {
	w      io.Writer
	pretty bool // w is a terminal
	mark   bool // the retained ones
	limit  int  // 0: none

	mu      sync.Mutex
	printed int
	done    chan struct{} // closed when limit is reached or w takes no more
	err     error         // of w; to be read once done is closed
}

func (p *printer) print(m *paho.Publish) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished() {
		return nil
	}
	_, p.err = p.w.Write(line(m, p.mark, p.pretty))
	p.printed++
	if p.err != nil || p.printed == p.limit {
		close(p.done)
	}
	return p.err
}

func (p *printer) n() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed
}

func (p *printer) finished() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// line is how a message is printed. What goes to a file or another program is
// untouched; a terminal gets nothing that it could take for a command.
func line(m *paho.Publish, mark, pretty bool) []byte {
	var b []byte
	if mark && m.Retain {
		b = append(b, "[retained] "...)
	}
	if pretty {
		b = append(b, harmless([]byte(m.Topic))...)
		b = append(b, ' ')
		b = append(b, harmless(m.Payload)...)
	} else {
		b = append(b, m.Topic...)
		b = append(b, ' ')
		b = append(b, m.Payload...)
	}
	return append(b, '\n')
}

// harmless writes everything that is not plainly printable as Go would in a
// string: an escape character as \x1b, a line's end as \n. Whoever may publish
// could otherwise retitle, clear or answer in the terminal of whoever watches.
func harmless(text []byte) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}

// harmlessLines is a text of several lines without what could do something to a terminal.
func harmlessLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = harmless([]byte(line))
	}
	return strings.Join(lines, "\n")
}
