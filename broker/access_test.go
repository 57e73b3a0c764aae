package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/config"
)

// The house of this test. All passwords are "secret".
const accessTOML = `
[broker]
listen = ["127.0.0.1:0", "ws://127.0.0.1:0"]

[broker.user.owner]
password = "HASH"
roles = ["admin"]

[broker.user.washer]
password = "HASH"
roles = ["device", "extra"]

[broker.user.dryer]
password = "HASH"
roles = ["device"]

[broker.user.guest]
password = "HASH"
roles = ["visitor"]

[broker.user.tenant]
password = "HASH"
roles = ["lodger"]

[broker.user.keyholder]
password = "HASH"
roles = ["lodger", "keys"]

[broker.user.nobody]
password = "HASH"

[broker.role.device]
publish = ["tele/%u/#", "by/%c/state", "all/+/ok"]
subscribe = ["cmnd/%u/#", "for/%c/#", "all/+/ok", "only/this"]

[broker.role.extra]
publish = ["extra"]
subscribe = ["extra"]

[broker.role.visitor]
publish = ["hall/light/set"]
subscribe = ["hall/+"]

[broker.role.lodger]
publish = ["#"]
subscribe = ["#"]
except = ["door/#", "own/%u", "own/%c", "all/secret/ok"]

[broker.role.keys]
publish = ["door/key"]
subscribe = ["door/key"]
`

// After this reload the washer is no extra any more, and one topic more is excepted.
var reducedTOML = strings.NewReplacer(`["device", "extra"]`, `["device"]`, `except = ["door/#"`, `except = ["later", "door/#"`).Replace(accessTOML)

const accessHash = "$argon2id$v=19$m=64,t=1,p=1$c2FsdCBvZiB0aGUgdGVzdA$Bk4qFdbdeU6S78CD1/OPU0907BUhtaTMtKQhmv2rbqc"

// A guard is a broker with logins.
type guard struct {
	*testing.T
	b       *Broker
	tcp, ws string
	owner   *client // sees all
	marks   int
	want    bool // what the row says
}

func openGuard(t *testing.T) *guard {
	t.Helper()
	door, err := access.New(access.Config{}) // nobody yet
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{T: t, b: open(t, Options{Door: door, Log: silent})}
	g.configure(accessTOML)
	addrs := g.b.Addrs()
	g.tcp, g.ws = addrs[0], addrs[1]
	g.owner = g.login(g.tcp, "owner", "owner", 5)
	g.owner.subscribe(1, 1, "#")
	g.owner.publish("mark/kept", "x", 0, 0, retain)
	return g
}

// configure loads a configuration, or loads it anew.
func (g *guard) configure(toml string) {
	g.Helper()
	var cfg struct {
		Broker Config `toml:"broker"`
	}
	doc := config.Parse("config.toml", []byte(strings.ReplaceAll(toml, "HASH", accessHash)), &cfg)
	if err := doc.Err(); err != nil {
		g.Fatal(err)
	}
	ch, err := g.b.Prepare(cfg.Broker)
	if err != nil {
		g.Fatal(err)
	}
	ch.Commit()
}

func as(user, password string) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		p := &pk.Connect
		p.UsernameFlag, p.Username = true, []byte(user)
		p.PasswordFlag, p.Password = true, []byte(password)
	}
}

func (g *guard) login(addr, user, id string, version byte, change ...func(*packets.Packet)) *client {
	g.Helper()
	c := speak(g, dial(g.T, addr), version)
	c.connect(id, append(change, as(user, "secret"))...)
	return c
}

// seen says whether a message has reached the owner, who gets all, since the last
// time. What was acknowledged or pinged after has come before the mark.
func (g *guard) seen(topic string) bool {
	g.Helper()
	g.marks++
	mark := fmt.Sprint(g.marks)
	g.owner.publish("mark", mark, 0, 0)
	found := false
	for {
		pk := g.owner.want(packets.Publish)
		g.owner.acknowledge(pk)
		if pk.TopicName == "mark" && string(pk.Payload) == mark {
			return found
		}
		found = found || pk.TopicName == topic
	}
}

// got says whether c has a message of the topic among what it was sent before the
// answer to a ping.
func (c *client) got(topic string) bool {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	found := false
	for {
		pk, err := c.receive()
		if err != nil {
			c.t.Fatal(err)
		}
		switch pk.FixedHeader.Type {
		case packets.Pingresp:
			return found
		case packets.Publish:
			found = found || pk.TopicName == topic
			c.acknowledge(pk)
		}
	}
}

// each path is a way that a message may take from or to a client; it says whether
// the message got through.
var accessPaths = map[string]func(g *guard, user, id, topic string, version byte) bool{
	"publish 0": func(g *guard, user, id, topic string, v byte) bool { return g.publishes(g.tcp, user, id, topic, v, 0) },
	"publish 1": func(g *guard, user, id, topic string, v byte) bool { return g.publishes(g.tcp, user, id, topic, v, 1) },
	"publish 2": func(g *guard, user, id, topic string, v byte) bool { return g.publishes(g.tcp, user, id, topic, v, 2) },
	"publish ws": func(g *guard, user, id, topic string, v byte) bool {
		return g.publishes(g.ws, user, id, topic, v, 1)
	},
	"retain": func(g *guard, user, id, topic string, v byte) bool {
		c := g.login(g.tcp, user, id, v)
		c.tell(topic, "x", 1, retain)
		sent := g.seen(topic)
		if g.kept(topic) != sent {
			g.Error("kept, but not sent, or the other way round")
		}
		return sent
	},
	"clear": func(g *guard, user, id, topic string, v byte) bool {
		g.owner.publish(topic, "x", 0, 0, retain)
		g.seen("")
		g.login(g.tcp, user, id, v).tell(topic, "", 1, retain)
		return !g.kept(topic)
	},
	"alias": func(g *guard, user, id, topic string, v byte) bool {
		c := g.login(g.tcp, user, id, 5)
		c.tell("all/x/ok", "x", 1, alias(1)) // what it may, if it may anything
		c.tell(topic, "x", 1, alias(1))      // the alias changes with it
		named := g.seen(topic)
		c.tell("", "x", 1, alias(1))
		if g.seen(topic) != named {
			g.Error("by alias it is not as by name")
		}
		return named
	},
	"will": func(g *guard, user, id, topic string, v byte) bool { return g.wills(user, id, topic, v, 0, false) },
	"retained will": func(g *guard, user, id, topic string, v byte) bool {
		return g.wills(user, id, topic, v, 0, true)
	},
	"delayed will": func(g *guard, user, id, topic string, v byte) bool { return g.wills(user, id, topic, 5, 1, false) },
	"subscribe":    func(g *guard, user, id, topic string, v byte) bool { return g.hears(g.tcp, user, id, topic, topic, v) },
	"subscribe ws": func(g *guard, user, id, topic string, v byte) bool { return g.hears(g.ws, user, id, topic, topic, v) },
	"shared": func(g *guard, user, id, topic string, v byte) bool {
		return g.hears(g.tcp, user, id, topic, "$share/g/"+topic, 5)
	},
	// Whether the filter is refused or only what is too much of it left out: what matters is what comes.
	"subscribe #": func(g *guard, user, id, topic string, v byte) bool { return g.hears(g.tcp, user, id, topic, "#", v) },
	"shared #": func(g *guard, user, id, topic string, v byte) bool {
		return g.hears(g.tcp, user, id, topic, "$share/g/#", 5)
	},
	"subscribe +/+": func(g *guard, user, id, topic string, v byte) bool {
		return g.hears(g.tcp, user, id, topic, "+/+", v)
	},
	"retained": func(g *guard, user, id, topic string, v byte) bool {
		g.owner.publish(topic, "x", 0, 0, retain)
		g.seen("")
		defer g.owner.publish(topic, "", 0, 0, retain)
		c := g.login(g.tcp, user, id, v)
		c.subscribe(1, 1, topic)
		return g.comes(c, topic)
	},
	"retained #": func(g *guard, user, id, topic string, v byte) bool {
		g.owner.publish(topic, "x", 0, 0, retain)
		g.seen("")
		defer g.owner.publish(topic, "", 0, 0, retain)
		c := g.login(g.tcp, user, id, v)
		c.subscribe(1, 1, "#", "+/+", "+/+/+")
		return g.comes(c, topic)
	},
	// It waited while the rights changed: extra is taken from the washer.
	"resend": func(g *guard, user, id, topic string, v byte) bool {
		c := g.login(g.tcp, user, id, v, kept)
		if codes := c.subscribe(1, 1, topic); codes[0] > 2 {
			g.Fatalf("SUBACK % x", codes)
		}
		g.owner.publish(topic, "first", 0, 0)
		g.owner.publish(topic, "x", 1, 1)
		g.acked()
		first := c.want(packets.Publish)
		if first.FixedHeader.Qos == 0 {
			first = c.want(packets.Publish) // it is not acknowledged
		}
		c.nc.Close()
		g.configure(reducedTOML)
		defer g.configure(accessTOML)
		g.owner.publish(topic, "while away", 0, 0)
		c = g.login(g.tcp, user, id, v, kept)
		defer g.forget(user, id, v)
		return g.comes(c, topic)
	},
	"live after a reload": func(g *guard, user, id, topic string, v byte) bool {
		c := g.login(g.tcp, user, id, v)
		if codes := c.subscribe(1, 1, topic); codes[0] > 2 {
			g.Fatalf("SUBACK % x", codes)
		}
		g.configure(reducedTOML)
		defer g.configure(accessTOML)
		g.owner.publish(topic, "x", 0, 0)
		g.seen("")
		return g.comes(c, topic)
	},
	"publish after a reload": func(g *guard, user, id, topic string, v byte) bool {
		c := g.login(g.tcp, user, id, v)
		g.configure(reducedTOML)
		defer g.configure(accessTOML)
		c.tell(topic, "x", 1)
		return g.seen(topic)
	},
	// Who takes another's client id gets nothing of what waits for that.
	"takeover": func(g *guard, user, _, topic string, v byte) bool {
		id := fmt.Sprint("theirs ", g.marks) // another each time
		victim := g.login(g.tcp, "dryer", id, v, kept)
		victim.subscribe(1, 1, "cmnd/dryer/#", "only/this")
		victim.nc.Close()
		g.owner.publish(topic, "x", 1, 1)
		g.acked()
		c := speak(g, dial(g.T, g.tcp), v)
		c.send(connectPacket(id, v, kept, as(user, "secret")))
		pk := c.want(packets.Connack)
		if pk.ReasonCode != 0 {
			c.wantEnd()
			return false
		}
		if pk.SessionPresent && user != "dryer" {
			g.Error("a session that belongs to another user")
		}
		got := g.comes(c, topic)
		c.disconnect()
		return got
	},
	"login": func(g *guard, user, id, topic string, v byte) bool {
		c := speak(g, dial(g.T, map[bool]string{true: g.ws, false: g.tcp}[topic == "ws"]), v)
		password := "secret"
		if topic == "wrong" {
			password = "Secret"
		}
		change := as(user, password)
		if user == "" {
			change = func(*packets.Packet) {}
		}
		c.send(connectPacket(id, v, change))
		pk := c.want(packets.Connack)
		if pk.ReasonCode != 0 {
			if v == 5 && pk.ReasonCode != 0x86 && pk.ReasonCode != 0x87 || v < 5 && pk.ReasonCode != 4 && pk.ReasonCode != 5 {
				g.Errorf("CONNACK %#x", pk.ReasonCode)
			}
			c.wantEnd()
			return false
		}
		return true
	},
}

// alone waits until the connections of an earlier row have ended: an id may have
// been another user's.
func (g *guard) alone() {
	g.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(g.b.Clients(), func(c ClientStatus) bool { return c.Connected && c.ID != "owner" }) {
			return
		}
		if time.Since(start) > 10*time.Second {
			g.Fatal("somebody is still connected")
		}
	}
}

// acked waits until what the owner published is acknowledged.
func (g *guard) acked() {
	g.Helper()
	var early []packets.Packet
	for {
		pk, err := g.owner.receive()
		if err != nil {
			g.Fatal(err)
		}
		if pk.FixedHeader.Type == packets.Puback {
			g.owner.early = append(early, g.owner.early...)
			return
		}
		early = append(early, pk)
	}
}

func (g *guard) publishes(addr, user, id, topic string, v, qos byte) bool {
	g.Helper()
	c := g.login(addr, user, id, v)
	code := c.tell(topic, "x", qos)
	c.alive()
	seen := g.seen(topic)
	if v == 5 && qos > 0 && (code == 0x87) == seen {
		g.Errorf("reason %#x, and it was seen: %v", code, seen)
	}
	return seen
}

func (g *guard) wills(user, id, topic string, v byte, delay uint32, retained bool) bool {
	g.Helper()
	c := speak(g, dial(g.T, g.tcp), v)
	change := []func(*packets.Packet){as(user, "secret"), lwt(topic, "gone", 1, delay)}
	if retained {
		change = append(change, retainedWill)
	}
	if delay > 0 {
		change = append(change, expiry(60))
	}
	c.send(connectPacket(id, v, change...))
	if pk := c.want(packets.Connack); pk.ReasonCode != 0 {
		c.wantEnd()
		return false // a will that is refused may refuse the client
	}
	c.nc.Close()
	// The will is out when another client of its id has come, who ends its session.
	g.login(g.tcp, user, id, v).disconnect()
	seen := g.seen(topic)
	if retained && g.kept(topic) != seen {
		g.Error("kept, but not sent, or the other way round")
	}
	return seen
}

// hears subscribes, has the owner publish and says whether it came.
func (g *guard) hears(addr, user, id, topic, filter string, v byte) bool {
	g.Helper()
	c := g.login(addr, user, id, v)
	code := c.subscribe(1, 1, filter)[0]
	g.owner.publish(topic, "x", 0, 0)
	g.seen("")
	got := g.comes(c, topic)
	if code > 2 && got {
		g.Error("the subscription was refused, and yet it came")
	}
	if code > 2 && v == 5 && code != 0x87 && code != 0x80 {
		g.Errorf("SUBACK %#x", code)
	}
	return got
}

// comes says whether a message that was published before has come to c. One that
// is to come is waited for; one that is not would have left by the second ping.
func (g *guard) comes(c *client, topic string) bool {
	g.Helper()
	for g.want {
		pk, err := c.receive()
		if err != nil {
			return false
		}
		if pk.FixedHeader.Type == packets.Publish {
			c.acknowledge(pk)
			if pk.TopicName == topic {
				return true
			}
		}
	}
	first := c.got(topic)
	return c.got(topic) || first
}

// kept says whether the topic has a retained value, and takes it away.
func (g *guard) kept(topic string) (kept bool) {
	g.Helper()
	c := g.login(g.tcp, "owner", "looks", 5)
	defer c.disconnect()
	c.subscribe(1, 0, topic, "mark/kept")
	for {
		pk := c.want(packets.Publish)
		if pk.TopicName == "mark/kept" {
			break
		}
		kept = true
	}
	c.unsubscribe(2, topic)
	c.tell(topic, "", 1, retain)
	return kept
}

// forget ends the session of a client.
func (g *guard) forget(user, id string, v byte) { g.login(g.tcp, user, id, v).disconnect() }

// Each row is what a user may, or may not, by one path.
func TestAccess(t *testing.T) {
	const may, not = true, false
	rows := []struct {
		path, user, id, topic string
		want                  bool
	}{
		{"login", "washer", "c", "", may},
		{"login", "washer", "c", "ws", may},
		{"login", "washer", "c", "wrong", not},
		{"login", "stranger", "c", "", not},
		{"login", "", "c", "", not}, // loopback is no login
		{"login", "", "c", "ws", not},
		{"login", "nobody", "c", "", may},

		{"publish 0", "washer", "c", "tele/washer/x", may},
		{"publish 1", "washer", "c", "tele/washer/x", may},
		{"publish 2", "washer", "c", "tele/washer/x/y", may},
		{"publish 1", "washer", "c", "tele/washer", may}, // a/# allows a
		{"publish ws", "washer", "c", "tele/washer/x", may},
		{"publish 1", "washer", "c1", "by/c1/state", may},
		{"publish 1", "washer", "c", "all/x/ok", may},
		{"publish 1", "washer", "c", "extra", may},
		{"publish 1", "guest", "c", "hall/light/set", may},
		{"publish 1", "owner", "c", "any/thing", may},
		{"publish 0", "washer", "c", "tele/dryer/x", not},
		{"publish 1", "washer", "c", "tele/dryer/x", not},
		{"publish 2", "washer", "c", "tele/dryer/x", not},
		{"publish ws", "washer", "c", "tele/dryer/x", not},
		{"publish 1", "washer", "c1", "by/c2/state", not},
		{"publish 1", "washer", "c1", "by/c1/state/x", not},
		{"publish 1", "washer", "c", "all/x/y/ok", not},
		{"publish 1", "washer", "c", "all/x/okay", not}, // no prefixes
		{"publish 1", "washer", "c", "tele/washerette", not},
		{"publish 1", "washer", "c", "Tele/washer/x", not},
		{"publish 1", "washer", "c", "/tele/washer/x", not},
		{"publish 1", "dryer", "c", "extra", not}, // another's role
		{"publish 1", "washer", "c", "cmnd/washer/x", not},
		{"publish 1", "nobody", "c", "tele/nobody/x", not},
		{"publish 1", "guest", "c", "hall/light", not},
		// An id that is a wildcard makes no rule wider.
		{"publish 1", "washer", "+", "by/c2/state", not},
		{"publish 1", "washer", "#", "by/c2/state", not},
		{"publish 1", "washer", "c2/state/x", "by/c2/state", not},
		{"publish 1", "owner", "c", "$SYS/x", not},

		{"retain", "washer", "c", "tele/washer/r", may},
		{"retain", "washer", "c", "tele/dryer/r", not},
		{"retain", "nobody", "c", "r", not},
		{"clear", "washer", "c", "tele/washer/r", may},
		{"clear", "washer", "c", "tele/dryer/r", not},
		{"clear", "guest", "c", "hall/light", not},

		{"alias", "washer", "c", "tele/washer/x", may},
		{"alias", "washer", "c", "tele/dryer/x", not},
		{"alias", "dryer", "c", "extra", not},

		{"will", "washer", "c", "tele/washer/LWT", may},
		{"will", "washer", "c", "tele/dryer/LWT", not},
		{"will", "guest", "c", "hall/light", not},
		{"will", "nobody", "c", "x", not},
		{"retained will", "washer", "c", "tele/washer/LWT", may},
		{"retained will", "washer", "c", "tele/dryer/LWT", not},
		{"delayed will", "washer", "c", "tele/washer/LWT", may},
		{"delayed will", "washer", "c", "tele/dryer/LWT", not},

		{"subscribe", "washer", "c", "cmnd/washer/POWER", may},
		{"subscribe", "washer", "c", "cmnd/washer", may},
		{"subscribe", "washer", "c1", "for/c1/x", may},
		{"subscribe", "washer", "c", "all/x/ok", may},
		{"subscribe", "guest", "c", "hall/light", may},
		{"subscribe ws", "washer", "c", "cmnd/washer/POWER", may},
		{"subscribe", "washer", "c", "cmnd/dryer/POWER", not},
		{"subscribe", "washer", "c1", "for/c2/x", not},
		{"subscribe", "washer", "c", "only/thistle", not},
		{"subscribe", "guest", "c", "hall/light/set", not},
		{"subscribe", "washer", "c", "tele/washer/x", not},
		{"subscribe", "nobody", "c", "cmnd/nobody/x", not},
		{"subscribe", "dryer", "c", "extra", not},
		{"subscribe", "washer", "+", "for/c2/x", not},
		{"subscribe", "washer", "#", "for/c2/x", not},
		{"subscribe ws", "washer", "c", "cmnd/dryer/POWER", not},
		{"subscribe #", "owner", "c", "any/thing", may},
		{"subscribe #", "washer", "c", "cmnd/dryer/POWER", not},
		{"subscribe #", "nobody", "c", "x", not},
		{"subscribe +/+", "guest", "c", "only/this", not},
		{"subscribe +/+", "washer", "c", "only/that", not},

		{"shared", "washer", "c", "cmnd/washer/POWER", may},
		{"shared", "washer", "c", "cmnd/dryer/POWER", not},
		{"shared", "guest", "c", "extra", not},
		{"shared #", "owner", "c", "any/thing", may},
		{"shared #", "washer", "c", "cmnd/dryer/POWER", not},

		{"retained", "washer", "c", "cmnd/washer/r", may},
		{"retained", "washer", "c", "cmnd/dryer/r", not},
		{"retained", "guest", "c", "hall/light", may},
		{"retained", "guest", "c", "hall/light/set", not},
		{"retained #", "washer", "c", "cmnd/dryer/r", not},
		{"retained #", "nobody", "c", "hall/light", not},
		{"retained #", "owner", "c", "hall/light", may},

		// What a role excepts, by every path; what another allows is not touched.
		{"publish 0", "tenant", "c", "hall/light", may},
		{"publish 0", "tenant", "c", "door/key", not},
		{"publish 1", "tenant", "c", "door/key", not},
		{"publish 2", "tenant", "c", "door", not}, // door/# excepts door
		{"publish 2", "tenant", "c", "doors", may},
		{"publish ws", "tenant", "c", "door/key", not},
		{"publish 1", "tenant", "c", "own/tenant", not},
		{"publish 1", "tenant", "c9", "own/c9", not},
		{"publish 1", "tenant", "c9", "own/c8", may},
		{"publish 1", "tenant", "+", "own/c8", not}, // an id that no exception can name may nothing
		{"publish 1", "keyholder", "c", "door/key", may},
		{"publish 1", "keyholder", "c", "door/lock", not},
		{"publish 1", "keyholder", "+", "door/key", may},
		{"retain", "tenant", "c", "hall/r", may},
		{"retain", "tenant", "c", "door/r", not},
		{"clear", "tenant", "c", "door/r", not},
		{"clear", "keyholder", "c", "door/key", may},
		{"alias", "tenant", "c", "hall/light", may},
		{"alias", "tenant", "c", "door/key", not},
		{"will", "tenant", "c", "hall/LWT", may},
		{"will", "tenant", "c", "door/LWT", not},
		{"retained will", "tenant", "c", "door/LWT", not},
		{"retained will", "keyholder", "c", "door/key", may},
		{"delayed will", "tenant", "c", "door/LWT", not},
		{"subscribe", "tenant", "c", "hall/light", may},
		{"subscribe", "tenant", "c", "door/key", not},
		{"subscribe", "tenant", "c", "own/tenant", not},
		{"subscribe", "tenant", "+", "hall/light", not},
		{"subscribe", "keyholder", "c", "door/key", may},
		{"subscribe", "keyholder", "c", "door/lock", not},
		{"subscribe ws", "tenant", "c", "door/key", not},
		{"subscribe #", "tenant", "c", "hall/light", may},
		{"subscribe #", "tenant", "c", "door/key", not},
		{"subscribe #", "tenant", "c", "own/c", not},
		{"subscribe #", "keyholder", "c", "door/key", may},
		{"subscribe +/+", "tenant", "c", "hall/light", may},
		{"subscribe +/+", "tenant", "c", "door/key", not},
		{"shared", "tenant", "c", "hall/light", may},
		{"shared", "tenant", "c", "door/key", not},
		{"shared #", "tenant", "c", "hall/light", may},
		{"shared #", "tenant", "c", "door/key", not},
		{"shared #", "keyholder", "c", "door/key", may},
		{"retained", "tenant", "c", "hall/r", may},
		{"retained", "tenant", "c", "door/r", not},
		{"retained #", "tenant", "c", "hall/r", may},
		{"retained #", "tenant", "c", "door/r", not},
		{"retained #", "keyholder", "c", "door/key", may},
		{"resend", "tenant", "c", "hall/x", may},
		{"resend", "tenant", "c", "later", not}, // excepted by the reload
		{"live after a reload", "tenant", "c", "later", not},
		{"publish after a reload", "tenant", "c", "later", not},
		{"takeover", "keyholder", "", "cmnd/dryer/x", not},

		{"resend", "washer", "c", "only/this", may},
		{"resend", "washer", "c", "extra", not},
		{"live after a reload", "washer", "c", "only/this", may},
		{"live after a reload", "washer", "c", "extra", not},
		{"publish after a reload", "washer", "c", "tele/washer/x", may},
		{"publish after a reload", "washer", "c", "extra", not},

		{"takeover", "dryer", "", "cmnd/dryer/x", may},
		{"takeover", "dryer", "", "only/this", may},
		{"takeover", "washer", "", "cmnd/dryer/x", not},
		{"takeover", "washer", "", "only/this", not}, // though it may have that, it is another's
		{"takeover", "guest", "", "cmnd/dryer/x", not},
		{"takeover", "owner", "", "cmnd/dryer/x", not},
	}
	var paths []string
	for _, row := range rows {
		if !slices.Contains(paths, row.path) {
			paths = append(paths, row.path)
		}
	}
	if len(rows) < 60 || len(paths) != len(accessPaths) {
		t.Errorf("%d rows by %d paths of %d", len(rows), len(paths), len(accessPaths))
	}
	g := openGuard(t)
	for _, row := range rows {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("%s, %s as %q, %s (version %d)", row.path, row.user, row.id, row.topic, version), func(t *testing.T) {
				inner := *g
				inner.T, inner.want = t, row.want
				inner.owner.t = t
				defer func() { g.marks = inner.marks }()
				inner.alone()
				inner.seen("")
				if got := accessPaths[row.path](&inner, row.user, row.id, row.topic, version); got != row.want {
					t.Errorf("got through: %v, want %v", got, row.want)
				}
			})
		}
	}
}

// A wider filter than what is excepted is granted, one that lies in it is not. A
// message that some members of a group may not have goes to one that may.
func TestAccessToWhatIsExcepted(t *testing.T) {
	for _, version := range []byte{4, 5} {
		g := openGuard(t)
		const refused = 0x80 // for MQTT 5 too; what no rule allows is 0x87 there
		if got, want := g.login(g.tcp, "guest", "g", version).subscribe(1, 1, "door/key")[0], map[byte]byte{4: 0x80, 5: 0x87}[version]; got != want {
			t.Errorf("version %d: SUBACK of what no rule allows is %#x, want %#x", version, got, want)
		}
		for filter, want := range map[string]byte{
			"#": 1, "+/+": 1, "+/key": 1, "door": refused, "door/#": refused, "door/+": refused, "door/+/x": refused, "door/key": refused,
			"own/+": 1, "own/c": refused, "own/d": 1, "all/+/ok": 1, "all/secret/ok": refused,
		} {
			if got := g.login(g.tcp, "tenant", "c", version).subscribe(1, 1, filter)[0]; got != want {
				t.Errorf("version %d: SUBACK of %s is %#x, want %#x", version, filter, got, want)
			}
		}
	}

	g := openGuard(t)
	tenant, keyholder := g.login(g.tcp, "tenant", "t", 5), g.login(g.tcp, "keyholder", "k", 5)
	tenant.subscribe(1, 1, "$share/g/#")
	keyholder.subscribe(1, 1, "$share/g/#")
	for range 5 {
		g.owner.publish("door/key", "x", 0, 0)
		g.seen("")
		first := keyholder.got("door/key")
		if again := keyholder.got("door/key"); !first && !again {
			t.Error("a message of the group went to who may not have it")
		}
	}
	if tenant.got("door/key") {
		t.Error("it came")
	}
}

// A user who is taken away is disconnected; others stay.
func TestAccessOfAUserWhoIsGone(t *testing.T) {
	g := openGuard(t)
	gone, stays := g.login(g.tcp, "guest", "gone", 5), g.login(g.tcp, "washer", "stays", 5)
	stays.subscribe(1, 0, "extra")
	at := strings.Index(accessTOML, "[broker.user.guest]")
	without := accessTOML[:at] + accessTOML[strings.Index(accessTOML, "[broker.user.nobody]"):]
	g.configure(without)
	if why := gone.wantEnd(); why != 0x87 && why != 0x98 {
		t.Errorf("reason %#x", why)
	}
	stays.alive()
	c := speak(t, dial(t, g.tcp), 4)
	c.send(connectPacket("gone", 4, as("guest", "secret")))
	if pk := c.want(packets.Connack); pk.ReasonCode != 4 && pk.ReasonCode != 5 {
		t.Errorf("CONNACK %#x", pk.ReasonCode)
	}
}

// Somebody who guesses passwords does not lock out, nor slow, who knows theirs.
func TestAccessWhileSomebodyGuesses(t *testing.T) {
	g := openGuard(t)
	for i := range 20 {
		c := speak(t, dial(t, g.tcp), 4)
		c.send(connectPacket(fmt.Sprint("guess", i), 4, as("washer", fmt.Sprint("guess", i))))
	}
	start := time.Now()
	g.login(g.ws, "dryer", "dryer", 4).alive()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("a good login took %v", d)
	}
}
