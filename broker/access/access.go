// Package access says who may connect to the broker and what they may do there.
//
// Nobody may do anything that no rule allows. A rule is an MQTT filter in a role,
// which may except topics from its rules; a user has roles, and may do what any one
// of them allows. Users and roles stand in [broker.user.NAME] and
// [broker.role.NAME] of the configuration, or in a users file that
// `hearth user` keeps ([Accounts]).
//
// A [Door] holds the [Table] in force and all that is to be remembered about who
// tried what. A reload makes a new Table of a [Config] and puts it in place with
// [Door.Use]; failures and known good logins stay, but for those of users whose
// password changed.
//
// # Passwords
//
// A password is kept as argon2id says: 19 MiB and some forty milliseconds for each
// guess. The same that keeps a thief busy could keep the hub busy, so:
//
//   - One password is hashed at a time. Who waits is bounded, and those whose
//     address has not failed lately go first.
//   - A login that was right is remembered in memory, without the password: devices
//     that all come back at once cost nothing, and they get in while somebody at
//     their address is guessing.
//   - The same wrong password again costs nothing either and bans nobody: that is
//     a device that was set up wrong.
//   - An address and a name that failed together several times are refused without
//     a look for a while that doubles each time. An address that fails often may
//     have a tenth of a core, all such addresses together a fifth; but the first attempt
//     of each user there is heard. Never is a name
//     banned by itself: a guest must not lock out a device.
//   - A refusal comes late, and nothing is held meanwhile.
//
// What is remembered of failures is bounded, and none of it outlives the process.
package access

import (
	"context"
	"net/netip"
	"time"
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

// Login gives the name under which the client is let in, "" for one without a
// login, or an error that says why not: one of the Err of this package. It takes
// as long as a password takes to be checked, and a refusal longer.
//
// A password may change while it is checked, and before the client is in the books of
// who asked. So ask for [Door.Table] before Login and again when it is put there:
// if there is another one, Login is to be asked anew, which costs little.
//
// A certificate's common name is a login for the user of that name, if there is
// one, and needs no password; but one that is sent must be right.
func (d *Door) Login(ctx context.Context, a Attempt) (user string, err error) {
	t := d.table.Load()
	name := a.User
	if name == "" && a.Certificate != "" && t.users[a.Certificate] != nil {
		name = a.Certificate
	}
	switch {
	case name == "" && a.Local && t.anonymous != nil:
		return "", nil
	case name == "":
		return "", d.late(ctx, time.Now(), ErrNoLogin)
	case a.Password != nil:
		if err := d.password(ctx, a.Addr, name, a.Password); err != nil {
			return "", err
		}
		return name, nil
	case a.Certificate == name && t.users[name] != nil:
		return name, nil
	}
	return "", d.late(ctx, time.Now(), ErrNoLogin)
}

// Rights gives what a user's client may do now, nil for a user who exists no more.
// The user "" is whoever is let in without a login.
func (d *Door) Rights(user, client string) *Rights {
	t := d.table.Load()
	if user == "" {
		return t.anonymous.rights("", client)
	}
	return t.users[user].rights(user, client)
}

// Table is what is in force, to see whether it still is.
func (d *Door) Table() *Table { return d.table.Load() }

// Stamp is a text that changes when a user's password does, and when logins without
// one are allowed or no more; "" for a user who does not exist. It says nothing
// of the password.
func (d *Door) Stamp(user string) string {
	t := d.table.Load()
	u := t.users[user]
	if user == "" {
		u = t.anonymous
	}
	if u == nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.seal(user, nil, d.origin(u.hash)))
}
