package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

const (
	defaultBroker = "127.0.0.1:1883"
	connectLimit  = 10 * time.Second
	// A hub that is very busy holds acknowledgements back, so this is long.
	acknowledgeLimit = 30 * time.Second
	keepAlive        = 30 // seconds
)

// brokerFlags is shared by pub and sub.
type brokerFlags struct {
	Broker string `default:"127.0.0.1:1883" env:"HEARTH_BROKER" placeholder:"ADDRESS" help:"Where the broker listens: host:port, tls://host:port or unix:///path, the usual port may be left out; default 127.0.0.1:1883."`
	loginFlags
}

// A client is one MQTT 5 connection, with no session that outlives it.
type client struct {
	*paho.Client
	address string
	largest uint32 // packet that the broker takes, in bytes; 0: any

	once  sync.Once
	told  chan struct{} // closed when ended is known
	ended error         // why the connection ended
}

// connect opens a connection and logs in. Errors say what to do about them.
// receive, which may be nil, gets each message, one after the other; an error
// from it ends the connection.
func (f *brokerFlags) connect(ctx context.Context, receive func(*paho.Publish) error) (*client, error) {
	at, err := f.dialAddress()
	if err != nil {
		return nil, usageError{err}
	}
	password, err := f.password()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectLimit, fmt.Errorf("no answer within %v", connectLimit))
	defer cancel()
	conn, err := f.dial(ctx, at)
	if errors.As(err, new(usageError)) {
		return nil, err
	}
	if err != nil {
		return nil, f.whyNotConnected(ctx, err)
	}
	c := &client{address: f.Broker, told: make(chan struct{})}
	conf := paho.ClientConfig{
		Conn:               packets.NewThreadSafeConn(conn),
		PacketTimeout:      acknowledgeLimit,
		OnClientError:      c.end,
		OnServerDisconnect: func(d *paho.Disconnect) { c.end(disconnected(d)) },
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){},
	}
	if receive != nil {
		conf.OnPublishReceived = append(conf.OnPublishReceived, func(p paho.PublishReceived) (bool, error) {
			return true, receive(p.Packet)
		})
	}
	c.Client = paho.NewClient(conf)
	answer, err := c.Connect(ctx, &paho.Connect{
		ClientID:   "hearth-cli-" + strings.ToLower(rand.Text()[:12]),
		CleanStart: true,
		KeepAlive:  keepAlive,

		Username: f.User, UsernameFlag: f.User != "",
		Password: password, PasswordFlag: password != nil,
	})
	switch {
	case answer != nil && answer.ReasonCode >= 0x80:
		text := ""
		if answer.Properties != nil {
			text = answer.Properties.ReasonString
		}
		why := f.notLetIn(answer.ReasonCode)
		if why == "" {
			why = reason(answer.ReasonCode, text)
		} else if text != "" {
			why += " (" + harmless([]byte(text)) + ")"
		}
		err := fmt.Errorf("%s does not let this client in: %s", f.Broker, why)
		switch answer.ReasonCode {
		case 0x84, 0x85, 0x86, 0x87, 0x8a: // the same the next time, and a ban for those who insist
			return nil, refusedError{err}
		}
		return nil, err
	case err != nil:
		return nil, f.whyNotConnected(ctx, err)
	case answer.Properties != nil && answer.Properties.MaximumPacketSize != nil:
		c.largest = *answer.Properties.MaximumPacketSize
	}
	return c, nil
}

// An endpoint is where to dial.
type endpoint struct {
	network, address string
	secure           bool
}

func (f brokerFlags) dialAddress() (endpoint, error) {
	wrong := fmt.Errorf("--broker %s: want host:port, such as %s, tls://host:port or unix:///path; the usual port may be left out", f.Broker, defaultBroker)
	scheme, rest, found := strings.Cut(f.Broker, "://")
	if !found {
		scheme, rest = "tcp", f.Broker
	}
	at, port := endpoint{network: "tcp"}, "1883"
	switch scheme {
	case "unix":
		at.network = "unix"
	case "tcp", "mqtt":
	case "tls", "ssl", "mqtts":
		at.secure, port = true, "8883"
	case "ws", "wss":
		return at, fmt.Errorf("%w: MQTT over WebSocket is for pages in a browser", wrong)
	default:
		return at, wrong
	}
	if at.network == "tcp" {
		if strings.LastIndexByte(rest, ':') <= strings.LastIndexByte(rest, ']') { // those within brackets are of IPv6
			rest += ":" + port
		}
		if host, _, err := net.SplitHostPort(rest); err != nil || host == "" {
			return at, wrong
		}
	}
	at.address = rest
	return at, f.check(at.secure)
}

// dial connects and, for TLS, makes sure with whom.
func (f brokerFlags) dial(ctx context.Context, at endpoint) (net.Conn, error) {
	if !at.secure {
		return new(net.Dialer).DialContext(ctx, at.network, at.address)
	}
	host, _, _ := net.SplitHostPort(at.address)
	conf, err := f.tls(host)
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, at.network, at.address)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) { // of a handshake, for connecting has no such end
		err = errNoTLS
	}
	return conn, err
}

var errNoTLS = errors.New("it does not speak TLS there: want its port for TLS, or tcp:// for one without")

func (f brokerFlags) whyNotConnected(ctx context.Context, err error) error {
	at, _ := f.dialAddress()
	host, _, _ := net.SplitHostPort(at.address)
	if why := f.notTrusted(err, host); at.secure && why != "" {
		return refusedError{fmt.Errorf("connect to %s: %s", f.Broker, why)}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("nothing listens on %s: is hearth serve running? (--broker names another address)", f.Broker)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		hint := ""
		switch {
		case at.secure && f.Cert == "":
			hint = " It may want to see a certificate of this client: --cert FILE --key FILE."
		case !at.secure && at.network == "tcp":
			hint = " One with TLS wants tls://" + at.address + "."
		}
		return fmt.Errorf("%s closed the connection: is it an MQTT broker?%s", f.Broker, hint)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fmt.Errorf("connect to %s: %w", f.Broker, err)
}

// end notes why the connection ended; the first reason counts.
func (c *client) end(err error) {
	c.once.Do(func() {
		c.ended = err
		close(c.told)
	})
}

// whileOpen is ctx, but ends with the connection too: paho sometimes goes on
// waiting for an answer that can't come any more.
func (c *client) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-c.Done():
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// because says why a request got no answer, where err is what paho says of it.
func (c *client) because(err error) error {
	switch {
	case errors.Is(err, paho.ErrInvalidArguments):
		return fmt.Errorf("%s can't do this: %w", c.address, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %v", c.address, acknowledgeLimit)
	}
	// The connection is gone. The reason comes on a goroutine of paho's, which
	// may be a moment later.
	select {
	case <-c.told:
	case <-time.After(time.Second):
	}
	select {
	case <-c.told:
		if !errors.Is(c.ended, io.EOF) && !errors.Is(c.ended, net.ErrClosed) {
			return fmt.Errorf("connection to %s: %w", c.address, c.ended)
		}
	default:
	}
	return fmt.Errorf("%s closed the connection", c.address)
}

// close says goodbye.
func (c *client) close() {
	c.Disconnect(&paho.Disconnect{}) // an error says that it is closed already
}

func disconnected(d *paho.Disconnect) error {
	text := ""
	if d.Properties != nil {
		text = d.Properties.ReasonString
	}
	return errors.New("ended by the broker: " + reason(d.ReasonCode, text))
}

// reason puts an MQTT 5 reason code into words; text is what the broker says
// itself, if anything.
func reason(code byte, text string) string {
	words, ok := map[byte]string{
		0x80: "it does not say why",
		0x81: "it could not read the packet",
		0x82: "it says the protocol was not kept",
		0x83: "it is valid, but not accepted",
		0x84: "it does not speak MQTT 5",
		0x85: "it does not accept the client's name",
		0x86: "user name or password is wrong",
		0x87: "not allowed",
		0x88: "it is not available now",
		0x89: "it is busy, try again later",
		0x8a: "banned",
		0x8b: "it is stopping",
		0x8d: "nothing was heard from this client for too long",
		0x8e: "another client came with the same name",
		0x8f: "this topic filter is not accepted",
		0x90: "this topic is not accepted",
		0x93: "too many messages at once",
		0x95: "the message is too large",
		0x96: "too many messages in a short time",
		0x97: "a limit is exceeded",
		0x98: "an administrator ended it",
		0x99: "the payload is not of the form it claims to be",
		0x9a: "it keeps no retained messages",
		0x9b: "it does not serve this quality of service",
		0x9e: "it has no shared subscriptions",
		0xa2: "it has no subscriptions with wildcards",
	}[code]
	if !ok {
		words = fmt.Sprintf("reason 0x%02x", code)
	}
	if text != "" {
		words += " (" + harmless([]byte(text)) + ")"
	}
	return words
}
