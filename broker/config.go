package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"hearth/broker/access"
	"hearth/config"
)

// Config is the [broker] table.
type Config struct {
	// Listen names where clients connect: "127.0.0.1:1883" (or with "tcp://"
	// before it), "ws://127.0.0.1:8083" for MQTT over WebSocket, "unix:///path"
	// for a socket of mode 0660. Port 0 takes a free one. None: 127.0.0.1:1883.
	// Until logins exist only addresses of this machine itself are accepted.
	Listen []string `toml:"listen"`

	access.Config // who may do what
}

const defaultListen = "127.0.0.1:1883"

// Check reports what Prepare would refuse, at its place in the file.
func (c *Config) Check(at config.Place) {
	seen := map[address]bool{}
	for i, s := range c.Listen {
		where := at.Key("listen").Index(i)
		a, err := parseAddress(s)
		switch {
		case err != nil:
			where.Mistake("%v", err)
		case seen[a] && !a.free():
			where.Mistake("is listed twice, want it once")
		}
		seen[a] = true
	}
}

// addresses gives the addresses of a config, or every reason why not.
func (c Config) addresses() ([]address, error) {
	listen := c.Listen
	if len(listen) == 0 {
		listen = []string{defaultListen}
	}
	var mistakes []error
	seen := map[address]bool{}
	var all []address
	for _, s := range listen {
		a, err := parseAddress(s)
		if err == nil && seen[a] && !a.free() {
			err = errors.New("is listed twice, want it once")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("listen on %q: %w", s, err))
			continue
		}
		seen[a] = true
		all = append(all, a)
	}
	return all, errors.Join(mistakes...)
}

// An address is one entry of listen. Two entries are the same listener if and
// only if their addresses are equal.
type address struct {
	scheme string // "tcp", "ws" or "unix"
	at     string // host:port, or a path
}

// free says whether the address is a new one each time.
func (a address) free() bool { return a.scheme != "unix" && strings.HasSuffix(a.at, ":0") }

// String is the address as a config would have it.
func (a address) String() string {
	if a.scheme == "tcp" {
		return a.at
	}
	return a.scheme + "://" + a.at
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
	case "tcp", "ws":
	case "tls", "wss":
		return address{}, fmt.Errorf("TLS does not exist yet, want %q", defaultListen)
	default:
		return address{}, fmt.Errorf(`%s:// is unknown, want "host:port", "ws://host:port" or "unix:///path"`, scheme)
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return address{}, fmt.Errorf("want a host and a port, such as %q", defaultListen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return address{}, fmt.Errorf("port %q is none, want a number from 0 to 65535", port)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) {
		return address{}, errNotLoopback
	}
	return address{scheme, net.JoinHostPort(host, port)}, nil
}

var errNotLoopback = errors.New("until logins exist anyone who reaches the broker may switch everything, " +
	`so it listens on this machine only; want "127.0.0.1:1883", "[::1]:1883", "localhost:1883" or "unix:///run/hearth/mqtt.sock"`)
