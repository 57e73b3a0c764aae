package broker

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/broker/access"
	"hearth/broker/topic"
	"hearth/config"
)

// Config is the [broker] table.
type Config struct {
	// Listen names where clients connect: "127.0.0.1:1883" (or with "tcp://"
	// before it), "tls://0.0.0.0:8883", "ws://127.0.0.1:8083" and "wss://" for
	// MQTT over WebSocket, "unix:///path" for a socket of mode 0660. Port 0 takes
	// a free one. None: 127.0.0.1:1883.
	Listen []string `toml:"listen"`

	access.Config // who may do what

	// Origins are the pages that may connect over WebSocket, such as
	// "https://dash.home", beside those that come from the broker's own address.
	Origins []string `toml:"origins"`

	// RetainedInterval is how often the retained value of a topic is written to the
	// disk at most, and so how old it may come back after a power cut; 0: always
	// before the acknowledgement. Default 5m. RetainedIntervals are the same by topic
	// filter: of those that match a topic the most specific counts.
	RetainedInterval  *config.Duration           `toml:"retained_interval" max:"1d"`
	RetainedIntervals map[string]config.Duration `toml:"retained_intervals"`

	TLS    *TLS   `toml:"tls"`
	Limits Limits `toml:"limits"`

	// Closed is for a broker that only the process itself speaks to: no listener at
	// all, not the default one either.
	Closed bool
}

const (
	defaultListen           = "127.0.0.1:1883"
	defaultRetainedInterval = 5 * time.Minute
)

// Check reports what Prepare would refuse, at its place in the file.
func (c *Config) Check(at config.Place) {
	c.mistakes(func(err error, key string, i int) {
		where := at.Key(key)
		if i >= 0 {
			where = where.Index(i)
		}
		where.Mistake("%v", err)
	})
	intervals := at.Key("retained_intervals")
	for _, filter := range slices.Sorted(maps.Keys(c.RetainedIntervals)) {
		switch why := filterFault(filter); {
		case why != "":
			intervals.Key(filter).OfKey().Mistake("%s", why)
		case c.RetainedIntervals[filter] > longestInterval:
			intervals.Key(filter).Mistake("want a duration of at most %q", longestInterval.String())
		}
	}
	secure := slices.ContainsFunc(c.Listen, func(s string) bool { return strings.HasPrefix(s, "tls://") || strings.HasPrefix(s, "wss://") })
	if c.TLS != nil && !secure {
		at.Key("tls").Warn(`no listener uses it; want one such as "tls://0.0.0.0:8883" in broker.listen`)
	}
}

const longestInterval = config.Duration(24 * time.Hour)

var (
	errTwice = errors.New("is listed twice, want it once")
	errNoTLS = errors.New("needs a certificate, want a table [broker.tls] with certificate and key")
)

// mistakes says what is wrong, with the key and the index in its list or -1, and
// gives the addresses that are right.
func (c *Config) mistakes(say func(err error, key string, i int)) []address {
	var all []address
	for i, s := range c.Listen {
		a, err := parseAddress(s)
		if err == nil && a.secure() && c.TLS == nil {
			err = errNoTLS
		}
		for _, other := range all {
			if err == nil {
				err = a.beside(other)
			}
		}
		if err != nil {
			say(err, "listen", i)
			continue
		}
		all = append(all, a)
	}
	for i, s := range c.Origins {
		if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || s != u.Scheme+"://"+u.Host {
			say(errors.New(`want what a browser calls the origin of a page, such as "https://dash.home" or "http://192.168.1.5:8080"`), "origins", i)
		}
	}
	return all
}

// addresses gives the addresses of a config, or every reason why not.
func (c Config) addresses() ([]address, error) {
	if len(c.Listen) == 0 && !c.Closed {
		c.Listen = []string{defaultListen}
	}
	var mistakes []error
	all := c.mistakes(func(err error, key string, i int) {
		switch {
		case key == "listen":
			err = fmt.Errorf("listen on %q: %w", c.Listen[i], err)
		case i >= 0:
			err = fmt.Errorf("broker.%s[%d]: %w", key, i+1, err)
		default:
			err = fmt.Errorf("broker.%s: %w", key, err)
		}
		mistakes = append(mistakes, err)
	})
	return all, errors.Join(mistakes...)
}

// anonymous says whether a client without a login may be served.
func (c Config) anonymous() bool { return c.AnonymousAllowed() }

// limits are the limits of a config.
func (c Config) limits() limits { return c.Limits.over(defaultLimits()) }

// intervals say how often retained values are written. They never change.
type intervals struct {
	filters []string // the most specific of those that match a topic comes first
	each    []time.Duration
	other   time.Duration
}

func (c Config) intervals() *intervals {
	is := &intervals{other: defaultRetainedInterval}
	if c.RetainedInterval != nil {
		is.other = time.Duration(*c.RetainedInterval)
	}
	is.filters = slices.SortedFunc(maps.Keys(c.RetainedIntervals), func(a, b string) int {
		return strings.Compare(shape(a), shape(b))
	})
	for _, f := range is.filters {
		is.each = append(is.each, time.Duration(c.RetainedIntervals[f]))
	}
	return is
}

// shape sorts filters: two that match one topic differ first at a level where one
// of them has a wildcard, or ends before the #.
func shape(filter string) string {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch l {
		case "+":
			levels[i] = "1"
		case "#":
			levels[i] = "2"
		default:
			levels[i] = "0"
		}
	}
	return strings.Join(levels, "")
}

// of gives the interval of a topic.
func (is *intervals) of(name string) time.Duration {
	for i, f := range is.filters {
		if topic.Match(f, name) {
			return is.each[i]
		}
	}
	return is.other
}

// filterFault says why a filter of retained_intervals is none; "" is nothing.
func filterFault(filter string) string {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch {
		case strings.Contains(l, "#") && (l != "#" || i < len(levels)-1):
			return `# stands for the whole rest, want it alone and at the end, such as "tele/#"`
		case strings.Contains(l, "+") && l != "+":
			return `+ stands for one whole level, want it alone, such as "tele/+/state"`
		}
	}
	if levels[0] == "$share" {
		return "shared subscriptions have no values of their own, want a topic filter"
	}
	if why := topic.Fault(filter, true, math.MaxUint16, maxDepth); why != "" {
		return why + `, want a topic filter such as "tele/#"`
	}
	return ""
}

// An address is one entry of listen. Two entries are the same listener if and
// only if their addresses are equal.
type address struct {
	scheme string // "tcp", "tls", "ws", "wss" or "unix"
	at     string // host:port, or a path
}

// free says whether the address is a new one each time.
func (a address) free() bool { return a.scheme != "unix" && strings.HasSuffix(a.at, ":0") }

func (a address) secure() bool { return a.scheme == "tls" || a.scheme == "wss" }
func (a address) web() bool    { return a.scheme == "ws" || a.scheme == "wss" }

// String is the address as a config would have it.
func (a address) String() string {
	if a.scheme == "tcp" {
		return a.at
	}
	return a.scheme + "://" + a.at
}

// beside says why the kernel would not let a listen together with other.
func (a address) beside(other address) error {
	switch {
	case a.free() || other.free():
	case a == other:
		return errTwice
	case a.overlaps(other):
		return fmt.Errorf("%q is there already, and one port is for one listener; want one of the two", other)
	}
	return nil
}

// overlaps says whether two TCP addresses are of one port, and of one host or of
// all.
func (a address) overlaps(other address) bool {
	if a.scheme == "unix" || other.scheme == "unix" {
		return false
	}
	host, port, _ := net.SplitHostPort(a.at)
	host2, port2, _ := net.SplitHostPort(other.at)
	if port != port2 {
		return false
	}
	ip, err := netip.ParseAddr(host)
	ip2, err2 := netip.ParseAddr(host2)
	switch all, all2 := host == "" || ip == netip.IPv6Unspecified(), host2 == "" || ip2 == netip.IPv6Unspecified(); {
	case host == host2, all, all2: // [::] is IPv4 too
		return true
	case ip == netip.IPv4Unspecified():
		return err2 != nil || ip2.Is4()
	case ip2 == netip.IPv4Unspecified():
		return err != nil || ip.Is4()
	}
	return false
}

func parseAddress(s string) (address, error) {
	scheme, at, found := strings.Cut(s, "://")
	if !found {
		scheme, at = "tcp", s
	}
	switch scheme {
	case "unix":
		if !filepath.IsAbs(at) {
			return address{}, errors.New(`want an absolute path, such as "unix:///run/hearth/mqtt.sock"`)
		}
		if len(at) > 100 { // the kernel's own limit is 107 bytes
			return address{}, errors.New("is too long for a socket, want a path of at most 100 bytes")
		}
		return address{"unix", filepath.Clean(at)}, nil
	case "tcp", "tls", "ws", "wss":
	case "mqtt", "mqtts": // what clients call them
		return address{}, fmt.Errorf("want %q", map[string]string{"mqtt": "tcp", "mqtts": "tls"}[scheme]+"://"+at)
	default:
		return address{}, fmt.Errorf(`%s:// is unknown, want "host:port", "tls://host:port", "ws://host:port", "wss://host:port" or "unix:///path"`, scheme)
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return address{}, fmt.Errorf("want a host and a port, such as %q", defaultListen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return address{}, fmt.Errorf("port %q is none, want a number from 0 to 65535", port)
	}
	if !isHost(host) {
		return address{}, fmt.Errorf(`host %q is none, want an address of this machine such as "192.168.1.5" or "[::1]", or "0.0.0.0" for all of them`, host)
	}
	return address{scheme, net.JoinHostPort(host, port)}, nil
}

// isHost says whether a host is an IP address, or may be a name; "" is all
// addresses.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return true
	}
	for _, c := range []byte(host) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	// A name that ends in a number is an address that is wrong: "192.168.1".
	last := strings.TrimSuffix(host, ".")
	last = last[strings.LastIndex(last, ".")+1:]
	return len(host) <= 253 && last != "" && strings.Trim(last, "0123456789") != ""
}
