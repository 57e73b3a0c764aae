package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"hearth/control"
	"hearth/devices"
)

// desk is the hub as its administrator sees it, over the control socket. What it says of
// clients and retained values does not go through the loop, so that is answered while that
// is stalled; what it says of devices, in desk.go, does.
type desk struct{ *Hub }

func (d desk) Clients() []control.Client {
	now := time.Now()
	var all []control.Client
	for _, c := range d.broker.Clients() {
		one := control.Client{
			ID: c.ID, User: strings.TrimPrefix(c.User, "\x00"), Version: mqttVersion(c.Version), Connected: c.Connected,
			Address: c.Address, Listener: c.Listener, Since: c.Since, LastSeen: c.LastSeen,
			Subscriptions: c.Subscriptions, Queued: c.Queued, QueuedBytes: c.QueuedBytes, Unacked: c.Unacked,
			Received: c.Received, Sent: c.Sent, Dropped: c.Dropped, Refused: c.Refused,
		}
		if !c.Connected {
			one.Expires = now.Add(c.ExpiresIn)
		}
		all = append(all, one)
	}
	return all
}

// mqttVersion is the name of what a CONNECT calls by a number.
func mqttVersion(level byte) string {
	switch level {
	case 3:
		return "3.1"
	case 4:
		return "3.1.1"
	case 5:
		return "5"
	}
	return ""
}

func (d desk) Retained(filter string) ([]control.Value, error) {
	if err := devices.CheckFilter(filter); err != nil {
		return nil, control.Mistaken(err)
	}
	var all []control.Value
	for _, v := range d.broker.RetainedValues(filter) {
		all = append(all, control.Value{
			Topic: v.Topic, Size: len(v.Payload), QoS: v.QoS, Client: v.Client,
			At: v.At, Expires: v.Expiry, Payload: v.Payload,
		})
	}
	return all, nil
}

func (d desk) ClearRetained(ctx context.Context, filter string) (int, error) {
	if err := devices.CheckFilter(filter); err != nil {
		return 0, control.Mistaken(err)
	}
	if s, ok := d.Elsewhere(); ok && !s.Connected {
		return 0, control.Mistaken(fmt.Errorf("there is no link to %s, which would bring them all back: nothing was deleted (%s)", s.Address, s.Why))
	}
	n, err := d.broker.ClearRetained(ctx, filter)
	// What the hub says of itself is not somebody's to take back: it says it again.
	d.inbox.always(&item{control: func() {
		for topic, payload := range maps.Clone(d.published) {
			if payload != "" && devices.MatchTopic(filter, topic) {
				delete(d.published, topic)
				d.say(topic, payload)
			}
		}
	}})
	return n, err
}

func (d desk) Backup(ctx context.Context, w io.Writer) error {
	_, err := d.Hub.Backup(ctx, w)
	return err
}

func (d desk) Reload(ctx context.Context) (control.Reloaded, error) {
	if d.opt.Reload == nil {
		return control.Reloaded{}, control.Mistaken(errors.New("this hub was not started from a file that could be read again"))
	}
	return d.opt.Reload(ctx)
}

// openControl makes the control socket, or makes it anew if it is gone. A disk
// that refuses it is no reason to leave the house in the dark.
func (h *Hub) openControl() {
	if h.opt.Offline {
		return
	}
	if err := h.control.Open(); err != nil {
		h.log.Warn("hearth clients, retained and reload can't reach this hub; a reload tries again", "err", err)
	}
}
