// Package access says who may connect to the broker and what they may do there.
package access

import (
	"context"
	"net/netip"
)

// An Attempt is what a client shows at the door.
type Attempt struct {
	Client      string     // its id
	User        string     // "" if it gave none
	Password    []byte     // nil if it gave none
	Addr        netip.Addr // zero: a socket of this machine, or a pipe
	Local       bool       // loopback, a socket of this machine or a pipe
	Certificate string     // common name of its verified certificate; "" if it has none
}

// A Door lets clients in, or not. Its methods may be called from any goroutine.
type Door struct{}

// Login gives the name under which the client is let in, "" for one without a
// login, or an error that says why not. It takes as long as a password takes to be
// checked.
func (d *Door) Login(ctx context.Context, a Attempt) (user string, err error) { return a.User, nil }

// Rights gives what a user's client may do now, nil for a user who exists no more.
func (d *Door) Rights(user, client string) *Rights { return &Rights{} }

// Rights are of one user's client. They never change: after a reload there are
// others. They allow nothing that no rule allows.
type Rights struct{}

// Publish says whether the client may publish to topic.
func (r *Rights) Publish(topic string) bool { return true }

// Receive says whether a message of topic may be delivered to the client.
func (r *Rights) Receive(topic string) bool { return true }

// Subscribe says whether the client may subscribe to filter (without $share/NAME/).
func (r *Rights) Subscribe(filter string) bool { return true }

// All allows everything.
var All = &Rights{}
