package hub

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"hearth/broker/access"
	"hearth/config"
)

// firstUser makes a user if by cfg nobody could log in where a login is needed, so
// that a hub that is new can be used and is open to nobody.
func (h *Hub) firstUser(cfg *Config) error {
	if h.opt.FirstUser == nil || !cfg.needsLogin() || cfg.Broker.AnyUser() {
		return nil
	}
	name, password, made, err := access.EnsureUser(cfg.UsersFile())
	if err != nil {
		return err
	}
	if made {
		h.opt.FirstUser(name, password) // at once: what follows may fail
	}
	return cfg.Broker.LoadUsers(cfg.UsersFile(), config.Place{}).Err()
}

// needsLogin says whether somebody may come who has to log in.
func (c *Config) needsLogin() bool {
	if c.Broker.Connect != nil {
		return false
	}
	if !c.Broker.AnonymousAllowed() {
		return true
	}
	for _, l := range c.Broker.Listen {
		if !thisMachine(l) {
			return true
		}
	}
	return false
}

// thisMachine says whether only clients of this machine reach an address to listen
// on.
func thisMachine(listen string) bool {
	scheme, at, found := strings.Cut(listen, "://")
	if !found {
		scheme, at = "tcp", listen
	}
	if scheme == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// A betterHash is to take the place of one that another program made of the same
// password, as of a Mosquitto's.
type betterHash struct{ user, was, hash string }

// write puts it into the users file. One in the configuration is its owner's to change,
// and what fails is tried again with the first login of the next life.
func (b betterHash) write(h *Hub) {
	file, err := ask(context.Background(), h, func() string { return h.cfg.UsersFile() })
	if err == nil {
		err = access.ReplaceHash(file, b.user, b.was, b.hash)
	}
	switch {
	case err == nil:
		h.log.Info("the hash of a password was replaced by a better one", "user", b.user, "file", file)
	case !errors.Is(err, access.ErrMissing) && !errors.Is(err, errStopped):
		h.log.Warn("the hash of a password could not be replaced by a better one", "user", b.user, "err", err)
	}
}
