package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// patience is how long the house may take to answer; healthy is how long it may
// take and still be called well.
const (
	patience = 5 * time.Second
	healthy  = time.Second
)

// A route is one thing that can be asked for, by those who may do that much somewhere in
// the house; Nothing: by everybody.
type route struct {
	method, path string
	needs        Level
	handle       http.HandlerFunc
}

// What handlers are called says what they do: xPage makes what is on a page alone, an xSheet for
// its template; serveX answers who looks, and takeX does what was posted.

// routes is everything the server answers, behind the checks that all of it
// shares. The outermost check is last.
func (s *Server) routes() http.Handler {
	outputs, inputs := func(v View) []Pin { return v.Outputs }, func(v View) []Pin { return v.Inputs }
	s.table = []route{
		// For people.
		{"GET", "/{$}", See, s.servePage("home", nil)},
		{"GET", "/log", See, s.servePage("log", s.logPage)},
		{"GET", "/thing/{name...}", See, s.servePage("thing", s.thingPage)},
		{"GET", "/chart/{name...}", See, s.serveChart},
		{"GET", "/why/{name...}", See, s.servePage("why", s.whyPage)},
		{"GET", "/rules", See, s.servePage("rules", s.rulesPage)},
		{"GET", "/rules/{name}", See, s.servePage("rule", s.rulePage)},
		{"POST", "/rules/{name}", Use, s.takeRuleForm},
		{"GET", "/edit", Change, wholeHouse(s.servePage("edit", s.editPage))},
		{"GET", "/edit/versions", Change, wholeHouse(s.servePage("versions", s.versionsPage))},
		{"GET", "/pins", See, s.servePage("pins", s.pinsPage)},
		{"GET", "/devices", See, s.servePage("devices", s.devicesPage)},
		{"GET", "/devices/{name}", See, s.servePage("device", s.devicePage)},
		{"GET", "/topics", See, s.servePage("topics", s.topicsPage)},
		{"GET", "/clients", See, s.servePage("clients", s.clientsPage)},
		{"GET", "/health", See, s.servePage("health", s.healthPage)},
		{"GET", "/users", Change, s.serveUsers},
		{"POST", "/users", Change, s.takeUsers},
		{"GET", "/account", See, s.serveAccount},
		{"POST", "/account", See, s.takeAccount},

		// At the door, and what browsers need before they are let in.
		{"GET", "/login", Nothing, s.serveLogin},
		{"POST", "/login", Nothing, s.takeLogin},
		{"POST", "/logout", Nothing, s.takeLogout(false)},
		{"POST", "/logout/everywhere", Nothing, s.takeLogout(true)},
		{"GET", "/setup", Nothing, s.serveSetup}, // by token
		{"POST", "/setup", Nothing, s.takeSetup},
		{"GET", "/assets/{version}/{name...}", Nothing, serveAsset},
		{"GET", "/manifest.webmanifest", Nothing, s.serveManifest},
		{"GET", "/sw.js", Nothing, s.serveWorker},
		{"GET", offlinePath, Nothing, s.serveOffline},

		// For programs; the modules of the pages are some.
		{"GET", "/api/v1/openapi.json", See, serveOpenAPI},
		{"GET", "/api/v1/house", See, s.serveHouse},
		{"GET", "/api/v1/events", See, s.serveEvents},
		{"GET", "/api/v1/readings", See, s.serveReadings},
		{"POST", "/api/v1/thing/{name}", Use, s.takeTell},
		{"POST", "/api/v1/output/{name}", Use, s.takeSwitch("output", s.house.Switch, outputs)},
		{"POST", "/api/v1/input/{name}", Use, s.takeSwitch("input", s.house.Drive, inputs)},
		{"GET", "/api/v1/history", See, s.serveSeriesList},
		{"GET", "/api/v1/history/{name...}", See, s.serveSeries},
		{"GET", "/api/v1/why/{name...}", See, s.serveWhy},
		{"GET", "/api/v1/rules", See, s.serveRules},
		{"GET", "/api/v1/rules/{name}", See, s.serveRule},
		{"POST", "/api/v1/rules/{name}", Use, s.takeRule},
		{"GET", "/api/v1/config", Change, wholeHouse(s.serveConfig)},
		{"POST", "/api/v1/config/check", Change, wholeHouse(s.takeCheck)},
		{"POST", "/api/v1/config/try", Change, wholeHouse(s.takeTry)},
		{"POST", "/api/v1/config/save", Change, wholeHouse(s.takeSave)},
		{"POST", "/api/v1/config/remove", Change, wholeHouse(s.takeRemove)},
		{"GET", "/api/v1/config/versions", Change, wholeHouse(s.serveConfigVersions)},
		{"GET", "/api/v1/config/version/{id}", Change, wholeHouse(s.serveConfigVersion)},
		{"POST", "/api/v1/config/version/{id}", Change, wholeHouse(s.takeRestore)},
		{"GET", "/api/v1/pins", See, s.servePins},
		{"POST", "/api/v1/acknowledge/{name}", Use, s.takeAcknowledge},
		{"GET", "/api/v1/devices", See, s.serveDevices},
		{"GET", "/api/v1/devices/{name}", See, s.serveDevice},
		{"POST", "/api/v1/devices/{name}/forget", Change, s.takeForget},
		{"GET", "/api/v1/topics", See, s.serveTopics},
		{"POST", "/api/v1/publish", Use, s.takePublish},
		{"GET", "/api/v1/clients", See, s.serveClients},
		{"POST", "/api/v1/clients/disconnect", Change, s.takeDisconnect},
		{"GET", "/api/v1/health", See, s.serveHealth},
		{"GET", "/healthz", Nothing, s.serveHealthz},
		{"GET", "/metrics", See, s.serveMetrics},
		{"POST", "/hook/{name...}", Nothing, s.takeHook}, // by a path that is hard to guess
	}
	mux := http.NewServeMux()
	at := make(map[string]methods)
	for _, r := range s.table {
		if at[r.path] == nil {
			at[r.path] = make(methods)
			mux.HandleFunc(r.path, s.byMethod(at[r.path]))
		}
		at[r.path][r.method] = s.guard(r.needs, r.handle)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, nothingHere)
	})

	sameSite := http.NewCrossOriginProtection()
	sameSite.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusForbidden, otherSite)
	}))
	return harden(s.spoken(s.ownHost(sameSite.Handler(ownReaders(mux)))))
}

// spoken notes the language in which an answer of the API was asked for, which refuse obeys.
func (s *Server) spoken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forPrograms(r.URL.Path) {
			w.Header().Set("Content-Language", s.wordsFor(r).language)
		}
		next.ServeHTTP(w, r)
	})
}

// nothingHere is for addresses that there are none of.
const nothingHere = "there is nothing at this address; the page is at /"

// otherSite is for what a form elsewhere posts.
const otherSite = "another site asked your browser to send this, so it was not done"

// methods are what can be done with one path.
type methods map[string]http.HandlerFunc

func (s *Server) byMethod(m methods) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if handle := m[method]; handle != nil {
			handle(w, r)
			return
		}
		allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allow)
		s.fail(w, r, http.StatusMethodNotAllowed, "only "+allow+" works here")
	}
}

// harden sets what keeps a browser from running or framing anything that is
// not ours, whatever a device manages to say.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "+
			"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types hearth")
		// The one policy of trusted types that a script may make is for the address of our worker.
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer our own forms would come with Origin: null
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// ownHost refuses requests that were meant for another name: whoever owns a name on the
// internet can make it point here, and then a page of theirs would be of one site with
// this one. An address can't be made to point elsewhere. The port is not looked at, for it
// changes when the page is reached through an SSH tunnel.
func (s *Server) ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r)
		if set := s.set.Load(); !s.isOwn(host, set) {
			why := "this page answers only as localhost or 127.0.0.1, not as " + mended(r.Host, 100)
			if !set.loopback {
				why = "this page answers to addresses and the names of this machine, not to " + mended(r.Host, 100)
			}
			if isName(host) {
				why += fmt.Sprintf("; if that is a name of yours for it, write names = [%q] under [web]", mended(host, 100))
			}
			s.fail(w, r, http.StatusMisdirectedRequest, why)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) isOwn(host string, set *settings) bool {
	same := func(name string) bool { return strings.EqualFold(strings.TrimSuffix(name, "."), host) }
	if isHere(host) || slices.ContainsFunc(set.names, same) {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return !set.loopback && !addr.IsUnspecified()
	}
	return !set.loopback && host != "" && slices.ContainsFunc(s.machine, same)
}

// ownReaders keeps other sites from so much as opening streams, or asking for all there
// is. They could not read it, but they could take the place of those who may.
func ownReaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
		other := from == "cross-site" || from == "same-site"
		if from == "" && origin != "" { // without TLS, and of old browsers
			u, err := url.Parse(origin)
			other = err != nil || u.Host != r.Host
		}
		if forPrograms(r.URL.Path) && other {
			refuse(w, http.StatusForbidden, "another site asked for this")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// healthz is whether the house is well, as of less than a second ago: strangers may ask that,
// and a View is work for the house, which has others to do.
type healthz struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

func (h *healthz) ask(house House) error {
	h.mu.Lock() // who comes while one asks is told the same
	defer h.mu.Unlock()
	if !h.asked.IsZero() && time.Since(h.asked) < healthy {
		return h.err
	}
	ctx, done := context.WithTimeout(context.Background(), healthy)
	defer done()
	_, h.err = house.View(ctx)
	h.asked = time.Now()
	return h.err
}

func (s *Server) serveHealthz(w http.ResponseWriter, r *http.Request) {
	if err := s.healthz.ask(s.house); err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "ok\n")
}

func (s *Server) serveHouse(w http.ResponseWriter, r *http.Request) {
	v, err := s.view(r.Context(), patience)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	send(w, r, "application/json", asJSON(v.seenBy(visitorOf(r)).in(s.wordsFor(r))))
}

// serveOpenAPI describes what programs may ask; a test holds it against the routes.
func serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	content, err := files.ReadFile("openapi.json")
	if err != nil {
		panic(err) // go:embed promised it
	}
	send(w, r, "application/json", content)
}

const wantOn = `{"on":true} or {"on":false}`

// takeSwitch tells a pin its level. pins are those that there are of its kind.
func (s *Server) takeSwitch(kind string, set func(context.Context, string, bool) error, pins func(View) []Pin) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var told struct {
			On *bool `json:"on"`
		}
		err := readJSON(w, r, 1<<10, wantOn, &told)
		if err == nil && told.On == nil {
			err = Mistaken("want " + wantOn)
		}
		if err != nil {
			refuseFor(w, err)
			return
		}
		ctx, done := context.WithTimeout(r.Context(), patience)
		defer done()
		name, may := r.PathValue("name"), visitorOf(r).rights
		switch {
		case may.Whole(Use):
		case !may.On(seen(name), See) || s.why(ctx, name, pins) == http.StatusNotFound:
			// In the same words whether it is there or not; the house would say what else there is.
			refuse(w, http.StatusNotFound, fmt.Sprintf("no %s is named %q", kind, name))
			return
		case !may.On(used(name), Use):
			refuse(w, http.StatusForbidden, fmt.Sprintf("you may look at %s and not use it", name))
			return
		}
		if err := set(ctx, name, *told.On); err != nil {
			why := err.Error()
			if !may.Whole(See) {
				why = name + " was not switched" // the reason may be another one
			}
			refuse(w, s.why(ctx, name, pins), why)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// maxHook is how large the body of a webhook may be, in bytes.
const maxHook = 16 << 10

// takeHook hands the house what was posted to one of its hooks. Who knows the
// path may use it: it is as good as a password as it is hard to guess.
func (s *Server) takeHook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("want at most %d bytes", maxHook))
		return
	} else if err != nil {
		refuse(w, http.StatusBadRequest, "the request broke off: "+err.Error())
		return
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	switch known, err := s.house.Hook(ctx, r.URL.Path, body); {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err.Error())
	case !known:
		refuse(w, http.StatusNotFound, "no rule has this webhook")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// why is the status for a pin that was not set: the house is too slow to say,
// there is no such pin, or it can't be done now.
func (s *Server) why(ctx context.Context, name string, pins func(View) []Pin) int {
	v, err := s.house.View(ctx)
	if err != nil {
		return http.StatusServiceUnavailable
	}
	if !slices.ContainsFunc(pins(v), func(p Pin) bool { return p.Name == name }) {
		return http.StatusNotFound
	}
	return http.StatusConflict
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(asJSON(v))
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of ours that can't be JSON
	}
	return append(b, '\n')
}

// view is how the house is, cleaned.
func (s *Server) view(ctx context.Context, within time.Duration) (View, error) {
	return s.viewing.ask(ctx, within)
}

// What is longer than this, in characters, is cut: names, and everything else.
const (
	mostName = 200
	mostText = 500
)

// clean is a copy in which all text can be shown and no list is nil, with the
// readings in the order of their names.
func (v View) clean() View {
	if v.Now.IsZero() {
		v.Now = time.Now()
	}
	v.Name, v.Version = mended(v.Name, mostName), mended(v.Version, mostName)
	v.Trouble = each(v.Trouble, sentence)
	v.Waiting = each(v.Waiting, sentence)
	v.Things = each(v.Things, Thing.clean)
	v.Outputs = each(v.Outputs, Pin.clean)
	v.Inputs = each(v.Inputs, Pin.clean)
	v.Readings = each(v.Readings, Reading.clean)
	slices.SortStableFunc(v.Readings, func(a, b Reading) int { return cmp.Compare(a.Source, b.Source) })
	v.Decisions = each(v.Decisions, Decision.clean)
	return v
}

// status is v without its lists.
func (v View) status() View {
	v.Things, v.Outputs, v.Inputs, v.Readings, v.Decisions = nil, nil, nil, nil, nil
	return v
}

func (p Pin) clean() Pin {
	p.Name, p.Pin, p.Fault, p.Note = mended(p.Name, mostName), mended(p.Pin, mostName), sentence(p.Fault), mended(p.Note, mostName)
	p.Label, p.Shows = mended(p.Label, mostName), mended(p.Shows, mostName)
	return p
}

func (r Reading) clean() Reading {
	r.Source, r.Of, r.Text, r.Bad, r.At = mended(r.Source, mostName), mended(r.Of, mostName), mended(r.Text, mostText), mended(r.Bad, mostName), sane(r.At)
	return r
}

func (d Decision) clean() Decision {
	d.Rule, d.Outcome, d.Text, d.At = mended(d.Rule, mostName), mended(d.Outcome, mostName), sentence(d.Text), sane(d.At)
	return d
}

func (e Event) clean() Event {
	return Event{cleaned(e.Output, Pin.clean), cleaned(e.Input, Pin.clean), cleaned(e.Reading, Reading.clean), cleaned(e.Decision, Decision.clean), cleaned(e.Thing, Thing.clean), cleaned(e.Rule, Rule.clean)}
}

func cleaned[T any](p *T, clean func(T) T) *T {
	if p == nil {
		return nil
	}
	c := clean(*p)
	return &c
}

// each is list with f applied; never nil, so that it is [] as JSON.
func each[T any](list []T, f func(T) T) []T {
	out := make([]T, len(list))
	for i, e := range list {
		out[i] = f(e)
	}
	return out
}

func sentence(s string) string { return mended(s, mostText) }

// mended is s fit to be shown: valid UTF-8, at most so many characters, without
// control characters and without those that turn the direction of the text
// around them.
func mended(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, c := range s { // a broken byte comes as U+FFFD
		if n == most {
			b.WriteRune('…')
			break
		}
		n++
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			c = ' '
		case unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c):
			c = unicode.ReplacementChar
		}
		b.WriteRune(c)
	}
	return b.String()
}

// sane is t, or the zero time where it can't be written as JSON.
func sane(t time.Time) time.Time {
	if y := t.Year(); y < 0 || y > 9999 {
		return time.Time{}
	}
	return t
}
