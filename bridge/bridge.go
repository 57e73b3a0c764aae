// Package bridge carries messages between the house's own broker and another one:
// a button on one Raspberry Pi switches a relay on another, and the link may be
// down for a day.
//
// A [Bridge] is two MQTT clients. One is connected to the own broker through a pipe
// (Options.Local), under the id "bridge/NAME", the other to the remote, with MQTT 5
// or with 3.1.1 where it speaks nothing newer. Both keep their sessions while the
// link is down, so what waits lies where messages are kept anyway: in the own
// broker's queue for what goes out, in the remote's for what comes in.
//
// # What it promises
//
//   - A message of QoS 1 or 2 is acknowledged to the side it came from only after
//     the other side has acknowledged it. So nothing that was acknowledged is lost
//     by a bridge, whichever of the three programs dies; QoS 1 may come twice then.
//   - QoS 2 passes once over any number of breaks of the link. If the hub itself
//     restarts at the wrong moment, it may come twice.
//   - The order is kept: all go the same way one behind the other, many at once on
//     the way, and are sent again in the same order.
//   - The properties of MQTT 5 pass: content type, response topic (renamed, if the
//     answers pass too), correlation data, user properties, expiry, the retain flag.
//   - What the other side refuses for good (not authorized, too large) is dropped,
//     counted and logged once per topic. It blocks nothing behind it.
//   - Nothing goes round in circles: each message that passes says in user
//     properties which houses it was in, 8 at most, and does not come to one of
//     them again.
//   - Where both sides change a retained value at the same moment, one of the two
//     values counts on both. If they do it while the link is down,
//     each may end with the other's: a topic should be one side's to write.
//   - While there is no link it is tried again, after 250 ms first and then less
//     and less often up to once a minute; a change is one line in the log.
//
// # How
//
// Each connection has a goroutine that reads and one that writes from a buffer; one
// loop owns all else and never waits for either socket. What comes is bounded by
// the receive maximum that the brokers were told; a remote that knows none is not
// read from for a while instead. The own broker is always read from: else the two
// directions could wait for each other for ever.
package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// steadyAfter is how long a connection must last to count as one: a remote that
// closes at once is tried less and less often, and not reported each time.
const steadyAfter = 10 * time.Second

// Options is what bridges need of the hub. All but Log and Dial are needed.
type Options struct {
	Local func() net.Conn // a new connection to the own broker
	House string          // the name of this house that no other has, for messages that went in a circle
	Dir   string          // files are named relative to it

	// Available is told that a bridge has a link, has lost it, or (gone) has been
	// taken out of the configuration. It may block for a moment.
	Available func(name string, online, gone bool)
	// Keep stores a little for the bridge of that name, and with nil forgets it;
	// Kept is all that is stored.
	Keep func(name string, value []byte)
	Kept func() map[string][]byte

	// Passes says which topics pass the bridge that is the house's broker, out to it
	// or in from it; nil: all. Will is the topic on which that broker says "offline",
	// retained, ten seconds after it has lost the house; "": none.
	Passes func(topic string, out bool) bool
	Will   string

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network
	Log  *slog.Logger                                                         // nil: silent
}

// A Status is how a bridge is doing.
type Status struct {
	Name      string
	Address   string
	Connected bool
	Since     time.Time // connected or not since then
	Why       string    // not connected; "" if it is
	In, Out   int64     // messages that were passed, since the hub started
	Dropped   int64     // not passed, because the other side could not take them
	Refused   int64     // not passed, because the other side does not want them
	Circled   int64     // not passed, because they had been there, or a newer value was on its way to where they came from
	Waiting   int       // taken from one side and not acknowledged by the other yet; more wait at the brokers
}

// A Bridge runs until it is stopped.
type Bridge struct {
	name   string
	cfg    Remote
	opt    Options
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	keeps  chan struct{} // closed when the own broker keeps what is to go out, or could not be asked
	forget bool          // set before cancel: end the sessions too
	leave  bool          // the same: that at the remote, which is another one from now on

	mu     sync.Mutex
	status Status

	// The rest belongs to run.

	kept     kept            // what the brokers' sessions were last told
	resync   bool            // retained values are to be exchanged anew
	version  byte            // of MQTT that the remote speaks
	told     map[string]bool // topics whose refusal was logged
	out, in  memory
	released bool            // what an earlier run left half done at the remote was ended
	careful  int             // messages that go one at a time, since the remote ended the connection over one
	quota    int             // refusals in a row for a limit that may pass
	echoes   echoes          // of a 3.1.1 remote
	online   bool            // what Available was told
	trouble  map[string]bool // why there was no link, as logged since there was one
	shaky    bool            // the last link did not last, or this one has not yet
	stable   bool            // this one has
	steady   *time.Timer     // fires when it has
}

// kept is what of a bridge is stored: what must be taken back when the
// configuration changes, for the brokers keep it.
type kept struct {
	Client string   `json:"client"`
	Local  []string `json:"local"`
	Remote []string `json:"remote"`
}

// memory is what of QoS 2 in one direction outlives a connection.
type memory struct {
	taken     map[uint16]bool   // ids of the source that were passed and that it has not released
	half      map[uint16]uint16 // ids of the source that are on the way: which id they have there
	releasing map[uint16]bool   // ids of the destination that it has not completed
}

func newMemory() memory {
	return memory{map[uint16]bool{}, map[uint16]uint16{}, map[uint16]bool{}}
}

// startBridge starts a bridge.
func startBridge(name string, cfg Remote, opt Options, was []byte) *Bridge {
	b := &Bridge{
		name: name, cfg: cfg, opt: opt,
		log:     opt.Log.With("bridge", name),
		done:    make(chan struct{}),
		keeps:   make(chan struct{}),
		version: 5,
		told:    map[string]bool{},
		out:     newMemory(),
		in:      newMemory(),
		echoes:  echoes{},
		trouble: map[string]bool{},
		status:  Status{Name: name, Address: cfg.Address, Since: time.Now(), Why: "it was not tried yet"},
	}
	json.Unmarshal(was, &b.kept) // what can't be read is as if nothing were kept
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go b.run(ctx)
	return b
}

// stop ends the bridge. With forget so do its sessions, with leave that at the remote.
func (b *Bridge) stop(forget, leave bool) {
	b.forget, b.leave = forget, leave
	b.cancel()
	<-b.done
}

// Status is how it is doing.
func (b *Bridge) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *Bridge) count(f func(s *Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
}

func (b *Bridge) clientID() string {
	if b.cfg.whole {
		return cmp.Or(b.cfg.ClientID, b.opt.House)
	}
	return cmp.Or(b.cfg.ClientID, b.opt.House+"-"+b.name)
}

// table is where the configuration has the bridge.
func (b *Bridge) table() string {
	if b.cfg.whole {
		return "broker.connect"
	}
	return "bridge." + b.name
}

// LocalID is the client id at the own broker of the bridge with that name.
func LocalID(name string) string { return "bridge/" + name }

func (b *Bridge) run(ctx context.Context) {
	defer close(b.done)
	asked := sync.OnceFunc(func() { close(b.keeps) })
	defer asked()
	b.opt.Available(b.name, false, false)
	b.steady = time.NewTimer(0)
	b.steady.Stop()
	defer b.steady.Stop()

	queueing := false
	wait := b.cfg.Backoff.min()
	for ctx.Err() == nil {
		var err error
		if !queueing { // from now on the own broker keeps what is to go out
			if err = b.enqueue(ctx); err == nil {
				queueing = true
			} else {
				err = fmt.Errorf("at the own broker: %w", err)
			}
			asked()
		}
		if err == nil {
			err = b.link(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		if b.stable {
			b.stable = false
			wait = b.cfg.Backoff.min()
		}
		b.lost(err)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
		wait = min(2*wait, b.cfg.Backoff.max())
	}
	b.lost(nil)
	if b.forget {
		endLocal(b.name, b.opt)
	}
}

// lost notes that there is no link, and why; nil: the bridge is stopped.
func (b *Bridge) lost(err error) {
	b.steady.Stop()
	why := "it was stopped"
	if err != nil {
		why = plainly(err)
		if hint := b.hint(err); hint != "" {
			why += "; " + hint
		}
	}
	b.count(func(s *Status) {
		if s.Connected {
			s.Connected, s.Since = false, time.Now()
		}
		s.Why, s.Waiting = why, 0
	})
	if b.online {
		b.online = false
		b.opt.Available(b.name, false, false)
	}
	if err != nil && !b.trouble[why] && len(b.trouble) < 100 {
		b.trouble[why] = true
		b.log.Warn("no link to the other broker; it is tried again until there is one", "address", b.cfg.Address, "why", why)
	}
}

// linked notes that there is a link. After one that did not last it is not
// reported before it has.
func (b *Bridge) linked() {
	b.count(func(s *Status) { s.Connected, s.Since, s.Why = true, time.Now(), "" })
	if !b.shaky {
		b.report()
	}
	b.shaky = true // until it has lasted
	b.steady.Reset(steadyAfter)
}

// report tells that there is a link.
func (b *Bridge) report() {
	if !b.online {
		b.online = true
		clear(b.trouble)
		b.opt.Available(b.name, true, false)
		b.log.Info("linked to the other broker", "address", b.cfg.Address, "version", map[byte]string{4: "3.1.1", 5: "5"}[b.version])
	}
}

// lasted is when a link has lasted.
func (b *Bridge) lasted() {
	b.shaky, b.stable = false, true
	b.report()
}

// plainly is an error without the port of this side, which is another each time.
func plainly(err error) string {
	text := err.Error()
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		text = strings.Replace(text, op.Error(), op.Op+": "+op.Err.Error(), 1)
	}
	return text
}

// connectLocal logs in at the own broker.
func connectLocal(ctx context.Context, name string, opt Options, forget bool) (*link, error) {
	conn := opt.Local()
	if conn == nil {
		return nil, errors.New("it is closed")
	}
	l := login{client: LocalID(name), receive: window, session: 0xffffffff}
	if forget {
		l.clean, l.session = true, 0
	}
	return connect(ctx, conn, 5, l)
}

// endLocal ends the session of a bridge that is no more.
func endLocal(name string, opt Options) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	if k, err := connectLocal(ctx, name, opt, true); err == nil {
		k.close(true, false)
	}
	opt.Keep(name, nil)
	opt.Available(name, false, true)
}

// enqueue makes the session at the own broker and leaves it, so that it begins to
// keep what is to go out. The answer to the ping comes when all of it is done.
func (b *Bridge) enqueue(ctx context.Context) error {
	k, err := connectLocal(ctx, b.name, b.opt, false)
	if err != nil {
		return err
	}
	defer k.close(false, false)
	if !k.present {
		b.resync = true
	}
	if k.present {
		release(k)
	}
	if subs := b.localSubscriptions(2); len(subs) > 0 {
		k.send(func(p []byte) []byte { return appendSubscribe(p, 5, idFilters, 0, subs) })
	}
	k.send(appendPing)
	timeout := time.NewTimer(answerWithin)
	defer timeout.Stop()
	for {
		select {
		case p := <-k.in:
			if p.kind == kindPingresp {
				return nil
			}
			// Messages that wait come again.
		case <-k.ctx.Done():
			return context.Cause(k.ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout.C:
			return errors.New("it does not answer")
		}
	}
}

// localSubscriptions are those at the own broker, with the retained values wanted
// as handling says: 2 is never.
func (b *Bridge) localSubscriptions(handling byte) (subs []subscription) {
	for _, t := range b.cfg.Topics {
		if t.out() {
			subs = append(subs, t.subscription(t.local(), handling))
		}
	}
	return subs
}

func (b *Bridge) remoteSubscriptions(handling byte) (subs []subscription) {
	for _, t := range b.cfg.Topics {
		if t.in() {
			subs = append(subs, t.subscription(t.remote(), handling))
		}
	}
	return subs
}

// subscription is that of one line. What has QoS 0 was lost while there was no
// link, so its retained values are wanted again each time.
func (t Topic) subscription(filter string, handling byte) subscription {
	switch {
	case !t.keep():
		handling = 2
	case t.qos() == 0 && handling == 1:
		handling = 0
	}
	return subscription{filter: filter, qos: t.qos(), handling: handling}
}

func filters(subs []subscription) (all []string) {
	for _, s := range subs {
		all = append(all, s.filter)
	}
	return all
}

// without is the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// connectRemote logs in at the other broker.
func (b *Bridge) connectRemote(ctx context.Context) (*link, error) {
	for {
		conn, err := b.dial(ctx)
		if err != nil {
			return nil, err
		}
		password, err := b.password()
		if err != nil {
			conn.Close()
			return nil, err
		}
		k, err := connect(ctx, conn, b.version, login{
			client: b.clientID(), user: b.cfg.User, password: password,
			alive:   uint16(b.cfg.keepalive() / time.Second),
			session: uint32(b.cfg.session() / time.Second),
			receive: window,
			will:    b.will(),
		})
		var no *refusal
		if errors.As(err, &no) && no.unsupported() {
			if b.version == 5 {
				b.version = 4
				continue
			}
			b.version = 5 // it has become another one
		}
		return k, err
	}
}

func (b *Bridge) will() string {
	if b.cfg.whole {
		return b.opt.Will
	}
	return ""
}

// link connects both sides and passes messages until one of them ends, or ctx. It
// always gives the reason.
func (b *Bridge) link(ctx context.Context) error {
	remote, err := b.connectRemote(ctx)
	if err != nil {
		return err
	}
	var p *passage
	defer func() {
		// The house is gone from there. It says so itself, unless it is linked elsewhere now or
		// there was no time for it to get through: then its will says it.
		leaves := ctx.Err() != nil && (b.forget || b.leave)
		remote.close(leaves, b.will() != "" && ctx.Err() != nil && (leaves || p == nil || !p.parted))
	}()
	local, err := connectLocal(ctx, b.name, b.opt, false)
	if err != nil {
		return fmt.Errorf("at the own broker: %w", err)
	}
	defer local.close(false, false)

	now := kept{b.clientID() + " at " + b.cfg.Address, filters(b.localSubscriptions(0)), filters(b.remoteSubscriptions(0))}
	if b.cfg.whole || !local.present || !remote.present || !reflect.DeepEqual(now, b.kept) {
		b.resync = true
	}
	if !local.present { // nothing of it is known there
		b.out.taken, b.out.half, b.in.half, b.in.releasing = map[uint16]bool{}, map[uint16]uint16{}, map[uint16]uint16{}, map[uint16]bool{}
	}
	if !remote.present {
		b.in.taken, b.in.half, b.out.half, b.out.releasing = map[uint16]bool{}, map[uint16]uint16{}, map[uint16]uint16{}, map[uint16]bool{}
	}
	for _, m := range []memory{b.out, b.in} {
		if len(m.half) > 4*window { // their source has given most of them up
			clear(m.half)
		}
	}
	p = &passage{b: b, local: local, remote: remote, now: now, exact: b.cfg.whole && remote.version == 5 && !remote.server.noNumbers}
	if p.exact {
		p.seen, p.copies = map[string]bool{}, map[string]bool{}
	}
	p.out = &flow{p: p, out: true, src: local, dst: remote, memory: &b.out, sent: map[uint16]*transfer{}}
	p.in = &flow{p: p, src: remote, dst: local, memory: &b.in, sent: map[uint16]*transfer{}}
	return p.run(ctx)
}

// tellOnce logs what is dropped, once per topic.
func (b *Bridge) tellOnce(topic, why string) {
	const most = 1000 // anybody may invent topics
	if b.told[topic] || len(b.told) >= most {
		return
	}
	b.told[topic] = true
	b.log.Warn("a message is not passed, nor are others like it; this is logged once", "topic", topic, "why", why)
}
