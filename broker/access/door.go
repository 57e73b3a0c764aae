package access

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Why a client is not let in.
var (
	ErrNoLogin = errors.New("a user name and a password are needed")
	ErrWrong   = errors.New("user name or password is wrong")
	ErrBanned  = errors.New("too many failed logins: try again later")
	ErrBusy    = errors.New("too many logins at once: try again later")
)

const (
	// A name at an address may fail so often; then it is banned for banFirst, and
	// twice as long after each further failure, but never longer than banLongest.
	banAfter   = 5
	banFirst   = 10 * time.Second
	banLongest = 10 * time.Minute

	// An address that failed more often than this, of which one is forgotten a
	// minute, is a suspect. It rests so many times as long as its last hash took,
	// and so do all suspects together.
	suspectAfter = 3
	mostFailed   = 30 // count; so it is over half an hour after the last
	forgive      = time.Minute
	restOne      = 9
	restAll      = 4

	// How long a refusal takes at least, and how many wait for theirs at once;
	// beyond that they are told at once.
	slowed     = time.Second
	mostSlowed = 512

	mostWaiting = 1024 // for their password to be checked
	mostOfOne   = 64   // of one address

	// How many failures are remembered, and for how long.
	mostKnown = 4096
	forgotten = time.Hour

	wrongOnes = 4 // wrong passwords of one address and name that are known again
)

// A Door lets clients in, or not. Its methods may be called from any goroutine.
type Door struct {
	table atomic.Pointer[Table]
	key   []byte // of seals

	// replace is given a better hash of a password that was right, in the place of one
	// of another program's; nil: none is made. same is by better hash the one it replaced.
	replace func(user, was, hash string)
	same    map[string]string

	now   func() time.Time
	check func(p *phc, password []byte) bool // what takes its time

	mu        sync.Mutex
	known     map[string]seal // by user: the login that was right
	pairs     map[pair]*failures
	addresses map[netip.Prefix]*address
	restUntil time.Time // of all suspects
	slowing   int
	trying    map[pair]bool // the first attempt of a pair is under way

	// Those who wait for their password to be checked, of *waiter; one is at it.
	hashing bool
	waiting list.List
}

// A seal stands for a login without telling it.
type seal string

// A pair is what is banned.
type pair struct {
	at   netip.Prefix
	user string
}

type failures struct {
	count int
	until time.Time // banned
	last  time.Time
	wrong [wrongOnes]seal
	next  int // of wrong
}

// An address is a client's; all of one IPv6 network of 64 bits are one, since who
// has one of it has all.
type address struct {
	failed  float64 // as of last
	last    time.Time
	rest    time.Time // until then nothing is hashed for it
	waiting int
}

type waiter struct {
	at    netip.Prefix
	ready chan struct{} // closed when it is its turn
	fresh bool          // see first
}

// New makes a door with the table of a config.
func New(c Config) (*Door, error) {
	d := &Door{
		key:       make([]byte, 32),
		now:       time.Now,
		check:     (*phc).fits,
		known:     make(map[string]seal),
		pairs:     make(map[pair]*failures),
		addresses: make(map[netip.Prefix]*address),
		trying:    make(map[pair]bool),
		same:      make(map[string]string),
	}
	rand.Read(d.key)
	t, err := d.Prepare(c)
	if err != nil {
		return nil, err
	}
	d.table.Store(t)
	return d, nil
}

// OnReplace says what to do with a better hash of a user's password, in the place of one
// that another program made. It is for before the first login, and f must not wait. The
// table in force stays as it is; one with the better hash has the same password.
func (d *Door) OnReplace(f func(user, was, hash string)) { d.replace = f }

// origin is the hash with which a password that has this one came. d.mu is held.
func (d *Door) origin(hash string) string {
	if was, ok := d.same[hash]; ok {
		return was
	}
	return hash
}

// Use puts a table in force. What failed for a user whose password is another one
// now is forgotten, so that who was banned with the old one can come with the new.
func (d *Door) Use(t *Table) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.table.Swap(t)
	same := func(user string) bool {
		a, b := was.users[user], t.users[user]
		return (a == nil) == (b == nil) && (a == nil || d.origin(a.hash) == d.origin(b.hash))
	}
	for user := range d.known {
		if !same(user) {
			delete(d.known, user)
		}
	}
	for p := range d.pairs {
		if !same(p.user) {
			delete(d.pairs, p)
		}
	}
}

// seal makes the seal of a login with the hash that it was checked against.
func (d *Door) seal(user string, password []byte, hash string) seal {
	m := hmac.New(sha256.New, d.key)
	for _, part := range [][]byte{[]byte(user), password, []byte(hash)} {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		m.Write(part)
	}
	return seal(m.Sum(nil))
}

// password says whether a password is the user's.
func (d *Door) password(ctx context.Context, addr netip.Addr, user string, password []byte) error {
	began := time.Now()
	if len(user) > longestName {
		return d.late(ctx, began, ErrWrong) // nobody can have such a name, and it is not to be remembered
	}
	at := pair{network(addr), user}
	fresh := d.first(at)
	if fresh {
		defer d.tried(at)
	}
	for {
		u := d.table.Load().users[user]
		hash := ""
		if u != nil {
			hash = u.hash
		}
		login := d.seal(user, password, hash)
		if done, err := d.decided(at, login, fresh); done {
			return d.answer(ctx, began, err)
		}
		if err := d.enter(ctx, at.at, fresh); err != nil {
			return d.answer(ctx, began, err)
		}
		done, err := d.hash(at, login, hash, password, fresh)
		if done {
			return d.answer(ctx, began, err)
		}
	}
}

// first says whether this is the first attempt of a user who exists from an address,
// or the first since they last failed there long ago. It is heard whatever else fails
// at the address, for that may be a router with a house behind it; and since it is one
// a user, who knows all names gets no further than that.
func (d *Door) first(at pair) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.table.Load().users[at.user]
	if u == nil || u.phc == nil || d.pairs[at] != nil || d.trying[at] {
		return false
	}
	d.trying[at] = true
	return true
}

func (d *Door) tried(at pair) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.trying, at)
}

// decided says whether a login can be answered without a hash.
func (d *Door) decided(at pair, login seal, fresh bool) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.known[at.user]; ok && hmac.Equal([]byte(known), []byte(login)) {
		return true, nil
	}
	now := d.now()
	if f := d.pairs[at]; f != nil {
		for _, wrong := range f.wrong {
			if wrong == login {
				f.last = now
				return true, ErrWrong
			}
		}
		if now.Before(f.until) {
			return true, ErrBanned
		}
	}
	if a := d.addresses[at.at]; a != nil && !fresh && a.suspect(now) && (now.Before(a.rest) || now.Before(d.restUntil)) {
		return true, ErrBanned
	}
	return false, nil
}

// hash checks a password, as the only one at that time: the caller has entered. It
// says false if there is to be another try, since the user's password changed.
func (d *Door) hash(at pair, login seal, hash string, password []byte, fresh bool) (done bool, err error) {
	defer d.leave(at.at)
	t := d.table.Load()
	u := t.users[at.user]
	if now := hashOf(u); now != hash {
		return false, nil
	}
	// While this one waited another of its kind may have been answered.
	if done, err := d.decided(at, login, fresh); done {
		return true, err
	}
	p := t.dummy
	if u != nil && u.phc != nil {
		p = u.phc
	}
	began := d.now()
	right := d.check(p, password) && u != nil && u.phc != nil
	ended := d.now()
	better := ""
	if right && p.kind != argon && d.replace != nil {
		better = Hash(password)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if hashOf(d.table.Load().users[at.user]) != hash {
		return false, nil
	}
	if a := d.addresses[at.at]; a != nil && a.suspect(ended) {
		d.rest(a, ended, ended.Sub(began))
	}
	if right {
		if better != "" {
			d.same[better] = d.origin(hash)
			d.replace(at.user, hash, better)
		}
		d.known[at.user] = login
		delete(d.pairs, at)
		return true, nil
	}
	d.failed(at, login, ended, ended.Sub(began))
	return true, ErrWrong
}

func hashOf(u *account) string {
	if u == nil {
		return ""
	}
	return u.hash
}

// failed remembers a wrong password. d.mu is held.
func (d *Door) failed(at pair, login seal, now time.Time, took time.Duration) {
	f := d.pairs[at]
	if f == nil {
		if len(d.pairs) >= mostKnown {
			drop(d.pairs, now, func(f *failures) time.Time { return f.last })
		}
		f = new(failures)
		d.pairs[at] = f
	}
	if now.Sub(f.last) > forgotten {
		f.count = 0
	}
	f.count++
	f.last = now
	f.wrong[f.next%wrongOnes] = login
	f.next++
	if over := f.count - banAfter; over >= 0 {
		f.until = now.Add(min(banFirst<<min(over, 16), banLongest))
	}

	a := d.address(at.at, now)
	a.failed = min(a.failures(now)+1, mostFailed)
	a.last = now
	if a.suspect(now) {
		d.rest(a, now, took)
	}
}

// rest keeps a suspect, and all of them, from the next hash. d.mu is held.
func (d *Door) rest(a *address, now time.Time, took time.Duration) {
	a.rest = now.Add(restOne * took)
	d.restUntil = now.Add(restAll * took)
}

// address is what is known of an address, from now on. d.mu is held.
func (d *Door) address(at netip.Prefix, now time.Time) *address {
	a := d.addresses[at]
	if a == nil {
		if len(d.addresses) >= mostKnown {
			drop(d.addresses, now, func(a *address) time.Time {
				if a.waiting > 0 {
					return now // it is in use
				}
				return a.last
			})
		}
		a = &address{last: now}
		d.addresses[at] = a
	}
	return a
}

// drop makes room in a table that is full: what is old goes, and if nothing is, the
// oldest.
func drop[K comparable, V any](from map[K]V, now time.Time, last func(V) time.Time) {
	var oldest K
	var when time.Time
	for k, v := range from {
		switch at := last(v); {
		case now.Sub(at) > forgotten:
			delete(from, k)
		case when.IsZero() || at.Before(when):
			oldest, when = k, at
		}
	}
	if len(from) >= mostKnown {
		delete(from, oldest)
	}
}

// failures is how many count now.
func (a *address) failures(now time.Time) float64 {
	return max(0, a.failed-now.Sub(a.last).Seconds()/forgive.Seconds())
}

func (a *address) suspect(now time.Time) bool { return a.failures(now) >= suspectAfter }

// enter waits until it is this one's turn to check a password.
func (d *Door) enter(ctx context.Context, at netip.Prefix, fresh bool) error {
	d.mu.Lock()
	a := d.address(at, d.now())
	if !d.hashing {
		d.hashing = true
		a.waiting++
		d.mu.Unlock()
		return nil
	}
	if !fresh && (a.waiting >= mostOfOne || d.waiting.Len() >= mostWaiting) {
		d.mu.Unlock()
		return ErrBusy
	}
	a.waiting++
	w := &waiter{at, make(chan struct{}), fresh}
	place := d.waiting.PushBack(w)
	d.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	select {
	case <-w.ready: // its turn has come all the same: it is the next one's
		d.mu.Unlock()
		d.leave(at)
	default:
		d.waiting.Remove(place)
		d.gone(at)
		d.mu.Unlock()
	}
	return ErrBusy
}

// leave lets the next one in: of those whose address has failed least lately, the
// one that came first. So who guesses is behind all who do not, however many
// guesses wait.
func (d *Door) leave(at netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone(at)
	now := d.now()
	var next *list.Element
	var least float64
	for e := d.waiting.Front(); e != nil; e = e.Next() {
		failed := 0.0
		if w := e.Value.(*waiter); w.fresh {
			failed = 0
		} else if a := d.addresses[w.at]; a != nil {
			failed = a.failures(now)
		}
		if next == nil || failed < least {
			next, least = e, failed
		}
		if least == 0 {
			break
		}
	}
	if next == nil {
		d.hashing = false
		return
	}
	close(d.waiting.Remove(next).(*waiter).ready)
}

// gone counts one less who waits. An address that never failed is forgotten with
// its last one. d.mu is held.
func (d *Door) gone(at netip.Prefix) {
	a := d.addresses[at]
	if a == nil {
		return
	}
	a.waiting--
	if a.waiting == 0 && a.failed == 0 {
		delete(d.addresses, at)
	}
}

// answer is late for a refusal.
func (d *Door) answer(ctx context.Context, began time.Time, err error) error {
	if err == nil {
		return nil
	}
	return d.late(ctx, began, err)
}

// late gives a refusal a while after it began, so that guessing takes long, and no time
// tells how a password was hashed, or whether there was one.
func (d *Door) late(ctx context.Context, began time.Time, err error) error {
	d.mu.Lock()
	if d.slowing >= mostSlowed {
		d.mu.Unlock()
		return err
	}
	d.slowing++
	d.mu.Unlock()
	wait := time.NewTimer(slowed - time.Since(began))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	d.mu.Lock()
	d.slowing--
	d.mu.Unlock()
	return err
}

// network is the part of an address by which its owner is known.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // this machine, without an address
	}
	return p
}
