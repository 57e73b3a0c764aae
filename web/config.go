package web

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/certs"
	"hearth/config"
)

// Config is what the owner writes about the page.
type Config struct {
	// Listen is the address and port of the page, 127.0.0.1:8080 where it is
	// not given; "" turns the page off.
	Listen *string `toml:"listen"`

	// Anonymous says whether programs and people on this machine need no login. Default
	// true, and it counts on a loopback address alone.
	Anonymous *bool `toml:"anonymous"`

	// Names are what the page is called beside its addresses and the machine's own name:
	// in DNS, or by a proxy before it.
	Names []string `toml:"names" eg:"[\"hearth.home.arpa\"]"`

	// Favourites are the things that the page shows first.
	Favourites []string `toml:"favourites" eg:"[\"heater\", \"hall.temperature\"]"`

	// Language is that of the page, "en" or "de"; without it each browser's own.
	Language string `toml:"language" eg:"\"de\""`

	TLS *TLS `toml:"tls"`

	// Metrics tells Prometheus on /metrics what the house measures and how the hub is
	// doing. Default true.
	Metrics *bool `toml:"metrics"`
}

// TLS is [web.tls]: with it the page is https. Files are relative to the one that names
// them; `hearth tls init` makes them for a house that has none.
type TLS struct {
	Certificate string `toml:"certificate" eg:"\"page.crt\""` // PEM, with those between it and its CA behind it
	Key         string `toml:"key" eg:"\"page.key\""`         // PEM, without a passphrase

	dir string // of the file it is written in
}

// Check says what is missing, and what is wrong with files that can be read.
func (t *TLS) Check(at config.Place) {
	t.dir = filepath.Dir(at.Position().File)
	t.files().Check(at)
}

func (t *TLS) files() certs.Files {
	return certs.Files{Table: "web.tls", Of: "page", Dir: t.dir, Certificate: t.Certificate, Key: t.Key}
}

// Files are the paths of all that are read, the certificate first.
func (t *TLS) Files() []string { return t.files().Paths() }

// Until is when the certificate expires.
func (t *TLS) Until() (time.Time, error) { return t.files().Until() }

const defaultListen = "127.0.0.1:8080"

func (c Config) listen() string {
	if c.Listen == nil {
		return defaultListen
	}
	return *c.Listen
}

// Reach is where the page listens, "" for nowhere, and whether others than this machine can
// come there.
func (c Config) Reach() (at string, open bool) {
	a, err := parseListen(c.listen())
	if err != nil || !a.on {
		return "", false
	}
	return c.listen(), !a.loopback()
}

// Check reports what the page can't be served by.
func (c Config) Check(at config.Place) {
	a, err := parseListen(c.listen())
	switch {
	case err != nil:
		at.Key("listen").Mistake("%s", err)
	case c.Anonymous != nil && *c.Anonymous && a != (address{}) && !a.loopback():
		at.Key("anonymous").Mistake("the page can be reached from other machines, by web.listen, and there everybody needs a login: leave it out")
	}
	if c.Language != "" && !slices.Contains(languages, c.Language) {
		at.Key("language").Mistake("want one of the languages of the page: \"en\" or \"de\"")
	}
	for i, name := range c.Names {
		if !isName(name) {
			at.Key("names").Index(i).Mistake("want a name as it stands in a browser's address, such as \"hearth.home.arpa\", without http:// and port")
		}
	}
}

// isName says whether a text may be the name of a host.
func isName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	})
}

// An address is where to listen. The zero one is nowhere.
type address struct {
	ip   netip.Addr // the zero Addr: all addresses of the machine, as in ":8080"
	port uint16
	on   bool
}

func (a address) loopback() bool { return a.ip.IsLoopback() }

// everywhere says whether it is on all addresses of the machine.
func (a address) everywhere() bool { return !a.ip.IsValid() || a.ip.IsUnspecified() }

func (a address) String() string {
	if !a.ip.IsValid() {
		return fmt.Sprintf(":%d", a.port)
	}
	return netip.AddrPortFrom(a.ip, a.port).String()
}

// parseListen reads where to listen, the zero address for "". The error says what would
// be right.
func parseListen(listen string) (address, error) {
	if listen == "" {
		return address{}, nil
	}
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return address{}, fmt.Errorf("want an address and a port such as %q, or \"0.0.0.0:8080\" for all who reach this machine", defaultListen)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("want a port from 0 to 65535 behind the colon, such as %q", defaultListen)
	}
	switch {
	case host == "":
		return address{port: uint16(port), on: true}, nil
	case strings.EqualFold(host, "localhost"):
		host = "127.0.0.1" // whatever /etc/hosts says of it
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return address{}, fmt.Errorf("want an address of this machine in digits, such as %q, or \"0.0.0.0:8080\" for all of them", defaultListen)
	}
	return address{ip.Unmap(), uint16(port), true}, nil
}

// settings are what requests are judged by.
type settings struct {
	quiet     bool // there are no metrics
	loopback  bool // only this machine reaches the page
	anonymous bool // and needs no login
	names     []string
	language  string        // "": the browser's
	keeper    *certs.Keeper // nil: no TLS
}

func (c Config) settings(log *slog.Logger) (*settings, error) {
	a, err := parseListen(c.listen())
	if err != nil {
		return nil, err
	}
	set := &settings{
		quiet:     c.Metrics != nil && !*c.Metrics,
		loopback:  a.loopback(),
		anonymous: a.loopback() && (c.Anonymous == nil || *c.Anonymous),
		names:     c.Names,
		language:  c.Language,
	}
	if c.TLS != nil && a.on {
		if set.keeper, err = c.TLS.files().Open(log); err != nil {
			return nil, err
		}
	}
	return set, nil
}
