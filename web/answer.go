package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
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

// routes is everything the server answers, behind the checks that all of it
// shares. The outermost check is last.
func (s *Server) routes() http.Handler {
	s.table = []route{
		{"GET", "/{$}", See, s.servePage("home", nil)},
		{"GET", "/log", See, s.servePage("log", nil)},
		{"GET", "/pins", See, s.servePage("pins", s.boardPage)},
		{"GET", "/devices", See, s.servePage("devices", s.devicesPage)},
		{"GET", "/devices/{name}", See, s.servePage("device", s.devicePage)},
		{"GET", "/topics", See, s.servePage("topics", s.topicsPage)},
		{"GET", "/clients", See, s.servePage("clients", s.clientsPage)},
		{"GET", "/health", See, s.servePage("health", s.healthPage)},
		{"GET", "/users", Change, s.serveUsers},
		{"POST", "/users", Change, s.takeUsers},
		{"GET", "/account", See, s.serveAccount},
		{"POST", "/account", See, s.takeAccount},
		{"GET", "/thing/{name...}", See, s.servePage("thing", s.showThing)},
		{"GET", "/chart/{name...}", See, s.serveChart},
		{"GET", "/why/{name...}", See, s.servePage("why", s.ofWhy)},
		{"GET", "/rules", See, s.servePage("rules", s.ofRules)},
		{"GET", "/rules/{name}", See, s.servePage("rule", s.ofRule)},
		{"POST", "/rules/{name}", Use, s.takeRuleForm},
		{"GET", "/api/v1/why/{name...}", See, s.serveWhy},
		{"GET", "/api/v1/rules", See, s.serveRules},
		{"GET", "/api/v1/rules/{name}", See, s.serveRule},
		{"POST", "/api/v1/rules/{name}", Use, s.takeRule},
		{"GET", "/edit", Change, wholeHouse(s.servePage("edit", s.editSheet))},
		{"GET", "/edit/versions", Change, wholeHouse(s.servePage("versions", s.versionsSheet))},
		{"GET", "/assets/{version}/{name...}", Nothing, serveAsset},
		{"GET", "/manifest.webmanifest", Nothing, s.serveManifest},
		{"GET", "/sw.js", Nothing, s.serveWorker},
		{"GET", offlinePath, Nothing, s.serveOffline},
		{"GET", "/login", Nothing, s.serveLogin},
		{"POST", "/login", Nothing, s.takeLogin},
		{"POST", "/logout", Nothing, s.takeLogout(false)},
		{"POST", "/logout/everywhere", Nothing, s.takeLogout(true)},
		{"GET", "/setup", Nothing, s.serveSetup}, // by token
		{"POST", "/setup", Nothing, s.takeSetup},
		{"GET", "/healthz", Nothing, s.serveHealth},
		{"GET", "/metrics", See, s.serveMetrics},
		{"GET", "/api/v1/house", See, s.serveHouse},
		{"GET", "/api/v1/openapi.json", See, serveOpenAPI},
		{"GET", "/api/v1/events", See, s.serveEvents},
		{"GET", "/api/v1/history", See, s.serveSeriesList},
		{"GET", "/api/v1/history/{name...}", See, s.serveSeries},
		{"GET", "/api/v1/sparks", See, s.serveSparks},
		{"POST", "/api/v1/output/{name}", Use, s.serveSwitch("output", s.house.Switch, func(v View) []Pin { return v.Outputs })},
		{"POST", "/api/v1/thing/{name}", Use, s.serveTell},
		{"GET", "/api/v1/config", Change, wholeHouse(s.serveConfig)},
		{"POST", "/api/v1/config/check", Change, wholeHouse(s.serveCheck)},
		{"POST", "/api/v1/config/try", Change, wholeHouse(s.serveTry)},
		{"POST", "/api/v1/config/save", Change, wholeHouse(s.serveSave)},
		{"GET", "/api/v1/config/versions", Change, wholeHouse(s.serveConfigVersions)},
		{"GET", "/api/v1/config/version/{id}", Change, wholeHouse(s.serveConfigVersion)},
		{"POST", "/api/v1/config/version/{id}", Change, wholeHouse(s.serveRestore)},
		{"GET", "/api/v1/pins", See, s.servePins},
		{"POST", "/api/v1/acknowledge/{name}", Use, s.serveAcknowledge},
		{"GET", "/api/v1/devices", See, s.serveDevices},
		{"GET", "/api/v1/devices/{name}", See, s.serveDevice},
		{"POST", "/api/v1/devices/{name}/forget", Change, s.serveForget},
		{"GET", "/api/v1/topics", See, s.serveTopics},
		{"POST", "/api/v1/publish", Use, s.servePublish},
		{"GET", "/api/v1/clients", See, s.serveClients},
		{"POST", "/api/v1/clients/disconnect", Change, s.serveDisconnect},
		{"GET", "/api/v1/health", See, s.serveCheckup},
		{"POST", "/hook/{name...}", Nothing, s.serveHook}, // by a path that is hard to guess
		{"POST", "/api/v1/input/{name}", Use, s.serveSwitch("input", s.house.Drive, func(v View) []Pin { return v.Inputs })},
	}
	mux := http.NewServeMux()
	at := make(map[string]methods)
	for _, r := range s.table {
		if at[r.path] == nil {
			at[r.path] = make(methods)
			mux.Handle(r.path, at[r.path])
		}
		at[r.path][r.method] = s.guard(r.needs, r.handle)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, nothingHere)
	})

	sameSite := http.NewCrossOriginProtection()
	sameSite.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusForbidden, "another site asked your browser to send this, so it was not done")
	}))
	return harden(s.ownHost(sameSite.Handler(ownReaders(mux))))
}

// nothingHere is for addresses that there are none of.
const nothingHere = "there is nothing at this address; the page is at /"

// methods are what can be done with one path.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	refuse(w, http.StatusMethodNotAllowed, "only "+allow+" works here")
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
			refuse(w, http.StatusMisdirectedRequest, why)
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

// health is whether the house is well, as of less than a second ago: strangers may ask that,
// and a View is work for the house, which has others to do.
type health struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

func (h *health) ask(house House) error {
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

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	if err := s.health.ask(s.house); err != nil {
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
	send(w, r, "application/json", asJSON(v.seenBy(visitorOf(r))))
}

// serveOpenAPI describes what programs may ask; a test holds it against the routes.
func serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	content, err := files.ReadFile("openapi.json")
	if err != nil {
		panic(err) // go:embed promised it
	}
	send(w, r, "application/json", content)
}

// serveSwitch tells a pin its level. pins are those that there are of its kind.
func (s *Server) serveSwitch(kind string, set func(context.Context, string, bool) error, pins func(View) []Pin) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		on, status, err := readLevel(w, r)
		if err != nil {
			refuse(w, status, err.Error())
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
		if err := set(ctx, name, on); err != nil {
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

// serveHook hands the house what was posted to one of its hooks. Who knows the
// path may use it: it is as good as a password as it is hard to guess.
func (s *Server) serveHook(w http.ResponseWriter, r *http.Request) {
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

// readLevel reads {"on":true}. The status belongs to the error.
func readLevel(w http.ResponseWriter, r *http.Request) (on bool, status int, err error) {
	// Forms and plain text can be posted by any site without asking first.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return false, http.StatusUnsupportedMediaType, errors.New("want Content-Type: application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return false, http.StatusRequestEntityTooLarge, errors.New(`want {"on":true} or {"on":false}, not so much more`)
	} else if err != nil {
		return false, http.StatusBadRequest, fmt.Errorf("the request broke off: %w", err)
	}
	var level struct {
		On *bool `json:"on"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&level); err != nil || level.On == nil || d.More() {
		return false, http.StatusBadRequest, errors.New(`want {"on":true} or {"on":false}`)
	}
	return *level.On, 0, nil
}

// refuse says in one sentence why not.
func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, map[string]string{"error": mended(why, mostText)})
}

// A refusal is an error that has a status of its own.
type refusal struct {
	status int
	why    string
}

func (r refusal) Error() string { return r.why }

// refuseFor says why not, by the status of a refusal or else as the house's trouble.
func refuseFor(w http.ResponseWriter, err error) {
	refuse(w, StatusOf(err), err.Error())
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
	p.Shows = mended(p.Shows, mostName)
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
