package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Level is how much somebody may do; each allows what those before it do.
type Level int

const (
	Nothing Level = iota
	See           // look at the house
	Use           // switch what is in it
	Change        // the house itself: rules, names, users
)

func (l Level) String() string { return [...]string{"nothing", "see", "use", "change"}[l] }

// Rights are what a visitor may do at this moment.
type Rights interface {
	// Most is the most that they may do anywhere.
	Most() Level

	// On says whether they may do that much with what is told on an MQTT topic: see
	// hearth/lamp/state, use hearth/lamp/set.
	On(topic string, l Level) bool

	// Whole says whether that is so on all topics that there are.
	Whole(l Level) bool
}

// everything is what visitors without a login may do, where there may be any.
type everything struct{}

func (everything) Most() Level           { return Change }
func (everything) On(string, Level) bool { return true }
func (everything) Whole(Level) bool      { return true }

// People are those who may come to the page. The hub fills it with the users and tokens
// that `hearth user` and `hearth token` keep.
type People interface {
	// Login says whether a password is the user's, and gives the user's Mark by the key
	// as it was with that password. A refusal comes late on purpose; ErrLater is one
	// that says nothing of the password.
	Login(ctx context.Context, from netip.Addr, user, password string, key []byte) (mark []byte, err error)

	// Mark changes when the user's password does, also while no hub runs, and is nil
	// for who is no user any more. It tells nothing to who does not have the key.
	Mark(user string, key []byte) []byte

	// Rights of a user, nil for who is none.
	Rights(user string) Rights

	// Token gives the name and the rights of a token; nil if there is none.
	Token(secret string) (name string, rights Rights)

	// Version is another value when users, roles or tokens are others.
	Version() any

	// Any says whether somebody can log in who may see the page.
	Any() bool

	// AddFirst makes a user who may do everything.
	AddFirst(ctx context.Context, user, password string) error
}

// ErrLater is why somebody is not let in whose password was not even looked at.
var ErrLater = errors.New("too many failed logins: try again later")

// strangers is a house without users.
type strangers struct{}

func (strangers) Login(context.Context, netip.Addr, string, string, []byte) ([]byte, error) {
	return nil, errors.New("nobody can log in here")
}
func (strangers) Mark(string, []byte) []byte                     { return nil }
func (strangers) Rights(string) Rights                           { return nil }
func (strangers) Token(string) (string, Rights)                  { return "", nil }
func (strangers) Version() any                                   { return nil }
func (strangers) Any() bool                                      { return false }
func (strangers) AddFirst(context.Context, string, string) error { return errors.New("no users here") }

// A visitor is who sent a request. Without rights it is nobody we know.
type visitor struct {
	name    string // of a user or a token; "" for one without a login
	rights  Rights
	session *session // nil: came with a token, or without a login
	wrong   bool     // showed a token that is none
}

// A judged visitor is one with what it was judged by, so that a stream need not do it anew
// for each of a thousand readings a second.
type judged struct {
	visitor
	set     *settings
	version any
}

// again judges the visitor anew, if something is another than when it was last or now is
// said. False: it may not see the house any more.
func (j *judged) again(s *Server, r *http.Request, now bool) bool {
	select {
	case <-j.ended():
		return false
	default:
	}
	set, version := s.set.Load(), s.people.Version()
	if now || set != j.set || version != j.version {
		*j = judged{s.who(r), set, version}
	}
	return j.rights != nil && j.rights.Most() >= See
}

// ended is closed when the visitor's session ends; nil if that can't be.
func (v visitor) ended() <-chan struct{} {
	if v.session == nil {
		return nil
	}
	return v.session.ended
}

// who finds out who sent a request, by what counts now: a password that was changed or a
// role that was taken away a moment ago counts already.
//
// A token that is wrong is not overlooked in favour of a cookie, for then a program with
// an old token would seem to work as long as somebody is logged in.
func (s *Server) who(r *http.Request) visitor {
	if shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		name, rights := s.people.Token(strings.TrimSpace(shown))
		return visitor{name: name, rights: rights, wrong: rights == nil}
	}
	if c, err := r.Cookie(cookieName(r)); err == nil {
		if v, ok := s.sessions.find(c.Value, secure(r)); ok {
			return v
		}
	}
	if s.anonymous(r) {
		return visitor{rights: everything{}}
	}
	return visitor{}
}

// anonymous says whether a request needs no login: the page is for this machine alone,
// its owner did not ask for logins, and nobody else sent it. A proxy on this machine
// makes strangers come from here, but says so in a header; and who asks for the page by a
// name that it has elsewhere is hardly here.
func (s *Server) anonymous(r *http.Request) bool {
	if !s.set.Load().anonymous || !fromHere(r) || !isHere(hostOf(r)) {
		return false
	}
	for header := range r.Header {
		if strings.HasPrefix(header, "X-Forwarded") || slices.Contains(proxyHeaders, header) {
			return false
		}
	}
	return true
}

// proxyHeaders are by what proxies say that somebody else asks, beside X-Forwarded-For and
// its kin.
var proxyHeaders = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

// hostOf is the host that a request is for, without port and brackets.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return "" // in localhost:1@evil.example it is the other that is meant
		}
		host = h
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// isHere says whether a host is this machine and no other, whoever asks.
func isHere(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// sender is the address a request came from; the zero Addr if it has none.
func sender(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// calledFrom is where a request came from as people are told it: where a proxy on this machine
// passes it on, the address that called the proxy, which stands last of those it names.
func calledFrom(r *http.Request) string {
	if all := r.Header.Values("X-Forwarded-For"); fromHere(r) && len(all) > 0 {
		names := strings.Split(all[len(all)-1], ",")
		if addr, err := netip.ParseAddr(strings.TrimSpace(names[len(names)-1])); err == nil {
			return addr.Unmap().WithZone("").String()
		}
	}
	return sender(r).String()
}

func fromHere(r *http.Request) bool { return sender(r).IsLoopback() }

// secure says whether what the browser sends is encrypted on its way: up to us, or up to
// a proxy on this machine that says so.
func secure(r *http.Request) bool {
	return r.TLS != nil || fromHere(r) && r.Header.Get("X-Forwarded-Proto") == "https"
}

type visitorKey struct{}

// visitorOf is who sent a request that guard let pass.
func visitorOf(r *http.Request) visitor {
	v, _ := r.Context().Value(visitorKey{}).(visitor)
	return v
}

// By is the user or the token in whose name the house is asked for something; "" if none
// was needed.
func By(ctx context.Context) string {
	v, _ := ctx.Value(visitorKey{}).(visitor)
	return v.name
}

// RightsOf are those of whoever the house is asked for something by.
func RightsOf(ctx context.Context) Rights {
	v, _ := ctx.Value(visitorKey{}).(visitor)
	return v.rights
}

// guard lets those pass who may do that much somewhere in the house. On what they may do
// it, the handler looks.
func (s *Server) guard(needs Level, next http.HandlerFunc) http.HandlerFunc {
	if needs == Nothing {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.who(r)
		switch {
		case v.rights == nil && !v.wrong && (isPage(r) || byPerson(r)):
			http.Redirect(w, r, "/login?next="+escapedPath(r), http.StatusSeeOther)
		case v.rights == nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, map[bool]string{false: "a login is needed: log in at /login, or send a token of hearth token as Authorization: Bearer", true: "there is no such token"}[v.wrong])
		case v.rights.Most() < See && isPage(r):
			s.showLogin(w, r, http.StatusForbidden, s.wordsFor(r).text("login.may_not", "user", mended(v.name, mostName)))
		case v.rights.Most() < needs:
			s.fail(w, r, http.StatusForbidden, "you may "+v.rights.Most().String()+" here, and this is for those who may "+needs.String())
		default:
			next(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, v)))
		}
	}
}

// isPage says whether a person looks at the answer, and is to be led to the login.
func isPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && !forPrograms(r.URL.Path)
}

// byPerson says whether a browser shows a person the answer, also that to a form.
func byPerson(r *http.Request) bool {
	return !forPrograms(r.URL.Path) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// forPrograms says whether what is at a path is read by programs and scripts.
func forPrograms(path string) bool {
	return strings.HasPrefix(path, "/api/") || path == "/metrics"
}

// --- What of the house a visitor sees ---

// seen, used: by what topic it is judged whether somebody may see an output or input, and
// whether they may tell it something. Over MQTT it is the same.
func seen(name string) string { return "hearth/" + name + "/state" }
func used(name string) string { return "hearth/" + name + "/set" }

// seenBy is v as a visitor may see it. What is told in sentences about the whole house
// only those see who may see all of it.
func (v View) seenBy(who visitor) View {
	r := who.rights
	v.User, v.May = mended(who.name, mostName), r.Most().String()
	pins := func(all []Pin) []Pin {
		some := make([]Pin, 0, len(all))
		for _, p := range all {
			if p, ok := p.seenBy(r); ok {
				some = append(some, p)
			}
		}
		return some
	}
	v.Outputs, v.Inputs = pins(v.Outputs), pins(v.Inputs)
	things := make([]Thing, 0, len(v.Things))
	for _, t := range v.Things {
		if t, ok := t.seenBy(r); ok {
			things = append(things, t)
		}
	}
	v.Things = things
	if r.Whole(See) {
		v.Decisions, v.Waiting = hookless(r, v.Decisions), hookless(r, v.Waiting)
		return v
	}
	v.Partial = true
	v.Trouble, v.Waiting, v.Decisions, v.Broker = []string{}, []string{}, []Decision{}, nil
	readings := make([]Reading, 0, len(v.Readings))
	for _, one := range v.Readings {
		if one.seenBy(r) {
			readings = append(readings, one)
		}
	}
	v.Readings = readings
	return v
}

// What is said of a pin may name others: what it waits for, what contradicts it.
func (p Pin) seenBy(r Rights) (Pin, bool) {
	p.ReadOnly = !r.On(used(p.Name), Use)
	if !r.Whole(See) {
		p.Note = ""
		if p.Fault != "" {
			p.Fault = "it has a fault"
		}
	}
	return p, r.On(seen(p.Name), See)
}

func (one Reading) seenBy(r Rights) bool {
	if r.Whole(See) {
		return true
	}
	for _, t := range one.Topics {
		if !r.On(t, See) {
			return false
		}
	}
	return len(one.Topics) > 0
}

// seenBy is the part of e that a visitor may see; false if that is nothing.
func (e Event) seenBy(r Rights) (some Event, ok bool) {
	pin := func(p *Pin) *Pin {
		if p == nil {
			return nil
		}
		one, ok := p.seenBy(r)
		if !ok {
			return nil
		}
		return &one
	}
	some.Output, some.Input = pin(e.Output), pin(e.Input)
	if e.Thing != nil {
		if t, ok := e.Thing.seenBy(r); ok {
			some.Thing = &t
		}
	}
	if e.Reading != nil && e.Reading.seenBy(r) {
		some.Reading = e.Reading
	}
	if e.Decision != nil && r.Whole(See) {
		some.Decision = hookless(r, e.Decision)
	}
	if e.Rule != nil && r.Whole(See) {
		one := hookless(r, e.Rule.seenBy(r))
		some.Rule = &one
	}
	return some, some != Event{}
}

// wallClock is what sessions are dated by; false while nobody knows whether it is right.
type wallClock func() (now time.Time, known bool)
