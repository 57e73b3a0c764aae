package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A form is what login.html shows: the login, or with Token the setup of the first user.
type form struct {
	House string
	User  string
	Next  string // where to go after the login
	Token string // of the setup
	Why   string // why the last try came to nothing
	Hint  string
	Again string // where to ask once more, at once; see arrived
}

// houseName heads the login. What the house is called is not for strangers, and a login
// that asked the house would have to wait for it.
const houseName = "Hearth"

func (s *Server) showForm(w http.ResponseWriter, r *http.Request, status int, f form) {
	f.House = houseName
	content, ok := s.write(w, r, sheet{Page: "login", Door: &f})
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(content)
}

// showLogin asks for a name and a password, and says why that did not do before.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, status int, why string) {
	f := form{Next: localPath(r.FormValue("next")), User: mended(r.PostFormValue("user"), mostName), Why: why}
	if why == "" && !s.people.Any() {
		f.Hint = s.wordsFor(r).text("login.nobody")
	}
	s.showForm(w, r, status, f)
}

// serveLogin shows the login, to who is not logged in.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.URL.Query().Get("next"))
	switch v := s.who(r); {
	case v.rights != nil && v.rights.Most() >= See:
		http.Redirect(w, r, next, http.StatusSeeOther)
	case arrived(r):
		s.showForm(w, r, http.StatusOK, form{Again: "/login?again=1&next=" + url.QueryEscape(next)})
	default:
		s.showLogin(w, r, http.StatusOK, "")
	}
}

// arrived says whether somebody may have come here by a link elsewhere, in a mail or a
// notification. Then the browser keeps the cookie of a visitor who is logged in to itself,
// because of SameSite=Strict, and would see a login for nothing. A page of ours that asks
// once more, by itself, gets the cookie. Over plain HTTP browsers don't say where a
// request is from, so there everybody is asked once more.
func arrived(r *http.Request) bool {
	from := r.Header.Get("Sec-Fetch-Site")
	return r.URL.Query().Get("again") == "" && from != "same-origin" && from != "none"
}

// localPath is where a login may lead to: a path of this page, and nothing that a browser
// could take for another site.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || len(next) > 1000 ||
		strings.ContainsFunc(next, func(c rune) bool { return c <= ' ' || c == '\\' || c >= 0x7f }) || strings.HasPrefix(u.Path, "/login") || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	return next
}

// escapedPath is what was asked for, as next.
func escapedPath(r *http.Request) string { return url.QueryEscape(localPath(r.URL.RequestURI())) }

// loginPatience is how long a login may take. A small Pi needs half a second for a
// password, and others may be before this one.
const loginPatience = 15 * time.Second

// readForm reads what a form posted. The status belongs to the error.
func readForm(w http.ResponseWriter, r *http.Request) (status int, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return http.StatusUnsupportedMediaType, errors.New("want what a form posts: Content-Type: application/x-www-form-urlencoded")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := r.ParseForm(); err != nil {
		return http.StatusBadRequest, errors.New("want a form, and not so large a one")
	}
	return 0, nil
}

// takeLogin looks at a name and a password, and begins a session.
func (s *Server) takeLogin(w http.ResponseWriter, r *http.Request) {
	if status, err := readForm(w, r); err != nil {
		s.fail(w, r, status, err.Error())
		return
	}
	words := s.wordsFor(r)
	user, password := r.PostFormValue("user"), r.PostFormValue("password")
	if user == "" || password == "" {
		s.showLogin(w, r, http.StatusUnauthorized, words.text("login.missing"))
		return
	}
	ctx, done := context.WithTimeout(r.Context(), loginPatience)
	defer done()
	secret := draw()
	mark, err := s.tryLogin(ctx, sender(r), user, password, secret)
	var soon tooSoon
	switch {
	case errors.As(err, &soon):
		w.Header().Set("Retry-After", strconv.Itoa(int(soon.wait.Seconds())+1))
		s.showLogin(w, r, http.StatusTooManyRequests, words.text("login.minute"))
	case errors.Is(err, ErrLater):
		w.Header().Set("Retry-After", "10")
		s.showLogin(w, r, http.StatusTooManyRequests, words.text("login.later"))
	case err != nil:
		s.showLogin(w, r, http.StatusUnauthorized, words.text("login.wrong"))
	case s.mostOf(user) < See:
		s.showLogin(w, r, http.StatusForbidden, words.text("login.may_not", "user", mended(user, mostName)))
	default:
		s.welcome(w, r, user, secret, mark)
		http.Redirect(w, r, localPath(r.PostFormValue("next")), http.StatusSeeOther)
	}
}

// tryLogin is one of the ten tries a minute. One that was right is none.
func (s *Server) tryLogin(ctx context.Context, from netip.Addr, user, password string, key []byte) (mark []byte, err error) {
	if wait := s.tries.begin(from, time.Now()); wait > 0 {
		return nil, tooSoon{wait}
	}
	mark, err = s.people.Login(ctx, from, user, password, key)
	switch n := s.tries.count(from); {
	case err == nil:
		s.tries.takeBack(from)
	case !errors.Is(err, ErrLater) && (n == 1 || n == mostTries): // not a line for each guess
		// Not for whom: people type their password into the wrong field.
		s.log.Warn("a password was refused on the page", "from", from.String(), "tries", n)
	}
	return mark, err
}

func (s *Server) mostOf(user string) Level {
	if rights := s.people.Rights(user); rights != nil {
		return rights.Most()
	}
	return Nothing
}

// welcome begins a session. One that the browser had ends: it is of who was here before.
func (s *Server) welcome(w http.ResponseWriter, r *http.Request, user string, secret, mark []byte) {
	if v := s.who(r); v.session != nil {
		s.sessions.end(v.session)
	}
	s.sessions.begin(user, secret, mark, secure(r), deviceOf(r.UserAgent()), calledFrom(r))
	setCookie(w, r, base64.RawURLEncoding.EncodeToString(secret), cookieFor)
	s.log.Info("somebody logged in to the page", "user", user, "from", calledFrom(r))
}

// takeLogout ends the visitor's session, or with everywhere all of that user.
func (s *Server) takeLogout(everywhere bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch v := s.who(r); {
		case v.session == nil:
		case everywhere:
			s.sessions.endAll(v.name)
		default:
			s.sessions.end(v.session)
		}
		setCookie(w, r, "", -time.Second)
		http.Redirect(w, r, "/login?again=1", http.StatusSeeOther)
	}
}

// --- Ten tries a minute ---

const (
	mostTries  = 10
	triesIn    = time.Minute
	mostTriers = 4096 // addresses that are remembered
)

// tries counts the logins that an address has tried and that were not right. Who is
// logged in is not looked at here, and so not kept out by a neighbour who guesses. What
// the door of the broker does against guessing (bans, late refusals) comes after it.
type tries struct {
	mu sync.Mutex
	of map[netip.Prefix][]time.Time // the oldest first
}

type tooSoon struct{ wait time.Duration }

func (t tooSoon) Error() string { return "too many tries" }

// tryer is who is counted as one: of IPv6 a network, since who has one address of it has
// all.
func tryer(from netip.Addr) netip.Prefix {
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, _ := from.Prefix(bits)
	return p
}

// begin counts a try, or says how long to wait with it.
func (t *tries) begin(from netip.Addr, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := tryer(from)
	recent := t.of[at]
	for len(recent) > 0 && now.Sub(recent[0]) >= triesIn {
		recent = recent[1:]
	}
	if len(recent) >= mostTries {
		t.of[at] = recent
		return triesIn - now.Sub(recent[0])
	}
	if t.of == nil {
		t.of = make(map[netip.Prefix][]time.Time)
	}
	if t.of[at] == nil && len(t.of) >= mostTriers {
		t.makeRoom(now)
	}
	t.of[at] = append(recent, now)
	return 0
}

// makeRoom forgets whose tries are over, and if there are none who tried longest ago.
func (t *tries) makeRoom(now time.Time) {
	var oldest netip.Prefix
	var when time.Time
	for at, all := range t.of {
		switch last := all[len(all)-1]; {
		case now.Sub(last) >= triesIn:
			delete(t.of, at)
		case when.IsZero() || last.Before(when):
			oldest, when = at, last
		}
	}
	if len(t.of) >= mostTriers {
		delete(t.of, oldest)
	}
}

// count is how many tries of an address count now.
func (t *tries) count(from netip.Addr) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.of[tryer(from)])
}

// takeBack is for a try that was right.
func (t *tries) takeBack(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := tryer(from)
	if all := t.of[at]; len(all) > 1 {
		t.of[at] = all[:len(all)-1]
	} else {
		delete(t.of, at)
	}
}

// --- The first user ---

// setupFor is how long the link to the setup is good for.
const setupFor = time.Hour

// A setup is the one chance to make the first user of the page. Who has the link has
// seen the hub's console, and so may.
type setup struct {
	mu   sync.Mutex
	hash [sha256.Size]byte // of the token
	made time.Time         // zero: there is none. Its age is by the monotonic clock
}

// Invite makes the path, with a token in it, where the first user can be made, to be told
// to a person at the console. It is "" if none is needed, since people can log in or no
// login is wanted, and while an earlier one is still good.
func (s *Server) Invite() (path string) {
	if set := s.set.Load(); set.anonymous || s.Addr() == "" || s.people.Any() {
		return ""
	}
	s.setup.mu.Lock()
	defer s.setup.mu.Unlock()
	if !s.setup.made.IsZero() && time.Since(s.setup.made) < setupFor {
		return ""
	}
	token := base64.RawURLEncoding.EncodeToString(draw())
	s.setup.hash, s.setup.made = sha256.Sum256([]byte(token)), time.Now()
	return "/setup?token=" + token
}

// fits says whether a token is the one that was made. mu is held.
func (st *setup) fits(token string) bool {
	is := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(is[:], st.hash[:]) == 1 && !st.made.IsZero() && time.Since(st.made) < setupFor
}

func (s *Server) serveSetup(w http.ResponseWriter, r *http.Request) {
	s.setup.mu.Lock()
	defer s.setup.mu.Unlock()
	token := r.URL.Query().Get("token")
	if s.people.Any() || !s.setup.fits(token) {
		s.showForm(w, r, http.StatusForbidden, form{Hint: s.wordsFor(r).text("setup.over")})
		return
	}
	s.showForm(w, r, http.StatusOK, form{Token: token, User: "admin"})
}

const shortestPassword = 8

// takeSetup makes the first user and logs it in.
func (s *Server) takeSetup(w http.ResponseWriter, r *http.Request) {
	if status, err := readForm(w, r); err != nil {
		s.fail(w, r, status, err.Error())
		return
	}
	s.setup.mu.Lock() // held until the user is there: of two who post at once one is the first
	defer s.setup.mu.Unlock()
	token, user, password := r.PostFormValue("token"), r.PostFormValue("user"), r.PostFormValue("password")
	if s.people.Any() || !s.setup.fits(token) {
		s.showForm(w, r, http.StatusForbidden, form{Hint: s.wordsFor(r).text("setup.over")})
		return
	}
	words := s.wordsFor(r)
	again := func(why string) {
		s.showForm(w, r, http.StatusBadRequest, form{Token: token, User: mended(user, mostName), Why: why})
	}
	if err := fitPassword(words, password, r.PostFormValue("again")); err != nil {
		again(err.Error())
		return
	}
	ctx, done := context.WithTimeout(r.Context(), loginPatience)
	defer done()
	if err := s.people.AddFirst(ctx, user, password); err != nil {
		again(words.text("setup.not_made", "why", mended(err.Error(), mostText)))
		return
	}
	s.setup.made = time.Time{}
	secret := draw()
	if mark := s.people.Mark(user, secret); mark != nil {
		s.welcome(w, r, user, secret, mark)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
