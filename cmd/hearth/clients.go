package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"hearth/control"
)

type clientsCommand struct {
	All  bool `short:"a" help:"Also clients that are away and whose session is kept, and until when."`
	Wide bool `short:"w" help:"Every column, and nothing cut, however wide that is."`
	JSON bool `name:"json" help:"For scripts."`
	hubFlags
}

// Run asks the hub, not its broker: what others subscribe to and whether they
// read is not for every client to know.
func (c *clientsCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	all, err := h.Clients(ctx)
	if err != nil {
		return h.because(err)
	}
	b, err := h.Broker(ctx)
	if err != nil {
		return h.because(err)
	}
	if b.Address != "" && !c.JSON {
		_, err = fmt.Fprintln(std.out, elsewhere(b, time.Now()))
		return err
	}
	shown := all
	if !c.All {
		shown = slices.DeleteFunc(slices.Clone(all), func(o control.Client) bool { return !o.Connected })
	}
	if c.JSON {
		return printJSON(std.out, shown)
	}
	if len(shown) > 0 {
		t, width := clientTable(shown, time.Now()), screen
		if c.Wide {
			t, width = wideClientTable(shown, time.Now()), 0
		}
		if err := t.print(std.out, width); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(std.out, c.summary(all))
	return err
}

// elsewhere is how the link to a broker is doing that the house uses instead of its
// own, whose clients it does not know.
func elsewhere(b control.Broker, now time.Time) string {
	is := fmt.Sprintf("connected to %s for %s", harmless([]byte(b.Address)), span(now.Sub(b.Since)))
	if !b.Connected {
		is = fmt.Sprintf("not connected to %s for %s: %s", harmless([]byte(b.Address)), span(now.Sub(b.Since)), harmless([]byte(b.Why)))
	}
	return fmt.Sprintf("%s\n%s in, %d out, %d waiting to go out, %d dropped, %d refused; who else is there that broker knows",
		is, count(int(b.In), "message"), b.Out, b.Queued, b.Dropped, b.Refused)
}

func (c *clientsCommand) summary(all []control.Client) string {
	connected := 0
	for _, o := range all {
		if o.Connected {
			connected++
		}
	}
	text := count(connected, "client") + " connected"
	if connected == 0 {
		text = "no client connected"
	}
	if away := len(all) - connected; away > 0 {
		text += ", " + strconv.Itoa(away) + " away"
		if !c.All {
			text += " (--all shows them)"
		}
	}
	return text
}

// clientTable has what one looks for first: who is there, and whom something is
// wrong with.
func clientTable(all []control.Client, now time.Time) *table {
	t := &table{columns: []column{
		{head: "CLIENT", least: 16}, {head: "USER", least: 8}, {head: "ADDRESS", least: 13, spare: true}, {head: "STATE"},
		{head: "SEEN", right: true}, {head: "EXPIRES", right: true}, {head: "SUBS", right: true}, {head: "QUEUED", right: true}, {head: "DROPPED", right: true},
	}}
	for _, o := range all {
		host := o.Address
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		t.add(o.ID, o.User, host, state(o, now, about), seen(o, now, about), expires(o.Expires, now, about),
			strconv.Itoa(o.Subscriptions), strconv.Itoa(o.Queued), count64(o.Dropped))
	}
	return t
}

// wideClientTable has all there is.
func wideClientTable(all []control.Client, now time.Time) *table {
	t := &table{columns: []column{
		{head: "CLIENT"}, {head: "USER"}, {head: "ADDRESS"}, {head: "LISTENER"}, {head: "MQTT"}, {head: "STATE"},
		{head: "SEEN", right: true}, {head: "EXPIRES", right: true}, {head: "SUBS", right: true}, {head: "QUEUED", right: true},
		{head: "BYTES", right: true}, {head: "UNACKED", right: true}, {head: "RECEIVED", right: true}, {head: "SENT", right: true},
		{head: "DROPPED", right: true}, {head: "REFUSED", right: true},
	}}
	for _, o := range all {
		t.add(o.ID, o.User, o.Address, o.Listener, o.Version, state(o, now, span), seen(o, now, span), expires(o.Expires, now, span),
			strconv.Itoa(o.Subscriptions), strconv.Itoa(o.Queued), size(o.QueuedBytes), strconv.Itoa(o.Unacked),
			count64(o.Received), count64(o.Sent), count64(o.Dropped), count64(o.Refused))
	}
	return t
}

func count64(n int64) string { return strconv.FormatInt(n, 10) }

// state is whether a client is there, and since when.
func state(o control.Client, now time.Time, say func(time.Duration) string) string {
	word := "away"
	if o.Connected {
		word = "on"
	}
	if !o.Since.IsZero() {
		word += " " + say(now.Sub(o.Since))
	}
	return word
}

// seen is how long ago a client that is connected said something; of one that is
// away its state says so.
func seen(o control.Client, now time.Time, say func(time.Duration) string) string {
	if !o.Connected || o.LastSeen.IsZero() {
		return ""
	}
	return say(now.Sub(o.LastSeen))
}

// expires is how long something is kept still, "" for ever.
func expires(t, now time.Time, say func(time.Duration) string) string {
	if t.IsZero() {
		return ""
	}
	return "in " + say(t.Sub(now))
}
