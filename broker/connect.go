package broker

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/broker/topic"
)

// loginWithin is how long a login may take: a Pi checks one password at a time.
const loginWithin = 20 * time.Second

// Attach serves a connection that the process itself made, until it ends. It needs
// no login.
func (b *Broker) Attach(nc net.Conn) {
	b.serve(nc, &entrance{local: true})
}

// serve serves a connection until it ends.
func (b *Broker) serve(nc net.Conn, e *entrance) {
	if !b.begin() {
		nc.Close()
		return
	}
	defer b.wg.Done()
	c := b.newConn(nc, *e)
	b.mu.Lock()
	b.conns[c] = true
	closed := b.closed
	b.mu.Unlock()
	if closed || e.listener != nil && e.listener.isClosed() {
		c.end(packets.ErrAdministrativeAction) // endAll may have missed it
	}

	err := c.connect()
	if err == nil {
		err = c.read()
	}
	if c.session != nil {
		c.leave()
	}
	c.end(err)
	c.writer.Wait()
	c.cancel(err)
	c.explain(err)
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	close(c.done)
	c.linger(err)
	nc.Close()
}

// explain logs why a connection ended, unless it is how they do every day.
func (c *conn) explain(err error) {
	level := slog.LevelDebug
	var code packets.Code
	why := "it went away"
	switch {
	case err == nil || quiet(err):
	case errors.As(err, &code):
		why = cmp.Or(err.Error(), code.Reason)
		if code.Code >= packets.ErrUnspecifiedError.Code && !errors.Is(err, packets.ErrServerShuttingDown) {
			level = slog.LevelWarn
		}
	case errors.Is(err, errStalled):
		why, level = err.Error(), slog.LevelWarn
	default:
		why = err.Error()
	}
	args := []any{"client", c.id, "user", c.user, "from", c.address(), "why", why}
	if level == slog.LevelDebug {
		c.b.tellLog(level, "a connection ended", args...)
	} else {
		c.b.mention(level, "a connection ended", fmt.Sprint(code.Code), args...)
	}
}

func (c *conn) address() string {
	if c.from.addr.IsValid() {
		return c.nc.RemoteAddr().String()
	}
	return "this machine"
}

// connect takes CONNECT, and answers it.
func (c *conn) connect() error {
	var pk packets.Packet
	due := c.from.due
	if due.IsZero() {
		due = time.Now().Add(c.lim.connectWithin)
	}
	c.nc.SetReadDeadline(due)
	c.r = bufio.NewReaderSize(c.nc, 2<<10)
	if err := readPacket(c.r, &pk, 0, c.lim.loginPacket); err != nil {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		return fmt.Errorf("before CONNECT: %w", err)
	}
	if pk.FixedHeader.Type != packets.Connect {
		return packets.ErrProtocolViolationRequireFirstConnect
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}}
	c.version = pk.ProtocolVersion
	err := c.accept(&pk, &ack)
	var code packets.Code
	switch {
	case err == nil:
		return nil
	case errors.As(err, &code):
		ack.ReasonCode = code.Code
		if c.version == 5 {
			if _, detail, ok := strings.Cut(code.Reason, ": "); ok { // the code says the rest
				ack.Properties.ReasonString = detail
			}
		} else if ack.ReasonCode = oldCode(code); ack.ReasonCode == 0 {
			return err // it has no word for that
		}
		c.say(ack)
	}
	return err
}

// oldCode is the return code of MQTT 3 for a reason, section 3.2.2.3; 0 if it has none.
// A version that is not known gets its answer in that form, too.
func oldCode(code packets.Code) byte {
	switch code.Code {
	case packets.ErrUnsupportedProtocolVersion.Code:
		return 1
	case packets.ErrClientIdentifierNotValid.Code:
		return 2
	case packets.ErrServerUnavailable.Code, packets.ErrServerBusy.Code, packets.ErrQuotaExceeded.Code:
		return 3
	case packets.ErrBadUsernameOrPassword.Code:
		return 4
	case packets.ErrNotAuthorized.Code, packets.ErrBanned.Code:
		return 5
	}
	return 0
}

// accept looks at a CONNECT, lets the client in and gives it its session. What it
// returns otherwise is for CONNACK.
func (c *conn) accept(pk *packets.Packet, ack *packets.Packet) error {
	b, now := c.b, time.Now()
	if err := c.understand(pk, ack, now); err != nil {
		return err
	}
	if err := c.login(&pk.Connect); err != nil {
		return err
	}
	if c.will != nil && !b.mayPublish(b.rightsOf(c.user, c.id), c.will.topic) {
		b.refused.Add(1)
		b.mention(slog.LevelWarn, "refused a will", "", "client", c.id, "user", c.user, "topic", c.will.topic)
		if c.version == 5 {
			return packets.ErrNotAuthorized
		}
		c.will = nil
	}
	committed, err := b.claim(c, &pk.Connect, ack)
	if err != nil {
		return err
	}
	// A session that the disk does not take is better than none: the client is not
	// told that there was one before, and a crash may lose no more than that.
	b.await(c.ctx, committed)

	if c.version == 5 {
		p := &ack.Properties
		if c.lim.receive < math.MaxUint16 {
			p.ReceiveMaximum = uint16(c.lim.receive)
		}
		p.MaximumPacketSize = uint32(c.lim.packet)
		p.TopicAliasMaximum = uint16(c.lim.aliases)
		if asked := pk.Properties.SessionExpiryInterval; asked > 0 && time.Duration(asked)*time.Second != c.expiry {
			p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = uint32(c.expiry/time.Second), true
		}
	}
	c.say(*ack)
	c.nc.SetReadDeadline(time.Time{})
	if c.ctx.Err() != nil { // end had set it
		return context.Cause(c.ctx)
	}
	return b.enter(c)
}

// understand reads CONNECT into c.
func (c *conn) understand(pk *packets.Packet, ack *packets.Packet, now time.Time) error {
	if code := pk.ConnectValidate(); code != packets.CodeSuccess && code != packets.ErrProtocolViolationWillFlagNoPayload {
		if code == packets.ErrProtocolViolationProtocolVersion {
			return packets.ErrUnsupportedProtocolVersion
		}
		return code
	}
	in, p := &pk.Connect, &pk.Properties
	c.id, c.clean = in.ClientIdentifier, in.Clean
	switch {
	case c.id != "":
	case c.version == 3, c.version == 4 && !c.clean: // [MQTT-3.1.3-8]
		return packets.ErrClientIdentifierNotValid
	default:
		c.id = "auto-" + rand.Text()
		if c.version == 5 {
			ack.Properties.AssignedClientID = c.id
		}
	}
	if p.AuthenticationMethod != "" {
		return packets.ErrBadAuthenticationMethod
	}
	c.window = c.lim.window
	switch {
	case c.version == 5:
		c.expiry = min(time.Duration(p.SessionExpiryInterval)*time.Second, c.lim.sessionExpiry)
		if p.ReceiveMaximum > 0 {
			c.window = min(c.window, int(p.ReceiveMaximum))
		}
		c.maxPacket = int(min(p.MaximumPacketSize, math.MaxInt32))
		c.maxAliases = min(int(p.TopicAliasMaximum), c.lim.aliases)
	case !c.clean:
		c.expiry = c.lim.sessionExpiry
	}
	alive := time.Duration(in.Keepalive) * time.Second
	if c.version == 5 && alive > c.lim.keepAlive { // [MQTT-3.2.2-21]; MQTT 3 has no word for it
		alive = c.lim.keepAlive
		ack.Properties.ServerKeepAlive, ack.Properties.ServerKeepAliveFlag = uint16(alive/time.Second), true
	}
	c.keepAlive = alive * 3 / 2 // [MQTT-3.1.2-22]
	if !in.WillFlag {
		return nil
	}
	if topic.Fault(in.WillTopic, false, c.lim.topic, c.lim.levels) != "" {
		return packets.ErrTopicNameInvalid
	}
	c.will = messageOf(&packets.Packet{
		FixedHeader: packets.FixedHeader{Qos: in.WillQos, Retain: in.WillRetain},
		TopicName:   in.WillTopic, Payload: in.WillPayload,
	}, c.id, now)
	wp := &in.WillProperties
	c.will.props = passedOn(wp)
	c.will.lifetime = time.Duration(wp.MessageExpiryInterval) * time.Second
	c.willDelay = time.Duration(wp.WillDelayInterval) * time.Second
	return nil
}

// login asks who the client is.
func (c *conn) login(in *packets.ConnectParams) error {
	b := c.b
	switch {
	case c.from.listener == nil:
		c.user = itself
		return nil
	case b.door == nil:
		return nil
	case !utf8.Valid(in.Username) || slices.Contains(in.Username, 0):
		return packets.ErrMalformedUsername
	}
	a := access.Attempt{
		Client: c.id, User: string(in.Username), Addr: c.from.addr, Local: c.from.local, Certificate: c.from.certificate,
	}
	if in.PasswordFlag {
		a.Password = in.Password
	}
	ctx, cancel := context.WithTimeout(c.ctx, loginWithin)
	defer cancel()
	c.table, c.stamp = b.door.Table(), b.door.Stamp(a.User)
	user, err := b.door.Login(ctx, a)
	if err == nil {
		c.user, c.stamp = user, b.door.Stamp(user)
		return nil
	}
	b.complain(slog.LevelWarn, "refused a login", "client", c.id, "user", a.User, "from", c.address(), "why", err)
	switch {
	case errors.Is(err, access.ErrBusy):
		return packets.ErrServerBusy
	case errors.Is(err, access.ErrBanned):
		return packets.ErrBanned
	case errors.Is(err, access.ErrNoLogin):
		return packets.ErrNotAuthorized
	}
	return packets.ErrBadUsernameOrPassword
}

// itself is the user of connections that the process made. No client can have that
// name: a NUL is malformed.
const itself = "\x00hub"

// rightsOf gives what a user's client may do now.
func (b *Broker) rightsOf(user, client string) *access.Rights {
	if user == itself || b.door == nil {
		return access.All
	}
	return b.door.Rights(user, client)
}

// UseUsers lets other users and rights count from now on, for clients that are connected, too.
func (b *Broker) UseUsers(t *access.Table) {
	b.reload.Lock()
	defer b.reload.Unlock()
	b.door.Use(t)
	b.rightsChanged()
}

// rightsChanged gives the sessions what the users may do now. Who exists no more, or
// has another password, is disconnected.
func (b *Broker) rightsChanged() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		rights := b.rightsOf(s.user, s.id)
		s.mu.Lock()
		s.rights = rights
		s.mu.Unlock()
		if c := s.owner; c != nil && s.user != itself && (rights == nil || c.stamp != b.door.Stamp(s.user)) {
			c.end(packets.ErrNotAuthorized)
		}
	}
}

// claim gives c the session of its id, once whoever has it has ended. What the
// channel brings says that the session is on disk; nil: there is nothing to wait for.
func (b *Broker) claim(c *conn, in *packets.ConnectParams, ack *packets.Packet) (<-chan error, error) {
	for {
		b.mu.Lock()
		s := b.sessions[c.id]
		var old *conn
		switch {
		case b.closed:
			b.mu.Unlock()
			return nil, packets.ErrServerShuttingDown
		case s != nil && s.user != c.user && c.user != itself:
			b.mu.Unlock()
			b.mention(slog.LevelWarn, "refused a client whose id belongs to another user", "", "client", c.id, "user", c.user, "from", c.address())
			return nil, packets.ErrClientIdentifierNotValid
		case s == nil && len(b.sessions) >= c.lim.sessions:
			b.mu.Unlock()
			return nil, packets.ErrQuotaExceeded
		case s != nil:
			old = s.owner
		}
		if b.door != nil && c.from.listener != nil && c.table != b.door.Table() {
			b.mu.Unlock() // a reload came in between
			if err := c.login(in); err != nil {
				return nil, err
			}
			continue
		}
		if old == nil {
			committed := b.take(c, s, ack)
			b.mu.Unlock()
			return committed, nil
		}
		b.mu.Unlock()
		// First the other's last words, its will among them.
		old.end(packets.ErrSessionTakenOver)
		select {
		case <-old.done:
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		}
	}
}

// take makes s, or a new session, that of c. b.mu is held.
func (b *Broker) take(c *conn, s *session, ack *packets.Packet) <-chan error {
	now := time.Now()
	if s != nil {
		s.stopTimers()
		if w := s.will; w != nil && c.clean { // the session it belongs to is over
			c.oldWill = w
		}
		s.will = nil
		if c.clean || s.user != c.user {
			b.remove(s)
			s = nil
		}
	}
	ack.SessionPresent = s != nil
	if s == nil {
		b.lastNum++
		s = &session{b: b, id: c.id, num: b.lastNum, user: c.user, subs: map[string]*subscription{}}
		b.sessions[c.id] = s
	}
	s.version, s.expiry, s.away, s.since = c.version, c.expiry, 0, now
	s.address = c.address()
	s.listener = ""
	if c.from.listener != nil {
		s.listener = c.from.listener.address.String()
	}
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	s.owner = c
	s.mu.Lock()
	s.rights, s.lastSeen = b.rightsOf(c.user, c.id), now
	s.mu.Unlock()
	if c.expiry == 0 {
		b.unkeep(s) // what it had lives on in memory alone
		return nil
	}
	// What has waited is sent in a moment. After a crash it may have been, so that is on
	// disk before CONNACK: one record for all of it.
	s.mu.Lock()
	if len(s.waiting) > 0 {
		s.sentTo = b.seq
	}
	s.mu.Unlock()
	return b.keep(s, c.will, c.willDelay, 0)
}

// enter starts what a session has to send, now that CONNACK is said, and ends what
// the connection replaced.
func (b *Broker) enter(c *conn) error {
	c.sendOldWill()
	s := c.session
	pubrels := s.join(c, time.Now())
	c.mu.Lock()
	c.out = append(c.out, pubrels...)
	c.mu.Unlock()
	c.kick()
	b.log.Debug("broker: connected", "client", c.id, "user", c.user, "from", c.address())
	if c.entered = b.client != nil; c.entered {
		b.client(c.id, c.user, c.address(), true)
	}
	return nil
}

// sendOldWill sends the will of the session that the connection replaced.
func (c *conn) sendOldWill() {
	if w := c.oldWill; w != nil {
		c.oldWill = nil
		c.b.sendWill(w, c.user)
	}
}

// leave does what is due when the connection has ended: the will, and the session
// unless it is kept.
func (c *conn) leave() {
	b, s := c.b, c.session
	if c.entered {
		b.client(c.id, c.user, c.address(), false)
	}
	c.sendOldWill() // if it did not come as far as enter
	b.mu.Lock()
	s.part()
	s.since = time.Now()
	s.expiry = c.expiry
	will := c.will
	if b.closed && will != nil {
		// Nobody knows whether the client lives. The will of a kept session is in the
		// store, and is sent after the next start if the client does not come back.
		b.mu.Unlock()
		return
	}
	if w := will; w != nil && c.expiry > 0 && c.willDelay > 0 {
		s.will, s.willDelay = w, c.willDelay
		s.willTimer = b.later(min(c.willDelay, c.expiry), func() { b.willDue(s, w) })
		will = nil
	}
	if c.expiry == 0 {
		b.remove(s)
	} else {
		b.keep(s, s.will, s.willDelay, forgetWithin)
	}
	var hold <-chan struct{}
	if will != nil {
		// Until its will is out the connection has the session: who comes back would say
		// "online" before the "offline".
		b.sessions[s.id] = s
		b.mu.Unlock()
		hold = b.publishWill(will, s.user)
		b.mu.Lock()
	}
	s.owner = nil
	switch {
	case c.expiry == 0:
		delete(b.sessions, s.id)
	case !b.closed:
		s.expires = b.later(c.expiry, func() { b.expire(s) })
	}
	b.mu.Unlock()
	wait(b.ctx, hold)
}

// stopTimers keeps a session whose client is back. b.mu is held.
func (s *session) stopTimers() {
	for _, t := range []*time.Timer{s.willTimer, s.expires} {
		if t != nil {
			t.Stop()
		}
	}
	s.willTimer, s.expires = nil, nil
}

// later calls f after a time, unless the broker has closed.
func (b *Broker) later(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		if b.begin() {
			defer b.wg.Done()
			f()
		}
	})
}

// willDue sends a will whose client has not come back.
func (b *Broker) willDue(s *session, will *message) {
	b.mu.Lock()
	due := s.will == will && s.owner == nil
	if due {
		s.will = nil
		b.keep(s, nil, 0, forgetWithin)
	}
	b.mu.Unlock()
	if due {
		b.sendWill(will, s.user)
	}
}

// expire ends a session whose client has not come back.
func (b *Broker) expire(s *session) {
	b.mu.Lock()
	will := s.will
	due := b.sessions[s.id] == s && s.owner == nil && s.away+time.Since(s.since) >= s.expiry
	if due {
		s.stopTimers()
		s.will = nil
		b.remove(s)
	}
	b.mu.Unlock()
	if due && will != nil {
		b.sendWill(will, s.user)
	}
}

// sendWill publishes the will of a client that is gone, and waits until the hub has
// room for it.
func (b *Broker) sendWill(will *message, user string) { wait(b.ctx, b.publishWill(will, user)) }

func (b *Broker) publishWill(will *message, user string) (hold <-chan struct{}) {
	rights := b.rightsOf(user, will.from)
	if !b.mayPublish(rights, will.topic) {
		b.refused.Add(1)
		b.mention(slog.LevelWarn, "refused a will", "", "client", will.from, "user", user, "topic", will.topic)
		return nil
	}
	now := time.Now()
	m := &message{
		topic: will.topic, payload: will.payload, qos: will.qos, retain: will.retain, props: will.props, from: will.from, at: now,
		rights: rights,
	}
	if m.retain && user != itself {
		m.by = &publisher{user, m.from}
	}
	if will.lifetime > 0 {
		m.expires = now.Add(will.lifetime)
	}
	return b.send(m, nil)
}
