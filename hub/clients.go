package hub

import (
	"context"
	"fmt"
	"time"

	"hearth/web"
)

// Clients are those of the broker, for the page; the loop is not asked.
func (p page) Clients(context.Context) ([]web.Client, error) {
	now := time.Now()
	var all []web.Client
	for _, c := range p.broker.Clients() {
		user, own := c.User, false
		if user != "" && user[0] == 0 {
			user, own = "", true
		}
		one := web.Client{
			ID: c.ID, User: user, Own: own, Version: mqttVersion(c.Version), Connected: c.Connected, Address: c.Address, Listener: c.Listener,
			Since: c.Since, LastSeen: c.LastSeen, KeepAlive: int(c.KeepAlive / time.Second), Subscriptions: c.Subscriptions, Queued: c.Queued, QueuedBytes: c.QueuedBytes,
			Unacked: c.Unacked, Received: c.Received, Sent: c.Sent, Dropped: c.Dropped, Refused: c.Refused,
		}
		if !c.Connected {
			one.Expires = now.Add(c.ExpiresIn)
		}
		all = append(all, one)
	}
	return all, nil
}

// Subscriptions are the filters of a client.
func (p page) Subscriptions(id string, most int) []string { return p.broker.Subscriptions(id, most) }

// Disconnect ends the connection of a client.
func (p page) Disconnect(ctx context.Context, id string) error {
	if !p.broker.Disconnect(id) {
		return fmt.Errorf("no client %q is connected that could be disconnected", printable(id))
	}
	p.log.Info("a client was disconnected on the page", "client", id, "by", web.By(ctx))
	return nil
}
