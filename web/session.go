package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// A Shelf is where sessions outlive the hub. Its methods may be called from any goroutine
// and must not wait for the disk.
type Shelf interface {
	Each() iter.Seq2[string, []byte]
	Put(key string, value []byte) // nil takes it away
}

const (
	// A session that nobody has used for so long is over. The tablet on the wall uses
	// its own every day.
	unusedFor = 90 * 24 * time.Hour

	// How exactly it is known when one was used last: a card is not written to for that
	// more than once a day.
	usedWithin = 24 * time.Hour

	// So many there may be, of one user and of all. Beyond that the one ends that has
	// been unused for longest.
	mostOfOne    = 32
	mostSessions = 512
)

// sessions are who is logged in. A cookie holds 32 random bytes; what is kept here and on
// the shelf is their hash, so whoever reads a backup can't go in with what is in it. A
// plain SHA-256 does: nobody can try enough of 32 bytes.
type sessions struct {
	people People
	shelf  Shelf // nil: none outlives the server
	clock  wallClock
	log    *slog.Logger

	mu  sync.Mutex
	all map[string]*session // by the hash of what the cookie holds
}

type session struct {
	key   string
	kept  kept
	ended chan struct{} // closed at its end
	shown time.Time     // when the password was shown in it last, since the hub runs
}

// kept is what is on the shelf of a session, as JSON.
type kept struct {
	User string `json:"user"`
	Mark []byte `json:"mark"` // see People: another one is another password
	// Plain is one that went over the network in the clear, where somebody may have read it.
	// It is none any more as soon as the page is https.
	Plain bool `json:"plain,omitempty"`

	// For people, so that they know which of theirs this is.
	Device string    `json:"device,omitempty"`
	From   string    `json:"from,omitempty"`
	Began  time.Time `json:"began,omitzero"`

	Used time.Time `json:"used"` // when it was used last, give or take usedWithin; zero: never while the clock was known
}

func newSessions(people People, shelf Shelf, clock wallClock, log *slog.Logger) *sessions {
	ss := &sessions{people: people, shelf: shelf, clock: clock, log: log, all: make(map[string]*session)}
	if shelf == nil {
		return ss
	}
	for key, value := range shelf.Each() {
		var k kept
		if err := json.Unmarshal(value, &k); err != nil || len(key) != sha256.Size || people.Mark(k.User, nil) == nil {
			shelf.Put(key, nil)
			continue
		}
		ss.all[key] = &session{key: key, kept: k, ended: make(chan struct{})}
	}
	return ss
}

// hashed is the key of a session by what its cookie holds.
func hashed(secret []byte) string {
	sum := sha256.Sum256(secret)
	return string(sum[:])
}

// draw makes what a cookie holds.
func draw() []byte {
	secret := make([]byte, 32)
	rand.Read(secret)
	return secret
}

// begin makes a session of a user who has just logged in with the password of that mark.
// Its secret is always a new one, whatever the browser showed before: else somebody could
// give a visitor a cookie, and go in with it after the visitor has logged in.
func (ss *sessions) begin(user string, secret, mark []byte, secure bool, device, from string) {
	k := kept{User: user, Mark: mark, Plain: !secure, Device: device, From: from}
	if now, known := ss.clock(); known {
		k.Used, k.Began = now, now
	}
	one := &session{key: hashed(secret), kept: k, ended: make(chan struct{}), shown: time.Now()}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.all { // of browsers that never came back
		if !k.Used.IsZero() && !s.kept.Used.IsZero() && k.Used.Sub(s.kept.Used) > unusedFor {
			ss.drop(s)
		}
	}
	ss.all[one.key] = one
	ss.write(one)
	ss.bound(one, mostOfOne, func(s *session) bool { return s.kept.User == user })
	ss.bound(one, mostSessions, func(*session) bool { return true })
}

// bound ends those that have been unused for longest, if there are too many; newest stays.
// ss.mu is held.
func (ss *sessions) bound(newest *session, most int, of func(*session) bool) {
	n := 0
	var oldest *session
	for _, s := range ss.all {
		if !of(s) {
			continue
		}
		n++
		if s != newest && (oldest == nil || s.kept.Used.Before(oldest.kept.Used)) {
			oldest = s
		}
	}
	if n > most {
		ss.drop(oldest)
	}
}

// find gives the visitor whose cookie holds a text, and came over TLS if secure.
func (ss *sessions) find(cookie string, secure bool) (visitor, bool) {
	secret, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(secret) != 32 {
		return visitor{}, false
	}
	ss.mu.Lock()
	one := ss.all[hashed(secret)]
	ss.mu.Unlock()
	if one == nil {
		return visitor{}, false
	}
	// Neither the user nor the mark ever changes in a session, nor how it began.
	if secure && one.kept.Plain {
		return visitor{}, false
	}
	user := one.kept.User
	rights := ss.people.Rights(user)
	if rights == nil || !hmac.Equal(ss.people.Mark(user, secret), one.kept.Mark) {
		ss.end(one)
		return visitor{}, false
	}
	if !ss.use(one) {
		return visitor{}, false
	}
	return visitor{name: user, rights: rights, session: one}, true
}

// use notes that a session is used, and says false if it has not been for too long.
// Before a time service has set the clock nobody knows how long that is, so then none is
// too old; and a date in the future is of a clock that was wrong.
func (ss *sessions) use(one *session) bool {
	now, known := ss.clock()
	if !known {
		return true
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.all[one.key] != one {
		return false // it has ended meanwhile
	}
	unused := now.Sub(one.kept.Used)
	if !one.kept.Used.IsZero() && unused > unusedFor {
		ss.drop(one)
		return false
	}
	if unused.Abs() >= usedWithin {
		one.kept.Used = now
		ss.write(one)
	}
	return true
}

// end is a logout.
func (ss *sessions) end(one *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.drop(one)
}

// endAll ends every session of a user, and says how many there were.
func (ss *sessions) endAll(user string) (n int) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.all {
		if s.kept.User == user {
			ss.drop(s)
			n++
		}
	}
	return n
}

// judge ends the sessions of those who are no users any more. That a password is another
// one is seen when somebody comes with the cookie: only then is there what makes the mark.
func (ss *sessions) judge() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.all {
		if ss.people.Mark(s.kept.User, nil) == nil {
			ss.drop(s)
		}
	}
}

// drop ends one, once. ss.mu is held.
func (ss *sessions) drop(one *session) {
	if ss.all[one.key] != one {
		return
	}
	delete(ss.all, one.key)
	close(one.ended)
	if ss.shelf != nil {
		ss.shelf.Put(one.key, nil)
	}
}

// write puts one on the shelf. ss.mu is held.
func (ss *sessions) write(one *session) {
	if ss.shelf == nil {
		return
	}
	b, err := json.Marshal(one.kept)
	if err != nil {
		ss.log.Error("a login could not be kept, and ends with the hub", "err", err) // a year beyond 9999
		return
	}
	ss.shelf.Put(one.key, b)
}

// cookieName is under what name the browser keeps the session. __Host- is a promise of
// the browser that nobody but this very host has set it, over TLS alone; so it can't be
// had without.
func cookieName(r *http.Request) string {
	if secure(r) {
		return "__Host-hearth"
	}
	return "hearth"
}

// cookieFor is as long as browsers keep one. That the session is over sooner is for the
// server to say, which knows when it was used.
const cookieFor = 400 * 24 * time.Hour

// setCookie gives the browser a session's secret. SameSite=Strict keeps it from being sent
// with whatever another site asks for, so that no page elsewhere so much as loads
// something here in the visitor's name; Lax would allow links from elsewhere. Those are
// seen to by arrived.
func setCookie(w http.ResponseWriter, r *http.Request, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteStrictMode,
	})
}
