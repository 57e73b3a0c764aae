package bridge

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/broker/topic"
	"hearth/config"
)

// Config is the bridges of a house: [bridge.NAME].
type Config struct {
	Bridge config.Table[Remote] `toml:"bridge"`
}

// A Server is another broker, and how to reach it and to log in there.
type Server struct {
	// Address is where the other broker listens: "garage.local:1883",
	// "tls://garage.local:8883", "ws://garage.local:8083" or "wss://…" for MQTT over
	// WebSocket (with a path, if it wants one), "unix:///run/mosquitto.sock". Without
	// a port it is the usual one.
	Address string `toml:"address,required" eg:"\"garage.local:1883\""`

	// User and Password are the login there. A password may stand in a file of its
	// own instead, whose first line it is.
	User         string `toml:"user" eg:"\"house\""`
	Password     string `toml:"password"`
	PasswordFile string `toml:"password_file" eg:"\"garage.password\""`

	// ClientID is the name under which the other broker keeps what waits for this
	// house, so it must stay the same and belong to no one else. Default: the
	// house's name, a number of its own, and the bridge's name.
	ClientID string `toml:"client_id" eg:"\"house\""`

	// Keepalive is how long nothing may be heard before the connection is tried
	// for life. Default 60s.
	Keepalive config.Duration `toml:"keepalive" min:"5s" max:"12h"`

	// Session is how long the other broker is asked to keep what waits for this
	// house while the link is down. Default 7d; of a Connect 1h.
	Session config.Duration `toml:"session" min:"1m" max:"365d"`

	// Backoff is how long it waits before it tries again.
	Backoff Backoff `toml:"backoff"`

	// TLS is for addresses with tls:// and wss://.
	TLS TLS `toml:"tls"`
}

// Files are the paths of the files that it names, which are relative to dir.
func (s Server) Files(dir string) (files []string) {
	for _, name := range []string{s.PasswordFile, s.TLS.CA, s.TLS.Certificate, s.TLS.Key} {
		switch {
		case name == "":
		case filepath.IsAbs(name):
			files = append(files, name)
		default:
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files
}

// A Remote is another broker and what is exchanged with it.
type Remote struct {
	Server

	// Topics are what passes.
	Topics []Topic `toml:"topics,required" eg:"[{ filter = \"garage/#\", direction = \"both\" }]"`

	whole bool // see Connect
}

// A Connect is the broker that a house uses as its own: [broker] connect. It is
// written as an address, or as a table where more is to be said. All that the hub
// publishes goes out to it.
type Connect struct {
	Server

	// Topics are filters of what the house hears from there. Default: all.
	Topics []string `toml:"topics" eg:"[\"zigbee2mqtt/#\"]"`
}

// ConnectName is the name of the bridge that a Connect is.
const ConnectName = "broker"

// DecodeTOML reads an address, or a table.
func (c *Connect) DecodeTOML(v any, at config.Place) {
	if address, ok := v.(string); ok {
		if c.Address = address; address == "" {
			at.Mistake(`want the address of a broker, such as "mqtt://mosquitto.lan:1883", or leave it out`)
		}
		return
	}
	type table Connect // without this method
	config.Decode(v, (*table)(c), at)
}

// Check says what could never work.
func (c Connect) Check(at config.Place) {
	address := at.Key("address")
	if !address.Given() {
		address = at // it is the address itself
	}
	c.check(at, address)
	for i, f := range c.Topics {
		where := at.Key("topics").Index(i)
		if why := fault(f); why != "" {
			where.Mistake("%s", why)
			continue
		}
		for j, other := range c.Topics[:i] {
			if fault(other) == "" && topic.Meet(f, other) {
				where.Mistake("topics[%d], %q, is about some of the same topics: each would come twice, want filters that have none in common", j+1, other)
				break
			}
		}
	}
}

// Bridge is the bridge that the house's broker is: all goes out, and comes in
// what the house wants to hear.
func (c Connect) Bridge() config.Named[Remote] {
	r := Remote{Server: c.Server, whole: true}
	if len(c.Topics) == 0 {
		r.Topics = []Topic{{Filter: "#", Direction: "both"}}
	} else {
		r.Topics = []Topic{{Filter: "#", Direction: "out"}}
	}
	for _, f := range c.Topics {
		r.Topics = append(r.Topics, Topic{Filter: f, Direction: "in"})
	}
	return config.Named[Remote]{Name: ConnectName, Value: r}
}

// Backoff bounds how long is waited before the other broker is tried again: Min at
// first, then twice as long each time, up to Max; each a little less by chance.
type Backoff struct {
	Min config.Duration `toml:"min" min:"10ms" max:"1h"` // default 250ms
	Max config.Duration `toml:"max" min:"10ms" max:"1d"` // default 60s
}

// TLS says how the other broker proves who it is, and how this house does.
type TLS struct {
	CA          string `toml:"ca" eg:"\"ca.pem\""`              // who signed its certificate; default: those whom the system trusts
	Certificate string `toml:"certificate" eg:"\"house.pem\""`  // of this house, if the other broker asks for one
	Key         string `toml:"key" eg:"\"house.key\""`          // its private key
	ServerName  string `toml:"server_name" eg:"\"broker.lan\""` // the name in its certificate; default: the host of the address
}

// A Topic is one line of what passes.
type Topic struct {
	// Filter names topics as MQTT does, without the prefixes.
	Filter string `toml:"filter,required" eg:"\"garage/#\""`

	// Direction: "out" from here to the other broker, "in" from there to here, or
	// "both".
	Direction string `toml:"direction,required" enum:"in,out,both" eg:"\"both\""`

	// QoS is the most a message passes with. 0 is lost while the link is down, 1
	// (the default) waits and may come twice after a break, 2 comes once.
	QoS *int `toml:"qos" min:"0" max:"2"`

	// The prefixes stand before Filter on either side: "cellar/" there and "" here
	// makes the other broker's cellar/door a door here.
	LocalPrefix  string `toml:"local_prefix" eg:"\"garage/\""`
	RemotePrefix string `toml:"remote_prefix" eg:"\"house/\""`

	// Retain false passes retained messages as plain ones, and not those that are
	// found. Default true.
	Retain *bool `toml:"retain"`
}

func (t Topic) in() bool   { return t.Direction != "out" }
func (t Topic) out() bool  { return t.Direction != "in" }
func (t Topic) qos() byte  { return byte(*cmp.Or(t.QoS, &one)) }
func (t Topic) keep() bool { return t.Retain == nil || *t.Retain }

var one = 1

func (r Remote) keepalive() time.Duration {
	return cmp.Or(time.Duration(r.Keepalive), 60*time.Second)
}
func (r Remote) session() time.Duration {
	if r.whole && r.Session == 0 {
		return time.Hour
	}
	return cmp.Or(time.Duration(r.Session), 7*24*time.Hour)
}
func (b Backoff) min() time.Duration { return cmp.Or(time.Duration(b.Min), 250*time.Millisecond) }
func (b Backoff) max() time.Duration {
	return max(b.min(), cmp.Or(time.Duration(b.Max), time.Minute))
}

// Check says what could never work, or would go round in circles.
func (r Remote) Check(at config.Place) {
	r.check(at, at.Key("address"))
	r.checkTopics(at.Key("topics"))
}

// check says it of the server alone, whose address stands at address.
func (r Server) check(at, address config.Place) {
	scheme, host := "", ""
	if r.Address != "" {
		var err error
		if scheme, host, _, err = parseAddress(r.Address); err != nil {
			if strings.Contains(r.Address, "@") { // maybe behind a password
				address = address.Hidden()
			}
			address.Mistake("%v", err)
		}
	}
	secure := scheme == "tls" || scheme == "wss"
	switch {
	case r.Password != "" && r.PasswordFile != "":
		at.Key("password_file").Mistake("password is given too, want one of them")
	case r.User == "" && (r.Password != "" || r.PasswordFile != ""): // not at the password, which would be shown
		at.Key("user").Mistake("missing, for there is a password: want for example user = \"house\"")
	case r.User != "" && (scheme == "tcp" || scheme == "ws") && !isLoopback(host):
		address.Warn("the password can be read by whoever listens on the way; tls:// or wss:// would hide it")
	}
	for _, s := range []struct{ key, value string }{{"user", r.User}, {"password", r.Password}, {"client_id", r.ClientID}} {
		if len(s.value) > 65535 || strings.ContainsRune(s.value, 0) {
			at.Mistake("MQTT has no place for this %s, want at most 65535 bytes and no NUL", s.key)
		}
	}
	if lo, hi := r.Backoff.Min, r.Backoff.Max; lo > 0 && hi > 0 && hi < lo {
		at.Key("backoff").Key("max").Mistake("want at least min, which is %v", lo)
	}
	if r.TLS != (TLS{}) && scheme != "" && !secure {
		at.Key("tls").Mistake(`the address is not encrypted, want "tls://host:8883" or "wss://…" there, or no tls here`)
	}
	if (r.TLS.Certificate == "") != (r.TLS.Key == "") {
		have, lack := "certificate", "key"
		if r.TLS.Key != "" {
			have, lack = lack, have
		}
		at.Key("tls").Key(lack).Mistake("missing, for %s needs it", have)
	}
}

func (r Remote) checkTopics(at config.Place) {
	sound := make([]bool, len(r.Topics))
	for i, t := range r.Topics {
		sound[i] = t.check(at.Index(i))
	}
	for i, t := range r.Topics {
		for j, u := range r.Topics[:i] {
			if !sound[i] || !sound[j] {
				continue
			}
			both := t.out() && u.out() && topic.Meet(t.local(), u.local())
			if both || t.in() && u.in() && topic.Meet(t.remote(), u.remote()) {
				at.Index(i).Key("filter").Mistake("topics[%d], %q, is about some of the same topics in this direction: each would pass twice, want filters that have none in common", j+1, u.Filter)
				break
			}
		}
	}
}

// check is what is wrong with one line alone.
func (t Topic) check(at config.Place) bool {
	ok := true
	mistake := func(key, format string, args ...any) {
		at.Key(key).Mistake(format, args...)
		ok = false
	}
	if t.Filter == "" || !slices.Contains([]string{"in", "out", "both"}, t.Direction) {
		return false // which has been said
	}
	if why := fault(t.Filter); why != "" {
		mistake("filter", "%s", why)
	}
	for _, p := range []struct{ key, prefix string }{{"local_prefix", t.LocalPrefix}, {"remote_prefix", t.RemotePrefix}} {
		switch {
		case p.prefix == "":
		case strings.ContainsAny(p.prefix, "+#"):
			mistake(p.key, "a prefix has no wildcards, want for example \"garage/\"")
		case strings.HasPrefix(p.prefix, "$"):
			mistake(p.key, "%s", fault(p.prefix))
		case fault(p.prefix) != "":
			mistake(p.key, "%s; want for example \"garage/\"", topic.Fault(p.prefix, false, 65535, 65535))
		case !strings.HasSuffix(p.prefix, "/"):
			mistake(p.key, "want a slash at the end: write %q", p.prefix+"/")
		}
	}
	if ok && t.Direction == "both" && t.LocalPrefix != t.RemotePrefix && topic.Meet(t.local(), t.remote()) {
		mistake("filter", "both ways, %q here and %q there name some of the same topics: what came in from there would go out again under another name, and so on; want a narrower filter, the same prefixes, or one direction", t.local(), t.remote())
	}
	return ok
}

// parseAddress gives the scheme, the host, and what is dialled: an address of the
// network, or all of a WebSocket's. An error is what would be right. A port that is
// not given is the usual one: 1883, 8883 over TLS, and for WebSocket those of the web.
func parseAddress(s string) (scheme, host, at string, err error) {
	fail := func(format string, args ...any) (string, string, string, error) {
		return "", "", "", fmt.Errorf(format, args...)
	}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "tcp", s
	}
	port := "1883"
	switch scheme {
	case "tcp", "mqtt":
		scheme = "tcp"
	case "tls", "mqtts", "ssl":
		scheme, port = "tls", "8883"
	case "unix":
		if !filepath.IsAbs(rest) {
			return fail(`want an absolute path, such as "unix:///run/mosquitto.sock"`)
		}
		return scheme, rest, rest, nil
	case "ws", "wss":
	default:
		return fail(`%s:// is unknown, want "host", "host:1883", "tls://host", "ws://host", "wss://host" or "unix:///path"`, scheme)
	}
	if strings.Contains(rest, "@") {
		return fail("want no login in the address: user and password are keys of their own")
	}
	if strings.HasPrefix(scheme, "ws") {
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || u.Fragment != "" {
			return fail("want a host and maybe a port and a path, such as \"%s://garage.local:8083/mqtt\"", scheme)
		}
		return scheme, u.Hostname(), s, nil
	}
	if strings.LastIndexByte(rest, ':') <= strings.LastIndexByte(rest, ']') { // those within brackets are of IPv6
		rest += ":" + port
	}
	host, port, err = net.SplitHostPort(rest)
	if err != nil || host == "" || strings.ContainsAny(host, "/ ") {
		return fail("want a host and maybe a port, such as %q", map[string]string{"tcp": "garage.local:1883", "tls": "tls://garage.local:8883"}[scheme])
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fail("port %q is none, want a number from 1 to 65535", port)
	}
	return scheme, host, rest, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
