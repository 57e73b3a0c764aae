package web

import (
	"fmt"
	"iter"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// languages are those of the page, the first one where nobody asks for another.
var languages = []string{"en", "de"}

// words are the texts of the page in one language, by key, of words/*.toml. These files are
// lines of key = "text", and read here: for so little, all that config knows of mistakes in
// an owner's file is none of the page's business.
type words struct {
	language string
	texts    map[string]string
	said     *sayings // what the house says; nil: as it says it
}

var allWords = sync.OnceValue(func() map[string]*words {
	all := make(map[string]*words)
	for _, language := range languages {
		content, err := files.ReadFile("words/" + language + ".toml")
		if err != nil {
			panic(err) // go:embed promised it
		}
		w := &words{language, make(map[string]string), sayingsOf(language)}
		for key, text := range entriesOf(content) {
			if _, twice := w.texts[key]; twice {
				panic("words/" + language + ".toml has this twice: " + key) // as a test would have found
			}
			w.texts[key] = text
		}
		all[language] = w
	}
	return all
})

// entriesOf are the lines of a file of words. A key that is more than a name stands in quotes.
func entriesOf(content []byte) iter.Seq2[string, string] {
	return func(yield func(key, text string) bool) {
		for line := range strings.Lines(string(content)) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			key, err := strconv.QuotedPrefix(line)
			if err != nil {
				key, _, _ = strings.Cut(line, " ")
			}
			text, err := strconv.Unquote(strings.TrimPrefix(line[len(key):], " = "))
			if plain, err := strconv.Unquote(key); err == nil {
				key = plain
			}
			if err != nil {
				panic("words: " + line) // as a test would have found
			}
			if !yield(key, text) {
				return
			}
		}
	}
}

// text is what stands for a key, with pairs of a name and a value put in.
func (w *words) text(key string, pairs ...any) string {
	text, ok := w.texts[key]
	if !ok {
		panic("the page has no words for " + key) // as a test would have found
	}
	if len(pairs) == 0 {
		return text
	}
	var puts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		puts = append(puts, "{"+fmt.Sprint(pairs[i])+"}", fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(puts...).Replace(text)
}

// clock is the time of day, with the date if that is not today's.
func (w *words) clock(t, now time.Time) string {
	t = t.In(now.Location()) // a broker and a file tell it in UTC
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return w.text("date", "year", t.Format("2006"), "month", t.Format("01"), "day", t.Format("02")) + t.Format(" 15:04")
}

// age is how long ago something was, no finer than people count.
func (w *words) age(then, now time.Time) string {
	old := now.Sub(then)
	switch {
	case then.Before(time.Unix(1e9, 0)): // a Pi without a battery boots in 1970
		return w.text("age.unset")
	case old < 10*time.Second:
		return w.text("age.now")
	case old < time.Minute:
		return w.text("age.seconds", "n", int(old.Seconds())/10*10)
	case old < time.Hour:
		return w.text("age.minutes", "n", int(old.Minutes()))
	case old < 24*time.Hour:
		return w.text("age.hours", "n", int(old.Hours()))
	}
	return w.text("age.days", "n", int(old.Hours())/24)
}

// number is one with its unit, with no more digits than say something.
func (w *words) number(n float64, unit string) string {
	text := strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64)
	return strings.TrimSpace(strings.Replace(text, ".", w.text("point"), 1) + " " + unit)
}

// is says in words what a thing says of itself, where people have another word for it.
func (w *words) is(said string) string {
	if text, ok := w.texts["is."+strings.ToLower(said)]; ok {
		return text
	}
	return said
}

// bytes is a size as people read it.
func (w *words) bytes(n int64) string {
	size, unit := float64(n), 0
	for size >= 1000 && unit < 4 {
		size, unit = size/1000, unit+1
	}
	if size >= 100 {
		size = math.Round(size)
	} else {
		size = math.Round(size*10) / 10
	}
	return w.number(size, [...]string{"B", "kB", "MB", "GB", "TB"}[unit])
}

// span is how long something takes, no finer than makes sense.
func (w *words) span(d time.Duration) string {
	two := func(a time.Duration, unit string, b time.Duration, of string) string {
		if b == 0 {
			return fmt.Sprintf("%d %s", a, unit)
		}
		return fmt.Sprintf("%d %s %d %s", a, unit, b, of)
	}
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	case d < time.Minute:
		return w.number(math.Round(d.Seconds()*10)/10, "s")
	case d < time.Hour:
		return two(d/time.Minute, "min", d%time.Minute/time.Second, "s")
	case d < 48*time.Hour:
		return two(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	}
	return two(d/(24*time.Hour), w.text("days"), d%(24*time.Hour)/time.Hour, "h")
}

var (
	inModule = regexp.MustCompile(`\bt\('([a-z_.]+)'`) // of which one that ends with a point is the beginning of several
	imported = regexp.MustCompile(`\b(?:from|import) '\./([a-z]+)\.js'`)
)

// ofModules are, by the names of modules, the keys whose words they and those that they
// import name.
var ofModules = sync.OnceValue(func() map[string][]string {
	all := make(map[string][]string)
	var add func(to, module string, seen map[string]bool)
	add = func(to, module string, seen map[string]bool) {
		if seen[module] {
			return
		}
		seen[module] = true
		content := assets().files["js/"+module+".js"].content
		for _, found := range inModule.FindAllSubmatch(content, -1) {
			all[to] = append(all[to], string(found[1]))
		}
		for _, found := range imported.FindAllSubmatch(content, -1) {
			add(to, string(found[1]), seen)
		}
	}
	for name := range assets().files {
		if module, ok := strings.CutSuffix(strings.TrimPrefix(name, "js/"), ".js"); ok {
			add(module, module, make(map[string]bool))
		}
	}
	return all
})

// forModule are the words for the module of a page.
func (w *words) forModule(page string) map[string]string {
	some := make(map[string]string)
	for _, key := range ofModules()[page] {
		if !strings.HasSuffix(key, ".") {
			some[key] = w.text(key)
			continue
		}
		for one, text := range w.texts {
			if strings.HasPrefix(one, key) {
				some[one] = text
			}
		}
	}
	return some
}

// wordsFor are those in which a request is answered: of the API the English ones unless it
// names a language, as the modules of the pages do; of a page those in the language of the
// house, or if it has none the one that a browser likes best of ours.
func (s *Server) wordsFor(r *http.Request) *words {
	if forPrograms(r.URL.Path) {
		if w := allWords()[r.URL.Query().Get("language")]; w != nil {
			return w
		}
		return allWords()[languages[0]]
	}
	if w := allWords()[s.set.Load().language]; w != nil {
		return w
	}
	best, most := languages[0], 0.0
	for asked := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, weight, _ := strings.Cut(strings.TrimSpace(asked), ";")
		language, _, _ := strings.Cut(strings.ToLower(tag), "-")
		q := 1.0
		if text, ok := strings.CutPrefix(strings.TrimSpace(weight), "q="); ok {
			q, _ = strconv.ParseFloat(text, 64)
		}
		if q > most && slices.Contains(languages, language) {
			best, most = language, q
		}
	}
	return allWords()[best]
}
