package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth/doctor"
)

//go:embed pages js words icons style.css icon.svg openapi.json
var files embed.FS

// --- What does not change while the hub runs: modules, style, icon ---

// An asset is served under an address that has the version of all assets in it, so that
// browsers keep it for ever and ask for it once. As it stands before the path, what modules
// import is of their own version.
type asset struct {
	kind    string
	tag     string
	content []byte
	packed  []byte // by gzip; nil: not worth it
}

type assetSet struct {
	version string
	files   map[string]asset
}

var assets = sync.OnceValue(func() assetSet {
	kinds := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
	set := assetSet{files: make(map[string]asset)}
	all := sha256.New()
	fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error { // in the order of the names
		kind := kinds[path.Ext(name)]
		if kind == "" {
			return err
		}
		content, err := files.ReadFile(name)
		sum := sha256.Sum256(content)
		all.Write(sum[:])
		set.files[name] = asset{kind, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, content, pack(content, gzip.BestCompression)}
		return err
	})
	set.version = base64.RawURLEncoding.EncodeToString(all.Sum(nil)[:9])
	return set
})

// assetPath is the address of one.
func assetPath(name string) string { return "/assets/" + assets().version + "/" + name }

func serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := assets().files[r.PathValue("name")]
	if !ok || r.PathValue("version") != assets().version {
		refuse(w, http.StatusNotFound, nothingHere)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	content, tag := a.content, a.tag
	if a.packed != nil && takesGzip(r) {
		content, tag = a.packed, strings.TrimSuffix(tag, `"`)+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// --- Fewer bytes over the air ---

// worthPacking is from how many bytes on it is.
const worthPacking = 1000

// pack is content by gzip, nil where that is not worth it.
func pack(content []byte, level int) []byte {
	if len(content) < worthPacking {
		return nil
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		panic(err) // a level that there is not
	}
	z.Write(content)
	z.Close()
	return b.Bytes()
}

func takesGzip(r *http.Request) bool {
	for one := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, weighed := strings.Cut(one, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return !weighed || strings.Trim(weight, " q=0.") != "" // q=0 is no
		}
	}
	return false
}

// send answers with what was made for this request. What holds a secret is not to be sent by
// it: how well a text packs tells of what is in it.
func send(w http.ResponseWriter, r *http.Request, kind string, content []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Vary", "Accept-Encoding")
	if takesGzip(r) {
		if packed := pack(content, gzip.BestSpeed); packed != nil {
			w.Header().Set("Content-Encoding", "gzip")
			content = packed
		}
	}
	w.Write(content)
}

// --- The pages ---

// A sheet is what a page is made of.
type sheet struct {
	View
	Page string // the name of its template and its module
	Of   any    // what is on this page alone
	Door *form  // the login, which has nothing of the house
	Fail *failure
	most Level // what who looks at it may do at most
}

// A link is one of the menu.
type link struct{ Page, Path string }

// A failure is what error.html shows in place of a page. It has nothing of the house.
type failure struct {
	Status int
	Title  string
	Why    string
	Path   string // of what was asked for, where trying again may help
}

// Elsewhere says that it was not meant for us, and neither is what a link leads to.
func (f failure) Elsewhere() bool { return f.Status == http.StatusMisdirectedRequest }

// Bare says that a page has nothing of the house.
func (p sheet) Bare() bool { return p.Door != nil || p.Fail != nil || p.Page == "offline" }

// Scripted says that there is a module of the page's name.
func (p sheet) Scripted() bool { return !p.Bare() || p.Page == "offline" }

// Menu are the pages that who looks at this one may see.
func (p sheet) Menu() (links []link) {
	for _, m := range menu {
		if p.most >= m.Needs && !(p.Partial && slices.Contains(ofTheWhole, m.Page)) {
			links = append(links, link{m.Page, m.Path})
		}
	}
	return links
}

// Current says of a page in the menu that one is on it, or below it.
func (p sheet) Current(page string) string {
	switch {
	case page == p.Page:
		return "page"
	case page == below[p.Page]:
		return "true"
	}
	return ""
}

// below is under which page of the menu one is on those that are not in it.
var below = map[string]string{"thing": "home", "why": "home", "rule": "rules", "versions": "edit", "device": "devices", "topics": "devices", "clients": "devices"}

// menu are the pages that each page leads to, by the names of their templates and modules,
// with where they are and the least that one has to be allowed to.
var menu = []struct {
	Page, Path string
	Needs      Level
}{
	{"home", "/", See},
	{"log", "/log", See},
	{"devices", "/devices", See},
	{"rules", "/rules", See},
	{"edit", "/edit", Change},
	{"pins", "/pins", See},
	{"health", "/health", See},
	{"users", "/users", Change},
}

// ofTheWhole are the pages in the menu for those alone who may see the whole house.
var ofTheWhole = []string{"rules", "edit", "health", "users"}

// pageNames are all there are templates for.
func pageNames() (names []string) {
	entries, err := files.ReadDir("pages")
	if err != nil {
		panic(err) // they are embedded
	}
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".html"); name != "layout" {
			names = append(names, name)
		}
	}
	return names
}

// pages are the templates by language and name.
var pages = sync.OnceValue(func() map[string]*template.Template {
	all := make(map[string]*template.Template)
	for language, w := range allWords() {
		layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{
			"t":     w.text,
			"lang":  func() string { return w.language },
			"words": w.forModule,
			"asset": assetPath,
			"clock": w.clock,
			"moment": func(t, now time.Time) string {
				if t.IsZero() {
					return w.text("account.no_clock")
				}
				return w.clock(t, now)
			},
			"exact":  func(t time.Time) string { return t.Format(time.RFC3339) },
			"shared": func() []string { return []string{"js/live.js", "js/lists.js", "js/send.js", "js/words.js"} }, // by all modules, so that nobody waits for one to name the next
			"empty": func(v View) bool {
				return len(v.Things)+len(v.Outputs)+len(v.Inputs)+len(v.Readings)+len(v.Decisions)+v.Rules == 0
			},
			"troubles":  troubles,
			"whyPath":   func(name string) string { return whyPath(name, time.Time{}) },
			"rulePath":  rulePath,
			"thingPath": func(name string) string { return "/thing/" + url.PathEscape(name) },
			"whyOf":     decisionPath,
			"blankRule": func() ruleRow { return ruleRow{Rule: Rule{Switches: "x", Tells: true, Enabled: true}, words: w} },
			// What the templates of the rows take.
			"rooms":        rooms,
			"thing":        func(t Thing, now time.Time) thingRow { return thingRow{t, now, w} },
			"number":       w.number,
			"bytes":        w.bytes,
			"blankFinding": func() doctor.Finding { return doctor.Finding{} },
			"told":         func(d Decision, now time.Time) decisionRow { return decisionRow{d, now} },
			"device":       func(d Device, now time.Time) deviceRow { return deviceRow{d, now, w} },
			"topic":        func(r topicRow, now time.Time) rowOfTopic { return rowOfTopic{r, now} },
			"blankTopic":   func(now time.Time) rowOfTopic { return rowOfTopic{topicRow{}, now} },
			"said":         func(r Reading, now time.Time) readingRow { return readingRow{r, now} },
			// Empty ones, for the rows that the modules will fill.
			"blankRoom":  func() Room { return Room{} },
			"blankThing": func() Thing { return Thing{} },
			"blank": func(kind string) propertyRow {
				return propertyRow{Property: Property{Kind: kind, Range: &Range{}}, words: w}
			},
			"blankDecision": func() Decision { return Decision{} },
			"blankReading":  func() Reading { return Reading{} },
		}).ParseFS(files, "pages/layout.html"))
		for _, name := range pageNames() {
			one := template.Must(layout.Clone())
			if name == "thing" { // whose rows are those of the page of the house
				one = template.Must(one.ParseFS(files, "pages/home.html"))
			}
			all[language+"/"+name] = template.Must(one.ParseFS(files, "pages/"+name+".html"))
		}
	}
	return all
})

// write makes a page in the language of who asked. False: it could not, and that was said.
func (s *Server) write(w http.ResponseWriter, r *http.Request, page sheet) (content []byte, ok bool) {
	var b bytes.Buffer
	if err := pages()[s.wordsFor(r).language+"/"+page.Page].ExecuteTemplate(&b, "layout", page); err != nil {
		s.log.Error("the page could not be written", "page", page.Page, "err", err)
		refuse(w, http.StatusInternalServerError, "the page could not be written: "+err.Error())
		return nil, false
	}
	return b.Bytes(), true
}

// fail says why there is no page, to people as a page in their language and to programs as
// JSON.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, why string) {
	if !byPerson(r) {
		refuse(w, status, why)
		return
	}
	words := s.wordsFor(r)
	f := failure{Status: status, Title: words.text("error.other"), Why: words.say(mended(why, mostText))}
	switch status {
	case http.StatusNotFound:
		f.Title = words.text("error.not_found")
		if why == nothingHere {
			f.Why = words.text("error.not_found_text")
		}
	case http.StatusForbidden:
		if f.Title = words.text("error.forbidden"); why == otherSite {
			f.Title, f.Why = words.text("error.other"), words.text("error.other_site")
		}
	case http.StatusMethodNotAllowed:
		f.Why = words.text("error.method")
	case http.StatusMisdirectedRequest:
		f.Title, f.Why = words.text("error.host"), words.text("error.host_text", "name", mended(r.Host, 100))
		if host := hostOf(r); isName(host) {
			f.Why += " " + words.text("error.host_names", "names", fmt.Sprintf("names = [%q]", mended(host, 100)))
		}
	case http.StatusServiceUnavailable:
		if f.Title = words.text("error.unavailable"); isPage(r) {
			f.Path = r.URL.RequestURI()
		}
	}
	page := sheet{Page: "error", Fail: &f}
	who := visitorOf(r)
	if who.rights == nil && status != http.StatusMisdirectedRequest { // what nobody guards
		who = s.who(r)
	}
	if who.rights != nil {
		page.most, page.Partial = who.rights.Most(), !who.rights.Whole(See)
	}
	if content, ok := s.write(w, r, page); ok {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		w.Write(content)
	}
}

// failFor is fail by the status of a refusal, or else as the house's trouble.
func (s *Server) failFor(w http.ResponseWriter, r *http.Request, err error) {
	s.fail(w, r, StatusOf(err), err.Error())
}

// showPage is a page that is the answer to a form, or may hold a secret: it is not packed.
func (s *Server) showPage(w http.ResponseWriter, r *http.Request, status int, name string, of any) {
	v, err := s.view(r.Context(), patience)
	if err != nil {
		s.fail(w, r, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	who := visitorOf(r)
	if content, ok := s.write(w, r, sheet{View: v.seenBy(who).in(s.wordsFor(r)), Page: name, Of: of, most: who.rights.Most()}); ok {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		w.Write(content)
	}
}

// servePage shows the house as a visitor may see it. of makes what is on that page alone; an
// error of it that is a refusal has its own status.
func (s *Server) servePage(name string, of func(r *http.Request, v View) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.view(r.Context(), patience)
		if err != nil {
			s.fail(w, r, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
			return
		}
		who := visitorOf(r)
		page := sheet{View: v.seenBy(who).in(s.wordsFor(r)), Page: name, most: who.rights.Most()}
		if of != nil {
			if page.Of, err = of(r, page.View); err != nil {
				s.failFor(w, r, err)
				return
			}
		}
		if c, err := r.Cookie(cookieName(r)); err == nil && who.session != nil {
			setCookie(w, r, c.Value, cookieFor) // browsers forget one in the end
		}
		if content, ok := s.write(w, r, page); ok {
			send(w, r, "text/html; charset=utf-8", content)
		}
	}
}

// A notice is something that is wrong with the house, and where there is more about it.
type notice struct{ Text, Path string }

// troubles is all that is wrong with the house, its pins included.
func troubles(v View) (list []notice) {
	for _, trouble := range v.Trouble {
		list = append(list, notice{trouble, "/health"})
	}
	for _, p := range slices.Concat(v.Outputs, v.Inputs) {
		if p.Fault != "" && !p.Acknowledged {
			list = append(list, notice{fmt.Sprintf("%s: %s", p.Title(), p.Fault), "/pins#" + url.PathEscape(p.Name)})
		}
	}
	return list
}

// A thingRow and a propertyRow are what the templates of the rows take.
type thingRow struct {
	Thing
	now   time.Time
	words *words
}

type propertyRow struct {
	Property
	Of    Thing
	now   time.Time
	words *words
}

// Rows are its properties.
func (r thingRow) Rows() (rows []propertyRow) {
	for _, p := range r.Properties {
		rows = append(rows, propertyRow{p, r.Thing, r.now, r.words})
	}
	return rows
}

// Spoken is what is read to people who do not see the name of its thing beside.
func (r propertyRow) Spoken() string { return r.Of.spoken(r.Property) }

// Key is what the module of the page calls it.
func (r propertyRow) Key() string { return r.Kind + "/" + r.Of.path(r.Property) }

// Path is where its page is, below /thing/.
func (r propertyRow) Path() string { return url.PathEscape(r.Of.path(r.Property)) }

// Path is where its page is, below /thing/.
func (r thingRow) Path() string { return url.PathEscape(r.Name) }

// Gone says that nobody can reach it now.
func (r propertyRow) Gone() bool { return r.Away || r.Of.Away }

// Is says in words how it is, or what it was asked and has not confirmed.
func (r propertyRow) Is() string {
	w := r.words
	switch {
	case r.Asked != "" && r.Kind == "switch" && r.Asked == "on":
		return w.text("asked.on")
	case r.Asked != "" && r.Kind == "switch":
		return w.text("asked.off")
	case r.Asked != "":
		return w.text("asked.value", "value", r.toldWord(r.Asked))
	case r.Gone():
		return w.text("away")
	case r.Kind == "button":
		return "" // it is no way
	case !r.Known:
		return w.text("unknown")
	case r.Kind == "switch" && r.On:
		return w.text("is.on")
	case r.Kind == "switch":
		return w.text("is.off")
	case r.Level != nil:
		return w.number(*r.Level, r.Unit)
	}
	return cmp.Or(r.Said(r.Text), "–")
}

// Said is what it says in words; of a text, that text.
func (r propertyRow) Said(text string) string {
	if r.Kind == "text" {
		return text
	}
	return r.words.is(text)
}

// toldWord is what it was told, as people say it.
func (r propertyRow) toldWord(value string) string {
	w := r.words
	switch r.Kind {
	case "cover", "lock":
		if slices.Contains([]string{"open", "stop", "close", "lock", "unlock"}, value) {
			return w.text(value)
		}
	case "level", "number":
		if n, err := strconv.ParseFloat(value, 64); err == nil && finite(n) {
			return w.number(n, r.Unit)
		}
	}
	return r.Said(value)
}

// Time is when it said so.
func (r propertyRow) Time() string {
	if r.At.IsZero() {
		return ""
	}
	return r.words.clock(r.At, r.now)
}

// Age is how long ago that was.
func (r propertyRow) Age() string {
	if r.At.IsZero() {
		return ""
	}
	return r.words.age(r.At, r.now)
}

// Takes says whether a cover or a lock can be told a word.
func (r propertyRow) Takes(word string) bool { return slices.Contains(r.Options, word) }

// Chosen says whether a choice stands at an option: at what it was told, or else at what it is.
func (r propertyRow) Chosen(option string) bool { return option == cmp.Or(r.Asked, r.Text) }

// Typed is what stands in the field of a text; nothing where the text is longer than what is
// shown of it, so that nobody sends back a part.
func (r propertyRow) Typed() string {
	if !r.Known || len([]rune(r.Text)) > mostTyped {
		return ""
	}
	return r.Text
}

// Longest is how many characters the field of a text takes.
func (r propertyRow) Longest() int {
	if r.Range == nil || r.Range.Max < 1 || r.Range.Max > mostTyped {
		return mostTyped
	}
	return int(r.Range.Max)
}

// AtLevel is where the slider of a level stands: where it was told to be, or else where it is.
func (r propertyRow) AtLevel() float64 {
	if n, err := strconv.ParseFloat(r.Asked, 64); err == nil && finite(n) {
		return n
	}
	if r.Level == nil {
		return r.Range.Min
	}
	return *r.Level
}

type decisionRow struct {
	Decision
	Now time.Time
}

// Because is the sentence without the rule at its beginning.
func (r decisionRow) Because() string {
	return strings.TrimSpace(strings.TrimPrefix(r.Text, r.Rule))
}

type readingRow struct {
	Reading
	Now time.Time
}

// Path is where its page is, below /thing/.
func (r readingRow) Path() string { return url.PathEscape(r.Source) }
