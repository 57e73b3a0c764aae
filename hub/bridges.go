package hub

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"hearth/bridge"
	"hearth/broker"
	"hearth/store"
)

// openBridges makes the bridges to other brokers; none runs before the first
// Commit, when there is something to connect to.
func (h *Hub) openBridges() *bridge.Bridges {
	return bridge.New(bridge.Options{
		Local: func() net.Conn {
			here, there := net.Pipe()
			go h.broker.Attach(there) // which the broker's Close waits for
			return here
		},
		House:     h.houseName(),
		Dir:       filepath.Dir(h.cfg.path),
		Available: h.sayBridge,
		Keep: func(name string, value []byte) {
			h.store.Put(store.Record{Kind: store.Bridge, Key: name, Value: value}, 0, nil)
		},
		Kept:   func() map[string][]byte { return maps.Collect(h.store.Each(store.Bridge)) },
		Passes: passes,
		Will:   status,
		Dial:   h.opt.dial,
		Log:    h.opt.Log,
	})
}

// houseName is a name that no other house has, even if it has the same name in its
// configuration, and that stays the same while it keeps its own.
func (h *Hub) houseName() string { return h.cfg.name() + "-" + h.houseID() }

// houseID is that without the name, so it stays the same for ever.
func (h *Hub) houseID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "house %d", h.seed))
	return fmt.Sprintf("%x", sum[:4])
}

// sayBridge publishes whether a bridge has a link. It is not the loop's: bridges
// are stopped when that has ended.
func (h *Hub) sayBridge(name string, online, gone bool) {
	m := broker.Message{Topic: bridgeTopic(name), Payload: []byte("offline"), QoS: 1, Retain: true, Origin: said{}}
	switch {
	case gone:
		m.Payload = nil
	case online:
		m.Payload = []byte("online")
	}
	if err := h.broker.Publish(m); err != nil {
		h.log.Debug("the state of a bridge was not published", "bridge", name, "err", err)
	}
	if name == bridge.ConnectName {
		h.noteLink(online, gone)
	}
}

func bridgeTopic(name string) string { return "hearth/bridge/" + name + "/availability" }

// bridgeGone says that a topic is of a bridge that is no more.
func (c *Config) bridgeGone(topic string) bool {
	name, ok := strings.CutPrefix(topic, "hearth/bridge/")
	name, is := strings.CutSuffix(name, "/availability")
	return ok && is && !slices.Contains(c.links().Bridge.Names(), name)
}

// BridgeStatus is how the bridges are doing.
func (h *Hub) BridgeStatus() []bridge.Status { return h.bridges.Status() }

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)
