package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strings"
	"time"

	"hearth/broker"
	"hearth/broker/access"
	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/store"
	"hearth/web"
)

// people are the users of the broker as the page knows them: the same names, passwords and
// bans, and what their roles allow on the page.
type people struct{ *Hub }

func (p people) Login(ctx context.Context, from netip.Addr, user, password string, key []byte) (mark []byte, err error) {
	for {
		before := p.door.Table()
		if _, err := p.door.Login(ctx, access.Attempt{User: user, Password: []byte(password), Addr: from}); err != nil {
			if errors.Is(err, access.ErrBanned) || errors.Is(err, access.ErrBusy) {
				err = fmt.Errorf("%w: %w", web.ErrLater, err)
			}
			return nil, err
		}
		mark := p.door.Mark(user, key)
		if p.door.Table() == before { // else the password may have been changed meanwhile
			return mark, nil
		}
	}
}

func (p people) Mark(user string, key []byte) []byte { return p.door.Mark(user, key) }

func (p people) Rights(user string) web.Rights {
	if user == "" { // who needs no login over MQTT is nobody here
		return nil
	}
	return webRights(p.door.Rights(user, ""))
}

func (p people) Token(secret string) (name string, rights web.Rights) {
	name, r := p.door.Token(secret)
	return name, webRights(r)
}

func (p people) Version() any { return p.door.Table() }

func (p people) Any() bool { return p.door.Table().AnyOnPage() }

// AddFirst makes the first user of the page.
func (p people) AddFirst(ctx context.Context, user, password string) error {
	hash := access.Hash([]byte(password))
	err := p.change(func(users broker.Config, file string) error {
		if _, ok := users.User[user]; ok {
			return fmt.Errorf("user %q is in the configuration, where it has no role that lets it see the page", user)
		}
		return access.AddUser(file, user, hash, []string{access.Admin})
	})
	if err == nil {
		p.log.Info("the first user of the page was made", "user", user)
	}
	return err
}

// rights are a user's as the page asks for them. Its levels have the same order as those
// of roles.
type rights struct{ of *access.Rights }

func webRights(of *access.Rights) web.Rights {
	if of == nil {
		return nil
	}
	return rights{of}
}

func (r rights) Most() web.Level                   { return web.Level(r.of.Page()) }
func (r rights) On(topic string, l web.Level) bool { return r.of.On(topic, access.Page(l)) }
func (r rights) Publish(topic string) bool         { return r.of.Publish(topic) }
func (r rights) Whole(l web.Level) bool            { return r.of.Whole(access.Page(l)) }

// shelf keeps who is logged in to the page in the store.
type shelf struct{ *store.Store }

func (s shelf) Each() iter.Seq2[string, []byte] { return s.Store.Each(store.Visit) }

// Put writes it at once: who has logged out must not be logged in again after a power cut.
func (s shelf) Put(key string, value []byte) {
	s.Store.Put(store.Record{Kind: store.Visit, Key: key, Value: value}, 0, nil)
}

// openPage makes the page, which does not listen yet.
func (h *Hub) openPage() *web.Server {
	return web.New(page{h}, web.Options{
		People: people{h},
		Shelf:  shelf{h.store},
		Clock: func() (time.Time, bool) {
			now := h.now()
			return now.Wall, now.Known
		},
		Log: h.log,
	})
}

// invite tells a person where to make the first user of the page, if one is needed.
func (h *Hub) invite() {
	if h.opt.Invite == nil || h.opt.Offline {
		return
	}
	if path := h.web.Invite(); path != "" {
		h.opt.Invite(h.PageURL() + path)
	}
}

// PageURL is where a browser finds the page, "" if it is off. Of a page on all addresses
// of the machine it is one by which others reach it.
func (h *Hub) PageURL() string {
	addr := h.web.Addr()
	if addr == "" {
		return ""
	}
	at, err := netip.ParseAddrPort(addr)
	if err == nil && at.Addr().IsUnspecified() {
		addr = netip.AddrPortFrom(reached(), at.Port()).String()
	}
	return h.web.Scheme() + "://" + addr
}

// reached is an address by which others may reach this machine: that from which it would
// send to the rest of the world, which needs no list of its interfaces (the unit of systemd
// forbids that) and is none of a container's bridge. Nothing is sent. Without a way out it
// is any address at home, and loopback if there is none.
func reached() netip.Addr {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // which are nobody's
		nc, err := net.Dial("udp", far)
		if err != nil {
			continue
		}
		at, err := netip.ParseAddrPort(nc.LocalAddr().String())
		nc.Close()
		if err == nil && !at.Addr().IsLoopback() {
			return at.Addr().Unmap()
		}
	}
	if all, err := net.InterfaceAddrs(); err == nil {
		for _, one := range all {
			if p, err := netip.ParsePrefix(one.String()); err == nil && p.Addr().Unmap().IsPrivate() {
				return p.Addr().Unmap()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// --- By what topics it is judged who may see a reading ---

// topicsOf are those of a reading: the one it came on, or of what is wired the one on
// which the hub says it. What is computed has none.
func (h *Hub) topicsOf(r devices.Reading) []string {
	if r.Topic != "" {
		return []string{r.Topic}
	}
	return h.topicsOfWired(r.Source)
}

func (h *Hub) topicsOfWired(source string) []string {
	if name := ofWired(source); h.known.Load().wired[name] {
		return []string{topic(name, "state")}
	}
	return nil
}

// topicsOfProperty are all those on which a device reports it.
func topicsOfProperty(p *catalog.Property) (all []string) {
	for _, r := range p.Reports {
		all = append(all, r.Topic)
	}
	return all
}

// plainTopics is the topic that a source without wildcards listens to.
func plainTopics(filter string) []string {
	if filter == "" || strings.ContainsAny(filter, "+#{") {
		return nil
	}
	return []string{filter}
}
